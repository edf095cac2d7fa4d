"""One door for everything that can be fitted in parts: map, merge by a tree, the same object."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from dask.delayed import Delayed

from linalgkit._core.capabilities import capability
from linalgkit._core.validation import check_int
from linalgkit.distributed._graph import computed

_Model = TypeVar("_Model")

#: The public classes that can be fitted, and the file of each family. It has a function `plan`
#: (:class:`Plan`), and, if the method reads the parts several times, a function `run` that computes
#: round by round, so that Dask keeps no part in between. A family is loaded when it is asked for.
FAMILIES = {
    "linalgkit.streaming.StreamingEigh": "_eigh",
    "linalgkit.svd.IncrementalSVD": "_svd",
    "linalgkit.regression.SketchedRegressor": "_regression",
    "linalgkit.bayes.KronSBL": "_snapshots",
    "linalgkit.completion.MatrixCompletion": "_completion",
}


class Plan(Protocol):
    """What a family registers: the graph of one fit.

    It checks its arguments at once, on the client, turns a `rng` of None into one key, leaves
    `model` as it is, and returns a task that computes to a fitted object of the same class.
    Options beyond `fanin` are the family's own; an unknown one is a TypeError.
    """

    def __call__(
        self, model: Any, source: Any, y: Any = None, *, fanin: int, **options: Any
    ) -> Delayed:
        """Return the task."""
        ...


@capability("distributed.fit", sparse=True, streaming=True)
def fit(
    model: _Model,
    source: Any,
    y: Any = None,
    *,
    fanin: int = 8,
    compute: bool = True,
    **options: Any,
) -> _Model:
    """Fit an object to data in parts, on whatever scheduler Dask has been told to use.

    Parameters
    ----------
    model : StreamingEigh, IncrementalSVD, SketchedRegressor, KronSBL or MatrixCompletion
        Says which method and which options. It is not changed.
    source : dask.array, dask dataframe, list of delayed blocks, path, memmap, zarr, array or list
        The data in parts; files are opened by the workers. A list holds any of these, and each
        item is cut in turn. Each family says along which axis the parts follow each other.
    y : like `source`, optional
        Targets, for the families that take some, in the parts of `source`.
    fanin : int, default 8
        How many results one task of the tree merges, at least 2. Part of the question: another
        tree rounds differently.
    compute : bool, default True
        With False a task (``dask.delayed``) comes back whose result is the fitted object, to be
        computed or watched by Dask's own means.
    **options : object
        What the family takes besides; see the notes.

    Returns
    -------
    object of the class of `model`, or Delayed
        A new object, fitted to everything, as if the serial one had seen it.

    Raises
    ------
    TypeError
        If `model` is of a class that cannot be fitted in parts, `source` can be read only once,
        or an option is unknown.
    ValueError
        If `fanin` is below 2, there is no part, or the parts do not fit together.

    See Also
    --------
    top_eigenvector, tree_svd, lstsq, kron_sbl, complete_matrix : the same in one call.

    Notes
    -----
    ===================  =================  ============================  =========================
    Class                Parts of `source`  Options                       Guarantee of the merge
    ===================  =================  ============================  =========================
    StreamingEigh        blocks of rows     `sample_weight`, `n_passes`   by `method`: exact for
                                                                          ``"gram"``, ``"nystrom"``
                                                                          and ``"block-power"``;
                                                                          bounds add for
                                                                          ``"frequent-directions"``
    IncrementalSVD       columns or rows    `axis`                        bounds add
    SketchedRegressor    blocks of rows     `sample_weight`               exact
    KronSBL              snapshots (`y`)                                  exact
    MatrixCompletion     entries                                          exact
    ===================  =================  ============================  =========================

    For KronSBL `source` are the factors, in memory, and `y` the snapshots. Rows of parts for a
    SketchedRegressor are counted first, which reads those whose length is not known.

    The first part that is not empty gives the dtype, as in a stream. From a Generator as `rng` of
    `model` one key is drawn for all parts; an int or None is used as it is, or made one.

    "Exact" is exact up to the rounding of one sum; for KronSBL beyond ``max(2 M, 1024)`` snapshots,
    and for numbers found by iteration, up to its tolerance. The tree has one shape for one number
    of parts, so that any number of workers, any scheduler and any retry give the same bits.

    Storage a worker: the state of the serial object, `fanin` states in a merge, and one part.
    Moved: `(p - 1)` states for `p` parts, over ``log(p) / log(fanin)`` levels.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from linalgkit.distributed import fit
    >>> from linalgkit.streaming import StreamingEigh
    >>> A = da.from_array(np.random.default_rng(0).standard_normal((600, 5)), chunks=(100, 5))
    >>> model = fit(StreamingEigh(method="gram", gap_warn=0), A)
    >>> model.n_samples_seen_
    600
    """
    check_int("fanin", fanin, 2)
    family = _family_of(model)
    _check_options(type(model).__name__, family, options)
    if compute and hasattr(family, "run"):
        return cast(_Model, family.run(model, source, y, fanin=fanin, **options))
    found = family.plan(model, source, y, fanin=fanin, **options)
    return cast(_Model, computed(found) if compute else found)


def _check_options(name: str, family: Any, options: dict[str, Any]) -> None:
    """Refuse options that the family has not."""
    parameters = inspect.signature(family.plan).parameters.values()
    own = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "fanin"]
    unknown = sorted(set(options) - set(own))
    if unknown:
        raise TypeError(
            f"{', '.join(unknown)}: not an option of fit for {name}. Known are "
            f"{', '.join(['fanin', 'compute', *own])}; options of the method belong to the model."
        )


def _family_of(model: Any) -> Any:
    """Return the module that plans a fit of this class or of one derived from it."""
    for name, home in FAMILIES.items():
        room, _, public = name.rpartition(".")
        root = type(model).__mro__
        if any(c.__name__ == public and c.__module__.startswith(room) for c in root):
            return import_module(f"linalgkit.distributed.{home}")
    known = ", ".join(name.rpartition(".")[2] for name in FAMILIES)
    raise TypeError(
        f"model must be one of {known}, got {type(model).__name__}. Others are not merged: fit "
        "them where the data are."
    )
