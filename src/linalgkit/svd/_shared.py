"""The joint decomposition of the matrices of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from linalgkit._core.array import Array
from linalgkit._core.scaling import ldexp
from linalgkit.svd._columns import as_columns
from linalgkit.svd._pile import Pile
from linalgkit.svd._steps import decomposed


@dataclass(frozen=True, eq=False)
class SharedSVD:
    """``A_i ~ U C_i`` for the matrices of a cluster.

    Attributes
    ----------
    U : array (m, rank)
        The common basis: orthonormal columns, without `row_weight`.
    coefficients : list of array (rank, n_i)
        Coordinates of each matrix, in the order of the cluster.
    """

    U: Array = field(repr=False)
    coefficients: list[Array] = field(repr=False)
    weighted_basis: Array = field(repr=False)


def shared_svd(pile: Pile, members: Sequence[int], row_weight: Array | None) -> SharedSVD:
    """Return the basis that a pile has, which is the one certified, and coordinates of members."""
    blocks, rank = pile.blocks, pile.rank
    xp = blocks.xp
    assert pile.kept is not None
    U, _, _ = decomposed(pile.kept, xp)
    basis = xp.matrix_transpose(U[:, :rank])
    coefficients = []
    for i in members:
        C = xp.astype(as_columns(blocks.rows_of(i)).cross(basis), blocks.dtype)
        coefficients.append(ldexp(C, blocks.exponent, xp))
    left = U[:, :rank]
    if row_weight is not None:
        root = xp.sqrt(xp.astype(row_weight, blocks.dtype))
        safe = xp.where(root == 0, xp.ones_like(root), root)
        left = xp.where((root == 0)[:, None], xp.zeros_like(left), left / safe[:, None])
    return SharedSVD(left, coefficients, basis)
