"""Modified LDL^H factorisation that draws a sample: one diagonal block of it.

``L, pivots, kept = hermitian_sampling(xp, A, uniforms, tolerance)`` eliminates the items of a block
in their order. The pivot of an item is the probability that it belongs to the sample, given what
has been decided before; it is kept if its uniform number is less, and else one is taken off its
pivot. Then ``L diag(pivots) L^H`` is `A` less one at every item left out.
"""

from __future__ import annotations

from linalgkit._core.array import Array, Namespace, device, is_complex, widest_float
from linalgkit._kernels._kernel import Kernel


def _hermitian_sampling(
    xp: Namespace, A: Array, uniforms: Array, tolerance: float
) -> tuple[Array, Array, Array]:
    """Decide on the items of one block, and factorise.

    Parameters
    ----------
    A : array, shape (b, b)
        Hermitian, of the device's widest dtype; the lower triangle is read.
    uniforms : array, shape (b,)
        Real numbers in [0, 1).
    tolerance : float
        Probabilities this near to zero or one count as such.

    Returns
    -------
    L : array, shape (b, b)
        Unit lower triangular.
    pivots : array, shape (b,)
        Real, none of them zero.
    kept : array of bool, shape (b,)
    """
    b, on, real = A.shape[0], device(A), widest_float(xp, device(A))
    places = xp.arange(b, device=on)
    rest, columns, pivots, kept = A, [], [], []
    for j in range(b):
        pivot = float(xp.real(rest[j, j]) if is_complex(A, xp) else rest[j, j])
        probability = 0.0 if pivot <= tolerance else 1.0 if pivot >= 1 - tolerance else pivot
        kept.append(float(uniforms[j]) < probability)
        pivots.append(probability if kept[-1] else probability - 1)
        column = xp.where(places > j, rest[:, j] / pivots[-1], xp.zeros_like(rest[:, j]))
        conjugate = xp.conj(column) if is_complex(A, xp) else column
        rest = rest - column[:, None] * (pivots[-1] * conjugate)[None, :]
        columns.append(column)
    L = xp.stack(columns, axis=1) + xp.eye(b, dtype=A.dtype, device=on)
    return (
        L,
        xp.asarray(pivots, dtype=real, device=on),
        xp.asarray(kept, dtype=xp.bool, device=on),
    )


def _is_native(form: str, A: Array, uniforms: Array, tolerance: float) -> bool:
    return A.dtype.char in "dD" and bool(A.dtype.isnative)


hermitian_sampling = Kernel(
    "hermitian_sampling",
    portable=_hermitian_sampling,
    numba="linalgkit._kernels.numba_forms.hermitian_sampling:hermitian_sampling",
    cupy="linalgkit._kernels.cupy_forms.hermitian_sampling:hermitian_sampling",
    supports=_is_native,
)
