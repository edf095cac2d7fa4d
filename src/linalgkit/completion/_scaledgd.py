"""Scaled gradient descent: gradients in the metric of the other factor, steps of exact length.

::

    for _ in range(sweeps):
        factors = scaled_gradient_sweep(observed, factors, ridge)

The objective is ``sum w |A - U W^T - offsets|^2 + ridge (||U||^2 + ||W||^2)`` over the observed
entries, in the units of :class:`linalgkit.completion._observed.Observed`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    eps,
    is_complex,
    numpy_namespace,
    real_dtype,
    widest_dtype,
    widest_float,
)
from linalgkit._core.linalg import eigh_desc, hermitian_part, matmul_h
from linalgkit._kernels.observed import Lines, gather_sum, residual_rows
from linalgkit.completion._factors import Factors, augmented, constant_column
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class _Side:
    """One orientation of the entries."""

    xp: Namespace
    lines: Lines
    values: Array
    weights: Array | None

    def residuals(self, f: Factors, F: Array) -> Array:
        """Return ``sum_t w_t r_t conj(F[j_t, :])`` of every line."""
        P, Q = augmented(f, self.xp)
        G, _ = residual_rows(self.xp, self.lines, self.values, self.weights, P, Q, F, 0, 1.0)
        return G

    def images(self, P: Array, Q: Array, F: Array | None) -> tuple[Array | None, float]:
        """Return the sums of products with F, and of squares, of the entries of ``P Q^T``."""
        xp = self.xp
        G, ss = residual_rows(xp, self.lines, None, self.weights, P, Q, F, 0, 1.0)
        return (None if G is None else -G), float(xp.sum(ss))

    def totals(self) -> Array:
        """Return the sum of the weights of every line, real."""
        xp, where = self.xp, self.lines.device
        real = real_dtype(xp, self.values.dtype)
        if self.weights is None:
            return asarray(self.lines.lengths, xp=xp, device=where, dtype=real, copy=False)
        ones = xp.ones((self.lines.n_other, 1), dtype=real, device=where)
        return gather_sum(xp, self.lines, self.weights, ones)[:, 0]


# ScaledGD of Tong, Ma and Chi (JMLR 2021). Differs from it:
# 1. The Gram matrix of a factor is weighted by how often its rows occur (the mean of the Gram
#    matrices of all lines of the other side), which is the same where entries are observed
#    uniformly, and the ridge is added.
# 2. Both factors move at once, by the step that minimises the objective along the direction: a
#    quartic polynomial whose coefficients are sums over the entries, so that nothing is tuned and
#    no step, but for rounding, goes up.
# 3. There are weights, and biases, which are set to their best values before.
def scaled_gradient_sweep(observed: Observed, factors: Factors, ridge: float) -> Factors:
    """Return the model after one scaled gradient step of both factors.

    Parameters
    ----------
    observed : Observed
        The entries.
    factors : Factors
        The model to start from, not at zero (a stationary point).
    ridge : float
        Not negative, in the units of the scaled values and weights.

    Returns
    -------
    Factors
        The new model; the factors themselves where no step goes down.

    Notes
    -----
    Four passes over the entries, two more with biases; six synchronisations. Storage: N zeros and
    a copy of all factors and directions.

    References
    ----------
    .. [1] T. Tong, C. Ma, Y. Chi, "Accelerating ill-conditioned low-rank matrix estimation via
       scaled gradient descent", J. Mach. Learn. Res. 22 (2021).
    """
    xp = observed.xp
    rows = _Side(xp, observed.rows, observed.row_values, observed.row_weights)
    columns = _Side(xp, observed.columns, observed.column_values, observed.column_weights)
    f = factors
    if f.row_bias is not None:
        f = _with_row_bias(rows, f)
        f = _with_row_bias(columns, f.transposed()).transposed()
    p, q = rows.totals(), columns.totals()
    gradient_W = columns.residuals(f.transposed(), f.U) - ridge * f.W
    E = _preconditioned(gradient_W, f.U, p, ridge, xp)
    sums = rows.residuals(f, xp.concat([f.W, E], axis=1))
    gradient_U = sums[:, : f.rank] - ridge * f.U
    D = _preconditioned(gradient_U, f.W, q, ridge, xp)
    coefficients = _quartic(rows, f, D, E, (gradient_U, gradient_W, sums[:, f.rank :]), ridge)
    step = _best_step(coefficients)
    return f.with_factors(f.U + step * D, f.W + step * E)


def _with_row_bias(side: _Side, f: Factors) -> Factors:
    """Return the model with the best row bias for its other parts."""
    xp = side.xp
    total = side.totals()
    change = side.residuals(f, constant_column(f.W, 1.0, xp))[:, 0]
    safe = xp.where(total > 0, total, xp.ones_like(total))
    return replace(f, row_bias=f.row_bias + change / xp.astype(safe, change.dtype, copy=False))


def _preconditioned(gradient: Array, F: Array, counts: Array, ridge: float, xp: Namespace) -> Array:
    """Return the gradient of one factor times the inverse of the Gram matrix of the other one.

    The Gram matrix is the mean over the lines; directions at the level of roundoff are left out.
    """
    wide, dtype = widest_dtype(xp, device(F), F.dtype), F.dtype
    F = xp.astype(F, wide, copy=False)
    counts = xp.astype(counts, wide, copy=False)
    k = int(F.shape[1])
    mean = matmul_h(F, F * counts[:, None], xp) / int(gradient.shape[0])
    mean = mean + ridge * xp.eye(k, dtype=wide, device=device(F))
    e, Q = eigh_desc(hermitian_part(mean, xp), xp)
    kept = (e > k * eps(xp, wide) * e[:1]) & (e > 0)
    inverse = xp.where(kept, 1.0 / xp.where(kept, e, xp.ones_like(e)), xp.zeros_like(e))
    # Row i solves mean x = g, hence X = gradient (mean^-1)^T.
    turned = Q if not is_complex(Q, xp) else xp.conj(Q)
    moved = xp.astype(gradient, wide, copy=False) @ turned
    moved = moved * xp.astype(inverse, wide, copy=False)[None, :]
    return xp.astype(moved @ xp.matrix_transpose(Q), dtype, copy=False)


def _quartic(
    rows: _Side, f: Factors, D: Array, E: Array, sums: tuple[Array, Array, Array], ridge: float
) -> tuple[float, float, float, float]:
    """Return the coefficients of the change of the objective in the step along (D, E).

    Residuals are ``r - t a - t^2 b`` with ``a = D W^T + U E^T`` and ``b = D E^T``; `sums` are the
    negative gradients and the sums of ``r conj(E)`` over the rows.
    """
    xp = rows.xp
    left, right = xp.concat([D, f.U], axis=1), xp.concat([f.W, E], axis=1)
    image, aa = rows.images(left, right, E)
    _, bb = rows.images(D, E, None)
    gradient_U, gradient_W, with_E = sums
    slope = _inner(gradient_U, D, xp) + _inner(gradient_W, E, xp)
    size = _inner(D, D, xp) + _inner(E, E, xp)
    second = aa - 2.0 * _inner(with_E, D, xp) + ridge * size
    return -2.0 * slope, second, 2.0 * _inner(image, D, xp), bb


def _inner(x: Array, y: Array, xp: Namespace) -> float:
    """Return ``Re sum x conj(y)``, accumulated in the widest float."""
    product = xp.real(x * xp.conj(y)) if is_complex(x, xp) else x * y
    return float(xp.sum(xp.astype(product, widest_float(xp, device(x)), copy=False)))


def _best_step(coefficients: tuple[float, float, float, float]) -> float:
    """Return where a quartic without constant term is least, zero where it is nowhere negative."""
    first, second, third, fourth = coefficients
    if not first < 0.0:
        return 0.0
    found = _HOST.roots([4.0 * fourth, 3.0 * third, 2.0 * second, first])
    candidates = [0.0, *(float(x) for x in _HOST.real(found))]

    def value(t: float) -> float:
        return t * (first + t * (second + t * (third + t * fourth)))

    return min(candidates, key=value)
