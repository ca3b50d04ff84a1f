"""Reads the public headers: comments, and the declarations that they stand over."""
import collections
import os
import re

# No API, though installed: the other headers and libraries need them.
PRIVATE = ("inline.h", "internal.h")

LIBRARIES = collections.OrderedDict(
    (("dcontext", "context"), ("dcontext-transport", "transport"), ("dcontext-actors", "actors")))

# One piece of a header between blank lines. `comment` is its leading comment without the stars; `code`
# the declarations after it, with their trailing comments; `line` where it begins.
Block = collections.namedtuple("Block", "comment code line")


def headers_of(root, folder, private=False):
    """The headers of one library, sorted; those that are no API only when private is true."""
    directory = os.path.join(root, folder, "include", "dcontext")
    if not os.path.isdir(directory):
        return []
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory))
            if name.endswith(".h") and (private or name not in PRIVATE)]


def strip_comments(text):
    """The code alone; line structure stays."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


def comment_text(comment):
    """The words of a /* */ comment, its stars and common indent taken off."""
    lines = comment.strip()[2:-2].split("\n")
    lines = [lines[0].strip()] + [re.sub(r"^\s*\* ?", "", line).rstrip() for line in lines[1:]]
    # The lines after the first of a compact comment are indented under it.
    return "\n".join(lines).strip("\n")


def exported(code):
    """Names declared DCTX_EXPORT or DCTX_QUICK in code (comments taken out before), in order."""
    names = []
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", code, flags=re.M)
    for match in re.finditer(r"\bDCTX_(?:EXPORT|QUICK)\b([^;{]*)[;{]", code):
        declaration = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*(?:\([^()]*\)[^()]*)*\))*\)\)", " ",
                             match.group(1))
        function = re.search(r"\b([A-Za-z_]\w*)\s*\(", declaration)
        variable = re.search(r"([A-Za-z_]\w*)\s*(?:\[[^]]*\]\s*)*$", declaration)
        names.append((function or variable).group(1))
    return names


def _tokens(text):
    """The header cut into (kind, text, line): comment, directive, code, or blank."""
    at, line = 0, 1
    pattern = re.compile(r"""(?P<blank>\n[ \t]*(?=\n))
                            |(?P<comment>/\*.*?\*/)
                            |(?P<directive>(?<![^\n])[ \t]*\#(?:[^\n]*\\\n)*[^\n]*)
                            |(?P<code>(?:[^\n/]|/(?!\*))+|\n)""", re.S | re.X)
    while at < len(text):
        match = pattern.match(text, at)
        yield match.lastgroup, match.group(), line
        line += match.group().count("\n")
        at = match.end()


def read(path):
    """(intro, blocks): the comment at the head of the file, and its blocks. A comment opens a block when it
    begins a line outside of braces; a blank line outside of braces closes one."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    intro, blocks = None, []
    comment, code, begin, depth, fresh = None, "", 0, 0, True

    def close():
        nonlocal comment, code
        if code.strip() or comment:
            blocks.append(Block(comment, code.strip("\n"), begin))
        comment, code = None, ""

    for kind, piece, line in _tokens(text):
        if kind == "comment":
            if intro is None:
                intro = comment_text(piece)
            elif fresh and depth == 0:
                close()
                comment, begin = comment_text(piece), line
            else:
                code += piece
            continue
        if kind == "blank" and depth == 0:
            # Between a comment and its code there is no blank line; one after it makes it a remark.
            close()
            fresh = True
            continue
        if not code.strip() and comment is None:
            begin = line
        code += piece
        if kind == "code":
            bare = re.sub(r'extern "C" \{', "", piece)
            depth = max(0, depth + bare.count("{") - bare.count("}"))
        fresh = code.endswith("\n") or (fresh and not piece.strip())
    close()
    return intro or "", blocks
