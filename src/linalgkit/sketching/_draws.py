"""Random numbers of sketches: all from one key, each purpose from its own tile of the generator.

Bits and words can be had from any place on, so that a block of columns of `S` is one contiguous
draw; permutations and samples are drawn whole::

    bits(tiles, 1000, 1064, SIGNS)          # 64 of them, the same whoever asks
    permutation(tiles, 512, ORDER)

Everything here lies on the host, in NumPy arrays.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.random import PhiloxTiles

HOST = numpy_namespace()

# First index of the generator's tiles; the second one numbers blocks or factors.
ENTRIES, SIGNS, ORDER, ROWS, WEIGHTS, TURNS, BLOCKS = range(7)

_WORD_BITS, _BLOCK_WORDS = 64, 4


def words(tiles: PhiloxTiles, first: int, count: int, purpose: int, j: int = 0) -> Array:
    """Return `count` words from word number `first` on, (count,) of uint64."""
    block, skipped = divmod(first, _BLOCK_WORDS)
    return tiles.words(block, skipped + count, purpose, j)[skipped:]


def halves(tiles: PhiloxTiles, first: int, count: int, j: int = 0) -> Array:
    """Return `count` halves of words, lower ones first, from number `first` on, as uint64."""
    word, skipped = divmod(first, 2)
    drawn = words(tiles, word, -(-(skipped + count) // 2), ENTRIES, j)
    return drawn.astype("<u8", copy=False).view("<u4")[skipped : skipped + count].astype("uint64")


def octets(drawn: Array) -> Array:
    """Return the bytes of words, lowest first, on machines of either byte order."""
    return drawn.astype("<u8", copy=False).view("uint8")


@functools.cache
def bit_table() -> Array:
    """Return the eight bits of every byte, lowest first, (256, 8) of int8."""
    return (HOST.arange(256)[:, None] >> HOST.arange(8)[None, :] & 1).astype("int8")


def bits(tiles: PhiloxTiles, start: int, stop: int, purpose: int, j: int = 0) -> Array:
    """Return bits number `start` to `stop` of a tile, (stop - start,) of int8."""
    first, skipped = divmod(start, _WORD_BITS)
    count = -(-stop // _WORD_BITS) - first
    found = bit_table()[octets(words(tiles, first, count, purpose, j))].reshape(-1)
    return found[skipped : skipped + stop - start]


def signs(tiles: PhiloxTiles, start: int, stop: int, purpose: int = SIGNS, j: int = 0) -> Array:
    """Return independent signs number `start` to `stop`, (stop - start,) of int8."""
    return 1 - 2 * bits(tiles, start, stop, purpose, j)


def turns(tiles: PhiloxTiles, start: int, stop: int, j: int = 0) -> Array:
    """Return independent factors 1 or i number `start` to `stop`, of complex128."""
    return HOST.where(bits(tiles, start, stop, TURNS, j) == 1, 1j, 1.0 + 0j)


def permutation(tiles: PhiloxTiles, size: int, purpose: int = ORDER, j: int = 0) -> Array:
    """Return a uniform permutation of ``0 ... size - 1``, of int64."""
    return tiles.generator(purpose, j).permutation(size)


def sample(tiles: PhiloxTiles, size: int, count: int, *, replace: bool, j: int = 0) -> Array:
    """Return a uniform sample of `count` numbers below `size` in random order, of int64."""
    return _sample(tiles.generator(ROWS, j), size, count, replace)


def _sample(rng: Any, size: int, count: int, replace: bool) -> Array:
    if replace:
        return rng.integers(0, size, size=count)
    return rng.choice(size, size=count, replace=False)


class BlockDraw(NamedTuple):
    """What the Hadamard sketch of one block is made of: order and signs, rows and their signs."""

    order: Array
    signs: Array
    rows: Array
    output_signs: Array


def block_draw(
    tiles: PhiloxTiles, k: int, size: int, count: int, *, replace: bool, permute: bool
) -> BlockDraw:
    """Draw for block `k` of `size` rows of which `count` are sampled, all from one generator."""
    rng = tiles.generator(BLOCKS, k)
    drawn = rng.bit_generator.random_raw(-(-(size + count) // _WORD_BITS))
    found = 1 - 2 * bit_table()[octets(drawn)].reshape(-1)
    order = rng.permutation(size) if permute else HOST.arange(size)
    rows = _sample(rng, size, count, replace)
    return BlockDraw(order, found[:size], rows, found[size : size + count])


def inverse(order: Array) -> Array:
    """Return the inverse of a permutation."""
    result = HOST.empty_like(order)
    result[order] = HOST.arange(order.shape[0])
    return result


def spread(drawn: Array, size: Any, first: Any = 0) -> Array:
    """Turn halves of words into numbers from `first` below ``first + size``, in place.

    They are uniform to `size` parts in 2**32; the lowest bit, from which signs are made, is of
    no account for them.
    """
    drawn *= size
    drawn >>= 32
    drawn += first
    return drawn
