"""Sketches of independent entries: Gaussian and Rademacher; tiles of them are made where used.

::

    S = sketch("gaussian", 300, 10**6, rng=0)       # 2.4 GB of entries, none of which is kept
    S @ X

"""

from __future__ import annotations

import math

from linalgkit._core.array import Array, Device, DType, Namespace, is_complex_dtype
from linalgkit._kernels import normal_rows
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import to
from linalgkit.sketching._operator import SketchOperator


class GaussianSketch(SketchOperator, kind="gaussian"):
    """Independent entries N(0, 1/m), circular complex ones for a complex dtype."""

    streams = True
    is_exact = True

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        tail = (_draws.ENTRIES, 0, self.tiles.stream)
        drawn = _same_kind(dtype, self.is_complex, xp)
        rows = normal_rows(xp, self.tiles.key, tail, start, stop - start, self.m, device, drawn)
        return xp.astype(rows, dtype, copy=False)


class RademacherSketch(SketchOperator, kind="rademacher"):
    """Independent entries of modulus ``1/sqrt(m)``: two signs, or four corners if complex.

    A random byte makes eight signs, or four complex entries ``(+-1 +-i) / sqrt(2)``, whose
    square has mean zero, as that of a circular Gaussian number.
    """

    streams = True

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        table = self._table()
        per_byte = table.shape[1]
        n_words = -(-self.m // (8 * per_byte))
        count = stop - start
        drawn = _draws.words(self.tiles, start * n_words, count * n_words, _draws.ENTRIES)
        index = to(_draws.octets(drawn), xp, device, xp.uint8)
        entries = xp.take(to(table, xp, device, dtype), xp.astype(index, xp.int64), axis=0)
        return xp.reshape(entries, (count, 8 * n_words * per_byte))[:, : self.m]

    def _table(self) -> Array:
        """Return the entries that each byte stands for, (256, 8) or (256, 4)."""
        signs = 1.0 - 2.0 * _draws.bit_table()
        if not self.is_complex:
            return signs
        return (signs[:, 0::2] + 1j * signs[:, 1::2]) * math.sqrt(0.5)


def _same_kind(dtype: DType, is_complex: bool, xp: Namespace) -> DType:
    """Return the dtype of the precision of `dtype` that is complex or real as asked."""
    if is_complex or not is_complex_dtype(xp, dtype):
        return dtype
    return xp.float32 if dtype == xp.complex64 else xp.float64
