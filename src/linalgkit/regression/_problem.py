"""Least-squares equations from anywhere, as blocks of rows of one library and dtype.

What the caller passed is looked at here and nowhere else::

    eq = equations(A, b, weights=w, alpha=0.1)      # array, sparse, LinearOperator, blocks
    for start, block, B in eq.blocks():             # weighted, checked, B is (rows, k)
        SA += S.apply_rows(block.A, start)
    ridge = eq.ridge_block()                        # rows sqrt(alpha) I, or None
    x = eq.shape_x(X)                               # (d, k), or (d,) where b was 1-D
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    itemsize,
    library_name,
    real_dtype,
    widest_float,
)
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.scaling import scale_exponent
from linalgkit._core.sparse import csr_concat
from linalgkit._core.validation import (
    check_float,
    check_int,
)
from linalgkit.regression._checks import check_block, checked_weights, weights_message
from linalgkit.regression._scaled import (
    as_block,
    column_maxima,
    maxima,
    product_exponents,
    scale_columns,
    scale_rows,
    times_outer_powers,
    times_powers,
)
from linalgkit.regression._sources import Rows, find_rows

# Blocks of this size stay in the second-level cache while they are used more than once; devices
# and libraries whose calls are dear take larger ones.
_CACHED_BYTES = 2**20
_LARGE_BYTES = 2**25

_T = TypeVar("_T")


class Equations:
    """Equations ``sqrt(w) (A x - b) = 0`` and ``sqrt(alpha) x = 0``, to be solved in least squares.

    Attributes
    ----------
    xp, device
        Namespace and device of the arrays.
    dtype : dtype
        The joint working dtype of `A` and `b`, in which blocks come and answers go.
    n : int or None
        Rows; None before the first pass over an iterable.
    d, k : int
        Columns of `A` and of `b`.
    b_is_vector : bool
        Whether `b` is 1-D.
    is_reiterable : bool
        Whether :meth:`blocks` may be called more than once.
    kind : str
        ``"dense"``, ``"sparse"``, ``"operator"`` or ``"blocks"``.
    alpha : float
        Weight of ``||x||^2``.
    column_exponents, b_exponents : list of int or None
        The scaling that :meth:`rescaled` has put on.
    """

    def __init__(self, rows: Rows, weights: Array | None, alpha: float) -> None:
        self._rows = rows
        self._weights = weights
        self.xp: Namespace = rows.xp
        self.device: Device = rows.device
        self.dtype: DType = rows.dtype
        self.n: int | None = rows.n
        self.d, self.k = rows.d, rows.k
        self.b_is_vector = rows.b_is_vector
        self.is_reiterable = rows.is_reiterable
        self.kind = rows.kind
        self.alpha = alpha
        self.column_exponents: list[int] | None = None
        self.b_exponents: list[int] | None = None
        self._started = False

    # ---------------------------------------------------------------------------- passes

    def blocks(
        self, *, block_rows: int | None = None, check: bool = True, dtype: DType | None = None
    ) -> Iterator[tuple[int, Operator, Array]]:
        """Go through the rows once.

        Parameters
        ----------
        block_rows : int, optional
            Length of the blocks into which a dense array in memory is cut (views where nothing
            has to be converted, weighted or scaled); blocks of an iterable and sparse matrices
            come as they are, and an operator that cannot be cut is one block.
        check : bool, default True
            Whether each block is searched for NaN and infinity.
        dtype : dtype, optional
            Wider than the working dtype.

        Yields
        ------
        start : int
            Number of the block's first row.
        A : Operator (rows, d)
            Its rows, weighted. ``A.A`` is the array or CSR matrix behind it, except for
            ``kind == "operator"``.
        B : array (rows, k)
            Their right sides, weighted.

        Raises
        ------
        TypeError
            On the second pass over a source that can be gone through once only.
        ValueError
            For NaN or infinity, naming block and row, and where shapes do not fit.
        """
        if self._started and not self.is_reiterable:
            raise TypeError(ONE_PASS)
        self._started = True
        return self._pass(block_rows or self._default_rows(), check, dtype or self.dtype)

    def folded(
        self,
        step: Callable[[_T | None, int, Operator, Array], _T],
        merge: Callable[[_T, _T], _T],
        **options: Any,
    ) -> _T:
        """Go through the rows once and return what has been made of them.

        Parameters
        ----------
        step : callable
            ``step(found, start, A, B)`` returns `found`, which it may change, with a block of
            :meth:`blocks` taken in; None stands for nothing yet.
        merge : callable
            Joins what earlier and later rows have given, and writes into neither. For equations
            in parts, which are gone through side by side; see :mod:`linalgkit.distributed`.
        **options : object
            Those of :meth:`blocks`.
        """
        found: _T | None = None
        for start, A, B in self.blocks(**options):
            found = step(found, start, A, B)
        assert found is not None
        return found

    def _pass(
        self, block_rows: int, check: bool, dtype: DType
    ) -> Iterator[tuple[int, Operator, Array]]:
        start = 0
        for index, (A, B) in enumerate(self._rows.pieces(block_rows)):
            if check:
                check_block(A, B, None if self.kind != "blocks" else index, start)
            stop = start + B.shape[0]
            yield start, *self._prepared(A, B, start, stop, dtype)
            start = stop
        self._note_end(start)

    def _prepared(
        self, A: Any, B: Array, start: int, stop: int, dtype: DType
    ) -> tuple[Operator, Array]:
        """Return a raw block converted, weighted and scaled."""
        block = as_block(A, dtype, self.xp)
        B = self.xp.astype(B, dtype, copy=False)
        if self._weights is not None:
            if stop > self._weights.shape[0]:
                raise ValueError(weights_message(self._weights.shape[0], f"at least {stop}"))
            root = self.xp.sqrt(self._weights[start:stop])
            block, B = scale_rows(block, root), self.xp.astype(root, dtype)[:, None] * B
        if any(self.column_exponents or ()):
            block = scale_columns(block, [-e for e in self.column_exponents or ()])
        if any(self.b_exponents or ()):
            B = times_powers(B, [-e for e in self.b_exponents or ()], self.xp)
        return block, B

    def _note_end(self, n: int) -> None:
        """Compare the number of rows of this pass with what is known."""
        if self.n is not None and n != self.n:
            raise ValueError(
                f"the source must give the same rows each time, got {n} rows after {self.n}."
            )
        if n == 0:
            raise ValueError("A must have at least one row, got none.")
        if self._weights is not None and self._weights.shape[0] != n:
            raise ValueError(weights_message(self._weights.shape[0], str(n)))
        self.n = n

    def _default_rows(self) -> int:
        """Return the length of cache-friendly blocks, not shorter than wide."""
        size = _CACHED_BYTES if library_name(self.xp) == "numpy" else _LARGE_BYTES
        return max(size // (itemsize(self.xp, self.dtype) * self.d), self.d, 64)

    def check_finite(self) -> None:
        """Go through all rows once more to refuse NaN and infinity (:meth:`blocks` unchecked)."""
        for _ in self.blocks():
            pass

    # ------------------------------------------------------------------------- in memory

    @property
    def is_unchanged(self) -> bool:
        """Whether blocks are views of a dense array, neither converted, weighted nor scaled."""
        return self._rows.is_native and self._weights is None and not self.is_scaled

    @property
    def is_sparse(self) -> bool:
        """Whether `A` or its blocks are sparse."""
        return self._rows.is_sparse

    @property
    def is_dense(self) -> bool:
        """Whether all blocks are dense arrays."""
        return not (self._rows.is_sparse or self.kind == "operator")

    @property
    def is_scaled(self) -> bool:
        """Whether :meth:`rescaled` has changed the units of anything."""
        return any(self.column_exponents or ()) or any(self.b_exponents or ())

    @property
    def in_memory(self) -> Array | None:
        """The dense (n, d) array, weighted, in the working dtype; None for any other kind.

        A copy only where there are weights or another dtype.
        """
        return None if self.kind != "dense" else self._whole()[0].A  # type: ignore[attr-defined]

    @property
    def operator(self) -> Operator | None:
        """All rows as one operator, weighted; None for blocks."""
        return None if self.kind == "blocks" else self._whole()[0]

    @property
    def right_sides(self) -> Array | None:
        """All right sides (n, k), weighted; None for blocks."""
        return None if self.kind == "blocks" else self._whole()[1]

    def sampled(self, step: int) -> Equations:
        """Return every `step`-th of the equations of a dense array, unweighted, or `self`."""
        if self.kind != "dense" or step == 1:
            return self
        ((A, B),) = self._rows.pieces(self._rows.n or 1)
        taken = copy.copy(self)
        taken._rows = find_rows(A[::step, :], B[::step, :])
        taken._weights, taken.n = None, taken._rows.n
        return taken

    def gathered(self) -> Equations:
        """Return the equations of an iterable put together in memory."""
        pieces = list(self._rows.pieces(1))
        A = [block for block, _ in pieces]
        whole = csr_concat(A) if self._rows.is_sparse else self.xp.concat(A, axis=0)
        together = copy.copy(self)
        together._rows = find_rows(whole, self.xp.concat([B for _, B in pieces], axis=0))
        together.kind = together._rows.kind
        return together

    def _whole(self) -> tuple[Operator, Array]:
        assert self.n is not None
        A, B = next(iter(self._rows.pieces(max(self.n, 1))))
        return self._prepared(A, B, 0, self.n, self.dtype)

    # ----------------------------------------------------------------------------- ridge

    @property
    def alpha_in_units(self) -> float:
        """Alpha in the units of :meth:`rescaled`, where all columns have the same."""
        exponent = (self.column_exponents or [0])[0]
        return math.ldexp(math.sqrt(self.alpha), -exponent) ** 2

    def ridge_diagonal(self, dtype: DType | None = None) -> Array | None:
        """Return the diagonal (d,) of the ridge rows, real, or None where alpha is 0."""
        if self.alpha == 0:
            return None
        xp = self.xp
        dtype = real_dtype(xp, self.dtype if dtype is None else dtype)
        exponents = self.column_exponents or [0] * self.d
        root = math.sqrt(self.alpha)
        values = [math.ldexp(root, -e) for e in exponents]
        return xp.asarray(values, dtype=dtype, device=self.device)

    def ridge_block(self, dtype: DType | None = None) -> tuple[Operator, Array] | None:
        """Return the d rows ``sqrt(alpha) I`` and their right sides 0, or None where alpha is 0."""
        diagonal = self.ridge_diagonal(dtype)
        if diagonal is None:
            return None
        xp = self.xp
        dtype = self.dtype if dtype is None else dtype
        identity = xp.eye(self.d, dtype=dtype, device=self.device)
        zeros = xp.zeros((self.d, self.k), dtype=dtype, device=self.device)
        return DenseOperator(identity * xp.astype(diagonal, dtype)[:, None]), zeros

    # ----------------------------------------------------------------------------- scale

    def rescaled(self, *, safe: int, one_unit: bool = False, X: Array | None = None) -> Equations:
        """Return equations whose squares stay in range, in other units where need be.

        The unknowns of the scaled equations are ``x[i, j] * 2**(a[i] - b[j])`` with the
        exponents `a` of the columns of `A` and `b` of the right sides; :meth:`unscaled` undoes
        it. Powers of two only: nothing is rounded. One pass over the rows.

        Parameters
        ----------
        safe : int
            Columns whose largest entry is between ``2**-safe`` and ``2**safe`` stay as they are.
        one_unit : bool, default False
            Whether all columns of `A` get the same unit.
        X : array (d, k), optional
            Unknowns whose products with `A` shall stay in range, too.

        Raises
        ------
        ValueError
            If products with a matrix-free `A` are not finite.
        """
        largest_a, largest_b = self._largest_entries()
        if not all(map(math.isfinite, largest_a)):
            raise ValueError("products with A must be finite, got NaN or infinity in one.")
        root = math.sqrt(self.alpha)
        units = [scale_exponent(max(a, root)) for a in largest_a]
        if one_unit:
            units = [scale_exponent(max(*largest_a, root))] * self.d
        sides = [scale_exponent(b) for b in largest_b]
        if X is not None:
            pairs = zip(sides, largest_b, product_exponents(X, units), strict=True)
            sides = [e if x is None else max(e, x) if b else x for e, b, x in pairs]
        scaled = copy.copy(self)
        scaled.column_exponents = [e if abs(e) > safe else 0 for e in units]
        scaled.b_exponents = [e if abs(e) > safe else 0 for e in sides]
        return scaled

    def _largest_entries(self) -> tuple[list[float], list[float]]:
        """Return the largest modulus in each column of `A` and of `b`."""
        xp = self.xp

        def step(found: _Maxima | None, _: int, block: Operator, B: Array) -> _Maxima:
            new = column_maxima(block), maxima(B, xp)
            return new if found is None else _larger(found, new)

        return self.folded(step, _larger)

    def unscaled(self, X: Array) -> Array:
        """Return the unknowns (d, k) of the original equations."""
        return self._times_units(X, 1)

    def in_units(self, X: Array) -> Array:
        """Return unknowns (d, k) of the original equations in the units of these."""
        return self._times_units(X, -1)

    def _times_units(self, X: Array, sign: int) -> Array:
        if not self.is_scaled:
            return X
        columns, sides = self.column_exponents or [], self.b_exponents or []
        rows, sides = [-sign * e for e in columns], [sign * e for e in sides]
        return times_outer_powers(X, rows, sides, self.xp)

    # --------------------------------------------------------------------------- answers

    def shape_x(self, X: Array) -> Array:
        """Return unknowns (d, k) in the caller's precision, as (d,) where `b` was 1-D."""
        X = self.xp.astype(X, self.dtype, copy=False)
        return self.xp.reshape(X, (X.shape[0],)) if self.b_is_vector else X

    def shape_k(self, values: Sequence[float]) -> Any:
        """Return one real number a right side: a float where `b` was 1-D, else an array (k,)."""
        if self.b_is_vector:
            return float(values[0])
        wide = widest_float(self.xp, self.device)
        return self.xp.asarray(list(map(float, values)), dtype=wide, device=self.device)


_Maxima = tuple[list[float], list[float]]


def _larger(a: _Maxima, b: _Maxima) -> _Maxima:
    """Return the larger numbers of both lists."""
    return list(map(max, a[0], b[0])), list(map(max, a[1], b[1]))


ONE_PASS = (
    "A must be a source that can be gone through more than once (an array, a list of "
    "(A_block, b_block) pairs, an object with __iter__), got an iterator that is spent after one "
    "pass. Use sketched_lstsq, which reads its source once, or collect the blocks in a list."
)


def equations(A: Any, b: Any = None, *, weights: Any = None, alpha: float = 0.0) -> Equations:
    """Return the equations that a caller's arguments stand for.

    Parameters
    ----------
    A : array (n, d), sparse matrix, LinearOperator, or iterable
        With `b` None an iterable of pairs ``(A_block, b_block)``; with `b` also an iterable of
        blocks of rows, or what :func:`linalgkit._core.streams.row_blocks` reads.
    b : array (n,) or (n, k), optional
        Right sides.
    weights : array (n,), optional
        Not negative; they multiply squared residuals.
    alpha : float, default 0.0
        Weight of ``||x||^2``.

    Returns
    -------
    Equations
        Only shapes, kinds and the weights have been looked at by now.

    Raises
    ------
    TypeError, ValueError
        For kinds, shapes and values that do not fit, naming the argument.
    """
    alpha = check_float("alpha", alpha, 0.0)
    rows = find_rows(A, b)
    checked = None if weights is None else checked_weights(weights, rows)
    return Equations(rows, checked, alpha)


def several_passes(A: Any, b: Any, *, weights: Any, alpha: float) -> Equations:
    """Return equations whose number is known and which can be gone through again and again.

    Raises
    ------
    TypeError, ValueError
        As :func:`equations`; and where the source is spent after one pass.
    """
    eq = equations(A, b, weights=weights, alpha=alpha)
    if not eq.is_reiterable:
        raise TypeError(ONE_PASS)
    if eq.n is None:
        eq.check_finite()
    return eq


def checked_rows(m: int | None, eq: Equations) -> int | None:
    """Return the rows of a sketch after comparing them with the equations."""
    if m is None:
        return None
    assert eq.n is not None
    return check_int("m", m, min(eq.n, eq.d), why=f"for A of shape ({eq.n}, {eq.d})")
