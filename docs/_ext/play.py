"""Write docs/play as one file, play.html, which a browser opens without a network and without the rest of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def in_one_file(page: Path) -> str:
    """Return a page with its style sheet and its scripts inside."""

    def inside(match: re.Match[str]) -> str:
        text = (page.parent / match["file"]).read_text("utf-8")
        element = "style" if match["file"].endswith(".css") else "script"
        return f"<{element}>\n{text}</{element}>"

    link, script = r'<link rel="stylesheet" href="(?P<file>[^"]+)">', r'<script src="(?P<file>[^"]+)"></script>'
    html = page.read_text("utf-8").replace('href="../README.md"', 'href="index.html"')  # its place in the site
    return re.sub(script, inside, re.sub(link, inside, html))


def write(app: Any, error: Exception | None) -> None:
    """Write the page into a site of HTML that was built."""
    if error is None and app.builder.format == "html":
        Path(app.outdir, "play.html").write_text(in_one_file(Path(app.srcdir, "play", "index.html")), "utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Write the page at the end of each build."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
