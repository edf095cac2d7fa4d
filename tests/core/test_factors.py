"""Triangular products and damped factors: against dense references, on every library."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from linalgkit._core.linalg import damped_r_factor, tsqr
from linalgkit._core.scaling import silent
from linalgkit._core.triangular import matmul_upper
from tests.conftest import Backend

Draw = np.random.Generator


def draw(rng: Draw, dtype: str, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if dtype.startswith("complex") else values


@pytest.mark.parametrize("shape", [(7, 4), (1, 1), (0, 3), (50, 20)])
def test_products_with_upper_triangles(xp: Backend, rng: Draw, shape: tuple[int, int]) -> None:
    for dtype in xp.dtypes:
        A, R = draw(rng, dtype, *shape), np.triu(draw(rng, dtype, shape[1], shape[1]))
        found = matmul_upper(xp.asarray(A, dtype), xp.asarray(R, dtype))
        assert str(found.dtype).endswith(dtype)
        np.testing.assert_allclose(xp.to_numpy(found), A @ R, rtol=1e-4, atol=1e-5)


def test_products_leave_the_arguments_as_they_are(rng: Draw) -> None:
    A, R = rng.standard_normal((9, 5)), np.triu(rng.standard_normal((5, 5)))
    for rows in (A, np.asfortranarray(A), np.repeat(A, 2, axis=0)[::2]):
        kept = rows.copy()
        np.testing.assert_allclose(matmul_upper(rows, R), A @ R, rtol=1e-13)
        np.testing.assert_array_equal(rows, kept)


@pytest.mark.parametrize("shape", [(6, 6), (9, 6), (4, 6), (1, 1)])
def test_damped_factors_have_the_damped_gram_matrix(
    xp: Backend, rng: Draw, shape: tuple[int, int]
) -> None:
    for dtype in xp.dtypes:
        tolerance = 1e-4 if dtype in ("float32", "complex64") else 1e-12
        A = draw(rng, dtype, *shape)
        for R in (A, np.triu(A)):
            T = xp.to_numpy(damped_r_factor(xp.asarray(R, dtype), 0.3))
            expected = R.conj().T @ R + 0.09 * np.eye(shape[1])
            np.testing.assert_allclose(T.conj().T @ T, expected, rtol=tolerance, atol=tolerance)
            np.testing.assert_array_equal(T, np.triu(T))
            assert np.all(np.diagonal(T).real > 0)
            assert np.all(np.diagonal(T).imag == 0)


def test_damped_factors_of_graded_columns_keep_the_small_ones(rng: Draw) -> None:
    units = 10.0 ** -np.arange(0, 60, 10)
    R = np.triu(rng.standard_normal((6, 6))) * units
    T = damped_r_factor(R, 1e-60)
    np.testing.assert_allclose((T / units).T @ (T / units), (R / units).T @ (R / units), rtol=1e-8)


@pytest.mark.parametrize("order", ["C", "F"])
def test_factors_of_rows_do_not_depend_on_the_layout(rng: Draw, order: str) -> None:
    for dtype in ("float32", "float64", "complex64", "complex128"):
        A = draw(rng, dtype, 40, 7).astype(dtype)
        given = np.array(A, order=order)
        R = tsqr([given])
        np.testing.assert_array_equal(given, A)
        assert R.dtype == dtype
        np.testing.assert_allclose(R.conj().T @ R, A.conj().T @ A, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(R, np.triu(R))
    wide = draw(rng, "float64", 3, 7)
    np.testing.assert_allclose(tsqr([wide]).T @ tsqr([wide]), wide.T @ wide, atol=1e-12)


def test_overflow_passes_in_silence_where_that_is_asked() -> None:
    large = np.full((2, 2), 1e300)
    with warnings.catch_warnings(), silent():
        warnings.simplefilter("error")
        assert np.isinf(large * large).all()
    with pytest.warns(RuntimeWarning, match="overflow"):  # negative control
        large * large
