"""What a space hands to the samplers: independent proposals, their rows and their envelope."""

from __future__ import annotations

from typing import Any, NamedTuple

from linalgkit._core.array import Array


class Proposals(NamedTuple):
    """Independent proposals for the Christoffel law of a space.

    Attributes
    ----------
    points : array (count, d), or int64 indices (count,) on the host
        Where they lie.
    rows : array (count, p)
        Values there; times the whitener of the space they are those of an orthonormal basis.
    envelope : float64 (count,) on the host
        At least the squared norms of the orthonormal rows: kept with the probability of norm
        over envelope, a proposal is a draw of the Christoffel law.
    """

    points: Any
    rows: Array
    envelope: Any
