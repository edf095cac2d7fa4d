"""A preconditioner from a sketch for iterative solvers: a public function."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from scipy.sparse.linalg import LinearOperator

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    array_namespace,
    device,
    eps,
    library_name,
    matmul_h,
    real_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.operators import Operator, as_operator
from linalgkit._core.random import PhiloxTiles, undone_on_error
from linalgkit._core.validation import AccuracyWarning, check_int
from linalgkit.regression._coordinates import scaled_basis
from linalgkit.regression._drivers import RANK_TOLERANCE
from linalgkit.regression._precondition import SketchOptions, take_sketch
from linalgkit.regression._problem import equations
from linalgkit.regression._scaled import power_factors
from linalgkit.regression._system import OutOfRangeError
from linalgkit.regression._tall import TallSystem

_ROWS_A_COLUMN = 8


class _Products(NamedTuple):
    """Products with ``diag(units[0]) diag(units[1]) ... V``, rounded to a dtype at the end."""

    V: Array
    units: tuple[Array, ...]
    dtype: DType

    def forward(self, h: Array) -> Array:
        """Return the product with `h`, a matrix or a vector."""
        return self._rounded(self._in_units(self.V @ self._columns(h)))

    def backward(self, g: Array) -> Array:
        """Return the product of the conjugate transpose with `g`, a matrix or a vector."""
        xp = array_namespace(self.V)
        return self._rounded(matmul_h(self.V, self._in_units(self._columns(g)), xp))

    def _columns(self, X: Array) -> Array:
        xp = array_namespace(self.V)
        X = X if X.ndim == 2 else xp.reshape(X, (-1, 1))
        return xp.astype(X, self.V.dtype, copy=False)

    def _in_units(self, X: Array) -> Array:
        for factor in self.units:
            X = factor[:, None] * X
        return X

    def _rounded(self, X: Array) -> Array:
        return array_namespace(X).astype(X, self.dtype, copy=False)


class Preconditioner(Operator):
    """The matrix of :func:`sketch_preconditioner` for arrays that SciPy does not know.

    Parameters
    ----------
    products : _Products
        ``P h`` and ``P^H g``.
    """

    def __init__(self, products: _Products) -> None:
        V = products.V
        super().__init__((V.shape[0], V.shape[1]), products.dtype, array_namespace(V), device(V))
        self._products = products

    def __reduce__(self) -> tuple[Any, ...]:
        return Preconditioner, (self._products,)

    def matmul(self, Z: Array) -> Array:
        """Return ``P Z``."""
        return self._products.forward(Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``P^H Z``."""
        return self._products.backward(P)

    matmat, rmatmat = matmul, rmatmul


@capability(
    "regression.sketch_preconditioner", sparse=True, synchronisations={"call": 4, "product": 0}
)
def sketch_preconditioner(A: Any, *, m: int | None = None, rng: object = None) -> Any:
    """Return `P` for which ``A P`` is nearly orthonormal, from a sketch of `A`.

    Parameters
    ----------
    A : array (n, d), sparse matrix or LinearOperator
        With at least as many rows as columns.
    m : int, optional
        Rows of the sketch, at least d; ``8 d + 16`` by default. From n rows on `A` itself is
        factorised.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch (SPEC 7).

    Returns
    -------
    LinearOperator (d, r)
        For NumPy and scipy.sparse one of :mod:`scipy.sparse.linalg`; for other libraries an
        object with ``shape``, ``matmat`` and ``rmatmat`` on their arrays. `r` is the numerical
        rank of `A`, d as a rule.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If `A` is not 2-D, has fewer rows than columns, is zero, or holds NaN or infinity.

    Warns
    -----
    AccuracyWarning
        If `A` is numerically rank-deficient: solutions ``P y`` then lie in a subspace.

    See Also
    --------
    lstsq : solves, with drivers "spir" and "lsmr" that use this preconditioner.

    Notes
    -----
    ``min ||A P y - b||`` takes a few dozen iterations whatever the condition of `A`, and
    ``x = P y``. The condition number of ``A P`` is about
    ``(1 + sqrt(d / m)) / (1 - sqrt(d / m))``, that is 2.1 by default, in theory for a Gaussian
    sketch and in practice for the sparse one taken here [1]_. Iterating with a preconditioner is
    forward stable; full accuracy takes a restart from the true residual, as in :func:`lstsq`.

    Cost: one pass of ``8 n d`` flops (``8 nnz`` for sparse `A`), and ``2 m d^2 + 20 d^3``.

    Storage: ``3 m d + 4 d^2`` numbers of the widest float while it is made, ``d^2`` afterwards.

    References
    ----------
    .. [1] P.-G. Martinsson, J. A. Tropp, "Randomized numerical linear algebra: foundations and
       algorithms", Acta Numerica 29 (2020), section 10.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse.linalg import aslinearoperator, lsqr
    >>> from linalgkit.regression import sketch_preconditioner
    >>> A = np.vander(np.linspace(0.0, 1.0, 2000), 9)
    >>> x = np.ones(9)
    >>> P = sketch_preconditioner(A, rng=0)
    >>> y, *_ = lsqr(aslinearoperator(A) @ P, A @ x, atol=1e-14, btol=1e-14)
    >>> bool(np.allclose(P @ y, x, atol=1e-6))
    True
    """
    operator = as_operator(A)
    n, d = operator.shape
    if n < d:
        raise ValueError(
            f"A must have at least as many rows as columns, got shape ({n}, {d}). "
            "Pass its conjugate transpose to precondition from the left."
        )
    m = (
        _ROWS_A_COLUMN * d + 16
        if m is None
        else check_int("m", m, d, why=f"for A of shape ({n}, {d})")
    )
    xp, real = operator.xp, real_dtype(operator.xp, operator.dtype)
    eq = equations(A, xp.zeros((n,), dtype=real, device=operator.device))
    with undone_on_error(rng):
        options = SketchOptions("sparse_sign", m, PhiloxTiles(rng))
        try:
            products = _products(TallSystem(eq), options, m)
        except OutOfRangeError:
            scaled = eq.rescaled(safe=TallSystem(eq).safe_exponent())
            products = _products(TallSystem(scaled), options, m)
    rank = int(products.V.shape[1])
    if rank == 0:
        raise ValueError(f"A must not be zero, got zeros of shape ({n}, {d}).")
    if rank < d:
        text = (
            f"A of shape ({n}, {d}) has numerical rank {rank}: P has {rank} columns, and P y lies "
            "in the subspace that A determines."
        )
        warnings.warn(text, AccuracyWarning, stacklevel=2)
    return _as_linear_operator(products, xp)


def _products(system: TallSystem, options: SketchOptions, m: int) -> _Products:
    """Return the products with `P` in the units of `A`, computed in the widest precision."""
    eq, xp = system.equations, system.xp
    sketched = take_sketch(system, options, m)
    basis = scaled_basis(system, sketched, RANK_TOLERANCE * eps(xp, eq.dtype))
    exponents = [-e for e in eq.column_exponents or [0] * eq.d]
    units = power_factors(exponents, xp, system.device, system.real)
    V = basis.vectors / system.as_dtype(basis.values)[None, :]
    return _Products(V, tuple(map(system.as_dtype, units)), eq.dtype)


def _as_linear_operator(products: _Products, xp: Namespace) -> Any:
    """Return products as an operator of the caller's library."""
    if library_name(xp) != "numpy":
        return Preconditioner(products)
    forward, backward = products.forward, products.backward
    return LinearOperator(
        shape=products.V.shape,
        dtype=products.dtype,
        matvec=forward,
        rmatvec=backward,
        matmat=forward,
        rmatmat=backward,
    )
