"""Chebyshev-Tucker functions beside products of matrices, one write of the answer, and others.

Every object that is measured approximates one function of a few that the specification names: 30
Gaussians (ranks 27, 28, 28), 1/(1 + 25 r^2), sin(3 e^x + 4 y z). `chebyshev_sums` has the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import peers
import scipy.fft

from linalgkit import AccuracyWarning
from linalgkit.chebyshev import ChebTucker, chebtucker, sthosvd
from linalgkit.datasets import smooth_functions

from . import _base

ROOM = "chebyshev"

CUBE = ((-1.0, 1.0),) * 3
_PROBLEMS = {problem.name: problem for problem in smooth_functions()}
CHECKS = _base.sized(2000, 100_000)  # points at which an error is taken


def runge(x: Any, y: Any, z: Any) -> Any:
    """Return 1/(1 + 25 r^2)."""
    return 1 / (1 + 25 * (x * x + y * y + z * z))


def sine(x: Any, y: Any, z: Any) -> Any:
    """Return sin(3 e^x + 4 y z)."""
    return np.sin(3 * np.exp(x) + 4 * y * z)


def draw(domain: Sequence[tuple[float, float]], n: int, seed: int = 99) -> np.ndarray:
    """Return uniform points of a box, (n, d), in its interior."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(a, b, n) for a, b in domain])


def largest_error(T: ChebTucker, f: Callable[..., Any]) -> tuple[float, float]:
    """Return the largest error and the largest modulus of the function at fresh points."""
    x = draw(T.domain, CHECKS)
    exact = f(*x.T)
    return float(np.abs(T(x) - exact).max()), float(np.abs(exact).max())


def against_part(case: _base.Comparison, part: float, repeats: int) -> float:
    """Return the ratio of times to a rival that does a part of the work, extrapolated."""
    calls = {"method": case.method, "rival": case.peer}
    seconds = _base.interleaved(calls, {"method": case.repeats, "rival": repeats})
    return part * seconds["method"] / seconds["rival"]


# ------------------------------------------------------------------------------ forty functions


class Outcome(NamedTuple):
    """What became of one function at one tolerance."""

    error: float
    scale: float
    estimate: float
    is_resolved: bool


@cache
def outcomes(tol: float) -> list[Outcome]:
    """Build all functions at one tolerance and measure them at fresh points."""
    found = []
    for problem in _base.sized(smooth_functions()[::4], smooth_functions()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)  # counted below
            T = chebtucker(problem.function, problem.domain, tol=tol, vectorized="grid", rng=0)
        measured = largest_error(T, problem.function)
        found.append(Outcome(*measured, T.error_estimate, T.status == "converged"))
    return found


class Functions:
    """Forty functions of one to five variables, each at one tolerance."""

    timeout = _base.Measured.timeout
    param_names = ("tol",)
    params = (_base.sized((1e-4, 1e-10), (1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-13)),)

    def setup(self, tol: float) -> None:
        """Nothing to make beforehand."""

    def track_error(self, tol: float) -> float:
        """Return the largest error over tolerance times size."""
        return max(o.error / o.scale / tol for o in outcomes(tol))

    def track_unresolved(self, tol: float) -> float:
        """Return the number of functions that gave a warning."""
        return float(sum(not o.is_resolved for o in outcomes(tol)))

    def time_all(self, tol: float) -> None:
        outcomes.__wrapped__(tol)


class Estimates:
    """The estimates of forty functions at all tolerances."""

    timeout = _base.Measured.timeout

    def setup(self) -> None:
        """Nothing to make beforehand."""

    def track_outside(self) -> float:
        """Return the share of estimates that miss the true error by more than a factor of 10."""
        found = [o for tol in Functions.params[0] for o in outcomes(tol)]
        return float(np.mean([not o.error / 10 <= o.estimate <= 10 * o.error for o in found]))


# ---------------------------------------------------------------------------- from a callable


class Runge(_base.Comparison):
    """1/(1 + 25 r^2) to 1e-12, beside evaluating it as often in one call."""

    repeats = _base.sized(3, 31)

    def prepare(self) -> None:
        self.x = draw(CUBE, self.method().n_evals).T.copy()

    def method(self, tol: float = 1e-12, rng: int = 0) -> ChebTucker:
        return chebtucker(runge, CUBE, tol=tol, vectorized="grid", rng=rng)

    def primitive(self) -> Any:
        return runge(*self.x)

    def error(self, answer: ChebTucker) -> float:
        """Return the largest error over the tolerance."""
        return largest_error(answer, runge)[0] / 1e-12

    def track_evaluations(self) -> float:
        """Return the most evaluations of 20 seeds."""
        return float(max(self.method(rng=seed).n_evals for seed in range(_base.sized(2, 20))))

    def track_seconds(self) -> float:
        return _base.interleaved({"method": self.method}, self.repeats)["method"]

    def track_error_of_seeds(self) -> float:
        """Return the largest error of 50 seeds at a tolerance of 1e-6."""
        seeds = range(_base.sized(3, 50))
        return max(largest_error(self.method(1e-6, seed), runge)[0] for seed in seeds)

    track_seconds.unit = "s"
    track_evaluations.unit = "evaluations"


class Sine(_base.Comparison):
    """sin(3 e^x + 4 y z) to 1e-8, beside PyChebyshev's tensor train, told the degrees."""

    repeats = 5
    tol = 1e-8

    def prepare(self) -> None:
        self.seeds = range(_base.sized(3, 20))

    def method(self, rng: int = 0) -> ChebTucker:
        return chebtucker(sine, CUBE, tol=self.tol, vectorized="grid", rng=rng)

    def peer(self) -> Any:
        from pychebyshev import ChebyshevTT

        nodes = [m + 1 for m in self.method().degrees]
        train = ChebyshevTT(
            lambda x, _: float(sine(*x)), 3, list(CUBE), nodes, max_rank=20, tolerance=self.tol
        )
        train.build(verbose=False, seed=0)
        return train

    def error(self, answer: ChebTucker) -> float:
        """Return the largest error over the tolerance."""
        return largest_error(answer, sine)[0] / self.tol

    def evaluations(self) -> list[int]:
        return [self.method(seed).n_evals for seed in self.seeds]

    def track_evaluations(self) -> float:
        """Return the median of evaluations of 20 seeds."""
        return float(np.median(self.evaluations()))

    def track_most_evaluations(self) -> float:
        return float(max(self.evaluations()))

    def track_largest_error(self) -> float:
        """Return the largest error of 20 seeds over the tolerance."""
        return max(self.error(self.method(seed)) for seed in self.seeds)

    def track_evaluations_ratio_to_peer(self) -> float:
        return self.track_evaluations() / self.peer().total_build_evals

    def track_error_of_peer(self) -> float:
        """Return the largest error of the rival over the tolerance."""
        x = draw(CUBE, _base.sized(500, 5000))
        return float(np.abs(self.peer().eval_batch(x) - sine(*x.T)).max()) / self.tol

    track_evaluations.unit = track_most_evaluations.unit = "evaluations"


if not peers.installed("pychebyshev"):
    Sine.track_ratio_to_peer = None
    Sine.track_evaluations_ratio_to_peer = None
    Sine.track_error_of_peer = None


class Calculus(_base.Measured):
    """An integral known to 20 digits, and derivatives known in closed form."""

    exact = 4.28685406230184188268  # of 1/(1 + r^2) over the cube, from Chebfun's guide

    def prepare(self) -> None:
        self.x = draw(CUBE, CHECKS)

    def track_integral(self) -> float:
        """Return the absolute error of the integral of 1/(1 + r^2)."""
        f = _PROBLEMS["1/(1+r^2)"].function
        T = chebtucker(f, CUBE, tol=1e-14, vectorized="grid", rng=0)
        return abs(T.integrate() - self.exact)

    def track_derivative(self) -> float:
        """Return the largest error of a first derivative of sin(3 e^x + 4 y z)."""
        T = chebtucker(sine, CUBE, tol=1e-13, vectorized="grid", rng=0)
        x, y, z = self.x.T
        outer = np.cos(3 * np.exp(x) + 4 * y * z)
        exact = outer * np.stack([3 * np.exp(x), 4 * z, 4 * y])
        return max(float(np.abs(T.diff(k)(self.x) - exact[k]).max()) for k in range(3))


# ------------------------------------------------------------------------- tensors and points

_DEGREES = _base.sized((20, 32), (56, 128))


def chebyshev_points(m: int) -> np.ndarray:
    """Return the m points of the second kind, ascending."""
    return np.sin(np.pi * np.arange(1 - m, m, 2) / (2 * (m - 1)))


def gaussian_values(m: int) -> np.ndarray:
    """Return the 30 Gaussians at a tensor grid of Chebyshev points, ascending."""
    t = chebyshev_points(m)
    return _PROBLEMS["30 Gaussians"].function(t[:, None, None], t[:, None], t)


def gaussian_coefficients(m: int) -> np.ndarray:
    """Return their m^3 Chebyshev coefficients, by SciPy's cosine transform."""
    C = scipy.fft.dctn(gaussian_values(m)[::-1, ::-1, ::-1], type=1) / (m - 1) ** 3
    for k in range(3):
        np.moveaxis(C, k, 0)[[0, m - 1]] /= 2
    return np.ascontiguousarray(C)


class Compression(_base.Comparison):
    """Tucker by tolerance of 129^3 coefficients, beside the product of an unfolding by itself.

    NumPy takes that product as a symmetric one, half of a full one. Tensorly has no tolerance: it
    is told the ranks found here, at its own default of sweeps.
    """

    param_names = ("tol", "svd")
    params = ((1e-6, 1e-12), ("truncated_svd", "randomized_svd"))
    repeats = _base.sized(3, 31)

    def prepare(self, tol: float, svd: str) -> None:
        self.tol, self.svd = tol, svd
        self.C = gaussian_coefficients(_DEGREES[-1] + 1)
        self.ranks = list(self.method().ranks)

    def method(self) -> Any:
        return sthosvd(self.C, tol=self.tol)

    def primitive(self) -> Any:
        A = self.C.reshape(self.C.shape[0], -1)
        return A @ A.T

    def peer(self) -> Any:
        from tensorly.decomposition import tucker

        return tucker(self.C, rank=self.ranks, svd=self.svd, random_state=0)

    def relative_error(self, core: np.ndarray, factors: Sequence[np.ndarray]) -> float:
        """Return the error in the Frobenius norm over the norm."""
        built = np.einsum("abc,ia,jb,kc->ijk", core, *factors, optimize=True)
        return float(np.linalg.norm(built - self.C) / np.linalg.norm(self.C))

    def error(self, answer: Any) -> float:
        """Return the relative error over the tolerance."""
        return self.relative_error(answer.core, answer.factors) / self.tol

    def track_ratio_to_peer(self, tol: float, svd: str) -> float:
        return against_part(self, 1.0, 3)

    def track_error_ratio_to_peer(self, tol: float, svd: str) -> float:
        """Return the error over that of the rival, whose sweeps go on."""
        return self.error(self.method()) * tol / self.relative_error(*self.peer())


if not peers.installed("tensorly"):
    Compression.track_ratio_to_peer = None
    Compression.track_error_ratio_to_peer = None


def gaussians(degree: int) -> tuple[ChebTucker, np.ndarray]:
    """Return the 30 Gaussians to 1e-8 in a given degree, and all coefficients."""
    C = gaussian_coefficients(degree + 1)
    found = sthosvd(C, tol=1e-8)
    return ChebTucker(found.core, found.factors, CUBE), C


class Scattered(_base.Comparison):
    """Values at 1e5 points, beside the product of a basis with the core, 2048 points at a time.

    Rivals take the same polynomial, teneva as a tensor train to 1e-8, the others by all values or
    coefficients and at fewer points: their time is extrapolated. Teneva takes more a point the more
    points there are, and is given all.
    """

    param_names = ("degree", "rival")
    _most = {"numpy": 40, "teneva": CHECKS, "pychebyshev": 200}
    params = (_DEGREES, ("numpy", *peers.installed("teneva", "pychebyshev")))
    repeats = _base.sized(3, 15)
    chunk = 2048

    def prepare(self, degree: int, rival: str) -> None:
        self.T, self.C = gaussians(degree)
        self.x = draw(CUBE, CHECKS)
        self.few = self.x[: self._most[rival], :]
        r = self.T.ranks
        self.rows = np.random.default_rng(0).standard_normal((CHECKS, r[0]))
        self.core = np.ascontiguousarray(self.T.core.reshape(r[0], -1))
        self.buffer = np.zeros((self.chunk, r[1] * r[2]))
        self.rival = getattr(self, f"_{rival}")()

    def method(self) -> Any:
        return self.T(self.x)

    def primitive(self) -> Any:
        """Multiply chunk by chunk into a buffer made before."""
        for i in range(0, CHECKS, self.chunk):
            rows = self.rows[i : i + self.chunk, :]
            np.matmul(rows, self.core, out=self.buffer[: rows.shape[0], :])

    def written(self) -> Any:
        """Multiply chunk by chunk and keep it all, as the specification measured it."""
        starts = range(0, CHECKS, self.chunk)
        return [self.rows[i : i + self.chunk, :] @ self.core for i in starts]

    def track_ratio_to_written(self, degree: int, rival: str) -> float:
        return self.ratio(self.written)

    def peer(self) -> Any:
        return self.rival()

    def track_ratio_to_peer(self, degree: int, rival: str) -> float:
        return against_part(self, self.few.shape[0] / CHECKS, 3)

    def error(self, answer: np.ndarray) -> float:
        """Return the largest error over the largest value."""
        exact = _PROBLEMS["30 Gaussians"].function(*self.x.T)
        return float(np.abs(answer - exact).max() / np.abs(exact).max())

    def _numpy(self) -> Callable[[], Any]:
        return lambda: np.polynomial.chebyshev.chebval3d(*self.few.T, self.C)

    def _teneva(self) -> Callable[[], Any]:
        import teneva

        values = gaussian_values(self.C.shape[0])[::-1, ::-1, ::-1]
        train = teneva.func_int(teneva.svd(np.ascontiguousarray(values), 1e-8))
        return lambda: teneva.func_get(self.few, train, -1.0, 1.0)

    def _pychebyshev(self) -> Callable[[], Any]:
        from pychebyshev import ChebyshevApproximation as Approximation

        shape = list(self.C.shape)
        t = Approximation.nodes(3, list(CUBE), shape)["nodes_per_dim"]
        values = _PROBLEMS["30 Gaussians"].function(*np.ix_(*t))
        found = Approximation.from_values(values, 3, list(CUBE), shape)
        return lambda: found.vectorized_eval_batch(self.few, [0, 0, 0])


class Grid(_base.Comparison):
    """Values on a grid of 256^3, beside writing as many numbers into a new array."""

    param_names = ("degree",)
    params = (_DEGREES,)
    repeats = _base.sized(3, 15)

    def prepare(self, degree: int) -> None:
        self.T, self.C = gaussians(degree)
        self.t = np.linspace(-1.0, 1.0, _base.sized(32, 256))

    def method(self) -> Any:
        return self.T.grid(self.t, self.t, self.t)

    def primitive(self) -> Any:
        return np.full((self.t.size,) * 3, 1.0)

    def peer(self) -> Any:
        return np.polynomial.chebyshev.chebgrid3d(self.t, self.t, self.t, self.C)

    def track_ratio_to_peer(self, degree: int) -> float:
        return against_part(self, 1.0, 1)

    def error(self, answer: np.ndarray) -> float:
        """Return the largest error over the largest value."""
        exact = _PROBLEMS["30 Gaussians"].function(*np.ix_(self.t, self.t, self.t))
        return float(np.abs(answer - exact).max() / np.abs(exact).max())
