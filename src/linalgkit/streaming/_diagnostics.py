"""What a stream says about an answer before it sees it: scores, gap, error, order.

Everything here is measured out of sample, on rows that come after the vectors were fixed::

    scores.observe(energies, rows)        # Rayleigh quotients of all columns
    probe.begin(V, n, lam, energy)        # vectors held fixed for a segment
    probe.observe(moduli, D, norms)       # |B V|^2 entrywise, D = B^H (B V)
    quality(scores.ritz(q), scores.window(), n, energy / n, d, probe.splits(), k)

"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from linalgkit._core.array import Array, Namespace, is_complex, matmul_h, real_dtype, to_numpy
from linalgkit._core.state import PortablePickle, State
from linalgkit.streaming._order import BlockSums, Order, block_sums, ramp

_PARTS = 8
_FEWEST_PARTS = 3
# So many of the last segments are pooled: the last half of the stream or more.
_SEGMENTS = 2
# Eigenvalues closer than this share of the larger one are equal up to rounding.
_TIE = 2.0**-20
# Largest share of a gap that is put down to the error of the vectors themselves.
_LARGEST_CORRECTION = 0.3
# A challenger replaces the first rule when its mean advantage has this many standard errors.
_CLEAR = 3.0
# ... and is this share of the energy at least: below it there is only rounding.
_MATERIAL = 1e-5


class Scores(PortablePickle):
    """Rayleigh quotients of every column and paired comparisons of rules.

    Sums run over epochs that double in length; the last complete epoch and the current one
    count, so that between the last half and the last three quarters of the stream decide.

    Parameters
    ----------
    starts : sequence of int
        First column of each rule; its leading `n_components` columns are scored.
    n_components : int
        Size of the scored subspaces.
    xp : module
        Namespace of the arrays.
    """

    def __init__(self, starts: Sequence[int], n_components: int, xp: Namespace) -> None:
        self.starts, self.k, self.xp = list(starts), n_components, xp
        self._select: Array | None = None
        self._epoch = 0.0
        self._now: list[Any] | None = None
        self._before: list[Any] | None = None

    def observe(self, energies: Array, rows: float) -> None:
        """Add the energies of all columns on fresh rows; no synchronisation.

        Parameters
        ----------
        energies : array (s, Q)
            Sums of squares over `s` equal parts of the rows.
        rows : float
            Number of rows in all parts.
        """
        if self._select is None:
            self._select = self._selection(energies)
        xp, advantage = self.xp, energies @ self._select
        fresh = [xp.sum(energies, axis=0), xp.sum(advantage, axis=0)]
        fresh = [*fresh, xp.sum(advantage * advantage, axis=0), rows]
        self._now = fresh if self._now is None else _added(self._now, fresh)

    def _selection(self, energies: Array) -> Array:
        """Matrix that turns column energies into each rule's advantage over the first."""
        xp, k = self.xp, self.k
        columns = xp.arange(energies.shape[1], device=energies.device)[:, None]
        start = xp.asarray(self.starts, device=energies.device)[None, :]
        picked = xp.astype((columns >= start) & (columns < start + k), energies.dtype)
        return picked - picked[:, :1]

    def blank(self) -> Self:
        """Return the same without any sums, for some rows of the present epoch."""
        twin = copy.copy(self)
        twin._now = twin._before = None
        return twin

    def append(self, later: Self) -> None:
        """Add the sums of further rows of the present epoch, from :meth:`blank`."""
        if later._now is not None:
            self._now = later._now if self._now is None else _added(self._now, later._now)

    def turn(self, n: float) -> None:
        """Begin a new epoch if the current one is as long as what came before it."""
        if self._now is None:
            self._epoch = n
        elif self._now[3] >= self._epoch:
            self._before, self._now, self._epoch = self._now, None, n

    def _sums(self) -> list[Any] | None:
        both = [sums for sums in (self._before, self._now) if sums is not None]
        return None if not both else both[0] if len(both) == 1 else _added(*both)

    def winner(self) -> int:
        """Return the first rule, or the one with the clearest advantage over it."""
        sums = self._sums()
        if sums is None:
            return 0
        energies, total, squares = (to_numpy(x).tolist() for x in sums[:3])
        first = self.starts[0]
        least = _MATERIAL * sum(energies[first : first + self.k])
        pairs = zip(total, squares, strict=True)
        clear = [t / math.sqrt(s) if s > 0.0 and t > least else 0.0 for t, s in pairs]
        best = max(range(len(clear)), key=clear.__getitem__)
        return best if clear[best] > _CLEAR else 0

    def ritz(self, q: int) -> list[float]:
        """Return the mean energy a row of the first `q` columns; empty before any row."""
        sums = self._sums()
        if sums is None:
            return []
        return [energy / sums[3] for energy in to_numpy(sums[0]).tolist()[:q]]

    def absorb(self, other: Self, n: float) -> None:
        """Add the sums of another stream of the same rules; a new epoch begins after `n`."""
        both = [sums for sums in (self._sums(), other._sums()) if sums is not None]
        self._before = None if not both else both[0] if len(both) == 1 else _added(*both)
        self._now, self._epoch = None, n

    def window(self) -> float:
        """Return the number of rows that the quotients rest on."""
        sums = self._sums()
        return 0.0 if sums is None else float(sums[3])

    def scale(self, factor: float) -> None:
        """Multiply all squares by `factor`."""
        factors = (factor, factor, factor * factor, 1.0)
        for name in ("_now", "_before"):
            sums = getattr(self, name)
            if sums is not None:
                setattr(self, name, [x * f for x, f in zip(sums, factors, strict=True)])

    def state(self) -> State:
        """Return what :meth:`restore` needs."""
        return {"epoch": self._epoch, "now": _host(self._now), "before": _host(self._before)}

    def restore(self, state: State, own: Callable[[Any], Array]) -> None:
        """Take over a state."""
        self._epoch = state["epoch"]
        self._now, self._before = _owned(state["now"], own), _owned(state["before"], own)


class Probe(PortablePickle):
    """What the rows of a segment say about vectors that were fixed before it.

    With ``r_i = (I - V V^H) S_i V`` from up to eight interleaved parts of a segment,
    ``r_i^H r_l`` is free of bias for the squared residual at the population's matrix: the
    parts are independent of each other and of `V`. Divided by the squared gap it estimates
    ``sin^2`` of the angle. The last few segments are pooled.

    Parameters
    ----------
    n_components : int
        Number of vectors.
    xp : module
        Namespace of the arrays.
    """

    def __init__(self, n_components: int, xp: Namespace) -> None:
        self.k, self.xp = n_components, xp
        self._vectors: Array = None
        self._start = 0.0
        self._level = 1.0
        self._energy_level = 0.0
        self._parts: list[Array] = []
        self._rows: list[float] = []
        self._turn = 0
        self._ramp: Array = None
        self._energies, self._along = Order(xp), Order(xp)
        self._pooled = [0.0, 0.0, 0.0]  # weighted trend and serial statistics, and rows
        self._records: list[dict[str, Any]] = []

    def begin(
        self, V: Array, n: float, lam: Array, energy: float, support: float | None = None
    ) -> None:
        """Start a segment with new vectors after `n` rows; they rest on `support` of them."""
        xp = self.xp
        self.end()
        self._vectors, self._start = V, n if support is None else support
        least = self._least()
        self._level = max(float(xp.sum(lam[: self.k])) / n, least)
        self._energy_level = self._energy_level or max(energy / n, least)
        self._parts = [xp.zeros_like(V) for _ in range(_PARTS)]
        self._rows, self._turn = [0.0] * _PARTS, 0

    def blank(self) -> Self:
        """Return the same vectors without any sums, for some rows of the present segment."""
        twin = copy.copy(self)
        twin._parts, twin._rows, twin._turn = [], [0.0] * _PARTS, 0
        twin._energies, twin._along = Order(self.xp), Order(self.xp)
        return twin

    def clear(self) -> None:
        """Be ready for rows after :meth:`blank`."""
        self._parts = [self.xp.zeros_like(self._vectors) for _ in range(_PARTS)]

    def append(self, later: Self) -> None:
        """Add the sums of rows that follow in the segment, from :meth:`blank`."""
        turns = [(self._turn + j) % _PARTS for j in range(_PARTS)]
        for i, part, rows in zip(turns, later._parts, later._rows, strict=True):
            self._parts[i] = self._parts[i] + part
            self._rows[i] += rows
        self._turn = (self._turn + later._turn) % _PARTS
        self._along.append(later._along)
        self._energies.append(later._energies)

    def forget_vectors(self) -> None:
        """Drop the vectors, which whoever adds the sums to his own has."""
        self._vectors = None

    def _least(self) -> float:
        """Return the smallest normal number of what is accumulated; 0 before any vectors."""
        if self._vectors is None:
            return 0.0
        return float(self.xp.finfo(real_dtype(self.xp, self._vectors.dtype)).smallest_normal)

    def end(self) -> None:
        """Keep what the segment has said."""
        record = self._measured()
        if record is not None:
            self._records = [*self._records[1 - _SEGMENTS :], record]
        self._pooled = self._pooled_order()
        self._along = Order(self.xp)

    def observe(self, moduli: Array, D: Array, norms: Array) -> None:
        """Add a block: ``|B V|^2``, ``B^H B V``, squared row norms; no synchronisation."""
        along = self.xp.sum(moduli, axis=1, dtype=norms.dtype)
        bounded = [along / (along + self._level), norms / (norms + self._energy_level)]
        sums = self._block_sums(self.xp.stack(bounded, axis=0))
        self._along.include(sums, 0)
        self._energies.include(sums, 1)
        self._parts[self._turn] += D
        self._rows[self._turn] += moduli.shape[0]
        self._turn = (self._turn + 1) % _PARTS

    def _block_sums(self, F: Array) -> BlockSums:
        """Return the sums of a block; the weights are kept for the next of the same length."""
        if self._ramp is None or self._ramp.shape[0] != F.shape[1]:
            self._ramp = ramp(int(F.shape[1]), F, self.xp)
        return block_sums(F, self.xp, self._ramp)

    def _pooled_order(self) -> list[float]:
        """Add the statistics of the current segment with the weight of its rows."""
        n, scores = self._along.n, self._along.zscores()
        if not scores:
            return self._pooled
        trend, serial, rows = self._pooled
        root = math.sqrt(n)
        return [trend + root * scores[0], serial + root * scores[1], rows + n]

    def order_zscore(self) -> float:
        """Return the exchangeability statistic of largest modulus, of four."""
        trend, serial, rows = self._pooled_order()
        root = math.sqrt(max(rows, 1.0))
        return max((trend / root, serial / root, *self._energies.zscores()), key=abs)

    def _pair_products(self) -> list[list[list[float]]]:
        """For every vector the matrix of ``Re <r_i, r_l>`` over the parts."""
        xp, V = self.xp, self._vectors
        parts = [
            (part - V @ matmul_h(V, part, xp)) / rows
            for part, rows in zip(self._parts, self._rows, strict=True)
            if rows > 0
        ]
        R = xp.permute_dims(xp.stack(parts), (2, 0, 1))
        if is_complex(R, xp):
            gram = xp.real(R @ xp.conj(xp.matrix_transpose(R)))
        else:
            gram = R @ xp.matrix_transpose(R)
        products: list[list[list[float]]] = to_numpy(gram).tolist()
        return products

    def _measured(self) -> dict[str, Any] | None:
        """Return what the current segment says; None before the third part."""
        rows = [r for r in self._rows if r > 0]
        if len(rows) < _FEWEST_PARTS:
            return None
        found = [Split.of(K, rows) for K in self._pair_products()]
        return {
            "start": self._start,
            "rows": sum(rows),
            "splits": [[split.mean, split.error, split.noise] for split in found],
        }

    def splits(self) -> list[Split]:
        """Return for every vector what the last segments say, in units of one row.

        Mean and error are multiplied by the rows behind the vectors of each segment, so that
        segments can be averaged while the vectors improve.
        """
        records = list(self._records)
        fresh = self._measured()
        if fresh is not None:
            records = [*records[1 - _SEGMENTS :], fresh]
        total = sum(record["rows"] for record in records)
        pooled = []
        for j in range(self.k if records else 0):
            mean = error = noise = 0.0
            for record in records:
                share = record["rows"] / total
                own = record["splits"][j]
                mean += share * own[0] * record["start"]
                error = math.hypot(error, share * own[1] * record["start"])
                noise += share * own[2]
            pooled.append(Split(mean, error, noise))
        return pooled

    def absorb(self, other: Self) -> None:
        """Keep what the segments of both streams said and wait for new vectors."""
        self.end()
        ended = other.copy()
        ended.end()
        self._pooled = [a + b for a, b in zip(self._pooled, ended._pooled, strict=True)]
        self._records = max(self._records, ended._records, key=len)
        if abs(ended.order_zscore()) > abs(self.order_zscore()):
            self._energies, self._energy_level = ended._energies, ended._energy_level
        self._vectors, self._parts, self._rows = None, [], []

    def scale(self, factor: float) -> None:
        """Multiply all squares by `factor`."""
        least = self._least()
        self._level = max(self._level * factor, least)
        if self._energy_level:
            self._energy_level = max(self._energy_level * factor, least)
        self._parts = [part * factor for part in self._parts]
        square = factor * factor
        self._records = [
            {**record, "splits": [[x * square for x in own] for own in record["splits"]]}
            for record in self._records
        ]

    def state(self) -> State:
        """Return what :meth:`restore` needs."""
        return {
            "vectors": None if self._vectors is None else to_numpy(self._vectors),
            "parts": [to_numpy(part) for part in self._parts],
            "rows": list(self._rows),
            "start": self._start,
            "turn": self._turn,
            "levels": [self._level, self._energy_level],
            "pooled": list(self._pooled),
            "records": copy.deepcopy(self._records),
            "energies": self._energies.state(),
            "along": self._along.state(),
        }

    def restore(self, state: State, own: Callable[[Any], Array]) -> None:
        """Take over a state."""
        self._vectors = None if state["vectors"] is None else own(state["vectors"])
        self._parts = [own(part) for part in state["parts"]]
        self._rows, self._start, self._turn = list(state["rows"]), state["start"], state["turn"]
        self._level, self._energy_level = state["levels"]
        self._pooled, self._records = list(state["pooled"]), copy.deepcopy(state["records"])
        self._energies.restore(state["energies"], own)
        self._along.restore(state["along"], own)

    def copy(self) -> Self:
        """Return a copy that shares nothing that is written in place."""
        twin = copy.copy(self)
        twin._parts = [self.xp.asarray(part, copy=True) for part in self._parts]
        twin._rows = list(self._rows)
        twin._energies, twin._along = copy.copy(self._energies), copy.copy(self._along)
        return twin


@dataclass(frozen=True)
class Split:
    """What independent parts of a stream say about the residual of one vector.

    Attributes
    ----------
    mean : float
        Mean of ``Re <r_i, r_l>`` over pairs: unbiased for the squared residual at the
        population's matrix, and therefore sometimes negative.
    error : float
        Its jackknife standard error.
    noise : float
        Expected squared residual of a single row: divided by `n`, what sampling alone adds.
    """

    mean: float
    error: float
    noise: float

    @classmethod
    def of(cls, K: Sequence[Sequence[float]], rows: Sequence[float]) -> Self:
        """Evaluate the matrix `K` of ``Re <r_i, r_l>`` for parts of the given lengths."""
        p = len(K)
        diagonal = [K[i][i] for i in range(p)]
        sums = [sum(row) for row in K]
        total, trace = sum(sums), sum(diagonal)
        mean = (total - trace) / (p * (p - 1))
        without = [
            (total - 2 * sums[i] + diagonal[i] - (trace - diagonal[i])) / ((p - 1) * (p - 2))
            for i in range(p)
        ]
        centre = sum(without) / p
        error = math.sqrt((p - 1) / p) * math.hypot(*(w - centre for w in without))
        noise = sum(n * max(k - mean, 0.0) for n, k in zip(rows, diagonal, strict=True)) / p
        return cls(mean, error, noise)


def quality(
    quotients: Sequence[float],
    window: float,
    n: float,
    mean_energy: float,
    d: int,
    splits: Sequence[Split],
    k: int,
) -> dict[str, float]:
    """Estimate the population's gap and the error of the k vectors after `n` rows.

    Parameters
    ----------
    quotients : sequence of float
        Out-of-sample Rayleigh quotients of the incumbent's columns, measured on the last
        `window` rows.
    window, n : float
        Rows behind the quotients, and rows that the answer rests on: all of them, for rules
        that remember.
    mean_energy : float
        Mean squared norm of a row.
    d : int
        Length of the rows.
    splits : sequence of Split
        What :meth:`Probe.splits` returned: one for each vector, or nothing.
    k : int
        Wanted eigenpairs.

    Returns
    -------
    dict
        "gap" and "error_estimate"; NaN where the stream was too short to tell, or zero. The
        error at a tie of two eigenvalues is 1: their order is not determined.

    Notes
    -----
    A vector at angle `t` to the population's has the quotient ``l_k - (l_k - l_{k+1}) sin^2 t``
    in expectation. With ``sin^2 t = c / (s (l_k - l_{k+1})^2)`` after `s` rows, `c` the noise
    of a row or the split estimate if larger, averaged over the window, this is solved for
    ``l_k``. The error of the vector is
    the larger of ``c / (n (l_k - l_{k+1})^2)``, what sampling alone causes, and of the split
    estimate plus two standard errors, extrapolated from the start of each segment to `n`: a
    vector that follows the sample improves in proportion to the rows at least.
    """
    if not quotients or n <= 0:
        return {"gap": math.nan, "error_estimate": math.nan}
    rest = max(mean_energy - sum(quotients), 0.0) / max(d - len(quotients), 1)
    lower = 0.0 if k >= d else max([rest, *quotients[k : k + 1]])
    if not splits:
        gap = _ratio(max(quotients[k - 1], lower), lower)
        return {"gap": gap, "error_estimate": math.nan}
    since = max(n - window, 1.0)
    mean_inverse = math.log(n / since) / (n - since) if n > max(window, since) else 1.0 / n
    worst, gap = 0.0, math.nan
    for quotient, split in zip(quotients[:k], splits, strict=True):
        unexplained = max(split.noise, split.mean) * mean_inverse
        difference = _corrected(quotient - lower, unexplained)
        gap = _ratio(lower + difference, lower)
        held = split.mean + 2 * split.error
        own = 1.0
        if difference > _TIE * lower:
            own = max(split.noise, held) / difference / difference / n
        elif math.isnan(gap):
            own = math.nan
        worst = own if math.isnan(own) else max(worst, min(1.0, own))
    return {"gap": gap, "error_estimate": 0.0 if k >= d else worst}


def _corrected(difference: float, noise: float) -> float:
    """Solve ``D (1 - noise / D^2) = difference`` within limits."""
    if difference <= 0.0:
        return 0.0
    low, high = 0.0, _LARGEST_CORRECTION
    for _ in range(60):  # share = noise (1 - share)^2 / difference^2 falls in share
        share = 0.5 * (low + high)
        if noise / difference * (1.0 - share) ** 2 > share * difference:
            low = share
        else:
            high = share
    return difference / (1.0 - low)


def _ratio(upper: float, lower: float) -> float:
    """Return a quotient, infinite over zero, NaN for 0 / 0."""
    if lower > 0.0:
        return upper / lower
    return math.inf if upper > 0.0 else math.nan


def _added(a: list[Any], b: list[Any]) -> list[Any]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _host(values: list[Any] | None) -> list[Any] | None:
    if values is None:
        return None
    return [x if isinstance(x, float) else to_numpy(x) for x in values]


def _owned(values: list[Any] | None, own: Callable[[Any], Array]) -> list[Any] | None:
    if values is None:
        return None
    return [x if isinstance(x, float) else own(x) for x in values]
