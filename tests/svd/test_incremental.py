"""Streams of columns: exact accounts, enclosures, merges, changes, and what is refused."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator, svds

from linalgkit import AccuracyWarning, NotFittedError
from linalgkit._core import array as core_array
from linalgkit.svd import IncrementalSVD, tree_svd
from tests.conftest import Backend
from tests.svd.problems import SPECTRA, check_certificate, cut, draw, matrix, optimal

METHODS = ("qr", "cholqr", "gram", "auto")
STABLE = ("qr", "cholqr")


def streamed(A: Any, width: int = 17, **options: Any) -> IncrementalSVD:
    """Return an object that has taken in blocks of columns."""
    usual = {"n_components": 8, "n_oversamples": 4, "compute_v": True, "buffer_size": 24}
    svd = IncrementalSVD(**{**usual, **options})
    for block in cut(A, width):
        svd.append_columns(block)
    return svd


# --------------------------------------------------------------------------- what is certain


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("method", METHODS)
def test_the_error_is_exact_and_enclosures_hold(
    method: str, is_complex: bool, spectrum: str
) -> None:
    A, s = matrix(np.random.default_rng(1), 60, 200, spectrum, is_complex=is_complex)
    result = streamed(A, method=method, buffer_size=10).result()
    check_certificate(result, A, rtol=1e-7 if method in ("gram", "auto") else 1e-12)
    assert result.error_kind == "exact"
    error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    if method in STABLE:
        assert abs(result.error_fro - error) <= 1e-12 * np.linalg.norm(A)
    else:
        steps = 25
        assert abs(result.error_fro**2 - error**2) <= 1e-15 * 8 * steps * s[0] ** 2


@pytest.mark.parametrize("truncation", ["svd", "frequent-directions"])
def test_enclosures_hold_in_many_random_streams(truncation: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(150):
        m, n = (int(v) for v in rng.integers(2, 25, 2))
        A = draw(rng, m, n, is_complex=bool(rng.integers(2))) * 10.0 ** rng.integers(-3, 4, n)
        r = int(rng.integers(1, min(m, 6) + 1))
        options = {
            "n_components": r,
            "n_oversamples": int(rng.integers(0, 4)),
            "method": METHODS[rng.integers(4)],
            "buffer_size": int(rng.integers(1, 8)),
            "truncation": truncation,
        }
        svd = streamed(A, int(rng.integers(1, 9)), **options)
        is_projection = truncation != "svd"
        check_certificate(svd.result(), A, rtol=1e-7, is_projection=is_projection)


def test_a_direction_lost_by_truncation_is_admitted_and_kept_by_frequent_directions() -> None:
    # e1 ... e10 once, then e11 a thousand times, each time too small to stay.
    A = np.zeros((12, 1010))
    A[np.arange(10), np.arange(10)] = 1.0
    A[10, 10:] = 0.9
    true = np.linalg.svd(A, compute_uv=False)
    one_by_one = {"n_components": 10, "n_oversamples": 0, "buffer_size": 1, "method": "qr"}
    lost = streamed(A, 1, **one_by_one).result()
    assert lost.s[0] == pytest.approx(1.0)
    lower, upper = lost.sigma_bounds()
    assert lower[0] <= true[0] <= upper[0]
    assert upper[0] < 1.01 * true[0]
    kept = streamed(A, 1, **one_by_one, truncation="frequent-directions").result()
    assert kept.s[0] > 0.99 * true[0]
    buffered = streamed(A, 1, **{**one_by_one, "buffer_size": None}).result()
    assert buffered.s[0] == pytest.approx(true[0])


def test_frequent_directions_keep_their_promise() -> None:
    A, s = matrix(np.random.default_rng(3), 40, 300)
    result = streamed(A, 7, truncation="frequent-directions", n_oversamples=2, buffer_size=5)
    found = result.result()
    U, t = np.asarray(found.U), np.asarray(found.s)
    assert found.error_kind == "bound"
    kept = result._stream.flushed().kept
    U = np.asarray(kept.basis).T
    B = U if kept.is_scaled else U * np.asarray(kept.s)
    gap = np.linalg.eigvalsh(A @ A.T - B @ B.T)
    assert gap[0] >= -1e-12
    for k in range(10):
        assert gap[-1] <= optimal(s, k) ** 2 / (10 + 1 - k) + 1e-12
    assert t[0] <= s[0] + 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_lost_where_the_rank_fits(method: str) -> None:
    rng = np.random.default_rng(4)
    A = draw(rng, 50, 8) @ draw(rng, 8, 120)
    result = streamed(A, 9, method=method).result()
    s = np.linalg.svd(A, compute_uv=False)[:8]
    np.testing.assert_allclose(result.s, s, rtol=1e-12)
    np.testing.assert_allclose((result.U * result.s) @ result.Vh, A, atol=1e-11 * s[0])
    assert result.status == "converged"
    few = streamed(A[:, :3], 9, method=method).result()
    assert (few.rank, few.status) == (3, "rank_deficient")


@pytest.mark.parametrize("method", STABLE)
def test_single_columns_of_a_deficient_stream_keep_the_basis_orthonormal(method: str) -> None:
    rng = np.random.default_rng(5)
    basis = draw(rng, 40, 6)
    svd = IncrementalSVD(10, method=method, buffer_size=1, n_oversamples=0)
    for _ in range(3000):
        svd.append_columns(basis @ rng.standard_normal(6))
    U = np.asarray(svd._stream.kept.basis)
    assert np.linalg.norm(U @ U.conj().T - np.eye(len(U)), 2) <= 1e-14 * 10
    assert svd.result().rank == 6


@pytest.mark.parametrize("tol", [0.5, 0.1, 1e-3])
@pytest.mark.parametrize("mode", ["relative", "absolute"])
def test_a_tolerance_is_met_with_few_triplets(tol: float, mode: str) -> None:
    A, s = matrix(np.random.default_rng(6), 80, 400)
    norm = np.linalg.norm(A)
    limit = tol * norm if mode == "relative" else tol
    svd = streamed(A, 30, n_components=None, n_oversamples=None, tol=tol, tol_mode=mode)
    result = svd.result()
    assert result.error_fro <= limit * (1 + 1e-12)
    best = next(k for k in range(len(s) + 1) if optimal(s, k) <= limit)
    assert best <= result.rank <= best + 2
    with pytest.warns(AccuracyWarning, match="above the tolerance, with n_components=2"):
        short = streamed(A, 30, n_components=2, tol=tol / 10, tol_mode=mode).result()
    assert short.status == "max_rank"


# ----------------------------------------------------------------------------- kinds of data


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "operator", "vectors"])
@pytest.mark.parametrize("method", METHODS)
def test_other_forms_of_columns_give_the_same(form: str, method: str) -> None:
    A, _ = matrix(np.random.default_rng(7), 40, 90, is_complex=True)
    A = A * (np.random.default_rng(8).random(A.shape) < 0.3)
    expected = streamed(A, 90, method=method).result()
    if form == "vectors":
        found = streamed(A, 90, method=method)
        found = IncrementalSVD(8, n_oversamples=4, compute_v=True, method=method, buffer_size=24)
        for column in A.T:
            found.append_columns(column)
    else:
        given = aslinearoperator(A) if form == "operator" else sp.coo_array(A).asformat(form)
        found = IncrementalSVD(8, n_oversamples=4, compute_v=True, method=method, buffer_size=24)
        found.append_columns(given)
    result = found.result()
    np.testing.assert_allclose(result.s, expected.s, rtol=1e-11)
    np.testing.assert_allclose(result.error_fro, expected.error_fro, rtol=1e-11)
    np.testing.assert_allclose((result.U * result.s) @ result.Vh, (expected.U * expected.s)
                               @ expected.Vh, atol=1e-11)  # fmt: skip


def test_columns_one_by_one_are_as_good_as_large_blocks() -> None:
    A, _ = matrix(np.random.default_rng(9), 40, 300)
    one, all_at_once = streamed(A, 1).result(), streamed(A, 300).result()
    np.testing.assert_array_equal(one.s, all_at_once.s)
    assert one.error_fro == all_at_once.error_fro


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e-300, 2.0**500])
@pytest.mark.parametrize("method", METHODS)
def test_answers_scale_with_the_data(scale: float, method: str) -> None:
    A, _ = matrix(np.random.default_rng(10), 30, 90)
    plain, scaled = streamed(A, method=method).result(), streamed(scale * A, method=method).result()
    np.testing.assert_allclose(scaled.s / scale, plain.s, rtol=1e-12)
    for name in ("norm_fro", "error_fro", "error_spectral_bound"):
        assert getattr(scaled, name) / scale == pytest.approx(getattr(plain, name), rel=1e-9)
    np.testing.assert_allclose(scaled.sigma_bounds()[1] / scale, plain.sigma_bounds()[1], rtol=1e-9)


def test_units_may_change_on_the_way() -> None:
    A, _ = matrix(np.random.default_rng(11), 30, 90)
    powers = 10.0 ** np.repeat([-200, 0, 150, 3, -8, 150], 15)
    B = A * powers
    result = streamed(B, 15, n_oversamples=22).result()
    s = np.linalg.svd(B / 1e150, compute_uv=False)
    np.testing.assert_allclose(result.s[:2] / 1e150, s[:2], rtol=1e-10)


def test_single_precision_is_kept_and_its_account_is_not_single() -> None:
    A, _ = matrix(np.random.default_rng(12), 60, 200)
    for method in METHODS:
        result = streamed(A.astype(np.float32), method=method).result()
        assert result.U.dtype == result.s.dtype == result.Vh.dtype == np.float32
        error = np.linalg.norm(A - (result.U.astype(float) * result.s) @ result.Vh)
        assert abs(result.error_fro - error) <= 1e-5 * np.linalg.norm(A)


@pytest.mark.parametrize("f", [0.999, 0.9])
def test_forgetting_is_a_factor_a_column(f: float) -> None:
    A, _ = matrix(np.random.default_rng(13), 40, 150)
    faded = A * f ** np.arange(150)[::-1]
    for width in (1, 40):
        result = streamed(A, width, forgetting=f).result()
        check_certificate(result, faded)
        error = np.linalg.norm(faded - (result.U * result.s) @ result.Vh)
        assert result.error_fro == pytest.approx(error, rel=1e-10)


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("f", [1.0, 0.98])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_centred_columns_have_no_mean(form: str, f: float, is_complex: bool) -> None:
    rng = np.random.default_rng(14)
    A, _ = matrix(rng, 40, 150, is_complex=is_complex)
    A = A + draw(rng, 40, 1, is_complex=is_complex)
    weights = f ** np.arange(150)[::-1]
    mean = (A * weights**2).sum(axis=1) / (weights**2).sum()
    centred = (A - mean[:, None]) * weights
    svd = IncrementalSVD(8, center=True, forgetting=f)
    for block in cut(A, 23):
        svd.append_columns(block if form == "dense" else sp.csc_array(block))
    check_certificate(svd.result(), centred, rtol=1e-9)
    np.testing.assert_allclose(svd.mean_, mean.conj(), atol=1e-12)
    assert svd.result().norm_fro == pytest.approx(np.linalg.norm(centred), rel=1e-9)


@pytest.mark.parametrize("kind", ["weights", "matrix"])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_left_vectors_are_orthonormal_in_an_inner_product(kind: str, is_complex: bool) -> None:
    rng = np.random.default_rng(15)
    A, _ = matrix(rng, 30, 80, is_complex=is_complex)
    if kind == "weights":
        given = rng.uniform(0.1, 4.0, 30)
        W = np.diag(given)
    else:
        G = draw(rng, 30, 30, is_complex=is_complex)
        given = W = G @ G.conj().T + np.eye(30)
    svd = IncrementalSVD(5, inner_product=given, compute_v=True)
    for block in cut(A, 11):
        svd.append_columns(block)
    result = svd.result()
    np.testing.assert_allclose(result.U.conj().T @ W @ result.U, np.eye(5), atol=1e-12)
    L = np.linalg.cholesky(W)
    rest = L.conj().T @ (A - (result.U * result.s) @ result.Vh)
    assert result.error_fro == pytest.approx(np.linalg.norm(rest), rel=1e-10)
    coordinates = svd.transform(A.conj().T)
    np.testing.assert_allclose(coordinates, (A.conj().T @ W) @ result.U, atol=1e-11)


# ----------------------------------------------------------------------------------- merging


@pytest.mark.parametrize("method", METHODS)
def test_any_tree_of_64_leaves_has_the_same_account(method: str) -> None:
    A, s = matrix(np.random.default_rng(16), 50, 320, is_complex=True)
    leaves = [streamed(block, 5, method=method) for block in cut(A, 5)]
    assert len(leaves) == 64
    rng = np.random.default_rng(17)
    for shape in ("chain", "balanced", "random"):
        nodes = [copy.deepcopy(leaf) for leaf in leaves]
        while len(nodes) > 1:
            at = {"chain": 0, "balanced": len(nodes) - 2, "random": rng.integers(len(nodes) - 1)}
            i = int(at[shape])
            if shape == "balanced":
                nodes = [a.merge(b) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
                continue
            nodes[i : i + 2] = [nodes[i].merge(nodes[i + 1])]
        result = nodes[0].result()
        check_certificate(result, A, rtol=1e-7 if method in ("gram", "auto") else 1e-12)
        error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
        assert abs(result.error_fro - error) <= 1e-12 * np.linalg.norm(A)
        assert error <= 1.2 * optimal(s, 8)


def test_merges_agree_to_rounding_where_the_rank_fits() -> None:
    rng = np.random.default_rng(18)
    A = draw(rng, 60, 7) @ draw(rng, 7, 256)
    s = np.linalg.svd(A, compute_uv=False)[:7]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        parts = [streamed(A[:, 64 * k : 64 * k + 64], n_components=7) for k in order]
        merged = IncrementalSVD.merge_all(parts).result()
        np.testing.assert_allclose(merged.s, s, rtol=1e-12)


def test_merging_leaves_the_other_alone_and_checks_it() -> None:
    A, _ = matrix(np.random.default_rng(19), 30, 60)
    first, second = streamed(A[:, :30]), streamed(A[:, 30:])
    before = second.result().s.copy()
    first.merge(second)
    np.testing.assert_array_equal(second.result().s, before)
    assert first.n_samples_seen_ == 60
    empty = {"n_oversamples": 4, "compute_v": True, "buffer_size": 24}
    assert IncrementalSVD(8, **empty).merge(second).n_samples_seen_ == 30
    assert second.merge(IncrementalSVD(8, **empty)).n_samples_seen_ == 30
    with pytest.raises(TypeError, match="only objects of one class"):
        first.merge(A)
    with pytest.raises(ValueError, match="n_components must agree for a merge, got 8 and 7"):
        first.merge(streamed(A, n_components=7))
    with pytest.raises(ValueError, match="m must agree"):
        first.merge(streamed(A[:20, :]))
    with pytest.raises(ValueError, match="forgetting must be 1 for a merge"):
        streamed(A, forgetting=0.9).merge(streamed(A, forgetting=0.9))
    with pytest.raises(ValueError, match="inner_product must agree"):
        streamed(A, inner_product=np.ones(30)).merge(streamed(A, inner_product=np.full(30, 2.0)))
    with pytest.raises(ValueError, match="states must hold one object"):
        IncrementalSVD.merge_all([])


# ----------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_changes_of_what_is_there_are_bounded(is_complex: bool) -> None:
    rng = np.random.default_rng(20)
    A, _ = matrix(rng, 40, 90, is_complex=is_complex)
    svd = streamed(A[:30, :60], 13)
    svd.append_rows(A[30:, :60])
    check_certificate(svd.result(), A[:, :60])
    svd.append_columns(A[:, 60:])
    check_certificate(svd.result(), A)
    X, Y = draw(rng, 40, 3, is_complex=is_complex), 0.01 * draw(rng, 90, 3, is_complex=is_complex)
    svd.update(X, Y)
    A = A + X @ Y.conj().T
    check_certificate(svd.result(), A)
    svd.remove_columns([0, 7, 89])
    A = np.delete(A, [0, 7, 89], axis=1)
    check_certificate(svd.result(), A)
    new = draw(rng, 40, 2, is_complex=is_complex)
    svd.replace_columns(np.asarray([3, 80]), new)
    A[:, [3, 80]] = new
    check_certificate(svd.result(), A)
    assert svd.result().error_kind == "bound"


def test_changes_of_what_is_kept_whole_stay_exact() -> None:
    rng = np.random.default_rng(21)
    A = draw(rng, 20, 30)
    options = {"n_components": 20, "n_oversamples": 0, "compute_v": True, "method": "qr"}
    svd = IncrementalSVD(**options).append_columns(A[:, :20])
    svd.append_columns(A[:, 20:])
    svd.update(draw(rng, 20, 2) * 0 + 1, np.ones((30, 2)))
    A = A + 2.0
    svd.remove_columns([4])
    A = np.delete(A, 4, axis=1)
    result = svd.result()
    np.testing.assert_allclose((result.U * result.s) @ result.Vh, A, atol=1e-12)
    assert (result.error_kind, result.error_fro < 1e-12) == ("exact", True)


def test_an_update_after_truncation_does_not_claim_to_be_below_the_truth() -> None:
    # A = diag(2, 1), kept diag(2, 0): taking 3 from the second entry leaves sigma_1 = 2, found 3.
    svd = IncrementalSVD(1, n_oversamples=0, buffer_size=2, compute_v=True)
    svd.append_columns(np.diag([2.0, 1.0]))
    svd.update(np.asarray([[0.0], [-3.0]]), np.asarray([[0.0], [1.0]]))
    check_certificate(svd.result(), np.diag([2.0, -2.0]))


# ----------------------------------------------------------------------------------- estimator


def test_rows_are_samples_for_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(22)
    X = draw(rng, 200, 12) * np.geomspace(3, 0.3, 12)
    model = IncrementalSVD(3, n_oversamples=9, center=True).fit(X)
    pca = PCA(3).fit(X)
    np.testing.assert_allclose(np.abs(model.components_ @ pca.components_.T), np.eye(3), atol=1e-10)
    np.testing.assert_allclose(model.singular_values_, pca.singular_values_, rtol=1e-12)
    np.testing.assert_allclose(model.mean_, pca.mean_, atol=1e-13)
    Z = model.transform(X)
    np.testing.assert_allclose(np.abs(Z), np.abs(pca.transform(X)), atol=1e-10)
    np.testing.assert_allclose(
        model.inverse_transform(Z), pca.inverse_transform(pca.transform(X)), atol=1e-10
    )
    assert model.fit_transform(X).shape == (200, 3)
    np.testing.assert_allclose(model.fit(iter([X[:50], X[50:]])).transform(X), Z, atol=1e-12)


def test_results_go_into_operators_and_states() -> None:
    A, _ = matrix(np.random.default_rng(23), 40, 90)
    svd = streamed(A, 13)
    operator = svd.to_linear_operator()
    np.testing.assert_allclose(svds(operator, 3)[1][::-1], svd.result().s[:3], rtol=1e-10)
    twins = [
        IncrementalSVD.from_state(svd.to_state()),
        pickle.loads(pickle.dumps(svd)),
        copy.copy(svd),
    ]
    extra = draw(np.random.default_rng(24), 40, 30)
    expected = copy.deepcopy(svd).append_columns(extra).result()
    for twin in twins:
        found = twin.append_columns(extra).result()
        np.testing.assert_array_equal(found.s, expected.s)
        np.testing.assert_array_equal(found.Vh, expected.Vh)
        assert found.error_fro == expected.error_fro
    assert svd.n_samples_seen_ == 90


def test_looking_at_the_answer_changes_nothing() -> None:
    A, _ = matrix(np.random.default_rng(25), 40, 90)
    looked, silent = streamed(A[:, :40], 7), streamed(A[:, :40], 7)
    looked.result()
    np.testing.assert_array_equal(
        looked.append_columns(A[:, 40:]).result().s, silent.append_columns(A[:, 40:]).result().s
    )


# ----------------------------------------------------------------------------------- libraries


@pytest.mark.parametrize("method", METHODS)
def test_every_library_gives_the_answer_of_numpy(xp: Backend, method: str) -> None:
    for dtype in xp.dtypes:
        A, _ = matrix(np.random.default_rng(26), 30, 80, is_complex=dtype.startswith("complex"))
        A = A.astype(dtype)
        expected = streamed(A, 16, method=method).result()
        svd = streamed(xp.asarray(A), 16, method=method)
        found = svd.result()
        for array in (found.U, found.s, found.Vh, *found.sigma_bounds()):
            assert core_array.library_of(array) == core_array.library_of(xp.asarray(A))
            assert core_array.device(array) == xp.device
        assert found.U.dtype == found.Vh.dtype == xp.asarray(A).dtype
        tolerance = 2e-5 if dtype in ("float32", "complex64") else 1e-11
        np.testing.assert_allclose(xp.to_numpy(found.s), expected.s, rtol=tolerance)
        assert found.error_fro == pytest.approx(expected.error_fro, rel=100 * tolerance)
        product = (found.U * xp.xp.astype(found.s, found.U.dtype)[None, :]) @ found.Vh
        np.testing.assert_allclose(
            xp.to_numpy(product), (expected.U * expected.s) @ expected.Vh, atol=10 * tolerance
        )


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_components": None}, ValueError, "n_components or tol must be given"),
        ({"n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"n_components": 31}, ValueError, "n_components must be between 1 and 30 for a matrix"),
        ({"n_components": 2.5}, TypeError, "n_components must be"),
        ({"tol": -1.0}, ValueError, "tol must be at least 0"),
        ({"tol_mode": "both"}, ValueError, "tol_mode must be one of"),
        ({"method": "svd"}, ValueError, "method must be one of"),
        ({"truncation": "none"}, ValueError, "truncation must be one of"),
        ({"buffer_size": 0}, ValueError, "buffer_size must be at least 1"),
        ({"n_oversamples": -1}, ValueError, "n_oversamples must be at least 0"),
        ({"forgetting": 0.0}, ValueError, "forgetting must be"),
        ({"forgetting": 1.1}, ValueError, "forgetting must be"),
        ({"center": 1}, TypeError, "center must be"),
        ({"center": True, "compute_v": True}, ValueError, "compute_v must be False with center"),
        ({"inner_product": np.ones(7)}, ValueError, r"inner_product must be of shape \(30,\)"),
        ({"inner_product": -np.ones(30)}, ValueError, "inner_product must have positive weights"),
        ({"inner_product": -np.eye(30)}, ValueError, "inner_product must be positive definite"),
        ({"inner_product": np.triu(np.ones((30, 30)))}, ValueError, "must be Hermitian"),
        ({"inner_product": np.full(30, np.nan)}, ValueError, "inner_product must not contain NaN"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict[str, Any], error: type, match: str) -> None:
    A = np.ones((30, 4))
    with pytest.raises(error, match=match):
        IncrementalSVD(**{"n_components": 2, **options}).append_columns(A)


@pytest.mark.parametrize(
    ("block", "error", "match"),
    [
        (np.ones((29, 4)), ValueError, "A must have 30 rows as the columns before, got 29"),
        (np.ones(29), ValueError, "A must have 30 rows as the columns before, got 29"),
        (np.ones((2, 30, 3)), ValueError, "A must be 2-D"),
        (np.full((30, 2), np.nan), ValueError, "A must not contain NaN or infinity"),
        (np.ones((30, 2)) * 1j, TypeError, "A must fit into float64"),
        (np.asarray([["a"] * 2] * 30), TypeError, "A"),
        (sp.csc_array(np.ones((30, 2))), TypeError, "all blocks must be of one kind"),
        ("text", TypeError, "A must be an array"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_bad_blocks_are_refused_and_change_nothing(block: Any, error: type, match: str) -> None:
    A, _ = matrix(np.random.default_rng(27), 30, 40)
    svd = streamed(A)
    with pytest.raises(error, match=match):
        svd.append_columns(block)
    svd.append_columns(A)
    np.testing.assert_array_equal(svd.result().s, streamed(np.concatenate([A, A], 1)).result().s)


def test_other_libraries_are_refused() -> None:
    import array_api_strict

    with pytest.raises(TypeError, match="all blocks must be of one kind, library and device"):
        streamed(np.ones((30, 4))).append_columns(array_api_strict.ones((30, 3)))


def test_calls_that_need_more_say_what() -> None:
    svd = IncrementalSVD(2)
    for call in (svd.result, svd.flush, lambda: svd.transform(np.ones((1, 3)))):
        with pytest.raises(NotFittedError, match="has seen no data yet"):
            call()
    svd.append_columns(np.eye(5))
    for call in (
        lambda: svd.append_rows(np.ones((1, 5))),
        lambda: svd.update(np.ones((5, 1)), np.ones((5, 1))),
        lambda: svd.remove_columns([0]),
        lambda: svd.replace_columns([0], np.ones((5, 1))),
        svd.to_linear_operator,
    ):
        with pytest.raises(ValueError, match=r"needs compute_v=True, got False. Make the object"):
            call()
    full = IncrementalSVD(2, compute_v=True).append_columns(np.eye(5))
    with pytest.raises(ValueError, match="B must have 5 columns as the matrix has, got 4"):
        full.append_rows(np.ones((1, 4)))
    with pytest.raises(ValueError, match="X must have 5 rows"):
        full.update(np.ones((4, 1)), np.ones((5, 1)))
    with pytest.raises(ValueError, match="idx must hold numbers from 0 to 4, got 5"):
        full.remove_columns([5])
    with pytest.raises(ValueError, match="idx must hold every number once"):
        full.remove_columns([1, 1])
    with pytest.raises(ValueError, match="idx must leave one column"):
        full.remove_columns(range(5))
    with pytest.raises(ValueError, match="r must be between 1 and 2"):
        full.result().optimal_error_bounds(3)


def test_empty_and_zero_blocks_are_harmless() -> None:
    A, _ = matrix(np.random.default_rng(28), 30, 40)
    svd = IncrementalSVD(8, n_oversamples=4, compute_v=True)
    svd.append_columns(np.zeros((30, 0)))
    svd.append_columns(np.zeros((30, 20)))
    zero = svd.result()
    assert (zero.rank, zero.error_fro, zero.norm_fro) == (0, 0.0, 0.0)
    svd.append_columns(A)
    check_certificate(svd.result(), np.concatenate([np.zeros((30, 20)), A], axis=1), rtol=1e-7)


# ------------------------------------------------------------------------------------- storage


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gram", "cholqr"])
def test_storage_is_that_of_the_formula_and_does_not_grow(method: str) -> None:
    m, kept, b = 20_000, 30, 60
    rng = np.random.default_rng(29)
    peaks = []
    for n in (1200, 4800):
        svd = IncrementalSVD(20, n_oversamples=10, method=method, buffer_size=b)
        columns = rng.standard_normal((m, 7))
        svd.append_columns(rng.standard_normal((m, 2 * b)))
        tracemalloc.start()
        for _ in range(n // 7):
            svd.append_columns(columns)
        peaks.append(tracemalloc.get_traced_memory()[1] / 8)
        tracemalloc.stop()
    words = {"gram": 2 * kept + b, "cholqr": 2 * kept + 2 * b}[method]
    assert peaks[1] < 1.01 * peaks[0]
    assert peaks[1] <= 1.25 * m * words


# ------------------------------------------------------------- cases that were once got wrong


def test_merges_after_rows_are_bounds() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        parts, whole = [], []
        for _ in range(2):
            A = draw(rng, 6, 8)
            svd = IncrementalSVD(6, n_oversamples=0, compute_v=True, method="qr").append_columns(A)
            for _ in range(3):
                B = draw(rng, 3, 8)
                svd.append_rows(B)
                A = np.concatenate([A, B])
            parts.append(svd)
            whole.append(A)
        check_certificate(parts[0].merge(parts[1]).result(), np.concatenate(whole, axis=1))
        assert parts[0].result().error_kind == "bound"


def test_what_shrinking_takes_in_changes_is_booked() -> None:
    A = np.diag([3.0, 2.0, 1.0, 0.0])
    options = {"n_oversamples": 0, "compute_v": True, "method": "qr"}
    svd = IncrementalSVD(3, truncation="frequent-directions", **options).append_columns(A)
    unit = np.eye(4)[:, [3]]
    svd.update(0.9 * unit, unit)
    result = svd.result()
    s = np.sort(np.r_[3.0, 2.0, 1.0, 0.9])[::-1]
    assert result.error_kind == "bound"
    for r in (1, 2, 3):
        low, high = result.optimal_error_bounds(r)
        assert low <= optimal(s, r) <= high


def test_frequent_directions_with_a_tolerance_enclose() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        A = draw(rng, 12, 60) * 10.0 ** -rng.uniform(0, 2, 60)
        svd = IncrementalSVD(6, n_oversamples=2, tol=0.5, truncation="frequent-directions",
                             buffer_size=4, method="qr", compute_v=True)  # fmt: skip
        for block in cut(A, 5):
            svd.append_columns(block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            check_certificate(svd.result(), A, is_projection=True)


def test_angles_are_bounded_after_rows_too() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        m, n, r = 6, 5, 2
        A = draw(rng, m, r) @ draw(rng, r, n)
        svd = IncrementalSVD(r, n_oversamples=0, compute_v=True, method="qr").append_columns(A)
        for _ in range(2):
            B = draw(rng, 2, r) @ draw(rng, r, n) * 0.1 + 0.05 * draw(rng, 2, n)
            svd.append_rows(B)
            A = np.concatenate([A, B])
        check_certificate(svd.result(), A)


def test_cancelled_updates_count_the_rounding_of_what_was_there() -> None:
    rng = np.random.default_rng(30)
    A, X, Y = draw(rng, 11, 6), 1e10 * draw(rng, 11, 1), draw(rng, 6, 1)
    svd = IncrementalSVD(6, n_oversamples=4, method="qr", compute_v=True).append_columns(A)
    svd.update(X, Y).update(-X, Y)
    lower, upper = svd.result().sigma_bounds()
    s = np.linalg.svd(A, compute_uv=False)
    assert np.all(lower <= s)
    assert np.all(s <= upper)


def test_parts_of_zeros_and_other_inner_products_and_cached_answers() -> None:
    rng = np.random.default_rng(31)
    options = {"n_oversamples": 1, "method": "cholqr", "compute_v": True}
    A = draw(rng, 11, 8)
    svd = IncrementalSVD(5, **options).append_columns(A)
    svd.merge(IncrementalSVD(5, **options).append_columns(np.zeros((11, 3))))
    check_certificate(svd.result(), np.concatenate([A, np.zeros((11, 3))], axis=1))
    weighted = IncrementalSVD(2, inner_product=np.full(11, 2.0)).append_columns(A)
    with pytest.raises(ValueError, match="inner_product must agree"):
        IncrementalSVD(2).merge(weighted)
    kept = np.array(svd.flush().result().s)
    svd.result().s[:] = 9.0
    np.testing.assert_array_equal(svd._stream.kept.s[: len(kept)], kept)


def test_a_failing_operator_leaves_the_object_as_it_was() -> None:
    A = draw(np.random.default_rng(32), 8, 100)
    B = A.copy()
    B[:, 70] = np.nan
    svd = IncrementalSVD(2).append_columns(A)
    with pytest.raises(ValueError, match="A must not contain NaN"):
        svd.append_columns(aslinearoperator(B))
    assert svd.n_samples_seen_ == 100


@pytest.mark.parametrize("base", [1.0, 1e-200])
@pytest.mark.parametrize("size", [1.0, 1e160])
def test_units_follow_changes_too(base: float, size: float) -> None:
    rng = np.random.default_rng(33)
    A, rows, X, Y = base * draw(rng, 8, 10), draw(rng, 3, 10), draw(rng, 8, 1), draw(rng, 10, 1)

    def fresh() -> IncrementalSVD:
        svd = IncrementalSVD(8, n_oversamples=4, compute_v=True, method="qr")
        return svd.append_columns(A)

    scale = max(base, size)
    wanted = {
        "rows": np.concatenate([A / scale, size / scale * rows]),
        "update": A / scale + size / scale * X @ Y.T,
        "replace": np.concatenate([size / scale * X, A[:, 1:] / scale], axis=1),
    }
    found = {
        "rows": fresh().append_rows(size * rows),
        "update": fresh().update(size * 1e-30 * X, 1e30 * Y),
        "replace": fresh().replace_columns([0], size * X),
    }
    for name, svd in found.items():
        s = np.linalg.svd(wanted[name], compute_uv=False)[:8]
        result = svd.result()
        np.testing.assert_allclose(result.s / scale, s[: result.rank], atol=1e-12 * s[0])
    single = IncrementalSVD(2, compute_v=True).append_columns(A.astype(np.float32))
    with pytest.raises(TypeError, match="X must fit into float32 as the matrix does, got float64"):
        single.update(X, Y.astype(np.float32))


def test_many_steps_can_be_copied_and_pickled() -> None:
    svd = IncrementalSVD(2, n_oversamples=0, compute_v=True, buffer_size=1)
    A = draw(np.random.default_rng(34), 4, 3000)
    svd.append_columns(A)
    for twin in (copy.deepcopy(svd), pickle.loads(pickle.dumps(svd))):
        np.testing.assert_array_equal(twin.result().Vh, svd.result().Vh)


def test_an_interrupted_object_says_so_until_it_is_fitted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = draw(np.random.default_rng(35), 60, 8)
    svd = IncrementalSVD(2, buffer_size=10).fit(X)

    def interrupt(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(svd._stream), "_absorb", interrupt)
        with pytest.raises(KeyboardInterrupt):
            svd.partial_fit(X)
    with pytest.raises(RuntimeError, match="interrupted half way through a block"):
        svd.result()
    assert svd.fit(X).n_samples_seen_ == 60


@pytest.mark.parametrize("is_list", [True, False], ids=["list", "generator"])
def test_a_tree_meets_an_absolute_tolerance(is_list: bool) -> None:
    A, s = matrix(np.random.default_rng(36), 60, 400)
    for tol in (0.05, 0.5):
        blocks = list(cut(A, 25))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = tree_svd(
                blocks if is_list else iter(blocks), tol=tol, tol_mode="absolute", fanin=3
            )
        assert result.status == "converged"
        assert result.error_fro <= tol * (1 + 1e-12)
        best = next(k for k in range(len(s) + 1) if optimal(s, k) <= tol)
        assert result.rank <= best + 2


@pytest.mark.parametrize("truncation", ["svd", "frequent-directions"])
@pytest.mark.parametrize("method", METHODS)
def test_errors_near_rounding_are_bounded_and_never_called_met(
    method: str, truncation: str
) -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        U, V = (np.linalg.qr(draw(rng, size, 2))[0] for size in (57, 3 + seed % 4))
        A = (U * [1.0, 1e-8]) @ V.T
        options = {"method": method, "truncation": truncation, "n_oversamples": 0}
        result = IncrementalSVD(1, **options).append_columns(A).result()
        left = A - result.U @ (result.U.T @ A)
        assert np.linalg.norm(left, 2) <= result.error_spectral_bound
        if truncation == "svd" and method in STABLE:
            np.testing.assert_allclose(result.error_fro, np.linalg.norm(left), rtol=1e-6)
        if result.error_kind == "bound":
            assert np.linalg.norm(left) <= result.error_fro
        if truncation == "svd":
            with pytest.warns(AccuracyWarning):
                tight = IncrementalSVD(1, tol=1e-9, **options).append_columns(A).result()
            assert tight.status == "max_rank"


@pytest.mark.parametrize("method", ["auto", "cholqr", "qr"])
@pytest.mark.parametrize("tol", [1e-8, 1e-12, 0.0])
def test_a_tolerance_near_rounding_is_met_where_the_rank_is_low(method: str, tol: float) -> None:
    rng = np.random.default_rng(37)
    A = draw(rng, 100, 30) @ draw(rng, 30, 600)
    for given in (A, sp.csc_array(A)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = IncrementalSVD(tol=tol, method=method).append_columns(given).result()
        assert (result.rank, result.status) == (30, "converged")
        assert result.error_fro <= 1e-13 * np.linalg.norm(A)


def test_the_norm_is_known_as_long_as_columns_and_rows_are_appended() -> None:
    rng = np.random.default_rng(38)
    A, B, C = draw(rng, 40, 90), draw(rng, 5, 90), draw(rng, 45, 30)
    svd = IncrementalSVD(6, compute_v=True, buffer_size=20).append_columns(A).append_rows(B)
    norm = np.hypot(np.linalg.norm(A), np.linalg.norm(B))
    np.testing.assert_allclose(svd.result().norm_fro, norm, rtol=1e-13)
    norm = np.hypot(norm, np.linalg.norm(C))
    np.testing.assert_allclose(svd.append_columns(C).result().norm_fro, norm, rtol=1e-13)
    whole = IncrementalSVD(40, compute_v=True, method="qr").append_columns(A).remove_columns([3, 5])
    left = np.delete(A, [3, 5], axis=1)
    np.testing.assert_allclose(whole.result().norm_fro, np.linalg.norm(left), rtol=1e-12)


# ------------------------------------------------------------------- found by attacks, in turn


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("size", [1, 5])
def test_right_vectors_are_right_after_auto_went_over_to_factors(
    size: int, is_complex: bool
) -> None:
    for seed in range(5):
        X = draw(np.random.default_rng(seed), 30, 60, is_complex=is_complex)
        X = X * (10.0 ** (-np.arange(30) / 3.0))[:, None]
        svd = IncrementalSVD(24, n_oversamples=0, buffer_size=size, compute_v=True)
        svd.append_columns(X[:, :20]).merge(
            IncrementalSVD(24, n_oversamples=0, buffer_size=size, compute_v=True).append_columns(
                X[:, 20:]
            )
        )
        result = svd.result()
        assert svd._stream.is_orthogonal
        error = np.linalg.norm(X - (result.U * result.s) @ result.Vh)
        np.testing.assert_allclose(result.error_fro, error, atol=1e-12 * np.linalg.norm(X))


def test_zeros_change_no_unit() -> None:
    A = np.zeros((6, 40))
    A[0, 0] = A[1, 1] = 1e-200
    svd = IncrementalSVD(3, buffer_size=2, compute_v=True).append_columns(A)
    svd.append_rows(np.zeros((2, 40))).update(np.zeros((8, 1)), np.ones((40, 1)))
    svd.replace_columns([7], np.zeros((8, 1)))
    np.testing.assert_allclose(svd.result().s, [1e-200, 1e-200], rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "big"), [("float64", 1e10), ("float64", 1e200), ("float32", 1e6)]
)
def test_corrections_count_by_their_products(dtype: str, big: float) -> None:
    A = np.diag([1.0, 1, 1, 1, 0, 0, 0, 0]).astype(dtype)
    x, y = np.zeros((8, 3), dtype=dtype), np.zeros((8, 3), dtype=dtype)
    x[4, 0], y[0, 0], x[5, 1], y[1, 1] = big, 1 / big, 1 / big, big
    svd = IncrementalSVD(8, compute_v=True).append_columns(A).update(x, y)
    np.testing.assert_allclose(svd.result().s, [2**0.5, 2**0.5, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("buffer_size", [None, 7, 50])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_columns_may_fade_to_nothing(dtype: str, buffer_size: int | None, is_sparse: bool) -> None:
    rng = np.random.default_rng(39)
    for f in (0.01, 0.5):
        X = draw(rng, 60, 90).astype(dtype)
        svd = IncrementalSVD(10, n_oversamples=1, forgetting=f, buffer_size=buffer_size)
        for block in (X[:, :41], X[:, 41:]):
            svd.append_columns(sp.csc_array(block) if is_sparse else block)
            svd.result()
        s = np.linalg.svd(X * f ** np.arange(89, -1, -1.0), compute_uv=False)
        np.testing.assert_allclose(svd.result().s[0], s[0], rtol=1e-5)


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("n", [300, 20_000])
def test_the_unit_comes_down_with_what_has_faded(n: int, is_sparse: bool) -> None:
    rng = np.random.default_rng(40)
    A, B = 1e200 * draw(rng, 10, 50), draw(rng, 10, n)
    svd = IncrementalSVD(4, forgetting=0.2)
    for block in (A, B):
        svd.append_columns(sp.csc_array(block) if is_sparse else block)
    s = np.linalg.svd(B * 0.2 ** np.arange(n - 1, -1, -1.0), compute_uv=False)[:4]
    np.testing.assert_allclose(svd.result().s, s, rtol=1e-10)


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("method", METHODS)
def test_intervals_know_what_a_large_mean_costs(method: str, is_sparse: bool) -> None:
    rng = np.random.default_rng(41)
    for mean in (1e3, 1e5, 1e7, 1e8):
        X = draw(rng, 20, 200) + mean
        svd = IncrementalSVD(20, center=True, method=method)
        result = svd.append_columns(sp.csc_array(X) if is_sparse else X).result()
        T = X - X.mean(axis=1, keepdims=True)
        s = np.linalg.svd(T, compute_uv=False)[: result.rank]
        lower, upper = result.sigma_bounds()
        assert np.all(lower <= s)
        assert np.all(s <= upper)
        if not is_sparse:
            room = 2.2e-16 * np.linalg.norm(X) * (32 * np.sqrt(204) + 16 * 4)
            assert np.max(upper - lower) <= 2.1 * room


def ill_conditioned(seed: int, m: int, n: int, digits: float) -> Any:
    """Return columns of a condition of so many digits, and one more."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(draw(rng, size, n))[0] for size in (m, n))
    return np.hstack([(U * np.logspace(0, -digits, n)) @ V.T, draw(rng, m, 1)])


@pytest.mark.parametrize("method", METHODS)
def test_intervals_hold_for_ill_conditioned_blocks_and_many_small_steps(method: str) -> None:
    for seed in range(60):
        A = ill_conditioned(seed, 60, 8, 4.0 + seed / 8)
        result = IncrementalSVD(9, method=method, compute_v=True).append_columns(A).result()
        check_certificate(result, A, rtol=1e-13)
        left = np.linalg.norm(A - (result.U * result.s) @ result.Vh, 2)
        assert left <= result.error_spectral_bound
    for n in (100, 400):
        A = draw(np.random.default_rng(n), 12, n)
        svd = IncrementalSVD(12, method=method, compute_v=True, buffer_size=1).append_columns(A)
        result = svd.result()
        left = np.linalg.norm(A - (result.U * result.s) @ result.Vh, 2)
        assert left <= result.error_spectral_bound


def test_finite_columns_stay_finite_while_they_fade() -> None:
    columns = (np.ones((6, 41)) * np.r_[1e30, np.full(40, 1e-30)]).astype(np.float32)
    found = IncrementalSVD(2, forgetting=0.01).append_columns(columns).result()
    np.testing.assert_allclose(found.s, [np.sqrt(6 / (1 - 1e-4)) * 1e-30], rtol=1e-5)
    rng = np.random.default_rng(43)
    for high, low in ((1e150, 1e-150), (1e160, 1e-160), (1e200, 1e-100)):
        B = draw(rng, 6, 3000)
        svd = IncrementalSVD(2, forgetting=0.5, buffer_size=16)
        svd.append_columns(high * draw(rng, 6, 3)).append_columns(low * B)
        s = np.linalg.svd(B * 0.5 ** np.arange(2999, -1, -1.0), compute_uv=False)[:2]
        np.testing.assert_allclose(svd.result().s / low, s, rtol=1e-10)


def test_merging_with_zeros_keeps_what_is_tiny() -> None:
    zeros, tiny = np.zeros((6, 3)), 1e-250 * np.eye(6, 3)
    for first, second in ((zeros, tiny), (tiny, zeros)):
        svd = IncrementalSVD(2).append_columns(first)
        merged = svd.merge(IncrementalSVD(2).append_columns(second)).result()
        np.testing.assert_allclose(merged.s, [1e-250, 1e-250], rtol=1e-12)


def test_auto_goes_over_before_squares_use_up_a_tolerance() -> None:
    rng = np.random.default_rng(44)
    left = draw(rng, 300, 8)
    svd = IncrementalSVD(tol=2e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):
            svd.append_columns(left @ draw(rng, 8, 500))
        result = svd.result()
    assert (result.rank, result.status) == (8, "converged")


@pytest.mark.parametrize("is_started", [False, True], ids=["new", "started"])
def test_an_operator_that_fails_half_way_leaves_nothing_behind(is_started: bool) -> None:
    A = draw(np.random.default_rng(42), 30, 90)
    calls: list[int] = []

    def matmat(X: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of order")
        return A @ X

    operator = LinearOperator(A.shape, matvec=A.dot, matmat=matmat, dtype=A.dtype)
    svd = IncrementalSVD(3, buffer_size=20)
    if is_started:
        svd.append_columns(A[:, :33])
        before = svd.to_state()
    with pytest.raises(RuntimeError, match="out of order"):
        svd.append_columns(operator)
    if is_started:
        assert svd.to_state().keys() == before.keys()
        assert svd.n_samples_seen_ == 33
        fresh = IncrementalSVD(3, buffer_size=20).append_columns(A[:, :33]).result()
        np.testing.assert_array_equal(svd.result().U, fresh.U)
    else:
        assert not hasattr(svd, "n_features_in_")
        with pytest.raises(NotFittedError):
            svd.result()
