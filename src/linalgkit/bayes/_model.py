"""The model of Kronecker sparse Bayesian learning, in the scale in which it is worked on.

``y = (H_1 kron ... kron H_I) x + noise`` with ``x ~ N(0, diag(gamma_1 kron ... kron gamma_I))``.
Columns are brought to unit norm and `y` to order one by powers of two, both undone in the answer,
so that neither the unit of `y` nor that of a column matters::

    prepared = prepare(factors, y)
    prepared.model.factors, prepared.model.Y
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    eps,
    is_complex,
    is_on_host,
    numpy_namespace,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.modes import mode_products
from linalgkit._core.scaling import ldexp, max_abs, norm_fro, scale_exponent
from linalgkit._core.state import PortablePickle
from linalgkit.bayes._modes import KroneckerData, UnitColumns, unit_columns

_HOST = numpy_namespace()
#: The smallest noise variance that is told from none, over the mean square of the data.
NOISE_FLOOR = 1e-14
_FAR_APART = 100  # binary digits between the norms of columns, beyond which they count as that far
_SINGLE = 1e-12  # roundoffs above this are those of single precision


@dataclass(frozen=True, eq=False)
class Model(PortablePickle):
    """Data and factors of one problem, whole or restricted to ranges of chosen columns.

    Attributes
    ----------
    factors : tuple of host array (m_i, n_i)
        float64 or complex128.
    Y : array (m_1, ..., m_I, r)
        The data; r at most L columns with the same second moments as the L snapshots.
    snapshots : int
        L.
    count : int
        Numbers M a snapshot of the whole data.
    outside : float
        Energy of the data outside the ranges that `Y` is restricted to, over all snapshots.
    energy : float
        Squared Frobenius norm of the whole data.
    xp, device : module, device
        Where `Y` lies.
    squares : tuple of host array (n_i,), optional
        Squared norms of the caller's columns, up to a factor a mode: the unit in which the paper's
        rules compare hyperparameters.
    """

    factors: tuple[Array, ...] = field(repr=False)
    Y: Array = field(repr=False)
    snapshots: int
    count: int
    outside: float
    energy: float
    xp: Namespace
    device: Device
    squares: tuple[Array, ...] | None = field(repr=False, default=None)

    @property
    def modes(self) -> int:
        """Number I of factors."""
        return len(self.factors)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rows m_i of the factors."""
        return tuple(int(H.shape[0]) for H in self.factors)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Columns n_i of the factors."""
        return tuple(int(H.shape[1]) for H in self.factors)

    @cached_property
    def is_complex(self) -> bool:
        """Whether the noise is circular complex."""
        return is_complex(self.Y, self.xp)

    @cached_property
    def kappa(self) -> float:
        """Weight of a squared modulus in a log-density over its variance: 1 complex, 1/2 real."""
        return 1.0 if self.is_complex else 0.5

    @cached_property
    def log_unit(self) -> float:
        """Logarithm of the constant of the density: pi complex, 2 pi real."""
        return math.log(math.pi if self.is_complex else 2 * math.pi)

    @cached_property
    def on_host(self) -> bool:
        """Whether the data are NumPy's."""
        return self.xp is _HOST

    @property
    def total(self) -> int:
        """Numbers of the data over all snapshots, M L."""
        return self.count * self.snapshots

    @property
    def noise_floor(self) -> float:
        """The smallest noise variance that an estimate may take."""
        return NOISE_FLOOR * self.energy / self.total

    def tensor(self, matrix: Array) -> Array:
        """Return a host matrix in the library, on the device and in the dtype of `Y`."""
        if self.on_host:
            return matrix.astype(self.Y.dtype, copy=False)
        return asarray(matrix, xp=self.xp, device=self.device, dtype=self.Y.dtype, copy=False)

    def log_evidence_of_noise(self, noise_var: float) -> float:
        """Return the log-evidence of the model without any column."""
        value = self.log_unit + math.log(noise_var) + self.energy / (self.total * noise_var)
        return -self.kappa * self.total * value


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model and what brings its answer into the caller's units.

    Attributes
    ----------
    model : Model
    data : KroneckerData
        The caller's arrays, checked.
    norms : tuple of host array (N_i,)
        Norms of the columns over ``2**exponents``; 0 for columns of zeros.
    exponents : tuple of host array (N_i,)
        Integers.
    exponent : int
        The data are ``2**exponent`` times those of the model.
    """

    model: Model
    data: KroneckerData
    norms: tuple[Array, ...]
    exponents: tuple[Array, ...]
    exponent: int


def wide_host(H: Array) -> Array:
    """Return an array on the host in float64 or complex128."""
    host = to_numpy(H)
    return _HOST.astype(host, widest_dtype(_HOST, "cpu", host.dtype), copy=False)


def real_hosts(arrays: Sequence[Array], xp: Namespace) -> list[Array]:
    """Return real arrays of a device on the host in float64, with one synchronisation."""
    dtype = xp.result_type(*(A.dtype for A in arrays))
    flat = wide_host(xp.concat([xp.reshape(xp.astype(A, dtype), (-1,)) for A in arrays]))
    shapes = [tuple(map(int, A.shape)) for A in arrays]
    ends = list(accumulate(map(math.prod, shapes)))
    starts = [0, *ends[:-1]]
    return [flat[a:b].reshape(s) for a, b, s in zip(starts, ends, shapes, strict=True)]


def prepare(data: KroneckerData, snapshots: int | None = None, near: int | None = None) -> Prepared:
    """Return the model of checked data, scaled.

    `snapshots` is the number of those that `data.Y` stands for, if it holds fewer columns. `near`
    keeps the exponent of the scale within 120 of another one.
    """
    parts = [unit_columns(wide_host(H), _HOST) for H in data.factors]
    Y, xp, where = data.Y, data.xp, data.device
    if is_on_host(Y):
        Y, xp, where = to_numpy(Y), _HOST, "cpu"
    exponent = scale_exponent(max_abs(Y, xp))
    if near is not None:
        exponent = min(max(exponent, near - 120), near + 120)
    Y = ldexp(Y, -exponent, xp)
    model = Model(
        tuple(part.columns for part in parts),
        Y,
        data.snapshots if snapshots is None else snapshots,
        math.prod(data.sizes),
        0.0,
        norm_fro(Y, xp) ** 2,
        xp,
        where,
        tuple(_squares(part) for part in parts),
    )
    exponents = tuple(_HOST.asarray(part.exponents, dtype=_HOST.int64) for part in parts)
    return Prepared(model, data, tuple(part.norms for part in parts), exponents, exponent)


def _squares(part: UnitColumns) -> Array:
    """Return squared norms over the largest power of four among them; one for zeros."""
    exponents = _HOST.asarray(part.exponents)
    largest = int(_HOST.max(_HOST.where(part.norms > 0, exponents, -(10**6))))
    squares = _HOST.ldexp(part.norms**2, 2 * _HOST.maximum(exponents - largest, -_FAR_APART))
    return _HOST.where(squares > 0, squares, 1.0)


def in_widest(model: Model) -> Model:
    """Return the model with its data in the widest dtype of their device."""
    wide = widest_dtype(model.xp, model.device, model.Y.dtype)
    return replace(model, Y=model.xp.astype(model.Y, wide, copy=False))


# ------------------------------------------------------------------------------ restriction

# Above these shares of the energy the difference of squares holds half of the digits of the rest.
_SAFE_SHARE, _SAFE_SHARE_SINGLE = 1e-6, 1e-2


def restricted(model: Model, columns: Sequence[Array]) -> tuple[Model, tuple[Array, ...]]:
    """Return the model of chosen columns alone, on the host, and the bases of their ranges.

    `columns` are host arrays of indices, one a mode. The data become their coordinates in
    orthonormal bases of the ranges, where those are smaller; nothing that any covariance of these
    columns sees is lost.
    """
    bases, factors = [], []
    for H, chosen in zip(model.factors, columns, strict=True):
        part = H[:, chosen]
        Q, R = _HOST.linalg.qr(part) if part.shape[1] < part.shape[0] else (None, part)
        bases.append(Q)
        factors.append(R)
    adjoints = [None if Q is None else model.tensor(_HOST.conj(Q.T)) for Q in bases]
    inside = wide_host(mode_products(model.Y, adjoints, model.xp))
    outside = model.energy - norm_fro(inside, _HOST) ** 2
    is_single = eps(model.xp, model.Y.dtype) > _SINGLE
    share = _SAFE_SHARE_SINGLE if is_single else _SAFE_SHARE
    if outside < share * model.energy:
        outside = model.outside + _explicit_rest(model, inside, bases)
    small = Model(
        tuple(factors), inside, model.snapshots, model.count, max(outside, 0.0), model.energy,
        _HOST, "cpu", _subsets(model.squares, columns),
    )  # fmt: skip
    return small, tuple(bases)


def _subsets(vectors: Sequence[Array] | None, columns: Sequence[Array]) -> tuple[Array, ...] | None:
    if vectors is None:
        return None
    return tuple(v[c] for v, c in zip(vectors, columns, strict=True))


def _explicit_rest(model: Model, inside: Array, bases: Sequence[Array | None]) -> float:
    """Return the energy outside the ranges from the residual itself, by slabs of the first mode."""
    if all(Q is None for Q in bases):
        return 0.0
    xp, rows = model.xp, model.sizes[0]
    step = max(1, rows // 16)
    rest = 0.0
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        if bases[0] is None:
            part = inside[start:stop, ...]
            first = [None]
        else:
            part, first = inside, [bases[0][start:stop, :]]
        matrices = [None if Q is None else model.tensor(Q) for Q in [*first, *bases[1:]]]
        fitted = mode_products(model.tensor(part), matrices, xp)
        rest += norm_fro(model.Y[start:stop, ...] - fitted, xp) ** 2
    return rest
