"""Clusters of matrices under an error beside the published greedy search.

Seconds are of the process, per matrix that was put into a cluster. The published search takes
hours for the larger collections and is stopped after a number of clusters; what it takes for one
matrix grows with every cluster, since those that take most come first.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from peers.greedy_clustering import compression_ratio, greedy_clusters

from linalgkit.svd import cluster_matrices, concatenated_svd_bounds

from . import _base

ROOM = "svd"

COLUMNS, N_GROUPS, N_CLUSTERS = _base.sized((4000, 12, 40), (300_000, 100, 150))
MATRICES, N_PLANTED = _base.sized((480, 12), (5000, 40))


def columns(count: int, n_groups: int, m: int = 768, rank: int = 32) -> Any:
    """Return columns around subspaces of dimension rank / 2 to rank, of very different norms."""
    rng = np.random.default_rng(0)
    labels = rng.integers(n_groups, size=count)
    X = rng.standard_normal((count, m), dtype=np.float32) * np.float32(0.1 / np.sqrt(m))
    for k in range(n_groups):
        q = int(rng.integers(rank // 2, rank + 1))
        basis = np.linalg.qr(rng.standard_normal((m, q)))[0].astype(np.float32)
        own = np.nonzero(labels == k)[0]
        X[own] += (rng.standard_normal((len(own), q), dtype=np.float32) / np.sqrt(q)) @ basis.T
    X *= np.exp(0.8 * rng.standard_normal((count, 1), dtype=np.float32))
    return X[:, :, None]


def matrices(count: int, n_groups: int, m: int = 160, n: int = 8, rank: int = 10) -> Any:
    """Return matrices around subspaces of one dimension, of different norms."""
    rng = np.random.default_rng(0)
    bases = rng.standard_normal((n_groups, m, rank)) / np.sqrt(m)
    blocks = []
    for k in rng.integers(n_groups, size=count):
        noise = 0.05 * np.sqrt(rank / m) * rng.standard_normal((m, n))
        A = bases[k] @ rng.standard_normal((rank, n)) + noise
        blocks.append(np.exp(0.5 * rng.standard_normal()) * A)
    return blocks


class _Clusters(_base.Measured):
    """Time and ratio of a search beside those of the published one."""

    param_names = ("search",)
    params = (("gallop", "exhaustive"),)
    rank: int
    eps: float
    n_clusters: int | None = None

    def method(self) -> Any:
        return cluster_matrices(self.blocks, self.rank, self.eps, search=self.search)

    def peer(self) -> list[list[int]]:
        found = greedy_clusters(list(self.blocks), self.rank, self.eps)
        return list(itertools.islice(found, self.n_clusters))

    def time_method(self, search: str) -> None:
        self.method()

    def peakmem_method(self, search: str) -> None:
        self.method()

    def track_ratio_to_peer(self, search: str) -> float:
        """Return seconds per matrix in a cluster over those of the published search."""
        start = time.process_time()
        self.method()
        middle = time.process_time()
        taken = sum(len(members) for members in self.peer())
        seconds = (time.process_time() - middle) / taken
        return (middle - start) / len(self.blocks) / seconds

    def track_published_compression(self, search: str) -> float:
        """Return the compression ratio of the published search over ours."""
        clusters = self.peer()
        left = set(range(len(self.blocks))) - set(itertools.chain(*clusters))
        clusters += [[i] for i in left]
        ratio = compression_ratio(list(self.blocks), clusters, self.rank)
        return ratio / self.method().compression_ratio


class SingleColumns(_Clusters):
    """Columns of 768 rows in groups of about the same number."""

    rank, eps, n_clusters = 32, 0.2, N_CLUSTERS

    def prepare(self, search: str) -> None:
        self.blocks, self.search = columns(COLUMNS, N_GROUPS), search


class Matrices(_Clusters):
    """Matrices (160, 8) in groups of about the same number."""

    rank, eps = 10, 0.1

    def prepare(self, search: str) -> None:
        self.blocks, self.search = matrices(MATRICES, N_PLANTED), search


class Bounds(_base.Comparison):
    """Bounds for many columns beside one product with a basis."""

    param_names = ("method",)
    params = (("incremental", "weyl", "residual", "ritz"),)
    repeats = 3

    def prepare(self, method: str) -> None:
        self.blocks, self.name = columns(_base.sized(2000, 20_000), 1), method
        self.basis = np.linalg.qr(self.blocks[:32, :, 0].T)[0]

    def method(self) -> Any:
        return concatenated_svd_bounds(self.blocks, 32, method=self.name)

    def primitive(self) -> Any:
        return self.blocks[:, :, 0] @ self.basis
