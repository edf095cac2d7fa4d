"""Short texts for ``print(result)``: the leading numbers, how good they are, and the status.

::

    told("Title", ("label", "what is said"), ("left out", ""), status="converged")

The representation of a result names its fields; this is for people, in a few lines. Of arrays
only the few numbers that are shown come to the host.
"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import Array, array_namespace, to_numpy

__all__ = ["leading", "number", "relative", "told"]

_SHOWN = 5
_WORDS = {
    "converged": "no fault found",
    "rank_deficient": "the rank is deficient; not everything is determined",
    "small_gap": "the gap is small; the eigenvectors are not well determined",
    "order_not_random": "the rows are not in random order, on which the method rests",
    "heavy_rows_missed": "rows of large norm were missed",
    "no_growth": "the iteration has not grown",
    "uncertain": "the estimated error is large",
    "unknown": "too few rows to estimate the error",
    "zero": "nothing but zeros",
    "inaccurate": "weaker than asked",
    "sketched": "from a sketch; intervals by ci()",
    "exact": "solved without a sketch",
    "max_rank": "the largest rank allowed is too small for the tolerance",
    "max_iter": "the last iteration allowed was reached",
    "noise_floor": "the data are interpolated; the noise is at rounding level",
    "empty": "noise alone explains the data",
}


def told(title: str, *lines: tuple[str, str], status: str = "", meaning: str = "") -> str:
    """Return the title and a line for each pair whose second part is not empty."""
    words = meaning or _WORDS.get(status, "")
    verdict = f"{status} ({words})" if words else status
    shown = [(label, text) for label, text in (*lines, ("status", verdict)) if text]
    width = max((len(label) for label, _ in shown), default=0)
    return "\n".join([title, *(f"  {label.ljust(width)}  {text}" for label, text in shown)])


def leading(A: Array) -> str:
    """Return the first few numbers of an array, of its first column where it has several."""
    while len(A.shape) > 1:
        A = A[..., :1]
        A = array_namespace(A).reshape(A, (*A.shape[:-2], A.shape[-2] * A.shape[-1]))
    n = int(A.shape[0])
    text = ", ".join(f"{x:.4g}" for x in to_numpy(A[:_SHOWN]).tolist())
    return f"{text}, ... ({n:,} in all)" if n > _SHOWN else text


def number(x: Any) -> str:
    """Return a number, the largest of an array of them, or nothing for None and NaN."""
    if x is None:
        return ""
    if hasattr(x, "shape") and len(x.shape) > 0:
        x = array_namespace(x).max(x) if x.shape[0] else math.nan
    return "" if math.isnan(float(x)) else f"{float(x):.3g}"


def relative(error: Any, whole: Any, words: str) -> str:
    """Return an error over the size of the whole, with what the whole is; or nothing."""
    error, whole = float(error), float(whole)
    if not (math.isfinite(error) and math.isfinite(whole)) or whole <= 0:
        return ""
    return f"{error / whole:.3g} of {words}"
