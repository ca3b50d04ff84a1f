"""What the tests of the order service share: starting its programs, waiting for what they say, ending them."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "python"))

# meson gives the folder with the programs, the folder with the sample, and what the build is sanitized with.
BUILD, SOURCE, SANITIZED = sys.argv[-3:]
SAMPLE = os.path.join(SOURCE, "orders.jsonl")
# How long anything may take before the test fails; never how long it waits when all is well.
PATIENCE = 60 if SANITIZED == "none" else 180
# How long a request may wait for a service that is gone. Long enough that no other request needs it all.
LIMBO_MS = 2000 if SANITIZED == "none" else 15000
# Within two seconds everything has to stop; later on a machine that has more work than it can do.
STOP_WITHIN = (2.0 if SANITIZED == "none" else 8.0) * max(1.0, os.getloadavg()[0] / os.cpu_count())


class Lines:
    """Lines of a stream, read as they come by a thread, to be waited for."""

    def __init__(self, fd):
        self.fd, self.lines, self.ended = fd, [], False
        self.text = ""
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # a terminal whose other side has gone
                data = b""
            with self.news:
                self.text += data.decode(errors="replace")
                self.lines = self.text.split("\n")[:-1]
                self.ended = not data
                self.news.notify_all()
            if not data:
                os.close(self.fd)
                return

    def wait(self, until, what):
        """What `until(self)` returns, as soon as that is true."""
        deadline = time.monotonic() + PATIENCE
        with self.news:
            while True:
                found = until(self)
                if found:
                    return found
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError("%s: no %s in:\n%s" % (
                        "ended" if self.ended else "timed out", what, self.text[-4000:]))
                self.news.wait(left)

    def match(self, pattern):
        return self.wait(lambda lines: re.search(pattern, lines.text, re.M), repr(pattern))

    def first(self, count):
        self.wait(lambda lines: len(lines.lines) >= count, "line %d" % count)
        return self.lines[:count]

    def all(self):
        self.thread.join(PATIENCE)
        assert self.ended
        return self.text


class Program:
    """One of the programs, started. `terminal`: its standard error is one. Use as a context, so that it ends."""

    def __init__(self, name, *arguments, stdin=subprocess.DEVNULL, terminal=False, trace=False, group=False, env=None):
        # Nothing times out because the machine is busy, but where a test wants it.
        patience = ["--dead-after", "600000"] if SANITIZED != "none" else []
        if name == "gateway":
            patience += ["--timeout", "600000"]
        arguments = [os.path.join(BUILD, name), *patience, *arguments]
        inside = []
        self.trace = None
        if trace:
            read, write = os.pipe()
            inside.append(write)
            arguments[1:1] = ["--trace", "/dev/fd/%d" % write]
            self.trace = Lines(read)
        if terminal:
            ours, theirs = pty.openpty()
        else:
            ours, theirs = os.pipe()
        self.process = subprocess.Popen(arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=theirs,
                                        pass_fds=inside, start_new_session=group, env={**os.environ, **(env or {})})
        self.pid = self.process.pid
        os.close(theirs)
        for fd in inside:
            os.close(fd)
        self.err = Lines(ours)
        self.out = Lines(os.dup(self.process.stdout.fileno()))
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdin:
            self.process.stdin.close()

    def feed(self, data):
        self.process.stdin.write(data if isinstance(data, bytes) else data.encode())
        self.process.stdin.flush()

    def close_input(self):
        self.process.stdin.close()

    def send(self, number):
        os.kill(self.pid, number)

    def wait(self):
        """Its exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("%d does not end; it said:\n%s" % (self.pid, self.err.text[-4000:])) from None

    def kill(self):
        """kill -9, and wait until it is gone."""
        self.send(signal.SIGKILL)
        return self.wait()

    def endpoint(self):
        return self.out.match(r"^listening (\S+)$").group(1)

    def traced(self, count):
        """What became of the first `count` requests that were done."""
        return [json.loads(line) for line in self.trace.first(count)]


def started(gateway, name):
    """Process id and endpoint of a service that the gateway started."""
    found = gateway.err.match(r"^started %s, process (\d+), at (\S+)\r?$" % name)
    return int(found.group(1)), found.group(2)


class Watch:
    """Tells when a process that is not our child has ended. Make it while the process lives."""

    def __init__(self, pid):
        self.fd = os.pidfd_open(pid)

    def ended(self, seconds):
        over = bool(select.select([self.fd], [], [], seconds)[0])
        os.close(self.fd)
        return over


def orders(count, tenant=None, lines=2):
    """Orders that differ in every field, as JSON lines."""
    skus = ["BULB-E27", "MUG-ENAMEL", "NOTEBOOK-A5", "HOOK-BRASS", "CUP-STONE"]
    made = []
    for number in range(1, count + 1):
        made.append(json.dumps({
            "id": "T-%d" % number, "tenant": tenant or "tenant-%d" % (number % 17), "customer": "Customer %d" % number,
            "currency": ("EUR", "GBP", "USD")[number % 3], "express": number % 2 == 0,
            "lines": [{"sku": skus[(number + i) % len(skus)], "quantity": number % 50 + 1} for i in range(lines)]}))
    return "".join(line + "\n" for line in made)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="orders-")
        self.addCleanup(self.folder.cleanup)

    def run_program(self, *arguments, **options):
        """A program that ends with the test, at the latest."""
        program = Program(*arguments, **options)
        self.addCleanup(program.__exit__)
        return program

    def file(self, content):
        path = os.path.join(self.folder.name, "input.jsonl")
        with open(path, "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        return path

    def check_hops(self, requests, sent):
        """Each request's hops worked for it, and came the way they must. `sent`: the orders by id, as they were fed."""
        chain = ["api-gateway > remote:orders", "api-gateway > remote:orders > remote:inventory",
                 "api-gateway > remote:orders > actor:pricing"]
        self.assertEqual(len({request["request"] for request in requests}), len(requests))
        for request in requests:
            order = sent[request["order"]]
            self.assertEqual(request["fate"], "answered", request)
            self.assertEqual(request["tenant"], order["tenant"])
            lines = len(order["lines"])
            self.assertEqual([hop["chain"] for hop in request["hops"]], [chain[0]] + [chain[1]] * lines + [chain[2]])
            for hop in request["hops"]:
                self.assertEqual(hop["request"], request["request"])
                self.assertEqual(hop["tenant"], order["tenant"])
                self.assertEqual(hop["express"], order.get("express", False))
            for line, hop in zip(order["lines"], request["hops"][1:]):
                self.assertTrue(hop["what"].startswith(line["sku"]), (line, hop))


def by_id(text):
    return {order["id"]: order for order in map(json.loads, text.splitlines())}


def main():
    unittest.main(argv=sys.argv[:1], verbosity=2)
