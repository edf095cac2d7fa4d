"""The one way in which functions are compiled, and prefetching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

Compilable: TypeAlias = Callable[..., Any]

# Sums may be regrouped into vector lanes and products fused into additions; NaN and inf keep
# their meaning (neither `nnan` nor `ninf`).
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},
}


def jit(function: Compilable) -> Compilable:
    """Compile a function on first call: cached on disk, GIL released, IEEE division.

    Where no directory for the cache is writable the code is compiled in every process.
    """
    return _compiled(function, _OPTIONS)


def strict(function: Compilable) -> Compilable:
    """Compile as :func:`jit` does, but every operation as written: for compensated sums."""
    return _compiled(function, {**_OPTIONS, "fastmath": False})


def _compiled(function: Compilable, options: dict[str, Any]) -> Compilable:
    try:
        compiled: Compilable = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    return compiled


def inline(function: Compilable) -> Compilable:
    """Compile a helper that becomes part of the compiled functions calling it."""
    compiled: Compilable = numba.njit(forceinline=True, **_OPTIONS)(function)
    return compiled


def read_only(array: Any) -> Any:
    """Return a read-only view, so that one compiled function serves all of a caller's arrays."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _prefetch(lines: int) -> Any:
    """Return ``f(array, index)``: ask for cache lines; it never faults and changes no result."""

    def typed(typing_context: Any, array: Any, index: Any) -> Any:
        signature = numba.types.void(array, index)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            view = context.make_array(signature.args[0])(context, builder, args[0])
            byte_pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
            first = builder.bitcast(builder.gep(view.data, [args[1]]), byte_pointer)
            kind = ir.FunctionType(ir.VoidType(), [byte_pointer, word, word, word])
            instruction = builder.module.declare_intrinsic("llvm.prefetch", [byte_pointer], kind)
            for line in range(lines):
                address = builder.gep(first, [word(64 * line)])
                # read access, second-level cache (which waits for more lines at a time), data
                builder.call(instruction, [address, word(0), word(2), word(1)])
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(typed)


_prefetch_1, _prefetch_4 = _prefetch(1), _prefetch(4)


@inline
def fetch(flat: Any, place: int, width: Any) -> None:
    """Ask for `width` numbers from a place on, four cache lines at a time."""
    start, line = np.uintp(place), np.uintp(64 // flat.itemsize)
    fours = width - width % (np.uintp(4) * line)
    for c in range(np.uintp(0), fours, np.uintp(4) * line):
        _prefetch_4(flat, start + c)
    for c in range(fours, width, line):
        _prefetch_1(flat, start + c)
