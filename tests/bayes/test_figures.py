"""The statistical figures of the method, at counts that a test can afford.

A rate is shown to exceed a bound by refusing, at a level of 1 %, that it lies below it (exact
binomial test). Comparisons of means are on the same fixed draws. Each has a control that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

pytest.importorskip("sklearn")  # which the package of the peers imports
from asv_benchmarks.peers.kro_sbl import Core, covariance_e_step, irs_options, kro_sbl
from linalgkit.bayes import kron_sbl
from linalgkit.bayes._model import Model, prepare
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._posterior import Posterior
from linalgkit.datasets import irs_channel, kronecker_sparse

# Some of these answers are cut short, or of noise alone; test_sbl holds what is warned of.
pytestmark = pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")

LEVEL = 0.01


def exceeds(successes: Any, rate: float) -> bool:
    """Whether "the rate is `rate` or less" is refused at the level."""
    successes = np.asarray(successes)
    test = binomtest(int(successes.sum()), successes.size, rate, alternative="greater")
    return bool(test.pvalue <= LEVEL)


def ours(p: Any) -> Any:
    return kron_sbl(p.factors, p.y)


def told(p: Any) -> Any:
    return kron_sbl(p.factors, p.y, noise_var=p.noise_var)


def published(method: str, **options: Any) -> Callable[[Any], Any]:
    return lambda p: kro_sbl(p.factors, p.y, noise_var=p.noise_var, method=method, **options)


def errors(problems: list[Any], solve: Callable[[Any], Any], measure: str = "nmse") -> Any:
    answers = [solve(p) for p in problems]
    return np.asarray(
        [getattr(p, measure)(a.coef, a.support) for p, a in zip(problems, answers, strict=True)]
    )


def exact(problems: list[Any], solve: Callable[[Any], Any]) -> Any:
    return np.asarray([p.support_rate(solve(p).support) == 1.0 for p in problems])


def synthetic(snr_db: float, draws: int, first: int, rank_one: bool = False) -> list[Any]:
    return [
        kronecker_sparse(
            (15, 15, 15), (8, 12, 15), (3, 3, 3), snr_db=snr_db, rank_one=rank_one, rng=first + d
        )
        for d in range(draws)
    ]


# ------------------------------------------------------------------------------- generic core


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [15.0, 30.0])
def test_supports_of_generic_cores_are_mostly_exact_with_nothing_told(snr_db):
    problems = synthetic(snr_db, 64, 30_000 + int(snr_db) * 100)
    assert exceeds(exact(problems, ours), 0.85)


@pytest.mark.slow
def test_the_papers_methods_do_not_find_as_many():
    problems = synthetic(15.0, 64, 31_500)
    assert not exceeds(exact(problems, published("am")), 0.85)


@pytest.mark.slow
def test_the_error_on_generic_cores_is_near_that_of_the_oracle():
    problems = synthetic(20.0, 40, 32_000)
    oracle = np.mean([p.nmse(p.oracle()) for p in problems])
    assert errors(problems, ours).mean() <= 1.1 * oracle
    # The control: the optimum of the evidence keeps slices at the level of the noise.
    unpruned = errors(problems, lambda p: kron_sbl(p.factors, p.y, method="mm", prune=None))
    assert unpruned.mean() > 1.1 * oracle


# ----------------------------------------------------------------------------- x of rank one


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [10.0, 25.0])
def test_rank_one_is_no_worse_than_the_better_of_the_papers_methods(snr_db):
    problems = synthetic(snr_db, 24, 50_000, rank_one=True)
    am, svd = (errors(problems, published(m)) for m in ("am", "svd"))
    limit = min(am.mean(), svd.mean())
    assert errors(problems, told).mean() <= limit
    assert errors(problems, published("ksbl")).mean() > limit


@pytest.mark.slow
def test_rank_one_rarely_fails():
    problems = synthetic(20.0, 60, 51_000, rank_one=True)
    limit = np.asarray([10 * p.nmse(p.oracle()) for p in problems])
    assert exceeds(errors(problems, told) <= limit, 0.9)
    assert not exceeds(errors(problems, published("am")) <= limit, 0.9)


# ----------------------------------------------------------------------------------- channels


@pytest.mark.slow
def test_channels_have_half_the_error_of_the_papers_methods():
    problems = [irs_channel(snr_db=8.0, rng=70_000 + d) for d in range(20)]
    am, svd = (
        errors(problems, published(m, **irs_options(m, 8.0)), "channel_error")
        for m in ("am", "svd")
    )
    half = min(am.mean(), svd.mean()) / 2
    assert errors(problems, told, "channel_error").mean() <= half
    assert (
        errors(problems, published("ksbl", **irs_options("ksbl", 8.0)), "channel_error").mean()
        > half
    )


# ---------------------------------------------------------------------------------- snapshots


def mmv(snapshots: int, draws: int) -> list[Any]:
    return [
        kronecker_sparse(
            (30, 40), (10, 12), (4, 5), snr_db=5.0, snapshots=snapshots, dtype="complex128",
            rng=85_000 + d,
        )
        for d in range(draws)
    ]  # fmt: skip


@pytest.mark.slow
def test_supports_of_sixteen_snapshots_are_mostly_exact():
    assert exceeds(exact(mmv(16, 40), ours), 0.8)


@pytest.mark.slow
def test_supports_of_one_snapshot_are_not():
    assert not exceeds(exact(mmv(1, 40), ours), 0.8)


# ------------------------------------------------------------------------------------- E-step

CASES = {
    "wide-2": ((3, 4), (5, 6)), "tall-2": ((5, 6), (3, 4)),
    "wide-3": ((2, 3, 2), (3, 4, 3)), "tall-3": ((3, 4, 3), (2, 3, 2)),
    "wide-4": ((2, 2, 2, 2), (3, 3, 2, 3)), "tall-4": ((3, 3, 2, 3), (2, 2, 2, 2)),
}  # fmt: skip


def small(case: str, snr_db: float, dtype: str) -> tuple[Model, list[Any], float]:
    sizes, widths = CASES[case]
    p = kronecker_sparse(widths, sizes, [2] * len(sizes), snr_db=snr_db, dtype=dtype, rng=7)
    model = prepare(kronecker_data(p.factors, p.y)).model
    rng = np.random.default_rng(8)
    gammas = [10.0 ** rng.uniform(-3.0, 0.0, n) for n in widths]
    return model, gammas, 10.0 ** (-snr_db / 10) * model.energy / model.total


def by_mpmath(model: Model, gammas: list[Any], noise: float) -> tuple[Any, Any]:
    """Mean and variances from dense matrices of sixty digits."""
    mp = pytest.importorskip("mpmath").mp

    def kron(A: Any, B: Any) -> Any:
        C = mp.matrix(A.rows * B.rows, A.cols * B.cols)
        for i in range(C.rows):
            for j in range(C.cols):
                C[i, j] = A[i // B.rows, j // B.cols] * B[i % B.rows, j % B.cols]
        return C

    with mp.workdps(60):
        H = reduce(kron, [mp.matrix(A.tolist()) for A in model.factors])
        g = reduce(kron, [mp.matrix(v.tolist()) for v in gammas])
        G = mp.diag(list(g)) * H.transpose_conj()
        K = G * mp.inverse(H * G + mp.mpf(noise) * mp.eye(H.rows))
        mean = K * mp.matrix(model.Y.reshape(-1).tolist())
        variance = [
            g[j] - mp.fsum(K[j, m] * mp.conj(G[j, m]) for m in range(H.rows)) for j in range(H.cols)
        ]
        return np.asarray(list(map(complex, mean))), np.asarray([float(mp.re(v)) for v in variance])


@pytest.mark.parametrize("snr_db", [0.0, 40.0, 80.0])
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_mean_and_variances_are_accurate_at_any_signal_to_noise_ratio(case, snr_db, dtype):
    model, gammas, noise = small(case, snr_db, dtype)
    mean, variance = by_mpmath(model, gammas, noise)
    posterior = Posterior.of(model, gammas, noise)
    assert np.abs(posterior.mean().reshape(-1) - mean).max() <= 1e-12 * np.abs(mean).max()
    np.testing.assert_allclose(posterior.variance().reshape(-1), variance, rtol=1e-12)


def test_the_textbooks_difference_loses_the_variances():
    model, gammas, noise = small("tall-3", 80.0, "float64")
    _, variance = by_mpmath(model, gammas, noise)
    textbook = Core(model.factors, model.Y, gammas, noise).variance().reshape(-1)
    assert np.abs(textbook / variance - 1).max() > 1e-12


def test_the_covariance_of_the_scripts_gives_the_same_mean_and_variances():
    model, gammas, noise = small("wide-3", 20.0, "complex128")
    mean, variance = covariance_e_step(model.factors, model.Y, gammas, noise)
    exact_mean, exact_variance = by_mpmath(model, gammas, noise)
    np.testing.assert_allclose(mean, exact_mean, atol=1e-9 * np.abs(exact_mean).max())
    np.testing.assert_allclose(variance, exact_variance, rtol=1e-8)
