"""Canonical sums and sums over particles, beside the paper's methods and products of matrices."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erf

from linalgkit import AccuracyWarning
from linalgkit.chebyshev import ChebTucker, chebtucker_from_cp, long_range_potential

from . import _base, paper_data
from .chebyshev import CHECKS, CUBE, against_part, chebyshev_points, draw

ROOM = "chebyshev"

# ----------------------------------------------------------------------------- canonical input


class PaperData(_base.Comparison):
    """The paper's canonical tensors on cell-centred grids, beside its own reduced HOSVD.

    Both times include the interpolation. The error is that of the middle slice, as in the paper.
    Splines through the grids miss as much as the tolerances, and are warned of.
    """

    param_names = ("tensor",)
    params = (tuple(name for name in paper_data.NAMES if paper_data.find(name)),)
    repeats = 5
    _tol = {"biomolecule": 1e-6, "newton": 2e-8}
    _ranks = {"biomolecule": (40, 40, 47), "newton": (11, 11, 11)}

    def prepare(self, tensor: str) -> None:
        self.tensor = tensor
        with np.load(paper_data.find(tensor)) as file:
            if tensor == "biomolecule":
                self.weights = file["weights"] / file["h"] ** 3
                self.U = [file["U1"], file["U2"], file["U3"]]
            else:
                U = file["U"] * (file["U"].shape[0] / 2)
                U = U[:, : math.ceil(U.shape[1] / 2) - 3]  # the long-range part
                self.U, self.weights = [U] * 3, np.ones(U.shape[1])

    def method(self) -> ChebTucker:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return chebtucker_from_cp(self.weights, self.U, CUBE, tol=self._tol[self.tensor])

    def peer(self) -> ChebTucker:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return chebtucker_from_cp(
                self.weights, self.U, CUBE, tol=1e-7, degrees=128, method="rhosvd"
            )

    def error(self, answer: ChebTucker) -> float:
        """Return the largest error on the middle slice over its largest value."""
        n = self.U[0].shape[0]
        x, k = (2.0 * np.arange(n) + 1.0) / n - 1.0, n // 2 - 1
        exact = (self.U[0] * (self.weights * self.U[2][k, :])) @ self.U[1].T
        found = answer.grid(x, x, x[k : k + 1])[:, :, 0]
        return float(np.abs(found - exact).max() / np.abs(exact).max())

    def track_excess_rank(self, tensor: str) -> float:
        """Return by how much a rank exceeds those published: 0 or less where none does."""
        pairs = zip(self.method().ranks, self._ranks[tensor], strict=True)
        return float(max(rank - most for rank, most in pairs))

    def track_error_of_peer(self, tensor: str) -> float:
        return self.error(self.peer())


if not PaperData.params[0]:  # asv refuses benchmarks without parameters
    del PaperData


class Rescaled(_base.Measured):
    """Sixty products of Gaussians, and the same with columns times 1e100 or 1e-100."""

    param_names = ("weights",)
    params = (("real", "complex"),)

    def prepare(self, weights: str) -> None:
        self.rng = np.random.default_rng(2)
        t, R = chebyshev_points(65), 60
        self.centres, self.widths = (
            self.rng.uniform(*ends, (3, R)) for ends in ((-0.9, 0.9), (1.0, 6.0))
        )
        self.U = [self.columns(k, t) for k in range(3)]
        self.weights = self.rng.standard_normal(R)
        if weights == "complex":
            self.weights = self.weights + 1j * self.rng.standard_normal(R)

    def columns(self, k: int, t: np.ndarray) -> np.ndarray:
        return np.exp(-(((t[:, None] - self.centres[k]) * self.widths[k]) ** 2))

    def built(self, powers: np.ndarray) -> tuple[tuple[int, ...], float]:
        """Return ranks and error with columns times powers of ten, undone by the weights."""
        weights, scaled = self.weights, []
        for U, power in zip(self.U, powers, strict=True):
            scaled.append(U * 10.0**power)
            weights = weights * 10.0**-power
        T = chebtucker_from_cp(weights, scaled, CUBE, nodes="cheb2", tol=1e-7)
        x = draw(CUBE, _base.sized(500, 20_000))
        terms = math.prod(self.columns(k, x[:, k]) for k in range(3))
        return T.ranks, float(np.abs(T(x) - terms @ self.weights).max())

    def all_built(self) -> list[tuple[tuple[int, ...], float]]:
        """Return ranks and errors without and with ten rescalings."""
        shape = (3, self.weights.size)
        powers = [self.rng.choice([-100.0, 100.0], shape) for _ in range(_base.sized(2, 10))]
        return [self.built(power) for power in (np.zeros(shape), *powers)]

    def track_ranks(self, weights: str) -> float:
        """Return the largest change of a rank."""
        (first, _), *others = self.all_built()
        return float(max(np.abs(np.subtract(ranks, first)).max() for ranks, _ in others))

    def track_change(self, weights: str) -> float:
        """Return the largest relative change of the error."""
        (_, first), *others = self.all_built()
        return max(abs(error / first - 1.0) for _, error in others)


# ---------------------------------------------------------------------------------- particles


class System(NamedTuple):
    """Particles, their charges, and the inverse width of the split."""

    points: np.ndarray
    charges: np.ndarray
    alpha: float

    def blocks(self, x: np.ndarray) -> Any:
        """Yield differences and distances for a hundred points at a time."""
        for i in range(0, x.shape[0], 100):
            D = x[i : i + 100, None, :] - self.points
            yield D, np.sqrt((D * D).sum(axis=2))

    def potential(self, x: np.ndarray) -> np.ndarray:
        """Return the sum of q erf(alpha r)/r, term by term."""
        found = [erf(self.alpha * r) / r @ self.charges for _, r in self.blocks(x)]
        return np.concatenate(found)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return its gradient, term by term."""
        found, a = [], self.alpha
        for D, r in self.blocks(x):
            slope = 2 * a / math.sqrt(math.pi) * np.exp(-((a * r) ** 2)) - erf(a * r) / r
            found.append(np.einsum("pnk,pn->pk", D, slope / r**2 * self.charges))
        return np.concatenate(found)


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the largest length of a difference over the largest length."""
    n = exact.shape[0]
    lengths = [np.linalg.norm(a.reshape(n, -1), axis=1).max() for a in (found - exact, exact)]
    return float(lengths[0] / lengths[1])


class Particles(_base.Comparison):
    """The long-range potential of 5000 particles, beside the product of their moments.

    That is 2 N m^3 operations, m = 114 being the degree that the specification needed; here for
    as many operations in one product after the other, from and into buffers made before.
    """

    repeats = _base.sized(3, 9)

    def prepare(self) -> None:
        N, alpha, self.m = _base.sized((200, 4.0, 42), (5000, 12.0, 114))
        rng = np.random.default_rng(3)
        points, charges = rng.uniform(-0.95, 0.95, (N, 3)), rng.standard_normal(N)
        self.system = System(points, charges, alpha)
        self.x = draw(CUBE, _base.sized(100, 2000))
        self.block = 200
        self.first = rng.standard_normal((self.m, self.block))
        self.second = rng.standard_normal((self.block, self.m**2))
        self.buffer = np.zeros((self.m, self.m**2))

    def method(self) -> ChebTucker:
        return long_range_potential(*self.system[:2], CUBE, alpha=self.system.alpha, tol=1e-7)

    def primitive(self) -> Any:
        for _ in range(self.system.charges.size // self.block):
            np.matmul(self.first, self.second, out=self.buffer)

    def error(self, answer: ChebTucker) -> float:
        """Return the largest error over the largest value."""
        return relative(answer(self.x), self.system.potential(self.x))

    def track_error_of_forces(self) -> float:
        """Return the largest error of a force over the largest force."""
        return relative(self.method().gradient(self.x), self.system.gradient(self.x))


class Ewald(Particles):
    """The potential of 5000 particles at 1e5 points, beside the direct sum.

    The direct sum is extrapolated from 1000 points.
    """

    repeats = 3
    primitive = _base.Comparison.primitive

    def prepare(self) -> None:
        super().prepare()
        self.many = draw(CUBE, CHECKS)
        self.few = self.many[: _base.sized(100, 1000), :]

    def method(self) -> Any:
        return super().method()(self.many)

    def peer(self) -> Any:
        return self.system.potential(self.few)

    def error(self, answer: np.ndarray) -> float:
        """Return the largest error over the largest value."""
        return relative(answer[: self.few.shape[0]], self.peer())

    def track_ratio_to_peer(self) -> float:
        return against_part(self, self.few.shape[0] / CHECKS, 1)

    track_error_of_forces = None


class Lattice(_base.Comparison):
    """A cubic lattice of 16^3 charges, told as one cell with copies or as 4096 particles."""

    param_names = ("told", "alpha")
    params = (("cell", "particles"), (6.0, 12.0))
    repeats = 5

    def prepare(self, told: str, alpha: float) -> None:
        n = _base.sized(4, 16)
        a = 1.9 / n
        s = (np.arange(n) - 0.5 * (n - 1)) * a
        points = np.array(list(itertools.product(s, s, s)))
        self.system = System(points, np.ones(n**3), alpha)
        self.given, self.lattice = self.system[:2], None
        if told == "cell":
            self.given, self.lattice = (points[:1, :], np.ones(1)), [(n, a)] * 3
        self.x = draw(CUBE, _base.sized(100, 1000))

    def method(self) -> ChebTucker:
        alpha = self.system.alpha
        return long_range_potential(*self.given, CUBE, alpha=alpha, tol=1e-7, lattice=self.lattice)

    def error(self, answer: ChebTucker) -> float:
        """Return the largest error over the largest value."""
        return relative(answer(self.x), self.system.potential(self.x))

    def track_rank(self, told: str, alpha: float) -> float:
        """Return the largest rank."""
        return float(max(self.method().ranks))

    def track_megabytes(self, told: str, alpha: float) -> float:
        """Return the peak beyond the particles in MiB."""
        return _base.measure_tracemalloc_peak(self.method) / 2**20

    track_rank.unit = "columns"
    track_megabytes.unit = "MiB"
