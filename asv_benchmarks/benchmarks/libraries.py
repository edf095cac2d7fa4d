"""Every array library that the registry names and this machine has, on the same rows.

Which libraries and dtypes are run is read from the capabilities registry, so that a new
library or dtype is measured as soon as a method says that it supports it.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

os.environ.setdefault("JAX_ENABLE_X64", "1")

from linalgkit import AccuracyWarning
from linalgkit._core import capabilities
from linalgkit.streaming import StreamingEigh

from . import _base

_SHAPE = (8192, 256)


def _present(library: str) -> bool:
    """Tell whether a library can be imported and, where it needs one, has a device."""
    if find_spec(library) is None:
        return False
    return library != "cupy" or bool(import_module("cupy").cuda.is_available())


def _to_library(X: Any, library: str) -> Any:
    """Return the rows as an array of the library on its default device."""
    module = import_module("jax.numpy" if library == "jax" else library)
    return module.asarray(X)


_ENTRY = capabilities.get("streaming.StreamingEigh")


class StreamingOnEveryLibrary(_base.Measured):
    """Time of one pass, library by library; compilation is left out."""

    params = (
        [name for name in _ENTRY.libraries if _present(name)],
        [name for name in _ENTRY.dtypes if name.startswith("float")],
        ["portfolio", "gram"],
    )
    param_names = ("library", "dtype", "method")

    def prepare(self, library: str, dtype: str, method: str) -> None:
        X = np.random.default_rng(0).standard_normal(_SHAPE)
        X[:, 0] *= 4.0
        self.X = _to_library(X.astype(dtype), library)
        self.options = {"method": method, "rng": 0}

    def warm(self) -> None:
        _base.wait_for(self.method())

    def method(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return StreamingEigh(**self.options).fit(self.X).result()

    def time_method(self, library: str, dtype: str, method: str) -> None:
        _base.wait_for(self.method())
