"""Convert LaTeX to MathML while the pages are built, so that the browser needs no script and no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.errors import ExtensionError
from sphinx.util.nodes import get_node_line

_converter = LatexToMathML(fancy_error=False)


def to_mathml(tex: str, node: nodes.Node, display: bool) -> str:
    """Convert one formula; a formula that cannot be converted stops the build and is named with its line."""
    try:
        return _converter.convert_with_local_state(tex, displaystyle=display)
    except LatexError as error:
        raise ExtensionError(f"{node.source}:{get_node_line(node)}: {error} in {tex!r}") from error


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(to_mathml(node.astext(), node, display=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    r"""Write a displayed formula; on a narrow page the parts separated by \qquad may wrap to lines of their own."""
    pieces = [to_mathml(piece, node, display=True) for piece in node.astext().split(r"\qquad")]
    translator.body.append(f'<div class="math">{"".join(pieces)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
