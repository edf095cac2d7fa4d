"""Memory beyond the data: S is never stored, nor are copies of the data."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse

from linalgkit.sketching import sketch
from tests.sketching.kinds import TURNED, WHOLE, data, make

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


def held_by(S, call: Callable[[object], object]) -> int:
    """Return the bytes that a sketch still holds after a call."""
    call(make(S.kind, *S.shape, dtype=S.dtype))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call(S)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held


def used(S) -> None:
    """Use all that a sketch can do."""
    (m, n), dtype = S.shape, S.dtype
    X, Y = data(n, 2).astype(dtype), data(m, 2).astype(dtype)
    _ = (
        S @ X,
        S.adjoint() @ Y,
        S.apply_rows(X[:3], 5),
        S.columns(3, 4),
        S @ scipy.sparse.csr_array(X),
    )


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "leverage"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("m", [20, 4000])
def test_what_has_been_drawn_is_as_small_as_documented(kind, dtype, m):
    n = 2**15
    used(make(kind, m, n, dtype=dtype))  # what libraries keep for themselves
    S = make(kind, m, n, dtype=dtype)
    size = getattr(S, "n_padded", getattr(S, "length", n))
    assert held_by(S, used) < 1.01 * (25 * size + 8 * m) + 20_000


@pytest.mark.parametrize("kind", ["countsketch", "sparse_sign"])
def test_sparse_kinds_keep_12_bytes_a_nonzero(kind):
    n = 2**14
    S = make(kind, 64, n)
    assert held_by(S, used) < 12 * n * S.nnz + 2**19


def test_block_srht_keeps_10_bytes_a_number_drawn():
    n, m, block = 2**16, 64, 1024
    S = sketch("block_srht", m, n, block=block, rng=0)

    def drawn(S):
        for k in range(n // block):
            S._draw(k)

    assert held_by(S, drawn) < 10 * (n // block) * (block + m)
