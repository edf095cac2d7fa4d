"""The arguments of a canonical (CP) tensor, checked: a sum of R products of one column a mode.

::

    cp = canonical(weights, factors, intervals, "uniform")
    values = cp.at(points)                      # the sum at points of [-1, 1]^d

Columns and weights are divided by powers of two, so that columns scaled by a power of two with
weights that compensate for it give the same numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    array_namespace,
    asarray,
    detached,
    device,
    is_complex_dtype,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.validation import (
    check_choice,
    check_finite_block,
    check_int,
    first_bad_row,
    message,
)
from linalgkit.chebyshev._basis import nodes as chebyshev_nodes
from linalgkit.chebyshev._basis import scaled, to_unit
from linalgkit.chebyshev._max_norm import placed, warn_caller
from linalgkit.chebyshev._parts import Interval
from linalgkit.chebyshev._resample import (
    FEWEST_NODES,
    CallableMode,
    GridMode,
    Mode,
    NodeMode,
    Place,
)

_HOST = numpy_namespace()
_SPLINE_POINTS = 4
# Numbers in a block of the direct sum.
_BLOCK = 2**20
_KINDS = ("uniform", "cheb2", "callables")

Nodes = str | Sequence[Array]


@dataclass(frozen=True, eq=False)
class Canonical:
    """``2**exponent`` times a sum of R products.

    Attributes
    ----------
    modes : list of Mode
        Their columns are of order one.
    weights : array (R,)
        Of order one at most, on the host.
    exponent : int
        The power of two in front.
    original : array (R,)
        Weights as given, on the host.
    place : Place
        Namespace, device and the wide dtype worked on in.
    dtype : dtype
        That of the answer.
    """

    modes: list[Mode]
    weights: Array
    exponent: int
    original: Array
    place: Place
    dtype: DType

    @property
    def sizes(self) -> Array:
        """Root mean squares of the terms, on the host."""
        sizes = _HOST.abs(self.weights)
        for mode in self.modes:
            sizes = sizes * mode.sizes
        return sizes

    @property
    def is_on_grids(self) -> bool:
        """Whether splines go through the columns."""
        return isinstance(self.modes[0], GridMode)

    @property
    def is_called(self) -> bool:
        """Whether the columns are functions."""
        return isinstance(self.modes[0], CallableMode)

    def thinned(self) -> Canonical:
        """Return the sum of splines through every second point of the grids."""
        modes: list[Mode] = [m.thinned() for m in self.modes if isinstance(m, GridMode)]
        return replace(self, modes=modes)

    @property
    def n_values(self) -> int:
        """Values that went in."""
        return sum(mode.n_values for mode in self.modes)

    def at(self, points: Array) -> Array:
        """Return the sum at host points (n, d) of [-1, 1]^d, on the device."""
        if self.is_called:
            step = max(1, _BLOCK // int(self.weights.shape[0]))
            n = int(points.shape[0])
            parts = [self._block_sum(points[i : i + step, :]) for i in range(0, n, step)]
            return self.place.xp.concat(parts)
        return self._block_sum(points)

    def _block_sum(self, points: Array) -> Array:
        """Return the sum at some points, chunk by chunk of its terms."""
        xp, dev, dtype = self.place
        T = [_HOST.ascontiguousarray(points[:, k]) for k in range(len(self.modes))]
        lam = asarray(self.weights, xp=xp, device=dev, dtype=dtype)
        total = xp.zeros(int(points.shape[0]), dtype=dtype, device=dev)
        for start, stop in self._chunks(int(points.shape[0])):
            product = lam[None, start:stop]
            for mode, t in zip(self.modes, T, strict=True):
                product = product * mode.values(t, start, stop)
            total = total + xp.sum(product, axis=1)
        return total

    def _chunks(self, n: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of terms."""
        rows = max(n, *(mode.n_rows for mode in self.modes))
        return self.modes[0].chunks(rows)


# ------------------------------------------------------------------------------- the checks


def canonical(
    weights: Array, factors: Sequence[Any], intervals: Sequence[Interval], nodes: Nodes
) -> Canonical:
    """Return the checked sum."""
    d = len(intervals)
    factors = _checked_sequence(factors, d)
    functions = _is_functions(factors, nodes)
    arrays = [] if functions else factors
    xp = array_namespace(weights, *arrays)
    weights = detached(weights)
    _check_weights(weights)
    if functions:
        return _of_functions(weights, factors, intervals, xp)
    return _of_arrays(weights, [detached(U) for U in factors], intervals, nodes, xp)


def _checked_sequence(factors: Any, d: int) -> list[Any]:
    """Return the factors as a list of one a variable."""
    if not isinstance(factors, (list, tuple)):
        raise TypeError(
            message("factors", "be a list of one matrix or function a variable", type(factors))
        )
    if len(factors) != d:
        raise ValueError(f"factors must be {d}, one a variable of domain, got {len(factors)}.")
    return list(factors)


def _is_functions(factors: Sequence[Any], nodes: Nodes) -> bool:
    """Tell whether the factors are functions, and refuse a mixture."""
    called = [callable(U) for U in factors]
    if isinstance(nodes, str):
        check_choice("nodes", nodes, _KINDS)
    wanted = isinstance(nodes, str) and nodes == "callables"
    if any(called) and not all(called):
        raise TypeError("factors must be all matrices or all functions, got both.")
    if wanted and not all(called):
        raise TypeError(
            "factors must be functions of positions (n,) for nodes='callables', got "
            f"{type(factors[0]).__name__}. Leave nodes to its default for values on a grid."
        )
    if all(called) and not wanted and nodes != "uniform":
        raise ValueError(
            "nodes must be 'callables' or left out for factors that are functions, which have no "
            f"grid, got {nodes!r}."
        )
    return all(called)


def _check_weights(weights: Array) -> None:
    """Refuse weights that are no finite vector."""
    if weights.ndim != 1 or int(weights.shape[0]) == 0:
        raise ValueError(
            f"weights must have shape (R,) with R at least 1, got shape {tuple(weights.shape)}. "
            "Pass ones where the columns carry the weights."
        )
    check_finite_block(weights, name="weights")


def _of_arrays(
    weights: Array,
    factors: Sequence[Array],
    intervals: Sequence[Interval],
    nodes: Nodes,
    xp: Namespace,
) -> Canonical:
    """Return the sum of products of gridded columns."""
    R = int(weights.shape[0])
    dev = device(weights)
    for k, U in enumerate(factors):
        _check_matrix(U, k, R, dev)
    grids = _grids(nodes, [int(U.shape[0]) for U in factors], intervals)
    dtype = _joint_dtype([weights, *factors], xp)
    place = Place(xp, dev, widest_dtype(xp, dev, dtype))
    modes: list[Mode] = [
        NodeMode(U, place) if t is None else GridMode(U, t, place)
        for U, t in zip(factors, grids, strict=True)
    ]
    return _balanced(modes, weights, place, dtype)


def _check_matrix(U: Array, k: int, R: int, dev: Any) -> None:
    """Refuse a factor of a wrong shape, rank or place, or with NaN or infinity."""
    name = f"factors[{k}]"
    if U.ndim != 2:
        raise ValueError(f"{name} must be 2-D (n, R), got shape {tuple(U.shape)}.")
    if int(U.shape[1]) != R:
        raise ValueError(
            f"{name} must have {R} columns, one for each of the weights, got shape "
            f"{tuple(U.shape)}. All factors of a canonical tensor have one rank."
        )
    if device(U) != dev:
        raise TypeError(f"{name} must lie on {dev} as weights do, got {device(U)}.")
    if int(U.shape[0]) == 0:
        raise ValueError(f"{name} must have at least one row, got shape {tuple(U.shape)}.")
    check_finite_block(U, name=name)


def _joint_dtype(arrays: Sequence[Array], xp: Namespace) -> DType:
    """Return the dtype of the answer for arrays of any dtypes."""
    return xp.result_type(*(working_dtype(xp, device(X), X.dtype) for X in arrays))


# -------------------------------------------------------------------------------- the grids


def _grids(
    nodes: Nodes, lengths: Sequence[int], intervals: Sequence[Interval]
) -> Sequence[Array | None]:
    """Return the positions in [-1, 1] a mode, on the host; None for Chebyshev points."""
    if isinstance(nodes, str) and nodes == "cheb2":
        return [None] * len(lengths)
    return checked_grids(nodes, lengths, intervals)


def checked_grids(
    nodes: Nodes, lengths: Sequence[int], intervals: Sequence[Interval]
) -> list[Array]:
    """Return the positions in [-1, 1] of each mode for splines, on the host."""
    for k, n in enumerate(lengths):
        if n < _SPLINE_POINTS:
            raise ValueError(
                f"nodes must be at least {_SPLINE_POINTS} a mode for a cubic spline, got {n} in "
                f"mode {k}. Pass values at Chebyshev points with nodes='cheb2', or functions."
            )
    if isinstance(nodes, str):
        return [uniform_nodes(n) for n in lengths]
    return list(unit_grids(nodes, lengths, intervals))


def uniform_nodes(n: int) -> Array:
    """Return the centres of `n` cells of [-1, 1], ascending, exactly symmetric (host)."""
    return _HOST.arange(1 - n, n, 2) / n


def unit_grids(
    nodes: Sequence[Array], lengths: Sequence[int], intervals: Sequence[Interval]
) -> Iterator[Array]:
    """Yield positions given by a caller moved to [-1, 1], on the host, checked."""
    if not isinstance(nodes, (list, tuple)):
        raise TypeError(
            message("nodes", "be a name or a sequence of one array a variable", type(nodes))
        )
    if len(nodes) != len(lengths):
        raise ValueError(f"nodes must be {len(lengths)} arrays, one a variable, got {len(nodes)}.")
    for k, (x, n, interval) in enumerate(zip(nodes, lengths, intervals, strict=True)):
        yield _unit_grid(x, f"nodes[{k}]", n, interval)


def _unit_grid(x: Array, name: str, n: int, interval: Interval) -> Array:
    """Return positions of one mode in [-1, 1]."""
    host = _HOST.asarray(to_numpy(x), dtype=_HOST.float64)
    if host.shape != (n,):
        raise ValueError(
            f"{name} must have shape ({n},), one position for each value, got {host.shape}."
        )
    check_finite_block(host, name=name)
    if not bool(_HOST.all(_HOST.diff(host) > 0)):
        place = int(_HOST.argmin(_HOST.diff(host) > 0))
        raise ValueError(
            f"{name} must be strictly ascending, got {host[place]} before {host[place + 1]} at "
            f"entry {place}. Sort the positions, and the values with them."
        )
    a, b = interval
    slack = 1e-12 * max(abs(a), abs(b))
    if host[0] < a - slack or host[-1] > b + slack:
        raise ValueError(
            f"{name} must lie in the domain [{a}, {b}], got positions from {host[0]} to {host[-1]}."
        )
    t = to_unit(host, interval)
    _warn_of_gaps(t, name)
    return t


def _warn_of_gaps(t: Array, name: str) -> None:
    """Warn of positions that end far from the ends of the domain."""
    if t.shape[0] < _SPLINE_POINTS:
        return
    gaps = (t[0] + 1.0) / (t[1] - t[0]), (1.0 - t[-1]) / (t[-1] - t[-2])
    if max(gaps) > 2.0:
        warn_caller(
            f"{name} ends {max(gaps):.1f} spacings before an end of the domain, up to which the "
            "spline is extrapolated; no error estimate sees that. Pass a smaller domain."
        )


# ----------------------------------------------------------------------------- the functions


def _of_functions(
    weights: Array, factors: Sequence[Any], intervals: Sequence[Interval], xp: Namespace
) -> Canonical:
    """Return the sum of products of functions."""
    R, dev = int(weights.shape[0]), device(weights)
    called = [
        _caller(U, f"factors[{k}]", interval, R, xp, dev)
        for k, (U, interval) in enumerate(zip(factors, intervals, strict=True))
    ]
    first = [U(chebyshev_nodes(FEWEST_NODES)) for U in called]
    dtype = _joint_dtype([weights, *first], xp)
    place = Place(xp, dev, widest_dtype(xp, dev, dtype))
    modes: list[Mode] = [CallableMode(U, V, place) for U, V in zip(called, first, strict=True)]
    return _balanced(modes, weights, place, dtype)


def _caller(
    U: Callable[[Array], Array],
    name: str,
    interval: Interval,
    R: int,
    xp: Namespace,
    dev: Any,
) -> Callable[[Array], Array]:
    """Return a function of host positions in [-1, 1] whose values are checked."""

    def values(t: Array) -> Array:
        x = placed(scaled(t, interval), xp, dev)
        V = detached(U(x))
        try:
            array_namespace(x, V)
        except TypeError as error:
            raise TypeError(
                f"{name} must return an array of its argument's library: {error}"
            ) from None
        if tuple(V.shape) != (int(t.shape[0]), R):
            raise ValueError(
                f"{name} must return shape ({int(t.shape[0])}, {R}), a row for each position and a "
                f"column for each of the weights, got {tuple(V.shape)}."
            )
        bad = first_bad_row(V) if not bool(xp.all(xp.isfinite(V))) else None
        if bad is not None:
            raise ValueError(
                f"{name} must return finite values, got NaN or infinity at {float(x[bad])}."
            )
        return V

    return values


# ---------------------------------------------------------------------------------- the unit


def _balanced(modes: list[Mode], weights: Array, place: Place, dtype: DType) -> Canonical:
    """Return the sum with weights that take over the exponents of the columns."""
    wide = _HOST.complex128 if is_complex_dtype(place.xp, dtype) else _HOST.float64
    original = _HOST.astype(to_numpy(weights), wide)
    exponents = _HOST.frexp(_HOST.abs(original))[1]
    lam = _times_power(original, -exponents)
    alive = _HOST.abs(lam) > 0
    for mode in modes:
        exponents = exponents + mode.exponents
        alive = alive & (mode.sizes > 0)
    lam = _HOST.where(alive, lam, 0.0)
    top = int(exponents[alive].max()) if bool(alive.any()) else 0
    lam = _times_power(lam, exponents - top)
    return Canonical(modes, lam, top, original, place, dtype)


def _times_power(lam: Array, exponents: Array) -> Array:
    """Return host numbers times powers of two; what is too small for a double becomes zero."""
    exponents = _HOST.clip(exponents, -2200, 2200)
    half = exponents // 2
    return lam * _HOST.ldexp(1.0, half) * _HOST.ldexp(1.0, exponents - half)


def checked_degrees(degrees: Any, d: int) -> tuple[int, ...] | None:
    """Return the degrees asked for, one a variable, or None."""
    if degrees is None:
        return None
    if isinstance(degrees, (list, tuple)):
        if len(degrees) != d:
            raise ValueError(
                f"degrees must be one number or {d}, one a variable, got {len(degrees)}."
            )
        return tuple(check_int(f"degrees[{k}]", m, low=1) for k, m in enumerate(degrees))
    return (check_int("degrees", degrees, low=1),) * d
