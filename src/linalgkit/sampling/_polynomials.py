"""Elementary symmetric polynomials in log space, and the choice of eigenvectors by them.

A k-DPP chooses `k` eigenvectors with probability ``prod lam / e_k(lam)``, going through them from
the last to the first::

    table, log_total = selection_table(log_values, k)      # once for each k
    chosen = select(table, rng.random(r))                  # once for each sample

The polynomials themselves leave the range of floating-point numbers for a few hundred eigenvalues;
their logarithms do not, and the recursion adds positive terms only.
"""

from __future__ import annotations

from linalgkit._core.array import numpy_namespace
from linalgkit._core.random import HostArray

_HOST = numpy_namespace()


def log_elementary(log_values: HostArray, k: int) -> HostArray:
    """Return the logarithms of all elementary symmetric polynomials up to degree `k`.

    Parameters
    ----------
    log_values : float64 array (r,)
        Logarithms of positive numbers.
    k : int
        Largest degree.

    Returns
    -------
    float64 array (r + 1, k + 1)
        ``log e_j`` of the first `i` numbers in row `i`; ``-inf`` for ``j > i``.
    """
    r = log_values.shape[0]
    table: HostArray = _HOST.full((r + 1, k + 1), -_HOST.inf)
    table[:, 0] = 0.0
    for i in range(r):
        table[i + 1, 1:] = _HOST.logaddexp(table[i, 1:], log_values[i] + table[i, :-1])
    return table


# Kulesza and Taskar 2012, Algorithms 7 and 8. Differs from them:
# 1. Everything is in logarithms, of numbers divided by their largest, which changes no choice.
# 2. What is kept are the probabilities of the choices, so that a sample takes no logarithms.
def selection_table(log_values: HostArray, k: int) -> tuple[HostArray, float]:
    """Return the probabilities by which numbers are chosen, and ``log e_k``.

    Parameters
    ----------
    log_values : float64 array (r,)
        Logarithms of positive numbers.
    k : int
        How many are to be chosen, at most `r`.

    Returns
    -------
    table : float64 array (r, k + 1)
        Entry (i, j): probability that number `i` is chosen if `j` of the first ``i + 1`` are.
    log_total : float
        Logarithm of the sum of the products of all subsets of size `k`.
    """
    r = log_values.shape[0]
    unit = float(_HOST.max(log_values)) if r else 0.0
    scaled = log_values - unit
    logs = log_elementary(scaled, k)
    table = _HOST.zeros((r, k + 1))
    taken = scaled[:, None] + logs[:-1, :-1]
    possible = taken > -_HOST.inf
    table[:, 1:][possible] = _HOST.exp(taken[possible] - logs[1:, 1:][possible])
    return table, float(logs[r, k]) + k * unit


def select(table: HostArray, uniforms: HostArray) -> list[int]:
    """Return the chosen numbers in descending order, as many as the table has columns, less one.

    Parameters
    ----------
    table : float64 array (r, k + 1)
        From :func:`selection_table`.
    uniforms : float64 array (r,)
        Uniform numbers in [0, 1).
    """
    left, chosen, levels = table.shape[1] - 1, [], uniforms.tolist()
    for i in range(table.shape[0] - 1, -1, -1):
        if left == 0:
            break
        # Where as many are left as are to be chosen, each is, whatever rounding says.
        if left > i or levels[i] < table.item(i, left):
            chosen.append(i)
            left -= 1
    return chosen


def selection_probabilities(table: HostArray) -> HostArray:
    """Return the probability of each number to be among the chosen ones.

    Parameters
    ----------
    table : float64 array (r, k + 1)
        From :func:`selection_table`.

    Returns
    -------
    float64 array (r,)
        Their sum is `k`.
    """
    r, columns = table.shape
    left = _HOST.zeros(columns)  # law of how many are still to be chosen
    left[-1] = 1.0
    chosen: HostArray = _HOST.zeros(r)
    for i in range(r - 1, -1, -1):
        moved = left * table[i, :]
        chosen[i] = float(_HOST.sum(moved))
        left -= moved
        left[:-1] += moved[1:]
    return chosen
