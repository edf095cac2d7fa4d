"""Determinantal processes from a marginal kernel: law, conditions, edges and errors."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from linalgkit._kernels.hermitian_sampling import hermitian_sampling
from linalgkit.sampling._marginal import MarginalDPP, sampled
from tests.conftest import Backend
from tests.sampling import laws

N, DRAWS = 6, 6000


def kernel(n: int = N, *, complex_entries: bool = True, seed: int = 3) -> np.ndarray:
    """Return a Hermitian kernel with eigenvalues spread over (0, 1); its conjugate differs."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) + 1j * complex_entries * rng.standard_normal((n, n))
    Q = np.linalg.qr(A)[0]
    K = (Q * np.linspace(0.05, 0.97, n)) @ Q.conj().T
    return K if complex_entries else K.real


def projector(n: int, r: int, seed: int = 0, complex_entries: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, r)) + 1j * complex_entries * rng.standard_normal((n, r))
    Q = np.linalg.qr(A)[0]
    return Q @ Q.conj().T if complex_entries else (Q @ Q.conj().T).real


def draws(process: MarginalDPP, count: int = DRAWS, **condition: object) -> list[list[int]]:
    return [process.sample(**condition).tolist() for _ in range(count)]


# ------------------------------------------------------------------------------------- law


@pytest.mark.parametrize("complex_entries", [False, True], ids=["real", "complex"])
def test_counts_of_all_subsets_follow_the_law(complex_entries: bool) -> None:
    K = kernel(complex_entries=complex_entries)
    law = laws.marginal_law(K)
    found = draws(MarginalDPP(K, rng=1))
    assert laws.chi_square(found, law) > laws.LEVEL
    assert laws.wald(found, *laws.kernel_moments(K)) > laws.LEVEL
    i, j = 1, 4
    pair = (K[i, i] * K[j, j]).real - abs(K[i, j]) ** 2
    assert laws.pair_p_value(found, i, j, pair) > laws.LEVEL
    covariance = laws.kernel_moments(K)[1]
    assert laws.variance_p_value(found, np.arange(N), covariance) > laws.LEVEL


def test_negative_controls_fail() -> None:
    K = kernel()
    rng, law = np.random.default_rng(2), laws.marginal_law(K)
    sizes = [len(s) for s in draws(MarginalDPP(K, rng=1))]
    uniform = laws.uniform_subsets(N, sizes, rng)
    independent = laws.independent_items(np.diag(K).real, DRAWS, rng)
    for control in (uniform, independent):
        assert laws.chi_square(control, law) < laws.CONTROL
    mean, covariance = laws.kernel_moments(K)
    assert laws.wald(uniform, mean, covariance) < laws.CONTROL
    assert laws.variance_p_value(independent, np.ones(N), covariance) < laws.CONTROL


def test_conjugate_kernels_have_the_same_law_but_their_products_do_not() -> None:
    """Minors of Hermitian matrices are real; a kernel without conjugation would be another one."""
    K = kernel()
    wrong = laws.marginal_law((K + K.T).real / 2)
    assert laws.chi_square(draws(MarginalDPP(K, rng=1)), wrong) < laws.CONTROL


@pytest.mark.parametrize(
    ("include", "exclude"),
    [((2,), ()), ((), (4,)), ((5, 0), (3,)), ((1,), (0, 2, 5))],
    ids=["in", "out", "two-in", "three-out"],
)
def test_conditional_samples_follow_the_conditional_law(
    include: tuple[int, ...], exclude: tuple[int, ...]
) -> None:
    K = kernel()
    law = laws.marginal_law(K)
    found = draws(MarginalDPP(K, rng=5), 2500, include=include, exclude=exclude)
    assert laws.chi_square(found, laws.conditional_law(law, include, exclude)) > laws.LEVEL
    assert laws.chi_square(found, law) < laws.CONTROL


def test_a_condition_on_all_items_leaves_nothing_to_draw() -> None:
    found = MarginalDPP(kernel(), rng=0).sample(include=[4, 1], exclude=[0, 2, 3, 5])
    assert found.tolist() == [1, 4]


def test_law_where_the_factorisation_takes_several_blocks() -> None:
    """Inclusions and the size of samples of 150 items, of which two blocks and a bit are made."""
    n, count = 150, 3000
    K = 0.9 * projector(n, 60, seed=8) + 0.05 * np.eye(n)
    found = draws(MarginalDPP(K, rng=3), count)
    mean, covariance = laws.kernel_moments(K)
    controls = (
        laws.independent_items(mean, count, np.random.default_rng(1)),
        laws.uniform_subsets(n, map(len, found), np.random.default_rng(2)),
    )
    assert laws.wald(found, mean, covariance) > laws.LEVEL
    assert laws.wald(controls[1], mean, covariance) < laws.CONTROL
    for g in (np.ones(n), np.cos(np.arange(n)), np.where(np.arange(n) < 64, 1.0, -1.0)):
        assert laws.variance_p_value(found, g, covariance) > laws.LEVEL
    assert laws.variance_p_value(controls[0], np.ones(n), covariance) < laws.CONTROL


# ----------------------------------------------------------------------------- probabilities


def test_log_prob_is_the_law() -> None:
    for complex_entries in (False, True):
        K = kernel(complex_entries=complex_entries)
        process = MarginalDPP(K)
        for s, p in laws.marginal_law(K).items():
            assert math.exp(process.log_prob(s)) == pytest.approx(p, rel=1e-10)
            assert process.log_prob(s[::-1]) == process.log_prob(s)


def test_log_prob_of_a_projector_is_minus_infinity_off_its_size() -> None:
    K = projector(5, 2)
    process = MarginalDPP(K)
    for s in laws.subsets(5):
        if len(s) != 2:
            assert process.log_prob(s) == -math.inf
    total = sum(math.exp(process.log_prob(s)) for s in itertools.combinations(range(5), 2))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_log_prob_of_dependent_items_is_minus_infinity() -> None:
    K = np.diag([0.25, 0.25, 0.5])
    K[0, 1] = K[1, 0] = 0.25  # the first two are copies of one item
    process = MarginalDPP(K, rng=0)
    assert process.log_prob([0, 1]) == -math.inf
    assert math.exp(process.log_prob([0])) == pytest.approx(0.25 * 0.5)
    assert not any({0, 1} <= set(s) for s in draws(process, 500))


def test_expected_size_and_inclusion_probabilities() -> None:
    K = kernel()
    process = MarginalDPP(K)
    assert process.expected_size() == pytest.approx(np.trace(K).real)
    np.testing.assert_allclose(process.inclusion_probabilities(), np.diag(K).real)
    assert repr(process) == "MarginalDPP(n=6, expected_size=3.06)"


# -------------------------------------------------------------------------------- projectors


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_projectors_give_as_many_items_as_their_rank(dtype: str) -> None:
    K = projector(180, 60, complex_entries=dtype.startswith("c")).astype(dtype)
    process = MarginalDPP(K, rng=4)
    assert {len(s) for s in draws(process, 60)} == {60}
    assert {len(s) for s in draws(process, 20, include=[3, 170], exclude=[0, 9])} == {60}


def test_identity_and_zero_kernels() -> None:
    assert MarginalDPP(np.eye(4), rng=0).sample().tolist() == [0, 1, 2, 3]
    assert MarginalDPP(np.zeros((4, 4)), rng=0).sample().tolist() == []
    assert MarginalDPP(np.eye(3, dtype=int), rng=0).sample().tolist() == [0, 1, 2]


def test_items_of_probability_zero_and_one() -> None:
    K = np.zeros((4, 4))
    K[1, 1], K[2:, 2:] = 1.0, 0.25
    found = draws(MarginalDPP(K, rng=0), 300)
    assert all(1 in s and 0 not in s and len(s) <= 2 for s in found)


# --------------------------------------------------------------------------------- libraries


def test_libraries_agree(xp: Backend) -> None:
    reference = MarginalDPP(kernel(), rng=9)
    process = MarginalDPP(xp.asarray(kernel()), rng=9)
    for condition in ({}, {"include": [2]}, {"exclude": [1, 5], "include": [0]}):
        found = process.sample(**condition)
        assert found.device == xp.asarray(np.ones(1)).device
        assert xp.to_numpy(found).dtype.kind == "i"
        assert xp.to_numpy(found).tolist() == reference.sample(**condition).tolist()
    probabilities = xp.to_numpy(process.inclusion_probabilities())
    assert probabilities.dtype == (np.float64 if xp.has_float64 else np.float32)
    np.testing.assert_allclose(probabilities, np.diag(kernel()).real, rtol=1e-6)
    assert process.log_prob(xp.asarray(np.array([1, 2]))) == pytest.approx(
        reference.log_prob([1, 2]), rel=1e-5
    )


def test_single_precision_is_kept(xp: Backend) -> None:
    process = MarginalDPP(xp.asarray(kernel(), "complex64"), rng=0)
    assert xp.to_numpy(process.inclusion_probabilities()).dtype == np.float32


def test_forms_of_the_kernel_agree(xp: Backend) -> None:
    K = kernel(9)
    u = np.random.default_rng(0).random(9)
    expected = hermitian_sampling.forms()["portable"](np, K, u, 1e-12)
    for name, form in hermitian_sampling.forms().items():
        A = xp.asarray(K)
        if name != "portable" and (
            xp.name != "numpy" or not hermitian_sampling.supports(name, A, u, 0.0)
        ):
            continue
        L, pivots, kept = (xp.to_numpy(part) for part in form(xp.xp, A, xp.asarray(u), 1e-12))
        np.testing.assert_array_equal(kept, expected[2])
        product = (L * pivots) @ L.conj().T
        np.testing.assert_allclose(product, K - np.diag(~kept), atol=100 * xp.tolerance)
        np.testing.assert_allclose(pivots, expected[1], atol=100 * xp.tolerance)


def test_portable_form_serves_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    K, u = kernel(130), np.random.default_rng(0).random(130)
    compiled = sampled(K.copy(), u, 1e-12)
    monkeypatch.setattr(hermitian_sampling, "_targets", {})
    np.testing.assert_array_equal(sampled(K.copy(), u, 1e-12), compiled)


def test_the_matrix_of_the_caller_is_not_written() -> None:
    K = kernel(100)
    before = K.copy()
    process = MarginalDPP(K, rng=0)
    process.sample(include=[1], exclude=[2])
    np.testing.assert_array_equal(K, before)
    first = MarginalDPP(K, rng=0).sample().tolist()
    assert MarginalDPP(K).sample(rng=0).tolist() == first


def test_storage_is_what_is_said() -> None:
    n = 600
    K = kernel(n, complex_entries=False)
    MarginalDPP(K[:80, :80]).sample()
    tracemalloc.start()
    process = MarginalDPP(K, rng=0)
    made, peak_made = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    process.sample()
    peak_sample = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copy = 8 * n * n
    assert made < 1.02 * copy
    assert peak_made < 3 * copy + 8 * 64 * n
    assert peak_sample < 2 * copy + 8 * 4 * 64 * n  # and panels of 64 columns


# ------------------------------------------------------------------------------------ errors


def test_bad_kernels_are_refused() -> None:
    skew = kernel()
    skew[1, 2] += 0.01
    with pytest.raises(ValueError, match=r"K must be Hermitian, got entries .* up to 0\.01"):
        MarginalDPP(skew)
    with pytest.raises(ValueError, match=r"eigenvalues between 0 and 1, got 1\.25"):
        MarginalDPP(np.diag([0.5, 1.25, 1.0]))
    with pytest.raises(ValueError, match=r"eigenvalues between 0 and 1, got -0\.125"):
        MarginalDPP(np.diag([0.5, -0.125, 1.0]))
    with pytest.raises(ValueError, match="K must be square, got shape"):
        MarginalDPP(np.ones((2, 3)))
    with pytest.raises(ValueError, match="K must be 2-D"):
        MarginalDPP(np.ones(3))
    with pytest.raises(ValueError, match="at least 1 row"):
        MarginalDPP(np.ones((0, 0)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        MarginalDPP(np.full((2, 2), np.nan))
    with pytest.raises(TypeError, match="K must be an array"):
        MarginalDPP({0.5})
    with pytest.raises(TypeError, match="rng must be"):
        MarginalDPP(kernel(), rng="seed")


def test_rounding_is_not_refused() -> None:
    K = kernel()
    K[0, 1] += 1e-12
    MarginalDPP(K)
    MarginalDPP(np.diag([1 + 1e-12, -1e-12]))


@pytest.mark.parametrize(
    ("include", "exclude", "error", "text"),
    [
        ([6], [], ValueError, "include must lie between 0 and 5, got 6"),
        ([], [-1], ValueError, "exclude must lie between 0 and 5, got -1"),
        ([1, 1], [], ValueError, "include must be different"),
        ([1, 2], [3, 2], ValueError, "no item in common, got 2"),
        ([1.5], [], TypeError, "include must hold integers"),
    ],
    ids=["range", "negative", "twice", "both", "float"],
)
def test_bad_conditions_are_refused(
    include: list[int], exclude: list[int], error: type[Exception], text: str
) -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(error, match=text):
        MarginalDPP(kernel()).sample(include, exclude, rng=rng)
    assert rng.bit_generator.state == before


def test_impossible_conditions_name_the_item() -> None:
    K = np.zeros((5, 5))
    K[0, 0], K[1, 1], K[2:4, 2:4], K[4, 4] = 0.0, 1.0, 0.5, 0.5
    process = MarginalDPP(K, rng=0)
    with pytest.raises(ValueError, match=r"items of include .* item 0 is never in it"):
        process.sample(include=[4, 0])
    with pytest.raises(ValueError, match=r"items of exclude .* item 1 is always in it"):
        process.sample(exclude=[4, 1])
    with pytest.raises(ValueError, match=r"items of include .* item [23] is never in it"):
        process.sample(include=[2, 3])
    with pytest.raises(ValueError, match=r"items of exclude .* item [23] is always in it"):
        process.sample(exclude=[2, 3])
    with pytest.raises(ValueError, match="S must lie between"):
        process.log_prob([5])


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
def test_small_eigenvalues_are_no_rounding_errors_of_a_projector(dtype: str) -> None:
    v = np.random.default_rng(0).standard_normal(800)
    v /= np.linalg.norm(v)
    small = MarginalDPP((0.01 * np.outer(v, v)).astype(dtype))
    assert small.expected_size() == pytest.approx(0.01, rel=1e-4)
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((800, 11)))[0]
    mixed = MarginalDPP(((Q * [*10 * [1.0], 0.02]) @ Q.T).astype(dtype))
    assert mixed.expected_size() == pytest.approx(10.02, abs=1e-4)
    whole = MarginalDPP((Q @ Q.T).astype(dtype), rng=0)
    assert {len(whole.sample()) for _ in range(20)} == {11}


@pytest.mark.parametrize("items", [3, None, "0"])
def test_items_must_be_a_sequence(items: object) -> None:
    with pytest.raises(TypeError, match="include must be a sequence of integers"):
        MarginalDPP(0.5 * np.eye(4)).sample(include=items)
