"""Where the sweeps begin: leading singular vectors of the zero-filled matrix, or random factors.

Under skewed sampling the zero-filled matrix is a bad picture of the matrix: popular columns stand
out. Each entry is divided by the product of its row's and column's share of the observations (which
makes the picture unbiased if the entries were drawn by a product law), but no line counts as rarer
than the average one: what Keshavan, Montanari and Oh reach by leaving out the crowded lines.
"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import Array, asarray, numpy_namespace, real_dtype, to_numpy
from linalgkit._core.qr import cholesky_qr2
from linalgkit._core.random import standard_normal
from linalgkit._kernels.observed import Lines, gather_sum, residual_rows
from linalgkit.completion._factors import Factors, augmented, constant_column
from linalgkit.completion._half_step import masses
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()
_EXTRA = 5
# A component below the noise keeps this share of its singular value: zero columns would stay zero.
_LEAST = 0.1
_LARGE = 1e8


class _Picture:
    """The zero-filled residual of a model, balanced: two products."""

    def __init__(self, observed: Observed, model: Factors) -> None:
        self.observed, self.xp = observed, observed.xp
        self.P, self.Q = augmented(model, self.xp)
        self.is_data = model.rank == 0 and model.is_plain
        if self.is_data and observed.row_weights is not None:
            self.P, self.Q = (constant_column(x, 0.0, self.xp) for x in (model.U, model.W))
        self._left = self._inverse(masses(observed.rows, observed.row_weights))
        self._right = self._inverse(masses(observed.columns, observed.column_weights))

    def _inverse(self, mass: Array) -> Array:
        """Return ``sqrt(total) / max(mass, mean)`` as a column."""
        values = math.sqrt(mass.sum()) / _HOST.maximum(mass, mass.mean())
        dtype = real_dtype(self.xp, self.observed.dtype)
        return asarray(
            values[:, None], xp=self.xp, device=self.observed.device, dtype=dtype, copy=False
        )

    def _conj(self, x: Array) -> Array:
        return self.xp.conj(x) if self.xp.isdtype(x.dtype, "complex floating") else x

    def matmul(self, X: Array) -> Array:
        """Return the picture times `X` (n, b)."""
        o = self.observed
        F = self._conj(self._right * X)
        return self._left * self._sums(o.rows, o.row_values, o.row_weights, self.P, self.Q, F)

    def rmatmul(self, Y: Array) -> Array:
        """Return the adjoint of the picture times `Y` (m, b)."""
        o = self.observed
        F = self._left * Y
        G = self._sums(o.columns, o.column_values, o.column_weights, self.Q, self.P, F)
        return self._right * self._conj(G)

    def _sums(self, lines: Lines, y: Array, w: Array | None, P: Array, Q: Array, F: Array) -> Array:
        """Return the sums of conjugated rows of F, times the residuals."""
        if self.is_data and w is None:
            return gather_sum(self.xp, lines, y, self._conj(F))
        return residual_rows(self.xp, lines, y, w, P, Q, F, 0, 1.0)[0]


def leading(
    observed: Observed, model: Factors, k: int, rng: Any, n_iter: int = 1
) -> tuple[Array, Array, Array]:
    """Return left vectors (m, k), singular values (host) and conj. right vectors (n, k).

    Of the balanced picture of what `model` leaves; the values are shrunk as noise of the size that
    the next value tells would ask for (optimal shrinkage in the Frobenius norm).
    """
    xp, (m, n) = observed.xp, observed.shape
    picture = _Picture(observed, model)
    width = min(k + _EXTRA, m, n)
    X = standard_normal(rng, (n, width), xp=xp, device=observed.device, dtype=observed.dtype)
    for _ in range(n_iter):
        Y, _ = cholesky_qr2(picture.matmul(X), xp)
        del X  # only one of the two is held
        X, _ = cholesky_qr2(picture.rmatmul(Y), xp)
        del Y
    Y, R = cholesky_qr2(picture.matmul(X), xp)
    L, s, Rh = xp.linalg.svd(R, full_matrices=False)
    values = _HOST.astype(to_numpy(s), _HOST.float64)
    right = X @ picture._conj(xp.matrix_transpose(Rh))[:, :k]
    return Y @ L[:, :k], _shrunk(values, k, m, n), picture._conj(right)


def _shrunk(values: Array, k: int, m: int, n: int) -> Array:
    """Return the first values, optimally shrunk for noise whose edge is the next value."""
    found = values[:k]
    if values.shape[0] <= k or values[k] <= 0.0:
        return found
    beta = min(m, n) / max(m, n)
    y = found / values[k] * (1.0 + math.sqrt(beta))
    small = _HOST.minimum(y, _LARGE)  # beyond it nothing is shrunk to rounding
    inside = _HOST.maximum((small * small - beta - 1.0) ** 2 - 4.0 * beta, 0.0)
    eta = _HOST.where(small > 1.0 + math.sqrt(beta), _HOST.sqrt(inside) / small, 0.0)
    return found * _HOST.maximum(eta / small, _LEAST)


def svd_start(observed: Observed, model: Factors, k: int, rng: Any) -> Factors:
    """Return balanced factors from the leading singular vectors."""
    xp = observed.xp
    L, s, R = leading(observed, model, k, rng)
    dtype = real_dtype(xp, observed.dtype)
    root = asarray(_HOST.sqrt(s)[None, :], xp=xp, device=observed.device, dtype=dtype, copy=False)
    return model.with_factors(root * L, root * R)


def random_start(observed: Observed, model: Factors, k: int, rng: Any, size: float) -> Factors:
    """Return Gaussian factors: the right one of the size of the data's root, the left one small."""
    xp, (m, n) = observed.xp, observed.shape
    place = {"xp": xp, "device": observed.device, "dtype": observed.dtype}
    W = standard_normal(rng, (n, k), **place) * (math.sqrt(size) / k**0.25)
    U = standard_normal(rng, (m, k), **place) * (1e-3 * math.sqrt(size) / k**0.25)
    return model.with_factors(U, W)
