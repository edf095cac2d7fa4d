"""One mode of a canonical tensor: R functions of one variable, at any positions of [-1, 1].

The functions are columns given on a grid (a not-a-knot cubic spline through each), at Chebyshev
points (the polynomial through them), or by a callable::

    mode = GridMode(U, t, place)                # U (n, R) at positions t (n,)
    V = mode.values(s, 0, R)                    # (len(s), R), divided by powers of two
    C = mode.coefficients(65)                   # (65, R)
    m = resolved_length(mode, amplitudes, level)

Degrees are read off the coefficients at as many nodes as resolve what the data hold: no peak is
missed because it lies between a few nodes. Each column is divided by ``2**exponent``, so that its
largest entry is of order one: neither the unit of a column nor its size spoils what is made of it,
and nothing is rounded by that.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from scipy.interpolate import CubicSpline

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    device,
    eps,
    is_complex,
    is_complex_dtype,
    is_in_place,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.random import as_generator
from linalgkit.chebyshev._basis import nodes, on_device, resized, to_coefficients, vandermonde
from linalgkit.chebyshev._max_norm import placed, tail_sum

_HOST = numpy_namespace()
# Numbers in a chunk of columns.
_CHUNK = 2**19
# Up to this many grid points a spline through many columns is one matrix on the device.
_MATRIX_POINTS = 1024
# Columns of a random sketch that stands for more of them in the choice of a degree.
_SKETCH = 64
_SEED = 16963015
#: Nodes at which functions are asked first, for their shape and dtype.
FEWEST_NODES = 17
# Nodes, and numbers of all columns at them, where the search for a degree without a grid ends.
_MOST_NODES, _MOST_NUMBERS = 2**14 + 1, 2**26
# Positions at which functions are sampled before anything is believed of them, at most and at
# least, and numbers of all columns at them.
_SAMPLE, _LEAST_SAMPLE, _SAMPLE_NUMBERS = 2**12, 2**8, 2**25
# Where the first sample lies between two of its steps: no zeros of usual functions.
_OFFSET = 0.381966
# A column larger than a sample told by this power of two is measured again.
_GROWTH = 4
# Coefficients up to this many units of roundoff of the largest that do not decay are rounding.
_NOISE = 1e3
# Numbers of nodes are one more than a multiple of this.
_STEP = 16
# How many times the coefficients that only follow kinks may be left away with them.
_KINKS = 2.0

Evaluate = Callable[[Array], Array]


class Place(NamedTuple):
    """Namespace and device of the arrays, and the dtype they are worked on in."""

    xp: Namespace
    device: Device
    dtype: DType


class Mode(ABC):
    """R functions of one variable of [-1, 1]: the base of the three kinds.

    Attributes
    ----------
    n_rows, n_columns, n_values : int
        Positions given, R, and how many values went in so far.
    exponents : array (R,)
        Powers of two that the columns are divided by, on the host; 0 for a column of zeros.
    sizes : array (R,)
        Root mean squares of the divided columns over the given positions, on the host.
    tops, places : array (R,)
        Their largest moduli, and the positions in [-1, 1] of those, on the host.
    """

    def __init__(self, shape: tuple[int, int], place: Place) -> None:
        self.n_rows, self.n_columns = shape
        self.n_values = math.prod(shape)
        self.xp, self.device, self.dtype = place
        self.exponents = _HOST.zeros(shape[1], dtype=_HOST.int64)
        self.sizes, self.tops, self.places = (_HOST.zeros(shape[1]) for _ in range(3))

    def measure(self, blocks: Iterable[Array], t: Array) -> None:
        """Set exponents, sizes, tops and places from blocks of columns at positions `t`."""
        start = 0
        for block in blocks:
            span = slice(start, start + int(block.shape[1]))
            self.exponents[span] = _column_exponents(block, self.xp)
            self.sizes[span], self.tops[span], where = self._moments(block, start)
            self.places[span] = t[where]
            start = span.stop

    def _moments(self, block: Array, start: int) -> tuple[Array, Array, Array]:
        """Return root mean squares, largest moduli and their rows of divided columns (host)."""
        xp = self.xp
        moduli = xp.abs(self.divided(block, start))
        means = _HOST.astype(to_numpy(xp.mean(moduli * moduli, axis=0)), _HOST.float64)
        tops = _HOST.astype(to_numpy(xp.max(moduli, axis=0)), _HOST.float64)
        return _HOST.sqrt(means), tops, to_numpy(xp.argmax(moduli, axis=0))

    def divided(self, block: Array, start: int) -> Array:
        """Return columns from `start` on divided by their powers of two."""
        powers = -self.exponents[start : start + int(block.shape[1])]
        return columns_times_powers(block, powers, self.xp)

    def chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of columns, of which `rows` values each are a small array."""
        step = max(16, _CHUNK // max(rows, 1))
        for start in range(0, self.n_columns, step):
            yield start, min(start + step, self.n_columns)

    @abstractmethod
    def values(self, t: Array, start: int, stop: int) -> Array:
        """Return values of some columns at host positions `t`, shape (len(t), stop - start)."""

    def coefficients(self, m: int) -> Array:
        """Return the coefficients (m, R) of the polynomials through values at `m` nodes."""
        blocks = (
            to_coefficients(self.values(nodes(m), start, stop), 0, self.xp)
            for start, stop in self.chunks(m + self.n_rows)
        )
        return _filled(blocks, (m, self.n_columns), self)

    def envelope(self, amplitudes: Array) -> Callable[[int], Array]:
        """Return what gives the 2-norms (m,) of the rows of coefficients times amplitudes."""

        def rows(m: int) -> Array:
            C = self.coefficients(m)
            return _row_norms(C * on_device(amplitudes, C, self.xp)[None, :], self.xp)

        return rows


class GridMode(Mode):
    """Columns given on a grid, through which cubic splines go; those go on to the ends."""

    def __init__(self, U: Array, t: Array, place: Place) -> None:
        super().__init__((int(U.shape[0]), int(U.shape[1])), place)
        self.U, self.t = U, t
        self._operator: tuple[Array, Array] = (None, None)
        self.measure((self._block(*span) for span in self.chunks(int(t.shape[0]))), t)

    def _block(self, start: int, stop: int) -> Array:
        """Return some columns in the working dtype."""
        return self.xp.astype(self.U[:, start:stop], self.dtype, copy=False)

    def values(self, t: Array, start: int, stop: int) -> Array:
        """Return the values of the splines."""
        block = self.divided(self._block(start, stop), start)
        n = int(self.t.shape[0])
        if n <= _MATRIX_POINTS and self.n_columns > n // 4:
            return self._matrix(t) @ block
        found = CubicSpline(self.t, to_numpy(block))(t)
        return asarray(found, xp=self.xp, device=self.device, dtype=self.dtype)

    def thinned(self) -> GridMode:
        """Return the same columns on every second point of the grid, over the same powers."""
        mode = copy.copy(self)
        mode.U, mode.t, mode._operator = self.U[::2, :], self.t[::2], (None, None)
        return mode

    def _matrix(self, t: Array) -> Array:
        """Return the matrix from values on the grid to those at positions; the last is kept."""
        if self._operator[0] is not t:
            found = spline_matrix(self.t, t)
            self._operator = (t, asarray(found, xp=self.xp, device=self.device, dtype=self.dtype))
        return self._operator[1]

    def envelope(self, amplitudes: Array) -> Callable[[int], Array]:
        """Return the same as the base, from a random sketch of the columns where it pays."""
        kind = _HOST.complex128 if is_complex_dtype(self.xp, self.dtype) else _HOST.float64
        sketch = _HOST.zeros((self.n_rows, min(self.n_columns, _SKETCH)), dtype=kind)
        for start, stop in self.chunks(int(self.t.shape[0])):
            block = self.divided(self._block(start, stop), start)
            mix = _mixing(self.n_columns, start, stop) * amplitudes[start:stop, None]
            sketch += to_numpy(block @ on_device(mix, block, self.xp))
        return lambda m: spline_envelope(self.t, sketch, m)


class NodeMode(Mode):
    """Columns given at Chebyshev points of the second kind, through which polynomials go."""

    def __init__(self, U: Array, place: Place) -> None:
        super().__init__((int(U.shape[0]), int(U.shape[1])), place)
        self.U, self.n = U, int(U.shape[0])
        self.measure((self._block(*span) for span in self.chunks(self.n)), nodes(self.n))

    def _block(self, start: int, stop: int) -> Array:
        """Return some columns in the working dtype."""
        return self.xp.astype(self.U[:, start:stop], self.dtype, copy=False)

    def _own(self, start: int, stop: int) -> Array:
        """Return the coefficients of some columns."""
        return to_coefficients(self.divided(self._block(start, stop), start), 0, self.xp)

    def values(self, t: Array, start: int, stop: int) -> Array:
        """Return the values of the polynomials."""
        C = self._own(start, stop)
        T = vandermonde(placed(t, self.xp, self.device), self.n, self.xp)
        return self.xp.astype(T, C.dtype, copy=False) @ C

    def coefficients(self, m: int) -> Array:
        """Return the coefficients of the polynomials, cut to `m` or with zeros appended."""
        blocks = (resized(self._own(*span), m, self.xp) for span in self.chunks(m + self.n))
        return _filled(blocks, (m, self.n_columns), self)


class Outgrown(Exception):
    """Columns of a function are larger than its sample told: powers of two must be chosen anew."""


class CallableMode(Mode):
    """A function of positions (n,) of [-1, 1] that returns the values (n, R) of all columns.

    It is sampled at thousands of positions first. Where a column is larger later on, the measures
    are set anew and :class:`Outgrown` is raised.
    """

    def __init__(self, U: Evaluate, n_columns: int, unit: float, place: Place) -> None:
        super().__init__((FEWEST_NODES, n_columns), place)
        self.U, self.unit = U, max(unit, eps(place.xp, place.dtype))
        self.n_sampled = 1 << (max(_SAMPLE_NUMBERS // n_columns, 1)).bit_length() - 1
        self.n_sampled = min(max(self.n_sampled, _LEAST_SAMPLE), _SAMPLE)
        t = 2.0 * (_HOST.arange(self.n_sampled) + _OFFSET) / self.n_sampled - 1.0
        for block in self._position_blocks(_HOST.concat([nodes(FEWEST_NODES), t])):
            self._absorb(self._raw(block), block)

    def _raw(self, t: Array) -> Array:
        """Return the values of the function in the working dtype."""
        V = self.xp.astype(self.U(t), self.dtype, copy=False)
        self.n_values += math.prod(V.shape)
        return V

    def _position_blocks(self, t: Array) -> Iterator[Array]:
        """Yield positions, so many that the values of all columns are a small array."""
        step = max(16, _CHUNK // self.n_columns)
        for start in range(0, int(t.shape[0]), step):
            yield t[start : start + step]

    def _absorb(self, V: Array, t: Array) -> None:
        """Let larger exponents, sizes and tops replace those known."""
        before = self.exponents, self.sizes, self.tops, self.places
        own = _column_exponents(V, self.xp)
        known = before[2] > 0
        self.exponents = _HOST.where(known, _HOST.maximum(before[0], own), own)
        power = _HOST.clip(_HOST.where(known, before[0] - self.exponents, 0), -2000, 0)
        sizes, tops, where = self._moments(V, 0)
        old = _HOST.ldexp(before[2], power)
        self.sizes = _HOST.maximum(_HOST.ldexp(before[1], power), sizes)
        self.tops = _HOST.maximum(old, tops)
        self.places = _HOST.where(tops > old, t[where], before[3])

    def chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield the range of all columns: a call returns them together."""
        yield 0, self.n_columns

    def values(self, t: Array, start: int, stop: int) -> Array:
        """Return the values of the function."""
        V = self._raw(t)
        zero = self.tops == 0
        grown = _column_exponents(V, self.xp) - self.exponents > _GROWTH
        if bool(_HOST.any(grown & ~zero)) or (bool(zero.any()) and self._is_alive(V, zero)):
            self._absorb(V, t)
            raise Outgrown
        return self.divided(V, start)

    def _is_alive(self, V: Array, zero: Array) -> bool:
        """Tell whether columns that were zero are so no longer."""
        largest = to_numpy(self.xp.max(self.xp.abs(V), axis=0))
        return bool(_HOST.any(largest[zero] > 0))

    def envelope(self, amplitudes: Array) -> Callable[[int], Array]:
        """Return the same as the base, from a random sketch of the columns."""
        mix = _mixing(self.n_columns, 0, self.n_columns) * amplitudes[:, None]

        def rows(m: int) -> Array:
            sketch = [self._mixed(t, mix) for t in self._position_blocks(nodes(m))]
            return _row_norms(to_coefficients(_HOST.concat(sketch), 0, _HOST), _HOST)

        return rows

    def _mixed(self, t: Array, mix: Array) -> Array:
        """Return the values at positions times a matrix, on the host."""
        V = self.values(t, 0, self.n_columns)
        return to_numpy(V @ on_device(mix, V, self.xp))


# ------------------------------------------------------------------------------- the degree


def resolved_length(mode: Mode, amplitudes: Array, level: float) -> int:
    """Return how many nodes a mode takes, for a sum of coefficients beyond them of `level`.

    On a grid of n points it is 2 n at most, and less where more nodes would only follow the kinks
    of the spline; of functions the number of nodes looked at is doubled until they are resolved.
    """
    if isinstance(mode, NodeMode):
        return mode.n
    envelope = mode.envelope(amplitudes)
    if isinstance(mode, GridMode):
        return spline_length(envelope, level, int(mode.t.shape[0]))
    most = min(_MOST_NODES, _MOST_NUMBERS // mode.n_columns)
    first, unit = FEWEST_NODES, eps(mode.xp, mode.dtype)
    if isinstance(mode, CallableMode):
        first, unit = mode.n_sampled + 1, mode.unit
    return chopped_length(envelope, level, first, most, unit)


def spline_length(envelope: Callable[[int], Array], level: float, n: int) -> int:
    """Return the number of nodes for a spline through `n` equidistant points or so.

    Its coefficients beyond ``n pi / 2``, the frequency of the grid, come from its kinks alone, and
    tell how far from the data's function it may be. More nodes than leave that much do no good.
    """
    e = envelope(2 * n + 1)
    kinks = float(e[int(0.5 * math.pi * n) :].sum())
    floor = 2.0 * eps(_HOST, _HOST.float64) * float(e.max())
    return _chopped(e, max(level, 2.0 * _KINKS * kinks), 0.0, floor)


def chopped_length(
    envelope: Callable[[int], Array], level: float, first: int, most: int, unit: float
) -> int:
    """Return the number of nodes beyond which the coefficients of an envelope are small enough.

    `first` nodes are looked at, then twice as many and so on up to `most`. `unit` is the roundoff
    that the values carry: coefficients near it which do not decay are rounding errors.
    """
    m = first
    while True:
        e = envelope(m)
        floor = _rounding_floor(e, unit)
        rest = tail_sum(e[:, None], floor)
        if 2.0 * rest <= level or 2 * m - 1 > most:
            return _chopped(e, level, rest, floor)
        m = 2 * m - 1


def _chopped(e: Array, level: float, rest: float, floor: float) -> int:
    """Return the fewest nodes that leave half a level, with `rest` beyond the coefficients `e`."""
    m = int(e.shape[0])
    sums = _HOST.cumsum(_HOST.where(e > floor, e, 0.0)[::-1])[::-1] + rest
    fewest = m if sums[-1] > 0.5 * level else int(_HOST.argmax(sums <= 0.5 * level))
    return min(-(-max(fewest, 2) // _STEP) * _STEP + 1, m)


def _rounding_floor(e: Array, unit: float) -> float:
    """Return below which coefficients are rounding errors."""
    m, largest = int(e.shape[0]), float(e.max())
    last, before = float(e[3 * m // 4 :].max()), float(e[m // 2 : 3 * m // 4].max())
    is_flat = before <= 4.0 * last <= 4.0 * _NOISE * unit * largest
    return max(2.0 * unit * largest, 2.0 * last if is_flat else 0.0)


def spline_envelope(t: Array, columns: Array, m: int) -> Array:
    """Return the 2-norms (m,) of the rows of coefficients of splines through host columns."""
    step = max(1, _CHUNK // m)
    squares = _HOST.zeros(m)
    for start in range(0, int(columns.shape[1]), step):
        through = CubicSpline(t, columns[:, start : start + step])
        squares += _row_norms(to_coefficients(through(nodes(m)), 0, _HOST), _HOST) ** 2
    return _HOST.sqrt(squares)


def spline_matrix(x: Array, t: Array) -> Array:
    """Return the matrix from values at `x` to those of the cubic spline at `t` (host)."""
    return CubicSpline(x, _HOST.eye(int(x.shape[0])))(t)


def _mixing(n_columns: int, start: int, stop: int) -> Array:
    """Return rows of a matrix (R, q) with ``E M M^T = I``: the identity, or normal numbers."""
    if n_columns <= _SKETCH:
        return _HOST.eye(n_columns)[start:stop, :]
    rng = as_generator(_HOST.random.SeedSequence([_SEED, start]))
    return rng.standard_normal((stop - start, _SKETCH)) / math.sqrt(_SKETCH)


# --------------------------------------------------------------------------------- columns


def _column_exponents(U: Array, xp: Namespace) -> Array:
    """Return for each column the exponent of its largest entry, on the host."""
    parts = (xp.real(U), xp.imag(U)) if is_complex(U, xp) else (U,)
    largest = _HOST.maximum.reduce([to_numpy(xp.max(xp.abs(part), axis=0)) for part in parts])
    return _HOST.frexp(_HOST.astype(largest, _HOST.float64))[1]


def columns_times_powers(U: Array, exponents: Array, xp: Namespace) -> Array:
    """Return columns times ``2**exponents`` (host integers), without an overflow on the way."""
    half = exponents // 2
    dtype = real_dtype(xp, U.dtype)
    for powers in (half, exponents - half):
        if _HOST.any(powers):
            row = asarray(_HOST.ldexp(1.0, powers), xp=xp, device=device(U), dtype=dtype)
            U = U * row[None, :]
    return U


def _row_norms(C: Array, xp: Namespace) -> Array:
    """Return the 2-norms of rows, on the host."""
    moduli = xp.abs(C)
    squares = xp.sum(moduli * moduli, axis=1)
    return _HOST.sqrt(_HOST.astype(to_numpy(squares), _HOST.float64))


def _filled(blocks: Iterable[Array], shape: tuple[int, int], mode: Mode) -> Array:
    """Return blocks of columns side by side, written into one array where that can be done."""
    if not is_in_place(mode.xp):
        return mode.xp.concat(list(blocks), axis=1)
    X = mode.xp.empty(shape, dtype=mode.dtype, device=mode.device)
    start = 0
    for block in blocks:
        stop = start + int(block.shape[1])
        X[:, start:stop] = block
        start = stop
    return X
