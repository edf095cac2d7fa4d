"""The kernel mechanism: one name, up to three forms, chosen at every call.

A kernel is called with the array namespace first, ``kernel(xp, *arrays)``. Its *portable* form
is array-API code and always right; a *numba* form serves NumPy arrays, a *cupy* form CuPy
arrays, each only where the kernel's `supports` predicate accepts the arguments::

    scale_rows = Kernel(
        "scale_rows",
        portable=_scale_rows,
        numba="linalgkit._kernels.numba_forms.scaling:scale_rows",
        supports=lambda form, X, weights: X.ndim == 2,
    )

Forms other than the portable one are named by ``"module:function"`` and imported when they are
first needed, so that importing the library imports neither Numba nor CuPy. All forms take the
same arguments, the namespace included, and return arrays of the same shapes and dtypes.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from linalgkit._core.array import Namespace, library_name

Form = Callable[..., Any]

_FORM_OF_LIBRARY = {"numpy": "numba", "cupy": "cupy"}
_REGISTRY: dict[str, Kernel] = {}


@functools.cache
def numba_available() -> bool:
    """Tell whether Numba forms may be used.

    False where Numba cannot be imported or ``LINALGKIT_DISABLE_NUMBA`` is set to anything but
    ``0``. The answer is kept for the process; ``numba_available.cache_clear()`` asks again.
    """
    if os.environ.get("LINALGKIT_DISABLE_NUMBA", "0") not in ("", "0"):
        return False
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


@functools.cache
def cupy_available() -> bool:
    """Tell whether CuPy is importable and sees a device."""
    try:
        cupy = importlib.import_module("cupy")
        return bool(cupy.cuda.is_available())
    except ImportError:
        return False


_AVAILABLE: dict[str, Callable[[], bool]] = {"numba": numba_available, "cupy": cupy_available}


class Kernel:
    """A function with one portable form and, optionally, faster forms of the same meaning.

    Parameters
    ----------
    name : str
        Unique name in the registry.
    portable : callable
        Array-API form, called as ``portable(xp, *args)``.
    numba, cupy : str, optional
        ``"module:function"`` of the form for NumPy and for CuPy arrays.
    supports : callable, optional
        ``supports(form, *args) -> bool`` with ``form`` one of ``"numba"``, ``"cupy"`` and the
        arguments of the call without `xp`; False sends the call to the portable form. None
        accepts everything.

    Notes
    -----
    Kernels are internal: arguments are trusted, the public boundary has validated them.
    """

    def __init__(
        self,
        name: str,
        *,
        portable: Form,
        numba: str | None = None,
        cupy: str | None = None,
        supports: Callable[..., bool] | None = None,
    ) -> None:
        if name in _REGISTRY:
            raise ValueError(f"kernel names must be unique, got {name!r} a second time.")
        self.name = name
        self._portable = portable
        self._targets = {
            form: target for form, target in (("numba", numba), ("cupy", cupy)) if target
        }
        self._supports = supports
        self._loaded: dict[str, Form] = {}
        self.__doc__ = portable.__doc__
        _REGISTRY[name] = self

    def __call__(self, xp: Namespace, *args: Any) -> Any:
        """Run the fastest form that takes these arguments."""
        return self.select(xp, *args)(xp, *args)

    def __repr__(self) -> str:
        """Return the name and the forms that were written, available here or not."""
        return f"Kernel({self.name!r}, forms={('portable', *self._targets)})"

    def select(self, xp: Namespace, *args: Any) -> Form:
        """Return the form that a call with these arguments would run."""
        form = _form_of(xp)
        if (
            form not in self._targets
            or not _AVAILABLE[form]()
            or (self._supports is not None and not self._supports(form, *args))
        ):
            return self._portable
        return self._load(form)

    def forms(self) -> Mapping[str, Form]:
        """Return the forms that can run in this process, the portable one first.

        Tests and benchmarks iterate over them. A form may still be unable to take certain
        arguments: see :meth:`supports`.
        """
        found = {"portable": self._portable}
        found.update({f: self._load(f) for f in self._targets if _AVAILABLE[f]()})
        return MappingProxyType(found)

    def supports(self, form: str, *args: Any) -> bool:
        """Tell whether a form takes these arguments (given without `xp`)."""
        return form == "portable" or self._supports is None or self._supports(form, *args)

    def _load(self, form: str) -> Form:
        if form not in self._loaded:
            module, _, function = self._targets[form].partition(":")
            self._loaded[form] = getattr(importlib.import_module(module), function)
        return self._loaded[form]


@functools.lru_cache(maxsize=64)
def _form_of(xp: Namespace) -> str:
    return _FORM_OF_LIBRARY.get(library_name(xp), "portable")


def registered() -> Mapping[str, Kernel]:
    """Return all kernels by name, read-only."""
    return MappingProxyType(_REGISTRY)
