"""Each driver by its own promise: accuracy, when it declines, what it stores, and the choice."""

from __future__ import annotations

import inspect
import re
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from linalgkit import AccuracyWarning
from linalgkit.regression import _drivers, backward_error, lstsq
from linalgkit.regression._problem import equations
from linalgkit.regression._tall import TallSystem
from tests.regression.exact import optimal_backward_error
from tests.regression.problems import conditioned, entries, solved

Draw = np.random.Generator
NAMES = ("cholesky", "sketch_cholqr", "spir", "lsmr")
ROUNDOFF = 2.0**-53
CONDITIONS = [10.0**k for k in range(0, 17, 2)]
RESIDUALS = [1e-14, 1e-9, 1e-4, 1.0]


def quietly(*args: Any, **options: Any) -> Any:
    """Solve without the warning that an answer of deficient rank comes with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return lstsq(*args, **options)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("driver", ["auto", *NAMES])
def test_backward_errors_are_rounding_whatever_condition_and_residual(
    driver: str, is_complex: bool
) -> None:
    rng = np.random.default_rng(11)
    for cond in CONDITIONS:
        for residual in RESIDUALS:
            A, b, _ = conditioned(rng, 120, 6, cond, residual, is_complex=is_complex)
            result = quietly(A, b, driver=driver, m=40, rng=0)
            exact = optimal_backward_error(A, b, result.x)
            assert exact <= 10 * ROUNDOFF, (cond, residual, result)
            both_tiny = max(exact, result.backward_error) <= 2 * ROUNDOFF
            assert both_tiny or 0.2 <= result.backward_error / exact <= 5, (cond, residual, exact)


@pytest.mark.parametrize("driver", ["auto", *NAMES])
def test_no_driver_is_much_worse_than_householder_on_median(driver: str) -> None:
    rng = np.random.default_rng(12)
    ratios = []
    for cond in CONDITIONS[:-2]:
        for residual in RESIDUALS:
            A, b, _ = conditioned(rng, 500, 10, cond, residual)
            Q, R = np.linalg.qr(A)
            theirs = backward_error(A, b, np.linalg.solve(R, Q.T @ b))
            ratios.append(quietly(A, b, driver=driver, rng=0).backward_error / theirs)
    assert np.median(ratios) <= 3


@pytest.mark.parametrize("driver", NAMES)
def test_small_columns_beside_large_ones_keep_their_digits(rng: Draw, driver: str) -> None:
    A, b, _ = conditioned(rng, 600, 8, 1e3, 1e-1)
    units = 10.0 ** rng.uniform(-9, 9, 8)
    expected = solved(A, b)
    found = lstsq(A * units, b, driver=driver, rng=0).x * units
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


# ------------------------------------------------------------------------- when it declines


def test_cholesky_serves_condition_numbers_up_to_its_limit(rng: Draw) -> None:
    limit = 0.1 / np.sqrt(ROUNDOFF)
    for cond in (1e1, 1e5, 3e6, 0.5 * limit):
        A, b, _ = conditioned(rng, 800, 10, cond, 1e-3)
        result = lstsq(A, b, driver="cholesky", rng=0)
        assert result.driver == "cholesky"
        assert result.backward_error <= 2 * ROUNDOFF
    for cond in (20 * limit, 1e9, 1e14):
        A, b, _ = conditioned(rng, 800, 10, cond, 1e-3)
        assert lstsq(A, b, driver="cholesky", rng=0).driver == "sketch_cholqr"


def test_cholesky_without_corrections_would_not_do(rng: Draw) -> None:
    # Negative control of the corrections: the normal equations alone.
    A, b, _ = conditioned(rng, 800, 10, 1e6, 1e-3)
    x = np.linalg.solve(A.T @ A, A.T @ b)
    assert backward_error(A, b, x) > 100 * ROUNDOFF


def test_single_precision_data_are_solved_in_double(rng: Draw) -> None:
    A, _b, x = conditioned(rng, 800, 10, 1e5, 0.0)
    A32 = A.astype(np.float32)
    result = lstsq(A32, (A32.astype(float) @ x).astype(np.float32), rng=0)
    assert result.driver == "cholesky"
    assert result.x.dtype == np.float32
    assert result.backward_error <= 1e-7


def test_a_sketch_that_loses_rank_is_replaced_by_a_larger_one() -> None:
    # Eight large rows fall onto few rows of a countsketch: it is singular for most seeds.
    rng = np.random.default_rng(1)
    A = 1e-3 * rng.standard_normal((3000, 8))
    A[:8] = 1e6 * np.eye(8)
    b = rng.standard_normal(3000)
    expected = solved(A, b)
    for driver in ("sketch_cholqr", "spir", "lsmr"):
        for seed in range(6):
            result = lstsq(A, b, driver=driver, sketch="countsketch", m=8, rng=seed)
            np.testing.assert_allclose(result.x, expected, rtol=1e-8)
            assert result.rank == 8


@pytest.mark.parametrize("kind", ["gaussian", "srht", "srft", "block_srht", "countsketch"])
@pytest.mark.parametrize("driver", ["sketch_cholqr", "spir", "lsmr"])
def test_any_sketch_serves(rng: Draw, kind: str, driver: str) -> None:
    A, b, _ = conditioned(rng, 2500, 6, 1e9, 1e-4)
    result = lstsq(A, b, driver=driver, sketch=kind, m=200, rng=1)
    assert result.backward_error <= 2 * ROUNDOFF


@pytest.mark.parametrize("driver", ["sketch_cholqr", "spir", "lsmr"])
def test_iterations_do_not_grow_with_the_condition(rng: Draw, driver: str) -> None:
    for cond in (1e1, 1e6, 1e11):
        A, b, _ = conditioned(rng, 3000, 20, cond, 1e-6)
        result = lstsq(A, b, driver=driver, rng=0)
        assert result.iterations <= (6 if driver == "sketch_cholqr" else 60)


# ----------------------------------------------------------------------------------- wide


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("driver", NAMES)
def test_wide_problems_of_any_condition_have_the_least_norm(driver: str, is_complex: bool) -> None:
    rng = np.random.default_rng(13)
    for cond in CONDITIONS[:-1]:
        tall, _, _ = conditioned(rng, 60, 6, cond, 0.0, is_complex=is_complex)
        A = tall.conj().T
        # A solution in the range of A^H: the one of least norm.
        x = np.linalg.qr(tall)[0] @ entries(rng, 6, is_complex=is_complex)
        result = lstsq(A, A @ x, driver=driver, m=30, rng=0)
        assert result.driver in ("cholesky", "sketch_cholqr")
        assert result.backward_error <= 10 * ROUNDOFF
        assert np.linalg.norm(result.x - x) <= 100 * ROUNDOFF * cond * np.linalg.norm(x)


def test_the_solution_of_the_normal_equations_of_the_second_kind_would_not_do() -> None:
    # Negative control: x = A^H y with y from A A^H y = b, corrected twice.
    rng = np.random.default_rng(13)
    tall, _, _ = conditioned(rng, 60, 6, 1e11, 0.0)
    A = tall.T
    Q, R = np.linalg.qr(tall)
    b, x = A @ Q @ np.ones(6), np.zeros(60)
    for _ in range(3):
        x = x + A.T @ np.linalg.solve(R, np.linalg.solve(R.T, b - A @ x))
    assert backward_error(A, b, x) > 100 * ROUNDOFF


# --------------------------------------------------------------------------------- sparse


def test_plain_lsmr_serves_matrices_with_too_many_columns_for_a_sketch(
    rng: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_drivers, "LARGEST_SKETCHED", 50)
    A = sp.random_array((900, 80), density=0.05, rng=rng).tocsr() + sp.eye_array(900, 80)
    b = rng.standard_normal(900)
    expected = solved(A.toarray(), b)
    for source in (sp.csr_array(A), aslinearoperator(sp.csr_array(A))):
        result = lstsq(source, b, rng=0)
        assert result.driver == "lsmr"
        np.testing.assert_allclose(result.x, expected, rtol=1e-9, atol=1e-11)
        # Nothing was factorised: the certificate is an upper bound.
        exact = backward_error(A, b, result.x)
        assert exact <= result.backward_error * 1.1 + 1e-17
        assert result.backward_error <= 10 * ROUNDOFF


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_plain_lsmr_serves_wide_matrices_with_many_rows(
    rng: Draw, monkeypatch: pytest.MonkeyPatch, alpha: float
) -> None:
    monkeypatch.setattr(_drivers, "LARGEST_SKETCHED", 50)
    A = sp.random_array((80, 900), density=0.05, rng=rng).tocsr() + sp.eye_array(80, 900)
    b = rng.standard_normal(80)
    dense = A.toarray()
    expected = dense.T @ np.linalg.solve(dense @ dense.T + alpha * np.eye(80), b)
    for source in (sp.csr_array(A), aslinearoperator(sp.csr_array(A))):
        result = lstsq(source, b, alpha=alpha, rng=0)
        assert result.driver == "lsmr"
        np.testing.assert_allclose(result.x, expected, rtol=1e-9, atol=1e-12)
        assert result.backward_error <= 10 * ROUNDOFF


def test_lsmr_of_several_right_sides_solves_each(rng: Draw) -> None:
    A, b, _ = conditioned(rng, 700, 9, 1e8, 1e-3)
    B = np.stack([b, np.zeros(700), 1e-9 * rng.standard_normal(700)], axis=1)
    result = lstsq(sp.csr_array(A), B, rng=0)
    for j in range(3):
        alone = lstsq(A, B[:, j], rng=0)
        scale = max(1.0, float(np.linalg.norm(alone.x)))
        assert np.linalg.norm(A @ (result.x[:, j] - alone.x)) <= 1e-12 * scale
    assert np.all(np.asarray(result.backward_error) <= 2 * ROUNDOFF)


# ------------------------------------------------------------------------------ the choice


def chosen(A: Any, b: Any = None, **options: Any) -> str:
    eq = equations(A, np.ones(A.shape[0]) if b is None else b, **options)
    eq.check_finite()
    return _drivers.choose(TallSystem(eq))


def test_the_choice_follows_the_rule_of_the_docstring(
    rng: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_drivers, "LARGEST_DIRECT", 20)
    good, bad = 1e2, 1e11
    cases = [
        ((800, 10, good), "cholesky"),
        ((80, 10, good), "cholesky"),
        ((79, 10, good), "sketch_cholqr"),
        ((800, 10, bad), "sketch_cholqr"),
        ((64 * 20, 20, bad), "sketch_cholqr"),
        ((64 * 21, 21, bad), "spir"),
        ((64 * 21 - 1, 21, bad), "sketch_cholqr"),
    ]
    for (n, d, cond), expected in cases:
        A, _, _ = conditioned(rng, n, d, cond, 1e-3)
        assert chosen(A) == expected, (n, d, cond)
        assert chosen(sp.csr_array(A)) == "cholesky"
        assert chosen(aslinearoperator(A)) == "lsmr"
    monkeypatch.setattr(_drivers, "LARGEST_SKETCHED", 9)
    assert chosen(sp.csr_array(A)) == "lsmr"


def test_the_docstring_states_the_numbers_of_the_code() -> None:
    text = re.sub(r"\s+", " ", inspect.getdoc(lstsq) or "")
    rule = text[text.index('``driver="auto"``, word for word') :]
    assert f"at least {4 * _drivers._SAMPLE} p rows and {_drivers._SAMPLE} p of them" in rule
    assert f"p is above {_drivers.LARGEST_DIRECT} and M has at least {_drivers.LONG} p rows" in rule
    assert f"beyond {_drivers.LARGEST_SKETCHED} columns" in text
    assert f"sparse matrix with ``n >= d`` and p up to {_drivers.LARGEST_SKETCHED}" in rule
    assert f"below {_drivers.RANK_TOLERANCE:.0f} eps times" in text


def test_rows_that_mislead_the_choice_cost_time_only(rng: Draw) -> None:
    # The rows that are looked at are well conditioned, the others are not.
    n, d = 1600, 10
    A, b = rng.standard_normal((n, d)), rng.standard_normal(n)
    looked_at = np.zeros(n, dtype=bool)
    looked_at[:: n // (2 * d)] = True
    A[looked_at] *= 1e-12
    A[~looked_at, -1] = A[~looked_at, 0]
    assert chosen(A) == "cholesky"
    result = lstsq(A, b, rng=0)
    assert result.driver == "sketch_cholqr"
    assert result.backward_error <= 10 * ROUNDOFF


# -------------------------------------------------------------------------------- storage


def peak(A: np.ndarray, b: np.ndarray, driver: str) -> int:
    """Most bytes held beyond the input."""
    lstsq(A, b, driver=driver, rng=0)
    tracemalloc.start()
    lstsq(A, b, driver=driver, rng=0)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["cholesky", "sketch_cholqr", "spir"])
def test_memory_is_a_quarter_of_the_matrix_at_most(rng: Draw, driver: str) -> None:
    n, d = 32768, 300
    A, b = rng.standard_normal((n, d)), rng.standard_normal(n)
    assert peak(A, b, driver) <= 0.25 * A.nbytes


@pytest.mark.parametrize("driver", NAMES)
def test_memory_keeps_to_the_formula_of_the_docstring(rng: Draw, driver: str) -> None:
    n, d = 100_000, 48
    A, b = rng.standard_normal((n, d)), rng.standard_normal(n)
    rows = {"cholesky": 0, "sketch_cholqr": 3 * d + 16, "spir": 8 * d + 16, "lsmr": 8 * d + 16}
    formula = 8 * (2 * rows[driver] * d + 9 * d * d + 2 * n) + 2 * 2**22
    assert peak(A, b, driver) <= formula + 2**18
    assert formula + 2**18 < 0.3 * A.nbytes  # negative control: a copy of A would be seen


def test_the_callers_arrays_are_not_written_to(rng: Draw) -> None:
    A, b = entries(rng, 300, 5), entries(rng, 300, 2)
    w = rng.uniform(size=300)
    kept = A.copy(), b.copy(), w.copy()
    for array in (A, b, w):
        array.flags.writeable = False
    for driver in NAMES:
        lstsq(A, b, weights=w, alpha=0.1, driver=driver, rng=0)
    for array, copy in zip((A, b, w), kept, strict=True):
        np.testing.assert_array_equal(array, copy)
