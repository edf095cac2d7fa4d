"""The 8 x 8 blocks of two photographs, stored in three ways under one relative error.

Every block of a colour channel is a matrix of 8 x 8 pixels. Groups of blocks share a basis of one
or two vectors, found by :func:`~linalgkit.svd.cluster_matrices`; the rivals are one singular value
decomposition of all blocks side by side, and one for each block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from linalgkit._core.array import asarray, namespace_of, numpy_namespace, to_numpy
from linalgkit._demos._context import Context
from linalgkit._demos._measure import Meter
from linalgkit._demos._photographs import photographs
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import NOTHING, Table, small
from linalgkit.svd import MatrixClustering, cluster_matrices

_SIDE = 8
_RANKS = (1, 2)  # of the groups
_EPS = 0.05
_WARM = 64  # blocks of the warm-up
_FEW = 256  # blocks where every new shape is compiled
_HEADER = (
    "numbers\nstored",
    "ratio",
    "groups",
    "blocks\nalone",
    "largest error\nproved",
    "largest error\ntrue",
    "seconds",
)
_LEGEND = (
    "Ratio: pixels over numbers stored; a block alone counts whole. Error: a share of the norm of",
    "a group, not of each block in it, so that dark blocks are off by more. True error: of what is",
    "stored, by numpy in double precision. Time: one warm-up is left out.",
)


@dataclass(frozen=True)
class Way:
    """One way to store all blocks.

    Attributes
    ----------
    name : str
        Its line in the table.
    blocks : int
        How many there were.
    stored : int
        Numbers that it takes.
    groups : int
        Groups of several blocks.
    alone : int
        Blocks stored as they are.
    proved, true : float
        Largest relative error of a group: certified, and as it is. NaN where nothing certifies it.
    seconds : float
        Time to find it.
    note : str
        A sentence on its certificate.
    """

    name: str
    blocks: int
    stored: int
    groups: int
    alone: int
    proved: float
    true: float
    seconds: float
    note: str = ""

    @property
    def pixels(self) -> int:
        """Numbers in all blocks as they are."""
        return self.blocks * _SIDE * _SIDE


def tile_ways(context: Context) -> list[Way]:
    """Store the blocks in every way."""
    tiles = _tiles(photographs(context, _SIDE))
    if context.library == "jax":
        tiles = tiles[:: -(-tiles.shape[0] // _FEW)]
    jobs: list[Callable[[], Way]] = [partial(_grouped, tiles, rank, context) for rank in _RANKS]
    jobs += [partial(_joint, tiles), partial(_apart, tiles)]
    ways = []
    with context.progress("blocks", total=len(jobs)) as bar:
        for job in jobs:
            ways.append(job())
            context.done(ways[-1].name, ways[-1].seconds)
            bar.update(1)
    return ways


def tile_table(ways: list[Way]) -> Table:
    """Return what every way stores, proves and takes."""
    first = f"{ways[0].blocks:,} blocks\nof {_SIDE} x {_SIDE} within {100 * _EPS:g} %"
    return Table((first, *_HEADER), [_line(way) for way in ways])


def tile_words(ways: list[Way]) -> tuple[str, tuple[str, ...]]:
    """Return the legend of the table, and what the certificates say."""
    return "\n".join(_LEGEND), tuple(way.note for way in ways if way.note)


def tile_comparison(ways: list[Way]) -> Comparison:
    """Return our groups of the lower rank beside the best of the rivals."""
    ours, rivals = ways[0], ways[len(_RANKS) :]
    rival = min(rivals, key=lambda way: way.stored)
    return Comparison(
        f"{ours.blocks:,} blocks of {_SIDE} x {_SIDE} pixels within {100 * _EPS:g} %",
        f"{ours.pixels / ours.stored:.2f} times fewer numbers ({ours.name})",
        f"each group's error proved, {ours.proved:.4f} at most",
        ours.seconds,
        f"numpy.linalg.svd: {rival.name}",
        rival.seconds,
        "storage",
        ours.stored,
        rival.stored,
    )


def _tiles(images: list[Any]) -> Any:
    """Return the blocks of all channels of all images, (K, 8, 8), on the host."""
    found = []
    for image in images:
        height, width, channels = image.shape
        lines, columns = height // _SIDE, width // _SIDE
        whole = image[: lines * _SIDE, : columns * _SIDE, :]
        cut = whole.reshape(lines, _SIDE, columns, _SIDE, channels)
        found.append(cut.transpose(4, 0, 2, 1, 3).reshape(-1, _SIDE, _SIDE))
    return numpy_namespace().concat(found).astype("float64")


def _grouped(tiles: Any, rank: int, context: Context) -> Way:
    """Return what :func:`cluster_matrices` makes of the blocks."""
    xp, device = namespace_of(context.like)
    blocks = asarray(tiles, xp=xp, device=device, dtype=context.like.dtype)
    cluster_matrices(blocks[:_WARM, :, :], rank, _EPS)
    meter = Meter()
    with meter.turn():
        found = cluster_matrices(blocks, rank, _EPS)
    return _judged(found, tiles, rank, meter.seconds)


def _judged(found: MatrixClustering, tiles: Any, rank: int, seconds: float) -> Way:
    """Hold every group against numpy's decomposition of it."""
    stored, alone, inside, true = 0, 0, 0, [0.0]
    proved = [0.0]
    zipped = zip(found.clusters, found.svds, found.error_lower, found.predicted_error, strict=True)
    for members, svd, lower, upper in zipped:
        if svd is None:
            stored, alone = stored + tiles[members].size, alone + len(members)
            continue
        side = _beside(tiles[members])
        U = to_numpy(svd.U)
        C = numpy_namespace().concat([to_numpy(part) for part in svd.coefficients], axis=1)
        stored += U.size + C.size
        norm = float((side * side).sum()) ** 0.5 or 1.0  # of black blocks, which have no error
        error = float(((side - U @ C) ** 2).sum()) ** 0.5 / norm
        s = numpy_namespace().linalg.svdvals(side)
        best = float((s[rank:] ** 2).sum()) ** 0.5 / norm
        inside += lower <= best <= upper and error <= upper
        true.append(error)
        proved.append(upper)
    groups = len(proved) - 1
    name = f"groups of rank {rank}"
    note = (
        f'{name} (status "{found.status}"): in {inside} of {groups} the smallest error that there '
        "is lies in the certified interval, and the error of what is stored below its upper end."
    )
    return Way(name, len(tiles), stored, groups, alone, max(proved), max(true), seconds, note)


def _joint(tiles: Any) -> Way:
    """Return one decomposition of all blocks side by side, of the least rank that will do."""
    side, meter = _beside(tiles), Meter()
    with meter.turn():
        U, s, _ = numpy_namespace().linalg.svd(side, full_matrices=False)
        tails = _tails(s)
        rank = int((tails[:-1] > _EPS).sum())
    stored = rank * sum(side.shape)
    rest = side - U[:, :rank] @ (U[:, :rank].T @ side)
    true = float((rest * rest).sum() / (side * side).sum()) ** 0.5
    name = f"one SVD, rank {rank}"
    return Way(name, len(tiles), stored, 1, 0, float("nan"), true, meter.seconds)


def _apart(tiles: Any) -> Way:
    """Return a decomposition of each block, of the least rank that will do."""
    meter = Meter()
    with meter.turn():
        s = numpy_namespace().linalg.svdvals(tiles)
        tails = _tails(s)
        ranks = (tails[:, :-1] > _EPS).sum(axis=1)
    whole = ranks * 2 * _SIDE >= _SIDE * _SIDE
    stored = int(ranks[~whole].sum()) * 2 * _SIDE + int(whole.sum()) * _SIDE * _SIDE
    places = numpy_namespace().arange(tiles.shape[0])
    true = float(tails[places, ranks][~whole].max(initial=0.0))
    count = len(tiles)
    return Way("an SVD each", count, stored, 0, count, float("nan"), true, meter.seconds)


def _tails(s: Any) -> Any:
    """Return for ranks 0, 1, 2, ... what is missing of the norm, along the last axis."""
    squares = s[..., ::-1] ** 2
    sums = squares.cumsum(axis=-1)[..., ::-1]
    whole = sums[..., :1]
    safe = numpy_namespace().where(whole > 0, whole, 1.0)
    shares = numpy_namespace().concat([sums, 0.0 * whole], axis=-1) / safe
    return shares**0.5


def _beside(tiles: Any) -> Any:
    """Return blocks (K, 8, 8) as one matrix (8, 8 K)."""
    return tiles.transpose(1, 0, 2).reshape(_SIDE, -1)


def _line(way: Way) -> tuple[str, ...]:
    return (
        way.name,
        f"{way.stored:,}",
        f"{way.pixels / way.stored:.2f}",
        str(way.groups) if way.groups else NOTHING,
        f"{way.alone:,}" if way.groups else NOTHING,
        small(way.proved) if way.proved != way.proved else f"{way.proved:.5f}",
        f"{way.true:.5f}",
        f"{way.seconds:.2f}",
    )
