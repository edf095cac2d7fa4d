"""Matrix completion whose entries lie in shards on the workers.

The entries are read once and dealt out twice: by rows and by columns. After that only factors
travel: in each half sweep the fixed one goes to all shards of a side, and the new one comes back.
Every line is worked on by one shard with the kernels of the serial function, so that the answer has
the same bits as that of :func:`linalgkit.completion.complete_matrix`, whatever the shards.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask
from dask.delayed import Delayed

from linalgkit._core.array import (
    Array,
    array_namespace,
    asarray,
    index_dtype,
    is_complex_dtype,
    namespace_of,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, silent
from linalgkit._core.validation import check_int
from linalgkit.completion import CompletionResult, MatrixCompletion, _compressed
from linalgkit.completion import complete_matrix as serial
from linalgkit.completion._complete import answer
from linalgkit.completion._fit import fit
from linalgkit.completion._request import check_request
from linalgkit.completion._shards import Shard, ShardedLines, ShardedObserved, sharded_observed
from linalgkit.completion._sources import Source, exponent_of, read
from linalgkit.completion._weights import read_weights
from linalgkit.distributed._aligned import owned
from linalgkit.distributed._graph import computed, once, reduced, shared_key, task
from linalgkit.distributed._parts import Parts, as_parts, naming

_HOST = numpy_namespace()
_SHARD_ENTRIES = 100_000  # fewer are not worth the tasks of a shard in each half sweep
_SOLVERS = ("auto", "pcg", "direct")
_ON_A_SAMPLE = (
    "Choose on a sample of the rows, with linalgkit.completion.complete_matrix, or let shrink=True "
    "choose, which needs no held-out entries."
)


@capability("distributed.complete_matrix", sparse=True, streaming=False)
def complete_matrix(
    A: Any,
    rank: int | None = None,
    *,
    weights: Any = None,
    n_shards: int | None = None,
    **options: Any,
) -> CompletionResult:
    """Complete a low-rank matrix from entries that are dealt out over workers.

    Parameters
    ----------
    A : dask.array, list of delayed blocks, paths, or arrays
        Either blocks of rows, one below the other: sparse matrices, whose stored entries are the
        observed ones, or dense arrays with NaN as missing. Or ``dask.delayed`` tuples ``(rows,
        cols, values, shape)`` with the shape of the whole matrix, in any order, of which each
        entry is in one.
    rank : int, optional
        Rank k of the answer; may be left out with ``shrink=True``.
    weights : like `A`, optional
        Weights of squared errors, in the same parts as `A` (vectors beside tuples).
    n_shards : int, optional
        Shards of each side. By default as many as `A` has parts, but no more than one for each
        100000 entries. Blocks of rows are joined, and never cut.
    **options : object
        Those of :func:`linalgkit.completion.complete_matrix` but for `mask`, `validation` and
        `n_threads`: with `alpha` a number and `solver` "auto", "pcg" or "direct".

    Returns
    -------
    CompletionResult
        With the residuals, noise and certificates of the serial function. The pattern of the
        entries, which intervals and saving need, stays in the shards and is brought here when it
        is first asked for.

    Raises
    ------
    TypeError
        As the serial function; for an unknown option and parts of different kinds.
    ValueError
        As the serial function; for options that need held-out entries (`validation`, a rank left
        out without `shrink`, ``alpha=None``), and weights in other parts than `A`.

    Warns
    -----
    AccuracyWarning
        As the serial function.

    See Also
    --------
    linalgkit.completion.complete_matrix : the same in one process.

    Notes
    -----
    Guarantee: the answer of the serial function for all entries in one process, bit for bit on
    NumPy with one BLAS; means of the data (``center``, ``bias``) up to the rounding of one sum.

    Storage: with `p` shards, ``2 N / p`` entries a worker's shard pair, and ``(m + n) k`` numbers
    while a half sweep is done; ``10 (m + n) k`` for the client. Moved: each entry twice, once; then
    ``(m + n) k`` numbers to each worker and as many back, in sum, for a sweep. The deal takes a
    small task for each shard and part, and every half sweep one for each shard. Shards stay in the
    memory of the workers (of this process with threads) as long as the result, until its pattern
    has been brought here; one that is lost with its worker is made again from the data.

    Examples
    --------
    >>> import dask
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from linalgkit.distributed import complete_matrix
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 150))
    >>> seen = sparse.csr_array(np.where(rng.random(A.shape) < 0.3, A, 0.0))
    >>> blocks = [dask.delayed(seen[:120, :]), dask.delayed(seen[120:, :])]
    >>> result = complete_matrix(blocks, 4, rng=0)
    >>> result.status, bool(np.max(np.abs(result.block() - A)) < 1e-10)
    ('converged', True)
    """
    chosen = _checked_options(rank, options)
    parts = as_parts(A, name="A")
    beside = None if weights is None else as_parts(weights, name="weights", vectors=True)
    observed = deal(parts, beside, n_shards)
    request = check_request(observed, rank, **chosen)
    return answer(observed, request, fit(observed, request))


def _checked_options(rank: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return all options of the serial function; refuse those that shards do not have."""
    parameters = inspect.signature(serial).parameters
    known = {
        name: p.default
        for name, p in parameters.items()
        if name not in ("A", "rank", "mask", "weights", "n_threads")
    }
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(
            f"{', '.join(unknown)}: not an option of complete_matrix on shards. Known are "
            f"{', '.join(sorted(known))}."
        )
    chosen = known | options
    if chosen["validation"] is not None:
        raise ValueError(f"validation must be None for entries in shards. {_ON_A_SAMPLE}")
    if not chosen["shrink"] and (rank is None or chosen["alpha"] is None):
        what = "rank" if rank is None else "alpha"
        raise ValueError(f"{what} must be given for entries in shards. {_ON_A_SAMPLE}")
    if chosen["solver"] not in _SOLVERS:
        raise ValueError(
            f"solver must be one of {_SOLVERS} for entries in shards, got {chosen['solver']!r}."
        )
    return chosen


# ---------------------------------------------------------------------------------- the deal


@dataclass(frozen=True)
class _Survey:
    """What is known of a part after reading it once."""

    kind: str
    shape: tuple[int, int]
    like: Array  # no entries
    row_counts: Array
    column_counts: Array
    largest: float  # modulus of the values; infinite where only that overflows
    component: float  # largest real or imaginary part
    largest_weight: float


def deal(parts: Parts, weights: Parts | None, n_shards: int | None) -> ShardedObserved:
    """Read all parts and deal their entries out over shards of rows and of columns."""
    if weights is not None and len(weights) != len(parts):
        raise ValueError(
            f"weights must have the {len(parts)} parts of A, got {len(weights)} parts."
        )
    beside: Sequence[Any] = [None] * len(parts) if weights is None else weights.tasks
    surveys = computed(
        *(
            task("survey", _survey, k, a, w)
            for k, (a, w) in enumerate(zip(parts.tasks, beside, strict=True))
        )
    )
    surveys = list(surveys) if len(parts) > 1 else [surveys]
    whole = _whole(surveys)
    count = _shard_count(whole, len(parts), n_shards)
    row_cuts = _even_cuts(whole.row_counts, count, whole.offsets if whole.stacked else None)
    column_cuts = _even_cuts(whole.column_counts, count)
    splits = [
        task("split", _split, a, w, whole.offsets[i] if whole.stacked else 0, whole.exponents,
             None if whole.stacked else row_cuts, column_cuts)
        for i, (a, w) in enumerate(zip(parts.tasks, beside, strict=True))
    ]  # fmt: skip
    m, n = whole.shape
    shards = [_gathered(splits, "columns", j, column_cuts, m) for j in range(len(column_cuts) - 1)]
    if whole.stacked:
        rows = _stacked(splits, whole.offsets, row_cuts, n)
    else:
        rows = [_gathered(splits, "rows", j, row_cuts, n) for j in range(len(row_cuts) - 1)]
    held = dask.persist(*rows, *shards)
    xp, where = namespace_of(whole.like)
    return sharded_observed(
        ShardedLines(whole.row_counts, row_cuts, held[: len(rows)], _on_shards, n, xp, where),
        ShardedLines(whole.column_counts, column_cuts, held[len(rows) :], _on_shards, m, xp, where),
        dtype=whole.like.dtype, weighted=weights is not None,
        exponent=whole.exponents[0], weight_exponent=whole.exponents[1],
    )  # fmt: skip


def _on_shards(
    label: str, function: Any, shards: Sequence[Any], own: Sequence[Any], shared: Any
) -> Any:
    """Run a function on all shards; what is shared travels once to each worker."""
    sent = once(shared)
    tasks = [task(label, function, s, mine, sent) for s, mine in zip(shards, own, strict=True)]
    found = computed(*tasks)
    return list(found) if len(tasks) > 1 else [found]


@dataclass(frozen=True)
class _Whole:
    """What is known of all parts together."""

    stacked: bool
    shape: tuple[int, int]
    offsets: list[int]
    like: Array
    row_counts: Array
    column_counts: Array
    exponents: tuple[int, int]


def _whole(surveys: list[_Survey]) -> _Whole:
    """Return the shape, the counts and the scale of the whole matrix."""
    first = surveys[0]
    stacked = first.kind != "triples"
    for k, s in enumerate(surveys):
        if (s.kind == "triples") == stacked:
            raise TypeError(f"all parts of A must be of one kind, got {first.kind} and {s.kind}.")
        same = s.shape[1] == first.shape[1] if stacked else s.shape == first.shape
        if not same:
            raise ValueError(
                f"the parts of A must have {'the same columns' if stacked else 'one shape'}, got "
                f"the shape {s.shape} in part {k} and {first.shape} in part 0."
            )
        array_namespace(first.like, s.like)
        if s.like.dtype != first.like.dtype:
            raise TypeError(
                f"all parts of A must have one dtype, got {first.like.dtype} and {s.like.dtype} in "
                f"part {k}. Convert them first."
            )
    columns = sum(s.column_counts for s in surveys)
    if stacked:
        sizes = [s.shape[0] for s in surveys]
        offsets = [0, *(int(x) for x in _HOST.cumsum(_HOST.asarray(sizes)))]
        rows, shape = _HOST.concat([s.row_counts for s in surveys]), (offsets[-1], first.shape[1])
    else:
        offsets, shape = [], first.shape
        rows = sum(s.row_counts for s in surveys)
    if int(rows.sum()) == 0:
        raise ValueError(f"A must have an observed entry, got none in the shape {shape}.")
    return _Whole(stacked, shape, offsets, first.like, rows, columns, _exponents(surveys))


def _exponents(surveys: list[_Survey]) -> tuple[int, int]:
    """Return the exponents by which the serial function would scale values and weights."""
    xp, where = namespace_of(surveys[0].like)
    dtype = surveys[0].like.dtype
    largest = max(s.largest for s in surveys)
    sample = xp.full((1,), max(s.component for s in surveys), dtype=dtype, device=where)
    weight = max(s.largest_weight for s in surveys)
    real = real_dtype(xp, dtype)
    one = xp.ones((1,), dtype=real, device=where)
    return exponent_of(sample, xp, dtype, largest), exponent_of(one, xp, real, weight)


def _shard_count(whole: _Whole, n_parts: int, n_shards: int | None) -> int:
    """Return how many shards a side shall have: no more than are worth a task each."""
    if n_shards is not None:
        return check_int("n_shards", n_shards, 1)
    return min(n_parts, max(1, int(whole.row_counts.sum()) // _SHARD_ENTRIES))


def _even_cuts(counts: Array, n_shards: int, allowed: list[int] | None = None) -> list[int]:
    """Return where shards of about the same number of entries begin, and the number of lines.

    They begin where it is allowed, in increasing order; by default with any line.
    """
    work = _HOST.concat([_HOST.zeros(1, dtype=_HOST.int64), _HOST.cumsum(counts)])
    goals = work[-1] * _HOST.arange(1, n_shards) // n_shards
    inner = _HOST.searchsorted(work, goals)
    if allowed is not None:
        places = _HOST.asarray(allowed)
        inner = places[_HOST.searchsorted(places, inner)]
    return [
        int(x) for x in _HOST.unique(_HOST.concat([inner, _HOST.asarray([0, counts.shape[0]])]))
    ]


def _stacked(
    splits: Sequence[Delayed], offsets: list[int], cuts: list[int], n_other: int
) -> list[Delayed]:
    """Return shards of rows, each of consecutive blocks."""
    shards = []
    for start, stop in itertools.pairwise(cuts):
        own = [s for s, a in zip(splits, offsets[:-1], strict=True) if start <= a < stop]
        pieces = [task("piece", _piece, s, "rows", 0) for s in own]
        shards.append(task("shard", _joined, "row", start, stop, n_other, *pieces))
    return shards


def _gathered(
    splits: Sequence[Delayed], side: str, j: int, cuts: Sequence[int], n_other: int
) -> Delayed:
    """Return a shard made of what all parts have for it."""
    pieces = [task("piece", _piece, s, side, j) for s in splits]
    return task("shard", _joined, side[:-1], cuts[j], cuts[j + 1], n_other, *pieces)


# ----------------------------------------------------------------------- what runs on a worker


def _read(part: Any, weights: Any) -> tuple[Source, Array | None, int]:
    """Return the entries of a part, their weights and the exponent that these were scaled by."""
    source = read(part)
    if weights is None or source.indices.shape[0] == 0:
        return source, None, 0
    found, exponent = read_weights(weights, source)
    chosen = to_numpy(found) > 0
    if not chosen.all():
        xp, place = source.xp, _HOST.flatnonzero(chosen)
        source = source.taken(chosen)
        index = asarray(place, xp=xp, device=source.device, dtype=index_dtype(xp), copy=False)
        found = xp.take(found, index, axis=0)
    return source, found, exponent


def _survey(index: int, part: Any, weights: Any) -> _Survey:
    with naming(index, "A"):
        source, w, exponent = _read(part, weights)
        _check_finite(source)
    xp, y = source.xp, source.values
    lines, others = _coordinates(source)
    if y.shape[0] == 0:
        largest = component = heaviest = 0.0
    else:
        with silent():
            largest = max_abs(y, xp)
        component = max(max_abs(x, xp) for x in _components(y, xp))
        heaviest = 0.0 if w is None or w.shape[0] == 0 else ldexp_float(max_abs(w, xp), exponent)
    m, n = source.shape
    by_row, by_column = (_HOST.bincount(i, minlength=size) for i, size in ((lines, m), (others, n)))
    return _Survey(
        source.kind, source.shape, owned(y[:0]), by_row, by_column, largest, component, heaviest
    )


def _components(y: Array, xp: Any) -> tuple[Array, ...]:
    return (xp.real(y), xp.imag(y)) if is_complex_dtype(xp, y.dtype) else (y,)


def _check_finite(source: Source) -> None:
    """Refuse NaN and infinity, in the words of the serial function."""
    from linalgkit.completion._observed import _largest

    if source.indices.shape[0]:
        _largest(source)


def _coordinates(source: Source) -> tuple[Array, Array]:
    """Return row and column of every entry on the host."""
    lines = _compressed.repeated_rows(source.indptr)
    others = source.indices.astype(_HOST.int64)
    return (others, lines) if source.transposed else (lines, others)


def _split(
    part: Any,
    weights: Any,
    offset: int,
    exponents: tuple[int, int],
    row_cuts: Any,
    column_cuts: Any,
) -> dict[str, list[Any]]:
    """Return the entries of a part, scaled, by shards of rows and of columns."""
    source, w, own = _read(part, weights)
    xp, where = source.xp, source.device
    y = ldexp(source.values, -exponents[0], xp)
    w = None if w is None else ldexp(w, own - exponents[1], xp)
    if w is None and weights is not None:  # no entries
        w = xp.real(y)
    rows, columns = _coordinates(source)
    rows = rows + offset

    def dealt(lines: Array, others: Array, cuts: Any) -> list[Any]:
        shard = _HOST.searchsorted(_HOST.asarray(cuts[1:-1]), lines, side="right")
        order = _HOST.argsort(shard, stable=True)
        ends = _HOST.searchsorted(shard[order], _HOST.arange(len(cuts)))
        found = []
        for start, stop in itertools.pairwise(ends):
            mine = order[start:stop]
            index = asarray(mine, xp=xp, device=where, dtype=index_dtype(xp), copy=False)
            taken = (None if x is None else xp.take(x, index, axis=0) for x in (y, w))
            found.append((lines[mine], others[mine], *taken))
        return found

    whole = [(rows, columns, y, w)]
    return {
        "rows": whole if row_cuts is None else dealt(rows, columns, row_cuts),
        "columns": dealt(columns, rows, column_cuts),
    }


def _piece(split: dict[str, list[Any]], side: str, j: int) -> Any:
    return split[side][j]


def _joined(side: str, start: int, stop: int, n_other: int, *pieces: Any) -> Shard:
    """Return the shard of lines from `start` to `stop`."""
    lines, others = (_HOST.concat([p[i] for p in pieces]) for i in (0, 1))
    xp, where = namespace_of(pieces[0][2])
    order = _HOST.lexsort((others, lines))
    lines, others = lines[order] - start, others[order]
    twice = _HOST.flatnonzero((lines[1:] == lines[:-1]) & (others[1:] == others[:-1]))
    if twice.shape[0]:
        place = int(lines[twice[0]]) + start, int(others[twice[0]])
        raise ValueError(
            "every entry of A must be given once, got a duplicate at (row, column) = "
            f"{place if side == 'row' else place[::-1]}. Join such entries first."
        )
    index = asarray(order, xp=xp, device=where, dtype=index_dtype(xp), copy=False)
    values, weights = (
        None if pieces[0][i] is None else xp.take(xp.concat([p[i] for p in pieces]), index, axis=0)
        for i in (2, 3)
    )
    starts = _compressed.row_starts(_HOST.bincount(lines, minlength=stop - start))
    return Shard(starts, _compressed.narrow(others, n_other), values, weights, n_other)


# --------------------------------------------------------------------------------- estimators


def plan(model: MatrixCompletion, source: Any, y: Any = None, *, fanin: int) -> Delayed:
    """Return a task that collects all entries in one object; it solves when it is asked.

    Parts are delayed tuples ``(rows, cols, values, shape)``.
    """
    if y is not None:
        raise TypeError("y must be None for MatrixCompletion: the entries hold their values.")
    params = model.get_params(deep=False)
    params["rng"] = shared_key(params["rng"])
    sent, parts = once(params), as_parts(source).tasks
    leaves = [task("entries", _collected, k, part, sent) for k, part in enumerate(parts)]
    return reduced("entries", _merged, leaves, fanin)


def _collected(index: int, part: Any, params: dict[str, Any]) -> MatrixCompletion:
    """Return an object that has taken in the entries of one part."""
    if not isinstance(part, (tuple, list)) or len(part) != 4:
        raise TypeError(
            "parts for MatrixCompletion must be tuples (rows, cols, values, shape), got "
            f"{type(part).__name__} in part {index}. Blocks of rows are for "
            "distributed.complete_matrix."
        )
    rows, cols, values, shape = part
    with naming(index, "source"):
        return MatrixCompletion(**params).partial_fit(rows, cols, values, shape)


def _merged(a: MatrixCompletion, b: MatrixCompletion) -> MatrixCompletion:
    return copy.deepcopy(a).merge(b)
