"""Runs a sample and compares what it prints with what it should print.

usage: check.py PROGRAM EXPECTED

The sample must end with status 0, write nothing to standard error, and print exactly the bytes of the file
EXPECTED.
"""
import difflib
import subprocess
import sys


def main():
    program, expected_path = sys.argv[1:]
    with open(expected_path, encoding="utf-8") as file:
        expected = file.read()
    run = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    printed = run.stdout.decode("utf-8", "backslashreplace")
    complaints = run.stderr.decode("utf-8", "backslashreplace")

    sys.stdout.writelines(difflib.unified_diff(expected.splitlines(keepends=True),
                                               printed.splitlines(keepends=True),
                                               "expected", "printed"))
    if complaints:
        print(f"standard error: {complaints}")
    if run.returncode != 0:
        print(f"exit status: {run.returncode}")
    return int(printed != expected or bool(complaints) or run.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
