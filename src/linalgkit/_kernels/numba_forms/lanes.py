"""Loops in vector registers that Numba's own vectoriser gives up on.

It would have to prove that up to sixteen rows of one array do not overlap. Every number goes
through the same additions in the same order whatever the radix, the number of lanes and the
alignment, so that none of these changes a bit. Indices are unsigned.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

LANE_BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32


def _pointers(context: Any, builder: Any, signature: Any, args: Any) -> dict[int, Any]:
    """Return the memory of each argument that is an array."""
    return {
        k: context.make_array(kind)(context, builder, args[k]).data
        for k, kind in enumerate(signature.args)
        if isinstance(kind, numba.types.Array)
    }


def _vector_kind(context: Any, dtype: Any, lane_bytes: int = LANE_BYTES) -> tuple[Any, int, int]:
    """Return type of a vector, bytes and numbers in a vector; 0 bytes mean one number."""
    number, size = context.get_value_type(dtype), dtype.bitwidth // 8
    lanes = lane_bytes // size
    return (ir.VectorType(number, lanes) if lanes else number), size, max(1, lanes)


def _pointer(builder: Any, data: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _load(builder: Any, data: Any, index: Any, kind: Any, size: int) -> Any:
    return builder.load(_pointer(builder, data, index, kind), align=size)


def _spread(builder: Any, number: Any, kind: Any, lanes: int) -> Any:
    """Return a vector of equal numbers."""
    empty, word = ir.Constant(kind, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(empty, number, word(0))
    return builder.shuffle_vector(first, empty, ir.VectorType(word, lanes)([0] * lanes))


def _transform(builder: Any, x: list[Any]) -> None:
    """Replace the values by their Walsh-Hadamard transform, adjacent pairs first."""
    h = 1
    while h < len(x):
        for k in range(len(x)):
            if not k & h:
                x[k], x[k + h] = builder.fadd(x[k], x[k + h]), builder.fsub(x[k], x[k + h])
        h *= 2


def _butterfly(radix: int, lane_bytes: int) -> Any:
    """Return ``f(source, i, s, target, j, t)``, which transforms `radix` vectors.

    They are read at ``source[i + k s]`` and written at ``target[j + k t]``; a vector is
    `lane_bytes` long, or one number if that is 0. All are read before any is written.
    """

    def typed(context: Any, source: Any, i: Any, s: Any, target: Any, j: Any, t: Any) -> Any:
        index = numba.types.uintp
        signature = numba.types.void(source, index, index, target, index, index)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = _pointers(context, builder, signature, args)
            kind, size, _ = _vector_kind(context, signature.args[0].dtype, lane_bytes)
            place, x = args[1], []
            for _ in range(radix):
                x.append(_load(builder, data[0], place, kind, size))
                place = builder.add(place, args[2])
            _transform(builder, x)
            place = args[4]
            for value in x:
                builder.store(value, _pointer(builder, data[3], place, kind), align=size)
                place = builder.add(place, args[5])
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(typed)


vector_2, vector_4, vector_8, vector_16 = (_butterfly(r, LANE_BYTES) for r in (2, 4, 8, 16))
scalar_2, scalar_16 = _butterfly(2, 0), _butterfly(16, 0)


def _scatter(vectors: int) -> Any:
    """Return ``f(total, j, t, source, i, places, weights, k, count)``.

    It adds ``weights[l] * x`` to ``total[j + places[l] * t :]`` for `count` values of l from k
    on, where x is `vectors` vectors from ``source[i]`` on, which stay in registers.
    """

    def typed(
        context: Any, total: Any, j: Any, t: Any, source: Any, i: Any, places: Any, weights: Any,
        k: Any, count: Any,
    ) -> Any:  # fmt: skip
        index = numba.types.uintp
        signature = numba.types.void(
            total, index, index, source, index, places, weights, index, index
        )

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = _pointers(context, builder, signature, args)
            kind, size, lanes = _vector_kind(context, signature.args[0].dtype)
            steps = [args[1].type(lanes * v) for v in range(vectors)]
            x = [_load(builder, data[3], builder.add(args[4], step), kind, size) for step in steps]
            with cgutils.for_range(builder, args[8], intp=args[8].type) as loop:
                entry = builder.add(args[7], loop.index)
                place = builder.zext(builder.load(builder.gep(data[5], [entry])), args[1].type)
                weight = _spread(builder, builder.load(builder.gep(data[6], [entry])), kind, lanes)
                row = builder.add(args[1], builder.mul(place, args[2]))
                for value, step in zip(x, steps, strict=True):
                    pointer = _pointer(builder, data[0], builder.add(row, step), kind)
                    product = builder.fmul(weight, value, flags=["contract"])
                    old = builder.load(pointer, align=size)
                    builder.store(builder.fadd(old, product, flags=["contract"]), pointer, size)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(typed)


scatter_1, scatter_8, scatter_16 = _scatter(1), _scatter(8), _scatter(16)


# Rows of a tile of a matrix product: with three vectors of columns it fills the registers.
TILE_ROWS = LANE_BYTES // 8


def _tile(vectors: int) -> Any:
    """Return ``f(total, place, width, flat, start, stride, count, i, j)``.

    It adds to the tile of `total` (rows of `width`) at `place` the products of columns i on and j
    on, summed over `count` rows of ``flat[start + k * stride :]``.
    """

    def typed(
        context: Any, total: Any, place: Any, width: Any, flat: Any, start: Any, stride: Any,
        count: Any, i: Any, j: Any,
    ) -> Any:  # fmt: skip
        index = numba.types.uintp
        signature = numba.types.void(total, index, index, flat, *([index] * 5))

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = _pointers(context, builder, signature, args)
            kind, size, lanes = _vector_kind(context, signature.args[0].dtype)
            word, tile = args[1].type, [(a, v) for a in range(TILE_ROWS) for v in range(vectors)]
            zero = ir.Constant(kind, [ir.Constant(kind.element, 0.0)] * lanes)
            place = cgutils.alloca_once_value  # at the entry, so that it becomes a register
            sums = {at: place(builder, zero) for at in tile}  # type: ignore[no-untyped-call]
            with cgutils.for_range(builder, args[6], intp=word) as loop:
                row = builder.add(args[4], builder.mul(loop.index, args[5]))
                left, right = builder.add(row, args[7]), builder.add(row, args[8])
                x = [
                    _load(builder, data[3], builder.add(right, word(lanes * v)), kind, size)
                    for v in range(vectors)
                ]
                for a in range(TILE_ROWS):
                    number = builder.load(builder.gep(data[3], [builder.add(left, word(a))]))
                    factor = _spread(builder, number, kind, lanes)
                    for v in range(vectors):
                        product = builder.fmul(factor, x[v], flags=["contract"])
                        old = builder.load(sums[a, v])
                        builder.store(builder.fadd(old, product, flags=["contract"]), sums[a, v])
            for a, v in tile:
                offset = builder.add(builder.mul(word(a), args[2]), word(lanes * v))
                pointer = _pointer(builder, data[0], builder.add(args[1], offset), kind)
                old = builder.load(pointer, align=size)
                builder.store(builder.fadd(old, builder.load(sums[a, v])), pointer, align=size)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(typed)


tile_1, tile_2, tile_3 = _tile(1), _tile(2), _tile(3)
