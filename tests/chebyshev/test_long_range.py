"""Long-range potentials against direct sums with SciPy's erf."""

from __future__ import annotations

import itertools
import math
import tracemalloc
import warnings
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import erf

from linalgkit._core.array import device, dtype_name
from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev import _long_range
from linalgkit.chebyshev._copies import copied_gaussians
from linalgkit.chebyshev._long_range import long_range_potential
from linalgkit.chebyshev._moments import gaussian_degree
from linalgkit.chebyshev._particles import (
    check_points,
    direct_sum,
    peak_heights,
    prepare,
)

CUBE = [(-1.0, 1.0)] * 3


def direct(points: Any, charges: Any, x: Any, alpha: float) -> Any:
    """The sum over all particles; r = 0 takes the limit."""
    found = []
    for block in np.array_split(x, max(1, x.shape[0] * points.shape[0] // 500_000)):
        r = np.sqrt(np.sum((block[:, None, :] - points[None, :, :]) ** 2, axis=2))
        safe = np.where(r > 0, r, 1.0)
        limit = 2 * alpha / math.sqrt(math.pi)
        found.append(np.where(r > 0, erf(alpha * safe) / safe, limit) @ charges)
    return np.concatenate(found)


def forces(points: Any, charges: Any, x: Any, alpha: float) -> Any:
    """The gradient of the sum, term by term."""
    D = x[:, None, :] - points[None, :, :]
    r = np.sqrt(np.sum(D**2, axis=2))
    slope = 2 * alpha / math.sqrt(math.pi) * np.exp(-((alpha * r) ** 2)) * r - erf(alpha * r)
    return np.einsum("pv,pvk->pk", slope / r**3 * charges, D)


def anywhere(rng: Any, domain: Any, n: int = 500) -> Any:
    low, high = np.asarray(domain, dtype=float).T
    return low + (high - low) * rng.random((n, 3))


def copied(points: Any, charges: Any, lattice: Any) -> tuple[Any, Any]:
    steps = [np.arange(n) * a for n, a in lattice]
    shifts = np.asarray(list(itertools.product(*steps)))
    everything = (points[None, :, :] + shifts[:, None, :]).reshape(-1, 3)
    return everything, np.tile(charges, shifts.shape[0])


def check(T: Any, points: Any, charges: Any, alpha: float, rng: Any, tol: float = 1e-7) -> None:
    """The error at fresh points is a few tol, and no more than the estimate lets expect."""
    x = anywhere(rng, T.domain)
    exact = direct(points, charges, x, alpha)
    scale = max(float(np.max(np.abs(exact))), T.scale)
    error = float(np.max(np.abs(T(x) - exact)))
    assert T.status == "converged"
    assert T.error_estimate <= tol * T.scale
    assert error <= 3 * tol * scale
    assert error <= 10 * T.error_estimate


def draw(rng: Any, n: int, is_complex: bool = False) -> tuple[Any, Any]:
    q = rng.standard_normal(n)
    return rng.uniform(-0.95, 0.95, (n, 3)), q + 1j * rng.standard_normal(n) if is_complex else q


# ------------------------------------------------------------------------------ every library


@pytest.mark.parametrize(("method", "is_complex"), [("moments", False), ("cp", True)])
def test_every_library_returns_the_potential(
    xp: Any, rng: Any, method: str, is_complex: bool
) -> None:
    points, q = draw(rng, 110 if method == "moments" else 12, is_complex)
    P, Q = xp.asarray(points), xp.asarray(q)
    T = long_range_potential(P, Q, CUBE, alpha=4.0, tol=1e-4, method=method)
    x = anywhere(rng, CUBE, 50)
    X = xp.asarray(x)
    assert device(T.core) == device(P)
    assert T.core.dtype == Q.dtype
    assert T.status == "converged"
    exact = direct(xp.to_numpy(P).astype(float), xp.to_numpy(Q), xp.to_numpy(X).astype(float), 4.0)
    np.testing.assert_allclose(xp.to_numpy(T(X)), exact, atol=3e-4 * T.scale)


def test_every_library_sums_a_lattice(xp: Any) -> None:
    if xp.name == "jax":
        pytest.skip("takes long to compile, and its work on the device is that of the test before")
    points, q = np.asarray([[0.1, 0.2, -0.3], [0.3, 0.1, 0.2]]), np.asarray([1.0, -2.0])
    lattice = [(2, 0.7), (1, 0.0), (3, 0.5)]
    T = long_range_potential(
        xp.asarray(points), xp.asarray(q), CUBE, alpha=2.0, tol=1e-4, lattice=lattice
    )
    x = np.asarray([[0.3, -0.4, 0.9], [0.0, 0.0, 0.0]])
    exact = direct(*copied(points, q, lattice), x, 2.0)
    np.testing.assert_allclose(xp.to_numpy(T(xp.asarray(x))), exact, atol=3e-4 * T.scale)


def test_single_precision_stays_with_its_own_tolerance(xp: Any, rng: Any) -> None:
    is_complex = xp.name != "torch"
    points, q = draw(rng, 20, is_complex)
    P = xp.asarray(points, "float32")
    Q = xp.asarray(q, "complex64" if is_complex else "float32")
    T = long_range_potential(P, Q, CUBE, alpha=2.0)
    assert dtype_name(xp.xp, T.core.dtype) == ("complex64" if is_complex else "float32")
    assert T.status == "converged"
    assert T.error_estimate <= 1e-5 * T.scale


# ------------------------------------------------------------------------------------ accuracy


@pytest.mark.parametrize("method", ["moments", "cp"])
@pytest.mark.parametrize("tol", [1e-3, 1e-7, 1e-11])
def test_tolerances_are_kept(rng: Any, method: str, tol: float) -> None:
    points, q = draw(rng, 120)
    T = long_range_potential(points, q, CUBE, alpha=5.0, tol=tol, method=method)
    check(T, points, q, 5.0, rng, tol)


def test_against_exact_arithmetic(rng: Any) -> None:
    points, q = draw(rng, 15)
    T = long_range_potential(points, q, CUBE, alpha=3.0, tol=1e-12)
    x = [0.25, -0.5, 0.125]
    with mpmath.workdps(30):
        total = mpmath.mpf(0)
        for p, c in zip(points, q, strict=True):
            squares = (
                (mpmath.mpf(a) - mpmath.mpf(float(b))) ** 2 for a, b in zip(x, p, strict=True)
            )
            r = mpmath.sqrt(mpmath.fsum(squares))
            total += mpmath.mpf(float(c)) * mpmath.erf(3 * r) / r
    assert abs(float(T(np.asarray(x))) - float(total)) <= 3e-12 * T.scale


def test_the_reference_sum_is_right(rng: Any) -> None:
    points, q = draw(rng, 30)
    system = prepare(points, q, ((-1.0, 1.0),) * 3, 3.0, ((1, 0.0),) * 3, np, "cpu", np.float64)
    x = check_points(system)
    sums = direct_sum(system, x)
    e = system.exponent
    np.testing.assert_allclose(np.ldexp(sums[:, 0], e), direct(points, q, x * 2, 3.0), rtol=1e-10)
    moduli = direct(points, np.abs(q), x * 2, 3.0)
    np.testing.assert_allclose(np.ldexp(sums[:, 1], e), moduli, rtol=1e-12)


def test_forces_by_derivatives(rng: Any) -> None:
    points, q = draw(rng, 300)
    alpha = 6.0
    T = long_range_potential(points, q, CUBE, alpha=alpha)
    x = anywhere(rng, CUBE)
    exact = forces(points, q, x, alpha)
    scale = float(np.max(np.abs(exact)))
    assert float(np.max(np.abs(T.gradient(x) - exact))) <= 1e-5 * scale
    for k in range(3):
        assert float(np.max(np.abs(T.diff(k)(x) - exact[:, k]))) <= 1e-5 * scale


def test_ranks_do_not_grow_with_the_number_of_particles(rng: Any) -> None:
    few = long_range_potential(*draw(rng, 200), CUBE, alpha=6.0).ranks
    many = long_range_potential(*draw(rng, 4000), CUBE, alpha=6.0).ranks
    assert max(many) <= max(few) + 2
    assert max(many) <= 32  # the study of issue 7 has 30


def test_domain_of_unequal_sides(rng: Any) -> None:
    domain = [(-3.0, 3.0), (5.0, 5.2), (0.0, 1.0)]
    points, q = anywhere(rng, domain, 80), rng.standard_normal(80)
    check(long_range_potential(points, q, domain, alpha=4.0), points, q, 4.0, rng)


def test_narrow_gaussians_and_one_particle(rng: Any) -> None:
    """A peak at one particle is far larger than its norm over the box."""
    points = np.asarray([[0.3, -0.2, 0.1]])
    q = np.asarray([2.0])
    T = long_range_potential(points, q, CUBE, alpha=30.0)
    check(T, points, q, 30.0, rng)
    assert float(T(points[0])) == pytest.approx(2 * 60 / math.sqrt(math.pi), rel=1e-6)


# ------------------------------------------------------------------------- where particles lie


@pytest.mark.parametrize(
    ("shift", "stretch"),
    [
        ((2.0, 0.0, 0.0), 1.0),
        ((10.0, 3.0, 0.0), 1.0),
        ((1e3, 0.0, 0.0), 1.0),
        ((1e6, 1e6, 1e6), 1.0),
        ((0.0, 0.0, 0.0), 3.0),
        ((0.0, 0.0, 0.0), 1e3),
        ((0.0, 0.0, 0.0), 1e-5),
    ],
)
def test_particles_outside_the_domain(rng: Any, shift: Any, stretch: float) -> None:
    points, q = draw(rng, 60)
    points = points * stretch + np.asarray(shift)
    T = long_range_potential(points, q, CUBE, alpha=5.0)
    check(T, points, q, 5.0, rng)
    if max(shift) >= 1e3:
        assert max(T.ranks) <= 3
        assert max(T.degrees) <= 5


def test_particles_near_and_far_together(rng: Any) -> None:
    points, q = draw(rng, 3 * 40)
    points[40:80, :] *= 30.0
    points[80:, :] += [0.0, -1e4, 50.0]
    q[80:] *= 100
    check(long_range_potential(points, q, CUBE, alpha=5.0), points, q, 5.0, rng)


def test_particles_in_a_plane_and_on_the_boundary(rng: Any) -> None:
    points, q = draw(rng, 50)
    points[:, 1] = 1.0
    check(long_range_potential(points, q, CUBE, alpha=4.0), points, q, 4.0, rng)


def test_integers_and_far_particles_without_charge(rng: Any) -> None:
    points = np.arange(30).reshape(10, 3)
    q = np.asarray([1, 2, -1, 3, 0, 0, 0, 0, 0, 0])
    T = long_range_potential(points, q, CUBE, alpha=3.0)
    assert T.core.dtype == np.float64
    check(T, points.astype(float), q.astype(float), 3.0, rng)


# ------------------------------------------------------------------------------ cancellation


@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 0.3])
def test_neutral_particles_and_wide_gaussians(rng: Any, alpha: float) -> None:
    points, q = draw(rng, 60)
    q -= q.mean()
    T = long_range_potential(points, q, CUBE, alpha=alpha)
    assert float(np.sum(np.abs(q))) * alpha > 3 * T.scale
    check(T, points, q, alpha, rng)


@pytest.mark.parametrize("distance", [1e-3, 1e-7])
def test_dipole(rng: Any, distance: float) -> None:
    points = np.asarray([[0.1, 0.2, 0.3]] * 2)
    points[1, 2] += distance
    q = np.asarray([1.0, -1.0])
    T = long_range_potential(points, q, CUBE, alpha=4.0, tol=1e-6)
    check(T, points, q, 4.0, rng, 1e-6)


def test_charges_that_cancel_at_every_place_give_the_zero_function(rng: Any) -> None:
    points, q = draw(rng, 50)
    T = long_range_potential(np.concatenate([points, points]), np.r_[q, -q], CUBE, alpha=4.0)
    assert T.ranks == (1, 1, 1)
    assert float(T(points[0])) == 0.0
    assert T.error_estimate <= 1e-13 * float(np.sum(np.abs(q))) * 4.0


@pytest.mark.parametrize("n", [0, 5])
def test_no_charge_gives_the_zero_function(xp: Any, n: int) -> None:
    T = long_range_potential(xp.asarray(np.zeros((n, 3))), xp.asarray(np.zeros(n)), CUBE, alpha=2.0)
    assert T.ranks == (1, 1, 1)
    assert T.error_estimate == 0.0
    assert float(T(xp.asarray(np.zeros(3)))) == 0.0


def test_charges_that_cancel_at_one_place_leave_what_the_others_do(rng: Any) -> None:
    points = np.asarray([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [-0.4, 0.1, 0.2]])
    T = long_range_potential(points, np.asarray([1.0, -1.0, 1e-16]), CUBE, alpha=4.0)
    check(T, points[2:], np.asarray([1e-16]), 4.0, rng)


def test_charges_that_cancel_to_rounding_everywhere_are_told(rng: Any) -> None:
    """Neutral, and Gaussians so wide that 1 - (alpha r)^2 / 3 is 1: the potential is below eps."""
    points, q = draw(rng, 60)
    q -= q.mean()
    with pytest.warns(AccuracyWarning, match="cancel to rounding"):
        T = long_range_potential(points, q, CUBE, alpha=1e-8)
    assert T.status == "inaccurate"
    assert T.ranks == (1, 1, 1)
    # sum q (1 - (alpha r)^2 / 3 + ...) 2 alpha / sqrt(pi), where sum q is rounding
    most = 2e-8 / math.sqrt(math.pi) * (abs(math.fsum(q)) + np.sum(np.abs(q)) * 12e-16 / 3)
    assert most <= T.error_estimate <= 1e-13 * float(np.sum(np.abs(q))) * 1e-8


# ---------------------------------------------------------------------------- unequal charges


def around(points: Any, alpha: float, rng: Any) -> Any:
    """Points on and about some particles, in the cube."""
    near = points[:, None, :] + rng.standard_normal((points.shape[0], 300, 3)) / (2 * alpha)
    return np.clip(np.concatenate([near.reshape(-1, 3), points]), -1, 1)


@pytest.mark.parametrize("how", ["outside", "giant", "ions"])
def test_a_few_high_peaks_are_seen_by_the_estimate(rng: Any, how: str) -> None:
    n, alpha = 1500, 12.0
    points, q = draw(rng, n)
    chosen = slice(17, 18)
    if how == "outside":
        points = rng.uniform(2, 3, (n, 3))
        points[chosen, :], q[chosen] = [0.1, 0.2, 0.3], 1.0
    elif how == "giant":
        q[chosen] = 3e4
    else:
        chosen = slice(17, 20)
        q[chosen] = [100.0, -80.0, 60.0]
    T = long_range_potential(points, q, CUBE, alpha=alpha)
    x = np.concatenate([anywhere(rng, CUBE), around(points[chosen, :], alpha, rng)])
    exact = direct(points, q, x, alpha)
    scale = float(np.max(np.abs(exact)))
    error = float(np.max(np.abs(T(x) - exact)))
    assert T.status == "converged"
    assert error <= 2.5e-7 * scale
    assert error <= 4 * T.error_estimate
    assert T.scale >= 0.99 * scale


def test_the_highest_peak_counts_the_distance_from_the_box() -> None:
    """|q| erf(alpha gap)/gap: 2 alpha q / sqrt(pi) inside, about q / gap outside."""
    points = np.asarray([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 4.0, 5.0]])
    q = np.asarray([1.0, -7.0, 100.0])
    system = prepare(points, q, ((-1.0, 1.0),) * 3, 3.0, ((1, 0.0),) * 3, np, "cpu", np.float64)
    heights, y = peak_heights(system)
    expected = [2 * 3 / math.sqrt(math.pi), 7 * erf(6.0) / 2, 100 * erf(15.0) / 5]
    np.testing.assert_allclose(np.ldexp(heights, system.exponent), expected, rtol=1e-12)
    np.testing.assert_array_equal(y, system.points)
    lattice = ((9, 1.0), (1, 0.0), (1, 0.0))
    system = prepare(points - 5.0, q, ((-1.0, 1.0),) * 3, 3.0, lattice, np, "cpu", np.float64)
    assert peak_heights(system)[1][0, 0] == 0.0  # the sixth copy of -5


# -------------------------------------------------------------------------------- lattices


@pytest.mark.parametrize("method", ["moments", "cp"])
def test_a_lattice_is_the_sum_over_its_copies(rng: Any, method: str) -> None:
    points, q = draw(rng, 10)
    points *= 0.2
    lattice = [(4, 0.5), (1, 0.0), (3, 2.0)]
    T = long_range_potential(points, q, CUBE, alpha=5.0, lattice=lattice, method=method)
    check(T, *copied(points, q, lattice), 5.0, rng)


@pytest.mark.parametrize("how", ["lattice", "points"])
@pytest.mark.parametrize(("alpha", "most"), [(6.0, 7), (12.0, 9)])
def test_cubic_lattice_has_small_ranks_and_little_memory(
    rng: Any, how: str, alpha: float, most: int
) -> None:
    n, a = 16, 1.9 / 16
    cell, q = np.full((1, 3), -0.5 * (n - 1) * a), np.ones(1)
    lattice = [(n, a)] * 3
    everything = copied(cell, q, lattice)
    given = (cell, q) if how == "lattice" else everything
    more = {"lattice": lattice} if how == "lattice" else {}
    tracemalloc.start()
    T = long_range_potential(*given, CUBE, alpha=alpha, **more)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(T.ranks) <= most
    assert peak < 50 * 2**20
    check(T, *everything, alpha, rng)


def test_sodium_chloride(rng: Any) -> None:
    a = 5.64  # Angstrom
    sodium = np.asarray([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    ions = a * np.concatenate([sodium, (sodium + np.asarray([0.5, 0, 0])) % 1.0])
    q = np.repeat([1.0, -1.0], 4)
    lattice = [(8, a)] * 3
    T = long_range_potential(ions, q, [(-a / 4, 7.75 * a)] * 3, alpha=0.4, lattice=lattice)
    check(T, *copied(ions, q, lattice), 0.4, rng)
    assert max(T.ranks) <= 12


def test_many_copies_cost_little(rng: Any) -> None:
    """A million copies: the reference for the estimate factorises over them too."""
    points, q = draw(rng, 3)
    lattice = [(100, 3.0)] * 3
    domain = [(100.0, 110.0)] * 3
    T = long_range_potential(points, q, domain, alpha=0.5, lattice=lattice, tol=1e-6)
    assert T.status == "converged"
    x = anywhere(rng, domain, 2)
    exact = direct(*copied(points, q, lattice), x, 0.5)
    np.testing.assert_allclose(T(x), exact, atol=3e-6 * T.scale)


def test_the_reference_of_a_lattice_is_the_same_by_copies_and_by_modes(
    rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linalgkit.chebyshev import _particles

    points, q = draw(rng, 4)
    lattice = ((5, 0.7), (2, 1.1), (1, 0.0))
    system = prepare(points, q, ((-1.0, 1.0),) * 3, 3.0, lattice, np, "cpu", np.float64)
    x = check_points(system)
    whole = _particles._sum_over_copies(system, x)
    rule = _particles.erf_rule(1e-14, 0.0, system.reach, system.alpha)
    np.testing.assert_allclose(_particles._sum_by_modes(system, x, *rule[:2]), whole, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "a", "t"),
    [
        (65, 1e-3, 0.5),
        (300, 0.3, 0.1),
        (1000, 0.01, 5.0),
        (3000, 0.5, 0.05),
        (2000, 0.0599, 1.0),
        (2000, 0.06, 1.0),
        (500, 1.0, 0.5),
        (200, 1e-300, 1.0),
        (100, 0.5, 3.0),
    ],
)
def test_gaussians_of_many_copies(n: int, a: float, t: float) -> None:
    """Sums of all copies, in exact sums, inside, at the ends and beside."""
    ends = np.linspace(-4 / t, 4 / t, 9)
    d = np.concatenate([ends, (n - 1) * a + ends, [0.5 * n * a, 0.123 * n * a]])
    exact = [math.fsum(np.exp(-((t * (y - np.arange(n) * a)) ** 2))) for y in d]
    found = copied_gaussians(t, d, (n, a))
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-14 * max(exact))
    widths = np.asarray([t, 2 * t])[:, None, None]
    both = copied_gaussians(widths, d[None, :, None], (n, a))
    np.testing.assert_array_equal(both[0, :, 0], found)


def test_copies_beyond_the_reach_of_the_gaussians_cost_nothing(rng: Any) -> None:
    """A hundred thousand copies in a row, against the sum over all of them."""
    points, q = draw(rng, 2)
    lattice = [(100_000, 0.02), (1, 0.0), (1, 0.0)]
    T = long_range_potential(points, q, CUBE, alpha=3.0, lattice=lattice)
    x = anywhere(rng, CUBE, 5)
    exact = direct(*copied(points, q, lattice), x, 3.0)
    np.testing.assert_allclose(T(x), exact, atol=3e-7 * T.scale)


@pytest.mark.parametrize("period", [1e7, 1e9, 1e50, 1e149])
def test_periods_of_any_length(rng: Any, period: float) -> None:
    points, q = draw(rng, 2)
    lattice = [(3, period), (2, period), (1, 0.0)]
    T = long_range_potential(points, q, CUBE, alpha=3.0, lattice=lattice)
    x = anywhere(rng, CUBE, 50)
    exact = direct(points, q, x, 3.0)
    far = np.sum(q) * (2 / period + 1 / period + 1 / 2**0.5 / period)
    np.testing.assert_allclose(T(x), exact, atol=3e-7 * T.scale + 2 * abs(far))
    assert T.status == "converged"


def test_a_lattice_may_be_an_array(xp: Any) -> None:
    if xp.name == "jax":
        pytest.skip("takes long to compile; the argument is read on the host")
    points, q = xp.asarray(np.asarray([[0.1, 0.2, -0.3]])), xp.asarray(np.ones(1))
    pairs = [(2, 0.75), (1, 0.0), (3, 0.5)]
    S = long_range_potential(points, q, CUBE, alpha=1.0, tol=1e-3, lattice=pairs)
    for lattice in (np.asarray(pairs), xp.asarray(np.asarray(pairs))):
        T = long_range_potential(points, q, CUBE, alpha=1.0, tol=1e-3, lattice=lattice)
        np.testing.assert_array_equal(xp.to_numpy(T.core), xp.to_numpy(S.core))


# ----------------------------------------------------------------------------- scale and place


@pytest.mark.parametrize(
    ("length", "charge"), [(2.0**500, 2.0**330), (1e-150, 1e-100), (1.0, 1e200), (1.0, 1e-200)]
)
def test_scales(rng: Any, length: float, charge: float) -> None:
    points, q = draw(rng, 40)
    T = long_range_potential(points, q, CUBE, alpha=3.0)
    S = long_range_potential(
        points * length, q * charge, [(-length, length)] * 3, alpha=3.0 / length
    )
    x = anywhere(rng, CUBE, 50)
    np.testing.assert_allclose(S(x * length) / charge * length, T(x), atol=1e-7 * T.scale)
    assert S.ranks == T.ranks
    assert S.error_estimate / charge * length <= 1e-7 * T.scale


def test_a_domain_far_from_the_origin(rng: Any) -> None:
    points, q = draw(rng, 40)
    moved = [(2.0**30 - 1, 2.0**30 + 1)] * 3
    T = long_range_potential(points + 2.0**30, q, moved, alpha=3.0)
    assert T.status == "converged"
    x = anywhere(rng, CUBE, 50)
    exact = direct(points, q, x, 3.0)
    np.testing.assert_allclose(T(x + 2.0**30), exact, atol=2e-6 * T.scale)


def test_the_answer_does_not_depend_on_chance(rng: Any) -> None:
    points, q = draw(rng, 40)
    one, two = (long_range_potential(points, q, CUBE, alpha=3.0) for _ in range(2))
    np.testing.assert_array_equal(one.core, two.core)
    assert one.error_estimate == two.error_estimate


def test_blocks_of_particles_give_the_same(rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    points, q = draw(rng, 200)
    whole = [long_range_potential(points, q, CUBE, alpha=3.0, method=m) for m in ("moments", "cp")]
    monkeypatch.setattr("linalgkit.chebyshev._moments._PARTICLE_BYTES", (1, 1))
    monkeypatch.setattr(_long_range, "_CP_NUMBERS", 50_000)
    cut = [long_range_potential(points, q, CUBE, alpha=3.0, method=m) for m in ("moments", "cp")]
    x = anywhere(rng, CUBE, 50)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a(x), b(x), atol=2e-7 * a.scale)


@pytest.mark.parametrize("width", [1e-3, 0.5, 2.0, 12.0, 150.0])
@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_degree_of_a_gaussian(width: float, shift: float) -> None:
    """Against the coefficients of an interpolant of much higher degree."""
    m = gaussian_degree(width, 1e-10)
    n = 4 * m + 50
    angles = np.pi * (np.arange(n) + 0.5) / n
    values = np.exp(-((width * (np.cos(angles) - shift)) ** 2))
    rows = np.cos(np.multiply.outer(np.arange(m, min(2 * m, n)), angles))
    assert float(np.max(np.abs(2 / n * rows @ values))) <= 1e-10


# ------------------------------------------------------------------------- weaker than asked


def test_a_tolerance_beyond_rounding_warns_and_tells_the_error(rng: Any) -> None:
    points, q = draw(rng, 60)
    with pytest.warns(AccuracyWarning, match="4 eps"):
        long_range_potential(
            points.astype(np.float32), q.astype(np.float32), CUBE, alpha=2.0, tol=1e-9
        )
    q -= q.mean()
    q *= 1 + 1e-9 * rng.standard_normal(60)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        T = long_range_potential(points, q, CUBE, alpha=1e-6, tol=1e-13)
    assert T.status == "inaccurate"
    assert any(issubclass(w.category, AccuracyWarning) for w in found)
    assert T.error_estimate > 1e-13 * T.scale
    x = anywhere(rng, CUBE)
    error = float(np.max(np.abs(T(x) - direct(points, q, x, 1e-6))))
    assert error <= 10 * T.error_estimate


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"points": np.zeros((4, 2))}, ValueError, "points must"),
        ({"points": np.zeros(4)}, ValueError, "points must"),
        ({"points": [[0.0, 0.0, 0.0]]}, TypeError, "array is required"),
        ({"points": np.full((4, 3), np.nan)}, ValueError, "points must not contain NaN"),
        ({"points": np.zeros((4, 3), dtype=complex)}, TypeError, "points must be real"),
        ({"charges": np.ones(3)}, ValueError, "charges must"),
        ({"charges": np.ones((4, 1))}, ValueError, "charges must"),
        ({"charges": np.full(4, np.inf)}, ValueError, "charges must not contain NaN"),
        ({"domain": [(0, 1)] * 2}, ValueError, "domain must have 3 variables"),
        ({"domain": [(0, 1)] * 4}, ValueError, "domain must have 3 variables"),
        ({"domain": [(0, 1), (0, 1), (1, 0)]}, ValueError, "domain"),
        ({"domain": 3.0}, (TypeError, ValueError), "domain"),
        ({"alpha": 0.0}, ValueError, "alpha must"),
        ({"alpha": -1.0}, ValueError, "alpha must"),
        ({"alpha": math.inf}, ValueError, "alpha must be greater than 0.0 and finite"),
        ({"alpha": None}, TypeError, "alpha must"),
        ({"alpha": 1e-310}, ValueError, "alpha must be of a size"),
        ({"points": np.full((4, 3), 1e200)}, ValueError, "points must lie within"),
        ({"lattice": [(3, 1e200)] * 3}, ValueError, "points must lie within"),
        ({"alpha": 1e5}, ValueError, "alpha must be smaller for this domain"),
        ({"tol": 0.0}, ValueError, "tol must"),
        ({"tol": math.nan}, ValueError, "tol must"),
        ({"tol": "1"}, TypeError, "tol must"),
        ({"method": "fft"}, ValueError, "method must"),
        ({"method": 1}, TypeError, "method must"),
        ({"lattice": 4}, TypeError, "lattice must"),
        ({"lattice": [4, 4, 4]}, TypeError, "lattice must"),
        ({"lattice": [(2, 1.0)] * 2}, ValueError, "lattice must"),
        ({"lattice": [(2, 1.0, 3)] * 3}, ValueError, "lattice must"),
        ({"lattice": [(0, 1.0)] * 3}, ValueError, r"lattice\[0\]\[0\] must"),
        ({"lattice": [(2, 1.0), (2.5, 1.0), (1, 0)]}, TypeError, r"lattice\[1\]\[0\] must"),
        ({"lattice": [(2, 1.0), (2, 1.0), (2, 0.0)]}, ValueError, r"lattice\[2\]\[1\] must"),
        (
            {"lattice": [(2, math.inf)] * 3},
            ValueError,
            r"lattice\[0\]\[1\] must be greater than 0.0 and finite",
        ),
        ({"lattice": np.ones(3)}, ValueError, "lattice must be three pairs"),
        ({"lattice": np.ones((2, 2))}, ValueError, "lattice must be three pairs"),
        ({"lattice": np.full((3, 2), 1.5)}, TypeError, r"lattice\[0\]\[0\] must"),
        ({"lattice": np.full((3, 2), 1j)}, TypeError, "lattice must hold real numbers"),
        ({"lattice": np.full((3, 2), np.nan)}, TypeError, r"lattice\[0\]\[0\] must"),
        ({"domain": [(-1e200, 1e200)] * 3, "alpha": 1e300}, ValueError, "alpha must be of a size"),
        (
            {"domain": [(-1e-300, 1e-300)] * 3, "alpha": 1e300, "lattice": [(2, 1e100)] * 3},
            ValueError,
            "points must lie within",
        ),
        ({"charges": np.full(4, 1.5e308)}, ValueError, "largest number of float64"),
        (
            {"points": np.zeros((4, 3), "f4"), "charges": np.full(4, 3e38, "f4")},
            ValueError,
            "largest number of float32",
        ),
    ],
)
def test_refuses(changes: Any, error: Any, text: str) -> None:
    given: dict[str, Any] = {
        "points": np.zeros((4, 3)),
        "charges": np.ones(4),
        "domain": CUBE,
        "alpha": 1.0,
        **changes,
    }
    with pytest.raises(error, match=text):
        long_range_potential(
            given.pop("points"), given.pop("charges"), given.pop("domain"), **given
        )


def test_refuses_two_libraries() -> None:
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="one library"):
        long_range_potential(np.zeros((2, 3)), strict.ones(2), CUBE, alpha=1.0)


# ------------------------------------------------------------------------------ the figures


@pytest.mark.slow
def test_figures_of_the_issue() -> None:
    """N = 5000, alpha = 12, tol 1e-7: error <= 3e-7 and forces <= 1e-5 at 5000 fresh points."""
    rng = np.random.default_rng(3)
    points, q = draw(rng, 5000)
    T = long_range_potential(points, q, CUBE, alpha=12.0)
    x = anywhere(rng, CUBE, 5000)
    exact = direct(points, q, x, 12.0)
    assert float(np.max(np.abs(T(x) - exact))) <= 3e-7 * float(np.max(np.abs(exact)))
    field = np.concatenate([forces(points, q, part, 12.0) for part in np.array_split(x, 50)])
    error = np.stack([T.diff(k)(x) for k in range(3)], axis=1) - field
    assert float(np.max(np.abs(error))) <= 1e-5 * float(np.max(np.abs(field)))


def test_a_core_beyond_half_a_gigabyte_is_refused() -> None:
    points = np.random.default_rng(0).uniform(-5, 5, (200, 3))
    with pytest.raises(ValueError, match="cut the box"):
        long_range_potential(points, np.ones(200), [(-5, 5)] * 3, alpha=25.0)
