"""From a request to fitted factors: continuation, polish, restarts, hold-out, refit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import eps, numpy_namespace
from linalgkit.completion._factors import Factors, residual_energy
from linalgkit.completion._gauss_newton import polish
from linalgkit.completion._held_out import held_out
from linalgkit.completion._hidden import HIDDEN, least_seen
from linalgkit.completion._observed import Observed, select
from linalgkit.completion._robust import LOSSES, robust_noise, robust_sweeps, typical_size
from linalgkit.completion._shrunk import SHRUNK_TOL, Shrunk, shrunk
from linalgkit.completion._start import random_start, svd_start
from linalgkit.completion._sweeps import (
    ATTEMPTS,
    FEW_ENTRIES,
    QUICK,
    SLOWEST,
    Fall,
    Settings,
    Swept,
    Watch,
    data_energy,
    oversampling,
    sweep_down,
    total_weight,
)

_HOST = numpy_namespace()
# relative decrease of the residual norm by a step of the polish that is none
_SETTLED, _FEW_SETTLED = 1e-6, 1e-8
_MOST_INNER, _SEARCH_INNER = 2500, 1000  # inner steps of a polish; of one from many starts
_SEARCHED = 2_000_000  # work of a sweep from which on one start has to do
_NEAR = 1e-3  # of the objective by a sweep, after which the polish takes over
_LEAST_POLISH = 20  # Gauss-Newton steps that are allowed whatever the sweeps before
_CHOSEN_TOL = 1e-5  # of the fit whose ridge was chosen, which no held-out entry knows better
HELD_OUT = 0.1  # fraction held out where something has to be chosen and nothing was said


@dataclass(frozen=True)
class Request:
    """A checked request, in the scaled units of the entries."""

    rank: int | None
    max_rank: int
    solver: str = "auto"
    alpha: float | None = 0.0
    loss: str = "squared"
    loss_scale: float | None = None
    biased: bool = False
    centred: bool = False
    shrink: bool = False
    init: str = "svd"
    warm: Factors | None = None
    continuation: bool = True
    tol: float | None = None
    max_sweeps: int = 200
    polish: bool = True
    validation: Any = None
    rng: Any = None
    watch: Watch = field(default_factory=lambda: Watch(None, 1.0))


@dataclass
class Fitted:
    """Factors and what is known of them."""

    factors: Factors
    status: str
    history: list[float] = field(default_factory=list)
    n_sweeps: int = 0
    alpha: float = 0.0
    scale: float = 0.0
    validation_rmse: float | None = None
    shrunk: Shrunk | None = None


def offsets(observed: Observed, request: Request) -> Factors:
    """Return the model without factors: mean and biases as asked (of rank 0)."""
    xp, (m, n) = observed.xp, observed.shape
    place = {"dtype": observed.dtype, "device": observed.device}
    none = Factors(xp.zeros((m, 0), **place), xp.zeros((n, 0), **place))
    if not (request.biased or request.centred):
        return none
    mean = observed.value_sum() / total_weight(observed)
    if not xp.isdtype(observed.dtype, "complex floating"):
        mean = mean.real
    if not request.biased:
        return replace(none, mean=mean)
    return replace(
        none, mean=mean, row_bias=xp.zeros((m,), **place), column_bias=xp.zeros((n,), **place)
    )


def begin(observed: Observed, request: Request, rank: int, init: str | None = None) -> Factors:
    """Return the factors that the sweeps start from."""
    if request.warm is not None and init is None:
        return request.warm
    model = offsets(observed, request)
    size = math.sqrt(data_energy(observed) / max(total_weight(observed), 1e-300)) or 1.0
    robust = request.loss != "squared"
    if (init or request.init) == "svd" and not robust:
        return svd_start(observed, model, rank, request.rng)
    if robust:
        size = typical_size(observed) or size
    return random_start(observed, model, rank, request.rng, size)


def held_out_error(observed: Observed, f: Factors, request: Request) -> float:
    """Return the error by which is chosen: gross errors among the held-out entries do not count."""
    return root_mean_square(observed, f) if request.loss == "squared" else robust_noise(observed, f)


def root_mean_square(observed: Observed, f: Factors) -> float:
    """Return the weighted root mean square of the residuals."""
    return math.sqrt(residual_energy(observed, f) / total_weight(observed))


# ------------------------------------------------------------------------- one rank, one alpha


def fit_fixed(
    observed: Observed, request: Request, rank: int, warm: Factors | None = None
) -> Fitted:
    """Fit with a given rank and ridge."""
    begun = Swept(begin(observed, request, rank) if warm is None else warm)
    is_warm = warm is not None or request.warm is not None
    if request.loss != "squared":
        code = LOSSES.index(request.loss)
        fall = QUICK if request.continuation and not is_warm else None
        settings = _settings(request, fall=fall)
        swept = robust_sweeps(observed, begun.factors, settings, code, request.loss_scale)
        return _fitted(swept, request)
    if request.solver == "rgn":
        return _polished(observed, Fitted(begun.factors, "max_sweeps"), request)
    if not _restarts(observed, request, rank, is_warm):
        fall = QUICK if request.continuation and not is_warm else None
        found = _descend(observed, request, begun, fall)
        if fall is None or not _is_doubtful(observed, request, found):
            return found
        again = _search(observed, request, rank, begin(observed, request, rank))
        ends = (residual_energy(observed, x.factors) for x in (again, found))
        best = again if next(ends) <= next(ends) else found
        return replace(best, n_sweeps=again.n_sweeps + found.n_sweeps)
    return _search(observed, request, rank, begun.factors)


def _is_doubtful(observed: Observed, request: Request, found: Fitted) -> bool:
    """Tell whether a fit may be a local minimum: not exact, and a component of it is hidden."""
    if not polishes(observed, request, found.factors.rank) or found.status == "stopped":
        return False
    return is_inexact(observed, found.factors) and least_seen(observed, found.factors) < HIDDEN


def is_inexact(observed: Observed, f: Factors) -> bool:
    """Tell whether the residual is above rounding."""
    rounding = (1e3 * float(eps(observed.xp, observed.dtype))) ** 2
    return residual_energy(observed, f) > rounding * data_energy(observed)


def _restarts(observed: Observed, request: Request, rank: int, is_warm: bool) -> bool:
    """Tell whether entries are so few that sweeps may end beside the solution."""
    share = oversampling(observed, rank)
    return (
        not is_warm
        and request.continuation
        and polishes(observed, request, rank)
        and 1.0 <= share < FEW_ENTRIES
    )


def polishes(observed: Observed, request: Request, rank: int) -> bool:
    """Tell whether the least-squares problem is one that Gauss-Newton can end."""
    return (
        request.polish
        and request.alpha == 0.0
        and not request.biased
        and request.solver in ("auto", "pcg", "direct")
        and oversampling(observed, rank) >= 1.0
    )


def _settings(request: Request, **changes: Any) -> Settings:
    solver = "pcg" if request.solver == "auto" else request.solver
    return Settings(
        request.alpha or 0.0, solver, request.biased, request.max_sweeps, request.tol,
        rng=request.rng, watch=request.watch, **changes,
    )  # fmt: skip


def _fitted(swept: Swept, request: Request) -> Fitted:
    return Fitted(
        swept.factors,
        swept.status,
        swept.history,
        swept.n_sweeps,
        request.alpha or 0.0,
        swept.scale,
    )


def _descend(
    observed: Observed, request: Request, begun: Swept, fall: Fall | None, most: int | None = None
) -> Fitted:
    """Sweep with a falling ridge, then polish where that applies; the start is given up."""
    ends = polishes(observed, request, begun.factors.rank)
    tiny = float(eps(observed.xp, observed.dtype)) ** 0.75
    floor = tiny if request.alpha == 0.0 else 0.0
    if ends and fall is not None:
        fall = fall.within(request.max_sweeps)
        floor = fall.end
    if ends and fall is None:
        return _polished(observed, _approached(observed, request, begun), request)
    swept = sweep_down(observed, begun, _settings(request, fall=fall, floor=floor, hands_over=ends))
    found = _fitted(swept, request)
    return _polished(observed, found, request, most) if ends and swept.status == "fallen" else found


def _approached(observed: Observed, request: Request, begun: Swept) -> Fitted:
    """Return a start that the polish can end: sweeps without a ridge, unless it is a fit."""
    if request.warm is not None or request.continuation:
        return Fitted(begun.factors, "max_sweeps")
    settings = _settings(replace(request, tol=_NEAR), fall=None)
    return _fitted(sweep_down(observed, begun, settings), request)


def _polished(
    observed: Observed, found: Fitted, request: Request, most: int | None = None
) -> Fitted:
    """Return the answer after Riemannian Gauss-Newton steps."""
    room = max(_LEAST_POLISH, request.max_sweeps // 4) if most is None else most
    room = min(room, request.max_sweeps - found.n_sweeps)
    few = oversampling(observed, found.factors.rank) < FEW_ENTRIES
    tol = request.tol if request.tol is not None else _FEW_SETTLED if few else _SETTLED
    done = polish(
        observed, found.factors, max_outer=room, tol=tol, max_inner=_MOST_INNER if most is None
        else _SEARCH_INNER, callback=lambda _, r: request.watch(r),
    )  # fmt: skip
    history = [*found.history, *(x * x for x in done.history)]
    return replace_fitted(found, done.factors, done.status, history)


def replace_fitted(found: Fitted, f: Factors, status: str, history: list[float]) -> Fitted:
    """Return an answer with other factors."""
    return replace(found, factors=f, status=status, history=history, n_sweeps=len(history))


def _search(observed: Observed, request: Request, rank: int, start: Factors) -> Fitted:
    """Fit from several starts until one is exact, or two agree; the best one is returned."""
    energy = data_energy(observed)
    exact = float(eps(observed.xp, observed.dtype)) ** 0.5
    best, ends, total = Fitted(start, "max_sweeps"), [math.inf], 0
    m, n = observed.shape
    is_small = observed.count * rank + 30 * (m + n) < _SEARCHED
    for init, fall in ATTEMPTS if is_small else ATTEMPTS[:1]:
        if total > 0:
            start = best.factors if init is None else begin(observed, request, rank, init)
        longer = 3 * request.max_sweeps if fall is SLOWEST else request.max_sweeps
        longer_request = replace(request, max_sweeps=longer)
        found = _descend(observed, longer_request, Swept(start), fall, _LEAST_POLISH)
        total += found.n_sweeps
        end = residual_energy(observed, found.factors)
        best = found if end < min(ends) else best
        ends.append(end)
        if found.status == "stopped" or end <= exact**2 * energy:
            break
        if init is not None and _agree(ends):
            break
    best.n_sweeps = total
    return best


def _agree(ends: list[float]) -> bool:
    """Tell whether the smallest residual was reached from two starts."""
    low = sorted(ends)
    return len(low) > 1 and low[1] <= low[0] * 1.001


# ------------------------------------------------------------------------------- with hold-out


def fit(observed: Observed, request: Request) -> Fitted:
    """Fit, choosing rank and ridge on held-out entries where they are not given."""
    chooses = not request.shrink and (request.rank is None or request.alpha is None)
    validation = request.validation
    if validation is None and not chooses:
        return _fit_all(observed, request)
    aside = held_out(observed, HELD_OUT if validation is None else validation, request.rng)
    train, held = select(observed, ~aside), select(observed, aside)
    first, refit = _chosen(train, held, request)
    found: Fitted = refit(observed)
    found.validation_rmse = held_out_error(held, first, request)
    return found


def _fit_all(observed: Observed, request: Request) -> Fitted:
    if request.shrink:
        return fit_shrunk(observed, request)
    assert request.rank is not None
    return fit_fixed(observed, request, request.rank)


def _chosen(train: Observed, held: Observed, request: Request) -> tuple[Any, Any]:
    """Return what was fitted without the held-out entries, and how to fit all."""
    from linalgkit.completion._choice import best_alpha, grown

    if request.shrink:
        found = fit_shrunk(train, request)
        again = replace(request, warm=found.factors)
        return found.factors, lambda o: _counted(fit_shrunk(o, again), found)
    if request.alpha is None:
        found = best_alpha(train, held, request)
        tol = _CHOSEN_TOL if request.tol is None else request.tol
        fixed = replace(request, alpha=found.alpha, tol=tol)
        rank = found.factors.rank
        return found.factors, lambda o: _counted(fit_fixed(o, fixed, rank, found.factors), found)
    if request.rank is None:
        found = grown(train, held, request)
    else:
        found = fit_fixed(train, request, request.rank)
    rank = found.factors.rank
    return found.factors, lambda o: _counted(fit_fixed(o, request, rank, found.factors), found)


def _counted(found: Fitted, before: Fitted) -> Fitted:
    """Return the refit with the sweeps of the first fit added."""
    found.n_sweeps += before.n_sweeps
    return found


def fit_shrunk(observed: Observed, request: Request) -> Fitted:
    """Fit with shrinkage of each component."""
    rank = request.max_rank if request.rank is None else request.rank
    start, size = begin(observed, request, rank), math.sqrt(total_weight(observed))
    tol = SHRUNK_TOL if request.tol is None else request.tol
    done = shrunk(
        observed, start, max_sweeps=request.max_sweeps, biased=request.biased,
        callback=lambda _, __, noise: request.watch(noise * size), tol=tol,
    )  # fmt: skip
    return Fitted(done.factors, done.status, list(done.history), done.n_sweeps, 0.0, shrunk=done)
