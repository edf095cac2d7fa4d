"""Walsh-Hadamard transforms in two cache-resident stages, or in one where few rows are wanted.

With ``N = G B`` rows, ``H_N = H_G (x) H_B``. Blocks of `B` rows are gathered with their signs
into a buffer that stays in the second-level cache and transformed there; what remains is `H_G`
across the blocks:

* all rows (:func:`fwht`): the blocks go to the result, whose rows ``q, q + B, q + 2B, ...`` are
  then transformed through the same buffer, a few hundred bytes of each at a time;
* many rows, or sums of them: the same by panels of columns, and the second stage adds the rows
  in demand to the sums while they are in cache, without the groups that have none;
* few rows: every block is added, with the signs of `H_G`, to the rows in demand as soon as it
  is transformed. `X` is read once and no intermediate is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.dense import has_contiguous_rows
from linalgkit._kernels.hadamard import PANEL_BYTES
from linalgkit._kernels.numba_forms.jit import fetch, inline, jit, read_only
from linalgkit._kernels.numba_forms.lanes import (
    LANE_BYTES,
    scalar_2,
    scalar_16,
    vector_2,
    vector_4,
    vector_8,
    vector_16,
)
from linalgkit._kernels.numba_forms.layout import REAL, aligned, flatten

_BLOCK_BYTES = 1 << 19  # half of a usual second-level cache
_ROW_BYTES = 1 << 10  # of a row in one panel: rows are read at random, and long ones pay
_FEW = 8  # row additions a row of `Z` beyond which two stages are quicker
_AHEAD_BYTES = 1 << 13

# Indices are unsigned: Numba then leaves out the test for negative ones.
_U = np.uintp
_0, _1, _16 = _U(0), _U(1), _U(16)
# Numbers written out would make a compiled function each.
_START, _FIRST_LEVELS, _LATER_LEVELS = np.int64(0), np.int64(4), np.int64(3)


# ------------------------------------------------------------------------------------ blocks


def _make_sweep(radix: int, butterfly: Any, lane_bytes: int) -> Any:
    """Return a function that does the lowest ``log2(radix)`` levels in place."""

    @inline
    def sweep(data: Any, i: Any, size: Any, run: Any) -> None:
        step = max(_1, _U(lane_bytes // data.itemsize))
        for base in range(i, i + size, _U(radix) * run):
            for c in range(base, base + run, step):
                butterfly(data, c, run, data, c, run)

    return sweep


_sweep_2 = _make_sweep(2, vector_2, LANE_BYTES)
_sweep_4 = _make_sweep(4, vector_4, LANE_BYTES)
_sweep_8 = _make_sweep(8, vector_8, LANE_BYTES)
_sweep_16 = _make_sweep(16, vector_16, LANE_BYTES)
_sweep_2_alone = _make_sweep(2, scalar_2, 0)
_sweep_16_alone = _make_sweep(16, scalar_16, 0)


@jit
def _transform(data: Any, i: Any, rows: Any, run: Any, most: int) -> None:
    """Transform contiguous rows of `run` numbers in place, at most `most` levels a sweep."""
    size, lanes = rows * run, _U(LANE_BYTES // data.itemsize)
    if run % lanes != _0 and rows >= _16:
        _sweep_16_alone(data, i, size, run)
        run *= _16
    while run % lanes != _0 and run < size:
        _sweep_2_alone(data, i, size, run)
        run *= _U(2)
    levels = 0
    while run << _U(levels) < size:
        levels += 1
    sweeps = -(-levels // most)
    for sweep in range(sweeps):
        bits = levels * (sweep + 1) // sweeps - levels * sweep // sweeps
        if bits == 1:
            _sweep_2(data, i, size, run)
        elif bits == 2:
            _sweep_4(data, i, size, run)
        elif bits == 3:
            _sweep_8(data, i, size, run)
        else:
            _sweep_16(data, i, size, run)
        run <<= _U(bits)


@inline
def _copy(source: Any, i: Any, s: Any, target: Any, j: Any, t: Any, rows: Any, width: Any) -> None:
    """Copy rows that are `s` apart to where they are `t` apart."""
    if s == width and t == width:
        rows, width = _1, rows * width
    for k in range(_0, rows):
        a, b = i + k * s, j + k * t
        for c in range(_0, width):
            target[b + c] = source[a + c]


@jit
def _fill(
    flat: Any, first: int, stride: int, sources: Any, signs: Any, start: int, rows: int,
    width: Any, buffer: Any,
) -> None:  # fmt: skip
    """Fill the buffer with `rows` rows of `Z` from `start` on and transform them.

    Row r of `Z` is row ``sources[r]`` of the matrix times ``signs[r]``; without sources it is
    row r. Sixteen at a time are transformed while they are in the first-level cache. There, rows
    a power of two apart share lines, eight at a time: later sweeps have radix 8 at most.
    """
    at_a_time, in_order = min(rows, 16), sources.size == 0
    ahead = _AHEAD_BYTES // (flat.itemsize * np.int64(width))
    for low in range(0, rows, at_a_time):
        place = _U(low) * width
        if in_order:
            if stride != np.int64(width):
                for k in range(low + ahead, min(low + ahead + at_a_time, rows)):
                    fetch(flat, first + (start + k) * stride, width)
            origin = _U(first + (start + low) * stride)
            _copy(flat, origin, _U(stride), buffer, place, width, _U(at_a_time), width)
        else:
            for r in range(start + low, start + low + at_a_time):
                if r + ahead < sources.size and sources[r + ahead] != sources[r] + ahead:
                    fetch(flat, first + sources[r + ahead] * stride, width)
                source, sign = _U(first + sources[r] * stride), signs[r]
                target = _U(r - start) * width
                for c in range(_0, width):
                    buffer[target + c] = sign * flat[source + c]
        _transform(buffer, place, _U(at_a_time), width, _FIRST_LEVELS)
    _transform(buffer, _0, _U(rows // at_a_time), _U(at_a_time) * width, _LATER_LEVELS)


@inline
def _add_row(total: Any, target: Any, weight: Any, buffer: Any, source: Any, width: Any) -> None:
    for c in range(_0, width):
        total[target + c] += weight * buffer[source + c]


@jit
def _first_stage(
    flat: Any, first: int, stride: int, sources: Any, signs: Any, bits: int, blocks: int,
    width: int, buffer: Any, target: Any, start: int, t: int, apart: int, places: Any,
    weights: Any, outputs: Any, total: Any,
) -> None:  # fmt: skip
    """Transform `blocks` blocks of ``2^bits`` rows of `width` numbers of `Z`.

    They are written to `target`, rows `t` and blocks `apart`. Without a target,
    ``weights[k, l] (H Z_k)[places[k, l]]`` is added to row ``outputs[l]`` of `total`, where the
    blocks make up as many `Z_k`, one after another, as `places` has rows.
    """
    w, rows = _U(width), 1 << bits
    of_one = max(1, blocks // max(1, places.shape[0]))
    for b in range(blocks):
        low = b // of_one * of_one * rows
        _fill(
            flat, first + low * stride, stride, sources[low:], signs[low:], b * rows - low,
            rows, w, buffer,
        )  # fmt: skip
        if target.size > 0:
            place = _U(start + b * apart)
            _copy(buffer, _0, w, target, place, _U(t), _U(rows), w)
            continue
        k = b // of_one
        for e in range(places.shape[1]):
            odd = (places[k, e] >> bits) & (b % of_one)
            for shift in (32, 16, 8, 4, 2, 1):
                odd ^= odd >> shift
            weight = -weights[k, e] if odd & 1 else weights[k, e]
            source = _U(places[k, e] & (rows - 1)) * w
            _add_row(total, _U(outputs[e]) * w, weight, buffer, source, w)


@jit
def _second_stage(
    flat: Any, apart: int, groups: int, chunk: int, end: int, buffer: Any, target: Any,
    bits: int, places: Any, weights: Any, outputs: Any, total: Any,
) -> None:  # fmt: skip
    """Apply ``H_groups (x) I`` to parts of `flat` that are `apart`, `chunk` columns at a time.

    They are written to `target`. Without a target ``weights[k]`` times the row of place k is
    added to row ``outputs[k]`` of `total`; a chunk then is a row of the ``2^bits`` of a block,
    and the entries are sorted by place modulo ``2^bits``.
    """
    none = np.empty(0, dtype=np.int64)
    e, mask = 0, (1 << bits) - 1
    for c in range(0, end, chunk):
        w = _U(min(chunk, end - c))
        if target.size == 0 and (e == places.size or places[e] & mask != c // chunk):
            continue
        _fill(flat, c, apart, none, buffer, _START, groups, w, buffer)
        if target.size > 0:
            _copy(buffer, _0, w, target, _U(c), _U(apart), _U(groups), w)
        while target.size == 0 and e < places.size and places[e] & mask == c // chunk:
            source = _U(places[e] >> bits) * w
            _add_row(total, _U(outputs[e]) * w, weights[e], buffer, source, w)
            e += 1


# ----------------------------------------------------------------------------------- entries


@jit
def _by_group(
    bits: int, places: Any, weights: Any, outputs: Any, places_: Any, weights_: Any, outputs_: Any
) -> None:
    """Copy the entries sorted by place modulo ``2^bits``, equal ones in the order they come in."""
    mask = (1 << bits) - 1
    starts = np.zeros(mask + 2, dtype=np.int64)
    for place in places:
        starts[(place & mask) + 1] += 1
    for group in range(mask):
        starts[group + 1] += starts[group]
    for k in range(places.size):
        group = places[k] & mask
        to = starts[group]
        places_[to], weights_[to], outputs_[to] = places[k], weights[k], outputs[k]
        starts[group] = to + 1


@jit
def _spread(order: Any, block: int, signs: Any, sources: Any, signs_of: Any) -> None:
    """Write the row of `X`, counted from its block's first, and the sign of every row of `Z`.

    Without an order rows stay in place. Rows of `Z` without a source get the sign zero.
    """
    sources[:] = 0
    signs_of[:] = 0
    for r in range(signs.size):
        row = r & (block - 1)
        place = r - row + order[r] if order.size else r
        sources[place] = row
        signs_of[place] = signs[r]


def _rows_of_z(
    order: Array | None, block: int, signs: Array, count: int, real: type
) -> tuple[Array, Array]:
    """Return source and sign of each of `count` rows of `Z`, which is cut into blocks."""
    sources: Array = np.empty(count, dtype=np.int64)
    signs_of: Array = np.empty(count, dtype=real)
    places = np.ascontiguousarray(() if order is None else order, dtype=np.int64)
    _spread(read_only(places), block, np.array(signs, dtype=real), sources, signs_of)
    return sources, signs_of


def _block_rows(N: int, row_bytes: int) -> int:
    """Return how many rows of a panel fit the cache, a power of two."""
    return min(N, 1 << max(0, (_BLOCK_BYTES // max(1, row_bytes)).bit_length() - 1))


def _panels(X: Array, bytes_of_row: int) -> Iterator[tuple[int, int, tuple[Array, int, int]]]:
    """Yield first column, width and memory of panels, counted in real numbers."""
    fits = has_contiguous_rows(X)
    per_column = X.dtype.itemsize // np.dtype(REAL[X.dtype.char]).itemsize
    most = bytes_of_row if fits else min(bytes_of_row, PANEL_BYTES)
    step = max(1, most // X.dtype.itemsize)
    for c in range(0, X.shape[1], step):
        panel = X[:, c : c + step]
        memory = flatten(panel if fits else np.array(panel, order="C"))
        yield c * per_column, panel.shape[1] * per_column, memory


def _entries(places: Array, weights: Array, outputs: Array, real: type) -> tuple[Array, ...]:
    """Return entries in the types that the compiled functions take, the first two 2-D."""
    shape = (-1, outputs.size) if outputs.size else (0, 0)
    return (
        np.array(places, dtype=np.int64).reshape(shape),
        np.array(weights, dtype=real).reshape(shape),
        np.array(outputs, dtype=np.int64),
    )


def _nothing(real: type) -> Array:
    return np.empty(0, dtype=real)


# --------------------------------------------------------------------------------- the forms


def fwht(xp: Namespace, X: Array) -> Array:
    """Transform all columns; the same bits as radix 2 with ascending strides."""
    Y = np.empty(X.shape, dtype=X.dtype)
    if X.size == 0:
        return Y
    if not has_contiguous_rows(X):
        Y[...] = X
        X = Y  # blocks are read before they are written
    flat, first, stride = flatten(X)
    real = flat.dtype.type
    target, none = Y.view(real).reshape(-1), _nothing(real)
    N, d = X.shape[0], target.size // X.shape[0]
    panel = min(d, _ROW_BYTES // flat.itemsize)
    block = _block_rows(N, panel * flat.itemsize)
    bits, groups = block.bit_length() - 1, N // block
    chunk = min(_ROW_BYTES, max(64, _BLOCK_BYTES // groups)) // flat.itemsize
    buffer = aligned(max(block * panel, groups * chunk), real)
    entries = _entries(none, none, none, real)
    for c in range(0, d, panel):
        rows = flat, first + c, stride, none.astype(np.int64), none
        place = bits, groups, min(panel, d - c), buffer, target, c, d, block * d
        _first_stage(*rows, *place, *entries, none)
    if groups > 1:
        flat_entries = (part.reshape(-1) for part in entries)
        parts = block * d, groups, chunk, block * d, buffer, target, 0
        _second_stage(read_only(target), *parts, *flat_entries, none)
    return Y


def _sums(
    X: Array, order: Array | None, signs: Array, N: int, places: Array, weights: Array,
    outputs: Array, m: int,
) -> Array:  # fmt: skip
    """Return the (m, d) sums of weighted rows of ``H Z``."""
    result = np.zeros((m, X.shape[1]), dtype=X.dtype)
    if 0 in (X.size, m, places.size):
        return result
    real = REAL[X.dtype.char]
    target, row_bytes = result.view(real), min(_ROW_BYTES, X.shape[1] * X.itemsize)
    rows = _rows_of_z(order, N, signs, N, real)
    entries = _entries(places, weights, outputs, real)
    block = _block_rows(N, row_bytes)
    blocks = N // block if order is not None else -(-X.shape[0] // block)
    if places.size * blocks > _FEW * N:
        return _sums_in_two_stages(X, rows, entries, result)
    buffer = aligned(block * row_bytes // target.itemsize, real)
    for c, width, memory in _panels(X, row_bytes):
        total = aligned(m * width, real, fill=0)
        to_sums = _nothing(real), 0, 0, 0, *entries, total
        _first_stage(*memory, *rows, block.bit_length() - 1, blocks, width, buffer, *to_sums)
        target[:, c : c + width] = total.reshape(m, width)
    return result


def _sums_in_two_stages(
    X: Array, rows: tuple[Array, Array], entries: tuple[Array, ...], result: Array
) -> Array:
    """Do the same with a panel of ``H_B Z`` in memory."""
    N, real = rows[0].size, rows[1].dtype.type
    target, row_bytes = result.view(real), min(_ROW_BYTES, X.shape[1] * X.itemsize)
    m, width = result.shape[0], row_bytes // target.itemsize
    block = min(_block_rows(N, row_bytes), 1 << N.bit_length() // 2)
    bits, groups = block.bit_length() - 1, N // block
    given = tuple(part.reshape(-1) for part in entries)
    entries_by_group = tuple(np.empty_like(part) for part in given)
    _by_group(bits, *given, *entries_by_group)
    panel, none = aligned((N + groups) * width, real), _nothing(real)
    buffer = aligned(max(block, groups) * width, real)
    no_entries = _entries(none, none, none, real)
    for c, width, memory in _panels(X, row_bytes):
        total = aligned(m * width, real, fill=0)
        # A row between blocks, so that the rows of a group do not share lines of a cache.
        apart = (block + 1) * width
        to_panel = panel, 0, width, apart, *no_entries, none
        _first_stage(*memory, *rows, bits, groups, width, buffer, *to_panel)
        place = apart, groups, width, block * width, buffer, none, bits
        _second_stage(read_only(panel), *place, *entries_by_group, total)
        target[:, c : c + width] = total.reshape(m, width)
    return result


def hadamard_rows(
    xp: Namespace, X: Array, order: Array | None, signs: Array, n_padded: int, rows: Array
) -> Array:
    """Return rows of ``H Z``."""
    m = rows.shape[0]
    return _sums(X, order, signs, n_padded, rows, np.ones(m), np.arange(m), m)


def hadamard_pool(
    xp: Namespace, X: Array, order: Array | None, signs: Array, n_padded: int, places: Array,
    weights: Array, ends: Array,
) -> Array:  # fmt: skip
    """Return weighted sums of rows of ``H Z``."""
    m = ends.shape[0]
    outputs = np.repeat(np.arange(m), np.diff(ends, prepend=0))
    return _sums(X, order, signs, n_padded, places, weights, outputs, m)


def hadamard_blocks(
    xp: Namespace, X: Array, order: Array | None, signs: Array, block: int, places: Array,
    weights: Array,
) -> Array:  # fmt: skip
    """Return the sum over consecutive blocks of weighted rows of their ``H Z``."""
    blocks, m = places.shape
    result = np.zeros((m, X.shape[1]), dtype=X.dtype)
    if 0 in (X.size, m):
        return result
    real = REAL[X.dtype.char]
    target, row_bytes = result.view(real), min(_ROW_BYTES, X.shape[1] * X.itemsize)
    rows = _rows_of_z(order, block, signs, blocks * block, real)
    entries = _entries(places, weights, np.arange(m), real)
    part = _block_rows(block, row_bytes)
    buffer = aligned(part * row_bytes // target.itemsize, real)
    for c, width, memory in _panels(X, row_bytes):
        total = aligned(m * width, real, fill=0)
        place = part.bit_length() - 1, blocks * block // part, width, buffer
        _first_stage(*memory, *rows, *place, _nothing(real), 0, 0, 0, *entries, total)
        target[:, c : c + width] = total.reshape(m, width)
    return result
