"""Print tables in Markdown, ready to paste."""

from __future__ import annotations

from typing import Any

import numpy as np
from baselines import Engine
from reference_baseline import Reference

Rows = list[dict[str, Any]]


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    print(f"\n{title}\n")
    for cells in (head, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], *rows):
        aligned = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        print(f"| {' | '.join(aligned)} |", flush=True)


def in_words(count: int, noun: str = "thread") -> str:
    """Return a number with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def device(count: int) -> str:
    """Return the number of cores with its noun; 0 is a GPU."""
    return in_words(count, "core") if count else "GPU"


def columns(title: str, rows: Rows, what: str, last: dict[str, dict[str, float]] | None = None) -> None:
    """Print `what` of the rows: a line per baseline, a column per number of cores and batch size, and those of `last`.

    `last` has the further columns, each a mapping from the name of a baseline to a number.
    """
    last = last or {}
    keys = [(count, B) for count in by(rows, "cores") for B in by(rows, "B")]
    found = {
        (row["name"], row["cores"], row["B"]): f"{row[what]:,.0f}" if row[what] >= 100 else f"{row[what]:.3g}"
        for row in rows
    }
    cells = [
        [name, *(found.get((name, *key), "") for key in keys), *(f"{column[name]:.1f}" for column in last.values())]
        for name in dict.fromkeys(row["name"] for row in rows)
    ]
    table(title, ["", *(f"{device(count)}, B={B:,}" for count, B in keys), *last], cells)


def by(rows: Rows, what: str) -> list[Any]:
    """Return the values of `what` in the rows, in ascending order."""
    return sorted({row[what] for row in rows})


def ahead(ours: str, rows: Rows, count: int, B: int) -> tuple[float, str] | None:
    """Return how many times as fast `ours` is as the best other baseline with at most `count` cores, and its name.

    The number is the median of the ratios in each round. None if there is no other, or `ours` has no row.
    """
    rows = [row for row in rows if row["B"] == B and row["cores"] <= count]
    mine = [row for row in rows if row["name"] == ours]
    others = [row for row in rows if not row["name"].startswith(Engine.name) and row["name"] != Reference.name]
    if not (mine and others):
        return None
    me, other = (min(some, key=lambda row: row["ms"]) for some in (mine, others))
    return float(np.median(np.array(other["rounds"]) / np.array(me["rounds"]))), other["name"]


def who_is_ahead(steps: Rows, inference: Rows) -> None:
    """Print how many times as fast minigru is as the best other baseline: in training by batch, and in inference."""
    asked = [(steps, B, f"B={B}") for B in by(steps, "B")]
    asked += [(inference, B, in_words(B, "image")) for B in by(inference, "B")]
    rows = [*steps, *inference]
    cells = []
    for count in by(rows, "cores"):
        for name in dict.fromkeys(row["name"] for row in rows if row["name"].startswith(Engine.name)):
            found = [ahead(name, each, count, B) for each, B, _ in asked]
            if any(found) and any(row["cores"] == count and row["name"] == name for row in rows):
                shown = [f"{result[0]:.2f} ({result[1]})" if result else "" for result in found]
                cells.append([f"{device(count)}: {name}", *shown])
    if cells:
        title = "How many times as fast as the best other baseline: above 1, minigru is ahead."
        table(title, ["", *(label for *_, label in asked)], cells)
