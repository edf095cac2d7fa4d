"""Seconds that importing linalgkit takes in a fresh interpreter beyond NumPy and SciPy.

SciPy's `linalg` and `sparse` are loaded before: what they cost is not ours.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROOM = "linalgkit"  # the import of the whole

SCRIPT = """
import numpy, scipy.linalg, scipy.sparse, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def seconds_once(module: str) -> float:
    """Time the import in a new interpreter that has NumPy and SciPy loaded."""
    command = [sys.executable, "-c", SCRIPT.format(module=module)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


class ImportTime:
    """The median of several fresh interpreters."""

    timeout = 120
    unit = "seconds"
    param_names = ("module",)
    params = (("linalgkit", "linalgkit.streaming"),)

    def setup(self, module: str) -> None:
        seconds_once(module)

    def track_seconds(self, module: str) -> float:
        return statistics.median(seconds_once(module) for _ in range(5))
