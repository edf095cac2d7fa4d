"""Deficient rank: columns of any units, zeros, weights; the least norm in the caller's units."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import AccuracyWarning
from linalgkit.regression import KronLstsqResult, LstsqResult, kron_lstsq, lstsq
from tests.conftest import Backend
from tests.regression.exact import optimal_backward_error
from tests.regression.problems import entries, solved

Draw = np.random.Generator
ROUNDOFF = 2.0**-53
every_driver = pytest.mark.parametrize(
    "driver", ["auto", "cholesky", "sketch_cholqr", "spir", "lsmr"]
)
pytestmark = pytest.mark.filterwarnings("ignore:A of shape .* has numerical rank")


def integers(rng: Draw, *shape: int, most: int, is_complex: bool = False) -> np.ndarray:
    """Draw integers, with which products of a few are exact."""
    values = rng.integers(-most, most + 1, shape).astype(float)
    return values + 1j * rng.integers(-most, most + 1, shape) if is_complex else values


def exact_matrix(X: np.ndarray) -> mpmath.matrix:
    """Return a matrix of numbers without rounding."""
    return mpmath.matrix([[mpmath.mpc(complex(value)) for value in row] for row in X])


def least_norm(W: np.ndarray, C: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``C^+ W^+ b``: the solution of ``min ||W C x - b||`` of least norm."""
    with mpmath.workdps(300):
        W_, C_, b_ = exact_matrix(W), exact_matrix(C), exact_matrix(b[:, None])
        z = mpmath.lu_solve(W_.H * W_, W_.H * b_)
        x = C_.H * mpmath.lu_solve(C_ * C_.H, z)
        return np.asarray([complex(value) for value in x])


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of a difference over that of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def residual_error(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Return the backward error of equations that can be satisfied, in units of ``||A||_F``."""
    with mpmath.workdps(80):
        A_, b_, x_ = exact_matrix(A), exact_matrix(b[:, None]), exact_matrix(x[:, None])
        size = mpmath.hypot(mpmath.norm(b_), mpmath.norm(A_) * mpmath.norm(x_))
        return float(mpmath.norm(b_ - A_ * x_) / size)


# ------------------------------------------------------------------------------ two columns


@every_driver
@pytest.mark.parametrize(
    "units", [(1.0, 2.0**-53), (1.0, 1.0), (1e20, 1e-20), (1e-20, 1e20), (1e86, 1e-56)], ids=str
)
def test_two_collinear_columns_of_any_units(
    rng: Draw, driver: str, units: tuple[float, float]
) -> None:
    v = entries(rng, 50)
    b = 2 * v + 0.1 * entries(rng, 50)
    first, second = units
    result = lstsq(np.c_[first * v, second * v], b, driver=driver, rng=0)
    ratio = second / first
    expected = (v @ b) / (v @ v) / first / (1 + ratio**2)
    assert relative(result.x, expected * np.asarray([1.0, ratio])) <= 1e-14
    assert (result.rank, result.status) == (1, "rank_deficient")
    assert result.backward_error <= ROUNDOFF


@every_driver
def test_a_collinear_pair_far_below_the_other_columns(rng: Draw, driver: str) -> None:
    A, b = entries(rng, 60, 6), entries(rng, 60)
    A[:, 5] = 1e-16 * (A[:, 0] + A[:, 1])
    result = lstsq(A, b, driver=driver, rng=0)
    assert relative(result.x, solved(A, b)) <= 1e-13
    assert optimal_backward_error(A, b, result.x) <= ROUNDOFF
    assert result.backward_error <= ROUNDOFF


# ----------------------------------------------------------------------------- any units


@every_driver
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("span", [0, 8, 30, 100], ids=lambda span: f"2^{span}")
def test_the_least_norm_in_units_that_are_far_apart(
    rng: Draw, driver: str, span: int, is_complex: bool
) -> None:
    """Columns that are alone stay, however small they are beside those that are not."""
    W = integers(rng, 40, 4, most=2**20, is_complex=is_complex)
    C = np.zeros((4, 9), dtype=W.dtype)
    C[:, :4], C[0, 4], C[1, 5], C[:3, 6] = np.eye(4), 1.0, -2.0, [1.0, 1.0, 2.0]
    C[:2, 7] = [3.0, -1j if is_complex else 1.0]
    for exponents in (
        span * np.linspace(-1, 1, 9),
        span * np.linspace(1, -1, 9),
        rng.integers(-span, span + 1, 9),
        np.asarray([0, -span, span, -span, -span, 0, 0, -span // 2, 0]),
    ):
        units = C * 2.0 ** np.rint(exponents)
        b = integers(rng, 40, most=1000, is_complex=is_complex)
        result = lstsq(W @ units, b, driver=driver, rng=0)
        assert (result.rank, result.status) == (4, "rank_deficient")
        assert relative(result.x, least_norm(W, units, b)) <= 1e-11
        assert result.x[8] == 0
        assert result.backward_error <= 2 * ROUNDOFF


@every_driver
def test_nearly_collinear_columns_may_replace_one_that_is_tiny(rng: Draw, driver: str) -> None:
    """Two columns differ by 1e-4 of a third, whose unit makes its unknown 1e40."""
    W = integers(rng, 40, 3, most=2**20)
    C = np.asarray([[1.0, 1.0, 0.0, 0.0], [2.0**-13, 0.0, 2.0**-133, 0.0], [0.0, 0.0, 0.0, 1.0]])
    b = integers(rng, 40, most=1000)
    result = lstsq(W @ C, b, driver=driver, rng=0)
    assert relative(result.x, least_norm(W, C, b)) <= 1e-10
    assert relative(result.x, solved(W @ C, b)) <= 1e-10
    assert result.backward_error <= 2 * ROUNDOFF


@every_driver
def test_weights_and_sparse_columns_of_any_units(rng: Draw, driver: str) -> None:
    W, w = integers(rng, 60, 3, most=2**20), 4.0 ** rng.integers(-6, 7, 60)
    w[:10] = 0.0
    C = np.asarray([[1.0, 2.0**-60, 0, 0, 0], [0, 2.0**-60, 0, 2.0**70, 0], [0, 0, 2.0**-40, 0, 0]])
    b = integers(rng, 60, most=1000)
    expected = least_norm(np.sqrt(w)[:, None] * W, C, np.sqrt(w) * b)
    for A in (W @ C, sp.csr_array(W @ C)):
        result = lstsq(A, b, weights=w, driver=driver, rng=0)
        assert result.rank == 3
        assert relative(result.x, expected) <= 1e-12
        assert result.backward_error <= 2 * ROUNDOFF


def test_units_that_are_far_apart_on_every_library(xp: Backend) -> None:
    rng = np.random.default_rng(11)
    W = integers(rng, 50, 2, most=100)
    C = np.asarray([[2.0**40, 2.0**-40, 0.0, 0.0], [0.0, 0.0, 2.0**-20, 0.0]])
    b = integers(rng, 50, most=100)
    for driver in ("sketch_cholqr", "spir"):
        result = lstsq(xp.asarray(W @ C), xp.asarray(b), driver=driver, rng=0)
        assert result.rank == 2
        assert relative(xp.to_numpy(result.x), least_norm(W, C, b)) <= 10 * xp.tolerance
        assert xp.to_numpy(result.x)[3] == 0


# --------------------------------------------------------------------------- columns of zeros


def stiff(rng: Draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return equations with a column of zeros, and factors for 12 of 20 equations."""
    A, b = entries(rng, 20, 20), entries(rng, 20)
    A[:, 3] = 0.0
    return A, b, np.asarray([0.0] * 8 + [1e8, 1.0, 1e-5] * 4)


@every_driver
@pytest.mark.parametrize("seed", [4, 5, 6])
def test_a_column_of_zeros_among_stiff_rows_of_deficient_rank(driver: str, seed: int) -> None:
    A, b, s = stiff(np.random.default_rng(seed))
    M, c = s[:, None] * A, s * b
    size = np.linalg.norm(np.linalg.pinv(A[8:]) @ b[8:])  # twelve equations that can be satisfied
    for result in (
        lstsq(M, c, driver=driver, rng=0),
        lstsq(A, b, weights=s * s, driver=driver, rng=0),
    ):
        assert (result.rank, result.status) == (12, "rank_deficient")
        assert result.backward_error <= 2 * ROUNDOFF
        assert residual_error(M, c, result.x) <= 2 * ROUNDOFF
        assert np.linalg.norm(result.x) == pytest.approx(size, rel=1e-2)  # condition 1e13
        assert result.x[3] == 0


@every_driver
def test_triangles_of_weighted_rows_keep_a_small_backward_error(driver: str) -> None:
    """Units 1e13 apart and a condition number of 1e13 of what is kept."""
    rng = np.random.default_rng(3)
    A = np.zeros((60, 20))
    A[:20, :] = np.triu(-np.ones((20, 20))) + 2 * np.eye(20)
    w = rng.choice([0.0, 1.0, 1e16, 1e-10], 60)
    b = entries(rng, 60)
    b[:20] = 0.0
    result = lstsq(A, b + A @ entries(rng, 20), weights=w, driver=driver, rng=0)
    assert result.status == "rank_deficient"
    assert result.backward_error <= 5 * ROUNDOFF


# ------------------------------------------------------------------------------------- ridge


@every_driver
@pytest.mark.parametrize("shape", [(50, 4), (3, 9)], ids=["tall", "wide"])
def test_a_ridge_below_rounding_leaves_the_rank_deficient(
    rng: Draw, driver: str, shape: tuple[int, int]
) -> None:
    A, b = entries(rng, *shape), entries(rng, shape[0])
    if shape[0] > shape[1]:
        A[:, 2:] = A[:, :2]
    else:
        A[2, :], b[2] = A[0, :], b[0]
    way_out = "alpha=1.0e-40 has numerical rank 2: .* Pass a larger alpha, or rcond"
    with pytest.warns(AccuracyWarning, match=way_out):
        result = lstsq(A, b, alpha=1e-40, driver=driver, rng=0)
    assert (result.rank, result.status) == (2, "rank_deficient")
    assert relative(result.x, solved(A, b)) <= 1e-12
    with pytest.warns(AccuracyWarning, match="Pass alpha > 0 for a ridge, or rcond"):
        assert lstsq(A, b, driver=driver, rng=0).rank == 2
    enough = lstsq(A, b, alpha=1e-4, driver=driver, rng=0)
    assert (enough.rank, enough.status) == (min(shape), "converged")


def test_results_say_what_a_ridge_does_to_the_rank(rng: Draw) -> None:
    factors, B = [np.zeros((6, 2)), entries(rng, 7, 3)], entries(rng, 6, 7)
    found = kron_lstsq(factors, B, alpha=1.0)
    assert (found.rank, found.status) == (0, "exact")
    assert not np.any(found.x)
    documented = [" ".join((kind.__doc__ or "").split()) for kind in (LstsqResult, KronLstsqResult)]
    assert "with a ridge ``min(n, d)``, unless `alpha` is so small" in documented[0]
    assert "ranks of the factors, in which a ridge does not count" in documented[1]
