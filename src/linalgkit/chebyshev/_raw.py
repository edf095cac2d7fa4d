"""What a round of the build has found, before it is truncated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from linalgkit._core.array import Array, Namespace, numpy_namespace, to_numpy
from linalgkit._kernels.chebyshev import row_contract
from linalgkit.chebyshev._basis import parseval, vandermonde
from linalgkit.chebyshev._evaluate import factor_values
from linalgkit.chebyshev._parts import Interval, Parts
from linalgkit.chebyshev._sthosvd import truncate

_HOST = numpy_namespace()
_CHUNK, _CHUNK_NUMBERS = 512, 2**22
_LARGE_CORE = 2**16


@dataclass(eq=False)
class Cut:
    """A truncation: core, and bases (rho_k, r_k) in what a raw format has; on the host.

    None for the bases stands for no truncation. `values` are those at the points seen so far.
    """

    core: Array
    bases: tuple[Array, ...] | None
    values: Array = field(default_factory=lambda: _HOST.empty(0))


class Raw:
    """Factor functions, and a core of which truncations are made, at points that grow.

    `factors` are coefficients (m_k, rho_k) on the host, orthonormal in the weighted norm; None
    stands for all polynomials of the mode.
    """

    def __init__(
        self,
        core: Array,
        factors: Sequence[Array] | None,
        intervals: Sequence[Interval],
        xp: Namespace,
        *,
        ranks: Sequence[int] | None = None,
        n_iter: int = 0,
    ) -> None:
        self.core, self.xp, self.intervals = core, xp, tuple(intervals)
        self.factors = None if factors is None else tuple(factors)
        self.lengths = [int(n) for n in core.shape]
        self.ranks = None
        if ranks is not None:
            self.ranks = [min(r, n) for r, n in zip(ranks, self.lengths, strict=True)]
        self.n_iter = n_iter
        self._at_tests: list[Array] = []
        self._seen = _HOST.empty((0, len(self.intervals)))

    def cut(self, absolute: float) -> Cut:
        """Return a truncation whose weighted norm differs by at most `absolute`."""
        core, bases, _ = truncate(
            self.core, absolute, self.xp, ranks=self.ranks, n_iter=self.n_iter
        )
        return Cut(_wide(core), tuple(map(_wide, bases)))

    def least_cut(self, absolute: float) -> Cut:
        """Return no truncation where that is as small, else one by `absolute`."""
        is_large = math.prod(self.lengths) > _LARGE_CORE
        if self.factors is None or self.ranks is not None or is_large:
            return self.cut(absolute)
        return Cut(self.core, None)

    def parts(self, cut: Cut) -> Parts:
        """Return a truncation as parts on the host."""
        if cut.bases is None:
            factors = self.factors or ()
        elif self.factors is None:
            factors = tuple(U / parseval(int(U.shape[0]))[:, None] for U in cut.bases)
        else:
            factors = tuple(F @ U for F, U in zip(self.factors, cut.bases, strict=True))
        return Parts(cut.core, factors, self.intervals, _HOST)

    def values(self, cut: Cut, P: Array) -> Array:
        """Return the values of a truncation at points `P` (n, d), kept for calls with more."""
        if not self._meet(P):
            cut.values = cut.values[:0]
        known = int(cut.values.shape[0])
        if known < int(P.shape[0]):
            bases = [B[known:, :] for B in self._at_tests]
            if cut.bases is not None:
                bases = [B @ U for B, U in zip(bases, cut.bases, strict=True)]
            cut.values = _HOST.concat([cut.values, contracted(cut.core, bases)])
        return cut.values

    def _meet(self, P: Array) -> bool:
        """Evaluate the factor functions at points that are new; False where all are others."""
        known = int(self._seen.shape[0])
        if known > int(P.shape[0]) or not _HOST.array_equal(self._seen, P[:known, :]):
            known = 0
        goes_on = known == int(self._seen.shape[0])
        if self._at_tests and known == int(P.shape[0]):
            return goes_on
        self._seen = P
        new = [self._basis(k, P[known:, k]) for k in range(int(P.shape[1]))]
        if known:
            new = [_HOST.concat(pair) for pair in zip(self._at_tests, new, strict=True)]
        self._at_tests = new
        return goes_on

    def _basis(self, k: int, t: Array) -> Array:
        """Return the factor functions of a mode at points."""
        if self.factors is None:
            m = self.lengths[k]
            return vandermonde(t, m, _HOST) / parseval(m)
        return factor_values(t, self.factors[k], _HOST)


def line_values(parts: Parts, P: Array, k: int, t: Array) -> Array:
    """Return the values (m, p) of parts along variable k through points `P` (p, d) (host).

    At positions `t` (m,), or (m, p) for lines with positions of their own.
    """
    others = [j for j in range(parts.order) if j != k]
    Y = _HOST.moveaxis(parts.core, k, -1)
    Y = _HOST.broadcast_to(Y.reshape(1, -1), (int(P.shape[0]), math.prod(Y.shape)))
    for count, j in enumerate(others):
        B = factor_values(P[:, j], parts.factors[j], _HOST).astype(Y.dtype, copy=False)
        if count == 0:
            Y = B @ Y[0, :].reshape(int(B.shape[1]), -1)
        else:
            Y = row_contract(_HOST, Y.reshape(int(B.shape[0]), int(B.shape[1]), -1), B)
    B = factor_values(t.ravel(), parts.factors[k], _HOST)
    if t.ndim == 1:
        return B @ Y.T
    return _HOST.sum(B.reshape(*t.shape, -1) * Y[None, :, :], axis=-1)


def contracted(core: Array, bases: Sequence[Array]) -> Array:
    """Return the values (n,) of a core with the values (n, r_k) of its factor functions (host)."""
    n = int(bases[0].shape[0])
    matrix = core.reshape(int(core.shape[0]), -1)
    kind = _HOST.result_type(core, *bases)
    result = _HOST.empty(n, dtype=kind)
    step = max(1, min(_CHUNK, _CHUNK_NUMBERS // int(matrix.shape[1])))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        Y = bases[0][rows, :] @ matrix
        for B in bases[1:]:
            r = int(B.shape[1])
            part = B[rows, :].astype(Y.dtype, copy=False)
            Y = row_contract(_HOST, Y.reshape(int(Y.shape[0]), r, -1), part)
        result[rows] = Y[:, 0]
    return result


def _wide(x: Array) -> Array:
    """Return an array on the host in double precision."""
    host = to_numpy(x)
    return host.astype(_HOST.complex128 if host.dtype.kind == "c" else _HOST.float64, copy=False)
