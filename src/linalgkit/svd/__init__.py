"""Singular value decompositions that grow, with exact accounts of what they discard.

::

    svd = IncrementalSVD(20).append_columns(A)
    result = svd.result()
    result.error_fro, result.sigma_bounds()

"""

from __future__ import annotations

from linalgkit.svd._bounds import ErrorBounds, concatenated_svd_bounds
from linalgkit.svd._cluster import (
    ErrorConstrainedClustering,
    MatrixClustering,
    cluster_matrices,
)
from linalgkit.svd._incremental import IncrementalSVD
from linalgkit.svd._result import SVDResult
from linalgkit.svd._shared import SharedSVD
from linalgkit.svd._tree import tree_svd
from linalgkit.svd._truncated import truncated_svd
from linalgkit.svd._weighted import WeightedSVD, weighted_svd

__all__ = [
    "ErrorBounds",
    "ErrorConstrainedClustering",
    "IncrementalSVD",
    "MatrixClustering",
    "SVDResult",
    "SharedSVD",
    "WeightedSVD",
    "cluster_matrices",
    "concatenated_svd_bounds",
    "tree_svd",
    "truncated_svd",
    "weighted_svd",
]
