"""Which rows and columns the pattern of the entries can identify.

A row with fewer entries than the rank does not determine its factor; one with just as many takes
part in nothing else, because its factor can meet whatever the columns ask. Leaving such lines out
again and again ends with a core (every line has more entries than the rank); lines come back while
they have as many entries as the rank within what is identified. The condition is necessary, not
sufficient.
"""

from __future__ import annotations

import warnings

from linalgkit._core.array import Array, eps, numpy_namespace, to_numpy
from linalgkit._core.qr import qr_positive
from linalgkit._core.validation import AccuracyWarning
from linalgkit._kernels.observed import Lines
from linalgkit.completion import _compressed
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._factors import Factors, residual_energy
from linalgkit.completion._half_step import Side, replaced
from linalgkit.completion._observed import Observed
from linalgkit.completion._sweeps import data_energy

_HOST = numpy_namespace()


def identified(observed: Observed, unknowns: int) -> tuple[Array, Array]:
    """Return which rows and which columns are identified, host booleans.

    Parameters
    ----------
    unknowns : int
        Unknowns of a line: the rank, and one more with biases.
    """
    rows, columns = observed.rows, observed.columns
    m, n = observed.shape
    # a line that is observed as a whole has nothing left to be identified
    enough = rows.lengths >= min(unknowns, n), columns.lengths >= min(unknowns, m)
    if unknowns < 2:
        return enough
    left, right = rows.lengths > unknowns, columns.lengths > unknowns
    left, right = _settle(observed, left, right, unknowns, grow=False)
    if not (left.any() and right.any()):
        return enough
    return _settle(observed, left, right, unknowns, grow=True)


def _settle(
    observed: Observed, left: Array, right: Array, unknowns: int, *, grow: bool
) -> tuple[Array, Array]:
    """Let lines go (or come back) until nothing changes."""
    while True:
        before = int(left.sum()) + int(right.sum())
        left = _next(observed.rows, left, right, unknowns, grow)
        right = _next(observed.columns, right, left, unknowns, grow)
        if int(left.sum()) + int(right.sum()) == before:
            return left, right


def _next(lines: Lines, mine: Array, other: Array, unknowns: int, grow: bool) -> Array:
    counts = _counted(lines, other)
    return mine | (counts >= unknowns) if grow else mine & (counts > unknowns)


def _counted(lines: Lines, other: Array) -> Array:
    """Return the number of entries of each line in chosen lines of the other side."""
    if lines.is_elsewhere:
        return lines.counted(other)  # type: ignore[attr-defined]
    found, indices = _HOST.zeros(lines.n_lines, dtype=_HOST.int64), to_numpy(lines.indices)
    for part, numbers in _compressed.chunks(lines.indptr):
        first, stop = int(numbers[0]), int(numbers[-1]) + 1
        chosen = numbers[other[indices[part]]] - first
        found[first:stop] += _HOST.bincount(chosen, minlength=stop - first)
    return found


def least_norm(
    observed: Observed, f: Factors, rows: Side, columns: Side, lost: tuple[Array, Array]
) -> Factors:
    """Return the model in which unidentified lines are the shortest that fit their entries.

    Shortest over the identified lines of the other side, if they are as many as the rank, whatever
    the basis of the factors. A model that would fit worse is not taken.
    """
    if lost[0].size == 0 and lost[1].size == 0:
        return f
    shorter = _least(f, rows, lost[0], lost[1])
    shorter = _least(shorter.transposed(), columns, lost[1], lost[0]).transposed()
    before, after = (residual_energy(observed, x) for x in (f, shorter))
    rounding = (1e3 * float(eps(observed.xp, observed.dtype))) ** 2 * data_energy(observed)
    return f if after > before * (1.0 + 1e-6) + rounding else shorter


def _least(f: Factors, side: Side, lost: Array, others: Array) -> Factors:
    if lost.size == 0:
        return f
    xp = side.lines.xp
    shift = None
    if f.mean != 0.0 or f.column_bias is not None:
        zero = xp.zeros((side.lines.n_other,), dtype=f.W.dtype, device=side.lines.device)
        shift = zero + f.mean + (0.0 if f.column_bias is None else f.column_bias)
    nothing = xp.zeros((f.rank,), dtype=side.shares.dtype, device=side.lines.device)
    known = _HOST.ones((side.lines.n_other, 1))
    if side.lines.n_other - others.size >= f.rank:
        known[others] = 0.0
    _, R = qr_positive(
        f.W * xp.asarray(known, dtype=side.shares.dtype, device=side.lines.device), xp
    )
    back = xp.linalg.pinv(R)  # in its basis the norm of a line is that of its factor
    found = direct_rows(
        xp, side.lines, side.values, side.weights, f.W @ back, shift, nothing, nothing, chosen=lost
    )
    rows = xp.astype(found, f.U.dtype, copy=False) @ xp.matrix_transpose(back)
    U = replaced(f.U, lost, rows, xp)
    if f.row_bias is None:
        return f.with_factors(U, f.W)
    keep = _HOST.ones(U.shape[0])
    keep[lost] = 0.0
    kept = xp.asarray(keep, dtype=side.shares.dtype, device=side.lines.device)
    return Factors(U, f.W, f.row_bias * kept, f.column_bias, f.mean)


def warn_of_pattern(n_components: int, count: int, freedom: int) -> list[str]:
    """Return what an AccuracyWarning has to say about the pattern."""
    found = []
    if n_components > 1:
        found.append(
            f"the observed entries fall into {n_components} unconnected parts: products of a row "
            "of one and a column of another rest on nothing but the regularisation"
        )
    if count < freedom:
        found.append(
            f"{count} entries are fewer than the {freedom} degrees of freedom of the model: it is "
            "not determined by them"
        )
    return found


def warn(reasons: list[str]) -> None:
    """Give one AccuracyWarning for all reasons."""
    if reasons:
        text = "; ".join(reasons)
        warnings.warn(f"{text[0].upper()}{text[1:]}.", AccuracyWarning, stacklevel=4)
