"""Sums over rotated data and their weighting: every form and library against their definition."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._kernels.kron_pass import kron_pass, kron_weighted

from .test_dense import DTYPES, Draw, data, wide

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in kron_pass.forms() if form != "cupy")
SHAPES = [(1, 1, 1), (1, 7, 3), (9, 1, 1), (5, 4, 3), (33, 17, 1), (2, 1100, 1), (1300, 3, 2),
          (3, 601, 5), (7, 12, 16)]  # fmt: skip
EPS = float(np.finfo(np.float64).eps)


class Problem(NamedTuple):
    """Arguments of the sums."""

    Z: np.ndarray
    outer: np.ndarray
    inner: np.ndarray
    noise: float


def problem(rng: Draw, dtype: str, *shape: int, noise: float = 0.03) -> Problem:
    """Eigenvalues over twelve orders of magnitude, some of them zero."""
    outer, inner = (10.0 ** rng.uniform(-6, 0, size) for size in shape[:2])
    outer[1::3], inner[2::4] = 0.0, 0.0
    return Problem(data(rng, dtype, *shape), outer, inner, noise)


def by_definition(given: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three results in extended precision."""
    outer, inner = wide(given.outer)[:, None], wide(given.inner)[None, :]
    D = outer * inner + given.noise
    z = np.abs(wide(given.Z))
    first = (z * (z / D[:, :, None])).sum()
    second = ((z / D[:, :, None]) ** 2).sum()
    sums = np.array([np.log(D).sum(), first, second, (1 / D).sum()])
    return sums, (outer / D).sum(axis=0), (inner / D).sum(axis=1)


def spread_of_logs(given: Problem) -> float:
    """Sum of the moduli of the logarithms, and one rounding of each variance."""
    D = np.multiply.outer(given.outer, given.inner) + given.noise
    return float(np.abs(np.log(D)).sum() + D.size)


def errors(found: Any, given: Problem) -> np.ndarray:
    """Largest relative errors: of the logarithm, of the sums, by inner, by outer."""
    sums, by_inner, by_outer = by_definition(given)

    def relative(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.max(np.abs(a - b) / np.where(b == 0, 1, b)))

    logarithm = abs(found[0][0] - sums[0]) / spread_of_logs(given)
    return np.array(
        [logarithm, relative(found[0][1:], sums[1:]), relative(found[1], by_inner),
         relative(found[2], by_outer)], dtype=float,
    )  # fmt: skip


def weighted_by_definition(given: Problem, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    D = np.multiply.outer(wide(given.outer), wide(given.inner)) + given.noise
    return wide(given.Z) * (np.multiply.outer(wide(left), wide(right)) / D)[:, :, None]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_the_definition_in_double(
    rng: Draw, form: str, dtype: str, shape: tuple[int, int, int]
) -> None:
    given = problem(rng, dtype, *shape)
    found = kron_pass.forms()[form](NP, *given)
    assert [x.shape for x in found] == [(4,), (shape[1],), (shape[0],)]
    assert {x.dtype for x in found} == {np.dtype(np.float64)}
    assert np.all(errors(found, given) <= 40 * EPS)


def test_the_bound_finds_sums_in_single_precision(rng: Draw) -> None:
    given = problem(rng, "float32", 33, 17, 1)
    exact = by_definition(given)
    rounded = tuple(x.astype(np.float32) for x in exact)
    assert np.all(errors(rounded, given)[1:] > 40 * EPS)
    assert np.all(errors(exact, given) == 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_data_are_those_of_the_definition(
    rng: Draw, form: str, dtype: str, shape: tuple[int, int, int]
) -> None:
    given = problem(rng, dtype, *shape)
    left, right = rng.random(shape[0]), rng.standard_normal(shape[1])
    found = kron_weighted.forms()[form](NP, *given, left, right)
    expected = weighted_by_definition(given, left, right)
    assert (found.shape, found.dtype) == (given.Z.shape, given.Z.dtype)
    assert found.flags.c_contiguous
    assert np.all(np.abs(found - expected) <= 4 * np.finfo(dtype).eps * np.abs(expected))


def exact_log_sum(given: Problem) -> tuple[float, float]:
    """The sum of the logarithms and that of their moduli, rounded from 40 digits."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        logs = [
            mpmath.log(mpmath.mpf(float(a)) * mpmath.mpf(float(b)) + mpmath.mpf(given.noise))
            for a in given.outer
            for b in given.inner
        ]
        return mpmath.fsum(logs), float(mpmath.fsum(map(abs, logs)))


def extreme(rng: Draw, centre: float, reach: float) -> Problem:
    """Variances of ``10^(centre +- 2 reach)`` over noise that is lost beside them."""
    outer, inner = (
        10.0 ** rng.uniform(centre / 2 - reach, centre / 2 + reach, n) for n in (31, 70)
    )
    Z = np.sqrt(np.multiply.outer(outer, inner))[:, :, None]
    return Problem(Z, outer, inner, 1e-300)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("centre", "reach"), [(0, 74), (-290, 3), (290, 3), (0, 1)])
def test_logarithms_of_extreme_variances(rng: Draw, form: str, centre: float, reach: float) -> None:
    given = extreme(rng, centre, reach)
    found = kron_pass.forms()[form](NP, *given)
    expected, size = exact_log_sum(given)
    assert abs(found[0][0] - expected) <= 4 * EPS * size
    if centre <= 0:  # else squares of quotients are subnormal
        assert np.all(errors(found, given) <= 40 * EPS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("excess", [1e-3, 1e-10, -1e-3])
def test_logarithms_of_variances_near_one(rng: Draw, form: str, excess: float) -> None:
    """The rounding of the variances themselves is all that is left."""
    noise = 1.0 if excess > 0 else 1.0 + excess
    outer, inner = abs(excess) * rng.random(40), rng.random(50)
    given = Problem(np.ones((40, 50, 1)), outer, inner, noise)
    expected, _ = exact_log_sum(given)
    found = kron_pass.forms()[form](NP, *given)
    assert abs(found[0][0] - expected) <= 2 * EPS * 2000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mantissa", [1.0, 2**0.5 * (1 + 1e-15), 2**0.5 * (1 - 1e-15), 1.9999])
@pytest.mark.parametrize("power", [-990, -1, 0, 1, 990])
def test_products_of_equal_mantissas_neither_overflow_nor_vanish(
    form: str, mantissa: float, power: int
) -> None:
    noise = float(np.ldexp(mantissa, power))
    for n, m in ((1, 3000), (3000, 1), (60, 50)):
        Z = np.zeros((n, m, 1))
        sums, _, _ = kron_pass.forms()[form](NP, Z, np.zeros(n), np.zeros(m), noise)
        expected = 3000 * float(np.log(np.longdouble(noise)))
        assert abs(sums[0] - expected) <= 4 * EPS * (abs(expected) + 3000)
        assert sums[1] == sums[2] == 0
        np.testing.assert_allclose(sums[3] * noise, 3000, rtol=1e-13)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_large_and_small_units_give_the_same_quotients(rng: Draw, form: str, size: float) -> None:
    """Squares of the data, and of the variances, would leave the range of the numbers."""
    given = problem(rng, "complex128", 9, 8, 2)
    unit = float(2.0 ** round(np.log2(size) * 1.9))
    outer, noise = unit * given.outer, unit * given.noise
    moved = Problem(given.Z * unit, outer, given.inner, noise)
    found, expected = (kron_pass.forms()[form](NP, *p) for p in (moved, given))
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[0][1] / unit, expected[0][1], rtol=1e-14)
    np.testing.assert_allclose(found[0][2], expected[0][2], rtol=1e-14)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-14)
    np.testing.assert_allclose(found[2] * unit, expected[2], rtol=1e-14)


@pytest.mark.parametrize(("n", "m"), [(150_000, 1), (1, 150_000), (50_000, 3)])
def test_rounding_does_not_grow_with_the_number_of_terms(n: int, m: int) -> None:
    """Equal terms round the same way: a sum in order loses more than is allowed."""
    given = Problem(np.full((n, m, 1), 0.3), np.full(n, 0.1), np.full(m, 0.7), 0.0417)
    found = kron_pass.forms()[FORMS[-1]](NP, *given)
    assert np.all(errors(found, given) <= 2e-13)
    quotient = 0.1 / (0.1 * 0.7 + given.noise)
    exact = 150_000 * np.longdouble(quotient)
    in_order = np.cumsum(np.full(150_000, quotient))[-1] / exact - 1
    assert abs(in_order) > 2e-13


def test_every_library(xp: Any, rng: Draw) -> None:
    for dtype in xp.dtypes:
        given = problem(rng, dtype, 5, 4, 2)
        left, right = rng.random(5), rng.random(4)
        Z = xp.asarray(given.Z, dtype)
        outer, inner, a, b = (xp.asarray(x) for x in (given.outer, given.inner, left, right))
        found = kron_pass(xp.xp, Z, outer, inner, given.noise)
        weighted = kron_weighted(xp.xp, Z, outer, inner, given.noise, a, b)
        assert all(core_array.device(x) == xp.device for x in (*found, weighted))
        assert all(x.dtype == xp.float for x in found)
        assert weighted.dtype == Z.dtype
        for x, y in zip(found, by_definition(given), strict=True):
            np.testing.assert_allclose(
                xp.to_numpy(x), y.astype(float), rtol=xp.tolerance, atol=xp.tolerance
            )
        expected = weighted_by_definition(given, left, right)
        difference = np.abs(xp.to_numpy(weighted) - expected)
        assert np.all(difference <= 8 * np.finfo(dtype).eps * np.abs(expected))


@pytest.mark.parametrize("form", FORMS)
def test_read_only_arguments_stay_as_they_are(rng: Draw, form: str) -> None:
    given = problem(rng, "complex64", 6, 5, 2)
    left, right = rng.random(6), rng.random(5)
    arrays = given.Z, given.outer, given.inner, left, right
    copies = [x.copy() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    kron_pass.forms()[form](NP, *given)
    kron_weighted.forms()[form](NP, *given, left, right)
    assert all(np.array_equal(x, y) for x, y in zip(arrays, copies, strict=True))


def test_other_layouts_and_dtypes_take_the_portable_form(rng: Draw) -> None:
    given, other = problem(rng, "float64", 6, 5, 2), problem(rng, "float64", 5, 6, 2)
    turned = given._replace(Z=np.transpose(other.Z, (1, 0, 2)))
    single = given._replace(inner=given.inner.astype(np.float32))
    swapped = given._replace(Z=given.Z.astype(given.Z.dtype.newbyteorder()))
    for odd in (turned, single, swapped):
        assert kron_pass.select(NP, *odd) is kron_pass.forms()["portable"]
        assert np.all(errors(kron_pass(NP, *odd), odd) <= 40 * EPS)
    ones = np.ones(6), np.ones(5)
    assert kron_weighted.select(NP, *turned, *ones) is kron_weighted.forms()["portable"]
    assert kron_weighted.select(NP, *given, *ones) is kron_weighted.forms()[FORMS[-1]]
    assert kron_pass.select(NP, *given) is kron_pass.forms()[FORMS[-1]]


def test_same_bits_from_every_thread_and_place_in_memory(rng: Draw) -> None:
    given = problem(rng, "float64", 90, 41, 1)
    room = np.empty(given.Z.size + 8)
    places = [room[k : k + given.Z.size].reshape(given.Z.shape) for k in range(8)]

    def run(k: int) -> bytes:
        return b"".join(x.tobytes() for x in kron_pass(NP, places[k].copy(), *given[1:]))

    for place in places:
        place[...] = given.Z
        found = kron_pass(NP, place, *given[1:])
        assert b"".join(x.tobytes() for x in found) == b"".join(
            x.tobytes() for x in kron_pass(NP, *given)
        )
    places[:] = [given.Z] * 8
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(8)))) == 1


@pytest.mark.skipif("numba" not in FORMS, reason="needs Numba")
def test_nothing_of_the_size_of_the_data_is_stored(rng: Draw) -> None:
    given = problem(rng, "complex128", 400, 300, 1)
    kron_pass(NP, *given)
    tracemalloc.start()
    try:
        kron_pass(NP, *given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 8 * (400 + 2 * 300 + 1100)


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(rng: Draw, dtype: str) -> None:
    import cupy

    given = problem(rng, dtype, 300, 70, 3)
    left, right = rng.random(300), rng.random(70)
    xp = core_array.array_namespace(cupy.ones(1))
    moved = (*(cupy.asarray(x) for x in given[:3]), given.noise)
    found = tuple(x.get() for x in kron_pass.forms()["cupy"](xp, *moved))
    assert np.all(errors(found, given) <= 200 * EPS)
    weights = cupy.asarray(left), cupy.asarray(right)
    weighted = kron_weighted.forms()["cupy"](xp, *moved, *weights).get()
    expected = weighted_by_definition(given, left, right)
    assert np.all(np.abs(weighted - expected) <= 8 * np.finfo(dtype).eps * np.abs(expected))
