"""Operators: every kind of matrix gives the same products, and sparse ones are never dense."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from linalgkit._core.operators import (
    AdjointOperator,
    DenseOperator,
    MatrixFreeOperator,
    Operator,
    SparseOperator,
    as_operator,
    csr_concat,
    csr_rows,
)

SPARSE_KINDS = [
    f"{form}_{kind}"
    for form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
    for kind in ("array", "matrix")
]


def example(rng, dtype, n=11, d=5):
    A = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.5)
    if np.dtype(dtype).kind == "c":
        A = A * (1 + 2j * rng.standard_normal((n, d)))
    A[3, :] = 0
    return A.astype(dtype)


def check_products(operator, A, to_numpy, asarray, tol):
    """Compare everything that every operator can do with NumPy's answer."""
    rng = np.random.default_rng(1)
    n, d = A.shape
    Z = rng.standard_normal((d, 2)).astype(A.dtype)
    P = rng.standard_normal((n, 3)).astype(A.dtype)
    if A.dtype.kind == "c":
        Z, P = Z * np.asarray([1, 1j]), P * (1 - 3j)
        Z, P = Z.astype(A.dtype), P.astype(A.dtype)
    AH = A.conj().T
    near = {"atol": tol * max(1.0, float(np.abs(A).max() if A.size else 0.0)) ** 2}
    assert operator.shape == A.shape
    np.testing.assert_allclose(to_numpy(operator.matmul(asarray(Z))), A @ Z, **near)
    np.testing.assert_allclose(to_numpy(operator @ asarray(Z)), A @ Z, **near)
    np.testing.assert_allclose(to_numpy(operator.rmatmul(asarray(P))), AH @ P, **near)
    first, second = operator.normal_product(asarray(Z))
    np.testing.assert_allclose(to_numpy(first), A @ Z, **near)
    np.testing.assert_allclose(to_numpy(second), AH @ (A @ Z), **near)
    norms = to_numpy(operator.row_norms_squared())
    assert norms.dtype.kind == "f"
    assert norms.shape == (n,)
    np.testing.assert_allclose(norms, (np.abs(A) ** 2).sum(axis=1), **near)
    np.testing.assert_allclose(to_numpy(operator.gram()), AH @ A, **near)
    S = rng.standard_normal((d, d)).astype(to_numpy(operator.gram()).dtype)
    np.testing.assert_allclose(to_numpy(operator.add_gram(asarray(S))), S + AH @ A, **near)
    np.testing.assert_allclose(to_numpy(operator.H.matmul(asarray(P))), AH @ P, **near)
    np.testing.assert_allclose(to_numpy(operator.H.rmatmul(asarray(Z))), A @ Z, **near)
    assert operator.H.shape == (d, n)
    assert type(operator).__name__ in repr(operator)


def check_rows(operator, A, to_numpy, asarray):
    """Compare what only operators with entries can do."""
    eye = asarray(np.eye(A.shape[1], dtype=A.dtype))
    weights = np.arange(A.shape[0]) / 4
    real = np.empty(0, A.dtype).real.dtype
    for found, expected in [
        (operator.rows(2, 7), A[2:7]),
        (operator.rows(4, 4), A[4:4]),
        (operator.select([5, 0, 5]), A[[5, 0, 5]]),
        (operator.scaled(3), 8 * A),
        (operator.scaled(0), A),
        (operator.weighted(asarray(weights.astype(real))), weights[:, None] * A),
    ]:
        assert isinstance(found, Operator)
        assert found.dtype == operator.dtype
        np.testing.assert_array_equal(to_numpy(found.matmul(eye)), expected.astype(A.dtype))
    np.testing.assert_array_equal(to_numpy(operator.dense_rows([1, 2])), A[[1, 2]])
    np.testing.assert_array_equal(to_numpy(operator.dense_rows(range(3))), A[:3])
    assert operator.dense_rows([]).shape == (0, A.shape[1])
    assert operator.select([]).shape == (0, A.shape[1])
    tol = 4 * np.finfo(A.dtype).eps
    np.testing.assert_allclose(operator.max_abs(), np.abs(A).max(), rtol=tol)


# ------------------------------------------------------------------------------------- dense


def test_dense_products_and_rows(xp, rng):
    for name in xp.dtypes:
        A = example(rng, name)
        mine = xp.asarray(A)
        operator = as_operator(mine)
        assert isinstance(operator, DenseOperator)
        assert operator.dtype == mine.dtype
        assert operator.device == xp.device
        tol = 100 * np.finfo(name).eps
        check_products(operator, A, xp.to_numpy, xp.asarray, tol)
        check_rows(operator, A, xp.to_numpy, xp.asarray)
        np.testing.assert_array_equal(xp.to_numpy(mine), A)


def test_gram_and_norms_of_single_precision_accumulate_in_double(rng):
    A = example(rng, "float32", 4000, 3)
    wide = A.astype(float)
    np.testing.assert_allclose(as_operator(A).gram(), wide.T @ wide, rtol=1e-14)
    sparse = as_operator(scipy.sparse.csr_array(A))
    np.testing.assert_allclose(sparse.gram(), wide.T @ wide, rtol=1e-14)
    for operator in (as_operator(A), sparse):
        norms = operator.row_norms_squared()
        assert norms.dtype == np.float64
        np.testing.assert_allclose(norms, (wide**2).sum(axis=1), rtol=1e-14)


def test_gram_of_single_precision_copies_little(rng):
    A = np.ones((400_000, 8), dtype=np.float32)
    operator = as_operator(A)
    tracemalloc.start()
    G = operator.gram()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert G[0, 0] == 400_000
    assert peak < 2 * A.nbytes / 2  # a copy of all rows in double would take twice A


def test_empty_blocks(xp):
    operator = as_operator(xp.asarray(np.empty((0, 3))))
    assert operator.gram().shape == (3, 3)
    assert not xp.to_numpy(operator.gram()).any()
    assert operator.row_norms_squared().shape == (0,)
    assert operator.max_abs() == 0


def test_dense_entries_are_shared_not_copied(rng):
    A = rng.standard_normal((6, 3))
    operator = as_operator(A)
    assert np.shares_memory(operator.A, A)
    assert np.shares_memory(operator.rows(1, 4).A, A)
    assert operator.scaled(0) is operator
    assert as_operator(operator) is operator


def test_integers_and_booleans_work_in_the_default_float(xp):
    A = np.asarray([[1, 2], [3, 4]])
    operator = as_operator(xp.asarray(A))
    assert operator.xp.isdtype(operator.dtype, "real floating")
    np.testing.assert_array_equal(xp.to_numpy(operator.gram()), A.T @ A)
    assert as_operator(A > 2).dtype == np.float64
    assert as_operator(scipy.sparse.csr_array(A)).dtype == np.float64
    assert as_operator(scipy.sparse.csr_array(A > 2)).dtype == np.float64


def test_dtype_may_be_chosen(rng):
    A = rng.standard_normal((4, 2))
    assert as_operator(A, dtype=np.float32).dtype == np.float32
    assert as_operator(A, dtype=np.complex128).dtype == np.complex128
    assert as_operator(scipy.sparse.csr_array(A), dtype=np.float32).dtype == np.float32
    for complex_matrix in (A * 1j, scipy.sparse.csr_array(A * 1j), aslinearoperator(A * 1j)):
        with pytest.raises(TypeError, match="A must be real to be worked on in float64, got comp"):
            as_operator(complex_matrix, dtype=np.float64)


# ------------------------------------------------------------------------------------ sparse


@pytest.mark.parametrize("kind", SPARSE_KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_sparse_products_and_rows(rng, kind, dtype):
    A = example(rng, dtype)
    operator = as_operator(getattr(scipy.sparse, kind)(A))
    assert isinstance(operator, SparseOperator)
    assert operator.A.format == "csr"
    assert operator.dtype == A.dtype
    check_products(operator, A, np.asarray, np.array, 100 * np.finfo(dtype).eps)
    check_rows(operator, A, np.asarray, np.array)
    for result in (operator.matmul(np.eye(5, dtype=dtype)), operator.gram()):
        assert type(result) is np.ndarray


def test_sparse_duplicates_are_summed_and_the_input_stays(rng):
    data, indices, indptr = np.asarray([1.0, 2.0, 4.0]), [1, 1, 0], [0, 3]
    A = scipy.sparse.csr_array((data, indices, indptr), shape=(1, 3))
    operator = as_operator(A)
    np.testing.assert_array_equal(operator.row_norms_squared(), [3.0**2 + 4.0**2])
    assert operator.max_abs() == 4
    assert A.nnz == 3
    np.testing.assert_array_equal(A.data, [1.0, 2.0, 4.0])


def test_csr_entries_are_shared_with_rows_and_operator(rng):
    A = scipy.sparse.random_array((40, 9), density=0.3, rng=rng, format="csr")
    operator = as_operator(A)
    assert np.shares_memory(operator.A.data, A.data)
    block = operator.rows(1, 35)
    assert np.shares_memory(block.A.data, A.data)
    assert np.shares_memory(block.A.indices, A.indices)
    np.testing.assert_array_equal(operator.rows(3, 9).A.toarray(), A[3:9].toarray())
    np.testing.assert_array_equal(csr_rows(A, 7, 7).toarray(), np.empty((0, 9)))


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix"])
def test_csr_concat_keeps_kind_and_owns_its_memory(rng, kind):
    A = getattr(scipy.sparse, kind)(example(rng, "float32"))
    joined = csr_concat([csr_rows(A, 0, 4), csr_rows(A, 4, 4), csr_rows(A, 4, 11)])
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined.toarray(), A.toarray())
    alone = csr_concat([A])
    assert not np.shares_memory(alone.data, A.data)


def test_sparse_work_never_takes_dense_memory(rng):
    n, d = 20_000, 2_000
    A = scipy.sparse.random_array((n, d), density=1e-3, rng=rng, format="csr")
    operator = as_operator(A)
    Z = rng.standard_normal((d, 2))
    tracemalloc.start()
    operator.normal_product(Z)
    operator.row_norms_squared()
    operator.max_abs()
    operator.weighted(np.ones(n))
    operator.rows(0, n // 2)
    as_operator(A.tocsc())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n * d / 50
    S = np.zeros((d, d))
    tracemalloc.start()
    result = operator.add_gram(S)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result is S
    assert peak < S.nbytes / 2  # only the product's non-zeros, no second (d, d) array


# ------------------------------------------------------------------------------- matrix-free


class Doubler:
    """A duck type: twice a matrix of any library."""

    def __init__(self, A, adjoint):
        self.A, self.AH, self.shape = A, adjoint, A.shape

    def matmat(self, Z):
        return 2 * (self.A @ Z)

    def rmatmat(self, P):
        return 2 * (self.AH @ P)


def test_duck_types_speak_the_library_of_like(xp, rng):
    A = example(rng, xp.dtypes[-1])
    operator = as_operator(Doubler(xp.asarray(A), xp.asarray(A.conj().T)), like=xp.asarray(A))
    assert isinstance(operator, MatrixFreeOperator)
    assert operator.dtype == xp.asarray(A).dtype
    tol = 400 * np.finfo(A.dtype).eps
    check_products(operator, 2 * A, xp.to_numpy, xp.asarray, tol)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_scipy_linear_operators(rng, dtype):
    A = example(rng, dtype)
    operator = as_operator(aslinearoperator(A))
    assert operator.dtype == A.dtype
    check_products(operator, A, np.asarray, np.array, 100 * np.finfo(dtype).eps)
    twice = operator.H.H
    assert twice is operator
    assert isinstance(operator.H, AdjointOperator)


def test_linear_operators_given_by_vectors_alone(rng):
    A = example(rng, "float64")
    given = LinearOperator(A.shape, matvec=lambda v: A @ v, rmatvec=lambda v: A.T @ v)
    check_products(as_operator(given), A, np.asarray, np.array, 1e-13)


def test_large_gram_of_a_linear_operator_goes_piece_by_piece(monkeypatch, rng):
    monkeypatch.setattr("linalgkit._core.operator_base._PIECE_BYTES", 8 * 11 * 2)
    A = example(rng, "complex128")
    widths = []
    given = LinearOperator(
        A.shape,
        dtype=A.dtype,
        matvec=lambda v: A @ v,
        matmat=lambda Z: widths.append(Z.shape[1]) or A @ Z,
        rmatmat=lambda P: A.conj().T @ P,
    )
    check_products(as_operator(given), A, np.asarray, np.array, 1e-13)
    assert 1 in widths


def test_missing_adjoint_is_named(rng):
    A = example(rng, "float64")
    given = LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=A.dtype)
    with pytest.raises(TypeError, match=r"product with its adjoint.*rmatvec or rmatmat"):
        as_operator(given).rmatmul(np.ones((11, 1)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda A: A.rows(0, 1), "be cut into blocks of rows"),
        (lambda A: A.select([0]), "select rows"),
        (lambda A: A.dense_rows([0]), "return rows"),
        (lambda A: A.max_abs(), "tell its largest entry"),
        (lambda A: A.scaled(1), "be scaled exactly"),
        (lambda A: A.weighted(np.ones(4)), "weight its rows"),
    ],
)
def test_what_products_alone_cannot_do_is_an_error_with_a_way_out(call, words):
    operator = as_operator(aslinearoperator(np.eye(4)))
    for one in (operator, operator.H):
        with pytest.raises(
            TypeError, match=f"known by its products alone and cannot {words}. Pass"
        ):
            call(one)


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], "text", None, 3.0, object()])
def test_what_is_no_matrix_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match=r"required|2-D"):
        as_operator(bad)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_numpy_matrix_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"got numpy.matrix.*numpy.asarray\(x\)"):
        as_operator(np.matrix([[1.0]]))


def test_shapes_are_checked(xp):
    with pytest.raises(ValueError, match=r"A must be 2-D \(rows, columns\), got shape \(3,\)"):
        as_operator(xp.asarray(np.ones(3)))
    with pytest.raises(ValueError, match=r"A must be 2-D.*got shape \(3,\).*reshape"):
        as_operator(scipy.sparse.coo_array(np.ones(3)))

    class Odd:
        shape = (3,)
        matmat = rmatmat = None

    with pytest.raises(ValueError, match=r"A must be 2-D.*got shape \(3,\)"):
        as_operator(Odd())


def test_libraries_are_not_mixed(xp):
    if xp.name == "numpy":
        pytest.skip("needs a second library")
    like = xp.asarray(np.ones(2))
    with pytest.raises(TypeError, match="one library"):
        as_operator(np.ones((2, 2)), like=like)
    with pytest.raises(TypeError, match="a sparse matrix of scipy works with numpy arrays, got"):
        as_operator(scipy.sparse.csr_array(np.ones((2, 2))), like=like)
    with pytest.raises(TypeError, match="LinearOperator works with numpy arrays, got"):
        as_operator(aslinearoperator(np.ones((2, 2))), like=like)
