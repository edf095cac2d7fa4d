"""Sketches of Kronecker products, from the factors alone.

The columns of `S` belong to the entries of a tensor of shape (n1, n2, ...), the last index
running fastest, as in ``numpy.kron`` and in ``B.reshape(-1)``::

    S = tensor_sketch("tensor_srht", 500, [512, 512], rng=0)
    S.apply_kron([A1, A2])              # S @ kron(A1, A2), which is never formed
    S.apply_vec(B)                      # S @ B.reshape(-1)

"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    detached,
    device,
    is_complex,
    real_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.scaling import silent
from linalgkit._core.validation import (
    check_array_2d,
    check_choice,
    check_finite_block,
    check_int,
)
from linalgkit._kernels import hadamard_rows, sparse_embed
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import (
    column_largest,
    exponents_of,
    finite_product,
    ldexp_columns,
    longest_exponent,
    refuse_overflow,
    to,
)
from linalgkit.sketching._hadamard import hadamard_entries, padded
from linalgkit.sketching._operator import SketchOperator
from linalgkit.sketching._sparse import ColumnSparseSketch

_RUN = 4  # factors of order one that are multiplied before the product is brought to order one


@capability("sketching.TensorSketchOperator", sparse=True, synchronisations={"product": 13})
class TensorSketchOperator(SketchOperator):
    """A sketch of vectors with one index a factor, from one small sketch of each factor.

    Made by :func:`tensor_sketch`, not by calling the class.

    Parameters
    ----------
    m, n, dtype, tiles
        See :class:`SketchOperator`; `n` is the product of `sizes`.
    sizes : sequence of int
        Rows of the factors.

    Attributes
    ----------
    sizes : tuple of int
        Rows of the factors.

    Raises
    ------
    TypeError, ValueError
        From products: wrong kinds, numbers or shapes of factors, NaN or infinity in them, a
        sketch that is too large for its precision.

    Notes
    -----
    Storage: the key; for products see :func:`tensor_sketch`.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.sketching import tensor_sketch
    >>> S = tensor_sketch("tensorsketch", 5, [3, 4], rng=0)
    >>> B = np.arange(12.0).reshape(3, 4)
    >>> bool(np.allclose(S.apply_vec(B), S.toarray() @ B.reshape(-1)))
    True
    """

    _options = ("sizes",)
    _dtypes: ClassVar[tuple[str, ...]] = ("float64",)

    def __init__(
        self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, sizes: Sequence[int]
    ) -> None:
        super().__init__(m, n, dtype, tiles)
        self.sizes = tuple(int(size) for size in sizes)

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        sizes = checked_sizes(options["sizes"])
        if math.prod(sizes) != n:
            raise ValueError(f"n must be the product of sizes {tuple(sizes)}, got {n}.")
        return {"sizes": sizes}

    def _settings(self) -> dict[str, Any]:
        return {"sizes": list(self.sizes)}

    def _identity(self) -> tuple[Any, ...]:
        return *super()._identity()[:3], self.sizes, self.tiles

    # -------------------------------------------------------------- for the kinds to write

    @abstractmethod
    def _factor_sketches(self, factors: list[Array], xp: Namespace) -> list[Array]:
        """Return the sketches (m, d_t) of the factors, of which products are taken."""

    @abstractmethod
    def _from_product(self, product: Array, xp: Namespace, dtype: DType) -> Array:
        """Return the sketch from the rowwise product of those of the factors, unscaled."""

    @abstractmethod
    def _tensor_map(self, B: Array, xp: Namespace) -> Array:
        """Return ``S vec(B)``, (m, k), unscaled, for k tensors as columns, (n, k)."""

    # ---------------------------------------------------------------------------- products

    def apply_kron(self, factors: Iterable[Array]) -> Array:
        """Return ``S @ kron(A1, kron(A2, ...))`` without forming the product.

        Parameters
        ----------
        factors : iterable of array (n_t, d_t)
            One for each size, of one library; real or complex.

        Returns
        -------
        array (m, d_1 ... d_q)
            The sketch.

        Raises
        ------
        TypeError, ValueError
            For a wrong kind, number or shape of factors, NaN or infinity in them, or a sketch
            that is too large for its precision.

        Notes
        -----
        Columns of the factors are brought to order one by powers of two, which come back in the
        end: only the size of the sketch itself counts. Each factor costs three synchronisations.
        """
        return self._apply(list(factors), is_kron=True)

    def apply_khatri_rao(self, factors: Iterable[Array]) -> Array:
        """Return S times the matrix whose column j is the Kronecker product of columns j.

        Parameters
        ----------
        factors : iterable of array (n_t, d)
            One for each size, all with as many columns.

        Returns
        -------
        array (m, d)
            The sketch.

        Raises
        ------
        TypeError, ValueError
            As from :meth:`apply_kron`.
        """
        return self._apply(list(factors), is_kron=False)

    def _apply(self, factors: list[Array], *, is_kron: bool) -> Array:
        xp, dtype, arrays = self._checked_factors(factors)
        widths = {int(A.shape[1]) for A in arrays}
        if len(widths) > 1 and not is_kron:
            raise ValueError(
                f"factors must have one number of columns, got {sorted(widths)}. "
                "apply_kron takes factors of different widths."
            )
        with silent():
            total, exponents = self._row_products(arrays, is_kron, xp)
            Y = self._from_product(total, xp, dtype) * self._scale
            Y = ldexp_columns(Y, exponents, xp)
        if not bool(xp.all(xp.isfinite(Y))):
            refuse_overflow("factors", "their sketch")
        return Y

    def _row_products(
        self, factors: list[Array], is_kron: bool, xp: Namespace
    ) -> tuple[Array, Array]:
        """Return the products of the factors' sketches, and exponents for their columns."""
        pairs = [_in_range(A, xp) for A in factors]
        sketches = self._factor_sketches([A for A, _ in pairs], xp)
        total, exponents = None, None
        for t, (Y, (_, first)) in enumerate(zip(sketches, pairs, strict=True)):
            Y, second = _of_order_one(Y, xp)
            total, exponents = (
                (Y, first + second)
                if total is None
                else _multiplied(total, exponents, Y, first + second, is_kron, xp)
            )
            if t % _RUN == _RUN - 1:
                total, more = _of_order_one(total, xp)
                exponents = exponents + more
        return total, exponents

    def _checked_factors(self, factors: list[Array]) -> tuple[Namespace, DType, list[Array]]:
        if len(factors) != len(self.sizes):
            raise ValueError(
                f"factors must be {len(self.sizes)} matrices for sizes {self.sizes}, "
                f"got {len(factors)}."
            )
        factors = [check_array_2d(f"factors[{t}]", A)[0] for t, A in enumerate(factors)]
        for t, (A, size) in enumerate(zip(factors, self.sizes, strict=True)):
            if A.shape[0] != size or A.shape[1] < 1:
                raise ValueError(
                    f"factors[{t}] must be of shape ({size}, d) with d at least 1, "
                    f"got shape {tuple(A.shape)}."
                )
            check_finite_block(A, name=f"factors[{t}]")
        xp, dev = array_namespace(*factors), device(factors[0])
        dtype = xp.result_type(*(working_dtype(xp, dev, A.dtype) for A in factors))
        return xp, dtype, [xp.astype(A, dtype, copy=False) for A in factors]

    def apply_vec(self, B: Array) -> Array:
        """Return S times the entries of a tensor in C order, or of several.

        Parameters
        ----------
        B : array (n1, ..., nq) or (n1, ..., nq, k)
            Real or complex.

        Returns
        -------
        array (m,) or (m, k)
            The sketch.

        Raises
        ------
        TypeError, ValueError
            For a wrong shape, NaN or infinity, or a sketch too large for its precision.
        """
        xp, B = array_namespace(B), detached(B)
        q = len(self.sizes)
        if tuple(B.shape[:q]) != self.sizes or B.ndim not in (q, q + 1):
            raise ValueError(
                f"B must be of shape {self.sizes}, or with one axis more for several right "
                f"sides, got shape {tuple(B.shape)}."
            )
        dtype, k = working_dtype(xp, device(B), B.dtype), 1 if B.ndim == q else int(B.shape[q])
        if k == 0:
            return xp.zeros((self.m, 0), dtype=dtype, device=device(B))
        rows = xp.reshape(xp.astype(B, dtype, copy=False), (self.shape[1], k))
        check_finite_block(rows, name="B")
        Y = finite_product(
            lambda X: self._tensor_map(X, xp) * self._scale,
            rows,
            rows,
            name="B",
            of="S @ B.reshape(-1)",
        )
        return Y[:, 0] if B.ndim == q else Y

    def _indices(self, start: int, stop: int) -> list[Array]:
        """Return the index of each factor for columns `start` to `stop`, on the host.

        Columns may be more than int64 can count: digits of `start` are Python's.
        """
        carry, found = _draws.HOST.arange(stop - start), []
        for size in reversed(self.sizes):
            start, digit = divmod(start, size)
            carry, index = _draws.HOST.divmod(carry + digit, size)
            found.append(index)
        return found[::-1]


class TensorHadamardSketch(TensorSketchOperator, kind="tensor_srht"):
    """Rows that are Kronecker products of random rows of one Hadamard sketch a factor.

    Factors have random signs and are permuted, as in the "srht" kind; rows are sampled with
    replacement, independently in each factor.
    """

    def _draw(self, t: int) -> tuple[int, Array, Array, Array]:
        """Return padded size, order, signs and sampled rows of factor `t`."""
        size, N = self.sizes[t], padded(self.sizes[t])
        order = _draws.permutation(self.tiles, N, j=t)[:size].copy()
        rows = _draws.sample(self.tiles, N, self.m, replace=True, j=t)
        return N, order, _draws.signs(self.tiles, 0, size, j=t), rows

    def _factor_sketches(self, factors: list[Array], xp: Namespace) -> list[Array]:
        sketches = []
        for t, A in enumerate(factors):
            N, *hosts = self._draw(t)
            order, signs, rows = (to(x, xp, device(A)) for x in hosts)
            sketches.append(hadamard_rows(xp, A, order, signs, N, rows))
        return sketches

    def _from_product(self, product: Array, xp: Namespace, dtype: DType) -> Array:
        return product

    def _tensor_map(self, B: Array, xp: Namespace) -> Array:
        """Transform along every axis, each padded, and pick entries."""
        dev, k = device(B), B.shape[-1]
        draws = [self._draw(t) for t in range(len(self.sizes))]
        for size, (N, order, signs, _) in zip(self.sizes, draws, strict=True):
            flat = xp.reshape(B, (size, -1))
            every = xp.arange(N, dtype=xp.int64, device=dev)
            flat = hadamard_rows(xp, flat, to(order, xp, dev), to(signs, xp, dev), N, every)
            # The axis that has been transformed goes behind the others.
            B = xp.moveaxis(xp.reshape(flat, (N, -1, k)), 0, 1)
        place = 0
        for N, _, _, rows in draws:
            place = place * N + rows
        return xp.take(xp.reshape(B, (-1, k)), to(place, xp, dev), axis=0)

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        if X.shape[0] < self._known_columns("its tensors"):
            return super()._map(X, start, xp, dtype)
        return self._tensor_map(xp.astype(X, dtype, copy=False), xp)

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        tile = None
        for t, index in enumerate(self._indices(start, stop)):
            _, order, signs, rows = self._draw(t)
            H = hadamard_entries(xp, order[index], rows, device, dtype)
            part = H * to(signs[index], xp, device, dtype)[:, None]
            tile = part if tile is None else tile * part
        return tile


class TensorCountSketch(TensorSketchOperator, ColumnSparseSketch, kind="tensorsketch"):
    """One sign a column, at a place that is the sum modulo m of places of the factors.

    The sketch of a product is a cyclic convolution of those of the factors, which the FFT does.
    """

    def __init__(
        self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, sizes: Sequence[int]
    ) -> None:
        super().__init__(m, n, dtype, tiles, sizes=sizes)
        self._scale = 1.0

    def _draw(self, t: int) -> tuple[Array, Array]:
        """Return places and signs of the rows of factor `t`."""
        drawn = _draws.halves(self.tiles, 0, self.sizes[t], t)
        signs = 1 - 2 * (drawn & 1).astype("int8")
        return _draws.spread(drawn, self.m).astype("int64"), signs

    def _nonzeros(self, start: int, stop: int) -> tuple[Array, Array]:
        place: Array = 0
        sign: Array = 1
        for t, index in enumerate(self._indices(start, stop)):
            places, signs = self._draw(t)
            place, sign = place + places[index], sign * signs[index]
        return (place % self.m)[:, None], sign[:, None]

    def _factor_sketches(self, factors: list[Array], xp: Namespace) -> list[Array]:
        transform = xp.fft.fft if is_complex(factors[0], xp) else xp.fft.rfft
        sketches = []
        for t, A in enumerate(factors):
            dev = device(A)
            places, signs = self._draw(t)
            weights = to(signs[:, None], xp, dev, real_dtype(xp, A.dtype))
            Y = sparse_embed(xp, A, to(places[:, None], xp, dev), weights, self.m)
            sketches.append(transform(Y, axis=0))
        return sketches

    def _from_product(self, product: Array, xp: Namespace, dtype: DType) -> Array:
        if xp.isdtype(dtype, "complex floating"):
            return xp.fft.ifft(product, axis=0)
        return xp.fft.irfft(product, n=self.m, axis=0)

    def _tensor_map(self, B: Array, xp: Namespace) -> Array:
        return self._map(B, 0, xp, B.dtype)


def _in_range(A: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return a factor whose sketch cannot overflow, and exponents that give its columns back."""
    exponents = exponents_of(column_largest(A, xp))
    if int(abs(exponents).max()) <= longest_exponent(xp, A.dtype) // 4:
        return A, 0 * exponents
    return ldexp_columns(A, -exponents, xp), exponents


def _of_order_one(Y: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return an array with columns of order one, and exponents that give the old ones back."""
    exponents = exponents_of(column_largest(Y, xp))
    return ldexp_columns(Y, -exponents, xp), exponents


def _multiplied(
    Y: Array, e: Array, Z: Array, f: Array, is_kron: bool, xp: Namespace
) -> tuple[Array, Array]:
    """Return the (Kronecker) products of the rows of two arrays, and exponents of columns."""
    if not is_kron:
        return Y * Z, e + f
    product = xp.reshape(Y[:, :, None] * Z[:, None, :], (Y.shape[0], -1))
    return product, (e[:, None] + f[None, :]).reshape(-1)


_CLASSES: dict[str, type[TensorSketchOperator]] = {
    cls.kind: cls for cls in (TensorHadamardSketch, TensorCountSketch)
}


@capability("sketching.tensor_sketch", synchronisations={})
def tensor_sketch(
    kind: str, m: int, sizes: Sequence[int], *, rng: object = None
) -> TensorSketchOperator:
    """Return a random map for Kronecker products and tensors, known by its factors.

    Parameters
    ----------
    kind : {"tensor_srht", "tensorsketch"}
        Products of rows of Hadamard sketches of the factors, or a sum of hashes.
    m : int
        Rows, at least 1.
    sizes : sequence of int
        Rows of the factors, one or more, each at least 1; powers of two or not. Their product
        may be of any size.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of the key.

    Returns
    -------
    TensorSketchOperator
        A :class:`SketchOperator` of shape (m, n1 n2 ...) with real entries that also has
        ``apply_kron(factors)``, ``apply_vec(B)`` and ``apply_khatri_rao(factors)``.

    Raises
    ------
    TypeError
        If `m` or a size is no integer, `sizes` no sequence, or `rng` of a wrong kind.
    ValueError
        If `kind` is unknown, or `m`, the number of sizes or one of them is below 1.

    Notes
    -----
    ``E S^H S = I`` for both kinds. With q factors the error for a fixed vector grows with q,
    exponentially in the worst case [1]_; "tensorsketch" [2]_ is sparse and has no guarantee for
    single coordinates. For least squares with a plain Kronecker product the exact solution from
    the factors is usually cheaper than any sketch.

    Storage: the key. ``apply_kron`` and ``apply_khatri_rao`` need ``m d`` numbers and one
    sketch (m, d_t) a factor; ``apply_vec`` the padded tensor for "tensor_srht", the hashes of
    2^17 entries at a time for "tensorsketch".

    References
    ----------
    .. [1] T. D. Ahle, M. Kapralov, J. B. T. Knudsen, R. Pagh, A. Velingker, D. P. Woodruff,
       A. Zandieh, "Oblivious sketching of high-degree polynomial kernels", SODA 2020.
    .. [2] N. Pham, R. Pagh, "Fast and scalable polynomial kernels via explicit feature maps",
       KDD 2013.

    Examples
    --------
    >>> import numpy as np
    >>> A1, A2 = np.arange(6.0).reshape(3, 2), np.arange(8.0).reshape(4, 2)
    >>> S = tensor_sketch("tensor_srht", 5, [3, 4], rng=0)
    >>> bool(np.allclose(S.apply_kron([A1, A2]), S.toarray() @ np.kron(A1, A2)))
    True
    """
    check_choice("kind", kind, tuple(_CLASSES))
    m = check_int("m", m, 1)
    checked = checked_sizes(sizes)
    return _CLASSES[kind](m, math.prod(checked), "float64", PhiloxTiles(rng), sizes=checked)


def checked_sizes(sizes: Any) -> list[int]:
    """Return the rows of the factors as positive Python integers, at least one."""
    try:
        given = list(sizes)
    except TypeError:
        raise TypeError(
            f"sizes must be a sequence of integers, one for each factor, got {sizes!r}. "
            f"[{sizes!r}] is one factor."
        ) from None
    if not given:
        raise ValueError("sizes must hold the rows of at least one factor, got none.")
    return [check_int(f"sizes[{t}]", size, 1) for t, size in enumerate(given)]
