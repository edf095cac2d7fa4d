"""Leverage scores are the diagonal of the hat matrix, whatever the kind of matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from linalgkit.sketching import leverage_scores, sketch
from tests.conftest import Backend


def hat_diagonal(A: np.ndarray, rank: int) -> np.ndarray:
    """Return the diagonal of the projector onto the range, by the SVD."""
    return np.sum(np.abs(np.linalg.svd(A, full_matrices=False)[0][:, :rank]) ** 2, axis=1)


def matrix(n: int, d: int, rank: int | None = None, is_complex: bool = False, seed: int = 0):
    rng = np.random.default_rng(seed)
    k = min(n, d) if rank is None else rank

    def draw(*shape: int) -> np.ndarray:
        X = rng.standard_normal(shape)
        return X + 1j * rng.standard_normal(shape) if is_complex else X

    A = draw(n, k) @ draw(k, d)
    A[: n // 20] *= 20.0
    return A


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("shape", [(80, 6, 6), (80, 6, 4), (5, 9, 5), (9, 9, 7), (7, 1, 1)])
def test_scores_are_the_diagonal_of_the_hat_matrix(xp: Backend, is_complex, shape):
    n, d, rank = shape
    A = matrix(n, d, rank, is_complex)
    expected = hat_diagonal(A, rank)
    found = leverage_scores(xp.asarray(A))
    assert found.shape == (n,)
    assert xp.xp.isdtype(found.dtype, "real floating")
    tolerance = 1e-10 if xp.has_float64 else 1e-3
    np.testing.assert_allclose(xp.to_numpy(found), expected, atol=tolerance)
    assert abs(float(xp.xp.sum(found)) - rank) < n * tolerance


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 20),
    rank=st.integers(0, 20),
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["dense", "sparse", "operator"]),
)
def test_scores_of_any_shape_and_rank_sum_to_the_rank(n, d, rank, seed, kind):
    rank = min(n, d, rank)
    A = matrix(n, d, rank, seed=seed)
    wrap = {"dense": np.asarray, "sparse": scipy.sparse.csr_array, "operator": aslinearoperator}
    s = np.linalg.svd(A, compute_uv=False)
    if rank and s[rank - 1] < 1e-8 * s[0]:
        return  # of nearly lower rank by accident
    found = leverage_scores(wrap[kind](A))
    np.testing.assert_allclose(found, hat_diagonal(A, rank), atol=1e-6)
    assert np.all((found >= 0) & (found <= 1))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_scores_do_not_change_under_right_multiplication(kind):
    rng = np.random.default_rng(1)
    A = matrix(200, 8)
    wrap = scipy.sparse.csr_array if kind == "sparse" else np.asarray
    base = leverage_scores(wrap(A))
    C = rng.standard_normal((8, 8))
    np.testing.assert_allclose(leverage_scores(wrap(A @ C)), base, atol=1e-11)
    # Units of columns do not count, not even for the rank.
    units = np.logspace(-140, 140, 8)
    np.testing.assert_allclose(leverage_scores(wrap(A * units)), base, atol=1e-11)


@pytest.mark.parametrize("scale", [1e150, 1e-150])
@pytest.mark.parametrize("method", ["exact", "sketch"])
@pytest.mark.parametrize("kind", ["dense", "sparse", "operator"])
def test_scores_do_not_change_with_the_scale(scale, method, kind):
    A = matrix(400, 8)
    wrap = {"dense": np.asarray, "sparse": scipy.sparse.csr_array, "operator": aslinearoperator}
    base = leverage_scores(wrap[kind](A), method=method, rng=1)
    scaled = leverage_scores(wrap[kind](scale * A), method=method, rng=1)
    np.testing.assert_allclose(scaled, base, rtol=1e-10)


@pytest.mark.parametrize("exponent", [-1030, -1000, -700, 700, 1000, 1021])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("kind", ["dense", "sparse", "operator"])
def test_scores_do_not_change_at_the_ends_of_the_range(kind, is_complex, exponent):
    A = matrix(400, 8, is_complex=is_complex)
    A /= np.max(np.abs(A))
    wrap = {"dense": np.asarray, "sparse": scipy.sparse.csr_array, "operator": aslinearoperator}
    base = leverage_scores(wrap[kind](A))
    scaled = wrap[kind](np.ldexp(A.view(float), exponent).view(A.dtype))
    # Numbers below the smallest normal one have lost up to eight of their bits.
    np.testing.assert_allclose(leverage_scores(scaled), base, atol=1e-10)
    sketched = leverage_scores(scaled, method="sketch", rng=0)
    expected = leverage_scores(wrap[kind](A), method="sketch", rng=0)
    np.testing.assert_allclose(sketched, expected, atol=1e-10)


@pytest.mark.parametrize("exponent", [-135, -100, 100, 126])
@pytest.mark.parametrize("kind", ["dense", "sparse", "operator"])
def test_scores_in_float32_do_not_change_at_the_ends_of_the_range(kind, exponent):
    A = matrix(400, 8)
    A = (A / np.max(np.abs(A))).astype(np.float32)
    wrap = {"dense": np.asarray, "sparse": scipy.sparse.csr_array, "operator": aslinearoperator}
    found = leverage_scores(wrap[kind](np.ldexp(A, exponent)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, leverage_scores(A), atol=1e-3)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_units_of_columns_may_be_at_both_ends_of_the_range(kind):
    A = matrix(300, 5)
    A /= np.max(np.abs(A))
    wrap = scipy.sparse.csr_array if kind == "sparse" else np.asarray
    scaled = np.ldexp(A, np.asarray([-1000, -600, 0, 600, 1023]))
    np.testing.assert_allclose(leverage_scores(wrap(scaled)), leverage_scores(A), atol=1e-12)


def test_ill_conditioned_scores_are_as_good_as_the_condition_allows():
    rng = np.random.default_rng(2)
    Q = np.linalg.qr(rng.standard_normal((300, 10)))[0]
    V = np.linalg.qr(rng.standard_normal((10, 10)))[0]
    for exponent in (4, 8, 11):
        A = (Q * np.logspace(0, -exponent, 10)) @ V
        tolerance = 100 * 10.0**exponent * 2.2e-16
        for wrap in (np.asarray, scipy.sparse.csr_array):
            found = leverage_scores(wrap(A))
            assert np.max(np.abs(found - np.sum(Q**2, axis=1))) < tolerance
            assert abs(found.sum() - 10) < 1e-12


def test_duplicated_and_zero_columns_do_not_count():
    A = matrix(90, 5)
    B = np.concatenate([A, A[:, :2], np.zeros((90, 2))], axis=1)
    for wrap in (np.asarray, scipy.sparse.csr_array, aslinearoperator):
        np.testing.assert_allclose(leverage_scores(wrap(B)), leverage_scores(A), atol=1e-10)
    np.testing.assert_array_equal(leverage_scores(np.zeros((4, 2))), np.zeros(4))
    assert leverage_scores(np.zeros((0, 3))).shape == (0,)
    assert leverage_scores(np.zeros((3, 0))).shape == (3,)


def test_float32_keeps_its_dtype():
    A = matrix(2000, 6).astype(np.float32)
    found = leverage_scores(A)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, hat_diagonal(A.astype(float), 6), atol=1e-5)


def test_exact_scores_are_the_same_in_every_call_and_leave_the_generator_alone():
    A = scipy.sparse.random_array((500, 9), density=0.2, rng=np.random.default_rng(0))
    rng = np.random.default_rng(0)
    first, second = leverage_scores(A, rng=rng), leverage_scores(A)
    assert np.array_equal(first, second)
    assert rng.integers(1000) == np.random.default_rng(0).integers(1000)


@pytest.mark.parametrize("kind", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("d", [8, 200])
def test_sketched_scores_are_within_a_factor_of_four(kind, d):
    # Documented for all scores together with probability 0.99; three seeds, fixed.
    n = 4000
    rng = np.random.default_rng(3)
    A = rng.standard_normal((n, d)) * np.exp(rng.uniform(-3, 3, (n, 1)))
    wrap = {"dense": np.asarray, "sparse": scipy.sparse.csr_array, "operator": aslinearoperator}
    exact = leverage_scores(A)
    for seed in range(3):
        ratio = leverage_scores(wrap[kind](A), method="sketch", rng=seed) / exact
        assert ratio.min() > 0.25
        assert ratio.max() < 4.0


def test_sketched_scores_of_few_rows_are_exact():
    A = matrix(60, 8)
    assert np.array_equal(leverage_scores(A, method="sketch"), leverage_scores(A))


def test_sampling_by_scores_embeds_what_uniform_sampling_misses():
    rng = np.random.default_rng(5)
    n, d, m = 2000, 5, 200
    A = rng.standard_normal((n, d)) * 1e-3
    A[:d] += np.eye(d)  # a few rows decide
    scores = leverage_scores(A)
    Q = np.linalg.qr(A)[0]

    def worst(weights: np.ndarray) -> float:
        draws = [sketch("leverage", m, n, scores=weights, rng=seed) @ Q for seed in range(20)]
        return min(np.linalg.svd(draw, compute_uv=False)[-1] for draw in draws)

    assert worst(scores) > 0.5
    assert worst(np.ones(n)) < 0.1


def test_no_copy_of_a_tall_matrix_is_made():
    A = np.random.default_rng(0).standard_normal((60_000, 32))
    leverage_scores(A)
    tracemalloc.start()
    leverage_scores(A)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000 * 8 * 3 + 20 * 32**2 * 8 + 4 * 4 * 2**20


def test_bad_input_is_refused():
    A = matrix(20, 3)
    with pytest.raises(ValueError, match="method must be one of 'exact', 'sketch'"):
        leverage_scores(A, method="approximate")
    with pytest.raises(ValueError, match="A must be 2-D"):
        leverage_scores(np.ones(5))
    A[4, 1] = np.nan
    with pytest.raises(ValueError, match="A must not contain NaN or infinity, got one in row 4"):
        leverage_scores(A)
    with pytest.raises(ValueError, match="must not contain NaN"):
        leverage_scores(aslinearoperator(A))
    with pytest.raises(TypeError, match="got list"):
        leverage_scores([[1.0, 2.0]])
    with pytest.raises(TypeError, match="rng must be"):
        leverage_scores(matrix(200, 3), method="sketch", rng="seed")
    for method in ("exact", "sketch"):  # of few rows, which are not sketched
        with pytest.raises(TypeError, match="rng must be"):
            leverage_scores(matrix(20, 3), method=method, rng="seed")
