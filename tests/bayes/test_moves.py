"""Changes of the support of Kronecker sparse Bayesian learning against dense differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from linalgkit.bayes._climb import RULES, History, climb
from linalgkit.bayes._moves import (
    Price,
    best_move,
    change_of_evidence,
    counts,
    entry_gains,
    exchange,
    penalised,
    price_for,
    refine,
    removal_losses,
    slices,
)
from linalgkit.bayes._state import State
from tests.bayes.dense import Dense, draw, model_of, random_problem

KINDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
SNAPSHOTS = pytest.mark.parametrize("snapshots", [1, 3])
SHAPES = [((6,), (9,)), ((5,), (3,)), ((3, 4), (5, 3)), ((2, 3, 2), (4, 2, 3))]
SHAPED = pytest.mark.parametrize(("sizes", "widths"), SHAPES, ids=str)
SETTINGS = {"estimate_noise": False, "max_iter": 200, "tol": 1e-6}


def a_state(rng: Any, sizes: Any, widths: Any, **keywords: Any) -> State:
    model, variances = random_problem(rng, sizes, widths, noise=0.05, zeros=0.4, **keywords)
    return State(model, variances, 0.05)


def dense_of(state: State) -> Dense:
    variances = [state.variances(i) for i in range(state.model.modes)]
    return Dense.of(state.model, variances, state.noise)


# -------------------------------------------------------------------------------- the price


def test_a_float_prices_every_slice() -> None:
    price = Price(2.5, (5, 4), 100)
    assert price.total([3, 2]) == 12.5
    assert price.of(0, 0) == 0.0
    assert price.next(1, 1) == 2.5


def test_bic_counts_the_columns_and_the_logarithm_of_the_data() -> None:
    price = Price("bic", (7, 1), 500)
    for k in range(8):
        assert price.of(0, k) == pytest.approx(k * (0.5 * math.log(500) + math.log(7)))
    assert price.next(0, 3) == pytest.approx(price.of(0, 4) - price.of(0, 3))
    assert price.of(1, 1) == pytest.approx(0.5 * math.log(500))
    assert price.total([3, 1]) == pytest.approx(price.of(0, 3) + price.of(1, 1))


@KINDS
def test_the_price_counts_real_numbers_of_all_snapshots(rng: Any, is_complex: bool) -> None:
    model, _ = random_problem(rng, (3, 4), (5, 2), snapshots=6, is_complex=is_complex)
    price = price_for("bic", model)
    numbers = 3 * 4 * 6 * (2 if is_complex else 1)
    expected = [0.5 * math.log(numbers) + math.log(n) for n in (5, 2)]
    assert price.each == pytest.approx(expected)
    assert price.widths == (5, 2)
    state = State(model, [np.eye(5)[0], np.ones(2)], 0.1)
    assert counts(state) == [1, 2]
    assert penalised(state, price) == pytest.approx(state.evidence - price.total([1, 2]))


# ----------------------------------------------------------------------------- exact changes


@KINDS
@SHAPED
@SNAPSHOTS
def test_a_change_of_one_variance_changes_the_evidence_by_what_is_said(
    rng: Any, sizes: Any, widths: Any, is_complex: bool, snapshots: int
) -> None:
    state = a_state(rng, sizes, widths, is_complex=is_complex, snapshots=snapshots)
    dense = dense_of(state)
    for i, gamma in enumerate(state.gammas):
        d = rng.uniform(-0.9, 2.0, len(gamma)) * np.where(gamma > 0, gamma, 0.0)
        d += (gamma == 0) * rng.random(len(gamma))
        found = change_of_evidence(state, slices(state, i), d)
        for j, change in enumerate(found):
            after = dense.with_variance(i, j, gamma[j] + d[j]).evidence
            assert change == pytest.approx(after - dense.evidence, rel=1e-8, abs=1e-9)


@KINDS
@SHAPED
@SNAPSHOTS
def test_losses_are_those_of_the_evidence_without_the_slice(
    rng: Any, sizes: Any, widths: Any, is_complex: bool, snapshots: int
) -> None:
    state = a_state(rng, sizes, widths, is_complex=is_complex, snapshots=snapshots)
    dense = dense_of(state)
    for i, gamma in enumerate(state.gammas):
        losses = removal_losses(state, i)
        for j, loss in enumerate(losses):
            if gamma[j] == 0:
                assert loss == np.inf
                continue
            after = dense.with_variance(i, j, 0.0).evidence
            assert loss == pytest.approx(dense.evidence - after, rel=1e-8, abs=1e-9)


def test_losses_of_a_coupled_mode_are_those_of_its_latent_hyperparameters(rng: Any) -> None:
    model, latent = random_problem(rng, (3, 4), (5, 3), noise=0.05)
    C = np.eye(5) + 0.5 * np.eye(5, k=1)
    state = State(model, latent, 0.05, [C, None])
    before = state.evidence
    losses = removal_losses(state, 0)
    assert state.evidence == before
    for j in np.flatnonzero(latent[0]):
        without = latent[0].copy()
        without[j] = 0
        after = Dense.of(model, [C @ without, latent[1]], 0.05).evidence
        assert losses[j] == pytest.approx(before - after, rel=1e-8)
    assert np.all(entry_gains(state, 0)[0] == 0)


@KINDS
@SHAPED
@SNAPSHOTS
def test_gains_are_the_best_of_a_scan_over_the_new_variance(
    rng: Any, sizes: Any, widths: Any, is_complex: bool, snapshots: int
) -> None:
    state = a_state(rng, sizes, widths, is_complex=is_complex, snapshots=snapshots)
    dense = dense_of(state)
    for i, gamma in enumerate(state.gammas):
        gains, best = entry_gains(state, i)
        assert np.all(gains[gamma > 0] == 0)
        for j in np.flatnonzero(gamma == 0):
            found = dense.with_variance(i, j, best[j]).evidence - dense.evidence
            assert gains[j] == pytest.approx(found, rel=1e-8, abs=1e-9)
            assert gains[j] == pytest.approx(scanned_gain(dense, i, int(j)), abs=1e-3)


def scanned_gain(dense: Dense, i: int, j: int) -> float:
    """The largest rise over variances from 1e-8 to 1e12, at least zero."""

    def loss(log_variance: float) -> float:
        return dense.evidence - dense.with_variance(i, j, math.exp(log_variance)).evidence

    grid = np.linspace(math.log(1e-8), math.log(1e12), 47)
    k = int(np.argmin([loss(v) for v in grid]))
    bounds = (grid[max(k - 1, 0)], grid[min(k + 1, 46)])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    return max(0.0, -float(found.fun))


def test_no_slice_gains_where_the_slope_falls(rng: Any) -> None:
    model, _ = random_problem(rng, (4, 5), (6, 3), noise=0.05)
    state = State(model, [np.eye(6)[0], np.ones(3)], 100.0)  # noise that explains everything
    gains, best = entry_gains(state, 0)
    assert np.all(gains == 0)
    assert np.all(best == 0)


# ----------------------------------------------------------------------------------- refine


class Noted(History):
    """A history that keeps the rise of the penalised evidence at every move."""

    def __init__(self, state: State, price: Price) -> None:
        super().__init__(evidence=[state.evidence])
        self.price, self.before, self.rises = price, penalised(state, price), list[float]()

    def cycle(self, state: State) -> None:
        super().cycle(state)
        self.before = penalised(state, self.price)

    def change(self, state: State) -> None:
        super().change(state)
        before, self.before = self.before, penalised(state, self.price)
        if abs(self.evidence[-1] - self.evidence[-2]) > 1e-9:  # else what was dead was pruned
            self.rises.append(self.before - before)


def sparse_state(seed: int, *, is_complex: bool = False, snapshots: int = 1) -> State:
    """Two or three slices a mode, all columns in with one variance."""
    rng = np.random.default_rng(seed)
    sizes, widths = [((6, 7), (8, 9)), ((4, 5, 6), (6, 5, 4)), ((12,), (16,))][seed % 3]
    factors = [draw(rng, m, n, is_complex=is_complex) for m, n in zip(sizes, widths, strict=True)]
    Y = draw(rng, *widths, snapshots, is_complex=is_complex)
    for axis, H in enumerate(factors):
        Y[(slice(None),) * axis + (slice(2, None),)] = 0.0
        Y = np.moveaxis(np.tensordot(H, Y, (1, axis)), 0, axis)
    Y = Y + 0.1 * draw(rng, *Y.shape, is_complex=is_complex)
    model = model_of(factors, Y)
    return State(model, [np.ones(n) for n in widths], 0.1)


@pytest.mark.parametrize("name", ["mm", "jacobi", "ecm"])
@pytest.mark.parametrize("seed", range(9))
def test_refinement_raises_the_penalised_evidence_until_nothing_does(seed: int, name: str) -> None:
    state = sparse_state(seed, is_complex=bool(seed % 2), snapshots=1 + seed % 4)
    price = price_for("bic", state.model)
    history = Noted(state, price)
    settings = {**SETTINGS, "estimate_noise": seed % 2 == 0, "max_iter": 2000}
    converged = refine(state, price, RULES[name], history, **settings)
    assert min(history.rises, default=1.0) > 0
    assert history.rises or seed not in (1, 3, 4, 7)
    assert converged or name == "ecm"  # whose last slices die slowly
    assert not converged or best_move(state, price) is None
    assert all(k >= 1 for k in counts(state))


def test_a_slice_that_was_left_out_comes_back(rng: Any) -> None:
    factors = [draw(rng, m, 4, is_complex=False) for m in (8, 6)]
    core = np.zeros((4, 4))
    core[:2, 1:3] = [[1.0, -0.8], [0.9, 1.1]]
    y = factors[0] @ core @ factors[1].T + 0.01 * rng.standard_normal((8, 6))
    model = model_of(factors, y)
    price = price_for("bic", model)
    state = State(model, [np.asarray([1.0, 0, 1, 1]), np.ones(4)], 0.1)
    settings = {**SETTINGS, "estimate_noise": True}
    assert refine(state, price, RULES["mm"], History(), **settings)
    assert [list(np.flatnonzero(g)) for g in state.gammas] == [[0, 1], [1, 2]]


def test_a_slice_without_gain_is_no_move_even_where_it_is_free() -> None:
    n = 40
    model = model_of([np.eye(n)], np.where(np.arange(n) < n - 1, 1.0, 0.0))
    price = price_for(0.0, model)
    state = State(model, [np.where(np.arange(n) < n - 1, 1.0, 0.0)], 1e-3)
    assert entry_gains(state, 0)[0][n - 1] == 0
    assert best_move(state, price) is None


def test_a_dear_slice_leaves_and_a_free_one_stays() -> None:
    for each, expected in ((1e9, [1, 1, 1]), (0.0, None)):
        state = sparse_state(1, snapshots=3)
        price = price_for(each, state.model)
        refine(state, price, RULES["mm"], History(), **SETTINGS)
        found = counts(state)
        assert found == expected if expected else min(found) >= 2


def test_refinement_says_when_its_last_climb_did_not_end() -> None:
    state = sparse_state(0)
    settings = {**SETTINGS, "max_iter": 1, "tol": 1e-14}
    price = price_for("bic", state.model)
    assert not refine(state, price, RULES["ecm"], History(), **settings)


# --------------------------------------------------------------------------------- exchange


def stuck_state(rng: Any) -> State:
    """One true column, explained by two others that nearly span it: leaving costs, entry too."""
    H = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    true = H[:, 0]
    left, right = true + 0.35 * H[:, 1], true - 0.35 * H[:, 1]
    columns = np.stack([true, left, right, H[:, 4], H[:, 5]], axis=1)
    other = np.linalg.qr(rng.standard_normal((5, 5)))[0][:, :2]
    core = np.outer(np.eye(5)[0], [1.0, -0.7])[:, :, None] * np.ones(4)
    core = core * rng.choice([-1.0, 1.0], (1, 2, 4))
    Y = np.einsum("ij,kl,jlr->ikr", columns, other, core) + 0.05 * rng.standard_normal((8, 5, 4))
    model = model_of([columns, other], Y)
    return State(model, [np.asarray([0.0, 0.25, 0.25, 0, 0]), np.ones(2)], 0.05**2)


def test_an_exchange_escapes_where_single_moves_are_stuck(rng: Any) -> None:
    state = stuck_state(rng)
    price = price_for("bic", state.model)
    settings = {**SETTINGS, "estimate_noise": True}
    assert refine(state, price, RULES["mm"], History(), **settings)
    assert best_move(state, price) is None
    assert list(np.flatnonzero(state.gammas[0])) == [1, 2]
    before = penalised(state, price)
    history = History()
    assert exchange(state, price, RULES["mm"], history, estimate_noise=True)
    assert penalised(state, price) > before
    assert history.changes == [0]
    refine(state, price, RULES["mm"], History(), **settings)
    assert list(np.flatnonzero(state.gammas[0])) == [0]


@pytest.mark.timeout(20)
def test_an_exchange_ends_where_a_column_gains_nothing(rng: Any) -> None:
    """One column of the first mode is out and gains nothing; one of the second promises much."""
    n = 40
    Y = rng.choice([-1.0, 1.0], (n, 3)) * [1.0, 1.0, 0.02]
    Y[0, :] = 0.0
    model = model_of([np.eye(n), np.eye(3)], Y)
    price = price_for("bic", model)
    state = State(model, [np.where(np.arange(n) > 0, 1.0, 0.0), np.asarray([1.0, 1, 0])], 5e-3**2)
    climb(state, RULES["mm"], History(), estimate_noise=False, max_iter=50, tol=1e-6)
    assert entry_gains(state, 1)[0][2] > price.next(1, 2)
    assert exchange(state, price, RULES["mm"], History(), estimate_noise=False)
    assert counts(state) == [n - 1, 3]


@pytest.mark.parametrize("seed", range(4))
def test_an_exchange_that_does_not_pay_leaves_the_state_as_it_was(seed: int) -> None:
    state = sparse_state(seed, snapshots=3)
    price = price_for("bic", state.model)
    refine(state, price, RULES["mm"], History(), **SETTINGS)
    while exchange(state, price, RULES["mm"], History(), estimate_noise=False):
        refine(state, price, RULES["mm"], History(), **SETTINGS)
    before, gammas = state.evidence, [g.copy() for g in state.gammas]
    history = History()
    assert not exchange(state, price, RULES["mm"], history, estimate_noise=False)
    assert state.evidence == before
    assert history.evidence == []
    for g, expected in zip(state.gammas, gammas, strict=True):
        np.testing.assert_array_equal(g, expected)
    climb(state, RULES["mm"], history, estimate_noise=False, max_iter=1, tol=0.0)
    assert history.evidence[0] >= before - 1e-12 * abs(before)
