"""Show a Jupyter notebook as a page: its Markdown, its code and the outputs that it holds. Nothing is run.

A notebook is JSON whose text is Markdown already, so MyST reads it after a few lines of conversion.
"""

from __future__ import annotations

import json
import re
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser

NOTE = "*This page is a notebook. To run it, open `docs/tutorial.ipynb` with Jupyter.*"


def block(kind: str, text: str) -> str:
    """Return a fenced block that Sphinx shows even if it cannot colour every line, such as ``%matplotlib inline``."""
    return f"````{{code-block}} {kind}\n:force:\n\n{text.rstrip()}\n````"


def outputs(cell: dict[str, Any]) -> list[str]:
    """Return what a cell printed and drew; progress bars, which go to stderr, are left out."""
    found = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            picture = "".join(data["image/png"]).replace("\n", "")
            found.append(f"![The figure that this cell draws](data:image/png;base64,{picture})")
        elif output.get("name") != "stderr":
            found.append(block("text", "".join(output.get("text", data.get("text/plain", "")))))
    return found


def to_markdown(notebook: str) -> str:
    """Return the notebook, given as JSON, as one MyST document."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        text = "".join(cell["source"])
        parts += [text] if cell["cell_type"] == "markdown" else [block("python", text), *outputs(cell)]
    text = re.sub(r"!\[([^]]*)\]\(https?:[^)]*\)", r"\1", "\n\n".join(parts))  # a page asks nothing of the network
    title, _, rest = text.partition("\n")
    return f"{title}\n\n{NOTE}\n{rest}\n"


class Notebook(MystParser):
    """Parser of ``.ipynb``."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse the notebook as Markdown."""
        super().parse(to_markdown(inputstring), document)


def setup(app: Any) -> dict[str, bool]:
    """Register the parser."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(Notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
