"""What is known about the error of a weighted least-squares fit before any value is seen."""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import array_namespace, eps, widest_float
from linalgkit._core.array import device as device_of
from linalgkit.sampling.theory import chernoff_failure

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class ErrorBound:
    """A factor to the best possible error, and on what it rests.

    The approximated function is ``f``, its best approximation in ``L2(mu)`` has the error ``e``,
    and ``f^`` is the fit. For a matrix, ``mu`` is the uniform law of its rows.

    Attributes
    ----------
    factor : float
        ``||f - f^||^2 <= factor ||e||^2`` in ``L2(mu)``, in expectation over the design;
        infinite where nothing of this kind is known.
    rests_on : {"expectation", "conditional", "almost sure"}
        ``"expectation"`` over all designs of this kind; ``"conditional"`` over those that fulfil
        the condition; ``"almost sure"`` where only `sup_factor` says something.
    sup_factor : float
        ``||f - f^|| <= sup_factor inf_v ||f - v||_inf`` for this very design, whatever `f`;
        infinite if the smallest eigenvalue of its Gram matrix is zero to rounding, or the rank of
        the fit is deficient.
    acceptance : float
        Lower bound on the probability that a design fulfils its condition; 1 without one.
    description : str
        All this in words.

    Notes
    -----
    Let the design have `n` points and weights `w`, Gram matrix ``G`` in an orthonormal basis of
    dimension `m`, ``||g||_n^2 = (1/n) sum w_i |g(x_i)|^2``, share `a` of the optimal law
    (`mixture`; ``w = 1 / (a k / m + 1 - a)``, so that ``w k <= m / a``), `M` designs of which the
    best is kept (`boost`), and ``z = (1/n) sum w_i conj(phi(x_i)) e(x_i)``.

    *Almost sure.* The fit projects orthogonally in ``||.||_n``, so for every `v`
    ``||f^ - v||^2 <= ||f - v||_n^2 / lambda_min(G) <= mean(w) / lambda_min(G) ||f - v||_inf^2``:
    ``sup_factor = 1 + sqrt(mean(w) / lambda_min(G))``.

    *Expectation.* ``n = m`` points of one determinantal process (``"volume"`` or ``"rdpp"``),
    neither conditioned nor chosen: ``E ||f - f^||^2 <= (m + 1) ||e||^2``, with equality where
    points that do not determine the coefficients have measure zero (no equal or parallel rows).

    *Conditional* on ``S = {lambda_min(G) >= 1 - delta}`` (which ``||G - I|| <= delta`` implies).
    From ``||f - f^||^2 <= ||e||^2 + ||e||_n^2 / lambda_min(G)``, and as the designs compared
    together have at most `M` times the mean of one:

        ``factor = 1 + M c / ((1 - delta) P(S))``,   ``E ||e||_n^2 = c ||e||^2``

    with ``c = 1`` for ``"iid"`` and ``"rdpp"``, ``c <= (m/n)/a + (n-m)/n`` for ``"volume"``. From
    ``||f - f^||^2 = ||e||^2 + ||G^-1 z||^2``, for ``M = 1`` and no thinning,

        ``factor = 1 + (m/n) / (a (1 - delta)^2 P(S))``,

    for ``"iid"`` and ``"rdpp"`` (whose `a` is rounded to whole points), and for ``"volume"`` where
    ``a = 1``: the mean of `z` is zero, and points that repel each other have a smaller variance
    than independent ones, so that ``E ||z||^2 <= m / (a n) ||e||^2``. The smaller of the two is
    taken. Greedy thinning keeps `k >= m` of `n` points and the condition, so that
    ``||e||_k^2 <= (n/m) ||e||_n^2``: a factor ``n/m`` before `c`. New weights (``"bss"``) are not
    covered.

    ``P(S)`` is bounded below by the matrix Chernoff bound for ``"iid"``, or by what the number of
    tries `T` tells with 95 % confidence, ``1 - 0.95^(1/T)``: smaller probabilities would have made
    a success within `T` tries an event of less than 5 %, so that in less than 5 % of all designs
    asked for a wrong limit is reported. The larger one is taken.

    Storage: a few numbers.

    References
    ----------
    .. [1] A. Cohen, G. Migliorati, "Optimal weighted least-squares methods", SMAI J. Comput. Math.
       3 (2017).
    .. [2] A. Nouy, B. Michel, "Weighted least-squares approximation with determinantal point
       processes and generalized volume sampling", arXiv:2312.14057.
    """

    factor: float
    rests_on: str
    sup_factor: float
    acceptance: float
    description: str


def error_bound(design: Any, *, is_determined: bool = True) -> ErrorBound:
    """Return what is known of a fit on a design; see :class:`ErrorBound`."""
    if not is_determined:
        text = "The points do not determine the coefficients: nothing bounds the error."
        return ErrorBound(math.inf, "almost sure", math.inf, _acceptance_or_one(design), text)
    sup_factor = _sup_factor(design)
    sure = (
        f"For this design the L2 error is at most {_up(sup_factor)} times the smallest error in "
        "the maximum norm."
    )
    if not design.exact:
        sure += " The draws were not exact: statements hold for the law that was drawn from."
    if _is_single_process(design):
        factor = design.dim + 1.0
        text = f"The expected squared L2 error is at most {factor:g} times the smallest one."
        return ErrorBound(factor, "expectation", sup_factor, 1.0, f"{text} {sure}")
    if not _is_covered(design):
        text = "No bound in expectation is known for this kind of design without a condition."
        if design.subsample == "bss":
            text = "No bound in expectation is known for designs with new weights."
        return ErrorBound(math.inf, "almost sure", sup_factor, 1.0, f"{text} {sure}")
    acceptance, source = _acceptance(design)
    factor = _conditional_factor(design, acceptance)
    text = (
        f"Over designs with {_in_words(*design.condition)}, the expected squared "
        f"L2 error is at most {_up(factor)} times the smallest one; at least {_down(acceptance)} "
        f"of all designs fulfil it, {source}."
    )
    both = f"{sure} {text}" if math.isfinite(sup_factor) else f"{text} {sure}"  # the firm one first
    return ErrorBound(factor, "conditional", sup_factor, acceptance, both)


def _up(value: float) -> str:
    """Return a number rounded up to four digits."""
    return _rounded(value, 4, decimal.ROUND_CEILING)


def _down(value: float) -> str:
    """Return a number rounded down to three digits."""
    return _rounded(value, 3, decimal.ROUND_FLOOR)


def _rounded(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value):
        return "inf"
    number = decimal.Context(prec=digits, rounding=rounding).create_decimal_from_float(value)
    return f"{float(number):.{digits}g}"


def _acceptance_or_one(design: Any) -> float:
    return 1.0 if design.condition is None else _acceptance(design)[0]


def _in_words(criterion: str, delta: float) -> str:
    """Return a condition as an inequality."""
    return (
        f"lmin >= {_down(round(1 - delta, 12))}"
        if criterion == "lmin"
        else f"||G - I|| <= {_up(delta)}"
    )


def _sup_factor(design: Any) -> float:
    """Return ``1 + sqrt(mean(w) / lmin)``."""
    xp = array_namespace(design.weights)
    roundoff = eps(xp, design.gram.dtype)
    if not design.lmin > 10 * design.dim * roundoff * design.lmax:
        return math.inf
    wide = xp.astype(design.weights, widest_float(xp, device_of(design.weights)), copy=False)
    return 1 + math.sqrt(float(xp.mean(wide)) / design.lmin)


def _is_single_process(design: Any) -> bool:
    """Tell whether the points are one determinantal process as it was drawn."""
    is_plain = design.condition is None and design.boost == 1 and design.subsample is None
    is_one = design.method == "volume" or (design.method == "rdpp" and _share(design) == 1)
    return bool(is_plain and is_one and len(design) == design.dim)


def _share(design: Any) -> float:
    """Return the share of the optimal law: whole points of repeated processes."""
    n = design.n_drawn
    if design.method == "rdpp":
        return float((n - round((1 - design.mixture) * n)) / n)
    return float(design.mixture)


def _is_covered(design: Any) -> bool:
    """Tell whether a conditional bound holds for designs of this kind."""
    if design.condition is None or design.subsample == "bss":
        return False
    # Of a thinned design, what is left must fulfil the condition itself.
    return bool(design.lmin >= (1 - design.condition[1]) * (1 - 1e-6))


def _acceptance(design: Any) -> tuple[float, str]:
    """Return a lower bound on the probability of the condition, and where it comes from."""
    confident = 1 - _CONFIDENCE ** (1 / design.n_tries)
    if design.method == "iid":
        # Of several designs the best one by the measure of the condition was kept.
        kind, delta = design.condition
        failure = chernoff_failure(
            design.dim, design.n_drawn, float(delta), kind, mixture=design.mixture
        )
        proven = 1 - failure
        if proven >= confident:
            return proven, "by the matrix Chernoff bound"
    tries = "try" if design.n_tries == 1 else "tries"
    return confident, f"with 95 % confidence after {design.n_tries} {tries}"


def _conditional_factor(design: Any, acceptance: float) -> float:
    """Return the smaller of the two factors."""
    m, n, a, rest = design.dim, design.n_drawn, _share(design), 1 - float(design.condition[1])
    is_volume, is_thinned = design.method == "volume", design.subsample is not None
    mean = (m / n) / a + (n - m) / n if is_volume else 1.0
    first = 1 + design.boost * mean * (n / m if is_thinned else 1.0) / (rest * acceptance)
    if design.boost > 1 or is_thinned or (is_volume and a < 1) or a == 0:
        return float(first)
    return float(min(first, 1 + (m / n) / (a * rest**2 * acceptance)))
