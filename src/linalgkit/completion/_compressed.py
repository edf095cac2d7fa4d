"""Compressed patterns on the host: sorted, without duplicates, explicit zeros kept.

SciPy's own conversions sum duplicates and drop the zeros of diagonals; none of that may happen to
observed entries. Everything here is a ``csr_array`` of our own that shares the caller's memory::

    csr, transposed = compressed(A)      # any format; a CSC matrix is read as its transpose
    csr = canonical(csr, transposed)     # sorted; duplicates are an error
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scipy import sparse

from linalgkit._core.array import Array, numpy_namespace

_HOST = numpy_namespace()
_INT32_MAX = 2**31 - 1
_CHUNK = 2**16  # entries that are looked at together


def from_coordinates(rows: Array, columns: Array, data: Array, shape: tuple[int, int]) -> Any:
    """Return the entries as a CSR array; duplicates stay, zeros stay, columns are unsorted."""
    places = narrow(rows, shape[0]), narrow(columns, shape[1])
    coo = sparse.coo_array((data, places), shape=shape)
    coo.has_canonical_format = True  # else SciPy would sum the duplicates, which must be found
    return coo.tocsr()


def csr_form(data: Array, indices: Array, indptr: Array, shape: tuple[int, int]) -> Any:
    """Return a CSR array of these parts, shared, but for integers wider than they need be."""
    indices, indptr = narrow(indices, shape[1]), narrow(indptr, int(indptr[-1]) + 1)
    return sparse.csr_array((data, indices, indptr), shape=shape)


def compressed(A: Any, name: str = "A") -> tuple[Any, bool]:
    """Return the stored entries of a scipy.sparse container as CSR, and whether transposed.

    The caller's object is not changed, not even its flags. A CSC matrix is read as the CSR form of
    its transpose, which shares its memory.
    """
    if A.format in ("csr", "csc"):
        transposed = A.format == "csc"
        shape = (A.shape[1], A.shape[0]) if transposed else (A.shape[0], A.shape[1])
        stop = int(A.indptr[-1])
        indices = A.indices[:stop]
        _check_compressed(name, A, indices, shape[1])
        return csr_form(A.data[:stop], indices, A.indptr, shape), transposed
    if A.format == "dia":
        return _from_diagonals(A), False
    coo = A.tocoo()
    return from_coordinates(coo.row, coo.col, coo.data, tuple(A.shape)), False


def _check_compressed(name: str, A: Any, indices: Array, size: int) -> None:
    """Refuse indices by which SciPy's compiled code would read and write memory, unchecked."""
    low, high = (int(indices.min()), int(indices.max())) if indices.shape[0] else (0, -1)
    if low < 0 or high >= size:
        found, word = (low, "negative") if low < 0 else (high, "out of range")
        raise ValueError(
            f"the indices of {name} must be between 0 and {size - 1} for a matrix in "
            f"{A.format.upper()} form of shape {tuple(A.shape)}, got the index {found}, which is "
            f"{word}."
        )
    if bool((_HOST.diff(A.indptr) < 0).any()):
        raise ValueError(
            f"{name}.indptr must not decrease. Build the matrix anew from its entries."
        )


def _from_diagonals(A: Any) -> Any:
    """Return every stored number of a DIA matrix that lies inside it, zeros included."""
    m, n = A.shape
    columns = _HOST.arange(min(A.data.shape[1], n), dtype=_HOST.int64)[None, :]
    rows = columns - _HOST.asarray(A.offsets, dtype=_HOST.int64)[:, None]
    inside = (rows >= 0) & (rows < m)
    columns = _HOST.broadcast_to(columns, rows.shape)
    return from_coordinates(
        rows[inside], columns[inside], A.data[:, : rows.shape[1]][inside], (m, n)
    )


def canonical(csr: Any, transposed: bool = False, name: str = "A") -> Any:
    """Return a CSR array with sorted indices; a duplicate is a ValueError that names it."""
    if not csr.has_sorted_indices:
        csr = csr.tocsc().tocsr()  # two counting sorts, linear in the entries
    if not csr.has_canonical_format:
        row, column = _first_duplicate(csr)
        place = (column, row) if transposed else (row, column)
        raise ValueError(
            f"every entry of {name} must be given once, got a duplicate at (row, column) = "
            f"{place}. Join such entries first: their mean, with their number as its weight, is "
            "the same problem."
        )
    return csr


def _first_duplicate(csr: Any) -> tuple[int, int]:
    """Return row and column of the first entry that is stored twice, in the order of the rows."""
    same = csr.indices[1:] == csr.indices[:-1]
    starts = csr.indptr[1:-1]
    same[starts[(starts > 0) & (starts < csr.indices.shape[0])] - 1] = False
    place = int(_HOST.argmax(same))
    return row_of(csr.indptr, place), int(csr.indices[place])


def row_of(indptr: Array, place: int) -> int:
    """Return the line that an entry belongs to."""
    return int(_HOST.searchsorted(indptr, place, side="right")) - 1


def repeated_rows(indptr: Array) -> Array:
    """Return the line of every entry, (N,) of int64 on the host."""
    lines = _HOST.arange(indptr.shape[0] - 1, dtype=_HOST.int64)
    return _HOST.repeat(lines, _HOST.diff(indptr))


def chunks(indptr: Array) -> Iterator[tuple[slice, Array]]:
    """Yield slices of the entries, and the line of each entry in them (int64, on the host)."""
    count = int(indptr[-1])
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        first, last = row_of(indptr, start), row_of(indptr, stop - 1)
        cuts = _HOST.clip(indptr[first : last + 2], start, stop)
        lines = _HOST.arange(first, last + 1, dtype=_HOST.int64)
        yield slice(start, stop), _HOST.repeat(lines, _HOST.diff(cuts))


def counts(chosen: Array, indptr: Array) -> Array:
    """Return how many entries of each line are chosen."""
    found = _HOST.zeros(indptr.shape[0] - 1, dtype=_HOST.int64)
    filled = _HOST.flatnonzero(indptr[1:] > indptr[:-1])
    if filled.shape[0]:
        found[filled] = _HOST.add.reduceat(chosen, indptr[filled], dtype=_HOST.int64)
    return found


def row_starts(lengths: Array) -> Array:
    """Return where lines of these lengths start, and the total, in int64."""
    indptr = _HOST.zeros(lengths.shape[0] + 1, dtype=_HOST.int64)
    _HOST.cumsum(lengths, out=indptr[1:])
    return indptr


def places(count: int) -> Array:
    """Return the numbers from 0 on, in the shortest of int32 and int64 that holds them."""
    return _HOST.arange(count, dtype=_HOST.int32 if count <= _INT32_MAX else _HOST.int64)


def narrow(indices: Array, limit: int) -> Array:
    """Return host indices below `limit` in int32 where that holds them, else in int64."""
    kind = _HOST.int32 if limit <= _INT32_MAX else _HOST.int64
    return indices.astype(kind, copy=False)
