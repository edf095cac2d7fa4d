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
from collections.abc import Callable, Sequence
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    device,
    is_complex,
    real_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.validation import check_choice, check_finite_block, check_int
from linalgkit._kernels import hadamard_rows, sparse_embed
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import to
from linalgkit.sketching._hadamard import hadamard_entries, padded
from linalgkit.sketching._operator import SketchOperator
from linalgkit.sketching._sparse import ColumnSparseSketch


@capability("sketching.TensorSketchOperator", sparse=True)
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
        From products: wrong kinds, numbers or shapes of factors, NaN or infinity in them.

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

    def __init__(
        self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, sizes: Sequence[int]
    ) -> None:
        super().__init__(m, n, dtype, tiles)
        self.sizes = tuple(int(size) for size in sizes)

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
        """Return ``S vec(B)``, (m, k), unscaled, for a tensor (n1, ..., nq, k)."""

    # ---------------------------------------------------------------------------- products

    def apply_kron(self, factors: Sequence[Array]) -> Array:
        """Return ``S @ kron(A1, kron(A2, ...))`` without forming the product.

        Parameters
        ----------
        factors : sequence of array (n_t, d_t)
            One for each size, of one library; real or complex.

        Returns
        -------
        array (m, d_1 ... d_q)
            The sketch.

        Raises
        ------
        TypeError, ValueError
            For a wrong number or wrong shapes of factors, NaN or infinity.
        """
        return self._apply(factors, _row_kron)

    def apply_khatri_rao(self, factors: Sequence[Array]) -> Array:
        """Return S times the matrix whose column j is the Kronecker product of columns j.

        Parameters
        ----------
        factors : sequence of array (n_t, d)
            One for each size, all with as many columns.

        Returns
        -------
        array (m, d)
            The sketch.

        Raises
        ------
        TypeError, ValueError
            For a wrong number or wrong shapes of factors, NaN or infinity.
        """
        widths = {int(A.shape[1]) for A in factors if A.ndim == 2}
        if len(widths) > 1:
            raise ValueError(
                f"factors must have one number of columns, got {sorted(widths)}. "
                "apply_kron takes factors of different widths."
            )
        return self._apply(factors, lambda Y, Z, xp: Y * Z)

    def _apply(
        self, factors: Sequence[Array], product: Callable[[Array, Array, Namespace], Array]
    ) -> Array:
        xp, dtype, arrays = self._checked_factors(factors)
        total = None
        for Y in self._factor_sketches(arrays, xp):
            total = Y if total is None else product(total, Y, xp)
        return self._from_product(total, xp, dtype) * self._scale

    def _checked_factors(self, factors: Sequence[Array]) -> tuple[Namespace, DType, list[Array]]:
        factors = list(factors)
        if len(factors) != len(self.sizes):
            raise ValueError(
                f"factors must be {len(self.sizes)} matrices for sizes {self.sizes}, "
                f"got {len(factors)}."
            )
        xp = array_namespace(*factors)
        for t, (A, size) in enumerate(zip(factors, self.sizes, strict=True)):
            if A.ndim != 2 or A.shape[0] != size or A.shape[1] < 1:
                raise ValueError(
                    f"factors[{t}] must be of shape ({size}, d) with d at least 1, "
                    f"got shape {tuple(A.shape)}."
                )
            check_finite_block(A, name=f"factors[{t}]")
        dev = device(factors[0])
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
            For a wrong shape, NaN or infinity.
        """
        xp = array_namespace(B)
        q = len(self.sizes)
        if tuple(B.shape[:q]) != self.sizes or B.ndim not in (q, q + 1):
            raise ValueError(
                f"B must be of shape {self.sizes}, or with one axis more for several right "
                f"sides, got shape {tuple(B.shape)}."
            )
        dtype = working_dtype(xp, device(B), B.dtype)
        rows = xp.reshape(xp.astype(B, dtype, copy=False), (self.shape[1], -1))
        check_finite_block(rows, name="B")
        Y = self._tensor_map(xp.reshape(rows, (*self.sizes, -1)), xp) * self._scale
        return Y[:, 0] if B.ndim == q else Y

    def _indices(self, start: int, stop: int) -> list[Array]:
        """Return the index of each factor for columns `start` to `stop`, on the host."""
        return list(_draws.HOST.unravel_index(_draws.HOST.arange(start, stop), self.sizes))


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
        for N, order, signs, _ in draws:
            rest = B.shape[1:-1]
            flat = xp.reshape(B, (B.shape[0], -1))
            every = xp.arange(N, dtype=xp.int64, device=dev)
            flat = hadamard_rows(xp, flat, to(order, xp, dev), to(signs, xp, dev), N, every)
            # The axis that has been transformed goes behind the others.
            B = xp.moveaxis(xp.reshape(flat, (N, *rest, k)), 0, -2)
        place = 0
        for N, _, _, rows in draws:
            place = place * N + rows
        return xp.take(xp.reshape(B, (-1, k)), to(place, xp, dev), axis=0)

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        if X.shape[0] < self._known_columns("its tensors"):
            return super()._map(X, start, xp, dtype)
        tensor = xp.reshape(xp.astype(X, dtype, copy=False), (*self.sizes, -1))
        return self._tensor_map(tensor, xp)

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
        return self._map(xp.reshape(B, (self.shape[1], -1)), 0, xp, B.dtype)


def _row_kron(Y: Array, Z: Array, xp: Namespace) -> Array:
    """Return the Kronecker products of the rows of two arrays with as many rows."""
    return xp.reshape(Y[:, :, None] * Z[:, None, :], (Y.shape[0], -1))


_CLASSES: dict[str, type[TensorSketchOperator]] = {
    cls.kind: cls for cls in (TensorHadamardSketch, TensorCountSketch)
}


@capability("sketching.tensor_sketch")
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
        Rows of the factors, one or more, each at least 1; powers of two or not.
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
        If `m` or a size is no integer, or `rng` of a wrong kind.
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
    checked = [check_int(f"sizes[{t}]", size, 1) for t, size in enumerate(sizes)]
    if not checked:
        raise ValueError("sizes must hold the rows of at least one factor, got none.")
    return _CLASSES[kind](m, math.prod(checked), "float64", PhiloxTiles(rng), sizes=checked)
