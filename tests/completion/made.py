"""Answers made by hand: exact least squares by alternating solves with numpy.linalg.lstsq."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit.completion._observed import observe
from linalgkit.completion._result import CompletionResult
from tests.conftest import BACKENDS, Backend

#: All libraries; eager JAX compiles a whole solution for half a minute.
SOLVING = [pytest.param(b, marks=pytest.mark.slow) if b.name == "jax" else b for b in BACKENDS]


def a_result(
    backend: Backend,
    m: int = 7,
    n: int = 9,
    k: int = 3,
    *,
    kind: str = "float64",
    offsets: bool = True,
    weights: bool = False,
    seed: int = 0,
    **changes: Any,
) -> tuple[CompletionResult, Any]:
    """Return an answer with random factors, and its dense matrix."""
    rng = np.random.default_rng(seed)
    if not backend.has_float64:
        kind = {"float64": "float32", "complex128": "complex64"}.get(kind, kind)

    def draw(*shape: int) -> Any:
        x = rng.standard_normal(shape)
        if "complex" in kind:
            x = x + 1j * rng.standard_normal(shape)
        return x.astype(kind)

    U, V, row, column = draw(m, k), draw(n, k), draw(m), draw(n)
    mean = complex(0.5, 0.25) if "complex" in kind else 0.5
    dense = U @ V.conj().T
    if offsets:
        dense = dense + row[:, None] + column[None, :] + mean
    seen = rng.random((m, n)) < 0.6
    seen[:, 0] = True
    i, j = np.nonzero(seen)
    places = [backend.asarray(x) for x in (i, j)]
    w = None
    if weights:
        real = "float32" if kind in ("float32", "complex64") else "float64"
        w = backend.asarray(rng.uniform(0.5, 2.0, i.size), real)
    data = observe((*places, backend.asarray(dense[i, j]), (m, n)), weights=w)
    none = backend.asarray(np.zeros(0, dtype=int))
    fields: dict[str, Any] = {
        "U": backend.asarray(U),
        "V": backend.asarray(V),
        "singular_values": backend.asarray(np.linalg.svd(U @ V.conj().T)[1][:k]),
        "row_bias": backend.asarray(row) if offsets else None,
        "col_bias": backend.asarray(column) if offsets else None,
        "mean": mean if offsets else 0.0,
        "rank": k,
        "loss_history": [2.0, 1.0],
        "sweeps": 2,
        "residual_norm": 1.0,
        "noise_estimate": 0.1,
        "validation_rmse": None,
        "unidentifiable_rows": none,
        "unidentifiable_columns": none,
        "n_connected_components": 1,
        "status": "converged",
        "message": "made by hand",
        "alpha": 0.0,
        "_pattern": data,
    }
    return CompletionResult(**{**fields, **changes}), dense


def host(x: Any) -> Any:
    return core_array.to_numpy(x)
