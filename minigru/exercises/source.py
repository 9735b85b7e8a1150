"""`minigru.reference` as a text: its functions, the tags of its lines, and the same text with some of them blank."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from .. import reference

TAGS = re.compile(r"#((?: \(d?[A-Z]{1,2}\d*\))+)\s*$")
TAG = re.compile(r"\((\w+)\)")
TEXT = Path(reference.__file__).read_text("utf-8")
LINES = TEXT.splitlines()
FUNCTIONS = {node.name: node for node in ast.parse(TEXT).body if isinstance(node, ast.FunctionDef)}


def line_tags(line: str) -> list[str]:
    """Return the tags that a line ends with."""
    found = TAGS.search(line)
    return TAG.findall(found[1]) if found else []


@cache
def tags_of(function: str) -> dict[str, list[int]]:
    """Return the tags in a function, in order, with the numbers of their lines."""
    node = FUNCTIONS[function]
    found: dict[str, list[int]] = {}
    for number in range(node.lineno, (node.end_lineno or 0) + 1):
        for tag in line_tags(LINES[number - 1]):
            found.setdefault(tag, []).append(number)
    return found


def body(node: ast.FunctionDef) -> list[ast.stmt]:
    """Return the statements of a function behind its docstring."""
    return node.body[1:] if ast.get_docstring(node) is not None else node.body


def lines_of(statement: ast.stmt | ast.expr) -> range:
    """Return the numbers of the lines of a statement or an expression."""
    return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)


def tagged(function: str, tag: str) -> list[ast.stmt]:
    """Return the statements of a function with a line that carries the tag."""
    numbers = {*tags_of(function)[tag]}
    return [statement for statement in body(FUNCTIONS[function]) if numbers & {*lines_of(statement)}]


def blanked(function: str, tag: str) -> str:
    """Return the text of a function with the right-hand sides of the lines that carry the tag blank."""
    numbers, lines = {*tags_of(function)[tag]}, {**dict(enumerate(LINES, start=1))}
    for statement in tagged(function, tag):
        value = statement.value  # type: ignore[attr-defined]
        entries = value.values if isinstance(value, ast.Dict) else [value]
        for entry in reversed([entry for entry in entries if numbers & {*lines_of(entry)}]):
            count = len(names(statement)) if not isinstance(value, ast.Dict) else 1
            line, start, stop = lines[entry.lineno], entry.col_offset, entry.end_col_offset
            lines[entry.lineno] = line[:start] + ", ".join(["..."] * count) + line[stop:]
    node = FUNCTIONS[function]
    return "\n".join(lines[number] for number in lines_of(node)) + "\n"


def emptied(function: str) -> str:
    """Return the text of a function with its body to be written; what opens its cache and a plain return stay."""
    node = FUNCTIONS[function]
    first, *_, last = body(node)
    opens = isinstance(first, ast.Assign) and isinstance(first.value, ast.Name)
    plain = isinstance(last, ast.Return) and all(
        isinstance(part, (ast.Name, ast.Tuple, ast.Load)) for part in ast.walk(last) if not isinstance(part, ast.Return)
    )
    kept = LINES[node.lineno - 1 : (lines_of(first).stop - 1 if opens else first.lineno - 1)]
    end = LINES[last.lineno - 1] if plain else "    return ..."
    return "\n".join([*kept, "    # Write the body here.", end]) + "\n"


def names(statement: ast.stmt) -> list[str]:
    """Return the names that a statement assigns; a return assigns the name "result"."""
    if isinstance(statement, ast.Return):
        return ["result"]
    found = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return [node.id for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))]


def imports(function: str) -> str:
    """Return the head of a file with a function of the reference: it imports what the function uses."""
    used = {node.id for node in ast.walk(FUNCTIONS[function]) if isinstance(node, ast.Name)}
    known = sorted(name for name in used & {*vars(reference)} if name not in ("np", "Any", function))
    typing = "from typing import Any\n\n" if "Any" in used else ""
    own = f"from minigru.reference import {', '.join(known)}\n"
    return f"from __future__ import annotations\n\n{typing}import numpy as np\n\n{own}"


# --- A line of code as an equation on paper ------------------------------------------------------------------------

PAPER = [
    (r"^return ", ""),
    (r"np\.", ""),
    (r"\.real\b", ""),
    (r"concat\((.*), (\w+)\)", r"[\1, \2]"),
    (r"(\[[^]]*\]|\w+) @ p\[['\"](\w+)['\"]\]", r"\2 \1"),
    (r"p\[['\"](\w+)['\"]\]", r"\1"),
    (r"(\w+)\.max\(axis=1, keepdims=True\)", r"max(\1)"),
    (r"(\w+)\((\w+)\)\.sum\(axis=1, keepdims=True\)", r"sum(\1(\2))"),
    (r"\(([^()]*)\)\.sum\(\)", r"sum(\1)"),
    (r"len\(\w+\)", "B"),
]


def on_paper(statement: ast.stmt) -> str:
    """Return a statement as an equation for one sample, a column: ``concat(c, x) @ p["W"]`` is ``W [c, x]``."""
    text = ast.unparse(statement)
    for pattern, replacement in PAPER:
        text = re.sub(pattern, replacement, text)
    return text
