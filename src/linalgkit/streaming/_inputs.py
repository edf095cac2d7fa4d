"""What a caller may pass as rows, turned into blocks of one library and dtype."""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    array_namespace,
    asarray,
    dtype_name,
    is_complex_dtype,
    is_dask,
    is_sparse,
    library_name,
    library_of,
    namespace_of,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_finite_block
from linalgkit.streaming._preprocess import Space


def as_row_matrix(X: Any) -> Any:
    """Return one row (d,) as a matrix (1, d); anything else as it is."""
    if is_dask(X):
        raise TypeError(
            "X must be rows in memory, got a dask array. Pass it to fit, which reads it block by "
            "block, or pass its blocks one by one, each after compute()."
        )
    if not is_sparse(X) and getattr(X, "ndim", None) == 1 and hasattr(X, "dtype"):
        array_namespace(X)
        return X[None, :]
    return X


def as_csr(block: Any) -> Any:
    """Return sparse containers as CSR, whose rows can be cut; arrays as they are."""
    return block.tocsr() if is_sparse(block) and block.format != "csr" else block


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


def check_same_place(block: Any, space: Space) -> None:
    """Refuse rows of another library or device than the stream's, and complex ones beside real."""
    xp, where = namespace_of(block)
    if library_name(xp) != library_name(space.xp) or where != space.device:
        raise TypeError(
            f"X must be of {library_name(space.xp)} on {space.device} as the stream was, got "
            f"{library_name(xp)} on {where}. Convert it first."
        )
    if is_complex_dtype(xp, block.dtype) and not is_complex_dtype(xp, space.dtype):
        raise TypeError(
            f"X must be real as the stream was, got {dtype_name(xp, block.dtype)}. "
            "Transform the real and the imaginary part by themselves."
        )


def in_joint_dtype(block: Any, V: Array, space: Space) -> tuple[Any, Array]:
    """Return rows and vectors in the wider of their dtypes."""
    xp = space.xp
    if not xp.isdtype(block.dtype, ("real floating", "complex floating")):
        return in_dtype(block, space), V
    dtype = xp.result_type(block.dtype, V.dtype)
    wider = block if block.dtype == dtype else _astype(block, dtype, xp)
    return wider, V if V.dtype == dtype else xp.astype(V, dtype)


def _astype(block: Any, dtype: Any, xp: Any) -> Any:
    return block.astype(dtype) if is_sparse(block) else xp.astype(block, dtype)


def as_weights(weights: Any, n: int, space: Space) -> Array | None:
    """Return the weights of `n` rows as a real array beside them, after checking them."""
    if weights is None:
        return None
    values = as_array(weights)
    if tuple(values.shape) != (n,):
        raise ValueError(
            f"sample_weight must have one entry for each of the {n} rows, got shape "
            f"{tuple(values.shape)}."
        )
    xp, _ = namespace_of(values)
    if is_complex_dtype(xp, values.dtype):
        raise TypeError(f"sample_weight must be real, got {dtype_name(xp, values.dtype)}.")
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
    return asarray(values, xp=space.xp, device=space.device, dtype=space.real, copy=False)


def is_in_memory(X: object) -> bool:
    """Tell whether `X` is a table of rows, and not a store or an iterable of blocks."""
    if isinstance(X, (list, tuple)):
        return not any(_is_block(item) for item in X)
    return is_sparse(X) or hasattr(X, "to_numpy") or library_of(X) in LIBRARIES


def _is_block(item: object) -> bool:
    return is_sparse(item) or is_dask(item) or library_of(item) in LIBRARIES


def n_bytes(block: Any) -> int:
    """Return about how much memory the entries of a block take."""
    values = block.data if is_sparse(block) else block
    return 8 * int(math.prod(values.shape))
