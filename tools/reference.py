#!/usr/bin/python3
"""Writes docs/reference.md from the comments of the public headers.

usage: reference.py ROOT [--check]

With --check nothing is written; it fails when the file is not what would be written. Either way a public
function without a comment is an error: one comment may stand over several declarations that
follow it without a blank line, or at the end of one of their lines.
"""
import os
import re
import sys

import headers

LABEL = re.compile(r"(Ownership|Errors|Thread-safety|Limits and units)\b[^:.]*: ?")
HEADING = re.compile(r"-{3,} (.+?) -{3,}\s*$")
PREAMBLE = """# Reference

What the public headers say, in one place. `./dev docs` writes this file from them: change the headers, not
this. The [guide](guide.md) explains how the parts are used together.

"""


def items(code):
    """The declarations and directives of a block, each with its trailing comment."""
    found, current = [], ""
    depth, continued, in_comment = 0, False, False
    for line in code.split("\n"):
        if not line.strip() and not current:
            continue
        current += line + "\n"
        if continued or (depth == 0 and not in_comment and line.lstrip().startswith("#")):
            continued = line.endswith("\\")
            if not continued:
                found.append(current)
                current = ""
            continue
        in_comment = current.rfind("/*") > current.rfind("*/")
        bare = headers.strip_comments(current)
        depth = bare.count("{") - bare.count("}")
        if depth <= 0 and not in_comment and bare.rstrip().endswith((";", "}", "{")):
            found.append(current)
            current, depth = "", 0
        elif 'extern "C" {' in bare:
            found.append(current)
            current, depth = "", 0
    return found + ([current] if current.strip() else [])


def name_of(item):
    """(name, is a function) of what an item declares; (None, False) for what has no name of interest."""
    bare = headers.strip_comments(item).strip()
    macro = re.match(r"#\s*define\s+(\w+)(\()?", bare)
    if macro:
        return macro.group(1), False
    if bare.startswith(("#", "}", 'extern "C"', "template")):
        return None, False
    names = headers.exported(bare)
    if names:
        return names[0], not bare.rstrip(";").rstrip().endswith(names[0])
    pointer = re.match(r"typedef\b[^{]*\(\s*\*\s*(\w+)\s*\)\s*\(", bare)
    if pointer:
        return pointer.group(1), False
    typedef = re.match(r"typedef\b.*?(\w+)\s*;$", bare, flags=re.S)
    if typedef:
        return typedef.group(1), False
    tagged = re.match(r"(?:struct|enum|union)\s+(\w+)", bare)
    if tagged:
        return tagged.group(1), False
    if re.match(r"enum\s*\{", bare):
        return re.search(r"\{\s*(\w+)", bare).group(1), False
    function = re.match(r"static inline [^(;{]*?(\w+)\s*\(", bare)
    return (function.group(1), True) if function else (None, False)


def shown(item):
    """An item as the reference shows it: no bodies of macros and of inline functions."""
    text = item.rstrip("\n")
    macro = re.match(r"#\s*define\s+\w+\([^)]*\)", text)
    if macro:
        return macro.group()
    if text.startswith("#") and text.endswith("\\") or "\\\n" in text:
        return re.match(r"#\s*define\s+\w+", text).group()
    if text.startswith("static inline"):
        return text[:text.index("{")].rstrip() + ";"
    mark = re.match(r"DCTX_(?:EXPORT|QUICK) ", text)
    if mark:
        text = re.sub(r"^ {%d}" % mark.end(), "", text[mark.end():], flags=re.M)
    return re.sub(r"\bDCTX_(?:EXPORT|QUICK) ", "", text)


def is_private(name):
    return name.endswith("_") or name.endswith("_H") or name in ("DCTX_EXPORT", "DCTX_QUICK", "DCTX_MUST_CHECK")


def escape(text):
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") and len(part) > 1 else
                   part.replace("*", "\\*").replace("<", "&lt;") for part in parts)


def prose(comment):
    """A comment as Markdown: paragraphs, the four labelled lines as a list, indented samples as code."""
    out, paragraph, sample = [], [], []
    in_list = False

    def flush():
        nonlocal paragraph, sample, in_list
        if paragraph:
            text = " ".join(paragraph)
            if text.startswith("|"):  # a table, each row of which begins a line
                text = re.sub(r"\| \|(?!$)", "|\n|", text)
            out.append(escape(text) if not in_list else
                       re.sub(r"^- ([^:]+):", r"- **\1:**", escape(" ".join(paragraph))))
        if sample:
            while sample and not sample[-1].strip():
                sample.pop()
            indent = min(len(line) - len(line.lstrip()) for line in sample if line.strip())
            out.append("```c\n" + "\n".join(line[indent:] for line in sample) + "\n```")
        paragraph, sample = [], []

    for line in comment.split("\n"):
        if sample and (not line.strip() or line.startswith("    ")):
            sample.append(line)
        elif line.startswith("    ") and not in_list:
            flush()
            sample.append(line)
        elif not line.strip():
            flush()
            in_list = False
        elif LABEL.match(line):
            flush()
            in_list = True
            paragraph = ["- " + line.strip()]
        else:
            if sample:
                flush()
            paragraph.append(line.strip())
    flush()
    text = ""
    for i, part in enumerate(out):
        tight = part.startswith("- **") and i and out[i - 1].startswith("- **")
        text += ("\n" if tight else "\n\n" if i else "") + part
    return text


def heading(names):
    listed = ["`%s`" % n for n in names[:4]] + (["..."] if len(names) > 4 else [])
    return "#### " + ", ".join(listed)


def section(path, root, missing):
    """One header's part of the reference."""
    intro, blocks = headers.read(path)
    title, _, rest = intro.partition(" - ")
    text = "### `<%s>`\n\n%s\n\n" % (title, prose(rest[:1].upper() + rest[1:]))
    declared = set()
    for block in blocks:
        mark = HEADING.match(block.comment or "")
        if mark:
            text += "**%s**\n\n" % (mark.group(1)[:1].upper() + mark.group(1)[1:])
            if not block.code.strip():
                continue
        public, names, functions = [], [], []
        all_items = items(block.code)
        for item in all_items:
            name, is_function = name_of(item)
            if name is None or is_private(name):
                continue
            if item.startswith("#") and name in declared:  # the function again, without a call
                continue
            if shown(item) not in public:  # one macro has a form for C and one for C++
                public.append(shown(item))
            if name not in names:
                names.append(name)
            if is_function:
                functions.append(name)
                declared.add(name)
        commented = (block.comment and not mark) or "/*" in block.code
        if functions and not commented:
            missing.append("%s:%d: %s has no comment" % (os.path.relpath(path, root), block.line,
                                                         ", ".join(functions)))
        if public:
            text += heading(names) + "\n\n```c\n" + "\n".join(public) + "\n```\n\n"
        if block.comment and not mark and (public or not all_items):
            text += prose(block.comment) + "\n\n"
    return text


def main():
    root = sys.argv[1]
    path = os.path.join(root, "docs", "reference.md")
    text, missing = PREAMBLE, []
    for library, folder in headers.LIBRARIES.items():
        found = headers.headers_of(root, folder)
        if found:
            text += "## %s\n\n" % library
            text += "".join(section(header, root, missing) for header in found)
            for header in found:
                with open(header, encoding="utf-8") as file:
                    for name in headers.exported(headers.strip_comments(file.read())):
                        if not is_private(name) and not re.search(r"\b%s\b" % name, text):
                            missing.append("%s: %s is not understood" % (header, name))
    text = text.rstrip("\n") + "\n"
    if missing:
        print("\n".join(missing))
        return 1
    if "--check" in sys.argv[2:]:
        try:
            with open(path, encoding="utf-8") as file:
                present = file.read()
        except FileNotFoundError:
            present = ""
        if present != text:
            print("docs/reference.md is not what the headers say: run ./dev docs and commit it")
            return 1
        return 0
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print("wrote docs/reference.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
