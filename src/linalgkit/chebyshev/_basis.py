"""Chebyshev polynomials of one variable: points, transforms, values, derivatives, integrals.

Coefficients lie along an axis of length m, that of ``T_0, ..., T_{m-1}`` on [-1, 1]::

    x = nodes(m)                             # second kind, ascending, on the host
    C = to_coefficients(F, 0, xp)            # values at the nodes -> coefficients
    T = vandermonde(t, m, xp)                # (n, m): T_j at t; values are T @ C

In the *weighted* norm, that of L2 with the density of the Chebyshev weight, the square of a sum
``sum_j c_j T_j`` is ``|c_0|^2 + sum_{j > 0} |c_j|^2 / 2``. Multiplied by :func:`parseval`, the
coefficients have that norm as their plain 2-norm, a tensor of coefficients its Frobenius norm.
"""

from __future__ import annotations

import functools
import math

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    complex_dtype,
    device,
    is_complex,
    library_name,
    numpy_namespace,
    real_dtype,
)
from linalgkit._core.modes import mode_product
from linalgkit._kernels.chebyshev import chebyshev_rows

_HOST = numpy_namespace()
# Up to this many points a transform is one matrix product, beyond it a Fourier transform.
_GEMM_POINTS = 513


# ---------------------------------------------------------------------------- points on the host


@functools.lru_cache(maxsize=32)
def nodes(m: int) -> Array:
    """Return the `m` Chebyshev points of the second kind, ascending, exactly symmetric (host)."""
    if m == 1:
        return _frozen(_HOST.zeros(1))
    return _frozen(_HOST.sin(math.pi * _HOST.arange(1 - m, m, 2) / (2 * (m - 1))))


@functools.lru_cache(maxsize=8)
def nodes_first_kind(m: int) -> Array:
    """Return the `m` Chebyshev points of the first kind, ascending, exactly symmetric (host)."""
    return _frozen(_HOST.sin(math.pi * _HOST.arange(1 - m, m, 2) / (2 * m)))


def _frozen(x: Array) -> Array:
    """Return a host array that cannot be written, since a cache holds it."""
    x.flags.writeable = False
    return x


def scaled(t: Array, interval: tuple[float, float]) -> Array:
    """Return points of [-1, 1] moved to an interval, its ends exactly."""
    a, b = interval
    return a * (0.5 - 0.5 * t) + b * (0.5 + 0.5 * t)


def to_unit(x: Array, interval: tuple[float, float]) -> Array:
    """Return points of an interval moved to [-1, 1]."""
    a, b = interval
    half = 0.5 * b - 0.5 * a
    return (0.5 * (x - a) - 0.5 * (b - x)) / half


@functools.lru_cache(maxsize=16)
def coefficient_matrix(m: int) -> Array:
    """Return the matrix (m, m) from values at :func:`nodes` to coefficients (host, float64)."""
    if m == 1:
        return _frozen(_HOST.ones((1, 1)))
    j = _HOST.arange(m)
    angles = _HOST.multiply.outer(j, j) % (2 * (m - 1))
    A = _HOST.cos(math.pi * angles / (m - 1)) * (2.0 / (m - 1))
    A *= _HOST.where(j % 2 == 0, 1.0, -1.0)[:, None]
    A[:, [0, -1]] *= 0.5
    A[[0, -1], :] *= 0.5
    return _frozen(A)


@functools.lru_cache(maxsize=16)
def value_matrix(m: int) -> Array:
    """Return the matrix (m, m) from coefficients to values at :func:`nodes` (host, float64)."""
    j = _HOST.arange(m)
    if m == 1:
        return _frozen(_HOST.ones((1, 1)))
    angles = _HOST.multiply.outer(m - 1 - j, j) % (2 * (m - 1))
    return _frozen(_HOST.cos(math.pi * angles / (m - 1)))


# ------------------------------------------------------------------------------------- transforms


def on_device(x: Array, like: Array, xp: Namespace) -> Array:
    """Return a real host array in the library and precision of `like`, complex where that is.

    It may share the memory of `x`, which is not to be written.
    """
    dtype = real_dtype(xp, like.dtype)
    if is_complex(like, xp):
        dtype = complex_dtype(xp, dtype)
    if library_name(xp) == "numpy":
        return _HOST.asarray(x, dtype=dtype)
    return asarray(_HOST.array(x), xp=xp, device=device(like), dtype=dtype, copy=False)


def to_coefficients(F: Array, axis: int, xp: Namespace) -> Array:
    """Return the coefficients of values at :func:`nodes` along an axis."""
    m = int(F.shape[axis])
    if m <= _GEMM_POINTS:
        return mode_product(F, on_device(coefficient_matrix(m), F, xp), axis, xp)
    return _fourier_coefficients(F, axis, xp)


def _fourier_coefficients(F: Array, axis: int, xp: Namespace) -> Array:
    """Return the same by a Fourier transform of the even extension."""
    m = int(F.shape[axis])
    F = xp.flip(F, axis=axis)
    inner = _part(F, axis, 1, m - 1)
    E = xp.concat([F, xp.flip(inner, axis=axis)], axis=axis)
    if is_complex(F, xp):
        C = _part(xp.fft.fft(E, axis=axis), axis, 0, m)
    else:
        C = xp.real(xp.fft.rfft(E, axis=axis))
    ends = _HOST.ones(m) / (m - 1)
    ends[[0, -1]] *= 0.5
    return C * along(on_device(ends, C, xp), axis, C.ndim, xp)


def to_values(C: Array, axis: int, xp: Namespace) -> Array:
    """Return the values at :func:`nodes` of coefficients along an axis."""
    m = int(C.shape[axis])
    if m <= _GEMM_POINTS:
        return mode_product(C, on_device(value_matrix(m), C, xp), axis, xp)
    halves = _HOST.full(m, 0.5)
    halves[[0, -1]] = 1.0
    C = C * along(on_device(halves, C, xp), axis, C.ndim, xp)
    E = xp.concat([C, xp.flip(_part(C, axis, 1, m - 1), axis=axis)], axis=axis)
    if is_complex(C, xp):
        F = _part(xp.fft.fft(E, axis=axis), axis, 0, m)
    else:
        F = xp.real(xp.fft.rfft(E, axis=axis))
    return xp.flip(F, axis=axis)


def _part(X: Array, axis: int, start: int, stop: int) -> Array:
    """Return entries ``start:stop`` along an axis."""
    return X[(*(slice(None),) * axis, slice(start, stop), *(slice(None),) * (X.ndim - axis - 1))]


def along(v: Array, axis: int, ndim: int, xp: Namespace) -> Array:
    """Return a vector shaped to multiply along one of `ndim` axes."""
    return xp.reshape(v, (*(1,) * axis, -1, *(1,) * (ndim - axis - 1)))


def parseval(m: int) -> Array:
    """Return what makes the 2-norm of coefficients the weighted norm (host): 1, sqrt(1/2), ..."""
    w = _HOST.full(m, math.sqrt(0.5))
    w[0] = 1.0
    return w


def resized(C: Array, m: int, xp: Namespace) -> Array:
    """Return coefficients along axis 0 with zeros appended, or cut."""
    rows = int(C.shape[0])
    if rows >= m:
        return C[:m, ...]
    zeros = xp.zeros((m - rows, *C.shape[1:]), dtype=C.dtype, device=device(C))
    return xp.concat([C, zeros], axis=0)


# ----------------------------------------------------------------- values, derivatives, integrals


def vandermonde(t: Array, m: int, xp: Namespace) -> Array:
    """Return ``T_0, ..., T_{m-1}`` at points `t` (n,) as a matrix (n, m), in their dtype."""
    return xp.matrix_transpose(chebyshev_rows(xp, t, m))


@functools.lru_cache(maxsize=3)
def derivative_matrix(m: int) -> Array:
    """Return the matrix (max(m-1, 1), m) from coefficients to those of the derivative (host)."""
    j = _HOST.arange(m)
    k = _HOST.arange(max(m - 1, 1))[:, None]
    D = _HOST.where((j > k) & ((j - k) % 2 == 1), 2.0 * j, 0.0)
    D[0, :] *= 0.5
    return _frozen(D)


@functools.lru_cache(maxsize=16)
def integrals(m: int) -> Array:
    """Return the integrals of ``T_0, ..., T_{m-1}`` over [-1, 1] (host)."""
    j = _HOST.arange(m).astype(_HOST.float64)
    even = _HOST.arange(m) % 2 == 0
    return _frozen(_HOST.where(even, 2.0 / (1.0 - _HOST.where(even, j, 0.0) ** 2), 0.0))


@functools.lru_cache(maxsize=3)
def gram(m: int, n: int) -> Array:
    """Return the integrals of ``T_i T_j`` over [-1, 1], shape (m, n) (host)."""
    i, j = _HOST.arange(m)[:, None], _HOST.arange(n)[None, :]
    values = integrals(m + n)
    return _frozen(0.5 * (values[i + j] + values[_HOST.abs(i - j)]))
