"""Tucker decomposition of a tensor to a tolerance, one mode after the other.

::

    result = sthosvd(X, tol=1e-8)               # core, factors, ranks, relative error
    Y = result.to_array()

    core, bases, error = truncate(core, absolute, xp)     # the same without checks
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    array_namespace,
    detached,
    device,
    eps,
    real_dtype,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.modes import mode_products
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit._core.validation import (
    AccuracyWarning,
    check_choice,
    check_finite_block,
    check_float,
    check_int,
    message,
)
from linalgkit.chebyshev._tucker_steps import reduced
from linalgkit.chebyshev._tucker_svd import GRAM_BLUR, GRAM_MARGIN

_METHODS = ("auto", "gram", "lq", "randomized")
# Draws of "auto" without rng: any numbers do, as the residual is measured.
_OWN_SEED = 20250301
# Energy allowed where ranks alone are given: not even zeros go.
_NOTHING = -1.0


@dataclass(frozen=True, eq=False)
class TuckerResult:
    """A core and factors with orthonormal columns.

    Attributes
    ----------
    core : array (r_1, ..., r_d)
        The scale of the tensor is here.
    factors : tuple of array (n_k, r_k)
        Orthonormal columns; the tensor is the core times each of them along its mode.
    ranks : tuple of int
        Columns of the factors.
    error : float
        Bound of the Frobenius norm of the error, relative to that of the tensor, rounding to the
        dtype included; 0 for a tensor of zeros. From discarded singular values or explicit
        residuals, never from a difference of two norms.
    status : str
        "converged" (`error` is at most the tolerance), "max_rank" (the ranks given are too small
        for the tolerance, or none was given), "inaccurate" (the method named resolves less).
    """

    core: Array = field(repr=False)
    factors: tuple[Array, ...] = field(repr=False)
    ranks: tuple[int, ...]
    error: float
    status: str

    def to_array(self) -> Array:
        """Return the tensor (n_1, ..., n_d) in full.

        Returns
        -------
        array (n_1, ..., n_d)
            The core times the factors, in their library, device and dtype.

        Notes
        -----
        Storage: the tensor and the largest product on the way, which is smaller.
        """
        return mode_products(self.core, self.factors, array_namespace(self.core))


# ---------------------------------------------------------------------- the public function


@capability("chebyshev.sthosvd", synchronisations={"call": 3})
def sthosvd(
    X: Array,
    *,
    tol: float | None = None,
    ranks: int | Sequence[int] | None = None,
    svd: str = "auto",
    n_iter: int = 0,
    rng: Any = None,
) -> TuckerResult:
    r"""Return a Tucker decomposition with the least ranks that a tolerance allows.

    The sequentially truncated higher-order SVD: one mode after the other is projected on leading
    left singular vectors of its unfolding, and the next mode sees the smaller tensor.

    Parameters
    ----------
    X : array (n_1, ..., n_d)
        Any tensor, ``d >= 1``, real or complex, of any scale.
    tol : float, optional
        Error allowed, in the Frobenius norm relative to ``||X||``. Without `tol` and `ranks`
        1e-10, or 1e-5 in single precision. Below 4 units of roundoff it is raised to that.
    ranks : int or sequence of int, optional
        Most columns of the factors, for all modes or each. With `tol` the smaller rank counts;
        alone these are the ranks, also where the tensor itself has smaller ones, but for a mode
        whose rank would exceed the product of the others'.
    svd : {"auto", "gram", "lq", "randomized"}
        How singular vectors are found. "gram" takes eigenvectors of the Gram matrix, in the
        widest dtype of the device, and resolves relative errors to about 1e-7 (float64). "lq"
        takes the triangular factor of the unfolding, and resolves all. "randomized" takes a
        growing range finder, whose residual is measured explicitly; where it would span two
        thirds of a mode it goes over to "lq". "auto" takes the fastest that resolves `tol`.
    n_iter : int, default 0
        Sweeps of the higher-order orthogonal iteration (alternating least squares) at the ranks
        found.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of the test matrices of "randomized". "auto" takes numbers of its own where it is
        None, so that its answer is always the same.

    Returns
    -------
    TuckerResult
        ``core``, ``factors``, ``ranks``, ``error``, ``status``, in the library, device and dtype
        of `X` (integers: the default float).

    Raises
    ------
    TypeError
        If `X` is no dense array, or an argument is of the wrong kind.
    ValueError
        If `X` has no axis, an empty mode, NaN or infinity, or a norm beyond the largest number;
        if `tol` is not positive, ranks are not between 1 and the lengths of the modes, `n_iter`
        is negative or `svd` unknown.

    Warns
    -----
    AccuracyWarning
        If `tol` is below what the dtype, or ``svd="gram"``, resolves.

    Notes
    -----
    The projections are orthogonal, so that the squared error is exactly the sum of the energies
    that the modes lose [1]_. Each mode may spend an equal part of what the earlier ones left of
    ``tol^2 ||X||^2``. A thousandth of it may go before, with slices of the tensor that are too
    small to matter, as those of coefficients of high degree often are. At the same ranks no
    decomposition is better by more than a factor of about ``sqrt(d)``. The modes come in the
    order that costs least: those first that are cheap and shrink most.

    The error claimed contains what rounding hides: of a Gram matrix, whose eigenvalues are off by
    about ``eps ||X||^2``, ``max(4, n - r) eps ||X||^2`` of energy for r columns of n; where a mode
    loses less than ``3 n eps ||X||^2``, the difference itself is taken. In all there are
    ``(sqrt(n_1 + ... + n_d) + 4) eps ||X||`` of the work, and ``sqrt(d + 1) eps`` of the dtype of
    an answer in single precision. These are measured sizes, not theorems.

    Storage: beyond `X`, with ``s`` columns of the first factor (of its sketch, if randomized),
    ``s / n_1`` times the size of `X` twice, the squares of the ``n_k`` three times, and 2 MiB.
    `X` is copied where it is not in C order, and in single precision (to double, where the
    device has it); what slices leave is copied if there are some to leave out.

    References
    ----------
    .. [1] N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, "A new truncation strategy for the
       higher-order singular value decomposition", SIAM J. Sci. Comput. 34 (2012).
    .. [2] N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM
       Review 53 (2011).
    .. [3] L. De Lathauwer, B. De Moor, J. Vandewalle, "On the best rank-1 and
       rank-(R1, ..., RN) approximation of higher-order tensors", SIAM J. Matrix Anal. Appl. 21
       (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import sthosvd
    >>> x = np.linspace(0, 1, 30)
    >>> X = 1 / (1 + x[:, None, None] + x[:, None] + x)
    >>> result = sthosvd(X, tol=1e-6)
    >>> result.ranks, result.error < 1e-6
    ((4, 4, 4), True)
    >>> bool(np.linalg.norm(result.to_array() - X) <= result.error * np.linalg.norm(X))
    True
    """
    xp, X = array_namespace(X), detached(X)
    check_choice("svd", svd, _METHODS)
    n_iter = check_int("n_iter", n_iter, 0)
    shape = _checked_shape(X)
    most = _checked_ranks(ranks, shape)
    dtype = working_dtype(xp, device(X), X.dtype)
    wide = xp.astype(X, widest_dtype(xp, device(X), dtype), copy=False)
    units = eps(xp, wide.dtype), eps(xp, dtype)
    goal = _goal(tol, ranks is not None, units[1])
    least = _resolved(units, svd, len(shape))
    generator = as_generator(_OWN_SEED if rng is None and svd == "auto" else rng)
    wide, norm, exponent = _scaled(wide, X, dtype, xp)
    hidden = _rounding(units, shape) if norm > 0 else 0.0
    energy = max(goal, least if goal else 0.0) ** 2
    allowed = max(energy - hidden * hidden, 0.75 * energy) * norm * norm if goal else _NOTHING
    core, bases, lost = reduced(wide, norm * norm, allowed, most, svd, n_iter, generator, xp)
    error = math.hypot(math.sqrt(lost) / norm, hidden) if norm > 0 else 0.0
    core = ldexp(xp.astype(core, dtype, copy=False), exponent, xp)
    factors = tuple(xp.astype(U, dtype, copy=False) for U in bases)
    found = tuple(int(U.shape[1]) for U in factors)
    capped = any(r == m < n for r, m, n in zip(found, most, shape, strict=True))
    raised = max(goal, 4 * units[1]) if goal else 0.0
    status = _status(error, raised, capped or not goal)
    _warn_if_weaker(goal, raised, error, status)
    return TuckerResult(core, factors, found, error, status)


def _status(error: float, goal: float, capped: bool) -> str:
    """Return the word for how the error compares with the tolerance."""
    if error <= goal:
        return "converged"
    return "max_rank" if capped else "inaccurate"


def _warn_if_weaker(goal: float, raised: float, error: float, status: str) -> None:
    """Warn where the tolerance was raised, or the method or rounding alone is above it."""
    if goal < raised or status == "inaccurate":
        warnings.warn(
            f"tol = {goal:.3g} is below what the dtype and the method resolve; a relative error "
            f"of {error:.3g} is certain. svd='lq' and double precision resolve most.",
            AccuracyWarning,
            stacklevel=3,
        )


def _rounding(units: tuple[float, float], shape: tuple[int, ...]) -> float:
    """Return the relative error that rounding may leave: of the work, and of a narrower answer."""
    wide, narrow = units
    work = wide * (math.sqrt(sum(shape)) + 4)
    return math.hypot(work, math.sqrt(len(shape) + 1) * narrow) if narrow > wide else work


def _scaled(wide: Array, X: Array, dtype: DType, xp: Namespace) -> tuple[Array, float, int]:
    """Return the tensor times a power of two, whose squares are safe, its norm and the exponent.

    Refuses NaN, infinity and norms that the core could not hold.
    """
    norm = norm_fro(wide, xp)
    largest = float(xp.finfo(real_dtype(xp, wide.dtype)).max)
    if largest**-0.125 < norm < largest**0.125 or norm == 0:
        return wide, norm, 0
    check_finite_block(X, unit="entry" if X.ndim == 1 else "slice along the first axis: ")
    exponent = scale_exponent(max_abs(wide, xp))
    wide = ldexp(wide, -exponent, xp)
    norm = norm_fro(wide, xp)
    if ldexp_float(norm, exponent) > float(xp.finfo(real_dtype(xp, dtype)).max):
        raise ValueError(
            "X must have a norm below the largest number of its dtype, which the core would have "
            "to hold. Scale X down first."
        )
    return wide, norm, exponent


def _checked_shape(X: Array) -> tuple[int, ...]:
    """Return the shape of a tensor that has axes and entries."""
    shape = tuple(map(int, X.shape))
    if len(shape) == 0:
        raise ValueError("X must have at least one axis, got a scalar. Pass X[None].")
    if 0 in shape:
        raise ValueError(
            f"X must have no empty mode, got shape {shape}. Leave modes of length 0 out."
        )
    return shape


def _checked_ranks(ranks: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the most columns of each factor."""
    if ranks is None:
        return shape
    why = f"for a tensor of shape {shape}"
    if not isinstance(ranks, (tuple, list)):
        r = check_int("ranks", ranks, 1, max(shape), why, way_out="Or give one rank a mode.")
        if r > min(shape):
            raise ValueError(message("ranks", f"be between 1 and {min(shape)}", r, why=why))
        return (r,) * len(shape)
    if len(ranks) != len(shape):
        raise ValueError(message("ranks", f"have one entry for each of {len(shape)} modes", ranks))
    return tuple(
        check_int(f"ranks[{k}]", r, 1, n, why)
        for k, (r, n) in enumerate(zip(ranks, shape, strict=True))
    )


def _goal(tol: Any, ranked: bool, unit: float) -> float:
    """Return the relative error asked for; 0 where only ranks are given."""
    if tol is None:
        return 0.0 if ranked else (1e-5 if unit > 1e-10 else 1e-10)
    return check_float("tol", tol, 0, low_open=True)


def _resolved(units: tuple[float, float], svd: str, order: int) -> float:
    """Return the least tolerance that the dtype and the method named resolve."""
    wide, narrow = units
    seen = math.sqrt(GRAM_MARGIN * GRAM_BLUR * order * wide) if svd == "gram" else 0.0
    return max(4 * narrow, seen)


# ------------------------------------------------------------------------------- the method


def truncate(
    core: Array,
    absolute: float,
    xp: Namespace,
    *,
    ranks: int | Sequence[int] | None = None,
    n_iter: int = 0,
    svd: str = "auto",
    rng: Any = None,
) -> tuple[Array, list[Array], float]:
    """Return a smaller core, orthonormal bases of its modes, and the Frobenius error.

    The core is in the widest dtype, of any scale; the energy discarded is at most
    ``absolute**2``, unless `ranks` are smaller. Rounding is not part of the error returned.
    """
    exponent = scale_exponent(max_abs(core, xp))
    scaled = ldexp(core, -exponent, xp)
    goal = ldexp_float(float(absolute), -exponent)
    shape = tuple(map(int, core.shape))
    most = (ranks,) * len(shape) if isinstance(ranks, int) else tuple(ranks or shape)
    most = tuple(min(int(r), n) for r, n in zip(most, shape, strict=True))
    generator = as_generator(_OWN_SEED if rng is None else rng)
    norm2 = norm_fro(scaled, xp) ** 2
    allowed = min(goal, 1e150) ** 2
    small, bases, lost = reduced(scaled, norm2, allowed, most, svd, n_iter, generator, xp)
    return ldexp(small, exponent, xp), bases, ldexp_float(math.sqrt(lost), exponent)
