"""Backward errors against eighty digits, their estimates against them, and their refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from linalgkit.regression import backward_error
from tests.conftest import Backend
from tests.regression.exact import optimal_backward_error
from tests.regression.problems import conditioned, entries, solved

Draw = np.random.Generator
METHODS = ("exact", "karlson_walden", "sketched")
# What rounding in the residual and in its product with A can do, in units of ||A||_F.
NOISE = 1e-16


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("cond", [1e1, 1e5, 1e9, 1e13])
@pytest.mark.parametrize("residual", [1e-12, 1e-5, 1.0, 1e3])
def test_the_exact_value_agrees_with_eighty_digits(
    rng: Draw, is_complex: bool, cond: float, residual: float
) -> None:
    A, b, x = conditioned(rng, 30, 4, cond, residual, is_complex=is_complex)
    for change in (1.0, 1e-2, 1e-6, 1e-10):
        guess = x + change * entries(rng, 4, is_complex=is_complex)
        expected = optimal_backward_error(A, b, guess)
        found = backward_error(A, b, guess)
        assert found == pytest.approx(expected, rel=1e-6, abs=NOISE)


@pytest.mark.parametrize("is_complex", [False, True])
def test_the_estimate_is_within_a_factor_of_two_below(rng: Draw, is_complex: bool) -> None:
    ratios = []
    for cond in (1e0, 1e3, 1e6):
        for residual in (1e-8, 1e-2, 1.0, 1e2):
            A, b, x = conditioned(rng, 40, 5, cond, residual, is_complex=is_complex)
            for change in (10.0, 1.0, 1e-2, 1e-6):
                guess = x + change * entries(rng, 5, is_complex=is_complex)
                exact = backward_error(A, b, guess)
                ratios.append(backward_error(A, b, guess, method="karlson_walden") / exact)
    assert min(ratios) >= 0.5
    assert max(ratios) <= 1 + 1e-12
    assert min(ratios) < 0.99  # negative control: the two are not the same number


def test_the_sketched_estimate_is_within_another_factor_of_two(rng: Draw) -> None:
    for cond in (1e1, 1e7):
        for residual in (1e-8, 1e-2):
            A, b, x = conditioned(rng, 2000, 8, cond, residual)
            guess = x + 1e-4 * rng.standard_normal(8)
            exact = backward_error(A, b, guess)
            for seed in range(5):
                found = backward_error(A, b, guess, method="sketched", rng=seed)
                assert 0.25 <= found / exact <= 2


def test_a_change_of_that_size_makes_the_answer_exact(rng: Draw) -> None:
    # theta -> the change of A alone that moves one singular triple, hence an upper bound.
    A, b, x = conditioned(rng, 50, 3, 10.0, 1e-1)
    change = 1e-7 * entries(rng, 50, 3)
    x = solved(A + change, b)
    assert backward_error(A, b, x) <= np.linalg.norm(change) / np.linalg.norm(A)


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_source_has_the_same_error(rng: Draw, method: str) -> None:
    A, b, x = conditioned(rng, 400, 4, 1e3, 1e-2)
    A[np.abs(A) < 0.02] = 0.0
    guess = x + 1e-3
    blocks = [(A[i : i + 90], b[i : i + 90]) for i in range(0, 400, 90)]
    expected = backward_error(A, b, guess, method=method, rng=0)
    sources: list[tuple[Any, Any]] = [
        (sp.csr_array(A), b),
        (aslinearoperator(A), b),
        (blocks, None),
        ([(sp.coo_array(X), y) for X, y in blocks], None),
    ]
    for source, right in sources:
        found = backward_error(source, right, guess, method=method, rng=0)
        factor = 2 if method == "sketched" else 1 + 1e-4
        assert expected / factor <= found <= expected * factor


def test_ridge_and_weights_are_rows_of_the_matrix(rng: Draw) -> None:
    A, b = entries(rng, 60, 5), entries(rng, 60)
    w, guess = rng.uniform(0.1, 2, 60), entries(rng, 5)
    root = np.sqrt(w)[:, None]
    stacked = np.vstack([root * A, np.sqrt(0.3) * np.eye(5)])
    right = np.concatenate([root[:, 0] * b, np.zeros(5)])
    found = backward_error(A, b, guess, weights=w, alpha=0.3)
    assert found == pytest.approx(backward_error(stacked, right, guess), rel=1e-10)


def test_wide_matrices_too(rng: Draw) -> None:
    A, b = entries(rng, 5, 12), entries(rng, 5)
    guess = entries(rng, 12)
    # The change of least norm that fits an inconsistent equation to x is of rank one.
    r = b - A @ guess
    theta = np.linalg.norm(A) / np.linalg.norm(b)
    expected = np.linalg.norm(r) / np.sqrt(theta**-2 + np.linalg.norm(guess) ** 2)
    for method in METHODS:
        found = backward_error(A, b, guess, method=method)
        assert found <= expected / np.linalg.norm(A) * (1 + 1e-10)
    exact = solved(A, b)
    assert backward_error(A, b, exact) < 1e-15


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e-250])
@pytest.mark.parametrize("method", METHODS)
def test_units_do_not_count(rng: Draw, method: str, scale: float) -> None:
    A, b, x = conditioned(rng, 300, 4, 1e2, 1e-2)
    guess = x + 1e-3
    expected = backward_error(A, b, guess, method=method, rng=0)
    for A_, b_, x_ in ((A * scale, b, guess / scale), (A, b * scale, guess * scale)):
        found = backward_error(A_, b_, x_, method=method, rng=0)
        assert found == pytest.approx(expected, rel=1e-8)


def test_nothing_to_explain_is_no_error() -> None:
    A = np.eye(3)
    assert backward_error(A, np.zeros(3), np.zeros(3)) == 0.0
    assert backward_error(A, np.ones(3), np.ones(3)) == 0.0
    assert backward_error(np.zeros((3, 2)), np.ones(3), np.ones(2)) == 0.0
    # b = 0 and x != 0: x would have to be in the null space of A + dA.
    assert backward_error(A, np.zeros(3), np.ones(3)) > 0.5


def test_every_library_and_precision(xp: Backend) -> None:
    rng = np.random.default_rng(5)
    A, b, x = conditioned(rng, 300, 6, 1e2, 1e-2)
    guess = np.stack([x, x + 1e-2], axis=1)
    B = np.stack([b, b], axis=1)
    for dtype in xp.dtypes:
        arrays = [xp.asarray(value, dtype) for value in (A, B, guess)]
        for method in METHODS:
            found = backward_error(*arrays, method=method, rng=0)
            values = xp.to_numpy(found)
            exact = backward_error(A, b, guess[:, 1], method=method, rng=0)
            assert values.shape == (2,)
            assert values[1] == pytest.approx(exact, rel=1e-3)
            assert values[0] < (1e-15 if dtype in ("float64", "complex128") else 1e-6)


def test_bad_arguments_are_named(rng: Draw) -> None:
    A, b, x = conditioned(rng, 20, 3, 1e1, 1e-2)
    with pytest.raises(ValueError, match=r"x must have shape \(3,\) to go with A and b"):
        backward_error(A, b, x[:, None])
    with pytest.raises(ValueError, match="x must not contain NaN"):
        backward_error(A, b, x * np.nan)
    with pytest.raises(TypeError, match="x must be real as A and b are"):
        backward_error(A, b, x + 0j)
    with pytest.raises(ValueError, match=r"method must be one of .* Did you mean 'exact'"):
        backward_error(A, b, x, method="exakt")
    with pytest.raises(TypeError, match="Use sketched_lstsq"):
        backward_error(iter([(A, b)]), None, x)
    with pytest.raises(ValueError, match="A must not contain NaN"):
        backward_error(A * np.nan, b, x)
