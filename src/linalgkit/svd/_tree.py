"""Singular values of many blocks of columns, decomposed apart and joined in a tree.

::

    with ProcessPoolExecutor() as pool:
        result = tree_svd(blocks, 20, map=pool.map)

"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from linalgkit._core.capabilities import capability
from linalgkit._core.streams import tree_reduce
from linalgkit._core.validation import check_int
from linalgkit.svd._incremental import IncrementalSVD
from linalgkit.svd._result import SVDResult


@capability("svd.tree_svd", sparse=True, streaming=True, synchronisations={"call": 6, "block": 5})
def tree_svd(
    blocks: Iterable[Any],
    rank: int | None = None,
    *,
    map: Callable[..., Iterable[Any]] = map,
    fanin: int = 8,
    **options: Any,
) -> SVDResult:
    """Return the singular value decomposition of blocks of columns side by side.

    Parameters
    ----------
    blocks : iterable of array (m, b_i), sparse matrix or LinearOperator; or array (K, m, b)
        Columns, in order.
    rank : int, optional
        Triplets of the answer, ``n_components`` of :class:`IncrementalSVD`; may be left out where
        ``tol=`` is given.
    map : callable, default the built-in
        ``map(function, items)`` in order, an item being a block with its share of an absolute
        tolerance: that of a pool of threads or processes does the leaves side by side.
    fanin : int, default 8
        States joined at a time, 2 at least.
    **options : object
        Those of :class:`IncrementalSVD`.

    Returns
    -------
    SVDResult
        With the same exact account as a stream has, whatever the tree.

    Raises
    ------
    TypeError
        If `blocks` is no iterable of matrices, or ``n_components=`` is given in place of `rank`.
    ValueError
        If `blocks` is one matrix or holds none, or `fanin` is below 2; and as
        :class:`IncrementalSVD`.

    Notes
    -----
    Storage: ``m l`` numbers for each state that waits, at most `fanin` times the depth of the tree.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import tree_svd
    >>> A = np.random.default_rng(0).standard_normal((40, 90))
    >>> found = tree_svd([A[:, :30], A[:, 30:60], A[:, 60:]], 5, n_oversamples=35)
    >>> bool(np.allclose(found.s, np.linalg.svd(A)[1][:5]))
    True
    """
    fanin = check_int("fanin", fanin, 2)
    if "n_components" in options:
        raise TypeError(
            "rank must be given in place of n_components, got n_components="
            f"{options['n_components']!r}. tree_svd(blocks, 10) keeps ten triplets."
        )
    start = IncrementalSVD(rank, **options)
    start._options()
    states = map(functools.partial(_leaf, rank, options), _shared_out(*_counted(blocks)))
    iterator = iter(states)
    first = next(iterator, None)
    if first is None:
        raise ValueError("blocks must hold one block at least, got none.")

    def all_states() -> Iterable[IncrementalSVD]:
        yield first
        yield from iterator

    return tree_reduce(all_states(), _joined, fanin).result()


def _counted(blocks: Any) -> tuple[Iterable[Any], int | None]:
    """Return matrices one by one and how many there are, if that is known; refuse one matrix."""
    if hasattr(blocks, "shape"):
        shape = tuple(blocks.shape)
        if len(shape) != 3:
            raise ValueError(
                "blocks must be an iterable of matrices or an array (K, m, b), got one "
                f"{type(blocks).__name__} of shape {shape}. Call truncated_svd or IncrementalSVD "
                "for one matrix, or pass a list of blocks of its columns."
            )
        return (blocks[k, :, :] for k in range(int(shape[0]))), int(shape[0])
    if isinstance(blocks, (str, bytes, dict)) or not isinstance(blocks, Iterable):
        raise TypeError(
            "blocks must be an iterable of matrices or an array (K, m, b), got "
            f"{type(blocks).__name__}."
        )
    return blocks, len(blocks) if isinstance(blocks, Sized) else None


def _shared_out(blocks: Iterable[Any], count: int | None) -> Iterator[tuple[float, Any]]:
    """Yield blocks with their shares of an absolute tolerance, 1 in sum however many come."""
    for k, block in enumerate(blocks, 1):
        yield (1.0 / count if count else 6.0 / (math.pi * k) ** 2), block


def _leaf(rank: int | None, options: dict[str, Any], shared: tuple[float, Any]) -> IncrementalSVD:
    leaf = IncrementalSVD(rank, **options)
    leaf._share, block = shared
    return leaf.append_columns(block)


def _joined(first: IncrementalSVD, second: IncrementalSVD) -> IncrementalSVD:
    return first.merge(second)
