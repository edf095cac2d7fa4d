"""The heap of heavy rows: what it keeps, what it gives back, and that nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from linalgkit._core.operators import DenseOperator, as_operator
from linalgkit.streaming._heap import HeavyRows, PatchedRows, default_capacity, with_rows


def make_heap(backend, capacity, d, dtype="float64"):
    dtype = getattr(backend.xp, dtype if backend.has_float64 else "float32")
    return HeavyRows(capacity, d, xp=backend.xp, device=backend.device, dtype=dtype)


def exchange_all(heap, backend, X, b):
    """Feed the rows in blocks of b; return the dense light blocks as the heap gives them back."""
    light = []
    for start in range(0, X.shape[0], b):
        block = DenseOperator(backend.asarray(X[start : start + b]))
        norms = np.sum(np.abs(X[start : start + b]) ** 2, axis=1)
        out = heap.exchange(block, norms)
        light.append(backend.to_numpy(out.dense_rows(range(out.shape[0]))))
    return light


def rows_sorted(X):
    return X[np.lexsort(X.T)]


@pytest.mark.parametrize("b", [1, 7, 40, 200])
def test_heap_holds_the_rows_of_largest_norm_and_loses_none(xp, rng, b):
    X = rng.standard_normal((200, 5)) * rng.exponential(size=(200, 1))
    if not xp.has_float64:
        X = X.astype(np.float32).astype(np.float64)
    heap = make_heap(xp, 9, 5)
    light = np.concatenate(exchange_all(heap, xp, X, b))
    held = xp.to_numpy(heap.rows)
    largest = np.argsort(-np.sum(X**2, axis=1))[:9]
    np.testing.assert_allclose(rows_sorted(held), rows_sorted(X[largest]), rtol=1e-6)
    everything = np.concatenate([held, light])
    np.testing.assert_allclose(rows_sorted(everything), rows_sorted(X), rtol=1e-6)


def test_heap_keeps_the_earlier_of_rows_with_equal_norms():
    X = np.eye(6)
    heap = HeavyRows(2, 6, xp=np_namespace(), device="cpu", dtype=np.float64)
    heap.exchange(DenseOperator(X[:3]), np.ones(3))
    heap.exchange(DenseOperator(X[3:]), np.ones(3))
    np.testing.assert_array_equal(heap.rows, X[:2])


def test_among_equal_norms_the_latest_is_pushed_out():
    X = np.diag([1.0, 1.0, 2.0])
    heap = HeavyRows(2, 3, xp=np_namespace(), device="cpu", dtype=np.float64)
    light = heap.exchange(DenseOperator(X), np.array([1.0, 1.0, 4.0]))
    np.testing.assert_array_equal(light.dense_rows([0]), X[1:2])


def np_namespace():
    from linalgkit._core.array import numpy_namespace

    return numpy_namespace()


def test_block_keeps_its_length_and_the_callers_rows(rng):
    X = rng.standard_normal((60, 4))
    before = X.copy()
    heap = HeavyRows(5, 4, xp=np_namespace(), device="cpu", dtype=np.float64)
    lengths = [
        heap.exchange(DenseOperator(X[i : i + 20]), np.sum(X[i : i + 20] ** 2, axis=1)).shape[0]
        for i in (0, 20, 40)
    ]
    assert lengths == [15, 20, 20]
    np.testing.assert_array_equal(X, before)


def test_light_block_comes_back_itself_when_nothing_is_heavy(rng):
    heap = HeavyRows(2, 3, xp=np_namespace(), device="cpu", dtype=np.float64)
    big = 10 * rng.standard_normal((2, 3)) + 100
    heap.exchange(DenseOperator(big), np.sum(big**2, axis=1))
    block = DenseOperator(rng.standard_normal((5, 3)))
    assert heap.exchange(block, np.ones(5)) is block


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
@pytest.mark.parametrize("giant", [1.0, 1e6])
def test_patched_block_multiplies_like_its_dense_rows(xp, rng, dtype, giant):
    if dtype not in xp.all_dtypes:
        pytest.skip("the device lacks this dtype")
    X = rng.standard_normal((30, 6)) + (1j * rng.standard_normal((30, 6)) if "c" in dtype else 0)
    X[[4, 17]] *= giant * 5
    X = X.astype(dtype)
    heap = HeavyRows(3, 6, xp=xp.xp, device=xp.device, dtype=getattr(xp.xp, dtype))
    first = X[:3] / 10
    heap.exchange(DenseOperator(xp.asarray(first)), np.sum(np.abs(first) ** 2, axis=1))
    heap.exchange(DenseOperator(xp.asarray(X[20:23])), np.sum(np.abs(X[20:23]) ** 2, axis=1))
    light = heap.exchange(DenseOperator(xp.asarray(X)), np.sum(np.abs(X) ** 2, axis=1))
    assert isinstance(light, PatchedRows)
    A = xp.to_numpy(light.dense_rows(range(30)))
    assert np.max(np.sum(np.abs(A) ** 2, axis=1)) < np.max(np.sum(np.abs(X) ** 2, axis=1))
    Z = (rng.standard_normal((6, 2)) + (1j if "c" in dtype else 0)).astype(dtype)
    P, D = light.normal_product(xp.asarray(Z))
    # what left is gone up to the roundoff of the block, not up to that of a giant
    tolerance = 3e-4 if dtype in ("float32", "complex64") else 1e-11
    np.testing.assert_allclose(xp.to_numpy(P), A @ Z, atol=tolerance * 10)
    scale = np.abs(A.conj().T @ (A @ Z)).max()
    np.testing.assert_allclose(xp.to_numpy(D), A.conj().T @ (A @ Z), atol=tolerance * scale)
    np.testing.assert_allclose(xp.to_numpy(light.matmul(xp.asarray(Z))), A @ Z, atol=tolerance * 10)
    W = (A @ Z).astype(dtype)
    np.testing.assert_allclose(
        xp.to_numpy(light.rmatmul(xp.asarray(W))), A.conj().T @ W, atol=tolerance * scale
    )
    norms = np.sum(np.abs(A) ** 2, axis=1)
    np.testing.assert_allclose(xp.to_numpy(light.row_norms_squared()), norms, rtol=1e-5)
    part = light.rows(3, 12)
    np.testing.assert_array_equal(xp.to_numpy(part.dense_rows(range(9))), A[3:12])
    np.testing.assert_allclose(
        xp.to_numpy(part.matmul(xp.asarray(Z))), A[3:12] @ Z, atol=tolerance * 10
    )


def test_sparse_block_is_exchanged_like_a_dense_one(rng):
    X = rng.standard_normal((50, 8)) * (rng.random((50, 8)) < 0.4) * rng.exponential(size=(50, 1))
    norms = np.sum(X**2, axis=1)
    dense, sparse = (
        HeavyRows(6, 8, xp=np_namespace(), device="cpu", dtype=np.float64) for _ in range(2)
    )
    for start in (0, 25):
        part = X[start : start + 25]
        a = dense.exchange(DenseOperator(part), norms[start : start + 25])
        b = sparse.exchange(as_operator(scipy.sparse.csr_array(part)), norms[start : start + 25])
        Z = rng.standard_normal((8, 2))
        np.testing.assert_allclose(a.normal_product(Z)[1], b.normal_product(Z)[1], atol=1e-12)
    np.testing.assert_array_equal(dense.rows, sparse.rows)


def test_required_rows_double_those_held_when_one_left_in_the_stream_is_above_the_threshold(rng):
    heap = HeavyRows(3, 2, xp=np_namespace(), device="cpu", dtype=np.float64)
    X = np.array([[1.0, 0], [2.0, 0], [3.0, 0], [0.5, 0]])
    heap.exchange(DenseOperator(X), np.sum(X**2, axis=1))
    assert heap.norms == [9.0, 4.0, 1.0]
    assert [heap.n_required(t) for t in (10.0, 3.0, 0.5, 0.2)] == [0, 2, 3, 6]


def test_scaling_and_forgetting_act_on_rows_and_norms(rng):
    X = rng.standard_normal((6, 3))
    heap = HeavyRows(4, 3, xp=np_namespace(), device="cpu", dtype=np.float64)
    heap.exchange(DenseOperator(X), np.sum(X**2, axis=1))
    before = heap.rows.copy()
    heap.rescale(-40)
    np.testing.assert_array_equal(heap.rows, before * 2.0**-40)
    heap.rescale(40)
    heap.decay(0.25)
    np.testing.assert_array_equal(heap.rows, before / 2)
    np.testing.assert_allclose(heap.norms, sorted(np.sum(before**2, axis=1) / 4)[::-1])


def test_resumed_heap_goes_on_bitwise(xp, rng):
    X = rng.standard_normal((90, 4))
    heap = make_heap(xp, 5, 4)
    exchange_all(heap, xp, X[:50], 10)
    twin = HeavyRows.from_state(heap.to_state(), xp=xp.xp, device=xp.device)
    ours = exchange_all(heap, xp, X[50:], 10)
    theirs = exchange_all(twin, xp, X[50:], 10)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(xp.to_numpy(heap.rows), xp.to_numpy(twin.rows))


def test_rows_are_replaced_without_touching_the_argument(xp):
    A = xp.asarray(np.arange(12.0).reshape(4, 3))
    B = with_rows(A, [2, 0], xp.asarray(-np.ones((2, 3))), xp.xp)
    np.testing.assert_array_equal(xp.to_numpy(B), [[-1] * 3, [3, 4, 5], [-1] * 3, [9, 10, 11]])
    np.testing.assert_array_equal(xp.to_numpy(A), np.arange(12.0).reshape(4, 3))


def test_default_capacity_grows_with_the_components():
    assert default_capacity(1) == 32
    assert default_capacity(20) == 80
