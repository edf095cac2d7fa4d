"""What may be passed as rows and weights, and how much memory taking them in costs."""

from __future__ import annotations

import copy
import itertools
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from linalgkit._core.array import numpy_namespace
from linalgkit._core.qr import qr_positive
from linalgkit._core.sparse import SparseOperator
from linalgkit.datasets import sorted_by_projection, spiked_stream
from linalgkit.streaming import StreamingEigh, top_eigenvector
from linalgkit.streaming._blocks import RowBlock, StackedRows, shifted_rows
from linalgkit.streaming._inputs import in_pieces
from linalgkit.streaming._preprocess import Space

pytestmark = pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")

METHODS = ("gram", "portfolio", "block-power", "oja", "frequent-directions", "nystrom")
MIB = 2**20


def rows(n: int = 400, d: int = 8, seed: int = 0) -> np.ndarray[Any, Any]:
    X = np.random.default_rng(seed).standard_normal((n, d))
    return np.asarray(X * np.geomspace(4.0, 1.0, d))


def peak_of(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------ memory of a source

KINDS: dict[str, tuple[Callable[[np.ndarray[Any, Any]], Any], dict[str, Any]]] = {
    "uint8": (lambda X: X, {}),
    "bool": (lambda X: X > 127, {}),
    "float16": (lambda X: X.astype("f2"), {}),
    "other byte order": (lambda X: X.astype(">f4"), {}),
    "wider dtype": (lambda X: X.astype("f4"), {"dtype": "float64"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["fit", "partial_fit", "refine"])
def test_converting_a_source_costs_memory_that_does_not_grow_with_it(kind, call):
    make, options = KINDS[kind]
    whole = np.random.default_rng(0).integers(0, 256, (120000, 60), dtype=np.uint8)
    X = make(whole)
    StreamingEigh(method="gram", **options).fit(X[:9000])  # what is compiled but once
    model = StreamingEigh(method="gram", **options)
    if call == "refine":
        model.fit(X)
    peak = peak_of(lambda: getattr(model, call)(X))
    working = 4 if kind in ("float16", "other byte order") else 8
    assert peak < 0.8 * working * X.size  # not even once the source in the working dtype
    assert model.n_samples_seen_ == 120000


def test_a_file_of_bytes_is_read_in_blocks(tmp_path):
    file = np.memmap(tmp_path / "rows.bin", dtype="u1", mode="w+", shape=(100000, 100))
    file[:] = np.random.default_rng(0).integers(0, 256, (100000, 100), dtype=np.uint8)
    peaks = [peak_of(lambda n=n: StreamingEigh().fit(file[:n])) for n in (20000, 100000)]
    assert peaks[1] < 1.1 * peaks[0]


def test_sparse_rows_are_converted_piece_by_piece():
    X = scipy.sparse.random_array((40000, 200), density=0.4, rng=0).tocsr().astype("f4")
    space = Space(numpy_namespace(), "cpu", np.dtype("f8"), 200)
    pieces = [(piece.nnz, piece.dtype) for piece, _ in in_pieces(X, None, space)]
    assert sum(nnz for nnz, _ in pieces) == X.nnz
    assert max(nnz for nnz, _ in pieces) < 1.1 * MIB
    assert {dtype for _, dtype in pieces} == {np.dtype("f8")}
    assert next(piece for piece, _ in in_pieces(X.astype("f8"), None, space)).nnz == X.nnz


@pytest.mark.parametrize("method", METHODS)
def test_cutting_a_source_for_conversion_changes_no_bit(method):
    X = np.random.default_rng(1).integers(0, 256, (10000, 120), dtype=np.uint8)
    whole = StreamingEigh(2, method=method, rng=0).fit(X).result()
    parts = StreamingEigh(2, method=method, rng=0).fit(iter([X[:1], X[1:7000], X[7000:]]))
    np.testing.assert_array_equal(whole.eigenvectors, parts.result().eigenvectors)
    np.testing.assert_array_equal(whole.eigenvalues, parts.result().eigenvalues)


def test_weights_follow_the_rows_through_the_conversion():
    X = np.random.default_rng(1).integers(0, 9, (30000, 60), dtype=np.uint8)
    w = np.random.default_rng(2).uniform(size=30000)
    found = StreamingEigh(3, method="gram").partial_fit(X, sample_weight=w).result()
    A = X.astype(float)
    expected = np.linalg.eigvalsh((A * w[:, None]).T @ A)[::-1]
    np.testing.assert_allclose(found.eigenvalues, expected[:3], rtol=1e-12)


def test_refining_scaled_rows_makes_no_scaled_copy_of_the_source():
    X = rows(60000, 100) * 1e-150
    model = StreamingEigh(method="gram").fit(X)
    assert peak_of(lambda: model.refine(X)) < 24 * MIB


# ------------------------------------------------------------- storage of the centred Gram matrix


def centred_operator(kind: str, d: int) -> Any:
    rng = np.random.default_rng(0)
    if kind == "dense":
        return RowBlock(rng.standard_normal((20, d)))
    if kind == "narrow":
        return RowBlock(rng.standard_normal((20, d)).astype("f4"))
    S = scipy.sparse.random_array((20, d), density=0.02, rng=rng).tocsr()
    if kind == "filled":  # half of the columns are stored in full
        S = scipy.sparse.hstack([S[:, : d // 2], scipy.sparse.csr_array(np.ones((20, d - d // 2)))])
    return shifted_rows(SparseOperator(S.tocsr()), np.ones(20), rng.standard_normal(d))


@pytest.mark.parametrize("kind", ["dense", "narrow", "sparse", "filled"])
def test_adding_a_centred_block_takes_one_more_matrix(kind):
    d = 900
    block = centred_operator(kind, d)
    stacked = StackedRows([block, RowBlock(np.ones((1, d), dtype=block.dtype))])
    S = np.zeros((d, d))
    peak = peak_of(lambda: stacked.add_gram(S))
    assert peak < 1.15 * 8 * d * d + 4 * MIB


@pytest.mark.parametrize("kind", ["dense", "narrow", "sparse", "filled"])
def test_the_gram_matrix_added_is_that_of_the_rows(kind):
    block = centred_operator(kind, 90)
    stacked = StackedRows([block, RowBlock(np.ones((1, 90), dtype=block.dtype))])
    A = stacked.dense_rows(range(21)).astype(float)
    S = np.diag(np.arange(90.0))
    np.testing.assert_allclose(stacked.add_gram(S.copy()), S + A.T @ A, atol=1e-5)
    np.testing.assert_allclose(stacked.gram(), A.T @ A, atol=1e-5)


def test_a_complex_shifted_block_adds_its_own_gram_matrix_and_not_the_conjugate():
    rng = np.random.default_rng(0)
    S = scipy.sparse.random_array((20, 30), density=0.2, rng=rng).tocsr()
    S = S.astype(complex) * (1 + 2j)
    shift = rng.standard_normal(30) + 1j * rng.standard_normal(30)
    scale = rng.uniform(size=20).astype(complex)
    block = shifted_rows(SparseOperator(S), scale, shift)
    A = block.dense_rows(range(20))
    np.testing.assert_allclose(block.gram(), A.conj().T @ A, atol=1e-12)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_storage_of_a_centred_stream_is_two_matrices_and_the_block(is_sparse):
    d = 1000
    X = np.random.default_rng(0).standard_normal((2000, d))
    source = scipy.sparse.random_array((2000, d), density=0.01, rng=0).tocsr() if is_sparse else X
    model = StreamingEigh(center=True, method="gram")
    model.fit(source[:300])
    block = 524 * d
    assert peak_of(lambda: model.fit(source)) < 8 * (2 * d * d + 12 * d + 3 * block) * 1.1


# --------------------------------------------------------------------------------- autograd


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_tensors_that_require_grad_are_streamed_without_their_graph(method, call):
    torch = pytest.importorskip("torch")
    X = torch.asarray(rows()).requires_grad_()
    w = torch.ones(400, dtype=torch.float64, requires_grad=True)
    model = getattr(StreamingEigh(2, method=method, rng=0), call)(X * 1.0)
    plain = getattr(StreamingEigh(2, method=method, rng=0), call)(X.detach())
    found = model.result()
    assert not found.eigenvectors.requires_grad
    assert torch.equal(found.eigenvectors, plain.result().eigenvectors)
    scores = model.transform(X)
    assert not scores.requires_grad
    assert not model.inverse_transform(scores.requires_grad_()).requires_grad
    assert not model.refine(X).result().eigenvectors.requires_grad
    model.partial_fit(X, sample_weight=w)
    assert not model.result().eigenvectors.requires_grad


# --------------------------------------------------------------------- numbers near the edges


@pytest.mark.parametrize("scale", [1e-155, 1e-158, 1e-160, 1e-162])
@pytest.mark.parametrize("method", METHODS)
def test_complex_rows_that_vanish_beside_ordinary_ones_are_no_error(method, scale):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((2000, 6)) + 1j * rng.standard_normal((2000, 6))
    A[:1024] *= scale
    found = StreamingEigh(2, method=method, rng=0).partial_fit(A).result()
    assert np.isfinite(found.eigenvectors).all()
    assert np.isfinite(found.eigenvalues).all()


def test_the_phase_of_a_denormal_number_is_a_phase():
    tiny = np.nextafter(0.0, 1.0)
    A = np.diag(np.asarray([1.0, 1e-310j, -1e-320, tiny * (1 + 1j), 0.0]))
    Q, R = qr_positive(A, numpy_namespace())
    assert np.isfinite(Q).all()
    np.testing.assert_allclose(np.abs(np.diag(Q)), 1.0, rtol=1e-10)
    assert (np.diag(R).real >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_forgotten_down_to_a_denormal_weight_is_no_error(method):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4100, 6)) + 1j * rng.standard_normal((4100, 6)) + 3.0
    model = StreamingEigh(center=True, forgetting=0.5, method=method, rng=0)
    model.partial_fit(A, sample_weight=rng.uniform(size=4100))
    assert np.isfinite(model.result().eigenvectors).all()
    w = 0.5 ** np.arange(60)
    mean = (A[::-1][:60] * w[:, None]).sum(axis=0) / w.sum()
    unweighted = StreamingEigh(center=True, forgetting=0.5, method=method, rng=0).fit(A)
    np.testing.assert_allclose(unweighted.mean_, mean, rtol=1e-12)


def test_a_mean_survives_blocks_without_weight():
    A = rows(5000, 6) + 3.0
    model = StreamingEigh(center=True, forgetting=0.75, method="gram").partial_fit(A[:904])
    kept = model.mean_
    model.partial_fit(A[904:], sample_weight=np.zeros(4096))
    assert np.isfinite(model.mean_).all()
    assert np.isfinite(kept).all()


# ----------------------------------------------------------------------------------- weights


def test_weights_whose_sum_overflows_are_refused_and_nothing_changes():
    model = StreamingEigh(center=True, method="gram").partial_fit(rows(100))
    for w in (np.full(100, 1e308), np.full(100, 1e302)):
        with pytest.raises(ValueError, match=r"sample_weight must add up to at most .* in a call"):
            model.partial_fit(rows(100), sample_weight=w)
    assert model.n_samples_seen_ == 100
    assert np.isfinite(model.mean_).all()


def test_weights_whose_sum_over_many_calls_would_overflow_are_refused_in_time():
    model = StreamingEigh(center=True, method="gram")
    X, w = rows(4096) * 1e-9, np.full(4096, 5e299)
    model.partial_fit(X, sample_weight=w)
    for _ in range(15):
        model.merge(copy.deepcopy(model))
    with pytest.raises(ValueError, match=r"all weights to a finite number, got .* after"):
        model.partial_fit(X, sample_weight=w)
    assert np.isfinite(model.mean_).all()
    assert np.isfinite(model.result().eigenvectors).all()


@pytest.mark.parametrize("method", METHODS)
def test_weights_just_below_the_bound_give_the_same_axes(method):
    plain = StreamingEigh(center=True, method=method, rng=0)
    heavy = StreamingEigh(center=True, method=method, rng=0)
    plain.partial_fit(rows(1200), sample_weight=np.ones(1200))
    heavy.partial_fit(rows(1200), sample_weight=np.full(1200, 2.0**940))
    np.testing.assert_allclose(heavy.result().eigenvectors, plain.result().eigenvectors, atol=1e-10)
    np.testing.assert_allclose(heavy.mean_, plain.mean_, rtol=1e-12)


def test_weights_that_vanish_in_the_precision_of_the_rows_are_refused():
    X = rows(4).astype("f4")
    with pytest.raises(ValueError, match=r"must be 0 or at least 1\.18e-38.*float32.*1e-60.*row 1"):
        StreamingEigh().partial_fit(X, sample_weight=np.asarray([1.0, 1e-60, 0.0, 1e-50]))
    StreamingEigh().partial_fit(X, sample_weight=np.asarray([1.0, 1e-30, 0.0, 1.0]))


@pytest.mark.parametrize("weight", [2.0, 2, "balanced", ["a"] * 4, {"a": 1}, np.full(4, None)])
def test_a_weight_that_is_no_array_is_refused_by_its_name(weight):
    with pytest.raises((TypeError, ValueError), match="sample_weight must"):
        StreamingEigh().partial_fit(rows(4), sample_weight=weight)


# ----------------------------------------------------------------------------------- sources


def test_a_loader_of_batches_is_an_iterable_of_blocks():
    torch = pytest.importorskip("torch")
    X = torch.asarray(rows())
    loader = torch.utils.data.DataLoader(X, batch_size=64)
    expected = StreamingEigh(2).fit(X).result().eigenvectors
    model = StreamingEigh(2).fit(loader)
    assert torch.equal(model.result().eigenvectors, expected)
    assert model.refine(loader).n_samples_seen_ == 400
    with pytest.raises(TypeError, match="DataLoader"):
        StreamingEigh().partial_fit(loader)


def test_lists_of_dataframes_are_blocks():
    pd = pytest.importorskip("pandas")
    X = rows()
    frames = [pd.DataFrame(part) for part in np.split(X, 4)]
    expected = StreamingEigh(2).fit(X).result().eigenvectors
    for source in (frames, tuple(frames), iter(frames)):
        np.testing.assert_array_equal(StreamingEigh(2).fit(source).result().eigenvectors, expected)


def test_lists_of_files_are_blocks(tmp_path):
    h5py = pytest.importorskip("h5py")
    X = rows()
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        parts = [file.create_dataset(f"{i}", data=X[i::2]) for i in range(2)]
        found = StreamingEigh(2).fit(parts).result().eigenvectors
    expected = StreamingEigh(2).fit(np.concatenate([X[::2], X[1::2]])).result().eigenvectors
    np.testing.assert_array_equal(found, expected)


def test_lists_of_numbers_are_still_one_table():
    table = [[np.float64(1.0), 2.0], [3.0, np.float64(4.0)], [5.0, 7.0]]
    assert StreamingEigh().fit(table).n_samples_seen_ == 3


def test_one_row_is_a_source_but_for_fit():
    row = rows(1)[0]
    found = top_eigenvector(row)
    assert found.n_rows == 1
    np.testing.assert_allclose(np.abs(found.eigenvectors[:, 0]), np.abs(row) / np.linalg.norm(row))
    with pytest.raises(ValueError, match="Reshape your data"):
        StreamingEigh().fit(row)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_tensors_are_refused_with_the_way_out():
    torch = pytest.importorskip("torch")
    X = torch.asarray(rows())
    for tensor in (X.to_sparse(), X.to_sparse_csr()):
        calls = [StreamingEigh().fit, StreamingEigh().partial_fit, top_eigenvector]
        calls.append(StreamingEigh().fit(X).refine)
        for call in calls:
            with pytest.raises(TypeError, match=r"to_dense\(\).*scipy\.sparse"):
                call(tensor)


def test_extended_precision_is_refused_in_every_block():
    X = rows(10).astype(np.longdouble)
    if X.dtype.itemsize == 8:
        pytest.skip("longdouble is float64 here")
    for model in (StreamingEigh(), StreamingEigh().partial_fit(rows(10))):
        with pytest.raises(TypeError, match=r"longdouble|float128"):
            model.partial_fit(X)


# ------------------------------------------------------------------------------------ refine


CHANGES: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "reversed columns": lambda X: X[:, ::-1].copy(),
    "swapped columns": lambda X: X[:, [1, 0, *range(2, 8)]],
    "rotated": lambda X: X @ np.linalg.qr(rows(8, 8, 5))[0],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("center", [False, True])
def test_rows_with_other_columns_are_not_those_that_the_exact_method_saw(change, center):
    X = rows(3000)
    model = StreamingEigh(2, method="gram", center=center).fit(X)
    with pytest.raises(ValueError, match="must hold the rows that were streamed"):
        model.refine(CHANGES[change](X))
    model.refine(X[::-1])  # the same rows in another order are the same rows


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_the_rows_themselves_are_always_accepted(dtype, mean):
    for seed, center in itertools.product(range(3), (False, True)):
        X = (rows(2000, 30, seed) + mean).astype(dtype)
        model = StreamingEigh(2, method="gram", center=center, gap_warn=0).fit(X)
        assert model.refine(X).result().residual < 1e-3


# ------------------------------------------------------------------------------------- state


def test_an_integer_seed_of_numpy_survives_saving(tmp_path):
    model = StreamingEigh(rng=np.int64(7)).fit(rows())
    model.save(tmp_path / "state.npz")
    loaded = StreamingEigh.load(tmp_path / "state.npz")
    assert type(loaded.rng) is int
    assert loaded.rng == 7


def test_a_spiked_stream_can_be_pickled():
    stream = spiked_stream(1000, 6, 4.0, block_rows=300, rng=0)
    twin = pickle.loads(pickle.dumps(stream))
    for a, b in zip(stream, twin, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(stream.V, twin.V)


def test_rows_that_cannot_be_ordered_are_refused():
    X = rows(10)
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="X must not contain NaN"):
        sorted_by_projection(bad)
    with pytest.raises(ValueError, match="v must not contain NaN"):
        sorted_by_projection(X, np.full(8, np.nan))
