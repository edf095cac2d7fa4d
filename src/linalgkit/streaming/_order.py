"""Whether a stream of numbers is in random order.

::

    order = Order(xp)
    order.add(f)                  # numbers in [0, 1), block by block
    trend, serial = order.zscores()

"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from linalgkit._core.array import Array, Namespace, to_numpy
from linalgkit._core.state import State


class Order:
    """Tests of exchangeability for a bounded sequence.

    For numbers ``f_1 .. f_N`` in random order both the trend ``sum (i - mean i) f_i`` and the
    serial sum ``sum (f_i - mean f)(f_{i+1} - mean f)`` have mean and variance known from the
    numbers themselves (Wald and Wolfowitz, 1943), whatever their distribution. The caller
    makes the numbers bounded, so that no giant row can raise an alarm.
    """

    def __init__(self, xp: Namespace) -> None:
        self.xp = xp
        self.n = 0
        self._sums: Array = None  # sum f, sum f^2, sum i f, sum f_i f_{i+1}
        self._first: Array = None
        self._last: Array = None

    def add(self, f: Array) -> None:
        """Add the next numbers of the sequence; no synchronisation."""
        xp, b = self.xp, f.shape[0]
        index = xp.arange(self.n, self.n + b, dtype=f.dtype, device=f.device)
        serial = xp.vecdot(f[: b - 1], f[1:])
        if self._sums is not None:
            serial = serial + self._last * f[0]
        fresh = xp.stack([xp.sum(f), xp.vecdot(f, f), xp.vecdot(index, f), serial])
        self._first = f[0] if self._sums is None else self._first
        self._sums = fresh if self._sums is None else self._sums + fresh
        self._last = f[b - 1]
        self.n += b

    def zscores(self) -> list[float]:
        """Return the trend and the serial statistic; nothing for fewer than four numbers."""
        if self._sums is None or self.n < 4:
            return []
        values = to_numpy(self.xp.concat([self._sums, self.xp.stack([self._first, self._last])]))
        return _exchangeability(self.n, *values.tolist())

    def state(self) -> State:
        """Return what :meth:`restore` needs."""
        known = self._sums is not None
        arrays = (self._sums, self._first, self._last)
        return {"n": self.n, "arrays": [to_numpy(x) for x in arrays] if known else None}

    def restore(self, state: State, own: Callable[[Any], Array]) -> None:
        """Take over a state."""
        self.n = state["n"]
        if state["arrays"] is not None:
            self._sums, self._first, self._last = (own(x) for x in state["arrays"])


def _exchangeability(
    n: int, s: float, s2: float, st: float, serial: float, first: float, last: float
) -> list[float]:
    """Trend and serial z-scores from the sums that :class:`Order` keeps."""
    mean = s / n
    spread = s2 - n * mean * mean
    if spread <= 1e-9 * s2 or spread <= 0.0:
        return [0.0, 0.0]
    trend = st - 0.5 * (n - 1) * s
    trend_variance = spread / (n - 1) * n * (n * n - 1.0) / 12.0
    covariance = serial - mean * (2 * s - first - last) + (n - 1) * mean * mean
    return [
        trend / math.sqrt(trend_variance),
        (covariance + spread / n) / (spread / math.sqrt(n)),
    ]
