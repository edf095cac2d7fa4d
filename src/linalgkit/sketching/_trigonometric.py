"""Subsampled cosine, Fourier and circulant transforms, by the library's own FFT.

They need no padding to a power of two, and mix as well as Hadamard transforms::

    S = sketch("srdct", 200, n, rng=0)      # real
    S = sketch("srft", 200, n, rng=0)       # always complex
    S = sketch("circulant", 200, n, rng=0)  # rows of a circulant matrix of random signs

On a CPU the fast Walsh-Hadamard transform is several times faster than these.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import scipy.fft

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    complex_dtype,
    device,
    is_complex,
    real_dtype,
    widest_float,
)
from linalgkit._core.random import PhiloxTiles
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import cuts, joined, to
from linalgkit.sketching._hadamard import scattered, tile_is_cheaper
from linalgkit.sketching._operator import DTYPES, SketchOperator
from linalgkit.sketching._options import checked_sampling

_PANEL = 16  # columns that are transformed at a time
_SLOWER = 8  # than a Hadamard transform


class TransformSketch(SketchOperator):
    """A sample of rows of a transform of `length` rows, whose columns have signs.

    Subclasses give the transform of a panel, that of the adjoint, and the entries.
    """

    _options: ClassVar[tuple[str, ...]] = ("replace",)

    def __init__(self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, replace: bool) -> None:
        super().__init__(m, n, dtype, tiles)
        self.replace = replace
        self.length = n

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        return checked_sampling(cls.kind, m, cls._available(n or 1), f"n={n}", options)

    @staticmethod
    def _available(n: int) -> int:
        """Return how many rows the transform has."""
        return n

    @abstractmethod
    def _transform(self, Z: Array, xp: Namespace) -> Array:
        """Return the sampled rows of the transform, (m, p), of a panel (length, p)."""

    @abstractmethod
    def _adjoint_transform(self, U: Array, xp: Namespace) -> Array:
        """Return the adjoint of the whole transform, (length, p), of a panel."""

    @cached_property
    def _rows(self) -> Array:
        return _draws.sample(self.tiles, self.length, self.m, replace=self.replace)

    @cached_property
    def _signs(self) -> Array:
        return _draws.signs(self.tiles, 0, self._known_columns("its signs"))

    @property
    def _order(self) -> Array:
        """Return the place in the transform's input of each row of `X`."""
        return _draws.HOST.arange(self.length)

    @cached_property
    def _source(self) -> Array:
        """Return the row of `X` at each place of the transform's input."""
        return _draws.inverse(self._order)

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        b, d = X.shape
        if tile_is_cheaper(b, d, self.m, _SLOWER * self.length):
            return super()._map(X, start, xp, dtype)
        source = self._source - start
        inside = (source >= 0) & (source < b)
        index = _draws.HOST.where(inside, source, 0)
        weights = inside * self._signs[_draws.HOST.where(inside, self._source, 0)]
        dev = device(X)
        rows, signs = to(index, xp, dev), to(weights, xp, dev, real_dtype(xp, dtype))[:, None]
        panels = []
        for a, c in cuts(0, d, _PANEL):
            Z = xp.take(X[:, a:c], rows, axis=0)
            kind = dtype if is_complex(Z, xp) else real_dtype(xp, dtype)
            Z = xp.astype(signs, kind, copy=False) * xp.astype(Z, kind, copy=False)
            panels.append(xp.astype(self._transform(Z, xp), dtype, copy=False))
        return joined(panels, 1, xp)

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        dev = device(Y)
        order = to(self._order[start:stop], xp, dev)
        signs = to(self._signs[start:stop], xp, dev, Y.dtype)[:, None]
        panels = []
        for a, b in cuts(0, Y.shape[1], _PANEL):
            U = scattered(xp, Y[:, a:b], self._rows, self.length)
            V = xp.take(self._adjoint_transform(U, xp), order, axis=0)
            panels.append(signs * xp.astype(V, Y.dtype, copy=False))
        return joined(panels, 1, xp)


class FourierSketch(TransformSketch, kind="srft"):
    """Rows of a discrete Fourier transform whose columns are permuted and have random signs.

    Parameters
    ----------
    m, n, dtype, tiles
        See :class:`SketchOperator`.
    replace, permute : bool
        Whether a row may be sampled twice; whether columns are permuted.
    """

    _options = ("replace", "permute")
    _dtypes: ClassVar[tuple[str, ...]] = DTYPES[2:]

    def __init__(
        self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, replace: bool, permute: bool
    ) -> None:
        super().__init__(m, n, dtype, tiles, replace=replace)
        self.permute = permute

    @cached_property
    def _order(self) -> Array:
        if not self.permute:
            return _draws.HOST.arange(self.length)
        return _draws.permutation(self.tiles, self.length)

    def _transform(self, Z: Array, xp: Namespace) -> Array:
        Z = xp.astype(Z, complex_dtype(xp, Z.dtype), copy=False)
        return xp.take(xp.fft.fft(Z, axis=0), to(self._rows, xp, device(Z)), axis=0)

    def _adjoint_transform(self, U: Array, xp: Namespace) -> Array:
        return xp.fft.ifft(U, axis=0, norm="forward")

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        n = self.length
        turns = self._order[start:stop, None] * self._rows[None, :] % n
        entries = unit_circle(turns, n, xp, device)
        signs = to(self._signs[start:stop], xp, device, dtype)[:, None]
        return signs * xp.conj(xp.astype(entries, dtype, copy=False))


# Makhoul, "A fast cosine transform in one and two dimensions" (1980): even rows ascending, then
# odd rows descending, and one FFT of the same length.
class CosineSketch(FourierSketch, kind="srdct"):
    """Rows of a cosine transform (DCT-II) whose columns are permuted and have random signs."""

    _turned = True
    _dtypes = DTYPES

    @cached_property
    def _order(self) -> Array:
        """Return the places of the rows in the FFT's input."""
        return _fft_place(self._cosine_order, self.length)

    @cached_property
    def _cosine_order(self) -> Array:
        """Return the places of the rows in the cosine transform's input."""
        if not self.permute:
            return _draws.HOST.arange(self.length)
        return _draws.permutation(self.tiles, self.length)

    def _twiddles(self, rows: Array, xp: Namespace, dev: Device, dtype: DType) -> Array:
        """Return ``weights exp(-i pi k / 2n)`` for frequencies k on the host, as a column."""
        turned = unit_circle(rows, 4 * self.length, xp, dev)
        weights = to(_weights(rows), xp, dev, dtype)
        return (weights * xp.conj(xp.astype(turned, dtype, copy=False)))[:, None]

    def _transform(self, Z: Array, xp: Namespace) -> Array:
        n, dev, rows = self.length, device(Z), self._rows
        ctype = complex_dtype(xp, Z.dtype)
        twiddles = self._twiddles(rows, xp, dev, ctype)
        if is_complex(Z, xp):
            V = xp.fft.fft(Z, axis=0)
            mirrored = to((n - rows) % n, xp, dev)
            ahead, behind = (xp.take(V, r, axis=0) for r in (to(rows, xp, dev), mirrored))
            return 0.5 * (twiddles * ahead + xp.conj(twiddles) * behind)
        V = xp.take(
            xp.fft.rfft(Z, axis=0), to(_draws.HOST.minimum(rows, n - rows), xp, dev), axis=0
        )
        is_low = to(rows <= n // 2, xp, dev)[:, None]
        return xp.real(twiddles * xp.where(is_low, V, xp.conj(V)))

    def _adjoint_transform(self, U: Array, xp: Namespace) -> Array:
        all_rows = _draws.HOST.arange(self.length)
        twiddles = self._twiddles(all_rows, xp, device(U), complex_dtype(xp, U.dtype))
        V = xp.fft.ifft(xp.conj(twiddles) * U, axis=0, norm="forward")
        if not is_complex(U, xp):
            return xp.real(V)
        return 0.5 * (V + xp.fft.fft(twiddles * U, axis=0))

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        n = self.length
        place = 2 * self._cosine_order[start:stop, None] + 1
        turns = place * self._rows[None, :] % (4 * n)
        entries = xp.astype(xp.real(unit_circle(turns, 4 * n, xp, device)), dtype, copy=False)
        weights = to(_weights(self._rows), xp, device, dtype)[None, :]
        return to(self._signs[start:stop], xp, device, dtype)[:, None] * (entries * weights)


class CirculantSketch(TransformSketch, kind="circulant"):
    """Rows of a circulant matrix of random signs whose columns have random signs, too.

    A complex one has random corners ``(+-1 +-i) / sqrt(2)`` in place of the first signs. The
    order is `n`, rounded up to a length that the FFT likes.
    """

    def __init__(self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, replace: bool) -> None:
        super().__init__(m, n, dtype, tiles, replace=replace)
        self.length = fast_length(n)

    @staticmethod
    def _available(n: int) -> int:
        return fast_length(n)

    @cached_property
    def _source(self) -> Array:
        """Return the row of `X` at each place; none, -1, in the padding."""
        rows, n = _draws.HOST.arange(self.length), self.shape[1]
        return _draws.HOST.where(rows < n, rows, -self.length)

    @cached_property
    def _generator(self) -> Array:
        """Return the first column of the circulant matrix."""
        L = self.length
        real = _draws.signs(self.tiles, 0, L, _draws.WEIGHTS)
        if not self.is_complex:
            return real.astype("float64")
        return (real + 1j * _draws.signs(self.tiles, L, 2 * L, _draws.WEIGHTS)) * math.sqrt(0.5)

    def _transform(self, Z: Array, xp: Namespace) -> Array:
        dev = device(Z)
        rows = to(self._rows, xp, dev)
        if self.is_complex or is_complex(Z, xp):
            Z = xp.astype(Z, complex_dtype(xp, Z.dtype), copy=False)
            c = xp.fft.fft(to(self._generator, xp, dev, Z.dtype))[:, None]
            return xp.take(xp.fft.ifft(c * xp.fft.fft(Z, axis=0), axis=0), rows, axis=0)
        c = xp.fft.rfft(to(self._generator, xp, dev, Z.dtype))[:, None]
        product = xp.fft.irfft(c * xp.fft.rfft(Z, axis=0), n=self.length, axis=0)
        return xp.take(product, rows, axis=0)

    def _adjoint_transform(self, U: Array, xp: Namespace) -> Array:
        ctype = complex_dtype(xp, U.dtype)
        c = xp.fft.fft(to(self._generator, xp, device(U), ctype))[:, None]
        V = xp.fft.ifft(xp.conj(c) * xp.fft.fft(xp.astype(U, ctype), axis=0), axis=0)
        return V if is_complex(U, xp) else xp.real(V)

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        columns = _draws.HOST.arange(start, stop)
        index = (self._rows[None, :] - columns[:, None]) % self.length
        entries = self._generator[index] * self._signs[start:stop, None]
        return to(entries, xp, device, dtype)


def fast_length(n: int) -> int:
    """Return the smallest length at least `n` that every FFT is quick with."""
    return int(scipy.fft.next_fast_len(n, real=True))


def unit_circle(turns: Array, whole: int, xp: Namespace, dev: Device) -> Array:
    """Return ``exp(2 pi i turns / whole)`` for integers on the host, below `whole`."""
    wide = widest_float(xp, dev)
    angle = to(turns * (2 * math.pi / whole), xp, dev, wide)
    ctype = complex_dtype(xp, wide)
    return xp.astype(xp.cos(angle), ctype) + 1j * xp.astype(xp.sin(angle), ctype)


def _weights(rows: Array) -> Array:
    """Return sqrt(n) times the factors of the orthonormal cosine transform, for frequencies."""
    return _draws.HOST.where(rows == 0, 1.0, math.sqrt(2.0))


def _fft_place(place: Array, n: int) -> Array:
    """Return where in the FFT's input a number of the cosine transform's input goes."""
    half = place // 2
    return _draws.HOST.where(place % 2 == 0, half, n - 1 - half)
