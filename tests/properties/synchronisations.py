"""Count the points where the host waits for a device, without a device.

array-api-strict's ``device1`` stands for it: NumPy cannot read its arrays, so that their values
reach the host only through the few doors that are watched here. One event is counted for

* ``bool()``, ``int()``, ``float()``, ``complex()`` and ``__index__`` of an array,
* an array moved to the host (``to_numpy``) or exported (``__dlpack__``, ``__array__``),
* an operation whose result has a shape that depends on values: ``nonzero``, ``unique_*``,
  ``repeat`` by an array of counts, and indexing with a mask, for which a device has to be asked.

Copies in the other direction (``asarray`` of host data) need not wait and are counted apart;
Python scalars, shapes and dtypes are known without asking. A solver inside the array library
that checks its own success is the library's, and is not seen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import array_api_strict as strict
import numpy as np

DEVICE = strict.Device("device1")
_HOST = strict.Device("CPU_DEVICE")
_SCALARS = ("__bool__", "__int__", "__float__", "__complex__", "__index__")
_EXPORTS = ("__array__", "__buffer__", "__dlpack__")
_ASK_FOR_SHAPES = ("nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values")
_Array: Any = type(strict.asarray(0.0))


@dataclass
class Ledger:
    """What was counted.

    Attributes
    ----------
    places : Counter
        Synchronisations by the line of the library that asked for them.
    uploads : int
        Copies from the host to the device.
    """

    places: Counter[str] = field(default_factory=Counter)
    uploads: int = 0

    @property
    def synchronisations(self) -> int:
        """Their number."""
        return sum(self.places.values())

    def note(self) -> None:
        """Count one synchronisation."""
        self.places[_asking_line()] += 1


def _asking_line() -> str:
    """Return the innermost line of linalgkit on the stack."""
    frame = sys._getframe(2)
    while frame is not None and "linalgkit" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "outside"
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno} {frame.f_code.co_name}"


def on_device(host: Any, dtype: Any = None) -> Any:
    """Return host data as an array on the device that is watched."""
    return strict.asarray(np.asarray(host), dtype=dtype, device=DEVICE)


def _is_there(x: object) -> bool:
    return isinstance(x, _Array) and x.device != _HOST


@contextmanager
def counted() -> Iterator[Ledger]:
    """Watch the doors; yields the ledger, and takes the watch off again."""
    ledger = Ledger()
    kept: list[tuple[Any, str, Any]] = []

    def watch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = getattr(owner, name)
        kept.append((owner, name, before))
        setattr(owner, name, make(before))

    def noted(before: Any) -> Any:
        def door(x: Any, *args: Any, **options: Any) -> Any:
            if _is_there(x):
                ledger.note()
            return before(x, *args, **options)

        return door

    def moved(before: Any) -> Any:
        def to_device(x: Any, target: Any, **options: Any) -> Any:
            if _is_there(x) and target == _HOST:
                ledger.note()
            elif not _is_there(x) and target != _HOST:
                ledger.uploads += 1
            return before(x, target, **options)

        return to_device

    def indexed(before: Any) -> Any:
        def getitem(x: Any, key: Any) -> Any:
            keys = key if isinstance(key, tuple) else (key,)
            if any(_is_there(k) and k.dtype == strict.bool for k in keys):
                ledger.note()
            return before(x, key)

        return getitem

    def repeated(before: Any) -> Any:
        def repeat(x: Any, repeats: Any, **options: Any) -> Any:
            if _is_there(repeats):
                ledger.note()
            return before(x, repeats, **options)

        return repeat

    def made(before: Any) -> Any:
        def asarray(x: Any, *args: Any, **options: Any) -> Any:
            result = before(x, *args, **options)
            is_host = not isinstance(x, (_Array, bool, int, float, complex))
            ledger.uploads += is_host and _is_there(result)
            return result

        return asarray

    try:
        for name in (*_SCALARS, *_EXPORTS):
            watch(_Array, name, noted)
        watch(_Array, "to_device", moved)
        watch(_Array, "__getitem__", indexed)
        for name in _ASK_FOR_SHAPES:
            watch(strict, name, noted)
        watch(strict, "repeat", repeated)
        watch(strict, "asarray", made)
        yield ledger
    finally:
        for owner, name, before in reversed(kept):
            setattr(owner, name, before)
