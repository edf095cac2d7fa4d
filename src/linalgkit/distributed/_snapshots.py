"""Kronecker sparse Bayesian learning from snapshots in parts: a tree of triangular factors."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.array import is_dask
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_int
from linalgkit.bayes import KronSBL, KronSBLResult
from linalgkit.bayes._modes import kronecker_factors
from linalgkit.distributed._graph import computed, once, reduced, shared_key, task
from linalgkit.distributed._parts import _opener_of, as_parts, naming


@capability("distributed.kron_sbl", streaming=True)
def kron_sbl(factors: Sequence[Any], y: Any, *, fanin: int = 8, **options: Any) -> KronSBLResult:
    """Find the sparse unknowns that many snapshots share, seen through a Kronecker product.

    Parameters
    ----------
    factors : sequence of array (M_i, N_i)
        Dictionaries of the modes, in memory.
    y : dask.array (M_1, ..., M_I, L) or (M, L), list of delayed blocks, path, memmap, or array
        The snapshots, along the last axis, of which each part holds some; ``M = M_1 ... M_I``. A
        list holds blocks as :meth:`~linalgkit.bayes.KronSBL.partial_fit` takes them: a block
        without the last axis is one snapshot. Files have two axes.
    fanin : int, default 8
        Buffers that a task of the tree joins, 2 at least.
    **options : object
        Those of :func:`linalgkit.bayes.kron_sbl`.

    Returns
    -------
    KronSBLResult
        Past ``max(2 M, 1024)`` snapshots its mean and predictions are of columns with the second
        moments of the snapshots, see :class:`~linalgkit.bayes.KronSBL`.

    Raises
    ------
    TypeError, ValueError
        As :func:`linalgkit.bayes.kron_sbl`; if an option is unknown or `fanin` below 2.

    Warns
    -----
    AccuracyWarning
        As :func:`linalgkit.bayes.kron_sbl`.

    See Also
    --------
    fit : the same for a :class:`~linalgkit.bayes.KronSBL`, whose `transform` then gives the
        coefficients of any snapshot.

    Notes
    -----
    The hyperparameters depend on the snapshots through ``Y Y^H`` alone, so that a worker hands on
    a triangular factor ``R`` with ``R R^H = Y Y^H`` once it has more than ``max(2 M, 1024)`` of
    them. Support, hyperparameters, noise and evidence are those of all snapshots: the same bits as
    of the serial object up to that number. Beyond it the iteration starts from numbers that are
    rounded otherwise, may take more or fewer sweeps, and ends within its tolerance of the same
    evidence and support; the scale of one mode's hyperparameters against another's is free.

    A part without snapshots changes nothing.

    Storage: a part and ``M max(2 M, 1024)`` numbers a worker, up to five times that while a factor
    is found, f times that in a merge of fanin f; on the client as :func:`linalgkit.bayes.kron_sbl`
    for so many snapshots. Moved: ``(p - 1) M max(2 M, 1024)`` numbers at most for p parts.

    Examples
    --------
    >>> import dask.array as da
    >>> from linalgkit.datasets import kronecker_sparse
    >>> from linalgkit.distributed import kron_sbl
    >>> problem = kronecker_sparse((10, 12), (6, 8), (2, 3), snr_db=10.0, snapshots=8, rng=1)
    >>> y = da.from_array(problem.y, chunks=(10, 12, 2))
    >>> result = kron_sbl(problem.factors, y)
    >>> [s.tolist() for s in result.support] == [s.tolist() for s in problem.support]
    True
    """
    known = inspect.signature(KronSBL).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(
            f"{', '.join(unknown)}: not an option of kron_sbl. Known are {', '.join(known)}."
        )
    model = KronSBL(**options)
    return run(model, factors, y, fanin=check_int("fanin", fanin, 2)).result()


def run(model: KronSBL, source: Any, y: Any = None, *, fanin: int) -> KronSBL:
    """Return an object that has taken in all snapshots; see :func:`plan`."""
    found: KronSBL = computed(plan(model, source, y, fanin=fanin))
    stream = found._fitted()  # callbacks stay on the client
    found.callback = model.callback
    found._take(replace(stream, options={**stream.options, "callback": model.callback}))
    return found


def plan(model: KronSBL, source: Any, y: Any = None, *, fanin: int) -> Delayed:
    """Return a task that takes all snapshots into one object of the class of `model`.

    `source` are the factors, `y` the snapshots in parts, as for ``model.fit``; the answer is found
    when it is first asked for. An object computed from the task has no callback.
    """
    kronecker_factors(source)
    if y is None:
        raise ValueError("y must be given beside the factors, got None: it holds the snapshots.")
    params = {**model.get_params(deep=False), "callback": None}
    params["rng"] = shared_key(params["rng"])
    sent, factors = once(params), once(list(source))
    leaves = [
        task("snapshots", _leaf, type(model), sent, factors, k, part)
        for k, part in enumerate(_parts_of(y))
    ]
    return task("snapshots", _checked, reduced("snapshots", _merged, leaves, fanin))


def _parts_of(y: Any) -> list[Any]:
    """Return tasks or arrays with some snapshots each."""
    if isinstance(y, Iterator):
        as_parts(y, name="y")  # which refuses it
    if isinstance(y, (list, tuple)):
        found = [part for item in y for part in _parts_of(item)]
        if not found:
            raise ValueError("y must hold at least one part, got none.")
        return found
    if isinstance(y, Delayed):
        return [y]
    if is_dask(y):
        whole = dict.fromkeys(range(y.ndim - 1), -1)
        return list(y.rechunk(whole).to_delayed().ravel())
    if isinstance(y, (str, os.PathLike)) or _opener_of(y) is not None:
        return list(as_parts(y, axis=1, name="y").tasks)
    return [y]


def _leaf(
    kind: type[KronSBL], params: Mapping[str, Any], factors: Sequence[Any], index: int, y: Any
) -> KronSBL:
    """Return an object that has taken in some snapshots, or none."""
    y = as_array(y, "y")
    if _has_none(y, factors):
        return kind(**params)
    with naming(index, "y"):
        return kind(**params).partial_fit(factors, y)


def _has_none(y: Any, factors: Sequence[Any]) -> bool:
    """Tell whether a part has the shape of snapshots, but none of them."""
    sizes = tuple(int(H.shape[0]) for H in factors)
    shape = tuple(y.shape)
    return shape[-1:] == (0,) and shape[:-1] in (sizes, (math.prod(sizes),))


def _checked(model: KronSBL) -> KronSBL:
    """Refuse parts of which none had a snapshot."""
    if not hasattr(model, "_stream"):
        raise ValueError("y must have at least one snapshot, got parts without snapshots.")
    return model


def _merged(a: KronSBL, b: KronSBL) -> KronSBL:
    """Return the snapshots of both; streams are never changed."""
    both = object.__new__(type(a))
    both.__dict__.update(a.__dict__)
    return both.merge(b)
