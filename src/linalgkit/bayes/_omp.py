"""Orthogonal matching pursuit with a Kronecker product of dictionaries, which is never formed.

::

    result = kron_omp([H1, H2, H3], Y, n_nonzero=3)
    result.support                  # three arrays of indices, whose product is the support
    result.to_dense()               # the sparse tensor, in the layout of the data
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from linalgkit._core.array import (
    Array,
    adjoint,
    asarray,
    device,
    eps,
    index_dtype,
    is_complex,
    is_on_host,
    itemsize,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.modes import mode_products
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit._core.triangular import solve_triangular
from linalgkit._core.validation import check_float, check_int, message
from linalgkit.bayes._modes import KroneckerData, abs_squared, kronecker_data, unit_columns
from linalgkit.bayes._omp_result import KronOMPResult

_HOST = numpy_namespace()
_ROUNDING = 64.0  # roundoffs of the data below which nothing is told from zero
_SLAB_BYTES = 4 * 2**20  # correlations are formed in slabs of at least this size


@capability("bayes.kron_omp", synchronisations={"call": 17, "iteration": 3})
def kron_omp(
    factors: Sequence[Array],
    y: Array,
    *,
    n_nonzero: int | Sequence[int] | None = None,
    noise_norm: float | None = None,
) -> KronOMPResult:
    """Fit data by few columns of each factor of a Kronecker product, chosen greedily.

    ``y = (H_1 kron ... kron H_I) x + noise`` with the non-zeros of `x` in a product of a few
    indices of each mode. Each step takes the column of the product that correlates most with the
    residual, adds its index to each mode, and fits all coefficients on the product of the
    supports by least squares.

    Parameters
    ----------
    factors : list or tuple of array (M_i, N_i)
        One matrix or more, of one library; real or complex. Their columns are compared at unit
        2-norm; columns of zeros are never chosen, and of equal ones only the first.
    y : array (M_1, ..., M_I) or (M_1 ... M_I,)
        The data as a tensor where the shape begins so, else flat in C order. One axis more, (L,),
        for snapshots of one support: correlations then are 2-norms over the snapshots.
    n_nonzero : int or sequence of int, optional
        Indices to choose in each mode, at most min(M_i, N_i). A single number is cut to that,
        mode by mode.
    noise_norm : float, optional
        Stop once the Frobenius norm of the residual is at most this, in the unit of `y`. One of
        the two must be given; with both, what comes first stops.

    Returns
    -------
    KronOMPResult
        ``support``, ``coef``, ``residual_norm``, ``status``.

    Raises
    ------
    TypeError
        For arguments of a wrong kind and mixed libraries.
    ValueError
        If shapes do not fit, numbers are not finite or out of range, neither `n_nonzero` nor
        `noise_norm` is given, or coefficients overflow.

    See Also
    --------
    kron_sbl : needs neither the number of indices nor the noise.

    Notes
    -----
    Nothing certifies a greedy choice: it is the right one where columns of a factor are nearly
    orthogonal, and may be wrong where they are not. The fit on the support and `residual_norm`
    are accurate to rounding for any choice. A power of two in `y`, or in a column, is in the
    answer exactly. A step synchronises a device three times.

    Storage: two tensors of the size of `y`, unit copies of the factors, and correlations in
    slabs of the first mode of about ``max(M L, N_2 ... N_I L)`` numbers.

    References
    ----------
    .. [1] C. F. Caiafa, A. Cichocki, "Computing sparse representations of multidimensional
       signals using Kronecker bases", Neural Computation 25 (2013), the Kronecker-OMP algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.bayes import kron_omp
    >>> rng = np.random.default_rng(0)
    >>> H1, H2 = rng.standard_normal((12, 20)), rng.standard_normal((15, 25))
    >>> X = np.zeros((20, 25))
    >>> X[np.ix_([3, 7], [4, 9])] = [[1.0, -2.0], [3.0, 1.5]]
    >>> result = kron_omp([H1, H2], H1 @ X @ H2.T, n_nonzero=2)
    >>> [indices.tolist() for indices in result.support], result.status
    ([[3, 7], [4, 9]], 'converged')
    >>> bool(np.allclose(result.to_dense(), X))
    True
    """
    data = kronecker_data(factors, y)
    if n_nonzero is None and noise_norm is None:
        raise ValueError(
            "n_nonzero or noise_norm must be given, got None for both. Tell how many indices a "
            "mode has or how large the noise is, or use kron_sbl, which needs neither."
        )
    most = _check_counts(n_nonzero, data)
    target = None if noise_norm is None else check_float("noise_norm", noise_norm, 0.0)
    result = _Pursuit(_where_quick(data), most).run(target, is_counted=n_nonzero is not None)
    return _back(result, data)


def _where_quick(data: KroneckerData) -> KroneckerData:
    """Return data in the host's memory as NumPy's: shapes change at every step."""
    if data.xp is _HOST or not is_on_host(data.Y):
        return data
    factors = tuple(map(to_numpy, data.factors))
    Y = to_numpy(data.Y)
    return replace(data, factors=factors, Y=Y, xp=_HOST, device="cpu", dtype=Y.dtype)


def _back(result: KronOMPResult, data: KroneckerData) -> KronOMPResult:
    """Return a result in the caller's library."""
    place = {"xp": data.xp, "device": data.device}
    integers = index_dtype(data.xp)
    support = [asarray(to_numpy(s), dtype=integers, **place) for s in result.support]
    coef = asarray(to_numpy(result.coef), dtype=data.dtype, **place)
    return replace(result, support=support, coef=coef)


def _check_counts(n_nonzero: Any, data: KroneckerData) -> list[int]:
    """Return the most indices that each mode may have."""
    caps = [min(pair) for pair in zip(data.sizes, data.widths, strict=True)]
    if n_nonzero is None:
        return caps
    if not isinstance(n_nonzero, (list, tuple)):
        why = f"for factors with at most {max(caps)} independent columns"
        count = check_int("n_nonzero", n_nonzero, 1, max(caps), why)
        return [min(count, cap) for cap in caps]
    if len(n_nonzero) != len(caps):
        rule = f"hold one integer for each of the {len(caps)} factors"
        raise ValueError(message("n_nonzero", rule, n_nonzero))
    return [
        check_int(f"n_nonzero[{i}]", count, 1, cap, f"for factors[{i}], {m} x {n}")
        for i, (count, cap, m, n) in enumerate(
            zip(n_nonzero, caps, data.sizes, data.widths, strict=True)
        )
    ]


# ---------------------------------------------------------------------------- the pursuit


class _Mode:
    """Unit columns of one factor, those chosen with their QR factors, and those still allowed."""

    def __init__(self, H: Array, most: int, xp: Any, roundoff: float) -> None:
        unit = unit_columns(H, xp)
        self.xp, self.most = xp, most
        self.columns, self.norms, self.exponents = unit.columns, unit.norms, unit.exponents
        host = to_numpy(unit.columns)
        self.host = _HOST.astype(host, _HOST.result_type(host.dtype, _HOST.float64))
        self.chosen: list[int] = []
        self.allowed = _first_of_equal(self.host)
        self.Q = _HOST.zeros((self.host.shape[0], 0), dtype=self.host.dtype)
        self.R = _HOST.zeros((0, 0), dtype=self.host.dtype)
        self._tolerance = _ROUNDING * roundoff * math.sqrt(self.host.shape[0])
        self._refresh()

    @property
    def is_full(self) -> bool:
        return len(self.chosen) >= self.most

    def _refresh(self) -> None:
        """Take the adjoint of the columns allowed, on the device."""
        H = self.columns
        if len(self.allowed) < H.shape[1]:
            indices = asarray(
                self.allowed, xp=self.xp, device=device(H), dtype=index_dtype(self.xp)
            )
            H = self.xp.take(H, indices, axis=1)
        self.analysis = adjoint(H, self.xp)

    def add(self, j: int) -> bool:
        """Add a column to those chosen, unless it depends on them; tell whether it was added."""
        if j in self.chosen:
            return False
        q = self.host[:, j]
        h = _HOST.zeros(len(self.chosen), dtype=self.host.dtype)
        for _ in range(2):  # Gram-Schmidt, repeated: "twice is enough" (Kahan, Parlett)
            step = self.Q.conj().T @ q
            q, h = q - self.Q @ step, h + step
        norm = float(_HOST.linalg.norm(q))
        is_new = norm > self._tolerance
        if is_new:
            k = len(self.chosen)
            self.chosen.append(j)
            self.Q = _HOST.concat([self.Q, (q / norm)[:, None]], axis=1)
            R = _HOST.zeros((k + 1, k + 1), dtype=self.host.dtype)
            R[:k, :k], R[:k, k], R[k, k] = self.R, h, norm
            self.R = R
        else:
            self.allowed.remove(j)
        if self.is_full:
            self.allowed = sorted(self.chosen)
        if self.is_full or not is_new:
            self._refresh()
        return is_new

    def basis(self) -> Array:
        """Return the orthonormal basis of the columns chosen, on the device."""
        H = self.columns
        return asarray(self.Q, xp=self.xp, device=device(H), dtype=H.dtype)


def _first_of_equal(columns: Array) -> list[int]:
    """Return the indices of the columns that are neither zero nor equal to an earlier one."""
    first: dict[bytes, int] = {}
    for j in range(columns.shape[1]):
        first.setdefault((columns[:, j] + 0.0).tobytes(), j)  # -0.0 becomes 0.0
    return [j for j in first.values() if columns[:, j].any()]


# Caiafa and Cichocki 2013, Kronecker-OMP. Differs from it:
# 1. Columns are compared at unit norm.
# 2. Once a mode has as many indices as it may, only columns of its support are candidates.
# 3. A column that depends on those chosen of its mode is dropped for good.
# 4. The fit is by the QR factors of each mode, extended by a column at a time, not by inverses of
#    Gram matrices; correlations come from the residual itself, slab by slab.
class _Pursuit:
    """State of one run: modes, the data divided by a power of two, and the residual."""

    def __init__(self, data: KroneckerData, most: Sequence[int]) -> None:
        self.data, self.xp = data, data.xp
        self.roundoff = eps(data.xp, data.dtype)
        self.exponent = scale_exponent(_largest_part(data.Y, data.xp))
        self.Y = ldexp(data.Y, -self.exponent, data.xp)
        self.residual: Array = self.Y
        self.core: Array = None  # of the fit, once there is one
        self.modes = [
            _Mode(H, count, data.xp, self.roundoff)
            for H, count in zip(data.factors, most, strict=True)
        ]

    def run(self, target: float | None, *, is_counted: bool) -> KronOMPResult:
        """Enlarge the support until a rule says stop."""
        size = norm = norm_fro(self.Y, self.xp)
        floor = _ROUNDING * self.roundoff * size
        goal = floor
        if target is not None:
            goal = max(floor, ldexp_float(target, -self.exponent))
        steps, status = 0, "stalled"
        while norm > goal:
            if all(mode.is_full for mode in self.modes):
                status = "full_support" if is_counted else "stalled"
                break
            found = self._enlarge(floor)
            if found is None:
                break
            if found:
                self._refit()
                norm, steps = norm_fro(self.residual, self.xp), steps + 1
        else:
            status = "converged"
        return self._result(norm, steps, status)

    def _enlarge(self, floor: float) -> bool | None:
        """Take the best candidate; None where there is none, False where it only was dropped."""
        value, place = self._best()
        if value <= floor:
            return None
        before = [len(mode.allowed) for mode in self.modes]
        picks = [mode.allowed[k] for mode, k in zip(self.modes, place, strict=True)]
        pairs = zip(self.modes, picks, strict=True)
        is_larger = [mode.add(j) for mode, j in pairs]
        if any(is_larger):
            return True
        dropped = [len(mode.allowed) for mode in self.modes] != before
        return False if dropped else None

    def _best(self) -> tuple[float, list[int]]:
        """Return the largest correlation and where it is; the first among equals."""
        shape = [len(mode.allowed) for mode in self.modes]
        if 0 in shape:
            return 0.0, []
        values, places, starts = [], [], list(range(0, shape[0], self._slab(shape)))
        for start, stop in zip(starts, [*starts[1:], shape[0]], strict=True):
            squares = self._squares(start, stop)
            values.append(self.xp.max(squares))
            places.append(self.xp.argmax(squares))
        hosts = to_numpy(self.xp.stack(values)), to_numpy(self.xp.stack(places))
        best = int(_HOST.argmax(hosts[0]))
        offset = starts[best] * math.prod(shape[1:])
        place = _HOST.unravel_index(offset + int(hosts[1][best]), tuple(shape))
        return math.sqrt(float(hosts[0][best])), [int(k) for k in place]

    def _slab(self, shape: Sequence[int]) -> int:
        """Return how many columns of the first mode are correlated at a time."""
        data = self.data
        most = max(math.prod(data.Y.shape), _SLAB_BYTES // itemsize(self.xp, data.dtype))
        return int(max(1, most // (math.prod(shape[1:]) * data.snapshots)))

    def _squares(self, start: int, stop: int) -> Array:
        """Return squared correlations of some candidates, summed over snapshots, flat."""
        xp = self.xp
        first, *others = (mode.analysis for mode in self.modes)
        if stop - start < first.shape[0]:
            first = first[start:stop, :]
        C = xp.reshape(
            mode_products(self.residual, [first, *others], xp), (-1, self.data.snapshots)
        )
        squares = abs_squared(C, xp)
        return squares[:, 0] if self.data.snapshots == 1 else xp.sum(squares, axis=1)

    def _refit(self) -> None:
        """Project the data on the product of the supports."""
        xp = self.xp
        bases = [mode.basis() for mode in self.modes]
        self.core = mode_products(self.Y, [adjoint(Q, xp) for Q in bases], xp)
        self.residual = self.Y - mode_products(self.core, bases, xp)

    # -------------------------------------------------------------------------- the answer

    def _result(self, norm: float, steps: int, status: str) -> KronOMPResult:
        data, xp = self.data, self.xp
        place = {"xp": xp, "device": data.device}
        support = [
            asarray(sorted(mode.chosen), dtype=index_dtype(xp), **place) for mode in self.modes
        ]
        coef = asarray(self._coefficients(), dtype=data.dtype, **place)
        if not bool(xp.all(xp.isfinite(coef))):
            raise ValueError(
                "factors must be of a size for which the coefficients are finite numbers, got "
                "coefficients that overflow. Multiply the factors, or divide y, by a power of two."
            )
        return KronOMPResult(
            support=support,
            coef=coef if data.has_snapshots else coef[..., 0],
            residual_norm=ldexp_float(norm, self.exponent),
            n_iter=steps,
            status=status,
            widths=data.widths,
            flat=data.flat,
        )

    def _coefficients(self) -> Array:
        """Return coefficients for the columns as given, support ascending, on the host."""
        kind = self.modes[0].host.dtype
        if self.core is None:
            return _HOST.zeros((*(0 for _ in self.modes), self.data.snapshots), dtype=kind)
        X = _HOST.astype(to_numpy(self.core), kind)
        exponents = _HOST.asarray(self.exponent)
        for axis, mode in enumerate(self.modes):
            order = _HOST.argsort(_HOST.asarray(mode.chosen))
            unfolded = _HOST.moveaxis(X, axis, 0)
            flat = solve_triangular(
                mode.R, _HOST.reshape(unfolded, (len(order), -1)), lower=False, xp=_HOST
            )
            solved = _HOST.reshape(flat / mode.norms[mode.chosen, None], unfolded.shape)
            X = _HOST.moveaxis(solved[order], 0, axis)
            powers = _HOST.asarray([mode.exponents[mode.chosen[k]] for k in order])
            exponents = exponents[..., None] - powers
        return _ldexp_each(X, exponents[..., None])


def _largest_part(Y: Array, xp: Any) -> float:
    """Return the largest real or imaginary part, whose exponent no rounding can move."""
    return (
        max(max_abs(xp.real(Y), xp), max_abs(xp.imag(Y), xp))
        if is_complex(Y, xp)
        else max_abs(Y, xp)
    )


def _ldexp_each(X: Array, exponents: Array) -> Array:
    """Return ``X * 2**exponents`` entry by entry, on the host."""
    with _HOST.errstate(over="ignore"):
        if not is_complex(X, _HOST):
            return _HOST.ldexp(X, exponents)
        return _HOST.ldexp(X.real, exponents) + 1j * _HOST.ldexp(X.imag, exponents)
