"""One segment seen by several engines: what each adds up, and how the sums are joined.

Within a segment all columns are fixed, so that everything an engine keeps is a sum over rows.
Whoever has some of the rows observes them, and the sums follow each other as the rows do::

    ends = segment_ends(engine, [128] * 50)             # rows after which segments close
    here, there = observer(engine, 3200), observer(engine, 4800)    # take in rows elsewhere
    absorb(engine, observation(here).then(observation(there)))      # as `engine` itself would

"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

from linalgkit._core.array import Array
from linalgkit._core.state import PortablePickle
from linalgkit.streaming._diagnostics import Probe, Scores
from linalgkit.streaming._segments import SegmentEngine


@dataclass(frozen=True, eq=False)
class Observation(PortablePickle):
    """Sums over consecutive light rows of one segment.

    Attributes
    ----------
    rows : int
        How many.
    product : array (d, Q)
        ``A^H A Z`` of the rows.
    energy : array ()
        Their squared Frobenius norm, on the device.
    scores, probe
        What the rows say about the columns, without the columns.
    """

    rows: int
    product: Array
    energy: Array
    scores: Scores
    probe: Probe

    def then(self, later: Observation) -> Observation:
        """Return the sums over both; neither is changed."""
        scores, probe = copy.copy(self.scores), self.probe.copy()
        scores.append(later.scores)
        probe.append(later.probe)
        return Observation(
            self.rows + later.rows,
            self.product + later.product,
            self.energy + later.energy,
            scores,
            probe,
        )


def segment_ends(engine: SegmentEngine, blocks: Iterable[int]) -> list[int]:
    """Return the positions at which segments close when blocks of these lengths come.

    They follow from the lengths alone, as long as nothing is forgotten.
    """
    ghost, ends = copy.copy(engine), []
    for rows in blocks:
        left = rows
        while left:
            taken = min(left, ghost._piece())
            ghost.position, ghost.n_light = ghost.position + taken, ghost.n_light + taken
            left -= taken
            if ghost._is_end():
                ends.append(ghost.position)
                ghost._mark = ghost.n_light
    return ends


def without_sums(engine: SegmentEngine) -> SegmentEngine:
    """Return what observers are made of, to be sent: the columns and the place in the stream."""
    twin = copy.copy(engine)
    twin.observes = True
    twin.scores, twin.probe = engine.scores.blank(), engine.probe.blank()
    twin._Y = twin.heavy_rows = twin.basis = None
    return twin


def observer(engine: SegmentEngine, position: int) -> SegmentEngine:
    """Return an engine for rows of the present segment from a position on.

    It has the columns and no sums, and closes no segment.
    """
    twin = without_sums(engine)
    twin.n_light += position - engine.position
    twin.position = twin.observed_from = position
    twin.probe.clear()
    twin._Y, twin._fresh = engine._zeros(engine.d, engine.n_columns), engine._zero()
    twin._offer()
    return twin


def observation(engine: SegmentEngine) -> Observation:
    """Return what an observer has added up."""
    probe = copy.copy(engine.probe)
    probe.forget_vectors()
    rows = engine.position - engine.observed_from
    return Observation(rows, engine._Y, engine._fresh, engine.scores, probe)


def absorb(engine: SegmentEngine, seen: Observation) -> None:
    """Take in the next rows as observers saw them, all of the present segment.

    The segment is closed if it ends there. One synchronisation then.
    """
    engine._Y = engine._Y + seen.product
    engine._fresh = engine._fresh + seen.energy
    engine.scores.append(seen.scores)
    engine.probe.append(seen.probe)
    engine.n_light += seen.rows
    engine.position += seen.rows
    if engine._is_end():
        engine._close()
    engine._offer()
