"""Write mathematics as MathML, which every current browser renders by itself.

Sphinx offers MathJax, which a reader's browser fetches from the network, and pictures, which
need a TeX installation. docutils already translates LaTeX to MathML; this extension hands its
translator to Sphinx's HTML writer.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def to_mathml(node: nodes.Element, *, as_block: bool) -> str:
    """Translate the LaTeX source of a math node, and fail where it cannot be read."""
    source = node.astext()
    try:
        return str(latex2mathml.tex2mathml(source, as_block=as_block))
    except Exception as error:
        raise ExtensionError(f"{node.source}:{node.line}: cannot read {source!r}: {error}") from error


def visit_inline(writer: Any, node: nodes.Element) -> None:
    writer.body.append(to_mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_display(writer: Any, node: nodes.Element) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    writer.body.append(to_mathml(node, as_block=True))
    writer.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
