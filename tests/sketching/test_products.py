"""Products with sketches equal products with their entries, for every kind of factor."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from linalgkit._core.operators import as_operator
from linalgkit.sketching import sketch
from tests.conftest import Backend
from tests.sketching.kinds import KINDS, SAMPLED, STREAMING, TURNED, data, distance, make

HOST_TOLERANCE = 1e-13


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_products_and_adjoint_agree_with_the_entries(xp: Backend, kind, is_complex):
    n, d, m = 70, 3, 12
    S = make(kind, m, n, dtype="complex128" if is_complex and kind in TURNED else None)
    X = xp.asarray(data(n, d, is_complex))
    like = X[:1, :]
    T = xp.to_numpy(S.toarray(like=like))
    found = S @ X
    assert found.dtype == S.toarray(like=like).dtype or kind == "srft"
    assert distance(xp.to_numpy(found), T @ xp.to_numpy(X)) < xp.tolerance
    assert distance(xp.to_numpy(S @ X[:, 0]), T @ xp.to_numpy(X)[:, 0]) < xp.tolerance
    Y = xp.asarray(data(m, 2, is_complex, seed=5))
    back = S.adjoint() @ Y
    assert distance(xp.to_numpy(back), T.conj().T @ xp.to_numpy(Y)) < xp.tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 7, 64, 199])
def test_shares_of_any_cut_sum_to_the_product(kind, cut):
    n = 200
    S = make(kind, 24, n)
    X = data(n, 3, is_complex=True)
    shares = [S.apply_rows(X[a : a + cut, :], a) for a in range(0, n, cut)]
    assert distance(np.sum(shares, axis=0), S @ X) < HOST_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_and_transforms_give_the_same_shares(kind):
    # Few rows meet a tile of S, many the transform of the padded block.
    n, m = 2048, 16
    S = make(kind, m, n)
    X = data(n, 4)
    for start, stop in ((0, n), (5, 1900), (1024, 2048), (700, 701), (2040, 2048)):
        tile = S.columns(start, stop)
        found = S.apply_rows(X[start:stop, :], start)
        assert distance(found, tile @ X[start:stop, :]) < HOST_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [None, "complex128"])
def test_columns_are_those_of_the_whole(kind, dtype):
    S = make(kind, 13, 90, dtype=dtype)
    T = S.toarray()
    for start, stop in ((0, 0), (0, 1), (17, 60), (89, 90)):
        assert S.columns(start, stop).shape == (13, stop - start)
        np.testing.assert_allclose(S.columns(start, stop), T[:, start:stop], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", STREAMING)
def test_streaming_kinds_do_not_ask_for_the_number_of_rows(kind):
    X = data(75, 3)
    S = make(kind, 12, None)
    total = S.apply_rows(X[:40, :], 0) + S.apply_rows(X[40:, :], 40)
    assert S.shape == (12, None)
    assert distance(total, make(kind, 12, 75) @ X) < HOST_TOLERANCE
    assert distance(total, S @ X) < HOST_TOLERANCE
    with pytest.raises(ValueError, match=r"n must be known for S\.toarray"):
        S.toarray()
    with pytest.raises(ValueError, match=r"n must be known for S\.adjoint"):
        S.adjoint()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_sparse_data_give_what_dense_data_give(kind, dtype, layout):
    n = 150
    rng = np.random.default_rng(4)
    A = scipy.sparse.random_array((n, 9), density=0.1, rng=rng, format=layout)
    if dtype == "complex128":
        A = A * (1 + 2j)
    S = make(kind, 20, n, dtype=dtype)
    expected = S @ A.toarray()
    assert distance(S @ A, expected) < HOST_TOLERANCE
    R = A.tocsr()
    shares = S.apply_rows(R[:64, :], 0) + S.apply_rows(R[64:, :], 64)
    assert distance(shares, expected) < HOST_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_blocks_are_never_made_dense(kind, monkeypatch):
    n = 400
    A = scipy.sparse.random_array((n, 30), density=0.05, rng=np.random.default_rng(4)).tocsr()
    S = make(kind, 20, n)
    expected = S @ A.toarray()
    plain = scipy.sparse.csr_array.toarray

    def watched(self, *args, **kwargs):
        assert self.shape[0] <= 20, "a sparse block was made dense"
        return plain(self, *args, **kwargs)

    for cls in (scipy.sparse.csr_array, scipy.sparse.csc_array):
        monkeypatch.setattr(cls, "toarray", watched)
    assert distance(S @ A, expected) < HOST_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [4, 40], ids=["tall", "wider than the sketch"])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_matrix_free_data_are_met_by_products(kind, d, is_complex):
    n = 60
    X = data(n, d, is_complex)
    S = make(kind, 14, n, dtype="complex128" if is_complex else None)
    A = aslinearoperator(X)
    assert distance(S @ A, S @ X) < HOST_TOLERANCE
    part = S.apply_rows(aslinearoperator(X[20:, :]), 20)
    assert distance(part, S.apply_rows(X[20:, :], 20)) < HOST_TOLERANCE
    assert distance(S @ as_operator(X), S @ X) < HOST_TOLERANCE


def test_wide_matrix_free_data_cost_one_adjoint_product_a_row_of_the_sketch():
    X = data(50, 400)
    seen = []

    def rmatmat(P):
        seen.append(P.shape[1])
        return X.T @ P

    A = LinearOperator(X.shape, matvec=lambda v: X @ v, rmatmat=rmatmat, dtype=X.dtype)
    S = make("srht", 16, 50)
    assert distance(S @ A, S @ X) < HOST_TOLERANCE
    assert sum(seen) == 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["float32", "complex64", "float64", "complex128"])
def test_precision_follows_the_data(xp: Backend, kind, name):
    if name not in xp.all_dtypes:
        pytest.skip("the device lacks it")
    S = make(kind, 8, 40)
    X = xp.asarray(data(40, 2, name.startswith("complex")), dtype=name)
    wide = {"float32": "complex64", "float64": "complex128"}
    expected = wide.get(name, name) if kind == "srft" else name
    assert (S @ X).dtype == getattr(xp.xp, expected)
    assert S.columns(3, 5, like=X).dtype == getattr(xp.xp, expected)


@pytest.mark.parametrize("kind", ["srht", "gaussian", "sparse_sign", "srdct"])
def test_integers_are_worked_on_in_the_default_float(xp: Backend, kind):
    S = make(kind, 8, 40)
    X = xp.asarray(np.arange(80).reshape(40, 2))
    T = xp.to_numpy(S.toarray(like=xp.asarray(np.ones(1))))
    assert distance(xp.to_numpy(S @ X), T @ np.arange(80.0).reshape(40, 2)) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_products_scale_with_the_data(kind, scale):
    S = make(kind, 12, 64)
    X = data(64, 3)
    assert distance((S @ (scale * X)) / scale, S @ X) < HOST_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_array_is_not_written_to(xp: Backend, kind):
    if xp.name == "jax":
        pytest.skip("arrays cannot be written to")
    S = make(kind, 12, 64)
    X = xp.asarray(data(64, 3))
    before = xp.to_numpy(X)
    _ = S @ X, S.adjoint() @ X[:12, :]
    assert np.array_equal(before, xp.to_numpy(X))


@pytest.mark.parametrize("kind", KINDS)
def test_strided_and_empty_blocks_are_taken(kind):
    S = make(kind, 12, 64)
    X = data(128, 6)
    view = X[::2, ::3]
    assert distance(S @ view, S @ view.copy()) < HOST_TOLERANCE
    assert distance(S @ np.asfortranarray(X[:64, :]), S @ X[:64, :]) < HOST_TOLERANCE
    assert (S @ X[:64, :0]).shape == (12, 0)
    assert np.array_equal(S.apply_rows(X[:0, :], 64), np.zeros((12, 6)))
    assert (S.adjoint() @ X[:12, :0]).shape == (64, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 3), (5, 8), (4, 1000)])
def test_extreme_shapes(kind, size):
    m, n = size
    S = make(kind, m, n)
    X = data(n, 2)
    assert distance(S @ X, S.toarray() @ X) < HOST_TOLERANCE


def test_more_rows_than_there_are_need_replacement_or_padding():
    X = data(10, 2)
    for kind in ("srht", "srdct", "srft", "circulant", "block_srht"):
        S = make(kind, 40, 10, replace=True, **({"block": 8} if kind == "block_srht" else {}))
        assert distance(S @ X, S.toarray() @ X) < HOST_TOLERANCE
    for kind in ("gaussian", "rademacher", "gaussian_pooled", "countsketch", "leverage"):
        S = make(kind, 40, 10)
        assert distance(S @ X, S.toarray() @ X) < HOST_TOLERANCE


def test_pools_may_be_larger():
    S = sketch("gaussian_pooled", 10, 50, block=100, rng=0)
    assert S.n_padded == 1024
    X = data(50, 2)
    assert distance(S @ X, S.toarray() @ X) < HOST_TOLERANCE


# -------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("kind", KINDS)
def test_products_refuse_wrong_shapes(kind):
    S = make(kind, 8, 40)
    with pytest.raises(ValueError, match=r"X must have 40 rows .* got shape \(41, 2\)"):
        S @ data(41, 2)
    with pytest.raises(ValueError, match="X_block must end at row 40"):
        S.apply_rows(data(10, 2), 31)
    with pytest.raises(ValueError, match="start must be at least 0"):
        S.apply_rows(data(10, 2), -1)
    with pytest.raises(TypeError, match="start must be an integer"):
        S.apply_rows(data(10, 2), 1.0)
    with pytest.raises(ValueError, match="X must be 1-D or 2-D"):
        S @ np.ones((40, 2, 2))
    with pytest.raises(ValueError, match=r"Y must be of shape \(8,\) or \(8, q\)"):
        S.adjoint() @ np.ones(9)
    with pytest.raises(ValueError, match="stop must be between 0 and 40"):
        S.columns(0, 41)
    with pytest.raises(ValueError, match="start must be between 0 and 5"):
        S.columns(6, 5)
    with pytest.raises(TypeError, match="got set"):
        S @ {1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_products_refuse_nan_and_infinity(xp: Backend, kind):
    bad = np.nan if kind in STREAMING else np.inf
    options = {"replace": True} if kind in SAMPLED else {}
    S = make(kind, 80, 40, **options, **({"block": 128} if kind == "block_srht" else {}))
    X = data(40, 3)
    X[17, 1] = bad
    with pytest.raises(ValueError, match="must not contain NaN or infinity"):
        S @ xp.asarray(X)
    Y = data(80, 1)
    Y[3, 0] = bad
    with pytest.raises(ValueError, match="Y must not contain NaN or infinity"):
        S.adjoint() @ xp.asarray(Y)


def test_sparse_and_matrix_free_data_with_nan_are_refused():
    S = make("sparse_sign", 12, 40)
    A = scipy.sparse.random_array((40, 5), density=0.3, rng=np.random.default_rng(0)).tocsr()
    A.data[7] = np.nan
    with pytest.raises(ValueError, match="must not contain NaN or infinity"):
        S @ A
    with pytest.raises(ValueError, match="a product with it does"):
        S @ aslinearoperator(np.full((40, 2), np.nan))


def test_an_overflowing_product_of_finite_data_is_refused():
    with pytest.raises(ValueError, match=r"overflows\. Multiply X by a power of two"):
        make("countsketch", 2, 40) @ np.full(40, 1.7e308)


@pytest.mark.parametrize("row", [0, 7, 50])
def test_leverage_refuses_nan_in_any_row_however_data_are_cut(xp: Backend, row):
    scores = np.zeros(100)
    scores[50:52] = 1.0
    S = sketch("leverage", 3, 100, scores=scores, rng=0)
    X = np.ones((100, 2))
    X[row, 0] = np.nan
    with pytest.raises(ValueError, match=rf"X must not contain NaN .* row {row} "):
        S @ xp.asarray(X)
    for start in (0, 50):
        block = xp.asarray(X[start : start + 50])
        if start <= row < start + 50:
            with pytest.raises(ValueError, match="X_block must not contain NaN"):
                S.apply_rows(block, start)
        else:
            assert S.apply_rows(block, start).shape == (3, 2)


@pytest.mark.parametrize("row", [0, 7, 50])
def test_leverage_refuses_nan_in_any_row_of_sparse_and_matrix_free_data(row):
    scores = np.zeros(100)
    scores[50:52] = 1.0
    S = sketch("leverage", 3, 100, scores=scores, rng=0)
    X = np.ones((100, 2))
    X[row, 0] = np.inf
    for A in (
        scipy.sparse.csr_array(X),
        aslinearoperator(X),
        scipy.sparse.csr_array(X[:, [0] * 9]),
    ):
        with pytest.raises(ValueError, match="X must not contain NaN"):
            S @ A


def test_shape_errors_of_sparse_and_matrix_free_data_name_the_argument():
    S = make("srht", 8, 40)
    vector = scipy.sparse.coo_array(np.ones(40))
    with pytest.raises(ValueError, match=r"X must be 2-D \(rows, columns\), got shape \(40,\)"):
        S @ vector
    with pytest.raises(ValueError, match="X_block must be 2-D"):
        S.apply_rows(vector, 0)


@pytest.mark.parametrize("kind", STREAMING)
def test_rows_of_a_stream_are_numbered_up_to_a_limit(kind):
    S = make(kind, 8, None)
    last = 2**59 - 5
    assert np.all(np.isfinite(S.apply_rows(data(5, 2), last)))
    assert S.columns(last, last + 5).shape == (8, 5)
    for call in (lambda: S.apply_rows(data(5, 2), last + 1), lambda: S.columns(last + 1, last + 6)):
        with pytest.raises(ValueError, match=rf"start must be at most {last} for 5 rows and m=8"):
            call()


@pytest.mark.parametrize("kind", ["srht", "gaussian", "leverage"])
def test_sketches_are_left_factors_and_no_arrays(kind):
    S = make(kind, 8, 40)
    X = data(3, 40, is_complex=True)
    Y = data(3, 8)
    for factor, sketched in ((X, S.adjoint()), (Y, S), (X.tolist(), S)):
        with pytest.raises(TypeError, match="left factor"):
            factor @ sketched
    with pytest.raises(TypeError, match=r"S\.toarray\(\) returns"):
        np.asarray(S)
    with pytest.raises(TypeError, match=r"S\.toarray\(\) returns"):
        np.asarray(S.adjoint())
    T = S.toarray()
    # What the message says to write.
    Z = data(3, 8, is_complex=True)
    assert distance((S.adjoint() @ Z.conj().T).conj().T, Z @ T) < HOST_TOLERANCE
    assert distance((S @ X.conj().T).conj().T, X @ T.conj().T) < HOST_TOLERANCE
