"""Scaled gradient descent on the factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core.array import to_numpy
from linalgkit.completion._factors import Factors, residual_energy
from linalgkit.completion._observed import Observed, observe
from linalgkit.completion._scaledgd import _best_step, _Side, scaled_gradient_sweep
from tests.conftest import BACKENDS

M, N, K = 50, 50, 3


def draw(rng: Any, shape: tuple[int, ...], is_complex: bool) -> Any:
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if is_complex else x


def objective(observed: Observed, f: Factors, ridge: float) -> float:
    norms = (float(np.linalg.norm(to_numpy(x))) for x in (f.U, f.W))
    return residual_energy(observed, f) + ridge * sum(x**2 for x in norms)


def problem(xp: Any, is_complex: bool = False, biased: bool = False) -> tuple[Observed, Factors]:
    """Return noisy observations, weighted, and a random model."""
    rng = np.random.default_rng(4)
    A, U, W, row, column = (
        draw(rng, shape, is_complex) for shape in ((M, N), (M, K), (N, K), (M,), (N,))
    )
    seen, weights = rng.random((M, N)) < 0.5, rng.random((M, N))
    observed = observe(xp.asarray(A), mask=xp.asarray(seen), weights=xp.asarray(weights))
    biases = (xp.asarray(row), xp.asarray(column), 0.5) if biased else ()
    return observed, Factors(xp.asarray(U), xp.asarray(W), *biases)


def check_descent(xp: Any, ridge: float, is_complex: bool, biased: bool) -> None:
    observed, f = problem(xp, is_complex, biased)
    before = objective(observed, f, ridge)
    for _ in range(4):
        f = scaled_gradient_sweep(observed, f, ridge)
        now = objective(observed, f, ridge)
        assert now < before
        before = now


def test_the_objective_never_increases(xp):
    check_descent(xp, 2.0, is_complex=True, biased=True)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
def test_the_objective_never_increases_without_a_ridge(is_complex, biased):
    check_descent(BACKENDS[0], 0.0, is_complex, biased)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_the_step_is_the_best_along_its_direction(is_complex):
    observed, f = problem(BACKENDS[0], is_complex)
    g = scaled_gradient_sweep(observed, f, 0.7)
    D, E = g.U - f.U, g.W - f.W
    best = objective(observed, g, 0.7)
    for t in (0.99, 1.01, 0.5, 3.0, -1.0, 10.0):
        assert objective(observed, f.with_factors(f.U + t * D, f.W + t * E), 0.7) > best


def test_the_direction_is_the_preconditioned_gradient():
    """Dense algebra on a full matrix, where the mean Gram matrices are those of all rows."""
    rng = np.random.default_rng(7)
    A, U, W = (draw(rng, shape, True) for shape in ((M, N), (M, K), (N, K)))
    g = scaled_gradient_sweep(observe(A), Factors(U, W), 0.3)
    R, eye = A - U @ W.T, np.eye(K)
    D = (R @ W.conj() - 0.3 * U) @ np.linalg.inv(W.T @ W.conj() + 0.3 * eye)
    E = (R.T @ U.conj() - 0.3 * W) @ np.linalg.inv(U.T @ U.conj() + 0.3 * eye)
    step = np.vdot(D, g.U - U) / np.vdot(D, D)
    assert abs(step.imag) < 1e-12
    assert step.real > 0
    assert np.abs(g.U - U - step.real * D).max() < 1e-12 * np.abs(D).max()
    assert np.abs(g.W - W - step.real * E).max() < 1e-12 * np.abs(E).max()


def errors_of(condition: float, seed: int, steps: int) -> Any:
    """Return residual norms from a start that is wrong by a few per cent in every direction."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((size, K)))[0] for size in (120, 100))
    near_U, near_V = (x + 0.05 * rng.standard_normal(x.shape) / len(x) ** 0.5 for x in (U, V))
    s = np.geomspace(1.0, 1.0 / condition, K)
    A = np.where(rng.random((120, 100)) < 0.5, (U * s) @ V.T, np.nan)
    observed, f = observe(A), Factors(near_U * np.sqrt(s), near_V * np.sqrt(s))
    errors = [residual_energy(observed, f)]
    for _ in range(steps):
        f = scaled_gradient_sweep(observed, f, 0.0)
        errors.append(residual_energy(observed, f))
    return np.sqrt(errors)


def test_the_linear_rate_does_not_depend_on_the_condition():
    rates = []
    for condition in (1.0, 10.0, 100.0):
        errors = errors_of(condition, 1, 40)
        rates.append((errors[40] / errors[10]) ** (1 / 30))
    assert max(rates) < 0.8
    assert max(rates) - min(rates) < 0.05


def test_it_reaches_the_level_of_roundoff():
    errors = errors_of(10.0, 2, 120)
    assert errors[-1] < 1e-12 * errors[0]


def test_zero_is_stationary_and_stays():
    observed = observe(np.eye(4))
    f = Factors(np.zeros((4, 2)), np.zeros((4, 2)))
    g = scaled_gradient_sweep(observed, f, 0.0)
    assert not g.U.any()
    assert not g.W.any()


def test_a_factor_of_too_low_rank_gives_no_nan():
    rng = np.random.default_rng(0)
    U = np.repeat(rng.standard_normal((6, 1)), 2, axis=1)
    W = np.repeat(rng.standard_normal((5, 1)), 2, axis=1)
    observed = observe(rng.standard_normal((6, 5)))
    g = scaled_gradient_sweep(observed, Factors(U, W), 0.0)
    assert residual_energy(observed, g) < residual_energy(observed, Factors(U, W))


def test_biases_are_best_for_the_other_parts():
    observed, f = problem(BACKENDS[0], is_complex=True, biased=True)
    g = scaled_gradient_sweep(observed, f, 0.0)
    # The column biases come last, before the factors: their gradient vanishes.
    half = f.with_factors(f.U, f.W)
    half = Factors(half.U, half.W, g.row_bias, g.column_bias, half.mean)
    side = _Side(observed.xp, observed.columns, observed.column_values, observed.column_weights)
    gradient = side.residuals(half.transposed(), np.ones((M, 1), dtype=complex))
    assert np.abs(gradient).max() < 1e-12


def test_single_precision_is_kept():
    observed, f = observe(np.eye(4, dtype=np.float32)), np.ones((4, 2), dtype=np.float32)
    g = scaled_gradient_sweep(observed, Factors(f, f), 0.1)
    assert g.U.dtype == g.W.dtype == np.float32


@pytest.mark.parametrize("shift", [-1.5, 0.25, 2.0])
def test_the_lowest_of_two_valleys_is_chosen(shift):
    """(t^2 - 1)^2 - t / 2 is lowest near 1.06; it is moved and loses its constant term."""
    quartic = np.polynomial.Polynomial([1.0, -0.5, -2.0, 0.0, 1.0])
    moved = quartic(np.polynomial.Polynomial([shift, 1.0]))
    step = _best_step(tuple(moved.coef[1:]))
    lowest = max(float(x.real) for x in quartic.deriv().roots())
    if moved.coef[1] < 0:
        assert step + shift == pytest.approx(lowest, rel=1e-9)
    else:
        assert step == 0.0
