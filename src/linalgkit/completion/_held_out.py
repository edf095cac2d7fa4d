"""Entries that are held out of a fit to judge it.

::

    chosen = held_out(data, 0.1, rng)          # or a mask
    training, test = select(data, ~chosen), select(data, chosen)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from linalgkit._core.array import Array, is_sparse, numpy_namespace, to_numpy, type_root
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_float
from linalgkit.completion import _compressed
from linalgkit.completion._observed import Observed, row_indices
from linalgkit.completion._sources import checked_mask

_HOST = numpy_namespace()


def held_out(observed: Observed, validation: Any, rng: Any) -> Array:
    """Choose the entries that are held out.

    Parameters
    ----------
    observed : Observed
        The entries.
    validation : float, boolean array or sparse container
        A fraction in (0, 1), drawn at random such that every row and column that has entries keeps
        one (fewer are held out where there are not enough others); a boolean array (m, n), True =
        held out, of which only observed entries count; a sparse matrix whose stored entries are
        named, zeros included; or, beside triples, a boolean vector in the caller's order.
    rng : numpy.random.Generator
        Shuffles N numbers for a fraction; not used otherwise.

    Returns
    -------
    host boolean array (N,)
        True for the entries held out, in row order; some are and some are not.

    Raises
    ------
    TypeError
        If `validation` is neither a real number nor boolean nor sparse.
    ValueError
        If the fraction is not inside (0, 1), a shape differs, or all or none would be held out.

    Notes
    -----
    Storage: N integers and ``3 N`` flags for a fraction; N flags, the mask on the host, and two
    integers for each entry of a pattern. The indices come to the host once.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion._observed import observe
    >>> data = observe(np.arange(12.0).reshape(3, 4))
    >>> int(held_out(data, 0.25, np.random.default_rng(0)).sum())
    3
    """
    if not (is_sparse(validation) or hasattr(validation, "__len__") or _has_axes(validation)):
        fraction = check_float(
            "validation", validation, 0, 1, low_open=True, high_open=True,
            way_out="It is the fraction of the observed entries that is held out.",
        )  # fmt: skip
        return _drawn(observed, fraction, rng)
    chosen = _named(observed, validation)
    count = int(_HOST.count_nonzero(chosen))
    if count in (0, observed.count):
        raise ValueError(
            f"validation must hold out some of the {observed.count} observed entries and leave "
            f"some, got {count}. True means held out; entries that are not observed do not count."
        )
    return chosen


def _has_axes(x: object) -> bool:
    return len(getattr(x, "shape", ())) > 0


# ----------------------------------------------------------------------------------- masks


def _named(observed: Observed, validation: Any) -> Array:
    """Return the entries that a mask or a pattern names."""
    if is_sparse(validation):
        return _in_pattern(observed, validation)
    validation = as_array(validation, "validation")
    if validation.ndim == 1 and observed.order is not None:
        return checked_mask("validation", validation, (observed.n_given,))[observed.order]
    mask = checked_mask("validation", validation, observed.shape)
    return mask[row_indices(observed), to_numpy(observed.rows.indices)]


def _in_pattern(observed: Observed, pattern: Any) -> Array:
    """Return which entries a sparse matrix stores."""
    if tuple(pattern.shape) != observed.shape:
        raise ValueError(
            f"validation must have the shape {observed.shape}, got {tuple(pattern.shape)}."
        )
    rows, columns = _stored_places(pattern)
    n, indices = observed.shape[1], to_numpy(observed.rows.indices)
    named = _HOST.unique(rows * n + columns)
    chosen = _HOST.zeros(observed.count, dtype=_HOST.bool)
    if named.shape[0] == 0:
        return chosen
    for part, lines in _compressed.chunks(observed.rows.indptr):
        wanted = lines * n + indices[part]
        places = _HOST.minimum(_HOST.searchsorted(named, wanted), named.shape[0] - 1)
        chosen[part] = named[places] == wanted
    return chosen


def _stored_places(pattern: Any) -> tuple[Array, Array]:
    """Return rows and columns of what a sparse matrix stores, int64 on the host."""
    if type_root(pattern) == "cupyx":
        coo = pattern.tocoo()
        rows, columns = to_numpy(coo.row), to_numpy(coo.col)
    else:
        csr, transposed = _compressed.compressed(pattern, "validation")
        rows, columns = _compressed.repeated_rows(csr.indptr), csr.indices
        rows, columns = (columns, rows) if transposed else (rows, columns)
    return rows.astype(_HOST.int64), columns.astype(_HOST.int64)


# ----------------------------------------------------------------------------------- draws


def _drawn(observed: Observed, fraction: float, rng: Any) -> Array:
    """Hold out the first entries of a random order, but those that a line cannot miss."""
    count = observed.count
    rank = _compressed.places(count)
    rng.shuffle(rank)
    kept = _needed(observed, rank)
    goal = min(max(1, round(fraction * count)), count - int(_HOST.count_nonzero(kept)))
    if goal == 0:
        raise ValueError(
            f"validation must leave an entry to every row and column, got {fraction}, but each of "
            f"the {count} observed entries is the only one of its row or column. Pass "
            "validation=None, or name the entries with a mask."
        )
    # The rank of the entry that is number `goal` of those not kept.
    ranks = _HOST.sort(rank[kept])
    before = _HOST.searchsorted(ranks - _HOST.arange(ranks.shape[0]), goal - 1, side="right")
    chosen: Array = (rank <= goal - 1 + int(before)) & ~kept
    return chosen


def _needed(observed: Observed, rank: Array) -> Array:
    """Return entries that leave one to every line: lone ones first, then the last of a line.

    Columns come before rows. Some entry is not among them whenever one can be spared.
    """
    rows, columns = observed.rows, observed.columns
    indices, kept = to_numpy(rows.indices), _HOST.zeros(observed.count, dtype=_HOST.bool)
    kept[rows.indptr[:-1][rows.lengths == 1]] = True
    lone = columns.lengths == 1
    for part, _ in _compressed.chunks(rows.indptr):
        kept[part] |= lone[indices[part]]
    for axis in (1, 0):
        served = _HOST.zeros(observed.shape[axis], dtype=_HOST.bool)
        last = _HOST.full(observed.shape[axis], -1, dtype=rank.dtype)
        for part, lines in _sides(observed, indices, axis):
            served[lines[kept[part]]] = True
            _HOST.maximum.at(last, lines, rank[part])
        for part, lines in _sides(observed, indices, axis):
            kept[part] |= (rank[part] == last[lines]) & ~served[lines]
    return kept


def _sides(observed: Observed, indices: Array, axis: int) -> Iterator[tuple[slice, Array]]:
    """Yield slices of the entries in row order, and the row (axis 0) or column of each."""
    for part, lines in _compressed.chunks(observed.rows.indptr):
        yield part, lines if axis == 0 else indices[part]
