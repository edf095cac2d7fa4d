"""What the peers share: the two-method face, a random start, and blocks of an exact size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np


class BlockCutter:
    """Cut rows that arrive anyhow into blocks of exactly ``block_rows`` rows."""

    def __init__(self, block_rows: int) -> None:
        self.block_rows = block_rows
        self.tail: np.ndarray | None = None

    def push(self, X: np.ndarray) -> Iterator[np.ndarray]:
        """Yield every block that ``X`` completes; keep a copy of what is left over."""
        start = 0
        if self.tail is not None:
            start = min(self.block_rows - self.tail.shape[0], X.shape[0])
            self.tail = np.concatenate([self.tail, X[:start, :]])
            if self.tail.shape[0] < self.block_rows:
                return
            full, self.tail = self.tail, None
            yield full
        while start + self.block_rows <= X.shape[0]:
            yield X[start : start + self.block_rows, :]
            start += self.block_rows
        if start < X.shape[0]:
            self.tail = X[start:, :].copy()


class Peer(ABC):
    """A streaming method for the top eigenvectors of ``X.T @ X`` with two public methods."""

    def __init__(self, n_components: int = 1, *, rng: int | np.random.Generator | None = 0) -> None:
        self.n_components = n_components
        self.rng = np.random.default_rng(rng)
        self._started = False

    def partial_fit(self, X: np.ndarray) -> Peer:
        """Take the next rows of the stream."""
        X = np.atleast_2d(np.asarray(X))
        if not self._started:
            self._start(X.shape[1])
            self._started = True
        self._update(X)
        return self

    def random_basis(self, d: int) -> np.ndarray:
        """Draw the first orthonormal basis, uniform over all of them."""
        return np.linalg.qr(self.rng.standard_normal((d, self.n_components)))[0]

    @abstractmethod
    def _start(self, d: int) -> None:
        """Set up the state for rows of length ``d``."""

    @abstractmethod
    def _update(self, X: np.ndarray) -> None:
        """Use the rows ``X``."""

    @abstractmethod
    def components(self) -> np.ndarray:
        """Return the basis found so far, orthonormal columns, shape (d, n_components)."""


class BlockPeer(Peer):
    """A peer that works on blocks of an exact number of rows; an unfinished block is not used."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        block_rows: int,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, rng=rng)
        self.block_rows = block_rows
        self._cutter = BlockCutter(block_rows)

    def _update(self, X: np.ndarray) -> None:
        for block in self._cutter.push(X):
            self._block(block)

    @abstractmethod
    def _block(self, X: np.ndarray) -> None:
        """Use one full block."""
