"""Weighted least squares on a design, with what is known about its error."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    eps,
    is_complex,
    real_dtype,
    widest_dtype,
    widest_float,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.linalg import lstsq, matmul_h, norm_fro, qr_positive, svd_desc
from linalgkit._core.printing import leading, number, told
from linalgkit._core.random import HostArray
from linalgkit._core.scaling import ldexp, ldexp_float, silent
from linalgkit._core.triangular import solve_unchecked
from linalgkit._core.validation import (
    AccuracyWarning,
    check_array_2d,
    check_finite_block,
    check_float,
)
from linalgkit.sampling import _moments
from linalgkit.sampling._design import Design, as_space, weighted_gram, whitened
from linalgkit.sampling._error_bound import ErrorBound, error_bound
from linalgkit.sampling._finite import FiniteSpace
from linalgkit.sampling._moments import SobolIndices
from linalgkit.sketching._blocks import (
    column_largest,
    exponents_of,
    ldexp_columns,
    longest_exponent,
)

_FLOATS = ("real floating", "complex floating")


@dataclass(frozen=True, eq=False)
class LeastSquaresFit:
    """A weighted least-squares fit in a space of functions, and how good it is.

    Attributes
    ----------
    coef : array (m,) or (m, q)
        Coefficients in the basis of the space (the columns of a matrix); of minimum norm where
        they are not unique.
    residual : float or array (q,)
        ``sqrt((1/n) sum w_i |y_i - f^(x_i)|^2)``.
    error_bound : ErrorBound
        How much larger than the smallest possible error the error may be, and on what that rests.
    error_estimate : float or array (q,)
        Weighted root mean square of the leave-one-out errors ``r_i / (1 - h_i)``, `h` the
        leverages: an estimate of the L2 error, no bound. NaN where a point determines its own
        value, as all do with ``n = m``.
    status : str
        ``"converged"``, or ``"rank_deficient"`` where the points do not determine the
        coefficients (with an :class:`~linalgkit.AccuracyWarning`).
    n : int
        Points.
    rank : int
        Numerical rank of the weighted rows.
    space : TensorBasis, UserBasis or None
        The basis; None for a matrix, whose rows are not kept.

    Notes
    -----
    Storage: the coefficients, and a reference to the basis.
    """

    coef: Array = field(repr=False)
    residual: Any
    error_bound: ErrorBound = field(repr=False)
    error_estimate: Any
    status: str
    n: int
    rank: int
    space: Any = field(repr=False)

    def __str__(self) -> str:
        m = int(self.coef.shape[0])
        return told(
            f"Least-squares fit, {m:,} coefficients of rank {self.rank:,} from {self.n:,} points",
            ("coefficients", leading(self.coef)),
            ("residual", number(self.residual)),
            ("leave-one-out", number(self.error_estimate)),
            status=self.status,
        )

    def predict(self, points: Any) -> Array:
        """Return the values of the fit.

        Parameters
        ----------
        points : array (k, d)
            Points; for a matrix, rows (k, m) of features.

        Returns
        -------
        array (k,) or (k, q)
            Values.

        Raises
        ------
        TypeError
            If `points` are no array of the library of the fit.
        ValueError
            If they are of the wrong shape, hold NaN or infinity, or lie outside the domain.
        """
        points = as_array(points, "points")
        if self.space is None:
            rows, _ = check_array_2d(
                "points", points, n_columns=int(self.coef.shape[0]), why="as the matrix has"
            )
            check_finite_block(rows, name="points")
        else:
            rows = self.space.evaluate(points)
        xp = array_namespace(rows, self.coef)
        dtype = joint_dtype(xp, rows, self.coef)
        return xp.astype(rows, dtype, copy=False) @ xp.astype(self.coef, dtype, copy=False)

    def mean(self) -> Any:
        """Return the mean of the fit with respect to the measure of a product basis.

        Returns
        -------
        float or complex, or array (q,)
            The coefficient of the constant; 0 where the basis has none.

        Raises
        ------
        TypeError
            If the space is no product basis (TensorBasis).
        """
        return _moments.mean(self.coef, _moments.product_indices(self.space))

    def variance(self) -> Any:
        """Return the variance of the fit with respect to the measure of a product basis.

        Returns
        -------
        float or array (q,)
            ``sum |c|^2`` over all functions but the constant.

        Raises
        ------
        TypeError
            If the space is no product basis (TensorBasis).
        """
        return _moments.variance(self.coef, _moments.product_indices(self.space))

    def sobol_indices(self) -> SobolIndices:
        """Return the shares of the variance that the variables have.

        Returns
        -------
        SobolIndices
            Of first order and total, and of any set of variables.

        Raises
        ------
        TypeError
            If the space is no product basis (TensorBasis).
        """
        return _moments.sobol_indices(self.coef, _moments.product_indices(self.space))


@capability("sampling.weighted_lstsq", synchronisations={"call": 14})
def weighted_lstsq(
    design: Design, values: Any, *, space: Any, rcond: float | None = None
) -> LeastSquaresFit:
    """Fit values at the points of a design by weighted least squares.

    Parameters
    ----------
    design : Design
        Points (or row numbers) and weights, from :func:`~linalgkit.sampling.sample_design`.
    values : array (n,) or (n, q)
        Values at the points, real or complex; several functions as columns. For a matrix, those
        at the rows picked: ``y[design.indices]``.
    space : TensorBasis, UserBasis, array (N, m) or ProjectionDPP
        Where the design was drawn for.
    rcond : float, optional
        Singular values of the weighted rows up to `rcond` times the largest count as zero. By
        default ``max(n, m)`` roundoffs: the columns are taken with unit length to tell whether the
        rank is full, and as they are for the solution of minimum norm (of order one, where some
        are above 1e100 or below 1e-100).

    Returns
    -------
    LeastSquaresFit
        Coefficients, residual, error bound, and methods to predict.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind, or arrays are of two libraries.
    ValueError
        If there is not one value (or row of values) for each point, values hold NaN or infinity,
        `rcond` is negative, or the design was drawn for another space: of another dimension, or a
        basis in which its Gram matrix is another. (A matrix must have the same range; only its
        shape is compared.)

    Warns
    -----
    AccuracyWarning
        If the weighted rows are of deficient rank: the solution of minimum norm is returned.

    See Also
    --------
    DPPLeastSquares : draws the design, too.

    Notes
    -----
    Minimises ``(1/n) sum_i w_i |y_i - v(x_i)|^2`` by a QR factorisation of the weighted rows, in
    the widest dtype of the device; normal equations are never formed. The coefficients come back
    in the joint precision of rows and values. The condition of the problem is that of the
    orthonormal basis, ``sqrt(lmax / lmin)`` of the design, times that of the user's basis. What
    is known of the error, and what it rests on, is documented at
    :class:`~linalgkit.sampling.ErrorBound`.

    Storage: five copies of the rows at the points, ``5 n m`` numbers.

    References
    ----------
    .. [1] A. Cohen, G. Migliorati, "Optimal weighted least-squares methods", SMAI J. Comput. Math.
       3 (2017).
    .. [2] A. Nouy, B. Michel, "Weighted least-squares approximation with determinantal point
       processes and generalized volume sampling", arXiv:2312.14057.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.sampling import sample_design, weighted_lstsq
    >>> X = np.vander(np.linspace(-1, 1, 1000), 6)
    >>> y = np.exp(X[:, -2])
    >>> design = sample_design(X, condition=("lmin", 0.9), rng=0)
    >>> fit = weighted_lstsq(design, y[design.indices], space=X)
    >>> bool(np.max(np.abs(fit.predict(X) - y)) < 1e-3), fit.error_bound.rests_on
    (True, 'conditional')
    """
    if rcond is not None:
        rcond = check_float("rcond", rcond, 0)
    if not isinstance(design, Design):
        raise TypeError(
            f"design must be a Design, as sample_design returns it, got {type(design).__name__}."
        )
    space = as_space(space) if not is_matrix(space) else space
    rows, back = _rows(design, space)
    y = _checked_values(values, rows, space)
    system = _system(design, rows, y)
    solved = _solve(system, rcond)
    p = int(rows.shape[1])
    if solved.rank < p:
        warnings.warn(
            f"the weighted rows of {len(design)} points have rank {solved.rank}, below the {p} "
            "functions: the solution of minimum norm is returned. Draw more points, or with a "
            "condition, or take a smaller basis.",
            AccuracyWarning,
            stacklevel=2,
        )
    xp, single = system.xp, y.ndim == 1
    coef = _rescaled(solved.coef, system)
    coef = coef if back is None else back(coef)
    coef = xp.astype(coef, system.dtype, copy=False)
    residual, estimate = _errors(system, solved)
    return LeastSquaresFit(
        coef=coef[:, 0] if single else coef,
        residual=float(residual[0]) if single else residual,
        error_bound=error_bound(design, is_determined=solved.rank == p),
        error_estimate=float(estimate[0]) if single else estimate,
        status="converged" if solved.rank == p else "rank_deficient",
        n=len(design),
        rank=solved.rank,
        space=None if is_finite(space) else space,
    )


def is_matrix(space: Any) -> bool:
    """Tell whether a space is given as a matrix."""
    return hasattr(space, "shape") and not hasattr(space, "evaluate")


def is_finite(space: Any) -> bool:
    """Tell whether a space consists of the rows of a matrix."""
    return is_matrix(space) or isinstance(space, FiniteSpace)


# ------------------------------------------------------------------------------- the problem


class _System(NamedTuple):
    """Weighted rows and values in the widest dtype, and the precision of the answer.

    Values are brought to order one by powers of two, and so are columns far from it.
    """

    B: Array
    Y: Array  # (n, q)
    units: HostArray  # exponents of the columns of B
    sizes: HostArray  # exponents of the columns of Y
    xp: Namespace
    dtype: DType


class _Solved(NamedTuple):
    """Coefficients, rank, and an orthonormal basis of the range of the weighted rows."""

    coef: Array
    rank: int
    Q: Array


def _rows(design: Design, space: Any) -> tuple[Array, Any]:
    """Return the rows of the design, and what turns coefficients into those of the user."""
    if is_matrix(space):
        X, xp = check_array_2d("space", space)
        return _picked(design, X, xp), None
    if not isinstance(space, FiniteSpace):
        if design.points is None:
            raise ValueError(
                "space must be the matrix that the design was drawn for, whose rows it picks, got "
                f"{type(space).__name__}."
            )
        if space.dim != design.dim:
            raise ValueError(
                "space must be the basis that the design was drawn for, of dimension "
                f"{design.dim}, got one of dimension {space.dim}."
            )
        rows = space.evaluate(design.points)
        _check_gram(design, rows, space)
        return rows, None
    if space.dim == space.X.shape[1]:
        return _picked(design, space.X, space.xp), None
    W, scale = space.whitener, math.sqrt(space.n)

    def back(coef: Array) -> Array:
        return ldexp(W @ coef, -space.rows.exponent, space.xp) * scale

    return space.orthonormal_rows(_indices(design, space.X, exactly=False)), back


def _check_gram(design: Design, rows: Array, space: Any) -> None:
    """Refuse a basis in which the Gram matrix of the design is another."""
    xp = array_namespace(rows)
    wide = xp.astype(whitened(space, rows), design.gram.dtype, copy=False)
    gram = weighted_gram(wide, design.weights, xp)
    difference = float(xp.max(xp.abs(gram - design.gram)))
    if not difference <= math.sqrt(eps(xp, rows.dtype)) * max(1.0, design.lmax):
        raise ValueError(
            "space must be the basis that the design was drawn for, but the Gram matrix in it "
            f"differs by {difference:.3g}. Pass the same basis as to sample_design."
        )


def _picked(design: Design, X: Array, xp: Namespace) -> Array:
    """Return the rows of a matrix that the design picks."""
    indices = _indices(design, X)
    place = asarray(indices, xp=xp, device=device(X), copy=False)
    rows = xp.take(X, place, axis=0)
    check_finite_block(rows, name="space")
    return rows


def _indices(design: Design, X: Array, *, exactly: bool = True) -> Array:
    """Return the row numbers, which must fit the matrix."""
    if design.indices is None:
        raise ValueError(
            "space must be the basis that the design was drawn for, which has points and no row "
            "numbers, got a matrix. Pass the same space as to sample_design."
        )
    if int(X.shape[1]) < design.dim or (exactly and int(X.shape[1]) != design.dim):
        raise ValueError(
            "space must be the matrix that the design was drawn for, of dimension "
            f"{design.dim}, got shape {tuple(X.shape)}. For a design of ProjectionDPP(X, rank=) "
            "pass that object."
        )
    xp = array_namespace(design.indices)
    if len(design) and int(xp.max(design.indices)) >= X.shape[0]:
        raise ValueError(
            f"space must have the rows that the design picks, up to {int(xp.max(design.indices))}, "
            f"got shape {tuple(X.shape)}."
        )
    return design.indices


def _checked_values(values: Any, rows: Array, space: Any) -> Array:
    """Return the values as an array (n,) or (n, q) of finite numbers."""
    y = as_array(values, "values")
    array_namespace(rows, y)
    n = int(rows.shape[0])
    if y.ndim not in (1, 2) or y.shape[0] != n or (y.ndim == 2 and y.shape[1] == 0):
        way_out = "Evaluate the function at design.points."
        if is_finite(space):
            way_out = "Pass those at the rows picked: values[design.indices]."
        raise ValueError(
            f"values must have one entry, or a row of them, for each of the {n} points of the "
            f"design, got shape {tuple(y.shape)}. {way_out}"
        )
    check_finite_block(y, name="values")
    return y


def joint_dtype(xp: Namespace, *arrays: Array) -> DType:
    """Return the joint precision; integers beside floats take theirs."""
    floats = [a.dtype for a in arrays if xp.isdtype(a.dtype, _FLOATS)]
    dtypes = floats or [a.dtype for a in arrays]
    return xp.result_type(*(working_dtype(xp, device(arrays[0]), dtype) for dtype in dtypes))


def _system(design: Design, rows: Array, y: Array) -> _System:
    """Return the weighted system."""
    xp = array_namespace(rows, y, design.weights)
    dtype = joint_dtype(xp, rows, y)
    wide = widest_dtype(xp, device(rows), dtype)
    weights = xp.astype(design.weights, real_dtype(xp, wide), copy=False)
    root = xp.astype(xp.sqrt(weights), wide, copy=False)[:, None]
    if root.shape[0] != rows.shape[0]:
        raise ValueError(
            f"design must have one weight for each of its {rows.shape[0]} points, got "
            f"{root.shape[0]}."
        )
    columns = y if y.ndim == 2 else y[:, None]
    columns, rows = (xp.astype(part, wide, copy=False) for part in (columns, rows))
    units, sizes = (exponents_of(column_largest(part, xp)) for part in (rows, columns))
    if int(abs(units).max()) <= longest_exponent(xp, wide) // 3:
        units = 0 * units
    B, Y = ldexp_columns(rows, -units, xp) * root, ldexp_columns(columns, -sizes, xp) * root
    return _System(B, Y, units, sizes, xp, dtype)


def _rescaled(coef: Array, system: _System) -> Array:
    """Return coefficients in the units of the caller."""
    xp, sizes = system.xp, system.sizes
    if not bool((system.units != 0).any()):
        return ldexp_columns(coef, sizes, xp)
    rows = (
        ldexp_columns(xp.matrix_transpose(coef[:, j : j + 1]), int(sizes[j]) - system.units, xp)
        for j in range(coef.shape[1])
    )
    return xp.matrix_transpose(xp.concat(list(rows), axis=0))


# ------------------------------------------------------------------------------ the solution


def _solve(system: _System, rcond: float | None) -> _Solved:
    """Return the solution by QR, of minimum norm by the SVD where the rank is deficient."""
    B, Y, _, _, xp, dtype = system
    n, p = B.shape
    limit = max(n, p) * eps(xp, dtype) if rcond is None else rcond
    if n >= p:
        Q, R = qr_positive(B, xp)
        S = R if rcond is not None else R / _lengths(R, xp)
        values = svd_desc(S, xp)[1]
        if bool(values[-1] > limit * values[0]):
            coef = solve_unchecked(R, matmul_h(Q, Y, xp), False, False, False, xp)
            return _Solved(coef, int(p), Q)
    found = lstsq(B, Y, limit, xp)
    rank = min(found.rank, int(p) - 1)
    return _Solved(found.x, rank, svd_desc(B, xp)[0][:, :rank])


def _lengths(R: Array, xp: Namespace) -> Array:
    """Return the lengths of the columns, 1 for columns of zeros."""
    lengths = xp.linalg.vector_norm(R, axis=0, keepdims=True)
    return xp.astype(xp.where(lengths > 0, lengths, xp.ones_like(lengths)), R.dtype, copy=False)


def _errors(system: _System, solved: _Solved) -> tuple[Array, Array]:
    """Return residual and leave-one-out root mean squares, (q,) each."""
    B, Y, _, sizes, xp, _ = system
    n = B.shape[0]
    R = Y - B @ solved.coef
    Q = solved.Q
    squares = xp.real(xp.conj(Q) * Q) if is_complex(Q, xp) else Q * Q
    rest = 1 - xp.sum(squares, axis=1)
    determined = bool(xp.any(rest <= 100 * n * eps(xp, Q.dtype)))
    residual = _root_mean_squares(R, sizes, xp)
    if determined:
        return residual, xp.full_like(residual, math.nan)
    alone = R / xp.astype(rest, R.dtype, copy=False)[:, None]
    return residual, _root_mean_squares(alone, sizes, xp)


def _root_mean_squares(R: Array, sizes: HostArray, xp: Namespace) -> Array:
    """Return the root mean squares of columns times ``2**sizes``."""
    n, q = R.shape
    with silent():
        norms = [norm_fro(R[:, j : j + 1], xp) / math.sqrt(n) for j in range(q)]
        found = [ldexp_float(norm, int(size)) for norm, size in zip(norms, sizes, strict=True)]
    return asarray(found, xp=xp, device=device(R), dtype=widest_float(xp, device(R)))
