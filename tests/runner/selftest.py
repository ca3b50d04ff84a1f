"""The built-in test runner reports each way a test can end, and sanitizers' findings fail a test.

usage: selftest.py EXECUTABLE SANITIZERS
"""
import os
import subprocess
import sys

executable, sanitizers = sys.argv[1], sys.argv[2].split(",")
wrong = 0


def run(name, status, tally, *texts, absent=()):
    """Runs one test by name and compares the exit status, the closing line and some of the text."""
    global wrong
    # Reports of this program are wanted ones: not into the log the suite's own reports go to.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("SAN_OPTIONS")}
    done = subprocess.run([executable, "--filter", "selftest/" + name], env=environment, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tested, passing, failing, crashing = tally
    line = "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d" % (
        tested, passing, failing, crashing)
    problems = [] if done.returncode == status else ["exit status %d" % done.returncode]
    problems += ["no %r" % text for text in (line,) + texts if text not in done.stdout]
    problems += ["there is %r" % text for text in absent if text in done.stdout]
    if problems:
        wrong += 1
        print("%s: %s\n%s" % (name, ", ".join(problems), done.stdout))


run("passes", 0, (1, 1, 0, 0), "init ran", "fini ran")
run("assert_ends_the_test", 1, (1, 0, 1, 0), "the message 42", "fini ran", absent=("went on",))
run("expect_goes_on", 1, (1, 0, 1, 0), "went on", "`actual`", "`wanted`")
run("null_string_fails", 1, (1, 0, 1, 0), "(null)")
run("assert_in_a_thread", 1, (1, 0, 1, 0))
run("crashes", 1, (1, 0, 1, 1), "CRASH!")
run("hangs", 1, (1, 0, 1, 1), "Timed out.")
run("exits_early", 1, (1, 0, 1, 0), "before it ended")
run("disabled", 0, (0, 0, 0, 0))
if "address" in sanitizers:
    run("leaks", 1, (1, 0, 1, 0), "LeakSanitizer")
else:
    run("leaks", 0, (1, 1, 0, 0))
if "thread" in sanitizers:
    run("races", 1, (1, 0, 1, 0), "data race")
else:
    run("races", 0, (1, 1, 0, 0))
run("[ac]*", 1, (3, 0, 3, 1))
sys.exit(1 if wrong else 0)
