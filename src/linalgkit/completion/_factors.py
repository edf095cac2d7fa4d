"""The model ``A ~ U W^T + row_bias + column_bias + mean``, and sums over the observed entries.

Inside this room nothing is conjugated: ``W = conj(V)`` where the public answer is ``U V^H``. Values
are those of :class:`linalgkit.completion._observed.Observed`, scaled by its powers of two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from linalgkit._core.array import Array, Namespace, device
from linalgkit._kernels.observed import Lines, residual_rows
from linalgkit.completion._observed import Observed


@dataclass(frozen=True, eq=False)
class Factors:
    """Low-rank factors with optional offsets; arrays of one library, in the working dtype."""

    U: Array
    W: Array
    row_bias: Array | None = None
    column_bias: Array | None = None
    mean: complex = 0.0

    @property
    def rank(self) -> int:
        """Number of columns of either factor."""
        return int(self.U.shape[1])

    @property
    def is_plain(self) -> bool:
        """Tell whether there is neither a bias nor a mean."""
        return self.row_bias is None and self.column_bias is None and self.mean == 0.0

    def transposed(self) -> Factors:
        """Return the model of the transposed matrix."""
        return Factors(self.W, self.U, self.column_bias, self.row_bias, self.mean)

    def with_factors(self, U: Array, W: Array) -> Factors:
        """Return the same offsets with other factors."""
        return replace(self, U=U, W=W)


def constant_column(x: Array, value: complex, xp: Namespace) -> Array:
    """Return a column of one value beside the rows of `x`, (rows, 1), in its dtype."""
    return xp.full((int(x.shape[0]), 1), value, dtype=x.dtype, device=device(x))


def augmented(f: Factors, xp: Namespace) -> tuple[Array, Array]:
    """Return P (m, r) and Q (n, r) whose products ``P[i, :] . Q[j, :]`` are the model's values."""
    if f.is_plain:
        return f.U, f.W
    if f.row_bias is None or f.column_bias is None:
        mean, one = constant_column(f.U, f.mean, xp), constant_column(f.W, 1.0, xp)
        return xp.concat([f.U, mean], axis=1), xp.concat([f.W, one], axis=1)
    row = (f.row_bias + f.mean)[:, None]
    ones_left, ones_right = constant_column(f.U, 1.0, xp), constant_column(f.W, 1.0, xp)
    P = xp.concat([f.U, row, ones_left], axis=1)
    return P, xp.concat([f.W, ones_right, f.column_bias[:, None]], axis=1)


def parameters(rows: Lines, columns: Lines, k: int, *, biased: bool = False) -> int:
    """Return the parameters of the lines that have entries: those of rank `k`, and of biases.

    A factor that is constant is no more than a bias, hence the 2.
    """
    m, n = (int((x.lengths > 0).sum()) for x in (rows, columns))
    if not biased:
        k = min(k, m, n)
        return k * (m + n - k)
    k = min(k, m - 1, n - 1)
    return k * (m + n - 2 - k) + m + n - 1


def residual_energy(observed: Observed, f: Factors, loss: int = 0, scale: float = 1.0) -> float:
    """Return the sum over the observed entries of weight times loss (one synchronisation)."""
    xp = observed.xp
    P, Q = augmented(f, xp)
    _, ss = residual_rows(
        xp, observed.rows, observed.row_values, observed.row_weights, P, Q, None, loss, scale
    )
    return float(xp.sum(ss))
