"""States that grow by trial: matrices side by side with the interval for their joint error.

A trial leaves the state before it as it was::

    pile = started(blocks, [4, 2], rank, 5)
    larger = pile.with_blocks([7, 1])
    if larger.upper() <= eps: pile = larger

"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from linalgkit._core.array import Array, Namespace, adjoint, device, eps, is_sparse, widest_dtype
from linalgkit._core.linalg import eigh_desc, hermitian_part
from linalgkit._core.scaling import norm_fro
from linalgkit.svd._account import Account, Enclosure
from linalgkit.svd._blocks import HOST, Blocks, Places
from linalgkit.svd._columns import Columns, DenseColumns, as_columns, conj
from linalgkit.svd._steps import (
    Kept,
    Truncation,
    columns,
    decomposed,
    direct_step,
    gram_step,
    host,
)

_ROUNDING = 8.0
_STEP = 64  # columns that come in together, at least
_MANY = 6  # columns from which on most are projected first, over the directions kept
_SPREAD = 2  # columns that are not, over the directions kept
_LEAF = 4096  # columns that are projected together
_LEAF_ROUNDING = 8.0  # roundoffs of the squares that a projection is off by
_SHARE = 100.0  # so many times larger must the square that may be lost be


@dataclass(frozen=True, eq=False)
class Pile:
    """Matrices of a collection side by side, truncated.

    Attributes
    ----------
    blocks : Blocks
        The collection.
    rank, cap : int
        Rank of the approximation, and of what is kept.
    target : float
        Relative error that is to be certified; 0 keeps every column as exact as can be.
    width : int
        Columns so far.
    kept : Kept or None
        What is kept.
    account : Account
        What was discarded.
    """

    blocks: Blocks
    rank: int
    cap: int
    target: float = 0.0
    width: int = 0
    kept: Kept | None = None
    account: Account = field(default_factory=Account)

    def with_blocks(self, places: Places) -> Pile:
        """Return the pile with more matrices.

        Of many columns some, evenly spread, come in as they are. The others are projected first on
        as many combinations of themselves as the pile has directions.
        """
        places = HOST.asarray(places, dtype="int64")
        rounded = _LEAF_ROUNDING * self._wide_eps
        is_fine = self.target**2 < _SHARE * rounded
        if is_fine or self.blocks.width(places) < _MANY * self.cap:
            return self._with_all(places)
        every = max(2, self.blocks.width(places) // (_SPREAD * self.cap))
        is_first = HOST.zeros(len(places), dtype="bool")
        is_first[::every] = True
        pile = self._with_all(places[is_first])
        for part in self.blocks.parts(places[~is_first], _LEAF):
            pile = pile._with_leaf(part)
        return pile

    def _with_all(self, places: Places) -> Pile:
        pile = self
        for part in self.blocks.parts(places, max(self.cap, _STEP)):
            account = pile.account.taken_in(self.blocks.energy(part))
            new = as_columns(self.blocks.columns(part))
            pile = pile._stepped(new, account, pile.width + new.b)
        return pile

    # With V orthonormal, E = A - A V V^H has rows orthogonal to those of all that is kept, so that
    # the account stays exact. V spans the rows of Q^H A, hence ||A V|| >= ||Q^H A||.
    def _with_leaf(self, places: Places) -> Pile:
        """Return the pile with the best that its own directions know of many columns."""
        xp, blocks = self.blocks.xp, self.blocks
        if self.kept is None or self.kept.rank == 0:
            return self._with_all(places)
        rows = blocks.columns(places)
        new = as_columns(rows)
        Q = xp.matrix_transpose(decomposed(self.kept, xp)[0])
        wide = widest_dtype(xp, blocks.device, blocks.dtype)
        V = _orthonormal_rows(xp.astype(blocks.coordinates(rows, Q), wide, copy=False), xp)
        if int(V.shape[1]) == 0:  # all of it is orthogonal to what is kept
            return self._with_all(places)
        if is_sparse(rows):
            P = new.combined(V)
        else:
            P = xp.matrix_transpose(V) @ xp.astype(rows, wide, copy=False)
        energy = blocks.energy(places)
        lost = max(0.0, energy - norm_fro(P, xp) ** 2)
        lost += _LEAF_ROUNDING * self._wide_eps * energy
        projected = DenseColumns(xp.astype(P, blocks.dtype, copy=False), xp)
        account = self.account.taken_in(energy).seen(energy, 4).leaf(lost, lost)
        return self._stepped(projected, account, self.width + new.b)

    def _stepped(self, new: Columns, account: Account, width: int) -> Pile:
        xp = self.blocks.xp
        rule = Truncation(self.cap, floor=math.sqrt(50.0 * self._wide_eps))
        k = 0 if self.kept is None else self.kept.rank
        step = direct_step if self.blocks.m <= k + new.b else gram_step
        found = step(self.kept, new, rule, xp)
        account = account.seen(found.squares[0] if found.squares else 0.0, len(found.squares))
        account = account.truncated(found.squares[found.kept.rank :], self.cap)
        return replace(self, kept=found.kept, account=account, width=width)

    def merged(self, other: Pile) -> Pile:
        """Return two piles as one, from what each of them kept."""
        if other.kept is None:
            return self
        xp = self.blocks.xp
        new = DenseColumns(columns(other.kept, xp), xp)
        account = self.account.merged(other.account)
        return self._stepped(new, account, self.width + other.width)

    @property
    def _wide_eps(self) -> float:
        xp = self.blocks.xp
        return eps(xp, widest_dtype(xp, self.blocks.device, self.blocks.dtype))

    def enclosure(self) -> Enclosure:
        """Return what is certain, with room for rounding errors."""
        squares = [] if self.kept is None else [v * v for v in host(self.kept.s)]
        top = squares[0] if squares else 0.0
        roundoff = eps(self.blocks.xp, self.blocks.dtype)
        slack = _ROUNDING * roundoff * math.sqrt(top * max(1, self.width))
        room = _ROUNDING * self._wide_eps * (top + self.account.noise)
        return Enclosure(tuple(squares), self.account, slack, room)

    def interval(self) -> tuple[float, float]:
        """Return an interval for the relative error of rank `rank`."""
        norm = math.sqrt(self.account.energy)
        if norm == 0.0 or self.width <= self.rank:
            return 0.0, 0.0
        low, high = self.enclosure().optimal_error_bounds(self.rank)
        return min(1.0, low / norm), min(1.0, high / norm)

    def basis(self) -> Array:
        """Return the orthonormal basis, as rows, `rank` of them at most, that is certified."""
        xp = self.blocks.xp
        if self.kept is None or self.kept.rank == 0:
            return xp.zeros((0, self.blocks.m), dtype=self.blocks.dtype, device=self.blocks.device)
        U, _, _ = decomposed(self.kept, xp)
        return xp.matrix_transpose(U[:, : self.rank])

    def leading_squares(self) -> list[float]:
        """Return the squares of the singular values kept, `rank` of them at most."""
        return [] if self.kept is None else [v * v for v in host(self.kept.s)[: self.rank]]

    def upper(self) -> float:
        """Return the certified relative error."""
        return self.interval()[1]


def started(blocks: Blocks, places: Places, rank: int, oversamples: int) -> Pile:
    """Return the pile of some matrices."""
    return Pile(blocks, rank, min(blocks.m, rank + oversamples)).with_blocks(places)


def _orthonormal_rows(C: Array, xp: Namespace) -> Array:
    """Return ``V`` (b, q), orthonormal columns that span those of ``conj(C)``."""
    V = conj(C, xp)
    for floor in (1e-7, 0.5):
        w, Z = eigh_desc(hermitian_part(adjoint(V, xp) @ V, xp), xp)
        values = host(w)
        least = floor * values[0] if values else 0.0
        count = sum(value > max(0.0, least) for value in values)
        lengths = [value**-0.5 for value in values[:count]]
        V = V @ (Z[:, :count] * xp.asarray(lengths, dtype=Z.dtype, device=device(Z))[None, :])
    return V
