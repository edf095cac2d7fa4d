"""AM-KroSBL, SVD-KroSBL, KSBL and PC-KroSBL with the start, stops and pruning of their authors.

Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery with
application to IRS-MIMO channel estimation", arXiv:2307.14719 (IEEE Trans. Signal Process. 2024).

Expectation maximisation for ``y = (H_1 (x) ... (x) H_I) x + n`` under the prior variances
``gamma_1 (x) ... (x) gamma_I`` of x; the methods differ in how the factors gamma_i are fitted to
the posterior second moments Lambda. Differs from the published scripts in that

1. the posterior mean and variances come from small eigendecompositions by products along the
   modes; the N x N covariance that the scripts form is :func:`covariance_e_step`, kept for timing;
2. the decomposition in SVD-KroSBL is thin;
3. any number of modes and of snapshots is taken.

What the paper's text leaves open is marked "our choice" below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from scipy.optimize import nnls

METHODS = ("am", "svd", "ksbl", "pc")
MAX_SWEEPS = 1000  # of the alternating fit, whose tolerance is absolute: our choice
_TINY = 1e-300
_COUPLING_FLOOR = 1e-5
_COUPLING_SWEEPS = 10
_PRUNE = {"am": 1e-2, "ksbl": 1e-2, "svd": 1e-3, "pc": 1e-2}

_IRS_PRUNE = {"am": (1e-2, 1e-1, 1e-3), "ksbl": (1e-2, 1e-1, 1e-3), "pc": (1e-2, 1e-1, 1e-2)}


def irs_options(method: str, snr_db: float) -> dict[str, Any]:
    """Return the authors' options for the channel example, modes (surface, user, base station).

    They switch the pruning of "svd" by the ratio of signal to noise, which nobody knows.
    """
    if method == "svd":
        return {"prune": 0.0 if snr_db < 25 else 1e-3}
    return {"prune": _IRS_PRUNE[method], "floor": 1e-4, "inner_tol": 1e-4}


@dataclass(frozen=True, eq=False)
class KroSBLAnswer:
    """Posterior mean `coef` on `support`, prior variances on it, noise, evidence a step."""

    coef: np.ndarray = field(repr=False)
    support: list[np.ndarray]
    gamma: list[np.ndarray] = field(repr=False)
    noise_var: float
    evidence: np.ndarray = field(repr=False)
    n_iter: int


def kro_sbl(
    factors: Sequence[np.ndarray],
    y: np.ndarray,
    *,
    noise_var: float | None = None,
    method: str = "am",
    prune: float | Sequence[float] | None = None,
    floor: float = 0.0,
    beta: float = 0.8,
    coupled: Sequence[int] | None = None,
    inner_tol: float = 1e-5,
    tol: float = 1e-4,
    max_iter: int = 150,
) -> KroSBLAnswer:
    """Run one of ``METHODS`` on a tensor ``y`` of shape (M_1, ..., M_I[, L]).

    ``noise_var=None`` estimates the noise from 0.1 var(y) on and halves the default ``prune``
    (1e-2; 1e-3 for "svd"), the share of a mode's largest variance below which an index is
    dropped; ``floor`` is an absolute level beside it. ``coupled`` are the modes that "pc"
    couples: the first and the last by default.
    """
    n_modes, known = len(factors), noise_var is not None
    data = y if y.ndim > n_modes else y[..., None]
    s2 = float(noise_var) if noise_var is not None else 0.1 * float(np.var(y))
    levels = _levels(method, prune, known, n_modes)
    fit = _Fit(method, inner_tol, beta, (0, n_modes - 1) if coupled is None else coupled)
    support = [np.arange(h.shape[1]) for h in factors]
    gamma = fit.start(support)
    evidence: list[float] = []
    for _ in range(max_iter):
        kept = [_kept(g, level, floor) for g, level in zip(gamma, levels, strict=True)]
        support = [s[k] for s, k in zip(support, kept, strict=True)]
        prior = [g[k] for g, k in zip(gamma, kept, strict=True)]
        core = Core([h[:, s] for h, s in zip(factors, support, strict=True)], data, prior, s2)
        evidence.append(core.evidence())
        mean = core.mean()
        second = np.maximum((np.abs(mean) ** 2).mean(-1) + core.variance(), _TINY)
        lost = _square(gamma) - _square(prior)
        gamma = fit(second, prior, support)
        s2 = s2 if known else core.noise_update()
        change = np.sum((_outer(gamma) - _outer(prior)) ** 2) + max(lost, 0.0)
        if change < tol**2 * (_square(prior) + max(lost, 0.0)):
            break
    coef = mean[..., 0] if y.ndim == n_modes else mean
    return KroSBLAnswer(coef, support, prior, core.s2, np.asarray(evidence), len(evidence))


class Core:
    """Posterior under given variances, in the eigenbases of ``H_i Gamma_i H_i^H``."""

    def __init__(
        self, factors: Sequence[np.ndarray], y: np.ndarray, gamma: Sequence[np.ndarray], s2: float
    ) -> None:
        self.gamma, self.s2, self.Z = gamma, s2, y
        self.maps, self.eigenvalues = [], []
        for i, (H, g) in enumerate(zip(factors, gamma, strict=True)):
            values, U = np.linalg.eigh((H * g) @ H.conj().T)
            self.eigenvalues.append(np.maximum(values, 0.0))
            self.maps.append(H.conj().T @ U)
            self.Z = along(self.Z, U.conj().T, i)
        self.signal = _outer(self.eigenvalues)
        self.D = self.signal + s2

    def mean(self) -> np.ndarray:
        """Return the posterior mean, shape (n_1, ..., n_I, L)."""
        x = self.Z / self.D[..., None]
        for i, (K, g) in enumerate(zip(self.maps, self.gamma, strict=True)):
            x = along(x, g[:, None] * K, i)
        return x

    def variance(self) -> np.ndarray:
        """Return the posterior variances by the textbook's difference."""
        share = 1.0 / self.D
        for i, (K, g) in enumerate(zip(self.maps, self.gamma, strict=True)):
            share = along(share, g[:, None] * np.abs(K) ** 2, i)
        return np.maximum(_outer(self.gamma) * (1.0 - share), 0.0)

    def evidence(self) -> float:
        """Return the logarithm of the marginal density of the data."""
        weight, unit = (1.0, 1.0) if np.iscomplexobj(self.Z) else (0.5, 2.0)
        log_det = np.sum(np.log(self.D)) + self.D.size * math.log(unit * math.pi)
        square = np.sum(np.abs(self.Z) ** 2 / self.D[..., None])
        return -weight * float(self.Z.shape[-1] * log_det + square)

    def noise_update(self) -> float:
        """Return ``(|y - H mu|^2 + s2 sum_j (1 - Sigma_jj / gamma_j)) / M``."""
        residual = np.sum(np.abs(self.Z * (self.s2 / self.D)[..., None]) ** 2) / self.Z.shape[-1]
        return float(residual + self.s2 * np.sum(self.signal / self.D)) / self.D.size


def covariance_e_step(
    factors: Sequence[np.ndarray],
    y: np.ndarray,
    gamma: Sequence[np.ndarray],
    s2: float,
    dictionary: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (N,) and variances (N,) as the scripts do, forming the N x N covariance.

    The inverse uses small eigendecompositions, but all their Kronecker products are formed.
    ``dictionary`` is the dense product of the factors, if it is there already.
    """
    A = reduce(np.kron, factors) if dictionary is None else dictionary
    maps, values = [], []
    for H, g in zip(factors, gamma, strict=True):
        w, U = np.linalg.eigh((H * g) @ H.conj().T)
        values.append(w)
        maps.append((g[:, None] * H.conj().T) @ U)
    P = reduce(np.kron, maps)
    covariance = (P / (-s2 - reduce(np.kron, values))) @ P.conj().T
    covariance.flat[:: len(covariance) + 1] += reduce(np.kron, gamma)
    mean = covariance @ (A.conj().T @ y.reshape(-1)) / s2
    return mean, covariance.diagonal().real


class _Fit:
    """The maximisation step: second moments to a new prior."""

    def __init__(self, method: str, tol: float, beta: float, coupled: Sequence[int]) -> None:
        self.method, self.tol, self.beta, self.coupled = method, tol, beta, coupled

    def __call__(
        self, second: np.ndarray, prior: list[np.ndarray], support: list[np.ndarray]
    ) -> list[np.ndarray]:
        if self.method == "svd":
            return rank_one_svd(second)
        if self.method == "pc":
            return self._coupled(second, prior, support)
        sweeps = 1 if self.method == "ksbl" else MAX_SWEEPS
        return alternating(second, prior, self.tol, sweeps)

    def start(self, support: list[np.ndarray]) -> list[np.ndarray]:
        """Return variances 1, coupled where the method couples: our choice."""
        gamma = [np.ones(s.size) for s in support]
        for i in self.coupled if self.method == "pc" else ():
            gamma[i] = _COUPLING_FLOOR + _neighbours(support[i], self.beta) @ gamma[i]
        return gamma

    def _coupled(
        self, second: np.ndarray, prior: list[np.ndarray], support: list[np.ndarray]
    ) -> list[np.ndarray]:
        """Alternate, and project each coupled mode on ``1e-5 + C gamma``, gamma >= 0."""
        gamma = [np.maximum(g, _TINY) for g in prior]
        for _ in range(_COUPLING_SWEEPS):
            before = _outer(gamma)
            for i in range(len(gamma)):
                new = _marginal(second, gamma, i)
                if i < len(gamma) - 1:  # as in AM; scaled before the projection: our choice
                    new = new / np.linalg.norm(new)
                if i in self.coupled:
                    C = _neighbours(support[i], self.beta)
                    new = _COUPLING_FLOOR + C @ nnls(C, new)[0]
                gamma[i] = new
            if np.linalg.norm(_outer(gamma) - before) <= self.tol:
                break
        return gamma


def alternating(
    second: np.ndarray, start: Sequence[np.ndarray], tol: float, max_sweeps: int
) -> list[np.ndarray]:
    """Minimise ``sum_j log gamma_j + Lambda_j / gamma_j`` mode by mode; the last has the scale."""
    gamma = [np.maximum(g, _TINY) for g in start]
    for _ in range(max_sweeps):
        before = _outer(gamma)
        for i in range(len(gamma)):
            new = _marginal(second, gamma, i)
            gamma[i] = new / np.linalg.norm(new) if i < len(gamma) - 1 else new
        if np.linalg.norm(_outer(gamma) - before) <= tol:
            break
    return gamma


def rank_one_svd(second: np.ndarray) -> list[np.ndarray]:
    """Peel off the modes one after the other by leading singular vectors."""
    gamma, rest = [], second
    while rest.ndim > 1:
        U, s, Vh = np.linalg.svd(rest.reshape(rest.shape[0], -1), full_matrices=False)
        gamma.append(np.abs(U[:, 0]))
        rest = np.abs(s[0] * Vh[0]).reshape(rest.shape[1:])
    return [*gamma, rest]


def along(T: np.ndarray, A: np.ndarray, axis: int) -> np.ndarray:
    """Multiply one axis of a tensor by a matrix."""
    return np.moveaxis(np.tensordot(A, T, axes=(1, axis)), 0, axis)


def _marginal(second: np.ndarray, gamma: Sequence[np.ndarray], i: int) -> np.ndarray:
    """Return the mean over the other modes of ``Lambda / gamma``."""
    for k in reversed(range(len(gamma))):
        if k != i:
            second = np.tensordot(second, 1.0 / (gamma[k] * gamma[k].size), axes=(k, 0))
    return np.maximum(second, _TINY)


def _neighbours(support: np.ndarray, beta: float) -> np.ndarray:
    """Return the tridiagonal coupling (1, beta) of the indices that are left: our choice."""
    distance = np.abs(np.subtract.outer(support, support))
    return (distance == 0) + beta * (distance == 1)


def _kept(gamma: np.ndarray, level: float, floor: float) -> np.ndarray:
    """Return which indices stay; the largest always does."""
    kept = (gamma >= level * gamma.max()) & (gamma >= floor)
    return kept if kept.any() else gamma == gamma.max()


def _levels(
    method: str, prune: float | Sequence[float] | None, known: bool, n_modes: int
) -> Sequence[float]:
    """Return the relative pruning level of each mode."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    if prune is None:
        prune = _PRUNE[method] * (1.0 if known else 0.5)
    return [float(prune)] * n_modes if np.ndim(prune) == 0 else list(prune)


def _outer(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the outer product."""
    return reduce(np.multiply.outer, vectors)


def _square(vectors: Sequence[np.ndarray]) -> float:
    """Return the squared norm of the outer product."""
    return math.prod(float(v @ v) for v in vectors)
