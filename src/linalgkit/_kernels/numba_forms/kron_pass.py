"""Sums over rotated data, a few hundred variances at a time: these stay in the first cache.

A piece is as many whole rows as fit, or a part of one; in memory it is one run of numbers. Three
loops go over it: its variances row by row; reciprocals and data as one run; the sums that belong
to eigenvalues, row by row again. Complex numbers and snapshots are consecutive reals.

Logarithms: exponents are added as integers, mantissas, centred on one, multiplied, so that one
logarithm serves about a thousand variances. Sums are added up in blocks, which keeps the number of
additions behind a result small.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import inline, jit, read_only
from linalgkit._kernels.numba_forms.layout import REAL
from linalgkit._kernels.numba_forms.normal import _CENTRED, _MANTISSA, _ONE, _bits_of, _float_of

_U, _U64 = np.uintp, np.uint64
_PIECE = 512  # variances
_FACTORS = 1024  # mantissas in a product, at most so many and a piece: above 2^-768, below 2^768
_ROWS = 64


@inline
def _variances(
    scale: Any, inner: Any, start: Any, noise: Any, D: Any, place: Any, count: Any
) -> None:
    """Write a run of one row."""
    for j in range(count):
        D[place + j] = scale * inner[start + j] + noise


@inline
def _reciprocals(D: Any, r: Any, count: Any) -> Any:
    """Fill `r`; return its sum, the product of the mantissas of `D`, the sum of its exponents."""
    total, product, exponents = 0.0, 1.0, _U64(0)
    for j in range(count):
        quotient = 1.0 / D[j]
        r[j] = quotient
        total += quotient
        bits = _bits_of(D[j]) - _CENTRED + _ONE
        exponents += _U64(bits) >> _U64(52)
        product *= _float_of((bits & _MANTISSA) + _CENTRED)
    return total, product, exponents


@inline
def _by_eigenvalue(
    scale: Any, inner: Any, start: Any, r: Any, place: Any, count: Any, by_inner: Any
) -> Any:
    """Add a run of one row to `by_inner`; return its sum with the eigenvalues as weights."""
    total = 0.0
    for j in range(count):
        quotient = r[place + j]
        by_inner[start + j] += scale * quotient
        total += inner[start + j] * quotient
    return total


@inline
def _quotients(flat: Any, place: Any, r: Any, count: Any) -> Any:
    """Return the sums of ``z^2 r`` and ``(z r)^2``."""
    first = second = 0.0
    for k in range(count):
        z = np.float64(flat[place + k])
        t = z * r[k]
        first += z * t
        second += t * t
    return first, second


@inline
def _quotients_of_pairs(flat: Any, place: Any, r: Any, count: Any) -> Any:
    """Return the same sums where two numbers belong to each of `r`."""
    first = second = 0.0
    for k in range(count):
        at = place + _U(2) * k
        x, y = np.float64(flat[at]), np.float64(flat[at + _U(1)])
        t, u = x * r[k], y * r[k]
        first += x * t + y * u
        second += t * t + u * u
    return first, second


@inline
def _quotients_of_runs(flat: Any, place: Any, r: Any, count: Any, width: Any) -> Any:
    """Return the same sums where `width` numbers belong to each of `r`."""
    first = second = 0.0
    for k in range(count):
        factor, at, by, twice = r[k], place + k * width, 0.0, 0.0
        for c in range(width):
            z = np.float64(flat[at + c])
            t = z * factor
            by += z * t
            twice += t * t
        first += by
        second += twice
    return first, second


@inline
def _sums_of_data(flat: Any, place: Any, r: Any, count: Any, width: Any) -> Any:
    """Return the sums of the loop that is quickest for `width`."""
    if width == _U(1):
        return _quotients(flat, place, r, count)
    if width == _U(2):
        return _quotients_of_pairs(flat, place, r, count)
    return _quotients_of_runs(flat, place, r, count, width)


@inline
def _piece_of(m: Any) -> Any:
    """Return how many rows, and how many columns, a piece has at most."""
    return max(1, _PIECE // m), min(m, _PIECE)


@jit
def _sum_up(
    flat: Any, outer: Any, inner: Any, noise: float, width: int, sums: Any, by_inner: Any,
    by_outer: Any,
) -> None:  # fmt: skip
    """Fill the sums, which are zero; `width` reals of `flat` belong to a variance."""
    n, m, w = outer.size, inner.size, _U(width)
    rows, columns = _piece_of(m)
    D, r = np.empty(rows * columns), np.empty(rows * columns)
    of_block, part = np.zeros(m), np.zeros(3)
    product, logarithm, exponents, factors, block = 1.0, 0.0, np.int64(0), 0, 0
    for top in range(0, n, rows):
        bottom = min(n, top + rows)
        for start in range(0, m, columns):
            run = _U(min(columns, m - start))
            for o in range(top, bottom):
                place = _U(o - top) * run
                _variances(outer[o], inner, _U(start), noise, D, place, run)
            count = (bottom - top) * min(columns, m - start)
            total, mantissas, powers = _reciprocals(D, r, _U(count))
            first, second = _sums_of_data(flat, _U(top * m + start) * w, r, _U(count), w)
            part[0] += first
            part[1] += second
            part[2] += total
            exponents += np.int64(powers)
            product *= mantissas
            factors += count
            if factors >= _FACTORS:
                logarithm += math.log(product)
                product, factors = 1.0, 0
            for o in range(top, bottom):
                place = _U(o - top) * run
                by_outer[o] += _by_eigenvalue(outer[o], inner, _U(start), r, place, run, of_block)
        block += rows
        if block >= _ROWS or bottom == n:
            by_inner += of_block
            sums[1:] += part
            of_block[:], part[:], block = 0.0, 0.0, 0
    exponents -= 1023 * n * m
    sums[0] = exponents * math.log(2.0) + (logarithm + math.log(product))


@inline
def _weights(
    a: Any, scale: Any, noise: Any, inner: Any, right: Any, start: Any, r: Any, place: Any,
    count: Any,
) -> None:  # fmt: skip
    """Write the weights of a run of one row."""
    for j in range(count):
        r[place + j] = a * right[start + j] / (scale * inner[start + j] + noise)


@inline
def _multiply(flat: Any, place: Any, r: Any, count: Any, width: Any, result: Any) -> None:
    """Write a run of numbers times their weights."""
    if width == _U(1):
        for k in range(count):
            result[place + k] = flat[place + k] * r[k]
    elif width == _U(2):
        for k in range(count):
            at = place + _U(2) * k
            result[at] = flat[at] * r[k]
            result[at + _U(1)] = flat[at + _U(1)] * r[k]
    else:
        for k in range(count):
            at, factor = place + k * width, r[k]
            for c in range(width):
                result[at + c] = flat[at + c] * factor


@jit
def _weight(
    flat: Any, outer: Any, inner: Any, noise: float, left: Any, right: Any, width: int, result: Any
) -> None:
    """Fill `result` with weighted data."""
    n, m, w = outer.size, inner.size, _U(width)
    rows, columns = _piece_of(m)
    r = np.empty(rows * columns)
    for top in range(0, n, rows):
        bottom = min(n, top + rows)
        for start in range(0, m, columns):
            run = _U(min(columns, m - start))
            for o in range(top, bottom):
                place = _U(o - top) * run
                _weights(left[o], outer[o], noise, inner, right, _U(start), r, place, run)
            _multiply(flat, _U(top * m + start) * w, r, _U(bottom - top) * run, w, result)


def _reals(Z: Array) -> tuple[Array, int]:
    """Return the numbers of `Z` in one row of reals, and how many belong to a variance."""
    flat = np.ascontiguousarray(Z).reshape(-1).view(REAL[Z.dtype.char])
    return read_only(flat), Z.shape[2] * (2 if Z.dtype.kind == "c" else 1)


def kron_pass(
    xp: Namespace, Z: Array, outer: Array, inner: Array, noise: float
) -> tuple[Array, Array, Array]:
    """Return the sums, one of them for each eigenvalue of the last mode and of the others."""
    flat, width = _reals(Z)
    sums, by_inner, by_outer = (np.zeros(size) for size in (4, inner.size, outer.size))
    values = (read_only(np.ascontiguousarray(x)) for x in (outer, inner))
    _sum_up(flat, *values, float(noise), width, sums, by_inner, by_outer)
    return sums, by_inner, by_outer


def kron_weighted(
    xp: Namespace,
    Z: Array,
    outer: Array,
    inner: Array,
    noise: float,
    left: Array,
    right: Array,
) -> Array:
    """Return the weighted tensor."""
    flat, width = _reals(Z)
    result = np.empty(Z.shape, dtype=Z.dtype)
    outer, inner, left, right = (
        read_only(np.ascontiguousarray(x)) for x in (outer, inner, left, right)
    )
    _weight(
        flat, outer, inner, float(noise), left, right, width, result.reshape(-1).view(flat.dtype)
    )
    return result
