"""One half of a sweep: all rows (or all columns) by conjugate gradients in a shared gauge.

The normal matrix of a row is a sample of ``p G``, where p is the row's weight and G the second
moment of the fixed factor's rows, *weighted by how often they are observed*. In the basis in which
G is diagonal, one diagonal preconditioner serves all rows, whatever the condition of the fixed
factor::

    X, F = half_step(side, F, X, shift, plan)

The product ``X F^T`` and the ridge do not change with the basis, so the rotated factors stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    matmul_h,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
    widest_float,
)
from linalgkit._core.linalg import hermitian_part
from linalgkit._kernels.observed import Lines, gather_sum, pcg_rows
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()

# A line whose relative residual stays above this was not solved: its matrix is no sample of p G.
_UNSOLVED = 0.1
# Most lines (of a side) that are solved directly in one half step; above it all get more steps.
_FEW = 0.05
_MOST_STEPS = 24


class Side(NamedTuple):
    """What one half step works on: the lines to solve, and how often the others are observed."""

    lines: Lines
    values: Array
    weights: Array | None
    mass: Array  # of each line, host float64
    shares: Array  # (n_other, 1): how often each row of the fixed factor is observed, sum 1


@dataclass
class Plan:
    """How the half steps are done; `steps` adapts to lines that are not solved."""

    steps: int = 3
    tol: float = 0.0
    loss: int = 0
    scale: float = 1.0
    ridge: float = 0.0
    strict: bool = False  # whether lines that are not solved by the steps are solved directly


def both_sides(observed: Observed) -> tuple[Side, Side]:
    """Return the side of the rows and the side of the columns."""
    rows = masses(observed.rows, observed.row_weights)
    columns = masses(observed.columns, observed.column_weights)
    o = observed
    return (
        Side(o.rows, o.row_values, o.row_weights, rows, _shares(o, columns)),
        Side(o.columns, o.column_values, o.column_weights, columns, _shares(o, rows)),
    )


def masses(lines: Lines, weights: Array | None) -> Array:
    """Return the sum of the weights of each line, on the host in float64."""
    if weights is None:
        return _HOST.astype(lines.lengths, _HOST.float64)
    xp = lines.xp
    ones = xp.ones((lines.n_other, 1), dtype=weights.dtype, device=lines.device)
    return _HOST.astype(to_numpy(gather_sum(xp, lines, weights, ones)[:, 0]), _HOST.float64)


def _shares(observed: Observed, mass: Array) -> Array:
    xp = observed.xp
    dtype = real_dtype(xp, observed.dtype)
    return asarray(
        (mass / mass.sum())[:, None], xp=xp, device=observed.device, dtype=dtype, copy=False
    )


def second_moment(F: Array, shares: Array, xp: Namespace) -> Array:
    """Return ``F^H diag(shares) F`` in the widest dtype of the device."""
    S = matmul_h(F, shares * F, xp)
    return hermitian_part(xp.astype(S, widest_dtype(xp, device(F), F.dtype)), xp)


def gauge(F: Array, shares: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return eigenvalues (k,) and eigenvectors (k, k) of the second moment of a factor."""
    values, Q = xp.linalg.eigh(second_moment(F, shares, xp))
    real = real_dtype(xp, F.dtype)
    return xp.astype(xp.clip(values, min=0.0), real, copy=False), xp.astype(Q, F.dtype, copy=False)


def rotated(F: Array, X: Array, Q: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return both factors in another unitary basis: ``F Q`` and ``X conj(Q)``."""
    return F @ Q, X @ xp.conj(Q) if xp.isdtype(Q.dtype, "complex floating") else X @ Q


def half_step(
    side: Side, F: Array, X: Array, shift: Array | None, plan: Plan, *, keep_basis: bool = False
) -> tuple[Array, Array]:
    """Improve all lines of one side by a few steps, and solve the stubborn ones.

    Parameters
    ----------
    side : Side
        The lines, their values and weights.
    F : array (n_other, k)
        The fixed factor.
    X : array (lines, k)
        The start.
    shift : array (n_other,) or None
        What is subtracted from the values.
    plan : Plan
        Steps, ridge and loss; its `steps` grows where many lines are not solved.
    keep_basis : bool, default False
        Whether to come back to the basis of the arguments (it costs two more products).

    Returns
    -------
    X, F : array
        The new and the fixed factor in one basis.
    """
    xp = side.lines.xp
    e, Q = gauge(F, side.shares, xp)
    F, X = rotated(F, X, Q, xp)
    real = real_dtype(xp, F.dtype)
    ridge = xp.full(e.shape, plan.ridge, dtype=real, device=device(F))
    zero = xp.zeros_like(ridge)
    X, left, _ = pcg_rows(
        xp, side.lines, side.values, side.weights, F, X, shift, e, ridge, zero,
        plan.steps, plan.tol, plan.loss, plan.scale,
    )  # fmt: skip
    if plan.loss == 0 and plan.strict:
        X = _finished(side, F, X, left, shift, ridge, zero, plan)
    return _back(X, F, Q, xp) if keep_basis else (X, F)


def _back(X: Array, F: Array, Q: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return rotated factors in the basis that they came in."""
    transposed = xp.matrix_transpose(Q)
    return X @ transposed, F @ (xp.conj(transposed) if _complex(Q, xp) else transposed)


def _complex(Q: Array, xp: Namespace) -> bool:
    return bool(xp.isdtype(Q.dtype, "complex floating"))


def _finished(
    side: Side, F: Array, X: Array, left: Array, shift: Array | None, ridge: Array, zero: Array,
    plan: Plan,
) -> Array:  # fmt: skip
    """Solve the lines directly that the steps did not solve (one synchronisation)."""
    xp = side.lines.xp
    stubborn = _HOST.flatnonzero(to_numpy(left) > _UNSOLVED)
    if stubborn.size == 0:
        return X
    if stubborn.size > _FEW * side.lines.n_lines:
        plan.steps = min(2 * plan.steps, _MOST_STEPS)
        return X
    found = direct_rows(
        xp, side.lines, side.values, side.weights, F, shift, ridge, zero, chosen=stubborn
    )
    return replaced(X, stubborn, xp.astype(found, X.dtype, copy=False), xp)


def replaced(X: Array, lines: Array, rows: Array, xp: Namespace) -> Array:
    """Return `X` with some rows (host indices) replaced."""
    where = _HOST.full(int(X.shape[0]), -1, dtype=_HOST.int64)
    where[lines] = _HOST.arange(lines.shape[0])
    both = xp.concat([X, rows], axis=0)
    place = _HOST.where(where < 0, _HOST.arange(where.shape[0]), where + int(X.shape[0]))
    return xp.take(both, xp.asarray(place, device=device(X)), axis=0)


def wide_sum(x: Array, xp: Namespace) -> float:
    """Return the sum of real numbers, in the widest float (one synchronisation)."""
    return float(xp.sum(x, dtype=widest_float(xp, device(x))))
