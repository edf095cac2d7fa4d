"""Enclosures against the truth in thousands of streams, random ones and those made to hurt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit.svd import IncrementalSVD
from tests.svd.problems import draw

KINDS = ("spread", "lost", "copies", "holes", "rising", "falling", "graded", "low", "flat", "spike")
METHODS = ("qr", "cholqr", "gram", "auto")


def hostile(rng: Any, kind: str, *, is_complex: bool) -> Any:
    """Return a matrix of a kind that is known to break updates."""
    m, n = (int(v) for v in rng.integers(2, 40, 2))
    n *= int(rng.integers(1, 5))
    G = draw(rng, m, n, is_complex=is_complex)
    if kind == "spread":
        return G * 10.0 ** rng.integers(-6, 7, n)
    if kind == "lost":  # a direction that is the smallest in every column, and large in sum
        k = min(m - 1, 5)
        A = np.zeros((m, n + k), dtype=G.dtype)
        A[np.arange(k), np.arange(k)] = 1.0
        A[k, k:] = rng.uniform(0.3, 0.99)
        return A * np.exp(6j * rng.random(n + k)) if is_complex else A
    if kind == "copies":
        return G[:, rng.integers(0, min(2, n), n)]
    if kind == "holes":
        return G * (rng.random(n) < 0.3)
    if kind in ("rising", "falling"):
        exponents = np.linspace(-8, 0, n)
        return G * 10.0 ** (exponents if kind == "rising" else -exponents - 8)
    k = min(m, n)
    s = {
        "graded": 10.0 ** (-np.arange(k) / 2),
        "low": 1.0 * (np.arange(k) < 3),
        "flat": np.linspace(1.0, 0.9, k),
        "spike": np.r_[1.0, np.full(k - 1, 1e-7)],
    }[kind]
    U, V = (np.linalg.qr(draw(rng, size, k, is_complex=is_complex))[0] for size in (m, n))
    return (U * s) @ V.conj().T


def options_for(rng: Any, m: int, n: int) -> dict[str, Any]:
    """Return options, any of them."""
    options: dict[str, Any] = {
        "n_components": int(rng.integers(1, min(m, n, 8) + 1)),
        "n_oversamples": int(rng.integers(0, 5)),
        "method": METHODS[rng.integers(4)],
        "truncation": ("svd", "svd", "svd", "frequent-directions")[rng.integers(4)],
        "buffer_size": (None, 1, 3, 10)[rng.integers(4)],
    }
    if rng.integers(4) == 0:
        options["forgetting"] = float(rng.uniform(0.9, 1.0))
    if rng.integers(4) == 0:
        options["center"] = True
    return options


def streamed(rng: Any, A: Any, options: dict[str, Any]) -> Any:
    """Return the answer for columns in random blocks, dense or sparse, some of them merged."""
    n_parts = 1 if "forgetting" in options else int(rng.integers(1, 4))
    is_sparse, parts = rng.integers(4) == 0, []
    for block in np.array_split(A, n_parts, axis=1):
        if block.shape[1] == 0:
            continue
        svd, start = IncrementalSVD(**options, rng=0), 0
        while start < block.shape[1]:
            stop = start + int(rng.integers(1, 20))
            piece = block[:, start:stop]
            svd.append_columns(sp.csc_array(piece) if is_sparse else piece)
            start = stop
        parts.append(svd)
    return IncrementalSVD.merge_all(parts).result()


def target(A: Any, options: dict[str, Any]) -> Any:
    """Return the matrix that an answer is about: weighted, less its mean."""
    f, n = options.get("forgetting", 1.0), A.shape[1]
    weights = f ** np.arange(n - 1, -1, -1.0)
    if options.get("center"):
        A = A - (np.sum(A * weights**2, axis=1) / np.sum(weights**2))[:, None]
    return A * weights


def check(seed: int) -> None:
    """Hold one answer against the truth, with room for the rounding errors of the truth alone."""
    rng = np.random.default_rng(seed)
    A = hostile(rng, KINDS[seed % len(KINDS)], is_complex=bool(rng.integers(2)))
    A = A * 10.0 ** rng.integers(-3, 4)
    if rng.integers(4) == 0:
        A = A.astype(np.complex64 if np.iscomplexobj(A) else np.float32)
    options = options_for(rng, *A.shape)
    result = streamed(rng, A, options)
    wide = A.astype(np.complex128 if np.iscomplexobj(A) else np.float64)
    T = target(wide, options)
    eps = float(np.finfo(A.real.dtype).eps)
    r, n = result.rank, A.shape[1]
    s = np.r_[np.linalg.svd(T, compute_uv=False), np.zeros(r)]
    room = 8 * eps * np.sqrt(n) * max(s[0], np.linalg.norm(wide, 2) if "center" in options else 0)
    lower, upper = (np.asarray(end, dtype=np.float64) for end in result.sigma_bounds())
    assert np.all(lower <= s[:r] + room), (seed, options)
    assert np.all(s[:r] <= upper + room), (seed, options)
    U = np.asarray(result.U, dtype=wide.dtype)
    best, projected = np.linalg.norm(s[r:]), np.linalg.norm(T - U @ (U.conj().T @ T))
    low, high = result.optimal_error_bounds()
    assert low <= best + room, (seed, options)
    assert max(best, projected) <= high + room, (seed, options)
    assert np.linalg.norm(U.conj().T @ U - np.eye(r), 2) <= 50 * eps * max(1, r), (seed, options)


def test_no_enclosure_is_violated() -> None:
    for seed in range(500):
        check(seed)


@pytest.mark.slow
def test_no_enclosure_is_violated_in_thousands_of_streams() -> None:
    for seed in range(1000, 5000):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("is_deficient", [False, True], ids=["full", "deficient"])
@pytest.mark.parametrize("method", METHODS)
def test_the_basis_stays_orthonormal_over_many_single_columns(
    method: str, is_deficient: bool
) -> None:
    rng = np.random.default_rng(0)
    B = rng.standard_normal((100, 6 if is_deficient else 30))
    svd = IncrementalSVD(10, n_oversamples=0, method=method)
    for _ in range(3):
        C = B @ rng.standard_normal((B.shape[1], 10_000))
        for column in (C + 1e-3 * rng.standard_normal(C.shape) * (not is_deficient)).T:
            svd.append_columns(column)
        U = svd.result().U
        assert U.shape[1] == (6 if is_deficient else 10)
        assert np.linalg.norm(U.T @ U - np.eye(U.shape[1]), 2) <= 1e-13
