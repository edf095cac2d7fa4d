"""Processes from a kernel of likelihoods: law, sizes, scale, libraries, errors."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import mpmath
import numpy as np
import pytest

from linalgkit._kernels.thinning import thinned_proposals
from linalgkit.sampling._ensemble import LEnsemble
from linalgkit.sampling._polynomials import (
    log_elementary,
    select,
    selection_probabilities,
    selection_table,
)
from tests.conftest import Backend
from tests.sampling import laws

N, DRAWS = 7, 4000
SHAPES = {"tall": (N, 4), "wide": (N, 10)}


def rows(n: int = N, d: int = 4, *, complex_entries: bool = True, seed: int = 0) -> np.ndarray:
    """Return rows of unequal weight, of which one is zero and two are equal."""
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((n, d)) + 1j * complex_entries * rng.standard_normal((n, d))
    B = B * (0.3 + np.arange(n)[:, None] / n)
    B[3], B[5] = 0, B[1]
    return B if complex_entries else B.real


def draws(process: LEnsemble, k: int | None = None, count: int = DRAWS) -> list[list[int]]:
    return [process.sample(k).tolist() for _ in range(count)]


def made(B: np.ndarray, given: str, **options: object) -> LEnsemble:
    return LEnsemble(B, **options) if given == "B" else LEnsemble(L=B @ B.conj().T, **options)


# ------------------------------------------------------------------------------------- law


@pytest.mark.parametrize("given", ["B", "L"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("complex_entries", [False, True], ids=["real", "complex"])
def test_counts_of_all_subsets_follow_the_law(
    complex_entries: bool, shape: str, given: str
) -> None:
    B = rows(*SHAPES[shape], complex_entries=complex_entries)
    L = B @ B.conj().T
    process = made(B, given, rng=4)
    for k, count in ((None, 2500), (3, 1500)):
        law = laws.ensemble_law(L, k)
        found = draws(process, k, count)
        mean, covariance = laws.moments(law, N)
        assert laws.chi_square(found, law) > laws.LEVEL
        assert laws.wald(found, mean, covariance) > laws.LEVEL
        assert laws.variance_p_value(found, np.arange(N), covariance) > laws.LEVEL


def test_negative_controls_fail() -> None:
    B = rows()
    L, rng = B @ B.conj().T, np.random.default_rng(6)
    process = LEnsemble(B, rng=1)
    for k in (None, 3):
        law = laws.ensemble_law(L, k)
        mean, covariance = laws.moments(law, N)
        sizes = [len(s) for s in draws(process, k)]
        uniform = laws.uniform_subsets(N, sizes, rng)
        assert laws.chi_square(uniform, law) < laws.CONTROL
        assert laws.wald(uniform, mean, covariance) < laws.CONTROL
    independent = laws.independent_draws(mean, 3, DRAWS, rng)
    assert laws.chi_square(independent, law) < laws.CONTROL
    other_size = laws.ensemble_law(L, 2)
    assert laws.chi_square(draws(process, 3), other_size) == 0.0


def test_the_law_is_not_that_of_the_conjugate_product() -> None:
    """``B B^T`` of complex `B` is another kernel: minors of it have other moduli."""
    B = rows()
    wrong = laws.normalised(
        {s: abs(np.linalg.det(B[list(s)] @ B[list(s)].T)) for s in laws.subsets(N, 3)}
    )
    assert laws.chi_square(draws(LEnsemble(B, rng=1), 3), wrong) < laws.CONTROL


def test_law_of_a_larger_process() -> None:
    """Inclusions and linear statistics of 300 items, where a sample takes several blocks."""
    n, k, count = 300, 30, 1500
    B = np.random.default_rng(3).standard_normal((n, 40)) * np.linspace(0.3, 1.5, 40)
    process = LEnsemble(B, rng=2)
    size = process.rescale(25.0)
    L = B @ B.T * math.exp(size._shift)
    K = L @ np.linalg.inv(np.eye(n) + L)
    mean, covariance = laws.kernel_moments(K)
    found = draws(size, None, count)
    control = laws.independent_items(mean, count, np.random.default_rng(0))
    assert laws.wald(found, mean, covariance) > laws.LEVEL
    for g in (np.ones(n), np.sin(np.arange(n))):
        assert laws.variance_p_value(found, g, covariance) > laws.LEVEL
    assert laws.variance_p_value(control, np.ones(n), covariance) < laws.CONTROL
    assert {len(set(s)) for s in draws(process, k, 200)} == {k}


@pytest.mark.slow
@pytest.mark.parametrize("k", [None, 3])
def test_counts_of_all_subsets_in_many_draws(k: int | None) -> None:
    B = rows()
    law = laws.ensemble_law(B @ B.conj().T, k)
    found = draws(LEnsemble(B, rng=8), k, 100_000)
    assert laws.chi_square(found, law) > laws.LEVEL
    assert laws.wald(found, *laws.moments(law, N)) > laws.LEVEL


def test_zero_rows_are_never_drawn_and_equal_rows_never_together() -> None:
    B = rows(12, 5, complex_entries=False)
    B[8], B[9] = 1e-7 * B[0], -B[2]
    process = LEnsemble(B, rng=0)
    for k in (None, 4, 5):
        for s in draws(process, k, 400):
            assert 3 not in s
            assert not {1, 5} <= set(s)
            assert not {2, 9} <= set(s)
            assert not {0, 8} <= set(s)
            assert s == sorted(set(s))


# ----------------------------------------------------------------------------- probabilities


@pytest.mark.parametrize("given", ["B", "L"])
@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_are_those_of_the_law(shape: str, given: str) -> None:
    B = rows(*SHAPES[shape])
    L, process = B @ B.conj().T, made(B, given)
    for k in (None, 1, 3):
        law = laws.ensemble_law(L, k)
        for s, p in law.items():
            assert math.exp(process.log_prob(s, k)) == pytest.approx(p, rel=1e-9, abs=1e-13)
        mean, _ = laws.moments(law, N)
        np.testing.assert_allclose(process.inclusion_probabilities(k), mean, atol=1e-12)
    assert (
        process.log_prob([3]) == process.log_prob([1, 5]) == process.log_prob(range(N)) == -math.inf
    )
    assert process.log_prob([0, 1], 3) == -math.inf
    expected = sum(len(s) * p for s, p in laws.ensemble_law(L).items())
    assert process.expected_size() == pytest.approx(expected)


def test_rescaling_gives_the_expected_size_asked_for() -> None:
    B = rows(complex_entries=False) * np.array([30.0, 1.0, 0.3, 0.1])
    process = LEnsemble(B, rng=0)
    for size in (1e-9, 0.3, 1.0, 2.5, 3.999, 4 - 1e-9):
        assert process.rescale(size).expected_size() == pytest.approx(size, rel=1e-12)
    smaller = process.rescale(2.0)
    law = laws.ensemble_law(B @ B.T * math.exp(smaller._shift))
    assert sum(len(s) * p for s, p in law.items()) == pytest.approx(2.0, rel=1e-9)
    assert laws.chi_square(draws(smaller, None, 2500), law) > laws.LEVEL
    assert smaller.rescale(process.expected_size())._shift == pytest.approx(0.0, abs=1e-9)
    for s in ([0], [0, 2], [1, 2, 4]):
        assert smaller.log_prob(s, len(s)) == pytest.approx(process.log_prob(s, len(s)))
        assert math.exp(smaller.log_prob(s)) == pytest.approx(law[tuple(s)], rel=1e-8)


def test_equal_eigenvalues_are_rescaled() -> None:
    process = LEnsemble(np.eye(6)[:, :5] * 3.0)
    assert process.rescale(2.0).expected_size() == pytest.approx(2.0, rel=1e-14)
    assert process.rescale(2.0).inclusion_probabilities()[:5] == pytest.approx([0.4] * 5)


# ------------------------------------------------------------------------------------- scale


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e-160, 1e300])
@pytest.mark.parametrize("d", [4, 10])
def test_scale_does_not_change_k_processes(scale: float, d: int) -> None:
    B = rows(d=d)
    process, scaled = LEnsemble(B), LEnsemble(B * scale)
    for seed in range(20):
        assert scaled.sample(3, rng=seed).tolist() == process.sample(3, rng=seed).tolist()
    assert scaled.log_prob([0, 2, 4], 3) == pytest.approx(process.log_prob([0, 2, 4], 3))
    size = 2.25
    assert scaled.rescale(size).log_prob([0, 2]) == pytest.approx(
        process.rescale(size).log_prob([0, 2])
    )
    np.testing.assert_allclose(
        scaled.inclusion_probabilities(2), process.inclusion_probabilities(2)
    )


def test_scale_of_a_dense_kernel() -> None:
    B = rows()
    L = B @ B.conj().T
    process, scaled = LEnsemble(L=L), LEnsemble(L=L * 2.0**900)
    for seed in range(20):
        assert scaled.sample(3, rng=seed).tolist() == process.sample(3, rng=seed).tolist()


def test_hundreds_of_eigenvalues_of_any_magnitude() -> None:
    """The polynomials themselves overflow here: e_200 of 400 numbers near 1e8 is about 1e1700."""
    B = np.random.default_rng(0).standard_normal((900, 400)) * 1e4
    process = LEnsemble(B, rng=0)
    assert len(set(process.sample(200).tolist())) == 200
    assert float(np.sum(process.inclusion_probabilities(200))) == pytest.approx(200, rel=1e-10)


# ------------------------------------------------------------------------------- polynomials


def test_log_elementary_against_exact_arithmetic() -> None:
    values = np.exp(np.random.default_rng(1).uniform(-30, 30, 9))
    table = log_elementary(np.log(values), 9)
    for i, j in itertools.product(range(10), range(10)):
        exact = mpmath.fsum(
            mpmath.fprod(map(mpmath.mpf, map(float, c)))
            for c in itertools.combinations(values[:i], j)
        )
        if exact == 0:
            assert table[i, j] == -math.inf
        else:
            assert table[i, j] == pytest.approx(float(mpmath.log(exact)), abs=1e-12)


def test_selection_follows_the_products() -> None:
    values = np.array([0.2, 3.0, 1.0, 0.7, 5.0])
    table, log_total = selection_table(np.log(values), 2)
    law = laws.normalised(
        {s: float(np.prod(values[list(s)])) for s in itertools.combinations(range(5), 2)}
    )
    assert math.exp(log_total) == pytest.approx(
        sum(a * b for a, b in itertools.combinations(values, 2))
    )
    rng = np.random.default_rng(0)
    found = [select(table, rng.random(5)) for _ in range(6000)]
    assert laws.chi_square(found, law) > laws.LEVEL
    uniform = laws.uniform_subsets(5, [2] * 6000, rng)
    assert laws.chi_square(uniform, law) < laws.CONTROL
    np.testing.assert_allclose(selection_probabilities(table), laws.moments(law, 5)[0])


def test_selection_of_all_and_of_none() -> None:
    logs = np.log([1e-300, 1.0, 1e300])
    assert select(selection_table(logs, 3)[0], np.full(3, 1 - 2**-53)) == [2, 1, 0]
    assert select(selection_table(logs, 0)[0], np.zeros(3)) == []
    assert selection_table(logs, 0)[1] == 0.0


# --------------------------------------------------------------------------------- libraries


@pytest.mark.parametrize("d", [4, 10])
def test_libraries_agree(xp: Backend, d: int) -> None:
    B = rows(d=d)
    reference, process = LEnsemble(B), LEnsemble(xp.asarray(B))
    assert process.rank == reference.rank
    for k, seed in ((None, 1), (3, 2), (2, 3), (0, 4)):
        found = process.sample(k, rng=seed)
        assert found.device == xp.asarray(np.ones(1)).device
        assert xp.to_numpy(found).dtype.kind == "i"
        assert xp.to_numpy(found).tolist() == reference.sample(k, rng=seed).tolist()
    tolerance = 1e-10 if xp.has_float64 else 1e-4
    probabilities = xp.to_numpy(process.inclusion_probabilities())
    assert probabilities.dtype == (np.float64 if xp.has_float64 else np.float32)
    np.testing.assert_allclose(
        probabilities, reference.inclusion_probabilities(), rtol=tolerance, atol=tolerance
    )
    assert process.log_prob(xp.asarray(np.array([0, 2])), 2) == pytest.approx(
        reference.log_prob([0, 2], 2), rel=tolerance
    )
    assert process.rescale(2.0).expected_size() == pytest.approx(2.0, rel=1e-10)


def test_dense_kernels_on_all_libraries(xp: Backend) -> None:
    B = rows(complex_entries=False) * 0.5
    process = LEnsemble(L=xp.asarray(B @ B.T), rng=0)
    law = laws.ensemble_law(B @ B.T, 2)
    found = [xp.to_numpy(process.sample(2)).tolist() for _ in range(40)]
    assert all(law[tuple(s)] > 1e-6 for s in found)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision(xp: Backend, dtype: str) -> None:
    B = rows(40, 6, complex_entries=dtype == "complex64")
    reference = LEnsemble(B.astype(dtype))
    process = LEnsemble(xp.asarray(B, dtype))
    assert process.rank == 6
    assert xp.to_numpy(process.inclusion_probabilities()).dtype == np.float32
    for seed in range(5):
        found = xp.to_numpy(process.sample(4, rng=seed)).tolist()
        assert found == reference.sample(4, rng=seed).tolist()


def test_rank_of_single_precision_data_is_not_raised_by_rounding() -> None:
    rng = np.random.default_rng(0)
    B = (rng.standard_normal((500, 7)) @ rng.standard_normal((7, 50))).astype(np.float32)
    assert LEnsemble(B).rank == 7
    assert LEnsemble(L=B @ B.T).rank == 7


def test_forms_of_the_kernel_agree(xp: Backend) -> None:
    rng = np.random.default_rng(2)
    A, W = rows(60, 6), rows(6, 3, seed=1)
    scores = np.sum(np.abs(A @ W) ** 2, axis=1) * rng.uniform(1.0, 3.0, 60)
    uniforms = rng.random((2, 150))
    tail = (np.cumsum(scores), scores, uniforms, 20)
    expected = thinned_proposals.forms()["portable"](np, A, 0, W, *tail)
    assert len(expected[0]) == 20
    for name, form in thinned_proposals.forms().items():
        if name != "portable" and xp.name != "numpy":
            continue
        items, Y, norms = form(xp.xp, xp.asarray(A), 0, xp.asarray(W), *tail)
        np.testing.assert_array_equal(items, expected[0])
        np.testing.assert_allclose(xp.to_numpy(Y), expected[1], atol=100 * xp.tolerance)
        np.testing.assert_allclose(norms, expected[2], rtol=100 * xp.tolerance)


def test_the_last_item_of_positive_score_bounds_the_search() -> None:
    """Uniform numbers next to one must not reach the zero rows at the end."""
    A, W = np.eye(4, 2), np.eye(2)
    scores = np.array([1.0, 1.0, 0.0, 0.0])
    uniforms = np.array([[0.0, 1 - 2**-53, 1.0], [0.0, 0.0, 0.0]])
    for form in thinned_proposals.forms().values():
        items, _, _ = form(np, A, 0, W, np.cumsum(scores), scores, uniforms, 5)
        assert items.tolist() == [0, 1, 1]


def test_rows_that_are_not_contiguous() -> None:
    B = rows(50, 6, complex_entries=False)
    expected = LEnsemble(B).sample(3, rng=1).tolist()
    assert LEnsemble(np.asfortranarray(B)).sample(3, rng=1).tolist() == expected
    assert LEnsemble(np.repeat(B, 2, axis=1)[:, ::2]).sample(3, rng=1).tolist() == expected


# ----------------------------------------------------------------------- repetition, storage


def test_seeds_repeat_and_the_generator_goes_on() -> None:
    B = rows(60, 8)
    assert LEnsemble(B, rng=5).sample(4).tolist() == LEnsemble(B).sample(4, rng=5).tolist()
    process = LEnsemble(B, rng=5)
    assert len({tuple(s) for s in draws(process, 4, 10)}) > 5
    first = process.sample(4, rng=3).tolist()
    process.sample(6, rng=1)  # another table in between
    assert process.sample(4, rng=3).tolist() == first


def test_a_warm_sample_keeps_nothing_of_the_size_of_the_data() -> None:
    n, d, k = 40_000, 20, 5
    process = LEnsemble(np.random.default_rng(0).standard_normal((n, d)), rng=0)
    process.sample(k)
    tracemalloc.start()
    for _ in range(20):
        process.sample(k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * n  # far below one number an item


def test_set_up_takes_the_storage_it_says() -> None:
    n, d = 60_000, 20
    B = np.random.default_rng(0).standard_normal((n, d))
    LEnsemble(B[:100], rng=0).sample(3)
    tracemalloc.start()
    LEnsemble(B, rng=0).sample(5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * n + 3 * 4 * 2**20  # scores, their sums, and blocks of 4 MiB


# ------------------------------------------------------------------------------------ errors


def test_bad_matrices_are_refused() -> None:
    B = rows()
    with pytest.raises(TypeError, match="exactly one of B and L"):
        LEnsemble()
    with pytest.raises(TypeError, match="exactly one of B and L"):
        LEnsemble(B, L=B @ B.conj().T)
    with pytest.raises(ValueError, match="B must be 2-D"):
        LEnsemble(B[:, 0])
    with pytest.raises(ValueError, match="B must have at least 1 row"):
        LEnsemble(B[:0])
    with pytest.raises(ValueError, match="B must not contain NaN or infinity"):
        LEnsemble(np.full((3, 2), np.inf))
    with pytest.raises(TypeError, match="B must be an array"):
        LEnsemble({1.0})
    with pytest.raises(TypeError, match="rng must be"):
        LEnsemble(B, rng="seed")
    with pytest.raises(ValueError, match="L must be square"):
        LEnsemble(L=B)
    with pytest.raises(ValueError, match="L must not contain NaN"):
        LEnsemble(L=np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="L must be Hermitian, got entries"):
        LEnsemble(L=np.triu(np.ones((3, 3))))
    with pytest.raises(ValueError, match="positive semi-definite, got eigenvalues from -2 to 3"):
        LEnsemble(L=np.diag([1.0, -2.0, 3.0]))
    with pytest.raises(ValueError, match="positive semi-definite, got eigenvalues from -2 to -1"):
        LEnsemble(L=-np.diag([1.0, 2.0]))


def test_bad_sizes_are_refused() -> None:
    process = LEnsemble(rows())
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    for k, error, text in (
        (5, ValueError, "k must be between 0 and 4 for a kernel of numerical rank 4, got 5"),
        (-1, ValueError, "k must be between 0 and 4"),
        (2.0, TypeError, "k must be an integer"),
    ):
        with pytest.raises(error, match=text):
            process.sample(k, rng=rng)
        with pytest.raises(error, match=text):
            process.log_prob([0], k)
        with pytest.raises(error, match=text):
            process.inclusion_probabilities(k)
    assert rng.bit_generator.state == before
    for size in (0.0, 4.0, -1.0, 5.0, math.nan):
        with pytest.raises(
            ValueError, match="size must be greater than 0 and less than 4 for a kern"
        ):
            process.rescale(size)
    with pytest.raises(TypeError, match="size must be a real number"):
        process.rescale("2")
    with pytest.raises(ValueError, match="S must lie between 0 and 6, got 7"):
        process.log_prob([7])
    with pytest.raises(ValueError, match="S must be different"):
        process.log_prob([1, 1])


@pytest.mark.parametrize("given", ["B", "L"])
def test_kernels_of_zeros_give_empty_samples(given: str) -> None:
    process = made(np.zeros((4, 2)), given, rng=0)
    assert process.rank == 0
    assert process.expected_size() == 0.0
    assert process.sample().tolist() == process.sample(0).tolist() == []
    assert process.log_prob([]) == process.log_prob([], 0) == 0.0
    assert process.log_prob([1]) == -math.inf
    assert process.inclusion_probabilities().tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="for a kernel of numerical rank 0"):
        process.rescale(0.5)


@pytest.mark.parametrize("ratio", [1e5, 1e7, 4e7, 1e10])
def test_small_eigenvalues_have_their_digits(ratio: float) -> None:
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((6, 2)))[0]
    V = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    sizes = np.asarray([1.0, 1 / ratio])
    ensemble = LEnsemble(U * sizes @ V.T, rng=0)
    assert ensemble.rank == 2
    pairs = itertools.combinations(range(6), 2)
    total = sum(math.exp(ensemble.log_prob(s, k=2)) for s in pairs)
    assert abs(total - 1) < 1e-14 * ratio + 1e-12
    assert abs(float(np.sum(ensemble.inclusion_probabilities(2))) - 2) < 1e-14 * ratio + 1e-12
    large = LEnsemble(ratio * U * sizes @ V.T)
    assert large.expected_size() == pytest.approx(1.5, abs=1e-14 * ratio + 1e-9)


def test_kept_eigenvectors_are_orthonormal_however_fast_eigenvalues_fall() -> None:
    x, c = np.linspace(0, 1, 16), np.linspace(0, 1, 12)
    for B in (np.exp(-((x[:, None] - c) ** 2) / 4.5), np.vander(np.linspace(-1, 1, 2000), 40)):
        ensemble = LEnsemble(B)
        Y = B @ ensemble._factor.whitener
        assert np.abs(Y.T @ Y - np.eye(ensemble.rank)).max() < 1e-3
        k = min(4, ensemble.rank)
        assert float(np.sum(ensemble.inclusion_probabilities(k))) == pytest.approx(k, abs=1e-3)
    assert (
        LEnsemble(np.random.default_rng(0).standard_normal((200, 5)) * [1, 1, 1, 1, 3e-14]).rank
        == 4
    )
