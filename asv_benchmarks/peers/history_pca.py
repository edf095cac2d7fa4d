"""History PCA: power steps on a running covariance kept as a rank-k summary.

P. Yang, C.-J. Hsieh, J.-L. Wang, "History PCA: a new algorithm for streaming PCA",
arXiv:1802.05447 (2018).
"""

from __future__ import annotations

import numpy as np

from ._base import BlockPeer


class HistoryPCA(BlockPeer):
    """Block t iterates on ``(t-1)/t Q L Q' + X'X / (t B)``, Q L Q' being the summary so far."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        block_rows: int = 10,
        power_steps: int = 1,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, block_rows=block_rows, rng=rng)
        self.power_steps = power_steps

    def _start(self, d: int) -> None:
        self._Q = self.random_basis(d)
        self._eigenvalues = np.zeros(self.n_components)
        self._t = 0

    def _block(self, X: np.ndarray) -> None:
        self._t += 1
        old, weights, Q = self._Q, (self._t - 1) * self._eigenvalues, self._Q
        for _ in range(self.power_steps):
            Y = X.T @ (X @ Q) / X.shape[0]
            Y += old @ (weights[:, None] * (old.T @ Q))
            Q, R = np.linalg.qr(Y / self._t)
        self._Q, self._eigenvalues = Q, np.abs(np.diag(R))

    def components(self) -> np.ndarray:
        """Return the current basis."""
        return self._Q
