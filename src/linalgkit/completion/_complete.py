"""The one-shot function: a matrix with missing entries in, factors with certificates out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from linalgkit._core.array import (
    Array,
    asarray,
    index_dtype,
    is_complex,
    is_complex_dtype,
    matmul_h,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import fix_signs
from linalgkit._core.qr import qr_positive
from linalgkit._core.scaling import ldexp, ldexp_float
from linalgkit.completion._efficiency import noise_factor
from linalgkit.completion._factors import Factors, parameters, residual_energy
from linalgkit.completion._fit import Fitted, Request, fit, is_inexact, offsets, root_mean_square
from linalgkit.completion._graph import connected_components
from linalgkit.completion._half_step import both_sides, gauge, wide_sum
from linalgkit.completion._hidden import HIDDEN, least_seen, singular_factors
from linalgkit.completion._identify import identified, least_norm, warn, warn_of_pattern
from linalgkit.completion._observed import Observed, observe
from linalgkit.completion._request import check_request, scaled_number, thread_count
from linalgkit.completion._result import CompletionResult
from linalgkit.completion._robust import robust_noise, typical_residual
from linalgkit.completion._sweeps import bias_unit, data_energy, total_weight

_HOST = numpy_namespace()
_TOWERING = 4.0  # root mean square of all values over that of the observed ones
_USELESS = 0.95  # held-out error over that of the mean
_MESSAGES = {
    "converged": "The objective settled.",
    "fallen": "The ridge fell to its last value.",
    "stalled": "No step lowers the residual further, although it is not flat to first order.",
    "refitted": "A few sweeps were made from the answer to fewer entries.",
    "max_sweeps": "max_sweeps was reached before the objective settled.",
    "stopped": "The callback asked to stop.",
    "zero": "All observed values are zero.",
}


@capability(
    "completion.complete_matrix",
    sparse=True,
    synchronisations={"call": 42, "sweep": 19},
    notes=(
        'A sweep of "pcg" and "direct" synchronises about six times, one of "rgn" with each of its '
        "inner steps."
    ),
)
def complete_matrix(
    A: Any,
    rank: int | None = None,
    *,
    mask: Any = None,
    weights: Any = None,
    solver: str = "auto",
    alpha: float | None = 0.0,
    loss: str = "squared",
    loss_scale: float | None = None,
    bias: bool = False,
    center: bool = False,
    shrink: bool = False,
    init: str = "svd",
    warm_start: Any = None,
    continuation: bool = True,
    tol: float | None = None,
    max_sweeps: int = 200,
    polish: bool = True,
    max_rank: int | None = None,
    validation: Any = None,
    n_threads: int | None = None,
    rng: Any = None,
    callback: Callable[[int, float], object] | None = None,
) -> CompletionResult:
    """Fit a matrix of low rank to the entries that are observed.

    ``A ~ U V^H + row_bias[:, None] + col_bias[None, :] + mean`` with `rank` columns in `U` and `V`,
    minimising ``sum w |A - U V^H - ...|^2 + alpha (||U||^2 + ||V||^2)`` over the observed entries.

    Parameters
    ----------
    A : sparse container, array, masked array, dataframe, tuple or iterable
        Of shape (m, n), real or complex: a scipy.sparse (cupyx.scipy.sparse) container of any
        format, whose stored entries are the observed ones, *explicit zeros included*; a dense
        array of any library with NaN as missing; a numpy.ma.MaskedArray (its mask: True =
        missing); a tuple (rows, cols, values, shape); or an iterable of such tuples of one shape,
        read once.
    rank : int, optional
        Columns of the factors. None: chosen on held-out entries; with ``shrink=True``, found
        by components losing their variance.
    mask : boolean array (m, n), optional
        For a dense `A`: True where it is observed.
    weights : array or sparse container, optional
        Weights of the squared errors, at least 0, in the form of `A` (a vector beside triples).
    solver : {"auto", "pcg", "direct", "rgn", "scaledgd", "sketched"}, default "auto"
        "pcg" (what "auto" takes): a few steps of conjugate gradients a line, with one
        preconditioner for all, O(N k) a sweep. "direct": a factorisation a line, O(N k^2).
        "scaledgd": scaled gradient steps of both factors. "sketched": the regression of the paper,
        a sketch and a factorisation a line (see :mod:`linalgkit.completion.theory`). "rgn":
        Riemannian Gauss-Newton from the start alone, which needs a good one.
    alpha : float or None, default 0.0
        Ridge, in the unit of `A` (times that of the weights); of biases b it penalises
        ``|b|^2`` over the root mean square of the observed values. None: chosen on held-out
        entries.
    loss : {"squared", "huber", "l1"}, default "squared"
        "huber" and "l1" withstand gross errors in some entries.
    loss_scale : float, optional
        Where Huber's loss turns from a square to a modulus, by default 1.345 standard
        deviations of the noise, estimated; below which l1 is smoothed.
    bias : bool, default False
        Whether rows and columns have offsets (and all entries a mean).
    center : bool, default False
        Whether the mean of the observed entries is taken off first.
    shrink : bool, default False
        Whether each component is shrunk as its size against the noise asks for, by variational
        Bayes: for noisy data the best predictions, without a parameter. Takes the place of `alpha`.
    init : {"svd", "random"}, default "svd"
        Start: leading singular vectors of the zero-filled matrix, balanced for skewed sampling
        (at random always for robust losses), or Gaussian factors.
    warm_start : CompletionResult or tuple (U, V), optional
        Start from these factors instead, without continuation.
    continuation : bool, default True
        Whether the ridge starts large and falls from sweep to sweep.
    tol : float, optional
        Sweeps stop once one lowers the objective by less than this share of it, and the polish once
        a step lowers the residual norm by less. None: until it is at rounding, or settles at the
        level of the noise: 1e-7 for sweeps without a ridge, 1e-6 for those with one (1e-5 in single
        precision), 1e-6 for the polish (1e-8 where entries are few).
    max_sweeps : int, default 200
        Most sweeps of a start. Where the entries are less than three times the degrees of freedom
        ``k (m + n - k)``, and ``N k + 30 (m + n)`` is below two million, up to four starts are
        tried, the last with three times as many.
    polish : bool, default True
        Whether a plain least-squares problem (alpha 0, no biases) is ended by Riemannian
        Gauss-Newton steps, which converge quadratically where the data are exact.
    max_rank : int, optional
        Largest rank that is tried where `rank` is None; by default 50, the smaller side less one,
        or ``N // (m + n)``, whichever is least.
    validation : float, boolean array or sparse container, optional
        A fraction of the entries that is held out, or those entries (True; or the stored ones; or
        a vector beside triples). What has to be chosen is chosen on them (by default a tenth);
        `validation_rmse` is the error of the fit that did not see them. The answer is then fitted
        to all entries, starting from there.
    n_threads : int, optional
        Threads of the kernels on NumPy; by default as many as the process may use. It changes no
        bit of the answer (with BLAS held to one number of threads).
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        For the start, the choice of held-out entries and sketches.
    callback : callable, optional
        ``callback(sweep, loss)`` after each sweep or step of the polish, `loss` as in
        `loss_history`; it stops all if it returns true.

    Returns
    -------
    CompletionResult
        Factors, predictions, intervals, and what is certain about them; in the library, on the
        device and in the precision of `A` (integers: the library's default float).

    Raises
    ------
    TypeError
        For object and half-precision dtypes, indices that are no integers, a mask that is not
        boolean, and arrays of two libraries.
    ValueError
        If rank is below 1 or above ``min(m, n)``, nothing is observed, an index is out of range, an
        entry is given twice, a value is infinite (or NaN where missing entries are not told by
        NaN), a weight is negative, a mask has another shape, triples come without a shape, or two
        arguments contradict each other.

    Warns
    -----
    AccuracyWarning
        Once, if the entries fall into unconnected parts, are fewer than the degrees of freedom
        (where no ridge holds the rest), or `max_sweeps` was reached.

    See Also
    --------
    MatrixCompletion : the same as an estimator to which entries can be added.
    LowRankImputer : fills the gaps of a table.
    rank_estimate : the rank alone.

    Notes
    -----
    Guarantee: none in advance. The theory ([1]_, [2]_) asks for incoherent factors, entries drawn
    independently, and more of them than practice needs; its algorithm is
    :func:`linalgkit.completion.theory.alternating_minimisation`. After the fact: the training and
    held-out residuals are those of the answer; `noise_estimate` divides by N less the (effective)
    degrees of freedom; lines that the pattern cannot identify are listed (a necessary condition,
    checked exactly: peeling to a core and back) and have the factor of least norm.

    Storage: the entries once more by columns (and by rows, where `A` is not a canonical CSR
    matrix of its working dtype), and ``10 (m + n) k`` numbers with the polish, ``5 (m + n) k``
    without; nothing of size ``m n``. Dense data are read once; their pattern comes to the host.
    Small matrices are factorised on the device.

    References
    ----------
    .. [1] Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
       minimization in nearly linear time", arXiv:2302.11068 (2023).
    .. [2] P. Jain, P. Netrapalli, S. Sanghavi, "Low-rank matrix completion using alternating
       minimization", STOC 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion import complete_matrix
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 150))
    >>> seen = rng.random(A.shape) < 0.3
    >>> result = complete_matrix(np.where(seen, A, np.nan), 4, rng=0)
    >>> result.status, bool(np.max(np.abs(result.block() - A)) < 1e-10)
    ('converged', True)

    Noisy entries, of which nothing but the values is known:

    >>> noisy = A + 0.5 * rng.standard_normal(A.shape)
    >>> result = complete_matrix(noisy, mask=seen, shrink=True, rng=0)
    >>> result.rank, round(result.noise_estimate, 1)
    (4, 0.5)
    """
    observed = observe(A, mask=mask, weights=weights, n_threads=thread_count(n_threads))
    request = check_request(
        observed, rank, solver=solver, alpha=alpha, loss=loss, loss_scale=loss_scale, bias=bias,
        center=center, shrink=shrink, init=init, warm_start=warm_start, continuation=continuation,
        tol=tol, max_sweeps=max_sweeps, polish=polish, max_rank=max_rank, validation=validation,
        rng=rng, callback=callback,
    )  # fmt: skip
    return answer(observed, request, fit(observed, request))


def answer(observed: Observed, request: Request, found: Fitted) -> CompletionResult:
    """Return the public answer with its certificates; warn where it is weaker than asked."""
    f = found.factors
    plain = request.loss == "squared" and not request.shrink and found.alpha == 0.0
    unknowns = max(1, f.rank) + (1 if request.biased else 0)
    rows, columns = identified(observed, unknowns)
    lost = _HOST.flatnonzero(~rows), _HOST.flatnonzero(~columns)
    if plain and f.rank > 0:
        f = least_norm(observed, f, *both_sides(observed), lost)
    parts, _, _ = connected_components(observed)
    freedom = parameters(observed.rows, observed.columns, f.rank, biased=request.biased)
    if not request.shrink and found.alpha == 0.0:
        reasons = warn_of_pattern(parts, observed.count, freedom)
    else:
        reasons = warn_of_pattern(parts, 1, 0)
    if plain and is_inexact(observed, f) and least_seen(observed, f) < HIDDEN:
        reasons.append(
            "a component has most of its energy where nothing is observed, as in a local minimum "
            "(give a ridge alpha, shrink=True, or a smaller rank)"
        )
    if plain and _towers(observed, f):
        reasons.append(
            "the values where nothing is observed are far larger than those observed: too few "
            "entries for an unpenalised fit (give shrink=True, or a ridge alpha)"
        )
    if plain and _predicts_nothing(observed, request, found):
        reasons.append(
            "held-out entries are predicted no better than by the mean (give shrink=True, or a "
            "ridge alpha)"
        )
    if found.status == "stalled":
        reasons.append(
            "the residual stalled where it is not flat (entries, weights or condition are too "
            "uneven for certainty): the answer may be far from the best one"
        )
    if found.status == "max_sweeps":
        reasons.append(
            f"{found.n_sweeps} sweeps did not settle (max_sweeps = {request.max_sweeps}; noisy "
            "data want shrink=True or a ridge alpha, gross errors loss='huber')"
        )
    warn(reasons)
    return _public(observed, request, found, f, lost, parts, freedom)


def _towers(observed: Observed, f: Factors) -> bool:
    """Tell whether the model's values are on average far larger than those observed."""
    _, s, _ = singular_factors(f, observed) if f.rank else (None, _HOST.zeros(1), None)
    m, n = observed.shape
    square = float(_HOST.sum(_HOST.astype(to_numpy(s), _HOST.float64) ** 2)) / (m * n)
    for bias in (f.row_bias, f.column_bias):
        if bias is not None:
            xp = observed.xp
            square += wide_sum(xp.abs(bias) ** 2, xp) / max(1, int(bias.shape[0]))
    return square > _TOWERING**2 * data_energy(observed) / total_weight(observed)


def _predicts_nothing(observed: Observed, request: Request, found: Fitted) -> bool:
    """Tell whether the error on held-out entries is that of the mean, or near it."""
    rmse = found.validation_rmse
    if rmse is None:
        return False
    mean = offsets(observed, replace(request, biased=False, centred=True))
    return rmse > 0.0 and rmse >= _USELESS * root_mean_square(observed, mean)


def _public(
    observed: Observed, request: Request, found: Fitted, f: Factors, lost: tuple[Array, Array],
    parts: int, freedom: int,
) -> CompletionResult:  # fmt: skip
    xp, e, we = observed.xp, observed.exponent, observed.weight_exponent
    U, s, V = svd_form(f, observed)
    energy = residual_energy(observed, f)
    bias = [None if b is None else ldexp(b, e, xp) for b in (f.row_bias, f.column_bias)]
    noise = _noise(observed, request, found, f, energy, freedom)
    indices = [_indices(observed, x) for x in lost]
    root = request.loss != "l1"
    rmse = found.validation_rmse
    return CompletionResult(
        U=U, V=V, singular_values=s, rank=f.rank,
        row_bias=bias[0], col_bias=bias[1], mean=scaled_number(f.mean, e),
        loss_history=tuple(
            ldexp_float(math.sqrt(max(x, 0.0)) if root else x, e) * 2.0 ** (we / 2 if root else we)
            for x in _history(found)
        ),
        sweeps=found.n_sweeps,
        residual_norm=ldexp_float(math.sqrt(energy), e) * 2.0 ** (we / 2),
        noise_estimate=ldexp_float(noise, e) * 2.0 ** (we / 2),
        validation_rmse=None if rmse is None else ldexp_float(rmse, e),
        unidentifiable_rows=indices[0], unidentifiable_columns=indices[1],
        n_connected_components=parts, status=found.status, message=_message(request, found),
        alpha=ldexp_float(found.alpha, e + we),
        loss_scale=None if request.loss == "squared" else ldexp_float(found.scale, e),
        _pattern=observed, **_ridges(observed, found, f, U),
    )  # fmt: skip


def _message(request: Request, found: Fitted) -> str:
    """Return the status in words."""
    text = _MESSAGES[found.status]
    if request.rank is None and found.factors.rank == request.max_rank > 1:
        return f"{text} The rank is max_rank = {request.max_rank}: a larger one may fit better."
    return text


def _history(found: Fitted) -> list[float]:
    return [x * x for x in found.history] if found.shrunk is not None else found.history


def svd_form(f: Factors, observed: Observed) -> tuple[Array, Array, Array]:
    """Return U, the singular values and V of the public answer ``U V^H``, balanced."""
    xp, e = observed.xp, observed.exponent
    dtype = observed.dtype
    wide = widest_dtype(xp, observed.device, dtype)
    if f.rank == 0:
        s = xp.zeros((0,), dtype=real_dtype(xp, dtype), device=observed.device)
        return f.U, s, f.W
    left, s, right = singular_factors(f, observed)
    s = ldexp(s, e, xp)
    root = xp.astype(xp.sqrt(s), wide, copy=False)[None, :]
    U, W = left * root, right * root
    V = xp.conj(W) if xp.isdtype(wide, "complex floating") else W
    c = _phases(V, xp)
    U, V = (xp.astype(x * c, dtype, copy=False) for x in (U, V))
    return U, xp.astype(s, real_dtype(xp, dtype), copy=False), V


def _phases(V: Array, xp: Any) -> Array:
    """Return what makes the largest entry of each column real and positive, (1, k)."""
    c = (
        xp.sum(xp.conj(V) * fix_signs(V, xp=xp), axis=0, keepdims=True)
        if is_complex(V, xp)
        else xp.sum(V * fix_signs(V, xp=xp), axis=0, keepdims=True)
    )
    size = xp.abs(c)
    one = xp.ones_like(c)
    return xp.where(
        size > 0, c / xp.astype(xp.where(size > 0, size, xp.ones_like(size)), c.dtype), one
    )


def _indices(observed: Observed, host: Array) -> Array:
    xp = observed.xp
    return asarray(host, xp=xp, device=observed.device, dtype=index_dtype(xp), copy=False)


def _noise(
    observed: Observed, request: Request, found: Fitted, f: Factors, energy: float, freedom: int
) -> float:
    """Return the standard deviation of an entry of weight one, NaN where nothing is left over."""
    if found.shrunk is not None:
        return float(found.shrunk.noise)
    used = float(freedom) if found.alpha == 0.0 else _effective(observed, request, found, f)
    left = observed.count - used
    if left <= 0.0:
        return math.nan
    if request.loss != "squared":
        raw = robust_noise(observed, f)
        if raw > 0.0 and not is_complex_dtype(observed.xp, observed.dtype):
            spread = typical_residual(observed, f)  # the scale is one of bare residuals
            return raw * noise_factor(found.scale / spread, used / observed.count)
        return raw * math.sqrt(observed.count / left)
    return math.sqrt(energy / left)


def _effective(observed: Observed, request: Request, found: Fitted, f: Factors) -> float:
    """Return the degrees of freedom that the ridge leaves (each line as a sample of its side)."""
    xp, used, kept = observed.xp, 0.0, []
    rows, columns = both_sides(observed)
    for side, F in ((rows, f.W), (columns, f.U)):
        e = _HOST.astype(to_numpy(gauge(F, side.shares, xp)[0]), _HOST.float64)
        lines = max(1, int((side.mass > 0).sum()))
        each = [_kept_share(side.mass * value, found.alpha) for value in e]
        used += math.fsum(each)
        kept.append(_HOST.asarray(each) / lines)
        if request.biased:
            used += _kept_share(side.mass * bias_unit(observed) ** 2, found.alpha)
    # the basis of the factors is free, as far as the ridge leaves components at all
    return used - float(_HOST.sqrt(kept[0] * kept[1]).sum()) ** 2


def _kept_share(p: Array, alpha: float) -> float:
    """Return the sum over the lines of what a ridge leaves of normal matrices of size `p`."""
    p = p[p > 0]
    return float((p / (p + alpha)).sum())


def _ridges(observed: Observed, found: Fitted, f: Factors, U: Array) -> dict[str, Any]:
    """Return ridges that are not `alpha` alone: of biases; of a shrunken answer (diagonals)."""
    done = found.shrunk
    if done is None and found.alpha > 0.0 and f.row_bias is not None:
        e, we = observed.exponent, observed.weight_exponent
        bias = ldexp_float(found.alpha / bias_unit(observed) ** 2, we)
        both = _HOST.append(_HOST.full(f.rank, ldexp_float(found.alpha, e + we)), bias)
        return {"row_ridge": both, "column_ridge": both.copy()}
    if done is None or f.rank == 0:
        return {}
    e = observed.exponent
    xp = observed.xp
    Q, R = qr_positive(f.U, xp)
    old, new = (_HOST.astype(to_numpy(x), _HOST.complex128) for x in (R, matmul_h(Q, U, xp)))
    # U = f.U T and V = f.W T^-T, T by least squares (exact up to rounding: the columns span the
    # same)
    T = _HOST.linalg.lstsq(old, new * 2.0 ** (-e / 2), rcond=None)[0]
    inverse = _HOST.linalg.pinv(T)
    size = done.noise**2
    left, right = _HOST.abs(inverse) ** 2, _HOST.abs(T) ** 2
    unit = 2.0 ** (e + observed.weight_exponent)
    found_ridges = {
        "row_ridge": left @ (size / done.row_variances) * unit,
        "column_ridge": right.T @ (size / done.column_variances) * unit,
        "row_load": right.T @ done.column_spread * 2.0**e,
        "column_load": left @ done.row_spread * 2.0**e,
    }
    if found.factors.row_bias is None:
        return found_ridges
    scale = 2.0**observed.weight_exponent
    (vb, vc), (sb, sc) = done.bias_variances, done.bias_spread
    last = {
        "row_ridge": size / vb * scale, "column_ridge": size / vc * scale,
        "row_load": sc * 0.0, "column_load": sb * 0.0,
    }  # fmt: skip
    return {
        name: _HOST.concat([x, _HOST.asarray([last[name]])]) for name, x in found_ridges.items()
    }
