"""Products of finite data are finite wherever the true ones are, at both ends of the range."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from linalgkit.sketching import sketch
from tests.conftest import Backend
from tests.sketching.kinds import KINDS, TURNED, distance, make


def signs(n: int, seed: int = 0) -> np.ndarray:
    return np.sign(np.random.default_rng(seed).standard_normal((n, 2)))


def exponent_below(largest: float, dtype: type) -> int:
    """Return the exponent that brings data to the end of the range, and a product close to it."""
    last = np.finfo(dtype).maxexp
    return last - max(int(np.ceil(np.log2(largest))) + 1, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_products_overflow_only_where_the_true_ones_do(xp: Backend, kind, is_complex):
    S = make(kind, 64, 64, dtype="complex128" if is_complex and kind in TURNED else None)
    X = signs(64) * ((1 + 1j) if is_complex else 1.0)
    dtype = np.float64 if xp.has_float64 else np.float32
    for operator in (S, S.adjoint()):
        expected = operator @ X
        exponent = exponent_below(np.max(np.abs(expected)), dtype)
        found = xp.to_numpy(operator @ xp.asarray(X * 2.0**exponent))
        assert distance(found * 2.0**-exponent, expected) < xp.tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [2, 100], ids=["tall", "wide"])
def test_sparse_and_matrix_free_products_overflow_only_where_the_true_ones_do(kind, d):
    S = make(kind, 64, 64)
    X = signs(64 * d)[:, 0].reshape(64, d)
    expected = S @ X
    huge = X * 2.0 ** exponent_below(np.max(np.abs(expected)), np.float64)
    expected = S @ huge
    for A in (scipy.sparse.csr_array(huge), aslinearoperator(huge)):
        assert distance(S @ A, expected) < 1e-12
    share = S.apply_rows(huge[:40], 0) / 2 + S.apply_rows(huge[40:], 40) / 2
    assert distance(share, expected / 2) < 1e-12


def test_a_single_number_near_the_end_of_the_range():
    for kind in ("gaussian", "rademacher", "countsketch"):
        S = sketch(kind, 100, 1, rng=0)
        found = S @ np.asarray([1.7e308])
        assert distance(found / 1.7e308, S.toarray()[:, 0]) < 1e-13


def test_columns_that_do_not_overflow_keep_their_digits():
    S = make("srht", 64, 64)
    X = signs(64) * np.asarray([2.0**1020, 2.0**-1000])
    found = S @ X
    assert np.array_equal(found[:, 1], (S @ X[:, 1:])[:, 0])


def test_long_sums_in_single_precision():
    n = 2**16
    x = (1e36 * signs(n)[:, 0]).astype(np.float32)
    for kind in ("srht", "srdct", "gaussian_pooled"):
        S = sketch(kind, 2**10, n, rng=0)
        assert distance(S @ x, S @ x.astype(np.float64)) < 1e-4


@pytest.mark.parametrize("kind", ["srht", "gaussian", "countsketch", "srdct", "gaussian_pooled"])
def test_true_overflow_is_refused_with_the_name_of_the_factor(xp: Backend, kind):
    S = make(kind, 2, 40)
    largest = 0.99 * float(np.finfo(np.float64 if xp.has_float64 else np.float32).max)
    T = S.toarray()
    row = T[np.argmax(np.sum(np.abs(T), axis=1))]
    x = np.where(row == 0, 1, np.sign(row)) * largest
    with pytest.raises(ValueError, match="X must be small enough for S @ X to be finite"):
        S @ xp.asarray(x)
    with pytest.raises(ValueError, match="X_block must be small enough for its share of S @ X"):
        S.apply_rows(xp.asarray(x), 0)
    y = np.sign(T[:, np.argmax(np.sum(np.abs(T), axis=0))]) * largest
    if np.max(np.sum(np.abs(T), axis=0)) > 1.1:
        with pytest.raises(ValueError, match=r"Y must be small enough for S\.adjoint\(\) @ Y"):
            S.adjoint() @ xp.asarray(np.where(y == 0, 1.0, y))
