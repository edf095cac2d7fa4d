"""The smallest and the largest value, and where."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
from numpy.polynomial import Chebyshev

from linalgkit.chebyshev import _extremes as extremes
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

    @pytest.mark.parametrize("limit", [2_000_000, 300])
    def test_against_brute_force(self, rng, limit, monkeypatch):
        monkeypatch.setattr(extremes, "_GRID_POINTS", limit)
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

    def test_in_five_variables_of_a_coarse_grid(self):
        g = column(lambda x: np.exp(-((x - 0.2) ** 2)), 24)[:, None]
        f = from_numpy(np.ones((1,) * 5), [g] * 5, [(-1.0, 1.0)] * 5)
        value, point = maximum(f)
        assert abs(value - 1) < 1e-13
        assert np.allclose(point, 0.2, rtol=0, atol=1e-10)
        value, point = minimum(f)
        assert abs(value - math.exp(-5 * 1.44)) < 1e-13
        assert point == [-1.0] * 5

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
