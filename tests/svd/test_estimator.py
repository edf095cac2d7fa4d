"""IncrementalSVD as scikit-learn sees it, and what the results of clusterings show."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA, IncrementalPCA

from linalgkit._core import array as core_array
from linalgkit.svd import IncrementalSVD, cluster_matrices
from tests.conftest import BACKENDS, Backend
from tests.svd.problems import draw


def samples(seed: int, n: int = 90, m: int = 12) -> Any:
    rng = np.random.default_rng(seed)
    return draw(rng, n, m) * np.geomspace(3.0, 0.3, m) + np.arange(m)


# ------------------------------------------------------------------------------- attributes


@pytest.mark.parametrize("shape", [(90, 12), (10, 25), (12, 12)], ids=str)
def test_attributes_are_those_of_principal_component_analysis(shape: tuple[int, int]) -> None:
    X = samples(0, *shape)
    ours = IncrementalSVD(4, n_oversamples=30, center=True).fit(X)
    batch = IncrementalPCA(4, batch_size=len(X)).fit(X)
    for theirs in (PCA(4, svd_solver="full").fit(X), batch):
        for name in ("explained_variance_", "explained_variance_ratio_", "singular_values_",
                     "mean_", "noise_variance_", "n_components_", "n_samples_seen_"):  # fmt: skip
            if hasattr(theirs, name):
                np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.999])
def test_a_tolerance_is_a_share_of_the_variance(share: float) -> None:
    X = samples(17, 300, 40)
    ours = IncrementalSVD(tol=float(np.sqrt(1 - share)), center=True).fit(X)
    theirs = PCA(share, svd_solver="full").fit(X)
    assert theirs.n_components_ <= ours.n_components_ <= theirs.n_components_ + 1
    assert ours.explained_variance_ratio_.sum() >= share


def test_without_a_mean_variances_are_mean_squares() -> None:
    X = samples(1)
    ours = IncrementalSVD(4, n_oversamples=8).fit(X)
    s = np.linalg.svd(X, compute_uv=False)
    np.testing.assert_allclose(ours.explained_variance_, s[:4] ** 2 / 89, rtol=1e-12)
    np.testing.assert_allclose(
        ours.explained_variance_ratio_, s[:4] ** 2 / np.sum(s**2), rtol=1e-12
    )
    assert ours.noise_variance_ == pytest.approx(np.sum(s[4:] ** 2) / 89 / 8, rel=1e-10)
    assert ours.mean_ is None


def test_attributes_follow_the_stream_and_its_weights() -> None:
    X = samples(2)
    svd = IncrementalSVD(3, n_oversamples=9)
    for start in range(0, 90, 30):
        svd.partial_fit(X[start : start + 30])
        s = np.linalg.svd(X[: start + 30], compute_uv=False)
        n = start + 30
        np.testing.assert_allclose(svd.explained_variance_, s[:3] ** 2 / (n - 1), rtol=1e-12)
    f, n = 0.97, 90
    faded = IncrementalSVD(3, n_oversamples=9, forgetting=f, center=True).fit(X)
    w = f ** (2.0 * np.arange(n)[::-1])
    mean = w @ X / w.sum()
    s = np.linalg.svd(np.sqrt(w)[:, None] * (X - mean), compute_uv=False)
    freedom = w.sum() - (w @ w) / w.sum()
    np.testing.assert_allclose(faded.explained_variance_, s[:3] ** 2 / freedom, rtol=1e-9)
    nearly, plain = (IncrementalSVD(3, forgetting=g).fit(X) for g in (1 - 1e-13, 1.0))
    np.testing.assert_allclose(nearly.explained_variance_, plain.explained_variance_, rtol=1e-9)


def test_attributes_of_poor_data() -> None:
    one = IncrementalSVD(1).fit(np.asarray([[3.0, 4.0]]))
    assert one.explained_variance_.tolist() == pytest.approx([25.0])
    assert one.noise_variance_ == 0.0
    zero = IncrementalSVD(1).fit(np.zeros((5, 3)))
    assert zero.explained_variance_ratio_.tolist() == []
    assert (zero.n_components_, zero.noise_variance_) == (0, 0.0)
    low = IncrementalSVD(3).fit(np.outer(np.arange(1.0, 9.0), np.ones(4)))
    assert low.n_components_ == 1
    np.testing.assert_allclose(low.explained_variance_ratio_, [1.0])
    with pytest.raises(ValueError, match="has seen no data"):
        _ = IncrementalSVD(1).explained_variance_


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_ratios_do_not_depend_on_units(scale: float) -> None:
    X = samples(3)
    ours, plain = (IncrementalSVD(3, center=True).fit(f * X) for f in (scale, 1.0))
    np.testing.assert_allclose(
        ours.explained_variance_ratio_, plain.explained_variance_ratio_, rtol=1e-9
    )
    np.testing.assert_allclose(
        ours.explained_variance_, plain.explained_variance_ * scale**2, rtol=1e-9
    )
    assert ours.noise_variance_ == pytest.approx(plain.noise_variance_ * scale**2, rel=1e-9)


def test_attributes_stay_in_the_library(xp: Backend) -> None:
    X = xp.asarray(samples(4).astype("float32"))
    svd = IncrementalSVD(3, center=True).fit(X)
    for found in (svd.explained_variance_, svd.explained_variance_ratio_, svd.transform(X)):
        assert core_array.library_of(found) == core_array.library_of(X)
        assert found.dtype == X.dtype
    expected = PCA(3, svd_solver="full").fit(samples(4))
    np.testing.assert_allclose(
        xp.to_numpy(svd.explained_variance_), expected.explained_variance_, rtol=1e-4
    )


# ------------------------------------------------------------------- the answer that is kept


def test_looking_changes_no_attribute_and_no_answer_is_stale() -> None:
    X = samples(5)
    svd = IncrementalSVD(3, n_oversamples=9, compute_v=True).fit(X)
    before = dict(svd.__dict__)
    first = svd.result()
    svd.transform(X)
    assert svd.__dict__ == before
    assert svd.result() is first
    other = IncrementalSVD(3, n_oversamples=9, compute_v=True).fit(X[:40])
    changes = [
        lambda: svd.append_columns(X[:5].T),
        lambda: svd.partial_fit(X[5:9]),
        lambda: svd.append_rows(np.ones((2, svd.n_samples_seen_))),
        lambda: svd.update(np.ones((14, 1)), np.ones((svd.n_samples_seen_, 1))),
        lambda: svd.remove_columns([0, 1]),
        lambda: svd.replace_columns([0], np.zeros((14, 1))),
        svd.flush,
        lambda: svd.fit(X),
        lambda: svd.merge(other),
    ]
    for change in changes:
        old = svd.result()
        change()
        assert svd.result() is not old
        fresh = IncrementalSVD.from_state(svd.to_state()).result()
        np.testing.assert_array_equal(svd.result().s, fresh.s)
        assert svd.result().n_columns == svd.n_samples_seen_


def test_the_answer_does_not_travel() -> None:
    X = samples(6, 400, 60)
    svd = IncrementalSVD(20, compute_v=True).fit(X)
    silent = len(pickle.dumps(svd))
    s = svd.result().s
    assert len(pickle.dumps(svd)) == silent
    twin = pickle.loads(pickle.dumps(svd))
    np.testing.assert_array_equal(twin.result().s, s)
    twin.partial_fit(X[:10])
    assert svd.result().n_columns == 400
    assert twin.result().n_columns == 410


# ---------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("container", [list, tuple, iter], ids=["list", "tuple", "iterator"])
@pytest.mark.parametrize("kind", ["array", "frame", "csr", "lil", "torch", "rows", "memmap"])
def test_blocks_in_a_list_are_taken_one_after_the_other(
    kind: str, container: Any, tmp_path: Any
) -> None:
    X = samples(7)
    parts: list[Any] = [X[:40], X[40:41], X[41:41], X[41:]]
    if kind == "frame":
        pandas = pytest.importorskip("pandas")
        parts = [pandas.DataFrame(part) for part in parts]
    elif kind in ("csr", "lil"):
        parts = [sp.csr_array(part).asformat(kind) for part in parts]
    elif kind == "torch":
        torch = pytest.importorskip("torch")
        parts = [torch.asarray(part) for part in parts]
    elif kind == "rows":
        parts = list(X)
    elif kind == "memmap":
        mapped = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
        mapped[:] = X
        parts = [mapped[:40], mapped[40:]]
    found = IncrementalSVD(4, n_oversamples=8, center=True).fit(container(parts))
    expected = IncrementalSVD(4, n_oversamples=8, center=True).fit(X)
    np.testing.assert_allclose(
        np.asarray(found.singular_values_), expected.singular_values_, rtol=1e-12
    )
    assert found.n_samples_seen_ == 90
    assert found.n_features_in_ == 12


def test_lists_of_numbers_are_one_matrix() -> None:
    X = samples(8)
    expected = IncrementalSVD(3).fit(X).singular_values_
    for given in (X.tolist(), tuple(X.tolist()), [tuple(row) for row in X], [list(r) for r in X]):
        model = IncrementalSVD(3).fit(given)
        np.testing.assert_allclose(model.singular_values_, expected, rtol=1e-12)
        assert model.n_samples_seen_ == 90


@pytest.mark.parametrize("store", ["zarr", "h5py", "dask", "memmap"])
def test_files_are_read_block_by_block(store: str, tmp_path: Any) -> None:
    X = samples(9, 200)
    if store == "zarr":
        zarr = pytest.importorskip("zarr")
        place = {"shape": X.shape, "dtype": X.dtype, "chunks": (64, 12)}
        given = zarr.create_array(str(tmp_path / "X"), **place)
        given[:] = X
    elif store == "h5py":
        h5py = pytest.importorskip("h5py")
        given = h5py.File(tmp_path / "X", "w").create_dataset("X", data=X, chunks=(64, 12))
    elif store == "dask":
        given = pytest.importorskip("dask.array").from_array(X, chunks=(64, 6))
    else:
        given = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
        given[:] = X
    model = IncrementalSVD(3, n_oversamples=9, center=True).fit(given)
    expected = IncrementalSVD(3, n_oversamples=9, center=True).fit(X)
    np.testing.assert_allclose(model.singular_values_, expected.singular_values_, rtol=1e-12)
    found = model.transform(given)
    np.testing.assert_allclose(found, model.transform(X), atol=1e-12)


def test_a_source_that_fails_leaves_the_object_as_it_was() -> None:
    X = samples(10)
    model = IncrementalSVD(3).fit(X)
    s = model.singular_values_
    bad = X.copy()
    bad[7, 3] = np.inf
    for source, error, match in (
        (iter([X, bad]), ValueError, "X must not .* in block 1, row 7 "),
        ([X, X[:, :5]], ValueError, "every block must have 12 columns"),
        ([X, sp.csr_array(X)], TypeError, "all blocks must be of one kind"),
        (iter([]), ValueError, "X must have at least one row.*make a new one"),
        (np.zeros((0, 12)), ValueError, "a minimum of 1 is required"),
    ):
        with pytest.raises(error, match=match):
            model.fit(source)
        np.testing.assert_array_equal(model.singular_values_, s)
        assert model.n_samples_seen_ == 90


# --------------------------------------------------------------------------------- transform


def test_what_cannot_be_transformed_is_refused() -> None:
    X = samples(11)
    model = IncrementalSVD(3).fit(X)
    for bad in (np.nan, np.inf):
        Y = X.copy()
        Y[2, 1] = bad
        for given in (Y, sp.csr_array(Y), sp.lil_array(Y), Y.tolist()):
            with pytest.raises(ValueError, match=r"X must not contain NaN or infinity.* row 2 "):
                model.transform(given)
    with pytest.raises(TypeError, match="X must be real as the stream was, got complex128"):
        model.transform(X * 1j)
    with pytest.raises(ValueError, match="X has 5 features, but IncrementalSVD is expecting 12"):
        model.transform(X[:, :5])
    with pytest.raises(ValueError, match="Z must have 3 columns as there are components"):
        model.inverse_transform(X)


@pytest.mark.parametrize("other", [b for b in BACKENDS if b.name != "numpy"], ids=str)
def test_arrays_of_another_library_are_refused(other: Backend) -> None:
    X = samples(12).astype("float32")
    model = IncrementalSVD(3).fit(X)
    with pytest.raises(TypeError, match="X must be of numpy on cpu as the stream was, got"):
        model.transform(other.asarray(X))
    with pytest.raises(TypeError, match="Z must be of numpy on cpu as the stream was, got"):
        model.inverse_transform(other.asarray(X[:, :3]))
    theirs = IncrementalSVD(3).fit(other.asarray(X))
    with pytest.raises(TypeError, match=r"X must be of .* as the stream was, got numpy on cpu"):
        theirs.transform(X)


def test_scores_have_the_wider_dtype() -> None:
    X = samples(13)
    narrow, wide = IncrementalSVD(3).fit(X.astype("float32")), IncrementalSVD(3).fit(X)
    assert narrow.transform(X).dtype == np.float64
    assert narrow.transform(X.astype("float32")).dtype == np.float32
    assert wide.transform(X.astype("float32")).dtype == np.float64
    whole = np.round(X).astype("int64")
    np.testing.assert_allclose(wide.transform(whole), wide.transform(whole * 1.0))
    Z = IncrementalSVD(3).fit(X * (1 + 1j)).transform(X)
    assert Z.dtype == np.complex128
    back = wide.inverse_transform(wide.transform(X))
    np.testing.assert_allclose(wide.transform(back), wide.transform(X), atol=1e-12)


# -------------------------------------------------------------------------------- clusterings


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_matrices_are_put_together_again(weighted: bool, scale: float) -> None:
    rng = np.random.default_rng(14)
    bases = draw(rng, 2, 30, 3)
    blocks = [scale * bases[k % 2] @ draw(rng, 3, 5 + k) for k in range(6)]
    weight = np.linspace(0.0, 2.0, 30) if weighted else None
    found = cluster_matrices(blocks, 3, 1e-4, row_weight=weight)
    assert found.clusters == [[0, 2, 4], [1, 3, 5]]
    counts = np.ones(30, dtype=bool) if weight is None else weight > 0
    for members, shared in zip(found.clusters, found.svds, strict=True):
        assert shared is not None
        for place, number in enumerate(members):
            again = shared.reconstruct(place) / scale
            np.testing.assert_allclose(again[counts], blocks[number][counts] / scale, atol=1e-11)
            assert np.all(again[~counts] == 0.0)
        with pytest.raises(ValueError, match="i must be between 0 and 2 for the matrices of"):
            shared.reconstruct(3)


def test_the_error_of_what_is_put_together_is_the_one_promised() -> None:
    rng = np.random.default_rng(15)
    basis, weight = draw(rng, 30, 3), rng.random(30) + 0.1
    blocks = [basis @ draw(rng, 3, 8) + 0.05 * draw(rng, 30, 8) for _ in range(5)]
    found = cluster_matrices(blocks, 3, 0.2, row_weight=weight)
    assert len(found.clusters) == 1
    shared = found.svds[0]
    assert shared is not None
    root = np.sqrt(weight)[:, None]
    rest = [root * (A - shared.reconstruct(i)) for i, A in enumerate(blocks)]
    error = float(np.linalg.norm(rest) / np.linalg.norm([root * A for A in blocks]))
    assert found.error_lower[0] - 1e-9 <= error <= found.predicted_error[0] + 1e-9
    assert error > 1e-3


def test_what_clusterings_show(xp: Backend) -> None:
    rng = np.random.default_rng(16)
    bases = draw(rng, 2, 30, 3)
    blocks = [(bases[k % 2] @ draw(rng, 3, 5)).astype("float32") for k in range(8)]
    found = cluster_matrices([xp.asarray(B) for B in blocks], 3, 0.01)
    shown = repr(found)
    assert "2 clusters of 8 matrices" in shown
    assert "compression_ratio=4," in shown
    assert f"largest predicted_error={max(found.predicted_error):.3g}" in shown
    assert "status='converged'" in shown
    assert repr(found.svds[0]) == "SharedSVD(U of shape (30, 3), 4 matrices of 20 columns in all)"
    shared = found.svds[1]
    assert shared is not None
    np.testing.assert_allclose(xp.to_numpy(shared.reconstruct(1)), blocks[3], atol=1e-4)
