"""Sketched and Kronecker least squares beside one pass over the data and the full solution."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit.regression import kron_lstsq, sketched_lstsq

from . import _base

ROOM = "regression"


class Sketched(_base.Comparison):
    """One sketched solution beside a copy of the data and `numpy.linalg.lstsq`."""

    param_names = ("sketch",)
    params = (("srht", "block_srht", "sparse_sign", "gaussian"),)
    n, d, m = _base.sized((2**14, 32, 512), (2**17, 64, 1024))
    repeats = {"method": 5, "rival": 3}

    def prepare(self, sketch: str) -> None:
        rng = np.random.default_rng(0)
        self.A = rng.standard_normal((self.n, self.d))
        self.b = self.A @ np.ones(self.d) + rng.standard_normal(self.n)
        self.sketch = sketch

    def method(self) -> Any:
        return sketched_lstsq(self.A, self.b, m=self.m, sketch=self.sketch, rng=0)

    def primitive(self) -> Any:
        return self.A.copy()

    def peer(self) -> Any:
        return np.linalg.lstsq(self.A, self.b, rcond=None)

    def error(self, answer: Any) -> float:
        """Largest error in units of the half-width of the joint 99 % interval."""
        lower, upper = answer.ci(0.99, simultaneous=True)
        exact = self.peer()[0]
        return float(np.max(np.abs(answer.x - exact) / ((upper - lower) / 2)))


class KroneckerExact(_base.Comparison):
    """The exact Kronecker solution beside one pass over `B` and the two small factorisations."""

    param_names = ("size",)
    params = ((512, 2048),)
    repeats = 21

    def prepare(self, size: int) -> None:
        rng = np.random.default_rng(0)
        self.factors = [rng.standard_normal((size, 6)) for _ in range(2)]
        self.B = rng.standard_normal((size, size))

    def method(self) -> Any:
        return kron_lstsq(self.factors, self.B)

    def primitive(self) -> Any:
        for factor in self.factors:
            np.linalg.svd(factor, full_matrices=False)
        return self.B.copy()

    def peer(self) -> Any:
        left, right = (np.linalg.pinv(factor) for factor in self.factors)
        return left @ self.B @ right.T

    def error(self, answer: Any) -> float:
        """Largest difference to the product with pseudo-inverses, relative."""
        exact = self.peer()
        found = np.reshape(np.asarray(answer.x), exact.shape)
        return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))
