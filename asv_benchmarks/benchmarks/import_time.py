"""Seconds that `import linalgkit` takes in a fresh interpreter beyond NumPy and SciPy."""

from __future__ import annotations

import statistics
import subprocess
import sys

SCRIPT = """
import numpy, scipy, time
start = time.perf_counter()
import linalgkit
print(time.perf_counter() - start)
"""


def seconds_once() -> float:
    """Time the import in a new interpreter that has NumPy and SciPy loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


class ImportTime:
    """The median of several fresh interpreters."""

    timeout = 120
    unit = "seconds"

    def setup(self) -> None:
        seconds_once()

    def track_seconds(self) -> float:
        return statistics.median(seconds_once() for _ in range(5))
