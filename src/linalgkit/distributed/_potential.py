"""Potentials of particles in blocks on the workers: tensors are added, particles stay.

A potential is a sum over particles. Every block finds that of its own particles, to an absolute
tolerance that is common to all; a tree adds the tensors and cuts off what is below it. The check
points, the direct sums there and the last truncation are those of the serial function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask.delayed import Delayed

from linalgkit._core.array import (
    Array,
    DType,
    array_namespace,
    dtype_from_name,
    dtype_name,
    eps,
    namespace_of,
    numpy_namespace,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent
from linalgkit._core.validation import check_int
from linalgkit.chebyshev import ChebTucker
from linalgkit.chebyshev._arithmetic import add
from linalgkit.chebyshev._long_range import (
    cancels,
    check_reach,
    checked_box,
    checked_tol,
    group_sizes,
    size_of,
    solved,
    untruncated,
    zero_potential,
)
from linalgkit.chebyshev._max_norm import warn_caller
from linalgkit.chebyshev._particles import (
    System,
    check_points,
    checked_particles,
    direct_sum,
    prepare,
    shells,
)
from linalgkit.chebyshev._parts import Parts
from linalgkit.chebyshev._recompress import recompress
from linalgkit.distributed._aligned import owned
from linalgkit.distributed._graph import computed, mapped, once, reduced, task
from linalgkit.distributed._parts import as_parts, naming

_HOST = numpy_namespace()
_SINGLE = ("float32", "complex64")
_CUT = 0.1  # of a block's tolerance, what a merge may cut off


@capability("distributed.long_range_potential", notes="Truncations run on the host.")
def long_range_potential(
    points: Any,
    charges: Any,
    domain: Any,
    *,
    alpha: float,
    tol: float | None = None,
    method: str = "moments",
    lattice: Any = None,
    fanin: int = 8,
) -> ChebTucker:
    """Return the potential ``sum_v q_v erf(alpha |x - x_v|) / |x - x_v|`` of particles in blocks.

    Parameters
    ----------
    points : dask.array (N, 3), list of delayed blocks (n_i, 3), paths, or arrays
        Positions.
    charges : dask.array (N,), list of delayed blocks (n_i,), paths, or arrays
        In the same parts.
    domain, alpha, tol, method, lattice
        As in :func:`linalgkit.chebyshev.long_range_potential`.
    fanin : int, default 8
        Tensors that one task adds, at least 2.

    Returns
    -------
    ChebTucker
        With an error estimate at the same 248 check points as the serial function has for the
        same particles, against direct sums.

    Raises
    ------
    TypeError, ValueError
        As the serial function; ValueError for charges in other parts than the points.

    Warns
    -----
    AccuracyWarning
        As the serial function. Charges that cancel to rounding on the whole domain are not looked
        at place by place: the answer is zero, its estimate what the potential may be.

    See Also
    --------
    linalgkit.chebyshev.long_range_potential : the same in one process.

    Notes
    -----
    Guarantee: that of the serial function, an error at the check points of at most ``tol`` times
    the largest modulus there, or a warning; the tensor itself differs from the serial one by as
    much.

    Storage a worker: its block of particles and what the serial function needs at work; `fanin`
    tensors of ``r^3 + sum_k m_k r_k`` numbers in a merge. Moved: a few hundred numbers of each
    block for the check, then one tensor of each. The blocks are read four times, and once more for
    each repetition to a smaller tolerance.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from scipy.special import erf
    >>> from linalgkit.distributed import long_range_potential
    >>> rng = np.random.default_rng(0)
    >>> points, charges = rng.uniform(-1, 1, (60, 3)), rng.standard_normal(60)
    >>> blocks = da.from_array(points, chunks=(20, 3)), da.from_array(charges, chunks=20)
    >>> T = long_range_potential(*blocks, [(-1, 1)] * 3, alpha=3.0, tol=1e-6)
    >>> x = np.asarray([0.1, -0.2, 0.3])
    >>> r = np.linalg.norm(x - points, axis=1)
    >>> bool(abs(T(x) - np.sum(charges * erf(3.0 * r) / r)) < 1e-4)
    True
    """
    check_int("fanin", fanin, 2)
    box, alpha, copies = checked_box(domain, alpha, lattice, method)
    whole = _survey_all(points, charges)
    dtype, like = whole.dtype, whole.like
    xp = array_namespace(like)
    tol = checked_tol(tol, dtype_name(xp, dtype) in _SINGLE, eps(xp, dtype))
    if whole.largest == 0.0:
        return zero_potential(box, like, dtype)
    setting = _Setting(box, alpha, copies, whole.largest, dtype_name(xp, dtype))
    blocks = mapped("particles", _prepared, whole.tasks, once(setting))
    system = _facade(blocks, setting, like, whole.largest)
    check_reach(system, alpha)
    x = check_points(system)
    sums = computed(reduced("direct-sum", _sum, mapped("direct-sum", _direct, blocks, x), fanin))
    if cancels(sums):
        error = math.ldexp(size_of(sums), system.exponent)
        warn_caller(
            "the charges cancel to rounding on the whole domain: the potential is zero but for an "
            f"error of up to {error:.2g}, which may be all of it. Take a larger alpha, or "
            "particles that do not cancel."
        )
        return zero_potential(box, like, dtype, error)
    return solved(system, x, sums, tol, _raw(blocks, method, fanin), system.size)


# ------------------------------------------------------------------------------- the particles


@dataclass(frozen=True)
class _Setting:
    """What every block has to know."""

    box: Any
    alpha: float
    copies: Any
    largest: float  # charge
    dtype: str


@dataclass(frozen=True)
class _Whole:
    tasks: list[Delayed]
    like: Array
    dtype: DType
    largest: float


def _survey_all(points: Any, charges: Any) -> _Whole:
    """Check all particles; return them in pairs of blocks."""
    x, q = as_parts(points, name="points"), as_parts(charges, name="charges", vectors=True)
    if len(x) != len(q):
        raise ValueError(f"charges must have the {len(x)} parts of points, got {len(q)} parts.")
    tasks = [task("pair", _pair, a, b) for a, b in zip(x.tasks, q.tasks, strict=True)]
    found = computed(*(task("survey", _survey, pair, k) for k, pair in enumerate(tasks)))
    surveys = list(found) if len(tasks) > 1 else [found]
    xp = array_namespace(*(like for like, _, _ in surveys))
    dtype = dtype_from_name(xp, surveys[0][1])
    for _, name, _ in surveys:
        dtype = xp.result_type(dtype, dtype_from_name(xp, name))
    return _Whole(tasks, surveys[0][0], dtype, max(largest for _, _, largest in surveys))


def _pair(points: Any, charges: Any) -> tuple[Any, Any]:
    return points, charges


def _survey(pair: tuple[Any, Any], index: int) -> tuple[Array, str, float]:
    """Return an empty array of the block's library, its dtype and its largest charge."""
    with naming(index, "points and charges"):
        _, q, like, dtype = checked_particles(*pair)
    xp = array_namespace(like)
    largest = max_abs(q, _HOST) if q.shape[0] else 0.0
    return owned(like[:0, :]), dtype_name(xp, dtype), largest


def _prepared(pair: tuple[Any, Any], setting: _Setting) -> System | None:
    """Return the system of a block in the units of all, None where no charge is."""
    x, q, like, _ = checked_particles(*pair)
    charged = q != 0
    if not bool(charged.any()):
        return None
    xp, where = namespace_of(like)
    dtype = dtype_from_name(xp, setting.dtype)
    if setting.dtype.startswith("complex"):
        q = _HOST.astype(q, _HOST.complex128)
    system = prepare(
        x[charged, :], q[charged], setting.box, setting.alpha, setting.copies, xp, where, dtype
    )
    parts = (q.real, q.imag) if q.dtype.kind == "c" else (q,)
    own = scale_exponent(max(max_abs(part[charged], _HOST) for part in parts))
    wanted = scale_exponent(setting.largest)
    shift = own - wanted
    return replace(
        system, charges=ldexp(system.charges, shift, _HOST), exponent=system.exponent - shift
    )


class _Facade(System):
    """All particles of all blocks, as far as the check and the answer ask for them."""

    blocks: Sequence[Delayed]
    facts: list[_Facts]

    @property
    def count(self) -> int:
        return sum(f.count for f in self.facts)

    def at(self, indices: Array) -> Array:
        ends = _HOST.cumsum(_HOST.asarray([f.count for f in self.facts]))
        owner = _HOST.searchsorted(ends, indices, side="right")
        found = _HOST.zeros((indices.shape[0], 3))
        own = [
            (_HOST.flatnonzero(owner == b), end - f.count)
            for b, (end, f) in enumerate(zip(ends, self.facts, strict=True))
        ]
        tasks = [
            task("places", _at, block, indices[where] - start)
            for block, (where, start) in zip(self.blocks, own, strict=True)
        ]
        places = computed(*tasks)
        for (where, _), x in zip(own, places if len(tasks) > 1 else [places], strict=True):
            found[where, :] = x
        return found

    def highest(self, count: int) -> tuple[Array, Array]:
        heights = _HOST.concat([f.heights for f in self.facts])
        places = _HOST.concat([f.peaks for f in self.facts])
        first = _HOST.argsort(-heights, stable=True)[:count]
        return heights[first], places[first, :]

    @property
    def reach(self) -> float:
        return max(f.reach for f in self.facts)

    @property
    def size(self) -> float:
        """The largest part of the potential that a block has."""
        return max(f.size for f in self.facts)


@dataclass(frozen=True)
class _Facts:
    """What is asked of a block before it is worked on."""

    count: int
    reach: float
    size: float
    heights: Array
    peaks: Array


_MOST_PEAKS = 30


def _facts(block: System | None) -> _Facts:
    if block is None:
        return _Facts(0, 0.0, 0.0, _HOST.zeros(0), _HOST.zeros((0, 3)))
    return _Facts(
        block.count, block.reach, max(group_sizes(shells(block))), *block.highest(_MOST_PEAKS)
    )


def _facade(blocks: list[Delayed], setting: _Setting, like: Array, largest: float) -> Any:
    """Return the system of all particles, none of which it holds."""
    xp, where = namespace_of(like)
    dtype = dtype_from_name(xp, setting.dtype)
    one = _HOST.asarray([largest], dtype=_HOST.float64)
    if setting.dtype.startswith("complex"):
        one = _HOST.astype(one, _HOST.complex128)
    made = prepare(
        _HOST.zeros((1, 3)), one, setting.box, setting.alpha, setting.copies, xp, where, dtype
    )
    facade = _Facade(**{name: getattr(made, name) for name in made.__dataclass_fields__})
    found = computed(*mapped("facts", _facts, blocks))
    facade.__dict__["blocks"] = blocks
    facade.__dict__["facts"] = list(found) if len(blocks) > 1 else [found]
    return facade


def _at(block: System | None, indices: Array) -> Array:
    return _HOST.zeros((0, 3)) if block is None else block.at(indices)


# ------------------------------------------------------------------------------------ the sums


def _direct(block: System | None, x: Array) -> Array | None:
    return None if block is None else direct_sum(block, x)


def _sum(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a + b


def _raw(blocks: list[Delayed], method: str, fanin: int) -> Callable[[float], Parts]:
    """Return what finds the potential to an absolute tolerance, before the last truncation."""

    def raw(absolute: float) -> Parts:
        own = absolute / math.sqrt(len(blocks))
        leaves = mapped("potential", _potential, blocks, method, own)
        merge = _Merge(_CUT * own)
        found: Parts = computed(reduced("potential", merge, leaves, fanin))
        return found

    return raw


def _potential(block: System | None, method: str, absolute: float) -> Parts | None:
    if block is None:
        return None
    groups = shells(block)
    return untruncated(groups, group_sizes(groups), method, absolute)


@dataclass(frozen=True)
class _Merge:
    """Adds two tensors and cuts off what is below a tolerance."""

    cut: float

    def __call__(self, a: Parts | None, b: Parts | None) -> Parts | None:
        if a is None or b is None:
            return b if a is None else a
        return recompress(add(a, b), self.cut)[0]
