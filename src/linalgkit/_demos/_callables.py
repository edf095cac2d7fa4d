"""Callables found to a tolerance: errors, evaluations, and NumPy's chebval3d."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    array_namespace,
    asarray,
    namespace_of,
    numpy_namespace,
    synchronise,
    to_numpy,
)
from linalgkit._demos._canonical import most
from linalgkit._demos._context import Context
from linalgkit._demos._pictures import empty_figure, grid
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import Table, small
from linalgkit.chebyshev import ChebTucker, chebtucker
from linalgkit.plotting import FunctionDisplay, Slice
from linalgkit.plotting._display import BLUE, FAINT, INK, MUTED, ORANGE, quieten

_HOST = numpy_namespace()
_CUBE = ((-1.0, 1.0),) * 3
_POINTS, _FRESH, _FEW = 100_000, 20_000, 5
_TOLS = tuple(10.0**-k for k in range(2, 13, 2))
_BELLS, _WIDEST, _NARROWEST = 30, 5.0, 40.0
_LEGEND = (
    "Told: what the function says of its error; true: the largest at {fresh:,} fresh points; both\n"
    "over the largest modulus. The estimate is a sample: the truth may be a little larger. Ranks\n"
    "and degrees: the largest. Values: at {points:,} points. NumPy: about what chebval3d takes\n"
    "for as many with all coefficients, extrapolated from 5 points; it agrees to {agreement:.0e}."
)
_MADE = "made, 1,000 or more to check among them"
_CROSS: dict[str, Any] = {
    "marker": "x", "linestyle": "", "markersize": 10, "markeredgewidth": 2.0, "zorder": 4,
}  # fmt: skip


class Named(NamedTuple):
    """A function of points (n, 3), and the tolerance to which it is found."""

    name: str
    function: Callable[[Array], Array]
    tol: float


class Fitted(NamedTuple):
    """What was found, and its cost."""

    named: Named
    function: ChebTucker
    error: float
    build: float
    values: float
    rival: float
    agreement: float


def functions(seed: int) -> list[Named]:
    """Return the functions of the table."""
    return [
        Named("1 / (1 + 25 r^2)", lambda x: 1 / (1 + 25 * _squares(x)), 1e-10),
        Named(f"{_BELLS} Gaussians", _gaussians(seed), 1e-10),
        Named("exp(20i (x y + z))", _wave, 1e-10),
        Named("sin(3 e^x + 4 y z)", _bent, 1e-8),
    ]


def _squares(x: Array) -> Array:
    return x[:, 0] ** 2 + x[:, 1] ** 2 + x[:, 2] ** 2


def _wave(x: Array) -> Array:
    xp = array_namespace(x)
    angle = 20 * (x[:, 0] * x[:, 1] + x[:, 2])
    return xp.cos(angle) + 1j * xp.sin(angle)


def _bent(x: Array) -> Array:
    xp = array_namespace(x)
    return xp.sin(3 * xp.exp(x[:, 0]) + 4 * x[:, 1] * x[:, 2])


def _gaussians(seed: int) -> Callable[[Array], Array]:
    """Return a sum of Gaussians of random places, widths and signs."""
    rng = _HOST.random.default_rng(seed)
    places = rng.uniform(-1, 1, (_BELLS, 3))
    widths = rng.uniform(_WIDEST, _NARROWEST, _BELLS)
    heights = rng.standard_normal(_BELLS)

    def called(x: Array) -> Array:
        xp = array_namespace(x)
        total = x[:, 0] * 0
        for place, width, height in zip(places, widths, heights, strict=True):
            away = sum((x[:, k] - float(place[k])) ** 2 for k in range(3))
            total = total + float(height) * xp.exp(-float(width) * away)
        return total

    return called


# ----------------------------------------------------------------------------------- measuring


def _found(context: Context, named: Named, tol: float) -> ChebTucker:
    xp, where = namespace_of(context.like)
    domain = asarray(_HOST.asarray(_CUBE), xp=xp, device=where)
    return chebtucker(named.function, domain, tol=tol, rng=context.seed)


def _error(context: Context, named: Named, T: ChebTucker) -> float:
    """Return the largest error at fresh points over the largest modulus."""
    x = _points(context, _FRESH)
    exact = to_numpy(named.function(x))
    return float(abs(to_numpy(T(x)) - exact).max() / abs(exact).max())


def _points(context: Context, count: int) -> Array:
    points = _HOST.random.default_rng(context.seed + 1).uniform(-1, 1, (count, 3))
    xp, where = namespace_of(context.like)
    return asarray(points, xp=xp, device=where)


def fit_functions(context: Context) -> list[Fitted]:
    """Find all functions to their tolerances."""
    count = 1 if _compiles(context) else 2 if context.quick else None
    found = []
    for named in functions(context.seed)[:count]:
        found.append(_fitted(context, named))
        context.done(named.name, found[-1].build + found[-1].values)
    return found


def _compiles(context: Context) -> bool:
    """Return whether the library compiles every operation for every shape, which takes minutes."""
    return context.library == "jax"


def _fitted(context: Context, named: Named) -> Fitted:
    _found(context, named, named.tol)  # what is compiled at first use
    start = time.perf_counter()
    T = _found(context, named, named.tol)
    synchronise(T.core)
    build = time.perf_counter() - start
    x = _points(context, _POINTS)
    start = time.perf_counter()
    synchronise(T(x))
    values = time.perf_counter() - start
    rival, agreement = _chebval(T, to_numpy(x)[:_FEW, :])
    error = _error(context, named, T)
    return Fitted(named, T, error, build, values, rival, agreement)


def _chebval(T: ChebTucker, x: Array) -> tuple[float, float]:
    """Return the seconds of numpy.polynomial for all points, and how far it agrees."""
    full = to_numpy(T.core)
    for k, V in enumerate(map(to_numpy, T.factors)):
        full = _HOST.moveaxis(_HOST.tensordot(V, full, axes=(1, k)), 0, k)
    start = time.perf_counter()
    values = _HOST.polynomial.chebyshev.chebval3d(x[:, 0], x[:, 1], x[:, 2], full)
    seconds = time.perf_counter() - start
    xp, where = namespace_of(T.core)
    ours = to_numpy(T(asarray(x, xp=xp, device=where)))
    return seconds * _POINTS / len(x), float(abs(values - ours).max() / T.scale)


# --------------------------------------------------------------------------------- what is shown


def function_table(found: Sequence[Fitted]) -> Table:
    """Return what was found, and its cost."""
    header = (
        "function on\n[-1, 1]^3",
        "tol",
        "rank /\ndegree",
        "evalu-\nations",
        "error\ntold",
        "error\ntrue",
        "status",
        "kB",
        "build\ns",
        "values\ns",
        "NumPy\ns",
    )
    return Table(header, [_line(f) for f in found], left=frozenset({header.index("status")}))


def _line(f: Fitted) -> tuple[str, ...]:
    T = f.function
    return (
        f.named.name,
        f"{f.named.tol:.0e}",
        most(T),
        f"{T.n_evals:,}",
        small(T.error_estimate / T.scale),
        small(f.error),
        T.status,
        f"{T.nbytes / 1e3:.0f}",
        f"{f.build:.2f}",
        f"{f.values:.2f}",
        f"{float(f'{f.rival:.0e}'):,.0f}",
    )


def function_legend(found: Sequence[Fitted]) -> str:
    """Return what the table says."""
    agreement = max(f.agreement for f in found)
    return _LEGEND.format(fresh=_FRESH, points=_POINTS, agreement=agreement)


def function_comparison(found: Sequence[Fitted]) -> Comparison:
    """Return the values of the hardest function beside NumPy's."""
    hardest = max(found, key=lambda f: f.rival)
    T = hardest.function
    return Comparison(
        f"{hardest.named.name} to {hardest.named.tol:.0e}, {_POINTS:,} values",
        f"error {small(hardest.error)} of the largest value, {T.n_evals:,} evaluations",
        f"error told {small(T.error_estimate / T.scale)}",
        hardest.values,
        f"NumPy's chebval3d, all coefficients, extrapolated from {_FEW} of {_POINTS:,} points",
        hardest.rival,
        is_extrapolated=True,
    )


def save_errors(context: Context, path: Path) -> None:
    """Save errors and evaluations over the tolerance asked for."""
    figure = empty_figure(FunctionDisplay([Slice([[0.0, 1.0]], _CUBE[:2])]), (11.0, 4.4))
    left, right = grid(figure, 1, 2)
    chosen = functions(context.seed)[: 1 if _compiles(context) else 3]
    tols = _TOLS[::2] if context.quick or _compiles(context) else _TOLS
    for named, colour in zip(chosen, (BLUE, ORANGE, INK), strict=False):
        fits = [_found(context, named, tol) for tol in tols]
        true = [_error(context, named, T) / tol for T, tol in zip(fits, tols, strict=True)]
        told = [T.error_estimate / T.scale / tol for T, tol in zip(fits, tols, strict=True)]
        left.plot(tols, true, "o-", color=colour, markersize=5, label=named.name)
        left.plot(tols, told, **_CROSS, color=colour)
        right.plot(tols, [T.n_evals for T in fits], "o-", color=colour, markersize=5)
        grids = [math.prod(m + 1 for m in T.degrees) for T in fits]
        right.plot(tols, grids, "--", color=colour, linewidth=1.0)
    left.axhline(1.0, color=FAINT, linewidth=1.5, zorder=0)
    left.plot([], [], "o", color=MUTED, markersize=5, label="true, at fresh points")
    left.plot([], [], **_CROSS, color=MUTED, label="told by the function")
    right.plot([], [], "o-", color=MUTED, markersize=5, label=_MADE)
    right.plot([], [], "--", color=MUTED, linewidth=1.0, label="full grid of the same degrees")
    left.set_ylim(0.0, 1.4 * max(1.0, left.dataLim.y1))  # room for the legend
    right.set_yscale("log")
    right.set_ylim(top=20 * right.dataLim.y1)
    _finish(left, "error, as a share of the tolerance (line: 1)", "relative error / tolerance", 2)
    _finish(right, "evaluations of the function", "evaluations", 1)
    figure.savefig(path, dpi=90)


def _finish(ax: Any, title: str, label: str, columns: int) -> None:
    ax.set_xscale("log")
    quieten(ax)
    ax.set_xlabel("tolerance", color=INK)
    ax.set_ylabel(label, color=INK)
    ax.set_title(title, loc="left", fontsize=10, color=MUTED)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right", ncols=columns)
