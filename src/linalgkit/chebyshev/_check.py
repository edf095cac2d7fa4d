"""The check of an approximation at fresh points, from which its error estimate comes."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._fibres import PointSource
from linalgkit.chebyshev._norms import Norm
from linalgkit.chebyshev._parts import Parts
from linalgkit.chebyshev._raw import Cut, Raw, line_values
from linalgkit.chebyshev._recompress import trimmed
from linalgkit.chebyshev._sampler import BudgetError, Sampler

_HOST = numpy_namespace()
_PROBES = 128
_WORST = 8
# Truncations are tried from a share of the tolerance on; the least stands for none.
_FIRST_CUT, _LEAST_CUT, _CUTS = 0.5, 1e-5, 4
# Lines of a search start at the worst points and where the function is largest.
_LINES, _LINE_POINTS, _DECADES = 3, 12, 3.0
# Of more tests than the first number only the second is kept from round to round.
_MOST_TESTS, _KEPT_TESTS = 1000, 300
# An error at the tests so far beyond this many targets needs no fresh ones.
_NEAR = 2.0


class Verdict(NamedTuple):
    """Error of an approximation over all tests, and the points (q, d) where it is largest."""

    error: float
    worst: Array


@dataclass
class Candidate:
    """A truncation with its error, in units of the sampler.

    `verified` tells whether it has been tried at fresh points, after it was made.
    """

    raw: Raw
    cut: Cut
    error: float
    worst: Array
    verified: bool

    @property
    def parts(self) -> Parts:
        """The approximation, on the host."""
        return self.raw.parts(self.cut)


def values_at(parts: Parts, P: Array) -> Array:
    """Return the values of parts on the host at host points."""
    return scattered(parts, P, "extrapolate")


class Checker:
    """Points of [-1, 1]^d with the values of the function, at which approximations are tried."""

    def __init__(
        self, sampler: Sampler, norm: Norm, tol: float, draw: PointSource, n_check: int
    ) -> None:
        self.sampler, self.norm, self.tol, self.draw = sampler, norm, tol, draw
        self.n_check = n_check
        self.is_short = False
        self.pinned = 0
        self.points = _HOST.empty((0, sampler.order))
        self.values = _HOST.empty(0)

    # ------------------------------------------------------------------------------- tests

    def probe(self, pivots: Array | None) -> None:
        """Ask at a few points, which fix the unit of the sampler and are the first tests."""
        points = self.norm.points(self.draw, min(_PROBES, self.sampler.remaining // 4))
        if not self.norm.is_mean:
            points = _HOST.concat([points, self.draw.corners()])
        if pivots is not None:
            points = _HOST.concat([points, pivots])
        self.points = points
        self.values = self.sampler.set_unit(self.sampler.points(points))
        self.pinned = int(points.shape[0])

    def largest_probes(self, count: int) -> Array:
        """Return the points at which the function is largest."""
        order = _HOST.argsort(-_HOST.abs(self.values), stable=True)
        return self.points[order[:count], :]

    def refresh(self) -> None:
        """Ask at fresh points. A norm that is a mean forgets those before."""
        n = min(self.n_check, self.sampler.remaining)
        if n < 1:
            raise BudgetError
        self.is_short = n < self.n_check
        points = self.norm.points(self.draw, n)
        values = self.sampler.points(points)
        if self.norm.is_mean:
            self.points, self.values = points, values
        else:
            self._join(points, values)

    def _join(self, points: Array, values: Array) -> None:
        self.points = _HOST.concat([self.points, points])
        self.values = _HOST.concat([self.values, values])

    # ---------------------------------------------------------------------------- judging

    @property
    def scale(self) -> float:
        """Size of the function in the norm asked for."""
        return self.norm.size(self.values) if self.norm.is_mean else self.sampler.largest

    @property
    def target(self) -> float:
        """Error asked for."""
        return self.tol * self.scale

    def absolute(self, share: float) -> float:
        """Return a share of the target as an error in the weighted norm."""
        return share * self.target / self.norm.weighted_factor(self.sampler.order)

    def judge(self, raw: Raw, cut: Cut) -> Verdict:
        """Return the error of a truncation at all tests so far."""
        return self._verdict(raw.values(cut, self.points))

    def _verdict(self, approximation: Array) -> Verdict:
        rest = _HOST.abs(self.values - approximation)
        order = _HOST.argsort(-rest, stable=True)[:_WORST]
        order = order[rest[order] >= 0.03 * rest[order[0]]]
        return Verdict(self.norm.size(rest), self.points[order, :])

    def examine(self, raw: Raw) -> Candidate:
        """Return the shortest truncation that passes at fresh points, or the least one."""
        least = raw.least_cut(self.absolute(_LEAST_CUT))
        verdict = self.judge(raw, least)
        if verdict.error > _NEAR * self.target:
            return Candidate(raw, least, *verdict, verified=False)
        self.refresh()
        found = Candidate(raw, least, *self.judge(raw, least), verified=True)
        if found.error <= self.target and self._search_lines(found):
            self.rejudge(found)
        if found.error > self.target:
            return found
        found = self._shortest(raw, least)
        if self._search_lines(found):
            self.rejudge(found)
            if found.error > self.target and self.judge(raw, least).error <= self.target:
                found = self._shortest(raw, least)
        return found

    def _shortest(self, raw: Raw, least: Cut) -> Candidate:
        """Return a truncation whose error at all tests meets the target, or the least."""
        share = _FIRST_CUT
        for _ in range(_CUTS):
            cut = raw.cut(self.absolute(share))
            verdict = self.judge(raw, cut)
            if verdict.error <= self.target:
                return Candidate(raw, cut, *verdict, verified=True)
            share *= min(0.4, max(0.01, 0.5 * self.target / verdict.error))
        return Candidate(raw, least, *self.judge(raw, least), verified=True)

    def prune(self, candidate: Candidate) -> None:
        """Forget tests at which a candidate is good, so that later rounds are quick.

        Never the first, among which are the corners and the hints of the caller.
        """
        if self.norm.is_mean or int(self.values.shape[0]) <= _MOST_TESTS:
            return
        rest = _HOST.abs(self.values - candidate.raw.values(candidate.cut, self.points))
        rest[: self.pinned] = math.inf
        kept = _HOST.sort(_HOST.argsort(-rest, stable=True)[: _KEPT_TESTS + self.pinned])
        self.points, self.values = self.points[kept, :], self.values[kept]

    def rejudge(self, candidate: Candidate) -> None:
        """Bring the error of an earlier candidate up to the tests of now."""
        candidate.error, candidate.worst = self.judge(candidate.raw, candidate.cut)

    def settle(self, candidate: Candidate) -> tuple[Parts, float]:
        """Return the final parts and their error: verified, and without what does not count."""
        if not candidate.verified:
            with contextlib.suppress(BudgetError):
                self.refresh()
            self.rejudge(candidate)
            self._search_lines(candidate)
            self.rejudge(candidate)
        if candidate.error > self.target:
            self._shorten(candidate)
        return self._trimmed(candidate)

    def _shorten(self, candidate: Candidate) -> None:
        """Cut what lies far below the error of a candidate that misses the target."""
        share = 0.2 * candidate.error / self.target if self.target else 0.0
        cut = candidate.raw.cut(self.absolute(share))
        verdict = self.judge(candidate.raw, cut)
        if verdict.error <= 1.2 * candidate.error:
            candidate.cut, candidate.error = cut, verdict.error

    def _trimmed(self, candidate: Candidate) -> tuple[Parts, float]:
        """Return a candidate without the highest degrees, as far as the error does not change."""
        parts = candidate.parts
        allowed = self.target if candidate.error <= self.target else 1.02 * candidate.error
        for share in (0.03, 1e-3, 1e-5):
            shorter, _ = trimmed(parts, self.absolute(share))
            error = self._verdict(values_at(shorter, self.points)).error
            if error <= allowed:
                return shorter, error
        return parts, candidate.error

    def _search_lines(self, candidate: Candidate) -> bool:
        """Look for larger errors along each variable in turn, from the worst points so far.

        The points join the tests; False where nothing was asked.
        """
        peak = _HOST.reshape(self.sampler.peak, (1, -1))
        P = _HOST.concat([candidate.worst[:_LINES, :], peak])
        parts = candidate.parts
        count = _LINE_POINTS * int(P.shape[0])
        if self.norm.is_mean or not count or count * self.sampler.order > self.sampler.remaining:
            return False
        for k in range(self.sampler.order):
            t = self._line_points(P[:, k])
            Q = on_lines(P, k, t)
            values = self.sampler.points(Q)
            error = _HOST.abs(values.reshape(t.shape) - line_values(parts, P, k, t))
            P[:, k] = _HOST.take_along_axis(t, _HOST.argmax(error, axis=0)[None, :], axis=0)[0, :]
            self._join(Q, values)
        return True

    def _line_points(self, centres: Array) -> Array:
        """Return points (m, p) of [-1, 1]: ends, anywhere, and at distances of all scales."""
        rng = self.draw.rng
        shape = (_LINE_POINTS, int(centres.shape[0]))
        t = rng.uniform(-1.0, 1.0, shape)
        steps = 10.0 ** rng.uniform(-_DECADES, 0.0, shape) * _HOST.sign(t)
        near = _HOST.clip(centres[None, :] + steps, -1.0, 1.0)
        t = _HOST.where(_HOST.arange(_LINE_POINTS)[:, None] % 2 == 0, t, near)
        t[:2, :] = _HOST.asarray([[-1.0], [1.0]])
        return t


def on_lines(P: Array, k: int, t: Array) -> Array:
    """Return points (m p, d) along variable k at `t` (m,) or (m, p), through `P` (p, d)."""
    Q = _HOST.repeat(P[None, :, :], int(t.shape[0]), axis=0)
    Q[:, :, k] = t if t.ndim == 2 else t[:, None]
    return Q.reshape(-1, int(P.shape[1]))
