"""Values at points and on grids, and gradients, against numpy.polynomial and extended precision."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.special import jv

from linalgkit._core import array as core_array
from linalgkit._core.array import numpy_namespace
from linalgkit.chebyshev import _evaluate, _panels
from linalgkit.chebyshev._evaluate import gradient, grid_factors, scattered, tensor_grid
from linalgkit.chebyshev._parts import Parts

NP = numpy_namespace()
BOX = ((-1.0, 2.0), (0.0, 1.0), (3.0, 4.5), (-2.0, -1.0))
Draw = np.random.Generator


def host_parts(
    rng: Draw, lengths: tuple[int, ...], ranks: tuple[int, ...], dtype: str = "float64"
) -> Parts:
    """Random core, orthonormal columns as coefficients."""

    def draw(*shape: int) -> np.ndarray:
        values = rng.standard_normal(shape)
        if dtype.startswith("complex"):
            values = values + 1j * rng.standard_normal(shape)
        return values

    factors = tuple(
        np.linalg.qr(draw(m, r))[0].astype(dtype) for m, r in zip(lengths, ranks, strict=True)
    )
    return Parts(draw(*ranks).astype(dtype), factors, BOX[: len(ranks)], NP)


def moved(parts: Parts, xp: Any, dtype: str) -> Parts:
    """The same in another library."""
    core, *factors = (xp.asarray(np.asarray(a), dtype) for a in (parts.core, *parts.factors))
    return Parts(core, tuple(factors), parts.intervals, xp.xp)


def draw_points(rng: Draw, parts: Parts, *shape: int) -> np.ndarray:
    low, high = np.array(parts.intervals).T
    return low + (high - low) * rng.random((*shape, parts.order))


def bases(parts: Parts, columns: Any, slope: int | None = None) -> list[np.ndarray]:
    """Functions of each variable in extended precision; one differentiated."""
    found = []
    for k, (x, F, (a, b)) in enumerate(zip(columns, parts.factors, parts.intervals, strict=True)):
        x = np.asarray(x).astype(np.longdouble)
        t = ((x - a) - (b - x)) / (np.longdouble(b) - np.longdouble(a))
        F = F.astype(np.clongdouble if F.dtype.kind == "c" else np.longdouble)
        if slope == k:
            F = chebyshev.chebder(F) * 2 / (b - a) if F.shape[0] > 1 else 0 * F
        found.append(chebyshev.chebval(t, F).T)
    return found


def exact(parts: Parts, x: np.ndarray, slope: int | None = None) -> np.ndarray:
    """Values at points (n, d)."""
    Y = parts.core[None]
    for B in bases(parts, x.T, slope):
        Y = np.einsum("na...,na->n...", np.broadcast_to(Y, (B.shape[0], *Y.shape[1:])), B)
    return Y


def exact_on_grid(parts: Parts, grids: Any) -> np.ndarray:
    Y = parts.core
    for B in bases(parts, grids):
        Y = np.tensordot(Y, B, axes=(0, 1))
    return Y


def assert_near(found: Any, expected: np.ndarray, tolerance: float) -> None:
    scale = float(np.sqrt(np.mean(np.abs(expected) ** 2)))
    assert found.shape == expected.shape
    assert float(np.max(np.abs(found - expected))) <= tolerance * scale


# ------------------------------------------------------------------------------ scattered points


SIZES = [((1,), (1,)), ((9,), (3,)), ((6, 1), (2, 1)), ((7, 2, 5), (3, 2, 4)), ((3,) * 4, (2,) * 4)]


@pytest.mark.parametrize(("lengths", "ranks"), SIZES)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32", "complex64"])
def test_values_gradients_and_grids_are_those_of_the_polynomial(
    rng: Draw, lengths: tuple[int, ...], ranks: tuple[int, ...], dtype: str
) -> None:
    parts = host_parts(rng, lengths, ranks, dtype)
    x, tolerance = draw_points(rng, parts, 40), 3000 * float(np.finfo(dtype).eps)
    found = scattered(parts, x, "raise")
    assert found.dtype == dtype
    assert_near(found, exact(parts, x), tolerance)
    slopes = gradient(parts, x, "raise")
    assert (slopes.shape, slopes.dtype) == (x.shape, dtype)
    for k in range(len(ranks)):
        assert_near(slopes[:, k], exact(parts, x, k), tolerance)
    grids = [x[: 5 - k, k] for k in range(len(ranks))]
    values = tensor_grid(parts, grids, "raise")
    assert values.dtype == dtype
    assert_near(values, exact_on_grid(parts, grids), tolerance)


def test_every_library(xp: Any, rng: Draw) -> None:
    for dtype in (xp.dtypes[0], xp.dtypes[-1]):
        host = host_parts(rng, (6, 4, 5), (3, 2, 4), dtype)
        parts, x = moved(host, xp, dtype), draw_points(rng, host, 2, 3)
        real = "float64" if xp.has_float64 else "float32"
        coarse = 3e4 * float(np.finfo(dtype if xp.has_float64 else "float32").eps)
        flat = x.astype(real).reshape(6, 3).astype(float)
        found = scattered(parts, xp.asarray(x, real), "raise")
        assert (core_array.device(found), found.dtype) == (xp.device, getattr(xp.xp, dtype))
        assert_near(xp.to_numpy(found), exact(host, flat).reshape(2, 3), coarse)
        slopes = gradient(parts, xp.asarray(x, real), "nan")
        assert (core_array.device(slopes), slopes.dtype) == (xp.device, getattr(xp.xp, dtype))
        assert_near(xp.to_numpy(slopes)[..., 1], exact(host, flat, 1).reshape(2, 3), coarse)
        grids = [flat[: k + 2, k] for k in range(3)]
        values = tensor_grid(parts, [xp.asarray(g, real) for g in grids], "extrapolate")
        assert (core_array.device(values), values.dtype) == (xp.device, getattr(xp.xp, dtype))
        assert_near(xp.to_numpy(values), exact_on_grid(host, grids), coarse)


@pytest.mark.parametrize("ranks", [(2, 6, 3), (3, 2, 6), (6, 2, 2), (2, 2, 7, 3)])
def test_any_mode_may_have_the_largest_rank(rng: Draw, ranks: tuple[int, ...]) -> None:
    parts = host_parts(rng, (8,) * len(ranks), ranks)
    x = draw_points(rng, parts, 700)
    assert_near(scattered(parts, x, "raise"), exact(parts, x), 1e-12)
    slopes = gradient(parts, x, "raise")
    for k in range(len(ranks)):
        assert_near(slopes[:, k], exact(parts, x, k), 1e-11)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 2), (2, 0)])
def test_answers_have_the_shape_of_the_points(rng: Draw, shape: tuple[int, ...]) -> None:
    parts = host_parts(rng, (5, 4), (2, 3))
    x = draw_points(rng, parts, *shape)
    for outside in ("raise", "nan", "extrapolate"):
        assert scattered(parts, x, outside).shape == shape
        assert gradient(parts, x, outside).shape == (*shape, 2)
    assert_near(
        scattered(parts, x, "raise").reshape(-1), exact(parts, x.reshape(-1, 2)), 1e-13
    ) if x.size else None


def test_integer_points(rng: Draw) -> None:
    parts = host_parts(rng, (5, 4), (2, 3))
    x = np.array([[0, 1], [2, 0]])
    assert_near(scattered(parts, x, "raise"), exact(parts, x), 1e-14)


def test_a_real_function_and_a_complex_core(rng: Draw) -> None:
    parts = host_parts(rng, (6, 5), (3, 3))
    turned = Parts(parts.core * 1j, parts.factors, parts.intervals, NP)
    x = draw_points(rng, parts, 9)
    np.testing.assert_allclose(
        scattered(turned, x, "raise"), 1j * scattered(parts, x, "raise"), rtol=1e-12
    )


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_scales(rng: Draw, scale: float) -> None:
    parts = host_parts(rng, (6, 5, 4), (3, 3, 2))
    x = draw_points(rng, parts, 20)
    large = Parts(parts.core * scale, parts.factors, parts.intervals, NP)
    np.testing.assert_allclose(
        scattered(large, x, "raise") / scale, scattered(parts, x, "raise"), rtol=1e-10
    )


# ------------------------------------------------------------------------------------- panels


@pytest.mark.parametrize("z", [0.0, 0.1, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("eps", [1e-16, 1e-8])
def test_terms_are_enough_and_not_many_more(z: float, eps: float) -> None:
    terms = _panels.terms_needed(z, eps)
    tail = 2 * np.abs(jv(np.arange(terms, terms + 100), z)).sum()
    assert tail <= eps
    needed = next(p for p in range(1, 300) if 2 * np.abs(jv(np.arange(p, p + 100), z)).sum() <= eps)
    assert terms <= 1.7 * needed + 3


def test_expanded_terms_are_the_polynomials_on_every_panel() -> None:
    found = _panels.Plan(7, _panels.terms_needed(30 * math.pi / 14, 1e-17))
    L = _panels.expanded(np.eye(31), found)
    s = np.linspace(-1, 1, 11)
    for q in range(7):
        theta = (2 * q + 1 + s) * math.pi / 14
        expected = np.cos(np.arange(31)[:, None] * theta)
        np.testing.assert_allclose(chebyshev.chebval(s, L[q]), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
@pytest.mark.parametrize("ranks", [(14, 15, 14), (12, 19, 13), (12, 14, 16)])
def test_many_points_go_by_panels_to_full_accuracy(
    rng: Draw, monkeypatch: pytest.MonkeyPatch, dtype: str, ranks: tuple[int, ...]
) -> None:
    parts = host_parts(rng, (40, 70, 75), ranks, dtype)
    x = draw_points(rng, parts, 30_000)
    low, high = np.array(parts.intervals).T
    x[:2], x[2:4] = low, high
    x[4:2000] = low + (high - low) * 0.3  # as many as fill a panel several times over
    calls = []
    monkeypatch.setattr(_panels, "_GAIN", 10.0)
    monkeypatch.setattr(
        _evaluate, "panel_values", lambda *a: calls.append(1) or _panels.panel_values(*a)
    )
    found = scattered(parts, x, "nan")
    assert calls
    some = np.r_[:8, 1990:2100, 29_900:30_000]
    expected = exact(parts, x[some])
    assert found.dtype == dtype
    assert_near(found[some], expected, 2e4 * float(np.finfo(dtype).eps))
    few = scattered(parts, x[2000:3000], "raise")
    assert_near(found[2000:3000], few, 4e4 * float(np.finfo(dtype).eps))


def test_batches_of_sorted_points_join(rng: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = host_parts(rng, (20, 20, 20), (15, 14, 14))
    x = draw_points(rng, parts, 20_000)
    monkeypatch.setattr(_panels, "_GAIN", 0.0)
    whole = scattered(parts, x, "raise")
    monkeypatch.setattr(_panels, "_GAIN", 10.0)
    monkeypatch.setattr(_panels, "_BATCH", 7000)
    assert_near(scattered(parts, x, "raise"), whole, 1e-12)


def test_points_beyond_the_domain_do_not_go_by_panels(
    rng: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_panels, "_GAIN", 10.0)
    parts = host_parts(rng, (20, 20, 20), (15, 14, 14))
    x = draw_points(rng, parts, 20_000)
    x[77] = 2.05, 1.02, 4.6
    found = scattered(parts, x, "extrapolate")
    assert_near(found[70:90], exact(parts, x[70:90]), 1e-11)


def test_room_for_many_points(rng: Draw) -> None:
    parts = host_parts(rng, (20, 20, 20), (15, 14, 14))
    x = draw_points(rng, parts, 100_000)
    for function, answers in ((scattered, 1), (gradient, 6)):
        function(parts, x[:20_000], "raise")
        tracemalloc.start()
        function(parts, x, "raise")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The variables, twice while they are moved; what sorting takes; the products of a chunk.
        assert peak <= 8 * 100_000 * (answers + 3 * 3 + 7) + 4 * 2**20


# --------------------------------------------------------------------------------- tensor grids


@pytest.mark.parametrize("sizes", [(3, 40, 50), (700, 2, 30), (2, 600, 20), (30, 2, 1), (0, 3, 4)])
def test_grids_of_all_shapes(rng: Draw, sizes: tuple[int, ...]) -> None:
    parts = host_parts(rng, (6, 7, 8), (3, 4, 5))
    grids = [np.linspace(a, b, n) for (a, b), n in zip(BOX, sizes, strict=False)]
    found = tensor_grid(parts, grids, "raise")
    assert found.flags.c_contiguous
    if found.size:
        assert_near(found, exact_on_grid(parts, grids), 1e-13)
    assert found.shape == sizes


def test_grid_is_that_of_numpy_polynomial(rng: Draw) -> None:
    parts = host_parts(rng, (6, 7, 8), (3, 4, 5))
    C = np.einsum("abc,ia,jb,kc->ijk", parts.core, *parts.factors)
    t = [np.linspace(-1, 1, n) for n in (5, 6, 7)]
    grids = [a + (b - a) * (1 + u) / 2 for u, (a, b) in zip(t, BOX, strict=False)]
    expected = chebyshev.chebgrid3d(*t, C)
    np.testing.assert_allclose(tensor_grid(parts, grids, "raise"), expected, rtol=0, atol=1e-13)
    x = np.stack([g[:5] for g in grids], axis=1)
    diagonal = chebyshev.chebval3d(*(u[:5] for u in t), C)
    np.testing.assert_allclose(scattered(parts, x, "raise"), diagonal, rtol=0, atol=1e-13)


def test_factors_on_a_grid_are_those_of_a_tucker_tensor(rng: Draw) -> None:
    parts = host_parts(rng, (6, 7), (3, 4))
    grids = [np.linspace(-1, 2, 5), np.linspace(0, 1, 6)]
    A, B = grid_factors(parts, grids, "raise")
    assert (A.shape, B.shape) == ((5, 3), (6, 4))
    np.testing.assert_allclose(
        A @ parts.core @ B.T, tensor_grid(parts, grids, "raise"), rtol=0, atol=1e-14
    )


# --------------------------------------------------------------------- outside the domain, errors


def test_outside_raises_and_names_the_first_point(xp: Any, rng: Draw) -> None:
    dtype = "float64" if xp.has_float64 else "float32"
    host = host_parts(rng, (5, 4), (2, 3))
    parts, x = moved(host, xp, dtype), draw_points(rng, host, 3, 4)
    x[1, 2] = 0.5, 1.25
    x[2, 0] = -1.5, 0.5
    for function in (scattered, gradient):
        with pytest.raises(ValueError, match=r"x\[1, 2\].*domain \(\(-1.0, 2.0\).*\(0.5, 1.25\)"):
            function(parts, xp.asarray(x, dtype), "raise")
    with pytest.raises(ValueError, match=r"^x must lie .*outside=\"nan\""):
        scattered(parts, xp.asarray(x[1, 2], dtype), "raise")
    grids = [xp.asarray(g, dtype) for g in ([0.0, 1.0], [0.5, 1.0, 1.5, 2.0])]
    for function in (tensor_grid, grid_factors):
        with pytest.raises(ValueError, match=r"grids\[1\]\[2\] must lie in \(0.0, 1.0\), got 1.5"):
            function(parts, grids, "raise")


def test_outside_gives_nan_there_alone(xp: Any, rng: Draw) -> None:
    dtype = "complex128" if xp.has_float64 else "complex64"
    real = "float64" if xp.has_float64 else "float32"
    host = host_parts(rng, (5, 4), (2, 3), dtype)
    parts, x = moved(host, xp, dtype), draw_points(rng, host, 6)
    x[2, 1], x[4, 0] = 1.25, -1e300 if xp.has_float64 else -1e30
    bad = np.isin(np.arange(6), (2, 4))
    found = xp.to_numpy(scattered(parts, xp.asarray(x, real), "nan"))
    assert np.array_equal(np.isnan(found), bad)
    assert np.array_equal(
        np.isnan(xp.to_numpy(gradient(parts, xp.asarray(x, real), "nan"))), [[b, b] for b in bad]
    )
    assert_near(found[~bad], exact(host, x[~bad]), 100 * xp.tolerance)
    grids = [xp.asarray(g, real) for g in ([0.0, 2.5], [0.5, 1.0, -1.0])]
    values = xp.to_numpy(tensor_grid(parts, grids, "nan"))
    assert np.array_equal(np.isnan(values), [[False, False, True], [True, True, True]])


def test_outside_is_the_polynomial(rng: Draw) -> None:
    parts = host_parts(rng, (5, 4), (2, 3))
    x = draw_points(rng, parts, 10) * 3 - 2
    assert_near(scattered(parts, x, "extrapolate"), exact(parts, x), 1e-13)
    assert_near(gradient(parts, x, "extrapolate")[:, 0], exact(parts, x, 0), 1e-13)
    grids = [x[:, 0], x[:5, 1]]
    assert_near(tensor_grid(parts, grids, "extrapolate"), exact_on_grid(parts, grids), 1e-13)
    assert not np.isfinite(scattered(parts, np.array([1e200, 1e200]), "extrapolate"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("interval", [(0.1, 0.7), (-1 / 3, 1e5 / 3), (1e6 / 7, 1e6 / 7 + 1)])
def test_ends_of_the_domain_are_inside_with_their_rounding(
    dtype: str, interval: tuple[float, float]
) -> None:
    parts = Parts(np.ones(2), (np.eye(3)[:, :2],), (interval,), NP)
    ends = np.array(interval, dtype=dtype)
    for steps in (ends, np.nextafter(ends, ends.dtype.type(-1e30)), np.nextafter(ends, ends * 9)):
        found = scattered(parts, steps[:, None], "raise")
        assert np.isfinite(found).all()
        tensor_grid(parts, [steps], "raise")
    far = ends[1] + 40 * np.spacing(max(abs(ends)))
    with pytest.raises(ValueError, match=r"x\[0\]"):
        scattered(parts, np.array([[far]]), "raise")


@pytest.mark.parametrize("outside", ["raise", "nan", "extrapolate"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_refused(rng: Draw, outside: str, bad: float) -> None:
    parts = host_parts(rng, (5, 4), (2, 3))
    x = draw_points(rng, parts, 6)
    x[3, 1] = bad
    for function in (scattered, gradient):
        with pytest.raises(ValueError, match=r"x must not contain NaN or infinity.*point 3"):
            function(parts, x, outside)
    with pytest.raises(ValueError, match=r"grids\[1\] must not contain NaN or infinity.*entry 3"):
        tensor_grid(parts, [x[:, 0], x[:, 1]], outside)


def test_bad_points(rng: Draw) -> None:
    parts = host_parts(rng, (5, 4), (2, 3))
    x = draw_points(rng, parts, 6)
    for function in (scattered, gradient):
        with pytest.raises(ValueError, match=r"x must have a last axis of length 2.*\(6, 1\)"):
            function(parts, x[:, :1], "raise")
        with pytest.raises(ValueError, match="last axis of length 2"):
            function(parts, np.array(0.5), "raise")
        with pytest.raises(TypeError, match="x must be real, got 'complex128'"):
            function(parts, x + 0j, "raise")
        with pytest.raises(TypeError, match="an array is required, got list"):
            function(parts, [[0.1, 0.2]], "raise")
        with pytest.raises(ValueError, match="outside must be one of 'raise'"):
            function(parts, x, "Nan")
        with pytest.raises(TypeError, match="outside must be one of"):
            function(parts, x, None)
    with pytest.raises(ValueError, match="grids must be 2 arrays"):
        tensor_grid(parts, [x[:, 0]], "raise")
    with pytest.raises(ValueError, match=r"grids\[1\] must be one-dimensional"):
        tensor_grid(parts, [x[:, 0], x], "raise")
    with pytest.raises(TypeError, match=r"grids\[0\] must be real"):
        tensor_grid(parts, [x[:, 0] + 0j, x[:, 1]], "raise")
    with pytest.raises(ValueError, match="outside must be"):
        tensor_grid(parts, [x[:, 0], x[:, 1]], "no")


def test_points_of_another_library_or_device(rng: Draw) -> None:
    import array_api_strict as strict

    host = host_parts(rng, (5, 4), (2, 3))
    x = strict.asarray(draw_points(rng, host, 6))
    with pytest.raises(
        TypeError, match=r"x must be an array of numpy, .* got one of array_api_str"
    ):
        scattered(host, x, "raise")
    core, *factors = (strict.asarray(a) for a in (host.core, *host.factors))
    parts = Parts(core, tuple(factors), host.intervals, strict)
    away = strict.asarray(draw_points(rng, host, 6), device=strict.Device("device1"))
    with pytest.raises(TypeError, match="x must lie on the device of the function"):
        scattered(parts, away, "raise")
    with pytest.raises(TypeError, match=r"grids\[0\] must lie on the device"):
        tensor_grid(parts, [away[:, 0], away[:, 1]], "raise")
