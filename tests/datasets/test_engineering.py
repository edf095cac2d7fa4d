"""Engineering functions: the formulas, worked out again with many digits and from their physics."""

import mpmath
import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core.array import dtype_name, to_numpy

FUNCTIONS = {
    "otl_circuit": (datasets.otl_circuit, datasets.OTL_CIRCUIT_RANGES),
    "borehole": (datasets.borehole, datasets.BOREHOLE_RANGES),
}
NAMES = pytest.mark.parametrize("name", FUNCTIONS)


def circuit(Rb1, Rb2, Rf, Rc1, Rc2, beta):
    """Return the three terms of Ben-Ari and Steinberg, with 40 digits."""
    base = mpmath.mpf(12) * Rb2 / (Rb1 + Rb2)
    loaded = beta * (Rc2 + 9)
    first = (base + mpmath.mpf("0.74")) * loaded / (loaded + Rf)
    second = mpmath.mpf("11.35") * Rf / (loaded + Rf)
    third = mpmath.mpf("0.74") * Rf * loaded / ((loaded + Rf) * Rc1)
    return first + second + third


def flow(rw, r, Tu, Hu, Tl, Hl, L, Kw):
    """Return the flow through three resistances in a row: aquifer, borehole, aquifer."""
    annulus = mpmath.log(r / rw) / (2 * mpmath.pi)
    upper, lower = annulus / Tu, annulus / Tl
    shaft = L / (mpmath.pi * rw**2 * Kw)
    return (Hu - Hl) / (upper + shaft + lower)


BY_HAND = {"otl_circuit": circuit, "borehole": flow}


def scaled(points, ranges):
    low, high = np.asarray(list(ranges.values())).T
    return low + (points + 1) / 2 * (high - low)


@NAMES
def test_equals_the_formula_worked_out_with_many_digits(name, rng):
    function, ranges = FUNCTIONS[name]
    points = np.concatenate([rng.uniform(-1, 1, (20, len(ranges))), [[-1.0] * len(ranges)]])
    physical = scaled(points, ranges)
    with mpmath.workdps(40):
        expected = [float(BY_HAND[name](*map(mpmath.mpf, point))) for point in physical]
    np.testing.assert_allclose(function(physical, physical=True), expected, rtol=1e-14)
    np.testing.assert_allclose(function(points), expected, rtol=1e-13)


@NAMES
def test_every_library_and_precision(name, xp, rng):
    function, ranges = FUNCTIONS[name]
    points = rng.uniform(-1, 1, (50, len(ranges)))
    expected = function(points)
    for dtype in ("float32", "float64") if xp.has_float64 else ("float32",):
        found = function(xp.asarray(points, dtype))
        assert dtype_name(xp.xp, found.dtype) == dtype
        rtol = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(to_numpy(found), expected, rtol=rtol)


@NAMES
def test_corners_pass_in_single_precision_and_integers_do(name):
    function, ranges = FUNCTIONS[name]
    d = len(ranges)
    corners = np.asarray([[-1] * d, [1] * d])
    expected = function(corners.astype(float))
    np.testing.assert_allclose(function(corners), expected, rtol=1e-14)
    physical = scaled(corners.astype(float), ranges).astype(np.float32)
    np.testing.assert_allclose(function(physical, physical=True), expected, rtol=1e-5)
    assert function(np.empty((0, d))).shape == (0,)


def test_the_directions_of_physics():
    slope = {name: [] for name in datasets.BOREHOLE_RANGES}
    for c, name in enumerate(slope):
        points = np.zeros((2, 8))
        points[:, c] = -1, 1
        slope[name] = np.diff(datasets.borehole(points))[0]
    signs = {name: int(np.sign(value)) for name, value in slope.items()}
    more = {"rw", "Tu", "Hu", "Tl", "Kw"}
    assert signs == {name: 1 if name in more else -1 for name in signs}


@NAMES
@pytest.mark.parametrize(
    ("change", "options", "kind", "why"),
    [
        (lambda x: x[:, :-1], {}, ValueError, "points must have [68] columns"),
        (lambda x: x[0], {}, ValueError, "points must be 2-D"),
        (lambda x: x * np.nan, {}, ValueError, "points must not contain NaN"),
        (lambda x: x * 1j, {}, TypeError, "points must be real"),
        (
            lambda x: x + 2,
            {},
            ValueError,
            r"in \[-1, 1\] for the variable (Rb1|rw), got 2",
        ),
        (
            lambda x: x - 2,
            {},
            ValueError,
            r"got -2\. Points in units of their own need physical=True",
        ),
        (lambda x: x, {"physical": True}, ValueError, r"points must lie in .* got 0\.$"),
        (lambda x: x, {"physical": 1}, TypeError, "physical must be True or False"),
        (lambda x: iter(x), {}, TypeError, "points must be an array"),
    ],
    ids=["columns", "1-D", "nan", "complex", "above", "below", "unscaled", "option", "iterator"],
)
def test_bad_points_are_refused(name, change, options, kind, why):
    function, ranges = FUNCTIONS[name]
    with pytest.raises(kind, match=why):
        function(change(np.zeros((2, len(ranges)))), **options)


def test_the_ranges_cannot_be_changed():
    with pytest.raises(TypeError):
        datasets.BOREHOLE_RANGES["rw"] = (0.0, 1.0)
