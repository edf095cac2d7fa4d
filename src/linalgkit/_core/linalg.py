"""Dense linear algebra that the array-API standard lacks, in one place.

Small decompositions in descending order, with signs fixed, that behave alike on every library::

    w, V = eigh_desc(G)                 # largest eigenvalue first
    V = fix_signs(V)                    # the same vectors on every library
    V, lam = psd_nystrom(S @ Z, Z)      # fixed-rank picture of a positive semi-definite S

Scaling by powers of two lies in :mod:`linalgkit._core.scaling`, factorisations in
:mod:`linalgkit._core.triangular` and :mod:`linalgkit._core.qr`; their names are importable
from here.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    array_namespace,
    device,
    eps,
    is_complex,
    library_name,
    matmul_h,
    widest_dtype,
)
from linalgkit._core.qr import (
    LstsqSolution,
    cholesky_qr2,
    damped_r_factor,
    lstsq,
    qr_positive,
    tsqr,
)
from linalgkit._core.scaling import ldexp, max_abs, norm_fro, scale_exponent
from linalgkit._core.triangular import (
    NotPositiveDefiniteError,
    SingularMatrixError,
    cholesky,
    safe_cholesky,
    solve_triangular,
)

__all__ = [
    "LstsqSolution",
    "NotPositiveDefiniteError",
    "SingularMatrixError",
    "cholesky",
    "cholesky_qr2",
    "damped_r_factor",
    "eigh_desc",
    "eigh_top",
    "fix_signs",
    "hermitian_part",
    "ldexp",
    "lstsq",
    "matmul_h",
    "max_abs",
    "norm_fro",
    "orthonormalise",
    "psd_nystrom",
    "qr_positive",
    "refill",
    "safe_cholesky",
    "scale_exponent",
    "solve_triangular",
    "subspace_sin2",
    "svd_desc",
    "tsqr",
]


def hermitian_part(G: Array, xp: Namespace | None = None) -> Array:
    """Return ``(G + G^H) / 2``."""
    xp = array_namespace(G) if xp is None else xp
    return (G + adjoint(G, xp)) * 0.5


def eigh_desc(G: Array, xp: Namespace | None = None) -> tuple[Array, Array]:
    """Return eigenvalues, largest first, and orthonormal eigenvectors of a Hermitian matrix.

    Parameters
    ----------
    G : array (n, n)
        Hermitian; its lower triangle decides.
    xp : module, optional
        Namespace of `G`.

    Returns
    -------
    w : array (n,)
        Eigenvalues in descending order, real.
    V : array (n, n)
        ``G V = V diag(w)``.
    """
    xp = array_namespace(G) if xp is None else xp
    w, V = xp.linalg.eigh(G)
    return xp.flip(w, axis=0), xp.flip(V, axis=1)


def eigh_top(G: Array, r: int, xp: Namespace | None = None) -> tuple[Array, Array]:
    """Return the `r` largest eigenvalues, descending, and their vectors.

    Parameters
    ----------
    G : array (n, n)
        Hermitian, real or complex.
    r : int
        Number of pairs, 1 to n.
    xp : module, optional
        Namespace of `G`.

    Returns
    -------
    w : array (r,)
        Real, descending.
    V : array (n, r)
        Orthonormal columns.

    Notes
    -----
    On NumPy the other pairs are not computed (LAPACK's ``evr`` driver), which takes about a
    third of the time of :func:`eigh_desc`; other libraries have no such routine.
    """
    xp = array_namespace(G) if xp is None else xp
    n = int(G.shape[0])
    if library_name(xp) == "numpy" and 4 * r <= n:
        w, V = scipy.linalg.eigh(G, subset_by_index=[n - r, n - 1], check_finite=False)
        if w.shape[0] < r:  # LAPACK's bisection can miss some of a cluster
            w, V = eigh_desc(G, xp)
            return w[:r], V[:, :r]
        return xp.flip(xp.asarray(w), axis=0), xp.flip(xp.asarray(V), axis=1)
    w, V = eigh_desc(G, xp)
    return w[:r], V[:, :r]


def svd_desc(A: Array, xp: Namespace | None = None) -> tuple[Array, Array, Array]:
    """Return the thin singular value decomposition ``A = U diag(s) Vh``, `s` descending.

    Parameters
    ----------
    A : array (m, n)
        Any matrix.
    xp : module, optional
        Namespace of `A`.

    Returns
    -------
    U : array (m, min(m, n))
        Left singular vectors.
    s : array (min(m, n),)
        Singular values in descending order, real.
    Vh : array (min(m, n), n)
        Conjugate transposed right singular vectors.
    """
    xp = array_namespace(A) if xp is None else xp
    try:
        U, s, Vh = xp.linalg.svd(A, full_matrices=False)
    except np.linalg.LinAlgError:
        if library_name(xp) != "numpy":
            raise
        # Divide and conquer can fail to converge where the QR iteration does not.
        U, s, Vh = scipy.linalg.svd(A, full_matrices=False, lapack_driver="gesvd")
    return U, s, Vh


def orthonormalise(V: Array, xp: Namespace | None = None) -> Array:
    """Return an orthonormal basis whose first j columns span those of `V`, for every j.

    Parameters
    ----------
    V : array (d, k)
        ``k <= d``. Columns that depend on earlier ones are replaced by orthogonal ones.
    xp : module, optional
        Namespace of `V`.

    Returns
    -------
    array (d, k)
        The basis; an orthonormal `V` comes back unchanged up to rounding, signs included.
    """
    return qr_positive(V, xp)[0]


def fix_signs(V: Array, axis: int = 0, xp: Namespace | None = None) -> Array:
    """Turn each vector so that its entry of largest modulus is real and positive.

    Parameters
    ----------
    V : array (d, k) or (k, d)
        Vectors along `axis`.
    axis : int, default 0
        0 for columns, 1 for rows.
    xp : module, optional
        Namespace of `V`.

    Returns
    -------
    array
        The turned vectors; zero vectors stay as they are.

    Notes
    -----
    Of entries whose moduli agree to half of the digits the first one counts, so that rounding
    differences between libraries do not turn a vector round.
    """
    xp = array_namespace(V) if xp is None else xp
    if math.prod(V.shape) == 0:
        return V
    if not is_complex(V, xp):
        return V * _signs(V, axis, xp)
    modulus = xp.abs(V)
    largest = xp.max(modulus, axis=axis, keepdims=True)
    candidates = modulus >= (1 - math.sqrt(eps(xp, V.dtype))) * largest
    first = xp.argmax(xp.astype(candidates, xp.int32), axis=axis, keepdims=True)
    shape = (-1, 1) if axis == 0 else (1, -1)
    places = xp.reshape(xp.arange(V.shape[axis], dtype=first.dtype, device=device(V)), shape)
    chosen = places == first
    pivot = xp.sum(xp.where(chosen, V, xp.zeros_like(V)), axis=axis, keepdims=True)
    size = xp.abs(pivot)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    turned = V * (xp.conj(pivot) / xp.astype(safe, V.dtype, copy=False))
    # The product leaves a rounding error in the imaginary part of the chosen entry.
    exact = xp.where(chosen, xp.astype(modulus, V.dtype, copy=False), turned)
    return xp.where(size > 0, exact, V)


def _signs(V: Array, axis: int, xp: Namespace) -> Array:
    """Return 1 or -1 for real vectors, as their first entry of largest modulus is."""
    high = xp.max(V, axis=axis, keepdims=True)
    low = -xp.min(V, axis=axis, keepdims=True)
    largest = xp.maximum(high, low)
    signs = xp.where(high >= low, xp.ones_like(high), -xp.ones_like(high))
    level = (1 - math.sqrt(eps(xp, V.dtype))) * largest
    tied = xp.minimum(high, low) >= level
    if not bool(xp.any(tied & (largest > 0))):
        return signs
    ups = xp.argmax(xp.astype(level <= V, xp.int8), axis=axis, keepdims=True)
    downs = xp.argmax(xp.astype(level <= -V, xp.int8), axis=axis, keepdims=True)
    firsts = xp.where(ups <= downs, xp.ones_like(high), -xp.ones_like(high))
    return xp.where(tied, firsts, signs)


# Tropp, Yurtsever, Udell, Cevher, "Fixed-rank approximation of a positive-semidefinite matrix
# from streaming data" (NIPS 2017), Algorithm 3. Differs from it:
# 1. Y and Z are first scaled by powers of two, so that the result is equivariant to the bit.
# 2. The core Z^H Y is decomposed by eigenvalues instead of Cholesky and directions below ten
#    roundoffs are dropped: rank-deficient and all-zero matrices need no second attempt.
# 3. Dropped directions come back with eigenvalue exactly 0 and an orthonormal column.
# 4. Z need not be orthonormal: the shift is measured in units of its columns.
def psd_nystrom(Y: Array, Z: Array, xp: Namespace | None = None) -> tuple[Array, Array]:
    """Return eigenvectors and eigenvalues of the Nystrom approximation of a matrix from ``S Z``.

    Parameters
    ----------
    Y : array (d, l)
        ``S Z`` for a Hermitian positive semi-definite `S`.
    Z : array (d, l)
        The test matrix, ``l <= d``, preferably orthonormal.
    xp : module, optional
        Namespace of the arrays.

    Returns
    -------
    V : array (d, l)
        Orthonormal columns. Those that belong to an eigenvalue 0 are arbitrary; replace them by
        random ones with :func:`refill` where they start an iteration.
    lam : array (l,)
        Non-negative eigenvalues in descending order, real; anything below ten roundoffs of the
        largest is exactly 0.

    Notes
    -----
    ``V diag(lam) V^H`` is at most `S` in the positive semi-definite order, up to rounding, and
    equals it if its rank is at most ``l``. Two synchronisations.
    """
    xp = array_namespace(Y, Z) if xp is None else xp
    y_exponent = scale_exponent(max_abs(Y, xp))
    z_exponent = scale_exponent(max_abs(Z, xp))
    Y, Z = ldexp(Y, -y_exponent, xp), ldexp(Z, -z_exponent, xp)
    roundoff = eps(xp, Y.dtype)
    squares = xp.sum(xp.real(xp.conj(Z) * Z) if is_complex(Z, xp) else Z * Z, axis=0)
    mean_square = xp.sum(squares) / Z.shape[1]
    unit = xp.sqrt(xp.where(mean_square > 0, mean_square, xp.ones_like(mean_square)))
    # ||S||_F restricted to the columns, measured per unit of Z.
    shift = roundoff * xp.linalg.vector_norm(Y) / unit
    shifted = Y + xp.astype(shift, Y.dtype, copy=False) * Z
    w, W = eigh_desc(hermitian_part(matmul_h(Z, shifted, xp), xp), xp)
    kept = (w > 10 * roundoff * w[:1]) & (w > 0)
    inverse_root = xp.where(kept, 1 / xp.sqrt(xp.where(kept, w, xp.ones_like(w))), xp.zeros_like(w))
    E = (shifted @ W) * xp.astype(inverse_root, Y.dtype, copy=False)[None, :]
    Q, R = qr_positive(E, xp)
    # Eigenvectors of the small core are orthonormal on every library, whatever its rank.
    values, rotation = eigh_desc(hermitian_part(R @ adjoint(R, xp), xp), xp)
    lam = values - shift
    floor = 10 * roundoff * xp.where(lam[:1] > 0, lam[:1], xp.zeros_like(lam[:1]))
    lam = xp.where(lam > floor, lam, xp.zeros_like(lam))
    return Q @ rotation, ldexp(lam, y_exponent - z_exponent, xp)


def refill(V: Array, lam: Array, draw: Array, xp: Namespace | None = None) -> Array:
    """Replace the columns of eigenvalue 0 by random ones, orthonormal to the others.

    Parameters
    ----------
    V : array (d, l)
        Orthonormal columns.
    lam : array (l,)
        Their eigenvalues in descending order.
    draw : array (d, l)
        Independent standard normal numbers; only as many columns are used as are lost.
    xp : module, optional
        Namespace of the arrays.

    Returns
    -------
    array (d, l)
        Orthonormal; the columns of positive eigenvalue are unchanged up to rounding.
    """
    xp = array_namespace(V, lam, draw) if xp is None else xp
    return orthonormalise(xp.where(lam[None, :] > 0, V, draw), xp)


def subspace_sin2(V: Array, W: Array, xp: Namespace | None = None) -> float:
    """Return ``sin^2`` of the largest principal angle from span(V) to span(W).

    Parameters
    ----------
    V : array (d, k)
        Orthonormal columns.
    W : array (d, m)
        Orthonormal columns; with ``m > k`` the angle to the nearest subspace of span(W).
    xp : module, optional
        Namespace of the arrays.

    Returns
    -------
    float
        In [0, 1], accurate to rounding also where it is tiny (``1 - cos^2`` is not).

    Examples
    --------
    >>> import numpy as np
    >>> t = 1e-9
    >>> V = np.asarray([[1.0], [0.0]])
    >>> W = np.asarray([[np.cos(t)], [np.sin(t)]])
    >>> bool(abs(subspace_sin2(V, W) - t**2) < 1e-30)
    True
    """
    xp = array_namespace(V, W) if xp is None else xp
    wide = widest_dtype(xp, device(V), xp.result_type(V, W))
    V, W = xp.astype(V, wide, copy=False), xp.astype(W, wide, copy=False)
    rest = V - W @ matmul_h(W, V, xp)
    values, _ = eigh_desc(matmul_h(rest, rest, xp), xp)
    return min(1.0, max(0.0, float(values[0])))
