"""FSM: fast similarity matching, a Hebbian / anti-Hebbian network kept by rank-one updates.

A. Giovannucci, V. Minden, C. Pehlevan, D. B. Chklovskii, "Efficient principal subspace projection
of streaming data through fast similarity matching", arXiv:1808.02083 (2018).
"""

from __future__ import annotations

import numpy as np

from ._base import Peer


class FSM(Peer):
    """``y = inv(M) W x``; W and M drift to the averages of ``y x'`` and ``y y'``; rate 1/(t+5)."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        time_scale: float = 0.5,
        start_scale: float = 0.01,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, rng=rng)
        self.time_scale = time_scale
        self.start_scale = start_scale

    def _start(self, d: int) -> None:
        self._W = self.random_basis(d).T.copy()
        self._M_inverse = np.eye(self.n_components)
        self._t = 0

    def _set_scale(self, x: np.ndarray) -> None:
        """Start M at a small share of the first row's energy, so that no unit is preferred."""
        scale = self.start_scale * float(x @ x)
        if scale > 0.0:
            self._W *= scale
            self._M_inverse /= scale

    def _update(self, X: np.ndarray) -> None:
        if self._t == 0 and X.shape[0]:
            self._set_scale(X[0, :])
        for x in X:
            self._row(x)
            self._t += 1

    def _row(self, x: np.ndarray) -> None:
        """One row: the output, the two drifts, and Sherman-Morrison for the inverse of M."""
        rate = 1.0 / (self._t + 5)
        y = self._M_inverse @ (self._W @ x)
        self._W *= 1.0 - 2.0 * rate
        self._W += np.multiply.outer(2.0 * rate * y, x)
        share = rate / self.time_scale
        z = self._M_inverse @ y
        self._M_inverse -= np.multiply.outer(share / (1.0 - share + share * (z @ y)) * z, z)
        self._M_inverse /= 1.0 - share

    def components(self) -> np.ndarray:
        """Return an orthonormal basis of the row space of ``inv(M) W``."""
        return np.linalg.qr((self._M_inverse @ self._W).T)[0]
