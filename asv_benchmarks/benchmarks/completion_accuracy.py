"""What matrix completion finds: exact data, few entries, gross errors, noise, and a real table.

Errors are relative in the Frobenius norm, of the whole matrix, and found from the factors. Seconds
are those of the processor, one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import peers
from peers.soft_impute import soft_impute_path

from linalgkit.completion import CompletionResult, LowRankImputer, complete_matrix
from linalgkit.datasets import LowRankEntries, low_rank_entries

from . import _base
from .completion import RANK, cmfrec_model, quietly, ratings

ROOM = "completion"

_SEEDS = _base.sized(2, 10)
EXACT = 1e-8  # relative error below which exact data count as recovered


def oversampled(
    shape: tuple[int, int], rank: int, share: float, seed: int, **options: Any
) -> LowRankEntries:
    """Return a problem whose entries are `share` times the degrees of freedom."""
    count = round(share * rank * (sum(shape) - rank))
    return low_rank_entries(shape, rank, count, rng=seed, **options)


def solved(problem: LowRankEntries, **options: Any) -> CompletionResult:
    """Return the completion of the problem's rank on one thread."""
    return quietly(
        lambda: complete_matrix(problem.matrix, problem.rank, n_threads=1, rng=0, **options)
    )


def error(problem: LowRankEntries, **options: Any) -> float:
    """Return the relative error of the completion."""
    found = solved(problem, **options)
    return problem.relative_error(found.U, found.V)


class _Seeds:
    """Figures over seeds: nothing to make beforehand."""

    timeout = _base.Measured.timeout

    def setup(self, *params: Any) -> None:
        """Nothing to make beforehand."""


# --------------------------------------------------------------------------------- exact data


class Noiseless(_Seeds):
    """1500 x 900 of rank 12, five times as many entries as parameters, columns of Zipf(0.5)."""

    param_names = ("cond",)
    params = ((1.0, 30.0, 1000.0),)

    def problem(self, cond: float, seed: int) -> LowRankEntries:
        return oversampled((1500, 900), 12, 5.0, seed, cond=cond, skew=0.5)

    def track_error(self, cond: float) -> float:
        """Return the largest error of the seeds."""
        return max(error(self.problem(cond, seed)) for seed in range(_SEEDS))

    def time_one(self, cond: float) -> None:
        solved(self.problem(cond, 0))


class FewEntries(_Seeds):
    """300 x 350 of rank 5 and condition 10, oversampling 1.5, at least 6 entries in every line."""

    def problem(self, seed: int) -> LowRankEntries:
        return oversampled((300, 350), 5, 1.5, seed, cond=10.0, min_entries=6)

    def track_failures(self) -> float:
        """Return how many seeds were not recovered."""
        return float(sum(error(self.problem(seed)) > EXACT for seed in range(_SEEDS)))

    def time_one(self) -> None:
        solved(self.problem(0))


class GrossErrors(_Seeds):
    """600 x 400 of rank 8, oversampling 6; normal errors of 1, 10 and 100 times the entries' size.

    The entries that are wrong are 10 % and 20 % of all.
    """

    param_names = ("share", "loss")
    params = ((0.1, 0.2), ("huber", "l1"))

    def errors(self, share: float, loss: str) -> list[float]:
        return [
            error(
                oversampled((600, 400), 8, 6.0, seed, outliers=share, outlier_size=size), loss=loss
            )
            for size in (1.0, 10.0, 100.0)
            for seed in range(_base.sized(1, 5))
        ]

    def track_error(self, share: float, loss: str) -> float:
        """Return the largest error of all sizes and seeds."""
        return max(self.errors(share, loss))


# --------------------------------------------------------------------------------------- noise

_RIDGES = _base.sized((0.5, 2.0), (0.7, 1.0, 1.4, 2.0, 3.0))  # of cmfrec, in units of ours
_SWEEPS = _base.sized((5,), (5, 10))
_ORACLE = _base.sized((0.5, 2.0), (0.7, 1.0, 1.4, 2.0, 3.0))


class Run(NamedTuple):
    """An error and the seconds of the processor that it took."""

    error: float
    seconds: float


def timed(call: Callable[[], tuple[Any, Any]]) -> Run:
    """Run a completion of the noisy problem."""
    start = time.process_time()
    U, V = call()
    seconds = time.process_time() - start
    return Run(ratings().relative_error(U, V), seconds)


@cache
def cmfrec_runs() -> dict[tuple[float, int], Run]:
    """Return cmfrec's error and time at each ridge and number of sweeps."""
    triples = ratings().matrix.tocoo()

    def fit(ridge: float, sweeps: int) -> tuple[Any, Any]:
        model = cmfrec_model(RANK, ridge, sweeps).fit(triples)
        return model.A_, model.B_

    return {(r, s): timed(lambda r=r, s=s: fit(r, s)) for r in _RIDGES for s in _SWEEPS}


@cache
def shrunk_run(budget: float) -> Run:
    """Return our error with ``shrink=True`` within a budget of seconds."""

    def fit() -> tuple[Any, Any]:
        clock = _Clock(0.93 * budget)  # what follows the last sweep takes time, too
        found = solved(ratings(), shrink=True, callback=clock)
        return found.U, found.V

    solved(ratings(), shrink=True, max_sweeps=1)  # what is compiled at first use
    return timed(fit)


class _Clock:
    """Stops where one more sweep, as long as the longest so far, would exceed the budget."""

    def __init__(self, budget: float) -> None:
        self.start = self.last = time.process_time()
        self.budget, self.longest = budget, 0.0

    def __call__(self, sweep: int, loss: float) -> bool:
        now = time.process_time()
        if sweep > 1:
            self.longest = max(self.longest, now - self.last)
        self.last = now
        return now - self.start + self.longest > self.budget


@cache
def oracle_errors() -> dict[float, float]:
    """Return the error of our completion with one ridge for all, at each of its values."""
    return {alpha: error(ratings(), alpha=alpha) for alpha in _ORACLE}


class Noisy(_Seeds):
    """The noisy problem of 20000 x 10000 and Zipf(0.7) columns, all told the rank."""

    def best(self) -> Run:
        """Return cmfrec's run of the smallest error, the shortest of those within 0.1 % of it."""
        runs = cmfrec_runs().values()
        least = min(run.error for run in runs)
        return min((r for r in runs if r.error <= 1.001 * least), key=lambda r: r.seconds)

    def ours(self) -> Run:
        return shrunk_run(self.best().seconds if peers.installed("cmfrec") else float("inf"))

    def track_error_ratio_to_peer(self) -> float:
        """Return our error over that of cmfrec with the best ridge, in at most its time."""
        return self.ours().error / self.best().error

    def track_time_ratio_to_peer(self) -> float:
        return self.ours().seconds / self.best().seconds

    def track_error_ratio_to_oracle(self) -> float:
        """Return our error over that of one ridge for all that is tuned on the truth."""
        return self.ours().error / min(oracle_errors().values())


if not peers.installed("cmfrec"):
    Noisy.track_error_ratio_to_peer = None
    Noisy.track_time_ratio_to_peer = None


# ----------------------------------------------------------------------------------- real data


@cache
def digits() -> np.ndarray:
    """Return the 1797 x 64 table of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    return load_digits().data.astype(np.float64)


def with_gaps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the table with two fifths of it hidden, and where they are."""
    X = digits()
    hidden = np.random.default_rng(seed).random(X.shape) < 0.4
    return np.where(hidden, np.nan, X), hidden


def _imputer(X: np.ndarray) -> Any:
    return LowRankImputer(n_threads=1, rng=0).fit_transform(X)


def _shrunk(X: np.ndarray) -> Any:
    options = {"shrink": True, "bias": True, "validation": 0.1}
    return complete_matrix(X, n_threads=1, rng=0, **options).block()


def _ridge(X: np.ndarray) -> Any:
    return complete_matrix(X, alpha=None, bias=True, n_threads=1, rng=0).block()


def _soft_impute(X: np.ndarray) -> Any:
    return soft_impute_path(X)[0]


def _iterative(X: np.ndarray) -> Any:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer(random_state=0, keep_empty_features=True).fit_transform(X)


_WAYS = {
    "LowRankImputer": _imputer,
    "shrink": _shrunk,
    "alpha=None": _ridge,
    "SoftImpute": _soft_impute,
    "IterativeImputer": _iterative,
}


@cache
def filled(way: str, seed: int) -> Run:
    """Return root mean square error on the hidden entries, and seconds."""
    X, hidden = with_gaps(seed)
    start = time.process_time()
    Z = _quiet_too(lambda: _WAYS[way](X))
    seconds = time.process_time() - start
    return Run(float(np.sqrt(np.mean((Z - digits())[hidden] ** 2))), seconds)


def _quiet_too(call: Callable[[], Any]) -> Any:
    """Call without any warning: IterativeImputer says that it did not converge."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


class Digits(_base.Measured):
    """Two fifths of scikit-learn's digits hidden; rank and ridge are found, three seeds."""

    param_names = ("way",)
    params = (tuple(_WAYS),)

    def prepare(self, way: str) -> None:
        self.seeds = range(1 if way == "IterativeImputer" else _base.sized(1, 3))

    def warm(self) -> None:
        _quiet_too(
            lambda: [_WAYS[way](with_gaps(9)[0]) for way in ("LowRankImputer", "alpha=None")]
        )

    def track_error(self, way: str) -> float:
        """Return the median error."""
        return float(np.median([filled(way, seed).error for seed in self.seeds]))

    def track_seconds(self, way: str) -> float:
        return float(np.median([filled(way, seed).seconds for seed in self.seeds]))

    track_seconds.unit = "s"
