"""The largest predicted values of rows.

::

    indices, values = largest(result, rows, k, "observed")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    asarray,
    dtype_name,
    index_dtype,
    is_complex,
    is_sparse,
    namespace_of,
    numpy_namespace,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_int
from linalgkit.completion import _compressed
from linalgkit.completion._held_out import _stored_places
from linalgkit.completion._places import lines, pairs
from linalgkit.completion._sources import checked_mask

if TYPE_CHECKING:
    from linalgkit.completion._result import CompletionResult

_HOST = numpy_namespace()
_NUMBERS = 2**22  # of a chunk of predicted rows

#: Returns row numbers (within the rows asked for) and columns of what is left out of them.
Excluded = Callable[[Array], tuple[Array, Array]]


def largest(
    result: CompletionResult, rows: Any, k: int, exclude: Any = None
) -> tuple[Array, Array]:
    """Return columns and values of the `k` largest predictions of each row, see the result."""
    U, (m, n) = result.U, result.shape
    xp, where = namespace_of(U)
    if is_complex(U, xp):
        raise TypeError(
            "top_k needs real predictions, which have an order, got complex ones. Sort by what "
            "is meant, for instance abs(result.block(rows))."
        )
    k = check_int("k", k, 1, n, f"for a matrix of shape {(m, n)}")
    chosen = lines("rows", rows, m, (m, n))
    excluded = _excluded(result, exclude)
    step = max(1, _NUMBERS // n)
    found, values = [], []
    for start in range(0, chosen.shape[0], step):
        some = chosen[start : start + step]
        scores = _without(result.block(some), excluded(some), xp)
        index, top = (_host_top if xp is _HOST else _top)(scores, k, xp)
        found.append(index)
        values.append(top)
    if not found:
        empty = xp.zeros((0, k), dtype=U.dtype, device=where)
        return xp.astype(empty, index_dtype(xp)), empty
    return (found[0], values[0]) if len(found) == 1 else (xp.concat(found), xp.concat(values))


def _without(scores: Array, places: tuple[Array, Array], xp: Namespace) -> Array:
    """Return scores that are minus infinity at some places."""
    r, j = places
    if r.shape[0] == 0:
        return scores
    if xp is _HOST:
        scores[r, j] = -_HOST.inf
        return scores
    _, where = namespace_of(scores)
    mask = _HOST.zeros(tuple(scores.shape), dtype=_HOST.bool)
    mask[r, j] = True
    low = xp.full((), -float("inf"), dtype=scores.dtype, device=where)
    return xp.where(asarray(mask, xp=xp, device=where), low, scores)


def _host_top(scores: Array, k: int, xp: Namespace) -> tuple[Array, Array]:
    """Return the top of each row by one partition; equal values in the order of the columns."""
    falling = -scores
    count = falling.shape[0]
    limit = _HOST.partition(falling, k - 1, axis=1)[:, k - 1 : k]
    rows, columns = _HOST.nonzero(falling <= limit)  # at least k of each row
    order = _HOST.lexsort((columns, falling[rows, columns], rows))
    starts = _HOST.searchsorted(rows, _HOST.arange(count))  # sorting by rows moves none of these
    picked = order[starts[:, None] + _HOST.arange(k)[None, :]]
    index = columns[picked]
    values = _HOST.take_along_axis(scores, index, axis=1)
    index[values == -_HOST.inf] = -1
    return index.astype(index_dtype(xp), copy=False), values


def _top(scores: Array, k: int, xp: Namespace) -> tuple[Array, Array]:
    """Return the top of each row by a stable sort."""
    order = xp.argsort(-scores, axis=1, stable=True)[:, :k]
    values = xp.take_along_axis(scores, order, axis=1)
    index = xp.astype(order, index_dtype(xp), copy=False)
    return xp.where(values == -float("inf"), -xp.ones_like(index), index), values


# ------------------------------------------------------------------------------ what is left out


def _excluded(result: CompletionResult, exclude: Any) -> Excluded:
    """Return what tells the places that are left out of some rows."""
    m, n = result.shape
    if exclude is None:
        return _nothing
    if isinstance(exclude, str):
        if exclude != "observed":
            raise ValueError(
                f"exclude must be None, 'observed', a sparse matrix, a boolean array or a pair "
                f"(rows, cols), got {exclude!r}."
            )
        return _stored(*result.pattern().csr())
    if is_sparse(exclude):
        if tuple(exclude.shape) != (m, n):
            raise ValueError(
                f"exclude must have the shape {(m, n)} of the matrix, got {tuple(exclude.shape)}."
            )
        return _of_pairs(*_stored_places(exclude), (m, n))
    if isinstance(exclude, tuple):
        if len(exclude) != 2:
            raise ValueError(f"exclude must be a pair (rows, cols), got {len(exclude)} items.")
        i, j = pairs(*exclude, (m, n))
        return _of_pairs(i.reshape(-1), j.reshape(-1), (m, n))
    mask = _mask(exclude, (m, n))
    return lambda rows: _HOST.nonzero(mask[rows, :])


def _mask(exclude: Any, shape: tuple[int, int]) -> Array:
    """Return a boolean array on the host; what looks like a pair is told to be a tuple."""
    exclude = as_array(exclude, "exclude")
    try:
        xp = array_namespace(exclude)
    except TypeError as error:
        raise TypeError(f"exclude: {error}") from None
    if not xp.isdtype(exclude.dtype, "bool"):
        raise TypeError(
            "exclude must be boolean (True: left out), a sparse matrix, 'observed', or a pair of "
            f"indices as the tuple (rows, cols), got dtype {dtype_name(xp, exclude.dtype)}."
        )
    return checked_mask("exclude", exclude, shape)


def _nothing(rows: Array) -> tuple[Array, Array]:
    none = _HOST.zeros(0, dtype=_HOST.int64)
    return none, none


def _of_pairs(rows: Array, columns: Array, shape: tuple[int, int]) -> Excluded:
    """Sort pairs by rows; repeated ones do no harm."""
    order = _HOST.argsort(rows, stable=True)
    counts = _HOST.bincount(rows, minlength=shape[0])
    return _stored(_compressed.row_starts(counts), columns[order])


def _stored(indptr: Array, indices: Array) -> Excluded:
    """Read the places from compressed rows."""

    def places(rows: Array) -> tuple[Array, Array]:
        starts, lengths = indptr[rows], indptr[rows + 1] - indptr[rows]
        own = _HOST.repeat(_HOST.arange(rows.shape[0]), lengths)
        first = _HOST.repeat(starts - _compressed.row_starts(lengths)[:-1], lengths)
        return own, indices[first + _HOST.arange(own.shape[0])]

    return places
