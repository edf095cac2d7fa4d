"""What a caller may pass as rows, turned into blocks of one library and dtype."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    array_namespace,
    asarray,
    detached,
    dtype_name,
    is_complex_dtype,
    is_sparse,
    itemsize,
    library_name,
    library_of,
    namespace_of,
    numpy_namespace,
    real_dtype,
    to_numpy,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.row_buffer import row_slice
from linalgkit._core.streams import default_block_rows
from linalgkit._core.validation import check_finite_block, refuse_dask
from linalgkit.streaming._preprocess import Space

_HOST = numpy_namespace()

# The weights of a call, and of all earlier ones, are so many powers of two below what overflows:
# even a call for each row that waits in a block leaves the sum finite.
_SPARE_EXPONENT, _SPARE_EXPONENT_BEFORE = 16, 2


def as_row_matrix(X: Any) -> Any:
    """Return one row (d,) as a matrix (1, d); anything else as it is."""
    way_out = "Pass it to fit, which reads it block by block, or its blocks, each after compute()."
    refuse_dask("X", X, way_out)
    if not is_sparse(X) and getattr(X, "ndim", None) == 1 and hasattr(X, "dtype"):
        array_namespace(X)
        return X[None, :]
    return X


def one_row_as_matrix(source: Any) -> Any:
    """Return a source that is one row in memory as a matrix; any other as it is."""
    is_array = not is_sparse(source) and library_of(source) in LIBRARIES
    is_row = is_array and getattr(source, "ndim", None) == 1
    return as_row_matrix(source) if is_row else source


def as_csr(block: Any) -> Any:
    """Return sparse containers as CSR, whose rows can be cut; arrays without their graph."""
    if is_sparse(block):
        return block if block.format == "csr" else block.tocsr()
    return detached(block)


def check_joins(block: Any, space: Space, index: int) -> None:
    """Refuse a block that does not belong to the stream, naming both sides."""
    xp, where = namespace_of(block)
    if library_name(xp) != library_name(space.xp):
        raise TypeError(
            f"X must be of {library_name(space.xp)} as the first block was, got "
            f"{library_name(xp)} in block {index}. Convert it, or start a new object."
        )
    if where != space.device:
        raise TypeError(
            f"X must lie on {space.device} as the first block did, got {where} in block {index}."
        )
    _check_precision(block, space, index)


def _check_precision(block: Any, space: Space, index: int) -> None:
    """Refuse what the working dtype would cut off."""
    xp = space.xp
    if block.dtype == space.dtype:
        return
    working_dtype(xp, space.device, block.dtype)  # refuses dtypes that nothing is worked on in
    found, kept = dtype_name(xp, block.dtype), dtype_name(xp, space.dtype)
    if is_complex_dtype(xp, block.dtype) and not is_complex_dtype(xp, space.dtype):
        raise TypeError(
            f"X must be real as the stream is, got {found} in block {index}. "
            'Start with dtype="complex128" if complex rows may come.'
        )
    if found in ("float64", "complex128") and kept in ("float32", "complex64"):
        raise TypeError(
            f"X must be {kept} as the stream is, got {found} in block {index}. Convert it, or "
            f'start with dtype="{"complex128" if kept == "complex64" else "float64"}".'
        )


def in_dtype(block: Any, space: Space) -> Any:
    """Return the block in the working dtype; itself where it has it."""
    if block.dtype == space.dtype:
        return block
    if is_sparse(block):
        return block.astype(space.dtype)
    return space.xp.astype(block, space.dtype)


def in_pieces(
    block: Any, weights: Array | None, space: Space
) -> Iterator[tuple[Any, Array | None]]:
    """Yield the rows of a block in the working dtype, with their weights.

    Rows that have that dtype come in one piece, without a copy; others are converted piece by
    piece, so that the copies stay small whatever the source holds.
    """
    n = int(block.shape[0])
    step = n if block.dtype == space.dtype else _rows_of_a_piece(block, space)
    for start in range(0, n, max(step, 1)):
        stop = min(start + step, n)
        some = weights if weights is None or stop - start == n else weights[start:stop]
        yield in_dtype(row_slice(block, start, stop), space), some


def cut(block: Any, space: Space) -> Iterator[Any]:
    """Yield the rows of a block, in its own dtype, few enough for copies of them to be small."""
    n, step = int(block.shape[0]), _rows_of_a_piece(block, space)
    for start in range(0, n, step):
        yield row_slice(block, start, min(start + step, n))


def _rows_of_a_piece(block: Any, space: Space) -> int:
    """Return how many rows are about 8 MiB in the working dtype."""
    n, size = int(block.shape[0]), itemsize(space.xp, space.dtype)
    width = -(-int(block.nnz) // max(n, 1)) if is_sparse(block) else int(block.shape[1])
    return default_block_rows(width, size)


def in_joint_dtype(block: Any, V: Array, space: Space) -> tuple[Any, Array]:
    """Return rows and vectors in the wider of their dtypes."""
    xp = space.xp
    block = detached(block)
    if not xp.isdtype(block.dtype, ("real floating", "complex floating")):
        return in_dtype(block, space), V
    dtype = xp.result_type(block.dtype, V.dtype)
    wider = block if block.dtype == dtype else _astype(block, dtype, xp)
    return wider, V if V.dtype == dtype else xp.astype(V, dtype)


def _astype(block: Any, dtype: Any, xp: Any) -> Any:
    return block.astype(dtype) if is_sparse(block) else xp.astype(block, dtype)


def as_weights(weights: Any, n: int, space: Space, before: float = 0.0) -> Array | None:
    """Return the weights of `n` rows as a real array beside them, after checking them.

    The weights of the rows taken earlier sum up to `before`.
    """
    if weights is None:
        return None
    values = _as_real_array(weights)
    if tuple(values.shape) != (n,):
        raise ValueError(
            f"sample_weight must have one entry for each of the {n} rows, got shape "
            f"{tuple(values.shape)}."
        )
    xp, _ = namespace_of(values)
    check_finite_block(values, name="sample_weight")
    if n and float(xp.min(values)) < 0:
        worst = int(xp.argmin(values))
        raise ValueError(
            f"sample_weight must not be negative, got {float(values[worst])} for row {worst}."
        )
    if library_name(xp) != library_name(space.xp) and library_name(xp) != "numpy":
        raise TypeError(
            f"sample_weight must be of {library_name(space.xp)} or numpy, got {library_name(xp)}."
        )
    if n and float(xp.max(values)) > float(space.xp.finfo(space.real).max):
        raise ValueError(
            f"sample_weight must be within the range of {dtype_name(space.xp, space.real)} as the "
            f"rows are, got {float(xp.max(values))}. Scale the weights, or use wider rows."
        )
    _check_sum(values, before, space)
    found = asarray(values, xp=space.xp, device=space.device, dtype=space.real, copy=False)
    _check_kept(values, found, space)
    return found


def _as_real_array(weights: Any) -> Array:
    """Return weights as an array of real numbers, or say what they are."""
    is_array = isinstance(weights, (list, tuple)) or hasattr(weights, "shape")
    values = as_array(weights) if is_array and not is_sparse(weights) else None
    if values is None or (isinstance(values, _HOST.ndarray) and values.dtype.kind not in "biufc"):
        kind = type(weights).__name__ if values is None else f"dtype {values.dtype}"
        raise TypeError(
            f"sample_weight must be an array of numbers, one for each row, got {kind}. For equal "
            "weights leave it out, or pass numpy.full(n_rows, weight)."
        )
    xp, _ = namespace_of(values)
    if is_complex_dtype(xp, values.dtype):
        raise TypeError(f"sample_weight must be real, got {dtype_name(xp, values.dtype)}.")
    return values


def _check_sum(values: Array, before: float, space: Space) -> None:
    """Refuse weights whose sum, that of earlier calls included, might overflow."""
    largest = float(space.xp.finfo(real_dtype(space.xp, space.wide)).max)
    most = math.ldexp(largest, -_SPARE_EXPONENT)
    with _HOST.errstate(over="ignore"):
        total = float(to_numpy(values).sum(dtype="float64"))
    if total > most or before > math.ldexp(largest, -_SPARE_EXPONENT_BEFORE):
        raise ValueError(
            f"sample_weight must add up to at most {most:.3g} in a call, and all weights to a "
            f"finite number, got {total:.3g} after {before:.3g}. "
            "Divide all weights by one number: eigenvectors do not depend on it."
        )


def _check_kept(values: Array, kept: Array, space: Space) -> None:
    """Refuse positive weights that the rows' precision cannot tell from zero."""
    smallest = float(space.xp.finfo(space.real).smallest_normal)
    host = to_numpy(values)
    lost = (host > 0) & (to_numpy(kept) < smallest)
    if lost.any():
        raise ValueError(
            f"sample_weight must be 0 or at least {smallest:.3g}, the smallest number of "
            f"{dtype_name(space.xp, space.real)}, got {float(host[lost][0]):.3g} for row "
            f"{int(lost.argmax())}. Scale the weights, or use wider rows."
        )


def n_bytes(block: Any) -> int:
    """Return about how much memory the entries of a block take."""
    values = block.data if is_sparse(block) else block
    return 8 * int(math.prod(values.shape))
