"""Whole blocks of a block SRHT that are transformed in one call give what explicit entries give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit.sketching import _hadamard, sketch


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("start", [0, 1000, 2048])
def test_runs_of_blocks_equal_explicit_columns(
    xp: Any, monkeypatch: pytest.MonkeyPatch, start: int, is_complex: bool
) -> None:
    monkeypatch.setattr(_hadamard, "RUN_ROWS", 2048)  # two blocks a call
    rng = np.random.default_rng(0)
    n, d, m = 5500, 20, 256
    X = rng.standard_normal((n, d))
    if is_complex:
        X = X + 1j * rng.standard_normal((n, d))
    S = sketch("block_srht", m, None, dtype="complex128" if is_complex else None, rng=1)
    lengths = [len(run) for run in S._runs(start, start + n, d)]
    assert max(lengths) == 2
    assert sum(lengths) == len(list(S._parts(start, start + n)))
    found = xp.to_numpy(S.apply_rows(xp.asarray(X), start))
    expected = S.columns(start, start + n) @ X
    assert np.abs(found - expected).max() <= xp.tolerance * np.abs(expected).max()
