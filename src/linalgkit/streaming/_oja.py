"""Oja's rule at every rate at once: one vector for each power of two, right in any order.

A small rate never moves away from its random start, a large one forgets. The smallest rate
under which the vector has *grown* enough points along the top eigenvector, whatever the order
of the rows was, if the gap is large::

    engine = OjaLadder(d, 1, xp=xp, device=device, dtype=xp.float64, rng=rng)
    engine.update(block)
    lam, V = engine.top(1)
    engine.status           # "converged", or "no_growth": the gap is too small

"""

from __future__ import annotations

import math
from typing import Any, Self

from linalgkit._core.array import Array, Device, DType, Namespace, asarray, matmul_h, to_numpy
from linalgkit._core.linalg import ldexp, orthonormalise, qr_positive, subspace_sin2
from linalgkit._core.operators import Operator
from linalgkit._core.random import as_generator, standard_normal
from linalgkit._core.state import State
from linalgkit._core.validation import check_float
from linalgkit.streaming._engine import (
    Certificate,
    Engine,
    host_values,
    real_part,
    sizes_from_state,
    widened,
)
from linalgkit.streaming._ladder import add_scaled, ladder_step, normalise

BLOCK_ROWS = 64
PAPER_GROWTH = 10.0
"""Growth threshold in units of ``ln d`` with which the theorem is proved."""
DEFAULT_GROWTH = 2.0
"""Growth threshold in units of ``ln d`` used here: errors are four times smaller."""
FIRST_ORDER = 1e-2
"""Rates below this, times the energy so far, are followed by one shared first-order sum."""

# Widths of the window that differ would be compiled anew by libraries that compile by shape.
_WIDTH_STEP = 4
_SPARE_RATES = 7

# In the stationary state a vector at rate eta carries a noise of variance eta s / 2, and its
# covariance with that of half the rate is eta s / 3: their difference has variance eta s / 12.
_NOISE_RATIO = 6.0


# -------------------------------------------------------------------------------- the engine


# Price, Xun, "Spectral guarantees for adversarial streaming PCA" (FOCS 2024): the ladder of
# rates and the choice by growth. Differs from it:
# 1. Rows are taken in blocks; the triangular system makes that exact (matrix products instead
#    of a loop over rows).
# 2. The ladder slides. Rates so small that `eta` times the energy is below FIRST_ORDER are all
#    described by v0 + eta y, y = sum a (a^H v0), to the square of that; one is split off when it
#    leaves that regime. Rates above the smallest that has grown can never win and are dropped.
# 3. The unit of the rates is the energy of the first block that is not zero, so that data of
#    another scale give the same answer.
# 4. The growth asked for is 2 ln d instead of 10 ln d.
# 5. With k > 1 a group of k columns is kept orthonormal, and the k-th of them must have grown.
#    The products are the same, so the group spans what k independent starts would span; growth
#    of the k-th length says that no start direction survives by itself. No theorem is claimed.
class OjaLadder(Engine):
    """Oja's rule over a sliding ladder of rates ``2^j``.

    Parameters
    ----------
    d, n_components, xp, device, dtype
        See :class:`~linalgkit.streaming._engine.Engine`.
    rng : numpy.random.Generator
        Draws the start.
    growth_threshold : float, optional
        Natural logarithm of the growth that a rate must show, ``2 ln d`` by default; the
        theorem uses ``10 ln d``.

    Attributes
    ----------
    status : str
        ``"converged"`` if some rate has grown enough and half of it gives nearly the same
        answer; else ``"no_growth"``: the assumption on the gap has failed, and the smallest
        rate that has grown answers, or the one that has grown most.

    Notes
    -----
    Guarantee (k = 1, threshold ``10 ln d``): if ``l_1 / l_2`` is at least of order
    ``log n log d``, the error is of order ``log d / R`` in any order of rows. A rate that is
    large enough grows whatever the gap is, so growth alone proves nothing. With a large gap,
    though, half of the smallest rate that grew has turned to the same vector:
    `error_estimate` is six times the ``sin^2`` between the two. Where the noise of a constant
    rate dominates that is the error, else it is more; at 1 (gaps below about 2) the assumption
    is taken to have failed. There is no other certificate, and no merge. All rates begin at one
    start: where the leading eigenvalues are equal, both turn to its projection on their space,
    and `error_estimate` then speaks of the distance to that space, not of that to one of its
    vectors.

    Storage: ``k d (w + 2)`` numbers of the widest dtype with `w` rates in the window, about
    ``log2(100 d ln d)`` at most, twice that while a block is added. Flops a row:
    ``4 k d w + b (d + k w)``. One synchronisation a block of 64 rows.
    """

    name = "oja"
    order = "any"

    def __init__(
        self,
        d: int,
        n_components: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        rng: Any,
        growth_threshold: float | None = None,
    ) -> None:
        super().__init__(d, n_components, xp=xp, device=device, dtype=dtype)
        default = DEFAULT_GROWTH * math.log(max(2, d))
        self.growth_threshold = (
            default
            if growth_threshold is None
            else check_float("growth_threshold", growth_threshold, 0.0, low_open=True)
        )
        draw = standard_normal(
            as_generator(rng), (d, n_components), xp=xp, device=device, dtype=self.wide
        )
        # One layout, or a restored engine could take another path through the BLAS.
        self._V0 = xp.reshape(xp.reshape(orthonormalise(draw, xp), (-1,)), (d, n_components))
        self._Y = self._zeros(d, n_components)
        self._V = self._zeros(d, 0)
        self._rates: list[int] = []  # exponents, ascending
        self._growth: list[list[float]] = []  # for each rate, of each column
        self._fades: list[float] = []  # for each rate, what is left of its first growth
        self._pending: Array | None = None  # growth in the last block, still on the device
        self._unit: tuple[float, int] | None = None  # energy of the first block
        self._energy = (0.0, 0)  # mantissa and exponent: survives any change of scale
        self._n_rows = 0.0

    @property
    def block_rows(self) -> int:
        """Rows a block should have."""
        return BLOCK_ROWS

    # ---------------------------------------------------------------------- rows come in

    def update(self, block: Operator) -> None:
        """Apply the rule for each row in turn, at every rate in the window."""
        block = widened(block, self.wide)
        G = self.xp.astype(block.H.gram(), self.wide, copy=False)
        diagonal = real_part(self.xp.linalg.diagonal(G), self.xp)
        norms = self._synchronise(diagonal)
        start = 0
        while start < len(norms):
            fresh = math.fsum(norms[start:])
            if fresh > 0.0:
                self._extend(fresh)
            stop = self._safe_stop(norms, start)
            whole = start == 0 and stop == len(norms)
            part = block if whole else block.rows(start, stop)
            self._apply(part, G if whole else G[start:stop, start:stop], norms[start:stop])
            start = stop
            if start < len(norms):
                self._synchronise(diagonal[:0])
        self._n_rows += len(norms)

    def _synchronise(self, norms: Array) -> list[float]:
        """Fetch norms and the growth of the last block together; drop rates that cannot win."""
        if self._pending is None:
            return host_values(norms)
        xp, k = self.xp, self.n_components
        flat = xp.reshape(self._pending, (-1,))
        values = host_values(xp.concat([norms, flat]))
        fresh = values[norms.shape[0] :]
        self._growth = [
            [g + f for g, f in zip(growth, fresh[i * k : (i + 1) * k], strict=True)]
            for i, growth in enumerate(self._growth)
        ]
        self._pending = None
        winner = self._winner()
        if winner is not None:
            self._keep(winner + 1)
        return values[: norms.shape[0]]

    def _keep(self, count: int) -> None:
        """Keep the `count` smallest rates."""
        if count < len(self._rates):
            self._rates, self._growth = self._rates[:count], self._growth[:count]
            self._fades = self._fades[:count]
            self._V = self._V[:, : count * self.n_components]

    def _winner(self) -> int | None:
        """Return the index of the smallest rate that has grown, None if there is none."""
        grown = (i for i, g in enumerate(self._growth) if min(g) >= self.growth_threshold)
        return next(grown, None)

    def _rate(self, exponent: int) -> float:
        """Return ``2**exponent / unit``; infinity or 0 beyond the range of doubles."""
        assert self._unit is not None
        mantissa, scale = self._unit
        try:
            return math.ldexp(1.0 / mantissa, exponent - scale)
        except OverflowError:
            return math.inf

    def _extend(self, fresh: float) -> None:
        """Split off the rates that leave the first-order regime with energy `fresh` to come."""
        if self._unit is None:
            self._unit = math.frexp(fresh)
        before = self._log2_share(self._energy)
        after = self._log2_share(add_scaled(self._energy, math.frexp(fresh)))
        limit = math.log2(FIRST_ORDER)
        lowest = math.floor(limit - after)
        # At this rate the fresh rows alone let the start grow enough, so larger ones lose.
        reach = (self.growth_threshold + 0.5 * math.log(self.d)) / math.log(2.0)
        reach = min(reach, self._largest_growth() / math.log(2.0))
        highest = lowest + math.ceil(reach + math.log2(BLOCK_ROWS) - limit) + _SPARE_RATES
        if self._rates and self._rates[0] <= highest + 1:
            highest = self._rates[0] - 1
        elif self._rates:
            self._keep(0)
        if before > -math.inf:
            highest = min(highest, math.floor(limit - before))
        new = list(range(lowest, highest + 1))
        if new:
            self._split_off(new)

    def _log2_share(self, energy: tuple[float, int]) -> float:
        """Return ``log2(energy / unit)``."""
        if energy[0] == 0.0 or self._unit is None:
            return -math.inf
        return math.log2(energy[0] / self._unit[0]) + energy[1] - self._unit[1]

    def _split_off(self, new: list[int]) -> None:
        """Give the rates `new`, smaller than all others, vectors of their own."""
        V0, Y = self._V0, self._Y
        columns = [V0 + Y * self._rate(j) if self._rate(j) > 0.0 else V0 for j in new]
        V, growth = normalise(self.xp.concat(columns, axis=1), self.n_components, xp=self.xp)
        k = self.n_components
        values = host_values(self.xp.reshape(growth, (-1,)))
        self._V = self.xp.concat([V, self._V], axis=1)
        self._rates = new + self._rates
        self._growth = [values[i * k : (i + 1) * k] for i in range(len(new))] + self._growth
        self._fades = [1.0] * len(new) + self._fades

    def _safe_stop(self, norms: list[float], start: int) -> int:
        """Return how far rows can be taken together without overflow at the largest rate."""
        budget = self._largest_growth()
        while self._rates and not self._single_growth(max(norms)) <= budget:
            self._keep(len(self._rates) - 1)
        total, stop = 0.0, start
        while stop < len(norms):
            total += self._single_growth(norms[stop])
            if total > budget and stop > start:
                break
            stop += 1
        return stop

    def _largest_growth(self) -> float:
        """Return the logarithm of a growth that cannot overflow, squared or not."""
        return 0.4 * math.log(float(self.xp.finfo(self._real_dtype()).max))

    def _single_growth(self, norm: float) -> float:
        """Bound the logarithm of the growth by one row at the largest rate."""
        return math.log1p(self._rate(self._rates[-1]) * norm) if self._rates and norm else 0.0

    def _apply(self, block: Operator, G: Array, norms: list[float]) -> None:
        """Apply rows that are known not to overflow."""
        xp, k, d = self.xp, self.n_components, self.d
        used = len(self._rates) * k
        spare = -used % _WIDTH_STEP
        repeated = [self._rate(j) for j in self._rates for _ in range(k)] + [0.0] * spare
        rates = asarray(repeated, xp=xp, device=self.device, dtype=self._real_dtype())
        padded = xp.concat([self._V, self._zeros(d, spare)], axis=1) if spare else self._V
        V, Y = ladder_step(block, G, padded, rates, self._V0, xp=xp)
        self._Y = self._Y + Y
        if used:
            self._V, self._pending = normalise(V[:, :used], k, xp=xp)
        self._energy = add_scaled(self._energy, math.frexp(math.fsum(norms)))

    def _real_dtype(self) -> DType:
        return real_part(self._V0, self.xp).dtype

    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``; the rates follow."""
        self._Y = ldexp(self._Y, 2 * exponent, self.xp)
        self._energy = (self._energy[0], self._energy[1] + 2 * exponent)
        if self._unit is not None:
            self._unit = (self._unit[0], self._unit[1] + 2 * exponent)

    def decay(self, factor: float) -> None:
        """Discount the growth so far; the directions themselves forget at their rates."""
        self._synchronise(self._no_values())
        self._Y = self._Y * factor
        mantissa, exponent = math.frexp(self._energy[0] * factor)
        self._energy = (mantissa, self._energy[1] + exponent)
        self._growth = [[factor * g for g in growth] for growth in self._growth]
        self._fades = [factor * fade for fade in self._fades]
        self._n_rows *= factor

    def merge(self, other: object) -> None:
        """Refuse: a product of growth factors cannot be joined with another one.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            'method must not be "oja" for a merge: its vectors depend on all earlier rows, and '
            'averages of two of them mean nothing. Use "gram", "nystrom" or '
            '"frequent-directions", which merge in any order.'
        )

    # ------------------------------------------------------------------------- the answer

    def _no_values(self) -> Array:
        return real_part(self._V0, self.xp)[:0, 0]

    def _chosen(self) -> int | None:
        """Return the index of the rate that answers, None where no row was non-zero."""
        self._synchronise(self._no_values())
        if not self._rates:
            return None
        winner = self._winner()
        if winner is not None:
            return winner
        return max(range(len(self._rates)), key=lambda i: min(self._growth[i]))

    @property
    def status(self) -> str:
        """``"converged"``, or ``"no_growth"`` where the assumption on the gap has failed."""
        chosen = self._chosen()
        if chosen is None or min(self._growth[chosen]) < self.growth_threshold:
            return "no_growth"
        return "converged" if self._error_estimate(chosen) < 1.0 else "no_growth"

    def _error_estimate(self, chosen: int) -> float:
        return min(1.0, _NOISE_RATIO * self._rate_sin2(chosen))

    @property
    def rates(self) -> list[float]:
        """The rates in the window, ascending, in units of one over the rows squared."""
        return [self._rate(j) for j in self._rates]

    def vectors(self, i: int) -> Array:
        """Return the orthonormal columns of the i-th rate in the window."""
        k = self.n_components
        return self._V[:, i * k : (i + 1) * k]

    def top(self, r: int) -> tuple[Array, Array]:
        """Return estimates of the largest eigenvalues and the vectors of the chosen rate."""
        chosen = self._chosen()
        r = min(r, self.n_components)
        V = self._V0 if chosen is None else self.vectors(chosen)
        values = [0.0] * self.n_components if chosen is None else self._eigenvalues(chosen)
        lam = asarray(values, xp=self.xp, device=self.device, dtype=self._real_dtype())
        return lam[:r], V[:, :r]

    def _eigenvalues(self, i: int) -> list[float]:
        """Estimate eigenvalues from the growth, which along an eigenvector is ``eta l``.

        The start had only ``v^H v0`` along the answer, so that its logarithm is missing in the
        growth; it is missing at the beginning, while the vector turns, and is forgotten with
        that. To second order a row contributes ``eta |x^H v|^2 (1 + eta |x|^2 / 2)``.
        """
        rate, V = self._rate(self._rates[i]), self.vectors(i)
        _, R = qr_positive(matmul_h(V, self._V0, self.xp), self.xp)
        overlaps = host_values(real_part(self.xp.linalg.diagonal(R), self.xp))
        energy = math.ldexp(*self._energy)
        mean = energy / max(1.0, self._n_rows)
        fade = self._fades[i]
        estimates = [
            (growth - fade * math.log(max(overlap, 1e-30))) / (rate * (1.0 + 0.5 * rate * mean))
            for growth, overlap in zip(self._growth[i], overlaps, strict=True)
        ]
        return sorted((min(max(0.0, value), energy) for value in estimates), reverse=True)

    def certificate(self) -> Certificate:
        """Return growth, and how much the answer depends on the rate."""
        chosen = self._chosen()
        base: Certificate = {
            "order_zscore": math.nan,
            "n_light": self._n_rows,
            "status": self.status,
            "gap": math.inf if self.n_components == self.d else math.nan,
        }
        if chosen is None:
            return {**base, "lam1": 0.0, "error_estimate": math.nan, "residual": 0.0}
        growth = min(self._growth[chosen])
        between = self._rate_sin2(chosen)
        sin2 = self._error_estimate(chosen)
        return {
            **base,
            "lam1": self._eigenvalues(chosen)[0],
            "error_estimate": sin2 if self.status == "converged" else 1.0,
            "residual": math.sqrt(sin2),
            "residual_kind": "estimate",
            "extra": {
                "log_growth": growth,
                "growth_threshold": self.growth_threshold,
                "rate": self._rate(self._rates[chosen]),
                "n_rates": float(len(self._rates)),
                "sin2_rates": between,
            },
        }

    def _rate_sin2(self, chosen: int) -> float:
        """Return ``sin^2`` between the answers of the chosen rate and of half of it."""
        if chosen == 0 or self.n_components == self.d:
            return 0.0 if self.n_components == self.d else 1.0
        return subspace_sin2(self.vectors(chosen), self.vectors(chosen - 1), self.xp)

    # ------------------------------------------------------------------------------ state

    def _get_state(self) -> State:
        return {
            **self._sizes(),
            "growth_threshold": self.growth_threshold,
            "V0": to_numpy(self._V0),
            "Y": to_numpy(self._Y),
            "V": to_numpy(self._V),
            "rates": list(self._rates),
            "growth": [list(growth) for growth in self._growth],
            "fades": list(self._fades),
            "pending": None if self._pending is None else to_numpy(self._pending),
            "unit": None if self._unit is None else list(self._unit),
            "energy": list(self._energy),
            "n_rows": self._n_rows,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        sizes = sizes_from_state(state, xp, device)
        engine = cls(**sizes, rng=0, growth_threshold=state["growth_threshold"])
        place: dict[str, Any] = {"xp": xp, "device": device}
        engine._V0 = asarray(state["V0"], **place)
        engine._Y = asarray(state["Y"], **place)
        engine._V = asarray(state["V"], **place)
        engine._rates = list(state["rates"])
        engine._growth = [list(growth) for growth in state["growth"]]
        engine._fades = list(state["fades"])
        pending = state["pending"]
        engine._pending = None if pending is None else asarray(pending, **place)
        unit = state["unit"]
        engine._unit = None if unit is None else (unit[0], unit[1])
        engine._energy = (state["energy"][0], state["energy"][1])
        engine._n_rows = state["n_rows"]
        return engine
