"""Exact laws of random subsets, and tests of counts against them.

A law is a dict from sorted tuples of indices to probabilities. Tests take COUNTS: normalised
frequencies make the statistics too small by the number of draws, and any sampler passes.
Every test of law needs a negative control, such as :func:`uniform_subsets` or
:func:`independent_draws`, that must fail.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import scipy.stats

LEVEL = 1e-4  # a p-value below it is a failure
CONTROL = 1e-9  # a negative control must fall below it
_LEAST_EXPECTED = 5.0

Law = Mapping[tuple[int, ...], float]


# ------------------------------------------------------------------------------- exact laws


def subsets(n: int, k: int | None = None) -> list[tuple[int, ...]]:
    """Return all subsets of ``range(n)``, or those of size `k`, each sorted."""
    sizes = range(n + 1) if k is None else (k,)
    return [s for size in sizes for s in itertools.combinations(range(n), size)]


def _minor(K: np.ndarray, s: tuple[int, ...]) -> float:
    return float(np.real(np.linalg.det(K[np.ix_(s, s)]))) if s else 1.0


def projection_law(X: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return ``P(S) ~ |det X_S|^2`` over the subsets of as many rows as `X` has columns."""
    return normalised({s: abs(np.linalg.det(X[list(s)])) ** 2 for s in subsets(*X.shape)})


def volume_law(X: np.ndarray, k: int) -> dict[tuple[int, ...], float]:
    """Return ``P(S) ~ det(X_S^H X_S)`` over the subsets of `k` rows."""
    weights = {}
    for s in subsets(X.shape[0], k):
        rows = X[list(s)]
        weights[s] = float(np.real(np.linalg.det(rows.conj().T @ rows)))
    return normalised(weights)


def ensemble_law(L: np.ndarray, k: int | None = None) -> dict[tuple[int, ...], float]:
    """Return ``P(S) ~ det L_SS`` over all subsets, or those of size `k`."""
    return normalised({s: _minor(L, s) for s in subsets(L.shape[0], k)})


def marginal_law(K: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return ``P(S) = |det(K - I outside S)|`` over all subsets (eigenvalues in [0, 1])."""
    n = K.shape[0]
    law = {}
    for s in subsets(n):
        outside = np.ones(n)
        outside[list(s)] = 0
        law[s] = abs(float(np.real(np.linalg.det(K - np.diag(outside)))))
    return normalised(law)


def conditional_law(
    law: Law, include: Iterable[int] = (), exclude: Iterable[int] = ()
) -> dict[tuple[int, ...], float]:
    """Return a law given that some items are in the subset and others are not."""
    wanted, unwanted = set(include), set(exclude)
    return normalised(
        {s: p if wanted <= set(s) and not unwanted & set(s) else 0.0 for s, p in law.items()}
    )


def normalised(weights: Law) -> dict[tuple[int, ...], float]:
    """Return weights divided by their sum; rounding errors below zero become zero."""
    clipped = {s: max(0.0, w) for s, w in weights.items()}
    total = sum(clipped.values())
    return {s: w / total for s, w in clipped.items()}


def indicators(cells: Iterable[tuple[int, ...]], n: int) -> np.ndarray:
    """Return the matrix whose rows are the indicator vectors of subsets."""
    cells = list(cells)
    table = np.zeros((len(cells), n))
    for row, s in zip(table, cells, strict=True):
        row[list(s)] = 1
    return table


def moments(law: Law, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the indicator vector of a subset of that law."""
    table, p = indicators(law, n), np.array(list(law.values()))
    mean = p @ table
    return mean, (table * p[:, None]).T @ table - np.outer(mean, mean)


def kernel_moments(K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the indicators of a determinantal process of kernel `K`."""
    diagonal = np.real(np.diag(K))
    return diagonal, np.diag(diagonal) - np.abs(K) ** 2


# ------------------------------------------------------------------------------ tests of law


def as_cells(samples: Iterable[Iterable[int]]) -> list[tuple[int, ...]]:
    """Return samples as sorted tuples of Python ints; a repeated index stays, and is no cell."""
    return [tuple(sorted(int(i) for i in s)) for s in samples]


def chi_square(samples: Iterable[Iterable[int]], law: Law) -> float:
    """Return the p-value of the chi-square test of counts of whole subsets.

    Cells of fewer than five expected draws are merged, the rarest first. A subset of probability
    zero (to 1e-12), or one that is no cell, makes the p-value zero.
    """
    counts = Counter(as_cells(samples))
    total = sum(counts.values())
    if any(law.get(s, 0.0) <= 1e-12 for s in counts):
        return 0.0
    cells = sorted((s for s, p in law.items() if p > 1e-12), key=law.__getitem__)
    expected = np.array([total * law[s] for s in cells])
    observed = np.array([float(counts[s]) for s in cells])
    expected, observed = _merged(expected, observed)
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    return float(scipy.stats.chi2.sf(statistic, len(expected) - 1)) if len(expected) > 1 else 1.0


def _merged(expected: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge cells, ascending in expectation, until each expects enough draws."""
    starts, filled = [0], 0.0
    for i, e in enumerate(expected):
        if filled >= _LEAST_EXPECTED:
            starts.append(i)
            filled = 0.0
        filled += e
    if filled < _LEAST_EXPECTED and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(expected, starts), np.add.reduceat(observed, starts)


def wald(
    samples: Iterable[Iterable[int]], mean: np.ndarray, covariance: np.ndarray, tol: float = 1e-9
) -> float:
    """Return the p-value of the Wald test of inclusion counts with their exact covariance.

    It compares means, in units of the exact covariance: a control must have other means.
    Directions without variance (the size of a projection process) must be met exactly; else the
    p-value is zero.
    """
    table = indicators(as_cells(samples), len(mean))
    return wald_statistics(table, mean, covariance, tol)


def wald_statistics(
    values: np.ndarray, mean: np.ndarray, covariance: np.ndarray, tol: float = 1e-9
) -> float:
    """Return the p-value of the Wald test of sums of vectors, one a row, of known moments."""
    count = values.shape[0]
    w, V = np.linalg.eigh(covariance)
    deviation = V.T @ (values.sum(axis=0) - count * np.asarray(mean))
    random = w > tol * max(w[-1], 1e-300)
    if np.any(np.abs(deviation[~random]) > 1e-6 * count):
        return 0.0
    statistic = float(np.sum(deviation[random] ** 2 / (count * w[random])))
    return float(scipy.stats.chi2.sf(statistic, int(random.sum())))


def pair_p_value(samples: Iterable[Iterable[int]], i: int, j: int, probability: float) -> float:
    """Return the p-value of the exact binomial test of the number of draws with `i` and `j`."""
    cells = as_cells(samples)
    hits = sum(i in s and j in s for s in cells)
    return float(scipy.stats.binomtest(hits, len(cells), probability).pvalue)


def variance_p_value(
    samples: Iterable[Iterable[int]], g: np.ndarray, covariance: np.ndarray
) -> float:
    """Return the p-value for the variance of ``sum_{i in S} g_i``, whose exact value is known.

    This is what tells repulsion from independence where inclusion probabilities agree: the test
    of :func:`wald` looks at means alone. Both tails, by the central limit theorem for squares
    with their estimated fourth moment.
    """
    table = indicators(as_cells(samples), len(g))
    values = table @ np.asarray(g)
    squares = (values - values.mean()) ** 2
    excess = squares.mean() - float(g @ covariance @ g)
    deviation = squares.std() / np.sqrt(len(squares))
    if deviation == 0:
        return float(abs(excess) < 1e-9)
    return float(2 * scipy.stats.norm.sf(abs(excess) / deviation))


# ------------------------------------------------------------------------- negative controls


def uniform_subsets(
    n: int, sizes: Iterable[int], rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return uniform subsets without repetition, one of each size asked for."""
    return as_cells(rng.choice(n, size=int(k), replace=False) for k in sizes)


def independent_draws(
    probabilities: np.ndarray, k: int, count: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return draws of `k` different items, one after the other with given probabilities.

    With leverage scores this is what is often taken for a determinantal process: inclusion
    probabilities nearly right, repulsion missing.
    """
    p = np.asarray(probabilities, dtype=float) / np.sum(probabilities)
    return as_cells(rng.choice(len(p), size=k, replace=False, p=p) for _ in range(count))


def independent_items(
    probabilities: np.ndarray, count: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return subsets that hold every item independently with its own probability."""
    hits = rng.random((count, len(probabilities))) < np.asarray(probabilities)
    return [tuple(int(i) for i in np.flatnonzero(row)) for row in hits]
