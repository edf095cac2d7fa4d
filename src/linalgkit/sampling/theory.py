"""Constants of optimal weighted least squares: sizes, probabilities and bounds from theory.

For `n` independent points of the optimal law (weights ``w = m / k``, Gram matrix ``G``) a matrix
Chernoff bound says [1]_

    P(lambda_min(G) < 1 - delta) <= m exp(-c n / m),     c = delta + (1 - delta) log(1 - delta)
    P(||G - I||_2 > delta) <= 2 m exp(-c' n / m),        c' = (1 + delta) log(1 + delta) - delta.

Repeated determinantal point processes need far fewer points than that says. What a design is
worth, its own eigenvalues tell (``Design.lmin``, ``Design.lmax``).

References
----------
.. [1] A. Cohen, G. Migliorati, "Optimal weighted least-squares methods", SMAI J. Comput. Math. 3
   (2017).
"""

from __future__ import annotations

import math

from scipy import special

from linalgkit._core.validation import check_choice, check_float, check_int

__all__ = [
    "bss_bound",
    "chernoff_constant",
    "chernoff_failure",
    "expected_proposals",
    "iid_size",
    "volume_inverse",
]

KINDS = ("norm", "lmin")
_EULER = 0.57721566490153286061


def chernoff_constant(delta: float, kind: str = "norm") -> float:
    """Return the rate of the matrix Chernoff bound.

    Parameters
    ----------
    delta : float
        Distance allowed, in (0, 1).
    kind : {"norm", "lmin"}, default "norm"
        Both ends of the spectrum, ``c'``, or the lower one alone, ``c``.

    Returns
    -------
    float
        ``(1 + delta) log(1 + delta) - delta``, or ``delta + (1 - delta) log(1 - delta)``.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range, or `kind` unknown.

    Examples
    --------
    >>> round(chernoff_constant(0.9), 4), round(chernoff_constant(0.9, "lmin"), 4)
    (0.3195, 0.6697)
    """
    delta = check_float("delta", delta, 0, 1, low_open=True, high_open=True)
    check_choice("kind", kind, KINDS)
    if delta < 1e-4:  # the first terms of the series, where the difference has no digits
        return delta**2 / 2 * (1 + delta / 3 * (1 if kind == "lmin" else -1))
    if kind == "lmin":
        return delta + (1 - delta) * math.log1p(-delta)
    return (1 + delta) * math.log1p(delta) - delta


def chernoff_failure(
    m: int, n: int, delta: float, kind: str = "norm", *, mixture: float = 1.0
) -> float:
    """Bound the probability that independent optimal points miss a condition.

    Parameters
    ----------
    m, n : int
        Dimension and points.
    delta : float
        Distance allowed, in (0, 1).
    kind : {"norm", "lmin"}, default "norm"
        ``||G - I||_2 <= delta``, or ``lambda_min(G) >= 1 - delta``.
    mixture : float, default 1.0
        Share of the optimal law in ``mixture k / m + (1 - mixture)``: rows are longer by its
        reciprocal.

    Returns
    -------
    float
        The bound, at most 1 (where it says nothing).

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range, or `kind` unknown.

    Examples
    --------
    >>> chernoff_failure(11, 266, 0.9) <= 0.01 < chernoff_failure(11, 264, 0.9)
    True
    """
    m, n = check_int("m", m, 1), check_int("n", n, 1)
    mixture = check_float("mixture", mixture, 0, 1)
    factor = m if kind == "lmin" else 2 * m
    return min(1.0, factor * math.exp(-chernoff_constant(delta, kind) * mixture * n / m))


def iid_size(m: int, delta: float, eta: float, kind: str = "norm", *, boost: int = 1) -> int:
    """Return how many independent optimal points theory asks for.

    Parameters
    ----------
    m : int
        Dimension.
    delta, eta : float
        Distance allowed, at least 1e-100, and the probability of missing it, both in (0, 1).
    kind : {"norm", "lmin"}, default "norm"
        ``||G - I||_2 <= delta``, or ``lambda_min(G) >= 1 - delta``.
    boost : int, default 1
        Designs of which the best is taken: each may fail with probability ``eta^(1 / boost)``.

    Returns
    -------
    int
        ``ceil(m log(2 m / eta^(1 / boost)) / c')``; with "lmin" ``m`` and ``c`` instead of
        ``2 m`` and ``c'``. At least `m`.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range, or `kind` unknown.

    Examples
    --------
    >>> round(iid_size(11, 0.9, 0.01) / 11, 1), round(iid_size(45, 0.9, 0.01) / 45, 1)
    (24.1, 28.5)
    """
    m, boost = check_int("m", m, 1), check_int("boost", boost, 1)
    eta = check_float("eta", eta, 0, 1, low_open=True, high_open=True)
    delta = check_float("delta", delta, 1e-100)
    constant = chernoff_constant(delta, kind)
    factor = m if kind == "lmin" else 2 * m
    logarithm = math.log(factor) - math.log(eta) / boost
    return max(m, math.ceil(m * logarithm / constant))


def expected_proposals(m: int) -> float:
    """Return how many proposals a sample of a projection process takes by rejection.

    Parameters
    ----------
    m : int
        Points of the sample.

    Returns
    -------
    float
        ``m H_m = m (1 + 1/2 + ... + 1/m)``: with `t` points found, a proposal of the Christoffel
        law is kept with probability ``(m - t) / m``.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range.

    Examples
    --------
    >>> round(expected_proposals(15), 1)
    49.8
    """
    m = check_int("m", m, 0)
    # H_m = digamma(m + 1) + gamma
    return m * (float(special.digamma(m + 1)) + _EULER)


def volume_inverse(m: int, n: int) -> float:
    """Return the factor of the expected inverse Gram matrix of volume-rescaled points.

    Parameters
    ----------
    m, n : int
        Dimension and points.

    Returns
    -------
    float
        ``n / (n - m + 1)``: ``E[G^-1]`` is at most that times the identity, with equality where
        sets of deficient rank have probability zero.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range.

    Examples
    --------
    >>> volume_inverse(15, 30)
    1.875
    """
    m = check_int("m", m, 1)
    n = check_int("n", n, m)
    return n / (n - m + 1)


def bss_bound(b: float) -> float:
    """Return the condition number that barrier potentials guarantee.

    Parameters
    ----------
    b : float
        Points per function, greater than 1.

    Returns
    -------
    float
        ``((sqrt b + 1) / (sqrt b - 1))^2``.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range.

    Examples
    --------
    >>> round(bss_bound(4.0), 12)
    9.0
    """
    b = check_float("b", b, 1, low_open=True)
    root = math.sqrt(b)
    return ((root + 1) / (root - 1)) ** 2
