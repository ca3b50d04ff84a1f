"""dcontext's wire formats in Python, written from docs/wire.md alone; and how to run a C program to talk to."""
import os
import struct
import subprocess
import tempfile

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

MAGIC = b"DCL\x01"
STAMP_MAGIC = b"\xd7dctx\x01"
HELLO, WELCOME, REFUSED, PING, PONG, BYE, ACK = range(1, 8)
TELL, ASK, REPLY, ERROR, CANCEL = range(16, 21)
SAME_CONTEXT = 1
PATIENCE_MS = 10000

HEAD = struct.Struct(">IBBBBQQQHHI")
assert HEAD.size == 40


def context(chain, values):
    """A snapshot's wire form. values: name -> Python value, in the built-in types' encodings."""
    entries = [[name, 1, msgpack.packb(value)] for name, value in
               sorted(values.items(), key=lambda item: item[0].lower())]
    return msgpack.packb([1, chain, entries])


def read_context(data):
    """(chain, values, versions) of a snapshot's wire form."""
    outer = msgpack.unpackb(data, strict_map_key=False)
    assert outer[0] == 1, outer
    values = {entry[0]: msgpack.unpackb(entry[2], strict_map_key=False) for entry in outer[2]}
    return outer[1], values, {entry[0]: entry[1] for entry in outer[2]}


class Record:
    """One record of a link's frame."""

    def __init__(self, kind, flags=0, code=0, sequence=0, acknowledged=0, correlation=0, target="",
                 type="", stamp=b"", payload=b""):
        self.kind, self.flags, self.code = kind, flags, code
        self.sequence, self.acknowledged, self.correlation = sequence, acknowledged, correlation
        self.target, self.type, self.stamp, self.payload = target, type, stamp, payload

    def __repr__(self):
        return (f"Record(kind={self.kind} flags={self.flags} code={self.code} sequence={self.sequence} "
                f"acknowledged={self.acknowledged} correlation={self.correlation} target={self.target!r} "
                f"type={self.type!r} stamp={self.stamp!r} payload={self.payload!r})")

    def pack(self):
        target, type_ = self.target.encode(), self.type.encode()
        body = target + type_ + self.stamp + self.payload
        return HEAD.pack(HEAD.size + len(body), self.kind, self.flags, self.code, 0, self.sequence,
                         self.acknowledged, self.correlation, len(target), len(type_),
                         len(self.stamp)) + body


def unpack_frame(frame):
    """The records of a frame, each with the stamp that holds for it."""
    assert frame[:4] == MAGIC, frame
    records, at, stamp = [], 4, b""
    assert len(frame) > at
    while at < len(frame):
        (length, kind, flags, code, _, sequence, acknowledged, correlation, target_size, type_size,
         stamp_size) = HEAD.unpack_from(frame, at)
        body = frame[at + HEAD.size:at + length]
        assert length >= HEAD.size and len(body) == length - HEAD.size, "a record is cut"
        assert flags & ~SAME_CONTEXT == 0
        target, body = body[:target_size], body[target_size:]
        type_, body = body[:type_size], body[type_size:]
        own, payload = body[:stamp_size], body[stamp_size:]
        if flags & SAME_CONTEXT:
            assert records and not own
        else:
            stamp = own
        record = Record(kind, flags, code, sequence, acknowledged, correlation, target.decode(),
                        type_.decode(), stamp, payload)
        record.own_stamp = own
        records.append(record)
        at += length
    return records


def hello(node, incarnation=1, window=1000, to=None, **more):
    fields = {"node": node, "incarnation": incarnation, "window": window, **more}
    if to is not None:
        fields["to"] = to
    return msgpack.packb(fields)


def socket(kind, **options):
    made = zmq.Context.instance().socket(kind)
    made.linger = 0
    made.rcvtimeo = PATIENCE_MS
    made.sndtimeo = PATIENCE_MS
    for name, value in options.items():
        setattr(made, name, value)
    return made


class Peer:
    """The dialling side of a link."""

    def __init__(self, endpoint, name="python", to="echo", window=1000, shake_hands=True, **options):
        self.socket = socket(zmq.DEALER, **options)
        self.socket.connect(endpoint)
        self.sequence = 0
        self.received = 0
        self.acknowledged = 0
        self.pending = []
        self.pings = 0
        if shake_hands:
            self.send(Record(HELLO, payload=hello(name, to=to, window=window, nonsense=[1, {"a": 2}])))
            self.welcome = self.next()
            assert self.welcome.kind == WELCOME, self.welcome

    def close(self):
        self.socket.close()

    def number(self, record):
        if record.kind >= TELL:
            self.sequence += 1
            record.sequence = self.sequence
        record.acknowledged = self.acknowledged
        return record

    def send(self, *records):
        """All in one frame."""
        self.acknowledged = self.received
        self.send_only(*records)

    def send_only(self, *records):
        """Without taking in what came since: acknowledged stays."""
        self.socket.send(MAGIC + b"".join(self.number(record).pack() for record in records))

    def next(self):
        """The next record that is no PING; takes the sequence numbers in."""
        while True:
            while not self.pending:
                self.pending = unpack_frame(self.socket.recv())
            record = self.pending.pop(0)
            if record.kind >= TELL:
                assert record.sequence == self.received + 1, (record, self.received)
                self.received = record.sequence
            if record.kind != PING:
                return record
            self.pings += 1
            self.send(Record(PONG, payload=record.payload))

    def has_nothing(self):
        """The other side sends no message of its own: nothing comes before the answer to a second PING."""
        for payload in (b"first", b"second"):
            self.send_only(Record(PING, payload=payload))
            record = self.next()
            if (record.kind, record.payload) != (PONG, payload):
                return False
        return True

    def ask(self, target, text, stamp=b"", correlation=1):
        self.send(Record(ASK, correlation=correlation, target=target, type="string", stamp=stamp,
                         payload=msgpack.packb(text)))


class Directory:
    """A folder of clients' public certificates, as zauth reads them."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="dctx-python-")
        self.path = self.folder.name

    def admit(self, name, public_key):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as file:
            file.write(f'metadata\n    name = "{name}"\ncurve\n    public-key = "{public_key.decode()}"\n')

    def end(self):
        self.folder.cleanup()


def curve(server_key, pair):
    """Options of a socket() that is a CURVE client."""
    return {"curve_serverkey": server_key.encode(), "curve_publickey": pair[0], "curve_secretkey": pair[1]}


def is_kept_out(kind, endpoint, **options):
    """True if the security handshake with the endpoint fails; False if it succeeds."""
    made = socket(kind, **options)
    monitor = made.get_monitor_socket()
    monitor.rcvtimeo = PATIENCE_MS
    made.connect(endpoint)
    failed = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
              zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
    try:
        while True:
            event = recv_monitor_message(monitor)["event"]
            if event in failed:
                return True
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return False
    finally:
        made.disable_monitor()
        monitor.close()
        made.close()


class Program:
    """A C program that prints its endpoint first, and ends when its standard input does."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.line()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def end(self):
        self.process.stdin.close()
        rest = self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait(timeout=20)
        assert status == 0, f"it ended with {status}"
        return rest
