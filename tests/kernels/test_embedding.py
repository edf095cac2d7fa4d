"""Sparse sketches: every form against a dense product in extended precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels import embedding, sparse_embed

from .test_dense import DTYPES, LAYOUTS, Draw, data

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in sparse_embed.forms() if form != "cupy")


def check(X: np.ndarray, positions: np.ndarray, signs: np.ndarray, m: int, Y: np.ndarray) -> None:
    """Hold the result to the rounding bounds of sums of its lengths."""
    b = X.shape[0]
    S = np.zeros((m, b), dtype=np.longdouble)
    sizes = np.zeros_like(S)
    np.add.at(S, (positions, np.arange(b)[:, None]), signs)
    np.add.at(sizes, (positions, np.arange(b)[:, None]), np.abs(signs))
    wide = X.astype(np.clongdouble if X.dtype.kind == "c" else np.longdouble)
    bound = 4 * (positions.size + 2) * np.finfo(X.dtype).eps * (sizes @ np.abs(wide))
    assert (Y.shape, Y.dtype) == ((m, X.shape[1]), X.dtype)
    assert np.all(np.abs(Y - S @ wide) <= bound)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("b", "d", "s", "m"),
    [
        (1, 1, 1, 1),
        (40, 6, 3, 11),
        (100, 8, 8, 64),
        (60, 65, 2, 50),
        (30, 300, 8, 40),
        (57, 7, 4, 3),
    ],
)
def test_result_is_the_product_with_the_sparse_matrix(
    rng: Draw, form: str, dtype: str, b: int, d: int, s: int, m: int
) -> None:
    X = data(rng, dtype, b, d)
    positions, weights = rng.integers(0, m, (b, s)), rng.standard_normal((b, s))
    check(X, positions, weights, m, sparse_embed.forms()[form](NP, X, positions, weights, m))
    signs = rng.choice([-1, 1], (b, s)).astype(np.int8)
    found = sparse_embed.forms()[form](NP, X, positions.astype(np.int32), signs, m)
    check(X, positions, signs, m, found)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_may_meet_one_place_several_times(rng: Draw, form: str) -> None:
    X = rng.integers(-9, 9, (20, 9)).astype(float)
    positions, signs = np.full((20, 3), 2), np.array([1, 1, -1]) * np.ones((20, 1))
    Y = sparse_embed.forms()[form](NP, X, positions, signs, 4)
    assert np.array_equal(Y[2], X.sum(axis=0))
    assert not Y[[0, 1, 3]].any()


def test_gathering_in_pieces_changes_nothing(rng: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    X, positions = data(rng, "float64", 200, 5), rng.integers(0, 7, (200, 3))
    signs = rng.standard_normal((200, 3))
    monkeypatch.setattr(embedding, "_GATHERED_BYTES", 1 << 9)
    check(X, positions, signs, 7, sparse_embed.forms()["portable"](NP, X, positions, signs, 7))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_memory_layout(rng: Draw, dtype: str, layout: str) -> None:
    X = LAYOUTS[layout](data(rng, dtype, 21, 50))
    positions = np.asfortranarray(rng.integers(0, 5, (X.shape[0], 4)))
    signs = rng.standard_normal((4, X.shape[0])).T
    positions.flags.writeable = signs.flags.writeable = False
    Y = sparse_embed(NP, X, positions, signs, 5)
    check(np.array(X, dtype=dtype, order="C"), positions, signs, 5, Y.astype(dtype))


def test_every_library_keeps_device_and_dtype(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        X, positions = data(rng, dtype, 60, 9), rng.integers(0, 11, (60, 4))
        signs = rng.choice([-1.0, 1.0], (60, 4))
        given = xp.asarray(X, dtype), xp.asarray(positions), xp.asarray(signs)
        Y = sparse_embed(xp.xp, *given, 11)
        assert Y.dtype == given[0].dtype
        assert core_array.device(Y) == xp.device
        check(X, positions, signs, 11, xp.to_numpy(Y))


@pytest.mark.parametrize(
    ("b", "d", "s", "m"), [(0, 3, 2, 4), (3, 0, 2, 4), (3, 2, 0, 4), (0, 2, 1, 0)]
)
def test_nothing_to_add(xp: Any, b: int, d: int, s: int, m: int) -> None:
    X, positions = xp.asarray(np.ones((b, d))), xp.asarray(np.zeros((b, s), dtype=np.int64))
    Y = sparse_embed(xp.xp, X, positions, xp.asarray(np.ones((b, s))), m)
    assert Y.shape == (m, d)
    assert not xp.to_numpy(Y).any()


@pytest.mark.parametrize("form", FORMS)
def test_a_bad_row_spoils_only_the_places_it_meets(rng: Draw, form: str) -> None:
    X, positions = data(rng, "float64", 20, 9), rng.permuted(np.tile(np.arange(6), (20, 1)), axis=1)
    X[0, 3] = np.nan
    Y = sparse_embed.forms()[form](NP, X, positions[:, :2], np.ones((20, 2)), 6)
    spoilt = np.isin(np.arange(6), positions[0, :2])
    assert np.array_equal(np.isnan(Y[:, 3]), spoilt)
    assert np.isfinite(np.delete(Y, 3, axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_column_does_not_depend_on_its_neighbours(rng: Draw, dtype: str) -> None:
    X, positions = data(rng, dtype, 90, 300), rng.integers(0, 13, (90, 8))
    signs = rng.standard_normal((90, 8))
    whole = sparse_embed(NP, X, positions, signs, 13)
    for part in (slice(0, 1), slice(5, 12), slice(17, 150), slice(290, 300)):
        assert np.array_equal(sparse_embed(NP, X[:, part], positions, signs, 13), whole[:, part])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exponent", [498, -498])
def test_scaling_by_a_power_of_two_changes_no_bit(rng: Draw, form: str, exponent: int) -> None:
    X, positions = data(rng, "complex128", 50, 12), rng.integers(0, 7, (50, 3))
    factor, signs = 2.0**exponent, rng.choice([-1, 1], (50, 3))
    call = sparse_embed.forms()[form]
    assert np.array_equal(
        call(NP, X * factor, positions, signs, 7), call(NP, X, positions, signs, 7) * factor
    )


def test_same_bits_from_every_thread(rng: Draw) -> None:
    X, positions = data(rng, "complex64", 900, 70), rng.integers(0, 40, (900, 8))
    signs = rng.choice([-1, 1], (900, 8))
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: sparse_embed(NP, X, positions, signs, 40), range(12)))
    assert all(np.array_equal(run, runs[0]) for run in runs)


def test_odd_kinds_take_the_portable_form(rng: Draw) -> None:
    X, positions, signs = data(rng, "float64", 6, 4), np.zeros((6, 2), dtype=int), np.ones((6, 2))
    portable = sparse_embed.forms()["portable"]
    assert sparse_embed.select(NP, X.astype(">f8"), positions, signs, 3) is portable
    assert sparse_embed.select(NP, X, positions, signs, 2**31) is portable
    assert sparse_embed.select(NP, X.T, positions, signs, 3) is sparse_embed.forms()["numba"]


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    X, positions = data(rng, dtype, 3000, 70), rng.integers(0, 40, (3000, 8))
    signs = rng.choice([-1, 1], (3000, 8)).astype(np.int8)
    xp = core_array.array_namespace(cupy.ones(1))
    arrays = cupy.asarray(X), cupy.asarray(positions), cupy.asarray(signs)
    found = sparse_embed.forms()["cupy"](xp, *arrays, 40)
    again = sparse_embed.forms()["cupy"](xp, *arrays, 40)
    check(X, positions, signs, 40, found.get())
    assert bool((found == again).all())
