"""Compiling the CUDA sources of this folder and launching their kernels."""

from __future__ import annotations

import functools
import importlib
from importlib import resources
from typing import Any

OPTIONS = ("--std=c++17",)
THREADS = 256  # per block; the sources' own default of the macro of the same name


@functools.cache
def source(name: str) -> str:
    """Return the CUDA source ``name.cu``, with the scalar types put before it."""
    folder = resources.files("linalgkit._kernels.cupy_forms")
    return "\n".join((folder / f"{part}.cu").read_text("utf-8") for part in ("scalars", name))


@functools.cache
def _function(name: str, expression: str) -> Any:
    """Compile one template instance; CuPy keeps the binary for the device and on disk."""
    cupy = importlib.import_module("cupy")
    module = cupy.RawModule(code=source(name), options=OPTIONS, name_expressions=(expression,))
    return module.get_function(expression)


def launch(
    name: str, expression: str, blocks: int, arguments: tuple[Any, ...], shared_bytes: int = 0
) -> None:
    """Run a template instance of ``name.cu`` on `blocks` blocks of `THREADS` threads.

    Arrays are passed as pointers to their first element, scalars as the NumPy scalars given.
    """
    _function(name, expression)((blocks,), (THREADS,), arguments, shared_mem=shared_bytes)
