"""Streams to measure on, their exact answers, and the library's answer to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

REGIMES = (
    "gap 1.5",
    "gap 2",
    "gap 4",
    "gap 16",
    "gap 64",
    "digits k=1",
    "digits k=5",
    "12 heavy rows",
    "power law",
)


def n_components(regime: str) -> int:
    """Tell how many eigenvectors a regime asks for."""
    return 5 if regime == "digits k=5" else 1


def spiked(n: int, d: int, gap: float, seed: int) -> np.ndarray:
    """Gaussian rows in random order, variance ``gap`` along one direction and 1 elsewhere."""
    from linalgkit import datasets

    return datasets.spiked_covariance(n, d, gap, rng=seed)[0]


def heavy(n: int, d: int, seed: int) -> np.ndarray:
    """Spiked rows of gap 4, 12 of them large and along one direction of their own."""
    from linalgkit import datasets

    return datasets.heavy_rows(n, d, n_heavy=12, share=0.15, gap=4.0, rng=seed)


def giant(n: int, d: int, seed: int) -> np.ndarray:
    """Spiked rows of gap 4 and one row of twice their top energy."""
    from linalgkit import datasets

    return datasets.heavy_rows(n, d, gap=4.0, kind="giant", rng=seed)


def digits(seed: int) -> np.ndarray:
    """Scikit-learn's digits, centred as a whole, in random order."""
    from sklearn.datasets import load_digits

    X = load_digits().data
    return np.random.default_rng(seed).permutation(X - X.mean(axis=0))


def rows(regime: str, n: int, d: int, seed: int) -> np.ndarray:
    """Make the stream of a regime; the digits have their own size."""
    from linalgkit import datasets

    if regime.startswith("gap "):
        return spiked(n, d, float(regime[4:]), seed)
    if regime.startswith("digits"):
        return digits(seed)
    if regime == "12 heavy rows":
        return heavy(n, d, seed)
    return datasets.power_law_rows(n, d, exponent=0.5, rng=seed)


def exact(X: np.ndarray, k: int = 1) -> np.ndarray:
    """Top eigenvectors of ``X.T @ X``."""
    return np.linalg.eigh(X.T @ X)[1][:, ::-1][:, :k]


def sin2(Q: np.ndarray, V: np.ndarray) -> float:
    """Squared sine of the largest angle between two column spaces."""
    residual = Q - V @ (V.T @ Q)
    return min(1.0, float(np.linalg.norm(residual, 2)) ** 2)


def answer(source: Any, method: str, k: int = 1, **options: Any) -> Any:
    """Stream ``source`` through `StreamingEigh` and return its result."""
    from linalgkit.streaming import StreamingEigh

    with warnings.catch_warnings():
        # A small gap is announced by a warning; here it is measured.
        warnings.simplefilter("ignore")
        model = StreamingEigh(k, method=method, rng=0, **options)
        return model.fit(source).result()


def repeated(block: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """Yield the same block again and again until ``n`` rows have passed."""
    for _ in range(n // block.shape[0]):
        yield block
    if n % block.shape[0]:
        yield block[: n % block.shape[0], :]


def pair_of_products(X: np.ndarray, Z: np.ndarray, block_rows: int) -> np.ndarray:
    """Sum ``B.T @ (B @ Z)`` over micro-blocks B of rows that stay in the cache."""
    Y = np.zeros_like(Z)
    for start in range(0, X.shape[0], block_rows):
        B = X[start : start + block_rows, :]
        Y += B.T @ (B @ Z)
    return Y


def arrays_of(state: Any) -> Iterator[np.ndarray]:
    """Yield every array in a nested state."""
    if isinstance(state, dict):
        for value in state.values():
            yield from arrays_of(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from arrays_of(value)
    elif isinstance(state, np.ndarray):
        yield state


def n_columns(state: Any, d: int) -> int:
    """Width of the widest (d, q) array in a saved state: the columns that a block multiplies."""
    return max((a.shape[1] for a in arrays_of(state) if a.ndim == 2 and a.shape[0] == d), default=1)
