"""gensim's LsiModel behind the peers' face; needs ``pip install gensim``.

R. Rehurek, "Subspace tracking for latent semantic analysis", ECIR (2011).
"""

from __future__ import annotations

import numpy as np
from gensim.models import LsiModel
from scipy import sparse

from ._base import BlockPeer


class LsiPeer(BlockPeer):
    """Rows are gensim's documents; chunks of ``block_rows`` of them are merged in turn."""

    def __init__(
        self,
        n_components: int = 1,
        *,
        block_rows: int = 20000,
        rng: int | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(n_components, block_rows=block_rows, rng=rng)

    def _start(self, d: int) -> None:
        names = {i: str(i) for i in range(d)}
        seed = int(self.rng.integers(2**31))
        self._model = LsiModel(id2word=names, num_topics=self.n_components, random_seed=seed)

    def _block(self, X: np.ndarray) -> None:
        self._model.add_documents(sparse.csc_matrix(X.T))

    def components(self) -> np.ndarray:
        """Use the rows of the unfinished chunk and return the left singular vectors."""
        if self._cutter.tail is not None:
            self._block(self._cutter.tail)
            self._cutter.tail = None
        return np.asarray(self._model.projection.u[:, : self.n_components])
