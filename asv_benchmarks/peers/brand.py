"""The textbook update of a truncated decomposition by one column, without a cure.

M. Brand, "Incremental singular value decomposition of uncertain data with missing values", ECCV
(2002), section 3: one projection, one normalised residual, one decomposition of order r + 1.
"""

from __future__ import annotations

import numpy as np


class BrandSVD:
    """Columns one at a time; `U` (m, r) and `s` (r,) after each of them."""

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components
        self.U: np.ndarray | None = None
        self.s = np.zeros(0)

    def append(self, a: np.ndarray) -> None:
        """Take in one column."""
        if self.U is None:
            norm = np.linalg.norm(a)
            self.U, self.s = (a / norm)[:, None], np.array([norm])
            return
        inside = self.U.T @ a
        rest = a - self.U @ inside
        height = np.linalg.norm(rest)
        K = np.zeros((len(self.s) + 1, len(self.s) + 1))
        np.fill_diagonal(K, [*self.s, height])
        K[:-1, -1] = inside
        X, s, _ = np.linalg.svd(K)
        kept = min(self.n_components, len(s))
        self.U = np.column_stack([self.U, rest / height]) @ X[:, :kept]
        self.s = s[:kept]
