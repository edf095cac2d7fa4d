"""Short-range sums against all pairs, and both parts together against Coulomb's sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import erfc

from linalgkit._core.array import device, dtype_name
from linalgkit.chebyshev._long_range import long_range_potential
from linalgkit.chebyshev._short_range import short_range_potential


def distances(x: Any, points: Any) -> Any:
    return np.linalg.norm(x[..., None, :] - points, axis=-1)


def all_pairs(points: Any, charges: Any, x: Any, alpha: float, cutoff: float = math.inf) -> Any:
    r = distances(x, points)
    kept = (r > 0) & (r <= cutoff)
    safe = np.where(kept, r, 1.0)
    return np.where(kept, erfc(alpha * safe) / safe, 0.0) @ charges


def particles(rng: Any, n: int = 60, is_complex: bool = False) -> tuple[Any, Any]:
    q = rng.standard_normal(n)
    q = q + 1j * rng.standard_normal(n) if is_complex else q
    return rng.uniform(-1, 1, (n, 3)), q


@pytest.mark.parametrize("is_complex", [False, True])
def test_every_library_returns_the_sum_over_all_pairs(xp: Any, rng: Any, is_complex: bool) -> None:
    points, q = particles(rng, is_complex=is_complex)
    x = rng.uniform(-1, 1, (4, 5, 3))
    P, Q, X = xp.asarray(points), xp.asarray(q), xp.asarray(x)
    u = short_range_potential(P, Q, X, alpha=3.0)
    assert u.shape == (4, 5)
    assert device(u) == device(P)
    assert u.dtype == Q.dtype
    exact = all_pairs(xp.to_numpy(P), xp.to_numpy(Q), xp.to_numpy(X), 3.0)
    np.testing.assert_allclose(xp.to_numpy(u), exact, atol=xp.tolerance * np.max(np.abs(exact)))


def test_single_precision_stays(xp: Any, rng: Any) -> None:
    points, q = particles(rng)
    P, Q = xp.asarray(points, "float32"), xp.asarray(q, "float32")
    u = short_range_potential(P, Q, P[:7, :], alpha=4.0)
    assert dtype_name(xp.xp, u.dtype) == "float32"
    host = xp.to_numpy(P).astype(float)
    exact = all_pairs(host, xp.to_numpy(Q).astype(float), host[:7], 4.0)
    np.testing.assert_allclose(xp.to_numpy(u), exact, atol=1e-6 * np.max(np.abs(exact)))


def test_a_cutoff_leaves_out_what_is_beyond(rng: Any) -> None:
    points, q = particles(rng)
    x = rng.uniform(-1, 1, (30, 3))
    u = short_range_potential(points, q, x, alpha=1.0, cutoff=0.6)
    np.testing.assert_allclose(u, all_pairs(points, q, x, 1.0, 0.6), rtol=1e-12, atol=1e-13)


def test_the_default_cutoff_leaves_out_less_than_half_a_roundoff_of_each_coulomb_term() -> None:
    alpha = 2.0
    points, x = np.zeros((1, 3)), np.zeros((2000, 3))
    x[:, 0] = np.linspace(0.01, 5.0, 2000)
    u = short_range_potential(points, np.ones(1), x, alpha=alpha)
    r = x[:, 0]
    missing = np.abs(u - erfc(alpha * r) / r) * r
    assert float(np.max(missing)) <= 2.0**-53 * 4
    assert float(r[u == 0][0]) == pytest.approx(5.86 / alpha, rel=0.02)


def test_a_particle_does_not_act_on_itself(rng: Any) -> None:
    points, q = particles(rng)
    u = short_range_potential(points, q, points, alpha=2.0)
    assert bool(np.all(np.isfinite(u)))
    np.testing.assert_allclose(u, all_pairs(points, q, points, 2.0), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("alpha", [3.0, 9.0])
def test_both_parts_together_are_the_coulomb_potential(rng: Any, alpha: float) -> None:
    points, q = particles(rng, 150)
    T = long_range_potential(points, q, [(-1, 1)] * 3, alpha=alpha, tol=1e-8)
    x = rng.uniform(-1, 1, (500, 3))
    u = T(x) + short_range_potential(points, q, x, alpha=alpha)
    coulomb = (1 / distances(x, points)) @ q
    assert float(np.max(np.abs(u - coulomb))) <= 5e-8 * T.scale


def test_energy_of_the_others_at_a_particle(rng: Any) -> None:
    """Ewald's self term: the long-range part of a particle on itself is 2 alpha q / sqrt(pi)."""
    points, q = particles(rng, 40)
    alpha = 4.0
    T = long_range_potential(points, q, [(-1, 1)] * 3, alpha=alpha, tol=1e-9)
    u = T(points) + short_range_potential(points, q, points, alpha=alpha)
    u = u - 2 * alpha / math.sqrt(math.pi) * q
    r = distances(points, points)
    np.fill_diagonal(r, np.inf)
    assert float(np.max(np.abs(u - (1 / r) @ q))) <= 1e-7 * T.scale


@pytest.mark.parametrize(("length", "charge"), [(1e150, 1e100), (1e-150, 1e-100), (1.0, 1e200)])
def test_scales(rng: Any, length: float, charge: float) -> None:
    points, q = particles(rng)
    x = rng.uniform(-1, 1, (20, 3))
    u = short_range_potential(length * points, charge * q, length * x, alpha=3.0 / length)
    expected = all_pairs(points, q, x, 3.0)
    np.testing.assert_allclose(u / charge * length, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("r", [1e-100, 1e-155, 1e-162, 1e-170, 1e-300])
@pytest.mark.parametrize("alpha", [1.0, 1e-200])
def test_tiny_distances_are_no_distance_0(r: float, alpha: float) -> None:
    """At alpha r << 1 the kernel is 1 / r."""
    x = np.asarray([[r, 0.0, 0.0], [0.6 * r, 0.0, -0.8 * r], [0.0, 0.0, 0.0]])
    u = short_range_potential(np.zeros((1, 3)), np.ones(1), x, alpha=alpha)
    np.testing.assert_allclose(u * r, [1.0, 1.0, 0.0], rtol=1e-14)


def test_no_cutoff_where_the_default_one_is_beyond_all_numbers(rng: Any) -> None:
    points, q = particles(rng)
    u = short_range_potential(points, q, points[:5, :], alpha=1e-310)
    r = distances(points[:5, :], points)
    np.testing.assert_allclose(u, np.where(r > 0, 1 / np.where(r > 0, r, 1.0), 0.0) @ q, rtol=1e-12)


def test_narrow_kernels_and_wide_cutoffs() -> None:
    """erfc(alpha r) is 0 for all pairs but one, which is 1e-300 apart."""
    points = np.asarray([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    x = np.asarray([[1e-300, 0.0, 0.0], [0.5, 0.0, 0.0]])
    u = short_range_potential(points, np.ones(2), x, alpha=1e300, cutoff=1e300)
    np.testing.assert_allclose(u / 1e300, [erfc(1.0), 0.0], rtol=1e-13)
    far = 1e300 * points
    u = short_range_potential(far, np.ones(2), 0.5 * far, alpha=1e-300)
    np.testing.assert_allclose(u[1] * 1e300, 4 * erfc(0.5), rtol=1e-13)


def test_many_pairs_come_in_portions(rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from linalgkit.chebyshev import _short_range

    monkeypatch.setattr(_short_range, "_PAIRS", 100)
    points, q = particles(rng)
    x = rng.uniform(-1, 1, (40, 3))
    u = short_range_potential(points, q, x, alpha=1.0)
    np.testing.assert_allclose(u, all_pairs(points, q, x, 1.0), rtol=1e-11, atol=1e-12)


def test_nobody_and_nowhere() -> None:
    none = short_range_potential(np.zeros((0, 3)), np.zeros(0), np.ones((2, 3)), alpha=1.0)
    np.testing.assert_array_equal(none, np.zeros(2))
    u = short_range_potential(np.zeros((1, 3)), np.ones(1), np.zeros((0, 3)), alpha=1.0)
    assert u.shape == (0,)
    point = short_range_potential(np.zeros((1, 3)), np.ones(1), np.ones(3), alpha=1.0)
    assert point.shape == ()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"points": np.zeros((4, 2))}, ValueError, "points must"),
        ({"points": [[0.0, 0.0, 0.0]]}, TypeError, "array is required"),
        ({"points": np.full((4, 3), np.nan)}, ValueError, "points must not contain NaN"),
        ({"points": np.zeros((4, 3), dtype=complex)}, TypeError, "points must be real"),
        ({"charges": np.ones(3)}, ValueError, "charges must"),
        ({"charges": np.full(4, np.inf)}, ValueError, "charges must not contain NaN"),
        ({"x": np.zeros((2, 2))}, ValueError, "x must"),
        ({"x": np.asarray(0.0)}, ValueError, "x must"),
        ({"x": np.full((2, 3), np.nan)}, ValueError, "x must not contain NaN"),
        ({"x": np.zeros((2, 3), dtype=complex)}, TypeError, "x must be real"),
        ({"alpha": 0.0}, ValueError, "alpha must"),
        ({"alpha": "1"}, TypeError, "alpha must"),
        ({"alpha": math.inf}, ValueError, "alpha must be greater than 0.0 and finite"),
        ({"points": np.full((4, 3), 1e200), "alpha": 1e200}, ValueError, "points must lie, as x"),
        ({"points": np.full((4, 3), 1e300)}, ValueError, "points must lie, as x, within"),
        ({"x": np.full((2, 3), -1e300)}, ValueError, "points must lie, as x, within"),
        ({"charges": np.full(4, 1e308), "x": np.full((2, 3), 0.1)}, ValueError, "representable"),
        ({"x": np.full((2, 3), 1e-310)}, ValueError, "representable in its dtype.* point 0"),
        ({"cutoff": -1.0}, ValueError, "cutoff must"),
        ({"cutoff": math.nan}, ValueError, "cutoff must"),
    ],
    ids=str,
)
def test_refuses(changes: Any, error: type[Exception], text: str) -> None:
    given: dict[str, Any] = {
        "points": np.zeros((4, 3)),
        "charges": np.ones(4),
        "x": np.zeros((2, 3)),
        "alpha": 1.0,
        **changes,
    }
    with pytest.raises(error, match=text):
        short_range_potential(given.pop("points"), given.pop("charges"), given.pop("x"), **given)
