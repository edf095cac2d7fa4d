"""Block power method over a stream ("memory limited, streaming PCA").

I. Mitliagkas, C. Caramanis, P. Jain, "Memory limited, streaming PCA", NeurIPS (2013), algorithm 1.
"""

from __future__ import annotations

import numpy as np

from ._base import Peer


class BlockPower(Peer):
    """One exact power step a block of ``block_rows`` rows; the earlier blocks are forgotten."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        block_rows: int,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, rng=rng)
        self.block_rows = block_rows

    def _start(self, d: int) -> None:
        self._Q = self.random_basis(d)
        self._Y = np.zeros_like(self._Q)
        self._filled = 0

    def _update(self, X: np.ndarray) -> None:
        start = 0
        while start < X.shape[0]:
            stop = min(start + self.block_rows - self._filled, X.shape[0])
            part = X[start:stop, :]
            self._Y += part.T @ (part @ self._Q)
            self._filled += stop - start
            start = stop
            if self._filled == self.block_rows:
                self._step()

    def _step(self) -> None:
        """End of a block: the product becomes the next basis."""
        self._Q = np.linalg.qr(self._Y)[0]
        self._Y[...] = 0.0
        self._filled = 0

    def components(self) -> np.ndarray:
        """Return the basis after the last full block."""
        return self._Q
