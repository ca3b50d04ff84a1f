"""Writes the fuzz targets' seeds, corpus/<target>/<what-it-is>.bin, from what is said here.

    make_seeds.py [--check]    with --check nothing is written: are the files as they would be?

Inputs that once found a bug are added here too, with a name that says what it was.
"""
import base64
import os
import struct
import sys

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))


def pack(item):
    return msgpack.packb(item, use_bin_type=True)


def entry(key, body, version=1, *more):
    return [key, version, body, *more]


def stamp(chain=(), entries=(), *more):
    return pack([1, list(chain), list(entries), *more])


RICH = [
    entry("blob", pack(b"\x00\x01\x02")),
    entry("double", pack(1.5)),
    entry("flag", pack(True)),
    entry("int", pack(-70000)),
    entry("local", pack("a stranger's")),
    entry("name", pack("alice")),
    entry("old", pack(7)),
    entry("point", pack([3, -4])),
    entry("uint", pack(2**64 - 1)),
    entry("unknown", b"\xc1\xff"),
]
# The heads that claim more than there is.
CLAIMS = {"str32": b"\xdb", "bin32": b"\xc6", "array32": b"\xdd", "map32": b"\xdf", "ext32": b"\xc9"}


def wire_seeds():
    seeds = {
        "empty-input": b"",
        "empty": stamp(),
        "example-of-the-docs": stamp(["api-gateway"], [entry("tenant", pack("acme1"))]),
        "rich": stamp(["gateway", "remote:orders"], RICH, {"later": [1, None]}),
        "rich-unsorted": stamp(["gateway"], RICH[::-1]),
        "rich-shouting": stamp(["GATEWAY"], [entry(e[0].upper(), e[2]) for e in RICH]),
        "elided": stamp(["a", "b", "c", "d", 7, "e"]),
        "elided-first": stamp([3, "a"]),
        "elided-alone": stamp([2**64 - 1]),
        "elided-twice": stamp([1, "a", 2]),
        "chain-of-32": stamp(["s%d" % i for i in range(32)]),
        "chain-of-33": stamp(["s%d" % i for i in range(33)]),
        "chain-full-and-elided": stamp(["a"] * 4 + [2**64 - 2] + ["b"] * 28),
        "entries-64": stamp([], [entry("k%d" % i, b"") for i in range(64)]),
        "entries-65": stamp([], [entry("k%d" % i, b"") for i in range(65)]),
        "twice": stamp([], [entry("name", pack("a")), entry("NAME", pack("b"))]),
        "twice-far-apart": stamp([], [entry("z", b"")] + RICH + [entry("Z", b"")]),
        "entry-with-more": stamp([], [entry("name", pack("a"), 1, {}, [None])]),
        "version-2": b"\x93\x02\x90\x90",
        "version-of-entry-later": stamp([], [entry("name", pack("a"), 2)]),
        "version-of-entry-earlier": stamp([], [entry("old", pack("text"), 2)]),
        "version-of-entry-none": stamp([], [entry("name", pack("a"), 0)]),
        "value-of-another-type": stamp([], [entry("name", pack(1)), entry("int", pack("1"))]),
        "value-cut-short": stamp([], [entry("name", b"\xa5ali"), entry("blob", b"\xc4\x05x")]),
        "value-with-more": stamp([], [entry("name", pack("a") + b"\xc0")]),
        "value-with-nul": stamp([], [entry("name", pack("a\0b"))]),
        "value-empty": stamp([], [entry("name", b""), entry("flag", b"")]),
        "value-float32": stamp([], [entry("double", b"\xca\x3f\x80\x00\x00")]),
        "value-integer-as-double": stamp([], [entry("double", pack(3))]),
        "value-huge-as-int": stamp([], [entry("int", pack(2**63)), entry("uint", pack(-1))]),
        "value-nested-17": stamp([], [entry("point", b"\x91" * 17 + b"\xc0")]),
        "more-nested-12": b"\x94\x01\x90\x90" + b"\x91" * 12 + b"\xc0",
        "more-nested-1000": b"\x94\x01\x90\x90" + b"\x91" * 1000 + b"\xc0",
        "bytes-after-it": stamp() + b"\xc0",
        "name-with-control": stamp(["a\nb"], [entry("a\tb", b"")]),
        "name-not-utf8": b"\x93\x01\x91\xa2\xff\xfe\x91\x93\xa2\xff\xfe\x01\xc4\x00",
        "name-128": stamp([], [entry("n" * 128, b"")]),
        "name-129": stamp([], [entry("n" * 129, b"")]),
        "long-heads": b"\xdd\x00\x00\x00\x03\xcf" + bytes(7) + b"\x01\xdc\x00\x01\xdb\x00\x00\x00\x01a"
                      b"\xdd\x00\x00\x00\x01\xdc\x00\x03\xda\x00\x04name\xce\x00\x00\x00\x01"
                      b"\xc6\x00\x00\x00\x02\xa1x",
    }
    for name, head in CLAIMS.items():
        seeds["claims-%s-as-all" % name] = head + b"\xff\xff\xff\xff"
        seeds["claims-%s-as-entries" % name] = b"\x93\x01\x90" + head + b"\xff\xff\xff\xff"
        seeds["claims-%s-as-value" % name] = stamp([], [entry("name", head + b"\xff\xff\xff\xff")])
    return seeds


def text_seeds():
    rich = stamp(["gateway"], RICH)
    texts = {
        "empty-input": "",
        "empty-stamp": "kwGQkA==",
        "empty-stamp-not-padded": "kwGQkA",
        "plus-and-slash": "lAGQkM3/+w==",
        "minus-and-underscore": "lAGQkM3_-w",
        "both-alphabets": "lAGQkM3/-w==",
        "stray-bits": "kwGQkB==",
        "padding-alone": "====",
        "padding-too-long": "kwGQkA===",
        "padding-too-short": "kwGQkA=",
        "padding-inside": "kwGQ=kA=",
        "one-letter-left": "kwGQk",
        "white-space": "kwGQ\nkA==",
        "nul-at-the-end": "kwGQkA==\0",
        "not-ascii": "kwGQkA\u00e9=",
        "rich": base64.b64encode(rich).decode(),
        "rich-url": base64.urlsafe_b64encode(rich).decode().rstrip("="),
        "too-long": "A" * 12000,
    }
    return {name: text.encode("latin-1") for name, text in texts.items()}


def calls(*numbers):
    """Calls of fuzz_reader.c, by their number there."""
    return bytes([len(numbers), *numbers])


def reader_seeds():
    seeds = {
        "no-calls": calls() + pack([1, "two", b"three", 4.0, None, True, {"k": -5}]),
        "one-of-each": calls(7, 3, 5, 6, 4, 0, 1, 8, 5, 2) + pack([1, "two", b"three", 4.0, None, True, {"k": -5}]),
        "wrong-type": calls(5, 5, 7) + pack(17),
        "fails-half-way": calls(7, 3, 251, 3, 5) + pack([1, 2, "x"]),
        "skip-all": calls(9) + pack([[[[1, {"a": {"b": [None]}}]]], "x" * 40]),
        "past-the-end": calls(3, 3, 3) + pack(1),
        "integers": calls() + pack([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1, 2**63,
                                    2**64 - 1, -1, -32, -33, -128, -129, -32768, -32769, -2**31, -2**31 - 1,
                                    -2**63]),
        "lengths": calls() + pack(["", "a" * 31, "a" * 32, "a" * 255, "a" * 256, b"", b"b" * 255, b"b" * 256,
                                   [0] * 15, [0] * 16, {i: i for i in range(15)}, {i: i for i in range(16)}]),
        "doubles": calls(4, 4) + pack([0.0, -0.0, 1.5, float("inf"), float("nan")]) + b"\xca\x7f\x80\x00\x00",
        "float32": calls() + b"\x92\xca\x3f\x80\x00\x00\xca\xff\xc0\x00\x01",
        "ext": calls(9) + b"\x93" + pack(msgpack.ExtType(5, b"12")) + pack(msgpack.ExtType(127, b"1" * 300)) + b"\xc0",
        "nested-16": calls(9) + b"\x91" * 16 + b"\xc0",
        "nested-17": calls(9) + b"\x91" * 17 + b"\xc0",
        "nested-maps": calls(9) + b"\x81\xc0" * 15 + b"\xc0",
        "undefined-byte": calls(9) + b"\x92\x01\xc1",
        "long-heads": calls(7, 5, 3) + b"\xdd\x00\x00\x00\x02\xdb\x00\x00\x00\x01a\xcf" + struct.pack(">Q", 5),
    }
    for name, head in CLAIMS.items():
        seeds["claims-" + name] = calls(10, 9, 5) + head + b"\xff\xff\xff\xff"
    return seeds


def link(kind=5, code=6, who="orders", reason="disk full", where='handler of "charge"', chain="api > actor:orders",
         *more):
    return [kind, code, who, reason, where, chain, *more]


def exit_seeds():
    one = pack([link()])
    seeds = {
        "empty-input": b"",
        "one": one,
        "with-causes": pack([link(7, 20), link(9, 20, "payments@third"), link()]),
        "of-33": pack([link(7, 20, "a%d" % i) for i in range(33)]),
        "of-34": pack([link(7, 20, "a%d" % i) for i in range(34)]),
        "none": pack([]),
        "more-elements": pack([link(1, 20, "a", "", "", "", None, [1, [2]])]),
        "five-elements": pack([[5, 6, "a", "b", "c"]]),
        "unknown-kind-and-code": pack([link(200, 199)]),
        "kind-none": pack([link(0, 0)]),
        "numbers-that-are-too-large": pack([link(2**64 - 1, 2**64 - 1)]),
        "negative": pack([link(-1, -6)]),
        "control-characters": pack([link(5, 6, "a\nb", "\x1b[2J\x00", "\x7f", "\t")]),
        "long-texts": pack([link(5, 6, "w" * 200, "r" * 5000, "\u00e9" * 2100, "c" * 5000)]),
        "name-cut-at-128": pack([link(5, 6, "w" * 127 + "\u00e9@x")]),
        "not-utf8": b"\x91\x96\x05\x06\xa1\xff\xa2\xc3\xa9\xa1\x80\xa0",
        "bytes-after-it": one + b"\xc0",
        "cut-short": one[:-1],
        "a-map": pack({"kind": 5}),
        "texts-of-another-type": pack([[5, 6, 7, b"x", None, []]]),
    }
    for name, head in CLAIMS.items():
        seeds["claims-" + name] = head + b"\xff\xff\xff\xff"
        seeds["claims-%s-within" % name] = b"\x91\x96\x05\x06" + head + b"\xff\xff\xff\xff"
    return seeds


def record(kind, payload=b"", target=b"", type_=b"", stamp_=b"", flags=0, code=0, sequence=0, correlation=0,
           length=None):
    size = 40 + len(target) + len(type_) + len(stamp_) + len(payload)
    head = struct.pack(">IBBBBQQQHHI", size if length is None else length, kind, flags, code, 0, sequence, 3,
                       correlation, len(target), len(type_), len(stamp_))
    return head + target + type_ + stamp_ + payload


def frame_seeds():
    magic = b"DCL\x01"
    hello = pack({"node": "there", "incarnation": 7, "window": 100, "limit": 1 << 20, "kinds": 29})
    tell = record(16, pack("hi"), b"orders", b"string", stamp(["api"]), sequence=1)
    watch = record(27, b"", b"orders", sequence=2, correlation=1)
    seeds = {
        "empty-input": b"",
        "magic-only": magic,
        "version-2": b"DCL\x02" + record(4),
        "hello": magic + record(1, hello),
        "ping-and-pong": magic + record(4, b"p" * 64) + record(5, b"p" * 64),
        "ping-of-65": magic + record(4, b"p" * 65),
        "tell": magic + tell,
        "two-of-one-context": magic + tell + record(16, b"", b"a", flags=1, sequence=2),
        "same-context-at-first": magic + record(16, flags=1, sequence=1),
        "ask-reply-error-cancel": magic + record(17, b"", b"a", sequence=1, correlation=9)
        + record(18, b"", sequence=2, correlation=9) + record(19, b"no", code=19, sequence=3, correlation=9)
        + record(20, pack([26, "why", "api"]), sequence=4, correlation=9),
        "stream": magic + b"".join(record(kind, pack(64), b"", b"uint64", sequence=kind, correlation=9)
                                   for kind in range(21, 27)),
        "watch-unwatch-ended": magic + watch + record(28, sequence=3, correlation=1)
        + record(29, pack([link()]), sequence=4, correlation=1),
        "watch-cut-in-its-name": (magic + watch)[:-3],
        "watch-without-a-number": magic + record(27, b"", b"orders", correlation=1),
        "watch-of-256": magic + record(27, b"", b"o" * 256, sequence=1, correlation=1),
        "ended-of-nothing": magic + record(29, sequence=1, correlation=2**64 - 1),
        "kind-30": magic + record(30, sequence=1),
        "kind-130": magic + record(130, b"x", sequence=1) + tell,
        "length-past-the-end": magic + record(4, length=41),
        "length-below-a-head": magic + record(4, length=39),
        "length-of-all-ones": magic + record(4, length=2**32 - 1),
        "reason-of-256": magic + record(19, b"r" * 256, sequence=1),
    }
    return seeds


def travels(name):
    """What is accepted, and so goes on to a second encoding."""
    refused = ("claims-", "empty-input", "elided-twice", "chain-of-33", "entries-65", "twice", "version-2",
               "version-of-entry-none", "more-nested-1000", "bytes-after-it", "name-with-control", "name-129")
    return not name.startswith(refused)


def main():
    check = sys.argv[1:] == ["--check"]
    wire = wire_seeds()
    wrong = []
    targets = {"decode": wire, "roundtrip": {name: wire[name] for name in wire if travels(name)},
               "base64": text_seeds(), "reader": reader_seeds(), "exit": exit_seeds(), "frame": frame_seeds()}
    for target, seeds in targets.items():
        folder = os.path.join(HERE, "corpus", target)
        os.makedirs(folder, exist_ok=True)
        for name, data in seeds.items():
            path = os.path.join(folder, name + ".bin")
            if not check:
                with open(path, "wb") as file:
                    file.write(data)
            elif not os.path.exists(path) or open(path, "rb").read() != data:
                wrong.append(path)
        for name in sorted(os.listdir(folder)):
            if name.removesuffix(".bin") not in seeds:
                wrong.append(os.path.join(folder, name) + " (nothing here makes it)")
    if wrong:
        sys.exit("not as make_seeds.py would have it:\n  " + "\n  ".join(wrong))


main()
