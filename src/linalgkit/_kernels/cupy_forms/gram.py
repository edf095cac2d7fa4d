"""Gram matrix by the device's own product: cuBLAS is at the limit, and reads rows where they lie.

Of the product one triangle is kept, so that the result is symmetric to the last bit as on a CPU.
"""

from __future__ import annotations

from linalgkit._core.array import Array, Namespace


def gram(xp: Namespace, X: Array) -> Array:
    """Return ``X^T X`` of real rows in their own precision."""
    whole = xp.matrix_transpose(X) @ X
    return xp.triu(whole) + xp.triu(whole, k=1).T
