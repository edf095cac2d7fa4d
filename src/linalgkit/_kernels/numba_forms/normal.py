"""Philox and the method of Box and Muller, a few hundred numbers at a time in cache.

Numba has no vectorised logarithm, sine or cosine here: they are polynomials, whose coefficients
are minimax fits (Remez in 60 digits, relative error below 5e-18), on arguments reduced so far
that one polynomial is enough. Loops without branches on short arrays are vectorised.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from linalgkit._core.array import Array, Device, DType, Namespace
from linalgkit._kernels.normal import blocks_per_row
from linalgkit._kernels.numba_forms.jit import inline, jit
from linalgkit._kernels.numba_forms.layout import REAL

_U, _U64 = np.uintp, np.uint64
_CHUNK = 256  # blocks of four words

# Philox4x64-10: multipliers of a round, increments of the key.
_M0, _M1 = _U64(0xD2E7470EE14C6C93), _U64(0xCA5A826395121157)
_W0, _W1 = _U64(0x9E3779B97F4A7C15), _U64(0xBB67AE8584CAA73B)

# Double precision: mantissa, and what centres it on [sqrt(1/2), sqrt(2)).
_MANTISSA, _ONE, _CENTRED = 0xFFFFFFFFFFFFF, 0x3FF0000000000000, 0x3FE6A09E667F3BCD
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # the first is short


def _typed_product(context: Any, a: Any, b: Any) -> Any:
    """Return the upper and the lower half of the 128 bits of a product, one instruction."""
    types: Any = numba.types
    word, pair = types.uint64, types.UniTuple(types.uint64, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, narrow = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(x, wide) for x in args))
        upper = builder.trunc(builder.lshr(product, wide(64)), narrow)
        return context.make_tuple(builder, pair, (upper, builder.trunc(product, narrow)))

    return pair(word, word), codegen


_product: Any = intrinsic(_typed_product)


def _reinterpret(source: Any, target: Any) -> Any:
    def typed(context: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), codegen

    return intrinsic(typed)


_bits_of = _reinterpret(numba.types.float64, numba.types.int64)
_float_of = _reinterpret(numba.types.int64, numba.types.float64)


@inline
def _philox(block: Any, i: Any, j: Any, stream: Any, key0: Any, key1: Any) -> Any:
    """Return the four words of a block; NumPy counts before it computes."""
    x0, x1, x2, x3 = block + _U64(1), i, j, stream
    if x0 == _U64(0):
        x1 += _U64(1)
    for _ in range(10):
        high0, low0 = _product(_M0, x0)
        high1, low1 = _product(_M1, x2)
        x0, x1, x2, x3 = high1 ^ x1 ^ key0, low1, high0 ^ x3 ^ key1, low0
        key0 += _W0
        key1 += _W1
    return x0, x1, x2, x3


@inline
def _minus_two_log(k: Any) -> Any:
    """Return ``-2 log((k + 1/2) / 2^53)`` of an integer below 2^53."""
    bits = _bits_of((np.float64(k) + 0.5) * 2.0**-53) - _CENTRED + _ONE
    exponent = np.float64((bits >> 52) - 1023)
    f = _float_of((bits & _MANTISSA) + _CENTRED) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 0.15331596980240872 + z * 0.14617872803129472
    p = 0.22222211072894535 + z * (0.18182893216800716 + z * p)
    p = 0.39999999999898445 + z * (0.28571428626398654 + z * p)
    p = z * (0.666666666666667 + z * p)
    # log(1 + f) = 2 atanh(s) = f - s (f - p)
    return -2.0 * (exponent * _LN2_HIGH + (f - (s * (f - p) - exponent * _LN2_LOW)))


@inline
def _cos_sin(k: Any) -> Any:
    """Return cosine and sine of ``k / 2^53`` turns."""
    quarter = (k + (1 << 50)) >> 51
    y = np.float64(k - (quarter << 51)) * 2.0**-51
    z = y * y
    p = -3.5986433882446756e-06 + z * 5.633938483009824e-08
    p = -0.004681754132342262 + z * (0.0001604411507521089 + z * p)
    p = -0.6459640975062443 + z * (0.07969262624604308 + z * p)
    sine = y * (1.5707963267948966 + z * p)
    q = -4.7106784363023334e-07 + z * 6.3294004511092924e-09
    q = -0.0009192602745469569 + z * (2.520203902889538e-05 + z * q)
    q = -0.2536695079010478 + z * (0.02086348076334078 + z * q)
    cosine = 1.0 - z * (1.2337005501361697 + z * q)
    odd = (quarter & 1) == 1
    a = sine if odd else cosine
    b = cosine if odd else sine
    return (-a if (quarter + 1) & 2 else a), (-b if quarter & 2 else b)


@jit
def _normal(
    key0: Any, key1: Any, i: Any, j: Any, stream: Any, block: Any, row_words: int, unit: float,
    m: int, result: Any,
) -> None:  # fmt: skip
    """Fill rows of `m` numbers, each from `row_words` words, the first from `block` on."""
    left, right = np.empty(2 * _CHUNK, np.int64), np.empty(2 * _CHUNK, np.int64)
    numbers = np.empty(4 * _CHUNK)
    blocks = result.size // m * (row_words // 4)
    target = column = 0
    for start in range(0, blocks, _CHUNK):
        count = min(_CHUNK, blocks - start)
        for b in range(count):
            words = _philox(block + _U64(start + b), i, j, stream, key0, key1)
            left[2 * b], right[2 * b] = words[0] >> _U64(11), words[1] >> _U64(11)
            left[2 * b + 1], right[2 * b + 1] = words[2] >> _U64(11), words[3] >> _U64(11)
        for k in range(2 * _CHUNK):
            radius = unit * math.sqrt(_minus_two_log(left[k]))
            cosine, sine = _cos_sin(right[k])
            numbers[2 * k] = radius * cosine
            numbers[2 * k + 1] = radius * sine
        done = 0
        while done < 4 * count:
            taken = min(4 * count - done, row_words - column)
            kept = max(0, min(taken, m - column))
            for c in range(_U(kept)):
                result[_U(target) + c] = numbers[_U(done) + c]
            done, target, column = done + taken, target + kept, (column + taken) % row_words


def normal_rows(
    xp: Namespace,
    key: tuple[int, int],
    tail: tuple[int, int, int],
    first: int,
    rows: int,
    m: int,
    device: Device,
    dtype: DType,
) -> Array:
    """Return rows of a Gaussian matrix."""
    kind = np.dtype(dtype)
    is_complex = kind.kind == "c"
    result = np.empty((rows, m), dtype=kind)
    if result.size == 0:
        return result
    blocks = blocks_per_row(m, is_complex=is_complex)
    words = (_U64(word) for word in (*key, *tail, first * blocks))
    unit = math.sqrt(0.5) if is_complex else 1.0
    flat = result.view(REAL[kind.char]).reshape(-1)
    width = flat.size // rows
    # Where no word is left over, all rows are one.
    row_words, width = (flat.size, flat.size) if width == 4 * blocks else (4 * blocks, width)
    _normal(*words, row_words, unit, width, flat)
    return result
