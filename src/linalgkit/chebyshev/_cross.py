"""Fibre cross: the core of a Tucker format from values on a small tensor of chosen nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import scipy.linalg

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.modes import mode_products
from linalgkit.chebyshev._basis import nodes
from linalgkit.chebyshev._fibres import Fibres
from linalgkit.chebyshev._sampler import Sampler

_HOST = numpy_namespace()
# Noise in the samples may grow by this factor at a node that is not sampled, in each mode.
_AMPLIFIED = 3.0


def core_rows(group: Fibres, order: int) -> int:
    """Return how many nodes of a mode are taken: least squares damps the interpolation.

    A quarter more than the rank; in four variables and more an eighth, until a check has failed.
    """
    rank = group.rank
    few = order > 3 and group.strictness > 0.1
    extra = max(1, rank // 8) if few else max(1, rank // 4)
    return min(rank + extra, group.n)


def core_points(fibres: Sequence[Fibres]) -> int:
    """Return the evaluations that a core of these ranks takes."""
    return math.prod(core_rows(group, len(fibres)) for group in fibres)


class CoreSamples:
    """Values of the function on a tensor of nodes that grows with the bases.

    The nodes of a mode are chosen by QR with column pivoting of the transposed basis (the
    discrete empirical interpolation method in the form of Drmac and Gugercin), with some more than
    the rank; nodes chosen once stay, so that only new entries of the tensor are evaluated.
    """

    def __init__(self, order: int) -> None:
        self.nodes: list[list[float]] = [[] for _ in range(order)]
        self.values: Array | None = None

    def core(self, sampler: Sampler, fibres: Sequence[Fibres]) -> Array:
        """Return the core in the bases of the fibres, a host array."""
        inverses, added = [], []
        grids = [nodes(group.n) for group in fibres]
        places = [self._places(mode, t) for mode, t in enumerate(grids)]
        if self.values is None:
            places = [old[:0] for old in places]
        for group, t, old in zip(fibres, grids, places, strict=True):
            V = group.node_values()
            rows = _chosen_rows(V, old.astype(int), core_rows(group, len(fibres)))
            added.append([float(t[i]) for i in rows[len(old) :]])
            inverses.append(_HOST.linalg.pinv(V[rows, :]))
        self._grow(sampler, added)
        return mode_products(self.values, inverses, _HOST)

    def _places(self, mode: int, t: Array) -> Array:
        """Return where the nodes held are among `t`; all samples are given up if they are not."""
        held = _HOST.asarray(self.nodes[mode])
        old = _HOST.searchsorted(t, held - 1e-13)
        if held.size and not _HOST.abs(t[_HOST.clip(old, 0, t.size - 1)] - held).max() < 1e-12:
            self.values, self.nodes = None, [[] for _ in self.nodes]
            return old[:0]
        return old

    def new_points(self, fibres: Sequence[Fibres]) -> int:
        """Return an upper bound of the evaluations that :meth:`core` would take."""
        held = math.prod(len(t) for t in self.nodes)
        sizes = [
            max(len(t), core_rows(group, len(fibres)))
            for t, group in zip(self.nodes, fibres, strict=True)
        ]
        return math.prod(sizes) - held

    def _grow(self, sampler: Sampler, added: Sequence[list[float]]) -> None:
        """Evaluate the new entries, mode by mode: those before with all nodes, those after old."""
        for mode, new in enumerate(added):
            if not new:
                continue
            if self.values is None:
                self.nodes = [list(t) for t in added]
                self.values = sampler.host_tensor([_HOST.asarray(t) for t in self.nodes])
                return
            ts = [_HOST.asarray(t) for t in self.nodes]
            ts[mode] = _HOST.asarray(new)
            block = sampler.host_tensor(ts)
            self.values = _HOST.concat([self.values, block], axis=mode)
            self.nodes[mode] = self.nodes[mode] + new


def _chosen_rows(V: Array, old: Array, wanted: int) -> list[int]:
    """Return rows of `V` (n, r): `old` first, then those that determine the coefficients best."""
    n = int(V.shape[0])
    rows = [int(i) for i in old]
    wanted = min(max(wanted, len(rows)), n)
    while True:
        while len(rows) < wanted:
            rows = rows + _next_rows(V, rows, wanted - len(rows))
        if len(rows) >= n:
            return rows
        unsafe = int((_HOST.sum(_HOST.abs(_whitened(V, rows)) ** 2, axis=1) > _AMPLIFIED**2).sum())
        if not unsafe:
            return rows
        wanted = len(rows) + 1 + min(unsafe, len(rows) // 8)


def _next_rows(V: Array, rows: list[int], count: int) -> list[int]:
    """Return up to `count` rows: those that the rows before determine worst."""
    free = _HOST.setdiff1d(_HOST.arange(V.shape[0]), _HOST.asarray(rows, dtype=int))
    W = _whitened(V, rows)[free, :] if rows else V[free, :]
    _, _, order = scipy.linalg.qr(W.T, mode="economic", pivoting=True, check_finite=False)
    return [int(i) for i in free[order[: min(count, int(W.shape[1]))]]]


def _whitened(V: Array, rows: list[int]) -> Array:
    """Return ``V`` in coordinates in which the rows chosen are orthonormal, as far as they go.

    The squared norm of a row is then the variance of the interpolant at its node, for noise of
    variance one in the samples. Directions that the rows leave open have a large weight.
    """
    _, s, Zh = _HOST.linalg.svd(V[rows, :], full_matrices=True)
    scale = _HOST.full(int(V.shape[1]), 1e-8 * float(s[0]))
    scale[: len(s)] = _HOST.maximum(s, 1e-8 * s[0])
    return (V @ Zh.conj().T) / scale
