"""One mode of a canonical tensor: R functions of one variable, at any positions of [-1, 1].

The functions are columns given on a grid (a not-a-knot cubic spline through each), at Chebyshev
points (the polynomial through them), or by a callable::

    mode = GridMode(U, t, place)                # U (n, R) at positions t (n,)
    V = mode.values(s, 0, R)                    # (len(s), R), divided by powers of two
    C = mode.coefficients(65)                   # (65, R)
    m = resolved_length(mode, amplitudes, level)

Each column is divided by ``2**exponent``, so that its largest entry is of order one: neither the
unit of a column nor its size spoils what is made of it, and nothing is rounded by that.
"""

from __future__ import annotations

import copy
import math
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
    is_complex,
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
FEWEST_NODES = 17
# Nodes, and numbers of all columns at them, where the search for a degree without a grid ends.
_MOST_NODES, _MOST_NUMBERS = 2**14 + 1, 2**26
# Where twice as many nodes leave more than this share of the tail, its decay is algebraic.
_ALGEBRAIC = 1 / 32

Evaluate = Callable[[Array], Array]


class Place(NamedTuple):
    """Namespace and device of the arrays, and the dtype they are worked on in."""

    xp: Namespace
    device: Device
    dtype: DType


class Mode:
    """R functions of one variable of [-1, 1]: the base of the three kinds.

    Attributes
    ----------
    n_rows, n_columns, n_values : int
        Positions given, R, and how many values went in so far.
    exponents : array (R,)
        Powers of two that the columns are divided by, on the host; 0 for a column of zeros.
    sizes : array (R,)
        Root mean squares of the divided columns over the given positions, on the host.
    """

    def __init__(self, shape: tuple[int, int], place: Place) -> None:
        self.n_rows, self.n_columns = shape
        self.n_values = math.prod(shape)
        self.xp, self.device, self.dtype = place
        self.exponents = _HOST.zeros(shape[1], dtype=_HOST.int64)
        self.sizes = _HOST.zeros(shape[1])

    def measure(self, blocks: Iterable[Array]) -> None:
        """Set exponents and sizes from blocks of columns."""
        start = 0
        for block in blocks:
            stop = start + int(block.shape[1])
            self.exponents[start:stop] = _column_exponents(block, self.xp)
            moduli = self.xp.abs(self.divided(block, start))
            means = self.xp.mean(moduli * moduli, axis=0)
            self.sizes[start:stop] = _HOST.sqrt(_HOST.astype(to_numpy(means), _HOST.float64))
            start = stop

    def divided(self, block: Array, start: int) -> Array:
        """Return columns from `start` on divided by their powers of two."""
        powers = -self.exponents[start : start + int(block.shape[1])]
        return columns_times_powers(block, powers, self.xp)

    def chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of columns, of which `rows` values each are a small array."""
        step = max(16, _CHUNK // max(rows, 1))
        for start in range(0, self.n_columns, step):
            yield start, min(start + step, self.n_columns)

    def values(self, t: Array, start: int, stop: int) -> Array:
        """Return values of some columns at host positions `t`, shape (len(t), stop - start)."""
        raise NotImplementedError

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
        self.measure(self._block(*span) for span in self.chunks(int(t.shape[0])))

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
        q = min(self.n_columns, _SKETCH)
        sketch = _HOST.zeros((self.n_rows, q), dtype=_HOST.complex128)
        for start, stop in self.chunks(int(self.t.shape[0])):
            block = self.divided(self._block(start, stop), start)
            mix = _mixing(self.n_columns, start, stop) * amplitudes[start:stop, None]
            sketch += to_numpy(block @ on_device(mix, block, self.xp))
        through = CubicSpline(self.t, sketch)

        def rows(m: int) -> Array:
            return _row_norms(to_coefficients(through(nodes(m)), 0, _HOST), _HOST)

        return rows


class NodeMode(Mode):
    """Columns given at Chebyshev points of the second kind, through which polynomials go."""

    def __init__(self, U: Array, place: Place) -> None:
        super().__init__((int(U.shape[0]), int(U.shape[1])), place)
        self.U, self.n = U, int(U.shape[0])
        self.measure(self._block(*span) for span in self.chunks(self.n))

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


class CallableMode(Mode):
    """A function of positions (n,) of [-1, 1] that returns the values (n, R) of all columns."""

    def __init__(self, U: Evaluate, first: Array, place: Place) -> None:
        super().__init__((int(first.shape[0]), int(first.shape[1])), place)
        self.U = U
        self.measure([self.xp.astype(first, self.dtype, copy=False)])

    def chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield the range of all columns: a call returns them together."""
        yield 0, self.n_columns

    def values(self, t: Array, start: int, stop: int) -> Array:
        """Return the values of the function."""
        V = self.xp.astype(self.U(t), self.dtype, copy=False)
        self.n_values += math.prod(V.shape)
        return self.divided(V, start)


# ------------------------------------------------------------------------------- the degree


def resolved_length(mode: Mode, amplitudes: Array, level: float) -> int:
    """Return how many nodes a mode takes, for a sum of coefficients beyond them of `level`.

    The number is doubled. On a grid of n points it ends at about 2 n, and earlier where more nodes
    would only follow the kinks of the spline.
    """
    if isinstance(mode, NodeMode):
        return mode.n
    n = int(mode.t.shape[0]) if isinstance(mode, GridMode) else 0
    most = min(_MOST_NODES, _MOST_NUMBERS // mode.n_columns)
    return doubled_length(mode.envelope(amplitudes), level, n, most)


def doubled_length(
    envelope: Callable[[int], Array], level: float, n_grid: int, most: int = _MOST_NODES
) -> int:
    """Return the number of nodes for which the tail of an envelope is small enough.

    `n_grid` is the number of points of the grid under a spline, 0 where there is none; `most` ends
    the search then.
    """
    most = 2 * n_grid + 1 if n_grid else most
    m, tail = FEWEST_NODES, math.inf
    while True:
        before, tail = tail, tail_sum(envelope(m)[:, None], 0.0)
        follows_kinks = n_grid and 2 * m > n_grid and tail > _ALGEBRAIC * before
        if tail <= level or follows_kinks or 2 * m - 1 > max(most, FEWEST_NODES):
            return m
        m = 2 * m - 1


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
