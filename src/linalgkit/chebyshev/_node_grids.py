"""The grids that tensors come on: named, or nodes of the caller's, moved to [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linalgkit._core.array import (
    Array,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.validation import (
    check_finite_block,
    message,
)
from linalgkit.chebyshev._basis import to_unit
from linalgkit.chebyshev._max_norm import warn_caller
from linalgkit.chebyshev._parts import Interval

_HOST = numpy_namespace()

Nodes = str | Sequence[Array]
_SPLINE_POINTS = 4


def grids_of(
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
