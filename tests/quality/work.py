"""What is computed alike in threads, in other and in fresh processes: every method, on NumPy."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from linalgkit import AccuracyWarning
from tests.properties.cases import CASES, Case
from tests.properties.functions import FUNCTIONS, Function

METHODS: dict[str, Case | Function] = {str(method): method for method in (*CASES, *FUNCTIONS)}


def digest(answers: dict[str, Any]) -> str:
    """Return the hash of the bits of all answers."""
    total = hashlib.sha256()
    for name in sorted(answers):
        array = np.ascontiguousarray(answers[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:16]


def answer_of(name: str) -> str:
    """Run one method on its data and return the hash of its answers."""
    method = METHODS[name]
    data = method.data(np.random.default_rng(11), False)
    if isinstance(method, Function):
        return digest(method.found(*data))
    return digest(method.quiet_answers(method.run(data)))


def on(do: Callable[[Any], Any], model: Any) -> Any:
    """Apply `do` without warnings: that a small problem is poorly determined is not the matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return do(model)


def all_answers() -> dict[str, str]:
    """Return the hashes of all methods."""
    return {name: answer_of(name) for name in METHODS}


if __name__ == "__main__":
    for name, found in all_answers().items():
        sys.stdout.write(f"{name} {found}\n")
