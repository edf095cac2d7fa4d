"""Fibres of a function: its values along one variable, from which degrees and bases are found."""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import scipy.linalg

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.chebyshev._basis import (
    nodes,
    parseval,
    to_coefficients,
    to_values,
    vandermonde,
)
from linalgkit.chebyshev._sampler import BudgetError, Sampler

_HOST = numpy_namespace()
_FIRST_NODES = 17
# Of the tolerance: what coefficients beyond the degree, columns beyond the rank, and the rest of a
# fibre that was not used for the basis may have.
_TAIL, _COLUMN, _FRESH = 0.05, 0.01, 0.05
# Smallest distance from a corner that random points have, as a power of ten.
_DECADES = 4.0
# Batches of random fibres taken where the degree or the rank meets its limit.
_UNRESOLVED_BATCHES = 2
# The same for errors at the points that fibres go through.
_INSIDE = 0.5
# Coefficients that no longer decay, below this many units of rounding, are noise.
_NOISE_UNITS = 2.0**12


class Limits(NamedTuple):
    """What a build must keep to; tolerances are relative to the largest modulus."""

    tol: float
    eps: float
    max_nodes: int
    max_rank: int
    fixed_nodes: int | None = None

    @property
    def widest(self) -> int:
        """Columns of a basis: more than the ranks allowed, so that the best can be chosen."""
        return self.max_rank + max(8, self.max_rank // 4)

    def level(self, share: float, units: float, strictness: float = 1.0) -> float:
        """Return a share of the tolerance, not below some units of rounding."""
        return max(share * self.tol * strictness, units * self.eps)


class Fibres:
    """Values of one mode's fibres on one grid of Chebyshev points, and their basis.

    Attributes
    ----------
    positions : array (p, d)
        Points of [-1, 1]^d through which the fibres go.
    values : array (n, p)
        Their values at ``nodes(n)``.
    strictness : float
        Factor of the shares of the tolerance, at most 1: lowered where a check has failed.
    starved : bool
        Whether a finer grid was refused because it would have taken half of what may be asked.
    basis : array (n, r)
        Coefficients, orthonormal in the weighted norm.
    full_rank : int
        Columns that a basis without a limit would have.
    needed : int
        Coefficients that the fibres need, at most n.
    tail : float
        What the last coefficients still have, where the fibres are not resolved; else 0.
    """

    def __init__(self, mode: int, limits: Limits) -> None:
        self.mode, self.limits = mode, limits
        self.n = limits.fixed_nodes or min(_FIRST_NODES, limits.max_nodes)
        self.positions: Array | None = None
        self.values: Array | None = None
        self.tail = 0.0
        self.strictness = 1.0
        self.starved = False
        self.needed = 1
        self.full_rank = 1
        self.basis: Array = _HOST.ones((1, 1))

    @property
    def rank(self) -> int:
        """Columns of the basis."""
        return int(self.basis.shape[1])

    @property
    def is_resolved(self) -> bool:
        """Whether the coefficients have decayed to the tolerance."""
        return self.tail == 0.0

    def add(self, sampler: Sampler, positions: Array, values: Array | None = None) -> Array:
        """Take fibres in, refine the grid until they are resolved, return their coefficients."""
        if values is None:
            values = sampler.lines(self.mode, positions, nodes(self.n))
        inside = sampler.points(positions)
        while True:
            C = to_coefficients(values, 0, _HOST)
            tail = self._tail(C, sampler.largest)
            miss = self._miss_inside(C, positions, inside, sampler.largest)
            if max(tail, miss) == 0.0 or not self._may_refine(sampler, int(positions.shape[0])):
                break
            if miss == 0.0 and self._is_noise(C, sampler.largest):
                break
            try:
                values = self._refine(sampler, positions, values)
            except BudgetError:
                break
        self.tail = max(self.tail, tail, miss)
        first = self.positions is None
        self.positions = positions if first else _HOST.concat([self.positions, positions])
        self.values = values if first else _HOST.concat([self.values, values], axis=1)
        return C

    def _tail(self, C: Array, largest: float) -> float:
        """Return the largest of the last coefficients, or 0 where they are below the tolerance."""
        n = int(C.shape[0])
        last = C[n - max(2, n // 8) :, :] if n > 2 else C[n - 1 :, :]
        tail = float(_HOST.max(_HOST.abs(last)))
        return 0.0 if tail <= self.limits.level(_TAIL, 2.0, self.strictness) * largest else tail

    def _miss_inside(self, C: Array, positions: Array, inside: Array, largest: float) -> float:
        """Return the largest error at the points that the fibres go through, 0 if it is small.

        The points lie between the nodes, where what the grid misses does not look resolved.
        """
        T = vandermonde(positions[:, self.mode], int(C.shape[0]), _HOST)
        miss = float(_HOST.max(_HOST.abs(_HOST.sum(T * C.T, axis=1) - inside)))
        return 0.0 if miss <= self.limits.level(_INSIDE, 32.0, self.strictness) * largest else miss

    def _may_refine(self, sampler: Sampler, p: int) -> bool:
        """Tell whether a finer grid is allowed, for `p` new fibres and those held."""
        if self.limits.fixed_nodes or self.n >= self.limits.max_nodes:
            return False
        held = 0 if self.values is None else int(self.values.shape[1])
        if (self._next() - 1) * (p + held) > sampler.remaining // 2:
            self.starved = True
            return False
        return True

    def _next(self) -> int:
        """Return the size of the next grid: that with all nodes of this one, or the largest."""
        return min(2 * self.n - 1, self.limits.max_nodes)

    def _is_noise(self, C: Array, largest: float) -> bool:
        """Tell whether the coefficients have stopped to decay near the level of rounding."""
        n = int(C.shape[0])
        if n < 65:
            return False
        size = _HOST.max(_HOST.abs(C), axis=1)
        early, late = float(_HOST.max(size[n // 4 : n // 2])), float(_HOST.max(size[n // 2 :]))
        return early <= 3.0 * late and early <= _NOISE_UNITS * self.limits.eps * largest

    def _refine(self, sampler: Sampler, positions: Array, values: Array) -> Array:
        """Refine the grid of the fibres held and of new ones, whose values are returned."""
        n = self._next()
        held = 0 if self.values is None else int(self.values.shape[1])
        every = positions if held == 0 else _HOST.concat([self.positions, positions])
        if n < 2 * self.n - 1:
            fine = sampler.lines(self.mode, every, nodes(n))
        else:
            between = sampler.lines(self.mode, every, nodes(n)[1::2])
            known = values if held == 0 else _HOST.concat([self.values, values], axis=1)
            fine = _interleaved(known, between)
        if held:
            self.values = fine[:, :held]
        self.n = n
        return fine[:, held:]

    def find_basis(self, largest: float) -> None:
        """Find rank and basis from all fibres: QR with column pivoting of their coefficients."""
        if self.values is None:
            self.n, self.full_rank = 1, 1
            return
        C = to_coefficients(self.values, 0, _HOST)
        size = _HOST.max(_HOST.abs(C), axis=1)
        level = self.limits.level(_TAIL, 1.0, self.strictness) * largest
        above = _HOST.nonzero(size > level)[0]
        self.needed = int(above[-1]) + 1 if above.size else 1
        weights = parseval(self.n)[:, None]
        Q, R, _ = scipy.linalg.qr(weights * C, mode="economic", pivoting=True, check_finite=False)
        level = self.limits.level(_COLUMN, 3.0, self.strictness) * largest
        if not self.limits.fixed_nodes:
            level = max(level, 0.3 * self.tail)
        rank = int((_HOST.abs(_HOST.diagonal(R)) > level).sum())
        self.full_rank = max(rank, 1)
        rank = min(self.full_rank, self.limits.widest)
        self.basis = Q[:, :rank] / weights

    def miss(self, C: Array) -> float:
        """Return the largest weighted norm of what the basis leaves of fibres (n, p)."""
        weights = parseval(self.n)[:, None]
        Q, C = weights * self.basis, weights * C
        rest = C - Q @ (Q.conj().T @ C)
        return float(_HOST.max(_HOST.sqrt(_HOST.sum(_HOST.abs(rest) ** 2, axis=0))))

    def saturate(self, sampler: Sampler, draw: PointSource) -> None:
        """Add random fibres until fresh ones lie in the span of those before."""
        with contextlib.suppress(BudgetError):
            self.add(sampler, draw(8 if sampler.order > 1 else 1))
        self.find_basis(sampler.largest)
        batches = 0
        goes_on = self.is_resolved or self.limits.fixed_nodes is not None
        while sampler.order > 1 and (goes_on or batches < _UNRESOLVED_BATCHES):
            rank, n = self.full_rank, self.n
            batches += 1
            count = max(4, rank // 3)
            enough = rank > self.limits.widest and batches > _UNRESOLVED_BATCHES
            if enough or rank >= n or count * n > sampler.remaining // 4:
                return
            try:
                C = self.add(sampler, draw(count))
            except BudgetError:
                return
            accepted = self.limits.level(_FRESH, 8.0) * sampler.largest
            if not self.limits.fixed_nodes:
                accepted = max(accepted, self.tail)
            settled = self.n == n and self.miss(C) <= accepted
            self.find_basis(sampler.largest)
            if settled:
                return

    def node_values(self) -> Array:
        """Return the basis at the nodes (n, r)."""
        return to_values(self.basis, 0, _HOST)


def _interleaved(even: Array, odd: Array) -> Array:
    """Return rows of two arrays in turn."""
    rows = int(even.shape[0]) + int(odd.shape[0])
    result = _HOST.empty((rows, *even.shape[1:]), dtype=_HOST.result_type(even, odd))
    result[::2, ...], result[1::2, ...] = even, odd
    return result


class PointSource:
    """Random points of [-1, 1]^d, by turns.

    Half are uniform, three eighths have the density of the Chebyshev weight, one eighth lies near
    a corner, at distances of all scales: there the error of a polynomial and the steepest part of
    many functions are, where the others hardly ever come in four variables and more.
    """

    def __init__(self, order: int, rng: Any) -> None:
        self.order, self.rng = order, rng

    def __call__(self, n: int) -> Array:
        """Return `n` new points (n, d)."""
        P = self.rng.uniform(-1.0, 1.0, (n, self.order))
        half, eighth = slice(1, None, 2), slice(7, None, 8)
        P[half, :] = _HOST.sin(0.5 * math.pi * P[half, :])
        distance = 10.0 ** self.rng.uniform(-_DECADES, 0.0, P[eighth, :].shape)
        P[eighth, :] = _HOST.copysign(1.0 - distance, P[eighth, :])
        return P

    def corners(self) -> Array:
        """Return the corners (2^d, d)."""
        grid = _HOST.meshgrid(*([_HOST.asarray([-1.0, 1.0])] * self.order), indexing="ij")
        return _HOST.stack([g.ravel() for g in grid], axis=-1)
