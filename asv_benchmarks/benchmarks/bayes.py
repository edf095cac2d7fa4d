"""Kronecker sparse Bayesian learning beside products along modes, the paper's methods and others.

The draws of a statistical figure are made once a process: all its figures read the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, reduce
from importlib.util import find_spec
from typing import Any

import numpy as np
import peers
from peers.dense_sbl import dense_sbl
from peers.kro_sbl import covariance_e_step, irs_options, kro_sbl

from linalgkit.bayes import KroneckerOperator, kron_omp, kron_sbl
from linalgkit.bayes._model import Model, prepare
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._posterior import Posterior
from linalgkit.datasets import irs_channel, kronecker_sparse

from . import _base

ROOM = "bayes"

# ------------------------------------------------------------------------- a million unknowns

_SHAPES = _base.sized(
    {"million": ((30,) * 3, (20,) * 3, (2,) * 3), "billion": ((60,) * 3, (20,) * 3, (2,) * 3)},
    {"million": ((100,) * 3, (60,) * 3, (5,) * 3), "billion": ((1000,) * 3, (150,) * 3, (5,) * 3)},
)
_DTYPES = {"million": "complex128", "billion": "float64"}


class Large(_base.Comparison):
    """From nothing told to the posterior mean, beside one chain of products along the modes."""

    param_names = ("unknowns",)
    params = (("million", "billion"),)
    repeats = {"method": 5, "rival": 15}

    def prepare(self, unknowns: str) -> None:
        self.problem = kronecker_sparse(
            *_SHAPES[unknowns], snr_db=20.0, dtype=_DTYPES[unknowns], rng=0
        )
        rng = np.random.default_rng(0)
        y = self.problem.y
        self.squares = [rng.standard_normal((m, m)).astype(y.dtype) for m in y.shape]
        self.buffers = np.zeros_like(y), np.zeros_like(y)

    def method(self) -> Any:
        return kron_sbl(self.problem.factors, self.problem.y)

    def primitive(self) -> Any:
        """Multiply the data by a square matrix along each of three modes, in buffers made before.

        Fresh temporaries take twice as long where the data are large, which would flatter us.
        """
        first, second, third = self.squares
        one, two = self.buffers
        y = self.problem.y
        np.matmul(first, y.reshape(y.shape[0], -1), out=one.reshape(y.shape[0], -1))
        np.matmul(second, one, out=two)
        rows = (-1, y.shape[2])
        np.matmul(two.reshape(rows), third.T, out=one.reshape(rows))
        return one

    def error(self, answer: Any) -> float:
        """Return the squared error over that of least squares on the true support."""
        found = self.problem.nmse(answer.coef, answer.support)
        return found / self.problem.nmse(self.problem.oracle())

    def track_support(self, unknowns: str) -> float:
        """Return one less the support rate: 0 where the support is exact."""
        return 1.0 - self.problem.support_rate(self.method().support)

    def track_noise(self, unknowns: str) -> float:
        """Return the relative error of the noise variance."""
        return abs(self.method().noise_var / self.problem.noise_var - 1.0)

    def track_megabytes(self, unknowns: str) -> float:
        """Return the peak beyond the data in MB."""
        return _base.measure_tracemalloc_peak(self.method) / 1e6

    def track_memory(self, unknowns: str) -> float:
        """Return the peak beyond the data over the bytes of y."""
        return _base.measure_tracemalloc_peak(self.method) / self.problem.y.nbytes

    track_support.unit = "1 - rate"
    track_megabytes.unit = "MB"
    track_memory.unit = "ratio"


# -------------------------------------------------------------------------- beside dense rivals

_PAPER = _base.sized(
    ((8, 8, 8), (4, 6, 8), (2, 2, 2)), ((15, 15, 15), (8, 12, 15), (3, 3, 3))
)  # the paper's synthetic experiment


class EStep(_base.Comparison):
    """Mean and variances under all columns, beside forming the N x N covariance.

    The rival has the dense product of the factors before the clock starts.
    """

    repeats = {"method": 61, "rival": 3}

    def prepare(self) -> None:
        problem = kronecker_sparse(*_PAPER, snr_db=25.0, rng=0)
        self.model = prepare(kronecker_data(problem.factors, problem.y)).model
        rng = np.random.default_rng(0)
        self.gammas = [rng.uniform(0.1, 1.0, n) for n in self.model.widths]
        self.noise = 0.1
        self.dictionary = reduce(np.kron, self.model.factors)

    def method(self) -> Any:
        posterior = Posterior.of(self.model, self.gammas, self.noise)
        return posterior.mean(), posterior.variance()

    def peer(self) -> Any:
        model = self.model
        return covariance_e_step(
            model.factors, model.Y, self.gammas, self.noise, dictionary=self.dictionary
        )

    def error(self, answer: Any) -> float:
        """Return the largest difference from the rival over its largest number."""
        pairs = zip(answer, self.peer(), strict=True)
        return max(
            float(np.abs(ours.reshape(-1) - theirs).max() / np.abs(theirs).max())
            for ours, theirs in pairs
        )


class WholeSolve(_base.Comparison):
    """A solution beside classical sparse Bayesian learning with the dense product.

    Both are told the noise. The rival is EM by one Cholesky decomposition a step of the M x M
    covariance of the data, M x N products included, until fewer than M columns are left, then of
    that order. At its own pruning (1e-3) it may lose small entries and stay above our error;
    milder pruning takes longer and ends, measured here, with a larger error.
    """

    repeats = {"method": 15, "rival": 1}

    def prepare(self) -> None:
        self.problem = kronecker_sparse(*_PAPER, snr_db=25.0, rng=0)
        self.dictionary = reduce(np.kron, self.problem.factors)

    def method(self) -> Any:
        problem = self.problem
        return kron_sbl(problem.factors, problem.y, noise_var=problem.noise_var)

    def peer(self) -> Any:
        problem = self.problem
        return dense_sbl(self.dictionary, problem.y.ravel(), noise_var=problem.noise_var)

    def error(self, answer: Any) -> float:
        """Return the squared error over that of least squares on the true support."""
        found = self.problem.nmse(answer.coef, answer.support)
        return found / self.problem.nmse(self.problem.oracle())

    def track_error_ratio_to_peer(self) -> float:
        """Return the squared error over that of the rival."""
        shape = tuple(H.shape[1] for H in self.problem.factors)
        rival, dense = self.peer(), np.zeros(int(np.prod(shape)))
        dense[rival.support] = rival.coef
        theirs = self.problem.nmse(dense.reshape(shape), [np.arange(n) for n in shape])
        answer = self.method()
        return self.problem.nmse(answer.coef, answer.support) / theirs


# ---------------------------------------------------------------------- accuracy of the E-step

_WIDE = {2: ((3, 4), (5, 6)), 3: ((2, 3, 2), (3, 4, 3)), 4: ((2, 2, 2, 2), (3, 3, 2, 3))}
_TALL = {2: ((5, 6), (3, 4)), 3: ((3, 4, 3), (2, 3, 2)), 4: ((3, 3, 2, 3), (2, 2, 2, 2))}


def small_model(modes: int, snr_db: float, is_tall: bool, dtype: str) -> tuple[Any, ...]:
    """Return a model, variances over three decades, and a noise variance."""
    sizes, widths = (_TALL if is_tall else _WIDE)[modes]
    problem = kronecker_sparse(
        widths, sizes, [2] * modes, snr_db=snr_db, dtype=dtype, rng=100 * modes + int(snr_db)
    )
    model = prepare(kronecker_data(problem.factors, problem.y)).model
    rng = np.random.default_rng(modes)
    gammas = [10.0 ** rng.uniform(-3.0, 0.0, n) for n in widths]
    return model, gammas, 10.0 ** (-snr_db / 10) * model.energy / model.total


def posterior_by_mpmath(model: Model, gammas: Any, noise: float) -> tuple[Any, Any]:
    """Return mean and variances by dense matrices of sixty digits."""
    from mpmath import mp

    with mp.workdps(60):
        H = reduce(_kron, [mp.matrix(A.tolist()) for A in model.factors])
        g = reduce(_kron, [mp.matrix(v.tolist()) for v in gammas])
        y = mp.matrix(model.Y.reshape(-1).tolist())
        G = mp.diag(list(g)) * H.transpose_conj()
        K = G * mp.inverse(H * G + mp.mpf(noise) * mp.eye(H.rows))
        share = [
            g[j] - mp.fsum(K[j, m] * mp.conj(G[j, m]) for m in range(H.rows)) for j in range(H.cols)
        ]
        mean = np.asarray([complex(v) for v in K * y])
        return mean, np.asarray([float(mp.re(v)) for v in share])


def _kron(A: Any, B: Any) -> Any:
    """Return the Kronecker product in mpmath's numbers."""
    from mpmath import mp

    C = mp.matrix(A.rows * B.rows, A.cols * B.cols)
    for i in range(C.rows):
        for j in range(C.cols):
            C[i, j] = A[i // B.rows, j // B.cols] * B[i % B.rows, j % B.cols]
    return C


def posterior_errors(case: tuple[Any, ...]) -> tuple[float, float]:
    """Return the error of the mean over its largest entry, and the largest of a variance."""
    mean, variance = posterior_by_mpmath(*case)
    posterior = Posterior.of(*case)
    e_mean = np.abs(posterior.mean().reshape(-1) - mean).max() / np.abs(mean).max()
    return float(e_mean), float(np.abs(posterior.variance().reshape(-1) / variance - 1).max())


class Posteriors:
    """Mean and variances against sixty digits: wide and tall, real and complex."""

    param_names = ("modes", "snr_db")
    params = ((2, 3, 4), (0, 40, 80))

    def errors(self, modes: int, snr_db: float) -> list[tuple[float, float]]:
        """Return the errors of the four cases."""
        return [
            posterior_errors(small_model(modes, snr_db, is_tall, dtype))
            for is_tall in (False, True)
            for dtype in ("float64", "complex128")
        ]

    def setup(self, *params: Any) -> None:
        """Nothing to make beforehand."""

    def track_mean(self, modes: int, snr_db: float) -> float:
        return max(mean for mean, _ in self.errors(modes, snr_db))

    def track_variance(self, modes: int, snr_db: float) -> float:
        return max(variance for _, variance in self.errors(modes, snr_db))


if not find_spec("mpmath"):
    del Posteriors


# --------------------------------------------------------------------------------- many draws


def solved(problem: Any, solve: Callable[[Any], Any], error: str = "nmse") -> tuple[float, ...]:
    """Return error, support rate and seconds of a solver with `support` and `coef`."""
    start = time.perf_counter()
    answer = solve(problem)
    seconds = time.perf_counter() - start
    rate = problem.support_rate(answer.support)
    return getattr(problem, error)(answer.coef, answer.support), rate, seconds


def ours(problem: Any) -> Any:
    """Solve with nothing told."""
    return kron_sbl(problem.factors, problem.y)


def ours_of_known_noise(problem: Any) -> Any:
    """Solve with the noise variance told, as to the paper's methods."""
    return kron_sbl(problem.factors, problem.y, noise_var=problem.noise_var)


def published(method: str) -> Callable[[Any], Any]:
    """Return one of the paper's methods as published for its synthetic data."""
    return lambda problem: kro_sbl(
        problem.factors, problem.y, noise_var=problem.noise_var, method=method
    )


def published_irs(method: str, snr_db: float, **options: Any) -> Callable[[Any], Any]:
    """Return one of the paper's methods as published for its channels."""
    options = {**irs_options(method, snr_db), **options}
    return lambda problem: kro_sbl(
        problem.factors, problem.y, noise_var=problem.noise_var, method=method, **options
    )


class Draws(_base.Measured):
    """Figures over many draws at one ratio of signal to noise."""

    param_names = ("snr_db",)

    def prepare(self, snr_db: float) -> None:
        self.snr_db = snr_db


@cache
def generic_draws(snr_db: float, draws: int) -> np.ndarray:
    """Return error, support rate, seconds and the oracle's error, a row a draw."""
    rows = []
    for seed in range(draws):
        problem = kronecker_sparse(
            (15, 15, 15), (8, 12, 15), (3, 3, 3), snr_db=snr_db, rng=20_000 + seed
        )
        rows.append((*solved(problem, ours), problem.nmse(problem.oracle())))
    return np.asarray(rows)


class GenericCore(Draws):
    """Independent coefficients, neither their number nor the noise told (15^3 from 8 12 15).

    The draws are the same at every ratio but for the scale of the noise: the four figures are no
    independent confirmations of one another.
    """

    params = ((15, 20, 25, 30),)

    def draws(self) -> np.ndarray:
        return generic_draws(self.snr_db, _base.sized(3, 200))

    def track_excess(self, snr_db: float) -> float:
        """Return the mean error over the mean error of least squares on the true support."""
        error, *_, oracle = self.draws().mean(axis=0)
        return float(error / oracle)

    def track_support(self, snr_db: float) -> float:
        """Return one less the mean support rate."""
        return float((1.0 - self.draws()[:, 1]).mean())

    def track_seconds(self, snr_db: float) -> float:
        return float(np.median(self.draws()[:, 2]))

    track_seconds.unit = "s"


_RANK_ONE = {
    "kron_sbl": ours_of_known_noise,
    "am": published("am"),
    "svd": published("svd"),
}


@cache
def rank_one_draws(snr_db: float, method: str, draws: int) -> np.ndarray:
    """Return error, support rate, seconds and the oracle's error, a row a draw."""
    rows = []
    for seed in range(draws):
        problem = kronecker_sparse(
            (15, 15, 15), (8, 12, 15), (3, 3, 3), snr_db=snr_db, rank_one=True, rng=40_000 + seed
        )
        rows.append((*solved(problem, _RANK_ONE[method]), problem.nmse(problem.oracle())))
    return np.asarray(rows)


class RankOneData(Draws):
    """The paper's synthetic data, whose x is of rank one, the noise told to all."""

    params = ((5, 10, 15, 20, 25, 30),)

    def draws(self, method: str = "kron_sbl") -> np.ndarray:
        return rank_one_draws(self.snr_db, method, _base.sized(2, 200))

    def track_ratio_to_peer(self, snr_db: float) -> float:
        """Return the mean error over that of the better of AM-KroSBL and SVD-KroSBL."""
        rivals = min(float(self.draws(m)[:, 0].mean()) for m in ("am", "svd"))
        return float(self.draws()[:, 0].mean()) / rivals

    def track_failures(self, snr_db: float) -> float:
        """Return the share of draws with ten times the error of the oracle."""
        error, *_, oracle = self.draws().T
        return float(np.mean(error > 10 * oracle))

    def track_seconds(self, snr_db: float) -> float:
        return float(np.median(self.draws()[:, 2]))

    track_seconds.unit = "s"


def _channel_solver(name: str, snr_db: float) -> Callable[[Any], Any]:
    """Return a solver by its name in `Channels.methods`."""
    if name == "kron_sbl":
        return ours_of_known_noise
    method, _, beta = name.partition("-")
    return published_irs(method, snr_db, **({"beta": float(beta)} if beta else {}))


@cache
def channel_draws(snr_db: float, name: str, draws: int) -> np.ndarray:
    """Return channel error, support rate and seconds, a row a channel."""
    solve = _channel_solver(name, snr_db)
    problems = (irs_channel(snr_db=snr_db, rng=60_000 + seed) for seed in range(draws))
    return np.asarray([solved(p, solve, "channel_error") for p in problems])


class Channels(Draws):
    """Radio channels over a reflecting surface, each with its own pilots, the noise told to all.

    In draw 17 the pilots make two of the user's angles parallel: nobody can tell them apart, and
    it stays in the means, which it dominates at high ratios.
    """

    params = ((4, 8, 12, 16, 20),)
    methods = ("kron_sbl", "am", "svd", "pc-0.8", "pc-0.5")

    def draws(self, name: str = "kron_sbl") -> np.ndarray:
        return channel_draws(self.snr_db, name, _base.sized(2, 50))

    def mean_error(self, name: str = "kron_sbl") -> float:
        return float(self.draws(name)[:, 0].mean())

    def track_error(self, snr_db: float) -> float:
        return self.mean_error()

    def track_ratio_to_peer(self, snr_db: float) -> float:
        """Return the mean error over that of the better of AM-KroSBL and SVD-KroSBL."""
        return self.mean_error() / min(map(self.mean_error, ("am", "svd")))

    def track_ratio_to_coupled(self, snr_db: float) -> float:
        """Return the mean error over that of the better of two PC-KroSBL."""
        return self.mean_error() / min(map(self.mean_error, ("pc-0.8", "pc-0.5")))

    def track_seconds(self, snr_db: float) -> float:
        return float(np.median(self.draws()[:, 2]))

    track_seconds.unit = "s"


@cache
def snapshot_draws(snr_db: float, snapshots: int, draws: int) -> np.ndarray:
    """Return error, support rate, and seconds, a row a draw."""
    rows = []
    for seed in range(draws):
        problem = kronecker_sparse(
            (30, 40), (10, 12), (4, 5), snr_db=snr_db, snapshots=snapshots, dtype="complex128",
            rng=80_000 + seed,
        )  # fmt: skip
        rows.append(solved(problem, ours))
    return np.asarray(rows)


class Snapshots(Draws):
    """Several snapshots of one support, complex, the noise unknown (30 x 40 from 10 x 12)."""

    param_names = ("snr_db", "snapshots")
    params = ((5,), (16,))

    def prepare(self, snr_db: float, snapshots: int) -> None:
        self.draws = snapshot_draws(snr_db, snapshots, _base.sized(3, 100))

    def track_missed(self, snr_db: float, snapshots: int) -> float:
        """Return the share of draws whose support is not exact."""
        return float(np.mean(self.draws[:, 1] < 1.0))


# ------------------------------------------------------------------------------ other people's


def _small(snr_db: float = 25.0) -> Any:
    """Draw a problem that dense solvers can take."""
    shape = _base.sized(((8, 10), (6, 7), (2, 2)), ((20, 30), (12, 16), (3, 3)))
    return kronecker_sparse(*shape, snr_db=snr_db, rng=0)


class Greedy(_base.Comparison):
    """A solution with nothing told beside `kron_omp`, told the sparsity or the noise."""

    param_names = ("told",)
    params = (("sparsity", "noise"),)
    repeats = 15

    def prepare(self, told: str) -> None:
        problem = self.problem = kronecker_sparse(*_PAPER, snr_db=25.0, rng=0)
        level = float(np.sqrt(problem.y.size * problem.noise_var))
        self.options: dict[str, Any] = {"noise_norm": level}
        if told == "sparsity":
            self.options = {"n_nonzero": [s.size for s in problem.support]}

    def method(self) -> Any:
        return kron_sbl(self.problem.factors, self.problem.y)

    def peer(self) -> Any:
        return kron_omp(self.problem.factors, self.problem.y, **self.options)

    def error(self, answer: Any) -> float:
        """Return the squared error over that of the rival."""
        theirs = self.peer()
        return self.problem.nmse(answer.coef, answer.support) / self.problem.nmse(
            theirs.coef, theirs.support
        )


class ScikitLearn(_base.Comparison):
    """A solution beside dense solvers of scikit-learn, columns normalised for them."""

    param_names = ("rival",)
    params = (("ard", "omp"),)
    repeats = {"method": 15, "rival": 3}

    def prepare(self, rival: str) -> None:
        self.problem, self.rival = _small(), rival
        A = reduce(np.kron, self.problem.factors)
        self.norms = np.linalg.norm(A, axis=0)
        self.A = A / self.norms

    def method(self) -> Any:
        return kron_sbl(self.problem.factors, self.problem.y)

    def peer(self) -> Any:
        from sklearn.linear_model import ARDRegression, OrthogonalMatchingPursuit

        count = self.problem.coef.size
        model = (
            ARDRegression(fit_intercept=False)
            if self.rival == "ard"
            else OrthogonalMatchingPursuit(n_nonzero_coefs=count, fit_intercept=False)
        )
        return model.fit(self.A, self.problem.y.ravel()).coef_ / self.norms

    def error(self, answer: Any) -> float:
        """Return the squared error over that of the rival."""
        shape = [H.shape[1] for H in self.problem.factors]
        theirs = self.problem.nmse(self.peer().reshape(shape), [np.arange(n) for n in shape])
        return self.problem.nmse(answer.coef, answer.support) / theirs


class Matvec(_base.Comparison):
    """The dense operator's product with a vector, beside its two matrix products and pylops."""

    repeats = 101

    def prepare(self) -> None:
        shapes = _base.sized([(8, 9), (7, 8)], [(100, 200), (120, 180)])
        rng = np.random.default_rng(0)
        self.first, self.second = (rng.standard_normal(s) for s in shapes)
        self.x = rng.standard_normal(self.first.shape[1] * self.second.shape[1])
        self.operator = KroneckerOperator([self.first, self.second])
        if peers.has_pylops():
            from pylops import Kronecker, MatrixMult

            self.rival = Kronecker(MatrixMult(self.first), MatrixMult(self.second))

    def method(self) -> Any:
        return self.operator.matvec(self.x)

    def primitive(self) -> Any:
        """Multiply the vector, as a matrix, from both sides."""
        X = self.x.reshape(self.first.shape[1], -1)
        return self.first @ X @ self.second.T

    def peer(self) -> Any:
        return self.rival @ self.x


if not peers.has_pylops():
    Matvec.track_ratio_to_peer = None
