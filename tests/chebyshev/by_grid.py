"""Functions for tests: parts from values on the full grid, and values by numpy.polynomial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from linalgkit._core.array import numpy_namespace, to_numpy, widest_dtype
from linalgkit.chebyshev._parts import Parts, orthonormal

HOST = numpy_namespace()


def interpolant(
    f: Callable[..., Any],
    box: Sequence[tuple[float, float]],
    lengths: Sequence[int],
    xp: Any = None,
) -> Parts:
    """Return the interpolant of f at Chebyshev points as parts of full rank, orthonormal."""
    lines = [_points(m, interval) for m, interval in zip(lengths, box, strict=True)]
    grids = np.meshgrid(*lines, indexing="ij")
    C = np.asarray(f(*grids)) + np.zeros(tuple(lengths))
    for k, m in enumerate(lengths):
        V = chebyshev.chebvander(_points(m, (-1.0, 1.0)), m - 1)
        C = np.moveaxis(np.tensordot(np.linalg.inv(V), C, (1, k)), 0, k)
    return from_numpy(C, [np.eye(m) for m in lengths], box, xp)


def from_numpy(
    core: Any, factors: Sequence[Any], box: Sequence[tuple[float, float]], xp: Any = None
) -> Parts:
    """Return orthonormal parts in the widest dtype of a backend (NumPy if None)."""
    arrays = [np.asarray(A, dtype=np.asarray(core).dtype) for A in (core, *factors)]
    if xp is not None:
        arrays = [xp.asarray(A) for A in arrays]
        wide = widest_dtype(xp.xp, xp.device, arrays[0].dtype)
        arrays = [xp.xp.astype(A, wide, copy=False) for A in arrays]
    box = tuple((float(a), float(b)) for a, b in box)
    return orthonormal(Parts(arrays[0], tuple(arrays[1:]), box, HOST if xp is None else xp.xp))


def values(parts: Parts, x: Any) -> Any:
    """Return values at points (n, d), by the Vandermonde matrices of numpy.polynomial."""
    Y = to_numpy(parts.core)[None, ...]
    for k, (F, (a, b)) in enumerate(zip(parts.factors, parts.intervals, strict=True)):
        t = (x[:, k] - a) / (b - a) * 2 - 1
        B = chebyshev.chebvander(t, F.shape[0] - 1) @ to_numpy(F)
        Y = np.sum(Y * B.reshape(B.shape + (1,) * (Y.ndim - 2)), axis=1)
    return Y


def points(rng: np.random.Generator, box: Sequence[tuple[float, float]], n: int = 500) -> Any:
    """Return uniform points of a box."""
    ends = np.asarray(box)
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * rng.random((n, len(box)))


def is_orthonormal(parts: Parts, tolerance: float = 1e-13) -> bool:
    """Tell whether the factors are orthonormal in the weighted norm."""
    for F in parts.factors:
        W = to_numpy(F) * np.where(np.arange(F.shape[0]) > 0, np.sqrt(0.5), 1.0)[:, None]
        if np.max(np.abs(W.conj().T @ W - np.eye(F.shape[1]))) > tolerance:
            return False
    return True


def _points(m: int, interval: tuple[float, float]) -> Any:
    """Return Chebyshev points of an interval."""
    a, b = interval
    t = -np.cos(np.pi * np.arange(m) / max(m - 1, 1)) if m > 1 else np.zeros(1)
    return a + (b - a) * (t + 1) / 2
