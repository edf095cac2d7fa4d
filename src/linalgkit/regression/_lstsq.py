"""Least squares to full accuracy, with a certificate: the public function and its result."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from linalgkit._core.array import Array
from linalgkit._core.capabilities import capability
from linalgkit._core.printing import leading, number, told
from linalgkit._core.random import PhiloxTiles, undone_on_error
from linalgkit._core.scaling import ldexp_float, silent
from linalgkit._core.validation import AccuracyWarning, check_choice, check_float
from linalgkit.regression._certificate import column_norms
from linalgkit.regression._drivers import DRIVERS, Plan, roundoff, solve
from linalgkit.regression._precondition import SketchOptions
from linalgkit.regression._problem import Equations, checked_rows, several_passes
from linalgkit.regression._scaled import finite_as
from linalgkit.regression._solver import ROUNDING, Solved, certified
from linalgkit.regression._system import System
from linalgkit.sketching._factory import KINDS

# Rows picked by scores would need the scores.
SKETCHES = tuple(kind for kind in KINDS if kind != "leverage")


@dataclass(frozen=True, eq=False)
class LstsqResult:
    """The solution of a least-squares problem, and how good it is.

    `backward_error` and `residual_norm` are floats for right sides (n,), and arrays (k,) of the
    device's widest float for (n, k).

    Attributes
    ----------
    x : array (d,) or (d, k)
        The solution, in the joint precision of `A` and `b`; of minimum norm where it is not
        unique.
    rank : int
        Numerical rank of `A`, weighted; with a ridge ``min(n, d)``, unless `alpha` is so small
        that its rows are below rounding beside those of `A`.
    condition : float
        2-norm condition number of `A` with columns (for ``n < d`` rows) of unit length, on the
        `rank` directions that count. From a sketch for ``"spir"`` and ``"lsmr"``, hence within a
        factor of about two; NaN or a lower bound where nothing was factorised.
    backward_error : float or array (k,)
        The certificate: the smallest ``||[dA, theta db]||_F / ||A||_F`` with
        ``theta = ||A||_F / ||b||`` for which `x` solves ``min ||(A + dA) x - (b + db)||``
        exactly. Computed from `x` as returned, by the estimate of Karlson and Walden, which is
        never above it and never below half of it, up to a roundoff; by its exact value where
        that is above 1e-4. Below ten roundoffs no algorithm of this precision could do much
        better. The roundoff does not grow with the number of rows, whose sums are compensated; of
        a LinearOperator it is that of its own products.
    residual_norm : float or array (k,)
        ``||b - A x||_2``, weighted, without the ridge; infinity where no float holds it.
    iterations : int
        Corrections from the data, or iterations of the inner solver.
    driver : str
        The driver that gave the answer.
    status : str
        ``"converged"``; ``"rank_deficient"`` where the rank is below both sides of `A`;
        ``"inaccurate"`` where `backward_error` is above ten roundoffs (an explicit `rcond`
        apart). The last two come with an :class:`~linalgkit.AccuracyWarning`.
    """

    x: Array = field(repr=False)
    rank: int
    condition: float
    backward_error: Any
    residual_norm: Any
    iterations: int
    driver: str
    status: str

    def __str__(self) -> str:
        d = int(self.x.shape[0])
        return told(
            f"Least squares, {d:,} unknowns of rank {self.rank:,} ({self.driver})",
            ("coefficients", leading(self.x)),
            ("residual norm", number(self.residual_norm)),
            ("backward error", number(self.backward_error)),
            ("condition", number(self.condition)),
            status=self.status,
        )


@capability(
    "regression.lstsq",
    sparse=True,
    streaming=True,
    notes="Streaming means a source of blocks that can be gone through again and again.",
    synchronisations={"call": 50, "block": 1},
)
def lstsq(
    A: Any,
    b: Any = None,
    *,
    driver: str = "auto",
    alpha: float = 0.0,
    weights: Any = None,
    rcond: float | None = None,
    sketch: str = "sparse_sign",
    m: int | None = None,
    rng: object = None,
) -> LstsqResult:
    """Solve ``min sum_i w_i |b_i - (A x)_i|^2 + alpha ||x||^2`` to full accuracy, certified.

    Parameters
    ----------
    A : array (n, d), sparse matrix, LinearOperator, or iterable
        The matrix. Where `b` is None, a list (or other source that can be gone through more
        than once) of pairs ``(A_block, b_block)``; with `b` also blocks of rows, files, dask
        arrays.
    b : array (n,) or (n, k), optional
        One right side, or several as columns.
    driver : str, default "auto"
        "cholesky", "sketch_cholqr", "spir", "lsmr", or "auto", see Notes.
    alpha : float, default 0.0
        Weight of ``||x||^2`` (ridge), not negative.
    weights : array (n,), optional
        Weights of the squared residuals, not negative.
    rcond : float, optional
        Singular values of `A` up to `rcond` times the largest count as zero: the truncated
        singular value decomposition, as in ``numpy.linalg.lstsq``. By default a direction is
        left out only if the data cannot tell it from zero: if the singular value of `A` with
        columns of unit length is below 6 eps times the largest.
    sketch : str, default "sparse_sign"
        Kind of the sketch, see :func:`linalgkit.sketching.sketch`; not "leverage".
    m : int, optional
        Rows of the sketch, at least d; by default ``3 d + 16`` for "sketch_cholqr" and
        ``8 d + 16`` for "spir" and "lsmr". From n rows on the data themselves are taken.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch (SPEC 7). It has no influence on the solution beyond rounding.

    Returns
    -------
    LstsqResult
        The solution `x`, its `backward_error`, `rank`, `condition`, `residual_norm` and more.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind, libraries are mixed, or `A` is an iterator that can be
        gone through once only.
    ValueError
        If shapes do not fit, a number is out of its range, the data or products with a
        LinearOperator hold NaN or infinity, `driver` or `sketch` is unknown, or `x` would overflow.

    Warns
    -----
    AccuracyWarning
        If the rank is below ``min(n, d)`` (and `rcond` is None), or the backward error above ten
        roundoffs.

    See Also
    --------
    sketched_lstsq : one pass over the data, approximate, with exact intervals.
    backward_error : the certificate of any other solution.

    Notes
    -----
    The drivers, for the tall matrix ``M = A`` (``M = A^H`` for ``n < d``) with p columns:

    - "cholesky": the Gram matrix of M with columns of unit length. It is left for
      "sketch_cholqr" where the condition number times the root of the roundoff is 0.1 or more.
    - "sketch_cholqr": Cholesky QR of M times the inverse triangular factor of a sketch.
    - "spir": conjugate gradients preconditioned by the singular value decomposition of a
      sketch, restarted from the true residual.
    - "lsmr": LSMR preconditioned likewise; beyond 2500 columns of M, if `m` is None, LSMR itself.

    For ``n < d`` there are only "cholesky", "sketch_cholqr" (which "spir" and "lsmr" stand for,
    too) and LSMR itself; the first two make the solution as Q times a vector, where M = Q R.

    Where `rcond` leaves out a direction that the data determine, or nearly does, "sketch_cholqr"
    stands for every driver: singular vectors need a factor as accurate as one of QR.

    Every driver is followed by corrections from the true residual until the backward error is
    below half a roundoff or no longer halves, at most 8. Where it stays above ten roundoffs
    other drivers are tried and the best answer is returned: for ``n >= d`` those that follow in
    "cholesky", "sketch_cholqr", "spir", or in "lsmr", "spir", "sketch_cholqr" if one of the first
    two was asked for or chosen (none after LSMR itself); for ``n < d`` those that follow in
    "cholesky", "sketch_cholqr". After "cholesky" chosen for a sparse matrix come "lsmr", "spir",
    "sketch_cholqr".

    ``driver="auto"``, word for word: "cholesky" for a sparse matrix with ``n >= d`` and p up to
    2500; "lsmr" for other sparse matrices and for a LinearOperator. Otherwise
    "cholesky" if M has at least 8 p rows and 2 p of them, evenly spread (of blocks the first
    ones), have with columns of unit length a Cholesky factor whose largest and smallest pivot
    are less than ``0.1 / sqrt(u)`` apart, u the roundoff of the widest float. Otherwise "spir" if
    ``n >= d``, p is above 512 and M has at least 64 p rows. Otherwise "sketch_cholqr".

    All is computed in the widest float of the device, so that float32 data are solved in
    float64 where there is one. Data whose squares would leave the range of the floating-point
    numbers are scaled by powers of two.

    Cost: ``n d^2`` flops for "cholesky", ``2 n d^2`` for "sketch_cholqr", all matrix products,
    and two to five passes over the data; 15 to 40 passes for "spir" and "lsmr". One
    synchronisation a pass, two an iteration.

    Storage, in numbers of the widest float: ``9 p^2``, ``2 m p`` for a sketch of m rows, ``2 n k``
    for residuals ("lsmr": ``6 n k``), and two blocks of 4 MiB (of 32 MiB for libraries other than
    NumPy, 256 MiB on devices). Blocks of a source with fewer rows than columns are put together
    in memory.

    References
    ----------
    .. [1] A. J. Higgins, D. B. Szyld, E. G. Boman, I. Yamazaki, "Analysis of randomized
       Householder-Cholesky QR factorization with multisketching", Numer. Math. (2025).
    .. [2] E. N. Epperly, M. Meier, Y. Nakatsukasa, "Fast randomized least-squares solvers can be
       just as accurate and stable as classical direct solvers", Comm. Pure Appl. Math. (2025).
    .. [3] D. C.-L. Fong, M. Saunders, "LSMR: an iterative algorithm for sparse least-squares
       problems", SIAM J. Sci. Comput. 33 (2011).
    .. [4] R. Karlson, B. Walden, "Estimation of optimal backward perturbation bounds for the
       linear least squares problem", BIT 37 (1997).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.regression import lstsq
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((5000, 3))
    >>> x = np.asarray([1.0, -2.0, 0.5])
    >>> result = lstsq(A, A @ x + 0.1 * rng.standard_normal(5000), rng=0)
    >>> result.x.round(2)
    array([ 1. , -2. ,  0.5])
    >>> result.driver, result.rank, bool(result.backward_error < 1e-15)
    ('cholesky', 3, True)
    """
    options = Options.checked(driver, rcond, sketch)
    eq = several_passes(A, b, weights=weights, alpha=alpha)
    return solution(eq, options, m, rng)


class Options(NamedTuple):
    """What needs no look at the equations."""

    driver: str
    rcond: float | None
    sketch: str

    @classmethod
    def checked(cls, driver: str, rcond: float | None, sketch: str) -> Self:
        """Return the options after checking them."""
        check_choice("driver", driver, DRIVERS)
        check_choice("sketch", sketch, SKETCHES)
        rcond = None if rcond is None else check_float("rcond", rcond, 0.0, 1.0, high_open=True)
        return cls(driver, rcond, sketch)


def solution(eq: Equations, options: Options, m: int | None, rng: object) -> LstsqResult:
    """Return the solution of equations that can be gone through again and again."""
    m = checked_rows(m, eq)
    with undone_on_error(rng), silent():  # whatever overflows is judged by what comes of it
        sketch = SketchOptions(options.sketch, m, PhiloxTiles(rng))
        plan = Plan(options.driver, sketch, options.rcond)
        solved, system = solve(eq, plan)
        returned = _rounded(solved, system)
    return _result(solved, returned, system, plan)


class _Returned(NamedTuple):
    """The unknowns as they are returned, and what is true of them.

    Attributes
    ----------
    X : array (d, k)
        In the caller's units and precision.
    errors, residual_norms : list of float
        As in :class:`Solved` and its state.
    moved : float
        What rounding has changed, relative to the unknowns: more than a roundoff where they are
        near the smallest numbers.
    """

    X: Array
    errors: list[float]
    residual_norms: list[float]
    moved: float = 0.0


def _result(solved: Solved, returned: _Returned, system: System, plan: Plan) -> LstsqResult:
    """Return the result, and warn where it is weak."""
    eq, solver = system.equations, solved.solver
    status = _status(solved, returned, system, plan)
    _warn(status, system, solver.rank, returned)
    units = eq.b_exponents or [0] * eq.k
    pairs = zip(returned.residual_norms, units, strict=True)
    residuals = [ldexp_float(norm, e) for norm, e in pairs]
    return LstsqResult(
        x=eq.shape_x(returned.X),
        rank=solver.rank,
        condition=solver.condition,
        backward_error=eq.shape_k(returned.errors),
        residual_norm=eq.shape_k(residuals),
        iterations=solver.n_iterations,
        driver=solver.driver,
        status=status,
    )


def _rounded(solved: Solved, system: System) -> _Returned:
    """Return the unknowns in the caller's units and precision, judged as they are then.

    Powers of two change nothing unless the smallest numbers are met.
    """
    eq, state, xp = system.equations, solved.state, system.xp
    X = finite_as(eq.unscaled(state.X), eq.dtype, "x", xp)
    if not eq.is_scaled and eq.dtype == system.dtype:
        return _Returned(X, solved.errors, state.residual_norms)
    back = eq.in_units(system.as_dtype(X))
    changes = column_norms(back - state.X, xp)
    if not any(changes):
        return _Returned(X, solved.errors, state.residual_norms)
    pairs = zip(changes, column_norms(state.X, xp), strict=True)
    moved = max(change / size if size else 0.0 for change, size in pairs)
    state = system.rounded(state, back)
    return _Returned(X, certified(system, solved.solver, state), state.residual_norms, moved)


def _status(solved: Solved, returned: _Returned, system: System, plan: Plan) -> str:
    """Return the word for an answer."""
    limit = _limit(system)
    if solved.solver.is_truncated:
        return "converged" if solved.is_converged and returned.moved <= limit else "inaccurate"
    if not max(returned.errors) <= limit:
        return "inaccurate"
    is_deficient = solved.solver.rank < system.size and plan.rcond is None
    return "rank_deficient" if is_deficient else "converged"


def _limit(system: System) -> float:
    """Return the backward error up to which an answer counts as accurate."""
    return ROUNDING / 2 * roundoff(system)


def _warn(status: str, system: System, rank: int, returned: _Returned) -> None:
    eq, limit = system.equations, _limit(system)
    if status == "rank_deficient":
        what, way_out = "", "alpha > 0 for a ridge"
        if eq.alpha:
            what, way_out = f" with alpha={eq.alpha:.1e}", "a larger alpha"
        text = (
            f"A of shape ({eq.n}, {eq.d}){what} has numerical rank {rank}: x is the solution of "
            f"minimum norm. Pass {way_out}, or rcond to state what counts as zero."
        )
        warnings.warn(text, AccuracyWarning, stacklevel=5)
    elif status == "inaccurate":
        way_out = (
            "x is too small for its digits: divide A, or multiply b, by a power of two"
            if returned.moved > limit
            else "Try another driver, or a larger m"
        )
        text = (
            f"the backward error is {max(returned.errors):.1e} ||A||_F, above ten roundoffs "
            f"({limit:.1e}). {way_out}."
        )
        warnings.warn(text, AccuracyWarning, stacklevel=5)
