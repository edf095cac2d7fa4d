"""Kronecker sparse Bayesian learning by dense matrices, which the fast formulas are held against.

Everything is formed, in extended precision where the platform has it: for a few dozen numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from linalgkit._core.array import to_numpy
from linalgkit.bayes._model import Model, prepare
from linalgkit.bayes._modes import kronecker_data


def draw(rng: Any, *shape: int, is_complex: bool) -> Any:
    G = rng.standard_normal(shape)
    return G + 1j * rng.standard_normal(shape) if is_complex else G


def extended(A: Any) -> Any:
    A = np.asarray(A)
    return A.astype(np.clongdouble if A.dtype.kind == "c" else np.longdouble)


def cholesky(S: Any) -> Any:
    """The lower factor, by columns, in whatever precision `S` has."""
    L = S.copy()
    for k in range(L.shape[0]):
        L[k, k] = np.sqrt(L[k, k].real)
        L[k + 1 :, k] /= L[k, k]
        L[k + 1 :, k + 1 :] -= np.outer(L[k + 1 :, k], L[k + 1 :, k].conj())
        L[k, k + 1 :] = 0
    return L


def forward(L: Any, B: Any) -> Any:
    """``L^-1 B``."""
    X = B.astype(np.result_type(L, B))
    for k in range(L.shape[0]):
        X[k] = (X[k] - L[k, :k] @ X[:k]) / L[k, k]
    return X


def outer(vectors: Any) -> Any:
    return reduce(np.multiply.outer, vectors)


@dataclass(frozen=True, eq=False)
class Dense:
    """One point of the landscape: `Y` is (M, L), variances are those of the columns."""

    factors: tuple[Any, ...]
    Y: Any
    variances: list[Any]
    noise: float

    @classmethod
    def of(cls, model: Model, variances: Any, noise: float) -> Dense:
        Y = to_numpy(model.Y)
        Y = extended(Y.reshape(-1, Y.shape[-1]))
        return cls(tuple(map(extended, model.factors)), Y, list(map(extended, variances)), noise)

    @property
    def kappa(self) -> float:
        return 1.0 if self.Y.dtype.kind == "c" else 0.5

    @cached_property
    def H(self) -> Any:
        return reduce(np.kron, self.factors)

    @cached_property
    def signal(self) -> Any:
        return (self.H * outer(self.variances).ravel()) @ self.H.conj().T

    @cached_property
    def root(self) -> Any:
        S = self.signal + self.noise * np.eye(self.Y.shape[0], dtype=np.longdouble)
        return cholesky(S.astype(np.result_type(S, self.Y)))

    @cached_property
    def inverse(self) -> Any:
        X = forward(self.root, np.eye(self.Y.shape[0], dtype=self.root.dtype))
        return X.conj().T @ X

    @cached_property
    def evidence(self) -> float:
        M, L = self.Y.shape
        log_det = 2 * np.sum(np.log(np.diag(self.root).real))
        quadratic = np.sum(np.abs(forward(self.root, self.Y)) ** 2)
        unit = math.log(math.pi / self.kappa)
        return float(-self.kappa * (L * (M * unit + log_det) + quadratic))

    def with_variance(self, i: int, j: int, value: float) -> Dense:
        changed = [v.copy() for v in self.variances]
        changed[i][j] = value
        return replace(self, variances=changed)

    def derivatives(self, i: int) -> tuple[Any, Any]:
        """``tr(Y^H S^-1 S' S^-1 Y) / L`` and ``tr(S^-1 S')``, S' the derivative of S."""
        q = np.sum(np.abs(self.H.conj().T @ (self.inverse @ self.Y)) ** 2, axis=1)
        s = np.sum((self.H.conj() * (self.inverse @ self.H)).real, axis=0)
        widths = tuple(len(v) for v in self.variances)
        ones = [np.ones_like(v) if k == i else v for k, v in enumerate(self.variances)]
        others = tuple(k for k in range(len(widths)) if k != i)
        A, B = ((outer(ones) * x.reshape(widths)).sum(axis=others) for x in (q, s))
        return A / self.Y.shape[1], B

    def noise_sums(self) -> tuple[float, float, float]:
        """Residual of the mean a snapshot, degrees of freedom of the signal, trace of S^-1."""
        residual = self.Y - self.signal @ (self.inverse @ self.Y)
        size = float(np.sum(np.abs(residual) ** 2)) / self.Y.shape[1]
        used = float(np.trace(self.signal @ self.inverse).real)
        return size, used, float(np.trace(self.inverse).real)


# --------------------------------------------------------------------------------- problems


def model_of(factors: Any, y: Any) -> Model:
    return prepare(kronecker_data(factors, y)).model


def random_problem(
    rng: Any,
    sizes: Any,
    widths: Any,
    *,
    snapshots: int = 1,
    is_complex: bool = False,
    noise: float = 1e-2,
    decades: float = 2.0,
    zeros: float = 0.3,
) -> tuple[Model, list[Any]]:
    """A model with data drawn from it, and variances with zeros among them."""
    factors = [draw(rng, m, n, is_complex=is_complex) for m, n in zip(sizes, widths, strict=True)]
    variances = []
    for n in widths:
        v = 10 ** rng.uniform(-decades, 0, n)
        v[(rng.random(n) < zeros) & (np.arange(n) > 0)] = 0.0
        variances.append(v)
    X = draw(rng, *widths, snapshots, is_complex=is_complex) * np.sqrt(outer(variances))[..., None]
    for axis, H in enumerate(factors):
        X = np.moveaxis(np.tensordot(H, X, (1, axis)), 0, axis)
    y = X + math.sqrt(noise) * draw(rng, *sizes, snapshots, is_complex=is_complex)
    return model_of(factors, y), variances
