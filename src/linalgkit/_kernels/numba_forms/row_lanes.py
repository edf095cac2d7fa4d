"""Products with eight rows at a time in vector registers, and the vector loops between them.

Rows are whole vectors of 32 bytes, which Numba's own vectoriser would leave to loops over single
numbers where they are few. Eight rows share the loads of a vector and of a sum; their eight sums
over lanes are taken together. A *group* of a block holds eight rows: their first vectors, then
their second ones, and so on, so that it is read in the order of memory.

Arrays are flat, places in them unsigned, lengths counted in vectors. `S` holds the vectors of
conjugate gradients one behind the other: solution, direction, residual, image, preconditioner,
and the diagonal that is added to the normal matrix. For rows of up to `FIXED` vectors there are
functions in which that number is a constant, and which keep sums in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from linalgkit._kernels.numba_forms.lanes import _load, _pointer, _pointers, _spread, _vector_kind

VECTOR_BYTES = 32
ROWS = 8
FIXED = 5
_WORD = ir.IntType(64)
_EIGHT = range(ROWS)


class _Vectors:
    """Instructions on vectors of one type, at places of the arrays that a function was given."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder = builder
        self.data = _pointers(context, builder, signature, args)
        dtype = signature.args[0].dtype
        self.kind, self.size, self.lanes = _vector_kind(context, dtype, VECTOR_BYTES)
        self.zero = ir.Constant(self.kind, [ir.Constant(self.kind.element, 0.0)] * self.lanes)

    def times(self, count: Any, factor: int) -> Any:
        """Return how many numbers some vectors hold."""
        lanes = self.lanes * factor
        return (
            _WORD(count * lanes)
            if isinstance(count, int)
            else self.builder.mul(count, _WORD(lanes))
        )

    def at(self, place: Any, step: Any) -> Any:
        """Return a place a number of vectors on."""
        return self.builder.add(place, self.times(step, 1))

    def load(self, array: int, place: Any, step: Any = 0) -> Any:
        place = self.at(place, step)
        return _load(self.builder, self.data[array], place, self.kind, self.size)

    def store(self, value: Any, array: int, place: Any, step: Any = 0) -> None:
        pointer = _pointer(self.builder, self.data[array], self.at(place, step), self.kind)
        self.builder.store(value, pointer, align=self.size)

    def spread(self, number: Any) -> Any:
        return _spread(self.builder, number, self.kind, self.lanes)

    def number(self, array: int, place: Any) -> Any:
        """Return a number of an array in all lanes."""
        return self.spread(self.builder.load(self.builder.gep(self.data[array], [place])))

    def product(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=["contract"])

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=["contract"])

    def variable(self, value: Any) -> Any:
        """Return a variable with a value; it is made at the entry, so that it is a register."""
        place: Any = cgutils.alloca_once_value
        return place(self.builder, value)

    def accumulate(self, variable: Any, a: Any, b: Any) -> None:
        """Add a product to a variable."""
        self.builder.store(self.add(self.builder.load(variable), self.product(a, b)), variable)

    def each(self, count: Any, body: Callable[[Any], None]) -> None:
        """Run a body for each vector of a row: a loop, or one after another if it is a number."""
        if isinstance(count, int):
            for c in range(count):
                body(c)
            return
        with cgutils.for_range(self.builder, count, intp=_WORD) as loop:
            body(loop.index)

    def total(self, vector: Any) -> Any:
        """Return the sum over the lanes."""
        width = self.lanes
        while width > 1:
            width //= 2
            mask = ir.VectorType(ir.IntType(32), self.lanes)(
                [(c + width) % self.lanes for c in range(self.lanes)]
            )
            turned = self.builder.shuffle_vector(vector, vector, mask)
            vector = self.builder.fadd(vector, turned)
        return self.builder.extract_element(vector, ir.IntType(32)(0))

    def _pairs(self, x: list[Any], low: list[int], step: int) -> list[Any]:
        """Return sums of the elements of two vectors at `low` and those `step` further on."""
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        masks = kind(low), kind([place + step for place in low])
        return [
            self.builder.fadd(*(self.builder.shuffle_vector(a, b, mask) for mask in masks))
            for a, b in zip(x[::2], x[1::2], strict=True)
        ]

    def totals(self, x: list[Any]) -> list[Any]:
        """Return the sums over the lanes of all vectors, in their order, in vectors."""
        lanes, half = self.lanes, self.lanes // 2
        even = [
            first + place
            for block in (0, half)
            for first in (block, lanes + block)
            for place in range(0, half, 2)
        ]
        for _ in range(half.bit_length() - 1):
            x = self._pairs(x, even, 1)
        return self._pairs(x, [*range(half), *range(lanes, lanes + half)], half)


def _compiled(emit: Callable[..., Any], kinds: str, *, returns: bool = False) -> Any:
    """Return an intrinsic; `kinds` has a letter for each argument: array, word, float."""

    def typed(context: Any, args: Any) -> Any:
        number = args[0].dtype
        of = {"w": numba.types.uintp, "f": number}
        given = [of.get(letter, kind) for letter, kind in zip(kinds, args, strict=True)]
        result = number if returns else numba.types.void

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = emit(_Vectors(context, builder, signature, args), *args)
            return value if returns else context.get_dummy_value()

        return result(*given), codegen

    def function(context: Any, *args: Any) -> Any:
        return typed(context, args)

    # Numba reads the number of arguments from here.
    names = ("context", *(f"{kind}{k}" for k, kind in enumerate(kinds)))
    listed = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    function.__signature__ = Signature(listed)  # type: ignore[attr-defined]
    return intrinsic(function)


class _Row:
    """A row of vectors of an array; if their number is known they are kept in registers."""

    def __init__(self, v: _Vectors, array: int, start: Any, count: Any, *, summed: bool = False):
        self.v, self.array, self.start = v, array, start
        known = [self._load(c) for c in range(count)] if isinstance(count, int) else None
        self.known = [v.variable(x) for x in known] if summed and known else known

    def _load(self, c: Any) -> Any:
        return self.v.load(self.array, self.v.at(self.start, c))

    def __call__(self, c: Any) -> Any:
        return self._load(c) if self.known is None else self.known[c]

    def add(self, c: Any, value: Any) -> None:
        """Add to a vector."""
        builder = self.v.builder
        if self.known is None:
            total = builder.fadd(self._load(c), value)
            self.v.store(total, self.array, self.v.at(self.start, c))
        else:
            builder.store(builder.fadd(builder.load(self.known[c]), value), self.known[c])

    def close(self) -> None:
        """Write what was added."""
        for c, variable in enumerate(self.known or ()):
            self.v.store(self.v.builder.load(variable), self.array, self.v.at(self.start, c))


def _dots(v: _Vectors, rows: Callable[[Any, int], Any], x: _Row, count: Any) -> list[Any]:
    """Return the products of eight rows with a vector."""
    sums = [v.variable(v.zero) for _ in range(ROWS)]

    def body(c: Any) -> None:
        factor = x(c)
        for r in range(ROWS):
            v.accumulate(sums[r], rows(c, r), factor)

    v.each(count, body)
    return v.totals([v.builder.load(one) for one in sums])


def _weighted(v: _Vectors, rows: list[Any], weights: list[Any]) -> Any:
    """Return the weighted sum of eight vectors, in two chains."""
    chains = []
    for first in (0, 1):
        total = v.product(rows[first], weights[first])
        for r in range(first + 2, ROWS, 2):
            total = v.add(total, v.product(rows[r], weights[r]))
        chains.append(total)
    return v.builder.fadd(*chains)


def _numbers(v: _Vectors, array: int, start: int) -> list[Any]:
    """Return eight numbers of an array, each in all lanes of a vector."""
    return [v.number(array, _WORD(start + r)) for r in range(ROWS)]


def _write(v: _Vectors, parts: list[Any], array: int, start: int = 0) -> None:
    """Write vectors one behind the other."""
    for k, part in enumerate(parts):
        v.store(part, array, _WORD(start + k * v.lanes))


def _normal(fixed: int) -> Any:
    """Return ``f(A, groups, count, S, g)``: add ``A^T A d`` to the image, return ``|A d|^2``.

    `d` is the direction, and `g` room for eight numbers.
    """

    def emit(v: _Vectors, A: Any, groups: Any, count: Any, S: Any, g: Any) -> Any:
        n = fixed or count
        x, image = _Row(v, 3, v.times(n, 1), n), _Row(v, 3, v.times(n, 3), n, summed=True)
        squares = v.variable(v.zero)
        with cgutils.for_range(v.builder, groups, intp=_WORD) as loop:
            first = v.builder.mul(loop.index, v.times(n, ROWS))

            def row(c: Any, r: int) -> Any:
                return v.load(0, v.builder.add(first, v.times(c, ROWS)), r)

            dots = _dots(v, row, x, n)
            for part in dots:
                v.accumulate(squares, part, part)
            _write(v, dots, 4)
            weights = _numbers(v, 4, 0)
            v.each(n, lambda c: image.add(c, _weighted(v, [row(c, r) for r in _EIGHT], weights)))
        image.close()
        return v.total(v.builder.load(squares))

    return _compiled(emit, "awwaa", returns=True)


def _starts(v: _Vectors, places: int) -> list[Any]:
    """Return where eight rows begin."""
    return [v.builder.load(v.builder.gep(v.data[places], [_WORD(r)])) for r in range(ROWS)]


def _gather_dots(v: _Vectors, F: Any, places: Any, count: Any, x: Any, at: Any, d: Any) -> None:
    """Write the products of eight rows of `F` with a vector to `d`."""
    starts = _starts(v, 1)
    row = _Row(v, 3, at, count)
    _write(v, _dots(v, lambda c, r: v.load(0, starts[r], c), row, count), 5)


#: ``gather_dots(F, places, count, x, at, d)``
gather_dots = _compiled(_gather_dots, "aawawa")


def _gather_add(v: _Vectors, F: Any, places: Any, count: Any, d: Any, q: Any, at: Any) -> None:
    """Add eight rows of `F`, weighted by `d`, to the vector `q`."""
    starts, weights = _starts(v, 1), _numbers(v, 3, 0)
    total = _Row(v, 4, at, count)
    v.each(
        count,
        lambda c: total.add(c, _weighted(v, [v.load(0, starts[r], c) for r in _EIGHT], weights)),
    )


#: ``gather_add(F, places, count, d, q, at)``
gather_add = _compiled(_gather_add, "aawaaw")


def _keep(fixed: int, *, scaled: bool) -> Any:
    """Return ``f(F, places, count, g, S, A, at)``: begin a line with eight rows of `F`.

    They become a group of `A`, and are added to the residual, weighted by the residuals of the
    eight entries at the solution, and to the image, weighted by their values ``g[8:16]``. Scaled
    ones are multiplied by ``g[16:]`` first, and their residuals are ``g[:8]``.
    """

    def emit(v: _Vectors, F: Any, places: Any, count: Any, g: Any, S: Any, A: Any, at: Any) -> None:
        n, starts = fixed or count, _starts(v, 1)
        r, b = (_Row(v, 4, v.times(n, place), n, summed=True) for place in (2, 3))

        def row(c: Any, r: int) -> Any:
            return v.load(0, starts[r], c)

        if not scaled:
            dots = _dots(v, row, _Row(v, 4, _WORD(0), n), n)
            values = [v.load(3, _WORD(ROWS + k * v.lanes)) for k in range(len(dots))]
            _write(v, [v.builder.fsub(*pair) for pair in zip(values, dots, strict=True)], 3)
        residuals, values = _numbers(v, 3, 0), _numbers(v, 3, ROWS)
        factors = _numbers(v, 3, 2 * ROWS) if scaled else []

        def body(c: Any) -> None:
            rows = [row(c, r) for r in _EIGHT]
            if scaled:
                rows = [v.product(x, factor) for x, factor in zip(rows, factors, strict=True)]
            place = v.builder.add(at, v.times(c, ROWS))
            for k, x in enumerate(rows):
                v.store(x, 5, place, k)
            r.add(c, _weighted(v, rows, residuals))
            b.add(c, _weighted(v, rows, values))

        v.each(n, body)
        for total in (r, b):
            total.close()

    return _compiled(emit, "aawaaaw")


normal, normal_1, normal_2, normal_3, normal_4, normal_5 = (_normal(n) for n in range(FIXED + 1))
keep, keep_1, keep_2, keep_3, keep_4, keep_5 = (_keep(n, scaled=False) for n in range(FIXED + 1))
keep_scaled = _keep(0, scaled=True)


def _advance(v: _Vectors, S: Any, count: Any, alpha: Any) -> Any:
    """Take a step of conjugate gradients and return the new squared residual norm."""
    total, step, back = v.variable(v.zero), v.spread(alpha), v.spread(v.builder.fneg(alpha))
    x, d, r, q, m = (v.builder.mul(count, _WORD(place * v.lanes)) for place in range(5))

    def body(c: Any) -> None:
        solution = v.add(v.load(0, x, c), v.product(step, v.load(0, d, c)))
        residual = v.add(v.load(0, r, c), v.product(back, v.load(0, q, c)))
        v.store(solution, 0, x, c)
        v.store(residual, 0, r, c)
        v.accumulate(total, v.product(residual, residual), v.load(0, m, c))

    v.each(count, body)
    return v.total(v.builder.load(total))


#: ``advance(S, count, alpha)``
advance = _compiled(_advance, "awf", returns=True)


def _turn(v: _Vectors, S: Any, count: Any, beta: Any) -> Any:
    """Turn the direction, write the diagonal's part of its image and return their product."""
    total, factor = v.variable(v.zero), v.spread(beta)
    d, r, q, m, a = (v.builder.mul(count, _WORD(place * v.lanes)) for place in range(1, 6))

    def body(c: Any) -> None:
        old = v.product(factor, v.load(0, d, c))
        new = v.add(old, v.product(v.load(0, m, c), v.load(0, r, c)))
        image = v.product(v.load(0, a, c), new)
        v.store(new, 0, d, c)
        v.store(image, 0, q, c)
        v.accumulate(total, new, image)

    v.each(count, body)
    return v.total(v.builder.load(total))


#: ``turn(S, count, beta)``
turn = _compiled(_turn, "awf", returns=True)
