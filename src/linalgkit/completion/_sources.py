"""Every kind of input of a matrix completion, read into one form.

::

    source = read(A, mask)
    source.indptr, source.indices     # the pattern, on the host, sorted
    source.values                     # in the library of the input, in the same order
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    dtype_name,
    index_dtype,
    is_sparse,
    library_name,
    namespace_of,
    numpy_namespace,
    real_dtype,
    to_numpy,
    type_root,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.scaling import max_abs, scale_exponent
from linalgkit._core.validation import check_array_2d, refuse_dask
from linalgkit.completion import _compressed
from linalgkit.completion._triples import (
    Triples,
    checked_dtype,
    is_stream,
    is_triple,
    joined_items,
    read_triple,
)

_HOST = numpy_namespace()
#: What True means in a boolean array, by the name of the argument.
_TRUE_MEANS = {"mask": "observed", "validation": "held out", "exclude": "left out"}
#: Data whose largest modulus lies within these powers of two are not scaled, hence not copied.
_NEAR = {"float32": 20, "float64": 60}


@dataclass(frozen=True, eq=False)
class Source:
    """Observed entries as they were read, by rows (of the transpose, if `transposed`).

    Attributes
    ----------
    kind : {"sparse", "dense", "triples"}
        What the caller gave.
    xp, device : module, device
        Where `values` lies.
    shape : tuple of int
        Of the caller's matrix.
    transposed : bool
        Whether the pattern is that of the transpose (a CSC matrix).
    indptr, indices : host arrays (lines + 1,), (N,)
        Sorted, without duplicates.
    values : array (N,)
        In the working dtype.
    order : host array (N,), optional
        Places in the caller's triples.
    n_given : int
        How many triples the caller gave.
    """

    kind: str
    xp: Namespace
    device: Device
    shape: tuple[int, int]
    transposed: bool
    indptr: Array = field(repr=False)
    indices: Array = field(repr=False)
    values: Array = field(repr=False)
    order: Array | None = field(repr=False, default=None)
    n_given: int = 0

    @property
    def n_other(self) -> int:
        """Length of a line of the pattern."""
        return self.shape[0] if self.transposed else self.shape[1]

    def place(self, entry: int) -> tuple[int, int]:
        """Return row and column of an entry in the caller's matrix."""
        line, other = _compressed.row_of(self.indptr, entry), int(self.indices[entry])
        return (other, line) if self.transposed else (line, other)

    def taken(self, chosen: Array) -> Source:
        """Return some of the entries alone, those where a host boolean array (N,) is True."""
        lengths = _compressed.counts(chosen, self.indptr)
        return replace(
            self,
            indptr=_compressed.row_starts(lengths),
            indices=self.indices[chosen],
            values=selected(self.values, chosen, self.xp, self.device),
            order=None if self.order is None else self.order[chosen],
        )


def take(values: Array, places: Array, xp: Namespace, where: Device) -> Array:
    """Return the numbers of a 1-D array at places that are given on the host."""
    if xp is _HOST:
        return values[places]
    index = asarray(places, xp=xp, device=where, dtype=index_dtype(xp), copy=False)
    return xp.take(values, index, axis=0)


def selected(values: Array, chosen: Array, xp: Namespace, where: Device) -> Array:
    """Return the numbers of a 1-D array where a host boolean array is True."""
    if xp is _HOST:
        return values[chosen]
    return take(values, _HOST.flatnonzero(chosen), xp, where)


def exponent_of(values: Array, xp: Namespace, dtype: DType, largest: float) -> int:
    """Return the exponent by which finite numbers are brought near order one in `dtype`.

    0 where their largest modulus is near it; that may be infinite, where only it overflows.
    """
    near = _NEAR[dtype_name(xp, real_dtype(xp, dtype))]
    if largest == 0 or 2.0**-near <= largest <= 2.0**near:
        return 0
    if largest < math.inf:
        return scale_exponent(largest)
    return 1 + scale_exponent(max(max_abs(xp.real(values), xp), max_abs(xp.imag(values), xp)))


def read(A: Any, mask: Any = None) -> Source:
    """Return the observed entries of any kind of input, unscaled.

    Parameters
    ----------
    A : see :func:`linalgkit.completion._observed.observe`
        The data.
    mask : boolean array (m, n), optional
        True where a dense `A` is observed.

    Returns
    -------
    Source
        The entries.
    """
    refuse_dask("A", A)
    if isinstance(A, (str, bytes, Mapping)):
        as_array(A, "A")  # refuses it
    if is_sparse(A):
        _refuse_mask(mask, "sparse A: its stored entries are the observed ones, zeros included")
        return from_sparse(A)
    if is_triple(A) or is_stream(A):
        _refuse_mask(mask, "triples: the entries that are given are the observed ones")
        return _from_triples(read_triple("A", A) if is_triple(A) else joined_items(A))
    return _from_dense(A, mask)


def _refuse_mask(mask: Any, why: str) -> None:
    if mask is not None:
        raise ValueError(
            f"mask must be None for {why}. Leave out what is missing and call without a mask."
        )


# ---------------------------------------------------------------------------------- sparse


def from_sparse(A: Any, name: str = "A") -> Source:
    """Read a scipy.sparse or cupyx.scipy.sparse container; it is not changed."""
    if A.ndim != 2:
        raise ValueError(f"{name} must be 2-D (rows, columns), got shape {tuple(A.shape)}.")
    if type_root(A) == "cupyx":
        return replace(_from_triples(_device_triples(A, name), name), kind="sparse", order=None)
    dtype = checked_dtype(name, A, _HOST, "cpu")
    csr, transposed = _compressed.compressed(A, name)
    csr = _compressed.canonical(csr.astype(dtype, copy=False), transposed, name)
    return Source(
        "sparse", _HOST, "cpu", tuple(A.shape), transposed, csr.indptr, csr.indices, csr.data
    )  # fmt: skip


def _device_triples(A: Any, name: str) -> Triples:
    """Bring the pattern of a sparse matrix on a device to the host, once."""
    coo = A.tocoo()
    xp, where = namespace_of(coo.data)
    values = xp.astype(coo.data, checked_dtype(name, coo.data, xp, where), copy=False)
    return Triples(to_numpy(coo.row), to_numpy(coo.col), values, tuple(A.shape), xp, where)


def _from_triples(triples: Triples, name: str = "A") -> Source:
    """Sort triples by rows; the order in which they were given is kept beside them."""
    count, (m, n) = triples.rows.shape[0], triples.shape
    places = _compressed.places(count)
    csr = _compressed.from_coordinates(triples.rows, triples.columns, places, (m, n))
    csr = _compressed.canonical(csr, name=name)
    values = take(triples.values, csr.data, triples.xp, triples.device)
    return Source(
        "triples", triples.xp, triples.device, (m, n), False, csr.indptr, csr.indices, values,
        csr.data, count,
    )  # fmt: skip


# ----------------------------------------------------------------------------------- dense


def _from_dense(A: Any, mask: Any) -> Source:
    """Read a dense array: NaN is missing, or a mask says what is observed."""
    if is_masked(A):
        if mask is not None:
            raise ValueError(
                "mask must be None for a masked array, which has its own (True = missing). "
                "Pass A.data with the mask instead."
            )
        mask = ~_HOST.broadcast_to(A.mask, A.shape)
        A = A.data
    A = _table("A", without_nullable(A))
    A, xp = check_array_2d("A", A)
    where = device(A)
    dtype = checked_dtype("A", A, xp, where)
    shape = int(A.shape[0]), int(A.shape[1])
    if mask is None:
        seen = _not_nan(A, xp)
    else:
        mask = _table("mask", mask)
        seen = checked_mask("mask", mask, shape)
        check_library("mask", *namespace_of(mask), xp, where)
    indptr, indices = _pattern(seen)
    if xp is _HOST:
        values = A[seen].astype(dtype, copy=False)
    else:  # in the working dtype first: torch gathers no uint16
        values = gathered(xp.astype(A, dtype, copy=False), _HOST.flatnonzero(seen), xp)
    return Source("dense", xp, where, shape, False, indptr, indices, values)


def check_library(
    name: str, xp: Namespace, where: Device, data_xp: Namespace, data_where: Device
) -> None:
    """Let what stands beside data be of NumPy, or of their library and on their device."""
    if xp is _HOST:
        return
    if library_name(xp) != library_name(data_xp) or where != data_where:
        wanted = "numpy as A is"
        if data_xp is not _HOST:
            wanted = f"numpy or of {library_name(data_xp)} on {data_where} as A is"
        raise TypeError(
            f"{name} must be of {wanted}, got {library_name(xp)} on {where}. Convert first."
        )


def is_masked(A: Any) -> bool:
    """Tell whether `A` is a numpy.ma.MaskedArray."""
    return isinstance(A, _HOST.ndarray) and hasattr(A, "mask") and hasattr(A, "fill_value")


def _table(name: str, A: Any) -> Any:
    """Return dataframes and nested lists as arrays, with a message for ragged lists."""
    try:
        return as_array(A, name)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a table of numbers with rows of one length, or a tuple (rows, cols, "
            f"values, shape): {error}"
        ) from None


def without_nullable(A: Any) -> Any:
    """Return a pandas table of nullable numbers with plain ones, NaN for NA; others as they are."""
    kinds = list(A.dtypes) if hasattr(A, "to_numpy") and hasattr(A, "dtypes") else []
    plain = [getattr(kind, "numpy_dtype", None) for kind in kinds]  # None: NumPy's own
    if all(kind is None for kind in plain) or any(
        getattr(k, "kind", "O") not in "biuf" for k in kinds
    ):
        return A
    dtype = _HOST.result_type(*[k if p is None else p for k, p in zip(kinds, plain, strict=True)])
    return A.astype(dtype if dtype.kind == "f" else _HOST.float64)


def _not_nan(A: Array, xp: Namespace) -> Array:
    """Return where `A` is not NaN, on the host (one transfer)."""
    if xp.isdtype(A.dtype, ("bool", "integral")):
        return _HOST.ones(tuple(A.shape), dtype=_HOST.bool)
    return ~to_numpy(xp.isnan(A))


def checked_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Array:
    """Return a boolean array of the given shape on the host, or raise."""
    if is_sparse(mask):
        raise TypeError(
            f"{name} must be a boolean array, got the sparse {type(mask).__name__}. "
            "Pass mask.toarray(), or the data themselves as a sparse matrix."
        )
    mask = _table(name, mask)
    try:
        xp = array_namespace(mask)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(
            f"{name} must be boolean, got dtype {dtype_name(xp, mask.dtype)}. True means "
            f"{_TRUE_MEANS[name]}; {name} != 0 makes one."
        )
    if tuple(mask.shape) != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {tuple(mask.shape)}.")
    return to_numpy(mask)


def _pattern(seen: Array) -> tuple[Array, Array]:
    """Return row starts and column indices of the True entries."""
    m, n = seen.shape
    indptr = _compressed.row_starts(_HOST.count_nonzero(seen, axis=1))
    columns = _compressed.places(n)
    return indptr, _HOST.broadcast_to(columns, (m, n))[seen]


def gathered(A: Array, places: Array, xp: Namespace) -> Array:
    """Return the numbers of a matrix at flat places that are given on the host, increasing.

    The matrix is cut by rows where its flat places are beyond the integers of its library.
    """
    where, n = device(A), int(A.shape[1])
    step = max(1, int(xp.iinfo(index_dtype(xp)).max) // n)
    parts = []
    for start in range(0, int(A.shape[0]), step):
        stop = min(start + step, int(A.shape[0]))
        low, high = _HOST.searchsorted(places, _HOST.asarray([start * n, stop * n]))
        flat = xp.reshape(A[start:stop, :], (-1,))
        parts.append(take(flat, places[low:high] - start * n, xp, where))
    return parts[0] if len(parts) == 1 else xp.concat(parts)
