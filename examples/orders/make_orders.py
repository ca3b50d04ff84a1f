#!/usr/bin/env python3
"""Writes the sample orders: the same ones every time. Usage: make_orders.py [COUNT] > orders.jsonl"""
import json
import random
import sys

TENANTS = ["acme"] * 4 + ["globex"] * 3 + ["initech"] * 2 + ["umbrella"]
CURRENCIES = ["EUR"] * 6 + ["GBP"] * 2 + ["USD"] * 2
FIRST = ["Ada", "Björn", "Chidi", "Dorota", "Elena", "Farid", "Grace", "Håkon", "Ines", "Jiří", "Keiko", "Lucía",
         "Mehmet", "Niamh", "Olga", "Paweł", "Quentin", "Rosa", "Seán", "Thùy", "Uma", "Vera", "Wim", "Yusuf", "Zoë"]
LAST = ["Andersen", "Bakker", "Costa", "Dubois", "Eriksson", "Fischer", "García", "Hopper", "Ito", "Jansen", "Kowalska",
        "Lovelace", "Moreau", "Novák", "O'Brien", "Petrov", "Quist", "Rossi", "Schneider", "Tanaka", "Ueda", "Weber"]
# What people buy, how often, and how many at most; the catalogue has the rest.
GOODS = [("BULB-E27", 9, 8), ("MUG-ENAMEL", 8, 6), ("NOTEBOOK-A5", 8, 12), ("CANDLE-BEESWAX", 7, 6),
         ("TOWEL-LINEN", 7, 6), ("CUP-STONE", 6, 8), ("BOTTLE-STEEL", 6, 3), ("HOOK-BRASS", 5, 10),
         ("CUSHION-LINEN", 5, 4), ("PLANTER-CLAY", 4, 5), ("KNIFE-BREAD", 4, 2), ("TRAY-BIRCH", 4, 3),
         ("BASKET-WILLOW", 4, 3), ("BREAD-BOARD", 4, 2), ("DESK-LAMP", 4, 2), ("TEAPOT-GLASS", 3, 2),
         ("BOWL-OAK", 3, 4), ("COFFEE-MILL", 3, 1), ("KETTLE-1L", 3, 1), ("PAN-IRON", 3, 2), ("BLANKET-WOOL", 3, 2),
         ("POT-STEEL", 2, 1), ("CLOCK-WALL", 2, 1), ("LAMP-FLOOR", 2, 2), ("STOOL-OAK", 2, 4), ("SHELF-PINE", 2, 3),
         ("MIRROR-ROUND", 2, 1), ("CHAIR-ASH", 2, 6), ("DESK-BEECH", 1, 2), ("TABLE-OAK", 1, 1)]
# Sold out, too few of, and mistyped: so that not every order goes through.
ODD = [("FRAME-A4", 4), ("RUG-JUTE", 1), ("VASE-BLUE", 6), ("TABLE-OAK", 8), ("MUG-ENAMELL", 2), ("LAMP-LAVA", 1)]


def order(chance, number):
    lines = {}
    for _ in range(chance.choices([1, 2, 3, 4, 5], [30, 30, 20, 12, 8])[0]):
        sku, _, most = chance.choices(GOODS, [weight for _, weight, _ in GOODS])[0]
        lines[sku] = chance.randint(1, most)
    if chance.random() < 0.08:
        sku, quantity = chance.choice(ODD)
        lines[sku] = quantity
    made = {"id": f"A-{1000 + number}", "tenant": chance.choice(TENANTS),
            "customer": f"{chance.choice(FIRST)} {chance.choice(LAST)}", "currency": chance.choice(CURRENCIES),
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()]}
    if chance.random() < 0.01:
        made["currency"] = "DKK"  # which the shop does not take
    if chance.random() < 0.25:
        made["express"] = True
    return made


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    chance = random.Random(20240229)
    for number in range(1, count + 1):
        print(json.dumps(order(chance, number), ensure_ascii=False))


if __name__ == "__main__":
    main()
