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
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._ratings import (
    make_ratings,
    rate,
    rating_comparison,
    rating_legend,
    rating_table,
    top_table,
)
from linalgkit._demos._restored import (
    Restored,
    hide,
    observed_pixels,
    restore,
    restored_comparisons,
    restored_legend,
    restored_table,
)
from linalgkit._demos._section import Face, Picture, Section, Story
from linalgkit.plotting import SupportDisplay
from linalgkit.plotting._display import MUTED

_HOST = numpy_namespace()
_STRETCH = 4  # of the errors in the picture


_FACE = Face(
    "Matrices with missing entries",
    "Restore a photograph of which seven pixels in ten are hidden, and fill a table of ratings "
    "most of which are missing. Neither rank nor noise is told, and every predicted entry comes "
    "with an interval.",
    """\
from linalgkit.completion import complete_matrix

result = complete_matrix((rows, cols, values, shape), shrink=True, bias=True, rng=0)
print(result.rank, result.noise_estimate, result.validation_rmse, result.status)
print(result.predict([3, 3], [10, 20]), result.interval([3, 3], [10, 20], level=0.9))
print(result.top_k([3], 5, exclude="observed"))""",
)


def run(context: Context) -> Section:
    """Restore and complete, print the tables and save the picture."""
    lead = f"Matrices of low rank from some of their entries ({context.library})."
    story = Story(context, "completion", _FACE, lead)
    ways = restore(context, hide(context))
    story.tell(restored_table(ways), restored_legend(ways[0]))
    problem = make_ratings(context)
    found = rate(context, problem)
    assert found[0].result is not None
    story.tell(
        rating_table(problem, found),
        rating_legend(problem, found),
        top_table(problem, found[0].result),
    )
    path = story.file("completion-photograph.png")
    _save(ways[0], path)
    picture = Picture(
        path,
        "A photograph four times: the original, the pixels that were seen, the restored one, and "
        "the errors.",
        "Three pixels in ten are seen (above right); the restored photograph and its errors below, "
        f"{_STRETCH} times enlarged.",
    )
    comparisons = [*restored_comparisons(ways), rating_comparison(problem, found)]
    return story.end([picture], comparisons)


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
