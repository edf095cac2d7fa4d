"""Matrices of rank k in coordinates that are evened out by popularity, and their tangent spaces.

Entry (i, j) of ``X = U S W^T`` is seen with a weight near ``p_i p_j / N``, where ``p_i`` is the
weight of line i and N that of all. A :class:`Frame` therefore stands for the factors of
``D_r^(1/2) X D_c^(1/2)`` with ``D_r D_c = p_i p_j / N``: there the sum over the observed entries is
on average the Frobenius norm itself, however skewed the popularity and however ill-conditioned `X`
are, so that conjugate gradients need no other preconditioner::

    even = even_roots(observed)
    frame = frame_of(factors, even, xp)
    gradient = residual_gradient(observed, factors, frame)
    minus, curvature = minus_normal(observed, frame, direction)
    frame = Retraction(frame, direction).at(1.0)
    factors = factors.with_factors(*frame.factors())

Nothing is conjugated in a product ``U S W^T``; `U` and `W` both have orthonormal columns,
``U^H U = W^H W = I``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    asarray,
    device,
    eps,
    is_complex,
    matmul_h,
    real_dtype,
    widest_dtype,
    widest_float,
)
from linalgkit._core.linalg import norm_fro, qr_positive, svd_desc
from linalgkit._kernels.lines import Lines
from linalgkit._kernels.observed import gather_sum, residual_rows
from linalgkit.completion._factors import Factors, augmented
from linalgkit.completion._observed import Observed


class Even(NamedTuple):
    """The diagonals of ``D_r^(-1/2)`` and ``D_c^(-1/2)``, columns (m, 1) and (n, 1), real."""

    left: Array
    right: Array


class Tangent(NamedTuple):
    """The matrix ``U M W^T + P W^T + U Q^T`` with ``U^H P = 0`` and ``W^H Q = 0``.

    Attributes
    ----------
    M : array (k, k)
        Inside both spaces.
    P, Q : array (m, k), (n, k)
        Outside the left and the right one.
    """

    M: Array
    P: Array
    Q: Array


# --------------------------------------------------------------------------- evening out


def even_roots(observed: Observed) -> Even:
    """Return the scalings that even out how much of each row and column is seen."""
    xp = observed.xp
    rows = _line_weights(xp, observed.rows, observed.row_weights, observed)
    columns = _line_weights(xp, observed.columns, observed.column_weights, observed)
    return Even(_inverse_roots(rows, xp), _inverse_roots(columns, xp))


def _line_weights(xp: Namespace, lines: Lines, w: Array | None, observed: Observed) -> Array:
    """Return the weight of all entries of each line, (lines, 1)."""
    real = real_dtype(xp, observed.dtype)
    if w is None:
        return asarray(lines.lengths[:, None], xp=xp, device=observed.device, dtype=real)
    ones = xp.ones((lines.n_other, 1), dtype=real, device=observed.device)
    return gather_sum(xp, lines, w, ones)


def _inverse_roots(p: Array, xp: Namespace) -> Array:
    """Return ``(sqrt(sum p) / p)^(1/2)``; lines without entries count as the mean of the others."""
    total, seen = float(xp.sum(p)), p > 0
    count = float(xp.sum(xp.astype(seen, p.dtype)))
    floor = eps(xp, p.dtype) * float(xp.max(p))
    kept = xp.where(p > floor, p, xp.full_like(p, floor))
    return xp.sqrt(math.sqrt(total) / xp.where(seen, kept, xp.full_like(p, total / count)))


# -------------------------------------------------------------------------------- frames


@dataclass(frozen=True, eq=False)
class Frame:
    """``D_r^(1/2) X D_c^(1/2) = U diag(s) W^T``.

    Attributes
    ----------
    xp : module
        Namespace.
    U, W : array (m, k), (n, k)
        Orthonormal columns.
    s : array (k,)
        Singular values in descending order, in the widest float of the device.
    even : Even
        The scalings.
    """

    xp: Namespace
    U: Array
    W: Array
    s: Array
    even: Even

    def factors(self) -> tuple[Array, Array]:
        """Return U and W of ``X = U W^T``, each with a root of the singular values."""
        root = self.xp.astype(self.xp.sqrt(self.s), self.U.dtype)[None, :]
        return self.even.left * (self.U * root), self.even.right * (self.W * root)

    @functools.cached_property
    def seen(self) -> tuple[Array, Array]:
        """``D_r^(-1/2) U`` and ``D_c^(-1/2) W``."""
        return self.even.left * self.U, self.even.right * self.W


def frame_of(f: Factors, even: Even, xp: Namespace) -> Frame:
    """Return the frame of given factors, of any rank."""
    left, upper = qr_positive(f.U / even.left, xp)
    right, lower = qr_positive(f.W / even.right, xp)
    wide = widest_dtype(xp, device(f.U), f.U.dtype)
    core = xp.astype(upper, wide) @ xp.matrix_transpose(xp.astype(lower, wide))
    return _frame(left, core, right, f.rank, even, xp)


def _frame(Q: Array, core: Array, Z: Array, k: int, even: Even, xp: Namespace) -> Frame:
    """Return the frame of the best approximation of rank `k` of ``Q core Z^T``."""
    A, s, Bh = svd_desc(core, xp)
    U = Q @ xp.astype(A[:, :k], Q.dtype)
    W = Z @ xp.astype(xp.matrix_transpose(Bh[:k, :]), Z.dtype)
    return Frame(xp, U, W, s[:k], even)


# ------------------------------------------------------------------------- tangent vectors


def inner(a: Tangent, b: Tangent, xp: Namespace) -> float:
    """Return the real inner product, that of the matrices (one synchronisation)."""
    return float(sum(_real_dot(x, y, xp) for x, y in zip(a, b, strict=True)))


def _real_dot(x: Array, y: Array, xp: Namespace) -> Array:
    """Return ``Re sum conj(x) y`` as an array without axes, summed in the widest float."""
    rows = xp.vecdot(x, y)
    rows = xp.real(rows) if is_complex(rows, xp) else rows
    return xp.sum(rows, dtype=widest_float(xp, device(x)))


def plus(a: Tangent, t: float, b: Tangent) -> Tangent:
    """Return ``a + t b``."""
    return Tangent(*(x + t * y for x, y in zip(a, b, strict=True)))


def _projected(frame: Frame, rows: Array, columns: Array) -> Tangent:
    """Return the tangent vector of ``R conj(W)`` and ``R^T conj(U)``."""
    U, W, xp = frame.U, frame.W, frame.xp
    M = matmul_h(U, rows, xp)
    return Tangent(M, rows - U @ M, columns - W @ matmul_h(W, columns, xp))


def _adjoint(
    observed: Observed, frame: Frame, values: tuple[Array | None, Array | None], P: Array, Q: Array
) -> tuple[Tangent, Array]:
    """Return the projection of the residuals ``values - P Q^T`` and the energy of each row.

    Values of None are zeros.
    """
    xp, even, (U, W) = frame.xp, frame.even, frame.seen
    rows, ss = residual_rows(xp, observed.rows, values[0], observed.row_weights, P, Q, W, 0, 1.0)
    columns, _ = residual_rows(
        xp, observed.columns, values[1], observed.column_weights, Q, P, U, 0, 1.0
    )
    return _projected(frame, even.left * rows, even.right * columns), ss


def residual_gradient(observed: Observed, f: Factors, frame: Frame) -> Tangent:
    """Return minus the gradient of half the energy at the factors of a frame."""
    values = observed.row_values, observed.column_values
    return _adjoint(observed, frame, values, *augmented(f, frame.xp))[0]


def minus_normal(observed: Observed, frame: Frame, t: Tangent) -> tuple[Tangent, float]:
    """Return minus the projection of the observed part of a tangent vector, and its energy.

    One synchronisation.
    """
    xp, (U, W) = frame.xp, frame.seen
    P = xp.concat([U, frame.even.left * t.P], axis=1)
    Q = xp.concat([W @ xp.matrix_transpose(t.M) + frame.even.right * t.Q, W], axis=1)
    found, energy = _adjoint(observed, frame, (None, None), P, Q)
    return found, float(xp.sum(energy))


# -------------------------------------------------------------------------------- retraction


class Retraction:
    """The curve ``h -> X(h)`` of matrices of rank k whose tangent at 0 is a given one.

    ``X(h) = (U S1 + h P) S1^(-1) (W S1^T + h Q)^T`` with ``S1 = S + h M`` is the matrix of rank k
    that differs from ``X + h xi`` by what is orthogonal to the tangent space, ``h^2 P S1^(-1)
    Q^T``. Where that is larger than ``h xi``, since `S1` is nearly singular, the best approximation
    of ``X + h xi`` takes its place.
    """

    def __init__(self, frame: Frame, t: Tangent) -> None:
        xp = frame.xp
        self._frame, self._xp = frame, xp
        self._wide = widest_dtype(xp, device(frame.U), frame.U.dtype)
        self._left, self._upper = self._factored(frame.U, t.P)
        self._right, self._lower = self._factored(frame.W, t.Q)
        self._M = xp.astype(t.M, self._wide)
        self._length = math.sqrt(inner(t, t, xp))

    def _factored(self, U: Array, P: Array) -> tuple[Array, Array]:
        Q, R = qr_positive(self._xp.concat([U, P], axis=1), self._xp)
        return Q, self._xp.astype(R, self._wide)

    def at(self, h: float) -> Frame:
        """Return the frame of the point at step `h`."""
        xp, k, frame = self._xp, int(self._frame.s.shape[0]), self._frame
        U, P = self._upper[:, :k], h * self._upper[:, k:]
        W, Q = (xp.matrix_transpose(x) for x in (self._lower[:, :k], h * self._lower[:, k:]))
        places = xp.eye(k, dtype=self._wide, device=device(frame.U))
        S = places * frame.s[None, :] + h * self._M
        core = U @ (S @ W + Q) + P @ W
        corner = P @ (_pseudo_inverse(S, xp) @ Q)
        if norm_fro(corner) <= h * self._length:
            core = core + corner
        return _frame(self._left, core, self._right, k, frame.even, xp)


def _pseudo_inverse(S: Array, xp: Namespace) -> Array:
    """Return the pseudo-inverse of a small square matrix."""
    A, s, Bh = svd_desc(S, xp)
    kept = s > eps(xp, S.dtype) * s[:1]
    inverse = xp.where(kept, 1.0 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
    return adjoint(A * inverse[None, :] @ Bh, xp)
