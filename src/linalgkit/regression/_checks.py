"""Checks of equations whose messages name the place: finite entries, and weights of rows."""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import (
    Array,
    array_namespace,
    asarray,
    dtype_name,
    is_complex_dtype,
    library_name,
    widest_float,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import Operator
from linalgkit._core.validation import check_finite_block, first_bad_row, have_finite_sum
from linalgkit.regression._sources import Rows


def check_block(A: Any, B: Array, index: int | None, start: int) -> None:
    """Refuse NaN and infinity; what has no entries to look at passes."""
    parts = {n: part for n, part in (("A", A), ("b", B)) if not isinstance(part, Operator)}
    if have_finite_sum(*parts.values()):
        return
    for name, part in parts.items():
        try:
            check_finite_block(part, index, name=name)
        except ValueError:
            if index is not None:
                raise
            row = start + (first_bad_row(part) or 0)
            raise ValueError(
                f"{name} must not contain NaN or infinity, got one in row {row} (counted from 0). "
                "Remove or impute such rows and call again."
            ) from None


def weights_message(found: int, expected: str) -> str:
    """Return what is wrong with a number of weights."""
    return f"weights must have one entry for each of the {expected} rows, got {found}."


def checked_weights(weights: Any, rows: Rows) -> Array:
    """Return weights as a real array beside the rows."""
    weights = as_array(weights, "weights")
    found = array_namespace(weights)
    if weights.ndim != 1:
        raise ValueError(f"weights must be 1-D, got shape {tuple(weights.shape)}.")
    if rows.n is not None and weights.shape[0] != rows.n:
        raise ValueError(weights_message(weights.shape[0], str(rows.n)))
    if is_complex_dtype(found, weights.dtype):
        raise TypeError(f"weights must be real, got {dtype_name(found, weights.dtype)}.")
    check_finite_block(weights, name="weights")
    if weights.shape[0] and float(found.min(weights)) < 0:
        worst = int(found.argmin(weights))
        raise ValueError(
            f"weights must not be negative, got {float(weights[worst])} for row {worst}."
        )
    if library_name(found) not in ("numpy", library_name(rows.xp)):
        raise TypeError(
            f"weights must be of {library_name(rows.xp)} or numpy, got {library_name(found)}."
        )
    wide = widest_float(rows.xp, rows.device)
    return asarray(weights, xp=rows.xp, device=rows.device, dtype=wide, copy=False)
