"""Designs and counts for tests of how often intervals cover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalgkit.regression import sketched_lstsq


@dataclass(frozen=True)
class Design:
    """A least-squares problem; `x` is its solution, ridge included."""

    A: Any
    b: Any
    alpha: float
    x: Any


def design(name: str, n: int, d: int, k: int, alpha: float, is_complex: bool) -> Design:
    """Return an incoherent design with heavy-tailed noise, or a coherent one with spikes."""
    rng = np.random.default_rng(20230201)

    def draw(*shape: int) -> Any:
        G = rng.standard_normal(shape)
        return G + 1j * rng.standard_normal(shape) if is_complex else G

    if name == "incoherent":
        A = draw(n, d) * np.geomspace(1.0, 1e-3, d)
        b = A @ draw(d, k) + draw(n, k) * np.abs(rng.standard_t(3, (n, k)))
    else:
        A = np.zeros((n, d), dtype=complex if is_complex else float)
        A[:d] = np.eye(d) * (1j if is_complex else 1.0)
        b = A @ draw(d, k)
        b[rng.choice(np.arange(d, n), size=12, replace=False)] += draw(12, k)
    below = np.concatenate([A, np.sqrt(alpha) * np.eye(d)])
    x = np.linalg.lstsq(below, np.concatenate([b, np.zeros((d, k))]))[0]
    return Design(A, b, alpha, x)


def results(problem: Design, kind: str, m: int, runs: int) -> Iterator[Any]:
    """Yield the results of sketches with the seeds 0, 1, ..."""
    for seed in range(runs):
        yield sketched_lstsq(problem.A, problem.b, m=m, sketch=kind, alpha=problem.alpha, rng=seed)


def covered(ends: tuple[Any, Any], x: Any) -> Any:
    """Return which intervals hold the entries of `x`, real and imaginary parts apart."""
    lower, upper = ends
    inside = (np.real(lower) <= np.real(x)) & (np.real(x) <= np.real(upper))
    if not np.iscomplexobj(x):
        return inside
    return np.stack([inside, (np.imag(lower) <= np.imag(x)) & (np.imag(x) <= np.imag(upper))])
