"""The smallest relative change of the data that makes a given answer the exact one.

With ``theta = ||A||_F / ||b||`` the backward error of `x` is the smallest
``||[dA, theta db]||_F / ||A||_F`` for which `x` solves ``min ||(A + dA) x - (b + db)||``. From
the triangular factor `R` of `A` and the gradient ``g = A^H (b - A x)``::

    backward_errors(R, point, exact=False)      # estimate, one small QR a right side
    backward_errors(R, point, exact=True)       # the exact value, one small SVD

Both are free of cancellation, and as accurate as `g`: to about one roundoff of ``||A||_F``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from linalgkit._core.array import (
    Array,
    Namespace,
    is_complex,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.linalg import damped_r_factor, norm_fro, solve_triangular, svd_desc
from linalgkit._core.scaling import silent

_STEPS = 60


@dataclass(frozen=True)
class Point:
    """What is known of an answer `x` (one column a right side).

    Attributes
    ----------
    g : array (p, k)
        ``A^H r``, or ``R r`` with ``R^H R = A A^H`` where `A` is wide.
    r_norms, x_norms, b_norms : list of float
        ``||r||``, ``||x||`` and ``||b||``.
    a_norm : float
        ``||A||_F``.
    """

    g: Array
    r_norms: list[float]
    x_norms: list[float]
    b_norms: list[float]
    a_norm: float

    def sizes(self) -> list[float]:
        """Return ``sqrt(||b||^2 + ||A||_F^2 ||x||^2)`` for each right side."""
        pairs = zip(self.b_norms, self.x_norms, strict=True)
        return [math.hypot(b, self.a_norm * x) for b, x in pairs]

    def dampings(self) -> list[float]:
        """Return ``mu = theta ||r|| / sqrt(1 + theta^2 ||x||^2)``, the largest possible value."""
        pairs = zip(self.r_norms, self.sizes(), strict=True)
        return [self.a_norm * (r / size) if size else 0.0 for r, size in pairs]


# Karlson and Walden, "Estimation of optimal backward perturbation bounds for the linear least
# squares problem", BIT 37 (1997), with the weight theta of Walden, Karlson and Sun, Numer. Linear
# Algebra Appl. 2 (1995).
def backward_errors(
    R: Array, point: Point, xp: Namespace, *, exact: bool, less: list[float] | None = None
) -> list[float]:
    """Return the backward error of each right side, in units of ``||A||_F``.

    Parameters
    ----------
    R : array (p, p)
        ``R^H R = A^H A`` (``A A^H`` for a wide `A`, then with ``R^H`` in its place).
    point : Point
        The answer.
    xp : module
        Namespace.
    exact : bool
        Whether the exact value is computed; the estimate is never above it and never below
        half of it.
    less : list of float, optional
        Whose squares are to be taken off those of the damped norms (for a wide `A` with ridge).
    """
    dampings = point.dampings()
    norms = damped_norms(R, point.g, dampings, point.r_norms, xp, exact=exact)
    if less is not None:
        norms = [
            math.sqrt(max(a - b, 0.0)) * math.sqrt(a + b) for a, b in zip(norms, less, strict=True)
        ]
    found = []
    for norm, size, mu in zip(norms, point.sizes(), dampings, strict=True):
        # mu / ||A||_F itself is a backward error: that of changing A by a matrix of rank one.
        bound = mu / point.a_norm if point.a_norm else 0.0
        found.append(min(norm / size, bound) if size else 0.0)
    return found


def upper_bounds(kept: list[float], point: Point, xp: Namespace) -> list[float]:
    """Return bounds that need no factorisation, from ``||(A^H A)^(-1/2) g||`` and ``||g||``."""
    rows = zip(kept, column_norms(point.g, xp), point.sizes(), point.dampings(), strict=True)
    return [min(h, g / mu if mu else h) / size if size else 0.0 for h, g, size, mu in rows]


def damped_norms(
    R: Array, g: Array, dampings: list[float], r_norms: list[float], xp: Namespace, *, exact: bool
) -> list[float]:
    """Return ``||(R^H R + mu^2 I)^(-1/2) g||`` for each column and its own ``mu``."""
    if exact or R.shape[0] < R.shape[1]:
        return _by_svd(R, g, dampings, r_norms, xp, exact)
    return [_by_qr(R, g[:, j : j + 1], mu, xp) for j, mu in enumerate(dampings)]


def _by_qr(R: Array, g: Array, mu: float, xp: Namespace) -> float:
    """Solve with the triangular factor of ``[R; mu I]``."""
    if mu == 0:
        return 0.0  # the residual is zero, and so is g
    T = damped_r_factor(R, mu, xp)
    return norm_fro(solve_triangular(T, g, lower=False, adjoint=True, xp=xp), xp)


def _by_svd(
    R: Array, g: Array, dampings: list[float], r_norms: list[float], xp: Namespace, exact: bool
) -> list[float]:
    """Return the same norms, or those whose ratio to the sizes is the exact backward error.

    The square of the optimal backward error is the root of a secular equation: with the
    singular values `s` of `A`, ``h_j = |v_j^H g|^2`` and ``c = mu^2 / ||r||^2`` it is the
    smallest root of ``t = c sum_j h_j / (s_j^2 + mu^2 - t)``, or mu^2 if that is less. This
    follows from its characterisation as a smallest singular value, with all cancellation done
    on paper; the estimate is the first step, ``t = 0`` on the right.
    """
    host = numpy_namespace()
    _, s, Vh = svd_desc(R, xp)
    parts = host.abs(to_numpy(Vh @ g)).astype("float64")
    values = to_numpy(s).astype("float64")
    steps = _STEPS if exact else 1
    with silent():
        return [
            r * _root(values, parts[:, j] / r, mu, steps) if r and mu else 0.0
            for j, (mu, r) in enumerate(zip(dampings, r_norms, strict=True))
        ]


def _root(s: Array, parts: Array, mu: float, steps: int) -> float:
    """Return the square root of the smallest root ``t / mu^2``, at most 1, or of its first step.

    ``parts`` are ``|v_j^H g| / ||r||``. Newton's iterates increase towards the root.
    """
    lengths = numpy_namespace().hypot(s, mu)
    ratios, apart, near = parts / lengths, (s / lengths) ** 2, (mu / lengths) ** 2
    if steps == 1:
        return math.hypot(*ratios.tolist())
    h, t = ratios**2, 0.0
    for _ in range(steps):
        gaps = apart + near * (1 - t)
        value, slope = float((h / gaps).sum()), float((h * near / gaps**2).sum())
        if not slope < 1:
            return 1.0  # no root below mu^2
        step = (value - t) / (1 - slope)
        t += step
        if t >= 1:
            return 1.0
        if not step > 1e-12 * t:
            break
    return math.sqrt(t)


def column_norms(X: Array, xp: Namespace) -> list[float]:
    """Return the 2-norm of each column as Python floats, whatever their magnitudes.

    One synchronisation, and two for each column whose squares overflow or vanish.
    """
    with silent():
        squares = floats(xp.sum(xp.real(xp.conj(X) * X) if is_complex(X, xp) else X * X, axis=0))
    limits = xp.finfo(real_dtype(xp, X.dtype))
    least, most = float(limits.smallest_normal / limits.eps), float(limits.max)
    return [
        math.sqrt(value) if least < value <= most else norm_fro(X[:, j], xp)
        for j, value in enumerate(squares)
    ]


def floats(values: Array) -> list[float]:
    """Return the entries of a real 1-D array as Python floats (one synchronisation)."""
    return [float(value) for value in to_numpy(values)]
