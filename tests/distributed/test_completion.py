"""Sharded completion: the bits of the serial function, from any parts."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from linalgkit import AccuracyWarning, completion
from linalgkit.distributed import _completion, complete_matrix, fit
from linalgkit.distributed._parts import as_parts
from tests.conftest import BACKENDS, Backend

ROW_CUTS = (0, 70, 75, 160)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let as many shards be made as there are parts, of however few entries."""
    monkeypatch.setattr(_completion, "_SHARD_ENTRIES", 1)


def entries_of(seed: int, dtype: str = "float64", noise: float = 0.3) -> Any:
    """Return noisy entries of a matrix of rank 3, 160 x 90, as CSR."""
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal((size, 3)) for size in (160, 90)]
    if dtype.startswith("complex"):
        factors = [x + 1j * rng.standard_normal(x.shape) for x in factors]
    A = factors[0] @ factors[1].T + noise * rng.standard_normal((160, 90))
    seen = rng.random(A.shape) < 0.35
    return sparse.csr_array(np.where(seen, A, 0.0).astype(dtype))


def row_blocks(A: Any) -> list[Any]:
    return [dask.delayed(A[a:b, :]) for a, b in itertools.pairwise(ROW_CUTS)]


def triples(A: Any, n_parts: int = 3, seed: int = 0, put: Any = lambda x: x) -> list[Any]:
    coo = A.tocoo()
    order = np.random.default_rng(seed).permutation(coo.nnz)
    cut = [order[i::n_parts] for i in range(n_parts)]
    return [
        dask.delayed((put(coo.row[p]), put(coo.col[p]), put(coo.data[p]), A.shape)) for p in cut
    ]


def assert_same(found: Any, expected: Any) -> None:
    assert found.status == expected.status
    for name in ("U", "V", "singular_values", "unidentifiable_rows", "unidentifiable_columns"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    for name in ("residual_norm", "noise_estimate", "sweeps", "loss_history", "alpha"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize("cut", [row_blocks, triples], ids=["rows", "triples"])
@pytest.mark.parametrize(
    "options",
    [
        {"rank": 3, "tol": 1e-3},
        {"shrink": True, "max_rank": 6, "tol": 1e-2},
        {"rank": 3, "loss": "huber", "tol": 1e-2},
        {"rank": 3, "alpha": 1.0, "solver": "direct", "tol": 1e-3},
        {"rank": 3, "alpha": 0.5, "init": "random", "tol": 1e-3},
    ],
    ids=lambda options: "-".join(options),
)
def test_same_bits_as_the_serial_function(options: dict[str, Any], cut: Any) -> None:
    A = entries_of(0)
    expected = completion.complete_matrix(A, **options, rng=0)
    assert_same(complete_matrix(cut(A), **options, rng=0), expected)


@pytest.mark.parametrize("n_shards", [1, 2, 7])
def test_number_of_shards_changes_no_bit(n_shards: int) -> None:
    A = entries_of(1)
    expected = completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3)
    assert_same(
        complete_matrix(triples(A), 3, alpha=1.0, rng=0, tol=1e-3, n_shards=n_shards), expected
    )


@pytest.mark.parametrize("n_shards", [1, 2, 5])
def test_blocks_of_rows_are_joined_to_as_many_shards(n_shards: int) -> None:
    A = entries_of(1)
    blocks = [A[a : a + 10] for a in range(0, 160, 10)]
    observed = _completion.deal(as_parts([A[:0], *blocks, A[:0]]), None, n_shards)
    assert len(observed.rows.shards) == len(observed.columns.shards) == n_shards
    assert set(observed.rows.cuts) <= set(range(0, 161, 10))
    options = {"rank": 3, "alpha": 1.0, "rng": 0, "tol": 1e-3}
    found = complete_matrix([A[:0], *blocks], **options, n_shards=n_shards)
    assert_same(found, completion.complete_matrix(A, **options))


def test_few_entries_make_few_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    A = entries_of(1)
    monkeypatch.setattr(_completion, "_SHARD_ENTRIES", A.nnz // 3)
    observed = _completion.deal(as_parts([A[i : i + 1] for i in range(160)]), None, None)
    assert len(observed.rows.shards) == len(observed.columns.shards) == 3
    sizes = np.diff(np.asarray(observed.rows.indptr)[observed.rows.cuts])
    assert sizes.max() < 1.2 * sizes.min()


@pytest.mark.parametrize("options", [{"center": True}, {"bias": True}], ids=["center", "bias"])
def test_offsets_differ_by_the_rounding_of_one_sum(options: dict[str, bool]) -> None:
    A = entries_of(2)
    found = complete_matrix(row_blocks(A), 3, alpha=1.0, rng=0, tol=1e-3, **options)
    expected = completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3, **options)
    assert np.max(np.abs(found.block() - expected.block())) < 1e-11


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_precision_and_complex_numbers_are_kept(dtype: str) -> None:
    A = entries_of(3, dtype)
    found = complete_matrix(row_blocks(A), 3, alpha=1.0, rng=0, tol=1e-3)
    assert found.U.dtype == dtype
    assert_same(found, completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3))


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_scale_and_weights(scale: float) -> None:
    A = entries_of(4)
    A.data *= scale
    rng = np.random.default_rng(9)
    data = rng.uniform(0.1, 3.0, A.nnz) * (rng.random(A.nnz) < 0.9)  # some are left out
    W = sparse.csr_array((data, A.indices, A.indptr), shape=A.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        found = complete_matrix(
            row_blocks(A), 3, weights=row_blocks(W), alpha=scale, rng=0, tol=1e-4
        )
        expected = completion.complete_matrix(A, 3, weights=W, alpha=scale, rng=0, tol=1e-4)
    assert_same(found, expected)


def test_dense_rows_of_a_dask_array() -> None:
    A = entries_of(5).toarray()
    A[A == 0.0] = np.nan
    found = complete_matrix(da.from_array(A, chunks=(50, 40)), 3, alpha=1.0, rng=0, tol=1e-3)
    assert_same(found, completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3))


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b.name != "jax"], ids=str)
def test_other_libraries(backend: Backend) -> None:
    """JAX would compile each shape of each shard; its kernels have tests of their own."""
    A = entries_of(6)
    options = {"rank": 3, "alpha": 1.0, "rng": 0, "tol": 1e-4}
    found = complete_matrix(triples(A, 2, put=backend.asarray), **options)
    expected = completion.complete_matrix(A, **options)
    assert type(found.U) is type(backend.asarray([1.0]))
    close = 1e-8 if backend.has_float64 else 1e-3
    assert np.max(np.abs(backend.to_numpy(found.block()) - expected.block())) < close


def test_intervals_and_saving_bring_the_pattern_here(tmp_path: Any) -> None:
    A = entries_of(7)
    found = complete_matrix(row_blocks(A), 3, alpha=1.0, rng=0, tol=1e-3)
    expected = completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3)
    for a, b in zip(found.interval([0, 3], [2, 5]), expected.interval([0, 3], [2, 5]), strict=True):
        assert np.array_equal(a, b)
    found.save(tmp_path / "found.npz")
    again = completion.CompletionResult.load(tmp_path / "found.npz")
    assert np.array_equal(again.pattern().csr()[1], expected.pattern().csr()[1])


def test_unconnected_parts_and_lost_lines_are_told() -> None:
    A = entries_of(8, noise=0.0).toarray()
    A[:80, 45:] = A[80:, :45] = 0.0
    A[4, :] = 0.0
    A = sparse.csr_array(A)
    with pytest.warns(AccuracyWarning, match="2 unconnected parts"):
        found = complete_matrix(row_blocks(A), 3, rng=0)
    assert found.n_connected_components == 2
    assert 4 in found.unidentifiable_rows


def test_parts_without_entries() -> None:
    A = entries_of(9).toarray()
    A[70:75, :] = 0.0
    A = sparse.csr_array(A)
    found = complete_matrix(row_blocks(A), 3, alpha=1.0, rng=0, tol=1e-3)
    assert_same(found, completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3))


def test_estimator_collects_the_entries_of_all_parts() -> None:
    A = entries_of(10)
    model = completion.MatrixCompletion(3, alpha=1.0, rng=0, tol=1e-3)
    found = fit(model, triples(A)).result()
    coo = A.tocoo()
    whole = completion.MatrixCompletion(3, alpha=1.0, rng=0, tol=1e-3)
    whole.partial_fit(coo.row, coo.col, coo.data, A.shape)
    assert_same(found, whole.result())
    assert not hasattr(model, "n_features_in_")


# ------------------------------------------------------------------------------------ errors


def test_an_entry_in_two_parts_is_refused() -> None:
    parts = [
        dask.delayed(([0, 4], [1, 2], [1.0, 2.0], (6, 5))),
        dask.delayed(([4, 5], [2, 0], [2.0, 3.0], (6, 5))),
    ]
    with pytest.raises(ValueError, match=r"once, got a duplicate at \(row, column\) = \(4, 2\)"):
        complete_matrix(parts, 1, rng=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 2, "validation": 0.1}, "validation must be None for entries in shards"),
        ({}, "rank must be given"),
        ({"rank": 2, "alpha": None}, "alpha must be given"),
        ({"rank": 2, "solver": "scaledgd"}, "solver must be one of"),
        ({"rank": 2, "n_shards": 0}, "n_shards must be"),
        ({"rank": 91}, "rank must be between 1 and 90"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_options_that_shards_do_not_have_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        complete_matrix(row_blocks(entries_of(0)), **options)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="n_threads: not an option"):
        complete_matrix(row_blocks(entries_of(0)), 2, n_threads=2)


def test_parts_that_do_not_fit_are_refused() -> None:
    A = entries_of(0)
    with pytest.raises(ValueError, match=r"must have the same columns, got the shape \(160, 40\)"):
        complete_matrix([dask.delayed(A), dask.delayed(A[:, :40])], 2)
    with pytest.raises(TypeError, match="must be of one kind, got sparse and triples"):
        complete_matrix([dask.delayed(A), *triples(A)], 2)
    with pytest.raises(TypeError, match="one dtype, got float64 and float32 in part 1"):
        complete_matrix([dask.delayed(A), dask.delayed(A.astype(np.float32))], 2)
    with pytest.raises(ValueError, match="weights must have the 3 parts of A, got 1 parts"):
        complete_matrix(row_blocks(A), 2, weights=[dask.delayed(A)])
    with pytest.raises(ValueError, match="must have an observed entry"):
        complete_matrix([dask.delayed(sparse.csr_array((4, 3)))], 2)
    A.data[5] = np.nan
    with pytest.raises(ValueError, match="part 0 of A: A must be finite where it is observed"):
        complete_matrix(row_blocks(A), 2)


def test_parts_for_the_estimator_must_be_triples() -> None:
    with pytest.raises(TypeError, match="must be tuples"):
        fit(completion.MatrixCompletion(2), row_blocks(entries_of(0)))
    with pytest.raises(TypeError, match="y must be None"):
        fit(completion.MatrixCompletion(2), triples(entries_of(0)), y=np.ones(3))


# ----------------------------------------------------------------------------------- cluster


@pytest.mark.slow
def test_processes_give_the_same_bits(cluster: Any) -> None:
    A = entries_of(11)
    found = complete_matrix(row_blocks(A), 3, alpha=1.0, rng=0, tol=1e-3)
    assert_same(found, completion.complete_matrix(A, 3, alpha=1.0, rng=0, tol=1e-3))
