"""Sums, products and recompression."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev import _arithmetic as arithmetic
from linalgkit.chebyshev import _compare as compare
from linalgkit.chebyshev._calculus import fix
from linalgkit.chebyshev._parts import Parts
from tests.chebyshev.by_grid import from_numpy, interpolant, is_orthonormal, points, values
from tests.conftest import uncompiled

CUBE = [(-1.0, 1.0)] * 3
FAR = [(2.0, 5.0), (-1e6, 1e6)]


def random_parts(rng, xp=None, complex_=False, box=FAR, lengths=(6, 5), ranks=(3, 2)):
    """Return parts of given ranks with random data."""

    def draw(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_ else real

    factors = [draw(m, r) for m, r in zip(lengths, ranks, strict=True)]
    return from_numpy(draw(*ranks), factors, box, xp)


def weighted_error(parts, exact, rng, n=4000):
    """Return the weighted L2 norm of a difference and of `exact`, over n points of that density."""
    t = np.sin(rng.uniform(-np.pi, np.pi, (n, parts.order)))
    ends = np.asarray(parts.intervals)
    x = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * (t + 1) / 2
    want = exact(x)
    difference = np.abs(values(parts, x) - want)
    return math.sqrt(np.mean(difference**2)), math.sqrt(np.mean(np.abs(want) ** 2))


def scaled_by(parts, factor):
    """Return the function times a number."""
    return Parts(parts.core * factor, parts.factors, parts.intervals, parts.xp)


@pytest.fixture(scope="module")
def lorentz():
    """A function of rank 10 and degree 36, to 1e-14."""
    f = interpolant(lambda x, y, z: 1 / (1 + x * x + y * y + z * z), CUBE, (41, 41, 41))
    return arithmetic.recompress(f, 1e-14)[0]


@pytest.fixture(scope="module")
def wave():
    """A function of ranks 2, 17, 17, to 1e-14."""
    f = interpolant(lambda x, y, z: np.sin(3 * np.exp(x) + 4 * y * z), CUBE, (40, 26, 26))
    return arithmetic.recompress(f, 1e-14)[0]


class TestRecompress:
    """Ranks and degrees for an error."""

    @pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9])
    def test_error_is_what_it_says(self, lorentz, rng, tol):
        got, error = arithmetic.recompress(lorentz, tol)
        true, _ = weighted_error(got, lambda x: values(lorentz, x), rng)
        assert error <= tol
        assert abs(true - error) < 0.1 * error + 1e-14
        assert is_orthonormal(got)
        assert max(got.core.shape) < 10
        assert max(got.lengths) < 36

    def test_counts_the_degrees(self):
        c = np.asarray([1.0, 0.1, 1e-3, 1e-6])
        f = from_numpy(np.ones((1, 1)), [c[:, None], np.ones((1, 1))], FAR)
        got, error = arithmetic.recompress(f, 1.5e-6)
        assert got.lengths == (3, 1)
        assert math.isclose(error, 1e-6 * math.sqrt(0.5), rel_tol=1e-12)

    def test_of_zero(self, rng):
        f = scaled_by(random_parts(rng), 0.0)
        got, error = arithmetic.recompress(f, 0.0)
        assert error == 0.0
        assert got.core.shape == (1, 1)
        assert got.lengths == (1, 1)

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_of_any_scale(self, lorentz, scale):
        got, error = arithmetic.recompress(scaled_by(lorentz, scale), 1e-5 * scale)
        want, reference = arithmetic.recompress(lorentz, 1e-5)
        assert got.core.shape == want.core.shape
        assert got.lengths == want.lengths
        assert math.isclose(error / scale, reference, rel_tol=1e-9)

    def test_more_than_everything_leaves_a_constant(self, lorentz):
        got, error = arithmetic.recompress(lorentz, 1e3)
        assert got.core.shape == (1, 1, 1)
        assert got.lengths == (1, 1, 1)
        assert error <= 1e3

    def test_finds_the_rank_of_a_sum_of_equal_terms(self, rng):
        f = random_parts(rng)
        core = np.kron(np.eye(2), f.core)
        double = Parts(core, tuple(np.concat([F, F], axis=1) for F in f.factors), f.intervals, f.xp)
        got, _ = arithmetic.recompress(double, 1e-13)
        x = points(rng, FAR)
        assert got.core.shape == (2, 2)
        assert np.allclose(values(got, x), 2 * values(f, x), rtol=0, atol=1e-12)


class TestAdd:
    """Sums and differences."""

    @uncompiled
    def test_is_exact(self, xp, rng):
        f = random_parts(rng, xp, True)
        g = random_parts(rng, xp, False, lengths=(3, 7), ranks=(2, 2))
        got = arithmetic.add(f, g, -1)
        x = points(rng, FAR, 60)
        want = values(f, x) - values(g, x)
        assert np.max(np.abs(values(got, x) - want)) < xp.tolerance * np.max(np.abs(want))
        assert is_orthonormal(got, xp.tolerance)
        assert got.lengths == (6, 7)
        assert max(got.core.shape) <= 4

    def test_difference_of_equals_is_the_zero_function(self, xp, rng):
        f = random_parts(rng, xp, True)
        got = arithmetic.add(f, f, -1)
        assert got.core.shape == (1, 1)
        assert got.lengths == (1, 1)
        assert complex(got.core[0, 0]) == 0

    def test_difference_of_equals_in_other_factors_is_the_zero_function(self, lorentz):
        # 2 f - (f + f), whose factors differ from those of f.
        twice = arithmetic.add(lorentz, lorentz)
        got = arithmetic.add(scaled_by(lorentz, 2.0), twice, -1)
        assert got.core.shape == (1, 1, 1)
        assert got.lengths == (1, 1, 1)
        assert got.core[0, 0, 0] == 0

    def test_ranks_do_not_grow_without_need(self, lorentz):
        assert arithmetic.add(lorentz, lorentz).core.shape == lorentz.core.shape
        other = arithmetic.add(lorentz, scaled_by(lorentz, 1e-18))
        assert other.core.shape == lorentz.core.shape

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_of_any_scale(self, rng, scale):
        f, g = random_parts(rng), random_parts(rng)
        got = arithmetic.add(scaled_by(f, scale), scaled_by(g, scale))
        x = points(rng, FAR)
        want = values(f, x) + values(g, x)
        assert np.max(np.abs(values(got, x) / scale - want)) < 1e-13 * np.max(np.abs(want))

    def test_of_zero(self, rng):
        f = random_parts(rng)
        zero = scaled_by(f, 0.0)
        got = arithmetic.add(f, zero)
        x = points(rng, FAR)
        assert np.allclose(values(got, x), values(f, x), rtol=1e-13)
        assert arithmetic.add(zero, zero).core.shape == (1, 1)

    def test_of_one_variable(self, rng):
        f = interpolant(np.exp, [(0, 1)], (14,))
        g = interpolant(np.sin, [(0, 1)], (14,))
        x = points(rng, f.intervals)
        got = values(arithmetic.add(f, g, -1), x)
        assert np.max(np.abs(got - np.exp(x[:, 0]) + np.sin(x[:, 0]))) < 1e-14

    def test_refuses_another_box(self, rng):
        f, g = random_parts(rng), random_parts(rng, box=CUBE[:2])
        with pytest.raises(ValueError, match="must have the domain of the first"):
            arithmetic.add(f, g)

    def test_refuses_another_library(self, rng):
        torch = pytest.importorskip("torch")
        f = random_parts(rng)
        g = Parts(torch.asarray(f.core), tuple(map(torch.asarray, f.factors)), f.intervals, torch)
        with pytest.raises(TypeError, match="one library"):
            arithmetic.add(f, g)


class TestMultiply:
    """Products."""

    @uncompiled
    def test_of_polynomials_is_exact(self, xp, rng):
        f = random_parts(rng, xp, True)
        g = random_parts(rng, xp, False, lengths=(3, 7), ranks=(2, 2))
        got = arithmetic.multiply(f, g, 0.0)
        x = points(rng, FAR, 60)
        want = values(f, x) * values(g, x)
        assert np.max(np.abs(values(got, x) - want)) < xp.tolerance * np.max(np.abs(want))
        assert is_orthonormal(got, xp.tolerance)
        assert (got.lengths == (8, 11) and got.core.shape == (4, 4)) or got.core.shape == (6, 4)

    @pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-12, 0.0])
    def test_error_is_the_one_asked_for(self, lorentz, wave, rng, tol):
        got = arithmetic.multiply(lorentz, wave, tol)
        exact = lambda x: values(lorentz, x) * values(wave, x)  # noqa: E731
        error, size = weighted_error(got, exact, rng)
        assert error <= max(1.1 * tol, 2e-14 * size)
        best = arithmetic.recompress(arithmetic.multiply(lorentz, wave, 1e-14), max(tol, 1e-14))[0]
        assert tol == 0 or sum(got.core.shape) <= sum(best.core.shape) + 3

    def test_of_oscillating_complex_functions(self, rng):
        f = interpolant(lambda x, y, z: np.exp(20j * (x * y + z)), CUBE, (48, 48, 48))
        f = arithmetic.recompress(f, 1e-13)[0]
        got = arithmetic.multiply(f, f, 1e-9)
        exact = lambda x: np.exp(40j * (x[:, 0] * x[:, 1] + x[:, 2]))  # noqa: E731
        assert weighted_error(got, exact, rng)[0] <= 1.1e-9

    def test_of_a_product_with_its_reciprocal_is_the_constant(self, lorentz):
        inverse = interpolant(lambda x, y, z: 1 + x * x + y * y + z * z, CUBE, (3, 3, 3))
        got = arithmetic.multiply(lorentz, inverse, 1e-12)
        assert got.core.shape == (1, 1, 1)
        assert got.lengths == (1, 1, 1)
        assert math.isclose(fix(got, {0: 0.0, 1: 0.0, 2: 0.0}), 1.0, rel_tol=1e-12)

    def test_of_five_variables_of_rank_six(self, rng):
        box = [(-1.0, 1.0)] * 5
        f = interpolant(lambda *x: 1 / (2 + sum(c * c for c in x)), box, (13,) * 5)
        f = arithmetic.recompress(f, 1e-10)[0]
        assert max(f.core.shape) == 6
        got = arithmetic.multiply(f, f, 1e-6)
        error, _ = weighted_error(got, lambda x: values(f, x) ** 2, rng)
        assert error <= 1.1e-6
        assert max(got.core.shape) <= 8

    @pytest.mark.parametrize(("one", "two"), [(1e200, 1e-150), (1e-200, 1e-100), (1e-160, 1e-160)])
    def test_of_any_scale(self, rng, one, two):
        f, g = random_parts(rng), random_parts(rng)
        got = arithmetic.multiply(scaled_by(f, one), scaled_by(g, two), 0.0)
        x = points(rng, FAR)
        want = values(f, x) * values(g, x)
        scale = one * two
        if scale > 1e-290:
            assert np.max(np.abs(values(got, x) / scale - want)) < 1e-13 * np.max(np.abs(want))
        assert np.all(np.isfinite(values(got, x)))

    def test_of_zero(self, rng):
        f = random_parts(rng)
        got = arithmetic.multiply(f, scaled_by(f, 0.0), 1e-10)
        assert got.core.shape == (1, 1)
        assert got.lengths == (1, 1)
        assert got.core[0, 0] == 0

    def test_of_one_variable(self, rng):
        f = interpolant(np.exp, [(0, 1)], (14,))
        got = arithmetic.multiply(f, f, 1e-15)
        x = points(rng, f.intervals)
        assert got.core.shape == (1,)
        assert np.max(np.abs(values(got, x) - np.exp(2 * x[:, 0]))) < 3e-14

    def test_refines_what_misses(self, lorentz, wave, rng, monkeypatch):
        monkeypatch.setattr(arithmetic, "_BASIS_SHARE", 300.0)
        got = arithmetic.multiply(lorentz, wave, 1e-9)
        exact = lambda x: values(lorentz, x) * values(wave, x)  # noqa: E731
        assert weighted_error(got, exact, rng)[0] <= 2.5e-9

    def test_warns_where_refining_does_not_help(self, lorentz, wave, monkeypatch):
        monkeypatch.setattr(arithmetic, "_BASIS_SHARE", 1e5)
        monkeypatch.setattr(arithmetic, "_FINER", 1.0)
        with pytest.warns(AccuracyWarning, match="the product misses its factors'"):
            arithmetic.multiply(lorentz, wave, 1e-9)

    def test_refuses_a_core_that_does_not_fit(self, lorentz, wave, monkeypatch):
        monkeypatch.setattr(arithmetic, "_LARGEST_CORE", 1000)
        with pytest.raises(ValueError, match="Recompress the factors first"):
            arithmetic.multiply(lorentz, wave, 1e-9)

    def test_in_slabs_is_the_same(self, lorentz, wave, rng, monkeypatch):
        want = arithmetic.multiply(lorentz, wave, 1e-9)
        monkeypatch.setattr(arithmetic, "_SLAB_POINTS", 5000)
        got = arithmetic.multiply(lorentz, wave, 1e-9)
        x = points(rng, CUBE)
        assert np.max(np.abs(values(got, x) - values(want, x))) < 1e-12

    def test_without_room_to_oversample(self, lorentz, wave, rng, monkeypatch):
        monkeypatch.setattr(arithmetic, "_GRID_POINTS", 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = arithmetic.multiply(lorentz, wave, 1e-9)
        exact = lambda x: values(lorentz, x) * values(wave, x)  # noqa: E731
        assert weighted_error(got, exact, rng)[0] <= 2e-9

    def test_refuses_another_box(self, rng):
        f, g = random_parts(rng), random_parts(rng, box=CUBE[:2])
        with pytest.raises(ValueError, match="must have the domain of the first"):
            arithmetic.multiply(f, g, 1e-6)


def needle(*x):
    """Return a peak of height 1 and width 0.06, on a background of 1e-3."""
    square = sum((c - 0.4) ** 2 for c in x)
    return np.exp(-150 * square) + 1e-3 * np.cos(sum(x))


class TestCompare:
    """Searches for the largest modulus and the largest difference."""

    def test_points_are_in_the_box_with_its_corners(self):
        for d in range(1, 7):
            P = compare.fixed_points(d)
            assert P.shape == (1000 + 2**d, d)
            assert np.max(np.abs(P)) == 1.0
            assert len(np.unique(P[np.all(np.abs(P) == 1.0, axis=1)], axis=0)) == 2**d
            assert np.count_nonzero(np.any(np.abs(P) == 1.0, axis=1)) >= 100

    def test_energetic_points_find_a_peak(self):
        f = interpolant(needle, CUBE, (90,) * 3)
        found = compare.energetic_points(compare.host_parts(f, 0))
        assert np.max(np.abs(found - 0.4)) < 0.06

    def test_largest_modulus_of_a_peak(self):
        f = interpolant(needle, CUBE, (90,) * 3)
        largest = compare.comparison_with(f, 0).largest
        assert 0.99 < largest < 1.002

    def test_lines_climb_to_a_corner_and_to_a_point(self):
        starts = np.asarray([[0.1, -0.2]])
        _, values = compare.climb(lambda P: np.exp(P[:, 0] - P[:, 1]), starts)
        assert math.isclose(np.max(values), math.exp(2.0), rel_tol=1e-14)
        P, values = compare.climb(lambda P: -1j / (1e-3 + (P[:, 0] - 0.77) ** 2), starts)
        assert abs(P[np.argmax(np.abs(values)), 0] - 0.77) < 1e-3

    def test_finds_a_local_difference(self):
        f = interpolant(lambda x, y: np.cos(x + y), CUBE[:2], (24, 24))
        g = interpolant(lambda x, y: np.cos(x + y) + 1e-5 * needle(x, y), CUBE[:2], (90, 90))
        comparison = compare.comparison_with(f, 0)
        assert 0.98e-5 < comparison.error(compare.on_host(g, 0)) < 1.01e-5
        n = comparison.points.shape[0]
        assert comparison.error(compare.on_host(f, 0)) == 0.0
        assert comparison.points.shape[0] > n

    def test_of_other_libraries_and_scales(self, xp, rng):
        f = random_parts(rng, xp, True)
        exponent = compare.exponent_of(f)
        largest = compare.comparison_with(f, exponent).largest * 2.0**exponent
        x = points(rng, FAR, 4000)
        assert largest >= 0.99 * np.max(np.abs(values(f, x)))
        assert largest <= compare.modulus_bound(f) * (1 + 1e-6)

    def test_bound_is_attained_by_the_kernel(self):
        # f = sum_j w_j T_j T_j(1), the reproducing kernel at 1: f(1) = |f|^2 = 2 m - 1.
        m = 7
        c = np.r_[1.0, np.full(m - 1, 2.0)]
        f = from_numpy(np.ones(1), [c[:, None]], [(0.0, 1.0)])
        assert math.isclose(compare.modulus_bound(f), 2 * m - 1, rel_tol=1e-13)

    def test_product_to_a_maximum_norm(self):
        f = arithmetic.recompress(interpolant(needle, CUBE[:2], (90, 90)), 1e-12)[0]
        exact, largest = compare.comparison_with_product(f, f, [0, 0])
        product, lost = compare.compared_product(f, f, exact, 1e-4, f.core.dtype)
        x = 0.4 + 0.06 * np.random.default_rng(0).standard_normal((4000, 2))
        true = np.max(np.abs(values(product, x) - values(f, x) ** 2))
        assert true <= 1.1 * lost
        assert lost <= 1e-4
        assert min(largest) > 0.99

    def test_recompression_to_a_maximum_norm(self):
        f = interpolant(needle, CUBE[:2], (90, 90))
        exact = compare.comparison_with(f, 0)
        shorter, lost, cut = compare.compared_recompression(f, exact, 1e-3, f.core.dtype)
        x = 0.4 + 0.06 * np.random.default_rng(0).standard_normal((4000, 2))
        assert np.max(np.abs(values(shorter, x) - values(f, x))) <= 1.1 * lost <= 1.1e-3
        assert cut <= lost
        assert shorter.lengths < f.lengths
