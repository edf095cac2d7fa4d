"""Projection processes on rows: their law, their numerics, their refusals."""

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit._core import array as core_array
from linalgkit.sampling import LEnsemble, MarginalDPP, ProjectionDPP, volume_sample
from linalgkit.sampling._chain import block_size
from linalgkit.sampling.theory import expected_proposals
from tests.conftest import BACKENDS

from . import laws

METHODS = ("rejection", "scan", "auto")


def matrix(n: int, m: int, kind: str = "real", seed: int = 3) -> np.ndarray:
    """Rows of unequal weight, two of them equal, one zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, m))
    if kind == "complex":
        X = X + 1j * rng.standard_normal((n, m))
    X = X * np.sqrt(1 + np.arange(n))[:, None]
    X[3], X[5] = X[2], 0
    return X


def projector(X: np.ndarray) -> np.ndarray:
    Q = np.linalg.qr(X)[0]
    return Q @ Q.conj().T


# ------------------------------------------------------------------------------------ the law


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("orthonormal", [False, True])
def test_all_subsets_have_the_right_counts(kind: str, method: str, orthonormal: bool) -> None:
    X = matrix(9, 4, kind)
    law = laws.projection_law(X)
    given = np.linalg.qr(X)[0] if orthonormal else X
    draws = ProjectionDPP(given, orthonormal=orthonormal, rng=11).sample_many(8000, method=method)
    assert laws.chi_square(draws, law) > laws.LEVEL


def test_controls_of_the_subset_test_fail() -> None:
    X, rng = matrix(9, 4), np.random.default_rng(1)
    law, scores = laws.projection_law(X), np.diag(projector(X))
    assert laws.chi_square(laws.uniform_subsets(9, [4] * 8000, rng), law) < laws.CONTROL
    independent = laws.independent_draws(scores, 4, 8000, rng)
    assert laws.chi_square(independent, law) < laws.CONTROL


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_all_subsets_have_the_right_counts_in_many_draws(kind: str) -> None:
    X = matrix(10, 5, kind, seed=8)
    draws = ProjectionDPP(X, rng=2).sample_many(200_000, method="rejection")
    assert laws.chi_square(draws, laws.projection_law(X)) > laws.LEVEL


@pytest.mark.parametrize("method", METHODS)
def test_inclusions_of_a_larger_process(method: str) -> None:
    X = matrix(80, 24)
    K = projector(X)
    draws = ProjectionDPP(X, rng=5).sample_many(3000, method=method)
    mean, covariance = laws.kernel_moments(K)
    assert laws.wald(draws, mean, covariance) > laws.LEVEL
    rng = np.random.default_rng(0)
    for control in (
        laws.uniform_subsets(80, [24] * 3000, rng),
        laws.independent_draws(mean, 24, 3000, rng),
    ):
        assert laws.wald(control, mean, covariance) < laws.CONTROL


def test_pairs_and_linear_statistics() -> None:
    X = matrix(60, 12, "complex")
    K = projector(X)
    draws = ProjectionDPP(X, rng=6).sample_many(6000, method="rejection")
    for i, j in ((58, 59), (10, 50), (40, 41)):
        both = float(np.real(K[i, i] * K[j, j]) - abs(K[i, j]) ** 2)
        assert laws.pair_p_value(draws, i, j, both) > laws.LEVEL
    assert laws.pair_p_value(draws, 2, 3, 0.0) == 1.0


def test_linear_statistics_vary_as_the_kernel_says() -> None:
    x = np.linspace(-1, 1, 60)
    X = np.polynomial.legendre.legvander(x, 11)
    draws = ProjectionDPP(X, rng=6).sample_many(6000, method="rejection")
    g = x**3
    mean, covariance = laws.kernel_moments(projector(X))
    sums = g[draws].sum(axis=1)
    expected = float(g @ covariance @ g)
    # The fourth moment of a sum over a determinantal process is near that of a normal number.
    assert abs(sums.var() / expected - 1) < 4.5 * math.sqrt(2 / len(sums))
    independent = laws.independent_draws(mean, 12, 6000, np.random.default_rng(2))
    control = np.asarray([g[list(s)].sum() for s in independent]).var() / expected
    assert abs(control - 1) > 10 * math.sqrt(2 / len(sums))


def test_sketched_scores_keep_the_law() -> None:
    X = matrix(4000, 90)
    dpp = ProjectionDPP(X, scores="sketch", rng=1)
    assert (dpp.exact, dpp.failure_probability) == (False, 0.01)
    draws = dpp.sample_many(150)
    # The cells of a coarse partition: sums of indicators, of known mean and covariance.
    cells = np.arange(4000) // 400
    mean, covariance = laws.kernel_moments(projector(X))
    table = np.zeros((4000, 10))
    table[np.arange(4000), cells] = 1
    counts = np.asarray([np.bincount(cells[s], minlength=10) for s in draws])
    p = laws.wald_statistics(counts, mean @ table, table.T @ covariance @ table)
    assert p > laws.LEVEL
    rng = np.random.default_rng(3)
    uniform = np.asarray([np.bincount(cells[rng.choice(4000, 90)], minlength=10) for _ in draws])
    assert laws.wald_statistics(uniform, mean @ table, table.T @ covariance @ table) < 1e-9


def test_few_columns_need_no_sketch() -> None:
    assert ProjectionDPP(matrix(200, 4), scores="sketch", rng=1).exact


@pytest.mark.parametrize("before", ["nothing", "inclusion", "scan"])
def test_a_score_too_low_brings_the_exact_ones(before: str) -> None:
    X = matrix(3000, 80)
    dpp = ProjectionDPP(X, scores="sketch", rng=1)
    if before == "inclusion":
        dpp.inclusion_probabilities()
    if before == "scan":
        dpp.sample("scan")
    space = dpp._space
    space._envelope = space._envelope * 1e-3
    space._cumulative = np.cumsum(space._envelope)
    with pytest.warns(AccuracyWarning, match="Exact scores serve this and all later samples"):
        dpp.sample("rejection")
    assert not dpp.exact
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = dpp.sample_many(300)
    assert np.allclose(space._envelope, np.diag(projector(X)), atol=1e-12)
    mean, covariance = laws.kernel_moments(projector(X))
    late, variance = mean[1500:].sum(), covariance[1500:, 1500:].sum()
    counts = (draws >= 1500).sum(axis=1)
    assert abs(counts.mean() - late) < 5 * math.sqrt(variance / 300)


def test_orthonormal_columns_need_no_sketch() -> None:
    V = np.linalg.qr(matrix(3000, 80))[0]
    dpp = ProjectionDPP(V, orthonormal=True, scores="sketch", rng=1)
    assert dpp.exact
    assert dpp.failure_probability == 0.0


@pytest.mark.parametrize(("n", "m"), [(400, 20), (3000, 60)])
def test_proposals_are_as_many_as_theory_says(n: int, m: int) -> None:
    X = np.random.default_rng(0).standard_normal((n, m))
    dpp = ProjectionDPP(X, rng=4)
    runs = 3000
    dpp.sample_many(runs, method="rejection")
    harmonic = sum(1 / k for k in range(1, m + 1))
    assert math.isclose(expected_proposals(m), m * harmonic, rel_tol=1e-12)
    # Geometric waiting times: their variances are (1 - p) / p^2.
    spread = math.sqrt(sum(m * (m - k) / k**2 for k in range(1, m + 1)) / runs)
    assert abs(dpp.n_proposals_ / runs - m * harmonic) < 4.5 * spread
    assert abs(dpp.n_proposals_ / runs / (m * harmonic) - 1) < 0.02


# ----------------------------------------------------------------------------- what it returns


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_kernel_and_probabilities(kind: str) -> None:
    X = matrix(12, 4, kind)
    K, dpp = projector(X), ProjectionDPP(X)
    assert np.allclose(dpp.inclusion_probabilities(), np.real(np.diag(K)), atol=1e-13)
    assert np.allclose(dpp.kernel([0, 7], [3, 1, 2]), K[[0, 7]][:, [3, 1, 2]], atol=1e-13)
    assert np.allclose(dpp.kernel(np.arange(12)), K, atol=1e-13)
    for s, p in laws.projection_law(X).items():
        if p > 1e-9:
            assert math.isclose(dpp.log_prob(s), math.log(p), abs_tol=1e-8)
    assert dpp.log_prob([2, 3, 0, 1]) == dpp.log_prob([5, 0, 1, 2]) == -math.inf
    assert dpp.log_prob([0, 1, 2]) == dpp.log_prob([]) == -math.inf


def test_all_libraries_draw_the_same_rows(xp) -> None:
    X = matrix(40, 6, "complex")
    expected = ProjectionDPP(X, rng=9)
    dpp = ProjectionDPP(xp.asarray(X), rng=9)
    for method in METHODS:
        found = dpp.sample(method)
        assert xp.xp.isdtype(found.dtype, "integral")
        assert xp.to_numpy(found).tolist() == expected.sample(method).tolist()
    scores = xp.to_numpy(dpp.inclusion_probabilities())
    assert np.allclose(scores, np.real(np.diag(projector(X))), atol=10 * xp.tolerance)
    assert xp.to_numpy(volume_sample(xp.asarray(X), 9, rng=2)).tolist() == (
        volume_sample(X, 9, rng=2).tolist()
    )


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int64"])
def test_other_precisions(dtype: str) -> None:
    X = np.round(4 * matrix(50, 8)).astype(dtype)
    dpp = ProjectionDPP(X, rng=0)
    K = projector(X.astype("complex128" if dtype == "complex64" else "float64"))
    assert np.allclose(dpp.inclusion_probabilities(), np.real(np.diag(K)), atol=1e-12)
    draws = dpp.sample_many(2000)
    mean, covariance = laws.kernel_moments(K)
    assert laws.wald(draws, mean, covariance) > laws.LEVEL


def test_single_precision_columns_may_be_promised_orthonormal() -> None:
    V = np.linalg.qr(matrix(500, 30))[0].astype(np.float32)
    dpp = ProjectionDPP(V, orthonormal=True, rng=0)
    assert dpp.sample().shape == (30,)


@pytest.mark.parametrize("factor", [1e150, 1e-150, 2.0**-1000])
def test_scale_changes_nothing(factor: float) -> None:
    X = matrix(60, 7)
    plain, scaled = ProjectionDPP(X, rng=1), ProjectionDPP(factor * X, rng=1)
    assert plain.sample_many(20).tolist() == scaled.sample_many(20).tolist()
    assert np.allclose(
        plain.inclusion_probabilities(), scaled.inclusion_probabilities(), rtol=1e-10
    )


@pytest.mark.parametrize("exponent", [3, 6, 9, 12])
def test_ill_conditioned_columns_keep_the_scores(exponent: int) -> None:
    rng = np.random.default_rng(exponent)
    U = np.linalg.qr(rng.standard_normal((400, 12)))[0]
    V = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    X = U * np.logspace(0, -exponent, 12) @ V.T
    found = ProjectionDPP(X).inclusion_probabilities()
    # The range itself is uncertain by the condition number times the roundoff.
    assert np.abs(found - (U**2).sum(axis=1)).max() < 1e-15 * 10**exponent + 1e-13
    assert abs(found.sum() - 12) < 12 * (1e-16 * 10**exponent + 1e-13)


@pytest.mark.parametrize("span", [60, 130, 161, 162, 200, 290])
def test_columns_of_any_unit(span: float) -> None:
    X = matrix(100, 6)
    units = 10.0 ** np.linspace(-span, min(span, 290), 6)
    expected = ProjectionDPP(X).inclusion_probabilities()
    for signs in (1, -1):
        dpp = ProjectionDPP(X * units**signs, rng=0)
        assert np.allclose(dpp.inclusion_probabilities(), expected, atol=1e-12)
        assert dpp.sample().tolist() == ProjectionDPP(X, rng=0).sample().tolist()


def test_probabilities_of_rare_sets() -> None:
    assert ProjectionDPP(np.asarray([[1.0], [1e-20]])).log_prob([1]) == pytest.approx(
        math.log(1e-40), rel=1e-12
    )
    X = np.random.default_rng(0).standard_normal((40, 3)) * np.logspace(0, -40, 40)[:, None]
    exact = 2 * np.linalg.slogdet(X[-3:] * 1e39)[1] - 6 * math.log(1e39)
    exact -= np.linalg.slogdet(X.T @ X)[1]
    assert ProjectionDPP(X).log_prob([37, 38, 39]) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("method", ["rejection", "scan"])
def test_the_last_points_keep_their_law_in_single_precision(method: str) -> None:
    """What is left of a row is compared with it, and not with the size of the whole row."""
    strict = next(b for b in BACKENDS if not b.has_float64)
    x = np.linspace(-1, 1, 900)
    X = np.polynomial.legendre.legvander(x, 99)
    draws = strict.to_numpy(ProjectionDPP(strict.asarray(X), rng=0).sample_many(60, method=method))
    mean, covariance = laws.kernel_moments(projector(X))
    cells = np.zeros((900, 9))
    cells[np.arange(900), np.arange(900) // 100] = 1
    counts = np.asarray([np.bincount(s // 100, minlength=9) for s in draws])
    p = laws.wald_statistics(counts, mean @ cells, cells.T @ covariance @ cells, tol=1e-6)
    assert p > laws.LEVEL


def test_rank_samples_from_the_leading_singular_vectors() -> None:
    X = matrix(9, 5)
    U = np.linalg.svd(X, full_matrices=False)[0][:, :3]
    dpp = ProjectionDPP(X, rank=3, rng=0)
    assert dpp.dim == 3
    assert laws.chi_square(dpp.sample_many(6000), laws.projection_law(U)) > laws.LEVEL
    wide = ProjectionDPP(X.T, rank=4, rng=0)
    assert wide.sample().shape == (4,)


def test_as_many_rows_as_columns_leaves_no_choice() -> None:
    X = np.random.default_rng(0).standard_normal((7, 7))
    for method in METHODS:
        assert ProjectionDPP(X, rng=0).sample(method).tolist() == list(range(7))
    assert ProjectionDPP(np.asarray([[0.0], [2.0], [0.0]]), rng=0).sample().tolist() == [1]


def test_seeds_and_generators() -> None:
    X = matrix(50, 5)
    dpp = ProjectionDPP(X, rng=7)
    first, second = dpp.sample(), dpp.sample()
    assert first.tolist() != second.tolist()
    again = ProjectionDPP(X, rng=7)
    assert again.sample_many(2).tolist() == [first.tolist(), second.tolist()]
    assert dpp.sample(rng=3).tolist() == again.sample(rng=3).tolist()
    assert "dim=5" in repr(dpp)


def test_a_refused_matrix_leaves_the_generator_as_it_was() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match="rank"):
        ProjectionDPP(np.ones((200, 100)), scores="sketch", rng=rng)
    assert rng.bit_generator.state == before


def test_memory_of_set_up_and_sample() -> None:
    n, m = 100_000, 40
    X = np.random.default_rng(0).standard_normal((n, m))
    ProjectionDPP(X, rng=0).sample()
    tracemalloc.start()
    dpp = ProjectionDPP(X, rng=0)
    kept, peak = tracemalloc.get_traced_memory()
    assert kept < 8 * (2 * n + 2 * m * m) + 100_000
    assert peak < kept + 3 * 4 * 2**20  # blocks of 4 MiB, never a copy of X (32 MB)
    tracemalloc.reset_peak()
    dpp.sample("rejection")
    extra = tracemalloc.get_traced_memory()[1] - kept
    tracemalloc.stop()
    assert extra < 8 * (m * m + 4 * block_size(m) * m) + 16 * n
    assert extra < 8 * (m * m + 4 * block_size(m) * m) + 8 * block_size(m) ** 2 * 2


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (np.ones(4), ValueError, "must be 2-D"),
        (np.ones((0, 3)), ValueError, "at least 1 row"),
        (np.ones((3, 0)), ValueError, "at least 1 column"),
        (np.ones((3, 5)), ValueError, "as many rows as columns.*Pass rank="),
        (np.zeros((5, 2)), ValueError, "not zero"),
        (np.ones((20, 3)), ValueError, "numerical rank 1.*rank=1"),
        (np.vander([1.0, np.nan, 2, 3], 2), ValueError, "NaN or infinity.*row 1"),
        (np.vander([1.0, 2, np.inf, 3], 2), ValueError, "NaN or infinity.*row 2"),
        ("matrix", TypeError, "X"),
        ({1.0, 2.0}, TypeError, "array"),
        (np.ones((4, 2), dtype=object), TypeError, "numeric"),
    ],
    ids=[
        "1-D", "no row", "no column", "wide", "zeros", "rank", "nan", "inf", "str", "set", "object"
    ],
)  # fmt: skip
def test_matrices_that_are_refused(X: object, error: type, text: str) -> None:
    with pytest.raises(error, match=f"(?s){text}"):
        ProjectionDPP(X)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_rank_deficiency_names_the_rank(kind: str) -> None:
    X = matrix(40, 6, kind)
    X[:, 4] = X[:, 0] + X[:, 1]
    with pytest.raises(ValueError, match=r"numerical rank 5.*rank=5"):
        ProjectionDPP(X)
    assert ProjectionDPP(X, rank=5, rng=0).sample().shape == (5,)
    with pytest.raises(ValueError, match=r"rank 6.*numerical rank 5"):
        ProjectionDPP(X, rank=6)


def test_large_orthonormal_matrices_of_single_precision() -> None:
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((1000, 1000)).astype("float32"))[0]
    assert ProjectionDPP(V, orthonormal=True).dim == 1000
    V[:, 0] += np.float32(0.01) * V[:, 1]
    with pytest.raises(ValueError, match=r"orthonormal=True.*departs"):
        ProjectionDPP(V, orthonormal=True)


def test_columns_that_are_not_orthonormal() -> None:
    V = np.linalg.qr(matrix(300, 6))[0]
    V[:, 0] *= 1 + 1e-4
    with pytest.raises(ValueError, match=r"orthonormal=True.*departs"):
        ProjectionDPP(V, orthonormal=True)
    V[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*row 7"):
        ProjectionDPP(V, orthonormal=True)
    with pytest.raises(ValueError, match="rank must be 6"):
        ProjectionDPP(V, orthonormal=True, rank=3)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"scores": "exakt"}, ValueError, "Did you mean 'exact'"),
        ({"orthonormal": 1}, TypeError, "True or False"),
        ({"rank": 0}, ValueError, "between 1 and 4"),
        ({"rank": 2.0}, TypeError, "integer"),
        ({"rng": "seed"}, TypeError, "rng"),
    ],
)
def test_options_that_are_refused(options: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        ProjectionDPP(matrix(10, 4), **options)


def test_calls_that_are_refused() -> None:
    dpp = ProjectionDPP(matrix(10, 4))
    with pytest.raises(ValueError, match="Did you mean 'scan'"):
        dpp.sample("scann")
    with pytest.raises(ValueError, match="r must be at least 0"):
        dpp.sample_many(-1)
    with pytest.raises(ValueError, match="between 0 and 9, got 10"):
        dpp.kernel([0, 10])
    with pytest.raises(TypeError, match="integers"):
        dpp.log_prob([0.5])
    with pytest.raises(ValueError, match="twice"):
        dpp.log_prob([0, 0, 1, 2])
    assert dpp.sample_many(0).shape == (0, 4)


# --------------------------------------------------------------------------- volume sampling


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_volume_samples_have_the_right_counts(kind: str, k: int) -> None:
    X, rng = matrix(8, 3, kind), np.random.default_rng(k)
    law = laws.volume_law(X, k)
    draws = [volume_sample(X, k, rng=rng) for _ in range(4000)]
    assert laws.chi_square(draws, law) > laws.LEVEL
    if k == 5:
        control = laws.uniform_subsets(8, [5] * 4000, np.random.default_rng(0))
        assert laws.chi_square(control, law) < laws.CONTROL


def test_least_squares_on_a_volume_sample_is_unbiased() -> None:
    """Derezinski and Warmuth 2018: E w_S = w*, and E L(w_S) = (m + 1) L(w*) for k = m."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((10, 3)), rng.standard_normal(10) ** 3
    best = np.linalg.lstsq(X, y)[0]
    law = laws.volume_law(X, 5)
    exact = sum(p * np.linalg.lstsq(X[list(s)], y[list(s)])[0] for s, p in law.items())
    assert np.allclose(exact, best, atol=1e-10)  # the identity itself
    found = []
    for _ in range(6000):
        s = volume_sample(X, 5, rng=rng)
        found.append(np.linalg.lstsq(X[s], y[s])[0])
    found = np.asarray(found)
    deviation = (found.mean(axis=0) - best) / (found.std(axis=0) / math.sqrt(len(found)))
    assert np.abs(deviation).max() < 4.5


def test_volume_samples_that_are_refused() -> None:
    X = matrix(9, 4)
    with pytest.raises(ValueError, match="k must be between 4 and 9"):
        volume_sample(X, 3)
    with pytest.raises(ValueError, match="k must be between 4 and 9"):
        volume_sample(X, 10)
    with pytest.raises(TypeError, match="k must be an integer"):
        volume_sample(X, 5.0)
    with pytest.raises(ValueError, match="numerical rank 1"):
        volume_sample(np.ones((9, 2)), 4)
    assert volume_sample(X, 9, rng=0).tolist() == list(range(9))


@pytest.mark.parametrize("kind", [ProjectionDPP, LEnsemble])
def test_samplers_can_be_pickled_and_copied(kind: type, xp) -> None:
    sampler = kind(xp.asarray(matrix(40, 5)), rng=1)
    copies = copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))
    expected = xp.to_numpy(sampler.sample()).tolist()
    for other in copies:
        found = other.sample()
        assert core_array.library_of(found) == core_array.library_of(xp.asarray([0.0]))
        assert xp.to_numpy(found).tolist() == expected


def test_marginal_samplers_can_be_pickled(xp) -> None:
    sampler = MarginalDPP(xp.asarray(0.5 * np.eye(6)), rng=1)
    other = pickle.loads(pickle.dumps(sampler))
    assert xp.to_numpy(other.sample()).tolist() == xp.to_numpy(sampler.sample()).tolist()


def test_rows_on_disk_are_read_where_they_lie(tmp_path) -> None:
    X = matrix(500, 6)
    stored = np.memmap(tmp_path / "rows", dtype="float64", mode="w+", shape=X.shape)
    stored[:] = X
    stored.flush()
    read = np.memmap(tmp_path / "rows", dtype="float64", mode="r", shape=X.shape)
    assert ProjectionDPP(read, rng=0).sample().tolist() == ProjectionDPP(X, rng=0).sample().tolist()


def test_a_process_saves_the_set_up_of_volume_samples() -> None:
    X = matrix(60, 5)
    dpp = ProjectionDPP(X)
    for seed in range(5):
        found = volume_sample(dpp, 9, rng=seed)
        assert found.tolist() == volume_sample(X, 9, rng=seed).tolist()
    with pytest.raises(ValueError, match="k must be between 5 and 60"):
        volume_sample(dpp, 4)
