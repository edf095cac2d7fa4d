"""How much less a robust loss makes of normal noise, with many unknowns for the entries.

Huber's loss turns from a square to a modulus at the scale s; at ``s = 0`` it is the sum of moduli,
at ``s = inf`` least squares. Where unknowns are a share `d` of the entries, a residual is ``r =
prox(z)``, z normal with the variance ``t^2`` of noise and prediction error together [1]_::

    r = z (s / l)  for |z| <= l,        |z| - (l - s) beyond
    d = P(|z| <= l) (1 - s / l),        error / t^2 = (1 - s / l)^2 E min(z^2, l^2) / d = q

(l and s in units of t). For ``d -> 0`` this is the law of Huber's estimate: its variance is
``pi / 2`` times that of least squares for ``s = 0``.

References
----------
.. [1] D. Donoho, A. Montanari, "High dimensional robust M-estimation: asymptotic variance via
   approximate message passing", Probab. Theory Relat. Fields 166 (2016), arXiv:1310.7320.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

_MEDIAN = 0.674489750196082  # of the modulus of a standard normal number
_FAR = 40.0  # standard deviations beyond which nothing is
_STEPS = 60
_LEAST = 0.1  # of residuals over noise: smaller ones are interpolated and tell nothing


def variance_factor(scale: float, share: float) -> float:
    """Return the variance of an estimate over that of least squares.

    Parameters
    ----------
    scale : float
        Where the loss turns linear, in standard deviations of the noise.
    share : float
        Unknowns over entries, between 0 and 1.
    """
    share, scale = min(max(share, 1e-6), 1.0 - 1e-6), min(scale, 1e3)
    s = _fixed_point(lambda s: scale * math.sqrt(1.0 - _balance(s, share)[1]), scale)
    q = _balance(s, share)[1]
    return q / (1.0 - q) * (1.0 - share) / share


def noise_factor(scale: float, share: float) -> float:
    """Return the standard deviation of the noise over 1.4826 times the median modulus of residuals.

    Parameters
    ----------
    scale : float
        Where the loss turns linear, over 1.4826 times that median.
    share : float
        Unknowns over entries, between 0 and 1.
    """
    share, scale = min(max(share, 1e-6), 1.0 - 1e-6), min(scale, 1e3)
    s = _fixed_point(lambda s: scale * _shrinkage(s, share), scale)
    return math.sqrt(1.0 - _balance(s, share)[1]) / max(_LEAST, _shrinkage(s, share))


def _fixed_point(step: Callable[[float], float], start: float) -> float:
    """Return where a scale comes to rest."""
    s = start
    for _ in range(_STEPS):
        s = 0.5 * (s + step(s))
    return s


def _balance(s: float, share: float) -> tuple[float, float]:
    """Return l and q."""
    low, high = min(s, _FAR), s + 2.0 * _FAR / (1.0 - share)
    if s >= _FAR:  # nothing is beyond the scale
        return s / (1.0 - share), share
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        part = math.erf(middle / math.sqrt(2.0)) * (1.0 - s / middle)
        low, high = (middle, high) if part < share else (low, middle)
    limit = 0.5 * (low + high)
    inside = math.erf(limit / math.sqrt(2.0))
    density = math.exp(-0.5 * limit**2) / math.sqrt(2.0 * math.pi)
    squares = inside - 2.0 * limit * density + limit**2 * float(2.0 * special.ndtr(-limit))
    return limit, (1.0 - s / limit) ** 2 * squares / share


def _shrinkage(s: float, share: float) -> float:
    """Return the median modulus of a residual over that of z."""
    limit, _ = _balance(s, share)
    if limit >= _MEDIAN:
        return s / limit
    return (_MEDIAN - (limit - s)) / _MEDIAN
