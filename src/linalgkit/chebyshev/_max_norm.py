"""From parts that are finer than needed to those that a tolerance in the maximum norm asks for.

A truncation is measured in the weighted L2 norm, while a tolerance means the largest error. Between
the two stand points, the same in every call: half of them uniform in the box, half with the density
of the Chebyshev weight::

    points = check_points(d)                        # (1024, d) in [-1, 1]^d, on the host
    result = rounded(fine, target, points)          # no point is off by more than the target
    rest = remainder(fine, floor)                   # what a mode that is not resolved leaves out

All parts here are over [-1, 1]^d and in the widest dtype of their device.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    dtype_name,
    eps,
    numpy_namespace,
    to_numpy,
    widest_float,
)
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, silent
from linalgkit._core.validation import AccuracyWarning, check_float
from linalgkit._kernels.chebyshev import row_contract
from linalgkit.chebyshev._evaluate import factor_values, scattered
from linalgkit.chebyshev._function import ChebTucker, assemble
from linalgkit.chebyshev._parts import Interval, Parts, unweighted
from linalgkit.chebyshev._recompress import trimmed
from linalgkit.chebyshev._sthosvd import truncate

_HOST = numpy_namespace()
#: Fresh points of a check.
N_CHECK = 1024
_SEED = 25030169
_ROUNDS = 8
# Tolerances on grids that splines go through, and else; both where none is given.
_SPLINE_TOL, _TOL, _SINGLE_TOL = 1e-6, 1e-10, 1e-5
# Shares of an error: what a truncation may take, what it may take of what is left by the data, and
# how much those may leave open at most for the tolerance to be within reach.
_TRUNCATION_SHARE, _LEFT_SHARE, _OPEN_SHARE = 0.4, 0.8, 0.7
# From this share of an error on the grid is named as its reason.
_GRID_SHARE = 0.4
# Points through which the coefficients along one mode are looked at.
_LINES = 128
# What a cubic spline loses by a grid twice as wide: it is of order four.
SPLINE_GAIN = 16.0


def checked_tolerance(
    tol: object, xp: Namespace, dtype: DType, *, by_splines: bool = False
) -> float:
    """Return the tolerance, not below 4 eps.

    For None it is 1e-10, where splines go through the data 1e-6, in single precision 1e-5.
    """
    smallest = 4 * eps(xp, dtype)
    if tol is None:
        usual = _SPLINE_TOL if by_splines else _TOL
        return _SINGLE_TOL if smallest > _TOL else usual
    value = check_float("tol", tol, low=0.0, low_open=True)
    if value >= smallest:
        return value
    warn_caller(
        f"tol = {value:.1e} is below 4 eps of {dtype_name(xp, dtype)}; {smallest:.1e} is taken. "
        "Pass data in double precision for less, or a larger tol."
    )
    return smallest


def warn_caller(text: str) -> None:
    """Give an AccuracyWarning at the line that called the library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("linalgkit."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, AccuracyWarning, stacklevel=level)


def check_points(d: int) -> Array:
    """Return points of [-1, 1]^d on the host, the first half uniform."""
    u = as_generator(_SEED).random((N_CHECK, d))
    half = N_CHECK // 2
    return _HOST.concat([2.0 * u[:half, :] - 1.0, -_HOST.cos(math.pi * u[half:, :])], axis=0)


def placed(points: Array, xp: Namespace, device: Device) -> Array:
    """Return host points on a device, in its widest float."""
    return asarray(points, xp=xp, device=device, dtype=widest_float(xp, device))


def unit_box(d: int) -> tuple[Interval, ...]:
    """Return the intervals of [-1, 1]^d."""
    return ((-1.0, 1.0),) * d


# ------------------------------------------------------------------------------- truncation


def within_reach(error: float, unseen: float) -> bool:
    """Tell whether an error can be kept beside what the data leave open."""
    return unseen <= _OPEN_SHARE * error


def truncation_target(error: float, unseen: float) -> float:
    """Return what a truncation may add, so that with what the data leave open it is in `error`.

    Where the data leave more open than that there is nothing to keep, and no use in higher ranks.
    """
    most = _TRUNCATION_SHARE * error
    return min(most, _LEFT_SHARE * (error - unseen)) if within_reach(error, unseen) else most


@dataclass(frozen=True, eq=False)
class Rounded:
    """Truncated parts and what is known of them.

    Attributes
    ----------
    parts : Parts
    values, reference : array (n,)
        At the check points: theirs, and those before the truncation.
    largest, seen : float
        The largest error there, and at the data (0 where there are none).
    before : float
        What was off at the data before the truncation, 0 if that did not matter.
    """

    parts: Parts
    values: Array
    reference: Array
    largest: float
    seen: float
    before: float


def rounded(
    fine: Parts,
    target: float,
    points: Array,
    *,
    keep_degrees: bool = False,
    at_data: Callable[[Parts], float] | None = None,
) -> Rounded:
    """Return the shortest truncation tried that is within `target` at the points.

    The first cut is at a share of the target in the weighted norm; each further one is tighter by
    what the check asks for. The factors of `fine` must be orthonormal in the weighted norm.
    `at_data` returns how far parts are from the data: no truncation may add more than `target`
    to that.
    """
    xp = fine.xp
    P = placed(points, xp, fine.device)
    reference = scattered(fine, P, "extrapolate")
    absolute, seen, before = 0.25 * target, 0.0, 0.0
    for _ in range(_ROUNDS):
        parts = _cut(fine, absolute, keep_degrees)
        values = scattered(parts, P, "extrapolate")
        largest = max_abs(values - reference, xp)
        if largest <= target and at_data is not None:
            seen = at_data(parts)
            if seen > target and before == 0.0:
                before = at_data(fine)
        worst = max(largest, seen - before)
        if worst <= target:
            break
        absolute *= min(0.5, max(1e-3, 0.5 * target / worst))
    return Rounded(parts, values, reference, largest, seen, before)


def _cut(fine: Parts, absolute: float, keep_degrees: bool) -> Parts:
    """Return parts with lower ranks and degrees, off by at most `absolute` in the L2 norm."""
    xp = fine.xp
    share = absolute if keep_degrees else 0.8 * absolute
    core, bases, _ = truncate(fine.core, share, xp)
    factors = tuple(F @ U for F, U in zip(fine.factors, bases, strict=True))
    parts = Parts(core, factors, fine.intervals, xp)
    return parts if keep_degrees else trimmed(parts, 0.6 * absolute)[0]


def fine_parts(C: Array, absolute: float, xp: Namespace) -> tuple[Parts, float]:
    """Return a tensor of weighted coefficients as parts, and the norm of what is left away."""
    core, bases, lost = truncate(C, absolute, xp)
    return Parts(core, tuple(unweighted(U, xp) for U in bases), unit_box(C.ndim), xp), lost


# ------------------------------------------------------------------------ what is not resolved


def remainder(fine: Parts, floor: float, places: Array | None = None) -> float:
    """Return an estimate of what coefficients beyond those that are there add up to.

    It goes on with the decay of the last quarter of the coefficients, as functions of the other
    variables, mode by mode. Coefficients below `floor` count as rounding errors. A mode with one
    coefficient is taken as constant. The lines go through check points and `places`, where the
    function is large.
    """
    lines = check_points(fine.order)[-_LINES:, :]
    lines = lines if places is None else _HOST.concat([lines, places[:_LINES, :]], axis=0)
    points = placed(lines, fine.xp, fine.device)
    return sum(tail_sum(line_moduli(fine, k, points), floor) for k in range(fine.order))


def line_moduli(parts: Parts, k: int, points: Array) -> Array:
    """Return moduli of the coefficients along a mode, on lines through points, host (m_k, n)."""
    xp = parts.xp
    rows = [factor_values(points[:, j], F, xp) for j, F in enumerate(parts.factors)]
    moduli = xp.abs(parts.factors[k] @ xp.matrix_transpose(contracted(parts.core, rows, k, xp)))
    return _HOST.astype(to_numpy(moduli), _HOST.float64)


def contracted(core: Array, rows: Sequence[Array], k: int, xp: Namespace) -> Array:
    """Return, for each of n rows, the core times the row of every mode but k, shape (n, r_k)."""
    n, others = int(rows[0].shape[0]), [j for j in range(core.ndim) if j != k]
    if not others:
        return xp.broadcast_to(core[None, :], (n, int(core.shape[0])))
    Y = xp.permute_dims(core, (*others, k))
    Y = rows[others[0]] @ xp.reshape(Y, (int(Y.shape[0]), -1))
    for j in others[1:]:
        Y = row_contract(xp, xp.reshape(Y, (n, int(rows[j].shape[1]), -1)), rows[j])
    return Y


def tail_sum(moduli: Array, floor: float) -> float:
    """Return the estimated sum of coefficients after the last, given moduli (m, n) on the host.

    The largest of the n lines counts, with the decay of all. The last coefficients may be small by
    their aliases, so that the decay before them counts as well. Twice the sum stands for the
    coefficients that are missing and for what their aliases do to those that are there.
    """
    m = int(moduli.shape[0])
    if m == 1:
        return 0.0
    width = max(m // 8, 2) if m > 4 else 1
    edges = [max(m - i * width, 0) for i in range(4)]
    blocks = [moduli[edges[i + 1] : edges[i], :] for i in range(3)]
    last, before, first = (float(block.sum()) for block in blocks)
    largest = float(_HOST.max(_HOST.sum(blocks[0], axis=0)))
    if largest <= width * floor:
        return 0.0
    ratio = last / before if before > 0 else 1.0
    if first > before:
        ratio = max(ratio, before / first)
        largest = max(largest, float(_HOST.max(_HOST.sum(blocks[1], axis=0))) * before / first)
    ratio = min(ratio, 0.9)
    return 2.0 * largest * ratio / (1.0 - ratio)


# -------------------------------------------------------------------------------- the answer


def finished(
    parts: Parts,
    intervals: Sequence[Interval],
    exponent: int,
    *,
    dtype: DType,
    error: float,
    scale: float,
    tol: float,
    n_evals: int,
    way_out: str,
    missed: float = 0.0,
) -> ChebTucker:
    """Return the function ``2**exponent`` times the parts over a box, warned of if inaccurate.

    `error` and `scale` are those of the parts, and `missed` what of it is due to splines. The
    rounding to the answer's dtype is added.
    """
    xp = parts.xp
    error = error + eps(xp, dtype) * scale
    with silent():
        core = ldexp(parts.core, exponent, xp)
        finite = bool(xp.all(xp.isfinite(xp.astype(core, dtype, copy=False))))
    if not finite:
        raise ValueError(
            "the function must be representable in its dtype, got a core beyond the largest "
            f"number of {dtype_name(xp, dtype)}. Divide the data by a power of two first."
        )
    inaccurate = error > tol * scale
    if inaccurate:
        warn_caller(_reason(error, missed, scale, tol) + way_out)
    return assemble(
        Parts(core, parts.factors, tuple(intervals), xp),
        dtype=dtype,
        error_estimate=ldexp_float(error, exponent),
        scale=ldexp_float(scale, exponent),
        n_evals=n_evals,
        status="inaccurate" if inaccurate else "converged",
    )


def _reason(error: float, missed: float, scale: float, tol: float) -> str:
    """Return how far an answer is off, and whether the grid is the reason."""
    unit = scale if scale > 0 else 1.0
    text = f"the error is about {error / unit:.1e} of the largest value met, not tol = {tol:.1e}"
    if missed <= _GRID_SHARE * error:
        return text + ". "
    return (
        f"{text}: the grid limits, not the truncation. Cubic splines through the grid miss about "
        f"{missed / unit:.1e}, whatever the truncation, and all else adds "
        f"{(error - missed) / unit:.1e}. "
    )


def chebyshev_way_out(nodes: str) -> str:
    """Return what would help where coefficients of values at Chebyshev points have not decayed."""
    return (
        "The coefficients have not decayed: take more points, or a larger tol. The values are "
        f"taken to be at ascending Chebyshev points (nodes={nodes!r}): for values on another grid "
        "pass nodes='uniform' (centres of equal cells) or the positions."
    )
