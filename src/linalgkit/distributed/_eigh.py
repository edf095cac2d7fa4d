"""Streaming eigenvectors in parts: leaves and a merge tree, or all workers on one segment.

``"gram"``, ``"nystrom"`` and ``"frequent-directions"`` merge: a leaf a part, and a tree. The
random-order methods do not, but their segments can be shared: within one all columns are fixed,
the workers multiply their blocks with them, and the sums are those of one stream.
"""

from __future__ import annotations

import copy
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.row_buffer import row_slice
from linalgkit._core.validation import check_int
from linalgkit.distributed._graph import computed, once, reduced, shared_key, task
from linalgkit.distributed._parts import aligned, as_parts, check_axes
from linalgkit.distributed._shared_segments import (
    NO_ROWS,
    Held,
    SharedSegments,
    check_has_rows,
    done,
    empty_like,
    kept,
    with_stream_of,
)
from linalgkit.streaming import StreamingEigh, StreamingEighResult
from linalgkit.streaming._exact_passes import Passes, Reader, Sums, as_refined, start_basis
from linalgkit.streaming._exact_passes import check_refinable as check_refinable_stream
from linalgkit.streaming._inputs import as_csr, check_joins, in_dtype
from linalgkit.streaming._options import RANDOM_ORDER_METHODS, Options
from linalgkit.streaming._refine import Search


def plan(
    model: StreamingEigh,
    source: Any,
    y: Any = None,
    *,
    fanin: int,
    sample_weight: Any = None,
    n_passes: int | None = None,
) -> Delayed:
    """Return the task of a fit, all in one graph.

    For the random-order methods the first part is read at once, since the lengths of the
    segments follow from it. Where a method reads the rows several times, Dask keeps the parts in
    between, as its graphs do.
    """
    return _Fit(model, source, fanin, sample_weight, n_passes, kept).task()


def run(
    model: StreamingEigh,
    source: Any,
    y: Any = None,
    *,
    fanin: int,
    sample_weight: Any = None,
    n_passes: int | None = None,
) -> StreamingEigh:
    """Return the fitted object, computed round by round, so that no part is kept in between."""
    found = computed(_Fit(model, source, fanin, sample_weight, n_passes, done).task())
    assert isinstance(found, StreamingEigh)
    return found


@capability("distributed.top_eigenvector", sparse=True, streaming=True)
def top_eigenvector(
    source: Any, *, fanin: int = 8, n_passes: int | None = None, **options: Any
) -> StreamingEighResult:
    """Return the top eigenvectors of ``A^H A`` for rows in parts, with their certificate.

    Parameters
    ----------
    source : dask.array (n, d), dask dataframe, list of delayed blocks, path, memmap, array, list
        Blocks of rows of `A`, in order; see :func:`linalgkit.distributed.fit`.
    fanin : int, default 8
        How many results one task of the tree merges.
    n_passes : int, optional
        Improving passes over the parts after the fit; one more measures the residual. None: the
        answer of the stream is left as it is.
    **options : object
        Options of :class:`linalgkit.streaming.StreamingEigh`; ``n_components`` for more than one
        eigenvector.

    Returns
    -------
    StreamingEighResult
        As :func:`linalgkit.streaming.top_eigenvector` returns it.

    Raises
    ------
    TypeError
        For ``method="oja"``, whose states do not merge, for what the serial function refuses, and
        for a source that can be read only once.
    ValueError
        For `forgetting` below 1, and as the serial function.

    Warns
    -----
    AccuracyWarning
        As the serial function.

    See Also
    --------
    linalgkit.distributed.fit : the same for an object that goes on.
    linalgkit.streaming.top_eigenvector : the serial function.

    Notes
    -----
    What equals the serial answer, up to the rounding of sums joined in another order (from a
    Generator as `rng` one key is drawn for all parts, and so another sketch than a stream draws):

    - ``"gram"``, ``"nystrom"``: eigenvalues, eigenvectors, residual and norm. `gap` and
      `error_estimate` of ``"gram"`` are statistical estimates from snapshots of the largest part,
      and differ within their own error.
    - ``"block-power"``, ``"portfolio"``: everything, heavy rows and order statistic included. All
      workers share the columns of a segment; its sums join in a tree; the same segments end at
      the same rows.

    ``"frequent-directions"`` gives another sketch than one stream would, whose enclosure holds as
    that does: the bounds of the parts add, and are tightened by what their sketches keep.

    Read: once by the methods that merge; twice by those that share segments (norms, then
    products), three times with `center`; ``n_passes + 1`` times more for a refinement.

    Storage a worker: one part and the serial state. Moved for `p` parts: ``(p - 1) d d`` words for
    ``"gram"``, ``2 (p - 1) d l`` for ``"nystrom"``, ``(p - 1) d l`` for
    ``"frequent-directions"``; for the random-order methods with `Q` columns ``d (2 Q + 9 k)``
    words a part and segment it has rows of, of ``log(n) / log(1.5)`` segments, and the rows that
    may be heavy, about ``h / 2`` of length `d` a segment in random order (all of them if norms
    only grow, which is no random order); ``2 d (k + 4)`` words a part and pass of a refinement.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from linalgkit.distributed import top_eigenvector
    >>> X = np.random.default_rng(0).standard_normal((1000, 30)) * np.geomspace(1.0, 1e5, 30)
    >>> result = top_eigenvector(da.from_array(X, chunks=(250, 30)), rng=0)
    >>> int(np.argmax(np.abs(result.eigenvectors[:, 0]))), result.n_rows
    (29, 1000)
    """
    check_int("fanin", fanin, 2)
    return run(StreamingEigh(**options), source, fanin=fanin, n_passes=n_passes).result()


# -------------------------------------------------------------------------------- the graph


class _Fit:
    """The graph of one fit."""

    def __init__(
        self,
        model: StreamingEigh,
        source: Any,
        fanin: int,
        sample_weight: Any,
        n_passes: int | None,
        held: Held,
    ) -> None:
        self.options = _checked_options(model)
        if n_passes is not None:
            check_int("n_passes", n_passes, 0)
        key = shared_key(model.rng)
        params = model.get_params(deep=False)
        self.start = task("start", _same, type(model)(**{**params, "rng": key}))
        self.rng = None if model.rng is None else key
        self.parts = as_parts(source)
        self.weights: list[Delayed] | None = None
        if sample_weight is not None:
            self.parts = self.parts.counted()
            self.weights = aligned(sample_weight, self.parts, "sample_weight").tasks
        self.fanin, self.n_passes, self.held = fanin, n_passes, held

    def task(self) -> Delayed:
        """Return the task of the fitted object."""
        method, lead = self.options.method, None
        if method == "auto":
            lead = self._lead()
            method = lead.method_
        fitted = self._shared() if method in RANDOM_ORDER_METHODS else self._merged(lead)
        if self.n_passes is not None:
            fitted = self._refined(fitted)
        return task("finish", _finished, fitted, self.rng)

    def _lead(self) -> StreamingEigh:
        """Return an object that has seen the first row; parts are read until there is one."""
        for part in self.parts.not_empty():
            lead: StreamingEigh | None = computed(task("lead", _lead, self.start, part))
            if lead is not None:
                return lead
        raise ValueError(NO_ROWS)

    def _merged(self, lead: Any) -> Delayed:
        """Fit every part, in the dtype of the first, and merge by a tree."""
        if lead is None and self.options.dtype is None:
            lead = task("lead", _lead, self.start, (self.parts.not_empty() or self.parts.tasks)[0])
        lead = once(lead)
        weights: list[Any] = self.weights or [None] * len(self.parts)
        pairs = enumerate(zip(self.parts.tasks, weights, strict=True))
        leaves = [task("eigh-fit", _leaf, self.start, lead, k, *pair) for k, pair in pairs]
        return reduced("eigh", _merged_models, leaves, self.fanin)

    def _shared(self) -> Delayed:
        """Take the first rows in one place, and the segments after them in all."""
        if self.weights is not None:
            raise ValueError(
                "sample_weight must be None for the random-order methods in parts, whose heavy "
                'rows are found by their order. Use method="gram" or "nystrom", which merge.'
            )
        self.parts = self.parts.counted()
        options: dict[str, Any] = {"fanin": self.fanin, "held": self.held}
        center = self.options.center
        return SharedSegments(self.start, self.parts, center=center, **options).task()

    def _refined(self, fitted: Delayed) -> Delayed:
        """Add exact passes over all parts."""
        fitted = self.held(fitted)
        passes = task("passes", _passes, fitted)
        reader, search = task("reader", _reader, passes), task("search", _search, fitted, passes)
        for i in range((self.n_passes or 0) + 1):
            search = self.held(task("aim", Search.aimed, search) if i else search)
            found = [task("pass", _pass, reader, search, part, i == 0) for part in self.parts.tasks]
            sums = reduced("pass", Sums.then, found, self.fanin)
            search = self.held(task("search", _searched, passes, search, sums))
        return task("refined", _with_refined, fitted, search)


# ------------------------------------------------------------------------- what the tasks do


def _same(x: Any) -> Any:
    return x


def _checked_options(model: StreamingEigh) -> Options:
    """Refuse what cannot be had in parts, before anything is read."""
    options = Options.checked(model.get_params(deep=False))
    if options.method == "oja":
        raise TypeError(
            'method must not be "oja" in parts: its vectors depend on all earlier rows, and '
            'averages of two of them mean nothing. Use "gram", "nystrom" or '
            '"frequent-directions", which merge in any order.'
        )
    if options.forgetting < 1.0:
        raise ValueError(
            f"forgetting must be 1 in parts, got {options.forgetting}. Which rows are the older "
            "ones a merge does not know: stream them in one place."
        )
    return options


def _lead(model: StreamingEigh, part: Any) -> StreamingEigh | None:
    """Return an object that has seen the first row of a part, if there is one."""
    rows = as_csr(as_array(part))
    check_axes(rows.shape, "the first part of source")
    return empty_like(model).partial_fit(row_slice(rows, 0, 1)) if rows.shape[0] else None


def _leaf(
    model: StreamingEigh, lead: StreamingEigh | None, index: int, part: Any, weights: Any
) -> StreamingEigh:
    """Fit one part; its rows become those of the first part in dtype, as they would in a stream."""
    check_axes(as_array(part).shape, f"part {index} of source")
    leaf = empty_like(model)
    leaf._n_blocks = index  # which messages name
    given = part if lead is None else _like(part, lead, index)
    return leaf.partial_fit(given, sample_weight=weights)


def _like(part: Any, lead: StreamingEigh, index: int) -> Any:
    """Return a part in the working dtype of an object; itself where it has it."""
    rows, space = as_array(part), lead._fitted_stream().space
    if not rows.shape[0] or rows.dtype == space.dtype:
        return part
    check_joins(as_csr(rows), space, index)
    return in_dtype(rows, space)


def _merged_models(a: StreamingEigh, b: StreamingEigh) -> StreamingEigh:
    """Return an object that has seen what both have."""
    return empty_like(a).merge(a).merge(b)


def _passes(model: StreamingEigh) -> Passes:
    stream = model._fitted_stream()
    check_refinable_stream(stream, model._options())
    return Passes(stream.final())


def _reader(passes: Passes) -> Reader:
    return passes.reader


def _search(model: StreamingEigh, passes: Passes) -> Search:
    return Search.of(start_basis(passes.final, model._options().n_components))


def _pass(reader: Reader, search: Search, part: Any, measures: bool) -> Sums:
    """Multiply one part with the directions of a search."""
    return reader.sums([as_array(part)], search.directions, measures=measures)


def _searched(passes: Passes, search: Search, sums: Sums) -> Search:
    if search.directions.shape[1] == 0:
        return search
    return search.taken(passes.checked(search.directions, sums))


def _with_refined(model: StreamingEigh, search: Search) -> StreamingEigh:
    """Return the object with the refined answer."""
    k = model._options().n_components
    fresh = with_stream_of(model, model._fitted_stream().duplicate())
    fresh._refined = as_refined(search.measured(k))
    return fresh


def _finished(model: StreamingEigh, rng: Any) -> StreamingEigh:
    """Return the object as the caller made it, but for what it has seen."""
    check_has_rows(model)
    fresh = empty_like(model)
    fresh.rng = rng
    fresh._take(copy.copy(model._fitted_stream()), model._features())
    fresh._refined = model.__dict__.get("_refined")
    return fresh
