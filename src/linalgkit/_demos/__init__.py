"""The main job, one file a method: real input, the answer, its certificate, and its rivals.

A method joins with a file that has ``run(context) -> Section`` and one line in :data:`DEMOS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from linalgkit._demos._context import Context
from linalgkit._demos._section import Section

__all__ = ["DEMOS", "Context", "Demo", "Section"]


@dataclass(frozen=True)
class Demo:
    """A method's part of the main job.

    Attributes
    ----------
    name : str
        What ``--methods`` calls it, and the file in this package that holds it.
    summary : str
        One line for ``--list``.
    """

    name: str
    summary: str

    def run(self, context: Context) -> Section:
        """Run it, and return what it told and wrote."""
        module = import_module(f"linalgkit._demos.{self.name}")
        return cast("Callable[[Context], Section]", module.run)(context)


DEMOS = (
    Demo("streaming", "top eigenvectors of half a million patches of two photographs"),
    Demo("regression", "each pixel from its neighbours: half a million equations, with intervals"),
    Demo("svd", "singular values of streamed patches, enclosed; 8 x 8 blocks grouped by error"),
    Demo("sampling", "two engineering models from few runs of each; 200 rows of half a million"),
    Demo("bayes", "a radio channel over a reflecting surface; a million and a billion unknowns"),
    Demo("chebyshev", "the potential of a crystal of 110,592 ions; functions found to a tolerance"),
    Demo("completion", "a photograph from 30 % of its pixels; 200 million ratings from 4 million"),
)
