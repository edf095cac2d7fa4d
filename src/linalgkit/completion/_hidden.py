"""Whether a component of a fit hides where nothing is observed.

If the entries are drawn without regard to their values, each component ``s u w^T`` is met by them
in proportion: its energy at the entries is near what the popularity of rows and columns foretells.
A component of which far less is seen was bought cheaply: it fits what is left over with large
values at places that nobody has seen. Local minima of ill-conditioned problems look like that.
"""

from __future__ import annotations

from linalgkit._core.array import Array, Namespace, numpy_namespace, to_numpy, widest_dtype
from linalgkit._core.qr import qr_positive
from linalgkit._kernels.observed import residual_rows
from linalgkit.completion._factors import Factors
from linalgkit.completion._half_step import masses
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()
#: A smaller share than this is no accident of the draw.
HIDDEN = 0.3


def singular_factors(f: Factors, observed: Observed) -> tuple[Array, Array, Array]:
    """Return left (m, k) and right (n, k) singular vectors of ``U W^T`` and the values, wide.

    The right ones are conjugated, so that ``U W^T = L diag(s) R^T``.
    """
    xp = observed.xp
    wide = widest_dtype(xp, observed.device, observed.dtype)
    left, R = qr_positive(xp.astype(f.U, wide, copy=False), xp)
    right, T = qr_positive(xp.astype(f.W, wide, copy=False), xp)
    L, s, Rh = xp.linalg.svd(R @ xp.matrix_transpose(T), full_matrices=False)
    return left @ L, s, right @ xp.matrix_transpose(Rh)


def least_seen(observed: Observed, f: Factors) -> float:
    """Return the smallest share of a component's energy, as foretold, that the entries meet."""
    if f.rank == 0:
        return 1.0
    xp = observed.xp
    L, _, R = singular_factors(f, observed)
    L, R = (xp.astype(x, observed.dtype, copy=False) for x in (L, R))
    row_mass = masses(observed.rows, observed.row_weights)
    column_mass = masses(observed.columns, observed.column_weights)
    foretold = _crowded(L, row_mass, xp) * _crowded(R, column_mass, xp) / row_mass.sum()
    shares = [
        _seen(observed, _column(L, q, xp), _column(R, q, xp)) / foretold[q]
        for q in range(f.rank) if foretold[q] > 0.0
    ]  # fmt: skip
    return min(shares, default=1.0)


def _column(X: Array, q: int, xp: Namespace) -> Array:
    """Return a column in memory of its own, (rows, 1), as the kernels read it."""
    return xp.reshape(xp.asarray(X[:, q], copy=True), (-1, 1))


def _crowded(X: Array, mass: Array, xp: Namespace) -> Array:
    """Return the sums of the squared entries of each column times the masses, on the host."""
    return mass @ _HOST.abs(_HOST.astype(to_numpy(X), _HOST.complex128)) ** 2


def _seen(observed: Observed, u: Array, w: Array) -> float:
    """Return the weighted energy of ``u w^T`` at the entries."""
    o, xp = observed, observed.xp
    _, ss = residual_rows(xp, o.rows, None, o.row_weights, u, w, None, 0, 1.0)
    return float(xp.sum(ss))
