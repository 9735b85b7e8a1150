"""Mathematics as MathML, made when the pages are built: the browser needs no script for it, and no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.errors import ExtensionError
from sphinx.util.nodes import get_node_line

_converter = LatexToMathML(fancy_error=False)


def to_mathml(tex: str, node: nodes.Node, display: bool) -> str:
    """Convert one formula; what the converter does not know ends the build, with its place."""
    try:
        return _converter.convert_with_local_state(tex, displaystyle=display)
    except LatexError as error:
        raise ExtensionError(f"{node.source}:{get_node_line(node)}: {error} in {tex!r}") from error


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(to_mathml(node.astext(), node, display=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    r"""Write a formula on its own; what \qquad keeps apart may stand on lines of its own where the page is narrow."""
    pieces = [to_mathml(piece, node, display=True) for piece in node.astext().split(r"\qquad")]
    translator.body.append(f'<div class="math">{"".join(pieces)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
