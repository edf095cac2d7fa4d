"""Regression of every line by the paper's solver: a random sketch preconditions an iteration.

::

    s = sketch_size(k, distortion)
    X = sketched_rows(xp, lines, y, w, F, None, ridge, load, rng, distortion=0.1, steps=20)

It is here because the theory is about it. At every size that was tried the exact solver
:func:`linalgkit.completion._direct.direct_rows` is quicker, since each line needs a sketch and a
factorisation of its own, and :func:`linalgkit._kernels.observed.pcg_rows` is quicker still.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    eps,
    index_dtype,
    is_complex,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.random import as_generator
from linalgkit._kernels.observed import Lines, gather_sum, residual_rows
from linalgkit.completion._constants import DISTORTION, n_inner_steps, sketch_size
from linalgkit.completion._direct import orthogonal_rows
from linalgkit.completion._line_tables import (
    NUMBERS,
    Regressions,
    adjoints,
    diagonals,
    least_norm,
    times,
)

_HOST = numpy_namespace()
#: Numbers other than zero in a column of a sketch.
COLUMN_ENTRIES = 8


# The regression solver of Gu, Song, Yin and Zhang (arXiv 2302.11068), for each line. It differs:
# 1. One random map of all indices of the other side is drawn; a line uses its columns for the
#    entries that it has. Each line by itself has an independent sparse embedding of the
#    published kind, and no draw depends on which lines are asked for, nor on their order.
# 2. Ridge terms are rows that are not sketched.
# 3. The iteration runs on x itself instead of z = R^-1 x, with a step that is best for the
#    distortion instead of 1 (which diverges from distortion 0.29 on), and a line stops, and keeps
#    what it had, as soon as its preconditioned gradient grows.
# 4. Directions whose singular value is at the level of roundoff are left out: least norm.
# 5. Lines with no more entries than the sketch has rows are solved by orthogonal factorisation.
def sketched_rows(
    xp: Namespace,
    lines: Lines,
    y: Array,
    w: Array | None,
    F: Array,
    shift: Array | None,
    ridge: Array,
    load: Array,
    rng: Any,
    *,
    distortion: float = DISTORTION,
    steps: int | None = None,
) -> Array:
    """Return minimisers of all lines by sketch-and-precondition.

    Parameters
    ----------
    xp, lines, y, w, F, shift, ridge, load
        As in :func:`linalgkit.completion._direct.direct_rows`.
    rng : numpy.random.Generator
        Advanced by 16 numbers for each index of the other side, whatever the lines.
    distortion : float, default 0.1
        Of the sketches, in (0, 1); sets their size.
    steps : int, optional
        Steps after the solution of the sketched problem, at least 0; by default as many as bring
        its error to the roundoff of `F`.

    Returns
    -------
    array (n_lines, k)
        In the dtype of `F`; zero for lines without entries.

    Notes
    -----
    Storage: 2^21 numbers of sketched rows (unless one line has more), and `COLUMN_ENTRIES`
    numbers for each entry of their lines.
    """
    problem = Regressions.of(xp, lines, y, w, F, shift, ridge, load)
    steps = n_inner_steps(eps(xp, F.dtype), distortion) if steps is None else steps
    k = problem.rank
    maps = _Maps.drawn(rng, lines.n_other, sketch_size(k, distortion))
    is_long = lines.lengths > maps.size
    X = orthogonal_rows(problem.chosen(_HOST.flatnonzero(~is_long)))
    found, long = [X], _HOST.flatnonzero(is_long)
    step = max(1, NUMBERS // ((maps.size + k) * k))
    for start in range(0, long.size, step):
        part = problem.chosen(long[start : start + step]).shifted()
        found.append(_iterated(part, *_preconditioner(part, maps), distortion, steps))
    order = _HOST.argsort(_HOST.concat([_HOST.flatnonzero(~is_long), long]))
    X = xp.take(xp.concat(found, axis=0), put(order, problem), axis=0)
    return xp.astype(X, F.dtype, copy=False)


class _Maps(NamedTuple):
    """A sparse embedding: for each column its rows and signs, (n, c) on the host."""

    rows: Array
    signs: Array
    size: int

    @classmethod
    def drawn(cls, rng: Any, n: int, size: int) -> _Maps:
        """Draw one row in each of c blocks, so that no two are the same."""
        rng = as_generator(rng)
        count = min(COLUMN_ENTRIES, size)
        height = -(-size // count)
        inside = rng.integers(height, size=(n, count))
        signs = rng.integers(2, size=(n, count)) * 2 - 1
        return cls(inside + height * _HOST.arange(count), signs, height * count)


def _preconditioner(problem: Regressions, maps: _Maps) -> tuple[Array, Array]:
    """Return solutions (r, k) of the sketched problems and inverses (r, k, k) of their Grams."""
    xp, k = problem.xp, problem.rank
    top = diagonals(xp.sqrt(problem.added()), problem.F, xp)
    top = xp.concat([top, xp.zeros_like(top[:, :, :1])], axis=2)
    R = xp.linalg.qr(xp.concat([_sketches(problem, maps), top], axis=1), mode="reduced")[1]
    x, root = least_norm(R, maps.size + k, xp)
    return x, xp.matmul(root, adjoints(root, xp))


def _sketches(problem: Regressions, maps: _Maps) -> Array:
    """Return sketches (r, size, k + 1) of the rows of each line with the values beside them.

    Row h of the sketch of line i is a sum over the entries of line i whose columns fall on h:
    a line, so to speak, of a pattern with as many lines as there are rows in all sketches.
    """
    xp, lines = problem.xp, problem.lines
    count = int(maps.rows.shape[1])
    index = to_numpy(lines.indices)
    line = _HOST.repeat(_HOST.arange(lines.n_lines), lines.lengths)
    target = _HOST.reshape(line[:, None] * maps.size + maps.rows[index, :], (-1,))
    order = _HOST.argsort(target, stable=True)
    entry, total = order // count, lines.n_lines * maps.size
    lengths = _HOST.bincount(target, minlength=total)
    indptr = _HOST.concat([_HOST.zeros(1, dtype=lengths.dtype), _HOST.cumsum(lengths)])
    all_rows = Lines(indptr, index[entry], lines.n_other, xp, lines.device, lines.n_threads)
    signs = _HOST.reshape(maps.signs[index, :], (-1,))[order] / math.sqrt(count)
    scaled = asarray(signs, xp=xp, device=lines.device, dtype=problem.ridge.dtype, copy=False)
    place = put(entry, problem)
    if problem.w is not None:
        scaled = scaled * xp.sqrt(xp.take(problem.w, place, axis=0))
    scaled = xp.astype(scaled, problem.F.dtype, copy=False)
    ones = xp.ones((lines.n_other, 1), dtype=problem.F.dtype, device=lines.device)
    A = gather_sum(xp, all_rows, scaled, problem.F)
    b = gather_sum(xp, all_rows, scaled * xp.take(problem.y, place, axis=0), ones)
    return xp.reshape(xp.concat([A, b], axis=1), (lines.n_lines, maps.size, problem.rank + 1))


def _iterated(
    problem: Regressions, x: Array, inverse: Array, distortion: float, steps: int
) -> Array:
    """Return `x` after steps ``x + t P A^H (b - A x)`` with the inverses P."""
    xp, lines, F, added = problem.xp, problem.lines, problem.F, problem.added()
    length = 2.0 * (1.0 - distortion**2) ** 2 / (2.0 + 2.0 * distortion**2)
    before, least = x, None
    for _ in range(steps):
        r, _ = residual_rows(xp, lines, problem.y, problem.w, x, F, F, 0, 1.0)
        gradient = r - added * x
        ahead = times(inverse, gradient, xp)
        size = xp.sum(_real(xp.conj(gradient) * ahead, xp), axis=1)
        active = size < (xp.full_like(size, math.inf) if least is None else least)
        least = xp.where(active, size, -xp.ones_like(size))
        x = xp.where(active[:, None], x, before)
        before, x = x, xp.where(active[:, None], x + length * ahead, x)
    return x


def _real(x: Array, xp: Namespace) -> Array:
    return xp.real(x) if is_complex(x, xp) else x


def put(host: Array, problem: Regressions) -> Array:
    """Return host integers as indices on the device."""
    xp = problem.xp
    return asarray(host, xp=xp, device=problem.lines.device, dtype=index_dtype(xp), copy=False)
