"""The observed entries of a matrix: every kind of input, held by rows and by columns.

::

    data = observe(A, mask=None, weights=None)
    data.rows, data.row_values            # sorted by rows
    data.columns, data.column_values      # the same entries sorted by columns
    fewer = select(data, ~held_out(data, 0.1, rng))

The order in which entries were given is forgotten, so that no bit of an answer depends on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    numpy_namespace,
    to_numpy,
    widest_float,
)
from linalgkit._core.scaling import ldexp, max_abs, silent
from linalgkit._kernels.observed import Lines
from linalgkit.completion import _compressed
from linalgkit.completion._sources import Source, exponent_of, read, selected, take
from linalgkit.completion._weights import read_weights

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class Observed:
    """The observed entries of an (m, n) matrix in canonical order, brought near order one.

    Attributes
    ----------
    xp, device : module, device
        Library and place of the values: those of the caller's input; NumPy's for scipy.sparse,
        masked arrays and lists.
    dtype : dtype
        float32, float64, complex64 or complex128.
    shape : tuple of int
        (m, n).
    rows, columns : Lines
        The pattern sorted by (row, column) and by (column, row).
    row_values, column_values : array (N,)
        The values in both orders, times ``2**-exponent``.
    row_weights, column_weights : array (N,) or None
        Positive weights in both orders, real, times ``2**-weight_exponent``.
    exponent, weight_exponent : int
        0 where the largest modulus was near order one already: within 2**60 either way in double
        precision, 2**20 in single; else such that it is in [1/2, 1] here.
    in_place : bool
        Whether values, weights or indices share the caller's memory.
    order : host array (N,) or None
        For triples alone: the place of each entry, in row order, among those that were given.
    n_given : int
        How many triples were given; 0 for other input.

    Notes
    -----
    Storage: two CSR forms, ``2 N`` values, weights and indices and ``2 (m + n)`` integers. With a
    canonical CSR or CSC matrix of the working dtype that needs no scaling, one of the two is the
    caller's memory.
    """

    xp: Namespace
    device: Device
    dtype: DType
    shape: tuple[int, int]
    rows: Lines = field(repr=False)
    columns: Lines = field(repr=False)
    row_values: Array = field(repr=False)
    column_values: Array = field(repr=False)
    row_weights: Array | None = field(repr=False)
    column_weights: Array | None = field(repr=False)
    exponent: int
    weight_exponent: int
    in_place: bool
    order: Array | None = field(repr=False, default=None)
    n_given: int = 0

    @property
    def count(self) -> int:
        """Number N of observed entries."""
        return self.rows.count

    def value_sum(self) -> complex:
        """Return the weighted sum of the values (one synchronisation)."""
        y, w = self.row_values, self.row_weights
        return complex(self.xp.sum(y if w is None else y * w))

    def weight_sums(self) -> tuple[float, float]:
        """Return sum and sum of squares of the weights."""
        w = self.row_weights
        if w is None:
            return float(self.count), float(self.count)
        wide = widest_float(self.xp, self.device)
        return tuple(float(self.xp.sum(x, dtype=wide)) for x in (w, w * w))  # type: ignore[return-value]

    def sampled(self, step: int) -> Observed:
        """Return every step-th entry in row order."""
        chosen = _HOST.zeros(self.count, dtype=_HOST.bool)
        chosen[::step] = True
        return select(self, chosen)


def observe(A: Any, *, mask: Any = None, weights: Any = None, n_threads: int = 1) -> Observed:
    """Read, check, sort and scale the observed entries of any kind of input.

    Parameters
    ----------
    A : sparse container, array, masked array, dataframe, tuple or iterable
        A scipy.sparse or cupyx.scipy.sparse container of any format, whose stored entries are the
        observed ones, explicit zeros included; a dense array of any library (or a dataframe, or
        nested lists of numbers) with NaN as missing, NA in nullable columns of pandas; a
        numpy.ma.MaskedArray (its mask: True = missing); a tuple (rows, cols, values, shape) of
        vectors of any library or lists; or an iterable of such tuples with one common shape, which
        is read once.
    mask : boolean array (m, n), optional
        For a dense `A`, of NumPy or of its library and on its device: True where it is observed.
        What lies under False is never looked at.
    weights : array or sparse container, optional
        Weights of squared errors, finite and at least 0, in the form of `A`: a matrix beside a
        dense `A`, a sparse one that stores a number for each stored entry of a sparse `A`, a
        vector (N,) in the caller's order beside triples. Those of missing entries are not looked
        at. An entry of weight 0 is left out.
    n_threads : int, default 1
        Threads of the kernels that work on the entries.

    Returns
    -------
    Observed
        The entries. The caller's data are never changed; they may share memory with it.

    Raises
    ------
    TypeError
        For objects, half precision, indices that are no integers, a mask that is not boolean,
        complex weights, arrays of two libraries, and sparse or dense weights beside the other.
    ValueError
        If nothing is observed, an index is negative or beyond the shape, an entry is given twice,
        an observed value is NaN or infinite, a weight is negative or not finite or absent; for
        shapes or lengths that differ, a mask beside sparse data or triples, and triples or items
        without a shape.

    Notes
    -----
    Storage: one CSC matrix of the entries beyond a canonical CSR input that needs no scaling (or
    the other way round), and another one of the weights while they are sorted. The pattern of a
    dense array, and the indices of triples, of a device come to the host once; values stay there.

    Examples
    --------
    >>> data = observe(([1, 0], [2, 1], [4.0, 3.0], (2, 3)))
    >>> data.count, data.row_values.tolist(), data.columns.indptr.tolist()
    (2, [3.0, 4.0], [0, 0, 1, 2])
    """
    source = read(A, mask)
    _check_some(source, "")
    largest = _largest(source)
    found = None
    weight_exponent = 0
    if weights is not None:
        found, weight_exponent = read_weights(weights, source)
        source, found = _without_zeros(source, found)
        largest = _largest(source)
    exponent = exponent_of(source.values, source.xp, source.values.dtype, largest)
    values = ldexp(source.values, -exponent, source.xp)
    side = _Side(source.indptr, source.indices, values, found)
    made = _assembled(source, side, n_threads)
    return replace(
        made, exponent=exponent, weight_exponent=weight_exponent, in_place=_shares(made, A, weights)
    )


def row_indices(observed: Observed) -> Array:
    """Return the row of each entry in row order, (N,) of int64 on the host."""
    return _compressed.repeated_rows(observed.rows.indptr)


def select(observed: Observed, chosen: Array) -> Observed:
    """Return some of the entries, with the same exponents.

    Parameters
    ----------
    observed : Observed
        The entries.
    chosen : host boolean array (N,)
        True for those that stay, in row order.

    Returns
    -------
    Observed
        New memory, but for indices and values if all entries stay.
    """
    if chosen.all():
        return observed
    source = Source(
        "sparse", observed.xp, observed.device, observed.shape, False, observed.rows.indptr,
        to_numpy(observed.rows.indices), observed.row_values, observed.order, observed.n_given,
    ).taken(chosen)  # fmt: skip
    weights = observed.row_weights
    if weights is not None:
        weights = selected(weights, chosen, observed.xp, observed.device)
    side = _Side(source.indptr, source.indices, source.values, weights)
    made = _assembled(source, side, observed.rows.n_threads)
    return replace(made, exponent=observed.exponent, weight_exponent=observed.weight_exponent)


def from_rows(
    indptr: Array, indices: Array, values: Array, weights: Array | None, shape: tuple[int, int],
    xp: Namespace, where: Device,
) -> Observed:  # fmt: skip
    """Return entries in row order, with exponents of zero."""
    source = Source("sparse", xp, where, shape, False, indptr, indices, values)
    return _assembled(source, _Side(indptr, indices, values, weights), 1)


# ------------------------------------------------------------------------------- assembling


@dataclass(frozen=True, eq=False)
class _Side:
    """Entries in the order of the rows or of the columns: host pattern, values and weights."""

    indptr: Array
    indices: Array
    values: Array
    weights: Array | None


def _assembled(source: Source, side: _Side, n_threads: int) -> Observed:
    """Sort the entries the other way, too."""
    other = _turned(side, source)
    rows, columns = (other, side) if source.transposed else (side, other)
    (m, n), xp, where = source.shape, source.xp, source.device
    return Observed(
        xp, where, source.values.dtype, source.shape,
        Lines(rows.indptr, _compressed.narrow(rows.indices, n), n, xp, where, n_threads),
        Lines(columns.indptr, _compressed.narrow(columns.indices, m), m, xp, where, n_threads),
        rows.values, columns.values, rows.weights, columns.weights, 0, 0, False,
        source.order, source.n_given,
    )  # fmt: skip


def _turned(side: _Side, source: Source) -> _Side:
    """Return the same entries sorted by their other index; no permutation stays."""
    shape = side.indptr.shape[0] - 1, source.n_other
    if source.xp is _HOST:
        turned = _csc(side, side.values, shape)
        weights = None if side.weights is None else _csc(side, side.weights, shape).data
        return _Side(turned.indptr, turned.indices, turned.data, weights)
    count = side.indices.shape[0]
    turned = _csc(side, _compressed.places(count), shape)
    values, weights = (
        None if x is None else take(x, turned.data, source.xp, source.device)
        for x in (side.values, side.weights)
    )
    return _Side(turned.indptr, turned.indices, values, weights)


def _csc(side: _Side, data: Array, shape: tuple[int, int]) -> Any:
    return _compressed.csr_form(data, side.indices, side.indptr, shape).tocsc()


def _shares(made: Observed, *given: Any) -> bool:
    """Tell whether memory of the caller's sparse containers is used as it lies."""
    if made.xp is not _HOST:
        return False
    theirs = [getattr(x, name, None) for x in given for name in ("data", "indices")]
    mine = [made.row_values, made.column_values, made.rows.indices, made.columns.indices]
    mine += [x for x in (made.row_weights, made.column_weights) if x is not None]
    return any(
        isinstance(y, _HOST.ndarray) and _HOST.may_share_memory(x, y) for x in mine for y in theirs
    )


# ---------------------------------------------------------------------------------- values


def _check_some(source: Source, why: str) -> None:
    if source.indices.shape[0] == 0:
        raise ValueError(
            f"A must have an observed entry, got none in the shape {source.shape}{why}. "
            "NaN in dense data and what a sparse matrix does not store are missing."
        )


def _largest(source: Source) -> float:
    """Return the largest modulus (infinite if only that overflows); NaN and inf are refused."""
    with silent():
        largest = max_abs(source.values, source.xp)
    if math.isfinite(largest):
        return largest
    xp = source.xp
    bad = ~to_numpy(xp.isfinite(source.values))
    if not bad.any():
        return math.inf
    entry = int(_HOST.argmax(bad))
    is_nan = bool(_HOST.isnan(to_numpy(source.values)[entry]))
    if source.kind == "dense":
        hint = "Set mask to False there" if is_nan else "Set it to NaN, or mask to False there"
    else:
        hint = "Leave the entry out"
    raise ValueError(
        f"A must be finite where it is observed, got {'NaN' if is_nan else 'infinity'} at "
        f"(row, column) = {source.place(entry)}. {hint} if it is missing."
    )


def _without_zeros(source: Source, weights: Array) -> tuple[Source, Array]:
    """Leave out entries of weight zero."""
    chosen = to_numpy(weights) > 0
    if chosen.all():
        return source, weights
    source = source.taken(chosen)
    _check_some(source, " with a weight above 0")
    return source, selected(weights, chosen, source.xp, source.device)
