"""Checks of options that several kinds of sketches share, for new sketches and saved ones."""

from __future__ import annotations

from typing import Any

from linalgkit._core.random import PhiloxTiles
from linalgkit._core.state import State
from linalgkit._core.validation import check_bool, check_int


def checked_sampling(
    kind: str, m: int, available: int, of: str, options: dict[str, Any]
) -> dict[str, bool]:
    """Return the flags of a kind that samples rows, and refuse to sample more than there are."""
    flags = {name: check_bool(name, value) for name, value in options.items()}
    if m > available and not flags["replace"]:
        raise ValueError(
            f"m must be at most {available}, the rows that {kind!r} can sample without "
            f"replacement for {of}, got {m}. Set replace=True to sample with replacement."
        )
    return flags


def checked_tiles(state: State) -> PhiloxTiles:
    """Return the source of numbers from its state: a key of two words, and a stream."""
    words = [*state["key"], state["stream"]]
    if len(words) != 3:
        raise ValueError(f"tiles must have a key of two words, got {len(words) - 1}.")
    for word in words:
        check_int("a word of tiles", word, 0)
    return PhiloxTiles.from_state(state)
