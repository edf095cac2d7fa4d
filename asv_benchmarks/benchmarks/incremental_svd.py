"""Incremental decompositions beside a product with the basis, and scikit-learn's."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import peers
import scipy.sparse as sp
from peers.brand import BrandSVD
from sklearn.decomposition import IncrementalPCA

from linalgkit.svd import IncrementalSVD, truncated_svd

from . import _base

ROOM = "svd"

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


def texts(m: int, n: int, topics: int = 500, length: int = 120) -> Any:
    """Return n texts over m words, (m, n) sparse: words by Zipf's law, two topics each, tf-idf."""
    rng = np.random.default_rng(0)
    own = min(400, m // 10)
    frequency = np.cumsum(1.0 / np.arange(1, m + 1))
    within = np.cumsum(1.0 / np.arange(1, own + 1))
    words = np.array([rng.permutation(m)[:own] for _ in range(topics)])
    popularity = 1.0 / np.arange(1, topics + 1) ** 0.7
    rows, columns = [], []
    for text in range(n):
        pair = rng.choice(topics, 2, p=popularity / popularity.sum())
        count = rng.poisson(length)
        general = np.searchsorted(frequency, frequency[-1] * rng.random(count // 2))
        special = np.searchsorted(within, within[-1] * rng.random(count - count // 2))
        topic = pair[rng.integers(2, size=len(special))]
        rows.append(np.concatenate([general, words[topic, special]]))
        columns.append(np.full(count, text))
    place = np.concatenate(rows), np.concatenate(columns)
    A = sp.coo_array((np.ones(len(place[0])), place), shape=(m, n)).tocsr()
    A.sum_duplicates()
    occurs = np.maximum(1, np.diff(A.indptr))
    A = sp.csc_array(sp.diags_array(np.log(n / occurs)) @ A)
    lengths = np.sqrt(np.asarray(A.multiply(A).sum(axis=0)).ravel())
    return sp.csc_array(A @ sp.diags_array(1.0 / np.maximum(lengths, 1e-300)))


class SparseStream(_base.Comparison):
    """Sparse columns in chunks beside one product ``A X`` with r vectors, and gensim's stream."""

    m, n, r, chunk = _base.sized((5000, 1000, 20, 200), (50_000, 10_000, 100, 2000))
    param_names = ("buffer_size",)
    params = ((None, chunk),)
    repeats = {"method": 3, "rival": 1}

    def prepare(self, buffer_size: int | None) -> None:
        if not peers.has_gensim():
            raise NotImplementedError("gensim is not installed")
        self.A, self.buffer_size = texts(self.m, self.n), buffer_size
        self.X = np.random.default_rng(0).standard_normal((self.n, self.r))
        self.square = float(np.sum(self.A.data**2))

    def chunks(self) -> Any:
        """Yield the chunks."""
        for start in range(0, self.n, self.chunk):
            yield self.A[:, start : start + self.chunk]

    def method(self) -> Any:
        svd = IncrementalSVD(self.r, buffer_size=self.buffer_size, rng=0)
        for chunk in self.chunks():
            svd.append_columns(chunk)
        return svd.result()

    def primitive(self) -> Any:
        return self.A @ self.X

    def peer(self) -> Any:
        from gensim.models import LsiModel

        names = {i: str(i) for i in range(self.m)}
        model = LsiModel(id2word=names, num_topics=self.r, random_seed=0)
        for chunk in self.chunks():
            model.add_documents(sp.csc_matrix(chunk))
        return model.projection

    def excess(self, U: Any) -> float:
        """Return the projection error over the smallest there is, less one."""
        Q = np.linalg.qr(U[:, : self.r])[0]
        exact = truncated_svd(self.A, self.r, rng=0)
        projected = self.A.T @ Q
        left = self.square - float(np.sum(projected * projected))
        return float(np.sqrt(left) / exact.error_fro - 1.0)

    def error(self, answer: Any) -> float:
        """Excess projection error."""
        return self.excess(answer.U)

    def track_excess_over_peer(self, buffer_size: int | None) -> float:
        """Return the excess projection error over that of gensim."""
        return self.excess(self.method().U) / self.excess(self.peer().u)

    def track_memory(self, buffer_size: int | None) -> float:
        """Return the peak of memory over that of gensim."""
        ours = _base.measure_tracemalloc_peak(self.method)
        return ours / _base.measure_tracemalloc_peak(self.peer)


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


class TextbookUpdate(_base.Comparison):
    """Single columns beside the textbook update, which decomposes at every column."""

    m, n = _base.sized((2000, 300), (10_000, 2000))
    param_names = ("r",)
    params = ((50, 100),)
    repeats = {"method": 5, "rival": 3}

    def prepare(self, r: int) -> None:
        self.X, self.r = samples(self.m, self.n), r

    def method(self) -> Any:
        svd = IncrementalSVD(self.r, n_oversamples=0)
        for column in self.X:
            svd.append_columns(column)
        return svd.result()

    def peer(self) -> Any:
        svd = BrandSVD(self.r)
        for column in self.X:
            svd.append(column)
        return svd

    def error(self, answer: Any) -> float:
        """Excess projection error over that of the textbook update."""
        return excess(self.X, answer.U) / excess(self.X, self.peer().U)


class Memory:
    """Peak beyond the input over ``8 m (2 l + b)`` bytes."""

    param_names = ("method",)
    params = (("gram", "cholqr", "qr"),)

    def setup(self, method: str) -> None:
        self.columns = np.random.default_rng(0).standard_normal((400, 20_000))

    def track_ratio_to_formula(self, method: str) -> float:
        """Return the ratio for 20 triplets and 10 more of 20000 rows, 7 columns a call."""
        m, kept, b = 20_000, 30, 60
        svd = IncrementalSVD(20, n_oversamples=10, method=method, buffer_size=b)
        tracemalloc.start()
        for start in range(0, 400, 7):
            svd.partial_fit(self.columns[start : start + 7])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / (8 * m * (2 * kept + b))

    track_ratio_to_formula.unit = "ratio"
