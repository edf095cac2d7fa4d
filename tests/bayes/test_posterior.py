"""Posterior moments against sixty digits, dense formulas, and each other."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest

from linalgkit.bayes._model import prepare
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._posterior import Posterior

SHAPES = {
    2: [(3, 4), (3, 2)],
    3: [(2, 3), (3, 2), (2, 3)],
    4: [(2, 2), (1, 2), (2, 3), (2, 1)],
}


def problem(modes: int, is_complex: bool) -> tuple[Any, list[Any]]:
    """Return a model with factors as they are, and prior variances that differ much."""
    rng = np.random.default_rng(modes)

    def draw(*shape: int) -> Any:
        G = rng.standard_normal(shape)
        return G + 1j * rng.standard_normal(shape) if is_complex else G

    factors = [draw(m, n) for m, n in SHAPES[modes]]
    Y = draw(*(m for m, _ in SHAPES[modes]), 1)
    model = prepare(kronecker_data(factors, Y)).model
    gammas = [np.exp(1.5 * rng.standard_normal(n)) for _, n in SHAPES[modes]]
    return replace(model, factors=tuple(factors), Y=Y), gammas


def exact_moments(model: Any, gammas: list[Any], noise: float) -> tuple[Any, Any]:
    """Return mean and variances with sixty digits."""
    with mpmath.workdps(60):
        A = functools.reduce(_kron, [mpmath.matrix(H.tolist()) for H in model.factors])
        G = functools.reduce(_kron, [mpmath.matrix(g[:, None].tolist()) for g in gammas])
        y = mpmath.matrix(model.Y.reshape(-1, 1).tolist())
        gamma = mpmath.diag(list(G))
        S = A * gamma * A.H + mpmath.mpf(noise) * mpmath.eye(A.rows)
        gain = gamma * A.H * mpmath.inverse(S)
        mean, C = gain * y, gamma - gain * A * gamma
        return (
            np.array([complex(v) for v in mean]),
            np.array([float(mpmath.re(C[i, i])) for i in range(C.rows)]),
        )


def _kron(A: Any, B: Any) -> Any:
    K = mpmath.matrix(A.rows * B.rows, A.cols * B.cols)
    for i in range(A.rows):
        for j in range(A.cols):
            for k in range(B.rows):
                for m in range(B.cols):
                    K[i * B.rows + k, j * B.cols + m] = A[i, j] * B[k, m]
    return K


@pytest.mark.parametrize("decibels", [0, 40, 80])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("modes", sorted(SHAPES))
def test_mean_and_variance_have_twelve_digits_at_any_signal_to_noise_ratio(
    modes: int, is_complex: bool, decibels: int
) -> None:
    model, gammas = problem(modes, is_complex)
    noise = 10.0 ** (-decibels / 10)
    mean, variance = exact_moments(model, gammas, noise)
    posterior = Posterior.of(model, gammas, noise)
    found = posterior.mean().ravel()
    assert np.linalg.norm(found - mean) <= 1e-12 * np.linalg.norm(mean)
    assert np.all(np.abs(posterior.variance().ravel() - variance) <= 1e-12 * variance)


def test_the_textbook_difference_loses_these_digits() -> None:
    """The control: at 80 dB the formula of the textbooks is far from twelve digits."""
    rng = np.random.default_rng(7)
    model, _ = problem(2, False)
    factors = tuple(rng.standard_normal((5, 3)) for _ in range(2))
    model = replace(model, factors=factors, Y=rng.standard_normal((5, 5, 1)))
    gammas = [np.ones(3), np.ones(3)]
    _, variance = exact_moments(model, gammas, 1e-8)
    assert np.allclose(Posterior.of(model, gammas, 1e-8).variance().ravel(), variance, rtol=1e-12)
    A = functools.reduce(np.kron, model.factors)
    gamma = functools.reduce(np.kron, gammas)
    S = (A * gamma) @ A.T + 1e-8 * np.eye(A.shape[0])
    textbook = gamma - gamma**2 * np.einsum("ij,ij->j", A, np.linalg.solve(S, A))
    assert np.max(np.abs(textbook - variance) / variance) > 1e-10


@pytest.mark.parametrize("is_complex", [False, True])
def test_variance_of_a_product_is_that_of_the_dense_covariance(is_complex: bool) -> None:
    model, gammas = problem(3, is_complex)
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((4, n)) + 0j for _, n in SHAPES[3]]
    A, gamma = functools.reduce(np.kron, model.factors), functools.reduce(np.kron, gammas)
    C = np.linalg.inv(np.diag(1 / gamma) + A.conj().T @ A / 0.1)
    F = functools.reduce(np.kron, rows)
    expected = np.einsum("ij,jk,ik->i", F, C, F.conj()).real
    found = Posterior.of(model, gammas, 0.1).variance_of(rows)
    assert np.allclose(found.ravel(), expected, rtol=1e-11)


def test_the_adjoint_of_the_mean_is_its_adjoint() -> None:
    model, gammas = problem(3, True)
    posterior = Posterior.of(model, gammas, 0.01)
    rng = np.random.default_rng(1)
    Y = rng.standard_normal(model.Y.shape) + 1j * rng.standard_normal(model.Y.shape)
    shape = (*(n for _, n in SHAPES[3]), 1)
    X = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    left = np.vdot(X, posterior.mean(Y))
    right = np.vdot(posterior.adjoint_mean(X), Y)
    assert abs(left - right) <= 1e-12 * abs(left)
