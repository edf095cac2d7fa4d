"""The mean of the columns so far, and the column that a change of it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from linalgkit._core.array import Array, Namespace
from linalgkit._core.scaling import ldexp, norm_fro
from linalgkit.svd._columns import Columns


# Ross, Lim, Lin, Yang, "Incremental learning for robust visual tracking", IJCV 77 (2008), section
# 2.2. Differs from it: weights may be any numbers, so that older columns can fade.
@dataclass(frozen=True, eq=False)
class Mean:
    """Weight and mean of the columns.

    Attributes
    ----------
    weight : float
        Number of columns, faded.
    value : array (m,) or None
        Their mean in the caller's unit and the device's widest float.
    """

    weight: float = 0.0
    value: Array | None = None

    def faded(self, factor: float) -> Mean:
        """Return the mean after all columns were multiplied by a factor in their squares."""
        return replace(self, weight=factor * factor * self.weight)

    def centred(
        self, block: Columns, weights: list[float] | None, exponent: int, xp: Namespace
    ) -> tuple[Mean, float, Columns, Array | None]:
        """Return the new mean, and columns whose Gram matrix adds to that of centred ones.

        Parameters
        ----------
        block : Columns
            Columns in units of ``2**exponent``.
        weights : list of float or None
            Factors of the columns.
        exponent : int
            The unit.
        xp : module
            Namespace.

        Returns
        -------
        mean : Mean
            The joint one.
        size : float
            Square of the norm of what was taken off, with the factors.
        block : Columns
            The block without its own mean, times the factors.
        extra : array (1, m) or None
            What the distance of the two means is worth.
        """
        squares = [1.0] * block.b if weights is None else [w * w for w in weights]
        total = math.fsum(squares)
        mean, rest = block.centred([v / total for v in squares], weights, xp)
        both, extra = self.merged(Mean(total, ldexp(mean, exponent, xp)), exponent, xp)
        return both, total * norm_fro(mean, xp) ** 2, rest, extra

    def merged(self, other: Mean, exponent: int, xp: Namespace) -> tuple[Mean, Array | None]:
        """Return the joint mean, and the column (1, m) that the distance of the two is worth."""
        if self.value is None or self.weight == 0.0:
            return other, None
        if other.value is None:
            return self, None
        total = self.weight + other.weight
        share = other.weight / total
        step = other.value - self.value
        size = math.sqrt(self.weight * share)
        extra = size * ldexp(step, -exponent, xp)
        return Mean(total, self.value + share * step), extra[None, :]
