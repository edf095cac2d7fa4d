"""From data to a support: starts, refinement on what is kept, and the test of what is left out.

Work on the whole data is a Gram matrix of each unfolding, and some products with thin bases: the
search itself goes on among the columns that are in, whose ranges hold all that their covariance
sees. Whether a column that is out would pay is then asked of the whole data (:func:`newcomers`)::

    start = start_by_unfoldings(model, price, noise_var)
    found = search(model, start, price, RULES["mm"], estimate_noise=True, ...)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.modes import mode_gram, mode_product, mode_products
from linalgkit._core.scaling import norm_fro
from linalgkit.bayes._climb import History, Rule
from linalgkit.bayes._model import Model, restricted, wide_host
from linalgkit.bayes._moves import (
    Price,
    entry_gains,
    exchange,
    is_empty,
    penalised,
    refine,
)
from linalgkit.bayes._pursuit import best_supports
from linalgkit.bayes._state import State, abs2

_HOST = numpy_namespace()
# Times that columns left out are asked for, each time with a larger penalised evidence.
_ROUNDS = 50
# Columns of each mode that are taken in at a time.
_PROMISING = 2
# Cycles of all climbs together, over the limit of one.
_TOTAL = 50
_NOISE_STEPS = 10
_CLEAR = 10.0  # nats between the cheapest support of a mode and the next
_LEAST_NOISE = 1e-3  # of the mean square, in a start by moments


@dataclass(eq=False)
class Start:
    """Hyperparameters to start from, of the whole problem; zeros are out."""

    gammas: list[Array]
    noise: float


@dataclass(eq=False)
class Found:
    """A place where no single slice raises the penalised evidence.

    Attributes
    ----------
    state : State
        On the model of the columns that are in or were tried.
    columns : list of host array
        Their indices.
    history : History
        All cycles and changes.
    converged : bool
        Whether the last climb met its tolerance.
    score : float
        Penalised evidence.
    gain : float
        The most that a slice left out would raise the evidence by, before its price.
    """

    state: State
    columns: list[Array]
    history: History
    converged: bool
    score: float
    gain: float


# ---------------------------------------------------------------------------------- starts


def start_by_moments(model: Model, noise_var: float | None) -> Start:
    """Return equal hyperparameters whose signal has the energy of the data less the noise."""
    mean = model.energy / model.total
    noise = 0.1 * mean if noise_var is None else noise_var
    signal = max(mean - noise, _LEAST_NOISE * mean) * model.count
    norms = [max(norm_fro(H, _HOST) ** 2, 1e-300) for H in model.factors]
    each = math.exp((math.log(signal) - sum(map(math.log, norms))) / model.modes)
    gammas = [_HOST.where(_HOST.sum(abs2(H), axis=0) > 0, each, 0.0) for H in model.factors]
    return Start(gammas, noise)


def noise_guess(model: Model, grams: Sequence[Array]) -> float:
    """Return the noise variance that the eigenvalues of the unfoldings suggest.

    Of an unfolding those below the edge of noise alone (Marchenko and Pastur) count, the edge
    being that of their own mean; of the modes the one with the most columns a row.
    """
    guesses = [(0.0, 0.1 * model.energy / model.total)]
    for G in grams:
        columns = model.total / G.shape[0]
        values = _HOST.maximum(_HOST.linalg.eigvalsh(G) / columns, 0.0)
        rounding = 1e-15 * float(values[-1])
        noise = float(values[G.shape[0] // 4])
        for _ in range(_NOISE_STEPS):
            below = values[values <= max(noise, rounding) * noise_edge(G.shape[0], columns)]
            noise = float(_HOST.mean(below))
        if columns > 2 * G.shape[0] and 2 * below.shape[0] > G.shape[0]:
            guesses.append((columns / G.shape[0], noise))
    return max(max(guesses)[1], model.noise_floor)


def noise_edge(m: int, columns: float) -> float:
    """Return the largest eigenvalue of noise of variance one, over the number of columns."""
    return (1 + math.sqrt(m / columns)) ** 2


def signal_part(G: Array, columns: float, noise: float) -> Array:
    """Return the part of an unfolding above the noise, (m, r), from its Gram matrix."""
    values, V = _HOST.linalg.eigh(G)
    m = G.shape[0]
    edge = noise * columns * noise_edge(m, columns)
    r = max(1, int(_HOST.sum(values > edge)))
    return V[:, m - r :] * _HOST.sqrt(_HOST.maximum(values[m - r :], 0.0))


def supports_by_unfoldings(
    model: Model, price: Price, noise_var: float | None, grams: Sequence[Array]
) -> tuple[list[Array], bool]:
    """Return the cheapest support of every mode, each from its own unfolding, and if all are clear.

    A support is clear where every other that does not contain it costs much more.
    """
    noise = noise_guess(model, grams) if noise_var is None else noise_var
    supports, is_clear = [], True
    for i, (H, G) in enumerate(zip(model.factors, grams, strict=True)):
        R = signal_part(G, model.total / G.shape[0], noise)
        found = best_supports(H, R, noise, model.kappa, functools.partial(price.of, i))
        supports.append(_HOST.asarray(found[0].columns, dtype=_HOST.int64))
        best = set(found[0].columns)
        others = [s.cost for s in found if not best <= set(s.columns)]
        is_clear &= not others or min(others) > found[0].cost + _CLEAR
    return supports, is_clear


def unfolding_grams(model: Model) -> list[Array]:
    """Return the Gram matrix of each unfolding, on the host."""
    return [wide_host(mode_gram(model.Y, i, model.xp)) for i in range(model.modes)]


def start_on(model: Model, noise_var: float | None) -> Start:
    """Return the start that least squares on a model of few columns gives."""
    inverses = [_HOST.linalg.pinv(H) for H in model.factors]
    X = mode_products(model.Y, inverses, _HOST)
    squares = _HOST.sum(abs2(X), axis=-1) / model.snapshots
    mean = max(float(_HOST.mean(squares)), 1e-300)
    gammas = []
    for i in range(model.modes):
        axes = tuple(k for k in range(model.modes) if k != i)
        share = _HOST.mean(squares, axis=axes) / mean
        gammas.append(_HOST.maximum(share, 1e-3) * mean ** (1 / model.modes))
    if noise_var is not None:
        return Start(gammas, noise_var)
    fitted = mode_products(X, model.factors, _HOST)
    rest = model.outside + norm_fro(model.Y - fitted, _HOST) ** 2
    return Start(gammas, max(rest / model.total, model.noise_floor))


# ---------------------------------------------------------------------------------- search


def search(
    model: Model,
    columns: Sequence[Array],
    price: Price,
    rule: Rule,
    history: History,
    *,
    start: Start | None = None,
    noise_var: float | None,
    max_iter: int,
    tol: float,
    couplings: Sequence[Array | None] | None = None,
) -> Found:
    """Refine the support among `columns`, and take in what pays from the others, until none does.

    `start` is of the whole problem; without it, least squares on the columns starts.
    """
    estimate = noise_var is None
    columns = [_HOST.sort(c) for c in columns]
    small, bases = restricted(model, columns)
    begin = start_on(small, noise_var) if start is None else _picked(start, columns)
    state = State(small, begin.gammas, begin.noise, _pick_couplings(couplings, columns))
    history.change(state)
    converged, gain = False, math.nan
    for _ in range(_ROUNDS):
        converged = refine(
            state, price, rule, history, estimate_noise=estimate, max_iter=max_iter, tol=tol
        )
        if couplings is not None or is_empty(state):
            break
        entries, gain, pays = newcomers(model, state, columns, bases, price)
        state, columns, bases = _with_newcomers(model, state, columns, entries)
        if history.cycles > _TOTAL * max_iter:
            converged = False
            break
        if not pays and not exchange(state, price, rule, history, estimate_noise=estimate):
            break
    return Found(state, columns, history, converged, penalised(state, price), gain)


def _picked(start: Start, columns: Sequence[Array]) -> Start:
    return Start([g[c] for g, c in zip(start.gammas, columns, strict=True)], start.noise)


def _pick_couplings(
    couplings: Sequence[Array | None] | None, columns: Sequence[Array]
) -> list[Array | None] | None:
    if couplings is None:
        return None
    pairs = zip(couplings, columns, strict=True)
    return [None if C is None else C[_HOST.ix_(c, c)] for C, c in pairs]


def newcomers(
    model: Model,
    state: State,
    columns: Sequence[Array],
    bases: Sequence[Array | None],
    price: Price,
) -> tuple[list[Array], float, bool]:
    """Return the most promising columns left out of each mode, the largest gain, and if any pays.

    Asks the whole data: mode i with all its columns, the others in the bases of their ranges.
    """
    found = []
    largest, pays = 0.0, False
    views = _views(model.Y, [None if Q is None else _HOST.conj(Q.T) for Q in bases], model)
    for i in range(model.modes):
        whole = _one_mode_whole(model, state, views[i], i, columns[i])
        gains, _ = entry_gains(whole, i)
        largest = max(largest, float(gains.max()))
        gains[columns[i]] = 0.0  # refine has asked these already
        order = _HOST.argsort(-gains, kind="stable")[:_PROMISING]
        found.append(order[gains[order] > 0])
        kept = int(_HOST.sum(state.gammas[i] > 0))
        pays |= kept < model.widths[i] and gains[order[0]] > price.next(i, kept) + 1e-2
    return found, largest, pays


def _views(Y: Array, adjoints: Sequence[Array | None], model: Model) -> list[Array]:
    """Return, for every mode, `Y` times the adjoint bases of all other modes.

    Halves the modes again and again, so that the whole data are read twice and not I times.
    """
    modes = len(adjoints)

    def descend(T: Array, low: int, high: int) -> list[Array]:
        if high - low == 1:
            return [wide_host(T)]
        middle = (low + high) // 2
        left, right = T, T
        for k in range(middle, high):
            left = _times(left, adjoints[k], k, model)
        for k in range(low, middle):
            right = _times(right, adjoints[k], k, model)
        return [*descend(left, low, middle), *descend(right, middle, high)]

    return descend(Y, 0, modes)


def _times(T: Array, A: Array | None, axis: int, model: Model) -> Array:
    return T if A is None else mode_product(T, model.tensor(A), axis, model.xp)


def _one_mode_whole(model: Model, state: State, view: Array, i: int, columns: Array) -> State:
    """Return the state with mode i in its own space, with all its columns."""
    factors = list(state.model.factors)
    factors[i] = model.factors[i]
    gammas = list(state.gammas)
    gammas[i] = _HOST.zeros(model.widths[i])
    gammas[i][columns] = state.gammas[i]
    inside = norm_fro(view, _HOST) ** 2
    part = replace(
        state.model,
        factors=tuple(factors),
        Y=view,
        outside=max(model.energy - inside, 0.0),
        squares=None,
    )
    return State(part, gammas, state.noise)


def _with_newcomers(
    model: Model, state: State, columns: Sequence[Array], entries: Sequence[Array]
) -> tuple[State, list[Array], tuple[Array | None, ...]]:
    """Return the state on the columns that are in and the newcomers, which start at zero."""
    kept, gammas = [], []
    for gamma, mine, new in zip(state.gammas, columns, entries, strict=True):
        on = gamma > 0
        joined = _HOST.concat([mine[on], new])
        values = _HOST.concat([gamma[on], _HOST.zeros(new.shape[0])])
        order = _HOST.argsort(joined)
        kept.append(joined[order])
        gammas.append(values[order])
    small, bases = restricted(model, kept)
    return State(small, gammas, state.noise), kept, bases
