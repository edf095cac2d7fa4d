"""From the state of a stream to a result, its status and its warnings."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    eps,
    namespace_of,
    to_numpy,
)
from linalgkit._core.linalg import fix_signs, ldexp
from linalgkit._core.scaling import ldexp_float
from linalgkit._core.state import State
from linalgkit._core.validation import AccuracyWarning
from linalgkit.streaming._enclosure import sampling_sin2
from linalgkit.streaming._options import Options
from linalgkit.streaming._result import StreamingEighResult
from linalgkit.streaming._stream import RowStream

ORDER_ZSCORE_LIMIT = 6.0
UNCERTAIN = 0.25
_LONE_ROW = 1e-12  # below this share of the weight, what is left is rounding


@dataclass(frozen=True)
class Refined:
    """Eigenpairs from exact passes over the data, in the units of a stream."""

    eigenvalues: Array
    eigenvectors: Array
    residual: float


def refined_to_state(refined: Refined | None) -> State | None:
    """Return refined eigenpairs as host data."""
    if refined is None:
        return None
    return {
        "eigenvalues": to_numpy(refined.eigenvalues),
        "eigenvectors": to_numpy(refined.eigenvectors),
        "residual": refined.residual,
    }


def refined_from_state(state: State | None, xp: Namespace, device: Device) -> Refined | None:
    """Take refined eigenpairs back."""
    if state is None:
        return None
    lam, V = (
        asarray(state[f"eigen{kind}"], xp=xp, device=device) for kind in ("values", "vectors")
    )
    return Refined(lam, V, float(state["residual"]))


@dataclass(frozen=True)
class Answered:
    """A result and what an estimator derives from the same moment of the stream.

    `values` are the eigenvalues and `energy` the squared Frobenius norm in units of
    ``4**exponent``, in which both can always be represented; `mass` is what a sum of squares
    is divided by for a variance.
    """

    result: StreamingEighResult
    mass: float
    mean: Array
    values: Array
    energy: float
    exponent: int


def answer(stream: RowStream, options: Options, refined: Refined | None = None) -> Answered:
    """Return the answer of a stream, which stays as it is."""
    final = stream.final()
    result, values = make_result(final, options, refined)
    pre = final.pre
    mass = variance_mass(pre.weight, pre.spread)
    return Answered(result, mass, pre.mean(), values, final.energy, pre.exponent)


def variance_mass(weight: float, spread: float) -> float:
    """Return ``W - sum w^2 / W``, or `W` where one row has all the weight, or 1 for none.

    For rows of one distribution this makes the centred and weighted sum of squares an unbiased
    estimate of the variance, whatever the unit of the weights; `spread` is the root of
    ``sum w^2``.
    """
    mass = weight - spread * (spread / weight) if weight > 0.0 else 0.0
    return mass if mass > _LONE_ROW * weight else weight or 1.0


def own_arrays(result: StreamingEighResult) -> StreamingEighResult:
    """Return the result with copies of its arrays."""
    xp, _ = namespace_of(result.eigenvectors)
    pairs = (result.eigenvalues, result.eigenvectors)
    lam, V = (xp.asarray(array, copy=True) for array in pairs)
    return replace(result, eigenvalues=lam, eigenvectors=V)


def make_result(
    final: RowStream, options: Options, refined: Refined | None = None
) -> tuple[StreamingEighResult, Array]:
    """Return the result of a stream in which no row waits, and its scaled eigenvalues."""
    k = options.n_components
    certificate = final.engine.certificate()
    if refined is None:
        lam, V = final.top(k)
    else:
        lam, V = refined.eigenvalues, refined.eigenvectors
        certificate = {**certificate, "residual": refined.residual, "residual_kind": "exact"}
    lam, V = _padded(lam, V, k, final)
    if options.order == "arbitrary" and final.method == "gram":
        certificate = _of_these_rows(final, certificate, k)
    required = final.n_heavy_required(certificate)
    if required:
        certificate = _with_heavy_rows(final, certificate, k)
    if final.pre.n_effective < 0.999 * final.n_rows:
        certificate = _with_fewer_rows(final, certificate, k)
    status = _status(final, options, certificate, required, _rank(lam, final))
    space, xp = final.space, final.space.xp
    values = xp.astype(lam, space.real)
    result = StreamingEighResult(
        eigenvalues=ldexp(values, 2 * final.pre.exponent, xp),
        eigenvectors=xp.astype(fix_signs(V), space.dtype),
        gap=float(certificate.get("gap", math.nan)),
        error_estimate=min(float(certificate.get("error_estimate", math.nan)), 1.0),  # NaN stays
        residual=float(certificate.get("residual", math.nan)),
        residual_kind=str(certificate.get("residual_kind", "estimate")),
        excess=_excess(final, certificate),
        n_rows=final.n_rows,
        frobenius_norm=ldexp_float(math.sqrt(max(final.energy, 0.0)), final.pre.exponent),
        n_heavy=0 if final.heap is None else final.heap.n,
        n_heavy_required=required,
        method=str(certificate["candidate"] if final.method == "arbitrary" else final.method),
        candidate=str(certificate.get("candidate", "")),
        order_zscore=float(certificate.get("order_zscore", math.nan)),
        status=status,
    )
    return result, values


def _of_these_rows(final: RowStream, certificate: dict[str, Any], k: int) -> dict[str, Any]:
    """Return a certificate that speaks of the rows seen: in arbitrary order there is no more."""
    values = [*to_numpy(final.top(min(k + 1, final.space.d))[0]).tolist(), 0.0][: k + 1]
    gap = values[k - 1] / values[k] if values[k] > 0.0 else math.inf
    return {**certificate, "gap": gap, "error_estimate": math.nan}


def _excess(final: RowStream, certificate: dict[str, Any]) -> float:
    """Return by how much an eigenvalue can exceed the one reported, where that is proved."""
    if final.method == "gram":
        return 0.0
    if certificate.get("residual_kind") != "bound":
        return math.nan
    return ldexp_float(float(certificate["extra"]["excess"]), 2 * final.pre.exponent)


def _out_of_range(found: Answered) -> bool:
    """Tell whether an eigenvalue can be represented in the stream's own unit only."""
    if found.exponent == 0:
        return False
    pairs = zip(to_numpy(found.values), to_numpy(found.result.eigenvalues), strict=True)
    return any(value > 0.0 and (shown == 0.0 or math.isinf(shown)) for value, shown in pairs)


def _with_heavy_rows(final: RowStream, certificate: dict[str, Any], k: int) -> dict[str, Any]:
    """Return the certificate of the light rows, carried over to all rows.

    What the heavy rows change in the eigenvalues of the summary is applied to the gap that was
    measured on the light ones; the error of the light part turns the joint vectors less, by
    the square of the difference of the two eigenvalues in question.
    """
    light, joint = (
        [*to_numpy(lam).tolist(), 0.0][: k + 1]
        for lam in (final.engine.top(k + 1)[0], final.engine.joint(k + 1)[0])
    )
    if len(light) <= k or len(joint) <= k or min(light[k], joint[k]) <= 0.0:
        return certificate
    change = joint[k - 1] / joint[k] * light[k] / light[k - 1]
    gap = max(1.0, certificate["gap"] * change)
    below = light[k - 1] - light[k]
    widened = max(joint[k - 1] - joint[k], below)
    share = (below / widened) ** 2 if widened > 0.0 else 1.0
    return {**certificate, "gap": gap, "error_estimate": certificate["error_estimate"] * share}


def _with_fewer_rows(final: RowStream, certificate: dict[str, Any], k: int) -> dict[str, Any]:
    """Return the certificate with the error that so few effective rows must have at least.

    The methods count rows. Where weights differ, or fade, ``(sum w)^2 / sum w^2`` of them is
    what the answer can rest on, and perturbation theory tells what can be expected of that.
    """
    n, d, own = final.pre.n_effective, final.space.d, certificate["error_estimate"]
    lam = final.top(min(d, 2 * k + 8))[0]
    values = [max(0.0, value) for value in to_numpy(lam).tolist()]
    if len(values) <= k or n == 0.0:
        return certificate
    rest = max(0.0, final.energy - sum(values)) if len(values) < d else 0.0
    least = sampling_sin2(values, k, n, rest)
    return {**certificate, "error_estimate": own if own >= least else least}


def _rank(lam: Array, final: RowStream) -> int:
    """Return how many of the eigenvalues are above the rounding errors of the largest."""
    values = to_numpy(lam).tolist()
    limit = final.space.d * eps(final.space.xp, lam.dtype) * values[0]
    return sum(value > limit for value in values)


def _padded(lam: Array, V: Array, k: int, stream: RowStream) -> tuple[Array, Array]:
    """Fill up to `k` pairs with eigenvalue zero where the rows span fewer directions."""
    missing = k - int(lam.shape[0])
    if missing <= 0:
        return lam[:k], V[:, :k]
    xp, space = stream.space.xp, stream.space
    eye = xp.eye(space.d, k, dtype=V.dtype, device=space.device)
    Q, _ = xp.linalg.qr(xp.concat([V, eye], axis=1))
    zeros = xp.zeros((missing,), dtype=lam.dtype, device=space.device)
    return xp.concat([lam, zeros]), xp.concat([V, Q[:, V.shape[1] : k]], axis=1)


def _status(
    stream: RowStream, options: Options, certificate: dict[str, Any], required: int, rank: int
) -> str:
    """Return the first reason why the answer is weaker than asked, or "converged"."""
    if stream.energy <= 0.0:
        return "zero"
    if rank < options.n_components:
        return "rank_deficient"
    if certificate.get("status") in ("no_growth",):
        return str(certificate["status"])
    if abs(certificate.get("order_zscore", math.nan)) > ORDER_ZSCORE_LIMIT:
        return "order_not_random"
    if stream.heap is not None and required > stream.heap.n:
        return "heavy_rows_missed"
    if certificate.get("gap", math.nan) < options.gap_warn:
        return "small_gap"
    is_exact = certificate.get("residual_kind", "estimate") == "exact"
    if not is_exact and certificate.get("error_estimate", math.nan) > UNCERTAIN:
        return "uncertain"
    is_judged = stream.heap is None or options.n_components == stream.space.d or is_exact
    if not is_judged and math.isnan(certificate.get("error_estimate", math.nan)):
        return "unknown"
    return "converged"


def _or_gram(method: str, before: str) -> str:
    """Return the other ways out, the exact method among them where it is not in use already."""
    if method == "gram":
        return before.replace(",", " or", 1)
    return f'{before}, or method="gram", exact for the rows seen'


def warn_if_weak(found: Answered, options: Options, *, stacklevel: int = 4) -> None:
    """Give the AccuracyWarning that belongs to the status, with the way out."""
    result = found.result
    if _out_of_range(found):
        warnings.warn(
            f"eigenvalues of the order 2**{2 * found.exponent} are beyond the range of "
            f"{result.eigenvalues.dtype} and were replaced by infinity or zero. Scale the rows, or "
            "use a wider dtype; singular_values_ and explained_variance_ratio_ are not affected.",
            AccuracyWarning,
            stacklevel=stacklevel,
        )
    text = {
        "zero": (
            "all rows were zero: the eigenvalues are 0, and any orthonormal vectors serve as "
            "eigenvectors. Check the source."
        ),
        "rank_deficient": (
            f"the rows span fewer than n_components={options.n_components} directions up to "
            "rounding: the eigenvectors beyond them are arbitrary. Ask for fewer components, or "
            "stream more rows."
        ),
        "no_growth": (
            "no rate of the ladder grew enough: the gap is too small for an arbitrary order of "
            'rows in O(d) memory. Use method="gram" (d*d words), or order="random" if that holds.'
        ),
        "order_not_random": (
            f"the rows are not in random order (z-score {result.order_zscore:.1f}), on which "
            f'method="{result.method}" rests. Shuffle them, or use order="arbitrary".'
        ),
        "heavy_rows_missed": (
            f"{result.n_heavy_required} rows are too large for a segment of the stream, but only "
            f"{result.n_heavy} could be held. Raise max_heavy_rows to at least "
            f"{result.n_heavy_required}."
        ),
        "small_gap": (
            f"the eigenvalue gap l_k / l_(k+1) is estimated at {result.gap:.3g}, below gap_warn="
            f"{options.gap_warn:g}: the eigenvectors are not well determined by these rows. "
            f"Use more rows{_or_gram(result.method, ', another n_components')}."
        ),
        "uncertain": (
            f"the eigenvectors may be far off: sin^2 of their angle is estimated at "
            f"{result.error_estimate:.2g}. Use more rows or more memory (n_oversamples, "
            'memory_budget), or method="gram", exact for the rows seen.'
        ),
        "unknown": (
            f"too few rows were seen ({result.n_rows}) for a random-order method to estimate the "
            "error of its answer, which is close to that of these rows but may be far from that "
            'of others like them. Use more rows, or method="gram", exact for the rows seen.'
        ),
    }.get(result.status)
    if text is not None:
        warnings.warn(text, AccuracyWarning, stacklevel=stacklevel)
