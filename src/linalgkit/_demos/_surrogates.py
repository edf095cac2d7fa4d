"""Polynomials in place of two engineering models, from few runs of them.

Our designs beside least squares on uniform points and on a Latin hypercube, in two spaces a model:
all polynomials of degree 3, and higher degrees for the variables that these have shown to matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from linalgkit._core.array import Array, asarray, namespace_of, numpy_namespace, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._measure import Meter
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import NOTHING, Table
from linalgkit.datasets import BOREHOLE_RANGES, OTL_CIRCUIT_RANGES, borehole, otl_circuit
from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design, weighted_lstsq

_HOST = numpy_namespace()
BEST = "the best there is"
RATIOS = (1.5, 3.0)  # points a polynomial
_CONDITION = ("lmin", 0.9)
_DEGREE, _MOST = 3, 8  # of all variables, and of the one that matters most
_FRESH, _QUICK_FRESH = 20_000, 5_000  # points at which errors are measured
_MANY, _QUICK_MANY = 50_000, 20_000  # points of the best approximation
_HEADER = ("median\nerror, %", "worst\nerror, %", "least\nlmin")
_COMMON = ("estimate\nover error", "ms")
_LEGEND = (
    "rdpp, volume, iid: our designs, weighted: repeated determinantal processes; one of them and",
    "independent points (unbiased); independent points of the optimal law. Uniform points, Latin",
    "hypercube: numpy.linalg.lstsq, not weighted. Error: root mean square at {fresh:,} fresh",
    "uniform points, in % of the standard deviation of the model; median and worst of {seeds}.",
    "lmin: the smallest eigenvalue of the Gram matrix of the points in an orthonormal basis, 1 at",
    "best; 1 / lmin bounds how much of an error in the values comes through. Our designs state it",
    "before the model is run. Estimate: leave-one-out error of the fit over its true error, least",
    "to largest; ms: to draw and to fit; both with the larger number of points.",
)


class Model(NamedTuple):
    """An engineering model and the names of its variables."""

    name: str
    function: Callable[[Any], Array]
    variables: tuple[str, ...]


MODELS = (
    Model("OTL circuit", otl_circuit, tuple(OTL_CIRCUIT_RANGES)),
    Model("borehole", borehole, tuple(BOREHOLE_RANGES)),
)


class Found(NamedTuple):
    """What one fit found."""

    coef: Any  # on the host
    lmin: float
    estimate: float  # of the error; NaN where there is none
    seconds: float


@dataclass(frozen=True)
class Trials:
    """Errors of one way with one number of points, over the seeds."""

    errors: list[float] = field(default_factory=list)
    lmins: list[float] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Case:
    """A model in a space of polynomials, and the best that there is in it.

    Attributes
    ----------
    model : Model
    basis, host : TensorBasis
        The space in the library of the run, and on the host.
    best : float
        Error of least squares on very many points, relative as all errors here.
    best_coef : array (m,)
        Its coefficients.
    trials : dict
        :class:`Trials` by the name of the way and points a polynomial.
    """

    def __init__(self, model: Model, label: str, indices: Any, context: Context) -> None:
        xp, device = namespace_of(context.like)
        self.model, self.label = model, label
        self.host = TensorBasis(Legendre(), indices)
        self.basis = TensorBasis(Legendre(), asarray(indices, xp=xp, device=device))
        rng = _HOST.random.default_rng(context.seed)
        fresh = self._uniform(_QUICK_FRESH if context.quick else _FRESH, rng)
        self._rows, self._values = self.host.evaluate(fresh), model.function(fresh)
        many = self._uniform(_QUICK_MANY if context.quick else _MANY, rng)
        rows = self.host.evaluate(many)
        # Of so many points the Gram matrix is next to the identity.
        self.best_coef = _HOST.linalg.solve(rows.T @ rows, rows.T @ model.function(many))
        self.best = self.error(self.best_coef)
        self.trials: dict[tuple[str, float], Trials] = {}

    def _uniform(self, n: int, rng: Any) -> Any:
        return rng.uniform(-1, 1, (n, len(self.model.variables)))

    def n(self, ratio: float) -> int:
        """Return the number of points."""
        return math.ceil(ratio * int(self.host.dim))

    def error(self, coef: Any) -> float:
        """Return the error of coefficients, relative to the standard deviation of the model."""
        rest = self._rows @ coef - self._values
        return float((rest @ rest / rest.shape[0]) ** 0.5 / self._values.std())

    def take(self, name: str, ratio: float, found: Found) -> None:
        """Judge what was found."""
        trials = self.trials.setdefault((name, ratio), Trials())
        error = self.error(found.coef)
        trials.errors.append(error)
        trials.lmins.append(found.lmin)
        trials.estimates.append(found.estimate / float(self._values.std()) / error)
        trials.seconds.append(found.seconds)


# ---------------------------------------------------------------------------------- the ways


def _designed(method: str, case: Case, n: int, seed: int) -> Found:
    """Draw a design, run the model and fit."""
    meter = Meter()
    with meter.turn():
        design = sample_design(case.basis, n, method=method, rng=seed)
        values = case.model.function(design.points)
        fit = weighted_lstsq(design, values, space=case.basis)
        coef = to_numpy(fit.coef)
    return Found(coef, design.lmin, fit.error_estimate, meter.seconds)


def _unweighted(draw: Callable[[int, int, Any], Any], case: Case, n: int, seed: int) -> Found:
    """Fit by NumPy on points of the measure itself, all weighted alike."""
    meter = Meter()
    with meter.turn():
        points = draw(n, len(case.model.variables), _HOST.random.default_rng(seed))
        rows = case.host.evaluate(points)
        coef = _HOST.linalg.lstsq(rows, case.model.function(points), rcond=None)[0]
    lmin = float(_HOST.linalg.eigvalsh(rows.T @ rows / n)[0])
    return Found(coef, lmin, math.nan, meter.seconds)


def _monte_carlo(n: int, d: int, rng: Any) -> Any:
    return rng.uniform(-1, 1, (n, d))


def _latin_hypercube(n: int, d: int, rng: Any) -> Any:
    """Return points of which each variable has one in each of n equal intervals."""
    strata = rng.permuted(_HOST.tile(_HOST.arange(n), (d, 1)), axis=1).T
    return 2 * (strata + rng.uniform(size=(n, d))) / n - 1


WAYS: dict[str, Callable[[Case, int, int], Found]] = {
    "rdpp": partial(_designed, "rdpp"),
    "volume": partial(_designed, "volume"),
    "iid": partial(_designed, "iid"),
    "uniform points": partial(_unweighted, _monte_carlo),
    "Latin hypercube": partial(_unweighted, _latin_hypercube),
}


# ---------------------------------------------------------------------------------- the race


def surrogate_cases(context: Context, trials: int) -> tuple[list[Case], list[str]]:
    """Fit both models in both spaces in every way; return the cases, and a note for each."""
    cases, notes = [], []
    total = 2 * len(MODELS) * trials * len(RATIOS) * len(WAYS)
    with context.progress("polynomials", total=total) as bar:
        for model in MODELS:
            indices = multi_index(len(model.variables), _DEGREE)
            plain = Case(model, f"degree {_DEGREE}", indices, context)
            weights, note = _importance(plain, context.seed)
            indices = multi_index(len(model.variables), _MOST, weights=weights)
            adapted = Case(model, f"up to degree {_MOST}", indices, context)
            for case in (plain, adapted):
                _race(case, trials, context.seed, bar)
                for name in WAYS:
                    seconds = sum(sum(case.trials[name, ratio].seconds) for ratio in RATIOS)
                    context.done(f"{model.name}, {case.label}, {name}", seconds)
            cases += [plain, adapted]
            notes += [note, _bound(adapted, context.seed)]
    return cases, notes


def _race(case: Case, trials: int, seed: int, bar: Any) -> None:
    for ratio in RATIOS:
        for name, way in WAYS.items():
            for k in range(trials):
                case.take(name, ratio, way(case, case.n(ratio), seed + k))
                bar.update(1)


def _importance(case: Case, seed: int) -> tuple[list[float], str]:
    """Return weights of the variables by the Sobol indices of one fit, and what these say."""
    n = case.n(RATIOS[-1])
    design = sample_design(case.basis, n, rng=seed)
    fit = weighted_lstsq(design, case.model.function(design.points), space=case.basis)
    total = to_numpy(fit.sobol_indices().total)
    ratios = (total.max() / _HOST.maximum(total, 1e-16)) ** 0.25
    weights = [round(float(w), 1) for w in _HOST.minimum(ratios, _MOST)]
    off = float(abs(total - _total_shares(case)).max())
    names = case.model.variables
    shares = ", ".join(f"{names[i]} {_percent(total[i])}" for i in _HOST.argsort(-total))
    degrees = ", ".join(
        f"{name} {math.floor(_MOST / w)}" for name, w in zip(names, weights, strict=True)
    )
    note = (
        f"{case.model.name}, shares of the variance (total Sobol indices) from one rdpp fit of "
        f"{n} runs: {shares}; off by at most {100 * off:.1g} % from the best approximation's. "
        f"{names[int(total.argmax())]} matters most. Degrees of the second space, (share of the "
        f"largest)^(1/4) times {_MOST}: {degrees}."
    )
    return weights, note


def _total_shares(case: Case) -> Any:
    """Return the total Sobol indices of the best approximation."""
    squares = case.best_coef**2
    depends = to_numpy(case.host.indices) != 0
    return (depends * squares[:, None]).sum(axis=0) / squares[depends.any(axis=1)].sum()


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-3 else "below 0.1 %"


def _bound(case: Case, seed: int) -> str:
    """Return what the library promises for one design, and what it turned out to be."""
    design = sample_design(case.basis, case.n(RATIOS[-1]), condition=_CONDITION, rng=seed)
    fit = weighted_lstsq(design, case.model.function(design.points), space=case.basis)
    found = (case.error(to_numpy(fit.coef)) / case.best) ** 2
    return (
        f"{case.model.name}, {case.label}, rdpp with condition {_CONDITION}: "
        f"{fit.error_bound.description} The squared error turned out {found:.3g} times the "
        "smallest."
    )


# -------------------------------------------------------------------------------- the tables


def surrogate_table(case: Case) -> Table:
    """Return the errors in every way, beside the smallest one."""
    first = f"{case.model.name}, {case.label},\n{case.host.dim} polynomials"
    heads = [f"n = {case.n(ratio)}\n{head}" for ratio in RATIOS for head in _HEADER]
    best, gaps = f"{100 * case.best:.3f}", [NOTHING] * 2
    rows = [*(_line(name, case) for name in WAYS), (BEST, best, *gaps, best, *gaps, *gaps)]
    return Table((first, *heads, *_COMMON), rows)


def _line(name: str, case: Case) -> tuple[str, ...]:
    cells: list[str] = []
    for ratio in RATIOS:
        found = case.trials[name, ratio]
        errors = (median(found.errors), max(found.errors))
        cells += [*(f"{100 * error:.3f}" for error in errors), f"{min(found.lmins):.4f}"]
    low, high = min(found.estimates), max(found.estimates)
    cells.append(NOTHING if math.isnan(low) else f"{low:.2f} to {high:.2f}")
    return (name, *cells, f"{1000 * median(found.seconds):.1f}")


def surrogate_summary(cases: list[Case]) -> list[str]:
    """Return the median errors over the smallest possible, from all cases."""
    lines = []
    for ratio in RATIOS:
        parts = []
        for name in WAYS:
            over = [median(case.trials[name, ratio].errors) / case.best for case in cases]
            parts.append(f"{name} {min(over):.2f} to {max(over):.2f}")
        lines.append(
            f"Median error over that of the best approximation, {ratio:g} points a polynomial, "
            f"in the {len(cases)} spaces: {', '.join(parts)}."
        )
    places = [(case, ratio) for case in cases for ratio in RATIOS]
    errors = [min(WAYS, key=lambda w: median(c.trials[w, r].errors)) for c, r in places]
    lmins = [max(WAYS, key=lambda w: min(c.trials[w, r].lmins)) for c, r in places]
    lines.append(
        f"Of {len(places)} comparisons, the smallest median error: {_counts(errors)}; the largest "
        f"of the least lmin: {_counts(lmins)}."
    )
    return lines


def _counts(winners: list[str]) -> str:
    """Return how often each way won."""
    return ", ".join(f"{name} {winners.count(name)}" for name in WAYS if name in winners)


def surrogate_comparison(case: Case) -> Comparison:
    """Return repeated determinantal processes beside a Latin hypercube, with the fewest runs."""
    ratio = RATIOS[0]
    ours, rival = case.trials["rdpp", ratio], case.trials["Latin hypercube", ratio]
    error, other = median(ours.errors), median(rival.errors)
    return Comparison(
        f"{case.model.name}, {case.n(ratio)} runs for {case.host.dim} polynomials",
        f"error {error / case.best:.2f} times the smallest (median)",
        f"lmin {min(ours.lmins):.2g} at least, before any run",
        median(ours.seconds),
        "Latin hypercube, numpy.linalg.lstsq",
        median(rival.seconds),
        "error",
        error,
        other,
    )


def surrogate_legend(context: Context, trials: int) -> str:
    """Return what the tables say."""
    fresh = _QUICK_FRESH if context.quick else _FRESH
    return "\n".join(_LEGEND).format(fresh=fresh, seeds=seeds(trials))


def seeds(trials: int) -> str:
    """Return how many seeds there were, in words."""
    return f"{trials} seeds" if trials > 1 else "one seed"
