"""Incremental decompositions beside a product with the basis, and scikit-learn's."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
from sklearn.decomposition import IncrementalPCA

from linalgkit.svd import IncrementalSVD

from . import _base

M, N, R, BATCH = _base.sized((2000, 600, 10, 50), (10000, 4000, 50, 100))


def samples(m: int, n: int) -> np.ndarray[Any, Any]:
    """Return n rows of m numbers with singular values near 1, 1/2, 1/3, ..."""
    rng = np.random.default_rng(1)
    k = min(400, m, n)
    Q = np.linalg.qr(rng.standard_normal((m, k)))[0]
    columns = (Q / np.arange(1, k + 1)) @ rng.standard_normal((k, n))
    return np.ascontiguousarray(columns.T) / np.sqrt(n)


def excess(X: Any, U: Any) -> float:
    """Return the projection error over the smallest there is, less one."""
    values = np.linalg.eigvalsh(X @ X.T)[::-1]
    best = np.sqrt(np.sum(values[U.shape[1] :]))
    return float(np.linalg.norm(X - (X @ U) @ U.T) / best - 1.0)


class DenseStream(_base.Comparison):
    """A dense stream beside one product ``U^H A``."""

    param_names = ("method",)
    params = (("gram", "cholqr", "qr", "auto"),)
    repeats = {"method": 3, "rival": 3}

    def prepare(self, method: str) -> None:
        self.X, self.method_name = samples(M, N), method
        self.U = np.linalg.qr(np.random.default_rng(0).standard_normal((M, R)))[0]

    def method(self) -> Any:
        svd = IncrementalSVD(R, n_oversamples=10, method=self.method_name)
        for start in range(0, N, BATCH):
            svd.partial_fit(self.X[start : start + BATCH])
        return svd.result()

    def primitive(self) -> Any:
        return self.U.T @ self.X.T

    def peer(self) -> Any:
        model = IncrementalPCA(R)
        for start in range(0, N, BATCH):
            model.partial_fit(self.X[start : start + BATCH])
        return model

    def error(self, answer: Any) -> float:
        """Excess projection error over that of IncrementalPCA."""
        peer = self.peer().components_.T
        return excess(self.X, answer.U) / excess(self.X, peer)


class SingleColumns:
    """Microseconds that a call with one column takes beyond copying it."""

    def setup(self) -> None:
        self.columns = np.random.default_rng(0).standard_normal((200, 10_000))
        self.svd = IncrementalSVD(20, buffer_size=200)
        for column in self.columns:
            self.svd.append_columns(column)
        self.buffer = np.ones_like(self.columns)

    def track_overhead(self) -> float:
        """Return the difference of the two, per column."""
        self.svd.append_columns(self.columns[0])
        start = time.perf_counter()
        for column in self.columns[:198]:
            self.svd.append_columns(column)
        called = time.perf_counter() - start
        start = time.perf_counter()
        for place, column in enumerate(self.columns[:198]):
            self.buffer[place] = column
        copied = time.perf_counter() - start
        return (called - copied) / 198 * 1e6

    track_overhead.unit = "us"


class Memory:
    """Peak beyond the input over ``8 m (2 l + b)`` bytes."""

    param_names = ("method",)
    params = (("gram", "cholqr"),)

    def track_ratio_to_formula(self, method: str) -> float:
        """Return the ratio for 20 triplets and 10 more of 20000 rows."""
        m, kept, b = 20_000, 30, 60
        columns = np.random.default_rng(0).standard_normal((7, m))
        svd = IncrementalSVD(20, n_oversamples=10, method=method, buffer_size=b)
        tracemalloc.start()
        for _ in range(100):
            svd.partial_fit(columns)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / (8 * m * (2 * kept + b))

    track_ratio_to_formula.unit = "ratio"
