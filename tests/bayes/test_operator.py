"""The Kronecker operator against numpy.kron."""

from __future__ import annotations

import functools
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg

from linalgkit._core.operators import as_operator
from linalgkit.bayes._operator import KroneckerOperator
from tests.conftest import BACKENDS, Backend

SHAPES = [
    [(4, 6)],
    [(4, 6), (5, 3)],
    [(2, 3), (4, 2), (3, 4)],
    [(2, 1), (1, 3), (3, 2), (2, 2)],
]


def problem(shapes: list[tuple[int, int]], is_complex: bool = True) -> tuple[list[Any], Any]:
    rng = np.random.default_rng(6)

    def draw(shape: tuple[int, int]) -> Any:
        G = rng.standard_normal(shape)
        return G + 1j * rng.standard_normal(shape) if is_complex else G

    factors = [draw(shape) for shape in shapes]
    return factors, functools.reduce(np.kron, factors)


def close(found: Any, expected: Any, backend: Backend) -> None:
    host = backend.to_numpy(found)
    assert host.shape == expected.shape
    np.testing.assert_allclose(host, expected, atol=backend.tolerance * np.abs(expected).max())


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_products_are_those_of_the_dense_matrix(rng: Any, shapes: Any, is_complex: bool) -> None:
    check_products(BACKENDS[0], rng, shapes, is_complex)


def test_products_are_those_of_the_dense_matrix_in_every_library(xp: Backend, rng: Any) -> None:
    check_products(xp, rng, SHAPES[2], True)


def check_products(xp: Backend, rng: Any, shapes: Any, is_complex: bool) -> None:
    """Compare everything that the operator does with its dense matrix."""
    factors, D = problem(shapes, is_complex)
    A = KroneckerOperator([xp.asarray(H) for H in factors])
    assert A.shape == D.shape
    close(A.to_dense(), D, xp)
    close(A.H.to_dense(), D.conj().T, xp)
    close(A.T.to_dense(), D.T, xp)
    close(A.gram().to_dense(), D.conj().T @ D, xp)
    norms = functools.reduce(np.kron, [xp.to_numpy(n) for n in A.column_norms()])
    close(xp.asarray(norms), np.linalg.norm(D, axis=0), xp)
    x = rng.standard_normal(D.shape[1]).astype(D.dtype)
    y, X, Y = D @ x, np.stack([x, 2 * x, -x], axis=1), D @ np.stack([x, 2 * x, -x], axis=1)
    widths, sizes = [n for _, n in shapes], [m for m, _ in shapes]
    there = xp.asarray
    close(A.matvec(there(x)), y, xp)
    close(A @ there(x), y, xp)
    close(A.matvec(there(x.reshape(widths))), y.reshape(sizes), xp)
    close(A @ there(x.reshape(widths)), y.reshape(sizes), xp)
    close(A.rmatvec(there(y)), D.conj().T @ y, xp)
    close(A.rmatvec(there(y.reshape(sizes))), (D.conj().T @ y).reshape(widths), xp)
    close(A.matmat(there(X)), Y, xp)
    close(A @ there(X), Y, xp)
    close(A.rmatmat(there(Y)), D.conj().T @ Y, xp)
    close(A.matmat(there(X.reshape(*widths, 3))), Y.reshape(*sizes, 3), xp)
    close(A @ there(X.reshape(*widths, 3)), Y.reshape(*sizes, 3), xp)
    close(A.rmatmat(there(Y.reshape(*sizes, 3))), (D.conj().T @ Y).reshape(*widths, 3), xp)


def test_this_library_and_scipy_take_it_as_an_operator(rng: Any) -> None:
    factors, D = problem(SHAPES[2])
    A = KroneckerOperator(factors)
    X = rng.standard_normal((D.shape[1], 2)) + 0j
    taken = as_operator(A)
    np.testing.assert_allclose(taken.matmul(X), D @ X, atol=1e-12)
    np.testing.assert_allclose(taken.rmatmul(D @ X), D.conj().T @ (D @ X), atol=1e-12)
    for L in (A.to_linear_operator(), scipy.sparse.linalg.aslinearoperator(A)):
        assert L.dtype == A.dtype
        np.testing.assert_allclose(L @ X, D @ X, atol=1e-12)
        np.testing.assert_allclose(L @ X[:, 0], D @ X[:, 0], atol=1e-12)
        np.testing.assert_allclose(L.H @ (D @ X), D.conj().T @ (D @ X), atol=1e-12)
    s = scipy.sparse.linalg.svds(A, k=2, return_singular_vectors=False)
    np.testing.assert_allclose(np.sort(s)[::-1], np.linalg.svd(D)[1][:2])


def test_this_library_takes_it_as_an_operator_elsewhere(xp: Backend, rng: Any) -> None:
    factors, D = problem(SHAPES[1])
    A = KroneckerOperator([xp.asarray(H) for H in factors])
    X = xp.asarray(rng.standard_normal((D.shape[1], 2)) + 0j)
    close(as_operator(A, like=X).matmul(X), D @ xp.to_numpy(X), xp)


@pytest.mark.parametrize(
    ("kind", "operand", "expected"),
    [
        ("float32", "float32", "float32"),
        ("complex64", "float32", "complex64"),
        ("float32", "complex64", "complex64"),
        ("float32", "float64", "float64"),
        ("float64", "complex64", "complex128"),
        ("float64", "int64", "float64"),
    ],
)
def test_dtypes_of_operator_and_operand_join(kind: str, operand: str, expected: str) -> None:
    for xp in BACKENDS:
        if xp.name in ("strict-CPU_DEVICE", "numpy") or (xp.name == "torch" and operand != "int64"):
            A = KroneckerOperator([xp.asarray(np.eye(2, 3), kind), xp.asarray(np.eye(3), kind)])
            y = A @ xp.asarray(np.arange(9), operand)
            assert y.dtype == getattr(xp.xp, expected)
            np.testing.assert_array_equal(xp.to_numpy(y), np.arange(6))


def test_column_norms_neither_overflow_nor_vanish() -> None:
    H = np.asarray([[3e200, 3e-200, 0.0], [4e200, 4e-200, 0.0]])
    (norms,) = KroneckerOperator([H]).column_norms()
    np.testing.assert_allclose(norms, [5e200, 5e-200, 0.0], rtol=1e-15)


def test_a_large_product_forms_no_matrix(rng: Any) -> None:
    A = KroneckerOperator([rng.standard_normal((40, 40)) for _ in range(3)])
    x = rng.standard_normal(40**3)
    A @ x
    tracemalloc.start()
    A @ x
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 2.1 * x.nbytes  # the dense matrix would take 64 000 times as much


def test_a_dense_copy_is_refused_over_its_limit() -> None:
    A = KroneckerOperator([np.ones((1000, 1000))] * 3)
    with pytest.raises(MemoryError, match=r"limit must be at least .* bytes .* Use its products"):
        A.to_dense()
    small = KroneckerOperator([np.ones((2, 2))])
    assert small.to_dense(32).shape == (2, 2)
    with pytest.raises(MemoryError, match="at least 32 bytes"):
        small.to_dense(31)
    assert small.to_dense() is not small.factors[0]


def test_scipys_operator_is_of_numpy_only() -> None:
    other = next(b for b in BACKENDS if b.name == "strict-CPU_DEVICE")
    with pytest.raises(TypeError, match="Use matvec and rmatvec"):
        KroneckerOperator([other.asarray(np.eye(2))]).to_linear_operator()


A = KroneckerOperator([np.ones((2, 3)), np.ones((3, 2))])
BAD = [
    (lambda: A.matvec(np.ones(5)), ValueError, r"x must be of shape \(6,\) or \(3, 2\)"),
    (lambda: A.matvec(np.ones((6, 2))), ValueError, "matmat takes several columns"),
    (lambda: A.matmat(np.ones(6)), ValueError, "matvec takes one vector"),
    (lambda: A.rmatvec(np.ones((3, 2))), ValueError, r"y must be of shape \(6,\) or \(2, 3\)"),
    (lambda: A @ np.full(6, np.nan), ValueError, "x must not contain NaN"),
    (lambda: A @ [1.0] * 6, TypeError, "x: an array is required"),
    (lambda: A @ BACKENDS[1].asarray(np.ones(6)), TypeError, "x: all arrays must come from one"),
    (lambda: np.ones(6) @ A, TypeError, "unsupported operand"),
    (lambda: A.to_dense(-1), ValueError, "limit must be at least 0"),
    (lambda: KroneckerOperator(np.ones((2, 3))), TypeError, r"\[H\]"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "kind", "match"), BAD, ids=range(len(BAD)))
def test_bad_arguments_are_refused(call: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        call()


def test_repr_names_the_factors() -> None:
    assert repr(A) == "KroneckerOperator(2 x 3, 3 x 2; shape=(6, 6), dtype=float64)"
