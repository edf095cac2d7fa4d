"""Where arrays lie."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import is_on_host, to_numpy


def test_memory_of_the_host_is_recognised(xp) -> None:
    x = xp.asarray(np.arange(3.0))
    assert is_on_host(x) == (xp.name in ("numpy", "torch", "jax"))
    assert to_numpy(x).tolist() == [0.0, 1.0, 2.0]
