"""The smallest and the largest value, and where."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
from numpy.polynomial import Chebyshev

from linalgkit.chebyshev import _extreme_points
from linalgkit.chebyshev._arithmetic import recompress
from linalgkit.chebyshev._extremes import maximum, minimum
from linalgkit.chebyshev._parts import Parts
from tests.chebyshev.by_grid import from_numpy, interpolant, points, values

CUBE = [(-1.0, 1.0)] * 3
FAR = [(2.0, 5.0), (-1e6, 1e6)]


def column(f, m, interval=(-1.0, 1.0)):
    """Return Chebyshev coefficients of a function of one variable, (m,)."""
    return Chebyshev.interpolate(f, m - 1, domain=interval).coef


def at(parts, point):
    """Return the value at a point."""
    return values(parts, np.asarray(point)[None, :])[0]


class TestOneVariable:
    """Functions of one variable."""

    def test_by_the_roots_of_the_derivative(self, rng):
        for _ in range(5):
            c = rng.standard_normal(12)
            f = from_numpy(np.ones(1), [c[:, None]], [(-2.0, 3.0)])
            p = Chebyshev(c, domain=[-2.0, 3.0])
            roots = p.deriv().roots()
            inside = roots[(abs(roots.imag) < 1e-12) & (abs(roots.real - 0.5) < 2.5)].real
            candidates = p(np.concatenate([inside, [-2.0, 3.0]]))
            for found, want in ((maximum(f), candidates.max()), (minimum(f), candidates.min())):
                assert abs(found[0] - want) < 1e-13
                assert abs(p(found[1][0]) - want) < 1e-13

    def test_of_a_high_degree(self):
        f = interpolant(lambda x: np.sin(400 * x) * np.exp(x), [(0.0, 3.0)], (760,))
        # tan(400 x) = -400: the last maximum below 3.
        x = (math.pi - math.atan(400)) / 400
        x += 2 * math.pi / 400 * math.floor((3 - x) / (2 * math.pi / 400))
        value, point = maximum(f)
        assert math.isclose(value, math.sin(400 * x) * math.exp(x), rel_tol=1e-11)
        assert abs(point[0] - x) < 1e-9

    def test_of_a_wave_packet(self):
        # Many neighbouring waves are nearly as high; degree 981.
        f = column(lambda x: np.sin(900 * x) * np.exp(-20 * (x - 0.377) ** 2), 982)
        f = from_numpy(np.ones(1), [f[:, None]], [(-1.0, 1.0)])
        for find, sign in ((maximum, 1.0), (minimum, -1.0)):
            value, point = find(f)
            want, x = self.packet(sign)
            # The tail of the series that is left away, about J_982(900), is 1e-11.
            assert abs(value - sign * want) < 1e-10
            assert abs(point[0] - x) < 1e-9

    @staticmethod
    def packet(sign):
        """Return the largest value of the packet times a sign, by a root a wave of its slope."""

        def g(x):
            return sign * math.sin(900 * x) * math.exp(-20 * (x - 0.377) ** 2)

        def slope(x):
            return 900 * math.cos(900 * x) - 40 * (x - 0.377) * math.sin(900 * x)

        tops = [(0.5 * sign * math.pi + 2 * math.pi * n) / 900 for n in range(-140, 140)]
        roots = [scipy.optimize.brentq(slope, x - 1e-3, x + 1e-3, xtol=1e-14) for x in tops]
        return max((g(x), x) for x in roots)

    @pytest.mark.parametrize("degree", [1, 2, 37, 1000])
    def test_of_a_chebyshev_polynomial(self, degree):
        f = from_numpy(np.ones(1), [np.eye(degree + 1)[:, degree:]], [(-1.0, 1.0)])
        for find, want in ((maximum, 1.0), (minimum, -1.0)):
            assert abs(find(f)[0] - want) < 1e-13

    @pytest.mark.parametrize("tail", [0.0, 1e-300, 1e-17])
    def test_of_a_low_degree_in_many_coefficients(self, tail):
        # x^3 - x / 4, whose extremes inside, at 1 / sqrt(12), are lower than those at the ends.
        c = np.full(200, tail)
        c[:4] = [0.0, 0.5, 0.0, 0.25]
        f = from_numpy(np.ones(1), [c[:, None]], [(-1.0, 1.0)])
        assert abs(maximum(f)[0] - 0.75) < 1e-14
        assert maximum(f)[1] == [1.0]
        assert minimum(f)[1] == [-1.0]

    def test_of_random_polynomials_against_dense_scans(self, rng):
        t = np.cos(np.linspace(0, np.pi, 40_001))
        for m in (2, 3, 5, 60, 400):
            p = Chebyshev(rng.standard_normal(m))
            f = from_numpy(np.ones(1), [p.coef[:, None]], [(-1.0, 1.0)])
            # A trigonometric polynomial exceeds its samples by at most a cosine (Ehlich, Zeller).
            slack = (1 / math.cos(0.5 * math.pi * (m - 1) / 40_000) - 1) * np.max(np.abs(p(t)))
            for find, want in ((maximum, np.max(p(t))), (minimum, np.min(p(t)))):
                assert abs(find(f)[0] - want) < slack + 1e-11

    def test_at_an_end(self):
        f = interpolant(np.exp, [(0.0, 3.0)], (20,))
        assert minimum(f)[1] == [0.0]
        assert maximum(f)[1] == [3.0]
        assert math.isclose(maximum(f)[0], math.exp(3), rel_tol=1e-14)


class TestManyVariables:
    """Functions of more."""

    def test_inside_and_in_a_corner(self):
        f = interpolant(
            lambda x, y, z: 1 / (1 + (x - 0.1) ** 2 + (y + 0.2) ** 2 + (z - 0.3) ** 2),
            CUBE,
            (45, 45, 45),
        )
        f = recompress(f, 1e-14)[0]
        value, point = maximum(f)
        assert abs(value - 1) < 2e-13
        assert np.allclose(point, [0.1, -0.2, 0.3], rtol=0, atol=1e-11)
        value, point = minimum(f)
        assert abs(value - 1 / (1 + 1.1**2 + 1.2**2 + 1.3**2)) < 1e-13
        assert point == [-1.0, 1.0, -1.0]

    def test_on_an_edge(self):
        f = interpolant(lambda x, y: y * np.exp(-((x - 0.3) ** 2)), CUBE[:2], (24, 2))
        value, point = maximum(f)
        assert abs(value - 1) < 1e-13
        assert point[1] == 1.0
        assert abs(point[0] - 0.3) < 1e-10

    def test_problem_four_of_the_hundred_digit_challenge(self):
        m = 801
        x = [np.ones(m), *(column(g, m) for g in self.of_x())]
        y = [np.ones(m), *(column(g, m) for g in self.of_y())]
        x[0], y[0] = np.eye(m)[0], np.eye(m)[0]
        core = np.zeros((4, 4))
        core[1, 0] = core[0, 1] = 1.0
        core[2, 2] = core[3, 3] = -1.0
        f = from_numpy(core, [np.stack(x, axis=1), np.stack(y, axis=1)], CUBE[:2])
        value, point = minimum(f)
        assert abs(value + 3.30686864747523728) < 1e-10
        assert np.allclose(point, [-0.02440307923, 0.21061242715], rtol=0, atol=1e-8)

    @staticmethod
    def of_x():
        """Return the functions of the first variable."""
        return (
            lambda x: np.exp(np.sin(50 * x)) + np.sin(70 * np.sin(x)) + x * x / 4,
            lambda x: np.sin(10 * x),
            lambda x: np.cos(10 * x),
        )

    @staticmethod
    def of_y():
        """Return the functions of the second."""
        return (
            lambda y: np.sin(60 * np.exp(y)) + np.sin(np.sin(80 * y)) + y * y / 4,
            lambda y: np.cos(10 * y),
            lambda y: np.sin(10 * y),
        )

    @pytest.mark.parametrize("limit", [4_000_000, 300])
    def test_against_brute_force(self, rng, limit, monkeypatch):
        monkeypatch.setattr(_extreme_points, "_GRID_POINTS", limit)
        for _ in range(3):
            factors = [rng.standard_normal((m, 3)) for m in (7, 8, 6)]
            f = from_numpy(rng.standard_normal((3, 3, 3)), factors, CUBE)
            value, point = maximum(f)
            assert abs(at(f, point) - value) < 1e-13 * abs(value)
            assert value >= np.max(values(f, points(rng, CUBE, 100_000)))
            near = scipy.optimize.minimize(
                lambda x, f=f: -at(f, x), point, bounds=CUBE, method="L-BFGS-B"
            )
            assert -near.fun <= value * (1 + 1e-12)

    @pytest.mark.parametrize("limit", [4_000_000, 20_000])
    def test_of_many_waves_of_nearly_the_same_height(self, limit, monkeypatch):
        monkeypatch.setattr(_extreme_points, "_GRID_POINTS", limit)
        m, x = 150, np.linspace(-1, 1, 4001)

        def g(x):
            return np.sin(90 * x + 0.3) * np.exp(-((x - 0.31) ** 2))

        def h(y):
            return np.cos(90 * y - 0.2) * np.exp(-((y - 0.31) ** 2))

        tilt = np.eye(m)[1]
        factors = [np.stack([column(k, m), tilt], axis=1) for k in (g, h)]
        f = from_numpy(np.diag([1.0, 1e-3]), factors, CUBE[:2])
        V = np.multiply.outer(g(x), h(x)) + 1e-3 * np.multiply.outer(x, x)
        for find, want in ((maximum, np.max(V)), (minimum, -np.min(V))):
            value, point = find(f)
            assert abs(at(f, point) - value) < 1e-13
            # The scan is off by at most half a step squared times half the curvature, an axis.
            assert -1e-13 < abs(value) - want < 2 * 0.5 * 9000 * (0.5 / 2000) ** 2

    def test_of_a_perturbed_product_in_six_variables(self):
        c = np.stack([column(self.wavy, 34), np.eye(34)[1]], axis=1)
        core = np.zeros((2,) * 6)
        core[(0,) * 6], core[(1,) * 6] = 1.0, 1e-6
        f = from_numpy(core, [c] * 6, [(-1.0, 1.0)] * 6)
        top, bottom = self.of_the_wavy()
        assert abs(maximum(f)[0] - top**6) < 2e-6
        assert abs(minimum(f)[0] - top**5 * bottom) < 2e-6

    def test_in_five_variables_of_a_coarse_grid(self):
        g = column(lambda x: np.exp(-((x - 0.2) ** 2)), 24)[:, None]
        f = from_numpy(np.ones((1,) * 5), [g] * 5, [(-1.0, 1.0)] * 5)
        value, point = maximum(f)
        assert abs(value - 1) < 1e-13
        assert np.allclose(point, 0.2, rtol=0, atol=1e-10)
        value, point = minimum(f)
        assert abs(value - math.exp(-5 * 1.44)) < 1e-13
        assert point == [-1.0] * 5

    @staticmethod
    def wavy(x):
        """Return a factor whose largest modulus has both signs nearly."""
        return np.cos(6 * (x - 0.1)) * np.exp(-0.3 * (x - 0.31) ** 2)

    def of_the_wavy(self):
        """Return its largest and its smallest value, by SciPy in brackets from a scan."""
        x, ends = np.linspace(-1, 1, 2001), []
        for sign in (1.0, -1.0):
            best = x[np.argmax(sign * self.wavy(x))]
            found = scipy.optimize.minimize_scalar(
                lambda t, sign=sign: -sign * self.wavy(t),
                bounds=(best - 1e-3, min(best + 1e-3, 1.0)),
                method="bounded",
                options={"xatol": 1e-10},
            )
            ends.append(-sign * found.fun)
        return ends

    def test_of_a_product_of_six_is_exact(self):
        c = column(self.wavy, 34)[:, None]
        top, bottom = self.of_the_wavy()
        for scale in (1.0, -1.0):
            f = from_numpy(np.full((1,) * 6, scale), [c] * 6, [(-1.0, 1.0)] * 6)
            ends = {1.0: maximum(f), -1.0: minimum(f)}
            assert abs(ends[scale][0] - scale * top**6) < 1e-13
            assert abs(ends[-scale][0] - scale * top**5 * bottom) < 1e-13

    def test_of_a_sum_that_is_a_product(self, rng):
        # Twice the same product: ranks (2, 2) that are one.
        a, b = column(lambda x: x - 0.5, 3), column(lambda y: np.exp(y) - 2, 20)
        f = from_numpy(np.eye(2), [np.stack([c, c], axis=1) for c in (a, b)], CUBE[:2])
        assert abs(maximum(f)[0] - 2 * 1.5 * (2 - math.exp(-1))) < 1e-13
        assert maximum(f)[1] == [-1.0, -1.0]
        assert abs(minimum(f)[0] - 2 * 1.5 * -(math.e - 2)) < 1e-13
        assert minimum(f)[1] == [-1.0, 1.0]

    def test_of_a_product_with_a_function_of_two_variables(self):
        # x (y z + y + z) on [-1, 1]^3: the second factor runs from -1 to 3.
        core = np.asarray([[[0.0, 1.0], [1.0, 1.0]]])
        linear = np.eye(2)
        f = from_numpy(core, [linear[:, 1:], linear, linear], CUBE)
        assert abs(maximum(f)[0] - 3) < 1e-14
        assert maximum(f)[1] == [1.0, 1.0, 1.0]
        assert abs(minimum(f)[0] + 3) < 1e-14
        assert minimum(f)[1] == [-1.0, 1.0, 1.0]

    def test_in_boxes_whose_ends_are_no_sums_of_powers_of_two(self, rng):
        for _ in range(15):
            a, b = np.sort(rng.standard_normal((2, 2)), axis=0)
            box = list(zip(a, b, strict=True))
            f = from_numpy(rng.standard_normal((2, 2)), [np.eye(2)] * 2, box)
            for find in (minimum, maximum):
                _, point = find(f)
                assert all(lo <= p <= hi for p, (lo, hi) in zip(point, box, strict=True))

    def test_of_long_noisy_series_against_dense_grids(self, rng):
        dense = np.cos(np.linspace(0, np.pi, 2501))
        V = np.polynomial.chebyshev.chebvander(dense, 79)
        for _ in range(2):
            factors = [rng.standard_normal((80, 6)) for _ in range(2)]
            f = from_numpy(rng.standard_normal((6, 6)), factors, CUBE[:2])
            B = [V @ F for F in f.factors]
            F = B[0] @ f.core @ B[1].T
            for find, want in ((maximum, np.max(F)), (minimum, -np.min(F))):
                height = abs(find(f)[0])
                assert height >= want
                # A step of the grid is a thirtieth of the shortest wave: (2 pi / 63)^2 at most.
                assert height < want + 0.01 * np.max(np.abs(F))

    def test_twice_gives_the_same(self, rng):
        f = from_numpy(rng.standard_normal((3, 3)), [rng.standard_normal((30, 3))] * 2, CUBE[:2])
        assert maximum(f) == maximum(f)

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_of_any_scale_on_a_stretched_box(self, scale):
        f = interpolant(lambda x, y: scale * np.cos(3 * x) * (1 + y / 1e6), FAR, (26, 2))
        value, point = maximum(f)
        assert math.isclose(value, 2 * scale, rel_tol=1e-13)
        assert abs(math.cos(3 * point[0]) - 1) < 1e-14
        assert point[1] == 1e6
        value, point = minimum(f)
        assert math.isclose(value, -2 * scale, rel_tol=1e-13)
        assert point[1] == 1e6

    def test_of_constants(self):
        f = from_numpy(np.full((1, 1), 3.0), [np.ones((1, 1))] * 2, FAR)
        for find in (minimum, maximum):
            value, point = find(f)
            assert value == 3.0
            assert len(point) == 2
            assert find(Parts(0 * f.core, f.factors, f.intervals, f.xp))[0] == 0.0

    def test_on_every_library(self, xp):
        f = interpolant(lambda x, y: np.sin(2 * x) * (2 - y * y) + x, CUBE[:2], (20, 3), xp)
        # 4 cos(2 x) + 1 = 0, y = 0.
        x = math.acos(-0.25) / 2
        value, point = maximum(f)
        assert isinstance(value, float)
        assert all(isinstance(p, float) for p in point)
        assert abs(value - (2 * math.sin(2 * x) + x)) < xp.tolerance
        assert np.allclose(point, [x, 0.0], rtol=0, atol=10 * xp.tolerance)

    def test_refuses_complex_functions(self):
        f = from_numpy(np.ones((1, 1)) * 1j, [np.ones((2, 1))] * 2, FAR)
        for find in (minimum, maximum):
            with pytest.raises(TypeError, match="must be real"):
                find(f)
