"""How many rows a sketch needs, before anything is known of the data but its shape.

For a Gaussian sketch of `m` rows and any `A` and `b`, with ``f = m - d + 1`` and exactly::

    x'_j - x_j       =  ||r|| sqrt([(A^T A)^-1]_jj) N / chi_f
    ||A (x' - x)||   =  ||r|| chi_d / chi_f

with independent numerators and denominators, so that one incomplete beta function tells the
probability of missing a target. For circular complex sketches of complex data every chi has twice
the degrees of freedom.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

from scipy import special

from linalgkit._core.capabilities import capability
from linalgkit._core.validation import AccuracyWarning, check_choice, check_float, check_int
from linalgkit.regression import theory

RULES = ("gaussian", "paper")
NORMS = ("inf", "2")
# Below it the laws of a sketch and of infinitely many rows agree to all digits, unless `d` is
# beyond the largest, and numbers of rows may be beyond the range of floating-point numbers.
_TINY_EPS = 1e-50
_LARGEST = 2**53


def miss_probability(
    d: int,
    m: int,
    eps: float,
    *,
    norm: str = "inf",
    is_complex: bool = False,
) -> float:
    """Return the probability that one coordinate, or the whole norm, misses its target.

    Parameters
    ----------
    d, m : int
        Unknowns and rows of a Gaussian sketch, ``m >= d``.
    eps : float
        The target: ``eps / sqrt(d) ||r|| sqrt([(A^H A)^-1]_jj)`` for one coordinate, in modulus,
        or ``eps ||r||`` for ``||A (x' - x)||_2``.
    norm : {"inf", "2"}
        Which of the two.
    is_complex : bool
        Whether data and sketch are complex.

    Returns
    -------
    float
        The exact probability, which falls as `m` grows.
    """
    field = 2 if is_complex else 1
    size, square = (1, eps / d * eps) if norm == "inf" else (d, eps * eps)
    # P(chi_p^2 / chi_f^2 > u) with w = u / (1 + u) is the upper tail of Beta(p/2, f/2) at w.
    share = square / (1.0 + square)
    return float(special.betaincc(field * size / 2, field * (m - d + 1) / 2, share))


def gaussian_size(
    d: int,
    eps: float,
    delta: float,
    *,
    norm: str = "inf",
    n_sides: int = 1,
    is_complex: bool = False,
) -> int:
    """Return the smallest `m` with which a Gaussian sketch meets its target.

    Parameters
    ----------
    d : int
        Unknowns.
    eps, delta : float
        Accuracy, and the probability of missing it.
    norm : {"inf", "2"}
        See :func:`sketch_size`.
    n_sides : int
        Right sides that shall all meet it.
    is_complex : bool
        Whether data and sketch are complex.

    Returns
    -------
    int
        At least `d`; found by bisection, as the probability is monotone. For ``eps < 1e-50`` the
        limit for many rows, right to about a unit in the sixteenth digit.

    Raises
    ------
    ValueError
        If `d` is above ``2**53``, or `delta` over the number of events vanishes.
    """
    tail = _tail(d, delta, n_sides * (d if norm == "inf" else 1))
    if eps < _TINY_EPS:
        return d - 1 + _limit(d, eps, tail, norm, 2 if is_complex else 1)

    def misses(m: int) -> bool:
        return miss_probability(d, m, eps, norm=norm, is_complex=is_complex) > tail

    step = 1
    while misses(d - 1 + step):
        step *= 2
    low, high = d - 1 + step // 2, d - 1 + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if misses(middle) else (low, middle)
    return high


def _tail(d: int, delta: float, events: int) -> float:
    """Return ``delta / events``, or raise where it is no positive number."""
    if d > _LARGEST:
        raise ValueError(f"d must be at most 2**53 to have an exact rule, got {d}.")
    if delta / events == 0:
        raise ValueError(
            f"delta must be so large that its share of {events} events is a positive number, got "
            f"{delta:g}. Allow a larger delta."
        )
    return delta / events


def _limit(d: int, eps: float, tail: float, norm: str, field: int) -> int:
    """Return `f` with ``P(chi_p^2 > f eps^2) = tail``, or with ``eps^2 / d``: a large integer."""
    size, share = (1, d) if norm == "inf" else (d, 1)
    quantile = float(special.gammainccinv(field * size / 2, tail)) * 2 / field
    return math.ceil(share * Fraction(quantile) / Fraction(eps) ** 2)


@capability("regression.sketch_size", synchronisations={})
def sketch_size(
    d: int,
    n: int | None,
    eps: float,
    delta: float,
    *,
    rule: str = "gaussian",
    norm: str | float = "inf",
) -> int:
    """Return how many rows a sketch of `n` equations in `d` unknowns needs.

    The target for ``norm="inf"`` is that of the paper: with probability ``1 - delta`` every
    coordinate of the sketched solution is within ``eps / sqrt(d) ||r||_2 ||A^+||_2`` of the
    least-squares solution, whose residual is `r`. For ``norm="2"`` it is
    ``||A (x' - x)||_2 <= eps ||r||_2``, from which ``||x' - x||_2 <= eps ||r||_2 ||A^+||_2``
    follows.

    Parameters
    ----------
    d : int
        Number of unknowns, at least 1.
    n : int or None
        Number of equations; None where it is not known, with ``rule="gaussian"`` only, which
        does not depend on it.
    eps : float
        Accuracy, in (0, 1).
    delta : float
        Probability of missing the target, in (0, 1).
    rule : {"gaussian", "paper"}
        ``"gaussian"`` is exact for Gaussian sketches: the smallest `m` with
        ``t_{m-d+1, 1-delta/(2d)} <= eps sqrt((m - d + 1) / d)``, and for ``norm="2"`` with
        ``d F_{d, m-d+1, 1-delta} <= eps^2 (m - d + 1)``. Other dense sketches behave alike in
        experiments, without proof. ``"paper"`` is Theorem 1.1 of [1]_ with constant 1, whose
        proof is disputed (:mod:`linalgkit.regression.theory`); it states the ``"inf"`` target
        only.
    norm : {"inf", "2"}
        The target; ``numpy.inf`` and 2 stand for the same.

    Returns
    -------
    int
        Number of rows, possibly more than `n`. Complex data need fewer; solvers given `eps`
        use the law of complex data there.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If `d` or `n` is below 1, `eps` or `delta` is outside (0, 1), or `rule` or `norm` is
        unknown or they do not go together; with ``rule="gaussian"`` also if `d` is above
        ``2**53`` or ``delta / d`` is no positive number.

    Warns
    -----
    AccuracyWarning
        If the number is not below `n`: such a sketch is no smaller than the problem.

    Notes
    -----
    Storage: a few numbers.

    The number must be settled before the sketch is drawn. Intervals taken from a sketch that was
    enlarged until they looked narrow enough are too narrow.

    References
    ----------
    .. [1] Z. Song, M. Ye, J. Yin, L. Zhang, "A Nearly-Optimal Bound for Fast Regression with
       l_inf Guarantee", ICML 2023, arXiv:2302.00248, Theorem 1.1.
    .. [2] D. C. Ahfock, W. J. Astle, S. Richardson, "Statistical properties of sketching
       algorithms", Biometrika 108 (2021), arXiv:1706.03665.

    Examples
    --------
    >>> from linalgkit.regression import sketch_size
    >>> sketch_size(100, 10**6, 0.5, 0.01)
    6162
    >>> sketch_size(100, 10**6, 0.5, 0.01, norm="2")
    661
    """
    d = check_int("d", d, 1)
    n = None if n is None else check_int("n", n, 1)
    eps, delta = check_target(eps, delta)
    check_choice("rule", rule, RULES)
    word = "2" if norm == 2 else "inf" if norm == math.inf else norm
    target: str = check_choice("norm", word, NORMS)
    m = _paper_rows(d, n, eps, delta, target) if rule == "paper" else None
    m = gaussian_size(d, eps, delta, norm=target) if m is None else m
    if n is not None and m >= n:
        warnings.warn(
            f'{m} rows, which rule="{rule}" asks for with d={d}, eps={eps:g} and delta={delta:g}, '
            f"are no fewer than the {n} equations: solve them without a sketch, or allow a "
            "larger eps.",
            AccuracyWarning,
            stacklevel=2,
        )
    return m


def check_target(eps: float, delta: float) -> tuple[float, float]:
    """Return accuracy and failure probability as floats inside (0, 1), or raise."""
    return (
        check_float("eps", eps, 0, 1, low_open=True, high_open=True),
        check_float("delta", delta, 0, 1, low_open=True, high_open=True),
    )


def _paper_rows(d: int, n: int | None, eps: float, delta: float, norm: str) -> int:
    if n is None:
        raise ValueError(
            'n must be given for rule="paper", which depends on it, got None. Use '
            'rule="gaussian", which does not.'
        )
    if norm != "inf":
        raise ValueError(
            f'norm must be "inf" for rule="paper", which states no other target, got {norm!r}. '
            'Use rule="gaussian".'
        )
    return theory.paper_size(d, n, eps, delta)


def default_size(d: int) -> int:
    """Return the rows of a sketch for which neither a size nor an accuracy was given.

    Parameters
    ----------
    d : int
        Number of unknowns.

    Returns
    -------
    int
        ``max(16 d, d + 100)``: the error ``||A (x' - x)||`` is then about a quarter of the
        residual's norm, at most, and quantiles of Student's law are near the normal ones.
    """
    return max(16 * d, d + 100)
