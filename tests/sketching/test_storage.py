"""Memory beyond the data: S is never stored, nor are copies of the data."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse

from linalgkit.sketching import sketch
from tests.sketching.kinds import TURNED, make

MIB = 2**20
TILE = 4 * MIB  # twice that of the entries


def peak_of(call: Callable[[], object]) -> int:
    """Return the largest number of bytes held during a call, warmed up before."""
    call()
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_a_gaussian_matrix_of_1e8_entries_is_never_stored():
    m, n = 500, 200_000
    S = sketch("gaussian", m, n, rng=0)
    X = np.ones((n, 2))
    assert peak_of(lambda: S @ X) < 2 * m * 2 * 8 + 12 * TILE


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_dense_sketches_hold_tiles_of_a_few_megabytes(kind):
    m, n, d = 100, 100_000, 4
    S = sketch(kind, m, n, rng=0)  # 80 MB of entries
    X = np.ones((n, d))
    assert peak_of(lambda: S @ X) < 8 * TILE
    assert peak_of(lambda: S.adjoint() @ X[:m, :]) < 2 * n * d * 8 + 8 * TILE


@pytest.mark.parametrize("kind", ["srht", "gaussian_pooled", "srdct", "circulant"])
def test_transforms_work_on_panels_of_columns(kind):
    n, d, m = 2**15, 256, 128
    S = make(kind, m, n)
    X = np.ones((n, d))  # 64 MiB
    panel = 32 * n * 8 * (4 if kind in ("srdct", "circulant") else 2)
    assert peak_of(lambda: S @ X) < 3 * m * d * 8 + 2 * panel + 24 * n + TILE


@pytest.mark.parametrize("kind", TURNED)
def test_complex_sketches_of_real_data_make_no_complex_copy(kind):
    n, d, m = 2**14, 512, 64
    S = make(kind, m, n, dtype="complex128")
    X = np.ones((n, d))  # 64 MiB, the copy would be 128 MiB
    panel = 64 * n * 16
    assert peak_of(lambda: S @ X) < 4 * panel + 4 * m * d * 16 + 24 * n + TILE


@pytest.mark.parametrize("kind", ["block_srht", "countsketch", "sparse_sign"])
def test_streaming_kinds_hold_nothing_of_the_length_of_the_data(kind):
    n, d, m = 2**18, 32, 64
    S = sketch(kind, m, n, rng=0)
    X = np.ones((n, d))  # 64 MiB
    assert peak_of(lambda: S @ X) < 4 * m * d * 8 + 32 * MIB


@pytest.mark.parametrize("kind", ["gaussian", "srht", "sparse_sign", "gaussian_pooled", "srdct"])
def test_sparse_data_cost_less_than_their_dense_form(kind):
    n, d, m = 2**14, 2000, 50
    A = scipy.sparse.random_array((n, d), density=1e-3, rng=np.random.default_rng(0)).tocsr()
    S = make(kind, m, n)
    assert peak_of(lambda: S @ A) < n * d * 8 / 8
