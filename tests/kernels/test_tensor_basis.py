"""Recurrences and products of columns: every form and library against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels.cupy_forms import tensor_basis as cupy_form
from linalgkit._kernels.tensor_basis import recurrence_table, recurrence_values, tensor_basis

from .cuda_host import HostDevice
from .test_dense import DTYPES, Draw, data

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in tensor_basis.forms() if form != "cupy")


def columns_of(rng: Draw, s: int, m: int, width: int) -> np.ndarray:
    return rng.integers(0, width, (s, m)).astype(np.int32)


def by_definition(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.prod(table[:, columns], axis=1)


def scaled(table: np.ndarray) -> np.ndarray:
    """Keep products of many factors near one."""
    return table / np.abs(table)


def polynomials(t: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Degrees 0 to p by the recurrence, in extended precision: (..., p + 1)."""
    t = t.astype(np.longdouble)
    found = [np.ones_like(t)]
    for j, (A, B, C) in enumerate(coefficients.T.astype(np.longdouble)):
        found.append((A * t + B) * found[-1] - (C * found[-2] if j else 0))
    return np.stack(found, axis=-1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "width", "s", "m"),
    [(1, 1, 1, 1), (7, 9, 2, 12), (5, 20, 3, 40), (3, 6, 7, 5), (0, 4, 2, 3)],
)  # fmt: skip
def test_products_of_columns(
    rng: Draw, form: str, dtype: str, n: int, width: int, s: int, m: int
) -> None:
    table, columns = scaled(data(rng, dtype, n, width)), columns_of(rng, s, m, width)
    found = tensor_basis.forms()[form](NP, table, columns)
    assert (found.shape, found.dtype) == ((n, m), table.dtype)
    np.testing.assert_allclose(found, by_definition(table, columns), rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("form", FORMS)
def test_strided_and_read_only_tables(rng: Draw, form: str) -> None:
    whole, columns = data(rng, "float64", 12, 20), columns_of(rng, 3, 8, 9)
    for table in (whole[::2, 1:19:2], whole[::-1, 3:12]):
        table.flags.writeable = False
        found = tensor_basis.forms()[form](NP, table, columns)
        np.testing.assert_allclose(found, by_definition(table, columns), rtol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_nan_stays_in_its_row(rng: Draw, form: str) -> None:
    table, columns = data(rng, "float64", 6, 4), np.zeros((3, 5), dtype=np.int32)
    table[2, 0] = np.nan
    found = tensor_basis.forms()[form](NP, table, columns)
    assert np.array_equal(np.isnan(found).any(axis=1), np.arange(6) == 2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "g", "p"), [(5, 1, 1), (9, 3, 12), (0, 2, 3), (4, 2, 2)])
def test_tables_by_recurrence(rng: Draw, form: str, dtype: str, n: int, g: int, p: int) -> None:
    k = np.arange(1.0, p + 1)
    off = k / np.sqrt(4 * k * k - 1)
    coefficients = np.stack((1 / off, 0.1 / off, np.append(0, off[:-1]) / off))
    t = (2 * rng.random((n, g)) - 1).astype(dtype)
    found = recurrence_table.forms()[form](NP, t, coefficients)
    assert (found.shape, found.dtype) == ((n, g * p), t.dtype)
    expected = polynomials(t, coefficients)
    atol = 50 * p * np.finfo(dtype).eps * float(np.abs(expected).max(initial=1))
    np.testing.assert_allclose(found.reshape(n, g, p), expected[..., 1:], rtol=0, atol=atol)


@pytest.mark.parametrize("form", FORMS)
def test_values_of_own_degrees(rng: Draw, form: str) -> None:
    coefficients = np.stack((np.full(9, 1.5), np.full(9, 0.2), np.full(9, 0.7)))
    t, degrees = 2 * rng.random(200) - 1, rng.integers(0, 10, 200)
    found = recurrence_values.forms()[form](NP, t, degrees, coefficients)
    expected = polynomials(t, coefficients)[np.arange(200), degrees]
    np.testing.assert_allclose(found, expected.astype(float), rtol=0, atol=1e-12)


def test_every_library(xp: Any, rng: Draw) -> None:
    coefficients = np.stack((np.full(4, 1.5), np.full(4, 0.2), np.full(4, 0.7)))
    for dtype in xp.dtypes:
        tolerance = 50 * np.finfo(dtype).eps
        table, columns = scaled(data(rng, dtype, 6, 9)), columns_of(rng, 3, 7, 9)
        found = tensor_basis(xp.xp, xp.asarray(table, dtype), xp.asarray(columns))
        assert core_array.device(found) == xp.device
        assert found.dtype == getattr(xp.xp, dtype)
        np.testing.assert_allclose(
            xp.to_numpy(found), by_definition(table, columns), rtol=tolerance
        )
        if dtype.startswith("float"):
            t = (2 * rng.random((5, 3)) - 1).astype(dtype)
            found = recurrence_table(xp.xp, xp.asarray(t, dtype), coefficients)
            expected = recurrence_table.forms()["portable"](NP, t, coefficients)
            np.testing.assert_allclose(xp.to_numpy(found), expected, rtol=0, atol=100 * tolerance)


# ------------------------------------------------------------------------------------- CUDA


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "width", "s", "m"), [(1, 1, 1, 1), (30, 9, 3, 70), (0, 3, 1, 4)])
def test_cuda_source_on_the_host(
    host_device: HostDevice, monkeypatch: pytest.MonkeyPatch, rng: Draw,
    dtype: str, n: int, width: int, s: int, m: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(cupy_form, "launch", host_device.launch)
    table, columns = data(rng, dtype, n, width), columns_of(rng, s, m, width)
    found = cupy_form.tensor_basis(NP, table, columns)
    expected = tensor_basis.forms()["portable"](NP, table, columns)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=20 * np.finfo(dtype).eps)


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    table, columns = data(rng, dtype, 300, 40), columns_of(rng, 4, 500, 40)
    xp = core_array.array_namespace(cupy.ones(1))
    found = tensor_basis.forms()["cupy"](xp, cupy.asarray(table), cupy.asarray(columns)).get()
    expected = tensor_basis.forms()["portable"](NP, table, columns)
    np.testing.assert_allclose(found, expected, rtol=50 * np.finfo(dtype).eps)
