"""The arguments of a canonical (CP) tensor, checked: a sum of R products of one column a mode.

::

    cp = canonical(weights, factors, intervals, "uniform")
    values = cp.at(points)                      # the sum at points of [-1, 1]^d

Columns and weights are divided by powers of two, so that columns scaled by a power of two with
weights that compensate for it give the same numbers, bit for bit.
"""

from __future__ import annotations

import math
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
    dtype_name,
    eps,
    is_complex_dtype,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.random import as_generator
from linalgkit._core.validation import (
    check_choice,
    check_finite_block,
    check_int,
    first_bad_row,
    message,
)
from linalgkit.chebyshev._basis import nodes as chebyshev_nodes
from linalgkit.chebyshev._basis import scaled
from linalgkit.chebyshev._max_norm import placed
from linalgkit.chebyshev._node_grids import Nodes, grids_of
from linalgkit.chebyshev._parts import Interval
from linalgkit.chebyshev._resample import (
    FEWEST_NODES,
    CallableMode,
    GridMode,
    Mode,
    NodeMode,
    Outgrown,
    Place,
)

_HOST = numpy_namespace()
_SPLINE_POINTS = 4
# The largest degree that may be asked for.
MOST_DEGREE = 2**14
# Terms whose largest places are looked at, and from which more of them are mixed.
_PEAKS = 64
_SEED = 97030116
# Numbers in a block of the direct sum.
_BLOCK = 2**20
_CUT = "Cut the box into smaller ones for more."
_KINDS = ("uniform", "cheb2", "callables")


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
    coarsest : dtype
        Of the least precision among weights and columns.
    """

    modes: list[Mode]
    weights: Array
    exponent: int
    original: Array
    place: Place
    dtype: DType
    coarsest: DType

    @property
    def sizes(self) -> Array:
        """Root mean squares of the terms, on the host."""
        sizes = _HOST.abs(self.weights)
        for mode in self.modes:
            sizes = sizes * mode.sizes
        return sizes

    @property
    def heights(self) -> Array:
        """Products of the largest moduli of weights and columns, on the host."""
        heights = _HOST.abs(self.weights)
        for mode in self.modes:
            heights = heights * mode.tops
        return heights

    def peaks(self) -> Array:
        """Return points (n, d) of [-1, 1]^d where terms are largest, on the host.

        Those of the largest terms, and of those that are large in a small part of the box, which
        other points miss; points beside them; and combinations of their coordinates.
        """
        heights, widths = self.heights, [_widths(mode) for mode in self.modes]
        narrow = math.prod(widths) ** -0.25
        order = [_HOST.argsort(-h, kind="stable")[:_PEAKS] for h in (heights, heights * narrow)]
        terms = _HOST.unique(_HOST.concat(order))
        rng = as_generator(_SEED)
        columns = []
        for mode, width in zip(self.modes, widths, strict=True):
            at, beside = mode.places[terms], rng.choice(terms, _PEAKS)
            near = mode.places[beside] + width[beside] * rng.uniform(-1.0, 1.0, _PEAKS)
            mixed = mode.places[rng.choice(terms, _PEAKS)]
            columns.append(_HOST.clip(_HOST.concat([at, near, mixed]), -1.0, 1.0))
        return _HOST.stack(columns, axis=1)

    def rebalanced(self) -> Canonical:
        """Return the same with powers of two by what is known of the columns now."""
        return _balanced(self.modes, self.original, self.place, self.dtype, self.coarsest)

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


def _widths(mode: Mode) -> Array:
    """Return about which part of [-1, 1] columns are large in, up to 1 (host)."""
    return _HOST.clip((mode.sizes / _HOST.where(mode.tops > 0, mode.tops, 1.0)) ** 2, 1e-12, 1.0)


def settled(cp: Canonical, work: Callable[[Canonical], Any]) -> Any:
    """Return what `work` makes of a sum, anew where functions turn out larger than was seen.

    Each set of positions is the reason once at most, so that this ends.
    """
    while True:
        try:
            return work(cp)
        except Outgrown:
            cp = cp.rebalanced()


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
    grids = grids_of(nodes, [int(U.shape[0]) for U in factors], intervals)
    dtype = _joint_dtype([weights, *factors], xp)
    coarsest = _coarsest([weights, *factors], xp)
    place = Place(xp, dev, widest_dtype(xp, dev, dtype))
    modes: list[Mode] = [
        NodeMode(U, place) if t is None else GridMode(U, t, place)
        for U, t in zip(factors, grids, strict=True)
    ]
    return _balanced(modes, _on_host(weights, dtype, xp), place, dtype, coarsest)


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


def _coarsest(arrays: Sequence[Array], xp: Namespace) -> DType:
    """Return the dtype of least precision."""
    dtypes = [working_dtype(xp, device(X), X.dtype) for X in arrays]
    return max(dtypes, key=lambda dtype: eps(xp, dtype))


def _on_host(weights: Array, dtype: DType, xp: Namespace) -> Array:
    """Return weights in double precision on the host."""
    wide = _HOST.complex128 if is_complex_dtype(xp, dtype) else _HOST.float64
    return _HOST.astype(to_numpy(weights), wide)


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
    coarsest = _coarsest([weights, *first], xp)
    place = Place(xp, dev, widest_dtype(xp, dev, dtype))
    modes: list[Mode] = [
        CallableMode(U, R, eps(xp, _coarsest([V], xp)), place)
        for U, V in zip(called, first, strict=True)
    ]
    return _balanced(modes, _on_host(weights, dtype, xp), place, dtype, coarsest)


def _caller(
    U: Callable[[Array], Array],
    name: str,
    interval: Interval,
    R: int,
    xp: Namespace,
    dev: Any,
) -> Callable[[Array], Array]:
    """Return a function of host positions in [-1, 1] whose values are checked."""
    kinds: list[DType] = []

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
        kinds.append(V.dtype)
        if is_complex_dtype(xp, V.dtype) and not is_complex_dtype(xp, kinds[0]):
            raise TypeError(
                f"{name} must return values of one kind, got {dtype_name(xp, kinds[0])} first and "
                f"{dtype_name(xp, V.dtype)} now. Return complex values in every call."
            )
        del kinds[1:]
        bad = first_bad_row(V) if not bool(xp.all(xp.isfinite(V))) else None
        if bad is not None:
            raise ValueError(
                f"{name} must return finite values, got NaN or infinity at {float(x[bad])}."
            )
        return V

    return values


# ---------------------------------------------------------------------------------- the unit


def _balanced(
    modes: list[Mode], original: Array, place: Place, dtype: DType, coarsest: DType
) -> Canonical:
    """Return the sum with weights that take over the exponents of the columns."""
    exponents = _HOST.frexp(_HOST.abs(original))[1]
    lam = _times_power(original, -exponents)
    alive = _HOST.abs(lam) > 0
    for mode in modes:
        exponents = exponents + mode.exponents
        alive = alive & (mode.tops > 0)
    top = int(exponents[alive].max()) if bool(alive.any()) else 0
    lam = _times_power(_HOST.where(alive, lam, 0.0), _HOST.where(alive, exponents - top, 0))
    return Canonical(modes, lam, top, original, place, dtype, coarsest)


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
        return tuple(
            check_int(f"degrees[{k}]", m, 1, MOST_DEGREE, way_out=_CUT)
            for k, m in enumerate(degrees)
        )
    return (check_int("degrees", degrees, 1, MOST_DEGREE, way_out=_CUT),) * d
