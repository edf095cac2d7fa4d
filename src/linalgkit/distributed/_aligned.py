"""Arrays as they come from another process, moved to where numbers of their size may lie.

A cluster hands over several arrays in one run of bytes, in which they begin anywhere, and those
with gaps between their numbers arrive without them. NumPy, BLAS and compiled loops go through such
arrays another way, with other roundings, so that the last bits of an answer would depend on who
has computed what. Every task therefore has its arrays aligned and without gaps, in the order of
rows or of columns that they had.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from linalgkit._core.array import array_namespace, is_sparse, numpy_namespace

_HOST = numpy_namespace()
_OPENED = ("linalgkit", "scipy")  # whose objects are looked into


def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function gives for arguments whose arrays are aligned."""
    return function(*map(aligned, arguments))


def owned(x: Any) -> Any:
    """Return a copy of some rows of an array or CSR matrix; it does not keep the rest alive."""
    return x.copy() if is_sparse(x) else array_namespace(x).asarray(x, copy=True)


def aligned(x: Any) -> Any:
    """Return an object whose NumPy arrays are aligned and have no gaps between their numbers.

    It is the object itself unless it is, or holds, an array to be moved. Arrays in tuples, lists
    and dictionaries, in the attributes of the library's objects and of sparse matrices, and around
    nested functions are replaced by equal ones.
    """
    seen: set[int] = set()
    waiting: list[Any] = []
    found = _replaced(x, waiting)
    while waiting:  # no recursion: chains of objects may be long
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, FunctionType):
            _look_into_cells(item, waiting)
            continue
        held = vars(item)
        for name, value in list(held.items()):
            new = _replaced(value, waiting)
            if new is not value:
                held[name] = new
    return found


def _look_into_cells(function: FunctionType, waiting: list[Any]) -> None:
    """Replace what a nested function has from the one around it."""
    for cell in function.__closure__ or ():
        new = _replaced(cell.cell_contents, waiting)
        if new is not cell.cell_contents:
            cell.cell_contents = new


def _replaced(x: Any, waiting: list[Any]) -> Any:
    """Return an equal value with aligned arrays, itself where they are; objects are noted."""
    if isinstance(x, _HOST.ndarray):
        if not (x.flags.c_contiguous or x.flags.f_contiguous):
            return x.copy(order="C")  # as they travel
        return x if x.flags.aligned else x.copy(order="K")
    if isinstance(x, (tuple, list)):
        new = [_replaced(item, waiting) for item in x]
        if all(a is b for a, b in zip(new, x, strict=True)):
            return x
        return type(x)(*new) if hasattr(x, "_fields") else type(x)(new)
    if type(x) is dict:
        values = {key: _replaced(value, waiting) for key, value in x.items()}
        return x if all(values[key] is x[key] for key in x) else values
    is_nested = isinstance(x, FunctionType) and x.__closure__ is not None
    if is_nested or (type(x).__module__.partition(".")[0] in _OPENED and hasattr(x, "__dict__")):
        waiting.append(x)
    return x
