"""Collections of matrices with the same number of rows, checked, in one dtype and unit.

::

    blocks = as_blocks(source)
    blocks.widths, blocks.norms         # of each matrix
    blocks.columns([3, 1])              # these two side by side, as rows (b, m)
    blocks.inside(places, basis)        # how much of each lies in a subspace

Where every matrix is one column nothing is done one by one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    detached,
    device,
    is_complex_dtype,
    is_in_place,
    is_sparse,
    library_name,
    library_of,
    namespace_of,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import as_operator
from linalgkit._core.row_buffer import block_kind, check_same_kind
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent
from linalgkit._core.sparse import as_csr, csr_concat
from linalgkit._core.validation import (
    check_array_2d,
    check_finite_block,
    check_same_library,
    refuse_dask,
)
from linalgkit.svd._columns import as_columns, conj

HOST = numpy_namespace()
_PLAIN_EXPONENT = 100
_AT_A_TIME = 8192  # columns that are multiplied together
_DENSE_ENOUGH = 0.5  # share of columns asked for above which those between are multiplied, too

Places = Any  # numbers of matrices: a sequence, or an array of the host


class Blocks:
    """Matrices (m, n_i), kept transposed: dense ones below each other in one array.

    Parameters
    ----------
    table : array or CSR matrix (N, m)
        All columns, as rows.
    widths : sequence of int
        Numbers of columns of each matrix.
    exponent : int
        The unit of the numbers in the table, ``2**exponent``.

    Attributes
    ----------
    widths : array (K,) on the host, int64
        Numbers of columns.
    norms : array (K,) on the host, float64
        Frobenius norms, in the unit.
    m : int
        Rows of the matrices.
    exponent : int
        The unit ``2**exponent``, 1 for numbers of ordinary size.
    xp, device, dtype
        Of the matrices.
    """

    def __init__(self, table: Any, widths: Any, exponent: int = 0) -> None:
        values = table.data if is_sparse(table) else table
        self.exponent = exponent
        self.xp: Namespace
        self.device: Device
        self.xp, self.device = namespace_of(values)
        self.dtype: DType = values.dtype
        self.table = table
        self.m = int(table.shape[1])
        self.widths = HOST.asarray(widths, dtype="int64")
        self.starts = HOST.concat([HOST.zeros(1, dtype="int64"), HOST.cumsum(self.widths)])
        self.are_columns = len(self.widths) == int(self.starts[-1])
        self.norms = self._norms()

    def __len__(self) -> int:
        return len(self.widths)

    def _norms(self) -> Any:
        xp, found = self.xp, []
        for start in range(0, int(self.table.shape[0]), _AT_A_TIME):
            part = self.table[start : min(start + _AT_A_TIME, int(self.table.shape[0])), :]
            wide = widest_dtype(xp, self.device, self.dtype)
            if is_sparse(part):
                squares = xp.asarray((abs(part.astype(wide)) ** 2).sum(axis=1)).reshape(-1)
            else:
                part = xp.astype(part, wide, copy=False)
                squares = xp.vecdot(part, part)
                squares = xp.real(squares) if is_complex_dtype(xp, wide) else squares
            found.append(squares)
        squares = HOST.astype(to_numpy(xp.concat(found)), "float64")
        return self.sums(squares, self.widths) ** 0.5

    def sums(self, values: Any, widths: Any) -> Any:
        """Return sums of numbers of columns over each matrix, on the host."""
        if self.are_columns:
            return values
        return HOST.add.reduceat(values, HOST.cumsum(widths) - widths)

    def energy(self, places: Places) -> float:
        """Return the squared norm of some of the matrices side by side."""
        norms = self.norms[HOST.asarray(places, dtype="int64")]
        return float(HOST.sum(norms * norms))

    def width(self, places: Places) -> int:
        """Return how many columns some of the matrices have."""
        return int(HOST.sum(self.widths[HOST.asarray(places, dtype="int64")]))

    def by_norm(self, places: Places) -> Any:
        """Return numbers of matrices, the heaviest first, as an array of the host."""
        places = HOST.asarray(places, dtype="int64")
        return places[HOST.lexsort((places, -self.norms[places]))]

    def rows_of(self, i: int) -> Any:
        """Return one matrix, transposed."""
        return self.table[int(self.starts[i]) : int(self.starts[i + 1]), :]

    def columns(self, places: Places) -> Any:
        """Return some of the matrices side by side, as rows."""
        places = HOST.asarray(places, dtype="int64")
        first, last = int(places[0]), int(places[-1])
        if last - first + 1 == len(places) and bool(HOST.all(places[1:] - places[:-1] == 1)):
            return self.table[int(self.starts[first]) : int(self.starts[last + 1]), :]
        index = places
        if not self.are_columns:
            widths = self.widths[places]
            ends = HOST.cumsum(widths)
            first = HOST.repeat(self.starts[places] - (ends - widths), widths)
            index = first + HOST.arange(int(ends[-1]))
        index = asarray(index, xp=self.xp, device=self.device)
        if is_sparse(self.table):
            return self.table[index, :]
        return self.xp.take(self.table, index, axis=0)

    def parts(self, places: Places, width: int) -> Iterator[Any]:
        """Yield numbers of matrices in turn, as many as have `width` columns, one at least."""
        places = HOST.asarray(places, dtype="int64")
        ends = HOST.cumsum(self.widths[places])
        start = 0
        while start < len(places):
            before = int(ends[start - 1]) if start else 0
            stop = int(HOST.searchsorted(ends, before + width, side="right"))
            stop = max(stop, start + 1)
            yield places[start:stop]
            start = stop

    def inside(self, places: Any, basis: Array) -> Any:
        """Return ``||Q^H A_i||_F^2`` for a basis of orthonormal rows (q, m), (k,) on the host.

        One product with the basis, in the precision of the matrices; fit for comparing them.

        Parameters
        ----------
        places : array of the host (k,)
            Numbers of matrices, ascending.
        basis : array (q, m)
            The basis.
        """
        if len(places) == 0:
            return HOST.zeros(0)
        xp, found = self.xp, []
        is_dense = len(places) >= _DENSE_ENOUGH * (int(places[-1]) + 1 - int(places[0]))
        asked = HOST.arange(int(places[0]), int(places[-1]) + 1) if is_dense else places
        for part in self.parts(asked, _AT_A_TIME):
            found.append(self._squares(self.columns(part), basis))
        squares = HOST.astype(to_numpy(xp.concat(found)), "float64")
        sums = self.sums(squares, self.widths[asked])
        return sums[places - int(places[0])] if is_dense else sums

    def coordinates(self, rows: Any, basis: Array) -> Array:
        """Return ``(Q^H A)^T``, (b, q), for columns as rows (b, m), in their own precision."""
        xp = self.xp
        if is_sparse(rows):
            return xp.matrix_transpose(as_columns(rows).cross(basis))
        return rows @ xp.matrix_transpose(conj(basis, xp))

    def _squares(self, rows: Any, basis: Array) -> Array:
        xp = self.xp
        C = self.coordinates(rows, basis)
        squares = xp.vecdot(C, C)
        return xp.real(squares) if is_complex_dtype(xp, C.dtype) else squares


def as_blocks(
    source: Any,
    row_weight: Array | None = None,
    *,
    n_rows: int | None = None,
    like: Array | None = None,
    dtypes: Sequence[DType] = (),
) -> Blocks:
    """Return a collection from a list, a 3-D array (K, m, n) or an iterable of matrices.

    Arguments are those of :func:`checked_table`.
    """
    table, widths = checked_table(source, row_weight, n_rows=n_rows, like=like, dtypes=dtypes)
    return in_unit(table, widths)


def checked_table(
    source: Any,
    row_weight: Array | None = None,
    *,
    n_rows: int | None = None,
    like: Array | None = None,
    dtypes: Sequence[DType] = (),
) -> tuple[Any, Any]:
    """Return all columns as rows (N, m), and how many each matrix has.

    Parameters
    ----------
    source : list, array (K, m, n) or iterable
        Arrays (m, n_i) or (m,), lists of numbers, dataframes, sparse matrices, LinearOperators.
    row_weight : array or list (m,), optional
        Factors of the squares of the rows.
    n_rows : int, optional
        Rows that the matrices must have, as those seen before.
    like : array, optional
        An array whose library and device they must share.
    dtypes : sequence of dtype
        Dtypes that the collection is promoted with.

    Raises
    ------
    TypeError, ValueError
        For kinds and shapes that do not fit, naming the block.
    """
    table, widths = _table(source)
    values = table.data if is_sparse(table) else table
    xp, place = namespace_of(values)
    if n_rows is not None and int(table.shape[1]) != n_rows:
        raise ValueError(
            f"blocks must have {n_rows} rows as those fitted have, got {int(table.shape[1])} rows."
        )
    if like is not None:
        check_same_library("blocks", table, library_of(like))
        if device(like) != place:
            raise ValueError(f"blocks must lie on {device(like)} as those fitted, got {place}.")
    _check_finite(table, widths)
    dtype = xp.result_type(working_dtype(xp, place, values.dtype), *dtypes)
    if values.dtype != dtype:
        table = table.astype(dtype) if is_sparse(table) else xp.astype(table, dtype)
    if row_weight is not None:
        table = _weighted(table, row_weight)
    return table, widths


def in_unit(table: Any, widths: Any) -> Blocks:
    """Return a collection, in a unit where its numbers are far from one."""
    values = table.data if is_sparse(table) else table
    xp, _ = namespace_of(values)
    exponent = scale_exponent(max_abs(table))
    plain = _PLAIN_EXPONENT if int(xp.finfo(values.dtype).bits) == 64 else 20
    if abs(exponent) <= plain:
        return Blocks(table, widths)
    return Blocks(ldexp(table, -exponent), widths, exponent)


def layers(table: Any, widths: Any) -> list[Any]:
    """Return the numbers of matrices whose sizes agree enough for squares in one unit.

    Parameters
    ----------
    table : array or CSR matrix (N, m)
        All columns, as rows.
    widths : sequence of int
        Numbers of columns of each matrix.

    Returns
    -------
    list of array
        The largest ones first; zero matrices are with them.
    """
    found: list[Any] = []
    for start in range(0, int(table.shape[0]), _AT_A_TIME):
        part = table[start : min(start + _AT_A_TIME, int(table.shape[0])), :]
        found.extend(as_columns(part).sizes())
    largest, found = HOST.asarray(found), []
    widths = HOST.asarray(widths, dtype="int64")
    sizes = HOST.maximum.reduceat(largest, HOST.cumsum(widths) - widths)
    is_double = int(namespace_of(_values(table))[0].finfo(_values(table).dtype).bits) == 64
    reach = math.ldexp(1.0, -400 if is_double else -80)
    left = HOST.nonzero(sizes > 0)[0]
    while len(left):
        near = sizes[left] >= reach * HOST.max(sizes[left])
        found.append(left[near])
        left = left[~near]
    zeros = HOST.nonzero(sizes == 0)[0]
    if not found:
        return [zeros]
    found[0] = HOST.sort(HOST.concat([found[0], zeros]))
    return found


def chosen(table: Any, widths: Any, places: Any) -> tuple[Any, Any]:
    """Return the columns and widths of some matrices."""
    widths = HOST.asarray(widths, dtype="int64")
    if len(places) == len(widths):
        return table, widths
    ends = HOST.cumsum(widths)
    index = HOST.concat([HOST.arange(ends[i] - widths[i], ends[i]) for i in places])
    xp, place = namespace_of(_values(table))
    rows = asarray(index, xp=xp, device=place)
    part = table[rows, :] if is_sparse(table) else xp.take(table, rows, axis=0)
    return part, widths[places]


def _values(table: Any) -> Any:
    return table.data if is_sparse(table) else table


def _table(source: Any) -> tuple[Any, Any]:
    """Return all columns as rows, and how many each matrix has."""
    refuse_dask("blocks", source)
    if hasattr(source, "ndim") and not is_sparse(source):
        return _table_of_array(detached(source))
    if isinstance(source, (str, bytes, dict)) or not isinstance(source, Iterable):
        raise TypeError(
            f"blocks must be a list of matrices or an array (K, m, n), got {type(source).__name__}."
        )
    blocks = source if isinstance(source, (list, tuple)) else list(source)
    if not blocks:
        raise ValueError("blocks must hold one matrix at least, got none.")
    if _are_alike(blocks):
        first = _as_rows(blocks[0], 0)
        xp, _ = namespace_of(first)
        if hasattr(blocks[0], "requires_grad"):
            blocks = [detached(block) for block in blocks]
        if blocks[0].ndim == 1:
            return xp.stack(blocks, axis=0), [1] * len(blocks)
        rows = [xp.matrix_transpose(block) for block in blocks]
        return _below_each_other(rows, xp), [int(first.shape[0])] * len(blocks)
    rows = [_as_rows(block, index) for index, block in enumerate(blocks)]
    _check_alike(rows)
    rows = _in_one_dtype(rows)
    widths = [int(part.shape[0]) for part in rows]
    if is_sparse(rows[0]):
        return csr_concat(rows), widths
    return _below_each_other(rows, namespace_of(rows[0])[0]), widths


def _below_each_other(rows: Sequence[Array], xp: Namespace) -> Array:
    """Return arrays in one, row after row in memory however they lie themselves."""
    if not is_in_place(xp):
        return xp.concat(list(rows), axis=0)
    starts = [0, *itertools.accumulate(int(part.shape[0]) for part in rows)]
    first = rows[0]
    table = xp.empty((starts[-1], first.shape[1]), dtype=first.dtype, device=device(first))
    for start, part in zip(starts, rows, strict=False):
        table[start : start + int(part.shape[0]), :] = part
    return table


def _table_of_array(source: Any) -> tuple[Any, Any]:
    """Return the columns of an array (K, m, n); of one column each without a copy."""
    if source.ndim != 3:
        raise ValueError(
            f"blocks must be a list of matrices or an array (K, m, n), got shape "
            f"{tuple(source.shape)}."
        )
    K, m, n = (int(size) for size in source.shape)
    if K == 0:
        raise ValueError("blocks must hold one matrix at least, got none.")
    _, xp = check_array_2d("blocks[0]", source[0, :, :], min_rows=1)
    return xp.reshape(xp.permute_dims(source, (0, 2, 1)), (K * n, m)), [n] * K


def _are_alike(blocks: Sequence[Any]) -> bool:
    """Tell whether all are dense arrays of one library, device, shape and dtype."""
    first = blocks[0]
    if is_sparse(first) or hasattr(first, "matmat") or not hasattr(first, "dtype"):
        return False
    if getattr(first, "ndim", 0) not in (1, 2):
        return False
    kind, shape, dtype = type(first), first.shape, first.dtype
    if not all(type(b) is kind and b.shape == shape and b.dtype == dtype for b in blocks):
        return False
    place = getattr(first, "device", None)
    return all(getattr(block, "device", None) == place for block in blocks)


def _check_alike(rows: Sequence[Any]) -> None:
    expected, m = block_kind(rows[0]), int(rows[0].shape[1])
    for index, part in enumerate(rows):
        if part.shape[1] != m:
            raise ValueError(
                f"all blocks must have {m} rows as block 0 has, got {part.shape[1]} rows in block "
                f"{index}."
            )
        check_same_kind(expected, block_kind(part), f" in block {index}")


def _check_finite(table: Any, widths: Any) -> None:
    """Refuse numbers that are not finite, naming the matrix."""
    try:
        check_finite_block(table, name="blocks")
    except ValueError:
        start = 0
        for index, width in enumerate(widths):
            part = table[start : start + width, :]
            check_finite_block(part, index, name="blocks", unit="column")
            start += width
        raise


def _as_rows(block: Any, index: int) -> Any:
    """Return a matrix transposed: (n_i, m)."""
    name = f"blocks[{index}]"
    refuse_dask(name, block)
    if is_sparse(block):
        check_array_2d(name, block, allow_sparse=True)
        return as_csr(block.T)
    if hasattr(block, "matmat"):
        operator = as_operator(block)
        xp = operator.xp
        E = xp.eye(operator.shape[1], dtype=operator.dtype, device=operator.device)
        return xp.matrix_transpose(operator.matmul(E))
    block = as_array(block, name)
    if block.ndim == 1:
        array_namespace(block)
        block = block[:, None]
    block, xp = check_array_2d(name, block, min_rows=1)
    return xp.matrix_transpose(block)


def _in_one_dtype(rows: list[Any]) -> list[Any]:
    values = [part.data if is_sparse(part) else part for part in rows]
    xp, dev = namespace_of(values[0])
    dtypes = {str(v.dtype): working_dtype(xp, dev, v.dtype) for v in values}
    dtype = xp.result_type(*dtypes.values())
    return [
        part.astype(dtype, copy=False) if is_sparse(part) else xp.astype(part, dtype, copy=False)
        for part in rows
    ]


def row_weights(weight: Any, xp: Namespace, place: Device) -> Array:
    """Return weights of rows, real numbers, as an array beside the matrices."""
    weight = detached(weight)
    values = as_array(weight, "row_weight")
    if values is not weight:
        if values.dtype.kind not in "biuf":
            raise TypeError(f"row_weight must be real, got dtype {values.dtype}.")
        values = asarray(values, xp=xp, device=place)
    if is_sparse(values) or library_of(values) != library_name(xp):
        raise TypeError(
            f"row_weight must be of {library_name(xp)} as the matrices are, got "
            f"{type(weight).__name__}. Convert it first."
        )
    if is_complex_dtype(xp, values.dtype):
        raise TypeError("row_weight must be real, got complex numbers.")
    return values


def _weighted(table: Any, weight: Any) -> Any:
    xp, place = namespace_of(table.data if is_sparse(table) else table)
    m = int(table.shape[1])
    weight = row_weights(weight, xp, place)
    if tuple(weight.shape) != (m,):
        raise ValueError(f"row_weight must have shape ({m},), got {tuple(weight.shape)}.")
    check_finite_block(weight, name="row_weight")
    if float(xp.min(weight)) < 0 or float(xp.max(weight)) == 0:
        raise ValueError(
            "row_weight must not be negative or zero throughout, got a smallest weight of "
            f"{float(xp.min(weight))}."
        )
    root = xp.astype(xp.sqrt(xp.astype(weight, table.dtype)), table.dtype)[None, :]
    if is_sparse(table):
        return table.multiply(root).tocsr().astype(table.dtype)
    return table * root
