"""What an approximation from below, and a sample, say about eigenvectors.

Two facts serve several methods. If ``B <= S <= B + D I`` in the positive semi-definite order
(Frequent Directions, Nystrom), eigenvalues lie in ``[b_i, b_i + D]`` and the angle between
dominant subspaces is bounded. And if the rows are a sample, the dominant subspace of ``A^H A``
differs from the population's by an angle that perturbation theory gives to first order::

    sin2_lost = enclosure_sin2(values_of_B, k, D)     # a bound
    sin2_sample = sampling_sin2(values, k, n_rows)    # an estimate

"""

from __future__ import annotations

import math
from collections.abc import Sequence

_ROUNDOFF = 1e-13


def enclosure_sin2(values: Sequence[float], k: int, excess: float) -> float:
    """Bound ``sin^2`` of the largest angle between the top-k subspaces of `B` and `S`.

    Parameters
    ----------
    values : sequence of float
        Eigenvalues of `B`, descending; those not listed are 0.
    k : int
        Dimension of the subspace.
    excess : float
        `D`, with ``0 <= S - B <= D I``.

    Returns
    -------
    float
        In [0, 1]; 1 where nothing can be said.

    Notes
    -----
    ``S - D/2 I`` has the eigenvectors of `S` and differs from `B` by at most ``D/2``, so that
    Davis and Kahan's sin 2-theta theorem gives ``sin 2 theta <= D / (b_k - b_{k+1})``. While
    the right side is below 1 the angle cannot have passed 45 degrees, as it moves continuously
    with the perturbation. Sharp: a 2 x 2 matrix attains it.
    """
    distance = _value(values, k - 1) - _value(values, k)
    if excess >= distance:
        return 1.0
    if excess <= 0.0:
        return 0.0
    ratio = excess / distance
    # (1 - cos 2 theta) / 2, without cancellation
    return 0.5 * ratio * ratio / (1.0 + math.sqrt(1.0 - ratio * ratio))


def sampling_terms(
    values: Sequence[float], i: int, k: int, n_effective: float, rest: float = 0.0
) -> tuple[float, float]:
    """Return the expected ``sin^2`` by which vector `i` leaves the top-k space, and its spread.

    Parameters
    ----------
    values : sequence of float
        Estimates of the population's eigenvalues in any unit, descending.
    i, k : int
        Which vector (from 0), and the dimension of the subspace it belongs to.
    n_effective : float
        Number of independent rows.
    rest : float, default 0
        Sum of the eigenvalues that are not listed; none exceeds the last one listed.

    Returns
    -------
    sin2 : float
        ``sum_{j > k} l_i l_j / (n (l_i - l_j)^2)``, not clipped; infinite for a multiple
        eigenvalue.
    freedom : float
        Effective number of independent directions in that sum, at least 1.
    """
    own = values[i]
    total = squares = 0.0
    for other in values[k:]:
        if other <= 0.0:
            break
        difference = own - other
        if difference <= _ROUNDOFF * own:
            return math.inf, 1.0
        term = (own / difference) * (other / difference)  # no square that could vanish
        total += term
        squares += term * term
    if rest > 0.0:
        difference = own - _value(values, len(values) - 1)
        if difference <= _ROUNDOFF * own:
            return math.inf, 1.0
        total += (own / difference) * (rest / difference)
    freedom = total * total / squares if squares > 0.0 else 1.0
    return (total / n_effective if n_effective > 0.0 else math.inf), max(1.0, freedom)


def sampling_sin2(values: Sequence[float], k: int, n_effective: float, rest: float = 0.0) -> float:
    """Estimate ``sin^2`` of the largest angle from a sample's top-k subspace to the population's.

    First-order perturbation theory for rows whose fourth moments are those of normal ones
    (Anderson, 1963); the largest over the k vectors, clipped at 1. Parameters as in
    :func:`sampling_terms`.
    """
    if not values or values[0] <= 0.0:
        return 1.0
    worst = max(sampling_terms(values, i, k, n_effective, rest)[0] for i in range(k))
    return min(1.0, worst)


def add_angles(first: float, second: float) -> float:
    """Return a bound on ``sin^2`` of the sum of two angles given by their ``sin^2``."""
    total = math.asin(math.sqrt(first)) + math.asin(math.sqrt(second))
    return math.sin(min(total, 0.5 * math.pi)) ** 2


def eigenvalue_ratio(values: Sequence[float], k: int, d: int) -> float:
    """Return ``l_k / l_{k+1}``: infinite where nothing lies beyond, NaN for a zero matrix."""
    upper = _value(values, k - 1)
    if upper <= 0.0:
        return math.nan
    lower = _value(values, k)
    return math.inf if k >= d or lower <= 0.0 else upper / lower


def _value(values: Sequence[float], i: int) -> float:
    return max(0.0, values[i]) if i < len(values) else 0.0
