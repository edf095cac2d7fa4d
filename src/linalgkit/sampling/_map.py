"""The likeliest subset of a determinantal point process, greedily: pivoted Cholesky on rows.

::

    found = map_dpp(X, 20)          # rows that span much volume
    found.indices, found.log_det    # in greedy order, log det(X_S X_S^H)
    found.bound - found.log_det     # no subset of this size is better by more
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    adjoint,
    asarray,
    device,
    eps,
    index_dtype,
    is_complex,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_float,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.random import HostArray
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent
from linalgkit._core.validation import check_array_2d, check_finite_block, check_int
from linalgkit.sampling._whitening import Rows

_HOST = numpy_namespace()
_LARGEST_SPECTRUM = 1024  # beyond, the bound is Hadamard's alone
_TIES = 4  # roundoffs of the largest norm since norms were computed anew


@dataclass(frozen=True)
class MapResult:
    """A subset of large likelihood, and how good it is.

    Attributes
    ----------
    indices : integer array (k,)
        Rows in the order in which they were taken: the first `j` are the answer for `j`.
    gains : array (k,)
        By how much each one raised ``log det(X_S X_S^H)``, in the widest real dtype; descending
        up to rounding.
    log_det : float
        Their sum.
    bound : float
        No `k` rows have a larger ``log det(X_S X_S^H)``, up to rounding.
    """

    indices: Array = field(repr=False)
    gains: Array = field(repr=False)
    log_det: float
    bound: float

    @property
    def gap(self) -> float:
        """By how much the logarithm of the best determinant can exceed `log_det` at most."""
        return max(0.0, self.bound - self.log_det)


@capability("sampling.map_dpp", synchronisations={"call": 6, "item": 3})
def map_dpp(X: Array, k: int) -> MapResult:
    """Return `k` rows of large volume: a greedy maximiser of ``det(X_S X_S^H)``.

    Parameters
    ----------
    X : array (n, d)
        Real or complex, one row an item; the kernel is ``X X^H``.
    k : int
        How many rows, at most the numerical rank of `X`.

    Returns
    -------
    MapResult
        Indices in greedy order, gains, the logarithm of the determinant, and a bound on the best
        one.

    Raises
    ------
    TypeError
        If `X` is no dense numeric array or `k` no integer.
    ValueError
        If `X` is not 2-D, empty, or holds NaN or infinity, or if `k` is not between 1 and the
        numerical rank (which is named).

    Notes
    -----
    Each step takes the row that is farthest from the span of those taken before; of rows that are
    equally far to rounding, the first. This is Cholesky's factorisation of ``X X^H`` with pivoting
    [1]_, without the kernel. The new direction is orthogonalised twice. Squared distances are
    downdated, and computed anew where the largest has fallen by the square root of the roundoff, so
    that they keep half of their digits at least. Rows nearer than ``max(n, d) eps`` times the
    largest norm count as dependent. Flops ``2 n k d``.

    The greedy volume is at least ``1 / k!`` of the best one [1]_. What is reported instead is a
    bound from the data: the squared volume of `k` rows is at most the product of the `k` largest
    eigenvalues of ``X^H X`` (interlacing), and of the `k` largest squared norms of rows
    (Hadamard); the smaller one of the two. The former takes ``2 n d min(n, d)`` flops and is left
    out where ``min(n, d) > 1024``.

    One synchronisation for each row taken. Storage: ``6 n + k d`` numbers, ``min(n, d)^2`` for the
    bound, blocks of 4 MiB; a scaled copy of `X` where squares of its entries would leave the range
    of the dtype.

    References
    ----------
    .. [1] A. Civril, M. Magdon-Ismail, "On selecting a maximum volume sub-matrix of a matrix and
       related problems", Theor. Comput. Sci. 410 (2009), the greedy algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.asarray([[1.0, 0.0], [3.0, 0.0], [2.9, 0.1], [0.0, 2.0]])
    >>> found = map_dpp(X, 2)
    >>> found.indices, round(math.exp(found.log_det), 9)
    (array([1, 3]), 36.0)
    """
    X, xp = check_array_2d("X", as_array(X, "X"), min_rows=1)
    n, d = X.shape
    k = check_int("k", k, 1, min(n, d), f"for a matrix of shape {(n, d)}")
    check_finite_block(X)
    X = xp.astype(X, working_dtype(xp, device(X), X.dtype), copy=False)
    exponent = _needed_exponent(max_abs(X, xp), xp, X.dtype)
    search = _Search(ldexp(X, -exponent, xp), k, xp)
    gains = _HOST.asarray([search.step() for _ in range(k)]) + 2 * exponent * math.log(2.0)
    on, real = device(X), widest_float(xp, device(X))
    return MapResult(
        asarray(search.picked, xp=xp, device=on, dtype=index_dtype(xp)),
        asarray(gains, xp=xp, device=on, dtype=real),
        math.fsum(gains.tolist()),
        search.bound() + 2 * k * exponent * math.log(2.0),
    )


# Civril and Magdon-Ismail 2009, the greedy algorithm. Differs from it:
# 1. Distances are downdated by one product with the new direction; no residual is stored.
# 2. They are computed anew before rounding has eaten half of their digits.
class _Search:
    """The state of the greedy walk: squared distances of all rows from the span so far."""

    def __init__(self, X: Array, k: int, xp: Namespace) -> None:
        self.rows, self.k, self.xp = Rows(X, xp), k, xp
        self.roundoff = eps(xp, X.dtype)
        self.picked: list[int] = []
        self.directions = xp.zeros((k, X.shape[1]), dtype=self.rows.dtype, device=device(X))
        self.left = self.norms = self._distances()
        self.reference = float(xp.max(self.left))  # the largest when computed last
        self.floor = (max(X.shape) * self.roundoff) ** 2 * self.reference

    def step(self) -> float:
        """Take one row; return the logarithm of its squared distance."""
        largest = float(self.xp.max(self.left))
        if largest <= math.sqrt(self.roundoff) * self.reference:
            self.left = self._distances()
            self.reference = largest = float(self.xp.max(self.left))
        index = self._first_of(largest)
        q, distance = self._direction(index)
        if not min(largest, distance**2) > self.floor:
            rank = len(self.picked)
            raise ValueError(
                f"k must be at most the numerical rank of X, which is {rank}, got {self.k}. "
                "Ask for as many rows, or add what tells the others apart as columns."
            )
        self._take(index, q)
        return 2 * math.log(distance)

    def _take(self, index: int, q: Array) -> None:
        """Note a row and its direction, and bring the distances up to date."""
        xp, X = self.xp, self.rows.X
        conjugate = xp.conj(q) if is_complex(q, xp) else q
        seen = xp.astype(X @ xp.astype(conjugate, X.dtype, copy=False), q.dtype, copy=False)
        left = self.left - squared_row_norms(seen[:, None], q.dtype, xp)
        places = xp.arange(left.shape[0], device=self.rows.device)
        self.left = xp.where(places == index, xp.zeros_like(left), left)
        here = xp.arange(self.k, device=self.rows.device) == len(self.picked)
        self.directions = self.directions + xp.astype(here, q.dtype)[:, None] * q[None, :]
        self.picked.append(index)

    def _distances(self) -> Array:
        """Return the squared distances of all rows from the span, from the rows themselves."""
        parts = [
            squared_row_norms(self._rest(block), block.dtype, self.xp)
            for block in self.rows.blocks()
        ]
        return self.xp.concat(parts, axis=0)

    def _rest(self, block: Array) -> Array:
        """Return rows less their projections on the span."""
        if not self.picked:
            return block
        return block - (block @ adjoint(self.directions, self.xp)) @ self.directions

    def _first_of(self, largest: float) -> int:
        """Return the first row whose squared distance is the largest, to rounding."""
        near = self.left >= largest - _TIES * self.roundoff * self.reference
        return int(self.xp.argmax(self.xp.astype(near, self.xp.int8)))

    def _direction(self, index: int) -> tuple[Array, float]:
        """Return the unit vector of a row less its projection, and its distance."""
        q = self._rest(self._rest(self.rows.wide(self.rows.X[index : index + 1, :])))
        distance = float(self.xp.linalg.vector_norm(q))
        return q[0, :] / (distance if distance > 0 else 1.0), distance

    def bound(self) -> float:
        """Return a bound on the logarithm of the determinant of any `k` rows."""
        xp, X = self.xp, self.rows.X
        hadamard = _log_of_largest(to_numpy(self.norms).astype(_HOST.float64), self.k)
        if min(X.shape) > _LARGEST_SPECTRUM:
            return hadamard
        tall = X if X.shape[0] >= X.shape[1] else adjoint(X, xp)
        values = to_numpy(xp.linalg.eigvalsh(Rows(tall, xp).gram())).astype(_HOST.float64)
        rounding = max(X.shape) * eps(xp, self.rows.dtype) * float(values[-1])
        return min(hadamard, _log_of_largest(values + rounding, self.k))


def _log_of_largest(values: HostArray, k: int) -> float:
    """Return the sum of the logarithms of the `k` largest of some positive numbers."""
    return math.fsum(_HOST.log(_HOST.sort(values)[-k:]).tolist())


def _needed_exponent(largest: float, xp: Namespace, dtype: DType) -> int:
    """Return the power of two by which data must be divided for their squares to be normal."""
    exponent = scale_exponent(largest)
    longest = -math.frexp(float(xp.finfo(real_dtype(xp, dtype)).smallest_normal))[1] // 4
    return exponent if abs(exponent) > longest else 0
