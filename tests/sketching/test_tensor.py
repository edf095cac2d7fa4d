"""Sketches of Kronecker products from their factors, by brute force on small ones."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.sparse

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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("exponents", [(700, 700, -1000), (-700, -700, 1000), (1000, -1050, 0)])
def test_only_the_size_of_the_sketch_of_factors_counts(kind, is_complex, exponents):
    sizes = [3, 4, 2]
    S = tensor_sketch(kind, 5, sizes, rng=0)
    factors = factors_of(sizes, is_complex, 2)
    scaled = [
        np.ldexp(A.view(float), e).view(A.dtype) for A, e in zip(factors, exponents, strict=True)
    ]
    unit = 2.0 ** sum(exponents)
    loose = 1e-5 if min(exponents) < -1022 else TOLERANCE  # bits lost below the normal numbers
    assert distance(S.apply_kron(scaled) / unit, S.apply_kron(factors)) < loose
    assert distance(S.apply_khatri_rao(scaled) / unit, S.apply_khatri_rao(factors)) < loose


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_factors_may_differ_in_size(xp: Backend, kind):
    S = tensor_sketch(kind, 5, [3, 4], rng=0)
    A1, A2 = factors_of([3, 4], False, 2)
    units = np.asarray([2.0**-100, 2.0**100])
    found = S.apply_khatri_rao([xp.asarray(A1 * units), xp.asarray(A2 / units)])
    expected = S.apply_khatri_rao([A1, A2])
    assert distance(xp.to_numpy(found), expected) < xp.tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_sketches_that_overflow_are_refused(xp: Backend, kind):
    S = tensor_sketch(kind, 5, [3, 4], rng=0)
    huge = 2.0**100 if not xp.has_float64 else 2.0**900
    A1, A2 = (xp.asarray(huge * A) for A in factors_of([3, 4], False, 2))
    for call in (S.apply_kron, S.apply_khatri_rao):
        with pytest.raises(ValueError, match="factors must be small enough for their sketch"):
            call([A1, A2])
    # Signs lined up with those of a row, all of whose terms add up.
    row = S.toarray()[np.argmax(np.sum(S.toarray() != 0, axis=1))].reshape(3, 4)
    B = np.sign(row) * 0.9 * float(xp.xp.finfo(A1.dtype).max)
    with pytest.raises(ValueError, match=r"B must be small enough for S @ B\.reshape"):
        S.apply_vec(xp.asarray(B))


def test_tensors_are_sketched_where_sums_overflow_before_the_scale_comes():
    S = tensor_sketch("tensor_srht", 2048, [4, 4], rng=0)
    B = 0.9 * np.sign(data(16, 1)).reshape(4, 4)
    found = S.apply_vec(np.ldexp(B, 1024))
    assert distance(np.ldexp(found, -1000), S.apply_vec(np.ldexp(B, 24))) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_many_factors_in_single_precision(kind):
    # Products of the sketches are of order 2**165, until the last factor comes.
    sizes = [2**10] * 12
    S = tensor_sketch(kind, 8, sizes, rng=0)
    factors = [data(size, 1, seed=t) * 2.0**10 for t, size in enumerate(sizes)]
    factors[-1] *= 2.0**-110
    expected = S.apply_kron(factors)
    found = S.apply_kron([A.astype(np.float32) for A in factors])
    assert found.dtype == np.float32
    assert distance(found, expected) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_may_have_more_entries_than_int64_can_count(kind):
    sizes = [2] * 70
    S = tensor_sketch(kind, 5, sizes, rng=0)
    assert S.shape == (5, 2**70)
    start = 2**69 + 2**40 + 5
    rows = [[int(bit) for bit in f"{r:070b}"] for r in range(start, start + 3)]
    unit = np.eye(2)
    expected = [S.apply_kron([unit[:, [bit]] for bit in row]) for row in rows]
    tile = S.columns(start, start + 3)
    assert distance(tile, np.concatenate(expected, axis=1)) < TOLERANCE
    X = data(3, 2)
    assert distance(S.apply_rows(X, start), tile @ X) < TOLERANCE
    assert SketchOperator.from_state(S.to_state()) == S


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_may_have_as_many_axes_as_arrays_and_no_columns(kind):
    S = tensor_sketch(kind, 5, [1] * 62 + [2, 3], rng=0)
    B = data(6, 1).reshape(S.sizes)
    assert distance(S.apply_vec(B), S.toarray() @ B.reshape(-1)) < TOLERANCE
    S = tensor_sketch(kind, 5, [3, 4, 2], rng=0)
    assert S.apply_vec(np.zeros((3, 4, 2, 0))).shape == (5, 0)
    assert (S @ np.zeros((24, 0))).shape == (5, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_factors_are_any_iterable_of_arrays(kind):
    S = tensor_sketch(kind, 8, [6, 5], rng=2)
    factors = factors_of([6, 5], False, 2)
    for call in (S.apply_kron, S.apply_khatri_rao):
        assert np.array_equal(call(A for A in factors), call(factors))
        with pytest.raises(TypeError, match=r"factors\[1\]: an array is required, got list"):
            call([factors[0], factors[1].tolist()])
        with pytest.raises(TypeError, match=r"factors\[0\] must be a dense array"):
            call([scipy.sparse.eye_array(6), factors[1]])


def test_bad_sizes_and_kinds_are_refused():
    with pytest.raises(TypeError, match="sizes must be a sequence of integers, one for each"):
        tensor_sketch("tensor_srht", 10, 12)
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
