"""What comes into an incremental decomposition: columns of every kind, as rows and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    device,
    dtype_name,
    is_complex_dtype,
    is_dask,
    is_sparse,
    library_name,
    numpy_namespace,
    to_numpy,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import as_operator
from linalgkit._core.row_buffer import block_kind, check_same_kind
from linalgkit._core.scaling import scale_exponent
from linalgkit._core.sparse import as_csr
from linalgkit._core.validation import check_array_2d, refuse_dask
from linalgkit.svd import _updates
from linalgkit.svd._columns import conj
from linalgkit.svd._stream import ColumnStream

_HOST = numpy_namespace()


def add_product(stream: ColumnStream, X: Array, Y: Array) -> None:
    """Add ``X Y^H`` in the unit of the stream, which follows the product.

    Each pair of columns is brought to sizes that agree: it is their product that counts.
    """
    xp = stream.xp
    left, right = (_column_exponents(part, xp) for part in (X, Y))
    products = [a + b for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    if products:
        stream.follow(1.0, max(products))
    shares = [
        (0, 0) if a is None or b is None else _halves(a + b - stream.exponent)
        for a, b in zip(left, right, strict=True)
    ]
    X = _column_ldexp(X, [h - (a or 0) for a, (h, _) in zip(left, shares, strict=True)], xp)
    Y = _column_ldexp(Y, [h - (b or 0) for b, (_, h) in zip(right, shares, strict=True)], xp)
    _updates.update(stream, X, Y)


def _column_exponents(X: Array, xp: Namespace) -> list[int | None]:
    """Return the power of two that each column is of; None for zeros."""
    sizes = [float(v) for v in to_numpy(xp.max(xp.abs(X), axis=0))] if X.shape[0] else []
    return [None if size == 0.0 else scale_exponent(size) for size in sizes]


def _halves(exponent: int) -> tuple[int, int]:
    return exponent // 2, exponent - exponent // 2


def _column_ldexp(X: Array, exponents: list[int], xp: Namespace) -> Array:
    """Return columns times powers of two, in two steps that stay in range."""
    limit = 600 if xp.finfo(X.dtype).bits > 32 else 120
    for part in range(2):
        powers = [_halves(max(-2 * limit, min(2 * limit, e)))[part] for e in exponents]
        factors = [math.ldexp(1.0, power) for power in powers]
        X = X * xp.asarray(factors, dtype=X.dtype, device=device(X))[None, :]
    return X


def is_stored(X: Any) -> bool:
    """Tell whether `X` is a table that has to be read: of a file, or a dask array."""
    return is_dask(X) or (hasattr(X, "chunks") and hasattr(X, "shape"))


def samples(X: Any) -> Any:
    """Return rows that are samples as columns of the matrix, still lying as rows."""
    if is_sparse(X):
        return as_csr(X).conj()
    return conj(X, array_namespace(X))


def in_joint_dtype(X: Any, V: Array, xp: Namespace) -> tuple[Any, Array]:
    """Return rows, dense or CSR, and vectors in the wider of their dtypes."""
    dtype = V.dtype
    if xp.isdtype(X.dtype, ("real floating", "complex floating")):
        dtype = xp.result_type(X.dtype, dtype)
    X = X.astype(dtype) if is_sparse(X) else xp.astype(X, dtype, copy=False)
    return X, xp.astype(V, dtype, copy=False)


def transposed_pieces(A: Any, step: Callable[[], int]) -> Iterator[Any]:
    """Yield columns as rows (b, m): arrays and sparse matrices whole, operators in pieces."""
    refuse_dask(
        "A",
        A,
        "Call compute() on it, or on its blocks one by one; fit reads one whose rows are "
        "samples block by block.",
    )
    if is_sparse(A):
        A, _ = check_array_2d("A", A, allow_sparse=True, min_columns=0)
        if A.shape[1]:
            yield as_csr(A.T)
        return
    if hasattr(A, "matmat") and hasattr(A, "shape"):
        yield from _operator_pieces(A, step())
        return
    A = as_array(A, "A")
    if A.ndim == 1:
        array_namespace(A)
        yield A[None, :]
        return
    A, xp = check_array_2d("A", A, min_rows=1, min_columns=0)
    if A.shape[1]:
        yield xp.matrix_transpose(A)


def _operator_pieces(A: Any, step: int) -> Iterator[Any]:
    operator = as_operator(A)
    xp, n = operator.xp, int(operator.shape[1])
    for start in range(0, n, step):
        stop = min(start + step, n)
        E = xp.eye(n, stop - start, k=-start, dtype=operator.dtype, device=operator.device)
        yield xp.matrix_transpose(operator.matmul(E))


def checked_places(idx: Any, n: int) -> list[int]:
    """Return column numbers that are in range and differ, from numbers or a mask of length `n`."""
    if isinstance(idx, range):
        values = list(idx)
    else:
        table = _as_numbers(idx)
        values = table.reshape(-1).tolist()
        flags = [isinstance(value, (bool, _HOST.bool)) for value in values]
        if any(flags) or table.dtype.kind == "b":
            return _places_of_mask(values, all(flags), tuple(table.shape), n)
    places = []
    for value in values:
        if isinstance(value, (str, bytes, complex)) or not hasattr(value, "__float__"):
            raise TypeError(f"idx must hold numbers or be a mask, got {value!r}.")
        if not 0 <= value < n or value != math.floor(value):
            raise ValueError(f"idx must hold numbers from 0 to {n - 1}, got {value}.")
        places.append(int(value))
    if len(set(places)) != len(places):
        raise ValueError("idx must hold every number once, got one twice.")
    return places


def _as_numbers(idx: Any) -> Any:
    """Return numbers of columns on the host; a list keeps booleans apart from numbers."""
    if isinstance(idx, (int, list, tuple)):
        return _HOST.asarray(idx, dtype=object)
    return to_numpy(as_array(idx, "idx"))


def _places_of_mask(
    values: Sequence[bool], is_mask: bool, shape: tuple[int, ...], n: int
) -> list[int]:
    """Return where a mask is true."""
    if not is_mask:
        raise ValueError("idx must hold numbers, or be a mask of booleans alone, got both in one.")
    if shape != (n,):
        raise ValueError(
            f"idx must have shape ({n},) as a mask, one boolean for each column, got {shape}."
        )
    return [place for place, value in enumerate(values) if value]


def in_dtype(rows: Any, stream: ColumnStream) -> Any:
    """Return columns in the dtype of the stream, if no digit is lost by that."""
    values = rows.data if is_sparse(rows) else rows
    xp = stream.xp
    kinds = ("dense", "sparse")
    expected = kinds[stream.sparse], library_name(xp), str(stream.device)
    check_same_kind(expected, (kinds[is_sparse(rows)], *block_kind(values)[1:]))
    found = working_dtype(xp, stream.device, values.dtype)
    if values.dtype == stream.dtype:
        return rows
    is_real = xp.isdtype(values.dtype, ("integral", "bool", "real floating"))
    if xp.isdtype(values.dtype, ("integral", "bool")):
        found = stream.dtype
    if (not is_real and not is_complex_dtype(xp, stream.dtype)) or (
        xp.result_type(found, stream.dtype) != stream.dtype
    ):
        raise TypeError(
            f"A must fit into {dtype_name(xp, stream.dtype)} as the columns before do, got "
            f"{dtype_name(xp, found)}. Convert it, or start with the wider dtype."
        )
    return rows.astype(stream.dtype) if is_sparse(rows) else xp.astype(rows, stream.dtype)


def check_like(values: Array, xp: Namespace, name: str, stream: ColumnStream) -> None:
    """Refuse arrays of another library, or of a dtype that does not fit."""
    if library_name(xp) != library_name(stream.xp):
        raise TypeError(
            f"{name} must be of {library_name(stream.xp)} as the matrix is, got "
            f"{library_name(xp)}. Convert it first."
        )
    if is_complex_dtype(xp, values.dtype) and not is_complex_dtype(xp, stream.dtype):
        raise TypeError(f"{name} must be real as the matrix is, got complex numbers.")
    is_float = xp.isdtype(values.dtype, ("real floating", "complex floating"))
    if is_float and xp.result_type(values.dtype, stream.dtype) != stream.dtype:
        raise TypeError(
            f"{name} must fit into {dtype_name(xp, stream.dtype)} as the matrix does, got "
            f"{dtype_name(xp, values.dtype)}. Convert it first."
        )
