"""Print tables."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    print(f"\n{title}\n")
    for cells in (head, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], *rows):
        aligned = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        print(f"| {' | '.join(aligned)} |", flush=True)


def in_words(count: int) -> str:
    """Return a number of threads with its noun."""
    return f"{count} thread" if count == 1 else f"{count} threads"
