"""The support by the evidence: which slices leave and which come back, one at a time.

A change ``d`` of one variance changes the covariance, in the eigenbasis of the other modes, by a
rank-one term in every block, so that its evidence is known exactly::

    losses = removal_losses(state, i)           # nats, of each slice that is in
    gains, variances = entry_gains(state, i)    # nats, of each slice that is out, at its best value

:func:`refine` takes the change that raises the penalised evidence most until none does.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._climb import History, Rule, climb
from linalgkit.bayes._model import Model
from linalgkit.bayes._state import State, abs2

_HOST = numpy_namespace()
_FIXED_POINT_STEPS = 15
_STEPS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_SHORT_CLIMB = 8
_SHORT_TOL = 1e-3
# A gain below this many nats is not worth a change.
_WORTH = 1e-2
_MAX_MOVES = 2000
# Slices of each mode that an exchange tries.
_TRIALS = 2
# The share of its price that a slice must bring to be tried in an exchange.
_PROMISING = 0.25
# Slices are removed many at a time where a mode has this many, each for this share of its price.
_MANY, _HARDLY = 6, 0.2


class Price:
    """The nats that a slice must raise the evidence by.

    Parameters
    ----------
    penalty : "bic" or float
        "bic": ``1/2 log(n) + log(N_i)``, n the real numbers of the data and N_i the columns of its
        mode to choose from (the extended information criterion). A float: so many nats a slice.
    widths : sequence of int
        Columns N_i of the whole problem.
    numbers : int
        Real numbers of the data.
    """

    def __init__(self, penalty: str | float, widths: tuple[int, ...], numbers: int) -> None:
        self.widths = widths
        if penalty == "bic":
            self.each = tuple(0.5 * math.log(numbers) + math.log(n) for n in widths)
        else:
            self.each = (float(penalty),) * len(widths)

    def of(self, i: int, kept: int) -> float:
        """Return the price of `kept` slices in mode i."""
        return self.each[i] * kept

    def next(self, i: int, kept: int) -> float:
        """Return the price of one slice more than `kept`."""
        return self.each[i]

    def total(self, counts: list[int]) -> float:
        """Return the price of a support."""
        return float(sum(self.of(i, k) for i, k in enumerate(counts)))


def price_for(penalty: str | float, model: Model) -> Price:
    """Return the price list of a problem."""
    return Price(penalty, model.widths, model.total * (2 if model.is_complex else 1))


def counts(state: State) -> list[int]:
    """Return the number of slices in, of each mode."""
    return [int(_HOST.sum(g > 0)) for g in state.gammas]


def is_empty(state: State) -> bool:
    """Tell whether a mode has no slice left: the model is then noise alone."""
    return min(counts(state)) == 0


def penalised(state: State, price: Price) -> float:
    """Return the evidence less the price of the support."""
    return float(state.evidence - price.total(counts(state)))


# ------------------------------------------------------------------------- exact changes


class Slices(NamedTuple):
    """Of every column of a mode and index of the others: ``l s`` and ``l |q|^2``."""

    s: Array
    q: Array


def slices(state: State, i: int, columns: Array | None = None) -> Slices:
    """Return what the data and the determinant say about each column of mode i.

    With ``S_o`` the covariance at index o of the other modes' eigenbasis, of eigenvalue ``l_o``:
    ``l_o h^H S_o^-1 h`` and ``l_o |h^H S_o^-1 y_o|^2`` summed over snapshots.
    """
    m, others = state.model.sizes[i], state.others(i)
    D = state.eigenvalues[i][:, None] * others[None, :] + state.noise
    Z = _HOST.moveaxis(state.Z, i, 0).reshape(m, others.shape[0], -1)
    K = state.K[i] if columns is None else state.K[i][columns, :]
    weighted = (Z / D[:, :, None]).reshape(m, -1)
    q = abs2(K @ weighted).reshape(K.shape[0], others.shape[0], -1).sum(axis=-1)
    return Slices(others * (abs2(K) @ (1 / D)), others * q)


def change_of_evidence(state: State, found: Slices, d: Array) -> Array:
    """Return the change of the evidence where each variance alone changes by `d`."""
    t = _HOST.maximum(1 + d[:, None] * found.s, 1e-300)
    rows = state.model.snapshots * _HOST.log(t) - d[:, None] * found.q / t
    return -state.model.kappa * _HOST.sum(rows, axis=1)


def removal_losses(state: State, i: int) -> Array:
    """Return the evidence lost by the removal of each slice alone; infinite where it is out."""
    gamma = state.gammas[i]
    losses = _HOST.full(gamma.shape[0], _HOST.inf)
    on = _HOST.flatnonzero(gamma > 0)
    if state.couplings[i] is None:
        losses[on] = -change_of_evidence(state, slices(state, i, on), -gamma[on])
        return losses
    before, kept = state.evidence, state.saved()
    for j in on:  # a coupled hyperparameter stands for several columns
        trial = gamma.copy()
        trial[j] = 0.0
        state.set_mode(i, trial)
        losses[j] = before - state.evidence
        state.restore(kept)
    return losses


def entry_gains(state: State, i: int) -> tuple[Array, Array]:
    """Return the evidence that each slice alone would bring, and the variance at which it does.

    Zero gain where the slope at zero is not positive, and for slices that are in.
    """
    gamma = state.gammas[i]
    gains, best = _HOST.zeros(gamma.shape[0]), _HOST.zeros(gamma.shape[0])
    out = _HOST.flatnonzero(gamma == 0)
    if out.shape[0] == 0 or state.couplings[i] is not None:
        return gains, best
    found = slices(state, i, out)
    L = state.model.snapshots
    slope = found.q.sum(axis=1) / L - found.s.sum(axis=1)
    rising = _HOST.flatnonzero(slope > 1e-9 * found.s.sum(axis=1))
    if rising.shape[0] == 0:
        return gains, best
    found, slope = Slices(found.s[rising], found.q[rising]), slope[rising]
    d = _best_of_hills(state, found, slope / _HOST.sum(found.s**2, axis=1))
    for _ in range(_FIXED_POINT_STEPS):
        t = 1 + d[:, None] * found.s
        a, b = _HOST.sum(found.q / t**2, axis=1) / L, _HOST.sum(found.s / t, axis=1)
        d = d * _HOST.clip(a / b, 1e-2, 1e2)
    gains[out[rising]] = change_of_evidence(state, found, d)
    best[out[rising]] = d
    return gains, best


def _best_of_hills(state: State, found: Slices, d: Array) -> Array:
    """Return the best of some multiples of `d`: the gain can have more than one hill."""
    values = _HOST.stack([change_of_evidence(state, found, d * step) for step in _STEPS])
    return d * _HOST.asarray(_STEPS)[_HOST.argmax(values, axis=0)]


# --------------------------------------------------------------------------------- refine


class Move(NamedTuple):
    """One change of the support: mode, column, new variance, rise of the penalised evidence."""

    mode: int
    column: int
    variance: float
    rise: float


def best_move(state: State, price: Price) -> Move | None:
    """Return the change of one slice that raises the penalised evidence most, None without one."""
    moves = []
    for i, kept in enumerate(counts(state)):
        if kept > 1:
            losses = removal_losses(state, i)
            j = int(_HOST.argmin(losses))
            moves.append(Move(i, j, 0.0, price.next(i, kept - 1) - float(losses[j])))
        if kept < state.model.widths[i]:
            gains, best = entry_gains(state, i)
            j = int(_HOST.argmax(gains))
            if gains[j] > 0:
                moves.append(Move(i, j, float(best[j]), float(gains[j]) - price.next(i, kept)))
    moves = [move for move in moves if move.rise > _WORTH and math.isfinite(move.rise)]
    return max(moves, key=lambda move: move.rise) if moves else None


def refine(
    state: State,
    price: Price,
    rule: Rule,
    history: History,
    *,
    estimate_noise: bool,
    max_iter: int,
    tol: float,
) -> bool:
    """Climb, and change the support until no single slice raises the penalised evidence.

    Slices leave only where the climb has come to rest, and come back by the same test. Returns
    whether the last climb met `tol`. The penalised evidence rises at every change that is decided
    here, so that no support is seen twice.
    """
    climbing = functools.partial(climb, state, rule, history, estimate_noise=estimate_noise)
    climbing(max_iter=max_iter, tol=_SHORT_TOL)
    while not is_empty(state) and _remove_many(state, price):
        history.change(state)
        climbing(max_iter=_SHORT_CLIMB, tol=_SHORT_TOL)
    converged = False
    for _ in range(_MAX_MOVES):
        if is_empty(state):
            break
        if _move(state, price):
            history.change(state)
            climbing(max_iter=_SHORT_CLIMB, tol=_SHORT_TOL)
            converged = False
        elif converged:
            break
        else:
            converged = bool(climbing(max_iter=max_iter, tol=tol))
            if not converged:
                break
    return converged


def _move(state: State, price: Price) -> bool:
    """Make the best change of one slice; False where there is none."""
    move = best_move(state, price)
    if move is None:
        return False
    gamma = state.gammas[move.mode].copy()
    gamma[move.column] = move.variance
    return _accepted(state, price, move.mode, gamma)


def _remove_many(state: State, price: Price) -> bool:
    """Remove at once the slices of one mode that the evidence hardly misses; tell whether any."""
    for i, kept in enumerate(counts(state)):
        if kept < _MANY:
            continue
        losses = removal_losses(state, i)
        low = losses < _HARDLY * price.next(i, kept - 1)
        if 1 < int(_HOST.sum(low)) < kept and _accepted(
            state, price, i, _HOST.where(low, 0.0, state.gammas[i])
        ):
            return True
    return False


def _accepted(state: State, price: Price, i: int, gamma: Array) -> bool:
    """Change one mode if that raises the penalised evidence."""
    before, kept = penalised(state, price), state.saved()
    state.set_mode(i, gamma)
    if penalised(state, price) > before:
        return True
    state.restore(kept)
    return False


def exchange(
    state: State, price: Price, rule: Rule, history: History, *, estimate_noise: bool
) -> bool:
    """Let a slice in that does not pay by itself if others can then leave; tell whether it did.

    Tries the most promising of each mode, with a short climb, and keeps the first that raises the
    penalised evidence.
    """
    before = penalised(state, price)
    for _, i, j, variance in sorted(_trials(state, price), reverse=True):
        kept = state.saved()
        gamma = state.gammas[i].copy()
        gamma[j] = variance
        state.set_mode(i, gamma)
        scratch = History()
        climbing = functools.partial(
            climb, state, rule, scratch, estimate_noise=estimate_noise, max_iter=_SHORT_CLIMB,
            tol=_SHORT_TOL,
        )  # fmt: skip
        climbing()
        while (move := best_move(state, price)) is not None and move.variance == 0:
            gamma = state.gammas[move.mode].copy()
            gamma[move.column] = 0.0
            state.set_mode(move.mode, gamma)
            climbing()
        history.cycles += scratch.cycles
        if penalised(state, price) > before + _WORTH:
            history.change(state)
            return True
        state.restore(kept)
    return False


def _trials(state: State, price: Price) -> list[tuple[float, int, int, float]]:
    """Return gain, mode, column and variance of the slices left out that promise something."""
    trials = []
    for i, kept in enumerate(counts(state)):
        gains, best = entry_gains(state, i)
        least = _PROMISING * price.next(i, kept) if kept < price.widths[i] else math.inf
        order = _HOST.argsort(-gains, kind="stable")[:_TRIALS]
        trials += [(float(gains[j]), i, int(j), float(best[j])) for j in order if gains[j] > least]
    return trials
