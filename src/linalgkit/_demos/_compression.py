"""The Tucker format of a potential's values on a grid, beside that of tensorly."""

from __future__ import annotations

import importlib
import importlib.util
import time

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
from linalgkit._demos._table import Table, small
from linalgkit.chebyshev import sthosvd

_HOST = numpy_namespace()
_GRID, _QUICK_GRID = 129, 65


def tucker_table(context: Context, solid: Solid) -> Table | str:
    """Return times of the Tucker format of the potential's values on a grid, or a note."""
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
    rows = _tensorly(to_numpy(X), ours.ranks, seconds, context.seed)
    if not rows:
        return (
            f"Tucker format of {n}^3 values by sthosvd to {TOL:.0e}: ranks {by(ours.ranks)}, "
            f"relative\nerror {small(ours.error)}, {seconds:.3f} s. Not compared: tensorly is not "
            "installed (pip install tensorly)."
        )
    header = (
        f"Tucker format of {n}^3 values,\n{solid.crystal.charges.shape[0]} ions",
        "told",
        "ranks",
        "relative\nerror",
        "seconds",
        "times\nours",
    )
    told = f"tol {TOL:.0e}"
    first = ("sthosvd", told, by(ours.ranks), small(ours.error), f"{seconds:.3f}", "1")
    return Table(header, [first, *rows], left=frozenset({header.index("told")}))


def _tensorly(X: Array, ranks: tuple[int, ...], ours: float, seed: int) -> list[tuple[str, ...]]:
    """Return what tensorly makes of it, which takes ranks but no tolerance; none without it."""
    if importlib.util.find_spec("tensorly") is None:
        return []
    tensorly = importlib.import_module("tensorly")
    tucker = importlib.import_module("tensorly.decomposition").tucker
    rows: list[tuple[str, ...]] = []
    for svd in ("truncated_svd", "randomized_svd"):
        start = time.perf_counter()
        format_ = tucker(X, rank=list(ranks), svd=svd, random_state=seed)
        seconds = time.perf_counter() - start
        error = _HOST.linalg.norm(tensorly.tucker_to_tensor(format_) - X) / _HOST.linalg.norm(X)
        name, ratio = f"tensorly tucker, {svd}", f"{seconds / ours:.0f}"
        rows.append((name, "ranks", by(ranks), small(float(error)), f"{seconds:.3f}", ratio))
    return rows
