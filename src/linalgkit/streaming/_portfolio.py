"""Several random-order methods side by side, one pair of products, the best one answers.

::

    engine = Portfolio(d, 1, xp=xp, device=device, dtype=dtype, rng=rng)
    for block in light_blocks:
        engine.update(block)
    lam, V = engine.finish().top(1)

"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from linalgkit._core.array import Device, DType, Namespace
from linalgkit._core.random import as_generator
from linalgkit._core.state import State
from linalgkit.streaming._candidates import History, Rates, Rule, Segments
from linalgkit.streaming._engine import sizes_from_state
from linalgkit.streaming._segments import SegmentEngine

_OVERSAMPLES = 11
_NARROW = 2
# From 2 on, this acts like plain segments: a segment is a third of all rows up to its end.
_AMNESIA = 1.0


class Portfolio(SegmentEngine):
    """Rules with different memories on one stream; a challenger must win clearly.

    The incumbent is the summary with a modelled tail (`History`), which was the most accurate
    in every random-order experiment; the others forget faster or assume less, and take over
    where its assumptions fail, for instance when the rows drift.

    Parameters
    ----------
    d, n_components, xp, device, dtype, rng
        As in :class:`~linalgkit.streaming._segments.SegmentEngine`.
    n_oversamples : int, optional
        Columns of the incumbent beyond `n_components`; 11 by default.
    """

    name: ClassVar[str] = "portfolio"

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
    ) -> None:
        k = n_components
        extra = _OVERSAMPLES if n_oversamples is None else n_oversamples
        width, narrow = min(d, k + extra), min(d, k + _NARROW)
        rules: list[Rule] = [
            History("history", k, width, xp),
            History("truncated-history", k, min(width, narrow), xp, deflate=False),
            Segments("segments", k, min(width, narrow), xp),
            Rates("rate", k, k, xp, amnesia=_AMNESIA),
        ]
        super().__init__(
            d, k, xp=xp, device=device, dtype=dtype, rng=as_generator(rng), rules=rules
        )

    def _get_state(self) -> State:
        extra = self.rules[0].width - self.n_components
        return {**super()._get_state(), "n_oversamples": extra}

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        engine = cls(**sizes_from_state(state, xp, device), n_oversamples=state["n_oversamples"])
        engine._restore(state)
        return engine
