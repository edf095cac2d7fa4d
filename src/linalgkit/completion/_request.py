"""The arguments of the public functions, checked once and brought to the scaled units."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import asarray, is_complex_dtype, library_name, library_of
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, ldexp_float
from linalgkit._core.validation import check_bool, check_choice, check_float, check_int, message
from linalgkit.completion._factors import Factors
from linalgkit.completion._fit import Request, offsets
from linalgkit.completion._observed import Observed
from linalgkit.completion._robust import LOSSES
from linalgkit.completion._sweeps import SOLVERS, Watch

INITS = ("svd", "random")
_MOST = 50  # largest rank that is tried unasked


def thread_count(n_threads: int | None) -> int:
    """Return the threads of the kernels: as many as this process may use for None."""
    if n_threads is not None:
        return check_int("n_threads", n_threads, 1)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(usable, int(limit)) if limit.isdecimal() and int(limit) > 0 else usable


def check_rank(rank: Any, shape: tuple[int, int]) -> int:
    """Return a rank between 1 and the smaller side."""
    return check_int("rank", rank, 1, min(shape), why=f"for a matrix of shape {shape}")


@dataclass(frozen=True)
class Unseen:
    """Stands for the entries where options are checked before any is there."""

    shape: tuple[int, int]
    exponent: int = 0
    weight_exponent: int = 0
    count: int = 0


def check_request(
    observed: Observed | Unseen, rank: Any, *, solver: str, alpha: Any, loss: str, loss_scale: Any,
    bias: bool, center: bool, shrink: bool, init: str, warm_start: Any, continuation: bool,
    tol: Any, max_sweeps: int, polish: bool, max_rank: Any, validation: Any, rng: Any,
    callback: Any,
) -> Request:  # fmt: skip
    """Return a checked request; combinations that contradict each other are refused."""
    shape = observed.shape
    e, we = observed.exponent, observed.weight_exponent
    if rank is not None:
        rank = check_rank(rank, shape)
    biased, centred = check_bool("bias", bias), check_bool("center", center)
    shrink = check_bool("shrink", shrink)
    request = Request(
        rank=rank,
        max_rank=_most(observed, max_rank, rank),
        solver=check_choice("solver", solver, SOLVERS),
        alpha=None if alpha is None else ldexp_float(check_float("alpha", alpha, 0.0), -e - we),
        loss=check_choice("loss", loss, LOSSES),
        loss_scale=None if loss_scale is None
        else ldexp_float(check_float("loss_scale", loss_scale, 0.0, low_open=True), -e),
        biased=biased,
        centred=centred,
        shrink=shrink,
        init=check_choice("init", init, INITS),
        continuation=check_bool("continuation", continuation),
        tol=None if tol is None else check_float("tol", tol, 0.0),
        max_sweeps=check_int("max_sweeps", max_sweeps, 1),
        polish=check_bool("polish", polish),
        validation=validation,
        rng=as_generator(rng),
        watch=Watch(_checked_callback(callback), _unit(loss, e, we)),
    )  # fmt: skip
    _refuse_contradictions(request, alpha)
    if warm_start is None or isinstance(observed, Unseen):
        return request
    from dataclasses import replace

    warm = warm_factors(observed, request, warm_start)
    return replace(request, warm=warm, rank=warm.rank if rank is None else rank)


def _most(observed: Observed | Unseen, max_rank: Any, rank: int | None) -> int:
    m, n = observed.shape
    if max_rank is not None:
        return check_int("max_rank", max_rank, 1, min(m, n), why=f"for a matrix of shape {(m, n)}")
    if rank is not None:
        return rank
    return max(1, min(min(m, n) - 1, observed.count // (m + n), _MOST))


def _unit(loss: object, e: int, we: int) -> float:
    """Return what a root of the objective (a sum of moduli) of scaled data is multiplied by."""
    return ldexp_float(2.0 ** (we if loss == "l1" else we / 2), e)


def _checked_callback(callback: Any) -> Any:
    if callback is not None and not callable(callback):
        raise TypeError(message("callback", "be a function of (sweep, loss) or None", callback))
    return callback


def _refuse_contradictions(request: Request, alpha: Any) -> None:
    """Refuse settings of which one would be ignored."""
    robust = request.loss != "squared"
    if request.shrink and (alpha is None or alpha != 0.0):
        raise ValueError(
            message("alpha", "be 0 with shrink=True, which finds a ridge for each component", alpha)
        )
    if robust and alpha is None:
        rule, way_out = (
            f"be a number with loss={request.loss!r}",
            "Compare validation_rmse of some.",
        )
        raise ValueError(message("alpha", rule, None, way_out=way_out))
    if robust and request.shrink:
        raise ValueError(
            message("shrink", f"be False with loss={request.loss!r}", True, way_out="Use alpha.")
        )
    if robust and request.solver not in ("auto", "pcg"):
        raise ValueError(
            message("solver", f"be 'auto' or 'pcg' with loss={request.loss!r}", request.solver)
        )
    if request.shrink and request.solver not in ("auto", "pcg"):
        raise ValueError(message("solver", "be 'auto' or 'pcg' with shrink=True", request.solver))
    if request.loss_scale is not None and not robust:
        raise ValueError(message("loss_scale", "be None with loss='squared'", request.loss_scale))
    if request.solver == "rgn" and (request.alpha != 0.0 or request.biased):
        raise ValueError(
            "solver='rgn' minimises the plain sum of squares: it takes alpha=0 and bias=False. "
            "Use solver='auto'."
        )


def warm_factors(observed: Observed, request: Request, warm_start: Any) -> Factors:
    """Return the factors of an earlier result, or of a pair (U, V), in the scaled units."""
    xp, e = observed.xp, observed.exponent
    model = offsets(observed, request)
    if isinstance(warm_start, tuple):
        U, V = _pair(warm_start)
        mean, row, column = model.mean, model.row_bias, model.column_bias
    else:
        U, V = _fields(warm_start)
        keeps = warm_start.mean and (request.biased or request.centred)
        mean = scaled_number(warm_start.mean, -e) if keeps else model.mean
        row, column = warm_start.row_bias, warm_start.col_bias
        if request.biased and row is None:
            row, column = model.row_bias, model.column_bias
        elif request.biased:
            row, column = (_like(observed, ldexp(b, -e, xp)) for b in (row, column))
        else:
            row = column = None
    (m, n), k = observed.shape, int(U.shape[1]) if U.ndim == 2 else -1
    if (
        tuple(U.shape) != (m, k)
        or tuple(V.shape) != (n, k)
        or k < 1
        or request.rank not in (None, k)
    ):
        rank = "rank" if request.rank is None else str(request.rank)
        raise ValueError(
            f"warm_start must have factors of shapes ({m}, {rank}) and ({n}, {rank}), got "
            f"{tuple(U.shape)} and {tuple(V.shape)}."
        )
    U, V = (_like(observed, x) for x in (U, V))
    if not all(bool(xp.all(xp.isfinite(x))) for x in (U, V)):
        raise ValueError("warm_start must be finite, got NaN or infinity in its factors.")
    W = xp.conj(V) if is_complex_dtype(xp, observed.dtype) else V
    # U takes the whole power of two; the sweeps balance the two
    return Factors(ldexp(U, -e, xp), W, row, column, mean)


def scaled_number(x: Any, e: int) -> Any:
    """Return a real or complex number times ``2**e``."""
    if isinstance(x, complex):
        return complex(ldexp_float(x.real, e), ldexp_float(x.imag, e))
    return ldexp_float(float(x), e)


def _pair(pair: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(pair) != 2:
        raise ValueError(
            message("warm_start", "be a result or a pair (U, V)", f"{len(pair)} items")
        )
    return pair


def _fields(result: Any) -> tuple[Any, Any]:
    if not all(hasattr(result, name) for name in ("U", "V", "mean", "row_bias", "col_bias")):
        raise TypeError(message("warm_start", "be a CompletionResult or a pair (U, V)", result))
    return result.U, result.V


def _like(observed: Observed, x: Any) -> Any:
    """Return an array in the library, on the device and in the precision of the entries."""
    xp = observed.xp
    if library_of(x) != library_name(xp):
        raise TypeError(f"warm_start must hold arrays of {library_name(xp)}, got {library_of(x)}.")
    if is_complex_dtype(xp, x.dtype) and not is_complex_dtype(xp, observed.dtype):
        raise TypeError("warm_start must be real for real data, got complex factors.")
    return asarray(x, xp=xp, device=observed.device, dtype=observed.dtype, copy=False)
