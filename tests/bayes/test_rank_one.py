"""Rank-one sparse Bayesian learning against dense formulas, quadrature and simulation."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from linalgkit.bayes import _rank_one
from linalgkit.bayes._model import Prepared, prepare, restricted
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._moves import Price, price_for
from linalgkit.bayes._rank_one import RankOne, product_moments, rank_one
from linalgkit.bayes._search import unfolding_grams
from linalgkit.bayes._single import solve_single
from linalgkit.datasets import irs_channel, kronecker_sparse
from tests.conftest import BACKENDS, Backend

SHAPE: tuple[tuple[int, ...], ...] = ((15, 15, 15), (8, 12, 15), (3, 3, 3))


def draw(rng: Any, *shape: int, is_complex: bool = False) -> Any:
    G = rng.standard_normal(shape)
    return G + 1j * rng.standard_normal(shape) if is_complex else G


def units(H: Any) -> Any:
    norms = np.linalg.norm(H, axis=0)
    return H / np.where(norms > 0, norms, 1)


def solve(
    factors: Any,
    y: Any,
    noise_var: float | None = None,
    snapshots: int | None = None,
    **options: Any,
) -> tuple[RankOne, Prepared]:
    """Return the answer in the model's units, and the model."""
    prepared = prepare(kronecker_data(factors, y), snapshots)
    model = prepared.model
    if noise_var is not None:
        noise_var *= 4.0**-prepared.exponent
    return rank_one(
        model, price_for("bic", model), unfolding_grams(model), noise_var, **options
    ), prepared


def estimate(found: RankOne, prepared: Prepared) -> Any:
    """Return the mean in the caller's units, on the support."""
    mean = product_moments(found)[0] * 2.0**prepared.exponent
    for i, s in enumerate(found.supports):
        norms = np.ldexp(prepared.norms[i], prepared.exponents[i])[s]
        mean = mean / norms.reshape((-1,) + (1,) * (mean.ndim - i - 1))
    return mean


# ----------------------------------------------------------------------------- one vector


def log_density(a: Any, C: Any) -> float:
    """Return SciPy's log-density of zero-mean data; a circular complex vector as a real one."""
    if not np.iscomplexobj(C):
        return float(scipy.stats.multivariate_normal.logpdf(a, cov=C))
    joint = 0.5 * np.block([[C.real, -C.imag], [C.imag, C.real]])
    return float(
        scipy.stats.multivariate_normal.logpdf(np.concatenate([a.real, a.imag]), cov=joint)
    )


def one_vector(is_complex: bool, m: int = 12, n: int = 20) -> tuple[Any, Any, float, float, Any]:
    """Return H, a, noise, kappa and prices of a problem with three columns in."""
    rng = np.random.default_rng(5)
    H = units(draw(rng, m, n, is_complex=is_complex))
    a = H[:, :3] @ np.array([1.0, -0.6, 0.4]) + 0.05 * draw(rng, m, is_complex=is_complex)
    kappa = 1.0 if is_complex else 0.5
    noise = 0.05**2 / (0.5 if is_complex else 1.0)
    price = Price("bic", (n,), m)
    return H, a, noise, kappa, lambda k: price.of(0, k)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_posterior_and_evidence_of_one_vector_are_those_of_dense_formulas(is_complex: bool) -> None:
    H, a, noise, kappa, price_of = one_vector(is_complex)
    found = solve_single(H, a, noise, kappa, price_of)
    C = (H * found.gamma) @ H.conj().T + noise * np.eye(12)
    gain = (H * found.gamma).conj().T @ np.linalg.inv(C)
    dense = np.diag(found.gamma) - gain @ H * found.gamma
    s = found.support
    np.testing.assert_allclose(found.evidence, log_density(a, C), rtol=1e-10)
    np.testing.assert_allclose(found.mean, gain @ a, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found.covariance, dense[np.ix_(s, s)], rtol=1e-8, atol=1e-12)
    assert found.score == found.evidence - price_of(len(s))
    assert s.tolist() == [0, 1, 2]


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_variances_of_one_vector_maximise_the_evidence(is_complex: bool) -> None:
    H, a, noise, kappa, price_of = one_vector(is_complex)
    found = solve_single(H, a, noise, kappa, price_of)
    s = found.support

    def negative(logs: Any) -> float:
        return -log_density(a, (H[:, s] * np.exp(logs)) @ H[:, s].conj().T + noise * np.eye(12))

    best = scipy.optimize.minimize(negative, np.log(found.gamma[s]), method="Nelder-Mead",
                                   options={"xatol": 1e-8, "fatol": 1e-10})  # fmt: skip
    assert found.evidence >= -best.fun - 1e-6


def best_evidence(B: Any, a: Any, noise: float) -> float:
    """Return the largest log-evidence of real data over all variances, from two starts."""

    def negative(logs: Any) -> float:
        C = (B * np.exp(np.clip(logs, -40, 40))) @ B.T + noise * np.eye(a.shape[0])
        log_det = a.shape[0] * math.log(2 * math.pi) + np.linalg.slogdet(C)[1]
        return 0.5 * float(log_det + a @ np.linalg.solve(C, a))

    starts = [np.full(B.shape[1], x) for x in (-3.0, 0.0)]
    return -min(scipy.optimize.minimize(negative, start).fun for start in starts)


def test_the_score_of_one_vector_is_the_best_of_all_supports() -> None:
    rng = np.random.default_rng(0)
    price = Price("bic", (6,), 1000)
    for _ in range(5):
        H = units(draw(rng, 5, 6))
        a = H[:, :2] @ draw(rng, 2) + 0.2 * draw(rng, 5)
        found = solve_single(H, a, 0.04, 0.5, lambda k: price.of(0, k))
        supports = [list(s) for k in (1, 2, 3) for s in itertools.combinations(range(6), k)]
        scores = [best_evidence(H[:, s], a, 0.04) - price.of(0, len(s)) for s in supports]
        assert found.score >= max(scores) - 1e-4


def test_a_warm_start_never_lowers_the_score() -> None:
    H, a, noise, kappa, price_of = one_vector(False)
    gamma0 = np.zeros(20)
    gamma0[[0, 7, 9]] = [1.0, 0.1, 0.2]
    C = (H * gamma0) @ H.T + noise * np.eye(12)
    before = log_density(a, C) - price_of(3)
    warm = solve_single(H, a, noise, kappa, price_of, gamma0, search=False)
    both = solve_single(H, a, noise, kappa, price_of, gamma0)
    assert both.score >= warm.score > before


def test_one_vector_of_noise_alone_has_no_support() -> None:
    H = np.eye(3)[:, :2]
    a = np.array([0.1, 0.2, 1.5])  # |h^H a|^2 below the noise for every column
    found = solve_single(H, a, 1.0, 0.5, float)
    assert found.support.shape == (0,)
    assert not np.any(found.gamma)
    assert not np.any(found.mean)
    np.testing.assert_allclose(found.evidence, log_density(a, np.eye(3)), rtol=1e-12)


def test_columns_of_zeros_and_copies_of_columns_never_enter() -> None:
    H, a, noise, kappa, price_of = one_vector(True)
    H[:, 5], H[:, 6] = 0.0, H[:, 0]
    found = solve_single(H, a, noise, kappa, price_of)
    assert len(set(found.support.tolist()) & {0, 6}) == 1
    assert 5 not in found.support
    assert solve_single(np.zeros((12, 3)), a, noise, kappa, price_of).support.shape == (0,)


def test_one_vector_of_many_columns_is_found() -> None:
    H, a, noise, kappa, price_of = one_vector(False, 60, 400)
    assert solve_single(H, a, noise, kappa, price_of).support.tolist() == [0, 1, 2]


# ------------------------------------------------------------------------------ the bound

CASES = {
    "real": {"snapshots": None, "dtype": "float64"},
    "complex": {"snapshots": None, "dtype": "complex128"},
    "real snapshots": {"snapshots": 4, "dtype": "float64"},
    "complex snapshots": {"snapshots": 4, "dtype": "complex128"},
}


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("case", CASES)
def test_the_bound_rises_between_changes_of_the_support(case: str, known: bool) -> None:
    for seed in range(5):
        p = kronecker_sparse(*SHAPE, snr_db=5.0, rank_one=True, rng=seed, **CASES[case])
        found, _ = solve(p.factors, p.y, p.noise_var if known else None)
        steps = np.diff(found.history)
        steps[[c - 1 for c in found.changes if c > 0]] = 0.0
        assert len(steps) >= 6
        assert found.converged
        assert np.all(steps >= -1e-11 * np.abs(found.history[1:]))
        assert found.bound == found.history[-1]


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_the_bound_of_one_mode_is_the_exact_evidence(is_complex: bool) -> None:
    H, a, noise, _, _ = one_vector(is_complex)
    found, prepared = solve([H], a, noise)
    B, scale = prepared.model.factors[0][:, found.supports[0]], 2.0**prepared.exponent
    C = (B * found.gammas[0]) @ B.conj().T + found.noise * np.eye(12)
    np.testing.assert_allclose(found.bound, log_density(a / scale, C), rtol=1e-10)


def test_the_bound_of_two_modes_lies_below_the_exact_evidence() -> None:
    rng = np.random.default_rng(3)
    H1, H2 = draw(rng, 3, 1), draw(rng, 2, 1)
    y = 0.5 * np.outer(H1, H2) + 0.3 * draw(rng, 3, 2)
    found, prepared = solve([H1, H2], y, 0.09)
    model = prepared.model
    pattern = np.outer(*model.factors)
    size, inner = float(np.sum(pattern**2)), float(np.sum(pattern * model.Y[..., 0]))
    noise, (g1, g2) = found.noise, (float(g[0]) for g in found.gammas)

    def given(x2: float) -> float:
        """Evidence of x1's Gaussian problem given x2, times the prior of x2."""
        w = size * x2**2 * g1 / noise
        exponent = 0.5 * (x2 * inner) ** 2 * g1 / noise**2 / (1 + w)
        return math.exp(exponent - x2**2 / (2 * g2)) / math.sqrt((1 + w) * 2 * math.pi * g2)

    reach = 40 * math.sqrt(g2)
    integral = scipy.integrate.quad(given, -reach, reach, limit=500)[0]
    exact = math.log(integral) + model.log_evidence_of_noise(noise)
    assert found.supports[0].shape == (1,)
    assert exact - 3.0 < found.bound < exact


@pytest.mark.parametrize("case", CASES)
def test_each_posterior_is_that_of_the_dense_problem_given_the_others(case: str) -> None:
    options = CASES[case]
    p = kronecker_sparse(
        (9, 8, 7), (5, 6, 4), (2, 3, 2), snr_db=12.0, rank_one=True, rng=2, **options
    )
    found, prepared = solve(p.factors, p.y, p.noise_var, tol=1e-13)
    model = prepared.model
    factors = [H[:, s] for H, s in zip(model.factors, found.supports, strict=True)]
    means, covariances, priors = list(found.means), list(found.covariances), list(found.gammas)
    if found.snapshot_mean is not None:
        L = options["snapshots"]
        factors.append(np.eye(L))
        means.append(found.snapshot_mean)
        covariances.append(found.snapshot_variance * np.eye(L))
        priors.append(np.ones(L))
    y = model.Y.reshape(-1)
    for i in range(len(factors)):
        seconds = [np.outer(m, m.conj()) + C for m, C in zip(means, covariances, strict=True)]
        # E[A^H A] and E[A]^H y of the dense matrix A with y = A x_i + noise
        parts = [H @ m[:, None] for H, m in zip(factors, means, strict=True)]
        parts[i] = factors[i]
        A = reduce(np.kron, parts)
        weight = math.prod(
            float(np.trace(factors[k].conj().T @ factors[k] @ seconds[k]).real)
            for k in range(len(factors))
            if k != i
        )
        precision = factors[i].conj().T @ factors[i] * weight / found.noise + np.diag(1 / priors[i])
        covariance = np.linalg.inv(precision)
        tolerance = 1e-9 if i == len(factors) - 1 else 1e-5  # the last was solved last
        np.testing.assert_allclose(covariances[i], covariance, rtol=tolerance, atol=1e-12)
        mean = covariance @ (A.conj().T @ y) / found.noise
        np.testing.assert_allclose(
            means[i], mean, rtol=tolerance, atol=tolerance * np.abs(mean).max()
        )


def test_the_estimated_noise_is_the_expected_residual() -> None:
    p = kronecker_sparse((9, 8), (5, 6), (2, 3), snr_db=10.0, rank_one=True, snapshots=3, rng=4)
    found, prepared = solve(p.factors, p.y)
    mean, variance = found_on_data(found, prepared)
    residual = np.sum(np.abs(prepared.model.Y - mean) ** 2) + variance
    np.testing.assert_allclose(found.noise, residual / prepared.model.total, rtol=1e-10)


def found_on_data(found: RankOne, prepared: Prepared) -> tuple[Any, float]:
    """Return the fit and the sum of its variances, from the full covariance of H x."""
    factors = [H[:, s] for H, s in zip(prepared.model.factors, found.supports, strict=True)]
    means = [H @ m for H, m in zip(factors, found.means, strict=True)] + [found.snapshot_mean]
    second = prod_first = 1.0
    spreads = [
        float(np.trace(H @ C @ H.conj().T).real)
        for H, C in zip(factors, found.covariances, strict=True)
    ] + [prepared.model.snapshots * found.snapshot_variance]
    for m, spread in zip(means, spreads, strict=True):
        size = float(np.sum(np.abs(m) ** 2))
        second, prod_first = second * (size + spread), prod_first * size
    return reduce(np.multiply.outer, means), second - prod_first


def test_compressed_data_have_the_same_bound() -> None:
    p = kronecker_sparse((4, 5), (9, 8), (2, 3), snr_db=10.0, rank_one=True, snapshots=3, rng=4)
    whole, prepared = solve(p.factors, p.y)
    small, _ = restricted(prepared.model, [np.arange(4), np.arange(5)])
    assert small.outside > 0
    assert math.prod(small.sizes) < small.count
    found = rank_one(small, price_for("bic", prepared.model), unfolding_grams(small), None)
    assert [s.tolist() for s in found.supports] == [s.tolist() for s in whole.supports]
    np.testing.assert_allclose(found.bound, whole.bound, rtol=1e-9)


# ------------------------------------------------------------------------------ snapshots


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_snapshots_may_be_replaced_by_their_lq_factor(dtype: str) -> None:
    options = {"snr_db": 10.0, "rank_one": True, "snapshots": 40, "dtype": dtype, "rng": 1}
    p = kronecker_sparse((7, 8), (4, 5), (2, 2), **options)
    whole, prepared = solve(p.factors, p.y)
    Q, R = np.linalg.qr(p.y.reshape(20, 40).conj().T)
    thin, other = solve(p.factors, R.conj().T.reshape(4, 5, 20), snapshots=40)
    assert [s.tolist() for s in whole.supports] == [s.tolist() for s in thin.supports]
    shift = (other.exponent - prepared.exponent) * math.log(2) * other.model.total
    np.testing.assert_allclose(thin.bound, whole.bound + 2 * other.model.kappa * shift, rtol=1e-9)
    scale = 2.0 ** (other.exponent - prepared.exponent)
    mean, variance = product_moments(thin, Q.conj().T)
    expected_mean, expected = product_moments(whole)
    size = np.abs(expected_mean).max()
    np.testing.assert_allclose(mean * scale, expected_mean, rtol=1e-4, atol=1e-4 * size)
    np.testing.assert_allclose(variance * scale**2, expected, rtol=1e-3)


def test_snapshots_of_rank_one_are_recovered() -> None:
    p = kronecker_sparse((30, 40), (10, 12), (4, 5), snr_db=10.0, rank_one=True, snapshots=8, rng=6)
    found, prepared = solve(p.factors, p.y)
    assert p.nmse(estimate(found, prepared), found.supports) < p.nmse(p.oracle())


def test_variances_of_a_product_are_exact() -> None:
    """Against exact rational arithmetic; the difference of products would lose all digits."""
    m, c = [[3.0, 1.0], [1.0, 2.0]], [[1e-25, 2.0], [3e-22, 1e-21]]
    found = RankOne(
        [np.arange(2)] * 2, [np.array(x) for x in m], [np.diag(x) for x in c],
        [np.ones(2)] * 2, np.array([2.0]), 1e-23, 1.0, 0.0, 0.0, [], [], 1, True,
    )  # fmt: skip
    mean, variance = product_moments(found)
    for i, j in itertools.product(range(2), range(2)):
        means = [Fraction(m[0][i]), Fraction(m[1][j]), Fraction(2)]
        variances = [Fraction(c[0][i]), Fraction(c[1][j]), Fraction(1e-23)]
        second = math.prod(x**2 + v for x, v in zip(means, variances, strict=True))
        exact = second - math.prod(x**2 for x in means)
        np.testing.assert_allclose(variance[i, j, 0], float(exact), rtol=1e-14)
        assert mean[i, j, 0] == float(math.prod(means))


# --------------------------------------------------------------------------------- recovery


def errors(snr: float, known: bool, count: int, rank_one_truth: bool = True) -> tuple[Any, Any]:
    """Return the errors of the method and of least squares told the support, a draw each."""
    ours, oracle = [], []
    for seed in range(count):
        p = kronecker_sparse(*SHAPE, snr_db=snr, rank_one=rank_one_truth, rng=5000 + seed)
        found, prepared = solve(p.factors, p.y, p.noise_var if known else None)
        ours.append(p.nmse(estimate(found, prepared), found.supports))
        oracle.append(p.nmse(p.oracle()))
    return np.array(ours), np.array(oracle)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("snr", [10.0, 25.0])
def test_rank_one_tensors_are_recovered_better_than_least_squares_told_the_support(
    snr: float, known: bool
) -> None:
    """At most 3 percent of draws may be bad: of 40 none is, which happens by chance in 0.3."""
    ours, oracle = errors(snr, known, 40)
    assert np.all(ours < 10 * oracle)
    assert np.mean(ours) < np.mean(oracle)


def test_tensors_not_of_rank_one_are_not_recovered() -> None:
    ours, oracle = errors(25.0, True, 10, rank_one_truth=False)
    assert np.mean(ours) > 10 * np.mean(oracle)


def test_channels_over_a_reflecting_surface_are_recovered() -> None:
    shares = []
    for seed in range(8):
        p = irs_channel(snr_db=12.0, rng=seed)
        found, prepared = solve(p.factors, p.y, p.noise_var)
        shares.append(p.channel_error(estimate(found, prepared), found.supports))
    assert np.mean(shares) < 0.05


def test_conjugated_data_are_another_problem() -> None:
    p = irs_channel(snr_db=12.0, rng=1)
    found, prepared = solve(p.factors, p.y.conj(), p.noise_var)
    assert not p.channel_error(estimate(found, prepared), found.supports) < 0.5


# ------------------------------------------------------------------------------- edge cases


def test_powers_of_two_change_nothing() -> None:
    p = kronecker_sparse(*SHAPE, snr_db=10.0, rank_one=True, rng=1)
    first, prepared = solve(p.factors, p.y, p.noise_var)
    factors = [H * 2.0**e for H, e in zip(p.factors, (30, -40, 7), strict=True)]
    second, other = solve(factors, p.y * 2.0**-60, p.noise_var * 2.0**-120)
    assert first.history == second.history
    assert first.noise == second.noise
    scaled = estimate(second, other) * 2.0**57
    assert np.array_equal(scaled, estimate(first, prepared))


def test_data_of_zeros_have_no_support() -> None:
    factors = [np.eye(3), np.eye(4)]
    found, prepared = solve(factors, np.zeros((3, 4)), 0.5)
    assert [s.shape[0] for s in found.supports] == [0, 0]
    assert found.converged
    assert found.score == found.bound == prepared.model.log_evidence_of_noise(0.5)
    assert solve(factors, np.zeros((3, 4)))[0].score == math.inf
    assert product_moments(found)[0].shape == (0, 0)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_noise_alone_has_no_support(known: bool) -> None:
    rng = np.random.default_rng(0)
    factors = [draw(rng, 8, 15), draw(rng, 12, 15)]
    found, prepared = solve(factors, draw(rng, 8, 12), 1.0 if known else None)
    assert [s.shape[0] for s in found.supports] == [0, 0]
    assert found.score == prepared.model.log_evidence_of_noise(found.noise)


def test_a_factor_of_zeros_has_no_support() -> None:
    rng = np.random.default_rng(0)
    found, _ = solve([draw(rng, 5, 6), np.zeros((4, 3))], draw(rng, 5, 4))
    assert [s.shape[0] for s in found.supports] == [0, 0]


def test_columns_of_zeros_and_factors_of_one_row_do_no_harm() -> None:
    p = kronecker_sparse((9, 8, 4), (5, 6, 1), (2, 3, 1), snr_db=40.0, rank_one=True, rng=2)
    out = np.setdiff1d(np.arange(9), p.support[0])
    p.factors[0][:, out[:2]] = 0.0
    found, _ = solve(p.factors, p.y)
    assert not set(found.supports[0].tolist()) & set(out[:2].tolist())
    assert found.supports[0].tolist() == p.support[0].tolist()
    assert found.supports[1].tolist() == p.support[1].tolist()


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_noise_near_its_floor_is_withstood(known: bool) -> None:
    p = kronecker_sparse(*SHAPE, snr_db=130.0, rank_one=True, rng=1)
    found, prepared = solve(p.factors, p.y, p.noise_var if known else None)
    assert [s.tolist() for s in found.supports] == [s.tolist() for s in p.support]
    assert p.nmse(estimate(found, prepared), found.supports) < 1e-12
    truth = p.noise_var * 4.0**-prepared.exponent
    assert truth / 1.2 < found.noise < 1.2 * truth


def test_clean_data_end_at_the_floor() -> None:
    p = kronecker_sparse(*SHAPE, rank_one=True, rng=1)
    found, prepared = solve(p.factors, p.clean)
    assert found.noise == prepared.model.noise_floor
    assert p.nmse(estimate(found, prepared), found.supports) < 1e-24


def test_sweeps_may_be_cut_short() -> None:
    p = kronecker_sparse(*SHAPE, snr_db=5.0, rank_one=True, rng=1)
    found, _ = solve(p.factors, p.y, max_iter=1)
    assert found.sweeps == 1
    assert not found.converged


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_every_library_finds_the_same(xp: Backend, dtype: str) -> None:
    options = {"snr_db": 15.0, "rank_one": True, "snapshots": 3, "dtype": dtype, "rng": 3}
    p = kronecker_sparse((9, 8, 7), (5, 6, 4), (2, 3, 2), **options)
    expected, _ = solve(p.factors, p.y)
    factors = [xp.asarray(H, dtype) for H in p.factors]
    found, _ = solve(factors, xp.asarray(p.y, dtype))
    assert [s.tolist() for s in found.supports] == [s.tolist() for s in expected.supports]
    np.testing.assert_allclose(found.bound, expected.bound, rtol=1e-5)
    np.testing.assert_allclose(
        np.abs(product_moments(found)[0]),
        np.abs(product_moments(expected)[0]),
        rtol=1e-3,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_tensor_goes_on_in_its_library(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    backend = next((b for b in BACKENDS if b.name == "strict-device1"), BACKENDS[-1])
    snr = 130.0 if dtype == "float64" else 60.0
    options = {"snr_db": snr, "rank_one": True, "dtype": dtype, "rng": 3}
    p = kronecker_sparse((9, 8, 7), (5, 6, 4), (2, 3, 2), **options)
    expected, _ = solve([H.astype(float) for H in p.factors], p.y.astype(float))
    monkeypatch.setattr(_rank_one, "_SMALL", 0)
    monkeypatch.setattr(_rank_one, "_SLAB", 60)  # slabs of two rows
    factors = [backend.asarray(H, dtype) for H in p.factors]
    found, _ = solve(factors, backend.asarray(p.y, dtype))
    assert [s.tolist() for s in found.supports] == [s.tolist() for s in expected.supports]
    np.testing.assert_allclose(
        found.bound, expected.bound, rtol=1e-6 if dtype == "float32" else 1e-9
    )
    np.testing.assert_allclose(found.noise, expected.noise, rtol=1e-3)


def test_single_precision_keeps_the_bound_in_double() -> None:
    p = kronecker_sparse(*SHAPE, snr_db=40.0, rank_one=True, dtype="float32", rng=1)
    found, _ = solve(p.factors, p.y)
    same, _ = solve([H.astype(float) for H in p.factors], p.y.astype(float))
    np.testing.assert_allclose(found.bound, same.bound, rtol=1e-9)
