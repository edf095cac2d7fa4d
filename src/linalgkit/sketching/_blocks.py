"""Blocks of data at the boundary of a sketch, and the pieces in which products are made.

::

    block, is_vector = as_block("X", X)
    for start, stop in cuts(0, n, step):
        total = add(total, share(start, stop))

"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    is_complex,
    is_sparse,
    namespace_of,
    real_dtype,
    to_numpy,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator, as_operator
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent, silent
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
    if isinstance(X, Operator):
        return X, False
    if is_sparse(X) or all(hasattr(X, part) for part in ("matmat", "rmatmat", "shape")):
        if len(X.shape) != 2:
            raise ValueError(f"{name} must be 2-D (rows, columns), got shape {tuple(X.shape)}.")
        return as_operator(X), False
    X = as_array(X, name)
    xp = array_namespace(X)
    working_dtype(xp, device(X), X.dtype)
    if X.ndim not in (1, 2):
        raise ValueError(f"{name} must be 1-D or 2-D, got shape {tuple(X.shape)}.")
    return (X[:, None], True) if X.ndim == 1 else (X, False)


# ----------------------------------------------------------------------------------- range


class ScaledOperator(Operator):
    """A matrix that is known by its products alone, times a power of two.

    Half of it scales the factor and half the product, so that neither leaves the range.
    """

    def __init__(self, base: Operator, exponent: int) -> None:
        super().__init__(base.shape, base.dtype, base.xp, base.device)
        self.base, self.before, self.after = base, exponent // 2, exponent - exponent // 2

    def matmul(self, Z: Array) -> Array:
        """Return the scaled ``A Z``."""
        Y = self.base.matmul(ldexp(Z, self.before, self.xp))
        return ldexp(Y, self.after, self.xp)

    def rmatmul(self, P: Array) -> Array:
        """Return the scaled ``A^H P``."""
        Y = self.base.rmatmul(ldexp(P, self.before, self.xp))
        return ldexp(Y, self.after, self.xp)


def longest_exponent(xp: Namespace, dtype: DType) -> int:
    """Return the largest k for which ``2**k`` and ``2**-k`` are normal numbers of a dtype."""
    smallest = float(xp.finfo(real_dtype(xp, dtype)).smallest_normal)
    return -scale_exponent(smallest) + 1


def largest_part(A: Any) -> float:
    """Return the largest absolute value of a real or imaginary part; moduli may overflow."""
    values = A.data if is_sparse(A) else A
    xp, _ = namespace_of(values)
    if not is_complex(values, xp):
        return max_abs(values, xp)
    return max(max_abs(xp.real(values), xp), max_abs(xp.imag(values), xp))


def scaled_down(block: Any) -> tuple[Any, int]:
    """Return finite data divided by a power of two, entries of which are below 1, and its log."""
    if isinstance(block, (DenseOperator, SparseOperator)):
        exponent = scale_exponent(largest_part(block.A))
        return block.scaled(-exponent), exponent
    if isinstance(block, Operator):
        exponent = longest_exponent(block.xp, block.dtype) // 2
        return ScaledOperator(block, -exponent), exponent
    xp = array_namespace(block)
    values = xp.astype(block, working_dtype(xp, device(block), block.dtype), copy=False)
    exponent = scale_exponent(largest_part(values))
    return ldexp(values, -exponent, xp), exponent


def finite_product(
    product: Callable[[Any], Array], block: Any, given: Any, *, name: str, of: str
) -> Array:
    """Return ``product(block)`` for a linear map, or raise where that is not finite.

    Sums that overflow although the product does not are made again, of scaled data.

    Parameters
    ----------
    product : callable
        The map.
    block : array or operator
        What it is applied to.
    given : array or sparse container
        What the caller gave, for the message.
    name, of : str
        Its name, and that of the product.
    """
    with silent():
        Y = product(block)
    xp = array_namespace(Y)
    is_finite = xp.isfinite(Y)
    if bool(xp.all(is_finite)):
        return Y
    check_entries(given, block, name)
    with silent():
        small, exponent = scaled_down(block)
        again = product(small)
        # Entries that are finite have met no overflow, and the others no underflow that counts.
        Y = xp.where(is_finite, Y, ldexp(again, exponent, xp))
    if isinstance(small, ScaledOperator) and not bool(xp.all(xp.isfinite(again))):
        raise ValueError(
            f"{name} must not contain NaN or infinity, but a product with it does. "
            "Check the operator's matmat and rmatmat."
        )
    if not bool(xp.all(xp.isfinite(Y))):
        refuse_overflow(name, of)
    return Y


def check_entries(given: Any, block: Any, name: str) -> None:
    """Refuse NaN and infinity among entries that can be seen."""
    if isinstance(block, (DenseOperator, SparseOperator)):
        check_finite_block(block.A, name=name)
    elif not isinstance(block, Operator):
        check_finite_block(given, name=name)


def refuse_overflow(name: str, of: str) -> NoReturn:
    """Raise for a product that is too large for its precision."""
    raise ValueError(
        f"{name} must be small enough for {of} to be finite in its precision, but the product "
        f"overflows. Multiply {name} by a power of two first."
    )


def column_largest(A: Array, xp: Namespace) -> Array:
    """Return the largest absolute real or imaginary part in each column, float64 on the host."""
    parts = (xp.real(A), xp.imag(A)) if is_complex(A, xp) else (A,)
    largest = [to_numpy(xp.max(xp.abs(part), axis=0)) for part in parts]
    return HOST.max(HOST.stack(largest), axis=0).astype("float64")


def exponents_of(largest: Array) -> Array:
    """Return the exponents that bring numbers on the host into [1/2, 1), 0 for zero."""
    return HOST.frexp(largest)[1].astype("int64")


def ldexp_columns(A: Array, exponents: Array, xp: Namespace) -> Array:
    """Return an array with column j multiplied by ``2**exponents[j]``, in steps that fit."""
    longest = longest_exponent(xp, A.dtype)
    while bool((exponents != 0).any()):
        step = HOST.clip(exponents, -longest, longest)
        # Past four steps everything is zero or infinite.
        exponents = HOST.clip(exponents - step, -3 * longest, 3 * longest)
        A = A * to(HOST.ldexp(1.0, step), xp, device(A), A.dtype)[None, :]
    return A
