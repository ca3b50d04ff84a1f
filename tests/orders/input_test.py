"""Input as it comes: lines that are no orders are reported with their number, and the run goes on."""
import json
import re
import subprocess

from demo import Case, Program, main, orders

GOOD = {"id": "G", "tenant": "acme", "customer": "C", "currency": "EUR", "lines": [{"sku": "BULB-E27", "quantity": 1}]}


def order(**changes):
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None})


def peak_memory(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024


class Input(Case):
    def run_lines(self, content, *arguments):
        """(exit status, summary, reason by line number)"""
        with Program("gateway", "--embedded", "--json", *arguments, self.file(content)) as gateway:
            summary = json.loads(gateway.out.all())
            status = gateway.wait()
            refused = dict(re.findall(r"^line (\d+) refused: (.*)$", gateway.err.all(), re.M))
        return status, summary, {int(line): why for line, why in refused.items()}

    def test_each_fault_is_reported_with_its_line_and_the_run_goes_on(self):
        faults = [
            (b"this is not JSON", "not JSON"),
            (b'{"id": "A-1", "tenant": "acme"', "not JSON"),
            (b"[" * 5000, "not JSON"),
            (b'"a string"', "not (JSON|a JSON object)"),
            (b"[1, 2]", "not a JSON object"),
            (b'{"id": "\xff\xfe"}', "not JSON"),
            (b"\0\0\0", "not JSON"),
            (order(id=None), 'no field "id"'),
            (order(tenant=None), 'no field "tenant"'),
            (order(customer=None), 'no field "customer"'),
            (order(currency=None), 'no field "currency"'),
            (order(lines=None), 'no field "lines"'),
            (order(lines=[{"quantity": 1}]), 'no field "sku"'),
            (order(lines=[{"sku": "X"}]), 'no field "quantity"'),
            (order(lines=[{"sku": "X", "quantity": 1.5}]), "not an integer"),
            (order(lines=["X"]), "not an object"),
            (order(lines={}), "not an array"),
            (order(lines=[{"sku": "X", "quantity": 1}] * 51), "51 lines"),
            (order(express="yes"), "not true or false"),
            (order(id=7), '"id" is not a string'),
            (order(id=""), '"id" is empty'),
            (order(id="x" * 40), "longer than 39"),
            (order(tenant="\x1b[2J"), "control characters"),
            (order(tenant="\x9b2J"), "control characters"),
            (order(id="a\0b"), "not JSON|control characters"),
            (order()[:-1] + ', "id": "B"}', "not JSON"),
        ]
        content = b"".join(line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")
                           for fault, _ in faults for line in (fault, b"\n", order(), b"\n"))
        status, summary, refused = self.run_lines(content)
        self.assertEqual(status, 1)
        self.assertEqual(sorted(refused), [2 * i + 1 for i in range(len(faults))])
        for i, (fault, why) in enumerate(faults):
            self.assertRegex(refused[2 * i + 1], why, fault)
        self.assertEqual(summary["refused"]["count"], len(faults))
        self.assertEqual(summary["answered"], len(faults))

    def test_what_the_shop_refuses_is_an_answer(self):
        lines = [order(currency="DKK"), order(lines=[]), order(lines=[{"sku": "BULB-E27", "quantity": 0}]),
                 order(lines=[{"sku": "BULB-E27", "quantity": 2**62}]),
                 order(lines=[{"sku": "NO-SUCH", "quantity": 1}]),
                 order(lines=[{"sku": "RUG-JUTE", "quantity": 1}])]
        status, summary, refused = self.run_lines("\n".join(lines))
        self.assertEqual((status, refused), (0, {}))
        self.assertEqual(summary["outcomes"],
                         {"accepted": 0, "out of stock": 1, "unknown sku": 1, "refused by orders": 4})
        why = " | ".join(one["why"] for one in summary["not_accepted"]["first"])
        for piece in ("EUR, GBP and USD", "no lines", "between 1 and 1000", "NO-SUCH: not in the catalogue",
                      "RUG-JUTE x 1: none on hand"):
            self.assertIn(piece, why)

    def test_line_ends_and_blank_lines_are_nobodys_fault(self):
        content = order() + "\r\n\n   \n" + order() + "\n\n" + order()
        status, summary, refused = self.run_lines(content)
        self.assertEqual((status, refused, summary["answered"]), (0, {}, 3))

    def test_no_input_at_all_is_fine(self):
        status, summary, refused = self.run_lines(b"", "--repeat", "1000")
        self.assertEqual((status, refused, summary["requests"], summary["example"]), (0, {}, 0, None))

    def test_a_line_of_the_longest_length_is_taken_and_one_byte_more_is_not(self):
        taken = order().encode().ljust(65536)
        status, summary, refused = self.run_lines(taken + b"\n" + taken + b" \n" + taken + b"\n" + taken)
        self.assertEqual((status, summary["answered"]), (1, 3))
        self.assertEqual(refused, {2: "it is 65,537 bytes long, at most 65536 are taken"})

    def test_ten_megabytes_without_a_line_end_take_no_memory(self):
        size = 10 << 20
        with Program("gateway", "--embedded", "--json", "-", stdin=subprocess.PIPE, trace=True) as gateway:
            gateway.feed(orders(1))
            gateway.traced(1)
            before = peak_memory(gateway.pid)
            gateway.feed(b"x" * size)
            gateway.feed("\n" + orders(1))
            gateway.err.match(r"^line 2 refused: it is 10,485,760 bytes long")
            self.assertEqual(gateway.traced(2)[1]["line"], 3)
            self.assertLess(peak_memory(gateway.pid) - before, size // 4)
            gateway.close_input()
            self.assertEqual(gateway.wait(), 1)
            self.assertEqual(json.loads(gateway.out.all())["answered"], 2)

    def test_a_file_is_repeated_and_its_faults_are_told_once(self):
        status, summary, refused = self.run_lines(order() + "\nfault\n" + order(), "--repeat", "5")
        self.assertEqual((status, summary["requests"], summary["answered"]), (1, 10, 10))
        self.assertEqual((list(refused), summary["refused"]["count"]), ([2], 1))

    def test_wrong_usage_and_what_cannot_be_opened_end_with_status_two(self):
        for arguments, what in ((["--nonsense"], "nonsense"), (["--repeat", "0"], "--repeat"),
                                (["--repeat", "2", "-"], "--repeat wants a file"), (["--concurrency", "x"], "'x'"),
                                (["--timeout", "-1"], "--timeout"), (["a", "b"], "one FILE"),
                                (["--embedded", "--orders", "tcp://127.0.0.1:1"], "exclude"),
                                (["/nowhere/orders.jsonl"], "cannot open"),
                                (["--embedded", self.folder.name], "Is a directory"),
                                (["--orders", "nonsense"], "cannot start")):
            with Program("gateway", *arguments) as gateway:
                self.assertEqual(gateway.wait(), 2, arguments)
                self.assertIn(what, gateway.err.all())
        for program in ("orders", "inventory"):
            with Program(program, "--inventory" if program == "inventory" else "--nonsense", "x") as server:
                self.assertEqual(server.wait(), 2)
            with Program(program, "--help") as server:
                self.assertEqual(server.wait(), 0)
                self.assertIn("Usage: " + program, server.out.all())
        with Program("gateway", "--help") as gateway:
            self.assertEqual(gateway.wait(), 0)
            self.assertIn("Exit status", gateway.out.all())


if __name__ == "__main__":
    main()
