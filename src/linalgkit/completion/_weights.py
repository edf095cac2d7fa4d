"""Weights of observed entries, given in the form of the data.

::

    weights, exponent = read_weights(weights, source)     # in the order of the entries
"""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import (
    Array,
    array_namespace,
    asarray,
    dtype_from_name,
    dtype_name,
    is_complex,
    is_sparse,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.array import device as device_of
from linalgkit._core.estimator import as_array
from linalgkit._core.scaling import ldexp, max_abs
from linalgkit.completion import _compressed
from linalgkit.completion._sources import (
    Source,
    check_library,
    exponent_of,
    from_sparse,
    gathered,
    take,
)
from linalgkit.completion._triples import checked_dtype

_HOST = numpy_namespace()


def read_weights(weights: Any, source: Source) -> tuple[Array, int]:
    """Return one weight for each entry of `source`, and the exponent they were scaled by.

    They are real, finite and not negative, in the order of the entries, in the precision and on
    the device of the values, and ``2**-exponent`` times those of the caller.
    """
    found = (_of_sparse if source.kind == "sparse" else _of_dense)(weights, source)
    xp, name = array_namespace(found), dtype_name(source.xp, source.values.dtype)
    _check_values(found, xp, source)
    dtype = real_dtype(xp, dtype_from_name(xp, name))
    exponent = exponent_of(found, xp, dtype, max_abs(found, xp))
    found = xp.astype(ldexp(found, -exponent, xp), dtype, copy=False)
    if xp is _HOST and source.xp is not _HOST:
        found = asarray(found, xp=source.xp, device=source.device, copy=False)
    return found, exponent


def _check_real(weights: Array, xp: Any) -> None:
    """Refuse complex weights."""
    if is_complex(weights, xp):
        raise TypeError(
            f"weights must be real, got {dtype_name(xp, weights.dtype)}. They multiply squared "
            "moduli: pass abs(weights)."
        )


# ---------------------------------------------------------------------------------- sparse


def _of_sparse(weights: Any, source: Source) -> Array:
    """Return the numbers that a sparse matrix stores at the observed entries."""
    if not is_sparse(weights):
        raise TypeError(
            f"weights must be a sparse matrix as A is, got {type(weights).__name__}. "
            "Store the weight of each stored entry of A."
        )
    if tuple(weights.shape) != source.shape:
        raise ValueError(
            f"weights must have the shape {source.shape} of A, got {tuple(weights.shape)}."
        )
    given = from_sparse(weights, "weights")
    _check_library(given.xp, given.device, source)
    _check_real(given.values, given.xp)
    places = _matched(given, source)
    return given.values if places is None else take(given.values, places, given.xp, given.device)


def _matched(given: Source, source: Source) -> Array | None:
    """Return the place in `given` of each entry of `source`; None where the patterns are one."""
    if given.transposed == source.transposed and all(
        _HOST.array_equal(a, b)
        for a, b in ((given.indptr, source.indptr), (given.indices, source.indices))
    ):
        return None
    wanted, theirs = keys(source, given.transposed), keys(given, given.transposed)
    places = _HOST.minimum(_HOST.searchsorted(theirs, wanted), max(theirs.shape[0] - 1, 0))
    absent = theirs[places] != wanted if theirs.shape[0] else _HOST.ones_like(wanted, dtype=bool)
    if absent.any():
        place = source.place(int(_HOST.argmax(absent)))
        raise ValueError(
            f"weights must be given for every observed entry, got none at (row, column) = {place}. "
            "Store 0 there to leave the entry out."
        )
    return places


def keys(source: Source, transposed: bool = False) -> Array:
    """Return the flat place of each entry in the matrix or in its transpose, (N,) of int64."""
    lines, others = _compressed.repeated_rows(source.indptr), source.indices
    rows, columns = (others, lines) if source.transposed else (lines, others)
    m, n = source.shape
    return columns * _HOST.int64(m) + rows if transposed else rows * _HOST.int64(n) + columns


# ----------------------------------------------------------------------------------- dense


def _of_dense(weights: Any, source: Source) -> Array:
    """Return the numbers of a matrix, or of a vector beside triples, at the observed entries."""
    if is_sparse(weights):
        raise TypeError(
            f"weights must be a dense array for {source.kind} data, got the sparse "
            f"{type(weights).__name__}. Pass a sparse A, or the weights as A is passed."
        )
    weights = as_array(weights, "weights")
    try:
        xp = array_namespace(weights)
    except TypeError as error:
        raise TypeError(f"weights: {error}") from None
    where = device_of(weights)
    _check_library(xp, where, source)
    dtype = checked_dtype("weights", weights, xp, where)
    _check_real(weights, xp)
    shape = (source.n_given,) if source.order is not None else source.shape
    if tuple(weights.shape) != shape:
        kind = "(one for each triple, in their order)" if len(shape) == 1 else "of A"
        raise ValueError(f"weights must have the shape {shape} {kind}, got {tuple(weights.shape)}.")
    if source.order is not None:
        return take(xp.astype(weights, dtype, copy=False), source.order, xp, where)
    return gathered(xp.astype(weights, dtype, copy=False), keys(source), xp)


def _check_library(xp: Any, where: Any, source: Source) -> None:
    """Let weights be of NumPy, or of the library and on the device of the data."""
    check_library("weights", xp, where, source.xp, source.device)


def _check_values(weights: Array, xp: Any, source: Source) -> None:
    """Refuse weights that are negative, infinite or NaN, and name the first."""
    low, high = float(xp.min(weights)), float(xp.max(weights))
    if low >= 0 and high < float("inf"):
        return
    host = to_numpy(weights)
    entry = int(_HOST.argmax(~((host >= 0) & (host < float("inf")))))
    found = float(host[entry])
    word = "negative weights are none" if found < 0 else "infinite ones and NaN are none"
    raise ValueError(
        f"weights must be finite and at least 0 ({word}), got {found} at (row, column) = "
        f"{source.place(entry)}. A weight of 0 leaves an entry out."
    )
