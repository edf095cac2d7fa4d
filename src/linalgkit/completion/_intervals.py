"""Intervals around completed values, from the quadratic model of the objective near its minimum.

Near the answer the value at ``(i, j)`` moves with its row's and with its column's unknowns,
which are least-squares estimates against the other side's factor. Their variances add up::

    var(i, j) = noise^2 (v_j^H G_i^-1 v_j  +  u_i^H H_j^-1 u_i)
    G_i = sum_t w_t v_t v_t^H + ridge,     H_j = sum_t w_t u_t u_t^H + ridge

Both terms grow by a factor near one because the other side is estimated, too, see
:class:`_Growth`, and by what a robust loss costs, see :mod:`linalgkit.completion._efficiency`.
Without a ridge nothing depends on how the product is split into ``U`` and ``V``; biases are one
more unknown of their line, with the factor 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy import special

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    eps,
    is_complex,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    widest_float,
)
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent, silent
from linalgkit._core.validation import check_bool, check_float
from linalgkit._kernels.observed import Lines, gather_sum
from linalgkit.completion._direct import line_grams
from linalgkit.completion._efficiency import variance_factor
from linalgkit.completion._factors import constant_column
from linalgkit.completion._places import pairs, taken

if TYPE_CHECKING:
    from linalgkit.completion._result import CompletionResult

_HOST = numpy_namespace()
_NUMBERS = 2**21  # of matrices that are gathered for pairs together


def interval(
    result: CompletionResult, rows: Any, cols: Any, level: float = 0.9, noisy: bool = False
) -> tuple[Array, Array]:
    """Return lower and upper ends for some entries, see the result."""
    level = check_float("level", level, 0, 1, low_open=True, high_open=True)
    noisy = check_bool("noisy", noisy)
    xp, where = result._xp, device(result.U)
    if is_complex(result.U, xp):
        raise TypeError(
            "interval needs a real matrix: complex numbers have no order, got a complex answer. "
            "Complete real and imaginary part together as the two halves of a real matrix."
        )
    i, j = pairs(rows, cols, result.shape)
    sides = _sides(result)
    growth = _growth(result, *sides)
    spread = _standard_errors(result, sides, growth, i.reshape(-1), j.reshape(-1), noisy)
    reach = _quantile(result, growth.freedom, level) * spread
    centre = result.predict(i, j)
    with silent():
        half = asarray(reach.reshape(i.shape), xp=xp, device=where, dtype=centre.dtype)
        half = half + (4.0 * eps(xp, centre.dtype)) * xp.abs(centre)  # rounding of exact data
        return centre - half, centre + half


def _quantile(result: CompletionResult, freedom: float, level: float) -> float:
    """Return how many standard errors an interval reaches, infinitely many without a clue."""
    tail = 0.5 * (1.0 + level)
    if freedom > 0.0:
        return float(special.stdtrit(freedom, tail))
    return float(special.ndtri(tail)) if result.is_penalised else math.inf


def _standard_errors(
    result: CompletionResult, sides: tuple[_Side, _Side], growth: _Growth, i: Array, j: Array,
    noisy: bool,
) -> Array:  # fmt: skip
    """Return the standard error of each entry on the host, infinite where nothing is known."""
    noise = float(result.noise_estimate)
    unknown = _undetermined(result, i, j)
    if result.is_penalised:  # the penalty says something of every line
        unknown = _HOST.zeros_like(unknown)
    if not math.isfinite(noise):
        return _HOST.full(i.shape, _HOST.inf)
    squares = _HOST.where(unknown, _HOST.inf, 0.0)
    known = _HOST.flatnonzero(~unknown)
    if known.size:
        rows, columns = sides
        squares[known] = growth.of_rows * _form(rows, i[known], j[known])
        squares[known] += growth.of_columns * _form(columns, j[known], i[known])
    # A weight of one is 2**-exponent in the pattern, which halves for standard deviations.
    half, odd = divmod(result.pattern().weight_exponent, 2)
    with silent():
        unit = math.sqrt(0.5) if odd else 1.0
        found = ldexp(_HOST.sqrt(squares) * (noise * unit), -half, _HOST)
        if noise == 0.0:
            found = _HOST.where(_HOST.isfinite(squares), 0.0, _HOST.inf)
    return _HOST.hypot(found, noise) if noisy else found


# ------------------------------------------------------------------- the other side's errors


@dataclass(frozen=True)
class _Growth:
    """What the variances of the rows' and of the columns' unknowns grow by.

    Each side is regressed on a factor that is estimated itself. Its error acts as noise in each
    entry, which a leave-one-out argument puts at the mean leverage of the entry in the other
    side's regressions; that error is larger for the same reason, and both together give ``(N - r)
    / (N - d)`` and ``(N - c) / (N - d)`` for N entries, r and c unknowns of all rows and of all
    columns, and d parameters. It tends to 1. A ridge leaves a part of each of them.
    """

    of_rows: float
    of_columns: float
    freedom: float


def _growth(result: CompletionResult, rows: _Side, columns: _Side) -> _Growth:
    """Return what both sides have of the errors of one another."""
    freedom, pattern = float(result.degrees_of_freedom), result.pattern()
    unknowns = result.rank + (result.row_bias is not None)
    lines = [int((side.lengths > 0).sum()) for side in (pattern.rows, pattern.columns)]
    lost = [_HOST.zeros(unknowns), _HOST.zeros(unknowns)]
    if result.is_penalised and unknowns:
        lost = _lost(rows, columns)
        freedom += float(sum(x.sum() for x in lost)) - _shared(lost, lines)
    if freedom <= 0.0:
        return _Growth(1.0, 1.0, freedom)
    left = [
        max(1.0, (pattern.count - unknowns * count + float(x.sum())) / freedom)
        for count, x in zip(lines, lost, strict=True)
    ]
    factor = _inefficiency(result, 1.0 - freedom / pattern.count)
    return _Growth(factor * left[0], factor * left[1], freedom)


def _lost(rows: _Side, columns: _Side) -> list[Array]:
    """Return the parameters of each component that the ridges take from all rows and all columns.

    Every line counts as a sample of its side, so that a component has one mean square for all.
    """
    sums = [side.sums(_HOST.arange(side.lines.n_lines)) for side in (rows, columns)]
    found = []
    for side, own, other in ((rows, *sums), (columns, *sums[::-1])):
        share = asarray(
            other / other.sum(), xp=side.xp, device=device(side.factor), dtype=side.ridge.dtype
        )
        energy = to_numpy(side.xp.sum(side.factor**2 * share[:, None], axis=0))
        p = own[own > 0][:, None]
        added = to_numpy(side.ridge)[None, :] + p * to_numpy(side.load)[None, :]
        total = p * energy[None, :] + added
        found.append(_HOST.sum(added / _HOST.where(total > 0, total, 1.0), axis=0))
    return found


def _shared(lost: list[Array], lines: list[int]) -> float:
    """Return how much less both sides have in common than the square of a line's unknowns."""
    rows, columns = (1.0 - x / count for x, count in zip(lost, lines, strict=True))
    return float(rows.shape[0] ** 2 - rows.sum() * columns.sum())


def _inefficiency(result: CompletionResult, share: float) -> float:
    """Return the variance of the loss's estimate over that of least squares, for normal noise."""
    scale, noise = result.loss_scale, float(result.noise_estimate)
    if scale is None or not noise > 0.0:
        return 1.0
    return variance_factor(scale / noise, share)


def _undetermined(result: CompletionResult, i: Array, j: Array) -> Array:
    """Return which entries have a line that is not identified, or lie across two components."""
    m, n = result.shape
    marks = []
    for size, listed in ((m, result.unidentifiable_rows), (n, result.unidentifiable_columns)):
        mark = _HOST.zeros(size, dtype=_HOST.bool)
        mark[to_numpy(listed)] = True
        marks.append(mark)
    found: Array = marks[0][i] | marks[1][j]
    if result.n_connected_components > 1:
        rows, columns = result._components()
        found |= rows[i] != columns[j]
    return found


# ---------------------------------------------------------------------------------- one side


@dataclass(frozen=True, eq=False)
class _Side:
    """Least squares of the lines of one side against the factor of the other.

    Columns of the factor are brought to norms of about one, which changes no quadratic form.
    """

    xp: Namespace
    lines: Lines
    weights: Array | None
    factor: Array
    ridge: Array
    load: Array

    def sums(self, chosen: Array) -> Array:
        """Return the sum of the weights of some lines, on the host."""
        if self.weights is None:
            return self.lines.lengths[chosen].astype(_HOST.float64)
        ones = _HOST.ones((self.lines.n_other, 1))
        ones = asarray(ones, xp=self.xp, device=device(self.factor), dtype=self.weights.dtype)
        found = gather_sum(self.xp, self.lines, self.weights, ones)
        return to_numpy(found)[chosen, 0].astype(_HOST.float64)


def _sides(result: CompletionResult) -> tuple[_Side, _Side]:
    """Return what the rows and the columns are regressed on."""
    xp, pattern = result._xp, result.pattern()
    biased = result.row_bias is not None
    row_ridge, column_ridge = result._ridges()
    row_load, column_load = result._loads()
    return (
        _side(xp, pattern.rows, pattern.row_weights, result.V, biased, row_ridge, row_load,
              pattern.weight_exponent),
        _side(xp, pattern.columns, pattern.column_weights, result.U, biased, column_ridge,
              column_load, pattern.weight_exponent),
    )  # fmt: skip


def _side(
    xp: Namespace, lines: Lines, weights: Array | None, F: Array, biased: bool, ridge: Array,
    load: Array, exponent: int,
) -> _Side:  # fmt: skip
    """Return one side in units in which neither squares nor ridges overflow."""
    F = xp.astype(F, widest_dtype(xp, device(F), F.dtype), copy=False)
    power = scale_exponent(max_abs(F, xp))
    F = ldexp(F, -power, xp)
    powers = _HOST.full(int(F.shape[1]) + biased, power, dtype=_HOST.int64)
    if biased:
        F = xp.concat([F, constant_column(F, 1.0, xp)], axis=1)
        powers[-1] = 0
    norms = to_numpy(xp.linalg.vector_norm(F, axis=0)).astype(_HOST.float64)
    size = max(1, int(F.shape[0])) ** 0.5
    norms = _HOST.where(norms > 0, norms / size, 1.0)
    kind = widest_float(xp, device(F))

    def put(x: Array) -> Array:
        return asarray(x, xp=xp, device=device(F), dtype=kind)

    with silent():
        ridge = _HOST.ldexp(ridge / norms**2, -2 * powers - exponent)
        load = _HOST.ldexp(load / norms**2, -2 * powers)
    return _Side(xp, lines, weights, F / put(norms)[None, :], put(ridge), put(load))


def _form(side: _Side, line: Array, other: Array) -> Array:
    """Return ``f_other^H G_line^-1 f_other`` of pairs, (q,) on the host."""
    if side.factor.shape[1] == 0:
        return _HOST.zeros(line.shape)
    chosen, own = _HOST.unique(line, return_inverse=True)
    order = _HOST.argsort(own, stable=True)
    starts = _HOST.searchsorted(own[order], _HOST.arange(chosen.shape[0] + 1))
    sums = side.sums(chosen)
    found = _HOST.zeros(line.shape)
    for numbers, G in line_grams(side.xp, side.lines, side.weights, side.factor, chosen):
        roots, null = _inverse_roots(side, G, sums[numbers])
        for places, batch in _batches(numbers, order, starts, int(G.shape[1])):
            vectors = taken(side.factor, other[places], side.xp, device(G))
            found[places] = _values(side, roots, null, batch, vectors)
    return found


def _inverse_roots(side: _Side, G: Array, sums: Array) -> tuple[Array, Array]:
    """Return matrices with ``B^H B = G^-1`` on the range of G, and bases of what lies outside."""
    xp, k = side.xp, int(G.shape[1])
    p = asarray(sums, xp=xp, device=device(G), dtype=side.ridge.dtype)
    added = side.ridge[None, :] + p[:, None] * side.load[None, :]
    identity = xp.eye(k, dtype=G.dtype, device=device(G))
    G = G + identity[None, :, :] * xp.astype(added, G.dtype, copy=False)[:, None, :]
    values, Q = xp.linalg.eigh(G)
    inside = values > k * eps(xp, G.dtype) * values[:, -1:]
    safe = xp.where(inside, values, xp.ones_like(values))
    zero = xp.zeros_like(values)
    turned = xp.matrix_transpose(Q)
    roots = turned * xp.where(inside, 1.0 / xp.sqrt(safe), zero)[:, :, None]
    return roots, turned * xp.astype(~inside, turned.dtype)[:, :, None]


def _batches(numbers: Array, order: Array, starts: Array, k: int) -> Iterator[tuple[Array, Array]]:
    """Yield places of pairs, and the number within a batch of Gram matrices of their line."""
    lengths = starts[numbers + 1] - starts[numbers]
    batch = _HOST.repeat(_HOST.arange(numbers.shape[0]), lengths)
    before = _HOST.cumsum(lengths) - lengths
    first = _HOST.repeat(starts[numbers] - before, lengths)
    places = order[first + _HOST.arange(batch.shape[0])]
    step = max(1, _NUMBERS // (2 * k * k))
    for start in range(0, batch.shape[0], step):
        yield places[start : start + step], batch[start : start + step]


def _values(side: _Side, roots: Array, null: Array, batch: Array, vectors: Array) -> Array:
    """Return quadratic forms on the host; infinite where a vector has a part outside the range."""
    xp, where = side.xp, device(roots)

    def squared(matrices: Array) -> Array:
        products = xp.matmul(taken(matrices, batch, xp, where), vectors[:, :, None])[:, :, 0]
        return xp.sum(products * products, axis=1)

    limit = eps(xp, vectors.dtype) ** 0.5 * xp.sum(vectors * vectors, axis=1)
    outside = squared(null) > limit
    inf = xp.full((), float("inf"), dtype=vectors.dtype, device=where)
    return to_numpy(xp.where(outside, inf, squared(roots))).astype(_HOST.float64)
