"""What is killed, interrupted, or never there: no request is lost silently, and nothing is left behind."""
import json
import os
import re
import signal
import subprocess
import time

from demo import Case, LIMBO_MS, PATIENCE, Program, STOP_WITHIN, Watch, by_id, main, orders, started

UNANSWERED = ("timed out", "unreachable")


def ids(summary):
    return sorted(one for fate in UNANSWERED for one in summary["unanswered"][fate])


class Failure(Case):
    def until_answered(self, gateway, done):
        """Feeds one order after the other until one is answered: the way is open again. How many were done then."""
        deadline = time.monotonic() + PATIENCE
        while True:
            gateway.feed(orders(1))
            done += 1
            if gateway.traced(done)[-1]["fate"] == "answered":
                return done
            self.assertLess(time.monotonic(), deadline, gateway.err.text[-2000:])

    def kill_and_restart(self, gateway, inventory_pid, kill, restart):
        """Feeds, kills inventory with requests in flight, feeds, has it started again, feeds; checks all that came."""
        gateway.feed(orders(100))
        self.assertEqual({one["fate"] for one in gateway.traced(100)}, {"answered"})
        os.kill(inventory_pid, signal.SIGSTOP)  # so that the next ones are under way when it dies
        gateway.feed(orders(50))
        kill()
        lost = gateway.traced(150)[100:]
        restart()
        done = self.until_answered(gateway, 150)
        gateway.feed(orders(100))
        after = gateway.traced(done + 100)
        gateway.close_input()
        summary = json.loads(gateway.out.all())
        self.assertEqual(gateway.wait(), 1)
        self.assertEqual({one["fate"] for one in after[done:]}, {"answered"}, gateway.err.text[-2000:])
        self.check_hops(after[done:], by_id(orders(100)))
        self.assertEqual(len({one["request"] for one in after}), done + 100)
        self.assertEqual((summary["requests"], summary["answered"]),
                         (done + 100, sum(one["fate"] == "answered" for one in after)))
        self.assertEqual(ids(summary), sorted(one["request"] for one in after if one["fate"] != "answered"))
        for one in lost:
            self.assertIn(one["fate"], UNANSWERED)
            self.assertRegex(gateway.err.text, r"(?m)^%s \(line \d+, order %s\) %s: \S" % (
                one["request"], one["order"], one["fate"]))

    def test_kill_9_of_inventory_loses_no_request_and_a_restart_heals_it(self):
        with Program("inventory") as inventory, \
                Program("orders", "--inventory", inventory.endpoint()) as shop, \
                Program("gateway", "--orders", shop.endpoint(), "--timeout", str(LIMBO_MS), "--json", "-",
                        stdin=subprocess.PIPE, trace=True) as gateway:
            def restart():
                again = self.run_program("inventory", "--bind", inventory.endpoint())
                self.assertEqual(again.endpoint(), inventory.endpoint())
            self.kill_and_restart(gateway, inventory.pid, inventory.kill, restart)

    def test_a_killed_service_is_started_again_when_that_is_wanted(self):
        with Program("gateway", "--restart", "--timeout", str(LIMBO_MS), "--json", "-", stdin=subprocess.PIPE,
                     trace=True) as gateway:
            pid, _ = started(gateway, "inventory")
            gateway.feed(orders(1))
            self.assertEqual(gateway.traced(1)[0]["fate"], "answered")
            os.kill(pid, signal.SIGKILL)
            gateway.err.match("^inventory was killed: Killed$")
            gateway.err.match("^started inventory again, process")
            done = self.until_answered(gateway, 1)
            gateway.close_input()
            self.assertEqual(gateway.wait(), 1 if done > 2 else 0)
            summary = json.loads(gateway.out.all())
            self.assertEqual(summary["requests"], done)

    def test_a_service_that_dies_is_named_with_the_way_to_start_it_again(self):
        with Program("gateway", "--timeout", str(LIMBO_MS), "-", stdin=subprocess.PIPE, trace=True) as gateway:
            pid, endpoint = started(gateway, "inventory")
            gateway.feed(orders(1))
            gateway.traced(1)
            os.kill(pid, signal.SIGKILL)
            command = gateway.err.match(r"^to start it again: (\S+/inventory) --bind (\S+)$")
            self.assertEqual(command.group(2), endpoint)
            with Program("inventory", "--bind", endpoint) as inventory:
                inventory.endpoint()
                self.until_answered(gateway, 1)
                gateway.close_input()
                gateway.wait()

    # ---- interrupt -------------------------------------------------------------------------------

    def interrupt(self, gateway, stop, status):
        """Stops a gateway that is at work; it and its services must be gone in time."""
        watches = [Watch(started(gateway, name)[0]) for name in ("inventory", "orders")]
        gateway.feed(orders(20))
        gateway.traced(20)
        begun = time.monotonic()
        stop()
        self.assertEqual(gateway.wait(), status, gateway.err.text)
        took = time.monotonic() - begun
        for watch in watches:
            self.assertTrue(watch.ended(0), "a service is left running")
        self.assertLess(took, STOP_WITHIN)
        return gateway.out.all()

    def test_interrupting_the_gateway_alone_stops_everything(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with Program("gateway", "-", stdin=subprocess.PIPE, trace=True) as gateway:
                summary = self.interrupt(gateway, lambda: gateway.send(number), status)
                self.assertRegex(summary, r"(?m)^20 requests from standard input, interrupted$")
                self.assertRegex(summary, r"(?m)^  accepted +20 ")

    def test_interrupting_the_whole_group_stops_everything_and_reports_no_failure(self):
        with Program("gateway", "-", stdin=subprocess.PIPE, trace=True, group=True) as gateway:
            summary = self.interrupt(gateway, lambda: os.killpg(gateway.pid, signal.SIGINT), 130)
            self.assertRegex(summary, r"(?m)^  accepted +20 ")
            self.assertNotRegex(summary, "unreachable|timed out|failed|unfinished")

    def test_interrupting_one_process_stops_it(self):
        with Program("gateway", "--embedded", "-", stdin=subprocess.PIPE, trace=True) as gateway:
            gateway.feed(orders(20))
            gateway.traced(20)
            begun = time.monotonic()
            gateway.send(signal.SIGINT)
            self.assertEqual(gateway.wait(), 130)
            self.assertLess(time.monotonic() - begun, STOP_WITHIN)
            self.assertRegex(gateway.out.all(), r"(?m)^20 requests from standard input, interrupted$")

    def test_kill_9_of_orders_is_told_request_by_request(self):
        with Program("gateway", "--json", "--timeout", str(LIMBO_MS), "-", stdin=subprocess.PIPE, trace=True) as gateway:
            pid, _ = started(gateway, "orders")
            gateway.feed(orders(10))
            gateway.traced(10)
            os.kill(pid, signal.SIGKILL)
            gateway.err.match("^orders was killed: Killed$")
            gateway.feed(orders(10))
            lost = gateway.traced(20)[10:]
            gateway.close_input()
            self.assertEqual(gateway.wait(), 1)
            self.assertEqual(ids(json.loads(gateway.out.all())), ["req-%06d" % n for n in range(11, 21)])
            for one in lost:
                self.assertRegex(gateway.err.text, r"(?m)^%s .* %s: orders: \S" % (one["request"], one["fate"]))

    def test_interrupting_names_the_requests_that_were_under_way(self):
        with Program("gateway",  "--concurrency", "5", "-", stdin=subprocess.PIPE, trace=True,
                     terminal=True) as gateway:
            pid, _ = started(gateway, "inventory")

            def stop():
                os.kill(pid, signal.SIGSTOP)  # it will have to be killed
                gateway.feed(orders(9))
                gateway.err.match(r"20 answered, 0 failed, 5 under way")
                gateway.send(signal.SIGINT)
            summary = self.interrupt(gateway, stop, 130)
            self.assertRegex(summary, r"(?m)^  unfinished +5 ")
            self.assertRegex(summary, r"(?m)^  unfinished: req-000021\.\.req-000025$")

    def test_interrupting_a_gateway_that_reaches_nobody(self):
        with Program("gateway", "--orders", "tcp://127.0.0.1:1") as gateway:
            gateway.err.match("^dialling the order service at")
            begun = time.monotonic()
            gateway.send(signal.SIGINT)
            self.assertEqual(gateway.wait(), 130)
            self.assertLess(time.monotonic() - begun, STOP_WITHIN)

    def test_a_gateway_that_reaches_nobody_gives_up(self):
        with Program("gateway", "--orders", "tcp://127.0.0.1:1") as gateway:
            self.assertEqual(gateway.wait(), 2)
            self.assertIn("no order service answers at tcp://127.0.0.1:1", gateway.err.all())

    def test_kill_9_of_the_gateway_takes_the_services_with_it(self):
        with Program("gateway", "-", stdin=subprocess.PIPE) as gateway:
            watches = [Watch(started(gateway, name)[0]) for name in ("inventory", "orders")]
            gateway.kill()
            for watch in watches:
                self.assertTrue(watch.ended(PATIENCE), "a service outlived its gateway")

    def test_servers_stop_on_signals_and_leave_no_socket_file(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            endpoint = "ipc://%s/inventory" % self.folder.name
            with Program("inventory", "--bind", endpoint) as inventory:
                self.assertEqual(inventory.endpoint(), endpoint)
                self.assertEqual(os.listdir(self.folder.name), ["inventory"])
                with Program("orders", "--bind", "ipc://%s/orders" % self.folder.name, "--inventory", endpoint) as shop:
                    with Program("gateway", "--json", "--orders", shop.endpoint()) as gateway:
                        self.assertEqual(json.loads(gateway.out.all())["answered"], 400)
                    shop.send(number)
                    self.assertEqual(shop.wait(), 0, shop.err.text)
                inventory.send(number)
                self.assertEqual(inventory.wait(), 0, inventory.err.text)
            self.assertEqual(os.listdir(self.folder.name), [])

    def test_a_server_whose_endpoint_is_taken_says_so(self):
        with Program("inventory") as one, Program("inventory", "--bind", one.endpoint()) as other:
            self.assertEqual(other.wait(), 2)
            self.assertTrue(re.search("in use", other.err.all(), re.I), other.err.text)


if __name__ == "__main__":
    main()
