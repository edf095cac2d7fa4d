"""Least squares with certificates: intervals for sketched solutions, backward errors for full ones.

::

    result = sketched_lstsq(A, b, eps=0.3, rng=0)   # one pass over the rows
    lower, upper = result.ci(0.95)                  # for the exact solution

"""

from __future__ import annotations

from linalgkit.regression import theory
from linalgkit.regression._backward import backward_error
from linalgkit.regression._kron import KronLstsqResult, kron_lstsq
from linalgkit.regression._lstsq import LstsqResult, lstsq
from linalgkit.regression._preconditioner import sketch_preconditioner
from linalgkit.regression._regressor import SketchedRegressor
from linalgkit.regression._size import sketch_size
from linalgkit.regression._sketched import sketched_lstsq
from linalgkit.regression._sketched_result import Contrast, SketchedLstsqResult

__all__ = [
    "Contrast",
    "KronLstsqResult",
    "LstsqResult",
    "SketchedLstsqResult",
    "SketchedRegressor",
    "backward_error",
    "kron_lstsq",
    "lstsq",
    "sketch_preconditioner",
    "sketch_size",
    "sketched_lstsq",
    "theory",
]
