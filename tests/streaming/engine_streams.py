"""Streams and engines for the tests of the engines."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import array_namespace, asarray, to_numpy
from linalgkit._core.operators import DenseOperator

HOST = array_namespace(np.empty(0))


def make(cls: Any, d: int, k: int = 1, *, like: Any = None, rng: Any = 0, **options: Any) -> Any:
    """Return an engine for rows like the array `like` (float64 on NumPy by default)."""
    like = np.empty(0) if like is None else like
    xp = array_namespace(like)
    place = {"xp": xp, "device": like.device, "dtype": like.dtype}
    return cls(d, k, **place, rng=np.random.default_rng(rng), **options)


def feed(engine: Any, X: Any, block_rows: int | None = None) -> Any:
    """Stream the rows of an array in blocks."""
    step = engine.block_rows if block_rows is None else block_rows
    for start in range(0, X.shape[0], step):
        engine.update(DenseOperator(X[start : min(start + step, X.shape[0]), :]))
    return engine


def on(backend: Any, X: np.ndarray, dtype: str | None = None) -> Any:
    """Copy rows to a library of the test matrix."""
    target = None if dtype is None else getattr(backend.xp, dtype)
    return asarray(X, xp=backend.xp, device=backend.device, dtype=target)


def pairs(engine: Any, r: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the top pairs on the host."""
    lam, V = engine.finish().top(r)
    return np.asarray(to_numpy(lam)), np.asarray(to_numpy(V))


def exact(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, descending, and eigenvectors of ``X^H X`` from NumPy."""
    w, V = np.linalg.eigh(X.conj().T @ X)
    return w[::-1], V[:, ::-1]


def sin2(V: np.ndarray, W: np.ndarray) -> float:
    """Return sin^2 of the largest angle between two subspaces of equal dimension."""
    rest = V - W @ (W.conj().T @ V)
    return float(np.linalg.norm(rest, 2) ** 2)


def spiked(n: int, spectrum: np.ndarray, seed: int, *, imaginary: bool = False) -> np.ndarray:
    """Return normal rows whose population covariance is diagonal with these eigenvalues."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, len(spectrum)))
    if imaginary:
        X = (X + 1j * rng.standard_normal(X.shape)) / np.sqrt(2)
    return X * np.sqrt(spectrum)


def rotated(X: np.ndarray, seed: int) -> np.ndarray:
    """Rotate rows by a random unitary matrix, complex where they are.

    The eigenvectors of a complex result differ from their conjugates.
    """
    rng = np.random.default_rng([seed, 1])
    d = X.shape[1]
    A = rng.standard_normal((d, d))
    if np.iscomplexobj(X):
        A = A + 1j * rng.standard_normal((d, d))
    return X @ np.linalg.qr(A)[0].conj().T


def decaying(n: int, d: int, seed: int, *, imaginary: bool = False) -> np.ndarray:
    """Return rows with a geometric spectrum in general directions."""
    return rotated(spiked(n, 4.0 ** -np.arange(d), seed, imaginary=imaginary), seed)
