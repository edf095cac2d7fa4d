"""The methods by name, sized to a memory budget.

A new method joins with one entry in :data:`_SIZED`: a function that returns the engine and
the number of heavy rows that go with it for a given number of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linalgkit._core.array import itemsize
from linalgkit.streaming._arbitrary import ArbitraryOrder
from linalgkit.streaming._block_power import BlockPower
from linalgkit.streaming._engine import Engine
from linalgkit.streaming._frequent_directions import FrequentDirections
from linalgkit.streaming._gram import Gram
from linalgkit.streaming._heap import HeavyRows, default_capacity
from linalgkit.streaming._nystrom import Nystrom
from linalgkit.streaming._oja import OjaLadder
from linalgkit.streaming._options import Options
from linalgkit.streaming._portfolio import Portfolio
from linalgkit.streaming._preprocess import Space
from linalgkit.streaming._segments import SegmentEngine
from linalgkit.streaming._stream import RowStream

Make = Callable[..., Engine]

# A sketch and what an answer needs beside it, in multiples of the sketch.
_SKETCH_COPIES = 4
# Vectors beside the columns that the certificate of a random-order method keeps a component.
_CERTIFICATE_ROWS = 9
# Rows that are heavier by less than this do not change places with those held back.
_HEAP_SLACK = 1.25


def build_stream(space: Space, options: Options, rng: Any) -> RowStream:
    """Return an empty stream for rows of `space`."""
    method = options.for_width(space)
    _check_budget(_least_rows(method, space, options), method, space, options)
    engine = _MAKERS[method](space, options, rng)
    heap = None
    if isinstance(engine, SegmentEngine):
        fixed = 2 * engine.n_columns + _CERTIFICATE_ROWS * options.n_components
        _check_budget(fixed, method, space, options)
        place = {"xp": space.xp, "device": space.device, "dtype": space.dtype}
        capacity = _heavy_rows(fixed, space, options)
        heap = HeavyRows(capacity, space.d, slack=_HEAP_SLACK, **place)
    return RowStream(
        space, engine, heap, center=options.center, forgetting=options.forgetting, rng=rng
    )


def _common(space: Space, options: Options, rng: Any) -> dict[str, Any]:
    return {
        "d": space.d,
        "n_components": options.n_components,
        "xp": space.xp,
        "device": space.device,
        "dtype": space.dtype,
        "rng": rng,
    }


def _gram(space: Space, options: Options, rng: Any) -> Engine:
    return Gram(**_common(space, options, rng))


def _portfolio(space: Space, options: Options, rng: Any) -> Engine:
    return Portfolio(**_common(space, options, rng), n_oversamples=options.n_oversamples)


def _block_power(space: Space, options: Options, rng: Any) -> Engine:
    return BlockPower(
        **_common(space, options, rng),
        n_oversamples=options.n_oversamples,
        history=options.history,
        n_rows=options.n_rows,
    )


def _oja(space: Space, options: Options, rng: Any) -> Engine:
    return OjaLadder(**_common(space, options, rng))


def _sketch(make: Make) -> Callable[[Space, Options, Any], Engine]:
    def sized(space: Space, options: Options, rng: Any) -> Engine:
        return make(**_common(space, options, rng), sketch_size=_sketch_size(space, options))

    return sized


_MAKERS: dict[str, Callable[[Space, Options, Any], Engine]] = {
    "gram": _gram,
    "portfolio": _portfolio,
    "block-power": _block_power,
    "oja": _oja,
    "frequent-directions": _sketch(FrequentDirections),
    "nystrom": _sketch(Nystrom),
    "arbitrary": _sketch(ArbitraryOrder),
}


def _wide_row(space: Space) -> int:
    """Return the bytes of `d` numbers of the widest dtype."""
    return space.d * itemsize(space.xp, space.wide)


def _sketch_size(space: Space, options: Options) -> int | None:
    """Return the rows or columns of a sketch: asked for, or what fits a given budget."""
    if options.n_oversamples is not None:
        return options.n_components + max(1, options.n_oversamples)
    if options.memory_budget is None:
        return None
    fits = options.memory_budget // (_SKETCH_COPIES * _wide_row(space))
    return max(options.n_components + 1, min(space.d, fits))


def _heavy_rows(fixed: int, space: Space, options: Options) -> int:
    """Return how many rows may be held verbatim, beside `fixed` vectors."""
    if options.max_heavy_rows is not None:
        return options.max_heavy_rows
    default = default_capacity(options.n_components)
    if options.memory_budget is None:
        return default
    spare = options.memory_budget - fixed * _wide_row(space)
    return max(0, min(default, spare // (space.d * itemsize(space.xp, space.dtype))))


def _least_rows(method: str, space: Space, options: Options) -> int:
    """Return how many vectors of length `d` a method needs, as far as that is known early."""
    if method == "gram":
        return space.d
    if method in ("nystrom", "frequent-directions", "arbitrary"):
        return _SKETCH_COPIES * min(space.d, options.n_components + 1)
    return 2 * options.n_components


def _check_budget(rows: int, method: str, space: Space, options: Options) -> None:
    """Refuse a budget below what the method cannot do without, naming that."""
    least = rows * _wide_row(space)
    if options.memory_budget is not None and least > options.memory_budget:
        raise ValueError(
            f'memory_budget must be at least {least} bytes for method="{method}" with '
            f"n_components={options.n_components} and rows of length {space.d}, got "
            f"{options.memory_budget}. Raise it, or ask for fewer components."
        )
