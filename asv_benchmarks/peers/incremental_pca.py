"""scikit-learn's IncrementalPCA behind the peers' face, cut into the batches its ``fit`` makes.

D. A. Ross, J. Lim, R.-S. Lin, M.-H. Yang, "Incremental learning for robust visual tracking",
Int. J. Comput. Vis. 77, 125-141 (2008).
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import IncrementalPCA

from ._base import BlockCutter, Peer


class IncrementalPCAPeer(Peer):
    """``batch_rows=None`` is scikit-learn's default of five times the number of columns.

    It centres the data, which cannot be switched off; a last batch of fewer rows than components
    is left out.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        batch_rows: int | None = None,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, rng=rng)
        self.batch_rows = batch_rows

    def _start(self, d: int) -> None:
        self._cutter = BlockCutter(self.batch_rows or 5 * d)
        self._model = IncrementalPCA(self.n_components)

    def _update(self, X: np.ndarray) -> None:
        for block in self._cutter.push(X):
            self._model.partial_fit(block)

    def components(self) -> np.ndarray:
        """Use the rows of the unfinished batch and return the components as columns."""
        tail = self._cutter.tail
        if tail is not None and tail.shape[0] >= self.n_components:
            self._model.partial_fit(tail)
            self._cutter.tail = None
        return self._model.components_.T
