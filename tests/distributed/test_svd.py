"""Singular value decompositions in parts: the bits and the account of the serial tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from linalgkit import svd
from linalgkit._core.streams import tree_reduce
from linalgkit.distributed import fit, tree_svd
from linalgkit.distributed._graph import computed, reduced, task
from linalgkit.svd import IncrementalSVD
from tests.conftest import BACKENDS

M, N, RANK = 40, 170, 5


def matrix(*, is_complex: bool = False) -> np.ndarray:
    """Return a matrix with singular values that fall by a tenth each."""
    rng = np.random.default_rng(0)
    shapes = ((M, M), (N, M))
    parts = [rng.standard_normal(shape) for shape in shapes]
    if is_complex:
        parts = [part + 1j * rng.standard_normal(part.shape) for part in parts]
    U, V = (np.linalg.qr(part)[0] for part in parts)
    return (U * 0.9 ** np.arange(M)) @ V.conj().T


def column_blocks(A: Any, width: int = 10) -> list[Any]:
    return [A[:, j : j + width] for j in range(0, A.shape[1], width)]


def assert_same_bits(found: Any, expected: Any) -> None:
    for name in ("U", "s", "Vh"):
        mine, its = getattr(found, name), getattr(expected, name)
        assert (mine is None) == (its is None)
        assert mine is None or np.array_equal(mine, its), name
    for name in ("error_fro", "error_kind", "norm_fro", "rank"):
        assert getattr(found, name) == getattr(expected, name), name
    pairs = zip(found.sigma_bounds(), expected.sigma_bounds(), strict=True)
    assert all(np.array_equal(mine, its) for mine, its in pairs)


@pytest.mark.parametrize("fanin", [2, 3, 8])
def test_the_tree_of_the_graph_is_that_of_the_serial_function(fanin: int) -> None:
    for n in (*range(1, 13), 16, 17, 26, 27, 28):
        names = [f"{k}." for k in range(n)]

        def pair(a: str, b: str) -> str:
            return f"({a}{b})"

        leaves = [task("name", str, name) for name in names]
        assert computed(reduced("name", pair, leaves, fanin)) == tree_reduce(names, pair, fanin)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fanin": 3, "compute_v": True},
        {"truncation": "frequent-directions"},
        {"center": True},
        {"method": "qr", "n_oversamples": 0},
        {"rank": None, "tol": 0.05, "tol_mode": "absolute", "fanin": 2},
        {"inner_product": np.linspace(1.0, 2.0, M)},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_same_bits_and_enclosures_as_the_serial_tree(options: dict[str, Any]) -> None:
    A = matrix()
    options = {"rank": RANK, **options}
    expected = svd.tree_svd(column_blocks(A), **options)
    found = tree_svd(da.from_array(A, chunks=(13, 10)), **options)
    assert_same_bits(found, expected)


@pytest.mark.parametrize("is_complex", [False, True])
def test_enclosures_hold_the_singular_values(is_complex: bool) -> None:
    A = matrix(is_complex=is_complex)
    found = tree_svd([dask.delayed(block) for block in column_blocks(A, 7)], RANK, fanin=3)
    lower, upper = found.sigma_bounds()
    exact = np.linalg.svd(A)[1][:RANK]
    slack = 1e-12 * exact[0]
    assert np.all(lower <= exact + slack)
    assert np.all(exact <= upper + slack)
    left = np.linalg.norm(A - found.U @ (found.U.conj().T @ A))
    assert left <= found.error_fro * (1 + 1e-12)  # the best right factor does no worse


def test_an_absolute_tolerance_is_met_by_all_parts_together() -> None:
    A = matrix()
    found = tree_svd(column_blocks(A), tol=0.3, tol_mode="absolute", fanin=2)
    U = found.U
    assert np.linalg.norm(A - U @ (U.T @ A)) <= found.error_fro <= 0.3


def test_files_and_sparse_blocks(tmp_path: Path) -> None:
    A = np.where(np.abs(matrix()) > 0.02, matrix(), 0.0)
    np.save(tmp_path / "left.npy", A[:, :90])
    sparse.save_npz(tmp_path / "right.npz", sparse.csc_array(A[:, 90:]))
    dense = tree_svd([tmp_path / "left.npy", A[:, 90:]], RANK)
    assert_same_bits(dense, svd.tree_svd([A[:, :90], A[:, 90:]], RANK))
    blocks = [sparse.csc_array(A[:, :90]), sparse.csc_array(A[:, 90:])]
    found = tree_svd([blocks[0], tmp_path / "right.npz"], RANK, rng=1)
    assert_same_bits(found, svd.tree_svd(blocks, RANK, rng=1))


@pytest.mark.parametrize("name", ["torch", "strict-CPU_DEVICE", "strict-no_float64"])
def test_other_libraries(name: str) -> None:
    backend = next((b for b in BACKENDS if b.name == name), None)
    if backend is None:
        pytest.skip(f"{name} is not installed")
    A = matrix()
    blocks = column_blocks(A, 50)
    found = tree_svd([dask.delayed(backend.asarray(block)) for block in blocks], RANK)
    expected = svd.tree_svd([backend.asarray(block) for block in blocks], RANK)
    assert type(found.s) is type(expected.s)
    assert np.array_equal(backend.to_numpy(found.s), backend.to_numpy(expected.s))


@pytest.mark.parametrize("axis", [0, 1])
def test_fit_takes_rows_or_columns_and_leaves_the_model_alone(axis: int) -> None:
    A, model = matrix(is_complex=True), IncrementalSVD(RANK, center=True)
    chunks = (10, M) if axis == 0 else (M, 10)
    source = da.from_array(A.T if axis == 0 else A, chunks=chunks)
    found = fit(model, source, axis=axis, fanin=3)
    assert not hasattr(model, "n_features_in_")
    parts = []
    for block in column_blocks(A):
        part = IncrementalSVD(RANK, center=True)
        parts.append(part.partial_fit(block.T) if axis == 0 else part.append_columns(block))
    expected = tree_reduce(parts, lambda a, b: a.merge(b), 3)
    assert_same_bits(found.result(), expected.result())
    assert np.array_equal(found.mean_, expected.mean_)
    assert found.n_samples_seen_ == N


def test_a_fit_goes_on_as_any_other() -> None:
    A = matrix()
    found = fit(IncrementalSVD(M), column_blocks(A[:, :90], 30), axis=1).append_columns(A[:, 90:])
    np.testing.assert_allclose(found.singular_values_, np.linalg.svd(A)[1], rtol=1e-6, atol=1e-12)


def test_a_task_that_is_repeated_gives_the_same_bits() -> None:
    waiting = fit(IncrementalSVD(RANK), column_blocks(matrix()), axis=1, compute=False)
    leaf = task("leaf", np.copy, np.ones((3, 2)))
    first, again, _ = dask.compute(waiting, waiting, leaf)
    assert_same_bits(first.result(), waiting.compute().result())
    assert_same_bits(first.result(), again.result())


def test_sparse_parts_without_a_seed_share_one() -> None:
    A = sparse.random_array((60, 2000), density=0.02, rng=1, format="csc")
    waiting = fit(IncrementalSVD(3), column_blocks(A, 1000), axis=1, compute=False)
    assert_same_bits(waiting.compute().result(), waiting.compute().result())


BAD = {
    "forgetting": (ValueError, "forgetting must be 1", {"forgetting": 0.9}),
    "n_components": (TypeError, "rank must be given", {"n_components": 3}),
    "fanin": (ValueError, "fanin must be", {"fanin": 1}),
    "method": (ValueError, "method", {"method": "no such"}),
    "unknown": (TypeError, "no_such", {"no_such": 1}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused_before_anything_runs(case: str) -> None:
    error, message, options = BAD[case]

    def fails() -> Any:
        raise AssertionError("nothing may run")

    with pytest.raises(error, match=message):
        tree_svd([dask.delayed(fails)()], RANK, **options)


def test_bad_blocks_are_named() -> None:
    A = matrix()
    A[3, 25] = np.nan
    with pytest.raises(ValueError, match=r"A must not contain NaN or infinity.*block 2"):
        tree_svd(column_blocks(A), RANK)
    with pytest.raises(ValueError, match="at least one part"):
        tree_svd([], RANK)
    with pytest.raises(ValueError, match="axis must be"):
        fit(IncrementalSVD(3), column_blocks(A), axis=2)
    with pytest.raises(ValueError, match=r"\bm must agree|40.*30|30.*40"):
        tree_svd([np.ones((40, 3)), np.ones((30, 3))], 2)


@pytest.mark.slow
def test_a_cluster_gives_the_bits_of_threads(cluster: Any) -> None:
    A = matrix()
    source = da.from_array(A, chunks=(M, 10))
    found = tree_svd(source, RANK, compute_v=True, fanin=3)
    model = fit(IncrementalSVD(RANK, center=True), source, axis=1)
    again = cluster.compute(
        fit(IncrementalSVD(RANK, center=True), source, axis=1, compute=False)
    ).result()
    assert_same_bits(again.result(), model.result())
    with dask.config.set(scheduler="threads"):
        assert_same_bits(found, tree_svd(source, RANK, compute_v=True, fanin=3))
    assert_same_bits(found, svd.tree_svd(column_blocks(A), RANK, compute_v=True, fanin=3))


@pytest.mark.parametrize("axis", [0, 1])
def test_parts_take_the_dtype_of_the_first(axis: int) -> None:
    A = np.round(10.0 * np.random.default_rng(5).standard_normal((12, 12)))
    first, rest = np.split(A, 2, axis=axis)
    expected = np.linalg.svd(A)[1][:3]

    def found(*parts: np.ndarray) -> np.ndarray:
        blocks = [dask.delayed(x) for x in parts]
        return fit(IncrementalSVD(3, n_oversamples=9), blocks, axis=axis).result().s

    double, single = (
        found(first, rest.astype("float32")),
        found(first.astype("float32"), rest.astype(int)),
    )
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(double, expected, rtol=1e-13)
    np.testing.assert_allclose(single, expected, rtol=1e-5)
    with pytest.raises(TypeError, match="part 1 of the source: A must fit into float32"):
        found(first.astype("float32"), rest)
    with pytest.raises(ValueError, match=r"got one in block 1"):
        found(first, rest * np.nan)


def test_parts_without_columns_are_left_out_and_nothing_else_is_refused() -> None:
    A = np.random.default_rng(6).standard_normal((6, 9))
    found = tree_svd([A[:, :0], A[:, :4], A[:, 4:], A[:, :0]], 3, n_oversamples=3)
    np.testing.assert_allclose(found.s, np.linalg.svd(A)[1][:3], rtol=1e-13)
    with pytest.raises(ValueError, match="blocks must have at least one column"):
        tree_svd([A[:, :0]], 3)
    with pytest.raises(ValueError, match="source must have at least one row"):
        fit(IncrementalSVD(2), [dask.delayed(A[:0])] * 2)
    with pytest.raises(ValueError, match="blocks must have two axes"):
        tree_svd(A[0], 1)
    with pytest.raises(ValueError, match="part 1 of the source must have two axes"):
        tree_svd([dask.delayed(A), dask.delayed(A[0])], 1)
