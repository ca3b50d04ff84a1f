#!/usr/bin/env python3
"""A peer of a link in another language, made from docs/wire.md alone, against a C node: link_echo."""
import sys
import time
import unittest

import msgpack
import zmq

from wire import (ACK, ASK, BYE, ERROR, HELLO, MAGIC, PING, PONG, REFUSED, REPLY, SAME_CONTEXT, TELL, WELCOME,
                  Directory, Peer, Program, Record, context, curve, hello, is_kept_out, read_context, socket,
                  unpack_frame)

ECHO = None


class LinkTest(unittest.TestCase):
    # A heartbeat of a minute: on a busy machine nobody is to be taken for dead that is only slow.
    arguments = ("60000",)

    def setUp(self):
        self.echo = Program(ECHO, *self.arguments)
        self.peers = []

    def tearDown(self):
        for peer in self.peers:
            peer.close()
        self.echo.end()

    def dial(self, **options):
        self.peers.append(Peer(self.echo.endpoint, **options))
        return self.peers[-1]


class Handshake(LinkTest):
    def test_welcome_says_who_it_is(self):
        peer = self.dial()
        fields = msgpack.unpackb(peer.welcome.payload)
        self.assertEqual(fields["node"], "echo")
        self.assertGreater(fields["incarnation"], 0)
        self.assertEqual(fields["window"], 4096)
        self.assertEqual(fields["limit"], 1 << 20)
        self.assertEqual(fields["kinds"], 29)
        self.assertEqual(peer.welcome.sequence, 0)
        self.assertEqual(self.echo.line(), "up python")

    def test_the_name_expected_may_be_left_out(self):
        self.dial(to=None)

    def test_what_is_not_right_is_refused(self):
        peer = self.dial(shake_hands=False)
        for payload in (hello("python", to="someone-else"), hello("python", incarnation=0), hello(""),
                        hello("white space"), hello("x" * 64), b"", b"\xc0", b"\xdf\xff\xff\xff\xff",
                        msgpack.packb({"node": "python"}), hello("python") + b"\xc0"):
            peer.send(Record(HELLO, payload=payload))
            record = peer.next()
            self.assertEqual(record.kind, REFUSED, payload)
            self.assertNotEqual(record.payload.decode(), "")
        peer.socket.send(b"DCL\x02" + Record(HELLO, payload=hello("python")).pack())
        self.assertEqual(peer.next().kind, REFUSED)
        peer.send(Record(TELL, target="see"))
        self.assertEqual(peer.next().kind, REFUSED)
        peer.send(Record(HELLO, payload=hello("python", to="echo")))
        self.assertEqual(peer.next().kind, WELCOME)

    def test_goodbye(self):
        peer = self.dial()
        self.assertEqual(self.echo.line(), "up python")
        peer.send(Record(BYE))
        self.assertEqual(self.echo.line(), "down python: it said goodbye")
        peer.send(Record(TELL, target="see"))
        self.assertEqual(peer.next().kind, REFUSED)

    def test_a_newer_run_replaces_the_older(self):
        self.dial()
        self.assertEqual(self.echo.line(), "up python")
        newer = self.dial()
        self.assertTrue(self.echo.line().startswith("down python"))
        self.assertEqual(self.echo.line(), "up python")
        newer.ask("see", "hi")
        self.assertEqual(newer.next().kind, REPLY)

    def test_it_says_goodbye(self):
        peer = self.dial()
        self.echo.end()
        self.assertEqual(peer.next().kind, BYE)
        self.echo = Program(ECHO)


class Asking(LinkTest):
    def test_a_context_is_read(self):
        peer = self.dial()
        peer.ask("see", "hi", context(["client", "step two"], {"tenant": "acme"}))
        reply = peer.next()
        self.assertEqual((reply.kind, reply.correlation, reply.target, reply.type, reply.stamp),
                         (REPLY, 1, "", "string", b""))
        self.assertEqual(msgpack.unpackb(reply.payload), "client > step two|acme|0|hi")

    def test_no_context_is_none(self):
        peer = self.dial()
        peer.ask("see", "hi")
        self.assertEqual(msgpack.unpackb(peer.next().payload), "||0|hi")

    def test_left_out_names_are_told(self):
        peer = self.dial()
        peer.ask("see", "hi", context(["a", 7, "b"], {}))
        self.assertEqual(msgpack.unpackb(peer.next().payload), "a > [7 more] > b||0|hi")

    def test_what_it_does_not_know_travels_on(self):
        peer = self.dial()
        # Keys in any order; an entry with an element more; a key spelled in another case; a value that is no string.
        stamp = msgpack.packb([1, ["client"], [["zone", 3, b"\x01\x02", "more"], ["Tenant", 1, msgpack.packb("acme")],
                                               ["apple", 1, msgpack.packb([1, 2])]], "an element more"])
        peer.ask("back", "hi", stamp)
        told = peer.next()
        self.assertEqual((told.kind, told.target, msgpack.unpackb(told.payload)), (TELL, "back", "hi"))
        outer = msgpack.unpackb(told.stamp)
        self.assertEqual(outer[:2], [1, ["client"]])
        self.assertEqual([entry[0].lower() for entry in outer[2]], ["apple", "tenant", "zone"])
        self.assertEqual(outer[2][0], ["apple", 1, msgpack.packb([1, 2])])
        self.assertEqual(outer[2][2], ["zone", 3, b"\x01\x02", "more"])
        self.assertEqual(msgpack.unpackb(peer.next().payload), "client|acme|2|hi")

    def test_a_value_that_does_not_decode_travels_on(self):
        peer = self.dial()
        peer.ask("back", "hi", context([], {"tenant": [1, 2, 3]}))
        self.assertEqual(read_context(peer.next().stamp)[1], {"tenant": [1, 2, 3]})
        self.assertEqual(msgpack.unpackb(peer.next().payload), "||0|hi")

    def test_a_refused_stamp_is_left_out(self):
        peer = self.dial()
        for stamp in (b"\xc1", b"\x93\x02\x90\x90", context([], {})[:-1], context([], {}) + b"\x00",
                      context(["x" * 65], {}), context([], {"k": "v" * 5000}), b"\x93\x01\x90\xdd\xff\xff\xff\xff"):
            peer.ask("see", "hi", stamp)
            self.assertEqual(msgpack.unpackb(peer.next().payload), "||0|hi", stamp)

    def test_nobody_of_that_name(self):
        peer = self.dial()
        peer.ask("nobody", "hi", correlation=2**63)
        reply = peer.next()
        self.assertEqual((reply.kind, reply.code, reply.correlation), (ERROR, 19, 2**63))
        self.assertEqual(reply.payload.decode(), "nobody of that name")

    def test_many_in_one_frame_share_a_context(self):
        peer = self.dial()
        stamp = context(["client"], {"tenant": "acme"})
        payload = msgpack.packb("hi")
        peer.send(Record(ASK, correlation=1, target="see", stamp=stamp, payload=payload),
                  Record(ASK, correlation=2, target="see", flags=SAME_CONTEXT, payload=payload),
                  Record(PING, payload=b"between"),
                  Record(ASK, correlation=3, target="see", payload=payload),
                  Record(ASK, correlation=4, target="see", stamp=stamp, payload=payload))
        seen = {}
        while len(seen) < 4:
            record = peer.next()
            if record.kind == REPLY:
                seen[record.correlation] = msgpack.unpackb(record.payload)
            else:
                self.assertEqual((record.kind, record.payload), (PONG, b"between"))
        self.assertEqual(seen, {1: "client|acme|0|hi", 2: "client|acme|0|hi", 3: "||0|hi", 4: "client|acme|0|hi"})

    def test_a_repeated_context_is_sent_once(self):
        peer = self.dial()
        stamp = context(["client"], {"tenant": "acme"})
        peer.ask("many", "50", stamp)
        records = []
        while len(records) < 50:
            records.append(peer.next())
        self.assertEqual({(record.kind, record.target, record.stamp) for record in records}, {(TELL, "many", stamp)})
        self.assertLess(sum(1 for record in records if record.own_stamp), 5)

    def test_garbage_does_no_harm(self):
        peer = self.dial()
        frame = MAGIC + Record(ASK, sequence=1, target="see", stamp=context(["a"], {})).pack()
        for cut in range(len(frame)):
            peer.socket.send(frame[:cut])
        peer.socket.send(MAGIC + b"\xff" * 80)
        peer.socket.send(b"\x00" * 5000)
        peer.socket.send_multipart([MAGIC, frame])
        peer.ask("see", "still there?")
        self.assertEqual(msgpack.unpackb(peer.next().payload), "||0|still there?")


class Flow(LinkTest):
    arguments = ("60000", "8")

    def test_it_keeps_to_the_window(self):
        peer = self.dial(window=4)
        peer.ask("many", "11")
        for batch in (4, 4, 3):
            for _ in range(batch):
                self.assertEqual(peer.next().kind, TELL)
            self.assertTrue(peer.has_nothing())
            peer.send(Record(ACK))
        self.assertTrue(peer.has_nothing())

    def test_half_its_window_is_acknowledged(self):
        peer = self.dial()
        self.assertEqual(msgpack.unpackb(peer.welcome.payload)["window"], 8)
        for _ in range(4):
            peer.send(Record(TELL, target="count"))
        record = peer.next()
        self.assertEqual((record.kind, record.acknowledged, record.sequence), (ACK, 4, 0))

    def test_what_was_seen_is_not_taken_again(self):
        peer = self.dial()
        peer.send(Record(TELL, target="count"))
        peer.sequence = 0
        peer.send(Record(TELL, target="count"))
        peer.sequence = 7  # a gap: counted, and no reason to stop
        peer.send(Record(TELL, target="count"))
        peer.ask("count", "")
        record = peer.next()
        while record.kind == ACK:
            record = peer.next()
        self.assertEqual(msgpack.unpackb(record.payload), "2")

    def test_pings_are_answered_with_what_they_hold(self):
        peer = self.dial()
        for payload in (b"", b"x", bytes(range(64))):
            peer.send(Record(PING, payload=payload))
            record = peer.next()
            self.assertEqual((record.kind, record.payload), (PONG, payload))


class Life(LinkTest):
    arguments = ("500",)

    def test_who_answers_pings_stays(self):
        peer = self.dial()
        self.assertEqual(self.echo.line(), "up python")
        while peer.pings < 4:  # of which the last could not come had the first not been answered
            self.assertTrue(peer.socket.poll(10000), "it sends no PING")
            for record in unpack_frame(peer.socket.recv()):
                self.assertEqual(record.kind, PING)
                peer.pings += 1
                peer.send(Record(PONG, payload=record.payload))
        peer.ask("see", "hi")
        self.assertEqual(peer.next().kind, REPLY)


class Death(LinkTest):
    arguments = ("100",)

    def test_who_does_not_answer_is_gone(self):
        begin = time.monotonic()
        peer = self.dial()
        self.assertEqual(self.echo.line(), "up python")
        self.assertEqual(self.echo.line(), "down python: it fell silent")
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)
        peer.ask("see", "hi")
        self.assertEqual(peer.next().kind, REFUSED)


class Listening(unittest.TestCase):
    """The other way round: the C node dials."""

    def setUp(self):
        self.router = socket(zmq.ROUTER)
        port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.echo = Program(ECHO, "500", "100", "python", f"tcp://127.0.0.1:{port}")

    def tearDown(self):
        self.router.close()
        self.echo.end()

    def receive(self):
        identity, frame = self.router.recv_multipart()
        return identity, unpack_frame(frame)

    def receive_hello(self):
        while True:
            identity, records = self.receive()
            if records[0].kind == HELLO:
                self.assertEqual(len(records), 1)
                return identity, msgpack.unpackb(records[0].payload)

    def send(self, identity, *records):
        self.router.send_multipart([identity, MAGIC + b"".join(record.pack() for record in records)])

    def test_it_says_hello_and_asks(self):
        identity, fields = self.receive_hello()
        self.assertEqual((fields["node"], fields["to"], fields["window"]), ("echo", "python", 100))
        self.send(identity, Record(WELCOME, payload=hello("python")))
        self.assertEqual(self.echo.line(), "up python")
        _, records = self.receive()
        ask = records[0]
        self.assertEqual((ask.kind, ask.target, ask.sequence, ask.correlation), (ASK, "world", 1, 99))
        self.assertEqual(msgpack.unpackb(ask.payload), "hello?")
        self.assertEqual(read_context(ask.stamp), (["link-echo"], {"tenant": "acme"}, {"tenant": 1}))
        self.send(identity, Record(REPLY, sequence=1, acknowledged=1, correlation=99, type="string",
                                   payload=msgpack.packb("hello!")))
        self.assertEqual(self.echo.line(), "reply hello!")
        # Codes that it does not know read as 22.
        self.send(identity, Record(ERROR, sequence=2, code=200), Record(ERROR, sequence=3, code=18))
        self.assertEqual(self.echo.line(), "kind 19 code 22")
        self.assertEqual(self.echo.line(), "kind 19 code 18")

    def test_another_name_is_refused(self):
        identity, _ = self.receive_hello()
        self.send(identity, Record(WELCOME, payload=hello("java")))
        self.assertEqual(self.echo.line(), "refused python: the node there is named java")

    def test_refused_and_gone_it_dials_anew(self):
        first, fields = self.receive_hello()
        self.send(first, Record(REFUSED, payload="not today".encode()))
        self.assertEqual(self.echo.line(), "refused python: not today")
        second, again = self.receive_hello()
        self.assertNotEqual(first, second)
        self.assertEqual(fields["incarnation"], again["incarnation"])
        self.send(second, Record(WELCOME, payload=hello("python")))
        self.assertEqual(self.echo.line(), "up python")
        self.send(second, Record(BYE))
        self.assertEqual(self.echo.line(), "down python: it said goodbye")
        third, _ = self.receive_hello()
        self.send(third, Record(WELCOME, payload=hello("python")))
        self.assertEqual(self.echo.line(), "up python")
        # And when nothing is heard: PINGs, then a new connection.
        self.assertEqual(self.echo.line(), "down python: it fell silent")
        self.receive_hello()


class UnderCurve(unittest.TestCase):
    def test_who_is_in_the_directory_gets_in(self):
        directory, pair = Directory(), zmq.curve_keypair()
        directory.admit("python", pair[0])
        echo = Program(ECHO, "curve", directory.path)
        server_key = echo.line()
        peer = Peer(echo.endpoint, **curve(server_key, pair))
        peer.ask("who", "am I?", stamp=context(["client"], {"tenant": "acme"}))
        record = peer.next()
        self.assertEqual((record.kind, msgpack.unpackb(record.payload)), (REPLY, pair[0].decode()))
        peer.ask("see", "x", stamp=context(["client"], {"tenant": "acme"}), correlation=2)
        self.assertEqual(msgpack.unpackb(peer.next().payload), "client|acme|0|x")
        self.assertTrue(is_kept_out(zmq.DEALER, echo.endpoint, **curve(server_key, zmq.curve_keypair())))
        self.assertTrue(is_kept_out(zmq.DEALER, echo.endpoint))
        peer.close()
        echo.end()
        directory.end()


if __name__ == "__main__":
    ECHO = sys.argv.pop(1)
    unittest.main()
