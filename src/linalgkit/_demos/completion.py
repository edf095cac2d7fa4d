"""Matrices of low rank from some of their entries: a photograph, and a table like that of ratings.

A photograph with seven of ten pixels hidden is restored from the table of its patches; then a
large noisy table with columns of unequal popularity is completed, beside others where they are
installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linalgkit._core.array import numpy_namespace
from linalgkit._demos._context import Context
from linalgkit._demos._measure import circumstances
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._ratings import make_ratings, rate, rating_legend, rating_table, top_table
from linalgkit._demos._restored import (
    Restored,
    hide,
    observed_pixels,
    restore,
    restored_legend,
    restored_table,
)
from linalgkit._demos._table import Table
from linalgkit.plotting import SupportDisplay
from linalgkit.plotting._display import MUTED

_HOST = numpy_namespace()
_STRETCH = 4  # of the errors in the picture


def run(context: Context) -> list[Path]:
    """Restore and complete, print the tables and save the picture."""
    context.say(f"Matrices of low rank from some of their entries ({context.library}).")
    ways = restore(context, hide(context))
    parts: list[Table | str] = [restored_table(ways), restored_legend(ways[0])]
    _say(context, parts)
    problem = make_ratings(context)
    found = rate(context, problem)
    assert found[0].result is not None
    more: list[Table | str] = [
        rating_table(problem, found),
        rating_legend(problem, found),
        top_table(problem, found[0].result),
    ]
    _say(context, more)
    page, picture = context.output / "completion.md", context.output / "completion-photograph.png"
    page.write_text(_page([*parts, *more]), encoding="utf-8")
    _save(ways[0], picture)
    return [page, picture]


def _say(context: Context, parts: list[Table | str]) -> None:
    shown = [part.text() if isinstance(part, Table) else part for part in parts]
    context.say("\n" + "\n\n".join(shown))


def _page(parts: list[Table | str]) -> str:
    lines = [
        part.markdown() if isinstance(part, Table) else " ".join(part.split("\n")) for part in parts
    ]
    return "\n\n".join([f"Measured {circumstances()}.", *lines]) + "\n"


def _save(found: Restored, path: Path) -> None:
    """Save original, observed, restored and error."""
    picture = found.picture
    error = abs(found.pixels - picture.pixels)
    panels = {
        "original": picture.pixels,
        "observed": observed_pixels(picture),
        f"restored: error {picture.error(found.pixels):.1f} of 255": found.pixels,
        f"modulus of the error, times {_STRETCH}": 255.0 - _STRETCH * error,
    }
    h, w = picture.hidden.shape
    figure = empty_figure(SupportDisplay([_HOST.ones(1)]), (11.0, 0.6 + 11.0 * h / w))
    for (title, pixels), ax in zip(panels.items(), grid(figure, 2, 2), strict=True):
        _draw(ax, title, pixels)
    figure.savefig(path, dpi=90)


def _draw(ax: Any, title: str, pixels: Any) -> None:
    ax.imshow(_HOST.clip(pixels, 0, 255) / 255.0, interpolation="nearest")
    ax.set_title(title, loc="left", fontsize=10, color=MUTED)
    ax.set_axis_off()
