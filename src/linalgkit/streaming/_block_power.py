"""Block power method over the segments of a random-order stream.

One product with ``q`` columns a block, ``O(d q)`` words, no tuning::

    engine = BlockPower(d, 1, xp=xp, device=device, dtype=dtype, rng=rng)
    for block in light_blocks:
        engine.update(block)
    lam, V = engine.finish().top(1)

"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from linalgkit._core.array import Device, DType, Namespace
from linalgkit._core.random import as_generator
from linalgkit._core.state import State
from linalgkit.streaming import theory
from linalgkit.streaming._candidates import History, Rule, Segments
from linalgkit.streaming._engine import sizes_from_state
from linalgkit.streaming._segments import SegmentEngine

_OVERSAMPLES = 4


class BlockPower(SegmentEngine):
    """Power method over stream segments, with or without a summary of earlier ones.

    Kacham & Woodruff (2024, arXiv:2412.11963), Algorithm 1, for ``history=False``: in random
    order ``T A_j^H A_j`` estimates ``A^H A`` from the j-th of `T` segments, so that one step of
    the power method can be taken with each. Numbered differences:

    1. More than one vector is iterated, started from the exact decomposition of the first
       rows, which removes the start from a random vector. They count as rows of the first
       segment, and the summary of a segment shorter than its columns could not be orthonormal,
       so that segments have as many rows at least.
    2. Where `n_rows` is not given, segments grow geometrically and each is half as long as
       all rows before it; the last one of at least half its length decides.
    3. With ``history=True`` the product of a segment is added to a rank-q summary of all rows
       before, whose tail is modelled as flat
       (:func:`~linalgkit.streaming._candidates.deflated_summary`); the accuracy is then that
       of the whole stream, not of its last segment. For this no theorem is known.

    Parameters
    ----------
    d, n_components, xp, device, dtype, rng
        As in :class:`~linalgkit.streaming._segments.SegmentEngine`.
    n_oversamples : int, optional
        Columns beyond `n_components`; 4 by default.
    history : bool, default True
        Whether a summary of earlier segments is kept.
    n_rows : int, optional
        Length of the stream: without history it is cut into
        :func:`linalgkit.streaming.theory.n_segments` equal segments, the last of which has
        what remains.
    """

    name: ClassVar[str] = "block-power"

    def __init__(
        self,
        d: int,
        n_components: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        rng: Any = None,
        n_oversamples: int | None = None,
        history: bool = True,
        n_rows: int | None = None,
    ) -> None:
        extra = _OVERSAMPLES if n_oversamples is None else n_oversamples
        width = min(d, n_components + extra)
        self.history, self.n_rows = history, n_rows
        rule: Rule
        if history:
            rule = History("history", n_components, width, xp)
        else:
            length = None if n_rows is None else max(width, -(-n_rows // theory.n_segments(d)))
            rule = Segments("segments", n_components, width, xp, length=length)
        super().__init__(
            d,
            n_components,
            xp=xp,
            device=device,
            dtype=dtype,
            rng=as_generator(rng),
            rules=[rule],
        )

    def _get_state(self) -> State:
        own = {
            "n_oversamples": self.rules[0].width - self.n_components,
            "history": self.history,
            "n_rows": self.n_rows,
        }
        return {**super()._get_state(), **own}

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        options = {name: state[name] for name in ("n_oversamples", "history", "n_rows")}
        engine = cls(**sizes_from_state(state, xp, device), **options)
        engine._restore(state)
        return engine
