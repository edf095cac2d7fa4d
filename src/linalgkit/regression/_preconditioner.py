"""A preconditioner from a sketch for iterative solvers: a public function."""

from __future__ import annotations

import warnings
from typing import Any

from scipy.sparse.linalg import LinearOperator

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    eps,
    library_name,
    real_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.operators import Operator, as_operator
from linalgkit._core.random import PhiloxTiles, undone_on_error
from linalgkit._core.validation import AccuracyWarning, check_int
from linalgkit.regression._coordinates import Map, leading, scaled_basis
from linalgkit.regression._drivers import RANK_TOLERANCE
from linalgkit.regression._precondition import SketchOptions, take_sketch
from linalgkit.regression._problem import Equations, equations
from linalgkit.regression._scaled import power_factors
from linalgkit.regression._system import OutOfRangeError
from linalgkit.regression._tall import TallSystem

_ROWS_A_COLUMN = 8

Maps = tuple[Map, Map]


class Preconditioner(Operator):
    """The matrix of :func:`sketch_preconditioner` for arrays that SciPy does not know.

    Parameters
    ----------
    shape : tuple of two int
        ``(d, r)``.
    maps : tuple of callable
        ``h -> P h`` and ``g -> P^H g`` for (r, q) and (d, q) arrays.
    xp, device, dtype
        Of these arrays.
    """

    def __init__(
        self, shape: tuple[int, int], maps: Maps, xp: Namespace, device: Device, dtype: DType
    ) -> None:
        super().__init__(shape, dtype, xp, device)
        self._forward, self._backward = maps

    def matmul(self, Z: Array) -> Array:
        """Return ``P Z``."""
        return self._forward(Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``P^H Z``."""
        return self._backward(P)

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

    Storage: ``3 m d + 4 d^2`` numbers of the widest float while it is made, ``2 d^2`` afterwards.

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
            maps, rank = _maps(TallSystem(eq), options, m)
        except OutOfRangeError:
            scaled = eq.rescaled(safe=TallSystem(eq).safe_exponent())
            maps, rank = _maps(TallSystem(scaled), options, m)
    if rank == 0:
        raise ValueError(f"A must not be zero, got zeros of shape ({n}, {d}).")
    if rank < d:
        text = (
            f"A of shape ({n}, {d}) has numerical rank {rank}: P has {rank} columns, and P y lies "
            "in the subspace that A determines."
        )
        warnings.warn(text, AccuracyWarning, stacklevel=2)
    return _as_linear_operator((d, rank), maps, eq)


def _maps(system: TallSystem, options: SketchOptions, m: int) -> tuple[Maps, int]:
    """Return ``h -> P h`` and ``g -> P^H g`` in the units and precision of `A`, and the rank."""
    eq, xp = system.equations, system.xp
    sketched = take_sketch(system, options, m)
    tolerance = RANK_TOLERANCE * eps(xp, eq.dtype)
    basis = scaled_basis(system, sketched, tolerance)
    coordinates = leading(basis, system)
    exponents = [-e for e in eq.column_exponents or [0] * eq.d]
    units = power_factors(exponents, xp, system.device, system.real)

    def in_units(X: Array) -> Array:
        for factor in units:
            X = system.as_dtype(factor)[:, None] * X
        return X

    def forward(h: Array) -> Array:
        return in_units(coordinates.expand(system.as_dtype(h)))

    def backward(g: Array) -> Array:
        return coordinates.reduce(in_units(system.as_dtype(g)))

    return (forward, backward), basis.rank


def _as_linear_operator(shape: tuple[int, int], maps: Maps, eq: Equations) -> Any:
    """Return the maps as an operator of the caller's library, in the caller's precision."""
    xp, dtype = eq.xp, eq.dtype

    def forward(h: Array) -> Array:
        return xp.astype(maps[0](_as_matrix(h, xp)), dtype, copy=False)

    def backward(g: Array) -> Array:
        return xp.astype(maps[1](_as_matrix(g, xp)), dtype, copy=False)

    if library_name(xp) != "numpy":
        return Preconditioner(shape, (forward, backward), xp, eq.device, dtype)
    return LinearOperator(
        shape=shape, dtype=dtype, matvec=forward, rmatvec=backward, matmat=forward, rmatmat=backward
    )


def _as_matrix(X: Array, xp: Namespace) -> Array:
    return X if X.ndim == 2 else xp.reshape(X, (-1, 1))
