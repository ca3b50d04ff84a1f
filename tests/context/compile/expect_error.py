"""Compiles a program twice: with -DRIGHT it must compile without a word, without it must be refused,
for a wrong type, on the line that says /* wrong */.

    expect_error.py PROGRAM INCLUDE_DIR COMPILER...
"""
import os
import re
import subprocess
import sys

# What gcc and clang call it, in C and in C++.
WRONG_TYPE = re.compile(r"incompatible|cannot convert|invalid conversion|no matching|cannot initialize"
                        r"|makes integer from pointer|integer conversion")


def compile_program(compiler, program, include, *more):
    command = compiler + ["-D_GNU_SOURCE", "-I", include, "-fsyntax-only", "-fno-diagnostics-color", *more, program]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "LC_ALL": "C"}, check=False)
    return done.returncode, done.stdout


def main():
    program, include, compiler = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(program, encoding="utf-8") as file:
        lines = [n for n, line in enumerate(file, 1) if "/* wrong */" in line]
    assert len(lines) == 1, "one line must be marked /* wrong */"
    status, output = compile_program(compiler, program, include, "-DRIGHT", "-Wall", "-Wextra", "-Werror")
    if status != 0:
        sys.exit("the right program does not compile:\n" + output)
    status, output = compile_program(compiler, program, include)
    if status == 0:
        sys.exit("the wrong program compiles:\n" + output)
    errors = re.findall(r"^.*?:(\d+):\d+: (?:fatal )?error: (.*)$", output, flags=re.M)
    if not errors:
        sys.exit("no error message found:\n" + output)
    for line, message in errors:
        if int(line) != lines[0] or not WRONG_TYPE.search(message):
            sys.exit("refused for another reason:\n" + output)
    print("refused: " + errors[0][1])


main()
