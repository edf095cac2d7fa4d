"""Rotated data of Kronecker sparse Bayesian learning: sums over them, and their weighting.

In the eigenbases of the modes the covariance of the data is diagonal. The tensor `Z` of rotated
data has shape (O, m, L): the first modes as one, the last mode, snapshots. Its entries have the
variances ``D[o, j] = outer[o] * inner[j] + noise``::

    sums, by_inner, by_outer = kron_pass(xp, Z, outer, inner, noise)
    W = kron_weighted(xp, Z, outer, inner, noise, left, right)

A portable sum takes a pass over an array of its own for each logarithm, quotient and square; the
other forms read `Z` once and store nothing of its size.
"""

from __future__ import annotations

from collections.abc import Iterator

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels._kernel import Kernel


def _variances(xp: Namespace, outer: Array, inner: Array, noise: float) -> Array:
    """Return ``D``, shape (O, m)."""
    return outer[:, None] * inner[None, :] + noise


def _kron_pass(
    xp: Namespace, Z: Array, outer: Array, inner: Array, noise: float
) -> tuple[Array, Array, Array]:
    """Return the sums of the evidence, of the noise update and of the mode updates.

    Parameters
    ----------
    Z : array, shape (O, m, L)
        Real or complex floating; C-contiguous where it is a NumPy array.
    outer, inner : array, shape (O,) and (m,)
        Eigenvalues, not negative, in the widest real dtype of the device.
    noise : float
        Positive.

    Returns
    -------
    sums : array, shape (4,)
        Sums of ``log D``, ``|Z|^2 / D``, ``|Z|^2 / D^2``, ``1 / D``; those with `Z` over the
        snapshots too.
    by_inner : array, shape (m,)
        ``sum_o outer[o] / D[o, j]``.
    by_outer : array, shape (O,)
        ``sum_j inner[j] / D[o, j]``.

    Notes
    -----
    All three are in the dtype of the eigenvalues. `D` must stay normal, as must its reciprocal;
    squares of `Z` alone are not formed. Storage: ``3 O m`` numbers in the portable form,
    ``O + 2 m + 1100`` in the Numba form, ``5 O + m`` in the CuPy form.
    """
    D = _variances(xp, outer, inner, noise)
    logarithm = xp.sum(xp.log(D))
    R = 1.0 / D
    del D
    by_inner, by_outer = xp.matmul(outer, R), xp.matmul(R, inner)
    first = second = 0.0 * logarithm
    for part in _real_parts(xp, Z):
        quotient = part * R
        first = first + xp.sum(part * quotient)
        second = second + xp.sum(quotient * quotient)
    return xp.stack((logarithm, first, second, xp.sum(R))), by_inner, by_outer


def _real_parts(xp: Namespace, Z: Array) -> Iterator[Array]:
    """Yield the real numbers of `Z`, one for each variance at a time."""
    is_complex = xp.isdtype(Z.dtype, "complex floating")
    for k in range(Z.shape[2]):
        column = Z[:, :, k]
        yield from (xp.real(column), xp.imag(column)) if is_complex else (column,)


def _kron_weighted(
    xp: Namespace,
    Z: Array,
    outer: Array,
    inner: Array,
    noise: float,
    left: Array,
    right: Array,
) -> Array:
    """Return the weighted tensor of which Gram matrices are taken.

    Parameters
    ----------
    Z, outer, inner, noise
        As in :func:`kron_pass`.
    left, right : array, shape (O,) and (m,)
        Real, in the dtype of the eigenvalues.

    Returns
    -------
    array, shape (O, m, L)
        ``Z[o, j, l] * left[o] * right[j] / D[o, j]``, rounded to the dtype of `Z`.
    """
    factor = left[:, None] * right[None, :] / _variances(xp, outer, inner, noise)
    return xp.astype(Z * factor[:, :, None], Z.dtype, copy=False)


def _takes(Z: Array, *real: Array) -> bool:
    return (
        Z.ndim == 3
        and Z.dtype.char in "fdFD"
        and bool(Z.dtype.isnative)
        and bool(Z.flags.c_contiguous)
        and all(x.dtype.char == "d" and bool(x.dtype.isnative) for x in real)
    )


def _pass_fits(form: str, Z: Array, outer: Array, inner: Array, noise: float) -> bool:
    return _takes(Z, outer, inner)


def _weighting_fits(
    form: str, Z: Array, outer: Array, inner: Array, noise: float, left: Array, right: Array
) -> bool:
    return _takes(Z, outer, inner, left, right)


kron_pass = Kernel(
    "kron_pass",
    portable=_kron_pass,
    numba="linalgkit._kernels.numba_forms.kron_pass:kron_pass",
    cupy="linalgkit._kernels.cupy_forms.kron_pass:kron_pass",
    supports=_pass_fits,
)

kron_weighted = Kernel(
    "kron_weighted",
    portable=_kron_weighted,
    numba="linalgkit._kernels.numba_forms.kron_pass:kron_weighted",
    cupy="linalgkit._kernels.cupy_forms.kron_pass:kron_weighted",
    supports=_weighting_fits,
)
