"""The radio channel over a reflecting surface, estimated by all methods from the same pilots.

Every channel has gains, angles, pilots and patterns of its own; the noise variance is known, as in
the paper. What stands beside the errors is what each method says of its own answer.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median
from typing import Any, NamedTuple

from linalgkit._core.array import numpy_namespace, synchronise, to_numpy
from linalgkit._core.validation import AccuracyWarning
from linalgkit._demos._context import Context
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import NOTHING, Table, significant, small
from linalgkit.bayes import kron_omp, kron_sbl, theory
from linalgkit.datasets import irs_channel

_HOST = numpy_namespace()
ORACLE = "least squares, told the support"
OURS, GREEDY = "kron_sbl, auto", "kron_omp, stopped at the noise"
_SNRS, _QUICK_SNRS = (4, 8, 12, 16, 20), (4, 12)  # decibels
_CHANNELS, _QUICK_CHANNELS = 7, 2
_UNUSABLE = 0.1  # error of a channel of which hardly anything is known
_ROUNDING = 1e-9  # nats that are no fall
_LEGEND = (
    "Error: squared, relative, of the cascaded channels, mean over patterns; of {channels}",
    "channels, each with its own pilots and patterns: one that is missed makes the mean.",
    "All are told the noise variance. As",
    "published: the paper's algorithms with its start, pruning and stopping rules. Exact: solves",
    "that found the true support. Useless: those with an error above {unusable:g}. What solves",
    "say of themselves, the worst of all: relative slope of the evidence that is left",
    "(kkt_residual); the largest fall of the evidence in nats at a step that removed nothing; how",
    "many met their stopping rule. Nothing certifies a greedy choice. ms: median of all solves.",
)
# Why the default may have smaller errors than least squares on the true support.
_BETTER = (
    "kron_sbl, auto, may do better than least squares that is told the support: in {count} of\n"
    "{solves} solves it has noticed that the channel has rank one, x = x_1 kron x_2 kron x_3, and\n"
    "estimated the few numbers of these factors in place of all their products."
)


class Found(NamedTuple):
    """What one solve found, and what it says of itself."""

    error: float
    exact: bool
    seconds: float
    kkt: float = math.nan
    fall: float = math.nan
    converged: bool | None = None
    method: str = ""


@dataclass(frozen=True)
class Uplink:
    """All solves: ``solves[way, snr]`` has one :class:`Found` a channel."""

    snrs: Sequence[int]
    channels: int
    solves: dict[tuple[str, int], list[Found]] = field(default_factory=dict)

    def errors(self, way: str, snr: int) -> list[float]:
        """Return the errors of all channels."""
        return [found.error for found in self.solves[way, snr]]

    def all_of(self, way: str) -> list[Found]:
        """Return the solves of all ratios of signal to noise."""
        return [found for snr in self.snrs for found in self.solves[way, snr]]


# ---------------------------------------------------------------------------------- the ways


def _bayesian(options: dict[str, Any], problem: Any) -> Found:
    """Solve by :func:`kron_sbl`."""
    start = time.perf_counter()
    with warnings.catch_warnings():  # the table has a column for those cut short
        warnings.simplefilter("ignore", AccuracyWarning)
        result = kron_sbl(problem.factors, problem.y, noise_var=problem.noise_var, **options)
    synchronise(result.coef)
    seconds = time.perf_counter() - start
    return Found(
        problem.channel_error(result.coef, result.support),
        problem.support_rate(result.support) == 1.0,
        seconds,
        result.kkt_residual,
        _largest_fall(result),
        result.status == "converged",
        result.method,
    )


def _largest_fall(result: Any) -> float:
    """Return the largest fall of the evidence in nats, changes of the support left out."""
    evidence = _HOST.asarray(to_numpy(result.evidence))
    steps = _HOST.diff(evidence)
    kept = _HOST.ones(steps.shape[0], dtype=bool)
    kept[[c - 1 for c in result.changes if c > 0]] = False
    falls = -steps[kept]
    if falls.shape[0] == 0:
        return 0.0
    fall = float(falls.max())
    return fall if fall > _ROUNDING else 0.0


def _greedy(problem: Any) -> Found:
    """Solve by orthogonal matching pursuit, stopped where the residual is the noise."""
    noise_norm = math.sqrt(problem.noise_var * math.prod(problem.y.shape))
    start = time.perf_counter()
    result = kron_omp(problem.factors, problem.y, noise_norm=noise_norm)
    synchronise(result.coef)
    seconds = time.perf_counter() - start
    error = problem.channel_error(result.coef, result.support)
    is_exact = problem.support_rate(result.support) == 1.0
    return Found(error, is_exact, seconds, converged=result.status == "converged")


def _oracle(problem: Any) -> Found:
    """Solve by least squares on the true support."""
    start = time.perf_counter()
    coef = problem.oracle()
    return Found(problem.channel_error(coef), True, time.perf_counter() - start)


def _published(name: str) -> Callable[[Any], Found]:
    return partial(_bayesian, theory.published(name, experiment="irs"))


WAYS: dict[str, Callable[[Any], Found]] = {
    OURS: partial(_bayesian, {}),
    "kron_sbl, mm": partial(_bayesian, {"method": "mm"}),
    "AM-KroSBL, as published": _published("am"),
    "SVD-KroSBL, as published": _published("svd"),
    "PC-KroSBL 0.8, as published": _published("pc"),
    GREEDY: _greedy,
    ORACLE: _oracle,
}


def measure_uplink(context: Context) -> Uplink:
    """Solve all channels in every way."""
    snrs = _QUICK_SNRS if context.quick else _SNRS
    channels = _QUICK_CHANNELS if context.quick or context.library == "jax" else _CHANNELS
    study = Uplink(snrs, channels)
    for name in (OURS, GREEDY):  # what is compiled at first use
        WAYS[name](irs_channel(like=context.like, rng=context.seed))
    with context.progress("channels", total=channels * len(snrs)) as bar:
        for k in range(channels):
            for snr in snrs:
                seeds = _HOST.random.SeedSequence(context.seed, spawn_key=(k,))
                problem = irs_channel(snr_db=float(snr), like=context.like, rng=seeds)
                for name, way in WAYS.items():
                    study.solves.setdefault((name, snr), []).append(way(problem))
                bar.update(1)
    for name in WAYS:
        context.done(name, sum(found.seconds for found in study.all_of(name)))
    return study


# --------------------------------------------------------------------------------- the table


def uplink_table(study: Uplink) -> Table:
    """Return errors, certificates and times of every way."""
    header = (
        "channel error, mean\n(median), at",
        *(f"{snr}\ndB" for snr in study.snrs),
        "exact",
        "useless",
        "slope\nleft",
        "fall,\nnats",
        "converged",
        "ms",
    )
    return Table(header, [_line(study, way) for way in WAYS])


def _mean_and_median(errors: list[float]) -> str:
    """Return both: the mean is that of the few channels missed, the median that of the others."""
    return f"{significant(mean(errors), 2)} ({significant(median(errors), 2)})"


def _line(study: Uplink, way: str) -> tuple[str, ...]:
    solves = study.all_of(way)
    errors = (_mean_and_median(study.errors(way, snr)) for snr in study.snrs)
    count = len(solves)
    exact = NOTHING if way == ORACLE else f"{sum(f.exact for f in solves)} of {count}"
    useless = f"{sum(f.error > _UNUSABLE for f in solves)} of {count}"
    ended = [f.converged for f in solves if f.converged is not None]
    return (
        way,
        *errors,
        exact,
        useless,
        small(max(f.kkt for f in solves)),
        _nats(max(f.fall for f in solves)),
        f"{sum(ended)} of {count}" if ended else NOTHING,
        f"{1e3 * median(f.seconds for f in solves):.1f}",
    )


def _nats(fall: float) -> str:
    if math.isnan(fall):
        return NOTHING
    return "none" if fall == 0 else f"{fall:.2g}"


def uplink_legend(study: Uplink) -> str:
    """Return what the table says."""
    words = "\n".join(_LEGEND).format(channels=study.channels, unusable=_UNUSABLE)
    solves = study.all_of(OURS)
    count = sum(found.method == "rank_one" for found in solves)
    return f"{words}\n{_BETTER.format(count=count, solves=len(solves))}" if count else words


def uplink_comparison(study: Uplink) -> Comparison:
    """Return the default beside the best of the paper's algorithms, over all solves."""
    published = [way for way in WAYS if "published" in way]
    overall = {way: mean(f.error for f in study.all_of(way)) for way in (OURS, *published)}
    best = min(published, key=lambda way: overall[way])
    ours, rival = study.all_of(OURS), study.all_of(best)
    useless = sum(f.error > _UNUSABLE for f in ours)
    return Comparison(
        f"{study.channels} radio channels at {len(study.snrs)} noise levels",
        f"mean error {significant(overall[OURS], 2)}; {useless} of {len(ours)} useless",
        f"slope left {small(max(f.kkt for f in ours))} at most",
        median(f.seconds for f in ours),
        best,
        median(f.seconds for f in rival),
        "error",
        overall[OURS],
        overall[best],
    )


def uplink_summary(study: Uplink) -> str:
    """Return how the default compares with the best of the rivals."""
    parts = []
    for snr in study.snrs:
        ours = median(study.errors(OURS, snr))
        others = {way: median(study.errors(way, snr)) for way in WAYS if "published" in way}
        best = min(others, key=lambda way: others[way])
        parts.append(f"{others[best] / ours:.2g} ({best.split(',')[0]}) at {snr} dB")
    return (
        "Median error of the best of the paper's algorithms over that of kron_sbl, auto: "
        f"{', '.join(parts)}."
    )
