"""A million unknowns, a billion, and as few as dense sparse Bayesian learning can take."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from linalgkit._core.array import numpy_namespace, synchronise, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._measure import TRACED, Meter, traced_memory
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import NOTHING, Table, plain, significant, small
from linalgkit.bayes import KroneckerOperator, KronSBLResult, kron_sbl, theory
from linalgkit.datasets import kronecker_sparse

_HOST = numpy_namespace()
_MB = 1e6
_SNR, _MODES = 20.0, 3
_SMALL = ((20, 30), (12, 16), (3, 3))  # widths, rows, non-zeros
_SMALL_SNR = 25.0
_DRAWS, _QUICK_DRAWS = 5, 2
_COUNTED = 1e-3  # a coefficient above this share of the largest is called non-zero


class Size(NamedTuple):
    """A problem: modes of equal size, and its numbers."""

    name: str
    width: int
    rows: int
    nonzeros: int
    dtype: str


_SIZES = (
    Size("1,000,000", 100, 60, 5, "complex128"),
    Size("1,000,000,000", 1000, 150, 5, "float64"),
)


class Recovery(NamedTuple):
    """A recovery, what it cost, and what the truth says of it."""

    size: Size
    problem: Any
    result: KronSBLResult
    seconds: float
    chain: float  # seconds of one product with the adjoint factors
    peak: float  # bytes beyond the data, NaN where they cannot be seen


def recover(context: Context) -> list[Recovery]:
    """Solve the large problems, neither the noise nor the number of non-zeros being told."""
    sizes = _SIZES[:1] if context.quick else _SIZES
    found = []
    for size in sizes:
        found.append(_recovered(size, context))
        context.done(f"{size.name} unknowns", found[-1].seconds)
    return found


def _recovered(size: Size, context: Context) -> Recovery:
    problem = kronecker_sparse(
        [size.width] * _MODES,
        [size.rows] * _MODES,
        [size.nonzeros] * _MODES,
        snr_db=_SNR,
        dtype=size.dtype,
        like=context.like,
        rng=context.seed,
    )
    kron_sbl(problem.factors, problem.y)  # what is compiled at first use
    timed, memory = Meter(), Meter()
    with timed.turn():
        result = kron_sbl(problem.factors, problem.y)
        synchronise(result.coef)
    with traced_memory(), memory.turn():  # watching takes time
        kron_sbl(problem.factors, problem.y)
    peak = float(memory.peak) if context.library in TRACED else math.nan
    return Recovery(size, problem, result, timed.seconds, _chain(problem), peak)


def _chain(problem: Any) -> float:
    """Return the time of square matrices of the rows' size applied along every mode."""
    square = KroneckerOperator([H[:, : H.shape[0]] for H in problem.factors])
    times = []
    for _ in range(5):
        start = time.perf_counter()
        synchronise(square @ problem.y)
        times.append(time.perf_counter() - start)
    return median(times)


def recovery_table(found: Sequence[Recovery]) -> Table:
    """Return cost and certificate of the large problems."""
    header = (
        "unknowns",
        "equations",
        "data\nMB",
        "seconds",
        "mode-product\nchains",
        "peak MB\nbeyond data",
        "status",
        "slope\nleft",
        "gain\nleft out",
        "noise over\nthe true one",
        "support",
        "error over\noracle's",
    )
    left = frozenset({header.index("status")})
    return Table(header, [_recovery_line(r) for r in found], left=left)


def _recovery_line(found: Recovery) -> tuple[str, ...]:
    problem, result = found.problem, found.result
    error = problem.nmse(result.coef, result.support) / problem.nmse(problem.oracle())
    peak = NOTHING if math.isnan(found.peak) else f"{found.peak / _MB:.0f}"
    return (
        found.size.name,
        f"{math.prod(problem.y.shape):,}",
        f"{to_numpy(problem.y).nbytes / _MB:.0f}",
        f"{found.seconds:.2f}",
        f"{found.seconds / found.chain:.0f}",
        peak,
        result.status,
        small(result.kkt_residual),
        plain(result.excluded_gain, 1),
        f"{result.noise_var / problem.noise_var:.4f}",
        "exact" if problem.support_rate(result.support) == 1.0 else "wrong",
        f"{error:.4f}",
    )


def recovery_legend(found: Sequence[Recovery]) -> str:
    """Return what the table says, and what the ways of today would need."""
    first = found[0]
    n, m = first.size.width**_MODES, first.size.rows**_MODES
    itemsize = 16
    covariance = n * n * itemsize / 1e12
    flops = theory.covariance_flops([first.size.rows] * _MODES, [first.size.width] * _MODES)
    return (
        "Neither noise nor sparsity is told. Chain: products of the data with square matrices "
        "along all modes, the least that\nany iteration must do. Slope left: kkt_residual. Gain "
        "left out: nats that the best slice left out would bring, less\nthan its price. Noise and "
        "error stand beside the truth; oracle: least squares on the true support. The peak is "
        "from\na run apart. The paper's algorithms hold a tensor of all unknowns, "
        f"{n * 8 / _MB:.0f} MB a copy for the first line and 8 GB for a\nbillion; their published "
        f"code a covariance of {covariance:.0f} TB, at {flops:.0e} operations a step. The dense "
        f"matrix that other\ntools ask for has {m * n * itemsize / 1e12:.1f} TB."
    )


def recovery_comparison(found: Recovery) -> Comparison:
    """Return a large problem, which no rival can hold."""
    problem, result = found.problem, found.result
    rate = problem.support_rate(result.support)
    return Comparison(
        f"{found.size.name} unknowns, {math.prod(problem.y.shape):,} equations",
        f"support {'exact' if rate == 1.0 else 'wrong'}, noise variance "
        f"{result.noise_var / problem.noise_var:.4f} of the true one",
        f"slope left {small(result.kkt_residual)}; {result.status}",
        found.seconds,
    )


# ---------------------------------------------------------------- beside dense learning


class Small(NamedTuple):
    """Errors, seconds and numbers of non-zeros of one way, over the draws."""

    name: str
    errors: list[float]
    seconds: list[float]
    counts: list[int]
    certificate: str


def small_problems(context: Context) -> list[Small]:
    """Solve with ours, scikit-learn's dense automatic relevance determination, and the oracle."""
    make_ard = context.scikit("linear_model.ARDRegression")
    draws = _QUICK_DRAWS if context.quick else _DRAWS
    ours = Small("kron_sbl, auto", [], [], [], "evidence, slope, gain, variances")
    dense = Small("scikit-learn ARDRegression", [], [], [], "variances")
    best = Small("least squares, told the support", [], [], [], NOTHING)
    for k in range(draws + 1):
        seeds = _HOST.random.SeedSequence(context.seed, spawn_key=(k,))
        problem = kronecker_sparse(*_SMALL, snr_db=_SMALL_SNR, like=context.like, rng=seeds)
        found = [_ours(problem), _dense(problem, make_ard), _told(problem)]
        if k == 0:  # what is compiled at first use
            continue
        for way, (error, seconds, count) in zip((ours, dense, best), found, strict=True):
            way.errors.append(error)
            way.seconds.append(seconds)
            way.counts.append(count)
    for way in (ours, dense, best):
        context.done(way.name, sum(way.seconds))
    return [ours, dense, best]


def small_table(ways: Sequence[Small]) -> Table:
    """Return errors, numbers of non-zeros and times."""
    widths, rows, nonzeros = (math.prod(numbers) for numbers in _SMALL)
    draws = len(ways[0].errors)
    header = (
        f"{widths} unknowns, {nonzeros} not zero,\n{rows} equations, {draws} draws",
        "mean\nerror",
        "median of\nnon-zeros",
        "ms",
        "says of itself",
    )
    lines = [_small_line(way) for way in ways]
    return Table(header, lines, left=frozenset({header.index("says of itself")}))


def small_comparison(ways: Sequence[Small]) -> Comparison:
    """Return ours beside dense learning."""
    widths, rows, nonzeros = (math.prod(numbers) for numbers in _SMALL)
    ours, dense = ways[:2]
    error, other = (sum(way.errors) / len(way.errors) for way in (ours, dense))
    return Comparison(
        f"{widths} unknowns, {rows} equations",
        f"error {significant(error, 2)}; {median(ours.counts):.0f} of {nonzeros} non-zeros",
        ours.certificate,
        median(ours.seconds),
        dense.name,
        median(dense.seconds),
        "error",
        error,
        other,
    )


def _ours(problem: Any) -> tuple[float, float, int]:
    start = time.perf_counter()
    result = kron_sbl(problem.factors, problem.y)
    synchronise(result.coef)
    seconds = time.perf_counter() - start
    return problem.nmse(result.coef, result.support), seconds, math.prod(result.shape)


def _dense(problem: Any, make: Any) -> tuple[float, float, int]:
    """Solve with the dense matrix, which is formed before the clock starts."""
    matrix = _HOST.kron(*(to_numpy(H) for H in problem.factors))
    y = to_numpy(problem.y).reshape(-1)
    start = time.perf_counter()
    coef = make(fit_intercept=False).fit(matrix, y).coef_
    seconds = time.perf_counter() - start
    widths = _SMALL[0]
    everywhere = [_HOST.arange(n) for n in widths]
    count = int((abs(coef) > _COUNTED * abs(coef).max()).sum())
    return problem.nmse(coef.reshape(widths), everywhere), seconds, count


def _told(problem: Any) -> tuple[float, float, int]:
    start = time.perf_counter()
    coef = problem.oracle()
    seconds = time.perf_counter() - start
    return problem.nmse(coef), seconds, math.prod(coef.shape)


def _small_line(way: Small) -> tuple[str, ...]:
    error = significant(sum(way.errors) / len(way.errors), 2)
    seconds = f"{1e3 * median(way.seconds):.1f}"
    return way.name, error, f"{median(way.counts):.0f}", seconds, way.certificate
