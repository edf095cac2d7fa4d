"""What lies beside the rows of a source: right sides, targets, weights, cut where the source is.

::

    parts, (b, weights) = beside(as_parts(A, name="A"), b=b, weights=None)
    b[3]                                # a task, or an array, for the rows of parts.tasks[3]
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.array import is_dask, numpy_namespace
from linalgkit._core.estimator import as_array
from linalgkit.distributed._graph import task
from linalgkit.distributed._parts import (
    Opener,
    Parts,
    _open_npy,
    _opener_of,
    _read_range,
    as_parts,
    readable,
)


def beside(parts: Parts, **given: Any) -> tuple[Parts, list[list[Any]]]:
    """Return the parts, counted where that is needed, and what lies beside each of them.

    Parameters
    ----------
    parts : Parts
        Blocks of rows.
    **given : dask.array, list, path, memmap, array, or None
        One number, or a row of them, for each row of `parts`, by name. Lists of delayed blocks or
        of arrays must be cut as the parts are; all else, lists of files or of numbers too, is cut
        here.

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
        return any(_is_block(item) for item in values) and not _are_on_disk(values)
    if isinstance(values, (Delayed, Iterator)):
        return True
    return is_dask(values) and any(n != n for n in values.chunks[0])


def _is_block(item: Any) -> bool:
    """Tell whether an item of a list is a block, and no number."""
    return isinstance(item, (Delayed, str, os.PathLike)) or len(getattr(item, "shape", ())) > 0


def _are_on_disk(values: Any) -> bool:
    """Tell whether a list names or maps files alone."""
    return len(values) > 0 and all(
        isinstance(item, (str, os.PathLike))
        or (hasattr(item, "shape") and not is_dask(item) and _opener_of(item) is not None)
        for item in values
    )


def _cut(name: str, values: Any, parts: Parts) -> list[Any]:
    """Return what lies beside each part: tasks, or rows of an array in memory."""
    if values is None:
        return [None] * len(parts)
    if _is_listed(values):
        return _listed(name, values, parts)
    assert parts.lengths is not None
    files = values if isinstance(values, (list, tuple)) else [values]
    if _are_on_disk(files):
        return _cut_files(name, [_opened(name, file) for file in files], parts)
    values = values if is_dask(values) else as_array(values, name)
    _check_rows(name, tuple(values.shape), parts)
    if is_dask(values):
        return as_parts(values.rechunk({0: tuple(parts.lengths)}), name=name, vectors=True).tasks
    return [_rows(values, start, stop) for start, stop in _ranges(parts.lengths)]


def _check_rows(name: str, shape: tuple[int, ...], parts: Parts) -> None:
    assert parts.lengths is not None
    n = sum(parts.lengths)
    if not shape or shape[0] != n:
        raise ValueError(
            f"{name} must have one entry, or row, for each of the {n} rows of the source, got "
            f"shape {shape}."
        )


def _ranges(lengths: Iterable[int]) -> list[tuple[int, int]]:
    """Return where things of these lengths start and stop, one after the other."""
    return list(itertools.pairwise([0, *itertools.accumulate(lengths)]))


_File = tuple[Opener, tuple[int, ...]]  # and the shape of what lies in it


def _cut_files(name: str, files: list[_File], parts: Parts) -> list[Any]:
    """Return a task a part that reads its rows from the files they lie in."""
    assert parts.lengths is not None
    shapes = [shape for _, shape in files]
    if len({shape[1:] for shape in shapes}) > 1 or () in shapes:
        raise ValueError(f"{name} must have the same columns in all files, got shapes {shapes}.")
    _check_rows(name, (sum(shape[0] for shape in shapes), *shapes[0][1:]), parts)
    places = _ranges(shape[0] for shape in shapes)
    found = []
    for start, stop in _ranges(parts.lengths):
        pieces = [
            (opener, max(start, first) - first, min(stop, last) - first)
            for (opener, _), (first, last) in zip(files, places, strict=True)
            if max(start, first) < min(stop, last)
        ]
        found.append(task("range", _read_ranges, pieces or [(files[0][0], 0, 0)]))
    return found


def _read_ranges(pieces: list[tuple[Opener, int, int]]) -> Any:
    """Return rows of files that follow each other, in memory."""
    found = [_read_range(opener, 0, start, stop) for opener, start, stop in pieces]
    return found[0] if len(found) == 1 else numpy_namespace().concat(found, axis=0)


def _listed(name: str, values: Any, parts: Parts) -> list[Any]:
    """Return the tasks of a list; lengths that are known must agree."""
    found = as_parts(values, name=name, vectors=True)
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


def _opened(name: str, file: Any) -> _File:
    """Return how to open a file, or what is mapped already, and the shape of its array."""
    if not isinstance(file, (str, os.PathLike)):
        opener = _opener_of(file)
        assert opener is not None
        return opener, tuple(file.shape)
    path = os.path.abspath(os.fspath(file))
    if path[-4:] != ".npy":
        raise ValueError(f"{name} must be a '.npy' file beside the source, got {str(file)!r}.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{name} names {str(file)!r}, which does not exist.")
    by_name = Opener(_open_npy, (path,))
    store = readable(by_name, path, name)  # its head is read here: threads disturb each other there
    return _opener_of(store) or by_name, tuple(store.shape)


def _rows(values: Any, start: int, stop: int) -> Any:
    return values[start:stop] if values.ndim == 1 else values[start:stop, :]
