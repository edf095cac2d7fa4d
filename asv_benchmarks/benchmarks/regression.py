"""Full-accuracy least squares: speed, memory and backward error beside LAPACK's drivers."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from linalgkit import AccuracyWarning
from linalgkit.regression import backward_error, lstsq

from . import _base

ROOM = "regression"

ROUNDOFF = 2.0**-53
PEERS = ("numpy", "torch") if find_spec("torch") else ("numpy",)


def conditioned(
    n: int, d: int, cond: float, residual: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Singular values from 1 to 1/cond, unit solution, residual of the norm given."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((n, d + 1)))[0]
    V = np.linalg.qr(rng.standard_normal((d, d)))[0]
    A = (U[:, :d] * np.geomspace(1, 1 / cond, d)) @ V.T
    x = rng.standard_normal(d)
    return A, A @ (x / np.linalg.norm(x)) + residual * U[:, d]


def householder(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve by Householder QR."""
    Q, R = np.linalg.qr(A)
    return np.linalg.solve(R, Q.T @ b)


class _Speed(_base.Comparison):
    """One solution beside the Gram matrix (the limit), NumPy's gelsd and torch's gels."""

    param_names = ("peer",)
    params = (PEERS,)
    repeats = {"method": 5, "rival": 3}
    n: int
    d: int
    cond: float

    def prepare(self, peer: str) -> None:
        self.A, self.b = conditioned(self.n, self.d, self.cond, 1e-3)
        self.rival = getattr(self, f"{peer}_peer")
        if peer == "torch":
            self.torch = import_module("torch")
            self.torch.set_num_threads(1)
            self.rows, self.sides = self.torch.from_numpy(self.A), self.torch.from_numpy(self.b)

    def method(self) -> Any:
        return lstsq(self.A, self.b, rng=0)

    def primitive(self) -> Any:
        return self.A.T @ self.A

    def peer(self) -> Any:
        return self.rival()

    def numpy_peer(self) -> Any:
        return np.linalg.lstsq(self.A, self.b, rcond=None)[0]

    def torch_peer(self) -> Any:
        solved = self.torch.linalg.lstsq(self.rows, self.sides[:, None], driver="gels")
        return solved.solution

    def error(self, answer: Any) -> float:
        """Backward error in units of ten roundoffs."""
        return float(backward_error(self.A, self.b, answer.x)) / (10 * ROUNDOFF)


class WellConditioned(_Speed):
    """2^17 x 64, condition number 1e4: the Gram matrix and two or three more passes."""

    n, d = _base.sized((2**15, 64), (2**17, 64))
    cond = 1e4


class IllConditioned(_Speed):
    """32768 x 400, condition number 1e10: twice the flops of the Gram matrix."""

    n, d = _base.sized((8192, 200), (32768, 400))
    cond = 1e10

    def track_memory(self, peer: str) -> float:
        """Peak beyond the input, over the size of the matrix."""
        return _base.measure_tracemalloc_peak(self.method) / self.A.nbytes


class BackwardError(_base.Measured):
    """Largest backward error over condition numbers and residuals, in units of ten roundoffs."""

    param_names = ("driver",)
    params = (("auto", "cholesky", "sketch_cholqr", "spir", "lsmr"),)
    n, d = _base.sized((2000, 20), (4000, 50))
    conditions = 10.0 ** np.arange(0, 17, _base.sized(4, 1))
    residuals = (1e-14, 1e-9, 1e-4, 1.0)

    def prepare(self, driver: str) -> None:
        self.driver = driver

    def solutions(self) -> Any:
        """Yield data, answer and the backward error of each problem."""
        for cond in self.conditions:
            for residual in self.residuals:
                A, b = conditioned(self.n, self.d, cond, residual)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", AccuracyWarning)
                    answer = lstsq(A, b, driver=self.driver, rng=0)
                yield A, b, answer, float(backward_error(A, b, answer.x))

    def track_error(self, driver: str) -> float:
        return max(found for *_, found in self.solutions()) / (10 * ROUNDOFF)

    def track_certificate(self, driver: str) -> float:
        """Largest factor between certificate and backward error; 1 where both are rounding."""
        factors = [1.0]
        for _, _, answer, found in self.solutions():
            both = found, float(answer.backward_error)
            if max(both) > 2 * ROUNDOFF:
                factors.append(max(both) / max(min(both), 1e-300))
        return max(factors)

    def track_ratio_to_householder(self, driver: str) -> float:
        """Median over the median of Householder QR, where that has no zero pivot."""
        ours, theirs = [], []
        for A, b, _, found in self.solutions():
            ours.append(found)
            theirs.append(float(backward_error(A, b, householder(A, b))))
        return float(np.median(ours) / np.median(theirs))
