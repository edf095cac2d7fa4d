"""Leverage scores of rows in parts: those of the serial function, part by part."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from scipy import sparse

from linalgkit import sketching
from linalgkit.distributed import leverage_scores
from tests.conftest import BACKENDS

N, D = 1400, 9
CUTS = (0, 600, 600, 605, 1400)  # a part without rows, one with fewer rows than columns


def matrix(*, is_complex: bool = False) -> np.ndarray:
    """Return a coherent matrix of deficient rank."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((N, D)) * rng.pareto(1.0, (N, 1))
    A = A + 1j * rng.standard_normal((N, D)) if is_complex else A
    A[:, 4] = A[:, 1] - A[:, 2]
    return A


def projector_diagonal(A: np.ndarray) -> np.ndarray:
    U, s, _ = np.linalg.svd(A / np.linalg.norm(A, axis=0), full_matrices=False)
    return np.sum(np.abs(U[:, s > 1e-12 * s[0]]) ** 2, axis=1)


def blocks(A: Any) -> list[Any]:
    return [dask.delayed(A[i:j]) for i, j in itertools.pairwise(CUTS)]


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
@pytest.mark.parametrize("is_complex", [False, True])
def test_exact_scores_are_the_diagonal_of_the_projector(scale: float, is_complex: bool) -> None:
    A = matrix(is_complex=is_complex)
    scores = leverage_scores(blocks(A * scale), fanin=2)
    assert scores.chunks == ((600, 5, 795),)
    np.testing.assert_allclose(scores.compute(), projector_diagonal(A), rtol=1e-11, atol=1e-14)
    assert abs(float(scores.sum().compute()) - (D - 1)) < 1e-11


def test_columns_of_very_different_units_do_not_change_scores() -> None:
    A = matrix()
    units = 10.0 ** np.linspace(-140, 140, D)
    scores = leverage_scores(da.from_array(A[:, [0, 1, 3]] * units[[0, 4, 8]], chunks=(500, 3)))
    np.testing.assert_allclose(scores.compute(), projector_diagonal(A[:, [0, 1, 3]]), rtol=1e-11)


@pytest.mark.parametrize("method", ["exact", "sketch"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_scores_are_those_of_the_serial_function(method: str, is_sparse: bool) -> None:
    A = matrix()
    given = sparse.csr_array(np.where(np.abs(A) > 1, A, 0)) if is_sparse else A
    expected = sketching.leverage_scores(given, method=method, rng=3)
    found = leverage_scores(blocks(given), method=method, rng=3).compute()
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_fewer_rows_than_columns(is_sparse: bool) -> None:
    A = matrix()[:8, :].repeat(2, axis=1) + np.eye(8, 2 * D)
    parts = [A[:3], A[3:7], A[7:]]
    scores = leverage_scores([sparse.csr_array(x) if is_sparse else x for x in parts])
    assert scores.chunks == ((3, 4, 1),)
    np.testing.assert_allclose(scores.compute(), np.ones(8), rtol=1e-12)


def test_files_zeros_and_single_precision(tmp_path: Path) -> None:
    A = matrix()[:, :3].astype("float32")
    np.save(tmp_path / "A.npy", A)
    scores = leverage_scores(tmp_path / "A.npy")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.compute(), projector_diagonal(A.astype(float)), atol=2e-5)
    assert not leverage_scores(da.zeros((30, 4), chunks=(10, 4))).compute().any()
    for parts in ([np.ones((0, 4), "f")], [np.ones((3, 0), "f"), np.ones((2, 0), "f")]):
        found, expected = leverage_scores(parts), sketching.leverage_scores(np.concatenate(parts))
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        np.testing.assert_array_equal(found.compute(), expected)
    assert found.chunks == ((3, 2),)


def test_parts_may_be_lists_but_not_numbers() -> None:
    A = matrix()[:40]
    found = leverage_scores([dask.delayed(A[:30].tolist()), A[30:]])
    np.testing.assert_array_equal(found, leverage_scores([A[:30], A[30:]]))
    for bad in (1.0, None):
        with pytest.raises(TypeError, match=r"A in part 1 must be an array.* got"):
            leverage_scores([A, dask.delayed(lambda x=bad: x)()])


class _Computed(Callback):
    def __init__(self) -> None:
        super().__init__(posttask=self._add)
        self.keys: set[Any] = set()

    def _add(self, key: Any, *_: Any) -> None:
        self.keys.add(key)


def test_scores_share_no_task_of_the_library_with_what_has_been_computed() -> None:
    """Dask fuses the tasks of arrays, under the names they had: a cluster would warn."""
    lazy = blocks(matrix())
    with _Computed() as before:
        scores = leverage_scores(lazy)
    own = {key for key in dict(scores.__dask_graph__()) if str(key).startswith("linalgkit")}
    assert own
    assert own.isdisjoint(before.keys)


def test_nothing_but_the_chunks_asked_for_is_computed() -> None:
    A, read = matrix(), []

    def load(k: int) -> np.ndarray:
        read.append(k)
        return A[700 * k : 700 * (k + 1)]

    scores = leverage_scores([dask.delayed(load)(k) for k in (0, 1)])
    read.clear()
    scores[:10].compute()
    assert read == [0]


@pytest.mark.parametrize("name", ["torch", "strict-device1", "strict-no_float64"])
def test_chunks_stay_in_the_library_of_the_rows(name: str) -> None:
    backend = next((b for b in BACKENDS if b.name == name), None)
    if backend is None:
        pytest.skip(f"{name} is not installed")
    A = matrix()[:, :3]
    parts = [backend.asarray(A[:500]), backend.asarray(A[500:])]
    chunks = dask.compute(*leverage_scores(parts).to_delayed())
    assert all(type(chunk) is type(parts[0]) for chunk in chunks)
    found = np.concatenate([backend.to_numpy(chunk) for chunk in chunks])
    tolerance = 100 * backend.tolerance
    np.testing.assert_allclose(found, projector_diagonal(A), rtol=tolerance, atol=tolerance)


BAD: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "NaN": (
        ValueError,
        "A must not contain NaN or infinity.*block 1",
        lambda: leverage_scores([np.ones((3, 2)), np.full((3, 2), np.nan)]),
    ),
    "columns": (
        ValueError,
        "A must have 2 columns as in the first part, got 3 in part 1",
        lambda: leverage_scores([np.ones((3, 2)), np.ones((3, 3))]),
    ),
    "dtype": (
        TypeError,
        "A must be of float64 as in the first part, got float32 in part 1",
        lambda: leverage_scores([np.ones((3, 2)), np.ones((3, 2), dtype="float32")]),
    ),
    "kind": (
        TypeError,
        "part 1",
        lambda: leverage_scores([np.ones((3, 2)), sparse.csr_array(np.ones((3, 2)))]),
    ),
    "method": (ValueError, "method must be", lambda: leverage_scores(np.ones((3, 2)), method="x")),
    "fanin": (ValueError, "fanin must be", lambda: leverage_scores(np.ones((3, 2)), fanin=1)),
    "iterator": (TypeError, "read only once", lambda: leverage_scores(iter([np.ones((3, 2))]))),
    "axes": (ValueError, "two axes", lambda: leverage_scores(da.ones((2, 3, 4)))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_place(case: str) -> None:
    error, message, call = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.slow
def test_a_cluster_gives_the_bits_of_threads(cluster: Any) -> None:
    for method in ("exact", "sketch"):
        found = leverage_scores(blocks(matrix()), method=method, rng=1).compute()
        with dask.config.set(scheduler="threads"):
            expected = leverage_scores(blocks(matrix()), method=method, rng=1).compute()
        assert np.array_equal(found, expected)
