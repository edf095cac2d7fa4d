"""Write mathematics as MathML, which every current browser renders by itself.

Sphinx offers MathJax, which a reader's browser fetches from the network, and pictures, which
need a TeX installation. docutils already translates LaTeX to MathML; this extension hands its
translator to Sphinx's HTML writer.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Commands that the translator does not know, by those that it does.
ALIASES = {r"\dots": r"\ldots", r"\lVert": r"\|", r"\rVert": r"\|", r"\lvert": "|", r"\rvert": "|"}
ALIAS = re.compile("|".join(re.escape(name) + r"(?![A-Za-z])" for name in ALIASES))


def to_mathml(node: nodes.Element, *, as_block: bool) -> str:
    """Translate the LaTeX source of a math node; warn, and show the source, where that fails."""
    source = ALIAS.sub(lambda match: ALIASES[match.group()], node.astext())
    try:
        return str(latex2mathml.tex2mathml(source, as_block=as_block))
    except (MathError, SyntaxError) as error:
        logger.warning("cannot translate %r to MathML: %s", source, error, location=node)
        return f"<code>{html.escape(source)}</code>"


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
