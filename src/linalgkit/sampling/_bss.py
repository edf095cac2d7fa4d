"""Deterministic choice of few points with new weights, by barrier potentials."""

from __future__ import annotations

import math
from typing import Any

import scipy.linalg

from linalgkit._core.array import numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.validation import check_float
from linalgkit.sampling._subsample import Subsample, checked_rows

_HOST = numpy_namespace()


@capability(
    "sampling.bss_subsample",
    notes="The work is done on the host in double precision, whatever the library.",
    synchronisations={"call": 2},
)
def bss_subsample(A: Any, b: float, *, weights: Any = None) -> Subsample:
    """Choose at most ``ceil(b m)`` points with new weights and a proven condition number.

    Parameters
    ----------
    A : array (n, m)
        Rows of a basis at the points, without weights, of full column rank; ``n >= m``.
    b : float
        Points kept per function, greater than 1.
    weights : array (n,), optional
        Positive weights of the start; all 1, in the widest dtype of the device, by default. The
        new weights have their precision.

    Returns
    -------
    Subsample
        Indices and new weights of the points chosen, their Gram matrix and its extreme
        eigenvalues.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind, or arrays are of two libraries.
    ValueError
        If `b` is not greater than 1, there are fewer points than functions, shapes do not fit,
        `A` or `weights` hold NaN or infinity, a weight is not positive, or the weighted rows are
        of deficient rank.

    See Also
    --------
    greedy_subsample : fewer points in practice, weights unchanged, no proven number.

    Notes
    -----
    Let ``G0 = (1/n) sum_i w_i a_i^H a_i`` be the Gram matrix of the start, ``G`` that of the `k`
    points chosen with their new weights, and ``kappa = ((sqrt b + 1) / (sqrt b - 1))^2``
    (:func:`linalgkit.sampling.theory.bss_bound`). Then, by Theorem 3.1 of [1]_, for every start
    with positive definite ``G0``, there is an ``alpha`` in ``[1 / kappa, 1]`` with

        alpha G0 <= G <= kappa alpha G0     and     trace(G0^-1 G) = m.

    So ``lmin >= lmin(G0) / kappa``, ``lmax <= kappa lmax(G0)`` and ``lmax / lmin <= kappa
    lmax(G0) / lmin(G0)``; for ``G0 = I`` the ratio is at most `kappa` and the trace is `m`. The
    weights are those of this scale. Choice and weights depend on the input alone; no random
    number is drawn.

    ``ceil(b m)`` steps each take the point with most room between the two barriers, after a
    whitening by the Cholesky factor of ``G0`` (by the triangular factor of the weighted rows):
    ``2 b n m^3`` operations. A point chosen twice counts once, with the sum of its weights. Where
    ``ceil(b m) >= n``, all points are kept with their weights.

    Storage: five copies of `A` in double precision on the host.

    References
    ----------
    .. [1] J. Batson, D. A. Spielman, N. Srivastava, "Twice-Ramanujan sparsifiers", SIAM J.
       Comput. 41 (2012), arXiv:0808.0163.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.sampling import bss_subsample
    >>> rng = np.random.default_rng(0)
    >>> A = np.linalg.qr(rng.standard_normal((200, 10)))[0] * np.sqrt(200)
    >>> kept = bss_subsample(A, 2.0)
    >>> len(kept) <= 20, bool(kept.lmax / kept.lmin <= ((2**0.5 + 1) / (2**0.5 - 1)) ** 2)
    (True, True)
    """
    b = check_float("b", b, 1, low_open=True)
    rows = checked_rows(A, weights)
    n, m = rows.A.shape
    V = _whitened(rows.A, rows.weights)
    if b * m > n - 1:
        return rows.kept(_HOST.arange(n), rows.weights, "bound")
    factors = _chosen(V, math.ceil(b * m))
    kept = _HOST.flatnonzero(factors > 0)
    # Trace m: the mean eigenvalue of the chosen rows, whitened, is 1 as that of all rows is.
    traces = _HOST.sum(_HOST.abs(V[kept, :]) ** 2, axis=1)
    scale = m / float(factors[kept] @ traces)
    new = factors[kept] * rows.weights[kept] * (scale * kept.shape[0] / n)
    return rows.kept(kept, new, "bound")


def _whitened(A: Any, weights: Any) -> Any:
    """Return weighted rows with orthonormal columns."""
    n, m = A.shape
    exponent = math.frexp(float(_HOST.max(_HOST.abs(A))))[1]
    B = A * 2.0**-exponent * _HOST.sqrt(weights / float(_HOST.max(weights)))[:, None]
    Q, R, _ = scipy.linalg.qr(B, mode="economic", pivoting=True, check_finite=False)
    diagonal = _HOST.abs(_HOST.diagonal(R))
    rank = int(_HOST.sum(diagonal > n * 2.0**-52 * diagonal[0]))
    if rank < m:
        raise ValueError(
            f"A must have full column rank after weighting, got rank {rank} for {m} columns. "
            "Remove columns that depend on others, or add points."
        )
    return Q


# J. Batson, D. A. Spielman, N. Srivastava, "Twice-Ramanujan sparsifiers", proof of Theorem 3.1.
# Differs from it:
# 1. Of all rows that fit between the barriers the one with most room is taken.
# 2. b is raised to steps / m, so that the number of steps is an integer.
# 3. Potentials are evaluated in the eigenbasis of the sum so far.
def _chosen(V: Any, steps: int) -> Any:
    """Return factors (n,) of rows with ``V^H V = I``, at most `steps` of them positive."""
    n, m = V.shape
    root = math.sqrt(steps / m)
    rise_low, rise_high = 1.0, (root + 1) / (root - 1)
    low, high = -m * root, m * (root * root + root) / (root - 1)
    factors, total = _HOST.zeros(n), _HOST.zeros((m, m), dtype=V.dtype)
    for _ in range(steps):
        values, U = _HOST.linalg.eigh(total)
        for_low = _barrier(values - low, values - low - rise_low)
        for_high = _barrier(high - values, high - values + rise_high)
        squares = _HOST.abs(V @ U) ** 2
        room = squares @ _HOST.stack([for_low, for_high], axis=1)
        best = int(_HOST.argmax(room[:, 0] - room[:, 1]))
        factor = 2.0 / float(room[best, 0] + room[best, 1])
        factors[best] += factor
        row = V[best : best + 1, :]
        total = total + factor * (_HOST.conj(row.T) @ row)
        low, high = low + rise_low, high + rise_high
    return factors


def _barrier(before: Any, after: Any) -> Any:
    """Return weights of squared coordinates that sum up to what a barrier allows of a row.

    `before` and `after` are the distances of the eigenvalues from the barrier before and after
    it moves. The lower barrier comes nearer (its potential grows, a positive term less the
    response), the upper one goes away (it loses potential, the response is added).
    """
    change = abs(float(_HOST.sum(1 / after - 1 / before)))
    sign = -1.0 if float(after[0]) < float(before[0]) else 1.0
    return 1 / (after * after * change) + sign / after
