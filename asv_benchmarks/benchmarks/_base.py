"""What a benchmark stands on: interleaved clocks, traced memory, and a method beside its rivals.

A new method joins by a class with three functions::

    class Pass(_base.Comparison):
        def prepare(self):
            self.X = problems.spiked(20000, 300, 4.0, 0)

        def method(self):
            return answer(self.X)

        def primitive(self):
            return self.X @ self.z

asv then records `time_method`, `peakmem_method`, `track_ratio_to_limit`, and with `peer` and
`error` also `track_ratio_to_peer` and `track_error`. All ratios are method over rival: less is
better.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
import tracemalloc
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from threadpoolctl import threadpool_limits

LONG = os.environ.get("LINALGKIT_BENCH_LONG", "0") == "1"

Call = Callable[[], Any]
Repeats = int | Mapping[str, int]


def sized(small: Any, published: Any) -> Any:
    """Take the published size where LINALGKIT_BENCH_LONG=1 asks for it, else the small one."""
    return published if LONG else small


def wait_for(answer: Any) -> None:
    """Wait until the device has made every array of ``answer``."""
    from linalgkit._core import array

    parts = answer if isinstance(answer, (tuple, list)) else [answer]
    for part in parts:
        part = getattr(part, "eigenvectors", part)
        if hasattr(part, "shape") and hasattr(part, "dtype"):
            array.synchronise(part)


def clock(call: Call, timer: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one call takes, the device's work included."""
    start = timer()
    wait_for(call())
    return timer() - start


def interleaved(
    calls: Mapping[str, Call],
    repeats: int | Mapping[str, int] = 5,
    timer: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time the calls in turn, round after round; return the median seconds of each.

    ``repeats`` may name a number for each call: a slow one then sits out the later rounds.
    ``timer=time.process_time`` counts the seconds of the processor, all threads together.
    """
    rounds = repeats if isinstance(repeats, Mapping) else dict.fromkeys(calls, repeats)
    times: dict[str, list[float]] = {name: [] for name in calls}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(max(rounds.values())):
            for name, call in calls.items():
                if turn < rounds[name]:
                    times[name].append(clock(call, timer))
    finally:
        if enabled:
            gc.enable()
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def measure_tracemalloc_peak(call: Call) -> int:
    """Most bytes that ``call`` held at once beyond what was held before it."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


class Measured(ABC):
    """Data made and kernels compiled in ``setup``, everything on one thread."""

    timeout: ClassVar[float] = 1800.0 if LONG else 120.0
    number = 1
    repeat = 3
    warmup_time = 0

    def setup(self, *params: Any) -> None:
        self._limits = threadpool_limits(1)
        self.prepare(*params)
        self.warm()

    def teardown(self, *params: Any) -> None:
        self._limits.restore_original_limits()

    @abstractmethod
    def prepare(self, *params: Any) -> None:
        """Make the data."""

    def warm(self) -> None:  # noqa: B027 (nothing to warm is a fair answer)
        """Run once whatever compiles at its first call."""


FIGURE_OF = {
    "primitive": "track_ratio_to_limit",
    "peer": "track_ratio_to_peer",
    "error": "track_error",
}  # what `Comparison` needs, and what it then measures


class Comparison(Measured):
    """A METHOD beside a PRIMITIVE (the physical limit) and a PEER (what a user would pick)."""

    repeats: ClassVar[Repeats] = 5
    timer = time.perf_counter

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take away the figures of a rival that the class does not have.

        A class between this one and one that has the rival takes nothing away for good.
        """
        super().__init_subclass__(**kwargs)
        for rival, track in FIGURE_OF.items():
            if getattr(cls, rival) is getattr(Comparison, rival):
                setattr(cls, track, None)
            elif track not in vars(cls) and getattr(cls, track) is None:
                setattr(cls, track, getattr(Comparison, track))

    @abstractmethod
    def method(self) -> Any:
        """Run the method and return its answer."""

    def primitive(self) -> Any:
        """Run the one pass or the one BLAS call that no method can undercut."""
        raise NotImplementedError

    def peer(self) -> Any:
        """Run the rival."""
        raise NotImplementedError

    def error(self, answer: Any) -> float:
        """Measure the answer of ``method`` against the exact one."""
        raise NotImplementedError

    def warm(self) -> None:
        wait_for(self.method())

    def ratio(self, rival: Call) -> float:
        """Time of the method over that of the rival, medians of interleaved runs."""
        repeats = self.repeats
        if not isinstance(repeats, int):
            repeats = {"method": repeats["method"], "rival": repeats["rival"]}
        seconds = interleaved({"method": self.method, "rival": rival}, repeats, self.timer)
        return seconds["method"] / seconds["rival"]

    def time_method(self, *params: Any) -> None:
        wait_for(self.method())

    def peakmem_method(self, *params: Any) -> None:
        wait_for(self.method())

    def track_ratio_to_limit(self, *params: Any) -> float:
        return self.ratio(self.primitive)

    def track_ratio_to_peer(self, *params: Any) -> float:
        return self.ratio(self.peer)

    def track_error(self, *params: Any) -> float:
        return self.error(self.method())
