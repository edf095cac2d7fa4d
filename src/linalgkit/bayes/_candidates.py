"""Candidates for an answer, each found in its own way, and the choice among them by evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.random import as_generator
from linalgkit.bayes._climb import RULES, History, climb
from linalgkit.bayes._model import Model, in_widest, restricted
from linalgkit.bayes._moves import Price, counts, is_empty, penalised
from linalgkit.bayes._posterior import of_state
from linalgkit.bayes._product_posterior import ProductPosterior, gauge_volume
from linalgkit.bayes._rank_one import rank_one
from linalgkit.bayes._request import Request
from linalgkit.bayes._search import (
    Found,
    Start,
    noise_edge,
    search,
    start_by_moments,
    supports_by_unfoldings,
    unfolding_grams,
)
from linalgkit.bayes._state import State

_HOST = numpy_namespace()
# Ranges are compressed where a mode's columns fall to this share of its rows.
_COMPRESS = 0.8
# A first climb ends here where the support is then chosen by the evidence.
_FIRST_TOL = 1e-3
# Rank one is tried where the second eigenvalue of every unfolding is at most so many times the
# largest that noise alone has.
_RANK_ONE = 1.5
_LARGEST = 2**30  # bytes of a tensor of the size of the unknown
_ANNEALING = 8
# Multiplications of one chain of mode products up to which a doubtful support is asked for twice.
_SMALL = 200_000
_INTERPOLATED = 1e-8  # of the mean square: the noise that is left where all columns fit the data
_SPREAD = 2.0  # of the logarithms of random starts


@dataclass(eq=False)
class Candidate:
    """An answer in working units.

    Attributes
    ----------
    method : str
        What found it.
    gammas : list of host array (N_i,)
        Prior variances of the unit columns.
    noise : float
        Variance.
    posterior : object
        Of the columns with positive variance.
    history : History
        Cycles.
    converged : bool
        Whether the stopping rule was met.
    kkt, gain, score : float
        See :class:`KronSBLResult`.
    """

    method: str
    gammas: list[Array]
    noise: float
    posterior: Any
    history: History
    converged: bool
    kkt: float
    gain: float
    score: float


# -------------------------------------------------------------------------- candidates


def best_candidate(model: Model, asked: Request, price: Price) -> Candidate:
    """Return the candidate of the highest penalised evidence for `method="auto"`."""
    noise_var, history = asked.noise_var, History(callback=asked.callback)
    grams = unfolding_grams(model)
    columns, is_clear = supports_by_unfoldings(model, price, noise_var, grams)
    found = search(
        model, columns, price, RULES["mm"], history, noise_var=noise_var, max_iter=asked.max_iter,
        tol=asked.tol,
    )  # fmt: skip
    candidates = [_of_state(model, found.state, found.columns, "mm", price, history, found)]
    if looks_rank_one(model, grams, candidates[0].noise):
        candidates.append(rank_one_candidate(model, asked, price, grams))
    settled = (is_clear and _same(columns, found)) or candidates[-1].score > candidates[0].score
    if not settled and asked.restarts == 0 and _is_small(model):
        start = _annealed(model, asked)
        candidates.append(dense_candidate(model, asked, price, "mm", start))
    rng = as_generator(asked.rng) if asked.restarts > 1 else None
    for k in range(asked.restarts):
        start = _random_start(model, asked, rng) if k else _annealed(model, asked)
        candidates.append(dense_candidate(model, asked, price, "mm", start))
    return max(candidates, key=lambda c: c.score)


def _same(columns: Sequence[Array], found: Found) -> bool:
    """Tell whether the support that was started from is the one that was found."""
    pairs = zip(columns, found.columns, found.state.gammas, strict=True)
    return all(list(c) == list(f[g > 0]) for c, f, g in pairs)


def _is_small(model: Model) -> bool:
    """Tell whether a run from all columns takes little beside the rest."""
    return int(math.prod(model.Y.shape)) * sum(model.sizes) <= _SMALL


def looks_rank_one(model: Model, grams: Sequence[Array], noise: float) -> bool:
    """Tell whether noise alone could be the second eigenvalue of every unfolding."""
    if model.modes == 1:
        return False
    for G in grams:
        columns = model.total / G.shape[0]
        values = _HOST.linalg.eigvalsh(G)
        rounding = 1e-14 * float(values[-1])
        limit = _RANK_ONE * noise * columns * noise_edge(G.shape[0], columns)
        if G.shape[0] > 1 and values[-2] > limit + rounding:
            return False
    return True


def rank_one_candidate(
    model: Model, asked: Request, price: Price, grams: Sequence[Array]
) -> Candidate:
    """Return the candidate whose unknown is of rank one."""
    found = rank_one(model, price, grams, asked.noise_var, max_iter=asked.max_iter, tol=asked.tol)
    gammas = []
    for n, columns, values in zip(model.widths, found.supports, found.gammas, strict=True):
        gamma = _HOST.zeros(n)
        gamma[columns] = values
        gammas.append(gamma)
    history = History(list(found.history), list(found.changes), found.sweeps, asked.callback)
    history.report()
    posterior = ProductPosterior(found)
    return Candidate(
        "rank_one", gammas, found.noise, posterior, history, found.converged,
        posterior.stationarity(), math.nan, found.score + gauge_volume(found, model.kappa),
    )  # fmt: skip


def dense_candidate(
    model: Model, asked: Request, price: Price, method: str, start: Start
) -> Candidate:
    """Return the candidate that one method finds from all columns."""
    history = History(callback=asked.callback)
    estimate = asked.noise_var is None
    state, columns, done = _from_all(model, asked, method, start, history, estimate)
    if not asked.by_evidence:
        return _of_state(model, state, columns, method, price, history, None, done)
    if estimate and state.noise < _INTERPOLATED * model.energy / model.total:
        # All columns together fit anything: what the noise may be is asked of fewer.
        state, columns, done = _from_all(model, asked, method, start, history, False)
    if is_empty(state):
        return _of_state(model, state, columns, method, price, history, None, done)
    begin = Start(_spread(state, columns, model), state.noise)
    inside = [_HOST.flatnonzero(g > 0) for g in begin.gammas]
    rule = RULES[method if method in ("mm", "jacobi", "ecm") else "mm"]
    found = search(
        model, inside, price, rule, history, start=begin, noise_var=asked.noise_var,
        max_iter=asked.max_iter, tol=asked.tol, couplings=asked.couplings,
    )  # fmt: skip
    return _of_state(model, found.state, found.columns, method, price, history, found)


def _from_all(
    model: Model, asked: Request, method: str, start: Start, history: History, estimate: bool
) -> tuple[State, list[Array], bool]:
    """Climb from a start on all columns; return where it ends, on which columns, and if at rest."""
    _check_size(model, RULES[_rule(method, asked)].published)
    state = State(in_widest(model), start.gammas, start.noise, asked.couplings)
    history.change(state)
    columns = [_HOST.arange(n) for n in model.widths]
    tol = max(_FIRST_TOL, asked.tol) if asked.by_evidence else asked.tol
    last = history.cycles + asked.max_iter
    while True:
        done = climb(
            state, RULES[_rule(method, asked)], history, estimate_noise=estimate,
            max_iter=last - history.cycles, tol=tol, thresholds=asked.thresholds,
            pause=None if asked.couplings is not None else _compressible,
        )  # fmt: skip
        if done is not None or history.cycles >= last:
            return state, columns, bool(done)
        state, columns = _compressed(model, state, columns)


def _check_size(model: Model, published: str | None) -> None:
    """Refuse the paper's methods, which form tensors like the unknown, where too large."""
    needed = 8 * math.prod(model.widths)
    if published is not None and needed > _LARGEST:
        raise MemoryError(
            f"method must be 'auto', 'mm', 'jacobi' or 'ecm' for {math.prod(model.widths)} "
            f"unknowns, since {published!r} forms tensors of that size, {needed} bytes each."
        )


def _rule(method: str, asked: Request) -> str:
    return "pc" if method == "am" and asked.couplings is not None else method


def _compressible(state: State) -> bool:
    """Tell whether the ranges of the columns that are in are clearly smaller than the space."""
    sizes = state.model.sizes
    return not is_empty(state) and any(
        k < _COMPRESS * m for k, m in zip(counts(state), sizes, strict=True)
    )


def _compressed(model: Model, state: State, columns: Sequence[Array]) -> tuple[State, list[Array]]:
    """Return the state on the columns that are in."""
    on = [g > 0 for g in state.gammas]
    kept = [c[o] for c, o in zip(columns, on, strict=True)]
    small, _ = restricted(model, kept)
    return State(small, [g[o] for g, o in zip(state.gammas, on, strict=True)], state.noise), kept


def _spread(state: State, columns: Sequence[Array], model: Model) -> list[Array]:
    """Return the hyperparameters among all columns."""
    spread = []
    for gamma, chosen, n in zip(state.gammas, columns, model.widths, strict=True):
        full = _HOST.zeros(n)
        full[chosen] = gamma
        spread.append(full)
    return spread


# ------------------------------------------------------------------------------ starts


def start_for(model: Model, asked: Request) -> Start:
    """Return the start that was asked for."""
    start = start_by_moments(model, asked.noise_var)
    return start if asked.gamma0 is None else Start(asked.gamma0, start.noise)


def _annealed(model: Model, asked: Request) -> Start:
    """Return where cycles under a falling noise variance end, from equal hyperparameters."""
    start = start_by_moments(model, asked.noise_var)
    state = State(in_widest(model), start.gammas, start.noise, asked.couplings)
    high = max(0.1 * model.energy / model.total, start.noise)
    for k in range(_ANNEALING + 1):
        state.set_noise(high * (start.noise / high) ** (k / _ANNEALING))
        climb(state, RULES["mm"], History(), estimate_noise=False, max_iter=2, tol=0.0)
    return Start(list(state.gammas), start.noise)


def _random_start(model: Model, asked: Request, rng: Any) -> Start:
    """Return hyperparameters with random logarithms."""
    start = start_by_moments(model, asked.noise_var)
    factors = [_HOST.exp(_SPREAD * rng.standard_normal(n)) for n in model.widths]
    return Start([g * f for g, f in zip(start.gammas, factors, strict=True)], start.noise)


# ----------------------------------------------------------------------------- answers


def _of_state(
    model: Model,
    state: State,
    columns: Sequence[Array],
    method: str,
    price: Price,
    history: History,
    found: Any,
    converged: bool = False,
) -> Candidate:
    """Return the candidate that a state is."""
    variances = [state.variances(i) for i in range(model.modes)]
    full = []
    for values, chosen, n in zip(variances, columns, model.widths, strict=True):
        gamma = _HOST.zeros(n)
        gamma[chosen] = values
        full.append(gamma)
    gain = math.nan if found is None else found.gain
    converged = converged if found is None else found.converged
    if any(not bool((v > 0).any()) for v in variances):
        return Candidate(method, full, state.noise, None, history, converged, 0.0, gain, -math.inf)
    return Candidate(
        method, full, state.noise, of_state(_tight(state)), history, converged, kkt_residual(state),
        gain, penalised(state, price),
    )  # fmt: skip


def _tight(state: State) -> State:
    """Return the state on the columns that are in, with their ranges alone, on the host."""
    variances = [state.variances(i) for i in range(state.model.modes)]
    columns = [_HOST.flatnonzero(v > 0) for v in variances]
    small, _ = restricted(state.model, columns)
    return State(small, [v[c] for v, c in zip(variances, columns, strict=True)], state.noise)


def kkt_residual(state: State) -> float:
    """Return the largest ``|a - b| / (a + b)`` over the hyperparameters that are in."""
    largest = 0.0
    for i, gamma in enumerate(state.gammas):
        a, b = state.marginals(i)
        on = (gamma > 0) & (a + b > 0)
        if bool(on.any()):
            largest = max(largest, float((_HOST.abs(a - b)[on] / (a + b)[on]).max()))
    return largest
