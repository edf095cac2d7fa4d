"""The published greedy clustering of matrices under an error, written plainly, block after block.

M. Shamrai, "Concatenated Matrix SVD", arXiv:2601.11626: the variant that estimates errors by an
incremental truncated decomposition. Complex blocks are transposed with conjugation and a seed
that is wider than the rank counts with its leading singular values, which is what makes the
estimate valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

_NEGLIGIBLE = 1e-12  # a direction of a smaller norm is not taken up


class IncrementalEstimate:
    """A basis of few directions and the Gram matrix of all columns in it."""

    def __init__(self, columns: np.ndarray, rank: int, n_kept: int) -> None:
        self.rank, self.n_kept = rank, n_kept
        U, s, _ = np.linalg.svd(columns, full_matrices=False)
        self.basis, self.gram = U[:, :n_kept], np.diag(s[:n_kept] ** 2)
        self.energy = float(np.sum(s**2))

    def extended(self, block: np.ndarray) -> IncrementalEstimate:
        """Return the estimate with one more block."""
        inside = self.basis.conj().T @ block
        Q, B = np.linalg.qr(block - self.basis @ inside)
        is_new = np.linalg.norm(B, axis=1) > _NEGLIGIBLE
        Q, B = Q[:, is_new], B[is_new]
        coordinates = np.concatenate([inside, B])
        old = len(self.gram)
        G = coordinates @ coordinates.conj().T
        G[:old, :old] += self.gram
        values, vectors = np.linalg.eigh(G)
        values, vectors = values[::-1][: self.n_kept], vectors[:, ::-1][:, : self.n_kept]
        larger = object.__new__(IncrementalEstimate)
        larger.rank, larger.n_kept = self.rank, self.n_kept
        larger.basis = np.concatenate([self.basis, Q], axis=1) @ vectors
        larger.gram = np.diag(np.maximum(values, 0.0))
        larger.energy = self.energy + float(np.linalg.norm(block)) ** 2
        return larger

    def error(self) -> float:
        """Return the estimate of the relative error."""
        if self.energy == 0.0:
            return 0.0
        kept = float(np.sum(np.diag(self.gram)[: self.rank]))
        return float(np.sqrt(max(0.0, 1.0 - kept / self.energy)))


def greedy_clusters(
    blocks: Sequence[np.ndarray], rank: int, eps: float, *, patience: int = 10, n_more: int = 5
) -> Iterator[list[int]]:
    """Yield clusters one after the other, each a list of numbers of blocks (m, n_i)."""
    norms = [float(np.linalg.norm(block)) for block in blocks]
    alive = sorted(range(len(blocks)), key=lambda i: (-norms[i], i))
    without = 0
    while alive and without < patience:
        members = _seed(blocks, alive, rank)
        estimate = IncrementalEstimate(
            np.concatenate([blocks[i] for i in members], axis=1), rank, rank + n_more
        )
        n_seed = len(members)
        U = np.linalg.svd(
            np.concatenate([blocks[i] for i in members], axis=1), full_matrices=False
        )[0]
        rest = alive[n_seed:]
        missing = {i: float(np.linalg.norm(blocks[i] - U @ (U.conj().T @ blocks[i]))) for i in rest}
        for i in sorted(rest, key=lambda i: (missing[i], i)):
            larger = estimate.extended(blocks[i])
            if larger.error() > eps:
                break
            estimate = larger
            members.append(i)
        without = without + 1 if len(members) == n_seed else 0
        yield members
        taken = set(members)
        alive = [i for i in alive if i not in taken]
    yield from ([i] for i in alive)


def _seed(blocks: Sequence[np.ndarray], alive: Sequence[int], rank: int) -> list[int]:
    """Return the heaviest block and those after it, as far as they fit into the rank together."""
    seed, width = [alive[0]], blocks[alive[0]].shape[1]
    for i in islice(alive, 1, None):
        width += blocks[i].shape[1]
        if width > rank:
            break
        seed.append(i)
    return seed


def compression_ratio(
    blocks: Sequence[np.ndarray], clusters: Sequence[Sequence[int]], rank: int
) -> float:
    """Return all numbers over those stored; single blocks are stored as they are."""
    m = blocks[0].shape[0]
    stored = 0
    for members in clusters:
        width = sum(blocks[i].shape[1] for i in members)
        stored += m * width if len(members) == 1 else min(rank * (m + width), m * width)
    return m * sum(block.shape[1] for block in blocks) / stored
