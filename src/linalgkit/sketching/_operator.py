"""Random maps S as operators: products, tiles of entries, shares of blocks, and their state.

A kind of sketch joins with one method, :meth:`SketchOperator._tile`, and may replace the ones
that have a faster form; the public face is here, once::

    S = sketch("srht", 200, n, rng=0)
    S @ X                               # (200, d)
    S.apply_rows(X[:1000], 0) + S.apply_rows(X[1000:], 1000)    # the same
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    complex_dtype,
    device,
    dtype_from_name,
    is_complex,
    is_complex_dtype,
    itemsize,
    numpy_namespace,
    real_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_choice, check_finite_block, check_int
from linalgkit.sketching import _draws
from linalgkit.sketching._adjoint import AdjointSketch, LeftFactor
from linalgkit.sketching._blocks import (
    add,
    as_block,
    check_entries,
    cuts,
    finite_product,
    identity_pieces,
    joined,
    to,
)
from linalgkit.sketching._options import checked_tiles

TILE_BYTES = 2 * 2**20  # of a tile of entries
PRODUCT_BYTES = 32 * 2**20  # of a piece of a product with a matrix-free operator
PANEL = 64  # columns that are turned at a time
DTYPES = ("float32", "float64", "complex64", "complex128")
MOST_NUMBERS = 2**62  # of a stream's rows times m: the generator's counters hold more


@capability(
    "sketching.SketchOperator",
    sparse=True,
    streaming=True,
    notes="Streaming means :meth:`apply_rows`: blocks may come in any order and from anywhere.",
    synchronisations={"block": 2, "product": 2},
)
class SketchOperator(LeftFactor, Stateful, ABC):
    """A random matrix S of shape (m, n) with ``E S^H S = I``, known by key and sizes.

    Made by :func:`sketch` and :func:`tensor_sketch`, not by calling the class.

    Parameters
    ----------
    m : int
        Rows.
    n : int or None
        Columns; None where the kind streams and their number is open.
    dtype : str
        Name of the dtype, see :func:`sketch`.
    tiles : PhiloxTiles
        The source of all random numbers.

    Attributes
    ----------
    kind : str
        What :func:`sketch` calls it.
    m : int
        Rows.
    shape : tuple
        ``(m, n)``; ``n`` may be None.
    dtype : str
        Name of the dtype of :meth:`toarray`. Products follow the precision of the data; they
        are complex where the data or `S` are.
    streams : bool
        Whether `n` may be open.
    is_exact : bool
        Whether sketched least squares has an exact finite-sample law (Gaussian entries only).

    Raises
    ------
    TypeError, ValueError
        From products: wrong kind or shape of the factor, NaN or infinity in it, or a product too
        large for its precision. ``X @ S`` and ``numpy.asarray(S)`` are refused.

    Notes
    -----
    ``S @ X`` takes a dense array (n,) or (n, d) of any library, scipy.sparse and
    cupyx.scipy.sparse, and operators (SciPy's LinearOperator, anything with ``matmat`` and
    ``rmatmat``); the result is dense, (m,) or (m, d), in the library, on the device and in the
    precision of `X`. Integers are worked on in the default float. A matrix-free `X` is met by
    products with pieces of the identity, or with pieces of ``S^H`` through its adjoint where
    it has more columns than `S` has rows. Every product is one synchronisation, in which its
    finiteness is checked ("leverage" reads all rows for it), and another for the longest sum of
    a sparse sketch where there is no kernel. SciPy's solvers take `S` as it is,
    once `n` is known. Where a sum overflows although the
    scaled product does not, the product is made again of `X` divided by a power of two.

    All random numbers come from one key, so that column r of `S` is the same on every library,
    in every cut into blocks, and after :meth:`save` and :meth:`load`: signs and indices
    identically, Gaussian entries to a few units in the last place.

    Storage: the key, and what has been drawn: at most ``25 N + 8 m`` bytes of a kind with a
    global order once it has been used (N is `n`, padded), 16 m bytes of leverage; where `n` is
    known and they are no more than 2^20, 12 bytes a non-zero of a sparse kind and 10 bytes a
    number drawn for block_srht. During a product the result and tiles of 2 MiB with what it
    takes to make them (32 MiB in all), or panels of columns (``128 N`` numbers). `S` is never
    stored whole.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.sketching import sketch
    >>> S = sketch("countsketch", 4, 6, rng=0)
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> bool(np.allclose(S @ X, S.toarray() @ X))
    True
    >>> bool(np.allclose(S.apply_rows(X[:5], 0) + S.apply_rows(X[5:], 5), S @ X))
    True
    """

    kind: ClassVar[str] = ""
    streams: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False
    _turned: ClassVar[bool] = False  # a complex S is a real one times a diagonal of 1 and i
    _sees_all: ClassVar[bool] = True  # NaN in any row of X is one in the product
    _options: ClassVar[tuple[str, ...]] = ()
    _dtypes: ClassVar[tuple[str, ...]] = DTYPES
    _kinds: ClassVar[dict[str, type[SketchOperator]]] = {}

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind
            SketchOperator._kinds[kind] = cls

    def __init__(self, m: int, n: int | None, dtype: str, tiles: PhiloxTiles) -> None:
        self.m = m
        self.shape = (m, n)
        self.dtype = dtype
        self.tiles = tiles
        self._scale = m**-0.5

    # ------------------------------------------------------------ for the kinds to write

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of the kind, checked and with their defaults, or raise."""
        return options

    @abstractmethod
    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        """Return the transpose of columns `start` to `stop`, (stop - start, m), in `dtype`.

        Neither scaled nor turned: the factors ``_scale`` and, for turned kinds, 1 or i are left
        out, here and in the methods below.
        """

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        """Return ``S[:, start:start+b] X`` for a dense (b, d) `X`, in `dtype`."""
        dev = device(X)

        def share(first: int, stop: int) -> Array:
            tile = self._tile(start + first, start + stop, xp, dev, dtype)
            return xp.matrix_transpose(tile) @ xp.astype(X[first:stop, :], dtype, copy=False)

        return self._sum(share, X.shape[0], itemsize(xp, dtype))

    def _map_sparse(self, A: SparseOperator, start: int, dtype: DType) -> Array:
        """Return ``S[:, start:start+b] A`` for sparse rows, turned, in `dtype`."""
        xp = A.xp

        def share(first: int, stop: int) -> Array:
            tile = self._turned_tile(start + first, start + stop, xp, A.device, dtype)
            part = A.rows(first, stop).A.astype(dtype, copy=False)
            return xp.matrix_transpose(part.T @ tile)

        return self._sum(share, A.shape[0], itemsize(xp, dtype))

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        """Return ``S[:, start:stop]^H Y``, (stop - start, q), for (m, q) `Y`."""
        dev = device(Y)
        pieces = [
            xp.conj(tile) @ Y if is_complex(Y, xp) else tile @ Y
            for tile in (
                self._tile(first, last, xp, dev, Y.dtype)
                for first, last in cuts(start, stop, self._tile_rows(itemsize(xp, Y.dtype)))
            )
        ]
        return joined(pieces, 0, xp)

    # --------------------------------------------------------------------------- products

    def __matmul__(self, X: Any) -> Array:
        block, is_vector = as_block("X", X)
        self._check_whole(block.shape)
        return self._product(block, X, 0, is_vector, "X")

    def apply_rows(self, X_block: Any, start: int) -> Array:
        """Return the share of a block of rows: the shares of all blocks sum to ``S @ X``.

        Parameters
        ----------
        X_block : array (b,) or (b, d), sparse container or operator
            Rows `start` to ``start + b`` of `X`.
        start : int
            The number of the block's first row, counted from 0. Where the number of rows is
            open, m times the end of the block must not exceed 2^62.

        Returns
        -------
        array (m,) or (m, d)
            ``S[:, start:start+b] @ X_block``.

        Raises
        ------
        TypeError, ValueError
            For no matrix, rows beyond the last column of `S`, NaN or infinity, or a share too
            large for its precision.

        Notes
        -----
        Any cut is right. Kinds that do not stream make the tile of `S` or transform the padded
        block, whichever is cheaper: few large blocks are better than many small ones.
        """
        block, is_vector = as_block("X_block", X_block)
        start = check_int("start", start, 0)
        n = self.shape[1]
        if n is not None and start + block.shape[0] > n:
            raise ValueError(
                f"X_block must end at row {n} at the latest, as S has shape {self.shape}, got "
                f"{block.shape[0]} rows from row {start} on."
            )
        self._check_reach("start", start, block.shape[0])
        return self._product(block, X_block, start, is_vector, "X_block")

    def _check_whole(self, shape: tuple[int, ...]) -> None:
        n = self.shape[1]
        if n is not None and shape[0] != n:
            raise ValueError(
                f"X must have {n} rows to be multiplied by S of shape {self.shape}, got shape "
                f"{tuple(shape)}. S.apply_rows(X, start) takes a part of the rows."
            )

    def _check_reach(self, name: str, start: int, count: int) -> None:
        """Refuse rows for which the generator has no numbers of their own."""
        most = MOST_NUMBERS // self.m
        if self.streams and start + count > most:
            raise ValueError(
                f"{name} must be at most {most - count} for {count} rows and m={self.m}, "
                f"got {start}."
            )

    def _product(self, block: Any, given: Any, start: int, is_vector: bool, name: str) -> Array:
        """Return the share of a checked block, refused if it is not finite."""
        if not self._sees_all:
            check_entries(given, block, name)
        of = "S @ X" if name == "X" else "its share of S @ X"
        Y = finite_product(lambda x: self._share(x, start), block, given, name=name, of=of)
        return Y[:, 0] if is_vector else Y

    def _share(self, block: Any, start: int) -> Array:
        """Return ``S[:, start:start+b]`` times an array or operator, scaled."""
        if isinstance(block, DenseOperator):
            block = block.A
        if isinstance(block, Operator):
            xp, dev = block.xp, block.device
        else:
            xp, dev = array_namespace(block), device(block)
        dtype = self._result_dtype(xp, working_dtype(xp, dev, block.dtype))
        if block.shape[0] == 0 or block.shape[1] == 0:
            return xp.zeros((self.m, block.shape[1]), dtype=dtype, device=dev)
        if isinstance(block, SparseOperator):
            return self._map_sparse(block, start, dtype) * self._scale
        if isinstance(block, Operator):
            return self._products_share(block, start, dtype)
        return self._dense_share(block, start, xp, dtype)

    def _dense_share(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        if not (self._turned and self.is_complex):
            return self._map(X, start, xp, dtype) * self._scale
        phase = self._phase(start, start + X.shape[0], xp, device(X), dtype)[:, None]
        panels = [
            self._map(phase * xp.astype(X[:, a:b], dtype, copy=False), start, xp, dtype)
            for a, b in cuts(0, X.shape[1], PANEL)
        ]
        return joined(panels, 1, xp) * self._scale

    def _products_share(self, A: Operator, start: int, dtype: DType) -> Array:
        """Multiply by an operator that is known by its products alone."""
        xp, (b, d) = A.xp, A.shape
        width = max(8, PRODUCT_BYTES // (b * itemsize(xp, dtype)))
        if d <= self.m or (self.is_complex and not is_complex_dtype(xp, A.dtype)):
            unit = A.dtype
            pieces = [
                self._dense_share(self._seen(A.matmul(E)), start, xp, dtype)
                for E in identity_pieces(d, width, xp, A.device, unit)
            ]
            return joined(pieces, 1, xp)
        pieces = [
            adjoint(xp.astype(A.rmatmul(self._adjoint_share(E, start, start + b, xp)), dtype), xp)
            for E in identity_pieces(self.m, width, xp, A.device, dtype)
        ]
        return joined(pieces, 0, xp)

    def _seen(self, X: Array) -> Array:
        """Return columns of an operator, refused if NaN in them could be overlooked."""
        if not self._sees_all:
            check_finite_block(X)
        return X

    def _sum(self, share: Callable[[int, int], Array], count: int, bytes_each: int) -> Array:
        """Return the sum of the shares of pieces whose tiles are of a few MiB."""
        total = None
        for first, stop in cuts(0, count, self._tile_rows(bytes_each)):
            part = share(first, stop)
            total = add(total, part)
        return total

    def _tile_rows(self, bytes_each: int) -> int:
        return max(1, TILE_BYTES // (self.m * bytes_each))

    # ---------------------------------------------------------------------------- adjoint

    def adjoint(self) -> AdjointSketch:
        """Return ``S^H``, which multiplies dense arrays (m,) or (m, q) by ``@``.

        Returns
        -------
        AdjointSketch
            With ``shape`` and ``adjoint()``.

        Raises
        ------
        ValueError
            If the number of columns is open.
        """
        return AdjointSketch(self, self._known_columns("S.adjoint()"))

    def _adjoint_share(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        """Return ``S[:, start:stop]^H Y``, scaled and turned; `Y` has the dtype of the result."""
        found = self._adjoint_map(Y, start, stop, xp) * self._scale
        if self._turned and self.is_complex:
            found = xp.conj(self._phase(start, stop, xp, device(Y), Y.dtype))[:, None] * found
        return found

    # ---------------------------------------------------------------------------- entries

    def columns(self, start: int, stop: int, *, like: Array | None = None) -> Array:
        """Return columns `start` to `stop` of S, which meet these rows of `X`, explicitly.

        Parameters
        ----------
        start, stop : int
            The range, as in a slice, within the columns of S. Where their number is open,
            ``m stop`` must not exceed 2^62.
        like : array, optional
            An array whose library, device and precision the entries shall have; NumPy and
            the dtype of S by default.

        Returns
        -------
        array (m, stop - start)
            The entries, complex where S is.

        Raises
        ------
        ValueError
            If the range is not inside S.
        """
        n = self.shape[1]
        stop = check_int("stop", stop, 0, n, why=f"for S of shape {self.shape}")
        start = check_int("start", start, 0, stop, why=f"for stop={stop}")
        xp, dev, dtype = self._target(like)
        if start == stop:
            return xp.zeros((self.m, 0), dtype=dtype, device=dev)
        self._check_reach("start", start, stop - start)
        return xp.matrix_transpose(self._turned_tile(start, stop, xp, dev, dtype) * self._scale)

    def toarray(self, *, like: Array | None = None) -> Array:
        """Return S as a dense array (m, n), of the library of `like` (NumPy by default)."""
        return self.columns(0, self._known_columns("S.toarray()"), like=like)

    def _turned_tile(
        self, start: int, stop: int, xp: Namespace, dev: Device, dtype: DType
    ) -> Array:
        if not (self._turned and self.is_complex):
            return self._tile(start, stop, xp, dev, dtype)
        tile = self._tile(start, stop, xp, dev, real_dtype(xp, dtype))
        return self._phase(start, stop, xp, dev, dtype)[:, None] * xp.astype(tile, dtype)

    def _phase(self, start: int, stop: int, xp: Namespace, dev: Device, dtype: DType) -> Array:
        """Return the factors 1 or i of columns `start` to `stop`."""
        return to(_draws.turns(self.tiles, start, stop), xp, dev, dtype)

    def _target(self, like: Array | None) -> tuple[Namespace, Device, DType]:
        if like is None:
            xp = numpy_namespace()
            return xp, "cpu", dtype_from_name(xp, self.dtype)
        xp, dev = array_namespace(like), device(like)
        return xp, dev, self._result_dtype(xp, working_dtype(xp, dev, like.dtype))

    def _result_dtype(self, xp: Namespace, dtype: DType) -> DType:
        return complex_dtype(xp, dtype) if self.is_complex else dtype

    def _known_columns(self, wish: str) -> int:
        n = self.shape[1]
        if n is None:
            raise ValueError(
                f"n must be known for {wish}, but this {self.kind} sketch was made with n=None. "
                f"Make it with n, or use S.columns(start, stop) and S.apply_rows(X_block, start)."
            )
        return n

    @property
    def is_complex(self) -> bool:
        """Whether the entries are complex."""
        return self.dtype.startswith("complex")

    # ------------------------------------------------------------------- identity and state

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._options}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SketchOperator):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        """Return what decides the entries: kind, sizes, options and key."""
        options = tuple(self._settings().items())
        return self.kind, self.shape, self.is_complex, options, self.tiles

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self._shown().items())
        key = f"{self.tiles.key[0] >> 32:08x}"
        return f"<{self.kind} sketch of shape {self.shape}{options}, {self.dtype}, key={key}>"

    def _shown(self) -> dict[str, Any]:
        """Return the options that the repr shows."""
        return self._settings()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the key and the sizes; what has been drawn from them is drawn again."""
        return SketchOperator.from_state, (self.to_state(),)

    @classmethod
    def _state_type(cls) -> str:
        return "linalgkit.sketching.SketchOperator"

    def _get_state(self) -> State:
        return {
            "kind": self.kind,
            "m": self.m,
            "n": self.shape[1],
            "dtype": self.dtype,
            "tiles": self.tiles.to_state(),
            "options": self._settings(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        kind = SketchOperator._kinds.get(state["kind"])
        if kind is None or not issubclass(kind, cls):
            raise ValueError(f"kind must be one of {sorted(cls._kinds)}, got {state['kind']!r}.")
        m = check_int("m", state["m"], 1)
        n = state["n"] if state["n"] is None and kind.streams else check_int("n", state["n"], 1)
        dtype = check_choice("dtype", state["dtype"], kind._dtypes)
        options = state["options"]
        if set(options) != set(kind._options):
            raise ValueError(f"options must be {kind._options}, got {tuple(options)}.")
        return kind(
            m, n, dtype, checked_tiles(state["tiles"]), **kind._checked_options(m, n, options)
        )
