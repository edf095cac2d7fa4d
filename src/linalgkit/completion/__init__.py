"""Matrices of low rank from some of their entries, by robust alternating minimisation.

>>> import numpy as np
>>> from linalgkit import completion
>>> rng = np.random.default_rng(0)
>>> A = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 60))
>>> seen = rng.random(A.shape) < 0.4
>>> result = completion.complete_matrix(A, 3, mask=seen, rng=0)
>>> bool(np.max(np.abs(result.block() - A)) < 1e-10)
True

A sweep costs a few passes over the observed entries, times the rank: one preconditioner that all
rows share takes the place of a factorisation for each. A ridge that falls from sweep to sweep keeps
lines with few entries in bounds, and a Riemannian Gauss-Newton method ends at rounding level. Noisy
data are shrunk component by component (``shrink=True``), gross errors found (``loss="huber"`` or
``"l1"``), rank and ridge chosen on entries that are held out.
"""

from linalgkit.completion import theory
from linalgkit.completion._choice import RankEstimate, rank_estimate
from linalgkit.completion._complete import complete_matrix
from linalgkit.completion._estimator import MatrixCompletion
from linalgkit.completion._imputer import LowRankImputer
from linalgkit.completion._result import CompletionResult

__all__ = [
    "CompletionResult",
    "LowRankImputer",
    "MatrixCompletion",
    "RankEstimate",
    "complete_matrix",
    "rank_estimate",
    "theory",
]
