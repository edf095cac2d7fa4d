"""How sketched estimates scatter where the ridge itself is not sketched.

With ``M = (S A)^H S A + alpha I`` and the residual ``r`` of the exact solution, to first order::

    x' - x  =  M^-1 A^H (S^H S - I) r,     Cov = M^-1 (||r||^2 A^H A + A^H r r^H A) M^-1 / m

The second term is at most ``||P r||^2 A^H A`` with `P` the projector on the range of `A`, and
``A^H r = alpha x``: what is returned covers both, so that intervals are rather too wide.
"""

from __future__ import annotations

import math
from dataclasses import replace

from linalgkit._core.array import Array, adjoint, array_namespace
from linalgkit._core.linalg import svd_desc
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent
from linalgkit.regression._intervals import column_norms
from linalgkit.regression._reduced import Reduced


def with_plain_ridge(
    small: Reduced, SA: Array, SB: Array, alpha: float
) -> tuple[Reduced, list[float]]:
    """Return a solved problem with the law of a ridge whose rows were not sketched.

    Parameters
    ----------
    small : Reduced
        The solution of ``[S A; sqrt(alpha) I] x = [S b; 0]``.
    SA, SB : array (m, d), (m, k)
        The sketched rows alone.
    alpha : float
        Weight of ``||x||^2``, positive.

    Returns
    -------
    small : Reduced
        With the factor of the covariance, and misfits that stand for the noise of the sketch.
    misfits : list of float
        ``||S (A x' - b)||_2`` for each right side.
    """
    X = small.spread.X
    xp = array_namespace(X)
    SA, SB = (xp.astype(part, X.dtype, copy=False) for part in (SA, SB))
    m, d = SA.shape
    unit = scale_exponent(max_abs(SA, xp))
    weight = ldexp_float(alpha, -2 * unit)
    _, s, Vh = svd_desc(ldexp(SA, -unit, xp), xp)
    s = xp.astype(s, X.dtype, copy=False)
    damped = s / (s * s + weight)
    positive = xp.where(xp.real(s) > 0, s, xp.ones_like(s))
    inverse = xp.where(xp.real(s) > 0, weight / positive, xp.zeros_like(s))
    inside = column_norms(inverse[:, None] * (Vh @ ldexp(X, unit, xp)), xp)
    misfits = column_norms(SB - SA @ X, xp)
    share = max(1, m - small.rank) / m
    noise = [math.hypot(a, math.sqrt(share) * b) for a, b in zip(misfits, inside, strict=True)]
    sides = small.spread.side_exponents
    scaled = tuple(ldexp_float(v, -e) for v, e in zip(noise, sides, strict=True))
    factor = adjoint(Vh, xp) * damped[None, :]
    spread = replace(small.spread, factor=factor, exponents=(unit,) * int(d))
    return replace(small, spread=spread, misfits=scaled), misfits
