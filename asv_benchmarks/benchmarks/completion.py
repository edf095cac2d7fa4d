"""Matrix completion: sweeps beside products with a sparse matrix and other libraries; memory.

All times are those of the processor, one thread, but for `Threads`. The matrix has 20000 rows,
10000 columns and 4 million entries in columns after Zipf's law. `completion_accuracy` has the
errors.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
import warnings
from functools import cache
from typing import Any

import numpy as np
import peers
import scipy.sparse

from linalgkit import AccuracyWarning
from linalgkit.completion import MatrixCompletion, complete_matrix
from linalgkit.completion._factors import Factors
from linalgkit.completion._fit import Request, offsets
from linalgkit.completion._observed import observe
from linalgkit.completion._start import random_start, svd_start
from linalgkit.completion._sweeps import Settings, Sweeper
from linalgkit.datasets import LowRankEntries, low_rank_entries

from . import _base

ROOM = "completion"

SHAPE, ENTRIES = _base.sized(((2000, 1000), 300_000), ((20_000, 10_000), 4_000_000))
RANK, NOISE = 20, 0.5
_RANKS = _base.sized((20, 50), (20, 50, 100, 200))
_LARGEST = _RANKS[-1]
_REPEATS = _base.sized(3, 5)


@cache
def ratings(skew: float = 0.7, dtype: str = "float32") -> LowRankEntries:
    """Return the noisy problem of skewed columns: entries of root mean square 1, noise 0.5."""
    return low_rank_entries(SHAPE, RANK, ENTRIES, skew=skew, noise=NOISE, dtype=dtype, rng=0)


def quietly(call: Any) -> Any:
    """Call without the warning that the sweeps stopped where they were told to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return call()


class Bench:
    """One set of entries and factors a few sweeps away from the start."""

    def __init__(self, skew: float, dtype: str, k: int, solver: str = "pcg", n_threads: int = 1):
        self.observed = observe(ratings(skew, dtype).matrix, n_threads=n_threads)
        self.sweeper = Sweeper(self.observed, Settings(solver=solver))
        rng = np.random.default_rng(0)
        f = random_start(self.observed, offsets(self.observed, Request(k, k)), k, rng, 1.0)
        self.ridge = self.sweeper.first_ridge(f)
        self.factors = self.sweep(f)

    def sweep(self, f: Factors | None = None, steps: int = 3) -> Factors:
        """Return the factors after one step for the rows and one for the columns."""
        self.sweeper.plan.steps = steps
        return self.sweeper.sweep(self.factors if f is None else f, self.ridge)


# ---------------------------------------------------------------------------- beside a product


class Sweep(_base.Comparison):
    """A sweep, both sides, beside one product of scipy's CSR matrix of the entries with (n, k)."""

    param_names = ("k", "dtype", "steps")
    params = (_RANKS, ("float32", "float64"), (3, 1))
    timer = time.process_time
    repeats = _REPEATS

    def prepare(self, k: int, dtype: str, steps: int) -> None:
        self.bench, self.steps = Bench(0.7, dtype, k), steps
        self.matrix = ratings(0.7, dtype).matrix
        self.X = np.random.default_rng(0).standard_normal((SHAPE[1], k)).astype(dtype)

    def method(self) -> Any:
        return self.bench.sweep(steps=self.steps).U

    def primitive(self) -> Any:
        return self.matrix @ self.X


class Rank(_base.Measured):
    """How the time of a sweep grows with the rank, and beside our own factorisations a line."""

    param_names = ("dtype",)
    params = (("float32", "float64"),)

    def prepare(self, dtype: str) -> None:
        self.dtype = dtype

    def track_growth(self, dtype: str) -> float:
        """Return the time at four times the rank over that at the rank."""
        small, large = (Bench(0.7, dtype, k) for k in (_LARGEST // 4, _LARGEST))
        calls = {"small": lambda: small.sweep().U, "large": lambda: large.sweep().U}
        seconds = _base.interleaved(calls, _REPEATS, time.process_time)
        return seconds["large"] / seconds["small"]

    def track_ratio_to_direct(self, dtype: str) -> float:
        """Return the time over that of ``solver="direct"``, at the largest rank."""
        ours, direct = (Bench(0.7, dtype, _LARGEST, solver) for solver in ("pcg", "direct"))
        calls = {"ours": lambda: ours.sweep().U, "direct": lambda: direct.sweep().U}
        seconds = _base.interleaved(calls, {"ours": _REPEATS, "direct": 1}, time.process_time)
        return seconds["ours"] / seconds["direct"]


class Start(_base.Comparison):
    """The start by singular vectors beside a sweep."""

    timer = time.process_time
    repeats = _REPEATS

    def prepare(self) -> None:
        self.bench = Bench(0.7, "float32", RANK)
        self.model = offsets(self.bench.observed, Request(RANK, RANK))

    def method(self) -> Any:
        return svd_start(self.bench.observed, self.model, RANK, np.random.default_rng(0)).U

    def primitive(self) -> Any:
        return self.bench.sweep().U


# ------------------------------------------------------------------------- beside other libraries

_FEW, _MANY = 1, 5  # sweeps, of three steps as theirs; their difference is free of the start


def cmfrec_model(k: int, alpha: float, sweeps: int) -> Any:
    """Return cmfrec's model of the same problem: three steps of conjugate gradients a line."""
    from cmfrec import CMF

    return CMF(
        k=k, lambda_=alpha, method="als", use_cg=True, max_cg_steps=3, finalize_chol=False,
        user_bias=False, item_bias=False, center=False, niter=sweeps, use_float=True, nthreads=1,
        verbose=False, precompute_for_predictions=False, random_state=0,
    )  # fmt: skip


class OtherLibraries(_base.Measured):
    """A sweep beside cmfrec's and implicit's, by the difference of two fits in each library.

    implicit minimises another loss, over all entries and weighted, at the price of the same passes.
    """

    param_names = ("peer", "k")
    params = (peers.installed("cmfrec", "implicit"), (RANK, 64))
    alpha = 5.0

    def prepare(self, peer: str, k: int) -> None:
        self.k = k
        self.matrix = ratings().matrix
        self.triples = self.matrix.tocoo()
        self.positive = scipy.sparse.csr_matrix(abs(self.matrix))  # as implicit asks for

    def warm(self) -> None:
        self.ours(1)

    def ours(self, sweeps: int) -> Any:
        found = quietly(
            lambda: complete_matrix(
                self.matrix, self.k, alpha=self.alpha, init="random", tol=0.0, max_sweeps=sweeps,
                n_threads=1, rng=0,
            )
        )  # fmt: skip
        assert found.sweeps == sweeps
        return found.U

    def cmfrec(self, sweeps: int) -> Any:
        cmfrec_model(self.k, self.alpha, sweeps).fit(self.triples)

    def implicit(self, sweeps: int) -> Any:
        from implicit.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(
            factors=self.k, regularization=self.alpha, iterations=sweeps, use_cg=True,
            num_threads=1, random_state=0,
        )  # fmt: skip
        model.fit(self.positive, show_progress=False)

    def track_ratio_to_peer(self, peer: str, k: int) -> float:
        calls = {
            (name, sweeps): lambda run=run, sweeps=sweeps: run(sweeps)
            for name, run in (("ours", self.ours), ("theirs", getattr(self, peer)))
            for sweeps in (_FEW, _MANY)
        }
        seconds = _base.interleaved(calls, _REPEATS, time.process_time)
        ours, theirs = (seconds[n, _MANY] - seconds[n, _FEW] for n in ("ours", "theirs"))
        return ours / theirs

    def time_ours(self, peer: str, k: int) -> None:
        self.ours(_MANY)


if not peers.installed("cmfrec", "implicit"):
    del OtherLibraries


# -------------------------------------------------------------------------------------- memory

_WAYS = {
    "alpha": {"alpha": 5.0},
    "shrink": {"shrink": True},
    "polish": {},
}
_HUGE = _base.sized(
    "(50_000, 50_000), 8, 500_000, dtype='float64', rng=0",
    "(10**6, 10**6), 8, 10**7, dtype='float64', rng=0",
)
_SCRIPT = f"""
import resource, warnings
warnings.simplefilter("ignore")
from linalgkit.completion import complete_matrix
from linalgkit.datasets import low_rank_entries
problem = low_rank_entries({_HUGE})
found = complete_matrix(problem.matrix, 8, alpha=1e-3, max_sweeps=5, n_threads=1, rng=0)
assert found.sweeps == 5
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Memory(_base.Measured):
    """Peak beyond the caller's CSR matrix over 2.2 of it and ``3 (m + n) k`` numbers."""

    param_names = ("way",)
    params = (tuple(_WAYS),)

    def prepare(self, way: str) -> None:
        self.options = _WAYS[way]
        self.matrix = ratings().matrix

    def solve(self) -> Any:
        return quietly(
            lambda: complete_matrix(
                self.matrix, RANK, max_sweeps=20, n_threads=1, rng=0, **self.options
            )
        )

    def warm(self) -> None:
        self.solve()

    def track_ratio_to_formula(self, way: str) -> float:
        R = self.matrix
        stored = R.data.nbytes + R.indices.nbytes + R.indptr.nbytes
        bound = 2.2 * stored + 3 * sum(SHAPE) * RANK * R.dtype.itemsize
        return _base.measure_tracemalloc_peak(self.solve) / bound

    def peakmem_solve(self, way: str) -> None:
        self.solve()


class Huge:
    """A million rows and columns, ten million entries: the whole of another process."""

    timeout = _base.Measured.timeout

    def track_gigabytes(self) -> float:
        """Return the largest resident memory, Python and the making of the problem included."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], check=True, capture_output=True, env=environment
        )
        kilobyte = 1 if sys.platform == "darwin" else 1024
        return int(done.stdout) * kilobyte / 1e9

    def setup(self) -> None:
        """Nothing to make beforehand."""

    track_gigabytes.unit = "GB"


# ------------------------------------------------------------------------- threads, new entries


class Threads(_base.Measured):
    """Two threads beside one on columns after Zipf's law of exponent one; time of the clock."""

    param_names = ("dtype",)
    params = (("float32",),)

    def prepare(self, dtype: str) -> None:
        self.one, self.two = (Bench(1.0, dtype, RANK, n_threads=t) for t in (1, 2))

    def track_ratio(self, dtype: str) -> float:
        """Return the time of two threads over that of one."""
        calls = {"one": lambda: self.one.sweep().U, "two": lambda: self.two.sweep().U}
        seconds = _base.interleaved(calls, _base.sized(3, 15))
        return seconds["two"] / seconds["one"]

    def track_difference(self, dtype: str) -> float:
        """Return the largest difference of the factors: 0 where all bits are the same."""
        pairs = [(f.U, f.W) for f in (self.one.sweep(), self.two.sweep())]
        return max(float(np.abs(a - b).max()) for a, b in zip(*pairs, strict=True))


class NewEntries(_base.Measured):
    """One entry in a hundred comes later: `partial_fit` beside fitting all of them."""

    def prepare(self) -> None:
        self.problem = ratings()
        rows, cols, values, shape = self.problem.triples()
        order = np.random.default_rng(1).permutation(values.size)
        first, late = np.split(order, [values.size - values.size // 100])
        self.late = rows[late], cols[late], values[late]
        self.all = rows, cols, values, shape
        self.model = self.fresh()
        self.model.partial_fit(rows[first], cols[first], values[first], shape=shape)
        assert self.model.result_.rank > 0

    def fresh(self) -> MatrixCompletion:
        return MatrixCompletion(RANK, shrink=True, n_threads=1, rng=0)

    def added(self) -> Any:
        model = copy.deepcopy(self.model)
        start = time.process_time()
        found = model.partial_fit(*self.late).result_
        return found, time.process_time() - start

    def refitted(self) -> Any:
        start = time.process_time()
        found = self.fresh().partial_fit(*self.all[:3], shape=self.all[3]).result_
        return found, time.process_time() - start

    def track_ratio_to_refit(self) -> float:
        """Return the time over that of fitting all entries."""
        ours, theirs = zip(*[(self.added()[1], self.refitted()[1]) for _ in range(3)], strict=True)
        return float(np.median(ours) / np.median(theirs))

    def track_error_ratio_to_refit(self) -> float:
        """Return the error over that of fitting all entries."""
        errors = (self.problem.relative_error(r.U, r.V) for r, _ in (self.added(), self.refitted()))
        return next(errors) / next(errors)
