"""The constants under which theorems speak about streams of rows in random order.

For rows ``a_1 .. a_n`` of length `d` in uniformly random order with leading eigenvalues
``l_1 >= l_2`` of ``S = A^H A`` and ``R = l_1 / l_2``::

    T = n_segments(d, accuracy, ratio)            # steps of the power method
    rho = heavy_threshold(l_1, d, T, accuracy)    # rows above it must be held verbatim

``StreamingEigh(method="block-power", history=False, n_rows=n)`` uses these segments: the
method of Kacham and Woodruff, NeurIPS 2024, arXiv:2412.11963. The constants here are derived
from the matrix Bernstein inequality; the paper states polylogarithmic factors instead.
"""

from __future__ import annotations

import math

from linalgkit._core.validation import check_float, check_int

ACCURACY = 0.25
RATIO = 2.0
FAILURE = 0.01


def n_segments(d: int, accuracy: float = ACCURACY, ratio: float = RATIO) -> int:
    """Return the number of power steps that bring a random start to the given accuracy.

    Parameters
    ----------
    d : int
        Number of columns.
    accuracy : float
        Wanted sine of the angle, up to a constant.
    ratio : float
        ``l_1 / l_2``, above 1.

    Returns
    -------
    int
        ``ceil(ln(sqrt(d) / accuracy) / ln(ratio)) + 1``, at least 1.

    Raises
    ------
    ValueError
        If `ratio` is not above 1, or `accuracy` not positive.

    Notes
    -----
    A random start has ``tan t ~ sqrt(d)``, and each exact step divides it by `ratio`.

    Examples
    --------
    >>> n_segments(1000)
    8
    """
    check_int("d", d, 1)
    check_float("accuracy", accuracy, 0.0, low_open=True)
    check_float("ratio", ratio, 1.0, low_open=True)
    return max(1, math.ceil(math.log(math.sqrt(d) / accuracy) / math.log(ratio)) + 1)


def heavy_threshold(
    eigenvalue: float,
    d: int,
    segments: int = 1,
    accuracy: float = ACCURACY,
    failure: float = FAILURE,
) -> float:
    """Return the squared norm above which a row has to be held verbatim.

    With all squared row norms at most ``rho``, the matrix Bernstein inequality (valid for
    sampling without replacement) gives for each of `T` segments
    ``P(||T A_j^H A_j - S|| > eps l_1) <= 2 d exp(-eps^2 l_1 / (2 T rho (1 + eps / 3)))``; this
    is the largest ``rho`` for which all of them hold with probability ``1 - failure``.

    Parameters
    ----------
    eigenvalue : float
        ``l_1``.
    d : int
        Number of columns.
    segments : int
        `T`.
    accuracy : float
        ``eps``, relative to ``l_1``.
    failure : float
        Probability with which a segment may miss.

    Returns
    -------
    float
        ``eps^2 l_1 / (2 T (1 + eps / 3) ln(2 d T / failure))``.

    Examples
    --------
    >>> round(heavy_threshold(1.0, 1000, 8) ** -1)
    3962
    """
    logarithm = math.log(2.0 * d * segments / failure)
    return accuracy**2 * eigenvalue / (2.0 * segments * (1.0 + accuracy / 3.0) * logarithm)


def angle_step(tangent: float, ratio: float, accuracy: float) -> float:
    """Bound on ``tan`` of the angle to the leading eigenvector after one segment.

    Parameters
    ----------
    tangent : float
        ``tan t`` before the step.
    ratio : float
        ``l_1 / l_2``.
    accuracy : float
        ``eps`` with ``||T A_j^H A_j - S|| <= eps l_1``.

    Returns
    -------
    float
        ``(tan t / R + eps sec t) / (1 - eps sec t)``, infinite where ``eps sec t >= 1``.

    Examples
    --------
    >>> round(angle_step(1.0, 4.0, 0.01), 3)
    0.268
    """
    secant = math.hypot(1.0, tangent)
    if accuracy * secant >= 1.0:
        return math.inf
    return (tangent / ratio + accuracy * secant) / (1.0 - accuracy * secant)
