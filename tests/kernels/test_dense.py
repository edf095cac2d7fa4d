"""Dense kernels: every form against extended precision, over dtypes, layouts and scales."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels import dense, normal_product, normal_product_norms, row_norms_squared

NP = core_array.numpy_namespace()
DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = [(1, 1, 1), (3, 1, 2), (4, 7, 1), (5, 64, 2), (9, 65, 3), (33, 300, 4), (66, 2100, 2)]
FORMS = tuple(form for form in normal_product_norms.forms() if form != "cupy")

Draw = np.random.Generator


def data(rng: Draw, dtype: str, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)


def check(X: np.ndarray, Z: np.ndarray, found: tuple[Any, ...]) -> None:
    """Hold P, D and norms to the rounding bounds of sums of their lengths."""
    P, D, norms = found
    Xw, Zw = wide(X), wide(Z)
    b, d = X.shape
    unit = np.finfo(X.dtype).eps
    product = Xw @ Zw
    size = np.abs(Xw) @ np.abs(Zw)
    assert P.dtype == X.dtype
    assert D.dtype == (np.complex128 if X.dtype.kind == "c" else np.float64)
    assert norms.dtype == np.float64
    assert (P.shape, D.shape, norms.shape) == ((b, Z.shape[1]), (d, Z.shape[1]), (b,))
    assert np.all(np.abs(P - product) <= 4 * (d + 2) * unit * size)
    bound = 4 * (b + d + 4) * unit * (np.abs(Xw).T @ size)
    assert np.all(np.abs(D - Xw.conj().T @ product) <= bound)
    squares = (np.abs(Xw) ** 2).sum(axis=1)
    assert np.all(np.abs(norms - squares) <= 4 * (d + 2) * np.finfo(float).eps * squares)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "d", "q"), SHAPES)
def test_products_within_rounding_bounds(
    rng: Draw, form: str, dtype: str, b: int, d: int, q: int
) -> None:
    X, Z = data(rng, dtype, b, d), data(rng, dtype, d, q)
    found = normal_product_norms.forms()[form](NP, X, Z)
    check(X, Z, found)
    P, D = normal_product.forms()[form](NP, X, Z)
    norms = row_norms_squared.forms()[form](NP, X)
    check(X, Z, (P, D, norms))


def test_the_reference_separates_conjugates(rng: Draw) -> None:
    X, Z = data(rng, "complex128", 9, 12), data(rng, "complex128", 12, 2)
    P, _, norms = normal_product_norms(NP, X, Z)
    with pytest.raises(AssertionError):
        check(X, Z, (P, X.T @ P, norms))


def test_fused_single_precision_sums_are_taken_in_double(rng: Draw) -> None:
    X, Z = data(rng, "float32", 400, 300), data(rng, "float32", 300, 2)
    D = normal_product.forms()["numba"](NP, X, Z)[1]
    exact = wide(X).T @ (wide(X) @ wide(Z))
    assert np.abs(D - exact).max() <= 1e-12 * np.abs(exact).max()


def test_every_library_keeps_namespace_device_and_dtype(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        X, Z = data(rng, dtype, 40, 30), data(rng, dtype, 30, 2)
        Y = xp.asarray(X, dtype)
        found = normal_product_norms(xp.xp, Y, xp.asarray(Z, dtype))
        assert all(core_array.device(part) == xp.device for part in found)
        real, kind = xp.float, core_array.widest_dtype(xp.xp, xp.device, Y.dtype)
        assert [part.dtype for part in found] == [Y.dtype, kind, real]
        product = X @ Z
        expected = product, X.conj().T @ product, (np.abs(X) ** 2).sum(axis=1)
        for part, reference in zip(found, expected, strict=True):
            scale = 300 * np.finfo(dtype).eps * np.abs(reference).max()
            np.testing.assert_allclose(xp.to_numpy(part), reference, rtol=0, atol=scale)
        norms = xp.to_numpy(row_norms_squared(xp.xp, Y))
        np.testing.assert_allclose(norms, expected[2], rtol=300 * np.finfo(dtype).eps)


def test_empty_blocks_and_many_columns(xp: Any, rng: Draw) -> None:
    for b, q in ((0, 2), (0, 6), (5, 6)):
        X, Z = data(rng, "float32", b, 3), data(rng, "float32", 3, q)
        P, D, norms = normal_product_norms(xp.xp, xp.asarray(X), xp.asarray(Z))
        assert (P.shape, D.shape, norms.shape) == ((b, q), (3, q), (b,))
        np.testing.assert_allclose(xp.to_numpy(D), X.T @ (X @ Z), rtol=0, atol=1e-4)
        assert row_norms_squared(xp.xp, xp.asarray(X)).shape == (b,)


LAYOUTS = {
    "every other row": lambda X: X[::2, :],
    "rows backwards": lambda X: X[::-1, :],
    "every third row backwards": lambda X: X[::-3, :],
    "a slice of columns": lambda X: X[:, 5:37],
    "one row repeated": lambda X: np.broadcast_to(X[4:5, :], X.shape),
    "column order": np.asfortranarray,
    "every other column": lambda X: X[:, ::2],
    "one column": lambda X: X[:, 3:4],
    "read-only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
    "unaligned": lambda X: np.frombuffer(b"x" + X.tobytes(), X.dtype, offset=1).reshape(X.shape),
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_memory_layout(rng: Draw, dtype: str, layout: str) -> None:
    X = LAYOUTS[layout](data(rng, dtype, 21, 50))
    Z = data(rng, dtype, 2, X.shape[1]).T
    Z.flags.writeable = False
    native = np.array(X, dtype=dtype, order="C")
    if layout == "big-endian":
        P, D, norms = normal_product_norms(NP, X, Z)
        check(native, Z, (P.astype(dtype), D, norms))
    else:
        P, D, norms = normal_product_norms(NP, X, Z)
        check(native, Z, (P, D, norms))
        check(native, Z, (P, D, row_norms_squared(NP, X)))


def test_parts_of_complex_arrays(rng: Draw) -> None:
    X, Z = data(rng, "complex128", 9, 20), data(rng, "float64", 20, 2)
    for part in (X.real, X.imag):
        check(np.array(part), Z, normal_product_norms(NP, part, Z))


def test_memory_maps(rng: Draw, tmp_path: Path) -> None:
    X, Z = data(rng, "float64", 30, 20), data(rng, "float64", 20, 2)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for found, expected in zip(
        normal_product_norms(NP, mapped, Z), normal_product_norms(NP, X, Z), strict=True
    ):
        assert type(found) is np.ndarray
        assert np.array_equal(found, expected)


def test_fused_form_takes_the_layouts_it_should(rng: Draw) -> None:
    X, Z = data(rng, "float64", 21, 50), data(rng, "float64", 50, 2)
    numba = normal_product_norms.forms()["numba"]
    for Y in (X, X[::2, :], X[::-1, :]):
        assert normal_product_norms.select(NP, Y, Z) is numba
    portable = normal_product_norms.forms()["portable"]
    for Y, W in [(np.asfortranarray(X), Z), (X, Z + 0j)]:
        assert normal_product_norms.select(NP, Y, W) is portable
    many = np.hstack([Z, Z, Z])
    assert normal_product_norms.select(NP, X, many) is numba
    assert normal_product.select(NP, X, many) is normal_product.forms()["portable"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_many_columns_and_norms_together_equal_the_portable_form(rng: Draw, dtype: str) -> None:
    X, Z = data(rng, dtype, 700, 300), data(rng, dtype, 300, 7)
    forms = normal_product_norms.forms()
    tolerance = 1e-5 if dtype in ("float32", "complex64") else 1e-12
    for a, b in zip(forms["numba"](NP, X, Z), forms["portable"](NP, X, Z), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())
    X[650, 7] = np.inf
    assert np.flatnonzero(~np.isfinite(forms["numba"](NP, X, Z)[2])).tolist() == [650]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_a_bad_row_shows_in_its_norm_and_nowhere_else(rng: Draw, form: str, bad: float) -> None:
    X, Z = data(rng, "float64", 30, 70), data(rng, "float64", 70, 2)
    clean = normal_product_norms.forms()[form](NP, X, Z)
    X[17, 66] = bad
    P, D, norms = normal_product_norms.forms()[form](NP, X, Z)
    others = np.arange(30) != 17
    assert np.array_equal(np.isfinite(norms), others)
    assert np.array_equal(np.isfinite(row_norms_squared.forms()[form](NP, X)), others)
    np.testing.assert_allclose(norms[others], clean[2][others], rtol=1e-14)
    np.testing.assert_allclose(P[others], clean[0][others], rtol=1e-9)
    assert np.isfinite(P[17]).all() == (bad == 1e200)
    assert not np.isfinite(D[66]).any()


@pytest.mark.parametrize("form", FORMS)
def test_complex_parts_spread_nan(rng: Draw, form: str) -> None:
    X, Z = data(rng, "complex64", 6, 20), data(rng, "complex64", 20, 1)
    X[2, 3] = complex(0, np.nan)
    P, D, norms = normal_product_norms.forms()[form](NP, X, Z)
    assert np.array_equal(np.isfinite(norms), np.arange(6) != 2)
    assert not np.isfinite(P[2]).any()
    assert not np.isfinite(D[3]).any()


@pytest.mark.parametrize("form", FORMS)
def test_single_precision_norms_do_not_overflow(rng: Draw, form: str) -> None:
    X = data(rng, "float32", 10, 40) * np.float32(1e30)
    norms = row_norms_squared.forms()[form](NP, X)
    np.testing.assert_allclose(norms, (wide(X) ** 2).sum(axis=1).astype(float), rtol=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("exponent", [498, -498])
def test_scaling_by_a_power_of_two_changes_no_bit(
    rng: Draw, form: str, dtype: str, exponent: int
) -> None:
    X, Z = data(rng, dtype, 13, 90), data(rng, dtype, 90, 2)
    factor = 2.0**exponent
    small = normal_product_norms.forms()[form](NP, X, Z)
    large = normal_product_norms.forms()[form](NP, X * factor, Z)
    for a, b, power in zip(large, small, (1, 2, 2), strict=True):
        assert np.array_equal(a, b * factor**power)


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_not_written(rng: Draw, form: str) -> None:
    X, Z = data(rng, "complex128", 9, 20), data(rng, "complex128", 20, 2)
    copies = X.copy(), Z.copy()
    P, D, _ = normal_product_norms.forms()[form](NP, X, Z)
    P[...] = D[...] = 0
    assert np.array_equal(X, copies[0])
    assert np.array_equal(Z, copies[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_on_every_run_and_from_every_thread(rng: Draw, dtype: str) -> None:
    X, Z = data(rng, dtype, 203, 150), data(rng, dtype, 150, 3)
    first = normal_product_norms(NP, X, Z)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: normal_product_norms(NP, X, Z), range(16)))
    for run in runs:
        assert all(np.array_equal(a, b) for a, b in zip(run, first, strict=True))


def test_memory_address_changes_no_bit(rng: Draw) -> None:
    X, Z = data(rng, "float64", 21, 67), data(rng, "float64", 67, 2)
    first = normal_product_norms(NP, X, Z)
    for shift in range(1, 8):
        room = np.zeros((21, 90))
        room[:, shift : shift + 67] = X
        again = normal_product_norms(NP, room[:, shift : shift + 67], Z)
        assert all(np.array_equal(a, b) for a, b in zip(again, first, strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_do_not_depend_on_the_cutting_into_blocks(rng: Draw, form: str, dtype: str) -> None:
    X, Z = data(rng, dtype, 23, 301), data(rng, dtype, 301, 2)
    both = (
        lambda block: normal_product_norms.forms()[form](NP, block, Z)[2],
        lambda block: row_norms_squared.forms()[form](NP, block),
    )
    for norms in both:
        whole = norms(X)
        for cut in range(1, 9):
            parts = [norms(X[start : start + cut]) for start in range(0, 23, cut)]
            assert np.array_equal(np.concatenate(parts), whole)


def test_fused_products_do_not_depend_on_the_cutting_into_blocks(rng: Draw) -> None:
    X, Z = data(rng, "float64", 23, 301), data(rng, "float64", 301, 3)
    whole = normal_product(NP, X, Z)[0]
    for cut in range(1, 9):
        parts = [normal_product(NP, X[start : start + cut], Z)[0] for start in range(0, 23, cut)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_micro_blocks_fit_the_cache_and_are_never_empty() -> None:
    assert dense.micro_rows(NP, np.empty((10, 1000))) * 8000 <= 1 << 19
    assert dense.micro_rows(NP, np.empty((10, 0))) >= 1
    assert dense.micro_rows(NP, np.empty((1, 10**6))) == 16


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    X, Z = data(rng, dtype, 500, 300), data(rng, dtype, 300, 2)
    xp = core_array.array_namespace(cupy.ones(1))
    arrays = cupy.asarray(X), cupy.asarray(Z)
    found = normal_product_norms.forms()["cupy"](xp, *arrays)
    again = normal_product_norms.forms()["cupy"](xp, *arrays)
    check(X, Z, tuple(part.get() for part in found))
    assert all(bool((a == b).all()) for a, b in zip(found, again, strict=True))
