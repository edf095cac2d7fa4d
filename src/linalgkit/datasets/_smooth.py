"""Functions of one to five variables, analytic on their boxes, for tests and benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from linalgkit._core.array import Array, array_namespace


class SmoothFunction(NamedTuple):
    """A function of d arrays that broadcast, and the box on which it is meant.

    Attributes
    ----------
    name : str
        For tables.
    function : callable
        ``function(x_1, ..., x_d)``, on arrays of any library.
    domain : tuple of (float, float)
        Its box.
    """

    name: str
    function: Callable[..., Array]
    domain: tuple[tuple[float, float], ...]


def smooth_functions() -> list[SmoothFunction]:
    """Return forty functions: smooth, oscillating, peaked, anisotropic, complex, of scales.

    Returns
    -------
    list of SmoothFunction
        With ``name``, ``function`` and ``domain``; d is the length of the domain.

    Notes
    -----
    Some are those of the Chebfun3 collection (Hashemi and Trefethen, SIAM J. Sci. Comput. 39
    (2017)). Storage: none.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import smooth_functions
    >>> problems = smooth_functions()
    >>> len(problems)
    40
    >>> sorted({len(p.domain) for p in problems})
    [1, 2, 3, 4, 5]
    """
    found = [*_one_variable(), *_two_variables(), *_three_variables(), *_more_variables()]
    return [SmoothFunction(name, f, tuple(box)) for name, f, box in found]


_Entry = tuple[str, Callable[..., Any], list[tuple[float, float]]]


def _cube(d: int, a: float = -1.0, b: float = 1.0) -> list[tuple[float, float]]:
    return [(a, b)] * d


def _with_xp(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays that hands their namespace to `f` first."""

    def called(*x: Array) -> Array:
        return f(array_namespace(*x), *x)

    return called


def _one_variable() -> list[_Entry]:
    return [
        ("cos(50 x)", _with_xp(lambda xp, x: xp.cos(50 * x)), _cube(1)),
        ("1/(1+100 x^2)", _with_xp(lambda xp, x: 1 / (1 + 100 * x**2)), _cube(1)),
        ("exp(i 30 x) e^x", _with_xp(lambda xp, x: xp.exp((1 + 30j) * x)), _cube(1, 0.0, 2.0)),
        ("x^5 - x", _with_xp(lambda xp, x: x**5 - x), _cube(1, -2.0, 3.0)),
    ]


def _two_variables() -> list[_Entry]:
    return [
        ("cos(x y)", _with_xp(lambda xp, x, y: xp.cos(3 * x * y)), _cube(2, -2.0, 2.0)),
        ("1/(1+16(x^2+y^2))", _with_xp(lambda xp, x, y: 1 / (1 + 16 * (x**2 + y**2))), _cube(2)),
        ("Franke", _with_xp(_franke), _cube(2, 0.0, 1.0)),
        ("sin(20 x y) 2D", _with_xp(lambda xp, x, y: xp.sin(20 * x * y)), _cube(2)),
        ("exp(i(8x+5xy))", _with_xp(lambda xp, x, y: xp.exp(1j * (8 * x + 5 * x * y))), _cube(2)),
        (
            "log(3+x+y^2) far",
            _with_xp(lambda xp, x, y: xp.log(3 + x / 1e6 + y**2)),
            [(-1e6, 1e6), (1.0, 4.0)],
        ),
        ("tanh(4(x-y))", _with_xp(lambda xp, x, y: xp.tanh(4 * (x - y))), _cube(2)),
        ("x + y", _with_xp(lambda xp, x, y: x + y), _cube(2, 10.0, 11.0)),
    ]


def _franke(xp: Any, x: Array, y: Array) -> Array:
    a = 0.75 * xp.exp(-((9 * x - 2) ** 2) / 4 - (9 * y - 2) ** 2 / 4)
    b = 0.75 * xp.exp(-((9 * x + 1) ** 2) / 49 - (9 * y + 1) / 10)
    c = 0.5 * xp.exp(-((9 * x - 7) ** 2) / 4 - (9 * y - 3) ** 2 / 4)
    return a + b + c - 0.2 * xp.exp(-((9 * x - 4) ** 2) - (9 * y - 7) ** 2)


def _gaussians(count: int, low: float, high: float, seed: int) -> Callable[..., Any]:
    """Return a sum of Gaussians with random centres, widths and weights in three variables."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-0.8, 0.8, (count, 3)).tolist()
    widths, weights = rng.uniform(low, high, count).tolist(), rng.standard_normal(count).tolist()

    def f(xp: Any, x: Array, y: Array, z: Array) -> Array:
        total = 0.0
        for (a, b, c), s, w in zip(centres, widths, weights, strict=True):
            total = total + w * xp.exp(-s * (x - a) ** 2) * xp.exp(-s * (y - b) ** 2) * xp.exp(
                -s * (z - c) ** 2
            )
        return total

    return _with_xp(f)


def _r2(x: Array, y: Array, z: Array) -> Array:
    """Return the squared distance from the origin."""
    return x**2 + y**2 + z**2


def _three_variables() -> list[_Entry]:
    cube = _cube(3)
    return [
        ("1/(1+25 r^2)", _with_xp(lambda xp, x, y, z: 1 / (1 + 25 * _r2(x, y, z))), cube),
        ("1/(1+r^2)", _with_xp(lambda xp, x, y, z: 1 / (1 + _r2(x, y, z))), cube),
        ("cos(10(x+y+z))", _with_xp(lambda xp, x, y, z: xp.cos(10 * (x + y + z))), cube),
        ("tanh(3(x+y+z))", _with_xp(lambda xp, x, y, z: xp.tanh(3 * (x + y + z))), cube),
        ("cosh(3(x+y+z))^-2", _with_xp(lambda xp, x, y, z: xp.cosh(3 * (x + y + z)) ** -2), cube),
        ("tanh(5(x+z)) e^y", _with_xp(lambda xp, x, y, z: xp.tanh(5 * (x + z)) * xp.exp(y)), cube),
        ("sin(3e^x+4yz)", _with_xp(lambda xp, x, y, z: xp.sin(3 * xp.exp(x) + 4 * y * z)), cube),
        ("exp(20i(xy+z))", _with_xp(lambda xp, x, y, z: xp.exp(20j * (x * y + z))), cube),
        ("30 Gaussians", _gaussians(30, 5.0, 40.0, 7), cube),
        ("5 narrow Gaussians", _gaussians(5, 50.0, 100.0, 3), cube),
        ("xyz", _with_xp(lambda xp, x, y, z: x * y * z), _cube(3, 0.0, 2.0)),
        (
            "boundary layer",
            _with_xp(lambda xp, x, y, z: xp.exp(-20 * (x + 1)) * xp.cos(y * z)),
            cube,
        ),
        (
            "anisotropic",
            _with_xp(lambda xp, x, y, z: xp.sin(60 * x + y) + 0.01 * z * y**2),
            cube,
        ),
        ("1e200 cos", _with_xp(lambda xp, x, y, z: 1e200 * xp.cos(x + 2 * y + z**2)), cube),
        ("1e-200 / (2 + xyz)", _with_xp(lambda xp, x, y, z: 1e-200 / (2 + x * y * z)), cube),
        ("log(1+x^2y^2+z)", _with_xp(lambda xp, x, y, z: xp.log(1.1 + x**2 * y**2 + z)), cube),
        (
            "plane wave in a bump",
            _with_xp(lambda xp, x, y, z: xp.exp(-4 * _r2(x, y, z) + 15j * (x + y))),
            cube,
        ),
        ("sqrt(1.5 + xy + z)", _with_xp(lambda xp, x, y, z: xp.sqrt(2.1 + x * y + z)), cube),
    ]


def _more_variables() -> list[_Entry]:
    return [
        ("1/(2+r^2) 4D", _with_xp(lambda xp, *x: 1 / (2 + sum(t**2 for t in x))), _cube(4)),
        ("exp(-x1 x2 x3 x4)", _with_xp(lambda xp, a, b, c, d: xp.exp(-a * b * c * d)), _cube(4)),
        ("cos(sum) 4D", _with_xp(lambda xp, *x: xp.cos(2 * sum(x))), _cube(4, 0.0, math.pi)),
        ("sin(a+bc) d", _with_xp(lambda xp, a, b, c, d: xp.sin(a + b * c) * d), _cube(4)),
        (
            "exp(i(ab+cd))",
            _with_xp(lambda xp, a, b, c, d: xp.exp(2j * (a * b + c * d))),
            _cube(4),
        ),
        ("1/(6+sum) 5D", _with_xp(lambda xp, *x: 1 / (6 + sum(x))), _cube(5)),
        ("1/(2+r^2) 5D", _with_xp(lambda xp, *x: 1 / (2 + sum(t**2 for t in x))), _cube(5)),
        ("exp(-r^2/2) 5D", _with_xp(lambda xp, *x: xp.exp(-0.5 * sum(t**2 for t in x))), _cube(5)),
        ("cos(sum) 5D", _with_xp(lambda xp, *x: xp.cos(sum(x))), _cube(5)),
        ("a b + c d + e", _with_xp(lambda xp, a, b, c, d, e: a * b + c * d + e), _cube(5)),
    ]
