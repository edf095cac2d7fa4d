"""StreamingEigh as scikit-learn sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, IncrementalPCA

from linalgkit.streaming import StreamingEigh

pytestmark = pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")


def _digits() -> np.ndarray[Any, Any]:
    return np.asarray(load_digits().data)


def test_centred_gram_is_principal_component_analysis() -> None:
    X = _digits()
    ours = StreamingEigh(5, center=True, method="gram").fit(X)
    theirs = PCA(5, svd_solver="full").fit(X)
    np.testing.assert_allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(
        ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-10
    )
    np.testing.assert_allclose(ours.singular_values_, theirs.singular_values_, rtol=1e-10)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(np.abs(ours.transform(X)), np.abs(theirs.transform(X)), atol=1e-8)
    back = ours.inverse_transform(ours.transform(X))
    np.testing.assert_allclose(back, theirs.inverse_transform(theirs.transform(X)), atol=1e-8)
    assert ours.n_samples_seen_ == len(X)


def test_whitened_scores_have_unit_variance_and_come_back() -> None:
    X = _digits()
    model = StreamingEigh(5, center=True, whiten=True, method="gram").fit(X)
    scores = model.transform(X)
    np.testing.assert_allclose(scores.var(axis=0, ddof=1), 1, rtol=1e-9)
    plain = StreamingEigh(5, center=True, method="gram").fit(X)
    np.testing.assert_allclose(
        model.inverse_transform(scores), plain.inverse_transform(plain.transform(X)), atol=1e-8
    )


def test_it_takes_the_place_of_incremental_pca() -> None:
    X = _digits()
    ours = StreamingEigh(5, center=True, gap_warn=0)
    theirs = IncrementalPCA(5)
    for i in range(0, len(X), 300):
        ours.partial_fit(X[i : i + 300])
        theirs.partial_fit(X[i : i + 300])
    exact = PCA(5, svd_solver="full").fit(X).components_
    for model, least in ((ours, 1 - 1e-10), (theirs, 0.5)):
        cosines = np.linalg.svd(model.components_ @ exact.T, compute_uv=False)
        assert cosines.min() > least


def test_sparse_rows_are_transformed_without_filling_in() -> None:
    S = scipy.sparse.random_array((400, 30), density=0.1, rng=np.random.default_rng(0)).tocsr()
    model = StreamingEigh(3, center=True, method="gram").fit(S)
    dense = S.toarray()
    np.testing.assert_allclose(model.transform(S), model.transform(dense), atol=1e-12)
    np.testing.assert_allclose(
        model.explained_variance_, PCA(3, svd_solver="full").fit(dense).explained_variance_
    )


def test_output_names_follow_the_class() -> None:
    model = StreamingEigh(2).fit(_digits())
    assert list(model.get_feature_names_out()) == ["streamingeigh0", "streamingeigh1"]
