"""Singular value decompositions in parts: leaves and merges on the workers, one exact account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.array import is_sparse
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_int
from linalgkit.distributed._graph import computed, once, reduced, shared_key, task
from linalgkit.distributed._parts import Parts, as_parts, check_axes, naming
from linalgkit.svd import IncrementalSVD, SVDResult
from linalgkit.svd._inputs import in_dtype
from linalgkit.svd._options import SVDOptions


@capability("distributed.tree_svd", sparse=True, streaming=True)
def tree_svd(blocks: Any, rank: int | None = None, *, fanin: int = 8, **options: Any) -> SVDResult:
    """Return the singular value decomposition of blocks of columns side by side, on workers.

    Parameters
    ----------
    blocks : dask.array, list of delayed blocks, path, memmap, or list of these
        Columns, dense or scipy.sparse, (m, n) together; of a dask.array the chunks along its
        columns are the blocks.
    rank : int, optional
        Triplets of the answer, ``n_components`` of :class:`~linalgkit.svd.IncrementalSVD`; may be
        left out where ``tol=`` is given.
    fanin : int, default 8
        States joined at a time, 2 at least.
    **options : object
        Those of :class:`~linalgkit.svd.IncrementalSVD`.

    Returns
    -------
    SVDResult
        With the exact account of all that was discarded, as
        :func:`linalgkit.svd.tree_svd` gives it for these blocks: bit for bit on NumPy.

    Raises
    ------
    TypeError
        If `blocks` cannot be read by every worker, or ``n_components=`` is given in place of
        `rank`.
    ValueError
        If there is no block, or `fanin` is below 2; and as
        :class:`~linalgkit.svd.IncrementalSVD`.

    See Also
    --------
    fit : the same for an :class:`~linalgkit.svd.IncrementalSVD`, by columns or rows.
    linalgkit.svd.tree_svd : on any ``map``.

    Notes
    -----
    An absolute tolerance is shared out evenly: each of p leaves may discard ``tol^2 / p``, and a
    merge what its leaves may together.

    Storage, for l triplets kept of columns of m numbers: a block and ``m (2 l + b)`` numbers a
    worker for `b` columns that wait, f states of ``m l`` in a merge of fanin f. Moved: ``(p - 1) m
    l`` numbers, over ``log(p) / log(f)`` levels (`compute_v`: ``n l`` more).

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from linalgkit.distributed import tree_svd
    >>> A = np.random.default_rng(0).standard_normal((40, 90))
    >>> found = tree_svd(da.from_array(A, chunks=(40, 30)), 5, n_oversamples=35)
    >>> bool(np.allclose(found.s, np.linalg.svd(A)[1][:5]))
    True
    """
    fanin = check_int("fanin", fanin, 2)
    if "n_components" in options:
        raise TypeError(
            "rank must be given in place of n_components, got n_components="
            f"{options['n_components']!r}. tree_svd(blocks, 10) keeps ten triplets."
        )
    parts = as_parts(blocks, axis=1, name="blocks")
    model = IncrementalSVD(rank, **options)
    result: SVDResult = computed(task("svd", _answer, _tree(model, parts, fanin), "blocks"))
    return result


def plan(
    model: IncrementalSVD, source: Any, y: Any = None, *, fanin: int, axis: int = 0
) -> Delayed:
    """Return a task that takes all parts into one object of the class of `model`.

    With ``axis=0`` parts are rows that are samples, as for ``model.fit``; with ``axis=1`` they are
    columns, as for ``model.append_columns``. `y` is ignored, as there.
    """
    axis = check_int("axis", axis, 0, 1)
    tree = _tree(model, as_parts(source, axis=axis, name="source"), fanin)
    return task("svd", _checked, tree, "source", axis)


def _tree(model: IncrementalSVD, parts: Parts, fanin: int) -> Delayed:
    """Return the tree of leaves and merges."""
    params = model.get_params(deep=False)
    SVDOptions.checked(params)
    if params["forgetting"] < 1.0:
        raise ValueError(
            f"forgetting must be 1 for parts that are merged, got {params['forgetting']}. Which "
            "columns are older is not known there: append them to one object, in order."
        )
    params["rng"] = shared_key(params["rng"])
    sent, share = once(params), 1.0 / len(parts)
    first = (parts.not_empty() or parts.tasks)[0]
    lead = task("lead", _lead, type(model), sent, parts.axis, first)
    leaves = [
        task("svd", _leaf, type(model), sent, lead, k, share, parts.axis, part)
        for k, part in enumerate(parts.tasks)
    ]
    return reduced("svd", _merged, leaves, fanin)


def _lead(
    kind: type[IncrementalSVD], params: Mapping[str, Any], axis: int, part: Any
) -> IncrementalSVD | None:
    """Return an object that has taken in the first column, or row, of a part if it has one."""
    x = as_array(part)
    check_axes(x.shape, "the first part of the source")
    if not x.shape[axis]:
        return None
    if axis == 0:
        return kind(**params).partial_fit((x.tocsr() if is_sparse(x) else x)[:1, :])
    return kind(**params).append_columns((x.tocsc() if is_sparse(x) else x)[:, :1])


def _leaf(
    kind: type[IncrementalSVD],
    params: Mapping[str, Any],
    lead: IncrementalSVD | None,
    index: int,
    share: float,
    axis: int,
    part: Any,
) -> IncrementalSVD:
    """Return an object that has taken in one part, with its share of an absolute tolerance.

    Its dtype becomes that of the first part, as it would in one object.
    """
    x = as_array(part)
    check_axes(x.shape, f"part {index} of the source")
    leaf = kind(**params)
    leaf._share, leaf._n_blocks = share, index  # which messages name
    if lead is not None and x.shape[axis] and x.dtype != lead._fitted().dtype:
        with naming(index, "the source"):
            part = in_dtype(x, lead._fitted())
    return leaf.append_columns(part) if axis == 1 else leaf.partial_fit(part)


def _merged(a: IncrementalSVD, b: IncrementalSVD) -> IncrementalSVD:
    """Return both side by side; a merge changes attributes of its object, never their arrays."""
    both = object.__new__(type(a))
    both.__dict__.update(a.__dict__)
    return both.merge(b)


def _checked(model: IncrementalSVD, name: str, axis: int) -> IncrementalSVD:
    """Refuse parts of which none had anything."""
    if model._stream_or_none() is None:
        what = ("row", "column")[axis]
        raise ValueError(f"{name} must have at least one {what}, got parts without {what}s.")
    return model


def _answer(model: IncrementalSVD, name: str) -> SVDResult:
    return _checked(model, name, 1).result()
