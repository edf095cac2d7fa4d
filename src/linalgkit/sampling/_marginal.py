"""Determinantal point processes from a dense marginal kernel, conditioned or not.

::

    process = MarginalDPP(K, rng=0)             # P(A in S) = det K_AA
    process.sample()
    process.sample(include=[3], exclude=[5, 8])
    process.log_prob([1, 3])                    # log P(S = {1, 3})
"""

from __future__ import annotations

import math
from typing import Any

import scipy.linalg

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    adjoint,
    asarray,
    device,
    eps,
    numpy_namespace,
    real_dtype,
    to_numpy,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.random import HostArray, as_generator, undone_on_error
from linalgkit._core.scaling import max_abs
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import check_array_2d, check_finite_block, message
from linalgkit._kernels.hermitian_sampling import hermitian_sampling
from linalgkit.sampling._items import as_items

_HOST = numpy_namespace()
_EPS = float(_HOST.finfo(_HOST.float64).eps)
_lapack: Any = scipy.linalg.get_lapack_funcs
_BLOCK = 64
_PROJECTION = 1e-8  # a pivot of a projection kernel is zero or one: nearer than this it is
_PURIFICATIONS = 2
_PROBES = 16  # vectors that tell whether a kernel is a projector


@capability(
    "sampling.MarginalDPP",
    notes="The matrix is moved to the host once, and worked on there.",
    synchronisations={"call": 2, "sample": 0},
)
class MarginalDPP(PortablePickle):
    """Determinantal point process of a marginal kernel: ``P(A in S) = det K_AA``.

    Parameters
    ----------
    K : array (n, n)
        Hermitian, real or complex, with eigenvalues between 0 and 1.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of random numbers of the samples for which no other is given.

    Raises
    ------
    TypeError
        If `K` is no dense numeric array, or `rng` of a wrong kind.
    ValueError
        If `K` is not square, holds NaN or infinity, is not Hermitian (the largest difference is
        named), or has an eigenvalue outside of [0, 1] (which is named), by more than the square
        root of its roundoff.

    Notes
    -----
    A modified ``L D L^H`` factorisation is a sampler [1]_: the pivot of an item is the probability
    that it is in the sample, given the decisions on the items before, and an item that is left
    out has one taken off its pivot. It is done in blocks with matrix products, in double
    precision whatever that of `K`: ``n^3/3`` fused multiplications and additions a sample. Pivots
    within ``64 n eps`` of 0 or 1 count as such.

    A kernel whose eigenvalues are all 0 or 1 to ``50 eps sqrt(n)``, `eps` the roundoff of `K`, is
    taken for a projector (known by ``trace K = ||K||_F^2`` and by products with vectors). In
    single precision it is first brought nearer to a projector, by ``K <- 3 K^2 - 2 K^3``. Pivots
    within 1e-8 of 0 or 1 count as such there, so that every sample has as many items as the rank
    says.

    The matrix is moved from its device to the host once, when the object is made; samples are
    drawn on the host. Storage: one copy of `K` in double precision, and another while a sample is
    drawn: ``16 n^2`` bytes, ``32 n^2`` for complex `K`; three of them while the object is made.

    References
    ----------
    .. [1] J. Poulson, "High-performance sampling of generic determinantal point processes", Phil.
       Trans. R. Soc. A 378 (2020), arXiv:1905.00165.

    Examples
    --------
    >>> import numpy as np
    >>> K = np.asarray([[0.5, 0.5], [0.5, 0.5]])    # projector: one item of the two
    >>> process = MarginalDPP(K, rng=0)
    >>> process.sample().shape, round(process.expected_size(), 12)
    ((1,), 1.0)
    >>> process.sample(exclude=[0])
    array([1])
    """

    def __init__(self, K: Array, *, rng: object = None) -> None:
        K, xp = check_square("K", K)
        dtype = working_dtype(xp, device(K), K.dtype)
        self._xp, self._device, self._dtype = xp, device(K), dtype
        self._roundoff = eps(xp, dtype)
        host = to_numpy(K)
        host = host.astype(_HOST.complex128 if host.dtype.kind == "c" else _HOST.float64)
        host = hermitian("K", host, math.sqrt(self._roundoff), _HOST)
        _check_spectrum(host, math.sqrt(self._roundoff))
        self._K, self._tolerance = _polished(host, self._roundoff)
        self._rng = as_generator(rng)

    def __repr__(self) -> str:
        """Return the number of items and the expected size."""
        return f"MarginalDPP(n={self._K.shape[0]}, expected_size={self.expected_size():.6g})"

    def expected_size(self) -> float:
        """Return the expected number of items of a sample, the trace of `K`."""
        return float(_HOST.trace(self._K).real)

    def inclusion_probabilities(self) -> Array:
        """Return the probability of each item to be in a sample, the diagonal of `K`.

        Returns
        -------
        array (n,)
            In the library of `K`, on its device, in the real dtype of its precision.
        """
        diagonal = _HOST.clip(self._K.diagonal().real, 0.0, 1.0)
        dtype = real_dtype(self._xp, self._dtype)
        return asarray(diagonal, xp=self._xp, device=self._device, dtype=dtype)

    def sample(self, include: Any = (), exclude: Any = (), *, rng: object = None) -> Array:
        """Draw a sample, given that some items are in it and others are not.

        Parameters
        ----------
        include, exclude : iterable of int, or integer array
            Items that the sample must, or must not, hold.
        rng : None, int, SeedSequence, BitGenerator or Generator
            None goes on with the generator of the object.

        Returns
        -------
        integer array (size,)
            Indices in ascending order, in the library of `K` and on its device.

        Raises
        ------
        TypeError
            If `include` or `exclude` are no integers, or `rng` is of a wrong kind.
        ValueError
            If an index is out of range, occurs twice or in both, or if the items to include have
            probability zero together (to rounding), or those to exclude probability one.

        Notes
        -----
        Storage: a copy of `K` in double precision. The condition is imposed exactly, by Schur
        complements; nothing is drawn and rejected. Random numbers drawn: `n`, less the items that
        `include` and `exclude` name.
        """
        with undone_on_error(rng):
            return self._drawn(include, exclude, self._rng if rng is None else as_generator(rng))

    def log_prob(self, S: Any) -> float:
        """Return the logarithm of the probability that a sample is the set `S`.

        Parameters
        ----------
        S : iterable of int, or integer array
            The items of the set, in any order.

        Returns
        -------
        float
            ``log |det(K - I outside S)|``, and ``-inf`` where the matrix is singular to rounding.

        Raises
        ------
        TypeError
            If `S` holds other things than integers.
        ValueError
            If an index is out of range or occurs twice.
        """
        n = self._K.shape[0]
        inside = as_items("S", S, n, distinct=True)
        outside = _HOST.ones(n)
        outside[inside] = 0.0
        if self._tolerance == _PROJECTION and len(inside) != round(self.expected_size()):
            return -math.inf
        return _log_abs_det(self._K - _HOST.diag(outside))

    def _drawn(self, include: Any, exclude: Any, rng: Any) -> Array:
        n = self._K.shape[0]
        inside = as_items("include", include, n, distinct=True)
        outside = as_items("exclude", exclude, n, distinct=True)
        both = set(inside.tolist()) & set(outside.tolist())
        if both:
            raise ValueError(
                f"include and exclude must have no item in common, got {min(both)} in both."
            )
        K, items = self._conditioned(inside, outside)
        kept = sampled(K, rng.random(len(items)), self._tolerance)
        return as_indices(_HOST.concat([inside, items[kept]]), self._xp, self._device)

    def _conditioned(self, inside: HostArray, outside: HostArray) -> tuple[HostArray, HostArray]:
        """Return the kernel of the items that are left, as a copy, and their indices."""
        K, items = self._K.copy(), _HOST.arange(self._K.shape[0])
        least = self._K.shape[0] * self._roundoff
        for name, chosen, sign in (("include", inside, 1.0), ("exclude", outside, -1.0)):
            if len(chosen):
                places = _HOST.searchsorted(items, chosen)
                K, failed = _schur(K, places, sign, least)
                if failed is not None:
                    raise ValueError(_impossible(name, int(chosen[failed]), sign))
                items = _HOST.delete(items, places)
        return K, items


def _impossible(name: str, item: int, sign: float) -> str:
    """Return the message for an event of probability zero."""
    which, certain = ("in", "never") if sign > 0 else ("left out of", "always")
    return (
        f"the items of {name} must be {which} the sample together with positive probability, but "
        f"item {item} is {certain} in it, given the others. Take it out of {name}."
    )


def as_indices(picked: HostArray, xp: Namespace, device: Device) -> Array:
    """Return numbers from the host as an ascending integer array of a library."""
    ascending = _HOST.sort(_HOST.asarray(picked, dtype=_HOST.int64))
    return asarray(ascending, xp=xp, device=device, copy=False)


# -------------------------------------------------------------------------- checks of kernels


def hermitian(name: str, A: Array, tolerance: float, xp: Namespace) -> Array:
    """Return the Hermitian part of a matrix that is Hermitian to a relative tolerance, or raise."""
    skew = max_abs(A - adjoint(A, xp), xp)
    if skew > tolerance * max_abs(A, xp):
        raise ValueError(
            f"{name} must be Hermitian, got entries that differ by up to {skew:.3g} from those of "
            f"its conjugate transpose. Pass ({name} + {name}^H) / 2 if that is rounding."
        )
    return A * 0.5 + adjoint(A, xp) * 0.5


def check_square(name: str, A: Any) -> tuple[Array, Namespace]:
    """Return a finite square matrix and its namespace, or raise."""
    A, xp = check_array_2d(name, as_array(A, name), min_rows=1)
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"{name} must be square, got shape {tuple(A.shape)}.")
    check_finite_block(A, name=name)
    return A, xp


def _check_spectrum(K: HostArray, tolerance: float) -> None:
    """Refuse eigenvalues outside of [0, 1]; they are computed only to be named."""
    if _is_positive(K.copy(), tolerance) and _is_positive(-K, 1 + tolerance):
        return
    w = scipy.linalg.eigvalsh(K, check_finite=False)
    extreme = float(w[0] if -w[0] > w[-1] - 1 else w[-1])
    if -tolerance <= extreme <= 1 + tolerance:
        return
    rule = "have eigenvalues between 0 and 1"
    way_out = "LEnsemble(L=K) takes a kernel of likelihoods, whose eigenvalues may exceed 1."
    raise ValueError(message("K", rule, extreme, way_out=way_out))


def _is_positive(A: HostArray, shift: float) -> bool:
    """Tell whether ``A + shift I`` has a Cholesky factorisation; `A` is destroyed."""
    A[_HOST.arange(A.shape[0]), _HOST.arange(A.shape[0])] += shift
    potrf = _lapack("potrf", (A,))
    return int(potrf(A.T, lower=0, clean=0, overwrite_a=1)[1]) == 0


def _polished(K: HostArray, roundoff: float) -> tuple[HostArray, float]:
    """Return the kernel, nearer to a projector if it is one to rounding, and a tolerance."""
    n = K.shape[0]
    if not _is_projection(K, roundoff):
        return K, 64 * n * _EPS
    if roundoff > _EPS:
        for _ in range(_PURIFICATIONS):
            square = K @ K
            K = 3 * square - 2 * (square @ K)
            K = 0.5 * (K + K.T.conj())
    return K, _PROJECTION


def _is_projection(K: HostArray, roundoff: float) -> bool:
    """Tell whether all ``lam (1 - lam)`` are zero to rounding, by their sum and by vectors.

    The mean square of ``(K^2 - K) z`` for random signs is the sum of all ``lam^2 (1 - lam)^2``.
    """
    n = K.shape[0]
    squares = _HOST.vdot(K, K).real
    if abs(_HOST.trace(K).real - squares) > 100 * n * roundoff:
        return False
    Z = as_generator(0).choice(_HOST.asarray([-1.0, 1.0]), (n, _PROBES))
    image = K @ Z
    rest = K @ image - image
    return bool(_HOST.vdot(rest, rest).real / _PROBES <= n * (50 * roundoff) ** 2)


# --------------------------------------------------------------------------------- numerics


# Poulson, "High-performance sampling of generic determinantal point processes" (2020), the
# factorisation-based sampler. Differs from it:
# 1. Left-looking: a block of columns is brought up to date by one product when its turn comes.
# 2. Pivots next to 0 and 1 are rounded, so that a projector gives as many items as its rank.
def sampled(A: HostArray, uniforms: HostArray, tolerance: float) -> HostArray:
    """Return which items are in a sample of the marginal kernel `A`, which is destroyed.

    Parameters
    ----------
    A : array (n, n)
        Hermitian, float64 or complex128.
    uniforms : array (n,)
        Independent uniform numbers.
    tolerance : float
        Conditional probabilities this near to 0 or 1 count as such.

    Returns
    -------
    array of bool (n,)
    """
    n = A.shape[0]
    pivots: HostArray = _HOST.empty(n)
    kept: HostArray = _HOST.zeros(n, dtype=bool)
    for start in range(0, n, _BLOCK):
        end = min(start + _BLOCK, n)
        if start:
            scaled = (A[start:end, :start] * pivots[:start]).conj().T
            A[start:, start:end] -= A[start:, :start] @ scaled
        block, u = A[start:end, start:end], uniforms[start:end]
        L, pivots[start:end], kept[start:end] = hermitian_sampling(_HOST, block, u, tolerance)
        if end < n:
            below = _solve_lower(L, A[end:, start:end].T.conj(), unit=True)
            A[end:, start:end] = below.T.conj() / pivots[start:end]
    return kept


def _solve_lower(L: HostArray, B: HostArray, unit: bool = False) -> HostArray:
    """Return ``L^-1 B`` for a lower triangular matrix."""
    return scipy.linalg.solve_triangular(L, B, lower=True, unit_diagonal=unit, check_finite=False)


def _schur(
    K: HostArray, places: HostArray, sign: float, least: float
) -> tuple[HostArray, int | None]:
    """Return the kernel of the other items, given that those at `places` are in (out).

    The second result is None, or which of the places has a conditional probability below `least`
    of being in (`sign` 1) or out (-1).
    """
    inner = K[_HOST.ix_(places, places)] * sign
    if sign < 0:
        inner += _HOST.eye(len(places))
    pstrf = _lapack("pstrf", (inner,))
    factor, order, rank, _ = pstrf(inner, tol=least, lower=1)
    order = order - 1
    if rank < len(places):
        return K, int(order[rank])
    others = _HOST.delete(_HOST.arange(K.shape[0]), places)
    W = _solve_lower(factor, K[_HOST.ix_(places[order], others)])
    rest: HostArray = K[_HOST.ix_(others, others)] - sign * (W.T.conj() @ W)
    return rest, None


def _log_abs_det(A: HostArray) -> float:
    """Return the logarithm of a determinant's modulus, -inf for a matrix singular to rounding."""
    getrf, gecon = _lapack(("getrf", "gecon"), (A,))
    norm = _HOST.max(_HOST.sum(_HOST.abs(A), axis=0))
    factor, _, info = getrf(A)
    if info or gecon(factor, norm)[0] <= A.shape[0] * _EPS:
        return -math.inf
    return float(_HOST.sum(_HOST.log(_HOST.abs(factor.diagonal()))))
