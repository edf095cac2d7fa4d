"""Nystrom sketch: one product with a fixed random matrix, right in any order, merged exactly.

The sketch ``Y = A^H A Omega`` is a sum over rows. Whoever has the same `Omega` adds sketches::

    engine = Nystrom(d, 3, xp=xp, device=device, dtype=xp.float64, rng=rng, sketch_size=40)
    engine.update(block)
    lam, V = engine.top(3)
    engine.certificate()["extra"]["excess"]   # trace of what the sketch has not seen

"""

from __future__ import annotations

import math
from typing import Any, Self

from linalgkit._core.array import Array, Device, DType, Namespace, asarray, eps, itemsize, to_numpy
from linalgkit._core.linalg import ldexp, orthonormalise, psd_nystrom
from linalgkit._core.operators import Operator
from linalgkit._core.random import as_generator, standard_normal
from linalgkit._core.state import State, check_mergeable
from linalgkit._core.validation import check_int
from linalgkit.streaming._enclosure import (
    add_angles,
    eigenvalue_ratio,
    enclosure_sin2,
    sampling_sin2,
)
from linalgkit.streaming._engine import Certificate, Engine, host_values, sizes_from_state

_BLOCK_BYTES = 2**20


def orthonormal_draw(
    key: int, d: int, size: int, *, xp: Namespace, device: Device, dtype: DType
) -> Array:
    """Return the (d, size) orthonormal matrix that belongs to an integer key.

    The same on every library up to rounding: the draw is made on the host, and its QR factors
    with a positive diagonal are unique.
    """
    draw = standard_normal(as_generator(key), (d, size), xp=xp, device=device, dtype=dtype)
    return orthonormalise(draw, xp)


# Tropp, Yurtsever, Udell, Cevher, "Fixed-rank approximation of a positive-semidefinite matrix
# from streaming data" (NIPS 2017), Algorithms 1 to 3. Differs from them:
# 1. Omega is kept as a key, so that sketches are merged only if theirs are the same.
# 2. ||A||_F^2 is summed beside the sketch. As the approximation is below A^H A in the positive
#    semi-definite order, what is missing in its trace is the nuclear norm of the error exactly.
class Nystrom(Engine):
    """Randomised sketch with exact merges and an exact nuclear-norm error.

    Parameters
    ----------
    d, n_components, xp, device, dtype
        See :class:`~linalgkit.streaming._engine.Engine`.
    rng : numpy.random.Generator
        Gives one number, the key of `Omega`. Sketches merge if their keys agree.
    sketch_size : int, optional
        Columns `l` of `Omega`, at least ``n_components``; ``2 k + 20`` by default, and never
        more than `d`, where nothing is lost.

    Notes
    -----
    The approximation ``L = Y (Omega^H Y)^+ Y^H`` satisfies ``0 <= S - L`` and
    ``trace(S - L) = ||A||_F^2 - trace(L)``, reported as ``excess``. Hence eigenvalue `i` lies
    in ``[lam_i, lam_i + excess]``, and the angle to the sample's subspace is bounded whenever
    ``excess < lam_k - lam_{k+1}``. In expectation over `Omega` the excess of the best choice
    of k is at most ``(1 + k / (l - k - 1)) sum_{j > k} l_j``, ``expected_excess``: the method
    needs a spectrum that decays.

    Storage: ``2 l d`` numbers (`Omega` in the working dtype, the sum in the widest), three
    times that for an answer. Flops a row: ``4 l d``. No synchronisation while rows come in.
    """

    name = "nystrom"
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
        sketch_size: int | None = None,
    ) -> None:
        super().__init__(d, n_components, xp=xp, device=device, dtype=dtype)
        size = 2 * n_components + 20 if sketch_size is None else sketch_size
        check_int(
            "sketch_size",
            size,
            n_components,
            why=f"for n_components={n_components}",
            way_out="Leave it at None for a default, or ask for fewer eigenvectors.",
        )
        self._start(int(as_generator(rng).integers(2**63)), min(d, size))

    def _start(self, key: int, size: int) -> None:
        self.key = key
        self.sketch_size = size
        self._omega = orthonormal_draw(
            key, self.d, size, xp=self.xp, device=self.device, dtype=self.dtype
        )
        self._Y = self._zeros(self.d, size)
        self._energy = self._zero()
        self._n_rows = 0.0
        self._pairs: tuple[Array, Array] | None = None

    @property
    def block_rows(self) -> int:
        """Rows a block should have: one MiB, so that it is read from memory once."""
        row_bytes = self.d * itemsize(self.xp, self.dtype)
        return min(1024, max(32, _BLOCK_BYTES // row_bytes))

    @property
    def basis(self) -> Array:  # type: ignore[override]  # fixed once made
        """The test matrix."""
        return self._omega

    # ---------------------------------------------------------------------- rows come in

    def update(self, block: Operator) -> None:
        """Add a block's ``A^H A Omega``."""
        _, D = block.normal_product(self._omega)
        self._Y = self._Y + self.xp.astype(D, self.wide, copy=False)
        norms = block.row_norms_squared()
        self._energy = self._energy + self.xp.sum(norms, dtype=self._energy.dtype)
        self._n_rows += block.shape[0]
        self._pairs = None

    def rescale(self, exponent: int) -> None:
        """Act as if all rows so far had been multiplied by ``2**exponent``."""
        self._Y = ldexp(self._Y, 2 * exponent, self.xp)
        self._energy = ldexp(self._energy, 2 * exponent, self.xp)
        self._pairs = None

    def decay(self, factor: float) -> None:
        """Multiply ``A^H A`` so far by `factor`."""
        self._Y = self._Y * factor
        self._energy = self._energy * factor
        self._n_rows *= factor
        self._pairs = None

    def merge(self, other: Nystrom) -> None:
        """Add another sketch with the same `Omega`; exact up to the rounding of one sum.

        Raises
        ------
        TypeError, ValueError
            If `other` is of another kind, size, dtype or key.
        """
        way_out = "Start all parts with the same integer rng and the same sizes."
        fields = ("d", "n_components", "dtype_name", "sketch_size", "key")
        check_mergeable(self, other, fields, way_out=way_out)
        self._Y = self._Y + other._Y
        self._energy = self._energy + other._energy
        self._n_rows += other._n_rows
        self._pairs = None

    # ------------------------------------------------------------------------- the answer

    def _eigenpairs(self) -> tuple[Array, Array]:
        """Decompose; a shift covers the rounding of products in a narrow working dtype."""
        if self._pairs is None:
            xp, Y = self.xp, self._Y
            omega = xp.astype(self._omega, self.wide, copy=False)
            unit = eps(xp, self.dtype)
            shift = xp.linalg.vector_norm(Y) * (unit if unit > eps(xp, self.wide) else 0.0)
            V, lam = psd_nystrom(Y + xp.astype(shift, Y.dtype, copy=False) * omega, omega, xp)
            lam = lam - shift
            self._pairs = xp.where(lam > 0, lam, xp.zeros_like(lam)), V
        return self._pairs

    def top(self, r: int) -> tuple[Array, Array]:
        """Return the `r` largest eigenvalues (lower bounds) and their vectors as columns."""
        lam, V = self._eigenpairs()
        r = min(r, self.sketch_size)
        return lam[:r], V[:, :r]

    def excess(self) -> float:
        """Return how far ``A^H A`` can be above the approximation in norm, rounding included."""
        lam, _ = self._eigenpairs()
        energy = float(self._energy)
        rounding = self.sketch_size * eps(self.xp, self.dtype) * energy
        return max(0.0, energy - float(self.xp.sum(lam))) + rounding

    def certificate(self) -> Certificate:
        """Return the enclosure and the angles it implies."""
        values = host_values(self._eigenpairs()[0])
        energy, k, size = float(self._energy), self.n_components, self.sketch_size
        excess = self.excess()
        is_zero = values[0] <= 0.0
        bound = 0.0 if k == self.d else enclosure_sin2(values, k, excess)
        lost = min(bound, self._expected_sin2(values, excess))
        sampled = 0.0 if k == self.d else sampling_sin2(values, k, self._n_rows, excess)
        tail = max(0.0, energy - sum(values[:k]))
        expected = (1.0 + k / (size - k - 1)) * tail if size > k + 1 else math.inf
        return {
            "gap": eigenvalue_ratio(values, k, self.d),
            "error_estimate": math.nan if is_zero else add_angles(lost, sampled),
            "order_zscore": math.nan,
            "n_light": self._n_rows,
            "lam1": values[0],
            "residual": 0.0 if is_zero else min(1.0, excess / values[0]),
            "residual_kind": "bound",
            "extra": {
                "excess": excess,
                "expected_excess": expected,
                "sin2_bound": bound,
                "sin2_expected": lost,
                "sin2_sampling": sampled,
            },
        }

    def _expected_sin2(self, values: list[float], excess: float) -> float:
        """Estimate ``sin^2`` between the sketch's subspace and the sample's.

        A random `Omega` gives vector `i` a share ``l / d`` of its length and every other one
        as much, so that ``tan^2 = sum_{j > k} l_j^2 / (l l_i^2)``. What the sketch misses is
        taken as flat, with mean ``m``; a sketched eigenvalue then has become
        ``lam = l_i^2 / (l_i + m d / l)``.
        """
        d, k, size = self.d, self.n_components, self.sketch_size
        if values[k - 1] <= 0.0:
            return 1.0
        if d <= size:
            return 0.0
        # all in units of the k-th eigenvalue, below what could overflow
        mean = min(excess / values[k - 1] / (d - size), 1e300)
        own = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * mean * d / size))
        ratios = [value / values[k - 1] / own for value in values[k:]]
        tail = sum(ratio * ratio for ratio in ratios) + (d - size) * (mean / own) * (mean / own)
        tan2 = tail * (d - size) / (d * size)
        return tan2 / (1.0 + tan2)

    # ------------------------------------------------------------------------------ state

    def _get_state(self) -> State:
        return {
            **self._sizes(),
            "key": self.key,
            "sketch_size": self.sketch_size,
            "omega": to_numpy(self._omega),
            "Y": to_numpy(self._Y),
            "energy": float(self._energy),
            "n_rows": self._n_rows,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        sizes = sizes_from_state(state, xp, device)
        engine = cls(**sizes, rng=state["key"], sketch_size=state["sketch_size"])
        engine.key = state["key"]
        engine._omega = asarray(state["omega"], xp=xp, device=device)
        engine._Y = asarray(state["Y"], xp=xp, device=device)
        engine._energy = engine._energy + state["energy"]
        engine._n_rows = state["n_rows"]
        return engine
