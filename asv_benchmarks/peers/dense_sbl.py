"""Classical sparse Bayesian learning with a dense matrix: one Cholesky decomposition a step.

M. E. Tipping, "Sparse Bayesian learning and the relevance vector machine", J. Mach. Learn. Res. 1,
211-244 (2001); D. P. Wipf, B. D. Rao, "Sparse Bayesian learning for basis selection", IEEE Trans.
Signal Process. 52(8), 2153-2164 (2004).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cholesky, solve_triangular


@dataclass(frozen=True, eq=False)
class DenseSBLAnswer:
    """Posterior mean `coef` on `support`, prior variances on it, noise, evidence a step."""

    coef: np.ndarray = field(repr=False)
    support: np.ndarray = field(repr=False)
    gamma: np.ndarray = field(repr=False)
    noise_var: float
    evidence: np.ndarray = field(repr=False)
    n_iter: int


def dense_sbl(
    A: np.ndarray,
    y: np.ndarray,
    *,
    noise_var: float | None = None,
    update: str = "em",
    prune: float = 1e-3,
    tol: float = 1e-4,
    max_iter: int = 150,
) -> DenseSBLAnswer:
    """Fit ``y (M,) or (M, L)`` by ``A x``, x ~ N(0, diag(gamma)) with gamma unknown, from 1 on.

    ``update`` is "em" (monotone) or "mackay" (fixed point). Indices whose variance falls below
    the share ``prune`` of the largest are dropped. It stops once gamma changes by less than
    ``tol``, relatively. ``noise_var=None`` estimates the noise from 0.1 var(y) on.
    """
    if update not in ("em", "mackay"):
        raise ValueError(f"update must be 'em' or 'mackay', got {update!r}.")
    data = y if y.ndim == 2 else y[:, None]
    s2 = float(noise_var) if noise_var is not None else 0.1 * float(np.var(y))
    support, gamma = np.arange(A.shape[1]), np.ones(A.shape[1])
    columns: np.ndarray | None = None
    evidence: list[float] = []
    for _ in range(max_iter):
        kept = gamma >= prune * gamma.max()
        lost = float(np.sum(gamma[~kept] ** 2))
        if columns is None or not kept.all():
            support, gamma = support[kept], gamma[kept]
            columns = A[:, support]
            gram = columns.conj().T @ columns if support.size < A.shape[0] else None
        prior, used = gamma, s2
        step = _few_columns if gram is not None else _many_columns
        mean, share, log_det, square = step(columns, gram, data, prior, s2)
        evidence.append(_evidence(data, log_det, square))
        power = np.mean(np.abs(mean) ** 2, axis=1)
        gamma = power + prior * (1 - share) if update == "em" else power / np.maximum(share, 1e-15)
        if noise_var is None:
            residual = float(np.linalg.norm(data - columns @ mean)) ** 2 / data.shape[1]
            s2 = (residual + s2 * float(np.sum(share))) / data.shape[0]
        if np.sum((gamma - prior) ** 2) + lost < tol**2 * (np.sum(prior**2) + lost):
            break
    coef = mean if y.ndim == 2 else mean[:, 0]
    return DenseSBLAnswer(coef, support, prior, used, np.asarray(evidence), len(evidence))


def _many_columns(
    A: np.ndarray, gram: np.ndarray | None, y: np.ndarray, gamma: np.ndarray, s2: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return mean, 1 - Sigma_jj / gamma_j, log determinant and quadratic form, M x M."""
    S = (A * gamma) @ A.conj().T
    S.flat[:: len(S) + 1] += s2
    L = cholesky(S, lower=True, overwrite_a=True, check_finite=False)
    B = solve_triangular(L, A, lower=True, check_finite=False)
    z = solve_triangular(L, y, lower=True, check_finite=False)
    share = gamma * np.sum(np.abs(B) ** 2, axis=0)
    log_det = 2 * float(np.sum(np.log(L.diagonal().real)))
    return gamma[:, None] * (B.conj().T @ z), share, log_det, float(np.linalg.norm(z)) ** 2


def _few_columns(
    A: np.ndarray, gram: np.ndarray | None, y: np.ndarray, gamma: np.ndarray, s2: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return the same from the n x n matrix ``s2 I + Gamma^1/2 A^H A Gamma^1/2``."""
    root = np.sqrt(gamma)
    G = root[:, None] * gram * root
    G.flat[:: len(G) + 1] += s2
    L = cholesky(G, lower=True, overwrite_a=True, check_finite=False)
    inverse = solve_triangular(L, np.eye(len(L), dtype=L.dtype), lower=True, check_finite=False)
    z = inverse @ (root[:, None] * (A.conj().T @ y))
    share = 1 - s2 * np.sum(np.abs(inverse) ** 2, axis=0)
    log_det = 2 * float(np.sum(np.log(L.diagonal().real))) + (len(A) - len(L)) * np.log(s2)
    square = (float(np.linalg.norm(y)) ** 2 - float(np.linalg.norm(z)) ** 2) / s2
    return root[:, None] * (inverse.conj().T @ z), share, log_det, square


def _evidence(y: np.ndarray, log_det: float, square: float) -> float:
    """Return the logarithm of the marginal density of the data."""
    weight, unit = (1.0, 1.0) if np.iscomplexobj(y) else (0.5, 2.0)
    m, n_snapshots = y.shape
    return -weight * (n_snapshots * (m * float(np.log(unit * np.pi)) + log_det) + square)
