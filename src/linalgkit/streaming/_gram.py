"""The exact method: the whole of ``A^H A``, and an eigenvalue decomposition at the end.

Where a d x d matrix fits in memory nothing is lost: any order of the rows, exact sums, exact
merges. What remains open is how far the sample is from its population, and for that a few
earlier eigenvectors are remembered: rows that came later are independent of them::

    engine = Gram(d, 3, xp=xp, device=device, dtype=xp.float64, rng=rng)
    engine.update(block)
    lam, V = engine.top(3)
    engine.certificate()["gap"]       # of the population, from rows the basis has not seen

"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    eps,
    itemsize,
    matmul_h,
    to_numpy,
)
from linalgkit._core.linalg import (
    eigh_desc,
    hermitian_part,
    ldexp,
    orthonormalise,
    subspace_sin2,
)
from linalgkit._core.operators import Operator
from linalgkit._core.random import as_generator, standard_normal
from linalgkit._core.state import State, check_mergeable
from linalgkit.streaming._enclosure import eigenvalue_ratio, sampling_terms
from linalgkit.streaming._engine import (
    Certificate,
    Engine,
    column_dots,
    host_values,
    real_part,
    sizes_from_state,
)

_BLOCK_BYTES = 2**22
_SPARE_COLUMNS = 5
_PRIOR_FREEDOM = 4.0  # weight of the formula for normal rows, in directions


@dataclass(frozen=True)
class Weights:
    """Sum of the weights of some rows, and of their squares (both the count, if all are 1)."""

    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Weights) -> Weights:
        return Weights(self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: Weights) -> Weights:
        return Weights(self.total - other.total, self.squares - other.squares)

    def faded(self, factor: float) -> Weights:
        """Return the weights after all rows were multiplied by ``sqrt(factor)``."""
        return Weights(self.total * factor, self.squares * factor**2)

    @property
    def effective(self) -> float:
        """Number of equally weighted rows that are worth as much."""
        return self.total**2 / self.squares if self.squares > 0.0 else 0.0


@dataclass(frozen=True)
class Snapshot:
    """Leading eigenvectors of an earlier ``A^H A`` and its energies along them."""

    basis: Array
    energies: Array
    weights: Weights


# ------------------------------------------------------------------------- step functions


def leading_basis(S: Array, V: Array, *, xp: Namespace, depth: int = 3, n_cycles: int = 3) -> Array:
    """Improve approximate leading eigenvectors of a Hermitian matrix by block Krylov cycles.

    Parameters
    ----------
    S : array (d, d)
        Positive semi-definite.
    V : array (d, q)
        Orthonormal start.
    xp : module
        Namespace.
    depth, n_cycles : int
        Products with `S` a cycle, and cycles. Flops: ``4 d^2 q depth n_cycles`` and less.

    Returns
    -------
    array (d, q)
        Ritz vectors in descending order; exact where ``(depth + 1) q`` is `d` or more.
    """
    d, q = V.shape
    if (depth + 1) * q >= d:
        return eigh_desc(hermitian_part(S, xp), xp)[1][:, :q]
    for _ in range(n_cycles):
        blocks = [V]
        for _ in range(depth):
            blocks.append(orthonormalise(S @ blocks[-1], xp))
        K = orthonormalise(xp.concat(blocks, axis=1), xp)
        _, C = eigh_desc(hermitian_part(matmul_h(K, S @ K, xp), xp), xp)
        V = K @ C[:, :q]
    return V


def energies_along(S: Array, V: Array, *, xp: Namespace) -> Array:
    """Return ``v_i^H S v_i`` for the columns of `V`, real."""
    return real_part(column_dots(V, S @ V, xp), xp)


# -------------------------------------------------------------------------------- the engine


class Gram(Engine):
    """Exact ``A^H A`` of everything streamed.

    Parameters
    ----------
    d, n_components, xp, device, dtype
        See :class:`~linalgkit.streaming._engine.Engine`.
    rng : numpy.random.Generator
        Starts the iteration behind the certificate; the eigenpairs do not depend on it.

    Notes
    -----
    Storage: ``d^2 + 2 d (k + 5)`` numbers of the widest dtype, and a second ``d^2`` while a
    block is added. Work: `d^2` flops a row and multiply, and one ``O(d^3)`` decomposition an
    answer. Eigenvalues and vectors are those of the sample to rounding in any order of rows.

    ``gap`` and ``error_estimate`` are about the population and need rows in random order.
    Whenever the number of rows has doubled, a basis of ``k + 5`` leading vectors is remembered.
    The rows since then give its *out-of-sample* energies, which are too low by the amount by
    which the in-sample energies are too high (to first order, whatever the distribution), so
    that their mean is the estimate for a direction that is determined at all; for one that is
    not, the out-of-sample energy itself is. The movement of the subspace since the snapshot
    gives its error: ``sin^2(now, population) = sin^2(snapshot, now) n_before / n_after`` to
    first order. It is averaged with the formula for normal rows, which counts like four
    directions.
    """

    name = "gram"
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
    ) -> None:
        super().__init__(d, n_components, xp=xp, device=device, dtype=dtype)
        q = min(d, n_components + _SPARE_COLUMNS)
        draw = standard_normal(as_generator(rng), (d, q), xp=xp, device=device, dtype=self.wide)
        self._S = self._zeros(d, d)
        self._owns_S = True
        self._weights = Weights()
        empty = Snapshot(orthonormalise(draw, xp), real_part(self._zeros(q), xp), Weights())
        self._older, self._newer = empty, empty
        self._pairs: tuple[Array, Array] | None = None

    @property
    def block_rows(self) -> int:
        """Rows a block should have: four MiB, so that adding d x d numbers costs little."""
        row_bytes = self.d * itemsize(self.xp, self.dtype)
        return min(4096, max(256, _BLOCK_BYTES // row_bytes))

    # ---------------------------------------------------------------------- rows come in

    def update(self, block: Operator) -> None:
        """Add a block's ``A^H A``; no synchronisation."""
        start, stop = 0, block.shape[0]
        while start < stop:
            due = math.ceil(self._next_snapshot() - self._weights.total)
            end = min(stop, start + max(1, due))
            whole = start == 0 and end == stop
            self._add(block if whole else block.rows(start, end), float(end - start))
            start = end

    def _add(self, block: Operator, count: float) -> None:
        if not self._owns_S:
            self._S, self._owns_S = self.xp.asarray(self._S, copy=True), True
        self._S = block.add_gram(self._S)
        self._weights = self._weights + Weights(count, count)
        self._pairs = None
        if self._weights.total >= self._next_snapshot():
            self._older, self._newer = self._newer, self._snapshot()

    def _next_snapshot(self) -> float:
        """Return the total weight at which the next snapshot is due."""
        least: float = 4.0 * self._newer.basis.shape[1]
        return max(least, 2.0 * self._newer.weights.total)

    def _snapshot(self) -> Snapshot:
        V = leading_basis(self._S, self._newer.basis, xp=self.xp)
        return Snapshot(V, energies_along(self._S, V, xp=self.xp), self._weights)

    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``."""
        self._S = ldexp(self._S, 2 * exponent, self.xp)
        self._older, self._newer = (
            replace(s, energies=ldexp(s.energies, 2 * exponent, self.xp))
            for s in (self._older, self._newer)
        )
        self._pairs = None

    def decay(self, factor: float) -> None:
        """Multiply ``A^H A`` so far by `factor`."""
        self._S = self._S * factor
        self._weights = self._weights.faded(factor)
        self._older, self._newer = (
            replace(s, energies=s.energies * factor, weights=s.weights.faded(factor))
            for s in (self._older, self._newer)
        )
        self._pairs = None

    def merge(self, other: Gram) -> None:
        """Add what another engine has seen; exact up to the rounding of one sum.

        Raises
        ------
        TypeError, ValueError
            If `other` is of another kind, size or dtype.
        """
        check_mergeable(self, other, ("d", "n_components", "dtype_name"))
        larger = self if self._weights.total >= other._weights.total else other
        older, newer = larger._older, larger._newer
        if larger._weights.total >= 1.5 * newer.weights.total:
            older, newer = newer, larger._snapshot()
        self._older, self._newer = older, newer
        self._S = self._S + other._S
        self._weights = self._weights + other._weights
        self._pairs = None

    # ------------------------------------------------------------------------- the answer

    def finish(self) -> Self:
        """Return a view with the decomposition done; whoever is updated next copies the sum."""
        self._eigenpairs()
        self._owns_S = False
        return copy.copy(self)

    def _eigenpairs(self) -> tuple[Array, Array]:
        if self._pairs is None:
            lam, V = eigh_desc(hermitian_part(self._S, self.xp), self.xp)
            self._pairs = self.xp.where(lam > 0, lam, self.xp.zeros_like(lam)), V
        return self._pairs

    def top(self, r: int) -> tuple[Array, Array]:
        """Return the `r` largest eigenvalues, descending, and their vectors as columns."""
        lam, V = self._eigenpairs()
        r = min(r, self.d)
        return lam[:r], V[:, :r]

    def certificate(self) -> Certificate:
        """Return gap, error estimate and exact residual; a handful of synchronisations."""
        lam, V = self._eigenpairs()
        values = host_values(lam)
        certificate: Certificate = {
            "n_light": self._weights.total,
            "lam1": values[0],
            "order_zscore": math.nan,
            "residual": self._residual(lam, V, values[0]),
            "residual_kind": "exact",
        }
        k, tiny = self.n_components, self.d * eps(self.xp, self.dtype) * values[0]
        if values[0] <= 0.0:
            return {**certificate, "gap": math.nan, "error_estimate": math.nan}
        if k == self.d:
            return {**certificate, "gap": math.inf, "error_estimate": 0.0}
        unit = self._weights.total
        population = [value / unit if value > tiny else 0.0 for value in values]
        snapshot = self._usable_snapshot()
        if snapshot is None:
            sin2, _ = self._normal_rows_sin2(population)
            return {**certificate, "gap": math.nan, "error_estimate": sin2}
        out = self._debiased(snapshot, V)
        leading = [value if value > tiny / unit else 0.0 for value in out]
        population[: len(leading)] = leading
        for j in range(k, self.d):  # sample eigenvalues beyond the gap are spread out by noise
            population[j] = min(population[j], leading[k])
        moved = self._moved_sin2(snapshot, V)
        formula, freedom = self._normal_rows_sin2(population)
        freedom *= 2.0 if self.is_complex else 1.0
        sin2 = (freedom * moved + _PRIOR_FREEDOM * formula) / (freedom + _PRIOR_FREEDOM)
        return {
            **certificate,
            "gap": eigenvalue_ratio(leading, k, self.d),
            "error_estimate": min(1.0, sin2),
        }

    def _residual(self, lam: Array, V: Array, largest: float) -> float:
        if largest <= 0.0:
            return 0.0
        k = self.n_components
        R = self._S @ V[:, :k] - V[:, :k] * lam[None, :k]
        return float(self.xp.max(self.xp.linalg.vector_norm(R, axis=0))) / largest

    def _usable_snapshot(self) -> Snapshot | None:
        """Return the snapshot that is nearest to half of the rows, if there is a proper one."""
        total = self._weights.total
        least = 4.0 * self._newer.basis.shape[1]

        def imbalance(s: Snapshot) -> float:
            return abs(math.log(s.weights.total / (total - s.weights.total)))

        usable = [
            s
            for s in (self._newer, self._older)
            if s.weights.effective >= 0.999 * least
            and (total - s.weights.total) >= 0.25 * s.weights.total
        ]
        return min(usable, key=imbalance, default=None)

    def _debiased(self, snapshot: Snapshot, V: Array) -> list[float]:
        """Return estimates of the population's leading eigenvalues (a row's, not the sum's)."""
        xp, basis = self.xp, snapshot.basis
        before, total = snapshot.weights.total, self._weights.total
        now = energies_along(self._S, basis, xp=xp)
        inside = snapshot.energies / before
        outside = (now - snapshot.energies) / (total - before)
        overlap = xp.abs(column_dots(basis, V[:, : basis.shape[1]], xp)) ** 2
        trust = 2.0 * overlap - 1.0
        trust = xp.where(trust > 0.0, trust, xp.zeros_like(trust))
        estimate = outside + 0.5 * trust * (inside - outside)
        return sorted((max(0.0, value) for value in host_values(estimate)), reverse=True)

    def _moved_sin2(self, snapshot: Snapshot, V: Array) -> float:
        """Estimate the error from the movement of the subspace since the snapshot."""
        k = self.n_components
        moved = subspace_sin2(snapshot.basis[:, :k], V[:, :k], self.xp)
        first, all_rows = snapshot.weights, self._weights
        second = all_rows - first
        share = second.total / all_rows.total
        variance = share**2 * (1.0 / first.effective + 1.0 / second.effective)
        return min(1.0, moved / (variance * all_rows.effective))

    def _normal_rows_sin2(self, population: list[float]) -> tuple[float, float]:
        """Return the error expected of normal rows, and over how many directions it spreads."""
        k, n = self.n_components, self._weights.effective
        terms = [sampling_terms(population, i, k, n) for i in range(k)]
        sin2, freedom = max(terms)
        return min(1.0, sin2), freedom

    # ------------------------------------------------------------------------------ state

    def _get_state(self) -> State:
        state: State = {**self._sizes(), "S": to_numpy(self._S)}
        state["weights"] = [self._weights.total, self._weights.squares]
        for name, s in (("older", self._older), ("newer", self._newer)):
            state[name] = {
                "basis": to_numpy(s.basis),
                "energies": to_numpy(s.energies),
                "weights": [s.weights.total, s.weights.squares],
            }
        return state

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        engine = cls(**sizes_from_state(state, xp, device), rng=0)
        place: dict[str, Any] = {"xp": xp, "device": device}
        engine._S = asarray(state["S"], **place)
        engine._weights = Weights(*state["weights"])
        engine._older, engine._newer = (
            Snapshot(
                asarray(state[name]["basis"], **place),
                asarray(state[name]["energies"], **place),
                Weights(*state[name]["weights"]),
            )
            for name in ("older", "newer")
        )
        return engine
