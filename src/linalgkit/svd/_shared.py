"""The joint decomposition of the matrices of a cluster."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from linalgkit._core.array import Array
from linalgkit._core.scaling import ldexp
from linalgkit.svd._blocks import HOST, Blocks, Places
from linalgkit.svd._pile import Pile

_AT_A_TIME = 4096  # columns that are multiplied together


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


def shared_svd(pile: Pile, members: Places, row_weight: Array | None) -> SharedSVD:
    """Return the basis that a pile has, which is the one certified, and coordinates of members."""
    blocks = pile.blocks
    xp = blocks.xp
    basis = pile.basis()
    left = xp.matrix_transpose(basis)
    if row_weight is not None:
        root = xp.sqrt(xp.astype(row_weight, blocks.dtype))
        safe = xp.where(root == 0, xp.ones_like(root), root)
        left = xp.where((root == 0)[:, None], xp.zeros_like(left), left / safe[:, None])
    return SharedSVD(left, _coefficients(blocks, members, basis), basis)


def _coefficients(blocks: Blocks, members: Places, basis: Array) -> list[Array]:
    """Return ``Q^H A_i`` for each matrix, from products with many of them at a time."""
    xp = blocks.xp
    found: list[Array] = []
    for part in blocks.parts(members, _AT_A_TIME):
        C = xp.matrix_transpose(blocks.coordinates(blocks.columns(part), basis))
        C = ldexp(xp.astype(C, blocks.dtype, copy=False), blocks.exponent, xp)
        ends = [0, *(int(end) for end in HOST.cumsum(blocks.widths[part]))]
        found.extend(C[:, start:end] for start, end in itertools.pairwise(ends))
    return found
