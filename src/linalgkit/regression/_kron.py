"""Least squares with a Kronecker product of matrices, which is never formed.

With ``A = A1 kron A2 kron ...`` and ``b = vec(B)`` the pseudo-inverse is the Kronecker product of
those of the factors: one pass over `B` and small factorisations are all the work there is::

    result = kron_lstsq([A1, A2], B)        # B of shape (n1, n2) or (n1 n2,)
    result.x                                # of shape (d1, d2) or (d1 d2,)

"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import Array, array_namespace, device, eps, is_complex_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.triangular import SingularMatrixError
from linalgkit._core.validation import AccuracyWarning, check_choice, check_float, check_int
from linalgkit.regression._answers import Taken, sketched_result
from linalgkit.regression._intervals import column_norms
from linalgkit.regression._kron_exact import (
    KronEquations,
    decomposed,
    kron_equations,
    solve_exactly,
    stewart_bound,
)
from linalgkit.regression._reduced import Reduced, solve_reduced
from linalgkit.regression._ridge_law import with_plain_ridge
from linalgkit.regression._size import default_size
from linalgkit.regression._sketched_result import Form, SketchedLstsqResult
from linalgkit.sketching import tensor_sketch

METHODS = ("exact", "tensor_srht")
_ATTEMPTS = 4
_DELTA = 0.01  # of bounds, where none is given


@dataclass(frozen=True, eq=False)
class KronLstsqResult:
    """Solution of a least-squares problem with a Kronecker product.

    Attributes
    ----------
    x : array
        The unknowns, of shape (d1, ..., dq) where `B` was a tensor and (d1 ... dq,) in C order
        where it was flat; with several right sides one axis more, (k,). Of minimum norm where the
        rank is deficient.
    residual_norm : float or array (k,)
        ``||A x - b||_2`` without the ridge; with a sketch, its estimate.
    rank : int
        Product of the numerical ranks of the factors, in which a ridge does not count; with a
        sketch, the rank of the sketched equations, in which it does.
    condition : float
        Product of the ratios of their extreme singular values that count, after columns have
        been brought to unit norm where the rank is full and there is no ridge.
    method : str
        ``"exact"`` or ``"tensor_srht"``.
    m : int
        Rows of the sketch; those of `A` where there was none.
    status : str
        ``"exact"``, ``"sketched"``, or ``"rank_deficient"`` where the rank is below the number of
        unknowns, without a ridge or with one below rounding in the sketched equations.
    sketched : SketchedLstsqResult or None
        With ``method="tensor_srht"`` what the sketch tells, unknowns in C order: standard errors,
        intervals, bounds.
    """

    x: Array = field(repr=False)
    residual_norm: Any = field(repr=False)
    rank: int
    condition: float
    method: str
    m: int
    status: str
    sketched: SketchedLstsqResult | None = field(repr=False, default=None)

    def ci(self, level: float = 0.95, simultaneous: bool = False) -> tuple[Array, Array]:
        """Return intervals for the unknowns of the exact solution, of the shape of `x`.

        Parameters
        ----------
        level : float, default 0.95
            Probability of covering, in (0, 1).
        simultaneous : bool, default False
            Whether all intervals shall cover together.

        Returns
        -------
        lower, upper : array
            The ends, approximate as the sketch is not Gaussian; `x` twice without a sketch.
        """
        if self.sketched is None:
            return self.x, self.x
        xp = array_namespace(self.x)
        lower, upper = self.sketched.ci(level, simultaneous)
        return xp.reshape(lower, self.x.shape), xp.reshape(upper, self.x.shape)

    def backward_error(self, factors: Sequence[Array], B: Array, *, alpha: float = 0.0) -> float:
        """Return a bound on the backward error of `x`, computed from the data once more.

        Parameters
        ----------
        factors, B, alpha
            What was solved.

        Returns
        -------
        float
            ``||E||_F / ||A||_F`` of the smaller of two perturbations (of ``[A; sqrt(alpha) I]``,
            not themselves Kronecker products) for which `x` solves the perturbed problem
            exactly: that of Stewart, ``||A^H r|| / ||r||``, and the one that leaves no residual,
            ``||r|| / ||x||``. The largest over the right sides.

        Notes
        -----
        Storage: one tensor of the size of `B`. Two passes over `B`.
        """
        eq = kron_equations(factors, B)
        alpha = check_float("alpha", alpha, 0.0)
        xp = array_namespace(self.x)
        X = xp.reshape(self.x, (*eq.widths, eq.k))
        return stewart_bound(eq, X, alpha)


@capability("regression.kron_lstsq", synchronisations={"call": 31})
def kron_lstsq(
    factors: Sequence[Array],
    B: Array,
    *,
    method: str = "exact",
    alpha: float = 0.0,
    m: int | None = None,
    rng: Any = None,
) -> KronLstsqResult:
    """Solve ``min ||(A1 kron A2 kron ...) x - vec(B)||^2 + alpha ||x||^2``.

    Parameters
    ----------
    factors : sequence of array (n_t, d_t)
        One matrix or more, of one library; real or complex, of any shape and rank.
    B : array (n1, ..., nq) or (n1 ... nq,)
        The right side as a tensor, or flat in C order (the last index runs fastest, as in
        ``numpy.kron``). One axis more, (k,), for several right sides.
    method : {"exact", "tensor_srht"}
        ``"exact"`` is backward stable and needs one pass over `B`: to be preferred wherever `B`
        can be read once. ``"tensor_srht"`` sketches both sides with a tensor product of Hadamard
        transforms; it is slower and less accurate, and there for comparison and for what can be
        done with `m` rows only.
    alpha : float, default 0.0
        Weight of ``||x||^2``, in the squared unit of the product. A sketch leaves the rows
        ``sqrt(alpha) I`` unsketched, which is more accurate; intervals are then rather too wide.
    m : int, optional
        Rows of the sketch, at least one more than there are unknowns; ``max(16 d, d + 100)`` for
        ``d = d1 ... dq`` by default. None with ``method="exact"``.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch.

    Returns
    -------
    KronLstsqResult
        ``x``, ``residual_norm``, ``rank``, ``condition``, ``status``; and intervals, after a
        sketch.

    Raises
    ------
    TypeError
        For arguments of a wrong kind and mixed libraries.
    ValueError
        If shapes do not fit, numbers are not finite or out of range, `method` is unknown, `m` is
        given without a sketch or not above the number of unknowns, or `x` would overflow.
    SingularMatrixError
        If sketches of up to 8 m rows lose columns that the product has (a ValueError).

    Warns
    -----
    AccuracyWarning
        If the sketch asked for is no smaller than the problem, which is then solved exactly.

    See Also
    --------
    sketched_lstsq, lstsq : for matrices without this structure.

    Notes
    -----
    The rank of a factor is decided by its singular values as in :func:`numpy.linalg.lstsq`, with
    unit columns if that shows full rank. That of the product follows, so that a product with a
    condition number beyond the reciprocal roundoff is still solved to full accuracy where its
    factors are well conditioned.

    Storage: thin factors of the size of the given ones, ``d1 n2 ... nq`` numbers, and one
    tensor of the size of `B` where the residual is so small that it must be formed.

    References
    ----------
    .. [1] D. W. Fausett, C. T. Fulton, "Large least squares problems involving Kronecker
       products", SIAM J. Matrix Anal. Appl. 15 (1994).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.regression import kron_lstsq
    >>> rng = np.random.default_rng(0)
    >>> A1, A2 = rng.standard_normal((30, 2)), rng.standard_normal((20, 3))
    >>> B = A1 @ np.ones((2, 3)) @ A2.T
    >>> result = kron_lstsq([A1, A2], B)
    >>> bool(np.allclose(result.x, 1.0)), result.rank
    (True, 6)
    """
    check_choice("method", method, METHODS)
    eq = kron_equations(factors, B)
    alpha = check_float("alpha", alpha, 0.0)
    if method == "exact":
        if m is not None:
            raise ValueError(
                f'm must be None with method="exact", which uses no sketch, got {m!r}. '
                'Set method="tensor_srht".'
            )
        return _exact(eq, alpha)
    way_out = "One row more than unknowns is needed to estimate the residual."
    rows = default_size(eq.d) if m is None else m
    rows = check_int("m", rows, eq.d + 1, why=f"for {eq.d} unknowns", way_out=way_out)
    if rows >= eq.n:
        if m is not None:
            warnings.warn(
                f"a sketch of {m} rows would be no smaller than the {eq.n} equations, which were "
                'solved without one. Ask for fewer rows, or use method="exact".',
                AccuracyWarning,
                stacklevel=2,
            )
        return _exact(eq, alpha)
    with undone_on_error(rng):
        return _sketched(eq, alpha, rows, rng)


def form_of(eq: KronEquations) -> Form:
    """Return the form of answers to these equations."""
    return Form(eq.dtype, is_complex_dtype(eq.xp, eq.dtype), not eq.has_sides)


def _exact(eq: KronEquations, alpha: float) -> KronLstsqResult:
    solved = solve_exactly(eq, alpha)
    is_full = solved.rank == eq.d or alpha > 0
    form = form_of(eq)
    return KronLstsqResult(
        x=_shaped(eq, solved.X),
        residual_norm=form.each_side(solved.residuals, solved.X),
        rank=solved.rank,
        condition=solved.condition,
        method="exact",
        m=eq.n,
        status="exact" if is_full else "rank_deficient",
    )


def _sketched(eq: KronEquations, alpha: float, m: int, rng: Any) -> KronLstsqResult:
    """Sketch both sides, with more rows where columns are lost that the factors have."""
    rank = math.prod(part.rank for part in decomposed(eq, in_one_unit=False))
    generator = rng
    for attempt in range(_ATTEMPTS):
        if m >= eq.n:
            return _exact(eq, alpha)
        taken = _tensor_sketch(eq, m, generator)
        rows = _with_ridge(eq, taken, alpha)
        small = solve_reduced(*rows, eps(eq.xp, eq.dtype), xp=eq.xp)
        if small.rank >= rank:
            return _answer(eq, taken, small, alpha)
        generator = as_generator(rng) if attempt == 0 else generator
        m *= 2
    raise SingularMatrixError(
        f"the sketch must keep the rank {rank} of the product, but {m // 2} rows do not. Use "
        'method="exact".'
    )


def _tensor_sketch(eq: KronEquations, m: int, rng: Any) -> Taken:
    """Return the sketched equations."""
    xp = eq.xp
    sizes = [int(A.shape[0]) for A in eq.factors]
    S = tensor_sketch("tensor_srht", m, sizes, rng=rng)
    SA, SB = S.apply_kron(eq.factors), S.apply_vec(eq.B)
    norms = column_norms(xp.reshape(eq.B, (-1, eq.k)), xp)
    return Taken(S, SA, SB, norms, eq.n, 0)


def _with_ridge(eq: KronEquations, taken: Taken, alpha: float) -> tuple[Array, Array]:
    """Return sketched equations, and below them the rows of the ridge."""
    xp, SA, SB = eq.xp, taken.SA, taken.SB
    if alpha == 0:
        return SA, SB
    identity = xp.eye(eq.d, dtype=SA.dtype, device=device(SA))
    zeros = xp.zeros((eq.d, eq.k), dtype=SB.dtype, device=device(SB))
    below = xp.concat([SA, math.sqrt(alpha) * identity], axis=0)
    return below, xp.concat([SB, zeros], axis=0)


def _answer(eq: KronEquations, taken: Taken, small: Reduced, alpha: float) -> KronLstsqResult:
    status = "sketched" if small.rank == eq.d else "rank_deficient"
    form = form_of(eq)
    if alpha > 0:
        small, misfits = with_plain_ridge(small, taken.SA, taken.SB, alpha)
    result = sketched_result(small, taken, _DELTA, form, status)
    if alpha > 0:
        factor = math.sqrt(taken.S.m / max(1, taken.S.m - small.rank))
        norms = form.each_side([factor * misfit for misfit in misfits], small.spread.X)
        result = replace(result, residual_norm=norms)
    return KronLstsqResult(
        x=_shaped(eq, result.x),
        residual_norm=result.residual_norm,
        rank=result.rank,
        condition=result.condition,
        method="tensor_srht",
        m=taken.S.m,
        status=status,
        sketched=result,
    )


def _shaped(eq: KronEquations, X: Array) -> Array:
    """Return unknowns in the caller's precision and the layout of `B`."""
    xp = eq.xp
    shape = ((eq.d,) if eq.is_flat else eq.widths) + ((eq.k,) if eq.has_sides else ())
    return xp.reshape(xp.astype(X, eq.dtype, copy=False), shape)
