"""The one way in which functions are compiled, and the prefetch instruction."""

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
    try:
        compiled: Compilable = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        compiled = numba.njit(**_OPTIONS)(function)
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


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]``; never faults and changes no result."""
    signature = numba.types.void(array, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        byte_pointer = ir.IntType(8).as_pointer()
        address = builder.bitcast(builder.gep(view.data, [args[1]]), byte_pointer)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, word, word, word])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [byte_pointer], kind)
        # read access, keep in every cache level, data cache
        builder.call(instruction, [address, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return signature, codegen


prefetch: Any = intrinsic(_prefetch)
