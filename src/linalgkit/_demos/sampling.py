"""Few points or rows, drawn so that least squares on them is safe.

Two engineering models are replaced by polynomials, from 1.5 and from 3 runs a coefficient; and 200
of half a million pixels are picked to predict all of them from their neighbours. Rivals are what
is used today with as many points: uniform ones, a Latin hypercube, uniform rows.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from linalgkit._core.array import numpy_namespace, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._rows_of_patches import (
    Photographs,
    Way,
    row_comparison,
    row_legend,
    row_table,
    rows_of_patches,
)
from linalgkit._demos._section import Comparison, Face, Picture, Section, Story
from linalgkit._demos._surrogates import (
    MODELS,
    RATIOS,
    WAYS,
    Case,
    surrogate_cases,
    surrogate_comparison,
    surrogate_legend,
    surrogate_summary,
    surrogate_table,
)
from linalgkit.plotting import DesignDisplay
from linalgkit.plotting._display import BLUE, FAINT, INK, MUTED, ORANGE, quieten
from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design

_HOST = numpy_namespace()
_PLACES = (-0.18, 0.18)  # of the two numbers of points, beside the line of a way
_COLOURS = (ORANGE, BLUE)
_TRIALS, _QUICK_TRIALS = 11, 5
_DEGREE = 9  # of the polynomials in two variables whose points are drawn


_FACE = Face(
    "Few points, well chosen",
    "A model that takes hours can be run only a few hundred times: choose the runs such that a "
    "polynomial fitted to them is nearly the best one, and know before the first run how well the "
    "fit will be conditioned. The same sampler picks 200 rows of a regression, one a pixel.",
    """\
from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design, weighted_lstsq

basis = TensorBasis(Legendre(-1, 1), multi_index(6, 3))  # 84 polynomials in six variables
design = sample_design(basis, rng=0)  # points, weights, and lmin before any run
fit = weighted_lstsq(design, model(design.points), space=basis)
print(design.lmin, fit.error_estimate, fit.sobol_indices().total)""",
)


def run(context: Context) -> Section:
    """Fit models and photographs, print the tables and save the pictures."""
    trials = _trials(context)
    lead = f"Least squares on few points ({context.library})."
    story = Story(context, "sampling", _FACE, lead)
    cases, notes = surrogate_cases(context, trials)
    remarks = (*surrogate_summary(cases), *notes)
    tables = [surrogate_table(case) for case in cases]
    story.tell(*tables, surrogate_legend(context, trials), remarks)
    problem, ways = rows_of_patches(context, trials)
    story.tell(row_table(problem, ways), row_legend(problem, ways, trials))
    points, errors = (story.file(f"sampling-{name}.png") for name in ("points", "errors"))
    _save_points(context.seed, points)
    _save_errors(cases, ways, errors)
    return story.end(_pictures(points, errors), _comparisons(cases, problem, ways))


def _pictures(points: Path, errors: Path) -> list[Picture]:
    return [
        Picture(
            points,
            "Three sets of points in a square: a repeated determinantal process, independent "
            "points of the optimal law, and uniform points.",
            "Points of a determinantal process (left) repel one another and gather at the rim, "
            "where polynomials are large: lmin, which is 1 at best, tells the difference.",
        ),
        Picture(
            errors,
            "Errors of every seed for five ways to choose points in four spaces of polynomials, "
            "and of six ways to pick rows.",
            "Every dot is a seed, bars are medians; 1 is the smallest error that there is. Right: "
            "regression on the rows picked, and the eigenvalue that vouches for it.",
        ),
    ]


def _comparisons(cases: list[Case], problem: Photographs, ways: list[Way]) -> list[Comparison]:
    return [*map(surrogate_comparison, cases[::2]), row_comparison(problem, ways)]


def _trials(context: Context) -> int:
    """Return the number of seeds; JAX compiles for every block of proposals, which takes long."""
    if context.library == "jax":
        return 1
    return _QUICK_TRIALS if context.quick else _TRIALS


# ------------------------------------------------------------------------------- the pictures


def _save_points(seed: int, path: Path) -> None:
    """Save the points of three designs for polynomials in two variables, and their weights."""
    basis = TensorBasis(Legendre(), multi_index(2, _DEGREE))
    names = MODELS[0].variables[:2]
    designs = [sample_design(basis, method=method, rng=seed) for method in ("rdpp", "iid")]
    n = len(designs[0])
    points = _HOST.random.default_rng(seed).uniform(-1, 1, (n, 2))
    rows = basis.evaluate(points)
    lmins = [*(design.lmin for design in designs), _HOST.linalg.eigvalsh(rows.T @ rows / n)[0]]
    displays = [DesignDisplay(d.points, d.weights, names=names) for d in designs]
    displays.append(DesignDisplay(points, _HOST.ones(n), names=names))
    ends = [float(w) for design in designs for w in to_numpy(design.weights)]
    limits = min(ends), max(ends)
    figure = _empty(displays[0], (11.0, 3.7))
    panels = grid(figure, 1, len(displays))
    titles = ("rdpp", "iid", "uniform points")
    for display, ax, title, lmin in zip(displays, panels, titles, lmins, strict=True):
        display.plot(ax, title=f"{title}: lmin = {lmin:.2g}", limits=limits, colorbar=False)
        ax.set_aspect("equal")
    bar = figure.colorbar(displays[0].points_, ax=panels, fraction=0.03, shrink=0.8)
    bar.set_label("weight (area in proportion)", color=INK)
    figure.suptitle(
        f"{n} points for the {basis.dim} polynomials of degree {_DEGREE} in {' and '.join(names)} "
        "(scaled)",
        x=0.01,
        ha="left",
        fontsize=11,
        color=INK,
    )
    figure.savefig(path, dpi=90)


def _save_errors(cases: list[Case], ways: list[Way], path: Path) -> None:
    """Save the errors of all seeds: four spaces of polynomials, and the pixels."""
    figure = _empty(DesignDisplay(_HOST.eye(2)), (13.5, 6.4))
    panels = grid(figure, 2, 3)
    four = [panels[i] for i in (0, 3, 1, 4)]
    for case, ax in zip(cases, four, strict=True):
        _draw_case(case, ax)
    ends = [line.get_xdata() for ax in four for line in ax.lines]
    for ax in four:
        _scale(ax, min(map(min, ends)), max(map(max, ends)))
        ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right")
    _draw_rows(ways, "excess", panels[2])
    _draw_rows(ways, "lmin", panels[5])
    figure.savefig(path, dpi=90)


def _empty(display: Any, size: tuple[float, float]) -> Any:
    """Return an empty figure in which nothing will overlap."""
    figure = empty_figure(display, size)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def _draw_case(case: Case, ax: Any) -> None:
    """Draw the errors over those of the best approximation."""
    for ratio, place, colour in zip(RATIOS, _PLACES, _COLOURS, strict=True):
        label = f"{case.n(ratio)} points"
        values = [[e / case.best for e in case.trials[name, ratio].errors] for name in WAYS]
        _strips(ax, values, place, colour, label)
    title = f"{case.model.name}, {case.label}: {case.host.dim} polynomials"
    _finish(ax, list(WAYS), title, "error over the smallest possible")


def _draw_rows(ways: list[Way], what: str, ax: Any) -> None:
    """Draw what regression on a few rows costs, or the eigenvalue that vouches for it."""
    is_excess = what == "excess"
    values = [
        [1 + x for x in way.excess] if is_excess else [found.lmin for found in way.picked]
        for way in ways
    ]
    _strips(ax, values, 0.0, BLUE, "")
    xlabel = "squared residual over the smallest" if is_excess else "lmin"
    names = [f"{way.name} ({way.picked[0].rows})" for way in ways]
    title = "pixels from neighbours (rows picked)" if is_excess else "the same rows"
    _finish(ax, names, title, xlabel)
    _scale(ax, min(map(min, values)), max(map(max, values)))


def _strips(ax: Any, values: list[list[float]], place: float, colour: str, label: str) -> None:
    """Draw the values of each way in a line, and their median as a bar."""
    style = {"color": colour, "markeredgewidth": 0, "markersize": 4.0, "alpha": 0.55}
    for i, found in enumerate(values):
        name = label if i == 0 else None
        ax.plot(found, [i + place] * len(found), "o", label=name, **style)
        ax.plot([median(found)], [i + place], "|", color=colour, markersize=12, markeredgewidth=2)


def _finish(ax: Any, names: list[str], title: str, xlabel: str) -> None:
    """Set labels and the title."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(xlabel, color=INK)
    quieten(ax)
    ax.tick_params(labelsize=9)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=FAINT, linewidth=0.6)
    ax.set_title(title, loc="left", fontsize=9.5, color=MUTED)


def _scale(ax: Any, low: float, high: float) -> None:
    """Set a logarithmic scale with a few round numbers."""
    low, high = low / 1.1, high * 1.1
    factors = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0) if high < 10 * low else (1.0, 2.0, 5.0)
    ticks = [factor * 10.0**k for k in range(-8, 6) for factor in factors]
    shown = [tick for tick in ticks if low <= tick <= high]
    ax.set_xscale("log")
    ax.set_xticks(shown, [f"{tick:g}" for tick in shown])
    ax.set_xticks([], minor=True)
    ax.set_xlim(low, high)
