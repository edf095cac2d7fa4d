"""Sums of many terms whose rounding errors do not grow with their number.

The terms are added up in short runs, and the runs with what each addition rounds off::

    total = LongSum(zeros, xp)
    for X, P in blocks:
        total.add(long_matmul_h(X, P, xp))      # X^H P, in short runs of rows
    total.value()

A sum of n terms, one after another, may be off by ``n u`` times the sum of the moduli; this one
is off by a few `u`, with the same error for few terms and many.
"""

from __future__ import annotations

import copy

from linalgkit._core.array import Array, Namespace, is_complex

#: Terms that are added up one after another.
RUN = 16


class LongSum:
    """A sum of arrays of one shape.

    Parameters
    ----------
    first : array
        The first term, of the shape and dtype of all; never written to.
    xp : module
        Namespace.
    """

    def __init__(self, first: Array, xp: Namespace) -> None:
        self._xp = xp
        self._sum, self._rest = first, xp.zeros_like(first)

    def add(self, term: Array) -> None:
        """Add an array, and what that rounds off to the sum of the errors."""
        self._sum, error = two_sum(self._sum, term)
        self._rest = self._rest + error

    def plus(self, other: LongSum) -> LongSum:
        """Return the sum of this sum and another one, both of which stay as they are."""
        both = copy.copy(self)
        both.add(other._sum)
        both._rest = both._rest + other._rest
        return both

    def value(self) -> Array:
        """Return the sum; infinite where terms or sums are."""
        xp, rest = self._xp, self._rest
        return self._sum + xp.where(xp.isfinite(rest), rest, xp.zeros_like(rest))


# Knuth, The Art of Computer Programming 2 (1969), 4.2.2, Theorem B.
def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``a + b`` as rounded and its rounding error, exact without overflow."""
    total = a + b
    added = total - a
    return total, (a - (total - added)) + (b - added)


def long_matmul(X: Array, P: Array, xp: Namespace) -> Array:
    """Return ``X P`` for `X` (d, n) and `P` (n, k), added up in runs of `RUN` terms and pairs.

    Storage ``d k n / RUN``.
    """
    n, k = P.shape
    whole = n - n % RUN
    if whole <= RUN:
        return X @ P
    tiles = xp.permute_dims(xp.reshape(X[:, :whole], (X.shape[0], -1, RUN)), (1, 0, 2))
    total = sum_in_pairs(tiles @ xp.reshape(P[:whole, :], (-1, RUN, k)))
    return total if whole == n else total + X[:, whole:] @ P[whole:, :]


def long_matmul_h(X: Array, P: Array, xp: Namespace) -> Array:
    """Return ``X^H P`` for `X` (n, d) and `P` (n, k), as :func:`long_matmul`."""
    transposed = xp.matrix_transpose(X)
    if not is_complex(X, xp):
        return long_matmul(transposed, P, xp)
    return xp.conj(long_matmul(transposed, xp.conj(P), xp))


def sum_in_pairs(terms: Array) -> Array:
    """Return the sum of ``terms[i, :, :]`` with as few roundings of each as can be."""
    odd = None
    while (count := terms.shape[0]) > 1:
        half = count // 2
        if count % 2:
            last = terms[count - 1, :, :]
            odd = last if odd is None else odd + last
        terms = terms[:half, :, :] + terms[half : 2 * half, :, :]
    return terms[0, :, :] if odd is None else terms[0, :, :] + odd
