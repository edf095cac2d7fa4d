"""The norms in which the error of a function is asked for and estimated."""

from __future__ import annotations

import math
from typing import NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.chebyshev._fibres import PointSource

_HOST = numpy_namespace()
NORMS = ("max", "l2w", "l2")


class Norm(NamedTuple):
    """``"max"``; ``"l2w"``, the root mean square under the Chebyshev density; ``"l2"``, plain L2.

    `volume` is that of the box, for the plain L2 norm.
    """

    name: str
    volume: float = 1.0

    @property
    def is_mean(self) -> bool:
        """Whether the norm is an integral, estimated as a mean over random points."""
        return self.name != "max"

    def points(self, draw: PointSource, n: int) -> Array:
        """Return fresh points (n, d) of [-1, 1]^d that the norm is estimated at."""
        if self.name == "max":
            return draw(n)
        P = draw.rng.uniform(-1.0, 1.0, (n, draw.order))
        return _HOST.sin(0.5 * math.pi * P) if self.name == "l2w" else P

    def size(self, values: Array) -> float:
        """Return the estimate of the norm from values at such points."""
        moduli = _HOST.abs(values)
        largest = float(_HOST.max(moduli))
        if not self.is_mean or largest == 0.0:
            return largest
        mean = float(_HOST.mean((moduli / largest) ** 2))
        return largest * math.sqrt(mean * (self.volume if self.name == "l2" else 1.0))

    def weighted_factor(self, order: int) -> float:
        """Return a bound of this norm by the weighted one, up to what a maximum may exceed it by.

        The plain L2 norm is at most ``sqrt(volume) (pi/2)^(d/2)`` times the weighted one, whose
        density is nowhere below ``1/pi`` a variable. The maximum has no such bound: 1, and checks.
        """
        return (
            math.sqrt(self.volume) * (0.5 * math.pi) ** (0.5 * order) if self.name == "l2" else 1.0
        )
