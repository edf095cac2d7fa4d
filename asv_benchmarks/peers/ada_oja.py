"""AdaOja: Oja's rule whose rate follows the norms of the steps seen so far.

A. Henriksen, R. Ward, "AdaOja: adaptive learning rates for streaming PCA",
arXiv:1905.12115 (2019).
"""

from __future__ import annotations

import numpy as np

from ._base import BlockPeer


class AdaOja(BlockPeer):
    """``G = X'X Q / B``, ``b <- sqrt(b^2 + |G|^2)`` a column, ``Q <- qr(Q + G / b)``."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        block_rows: int = 10,
        start_norm: float = 1e-5,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, block_rows=block_rows, rng=rng)
        self.start_norm = start_norm

    def _start(self, d: int) -> None:
        self._Q = self.random_basis(d)
        self._norms = np.full(self.n_components, self.start_norm)

    def _block(self, X: np.ndarray) -> None:
        G = X.T @ (X @ self._Q) / X.shape[0]
        self._norms = np.hypot(self._norms, np.linalg.norm(G, axis=0))
        self._Q = np.linalg.qr(self._Q + G / self._norms)[0]

    def components(self) -> np.ndarray:
        """Return the current basis."""
        return self._Q
