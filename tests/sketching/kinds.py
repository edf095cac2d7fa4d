"""Sketches that the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit.sketching import SketchOperator, sketch

STREAMING = ("gaussian", "rademacher", "block_srht", "countsketch", "sparse_sign")
WHOLE = ("srht", "srdct", "srft", "circulant", "gaussian_pooled", "leverage")
KINDS = STREAMING + WHOLE
TURNED = ("srht", "srdct", "block_srht", "countsketch", "sparse_sign")
GAUSSIAN = ("gaussian", "gaussian_pooled")
SAMPLED = ("srht", "srdct", "srft", "circulant", "block_srht")


def make(kind: str, m: int, n: int | None, seed: int = 3, **options: Any) -> SketchOperator:
    """Return a sketch with small blocks, and scores where they are needed."""
    if kind == "leverage":
        options.setdefault("scores", np.random.default_rng(1).random(n) + 0.1)
    if kind == "block_srht":
        options.setdefault("block", max(16, 1 << (m - 1).bit_length()))
    return sketch(kind, m, n, rng=seed, **options)


def data(n: int, d: int, is_complex: bool = False, seed: int = 0) -> np.ndarray:
    """Return a matrix whose rows differ in size."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.uniform(0.1, 3.0, (n, 1))
    return X + 1j * rng.standard_normal((n, d)) if is_complex else X


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest entry expected."""
    assert found.shape == expected.shape
    largest = np.max(np.abs(expected))
    return float(np.max(np.abs(found - expected)) / (largest if largest > 0 else 1.0))
