"""A table like that of ratings: large, sparse, its columns of very unequal popularity, noisy."""

from __future__ import annotations

import importlib
import importlib.util
import math
import warnings
from dataclasses import dataclass, replace
from typing import NamedTuple

from linalgkit._core.array import numpy_namespace, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._measure import Meter
from linalgkit._demos._section import Comparison, too_narrow
from linalgkit._demos._table import NOTHING, Table
from linalgkit.completion import CompletionResult, complete_matrix
from linalgkit.datasets import LowRankEntries, low_rank_entries

_HOST = numpy_namespace()
_LEVEL = 0.9
_ASKED = 20_000  # intervals
_SHOWN, _BEST = 3, 3  # rows, and columns recommended to each
_RIDGE = 1.5  # of cmfrec: about the best one for this table
_ROUNDS = 8


class Size(NamedTuple):
    """Rows, columns, rank and number of entries."""

    rows: int
    columns: int
    rank: int
    entries: int


SIZE, QUICK_SIZE = Size(20_000, 10_000, 20, 4_000_000), Size(4_000, 2_000, 10, 400_000)


@dataclass(frozen=True)
class Rated:
    """What one way found.

    Attributes
    ----------
    name : str
        Its line in the table.
    error : float
        Relative error of the whole matrix, NaN where the way has another aim.
    seconds : float
        Time inside the method.
    result : CompletionResult or None
        The certificate.
    covered : float
        Share of unseen entries whose true value lies in its interval.
    """

    name: str
    error: float
    seconds: float
    result: CompletionResult | None = None
    covered: float = math.nan


def make_ratings(context: Context) -> LowRankEntries:
    """Return the problem in single precision."""
    size = QUICK_SIZE if context.quick else SIZE
    return low_rank_entries(
        (size.rows, size.columns), size.rank, size.entries, skew=0.7, noise=0.5,
        dtype="float32", like=context.like, rng=context.seed,
    )  # fmt: skip


def rate(context: Context, problem: LowRankEntries) -> list[Rated]:
    """Complete the table in every way that is installed."""
    rivals = {"cmfrec": _cmfrec, "implicit": _implicit}
    installed = [name for name in rivals if importlib.util.find_spec(name) is not None]
    found = [_ours(context, problem), *(rivals[name](problem) for name in installed)]
    for way in found:
        context.done(way.name, way.seconds)
    return found


def _ours(context: Context, problem: LowRankEntries) -> Rated:
    data = problem.triples()
    small = low_rank_entries((60, 40), 2, 900, dtype="float32", like=context.like, rng=0)
    complete_matrix(small.triples(), 2, shrink=True, rng=0)  # what is compiled at first use
    meter = Meter()
    with meter.turn():
        result = complete_matrix(data, shrink=True, n_threads=1, rng=context.seed)
    error = problem.relative_error(result.U, result.V)
    covered = _coverage(problem, result, context.seed)
    return Rated("complete_matrix, shrink=True", error, meter.seconds, result, covered)


def _coverage(problem: LowRankEntries, result: CompletionResult, seed: int) -> float:
    """Return the share of entries at random whose true value lies in its interval."""
    rng = _HOST.random.default_rng(seed)
    i, j = (rng.integers(0, n, _ASKED) for n in problem.shape)
    low, high = (to_numpy(end) for end in result.interval(i, j, _LEVEL))
    truth = problem.truth(i, j)
    return float(_HOST.mean((low <= truth) & (truth <= high)))


def _cmfrec(problem: LowRankEntries) -> Rated:
    """Fit cmfrec's model of least squares with one ridge, told the rank."""
    model = importlib.import_module("cmfrec").CMF(
        k=problem.rank, lambda_=_RIDGE, niter=_ROUNDS, use_cg=True, finalize_chol=False,
        user_bias=False, item_bias=False, center=False, use_float=True, nthreads=1, verbose=False,
        random_state=0,
    )  # fmt: skip
    data = problem.matrix.tocoo()
    meter = Meter()
    with meter.turn():
        model.fit(data)
    error = problem.relative_error(model.A_, model.B_)
    return Rated(f"cmfrec, told rank and ridge, {_ROUNDS} sweeps", error, meter.seconds)


def _implicit(problem: LowRankEntries) -> Rated:
    """Fit implicit's model, which has another aim: only its time compares."""
    meter = Meter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads of the BLAS, and of sparse arrays
        model = importlib.import_module("implicit.als").AlternatingLeastSquares(
            factors=problem.rank, iterations=_ROUNDS, num_threads=1, random_state=0
        )
        data = abs(problem.matrix)
        with meter.turn():
            model.fit(data, show_progress=False)
    return Rated(f"implicit, its own aim, {_ROUNDS} sweeps", math.nan, meter.seconds)


# ------------------------------------------------------------------------------- the tables


def rating_table(problem: LowRankEntries, everyone: list[Rated]) -> Table:
    """Return errors, certificates and times."""
    m, n = problem.shape
    header = (
        f"{m:,} x {n:,},\n{problem.matrix.nnz:,} entries",
        "error",
        "seconds",
        "rank",
        "noise",
        f"in {100 * _LEVEL:.0f} %\nintervals",
        "sweeps",
        "status",
    )
    lines = [_line(found) for found in everyone]
    return Table(header, lines, left=frozenset({header.index("status")}))


def _line(found: Rated) -> tuple[str, ...]:
    error = NOTHING if math.isnan(found.error) else f"{found.error:.4f}"
    r = found.result
    told = (NOTHING,) * 5
    if r is not None:
        covered = f"{100 * found.covered:.1f} %"
        told = (str(r.rank), f"{r.noise_estimate:.3f}", covered, str(r.sweeps), r.status)
    return (found.name, error, f"{found.seconds:.2f}", *told)


def rating_comparison(problem: LowRankEntries, everyone: list[Rated]) -> Comparison:
    """Return ours beside cmfrec, which has the same aim; alone where it is not installed."""
    ours = everyone[0]
    rivals = [found for found in everyone[1:] if not math.isnan(found.error)]
    m, n = problem.shape
    alone = Comparison(
        f"{problem.matrix.nnz:,} noisy entries of {m:,} x {n:,}",
        f"relative error {ours.error:.4f}, rank {ours.result.rank if ours.result else 0} found",
        f"{100 * ours.covered:.1f} % in {100 * _LEVEL:.0f} % intervals",
        ours.seconds,
        broken=too_narrow(ours.covered, _LEVEL),
    )
    if not rivals:
        return alone
    return replace(
        alone, rival=rivals[0].name, rival_seconds=rivals[0].seconds, measure="error",
        value=ours.error, rival_value=rivals[0].error,
    )  # fmt: skip


def rating_legend(problem: LowRankEntries, everyone: list[Rated]) -> str:
    """Return what the table says, and what is not installed."""
    missing = [
        name
        for name in ("cmfrec", "implicit")
        if not any(found.name.startswith(name) for found in everyone)
    ]
    note = f"\nNot installed here: {' and '.join(missing)}." if missing else ""
    return (
        f"The truth has rank {problem.rank} and entries of root mean square 1; the noise has the "
        f"standard deviation {problem.noise:g};\nthe popularity of the columns falls as Zipf's law "
        "with the exponent 0.7. Error: of the whole matrix, relative, in the\nFrobenius norm. "
        "complete_matrix is told nothing, and finds rank, noise and a ridge for each component. "
        "Intervals: the\nshare of entries at random, seen or not, whose true value is inside. One "
        f"thread each.{note}"
    )


def top_table(problem: LowRankEntries, result: CompletionResult) -> Table:
    """Return the columns that some rows have not seen and are predicted to be the largest."""
    rows = _HOST.arange(_SHOWN) * (problem.shape[0] // _SHOWN)
    columns, values = (to_numpy(x) for x in result.top_k(rows, _BEST, exclude="observed"))
    ranks = [f"{r + 1}. column:\npredicted (true)" for r in range(_BEST)]
    lines = []
    for i, row in enumerate(rows):
        exact = problem.truth(_HOST.full(_BEST, row), columns[i, :])
        cells = zip(columns[i, :], values[i, :], exact, strict=True)
        lines.append((str(int(row)), *(f"{int(j)}: {v:.2f} ({t:.2f})" for j, v, t in cells)))
    return Table(("top_k, row", *ranks), lines)
