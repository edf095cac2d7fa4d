"""Rows that were not fitted: their factors by least squares against the columns' factor.

::

    codes = regressed(result, observe(X_new))        # (r, k), or (r, k + 1) with biases
    rows = restored(result, codes)                   # (r, n)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    is_complex,
    numpy_namespace,
    real_dtype,
    widest_float,
)
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent, silent
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._factors import constant_column
from linalgkit.completion._observed import Observed, observe
from linalgkit.completion._sources import read

if TYPE_CHECKING:
    from linalgkit.completion._result import CompletionResult

_HOST = numpy_namespace()


def observed_as(name: str, X: Any, n_threads: int = 1, **options: Any) -> Observed:
    """Read the data of an estimator; messages speak of `name`."""
    try:
        return observe(X, n_threads=n_threads, **options)
    except (TypeError, ValueError) as error:
        text = re.sub(r"(^|(?:of|sparse|dense|as) )A\b", rf"\g<1>{name}", str(error))
        raise type(error)(text) from None


def is_empty(X: Any, mask: Any = None) -> bool:
    """Tell whether dense data have no observed entry."""
    return int(read(X, mask).indices.shape[0]) == 0


def width(result: CompletionResult) -> int:
    """Return how many numbers describe a row."""
    return result.rank + (result.row_bias is not None)


def regressed(result: CompletionResult, data: Observed) -> Array:
    """Return the factors of new rows, (r, k), the row's bias beside them where there is one.

    Parameters
    ----------
    result : CompletionResult
        What was fitted.
    data : Observed
        Entries of rows of the same columns, in the library of the result.
    """
    xp, k = result._xp, result.rank
    dtype = xp.result_type(result.V.dtype, data.dtype)
    if width(result) == 0:
        return xp.zeros((data.shape[0], 0), dtype=dtype, device=data.device)
    F = xp.astype(result.V, dtype, copy=False)
    F = xp.conj(F) if is_complex(F, xp) else F
    power = scale_exponent(max_abs(F, xp))
    F = ldexp(F, -power, xp)
    ridge, load = _scaled_ridges(result, power, data.weight_exponent)
    kind = widest_float(xp, data.device)
    ridge, load = (asarray(x, xp=xp, device=data.device, dtype=kind) for x in (ridge, load))
    if result.row_bias is not None:
        F = xp.concat([F, constant_column(F, 1.0, xp)], axis=1)
    weights = data.row_weights
    if weights is not None:
        weights = xp.astype(weights, real_dtype(xp, dtype), copy=False)
    y = xp.astype(data.row_values, dtype, copy=False)
    shift = _shift(result, data, dtype, xp)
    X = direct_rows(xp, data.rows, y, weights, F, shift, ridge, load)
    codes = ldexp(X[:, :k], data.exponent - power, xp)
    if result.row_bias is None:
        return codes
    return xp.concat([codes, ldexp(X[:, k:], data.exponent, xp)], axis=1)


def _scaled_ridges(result: CompletionResult, power: int, exponent: int) -> tuple[Array, Array]:
    """Return the ridges in the units of scaled factors and weights."""
    powers = _HOST.full(width(result), -2 * power, dtype=_HOST.int64)
    powers[result.rank :] = 0
    with silent():
        return (
            _HOST.ldexp(result._ridges()[0], powers - exponent),
            _HOST.ldexp(result._loads()[0], powers),
        )


def _shift(result: CompletionResult, data: Observed, dtype: Any, xp: Namespace) -> Array | None:
    """Return what is known of each column, in the units of the data."""
    if result.col_bias is not None:
        shift = xp.astype(result.col_bias, dtype, copy=False) + result.mean
    elif result.mean:
        shift = xp.full((result.shape[1],), result.mean, dtype=dtype, device=data.device)
    else:
        return None
    return ldexp(shift, -data.exponent, xp)


def restored(result: CompletionResult, codes: Array) -> Array:
    """Return the rows that factors (r, k), or (r, k + 1) with biases, stand for."""
    xp, k = result._xp, result.rank
    V = xp.conj(result.V) if is_complex(result.V, xp) else result.V
    dtype = xp.result_type(codes.dtype, V.dtype)
    rows = xp.astype(codes[:, :k], dtype, copy=False) @ xp.matrix_transpose(
        xp.astype(V, dtype, copy=False)
    )
    if result.col_bias is not None:
        rows = rows + codes[:, k:] + result.col_bias[None, :]
    rows = rows + result.mean if result.mean else rows
    return xp.astype(rows, dtype, copy=False)


def empty_codes(result: CompletionResult, count: int) -> Array:
    """Return the codes of rows of which nothing was observed."""
    V = result.V
    return result._xp.zeros((count, width(result)), dtype=V.dtype, device=device(V))
