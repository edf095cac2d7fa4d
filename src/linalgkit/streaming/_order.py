"""Whether a stream of numbers is in random order.

::

    order = Order(xp)
    order.add(f)                  # numbers in [0, 1), block by block
    trend, serial = order.zscores()

"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, Namespace, to_numpy
from linalgkit._core.state import PortablePickle, State


@dataclass(frozen=True)
class BlockSums:
    """What :class:`Order` needs of a block of numbers, for several sequences at once.

    Attributes
    ----------
    sums : array (m, 4)
        For each sequence the sums of ``f``, ``i f`` with `i` from 0, ``f f`` and
        ``f_i f_{i+1}``.
    first, last : array (m,)
        First and last number.
    n : int
        Numbers in the block.
    """

    sums: Array
    first: Array
    last: Array
    n: int


def ramp(n: int, like: Array, xp: Namespace) -> Array:
    """Return the weights (n, 2) of the linear sums: ones, and the places from 0."""
    index = xp.arange(n, dtype=like.dtype, device=like.device)
    return xp.stack([xp.ones_like(index), index], axis=1)


def block_sums(F: Array, xp: Namespace, weights: Array | None = None) -> BlockSums:
    """Return the sums over the rows of `F`, (m, n); no synchronisation.

    `weights` is :func:`ramp` of `n`, where it is known already.
    """
    n = int(F.shape[1])
    linear = F @ (ramp(n, F, xp) if weights is None else weights)
    squares, serial = xp.vecdot(F, F), xp.vecdot(F[:, : n - 1], F[:, 1:])
    sums = xp.concat([linear, squares[:, None], serial[:, None]], axis=1)
    return BlockSums(sums, F[:, 0], F[:, n - 1], n)


class Order(PortablePickle):
    """Tests of exchangeability for a bounded sequence.

    For numbers ``f_1 .. f_N`` in random order both the trend ``sum (i - mean i) f_i`` and the
    serial sum ``sum (f_i - mean f)(f_{i+1} - mean f)`` have mean and variance known from the
    numbers themselves (Wald and Wolfowitz, 1943), whatever their distribution. The caller
    makes the numbers bounded, so that no giant row can raise an alarm.
    """

    def __init__(self, xp: Namespace) -> None:
        self.xp = xp
        self.n = 0
        self._sums: Array = None  # as in BlockSums, within the blocks
        self._shift: Array = None  # what the places of the blocks add to sum i f
        self._joins: Array = None  # products across the ends of blocks
        self._first: Array = None
        self._last: Array = None

    def add(self, f: Array) -> None:
        """Add the next numbers of the sequence; no synchronisation."""
        self.include(block_sums(f[None, :], self.xp), 0)

    def include(self, block: BlockSums, i: int) -> None:
        """Add the next numbers, the i-th sequence of a block."""
        sums, first = block.sums[i, :], block.first[i]
        if self._sums is None:
            self._sums, self._first = sums, first
            self._shift = self._joins = sums[0] * 0
        else:
            self._shift = self._shift + self.n * sums[0]
            self._joins = self._joins + self._last * first
            self._sums = self._sums + sums
        self._last = block.last[i]
        self.n += block.n

    def append(self, later: Order) -> None:
        """Add a sequence that follows this one; that one is not changed."""
        if self._sums is None:
            self._first, self._sums = later._first, later._sums
            self._shift, self._joins = later._shift, later._joins
        elif later._sums is not None:
            self._shift = self._shift + later._shift + self.n * later._sums[0]
            self._joins = self._joins + later._joins + self._last * later._first
            self._sums = self._sums + later._sums
        self._last = self._last if later._sums is None else later._last
        self.n += later.n

    def zscores(self) -> list[float]:
        """Return the trend and the serial statistic; nothing for fewer than four numbers."""
        if self._sums is None or self.n < 4:
            return []
        rest = self.xp.stack([self._shift, self._joins, self._first, self._last])
        values = to_numpy(self.xp.concat([self._sums, rest])).tolist()
        s, trend, squares, serial, shift, joins, first, last = values
        return _exchangeability(self.n, s, squares, trend + shift, serial + joins, first, last)

    def state(self) -> State:
        """Return what :meth:`restore` needs."""
        known = self._sums is not None
        return {"n": self.n, "arrays": [to_numpy(x) for x in self._arrays()] if known else None}

    def _arrays(self) -> tuple[Array, ...]:
        return self._sums, self._shift, self._joins, self._first, self._last

    def restore(self, state: State, own: Callable[[Any], Array]) -> None:
        """Take over a state."""
        self.n = state["n"]
        if state["arrays"] is not None:
            found = (own(x) for x in state["arrays"])
            self._sums, self._shift, self._joins, self._first, self._last = found


# Scores lie between 0 and 1; where they are all below this they say nothing.
_VANISHED = 1e-200


def _exchangeability(
    n: int, s: float, s2: float, st: float, serial: float, first: float, last: float
) -> list[float]:
    """Trend and serial z-scores from the sums that :class:`Order` keeps."""
    mean = s / n
    spread = s2 - n * mean * mean
    if spread <= 1e-9 * s2 or spread < _VANISHED:
        return [0.0, 0.0]
    trend = st - 0.5 * (n - 1) * s
    trend_variance = spread / (n - 1) * n * (n * n - 1.0) / 12.0
    covariance = serial - mean * (2 * s - first - last) + (n - 1) * mean * mean
    return [
        trend / math.sqrt(trend_variance),
        (covariance + spread / n) / (spread / math.sqrt(n)),
    ]
