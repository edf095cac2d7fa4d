"""Long sums: solutions and certificates of many equations, against extended precision.

The data are those of everyday tables, whose rounding errors add up instead of averaging out: an
intercept, groups, steps, a constant column.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import AccuracyWarning
from linalgkit._core import array as core_array
from linalgkit._core.summation import RUN, LongSum, long_matmul, long_matmul_h
from linalgkit._kernels import csr_residual_product, residual_product
from linalgkit.regression import backward_error, lstsq
from tests.conftest import Backend

NP = core_array.numpy_namespace()
N = 200_000
ROUNDOFF = 2.0**-53
Long = np.longdouble
pytestmark = pytest.mark.skipif(
    bool(np.finfo(Long).eps > 1e-18), reason="no extended precision to compare with"
)


def inner(X: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return ``X^T r`` in extended precision, summed in pairs."""
    return np.asarray([np.sum(column.astype(Long) * r) for column in X.T])


def true_error(A: np.ndarray, b: np.ndarray, x: np.ndarray, alpha: float = 0.0) -> float:
    """Return the estimate of Karlson and Walden in roundoffs, from extended precision."""
    x, ridge = x.astype(Long), Long(alpha)
    r = b.astype(Long) - sum(A[:, j].astype(Long) * x[j] for j in range(x.size))
    g = inner(A, r) - ridge * x
    G = np.asarray([inner(A, column.astype(Long)) for column in A.T]) + ridge * np.eye(x.size)
    energy = np.trace(G)
    size = math.sqrt(np.sum(b.astype(Long) ** 2) + energy * (x @ x))
    mu2 = energy * (np.sum(r * r) + ridge * (x @ x)) / size**2
    damped = (G + mu2 * np.eye(x.size)).astype(float)
    return math.sqrt(g.astype(float) @ np.linalg.solve(damped, g.astype(float))) / size / ROUNDOFF


def step(n: int = N) -> np.ndarray:
    return np.r_[np.full(n // 2, 1.1), np.full(n - n // 2, -0.7)]


def cancelling(n: int = N) -> np.ndarray:
    """Return a right side that is almost orthogonal to a constant column."""
    return np.r_[np.full(n // 4, 1.1), np.full(n // 4, -1.1), np.full(n - n // 2, 0.9)]


def groups(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Return an intercept with the indicators of groups, and a right side."""
    group = np.repeat(np.arange(5), n // 5)
    A = np.c_[np.ones(n), group[:, None] == np.arange(1, 5)] * 1.0
    return A, step(n) + 0.37 * group


def constant(n: int = N) -> np.ndarray:
    return np.full((n, 1), 0.1)


def line(n: int = N) -> np.ndarray:
    return np.c_[np.ones(n), np.linspace(0, 1, n)]


PROBLEMS = {
    "groups": groups(),
    "constant": (constant(), step()),
    "cancelling": (constant(), cancelling()),
    "line": (line(), step()),
}


def in_blocks(A: np.ndarray, b: np.ndarray, *, sparse: bool = False) -> list[Any]:
    made = sp.csr_array if sparse else np.asarray
    return [(made(X), r) for X, r in zip(np.split(A, 10), np.split(b, 10), strict=True)]


# How the same equations may come.
KINDS = {
    "dense": lambda A, b: (A, b),
    "columns": lambda A, b: (np.asfortranarray(A), b),
    "sparse": lambda A, b: (sp.csr_array(A), b),
    "blocks": lambda A, b: (in_blocks(A, b), None),
    "sparse blocks": lambda A, b: (in_blocks(A, b, sparse=True), None),
}


@pytest.fixture
def accurate() -> Iterator[None]:
    """Make a weak answer an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        yield


def check(data: tuple[Any, Any], A: np.ndarray, b: np.ndarray, result: Any, alpha: float) -> None:
    """Hold the answer to ten roundoffs, and both certificates to the truth."""
    found = true_error(A, b, result.x, alpha)
    assert result.status == "converged"
    assert found <= 10
    again = backward_error(*data, result.x, alpha=alpha)
    for certificate in (result.backward_error / ROUNDOFF, again / ROUNDOFF):
        low, high = sorted((certificate, found))
        assert high <= 2 or high <= 5 * low


@pytest.mark.usefixtures("accurate")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_answers_and_certificates_hold_for_many_equations(
    name: str, kind: str, share: float
) -> None:
    A, b = PROBLEMS[name]
    data, alpha = KINDS[kind](A, b), share * N
    check(data, A, b, lstsq(*data, alpha=alpha, rng=0), alpha)


@pytest.mark.usefixtures("accurate")
@pytest.mark.parametrize("driver", ["cholesky", "sketch_cholqr", "spir", "lsmr"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("name", ["groups", "constant"])
def test_each_driver_reaches_ten_roundoffs_itself(name: str, kind: str, driver: str) -> None:
    A, b = PROBLEMS[name]
    data = KINDS[kind](A, b)
    result = lstsq(*data, driver=driver, rng=0)
    assert result.driver == driver
    check(data, A, b, result, 0.0)


@pytest.mark.usefixtures("accurate")
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("n", [1, 3])
def test_long_equations_are_solved_as_accurately(n: int, kind: str) -> None:
    A = np.full((n, N), 0.1)
    for i in range(n):
        A[i, i :: n + 1] = -0.3 - 0.1 * i
    b = np.arange(1.0, n + 1)
    result = lstsq(sp.csr_array(A) if kind == "sparse" else A, b, rng=0)
    r = b - inner(A.T, result.x.astype(Long))
    size = np.linalg.norm(A) * np.linalg.norm(result.x) + np.linalg.norm(b)
    assert result.status == "converged"
    assert float(np.sqrt(r @ r)) <= 4 * ROUNDOFF * size


# ----------------------------------------------------------------------------------- kernels


def gradient_error(X: np.ndarray, R: np.ndarray, D: np.ndarray) -> float:
    """Return the error of ``D = X^H R`` in units of roundoff and of the sum of moduli."""
    unit = np.finfo(D.dtype).eps / 2
    wide = np.clongdouble if X.dtype.kind == "c" else Long
    exact = np.asarray([np.sum(c.conj().astype(wide) * R[:, 0]) for c in X.T])
    size = np.asarray([np.sum(np.abs(c) * np.abs(R[:, 0])) for c in X.T])
    return float(np.max(np.abs(D[:, 0] - exact) / size)) / unit


def one_after_another(X: np.ndarray, R: np.ndarray) -> np.ndarray:
    return np.cumsum(X[:, 0].conj() * R[:, 0])[-1:, None]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("form", residual_product.forms())
def test_rounding_of_a_gradient_does_not_grow_with_rows(form: str, dtype: str) -> None:
    X = constant().astype(dtype) * (1 if dtype == "float64" else 1 + 0.3j)
    B, Z = step()[:, None].astype(dtype), np.full((1, 1), 0.3, dtype=dtype)
    R, D = residual_product.forms()[form](NP, X, Z, B)
    assert gradient_error(X, R, D) <= RUN
    assert gradient_error(X, R, one_after_another(X, R)) > 100  # negative control


@pytest.mark.parametrize(("d", "k"), [(1, 1), (4, 6), (20, 3)])
def test_rounding_of_a_gradient_does_not_grow_on_any_library(xp: Backend, d: int, k: int) -> None:
    X, Z = np.full((40_000, d), 0.1) * np.arange(1, d + 1), np.full((d, k), 0.3)
    B = step(40_000)[:, None] * np.arange(1.0, k + 1)
    R, D = residual_product(xp.xp, *map(xp.asarray, (X, Z, B)))
    single = np.float64 if xp.has_float64 else np.float32
    assert gradient_error(X.astype(single), xp.to_numpy(R), xp.to_numpy(D)) <= RUN


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("form", csr_residual_product.forms())
def test_rounding_of_a_sparse_gradient_does_not_grow_with_rows(form: str, dtype: str) -> None:
    wide = "complex128" if dtype == "complex128" else "float64"
    X = groups()[0].astype(dtype) * (0.1 + 0.3j if wide == "complex128" else 0.1)
    X = X.astype(dtype)
    B, Z = step()[:, None].astype(wide), np.full((5, 1), 0.3, dtype=wide)
    R, D = csr_residual_product.forms()[form](NP, sp.csr_array(X), Z, B)
    assert gradient_error(X.astype(wide), R, D) <= RUN
    assert np.all(np.abs(R - (B - X @ Z)) <= 20 * ROUNDOFF)


@pytest.mark.parametrize("form", csr_residual_product.forms())
@pytest.mark.parametrize(("n", "d", "q"), [(1, 1, 1), (7, 4, 3), (1500, 40, 1), (3, 900, 6)])
def test_sparse_residuals_agree_with_dense_ones(
    rng: np.random.Generator, form: str, n: int, d: int, q: int
) -> None:
    for unit in (1.0, 1.0 + 0.5j):
        S = sp.csr_array(sp.random_array((n, d), density=0.3, rng=rng) * unit)
        Z, B = rng.standard_normal((d, q)) * unit, rng.standard_normal((n, q)) * unit
        kept = B.copy()
        R, D = csr_residual_product.forms()[form](NP, S, Z, B)
        np.testing.assert_allclose(R, B - S.toarray() @ Z, atol=1e-13, rtol=1e-12)
        np.testing.assert_allclose(D, S.toarray().conj().T @ R, atol=1e-12, rtol=1e-12)
        np.testing.assert_array_equal(B, kept)


def test_products_in_runs_on_every_library_in_single_precision(xp: Backend) -> None:
    X, P = np.full((100_001, 2), 0.1, np.float32), step(100_001)[:, None].astype(np.float32)
    X_, P_ = xp.asarray(X, "float32"), xp.asarray(P, "float32")
    for found in (long_matmul_h(X_, P_, xp.xp), long_matmul(X_.T, P_, xp.xp)):
        assert found.dtype == xp.xp.float32
        assert gradient_error(X, P, xp.to_numpy(found)) <= RUN
    assert gradient_error(X, P, one_after_another(X, P)) > 1000  # negative control


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 32, 33, 63, 80, 513])
def test_products_in_runs_take_every_row_once(rng: np.random.Generator, n: int) -> None:
    X = rng.integers(-9, 9, (n, 3)) + 1j * rng.integers(-9, 9, (n, 3))
    P = rng.integers(-9, 9, (n, 2)) + 0j
    np.testing.assert_array_equal(long_matmul_h(X, P, NP), X.conj().T @ P)
    np.testing.assert_array_equal(long_matmul(X.T, P, NP), X.T @ P)


def test_a_long_sum_is_that_of_exact_arithmetic_rounded(xp: Backend) -> None:
    terms = np.asarray([1e8, 1.0, 3e-7, -1e8, 7e-9, 0.1] * 50)
    terms = terms if xp.has_float64 else terms.astype(np.float32).astype(float)
    first, *rest = (xp.asarray([[term]]) for term in terms)
    total = LongSum(first, xp.xp)
    for term in rest:
        total.add(term)
    expected = math.fsum(terms)
    found = float(total.value()[0, 0])
    eps = core_array.eps(xp.xp, xp.float)
    assert abs(found - expected) <= eps * abs(expected) + eps**2 * np.sum(np.abs(terms))


def test_a_long_sum_keeps_infinity() -> None:
    total = LongSum(np.asarray([1e308, 1.0]), NP)
    with np.errstate(all="ignore"):
        total.add(np.asarray([1e308, 2.0]))
        total.add(np.asarray([1.0, 3.0]))
        np.testing.assert_array_equal(total.value(), [np.inf, 6.0])


# ------------------------------------------------------------------------------- truncation


@pytest.mark.parametrize("driver", ["auto", "cholesky", "sketch_cholqr", "spir", "lsmr"])
@pytest.mark.parametrize("shape", [(100, 8), (8, 100)])
def test_truncation_loses_no_more_than_a_singular_value_decomposition(
    rng: np.random.Generator, shape: tuple[int, int], driver: str
) -> None:
    U = np.linalg.qr(rng.standard_normal((shape[0], 8)))[0]
    V = np.linalg.qr(rng.standard_normal((shape[1], 8)))[0]
    values, b = 10.0 ** -np.arange(8.0), rng.standard_normal(shape[0])
    A = (U * values) @ V.T
    result = lstsq(A, b, driver=driver, rcond=3e-7, rng=0)
    expected = np.linalg.lstsq(A, b, rcond=3e-7)[0]
    assert (result.rank, result.status) == (7, "converged")
    assert np.linalg.norm(result.x - expected) <= 1e-9 * np.linalg.norm(expected)
