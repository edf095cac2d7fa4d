"""Refinement of a streamed answer: the same rows again, scaled and centred as before."""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import Array, eps, is_sparse, matmul_h
from linalgkit._core.linalg import ldexp
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.sparse import SparseOperator
from linalgkit._core.streams import row_blocks
from linalgkit._core.validation import check_finite_block, check_int
from linalgkit.streaming._answer import Refined
from linalgkit.streaming._blocks import RowBlock, shifted_rows
from linalgkit.streaming._gram import Gram
from linalgkit.streaming._inputs import as_csr, check_joins, cut, in_dtype
from linalgkit.streaming._options import Options
from linalgkit.streaming._refine import refine_basis, require_reiterable
from linalgkit.streaming._stream import RowStream

_SPARE_COLUMNS = 4


def refine_stream(stream: RowStream, options: Options, source: Any, n_passes: int) -> Refined:
    """Return eigenpairs from exact passes over the rows that were streamed."""
    check_int("n_passes", n_passes, 0)
    require_reiterable(source)
    if options.forgetting < 1.0 or stream.weights is not None:
        raise ValueError(
            "refine must see the rows as they were streamed, but they were weighted or forgotten. "
            'Stream them again without, or use method="gram", which is exact.'
        )
    final, k = stream.final(), options.n_components
    V = _start(final, min(final.space.d, k + _SPARE_COLUMNS))
    exact = _Passes(final, source)
    found = refine_basis(exact.normal_product, V, k, n_passes)
    return Refined(found.eigenvalues, found.eigenvectors, max(found.residuals))


def _start(final: RowStream, width: int) -> Array:
    """Return the streamed basis, filled up to `width` columns."""
    _, V = final.top(width)
    missing = width - int(V.shape[1])
    if missing == 0:
        return V
    xp, space = final.space.xp, final.space
    eye = xp.eye(space.d, width, dtype=V.dtype, device=space.device)
    return xp.linalg.qr(xp.concat([V, eye], axis=1))[0][:, :width]


class _Passes:
    """Products with ``A^H A``, each from one pass over a source."""

    def __init__(self, final: RowStream, source: Any) -> None:
        self.final = final
        self.source = source
        self.energy: float | None = None
        self.roundoff = eps(final.space.xp, final.space.dtype)
        self.shift = None
        if final.pre.center:
            self.shift = ldexp(final.pre.mean(), -final.pre.exponent, final.space.xp)

    def normal_product(self, W: Array) -> Array:
        """Return ``S W`` in the engine's unit; raises where the source is not what was streamed."""
        xp, space = self.final.space.xp, self.final.space
        total, n_rows = xp.zeros_like(W), 0
        energies: list[Array] = []
        narrow = xp.astype(W, space.dtype, copy=False)
        for index, X in enumerate(row_blocks(self.source, d=space.d)):
            check_joins(X, space, index)
            for piece in cut(as_csr(X), space):
                block = self._block(in_dtype(piece, space))
                _, D = block.normal_product(narrow)
                total = total + xp.astype(D, W.dtype, copy=False)
                if self.energy is None:
                    energies.append(xp.sum(block.row_norms_squared()))
            n_rows += int(X.shape[0])
            if xp.isdtype(X.dtype, ("real floating", "complex floating")):
                self.roundoff = max(self.roundoff, eps(xp, X.dtype))
        self._check(total, n_rows)
        if self.energy is None:
            self.energy = math.fsum(float(value) for value in energies)
            self._check_energy(self.energy)
            self._check_product(W, total)
        return total

    def _block(self, X: Any) -> Operator:
        """Return a block in the engine's unit, centred."""
        if is_sparse(X):
            rows = SparseOperator(X).scaled(-self.final.pre.exponent)
            if self.shift is None:
                return rows
            return shifted_rows(rows, self.final.space.zeros(int(X.shape[0]), 1) + 1, self.shift)
        scaled = DenseOperator(X).scaled(-self.final.pre.exponent).A
        return RowBlock(scaled if self.shift is None else scaled - self.shift)

    def _check_energy(self, energy: float) -> None:
        """Refuse rows whose squared norms do not add up to those of the rows streamed.

        The bound lies far above rounding errors, those of removing a large mean included.
        """
        streamed = self.final.energy
        if abs(energy - streamed) > self._tolerance():
            raise ValueError(
                "source must hold the rows that were streamed, got others: their squared norms "
                f"add up to {energy / streamed if streamed > 0.0 else math.inf:.6g} times as much. "
                "Stream these rows with a new object."
            )

    def _tolerance(self) -> float:
        """Return by how much sums of squares may differ, far above rounding errors."""
        final, streamed = self.final, self.final.energy
        offset = 0.0
        if self.shift is not None and streamed > 0.0:
            length = float(final.space.xp.linalg.vector_norm(self.shift))
            offset = length * math.sqrt(final.n_rows / streamed)
        return math.sqrt(self.roundoff) * (1.0 + offset) * streamed

    def _check_product(self, W: Array, SW: Array) -> None:
        """Refuse rows whose ``A^H A`` maps the streamed basis elsewhere, where that is known.

        That is so for an exact method. The others know their eigenvectors too roughly to tell
        rows whose columns were changed from their own error.
        """
        if not isinstance(self.final.engine, Gram):
            return
        xp = self.final.space.xp
        lam, V = self.final.top(int(W.shape[1]))
        expected = (V * xp.astype(lam, V.dtype)[None, :]) @ matmul_h(V, W, xp)
        if float(xp.max(xp.abs(SW - expected))) > self._tolerance():
            raise ValueError(
                "source must hold the rows that were streamed, got others: as many and as large, "
                "but with other eigenvectors. Are its columns in another order? Stream these rows "
                "with a new object."
            )

    def _check(self, total: Array, n_rows: int) -> None:
        if n_rows != self.final.n_rows:
            raise ValueError(
                f"source must hold the {self.final.n_rows} rows that were streamed, got {n_rows}."
            )
        if not math.isfinite(float(self.final.space.xp.sum(self.final.space.xp.abs(total)))):
            for index, X in enumerate(row_blocks(self.source)):
                check_finite_block(X, index, name="source")
