"""Targets and weights of a regression as arrays, and how much of the targets is explained.

::

    y = as_targets(y)               # lists, series, dataframes and arrays
    check_targets(X, y)
    score = determination(y, predicted, None, xp)
"""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    is_sparse,
    library_name,
    namespace_of,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.scaling import norm_fro

FLOATS = ("real floating", "complex floating")


def check_targets(X: Any, y: Array) -> None:
    """Refuse targets that do not fit beside the rows."""
    if y.ndim not in (1, 2) or y.shape[0] != X.shape[0] or (y.ndim == 2 and y.shape[1] == 0):
        raise ValueError(
            f"y must have one target, or a row of them, for each of the {X.shape[0]} rows of X, "
            f"got shape {tuple(y.shape)}: inconsistent numbers of samples."
        )
    theirs, mine = library_name(namespace_of(X)[0]), library_name(array_namespace(y))
    if mine != theirs:
        raise TypeError(f"y must be of {theirs} as X is, got {mine}. Convert it first.")


def joint_dtype(X: Any, y: Array, xp: Namespace, where: Device) -> DType:
    """Return the dtype to work in; integers next to floating-point numbers take their dtype."""
    floats = [v.dtype for v in (X, y) if xp.isdtype(v.dtype, FLOATS)] or [X.dtype]
    return xp.result_type(*(working_dtype(xp, where, dtype) for dtype in floats))


def as_targets(y: Any) -> Array:
    """Return targets as an array, refused where there are none."""
    if y is None:
        raise ValueError(
            "SketchedRegressor requires y to be passed, but the target y is None. Pass one target "
            "for each row."
        )
    if is_sparse(y):
        raise TypeError(
            f"y must be a dense array, got the sparse {type(y).__name__}. Pass y.toarray()."
        )
    targets = as_array(y, "y")
    array_namespace(targets)
    return targets


def whole_weights(sample_weight: Any, n: int) -> Array:
    """Return the weights of a whole fit, of which one at least must count."""
    weights = as_array(sample_weight, "sample_weight")
    xp = array_namespace(weights)
    if tuple(weights.shape) != (n,):
        raise ValueError(
            f"sample_weight must have one entry for each of the {n} rows, got shape "
            f"{tuple(weights.shape)}."
        )
    if not bool(xp.any(weights != 0)):
        raise ValueError("sample_weight must not be zero for all rows: nothing would be fitted.")
    return weights


def determination(y: Array, predicted: Array, weights: Any, xp: Namespace) -> float:
    """Return the mean over the columns of ``1 - ||y - predicted||^2 / ||y - mean||^2``."""
    if weights is None:
        roots = xp.ones_like(y[:, :1])
    else:
        roots = xp.sqrt(xp.astype(as_array(weights), y.dtype))[:, None]
    if not bool(xp.any(roots != 0)):
        raise ValueError("sample_weight must not be zero for all rows: no score is left.")
    mean = xp.sum(roots * roots * y, axis=0) / xp.sum(roots * roots)
    total = 0.0
    for j in range(y.shape[1]):
        error = norm_fro(roots * (y - predicted)[:, j : j + 1], xp)
        scatter = norm_fro(roots * (y - mean[None, :])[:, j : j + 1], xp)
        if scatter > 0:
            total += 1.0 - (error / scatter) ** 2
        else:
            total += 1.0 if error == 0 else 0.0
    return total / int(y.shape[1])
