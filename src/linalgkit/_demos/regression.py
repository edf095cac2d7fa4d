"""Every pixel of two photographs predicted from the pixels around it.

Half a million equations with 75 unknowns: the other 24 pixels of a 5 x 5 square in three
channels, the other two channels of the pixel itself, and a constant. Solved to full accuracy
with a certificate, and from one pass with an interval for every coefficient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from linalgkit._core.array import Array, namespace_of, numpy_namespace, synchronise, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._measure import Meter, traced_memory
from linalgkit._demos._photographs import photographs
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._section import Comparison, Face, Picture, Section, Story
from linalgkit._demos._table import NOTHING, Table, plain, small
from linalgkit.datasets import NeighbourEquations, neighbour_equations
from linalgkit.plotting import CoefficientsDisplay, FilterDisplay
from linalgkit.regression import lstsq, sketched_lstsq

_SIZE = 5
_ROWS = {"gaussian": 1024, "block_srht": 4096}  # of the sketches: exact law, and quick
_WARM = 4096  # equations of the warm-up
_LEAST_SAVING = 8  # a sketch of a small picture has this many times fewer rows
_LEVEL = 0.95
_HEADER = (
    "numpy.linalg.lstsq: all rows in memory",
    "seconds",
    "peak\nMiB",
    "largest\nerror",
    "RMS of the\nprediction",
    "certificate",
)
_LEGEND = (
    "Largest error: of a coefficient but the constant, against NumPy's. Backward error: the",
    "change of A, relative to its norm, that makes the answer exact; rounding alone is 1e-16.",
    "Interval: half of its width, the widest of all but the constant's. Time and memory: inside",
    "the method, one warm-up left out; what LAPACK allocates for NumPy is not seen. One pass",
    "cuts its rows out of the pictures.",
)


_FACE = Face(
    "Least squares, certified",
    "Predict every pixel of two photographs from the pixels around it: each is an equation for "
    "75 unknowns. Find the coefficients to rounding with a number that proves it, or from a "
    "sketch of the rows that come only once, with an interval for each of them.",
    """\
from linalgkit.regression import lstsq, sketched_lstsq

full = lstsq(A, b)
print(full.x, full.backward_error, full.condition)
once = sketched_lstsq(A, b, m=1024, sketch="gaussian", rng=0)
print(once.ci(0.95, simultaneous=True))""",
)


@dataclass
class Solver:
    """One way to the coefficients: its answer, what vouches for it, and what it cost.

    Attributes
    ----------
    name : str
        Its line in the table.
    solve : callable
        Returns the answer.
    meter : Meter
        Time and memory.
    """

    name: str
    solve: Callable[[], Any]
    meter: Meter
    result: Any = None

    def run(self) -> None:
        """Solve and keep the answer."""
        with self.meter.turn():
            self.result = self.solve()
            synchronise(self.x)

    @property
    def x(self) -> Array:
        """The coefficients."""
        return getattr(self.result, "x", self.result)


def run(context: Context) -> Section:
    """Solve in three ways, print the table and save the pictures."""
    equations = _equations(context)
    lead = (
        f"Prediction of {equations.n_rows:,} pixels from their neighbours, {equations.n_columns} "
        f"unknowns ({context.library})."
    )
    story = Story(context, "regression", _FACE, lead)
    A, b = _in_memory(equations)
    _warm_up(A, b, context)
    solvers = _solvers(A, b, equations, context)
    with traced_memory(), context.progress("least squares", total=len(solvers)) as bar:
        for solver in solvers:
            solver.run()
            context.done(solver.name, solver.meter.seconds)
            bar.update(1)
    story.tell(_table(solvers, A, b), "\n".join(_LEGEND), tuple(_notes(solvers)))
    picture = story.file("neighbour-filter.png")
    _save_filter(solvers, equations, picture)
    return story.end([_picture(picture)], [_comparison(solvers, A)])


def _picture(path: Path) -> Picture:
    return Picture(
        path,
        "The filter that predicts a pixel, channel by channel, and its 74 coefficients in order, "
        "each with an interval.",
        "Above: the filter, one channel each, found from one pass. Below: its coefficients with "
        "intervals that hold all at once, and NumPy's coefficients, which need all rows.",
    )


def _comparison(solvers: list[Solver], A: Array) -> Comparison:
    """Return the solve to full accuracy beside NumPy's."""
    exact, ours = solvers[:2]
    n, p = A.shape
    error = float(abs(to_numpy(ours.x) - to_numpy(exact.x))[:-1].max())
    return Comparison(
        f"{n:,} pixels from their neighbours, {p} unknowns",
        f"all coefficients within {small(error)} of NumPy's",
        f"backward error {small(ours.result.backward_error)}",
        ours.meter.seconds,
        exact.name,
        exact.meter.seconds,
    )


def _equations(context: Context) -> NeighbourEquations:
    like = None if context.library == "numpy" else context.like
    return neighbour_equations(photographs(context, _SIZE), _SIZE, like=like)


def _in_memory(equations: NeighbourEquations) -> tuple[Array, Array]:
    """Return all equations at once, for those who cannot do without."""
    blocks = list(equations)
    xp, _ = namespace_of(blocks[0][0])
    return xp.concat([A for A, _ in blocks], axis=0), xp.concat([b for _, b in blocks], axis=0)


def _warm_up(A: Array, b: Array, context: Context) -> None:
    """Compile what is compiled at first use, on a small part of the equations."""
    few = min(_WARM, int(A.shape[0]))
    A, b = A[:few, :], b[:few]
    lstsq(A, b, rng=context.seed)
    for kind in _ROWS:
        sketched_lstsq(A, b, m=few // _LEAST_SAVING, sketch=kind, rng=context.seed)


def _solvers(A: Array, b: Array, equations: NeighbourEquations, context: Context) -> list[Solver]:
    host, values = to_numpy(A), to_numpy(b)
    exact = numpy_namespace().linalg.lstsq

    def one_pass(kind: str) -> Any:
        m = min(_ROWS[kind], equations.n_rows // _LEAST_SAVING)
        return sketched_lstsq(iter(equations), m=m, sketch=kind, rng=context.seed)

    return [
        Solver("numpy.linalg.lstsq", lambda: exact(host, values, rcond=None)[0], Meter()),
        Solver("lstsq", lambda: lstsq(A, b, rng=context.seed), Meter()),
        *(Solver(f"one pass, {kind}", partial(one_pass, kind), Meter()) for kind in _ROWS),
    ]


def _table(solvers: list[Solver], A: Array, b: Array) -> Table:
    """Return what each found, beside NumPy's answer, and what it cost."""
    host, values, exact = to_numpy(A), to_numpy(b), to_numpy(solvers[0].x)
    rows = []
    for solver in solvers:
        x = to_numpy(solver.x)
        residual = values - host @ x
        rms = float((residual @ residual / residual.shape[0]) ** 0.5)
        error = float(abs(x - exact)[:-1].max())
        peak = NOTHING if solver is solvers[0] else f"{solver.meter.peak / 2**20:.1f}"
        cost = (f"{solver.meter.seconds:.2f}", peak)
        named = f"{solver.name} ({solver.result.driver})" if _is_full(solver) else solver.name
        shown = small(error) if error else NOTHING
        rows.append((named, *cost, shown, plain(rms, 4), _certificate(solver)))
    return Table(_HEADER, rows, left=frozenset({len(_HEADER) - 1}))


def _is_full(solver: Solver) -> bool:
    return hasattr(solver.result, "backward_error")


def _certificate(solver: Solver) -> str:
    """Return what vouches for an answer."""
    if _is_full(solver):
        return f"backward error {small(solver.result.backward_error)}"
    if not hasattr(solver.result, "ci"):
        return NOTHING
    lower, upper = (to_numpy(end)[:-1] for end in solver.result.ci(_LEVEL, simultaneous=True))
    half = float((upper - lower).max()) / 2
    return f"{100 * _LEVEL:g} % for all at once: +- {half:.1e}"


def _notes(solvers: list[Solver]) -> list[str]:
    """Return how many intervals hold NumPy's coefficients, alone and all together."""
    exact, notes = to_numpy(solvers[0].x), []
    for solver in solvers[-len(_ROWS) :]:
        held = []
        for simultaneous in (False, True):
            ends = solver.result.ci(_LEVEL, simultaneous=simultaneous)
            lower, upper = (to_numpy(end) for end in ends)
            held.append(int(((lower <= exact) & (exact <= upper)).sum()))
        notes.append(
            f"{solver.name}, {solver.result.m} rows, {solver.result.law} law: {held[0]} of "
            f"{exact.shape[0]} exact coefficients lie in their {100 * _LEVEL:g} % intervals, "
            f"{held[1]} in those that hold all at once."
        )
    return notes


def _save_filter(solvers: list[Solver], equations: NeighbourEquations, path: Path) -> None:
    """Save the filter, channel by channel, and its coefficients with their intervals."""
    exact, sketched = to_numpy(solvers[0].x), solvers[2].result
    lower, upper = (to_numpy(end)[:-1] for end in sketched.ci(_LEVEL, simultaneous=True))
    label = f"interval from one pass, {100 * _LEVEL:g} % for all at once"
    bars = CoefficientsDisplay(
        to_numpy(sketched.x)[:-1], lower, upper, reference=exact[:-1], label=label
    )
    picture = FilterDisplay(equations.as_patch(to_numpy(sketched.x)))
    figure = empty_figure(picture, (8.0, 6.4))
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))
    picture.plot(axes=grid(top, 1, equations.patch_shape[2]))
    bars.plot(ax=grid(bottom, 1, 1)[0], order="value", title="the 74 coefficients, in order")
    figure.savefig(path, dpi=90)
