"""Random numbers: drawn on the host, in an order that depends on the arguments alone.

Every library, blocking and number of workers then sees the same numbers::

    rng = as_generator(seed)                    # None, int, SeedSequence, BitGenerator, Generator
    Z = standard_normal(rng, (d, q), xp=xp, device=dev, dtype=dtype)
    tiles = PhiloxTiles(rng)
    tiles.normal(3, 5, (256, 64))               # the same numbers whoever asks, in any order
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import BitGenerator, Generator, SeedSequence

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    dtype_name,
)

HostArray = np.ndarray[Any, np.dtype[Any]]
_WORD = 2**64


# ------------------------------------------------------------------------------- generators


def as_generator(rng: object = None) -> Generator:
    """Return a NumPy generator from anything that may stand for one (SPEC 7).

    Parameters
    ----------
    rng : None, int, SeedSequence, BitGenerator or Generator
        A Generator is returned itself, so that drawing from the result advances it; None takes
        fresh entropy from the system.

    Returns
    -------
    numpy.random.Generator
        The generator.

    Raises
    ------
    TypeError
        For any other kind, ``RandomState`` and bool among them.
    ValueError
        For a negative integer.

    Examples
    --------
    >>> bool(as_generator(3).integers(100) == as_generator(3).integers(100))
    True
    """
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"rng must be a non-negative integer, got {rng}.")
        return np.random.default_rng(int(rng))
    if rng is None or isinstance(rng, (SeedSequence, BitGenerator, Generator)):
        return np.random.default_rng(rng)
    raise TypeError(
        "rng must be None, an int, or a SeedSequence, BitGenerator or Generator of numpy.random, "
        f"got {type(rng).__name__}. numpy.random.default_rng(seed) makes a Generator."
    )


@contextlib.contextmanager
def undone_on_error(rng: object) -> Iterator[None]:
    """Let a caller's generator be, should an exception pass, as it was before.

    Parameters
    ----------
    rng : object
        What a caller gave; only a Generator or BitGenerator can have been drawn from.
    """
    source = rng.bit_generator if isinstance(rng, Generator) else rng
    if not isinstance(source, BitGenerator):
        yield
        return
    before = source.state
    try:
        yield
    except BaseException:
        source.state = before
        raise


def spawn(rng: Generator, n: int) -> list[Generator]:
    """Return `n` independent generators; the numbers that `rng` itself draws do not change.

    Parameters
    ----------
    rng : numpy.random.Generator
        Counts its children, so that a second call returns others.
    n : int
        How many.

    Returns
    -------
    list of numpy.random.Generator
        The children.
    """
    return list(rng.spawn(n))


def rng_state(rng: Generator) -> dict[str, Any]:
    """Return the complete state of a generator in JSON's types, for a bitwise resume.

    Parameters
    ----------
    rng : numpy.random.Generator
        With any bit generator of NumPy.

    Returns
    -------
    dict
        Strings, ints, lists and dicts; the seed sequence is part of it, so that children spawned
        after the resume are the same too.

    Raises
    ------
    TypeError
        If the generator was not seeded by a :class:`numpy.random.SeedSequence`.
    """
    seeds = rng.bit_generator.seed_seq
    if not isinstance(seeds, SeedSequence):
        raise TypeError(
            f"rng must be seeded by a SeedSequence to be saved, got {type(seeds).__name__}. "
            "Use numpy.random.default_rng(seed)."
        )
    return {
        "bit_generator": _encode(rng.bit_generator.state),
        "seed_sequence": {
            "entropy": _encode(seeds.entropy),
            "spawn_key": [int(key) for key in seeds.spawn_key],
            "pool_size": int(seeds.pool_size),
            "n_children_spawned": int(seeds.n_children_spawned),
        },
    }


def rng_from_state(state: dict[str, Any]) -> Generator:
    """Return the generator whose state :func:`rng_state` wrote down.

    Parameters
    ----------
    state : dict
        The state, JSON round trips included.

    Returns
    -------
    numpy.random.Generator
        Draws what the original would have drawn next.

    Raises
    ------
    ValueError
        If the state is damaged or names an unknown bit generator.
    """
    try:
        seeds = dict(state["seed_sequence"])
        entropy = _decode(seeds.pop("entropy"))
        inner = _decode(state["bit_generator"])
        kind = getattr(np.random, inner["bit_generator"])
        if not (isinstance(kind, type) and issubclass(kind, BitGenerator)):
            raise TypeError(kind)
        bits = kind(SeedSequence(entropy, **seeds))
        bits.state = inner
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(
            f"rng state must be one that rng_state returned, got a damaged one ({error!r})."
        ) from error
    return Generator(bits)


def _encode(value: Any) -> Any:
    """Replace NumPy arrays and scalars inside nested dicts by JSON's types."""
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "values": [int(x) for x in value]}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return int(value) if isinstance(value, np.integer) else value


def _decode(value: Any) -> Any:
    """Undo :func:`_encode`."""
    if isinstance(value, dict):
        if set(value) == {"dtype", "values"}:
            return np.asarray(value["values"], dtype=value["dtype"])
        return {key: _decode(item) for key, item in value.items()}
    return value


# -------------------------------------------------------------------------------- host draws


def standard_normal(
    rng: Generator, shape: tuple[int, ...], *, xp: Namespace, device: Device, dtype: DType
) -> Array:
    """Draw standard normal numbers on the host and move them to a device.

    Parameters
    ----------
    rng : numpy.random.Generator
        Advanced by as many draws as a NumPy float64 array of this shape takes (twice that for
        complex numbers), whatever library, device and precision.
    shape : tuple of int
        Shape of the result.
    xp, device, dtype
        Where the numbers go; complex ones are ``(a + ib) / sqrt(2)``.

    Returns
    -------
    array
        The numbers, rounded from float64.
    """
    if xp.isdtype(dtype, "complex floating"):
        a, b = rng.standard_normal(shape), rng.standard_normal(shape)
        host: HostArray = (a + 1j * b) / math.sqrt(2)
    else:
        host = rng.standard_normal(shape)
    return _to_device(host, xp, device, dtype)


def signs(
    rng: Generator, shape: tuple[int, ...], *, xp: Namespace, device: Device, dtype: DType
) -> Array:
    """Draw independent signs, +1 and -1 with probability one half each.

    Parameters
    ----------
    rng : numpy.random.Generator
        Advanced alike for every library, device and precision.
    shape : tuple of int
        Shape of the result.
    xp, device, dtype
        Where the signs go; they are real numbers in a complex dtype, too.

    Returns
    -------
    array
        The signs.
    """
    bits = rng.integers(0, 2, size=shape, dtype=np.int8)
    return _to_device(1 - 2 * bits, xp, device, dtype)


def _to_device(host: HostArray, xp: Namespace, device: Device, dtype: DType) -> Array:
    """Round to the final precision on the host, where every library rounds alike, and move."""
    return asarray(host.astype(dtype_name(xp, dtype)), xp=xp, device=device, dtype=dtype)


# ----------------------------------------------------------------------- counter-based tiles


class PhiloxTiles:
    """Tiles of a random matrix too large to store, made again wherever they are used.

    Tile (i, j) is drawn from NumPy's Philox generator whose key comes from the seed and whose
    counter starts at (0, i, j, stream), so that its numbers depend on nothing else: not on the
    order of the calls, nor on the worker that makes them. Two tiles never overlap.

    Parameters
    ----------
    seed : None, int, SeedSequence, BitGenerator or Generator
        A Generator or BitGenerator is advanced by one draw of the key.
    stream : int, default 0
        Separates matrices that share a seed (signs and indices of one sketch, say).

    Attributes
    ----------
    key : tuple of two int
        The key; together with `stream` the whole state.

    Notes
    -----
    Storage: three integers. A larger tile begins with the numbers of a smaller one, in C order.

    References
    ----------
    .. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
       as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> tiles = PhiloxTiles(7)
    >>> bool((tiles.normal(0, 3, (4, 2)) == PhiloxTiles(7).normal(0, 3, (4, 2))).all())
    True
    """

    def __init__(self, seed: object = None, *, stream: int = 0) -> None:
        if isinstance(seed, (Generator, BitGenerator)):
            words = as_generator(seed).integers(_WORD - 1, size=2, dtype=np.uint64, endpoint=True)
        else:
            words = _seed_sequence(seed).generate_state(2, np.uint64).astype(np.uint64)
        self.key: tuple[int, int] = (int(words[0]), int(words[1]))
        self.stream = _check_word("stream", stream)

    def generator(self, i: int, j: int) -> Generator:
        """Return a generator at the start of tile (i, j), for draws of any other kind."""
        counter = [0, _check_word("i", i), _check_word("j", j), self.stream]
        return Generator(self._philox(counter))

    def words(self, first_block: int, count: int, i: int = 0, j: int = 0) -> HostArray:
        """Return raw 64-bit words of tile (i, j) from any place on, as if read from a table.

        Parameters
        ----------
        first_block : int
            How many blocks of four words of the tile come before the first word.
        count : int
            How many words.
        i, j : int, default 0
            The tile.

        Returns
        -------
        numpy.ndarray, uint64, shape (count,)
            What ``generator(i, j).bit_generator.random_raw`` returns after ``4 * first_block``
            words, in time that does not depend on `first_block`.

        Raises
        ------
        ValueError
            If words beyond block ``2**64`` are asked for, where the next tile begins.

        Examples
        --------
        >>> tiles = PhiloxTiles(7)
        >>> bool((tiles.words(2, 4) == tiles.words(0, 12)[8:]).all())
        True
        """
        start = _check_word("first_block", first_block)
        if start + -(-count // 4) > _WORD:
            raise ValueError(
                f"first_block + count / 4 must be at most 2**64, got {first_block} and {count}."
            )
        bits = self._philox([start, _check_word("i", i), _check_word("j", j), self.stream])
        return np.asarray(bits.random_raw(count), dtype=np.uint64)

    def _philox(self, counter: list[int]) -> np.random.Philox:
        return np.random.Philox(
            counter=np.asarray(counter, dtype=np.uint64), key=np.asarray(self.key, dtype=np.uint64)
        )

    def normal(self, i: int, j: int, shape: tuple[int, ...], dtype: str = "float64") -> HostArray:
        """Return a tile of standard normal numbers on the host.

        Parameters
        ----------
        i, j : int
            The tile.
        shape : tuple of int
            Its shape.
        dtype : str, default "float64"
            Name of a real or complex floating dtype; the numbers are rounded from float64.

        Returns
        -------
        numpy.ndarray
            The tile; complex numbers are ``(a + ib) / sqrt(2)``.
        """
        rng = self.generator(i, j)
        if np.dtype(dtype).kind == "c":
            pairs = rng.standard_normal((*shape, 2)) * math.sqrt(0.5)
            return pairs.view(np.complex128)[..., 0].astype(dtype, copy=False)
        return rng.standard_normal(shape).astype(dtype, copy=False)

    def signs(self, i: int, j: int, shape: tuple[int, ...], dtype: str = "int8") -> HostArray:
        """Return a tile of independent signs, one random bit each, on the host.

        Parameters
        ----------
        i, j : int
            The tile.
        shape : tuple of int
            Its shape.
        dtype : str, default "int8"
            Name of a signed integer or floating dtype.

        Returns
        -------
        numpy.ndarray
            The tile, of entries +1 and -1.
        """
        count = math.prod(shape)
        raw = self.generator(i, j).bit_generator.random_raw(-(-count // 64))
        octets = np.asarray(raw, dtype="<u8").view(np.uint8)
        bits = np.unpackbits(octets, count=count, bitorder="little").view(np.int8)
        return np.reshape(1 - 2 * bits, shape).astype(dtype, copy=False)

    def to_state(self) -> dict[str, Any]:
        """Return key and stream in JSON's types."""
        return {"key": list(self.key), "stream": self.stream}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PhiloxTiles:
        """Return the tiles whose state :meth:`to_state` wrote down."""
        tiles = cls.__new__(cls)
        first, second = state["key"]
        tiles.key = (_check_word("key", first), _check_word("key", second))
        tiles.stream = _check_word("stream", state["stream"])
        return tiles

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PhiloxTiles):
            return NotImplemented
        return (self.key, self.stream) == (other.key, other.stream)

    def __hash__(self) -> int:
        return hash((self.key, self.stream))

    def __repr__(self) -> str:
        return f"PhiloxTiles(key={self.key}, stream={self.stream})"


def _seed_sequence(seed: object) -> Any:
    """Return the seed sequence that a generator made from `seed` would start from."""
    return seed if isinstance(seed, SeedSequence) else as_generator(seed).bit_generator.seed_seq


def _check_word(name: str, value: int) -> int:
    """Refuse what does not fit into one word of the counter."""
    if not 0 <= value < _WORD:
        raise ValueError(f"{name} must be between 0 and 2**64 - 1, got {value}.")
    return int(value)
