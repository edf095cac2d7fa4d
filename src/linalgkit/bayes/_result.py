"""The answer of Kronecker sparse Bayesian learning, in the caller's units and layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import scipy.sparse.linalg

from linalgkit._core.array import (
    Array,
    asarray,
    complex_dtype,
    index_dtype,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_float,
)
from linalgkit._core.modes import mode_products
from linalgkit._core.printing import leading, number, told
from linalgkit._core.scaling import ldexp, silent
from linalgkit._core.validation import check_array_2d
from linalgkit.bayes._model import Prepared, wide_host
from linalgkit.bayes._modes import divided_along, kronecker_factors
from linalgkit.bayes._operator import DENSE_BYTES, check_memory

_HOST = numpy_namespace()


class PosteriorLike(Protocol):
    """What a result asks of the posterior of the columns on the support, in working units."""

    def mean(self) -> Array:
        """Return the mean (K_1, ..., K_I, r)."""

    def variance(self) -> Array:
        """Return the variances (K_1, ..., K_I) or, if they differ by snapshot, one axis more."""

    def variance_of(self, factors: Sequence[Array | None]) -> Array:
        """Return the variances of a product of factors times the unknown."""


def ldexp_each(values: Array, exponents: Array) -> Array:
    """Return host numbers times powers of two of their own, zero or infinite beyond the range."""
    with silent():
        if values.dtype.kind != "c":
            return _HOST.ldexp(values, exponents)
        result = _HOST.empty(
            _HOST.broadcast_shapes(values.shape, exponents.shape), dtype=values.dtype
        )
        result.real = _HOST.ldexp(values.real, exponents)
        result.imag = _HOST.ldexp(values.imag, exponents)
        return result


@dataclass(frozen=True, eq=False)
class Units:
    """What brings answers in working units into the caller's units, layout and library."""

    prepared: Prepared

    @classmethod
    def of(cls, prepared: Prepared) -> Units:
        """Return the units of a problem, without holding its data."""
        data = replace(prepared.data, Y=None)
        return cls(replace(prepared, data=data, model=None))  # type: ignore[arg-type]  # not asked

    @property
    def exponent(self) -> int:
        """Data of the caller are ``2**exponent`` times the working ones."""
        return self.prepared.exponent

    def real(self, values: Array) -> Array:
        """Return host numbers as real numbers of the caller's library, in its widest dtype."""
        data = self.prepared.data
        dtype = widest_float(data.xp, data.device)
        return asarray(values, xp=data.xp, device=data.device, dtype=dtype)

    def kept(self, values: Array) -> Array:
        """Return host numbers in the caller's library and precision."""
        data = self.prepared.data
        dtype = real_dtype(data.xp, data.dtype)
        if values.dtype.kind == "c":
            dtype = complex_dtype(data.xp, dtype)
        return asarray(values, xp=data.xp, device=data.device, dtype=dtype)

    def indices(self, values: Array) -> Array:
        """Return host indices in the caller's library."""
        data = self.prepared.data
        return asarray(values, xp=data.xp, device=data.device, dtype=index_dtype(data.xp))

    def descaled(self, values: Array, columns: Sequence[Array], power: int) -> Array:
        """Return working values of the support in the caller's units, rounded once.

        A mean (`power` 1) or variances (2): divided by as many norms of each mode's columns. All
        powers of two are applied together, so that nothing overflows on the way.
        """
        exponents = _HOST.zeros((1,) * len(columns), dtype=_HOST.int64)
        mantissas = []
        for i, c in enumerate(columns):
            norms = self.prepared.norms[i][c]
            mantissas.append(_HOST.where(norms > 0, norms, 1.0) ** power)
            shape = (-1,) + (1,) * (len(columns) - i - 1)
            exponents = exponents - power * self.prepared.exponents[i][c].reshape(shape)
        values = divided_along(values, mantissas)
        exponents = exponents + power * self.exponent
        exponents = exponents.reshape(exponents.shape + (1,) * (values.ndim - exponents.ndim))
        return ldexp_each(values, exponents)

    def column_norms(self, i: int, columns: Array) -> Array:
        """Return the norms of columns, one where they are zero."""
        norms = _HOST.ldexp(self.prepared.norms[i], self.prepared.exponents[i])[columns]
        return _HOST.where(norms > 0, norms, 1.0)


@dataclass(frozen=True, eq=False)
class KronSBLResult:
    """Posterior of a sparse unknown with Kronecker-structured support, and its certificate.

    Attributes
    ----------
    gamma : list of array (N_i,)
        Prior variances: that of an entry is the product of its modes' ones; zeros are out. In the
        widest real dtype of the device.
    support : list of array (K_i,)
        Indices of the slices that are in, ascending. The support is their product.
    coef : array (K_1, ..., K_I) or (K_1, ..., K_I, L)
        Posterior mean on the support; zero elsewhere.
    noise_var : float
        Noise variance, given or estimated.
    evidence : host array (n,)
        Log-evidence (nats) of the start, after every cycle, and after every change of the support;
        it does not fall but where `changes` says so, and with ``method="svd"``, or ``"am"`` and a
        coupling. With ``method="rank_one"`` a lower bound of it, after every step of one mode.
    changes : tuple of int
        Positions in `evidence` that changes of the support led to.
    n_iter : int
        Cycles of updates.
    kkt_residual : float
        Largest ``|a - b| / (a + b)`` over the slices that are in, for the two parts of the slope
        of the evidence: zero where the evidence is stationary.
    excluded_gain : float
        Nats that the best slice left out would add to the evidence by itself: below its price, or
        it would be in (unless `status` is "max_iter"). NaN where the method does not ask: with a
        coupling, rank one, and a support that is not chosen by the evidence.
    price : tuple of float
        Nats that a slice of each mode must be worth to be in, by the `penalty`.
    score : float
        Last evidence less the price of the support, which chose among the candidates. For
        "rank_one" the bound, the nats of the scales and phases that leave `x` unchanged added.
    method : str
        What found it: "mm", "jacobi", "ecm", "am", "ksbl", "svd", or "rank_one".
    status : str
        ``"converged"``: the stopping rule was met, by the last cycle's change of what is large
        (`kkt_residual` tells about what is small or slow); ``"max_iter"``; ``"noise_floor"`` where
        the noise estimate ended at rounding level, the data being interpolated; ``"empty"`` where
        noise alone explains the data: all answers are zero.
    """

    gamma: list[Array] = field(repr=False)
    support: list[Array] = field(repr=False)
    coef: Array = field(repr=False)
    noise_var: float
    evidence: Array = field(repr=False)
    changes: tuple[int, ...] = field(repr=False)
    n_iter: int
    kkt_residual: float
    excluded_gain: float
    price: tuple[float, ...]
    score: float
    method: str
    status: str
    _units: Units = field(repr=False)
    _posterior: PosteriorLike | None = field(repr=False)

    def __str__(self) -> str:
        sizes, widths = (" x ".join(f"{n:,}" for n in ns) for ns in (self.shape, self.widths))
        gain = number(self.excluded_gain)
        return told(
            f"Sparse unknown, {sizes} of {widths} slices ({self.method})",
            ("first mode", leading(self.support[0])),
            ("noise variance", number(self.noise_var)),
            ("slope left", number(self.kkt_residual)),
            ("gain left out", gain and f"{gain} nats, prices {', '.join(map(number, self.price))}"),
            status=self.status,
        )

    # ------------------------------------------------------------------------------ answers

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns N_i of the factors."""
        return self._units.prepared.data.widths

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers K_i of slices on the support."""
        return tuple(int(s.shape[0]) for s in self.support)

    def to_dense(self, limit: int = DENSE_BYTES) -> Array:
        """Return the posterior mean of the whole unknown.

        Parameters
        ----------
        limit : int
            Bytes that the result may take, 1 GiB by default.

        Returns
        -------
        array
            (N_1, ..., N_I[, L]), or (N[, L]) where the data came flat.

        Raises
        ------
        MemoryError
            If the result would take more than `limit` bytes.

        Notes
        -----
        Storage: twice the result.
        """
        data = self._units.prepared.data
        trailing = tuple(map(int, self.coef.shape[len(self.widths) :]))
        shape = (*self.widths, *trailing)
        way_out = "Ask mean(indices) for the entries of interest, use coef with support"
        check_memory("an array", shape, self.coef.dtype, limit, data.xp, way_out)
        dense = _HOST.zeros(shape, dtype=to_numpy(self.coef).dtype)
        dense[_HOST.ix_(*self._columns())] = to_numpy(self.coef)
        if data.flat:
            dense = dense.reshape(math.prod(self.widths), *trailing)
        return asarray(dense, xp=data.xp, device=data.device)

    def mean(self, indices: Array) -> Array:
        """Return the posterior mean of some entries.

        Parameters
        ----------
        indices : array of integers (n, I), or (n,) for one factor
            Multi-indices of the entries.

        Returns
        -------
        array (n,) or (n, L)
            Zero off the support.

        Raises
        ------
        TypeError
            If `indices` are no integers.
        ValueError
            If their shape does not fit or one is out of range.

        Notes
        -----
        Storage: the result and `indices`.
        """
        return self._units.kept(self._entries(to_numpy(self.coef), indices))

    def variance(self, indices: Array | None = None) -> Array:
        """Return posterior variances, of the support or of some entries.

        Parameters
        ----------
        indices : array of integers (n, I), or (n,) for one factor, optional
            Multi-indices; None for the support.

        Returns
        -------
        array
            (K_1, ..., K_I) without `indices`, else (n,), zero off the support; the same for every
            snapshot, but with ``method="rank_one"``, where a last axis (L,) is for them.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`mean`.

        Notes
        -----
        A sum of positive terms: accurate to rounding at any signal-to-noise ratio. Storage: twice
        the result, and ``sum_i K_i**2``.
        """
        if self._posterior is None:
            values = _HOST.zeros(self.shape)
        else:
            values = self._scaled_variance(self._posterior.variance())
        return self._units.real(values if indices is None else self._entries(values, indices))

    def predict(self, factors: Sequence[Array]) -> tuple[Array, Array]:
        """Return mean and variance of the signal at the rows of other factors.

        Parameters
        ----------
        factors : sequence of array (P_i, N_i)
            Rows to predict at; the factors that were solved with give the fit to the data.

        Returns
        -------
        mean : array (P_1, ..., P_I) or (P_1, ..., P_I, L)
            Posterior mean of the signal; flat, (P,) or (P, L), where the data came flat.
        variance : array (P_1, ..., P_I)
            Posterior variance of the signal; noise would add ``noise_var``. Laid out alike; with
            ``method="rank_one"`` and snapshots one axis more, (L,).

        Raises
        ------
        TypeError
            For mixed libraries or a single matrix.
        ValueError
            If a shape does not fit, or an entry is NaN or infinite.

        Notes
        -----
        Storage: twice the result.
        """
        data = self._units.prepared.data
        checked = kronecker_factors(factors, like=self.coef, widths=self.widths)
        matrices = [
            wide_host(F)[:, c] for F, c in zip(checked.arrays, self._columns(), strict=True)
        ]
        core = wide_host(self.coef)
        trailing = core.shape[len(self.widths) :]
        mean = mode_products(core.reshape(*self.shape, math.prod(trailing)), matrices, _HOST)
        sizes = checked.sizes
        mean = mean.reshape(*sizes, *trailing)
        if self._posterior is None:
            variance = _HOST.zeros(sizes)
        else:
            scaled = [F / norm for F, norm in zip(matrices, self._norms(), strict=True)]
            variance = self._posterior.variance_of(scaled)
            variance = ldexp(variance, 2 * self._units.exponent, _HOST)
        if data.flat:
            mean = mean.reshape(math.prod(sizes), *trailing)
            variance = variance.reshape(math.prod(sizes), *variance.shape[len(sizes) :])
        return self._units.kept(mean), self._units.real(variance)

    def to_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """Return the map from data to posterior mean, with these hyperparameters, for SciPy.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator (N, M)
            Takes data of one snapshot, flat, to the mean of the whole unknown, flat; with adjoint.

        Raises
        ------
        TypeError
            If the arrays are not NumPy's, or the map is not linear (``method="rank_one"``).

        Notes
        -----
        Storage: ``N`` numbers a product, beside the posterior's factors.
        """
        from linalgkit.bayes._reconstruction import reconstruction

        return reconstruction(self)

    # ------------------------------------------------------------------------------ helpers

    def _columns(self) -> list[Array]:
        return [to_numpy(s) for s in self.support]

    def _norms(self) -> list[Array]:
        return [self._units.column_norms(i, c) for i, c in enumerate(self._columns())]

    def _scaled_variance(self, values: Array) -> Array:
        """Return variances of the support in the caller's units."""
        return self._units.descaled(values, self._columns(), 2)

    def _entries(self, core: Array, indices: Any) -> Array:
        """Return entries of the tensor that `core` is on the support and zero elsewhere."""
        rows = self._multi_indices(indices)
        places, inside = [], _HOST.ones(rows.shape[0], dtype=bool)
        for i, columns in enumerate(self._columns()):
            place = _HOST.searchsorted(columns, rows[:, i])
            place = _HOST.minimum(place, max(columns.shape[0] - 1, 0))
            if columns.shape[0] == 0:
                inside[:] = False
            else:
                inside &= columns[place] == rows[:, i]
            places.append(place)
        values = _HOST.zeros((rows.shape[0], *core.shape[len(places) :]), dtype=core.dtype)
        values[inside] = core[tuple(p[inside] for p in places)]
        return values

    def _multi_indices(self, indices: Any) -> Array:
        modes = len(self.widths)
        if modes == 1 and getattr(indices, "ndim", 2) == 1:
            indices = indices[:, None]
        _, xp = check_array_2d("indices", indices, n_columns=modes, why=f"for {modes} factors")
        if not xp.isdtype(indices.dtype, "integral"):
            raise TypeError(f"indices must be integers, got {indices.dtype}.")
        rows = to_numpy(indices)
        if rows.size and not bool(((rows >= 0) & (rows < _HOST.asarray(self.widths))).all()):
            bad = rows[((rows < 0) | (rows >= _HOST.asarray(self.widths))).any(axis=1)][0]
            raise ValueError(
                f"indices must be at least 0 and below {self.widths}, got {tuple(map(int, bad))}."
            )
        return rows
