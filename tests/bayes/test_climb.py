"""Update rules of Kronecker sparse Bayesian learning: they rise, and stand still where a = b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from linalgkit.bayes._climb import RULES, History, climb, prune, relative_change
from linalgkit.bayes._model import Model, prepare
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._search import start_by_moments
from linalgkit.bayes._state import State
from tests.bayes.dense import draw, model_of, outer, random_problem

NAMES = ["mm", "jacobi", "ecm"]  # those that must not fall
BY_RULE = pytest.mark.parametrize("name", NAMES)
WITH_NOISE = pytest.mark.parametrize("estimate", [False, True], ids=["known", "estimated"])
SHAPES = [
    ((7,), (12,)),
    ((5, 6), (9, 4)),
    ((6, 5), (3, 4)),
    ((3, 4, 3), (5, 3, 6)),
    ((2, 3, 2, 3), (3, 4, 2, 2)),
]


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, the noise variance of its model, and matrices that couple its modes."""

    model: Model
    noise: float
    couplings: list[Any] | None = None

    def state(self) -> State:
        start = start_by_moments(self.model, self.noise)
        return State(self.model, start.gammas, start.noise, self.couplings)


def case(seed: int, *, coupled: bool = False) -> Case:
    """Every shape with every kind of trouble, in turn."""
    rng = np.random.default_rng(seed)
    sizes, widths = SHAPES[seed % len(SHAPES)]
    is_complex, trouble = bool(seed % 2), ("", "zero", "twin", "loud")[seed % 4]
    snapshots = (1, 4)[seed // 2 % 2]
    noise = 1e-8 if trouble == "loud" else 1e-2
    factors = [draw(rng, m, n, is_complex=is_complex) for m, n in zip(sizes, widths, strict=True)]
    if trouble == "zero":
        factors[0][:, -1] = 0
    if trouble == "twin":
        factors[0][:, -1] = factors[0][:, 0]
    X = draw(rng, *widths, snapshots, is_complex=is_complex)
    for axis, H in enumerate(factors):
        X[(slice(None),) * axis + (slice(2, None),)] = 0.0  # two slices a mode
        X = np.moveaxis(np.tensordot(H, X, (1, axis)), 0, axis)
    unit = math.sqrt(np.mean(np.abs(X) ** 2) * noise)
    y = X + unit * draw(rng, *sizes, snapshots, is_complex=is_complex)
    prepared = prepare(kronecker_data(factors, y))
    variance = unit**2 * (2 if is_complex else 1) * 4.0**-prepared.exponent
    couplings = None
    if coupled:
        couplings = [np.eye(n) + 0.5 * (np.eye(n, k=1) + np.eye(n, k=-1)) for n in widths]
        couplings[-1] = None if len(widths) > 1 else couplings[-1]
    return Case(prepared.model, variance, couplings)


def climbed(state: State, name: str, **keywords: Any) -> tuple[bool, History]:
    history = History(evidence=[state.evidence])
    settings = {"estimate_noise": False, "max_iter": 60, "tol": 1e-9, **keywords}
    return climb(state, RULES[name], history, **settings), history


def worst_fall(history: History) -> float:
    """The largest fall of the evidence over a cycle, relative to it."""
    evidence = np.asarray(history.evidence)
    falls = (evidence[:-1] - evidence[1:]) / np.abs(evidence[1:])
    cycles = [k for k in range(len(falls)) if k + 1 not in history.changes]
    return float(np.max(falls[cycles]))


@BY_RULE
@WITH_NOISE
@pytest.mark.parametrize("seed", range(20))
def test_the_evidence_never_falls(seed: int, name: str, estimate: bool) -> None:
    state = case(seed).state()
    _, history = climbed(state, name, estimate_noise=estimate)
    assert worst_fall(history) <= 1e-12
    assert history.evidence[-1] > history.evidence[0]
    assert np.all(np.isfinite(history.evidence))
    assert all(np.all(np.isfinite(g)) and np.all(g >= 0) for g in state.gammas)


@BY_RULE
@WITH_NOISE
@pytest.mark.parametrize("seed", range(20, 30))
def test_the_evidence_never_falls_with_coupled_modes(seed: int, name: str, estimate: bool) -> None:
    _, history = climbed(case(seed, coupled=True).state(), name, estimate_noise=estimate)
    assert worst_fall(history) <= 1e-12
    assert history.evidence[-1] > history.evidence[0]


@BY_RULE
@WITH_NOISE
@pytest.mark.parametrize("seed", range(6))
def test_the_evidence_never_falls_where_one_latent_stands_for_many_columns(
    seed: int, name: str, estimate: bool
) -> None:
    """From a start in which a single latent hyperparameter carries all columns."""
    rng = np.random.default_rng(seed)
    sizes, widths = [((7,), (5,)), ((5, 6), (3, 4)), ((6, 5), (8, 2))][seed % 3]
    model, _ = random_problem(rng, sizes, widths, snapshots=3, noise=1e-3, is_complex=seed > 2)
    couplings = [np.triu(np.ones((n, n))) for n in widths]
    gammas = [np.where(np.arange(n) == n - 1, 1.0, 0.0) for n in widths]
    _, history = climbed(State(model, gammas, 1e-3, couplings), name, estimate_noise=estimate)
    assert worst_fall(history) <= 1e-12


def test_simultaneous_steps_as_long_as_single_ones_would_fall() -> None:
    """The negative control: exponent 1/2 for all modes at once has no bound."""
    worst = 0.0
    for seed in range(20):
        state = case(seed).state()
        for _ in range(20):
            before = state.evidence
            pairs = [state.marginals(i) for i in range(state.model.modes)]
            steps = [np.sqrt(np.divide(a, b, out=np.zeros_like(a), where=b > 0)) for a, b in pairs]
            steps = [s**2 for s in steps]
            state.set_all([g * s for g, s in zip(state.gammas, steps, strict=True)], state.noise)
            worst = max(worst, (before - state.evidence) / abs(before))
    assert worst > 1e-3


# ------------------------------------------------------------------------------ fixed points


@BY_RULE
@WITH_NOISE
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_a_climb_ends_where_both_parts_of_the_slope_agree(
    name: str, estimate: bool, is_complex: bool, rng: Any
) -> None:
    model, _ = random_problem(
        rng, (5, 6), (2, 3), snapshots=4, is_complex=is_complex, decades=0.5, zeros=0.0
    )
    state = State(model, start_by_moments(model, 1e-2).gammas, 1e-2)
    assert climbed(state, name, estimate_noise=estimate, max_iter=5000, tol=1e-10)[0]
    for i in range(model.modes):
        a, b = state.marginals(i)
        assert np.all(state.gammas[i] > 0)
        np.testing.assert_allclose(a, b, rtol=1e-6)
    if estimate:
        sums = state.noise_sums()
        assert sums.residual == pytest.approx(state.noise**2 * sums.trace, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_at_the_end_no_slope_is_left_that_matters(seed: int) -> None:
    """Hyperparameters that die slowly have a < b, and hardly any size."""
    state = case(seed).state()
    assert climbed(state, "mm", max_iter=3000, tol=1e-8)[0]
    for i, gamma in enumerate(state.gammas):
        a, b = state.marginals(i)
        step = gamma * (np.divide(a, b, out=np.ones_like(a), where=b > 0) - 1)
        assert np.max(np.abs(step)) < 1e-7 * np.max(gamma)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_all_rules_reach_the_same_evidence_from_one_start(is_complex: bool, rng: Any) -> None:
    model, _ = random_problem(
        rng, (5, 6), (2, 3), snapshots=4, is_complex=is_complex, decades=0.5, zeros=0.0
    )
    ends = []
    for name in NAMES:
        state = State(model, start_by_moments(model, None).gammas, 0.1)
        assert climbed(state, name, estimate_noise=True, max_iter=5000, tol=1e-10)[0]
        ends.append(state.evidence)
    np.testing.assert_allclose(ends, ends[0], rtol=1e-6)


@BY_RULE
def test_one_column_of_many_snapshots_has_a_known_answer(name: str, rng: Any) -> None:
    """``y = h x + n`` with h of unit norm: ``gamma + s2 = |h^H y|^2``, the rest is noise."""
    h = draw(rng, 6, 1, is_complex=True)
    y = 3 * h @ draw(rng, 1, 50, is_complex=True) + draw(rng, 6, 50, is_complex=True)
    model = model_of([h], y)
    state = State(model, [np.ones(1)], 0.1)
    assert climbed(state, name, estimate_noise=True, max_iter=3000, tol=1e-11)[0]
    inside = np.linalg.norm(model.factors[0].conj().T @ model.Y) ** 2 / 50
    noise = (model.energy / 50 - inside) / 5
    assert state.noise == pytest.approx(noise, rel=1e-7)
    assert state.gammas[0][0] == pytest.approx(inside - noise, rel=1e-7)


# ------------------------------------------------------------------- noise floor and pruning


@BY_RULE
def test_the_noise_stays_above_its_floor(name: str, rng: Any) -> None:
    factors = [draw(rng, 3, 5, is_complex=False), draw(rng, 4, 6, is_complex=False)]
    clean = factors[0][:, :2] @ draw(rng, 2, 2, is_complex=False) @ factors[1][:, :2].T
    model = model_of(factors, clean)
    state = State(model, start_by_moments(model, None).gammas, 1e-2)
    _, history = climbed(state, name, estimate_noise=True, max_iter=300, tol=1e-12)
    assert state.noise >= model.noise_floor
    assert np.all(np.isfinite(history.evidence))


@BY_RULE
def test_columns_that_the_data_do_not_see_leave_without_nan(name: str, rng: Any) -> None:
    h = np.eye(4)[:, :2]
    y = np.zeros((4, 3))
    y[0] = [1.0, -1.0, 0.5]
    state = State(model_of([h, np.eye(3)], y), [np.ones(2), np.ones(3)], 1e-2)
    climbed(state, name, max_iter=500, tol=1e-12)
    assert np.all(np.isfinite(state.gammas[0]))
    assert state.gammas[0][1] <= 1e-2 * state.gammas[0][0]


def test_pruning_keeps_the_largest_and_is_noted() -> None:
    state = case(1).state()
    state.set_mode(0, np.linspace(1e-6, 1.0, state.model.widths[0]))
    shares = [0.5] + [0.0] * (state.model.modes - 1)
    expected = state.gammas[0].copy()
    theirs = expected / state.model.squares[0]  # of the caller's columns
    assert prune(state, shares)
    low = theirs < 0.5 * np.max(theirs)
    np.testing.assert_array_equal(state.gammas[0], np.where(low, 0.0, expected))
    assert not prune(state, shares)
    assert not prune(state)
    history = climbed(case(1).state(), "mm", thresholds=[0.3] * state.model.modes)[1]
    assert history.changes
    assert max(history.changes) < len(history.evidence)
    assert history.cycles == len(history.evidence) - 1 - len(history.changes)


def test_the_callback_hears_of_every_cycle() -> None:
    heard: list[tuple[int, float]] = []
    state = case(2).state()
    history = History(callback=lambda cycles, evidence: heard.append((cycles, evidence)))
    climb(state, RULES["mm"], history, estimate_noise=True, max_iter=7, tol=0.0)
    assert heard == list(enumerate(history.evidence, start=1))
    assert len(heard) == 7


# ------------------------------------------------------------------------ change and scale


@pytest.mark.parametrize("size", [1e-9, 1e-4, 0.3, 5.0])
@pytest.mark.parametrize("modes", [1, 2, 4])
def test_the_relative_change_is_a_bound(size: float, modes: int, rng: Any) -> None:
    for _ in range(50):
        before = [rng.random(5) * (rng.random(5) < 0.7) + 1e-3 for _ in range(modes)]
        after = [g * np.exp(size * rng.standard_normal(5)) for g in before]
        noise = float(np.exp(size * rng.standard_normal()))
        old, new = outer(before), outer(after)
        true = np.linalg.norm(new - old) / max(np.linalg.norm(old), np.linalg.norm(new))
        bound = relative_change(before, after, 1.0, noise)
        assert bound >= true * (1 - 1e-6)
        assert bound >= abs(math.log(noise))


def test_a_change_of_balance_is_no_change(rng: Any) -> None:
    before = [rng.random(4), rng.random(3)]
    after = [before[0] * 8, before[1] / 8]
    assert relative_change(before, after, 1.0, 1.0) < 1e-15
    assert relative_change(before, [np.zeros(4), before[1]], 1.0, 1.0) == math.inf


@BY_RULE
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_powers_of_two_of_data_and_columns_change_no_bit(
    name: str, is_complex: bool, rng: Any
) -> None:
    factors = [draw(rng, m, n, is_complex=is_complex) for m, n in ((4, 6), (5, 3))]
    y = draw(rng, 4, 5, 2, is_complex=is_complex)
    ends = []
    for power in (0, 1, -300, 301):
        columns = [2.0 ** (rng.integers(-200, 200, H.shape[1]) * (power != 0)) for H in factors]
        scaled = [H * c for H, c in zip(factors, columns, strict=True)]
        prepared = prepare(kronecker_data(scaled, y * 2.0**power))
        state = State(prepared.model, start_by_moments(prepared.model, None).gammas, 0.1)
        climbed(state, name, estimate_noise=True, max_iter=20)
        shifts = [np.log2(c).astype(int) for c in columns]
        exponents = [e - s for e, s in zip(prepared.exponents, shifts, strict=True)]
        ends.append((state, prepared.exponent - power, exponents, prepared.norms))
    for state, exponent, exponents, norms in ends[1:]:
        assert exponent == ends[0][1]
        np.testing.assert_array_equal(np.concatenate(exponents), np.concatenate(ends[0][2]))
        np.testing.assert_array_equal(np.concatenate(norms), np.concatenate(ends[0][3]))
        assert state.evidence == ends[0][0].evidence
        assert state.noise == ends[0][0].noise
        for g, expected in zip(state.gammas, ends[0][0].gammas, strict=True):
            np.testing.assert_array_equal(g, expected)
