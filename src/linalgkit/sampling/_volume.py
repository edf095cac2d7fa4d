"""Volume sampling of more rows than columns."""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import Array, asarray, index_dtype, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.random import HostArray, as_generator, undone_on_error
from linalgkit._core.validation import check_int
from linalgkit.sampling._finite import finite_space
from linalgkit.sampling._projection import ProjectionDPP, draw_rows

_HOST = numpy_namespace()


# By Cauchy and Binet det(X_S^H X_S) is the sum of |det X_T|^2 over the T in S with p elements, so
# that T from the projection process and any k - p further rows, all sets of them equally likely,
# have the law of S. (Reverse iterative sampling, Derezinski and Warmuth 2018, takes n^2 p.)
@capability("sampling.volume_sample", synchronisations={"call": 6})
def volume_sample(X: Any, k: int, *, rng: object = None) -> Array:
    """Draw `k` rows of a matrix without replacement, ``P(S) ~ det(X_S^H X_S)``.

    Least squares on these rows alone, all weighted alike, is unbiased for the solution on all
    rows, whatever the right side.

    Parameters
    ----------
    X : array (n, p), or ProjectionDPP
        Of full column rank, real or complex, of any scale. The process of a matrix saves the
        set-up that its samples share.
    k : int
        Rows to draw, from `p` to `n`.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sample.

    Returns
    -------
    array (k,) of int64
        Row numbers, ascending, in the library of `X` and on its device.

    Raises
    ------
    TypeError
        If `X` is no matrix or `k` no integer.
    ValueError
        If `k` is below the number of columns or above that of rows, or `X` is not 2-D, empty, holds
        NaN or infinity, or is rank deficient (the message names the numerical rank).

    See Also
    --------
    ProjectionDPP : ``k = p``, many samples of one matrix.
    sample_design : weighted samples, with replacement: better conditioned, and with a smaller
        error for the same number of rows where leverage scores differ much. ``method="volume"``
        is unbiased, too.

    Notes
    -----
    The cost is the set-up of :class:`ProjectionDPP`, its sample, and ``k`` uniform numbers.

    Storage: that of :class:`ProjectionDPP`, and ``8 k`` bytes.

    References
    ----------
    .. [1] M. Derezinski, M. K. Warmuth, "Reverse iterative volume sampling for linear
       regression", JMLR 19 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.vander(np.linspace(-1, 1, 50), 3)
    >>> volume_sample(X, 5, rng=0).shape
    (5,)
    """
    generator = as_generator(rng)
    with undone_on_error(rng):
        space = X._space if isinstance(X, ProjectionDPP) else finite_space(X, rng=generator)
        n = space.n
        k = check_int("k", k, space.dim, n, f"for a matrix of shape {space.rows.shape}")
        first, _ = draw_rows(space, "auto", generator)
    rest = others(first, generator.choice(n - space.dim, size=k - space.dim, replace=False))
    index = _HOST.sort(_HOST.concat([first, rest]))
    return asarray(index, xp=space.xp, device=space.device, dtype=index_dtype(space.xp))


def others(taken: HostArray, places: HostArray) -> HostArray:
    """Return what stands at some places of the list of all numbers that are not taken.

    Parameters
    ----------
    taken : int64 (m,)
        Ascending.
    places : int64 (q,)
        Places, from 0.

    Returns
    -------
    int64 (q,)
        The numbers.
    """
    free_before = taken - _HOST.arange(taken.shape[0])
    found: HostArray = places + _HOST.searchsorted(free_before, places, side="right")
    return found
