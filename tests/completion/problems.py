"""Small matrices of low rank with some entries observed, dense, for the tests of this room."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A dense truth, which entries are observed, and what is read there."""

    truth: Any
    seen: Any
    read: Any


def problem(
    m: int = 60, n: int = 50, k: int = 3, *, share: float = 0.5, noise: float = 0.0, seed: int = 0,
    kind: str = "float64", cond: float = 1.0, offsets: bool = False, gross: float = 0.0,
) -> Problem:  # fmt: skip
    """Return Gaussian factors of graded size, entries drawn independently, noise, gross errors."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        x = rng.standard_normal(shape)
        return (x + 1j * rng.standard_normal(shape)) if kind.startswith("complex") else x

    truth = (normal(m, k) * np.geomspace(1.0, 1.0 / cond, k)) @ normal(k, n)
    if offsets:
        truth = truth + 3.0 * normal(m, 1) + 2.0 * normal(1, n) + 5.0
    seen = rng.random((m, n)) < share
    read = truth + noise * normal(m, n)
    bad = rng.random((m, n)) < gross
    read = np.where(bad, read + 10.0 * np.std(truth) * normal(m, n), read)
    return Problem(truth, seen, read.astype(kind))


def holed(p: Problem) -> Any:
    """Return what is read, NaN where nothing is observed."""
    return np.where(p.seen, p.read, np.asarray(np.nan, dtype=p.read.dtype))


def error(result: Any, truth: Any) -> float:
    """Return the relative Frobenius error of a completed matrix."""
    from linalgkit._core.array import to_numpy

    block = np.asarray(to_numpy(result.block()), dtype=np.result_type(truth.dtype, np.float64))
    return float(np.linalg.norm(block - truth) / np.linalg.norm(truth))
