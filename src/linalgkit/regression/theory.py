"""What the paper states about sketched least squares, and how far each statement is proved.

Song, Ye, Yin and Zhang (arXiv:2302.00248) ask for every coordinate of a sketched solution
``x' = (S A)^+ S b`` to be near that of ``x = A^+ b``::

    |x'_j - x_j| <= eps / sqrt(d) ||A x - b||_2 ||A^+||_2   for all j, with probability 1 - delta

and their Theorem 1.1 says that a subsampled randomised Hadamard transform of
``eps^-2 d log^3(n / delta)`` rows reaches it.

**The proof is disputed.** A later text by two of the four authors (Song and Zhang, "Hadamard
Flattening and Gaussian Pooling Sketch for Least Squares with Coordinate-wise Guarantee", 2026)
reports it as incomplete: the oblivious coordinate-wise embedding property holds for *fixed*
vectors, while the proof applies it to a vector that depends on the same sketch, and there is a
distribution of sketches that has both properties the proof uses and violates its conclusion.
For the Hadamard transform they call a bound of this order an open problem; what is proved for it
is Theorem 10 of Price, Song and Woodruff (arXiv:1705.10723), with
``eps^-2 d^(1 + O(sqrt(log log n / log d)))`` rows. They repair the statement for a Gaussian pooled
transform. Nothing in :mod:`linalgkit.regression` rests on the disputed theorem: sizes and
intervals come from exact laws of Gaussian sketches, which hold for every matrix and every
number of rows, and for other sketches they are labelled approximate.
"""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = [
    "coordinate_bound",
    "gaussian_size",
    "least_size",
    "paper_size",
    "pooled_size",
    "singular_probability",
]


def coordinate_bound(d: int, eps: float, residual_norm: float, inverse_norm: float) -> float:
    """Return the bound of the paper on ``max_j |x'_j - x_j|``.

    Parameters
    ----------
    d : int
        Number of unknowns.
    eps : float
        Accuracy.
    residual_norm : float
        ``||A x - b||_2`` of the least-squares solution.
    inverse_norm : float
        ``||A^+||_2``, one over the smallest singular value of `A`.

    Returns
    -------
    float
        ``eps / sqrt(d) * residual_norm * inverse_norm``.

    Examples
    --------
    >>> round(coordinate_bound(100, 0.5, 2.0, 0.1), 6)
    0.01
    """
    return eps / math.sqrt(d) * residual_norm * inverse_norm


def paper_size(d: int, n: int, eps: float, delta: float, constant: float = 1.0) -> int:
    """Return the rows that Theorem 1.1 of the paper asks for (its proof is incomplete).

    Parameters
    ----------
    d, n : int
        Unknowns and equations.
    eps, delta : float
        Accuracy, and the probability of missing it.
    constant : float, default 1.0
        The paper gives none.

    Returns
    -------
    int
        ``ceil(constant * eps^-2 d ln(n / delta)^3)``, for most problems more than `n`.

    Examples
    --------
    >>> paper_size(100, 10**6, 0.5, 0.01)
    2500214
    """
    logarithm = math.log(n) - math.log(delta)
    return _rows(constant, d, eps, logarithm**3)


def gaussian_size(d: int, eps: float, delta: float) -> float:
    """Return the leading order of the rows that a Gaussian sketch needs.

    Parameters
    ----------
    d : int
        Unknowns.
    eps, delta : float
        Accuracy, and the probability of missing it.

    Returns
    -------
    float
        ``d + 2 eps^-2 d ln(2 d / delta)``; :func:`~linalgkit.regression.sketch_size` has the exact
        number, which is smaller.

    Examples
    --------
    >>> round(gaussian_size(100, 0.5, 0.01))
    8023
    """
    return d + 2 * d / eps**2 * math.log(2 * d / delta)


def pooled_size(d: int, eps: float, delta: float, constant: float = 1.0) -> int:
    """Return the rows that the repaired theorem asks of a Gaussian pooled transform.

    Parameters
    ----------
    d : int
        Unknowns.
    eps, delta : float
        Accuracy, and the probability of missing it.
    constant : float, default 1.0
        The text gives none.

    Returns
    -------
    int
        ``ceil(constant * eps^-2 d ln(d / delta))``. The theorem pads the equations to a length of
        order ``eps^-2 d^3`` besides, which the sketch ``"gaussian_pooled"`` does not: its
        intervals are approximate.

    Examples
    --------
    >>> pooled_size(100, 0.5, 0.01)
    3685
    """
    return _rows(constant, d, eps, math.log(d) - math.log(delta))


def _rows(constant: float, d: int, eps: float, logarithm: float) -> int:
    """Return ``ceil(constant * d / eps^2 * logarithm)``, which may be beyond the largest float."""
    return math.ceil(Fraction(constant) * d * Fraction(logarithm) / Fraction(eps) ** 2)


def singular_probability(d: int, m: int) -> float:
    """Bound the probability that a Hadamard transform without permutation loses a column.

    Parameters
    ----------
    d : int
        Unknowns; the worst matrix is the identity above zeros.
    m : int
        Sampled rows.

    Returns
    -------
    float
        ``min(1, d exp(-m / d))``, by counting the Walsh functions that no sampled row tells
        apart. A random permutation of the rows before the transform removes the effect from
        ``d = 8`` on; :func:`least_size` covers smaller `d`.

    Examples
    --------
    >>> round(singular_probability(32, 192), 3)
    0.079
    """
    return min(1.0, d * math.exp(-m / d))


def least_size(d: int) -> int:
    """Return the rows from which on permuted Hadamard transforms are never seen to be singular.

    Parameters
    ----------
    d : int
        Unknowns.

    Returns
    -------
    int
        ``max(4 d, ceil(2 log2(d) + 20))``.

    Examples
    --------
    >>> least_size(2), least_size(64)
    (22, 256)
    """
    return max(4 * d, math.ceil(2 * math.log2(d) + 20)) if d > 1 else 20
