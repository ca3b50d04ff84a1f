#!/usr/bin/env python3
"""Stamps on raw ZeroMQ sockets, written and read in another language, against a C program: stamp_echo."""
import subprocess
import sys
import unittest

import msgpack
import zmq

from wire import STAMP_MAGIC, Directory, Program, context, curve, is_kept_out, read_context, socket

ECHO = None


class Stamp(unittest.TestCase):
    def setUp(self):
        self.echo = Program(ECHO)
        self.assertEqual(self.echo.line(), "")
        self.socket = socket(zmq.REQ)
        self.socket.connect(self.echo.endpoint)

    def tearDown(self):
        self.exchange(b"end")
        self.socket.close()
        self.echo.end()

    def exchange(self, *frames):
        """What the program saw, the frames it sent back, and the stamp's wire form or None."""
        self.socket.send_multipart(frames)
        answer = self.socket.recv_multipart()
        stamp = None
        if answer[-1].startswith(STAMP_MAGIC):
            stamp = answer.pop()[len(STAMP_MAGIC):]
        seen, key = answer[0].decode().rsplit("|", 1)
        self.assertEqual(key, "")
        return seen, answer[1:], stamp

    def test_there_and_back(self):
        seen, frames, stamp = self.exchange(
            b"one", b"", b"three", STAMP_MAGIC + context(["client", "call"], {"tenant": "acme"}))
        self.assertEqual(seen, "client > call|acme|0")
        self.assertEqual(frames, [b"one", b"", b"three"])
        self.assertEqual(read_context(stamp), (["client", "call", "echo"], {"tenant": "acme"}, {"tenant": 1}))

    def test_the_bytes_of_the_example(self):
        example = b"\x93\x01\x91\xabapi-gateway\x91\x93\xa6tenant\x01\xc4\x06\xa5acme1"
        self.assertEqual(example, context(["api-gateway"], {"tenant": "acme1"}))
        self.assertEqual(self.exchange(b"x", STAMP_MAGIC + example)[0], "api-gateway|acme1|0")

    def test_without_context_no_frame_is_added(self):
        self.assertEqual(self.exchange(b"one", b"two"), ("||0", [b"one", b"two"], None))

    def test_what_it_does_not_know_travels_on(self):
        stamp = msgpack.packb([1, [], [["zone", 9, b"\xc1\xc1", None, {"a": 1}]]])
        seen, _, back = self.exchange(b"x", STAMP_MAGIC + stamp)
        self.assertEqual(seen, "||1")
        self.assertEqual(msgpack.unpackb(back), [1, ["echo"], [["zone", 9, b"\xc1\xc1", None, {"a": 1}]]])

    def test_a_refused_stamp_is_taken_off(self):
        whole = context(["client"], {"tenant": "acme"})
        refused = [whole[:cut] for cut in range(len(whole))]
        refused += [whole + b"\x00", b"\x93\x02\x90\x90", b"\x93\x01\x90\xdd\xff\xff\xff\xff",
                    context(["a\nb"], {}), context([""], {}), context([], {"k": "v" * 5000}),
                    context([], {f"key-{i}": i for i in range(65)}), context([], {"k" * 129: 1}),
                    msgpack.packb([1, [], [["a", 1, b"\x01"], ["A", 1, b"\x01"]]])]
        for wire in refused:
            self.assertEqual(self.exchange(b"x", STAMP_MAGIC + wire), ("||0", [b"x"], None), wire)

    def test_content_that_looks_like_a_stamp(self):
        content = STAMP_MAGIC + context(["forged"], {})
        empty = STAMP_MAGIC + context([], {})
        self.assertEqual(empty, STAMP_MAGIC + b"\x93\x01\x90\x90")
        # With a stamp of its own after it, it is content there and back.
        self.socket.send_multipart([content, empty])
        self.assertEqual(self.socket.recv_multipart(), [b"||0|", content, empty])


class UnderCurve(unittest.TestCase):
    def setUp(self):
        self.directory = Directory()
        self.pair = zmq.curve_keypair()
        self.directory.admit("python", self.pair[0])

    def tearDown(self):
        self.directory.end()

    def test_there_and_back(self):
        echo = Program(ECHO, "curve", self.directory.path)
        server_key = echo.line()
        known = curve(server_key, self.pair)
        dialled = socket(zmq.REQ, **known)
        dialled.connect(echo.endpoint)
        for text in (b"one", b"end"):
            dialled.send_multipart([text, STAMP_MAGIC + context(["client"], {"tenant": "acme"})])
            answer = dialled.recv_multipart()
            self.assertEqual(answer[0].decode(), f"client|acme|0|{self.pair[0].decode()}")
            self.assertEqual(answer[1], text)
            self.assertEqual(read_context(answer[2][len(STAMP_MAGIC):])[:2], (["client", "echo"], {"tenant": "acme"}))
            if text == b"one":
                # Who is not in the directory gets nothing, nor does who has no key or only half of one.
                self.assertTrue(is_kept_out(zmq.REQ, echo.endpoint, **curve(server_key, zmq.curve_keypair())))
                self.assertTrue(is_kept_out(zmq.REQ, echo.endpoint))
                half = curve(server_key, (self.pair[0], zmq.curve_keypair()[1]))
                self.assertTrue(is_kept_out(zmq.REQ, echo.endpoint, **half))
                self.assertFalse(is_kept_out(zmq.REQ, echo.endpoint, **known))
        dialled.close()
        echo.end()

    def test_as_the_server(self):
        for secured in (False, True):
            keys = zmq.curve_keypair()
            options = {"curve_server": True, "curve_publickey": keys[0], "curve_secretkey": keys[1]}
            server = socket(zmq.REP, **(options if secured else {}))
            port = server.bind_to_random_port("tcp://127.0.0.1")
            command = [ECHO, "ask", f"tcp://127.0.0.1:{port}"] + ([keys[0].decode()] if secured else [])
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asker:
                question, stamp = server.recv_multipart()
                self.assertEqual(question, b"question")
                self.assertEqual(read_context(stamp[len(STAMP_MAGIC):])[:2], (["asker"], {"tenant": "acme"}))
                server.send_multipart([b"an", b"answer", STAMP_MAGIC + context(["python"], {"tenant": "other", "x": 1})])
                self.assertEqual(asker.stdout.read(), "python|other|1\nan\nanswer\n")
            self.assertEqual(asker.returncode, 0)
            server.close()


if __name__ == "__main__":
    ECHO = sys.argv.pop(1)
    unittest.main()
