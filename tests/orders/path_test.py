"""Context at every hop: the sample, a thousand requests at once, and the same output from one process."""
import json
import re
import signal
import subprocess
import sys

from demo import Case, PATIENCE, Program, SAMPLE, SOURCE, by_id, main, orders


def without_times(summary):
    """A summary with what may differ from run to run taken out."""
    summary = re.sub(r"in [\d.]+ s: [\d,]+ a second, at most \d+", "in TIME", summary)
    return re.sub(r" *[\d.]+ ms", " TIME", summary)


class Path(Case):
    def test_the_sample_goes_through_and_every_hop_sees_its_own_request(self):
        with open(SAMPLE, encoding="utf-8") as sample:
            sent = by_id(sample.read())
        with Program("gateway", trace=True) as gateway:
            text = gateway.out.all()
            self.assertEqual(gateway.wait(), 0, gateway.err.text)
            requests = gateway.traced(len(sent))
            accepted = [request for request in requests if request["outcome"] != "refused by orders"]
            self.assertGreater(len(accepted), 300)
            self.check_hops(accepted, sent)
            for outcome in ("accepted", "out of stock", "unknown sku", "refused by orders"):
                self.assertTrue(any(request["outcome"] == outcome for request in requests), outcome)
            for piece in (r"^400 requests from orders.jsonl$", r"^  accepted +\d+ +\d+\.\d %$",
                          r"^  remote:orders > remote:inventory +[\d,]+ +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms$",
                          r"^one request as a path: req-\d+ of tenant \w+ ", r"^  api-gateway$",
                          r"^  .. remote:orders +[\d.]+ ms",
                          r"^     .. remote:inventory +[\d.]+ ms  \S+ x \d+: in stock$",
                          r"^     .. actor:pricing +[\d.]+ ms  [A-Z]{3} \d+\.\d\d$", r"all right$"):
                self.assertRegex(text, re.compile(piece, re.M))
            self.assertNotIn("\033", text + gateway.err.text)
            self.assertNotIn("\r", text + gateway.err.text)

    def test_the_sample_is_what_its_script_writes(self):
        made = subprocess.run([sys.executable, SOURCE + "/make_orders.py"], capture_output=True, check=True,
                              timeout=PATIENCE, env={"PYTHONUTF8": "1"}).stdout
        with open(SAMPLE, "rb") as sample:
            self.assertEqual(made, sample.read())

    def test_one_process_gives_the_same_output(self):
        summaries = []
        for arguments in ((), ("--embedded",)):
            with Program("gateway", "--quiet", "--concurrency", "8", *arguments) as gateway:
                summaries.append(without_times(gateway.out.all()))
                self.assertEqual((gateway.wait(), gateway.err.all()), (0, ""))
        self.assertIn("api-gateway", summaries[0])
        self.assertEqual(*summaries)

    def test_one_process_shows_every_hop_its_own_request(self):
        sent = orders(1000)
        with Program("gateway", "--embedded", "--concurrency", "1000",  self.file(sent),
                     trace=True) as gateway:
            self.assertEqual(gateway.wait(), 0, gateway.err.text)
            self.check_hops(gateway.traced(1000), by_id(sent))

    def test_a_thousand_requests_at_once_are_not_mixed_up(self):
        """Inventory is stopped until a thousand requests wait for it; then all replies come together."""
        sent = orders(1500, lines=3)
        with Program("inventory") as inventory, \
                Program("orders", "--inventory", inventory.endpoint()) as shop:
            inventory.send(signal.SIGSTOP)
            with Program("gateway", "--orders", shop.endpoint(), "--concurrency", "1000", 
                         "--json", self.file(sent), trace=True, terminal=True) as gateway:
                gateway.err.match(r"1,000 under way")
                inventory.send(signal.SIGCONT)
                summary = json.loads(gateway.out.all())
                self.assertEqual(gateway.wait(), 0, gateway.err.text)
                self.check_hops(gateway.traced(1500), by_id(sent))
        self.assertEqual(summary["most_in_flight"], 1000)
        self.assertEqual(summary["answered"], 1500)
        self.assertEqual(summary["hops_checked"], 1500 * 5)
        self.assertEqual(summary["unanswered"]["mixed up"], [])

    def test_progress_is_one_line_on_a_terminal_and_the_summary_stays_plain(self):
        with Program("gateway", "--embedded", "-", stdin=subprocess.PIPE, terminal=True) as gateway:
            gateway.feed(orders(3))
            gateway.err.match(r"\r\033\[K3 answered, 0 failed, 0 under way")
            gateway.close_input()
            self.assertEqual(gateway.wait(), 0)
            self.assertTrue(gateway.err.all().endswith("\r\033[K"))
            self.assertNotIn("\033", gateway.out.all())


if __name__ == "__main__":
    main()
