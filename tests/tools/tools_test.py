"""The project's own tools: the count of test cases, the header reader, the symbol check.

usage: tools_test.py TOOLS_DIRECTORY
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

TOOLS = os.path.abspath(sys.argv.pop())
sys.dont_write_bytecode = True
sys.path.insert(0, TOOLS)

import headers  # noqa: E402
import symbols  # noqa: E402
import testlog  # noqa: E402

CLOSING = "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d \n"


class Count(unittest.TestCase):
    def count(self, result, out="", err=""):
        return testlog.count({"result": result, "stdout": out, "stderr": err})

    def test_cases_of_criterion_count_one_by_one(self):
        self.assertEqual(self.count("OK", err=CLOSING % (7, 7, 0, 0)), (7, 0, 0))
        self.assertEqual(self.count("FAIL", out=CLOSING % (7, 4, 3, 1)), (4, 3, 0))

    def test_colours_do_not_hide_the_closing_line(self):
        line = "\x1b[0m[\x1b[1;34m====\x1b[0m] Synthesis: Tested: 5 | Passing: 4 | Failing: 1 | Crashing: 0"
        self.assertEqual(self.count("FAIL", err=line), (4, 1, 0))

    def test_a_program_without_closing_line_counts_as_one(self):
        self.assertEqual(self.count("OK"), (1, 0, 0))
        self.assertEqual(self.count("EXPECTEDFAIL"), (1, 0, 0))
        for bad in ("FAIL", "TIMEOUT", "ERROR", "INTERRUPT", "UNEXPECTEDPASS"):
            self.assertEqual(self.count(bad), (0, 1, 0), bad)
        self.assertEqual(self.count("SKIP"), (0, 0, 1))

    def test_a_crash_after_the_closing_line_is_a_failure(self):
        self.assertEqual(self.count("FAIL", err=CLOSING % (3, 3, 0, 0)), (3, 1, 0))

    def closing(self, *tests):
        with tempfile.TemporaryDirectory() as logs:
            with open(os.path.join(logs, "testlog.json"), "w", encoding="utf-8") as file:
                file.writelines(json.dumps(test) + "\n" for test in tests)
            done = subprocess.run([sys.executable, os.path.join(TOOLS, "testlog.py"), logs],
                                  stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout

    def test_the_closing_line_adds_up(self):
        self.assertEqual(self.closing({"result": "OK", "stderr": CLOSING % (3, 3, 0, 0)}, {"result": "OK"}),
                         (0, "4 passed, 0 failed\n"))
        self.assertEqual(self.closing({"result": "OK"}, {"result": "FAIL"}, {"result": "SKIP"}),
                         (1, "1 passed, 1 failed, 1 skipped\n"))

    def test_no_test_at_all_is_no_success(self):
        self.assertEqual(self.closing(), (1, "0 passed, 0 failed\n"))


HEADER = """/*
 * dcontext/thing.h - things, one by one.
 */
#ifndef DCONTEXT_THING_H
#define DCONTEXT_THING_H

#define DCTX_EXPORT __attribute__((visibility("default")))

/* ---- making -------------------------------------------------------- */

/*
 * Make a thing.
 *
 * Ownership: the caller's.
 * Errors: DCTX_ERR_NOMEM,
 *   and none other.
 */
DCTX_EXPORT __attribute__((format(printf, 1, (2)))) int dctx_thing_new(const char *name,
                                                                       void (*call)(void *arg));
DCTX_EXPORT void dctx_thing_destroy(thing_t **thing_p);

/* Several. */
DCTX_EXPORT extern const thing_t dctx_things[];
DCTX_EXPORT int dctx_thing_secret_(void);
%s
#define DCTX_THING(a) \\
    DCTX_EXPORT int not_a_declaration(a)

#endif
"""


class Headers(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = self.folder.name
        self.directory = os.path.join(self.root, "context", "include", "dcontext")
        os.makedirs(self.directory)
        self.write("")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, more):
        with open(os.path.join(self.directory, "thing.h"), "w", encoding="utf-8") as file:
            file.write(HEADER % more)

    def reference(self, *arguments):
        done = subprocess.run([sys.executable, os.path.join(TOOLS, "reference.py"), self.root, *arguments],
                              stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout

    def test_exported_names(self):
        self.assertEqual(symbols.declared(self.root, "context"),
                         {"dctx_thing_new", "dctx_thing_destroy", "dctx_things", "dctx_thing_secret_"})

    def test_blocks_have_their_comments(self):
        intro, blocks = headers.read(os.path.join(self.directory, "thing.h"))
        self.assertEqual(intro, "dcontext/thing.h - things, one by one.")
        block = next(b for b in blocks if "dctx_thing_new" in b.code)
        self.assertTrue(block.comment.startswith("Make a thing."))
        self.assertIn("dctx_thing_destroy", block.code)

    def test_the_reference_has_what_is_public(self):
        self.assertEqual(self.reference()[0], 0)
        with open(os.path.join(self.root, "docs", "reference.md"), encoding="utf-8") as file:
            text = file.read()
        for wanted in ("#### `dctx_thing_new`, `dctx_thing_destroy`", "- **Errors:** DCTX_ERR_NOMEM, and none other.",
                       "#define DCTX_THING(a)\n", "dctx_things", "**Making**"):
            self.assertIn(wanted, text)
        for unwanted in ("secret", "not_a_declaration", "DCTX_EXPORT"):
            self.assertNotIn(unwanted, text)

    def test_a_stale_reference_is_noticed(self):
        self.assertEqual(self.reference("--check")[0], 1)
        self.assertEqual(self.reference()[0], 0)
        self.assertEqual(self.reference("--check")[0], 0)
        self.write("/* Another. */\nDCTX_EXPORT int dctx_thing_other(void);\n")
        self.assertEqual(self.reference("--check")[0], 1)

    def test_a_function_without_comment_is_an_error(self):
        self.write("\nDCTX_EXPORT int dctx_thing_bare(void);\n")
        status, output = self.reference()
        self.assertEqual(status, 1)
        self.assertIn("dctx_thing_bare has no comment", output)

    def test_maps_are_read_and_rewritten(self):
        path = os.path.join(self.root, "context", "dcontext.map")
        with open(path, "w", encoding="utf-8") as file:
            file.write("ONE {\n    global:\n        dctx_things;\n        dctx_gone;\n    local:\n        *;\n};\n\n"
                       "TWO {\n    global:\n        dctx_thing_new;\n} ONE;\n")
        self.assertEqual(symbols.mapped(path), {"dctx_things", "dctx_gone", "dctx_thing_new"})
        symbols.update(path, symbols.declared(self.root, "context"))
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(symbols.mapped(path), symbols.declared(self.root, "context"))
        self.assertEqual(text, "ONE {\n    global:\n        dctx_things;\n    local:\n        *;\n};\n\n"
                               "TWO {\n    global:\n        dctx_thing_destroy;\n        dctx_thing_new;\n"
                               "        dctx_thing_secret_;\n} ONE;\n")


class Setup(unittest.TestCase):
    """`./dev setup` with stand-ins for the package tools, which write down how they were called."""

    def setup(self, missing):
        with tempfile.TemporaryDirectory() as folder:
            calls = os.path.join(folder, "calls")
            stubs = {
                "dpkg-query": 'for p; do case $p in -*|%s) ;; *) echo "installed $p" ;; esac; done' % missing,
                "apt-get": 'echo "apt-get $*" >>%s' % calls,
                "sudo": "exit 1",
            }
            for name, body in stubs.items():
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write("#!/bin/sh\n" + body + "\n")
                os.chmod(path, 0o755)
            environment = dict(os.environ, PATH=folder + ":" + os.environ["PATH"])
            done = subprocess.run([os.path.join(TOOLS, "..", "dev"), "setup"], env=environment, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            called = ""
            if os.path.exists(calls):
                with open(calls, encoding="utf-8") as file:
                    called = file.read()
            return done.returncode, done.stdout, called

    def test_nothing_is_said_or_done_when_nothing_is_missing(self):
        self.assertEqual(self.setup("none"), (0, "", ""))

    def test_what_is_missing_is_installed_or_named(self):
        status, output, called = self.setup("meson|libczmq-dev")
        if os.geteuid() == 0:
            update, install = called.splitlines()
            self.assertTrue(update.endswith(" update"))
            self.assertIn(" install -y --no-install-recommends meson libczmq-dev", install)
            self.assertEqual(status, 0)
        else:
            self.assertEqual((status, called), (3, ""))
            self.assertIn("sudo apt-get install --no-install-recommends meson libczmq-dev", output)


if __name__ == "__main__":
    unittest.main()
