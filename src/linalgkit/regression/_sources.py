"""Where equations come from: arrays, sparse matrices, operators, files, blocks, pairs of blocks.

Each kind becomes :class:`Rows`, whose pieces are raw and unchecked but of one library::

    rows = find_rows(A, b)
    for A_piece, B_piece in rows.pieces(4096):      # B_piece is 2-D
        ...
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    detached,
    dtype_name,
    is_complex_dtype,
    is_dask,
    is_sparse,
    library_name,
    library_of,
    namespace_of,
    working_dtype,
)
from linalgkit._core.estimator import as_array, feature_names
from linalgkit._core.operators import Operator, as_operator
from linalgkit._core.row_buffer import block_kind, check_same_kind
from linalgkit._core.sparse import as_csr
from linalgkit._core.streams import is_reiterable, row_blocks
from linalgkit._core.validation import check_array_2d, is_in_memory

Pieces = Callable[[int], Iterator[tuple[Any, Array]]]


@dataclass(frozen=True)
class Rows:
    """Rows of equations of one kind, library, device and number of columns.

    `is_native` tells that `A` is a dense array of the joint dtype, `is_sparse` that `A` or its
    blocks are sparse.
    """

    xp: Namespace
    device: Device
    dtype: DType
    n: int | None
    d: int
    k: int
    b_is_vector: bool
    is_reiterable: bool
    kind: str
    pieces: Pieces
    is_native: bool = False
    is_sparse: bool = False


def find_rows(A: Any, b: Any) -> Rows:
    """Return the rows that `A` and `b` stand for.

    Raises
    ------
    TypeError
        For kinds that hold no rows, for mixed libraries and devices, and for a missing or
        superfluous `b`.
    ValueError
        For shapes that do not fit.
    """
    if b is None:
        return _pairs(A)
    b = _right_side(b)
    is_list = isinstance(A, (list, tuple)) and len(A) > 0 and is_in_memory(A)
    if is_list or feature_names(A) is not None or (hasattr(A, "to_numpy") and not is_dask(A)):
        A = as_array(A, "A")
    elif library_of(A) in LIBRARIES:
        A = detached(A)
    if is_sparse(A):
        return _sparse(A, b)
    if isinstance(A, Operator) or (hasattr(A, "matmat") and hasattr(A, "rmatmat")):
        return _operator(A, b)
    if not isinstance(A, Iterator) and not is_dask(A) and library_of(A) in LIBRARIES:
        return _dense(A, b)
    return _row_blocks(A, b)


def _right_side(b: Any) -> Array:
    """Return right sides as an array after checking them."""
    if is_dask(b):
        raise TypeError("b must be an array in memory, got a dask array. Pass b.compute().")
    b = as_array(b, "b")
    try:
        array_namespace(b)
    except TypeError as error:
        raise TypeError(f"b: {error}") from None
    if b.ndim not in (1, 2):
        raise ValueError(
            f"b must be 1-D (one right side) or 2-D (one a column), got shape {tuple(b.shape)}."
        )
    if b.ndim == 2 and b.shape[1] == 0:
        raise ValueError(f"b must have at least one column, got shape {tuple(b.shape)}.")
    return b


def as_columns(b: Array, xp: Namespace) -> Array:
    """Return right sides as (n, k), sharing memory."""
    return b if b.ndim == 2 else xp.reshape(b, (-1, 1))


def joint_dtype(A: Any, b: Array, xp: Namespace, dev: Device) -> DType:
    """Return the working dtype that holds both factors."""
    return xp.result_type(working_dtype(xp, dev, A.dtype), working_dtype(xp, dev, b.dtype))


def _check_rows(n: int, b: Array) -> None:
    if b.shape[0] != n:
        raise ValueError(
            f"b must have {n} rows as A has, got shape {tuple(b.shape)}. "
            "Pass one right side (n,), or several as the columns of (n, k)."
        )
    if n == 0:
        raise ValueError("A must have at least one row, got none.")


def _made(kind: str, A: Any, b: Array, n: int | None, again: bool, pieces: Pieces) -> Rows:
    """Put the facts together; `A` is the whole matrix or its first block."""
    xp, dev = (A.xp, A.device) if isinstance(A, Operator) else namespace_of(A)
    check_same_kind(("dense", library_name(xp), str(dev)), block_kind(b), " as b")
    k = 1 if b.ndim == 1 else int(b.shape[1])
    dtype = joint_dtype(A, b, xp, dev)
    native = kind == "dense" and A.dtype == dtype
    facts = xp, dev, dtype, n, int(A.shape[1]), k, b.ndim == 1, again, kind, pieces
    return Rows(*facts, is_native=native, is_sparse=is_sparse(A))


# ------------------------------------------------------------------------------- in memory


def _dense(A: Array, b: Array) -> Rows:
    A, xp = check_array_2d("A", A)
    _check_rows(A.shape[0], b)
    n = int(A.shape[0])

    def pieces(block_rows: int) -> Iterator[tuple[Array, Array]]:
        B = as_columns(b, xp)
        for start in range(0, n, block_rows):
            stop = min(start + block_rows, n)
            yield A[start:stop, :], B[start:stop, :]

    return _made("dense", A, b, n, True, pieces)


def _sparse(A: Any, b: Array) -> Rows:
    A, xp = check_array_2d("A", A, allow_sparse=True)
    _check_rows(A.shape[0], b)
    csr = as_csr(A)
    return _made(
        "sparse", csr, b, int(A.shape[0]), True, lambda _: iter([(csr, as_columns(b, xp))])
    )


def _operator(A: Any, b: Array) -> Rows:
    operator = as_operator(A, like=b)
    _check_rows(operator.shape[0], b)
    if operator.shape[1] == 0:
        raise ValueError(f"A must have at least one column, got shape {operator.shape}.")
    piece = operator, as_columns(b, operator.xp)
    return _made("operator", operator, b, int(operator.shape[0]), True, lambda _: iter([piece]))


# --------------------------------------------------------------------------------- blocks


def _row_blocks(A: Any, b: Array) -> Rows:
    """Take what :func:`row_blocks` reads, with all right sides in one array."""

    def pieces(blocks: Iterator[Any]) -> Iterator[tuple[Any, Array]]:
        start = 0
        for block in blocks:
            stop = start + block.shape[0]
            if stop > b.shape[0]:
                break
            yield block, b[start:stop, ...] if b.ndim == 1 else b[start:stop, :]
            start = stop
        else:
            _check_rows(start, b)
            return
        raise ValueError(f"b must have as many rows as A, got {b.shape[0]} for at least {stop}.")

    return _from_pairs(lambda: pieces(row_blocks(A)), is_reiterable(A))


def _pairs(source: Any) -> Rows:
    """Take an iterable of pairs of blocks."""
    is_matrix = is_sparse(source) or library_of(source) in LIBRARIES or hasattr(source, "matmat")
    if is_matrix:
        raise TypeError(
            "b must be given beside a matrix, got None. Only an iterable of pairs "
            "(A_block, b_block) brings its own right sides."
        )
    if isinstance(source, (str, bytes, dict, set)) or not isinstance(source, Iterable):
        raise TypeError(
            "A must be an array, a sparse matrix, a LinearOperator or an iterable of pairs "
            f"(A_block, b_block), got {type(source).__name__}."
        )
    return _from_pairs(lambda: _checked_pairs(source), is_reiterable(source))


def _checked_pairs(source: Iterable[Any]) -> Iterator[tuple[Any, Array]]:
    for index, item in enumerate(source):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise TypeError(
                "A must hold pairs (A_block, b_block) where b is not given, got "
                f"{type(item).__name__} as item {index}."
            )
        block, right = item
        block, _ = check_array_2d(f"A in block {index}", block, allow_sparse=True)
        right = _right_side(right)
        if right.shape[0] != block.shape[0]:
            raise ValueError(
                f"b must have {block.shape[0]} rows as A has in block {index}, got shape "
                f"{tuple(right.shape)}."
            )
        yield block, right


def _from_pairs(begin: Callable[[], Iterator[tuple[Any, Array]]], again: bool) -> Rows:
    """Look at the first pair and hand out all of them, checked against it."""
    iterator = begin()
    first = next(iterator, None)
    if first is None:
        raise ValueError("A must hold at least one block of rows, got none.")
    waiting = iterator if not again else None

    def pieces(_: int) -> Iterator[tuple[Any, Array]]:
        source = begin() if waiting is None else itertools.chain([first], waiting)
        return _alike(source, made)

    block, right = first
    made = _made("blocks", block, right, None, again, pieces)
    return made


def _alike(source: Iterator[tuple[Any, Array]], rows: Rows) -> Iterator[tuple[Any, Array]]:
    """Let pairs pass that fit to the first one, right sides as (rows, k)."""
    kind = None
    for index, (block, right) in enumerate(source):
        kind = block_kind(block) if kind is None else kind
        check_same_kind(kind, block_kind(block), f" in block {index}")
        check_same_kind(("dense", *kind_of_products(rows)), block_kind(right), f" in block {index}")
        _check_columns(block, right, rows, index)
        for name, part in (("A", block), ("b", right)):
            _check_precision(name, part, rows, index)
        if block.shape[0]:
            yield (as_csr(block) if is_sparse(block) else block), as_columns(right, rows.xp)


def kind_of_products(rows: Rows) -> tuple[str, str]:
    """Return library and device of the dense arrays that products return."""
    return library_name(rows.xp), str(rows.device)


def _check_columns(block: Any, right: Array, rows: Rows, index: int) -> None:
    if block.shape[1] != rows.d:
        raise ValueError(
            f"A must have {rows.d} columns as in the first block, got {block.shape[1]} "
            f"in block {index}."
        )
    if (right.ndim == 1) != rows.b_is_vector or (right.ndim == 2 and right.shape[1] != rows.k):
        expected = "1-D" if rows.b_is_vector else f"of {rows.k} columns"
        raise ValueError(
            f"b must be {expected} as in the first block, got shape {tuple(right.shape)} "
            f"in block {index}."
        )


def _check_precision(name: str, part: Any, rows: Rows, index: int) -> None:
    """Refuse what the dtype of the first block would cut off."""
    xp = rows.xp
    found = working_dtype(xp, rows.device, part.dtype)
    if is_complex_dtype(xp, found) and not is_complex_dtype(xp, rows.dtype):
        raise TypeError(
            f"{name} must be real as the first block is, got {dtype_name(xp, found)} in block "
            f"{index}. Make the first block complex if complex ones may come."
        )
    if xp.result_type(found, rows.dtype) != rows.dtype:
        raise TypeError(
            f"{name} must fit into {dtype_name(xp, rows.dtype)} as the first block does, got "
            f"{dtype_name(xp, found)} in block {index}. Convert it first."
        )
