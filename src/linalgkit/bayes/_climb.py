"""Update rules: cycles that raise the evidence, and the climb to where they stand still.

Every rule has the fixed points ``a = b`` of :meth:`State.marginals`::

    history = History()
    converged = climb(state, RULES["mm"], history, estimate_noise=True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._paper import paper_cycle
from linalgkit.bayes._state import State

_HOST = numpy_namespace()
#: A fall of the evidence below this share of it is rounding.
ROUNDING = 1e-12
# Hyperparameters below this share of the largest of their mode are zero to rounding.
_DEAD = 1e-13
# Beyond this a common error of scale, which all modes correct, would grow.
_LONGEST = 3.0
# Rotations between two fresh ones from the data.
_REFRESH = 5


class Rule(NamedTuple):
    """How a cycle changes the hyperparameters.

    ``simultaneous`` changes all modes from one pass; ``em`` takes the step of EM, not of the
    tangent bound; ``accelerated`` tries longer steps, which the evidence must approve;
    ``published`` names a cycle of the paper (module `_paper`), whose inner tolerance is fixed.
    """

    simultaneous: bool = False
    em: bool = False
    accelerated: bool = True
    published: str | None = None


RULES = {
    "mm": Rule(),
    "jacobi": Rule(simultaneous=True),
    "ecm": Rule(em=True, accelerated=False),
    "am": Rule(em=True, published="am"),
    "ksbl": Rule(em=True, published="ksbl"),
    "svd": Rule(em=True, published="svd"),
    "pc": Rule(em=True, published="pc"),
}


@dataclass
class History:
    """What happened: the evidence after every cycle, and where the support changed.

    Attributes
    ----------
    evidence : list of float
        Of the start, and after each cycle or change of the support.
    changes : list of int
        Positions in `evidence` reached by a change of the support and not by a cycle.
    cycles : int
        Number of cycles.
    callback : callable or None
        Called as ``callback(cycles, evidence)`` after each cycle.
    """

    evidence: list[float] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    cycles: int = 0
    callback: Callable[[int, float], Any] | None = None

    def cycle(self, state: State) -> None:
        """Note a cycle."""
        self.evidence.append(state.evidence)
        self.cycles += 1
        if self.callback is not None:
            self.callback(self.cycles, state.evidence)

    def report(self) -> None:
        """Call back with the last value, for a method that keeps its own history."""
        if self.callback is not None and self.evidence:
            self.callback(self.cycles, self.evidence[-1])

    def change(self, state: State) -> None:
        """Note a change of the support."""
        self.changes.append(len(self.evidence))
        self.evidence.append(state.evidence)


# The rules are those of He and Joseph (arXiv:2307.14719), section III, or replace them:
# 1. "ecm" is EM with the maximisation one mode at a time; the paper maximises over all (module
#    `_paper`).
# 2. "mm" takes the square root of a / b, which maximises a lower bound of the evidence: the
#    log-determinant is concave in the hyperparameters of one mode. "jacobi" divides the exponent by
#    the number of modes, which bounds the change of all of them together.
# 3. Longer steps, up to a / b itself, are taken back where the evidence falls.
# 4. With a coupling the same bounds hold for the latent hyperparameters, of which the variances
#    are sums with weights that are not negative.
def climb(
    state: State,
    rule: Rule,
    history: History,
    *,
    estimate_noise: bool,
    max_iter: int,
    tol: float,
    thresholds: Sequence[float] | None = None,
    pause: Callable[[State], bool] | None = None,
) -> bool | None:
    """Repeat cycles until the hyperparameters change by less than `tol`; tell whether they did.

    `thresholds` prune what falls below these shares of the largest hyperparameter of its mode;
    where `pause` then answers True the climb returns None, to be gone on with.
    """
    longer = 2.0
    for count in range(max_iter):
        if any(not bool((g > 0).any()) for g in state.gammas):
            return True
        before, noise_before = list(state.gammas), state.noise
        if rule.published is not None:
            paper_cycle(
                state, rule.published, estimate_noise=estimate_noise, squares=state.model.squares
            )
        elif rule.simultaneous:
            longer = _simultaneous(state, rule, longer)
        else:
            for i in range(state.model.modes):
                _one_mode(state, i, rule)
        if estimate_noise and rule.published is None:
            _noise(state, rule)
        if all(bool((g > 0).any()) for g in state.gammas):
            state.balance()
        if count % _REFRESH == _REFRESH - 1:
            state.refresh()
        history.cycle(state)
        if prune(state, thresholds):
            history.change(state)
            if pause is not None and pause(state):
                return None
        elif relative_change(before, state.gammas, noise_before, state.noise) < tol:
            return True
    return False


def relative_change(
    before: Sequence[Array], after: Sequence[Array], noise_before: float, noise: float
) -> float:
    """Return a bound on the relative change of ``gamma_1 kron ... kron gamma_I`` and the noise.

    The 2-norm of the change, over the larger of those of the products before and after, is at most
    the sum over the modes of the changes in direction and that of the scale.
    """
    total, scale = 0.0, 0.0
    for old, new in zip(before, after, strict=True):
        size, size_new = (float(_HOST.linalg.vector_norm(g)) for g in (old, new))
        if size == 0 or size_new == 0:
            return math.inf
        total += float(_HOST.linalg.vector_norm(new / size_new - old / size))
        scale += math.log(size_new / size)
    return total + abs(scale) + abs(math.log(noise / noise_before))


def is_rise(after: float, before: float) -> bool:
    """Tell whether the evidence has not fallen by more than rounding."""
    return after >= before - ROUNDING * abs(before)


def quotient(a: Array, b: Array) -> Array:
    """Return a / b, zero where b is (columns that the data do not see)."""
    return _HOST.where(b > 0, a / _HOST.where(b > 0, b, 1.0), 0.0)


def _one_mode(state: State, i: int, rule: Rule) -> None:
    """Update one mode."""
    a, b = state.marginals(i)
    gamma = state.gammas[i]
    if rule.em:
        state.set_mode(i, gamma * _HOST.maximum(1 + gamma * (a - b) / _shared(state, i), 0.0))
        return
    ratio = quotient(a, b)
    if rule.accelerated:
        kept = state.saved()
        before = state.evidence
        state.set_mode(i, gamma * ratio)
        if is_rise(state.evidence, before):
            return
        state.restore(kept)
    state.set_mode(i, gamma * _HOST.sqrt(ratio))


def _shared(state: State, i: int) -> Any:
    """Return the number of entries that each hyperparameter of mode i is the variance of."""
    modes = range(state.model.modes)
    others = math.prod(int(_HOST.sum(state.variances(k) > 0)) for k in modes if k != i)
    C = state.couplings[i]
    return others if C is None else others * _HOST.maximum(_HOST.sum(C > 0, axis=0), 1)


def _simultaneous(state: State, rule: Rule, longer: float) -> float:
    """Update all modes from one pass; return the factor of the exponent to try next."""
    modes = state.model.modes
    ratios = [quotient(*state.marginals(i)) for i in range(modes)]
    gammas, noise, before = list(state.gammas), state.noise, state.evidence
    kept = state.saved()
    if rule.accelerated and longer > 1:
        power = longer / (2 * modes)
        state.set_all([g * r**power for g, r in zip(gammas, ratios, strict=True)], noise)
        if is_rise(state.evidence, before):
            return min(1.5 * longer, _LONGEST, 2.0 * modes)
        state.restore(kept)
    power = 1 / (2 * modes)
    state.set_all([g * r**power for g, r in zip(gammas, ratios, strict=True)], noise)
    return max(longer / 2, 1.5)


def _noise(state: State, rule: Rule) -> None:
    """Update the noise variance, above its floor."""
    sums, model, before = state.noise_sums(), state.model, state.evidence
    if rule.em:
        estimate = (sums.residual + state.noise * sums.used) / model.count
        state.set_noise(max(estimate, model.noise_floor))
        return
    free = model.count - sums.used
    kept = state.saved()
    if rule.accelerated and free > 1e-9 * model.count:
        state.set_noise(max(sums.residual / free, model.noise_floor))
        if is_rise(state.evidence, before):
            return
        state.restore(kept)
    state.set_noise(max(math.sqrt(sums.residual / sums.trace), model.noise_floor))
    if not is_rise(state.evidence, before):  # the floor lies above the bound's maximum
        state.restore(kept)


def prune(state: State, thresholds: Sequence[float] | None = None) -> bool:
    """Set to zero what is below a share of the largest of its mode; tell whether anything was.

    Shares that were asked for are those of the caller's columns, rounding is that of unit ones.
    """
    found = False
    for i, gamma in enumerate(state.gammas):
        low = (gamma > 0) & (gamma < _DEAD * _HOST.max(gamma))
        if thresholds is not None and thresholds[i] > 0:
            squares = None if state.couplings[i] is not None else state.model.squares
            theirs = gamma if squares is None else gamma / squares[i]
            low |= (gamma > 0) & (theirs < thresholds[i] * _HOST.max(theirs))
        if bool(_HOST.any(low)):
            state.set_mode(i, _HOST.where(low, 0.0, gamma))
            found = True
    return found
