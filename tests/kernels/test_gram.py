"""The Gram kernel: every form against extended precision, over dtypes, layouts and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit._kernels import gram

NP = core_array.numpy_namespace()
DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = [
    (1, 1),
    (2, 3),
    (5, 1),
    (9, 7),
    (100, 8),
    (128, 16),
    (129, 17),
    (130, 33),
    (257, 64),
    (300, 75),
    (64, 130),
]
FORMS = tuple(form for form in gram.forms() if form != "cupy")

Draw = np.random.Generator


def data(rng: Draw, dtype: str, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def check(X: np.ndarray, G: np.ndarray) -> None:
    """Hold the sums to the rounding bound of their length."""
    Xw = X.astype(np.clongdouble if X.dtype.kind == "c" else np.longdouble)
    bound = 4 * (X.shape[0] + 2) * np.finfo(X.dtype).eps * (np.abs(Xw).T @ np.abs(Xw))
    assert (G.dtype, G.shape) == (X.dtype, (X.shape[1], X.shape[1]))
    assert np.all(np.abs(G - Xw.conj().T @ Xw) <= bound)
    if X.dtype.kind == "f":
        np.testing.assert_array_equal(G, G.T)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_sums_of_products_within_rounding_bounds(
    rng: Draw, form: str, dtype: str, n: int, d: int
) -> None:
    X = data(rng, dtype, n, d)
    if gram.supports(form, X):
        check(X, gram.forms()[form](NP, X))
    check(X, gram(NP, X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compiled_form_serves_real_rows(rng: Draw, dtype: str) -> None:
    X = data(rng, dtype, 40, 9)
    frozen = X.copy()
    frozen.flags.writeable = False
    for view in (X, X[3:], X[::2], X[:, 2:7], X[::3, 1:], frozen):
        assert gram.supports("numba", view)
        check(view, gram(NP, view))


def test_other_layouts_go_the_portable_way(rng: Draw) -> None:
    X = data(rng, "float64", 40, 9)
    overlapping = np.lib.stride_tricks.sliding_window_view(X[:, 0], 5)
    repeated = np.broadcast_to(X[:1], (7, 9))
    for view in (np.asfortranarray(X), X[::-1], X[:, ::2], overlapping, repeated, X[:0]):
        assert not gram.supports("numba", view)
        G = gram(NP, view)
        np.testing.assert_allclose(G, view.T @ view, rtol=1e-12, atol=1e-12)


def test_nothing_behind_the_last_row_is_read_into_the_result(rng: Draw) -> None:
    # The rows are the last of an array that is full of NaN everywhere else.
    for d in range(1, 20):
        for dtype in ("float32", "float64"):
            whole = np.full((60, d + 3), np.nan, dtype=dtype)
            rows = whole[20:50, 1 : 1 + d]
            rows[...] = data(rng, dtype, 30, d)
            check(rows.copy(), gram(NP, rows))
            end = whole[50:, 3:]
            end[...] = data(rng, dtype, 10, d)
            check(end.copy(), gram(NP, end))


def test_nan_and_infinity_spread_to_their_own_columns(rng: Draw) -> None:
    for form in map(gram.forms().get, FORMS):
        X = data(rng, "float64", 50, 12)
        X[7, 3], X[9, 5] = np.nan, np.inf
        with np.errstate(invalid="ignore"):
            G = form(NP, X)
        good = np.delete(np.arange(12), [3, 5])
        assert np.isfinite(G[np.ix_(good, good)]).all()
        assert np.isnan(G[3]).all()
        assert not np.isfinite(G[5]).any()
