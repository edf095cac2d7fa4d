"""Sums of Gaussians for the Newton kernel 1/r and for its long-range part erf(alpha r)/r.

Both are integrals of Gaussians, which a quadrature in t turns into a short sum, separable in the
coordinates because ``exp(-t^2 r^2)`` is::

    1/r            = 2/sqrt(pi) int_0^inf   exp(-t^2 r^2) dt
    erf(alpha r)/r = 2/sqrt(pi) int_0^alpha exp(-t^2 r^2) dt

    t, w = newton_quadrature(1e-7, 1/512, 2 * 3**0.5)         # sum_k w_k exp(-t_k^2 r^2)
    (t_long, w_long), (t_short, w_short) = range_split(t, w, alpha=12.0)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

from scipy.optimize import minimize
from scipy.special import erf

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, scale_exponent, silent
from linalgkit._core.validation import check_choice, check_float, check_int, message

_HOST = numpy_namespace()
_ROOT_PI = math.sqrt(math.pi)
_LEAST_EPS = 1e-13
# The search: values of s * r_max, steps of the bisection for h, and terms that are too many.
_SLOPES = (0.5, 0.7, 0.9, 1.1, 1.35, 1.6, 2.0, 2.5, 3.0)
_BISECTIONS = 12
_MOST_TERMS = 4096
# Least ratio of two distances and least distance for which no node overflows, and decades next to
# either end of the distances where the search looks: between them the error is periodic in log r.
_LEAST_RATIO, _LEAST_DISTANCE, _END_DECADES = 1e-290, 1e-300, 4
# What rounding leaves of an error, in units of the strength of the substitution; more beyond a
# strength, as there it takes more nodes, whose weights are less accurate.
_ROUNDING, _STRONG, _MORE_ROUNDING = 1e-15, 25.0, 16e-15
# Gaussians that are held at a time.
_BLOCK = 2**18
# Strength of the substitution of the erf rule, less log(alpha r_max).
_STRENGTHS = (-1.2, -0.9, -0.6, -0.4, -0.2, 0.1)
_USUAL_STRENGTH = -0.4


@capability(
    "chebyshev.newton_quadrature", libraries=("numpy",), dtypes=("float64",), synchronisations={}
)
def newton_quadrature(
    eps: float, r_min: float, r_max: float, *, kind: str = "sinc", alpha: float | None = None
) -> tuple[Array, Array]:
    """Return the Gaussians whose sum is the Newton kernel, or its long-range part.

    Parameters
    ----------
    eps : float
        Largest error allowed, 1e-13 to 0.1. For "sinc" it is relative to 1/r at every distance,
        for "erf" relative to the largest value ``2 alpha / sqrt(pi)`` of the function.
    r_min, r_max : float
        Distances between which the sum is used. For "erf" the sum holds on [0, r_max], and
        `r_min` may be 0.
    kind : {"sinc", "erf"}, default "sinc"
        "sinc": the trapezoidal rule for 1/r after the substitution ``t = s sinh u``. "erf": Gauss's
        rule for ``erf(alpha r)/r``.
    alpha : float, optional
        Inverse length of the split; needed by "erf" and by nothing else.

    Returns
    -------
    t : host array (M,), float64
        Inverse widths, ascending.
    w : host array (M,), float64
        Positive weights: the sum is ``sum_k w_k exp(-t_k^2 r^2)``.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If `eps` lies outside its limits, the distances are not positive and in order, `alpha` is
        missing, not positive or given where it has no meaning, `r_min` is below 1e-300 or 1e-290
        times `r_max` for "sinc", or more than 4096 terms would be needed.

    Notes
    -----
    Both rules have the fewest terms that a search finds; the error is verified on a fine grid of
    distances. The sinc rule has its nodes at ``t_k = s sinh(k h)`` with weights
    ``2 s h cosh(k h) / sqrt(pi)``, half of that at k = 0: the integrand is even in u, so that there
    is no truncation on the left. Gauss's rule is applied after the substitution
    ``t = alpha sinh(b u) / sinh(b)``, u in [0, 1], whose strength b is searched for too: its terms
    then grow like the logarithm of ``alpha r_max`` instead of its square root.

    The search of the sinc rule looks at 60 distances a decade in the four decades next to either
    end, as between them the error repeats itself; the check at 1000 a decade. Beyond these decades
    its time grows like M times the number of decades, as does that of the erf rule.

    Storage: ``2 M`` numbers; 6 MiB at work, and 8 KiB a decade of ``r_max / r_min`` (of
    ``alpha r_max``).

    References
    ----------
    .. [1] P. Benner, V. Khoromskaia, B. N. Khoromskij, "Range-separated tensor format for
       many-particle modeling", SIAM J. Sci. Comput. 40 (2018), A1034-A1062.
    .. [2] W. Hackbusch, B. N. Khoromskij, "Low-rank Kronecker-product approximation to
       multi-dimensional nonlocal operators", Computing 76 (2006), 177-202.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import newton_quadrature
    >>> t, w = newton_quadrature(1e-7, 1 / 512, 2 * 3**0.5)
    >>> r = np.linspace(1 / 512, 2 * 3**0.5, 1000)
    >>> bool(np.max(np.abs(np.exp(-np.outer(r, t) ** 2) @ w * r - 1)) < 1e-7)
    True
    """
    check_choice("kind", kind, ("sinc", "erf"))
    eps = check_float("eps", eps, _LEAST_EPS, 0.1)
    r_max = check_float("r_max", r_max, 0.0, low_open=True)
    r_min = check_float("r_min", r_min, 0.0, r_max, low_open=kind == "sinc")
    if kind == "sinc":
        if alpha is not None:
            rule = "be None for kind='sinc'"
            raise ValueError(message("alpha", rule, alpha, way_out="Pass kind='erf'."))
        return _sinc(eps, r_min, r_max)
    if alpha is None:
        raise ValueError(message("alpha", "be given for kind='erf'", alpha))
    alpha = check_float("alpha", alpha, 0.0, low_open=True)
    span = alpha * r_max
    if not math.isfinite(span):
        raise ValueError(message("alpha * r_max", "be finite", span))
    u, v = _erf_rule(eps, span)
    return alpha * u, alpha * v


@capability("chebyshev.range_split", libraries=("numpy",), dtypes=("float64",), synchronisations={})
def range_split(
    t: Any, w: Any, *, n_long: int | None = None, alpha: float | None = None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Part a sum of Gaussians into long-range and short-range terms.

    Parameters
    ----------
    t, w : host array (M,)
        Inverse widths and weights, as :func:`newton_quadrature` returns them, in any order.
    n_long : int, optional
        Number of long-range terms, those of smallest t.
    alpha : float, optional
        Terms with ``t <= alpha`` are long-range. Exactly one of `n_long` and `alpha` is needed.

    Returns
    -------
    long, short : tuple of (host array, host array)
        Inverse widths, ascending, and weights of either part.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If both or neither of `n_long` and `alpha` are given, one is out of range, or `t` and `w`
        are not vectors of one length with finite entries.

    Notes
    -----
    A term of width ``1/t`` above a distance is smooth on the scale of that distance; the released
    code of [1]_ keeps the ``ceil(M/2) - 3`` widest. For a split in closed form take
    ``kind="erf"`` of :func:`newton_quadrature`, whose other part is ``erfc(alpha r)/r``.

    Storage: ``2 M`` numbers.

    References
    ----------
    .. [1] P. Benner, B. N. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid
       Chebyshev-Tucker tensor format with applications to multi-particle modelling",
       arXiv:2503.01696.

    Examples
    --------
    >>> from linalgkit.chebyshev import newton_quadrature, range_split
    >>> t, w = newton_quadrature(1e-7, 1 / 512, 2 * 3**0.5)
    >>> (t_long, w_long), (t_short, w_short) = range_split(t, w, alpha=12.0)
    >>> bool(t_long[-1] <= 12.0 < t_short[0])
    True
    """
    t, w = _vector("t", t), _vector("w", w)
    if t.shape != w.shape:
        raise ValueError(message("w", f"have the length {t.shape[0]} of t", w.shape))
    if (n_long is None) == (alpha is None):
        given = "both" if alpha is not None else "neither"
        raise ValueError(f"exactly one of n_long and alpha must be given, got {given}.")
    order = _HOST.argsort(t, stable=True)
    t, w = t[order], w[order]
    if alpha is not None:
        n_long = int((t <= check_float("alpha", alpha, 0.0)).sum())
    count = check_int("n_long", n_long, 0, int(t.shape[0]), f"for {t.shape[0]} terms")
    return (t[:count], w[:count]), (t[count:], w[count:])


def _vector(name: str, x: Any) -> Array:
    """Return a finite float64 vector on the host."""
    try:
        host = _HOST.asarray(x)
        host = host.astype(
            _HOST.float64, casting="same_kind" if host.dtype.kind == "c" else "unsafe"
        )
    except (TypeError, ValueError):
        raise TypeError(message(name, "be a vector of real numbers", x)) from None
    if host.ndim != 1 or not bool(_HOST.isfinite(host).all()):
        raise ValueError(message(name, "be a vector of finite numbers", x))
    return host


# ------------------------------------------------------------------------------- the sinc rule


def _sinc(eps: float, r_min: float, r_max: float) -> tuple[Array, Array]:
    """Return the rule between two distances: that of [r_min / r_max, 1], scaled."""
    exponent = scale_exponent(r_max)
    unit = math.ldexp(r_max, -exponent)
    ratio = r_min / r_max
    if r_min < _LEAST_DISTANCE or ratio < _LEAST_RATIO:
        rule = f"be at least {_LEAST_DISTANCE:g} and {_LEAST_RATIO:g} r_max"
        raise ValueError(message("r_min", rule, r_min))
    t, w = _sinc_rule(eps, ratio)
    return ldexp(t / unit, -exponent, _HOST), ldexp(w / unit, -exponent, _HOST)


@functools.lru_cache(maxsize=16)
def _sinc_rule(eps: float, ratio: float) -> tuple[Array, Array]:
    """Return the shortest rule for 1/r on [ratio, 1] that the search finds."""
    r = _searched(ratio)
    found = [_longest_step(s, eps, r) for s in _SLOPES]
    count, s, h = min((one for one in found if one is not None), default=(0, 0.0, 0.0))
    if count == 0:
        raise ValueError(
            f"r_min must be larger for eps={eps}: more than {_MOST_TERMS} terms would be needed "
            f"for r_min / r_max = {ratio}."
        )
    fine = _HOST.geomspace(ratio, 1.0, 4000 + round(1000 * math.log10(1 / ratio)))
    count, s, h = _fewer_terms(count, s, h, eps, r)
    rule = _sinc_terms(s, h, count)
    while _relative_error(rule, fine) > eps:  # between the points of the search
        h *= 1 - 1e-3
        count = math.ceil(_last(eps, ratio, s) / h) + 1
        rule = _shortest(_sinc_terms(s, h, count), eps, fine) or _sinc_terms(s, h, count)
    return rule


def _searched(ratio: float) -> Array:
    """Return the distances of the search: in every decade, but for those in the middle of many."""
    decades = math.log10(1 / ratio)
    if decades <= 2 * _END_DECADES:
        return _HOST.geomspace(ratio, 1.0, 200 + round(60 * decades))
    span = 10.0**_END_DECADES
    ends = [_HOST.geomspace(ratio, ratio * span, 580), _HOST.geomspace(1 / span, 1.0, 580)]
    return _HOST.concat(ends)


def _last(eps: float, ratio: float, s: float) -> float:
    """Return u beyond which the Gaussians do not reach the smallest distance."""
    return math.asinh((1.0 + math.sqrt(math.log(1 / eps))) / (ratio * s))


def _sinc_terms(s: float, h: float, count: int) -> tuple[Array, Array]:
    """Return nodes and weights of the trapezoidal rule."""
    u = h * _HOST.arange(count)
    w = (2 * s * h / _ROOT_PI) * _HOST.cosh(u)
    w[0] *= 0.5
    return s * _HOST.sinh(u), w


def _relative_error(rule: tuple[Array, Array], r: Array) -> float:
    """Return the largest relative error of a rule for 1/r at distances."""
    return max(
        float(_HOST.max(_HOST.abs(values @ rule[1] * part - 1)))
        for values, part in _gaussians(rule[0], r)
    )


def _gaussians(t: Array, r: Array) -> Iterator[tuple[Array, Array]]:
    """Yield ``exp(-t^2 r^2)``, some distances at a time, and these distances."""
    step = max(1, _BLOCK // t.shape[0])
    for start in range(0, r.shape[0], step):
        part = r[start : start + step]
        with silent():
            values = _HOST.multiply.outer(part, t)
            _HOST.multiply(values, -values, out=values)
            _HOST.exp(values, out=values)
        yield values, part


def _shortest(rule: tuple[Array, Array], eps: float, r: Array) -> tuple[Array, Array] | None:
    """Return the first terms of a rule that are enough, or None."""
    t, w = rule
    worst = _HOST.zeros(t.shape[0])
    for values, part in _gaussians(t, r):
        values *= w
        _HOST.cumsum(values, axis=1, out=values)
        values *= part[:, None]
        values -= 1
        worst = _HOST.maximum(worst, _HOST.max(_HOST.abs(values), axis=0))
    enough = _HOST.nonzero(worst <= eps)[0]
    return (t[: enough[0] + 1], w[: enough[0] + 1]) if enough.shape[0] else None


def _longest_step(s: float, eps: float, r: Array) -> tuple[int, float, float] | None:
    """Return (terms, s, h) for the longest step of a slope that is accurate enough."""
    last = _last(eps, float(r[0]), s)

    def rule_of(h: float) -> tuple[Array, Array] | None:
        return _shortest(_sinc_terms(s, h, math.ceil(last / h) + 1), eps, r)

    low, high, best = max(last / _MOST_TERMS, 1e-2), 2.0, None
    if rule_of(low) is None:
        return None
    for _ in range(_BISECTIONS):
        h = 0.5 * (low + high)
        rule = rule_of(h)
        if rule is None:
            high = h
        else:
            low, best = h, (int(rule[0].shape[0]), s, h)
    return best


def _fewer_terms(count: int, s: float, h: float, eps: float, r: Array) -> tuple[int, float, float]:
    """Return a rule of fewer terms, if slope and step can be tuned to one."""
    simplex = _HOST.asarray([[0.0, 0.0], [0.15, 0.0], [0.0, 0.02]])
    while count > 2:
        start = _HOST.asarray([math.log(s), math.log(h * (1 + 0.5 / count))])
        options: Any = {"maxfev": 120, "initial_simplex": start + simplex}
        found = minimize(
            _log_error, start, args=(count - 1, r), method="Nelder-Mead", options=options
        )
        if found.fun > math.log(0.995 * eps):
            break
        count, s, h = count - 1, math.exp(found.x[0]), math.exp(found.x[1])
    return count, s, h


def _log_error(x: Array, count: int, r: Array) -> float:
    """Return the logarithm of the error for the logarithms of slope and step."""
    error = _relative_error(_sinc_terms(math.exp(x[0]), math.exp(x[1]), count), r)
    return math.log(max(error, 1e-300))


# -------------------------------------------------------------------------------- the erf rule


@functools.lru_cache(maxsize=32)
def _erf_rule(eps: float, span: float) -> tuple[Array, Array]:
    """Return the shortest rule for ``erf(x)/x`` on [0, span], error relative to the value at 0."""
    strengths = {max(math.log(span) + b, 0.0) if span > 1 else 0.0 for b in _STRENGTHS}
    distances = _distances(0.0, span)
    kernel = _erf_kernel(distances, 1.0)
    target = max(eps, _rounding(min(strengths))) * 2 / _ROOT_PI

    def good(rule: tuple[Array, Array]) -> bool:
        return _absolute_error(rule, distances, kernel) <= target

    rules = [_fewest_nodes(functools.partial(_gauss, 1.0, b), good) for b in sorted(strengths)]
    return min(rules, key=lambda rule: rule[0].shape[0])


def erf_rule(eps: float, r_low: float, r_high: float, alpha: float) -> tuple[Array, Array, float]:
    """Return a rule for ``erf(alpha r)/r`` between two distances, and the value at the lower one.

    The error is relative to that value, and no smaller than rounding allows. Gaussians too narrow
    to reach `r_low` are left out.
    """
    peak = float(_erf_kernel(_HOST.asarray([r_low]), alpha)[0])
    reach = (1.0 + math.sqrt(math.log(1 / eps))) / r_low if r_low > 0 else math.inf
    cut = min(alpha, reach)
    span = cut * r_high
    strength = max(math.log(span) + _USUAL_STRENGTH, 0.0) if span > 1 else 0.0
    distances = _distances(r_low, r_high, 1 / alpha)
    kernel = _erf_kernel(distances, alpha)
    target = max(eps, _rounding(strength)) * peak

    def good(rule: tuple[Array, Array]) -> bool:
        return _absolute_error(rule, distances, kernel) <= target

    t, w = _fewest_nodes(functools.partial(_gauss, cut, strength), good)
    return t, w, peak


def _rounding(strength: float) -> float:
    """Return the error that rounding leaves of a rule, relative to the value at 0."""
    return strength * (_ROUNDING if strength < _STRONG else _MORE_ROUNDING)


def _gauss(cut: float, strength: float, n: int) -> tuple[Array, Array]:
    """Return Gauss's rule for ``2/sqrt(pi) int_0^cut`` after ``t = cut sinh(b u) / sinh(b)``."""
    x, w = _legendre(n)
    u, w = 0.5 * (x + 1), w * (cut / _ROOT_PI)
    if strength == 0:
        return cut * u, w
    slope = strength * _HOST.cosh(strength * u) / math.sinh(strength)
    return cut * _HOST.sinh(strength * u) / math.sinh(strength), w * slope


@functools.lru_cache(maxsize=256)
def _legendre(n: int) -> tuple[Array, Array]:
    """Return nodes and weights of Gauss's rule on [-1, 1]."""
    x, w = _HOST.polynomial.legendre.leggauss(n)
    return x, w


def _fewest_nodes(
    rule_of: Callable[[int], tuple[Array, Array]], good: Callable[[tuple[Array, Array]], bool]
) -> tuple[Array, Array]:
    """Return the shortest good rule, by doubling and bisection."""
    low, high = 0, 8
    while not good(rule_of(high)):
        low, high = high, 2 * high
        if high > _MOST_TERMS:
            raise ValueError(
                f"alpha and r_max must be smaller for this eps: more than {_MOST_TERMS} terms "
                "would be needed."
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(rule_of(middle)) else (middle, high)
    return rule_of(high)


def _distances(low: float, high: float, scale: float = 1.0) -> Array:
    """Return distances of a check: dense near 0 on the kernel's scale, and in every decade."""
    near = min(high, low + 40 * scale)
    start = max(low, min(1e-3 * scale, 1e-3 * high))
    every_decade = _HOST.geomspace(start, high, 700 + round(100 * math.log10(high / start)))
    return _HOST.concat([_HOST.linspace(low, near, 1200), every_decade])


def _erf_kernel(r: Array, alpha: float) -> Array:
    """Return ``erf(alpha r)/r``, its limit at 0."""
    safe = _HOST.where(r > 0, r, 1.0)
    return _HOST.where(r > 0, erf(alpha * safe) / safe, 2 * alpha / _ROOT_PI)


def _absolute_error(rule: tuple[Array, Array], r: Array, kernel: Array) -> float:
    """Return the largest error of a rule at distances."""
    t, w = rule
    sums = _HOST.concat([values @ w for values, _ in _gaussians(t, r)])
    return float(_HOST.max(_HOST.abs(sums - kernel)))
