"""The Tucker format of a potential's values on a grid, beside that of tensorly."""

from __future__ import annotations

import importlib
import importlib.util
import time
from typing import NamedTuple

from linalgkit._core.array import (
    Array,
    asarray,
    namespace_of,
    numpy_namespace,
    synchronise,
    to_numpy,
)
from linalgkit._demos._canonical import by
from linalgkit._demos._context import Context
from linalgkit._demos._crystal import TOL, Solid
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import Table, small
from linalgkit.chebyshev import sthosvd

_HOST = numpy_namespace()
_GRID, _QUICK_GRID = 129, 65


class Format(NamedTuple):
    """A Tucker format found."""

    name: str
    told: str
    ranks: tuple[int, ...]
    error: float
    seconds: float


class Formats(NamedTuple):
    """The formats of one potential's values: ours first, tensorly's where it is installed."""

    points: int
    ions: int
    found: list[Format]


def tucker_formats(context: Context, solid: Solid) -> Formats:
    """Find the Tucker format of the potential's values on a grid."""
    n = _QUICK_GRID if context.quick else _GRID
    xp, where = namespace_of(context.like)
    steps = (_HOST.arange(n) + 0.5) / n
    grids = [
        asarray(low + (high - low) * steps, xp=xp, device=where) for low, high in solid.crystal.box
    ]
    X = solid.function.grid(*grids)
    sthosvd(X, tol=TOL)  # what is compiled at first use
    start = time.perf_counter()
    ours = sthosvd(X, tol=TOL)
    synchronise(ours.core)
    seconds = time.perf_counter() - start
    first = Format("sthosvd", f"tol {TOL:.0e}", ours.ranks, float(ours.error), seconds)
    rivals = _tensorly(to_numpy(X), ours.ranks, context.seed)
    return Formats(n, solid.crystal.charges.shape[0], [first, *rivals])


def _tensorly(X: Array, ranks: tuple[int, ...], seed: int) -> list[Format]:
    """Return what tensorly makes of it, which takes ranks but no tolerance; none without it."""
    if importlib.util.find_spec("tensorly") is None:
        return []
    tensorly = importlib.import_module("tensorly")
    tucker = importlib.import_module("tensorly.decomposition").tucker
    found = []
    for svd in ("truncated_svd", "randomized_svd"):
        start = time.perf_counter()
        format_ = tucker(X, rank=list(ranks), svd=svd, random_state=seed)
        seconds = time.perf_counter() - start
        error = _HOST.linalg.norm(tensorly.tucker_to_tensor(format_) - X) / _HOST.linalg.norm(X)
        found.append(Format(f"tensorly tucker, {svd}", "ranks", ranks, float(error), seconds))
    return found


# --------------------------------------------------------------------------------- what is shown


def tucker_block(formats: Formats) -> Table | str:
    """Return errors and times of all formats, or a note where ours stands alone."""
    ours, n = formats.found[0], formats.points
    if len(formats.found) == 1:
        return (
            f"Tucker format of {n}^3 values by sthosvd to {TOL:.0e}: ranks {by(ours.ranks)}, "
            f"relative\nerror {small(ours.error)}, {ours.seconds:.3f} s. Not compared: tensorly is "
            "not installed (pip install tensorly)."
        )
    header = (
        f"Tucker format of {n}^3 values,\n{formats.ions} ions",
        "told",
        "ranks",
        "relative\nerror",
        "seconds",
        "times\nours",
    )
    rows = [
        (f.name, f.told, by(f.ranks), small(f.error), f"{f.seconds:.3f}",
         f"{f.seconds / ours.seconds:.0f}")
        for f in formats.found
    ]  # fmt: skip
    return Table(header, rows, left=frozenset({header.index("told")}))


def tucker_comparison(formats: Formats) -> list[Comparison]:
    """Return ours beside the quicker of tensorly's; nothing without it."""
    ours, *rivals = formats.found
    if not rivals:
        return []
    rival = min(rivals, key=lambda f: f.seconds)
    return [
        Comparison(
            f"{formats.points}^3 values on a grid to {TOL:.0e}",
            f"ranks {by(ours.ranks)}, relative error {small(ours.error)}",
            "the error, from the discarded singular values",
            ours.seconds,
            f"{rival.name}, told the ranks",
            rival.seconds,
            "error",
            ours.error,
            rival.error,
        )
    ]
