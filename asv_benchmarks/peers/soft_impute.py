"""Soft-Impute: nuclear-norm completion by repeated soft-thresholded singular value decompositions.

R. Mazumder, T. Hastie, R. Tibshirani, "Spectral regularization algorithms for learning large
incomplete matrices", J. Mach. Learn. Res. 11, 2287-2322 (2010), Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def soft_threshold(X: np.ndarray, lam: float) -> np.ndarray:
    """Return S_lam(X): the singular values less ``lam``, none below zero (Lemma 1)."""
    U, s, Vh = np.linalg.svd(X, full_matrices=False)
    return (U * np.maximum(s - lam, 0.0)) @ Vh


def soft_impute(
    X: np.ndarray,
    lam: float,
    *,
    start: np.ndarray | None = None,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> np.ndarray:
    """Minimise ``0.5 |P(X - Z)|_F^2 + lam |Z|_*`` over Z, P the entries of X that are not NaN.

    ``tol`` is the relative change ``|Z_new - Z|_F^2 / |Z|_F^2`` at which the iteration ends.
    """
    missing = np.isnan(X)
    Z = np.zeros_like(X) if start is None else start
    for _ in range(max_iter):
        new = soft_threshold(np.where(missing, Z, X), lam)
        change, size = np.linalg.norm(new - Z) ** 2, np.linalg.norm(Z) ** 2
        Z = new
        if change < tol * size:
            break
    return Z


def soft_impute_path(
    X: np.ndarray, n_values: int = 15, *, share: float = 0.1, rng: int = 0
) -> tuple[np.ndarray, float]:
    """Return the completion whose ``lam`` is best on entries held out, and that ``lam``.

    As the authors do: a path of falling values with warm starts, then a fit to all entries. The
    mean of the observed entries is taken off first.
    """
    mean = float(np.nanmean(X))
    X = X - mean
    seen = np.flatnonzero(~np.isnan(X))
    held = np.random.default_rng(rng).choice(seen, round(share * seen.size), replace=False)
    train = X.copy()
    train.flat[held] = np.nan
    values = _path(X, n_values)
    errors, Z = [], None
    for lam in values:
        Z = soft_impute(train, lam, start=Z)
        errors.append(float(np.mean((Z.flat[held] - X.flat[held]) ** 2)))
    best = int(np.argmin(errors))
    Z = None
    for lam in values[: best + 1]:
        Z = soft_impute(X, lam, start=Z)
    return Z + mean, float(values[best])


def _path(X: np.ndarray, n_values: int) -> Sequence[float]:
    """Return falling values from the smallest one whose answer is zero."""
    largest = np.linalg.norm(np.nan_to_num(X), 2)
    return np.geomspace(largest, 0.02 * largest, n_values)
