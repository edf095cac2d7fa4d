"""How a function becomes a Tucker format: fibres, a core, a check at fresh points, more fibres.

1. Fibres through the largest values met and through random points, of each mode, until fresh ones
   lie in the span of those before: they give degrees and bases.
2. The core, from values at a few nodes of each mode; or all coefficients from the full grid,
   whichever takes fewer evaluations.
3. A truncation, chosen and checked at fresh points.
4. Where the check fails: from the worst points along each mode to the worst on that line, with new
   fibres through all of them, and stricter bases; then 2. again.

Differs from Dolgov, Kressner and Stroessner, SIAM J. Sci. Comput. 43 (2021) A2190: (i) columns are
drawn at random and tested by fresh ones, instead of a pivoted search in all m r^2 of them; (ii)
residuals at fresh points drive the enrichment, instead of a restart; (iii) nodes are oversampled,
and the tensor of their values grows; (iv) the full grid is taken where it is cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.chebyshev._basis import nodes
from linalgkit.chebyshev._check import Candidate, Checker
from linalgkit.chebyshev._cross import CoreSamples, core_points
from linalgkit.chebyshev._fibres import Fibres, Limits, PointSource
from linalgkit.chebyshev._grid import grid_values, weighted_coefficients
from linalgkit.chebyshev._norms import Norm
from linalgkit.chebyshev._parts import Parts
from linalgkit.chebyshev._raw import Raw, line_values
from linalgkit.chebyshev._sampler import BudgetError, Sampler

_HOST = numpy_namespace()
_PEAKS = 2
_MOST_ROUNDS, _FEW_ROUNDS = 40, 8
# Rounds without halving the error after which the search ends.
_PATIENCE = 2
_STRICTER = 0.5
# Points of a core or a full grid that is taken although the tolerance will not be met.
_COARSE_POINTS = 2**20
# Numbers of a core that are never exceeded.
_MOST_CORE = 2**25
# Lines added where the error is within a factor of the target.
_FAR, _FEW_LINES = 100.0, 4


@dataclass(frozen=True)
class Wish:
    """What a caller asked for.

    Attributes
    ----------
    limits : sequence of Limits
        One a mode.
    norm : Norm
        In which the error counts.
    method : {"auto", "grid", "cross"}
        How the core is found.
    ranks : tuple of int or None
        Upper limits asked for by the caller.
    n_iter : int
        Sweeps of alternating least squares (HOOI) after a truncation.
    n_check : int
        Fresh points of a check.
    pivots : array (q, d) or None
        Points of [-1, 1]^d through which fibres are taken.
    """

    limits: Sequence[Limits]
    norm: Norm
    method: str
    ranks: tuple[int, ...] | None
    n_iter: int
    n_check: int
    pivots: Array | None

    @property
    def tol(self) -> float:
        """Relative tolerance."""
        return self.limits[0].tol

    @property
    def has_degrees(self) -> bool:
        """Whether the caller gave the degrees."""
        return self.limits[0].fixed_nodes is not None


@dataclass
class Outcome:
    """What was built, in units of the sampler; parts lie on the host.

    `is_short` tells that the tolerance is met, but at fewer fresh points than asked for.
    """

    parts: Parts
    error: float
    scale: float
    status: str
    is_short: bool


class Builder:
    """The loop over rounds; `sampler` asks the function."""

    def __init__(self, sampler: Sampler, wish: Wish, rng: Any) -> None:
        self.sampler, self.wish = sampler, wish
        self.order = sampler.order
        self.draw = PointSource(self.order, rng)
        self.fibres = [Fibres(k, limits) for k, limits in enumerate(wish.limits)]
        self.core = CoreSamples(self.order)
        self.unit = tuple((-1.0, 1.0) for _ in range(self.order))
        self.check = Checker(sampler, wish.norm, wish.tol, self.draw, wish.n_check)
        self.lengths = [1] * self.order
        self.rounds = 0

    # ------------------------------------------------------------------------------ the loop

    def run(self) -> Outcome:
        """Return the best of all rounds."""
        best, status = self._first_round()
        if best.error > self.check.target and self._is_out_of_reach():
            best = self._better(best)
        stale = 0
        while best.error > self.check.target and self._may_go_on(stale):
            try:
                self._enrich(best)
                found = self._round()
            except BudgetError:
                status = "max_evals"
                break
            if found.error > best.error:
                self.check.rejudge(best)
            stale = 0 if found.error <= 0.5 * best.error else stale + 1
            best = found if found.error <= best.error else best
            self.check.prune(best)
        parts, error = self.check.settle(best)
        missed, is_short = error > self.check.target, self.check.is_short
        if not missed:
            return Outcome(
                parts, error, self.check.scale, "max_evals" if is_short else "converged", is_short
            )
        status = status or self._why(parts)
        return Outcome(parts, error, self.check.scale, status, False)

    def _first_round(self) -> tuple[Candidate, str]:
        """Return the first candidate, and the word for a budget that ended on the way."""
        self.check.probe(self.wish.pivots)
        status = ""
        try:
            self._first_fibres()
        except BudgetError:
            status = "max_evals"
        for group in self.fibres:
            group.find_basis(self.sampler.largest)
        try:
            return self._round(), status
        except BudgetError:
            return self._constant(), "max_evals"

    def _constant(self) -> Candidate:
        """Return the mean of the tests, for a budget that allows no more."""
        core = _HOST.reshape(_HOST.mean(self.check.values), (1,) * self.order)
        ones = [_HOST.ones((1, 1))] * self.order
        raw = Raw(core, ones, self.unit, _HOST)
        cut = raw.cut(0.0)
        return Candidate(raw, cut, *self.check.judge(raw, cut), verified=True)

    def _is_out_of_reach(self) -> bool:
        """Tell whether degrees or ranks have met their limits: the tolerance will not be met."""
        capped = any(group.full_rank > group.limits.max_rank for group in self.fibres)
        return capped or not all(group.is_resolved for group in self.fibres)

    def _better(self, best: Candidate) -> Candidate:
        """Return a candidate, or that of a coarse full grid where this is allowed and better."""
        spare = min(_COARSE_POINTS, self.sampler.remaining // 2, 4 * self.sampler.n_evals)
        side = int(spare ** (1.0 / self.order))
        if self.wish.method != "auto" or self.wish.has_degrees or self.order == 1 or side < 5:
            return best
        found = self.check.examine(self._from_grid([min(group.n, side) for group in self.fibres]))
        self.check.rejudge(best)
        return found if found.error < best.error else best

    def _may_go_on(self, stale: int) -> bool:
        """Tell whether another round may help."""
        if self._is_cut_by_ranks() or (self.wish.has_degrees and self._takes_grid()):
            return False
        if self._is_out_of_reach() and not self.wish.has_degrees:
            return stale == 0 and self.rounds < _FEW_ROUNDS
        return self.rounds < _MOST_ROUNDS and stale < _PATIENCE + self.order

    def _is_cut_by_ranks(self) -> bool:
        """Tell whether the ranks asked for are below what the function has at the tolerance."""
        ranks = self.wish.ranks
        if ranks is None:
            return False
        return any(group.full_rank > r for group, r in zip(self.fibres, ranks, strict=True))

    def _why(self, parts: Parts) -> str:
        """Return the word for what stood in the way of an answer."""
        if self._is_cut_by_ranks():
            return "ranks"
        if self.wish.has_degrees:
            return "degrees"
        if any(group.starved for group in self.fibres):
            return "max_evals"
        limits = self.wish.limits
        if any(2 * m > limit.max_nodes for m, limit in zip(parts.lengths, limits, strict=True)):
            return "max_degree"
        capped = any(group.full_rank > group.limits.max_rank for group in self.fibres)
        reached = any(r >= g.max_rank for r, g in zip(parts.core.shape, limits, strict=True))
        return "max_rank" if capped or reached else "inaccurate"

    # --------------------------------------------------------------------------- the phases

    def _first_fibres(self) -> None:
        """Take fibres of all modes: through hints, from the largest values on, at random."""
        zero = Parts(
            _HOST.zeros((1,) * self.order),
            tuple(_HOST.ones((1, 1)) for _ in range(self.order)),
            self.unit,
            _HOST,
        )
        starts = self.check.largest_probes(_PEAKS)
        if self.wish.pivots is not None:
            starts = _HOST.concat([starts, self.wish.pivots])
        self._add_lines(zero, starts)
        for group in self.fibres:
            group.saturate(self.sampler, self.draw)

    def _takes_grid(self) -> bool:
        """Tell whether the full grid is to be taken."""
        if self.wish.method != "auto":
            return self.wish.method == "grid"
        held = 0 if self.core.values is None else math.prod(self.core.values.shape)
        lines = sum(g.n * max(4, g.rank // 3) for g in self.fibres)
        cross = min(core_points(self.fibres), self._most_core()) + lines - held
        return math.prod(self._grid_lengths()) <= cross

    def _grid_lengths(self) -> list[int]:
        """Return how many nodes a mode of the full grid takes."""
        if self.wish.has_degrees:
            return [group.n for group in self.fibres]
        lengths = [max(g.needed, m) for g, m in zip(self.fibres, self.lengths, strict=True)]
        most = self.sampler.remaining * 3 // 4
        return _within(lengths, most if self.wish.method == "grid" else min(most, _MOST_CORE))

    def _round(self) -> Candidate:
        """Build once from the fibres as they are, and check."""
        self.rounds += 1
        return self.check.examine(self._from_grid() if self._takes_grid() else self._from_cross())

    def _from_grid(self, lengths: Sequence[int] | None = None) -> Raw:
        """Return the coefficients of the full grid, of the degrees found by default."""
        if lengths is None:
            lengths = self.lengths = self._grid_lengths()
        xp = self.sampler.xp
        C = weighted_coefficients(grid_values(self.sampler, lengths), xp)
        return Raw(C, None, self.unit, xp, ranks=self._ranks(lengths), n_iter=self.wish.n_iter)

    def _from_cross(self) -> Raw:
        """Return core and bases from chosen nodes."""
        self._keep_budget()
        core = self.core.core(self.sampler, self.fibres)
        bases = [group.basis for group in self.fibres]
        return Raw(
            core, bases, self.unit, _HOST, ranks=self._ranks(core.shape), n_iter=self.wish.n_iter
        )

    def _ranks(self, sizes: Sequence[int]) -> Sequence[int] | None:
        """Return the limits of the ranks, where any is below these sizes."""
        limits = self.wish.ranks or [group.limits.max_rank for group in self.fibres]
        return None if all(n <= r for n, r in zip(sizes, limits, strict=True)) else limits

    def _most_core(self) -> int:
        """Return how many values a core may be made of."""
        return _COARSE_POINTS if self._is_out_of_reach() else _MOST_CORE

    def _keep_budget(self) -> None:
        """Leave basis vectors away until the core fits into what may still be asked."""
        left = self.sampler.remaining
        left -= min(self.wish.n_check, left // 2)
        most = min(left, self._most_core())
        while self.core.new_points(self.fibres) > most:
            widest = max(self.fibres, key=lambda g: g.rank)
            if widest.rank == 1:
                raise BudgetError
            widest.basis = widest.basis[:, : min(widest.rank - 1, widest.rank * 9 // 10)]

    # ------------------------------------------------------------------------- enrichment

    def _enrich(self, best: Candidate) -> None:
        """Take fibres through the worst points and through the worst on those; be stricter."""
        lengths = self._grid_lengths()
        was_grid = self._takes_grid()
        for group in self.fibres:
            group.strictness *= _STRICTER
        far = best.error > _FAR * self.check.target
        self._add_lines(best.parts, best.worst if far else best.worst[:_FEW_LINES, :])
        for group in self.fibres:
            group.find_basis(self.sampler.largest)
        if was_grid and self._grid_lengths() == lengths:
            self.lengths = [
                min(m + max(2, m // 4), g.limits.max_nodes)
                for m, g in zip(lengths, self.fibres, strict=True)
            ]

    def _add_lines(self, parts: Parts, starts: Array) -> None:
        """Add fibres through points, moving on each of them to the largest error on it.

        Every round begins with another mode, whose fibres go through the points themselves.
        """
        P = starts.copy()
        for shift in range(self.order):
            k = (self.rounds + shift) % self.order
            group = self.fibres[k]
            t = nodes(group.n)
            L = self.sampler.lines(k, P, t)
            group.add(self.sampler, P.copy(), L)
            P[:, k] = t[_HOST.argmax(_HOST.abs(L - line_values(parts, P, k, t)), axis=0)]


def _within(lengths: Sequence[int], most: int) -> list[int]:
    """Return lengths, the longest shortened until their product is at most `most`."""
    lengths = list(lengths)
    while math.prod(lengths) > max(most, 1):
        k = lengths.index(max(lengths))
        lengths[k] = lengths[k] * 9 // 10
    return lengths
