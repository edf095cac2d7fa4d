"""Numbers and functions of fewer variables: contractions of a core with one row a mode.

Numbers are accumulated in float64 wherever the data lie, and their scale is taken out beforehand
as a power of two, so that nothing overflows on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from linalgkit._core.array import (
    Array,
    dtype_name,
    eps,
    is_complex,
    numpy_namespace,
    to_numpy,
    widest_float,
)
from linalgkit._core.modes import mode_products
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit.chebyshev._parts import Interval, Parts, orthonormal
from linalgkit.chebyshev._recompress import recompress

_HOST = numpy_namespace()

Number = float | complex


def contracted_core(parts: Parts, rows: Mapping[int, Array]) -> Array:
    """Return the core times a row (1, r_k) in each of some modes."""
    matrices = [rows.get(k) for k in range(parts.order)]
    return mode_products(parts.core, matrices, parts.xp)


def contracted(parts: Parts, rows: Mapping[int, Array]) -> Parts:
    """Return what remains when some modes, not all, are contracted with rows; ranks reduced."""
    core = contracted_core(parts, rows)
    kept = [k for k in range(parts.order) if k not in rows]
    core = parts.xp.reshape(core, tuple(int(core.shape[k]) for k in kept))
    factors = tuple(parts.factors[k] for k in kept)
    rest = orthonormal(Parts(core, factors, tuple(parts.intervals[k] for k in kept), parts.xp))
    rounding = eps(parts.xp, core.dtype) * norm_fro(rest.core, parts.xp)
    return recompress(rest, 2.0 * rounding)[0]


def for_numbers(parts: Parts) -> tuple[Parts, int]:
    """Return parts fit for sums in float64 and of order one, and the exponent taken from them."""
    xp = parts.xp
    if dtype_name(xp, widest_float(xp, parts.device)) != "float64":
        wide = _HOST.complex128 if is_complex(parts.core, xp) else _HOST.float64
        core, *factors = (_HOST.astype(to_numpy(A), wide) for A in (parts.core, *parts.factors))
        parts = Parts(core, tuple(factors), parts.intervals, _HOST)
    exponent = scale_exponent(max_abs(parts.core, parts.xp))
    core = ldexp(parts.core, -exponent, parts.xp)
    return Parts(core, parts.factors, parts.intervals, parts.xp), exponent


def half_volume(intervals: Sequence[Interval]) -> tuple[float, int]:
    """Return the product of the half lengths as mantissa and exponent, which cannot overflow."""
    mantissa, exponent = 1.0, 0
    for a, b in intervals:
        mantissa, shift = math.frexp(mantissa * math.frexp(0.5 * b - 0.5 * a)[0])
        exponent += shift + math.frexp(0.5 * b - 0.5 * a)[1]
    return mantissa, exponent


def python_number(value: Array, parts: Parts) -> Number:
    """Return a 0-d array as a float, or as a complex number where the function is complex."""
    return complex(value) if is_complex(parts.core, parts.xp) else float(value)


def scaled_number(value: Number, exponent: int) -> Number:
    """Return a number times a power of two."""
    if isinstance(value, complex):
        return complex(ldexp_float(value.real, exponent), ldexp_float(value.imag, exponent))
    return ldexp_float(value, exponent)
