"""Unfoldings and products along modes, written down from their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conftest import Backend


def draw(rng: Any, *shape: int, kind: str = "complex128") -> Any:
    G = rng.standard_normal(shape)
    if np.dtype(kind).kind == "c":
        G = G + 1j * rng.standard_normal(shape)
    return G.astype(kind)


def along(A: Any, T: Any, axis: int) -> Any:
    """The definition: sum over the axis, p in its place."""
    return np.moveaxis(np.tensordot(A, T, (1, axis)), 0, axis)


def unfolding(T: Any, axis: int) -> Any:
    return np.moveaxis(T, axis, 0).reshape(T.shape[axis], -1)


def close(found: Any, expected: Any, backend: Backend) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(backend.to_numpy(found), expected, atol=backend.tolerance * scale)
