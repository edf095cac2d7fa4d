"""Subsampled randomised Hadamard transforms, of all rows or block by block of a stream.

Row r of `X` gets a sign and goes to place ``order[r]`` of a vector whose length is a power of
two; a sample of the entries of its Walsh-Hadamard transform is the sketch::

    S = sketch("srht", 200, n, rng=0)           # needs n, mixes all rows
    S = sketch("block_srht", 200, None, rng=0)  # mixes the rows of each block of 1024 or more

Without the random order the sketch of a matrix with a few large rows in the beginning is often
singular: the first d columns of a Hadamard matrix have few different rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from linalgkit._core.array import Array, Device, DType, Namespace, device, real_dtype
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.validation import check_int
from linalgkit._kernels import fwht, hadamard_blocks, hadamard_pool, hadamard_rows, sparse_embed
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import add, cuts, joined, to
from linalgkit.sketching._operator import PANEL, SketchOperator
from linalgkit.sketching._options import checked_sampling

LEAST_BLOCK = 1024
RUN_ROWS = 2**17  # of whole blocks that are transformed in one call
_KEPT = 1 << 20  # numbers drawn: of a sketch with so few of them all are kept, 10 bytes each


def padded(n: int) -> int:
    """Return the smallest power of two that is at least `n`."""
    return 1 << max(n - 1, 0).bit_length()


def tile_is_cheaper(b: int, d: int, m: int, transformed: int) -> bool:
    """Tell whether `b` rows of width `d` rather meet a tile of `S` than a transform.

    A transform takes about 2 ns an entry, its zeros included; a tile 2 ns an entry to make and
    0.05 ns a product (measured on one core; the answer is not critical).
    """
    return b * m * (d + 40) < 40 * transformed * d


def hadamard_entries(
    xp: Namespace, rows: Array, columns: Array, dev: Device, dtype: DType
) -> Array:
    """Return ``H[rows, columns]``, (len(rows), len(columns)), for host indices below 2**62."""
    odd = _draws.HOST.bitwise_count(rows[:, None] & columns[None, :]) & 1
    return to(1 - 2 * odd.astype("int8"), xp, dev, dtype)


def scattered(xp: Namespace, Y: Array, places: Array, count: int) -> Array:
    """Return the (count, q) array with the rows of `Y` added at `places`, zero elsewhere."""
    dev = device(Y)
    index = to(places[:, None], xp, dev)
    ones = xp.ones((places.shape[0], 1), dtype=real_dtype(xp, Y.dtype), device=dev)
    return sparse_embed(xp, Y, index, ones, count)


class HadamardSketch(SketchOperator, kind="srht"):
    """Rows of a Hadamard matrix whose columns are permuted and have random signs.

    Parameters
    ----------
    m, n, dtype, tiles
        See :class:`SketchOperator`.
    replace : bool
        Whether a row may be sampled twice.
    permute : bool
        Whether columns are permuted.
    """

    _turned = True
    _options = ("replace", "permute")

    def __init__(
        self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, replace: bool, permute: bool
    ) -> None:
        super().__init__(m, n, dtype, tiles)
        self.replace, self.permute = replace, permute
        self.n_padded = padded(n)

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        return checked_sampling(cls.kind, m, padded(n or 1), f"n={n}", options)

    @cached_property
    def _order(self) -> Array:
        n = self.shape[1]
        if not self.permute:
            return _draws.HOST.arange(n)
        return _draws.permutation(self.tiles, self.n_padded)[:n].copy()

    @cached_property
    def _rows(self) -> Array:
        return _draws.sample(self.tiles, self.n_padded, self.m, replace=self.replace)

    @cached_property
    def _signs(self) -> Array:
        return _draws.signs(self.tiles, 0, self._known_columns("its signs"))

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        H = hadamard_entries(xp, self._order[start:stop], self._rows, device, dtype)
        return H * to(self._signs[start:stop], xp, device, dtype)[:, None]

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        b, d = X.shape
        if tile_is_cheaper(b, d, self.m, self.n_padded):
            return super()._map(X, start, xp, dtype)
        dev = device(X)
        is_plain = start == 0 and not self.permute
        order = None if is_plain else to(self._order[start : start + b], xp, dev)
        signs = to(self._signs[start : start + b], xp, dev)
        rows = to(self._rows, xp, dev)
        X = xp.astype(X, dtype, copy=False)
        return hadamard_rows(xp, X, order, signs, self.n_padded, rows)

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        dev = device(Y)
        order = to(self._order[start:stop], xp, dev)
        signs = to(self._signs[start:stop], xp, dev, Y.dtype)[:, None]
        panels = []
        for a, b in cuts(0, Y.shape[1], PANEL):
            Z = scattered(xp, Y[:, a:b], self._rows, self.n_padded)
            panels.append(signs * xp.take(fwht(xp, Z), order, axis=0))
        return joined(panels, 1, xp)


class BlockHadamardSketch(SketchOperator, kind="block_srht"):
    """A sum of independent sketches of consecutive blocks of rows.

    Each block has its own order, signs and sample, and signs of the sampled rows: without the
    latter, columns of two blocks that go to place 0, where `H` has ones only, would be parallel.

    Parameters
    ----------
    m, n, dtype, tiles, replace, permute
        See :class:`HadamardSketch`.
    block : int
        Rows of a block, a power of two.
    """

    streams = True
    _turned = True
    _options = ("replace", "permute", "block")

    def __init__(
        self,
        m: int,
        n: int | None,
        dtype: str,
        tiles: PhiloxTiles,
        *,
        replace: bool,
        permute: bool,
        block: int,
    ) -> None:
        super().__init__(m, n, dtype, tiles)
        self.replace, self.permute, self.block = replace, permute, block

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        flags = dict(options)
        block = checked_block(flags.pop("block"), m)
        return {**checked_sampling(cls.kind, m, block, "a block", flags), "block": block}

    def _draw(self, k: int) -> _draws.BlockDraw:
        """Make the random numbers of block `k`, or find them."""
        return _draws.BlockDraw(*(part[0, ...] for part in self._draws_of(k, k + 1)))

    def _draws_of(self, first: int, stop: int) -> _draws.BlockDraw:
        """Return those of several blocks, one below the other."""
        if self._is_kept():
            return _draws.BlockDraw(*(part[first:stop, :] for part in self._all))
        return self._drawn(range(first, stop))

    @cached_property
    def _all(self) -> _draws.BlockDraw:
        return self._drawn(range(-(-self._known_columns("its draws") // self.block)))

    def _drawn(self, blocks: range) -> _draws.BlockDraw:
        flags = {"replace": self.replace, "permute": self.permute}
        each = [_draws.block_draw(self.tiles, k, self.block, self.m, **flags) for k in blocks]
        return _draws.BlockDraw(*(_draws.HOST.stack(parts) for parts in zip(*each, strict=True)))

    def _is_kept(self) -> bool:
        n = self.shape[1]
        return n is not None and -(-n // self.block) * (self.block + self.m) <= _KEPT

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield block numbers with the first and the last row, plus one, inside the block."""
        for k in range(start // self.block, -(-stop // self.block)):
            first = k * self.block
            yield k, max(start - first, 0), min(stop - first, self.block)

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        pieces = [
            self._block_tile(self._draw(k), low, high, xp, device, dtype)
            for k, low, high in self._parts(start, stop)
        ]
        return joined(pieces, 0, xp)

    def _block_tile(
        self, draw: _draws.BlockDraw, low: int, high: int, xp: Namespace, dev: Device, dtype: DType
    ) -> Array:
        H = hadamard_entries(xp, draw.order[low:high], draw.rows, dev, dtype)
        H = H * to(draw.signs[low:high], xp, dev, dtype)[:, None]
        return H * to(draw.output_signs, xp, dev, dtype)[None, :]

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        ends = xp.arange(1, self.m + 1, dtype=xp.int64, device=device(X))
        total = None
        for parts in self._runs(start, start + X.shape[0], int(X.shape[1])):
            k, low, _ = parts[0]
            first = k * self.block + low - start
            count = sum(high - low for _, low, high in parts)
            rows = xp.astype(X[first : first + count, :], dtype, copy=False)
            if len(parts) == 1:
                part = self._block_share(self._draw(k), *parts[0][1:], rows, ends, xp)
            else:
                part = self._blocks_share(k, parts[-1][0] + 1, rows, xp)
            total = add(total, part)
        return total

    def _runs(self, start: int, stop: int, d: int) -> Iterator[list[tuple[int, int, int]]]:
        """Yield parts of blocks alone, and whole blocks together where they are transformed."""
        together = not tile_is_cheaper(2 * self.block, d, self.m, self.block)
        run: list[tuple[int, int, int]] = []
        for part in self._parts(start, stop):
            is_whole = together and part[2] - part[1] == self.block
            if run and (not is_whole or len(run) * self.block >= RUN_ROWS):
                yield run
                run = []
            run.append(part)
            if not is_whole:
                yield run
                run = []
        if run:
            yield run

    def _blocks_share(self, first: int, stop: int, X: Array, xp: Namespace) -> Array:
        """Return the share of several whole blocks."""
        dev, draws = device(X), self._draws_of(first, stop)
        order, signs = (to(x.reshape(-1), xp, dev) for x in (draws.order, draws.signs))
        places, weights = (to(x, xp, dev) for x in (draws.rows, draws.output_signs))
        return hadamard_blocks(xp, X, order, signs, self.block, places, weights)

    def _block_share(
        self, draw: _draws.BlockDraw, low: int, high: int, X: Array, ends: Array, xp: Namespace
    ) -> Array:
        b, d = X.shape
        dev = device(X)
        # A block in cache is transformed twice as fast as all rows.
        if tile_is_cheaper(2 * b, d, self.m, self.block):
            tile = self._block_tile(draw, low, high, xp, dev, X.dtype)
            return xp.matrix_transpose(tile) @ X
        order, signs, rows, output_signs = (
            to(x, xp, dev)
            for x in (draw.order[low:high], draw.signs[low:high], draw.rows, draw.output_signs)
        )
        return hadamard_pool(xp, X, order, signs, self.block, rows, output_signs, ends)

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        dev = device(Y)
        pieces = []
        for k, low, high in self._parts(start, stop):
            draw = self._draw(k)
            signed = Y * to(draw.output_signs, xp, dev, Y.dtype)[:, None]
            Z = fwht(xp, scattered(xp, signed, draw.rows, self.block))
            Z = xp.take(Z, to(draw.order[low:high], xp, dev), axis=0)
            pieces.append(to(draw.signs[low:high], xp, dev, Y.dtype)[:, None] * Z)
        return joined(pieces, 0, xp)


def default_block(m: int) -> int:
    """Return the rows of a block: a power of two, 1024 at least and four times the sketch."""
    return max(LEAST_BLOCK, padded(4 * m))


def checked_block(block: int | None, m: int) -> int:
    """Return the rows of a block, which must be a power of two; for None the default."""
    if block is None:
        return default_block(m)
    size = check_int("block", block, 1)
    if size & (size - 1):
        raise ValueError(f"block must be a power of two, got {size}. {padded(size)} is the next.")
    return size
