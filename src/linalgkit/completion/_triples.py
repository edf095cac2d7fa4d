"""Entries as (rows, cols, values, shape), and streams of such items.

::

    read_triple("A", ([0, 1], [2, 0], [3.0, 4.0], (2, 3)))
    joined_items(iter(items))     # one pass; all items have one shape
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    device,
    dtype_name,
    is_sparse,
    library_name,
    library_of,
    numpy_namespace,
    to_numpy,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_int

_HOST = numpy_namespace()
_FORM = "(rows, cols, values, shape)"


@dataclass(frozen=True, eq=False)
class Triples:
    """Checked triples in the caller's order.

    Attributes
    ----------
    rows, columns : host arrays (N,)
        Integers inside `shape`.
    values : array (N,)
        In the working dtype.
    shape : tuple of int
        Of the matrix.
    xp, device : module, device
        Where `values` lies.
    """

    rows: Array = field(repr=False)
    columns: Array = field(repr=False)
    values: Array = field(repr=False)
    shape: tuple[int, int]
    xp: Namespace
    device: Device


def checked_dtype(name: str, x: Array, xp: Namespace, where: Device) -> DType:
    """Return the dtype in which `x` is worked on; half precision and objects are refused."""
    shown = dtype_name(xp, x.dtype)
    if shown in ("float16", "bfloat16"):
        raise TypeError(
            f"{name} must be of at least single precision, got {shown}. Convert it to float32: "
            "half precision holds too few digits for residuals."
        )
    if getattr(x.dtype, "kind", "f") not in "biufc":
        raise TypeError(
            f"{name} must be numeric, got dtype {x.dtype}. Convert it first, for instance "
            "with astype(float)."
        )
    try:
        return working_dtype(xp, where, x.dtype)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _is_item(x: object) -> bool:
    """Tell whether `x` looks like one item of a stream and not like a row of numbers."""
    return (
        isinstance(x, (tuple, list))
        and len(x) in (3, 4)
        and all(hasattr(part, "__len__") or hasattr(part, "shape") for part in x)
    )


def _are_items(A: Sequence[Any]) -> bool:
    return len(A) > 0 and all(_is_item(x) for x in A)


def is_triple(A: object) -> bool:
    """Tell whether `A` is meant as (rows, cols, values, shape): a tuple, but not one of items."""
    return isinstance(A, tuple) and not _are_items(A)


def is_stream(A: object) -> bool:
    """Tell whether `A` is an iterable of items, and not an array, a table or a nested list."""
    if isinstance(A, (list, tuple)):
        return _are_items(A)
    is_table = is_sparse(A) or any(hasattr(A, n) for n in ("shape", "to_numpy", "__array__"))
    return isinstance(A, Iterable) and not (is_table or isinstance(A, (str, bytes, Mapping)))


def read_triple(name: str, item: Any) -> Triples:
    """Check one (rows, cols, values, shape) and return it."""
    if not isinstance(item, (tuple, list)) or len(item) != 4:
        size = f"{len(item)} items" if isinstance(item, (tuple, list)) else type(item).__name__
        raise ValueError(
            f"{name} must be {_FORM}, got {size}. The shape is needed, since the largest index "
            "does not tell it: (rows, cols, values, (m, n))."
        )
    shape = _checked_shape(name, item[3])
    values, xp = _checked_values(name, item[2])
    rows, columns = _on_host(
        [
            _checked_indices(f"the {word} of {name}", index)
            for word, index in zip(("rows", "cols"), item[:2], strict=True)
        ]
    )
    lengths = tuple(int(x.shape[0]) for x in (rows, columns, values))
    if len(set(lengths)) > 1:
        raise ValueError(
            f"rows, cols and values of {name} must have one length, got {lengths}. "
            "Each entry needs its row, its column and its value."
        )
    _check_range(f"the rows of {name}", rows, shape[0], shape)
    _check_range(f"the cols of {name}", columns, shape[1], shape)
    return Triples(rows, columns, values, shape, xp, device(values))


def _checked_shape(name: str, shape: Any) -> tuple[int, int]:
    """Return a shape as two Python ints."""
    if not hasattr(shape, "__len__") or len(shape) != 2:
        raise ValueError(f"the shape of {name} must be two integers (m, n), got {shape!r}.")
    m, n = (check_int(f"shape[{i}] of {name}", size, 1) for i, size in enumerate(shape))
    return m, n


def _vector(name: str, x: Any) -> Array:
    """Return an array of any library, or a list as one of NumPy's; it must be 1-D."""
    if is_sparse(x):
        raise TypeError(f"{name} must be a dense vector, got the sparse {type(x).__name__}.")
    x = _HOST.asarray(x) if isinstance(x, range) else as_array(x, name)
    try:
        array_namespace(x)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    if x.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {tuple(x.shape)}.")
    return x


def _checked_values(name: str, values: Any) -> tuple[Array, Namespace]:
    """Return values in their working dtype, and their namespace."""
    name = f"the values of {name}"
    values = _vector(name, values)
    xp = array_namespace(values)
    dtype = checked_dtype(name, values, xp, device(values))
    return xp.astype(values, dtype, copy=False), xp


def _checked_indices(name: str, x: Any) -> Array:
    """Return indices where they are."""
    x = _vector(name, x)
    xp = array_namespace(x)
    if x.shape[0] == 0:
        return _HOST.zeros(0, dtype=_HOST.int64)
    if not xp.isdtype(x.dtype, "integral"):
        raise TypeError(
            f"{name} must be integers, got dtype {dtype_name(xp, x.dtype)}. Convert them first, "
            "for instance with astype(int)."
        )
    return x


def _on_host(vectors: Sequence[Array]) -> list[Array]:
    """Return indices on the host: one transfer where they lie together."""
    first, second = vectors
    if library_of(second) != library_of(first) or device(second) != device(first):
        return [to_numpy(x) for x in vectors]
    xp = array_namespace(first)
    if library_name(xp) == "numpy":
        return list(vectors)
    both = to_numpy(xp.concat([xp.astype(x, xp.int64, copy=False) for x in vectors]))
    count = int(first.shape[0])
    return [both[:count], both[count:]]


def _check_range(name: str, index: Array, size: int, shape: tuple[int, int]) -> None:
    """Refuse the first index that lies outside the matrix."""
    if index.shape[0] == 0 or (int(index.min()) >= 0 and int(index.max()) < size):
        return
    place = int(_HOST.argmax((index < 0) | (index >= size)))
    found = int(index[place])
    hint = "Negative indices do not count from the end." if found < 0 else "Count from 0."
    raise ValueError(
        f"{name} must be between 0 and {size - 1} for a matrix of shape {shape}, got the index "
        f"{found} at entry {place}, which is {'negative' if found < 0 else 'out of range'}. {hint}"
    )


# --------------------------------------------------------------------------------- streams


def joined_items(items: Iterable[Any]) -> Triples:
    """Read a stream once and return all of its entries, in the order of the items.

    The library, device and shape are those of the first item that has entries; dtypes are
    promoted. Nothing is returned, and nothing kept, if an item is refused.
    """
    found: list[Triples] = []
    shape = None
    for i, item in enumerate(items):
        part = read_triple(f"item {i} of A", item)
        if shape is not None and part.shape != shape:
            raise ValueError(
                f"all items of A must have one shape, got {part.shape} in item {i} and {shape} "
                "before. Give the shape of the whole matrix with each item."
            )
        shape = part.shape
        if part.rows.shape[0] > 0:
            _check_place(f"item {i} of A", part, found)
            found.append(part)
    if not found:
        raise ValueError(f"A must have an observed entry, got a stream of {_FORM} without any.")
    return found[0] if len(found) == 1 else _concatenated(found)


def _check_place(name: str, part: Triples, found: list[Triples]) -> None:
    """Refuse values of another library or device than those before."""
    if not found:
        return
    first = found[0]
    if library_name(part.xp) != library_name(first.xp) or part.device != first.device:
        raise TypeError(
            f"the values of {name} must be of {library_name(first.xp)} on {first.device} as "
            f"those before, got {library_name(part.xp)} on {part.device}. Convert them first."
        )


def _concatenated(found: list[Triples]) -> Triples:
    first = found[0]
    xp = first.xp
    dtype = xp.result_type(*[part.values.dtype for part in found])
    dtype = working_dtype(xp, first.device, dtype)
    return Triples(
        _HOST.concat([part.rows for part in found]),
        _HOST.concat([part.columns for part in found]),
        xp.concat([xp.astype(part.values, dtype, copy=False) for part in found]),
        first.shape,
        xp,
        first.device,
    )
