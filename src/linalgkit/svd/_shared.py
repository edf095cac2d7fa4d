"""The joint decomposition of the matrices of a cluster."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import Array
from linalgkit._core.scaling import ldexp
from linalgkit._core.validation import check_int
from linalgkit.svd._blocks import HOST, Blocks, Places, row_weights
from linalgkit.svd._pile import Pile

_AT_A_TIME = 4096  # columns that are multiplied together


@dataclass(frozen=True, eq=False, repr=False)
class SharedSVD:
    """``A_i ~ U C_i`` for the matrices of a cluster.

    Attributes
    ----------
    U : array (m, rank)
        The common basis. Its columns are orthonormal, with `row_weight` in the inner product that
        has these weights; rows of weight zero are zero.
    coefficients : list of array (rank, n_i)
        Coordinates of each matrix, in the order of the cluster.
    """

    U: Array
    coefficients: list[Array]
    weighted_basis: Array = field(repr=False)

    def __repr__(self) -> str:
        columns = sum(int(C.shape[1]) for C in self.coefficients)
        return (
            f"SharedSVD(U of shape {tuple(self.U.shape)}, {len(self.coefficients)} matrices of "
            f"{columns} columns in all)"
        )

    def reconstruct(self, i: int) -> Array:
        """Return the approximation ``U C_i`` of a matrix.

        Parameters
        ----------
        i : int
            Its number within the cluster, from 0: matrix ``clusters[c][i]`` of the collection.

        Returns
        -------
        array (m, n_i)
            In the units of the matrix whatever the `row_weight`; rows of weight zero, which count
            for nothing, are zero.

        Raises
        ------
        TypeError, ValueError
            If `i` is no number of a matrix of the cluster.
        """
        i = check_int("i", i, 0, len(self.coefficients) - 1, why="for the matrices of the cluster")
        return self.U @ self.coefficients[i]


def shared_svd(pile: Pile, members: Places, row_weight: Any) -> SharedSVD:
    """Return the basis that a pile has, which is the one certified, and coordinates of members."""
    blocks = pile.blocks
    xp = blocks.xp
    basis = pile.basis()
    left = xp.matrix_transpose(basis)
    if row_weight is not None:
        weight = row_weights(row_weight, xp, blocks.device)
        root = xp.sqrt(xp.astype(weight, blocks.dtype))
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
