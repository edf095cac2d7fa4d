"""Families of one variable: orthonormality, values, and the laws of what they draw."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import interpolate, special, stats

from linalgkit._core import array as core_array
from linalgkit.sampling import _induced
from linalgkit.sampling._families import Fourier, Hermite, Legendre
from linalgkit.sampling._family import Family
from linalgkit.sampling._jacobi import Jacobi
from linalgkit.sampling._splines import BSpline
from linalgkit.sampling._tensor import TensorBasis

POLYNOMIALS = [
    Legendre(),
    Legendre(2, 5),
    Jacobi(0, 0),
    Jacobi(-0.5, -0.5),
    Jacobi(0.7, 2.3, low=0, high=3),
    Jacobi(-0.6, 1.5),
    Jacobi(-0.3, -0.6),
    Jacobi(30, 80),
    Hermite(),
    Hermite(mean=1, std=0.2),
]
SPLINES = [
    BSpline([0, 0.25, 0.5, 1], 3),
    BSpline([0, 1, 1, 1, 2.5], 3),
    BSpline([0, 0.1, 0.5, 1], 0),
    BSpline([-1, 1], 5),
    BSpline(np.linspace(0, 1, 12), 2),
]
FAMILIES = [*POLYNOMIALS, *SPLINES, Fourier(), Fourier(1, 4), Fourier(kind="complex")]
ENVELOPED = [f for f in FAMILIES if not isinstance(f, (Legendre, Fourier))]


def law(family: Family) -> Any:
    """The measure, as SciPy knows it."""
    if isinstance(family, Hermite):
        return stats.norm(family.mean, family.std)
    if isinstance(family, Jacobi):
        return stats.beta(family.b + 1, family.a + 1, family.low, family.high - family.low)
    low, high = (family.low, family.high) if isinstance(family, Fourier) else family.domain
    return stats.uniform(low, high - low)


def quadrature(family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights, exact for products of two functions of the tests."""
    if isinstance(family, BSpline):
        t, w = special.roots_legendre(family.degree + 1)
        knots = np.unique(family.knots)
        x = knots[:-1, None] + np.diff(knots)[:, None] * (t + 1) / 2
        weights = np.diff(knots)[:, None] * w / 2 / (knots[-1] - knots[0])
        return x.ravel(), weights.ravel()
    if isinstance(family, Fourier):
        return family.low + (family.high - family.low) * (np.arange(64) + 0.3) / 64, np.full(
            64, 1 / 64
        )
    if isinstance(family, Hermite):
        t, w = special.roots_hermitenorm(60)
        return family.mean + family.std * t, w / w.sum()
    a, b = (family.a, family.b) if isinstance(family, Jacobi) else (0, 0)
    t, w = special.roots_jacobi(40, a, b)
    low, high = family.domain
    return (low + high) / 2 + (high - low) / 2 * t, w / w.sum()


def largest(family: Family, wanted: int) -> int:
    return wanted if family.max_degree is None else min(wanted, family.max_degree)


def bins(family: Family, degree: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Edges of bins and their probabilities under ``|psi|^2 dmu``, by Gauss rules in each."""
    if isinstance(family, Jacobi):
        edges, probability = jacobi_bins(family, degree, count)
    else:
        edges, probability = smooth_bins(family, degree, count)
    assert abs(probability.sum() - 1) < 1e-9
    return edges, probability


def smooth_bins(family: Family, degree: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    measure = law(family)
    if isinstance(family, Hermite):
        edges = family.mean + family.std * np.linspace(-1, 1, count + 1) * (2 * degree**0.5 + 8)
    else:
        edges = np.linspace(*measure.support(), count + 1)
        edges = np.union1d(edges, family.knots) if isinstance(family, BSpline) else edges
    t, w = special.roots_legendre(60)
    x = edges[:-1, None] + np.diff(edges)[:, None] * (t + 1) / 2
    psi = family.evaluate(x.ravel(), degree)[:, degree].reshape(x.shape)
    return edges, (np.abs(psi) ** 2 * measure.pdf(x)) @ w * np.diff(edges) / 2


def jacobi_bins(family: Jacobi, degree: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins on the domain; factors that vanish or explode at an end are the rule's weight there."""
    edges, found = np.linspace(-1, 1, count + 1), []
    half = 1 / count
    low, high = family.domain
    for k in range(count):
        own = (family.a if k == count - 1 else 0.0, family.b if k == 0 else 0.0)
        s, w = special.roots_jacobi(100, *own)
        t = edges[k] + half * (1 + s)
        psi = family.evaluate((low + high) / 2 + (high - low) / 2 * t, degree)[:, degree]
        rest = (1 - t) ** (family.a - own[0]) * (1 + t) ** (family.b - own[1])
        found.append(float(w @ (psi**2 * rest)) * half ** (1 + sum(own)))
    total = 2 ** (family.a + family.b + 1) * special.beta(family.a + 1, family.b + 1)
    return (low + high) / 2 + (high - low) / 2 * edges, np.array(found) / total


def chi_square(draws: np.ndarray, edges: np.ndarray, probability: np.ndarray) -> float:
    """The p-value of counts in bins; bins of small expectation are joined with the next."""
    counts = np.histogram(draws, np.concatenate(([-np.inf], edges[1:-1], [np.inf])))[0]
    joined, total = [], np.zeros(2)
    for pair in zip(counts, probability * draws.size, strict=True):
        total = total + pair
        if total[1] >= 5:
            joined.append(total)
            total = np.zeros(2)
    joined[-1] = joined[-1] + total
    observed, expected = np.array(joined).T
    return float(stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(joined) - 1))


# ----------------------------------------------------------------------------------- values


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_orthonormal_with_the_constant_first(family: Family) -> None:
    p = largest(family, 20)
    x, w = quadrature(family)
    values = family.evaluate(x, p)
    assert np.all(values[:, 0] == 1)
    # Weights of Gauss rules for singular measures are themselves good to 1e-12 only.
    np.testing.assert_allclose((values.conj().T * w) @ values, np.eye(p + 1), rtol=0, atol=1e-11)


def test_polynomials_are_those_of_scipy(rng: np.random.Generator) -> None:
    x = 2 * rng.random(50) - 1
    j = np.arange(13)
    expected = np.sqrt(2 * j + 1) * special.eval_legendre(j, x[:, None])
    np.testing.assert_allclose(Legendre().evaluate(x, 12), expected, rtol=0, atol=1e-13)
    factor = np.sqrt(special.factorial(j))
    expected = special.eval_hermitenorm(j, 3 * x[:, None]) / factor
    np.testing.assert_allclose(Hermite().evaluate(3 * x, 12), expected, rtol=0, atol=1e-11)
    found = Jacobi(0.7, -0.4).evaluate(x, 12)
    raw = special.eval_jacobi(j, 0.7, -0.4, x[:, None])
    at_one = found[:1] / raw[:1]
    assert np.all(at_one > 0)
    np.testing.assert_allclose(found, raw * at_one, rtol=0, atol=1e-11)


def test_splines_span_all_splines_of_their_knots(rng: np.random.Generator) -> None:
    family = BSpline([0, 0.2, 0.5, 0.5, 0.9, 1.5], 3)
    clamped = np.concatenate(([0] * 4, [0.2, 0.5, 0.5, 0.9], [1.5] * 4))
    assert family.dim == clamped.size - 4
    x = np.sort(1.5 * rng.random(200))
    other = interpolate.BSpline(clamped, rng.standard_normal(family.dim), 3)(x)
    values = family.evaluate(x, family.dim - 1)
    residual = other - values @ np.linalg.lstsq(values, other, rcond=None)[0]
    assert np.abs(residual).max() < 1e-11
    legendre = Legendre(0, 1.5).evaluate(x, 3)
    np.testing.assert_allclose(values[:, :4], legendre, rtol=0, atol=1e-11)


def test_outermost_knots_count_once() -> None:
    assert BSpline([0, 0, 0, 1, 2, 2, 2], 2) == BSpline([0, 1, 2], 2)


@pytest.mark.parametrize(
    "family",
    [Legendre(2, 5), Jacobi(0.7, 2.3), Hermite(1, 0.2), BSpline([0, 0.3, 1], 2), Fourier(1, 4),
     Fourier(kind="complex")],
    ids=repr,
)  # fmt: skip
def test_every_library(xp: Any, family: Family) -> None:
    p = largest(family, 7)
    x = quadrature(family)[0]
    for dtype in [name for name in xp.dtypes if name.startswith("float")]:
        found = family.evaluate(xp.asarray(x, dtype), p)
        expected = family.evaluate(x.astype(dtype).astype("float64"), p)
        kind = dtype.replace("float32", "complex64").replace("float64", "complex128")
        assert found.dtype == getattr(xp.xp, kind if family.is_complex else dtype)
        assert core_array.device(found) == xp.device
        rows = 1 + np.abs(expected).max(axis=1, keepdims=True)
        error = np.abs(xp.to_numpy(found) - expected) / rows
        # A rounding of the place on [-1, 1] counts by the derivative, at most p^2 values.
        assert error.max() < 40 * (p + 1) ** 2 * np.finfo(dtype).eps


# ------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_draws_of_the_measure(family: Family) -> None:
    draws = family.draw(20_000, rng=11)
    assert stats.kstest(draws, law(family).cdf).pvalue > 1e-4


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_induced_laws_by_counts(family: Family) -> None:
    top = largest(family, 12)
    for degree in sorted({1, 2, top // 2, top}):
        draws = family.draw_induced(np.full(20_000, degree), rng=degree)
        assert chi_square(draws, *bins(family, degree)) > 1e-5, degree


@pytest.mark.parametrize(
    ("family", "drawn"), [(Legendre(), 6), (Hermite(), 4), (Jacobi(0.7, 2.3), 4), (Fourier(), 6)]
)
def test_the_counts_tell_degrees_apart(family: Family, drawn: int) -> None:
    draws = family.draw_induced(np.full(20_000, drawn), rng=3)
    assert chi_square(draws, *bins(family, 5)) < 1e-12
    assert chi_square(family.draw(20_000, rng=3), *bins(family, 5)) < 1e-12


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_mixed_degrees_are_drawn_each_from_its_own_law(family: Family) -> None:
    top = largest(family, 9)
    degrees = np.tile(np.arange(top + 1), 4000)
    draws = family.draw_induced(degrees, rng=8)
    for degree in sorted({0, 1, top}):
        assert chi_square(draws[degrees == degree], *bins(family, degree)) > 1e-5, degree


@pytest.mark.parametrize("degree", [200, 300])
@pytest.mark.parametrize("family", [Legendre(), Hermite(), Jacobi(-0.5, 1.5)], ids=repr)
def test_high_degrees(family: Family, degree: int) -> None:
    # The mean and variance of x under psi_j^2 dmu are entries of the Jacobi matrix.
    draws = family.draw_induced(np.full(20_000, degree), rng=5)
    diagonal, off = family._jacobi_matrix(degree + 1)
    variance = off[degree] ** 2 + off[degree - 1] ** 2
    assert abs(draws.mean() - diagonal[degree]) < 4.5 * math.sqrt(variance / draws.size)
    x, w = (
        special.roots_hermitenorm(degree + 3) if isinstance(family, Hermite)
        else special.roots_jacobi(degree + 3, getattr(family, "a", 0), getattr(family, "b", 0))
    )  # fmt: skip
    inside = w > 0
    density = w[inside] / w.sum() * family.evaluate(x[inside], degree)[:, degree] ** 2
    fourth = float(((x[inside] - diagonal[degree]) ** 4 * density).sum())
    spread = math.sqrt((fourth - variance**2) / draws.size)
    assert abs(((draws - diagonal[degree]) ** 2).mean() - variance) < 4.5 * spread


@pytest.mark.parametrize("family", ENVELOPED, ids=repr)
@pytest.mark.parametrize("degree", [1, 2, 7, 30, 200])
def test_no_density_exceeds_its_envelope(family: Any, degree: int) -> None:
    degree = largest(family, degree)
    cells = family._cells(degree)
    within = (cells.kind == _induced.UNIFORM)[:, None]
    steps = np.linspace(1e-6, 1 - 1e-6, 60)
    quick = np.where(cells.kind >= _induced.HIGH_TAIL, 5.0, 1.0)
    t = cells.start[:, None] + cells.width[:, None] * steps * quick[:, None]
    kind = np.broadcast_to(cells.kind[:, None], t.shape)
    density = family._density(t.ravel(), np.full(t.size, degree), kind.ravel()).reshape(t.shape)
    decay = np.where(cells.kind[:, None] >= _induced.HIGH_TAIL, np.exp(-steps * 5.0), 1.0)
    assert np.all(density <= cells.bound[:, None] * decay)
    # And not by far: most proposals are kept.
    kept = (density * within).mean(axis=1) @ np.abs(cells.width) / (cells.mass @ within[:, 0])
    assert kept > 0.7


def test_log_concave_bounds_need_no_grid() -> None:
    # exp(-x^2) on wide cells: its largest values lie inside, at an end, at infinity's side.
    edges = np.array([-3.0, -1.0, 2.0, 2.5])
    value, slope = -(edges**2), -2 * edges
    bound = _induced.log_concave_bounds(
        edges, np.stack((value[:-1], value[1:])), np.stack((slope[:-1], slope[1:]))
    )
    assert bound[0] == value[1]
    assert bound[1] >= 0
    assert bound[2] == value[2]


def test_draws_do_not_depend_on_what_was_drawn_before() -> None:
    family = Jacobi(0.123, 0.456)
    first = family.draw_induced([5, 3, 5, 0], rng=1)
    family.draw_induced(np.arange(40), rng=2)
    assert np.array_equal(family.draw_induced([5, 3, 5, 0], rng=1), first)


# -------------------------------------------------------------------------- objects, errors


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_families_are_values(family: Family) -> None:
    again = pickle.loads(pickle.dumps(family))
    assert again == family
    assert hash(again) == hash(family)
    assert eval(repr(family), globals().copy()) == family
    with pytest.raises(AttributeError):
        family.low = 3  # type: ignore[attr-defined]


def test_rounding_at_the_ends_is_inside() -> None:
    family = Legendre(0.1, 0.7)
    family.evaluate(np.array([np.nextafter(0.1, 0), np.nextafter(0.7, 1)]), 3)
    family.evaluate(np.array([0.1, 0.7], dtype="float32"), 3)


def test_hermite_refuses_values_beyond_the_floats() -> None:
    with pytest.raises(ValueError, match="exceeds the range of float64"):
        Hermite().evaluate(np.array([1e30]), 30)
    assert np.isfinite(Hermite().evaluate(np.array([38.0]), 300)).all()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Legendre(1, 1), ValueError, "high must be greater than low=1.0"),
        (lambda: Legendre("a", 1), TypeError, "low must be a real number"),
        (lambda: Legendre(-math.inf, 1), ValueError, "low must be finite"),
        (lambda: Legendre(-1.7e308, 1.7e308), ValueError, "high - low finite"),
        (lambda: Jacobi(-1, 0), ValueError, "a must be greater than -1"),
        (lambda: Jacobi(0, 101), ValueError, "b must be greater than -1 and at most 100"),
        (lambda: Hermite(std=0), ValueError, "std must be greater than 0"),
        (lambda: Hermite(mean=math.nan), ValueError, "mean must be finite"),
        (lambda: Fourier(kind="sine"), ValueError, "kind must be one of"),
        (lambda: Fourier(1, 0), ValueError, "high must be greater"),
        (lambda: BSpline([0, 2, 1], 1), ValueError, "knots must ascend"),
        (lambda: BSpline([1, 1], 1), ValueError, "at least two different numbers"),
        (lambda: BSpline([0, 1, 1, 2], 1), ValueError, "repeat no inner knot more than 1 times"),
        (lambda: BSpline([0, 1], 16), ValueError, "degree must be between 0 and 15"),
        (lambda: BSpline(3, 1), TypeError, "knots must be a sequence"),
        (lambda: BSpline([0, math.nan], 1), ValueError, r"knots\[1\] must be finite"),
    ],
)  # fmt: skip
def test_parameters_that_are_refused(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("family", "points", "degree", "error", "text"),
    [
        (Legendre(), [0.0, 1.5], 2, ValueError, r"points must lie in \[-1.0, 1.0\], got 1.5"),
        (Legendre(), [math.nan], 2, ValueError, "must not contain NaN"),
        (Legendre(), [[0.0]], 2, ValueError, "points must be 1-D"),
        (Legendre(), [0.0], -1, ValueError, "degree must be at least 0"),
        (Legendre(), [0.0], 1.0, TypeError, "degree must be an integer"),
        (Legendre(), [1j], 1, TypeError, "points must be real"),
        (Legendre(), "x", 1, TypeError, "points must be an array"),
        (BSpline([0, 1], 1), [0.5], 2, ValueError, "degree must be between 0 and 1"),
        (Hermite(), [0.5], 301, ValueError, "degree must be between 0 and 300"),
    ],
)  # fmt: skip
def test_points_that_are_refused(
    family: Family, points: Any, degree: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        family.evaluate(points, degree)


@pytest.mark.parametrize(
    ("degrees", "error", "text"),
    [
        ([1.0], TypeError, "1-D sequence of integers"),
        ([[1]], TypeError, "1-D sequence of integers"),
        ([-1], ValueError, "degrees must be between 0 and 1"),
        ([2], ValueError, "degrees must be between 0 and 1"),
    ],
)  # fmt: skip
def test_degrees_that_are_refused(degrees: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        BSpline([0, 1], 1).draw_induced(degrees, rng=0)


def test_no_points_and_no_draws() -> None:
    for family in FAMILIES:
        assert family.evaluate(np.empty(0), 1 if family.max_degree != 0 else 0).shape[0] == 0
        assert family.draw(0, rng=0).shape == family.draw_induced([], rng=0).shape == (0,)


def test_jacobi_values_beyond_the_range_are_refused() -> None:
    wide = Jacobi(100, 100)
    with pytest.raises(ValueError, match="exceeds the range of float32"):
        wide.evaluate(np.asarray([1.0], dtype=np.float32), 120)
    with pytest.raises(ValueError, match="exceeds the range of float64"):
        TensorBasis(wide, [[3000]]).christoffel(np.asarray([[1.0]]))
    # Its values are within the range, and so is their square times the weight.
    draws = wide.draw_induced([3000] * 50, np.random.default_rng(0))
    assert np.abs(draws).max() <= 1
