"""Leverage scores of rows in parts: a factor by a tree, then each part by itself."""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import dask
import dask.array as da
from dask.delayed import Delayed

from linalgkit._core.array import Array, DType, dtype_name, is_sparse, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.linalg import tsqr
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator, as_operator
from linalgkit._core.random import as_generator
from linalgkit._core.row_buffer import block_kind, check_same_kind
from linalgkit._core.sparse import as_csr, csr_concat
from linalgkit._core.validation import check_array_2d, check_choice, check_finite_block, check_int
from linalgkit.distributed._aligned import called, owned
from linalgkit.distributed._equations import on_cluster
from linalgkit.distributed._graph import computed, mapped, once, reduced, task
from linalgkit.distributed._parts import as_parts
from linalgkit.sketching import SketchOperator
from linalgkit.sketching import leverage_scores as serial
from linalgkit.sketching._blocks import exponents_of, longest_exponent
from linalgkit.sketching._leverage import (
    METHODS,
    Passes,
    column_sizes,
    finished,
    gram_of,
    in_units,
    row_energies,
    whitening,
    wide_blocks,
)

_HOST = numpy_namespace()


class _Head(NamedTuple):
    """What the client knows of a part: its rows, itself without rows, largest entries."""

    n: int
    A: Any
    largest: Any


@capability("distributed.leverage_scores", sparse=True, streaming=True)
def leverage_scores(
    A: Any,
    *,
    method: str = "exact",
    rng: object = None,
    fanin: int = 8,
    persist: bool | None = None,
) -> Any:
    """Return the leverage scores of rows in parts: the diagonal of the projector onto the range.

    Parameters
    ----------
    A : dask.array, list of delayed blocks, path, memmap, or list of these
        Blocks of rows, dense or scipy.sparse, (n, d) together, of one dtype.
    method : {"exact", "sketch"}, default "exact"
        Exact to rounding, or estimates that are cheaper for large d.
    rng : None, int, SeedSequence, BitGenerator or Generator
        For "sketch" only.
    fanin : int, default 8
        Factors that a task of the tree joins, 2 at least.
    persist : bool, optional
        Whether the parts are kept in the memory of the workers between passes, as long as the
        scores are; by default on a cluster of ``dask.distributed``, and not on threads.

    Returns
    -------
    dask.array (n,)
        Numbers between 0 and 1, one chunk for each part that has rows, in the real dtype of `A`'s
        precision. The chunks are arrays of the library of `A` and are made when they are asked
        for; those that are not NumPy's come by ``to_delayed``.

    Raises
    ------
    TypeError
        If the parts are no matrices, or not of one kind and dtype.
    ValueError
        If `A` holds NaN or infinity, parts differ in their columns, or `method` is unknown.

    See Also
    --------
    linalgkit.sketching.leverage_scores : the same in one process, with what the methods do.

    Notes
    -----
    Guarantee: the scores of the serial function up to rounding, and for ``"sketch"`` and sparse
    matrices from the same sketch. The triangular factor of dense parts is merged by a tree of QR
    factorisations. Sparse parts of fewer rows than columns are put together on the client.

    Passes: a check, a factor (or sketch), a Gram matrix for exact scores, and one for the scores
    that is done when these are computed.

    Storage, for d columns and fanin f: a part, ``f d^2`` numbers a worker and ``20 d^2`` on the
    client. Moved: ``d^2`` numbers from each of p parts in each pass (``4 d^2`` of sparse parts,
    ``16 d^2`` for "sketch"), and ``2 d^2`` to each.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from linalgkit.distributed import leverage_scores
    >>> A = da.from_array(np.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 5.0]]), chunks=(2, 2))
    >>> leverage_scores(A).compute()
    array([0.5, 0.5, 1. ])
    """
    check_choice("method", method, METHODS)
    fanin, generator = check_int("fanin", fanin, 2), as_generator(rng)
    given = as_parts(A, name="A").tasks
    tasks: list[Delayed] = [task("rows", _part, k, part) for k, part in enumerate(given)]
    is_kept = on_cluster() if persist is None else persist
    if is_kept:
        tasks = list(dask.persist(*tasks))
    found = computed(*mapped("look", _head, tasks))
    heads = [found] if len(tasks) == 1 else list(found)
    _check_alike(heads)
    full = [k for k, head in enumerate(heads) if head.n]
    lengths, d = [heads[k].n for k in full], int(heads[0].A.shape[1])
    like = as_operator(heads[0].A)
    if not full or d == 0:
        return da.zeros((sum(lengths),), chunks=(tuple(lengths) or (0,),), dtype=_dtype(like))
    tasks = [tasks[k] for k in full]
    if is_sparse(heads[0].A) and d > sum(lengths):
        return _on_the_client(tasks, lengths)
    matrix = _Matrix(like, tasks, lengths, _exponents(heads, like), fanin)
    maps = [once(item) for item in (matrix.exponents, *whitening(matrix, method, generator))]
    if is_kept:
        return _joined(mapped("scores", _scores, tasks, *maps), lengths, like)
    # A graph of arrays is fused under the same names: it may hold no task of another graph.
    return _joined(
        [task("scores", _scores_of_part, k, given[k], *maps) for k in full], lengths, like
    )


def _check_alike(heads: list[_Head]) -> None:
    """Refuse parts that do not fit to the first one."""
    first = heads[0].A
    for k, head in enumerate(heads):
        check_same_kind(block_kind(first), block_kind(head.A), f" in part {k}")
        if head.A.shape[1] != first.shape[1]:
            raise ValueError(
                f"A must have {first.shape[1]} columns as in the first part, got "
                f"{head.A.shape[1]} in part {k}."
            )
        if head.A.dtype != first.dtype:
            raise TypeError(
                f"A must be of {first.dtype} as in the first part, got {head.A.dtype} in part "
                f"{k}. Convert it first."
            )


def _exponents(heads: list[_Head], like: Operator) -> Any:
    """Return the powers of two by which columns are divided, or None where none need be."""
    largest = functools.reduce(_HOST.maximum, [head.largest for head in heads])
    exponents = exponents_of(largest)
    allowed = longest_exponent(like.xp, like.dtype) // 3
    return None if int(abs(exponents).max()) <= allowed else exponents


def _joined(scores: list[Delayed], lengths: list[int], like: Operator) -> Any:
    """Return scores as one dask.array."""
    pieces = [
        da.from_delayed(part, shape=(n,), dtype=_dtype(like))
        for part, n in zip(scores, lengths, strict=True)
    ]
    return da.concatenate(pieces)


def _dtype(like: Operator) -> DType:
    """Return the dtype of the scores, as NumPy's."""
    return _HOST.dtype(dtype_name(like.xp, finished(_no_scores(like), like).dtype))


def _no_scores(like: Operator) -> Array:
    return like.xp.zeros((0,), dtype=like.xp.float32, device=like.device)


def _on_the_client(tasks: list[Delayed], lengths: list[int]) -> Any:
    """Return the scores of a few sparse rows."""
    found = computed(*tasks)
    whole = csr_concat([found] if len(tasks) == 1 else list(found))
    chunks = (tuple(lengths),)
    return da.from_array(serial(whole), chunks=chunks)


class _Matrix(Passes):
    """A matrix in parts, each pass over it a map and a tree."""

    def __init__(
        self, like: Operator, tasks: list[Delayed], lengths: list[int], exponents: Any, fanin: int
    ) -> None:
        super().__init__(like)
        self.shape = (sum(lengths), like.shape[1])
        self.tasks, self.lengths, self.exponents, self.fanin = tasks, lengths, exponents, fanin

    def factor(self) -> Array:
        """Return the triangular factor, from those of the parts."""
        leaves = mapped("factor", _factor, self.tasks, self.exponents)
        return computed(reduced("factor", _both_factors, leaves, self.fanin))

    def sketched(self, S: SketchOperator) -> Array:
        """Return ``S A``."""
        starts = [0, *itertools.accumulate(self.lengths)][:-1]
        leaves = [
            task("sketch", _sketched, part, self.exponents, S, start)
            for part, start in zip(self.tasks, starts, strict=True)
        ]
        return computed(reduced("sketch", _sum, leaves, self.fanin))

    def gram(self, W: Array) -> Array:
        """Return the Gram matrix of ``A W``."""
        leaves = mapped("gram", _gram, self.tasks, self.exponents, W)
        return computed(reduced("gram", _sum, leaves, self.fanin))

    def energy(self, W: Array) -> float:
        """Return ``||A W||_F^2``."""
        leaves = mapped("energy", _energy, self.tasks, self.exponents, W)
        found: float = computed(reduced("energy", _sum, leaves, self.fanin))
        return found


# ----------------------------------------------------------------------- what runs on a worker


def _part(index: int, A: Any) -> Any:
    """Return a part as it is used, after checking it."""
    name = f"A in part {index}"
    A, _ = check_array_2d(name, as_array(A, name), allow_sparse=True, min_columns=0)
    A = as_csr(A) if is_sparse(A) else A
    check_finite_block(A, index, name="A")
    return A


def _head(A: Any) -> _Head:
    n, d = A.shape
    largest = column_sizes(_operator(A, None)) if n and d else _HOST.zeros(d)
    return _Head(int(n), owned(A[:0, :]), largest)


def _operator(A: Any, exponents: Any) -> DenseOperator | SparseOperator:
    op = as_operator(A)
    assert isinstance(op, (DenseOperator, SparseOperator))
    if exponents is None:
        return op
    scaled = in_units(op, exponents)
    assert isinstance(scaled, (DenseOperator, SparseOperator))
    return scaled


def _factor(A: Any, exponents: Any) -> Array:
    op = _operator(A, exponents)
    assert isinstance(op, DenseOperator)
    return tsqr(wide_blocks(op))


def _both_factors(a: Array, b: Array) -> Array:
    return tsqr([a, b])


def _sketched(A: Any, exponents: Any, S: SketchOperator, start: int) -> Array:
    return S.apply_rows(_operator(A, exponents).A, start)


def _gram(A: Any, exponents: Any, W: Array) -> Array:
    return gram_of(_operator(A, exponents), W)


def _energy(A: Any, exponents: Any, W: Array) -> float:
    op = _operator(A, exponents)
    return float(op.xp.sum(row_energies(op, W)))


def _scores(A: Any, exponents: Any, W: Array, C: Array | None) -> Array:
    op = _operator(A, exponents)
    return finished(row_energies(op, W, C), op)


def _scores_of_part(index: int, A: Any, exponents: Any, W: Array, C: Array | None) -> Array:
    """Return the scores of a part that is read again."""
    scores: Array = called(_scores, _part(index, A), exponents, W, C)
    return scores


def _sum(a: Any, b: Any) -> Any:
    return a + b
