"""The object: a function of up to six variables as a small core and polynomial factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from linalgkit._core.array import Array, DType, asarray, real_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import silent
from linalgkit._core.validation import check_choice
from linalgkit.chebyshev import _extremes
from linalgkit.chebyshev._arithmetic_methods import Arithmetic
from linalgkit.chebyshev._calculus_methods import Calculus
from linalgkit.chebyshev._holder import checked_parts
from linalgkit.chebyshev._norms import NORMS
from linalgkit.chebyshev._parts import Parts, orthonormal


@capability(
    "chebyshev.ChebTucker",
    synchronisations={
        "call": 5,
        "evaluation": 1,
        "grid": 1,
        "derivative": 2,
        "integral": 2,
        "sum": 25,
        "product": 48,
        "maximum": 3,
    },
)
class ChebTucker(Calculus, Arithmetic):
    """A function on a box, as a Tucker core with polynomial factors.

    The function of d variables, ``sum_{i} core[i_1, ..., i_d] prod_k v_{k, i_k}(x_k)``, whose
    factors ``v_{k, i}`` are polynomials by their Chebyshev coefficients. It is evaluated, derived,
    integrated, added and multiplied without its values on a grid. :func:`chebtucker` and
    ``chebtucker_from_...`` make one; the constructor takes what is known already.

    Parameters
    ----------
    core : array (r_1, ..., r_d)
        Real or complex; d from 1 to 6.
    factors : sequence of array (m_k, r_k)
        Chebyshev coefficients, one column a factor function, of the library and device of `core`;
        the degree is ``m_k - 1``. They are made orthonormal, which may lower ranks.
    domain : sequence of (a_k, b_k), shape (d, 2)
        The box, in the units of the variables.
    error_estimate : float, default nan
        What is known of the error, in the unit of the function.
    error_norm : {"max", "l2w", "l2"}
        The norm that `error_estimate` is in.

    Attributes
    ----------
    core : array (r_1, ..., r_d)
        Carries scale and unit of the function.
    factors : tuple of array (m_k, r_k)
        Chebyshev coefficients; the columns are orthonormal in L2 with the Chebyshev density
        ``1 / (pi sqrt(1 - t^2))`` on the interval moved to [-1, 1].
    domain : tuple of (float, float)
        The box.
    ranks, degrees : tuple of int
        Sizes r_k of the core, and highest powers ``m_k - 1``.
    dtype : dtype
        Of core, factors and values.
    error_estimate : float
        Absolute error in the norm `error_norm`; NaN where nothing is known. For a function that
        was built from samples it is the largest error at fresh random points: an estimate from
        below, not a bound; what no sample meets (a needle) it cannot see. What is made of
        functions propagates it (see Notes).
    error_norm : str
        "max", in the unit of the function; "l2w", the root mean square with the Chebyshev density,
        in the same unit; "l2", plain L2 of the box, in that unit times the root of the volume's.
    scale : float
        Largest modulus met, of the function that this one stands for where it was built from one,
        else by a search. In the norm "max" ``error_estimate / scale`` is the relative error.
    n_evals : int
        Evaluations of the function that it was built from.
    status : str
        "converged"; else what kept the tolerance from being met: "max_evals", "max_rank",
        "max_degree", "ranks", "degrees" (those asked for), "inaccurate".

    Raises
    ------
    TypeError
        For arguments of a wrong kind, mixed libraries or devices.
    ValueError
        If shapes do not fit, the box is not one, d is above 6, or the core overflows: so does
        every operation whose result is beyond the largest number of its dtype.

    See Also
    --------
    chebtucker : from a callable.
    chebtucker_from_cp, chebtucker_from_values, chebtucker_from_coefficients : from tensors.

    Notes
    -----
    Arithmetic is done in the widest precision of the device and returned in `dtype`.

    The errors of sums and products in one norm are ``e_T + e_S`` and ``e_T max|S| + e_S max|T|``;
    of two norms the weaker is taken, by its bound. What a product, :meth:`recompress` and
    :meth:`merge` add is measured in the maximum norm, against the exact result, at about 1000
    fixed points and by line searches from peaks and from the worst points; a sum adds two
    roundings of its terms. Slices, derivatives and smaller boxes keep an error in the maximum
    norm; of a mean they say nothing where no bound follows, and the estimate is NaN.

    Storage: ``prod r_k + sum m_k r_k`` numbers.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
       tensor format with applications to multi-particle modelling", arXiv:2503.01696.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import chebtucker
    >>> T = chebtucker(lambda x: np.exp(-x[:, 0] * x[:, 1]), [(0, 1), (0, 2)], rng=0)
    >>> bool(abs(T(np.array([0.5, 1.0])) - np.exp(-0.5)) < 1e-9)
    True
    >>> T.diff(0).degrees == (T.degrees[0] - 1, T.degrees[1])
    True
    """

    def __init__(
        self,
        core: Array,
        factors: Sequence[Array],
        domain: Any,
        *,
        error_estimate: float = math.nan,
        error_norm: str = "max",
    ) -> None:
        check_choice("error_norm", error_norm, NORMS)
        parts = checked_parts(core, factors, domain)
        dtype = parts.core.dtype
        with silent():
            parts = orthonormal(parts.widened()).cast(dtype)
        self._hold(parts)
        self.error_estimate = float(error_estimate)
        self.error_norm = error_norm

    # ------------------------------------------------------------------------------ extremes

    def minimum(self) -> tuple[float, Array]:
        """Return the smallest value and where it is.

        Returns
        -------
        value : float
            Of a real function.
        point : array (d,)
            In the library and on the device of the core.

        Raises
        ------
        TypeError
            For a complex function.

        Notes
        -----
        A search, not a proof: candidates come from a grid of the whole box, and the best are
        polished.
        """
        return self._extreme(_extremes.minimum)

    def maximum(self) -> tuple[float, Array]:
        """Return the largest value and where it is, as :meth:`minimum` does."""
        return self._extreme(_extremes.maximum)

    def _extreme(self, search: Any) -> tuple[float, Array]:
        value, point = search(self._parts.widened())
        xp = self._parts.xp
        place = {"xp": xp, "device": self._parts.device, "dtype": real_dtype(xp, self.dtype)}
        return float(value), asarray(point, **place)


def assemble(
    parts: Parts,
    *,
    dtype: DType,
    error_estimate: float,
    scale: float,
    n_evals: int = 0,
    status: str = "converged",
    norm: str = "max",
) -> ChebTucker:
    """Return the object from parts in any dtype; the factors are made orthonormal.

    `norm` is the one of `error_estimate`.
    """
    found = ChebTucker.__new__(ChebTucker)
    with silent():
        parts = orthonormal(parts.widened()).cast(dtype)
    found._hold(parts)
    found.error_estimate, found.error_norm = float(error_estimate), norm
    found._scale = None if math.isnan(scale) else float(scale)
    found.n_evals, found.status = int(n_evals), status
    return found
