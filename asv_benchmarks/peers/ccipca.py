"""CCIPCA: candid covariance-free incremental PCA, one row at a time.

J. Weng, Y. Zhang, W.-S. Hwang, "Candid covariance-free incremental principal component
analysis", IEEE Trans. Pattern Anal. Mach. Intell. 25(8), 1034-1040 (2003), equations 10 and 11.
"""

from __future__ import annotations

import numpy as np

from ._base import Peer


class CCIPCA(Peer):
    """Averages ``u (u'v/|v|)`` with the amnesic weight ``(1 + amnesic) / t``, then deflates u."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        amnesic: float = 2.0,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, rng=rng)
        self.amnesic = amnesic

    def _start(self, d: int) -> None:
        self._V = np.zeros((self.n_components, d))
        self._t = 0

    def _update(self, X: np.ndarray) -> None:
        for x in X:
            self._t += 1
            self._row(np.array(x, dtype=float))

    def _row(self, u: np.ndarray) -> None:
        """One row: vector i starts from the i-th row's residual and is averaged from then on."""
        amnesic = self.amnesic if self._t > self.amnesic + 1 else 0.0
        weight = (1.0 + amnesic) / self._t
        for i, v in enumerate(self._V[: self._t, :]):
            if i == self._t - 1:
                v[:] = u
                return
            pull = weight * (u @ v) / np.sqrt(v @ v)
            v *= 1.0 - weight
            v += pull * u
            u -= (u @ v) / (v @ v) * v

    def components(self) -> np.ndarray:
        """Return the directions of the averages, made orthonormal."""
        return np.linalg.qr(self._V.T)[0]
