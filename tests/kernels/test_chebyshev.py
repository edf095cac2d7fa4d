"""Chebyshev polynomials and sums along rows: every form and library against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels.chebyshev import chebyshev_rows, panel_rows, row_contract
from linalgkit._kernels.cupy_forms import chebyshev as cupy_form

from .cuda_host import HostDevice
from .test_dense import DTYPES, Draw, data

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in chebyshev_rows.forms() if form != "cupy")
SHAPES = [(1, 1, 1), (7, 4, 1), (7, 5, 1), (3, 6, 28), (5, 7, 3), (2, 8, 9), (4, 1, 6), (0, 3, 2)]


def polynomials(t: np.ndarray, m: int) -> np.ndarray:
    """Return ``cos(j arccos t)``, beyond [-1, 1] ``cosh(j arccosh |t|)`` with its sign."""
    t, j = t.astype(np.longdouble), np.arange(m)[:, None]
    inside = np.cos(j * np.arccos(np.clip(t, -1, 1)))
    beyond = np.cosh(j * np.arccosh(np.maximum(np.abs(t), 1))) * np.where(t < 0, (-1.0) ** j, 1)
    return np.where(np.abs(t) <= 1, inside, beyond)


def sums(Y: np.ndarray, B: np.ndarray) -> np.ndarray:
    return (Y * B[:, :, None]).sum(axis=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 2), (1100, 3), (700, 60), (0, 4)])
def test_polynomials(rng: Draw, form: str, dtype: str, n: int, m: int) -> None:
    t = rng.uniform(-1, 1, n).astype(dtype)
    t[: n // 9] = 1
    t[n // 9 : n // 5] = -1
    found = chebyshev_rows.forms()[form](NP, t, m)
    assert (found.shape, found.dtype) == ((m, n), t.dtype)
    atol = 2 * m * m * np.finfo(dtype).eps
    np.testing.assert_allclose(found, polynomials(t, m).astype(float), rtol=0, atol=atol)


@pytest.mark.parametrize("form", FORMS)
def test_polynomials_beyond_the_interval(form: str) -> None:
    t = np.array([-3.0, -1.0001, 1.0001, 1.7])
    found = chebyshev_rows.forms()[form](NP, t, 20)
    np.testing.assert_allclose(found, polynomials(t, 20).astype(float), rtol=1e-12)
    assert not np.isfinite(chebyshev_rows.forms()[form](NP, np.array([1e200]), 4)[-1, 0])


@pytest.mark.parametrize("form", FORMS)
def test_strided_and_read_only_points(rng: Draw, form: str) -> None:
    whole = rng.uniform(-1, 1, (30, 3))
    whole.flags.writeable = False
    for t in (whole[:, 1], whole[::-2, 0]):
        found = chebyshev_rows.forms()[form](NP, t, 9)
        np.testing.assert_allclose(found, polynomials(t, 9).astype(float), rtol=0, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "a", "b"), SHAPES)
def test_sums_along_rows(rng: Draw, form: str, dtype: str, n: int, a: int, b: int) -> None:
    Y, B = data(rng, dtype, n, a, b), data(rng, dtype, n, a)
    found = row_contract.forms()[form](NP, Y, B)
    assert (found.shape, found.dtype) == ((n, b), Y.dtype)
    np.testing.assert_allclose(found, sums(Y, B), rtol=0, atol=40 * a * np.finfo(dtype).eps)


@pytest.mark.parametrize("form", FORMS)
def test_sums_of_nothing_are_zero(form: str) -> None:
    found = row_contract.forms()[form](NP, np.ones((3, 0, 2)), np.ones((3, 0)))
    np.testing.assert_array_equal(found, np.zeros((3, 2)))


@pytest.mark.parametrize("form", FORMS)
def test_strided_bases_and_nan_in_its_row(rng: Draw, form: str) -> None:
    Y, B = data(rng, "float64", 6, 5, 4), data(rng, "float64", 12, 10)[::2, ::-2]
    Y[2, 3, 1] = np.nan
    found = row_contract.forms()[form](NP, Y, B)
    assert np.array_equal(np.argwhere(np.isnan(found)), [[2, 1]])
    np.testing.assert_allclose(found, sums(Y, B), rtol=0, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "terms", "r"), [(9, 1, 1), (30, 2, 3), (7, 13, 28), (0, 4, 2)])
def test_functions_on_panels(rng: Draw, form: str, dtype: str, n: int, terms: int, r: int) -> None:
    L, s = data(rng, dtype, 5, terms, r), data(rng, dtype, n).real
    s = np.clip(s, -1, 1)
    panel = rng.integers(0, 5, n).astype(np.int16)
    found = panel_rows.forms()[form](NP, panel, s, L)
    assert (found.shape, found.dtype) == ((n, r), L.dtype)
    expected = np.einsum("kn,nkr->nr", polynomials(s, terms).astype(float), L[panel])
    atol = 100 * terms**2 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_arrays_that_forms_do_not_take(rng: Draw) -> None:
    Y, B = data(rng, "float64", 6, 5, 4), data(rng, "float64", 6, 5)
    for transposed in (np.asfortranarray(Y), Y.astype(">f8")):
        np.testing.assert_allclose(row_contract(NP, transposed, B), sums(Y, B), atol=1e-14)
    np.testing.assert_allclose(
        row_contract(NP, Y + 1j, B), sums(Y + 1j, B.astype(complex)), atol=1e-13
    )


def test_every_library(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        tolerance = 200 * np.finfo(dtype).eps
        Y, B = data(rng, dtype, 5, 4, 3), data(rng, dtype, 5, 4)
        found = row_contract(xp.xp, xp.asarray(Y, dtype), xp.asarray(B, dtype))
        assert (core_array.device(found), found.dtype) == (xp.device, getattr(xp.xp, dtype))
        np.testing.assert_allclose(xp.to_numpy(found), sums(Y, B), rtol=0, atol=tolerance)
        if dtype.startswith("float"):
            t = rng.uniform(-1.1, 1.1, 5).astype(dtype)
            found = chebyshev_rows(xp.xp, xp.asarray(t, dtype), 6)
            assert (core_array.device(found), found.dtype) == (xp.device, getattr(xp.xp, dtype))
            expected = polynomials(t, 6).astype(float)
            np.testing.assert_allclose(xp.to_numpy(found), expected, rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------------- CUDA


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_source_on_the_host(
    host_device: HostDevice, monkeypatch: pytest.MonkeyPatch, rng: Draw, dtype: str
) -> None:
    monkeypatch.setattr(cupy_form, "launch", host_device.launch)
    for n, a, b in ((1, 1, 1), (70, 5, 9), (0, 3, 2)):
        Y, B = data(rng, dtype, n, a, b), data(rng, dtype, n, a)
        found = cupy_form.row_contract(NP, Y, B)
        assert (found.shape, found.dtype) == ((n, b), Y.dtype)
        np.testing.assert_allclose(found, sums(Y, B), rtol=0, atol=40 * a * np.finfo(dtype).eps)
    if dtype.startswith("float"):
        for n, m in ((1, 1), (300, 2), (300, 17), (0, 3)):
            t = rng.uniform(-1.1, 1.1, n).astype(dtype)
            found = cupy_form.chebyshev_rows(NP, t, m)
            assert (found.shape, found.dtype) == ((m, n), t.dtype)
            expected = chebyshev_rows.forms()["portable"](NP, t, m)
            np.testing.assert_allclose(found, expected, rtol=1e3 * np.finfo(dtype).eps)


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    xp = core_array.array_namespace(cupy.ones(1))
    Y, B = data(rng, dtype, 300, 9, 17), data(rng, dtype, 300, 9)
    found = row_contract.forms()["cupy"](xp, cupy.asarray(Y), cupy.asarray(B)).get()
    np.testing.assert_allclose(found, sums(Y, B), rtol=0, atol=400 * np.finfo(dtype).eps)
    if dtype.startswith("float"):
        t = rng.uniform(-1, 1, 1000).astype(dtype)
        found = chebyshev_rows.forms()["cupy"](xp, cupy.asarray(t), 20).get()
        expected = polynomials(t, 20).astype(float)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)
