"""Constants and rules of the paper on Kronecker-structured sparse Bayesian learning, by name.

He and Joseph [1]_ run expectation maximisation under the prior variances ``gamma_1 kron ... kron
gamma_I``. Their algorithms differ in the step that fits the gamma_i to the posterior second
moments, and in when a hyperparameter is pruned; :func:`published` has what belongs to each::

    kron_sbl(factors, y, noise_var=s2, **theory.published("am"))

Thresholds and fits are those of the caller's columns. Not everything is within reach of
:func:`~linalgkit.bayes.kron_sbl`, where it hangs on the unit of the data: the absolute pruning
level of the channel experiment (`IRS_FLOOR`), the absolute floor of the pattern-coupled fit, and
absolute inner tolerances. There relative quantities take their place, so that "pc" keeps other
slices than the published scripts do.

References
----------
.. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery with
   application to IRS-MIMO channel estimation", IEEE Trans. Signal Process. (2024),
   arXiv:2307.14719, and the scripts that its authors published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from linalgkit._core.array import Array, numpy_namespace, to_numpy
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent
from linalgkit._core.validation import (
    check_bool,
    check_choice,
    check_finite_block,
    check_float,
    check_int,
)

__all__ = [
    "chain_flops",
    "covariance_flops",
    "cycle_flops",
    "inner_tolerance",
    "noise_start",
    "published",
]

_HOST = numpy_namespace()

METHODS = ("am", "svd", "ksbl", "pc")
EXPERIMENTS = ("synthetic", "convergence", "irs")
#: Every hyperparameter starts here, whatever the unit of the data.
START = 1.0
#: Relative change of the hyperparameters at which the iteration stops, and its limit.
TOLERANCE, MAX_ITER = 1e-4, 150
#: Change of the hyperparameters at which the inner iteration of AM-KroSBL stops.
INNER_TOLERANCE = 1e-5
#: Weights of the neighbours in PC-KroSBL, what is added to its variances, and its inner limit.
COUPLINGS, COUPLING_FLOOR, COUPLING_SWEEPS = (0.8, 0.5), 1e-5, 10
#: Where the noise variance starts, over the variance of the data.
NOISE_SHARE = 0.1
#: Absolute pruning level of the channel experiment, in the unit of its data.
IRS_FLOOR = 1e-4

_INNER = {"synthetic": INNER_TOLERANCE, "convergence": 1e-10, "irs": 1e-4}
_ITERATIONS = {"am": 4000, "ksbl": 4000, "svd": 200}
_SYNTHETIC_PRUNE = {"am": 1e-2, "ksbl": 1e-2, "svd": 1e-3}
# Modes of the channel experiment: angles at the surface, at the user, at the base station.
_IRS_PRUNE = {"am": (1e-2, 1e-1, 1e-3), "pc": (1e-2, 1e-1, 1e-2)}
_RUN = {
    "am": EXPERIMENTS,
    "svd": EXPERIMENTS,
    "ksbl": ("synthetic", "convergence"),
    "pc": ("irs",),
}
_IRS_MODES = 3
# The pruning of "svd" in the channel experiment changes at this ratio of signal to noise.
_SWITCH_DB = 25.0
# Eigenvectors of a symmetric matrix of order m take about 9 m^3 (Golub and Van Loan, section 8.3).
_EIGEN = 9


def published(
    method: str,
    *,
    experiment: str | None = None,
    noise_known: bool = True,
    beta: float = 0.8,
    snr_db: float | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments under which ``kron_sbl`` runs an algorithm of the paper.

    Parameters
    ----------
    method : {"am", "svd", "ksbl", "pc"}
        AM-KroSBL (exact maximisation by alternation), SVD-KroSBL (leading singular vectors), KSBL
        (one sweep of the alternation), PC-KroSBL (coupled neighbours).
    experiment : {"synthetic", "convergence", "irs"}, optional
        The paper's experiment, by which the pruning and the limits go: recovery from Gaussian
        factors, curves of convergence, and the channel over a reflecting surface, with three
        modes. "synthetic" by default; "irs" for "pc", which is run nowhere else.
    noise_known : bool, default True
        False halves the pruning levels in "synthetic".
    beta : float, default 0.8
        Weight of a neighbour in "pc", whose first and last modes are coupled; the paper has 0.8
        and 0.5.
    snr_db : float, optional
        Ratio of signal to noise, for "svd" in "irs" alone: the authors do not prune below 25 dB,
        and by 1e-3 from there on. None stands for their figures, which end at 20 dB.

    Returns
    -------
    dict
        `method`, `gamma0`, `tol`, `max_iter` and `prune`, for "pc" `coupling` too. `prune` is a
        share of the largest hyperparameter of a mode, or a tuple of one a mode, or None.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range or unknown, or the paper does not run `method` on `experiment`.

    Notes
    -----
    The levels were set by experiment, and that of "svd" by a ratio of signal to noise that nobody
    knows: compare algorithms under one rule for all. The number of iterations of "ksbl" in
    "convergence" is not known to us; that of "am" is taken. Storage: none.

    Examples
    --------
    >>> published("am")
    {'method': 'am', 'gamma0': 1.0, 'tol': 0.0001, 'max_iter': 150, 'prune': 0.01}
    >>> published("pc", beta=0.5)["coupling"]
    (0.5, None, 0.5)
    """
    check_choice("method", method, METHODS)
    if experiment is None:
        experiment = _RUN[method][0]
    check_choice("experiment", experiment, EXPERIMENTS)
    if experiment not in _RUN[method]:
        raise ValueError(
            f"experiment must be one of {_RUN[method]} for {method!r}, got {experiment!r}: the "
            "paper does not run the one on the other."
        )
    noise_known = check_bool("noise_known", noise_known)
    beta = check_float("beta", beta, 0.0)
    if snr_db is not None:
        snr_db = check_float("snr_db", snr_db)
    curves = experiment == "convergence"
    found = {
        "method": "am" if method == "pc" else method,
        "gamma0": START,
        "tol": 0.0 if curves else TOLERANCE,
        "max_iter": _ITERATIONS[method] if curves else MAX_ITER,
        "prune": _prune(method, experiment, noise_known, snr_db),
    }
    if method == "pc":
        found["coupling"] = (beta, *([None] * (_IRS_MODES - 2)), beta)
    return found


def _prune(
    method: str, experiment: str, noise_known: bool, snr_db: float | None
) -> float | tuple[float, ...] | None:
    """Return the shares below which hyperparameters are pruned."""
    if experiment == "convergence":
        return None
    if experiment == "synthetic":
        return _SYNTHETIC_PRUNE[method] * (1.0 if noise_known else 0.5)
    if method == "svd":
        return 1e-3 if snr_db is not None and snr_db >= _SWITCH_DB else 0.0
    return _IRS_PRUNE[method]


def inner_tolerance(experiment: str = "synthetic") -> float:
    """Return the change at which the inner iteration of AM-KroSBL stops.

    Parameters
    ----------
    experiment : {"synthetic", "convergence", "irs"}, default "synthetic"
        The paper's experiment.

    Returns
    -------
    float
        Of ``gamma_1 kron ... kron gamma_I`` in the 2-norm: absolute in the paper, relative here.

    Raises
    ------
    TypeError
        If `experiment` is no string.
    ValueError
        If it is unknown.

    Examples
    --------
    >>> inner_tolerance(), inner_tolerance("convergence")
    (1e-05, 1e-10)
    """
    return _INNER[check_choice("experiment", experiment, EXPERIMENTS)]


def noise_start(y: Array) -> float:
    """Return where the paper starts to estimate the noise variance.

    Parameters
    ----------
    y : array
        The data, real or complex, of any shape.

    Returns
    -------
    float
        A tenth of their variance.

    Raises
    ------
    TypeError
        If `y` is no array.
    ValueError
        If it is empty, or holds NaN or infinity.

    Notes
    -----
    Storage: a few times `y`, on the host.

    Examples
    --------
    >>> import numpy as np
    >>> round(noise_start(np.asarray([1.0, -1.0, 3.0, 1.0])), 12)
    0.2
    """
    check_finite_block(y, name="y")
    host = to_numpy(y)
    if host.size == 0:
        raise ValueError("y must have an entry, got none.")
    wide = _HOST.complex128 if host.dtype.kind == "c" else _HOST.float64
    host = host.astype(wide)
    exponent = scale_exponent(max_abs(host, _HOST))
    scaled = ldexp(host, -exponent, _HOST)
    return ldexp_float(NOISE_SHARE * float(_HOST.var(scaled)), 2 * exponent)


def chain_flops(sizes: Sequence[int], snapshots: int = 1) -> int:
    """Return the operations of square matrices applied along every mode of the data.

    Parameters
    ----------
    sizes : sequence of int
        Rows M_i of the factors.
    snapshots : int, default 1
        L.

    Returns
    -------
    int
        ``2 L M (M_1 + ... + M_I)`` additions and multiplications, ``M = M_1 ... M_I``; of complex
        numbers where the data are complex, each worth four real ones.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range.

    Examples
    --------
    >>> chain_flops((60, 60, 60))
    77760000
    """
    sizes = _sizes("sizes", sizes)
    snapshots = check_int("snapshots", snapshots, 1)
    return 2 * snapshots * math.prod(sizes) * sum(sizes)


def cycle_flops(sizes: Sequence[int], widths: Sequence[int], snapshots: int = 1) -> int:
    """Return the operations of one update of every mode.

    Parameters
    ----------
    sizes, widths : sequence of int
        Rows M_i and columns N_i of the factors, ``M_i <= N_i``.
    snapshots : int, default 1
        L.

    Returns
    -------
    int
        Two chains, one to rotate the data and one for the Gram matrices of their unfoldings, and
        ``sum_i 6 M_i^2 N_i + 11 M_i^3`` for the eigendecompositions and what depends on them.
        Passes over the data, of ``O(L M)``, are not counted.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range.

    Examples
    --------
    >>> cycle_flops((60, 60, 60), (100, 100, 100)) / chain_flops((60, 60, 60)) < 2.2
    True
    """
    sizes, widths = _both(sizes, widths)
    # Per mode: B B^H, H^H U and K T of 2 m^2 n each; the turn between two bases, 2 m^3.
    small = sum(6 * m * m * n + (_EIGEN + 2) * m**3 for m, n in zip(sizes, widths, strict=True))
    return 2 * chain_flops(sizes, snapshots) + small


def covariance_flops(sizes: Sequence[int], widths: Sequence[int]) -> int:
    """Return the operations of a posterior covariance that is formed, as the authors' scripts do.

    Parameters
    ----------
    sizes, widths : sequence of int
        Rows M_i and columns N_i of the factors.

    Returns
    -------
    int
        ``2 N^2 M``, for the product of an (N, M) and an (M, N) matrix.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If one is out of range.

    Examples
    --------
    >>> covariance_flops((8, 12, 15), (15, 15, 15))
    32805000000
    """
    sizes, widths = _both(sizes, widths)
    return 2 * math.prod(widths) ** 2 * math.prod(sizes)


def _sizes(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return checked sizes, one a mode."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{name} must be a sequence of integers, got {type(values).__name__}.")
    if not values:
        raise ValueError(f"{name} must have one integer a factor, got none.")
    return tuple(check_int(f"{name}[{i}]", v, 1) for i, v in enumerate(values))


def _both(sizes: Sequence[int], widths: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return checked rows and columns, of the same number."""
    rows, columns = _sizes("sizes", sizes), _sizes("widths", widths)
    if len(rows) != len(columns):
        raise ValueError(
            f"widths must have one integer for each of the {len(rows)} sizes, got {len(columns)}."
        )
    return rows, columns
