"""Two hundred of half a million pixels, and the regression that they give.

The equations are those of the regression demo: each pixel of two photographs from the pixels
around it. Only the values of the pixels picked are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    asarray,
    namespace_of,
    numpy_namespace,
    synchronise,
    to_numpy,
)
from linalgkit._demos._context import Context
from linalgkit._demos._measure import Meter
from linalgkit._demos._photographs import photographs
from linalgkit._demos._section import Comparison
from linalgkit._demos._surrogates import seeds
from linalgkit._demos._table import NOTHING, Table
from linalgkit.datasets import neighbour_equations
from linalgkit.sampling import ProjectionDPP, sample_design, volume_sample, weighted_lstsq

_HOST = numpy_namespace()
_SIZE = 5
ROWS = 200
_WARM = 2048  # rows of the warm-up
_DRAWN = 6  # rows an unknown, of which bss_subsample keeps two
_HEADER = (
    "rows",
    "excess, %\nmedian",
    "\nworst",
    "lmin\nmedian",
    "\nleast",
    "set-up,\nms",
    "a sample,\nms",
)
_LEGEND = (
    "Excess: the squared residual on all rows over the smallest there is, less one; median and",
    "worst of {seeds}. ({ROWS} rows of Gaussian noise would have {gaussian:.0f} %.) lmin: the",
    "smallest eigenvalue of the Gram matrix of the rows picked in an orthonormal basis, where all",
    "rows together have 1. rdpp, volume, leverage scores (iid): weighted, with replacement;",
    "volume_sample and uniform rows: not weighted. Thinned: by bss_subsample, before a value is",
    "looked at. Set-up: what all samples of a matrix share; volume_sample repeats it.",
)


class Picked(NamedTuple):
    """Coefficients on the host, rows whose values were needed, lmin, and seconds of the draw."""

    x: Any
    rows: int
    lmin: float
    seconds: float


@dataclass
class Way:
    """One way to pick rows, and what came of it.

    Attributes
    ----------
    name : str
        Its line in the table.
    pick : callable
        ``pick(seed)`` returns a :class:`Picked`.
    set_up : float
        Seconds spent before the first sample; NaN where there are none.
    excess : list of float
        Squared residuals over the smallest, less one.
    """

    name: str
    pick: Callable[[int], Picked]
    set_up: float
    excess: list[float] = field(default_factory=list)
    picked: list[Picked] = field(default_factory=list)


class Photographs:
    """The equations of all pixels, and the exact answer.

    Attributes
    ----------
    A, b : arrays (n, p) and (n,)
        In the library of the run.
    rows : ndarray (n, p)
        The matrix on the host.
    """

    def __init__(self, context: Context) -> None:
        like = None if context.library == "numpy" else context.like
        equations = neighbour_equations(photographs(context, _SIZE), _SIZE, like=like)
        blocks = list(equations)
        self.xp, self.device = namespace_of(blocks[0][0])
        self.A = self.xp.concat([A for A, _ in blocks], axis=0)
        self.b = self.xp.concat([b for _, b in blocks], axis=0)
        self.rows, self.values = to_numpy(self.A), to_numpy(self.b)
        self.R = _HOST.linalg.cholesky(self.rows.T @ self.rows).T
        self.x = _HOST.linalg.lstsq(self.rows, self.values, rcond=None)[0]
        rest = self.values - self.rows @ self.x
        self._smallest = float(rest @ rest)

    def excess(self, x: Any) -> float:
        """Return the squared residual of `x` over the smallest, less one, by Pythagoras."""
        change = self.R @ (x - self.x)
        return float(change @ change) / self._smallest

    def plain(self, index: Any, seconds: float) -> Picked:
        """Fit rows that are all weighted alike."""
        rows = self.rows[index]
        x = _HOST.linalg.lstsq(rows, self.values[index], rcond=None)[0]
        Q = _HOST.linalg.solve(self.R.T, rows.T)
        scale = self.rows.shape[0] / index.shape[0]
        lmin = float(_HOST.linalg.eigvalsh(Q @ Q.T)[0]) * scale
        return Picked(x, index.shape[0], lmin, seconds)

    def taken(self, index: Array) -> Array:
        """Return the values of rows picked."""
        index = asarray(index, xp=self.xp, device=self.device, copy=False)
        return self.xp.take(self.b, index, axis=0)


# ---------------------------------------------------------------------------------- the ways


def _designed(
    problem: Photographs, dpp: ProjectionDPP, n: int, options: dict[str, Any], seed: int
) -> Picked:
    meter = Meter()
    with meter.turn():
        design = sample_design(dpp, n, rng=seed, **options)
        synchronise(design.weights)
    fit = weighted_lstsq(design, problem.taken(design.indices), space=problem.A)
    return Picked(to_numpy(fit.coef), len(design), design.lmin, meter.seconds)


def _volume(problem: Photographs, seed: int) -> Picked:
    meter = Meter()
    with meter.turn():
        index = volume_sample(problem.A, ROWS, rng=seed)
        synchronise(index)
    return problem.plain(to_numpy(index), meter.seconds)


def _uniform(problem: Photographs, seed: int) -> Picked:
    meter = Meter()
    with meter.turn():
        rng = _HOST.random.default_rng(seed)
        index = rng.choice(problem.rows.shape[0], ROWS, replace=False)
    return problem.plain(index, meter.seconds)


def _ways(problem: Photographs, seed: int) -> list[Way]:
    """Return all ways, set up."""
    ProjectionDPP(problem.A[:_WARM, :], rng=seed)
    meter = Meter()
    with meter.turn():
        dpp = ProjectionDPP(problem.A, rng=seed)

    def design(name: str, n: int = ROWS, **options: Any) -> Way:
        return Way(name, partial(_designed, problem, dpp, n, options), meter.seconds)

    drawn = _DRAWN * dpp.dim
    return [
        design("rdpp", method="rdpp"),
        design("volume, weighted", method="volume"),
        Way("volume_sample", partial(_volume, problem), 0.0),
        design("leverage scores", method="iid"),
        Way("uniform rows", partial(_uniform, problem), 0.0),
        design(f"rdpp, {drawn} rows thinned", drawn, method="rdpp", subsample="bss"),
    ]


# ----------------------------------------------------------------------------------- the race


def rows_of_patches(context: Context, trials: int) -> tuple[Photographs, list[Way]]:
    """Pick rows in every way; return the problem and what came of it."""
    problem = Photographs(context)
    ways = _ways(problem, context.seed)
    with context.progress("rows", total=len(ways) * trials) as bar:
        for way in ways:
            for k in range(trials):
                found = way.pick(context.seed + k)
                way.picked.append(found)
                way.excess.append(problem.excess(found.x))
                bar.update(1)
            context.done(way.name, way.set_up + sum(found.seconds for found in way.picked))
    return problem, ways


def row_table(problem: Photographs, ways: list[Way]) -> Table:
    """Return excess, lmin and times of every way."""
    n, p = problem.rows.shape
    return Table((f"{n:,} rows,\n{p} unknowns", *_HEADER), [_line(way) for way in ways])


def row_legend(problem: Photographs, ways: list[Way], trials: int) -> str:
    """Return what the table says, and which way did best."""
    p = problem.rows.shape[1]
    text = "\n".join(_LEGEND).format(
        seeds=seeds(trials), ROWS=ROWS, gaussian=100 * p / (ROWS - p - 1)
    )
    best = min(ways, key=lambda way: median(way.excess))
    return f"{text}\nSmallest median excess: {best.name}."


def row_comparison(problem: Photographs, ways: list[Way]) -> Comparison:
    """Return weighted rows of a determinantal process beside uniform ones."""
    by_name = {way.name: way for way in ways}
    ours, rival = by_name["rdpp"], by_name["uniform rows"]
    n, p = problem.rows.shape
    excess, other = (median(way.excess) for way in (ours, rival))
    return Comparison(
        f"{ROWS} of {n:,} pixels, {p} unknowns",
        f"squared residual {100 * excess:.0f} % over the smallest",
        f"lmin {min(found.lmin for found in ours.picked):.2g} at least",
        ours.set_up + median(found.seconds for found in ours.picked),
        f"{rival.name}, numpy.linalg.lstsq",
        median(found.seconds for found in rival.picked),
        "excess",
        excess,
        other,
    )


def _line(way: Way) -> tuple[str, ...]:
    lmins = [found.lmin for found in way.picked]
    return (
        way.name,
        str(way.picked[0].rows),
        f"{100 * median(way.excess):.0f}",
        f"{100 * max(way.excess):.0f}",
        f"{median(lmins):.4f}",
        f"{min(lmins):.4f}",
        f"{1000 * way.set_up:.0f}" if way.set_up else NOTHING,
        f"{1000 * median(found.seconds for found in way.picked):.1f}",
    )
