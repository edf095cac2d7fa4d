"""Time and memory of contenders that take turns on the same blocks of data."""

from __future__ import annotations

import os
import platform
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# What tracemalloc sees: arrays of these libraries lie in memory that NumPy allocates.
TRACED = ("numpy", "array_api_strict")
_PACKAGES = ("linalgkit", "numpy", "scipy", "scikit-learn", "numba")


class Meter:
    """Seconds and peak bytes of one contender, whatever runs between its turns.

    Attributes
    ----------
    seconds : float
        Time inside its turns.
    peak : int
        Most bytes that it had at once, beyond what others had: what it kept between turns
        and what it used during one. Only what :mod:`tracemalloc` sees, so not the memory of
        torch, JAX or a device.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak = 0
        self._kept = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Measure the body of a ``with`` statement."""
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
            after, peak = tracemalloc.get_traced_memory()
            self.peak = max(self.peak, self._kept + peak - before)
            self._kept += after - before


@contextmanager
def traced_memory() -> Iterator[None]:
    """Let :class:`Meter` see memory inside a ``with`` statement."""
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        yield
    finally:
        if not was_tracing:
            tracemalloc.stop()


def circumstances() -> str:
    """Return date, machine and versions, without which no time means anything."""
    found = [f"{name} {_version(name)}" for name in _PACKAGES]
    return (
        f"{date.today().isoformat()}, {os.cpu_count()} cores {_processor()}, {_blas_threads()}"
        f"Python {platform.python_version()}, {', '.join(found)}"
    )


def _blas_threads() -> str:
    """Return how many threads BLAS has, where that can be said."""
    try:
        pools = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return ""
    counts = {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}
    if not counts:
        return ""
    most = max(counts)
    return "one BLAS thread, " if most == 1 else f"up to {most} BLAS threads, "


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(absent)"


def _processor() -> str:
    """Return the name of the processor where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
