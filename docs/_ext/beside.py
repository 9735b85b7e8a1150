"""The directive ``beside`` shows all lines of a source file, each tagged line beside the equation it implements.

::

    .. beside:: minigru/engine/gru.py

The option ``:tags: G1 G2`` shows only the lines with these tags, in the first function that has them.

An equation stands in docs/*.md under a heading such as ``### (G1) Update gate``. A tagged line ends in a comment such
as ``# (G1) (F5)``, or ``// (G1)`` in CUDA. A tag without a partner stops the build.
"""

from __future__ import annotations

import re
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from listing import (
    TAG,
    Row,
    Unit,
    files_with_tags,
    line_of_result,
    partnerless,
    read_docstrings,
    read_equations,
    read_rows,
    read_tags,
    read_units,
)
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective


def raw(text: str) -> nodes.Node:
    """Return HTML as a node."""
    return nodes.raw("", text, format="html")


def anchor(unit: Unit, tag: str = "") -> str:
    """Return the id of a unit, or of an equation in it, on its page."""
    return "-".join(filter(None, [nodes.make_id(unit.title) or "top", tag]))


def too_high(formulas: dict[str, list[str]], lines: int) -> bool:
    """Whether equations beside these lines of code would leave a hole below the code: estimated in pixels."""
    pieces = sum(len(tex.split(r"\qquad")) for shown in formulas.values() for tex in shown)
    return 20 * len(formulas) + 30 * pieces > 19 * lines + 60


class Beside(SphinxDirective):
    """Show a file of the repository beside its equations."""

    required_arguments = 1
    option_spec = {"tags": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return links to all units, the head of the file, and one section per function."""
        docs = Path(self.env.srcdir)
        self.path = path = docs.parent / self.arguments[0]
        self.equations, self.tags, source = read_equations(docs), read_tags(path), path.read_text("utf-8")
        self.text = ["", *source.splitlines()]
        lexer = get_lexer_for_filename(path.name, stripnl=False)
        self.html = ["", *highlight(source, lexer, HtmlFormatter(nowrap=True)).splitlines()]
        self.docstrings = read_docstrings(path)

        units = read_units(path)
        wanted = {*self.options.get("tags", "").split()}
        if wanted:
            rows = ((unit, [row for row in read_rows(path, unit) if wanted & {*row.tags}]) for unit in units)
            unit, some = next(found for found in rows if found[1])
            return [node for row in some for node in self.row(unit, row)]
        links = "".join(f'<li><a href="#{anchor(unit)}">{escape(unit.title)}</a></li>' for unit in units if unit.title)
        found = [raw(f'<nav class="functions" aria-label="Functions"><ul>{links}</ul></nav>')]
        for tagged, group in groupby(units, lambda unit: any(unit.first <= n <= unit.last for n in self.tags)):
            several = [*group]
            content = [node for unit in several for node in self.unit(unit)]
            found += content if tagged else [raw(self.fold(several)), *content, raw("</details>")]
        return found

    def fold(self, units: list[Unit]) -> str:
        """Return the opening of what a page folds: units without an equation."""
        names = ", ".join(f"<code>{escape(unit.title)}</code>" if unit.title else "head of the file" for unit in units)
        return f'<details class="folded"><summary>Lines {units[0].first} to {units[-1].last}: {names}</summary>'

    def unit(self, unit: Unit) -> list[nodes.Node]:
        """Return a section with the rows of a function."""
        rows = read_rows(self.path, unit)
        while rows[1:] and not rows[0].tags and not rows[1].tags:
            rows[:2] = [Row(rows[0].first, rows[1].last, [])]
        content = [node for row in rows for node in self.row(unit, row)]
        if not unit.title:
            return content
        title = nodes.title("", "", nodes.literal("", unit.title))
        return [nodes.section("", title, *content, ids=[anchor(unit)])]

    def row(self, unit: Unit, row: Row) -> list[nodes.Node]:
        """Return equations and code side by side; the head of a unit takes the full width if it has no equation."""
        numbers = range(row.first, row.last + 1)
        code = f'<div class="code highlight">{self.code(unit, numbers)}</div>'
        if not row.tags:
            plain = " plain" if row.first == unit.first else ""
            return [raw(f'<div class="row{plain}">{code}</div>')]
        formulas = {tag: self.formulas(unit, tag, numbers) for tag in row.tags}
        names = ", ".join(f"({tag}) {escape(self.equations[tag].title)}" for tag in row.tags)
        stacked = " stacked" if too_high(formulas, len(numbers)) else ""
        opening = f'<div class="row tagged{stacked}" role="group" aria-label="{names}"><div class="equations">'
        equations = [node for tag, shown in formulas.items() for node in self.equation(unit, tag, numbers, shown)]
        return [raw(opening), *equations, raw(f"</div>{code}</div>")]

    def code(self, unit: Unit, numbers: range) -> str:
        """Return lines of code; a docstring of several lines is folded behind its first line."""
        html, pre = "", ""
        number = numbers.start
        while number < numbers.stop:
            last = self.docstrings.get(number)
            if last is not None and last < numbers.stop:
                html += f"<pre>{pre}</pre>" if pre else ""
                rest = "".join(self.line(unit, inside) for inside in range(number + 1, last + 1))
                html += f"<details><summary>{self.line(unit, number, end='')}</summary><pre>{rest}</pre></details>"
                number, pre = last + 1, ""
            else:
                pre += self.line(unit, number)
                number += 1
        return html + (f"<pre>{pre}</pre>" if pre else "")

    def formulas(self, unit: Unit, tag: str, numbers: range) -> list[str]:
        """Return the formulas of a tag if these lines compute its result."""
        equation = self.equations[tag]
        return equation.formulas if line_of_result(self.path, unit, tag, equation) in numbers else []

    def equation(self, unit: Unit, tag: str, numbers: range, formulas: list[str]) -> list[nodes.Node]:
        """Return the title of an equation, and its formulas if they belong here."""
        title, _, link = self.equations[tag]
        lines = [number for number in range(unit.first, unit.last + 1) if tag in self.tags.get(number, [])]
        here = [number for number in lines if number in numbers]
        target = line_of_result(self.path, unit, tag, self.equations[tag]) or lines[0]
        place = f' id="{anchor(unit, tag)}"' if target in numbers else ""
        up = "../" * self.env.docname.count("/")
        head = (
            f'<div class="equation"{place} data-tags="{tag}">'
            f'<p><a class="tag" href="#L{here[0]}" aria-label="({tag}), line {here[0]} of the code">({tag})</a> '
            f'<a class="derivation" href="{up}{escape(link)}">{escape(title)}</a></p>'
        )
        return [raw(head), *(nodes.math_block(tex, tex) for tex in formulas), raw("</div>")]

    def line(self, unit: Unit, number: int, end: str = "\n") -> str:
        """Return a line of code whose tags link to their equations."""

        def link(match: re.Match[str]) -> str:
            label = f"Equation {match[0]}, {escape(self.equations[match[1]].title)}"
            return f'<a href="#{anchor(unit, match[1])}" data-tags="{match[1]}" aria-label="{label}">{match[0]}</a>'

        text, html, data = self.text[number], self.html[number], ""
        if number in self.tags:
            code, comment = re.split(r"(?=(?:#|//)(?: \([A-Za-z0-9]+\))+\s*</span>$)", html)
            html = f'{code}<span class="tags">{TAG.sub(link, comment)}</span>'
            data = f' data-tags="{" ".join(self.tags[number])}"'
        rule = " rule" if re.match(r"\s*(#|//) ---", text) else ""
        indent = len(text) - len(text.lstrip())
        place = f'id="L{number}" data-line="{number}"{data} style="--indent: {indent}ch"'
        return f'<span class="line{rule}" {place}>{html}{end}</span>'


def check_tags(app: Any) -> None:
    """Stop the build if a tag has no partner."""
    docs = Path(app.srcdir)
    alone = partnerless(files_with_tags(docs.parent / "minigru"), read_equations(docs))
    if alone:
        raise ExtensionError("\n".join(["tags without a partner:", *alone]))


def link_to_pages(app: Any, doctree: nodes.document) -> None:
    """Point each link to a file of the package at its page; otherwise Sphinx copies the file and links to the copy."""
    docs, docname = Path(app.srcdir).resolve(), app.env.docname
    package = docs.parent / "minigru"
    for node in [*doctree.findall(addnodes.download_reference)]:
        path = ((docs / docname).parent / node["reftarget"]).resolve()
        if package in path.parents:
            inside = path.relative_to(package)
            module = ".".join(["minigru", *inside.with_suffix("").parts])
            page = f"/code/{inside.as_posix()}" if path in files_with_tags(package) else f"/api/{module}"
            options = {"reftype": "doc", "refdomain": "std", "refexplicit": True, "refdoc": docname}
            node.replace_self(addnodes.pending_xref("", *node.children, reftarget=page, **options))


def setup(app: Any) -> dict[str, bool]:
    """Register the directive and both hooks."""
    app.add_directive("beside", Beside)
    app.connect("builder-inited", check_tags)
    app.connect("doctree-read", link_to_pages, priority=400)  # before Sphinx copies linked files
    return {"parallel_read_safe": False, "parallel_write_safe": True}
