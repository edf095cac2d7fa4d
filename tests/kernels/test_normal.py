"""Gaussian rows: the law, and every form and library against a plain reading of the words."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy import stats

from linalgkit import _kernels
from linalgkit._core import array as core_array
from linalgkit._core.random import PhiloxTiles
from linalgkit._kernels import normal_rows
from linalgkit._kernels.normal import box_muller

from .test_dense import DTYPES

NP = core_array.numpy_namespace()
FORMS = tuple(form for form in normal_rows.forms() if form != "cupy")
KEY, TAIL = PhiloxTiles(11, stream=3).key, (5, 6, 3)


def rows(form: str, first: int, count: int, m: int, dtype: str = "float64") -> np.ndarray:
    call = normal_rows.forms()[form]
    return call(NP, KEY, TAIL, first, count, m, "cpu", np.dtype(dtype))


def ulps(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in units of the last place of what is expected."""
    real = expected.real.dtype
    a, b = found.view(real), expected.view(real)
    return float((np.abs(a - b) / np.spacing(np.abs(b))).max(initial=0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("first", "m"), [(0, 8), (2**40, 5)])
def test_numbers_are_those_of_box_and_muller_from_the_words(form: str, first: int, m: int) -> None:
    mpmath = pytest.importorskip("mpmath")
    found = rows(form, first, 3, m)
    padded = -(-m // 4) * 4
    words = PhiloxTiles(11, stream=3).words(first * padded // 4, 3 * padded, 5, 6)
    words = words.reshape(3, padded)
    with mpmath.workdps(40):
        for r in range(3):
            for c in range(m):
                pair = words[r, c - c % 2 : c - c % 2 + 2]
                u = (mpmath.mpf(int(pair[0]) >> 11) + 0.5) / 2**53
                turn = 2 * mpmath.pi * mpmath.mpf(int(pair[1]) >> 11) / 2**53
                exact = mpmath.sqrt(-2 * mpmath.log(u)) * (mpmath.sin if c % 2 else mpmath.cos)(
                    turn
                )
                assert abs(found[r, c] - exact) <= 4 * np.spacing(abs(float(exact)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("first", "count", "m"), [(0, 1, 1), (7, 100, 512), (3, 1000, 21), (0, 2, 5001), (9, 5, 4)]
)
def test_forms_agree_to_a_few_units_in_the_last_place(
    dtype: str, first: int, count: int, m: int
) -> None:
    expected = rows("portable", first, count, m, dtype)
    for form in FORMS:
        found = rows(form, first, count, m, dtype)
        assert (found.shape, found.dtype) == ((count, m), np.dtype(dtype))
        assert ulps(found, expected) <= 8


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [3, 4, 600])
def test_rows_do_not_depend_on_the_range_that_is_asked_for(form: str, dtype: str, m: int) -> None:
    whole = rows(form, 100, 30, m, dtype)
    for cut in (1, 7, 16):
        parts = [rows(form, 100 + k, min(cut, 30 - k), m, dtype) for k in range(0, 30, cut)]
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("form", FORMS)
def test_single_precision_is_rounded_from_double(form: str) -> None:
    assert np.array_equal(rows(form, 2, 9, 30, "float32"), rows(form, 2, 9, 30).astype(np.float32))
    assert np.array_equal(
        rows(form, 2, 9, 30, "complex64"), rows(form, 2, 9, 30, "complex128").astype(np.complex64)
    )


@pytest.mark.parametrize("form", FORMS)
def test_complex_numbers_are_pairs_of_real_ones(form: str) -> None:
    pairs = rows(form, 4, 9, 14).reshape(9, 7, 2) * math.sqrt(0.5)
    z = rows(form, 4, 9, 7, "complex128")
    assert ulps(np.ascontiguousarray(z), pairs[..., 0] + 1j * pairs[..., 1]) <= 4


@pytest.mark.parametrize("form", FORMS)
def test_keys_tiles_streams_and_rows_differ(form: str) -> None:
    call = normal_rows.forms()[form]
    variants = [
        (key, tail, first)
        for key in ((1, 2), (2, 1), (1, 3))
        for tail in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
        for first in (0, 1)
    ]
    found = [call(NP, *variant, 1, 4, "cpu", np.dtype("float64")).ravel() for variant in variants]
    assert np.unique(np.concatenate(found)).size == 4 * len(variants)


@pytest.mark.parametrize("form", FORMS)
def test_largest_keys_tiles_and_counters(form: str) -> None:
    top = 2**64 - 1
    call = normal_rows.forms()[form]
    arguments = (top, top), (top, top, top), 2**62, 3, 4, "cpu", np.dtype("float64")
    found = call(NP, *arguments)
    assert np.isfinite(found).all()
    assert ulps(found, normal_rows.forms()["portable"](NP, *arguments)) <= 8


def test_counters_beyond_63_bits_take_the_portable_form() -> None:
    arguments = KEY, TAIL, 2**63 - 2, 3, 4, "cpu", np.dtype("float64")
    assert normal_rows.select(NP, *arguments) is normal_rows.forms()["portable"]
    assert np.isfinite(normal_rows(NP, *arguments)).all()


def test_extreme_words_give_finite_numbers() -> None:
    top = np.uint64(2**64 - 1)
    zero = np.uint64(0)
    found = box_muller(np.array([zero, zero, top, top, zero, top, top, zero], dtype=np.uint64))
    assert np.isfinite(found).all()
    assert abs(found[0] - math.sqrt(2 * 54 * math.log(2))) < 1e-14


@pytest.mark.parametrize("form", FORMS)
def test_the_law_is_normal_and_the_tests_have_power(form: str) -> None:
    """Exact laws at level 1e-6; each test must reject a slightly wrong law."""
    x = rows(form, 0, 400, 500).reshape(-1)
    n = x.size
    assert stats.kstest(x, "norm").pvalue > 1e-6
    assert stats.kstest(1.03 * x, "norm").pvalue < 1e-6
    assert stats.chi2.sf((x * x).sum(), n) > 1e-6
    assert stats.chi2.cdf((x * x).sum(), n) > 1e-6
    tail = int((np.abs(x) > 3).sum())
    assert stats.binomtest(tail, n, 2 * stats.norm.sf(3)).pvalue > 1e-6
    assert stats.binomtest(tail, n, 2 * stats.norm.sf(3.3)).pvalue < 1e-6
    # Sums and differences of what one pair of words makes are normal again if it is independent.
    a, b = x[0::2], x[1::2]
    for mixed in (a + b, a - b, a[1:] + b[:-1]):
        assert stats.kstest(mixed * math.sqrt(0.5), "norm").pvalue > 1e-6
    dependent = a + np.abs(b)
    assert stats.kstest(dependent * math.sqrt(0.5), "norm").pvalue < 1e-6
    # The angle is uniform and knows nothing of the radius.
    angle, radius = np.arctan2(b, a) / (2 * math.pi) + 0.5, np.exp(-(a * a + b * b) / 2)
    table = np.histogram2d(angle, radius, bins=8, range=[[0, 1], [0, 1]])[0].reshape(-1)
    assert stats.chisquare(table).pvalue > 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_complex_numbers_are_circular(form: str) -> None:
    z = rows(form, 0, 300, 300, "complex128").reshape(-1)
    assert stats.kstest(2 * np.abs(z) ** 2, stats.chi2(2).cdf).pvalue > 1e-6
    assert abs((z**2).mean()) < 5 / np.sqrt(z.size)
    assert abs((z.real**2).mean() - 0.5) < 5 * math.sqrt(0.5 / z.size)


def test_every_library_sees_the_same_numbers(xp: Any) -> None:
    for dtype in xp.dtypes:
        kind = getattr(xp.xp, dtype)
        found = normal_rows(xp.xp, KEY, TAIL, 3, 20, 7, xp.device, kind)
        assert found.dtype == kind
        assert core_array.device(found) == xp.device
        expected = rows(FORMS[-1], 3, 20, 7, dtype)
        if xp.name == "cupy":
            assert ulps(xp.to_numpy(found), expected) <= 8
        else:
            assert np.array_equal(xp.to_numpy(found), expected)


@pytest.mark.parametrize(("count", "m"), [(0, 4), (4, 0)])
def test_no_rows_and_no_columns(xp: Any, count: int, m: int) -> None:
    found = normal_rows(xp.xp, KEY, TAIL, 3, count, m, xp.device, xp.xp.float32)
    assert found.shape == (count, m)


def test_same_bits_from_every_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: rows(FORMS[-1], 9, 40, 333), range(12)))
    assert all(np.array_equal(run, runs[0]) for run in runs)


@pytest.mark.gpu
@pytest.mark.skipif(not _kernels.cupy_available(), reason="needs a device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_form_on_a_device(dtype: str) -> None:
    import cupy

    xp = core_array.array_namespace(cupy.ones(1))
    found = normal_rows.forms()["cupy"](xp, KEY, TAIL, 3, 500, 301, None, np.dtype(dtype))
    assert ulps(found.get(), rows("portable", 3, 500, 301, dtype)) <= 8
