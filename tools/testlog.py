#!/usr/bin/python3
"""Counts single test cases in meson's test log: "N passed, N failed[, N skipped]".

usage: testlog.py LOG_DIRECTORY

An executable that closes with a Criterion "Synthesis" line counts as the cases it tells of, any other
as one. One that was to run and did not end well counts as a failure even where its cases all passed.
Exits with 1 if anything failed or nothing ran.
"""
import glob
import json
import os
import re
import sys

SYNTHESIS = re.compile(
    r"^(?:\x1b\[[0-9;]*m|\[====\]|\s)*Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+)", re.M)
PLAIN = re.compile(r"\x1b\[[0-9;]*m")


def count(test):
    """(passed, failed, skipped) of one executable, an object of testlog.json."""
    result = test["result"]
    if result == "SKIP":
        return 0, 0, 1
    good = result in ("OK", "EXPECTEDFAIL")
    text = PLAIN.sub("", (test.get("stdout") or "") + "\n" + (test.get("stderr") or ""))
    lines = SYNTHESIS.findall(text)
    if not lines:
        return (1, 0, 0) if good else (0, 1, 0)
    tested, passed, _ = (int(n) for n in lines[-1])
    failed = tested - passed
    if not good and failed == 0:
        failed = 1
    return passed, failed, 0


def main():
    passed = failed = skipped = 0
    for name in glob.glob(os.path.join(sys.argv[1], "testlog*.json")):
        with open(name, encoding="utf-8", errors="replace") as log:
            for line in log:
                counts = count(json.loads(line))
                passed, failed, skipped = (a + b for a, b in zip((passed, failed, skipped), counts))
    print("%d passed, %d failed" % (passed, failed) + (", %d skipped" % skipped if skipped else ""))
    return 1 if failed or passed + skipped == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
