"""Rows from every kind of source, and blocks that do not depend on the caller's cuts."""

from __future__ import annotations

import functools
import json
import pickle
import time
import tracemalloc

import h5py
import numpy as np
import pytest
import scipy.sparse
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from linalgkit._core.streams import (
    RowBuffer,
    default_block_rows,
    is_reiterable,
    row_blocks,
    tree_reduce,
)


def rows_of(n=23, d=4):
    return np.arange(n * d, dtype=float).reshape(n, d) + 1


def dense(block):
    return block.toarray() if scipy.sparse.issparse(block) else np.asarray(block)


def joined(blocks):
    return np.concatenate([dense(block) for block in blocks])


class Disk:
    """What h5py and zarr look like, counting what is read."""

    def __init__(self, rows, chunks):
        self._rows, self.chunks = rows, chunks
        self.shape, self.dtype = rows.shape, rows.dtype
        self.reads = []

    def __getitem__(self, key):
        block = self._rows[key]
        self.reads.append(block.shape[0])
        return block.copy()


# --------------------------------------------------------------------------------- row_blocks


@pytest.mark.parametrize("block_rows", [None, 1, 7, 23, 100])
def test_arrays_are_cut_into_views(xp, block_rows):
    X = rows_of()
    blocks = list(row_blocks(xp.asarray(X), block_rows=block_rows))
    assert max(block.shape[0] for block in blocks) == min(block_rows or 23, 23)
    np.testing.assert_array_equal(np.concatenate([xp.to_numpy(b) for b in blocks]), X)
    if xp.name == "numpy":
        assert all(np.shares_memory(block, X) for block in row_blocks(X, block_rows=block_rows))


def test_a_1d_array_is_one_row(xp):
    (block,) = row_blocks(xp.asarray(np.ones(4)))
    assert block.shape == (1, 4)


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "csc_array", "coo_matrix"])
def test_sparse_sources_stay_sparse(kind):
    X = rows_of() * (rows_of() % 3 == 0)
    source = getattr(scipy.sparse, kind)(X)
    for block_rows in (None, 5):
        blocks = list(row_blocks(source, block_rows=block_rows))
        assert all(block.format == "csr" for block in blocks)
        np.testing.assert_array_equal(joined(blocks), X)
    (row,) = row_blocks(scipy.sparse.coo_array(X[0]))
    np.testing.assert_array_equal(row.toarray(), X[:1])


def test_memmap_is_never_loaded_as_a_whole(tmp_path):
    n, d = 4000, 100
    mapped = np.memmap(tmp_path / "rows.bin", dtype=np.float64, mode="w+", shape=(n, d))
    mapped[:] = 1
    assert len(list(row_blocks(mapped, block_rows=64))) == 63  # what is imported at first use
    tracemalloc.start()
    sizes = [(block.shape[0], type(block)) for block in row_blocks(mapped, block_rows=64)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(size for size, _ in sizes) == n
    assert max(size for size, _ in sizes) == 64
    assert {kind for _, kind in sizes} == {np.ndarray}
    assert peak < 64 * d * 8
    wide = np.memmap(tmp_path / "wide.bin", dtype=np.float64, mode="w+", shape=(9, 500_000))
    assert max(block.shape[0] for block in row_blocks(wide)) == 2  # about 8 MiB by default


def test_files_are_read_in_blocks(tmp_path):
    X = rows_of(50, 3)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        chunked = file.create_dataset("chunked", data=X, chunks=(8, 2))
        plain = file.create_dataset("plain", data=X)
        row = file.create_dataset("row", data=X[0])
        for source in (chunked, plain):
            for block_rows in (None, 7):
                np.testing.assert_array_equal(joined(row_blocks(source, block_rows=block_rows)), X)
        np.testing.assert_array_equal(joined(row_blocks(row)), X[:1])
    stored = zarr.array(X, chunks=(8, 3))
    for block_rows in (None, 7):
        np.testing.assert_array_equal(joined(row_blocks(stored, block_rows=block_rows)), X)


@pytest.mark.parametrize(("block_rows", "longest"), [(6, 6), (None, 40)])
def test_no_more_rows_are_read_than_asked_for(monkeypatch, block_rows, longest):
    monkeypatch.setattr("linalgkit._core.streams._BLOCK_BYTES", 47 * 4 * 8)
    source = Disk(rows_of(100), chunks=(20, 4))
    np.testing.assert_array_equal(joined(row_blocks(source, block_rows=block_rows)), rows_of(100))
    assert max(source.reads) == longest  # by default a whole number of chunks
    assert sum(source.reads) == 100


def test_reading_is_lazy():
    source = Disk(rows_of(100), chunks=(10, 4))
    blocks = row_blocks(source, block_rows=10)
    assert source.reads == []
    next(blocks)
    assert source.reads == [10]


def test_iterables_of_blocks_and_rows():
    X = rows_of()
    parts = [X[:2], X[2], X[3:20], X[20:20], X[20:]]
    for source in (parts, tuple(parts), iter(parts), (part for part in parts)):
        np.testing.assert_array_equal(joined(row_blocks(source, block_rows=6)), X)
    assert all(block.shape[0] > 0 for block in row_blocks(parts))
    nested = [scipy.sparse.csr_matrix(X[:3]), scipy.sparse.coo_array(X[3:])]
    np.testing.assert_array_equal(joined(row_blocks(nested)), X)


def test_iterables_of_files_are_read_in_blocks():
    parts = [Disk(rows_of(30), (10, 4)), Disk(rows_of(5), (10, 4))]
    np.testing.assert_array_equal(
        joined(row_blocks(parts, block_rows=7)), np.concatenate([rows_of(30), rows_of(5)])
    )
    assert max(parts[0].reads) == 7


@pytest.mark.parametrize("chunks", [(5, 4), (5, 2), (23, 1)])
def test_dask_arrays_are_computed_chunk_by_chunk(chunks):
    da = pytest.importorskip("dask.array")
    X = rows_of()
    source = da.from_array(X, chunks=chunks)
    np.testing.assert_array_equal(joined(row_blocks(source)), X)
    blocks = list(row_blocks(source, block_rows=3))
    assert max(block.shape[0] for block in blocks) == 3
    np.testing.assert_array_equal(joined(blocks), X)
    np.testing.assert_array_equal(joined(row_blocks(source[2])), X[2:3])
    unknown = source[source[:, 0] > 9]  # number of rows not known in advance
    np.testing.assert_array_equal(joined(row_blocks(unknown)), X[X[:, 0] > 9])


def test_dask_arrays_of_sparse_chunks_stay_sparse():
    da = pytest.importorskip("dask.array")
    X = rows_of()
    source = da.from_array(X, chunks=(6, 4)).map_blocks(scipy.sparse.csr_matrix)
    blocks = list(row_blocks(source, block_rows=4))
    assert all(scipy.sparse.issparse(block) for block in blocks)
    np.testing.assert_array_equal(joined(blocks), X)


def test_frames_and_objects_that_convert_themselves():
    class Frame:
        columns = ("a", "b")

        def to_numpy(self):
            return rows_of(3, 2)

    class Convertible:
        def __array__(self, dtype=None, copy=None):
            return rows_of(3, 2)

    for source in (Frame(), Convertible(), [Convertible()]):
        np.testing.assert_array_equal(joined(row_blocks(source)), rows_of(3, 2))


def test_a_source_without_rows_has_no_blocks(xp):
    assert list(row_blocks(xp.asarray(np.empty((0, 3))))) == []
    assert list(row_blocks([])) == []
    assert list(row_blocks(scipy.sparse.csr_array((0, 3)))) == []


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("bad", ["rows.txt", b"rows", {"a": 1}, {1, 2}, None, 3, object()])
def test_what_holds_no_rows_is_refused_at_once(bad):
    with pytest.raises(TypeError, match="an array is required, got"):
        row_blocks(bad)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_misleading_arrays_are_refused_at_once():
    with pytest.raises(TypeError, match=r"numpy.matrix.*numpy.asarray"):
        row_blocks(np.matrix([[1.0, 2.0]]))
    with pytest.raises(TypeError, match="MaskedArray"):
        row_blocks(np.ma.ones((2, 2)))
    with pytest.raises(TypeError, match="dtype object"):
        row_blocks(np.asarray([[None, 1]]))
    with pytest.raises(TypeError, match=r"known by its products alone.*iterable of blocks"):
        row_blocks(aslinearoperator(np.eye(3)))


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [1.0, 2.0], [[rows_of()]], ["a"], [None]])
def test_lists_of_anything_but_arrays_are_refused(bad):
    with pytest.raises(
        TypeError, match=r"iterable of arrays, got \w+ as item 0 of a list.*asarray"
    ):
        list(row_blocks(bad))


def test_column_counts_are_compared():
    with pytest.raises(ValueError, match=r"have 4 columns as the earlier.*got 3 in block 1"):
        list(row_blocks([rows_of(2, 4), rows_of(2, 3)]))
    with pytest.raises(ValueError, match=r"have 5 columns as the earlier.*got 4 in block 0"):
        list(row_blocks(rows_of(), d=5))
    with pytest.raises(ValueError, match=r"have 4 columns.*got 3"):
        list(row_blocks([rows_of(2, 4), np.empty((0, 3))]))
    with pytest.raises(ValueError, match="at least one column"):
        list(row_blocks(np.empty((3, 0))))


@pytest.mark.parametrize("shape", [(), (2, 2, 2)])
def test_other_numbers_of_axes_are_refused(xp, shape):
    with pytest.raises(ValueError, match=r"2-D blocks \(rows, columns\) or as 1-D rows, got shape"):
        list(row_blocks(xp.asarray(np.ones(shape))))


def test_libraries_and_kinds_are_not_mixed(xp):
    first = xp.asarray(np.ones((2, 3)))
    sparse = scipy.sparse.csr_array(np.ones((2, 3)))
    with pytest.raises(
        TypeError, match=r"one kind, library and device, got dense.*and sparse scipy"
    ):
        list(row_blocks([first, sparse]))
    if xp.name != "numpy":
        with pytest.raises(TypeError, match=r"one kind, library.*numpy on cpu in block 1"):
            list(row_blocks([first, np.ones((2, 3))]))


def test_block_rows_is_checked():
    with pytest.raises(ValueError, match="block_rows must be at least 1, got 0"):
        row_blocks(rows_of(), block_rows=0)


# ------------------------------------------------------------------------------- reiterability


def test_iterators_cannot_be_gone_through_twice(xp):
    X = xp.asarray(rows_of())
    for source in (X, [X], (X,), scipy.sparse.csr_array(rows_of()), Disk(rows_of(), None)):
        assert is_reiterable(source)
    for source in (iter([X]), (x for x in [X]), map(abs, [X]), zip([X], [X], strict=True)):
        assert not is_reiterable(source)


def test_default_blocks_are_of_moderate_size():
    assert default_block_rows(1024) == 1024
    assert default_block_rows(10**9) == 1
    assert default_block_rows(0) > 0


# ---------------------------------------------------------------------------------- RowBuffer


def cut(X, cuts):
    return np.split(X, sorted(cuts))


def blocks_from(parts, size):
    """Copies of the blocks that come out, and of the tail."""
    buffer = RowBuffer(size)
    out = [dense(block).copy() for part in parts for block in buffer.push(part)]
    return out, buffer.tail()


@given(
    size=st.integers(1, 9),
    n=st.integers(0, 40),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_blocks_do_not_depend_on_the_cuts(size, n, data):
    X = rows_of(n, 3)
    cuts = data.draw(st.lists(st.integers(0, n), max_size=12))
    for convert in (np.asarray, scipy.sparse.csr_array, scipy.sparse.csr_matrix):
        out, tail = blocks_from([convert(part) for part in cut(X, cuts)], size)
        assert len(out) == n // size
        for k, block in enumerate(out):
            np.testing.assert_array_equal(block, X[k * size : (k + 1) * size])
        if n % size:
            np.testing.assert_array_equal(dense(tail), X[n - n % size :])
        else:
            assert tail is None


@pytest.mark.parametrize("cuts", [(1, 2, 3, 9), (4, 8), (7, 7, 22), ()])
def test_blocks_on_every_library(xp, cuts):
    for name in xp.dtypes:
        X = rows_of().astype(name) * (1 if name.startswith("f") else 1 - 2j)
        buffer = RowBuffer(4)
        out = [
            xp.to_numpy(block).copy()
            for part in cut(X, cuts)
            for block in buffer.push(xp.asarray(part))
        ]
        assert out[0].dtype == X.dtype
        np.testing.assert_array_equal(np.concatenate(out), X[:20])
        np.testing.assert_array_equal(xp.to_numpy(buffer.tail()), X[20:])


def test_aligned_blocks_are_views():
    X = rows_of(12)
    buffer = RowBuffer(4)
    for part in (X[:8], X[8:]):
        assert all(np.shares_memory(block, X) for block in buffer.push(part))
    assert next(iter(buffer.push(X[:4]))).base is not None
    sparse = scipy.sparse.csr_array(X)
    (block,) = RowBuffer(12).push(sparse)
    assert block is sparse


def test_aligned_pushes_take_no_memory():
    X = np.ones((4096, 64))
    buffer = RowBuffer(256)
    list(buffer.push(X))
    tracemalloc.start()
    for _ in range(10):
        for block in buffer.push(X):
            assert block.shape == (256, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000


def test_seams_use_one_buffer():
    X = np.ones((1000, 64))
    buffer = RowBuffer(256)
    tracemalloc.start()
    for _ in range(20):
        for block in buffer.push(X):
            assert block.shape == (256, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * 256 * 64 * 8


def test_the_callers_rows_may_change_after_the_push():
    X = rows_of(3)
    sparse = scipy.sparse.csr_array(rows_of(3))
    for block in (X, sparse):
        buffer = RowBuffer(5)
        list(buffer.push(block))
        (block.data if scipy.sparse.issparse(block) else block)[:] = -1
        np.testing.assert_array_equal(dense(buffer.tail()), rows_of(3))


def test_the_tail_is_looked_at_without_a_change():
    for convert in (np.asarray, scipy.sparse.csr_array):
        buffer = RowBuffer(4)
        list(buffer.push(convert(rows_of(3))))
        for _ in range(2):
            np.testing.assert_array_equal(dense(buffer.tail()), rows_of(3))
        assert len(buffer) == 3
        (block,) = buffer.push(convert(rows_of(3)))
        np.testing.assert_array_equal(dense(block)[3:], rows_of(1))
        assert len(buffer) == 2
        buffer.clear()
        assert buffer.tail() is None


def test_single_rows_are_cheap():
    """Less than fifty times the copy of a row into an array, for rows of a thousand numbers."""
    X = np.ones((2000, 1000))
    target = np.empty((64, 1000))
    buffer = RowBuffer(64)

    def push():
        for i in range(2000):
            for _ in buffer.push(X[i : i + 1, :]):
                pass

    def copy():
        for i in range(2000):
            target[i % 64 : i % 64 + 1, :] = X[i : i + 1, :]

    def best(function):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(push) < 50 * best(copy)


def test_sparse_rows_one_by_one_stay_sparse_and_small():
    X = scipy.sparse.random_array((300, 10_000), density=1e-3, rng=1, format="csr")
    buffer = RowBuffer(64)
    tracemalloc.start()
    out = [block for i in range(300) for block in buffer.push(X[[i], :])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 10_000 * 8 / 4
    assert all(type(block) is type(X) for block in out)
    np.testing.assert_array_equal(joined([*out, buffer.tail()]), X.toarray())


def test_other_sparse_formats_are_taken():
    X = rows_of(6)
    out, tail = blocks_from([scipy.sparse.csc_matrix(X)], 4)
    np.testing.assert_array_equal(out[0], X[:4])
    np.testing.assert_array_equal(tail.toarray(), X[4:])


def test_misfits_are_refused_and_change_nothing(xp):
    buffer = RowBuffer(4)
    narrow = xp.dtypes[0]
    list(buffer.push(xp.asarray(rows_of(3), dtype=narrow)))
    with pytest.raises(ValueError, match="have 4 columns as the rows held have, got 3"):
        buffer.push(xp.asarray(rows_of(2, 3), dtype=narrow))
    with pytest.raises(TypeError, match=r"have dtype .*float32.*got .*complex64"):
        buffer.push(xp.asarray(rows_of(2), dtype="complex64"))
    with pytest.raises(TypeError, match="one kind, library and device, got dense"):
        buffer.push(scipy.sparse.csr_array(rows_of(2)))
    with pytest.raises(ValueError, match=r"a block must be 2-D.*got shape \(4,\)"):
        buffer.push(xp.asarray(np.ones(4), dtype=narrow))
    if xp.name != "numpy":
        with pytest.raises(TypeError, match="one kind, library and device"):
            buffer.push(rows_of(2))
    np.testing.assert_array_equal(xp.to_numpy(buffer.tail()), rows_of(3))


def test_length_of_blocks_is_checked():
    with pytest.raises(ValueError, match="block_rows must be at least 1, got 0"):
        RowBuffer(0)


def test_an_empty_buffer_is_a_buffer():
    buffer = RowBuffer(3)
    assert buffer
    assert len(buffer) == 0
    assert buffer.tail() is None
    buffer.clear()
    assert "block_rows=3" in repr(buffer)
    assert list(buffer.push(np.empty((0, 2)))) == []


@pytest.mark.parametrize("held", [0, 3])
def test_dense_state_resumes_bitwise(xp, held):
    for name in xp.dtypes:
        X = xp.asarray(rows_of().astype(name))
        buffer = RowBuffer(4)
        if held:
            list(buffer.push(X[:held, :]))
        state = buffer.to_state()
        assert all(isinstance(v, (int, str, np.ndarray)) for v in state.values())
        again = RowBuffer.from_state(state, xp=xp.xp, device=xp.device)
        assert len(again) == held
        for first, second in zip(buffer.push(X), again.push(X), strict=True):
            np.testing.assert_array_equal(xp.to_numpy(first), xp.to_numpy(second))


@pytest.mark.parametrize("held", [0, 3])
def test_sparse_state_resumes_bitwise(held):
    X = scipy.sparse.csr_array(rows_of())
    buffer = RowBuffer(4)
    list(buffer.push(X[:4]))
    list(buffer.push(X[:held]))
    state = buffer.to_state()
    json.dumps([v for v in state.values() if not isinstance(v, np.ndarray)])
    again = RowBuffer.from_state(state, xp=np)
    assert len(again) == held
    for first, second in zip(buffer.push(X), again.push(X), strict=True):
        np.testing.assert_array_equal(first.toarray(), second.toarray())


def test_state_is_a_copy_and_a_damaged_one_is_refused():
    buffer = RowBuffer(4)
    list(buffer.push(rows_of(3)))
    state = buffer.to_state()
    state["rows"][:] = 0
    np.testing.assert_array_equal(buffer.tail(), rows_of(3))
    with pytest.raises(ValueError, match="fewer rows than a block"):
        RowBuffer.from_state({**state, "block_rows": 2}, xp=np)


def test_buffers_can_be_pickled():
    for convert in (np.asarray, scipy.sparse.csr_array):
        buffer = RowBuffer(4)
        list(buffer.push(convert(rows_of(3))))
        again = pickle.loads(pickle.dumps(buffer))
        np.testing.assert_array_equal(dense(again.tail()), rows_of(3))


# -------------------------------------------------------------------------------- tree_reduce


@pytest.mark.parametrize("fanin", [2, 3, 8])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 64, 65])
def test_trees_merge_all_items_in_order(n, fanin):
    words = [f"{i}." for i in range(n)]
    assert tree_reduce(iter(words), lambda a, b: a + b, fanin) == "".join(words)


def test_trees_are_shallow_and_hold_few_items():
    alive, most = 0, 0

    def leaves(n):
        nonlocal alive, most
        for _ in range(n):
            alive += 1
            most = max(most, alive)
            yield 0

    def merge(a, b):
        nonlocal alive
        alive -= 1
        return max(a, b) + 1

    depth = tree_reduce(leaves(1024), merge)
    assert depth == 10
    assert most <= 11
    assert functools.reduce(lambda a, b: max(a, b) + 1, [0] * 1024) == 1023  # a chain is not


def test_trees_check_their_arguments():
    with pytest.raises(ValueError, match="at least one item"):
        tree_reduce([], max)
    with pytest.raises(ValueError, match="fanin must be at least 2, got 1"):
        tree_reduce([1], max, fanin=1)
