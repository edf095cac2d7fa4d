"""The optimal backward error in eighty digits, from its characterisation as a singular value."""

from __future__ import annotations

import mpmath
import numpy as np


def _matrix(X: np.ndarray) -> mpmath.matrix:
    return mpmath.matrix([[mpmath.mpc(complex(value)) for value in row] for row in X])


def optimal_backward_error(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Return ``min(eta, sigma_min [A, eta (I - r r^+)]) / ||A||_F`` (Walden, Karlson, Sun 1995).

    ``eta = theta ||r|| / sqrt(1 + theta^2 ||x||^2)`` and ``theta = ||A||_F / ||b||``. In the
    space that the columns of `A` and `r` span the second matrix has ``d + 1`` rows.
    """
    with mpmath.workdps(80):
        A_, b_, x_ = _matrix(A), _matrix(b[:, None]), _matrix(x[:, None])
        r = b_ - A_ * x_
        size, theta = mpmath.norm(A_), mpmath.norm(A_) / mpmath.norm(b_)
        eta = theta * mpmath.norm(r) / mpmath.sqrt(1 + theta**2 * mpmath.norm(x_) ** 2)
        if eta == 0:
            return 0.0
        d = A.shape[1]
        joint = mpmath.matrix(A.shape[0], d + 1)
        joint[:, :d], joint[:, d] = A_, r
        # The triangular factor of [A, r] by Cholesky, which eighty digits allow.
        factor = mpmath.cholesky(joint.H * joint).H
        R, rho = factor[:, :d], factor[:, d]
        unit = rho / mpmath.norm(rho)
        squares = R * R.H + eta**2 * (mpmath.eye(d + 1) - unit * unit.H)
        smallest = min(mpmath.re(value) for value in mpmath.eighe(squares, eigvals_only=True))
        return float(min(eta, mpmath.sqrt(abs(smallest))) / size)
