"""Plain Frequent Directions with a buffer of twice the sketch.

E. Liberty, "Simple and deterministic matrix sketching", KDD (2013); M. Ghashami, E. Liberty,
J. M. Phillips, D. P. Woodruff, "Frequent Directions: simple and deterministic matrix sketching",
SIAM J. Comput. 45(5), 1762-1792 (2016).
"""

from __future__ import annotations

import numpy as np

from ._base import Peer


class FrequentDirections(Peer):
    """A full buffer of ``2 sketch_rows`` rows is shrunk by its ``sketch_rows``-th squared value."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        sketch_rows: int = 24,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, rng=rng)
        self.sketch_rows = sketch_rows

    def _start(self, d: int) -> None:
        self._buffer = np.zeros((2 * self.sketch_rows, d))
        self._filled = 0

    def _update(self, X: np.ndarray) -> None:
        start = 0
        while start < X.shape[0]:
            if self._filled == self._buffer.shape[0]:
                self._shrink()
            take = min(self._buffer.shape[0] - self._filled, X.shape[0] - start)
            self._buffer[self._filled : self._filled + take, :] = X[start : start + take, :]
            self._filled += take
            start += take

    def _shrink(self) -> None:
        """Subtract the ``sketch_rows``-th squared singular value from all, which empties rows."""
        _, s, Vh = np.linalg.svd(self._buffer, full_matrices=False)
        keep = min(self.sketch_rows - 1, s.size)
        floor = s[keep] ** 2 if keep < s.size else 0.0
        self._buffer[:keep, :] = np.sqrt(s[:keep] ** 2 - floor)[:, None] * Vh[:keep, :]
        self._buffer[keep:, :] = 0.0
        self._filled = keep

    def components(self) -> np.ndarray:
        """Return the top right singular vectors of the sketch."""
        rows = self._buffer[: self._filled, :]
        return np.linalg.svd(rows, full_matrices=False)[2][: self.n_components, :].T
