"""Numbers near the ends of their range: answers that hold what they say, or a clear refusal."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from linalgkit import AccuracyWarning
from linalgkit.regression import (
    SketchedRegressor,
    backward_error,
    kron_lstsq,
    lstsq,
    sketch_preconditioner,
    sketch_size,
    sketched_lstsq,
    theory,
)
from linalgkit.regression._certificate import column_norms
from linalgkit.regression._scaled import product_exponents, times_outer_powers
from linalgkit.regression._size import gaussian_size
from tests.conftest import Backend
from tests.regression.exact import optimal_backward_error
from tests.regression.problems import entries

Draw = np.random.Generator
DRIVERS = ("auto", "cholesky", "sketch_cholqr", "spir", "lsmr")
METHODS = ("exact", "karlson_walden", "sketched")
ROUNDOFF = 2.0**-53
every_driver = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Make any warning an error, in whatever way the suite is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ------------------------------------------------------------------- unknowns that overflow


@every_driver
def test_unknowns_that_overflow_are_refused(rng: Draw, driver: str) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    with pytest.raises(ValueError, match=r"x would overflow.*power of two"):
        lstsq(A * 1e-300, b * 1e300, driver=driver)
    with pytest.raises(ValueError, match=r"x would overflow"):
        lstsq(A[:3].T.copy().T * 1e-300, b[:3] * 1e300, driver=driver)


def test_unknowns_that_overflow_in_single_precision_only_are_refused(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    small, large = (A * 1e-30).astype(np.float32), (b * 1e20).astype(np.float32)
    for solver in (lstsq, lambda *data: sketched_lstsq(*data, m=20)):
        with pytest.raises(ValueError, match=r"x would overflow.*3\.4e\+38"):
            solver(small, large)


def test_sketched_answers_are_never_infinite(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    with pytest.raises(ValueError, match="x would overflow"):
        sketched_lstsq(A * 1e-300, b * 1e300, m=20, rng=0)
    with pytest.raises(ValueError, match="x would overflow"):
        SketchedRegressor(m=20, rng=0).fit(A * 1e-300, b * 1e300).result()
    # Unknowns of zero, with a residual that makes their standard errors too large.
    orthogonal = b - A @ np.linalg.lstsq(A, b, rcond=None)[0]
    with pytest.raises(ValueError, match=r"(x|stderr) would overflow"):
        sketched_lstsq(A * 1e-154, orthogonal * 1e155, m=20, rng=0)
    result = sketched_lstsq(A * 1e-150, b * 1e150, m=20, rng=0)
    assert np.isfinite(result.stderr).all()
    with pytest.raises(ValueError, match="combination of unknowns would overflow"):
        result.contrast(np.full(4, 1e100))


def test_ends_of_intervals_beyond_the_largest_number_are_infinite(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    result = sketched_lstsq(A * 1e-153, b * 1e154, m=5, rng=0)
    lower, upper = result.ci(1 - 1e-3)
    assert np.isfinite(result.x).all()
    assert (lower == -math.inf).any()
    assert (upper == math.inf).any()


def test_a_ridge_does_not_hide_unknowns_that_overflow(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    for m in (20, None):  # with a sketch, and without
        with pytest.raises(ValueError, match="x would overflow"):
            sketched_lstsq(A * 1e-160, b * 1e200, alpha=1e-300, m=m, rng=0)


def test_kronecker_unknowns_that_overflow_are_refused_without_a_warning(rng: Draw) -> None:
    A, C, B = rng.standard_normal((5, 2)), rng.standard_normal((6, 3)), rng.standard_normal((5, 6))
    with pytest.raises(ValueError, match="unknowns that overflow"):
        kron_lstsq([A * 1e-300, C], B * 1e300)
    single = [(X * 1e-19).astype(np.float32) for X in (A, C)]
    with pytest.raises(ValueError, match="unknowns that overflow"):
        kron_lstsq(single, (B * 1e10).astype(np.float32))


# ------------------------------------------------------------------ unknowns that underflow


@every_driver
@pytest.mark.parametrize("exponent", [515, 525, 532, 997])
def test_the_certificate_is_that_of_the_unknowns_as_returned(
    rng: Draw, driver: str, exponent: int
) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    with pytest.warns(AccuracyWarning, match="x is too small for its digits"):
        result = lstsq(np.ldexp(A, exponent), np.ldexp(b, -exponent), driver=driver, rng=0)
    assert result.status == "inaccurate"
    x = np.ldexp(result.x, 2 * exponent)
    true = optimal_backward_error(A, b, x)
    assert true > 10 * ROUNDOFF
    assert result.backward_error == pytest.approx(true, rel=0.5)
    norm = np.ldexp(np.linalg.norm(b - A @ x), -exponent)
    assert result.residual_norm == pytest.approx(norm, rel=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 1e302])
def test_wide_problems_are_judged_as_returned_too(rng: Draw, alpha: float) -> None:
    A, b = rng.standard_normal((4, 50)) * 1e152, rng.standard_normal(4) * 1e-165
    with pytest.warns(AccuracyWarning, match="x is too small"):
        result = lstsq(A, b, alpha=alpha)
    estimate = backward_error(A, b, result.x, alpha=alpha, method="karlson_walden")
    assert estimate > 1e-8
    assert estimate * (1 - 1e-9) <= result.backward_error <= 1.5 * estimate


def test_a_truncated_solution_that_underflows_is_called_inaccurate(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    assert lstsq(A, b, rcond=1e-3).status == "converged"
    with pytest.warns(AccuracyWarning):
        assert lstsq(A * 1e160, b * 1e-160, rcond=1e-3).status == "inaccurate"


def test_scaled_data_whose_unknowns_are_representable_lose_nothing(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    expected = lstsq(A, b).x
    for a in (-1000, -300, 300, 900):
        result = lstsq(np.ldexp(A, a), np.ldexp(b, a))
        np.testing.assert_allclose(result.x, expected, rtol=1e-13)
        assert result.backward_error <= ROUNDOFF


# --------------------------------------------------------------------------- wide range data


@pytest.mark.parametrize("driver", ["auto", "cholesky", "lsmr"])
@pytest.mark.parametrize("exponent", [60, 80])
def test_equations_of_very_different_sizes_are_certified(driver: str, exponent: int) -> None:
    scales = np.asarray([[1.0], [10.0**-exponent], [10.0**exponent]])
    A = np.random.default_rng(0).standard_normal((3, 30)) * scales
    result = lstsq(A, np.ones(3), driver=driver)
    assert result.status == "converged"
    assert result.backward_error <= 10 * ROUNDOFF


def test_columns_of_very_different_sizes_and_stiff_weights_raise_no_warning() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((300, 20)) * 10.0 ** rng.uniform(-100, 100, 20)
        weights = rng.choice([0.0, 1.0, 1e16, 1e-10], 300)
        result = lstsq(A, rng.standard_normal(300), weights=weights, driver="cholesky", rng=0)
        assert result.status == "converged"
        assert result.backward_error <= 10 * ROUNDOFF


def test_sketched_problems_of_the_smallest_numbers_are_solved_to_full_accuracy(rng: Draw) -> None:
    A, b = rng.standard_normal((50, 4)), rng.standard_normal(50)
    expected = sketched_lstsq(A, b, m=20, rng=0)
    found = sketched_lstsq(np.ldexp(A, -1021), np.ldexp(b, -1021), m=20, rng=0)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-12)
    np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-12)
    tiny = sketched_lstsq(A * 1e-310, b * 1e-310, m=20, rng=0)
    np.testing.assert_allclose(tiny.stderr, expected.stderr, rtol=1e-8)
    A[:, 3] = A[:, 0]
    with pytest.warns(AccuracyWarning, match="rank 3"):
        assert sketched_lstsq(A * 1e-310, b * 1e-310, m=20, rng=0).rank == 3
    single = (A * 1e-41).astype(np.float32), (b * 1e-41).astype(np.float32)
    with pytest.warns(AccuracyWarning, match="rank 3"):
        assert sketched_lstsq(*single, m=20, rng=0).rank == 3


# ---------------------------------------------------------------------------- backward errors


@pytest.mark.parametrize("method", METHODS)
def test_the_backward_error_depends_on_no_unit(rng: Draw, method: str) -> None:
    A, b, x = rng.standard_normal((40, 5)), rng.standard_normal(40), np.ones(5)
    long = backward_error(A, 0 * b, x, method=method, rng=0)
    for exponent in (150, 155, 200, 300, -150, -200, -300):
        found = backward_error(A, 0 * b, x * 10.0**exponent, method=method, rng=0)
        assert found == pytest.approx(long, rel=1e-6)
    for exponent in (150, 155, 300):  # b is nothing beside A x
        found = backward_error(A, b, x * 10.0**exponent, method=method, rng=0)
        assert found == pytest.approx(long, rel=1e-6)
    expected = backward_error(A, b, x, method=method, rng=0)
    for a, e in ((300, -300), (-300, 300), (-100, -100)):
        scaled = backward_error(A * 10.0**a, b * 10.0 ** (a + e), x * 10.0**e, method=method, rng=0)
        assert scaled == pytest.approx(expected, rel=1e-6)


def test_the_backward_error_of_long_unknowns_agrees_with_eighty_digits(rng: Draw) -> None:
    for is_complex in (False, True):
        A, b = entries(rng, 20, 3, is_complex=is_complex), entries(rng, 20, is_complex=is_complex)
        x = entries(rng, 3, is_complex=is_complex)
        expected = optimal_backward_error(A, 1e-12 * b, x)  # of b so far below A x only this counts
        assert backward_error(A, b, x * 1e155) == pytest.approx(expected, rel=1e-6)
    x = rng.standard_normal((3, 2)) * [1e155, 1.0]
    B = np.stack([np.zeros(20), A.real @ x[:, 1]], axis=1)
    found = backward_error(A.real, B, x)
    expected = optimal_backward_error(A.real, 1e-12 * b.real, x[:, 0] / 1e155)
    assert found[0] == pytest.approx(expected, rel=1e-6)
    assert found[1] <= ROUNDOFF


def test_the_zero_answer_to_tiny_right_sides_is_judged(rng: Draw) -> None:
    A, b = rng.standard_normal((40, 5)), rng.standard_normal(40)
    expected = backward_error(A, b, np.zeros(5))
    assert expected > 0.01
    found = backward_error(A * 1e200, b * 1e-200, np.zeros(5))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("wrap", [sp.csr_array, aslinearoperator])
def test_sparse_matrices_and_operators_with_few_rows_are_judged_as_dense_ones(
    rng: Draw, method: str, alpha: float, wrap: Callable[[Any], Any]
) -> None:
    A, b, x = rng.standard_normal((5, 30)), rng.standard_normal(5), rng.standard_normal(30)
    expected = backward_error(A, b, x, method=method, alpha=alpha, rng=0)
    found = backward_error(wrap(A), b, x, method=method, alpha=alpha, rng=0)
    assert found == pytest.approx(expected, rel=1e-4)


# ------------------------------------------------------------------ products that are not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "call",
    [
        lambda A, b: lstsq(A, b),
        lambda A, b: lstsq(A, b, driver="cholesky"),
        lambda A, b: lstsq(A, b, driver="spir"),
        lambda A, b: backward_error(A, b, np.ones(3)),
        lambda A, b: backward_error(A, b, np.ones(3), method="sketched"),
        lambda A, b: sketch_preconditioner(A),
        lambda A, b: sketched_lstsq(A, b, m=10),
    ],
)
def test_operators_whose_products_are_not_finite_are_refused(
    bad: float, call: Callable[[Any, Any], Any]
) -> None:
    def product(rows: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda X: np.full((rows, *X.shape[1:]), bad)

    for n in (40, 400):  # as many rows as the sketch has, and more
        A = LinearOperator(
            (n, 3), product(n), product(3), matmat=product(n), rmatmat=product(3), dtype=float
        )
        with pytest.raises(ValueError, match="product"):
            call(A, np.ones(n))


# --------------------------------------------------------------------------------- sizes


def test_huge_sizes_of_the_paper_are_exact_integers() -> None:
    with pytest.warns(AccuracyWarning):
        m = sketch_size(10**9, 10**12, 0.1, 1e-300, rule="paper")
    with mpmath.workdps(50):
        expected = 10**11 * (mpmath.log(10**12) - mpmath.log(mpmath.mpf(1e-300))) ** 3
        assert abs(m / expected - 1) < 1e-13
        tiny = mpmath.mpf(5e-324)
        expected = 10 * mpmath.log(100 / tiny) ** 3 / tiny**2
        assert abs(theory.paper_size(10, 100, 5e-324, 5e-324) / expected - 1) < 1e-13
        expected = 10 * mpmath.log(10 / tiny) / tiny**2
        assert abs(theory.pooled_size(10, 5e-324, 5e-324) / expected - 1) < 1e-13


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_tiny_accuracies_have_sizes_beyond_the_largest_float(norm: Any, is_complex: bool) -> None:
    kinds = {"norm": norm, "is_complex": is_complex}
    # From bisection to the limit, and on, the size is inversely as the square of eps.
    near = gaussian_size(7, 1.0001e-50, 0.1, **kinds)
    for eps in (0.9999e-50, 1e-160, 5e-324):
        with mpmath.workdps(50):
            ratio = (mpmath.mpf(1.0001e-50) / mpmath.mpf(eps)) ** 2
            assert abs(gaussian_size(7, eps, 0.1, **kinds) / (near * ratio) - 1) < 1e-13
    if not is_complex:
        freedom, tail = (1, 0.1 / 7) if norm == "inf" else (7, 0.1)
        quantile = scipy.stats.chi2.isf(tail, freedom) * (7 if norm == "inf" else 1)
        assert near * 1.0001e-50**2 == pytest.approx(quantile, rel=1e-12)


def test_sizes_that_no_float_can_tell_name_the_argument() -> None:
    with pytest.raises(ValueError, match="delta must be so large"):
        sketch_size(10, 100, 0.1, 5e-324)
    with pytest.raises(ValueError, match="d must be at most"):
        sketch_size(2**60, None, 0.1, 0.1)


# ------------------------------------------------------------------------------ helpers


def test_column_norms_neither_overflow_nor_vanish(xp: Backend) -> None:
    most = 300 if xp.has_float64 else 35
    sizes = np.asarray([10.0**most, 1.0, 10.0**-most, 0.0])
    found = column_norms(xp.asarray(np.ones((4, 1)) * sizes, xp.all_dtypes[-2]), xp.xp)
    np.testing.assert_allclose(found, 2 * sizes, rtol=1e-6)
    odd = column_norms(xp.asarray([[1.0, 1.0], [math.inf, math.nan]], xp.all_dtypes[-2]), xp.xp)
    assert odd[0] == math.inf
    assert math.isnan(odd[1])


def test_exponents_of_products(xp: Backend) -> None:
    X = xp.asarray([[1.0, 0.0, 0.0], [3.0, 2.0, 0.0]], "complex64")
    assert product_exponents(X, [5000, -7]) == [5001, -5, None]


def test_powers_for_rows_and_columns_meet_before_they_are_applied(xp: Backend) -> None:
    X = xp.asarray([[3.0], [5.0]], "float32")
    found = xp.to_numpy(times_outer_powers(X, [-2000, -1999], [2000], xp.xp))
    np.testing.assert_array_equal(found, [[3.0], [10.0]])
