"""Least-squares problems whose solution, condition and residual are known by construction."""

from __future__ import annotations

import numpy as np

Draw = np.random.Generator


def entries(rng: Draw, *shape: int, is_complex: bool = False) -> np.ndarray:
    """Draw independent normal numbers, real or complex."""
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if is_complex else values


def orthonormal(rng: Draw, n: int, d: int, *, is_complex: bool = False) -> np.ndarray:
    """Draw orthonormal columns."""
    return np.linalg.qr(entries(rng, n, d, is_complex=is_complex))[0]


def conditioned(
    rng: Draw, n: int, d: int, cond: float, residual: float, *, is_complex: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A with singular values from 1 to 1/cond, b at a distance, and the unit solution."""
    U = orthonormal(rng, n, d + 1, is_complex=is_complex)
    V = orthonormal(rng, d, d, is_complex=is_complex)
    A = (U[:, :d] * np.geomspace(1, 1 / cond, d)) @ V.conj().T
    x = entries(rng, d, is_complex=is_complex)
    x = x / np.linalg.norm(x)
    return A, A @ x + residual * U[:, d], x


def solved(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve by LAPACK's divide-and-conquer driver."""
    return np.linalg.lstsq(A, b, rcond=None)[0]
