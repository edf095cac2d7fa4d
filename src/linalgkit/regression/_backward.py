"""The backward error of any approximate least-squares solution: a public function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from linalgkit._core.array import Array, array_namespace, detached, device, is_complex, library_name
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import tsqr
from linalgkit._core.random import PhiloxTiles, undone_on_error
from linalgkit._core.scaling import silent
from linalgkit._core.validation import check_choice, check_finite_block
from linalgkit.regression._certificate import column_norms
from linalgkit.regression._coordinates import alive_columns
from linalgkit.regression._precondition import (
    SketchOptions,
    default_rows,
    dense_rows,
    extra_rows,
    take_sketch,
)
from linalgkit.regression._problem import Equations, checked_rows, several_passes
from linalgkit.regression._sketch_cholqr import cholqr_solver
from linalgkit.regression._system import PRODUCT_BYTES, OutOfRangeError, State
from linalgkit.regression._tall import TallSystem

METHODS = ("exact", "karlson_walden", "sketched")
_ROWS_A_COLUMN = 8
_TOLERANCE = 16


@capability(
    "regression.backward_error",
    sparse=True,
    streaming=True,
    notes="Streaming means a source of blocks that can be gone through again and again.",
    synchronisations={"call": 10, "block": 1},
)
def backward_error(
    A: Any,
    b: Any,
    x: Any,
    *,
    method: str = "exact",
    alpha: float = 0.0,
    weights: Any = None,
    m: int | None = None,
    rng: object = None,
) -> Any:
    """Return the smallest relative change of the data that makes `x` a least-squares solution.

    With ``theta = ||A||_F / ||b||`` it is the smallest ``||[dA, theta db]||_F / ||A||_F`` for
    which `x` solves ``min ||(A + dA) x - (b + db)||_2`` exactly: 1e-16 is perfect in double
    precision, 1e-3 means that `x` is right for data that differ by a part in a thousand.

    Parameters
    ----------
    A : array (n, d), sparse matrix, LinearOperator, or iterable
        As in :func:`lstsq`.
    b : array (n,) or (n, k), or None
        As in :func:`lstsq`.
    x : array (d,) or (d, k)
        The solution to judge, of the library of `A`.
    method : str, default "exact"
        "exact": the value itself. "karlson_walden": the estimate of Karlson and Walden, never
        above the exact value and never below half of it. "sketched": this estimate with the
        singular values of a sketch, within another factor of about two.
    alpha : float, default 0.0
        Ridge, see :func:`lstsq`; the rows ``sqrt(alpha) I`` count as rows of `A`.
    weights : array (n,), optional
        Weights, see :func:`lstsq`; rows are multiplied by their roots.
    m : int, optional
        Rows of the sketch; ``8 d + 16`` by default. From n rows on the data are taken.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch.

    Returns
    -------
    float or array (k,)
        One number a right side, a float where `b` is 1-D; 0 for ``b = 0`` and ``x = 0``.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind, libraries are mixed, or `A` can be gone through once
        only.
    ValueError
        If shapes do not fit, a number is out of its range, or the data, `x` or products with a
        LinearOperator hold NaN or infinity.

    See Also
    --------
    lstsq : solves, and returns the backward error with the solution.

    Notes
    -----
    The residual and its product with ``A^H`` are computed in the widest float of the device, once:
    their rounding makes results below a roundoff of that float meaningless (they are then as small
    as can be). Sums over rows are compensated, so that this holds for any number of rows; of a
    LinearOperator the roundoff is that of its own products. The exact value is the root of a
    secular equation equivalent to the smallest singular value in [2]_, without its cancellation.

    Cost: one pass for the residual; for the first two methods also ``2 n d^2`` flops for the
    triangular factor of `A` (of sparse matrices and operators by Cholesky QR). Two to four
    synchronisations.

    Storage, in numbers of the widest float: ``9 d^2``, ``2 n k`` for residuals, and blocks of
    4 MiB or ``8 d^2`` numbers; for a sketch ``2 m d`` numbers more.

    References
    ----------
    .. [1] R. Karlson, B. Walden, "Estimation of optimal backward perturbation bounds for the
       linear least squares problem", BIT 37 (1997).
    .. [2] B. Walden, R. Karlson, J.-G. Sun, "Optimal backward perturbation bounds for the linear
       least squares problem", Numer. Linear Algebra Appl. 2 (1995).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.regression import backward_error
    >>> A = np.asarray([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> b = np.asarray([1.0, 1.0, 1.0])
    >>> backward_error(A, b, np.asarray([1.0, 1.0]))
    0.0
    >>> round(backward_error(A, b, np.asarray([1.0, 1.001])), 6)
    0.000333
    """
    check_choice("method", method, METHODS)
    eq = several_passes(A, b, weights=weights, alpha=alpha)
    m = checked_rows(m, eq)
    X = _checked_solution(x, eq)
    with undone_on_error(rng), silent():
        options = SketchOptions("sparse_sign", m, PhiloxTiles(rng))
        try:
            errors = _errors(eq, X, method, options)
        except OutOfRangeError:
            safe = TallSystem(eq).safe_exponent()
            errors = _errors(eq.rescaled(safe=safe, X=X), X, method, options)
    return eq.shape_k(errors)


def _checked_solution(x: Any, eq: Equations) -> Array:
    """Return the unknowns (d, k) after comparing them with the equations."""
    xp, x = array_namespace(x), detached(x)
    if library_name(xp) != library_name(eq.xp) or device(x) != eq.device:
        raise TypeError(
            f"x must be of {library_name(eq.xp)} on {eq.device} as A is, got "
            f"{library_name(xp)} on {device(x)}. Convert it first."
        )
    shape = (eq.d,) if eq.b_is_vector else (eq.d, eq.k)
    if tuple(x.shape) != shape:
        raise ValueError(f"x must have shape {shape} to go with A and b, got {tuple(x.shape)}.")
    check_finite_block(x, name="x")
    if is_complex(x, xp) and not xp.isdtype(eq.dtype, "complex floating"):
        raise TypeError("x must be real as A and b are, got complex numbers.")
    return x if x.ndim == 2 else x[:, None]


def _errors(eq: Equations, X: Array, method: str, options: SketchOptions) -> list[float]:
    """Return the backward errors from one factor and one residual."""
    system = TallSystem(eq)
    system.measure_right_sides()
    R = _sketched_factor(system, options) if method == "sketched" else _factor(system, options)
    X = eq.in_units(system.xp.astype(X, system.dtype))
    if eq.column_exponents is None:
        _check_unknowns(X, system)
    state = system.evaluate(State(X, None, system.zeros(eq.d, eq.k)))
    return system.errors(R, state, system.units, exact=method == "exact")


def _check_unknowns(X: Array, system: TallSystem) -> None:
    """Raise where squares of the residual may overflow."""
    if not max(column_norms(X, system.xp)) <= 2.0 ** system.safe_exponent():
        raise OutOfRangeError


def _factor(system: TallSystem, options: SketchOptions) -> Array:
    """Return `R` with ``R^H R = A^H A`` and the ridge."""
    # The factor of few rows is as large as they are.
    is_wide = system.ridge() is None and system.length < system.d
    if not (is_wide or system.equations.is_dense):
        solver = cholqr_solver(system, options, _TOLERANCE * system.roundoff)
        if solver is not None and solver.R is not None:
            return solver.R
    with silent():
        R = tsqr(_all_rows(system))
    system.check_finite_factor(R)
    return R


def _all_rows(system: TallSystem) -> Iterator[Array]:
    """Yield the rows of `A`, many more than columns at a time, and of the ridge."""
    size = max(PRODUCT_BYTES, 32 * system.d * system.d)
    for _, block in system.m_blocks(size):
        yield dense_rows(block, system)
    ridge = extra_rows(system, None)
    if ridge is not None:
        yield ridge


def _sketched_factor(system: TallSystem, options: SketchOptions) -> Array:
    """Return the factor of a sketch, in the units of `A`."""
    m = options.m or default_rows(system, _ROWS_A_COLUMN)
    sketched = take_sketch(system, options, m)
    units = alive_columns(system, sketched) / sketched.scale
    return sketched.R * system.as_dtype(units)[None, :]
