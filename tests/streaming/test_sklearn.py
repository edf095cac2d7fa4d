"""StreamingEigh as scikit-learn sees it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from linalgkit._core.estimator import EXPECTED_FAILED_CHECKS
from linalgkit.streaming import StreamingEigh

pytestmark = [
    pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "portfolio"},
        {"center": True, "whiten": True},
        {"method": "nystrom"},
        {"method": "frequent-directions", "order": "arbitrary"},
        {"method": "oja"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_the_estimator_checks_pass_but_for_the_named_exceptions(options: dict[str, Any]) -> None:
    found = check_estimator(
        StreamingEigh(rng=0, **options),
        expected_failed_checks=EXPECTED_FAILED_CHECKS,
        on_fail=None,
    )
    failed = [r["check_name"] for r in found if r["status"] == "failed"]
    unexpected = [r["check_name"] for r in found if r["status"] == "xpass"]
    assert failed == []
    assert unexpected == []
    assert sum(r["status"] == "passed" for r in found) > 30


_WITH_ARRAY_API = """
import warnings
warnings.simplefilter("ignore")
from sklearn.utils import estimator_checks
from linalgkit.streaming import StreamingEigh
failed = {}
for name in ("check_array_api_input", "check_array_api_same_namespace"):
    try:
        check = getattr(estimator_checks, name)
        check("StreamingEigh", StreamingEigh(rng=0), array_namespace="array_api_strict")
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
print(failed)
"""


def test_with_array_dispatch_on_only_the_named_exception_is_added() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITH_ARRAY_API],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    failed = ast.literal_eval(done.stdout)
    assert failed.keys() <= EXPECTED_FAILED_CHECKS.keys()
    assert failed["check_array_api_same_namespace"].startswith("TypeError: X must be of")


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


def test_it_works_in_pipelines_grid_searches_and_clones() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:500], y[:500]
    pipeline = make_pipeline(
        StreamingEigh(10, center=True, gap_warn=0), LogisticRegression(max_iter=2000)
    )
    search = GridSearchCV(pipeline, {"streamingeigh__n_components": [3, 15]}, cv=3).fit(X, y)
    assert search.best_params_ == {"streamingeigh__n_components": 15}
    assert search.best_score_ > 0.85
    twin = clone(StreamingEigh(3, method="nystrom", rng=4))
    assert twin.get_params()["method"] == "nystrom"
    assert not hasattr(twin, "n_features_in_")


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
