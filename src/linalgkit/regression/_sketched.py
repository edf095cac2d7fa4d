"""Least squares through a sketch: one pass over the equations, intervals for what it loses.

::

    result = sketched_lstsq(A, b, eps=0.3, rng=0)
    lower, upper = result.ci(0.95)

"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

from linalgkit._core.array import Array, adjoint, dtype_name, is_complex_dtype
from linalgkit._core.array import eps as roundoff
from linalgkit._core.capabilities import capability
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.triangular import SingularMatrixError
from linalgkit._core.validation import AccuracyWarning
from linalgkit.regression._accumulator import SketchAccumulator, merged, real_rows
from linalgkit.regression._answers import Taken, exact_result, sketched_result
from linalgkit.regression._intervals import column_norms
from linalgkit.regression._problem import Equations, equations
from linalgkit.regression._reduced import Reduced, rank_tolerance, solve_reduced
from linalgkit.regression._request import STREAMING, Request
from linalgkit.regression._sketched_result import Form, SketchedLstsqResult
from linalgkit.sketching import SketchOperator

_BY_CELLS = ("gaussian", "rademacher")  # whose entries are dear: one tile for A and b
_ATTEMPTS = 4


@capability(
    "regression.sketched_lstsq",
    sparse=True,
    streaming=True,
    notes="An iterable of (A_block, b_block) is read once, with the kinds that stream.",
    synchronisations={"call": 20, "block": 1},
)
def sketched_lstsq(
    A: Any,
    b: Any = None,
    *,
    m: int | None = None,
    eps: float | None = None,
    delta: float = 0.01,
    sketch: str | SketchOperator = "auto",
    alpha: float = 0.0,
    weights: Any = None,
    rng: Any = None,
) -> SketchedLstsqResult:
    """Solve a least-squares problem through a sketch, with intervals for the exact solution.

    Parameters
    ----------
    A : array (n, d), sparse matrix, LinearOperator, array on disk, or iterable
        The matrix; with `b` left out an iterable of pairs ``(A_block, b_block)``, which may be
        read only once.
    b : array (n,) or (n, k), optional
        Right sides.
    m : int, optional
        Rows of the sketch, at least ``d + 1``: one more than there are unknowns, so that the
        residual can be estimated. ``max(16 d, d + 100)`` if neither `m` nor `eps` is given.
    eps : float, optional
        Accuracy in (0, 1), from which `m` follows by the exact law of Gaussian sketches: with
        probability ``1 - delta`` every unknown is within ``eps / sqrt(d) ||r|| ||A^+||`` of the
        exact one (:func:`sketch_size`), for all right sides at once.
    delta : float, default 0.01
        Probability of missing `eps`, in (0, 1).
    sketch : str or SketchOperator, default "auto"
        Kind of the sketch (:func:`linalgkit.sketching.sketch`), or the sketch itself with `n`
        columns, ``n + d`` with ridge. ``"auto"`` takes ``"srht"`` (permuted) for data in memory
        and operators, ``"block_srht"`` for blocks of rows, ``"sparse_sign"`` for sparse data.
        Only ``"gaussian"`` has an exact law.
    alpha : float, default 0.0
        Weight of ``||x||^2``, in the squared unit of `A`. The rows ``sqrt(alpha) I`` are sketched
        with the others, which the law needs; they follow the last equation.
    weights : array (n,), optional
        Not negative; they multiply squared residuals.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch: for a str the same as ``sketching.sketch(sketch, m, n, rng=rng)``,
        with ``replace=True`` for ``"block_srht"``. Not used where `sketch` is an operator.

    Returns
    -------
    SketchedLstsqResult
        ``x``, ``stderr``, ``ci(level)``, ``linf_bound(delta)``, ``contrast(a)``,
        ``residual_norm``, ``rank``, ``condition`` and more.

    Raises
    ------
    TypeError
        For arguments of a wrong kind, mixed libraries, a second pass over an iterator.
    ValueError
        If shapes do not fit, `m` is not above `d`, both `m` and `eps` are given, `eps` or
        `delta` is outside (0, 1), `sketch` is unknown or needs all rows in memory, `alpha` or a
        weight is negative, data are NaN or infinite, or `x` or its standard errors would overflow.
    SingularMatrixError
        If sketches of up to 8 m rows lose columns that `A` has (a ValueError).

    Warns
    -----
    AccuracyWarning
        If a size was asked for that is no smaller than the problem, which is then solved
        without a sketch; or if the rank is deficient. Of data that are read once it cannot be
        told whether `A` or a sketch that is not Gaussian is to blame.

    See Also
    --------
    lstsq : full accuracy, for data that can be read several times.
    SketchedRegressor : the same for rows that arrive in several calls.

    Notes
    -----
    One and the same sketch serves `A` and `b`. For Gaussian ones the intervals have exactly the
    level they state, for every `A`, `b`, `n` and `m`, coherent data included, with Student's law
    of ``m - rank`` degrees of freedom ([1]_; ``2 (m - rank)`` and circular complex sketches for
    complex data). For all others they are approximate; where rows of one orthogonal transform of
    all equations are sampled without replacement, standard errors carry the factor
    ``sqrt(1 - m / N)`` of a finite population of `N` rows. (An operator of kind
    ``"block_srht"`` with ``replace=False`` gives intervals that are too wide where few blocks
    hold most of the data.) The theorem of [2]_ is not used, see
    :mod:`linalgkit.regression.theory`.

    The size `m` must not depend on the sketch: whoever adds rows until an interval looks narrow
    covers less often than stated. Look at a fresh sketch instead, or state ``delta / (j (j + 1))``
    at the j-th look.

    A sketch whose rank is below `d` is checked against the data (one more pass, of few
    products): where they do not confirm the loss, the sketch is drawn anew with twice the rows,
    three times at most.

    Storage: ``m (d + k)`` words of the widest dtype, and what the product with the sketch takes
    (:class:`~linalgkit.sketching.SketchOperator`); a block of at least 2 m rows for iterables; a
    copy of `A` where there are weights or it has to change its dtype. A problem of up to `m`
    equations is solved as a dense one.

    References
    ----------
    .. [1] D. C. Ahfock, W. J. Astle, S. Richardson, "Statistical properties of sketching
       algorithms", Biometrika 108 (2021), arXiv:1706.03665.
    .. [2] Z. Song, M. Ye, J. Yin, L. Zhang, "A Nearly-Optimal Bound for Fast Regression with
       l_inf Guarantee", ICML 2023, arXiv:2302.00248.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.regression import sketched_lstsq
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((20000, 5))
    >>> b = A @ np.arange(1.0, 6.0) + rng.standard_normal(20000)
    >>> result = sketched_lstsq(A, b, m=500, sketch="gaussian", rng=0)
    >>> lower, upper = result.ci(0.999, simultaneous=True)
    >>> exact = np.linalg.lstsq(A, b)[0]
    >>> bool(np.all((lower < exact) & (exact < upper)))
    True
    """
    eq = equations(A, b, weights=weights, alpha=alpha)
    return sketched_solution(eq, m, eps, delta, sketch, rng)


def sketched_solution(
    eq: Equations, m: Any, eps: Any, delta: Any, sketch: Any, rng: Any
) -> SketchedLstsqResult:
    """Return the solution of equations through a sketch; the options are checked here."""
    is_complex = is_complex_dtype(eq.xp, eq.dtype)
    request = Request.checked(m, eps, delta, sketch, d=eq.d, k=eq.k, is_complex=is_complex)
    with undone_on_error(rng):
        return _solved(eq, request, rng)


# ------------------------------------------------------------------------------- solving


def _solved(eq: Equations, request: Request, rng: Any) -> SketchedLstsqResult:
    """Sketch, look at the rank, and sketch again with more rows where the sketch lost columns."""
    asked, generator = request, rng
    for attempt in range(_ATTEMPTS):
        if eq.n is not None and request.m >= eq.n:
            return _without_sketch(eq, _whole(eq), request)
        taken = _sketched_rows(eq, request, generator)
        if isinstance(taken, tuple):
            return _without_sketch(eq, taken, request)
        small = solve_reduced(taken.SA, taken.SB, roundoff(eq.xp, eq.dtype), xp=eq.xp)
        # A Gaussian sketch keeps the rank of every matrix.
        if small.null is None:
            return sketched_result(small, taken, request.delta, form_of(eq))
        if taken.S.is_exact or _is_null(eq, small):
            _warn_deficient(eq, small.rank, is_certain=taken.S.is_exact)
            return sketched_result(small, taken, request.delta, form_of(eq))
        if isinstance(request.sketch, SketchOperator):
            break
        generator = as_generator(rng) if attempt == 0 else generator
        if attempt + 1 < _ATTEMPTS:
            request = replace(request, m=2 * request.m, is_asked=False)
    raise SingularMatrixError(
        f"the sketch must keep the rank of A, but {request.m} rows lose columns that A has, as did "
        f'the {asked.m} rows asked for. Use sketch="gaussian", which never does.'
    )


def form_of(eq: Equations) -> Form:
    """Return the form of answers to these equations."""
    return Form(eq.dtype, is_complex_dtype(eq.xp, eq.dtype), eq.b_is_vector)


def _whole(eq: Equations) -> tuple[Array, Array]:
    """Return all rows of a problem of few equations, dense."""
    A, B = eq.folded(_with_rows, _joined, block_rows=eq.n)
    return eq.xp.concat(A, axis=0), eq.xp.concat(B, axis=0)


_Lists = tuple[list[Array], list[Array]]


def _with_rows(found: _Lists | None, _: int, block: Operator, B: Array) -> _Lists:
    """Return lists of dense blocks and right sides with one more."""
    return _joined(found or ([], []), ([dense_rows(block)], [B]))


def _joined(a: _Lists, b: _Lists) -> _Lists:
    return a[0] + b[0], a[1] + b[1]


def dense_rows(block: Operator) -> Array:
    """Return a block as an array, by as few products with the identity as there are."""
    if isinstance(block, DenseOperator):
        return block.A
    xp, (rows, columns) = block.xp, block.shape
    identity = xp.eye(min(rows, columns), dtype=block.dtype, device=block.device)
    if rows < columns:
        return adjoint(block.rmatmul(identity), xp)
    return block.matmul(identity)


def _without_sketch(
    eq: Equations, rows: tuple[Array, Array], request: Request
) -> SketchedLstsqResult:
    """Solve a problem that is no larger than its sketch would be."""
    n = int(rows[0].shape[0])
    if request.is_asked:
        warnings.warn(
            f"a sketch of {request.m} rows would be no smaller than the {n} equations, which "
            "were solved without one. Ask for fewer rows, or use lstsq.",
            AccuracyWarning,
            stacklevel=5,
        )
    found = exact_result(*rows, eq.ridge_block(), request.delta, form_of(eq))
    if found.status == "rank_deficient":
        _warn_deficient(eq, found.rank, is_certain=True, level=6)
    return found


def _warn_deficient(eq: Equations, rank: int, *, is_certain: bool, level: int = 5) -> None:
    blame = (
        f"A of shape ({eq.n}, {eq.d}) has numerical rank {rank}"
        if eq.is_reiterable or is_certain
        else f"the rank {rank} of the sketch is below the {eq.d} unknowns, and data that are read "
        "once cannot tell whether A or the sketch is to blame "
        '(sketch="gaussian" keeps every rank)'
    )
    warnings.warn(
        f"{blame}: x is the solution of minimum norm. Drop the columns that follow from others, or "
        "pass alpha > 0 for a ridge.",
        AccuracyWarning,
        stacklevel=level,
    )


# ------------------------------------------------------------------------------ sketching


def _sketched_rows(eq: Equations, request: Request, rng: Any) -> Taken | tuple[Array, Array]:
    """Return the sketched equations, or all of them if they turn out to be too few."""
    kind = request.kind(eq.kind, eq.is_sparse)
    is_given = isinstance(request.sketch, SketchOperator)
    if eq.n is None and not is_given and kind not in STREAMING:
        raise ValueError(
            f'sketch must be "auto" or one of {", ".join(STREAMING)} for blocks whose number of '
            f"rows is not known, got {kind!r}. Pass the rows as one array, or the sketch itself."
        )
    n_ridge = eq.d if eq.alpha else 0
    width = None if eq.n is None else eq.n + n_ridge
    width = None if kind in STREAMING and not is_given else width
    S = request.drawn(kind, width, dtype_name(eq.xp, eq.dtype), rng)
    if eq.kind == "blocks" or (eq.kind == "dense" and S.kind in _BY_CELLS):
        part = _accumulated(eq, S)
        rows = part.rows()
        if rows is not None:
            return rows
        SA, SB, norms = part.total()
    else:
        ((_, block, B),) = eq.blocks(block_rows=eq.n)
        shares = S.apply_rows(_raw(block), 0), S.apply_rows(B, 0)
        SA, SB = (real_rows(part, eq.dtype, eq.xp) for part in shares)
        norms = column_norms(B, eq.xp)
    assert eq.n is not None
    SA = SA + _ridge_share(eq, S, SA) if n_ridge else SA
    return Taken(S, SA, SB, norms, eq.n, n_ridge, eq.alpha, eq.d)


def _raw(block: Operator) -> Any:
    """Return the array or CSR matrix behind a block, the operator itself where there is none."""
    return block.A if isinstance(block, (DenseOperator, SparseOperator)) else block


def _accumulated(eq: Equations, S: SketchOperator) -> SketchAccumulator:
    """Return the sketch of all blocks, cell by cell."""
    place = {"xp": eq.xp, "device": eq.device, "dtype": eq.dtype, "sparse": eq.is_sparse}

    def step(
        part: SketchAccumulator | None, start: int, block: Operator, B: Array
    ) -> SketchAccumulator:
        part = SketchAccumulator(S, eq.d, eq.k, **place) if part is None else part
        part.push(_raw(block), B, start)
        return part

    return eq.folded(step, merged, block_rows=eq.n)


def _ridge_share(eq: Equations, S: SketchOperator, SA: Array) -> Array:
    """Return the share of the rows ``sqrt(alpha) I``, which follow the last equation."""
    assert eq.n is not None
    columns = S.columns(eq.n, eq.n + eq.d, like=SA)
    return math.sqrt(eq.alpha) * real_rows(columns, eq.dtype, eq.xp)


def _hypot(a: list[float], b: list[float]) -> list[float]:
    return list(map(math.hypot, a, b))


def _is_null(eq: Equations, small: Reduced) -> bool:
    """Tell whether `A` itself, and not its sketch alone, has the deficient rank that was found."""
    if not eq.is_reiterable:
        return True
    assert small.null is not None
    xp, N = eq.xp, small.null

    def step(norms: list[float] | None, _: int, block: Operator, B: Array) -> list[float]:
        found = column_norms(block.matmul(N), xp)
        return found if norms is None else _hypot(norms, found)

    below = [math.sqrt(eq.alpha) * norm for norm in column_norms(N, xp)]
    norms = _hypot(below, eq.folded(step, _hypot, check=False, dtype=N.dtype))
    largest = 100.0 * math.sqrt(eq.d) * rank_tolerance(roundoff(xp, eq.dtype), eq.d)
    largest = math.ldexp(largest, -small.null_exponent)
    plain = norms[: len(norms) - small.n_zero]
    return all(v <= largest for v in plain) and all(v == 0.0 for v in norms[len(plain) :])
