"""Read equations from the Markdown and tags from the source, and split the source into units and rows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TAG = re.compile(r"\((d?[A-Z]{1,2}\d*)\)")
TAGS_OF_A_LINE = re.compile(r"(?:#|//)((?: \(d?[A-Z]{1,2}\d*\))+)\s*$")
HEADING = re.compile(rf"^### {TAG.pattern} (.+)\n((?:\n\$\$\n[^$]+\$\$\n)*)", re.MULTILINE)
CODE = (".py", ".cu", ".cuh")

Tags = dict[int, list[str]]  # line -> its tags


class Equation(NamedTuple):
    """Title and formulas under the heading of a tag, and the link to it in the site."""

    title: str
    formulas: list[str]
    link: str


class Unit(NamedTuple):
    """A function with the comment above it; the head of a file is a unit without a title."""

    title: str
    first: int
    last: int


class Row(NamedTuple):
    """Consecutive lines, shown beside the equations of their tags if they have any."""

    first: int
    last: int
    tags: list[str]


@cache
def read_equations(docs: Path) -> dict[str, Equation]:
    """Return the equation of every tag with a heading in the Markdown."""
    found = {}
    for page in sorted(docs.glob("*.md")):
        for tag, title, formulas in HEADING.findall(page.read_text("utf-8")):
            slug = re.sub(r"[^\w -]", "", f"{tag} {title}").lower().replace(" ", "-")
            found[tag] = Equation(title, re.findall(r"\$\$\n(.*?)\n\$\$", formulas, re.S), f"{page.stem}.html#{slug}")
    return found


def read_tags(path: Path) -> Tags:
    """Return the tags at the end of each line that has some."""
    lines = enumerate(path.read_text("utf-8").splitlines(), start=1)
    return {number: TAG.findall(match[1]) for number, line in lines if (match := TAGS_OF_A_LINE.search(line))}


@cache
def files_with_tags(package: Path) -> dict[Path, Tags]:
    """Return the files of the package that have tagged lines, with their tags."""
    files = {path: read_tags(path) for path in sorted(package.rglob("*")) if path.suffix in CODE}
    return {path: tags for path, tags in files.items() if tags}


def partnerless(files: dict[Path, Tags], equations: dict[str, Equation]) -> list[str]:
    """Return one sentence per tag without a heading, without a line of code, or without an equation."""
    places = {tag: f"{path.name}:{line}" for path, tags in files.items() for line in tags for tag in tags[line]}
    return [
        *(f"{place}: ({tag}) has no heading in docs/*.md" for tag, place in places.items() if tag not in equations),
        *(f"({tag}) {equations[tag].title}: no line carries this tag" for tag in equations if tag not in places),
        *(
            f"({tag}) {equation.title}: no equation stands under the heading"
            for tag, equation in equations.items()
            if not equation.formulas and not tag.startswith("F")  # a rearrangement may be one of words
        ),
    ]


def _python_starts(source: str, tags: Tags) -> Iterator[tuple[str, int]]:
    """Yield each function, class, method and tagged assignment of a module, with its first line."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{n.name}", n.lineno) for n in node.body if isinstance(n, ast.FunctionDef))
        if isinstance(node, ast.Assign) and tags.keys() & {*range(node.lineno, (node.end_lineno or 0) + 1)}:
            yield ast.unparse(node.targets[0]), node.lineno


def _cuda_starts(source: str) -> Iterator[tuple[str, int]]:
    """Yield each function of a CUDA file with the first line of its head."""
    depth, first, head = 0, 0, ""
    for number, line in enumerate(source.splitlines(), start=1):
        code = re.sub(r'//.*|extern "C" \{', "", line)
        if depth == 0:
            first, head = (first or number, head + code) if code.strip() else (0, "")
            names = re.findall(r"(\w+)\s*\(", head.partition("{")[0])
            if "{" in code and names:
                yield names[-1], first
            first, head = (0, "") if "{" in code or ";" in code else (first, head)
        depth = max(0, depth + code.count("{") - code.count("}"))


def read_units(path: Path) -> list[Unit]:
    """Split a file into units; only the blank lines between units belong to none."""
    source = path.read_text("utf-8")
    lines, starts = source.splitlines(), [("", 1)]
    for title, first in _python_starts(source, read_tags(path)) if path.suffix == ".py" else _cuda_starts(source):
        while first > starts[-1][1] and re.match(r"\s*(#\s|//|@|$)", lines[first - 2]):
            first -= 1
        starts.append((title, first))
    ends = [first for _, first in starts[1:]] + [len(lines) + 1]
    filled = [
        [n for n in range(first, end) if lines[n - 1].strip()] for (_, first), end in zip(starts, ends, strict=True)
    ]
    return [Unit(title, lines[0], lines[-1]) for (title, _), lines in zip(starts, filled, strict=True) if lines]


def read_rows(path: Path, unit: Unit) -> list[Row]:
    """Split a unit into rows, in order.

    A tagged row is a statement with a tag and the lines just above it at the same depth. The lines between two tagged
    rows are a row without tags. A blank line ends a row.
    """
    lines, tags = ["", *path.read_text("utf-8").splitlines(), ""], read_tags(path)
    statements = _statements(path)
    rows: list[Row] = []

    def depth(number: int) -> int:
        return len(lines[number]) - len(lines[number].lstrip()) if lines[number].strip() else -1

    def add(last: int, row_tags: list[str]) -> None:
        while last < unit.last and not lines[last + 1].strip():
            last += 1
        first = rows[-1].last + 1 if rows else unit.first
        if first <= last:
            rows.append(Row(first, last, row_tags))

    for number in range(unit.first, unit.last + 1):
        done = rows[-1].last if rows else unit.first - 1
        if number <= done or number not in tags:
            continue
        first, last = statements.get(number, (number, number))
        before, at = statements.get(first - 1, (first - 1, 0))[0], depth(first)
        while before > done and depth(before) == at and '"""' not in lines[before]:
            first, before = before, statements.get(before - 1, (before - 1, 0))[0]
        add(first - 1, [])
        while tags.get(last + 1) == tags[number]:
            last = statements.get(last + 1, (last + 1, last + 1))[1]
        others = [line for line in range(number, last + 1) if tags.get(line, tags[number]) != tags[number]]
        add(min(others, default=last + 1) - 1, tags[number])
    add(unit.last, [])
    return rows


def read_docstrings(path: Path) -> dict[int, int]:
    """Return the first and the last line of each docstring that has several lines."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8"))) if path.suffix == ".py" else ()
    with_body = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = [node.body[0] for node in nodes if isinstance(node, with_body) and ast.get_docstring(node)]
    return {text.lineno: text.end_lineno for text in found if text.end_lineno not in (None, text.lineno)}


# What a formula computes, as the code calls it; applied from the first to the last.
RESULTS = [
    (r"\^{[^}]*\\rangle}|\^{\(n\)}", ""),
    (r"\\Gamma_(\w)", r"gamma_\1"),
    (r"\\(hat|tilde){(\w)}", r"\2_\1"),
    (r"_{\\mathrm{prev}}", "_prev"),
    (r"\\log p", "log_p"),
    (r"\\theta", "theta"),
    (r"_[tk]\b", ""),
]


def results(equation: Equation) -> set[str]:
    """Return the names of what the formulas of an equation compute, as the code calls it."""
    found = set()
    for piece in re.split(r"\\qquad", " \\qquad ".join(equation.formulas)):
        left = re.split(r"(?: = |\\text{ gets })", piece)[0]
        for pattern, name in RESULTS:
            left = re.sub(pattern, name, left)
        found |= {*re.findall(r"\b[a-zA-Z]\w*", left)}
    return found | ({"gates"} if found & {"gamma_u", "gamma_r"} else set())


def line_of_result(path: Path, unit: Unit, tag: str, equation: Equation) -> int | None:
    """Return the line of a unit beside which the formula of a tag stands, or None if the unit has only a part of it.

    It is the last line with the tag that names what the formula computes. A rearrangement, which computes nothing new,
    stands beside the first line of the file that makes it.
    """
    lines, statements = path.read_text("utf-8").splitlines(), _statements(path)
    numbers = [number for number, tags in read_tags(path).items() if tag in tags]
    own = [number for number in numbers if unit.first <= number <= unit.last]
    if tag.startswith("F"):
        return numbers[0] if numbers[0] in own else None

    def names(number: int) -> set[str]:
        first, last = statements.get(number, (number, number))
        return {
            *re.findall(r"\b[a-zA-Z]\w*", "\n".join(re.sub("(#|//).*", "", line) for line in lines[first - 1 : last]))
        }

    computing = [number for number in numbers if names(number) & results(equation)]
    here = [number for number in computing if number in own] or ([] if computing else own)
    return here[-1] if here else None


def _statements(path: Path) -> dict[int, tuple[int, int]]:
    """Return the first and last line of the simple statement on each line; empty for CUDA."""
    if path.suffix != ".py":
        return {}
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.stmt)]
    spans = [(node.lineno, node.end_lineno or node.lineno) for node in nodes if not hasattr(node, "body")]
    return {line: span for span in spans for line in range(span[0], span[1] + 1)}
