"""StreamingEigh against eigh of the same rows, on every kind of source and every bad input."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from linalgkit import AccuracyWarning, NotFittedError
from linalgkit.datasets import spiked_covariance
from linalgkit.streaming import StreamingEigh, StreamingEighResult, top_eigenvector
from tests.conftest import Backend, uncompiled

METHODS = ["portfolio", "block-power", "oja", "frequent-directions", "nystrom", "gram"]
EXACT = {"gram": 1e-12}
# sin^2 of the angle to the sample's eigenvector that each method reaches on `rows` below.
REACH = {"gram": 1e-14, "portfolio": 1e-5, "block-power": 1e-5, "nystrom": 0.05}
REACH |= {"oja": 0.02, "frequent-directions": 1e-4}


def rows(n: int = 4000, d: int = 40, gap: float = 30.0, seed: int = 0) -> np.ndarray[Any, Any]:
    return spiked_covariance(n, d, gap, rng=seed)[0]


def sin2(v: Any, X: np.ndarray[Any, Any], k: int = 1) -> float:
    """Return sin^2 of the largest angle between `v` and the top eigenvectors of X^H X."""
    _, V = np.linalg.eigh(X.conj().T @ X)
    s = np.linalg.svd(np.asarray(v).conj().T @ V[:, ::-1][:, :k], compute_uv=False)
    return float(1 - s.min() ** 2)


def fit(X: Any, **options: Any) -> StreamingEigh:
    return StreamingEigh(rng=0, **options).fit(X)


# --------------------------------------------------------------------------------- answers


@uncompiled
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_top_eigenvector(method: str, xp: Backend) -> None:
    X = rows()
    result = fit(xp.asarray(X), method=method).result()
    v = xp.to_numpy(result.eigenvectors)
    assert sin2(v, X) < REACH[method] + (0 if xp.has_float64 else 1e-5)
    exact = float(np.linalg.eigvalsh(X.T @ X)[-1])
    assert float(result.eigenvalues[0]) == pytest.approx(exact, rel=0.05)
    assert result.method == method
    assert result.n_rows == 4000
    assert result.frobenius_norm == pytest.approx(np.linalg.norm(X), rel=1e-5)
    assert result.status == "converged"


@pytest.mark.parametrize("method", [m for m in METHODS if m != "oja"])
def test_several_components_are_found_at_once(method: str) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((5000, 40)) * np.concatenate([[9.0, 6.0, 4.0], np.full(37, 0.7)])
    result = fit(X, n_components=3, method=method).result()
    assert result.eigenvectors.shape == (40, 3)
    assert result.eigenvalues.shape == (3,)
    assert sin2(result.eigenvectors, X, 3) < 0.05
    gram = result.eigenvectors.T @ result.eigenvectors
    np.testing.assert_allclose(gram, np.eye(3), atol=1e-12)


def test_gram_equals_eigh() -> None:
    X = rows(500, 20)
    result = fit(X, n_components=20, method="gram", gap_warn=0).result()
    np.testing.assert_allclose(
        result.eigenvalues, np.linalg.eigvalsh(X.T @ X)[::-1], rtol=0, atol=1e-9
    )
    assert result.residual < 1e-14
    assert result.residual_kind == "exact"


def test_complex_rows_give_right_singular_vectors_not_their_conjugates() -> None:
    X, _ = spiked_covariance(3000, 30, 40.0, dtype="complex128", rng=3)
    for method in METHODS:
        v = fit(X, method=method).result().eigenvectors
        assert sin2(v, X) < 0.05
        assert sin2(np.conj(v), X) > 0.3


@uncompiled
def test_the_entry_of_largest_modulus_is_positive(xp: Backend) -> None:
    X, _ = spiked_covariance(2000, 30, 40.0, dtype="complex64", rng=3)
    v = xp.to_numpy(fit(xp.asarray(X, "complex64")).result().eigenvectors)[:, 0]
    largest = v[np.argmax(np.abs(v))]
    assert largest.real > 0
    assert abs(largest.imag) < 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")
def test_few_rows_are_answered_exactly(method: str, n: int) -> None:
    X = np.random.default_rng(n).standard_normal((n, 8))
    result = fit(X, n_components=1, method=method).result()
    if method not in ("oja", "nystrom"):
        assert float(result.eigenvalues[0]) == pytest.approx(np.linalg.svd(X)[1][0] ** 2)
        assert sin2(result.eigenvectors, X) < 1e-10
    assert np.isfinite(result.eigenvectors).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")
def test_one_column_is_enough(method: str) -> None:
    X = np.random.default_rng(0).standard_normal((700, 1))
    result = fit(X, method=method).result()
    assert float(result.eigenvectors[0, 0]) == 1.0
    assert float(result.eigenvalues[0]) == pytest.approx(float((X**2).sum()), rel=1e-2)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "oja"])
@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")
def test_rank_deficient_streams_give_zero_eigenvalues_and_orthonormal_vectors(method: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 2)) @ rng.standard_normal((2, 30))
    result = fit(X, n_components=4, method=method).result()
    lam = np.linalg.eigvalsh(X.T @ X)[::-1]
    np.testing.assert_allclose(result.eigenvalues, lam[:4], rtol=1e-2, atol=1e-8 * lam[0])
    gram = result.eigenvectors.T @ result.eigenvectors
    np.testing.assert_allclose(gram, np.eye(4), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_of_zeros_warns_and_has_no_nan(method: str, xp: Backend) -> None:
    model = fit(xp.asarray(np.zeros((500, 6))), method=method)
    with pytest.warns(AccuracyWarning, match="zero"):
        result = model.result()
    assert result.status == "zero"
    assert float(result.eigenvalues[0]) == 0.0
    assert np.isfinite(xp.to_numpy(result.eigenvectors)).all()
    assert result.frobenius_norm == 0.0


# ---------------------------------------------------------------------------------- sources


def _sources(X: np.ndarray[Any, Any], tmp_path: Any) -> Iterator[tuple[str, Any]]:
    import dask.array
    import h5py
    import zarr

    yield "array", X
    yield "list of blocks", [X[:100], X[100:1234], X[1234:]]
    yield "generator", (X[i : i + 77] for i in range(0, len(X), 77))
    yield "generator of rows", iter(X)
    yield "nested lists", X.tolist()
    np.save(tmp_path / "X.npy", X)
    yield "memmap", np.load(tmp_path / "X.npy", mmap_mode="r")
    yield "dask", dask.array.from_array(X, chunks=(300, X.shape[1]))
    store = zarr.create_array(store=str(tmp_path / "z"), shape=X.shape, chunks=(64, 8), dtype="f8")
    store[:] = X
    yield "zarr", store
    with h5py.File(tmp_path / "X.h5", "w") as file:
        yield "h5py", file.create_dataset("X", data=X, chunks=(64, 8))


def test_every_kind_of_source_gives_the_same_bits(tmp_path: Any) -> None:
    X = rows(2000, 24)
    expected = fit(X, method="portfolio").result()
    for name, source in _sources(X, tmp_path):
        found = fit(source, method="portfolio").result()
        np.testing.assert_array_equal(found.eigenvectors, expected.eigenvectors, err_msg=name)
        assert found.n_rows == 2000, name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_sparse_rows_give_the_answer_of_dense_ones(method: str, center: bool, dtype: str) -> None:
    rng = np.random.default_rng(0)
    S = scipy.sparse.random_array((3000, 50), density=0.1, rng=rng, format="csr")
    S = (S * np.linspace(1, 8, 50)[None, :] ** 2).tocsr()
    if dtype == "complex128":
        S = S.astype(dtype)
        S.data = S.data * np.exp(1j * rng.uniform(0, 1, S.data.shape))
    expected = fit(S.toarray(), method=method, center=center, gap_warn=0)
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array):
        found = fit(kind(S), method=method, center=center, gap_warn=0)
        a, b = _quiet(found), _quiet(expected)
        np.testing.assert_allclose(a.eigenvalues, b.eigenvalues, rtol=1e-8)
        np.testing.assert_allclose(a.eigenvectors, b.eigenvectors, atol=1e-7)


def _quiet(model: StreamingEigh) -> StreamingEighResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return model.result()


def test_sparse_rows_are_never_densified() -> None:
    S = scipy.sparse.random_array((200_000, 400), density=0.002, rng=np.random.default_rng(0))
    S = S.tocsr()
    dense = S.shape[0] * S.shape[1] * 8
    for options in ({"method": "portfolio"}, {"method": "gram", "center": True}):
        tracemalloc.start()
        _quiet(fit(S, **options))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < dense / 20


def test_a_single_row_may_be_one_dimensional(xp: Backend) -> None:
    X = rows(300, 6)[: 40 if xp.name == "jax" else 300, :]  # each place is compiled
    single = StreamingEigh(rng=0)
    for row in X:
        single.partial_fit(xp.asarray(row))
    whole = StreamingEigh(rng=0).partial_fit(xp.asarray(X))
    np.testing.assert_array_equal(
        xp.to_numpy(single.result().eigenvectors), xp.to_numpy(whole.result().eigenvectors)
    )


def test_integers_are_worked_on_in_the_default_float(xp: Backend) -> None:
    X = np.random.default_rng(0).integers(-9, 9, size=(500, 5))
    result = fit(xp.asarray(X, "int64"), gap_warn=0).result()
    assert (
        result.eigenvectors.dtype
        == xp.xp.__array_namespace_info__().default_dtypes(device=xp.device)["real floating"]
    )
    tolerance = 1e-9 if "64" in str(result.eigenvectors.dtype) else 1e-6
    assert sin2(xp.to_numpy(result.eigenvectors), X.astype(float)) < tolerance


def test_top_eigenvector_is_fit_and_result() -> None:
    X = rows()
    one, two = top_eigenvector(X, rng=0, method="portfolio"), fit(X, method="portfolio").result()
    np.testing.assert_array_equal(one.eigenvectors, two.eigenvectors)


# ----------------------------------------------------------- weights, forgetting, centring


@pytest.mark.parametrize("method", ["gram", "portfolio", "nystrom"])
@pytest.mark.parametrize("center", [False, True])
def test_integer_weights_equal_repeated_rows(method: str, center: bool) -> None:
    rng = np.random.default_rng(0)
    X, w = rows(2000, 12), rng.integers(0, 4, 2000)
    weighted = StreamingEigh(method=method, center=center, rng=0)
    for i in range(0, 2000, 130):
        weighted.partial_fit(X[i : i + 130], sample_weight=w[i : i + 130])
    R = np.repeat(X, w, axis=0)
    R = R - R.mean(axis=0) if center else R
    tolerance = 1e-12 if method == "gram" else 5e-2
    assert sin2(weighted.result().eigenvectors, R) < tolerance
    exact = np.linalg.eigvalsh(R.T @ R)[-1]
    assert float(weighted.result().eigenvalues[0]) == pytest.approx(
        exact, rel=max(tolerance, 1e-12)
    )


def test_forgetting_weights_every_row_by_its_age() -> None:
    X, gamma = rows(1500, 10), 0.99
    w = gamma ** np.arange(1499, -1, -1.0)
    for method, rel in (("gram", 1e-12), ("nystrom", 1e-9), ("portfolio", 0.2)):
        found = fit(X, method=method, forgetting=gamma, n_oversamples=9, gap_warn=0)
        exact = np.linalg.eigvalsh((X * w[:, None]).T @ X)[-1]
        assert float(_quiet(found).eigenvalues[0]) == pytest.approx(exact, rel=rel)


@pytest.mark.parametrize("mean", [0.0, 3.0, 1e8])
def test_centring_is_exact_in_one_pass_at_any_mean(mean: float) -> None:
    X = rows(3000, 15) + mean * np.linspace(-1, 1, 15)
    model = fit(X, center=True, method="gram")
    C = X - X.mean(axis=0)
    exact = np.linalg.eigvalsh(C.T @ C)[-1]
    assert float(model.result().eigenvalues[0]) == pytest.approx(exact, rel=1e-12)
    np.testing.assert_allclose(model.mean_, X.mean(axis=0), rtol=1e-13, atol=1e-13)
    assert sin2(model.components_.T, C) < 1e-12


def test_merging_centred_streams_re_shifts() -> None:
    X = rows(2000, 12)
    X[:700] += 1e4
    left = StreamingEigh(center=True, method="gram").partial_fit(X[:700])
    right = StreamingEigh(center=True, method="gram").partial_fit(X[700:])
    C = X - X.mean(axis=0)
    found = left.merge(right)
    assert float(found.result().eigenvalues[0]) == pytest.approx(
        np.linalg.eigvalsh(C.T @ C)[-1], rel=1e-12
    )
    np.testing.assert_allclose(found.mean_, X.mean(axis=0), rtol=1e-12)


def test_merging_streams_of_very_different_scale() -> None:
    X = rows(900, 8)
    for a, b in ((1.0, 1e150), (1e150, 1.0), (1e-160, 1e150), (0.0, 1e150), (1e150, 0.0)):
        left = StreamingEigh(method="gram").partial_fit(X * a)
        right = StreamingEigh(method="gram").partial_fit(X * b)
        found = _quiet(left.merge(right))
        exact = np.linalg.eigvalsh(X.T @ X)[-1]
        assert math.sqrt(float(found.eigenvalues[0])) == pytest.approx(
            math.sqrt(exact) * 1e150, rel=1e-12
        )


@pytest.mark.parametrize("method", ["portfolio", "block-power", "frequent-directions"])
def test_merges_of_parts_are_nearly_as_good_as_one_stream(method: str) -> None:
    X = rows(12000, 40, gap=10.0)
    parts = [fit(X[i : i + 3000], method=method) for i in range(0, 12000, 3000)]
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    assert merged.result().n_rows == 12000
    assert sin2(merged.result().eigenvectors, X) < 5e-3


# -------------------------------------------------------------------------- certificates


def test_a_small_gap_is_announced() -> None:
    X = np.random.default_rng(0).standard_normal((5000, 30))
    for method in ("gram", "portfolio"):
        with pytest.warns(AccuracyWarning, match="gap"):
            result = fit(X, method=method).result()
        assert result.status == "small_gap"
        assert result.gap < 1.5
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert fit(X, method="gram", gap_warn=0).result().gap == pytest.approx(
                fit(X, method="gram", gap_warn=0).result().gap
            )


def test_rows_in_sorted_order_are_noticed() -> None:
    X, V = spiked_covariance(20000, 60, 10.0, rng=0)
    order = np.argsort(-np.abs(X @ V[:, 0]))
    with pytest.warns(AccuracyWarning, match="random order"):
        result = fit(X[order], method="portfolio").result()
    assert result.status == "order_not_random"
    assert abs(result.order_zscore) > 6
    assert abs(fit(X, method="portfolio").result().order_zscore) < 6


def test_too_small_a_heap_is_announced_and_a_larger_one_repairs_it() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20000, 50))
    top = 1.5 * np.linalg.eigvalsh(X.T @ X)[-1]
    u = np.zeros(50)
    u[7] = 1.0
    places = rng.choice(20000, 6, replace=False)
    X[places] = math.sqrt(top) * u
    with pytest.warns(AccuracyWarning, match="max_heavy_rows"):
        result = fit(X, method="portfolio", max_heavy_rows=3).result()
    assert result.status == "heavy_rows_missed"
    assert result.n_heavy_required > 3
    good = fit(X, method="portfolio", max_heavy_rows=8).result()
    assert good.status == "converged"
    assert sin2(good.eigenvectors, X) < 1e-4


def test_one_giant_row_is_not_lost_in_any_place() -> None:
    X = rows(6000, 50, gap=4.0)
    giant = np.random.default_rng(5).standard_normal(50)
    giant *= math.sqrt(2 * np.linalg.eigvalsh(X.T @ X)[-1]) / np.linalg.norm(giant)
    for place in (0, 1, 2500, 5998, 5999):
        Y = np.insert(X, place, giant, axis=0)
        for method in ("portfolio", "block-power"):
            assert sin2(_quiet(fit(Y, method=method)).eigenvectors, Y) < 1e-3


def test_refinement_converges_to_the_sample_and_measures_it() -> None:
    X = rows(4000, 60, gap=3.0)
    for center in (False, True):
        model = fit(X, method="portfolio", center=center)
        before = model.result()
        after = model.refine(X, 4).result()
        C = X - X.mean(axis=0) if center else X
        assert after.residual_kind == "exact"
        v, lam = after.eigenvectors[:, 0], float(after.eigenvalues[0])
        true = np.linalg.norm(C.T @ (C @ v) - lam * v) / lam
        assert after.residual == pytest.approx(true, rel=1e-3, abs=1e-13)
        assert sin2(after.eigenvectors, C) < 1e-3 * sin2(before.eigenvectors, C) + 1e-14
        assert model.partial_fit(X[:10]).result().residual_kind == "estimate"


# -------------------------------------------------------------------------------- bad input


BAD_OPTIONS = [
    ({"n_components": 0}, ValueError, "n_components must be at least 1"),
    ({"n_components": 41}, ValueError, "n_components must be between 1 and 40"),
    ({"n_components": 2.0}, TypeError, "n_components must be an integer"),
    ({"method": "lanczos"}, ValueError, "method must be one of"),
    ({"order": "sorted"}, ValueError, "order must be one of"),
    ({"order": "arbitrary", "method": "portfolio"}, ValueError, "random order"),
    ({"order": "arbitrary", "method": "block-power"}, ValueError, "random order"),
    ({"forgetting": 0.0}, ValueError, "forgetting must be"),
    ({"forgetting": 1.5}, ValueError, "forgetting must be"),
    ({"gap_warn": -1.0}, ValueError, "gap_warn must be"),
    ({"memory_budget": 100, "method": "portfolio"}, ValueError, "memory_budget must be at least"),
    ({"memory_budget": 100, "method": "gram"}, ValueError, "at least 12800 bytes"),
    ({"memory_budget": 1000}, ValueError, "memory_budget must be at least"),
    ({"max_heavy_rows": -1}, ValueError, "max_heavy_rows must be"),
    ({"n_oversamples": -1}, ValueError, "n_oversamples must be"),
    ({"n_rows": 0}, ValueError, "n_rows must be"),
    ({"center": "yes"}, TypeError, "center must be"),
    ({"history": None}, TypeError, "history must be"),
    ({"dtype": "int32"}, ValueError, "dtype must be one of"),
    ({"rng": "seed"}, TypeError, "rng"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD_OPTIONS, ids=str)
def test_bad_options_are_named(options: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        StreamingEigh(**options).partial_fit(rows(100))


BAD_ROWS = [
    (np.zeros((3, 2, 2)), ValueError, "2-D"),
    (np.zeros(()), ValueError, "2-D"),
    (np.array([[object()]]), TypeError, "object"),
    (np.array([["a"]]), TypeError, "dtype"),
    (np.ma.masked_array([[1.0]], mask=[[True]]), TypeError, "MaskedArray"),
    (scipy.sparse.linalg.aslinearoperator(np.eye(3)), TypeError, "LinearOperator|array"),
    ("rows", TypeError, "array"),
    (None, TypeError, "array"),
    (np.zeros((2, 0)), ValueError, "feature"),
]


@pytest.mark.parametrize(("X", "error", "text"), BAD_ROWS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_bad_rows_are_named(call: str, X: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        getattr(StreamingEigh(), call)(X)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_numpy_matrices_are_refused() -> None:
    with pytest.raises(TypeError, match="matrix"):
        StreamingEigh().partial_fit(np.matrix([[1.0]]))


def test_rows_of_another_length_are_refused_and_both_lengths_named() -> None:
    model = StreamingEigh().partial_fit(np.eye(4))
    with pytest.raises(ValueError, match=r"3 features.*4 features"):
        model.partial_fit(np.eye(3))
    with pytest.raises(ValueError, match=r"3"):
        StreamingEigh().fit([np.eye(4), np.eye(3)])
    assert model.result().n_rows == 4


def test_fit_reports_the_block_and_row_of_bad_numbers_and_keeps_the_old_fit() -> None:
    X = rows(300, 5)
    model = fit(X)
    expected = model.result()
    blocks = [X[:100], X[100:200].copy(), X[200:]]
    blocks[1][17, 2] = np.nan
    with pytest.raises(ValueError, match="block 1, row 17 "):
        model.fit(iter(blocks))
    np.testing.assert_array_equal(model.result().eigenvectors, expected.eigenvectors)


def test_sparse_rows_with_bad_numbers_are_refused() -> None:
    S = scipy.sparse.random_array((50, 9), density=0.3, rng=np.random.default_rng(0)).tocsr()
    S.data[-1] = np.inf
    row = int(np.searchsorted(S.indptr, S.nnz - 1, side="right")) - 1
    with pytest.raises(ValueError, match=f"block 0, row {row} "):
        StreamingEigh().partial_fit(S)


def test_the_answer_is_asked_for_before_any_row() -> None:
    for ask in (lambda m: m.result(), lambda m: m.components_, lambda m: m.transform(np.eye(2))):
        with pytest.raises(NotFittedError, match="fit"):
            ask(StreamingEigh())
    with pytest.raises(ValueError, match="at least one row"):
        StreamingEigh().fit(iter([]))


def test_weights_are_checked() -> None:
    X = rows(10, 3)
    for weights, error, text in (
        (-np.ones(10), ValueError, "negative"),
        (np.ones(9), ValueError, "10 rows"),
        (np.full(10, np.nan), ValueError, "NaN"),
        (np.ones(10, complex), TypeError, "real"),
    ):
        model = StreamingEigh()
        with pytest.raises(error, match=text):
            model.partial_fit(X, sample_weight=weights)
        with pytest.raises(NotFittedError):
            model.result()


def test_libraries_devices_and_precisions_are_not_mixed(xp: Backend) -> None:
    if xp.name != "numpy":
        model = StreamingEigh().partial_fit(xp.asarray(np.eye(3)))
        with pytest.raises(TypeError, match="numpy"):
            model.partial_fit(np.eye(3))
    model = StreamingEigh().partial_fit(xp.asarray(np.eye(3), "float32"))
    if xp.has_float64:
        with pytest.raises(TypeError, match="float64"):
            model.partial_fit(xp.asarray(np.eye(3), "float64"))


def test_complex_rows_may_follow_real_ones_where_that_was_announced() -> None:
    X, _ = spiked_covariance(400, 6, 9.0, dtype="complex128", rng=0)
    model = StreamingEigh(dtype="complex128").partial_fit(X[:200].real).partial_fit(X[200:])
    Y = np.concatenate([X[:200].real, X[200:]])
    assert sin2(_quiet(model).eigenvectors, Y) < 1e-12


def test_merging_unlike_streams_is_refused_by_name() -> None:
    base = StreamingEigh(method="nystrom", rng=0).partial_fit(np.eye(6))
    for other, error, text in (
        (StreamingEigh(method="gram").partial_fit(np.eye(6)), ValueError, "method"),
        (StreamingEigh(2, method="nystrom").partial_fit(np.eye(6)), ValueError, "n_components"),
        (StreamingEigh(method="nystrom", rng=1).partial_fit(np.eye(6)), ValueError, "key|rng|seed"),
        (StreamingEigh(method="nystrom", rng=0).partial_fit(np.eye(5)), ValueError, "6 and 5"),
        (
            StreamingEigh(method="nystrom", rng=0).partial_fit(np.eye(6, dtype="f4")),
            TypeError,
            "dtype",
        ),
        (np.eye(6), TypeError, "StreamingEigh"),
    ):
        with pytest.raises(error, match=text):
            base.merge(other)
    oja = StreamingEigh(method="oja", rng=0).partial_fit(np.eye(6))
    with pytest.raises(TypeError, match="merge"):
        oja.merge(oja)


def test_refinement_refuses_what_it_cannot_use() -> None:
    X = rows(500, 6)
    model = fit(X)
    with pytest.raises(TypeError, match="more than once"):
        model.refine(iter([X]))
    with pytest.raises(ValueError, match="500 rows"):
        model.refine(X[:400])
    with pytest.raises(ValueError, match="n_passes"):
        model.refine(X, -1)
    weighted = StreamingEigh().partial_fit(X, sample_weight=np.ones(500))
    with pytest.raises(ValueError, match="weighted"):
        weighted.refine(X)


# ----------------------------------------------------------------------------------- storage


def _blocks(n: int, d: int, b: int = 500) -> Iterator[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    block = rng.standard_normal((b, d))
    block[:, 0] *= 4
    for _ in range(n // b):
        yield block[rng.permutation(b)]


def _peak(n: int, d: int, **options: Any) -> int:
    model = StreamingEigh(rng=0, **options)
    blocks = list(_blocks(1000, d))
    _quiet(model.fit(iter(blocks)))  # compiles, imports
    source = (blocks[i % 2] for i in range(n // 500))
    tracemalloc.start()
    _quiet(StreamingEigh(rng=0, **options).fit(source))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("method", ["portfolio", "block-power"])
def test_memory_is_the_documented_formula_whatever_the_number_of_rows(method: str) -> None:
    d = 1000
    short, long = (_peak(n, d, method=method) for n in (10_000, 40_000))
    assert long == pytest.approx(short, rel=0.01)
    stream = StreamingEigh(method=method, rng=0).partial_fit(np.ones((2000, d)))._stream
    q, b = stream.engine.n_columns, stream.engine.block_rows
    assert long <= 1.25 * 8 * d * (2 * q + stream.heap.capacity + b)


@pytest.mark.parametrize("method", ["gram", "nystrom", "frequent-directions"])
@pytest.mark.parametrize("scale", [1.0, 1e120])
def test_eigenvalues_are_enclosed_for_certain(method: str, scale: float) -> None:
    for seed in range(10):
        X = rows(700, 40, gap=1.5 + seed, seed=seed) + seed
        result = _quiet(fit(X * scale, n_components=3, method=method))
        exact = np.linalg.eigvalsh(X.T @ X)[::-1][:3] * scale * scale
        slack = 1e-12 * exact[0]
        assert (result.eigenvalues <= exact + slack).all()
        assert (exact <= result.eigenvalues + result.excess + slack).all()
        assert (result.excess == 0) == (method == "gram")
    assert math.isnan(_quiet(fit(rows(), method="portfolio")).excess)


def test_arbitrary_order_names_the_method_that_answers() -> None:
    X, V = spiked_covariance(6000, 300, 60.0, rng=0)
    X = X[np.argsort(-np.abs(X @ V[:, 0]))]
    result = _quiet(fit(X, order="arbitrary", memory_budget=300 * 300 * 8 - 1))
    assert result.method in ("frequent-directions", "oja")
    assert sin2(result.eigenvectors, X) < 0.1
