"""Refinement: exact residuals, and the gap squared with every pass."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.sparse

from linalgkit.streaming._refine import Space as SearchSpace
from linalgkit.streaming._refine import normal_pass, refine, refine_basis, search_directions
from tests.streaming.engine_streams import HOST, decaying, exact, on, rotated, sin2, spiked


def perturbed(U: np.ndarray, size: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 3])
    E = rng.standard_normal(U.shape)
    if np.iscomplexobj(U):
        E = E + 1j * rng.standard_normal(U.shape)
    return np.linalg.qr(U + size * E / np.linalg.norm(E, 2))[0]


@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_error_shrinks_by_the_gap_squared_with_every_pass(imaginary, k):
    spectrum = np.ones(60)
    spectrum[:3] = 8.0, 6.0, 5.0
    X = rotated(spiked(3000, spectrum, 1, imaginary=imaginary), 1)
    w, U = exact(X)
    gap = w[k - 1] / w[k]
    V = perturbed(U[:, :k], 0.3, 1)
    errors = [sin2(np.asarray(refine(X, V, passes).eigenvectors), U[:, :k]) for passes in range(4)]
    assert errors[0] == pytest.approx(sin2(V, U[:, :k]), rel=1e-6)
    for before, after in itertools.pairwise(errors):
        assert after <= 1.5 * before / gap**2


def test_residuals_are_those_of_the_returned_pairs():
    X = decaying(400, 30, 2)
    V = perturbed(exact(X)[1][:, :4], 0.5, 2)
    found = refine(X, V, 1, n_components=2)
    lam, W = found.eigenvalues, found.eigenvectors
    direct = np.linalg.norm(X.T @ (X @ W) - W * lam, axis=0) / lam[0]
    np.testing.assert_allclose(found.residuals, direct, rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(W.T @ W, np.eye(2), atol=1e-13)
    for value, residual in zip(lam, found.residuals, strict=True):
        assert np.min(np.abs(exact(X)[0] - value)) <= residual * lam[0] * (1 + 1e-10)
    assert found.n_passes == 2


def test_more_passes_reach_rounding_and_then_stop():
    X = rotated(spiked(2000, np.r_[4.0, np.ones(49)], 3), 3)
    V = np.linalg.qr(np.random.default_rng(3).standard_normal((50, 3)))[0]
    found = refine(X, V, 60, n_components=1)
    w, U = exact(X)
    assert found.n_passes <= 61
    assert sin2(found.eigenvectors, U[:, :1]) < 1e-20
    assert found.eigenvalues[0] == pytest.approx(w[0], rel=1e-13)
    assert found.gap <= w[0] / w[1] * (1 + 1e-10) or found.gap == pytest.approx(
        w[0] / w[1], rel=0.2
    )


def test_the_search_space_stays_orthonormal_through_restarts():
    X = decaying(500, 40, 4)
    S = X.T @ X
    seen = []

    def apply(W):
        seen.append(W)
        return S @ W

    refine_basis(apply, np.linalg.qr(np.random.default_rng(4).standard_normal((40, 2)))[0], 2, 9)
    for W in seen:
        np.testing.assert_allclose(W.T @ W, np.eye(W.shape[1]), atol=1e-12)


def test_search_directions_are_orthogonal_and_empty_at_an_invariant_subspace():
    X = decaying(300, 15, 5)
    S, U = X.T @ X, exact(X)[1]
    K = np.linalg.qr(np.random.default_rng(5).standard_normal((15, 3)))[0]
    W = search_directions(SearchSpace(K, S @ K), 3, xp=HOST)
    np.testing.assert_allclose(K.T @ W, 0, atol=1e-14)
    rank_one = np.outer(U[:, 0], U[:, 0])
    exactly = SearchSpace(U[:, :1], rank_one @ U[:, :1])
    assert search_directions(exactly, 1, xp=HOST).shape[1] == 0


def test_low_rank_and_zero_rows():
    X = np.outer(np.arange(1.0, 51.0), np.r_[1.0, 2.0, np.zeros(6)])
    V = np.linalg.qr(np.random.default_rng(6).standard_normal((8, 2)))[0]
    found = refine(X, V, 3)
    np.testing.assert_allclose(found.eigenvalues, [exact(X)[0][0], 0.0], atol=1e-10)
    zero = refine(np.zeros((20, 8)), V, 2)
    assert np.asarray(zero.eigenvalues).tolist() == [0.0, 0.0]
    assert zero.residuals == [0.0, 0.0]
    assert math.isnan(zero.gap)


@pytest.mark.parametrize("imaginary", [False, True])
def test_every_kind_of_source_gives_the_same(imaginary, tmp_path):
    X = decaying(257, 12, 7, imaginary=imaginary)
    V = perturbed(exact(X)[1][:, :2], 0.5, 7)
    reference = refine(X, V, 2)
    np.save(tmp_path / "rows.npy", X)
    sources = [
        [X[:100], X[100:101], X[101:]],
        np.load(tmp_path / "rows.npy", mmap_mode="r"),
        scipy.sparse.csr_array(X),
        [scipy.sparse.csr_array(X[:50]), scipy.sparse.csr_array(X[50:])],
    ]
    for source in sources:
        found = refine(source, V, 2)
        np.testing.assert_allclose(found.eigenvalues, reference.eigenvalues, rtol=1e-12)
        assert sin2(found.eigenvectors, reference.eigenvectors) < 1e-20


def test_runs_on_every_library(xp):
    X = decaying(100, 10, 8)
    V = perturbed(exact(X)[1][:, :2], 0.5, 8)
    dtype = "float64" if xp.has_float64 else "float32"
    found = refine(on(xp, X, dtype), on(xp, V, dtype), 2)
    W = np.asarray(xp.to_numpy(found.eigenvectors)).astype(float)
    assert sin2(W, refine(X, V, 2).eigenvectors) < (1e-24 if xp.has_float64 else 1e-9)


def test_float32_rows_are_refined_with_float64_vectors():
    X = rotated(spiked(2000, np.r_[9.0, np.ones(19)], 9), 9).astype(np.float32)
    V = perturbed(exact(X.astype(float))[1][:, :1], 0.3, 9).astype(np.float32)
    found = refine(X, V, 8)
    assert sin2(found.eigenvectors, exact(X.astype(float))[1][:, :1]) < 1e-11


def test_units_of_a_power_of_two_change_nothing_but_the_eigenvalues():
    X = decaying(200, 10, 10)
    V = perturbed(exact(X)[1][:, :2], 0.5, 10)
    plain, scaled = refine(X, V, 1), refine(X * 2.0**600, V, 1, exponent=600)
    np.testing.assert_array_equal(plain.eigenvalues, scaled.eigenvalues)
    np.testing.assert_array_equal(plain.eigenvectors, scaled.eigenvectors)


def test_a_source_that_is_used_up_by_one_pass_is_refused():
    X = decaying(50, 5, 11)
    with pytest.raises(TypeError, match=r"source must be readable more than once.*list of blocks"):
        refine(iter([X]), np.eye(5)[:, :1])
    with pytest.raises(TypeError, match="generator"):
        refine((X for _ in range(2)), np.eye(5)[:, :1])


def test_bad_counts_are_refused():
    X = decaying(50, 5, 12)
    with pytest.raises(ValueError, match="n_passes must be at least 0"):
        refine(X, np.eye(5)[:, :1], -1)
    with pytest.raises(ValueError, match="n_components must be between 1 and 2"):
        refine(X, np.eye(5)[:, :2], 1, n_components=3)


def test_neither_the_source_nor_the_start_is_written_to():
    X = decaying(50, 6, 13)
    V = np.eye(6)[:, :2]
    X.flags.writeable = V.flags.writeable = False
    refine(X, V, 2)
    np.testing.assert_allclose(normal_pass(X, V), X.T @ X[:, :2], rtol=1e-12)
