"""Top eigenvectors of a stream of rows, in memory that does not depend on its length.

::

    result = top_eigenvector(rows)          # array, file, generator of blocks, sparse, dask
    result.eigenvectors, result.gap, result.error_estimate

"""

from __future__ import annotations

from linalgkit.streaming import theory
from linalgkit.streaming._eigh import StreamingEigh, top_eigenvector
from linalgkit.streaming._result import StreamingEighResult

__all__ = ["StreamingEigh", "StreamingEighResult", "theory", "top_eigenvector"]
