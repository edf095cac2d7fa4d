"""The engine behind the random-order methods: many rules, one pair of products a block.

The columns of all rules stand side by side in one matrix ``Z``; a block of rows costs
``P = B Z`` and ``D = B^H P``, one addition ``Y += D``, and a few numbers::

    engine = SegmentEngine(d, k, xp=xp, device=device, dtype=dtype, rng=rng, rules=rules)
    engine.update(block)
    lam, V = engine.finish().top(k)

Rules are scored on every block before they see it, so that the scores are unbiased Rayleigh
quotients whatever a rule over-fits.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from array_api_extra import at

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    asarray,
    eps,
    itemsize,
    real_dtype,
    to_numpy,
)
from linalgkit._core.linalg import eigh_top
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.random import rng_from_state, rng_state, standard_normal
from linalgkit._core.state import State, check_mergeable
from linalgkit.streaming import theory
from linalgkit.streaming._candidates import Rule, Segment, merged_summary
from linalgkit.streaming._diagnostics import Probe, Scores, quality
from linalgkit.streaming._engine import Certificate, Engine, host_values
from linalgkit.streaming._heap import with_kernels

# Long enough that what is done once a block costs little, and small against the memory of any
# machine that would be asked to stream such rows.
_BLOCK_BYTES = 2**23
_BLOCK_ROWS = (128, 1024)
# So many first rows are decomposed, and no piece of an early segment is shorter than this.
_FIRST_ROWS = 256
_PIECE_ROWS = 64
# Rules are compared on so many rows at a time, to know how sure the comparison is.
_SCORE_ROWS = 128
# Segments are this share of all rows before them: short enough that the rules lose little
# accuracy (a tenth against much shorter ones), long enough that closing them costs little.
_GROWTH = 0.5
# Rows of the heap below this share of the k-th eigenvalue are no obstruction to a segment.
_LIGHT_SHARE = 0.05
# Rows below this many mean squared norms are no outliers, whatever the theorem's constants say.
_TYPICAL_NORMS = 10.0


def block_rows(d: int, bytes_per_entry: int) -> int:
    """Return the number of rows in a block, a function of the sizes alone."""
    low, high = _BLOCK_ROWS
    rows = _BLOCK_BYTES // (d * bytes_per_entry)
    return max(low, min(high, _power_of_two(rows)))


def _power_of_two(rows: int) -> int:
    """Return the largest power of two not above `rows`, at least 1."""
    return 1 << max(0, rows.bit_length() - 1)


class SegmentEngine(Engine):
    """Rules of :mod:`linalgkit.streaming._candidates` on one stream of light rows.

    Parameters
    ----------
    d, n_components, xp, device, dtype
        As in :class:`~linalgkit.streaming._engine.Engine`.
    rng : numpy.random.Generator
        Fills up the columns where the first rows have too small a rank.
    rules : sequence of Rule
        The first is the incumbent: another wins only with a clearly better score.

    Notes
    -----
    Storage in words of the working dtype: ``d Q`` for `Z` and, in the widest dtype, ``d Q``
    for `Y` and ``9 d k`` for the certificate, where `Q` counts the columns of all rules; plus
    ``d Q`` for the product of a block while it is taken in.

    ``heavy_rows`` may be set to the rows held back from the stream: rules whose picture of the
    light rows is wanted along those directions too then keep them in sight.

    ``tests_order`` is to be set to False where rows come with weights, or fade within a block:
    their norms then are not exchangeable in any order, and the order statistic is NaN.
    """

    order: ClassVar[str] = "random"
    observes = False  # whether somebody else closes the segments, see _observation
    observed_from = 0  # position of an observer's first row

    def __init__(
        self,
        d: int,
        n_components: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        rng: Any,
        rules: Sequence[Rule],
    ) -> None:
        super().__init__(d, n_components, xp=xp, device=device, dtype=dtype)
        self.rules = list(rules)
        for rule in self.rules:
            rule.roundoff = eps(xp, dtype)
        self.heavy_rows: Array | None = None
        self.tests_order = True
        self.position = 0  # light rows taken in, forgotten ones too
        self.n_light = 0.0
        self.energy = 0.0
        self._starts = [0.0] * len(self.rules)
        self._mark = 0.0
        self._rng = rng
        self._final = False
        self._exact: tuple[Array, Array] | None = None
        self._Y: Array = None
        self._Z: Array = None
        self._fresh = self._zero()
        self._real = real_dtype(xp, self.wide)
        self._complex = self.is_complex
        self._block_rows = block_rows(d, itemsize(xp, dtype))
        widths = [rule.width for rule in self.rules]
        self._slices = [slice(sum(widths[:i]), sum(widths[: i + 1])) for i in range(len(widths))]
        self.scores = Scores([s.start for s in self._slices], n_components, xp)
        self.probe = Probe(n_components, xp)

    # ------------------------------------------------------------------------ rows come in

    @property
    def block_rows(self) -> int:
        """Rows a block should have."""
        return self._block_rows

    @property
    def rank(self) -> int:
        """Columns of the widest rule: as many pairs as :meth:`top` can have."""
        return max(rule.width for rule in self.rules)

    @property
    def has_columns(self) -> bool:
        """Whether the first rows have been decomposed."""
        return self._Z is not None

    @property
    def n_columns(self) -> int:
        """Columns of all rules."""
        return self._slices[-1].stop

    def update(self, block: Operator) -> None:
        """Take in a block of light rows: score, then add.

        One synchronisation where a segment is closed, none elsewhere. Early segments are
        shorter than a block, which is then taken in pieces.
        """
        rows, i = int(block.shape[0]), 0
        norms = self.xp.astype(block.row_norms_squared(), self._real, copy=False)
        while i < rows:
            j = min(rows, i + self._piece())
            piece = block if j - i == rows else with_kernels(block.rows(i, j))
            if self._Z is None:
                self._bootstrap(piece, float(self.xp.sum(norms[i:j])))
            else:
                self._take(piece, norms[i:j])
            i = j
        self._offer()

    def _offer(self) -> None:
        """Say what the next block will be multiplied with, unless it will be cut in pieces."""
        whole = self._Z is not None and self._piece() == self._block_rows
        self.basis = self._Z if whole else None

    def _piece(self) -> int:
        """Rows to take at once: a segment shall have at least three pieces."""
        lengths = [rule.length for rule in self.rules if rule.length is not None]
        if self._Z is None:
            first = min([self._block_rows, _FIRST_ROWS, *lengths])
            return self._block_rows if self._final else first
        share = min([int(_GROWTH * self.n_light), *lengths]) // 3
        piece = min(self._block_rows, max(_PIECE_ROWS, _power_of_two(share)))
        ends = [rule.next_end(self.position) for rule in self.rules] if lengths else []
        return min([piece, *(end - self.position for end in ends if end is not None)])

    def _is_end(self) -> bool:
        """Tell whether a rule's segment of fixed length, or one that grows, may end here."""
        lengths = [rule.length for rule in self.rules if rule.length is not None]
        if any(self.position % length == 0 for length in lengths):
            return True
        grows = len(lengths) < len(self.rules)
        return grows and self.n_light - self._mark >= _GROWTH * self._mark

    def _take(self, block: Operator, norms: Array) -> None:
        xp, k, rows = self.xp, self.n_components, float(block.shape[0])
        P, D = block.normal_product(self._Z)
        moduli = xp.real(P) ** 2 + xp.imag(P) ** 2 if self._complex else P * P
        self._fresh = self._fresh + xp.sum(norms)
        parts = max(1, block.shape[0] // _SCORE_ROWS)
        parts = parts if block.shape[0] % parts == 0 else 1
        moduli = xp.reshape(moduli, (parts, -1, self.n_columns))
        self.scores.observe(xp.sum(moduli, axis=1, dtype=self._real), rows)
        moduli = xp.reshape(moduli, (block.shape[0], -1))
        self.probe.observe(moduli[:, :k], D[:, :k], norms)
        self._Y += D
        self.n_light += rows
        self.position += block.shape[0]
        if self._is_end() and not self.observes:
            self._close()

    def _bootstrap(self, block: Operator, energy: float) -> None:
        """Start all rules from the exact decomposition of the first rows."""
        xp = self.xp
        width = min(self.d, self.rank)
        lam, V = _decompose(block, None if self._final else width, self.wide, xp)
        self.n_light, self.energy = float(block.shape[0]), energy
        self.position += block.shape[0]
        if self._final:
            self._exact = lam, V
        if V.shape[1] < width:
            lam, V = self._padded(lam, V, width)
        columns = [rule.start(lam, V) for rule in self.rules]
        self._starts = [self.n_light] * len(self.rules)
        self._Y = self._zeros(self.d, self.n_columns)
        self._renew(columns)

    def _padded(self, lam: Array, V: Array, width: int) -> tuple[Array, Array]:
        xp = self.xp
        missing = width - V.shape[1]
        G = standard_normal(
            self._rng, (self.d, missing), xp=xp, device=self.device, dtype=self.wide
        )
        V, _ = xp.linalg.qr(xp.concat([V, G], axis=1))
        zeros = xp.zeros((missing,), dtype=lam.dtype, device=self.device)
        return xp.concat([lam, zeros]), V

    def _segment(self, i: int) -> Segment:
        rows = self.n_light - self._starts[i]
        return Segment(rows, self._starts[i], self.energy, self.heavy_rows, self.position)

    def _settle(self) -> None:
        """Bring the energy of the blocks since the last call to the host."""
        self.energy += float(self._fresh)
        self._fresh = self._zero()

    def _close(self) -> None:
        """Let every rule whose segment is complete renew its columns."""
        self._settle()
        columns = []
        for i, (rule, where) in enumerate(zip(self.rules, self._slices, strict=True)):
            Z, segment = self._Z[:, where], self._segment(i)
            if rule.due(segment):
                Z, rest = rule.close(self._widened(Z), self._Y[:, where], segment)
                self._Y = at(self._Y)[:, where].set(0 if rest is None else rest)
                self._starts[i] = self.n_light
            columns.append(Z)
        self._renew(columns)

    def _renew(self, columns: Sequence[Array]) -> None:
        """Set the columns for the next blocks."""
        xp, k = self.xp, self.n_components
        first = xp.asarray(self._widened(columns[0][:, :k]), copy=True)  # not a view of the rest
        support = self.rules[0].support(self._segment(0))
        self.probe.begin(first, self.n_light, self.rules[0].lam, self.energy, support)
        self.scores.turn(self.n_light)
        self._Z = xp.concat([xp.astype(Z, self.dtype, copy=False) for Z in columns], axis=1)
        self._mark = self.n_light

    def _widened(self, Z: Array) -> Array:
        return self.xp.astype(Z, self.wide, copy=False)

    # ------------------------------------------------------------------------- the answer

    def finish(self) -> Self:
        """Return a copy that can take the last rows and answer."""
        view = copy.copy(self)
        view.rules = [copy.copy(rule) for rule in self.rules]
        view.scores, view.probe = copy.copy(self.scores), self.probe.copy()
        view._starts = list(self._starts)
        view._rng = copy.deepcopy(self._rng)
        view._final = True
        if self._Y is not None:
            view._Y = self.xp.asarray(self._Y, copy=True)
        return view

    def winner(self) -> int:
        """Return the index of the rule whose answer is reported."""
        return self.scores.winner() if len(self.rules) > 1 else 0

    def top(self, r: int) -> tuple[Array, Array]:
        """Return up to `r` eigenvalue estimates of the light rows and their vectors.

        Fewer come back where the rule that won has fewer columns; none before any light row.
        """
        if self._Z is None:
            empty = self.xp.zeros((0,), dtype=self._real, device=self.device)
            return empty, self._zeros(self.d, 0)
        if self._exact is not None and self.n_light == self._mark:
            lam, V = self._exact
            r = min(r, lam.shape[0])
            return lam[:r], V[:, :r]
        self._settle()
        i = self.winner()
        where = self._slices[i]
        Z = self._widened(self._Z[:, where])
        lam, V = self.rules[i].answer(Z, self._Y[:, where], self._segment(i))
        r = min(r, lam.shape[0])
        return lam[:r], V[:, :r]

    def joint(self, k: int) -> tuple[Array, Array]:
        """Return the top `k` eigenpairs of the light rows and ``heavy_rows`` together.

        Rows of the heap that turn out to be small against the k-th eigenvalue are counted in
        as light ones, which loses nothing; only the others are joined with the summary.
        """
        if self.heavy_rows is None or self.heavy_rows.shape[0] == 0:
            return self.top(k)
        view = self.finish()
        lam, _ = view.top(k)
        limit = _LIGHT_SHARE * float(lam[-1]) if lam.shape[0] == k else 0.0
        norms = host_values(DenseOperator(self.heavy_rows).row_norms_squared())
        view._lighten([i for i, norm in enumerate(norms) if norm <= limit])
        heavy = view.heavy_rows
        if heavy is None or heavy.shape[0] == 0:
            return view.top(k)
        if view._Z is None or view._exact is not None:
            return view._joined_exactly(k)
        i = view.winner()
        where = view._slices[i]
        Z = view._widened(view._Z[:, where])
        return view.rules[i].joint(Z, view._Y[:, where], view._segment(i), k)

    def _lighten(self, indices: Sequence[int]) -> None:
        """Move rows from the heap into the stream."""
        if not indices or self._Z is None or self._exact is not None:
            return
        heavy = DenseOperator(self.heavy_rows)
        rest = [i for i in range(heavy.shape[0]) if i not in set(indices)]
        block = heavy.select(indices)
        self.heavy_rows = heavy.dense_rows(rest)
        self.insert(block)

    def insert(self, block: Operator) -> None:
        """Count in light rows that did not come in the order of the stream, without scoring."""
        if self._Z is None:
            self.update(block)
            return
        _, D = block.normal_product(self._Z)
        self._settle()
        self.energy += sum(host_values(block.row_norms_squared()))
        self._Y += D
        self.n_light += block.shape[0]

    def _joined_exactly(self, k: int) -> tuple[Array, Array]:
        """Decompose the few rows there are."""
        xp = self.xp
        lam, V = self.top(self.d)
        H = self._widened(self.heavy_rows)
        stack = xp.concat([H, adjoint(V * xp.astype(xp.sqrt(lam), V.dtype), xp)], axis=0)
        _, s, Vh = xp.linalg.svd(stack, full_matrices=False)
        return s[:k] ** 2, adjoint(Vh, xp)[:, :k]

    def certificate(self) -> Certificate:
        """Return gap, error estimate, order statistic and the name of the winner."""
        if self._Z is None or self.n_light <= 0.0:
            return {"gap": math.nan, "error_estimate": math.nan, "order_zscore": math.nan}
        self._settle()
        k, n, energy = self.n_components, self.n_light, self.energy
        ritz = self.scores.ritz(self._slices[0].stop)
        window, support = self.scores.window(), self.rules[0].support(self._segment(0))
        splits = self.probe.splits()
        found: Certificate = dict(quality(ritz, window, support, energy / n, self.d, splits, k))
        found["order_zscore"] = self.probe.order_zscore() if self.tests_order else math.nan
        found["candidate"] = self.rules[self.winner()].name
        found["n_light"] = n
        gap, error = found["gap"], found["error_estimate"]
        if ritz and ritz[0] > 0 and gap > 0:
            lost = ritz[k - 1] / ritz[0] * (1.0 - 1.0 / gap)
            found["residual"] = max(lost, 0.0) * math.sqrt(error) if error >= 0 else math.nan
            found["heavy_threshold"] = max(
                theory.heavy_threshold(n * ritz[0], self.d),
                _LIGHT_SHARE * n * ritz[k - 1],
                _TYPICAL_NORMS * energy / n,
            )
        return found

    # -------------------------------------------------------------------------- two streams

    def merge(self, other: Self) -> None:
        """Count in the light rows of another engine of the same kind; approximate.

        The two summaries are added, tails included; the rules start anew from the sum. The
        loss is that of one coarse segment. `other` is not changed.
        """
        if other._Z is None:
            return
        if self._Z is None:
            self._restore(copy.deepcopy(other._get_state()))
            return
        check_mergeable(self, other, ("name", "d", "n_components", "n_columns"))
        rank = max(rule.width for rule in self.rules)
        pairs = [(*e.finish().top(rank), e.energy + float(e._fresh)) for e in (self, other)]
        lam, V = merged_summary(pairs, rank, self.xp)
        if V.shape[1] < rank:
            lam, V = self._padded(lam, V, rank)
        self.n_light += other.n_light
        self.position += other.position
        self.tests_order = self.tests_order and other.tests_order
        self.energy, self._fresh = pairs[0][2] + pairs[1][2], self._zero()
        self.scores.absorb(other.scores, self.n_light)
        self.probe.absorb(other.probe)
        self._starts = [self.n_light] * len(self.rules)
        self._Y = self._zeros(self.d, self.n_columns)
        self._renew([rule.start(lam, V) for rule in self.rules])
        self._offer()

    # -------------------------------------------------------------------- scale and state

    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``."""
        self._multiply(4.0**exponent)
        self.probe.scale(4.0**exponent)
        self.scores.scale(4.0**exponent)

    def decay(self, factor: float) -> None:
        """Forget: sums of squares and the counts of rows shrink together."""
        self._multiply(factor)
        self.n_light *= factor
        self._mark *= factor
        self._starts = [start * factor for start in self._starts]

    def _multiply(self, factor: float) -> None:
        self.energy *= factor
        self._fresh = self._fresh * factor
        if self._Y is not None:
            self._Y *= factor
            for rule in self.rules:
                rule.scale(factor)

    def _get_state(self) -> State:
        state = {
            **self._sizes(),
            "n_light": self.n_light,
            "position": self.position,
            "tests_order": self.tests_order,
            "energy": self.energy,
            "starts": list(self._starts),
            "mark": self._mark,
            "fresh": to_numpy(self._fresh),
            "rng": rng_state(self._rng),
            "scores": self.scores.state(),
            "probe": self.probe.state(),
        }
        if self._Z is not None:
            state["basis"] = to_numpy(self._Z)
            state["Y"] = to_numpy(self._Y)
            state["lam"] = [to_numpy(rule.lam) for rule in self.rules]
        return state

    def _restore(self, state: State) -> None:
        """Take over what :meth:`_get_state` returned."""

        def own(x: Any) -> Array:
            return asarray(x, xp=self.xp, device=self.device)

        self.n_light, self.energy = state["n_light"], state["energy"]
        self.position, self.tests_order = state["position"], state["tests_order"]
        self._starts, self._mark = list(state["starts"]), state["mark"]
        self._fresh = own(state["fresh"])
        self._rng = rng_from_state(state["rng"])
        self.scores.restore(state["scores"], own)
        self.probe.restore(state["probe"], own)
        if "basis" in state:
            self._Z, self._Y = own(state["basis"]), own(state["Y"])
            for rule, lam in zip(self.rules, state["lam"], strict=True):
                rule.lam = own(lam)
            self._offer()


def _decompose(
    block: Operator, most: int | None, wide: DType, xp: Namespace
) -> tuple[Array, Array]:
    """Leading eigenpairs of ``B^H B`` above roundoff, all of them if `most` is None."""
    rows, d = block.shape
    most = min(rows, d) if most is None else min(most, rows, d)
    if rows >= d:
        return _above_roundoff(*eigh_top(xp.astype(block.gram(), wide, copy=False), most, xp), xp)
    K = xp.astype(_row_products(block, xp), wide, copy=False)
    lam, U = _above_roundoff(*eigh_top(K, most, xp), xp)
    V = block.rmatmul(xp.astype(U / xp.sqrt(lam), block.dtype, copy=False))
    return lam, xp.linalg.qr(xp.astype(V, wide, copy=False))[0]


def _row_products(block: Operator, xp: Namespace) -> Array:
    """Return ``B B^H``."""
    if isinstance(block, DenseOperator):
        return block.A @ adjoint(block.A, xp)
    rows = block.shape[0]
    eye = xp.eye(rows, dtype=block.dtype, device=block.device)
    step = max(1, rows // 4)
    parts = [block.matmul(block.rmatmul(eye[:, i : i + step])) for i in range(0, rows, step)]
    return xp.concat(parts, axis=1)


def _above_roundoff(w: Array, U: Array, xp: Namespace) -> tuple[Array, Array]:
    smallest = float(xp.finfo(w.dtype).eps) * U.shape[0] * float(w[0])
    count = int(xp.sum(xp.astype(w > max(smallest, 0.0), xp.int64)))
    return w[:count], U[:, :count]
