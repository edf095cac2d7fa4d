"""The laws behind the intervals: quantiles against SciPy and closed forms, coverage by simulation.

Sketches are drawn here by NumPy, so that the laws are tested apart from the sketching room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats

from linalgkit._core.array import array_namespace
from linalgkit.regression._intervals import (
    Noise,
    SketchLaw,
    Spread,
    around,
    chi_ratio,
    column_norms,
    matched_freedom,
    row_lengths,
)
from linalgkit.regression._reduced import Reduced, solve_reduced
from tests.conftest import Backend

XP = array_namespace(np.empty(0))
LEVEL = 1e-4  # of every binomial test below


# -------------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 50, 3000, 10**6])
@pytest.mark.parametrize("size", [1, 2, 5, 80])
@pytest.mark.parametrize("tail", [0.9, 0.3, 0.05, 1e-3, 1e-9])
def test_chi_ratio_is_fishers_quantile(size: int, freedom: int, tail: float) -> None:
    quantile = chi_ratio(tail, size, freedom) * freedom / size
    assert scipy.stats.f.sf(quantile, size, freedom) == pytest.approx(tail, rel=1e-8)


@pytest.mark.parametrize("tail", [0.5, 1e-4, 1e-12, 1e-60, 1e-150])
def test_chi_ratio_keeps_its_digits_far_in_the_tail(tail: float) -> None:
    # Two degrees above: Pareto. One and one: the square of Cauchy's law.
    for freedom in (2, 7, 100, 10**5):
        expected = math.expm1(-2 / freedom * math.log(tail))
        assert chi_ratio(tail, 2, freedom) == pytest.approx(expected, rel=1e-11)
    cauchy = 1 / math.tan(math.pi * tail / 2) ** 2
    assert chi_ratio(tail, 1, 1) == pytest.approx(cauchy, rel=1e-9)


def test_multipliers_are_the_textbook_ones() -> None:
    real, circular = SketchLaw(4, 9, False), SketchLaw(4, 9, True)
    t, f = scipy.stats.t, scipy.stats.f
    assert real.student(0.05) == pytest.approx(t.isf(0.025, 9))
    assert real.modulus(0.05) == pytest.approx(t.isf(0.025, 9))
    assert real.all_contrasts(0.05) == pytest.approx(math.sqrt(4 * f.isf(0.05, 4, 9)))
    assert circular.student(0.05) == pytest.approx(t.isf(0.025, 18) / math.sqrt(2))
    assert circular.modulus(0.05) == pytest.approx(math.sqrt(f.isf(0.05, 2, 18)))
    assert circular.all_contrasts(0.05) == pytest.approx(math.sqrt(4 * f.isf(0.05, 8, 18)))


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_bound_on_the_largest_error_spends_exactly_its_probability(is_complex: bool) -> None:
    law = SketchLaw(3, 5, is_complex)
    stderrs = np.asarray([[1.0, 0.3], [0.0, 2.0], [1e-120, 1.9]])
    bound = law.largest(0.02, stderrs)
    u = (bound / stderrs[stderrs > 0]) ** 2 / 5
    if is_complex:
        spent = ((1 + u) ** -5.0).sum()
    else:
        spent = 2 * scipy.stats.t.sf(np.sqrt(5 * u), 5).sum()
    assert spent == pytest.approx(0.02, rel=1e-6)
    assert law.largest(0.02, np.zeros((3, 1))) == 0.0
    assert law.largest(0.02, np.asarray([[3.0]])) == pytest.approx(3.0 * law.modulus(0.02))


def test_matched_freedom_has_the_variance_of_the_product() -> None:
    a, b = 7.0, 30.0
    variance = (1 + 2 / a) * (1 + 2 / b) - 1
    assert 2 / matched_freedom(a, b) == pytest.approx(variance)
    assert matched_freedom(12.0, 1e12) == pytest.approx(12.0)


# ------------------------------------------------------------------------- exact coverage


def _problem(rng: np.random.Generator, is_complex: bool) -> tuple[Any, Any, Any]:
    """Return a coherent design, a right side of two spikes, and the solution."""
    n, d = 40, 3
    A, b = np.zeros((n, d)), np.zeros((n, 1))
    A[:d] = np.diag([1.0, 10.0, 0.1])
    A[d:8] = 0.01 * rng.standard_normal((8 - d, d))
    b[:d, 0] = [3.0, -1.0, 2.0]
    b[20:22, 0] = [5.0, -4.0]
    if is_complex:
        A, b = A + 0j, b + 0j
    return A, b, np.linalg.lstsq(A, b)[0]


def _small_problems(
    A: Any, b: Any, m: int, runs: int, rng: np.random.Generator, is_circular: bool
) -> Iterator[tuple[Reduced, Spread]]:
    """Yield solutions through independent Gaussian sketches, with standard errors."""
    n, d = A.shape
    for _ in range(runs):
        S = rng.standard_normal((m, n)) / math.sqrt(m)
        if is_circular:
            S = (S + 1j * rng.standard_normal((m, n)) / math.sqrt(m)) / math.sqrt(2)
        small = solve_reduced(S @ A, S @ b, 2.2e-16, xp=XP)
        scales = [misfit / math.sqrt(m - d) for misfit in small.misfits]
        yield small, small.spread.with_scales(scales)


def _covered(hits: int, runs: int, level: float) -> float:
    return float(scipy.stats.binomtest(hits, runs, level).pvalue)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("spare", [1, 3, 12])
def test_one_unknown_is_covered_at_the_level_stated(
    is_complex: bool, spare: int, rng: np.random.Generator
) -> None:
    A, b, x = _problem(rng, is_complex)
    law, runs = SketchLaw(3, spare, is_complex), 1500
    hits = np.zeros(3, dtype=int)
    normal = 0
    for _, spread in _small_problems(A, b, 3 + spare, runs, rng, is_complex):
        error, stderr = spread.X[2, 0] - x[2, 0], spread.stderr()[2, 0]
        hits[0] += abs(np.real(error)) <= law.student(0.1) * stderr
        hits[1] += abs(error) <= law.modulus(0.1) * stderr
        c = np.asarray([[1.0, -0.2, 3.0]])
        value, error_of = spread.of_combinations(lambda M: c @ M)  # noqa: B023
        hits[2] += abs(np.real(value - c @ x)[0, 0]) <= law.student(0.1) * error_of[0, 0]
        z = scipy.stats.norm.isf(0.05) / (math.sqrt(2) if is_complex else 1)
        normal += abs(np.real(error)) <= z * stderr
    for count in hits:
        assert _covered(int(count), runs, 0.9) > LEVEL
    # Negative control: quantiles of the normal law are too short for few degrees of freedom.
    if spare <= 3:
        assert _covered(normal, runs, 0.9) < LEVEL
        assert normal < 0.9 * runs


def test_all_contrasts_are_covered_at_once_with_exactly_that_level(
    rng: np.random.Generator,
) -> None:
    for is_complex in (False, True):
        A, b, x = _problem(rng, is_complex)
        m, runs = 9, 1500
        law = SketchLaw(3, m - 3, is_complex)
        worst = 0
        for small, spread in _small_problems(A, b, m, runs, rng, is_complex):
            F = small.spread.factor * np.ldexp(1.0, -np.asarray(spread.exponents))[:, None]
            # max over c of |c^T e| / ||c^T F|| is ||F^-1 e||.
            length = np.linalg.norm(np.linalg.solve(F, spread.X - x))
            scale = math.ldexp(spread.scales[0], spread.side_exponents[0])
            worst += length <= law.all_contrasts(0.1) * scale
        assert _covered(worst, runs, 0.9) > LEVEL


def test_a_real_sketch_of_complex_data_has_not_that_law(rng: np.random.Generator) -> None:
    A, b, x = _problem(rng, True)
    m, runs = 8, 1500
    law = SketchLaw(3, m - 3, True)
    hits = 0
    for _, spread in _small_problems(A, b, m, runs, rng, is_circular=False):
        error = np.real(spread.X[0, 0] - x[0, 0])
        hits += abs(error) <= law.student(0.05) * spread.stderr()[0, 0]
    assert _covered(hits, runs, 0.95) < LEVEL
    assert hits < 0.9 * runs


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_new_observations_are_covered_when_noise_is_added_and_not_without(
    is_complex: bool, rng: np.random.Generator
) -> None:
    n, d, m, runs = 60, 3, 20, 1500
    law = SketchLaw(d, m - d, is_complex)
    field = law.field
    hits = bare = 0
    for _ in range(runs):

        def draw(*shape: int) -> Any:
            G = rng.standard_normal(shape)
            return G + 1j * rng.standard_normal(shape) if is_complex else G

        A, c = draw(n, d), draw(1, d)
        b, new = A @ np.ones((d, 1)) + draw(n, 1), c @ np.ones((d, 1)) + draw(1, 1)
        S = draw(m, n) / math.sqrt(m * field)
        small = solve_reduced(S @ A, S @ b, 2.2e-16, xp=XP)
        s = small.misfits[0] / math.sqrt(m - d)
        spread = small.spread.with_scales([s])
        noise = Noise(
            (s * math.sqrt(m / (n - d)),),
            (m - d - (2 - field) + n - d) / m,
            matched_freedom(field * (m - d), field * (n - d)),
            field,
        )
        value, deviation = spread.of_observations(lambda M, c=c: c @ M, noise)
        error = abs(np.real(new - value)[0, 0])
        hits += error <= noise.student(0.1) * deviation[0, 0]
        _, stderr = spread.of_combinations(lambda M, c=c: c @ M)
        bare += error <= law.student(0.1) * stderr[0, 0]
    # The quantile is matched, not exact: within one per cent, at four standard deviations.
    assert abs(hits / runs - 0.9) < 0.01 + 4 * math.sqrt(0.09 / runs)
    assert bare < 0.8 * runs


# ------------------------------------------------------------------------ scale and form


def _spread(scale_a: float, scale_b: float) -> tuple[Spread, Any, Any]:
    rng = np.random.default_rng(5)
    A, B = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    small = solve_reduced(A * scale_a, B * scale_b, 2.2e-16, xp=XP)
    return small.spread.with_scales(small.misfits), A, B


@pytest.mark.parametrize(
    ("a", "b"), [(1e150, 1e150), (1e-150, 1e-150), (1e-150, 1.0), (1e100, 1e-160)]
)
def test_standard_errors_scale_with_the_data(a: float, b: float) -> None:
    spread, A, B = _spread(a, b)
    X = np.linalg.lstsq(A, B)[0]
    misfit = np.linalg.norm(B - A @ X, axis=0)
    inverse = np.linalg.inv(A.T @ A)
    expected = np.sqrt(np.diag(inverse))[:, None] * misfit
    np.testing.assert_allclose(spread.stderr() / (b / a), expected, rtol=1e-12)
    C = np.asarray([[1.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    values, errors = spread.of_combinations(lambda M: (C * a) @ M)
    expected = np.sqrt(np.diag(C @ inverse @ C.T))[:, None] * misfit
    np.testing.assert_allclose(errors / b, expected, rtol=1e-12, atol=0)
    np.testing.assert_allclose(values / b, C @ X, rtol=1e-11, atol=1e-13)


def test_columns_of_any_units_are_solved_alike() -> None:
    rng = np.random.default_rng(6)
    A, B = rng.standard_normal((30, 5)), rng.standard_normal((30, 1))
    units = np.asarray([1.0, 1e-20, 1e40, 1e-250, 1e150])
    small = solve_reduced(A * units, B, 2.2e-16, xp=XP)
    assert small.rank == 5
    assert small.condition < 5
    np.testing.assert_allclose(units * small.spread.X[:, 0], np.linalg.lstsq(A, B)[0][:, 0])


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_deficient_ranks_give_minimum_norm_and_null_vectors(xp: Backend, is_complex: bool) -> None:
    rng = np.random.default_rng(7)
    A, B = rng.standard_normal((20, 6)), rng.standard_normal((20, 2))
    if is_complex:
        A, B = A + 1j * rng.standard_normal((20, 6)), B * (1 - 2j)
    A[:, 4] = 0
    A[:, 5] = A[:, 0] - 2 * A[:, 1]
    small = solve_reduced(xp.asarray(A), xp.asarray(B), 2e-16 if xp.has_float64 else 1e-7, xp=xp.xp)
    assert (small.rank, small.n_zero) == (4, 1)
    found = xp.to_numpy(small.spread.X)
    np.testing.assert_allclose(found, np.linalg.lstsq(A, B)[0], atol=30 * xp.tolerance)
    null = xp.to_numpy(small.null)
    assert null.shape == (6, 2)
    assert np.abs(A @ null).max() < 30 * xp.tolerance
    F = (
        xp.to_numpy(small.spread.factor)
        * np.ldexp(1.0, -np.asarray(small.spread.exponents))[:, None]
    )
    np.testing.assert_allclose(
        F @ F.conj().T, np.linalg.pinv(A.conj().T @ A), atol=30 * xp.tolerance
    )


def test_nothing_but_zeros_is_solved_by_zeros(xp: Backend) -> None:
    A, B = xp.asarray(np.zeros((5, 3))), xp.asarray(np.ones((5, 1)))
    small = solve_reduced(A, B, 2e-16, xp=xp.xp)
    assert (small.rank, small.condition, small.n_zero) == (0, 1.0, 3)
    assert not xp.to_numpy(small.spread.X).any()
    assert not xp.to_numpy(small.spread.stderr()).any()


def test_numbers_that_overflowed_are_an_error() -> None:
    A = np.asarray([[np.inf, 1.0], [0.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="A must be small enough for sums"):
        solve_reduced(A, np.ones((3, 1)), 2e-16, xp=XP)


def test_lengths_neither_overflow_nor_vanish(xp: Backend) -> None:
    powers = (0, 30, -30) if not xp.has_float64 else (0, 900, -900)
    T = np.asarray([[3.0, 4.0]] * 3) * np.ldexp(1.0, powers)[:, None]
    lengths, exponents = row_lengths(xp.asarray(T), xp.xp)
    found = [math.ldexp(v, e) for v, e in zip(xp.to_numpy(lengths), exponents, strict=True)]
    np.testing.assert_allclose(found, 5.0 * np.ldexp(1.0, powers), rtol=1e-6)
    assert column_norms(xp.asarray(T.T), xp.xp) == pytest.approx(found)


def test_ends_of_complex_intervals_are_those_of_both_parts() -> None:
    lower, upper = around(np.asarray([1 + 2j]), np.asarray([0.5]), XP)
    assert (lower[0], upper[0]) == (0.5 + 1.5j, 1.5 + 2.5j)
