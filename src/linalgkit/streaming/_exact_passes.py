"""Refinement of a streamed answer: the same rows again, scaled and centred as before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, eps, is_sparse, matmul_h
from linalgkit._core.linalg import ldexp
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.sparse import SparseOperator
from linalgkit._core.state import PortablePickle
from linalgkit._core.streams import row_blocks
from linalgkit._core.validation import check_finite_block, check_int
from linalgkit.streaming._answer import Refined
from linalgkit.streaming._blocks import RowBlock, shifted_rows
from linalgkit.streaming._gram import Gram
from linalgkit.streaming._inputs import as_csr, check_joins, cut, in_dtype
from linalgkit.streaming._options import Options
from linalgkit.streaming._preprocess import Space as RowSpace
from linalgkit.streaming._refine import Refinement, refine_basis, require_reiterable
from linalgkit.streaming._stream import RowStream

_SPARE_COLUMNS = 4


def refine_stream(stream: RowStream, options: Options, source: Any, n_passes: int) -> Refined:
    """Return eigenpairs from exact passes over the rows that were streamed."""
    check_int("n_passes", n_passes, 0)
    require_reiterable(source)
    check_refinable(stream, options)
    final, k = stream.final(), options.n_components
    exact = Passes(final, source)
    return as_refined(refine_basis(exact.normal_product, start_basis(final, k), k, n_passes))


def check_refinable(stream: RowStream, options: Options) -> None:
    """Raise ValueError for a stream whose rows cannot be seen again as they were."""
    if options.forgetting < 1.0 or stream.weights is not None:
        raise ValueError(
            "refine must see the rows as they were streamed, but they were weighted or forgotten. "
            'Stream them again without, or use method="gram", which is exact.'
        )


def as_refined(found: Refinement) -> Refined:
    """Return what an estimator keeps of a refinement."""
    return Refined(found.eigenvalues, found.eigenvectors, max(found.residuals))


def start_basis(final: RowStream, n_components: int) -> Array:
    """Return a streamed basis of a few columns more than are wanted."""
    return _start(final, min(final.space.d, n_components + _SPARE_COLUMNS))


def _start(final: RowStream, width: int) -> Array:
    """Return the streamed basis, filled up to `width` columns."""
    _, V = final.top(width)
    missing = width - int(V.shape[1])
    if missing == 0:
        return V
    xp, space = final.space.xp, final.space
    eye = xp.eye(space.d, width, dtype=V.dtype, device=space.device)
    return xp.linalg.qr(xp.concat([V, eye], axis=1))[0][:, :width]


@dataclass(frozen=True, eq=False)
class Sums(PortablePickle):
    """What one pass adds up.

    Attributes
    ----------
    product : array (d, m)
        ``A^H A W``.
    n_rows : int
        Rows read.
    energy : float or None
        Their squared Frobenius norm, where it was asked for.
    roundoff : float
        Of the rows as they came.
    """

    product: Array
    n_rows: int
    energy: float | None
    roundoff: float

    def then(self, later: Sums) -> Sums:
        """Return the sums over both; neither is changed."""
        known = self.energy is not None and later.energy is not None
        return Sums(
            self.product + later.product,
            self.n_rows + later.n_rows,
            self.energy + later.energy if known else None,  # type: ignore[operator]
            max(self.roundoff, later.roundoff),
        )


@dataclass(frozen=True, eq=False)
class Reader(PortablePickle):
    """Reads rows as a stream took them in: in its unit, and less its mean."""

    space: RowSpace
    exponent: int
    shift: Array | None

    @classmethod
    def of(cls, final: RowStream) -> Reader:
        """Return the reader that belongs to a stream in which no row waits."""
        space, pre = final.space, final.pre
        shift = ldexp(pre.mean(), -pre.exponent, space.xp) if pre.center else None
        return cls(space, pre.exponent, shift)

    def sums(self, source: Any, W: Array, *, measures: bool) -> Sums:
        """Return ``A^H A W`` from one pass, and with `measures` the energy of the rows."""
        xp, space = self.space.xp, self.space
        total, n_rows, roundoff = xp.zeros_like(W), 0, eps(space.xp, space.dtype)
        energies: list[Array] = []
        narrow = xp.astype(W, space.dtype, copy=False)
        for index, X in enumerate(row_blocks(source, d=space.d)):
            check_joins(X, space, index)
            for piece in cut(as_csr(X), space):
                block = self._block(in_dtype(piece, space))
                _, D = block.normal_product(narrow)
                total = total + xp.astype(D, W.dtype, copy=False)
                if measures:
                    energies.append(xp.sum(block.row_norms_squared()))
            n_rows += int(X.shape[0])
            if xp.isdtype(X.dtype, ("real floating", "complex floating")):
                roundoff = max(roundoff, eps(xp, X.dtype))
        energy = math.fsum(float(value) for value in energies) if measures else None
        return Sums(total, n_rows, energy, roundoff)

    def _block(self, X: Any) -> Operator:
        """Return a block in the engine's unit, centred."""
        if is_sparse(X):
            rows = SparseOperator(X).scaled(-self.exponent)
            if self.shift is None:
                return rows
            return shifted_rows(rows, self.space.zeros(int(X.shape[0]), 1) + 1, self.shift)
        scaled = DenseOperator(X).scaled(-self.exponent).A
        return RowBlock(scaled if self.shift is None else scaled - self.shift)


class Passes(PortablePickle):
    """Products with ``A^H A``, each from one pass over a source, and checked."""

    def __init__(self, final: RowStream, source: Any = ()) -> None:
        self.final = final
        self.source = source
        self.reader = Reader.of(final)
        self.is_measured = False

    def normal_product(self, W: Array) -> Array:
        """Return ``S W`` in the engine's unit; raises where the source is not what was streamed."""
        sums = self.reader.sums(self.source, W, measures=not self.is_measured)
        self.is_measured = True
        return self.checked(W, sums)

    def checked(self, W: Array, sums: Sums) -> Array:
        """Return the product of a pass, if it can be one of the rows that were streamed."""
        self._check(sums.product, sums.n_rows)
        if sums.energy is not None:
            self._check_energy(sums.energy, sums.roundoff)
            self._check_product(W, sums.product, sums.roundoff)
        return sums.product

    def _check_energy(self, energy: float, roundoff: float) -> None:
        """Refuse rows whose squared norms do not add up to those of the rows streamed.

        The bound lies far above rounding errors, those of removing a large mean included.
        """
        streamed = self.final.energy
        if abs(energy - streamed) > self._tolerance(roundoff):
            raise ValueError(
                "source must hold the rows that were streamed, got others: their squared norms "
                f"add up to {energy / streamed if streamed > 0.0 else math.inf:.6g} times as much. "
                "Stream these rows with a new object."
            )

    def _tolerance(self, roundoff: float) -> float:
        """Return by how much sums of squares may differ, far above rounding errors."""
        final, streamed, shift = self.final, self.final.energy, self.reader.shift
        offset = 0.0
        if shift is not None and streamed > 0.0:
            length = float(final.space.xp.linalg.vector_norm(shift))
            offset = length * math.sqrt(final.n_rows / streamed)
        return math.sqrt(roundoff) * (1.0 + offset) * streamed

    def _check_product(self, W: Array, SW: Array, roundoff: float) -> None:
        """Refuse rows whose ``A^H A`` maps the streamed basis elsewhere, where that is known.

        That is so for an exact method. The others know their eigenvectors too roughly to tell
        rows whose columns were changed from their own error.
        """
        if not isinstance(self.final.engine, Gram):
            return
        xp = self.final.space.xp
        lam, V = self.final.top(int(W.shape[1]))
        expected = (V * xp.astype(lam, V.dtype)[None, :]) @ matmul_h(V, W, xp)
        if float(xp.max(xp.abs(SW - expected))) > self._tolerance(roundoff):
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
