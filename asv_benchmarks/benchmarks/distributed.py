"""The same objects on Dask, beside the serial functions and Dask's own linear algebra.

The limit is the serial function on the same blocks: what is above one is what tasks, states that
are moved, and a scheduler cost on one thread. Dask's own answers are less or differently accurate:
`track_error` is our error over theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import peers

from linalgkit import regression, svd

from . import _base
from .incremental_svd import excess, samples
from .regression import conditioned

ROOM = "distributed"


class _InParts(_base.Comparison):
    """A function on Dask's scheduler in this thread, or on its pool of as many as there are."""

    param_names = ("scheduler",)
    params = (("synchronous", "threads"),)
    repeats = {"method": 5, "rival": 5}

    def on_dask(self, call: Any) -> Any:
        """Call under the scheduler that is measured."""
        import dask

        with dask.config.set(scheduler=self.scheduler):
            return call()


class TreeSVD(_InParts):
    """Columns in 20 blocks beside the serial tree, and Dask's compressed decomposition.

    That is randomised, by default without power iterations, and has no account of what is lost.
    """

    m, n, r = _base.sized((2000, 600, 10), (10_000, 4000, 50))

    def prepare(self, scheduler: str) -> None:
        import dask.array as da

        self.scheduler = scheduler
        self.X = samples(self.m, self.n)
        self.blocks = np.split(self.X.T, 20, axis=1)
        self.A = da.from_array(self.X.T, chunks=(self.m, self.n // 20))

    def method(self) -> Any:
        from linalgkit.distributed import tree_svd

        return self.on_dask(lambda: tree_svd(self.A, self.r, n_oversamples=10))

    def primitive(self) -> Any:
        return svd.tree_svd(self.blocks, self.r, n_oversamples=10)

    def peer(self) -> Any:
        """Return the left singular vectors: as much as ours returns."""
        import dask
        import dask.array as da

        U, s, _ = da.linalg.svd_compressed(self.A, self.r, seed=0)
        return self.on_dask(lambda: dask.compute(U, s))

    def error(self, answer: Any) -> float:
        """Excess projection error over that of the peer."""
        return excess(self.X, answer.U) / excess(self.X, self.peer()[0])


class LeastSquares(_InParts):
    """Rows in 16 blocks beside the serial solution, and Dask's by tall and skinny QR."""

    n, d = _base.sized((2**14, 32), (2**17, 64))

    def prepare(self, scheduler: str) -> None:
        import dask.array as da

        self.scheduler = scheduler
        self.A, self.b = conditioned(self.n, self.d, 1e4, 1e-3)
        rows = self.n // 16
        self.parts = da.from_array(self.A, chunks=(rows, self.d))
        self.sides = da.from_array(self.b, chunks=rows)

    def method(self) -> Any:
        from linalgkit.distributed import lstsq

        return self.on_dask(lambda: lstsq(self.parts, self.sides, rng=0))

    def primitive(self) -> Any:
        return regression.lstsq(self.A, self.b, rng=0)

    def peer(self) -> Any:
        import dask.array as da

        x = da.linalg.lstsq(self.parts, self.sides)[0]
        return self.on_dask(x.compute)

    def error(self, answer: Any) -> float:
        """Backward error over that of the peer."""
        ours, theirs = (
            float(regression.backward_error(self.A, self.b, x)) for x in (answer.x, self.peer())
        )
        return ours / theirs


if not peers.installed("dask"):
    del TreeSVD, LeastSquares
