"""Functions of up to six variables as a Tucker core with polynomial factors.

A function is found to a tolerance, with the degrees and ranks that it needs, and is then an object
to compute with::

    import numpy as np
    from linalgkit.chebyshev import chebtucker

    T = chebtucker(lambda x: 1 / (1 + 25 * (x**2).sum(1)), [(-1, 1)] * 3, tol=1e-8)
    T                                       # ranks, degrees, error_estimate
    T(points), T.gradient(points)           # (n, 3) -> (n,), (n, 3)
    T.integrate(), T.diff(0), T * T, T.maximum()

Tensors are another source: of values on a grid, of coefficients, in canonical (CP) format. So are
particles: :func:`long_range_potential` is the smooth part of their Coulomb potential,
:func:`short_range_potential` the rest.
"""

from linalgkit.chebyshev import theory
from linalgkit.chebyshev._chebtucker import chebtucker
from linalgkit.chebyshev._cp import chebtucker_from_cp
from linalgkit.chebyshev._function import ChebTucker
from linalgkit.chebyshev._long_range import long_range_potential
from linalgkit.chebyshev._newton import newton_quadrature, range_split
from linalgkit.chebyshev._short_range import short_range_potential
from linalgkit.chebyshev._sthosvd import TuckerResult, sthosvd
from linalgkit.chebyshev._values import chebtucker_from_coefficients, chebtucker_from_values

__all__ = [
    "ChebTucker",
    "TuckerResult",
    "chebtucker",
    "chebtucker_from_coefficients",
    "chebtucker_from_cp",
    "chebtucker_from_values",
    "long_range_potential",
    "newton_quadrature",
    "range_split",
    "short_range_potential",
    "sthosvd",
    "theory",
]
