"""Determinantal samples beside DPPy, one Gram matrix, and matrix products of their size."""

from __future__ import annotations

import contextlib
import io
import time
from typing import Any

import numpy as np
import peers

from linalgkit.sampling import (
    Legendre,
    LEnsemble,
    ProjectionDPP,
    TensorBasis,
    greedy_subsample,
    multi_index,
    sample_design,
)
from linalgkit.sampling._chain import sample_chain

from . import _base

ROOM = "sampling"


def _quietly(call: Any) -> Any:
    """Run what prints as it works."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call()


def _beside_dppy(cls: type[_base.Comparison]) -> type[_base.Comparison]:
    """Take away the figure that cannot be taken where DPPy is not installed."""
    if not peers.has_dppy():
        cls.track_ratio_to_peer = None
    return cls


def orthonormal(n: int, m: int) -> np.ndarray[Any, Any]:
    """Return a matrix with orthonormal columns."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((n, m)))[0]


@_beside_dppy
class Projection(_base.Comparison):
    """One sample of m of n rows, orthonormal columns given, with the set-up or warm."""

    sizes = _base.sized(
        {"tall": (5000, 20), "wide": (2000, 50)}, {"tall": (100_000, 100), "wide": (10_000, 500)}
    )
    param_names = ("shape", "part")
    params = (("tall", "wide"), ("with set-up", "warm"))
    repeats = {"method": 15, "rival": 3}

    def prepare(self, shape: str, part: str) -> None:
        n, self.m = self.sizes[shape]
        self.V, self.is_warm = orthonormal(n, self.m), part == "warm"
        self.dpp = ProjectionDPP(self.V, orthonormal=True, rng=0)
        self.block = np.random.default_rng(0).standard_normal((self.m, self.m))

    def method(self) -> Any:
        if self.is_warm:
            return self.dpp.sample()
        return ProjectionDPP(self.V, orthonormal=True, rng=0).sample()

    def primitive(self) -> Any:
        """Multiply two square matrices of the size of a sample."""
        return self.block @ self.block

    def peer(self) -> Any:
        from dppy.finite_dpps import FiniteDPP

        eigen = (np.ones(self.m), self.V)
        model = FiniteDPP("correlation", projection=True, K_eig_dec=eigen)
        return model.sample_exact(mode="GS", random_state=np.random.RandomState(0))


class RawRows(_base.Comparison):
    """Set-up and one sample of a matrix beside its Gram matrix."""

    n, m = _base.sized((5000, 60), (100_000, 500))
    param_names = ("scores",)
    params = (("exact", "sketch"),)
    repeats = {"method": 5, "rival": 5}

    def prepare(self, scores: str) -> None:
        self.X = np.random.default_rng(0).standard_normal((self.n, self.m))
        self.scores = scores

    def method(self) -> Any:
        return ProjectionDPP(self.X, scores=self.scores, rng=0).sample()

    def primitive(self) -> Any:
        return self.X.T @ self.X


class Warm:
    """What a warm sample of 100 rows costs as there are more rows to sample from."""

    m = _base.sized(20, 100)
    few, many = _base.sized((2000, 20_000), (10_000, 1_000_000))

    def setup(self) -> None:
        from threadpoolctl import threadpool_limits

        self._limits = threadpool_limits(1)
        rng = np.random.default_rng(0)
        self.dpps = [
            ProjectionDPP(rng.standard_normal((n, self.m)), rng=0) for n in (self.few, self.many)
        ]
        for dpp in self.dpps:
            dpp.sample_many(20)

    def teardown(self) -> None:
        self._limits.restore_original_limits()

    def track_growth(self) -> float:
        """Return the time with many rows over that with few."""
        few, many = self.dpps
        calls = {"few": lambda: few.sample_many(10), "many": lambda: many.sample_many(10)}
        seconds = _base.interleaved(calls, 15)
        return seconds["many"] / seconds["few"]

    def track_memory(self) -> float:
        """Return the peak beyond the matrix over ``8 (m^2 + 4 b m) + 16 n`` bytes."""
        from linalgkit.sampling._chain import block_size

        dpp, n = self.dpps[1], self.many
        peak = 16 * n + _base.measure_tracemalloc_peak(dpp.sample)
        return peak / (8 * (self.m**2 + 4 * block_size(self.m) * self.m) + 16 * n)

    track_growth.unit = track_memory.unit = "ratio"


class Proposals:
    """How far the proposals of a sample are from ``m H_m``."""

    def setup(self) -> None:
        X = np.random.default_rng(0).standard_normal((4000, 50))
        self.dpp, self.runs = ProjectionDPP(X, rng=0), _base.sized(300, 4000)

    def track_departure(self) -> float:
        """Return the relative difference of the mean from theory."""
        self.dpp.sample_many(self.runs, method="rejection")
        expected = 50 * sum(1 / k for k in range(1, 51))
        return abs(self.dpp.n_proposals_ / self.runs / expected - 1)


@_beside_dppy
class FixedSize(_base.Comparison):
    """The next sample of k items by a kernel of low rank."""

    n, rank, k = _base.sized((2000, 30, 5), (100_000, 100, 20))
    repeats = {"method": 25, "rival": 5}

    def prepare(self) -> None:
        B = np.random.default_rng(0).standard_normal((self.n, self.rank))
        self.ensemble = LEnsemble(B, rng=0)
        if not peers.has_dppy():
            return
        from dppy.finite_dpps import FiniteDPP

        self.state = np.random.RandomState(0)
        self.rival = _quietly(lambda: FiniteDPP("likelihood", L_gram_factor=B.T))
        _quietly(self.peer)

    def method(self) -> Any:
        return self.ensemble.sample(self.k)

    def peer(self) -> Any:
        return self.rival.sample_exact_k_dpp(size=self.k, random_state=self.state)


@_beside_dppy
class Continuous(_base.Comparison):
    """A sample for polynomials in d variables, beside one product of matrices of that size."""

    degrees = _base.sized({2: 5, 3: 4}, {2: 23, 3: 16})
    param_names = ("d",)
    params = ((2, 3),)
    repeats = {"method": 9, "rival": 9}

    def prepare(self, d: int) -> None:
        p = self.degrees[d]
        self.basis = TensorBasis(Legendre(), multi_index(d, p))
        self.d, self.rng = d, np.random.default_rng(0)
        self.block = self.rng.standard_normal((self.basis.dim, self.basis.dim))

    def method(self) -> Any:
        """Draw the points alone, without the Gram matrix of a design."""
        return sample_chain(self.basis, self.rng)[0]

    def primitive(self) -> Any:
        return self.block @ self.block

    def peer(self) -> Any:
        from dppy.multivariate_jacobi_ope import MultivariateJacobiOPE

        return MultivariateJacobiOPE(self.basis.dim, np.zeros((self.d, 2))).sample(random_state=0)


class Designs:
    """How often three points a dimension are not enough."""

    param_names = ("case",)
    params = (((1, 10), (2, 8)),)

    def setup(self, case: tuple[int, int]) -> None:
        self.basis = TensorBasis(Legendre(), multi_index(*case))

    def track_failures(self, case: tuple[int, int]) -> float:
        """Return the part of the designs with a smallest eigenvalue below 0.1."""
        rng, runs = np.random.default_rng(0), _base.sized(100, 2000)
        return sum(sample_design(self.basis, rng=rng).lmin < 0.1 for _ in range(runs)) / runs


class Greedy:
    """Removing points of 6 m while the smallest eigenvalue stays above 0.1, m = 45."""

    def setup(self) -> None:
        from threadpoolctl import threadpool_limits

        self._limits = threadpool_limits(1)
        basis = TensorBasis(Legendre(), multi_index(2, 8))
        design = sample_design(basis, 270, rng=0)
        self.A, self.weights = basis.evaluate(design.points), design.weights
        self.run()

    def teardown(self) -> None:
        self._limits.restore_original_limits()

    def run(self) -> Any:
        """Remove what can be removed."""
        return greedy_subsample(self.A, self.weights, criterion=("lmin", 0.9))

    def track_seconds(self) -> float:
        """Return the median time."""
        times = []
        for _ in range(5):
            start = time.perf_counter()
            self.run()
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    def track_points(self) -> float:
        """Return the points that are left, a dimension."""
        return len(self.run().weights) / 45

    track_seconds.unit = "s"
