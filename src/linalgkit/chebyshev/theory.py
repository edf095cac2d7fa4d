"""The four algorithms of the Chebyshev-Tucker paper by name, as its authors released them.

Benner, Khoromskij, Khoromskaia and Sun [1]_ fix the number of Chebyshev points, measure in the
plain 2-norm of coefficients and cut with a tolerance that is relative to that norm, or absolute::

    T = functional_hosvd(f, domain)                  # a function on the full product grid
    T = tensor_input(values, domain)                 # a full tensor on a uniform grid
    T = cp_full(weights, factors, domain)            # a canonical tensor, all coefficients formed
    T = cp_rhosvd(weights, factors, domain)          # a canonical tensor, reduced HOSVD

They are here to compare with. Their tolerance is a share of the 2-norm of coefficients or of the
columns, while `status` compares the largest error with it: an answer as good as published may be
"inaccurate", and is so with a warning. :func:`~linalgkit.chebyshev.chebtucker`,
:func:`~linalgkit.chebyshev.chebtucker_from_values` and
:func:`~linalgkit.chebyshev.chebtucker_from_cp` find the degrees and keep a tolerance in the maximum
norm. The error estimates are ours: none was part of the released code.

References
----------
.. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
   tensor format with applications to multi-particle modelling", arXiv:2503.01696, and the code
   github.com/bonans/ChebTuck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    asarray,
    device,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import svd_desc
from linalgkit._core.modes import mode_product, mode_products
from linalgkit._core.scaling import max_abs, norm_fro
from linalgkit._core.validation import check_int
from linalgkit.chebyshev._basis import nodes, on_device, to_coefficients
from linalgkit.chebyshev._cp import Reference, chebtucker_from_cp, sampled
from linalgkit.chebyshev._cp_input import Canonical, canonical, settled
from linalgkit.chebyshev._cp_reduction import MOST_CORE, canonical_tensor
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._function import ChebTucker
from linalgkit.chebyshev._max_norm import (
    SPLINE_GAIN,
    check_points,
    checked_tolerance,
    finished,
    placed,
    unit_box,
)
from linalgkit.chebyshev._node_grids import checked_grids
from linalgkit.chebyshev._parts import Interval, Parts, check_domain
from linalgkit.chebyshev._resample import spline_matrix
from linalgkit.chebyshev._sampler import Sampler
from linalgkit.chebyshev._sthosvd import truncate
from linalgkit.chebyshev._values import check_tensor, spline_values

__all__ = ["cp_full", "cp_rhosvd", "functional_hosvd", "tensor_input"]

_HOST = numpy_namespace()
#: Chebyshev points of each variable and tolerance of the authors' experiments.
POINTS, TOLERANCE = 129, 1e-7
_WAY_OUT = (
    "The number of points is fixed here, and the truncation keeps tol in a norm of coefficients: "
    "raise m, take a smaller tol, or the main function, which finds both."
)


@capability("chebyshev.theory.functional_hosvd", synchronisations={"call": 1})
def functional_hosvd(
    f: Callable[[Array], Array],
    domain: Any,
    *,
    m: int = POINTS,
    tol: float = TOLERANCE,
    n_iter: int = 0,
    xp: Namespace | None = None,
) -> ChebTucker:
    """Return a function by its values on the full Chebyshev grid and a HOSVD of all coefficients.

    Parameters
    ----------
    f : callable
        Takes points (n, d), an array of `xp`, and returns values (n,).
    domain : array or sequence, shape (d, 2)
        Ends of the interval of each variable; d from 1 to 6. An array decides on library and
        device.
    m : int, default 129
        Chebyshev points of each variable, at least 2.
    tol : float, default 1e-7
        Each mode loses at most ``tol / sqrt(d)`` of the 2-norm of the coefficients.
    n_iter : int, default 0
        Sweeps of alternating least squares (HOOI). The paper describes them, the released code has
        none.
    xp : module, optional
        Array library. None: that of `domain` if it is an array, else NumPy.

    Returns
    -------
    ChebTucker
        `n_evals` is ``m**d`` and 1024 for the error estimate.

    Raises
    ------
    TypeError
        If `f` is not callable or returns no array of `xp`.
    ValueError
        If the box is not one, `m` or `tol` is too small, ``m**d`` exceeds 2**28, or `f` returns a
        wrong shape, NaN or infinity.

    Warns
    -----
    AccuracyWarning
        If `error_estimate` exceeds `tol` times the largest value met: `m` points do not resolve the
        function to the tolerance, or the truncation, measured in another norm, is off by more.

    Notes
    -----
    Differs from :func:`~linalgkit.chebyshev.chebtucker`: the grid is full and fixed; the norm is
    that of plain coefficients, in which the constant counts half as much as in L2. With `m` too
    small the discarded singular values say nothing: the Newton kernel at m = 129 is off by 0.41 of
    its maximum with a truncation error of 1e-7 [measured].

    Storage: three tensors of ``m**d`` numbers.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, arXiv:2503.01696, function input.

    Examples
    --------
    >>> import numpy as np
    >>> T = functional_hosvd(lambda x: np.cos(x[:, 0] + x[:, 1]), [(-1, 1)] * 2, m=33)
    >>> T.ranks, T.degrees
    ((2, 2), (32, 32))
    """
    intervals = check_domain(domain)
    m = check_int("m", m, low=2)
    n_iter = check_int("n_iter", n_iter, low=0)
    _check_size(m, len(intervals))
    if not callable(f):
        raise TypeError(f"f must be a function of points (n, d), got {type(f).__name__}.")
    xp, place = _place(domain, xp)
    sampler = Sampler(
        f,
        intervals,
        vectorized="points",
        xp=xp,
        device=place,
        dtype=None,
        max_evals=2 * MOST_CORE,
    )
    points = check_points(len(intervals))
    values = sampler.set_unit(sampler.points(points))
    C = sampler.tensor([nodes(m)] * len(intervals))
    sample = asarray(values, xp=xp, device=place, dtype=C.dtype)
    for axis in range(C.ndim):
        C = to_coefficients(C, axis, xp)
    case = Case(intervals, sampler.exponent, sampler.kind, sampler.n_evals)
    reference = Reference(points, sample, max_abs(sample, xp), 0.0, 0.0)
    return _answer(C, reference, case, tol, n_iter, xp)


@capability("chebyshev.theory.tensor_input", synchronisations={"call": 14})
def tensor_input(
    values: Array, domain: Any, *, m: int = POINTS, tol: float = TOLERANCE, n_iter: int = 0
) -> ChebTucker:
    """Return the function through a full tensor on a uniform grid, by splines and a HOSVD.

    Parameters
    ----------
    values : array (n_1, ..., n_d)
        At the centres of equal cells; each n_k at least 4.
    domain, m, tol, n_iter
        As of :func:`functional_hosvd`.

    Returns
    -------
    ChebTucker
        `n_evals` is the number of values.

    Raises
    ------
    TypeError, ValueError
        As :func:`~linalgkit.chebyshev.chebtucker_from_values`.

    Warns
    -----
    AccuracyWarning
        As :func:`functional_hosvd`, and if the splines miss more than the tolerance.

    Notes
    -----
    Differs from :func:`~linalgkit.chebyshev.chebtucker_from_values`: all ``m**d`` values of the
    splines are formed before anything is truncated, `m` is fixed, and the norm is that of plain
    coefficients.

    Storage: three tensors of ``max(n, m)**d`` numbers.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, arXiv:2503.01696, tensor input.

    Examples
    --------
    >>> import numpy as np
    >>> x = (np.arange(200) + 0.5) / 100 - 1
    >>> T = tensor_input(np.exp(x[:, None] * x[None, :]), [(-1, 1)] * 2, m=33, tol=1e-6)
    >>> max(T.ranks) < 10
    True
    """
    intervals = check_domain(domain)
    data = check_tensor("values", values, len(intervals))
    m = check_int("m", m, low=2)
    n_iter = check_int("n_iter", n_iter, low=0)
    _check_size(m, len(intervals))
    grids = checked_grids("uniform", data.F.shape, intervals)
    xp, C = data.xp, data.F
    for axis, t in enumerate(grids):
        C = mode_product(C, on_device(spline_matrix(t, nodes(m)), C, xp), axis, xp)
        C = to_coefficients(C, axis, xp)
    points = check_points(len(intervals))
    sample = spline_values(data.F, grids, points, xp)
    every_second = data.F[(slice(None, None, 2),) * data.F.ndim]
    coarse = spline_values(every_second, [t[::2] for t in grids], points, xp)
    missed = max_abs(sample - coarse, xp) / SPLINE_GAIN
    case = Case(intervals, data.exponent, data.dtype, math.prod(data.F.shape))
    reference = Reference(points, sample, max_abs(sample, xp), 0.0, missed)
    return _answer(C, reference, case, tol, n_iter, xp)


@capability("chebyshev.theory.cp_full", synchronisations={"call": 31})
def cp_full(
    weights: Array,
    factors: Sequence[Array | Callable[[Array], Array]],
    domain: Any,
    *,
    m: int = POINTS,
    tol: float = TOLERANCE,
    nodes: str | Sequence[Array] = "uniform",
    n_iter: int = 0,
) -> ChebTucker:
    """Return the function of a canonical tensor by all its coefficients and their HOSVD ("F").

    Parameters
    ----------
    weights, factors, domain, nodes
        As of :func:`~linalgkit.chebyshev.chebtucker_from_cp`.
    m, tol, n_iter
        As of :func:`functional_hosvd`.

    Returns
    -------
    ChebTucker
        `n_evals` is the number of values of the factors.

    Raises
    ------
    TypeError, ValueError
        As :func:`~linalgkit.chebyshev.chebtucker_from_cp`.

    Warns
    -----
    AccuracyWarning
        As :func:`functional_hosvd`, and if splines miss more than the tolerance.

    Notes
    -----
    Differs from :func:`~linalgkit.chebyshev.chebtucker_from_cp`: the tensor of ``m**d``
    coefficients is formed, for 2 R m**d operations, so that no scaling of columns matters; `m` is
    fixed and the norm is that of plain coefficients. For the biomolecule of the paper (R = 743) it
    took ten times the time of the reduced HOSVD, at the same ranks and error [measured].

    Storage: three tensors of ``m**d`` numbers and ``d m R``.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, arXiv:2503.01696, canonical input.

    Examples
    --------
    >>> import numpy as np
    >>> x = (np.arange(200) + 0.5) / 100 - 1
    >>> U = np.exp(-np.arange(1, 4) * x[:, None] ** 2)
    >>> cp_full(np.ones(3), [U, U], [(-1, 1)] * 2, m=33, tol=1e-6).ranks
    (3, 3)
    """
    intervals = check_domain(domain)
    m = check_int("m", m, low=2)
    n_iter = check_int("n_iter", n_iter, low=0)
    _check_size(m, len(intervals))
    cp = canonical(weights, factors, intervals, nodes)

    def formed(cp: Canonical) -> ChebTucker:
        xp = cp.place.xp
        C = canonical_tensor([mode.coefficients(m) for mode in cp.modes], cp.weights, xp)
        reference = sampled(cp)
        case = Case(intervals, cp.exponent, cp.dtype, cp.n_values)
        return _answer(C, reference, case, tol, n_iter, xp)

    answer: ChebTucker = settled(cp, formed)
    return answer


@capability("chebyshev.theory.cp_rhosvd", synchronisations={"call": 30})
def cp_rhosvd(
    weights: Array,
    factors: Sequence[Array | Callable[[Array], Array]],
    domain: Any,
    *,
    m: int = POINTS,
    tol: float = TOLERANCE,
    nodes: str | Sequence[Array] = "uniform",
) -> ChebTucker:
    """Return the function of a canonical tensor by the published reduced HOSVD ("R").

    Parameters
    ----------
    weights, factors, domain, nodes
        As of :func:`~linalgkit.chebyshev.chebtucker_from_cp`.
    m : int, default 129
        Chebyshev points of each variable, at least 2.
    tol : float, default 1e-7
        Each factor loses at most ``tol / d``, absolute, of its columns.

    Returns
    -------
    ChebTucker
        `n_evals` is the number of values of the factors.

    Raises
    ------
    TypeError, ValueError
        As :func:`~linalgkit.chebyshev.chebtucker_from_cp`.

    Warns
    -----
    AccuracyWarning
        If the tolerance is missed: it bounds no error of the function.

    Notes
    -----
    ``chebtucker_from_cp(..., degrees=m - 1, method="rhosvd")``: the cut is absolute and ignores the
    weights, so that the columns must be of norm one and the weights moderate; the core is not
    truncated again. Columns times 1, 1e-3 and 1e-6, with weights that make up for it, gave errors
    of 1.9e-8, 1.3e-5 and 1.2e-2 at a tolerance of 1e-7 [measured].

    Storage: ``2 d m R`` numbers and two cores.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, arXiv:2503.01696, canonical input.

    Examples
    --------
    >>> import numpy as np
    >>> x = (np.arange(200) + 0.5) / 100 - 1
    >>> U = np.exp(-np.arange(1, 4) * x[:, None] ** 2)
    >>> cp_rhosvd(np.ones(3), [U, U], [(-1, 1)] * 2, m=33, tol=1e-6).ranks
    (3, 3)
    """
    degrees = check_int("m", m, low=2) - 1
    return chebtucker_from_cp(
        weights, factors, domain, nodes=nodes, degrees=degrees, tol=tol, method="rhosvd"
    )


class Case(NamedTuple):
    """Box, power of two in front, dtype and evaluations of an answer."""

    intervals: Sequence[Interval]
    exponent: int
    dtype: DType
    n_evals: int


def hosvd(C: Array, tol: float, xp: Namespace) -> list[Array]:
    """Return bases of the modes: singular vectors beyond ``tol / sqrt(d)`` of the norm."""
    level = tol * norm_fro(C, xp) / math.sqrt(C.ndim)
    bases = []
    for axis in range(C.ndim):
        U = xp.reshape(xp.moveaxis(C, axis, 0), (int(C.shape[axis]), -1))
        if U.shape[1] > U.shape[0]:
            U = adjoint(xp.linalg.qr(adjoint(U, xp))[1], xp)
        Q, s, _ = svd_desc(U, xp)
        squares = _HOST.astype(to_numpy(s), _HOST.float64) ** 2
        tails = _HOST.sqrt(_HOST.cumsum(squares[::-1])[::-1])
        bases.append(Q[:, : max(1, int((tails > level).sum()))])
    return bases


def _answer(
    C: Array, reference: Reference, case: Case, tol: float, n_iter: int, xp: Namespace
) -> ChebTucker:
    """Return the function from all coefficients, over a power of two."""
    tol = checked_tolerance(tol, xp, case.dtype)
    bases = hosvd(C, tol, xp)
    if n_iter:
        ranks = [int(Q.shape[1]) for Q in bases]
        core, bases, _ = truncate(C, 0.0, xp, ranks=ranks, n_iter=n_iter)
    else:
        core = mode_products(C, [adjoint(Q, xp) for Q in bases], xp)
    parts = Parts(core, tuple(bases), unit_box(C.ndim), xp)
    values = scattered(parts, placed(reference.points, xp, device(core)), "extrapolate")
    return finished(
        parts,
        case.intervals,
        case.exponent,
        dtype=case.dtype,
        error=max_abs(reference.values - values, xp) + reference.missed,
        scale=reference.scale,
        tol=tol,
        n_evals=case.n_evals,
        way_out=_WAY_OUT,
        missed=reference.missed,
    )


def _place(domain: Any, xp: Namespace | None) -> tuple[Namespace, Device]:
    """Return library and device: those of `xp`, of an array `domain`, or NumPy."""
    if xp is not None:
        return xp, device(xp.asarray(0.0))
    if hasattr(domain, "shape"):
        return array_namespace(domain), device(domain)
    return _HOST, device(_HOST.zeros(1))


def _check_size(m: int, d: int) -> None:
    """Refuse a tensor of coefficients that is too large."""
    if m**d > MOST_CORE:
        raise ValueError(
            f"m must be at most {int(MOST_CORE ** (1 / d))} for {d} variables, got {m}: all m^d "
            "coefficients are formed. The main functions do without them."
        )
