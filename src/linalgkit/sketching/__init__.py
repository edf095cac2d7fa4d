"""Random maps as operators: apply, stream, save and repeat them on any array library.

::

    S = sketch("srht", 200, n, rng=0)       # (200, n), known by its key
    S @ X                                   # dense, sparse or matrix-free data
    S.apply_rows(block, start)              # a block's share; shares sum to S @ X

"""

from __future__ import annotations

from linalgkit.sketching._factory import sketch
from linalgkit.sketching._leverage import leverage_scores
from linalgkit.sketching._operator import SketchOperator
from linalgkit.sketching._tensor import TensorSketchOperator, tensor_sketch

__all__ = [
    "SketchOperator",
    "TensorSketchOperator",
    "leverage_scores",
    "sketch",
    "tensor_sketch",
]
