"""Sequential acceptance of proposals for a determinantal point process, a block at a time.

``picked = accept_proposals(xp, H, bars, need, floor)`` walks over the proposals of a block in their
order. Proposal `i` is accepted if ``bars[i]`` is less than the squared norm of its row after
projection onto the complement of the rows accepted before it; `H` is the Gram matrix of the rows
at the start of the block. An acceptance is one step of a Cholesky factorisation; the walk ends at
the acceptance of number `need`.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, library_name, numpy_namespace, to_numpy
from linalgkit._kernels._kernel import Kernel


def _accept_proposals(xp: Namespace, H: Array, bars: Array, need: int, floor: float) -> Array:
    """Return the numbers of the accepted proposals.

    Parameters
    ----------
    H : array, shape (b, b)
        Hermitian Gram matrix of the proposals' rows; its upper triangle is read, and may be
        written over.
    bars : float64 array on the host, shape (b,)
        Not negative.
    need : int
        Acceptances after which the rest is not looked at, at least 1.
    floor : float
        What is left of a squared norm counts as zero up to this part of it.

    Returns
    -------
    int64 array on the host
        Ascending.
    """
    gram = to_numpy(H)
    wide = gram.astype(np.complex128 if gram.dtype.kind == "c" else np.float64, copy=False)
    left = wide.diagonal().real.copy()
    factor = np.zeros((min(need, left.shape[0]), left.shape[0]), dtype=wide.dtype)
    bars = np.maximum(np.asarray(bars), floor * left)
    picked: list[int] = []
    for i in range(left.shape[0]):
        if not left[i] > bars[i]:
            continue
        above = factor[: len(picked), :]
        row = wide[i, i + 1 :] - np.conj(above[:, i]) @ above[:, i + 1 :]
        row /= np.sqrt(left[i])
        factor[len(picked), i + 1 :] = row
        left[i + 1 :] -= (row * row.conj()).real
        picked.append(i)
        if len(picked) == need:
            break
    return np.asarray(picked, dtype=np.int64)


def _supports(form: str, H: Array, bars: Array, need: int, floor: float) -> bool:
    return H.dtype.char in "fdFD" and (form == "numba" or H.shape[0] <= 1024)


_kernel = Kernel(
    "accept_proposals",
    portable=_accept_proposals,
    numba="linalgkit._kernels.numba_forms.accept:accept_proposals",
    cupy="linalgkit._kernels.cupy_forms.accept:accept_proposals",
    supports=_supports,
)


def accept_proposals(xp: Namespace, H: Array, bars: Array, need: int, floor: float) -> Array:
    """Run the fastest form; but on CuPy the matrix goes to the host, where all numbers end up."""
    if library_name(xp) not in ("numpy", "cupy"):
        xp, H = numpy_namespace(), to_numpy(H)
    return _kernel(xp, H, bars, need, floor)
