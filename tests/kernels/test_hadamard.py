"""Walsh-Hadamard kernels: every form against SciPy's Hadamard matrix, over dtypes and layouts."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels import fwht, hadamard, hadamard_blocks, hadamard_pool, hadamard_rows
from linalgkit._kernels.numba_forms import hadamard as numba_form

from .test_dense import DTYPES, LAYOUTS, Draw, data

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in fwht.forms() if form != "cupy")


def unit(dtype: str, N: int) -> float:
    """The rounding error of sums of N numbers, in units of the sum of their moduli."""
    return 4 * np.finfo(dtype).eps * (N.bit_length() + 1)


def transformed(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``H Z`` from SciPy's matrix in extended precision, and the sums of moduli beside it."""
    H = scipy.linalg.hadamard(Z.shape[0]).astype(np.longdouble)
    wide = Z.astype(np.clongdouble if Z.dtype.kind == "c" else np.longdouble)
    return H @ wide, np.abs(wide).sum(axis=0)


def radix_2(X: np.ndarray) -> np.ndarray:
    Y, h = X.copy(), 1
    while h < X.shape[0]:
        pairs = Y.reshape(-1, 2, h, X.shape[1])
        Y = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        h *= 2
    return Y.reshape(X.shape)


def inner(X: np.ndarray, order: np.ndarray | None, signs: np.ndarray, N: int) -> np.ndarray:
    """The matrix Z that is transformed."""
    Z = np.zeros((N, X.shape[1]), dtype=X.dtype)
    Z[np.arange(X.shape[0]) if order is None else order] = signs[:, None].astype(X.dtype) * X
    return Z


def case(rng: Draw, dtype: str, n: int, N: int, d: int, *, ordered: bool) -> tuple[Any, ...]:
    order = rng.permutation(N)[:n] if ordered else None
    return data(rng, dtype, n, d), order, rng.choice([-1, 1], n).astype(np.int8), N


@pytest.fixture(params=["usual", "small cache", "small panels"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sizes at which both stages and several panels occur in small matrices."""
    if request.param != "usual":
        monkeypatch.setattr(numba_form, "_BLOCK_BYTES", 1 << 10)
    if request.param == "small panels":
        monkeypatch.setattr(numba_form, "_ROW_BYTES", 64)
        monkeypatch.setattr(hadamard, "PANEL_BYTES", 64)
    return str(request.param)


# ---------------------------------------------------------------------------------- all rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("N", "d"), [(1, 1), (1, 5), (2, 3), (4, 1), (8, 70), (64, 9), (512, 2), (2048, 33)]
)
@pytest.mark.usefixtures("memory")
def test_transform_is_the_product_with_the_hadamard_matrix(
    rng: Draw, form: str, dtype: str, N: int, d: int
) -> None:
    X = data(rng, dtype, N, d)
    Y = fwht.forms()[form](NP, X)
    product, size = transformed(X)
    assert Y.dtype == X.dtype
    assert not np.shares_memory(X, Y)
    assert np.all(np.abs(Y - product) <= unit(dtype, N) * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "d"), [(1, 2), (16, 8), (32, 3), (1 << 13, 5), (1 << 18, 1)])
@pytest.mark.usefixtures("memory")
def test_fused_transform_has_the_bits_of_radix_2(rng: Draw, dtype: str, N: int, d: int) -> None:
    X = data(rng, dtype, N, d)
    assert np.array_equal(fwht.forms()["numba"](NP, X), radix_2(X))


def test_transforming_twice_multiplies_by_the_number_of_rows(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        X = rng.integers(-9, 9, (256, 7)).astype(dtype)
        Y = fwht(xp.xp, fwht(xp.xp, xp.asarray(X, dtype)))
        assert core_array.device(Y) == xp.device
        assert np.array_equal(xp.to_numpy(Y), 256 * X)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_memory_layout(rng: Draw, dtype: str, layout: str) -> None:
    X = LAYOUTS[layout](data(rng, dtype, 46, 50))[:16]
    native = np.array(X, dtype=dtype, order="C")
    Y = fwht(NP, X)
    np.testing.assert_allclose(Y, radix_2(native), rtol=0, atol=1e2 * np.finfo(dtype).eps)
    signs, rows = rng.choice([-1.0, 1.0], 16), np.array([3, 0, 3])
    found = hadamard_rows(NP, X, np.arange(16)[::-1], signs, 32, rows)
    Z = inner(native, np.arange(16)[::-1], signs, 32)
    np.testing.assert_allclose(found, radix_2(Z)[rows], rtol=0, atol=1e2 * np.finfo(dtype).eps)


def test_fused_forms_take_every_native_layout_and_no_other(rng: Draw) -> None:
    X = data(rng, "float64", 16, 8)
    numba = fwht.forms()["numba"]
    for Y in (X, np.asfortranarray(X), X[::2, ::-1]):
        assert fwht.select(NP, Y) is numba
    for Y in (X.astype(">f8"), X.astype(np.float16), X[:, 0]):
        assert fwht.select(NP, Y) is fwht.forms()["portable"]


def test_read_only_memory_maps(rng: Draw, tmp_path: Path) -> None:
    X = data(rng, "float64", 64, 20)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = fwht(NP, mapped)
    assert type(found) is np.ndarray
    assert np.array_equal(found, fwht(NP, X))
    rows = None, np.ones(64), 64, np.arange(5)
    assert np.array_equal(hadamard_rows(NP, mapped, *rows), hadamard_rows(NP, X, *rows))


# --------------------------------------------------------------------------------- some rows


@pytest.mark.parametrize("few", [0, 8], ids=["two stages", "block by block"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ordered", [False, True], ids=["in place", "ordered"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "N", "d"), [(1, 1, 3), (1, 8, 1), (64, 64, 9), (300, 512, 21)])
@pytest.mark.usefixtures("memory")
def test_rows_and_pools_of_the_transform(
    rng: Draw, monkeypatch: pytest.MonkeyPatch, form: str, dtype: str, ordered: bool, few: int,
    n: int, N: int, d: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(numba_form, "_FEW", few)
    X, *how = case(rng, dtype, n, N, d, ordered=ordered)
    product, size = transformed(inner(X, *how))
    rows = rng.integers(0, N, 19)
    found = hadamard_rows.forms()[form](NP, X, *how, rows)
    assert found.dtype == X.dtype
    assert np.all(np.abs(found - product[rows]) <= unit(dtype, N) * size)

    weights, ends = rng.standard_normal(19), np.array([0, 4, 4, 5, 18, 19])
    pooled = hadamard_pool.forms()[form](NP, X, *how, rows, weights, ends)
    edges = np.array([0, *ends])
    bound = unit(dtype, 64 * N) * np.abs(weights).sum() * size
    assert pooled.dtype == X.dtype
    assert pooled.shape == (6, d)
    for i in range(6):
        part = slice(edges[i], edges[i + 1])
        expected = weights[part] @ product[rows[part]]
        assert np.all(np.abs(pooled[i] - expected) <= bound)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ordered", [False, True], ids=["in place", "ordered"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "block"), [(64, 16), (50, 16), (40, 64), (3, 1)])
@pytest.mark.usefixtures("memory")
def test_blocks_are_sums_of_separate_transforms(
    rng: Draw, form: str, dtype: str, ordered: bool, n: int, block: int
) -> None:
    blocks, m = -(-n // block), 7
    X, signs = data(rng, dtype, n, 21), rng.choice([-1, 1], n).astype(np.int8)
    orders = [rng.permutation(block)[: min(block, n - k * block)] for k in range(blocks)]
    places, weights = rng.integers(0, block, (blocks, m)), rng.standard_normal((blocks, m))
    order = np.concatenate(orders) if ordered else None
    found = hadamard_blocks.forms()[form](NP, X, order, signs, block, places, weights)
    expected, bound = 0.0, 0.0
    for k in range(blocks):
        part = slice(k * block, (k + 1) * block)
        Z = inner(X[part], orders[k] if ordered else None, signs[part], block)
        product, size = transformed(Z)
        expected = expected + weights[k][:, None] * product[places[k]]
        bound = bound + np.abs(weights[k])[:, None] * size
    assert found.dtype == X.dtype
    assert np.all(np.abs(found - expected) <= unit(dtype, 64 * n) * bound)


def test_every_library_keeps_device_and_dtype(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        X, order, signs, N = case(rng, dtype, 50, 64, 35, ordered=True)
        rows, ends = rng.integers(0, N, 12), np.array([5, 5, 12])
        weights = rng.standard_normal(12)
        how = xp.asarray(X, dtype), xp.asarray(order), xp.asarray(signs), N
        found = (
            hadamard_rows(xp.xp, *how, xp.asarray(rows)),
            hadamard_pool(xp.xp, *how, *map(xp.asarray, (rows, weights, ends))),
            hadamard_blocks(
                xp.xp, how[0], xp.asarray(np.arange(50) % 8), how[2], 8,
                *map(xp.asarray, (np.tile(np.arange(6), (7, 1)), np.ones((7, 6)))),
            ),
        )  # fmt: skip
        product = transformed(inner(X, order, signs, N))[0]
        starts = np.array([0, 5, 5])
        pooled = np.stack(
            [weights[a:b] @ product[rows[a:b]] for a, b in zip(starts, ends, strict=True)]
        )
        Z = np.zeros((56, 35), dtype=X.dtype)
        Z[:50] = signs[:, None] * X
        summed = sum(scipy.linalg.hadamard(8)[:6] @ Z[k : k + 8] for k in range(0, 56, 8))
        for part, expected in zip(found, (product[rows], pooled, summed), strict=True):
            assert part.dtype == how[0].dtype
            assert core_array.device(part) == xp.device
            scale = 300 * np.finfo(dtype).eps * np.abs(product).max()
            np.testing.assert_allclose(
                xp.to_numpy(part), expected.astype(dtype), rtol=0, atol=scale
            )


def test_nothing_to_do(xp: Any) -> None:
    none, empty = np.zeros((0,), dtype=np.int64), np.zeros((0, 3))
    X, ones = xp.asarray(np.ones((4, 3))), xp.asarray(np.ones(4))
    no_rows, no_signs = xp.asarray(none), xp.asarray(np.zeros(0))
    assert hadamard_rows(xp.xp, X, None, ones, 4, no_rows).shape == (0, 3)
    padding = hadamard_rows(xp.xp, xp.asarray(empty), None, no_signs, 4, xp.asarray(none + 1))
    assert padding.shape == (0, 3)
    zeros = hadamard_rows(xp.xp, xp.asarray(empty), None, no_signs, 4, xp.asarray(np.arange(2)))
    assert not xp.to_numpy(zeros).any()
    assert zeros.shape == (2, 3)
    assert hadamard_rows(xp.xp, X[:, :0], None, ones, 4, xp.asarray(np.arange(2))).shape == (2, 0)
    nothing = hadamard_pool(
        xp.xp, X, None, ones, 4, no_rows, no_signs, xp.asarray(np.zeros(2, int))
    )
    assert not xp.to_numpy(nothing).any()
    assert fwht(xp.xp, X[:, :0]).shape == (4, 0)


def test_arguments_are_not_written(rng: Draw) -> None:
    arguments = [*case(rng, "complex128", 50, 64, 9, ordered=True), rng.integers(0, 64, 9)]
    arguments[2] = arguments[2].astype(float)
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            argument.flags.writeable = False
    hadamard_rows(NP, *arguments)
    fwht(NP, arguments[0][:32])
    ends = np.array([4, 9])
    hadamard_pool(NP, *arguments, np.broadcast_to(1.0, (9,)), ends)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_on_every_run_and_from_every_thread(rng: Draw, dtype: str) -> None:
    how = *case(rng, dtype, 900, 1024, 70, ordered=True), rng.integers(0, 1024, 40)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: hadamard_rows(NP, *how), range(12)))
        wholes = list(pool.map(lambda _: fwht(NP, how[0][:512]), range(12)))
    assert all(np.array_equal(run, runs[0]) for run in runs)
    assert all(np.array_equal(whole, wholes[0]) for whole in wholes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exponent", [498, -498])
def test_scaling_by_a_power_of_two_changes_no_bit(rng: Draw, form: str, exponent: int) -> None:
    X, *how = case(rng, "complex128", 200, 256, 12, ordered=True)
    factor, rows = 2.0**exponent, rng.integers(0, 256, 9)
    small = hadamard_rows.forms()[form](NP, X, *how, rows)
    assert np.array_equal(hadamard_rows.forms()[form](NP, X * factor, *how, rows), small * factor)
    assert np.array_equal(
        fwht.forms()[form](NP, X[:128] * factor), fwht.forms()[form](NP, X[:128]) * factor
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_column_does_not_depend_on_its_neighbours(rng: Draw, dtype: str) -> None:
    X, *how = case(rng, dtype, 200, 256, 300, ordered=True)
    rows = rng.integers(0, 256, 9)
    whole = hadamard_rows(NP, X, *how, rows)
    for part in (slice(0, 1), slice(5, 12), slice(250, 300)):
        assert np.array_equal(hadamard_rows(NP, X[:, part], *how, rows), whole[:, part])


@pytest.mark.parametrize("form", FORMS)
def test_few_rows_take_no_copy_of_the_matrix(rng: Draw, form: str) -> None:
    N, d = 1 << 13, 512
    X, *how = case(rng, "float64", N, N, d, ordered=True)
    rows = rng.integers(0, N, 64)
    call = hadamard_rows.forms()[form]
    call(NP, X, *how, rows)
    tracemalloc.start()
    try:
        call(NP, X, *how, rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    panel = N * 32 * 8
    assert peak <= (5 if form == "portable" else 1) * panel
    assert panel * 16 == X.nbytes


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_forms_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    xp = core_array.array_namespace(cupy.ones(1))
    X, order, signs, N = case(rng, dtype, 3000, 4096, 70, ordered=True)
    rows, weights, ends = rng.integers(0, N, 50), rng.standard_normal(50), np.array([9, 9, 50])
    how = cupy.asarray(X), cupy.asarray(order), cupy.asarray(signs), N
    extra = (*map(cupy.asarray, (rows, weights, ends)),)
    portable = {k: _kernels.registered()[k].forms()["portable"] for k in _kernels.registered()}
    scale = 300 * np.finfo(dtype).eps * np.sqrt(N) * 50
    for name, found in {
        "hadamard_rows": hadamard_rows.forms()["cupy"](xp, *how, extra[0]),
        "hadamard_pool": hadamard_pool.forms()["cupy"](xp, *how, *extra),
    }.items():
        rest = (rows,) if name == "hadamard_rows" else (rows, weights, ends)
        expected = portable[name](NP, X, order, signs, N, *rest)
        np.testing.assert_allclose(found.get(), expected, rtol=0, atol=scale)
    Y = fwht.forms()["cupy"](xp, how[0][:2048]).get()
    np.testing.assert_allclose(Y, radix_2(X[:2048]), rtol=0, atol=scale)
