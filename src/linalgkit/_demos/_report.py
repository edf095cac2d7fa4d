"""The tables of the streaming demo and the sentences under them, all from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from linalgkit._core.linalg import subspace_sin2
from linalgkit._demos._contenders import EXACT, Answer, Contender
from linalgkit._demos._measure import TRACED
from linalgkit._demos._section import Block, Comparison
from linalgkit._demos._table import NOTHING, Table, plain, significant, small

_HEADER = (
    "error on\nthese rows",
    "estimate,\npopulation",
    "gap",
    "residual",
    "order\nz-score",
    "heavy\nrows",
    "status",
    "seconds",
    "peak\nMiB",
)
_LEGEND = (
    "Error: sin^2 of the largest angle to the exact eigenvectors of these rows. Estimate: of the",
    "same angle to those of the population that the rows are a sample of; what the sample itself",
    "is off by is in it, so that it stays large where the first is rounding. Gap: l_k / l_(k+1).",
    "Residual: ||S v - l v|| / l_1. Heavy rows: held (required). Time and memory: inside the",
    "method only; the cutting of the patches and one warm-up are left out. Gram + eigh keeps all",
    "d x d numbers: it is the way to go where they fit, as here; the others are for where they do",
    "not.",
)
# Errors below this are rounding: both answers are the same.
_ROUNDING = 1e-12
_SHOWN = 8
_RIVALS = {EXACT: "Gram matrix and numpy.linalg.eigh"}


@dataclass(frozen=True)
class Report:
    """What came of all contenders.

    Attributes
    ----------
    contenders : list of Contender
        Order by order, in each the exact answer first.
    errors : list of float
        True error of each.
    library : str
        The array library.
    """

    contenders: Sequence[Contender]
    errors: Sequence[float]
    library: str

    @classmethod
    def make(cls, contenders: Sequence[Contender], library: str) -> Report:
        """Judge contenders that have answered by the exact answers among them."""
        orders = list(dict.fromkeys(c.order for c in contenders))
        ranked = sorted(contenders, key=lambda c: (orders.index(c.order), c.name != EXACT))
        truths = {c.order: c.found.vectors for c in ranked if c.name == EXACT}
        errors = [subspace_sin2(c.found.vectors, truths[c.order]) for c in ranked]
        return cls(ranked, errors, library)

    def exact(self, order: str) -> Answer:
        """Return the exact answer in one order of the rows."""
        return next(c.found for c in self.contenders if (c.name, c.order) == (EXACT, order))

    def judged(self) -> list[tuple[Contender, float]]:
        """Return all contenders with their true errors."""
        return list(zip(self.contenders, self.errors, strict=True))

    def blocks(self) -> list[Block]:
        """Return tables, their legend and remarks."""
        return [self.eigenvalues(), *self.results(), "\n".join(_LEGEND), tuple(self.notes())]

    def comparison(self, ours: str, rival: str, order: str, rows: str) -> Comparison:
        """Return ours beside a rival in one order of the rows."""
        found = {c.name: (c, error) for c, error in self.judged() if c.order == order}
        (c, error), (other, other_error) = found[ours], found[rival]
        k = c.found.vectors.shape[1]
        result = c.found.result
        estimate = small(result.error_estimate) if result is not None else NOTHING
        is_same = max(error, other_error) < _ROUNDING
        return Comparison(
            rows,
            f"{k} eigenvectors, sin² of the angle to these rows' own {small(error)} ({ours})",
            f"about {estimate} to the population's, of which these rows are a sample",
            c.meter.seconds,
            _RIVALS.get(rival, f"scikit-learn {rival.replace(', ', ', batches of ')}"),
            other.meter.seconds,
            "" if is_same else "error",
            error,
            other_error,
        )

    def eigenvalues(self) -> Table:
        """Return the leading eigenvalues as found by everyone."""
        rows = [
            (f"{c.name}, {c.order}", *(significant(float(x)) for x in c.found.variances[:_SHOWN]))
            for c in self.contenders
        ]
        numbers = (str(i + 1) for i in range(len(rows[0]) - 1))
        return Table(("eigenvalue of the covariance", *numbers), rows)

    def results(self) -> list[Table]:
        """Return errors, certificates and costs, one table an order of the rows."""
        orders = dict.fromkeys(c.order for c in self.contenders)
        return [
            Table(
                (order, *_HEADER),
                [self._line(c, error) for c, error in self.judged() if c.order == order],
                left=frozenset({_HEADER.index("status") + 1}),
            )
            for order in orders
        ]

    def _line(self, contender: Contender, error: float) -> tuple[str, ...]:
        """Return name, error, certificate and cost of a contender."""
        is_traced = contender.on_host or self.library in TRACED
        meter = contender.meter
        return (
            contender.name,
            "0" if contender.name == EXACT else small(error),
            *_certificate(contender.found),
            f"{meter.seconds:.2f}",
            f"{meter.peak / 2**20:.1f}" if is_traced else NOTHING,
        )

    def notes(self) -> list[str]:
        """Return what the certificates warned of, and whether the order test was right."""
        warned = [
            f"{c.name}, {c.order}: {c.found.warning}" for c in self.contenders if c.found.warning
        ]
        return warned + [note for c, error in self.judged() for note in _order_note(c, error)]


def _certificate(found: Answer) -> tuple[str, ...]:
    r = found.result
    if r is None:
        return (NOTHING,) * 6
    heavy = f"{r.n_heavy} ({r.n_heavy_required})" if r.n_heavy else NOTHING
    return (
        small(r.error_estimate),
        plain(r.gap, 2),
        small(r.residual),
        plain(r.order_zscore, 1),
        heavy,
        r.status,
    )


def _order_note(contender: Contender, error: float) -> list[str]:
    """Return what the order test says, where there is one, beside the true error."""
    r = contender.found.result
    if r is None or math.isnan(r.order_zscore):
        return []
    verdict = "finds fault with" if r.status == "order_not_random" else "accepts"
    return [
        f"{contender.name}: the order test {verdict} the {contender.order} "
        f"(z-score {r.order_zscore:.1f}); its true error there is {error:.1e}."
    ]
