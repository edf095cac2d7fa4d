"""Kernels: one name, up to three forms (portable array API, Numba, CuPy)."""

from __future__ import annotations

from linalgkit._kernels._kernel import Kernel, cupy_available, numba_available, registered
from linalgkit._kernels.accept import accept_proposals
from linalgkit._kernels.dense import normal_product, normal_product_norms, row_norms_squared
from linalgkit._kernels.embedding import sparse_embed
from linalgkit._kernels.gram import gram
from linalgkit._kernels.hadamard import fwht, hadamard_blocks, hadamard_pool, hadamard_rows
from linalgkit._kernels.hermitian_sampling import hermitian_sampling
from linalgkit._kernels.kron_pass import kron_pass, kron_weighted
from linalgkit._kernels.ladder import ladder_solve
from linalgkit._kernels.normal import normal_rows
from linalgkit._kernels.probe import probed_norms
from linalgkit._kernels.removal import greedy_removal
from linalgkit._kernels.residual import csr_residual_product, residual_product
from linalgkit._kernels.sparse import (
    csr_normal_product,
    csr_normal_product_norms,
    csr_row_norms_squared,
)
from linalgkit._kernels.tensor_basis import recurrence_table, recurrence_values, tensor_basis
from linalgkit._kernels.thinning import thinned_proposals

__all__ = [
    "Kernel",
    "accept_proposals",
    "csr_normal_product",
    "csr_normal_product_norms",
    "csr_residual_product",
    "csr_row_norms_squared",
    "cupy_available",
    "fwht",
    "gram",
    "greedy_removal",
    "hadamard_blocks",
    "hadamard_pool",
    "hadamard_rows",
    "hermitian_sampling",
    "kron_pass",
    "kron_weighted",
    "ladder_solve",
    "normal_product",
    "normal_product_norms",
    "normal_rows",
    "numba_available",
    "probed_norms",
    "recurrence_table",
    "recurrence_values",
    "registered",
    "residual_product",
    "row_norms_squared",
    "sparse_embed",
    "tensor_basis",
    "thinned_proposals",
]
