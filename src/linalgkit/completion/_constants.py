"""Constants of the theory of alternating minimisation: entries, sweeps, clipping, sketches.

What is here comes from Jain, Netrapalli and Sanghavi [1]_ (sizes, sweeps, clipping; written down
from memory of the paper, not beside it) and from the abstract and the public reviews of Gu, Song,
Yin and Zhang [2]_, whose body was not at hand. Orders of magnitude are proved there; the factors
in front, `constant`, are not given and are taken as one.

References
----------
.. [1] P. Jain, P. Netrapalli, S. Sanghavi, "Low-rank matrix completion using alternating
   minimization", STOC 2013, arXiv:1212.0467.
.. [2] Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
   minimization in nearly linear time", arXiv:2302.11068.
"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import Array, Namespace, device, widest_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import orthonormalise
from linalgkit._core.validation import check_array_2d, check_finite_block, check_float, check_int
from linalgkit.completion._triples import checked_dtype

#: Relative error that numbers of sweeps and entries are for, unless another one is given.
ACCURACY = 1e-6
#: Factor by which the analysis reduces the distance of the subspaces in a half step.
CONTRACTION = 0.25
#: Power of the condition number in the number of entries: that which a reviewer of [2]_ names.
KAPPA_POWER = 2.0
#: Distortion of the theory, and the probability of a larger one that its size permits.
DISTORTION, FAILURE = 0.1, 0.01


@capability("completion.theory.incoherence", synchronisations={"call": 2})
def incoherence(U: Array) -> float:
    """Return the incoherence of the column space of a matrix.

    Parameters
    ----------
    U : array (m, k)
        Any basis of the space, ``k <= m``; it is orthonormalised first.

    Returns
    -------
    float
        The smallest mu with ``||u_i|| <= mu sqrt(k / m)`` for the rows of an orthonormal basis:
        between 1 and ``sqrt(m / k)``.

    Raises
    ------
    TypeError
        If `U` is no array.
    ValueError
        If it is not 2-D, has more columns than rows, or is not finite.

    Notes
    -----
    Storage: ``m k`` numbers. One synchronisation.

    Examples
    --------
    >>> import numpy as np
    >>> round(incoherence(np.ones((16, 1))), 6), incoherence(np.eye(16)[:, :4])
    (1.0, 2.0)
    """
    U, xp, m, k = _checked_basis(U)
    Q = orthonormalise(xp.astype(U, widest_dtype(xp, device(U), U.dtype), copy=False), xp)
    largest = float(xp.max(xp.linalg.vector_norm(Q, axis=1)))
    return largest * math.sqrt(m / k)


@capability("completion.theory.sample_size", synchronisations={})
def sample_size(
    shape: tuple[int, int],
    rank: int,
    *,
    mu: float,
    kappa: float,
    accuracy: float = ACCURACY,
    constant: float = 1.0,
    kappa_power: float = KAPPA_POWER,
) -> float:
    """Return the number of observed entries that the theory asks for.

    Parameters
    ----------
    shape : tuple of int
        (m, n).
    rank : int
        Rank k, 1 to min(m, n).
    mu : float
        Incoherence of rows and columns, at least 1; see :func:`incoherence`.
    kappa : float
        Condition number ``sigma_1 / sigma_k``, at least 1.
    accuracy : float, default 1e-6
        Error in Frobenius norm over the norm of the matrix, in (0, 1).
    constant : float, default 1.0
        Factor in front, positive; the papers do not give it.
    kappa_power : float, default 2.0
        Power of the condition number, not negative. Sources differ and the question is open
        here: a reviewer of Gu et al. quotes 2; the bound of Jain et al. multiplies out to 4.

    Returns
    -------
    float
        ``constant kappa^power mu^2 max(m, n) k^4.5 log(max(m, n)) log(k / accuracy)``, which may
        be more than ``m n``.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.

    Notes
    -----
    Jain et al. (2013, Theorem 2.5) ask for the probability ``C kappa^2 mu^2 k^2.5 log n
    log(k ||M||_F / eps) / (m delta^2)`` with delta of order ``1 / (k kappa)``. Storage: none.

    Examples
    --------
    >>> round(sample_size((1000, 1000), 2, mu=1.0, kappa=1.0))
    2267771
    """
    m, n = _checked_shape(shape)
    k = check_int("rank", rank, 1, min(m, n))
    mu = check_float("mu", mu, 1.0)
    kappa = check_float("kappa", kappa, 1.0)
    accuracy = _fraction("accuracy", accuracy)
    constant = check_float("constant", constant, 0.0, low_open=True)
    power = check_float("kappa_power", kappa_power, 0.0)
    larger = max(m, n)
    logarithms = math.log(larger) * math.log(k / accuracy)
    return float(constant * kappa**power * mu**2 * larger * k**4.5 * logarithms)


@capability("completion.theory.sample_probability", synchronisations={})
def sample_probability(
    shape: tuple[int, int],
    rank: int,
    *,
    mu: float,
    kappa: float,
    accuracy: float = ACCURACY,
    constant: float = 1.0,
    kappa_power: float = KAPPA_POWER,
) -> float:
    """Return the probability with which the theory wants each entry observed.

    Parameters
    ----------
    shape, rank, mu, kappa, accuracy, constant, kappa_power
        As in :func:`sample_size`.

    Returns
    -------
    float
        ``sample_size(...) / (m n)``, at most 1.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.

    Notes
    -----
    Storage: none.

    Examples
    --------
    >>> sample_probability((1000, 1000), 2, mu=1.0, kappa=1.0)
    1.0
    >>> round(sample_probability((10**6, 10**6), 2, mu=1.0, kappa=1.0), 4)
    0.0045
    """
    size = sample_size(
        shape, rank, mu=mu, kappa=kappa, accuracy=accuracy, constant=constant,
        kappa_power=kappa_power,
    )  # fmt: skip
    return min(1.0, size / math.prod(shape))


@capability("completion.theory.n_sweeps", synchronisations={})
def n_sweeps(accuracy: float = ACCURACY, contraction: float = CONTRACTION) -> int:
    """Return the number T of sweeps, O(log(1 / accuracy)), of two half steps each.

    Parameters
    ----------
    accuracy : float, default 1e-6
        Error in Frobenius norm over the norm of the matrix, in (0, 1).
    contraction : float, default 0.25
        Factor by which a half step reduces the distance from the true subspace, in (0, 1). A
        quarter is what the analysis of Jain et al. (2013) guarantees.

    Returns
    -------
    int
        ``ceil(log(1 / accuracy) / (2 log(1 / contraction)))``.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.

    Notes
    -----
    Storage: none.

    Examples
    --------
    >>> n_sweeps(1e-6), n_sweeps(1e-12)
    (5, 10)
    """
    accuracy = _fraction("accuracy", accuracy)
    contraction = _fraction("contraction", contraction)
    return math.ceil(math.log(accuracy) / (2.0 * math.log(contraction)))


@capability("completion.theory.clip_level", synchronisations={})
def clip_level(m: int, rank: int, mu: float) -> float:
    """Return the modulus above which entries of the start are set to zero.

    Parameters
    ----------
    m : int
        Number of rows of the start, at least 1.
    rank : int
        Rank k, 1 to `m`.
    mu : float
        Incoherence, positive.

    Returns
    -------
    float
        ``2 mu sqrt(k / m)``.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.

    Notes
    -----
    No entry of an orthonormal basis whose incoherence is `mu` is larger than half of it.
    Storage: none.

    Examples
    --------
    >>> clip_level(64, 4, 1.5)
    0.75
    """
    m = check_int("m", m, 1)
    k = check_int("rank", rank, 1, m)
    return 2.0 * check_float("mu", mu, 0.0, low_open=True) * math.sqrt(k / m)


@capability("completion.theory.clipped", synchronisations={"call": 1})
def clipped(U: Array, mu: float) -> Array:
    """Set the large entries of an orthonormal start to zero, and orthonormalise it again.

    Parameters
    ----------
    U : array (m, k)
        Orthonormal columns.
    mu : float
        Incoherence, positive; see :func:`clip_level`.

    Returns
    -------
    array (m, k)
        Orthonormal columns; in the dtype of `U`.

    Raises
    ------
    TypeError
        If `U` is no array or `mu` no number.
    ValueError
        If `U` is not 2-D, has more columns than rows or is not finite, or `mu` is not positive.

    Notes
    -----
    Columns of which nothing stays are replaced by others. Storage: ``m k`` numbers.

    Examples
    --------
    >>> import numpy as np
    >>> U = np.asarray([[0.96], [0.2], [0.14], [0.14]])
    >>> np.round(clipped(U, mu=1.0)[:, 0], 2).tolist()
    [0.96, 0.2, 0.14, 0.14]
    >>> np.round(abs(clipped(U, mu=0.5)[:, 0]), 2).tolist()
    [0.0, 0.71, 0.5, 0.5]
    """
    U, xp, m, k = _checked_basis(U)
    kept = xp.abs(U) <= clip_level(m, k, mu)
    return orthonormalise(xp.where(kept, U, xp.zeros_like(U)), xp)


@capability("completion.theory.sketch_size", synchronisations={})
def sketch_size(k: int, distortion: float = DISTORTION, failure: float = FAILURE) -> int:
    """Return how many rows a sketch needs to keep the lengths in a k-dimensional space.

    Parameters
    ----------
    k : int
        Dimension, at least 1.
    distortion : float, default 0.1
        Lengths are kept up to the factors ``1 - distortion`` and ``1 + distortion``; in (0, 1).
    failure : float, default 0.01
        Probability that they are not; in (0, 1).

    Returns
    -------
    int
        ``ceil(((sqrt(k) + sqrt(2 log(2 / failure))) / distortion)^2)``.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.

    Notes
    -----
    The formula is a theorem for Gaussian sketches [1]_ (Theorem II.13). For the sparse embeddings
    with eight numbers a column that are used here it rests on experience: what is proved [2]_ has
    another factor ``log k`` and needs ``log(k) / distortion`` numbers a column. The paper asks for
    O(k polylog) rows at distortion 0.1. Storage: none.

    References
    ----------
    .. [1] K. R. Davidson, S. J. Szarek, "Local operator theory, random matrices and Banach
       spaces", Handbook of the Geometry of Banach Spaces I (2001).
    .. [2] M. B. Cohen, "Nearly tight oblivious subspace embeddings by trace inequalities",
       SODA 2016.

    Examples
    --------
    >>> sketch_size(10), sketch_size(10, 0.5)
    (4119, 165)
    """
    k = check_int("k", k, 1)
    distortion = _fraction("distortion", distortion)
    deviation = math.sqrt(2.0 * math.log(2.0 / _fraction("failure", failure)))
    return math.ceil(((math.sqrt(k) + deviation) / distortion) ** 2)


@capability("completion.theory.n_inner_steps", synchronisations={})
def n_inner_steps(accuracy: float, distortion: float = DISTORTION) -> int:
    """Return the steps of the preconditioned iteration that reduce its error to a share.

    Parameters
    ----------
    accuracy : float
        The share, in (0, 1).
    distortion : float, default 0.1
        Of the sketch, in (0, 1).

    Returns
    -------
    int
        ``ceil(log(1 / accuracy) / log(1 / rate))`` with the rate ``2 d / (1 + d^2)``.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.

    Notes
    -----
    Singular values of the preconditioned rows lie between ``1 / (1 + d)`` and ``1 / (1 - d)``
    where the sketch has distortion d, and the step has the length that is best for this interval.
    The error is measured in the norm of the residuals. Storage: none.

    Examples
    --------
    >>> n_inner_steps(1e-12), n_inner_steps(1e-12, 0.5)
    (18, 124)
    """
    accuracy = _fraction("accuracy", accuracy)
    distortion = _fraction("distortion", distortion)
    rate = 2.0 * distortion / (1.0 + distortion**2)
    return math.ceil(math.log(accuracy) / math.log(rate))


def _fraction(name: str, value: float) -> float:
    """Check a number strictly between 0 and 1."""
    return check_float(name, value, 0.0, 1.0, low_open=True, high_open=True)


def _checked_shape(shape: Any) -> tuple[int, int]:
    """Check the shape of a matrix."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape must be two integers (m, n), got {type(shape).__name__}.")
    if len(shape) != 2:
        raise ValueError(f"shape must be two integers (m, n), got {len(shape)}.")
    m, n = (check_int(f"shape[{i}]", size, 1) for i, size in enumerate(shape))
    return m, n


def _checked_basis(U: Any) -> tuple[Array, Namespace, int, int]:
    """Check a basis and return it with its namespace and shape."""
    U, xp = check_array_2d("U", U)
    m, k = (int(size) for size in U.shape)
    if k > m:
        raise ValueError(
            f"U must have at most as many columns as rows, got shape {(m, k)}. Pass a basis of the "
            "space in its columns, or the transpose."
        )
    if not xp.isdtype(U.dtype, ("real floating", "complex floating")):
        raise TypeError(f"U must hold floating-point numbers, got dtype {U.dtype}.")
    checked_dtype("U", U, xp, device(U))
    check_finite_block(U, name="U")
    return U, xp, m, k
