"""From a callable to a Tucker format: the one-shot function."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    dtype_name,
    eps,
    is_complex_dtype,
    library_name,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, ldexp_float
from linalgkit._core.validation import (
    AccuracyWarning,
    check_choice,
    check_float,
    check_int,
    message,
)
from linalgkit.chebyshev._basis import to_unit
from linalgkit.chebyshev._build import Builder, Outcome, Wish
from linalgkit.chebyshev._fibres import Limits, PointSource
from linalgkit.chebyshev._function import ChebTucker, assemble
from linalgkit.chebyshev._norms import NORMS, Norm
from linalgkit.chebyshev._parts import Interval, Parts, check_domain
from linalgkit.chebyshev._sampler import Sampler

_HOST = numpy_namespace()
DEFAULT_TOL = {True: 1e-5, False: 1e-10}
_SINGLE = ("float32", "complex64")
_FEWEST_EVALS, _EVALS_OF_A_HINT = 1000, 40
# More than variables, so that a function of one point only returns a wrong shape.
_FIRST_POINTS = 7
_ADVICE = {
    "max_evals": "Raise max_evals, or ask for less.",
    "max_rank": "Raise max_rank, or ask for less: the function is hardly separable.",
    "max_degree": "Raise max_degree, or cut the box where the function is not smooth.",
    "ranks": "Raise ranks, or leave them away.",
    "degrees": "Raise degrees, or leave them away.",
    "inaccurate": "It may be noisy or not smooth: ask for less, or cut the box at its kinks.",
}


@capability(
    "chebyshev.chebtucker",
    notes="The function is called with arrays of `xp`.",
    synchronisations={"call": 42},
)
def chebtucker(
    f: Callable[..., Any],
    domain: Any,
    *,
    tol: float | None = None,
    norm: str = "max",
    method: str = "auto",
    degrees: int | Sequence[int] | None = None,
    ranks: int | Sequence[int] | None = None,
    max_degree: int = 2049,
    max_rank: int = 256,
    max_evals: int = 10**8,
    n_iter: int = 0,
    vectorized: str | bool = "points",
    pivots: Any = None,
    n_check: int = 1000,
    rng: Any = None,
    xp: Namespace | None = None,
    dtype: DType | None = None,
) -> ChebTucker:
    """Approximate a function on a box by a Tucker core with polynomial factors.

    Degrees and ranks are found such that the error at fresh random points meets the tolerance.

    Parameters
    ----------
    f : callable
        Of d real variables, d from 1 to 6, with real or complex values; see `vectorized`.
    domain : array or sequence, shape (d, 2)
        Ends of the interval of each variable. An array decides on library and device as `xp` does.
    tol : float, optional
        Error asked for, of the size of the function in `norm`. None: 1e-10, in single precision
        1e-5.
    norm : {"max", "l2w", "l2"}
        ``"max"``: the largest modulus; ``"l2w"``: root mean square with the density of the
        Chebyshev weight; ``"l2"``: square root of the integral of the squared modulus.
    method : {"auto", "grid", "cross"}
        ``"cross"`` needs values on a few lines and on a small tensor of chosen nodes, ``"grid"``
        values on the full product grid (of the degrees found on lines); ``"auto"`` takes what
        needs fewer.
    degrees : int or sequence of int, optional
        Highest powers, one a variable, at least 1. None: found.
    ranks : int or sequence of int, optional
        Upper limits of the ranks. None: found.
    max_degree, max_rank : int
        Where degrees and ranks that are found must end.
    max_evals : int, default 100 000 000
        Evaluations that are never exceeded; at least 1000. ``1e6`` is taken as an integer.
    n_iter : int, default 0
        Sweeps of alternating least squares (HOOI) after the truncation; of use for `ranks` far
        below those that the tolerance needs.
    vectorized : {"points", "grid", False}
        ``"points"``: `f` takes an array (n, d) and returns (n,). ``"grid"``: it takes d arrays that
        broadcast against each other (open grids, or equal lengths) and returns what broadcasts with
        them. False: it takes one point (d,) and returns a number.
    pivots : array (q, d), optional
        Points near what random points may miss (needles, kinks); lines are taken through them.
    n_check : int, default 1000
        Fresh random points at which the error is estimated, at least 1000: half uniform, half with
        the Chebyshev density (for "l2w" and "l2" all of the density of the norm).
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the random points.
    xp : module, optional
        Array library in which `f` is called and the answer given. None: that of `domain` if it is
        an array, else NumPy.
    dtype : dtype, optional
        Of the answer; positions are given to `f` in its real part. None: positions in the widest
        precision of the device, the answer in that of the values.

    Returns
    -------
    ChebTucker
        With `error_estimate` (absolute, in `norm`), `n_evals` and `status`.

    Raises
    ------
    TypeError
        For arguments of a wrong kind, and values that are no array of `xp`.
    ValueError
        If the box is not one or has more than 6 variables, numbers are out of range, ranks exceed
        degrees + 1, `f` returns a wrong shape, or NaN or infinity (the point is named).

    Warns
    -----
    AccuracyWarning
        If the function is not resolved to the tolerance (unless `ranks` or `degrees` were asked for
        without one), or a tolerance below 4 eps was raised to it.

    See Also
    --------
    chebtucker_from_values, chebtucker_from_coefficients, chebtucker_from_cp : from tensors.

    Notes
    -----
    The estimate is the largest error at `n_check` random points and, for "max", on lines through
    the worst of them. It counts interpolation, cross and truncation alike, but it is a sample, not
    a bound: what no sample meets is not seen. For functions that are smooth at the scale of their
    degrees the true maximum is seldom more than a few times the estimate.

    For ranks r and degrees m the cross takes about ``d m (4/3 r) + (5/4 r)^d + n_check``
    evaluations; each further round as many again for lines. The pivots are found on the host: one
    transfer of values for each call of `f`; the full grid stays on the device.

    Storage: the values on lines and on the small tensor, ``m (4/3 r)`` a variable and
    ``(5/4 r)^d``; with the full grid about ``2.5 prod (m + 1)`` numbers.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
       tensor format with applications to multi-particle modelling", arXiv:2503.01696.
    .. [2] S. Dolgov, D. Kressner, C. Stroessner, "Functional Tucker approximation using Chebyshev
       interpolation", SIAM J. Sci. Comput. 43 (2021) A2190-A2210.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import chebtucker
    >>> T = chebtucker(
    ...     lambda x, y, z: 1 / (1 + x**2 + y**2 + z**2), [(-1, 1)] * 3,
    ...     vectorized="grid", tol=1e-13, rng=0,
    ... )
    >>> round(T.integrate(), 12)
    4.286854062302
    >>> max(T.ranks) < 15
    True
    """
    intervals = check_domain(domain)
    xp, where = _place(domain, xp)
    request = _checked_request(
        intervals,
        tol=tol,
        norm=norm,
        method=method,
        degrees=degrees,
        ranks=ranks,
        max_degree=max_degree,
        max_rank=max_rank,
        max_evals=_checked_budget(max_evals, None, 1),
        n_iter=n_iter,
        pivots=pivots,
        n_check=n_check,
    )
    if not callable(f):
        raise TypeError(message("f", "be callable", f))
    sampler = Sampler(
        f,
        intervals,
        vectorized=_checked_vectorized(vectorized),
        xp=xp,
        device=where,
        dtype=_checked_dtype(xp, where, dtype),
        max_evals=_checked_budget(max_evals, request.pivots, len(intervals)),
    )
    generator = as_generator(rng)
    wish = _wish(request, sampler, generator)
    outcome = Builder(sampler, wish, generator).run()
    return _answer(outcome, sampler, wish, asked=tol is not None)


# ------------------------------------------------------------------------------------ arguments


class Request(NamedTuple):
    """Arguments that were checked, before anything is known of the function."""

    tol: float | None
    norm: Norm
    method: str
    lengths: tuple[int | None, ...]
    ranks: tuple[int, ...] | None
    max_nodes: int
    max_rank: int
    n_iter: int
    pivots: Array | None
    n_check: int


def _checked_request(intervals: Sequence[Interval], **given: Any) -> Request:
    """Return the arguments, checked."""
    d = len(intervals)
    max_degree = check_int("max_degree", given["max_degree"], 1)
    lengths: tuple[int | None, ...] = (None,) * d
    if given["degrees"] is not None:
        asked = _one_each("degrees", given["degrees"], d, 1, None)
        lengths = tuple(m + 1 for m in asked)
    ranks = None
    if lengths[0] is not None and given["method"] == "grid":
        points = math.prod(m for m in lengths if m is not None)
        if points + _FEWEST_EVALS > given["max_evals"]:
            raise ValueError(
                f"max_evals must allow for the {points} points of the grid of these degrees, got "
                f"{given['max_evals']}. Lower degrees, or take method='cross'."
            )
    if given["ranks"] is not None:
        ranks = _one_each("ranks", given["ranks"], d, 1, lengths)
    tol = given["tol"]
    volume = math.prod(0.5 * (b - a) for a, b in intervals)
    norm = check_choice("norm", given["norm"], NORMS)
    if norm == "l2" and not 1e-150 < volume < 1e150:
        raise ValueError(
            f"norm must not be 'l2' for a box of volume {volume:g}, whose square overflows. "
            "Rescale the variables."
        )
    return Request(
        tol=None if tol is None else check_float("tol", tol, 0.0, low_open=True),
        norm=Norm(norm, math.prod(b - a for a, b in intervals) if norm == "l2" else 1.0),
        method=check_choice("method", given["method"], ("auto", "grid", "cross")),
        lengths=lengths,
        ranks=ranks,
        max_nodes=max_degree + 1,
        max_rank=check_int("max_rank", given["max_rank"], 1),
        n_iter=check_int("n_iter", given["n_iter"], 0),
        pivots=_checked_pivots(given["pivots"], intervals),
        n_check=check_int("n_check", given["n_check"], 1000),
    )


def _one_each(
    name: str, value: Any, d: int, low: int, lengths: Sequence[int | None] | None
) -> tuple[int, ...]:
    """Return one integer a variable."""
    if getattr(value, "ndim", 0) == 1:
        value = to_numpy(value).tolist()
    values = list(value) if isinstance(value, (list, tuple)) else [value] * d
    if len(values) != d:
        raise ValueError(message(name, f"be an integer or {d} of them, one a variable", value))
    found = []
    for k, entry in enumerate(values):
        high = lengths[k] if lengths is not None else None
        why = "" if high is None else f"(degree + 1) in variable {k}"
        found.append(check_int(name, entry, low, high, why))
    return tuple(found)


def _checked_pivots(pivots: Any, intervals: Sequence[Interval]) -> Array | None:
    """Return hints as points of [-1, 1]^d (host)."""
    if pivots is None:
        return None
    d = len(intervals)
    rule = f"be an array of points, shape (q, {d})"
    try:
        P = _HOST.asarray(to_numpy(pivots), dtype=_HOST.float64)
    except (TypeError, ValueError):
        raise TypeError(message("pivots", rule, pivots)) from None
    if P.ndim != 2 or P.shape[1] != d or P.shape[0] == 0:
        raise ValueError(message("pivots", rule, P.shape))
    if not _HOST.isfinite(P).all():
        raise ValueError(message("pivots", "be finite", pivots))
    columns = [to_unit(P[:, k], interval) for k, interval in enumerate(intervals)]
    unit = _HOST.stack(columns, axis=-1)
    outside = _HOST.nonzero((_HOST.abs(unit) > 1.0 + 1e-12).any(axis=1))[0]
    if outside.size:
        raise ValueError(
            message(f"pivots[{int(outside[0])}]", "lie inside the box", P[outside[0], :].tolist())
        )
    return _HOST.clip(unit, -1.0, 1.0)


def _checked_budget(max_evals: Any, pivots: Array | None, d: int) -> int:
    """Return the budget, which must allow for the first lines; 1e6 is an integer here."""
    if isinstance(max_evals, float) and max_evals.is_integer():
        max_evals = int(max_evals)
    if pivots is None:
        return check_int("max_evals", max_evals, _FEWEST_EVALS)
    count = int(pivots.shape[0])
    low = _FEWEST_EVALS + _EVALS_OF_A_HINT * d * count
    return check_int("max_evals", max_evals, low, None, f"for {count} pivots")


def _checked_vectorized(vectorized: Any) -> str | bool:
    if vectorized is False:
        return False
    chosen: str = check_choice(
        "vectorized", vectorized, ("points", "grid"), way_out="Or pass False."
    )
    return chosen


def _checked_dtype(xp: Namespace, where: Device, dtype: DType | None) -> DType | None:
    """Return a floating dtype of the library, or None."""
    if dtype is None:
        return None
    try:
        probe = xp.zeros(1, dtype=dtype, device=where)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(message("dtype", f"be a dtype of {xp.__name__}", dtype)) from None
    found = working_dtype(xp, where, probe.dtype)
    if found != probe.dtype:
        raise TypeError(message("dtype", "be a real or complex floating dtype", dtype))
    return found


def _place(domain: Any, xp: Namespace | None) -> tuple[Namespace, Device]:
    """Return library and device: those of `xp`, of an array `domain`, or NumPy."""
    if xp is not None:
        if not hasattr(xp, "asarray"):
            raise TypeError(message("xp", "be an array library, for instance numpy", xp))
        example = xp.asarray(0.0)
        found = array_namespace(example)
        if hasattr(domain, "shape") and array_namespace(domain) is found:
            return found, device(domain)
        return found, device(example)
    if hasattr(domain, "shape"):
        return array_namespace(domain), device(domain)
    return _HOST, device(_HOST.zeros(1))


# --------------------------------------------------------------------------- building, answering


def _wish(request: Request, sampler: Sampler, rng: Any) -> Wish:
    """Return what is asked for, once the precision of the function is known."""
    d = sampler.order
    if sampler.kind is None:
        _first_values(sampler, PointSource(d, rng)(_FIRST_POINTS))
    precision = eps(sampler.xp, sampler.kind)
    tol = request.tol
    if tol is None:
        tol = DEFAULT_TOL[dtype_name(sampler.xp, sampler.kind) in _SINGLE]
    elif tol < 4.0 * precision:
        warnings.warn(
            f"tol={tol:g} is below what the precision of the values allows; {4.0 * precision:.2g} "
            "is taken (4 eps).",
            AccuracyWarning,
            stacklevel=3,
        )
        tol = 4.0 * precision
    limits = [
        Limits(tol, precision, request.max_nodes, request.max_rank, m) for m in request.lengths
    ]
    return Wish(
        limits=limits,
        norm=request.norm,
        method=request.method,
        ranks=request.ranks,
        n_iter=request.n_iter,
        n_check=request.n_check,
        pivots=request.pivots,
    )


def _first_values(sampler: Sampler, points: Array) -> None:
    """Ask for the first time, and tell how the function was called if it raises."""
    try:
        sampler.points(points)
    except Exception as error:
        error.add_note(
            f"f was called for the first time, with vectorized={sampler.vectorized!r}: 'points' "
            f"hands it one array of shape (n, {sampler.order}), 'grid' {sampler.order} arrays that "
            f"broadcast, False one point of shape ({sampler.order},); arrays are those of xp="
            f"{library_name(sampler.xp)}."
        )
        raise


def _answer(outcome: Outcome, sampler: Sampler, wish: Wish, *, asked: bool) -> ChebTucker:
    """Return the object in the caller's unit, library and precision."""
    xp, where, dtype = sampler.xp, sampler.device, sampler.kind
    wide = widest_dtype(xp, where, dtype)
    core = ldexp(outcome.parts.core, sampler.exponent, _HOST)
    if is_complex_dtype(xp, dtype):
        core = core.astype(_HOST.complex128)
    place = {"xp": xp, "device": where, "dtype": wide}
    parts = Parts(
        asarray(core, **place),
        tuple(asarray(F, **place) for F in outcome.parts.factors),
        sampler.intervals,
        xp,
    )
    fixed = wish.has_degrees or wish.ranks is not None
    if outcome.is_short:
        _warn_of_short_check(wish.n_check)
    elif outcome.status != "converged" and (asked or not fixed):
        _warn(outcome, wish.tol)
    return assemble(
        parts,
        dtype=dtype,
        error_estimate=ldexp_float(outcome.error, sampler.exponent),
        scale=ldexp_float(sampler.largest, sampler.exponent),
        n_evals=sampler.n_evals,
        status=outcome.status,
        norm=wish.norm.name,
    )


def _warn(outcome: Outcome, tol: float) -> None:
    """Tell that the answer is weaker than asked."""
    relative = outcome.error / outcome.scale if outcome.scale else 0.0
    warnings.warn(
        f"f is not resolved: the error at fresh points is {relative:.2g} of its size where "
        f"{tol:.2g} was asked for (status {outcome.status!r}). {_ADVICE[outcome.status]}",
        AccuracyWarning,
        stacklevel=4,
    )


def _warn_of_short_check(n_check: int) -> None:
    """Tell that the budget left too few points for the check."""
    warnings.warn(
        f"f meets the tolerance at the fresh points that max_evals allowed, fewer than {n_check}. "
        "Raise max_evals.",
        AccuracyWarning,
        stacklevel=4,
    )
