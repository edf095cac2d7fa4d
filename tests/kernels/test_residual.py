"""The fused residual: every form against extended precision, over dtypes, layouts and lengths."""

from __future__ import annotations

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit._kernels import residual_product

NP = core_array.numpy_namespace()
DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = [(1, 1, 1), (3, 1, 2), (4, 7, 1), (5, 64, 2), (9, 65, 3), (33, 300, 4), (2500, 20, 1)]
FORMS = tuple(form for form in residual_product.forms() if form != "cupy")

Draw = np.random.Generator


def data(rng: Draw, dtype: str, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def problem(rng: Draw, dtype: str, b: int, d: int, q: int) -> tuple[np.ndarray, ...]:
    wide = "complex128" if dtype.startswith("complex") else "float64"
    return data(rng, dtype, b, d), data(rng, wide, d, q), data(rng, wide, b, q)


def check(X: np.ndarray, Z: np.ndarray, B: np.ndarray, R: np.ndarray, D: np.ndarray) -> None:
    """Hold R and D to the rounding bounds of sums of their lengths."""
    extended = np.clongdouble if X.dtype.kind == "c" else np.longdouble
    Xw, Zw, Bw = (x.astype(extended) for x in (X, Z, B))
    (b, d), unit = X.shape, np.finfo(float).eps
    size = np.abs(Bw) + np.abs(Xw) @ np.abs(Zw)
    assert R.dtype == D.dtype == B.dtype
    assert (R.shape, D.shape) == (B.shape, (d, B.shape[1]))
    assert np.all(np.abs(R - (Bw - Xw @ Zw)) <= 4 * (d + 2) * unit * size)
    bound = 4 * (b + d + 4) * unit * (np.abs(Xw).T @ size)
    assert np.all(np.abs(D - Xw.conj().T @ (Bw - Xw @ Zw)) <= bound)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "d", "q"), SHAPES)
def test_residual_and_gradient_within_rounding_bounds(
    rng: Draw, form: str, dtype: str, b: int, d: int, q: int
) -> None:
    X, Z, B = problem(rng, dtype, b, d, q)
    assert residual_product.supports(form, X, Z, B)
    check(X, Z, B, *residual_product.forms()[form](NP, X, Z, B))


def test_the_reference_separates_conjugates(rng: Draw) -> None:
    X, Z, B = problem(rng, "complex128", 9, 12, 2)
    R, _ = residual_product(NP, X, Z, B)
    with pytest.raises(AssertionError):
        check(X, Z, B, R, X.T @ R)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_larger_array_are_read_where_they_lie(rng: Draw, dtype: str) -> None:
    X, Z, B = problem(rng, dtype, 40, 6, 2)
    spread = data(rng, dtype, 80, 11)[::2, 3:9]
    spread[...] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    for view in (spread, X[::-1].copy()[::-1], frozen):
        check(X, Z, B, *residual_product(NP, view, Z, B))
    columns = np.asfortranarray(X)
    assert not residual_product.supports("numba", columns, Z, B)
    check(X, Z, B, *residual_product(NP, columns, Z, B))


def test_arguments_are_not_written_to(rng: Draw) -> None:
    X, Z, B = problem(rng, "float64", 50, 6, 2)
    kept = B.copy()
    for form in map(residual_product.forms().get, FORMS):
        form(NP, X, Z, B)
    np.testing.assert_array_equal(B, kept)


def test_sums_of_one_sign_do_not_lose_digits_with_their_length() -> None:
    n = 2**20
    X, Z, B = np.full((n, 1), 0.1), np.zeros((1, 1)), np.full((n, 1), 0.3)
    exact = n * (np.longdouble(0.1) * np.longdouble(0.3))
    for form in map(residual_product.forms().get, FORMS):
        D = form(NP, X, Z, B)[1]
        assert abs(float(D[0, 0] - exact)) <= 3e-13 * float(exact)
    assert abs(float(np.cumsum(X * B)[-1] - exact)) > 3e-13 * float(exact)  # negative control


def test_nan_spreads_and_nothing_warns(rng: Draw) -> None:
    X, Z, B = problem(rng, "float64", 50, 6, 1)
    X[7, 3] = np.nan
    for form in map(residual_product.forms().get, FORMS):
        R, D = form(NP, X, Z, B)
        assert np.isnan(R[7, 0])
        assert np.isnan(D).all()
        assert np.isfinite(np.delete(R, 7)).all()
