"""What lies beside the rows of a source: right sides, targets, weights, cut where the source is.

::

    parts, (b, weights) = beside(as_parts(A, name="A"), b=b, weights=None)
    b[3]                                # a task, or an array, for the rows of parts.tasks[3]
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.array import is_dask, numpy_namespace
from linalgkit._core.estimator import as_array
from linalgkit.distributed._graph import task
from linalgkit.distributed._parts import Parts, _opener_of, _read_range, as_parts


def beside(parts: Parts, **given: Any) -> tuple[Parts, list[list[Any]]]:
    """Return the parts, counted where that is needed, and what lies beside each of them.

    Parameters
    ----------
    parts : Parts
        Blocks of rows.
    **given : dask.array, list of delayed blocks, path, memmap, array, or None
        One number, or a row of them, for each row of `parts`, by name. Lists must be cut as the
        parts are; all else is cut here.

    Returns
    -------
    parts : Parts
        With known lengths, if something had to be cut.
    found : list of list
        For each name one task, array or None a part.

    Raises
    ------
    TypeError
        For an iterator, which cannot be cut.
    ValueError
        If there are not as many rows, or parts, as there are in `parts`.
    """
    is_listed = [value is None or _is_listed(value) for value in given.values()]
    parts = parts if all(is_listed) else parts.counted()
    return parts, [_cut(name, value, parts) for name, value in given.items()]


def _is_listed(values: Any) -> bool:
    """Tell whether values come cut already: in a list of blocks, or with unknown lengths."""
    if isinstance(values, (list, tuple)):
        return any(isinstance(item, Delayed) or hasattr(item, "shape") for item in values)
    if isinstance(values, (Delayed, Iterator)):
        return True
    return is_dask(values) and any(n != n for n in values.chunks[0])


def _cut(name: str, values: Any, parts: Parts) -> list[Any]:
    if values is None:
        return [None] * len(parts)
    if _is_listed(values):
        return _listed(name, values, parts)
    if isinstance(values, (str, os.PathLike)):
        values = _opened(name, values)
    assert parts.lengths is not None
    n = sum(parts.lengths)
    opener = None if is_dask(values) else _opener_of(values)
    values = values if is_dask(values) or opener is not None else as_array(values, name)
    if not values.shape or values.shape[0] != n:
        raise ValueError(
            f"{name} must have one entry, or row, for each of the {n} rows of the source, got "
            f"shape {tuple(values.shape)}."
        )
    if is_dask(values):
        return as_parts(values.rechunk({0: tuple(parts.lengths)}), name=name).tasks
    stops = list(itertools.accumulate(parts.lengths))
    ranges = list(zip(parts.starts(), stops, strict=True))
    if opener is not None:
        return [task("range", _read_range, opener, 0, start, stop) for start, stop in ranges]
    return [_rows(values, start, stop) for start, stop in ranges]


def _listed(name: str, values: Any, parts: Parts) -> list[Any]:
    """Return the tasks of a list; lengths that are known must agree."""
    found = as_parts(values, name=name)
    if len(found) != len(parts):
        raise ValueError(
            f"{name} must come in the {len(parts)} parts of the source, got {len(found)}. Pass one "
            "block for each, or one array."
        )
    if found.lengths is not None and parts.lengths is not None:
        for k, (mine, its) in enumerate(zip(found.lengths, parts.lengths, strict=True)):
            if mine != its:
                raise ValueError(
                    f"{name} must have the rows of the source in each part, got {mine} for {its} "
                    f"in part {k}."
                )
    return found.tasks


def _opened(name: str, path: str | os.PathLike[str]) -> Any:
    """Return the array in a file, mapped."""
    if os.fspath(path)[-4:] != ".npy":
        raise ValueError(f"{name} must be a '.npy' file beside the source, got {str(path)!r}.")
    return numpy_namespace().load(path, mmap_mode="r", allow_pickle=False)


def _rows(values: Any, start: int, stop: int) -> Any:
    return values[start:stop] if values.ndim == 1 else values[start:stop, :]
