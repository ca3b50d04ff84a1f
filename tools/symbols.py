#!/usr/bin/python3
"""What a shared library exports, what its headers declare DCTX_EXPORT and what its version map names are
the same.

usage: symbols.py ROOT BUILD_DIRECTORY [--update]

With --update the maps are rewritten first: new symbols go into the newest node, the last of the map.
"""
import glob
import os
import re
import subprocess
import sys

import headers


def declared(root, folder):
    names = set()
    for path in headers.headers_of(root, folder, private=True):
        with open(path, encoding="utf-8") as file:
            names.update(headers.exported(headers.strip_comments(file.read())))
    return names


def mapped(path):
    """The names in the global parts of all nodes of a version map."""
    with open(path, encoding="utf-8") as file:
        text = headers.strip_comments(file.read())
    names = set()
    for part in re.findall(r"global:(.*?)(?:local:|\})", text, flags=re.S):
        names.update(part.replace(";", " ").split())
    return names


def built(library):
    listing = subprocess.run(["nm", "-D", "--defined-only", library], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    names = set()
    for line in listing.splitlines():
        _, kind, name = line.split()
        if kind != "A":  # the version node's own symbol
            names.add(name.split("@")[0])
    return names


def update(path, wanted):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    nodes = re.findall(r"\w[\w.]*\s*\{.*?\}[^;]*;", text, flags=re.S)
    for i, node in enumerate(nodes):
        def rewrite(match, last=(i == len(nodes) - 1)):
            kept = set(match.group(2).replace(";", " ").split()) & wanted
            if last:
                others = set(n for m in nodes[:-1] for n in re.findall(r"\b\w+(?=;)", m))
                kept |= wanted - others
            return match.group(1) + "".join("\n        %s;" % name for name in sorted(kept)) + match.group(3)
        text = text.replace(node, re.sub(r"(global:)(.*?)(\s*(?:local:|\}))", rewrite, node, flags=re.S))
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main():
    root, build = sys.argv[1], sys.argv[2]
    wrong = checked = 0
    for name, folder in headers.LIBRARIES.items():
        wanted = declared(root, folder)
        maps = glob.glob(os.path.join(root, folder, "*.map"))
        if not wanted or not maps:
            continue
        if "--update" in sys.argv[3:]:
            update(maps[0], wanted)
            continue
        libraries = glob.glob(os.path.join(build, folder, "lib%s.so" % name))
        if not libraries:
            print("%s: not built" % name)
            wrong += 1
            continue
        checked += 1
        for what, found in (("its version map", mapped(maps[0])), ("the library", built(libraries[0]))):
            for symbol in sorted(wanted - found):
                print("%s: %s is declared but not in %s" % (name, symbol, what))
            for symbol in sorted(found - wanted):
                print("%s: %s is in %s but not declared" % (name, symbol, what))
            wrong += len(wanted ^ found)
    if "--update" not in sys.argv[3:]:
        print("%d libraries, %d differences" % (checked, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
