"""A projection determinantal point process by looking at every item for every point."""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    asarray,
    device,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.random import HostArray

_HOST = numpy_namespace()


# Hough, Krishnapur, Peres, Virag 2006, Algorithm 18, for rows at hand. Differs from it:
# 1. Squared norms are downdated, and those of which rounding leaves nothing count as zero.
# 2. New directions are orthogonalised twice.
def scan(R: Array, scores: HostArray, floor: float, rng: Any, xp: Namespace) -> HostArray:
    """Return a sample of the projection DPP of rows, looking at all of them for each point.

    Parameters
    ----------
    R : array (n, s)
        Rows of an orthonormal basis, or of what is left of one.
    scores : float64 (n,) on the host
        Squared norms of the rows of the whole basis.
    floor : float
        Relative to them, up to which a squared norm counts as zero.
    rng : numpy.random.Generator
        Of which `s` uniform numbers are drawn.
    xp : module
        Namespace of the rows.

    Returns
    -------
    int64 (s,) on the host
        Row numbers; `n` numbers are brought to the host for each.
    """
    left = _HOST.astype(to_numpy(squared_row_norms(R, R.dtype, xp)), _HOST.float64)
    bars = floor * scores
    Q: Array | None = None
    picked: list[HostArray] = []
    for _ in range(R.shape[1]):
        left[left <= bars] = 0.0
        index = draw_index(_HOST.cumulative_sum(left), rng.random(1))
        picked.append(index)
        q = _direction(xp.take(R, asarray(index, xp=xp, device=device(R)), axis=0), Q, xp)
        Q = q if Q is None else xp.concat([Q, q], axis=0)
        seen = to_numpy(R @ adjoint(q, xp))[:, 0]
        left -= seen.real**2 + seen.imag**2
        left[index] = 0.0
    found: HostArray = _HOST.concat(picked)
    return found


def _direction(q: Array, Q: Array | None, xp: Namespace) -> Array:
    """Return the unit vector (1, s) of `q` that is orthogonal to the rows of `Q`."""
    for _ in range(0 if Q is None else 2):
        q = q - (q @ adjoint(Q, xp)) @ Q
    return q / xp.astype(xp.linalg.vector_norm(q), q.dtype, copy=False)


def draw_index(cumulative: HostArray, uniforms: HostArray) -> HostArray:
    """Return numbers drawn from a table of cumulative weights; those of weight zero never are."""
    total = cumulative[-1]
    index = _HOST.searchsorted(cumulative, uniforms * total, side="right")
    last = _HOST.searchsorted(cumulative, total, side="left")
    found: HostArray = _HOST.minimum(index, last)
    return found
