"""What every public function can do: library x device x dtype, sparse, streaming, lazy, waiting.

One decorator states it, once::

    @capability("streaming.top_eigenvector", sparse=True, streaming=True)
    def top_eigenvector(source, **options): ...

The statement is appended to the docstring's notes, selects the tests
(:func:`entries`, :meth:`Capability.combinations`) and the benchmarks, and makes the table of
the documentation (:func:`table`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from linalgkit._core.array import LIBRARIES

DTYPES = ("float32", "float64", "complex64", "complex128")

#: Devices on which each library can lie.
DEVICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "numpy": ("cpu",),
        "cupy": ("gpu",),
        "torch": ("cpu", "gpu"),
        "jax": ("cpu", "gpu"),
        "array_api_strict": ("cpu",),
    }
)

_TITLES = {
    "numpy": "NumPy",
    "cupy": "CuPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "array_api_strict": "array-api-strict",
}
_AFTER_NOTES = ("References", "Examples")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Capability:
    """What one public function or class can do.

    Attributes
    ----------
    name : str
        Public name below ``linalgkit``, for instance ``"streaming.StreamingEigh"``.
    target : callable
        The function or class.
    libraries : mapping of str to tuple of str
        The devices ("cpu", "gpu") of each library that is supported.
    dtypes : tuple of str
        Floating dtypes that are kept.
    sparse : bool
        Whether scipy.sparse and cupyx.scipy.sparse input is taken, without densifying it.
    streaming : bool
        Whether the data may come in blocks of which only one is held.
    lazy : bool
        Whether it works under a tracer or on lazy arrays (``jax.jit``); else eagerly only.
    synchronisations : mapping of str to int, or None
        How often the host waits for a device: in a "call", for each "block", "iteration" or
        other step within it, or in the method that "result", "sample", ... stand for. Upper
        bounds of what a test counts on small problems. Empty where no array comes in; None where
        nobody has counted.
    notes : str
        A sentence on what is special.
    """

    name: str
    target: Any = field(repr=False)
    libraries: Mapping[str, tuple[str, ...]]
    dtypes: tuple[str, ...]
    sparse: bool
    streaming: bool
    lazy: bool
    synchronisations: Mapping[str, int] | None = None
    notes: str = ""

    def supports(self, library: str, device: str = "cpu", dtype: str = "float64") -> bool:
        """Tell whether one combination works."""
        return device in self.libraries.get(library, ()) and dtype in self.dtypes

    def combinations(self) -> Iterator[tuple[str, str, str]]:
        """Yield every (library, device, dtype) that works."""
        for library, devices in self.libraries.items():
            for device in devices:
                for dtype in self.dtypes:
                    yield library, device, dtype

    def describe(self) -> str:
        """Return the paragraphs and the table for the docstring (reStructuredText)."""
        rows = [["Library", "CPU", "GPU"]]
        for library in LIBRARIES:
            devices = self.libraries.get(library, ())
            eager = " (eager)" if library == "jax" and devices and not self.lazy else ""
            marks = [_mark(library, device, devices) for device in ("cpu", "gpu")]
            rows.append([_TITLES[library] + eager, *marks])
        sparse = "scipy.sparse and cupyx.scipy.sparse, never densified" if self.sparse else "no"
        facts = [
            f"Dtypes kept: {', '.join(self.dtypes)}.",
            f"Sparse input: {sparse}.",
            f"Streaming in blocks: {'yes' if self.streaming else 'no'}.",
            f"Under a tracer (``jax.jit``): {'yes' if self.lazy else 'no, eager calls only'}.",
        ]
        if self.waits:
            facts.append(f"Host synchronisations, counted on small problems: {self.waits}.")
        paragraphs = ["**Array libraries**", _simple_table(rows), "\n".join(facts)]
        if self.notes:
            paragraphs.append(self.notes)
        return "\n\n".join(paragraphs)

    @property
    def waits(self) -> str:
        """The synchronisations in words, for instance ``"1 a block, 8 a result"``."""
        if self.synchronisations is None:
            return ""
        counts = [f"{n} {_article(unit)} {unit}" for unit, n in self.synchronisations.items()]
        return ", ".join(counts) or "none"


_REGISTRY: dict[str, Capability] = {}


def capability(
    name: str,
    *,
    libraries: tuple[str, ...] | Mapping[str, tuple[str, ...]] = LIBRARIES,
    dtypes: tuple[str, ...] = DTYPES,
    sparse: bool = False,
    streaming: bool = False,
    lazy: bool = False,
    synchronisations: Mapping[str, int] | None = None,
    notes: str = "",
) -> Callable[[_T], _T]:
    """Register a public function or class and extend its docstring.

    Parameters
    ----------
    name : str
        Public name below ``linalgkit``: room and name.
    libraries : tuple of str, or mapping of str to tuple of str
        Libraries, on all their devices, or the devices of each.
    dtypes : tuple of str
        Floating dtypes that are kept.
    sparse, streaming, lazy : bool, default False
        See :class:`Capability`.
    synchronisations : mapping of str to int, optional
        See :class:`Capability`; what a test counts on a device that stands for an accelerator.
    notes : str, optional
        A sentence on what is special.

    Returns
    -------
    callable
        A decorator that returns its argument, with a longer docstring.

    Raises
    ------
    ValueError
        If a library, device or dtype is unknown, or the name is taken by another object.
    """
    if not isinstance(libraries, Mapping):
        libraries = {library: DEVICES.get(library, ()) for library in libraries}
    _check_known(libraries, dtypes)

    def register(target: _T) -> _T:
        entry = Capability(
            name,
            target,
            MappingProxyType(dict(libraries)),
            tuple(dtypes),
            sparse,
            streaming,
            lazy,
            None if synchronisations is None else MappingProxyType(dict(synchronisations)),
            notes,
        )
        taken = _REGISTRY.get(name)
        if taken is not None and _origin(taken.target) != _origin(target):
            raise ValueError(f"{name} is registered by {_origin(taken.target)} already")
        if target.__doc__:
            target.__doc__ = add_to_notes(target.__doc__, entry.describe())
        _REGISTRY[name] = entry
        return target

    return register


def entries(**wanted: bool) -> tuple[Capability, ...]:
    """Return what is registered so far, by name.

    Parameters
    ----------
    **wanted : bool
        Keep entries whose attribute has this value, for instance ``streaming=True``.

    Returns
    -------
    tuple of Capability
        Sorted by name. Rooms register when they are imported.
    """
    found = (_REGISTRY[name] for name in sorted(_REGISTRY))
    return tuple(e for e in found if all(getattr(e, k) == v for k, v in wanted.items()))


def get(name: str) -> Capability:
    """Return the entry of one public name (KeyError if it is not registered)."""
    return _REGISTRY[name]


def table() -> str:
    """Return all entries as one reStructuredText table, for the documentation."""
    rows = [["Name", "Libraries", "Dtypes", "Sparse", "Streaming", "Traced", "Synchronisations"]]
    for entry in entries():
        flags = (entry.sparse, entry.streaming, entry.lazy)
        words = ["yes" if flag else "no" for flag in flags]
        dtypes = "all" if entry.dtypes == DTYPES else " ".join(entry.dtypes)
        waits = entry.waits or "not counted"
        rows.append([f"``{entry.name}``", _places(entry.libraries), dtypes, *words, waits])
    return _simple_table(rows)


# --------------------------------------------------------------------------------- helpers


def _check_known(libraries: Mapping[str, tuple[str, ...]], dtypes: tuple[str, ...]) -> None:
    for library, devices in libraries.items():
        if library not in DEVICES:
            raise ValueError(f"libraries must be among {LIBRARIES}, got {library!r}")
        unknown = [device for device in devices if device not in DEVICES[library]]
        if unknown or not devices:
            raise ValueError(
                f"devices of {library} must be among {DEVICES[library]}, got {devices}"
            )
    unknown = [dtype for dtype in dtypes if dtype not in DTYPES]
    if unknown or not dtypes:
        raise ValueError(f"dtypes must be among {DTYPES}, got {dtypes}")


def _origin(target: Any) -> str:
    return f"{target.__module__}.{target.__qualname__}"


def _places(libraries: Mapping[str, tuple[str, ...]]) -> str:
    """Return libraries and devices in one cell; "all" where nothing is missing."""
    if dict(libraries) == dict(DEVICES):
        return "all"
    parts = [
        _TITLES[name] + ("" if libraries[name] == DEVICES[name] else f" ({libraries[name][0]})")
        for name in LIBRARIES
        if name in libraries
    ]
    return ", ".join(parts)


def _article(unit: str) -> str:
    return "an" if unit[0] in "aeiou" else "a"


def _mark(library: str, device: str, supported: tuple[str, ...]) -> str:
    if device not in DEVICES[library]:
        return "n/a"
    return "yes" if device in supported else "no"


def _simple_table(rows: list[list[str]]) -> str:
    """Return a reStructuredText "simple table" with one head row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def add_to_notes(doc: str, text: str) -> str:
    """Append `text` to the section "Notes" of a numpydoc docstring, made where it belongs.

    Parameters
    ----------
    doc : str
        A docstring, indented or not.
    text : str
        Paragraphs without indentation.

    Returns
    -------
    str
        The docstring without common indentation, its sections in numpydoc's order.
    """
    doc = inspect.cleandoc(doc)
    starts = {m.group(1): m.start() for m in re.finditer(r"^(\w[\w ]*)\n-{3,}$", doc, re.MULTILINE)}
    later = [start for name, start in starts.items() if name in _AFTER_NOTES]
    end = min(later, default=len(doc))
    title = "" if "Notes" in starts else "Notes\n-----\n"
    before, after = doc[:end].rstrip(), doc[end:]
    return f"{before}\n\n{title}{text}\n\n{after}".rstrip() + "\n"
