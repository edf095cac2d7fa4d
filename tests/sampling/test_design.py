"""Designs: their laws, what they report, and what they refuse."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from linalgkit import AccuracyWarning
from linalgkit.sampling import ProjectionDPP, sample_design
from linalgkit.sampling._families import Hermite, Legendre
from linalgkit.sampling._indices import multi_index
from linalgkit.sampling._tensor import TensorBasis
from linalgkit.sampling._user import UserBasis

from . import laws

METHODS = ("rdpp", "volume", "iid")


def matrix(n: int, m: int, complex_: bool = False, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, m))
    X = X + 1j * rng.standard_normal((n, m)) if complex_ else X
    return X * np.sqrt(1 + np.arange(n))[:, None]


def orthonormal(X: np.ndarray) -> np.ndarray:
    """Values of functions that are orthonormal for the uniform law on the rows."""
    return np.linalg.qr(X)[0] * math.sqrt(X.shape[0])


def legendre(m: int, d: int = 1) -> TensorBasis:
    return TensorBasis(Legendre(), multi_index(d, m - 1))


# ------------------------------------------------------------------------------------ the laws


def multiset_counts(draws: list[np.ndarray]) -> Counter:
    return Counter(tuple(sorted(int(i) for i in s)) for s in draws)


def multiset_p_value(counts: Counter, law: dict[tuple[int, ...], float]) -> float:
    """Chi-square of counts of multisets, the rare ones merged."""
    total = sum(counts.values())
    cells = sorted(law, key=law.__getitem__)
    expected = np.asarray([total * law[c] for c in cells])
    observed = np.asarray([float(counts[c]) for c in cells])
    few = np.cumsum(expected) < 30
    expected = np.append(expected[~few], expected[few].sum())
    observed = np.append(observed[~few], observed[few].sum())
    keep = expected > 0
    statistic = float(np.sum((observed - expected)[keep] ** 2 / expected[keep]))
    return float(scipy.stats.chi2.sf(statistic, int(keep.sum()) - 1))


def rescaled_law(X: np.ndarray, n: int, mixture: float) -> dict[tuple[int, ...], float]:
    """``det(sum w phi phi^H) dnu^n`` of all sequences of n rows, gathered to multisets."""
    Phi = orthonormal(X)
    N, m = Phi.shape
    nu = (mixture * (np.abs(Phi) ** 2).sum(axis=1) / m + 1 - mixture) / N
    law: dict[tuple[int, ...], float] = {}
    for s in itertools.combinations_with_replacement(range(N), n):
        repeats = math.prod(math.factorial(k) for k in Counter(s).values())
        rows = Phi[list(s)]
        gram = (rows.conj().T / (N * nu[list(s)])) @ rows
        weight = np.real(np.linalg.det(gram)) * math.prod(nu[list(s)])
        law[s] = float(weight) * math.factorial(n) / repeats
    return laws.normalised(law)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("mixture", [1.0, 0.6])
def test_volume_rescaled_sampling_has_its_density(complex_: bool, mixture: float) -> None:
    X = matrix(6, 2, complex_)
    dpp, rng = ProjectionDPP(X), np.random.default_rng(1)
    draws = [
        sample_design(dpp, 4, method="volume", mixture=mixture, rng=rng).indices
        for _ in range(5000)
    ]
    law = rescaled_law(X, 4, mixture)
    assert multiset_p_value(multiset_counts(draws), law) > laws.LEVEL
    control = [
        sample_design(dpp, 4, method="iid", mixture=mixture, rng=rng).indices for _ in range(5000)
    ]
    assert multiset_p_value(multiset_counts(control), law) < laws.CONTROL
    places = np.asarray(draws)
    # In a random order: every place has the same law.
    table = np.asarray([np.bincount(places[:, k], minlength=6) for k in range(4)])
    assert scipy.stats.chi2_contingency(table).pvalue > laws.LEVEL


@pytest.mark.parametrize("mixture", [1.0, 0.5])
def test_independent_points_have_the_mixture_law(mixture: float) -> None:
    X = matrix(12, 3)
    Phi = orthonormal(X)
    nu = (mixture * (Phi**2).sum(axis=1) / 3 + 1 - mixture) / 12
    found = sample_design(X, 20_000, method="iid", mixture=mixture, rng=2)
    counts = np.bincount(found.indices, minlength=12)
    assert scipy.stats.chisquare(counts, 20_000 * nu).pvalue > laws.LEVEL
    assert scipy.stats.chisquare(counts).pvalue < laws.CONTROL
    assert np.allclose(found.weights, (1 / (12 * nu))[found.indices])


@pytest.mark.parametrize("n", [8, 11])
def test_repeated_processes_have_their_moments(n: int) -> None:
    X = matrix(15, 4)
    K = np.linalg.qr(X)[0] @ np.linalg.qr(X)[0].T
    mean, covariance = laws.kernel_moments(K)
    full, rest = divmod(n, 4)
    # The first points of a permuted process: pairs are kept with r (r - 1) / (m (m - 1)).
    pairs = (covariance + np.outer(mean, mean)) * (rest * (rest - 1) / 12)
    np.fill_diagonal(pairs, rest / 4 * mean)
    part = rest / 4 * mean
    mean, covariance = full * mean + part, full * covariance + pairs - np.outer(part, part)
    dpp, rng = ProjectionDPP(X), np.random.default_rng(1)
    counts = np.asarray(
        [np.bincount(sample_design(dpp, n, rng=rng).indices, minlength=15) for _ in range(4000)]
    )
    assert laws.wald_statistics(counts, mean, covariance) > laws.LEVEL
    # The means are those of independent points, the variances are not.
    control = np.asarray(
        [
            np.bincount(sample_design(dpp, n, method="iid", rng=rng).indices, minlength=15)
            for _ in range(4000)
        ]
    )
    heavy = mean > 0.8 * mean.max()
    expected = float(covariance[heavy][:, heavy].sum())
    spread = math.sqrt(2 / 4000)
    assert abs(counts[:, heavy].sum(axis=1).var() / expected - 1) < 4.5 * spread
    assert control[:, heavy].sum(axis=1).var() / expected - 1 > 10 * spread


def test_inverse_gram_of_volume_designs() -> None:
    """``E G^-1 = n / (n - m + 1) I`` (Derezinski, Warmuth, Hsu 2019)."""
    basis, m = legendre(5), 5
    rng = np.random.default_rng(0)
    for n in (10, 15):
        traces = []
        for _ in range(1500):
            gram = sample_design(basis, n, method="volume", rng=rng).gram
            traces.append(np.trace(np.linalg.inv(gram)) / m)
        error = np.std(traces) / math.sqrt(len(traces))
        assert abs(np.mean(traces) - n / (n - m + 1)) < 4.5 * error
        control = [
            np.trace(np.linalg.inv(sample_design(basis, n, method="iid", rng=rng).gram)) / m
            for _ in range(1500)
        ]
        assert np.mean(control) > n / (n - m + 1) + 6 * error


@pytest.mark.parametrize("method", ["rdpp", "iid"])
@pytest.mark.parametrize("mixture", [1.0, 0.7])
def test_expected_gram_is_the_identity(method: str, mixture: float) -> None:
    rng = np.random.default_rng(4)
    for space in (legendre(4), matrix(20, 4, complex_=True)):
        grams = np.asarray(
            [sample_design(space, 12, method=method, mixture=mixture, rng=rng).gram
             for _ in range(800)]
        )  # fmt: skip
        error = grams.std(axis=0) / math.sqrt(800)
        assert np.all(np.abs(grams.mean(axis=0) - np.eye(4)) < 4.5 * error + 1e-12)


def test_repeated_processes_have_the_variance_of_theory() -> None:
    """``E z = 0`` and ``E ||z||^2 <= (m / n) ||e||^2`` for the noise z of the best residual e."""
    basis, m, n = legendre(6), 6, 12
    x, w = np.polynomial.legendre.leggauss(60)
    phi = basis.evaluate(x[:, None])
    f = 1 / (1 + 5 * x**2)
    best = phi.T @ (w / 2 * f)
    square = float(np.sum(w / 2 * (f - phi @ best) ** 2))
    rng, noise = np.random.default_rng(0), []
    for _ in range(1500):
        design = sample_design(basis, n, rng=rng)
        rows = basis.evaluate(design.points)
        residual = 1 / (1 + 5 * design.points[:, 0] ** 2) - rows @ best
        noise.append(rows.T @ (design.weights * residual) / n)
    noise = np.asarray(noise)
    assert np.all(np.abs(noise.mean(axis=0)) < 4.5 * noise.std(axis=0) / math.sqrt(1500))
    squares = (noise**2).sum(axis=1)
    limit = m / n * square
    assert squares.mean() < limit + 3 * squares.std() / math.sqrt(1500)


@pytest.mark.parametrize(("d", "p"), [(1, 10), (2, 8)])
def test_three_points_a_dimension_are_enough(d: int, p: int) -> None:
    basis = TensorBasis(Legendre(), multi_index(d, p))
    rng = np.random.default_rng(0)
    failures = sum(sample_design(basis, rng=rng).lmin < 0.1 for _ in range(400))
    # Were the probability of failure above 0.01, fewer than this would be a rare event.
    assert failures <= 4
    independent = sum(sample_design(basis, method="iid", rng=rng).lmin < 0.1 for _ in range(100))
    assert independent > 5


# --------------------------------------------------------------------------- what it reports


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mixture", [1.0, 0.5])
def test_a_design_reports_its_own_gram(method: str, mixture: float) -> None:
    for space in (TensorBasis(Hermite(), multi_index(2, 3)), matrix(40, 10, complex_=True)):
        design = sample_design(space, 25, method=method, mixture=mixture, rng=0)
        if design.points is None:
            rows = orthonormal(space)[design.indices]
        else:
            rows = space.evaluate(design.points)
        k = (np.abs(rows) ** 2).sum(axis=1)
        if method != "rdpp" or mixture == 1:
            assert np.allclose(design.weights, 1 / (mixture * k / 10 + 1 - mixture))
        if mixture < 1:
            assert design.weights.max() <= 25 / 12
        else:
            assert math.isclose(float(np.trace(design.gram).real), 10, rel_tol=1e-12)
        gram = (rows.conj().T * design.weights) @ rows / 25
        values = np.linalg.eigvalsh(gram)
        # The orthonormal basis is unique up to a unitary matrix.
        assert np.allclose(np.linalg.eigvalsh(design.gram), values, atol=1e-10)
        assert np.allclose([design.lmin, design.lmax], values[[0, -1]], atol=1e-10)
        assert len(design) == design.n_drawn == 25
        assert design.exact
        assert design.unbiased == (method == "volume")
        assert (design.dim, design.n_tries, design.boost) == (10, 1, 1)


def test_one_process_is_unbiased_and_a_condition_is_not() -> None:
    basis = legendre(5)
    assert sample_design(basis, 5, rng=0).unbiased
    assert not sample_design(basis, 10, rng=0).unbiased
    assert not sample_design(basis, 15, method="volume", boost=2, rng=0).unbiased
    given = ("lmin", 0.99)
    assert not sample_design(basis, 15, method="volume", condition=given, rng=0).unbiased
    assert not sample_design(basis, 5, mixture=0.9, rng=0).unbiased


def test_proposals_of_all_draws_are_counted() -> None:
    basis = legendre(8)
    rng = np.random.default_rng(0)
    mean = np.mean([sample_design(basis, 24, rng=rng).n_proposals for _ in range(300)])
    assert abs(mean / (3 * 8 * sum(1 / k for k in range(1, 9))) - 1) < 0.05
    independent = sample_design(basis, 24, method="iid", rng=rng)
    assert independent.n_proposals == 24


@pytest.mark.parametrize("condition", [("lmin", 0.6), ("norm", 0.75)])
def test_designs_are_drawn_until_the_condition_holds(condition: tuple[str, float]) -> None:
    basis = legendre(10)
    rng = np.random.default_rng(0)
    tries = []
    for _ in range(20):
        design = sample_design(basis, 40, method="iid", condition=condition, rng=rng)
        tries.append(design.n_tries)
        assert design.condition == condition
        assert design.lmin >= 1 - condition[1]
        if condition[0] == "norm":
            assert np.linalg.norm(design.gram - np.eye(10), 2) <= condition[1] * (1 + 1e-12)
    assert max(tries) > 1


def test_the_best_of_many_designs_is_kept() -> None:
    basis = legendre(8)
    plain = [sample_design(basis, 16, rng=s) for s in range(40)]
    boosted = [sample_design(basis, 16, boost=10, rng=s) for s in range(40)]

    def departure(design: object) -> float:
        return max(1 - design.lmin, design.lmax - 1)

    assert np.mean([*map(departure, boosted)]) < 0.8 * np.mean([*map(departure, plain)])
    given = ("lmin", 0.95)
    better = [sample_design(basis, 16, boost=10, condition=given, rng=s).lmin for s in range(40)]
    assert np.mean(better) > np.mean([d.lmin for d in boosted])


@pytest.mark.parametrize("subsample", ["greedy", "bss"])
def test_fewer_points_with_a_gram_of_their_own(subsample: str) -> None:
    for space in (TensorBasis(Legendre(), multi_index(2, 4)), matrix(300, 15)):
        design = sample_design(space, 90, subsample=subsample, rng=0)
        assert 15 <= len(design) <= (90 if subsample == "greedy" else 30)
        assert (design.n_drawn, design.subsample, design.unbiased) == (90, subsample, False)
        if design.points is None:
            rows = orthonormal(space)[design.indices]
        else:
            rows = space.evaluate(design.points)
        gram = (rows.T * design.weights) @ rows / len(design)
        values = np.linalg.eigvalsh(gram)
        assert np.allclose([design.lmin, design.lmax], values[[0, -1]], atol=1e-10)
        if subsample == "greedy":
            assert design.lmin >= 0.1
            assert len(design) <= 18


def test_what_cannot_be_thinned_is_returned_whole() -> None:
    with pytest.warns(AccuracyWarning):
        design = sample_design(legendre(12), 13, method="iid", subsample="greedy", rng=1)
    assert len(design) == 13


def test_all_libraries_draw_the_same_design(xp) -> None:
    X, indices = matrix(30, 4, complex_=True), multi_index(2, 2)
    plain = TensorBasis(Legendre(), indices)
    basis = TensorBasis(Legendre(), xp.asarray(indices))
    for method in METHODS:
        found = sample_design(basis, 14, method=method, rng=3)
        expected = sample_design(plain, 14, method=method, rng=3)
        assert np.allclose(xp.to_numpy(found.points), expected.points, atol=10 * xp.tolerance)
        assert np.allclose(xp.to_numpy(found.weights), expected.weights, rtol=100 * xp.tolerance)
        assert np.allclose(xp.to_numpy(found.gram), expected.gram, atol=100 * xp.tolerance)
        assert math.isclose(found.lmin, expected.lmin, abs_tol=100 * xp.tolerance)
        rows = sample_design(xp.asarray(X), 14, method=method, mixture=0.8, rng=3)
        host = sample_design(X, 14, method=method, mixture=0.8, rng=3)
        assert xp.to_numpy(rows.indices).tolist() == host.indices.tolist()
        assert math.isclose(rows.lmin, host.lmin, abs_tol=100 * xp.tolerance)


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_the_unit_of_a_matrix_does_not_matter(factor: float) -> None:
    X = matrix(50, 5)
    found, expected = sample_design(factor * X, rng=1), sample_design(X, rng=1)
    assert found.indices.tolist() == expected.indices.tolist()
    assert math.isclose(found.lmin, expected.lmin, rel_tol=1e-10)


def test_points_lie_on_no_grid_in_many_variables() -> None:
    basis = TensorBasis(Legendre(), multi_index(6, 3))
    design = sample_design(basis, rng=0)
    assert design.points.shape == (3 * 84, 6)
    assert len(np.unique(design.points)) == design.points.size
    differences = np.diff(np.sort(design.points, axis=None))
    assert differences.min() < 1e-5  # of 1512 numbers in an interval of length 2


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n": 4}, ValueError, "n must be at least 5 for a space of dimension 5, got 4"),
        ({"n": 9.0}, TypeError, "n must be an integer"),
        ({"method": "dpp"}, ValueError, "Did you mean 'rdpp'"),
        ({"subsample": "gredy"}, ValueError, "Did you mean 'greedy'"),
        ({"oversampling": 0.9}, ValueError, "oversampling must be at least 1"),
        ({"condition": ("lmin", 1.0)}, ValueError, "less than 1"),
        ({"condition": ("lmin", 0)}, ValueError, "greater than 0"),
        ({"condition": ("lmax", 0.5)}, ValueError, "'lmin', 'norm'"),
        ({"condition": "lmin"}, TypeError, "condition must be a pair"),
        ({"boost": 0}, ValueError, "boost must be at least 1"),
        ({"mixture": 0.0}, ValueError, "mixture must be greater than 0"),
        ({"mixture": 1.1}, ValueError, "mixture must be .* at most 1"),
        ({"max_tries": 0}, ValueError, "max_tries must be at least 1"),
        ({"rng": "seed"}, TypeError, "rng"),
    ],
)
def test_options_that_are_refused(options: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        sample_design(legendre(5), **options)


def test_spaces_that_are_refused() -> None:
    with pytest.raises(TypeError, match="space must be a TensorBasis"):
        sample_design("legendre")
    with pytest.raises(ValueError, match=r"numerical rank 1.*rank=1"):
        sample_design(np.ones((9, 3)))
    with pytest.raises(ValueError, match="NaN"):
        sample_design(np.full((9, 3), np.nan))


def test_a_condition_out_of_reach_names_the_best_design() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(RuntimeError, match=r"in 3 designs of 5 points .* best had lmin = 0\.\d"):
        sample_design(legendre(5), 5, condition=("lmin", 0.01), max_tries=3, rng=rng)
    assert rng.bit_generator.state == before
    with pytest.raises(RuntimeError, match=r"best had \|\|G - I\|\| = "):
        sample_design(legendre(5), 6, condition=("norm", 0.01), max_tries=2, rng=rng)


@pytest.mark.parametrize(("n", "mixture"), [(10, 0.75), (9, 0.9), (18, 0.96), (30, 0.5)])
def test_no_weight_exceeds_what_the_mixture_says(n: int, mixture: float) -> None:
    for method in METHODS:
        for seed in range(10):
            design = sample_design(legendre(9), n, method=method, mixture=mixture, rng=seed)
            assert design.weights.max() <= 1 / (1 - mixture) * (1 + 1e-12)
            if method == "rdpp":
                assert design.mixture == (n - math.ceil((1 - mixture) * n - 1e-9)) / n
            else:
                assert design.mixture == mixture


def test_a_family_is_no_space() -> None:
    with pytest.raises(TypeError, match="A family of polynomials makes one by"):
        sample_design(Legendre())


def test_independent_draws_call_a_users_function_a_few_times() -> None:
    calls = []

    def linear(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        return np.concatenate([np.ones_like(x), math.sqrt(3) * x], axis=1)

    basis = UserBasis(linear, 2, proposal=lambda n, rng: rng.uniform(-1, 1, (n, 1)), bound=400.0)
    calls.clear()
    design = sample_design(basis, 20, method="iid", rng=0)
    assert len(calls) < 12
    # Proposals are counted up to the last one that was kept: 200 a point on average.
    assert 1500 < design.n_proposals < 8000
