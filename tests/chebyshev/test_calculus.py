"""Derivatives, integrals, inner products, slices and smaller boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linalgkit.chebyshev import _calculus as calculus
from linalgkit.chebyshev._arithmetic import add, multiply
from tests.chebyshev.by_grid import from_numpy, interpolant, is_orthonormal, points, values

CUBE = [(-1.0, 1.0)] * 3
FAR = [(2.0, 5.0), (-1e6, 1e6)]
# The integral of 1 / (1 + |x|^2) over the cube, to 21 digits (the guide of Chebfun3).
LORENTZ = 4.28685406230184188268


def wave(x, y, z):
    """Return sin(3 e^x + 4 y z)."""
    return np.sin(3 * np.exp(x) + 4 * y * z)


def phase(x, y):
    """Return a complex function whose conjugate has other integrals."""
    return np.exp(2j * x + 1j * x * y) * (1 + y)


@pytest.fixture(scope="module")
def waves():
    """The wave on the cube, resolved to rounding."""
    return interpolant(wave, CUBE, (40, 26, 26))


def random_parts(rng, xp=None, complex_=False, box=FAR, lengths=(5, 4), ranks=(3, 2)):
    """Return parts of given ranks with random data."""

    def draw(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_ else real

    factors = [draw(m, r) for m, r in zip(lengths, ranks, strict=True)]
    return from_numpy(draw(*ranks), factors, box, xp)


class TestDifferentiate:
    """Derivatives."""

    def test_of_a_wave_keeps_eleven_digits(self, waves, rng):
        x = points(rng, CUBE, 2000)
        X, Y, Z = x.T
        inner = np.cos(3 * np.exp(X) + 4 * Y * Z)
        for axis, factor in enumerate((3 * np.exp(X), 4 * Z, 4 * Y)):
            got = calculus.differentiate(waves, axis)
            assert np.max(np.abs(values(got, x) - inner * factor)) < 1e-11
            assert is_orthonormal(got)

    def test_laplacian_of_a_harmonic_function_vanishes(self, rng):
        f = interpolant(lambda x, y: np.exp(x) * np.sin(y), [(-1, 1), (0, 3)], (20, 24))
        parts = [calculus.differentiate(f, k, 2) for k in (0, 1)]
        x = points(rng, f.intervals)
        assert np.max(np.abs(values(parts[0], x) - np.exp(x[:, 0]) * np.sin(x[:, 1]))) < 1e-11
        assert np.max(np.abs(values(add(*parts), x))) < 1e-11

    def test_product_rule(self, rng):
        box = [(0.0, 2.0), (-1.0, 3.0)]
        f = random_parts(rng, box=box)
        g = random_parts(rng, box=box)
        left = calculus.differentiate(multiply(f, g, 0.0), 1)
        terms = [multiply(calculus.differentiate(a, 1), b, 0.0) for a, b in ((f, g), (g, f))]
        x = points(rng, box)
        right = values(add(*terms), x)
        assert np.max(np.abs(values(left, x) - right)) < 1e-12 * np.max(np.abs(right))

    def test_chain_rule_on_a_stretched_box(self, rng):
        f = interpolant(lambda x, y: x**3 * (y / 1e6) ** 2, FAR, (4, 3))
        x = points(rng, FAR)
        got = values(calculus.differentiate(f, -1), x)
        assert np.allclose(got, x[:, 0] ** 3 * 2 * x[:, 1] / 1e12, rtol=0, atol=1e-13 * 250e-6)
        second = values(calculus.differentiate(f, 0, 2), x)
        assert np.allclose(second, 6 * x[:, 0] * (x[:, 1] / 1e6) ** 2, rtol=0, atol=1e-11)

    def test_beyond_the_degree_is_zero(self, rng):
        f = random_parts(rng)
        for order in (4, 7):
            got = calculus.differentiate(f, 1, order)
            assert got.core.shape == (1, 1)
            assert got.lengths == (1, 1)
            assert got.core[0, 0] == 0.0
            assert got.intervals == f.intervals
        last = calculus.differentiate(f, 1, 3)
        assert last.lengths == (5, 1)

    def test_order_zero_is_the_function(self, waves):
        assert calculus.differentiate(waves, 0, 0) is waves

    def test_on_every_library(self, xp, rng):
        f = random_parts(rng, xp, complex_=True)
        host = random_parts(np.random.default_rng(20261121), complex_=True)
        x = points(rng, FAR, 50)
        got = values(calculus.differentiate(f, 0), x)
        want = values(calculus.differentiate(host, 0), x)
        assert np.max(np.abs(got - want)) < xp.tolerance * np.max(np.abs(want))

    @pytest.mark.parametrize(
        ("axis", "order", "error", "text"),
        [
            (2, 1, ValueError, "axis must be between -2 and 1 for a function of 2 variables"),
            (-3, 1, ValueError, "axis must be"),
            (0.0, 1, TypeError, "axis must be an integer"),
            (0, -1, ValueError, "order must be at least 0"),
            (0, 1.5, TypeError, "order must be an integer"),
        ],
    )
    def test_refuses(self, rng, axis, order, error, text):
        with pytest.raises(error, match=text):
            calculus.differentiate(random_parts(rng), axis, order)


class TestIntegrateOver:
    """Integrals."""

    def test_of_a_lorentzian_to_fifteen_digits(self):
        f = interpolant(lambda x, y, z: 1 / (1 + x * x + y * y + z * z), CUBE, (41, 41, 41))
        got = calculus.integrate_over(f, None)
        assert isinstance(got, float)
        assert abs(got - LORENTZ) < 2e-14

    def test_over_some_variables(self, rng):
        box = [(0.0, 2.0), (-1.0, 1.0), (1.0, 4.0)]
        f = interpolant(lambda x, y, z: np.exp(x) * y**2 + z * x, box, (20, 3, 2))
        plane = calculus.integrate_over(f, (2, 0))
        y = points(rng, [box[1]])
        want = 3 * (np.exp(2) - 1) * y[:, 0] ** 2 + 7.5 * 2
        assert plane.order == 1
        assert plane.intervals == ((-1.0, 1.0),)
        assert plane.core.shape == (1,)
        assert np.allclose(values(plane, y), want, rtol=1e-14)
        assert math.isclose(calculus.integrate_over(plane, 0), 2 * (math.e**2 - 1) + 30.0)

    def test_one_after_the_other_is_all(self, waves):
        whole = calculus.integrate_over(waves, None)
        rest = calculus.integrate_over(calculus.integrate_over(waves, 1), (0, 1))
        assert abs(whole - rest) < 1e-14

    def test_no_axis_is_the_function(self, waves):
        assert calculus.integrate_over(waves, ()) is waves

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_of_any_scale(self, scale):
        f = interpolant(lambda x, y: scale * x**2 * (1 + y / 1e6), FAR, (3, 2))
        assert math.isclose(calculus.integrate_over(f, (0, 1)), 39 * scale * 2e6, rel_tol=1e-13)

    def test_on_every_library(self, xp):
        f = interpolant(phase, [(0.0, 1.0), (-1.0, 1.0)], (16, 16), xp)
        host = interpolant(phase, [(0.0, 1.0), (-1.0, 1.0)], (16, 16))
        got, want = calculus.integrate_over(f, None), calculus.integrate_over(host, None)
        assert isinstance(got, complex)
        assert abs(got - want) < xp.tolerance
        line = calculus.integrate_over(f, 1)
        assert abs(calculus.integrate_over(line, 0) - want) < xp.tolerance

    @pytest.mark.parametrize(
        ("axes", "error", "text"),
        [
            ((0, 2), ValueError, "axes must be between -2 and 1"),
            ((0, -2), ValueError, "axes must name each variable at most once"),
            ("01", TypeError, "axes must be an integer"),
            ((0.5,), TypeError, "axes must be an integer"),
        ],
    )
    def test_refuses(self, rng, axes, error, text):
        with pytest.raises(error, match=text):
            calculus.integrate_over(random_parts(rng), axes)


def gauss(parts, other):
    """Return the inner product of two functions of two variables by Gauss-Legendre quadrature."""
    t, w = np.polynomial.legendre.leggauss(40)
    (a, b), (c, d) = parts.intervals
    X, Y = np.meshgrid(a + (b - a) * (t + 1) / 2, c + (d - c) * (t + 1) / 2, indexing="ij")
    x = np.stack([X.ravel(), Y.ravel()], axis=1)
    W = np.outer(w, w).ravel() * (b - a) * (d - c) / 4
    return np.sum(W * values(parts, x).conj() * values(other, x))


class TestInner:
    """Inner products and norms."""

    def test_conjugates_the_first(self, xp, rng):
        f, g = random_parts(rng, xp, True), random_parts(rng, xp, True, lengths=(7, 2))
        got, want = calculus.inner(f, g), gauss(f, g)
        size = calculus.l2_norm(f) * calculus.l2_norm(g)
        assert abs(want.imag) > 1e-3 * size  # so that the conjugate is another number
        assert abs(got - want) < xp.tolerance * size
        assert abs(calculus.inner(g, f) - got.conjugate()) < xp.tolerance * size

    def test_of_a_real_and_a_complex_function(self, rng):
        f, g = random_parts(rng), random_parts(rng, complex_=True)
        assert isinstance(calculus.inner(f, f), float)
        got = calculus.inner(f, g)
        assert isinstance(got, complex)
        assert abs(got - gauss(f, g)) < 1e-12 * abs(got)

    def test_parseval(self, xp, rng):
        f = random_parts(rng, xp, True)
        norm = calculus.l2_norm(f)
        assert isinstance(norm, float)
        assert abs(calculus.inner(f, f) - norm**2) < xp.tolerance * norm**2
        assert abs(gauss(f, f) - norm**2) < xp.tolerance * norm**2

    def test_norm_of_legendre_polynomials(self):
        for n in (0, 1, 5, 60):
            c = np.polynomial.legendre.Legendre.basis(n).convert(kind=np.polynomial.Chebyshev).coef
            f = from_numpy(np.ones(1), [c[:, None]], [(-1, 1)])
            assert math.isclose(calculus.l2_norm(f), math.sqrt(2 / (2 * n + 1)), rel_tol=1e-13)

    def test_a_small_norm_does_not_cancel(self):
        # ((1 + x) / 2)^n is large at one end only; its coefficients are binomial.
        n = 200
        c = [math.comb(2 * n, n - k) / 2 ** (2 * n - (k > 0)) for k in range(n + 1)]
        f = from_numpy(np.ones(1), [np.asarray(c)[:, None]], [(-1, 1)])
        assert math.isclose(calculus.l2_norm(f), math.sqrt(2 / (2 * n + 1)), rel_tol=1e-13)
        tiny = interpolant(lambda x: 1e-8 * np.exp(x), [(-1, 1)], (16,))
        want = 1e-8 * math.sqrt(math.sinh(2))
        assert math.isclose(calculus.l2_norm(tiny), want, rel_tol=1e-14)

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_of_any_scale(self, scale):
        f = interpolant(lambda x, y: scale * x * (y / 1e6), FAR, (2, 2))
        want = math.sqrt(39 * 2e6 / 3)
        assert math.isclose(calculus.l2_norm(f) / scale, want, rel_tol=1e-13)
        g = interpolant(lambda x, y: x * (y / 1e6) / scale, FAR, (2, 2))
        assert math.isclose(calculus.inner(f, g), want**2, rel_tol=1e-13)

    @pytest.mark.parametrize("n", [1, 2, 3, 8, 33])
    def test_weights_integrate_polynomials(self, n):
        w = calculus.quadrature_weights(n)
        t = np.cos(np.pi * np.arange(n - 1, -1, -1) / max(n - 1, 1)) if n > 1 else np.zeros(1)
        assert np.all(w > 0)
        for degree in range(n):
            want = 2 / (degree + 1) if degree % 2 == 0 else 0.0
            assert abs(np.sum(w * t**degree) - want) < 1e-14

    def test_refuses_another_box(self, rng):
        f, g = random_parts(rng), random_parts(rng, box=CUBE[:2])
        with pytest.raises(ValueError, match="domain of the first"):
            calculus.inner(f, g)


class TestFix:
    """Slices."""

    def test_is_the_function_of_the_others(self, waves, rng):
        got = calculus.fix(waves, {1: 0.3, -1: -0.7})
        x = points(rng, CUBE[:1])
        want = wave(x[:, 0], 0.3, -0.7)
        assert got.order == 1
        assert got.core.shape == (1,)
        assert np.max(np.abs(values(got, x) - want)) < 1e-13

    def test_of_all_is_a_number(self, xp):
        f = interpolant(phase, CUBE[:2], (18, 18), xp)
        got = calculus.fix(f, {0: 1.0, 1: -0.25})
        assert isinstance(got, complex)
        assert abs(got - phase(1.0, -0.25)) < xp.tolerance

    def test_at_the_ends_and_of_any_scale(self):
        f = interpolant(lambda x, y: 1e200 * x * y, FAR, (2, 2))
        assert math.isclose(calculus.fix(f, {0: 5.0, 1: -1e6}), -5e206, rel_tol=1e-14)

    def test_of_nothing_is_the_function(self, waves):
        assert calculus.fix(waves, {}) is waves

    @pytest.mark.parametrize(
        ("where", "error", "text"),
        [
            ({0: 5.1}, ValueError, r"values\[0\] must be between 2.0 and 5.0"),
            ({0: math.nan}, ValueError, r"values\[0\] must be"),
            ({0: 1j}, TypeError, r"values\[0\] must be a real number"),
            ({2: 3.0}, ValueError, "axes of values must be between -2 and 1"),
            ({0: 3.0, -2: 3.0}, ValueError, "at most once"),
            ([3.0], TypeError, "values must be a mapping"),
        ],
    )
    def test_refuses(self, rng, where, error, text):
        with pytest.raises(error, match=text):
            calculus.fix(random_parts(rng), where)


class TestRestrict:
    """Smaller boxes."""

    def test_is_the_same_function_of_lower_degree(self, waves, rng):
        box = [(0.0, 0.5), (-1.0, 1.0), (0.9, 1.0)]
        got = calculus.restrict(waves, box)
        x = points(rng, box)
        assert np.max(np.abs(values(got, x) - wave(*x.T))) < 1e-13
        assert got.intervals == tuple(box)
        assert is_orthonormal(got)
        assert got.lengths[0] < 32
        assert got.lengths[2] < 20

    def test_of_a_polynomial_keeps_its_degree(self, xp, rng):
        f = random_parts(rng, xp, True, CUBE[:2])
        got = calculus.restrict(f, [(-0.5, 0.25), (0.5, 1.0)])
        x = points(rng, got.intervals, 50)
        want = values(f, x)
        assert np.max(np.abs(values(got, x) - want)) < xp.tolerance * np.max(np.abs(want))
        assert got.lengths == (5, 4)

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_of_any_scale(self, scale, rng):
        f = interpolant(lambda x, y: scale * np.cos(x) * (1 + y / 1e6) ** 2, FAR, (24, 3))
        got = calculus.restrict(f, [(2.0, 3.0), (0.0, 10.0)])
        x = points(rng, got.intervals)
        want = np.cos(x[:, 0]) * (1 + x[:, 1] / 1e6) ** 2
        assert np.max(np.abs(values(got, x) / scale - want)) < 1e-13

    @pytest.mark.parametrize(
        ("box", "error", "text"),
        [
            ([(2.0, 3.0)], ValueError, "2 intervals"),
            ([(2.0, 5.5), (0, 1)], ValueError, r"domain\[0\] must lie inside \(2.0, 5.0\)"),
            ([(3.0, 3.0), (0, 1)], ValueError, r"domain\[0\] must be"),
            ("box", TypeError, "domain must be pairs"),
        ],
    )
    def test_refuses(self, rng, box, error, text):
        with pytest.raises(error, match=text):
            calculus.restrict(random_parts(rng), box)
