"""Reading observed entries: every kind of input, weights, scaling, memory."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from linalgkit._core import array as core_array
from linalgkit.completion import _sources
from linalgkit.completion._graph import connected_components
from linalgkit.completion._held_out import held_out
from linalgkit.completion._observed import observe, row_indices, select
from tests.completion.patterns import (
    ENTRIES,
    FakeSparse,
    M,
    N,
    coo,
    dense,
    entries_of,
    random_pattern,
    same_bits,
    triple,
)
from tests.conftest import BACKENDS, Backend

# ---------------------------------------------------------------------------------- sparse


def as_format(kind: str) -> Any:
    """The entries in one of SciPy's formats, the zero stored."""
    A = coo()
    if kind == "dok":
        made = sp.dok_array((M, N))
        made._dict = {(np.int64(i), np.int64(j)): v for (i, j), v in ENTRIES.items()}
        return made
    return A if kind == "coo" else A.asformat(kind)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
@pytest.mark.parametrize("matrix", [False, True])
def test_sparse_formats_hold_their_stored_entries(kind: str, matrix: bool) -> None:
    A = as_format(kind)
    assert A.nnz == len(ENTRIES)
    if matrix:
        A = getattr(sp, f"{kind}_matrix")(A)
    data = observe(A)
    assert entries_of(data) == ENTRIES
    assert data.xp is core_array.numpy_namespace()
    assert same_bits(data, observe(triple()))


def test_diagonals_hold_the_stored_numbers_that_lie_inside() -> None:
    stored = np.array([[1.0, 0.0, 3.0, 9.0], [4.0, 5.0, 0.0, 9.0], [9.0, 9.0, 0.0, 7.0]])
    A = sp.dia_array((stored, [0, -1, 2]), shape=(3, 4))
    expected = {}
    for numbers, offset in zip(stored, A.offsets, strict=True):
        for j in range(4):
            if 0 <= j - offset < 3:
                expected[int(j - offset), j] = numbers[j]
    assert entries_of(observe(A)) == expected
    assert entries_of(observe(sp.dia_array((stored[:, :2], A.offsets), shape=(3, 4)))) == {
        place: value for place, value in expected.items() if place[1] < 2
    }


def test_all_numbers_of_a_stored_block_are_observed() -> None:
    A = sp.bsr_array((np.array([[[1.0, 0.0], [2.0, 3.0]]]), [1], [0, 1, 1]), shape=(4, 4))
    assert entries_of(observe(A)) == {(0, 2): 1, (0, 3): 0, (1, 2): 2, (1, 3): 3}


def unsorted(kind: str) -> Any:
    made = {"csr": sp.csr_array, "csc": sp.csc_array}[kind]
    shape = (2, 4) if kind == "csr" else (4, 2)
    return made((np.arange(1.0, 6.0), [3, 0, 2, 1, 0], [0, 3, 5]), shape=shape)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_a_sparse_matrix_is_not_changed(kind: str) -> None:
    A = coo() if kind == "coo" else unsorted(kind)
    before = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in vars(A).items()}
    data = observe(A)
    after = vars(A)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before)
    assert not data.in_place
    assert same_bits(data, observe(A.tocoo()))


def test_numbers_past_the_last_row_start_do_not_count() -> None:
    A = sp.csr_array((2, 3))
    A.indptr, A.indices, A.data = np.array([0, 1, 2]), np.array([2, 0, 77]), np.array([1.0, 2, 3])
    assert entries_of(observe(A)) == {(0, 2): 1.0, (1, 0): 2.0}


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_a_canonical_matrix_shares_memory_with_its_side(kind: str, dtype: str) -> None:
    A = coo(dtype).asformat(kind)
    data = observe(A)
    values = data.row_values if kind == "csr" else data.column_values
    lines = data.rows if kind == "csr" else data.columns
    assert data.in_place
    assert values.dtype == A.dtype == data.dtype
    assert np.shares_memory(values, A.data)
    assert np.shares_memory(lines.indices, A.indices)
    far = A * A.dtype.type(2.0**30 if data.dtype in ("float32", "complex64") else 2.0**100)
    scaled = observe(far)
    assert scaled.exponent != 0
    assert not np.shares_memory(scaled.row_values, far.data)
    assert scaled.in_place  # the indices


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "bool"])
def test_integers_go_to_the_default_float(dtype: str, xp: Backend) -> None:
    host = np.array([[1, 0, 3], [0, 1, 0]], dtype=dtype)
    expected = core_array.default_float(xp.xp, xp.device)
    if hasattr(xp.xp, dtype):
        data = observe(xp.asarray(host))
        assert data.dtype == expected
        assert data.count == 6
    assert observe(sp.csr_array(host)).dtype == np.float64


def test_foreign_byte_order_is_read() -> None:
    A = coo().tocsr()
    A.data = A.data.astype(">f8")
    assert entries_of(observe(A)) == ENTRIES


def test_sparse_matrices_of_a_device_keep_their_values_there(xp: Backend) -> None:
    rows, columns, values, shape = triple()
    A = FakeSparse(rows, columns, xp.asarray(values), shape)
    W = FakeSparse(rows[::-1], columns[::-1], xp.asarray(np.arange(1.0, 9.0)), shape)
    data = observe(A, weights=W)
    assert entries_of(data) == ENTRIES
    assert core_array.device(data.row_values) == xp.device
    assert entries_of(data, "weights")[0, 0] == 8.0
    assert data.order is None
    pattern = FakeSparse(rows[:2], columns[:2], values[:2], shape)
    assert held_out(data, pattern, None).tolist() == [True, True] + [False] * 6


# ----------------------------------------------------------------------------------- dense


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_nan_is_missing_in_dense_arrays(xp: Backend, dtype: str) -> None:
    A, _ = dense(dtype=dtype)
    data = observe(xp.asarray(A, dtype))
    assert entries_of(data) == ENTRIES
    assert core_array.dtype_name(xp.xp, data.dtype) == dtype
    assert core_array.library_of(data.column_values) == core_array.library_name(xp.xp)
    assert core_array.device(data.row_values) == core_array.device(data.column_values) == xp.device


def test_a_mask_hides_what_lies_under_false(xp: Backend) -> None:
    A, seen = dense(missing=np.inf)
    A[4, :] = np.nan
    for mask in (seen, xp.asarray(seen)):
        data = observe(xp.asarray(A), mask=mask)
        assert entries_of(data) == ENTRIES
        assert core_array.library_of(data.row_values) == core_array.library_name(xp.xp)


def test_complex_entries_are_not_conjugated(xp: Backend) -> None:
    host = np.array([[1 + 2j, np.nan], [3j, 4 - 1j]])
    expected = {(0, 0): 1 + 2j, (1, 0): 3j, (1, 1): 4 - 1j}
    assert entries_of(observe(xp.asarray(host))) == expected
    assert entries_of(observe(sp.csc_array(np.nan_to_num(host)))) == expected


def test_masked_arrays_dataframes_and_nested_lists() -> None:
    A, seen = dense(missing=5.0)
    expected = observe(dense()[0])
    assert same_bits(observe(np.ma.MaskedArray(A, mask=~seen)), expected)
    assert same_bits(observe(pd.DataFrame(dense()[0])), expected)
    assert same_bits(observe(dense()[0].tolist()), expected)
    assert same_bits(observe(pd.DataFrame(A), mask=pd.DataFrame(seen)), expected)
    whole = np.arange(1.0, 31.0).reshape(6, 5)
    whole[1, 2] = whole[4, 0] = np.nan
    for kind in ("Int64", "Float64"):
        assert same_bits(observe(pd.DataFrame(whole).astype(kind)), observe(whole))
    single = observe(pd.DataFrame(whole).astype("Float32"))
    assert single.row_values.dtype == np.float32
    with pytest.raises(TypeError, match="A: a numeric array is required, got dtype object"):
        observe(pd.DataFrame(whole).astype(object))
    assert observe(np.ma.MaskedArray(A)).count == M * N


def test_dense_arrays_of_any_layout() -> None:
    A = dense()[0]
    assert same_bits(observe(np.asfortranarray(A)), observe(A))
    assert same_bits(observe(A[::-1, ::-1][::-1, ::-1]), observe(A))


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b.name.startswith("strict")], ids=str)
def test_flat_places_beyond_the_integers_of_a_library(backend: Backend, monkeypatch: Any) -> None:
    monkeypatch.setattr(_sources, "index_dtype", lambda xp: xp.int8)
    A = np.arange(300.0).reshape(30, 10)
    places = np.array([0, 9, 126, 127, 130, 299])
    found = _sources.gathered(backend.asarray(A), places, backend.xp)
    assert np.array_equal(backend.to_numpy(found), places)


# --------------------------------------------------------------------------------- triples


def test_triples_of_any_library(xp: Backend) -> None:
    rows, columns, values, shape = triple()
    given = xp.asarray(values)
    for index in ((rows, columns), (xp.asarray(rows), xp.asarray(columns)), (list(rows), columns)):
        data = observe((*index, given, shape))
        assert entries_of(data) == ENTRIES
        assert core_array.library_of(data.row_values) == core_array.library_name(xp.xp)
        assert core_array.device(data.column_values) == xp.device
        assert not data.in_place


def test_triples_of_lists_and_ranges_are_of_numpy() -> None:
    data = observe((range(2), [1, 0], [2, 3.5], [2, 2]))
    assert entries_of(data) == {(0, 1): 2.0, (1, 0): 3.5}
    assert data.dtype == np.float64
    series = pd.Series([1, 0])
    assert same_bits(
        observe((series, series, series, (2, 2))), observe(([0, 1], [0, 1], [0, 1.0], (2, 2)))
    )


def test_the_order_of_the_entries_changes_no_bit(xp: Backend, rng: Any) -> None:
    A = random_pattern(rng, 12, 9, 0.4).tocoo()
    plain = observe((A.row, A.col, xp.asarray(A.data), A.shape), weights=A.data + 1)
    p = rng.permutation(A.nnz)
    parts = [A.row[p], A.col[p], xp.asarray(A.data[p])]
    data = observe((*parts, A.shape), weights=A.data[p] + 1)
    assert same_bits(data, plain)
    assert np.array_equal(data.order[np.argsort(data.order)], np.arange(A.nnz))
    assert np.array_equal(A.row[p][data.order], row_indices(data))
    cuts = (slice(0, 5), slice(5, 5), slice(5, 11), slice(11, None))
    items = ((*(x[cut] for x in parts), A.shape) for cut in cuts)
    assert same_bits(observe(items, weights=A.data[p] + 1), plain)


def test_a_stream_is_read_once_and_promoted() -> None:
    seen = []

    def items() -> Any:
        for part in (([0], [1], np.array([1.5], np.float32), (2, 2)), ([1], [0], [2], (2, 2))):
            seen.append(part)
            yield part

    data = observe(items())
    assert len(seen) == 2
    assert data.dtype == np.float64
    assert entries_of(data) == {(0, 1): 1.5, (1, 0): 2.0}
    assert same_bits(observe(seen), data)
    assert same_bits(observe(tuple(seen)), data)
    mixed = observe([seen[0], ([1], [1], np.array([1j]), (2, 2))])
    assert mixed.dtype == np.complex128


# --------------------------------------------------------------------------------- weights


def test_weights_in_the_form_of_the_data(xp: Backend) -> None:
    A, _ = dense()
    W = 1.0 + np.arange(M * N).reshape(M, N)
    expected = {place: W[place] for place in ENTRIES}
    rows, columns, values, shape = triple()
    for given in (W, xp.asarray(W)):
        assert entries_of(observe(xp.asarray(A), weights=given), "weights") == expected
    W[4, 3] = np.nan  # of a missing entry
    assert entries_of(observe(A, weights=W), "weights") == expected
    data = observe((rows, columns, xp.asarray(values), shape), weights=W[rows, columns])
    assert entries_of(data, "weights") == expected
    assert core_array.device(data.row_weights) == xp.device


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("other", ["csr", "csc", "coo", "lil"])
@pytest.mark.parametrize("more", [False, True])
def test_sparse_weights_of_any_format(kind: str, other: str, more: bool) -> None:
    rows, columns, _, shape = triple()
    W = sp.coo_array((1.0 + rows + 10 * columns, (rows, columns)), shape=shape).tolil()
    if more:
        W[4, 3] = 5.0
    data = observe(coo().asformat(kind), weights=W.asformat(other))
    assert entries_of(data, "weights") == {(i, j): 1.0 + i + 10 * j for i, j in ENTRIES}


def test_shared_weights_are_told() -> None:
    A = coo().tocsr()
    W = A.copy()
    W.data = np.arange(1.0, 9.0)
    assert observe(2.0**80 * A.tocoo(), weights=W).in_place
    assert not observe(2.0**80 * A.tocoo(), weights=W.tocoo()).in_place


def test_an_entry_of_weight_zero_is_left_out(xp: Backend) -> None:
    rows, columns, values, shape = triple()
    W = np.where(np.arange(rows.size) % 3 == 1, 0.0, 2.0)
    stays = W > 0
    data = observe((rows, columns, xp.asarray(values), shape), weights=W)
    left = observe(
        (rows[stays], columns[stays], xp.asarray(values[stays]), shape), weights=W[stays]
    )
    assert same_bits(data, left)
    assert data.count == stays.sum()
    assert np.array_equal(data.order, np.flatnonzero(stays)[left.order])
    A = sp.coo_array((values, (rows, columns)), shape=shape)
    assert same_bits(
        observe(A, weights=sp.coo_array((W, (rows, columns)), shape=shape)),
        observe((rows[stays], columns[stays], values[stays], shape), weights=W[stays]),
    )


def test_weights_take_the_precision_of_the_data() -> None:
    rows, columns, values, shape = triple("complex64")
    W = np.arange(1.0, 9.0) * 1e200
    data = observe((rows, columns, values, shape), weights=W)
    assert data.row_weights.dtype == np.float32
    assert 0.5 <= data.row_weights.max() <= 1
    expected = math.frexp(8e200)[1]
    assert data.weight_exponent == expected
    np.testing.assert_allclose(np.sort(data.row_weights), np.ldexp(W, -expected), rtol=1e-7)
    assert observe((rows, columns, values, shape), weights=W / 1e200).weight_exponent == 0
    assert observe((rows, columns, values, shape), weights=np.arange(1, 9)).weight_exponent == 0


# --------------------------------------------------------------------------------- scaling


@pytest.mark.parametrize("power", [700, 61, 60, 0, -60, -61, -900])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_values_are_scaled_exactly_and_only_far_from_one(power: int, dtype: str) -> None:
    values = np.array([0.3, -0.7, 0.9999, 1.0], dtype=dtype) * (1j if dtype[0] == "c" else 1)
    data = observe(([0, 1, 2, 3], [0, 1, 1, 0], values * 2.0**power, (4, 2)))
    largest = np.abs(data.row_values).max()
    if -60 <= power <= 60:
        assert data.exponent == 0
    else:
        assert 0.5 <= largest <= 1
    back = (
        data.row_values * 2.0 ** (data.exponent // 2) * 2.0 ** (data.exponent - data.exponent // 2)
    )
    assert np.array_equal(back, values * 2.0**power)


@pytest.mark.parametrize("power", [30, 21, 20, -20, -21, -100])
def test_single_precision_is_scaled_sooner(power: int, xp: Backend) -> None:
    host = np.array([[1.0, np.nan], [0.25, 0.5]], dtype=np.float32) * np.float32(2.0**power)
    data = observe(xp.asarray(host, "float32"))
    assert data.exponent == (0 if abs(power) <= 20 else power + 1)
    expected = np.ldexp(host[~np.isnan(host)], -data.exponent)
    assert np.array_equal(xp.to_numpy(data.row_values), expected)


def test_a_modulus_may_overflow_and_zeros_stay() -> None:
    huge = 1.7e308 * (1 + 1j)
    data = observe(([0, 1], [0, 0], [huge, 1.0], (2, 1)))
    assert 0.5 <= np.abs(data.row_values).max() <= 1
    assert data.row_values[0] == np.ldexp(1.7e308, -data.exponent) * (1 + 1j)
    zeros = observe(([0, 1], [0, 0], [0.0, 0.0], (2, 1)))
    assert zeros.exponent == 0
    assert not zeros.row_values.any()


# ------------------------------------------------------------------------------ large input


def test_places_are_counted_in_64_bits(rng: Any) -> None:
    n = 70_000  # n * n is beyond 32 bits
    rows, columns = np.array([n - 1, 0, n - 1, 61_357]), np.array([n - 1, 0, 5, n - 2])
    values = np.arange(1.0, 5.0)
    expected = dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), values, strict=True))
    A = sp.coo_array((values, (rows.astype(np.int32), columns.astype(np.int32))), shape=(n, n))
    more = sp.coo_array(
        (np.append(values, 9.0), (np.append(rows, 3), np.append(columns, 4))), shape=(n, n)
    )
    for kind in ("csr", "csc"):
        data = observe(A.asformat(kind), weights=more)
        assert entries_of(data) == entries_of(data, "weights") == expected
        named = sp.coo_array(([0.0], ([n - 1], [n - 1])), shape=(n, n))
        found = held_out(data, named, rng)
        assert row_indices(data)[found].tolist() == [n - 1]
        assert data.rows.indices[found].tolist() == [n - 1]


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_memory_beyond_the_input_is_that_of_the_other_side(kind: str, rng: Any) -> None:
    A = random_pattern(rng, 2000, 1500, 0.1).asformat(kind)
    size = A.data.nbytes + A.indices.nbytes + A.indptr.nbytes
    observe(A[:, :3])
    tracemalloc.start()
    data = observe(A)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.in_place
    assert kept <= 1.1 * size
    assert peak <= 1.3 * size
    tracemalloc.start()
    connected_components(data)
    held_out(data, 0.1, rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 1.0 * size + 2**22  # a chunk of entries


# ----------------------------------------------------------------------------------- parts


def test_selected_entries_keep_their_order_and_exponents(xp: Backend) -> None:
    rows, columns, values, shape = triple()
    p = np.array([3, 1, 7, 0, 5, 2, 4, 6])
    W = np.arange(1.0, 9.0)
    given = rows[p], columns[p], xp.asarray(values[p] * 2.0**100), shape
    data = observe(given, weights=W, n_threads=2)
    chosen = np.array([True, False, True, True, False, False, True, True])
    part = select(data, chosen)
    every, weights = entries_of(data), entries_of(data, "weights")
    kept = [place for place, stays in zip(every, chosen, strict=True) if stays]
    assert entries_of(part) == {place: every[place] for place in kept}
    assert entries_of(part, "weights") == {place: weights[place] for place in kept}
    assert (part.exponent, part.weight_exponent) == (data.exponent, data.weight_exponent)
    assert np.array_equal(rows[p][part.order], row_indices(part))
    assert part.n_given == 8
    assert part.rows.n_threads == part.columns.n_threads == 2
    assert select(data, np.ones(8, dtype=bool)) is data
    assert select(data, np.zeros(8, dtype=bool)).count == 0


def test_row_indices_are_those_of_the_entries() -> None:
    assert row_indices(observe(triple())).tolist() == [i for i, _ in sorted(ENTRIES)]
