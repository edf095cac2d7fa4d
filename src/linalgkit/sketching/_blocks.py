"""Blocks of data at the boundary of a sketch, and the pieces in which products are made.

::

    block, is_vector = as_block("X", X)
    for start, stop in cuts(0, n, step):
        total = add(total, share(start, stop))

"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    is_sparse,
    working_dtype,
)
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator, as_operator
from linalgkit._core.validation import check_finite_block
from linalgkit.sketching._draws import HOST

Cuts = Iterator[tuple[int, int]]


def cuts(start: int, stop: int, step: int) -> Cuts:
    """Yield the ends of pieces of at most `step`, one after the other."""
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def to(host: Array, xp: Namespace, dev: Device, dtype: DType | None = None) -> Array:
    """Return a small host array of draws on a device; the result is only read."""
    if xp is HOST and (dtype is None or host.dtype == dtype):
        return host
    return asarray(host, xp=xp, device=dev, dtype=dtype, copy=False)


def joined(parts: list[Array], axis: int, xp: Namespace) -> Array:
    """Return arrays side by side (axis 1) or below each other, a single one as it is."""
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)


def add(total: Array | None, part: Array) -> Array:
    """Add a share to the sum, in place where arrays can be written; None stands for no sum yet."""
    if total is None:
        return part
    total += part
    return total


def identity_pieces(
    size: int, width: int, xp: Namespace, dev: Device, dtype: DType
) -> Iterator[Array]:
    """Yield the columns of the identity, `width` at a time."""
    for k, stop in cuts(0, size, width):
        yield xp.eye(size, stop - k, k=-k, dtype=dtype, device=dev)


def as_block(name: str, X: Any) -> tuple[Any, bool]:
    """Return a 2-D array or an operator, and whether `X` was a vector."""
    if is_sparse(X) or isinstance(X, Operator):
        return as_operator(X), False
    if hasattr(X, "matmat") and hasattr(X, "rmatmat") and hasattr(X, "shape"):
        return as_operator(X), False
    xp = array_namespace(X)
    working_dtype(xp, device(X), X.dtype)
    if X.ndim not in (1, 2):
        raise ValueError(f"{name} must be 1-D or 2-D, got shape {tuple(X.shape)}.")
    return (X[:, None], True) if X.ndim == 1 else (X, False)


def refuse_not_finite(given: Any, block: Any) -> NoReturn:
    """Raise, and tell whether the data or the size of the product are to blame."""
    if not isinstance(block, Operator):
        check_finite_block(given)
    elif isinstance(block, (DenseOperator, SparseOperator)):
        check_finite_block(block.A)
    else:
        raise ValueError(
            "X must not contain NaN or infinity, but a product with it does. "
            "Check the operator's matmat and rmatmat."
        )
    raise ValueError(
        "X must be small enough for S @ X to be finite in its precision, but the product "
        "overflows. Multiply X by a power of two first."
    )
