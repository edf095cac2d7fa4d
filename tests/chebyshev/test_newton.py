"""Sums of Gaussians against 1/r and SciPy's erf, on grids of their own and in exact arithmetic."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import erf

from linalgkit.chebyshev._newton import erf_rule, newton_quadrature, range_split

DIAMETER = 2 * math.sqrt(3)


def gaussians(t: Any, w: Any, r: Any) -> Any:
    return np.exp(-(np.multiply.outer(r, t) ** 2)) @ w


def erf_over_r(alpha: float, r: Any) -> Any:
    safe = np.where(r > 0, r, 1.0)
    return np.where(r > 0, erf(alpha * safe) / safe, 2 * alpha / math.sqrt(math.pi))


@pytest.mark.parametrize(
    ("eps", "r_min", "most"),
    [
        (1e-5, 1 / 128, 22),
        (1e-7, 1 / 128, 30),
        (1e-10, 1 / 128, 42),
        (1e-5, 1 / 512, 26),
        (1e-7, 1 / 512, 35),
        (1e-10, 1 / 512, 49),
        (1e-5, 1 / 2048, 30),
        (1e-7, 1 / 2048, 40),
        (1e-10, 1 / 2048, 56),
    ],
)
def test_sinc_has_no_more_terms_than_known_and_keeps_the_error(
    eps: float, r_min: float, most: int
) -> None:
    t, w = newton_quadrature(eps, r_min, DIAMETER)
    assert t.shape == w.shape
    assert t.shape[0] <= most
    assert t.dtype == w.dtype == np.float64
    assert bool(np.all(np.diff(t) > 0))
    assert bool(np.all(w > 0))
    r = np.geomspace(r_min, DIAMETER, 20011)
    assert float(np.max(np.abs(gaussians(t, w, r) * r - 1))) <= 1.01 * eps


def test_sinc_nodes_lie_on_the_sinh_grid() -> None:
    """Equally spaced in u, t = s sinh(u), half a weight at u = 0; s and h found from two nodes."""
    t, w = newton_quadrature(1e-7, 1 / 512, DIAMETER)
    half_cosh = t[2] / (2 * t[1])  # sinh(2 h) = 2 sinh(h) cosh(h)
    h = math.acosh(half_cosh)
    s = t[1] / math.sinh(h)
    k = np.arange(t.shape[0])
    np.testing.assert_allclose(t, s * np.sinh(k * h), rtol=1e-11)
    expected = 2 * s * h / math.sqrt(math.pi) * np.cosh(k * h) * np.where(k == 0, 0.5, 1.0)
    np.testing.assert_allclose(w, expected, rtol=1e-11)


def test_sinc_sum_in_exact_arithmetic() -> None:
    t, w = newton_quadrature(1e-12, 0.01, 1.0)
    with mpmath.workdps(40):
        for r in (mpmath.mpf("0.01"), mpmath.mpf("0.1234"), mpmath.mpf(1)):
            total = sum(
                mpmath.mpf(float(b)) * mpmath.exp(-((mpmath.mpf(float(a)) * r) ** 2))
                for a, b in zip(t, w, strict=True)
            )
            assert abs(total * r - 1) <= mpmath.mpf("1.01e-12")


@pytest.mark.parametrize("scale", [2.0**400, 1e-150])
def test_sinc_scales_with_the_distances(scale: float) -> None:
    t, w = newton_quadrature(1e-6, 0.01, 1.0)
    ts, ws = newton_quadrature(1e-6, 0.01 * scale, scale)
    assert ts.shape == t.shape
    np.testing.assert_allclose(ts * scale, t, rtol=1e-9)
    np.testing.assert_allclose(ws * scale, w, rtol=1e-9)


def test_sinc_of_one_distance_and_of_many_decades() -> None:
    t, w = newton_quadrature(1e-3, 1.0, 1.0)
    assert float(gaussians(t, w, np.asarray([1.0]))[0]) == pytest.approx(1.0, abs=1e-3)
    t, w = newton_quadrature(1e-7, 1e-9, 1.0)
    r = np.geomspace(1e-9, 1.0, 5003)
    assert float(np.max(np.abs(gaussians(t, w, r) * r - 1))) <= 1.01e-7


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1e200, 1e200), (0.5, 0.50001)])
def test_sinc_of_distances_that_are_one(low: float, high: float) -> None:
    t, w = newton_quadrature(1e-7, low, high)
    assert t.shape[0] <= 5
    for r in (low, high):
        assert abs(math.fsum(w * np.exp(-((t * r) ** 2))) * r - 1) <= 1e-7


def test_extreme_ratios_take_little_memory_and_keep_the_error() -> None:
    tracemalloc.start()
    t, w = newton_quadrature(1e-3, 1e-40, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 7 * 2**20
    rng = np.random.default_rng(0)
    r = 10.0 ** -np.concatenate([40 * rng.random(5000), 3 * rng.random(2000), [0.0, 40.0]])
    with np.errstate(over="ignore"):
        assert float(np.max(np.abs(gaussians(t, w, r) * r - 1))) <= 1.02e-3


def test_erf_of_extreme_distances_is_silent() -> None:
    t, w = newton_quadrature(1e-3, 0.0, 1e100, kind="erf", alpha=1e100)
    r = np.concatenate([[0.0], np.geomspace(1e-104, 1e100, 3001)])
    with np.errstate(over="ignore"):
        error = float(np.max(np.abs(gaussians(t, w, r) - erf_over_r(1e100, r))))
    assert error <= 1.05e-3 * 2e100 / math.sqrt(math.pi)


@pytest.mark.parametrize("high", [1e10, 1e30, 1e100, 1e149])
def test_erf_rule_reaches_what_rounding_allows_at_any_distance(high: float) -> None:
    t, w, peak = erf_rule(1e-14, 0.0, high, 3.0)
    r = np.concatenate([[0.0], np.geomspace(1e-4, high, 4001)])
    with np.errstate(over="ignore"):
        error = float(np.max(np.abs(gaussians(t, w, r) - erf_over_r(3.0, r))))
    assert error <= 2e-14 * math.log(3 * high) * peak


@pytest.mark.parametrize("eps", [1e-3, 1e-7, 1e-9, 1e-13])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 6.0, 12.0, 1000.0])
def test_erf_keeps_the_error_relative_to_the_maximum(eps: float, alpha: float) -> None:
    t, w = newton_quadrature(eps, 0.0, DIAMETER, kind="erf", alpha=alpha)
    assert bool(np.all((t > 0) & (t < alpha)))
    assert bool(np.all(w > 0))
    r = np.concatenate([[0.0], np.geomspace(1e-4 / alpha, DIAMETER, 7001)])
    error = np.max(np.abs(gaussians(t, w, r) - erf_over_r(alpha, r)))
    assert float(error) <= 1.05 * eps * 2 * alpha / math.sqrt(math.pi)


def test_erf_needs_fewer_terms_than_plain_gauss() -> None:
    """Gauss's rule without the substitution needs 30 and 40 terms at 1e-9 (issue 7's study)."""
    for alpha, plain in ((6.0, 30), (12.0, 40)):
        t, _ = newton_quadrature(1e-9, 0.0, DIAMETER, kind="erf", alpha=alpha)
        assert t.shape[0] <= 0.7 * plain


def test_erf_scales_with_alpha() -> None:
    t, w = newton_quadrature(1e-8, 0.0, DIAMETER, kind="erf", alpha=8.0)
    ts, ws = newton_quadrature(1e-8, 0.0, DIAMETER / 1e200, kind="erf", alpha=8.0e200)
    np.testing.assert_allclose(ts / 1e200, t, rtol=1e-10)
    np.testing.assert_allclose(ws / 1e200, w, rtol=1e-10)


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (1.0, 1100.0), (900.0, 1100.0)])
def test_erf_rule_between_two_distances_is_relative_to_the_nearer_one(
    low: float, high: float
) -> None:
    t, w, peak = erf_rule(1e-9, low, high, 12.0)
    r = np.linspace(low, high, 20011)
    exact = erf_over_r(12.0, r)
    assert peak == pytest.approx(float(exact[0]), rel=1e-14)
    assert float(np.max(np.abs(gaussians(t, w, r) - exact))) <= 1.05e-9 * peak
    if low == 900.0:
        assert t.shape[0] <= 20


def test_split_by_number_and_by_alpha() -> None:
    t, w = newton_quadrature(1e-7, 1 / 512, DIAMETER)
    shuffled = np.random.default_rng(0).permutation(t.shape[0])
    for long, short in (
        range_split(t[shuffled], w[shuffled], n_long=12),
        range_split(t, w, alpha=float(t[11])),
    ):
        np.testing.assert_array_equal(np.concatenate([long[0], short[0]]), t)
        np.testing.assert_array_equal(np.concatenate([long[1], short[1]]), w)
        assert long[0].shape == (12,)


def test_split_may_leave_a_side_empty() -> None:
    t, w = newton_quadrature(1e-3, 0.1, 1.0)
    assert range_split(t, w, n_long=0)[0][0].shape == (0,)
    assert range_split(t, w, n_long=t.shape[0])[1][0].shape == (0,)
    assert range_split(t, w, alpha=1e9)[1][0].shape == (0,)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        ((0.0, 0.1, 1.0), {}, ValueError, "eps must"),
        ((1e-20, 0.1, 1.0), {}, ValueError, "eps must"),
        (("a", 0.1, 1.0), {}, TypeError, "eps must"),
        ((1e-7, 0.0, 1.0), {}, ValueError, "r_min must"),
        ((1e-7, 2.0, 1.0), {}, ValueError, "r_min must"),
        ((1e-7, 0.1, math.inf), {}, ValueError, "r_max must"),
        ((1e-7, 0.1, -1.0), {}, ValueError, "r_max must"),
        ((1e-7, 1e-200, 1e200), {}, ValueError, "r_min must"),
        ((1e-7, 1e-300, 1e8), {}, ValueError, "r_min must be at least 1e-300 and 1e-290 r_max"),
        ((1e-7, 1e-305, 1e-305), {}, ValueError, "r_min must be at least 1e-300"),
        ((1e-7, 0.1, 1.0), {"kind": "gauss"}, ValueError, "kind must"),
        ((1e-7, 0.1, 1.0), {"kind": 3}, TypeError, "kind must"),
        ((1e-7, 0.1, 1.0), {"alpha": 3.0}, ValueError, "alpha must be None"),
        ((1e-7, 0.1, 1.0), {"kind": "erf"}, ValueError, "alpha must be given"),
        ((1e-7, 0.1, 1.0), {"kind": "erf", "alpha": 0.0}, ValueError, "alpha must"),
        ((1e-7, 0.1, 1e200), {"kind": "erf", "alpha": 1e200}, ValueError, "alpha \\* r_max must"),
    ],
)
def test_quadrature_refuses(args: Any, kwargs: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        newton_quadrature(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        (([1.0], [1.0]), {}, ValueError, "exactly one"),
        (([1.0], [1.0]), {"n_long": 1, "alpha": 1.0}, ValueError, "exactly one"),
        (([1.0], [1.0]), {"n_long": 2}, ValueError, "n_long must"),
        (([1.0], [1.0]), {"n_long": 0.5}, TypeError, "n_long must"),
        (([1.0], [1.0]), {"alpha": -1.0}, ValueError, "alpha must"),
        (([1.0, 2.0], [1.0]), {"n_long": 1}, ValueError, "w must"),
        (([[1.0]], [1.0]), {"n_long": 1}, ValueError, "t must"),
        (([1.0], [math.nan]), {"n_long": 1}, ValueError, "w must"),
        ((["a"], [1.0]), {"n_long": 1}, TypeError, "t must"),
        (([1j], [1.0]), {"n_long": 1}, TypeError, "t must be a vector of real numbers"),
        ((np.ones(1), np.ones(1) * 1j), {"n_long": 1}, TypeError, "w must be a vector of real"),
    ],
)
def test_split_refuses(args: Any, kwargs: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        range_split(*args, **kwargs)
