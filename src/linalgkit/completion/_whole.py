"""Whether the parts of a saved answer fit together: files are read that others wrote or cut."""

from __future__ import annotations

import cmath
from typing import TYPE_CHECKING, Any

from linalgkit._core.array import Array, numpy_namespace, to_numpy

if TYPE_CHECKING:
    from linalgkit.completion._result import CompletionResult

_HOST = numpy_namespace()


def check_whole(result: CompletionResult) -> None:
    """Refuse an answer whose parts do not fit together, or are no finite numbers."""
    m, n = result.pattern().shape
    k: Any = result.rank
    mean: Any = result.mean
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise _damaged("rank")
    U, V, s = (to_numpy(x) for x in (result.U, result.V, result.singular_values))
    _check_numbers("U", U, (m, k), U)
    _check_numbers("V", V, (n, k), U)
    _check_numbers("singular_values", s, (k,), U.real)
    if (result.row_bias is None) != (result.col_bias is None):
        raise _damaged("row_bias")
    for name, size in (("row_bias", m), ("col_bias", n)):
        bias = getattr(result, name)
        if bias is not None:
            _check_numbers(name, to_numpy(bias), (size,), U)
    if not isinstance(mean, (int, float, complex)) or not cmath.isfinite(mean):
        raise _damaged("mean")
    if result.loss_scale is not None and not result.loss_scale >= 0.0:
        raise _damaged("loss_scale")
    _check_lines("unidentifiable_rows", to_numpy(result.unidentifiable_rows), m)
    _check_lines("unidentifiable_columns", to_numpy(result.unidentifiable_columns), n)
    for name in ("row_ridge", "column_ridge", "row_load", "column_load"):
        _check_ridge(name, getattr(result, name), k, result.row_bias is not None)


def _check_numbers(name: str, x: Array, shape: tuple[int, ...], like: Array) -> None:
    """Refuse another shape, another dtype, and what is not finite."""
    if x.shape != shape or x.dtype != like.dtype or x.dtype.kind not in "fc":
        raise _damaged(name)
    if not _HOST.isfinite(x).all():
        raise _damaged(name)


def _check_lines(name: str, x: Array, size: int) -> None:
    """Refuse what are no numbers of lines, each once."""
    if x.ndim != 1 or not _is_integral(x) or not is_ascending(x, size):
        raise _damaged(name)


def _check_ridge(name: str, x: Array | None, k: int, biased: bool) -> None:
    """Refuse ridges of a wrong number, and negative ones."""
    if x is None:
        return
    x = _HOST.asarray(x)
    fits = x.ndim == 1 and x.shape[0] in (k, k + biased) and x.dtype.kind == "f"
    if not fits or not bool((x >= 0).all()):
        raise _damaged(name)


def is_ascending(x: Array, size: int) -> bool:
    """Tell whether integers rise strictly, from 0 to less than `size`."""
    if x.shape[0] == 0:
        return True
    return int(x[0]) >= 0 and int(x[-1]) < size and bool((x[1:] > x[:-1]).all())


def _is_integral(x: Array) -> bool:
    """Tell whether host data are integers; nothing at all counts."""
    return x.dtype.kind in "iu" or x.size == 0


def _damaged(name: str) -> ValueError:
    return ValueError(
        f"the state of a CompletionResult is damaged: {name} does not fit the rest, or holds "
        "what is no finite number. Load the file as it was saved."
    )
