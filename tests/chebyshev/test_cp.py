"""Canonical tensors as functions: against direct sums, splines and the paper's data."""

from __future__ import annotations

import math
import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import chebyshev as polynomial
from scipy import linalg
from scipy.interpolate import CubicSpline

from linalgkit._core.array import numpy_namespace
from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev._basis import nodes
from linalgkit.chebyshev._cp import chebtucker_from_cp
from linalgkit.chebyshev._cp_reduction import khatri_rao, projected_core, weighted_reduction
from linalgkit.chebyshev._resample import chopped_length, spline_envelope, spline_length
from tests.conftest import uncompiled

HOST = numpy_namespace()
CUBE = [(-1.0, 1.0)] * 3
CENTRES = np.linspace(-0.6, 0.5, 12)
SHIFTS = np.array([0.0, 0.2, -0.15])
WIDTHS = np.linspace(1.0, 3.0, 12)
WEIGHTS = np.cos(np.arange(12.0)) + 0.3


def gaussians(x, k):
    return np.exp(-WIDTHS * (x[:, None] - CENTRES - SHIFTS[k]) ** 2)


def waves(x, k):
    return gaussians(x, k) * np.exp(1j * (k + 1) * x[:, None])


def direct(weights, columns, points):
    V = [U(points[:, k]) for k, U in enumerate(columns)]
    return np.prod(V, axis=0) @ weights


def cells(n):
    return (2 * np.arange(n) + 1 - n) / n


def cheb2(n):
    return -np.cos(np.pi * np.arange(n) / (n - 1))


def points_in(domain, n=400, seed=5):
    a, b = np.array(domain, dtype=float).T
    return a + (b - a) * np.random.default_rng(seed).random((n, len(domain)))


def host_values(T, xp, points):
    return xp.to_numpy(T(xp.asarray(points, "float64" if xp.has_float64 else "float32")))


# ------------------------------------------------------------------------------ the answer


def test_sum_of_callables_is_met_to_the_tolerance(xp):
    tol = 1e-8 if xp.has_float64 else 1e-5
    dtype = "float64" if xp.has_float64 else "float32"

    def factor(k):
        def U(x):
            return xp.asarray(waves(xp.to_numpy(x).astype(float), k))

        return U

    domain = CUBE[:2]
    T = chebtucker_from_cp(xp.asarray(WEIGHTS, dtype), [factor(0), factor(1)], domain, tol=tol)
    points = points_in(domain)
    exact = direct(WEIGHTS, [lambda x, k=k: waves(x, k) for k in range(2)], points)
    error = np.max(np.abs(host_values(T, xp, points) - exact))
    assert error <= 2 * tol * np.max(np.abs(exact))
    assert T.status == "converged"
    assert error / 10 <= T.error_estimate <= tol * T.scale
    assert max(T.ranks) < 12


def test_gridded_columns_follow_their_splines(xp):
    n, tol = 60, 1e-4
    U = [gaussians(cells(n), k) for k in range(3)]
    T = chebtucker_from_cp(xp.asarray(WEIGHTS), [xp.asarray(u) for u in U], CUBE, tol=tol)
    points = points_in(CUBE)
    splines = [CubicSpline(cells(n), u) for u in U]
    reference = direct(WEIGHTS, splines, points)
    error = np.max(np.abs(host_values(T, xp, points) - reference))
    assert error <= tol * np.max(np.abs(reference)) * 1.5
    exact = direct(WEIGHTS, [lambda x, k=k: gaussians(x, k) for k in range(3)], points)
    true = np.max(np.abs(host_values(T, xp, points) - exact))
    assert true / 10 <= T.error_estimate <= 10 * true


def test_columns_at_chebyshev_points_are_polynomials_exactly(xp):
    rng = np.random.default_rng(3)
    n, R = 9, 5
    lam = rng.standard_normal(R)
    C = [rng.standard_normal((n, R)) * 0.1 ** np.arange(n)[:, None] for _ in range(2)]
    U = [polynomial.chebval(cheb2(n), c).T for c in C]
    domain = [(0.0, 3.0), (-2.0, -1.0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # nine coefficients leave some open
        T = chebtucker_from_cp(
            xp.asarray(lam), [xp.asarray(u) for u in U], domain, nodes="cheb2", tol=3e-6
        )
    points = points_in(domain)
    t = (2 * points - np.sum(domain, axis=1)) / np.diff(domain, axis=1).T
    exact = direct(lam, [lambda x, c=c: polynomial.chebval(x, c).T for c in C], t)
    error = np.max(np.abs(host_values(T, xp, points) - exact))
    assert error <= 1e-5 * np.max(np.abs(exact))


def test_positions_may_be_uneven():
    domain = [(1.0, 4.0), (0.0, 2.0)]
    x = [1.0 + 3.0 * np.linspace(0, 1, 200) ** 1.3, np.linspace(0.003, 1.996, 150)]
    U = [np.stack([np.sin(x[0]), 1 / x[0]], 1), np.stack([np.cos(2 * x[1]), x[1] ** 2], 1)]
    lam = np.array([2.0, -1.0])
    T = chebtucker_from_cp(lam, U, domain, nodes=x, tol=1e-6)
    points = points_in(domain)
    p, q = points.T
    exact = 2 * np.sin(p) * np.cos(2 * q) - q**2 / p
    assert np.max(np.abs(T(points) - exact)) <= 3e-6 * T.scale


@pytest.mark.parametrize("d", [1, 2, 4, 5])
def test_any_number_of_variables(d):
    def U(x):
        return np.stack([np.exp(-x), np.cos(2 * x), 1 / (3 + x)], axis=1)

    lam = np.array([1.0, -2.0, 0.5])
    T = chebtucker_from_cp(lam, [U] * d, [(-1, 1)] * d, nodes="callables", tol=1e-9)
    points = points_in([(-1, 1)] * d)
    exact = direct(lam, [U] * d, points)
    assert np.max(np.abs(T(points) - exact)) <= 3e-9 * np.max(np.abs(exact))
    assert T.ranks == (1 if d == 1 else 3,) * d


@uncompiled
def test_single_precision_is_kept(xp):
    dtype = "complex64"
    U = [xp.asarray(gaussians(cheb2(33), k), "float32") for k in range(3)]
    T = chebtucker_from_cp(xp.asarray(WEIGHTS, dtype), U, CUBE, nodes="cheb2")
    assert T.dtype == getattr(xp.xp, dtype)
    points = points_in(CUBE)
    exact = direct(WEIGHTS, [lambda x, k=k: gaussians(x, k) for k in range(3)], points)
    got = xp.to_numpy(T(xp.asarray(points, "float32")))
    assert np.max(np.abs(got - exact)) <= 3e-5 * np.max(np.abs(exact))


def test_degrees_given_are_kept():
    U = [gaussians(cheb2(33), k) for k in range(3)]
    T = chebtucker_from_cp(WEIGHTS, U, CUBE, nodes="cheb2", degrees=[30, 40, 28], tol=1e-6)
    assert T.degrees == (30, 40, 28)
    assert T.status == "converged"


# --------------------------------------------------------------------------------- scaling


@pytest.mark.parametrize("power", [100, -100])
@pytest.mark.parametrize("mode", [0, 2])
def test_columns_scaled_with_weights_that_compensate_change_nothing(power, mode):
    """The figure of the issue: same ranks, error within 10 per cent."""
    U = [gaussians(cells(150), k) for k in range(3)]
    signs = WEIGHTS * np.exp(1j * np.arange(12))
    base = chebtucker_from_cp(signs, U, CUBE, tol=1e-4)
    scaled = [u.copy() for u in U]
    scaled[mode] = scaled[mode] * 10.0**power
    scaled[1] = scaled[1] * np.linspace(0.1, 7.0, 12)
    T = chebtucker_from_cp(signs / np.linspace(0.1, 7.0, 12) * 10.0**-power, scaled, CUBE, tol=1e-4)
    points = points_in(CUBE)
    exact = direct(signs, [lambda x, k=k: gaussians(x, k) for k in range(3)], points)
    errors = [np.max(np.abs(f(points) - exact)) for f in (base, T)]
    assert T.ranks == base.ranks
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def test_powers_of_two_change_no_bit():
    U = [gaussians(cheb2(33), k) for k in range(3)]
    base = chebtucker_from_cp(WEIGHTS, U, CUBE, nodes="cheb2", tol=1e-7)
    powers = 2.0 ** (np.arange(12) * 60 - 300)
    T = chebtucker_from_cp(
        WEIGHTS, [U[0] * powers, U[1] / powers, U[2]], CUBE, nodes="cheb2", tol=1e-7
    )
    assert np.array_equal(T.core, base.core)
    assert T.error_estimate == base.error_estimate


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_the_unit_of_the_function_does_not_matter(unit):
    U = [gaussians(cheb2(33), k) for k in range(3)]
    base = chebtucker_from_cp(WEIGHTS, U, CUBE, nodes="cheb2", tol=1e-7)
    T = chebtucker_from_cp(WEIGHTS * unit, U, CUBE, nodes="cheb2", tol=1e-7)
    assert T.ranks == base.ranks
    assert T.error_estimate == pytest.approx(base.error_estimate * unit, rel=0.1)
    points = points_in(CUBE)
    assert np.max(np.abs(T(points) / unit - base(points))) <= 1e-12 * base.scale


def test_a_function_beyond_the_largest_number_is_refused():
    with pytest.raises(ValueError, match="representable"):
        chebtucker_from_cp(np.array([1e200]), [np.full((8, 1), 1e200)] * 2, [(0, 1)] * 2)


# ---------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("large", [1e4, 1e8])
def test_the_error_is_relative_to_what_cancellation_leaves(large):
    def U(x):
        return np.stack([np.cos(9 * x), np.cos(9 * x), np.exp(x), np.sin(3 * x)], axis=1)

    lam = np.array([large, -large, 1.0, -0.5])
    T = chebtucker_from_cp(lam, [U] * 3, CUBE, tol=1e-6)
    points = points_in(CUBE)
    exact = direct(lam[2:], [lambda x: U(x)[:, 2:]] * 3, points)
    error = np.max(np.abs(T(points) - exact))
    assert T.ranks == (2, 2, 2)
    assert error <= 3e-6 * np.max(np.abs(exact))
    assert error / 10 <= T.error_estimate <= 10 * error


def test_rounding_errors_of_cancelling_terms_are_reported():
    def U(x):
        return np.stack([np.cos(9 * x), np.cos(9 * x), np.exp(x)], axis=1)

    with pytest.warns(AccuracyWarning, match="cancel"):
        T = chebtucker_from_cp(np.array([1e10, -1e10, 1.0]), [U] * 3, CUBE, tol=1e-10)
    error = np.max(np.abs(T(points_in(CUBE)) - np.exp(points_in(CUBE).sum(axis=1))))
    assert T.status == "inaccurate"
    assert error / 10 <= T.error_estimate <= 10 * error


@pytest.mark.parametrize(
    ("lam", "column"), [([1.0, -1.0], 1.0), ([0.0, 0.0], 1.0), ([2.0, 3.0], 0.0)]
)
def test_zero_is_a_function_of_rank_one(lam, column):
    T = chebtucker_from_cp(np.array(lam), [np.full((8, 2), column)] * 3, CUBE)
    assert T.ranks == (1, 1, 1)
    assert T.degrees == (0, 0, 0)
    assert T.error_estimate == 0.0
    assert float(T(np.zeros(3))) == 0.0


def test_a_coarse_grid_is_reported():
    x = cells(40)
    U = 1 / (1 + 50 * x[:, None] ** 2)
    with pytest.warns(AccuracyWarning, match="finer grid"):
        T = chebtucker_from_cp(np.ones(1), [U, U], [(-1, 1)] * 2, tol=1e-8)
    points = points_in([(-1, 1)] * 2, 20000)
    error = np.max(np.abs(T(points) - np.prod(1 / (1 + 50 * points**2), axis=1)))
    assert T.status == "inaccurate"
    assert error / 10 <= T.error_estimate <= 10 * error


@pytest.mark.parametrize("method", ["weighted", "rhosvd"])
def test_few_chebyshev_points_are_reported(method):
    U = 1 / (1 + 25 * cheb2(33)[:, None] ** 2)
    with pytest.warns(AccuracyWarning, match="taken to be at ascending Chebyshev points"):
        T = chebtucker_from_cp(np.ones(1), [U, U], [(-1, 1)] * 2, nodes="cheb2", method=method)
    points = points_in([(-1, 1)] * 2, 20000)
    error = np.max(np.abs(T(points) - np.prod(1 / (1 + 25 * points**2), axis=1)))
    assert error / 10 <= T.error_estimate <= 10 * error


def test_low_degrees_asked_for_are_reported():
    def U(x):
        return np.cos(20 * x)[:, None]

    with pytest.warns(AccuracyWarning, match="degrees"):
        T = chebtucker_from_cp(np.ones(1), [U] * 2, [(-1, 1)] * 2, degrees=16)
    points = points_in([(-1, 1)] * 2, 20000)
    error = np.max(np.abs(T(points) - np.prod(np.cos(20 * points), axis=1)))
    assert error / 10 <= T.error_estimate <= 10 * error


def test_the_published_reduction_depends_on_the_scaling_of_columns():
    """The documented defect, and that the estimate tells of it."""
    U = [gaussians(cheb2(33), k) for k in range(3)]
    fair = chebtucker_from_cp(WEIGHTS, U, CUBE, nodes="cheb2", tol=1e-7, method="rhosvd")
    assert fair.status == "converged"
    small = [u * 1e-4 for u in U]
    with pytest.warns(AccuracyWarning):
        T = chebtucker_from_cp(
            WEIGHTS * 1e12, small, CUBE, nodes="cheb2", tol=1e-7, method="rhosvd"
        )
    points = points_in(CUBE)
    exact = direct(WEIGHTS, [lambda x, k=k: gaussians(x, k) for k in range(3)], points)
    error = np.max(np.abs(T(points) - exact))
    assert error > 10 * np.max(np.abs(fair(points) - exact))
    assert error / 10 <= T.error_estimate <= 10 * error


# --------------------------------------------------------------------------------- storage


def test_many_terms_stay_within_the_documented_storage():
    R, n = 20000, 64
    rng = np.random.default_rng(2)
    c = rng.uniform(-0.9, 0.9, (3, R))
    U = [np.exp(-((3 * (cells(n)[:, None] - c[k])) ** 2)) for k in range(3)]
    lam = rng.standard_normal(R)
    tracemalloc.start()
    T = chebtucker_from_cp(lam, U, CUBE, tol=1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert T.status == "converged"
    m = max(T.degrees) * 2 + 1
    assert peak <= 8 * (3 * m * R + 2 * m**3) + 64 * 2**20


# ----------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_the_core_is_the_sum_of_outer_products(d):
    rng = np.random.default_rng(d)
    R = 40
    X = [rng.standard_normal((5 + k, R)) + 1j * rng.standard_normal((5 + k, R)) for k in range(d)]
    Q = [linalg.qr(rng.standard_normal((5 + k, 3 + k)), mode="economic")[0] + 0j for k in range(d)]
    lam = rng.standard_normal(R) * 1j
    Z = [q.conj().T @ x for q, x in zip(Q, X, strict=True)]
    letters = "abcd"[:d]
    expected = np.einsum(",".join(f"{c}z" for c in letters) + ",z->" + letters, *Z, lam)
    np.testing.assert_allclose(projected_core(X, Q, lam, HOST), expected, atol=1e-11)


def test_khatri_rao_products_have_scipys_order():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((3, 5)), rng.standard_normal((4, 5))
    np.testing.assert_array_equal(khatri_rao([A, B], HOST), linalg.khatri_rao(A, B))


def test_what_the_bases_leave_out_is_within_the_bound():
    rng = np.random.default_rng(1)
    R = 80
    C = [rng.standard_normal((20, R)) * 0.4 ** np.arange(20)[:, None] for _ in range(3)]
    lam = rng.standard_normal(R) * 10.0 ** rng.uniform(-3, 3, R)
    full = np.einsum("az,bz,cz,z->abc", *C, lam)
    w = np.full(20, math.sqrt(0.5))
    w[0] = 1.0
    weights = np.einsum("a,b,c->abc", w, w, w)
    for absolute in (1e1, 1e-2, 1e-5):
        parts = weighted_reduction([c.copy() for c in C], lam, absolute, HOST)
        found = np.einsum("abc,ia,jb,kc->ijk", parts.core, *parts.factors)
        assert np.linalg.norm((found - full) * weights) <= absolute
        assert absolute < 1 or max(parts.core.shape) < 20


def test_the_number_of_nodes_follows_the_decay():
    found = chopped_length(lambda m: 0.5 ** np.arange(m), 1e-6, 257, 1025, 2e-16)
    assert 2 * 0.5 ** (found - 1) <= 1e-6  # what is left, and as much again
    assert found <= 40
    more = chopped_length(lambda m: 0.97 ** np.arange(m), 1e-6, 257, 1025, 2e-16)
    assert 257 < more <= 1025
    assert chopped_length(lambda m: 1.0 / (1 + np.arange(m)), 1e-6, 17, 129, 2e-16) == 129


def test_rounding_errors_take_no_nodes():
    def envelope(m):
        return 0.5 ** np.arange(m) + 1e-15

    assert chopped_length(envelope, 1e-14, 257, 2**14, 2e-16) < 80


def test_a_spline_takes_no_nodes_for_its_kinks():
    """Though nothing is allowed to be left: the interpolant is as close as the spline, or so."""
    n, t = 100, np.linspace(-1, 1, 4001)
    x = cells(n)
    columns = np.sin(9 * x)[:, None]
    m = spline_length(lambda m: spline_envelope(x, columns, m), 0.0, n)
    spline = CubicSpline(x, columns[:, 0])
    C = polynomial.chebfit(cheb2(m), spline(cheb2(m)), m - 1)
    missed = np.max(np.abs(spline(t) - np.sin(9 * t)))
    assert m <= n * math.pi / 2 + 17
    assert np.max(np.abs(polynomial.chebval(t, C) - np.sin(9 * t))) <= 2 * missed


# ---------------------------------------------------------------------------- the tolerance


@pytest.mark.parametrize("tol", [1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7])
@pytest.mark.parametrize("n", [40, 80, 160])
def test_converged_means_an_estimate_within_the_tolerance(n, tol):
    U = [gaussians(cells(n), k) for k in range(2)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        T = chebtucker_from_cp(WEIGHTS, U, CUBE[:2], tol=tol)
    within = T.error_estimate <= tol * T.scale
    assert T.status == ("converged" if within else "inaccurate")
    assert len(caught) == (0 if within else 1)
    points = points_in(CUBE[:2])
    exact = direct(WEIGHTS, [lambda x, k=k: gaussians(x, k) for k in range(2)], points)
    assert not within or np.max(np.abs(T(points) - exact)) <= 2 * tol * T.scale


@pytest.mark.parametrize("share", [1.6, 2.0, 4.0])
def test_a_tolerance_somewhat_above_what_splines_miss_is_met(share):
    """The truncation takes what the splines leave."""
    U = [gaussians(cells(100), k) for k in range(3)]
    with pytest.warns(AccuracyWarning, match="the grid limits, not the truncation") as caught:
        T = chebtucker_from_cp(WEIGHTS, U, CUBE, tol=1e-9)
    missed = float(re.search(r"the grid miss about (\S+),", str(caught[0].message)).group(1))
    assert 0.4 * T.error_estimate <= missed * T.scale <= T.error_estimate
    T = chebtucker_from_cp(WEIGHTS, U, CUBE, tol=share * missed)
    assert T.status == "converged"
    assert T.error_estimate <= share * missed * T.scale


@pytest.mark.parametrize("single", [False, True])
def test_the_tolerance_is_that_of_splines_on_grids_where_none_is_given(single):
    dtype = np.float32 if single else np.float64
    lam, x = WEIGHTS.astype(dtype), cells(300)
    U = [gaussians(x, k).astype(dtype) for k in range(2)]
    tol = 1e-5 if single else 1e-6
    for options in ({}, {"nodes": [x, x]}):
        T = chebtucker_from_cp(lam, U, CUBE[:2], **options)
        stated = chebtucker_from_cp(lam, U, CUBE[:2], tol=tol, **options)
        assert T.status == "converged"
        assert T.error_estimate == stated.error_estimate
        assert np.array_equal(T.core, stated.core)


def test_the_tolerance_is_small_at_chebyshev_points_and_for_functions():
    V = [gaussians(cheb2(65), k) for k in range(2)]
    F = [lambda x, k=k: gaussians(x, k) for k in range(2)]
    for U, where in ((V, "cheb2"), (F, "uniform"), (F, "callables")):
        T = chebtucker_from_cp(WEIGHTS, U, CUBE[:2], nodes=where)
        assert T.status == "converged"
        assert T.error_estimate <= 1e-10 * T.scale


def test_chebyshev_points_are_those_of_numpy():
    x = polynomial.chebpts2(30) + 2.0
    U = np.exp(x)[:, None]
    T = chebtucker_from_cp(np.ones(1), [U], [(1, 3)], nodes="cheb2")
    assert float(T(np.array([1.3]))) == pytest.approx(np.exp(1.3), rel=1e-9)
    mirrored = chebtucker_from_cp(np.ones(1), [U[::-1]], [(1, 3)], nodes="cheb2")
    assert float(mirrored(np.array([1.3]))) == pytest.approx(np.exp(2.7), rel=1e-9)


# ------------------------------------------------------------------------------ narrow peaks


def two(a, centre=0.3):
    """A wide and a narrow Gaussian; values near the peak and elsewhere tell them apart."""
    return lambda x: np.exp(-np.array([1.0, a]) * (x[:, None] - np.array([0.05, centre])) ** 2)


def near(centre, width, d, n=2000):
    rng = np.random.default_rng(0)
    wide = rng.uniform(-1, 1, (n, d))
    return np.concatenate([wide, centre + width * rng.standard_normal((n // 2, d))])


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("a", [1e3, 1e4, 1e5])
def test_narrow_columns_of_functions_are_resolved(d, a):
    U, tol = two(a), 1e-8
    T = chebtucker_from_cp(np.ones(2), [U] * d, [(-1, 1)] * d, tol=tol)
    points = near(0.3, 0.5 / math.sqrt(a), d)
    exact = direct(np.ones(2), [U] * d, points)
    error = np.max(np.abs(T(points) - exact))
    assert error <= 3 * tol * np.max(np.abs(exact))
    assert error <= 10 * T.error_estimate
    assert T.status == "converged"


@pytest.mark.parametrize("height", [1e-300, 1.0, 1e300])
def test_columns_that_look_like_zero_at_first_are_not_dropped(height):
    """Narrower than any sample: seen at the given nodes alone, or not at all."""
    peak = nodes(9)[5]

    def U(x):
        bump = np.where(np.abs(x - peak) < 1e-9, height, 0.0)
        return np.stack([np.ones_like(x), bump], axis=1)

    lam = np.array([1.0, 1.0 / height])
    with pytest.warns(AccuracyWarning):
        T = chebtucker_from_cp(lam, [U], [(-1, 1)], degrees=8, tol=1e-6)
    assert float(T(np.array([peak]))) == pytest.approx(2.0, abs=1e-9)
    assert T.error_estimate > 0.1


def test_many_scales_at_one_place_are_resolved():
    """Gaussians of a Newton kernel about a centre that no node meets."""
    t = 2.0 ** np.arange(-1, 8)
    w = t / t.sum()

    def U(x):
        return np.exp(-((t * (x[:, None] - 0.23)) ** 2))

    tol = 1e-7
    T = chebtucker_from_cp(w, [U] * 3, CUBE, tol=tol)
    points = near(0.23, 0.5 / t[-1], 3)
    error = np.max(np.abs(T(points) - direct(w, [U] * 3, points)))
    assert error <= 3 * tol
    assert error <= 10 * T.error_estimate


@pytest.mark.parametrize("a", [1e3, 4e3, 1e4])
def test_narrow_columns_on_grids_are_not_dropped(a):
    U = two(a)(cells(400))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # 4e3 is at the limit of the grid
        T = chebtucker_from_cp(np.ones(2), [U] * 3, CUBE, tol=1e-4)
    points = near(0.3, 0.5 / math.sqrt(a), 3)
    error = np.max(np.abs(T(points) - direct(np.ones(2), [two(a)] * 3, points)))
    assert error <= 0.02
    assert error / 10 <= T.error_estimate <= 10 * error
    assert T.status == "converged" or error > 1e-4


def test_single_precision_of_a_function_sets_the_tolerance():
    def U(x):
        return np.stack([x, x], axis=1).astype(np.float32)

    T = chebtucker_from_cp(np.ones(2), [U] * 2, [(-1, 1)] * 2)
    points = points_in([(-1, 1)] * 2)
    assert T.dtype == np.float64
    assert T.status == "converged"
    assert T.degrees == (1, 1)
    assert np.max(np.abs(T(points) - 2 * np.prod(points, axis=1))) <= 2e-5
    with pytest.warns(AccuracyWarning, match="4 eps of float32"):
        chebtucker_from_cp(np.ones(2), [U] * 2, [(-1, 1)] * 2, tol=1e-9)


def test_a_function_that_turns_complex_is_refused():
    calls = []

    def U(x):
        calls.append(0)
        return np.exp(x)[:, None] * (1.0 if len(calls) == 1 else 1 + 1j)

    with pytest.raises(TypeError, match=r"factors\[0\] must return values of one kind"):
        chebtucker_from_cp(np.ones(1), [U], [(-1, 1)])


# ------------------------------------------------------------------------------ bad input


def ones(*shape):
    return np.ones(shape)


def with_nan():
    U = ones(8, 3)
    U[4, 1] = np.nan
    return U


GOOD = [ones(8, 3), ones(8, 3)]
BAD = {
    "rank": (ones(3), [ones(8, 3), ones(8, 4)], {}, ValueError, r"factors\[1\] must have 3 col"),
    "weights": (ones(4), GOOD, {}, ValueError, "one for each of the weights"),
    "weights 2-D": (ones(3, 1), GOOD, {}, ValueError, r"weights must have shape \(R,\)"),
    "no weights": (ones(0), [ones(8, 0)] * 2, {}, ValueError, "R at least 1"),
    "weights nan": (np.array([1, np.inf, 1]), GOOD, {}, ValueError, "weights .* entry 1"),
    "factor nan": (ones(3), [ones(8, 3), with_nan()], {}, ValueError, r"factors\[1\].* row 4"),
    "factor 1-D": (ones(3), [ones(8), ones(8, 3)], {}, ValueError, r"factors\[0\] must be 2-D"),
    "too few factors": (ones(3), GOOD[:1], {}, ValueError, "one a variable"),
    "no list": (ones(3), ones(2, 8, 3), {}, TypeError, "factors must be a list"),
    "list": (ones(3), [[1, 2, 3]] * 2, {}, TypeError, "array is required"),
    "mixture": (ones(3), [ones(8, 3), np.cos], {}, TypeError, "got both"),
    "no callables": (ones(3), GOOD, {"nodes": "callables"}, TypeError, "functions of positions"),
    "callables on a grid": (ones(3), [np.cos] * 2, {"nodes": "cheb2"}, ValueError, "no grid"),
    "callable shape": (ones(3), [np.cos] * 2, {}, ValueError, r"must return shape \(17, 3\)"),
    "callable list": (ones(3), [lambda x: [1]] * 2, {}, TypeError, "must return an array"),
    "nodes": (ones(3), GOOD, {"nodes": "cheb3"}, ValueError, "Did you mean 'cheb2'"),
    "few rows": (ones(3), [ones(3, 3)] * 2, {}, ValueError, "at least 4 a mode"),
    "nodes count": (ones(3), GOOD, {"nodes": [np.arange(8.0)]}, ValueError, "2 arrays"),
    "nodes kind": (ones(3), GOOD, {"nodes": 3}, TypeError, "a name or a sequence"),
    "nodes length": (ones(3), GOOD, {"nodes": [np.linspace(-1, 1, 7)] * 2}, ValueError, r"\(8,\)"),
    "nodes order": (
        ones(3),
        GOOD,
        {"nodes": [np.linspace(1, -1, 8)] * 2},
        ValueError,
        "strictly ascending",
    ),
    "nodes outside": (
        ones(3),
        GOOD,
        {"nodes": [np.linspace(-1, 2, 8)] * 2},
        ValueError,
        "lie in the domain",
    ),
    "degrees": (ones(3), GOOD, {"degrees": 0}, ValueError, "degrees must be between 1"),
    "degrees high": (ones(3), GOOD, {"degrees": 10**6}, ValueError, "between 1 and 16384"),
    "degrees count": (ones(3), GOOD, {"degrees": [3]}, ValueError, "one a variable"),
    "tol": (ones(3), GOOD, {"tol": 0.0}, ValueError, "tol must be .*greater than 0"),
    "tol kind": (ones(3), GOOD, {"tol": "x"}, TypeError, "tol must be a real number"),
    "method": (ones(3), GOOD, {"method": "rhosvp"}, ValueError, "rhosvd"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_named(case):
    weights, factors, options, error, match = BAD[case]
    with pytest.raises(error, match=match):
        chebtucker_from_cp(weights, factors, [(-1, 1)] * 2, **options)


def test_seven_variables_are_refused():
    with pytest.raises(ValueError, match="tensor train"):
        chebtucker_from_cp(ones(3), [ones(8, 3)] * 7, [(-1, 1)] * 7)


def test_a_callable_that_is_not_finite_is_named_with_its_position():
    def U(x):
        with np.errstate(divide="ignore"):
            return (1 / x)[:, None]

    with pytest.raises(ValueError, match=r"factors\[0\] must return finite values.* at 0.0"):
        chebtucker_from_cp(ones(1), [U, U], [(-1, 1)] * 2)


def test_a_tolerance_below_rounding_is_raised_with_a_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        T = chebtucker_from_cp(ones(1), [ones(8, 1)] * 2, [(-1, 1)] * 2, tol=1e-17)
    smallest = 4 * np.finfo(float).eps
    assert "4 eps of float64" in str(caught[0].message)
    assert (len(caught) == 2) == (T.status == "inaccurate")
    assert (T.error_estimate > smallest * T.scale) == (T.status == "inaccurate")


def test_extrapolation_over_a_gap_is_warned_of():
    x, y = np.linspace(-1, 0.5, 40), np.linspace(-1, 1, 40)
    with pytest.warns(AccuracyWarning, match="before an end of the domain") as caught:
        chebtucker_from_cp(ones(1), [ones(40, 1)] * 2, [(-1, 1)] * 2, nodes=[x, y])
    assert [w.filename for w in caught] == [__file__]


def test_a_core_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="tensor train"):
        projected_core([ones(200, 2)] * 6, [None] * 6, ones(2), HOST)


def test_functions_that_are_not_smooth_end_with_a_warning():
    def U(x):
        return np.abs(x[:, None] - 0.1)

    with pytest.warns(AccuracyWarning, match="not smooth"):
        T = chebtucker_from_cp(ones(1), [U], [(-1, 1)], tol=1e-8)
    points = points_in([(-1, 1)], 20000)
    error = np.max(np.abs(T(points) - np.abs(points[:, 0] - 0.1)))
    assert error / 10 <= T.error_estimate <= 10 * error  # though no sample meets the kink


@pytest.mark.parametrize("n", [1500, 40])
def test_few_and_many_grid_points(n):
    """Beyond 1024 points, and with few columns, splines go through columns on the host."""
    U = np.exp(-5 * cells(n)[:, None] * np.array([1.0, 0.3, 0.7]))
    T = chebtucker_from_cp(np.array([1.0, -1.0, 2.0]), [U, U], [(-1, 1)] * 2, tol=1e-2 / n)
    points = points_in([(-1, 1)] * 2)
    exact = direct(
        np.array([1.0, -1.0, 2.0]),
        [lambda x: np.exp(-5 * x[:, None] * np.array([1.0, 0.3, 0.7]))] * 2,
        points,
    )
    error = np.max(np.abs(T(points) - exact))
    assert error / 10 <= T.error_estimate <= 10 * error


# ------------------------------------------------------------------------- the paper's data


def data(name):
    for parent in Path(__file__).resolve().parents:
        path = parent.parent / "shared" / "data" / name
        if path.exists():
            return np.load(path)
    pytest.skip(f"{name} is not here")


def slice_error(T, weights, U):
    n = U[0].shape[0]
    x = cells(n)
    exact = (U[0] * (weights * U[2][n // 2 - 1, :])) @ U[1].T
    found = T.grid(x, x, x[n // 2 - 1 : n // 2])[:, :, 0]
    return np.max(np.abs(found - exact)) / np.max(np.abs(exact))


def test_the_biomolecule_of_the_paper():
    """CP rank 743: ranks at most (40, 40, 47) at a relative error of at most 1.4e-6.

    Splines through 256 points miss about 1e-6 of the largest value, the whole tolerance.
    """
    file = data("biomolecule_n256_500_particles.npz")
    U = [file["U1"], file["U2"], file["U3"]]
    weights = file["weights"] / file["h"] ** 3
    with pytest.warns(AccuracyWarning, match="the grid limits, not the truncation"):
        T = chebtucker_from_cp(weights, U, CUBE, tol=1e-6)
    assert all(r <= most for r, most in zip(T.ranks, (40, 40, 47), strict=True))
    error = slice_error(T, weights, U)
    assert 1e-6 < error <= 1.4e-6
    assert T.status == "inaccurate"
    assert error <= T.error_estimate / T.scale <= 10 * error


def test_the_long_range_newton_kernel_of_the_paper():
    """n = 512: rank at most 11 at a relative error of at most 5.2e-8."""
    U = data("newton_canonical_n512.npz")["U"]
    long = math.ceil(U.shape[1] / 2) - 3
    U = U[:, :long] * (U.shape[0] / 2)
    with pytest.warns(AccuracyWarning, match="finer grid"):  # at the origin splines miss 5e-8
        T = chebtucker_from_cp(np.ones(long), [U] * 3, CUBE, tol=2e-8)
    assert max(T.ranks) <= 11
    assert slice_error(T, np.ones(long), [U] * 3) <= 5.2e-8
