"""Gram matrix of a tall block, in the block's own precision.

``gram(xp, X)`` returns ``X^H X``. BLAS packs its factors before it multiplies them, which for
few columns takes as long as the product; the compiled form reads rows where they lie. On a
device the library's own product is the form there is.
"""

from __future__ import annotations

from linalgkit._core.array import Array, Namespace, matmul_h
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.dense import has_contiguous_rows

_LARGEST = 512


def _gram(xp: Namespace, X: Array) -> Array:
    """Return ``X^H X`` in the dtype of `X`."""
    return matmul_h(X, X, xp)


def _compiled(form: str, X: Array) -> bool:
    """Tell whether rows are real, contiguous and one after the other, and not too long."""
    return bool(
        has_contiguous_rows(X)
        and X.dtype.kind == "f"
        and X.shape[0] > 0
        and 0 < X.shape[1] <= _LARGEST
        and X.strides[0] >= X.shape[1] * X.itemsize
    )


gram = Kernel(
    "gram",
    portable=_gram,
    numba="linalgkit._kernels.numba_forms.gram:gram",
    cupy="linalgkit._kernels.cupy_forms.gram:gram",
    supports=_compiled,
)
