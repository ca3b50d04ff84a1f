"""Drives the HTTP front as the W3C's conformance harness for Trace Context does: posts headers, reads what it forwards.

    http_test.py FRONT BACKEND CLIENT
"""
import http.client
import http.server
import json
import re
import subprocess
import sys
import threading
import unittest
import urllib.parse

FRONT, BACKEND, CLIENT = sys.argv[1:4]
TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{TRACE}-{SPAN}-01"


class Harness(http.server.BaseHTTPRequestHandler):
    """What the front calls; keeps the headers of each call."""
    protocol_version = "HTTP/1.1"
    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Harness.seen.append((self.path, self.headers.items(), json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


def start(*command):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    word, address = process.stdout.readline().split()
    assert word == "listening"
    return process, address


def stop(process):
    process.stdin.close()
    assert process.wait(timeout=20) == 0, process.returncode
    process.stdout.close()


class HttpTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.harness = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Harness)
        cls.thread = threading.Thread(target=cls.harness.serve_forever, daemon=True)
        cls.thread.start()
        cls.harness_url = f"http://127.0.0.1:{cls.harness.server_port}/"
        cls.backend, endpoint = start(BACKEND)
        cls.front, cls.front_url = start(FRONT, "--backend", endpoint)

    @classmethod
    def tearDownClass(cls):
        cls.harness.shutdown()
        cls.harness.server_close()
        cls.thread.join()
        stop(cls.front)
        stop(cls.backend)

    def setUp(self):
        Harness.seen.clear()

    def send(self, headers, body, method="POST", path="/"):
        url = urllib.parse.urlparse(self.front_url)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, json.loads(answer)

    def forwarded(self, headers, calls=1):
        status, _ = self.send(headers, [{"url": self.harness_url, "arguments": [i]} for i in range(calls)])
        self.assertEqual(status, 200)
        self.assertEqual([body for _, _, body in Harness.seen], [[i] for i in range(calls)])
        return [self.context(items) for _, items, _ in Harness.seen]

    def context(self, items):
        """(trace id, parent id, flags, tracestate or None); the harness takes no other form."""
        parents = [v for k, v in items if k.lower() == "traceparent"]
        states = [v for k, v in items if k.lower() == "tracestate"]
        self.assertEqual(len(parents), 1)
        match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", parents[0])
        self.assertIsNotNone(match, parents[0])
        self.assertNotEqual(match[1], "0" * 32)
        self.assertNotEqual(match[2], "0" * 16)
        return match[1], match[2], match[3], ",".join(states) if states else None

    def one(self, *headers):
        return self.forwarded(headers)[0]

    def goes_on(self, *headers):
        trace, span, _, state = self.one(*headers)
        self.assertEqual(trace, TRACE)
        self.assertNotEqual(span, SPAN)
        return state

    def begins_anew(self, *headers):
        trace, _, _, state = self.one(*headers)
        self.assertNotEqual(trace, TRACE)
        self.assertIsNone(state)

    # ---- what the conformance suite asks ----

    def test_without_headers_a_trace_begins(self):
        self.begins_anew()
        first = self.context(Harness.seen.pop()[1])
        self.assertNotEqual(self.one()[0], first[0])

    def test_a_traceparent_is_carried_on(self):
        self.assertIsNone(self.goes_on(("traceparent", PARENT)))
        Harness.seen.clear()
        self.assertIsNone(self.goes_on(("TraceParent", PARENT)))
        Harness.seen.clear()
        self.assertIsNone(self.goes_on(("traceparent", f" \t{PARENT} \t")))

    def test_flags(self):
        self.assertEqual(self.one(("traceparent", PARENT))[2], "01")
        Harness.seen.clear()
        self.assertEqual(self.one(("traceparent", f"00-{TRACE}-{SPAN}-00"))[2], "00")

    def test_each_call_has_a_span_of_its_own(self):
        calls = self.forwarded([("traceparent", PARENT)], 3)
        self.assertEqual({trace for trace, _, _, _ in calls}, {TRACE})
        self.assertEqual(len({span for _, span, _, _ in calls} | {SPAN}), 4)

    def test_invalid_traceparents(self):
        for value in (f"00-{TRACE}-{SPAN}-01-", f"00-{TRACE}-{SPAN}-01.", f"ff-{TRACE}-{SPAN}-01", f".0-{TRACE}-{SPAN}-01",
                      f"0-{TRACE}-{SPAN}-01", f"000-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
                      f"00-.{TRACE[1:]}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN[1:]}-01",
                      f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-001", f"00-{TRACE}-{SPAN}-.0", "", "x",
                      PARENT.upper().replace("1", "A")):
            with self.subTest(value):
                Harness.seen.clear()
                self.begins_anew(("traceparent", value), ("tracestate", "foo=1"))

    def test_two_traceparents(self):
        self.begins_anew(("traceparent", PARENT), ("traceparent", PARENT))
        Harness.seen.clear()
        self.begins_anew(("traceparent", PARENT), ("traceparent", f"00-{TRACE[::-1]}-{SPAN}-01"))

    def test_the_future(self):
        for value in (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"):
            Harness.seen.clear()
            self.goes_on(("traceparent", value))
        Harness.seen.clear()
        self.begins_anew(("traceparent", f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like"))

    def test_tracestates(self):
        for lines, expected in ((["foo=1,bar=2"], "foo=1,bar=2"), (["foo=1", "bar=2"], "foo=1,bar=2"),
                                (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"), (["foo=1", ""], "foo=1"),
                                (["", "foo=1"], "foo=1"), (["foo=1,,,bar=2"], "foo=1,bar=2"), ([""], None),
                                (["foo=1,foo=1"], None), (["foo =1"], None), (["FOO=1"], None), (["foo.bar=1"], None),
                                (["foo@=1,bar=2"], None), (["@foo=1"], None), (["foo@@bar=1"], None), (["foo@bar@baz=1"], None),
                                (["foo"], None), (["foo=1=2"], None), (["foo=bar\u00e4"], None), (["=1"], None),
                                ([",".join(f"bar{i:02}={i:02}" for i in range(32))], ",".join(f"bar{i:02}={i:02}" for i in range(32))),
                                ([",".join(f"bar{i:02}={i:02}" for i in range(33))], None),
                                (["z" * 256 + "=1"], "z" * 256 + "=1"), (["z" * 257 + "=1"], None),
                                (["t" * 241 + "@" + "v" * 14 + "=1"], "t" * 241 + "@" + "v" * 14 + "=1"),
                                (["t" * 242 + "@v=1"], None), (["t@" + "v" * 15 + "=1"], None),
                                (["foo=" + "z" * 256], "foo=" + "z" * 256), (["foo=" + "z" * 257], None)):
            with self.subTest(lines):
                Harness.seen.clear()
                headers = [("traceparent", PARENT)] + [("tracestate", line.encode("latin-1")) for line in lines]
                self.assertEqual(self.goes_on(*headers), expected)

    def test_a_tracestate_alone(self):
        self.begins_anew(("tracestate", "foo=1"))

    # ---- what else it does ----

    def test_baggage_is_carried_on(self):
        self.forwarded([("baggage", "tenant=acme%20corp;ttl=5, other=1;p"), ("baggage", "bad member,third=3")])
        values = [v for k, v in Harness.seen[0][1] if k.lower() == "baggage"]
        self.assertEqual(values, ["tenant=acme%20corp;ttl=5,other=1;p,third=3"])

    def test_a_call_back_to_itself(self):
        status, answer = self.send([("traceparent", PARENT)], [
            {"url": self.front_url, "arguments": [{"url": self.harness_url, "arguments": []}]}] * 2)
        self.assertEqual((status, [one["status"] for one in answer]), (200, [200, 200]))
        self.assertEqual([self.context(items)[0] for _, items, _ in Harness.seen], [TRACE, TRACE])

    def test_bad_requests(self):
        for body in (b"", b"{", b"{}", b"[1]", b'[{"url": "x"}]', b'[{"arguments": []}]', b"\xff", b"[" * 100000):
            with self.subTest(body[:20]):
                self.assertEqual(self.send([], body)[0], 400)
        self.assertEqual(self.send([], b" " * (1 << 21))[0], 413)
        self.assertEqual(self.send([], None, "GET")[0], 405)
        self.assertEqual(self.send([], None, "GET", "/nothing")[0], 404)

    def test_urls_that_do_not_answer(self):
        status, answer = self.send([], [{"url": "http://127.0.0.1:1/", "arguments": []}, {"url": "file:///etc/passwd", "arguments": []}])
        self.assertEqual((status, [one["status"] for one in answer]), (200, [0, 0]))

    def test_an_actor_is_asked_over_zeromq(self):
        status, answer = self.send([("traceparent", PARENT), ("baggage", "tenant=acme")], None, "GET", "/greet/ada")
        self.assertEqual(status, 200)
        self.assertEqual(answer, {"hello": "ada", "tenant": "acme", "trace": TRACE, "path": "http > remote:greeter",
                                  "has_deadline": False})

    def test_a_deadline_reaches_the_actor(self):
        _, answer = self.send([("Finagle-Ctx-com.twitter.finagle.Deadline", "1 9000000000000000000")], None, "GET", "/greet/ada")
        self.assertIs(answer["has_deadline"], True)

    def test_the_client(self):
        result = subprocess.run([CLIENT, "--tenant", "caf\u00e9 & co", f"{self.front_url}greet/client"], check=True, text=True,
                                stdout=subprocess.PIPE, timeout=60)
        answer = json.loads(result.stdout)
        self.assertEqual((answer["hello"], answer["tenant"], answer["path"]), ("client", "caf\u00e9 & co", "http > remote:greeter"))
        self.assertRegex(answer["trace"], "^[0-9a-f]{32}$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
