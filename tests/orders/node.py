"""A node that listens, in Python, from docs/wire.md: it stands in for a service and reads what actors stamped."""
import time

import msgpack
import zmq

from wire import ASK, BYE, HELLO, MAGIC, PING, PONG, REFUSED, REPLY, TELL, WELCOME, Record, hello, socket, unpack_frame

TOGETHER = 32  # records a frame: together they stay below the 32768 bytes that docs/wire.md allows


class Context:
    """A received context. `raw`: for each key its version and its value's bytes, as they came."""

    def __init__(self, stamp):
        version, self.chain, entries = msgpack.unpackb(stamp)[:3]
        assert version == 1
        self.raw = {key: (version, value) for key, version, value in (entry[:3] for entry in entries)}

    def __getitem__(self, key):
        return msgpack.unpackb(self.raw[key][1])

    def path(self, *further):
        return " > ".join([*self.chain, *further])


class Connection:
    """One dialler: numbers in both directions, and what waits for room in its window."""

    def __init__(self, send, window):
        self.send_frame, self.window = send, window
        self.sent = self.received = self.acknowledged = 0
        self.held = []

    def control(self, kind, payload=b""):
        self.send_frame(MAGIC + Record(kind, payload=payload, acknowledged=self.received).pack())

    def post(self, record):
        self.held.append(record)
        self.flush()

    def flush(self):
        while self.held and self.sent - self.acknowledged < self.window:
            room = min(TOGETHER, self.window - (self.sent - self.acknowledged))
            batch, self.held = self.held[:room], self.held[room:]
            for record in batch:
                self.sent += 1
                record.sequence, record.acknowledged = self.sent, self.received
            self.send_frame(MAGIC + b"".join(record.pack() for record in batch))

    def take(self, frame):
        """The messages in a frame; a PING is answered."""
        messages = []
        for record in unpack_frame(frame):
            self.acknowledged = max(self.acknowledged, record.acknowledged)
            if record.kind >= TELL:
                assert record.sequence == self.received + 1, (record, self.received)
                self.received = record.sequence
                messages.append(record)
            elif record.kind == PING:
                self.control(PONG, record.payload)
            assert record.kind not in (REFUSED, BYE), record
        self.flush()
        return messages


class Node:
    """Takes in more than anyone here sends, so it never has to acknowledge for the other's sake."""

    WINDOW = 1000000

    def __init__(self, name):
        self.name = name
        self.socket = socket(zmq.ROUTER)
        self.endpoint = "tcp://127.0.0.1:%d" % self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.connections = {}

    def welcome(self, identity, greeting):
        greeted = msgpack.unpackb(greeting.payload)
        assert greeted.get("to", self.name) == self.name and greeted["incarnation"] > 0, greeted
        if identity not in self.connections:
            self.connections[identity] = Connection(
                lambda frame: self.socket.send_multipart([identity, frame]), greeted["window"])
        self.connections[identity].control(WELCOME, hello(self.name, incarnation=7, window=self.WINDOW))

    def messages(self, deadline):
        """Waits for one frame: a list of (identity, record), empty if it held no message."""
        left = deadline - time.monotonic()
        if left <= 0 or not self.socket.poll(int(left * 1000) + 1):
            raise TimeoutError("nobody says anything")
        identity, frame = self.socket.recv_multipart()
        first = unpack_frame(frame)[0]
        if first.kind == HELLO:
            self.welcome(identity, first)
            return []
        return [(identity, message) for message in self.connections[identity].take(frame)]

    def reply(self, identity, ask, type, payload):
        assert ask.kind == ASK
        self.connections[identity].post(
            Record(REPLY, correlation=ask.correlation, type=type, payload=msgpack.packb(payload)))

    def close(self):
        for connection in self.connections.values():
            connection.control(BYE)
        self.socket.close(1000)
