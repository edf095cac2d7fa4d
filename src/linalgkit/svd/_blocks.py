"""Collections of matrices with the same number of rows, checked, in one dtype and unit.

::

    blocks = as_blocks(source)
    blocks.widths, blocks.norms         # of each matrix
    blocks.columns([3, 1])              # these two side by side, as rows (b, m)

"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    is_sparse,
    namespace_of,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.operators import as_operator
from linalgkit._core.row_buffer import block_kind, check_same_kind
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent
from linalgkit._core.sparse import as_csr, csr_concat
from linalgkit._core.validation import check_array_2d, check_finite_block

HOST = numpy_namespace()
_PLAIN_EXPONENT = 100


class Blocks:
    """Matrices (m, n_i), kept transposed: dense ones below each other in one array.

    Attributes
    ----------
    widths : list of int
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

    def __init__(self, rows: list[Any], exponent: int) -> None:
        first = rows[0].data if is_sparse(rows[0]) else rows[0]
        self.exponent = exponent
        self.xp: Namespace
        self.device: Device
        self.xp, self.device = namespace_of(first)
        self.dtype: DType = first.dtype
        self.m = int(rows[0].shape[1])
        self.widths = [int(part.shape[0]) for part in rows]
        self.starts = [0, *itertools.accumulate(self.widths)]
        self.table = csr_concat(rows) if is_sparse(rows[0]) else self.xp.concat(rows, axis=0)
        self.norms = self._norms()

    def __len__(self) -> int:
        return len(self.widths)

    def _norms(self) -> Any:
        xp = self.xp
        if is_sparse(self.table):
            wide = self.table.astype(widest_dtype(xp, self.device, self.dtype))
            squares = xp.asarray((abs(wide) ** 2).sum(axis=1)).reshape(-1)
        else:
            wide = xp.astype(self.table, widest_dtype(xp, self.device, self.dtype), copy=False)
            squares = xp.linalg.vector_norm(wide, axis=1) ** 2
        return self.sums_over(HOST.astype(to_numpy(squares), "float64")) ** 0.5

    def sums_over(self, values: Any) -> Any:
        """Return sums of numbers of columns (N,) over each matrix, (K,), on the host."""
        if len(self) == self.starts[-1]:
            return values
        found = HOST.zeros(len(self))
        filled = [k for k, width in enumerate(self.widths) if width]
        if filled:
            found[filled] = HOST.add.reduceat(values, [self.starts[k] for k in filled])
        return found

    def rows_of(self, i: int) -> Any:
        """Return one matrix, transposed."""
        return self.table[self.starts[i] : self.starts[i + 1], :]

    def columns(self, places: Sequence[int]) -> Any:
        """Return some of the matrices side by side, as rows."""
        if len(places) == 1:
            return self.rows_of(places[0])
        index = HOST.concat([HOST.arange(self.starts[i], self.starts[i + 1]) for i in places])
        if is_sparse(self.table):
            return self.table[asarray(index, xp=self.xp, device=self.device), :]
        return self.xp.take(self.table, asarray(index, xp=self.xp, device=self.device), axis=0)


def as_blocks(source: Any, row_weight: Array | None = None) -> Blocks:
    """Return a collection from a list, a 3-D array (K, m, n) or an iterable of matrices.

    Parameters
    ----------
    source : list, array (K, m, n) or iterable
        Arrays (m, n_i) or (m,), sparse matrices, LinearOperators.
    row_weight : array (m,), optional
        Factors of the squares of the rows.

    Raises
    ------
    TypeError, ValueError
        For kinds and shapes that do not fit, naming the block.
    """
    rows = [_as_rows(block, index) for index, block in enumerate(_each(source))]
    if not rows:
        raise ValueError("blocks must hold one matrix at least, got none.")
    expected = block_kind(rows[0])
    m = int(rows[0].shape[1])
    for index, part in enumerate(rows):
        if part.shape[1] != m:
            raise ValueError(
                f"all blocks must have {m} rows as block 0 has, got {part.shape[1]} rows in block "
                f"{index}."
            )
        check_same_kind(expected, block_kind(part), f" in block {index}")
        check_finite_block(part, index, name="blocks")
    rows = _in_one_dtype(rows)
    if row_weight is not None:
        rows = _weighted(rows, row_weight)
    return _in_unit(rows)


def _each(source: Any) -> Iterable[Any]:
    if hasattr(source, "ndim") and not is_sparse(source):
        if source.ndim != 3:
            raise ValueError(
                f"blocks must be a list of matrices or an array (K, m, n), got shape "
                f"{tuple(source.shape)}."
            )
        return (source[k, :, :] for k in range(int(source.shape[0])))
    if isinstance(source, (str, bytes, dict)) or not isinstance(source, Iterable):
        raise TypeError(
            f"blocks must be a list of matrices or an array (K, m, n), got {type(source).__name__}."
        )
    return source


def _as_rows(block: Any, index: int) -> Any:
    """Return a matrix transposed: (n_i, m)."""
    name = f"blocks[{index}]"
    if is_sparse(block):
        check_array_2d(name, block, allow_sparse=True)
        return as_csr(block.T)
    if hasattr(block, "matmat"):
        operator = as_operator(block)
        xp = operator.xp
        E = xp.eye(operator.shape[1], dtype=operator.dtype, device=operator.device)
        return xp.matrix_transpose(operator.matmul(E))
    if getattr(block, "ndim", 2) == 1:
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


def _weighted(rows: list[Any], weight: Array) -> list[Any]:
    first = rows[0].data if is_sparse(rows[0]) else rows[0]
    xp, _ = namespace_of(first)
    m = int(rows[0].shape[1])
    if tuple(weight.shape) != (m,):
        raise ValueError(f"row_weight must have shape ({m},), got {tuple(weight.shape)}.")
    check_finite_block(weight, name="row_weight")
    if float(xp.min(weight)) < 0 or float(xp.max(weight)) == 0:
        raise ValueError(
            "row_weight must not be negative or zero throughout, got a smallest weight of "
            f"{float(xp.min(weight))}."
        )
    root = xp.astype(xp.sqrt(xp.astype(weight, first.dtype)), first.dtype)[None, :]
    if is_sparse(rows[0]):
        return [part.multiply(root).tocsr().astype(part.dtype) for part in rows]
    return [part * root for part in rows]


def _in_unit(rows: Sequence[Any]) -> Blocks:
    exponent = scale_exponent(max(max_abs(part) for part in rows))
    plain = _PLAIN_EXPONENT if _bits(rows[0]) == 64 else 20
    if abs(exponent) <= plain:
        return Blocks(list(rows), 0)
    return Blocks([ldexp(part, -exponent) for part in rows], exponent)


def _bits(part: Any) -> int:
    values = part.data if is_sparse(part) else part
    xp, _ = namespace_of(values)
    return int(xp.finfo(values.dtype).bits)
