"""Sketches of Kronecker products from their factors, by brute force on small ones."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from linalgkit.sketching import SketchOperator, tensor_sketch
from tests.conftest import Backend
from tests.sketching.kinds import data, distance

KINDS = ("tensor_srht", "tensorsketch")
SIZES = ([5], [8], [6, 5], [3, 4, 5], [2, 1, 3, 2])
TOLERANCE = 1e-13


def kron(factors: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.kron, factors)


def factors_of(sizes: list[int], is_complex: bool, width: int | None = None) -> list[np.ndarray]:
    return [
        data(size, (2 + t) if width is None else width, is_complex, seed=t)
        for t, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("m", [1, 7, 16])
def test_products_of_factors_agree_with_the_entries(kind, sizes, is_complex, m):
    S = tensor_sketch(kind, m, sizes, rng=4)
    T = S.toarray()
    factors = factors_of(sizes, is_complex)
    assert distance(S.apply_kron(factors), T @ kron(factors)) < TOLERANCE
    same = factors_of(sizes, is_complex, 3)
    columns = [kron([A[:, [j]] for A in same]) for j in range(3)]
    assert distance(S.apply_khatri_rao(same), T @ np.concatenate(columns, axis=1)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_tensors_are_vectors_in_c_order(kind, sizes, is_complex):
    S = tensor_sketch(kind, 9, sizes, rng=4)
    T = S.toarray()
    B = data(int(np.prod(sizes)), 2, is_complex)
    assert distance(S.apply_vec(B.reshape(*sizes, 2)), T @ B) < TOLERANCE
    assert distance(S.apply_vec(B[:, 0].reshape(sizes)), T @ B[:, 0]) < TOLERANCE
    assert distance(S @ B, T @ B) < TOLERANCE
    Y = data(9, 2, is_complex)
    assert distance(S.adjoint() @ Y, T.T @ Y) < TOLERANCE
    half = B.shape[0] // 2
    total = S.apply_rows(B[:half], 0) + S.apply_rows(B[half:], half)
    assert distance(total, T @ B) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_kronecker_problems_keep_their_shape(kind):
    # S (A1 kron A2) x = S vec(A1 X A2^T) for x = vec(X).
    S = tensor_sketch(kind, 12, [6, 7], rng=0)
    A1, A2 = data(6, 2), data(7, 3, seed=1)
    X = data(2, 3, seed=2)
    assert distance(S.apply_kron([A1, A2]) @ X.reshape(-1), S.apply_vec(A1 @ X @ A2.T)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_every_library_gives_the_same_sketch(xp: Backend, kind, is_complex):
    sizes = [6, 5]
    S = tensor_sketch(kind, 8, sizes, rng=2)
    T = S.toarray()
    factors = factors_of(sizes, is_complex)
    arrays = [xp.asarray(A) for A in factors]
    found = S.apply_kron(arrays)
    assert found.dtype == arrays[0].dtype
    assert distance(xp.to_numpy(found), T @ kron(factors)) < xp.tolerance
    B = data(30, 1, is_complex)
    found = S.apply_vec(xp.asarray(B.reshape(6, 5)))
    assert distance(xp.to_numpy(found), T @ B[:, 0]) < xp.tolerance
    found = S.apply_khatri_rao([A[:, :2] for A in arrays])
    rao = np.stack([np.kron(factors[0][:, j], factors[1][:, j]) for j in range(2)], axis=1)
    assert distance(xp.to_numpy(found), T @ rao) < xp.tolerance
    tile = S.columns(3, 9, like=arrays[0])
    assert distance(xp.to_numpy(tile).real, T[:, 3:9]) < xp.tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_factors_may_differ_in_kind(kind):
    S = tensor_sketch(kind, 8, [6, 5], rng=2)
    A1, A2 = np.arange(12).reshape(6, 2), data(5, 2, is_complex=True)
    expected = S.toarray() @ np.kron(A1, A2)
    assert distance(S.apply_kron([A1, A2]), expected) < TOLERANCE
    single = S.apply_kron([data(6, 2).astype(np.float32), data(5, 2).astype(np.float32)])
    assert single.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e75, 1e-75])
def test_sketches_scale_with_each_factor(kind, scale):
    S = tensor_sketch(kind, 8, [6, 5], rng=2)
    factors = factors_of([6, 5], False)
    scaled = S.apply_kron([scale * A for A in factors]) / scale**2
    assert distance(scaled, S.apply_kron(factors)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_sketches_are_saved_and_compared(kind, tmp_path):
    S = tensor_sketch(kind, 8, [6, 5], rng=2)
    S.save(tmp_path / "s.npz")
    other = SketchOperator.load(tmp_path / "s.npz")
    assert other == S
    assert hash(other) == hash(S)
    assert other.sizes == (6, 5)
    assert np.array_equal(other.toarray(), S.toarray())
    assert tensor_sketch(kind, 8, [6, 5], rng=3) != S


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused(xp: Backend, kind):
    S = tensor_sketch(kind, 8, [6, 5], rng=2)
    A1, A2 = (xp.asarray(A) for A in factors_of([6, 5], False))
    with pytest.raises(ValueError, match=r"factors must be 2 matrices for sizes \(6, 5\), got 1"):
        S.apply_kron([A1])
    with pytest.raises(ValueError, match=r"factors\[1\] must be of shape \(5, d\)"):
        S.apply_kron([A1, A1])
    with pytest.raises(ValueError, match="factors must have one number of columns"):
        S.apply_khatri_rao([A1, A2])
    with pytest.raises(ValueError, match=r"B must be of shape \(6, 5\)"):
        S.apply_vec(A1)
    bad = xp.asarray(np.where(np.arange(12).reshape(6, 2) == 7, np.nan, 1.0))
    with pytest.raises(ValueError, match=r"factors\[0\] must not contain NaN"):
        S.apply_kron([bad, A2])
    with pytest.raises(ValueError, match="B must not contain NaN"):
        S.apply_vec(xp.asarray(np.full((6, 5), np.inf)))


def test_bad_sizes_and_kinds_are_refused():
    with pytest.raises(ValueError, match="kind must be one of 'tensor_srht', 'tensorsketch'"):
        tensor_sketch("tensor_srft", 5, [2, 3])
    with pytest.raises(ValueError, match="m must be at least 1"):
        tensor_sketch("tensor_srht", 0, [2, 3])
    with pytest.raises(ValueError, match="at least one factor"):
        tensor_sketch("tensor_srht", 5, [])
    with pytest.raises(ValueError, match=r"sizes\[1\] must be at least 1"):
        tensor_sketch("tensor_srht", 5, [2, 0])
    with pytest.raises(TypeError, match=r"sizes\[0\] must be an integer"):
        tensor_sketch("tensor_srht", 5, [2.0])
    with pytest.raises(TypeError, match="rng must be"):
        tensor_sketch("tensor_srht", 5, [2], rng="seed")
