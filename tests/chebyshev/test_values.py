"""Tensors of values and of coefficients: against the functions, NumPy's polynomials, splines."""

from __future__ import annotations

import re
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.polynomial import chebyshev as polynomial
from scipy import fft
from scipy.interpolate import CubicSpline, RegularGridInterpolator

from linalgkit._core.array import numpy_namespace
from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev._max_norm import tail_sum
from linalgkit.chebyshev._parts import Parts
from linalgkit.chebyshev._values import (
    chebtucker_from_coefficients,
    chebtucker_from_values,
    first_kind_coefficients,
    residual,
)
from tests.conftest import uncompiled

HOST = numpy_namespace()


def cheb2(n):
    return -np.cos(np.pi * np.arange(n) / (n - 1))


def cheb1(n):
    return -np.cos(np.pi * (2 * np.arange(n) + 1) / (2 * n))


def cells(n):
    return (2 * np.arange(n) + 1 - n) / n


GRIDS = {"cheb2": cheb2, "cheb1": cheb1, "uniform": cells}


def on_grid(f, grids):
    return f(np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1))


def points_in(domain, n=1500, seed=5):
    a, b = np.array(domain, dtype=float).T
    return a + (b - a) * np.random.default_rng(seed).random((n, len(domain)))


def largest_error(T, xp, f, points):
    got = xp.to_numpy(T(xp.asarray(points, "float64" if xp.has_float64 else "float32")))
    return np.max(np.abs(got - f(points)))


def wave(x):
    """Complex, and other than its conjugate."""
    return np.exp(1j * (2 * x[..., 0] * x[..., 1] + x[..., 0])) / (2 + x[..., 1])


def runge(x):
    return 1 / (1 + 9 * np.sum(x**2, axis=-1))


class Numpy:
    """NumPy where a test needs no other library."""

    has_float64 = True
    asarray = staticmethod(lambda x, dtype=None: np.asarray(x))
    to_numpy = staticmethod(np.asarray)


# ------------------------------------------------------------------------- Chebyshev points


@pytest.mark.parametrize("nodes", ["cheb2", "cheb1"])
def test_values_at_chebyshev_points_meet_the_tolerance(xp, nodes):
    tol = 1e-9 if xp.has_float64 else 1e-5
    F = on_grid(wave, [GRIDS[nodes](28), GRIDS[nodes](31)])
    domain = [(-1, 1)] * 2
    T = chebtucker_from_values(xp.asarray(F), domain, nodes=nodes, tol=tol)
    error = largest_error(T, xp, wave, points_in(domain))
    assert error <= 3 * tol * np.max(np.abs(F))
    assert T.status == "converged"
    assert error / 10 <= T.error_estimate <= tol * np.max(np.abs(F))
    assert T.n_evals == 28 * 31
    assert max(T.degrees) < 27  # trailing degrees are trimmed


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("nodes", ["cheb2", "cheb1"])
def test_ranks_grow_with_the_accuracy_asked_for(nodes, tol):
    domain = [(-1, 1)] * 3
    F = on_grid(runge, [GRIDS[nodes](97)] * 3)
    T = chebtucker_from_values(F, domain, nodes=nodes, tol=tol)
    error = largest_error(T, Numpy, runge, points_in(domain, 20000))
    assert error <= 5 * tol
    assert error / 10 <= T.error_estimate <= 10 * error
    assert max(T.ranks) <= 4 - 1.2 * np.log10(tol)


@pytest.mark.parametrize("m", [5, 8, 513, 601])
def test_first_kind_coefficients_are_a_cosine_transform(m):
    rng = np.random.default_rng(m)
    F = rng.standard_normal((3, m, 2)) + 1j * rng.standard_normal((3, m, 2))
    for X in (F, F.real):
        expected = fft.dct(X[:, ::-1, :], type=2, axis=1) / m
        expected[:, 0, :] *= 0.5
        np.testing.assert_allclose(first_kind_coefficients(X, 1, HOST), expected, atol=1e-13)


def test_one_variable_takes_many_points():
    def f(x):
        return np.cos(300 * x[..., 0])

    T = chebtucker_from_values(f(cheb2(1200)[:, None]), [(-1, 1)], tol=1e-10)
    assert T.ranks == (1,)
    assert largest_error(T, Numpy, f, points_in([(-1, 1)])) <= 5e-10
    assert 300 < T.degrees[0] < 400


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_the_unit_does_not_matter(unit):
    F = on_grid(runge, [cheb2(49)] * 2)
    domain = [(3.0, 5.0), (-1e-3, 1e-3)]
    base = chebtucker_from_values(F, domain, tol=1e-6)
    T = chebtucker_from_values(F * unit, domain, tol=1e-6)
    assert T.ranks == base.ranks
    assert T.error_estimate == pytest.approx(base.error_estimate * unit, rel=0.1)
    points = points_in(domain)
    np.testing.assert_allclose(T(points) / unit, base(points), atol=1e-13)


@uncompiled
def test_single_precision_is_kept(xp):
    F = on_grid(runge, [cheb2(49)]).astype(np.float32)
    T = chebtucker_from_values(xp.asarray(F, "float32"), [(-1, 1)])
    assert T.dtype == xp.xp.float32
    assert T.status == "converged"
    assert largest_error(T, xp, runge, points_in([(-1, 1)]).astype(np.float32)) <= 3e-5


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (6, 1, 7)])
def test_a_mode_with_one_value_is_constant(shape):
    F = on_grid(lambda x: 1.5 + np.sum(x, axis=-1), [cheb2(n) if n > 1 else [0.0] for n in shape])
    T = chebtucker_from_values(F, [(-1, 1)] * len(shape))
    points = points_in([(-1, 1)] * len(shape), 50)
    exact = 1.5 + np.sum(points * (np.array(shape) > 1), axis=1)
    np.testing.assert_allclose(T(points), exact, atol=1e-13)
    assert T.degrees == tuple(min(n - 1, 1) for n in shape)


def test_zero_is_a_function_of_rank_one():
    for nodes in GRIDS:
        T = chebtucker_from_values(np.zeros((6, 7)), [(0, 1)] * 2, nodes=nodes)
        assert T.ranks == (1, 1)
        assert T.error_estimate == 0.0
        assert float(T(np.array([0.3, 0.4]))) == 0.0


# ---------------------------------------------------------------------------- other grids


def test_values_on_a_uniform_grid_follow_the_spline(xp):
    F = on_grid(wave, [cells(40), cells(50)])
    domain = [(-1, 1)] * 2
    T = chebtucker_from_values(xp.asarray(F), domain, nodes="uniform", tol=1e-4)
    points = points_in(domain)
    inner = points[np.max(np.abs(points), axis=1) < 0.97]
    spline = RegularGridInterpolator((cells(40), cells(50)), F, method="cubic")
    got = xp.to_numpy(T(xp.asarray(inner, "float64" if xp.has_float64 else "float32")))
    assert np.max(np.abs(got - spline(inner))) <= 3e-4
    error = largest_error(T, xp, wave, points)
    assert error / 10 <= T.error_estimate <= 10 * error


def test_the_reference_is_the_tensor_product_of_splines():
    """Two modes, splines of SciPy along each of them, far from the function that was sampled."""
    x = [np.linspace(0, 1, 30) ** 1.2, np.linspace(0, 2, 40)]
    F = np.exp(np.sin(8 * x[0])[:, None] * np.cos(3 * x[1])[None, :])
    domain = [(0.0, 1.0), (0.0, 2.0)]
    with pytest.warns(AccuracyWarning, match="the grid limits, not the truncation"):
        T = chebtucker_from_values(F, domain, nodes=x, tol=1e-4)
    points = points_in(domain)
    along = CubicSpline(x[0], F)(points[:, 0])
    pairs = zip(along, points[:, 1], strict=True)
    expected = np.array([CubicSpline(x[1], row)(q) for row, q in pairs])
    exact = np.exp(np.sin(8 * points[:, 0]) * np.cos(3 * points[:, 1]))
    assert np.max(np.abs(T(points) - expected)) <= 1e-4 * T.scale
    error = np.max(np.abs(T(points) - exact))
    assert error / 10 <= T.error_estimate <= 10 * error


def test_positions_may_be_uneven():
    x = [np.linspace(0, 1, 120) ** 1.2, np.linspace(2, 3, 100)]

    def f(p):
        return np.sin(3 * p[..., 0] + p[..., 1])

    domain = [(0.0, 1.0), (2.0, 3.0)]
    T = chebtucker_from_values(on_grid(f, x), domain, nodes=x, tol=1e-6)
    assert largest_error(T, Numpy, f, points_in(domain)) <= 3e-6


# ---------------------------------------------------------------------------- narrow peaks


def bump(a, centre=0.3):
    return lambda x: 1 + np.exp(-a * np.sum((x - centre) ** 2, axis=-1))


CASES = [
    ("uniform", 1, 2000, 1e5, 1e-3),
    ("uniform", 2, 500, 2500.0, 1e-3),
    ("uniform", 3, 100, 100.0, 1e-3),
    ("uniform", 3, 100, 1500.0, 1e-3),
    ("cheb2", 3, 100, 300.0, 1e-2),
    ("cheb2", 3, 100, 1000.0, 1e-2),
    ("cheb1", 3, 100, 300.0, 1e-2),
    ("cheb1", 2, 200, 2000.0, 1e-1),
]


@pytest.mark.parametrize(("nodes", "d", "n", "a", "tol"), CASES)
def test_no_peak_of_the_data_is_lost(nodes, d, n, a, tol):
    f = bump(a)
    F = on_grid(f, [GRIDS[nodes](n)] * d)
    domain = [(-1, 1)] * d
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # some are at the limit of the grid
        T = chebtucker_from_values(F, domain, nodes=nodes, tol=tol)
    found = T.grid(*[GRIDS[nodes](n)] * d)
    at_data = np.max(np.abs(found - F))
    rng = np.random.default_rng(3)
    beside = 0.3 + rng.standard_normal((1000, d)) * 0.7 / np.sqrt(a)
    points = np.concatenate([points_in(domain), beside])
    error = max(at_data, largest_error(T, Numpy, f, points))
    assert at_data <= max(0.05, tol)
    assert error / 10 <= T.error_estimate <= 20 * error  # the tail of a Gaussian is overrated
    assert T.status == "inaccurate" or error <= 10 * tol


def test_a_single_entry_is_kept():
    F = np.ones((30, 30, 30))
    F[7, 21, 16] = 1.3
    with pytest.warns(AccuracyWarning):
        T = chebtucker_from_values(F, [(-1, 1)] * 3, tol=1e-2)
    assert np.max(np.abs(T.grid(*[cheb2(30)] * 3) - F)) <= 0.02


def test_the_residual_at_the_data_is_that_of_numpy():
    rng = np.random.default_rng(4)
    C = rng.standard_normal((4, 3, 5)) + 1j * rng.standard_normal((4, 3, 5))
    grids = [cells(9), cheb2(6), cheb1(7)]
    F = polynomial.chebgrid3d(*grids, C)
    F[5, 2, 3] += 0.5
    parts = Parts(C, tuple(np.eye(n) + 0j for n in C.shape), ((-1.0, 1.0),) * 3, HOST)
    largest, place = residual(parts, F, grids, HOST)
    assert largest == pytest.approx(0.5)
    assert place == (5, 2, 3)


# -------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("nodes", list(GRIDS))
@pytest.mark.parametrize("n", [20, 33])
def test_data_that_do_not_resolve_the_function_are_reported(nodes, n):
    def f(x):
        return 1 / (1 + 25 * np.sum(x**2, axis=-1))

    domain = [(-1, 1)] * 2
    with pytest.warns(AccuracyWarning, match="not tol"):
        T = chebtucker_from_values(on_grid(f, [GRIDS[nodes](n)] * 2), domain, nodes=nodes)
    error = largest_error(T, Numpy, f, points_in(domain, 20000))
    assert T.status == "inaccurate"
    assert error / 10 <= T.error_estimate <= 10 * error


def test_noise_is_reported():
    F = on_grid(runge, [cheb2(65)] * 2)
    F += 1e-6 * np.random.default_rng(0).standard_normal(F.shape)
    with pytest.warns(AccuracyWarning):
        T = chebtucker_from_values(F, [(-1, 1)] * 2)
    assert 1e-6 <= T.error_estimate <= 1e-3


@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_the_tail_of_a_geometric_decay_is_known(ratio):
    moduli = ratio ** np.arange(40.0)[:, None] * np.array([[1.0, 0.5]])
    exact = ratio**40 / (1 - ratio)
    assert exact <= tail_sum(moduli, 0.0) <= 4 * exact


def test_rounding_errors_are_no_tail():
    moduli = np.maximum(0.1 ** np.arange(40.0), 1e-16)[:, None]
    assert tail_sum(moduli, 4e-16) == 0.0


# ---------------------------------------------------------------------------- the tolerance


@pytest.mark.parametrize("nodes", list(GRIDS))
@pytest.mark.parametrize("n", [24, 48, 96])
@pytest.mark.parametrize("tol", [1e-3, 1e-4, 1e-5, 1e-6, 1e-8])
def test_converged_means_an_estimate_within_the_tolerance(nodes, n, tol):
    domain = [(-1, 1)] * 2
    F = on_grid(runge, [GRIDS[nodes](n)] * 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        T = chebtucker_from_values(F, domain, nodes=nodes, tol=tol)
    within = T.error_estimate <= tol * T.scale
    assert T.status == ("converged" if within else "inaccurate")
    assert len(caught) == (0 if within else 1)
    assert not within or largest_error(T, Numpy, runge, points_in(domain)) <= 2 * tol


@pytest.mark.parametrize("share", [1.6, 2.0, 4.0])
def test_a_tolerance_somewhat_above_what_splines_miss_is_met(share):
    """The truncation takes what the splines leave."""
    domain, F = [(-1, 1)] * 2, on_grid(wave, [cells(60)] * 2)
    with pytest.warns(AccuracyWarning, match="the grid limits, not the truncation") as caught:
        T = chebtucker_from_values(F, domain, nodes="uniform", tol=1e-10)
    missed = float(re.search(r"the grid miss about (\S+),", str(caught[0].message)).group(1))
    assert 0.4 * T.error_estimate <= missed * T.scale <= T.error_estimate
    T = chebtucker_from_values(F, domain, nodes="uniform", tol=share * missed)
    assert T.status == "converged"
    assert T.error_estimate <= share * missed * T.scale


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_tolerance_is_that_of_splines_on_grids_where_none_is_given(dtype):
    x, domain = cells(300), [(-1, 1)] * 2
    F = on_grid(runge, [x] * 2).astype(dtype)
    for nodes in ("uniform", [x, x]):
        T = chebtucker_from_values(F, domain, nodes=nodes)
        tol = 1e-5 if dtype == np.float32 else 1e-6
        stated = chebtucker_from_values(F, domain, nodes=nodes, tol=tol)
        assert T.status == "converged"
        assert T.error_estimate == stated.error_estimate
        assert np.array_equal(T.core, stated.core)


@pytest.mark.parametrize("nodes", ["cheb2", "cheb1"])
def test_the_tolerance_is_small_at_chebyshev_points(nodes):
    T = chebtucker_from_values(on_grid(runge, [GRIDS[nodes](120)] * 2), [(-1, 1)] * 2, nodes=nodes)
    assert T.status == "converged"
    assert T.error_estimate <= 1e-10


@pytest.mark.parametrize("nodes", ["cheb2", "cheb1"])
def test_values_on_a_grid_taken_for_chebyshev_points_are_asked_about(nodes):
    F = on_grid(wave, [np.linspace(-1, 1, 40)] * 2)
    with pytest.warns(AccuracyWarning, match=rf"nodes='{nodes}'\): .* pass nodes='uniform'"):
        chebtucker_from_values(F, [(-1, 1)] * 2, nodes=nodes)


@pytest.mark.parametrize("nodes", ["cheb2", "cheb1"])
def test_chebyshev_points_are_those_of_numpy(nodes):
    t = {"cheb2": polynomial.chebpts2, "cheb1": polynomial.chebpts1}[nodes](30)
    F = np.exp(t + 2.0)
    T = chebtucker_from_values(F, [(1, 3)], nodes=nodes)
    assert float(T(np.array([1.3]))) == pytest.approx(np.exp(1.3), rel=1e-9)
    mirrored = chebtucker_from_values(F[::-1].copy(), [(1, 3)], nodes=nodes)
    assert float(mirrored(np.array([1.3]))) == pytest.approx(np.exp(2.7), rel=1e-9)


# -------------------------------------------------------------------------- coefficients


def test_coefficients_are_a_polynomial(xp):
    rng = np.random.default_rng(8)
    C = rng.standard_normal((6, 7)) + 1j * rng.standard_normal((6, 7))
    domain = [(0.0, 2.0), (-1.0, 3.0)]
    T = chebtucker_from_coefficients(xp.asarray(C), domain, tol=1e-10 if xp.has_float64 else 3e-5)

    def f(x):
        t = (2 * x - np.sum(domain, axis=1)) / np.diff(domain, axis=1).T
        return polynomial.chebval2d(t[:, 0], t[:, 1], C)

    error = largest_error(T, xp, f, points_in(domain))
    assert error <= (1e-9 if xp.has_float64 else 1e-4) * np.max(np.abs(f(points_in(domain))))
    assert T.degrees == (5, 6)
    assert T.n_evals == 42
    assert T.status == "converged"


def test_coefficients_are_truncated_to_the_tolerance():
    x = cheb2(97)
    C = on_grid(runge, [x] * 2)
    for axis in range(2):
        C = np.apply_along_axis(lambda v: polynomial.chebfit(x, v, 96), axis, C)
    T = chebtucker_from_coefficients(C, [(-1, 1)] * 2, tol=1e-5)
    error = largest_error(T, Numpy, runge, points_in([(-1, 1)] * 2, 20000))
    assert error <= 5e-5
    assert error / 10 <= T.error_estimate <= 10 * error
    assert max(T.degrees) < 60
    assert max(T.ranks) < 12


def test_coefficients_that_have_not_decayed_are_no_reason_to_warn():
    C = np.zeros((3, 4, 2))
    C[2, 3, 1] = 2.0
    T = chebtucker_from_coefficients(C, [(-1, 1)] * 3)
    assert T.ranks == (1, 1, 1)
    assert T.degrees == (2, 3, 1)
    assert T.error_estimate < 1e-14


@pytest.mark.parametrize("d", [1, 3])
def test_the_rounding_of_coefficients_is_estimated(d):
    """All ones: the polynomial is 40^d at a corner, where T_j' is j^2."""
    C = np.ones((40,) * d)
    T = chebtucker_from_coefficients(C, [(-1, 1)] * d, tol=1e-6)
    x = 1 - 1e-4 * np.random.default_rng(0).random((300, d))
    one = np.sum(np.cos(np.arange(40) * np.arccos(x)[..., None]), axis=-1)
    error = np.max(np.abs(T(x) - np.prod(one, axis=1)))
    assert error <= 10 * T.error_estimate
    assert T.error_estimate <= 1e-12 * 40**d


# --------------------------------------------------------------------------------- storage


def test_the_documented_storage_holds():
    F = on_grid(runge, [cheb2(97)] * 3)
    chebtucker_from_values(F[:9, :9, :9] * 0, [(-1, 1)] * 3, tol=1e-6)
    tracemalloc.start()
    chebtucker_from_values(F, [(-1, 1)] * 3, tol=1e-6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * F.nbytes + 2**23


# ------------------------------------------------------------------------------ bad input


def with_nan():
    F = np.ones((5, 6))
    F[2, 3] = np.nan
    return F


BAD = {
    "axes": (np.ones((5, 6, 7)), {}, ValueError, "values must have 2 axes"),
    "empty": (np.ones((5, 0)), {}, ValueError, "must not be empty"),
    "nan": (with_nan(), {}, ValueError, r"got one at \(2, 3\)"),
    "list": ([[1.0, 2.0]], {}, TypeError, "array is required"),
    "nodes": (np.ones((5, 6)), {"nodes": "cheb3"}, ValueError, "nodes must be one of"),
    "nodes kind": (np.ones((5, 6)), {"nodes": 2}, TypeError, "a name or a sequence"),
    "nodes count": (np.ones((5, 6)), {"nodes": [np.arange(5.0)]}, ValueError, "2 arrays"),
    "nodes length": (
        np.ones((5, 6)),
        {"nodes": [np.linspace(-1, 1, 5)] * 2},
        ValueError,
        r"nodes\[1\] must have shape \(6,\)",
    ),
    "nodes order": (
        np.ones((5, 5)),
        {"nodes": [np.zeros(5), np.zeros(5)]},
        ValueError,
        "strictly ascending",
    ),
    "few": (np.ones((5, 3)), {"nodes": "uniform"}, ValueError, "at least 4 a mode"),
    "tol": (np.ones((5, 6)), {"tol": -1.0}, ValueError, "tol must be .*greater than 0"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_named(case):
    values, options, error, match = BAD[case]
    with pytest.raises(error, match=match):
        chebtucker_from_values(values, [(-1, 1)] * 2, **options)


def test_bad_coefficients_are_named():
    with pytest.raises(ValueError, match="C must have 2 axes"):
        chebtucker_from_coefficients(np.ones(4), [(-1, 1)] * 2)
    with pytest.raises(ValueError, match=r"C must not contain NaN .* got one at \(2, 3\)"):
        chebtucker_from_coefficients(with_nan(), [(-1, 1)] * 2)


@pytest.mark.parametrize(
    ("domain", "error"),
    [([(1, -1), (0, 1)], "finite a < b"), ([(-1, 1)] * 7, "tensor train"), ([1, 2], "pairs")],
    ids=["order", "seven", "shape"],
)
def test_a_bad_box_is_refused(domain, error):
    with pytest.raises(ValueError, match=error):
        chebtucker_from_values(np.ones((5, 6)), domain)


def test_a_tolerance_below_rounding_is_raised_with_a_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        T = chebtucker_from_values(np.ones((5, 6), dtype=np.float32), [(-1, 1)] * 2, tol=1e-12)
    assert [w.category for w in caught] == [AccuracyWarning]
    assert "4 eps of float32" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert T.status == "converged"
