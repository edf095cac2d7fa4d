"""State of Kronecker sparse Bayesian learning against dense formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit.bayes._model import in_widest, prepare, restricted
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._state import State
from tests.bayes.dense import Dense, draw, model_of, outer, random_problem
from tests.conftest import Backend

SHAPES = [
    ((7,), (11,)),
    ((9,), (4,)),
    ((4, 5), (6, 3)),
    ((3, 2, 4), (5, 3, 2)),
    ((2, 3, 2, 2), (3, 2, 4, 1)),
]
KINDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
SHAPED = pytest.mark.parametrize(("sizes", "widths"), SHAPES, ids=str)
NOISES = (1e-8, 1e-4, 1.0)


def dense_of(state: State, model: Any = None) -> Dense:
    modes = range(state.model.modes)
    return Dense.of(model or state.model, [state.variances(i) for i in modes], state.noise)


def check(state: State, model: Any = None, tol: float = 1e-11) -> None:
    """Evidence, slopes and sums of the noise; relative to the largest of their kind."""
    dense = dense_of(state, model)
    assert state.evidence == pytest.approx(dense.evidence, rel=tol)
    loose = max(100 * tol, 1e-9)
    for i in range(state.model.modes):
        for found, expected in zip(state.derivatives(i), dense.derivatives(i), strict=True):
            top = float(np.max(expected))
            np.testing.assert_allclose(found, expected.astype(float), rtol=loose, atol=loose * top)
    for found, expected in zip(state.noise_sums(), dense.noise_sums(), strict=True):
        assert found == pytest.approx(expected, rel=loose, abs=loose * state.model.count * tol)


@KINDS
@SHAPED
@pytest.mark.parametrize("snapshots", [1, 3])
def test_evidence_slopes_and_noise_sums_are_those_of_the_dense_covariance(
    rng: Any, sizes: Any, widths: Any, is_complex: bool, snapshots: int
) -> None:
    for noise in NOISES:
        model, variances = random_problem(
            rng, sizes, widths, snapshots=snapshots, is_complex=is_complex, noise=noise
        )
        check(State(model, variances, noise))


@KINDS
@SHAPED
def test_slopes_are_the_differences_of_the_dense_evidence(
    rng: Any, sizes: Any, widths: Any, is_complex: bool
) -> None:
    model, variances = random_problem(
        rng, sizes, widths, snapshots=3, is_complex=is_complex, noise=0.1
    )
    state = State(model, variances, 0.1)
    dense = dense_of(state)
    for i, gamma in enumerate(state.gammas):
        A, B = state.derivatives(i)
        for j, value in enumerate(gamma):
            step = 1e-5
            up, down = (dense.with_variance(i, j, value + d).evidence for d in (step, -step))
            slope = model.kappa * model.snapshots * (A[j] - B[j])
            scale = model.kappa * model.snapshots * (A[j] + B[j])
            assert slope == pytest.approx((up - down) / (2 * step), abs=1e-6 * max(scale, 1.0))


@KINDS
@SHAPED
def test_changes_keep_everything_in_step(
    rng: Any, sizes: Any, widths: Any, is_complex: bool
) -> None:
    model, variances = random_problem(
        rng, sizes, widths, snapshots=3, is_complex=is_complex, noise=1e-3
    )
    state = State(model, variances, 1e-3)
    start = state.saved()
    for i, n in enumerate(widths):
        gamma = rng.random(n)
        gamma[rng.random(n) < 0.3] = 0.0
        gamma[0] = 1.0
        state.set_mode(i, gamma)
        check(state)
    state.set_noise(0.3)
    check(state)
    kept = state.saved()
    evidence = state.evidence
    state.set_mode(0, np.ones(widths[0]))
    state.set_noise(2.0)
    state.restore(kept)
    assert state.evidence == evidence
    check(state)
    state.refresh()
    assert state.evidence == pytest.approx(evidence, rel=1e-13)
    state.set_all([np.ones(n) for n in widths], 0.5)
    check(state)
    state.restore(start)  # a saved point outlives all changes
    check(state)


@KINDS
def test_balance_changes_sizes_by_powers_of_two_and_nothing_else(
    is_complex: bool, rng: Any
) -> None:
    model, variances = random_problem(rng, (3, 4, 2), (5, 2, 3), is_complex=is_complex)
    variances = [v * s for v, s in zip(variances, (1e30, 1e-25, 1e-5), strict=True)]
    state = State(model, variances, 1e-2)
    evidence = state.evidence
    state.balance()
    tops = [np.max(g) for g in state.gammas]
    assert max(tops) / min(tops) < 16
    for before, after in zip(variances, state.gammas, strict=True):
        on = before > 0
        assert set(np.frexp(after[on] / before[on])[0]) == {0.5}
        assert np.all(after[~on] == 0)
    np.testing.assert_array_equal(outer(state.gammas), outer(variances))
    assert state.evidence == evidence
    check(state)


def test_the_evidence_without_columns_is_that_of_noise(rng: Any) -> None:
    model, _ = random_problem(rng, (3, 4), (5, 2), snapshots=2)
    for zeros in (np.zeros(5), np.eye(5)[0] * 0):
        state = State(model, [zeros, np.ones(2)], 0.2)
        assert state.evidence == pytest.approx(model.log_evidence_of_noise(0.2), rel=1e-13)
        check(state)


@pytest.mark.parametrize("snapshots", [1, 3])
@KINDS
@SHAPED
def test_evidence_of_a_restriction_is_that_of_the_whole(
    rng: Any, sizes: Any, widths: Any, is_complex: bool, snapshots: int
) -> None:
    model, variances = random_problem(
        rng, sizes, widths, snapshots=snapshots, is_complex=is_complex, noise=1e-3
    )
    columns = [np.flatnonzero(v) for v in variances]
    small, bases = restricted(model, columns)
    for m, Q, c in zip(sizes, bases, columns, strict=True):
        assert (Q is None) == (len(c) >= m)
    state = State(small, [v[c] for v, c in zip(variances, columns, strict=True)], 1e-3)
    whole = State(model, variances, 1e-3)
    assert state.evidence == pytest.approx(whole.evidence, rel=1e-11)
    assert state.evidence == pytest.approx(dense_of(whole).evidence, rel=1e-11)
    np.testing.assert_allclose(state.noise_sums(), dense_of(whole).noise_sums(), rtol=1e-9)
    for i, c in enumerate(columns):
        for found, expected in zip(
            state.derivatives(i), dense_of(whole).derivatives(i), strict=True
        ):
            np.testing.assert_allclose(found, expected[c].astype(float), rtol=1e-9)


@KINDS
def test_a_triangular_factor_of_the_snapshots_stands_for_them(rng: Any, is_complex: bool) -> None:
    sizes, widths, L = (2, 3), (4, 2), 20
    model, variances = random_problem(rng, sizes, widths, snapshots=L, is_complex=is_complex)
    R = np.linalg.qr(model.Y.reshape(6, L).conj().T, mode="r")
    data = kronecker_data(list(model.factors), R.conj().T.reshape(*sizes, 6))
    few = prepare(data, snapshots=L)
    scale = 2.0**few.exponent
    short = State(few.model, [variances[0] / scale**2, variances[1]], 1e-2 / scale**2)
    whole = State(model, variances, 1e-2)
    count = model.total / (1 if is_complex else 2)
    unit = 2 * np.log(scale) * count  # densities of data in another unit
    assert short.evidence - unit == pytest.approx(whole.evidence, rel=1e-11)
    for i, factor in ((0, scale**2), (1, 1.0)):
        found, expected = short.derivatives(i), whole.derivatives(i)
        np.testing.assert_allclose(found, [e * factor for e in expected], rtol=1e-10)
    columns = [np.flatnonzero(v) for v in variances]
    small, _ = restricted(few.model, columns)
    gammas = [g[c] for g, c in zip(short.gammas, columns, strict=True)]
    assert State(small, gammas, short.noise).evidence == pytest.approx(short.evidence, rel=1e-11)


@KINDS
def test_couplings_sum_latent_hyperparameters(rng: Any, is_complex: bool) -> None:
    model, latent = random_problem(rng, (3, 4), (5, 3), snapshots=2, is_complex=is_complex)
    C = np.eye(5) + 0.5 * np.eye(5, k=1) + 0.25 * np.eye(5, k=-1)
    state = State(model, latent, 1e-2, [C, None])
    np.testing.assert_allclose(state.variances(0), C @ latent[0])
    np.testing.assert_array_equal(state.variances(1), latent[1])
    check(state)
    state.set_mode(0, rng.random(5))
    state.balance()
    check(state)
    dense = dense_of(state)
    a, b = state.marginals(0)
    for k in range(5):
        ups = []
        for step in (1e-5, -1e-5):
            moved = state.gammas[0].copy()
            moved[k] += step
            variances = [C @ moved, state.variances(1)]
            ups.append(Dense.of(model, variances, state.noise).evidence)
        slope = model.kappa * model.snapshots * (a[k] - b[k])
        assert slope == pytest.approx((ups[0] - ups[1]) / 2e-5, rel=1e-5, abs=1e-5)
    A, B = dense.derivatives(1)
    np.testing.assert_allclose(state.marginals(1), (A.astype(float), B.astype(float)), rtol=1e-9)


@KINDS
def test_a_state_on_any_device_is_that_of_the_host(xp: Backend, rng: Any, is_complex: bool) -> None:
    host, variances = random_problem(rng, (3, 2, 4), (4, 2, 3), snapshots=2, is_complex=is_complex)
    place = {"Y": xp.asarray(host.Y), "xp": xp.xp, "device": xp.device}
    check_everywhere(in_widest(replace(host, **place)), variances, xp)


def test_data_of_any_library_are_prepared(xp: Backend, rng: Any) -> None:
    host, variances = random_problem(rng, (3, 2, 4), (4, 2, 3), snapshots=2)
    factors = [xp.asarray(H) for H in host.factors]
    prepared = prepare(kronecker_data(factors, xp.asarray(64 * host.Y)))
    model = in_widest(prepared.model)
    assert prepared.exponent == 6
    assert model.on_host or core_array.device(model.Y) == xp.device
    check_everywhere(model, variances, xp)


def check_everywhere(model: Any, variances: Any, xp: Backend) -> None:
    tol = 1e-11 if xp.has_float64 else 1e-5
    state = State(model, variances, 1e-2)
    check(state, tol=tol)
    state.set_mode(1, np.asarray([0.5, 0.0]))
    state.set_noise(0.05)
    check(state, tol=tol)
    small, _ = restricted(model, [np.flatnonzero(g) for g in state.gammas])
    assert small.on_host
    gammas = [g[g > 0] for g in state.gammas]
    assert State(small, gammas, 0.05).evidence == pytest.approx(state.evidence, rel=tol)


def test_energy_and_units_of_a_model(rng: Any) -> None:
    y = draw(rng, 3, 4, 2, is_complex=True)
    factors = [draw(rng, 3, 5, is_complex=True), draw(rng, 4, 2, is_complex=False)]
    model = model_of(factors, 1000.0 * y)
    assert 0.5 <= np.max(np.abs(np.stack((model.Y.real, model.Y.imag)))) < 1
    assert model.energy == pytest.approx(np.sum(np.abs(model.Y) ** 2), rel=1e-14)
    assert (model.count, model.total, model.kappa) == (12, 24, 1.0)
    for H in model.factors:
        np.testing.assert_allclose(np.linalg.norm(H, axis=0), 1.0, rtol=1e-14)
