"""Peers in Python, from docs/wire.md: they ask actors with a context of their own, and read what actors stamped."""
import json
import random
import time

import msgpack

from demo import Case, PATIENCE, Program, by_id, main, orders

import wire
from node import Context, Node

wire.PATIENCE_MS = PATIENCE * 1000
IN_STOCK = 0
CONTEXT = {"request-id": "py-1", "tenant": "acme", "feature.express": True, "budget-ms": 20000}
ORDER = ["A-1", "Ada", "EUR", [["BULB-E27", 4], ["MUG-ENAMEL", 2]]]


class Asker(wire.Peer):
    """Asks the shop's actors."""

    def __init__(self, shop, **options):
        super().__init__(shop.endpoint(), **{"to": "shop", **options})
        self.asked = 0

    def begin(self, target, type, payload, stamp):
        self.asked += 1
        self.send(wire.Record(wire.ASK, correlation=self.asked, target=target, type=type, stamp=stamp,
                              payload=msgpack.packb(payload)))

    def end(self):
        while True:
            record = self.next()
            if record.kind in (wire.REPLY, wire.ERROR):
                assert record.correlation == self.asked
                return record

    def ask(self, *what):
        self.begin(*what)
        return self.end()

    def close(self):
        self.send(wire.Record(wire.BYE))
        self.socket.close(1000)


class Asking(Case):
    def setUp(self):
        super().setUp()
        self.inventory = self.run_program("inventory")
        self.shop = self.run_program("orders", "--inventory", self.inventory.endpoint())
        self.asker = Asker(self.shop)
        self.addCleanup(self.asker.close)

    def test_a_python_client_is_answered_with_the_chain_it_expects(self):
        self.assertEqual(msgpack.unpackb(self.asker.welcome.payload)["node"], "shop")
        reply = self.asker.ask("orders", "shop.order", ORDER, wire.context(["python-client"], CONTEXT))
        self.assertEqual((reply.kind, reply.type), (wire.REPLY, "shop.answer"), reply)
        outcome, cents, reason, wrong_returns, hops = msgpack.unpackb(reply.payload)
        self.assertEqual((outcome, reason, wrong_returns), (0, "", 0))
        # 4 x 7.90 and 2 x 11.90, ten per cent off for acme, 7.50 for express: the context's doing.
        self.assertEqual(cents, (4 * 790 + 2 * 1190) * 90 // 100 + 750)
        path = "python-client > remote:orders"
        self.assertEqual([hop[0] for hop in hops], [
            [path, "py-1", "acme", True, 20000],
            [path + " > remote:inventory", "py-1", "acme", True, 18000],
            [path + " > remote:inventory", "py-1", "acme", True, 18000],
            [path + " > actor:pricing", "py-1", "acme", True, 18000]])
        self.assertEqual(reply.stamp, b"", "a reply carries no context back")

    def test_a_stamp_in_any_msgpack_form_and_order_is_read(self):
        entries = [["tenant", 1, b"\xd9\x04acme"], ["REQUEST-ID", 1, b"\xdb\x00\x00\x00\x04py-2"],
                   ["x.more", 9, b"?", 4]]
        stamp = msgpack.packb([1, ["a", 3, "b"], entries, "further"])
        reply = self.asker.ask("orders", "shop.order", ORDER, stamp)
        self.assertEqual(reply.kind, wire.REPLY, reply)
        self.assertEqual(msgpack.unpackb(reply.payload)[4][0][0][:3],
                         ["a > [3 more] > b > remote:orders", "py-2", "acme"])

    def test_what_cannot_be_answered_comes_back_as_an_error_with_a_reason(self):
        stamp = wire.context(["python-client"], CONTEXT)
        huge = ["A-1", "Ada", "EUR", [["BULB-E27", 2**63 - 1]]]
        for target, name, payload, context, code, reason in (
                ("nobody", "shop.order", ORDER, stamp, 19, ""),
                ("orders", "shop.order", ORDER, b"", 22, "names no request"),
                ("orders", "shop.order", ORDER, wire.context(["x"], {"request-id": "py-3"}), 22, "names no request"),
                ("orders", "shop.order", ORDER, b"\x93\x02\x90\x90", 22, "names no request"),
                ("orders", "shop.order", ORDER, b"\xdf\xff\xff\xff\xff", 22, "names no request"),
                ("orders", "shop.parcel", ORDER, stamp, 6, "asked with a shop.order"),
                ("orders", "shop.order", ["A-1"], stamp, 6, "asked with a shop.order"),
                ("orders", "shop.order", ["\x1b[2J", "Ada", "EUR", []], stamp, 6, "asked with a shop.order"),
                ("pricing", "shop.order", huge, stamp, 22, "a quantity")):
            reply = self.asker.ask(target, name, payload, context)
            self.assertEqual((reply.kind, reply.code), (wire.ERROR, code), reply)
            self.assertIn(reason, reply.payload.decode())
        self.assertEqual(self.asker.ask("orders", "shop.order", ORDER, stamp).kind, wire.REPLY)


class Warehouse(Case):
    """Python plays the inventory's node: all that it knows of a request is what an actor stamped."""

    def setUp(self):
        super().setUp()
        self.warehouse = Node("warehouse")
        self.addCleanup(self.warehouse.close)
        self.shop = self.run_program("orders", "--inventory", self.warehouse.endpoint)
        self.deadline = time.monotonic() + PATIENCE

    def collect(self, count):
        asks = []
        while len(asks) < count:
            asks += self.warehouse.messages(self.deadline)
        return asks

    def answer(self, identity, ask):
        context = Context(ask.stamp)
        seen = [context.path("remote:inventory"), context["request-id"], context["tenant"], context["feature.express"],
                context["budget-ms"]]
        self.warehouse.reply(identity, ask, "shop.stock", [seen, IN_STOCK, 99])

    def test_what_an_actor_stamped_is_read_and_unknown_entries_travel_on(self):
        odd = (7, b"\xc1 not even msgpack")

        def stamp(chain, budget):
            values = {key: (1, msgpack.packb(value)) for key, value in {**CONTEXT, "budget-ms": budget}.items()}
            values["py.note"] = odd
            return msgpack.packb([1, chain, [[key, *values[key]] for key in sorted(values)]])
        asker = Asker(self.shop)
        self.addCleanup(asker.close)
        asker.begin("orders", "shop.order", ORDER, stamp(["python-client"], 20000))
        for (identity, ask), line in zip(self.collect(2), ORDER[3]):
            context = Context(ask.stamp)
            self.assertEqual((ask.kind, ask.target, ask.type), (wire.ASK, "inventory", "shop.line"))
            self.assertEqual(msgpack.unpackb(ask.payload), line)
            self.assertEqual(context.chain, ["python-client", "remote:orders"])
            self.assertEqual({key: context[key] for key in CONTEXT}, {**CONTEXT, "budget-ms": 18000})
            self.assertEqual(context.raw["py.note"], odd)
            # Equal contexts have equal bytes, whoever wrote them.
            self.assertEqual(ask.stamp, stamp(["python-client", "remote:orders"], 18000))
            self.answer(identity, ask)
        self.assertEqual([hop[0][0] for hop in msgpack.unpackb(asker.end().payload)[4]][1:3],
                         ["python-client > remote:orders > remote:inventory"] * 2)

    def test_a_thousand_requests_wait_at_once_and_are_answered_in_any_order(self):
        sent = orders(1000, lines=2)
        fed = by_id(sent)
        gateway = self.run_program("gateway", "--orders", self.shop.endpoint(), "--concurrency", "1000", "--json",
                                   self.file(sent), trace=True)
        asks = self.collect(2000)
        waiting = {}
        for _, ask in asks:
            context = Context(ask.stamp)
            self.assertEqual(context.chain, ["api-gateway", "remote:orders"])
            waiting.setdefault(context["request-id"], []).append((context, msgpack.unpackb(ask.payload)))
        self.assertEqual(len(waiting), 1000)
        random.Random(7).shuffle(asks)
        for identity, ask in asks:
            self.answer(identity, ask)
        while any(connection.held for connection in self.warehouse.connections.values()):
            self.warehouse.messages(self.deadline)
        done = gateway.traced(1000)
        self.assertEqual(gateway.wait(), 0, gateway.err.text)
        self.check_hops(done, fed)
        # What Python read in each stamp is the request that the order was sent with.
        for one in done:
            order = fed[one["order"]]
            self.assertEqual(sorted(line for _, line in waiting[one["request"]]),
                             sorted([line["sku"], line["quantity"]] for line in order["lines"]))
            self.assertEqual({context["tenant"] for context, _ in waiting[one["request"]]}, {order["tenant"]})
        self.assertEqual(json.loads(gateway.out.all())["most_in_flight"], 1000)


if __name__ == "__main__":
    main()
