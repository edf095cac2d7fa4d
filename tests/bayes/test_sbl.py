"""kron_sbl: answers, certificates, units, edge cases and every refusal."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit.bayes import KroneckerOperator, KronSBLResult, kron_sbl, kron_sbl_rank_one, theory
from linalgkit.datasets import kronecker_sparse
from tests.conftest import Backend

# Many of these answers are cut short or of noise alone; what is warned of has tests of its own.
pytestmark = pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")

METHODS = ("auto", "mm", "jacobi", "ecm", "am", "ksbl", "svd")
MONOTONE = ("auto", "mm", "jacobi", "ecm", "am", "ksbl")


@functools.cache
def problem(
    dtype: str = "float64", snapshots: int | None = None, snr_db: float = 20.0, seed: int = 5
) -> Any:
    """Return a small problem: 12 x 10 x 9 unknowns from 6 x 7 x 8 numbers."""
    return kronecker_sparse(
        (12, 10, 9), (6, 7, 8), (2, 2, 2), snr_db=snr_db, snapshots=snapshots, dtype=dtype,
        rng=seed,
    )  # fmt: skip


def supports(result: KronSBLResult) -> list[list[int]]:
    """Return the support as lists."""
    return [np.asarray(s).tolist() for s in result.support]


def falls(result: KronSBLResult) -> Any:
    """Return the steps of the evidence that no change of the support led to."""
    steps = np.diff(result.evidence)
    kept = np.ones(steps.shape[0], dtype=bool)
    kept[[c - 1 for c in result.changes if c > 0]] = False
    return steps[kept]


# ------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("snapshots", [None, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_support_and_the_noise(
    method: str, snapshots: int | None, dtype: str
) -> None:
    p = problem(dtype, snapshots)
    result = kron_sbl(p.factors, p.y, method=method)
    assert supports(result) == [s.tolist() for s in p.support]
    assert p.nmse(result.coef, result.support) <= 1.5 * p.nmse(p.oracle())
    # Of 336 numbers or more the noise is known to 8 % (one standard deviation) or better.
    assert abs(result.noise_var / p.noise_var - 1) < 0.3
    assert result.status == "converged"
    assert result.kkt_residual < 1e-4


@pytest.mark.parametrize("method", MONOTONE)
def test_the_evidence_falls_only_where_the_support_changes(method: str) -> None:
    p = problem(snr_db=30.0)
    for prune in ("evidence", None):
        result = kron_sbl(p.factors, p.y, method=method, prune=prune, max_iter=60)
        scale = 1e-11 * max(1.0, float(np.max(np.abs(result.evidence))))
        assert np.all(falls(result) >= -scale)


def test_the_evidence_is_the_log_density_of_the_data() -> None:
    p = problem("complex128", 3)
    result = kron_sbl(p.factors, p.y)
    A = functools.reduce(np.kron, p.factors)
    gamma = functools.reduce(np.kron, [np.asarray(g) for g in result.gamma])
    S = (A * gamma) @ A.conj().T + result.noise_var * np.eye(A.shape[0])
    Y = p.y.reshape(A.shape[0], -1)
    quadratic = float(np.sum((Y.conj() * np.linalg.solve(S, Y)).real))
    log_det = np.linalg.slogdet(S)[1]
    expected = -3 * (A.shape[0] * np.log(np.pi) + log_det) - quadratic
    assert result.evidence[-1] == pytest.approx(expected, rel=1e-9)


def test_the_answer_is_the_posterior_of_its_hyperparameters() -> None:
    p = problem()
    result = kron_sbl(p.factors, p.y)
    A = functools.reduce(np.kron, p.factors)
    gamma = functools.reduce(np.kron, [np.asarray(g) for g in result.gamma])
    S = (A * gamma) @ A.T + result.noise_var * np.eye(A.shape[0])
    gain = gamma[:, None] * np.linalg.solve(S, A).T
    mean = gain @ p.y.ravel()
    C = np.diag(gamma) - gain @ A * gamma
    assert np.allclose(result.to_dense().ravel(), mean, atol=1e-11)
    every = np.stack(np.unravel_index(np.arange(gamma.size), (12, 10, 9)), axis=1)
    assert np.allclose(result.mean(every), mean, atol=1e-11)
    assert np.allclose(result.variance(every), np.diag(C), atol=1e-11)
    assert result.variance().shape == (2, 2, 2)
    rows = [np.random.default_rng(i).standard_normal((3, n)) for i, n in enumerate((12, 10, 9))]
    F = functools.reduce(np.kron, rows)
    predicted, variance = result.predict(rows)
    assert np.allclose(predicted.ravel(), F @ mean, atol=1e-10)
    assert np.allclose(variance.ravel(), np.einsum("ij,jk,ik->i", F, C, F), atol=1e-10)
    operator = result.to_linear_operator()
    assert operator.shape == A.T.shape
    assert np.allclose(operator @ p.y.ravel(), mean, atol=1e-11)
    rng = np.random.default_rng(0)
    assert np.allclose(operator.H @ rng.standard_normal(1080), gain.T @ np.random.default_rng(
        0
    ).standard_normal(1080))  # fmt: skip


def test_flat_data_get_flat_answers() -> None:
    p = problem("float64", 3)
    whole, flat = kron_sbl(p.factors, p.y), kron_sbl(p.factors, p.y.reshape(-1, 3))
    assert np.array_equal(whole.coef, flat.coef)
    assert flat.to_dense().shape == (1080, 3)
    assert np.array_equal(flat.to_dense().reshape(12, 10, 9, 3), whole.to_dense())
    mean, variance = flat.predict(p.factors)
    assert mean.shape == (336, 3)
    assert variance.shape == (336,)


@pytest.mark.parametrize("method", ["auto", "mm", "am"])
def test_all_libraries_find_the_same(xp: Backend, method: str) -> None:
    p = problem("complex128")
    factors = [xp.asarray(H) for H in p.factors]
    result = kron_sbl(factors, xp.asarray(p.y), method=method, max_iter=40)
    expected = kron_sbl(p.factors, p.y, method=method, max_iter=40)
    assert [xp.to_numpy(s).tolist() for s in result.support] == supports(expected)
    error = np.linalg.norm(xp.to_numpy(result.coef) - expected.coef)
    assert error <= 1e4 * xp.tolerance * np.linalg.norm(expected.coef)
    assert result.noise_var == pytest.approx(expected.noise_var, rel=1e4 * xp.tolerance)
    mean, variance = result.predict(factors)
    assert type(mean) is type(variance) is type(factors[0])


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_is_kept(xp: Backend, dtype: str) -> None:
    p = problem(dtype)
    factors = [xp.asarray(H, dtype) for H in p.factors]
    result = kron_sbl(factors, xp.asarray(p.y, dtype))
    assert result.coef.dtype == getattr(xp.xp, dtype)
    assert result.variance().dtype == xp.float
    assert result.gamma[0].dtype == xp.float
    assert [xp.to_numpy(s).tolist() for s in result.support] == [s.tolist() for s in p.support]


def test_restarts_are_reproducible_and_no_worse() -> None:
    p = problem(snr_db=5.0)
    plain = kron_sbl(p.factors, p.y)
    first, second = (kron_sbl(p.factors, p.y, restarts=3, rng=7) for _ in range(2))
    assert first.score >= plain.score
    assert np.array_equal(first.coef, second.coef)


def test_callback_sees_every_cycle() -> None:
    p = problem()
    seen: list[tuple[int, float]] = []
    result = kron_sbl(p.factors, p.y, method="mm", prune=None, max_iter=7, tol=0.0,
                      callback=lambda k, e: seen.append((k, e)))  # fmt: skip
    assert [k for k, _ in seen] == list(range(1, 8))
    assert result.n_iter == 7
    assert result.status == "max_iter"


def test_hyperparameters_to_start_from_that_are_zero_stay_out_unless_they_pay() -> None:
    p = problem()
    start = [np.ones(n) for n in (12, 10, 9)]
    start[0][p.support[0][0]] = 0.0
    kept = kron_sbl(p.factors, p.y, gamma0=start, prune=None, max_iter=30)
    assert np.asarray(kept.gamma[0])[p.support[0][0]] == 0
    assert supports(kron_sbl(p.factors, p.y, gamma0=start)) == [s.tolist() for s in p.support]


def test_published_settings_run() -> None:
    p = problem(snr_db=25.0)
    for name in ("am", "svd", "ksbl"):
        result = kron_sbl(p.factors, p.y, noise_var=p.noise_var, **theory.published(name))
        assert p.nmse(result.coef, result.support) < 0.05


def test_a_given_noise_variance_is_kept() -> None:
    p = problem()
    assert kron_sbl(p.factors, p.y, noise_var=p.noise_var).noise_var == p.noise_var


# ------------------------------------------------------------------------------- coupling


def test_a_coupling_by_the_identity_changes_nothing() -> None:
    p = problem()
    eyes = [np.eye(n) for n in (12, 10, 9)]
    for method in ("mm", "jacobi"):
        options = {"method": method, "prune": None, "max_iter": 20, "gamma0": 1.0}
        plain = kron_sbl(p.factors, p.y, **options)
        coupled = kron_sbl(p.factors, p.y, coupling=eyes, **options)
        assert np.allclose(plain.coef, coupled.coef, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", ["auto", "mm", "jacobi"])
def test_the_evidence_rises_with_a_coupling_too(method: str) -> None:
    p = problem()
    result = kron_sbl(
        p.factors, p.y, method=method, coupling=[0.8, None, 0.5], prune=None, max_iter=40
    )
    scale = 1e-11 * float(np.max(np.abs(result.evidence)))
    assert np.all(falls(result) >= -scale)


def test_a_coupling_finds_blocks() -> None:
    rng = np.random.default_rng(3)
    factors = [rng.standard_normal((8, 20)), rng.standard_normal((10, 18))]
    X = np.zeros((20, 18))
    X[6:10, 4:7] = rng.standard_normal((4, 3))
    y = factors[0] @ X @ factors[1].T + 0.05 * rng.standard_normal((8, 10))
    result = kron_sbl(factors, y, coupling=0.5)
    assert set(range(6, 10)) <= set(supports(result)[0])
    assert set(range(4, 7)) <= set(supports(result)[1])
    assert np.linalg.norm(result.to_dense() - X) < 0.2 * np.linalg.norm(X)


# ---------------------------------------------------------------------------------- units


def same_but_scaled(a: KronSBLResult, b: KronSBLResult, factor: float) -> None:
    """Require `b` to be `a` for data times `factor`, a power of two, bit for bit."""
    assert supports(a) == supports(b)
    assert np.array_equal(np.asarray(a.coef) * factor, np.asarray(b.coef))
    assert a.noise_var * factor**2 == b.noise_var
    assert a.n_iter == b.n_iter
    assert np.array_equal(np.asarray(a.variance()) * factor**2, np.asarray(b.variance()))
    products = [np.prod([float(np.asarray(g).max()) for g in r.gamma]) for r in (a, b)]
    assert products[0] * factor**2 == pytest.approx(products[1], rel=1e-12)


@pytest.mark.parametrize("method", ["auto", "mm", "am"])
@pytest.mark.parametrize("exponent", [3, -40, 200])
def test_powers_of_two_in_the_data_change_nothing_else(method: str, exponent: int) -> None:
    p, factor = problem(), 2.0**exponent
    a = kron_sbl(p.factors, p.y, method=method, max_iter=20)
    same_but_scaled(a, kron_sbl(p.factors, p.y * factor, method=method, max_iter=20), factor)
    known = kron_sbl(p.factors, p.y, noise_var=p.noise_var, method=method, max_iter=20)
    other = kron_sbl(
        p.factors, p.y * factor, noise_var=p.noise_var * factor**2, method=method, max_iter=20
    )
    same_but_scaled(known, other, factor)


def test_powers_of_two_in_the_columns_change_nothing_else() -> None:
    p = problem()
    powers = [
        2.0 ** np.random.default_rng(i).integers(-30, 30, n) for i, n in enumerate((12, 10, 9))
    ]
    a = kron_sbl(p.factors, p.y)
    b = kron_sbl([H * c for H, c in zip(p.factors, powers, strict=True)], p.y)
    assert supports(a) == supports(b)
    scales = [c[s] for c, s in zip(powers, p.support, strict=True)]
    scale = functools.reduce(np.multiply.outer, scales)
    assert np.array_equal(a.coef, b.coef * scale)
    assert a.noise_var == b.noise_var


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_extreme_units(factor: float) -> None:
    p = problem()
    a, b = kron_sbl(p.factors, p.y), kron_sbl(p.factors, p.y * factor)
    assert supports(a) == supports(b)
    assert np.allclose(b.coef, a.coef * factor, rtol=1e-9)
    c = kron_sbl([H * factor for H in p.factors[:1]] + list(p.factors[1:]), p.y)
    assert np.allclose(c.coef * factor, a.coef, rtol=1e-9)


# ------------------------------------------------------------------------------ edge cases


@pytest.mark.parametrize("method", METHODS)
def test_data_of_zeros_give_zeros(method: str) -> None:
    p = problem()
    for noise_var in (None, 0.5):
        result = kron_sbl(p.factors, 0 * p.y, method=method, noise_var=noise_var)
        assert result.status == "empty"
        assert supports(result) == [[], [], []]
        assert result.noise_var == (noise_var or 0.0)
        assert not np.any(result.to_dense())
        assert not np.any(result.mean(np.zeros((1, 3), dtype=int)))
        mean, variance = result.predict(p.factors)
        assert not np.any(mean)
        assert not np.any(variance)
        assert not np.any(result.to_linear_operator() @ np.ones(336))


@pytest.mark.parametrize("method", METHODS)
def test_noise_alone_is_found_to_be_noise(method: str) -> None:
    p = problem()
    noise = np.random.default_rng(8).standard_normal(p.y.shape)
    result = kron_sbl(p.factors, noise, method=method, max_iter=40)
    assert result.status == "empty"
    assert result.noise_var == pytest.approx(np.mean(noise**2))


@pytest.mark.parametrize("method", METHODS)
def test_columns_of_zeros_never_enter(method: str) -> None:
    p = problem()
    factors = [H.copy() for H in p.factors]
    out = [next(j for j in range(H.shape[1]) if j not in s) for H, s in
           zip(factors, p.support, strict=True)]  # fmt: skip
    for H, j in zip(factors, out, strict=True):
        H[:, j] = 0.0
    for prune in ("evidence", None):
        result = kron_sbl(factors, p.y, method=method, max_iter=20, prune=prune)
        for gamma, j in zip(result.gamma, out, strict=True):
            assert gamma[j] == 0
        assert np.all(np.isfinite(result.coef))
    assert kron_sbl([0 * factors[0], *factors[1:]], p.y).status == "empty"


@pytest.mark.parametrize("method", METHODS)
def test_of_equal_columns_one_is_enough(method: str) -> None:
    p = problem()
    factors = [H.copy() for H in p.factors]
    j = p.support[0][0]
    other = next(k for k in range(12) if k not in p.support[0])
    factors[0][:, other] = factors[0][:, j]
    result = kron_sbl(factors, p.y, method=method)
    found = [j if k == other else k for k in supports(result)[0]]
    assert sorted(found) == p.support[0].tolist()
    fitted, _ = result.predict(factors)
    assert np.linalg.norm(fitted - p.clean) < 0.1 * np.linalg.norm(p.clean)


def test_modes_of_one_row_or_column() -> None:
    rng = np.random.default_rng(2)
    factors = [rng.standard_normal((1, 3)), rng.standard_normal((30, 12)), np.ones((1, 1))]
    X = np.zeros((3, 12, 1))
    X[0, [2, 7], 0] = [3.0, -4.0]
    y = np.einsum("ai,bj,ck,ijk->abc", *factors, X) + 0.1 * rng.standard_normal((1, 30, 1))
    result = kron_sbl(factors, y)
    assert supports(result)[1:] == [[2, 7], [0]]
    assert len(supports(result)[0]) == 1
    fitted, _ = result.predict(factors)
    assert np.linalg.norm(fitted - y) < 0.2 * np.linalg.norm(y)


@pytest.mark.parametrize("method", ["auto", "mm", "jacobi"])
def test_more_unknowns_than_data_do_not_make_the_noise_vanish(method: str) -> None:
    rng = np.random.default_rng(4)
    H = rng.standard_normal((20, 40))
    x = np.zeros(40)
    x[[8, 15, 17]] = [3.0, -2.0, 4.0]
    result = kron_sbl([H], H @ x + 0.05 * rng.standard_normal(20), method=method)
    assert supports(result) == [[8, 15, 17]]
    assert 0.25 < result.noise_var / 0.05**2 < 4.0


def test_clean_data_are_interpolated_and_it_is_said() -> None:
    rng = np.random.default_rng(5)
    factors = [rng.standard_normal((4, 9)), rng.standard_normal((5, 11))]
    X = np.zeros((9, 11))
    X[2, [3, 7]] = [1.0, -2.0]
    result = kron_sbl(factors, factors[0] @ X @ factors[1].T)
    assert result.status == "noise_floor"
    assert np.allclose(result.to_dense(), X, atol=1e-6)


def test_one_number() -> None:
    result = kron_sbl([np.ones((1, 1))], np.asarray([2.0]), noise_var=0.01)
    # gamma maximises -log(g + v) - y^2 / (g + v): g + v = y^2
    assert float(result.gamma[0][0]) == pytest.approx(4.0 - 0.01)
    assert float(result.coef[0]) == pytest.approx(2.0 * (4.0 - 0.01) / 4.0)


def test_integers_are_taken() -> None:
    p = problem()
    result = kron_sbl(p.factors, np.rint(100 * p.y).astype(int))
    assert supports(result) == [s.tolist() for s in p.support]


def test_inputs_are_not_changed() -> None:
    p = problem()
    factors, y = [H.copy() for H in p.factors], p.y.copy()
    kron_sbl(factors, y, restarts=1)
    kron_sbl(factors, y, method="mm", coupling=0.5)
    assert np.array_equal(y, p.y)
    assert all(np.array_equal(A, B) for A, B in zip(factors, p.factors, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e3, 1e5, 1e30, 1e200])
def test_noise_told_far_too_large_explains_all(method: str, factor: float) -> None:
    p = problem()
    noise_var = factor * float(np.mean(p.y**2))
    for prune in ("evidence", None):
        result = kron_sbl(p.factors, p.y, method=method, noise_var=noise_var, prune=prune,
                          max_iter=30)  # fmt: skip
        assert result.noise_var == noise_var
        assert np.all(np.isfinite(result.to_dense()))
        if prune == "evidence":
            assert result.status == "empty"
    assert kron_sbl_rank_one(p.factors, p.y, noise_var=noise_var).method == "rank_one"


@pytest.mark.parametrize("method", METHODS)
def test_noise_told_far_too_small_is_taken(method: str) -> None:
    p = problem()
    for noise_var in (1e-160, 1e-300):
        result = kron_sbl(p.factors, p.y, method=method, noise_var=noise_var, max_iter=5)
        assert result.noise_var == noise_var
        assert np.all(np.isfinite(result.to_dense()))


def test_what_can_be_represented_comes_back_whatever_the_units() -> None:
    p = problem()
    expected = kron_sbl(p.factors, p.y)
    far = kron_sbl([H * 2.0**398 for H in p.factors], p.y * 2.0**464)
    assert np.array_equal(far.coef * 2.0**730, expected.coef)  # 3 * 398 - 464
    tiny = [p.factors[0] * 2.0**-400, p.factors[1] * 2.0**-400, p.factors[2]]
    small = kron_sbl(tiny, p.y * 2.0**-464)
    assert np.array_equal(small.variance() * 2.0**-672, expected.variance())  # 2 (464 - 800)
    one = kron_sbl([p.factors[0] * 2.0**-570, *p.factors[1:]], p.y * 2.0**-330)
    assert np.array_equal(one.coef * 2.0**-240, expected.coef)
    assert all(np.all(np.isfinite(g)) for g in one.gamma)


def test_a_noise_variance_beyond_float64_is_refused() -> None:
    p = problem()
    with pytest.raises(ValueError, match="y must be so small"):
        kron_sbl(p.factors, p.y * 1e160)


def dense_evidence(p: Any, gammas: list[Any], noise_var: float) -> float:
    """Return the log-density of real data, but for its constant."""
    A = functools.reduce(np.kron, p.factors)
    S = (A * functools.reduce(np.kron, gammas)) @ A.T + noise_var * np.eye(A.shape[0])
    y = p.y.ravel()
    return -0.5 * float(np.linalg.slogdet(S)[1] + y @ np.linalg.solve(S, y))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("method", ["auto", "mm"])
def test_the_gain_of_what_is_left_out_is_that_of_the_best_slice(method: str, seed: int) -> None:
    """Against the dense evidence, with each slice alone at its best variance."""
    p = kronecker_sparse((10, 10), (6, 7), (2, 2), snr_db=10.0, rng=seed)
    result = kron_sbl(p.factors, p.y, method=method)
    if result.method == "rank_one":
        assert np.isnan(result.excluded_gain)
        return
    gammas = [np.asarray(g) for g in result.gamma]
    base, best = dense_evidence(p, gammas, result.noise_var), 0.0
    for i in range(2):
        for j in np.flatnonzero(gammas[i] == 0):
            for value in gammas[i].max() * np.logspace(-4, 2, 25):
                trial = [g.copy() for g in gammas]
                trial[i][j] = value
                best = max(best, dense_evidence(p, trial, result.noise_var) - base)
    assert best - 1e-6 <= result.excluded_gain <= 1.1 * best + 0.1


def test_the_gain_is_not_asked_for_with_a_coupling() -> None:
    p = problem()
    assert np.isnan(kron_sbl(p.factors, p.y, coupling=0.3).excluded_gain)


@pytest.mark.parametrize("rank_one", [False, True])
def test_results_travel(rank_one: bool) -> None:
    p = kronecker_sparse((10, 9), (7, 6), (2, 2), rank_one=rank_one, rng=3)
    result = kron_sbl(p.factors, p.y)
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert np.array_equal(again.coef, result.coef)
        assert np.array_equal(again.variance(), result.variance())
        assert np.array_equal(again.predict(p.factors)[1], result.predict(p.factors)[1])
    H = KroneckerOperator(p.factors)
    assert np.array_equal(pickle.loads(pickle.dumps(H)).matvec(np.ones(90)), H.matvec(np.ones(90)))


# -------------------------------------------------------------------------------- warnings


def warns(text: str, *args: Any, **options: Any) -> KronSBLResult:
    """Return the result of a call that must warn."""
    with pytest.warns(AccuracyWarning, match=text):
        return kron_sbl(*args, **options)


def test_what_is_weaker_than_asked_is_warned_of() -> None:
    p = problem()
    warns("Raise max_iter", p.factors, p.y, method="mm", prune=None, max_iter=3)
    warns("taken for noise", p.factors, p.y, noise_var=1e3 * float(np.mean(p.y**2)))
    rng = np.random.default_rng(5)
    factors = [rng.standard_normal((4, 9)), rng.standard_normal((5, 11))]
    X = np.zeros((9, 11))
    X[2, [3, 7]] = [1.0, -2.0]
    warns("rounding level", factors, factors[0] @ X @ factors[1].T)


def test_data_in_another_order_are_warned_of() -> None:
    p = kronecker_sparse((14, 14, 14), (8, 8, 8), (2, 2, 2), snr_db=25.0, rng=0)
    result = warns("is not sparse", p.factors, p.y.ravel(order="F"))
    assert any(k >= 8 for k in result.shape)


def test_a_good_answer_and_data_of_zeros_are_not_warned_of() -> None:
    p = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = kron_sbl(p.factors, p.y)
        kron_sbl(p.factors, 0 * p.y)
        kron_sbl_rank_one(p.factors, 0 * p.y)
    assert len(result.price) == 3
    assert result.excluded_gain < max(result.price)


# -------------------------------------------------------------------------------- refusals


def wrong(p: Any) -> dict[str, tuple[Any, type, str]]:
    """Return bad calls: (arguments, error, part of its message)."""
    H, y = list(p.factors), p.y
    nan_y, inf_H = y.copy(), H[1].copy()
    nan_y[0, 0, 0], inf_H[2, 3] = np.nan, np.inf
    return {
        "sizes": ((H, y[:, :-1]), ValueError, "6 x 7 x 8 = 336"),
        "no factor": (([], y), ValueError, "at least one"),
        "one matrix": ((H[0], y), TypeError, r"\[H\]"),
        "nan": ((H, nan_y), ValueError, "y must not contain NaN"),
        "inf": (([H[0], inf_H, H[2]], y), ValueError, r"factors\[1\] must not contain NaN"),
        "noise 0": ((H, y, {"noise_var": 0.0}), ValueError, "noise_var must be greater than 0"),
        "noise < 0": ((H, y, {"noise_var": -1.0}), ValueError, "noise_var"),
        "noise nan": ((H, y, {"noise_var": np.nan}), ValueError, "noise_var"),
        "gamma0 < 0": (
            (H, y, {"gamma0": [-np.ones(12), np.ones(10), np.ones(9)]}), ValueError,
            r"gamma0\[0\] must not be negative",
        ),
        "gamma0 number": ((H, y, {"gamma0": -1.0}), ValueError, "gamma0"),
        "gamma0 zeros": (
            (H, y, {"gamma0": [np.zeros(12), np.ones(10), np.ones(9)]}), ValueError, "positive",
        ),
        "gamma0 shape": (
            (H, y, {"gamma0": [np.ones(11), np.ones(10), np.ones(9)]}), ValueError, r"\(12,\)",
        ),
        "gamma0 far": ((H, y, {"gamma0": 1e300}), ValueError, "within a factor"),
        "gamma0 count": ((H, y, {"gamma0": [np.ones(12)]}), ValueError, "list of 3 vectors"),
        "coupling < 0": ((H, y, {"coupling": -0.5}), ValueError, "coupling"),
        "coupling entry": (
            (H, y, {"coupling": [-np.eye(12), None, None]}), ValueError, "must not be negative",
        ),
        "coupling shape": (
            (H, y, {"coupling": [np.eye(5), None, None]}), ValueError, r"\(12, 12\)",
        ),
        "coupling count": ((H, y, {"coupling": [0.5]}), ValueError, "3 factors"),
        "coupling svd": ((H, y, {"coupling": 0.5, "method": "svd"}), ValueError, "coupling"),
        "method": ((H, y, {"method": "jacob"}), ValueError, "Did you mean 'jacobi'"),
        "prune": ((H, y, {"prune": "bic"}), ValueError, "prune"),
        "prune 1": ((H, y, {"prune": 1.0}), ValueError, "prune"),
        "prune count": ((H, y, {"prune": [0.1]}), ValueError, "3 factors"),
        "penalty": ((H, y, {"penalty": "aic"}), ValueError, "penalty"),
        "penalty < 0": ((H, y, {"penalty": -1.0}), ValueError, "penalty"),
        "restarts": ((H, y, {"restarts": -1}), ValueError, "restarts"),
        "max_iter": ((H, y, {"max_iter": 0}), ValueError, "max_iter"),
        "tol": ((H, y, {"tol": -1e-3}), ValueError, "tol"),
        "callback": ((H, y, {"callback": 3}), TypeError, "callback"),
        "no snapshot": ((H, y[..., None][..., :0]), ValueError, "at least one snapshot"),
        "set as y": ((H, {1.0, 2.0}), TypeError, "y"),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(wrong(problem())))
def test_wrong_arguments_are_named(name: str) -> None:
    call, error, text = wrong(problem())[name]
    options = call[2] if len(call) == 3 else {}
    with pytest.raises(error, match=text):
        kron_sbl(call[0], call[1], **options)


def test_libraries_do_not_mix(xp: Backend) -> None:
    p = problem()
    if xp.name == "numpy":
        pytest.skip("needs a second library")
    with pytest.raises(TypeError, match="one library"):
        kron_sbl([xp.asarray(p.factors[0]), *p.factors[1:]], p.y)
    with pytest.raises(TypeError, match="gamma0"):
        kron_sbl(p.factors, p.y, gamma0=[xp.asarray(np.ones(n)) for n in (12, 10, 9)])


@pytest.mark.parametrize("method", ["am", "svd", "ksbl"])
def test_tensors_of_the_size_of_the_unknown_are_refused_where_too_large(method: str) -> None:
    factors = [np.ones((2, 600)) for _ in range(3)]
    with pytest.raises(MemoryError, match="'auto', 'mm', 'jacobi' or 'ecm'"):
        kron_sbl(factors, np.ones((2, 2, 2)), method=method)


def test_a_dense_answer_over_the_limit_is_refused() -> None:
    result = kron_sbl(problem().factors, problem().y)
    with pytest.raises(MemoryError, match=r"limit.*mean\(indices\)"):
        result.to_dense(limit=1000)


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        (np.zeros((2, 2), dtype=int), ValueError),
        (np.zeros((2, 3)), TypeError),
        (np.asarray([[0, 0, 9]]), ValueError),
        (np.asarray([[-1, 0, 0]]), ValueError),
    ],
    ids=["columns", "floats", "too large", "negative"],
)
def test_wrong_indices_are_refused(indices: Any, error: type) -> None:
    result = kron_sbl(problem().factors, problem().y)
    with pytest.raises(error, match="indices"):
        result.mean(indices)
    with pytest.raises(error, match="indices"):
        result.variance(indices)


def test_predictions_need_factors_that_fit() -> None:
    result = kron_sbl(problem().factors, problem().y)
    with pytest.raises(ValueError, match="columns"):
        result.predict([np.ones((2, 11)), np.ones((2, 10)), np.ones((2, 9))])


# ------------------------------------------------------------------------------- rank one


def test_auto_takes_rank_one_where_the_data_say_so_and_only_there() -> None:
    for seed in range(5):
        shapes = ((15, 15, 15), (8, 12, 15), (3, 3, 3))
        one = kronecker_sparse(*shapes, snr_db=15.0, rank_one=True, rng=seed)
        free = kronecker_sparse(*shapes, snr_db=15.0, rng=seed)
        found = kron_sbl(one.factors, one.y)
        assert found.method == "rank_one"
        assert one.nmse(found.coef, found.support) < one.nmse(one.oracle())
        assert kron_sbl(free.factors, free.y).method == "mm"


def test_rank_one_answers_like_the_others(xp: Backend) -> None:
    p = kronecker_sparse((10, 9), (7, 6), (2, 2), snr_db=20.0, rank_one=True, snapshots=2, rng=3)
    factors = [xp.asarray(H) for H in p.factors]
    result = kron_sbl_rank_one(factors, xp.asarray(p.y))
    core = xp.to_numpy(result.coef)
    assert core.shape == (*(len(s) for s in p.support), 2)
    assert p.nmse(core, [xp.to_numpy(s) for s in result.support]) < 0.05
    assert tuple(result.variance().shape) == core.shape
    mean, variance = result.predict(factors)
    assert tuple(mean.shape) == tuple(variance.shape) == (7, 6, 2)
    assert np.linalg.norm(xp.to_numpy(mean) - p.clean) < 0.2 * np.linalg.norm(p.clean)
    assert np.all(xp.to_numpy(variance) >= 0)


def test_rank_one_has_no_linear_operator() -> None:
    p = kronecker_sparse((10, 9), (7, 6), (2, 2), rank_one=True, rng=3)
    with pytest.raises(TypeError, match="linear"):
        kron_sbl_rank_one(p.factors, p.y).to_linear_operator()
    assert kron_sbl_rank_one(p.factors, 0 * p.y).status == "empty"
