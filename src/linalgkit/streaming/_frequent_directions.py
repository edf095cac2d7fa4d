"""Frequent Directions: a deterministic sketch of the rows, right in any order.

A matrix `B` of l rows stands for everything streamed. It never exaggerates and never misses
more than what was shrunk away, and it knows that number::

    engine = FrequentDirections(d, 1, xp=xp, device=device, dtype=xp.float64, sketch_size=24)
    engine.update(block)
    engine.certificate()["extra"]["excess"]     # B^H B <= A^H A <= B^H B + excess

"""

from __future__ import annotations

import math
from typing import Any, Self

from linalgkit._core.array import Array, Device, DType, Namespace, adjoint, asarray, eps, to_numpy
from linalgkit._core.linalg import eigh_desc, hermitian_part, ldexp, matmul_h, svd_desc
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.state import State, check_mergeable
from linalgkit._core.validation import check_int
from linalgkit.streaming._enclosure import (
    add_angles,
    eigenvalue_ratio,
    enclosure_sin2,
    sampling_sin2,
)
from linalgkit.streaming._engine import (
    Certificate,
    Engine,
    host_values,
    real_part,
    sizes_from_state,
    widened,
)

_LEAST_BLOCK = 32


# Liberty (2013); Ghashami, Liberty, Phillips, Woodruff, "Frequent Directions: simple and
# deterministic matrix sketching", SIAM J. Comput. 45 (2016), Algorithm 2. Differs from it:
# 1. The sketch and the new rows are never stacked. Their joint Gram matrix (l + b) x (l + b)
#    gives the rotation, which is applied to both parts; sparse rows stay sparse.
# 2. The rotation comes from an eigenvalue decomposition of that Gram matrix, not from an SVD.
#    Small singular values are lost below sqrt(eps), but the guarantee does not need them:
#    with U unitary to rounding, what is removed is U D U^H with D <= delta in exact
#    arithmetic, and an error E in the diagonalisation changes it by at most ||E||, which is of
#    order eps times the largest eigenvalue. That amount is added up in `rounding`.
# 3. What is subtracted is the (l + 1)-th eigenvalue, so that l rows remain; eigenvalues below
#    (l + b) eps times the largest count as 0: data of rank up to l are sketched without loss.
def shrinking_rotation(G: Array, n_kept: int, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return how to rotate and shrink rows with Gram matrix `G` to `n_kept` rows.

    Parameters
    ----------
    G : array (m, m)
        Products of the rows with each other, Hermitian.
    n_kept : int
        Rows to keep, fewer than `m`.
    xp : module
        Namespace.

    Returns
    -------
    C : array (m, n_kept)
        The new rows are ``C^H`` times the old ones.
    delta : array ()
        What is taken from every squared singular value.
    largest : array ()
        The largest squared singular value, which measures the rounding errors.
    """
    w, U = eigh_desc(hermitian_part(G, xp), xp)
    zeros = xp.zeros_like(w)
    floor = G.shape[0] * eps(xp, w.dtype) * w[:1]
    w = xp.where(w > floor, w, zeros)
    delta = w[n_kept]
    kept = w[:n_kept]
    safe = xp.where(kept > 0, kept, xp.ones_like(kept))
    # A direction of eigenvalue 0 is kept as it is where nothing is subtracted.
    factors = xp.where(kept > 0, xp.sqrt((kept - delta) / safe), xp.ones_like(kept))
    factors = xp.where((kept > 0) | (delta == 0), factors, xp.zeros_like(kept))
    return U[:, :n_kept] * xp.astype(factors[None, :], U.dtype, copy=False), delta, w[0]


class FrequentDirections(Engine):
    """Deterministic sketch of l rows with an enclosure of the eigenvalues.

    Parameters
    ----------
    d, n_components, xp, device, dtype
        See :class:`~linalgkit.streaming._engine.Engine`.
    rng : ignored
        The method is deterministic.
    sketch_size : int, optional
        Rows `l` of the sketch, more than `n_components`; ``max(4 k, k + 20)`` by default, and
        never more than `d`, where nothing is lost at all.

    Notes
    -----
    With ``S = A^H A``, ``B^H B <= S <= B^H B + excess I`` in the positive semi-definite order,
    where ``excess`` is what was subtracted in total, or the trace that is missing if that is
    less, and at most ``||A - A_k||_F^2 / (l - k)`` for every k below l. Hence eigenvalue
    `i` lies in ``[lam_i, lam_i + excess]``, and the angle to the sample's subspace is bounded
    whenever ``excess < lam_k - lam_{k+1}``. With a flat spectrum and a small gap the excess is
    larger than that: no sketch of this size can do better in arbitrary order.

    Storage: ``l d`` numbers of the widest dtype, and ``2 l d + (l + b)^2`` more while a block
    of `b` rows is added. Flops a row: about ``10 l d``. No synchronisation while rows come in.
    """

    name = "frequent-directions"
    order = "any"

    def __init__(
        self,
        d: int,
        n_components: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        rng: Any = None,
        sketch_size: int | None = None,
    ) -> None:
        super().__init__(d, n_components, xp=xp, device=device, dtype=dtype)
        default = max(4 * n_components, n_components + 20)
        size = default if sketch_size is None else sketch_size
        least = min(d, n_components + 1)
        check_int(
            "sketch_size",
            size,
            least,
            why=f"for n_components={n_components}",
            way_out="Leave it at None for a default, or ask for fewer eigenvectors.",
        )
        self.sketch_size = min(d, size)
        self._B = self._zeros(self.sketch_size, d)
        self._shrunk = self._zero()
        self._rounding = self._zero()
        self._energy = self._zero()
        self._n_rows = 0.0
        self._pairs: tuple[Array, Array] | None = None

    @property
    def block_rows(self) -> int:
        """Rows a block should have: as many as the sketch, which balances the work."""
        return max(_LEAST_BLOCK, self.sketch_size)

    # ---------------------------------------------------------------------- rows come in

    def update(self, block: Operator) -> None:
        """Rotate a block into the sketch and shrink."""
        block = widened(block, self.wide)
        G = self._take(lambda: block.H.gram())
        self._absorb(block, G)
        self._energy = self._energy + self.xp.sum(real_part(self.xp.linalg.diagonal(G), self.xp))
        self._n_rows += block.shape[0]

    def _take(self, product: Any) -> Array:
        return self.xp.astype(product(), self.wide, copy=False)

    def _absorb(self, block: Operator, own: Array) -> None:
        """Rotate rows whose Gram matrix is `own` into the sketch."""
        xp, B, size = self.xp, self._B, self.sketch_size
        narrow = block.dtype
        to_block = xp.astype(adjoint(B, xp), narrow, copy=False)
        cross = self._take(lambda: block.matmul(to_block))
        upper = xp.concat([B @ adjoint(B, xp), adjoint(cross, xp)], axis=1)
        G = xp.concat([upper, xp.concat([cross, own], axis=1)], axis=0)
        C, delta, largest = shrinking_rotation(G, size, xp=xp)
        fresh = self._take(lambda: block.rmatmul(xp.astype(C[size:, :], narrow, copy=False)))
        self._B = matmul_h(C[:size, :], B, xp) + adjoint(fresh, xp)
        self._shrunk = self._shrunk + delta
        self._rounding = self._rounding + largest * (G.shape[0] * eps(xp, narrow))
        self._pairs = None

    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``."""
        self._B = ldexp(self._B, exponent, self.xp)
        self._squares(lambda x: ldexp(x, 2 * exponent, self.xp))

    def decay(self, factor: float) -> None:
        """Multiply ``A^H A`` so far by `factor`."""
        self._B = self._B * math.sqrt(factor)
        self._squares(lambda x: x * factor)
        self._n_rows *= factor

    def _squares(self, change: Any) -> None:
        self._shrunk, self._rounding, self._energy = map(
            change, (self._shrunk, self._rounding, self._energy)
        )
        self._pairs = None

    def merge(self, other: FrequentDirections) -> None:
        """Rotate another sketch into this one; the excesses add, and what is shrunk now.

        Raises
        ------
        TypeError, ValueError
            If `other` is of another kind, size or dtype.
        """
        check_mergeable(self, other, ("d", "n_components", "sketch_size", "dtype_name"))
        rows = other._B
        self._absorb(DenseOperator(rows), rows @ adjoint(rows, self.xp))
        self._shrunk = self._shrunk + other._shrunk
        self._rounding = self._rounding + other._rounding
        self._energy = self._energy + other._energy
        self._n_rows += other._n_rows

    # ------------------------------------------------------------------------- the answer

    @property
    def sketch(self) -> Array:
        """The sketch `B`, ``sketch_size`` rows."""
        return self._B

    def _eigenpairs(self) -> tuple[Array, Array]:
        if self._pairs is None:
            _, s, Vh = svd_desc(self._B, self.xp)
            self._pairs = s**2, adjoint(Vh, self.xp)
        return self._pairs

    def top(self, r: int) -> tuple[Array, Array]:
        """Return the `r` largest eigenvalues of ``B^H B`` (lower bounds) and their vectors."""
        lam, V = self._eigenpairs()
        r = min(r, self.sketch_size)
        return lam[:r], V[:, :r]

    def excess(self) -> float:
        """Return how far ``A^H A`` can be above ``B^H B`` in norm, rounding included."""
        shrunk, rounding, energy = self._totals()
        if shrunk == 0.0:
            return rounding
        missing = energy - float(self.xp.sum(self._eigenpairs()[0]))
        return min(shrunk, max(0.0, missing)) + rounding

    def _totals(self) -> list[float]:
        return host_values(self.xp.stack([self._shrunk, self._rounding, self._energy]))

    def certificate(self) -> Certificate:
        """Return the enclosure and the angles it implies."""
        values = host_values(self._eigenpairs()[0])
        shrunk, rounding, energy = self._totals()
        excess, k = self.excess(), self.n_components
        missing = max(0.0, energy - sum(values))
        lost = 0.0 if k == self.d else enclosure_sin2(values, k, excess)
        likely = self._likely_values(values, excess if shrunk > 0.0 else 0.0, missing)
        sampled = 0.0
        if k < self.d:
            sampled = sampling_sin2(likely, k, self._n_rows, max(0.0, energy - sum(likely)))
        tail = max(0.0, energy - sum(values[:k]))
        is_zero = values[0] <= 0.0
        return {
            "gap": eigenvalue_ratio(_without_noise(likely, rounding), k, self.d),
            "error_estimate": math.nan if is_zero else add_angles(lost, sampled),
            "order_zscore": math.nan,
            "n_light": self._n_rows,
            "lam1": values[0],
            "residual": 0.0 if is_zero else min(1.0, excess / values[0]),
            "residual_kind": "bound",
            "extra": {
                "excess": excess,
                "shrunk": shrunk,
                "rounding": rounding,
                "tail_bound": tail / (self.sketch_size - k) if self.sketch_size > k else math.inf,
                "sin2_bound": lost,
                "sin2_sampling": sampled,
            },
        }

    def _likely_values(self, values: list[float], excess: float, missing: float) -> list[float]:
        """Guess the eigenvalues of ``A^H A`` inside their enclosure.

        A direction that the sketch holds loses what is shrunk each time, the whole excess; one
        that it never holds loses its share of the missing trace.
        """
        share = min(excess, missing / self.d)
        if excess <= 0.0:
            return values
        return [v + max(share, excess * v / (v + excess)) for v in values]

    # ------------------------------------------------------------------------------ state

    def _get_state(self) -> State:
        return {
            **self._sizes(),
            "sketch_size": self.sketch_size,
            "B": to_numpy(self._B),
            "totals": to_numpy(self.xp.stack([self._shrunk, self._rounding, self._energy])),
            "n_rows": self._n_rows,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        engine = cls(**sizes_from_state(state, xp, device), sketch_size=state["sketch_size"])
        engine._B = asarray(state["B"], xp=xp, device=device)
        totals = asarray(state["totals"], xp=xp, device=device)
        engine._shrunk, engine._rounding, engine._energy = totals[0], totals[1], totals[2]
        engine._n_rows = state["n_rows"]
        return engine


def _without_noise(values: list[float], floor: float) -> list[float]:
    return [value if value > floor else 0.0 for value in values]
