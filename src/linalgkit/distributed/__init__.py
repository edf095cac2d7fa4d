"""The same objects on Dask: map and tree reduction, and the same answer.

::

    model = fit(StreamingEigh(method="gram"), rows)      # dask.array, delayed blocks, files
    result = top_eigenvector(rows)                       # as linalgkit.streaming, in parts

Works on Dask's threads (the default) and under a ``dask.distributed`` Client. Needs the extra
``distributed``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("dask") is None:
    raise ImportError(
        "linalgkit.distributed needs Dask, which is not installed. "
        'Run: pip install "linalgkit[distributed]"'
    )

if TYPE_CHECKING:
    from linalgkit.distributed._completion import complete_matrix
    from linalgkit.distributed._eigh import top_eigenvector
    from linalgkit.distributed._fit import fit
    from linalgkit.distributed._leverage import leverage_scores
    from linalgkit.distributed._potential import long_range_potential
    from linalgkit.distributed._regression import lstsq, sketched_lstsq
    from linalgkit.distributed._snapshots import kron_sbl
    from linalgkit.distributed._svd import tree_svd

__all__ = [
    "complete_matrix",
    "fit",
    "kron_sbl",
    "leverage_scores",
    "long_range_potential",
    "lstsq",
    "sketched_lstsq",
    "top_eigenvector",
    "tree_svd",
]

_HOMES = {
    "complete_matrix": "_completion",
    "fit": "_fit",
    "kron_sbl": "_snapshots",
    "leverage_scores": "_leverage",
    "long_range_potential": "_potential",
    "lstsq": "_regression",
    "sketched_lstsq": "_regression",
    "top_eigenvector": "_eigh",
    "tree_svd": "_svd",
}


def __getattr__(name: str) -> Any:
    """Load the file of a function at its first use, so that unused rooms cost nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
