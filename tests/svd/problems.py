"""Matrices and streams whose singular values are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

SPECTRA = {
    "slow": lambda k: 1.0 / np.arange(1, k + 1),
    "fast": lambda k: 0.7 ** np.arange(k),
    "flat": lambda k: np.linspace(1.0, 0.8, k),
    "graded": lambda k: 10.0 ** (-np.arange(k) / 3),
    "low": lambda k: np.r_[np.ones(5), np.zeros(k - 5)],
}


def draw(rng: Any, *shape: int, is_complex: bool = False) -> Any:
    """Return standard normal numbers; complex ones are no conjugates of one another."""
    G = rng.standard_normal(shape)
    return G + 1j * rng.standard_normal(shape) if is_complex else G


def matrix(
    rng: Any, m: int, n: int, spectrum: str = "slow", *, is_complex: bool = False
) -> tuple[Any, Any]:
    """Return a matrix (m, n), and its singular values."""
    k = min(m, n)
    s = SPECTRA[spectrum](k)
    U = np.linalg.qr(draw(rng, m, k, is_complex=is_complex))[0]
    V = np.linalg.qr(draw(rng, n, k, is_complex=is_complex))[0]
    return (U * s) @ V.conj().T, s


def cut(A: Any, width: int) -> Iterator[Any]:
    """Yield blocks of columns."""
    for start in range(0, A.shape[1], width):
        yield A[:, start : start + width]


def optimal(s: Any, r: int) -> float:
    """Return the smallest error of an approximation of rank `r`."""
    return float(np.sqrt(np.sum(np.asarray(s)[r:] ** 2)))


def check_certificate(
    result: Any, A: Any, *, rtol: float = 1e-12, is_projection: bool = False
) -> None:
    """Hold everything that a result says against the matrix itself."""
    s = np.linalg.svd(A, compute_uv=False)
    scale, r = max(s[0], 1e-300), result.rank
    room = rtol * scale
    U, found = np.asarray(result.U), np.asarray(result.s)
    assert U.shape == (A.shape[0], r)
    np.testing.assert_allclose(U.conj().T @ U, np.eye(r), atol=max(1e-13, rtol) * max(r, 1))
    lower, upper = result.sigma_bounds()
    assert np.all(np.asarray(lower) <= s[:r] + room)
    assert np.all(s[:r] <= np.asarray(upper) + room)
    best, low_high = optimal(s, r), result.optimal_error_bounds()
    assert low_high[0] <= best + room
    projected = np.linalg.norm(A - U @ (U.conj().T @ A))
    assert max(best, projected) <= low_high[1] + room
    if r:
        leading = np.linalg.svd(A, full_matrices=False)[0][:, :r]
        sine = np.linalg.norm(U - leading @ (leading.conj().T @ U), 2)
        assert sine <= result.subspace_angle_bound() + rtol
    if result.Vh is None:
        return
    Vh = np.asarray(result.Vh)
    np.testing.assert_allclose(Vh @ Vh.conj().T, np.eye(r), atol=max(1e-12, rtol) * max(r, 1))
    rest = A - U @ (U.conj().T @ A) if is_projection else A - (U * found) @ Vh
    error = np.linalg.norm(rest)
    assert np.linalg.norm(rest, 2) <= result.error_spectral_bound + room
    if result.error_kind == "exact":
        norm = np.linalg.norm(A)
        np.testing.assert_allclose(result.norm_fro, norm, rtol=max(1e-13, rtol))
        assert np.all(found <= s[:r] + room)
    else:
        assert error <= result.error_fro + room
