"""Least squares over rows in parts: to full accuracy, or through a sketch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.capabilities import capability
from linalgkit.distributed._beside import beside
from linalgkit.distributed._equations import equations_in_parts
from linalgkit.distributed._graph import once, reduced, shared_key, task
from linalgkit.distributed._parts import as_parts
from linalgkit.regression import LstsqResult, SketchedLstsqResult, SketchedRegressor
from linalgkit.regression._lstsq import Options, solution
from linalgkit.regression._sketched import sketched_solution
from linalgkit.regression._stream import StreamOptions
from linalgkit.regression._targets import as_targets
from linalgkit.sketching import SketchOperator


@capability("distributed.lstsq", sparse=True, streaming=True)
def lstsq(
    A: Any,
    b: Any,
    *,
    driver: str = "auto",
    alpha: float = 0.0,
    weights: Any = None,
    rcond: float | None = None,
    sketch: str = "sparse_sign",
    m: int | None = None,
    rng: object = None,
    fanin: int = 8,
    persist: bool | None = None,
) -> LstsqResult:
    """Solve ``min sum_i w_i |b_i - (A x)_i|^2 + alpha ||x||^2`` to full accuracy, in parts.

    Parameters
    ----------
    A : dask.array, list of delayed blocks, path, memmap, or list of these
        Blocks of rows, dense or scipy.sparse, (n, d) together.
    b : dask.array, list of delayed blocks, '.npy' files, memmap, or array (n,) or (n, k)
        One right side, or several as columns. A list of blocks has one for each part of `A`; all
        else, lists of files or numbers too, is cut where `A` is, for which delayed parts of `A`
        are read once more.
    driver, alpha, rcond, sketch, m, rng
        As for :func:`linalgkit.regression.lstsq`.
    weights : like `b`, optional
        Weights of the squared residuals, (n,), not negative.
    fanin : int, default 8
        Sums that a task of the tree adds up, 2 at least.
    persist : bool, optional
        Whether the parts are kept in the memory of the workers between passes; otherwise each
        pass reads them anew. By default on a cluster of ``dask.distributed``, whose workers put
        on disk what does not fit, and not on threads.

    Returns
    -------
    LstsqResult
        With the certificate of the serial function, computed from all rows.

    Raises
    ------
    TypeError, ValueError
        As the serial function, naming the part; where `b` or `weights` do not fit to the parts.

    Warns
    -----
    AccuracyWarning
        As the serial function.

    See Also
    --------
    sketched_lstsq : one pass over the data, approximate, with intervals.
    linalgkit.regression.lstsq : the same in one process.

    Notes
    -----
    Drivers, corrections, certificate and warnings are those of the serial function for blocks of
    rows; only the passes over the data are distributed, each a map over the parts and a tree of
    sums of one shape for one number of parts. The solution has the same bound on its backward
    error as the serial one, a few roundoffs, from which it may differ by so much times the
    condition number. The same parts and `fanin` give the same bits on threads and on clusters, if
    BLAS has as many threads. With ``driver="auto"`` the rows that are looked at are spread evenly
    over all parts. Fewer rows than columns are put together on the client.

    Passes: one for the lengths, if parts of unknown length meet `b` or `weights` that are to be
    cut as they are; one to check and, for "auto", one for a sample; then three to five for
    "cholesky" and "sketch_cholqr", and up to a condition of 1e12 some 25 to 45 for "spir" and 45
    to 90 for "lsmr", two an iteration.

    Storage, for p parts of n / p rows, d columns, fanin f: a part and ``2 d^2`` numbers a worker, f
    times that while sums are merged; ``9 d^2 + 2 m d`` on the client. Moved in a pass:
    ``(p - 1) d (d + k)`` numbers for a factor, ``2 (p - 1) d k`` for a correction, and as many
    to the workers. "lsmr" alone holds ``2 n k`` numbers on the client and moves ``2 n k`` in each
    iteration.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from linalgkit.distributed import lstsq
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((5000, 3))
    >>> b = A @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(5000)
    >>> result = lstsq(da.from_array(A, chunks=(1000, 3)), b, rng=0)
    >>> result.x.round(2)
    array([ 1. , -2. ,  0.5])
    >>> result.status, bool(result.backward_error < 1e-15)
    ('converged', True)
    """
    options = Options.checked(driver, rcond, sketch)
    eq = equations_in_parts(A, b, weights=weights, alpha=alpha, fanin=fanin, persist=persist)
    return solution(eq, options, m, rng)


@capability("distributed.sketched_lstsq", sparse=True, streaming=True)
def sketched_lstsq(
    A: Any,
    b: Any,
    *,
    m: int | None = None,
    eps: float | None = None,
    delta: float = 0.01,
    sketch: str | SketchOperator = "auto",
    alpha: float = 0.0,
    weights: Any = None,
    rng: Any = None,
    fanin: int = 8,
    persist: bool | None = None,
) -> SketchedLstsqResult:
    """Solve a least-squares problem in parts through one sketch, with intervals.

    Parameters
    ----------
    A : dask.array, list of delayed blocks, path, memmap, or list of these
        Blocks of rows, dense or scipy.sparse, (n, d) together.
    b : dask.array, list of delayed blocks, '.npy' files, memmap, or array (n,) or (n, k)
        Right sides, in parts as for :func:`lstsq`.
    m, eps, delta, alpha
        As for :func:`linalgkit.regression.sketched_lstsq`.
    sketch : str or SketchOperator, default "auto"
        As there; ``"auto"`` takes ``"block_srht"``, and ``"sparse_sign"`` for sparse blocks.
    weights : like `b`, optional
        Weights of squared residuals, (n,), not negative.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch, drawn from on the client: all workers use columns of one sketch.
    fanin : int, default 8
        Sums that a task of the tree adds up, 2 at least.
    persist : bool, optional
        As for :func:`lstsq`. Rows are read twice: to be checked, and to be sketched; once more
        for the lengths as there.

    Returns
    -------
    SketchedLstsqResult
        As that of the serial function for blocks of rows and the same `rng`, up to the rounding of
        one sum; its intervals, too.

    Raises
    ------
    TypeError, ValueError
        As the serial function, naming the part; where `b` or `weights` do not fit to the parts.

    Warns
    -----
    AccuracyWarning
        As the serial function.

    See Also
    --------
    lstsq : full accuracy, in several passes.
    fit : the same for a :class:`~linalgkit.regression.SketchedRegressor`.

    Notes
    -----
    Each part is multiplied by the columns of the sketch that belong to the numbers of its rows,
    and the products are added up by a tree.

    Storage, for p parts and fanin f: a part, ``m (d + k)`` numbers of the widest dtype and two
    cells of ``max(1024, 2 m)`` rows (16 times as many sparse ones) a worker, f times these while
    sums are merged. Moved: ``(p - 1)`` such states.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from linalgkit.distributed import sketched_lstsq
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((20000, 5))
    >>> b = A @ np.arange(1.0, 6.0) + rng.standard_normal(20000)
    >>> rows = da.from_array(A, chunks=(5000, 5))
    >>> result = sketched_lstsq(rows, b, m=500, sketch="gaussian", rng=0)
    >>> lower, upper = result.ci(0.999, simultaneous=True)
    >>> exact = np.linalg.lstsq(A, b)[0]
    >>> bool(np.all((lower < exact) & (exact < upper)))
    True
    """
    eq = equations_in_parts(A, b, weights=weights, alpha=alpha, fanin=fanin, persist=persist)
    return sketched_solution(eq, m, eps, delta, sketch, rng)


# --------------------------------------------------------------------------------- estimators


def plan(
    model: SketchedRegressor, source: Any, y: Any = None, *, fanin: int, sample_weight: Any = None
) -> Delayed:
    """Return a task that sketches all rows into one object of the class of `model`.

    Its `rng` is an integer, drawn here if `model` has none.
    """
    params = model.get_params(deep=False)
    StreamOptions.checked(params)
    if y is None:
        as_targets(y)  # which refuses it
    params["rng"] = shared_key(params["rng"])
    parts, (targets, weights) = beside(
        as_parts(source, name="X").counted(), y=y, sample_weight=sample_weight
    )
    sent = once(params)
    places = enumerate(zip(parts.starts(), parts.tasks, targets, weights, strict=True))
    leaves = [task("sketch", _sketched, type(model), sent, k, *args) for k, args in places]
    return reduced("sketch", _merged, leaves, fanin)


def _sketched(
    kind: type[SketchedRegressor],
    params: Mapping[str, Any],
    index: int,
    start: int,
    X: Any,
    y: Any,
    weights: Any,
) -> SketchedRegressor:
    """Return an object that has taken in one part."""
    model = kind(**params)
    model._n_blocks = index  # which messages name
    return model.partial_fit(X, y, weights, start=start)


def _merged(a: SketchedRegressor, b: SketchedRegressor) -> SketchedRegressor:
    return copy.copy(a).merge(b)
