"""One pipeline a module, as somebody would write it who knows scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_clusterer, is_regressor
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV, ParameterGrid, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler
from sklearn.utils import estimator_html_repr

from linalgkit.bayes import KronSBL
from linalgkit.chebyshev import chebtucker
from linalgkit.completion import LowRankImputer, MatrixCompletion
from linalgkit.datasets import borehole, kronecker_sparse
from linalgkit.regression import SketchedRegressor
from linalgkit.sampling import DPPLeastSquares
from linalgkit.sketching import sketch
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import ErrorConstrainedClustering, IncrementalSVD


def digits(n: int = 500) -> tuple[Any, Any]:
    X, y = load_digits(return_X_y=True)
    return X[:n], y[:n]


def classifier() -> LogisticRegression:
    return LogisticRegression(max_iter=2000)


@pytest.mark.parametrize(
    ("axes", "grid"),
    [
        (StreamingEigh(center=True, gap_warn=0), {"streamingeigh__n_components": [2, 15]}),
        (IncrementalSVD(center=True), {"incrementalsvd__tol": [0.7, 0.4]}),
    ],
    ids=["streaming", "svd"],
)
def test_principal_axes_before_a_classifier_are_searched_over(axes: Any, grid: Any) -> None:
    X, y = digits()
    search = GridSearchCV(make_pipeline(axes, classifier()), grid, cv=3).fit(X, y)
    (name, values), *_ = grid.items()
    assert search.best_params_ == {name: values[1]}
    assert search.best_score_ > 0.8
    assert not hasattr(axes, "n_features_in_")  # the search fitted clones
    assert search.best_estimator_[0].n_features_in_ == 64


def test_images_are_grouped_by_the_error_of_a_joint_basis() -> None:
    X, _ = digits(150)
    as_images = FunctionTransformer(lambda X: X.reshape(-1, 8, 8))
    model = make_pipeline(as_images, ErrorConstrainedClustering(3, 0.2))
    assert is_clusterer(model)
    labels = model.fit_predict(X)
    for k in set(labels):
        together = np.concatenate(list(X[labels == k].reshape(-1, 8, 8)), axis=1)
        s = np.linalg.svd(together, compute_uv=False)
        few = np.sum(labels == k) == 1  # stored as it is
        assert few or np.sqrt(np.sum(s[3:] ** 2) / np.sum(s**2)) <= 0.2
    assert model.predict(X[:10]).shape == (10,)


def test_a_sketch_of_the_features_keeps_what_a_classifier_needs() -> None:
    X, y = digits()
    S = sketch("srht", 32, 64, rng=0)
    projected = FunctionTransformer(lambda X: (S @ X.T).T)
    half = cross_val_score(make_pipeline(projected, classifier()), X, y, cv=3)
    whole = cross_val_score(classifier(), X, y, cv=3)
    assert half.mean() > whole.mean() - 0.1


def test_sketched_regression_scores_as_the_full_one() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 6))
    y = X[:, 0] * X[:, 1] + X @ np.arange(6.0) + 0.5 * rng.standard_normal(6000)
    square = PolynomialFeatures(2, include_bias=False)
    model = make_pipeline(square, SketchedRegressor(1000, rng=0))
    assert is_regressor(model)
    full = cross_val_score(make_pipeline(square, LinearRegression()), X, y, cv=3)
    # noise of n rows seen through m sketched ones: an excess risk of about d / m of the noise
    noise = 1 - full
    assert np.all(cross_val_score(model, X, y, cv=3) > full - 3 * noise * 28 / 1000)
    weights = rng.random(6000)
    weighted = clone(model).fit(X, y, sketchedregressor__sample_weight=weights)
    assert weighted.score(X, y, sample_weight=weights) > 0.9


def test_few_measurements_are_chosen_for_a_polynomial_model() -> None:
    X = np.random.default_rng(0).uniform(-1, 1, (1500, 8))
    y = borehole(X)
    model = make_pipeline(PolynomialFeatures(1), DPPLeastSquares(oversampling=4, boost=4, rng=0))
    grid = {"polynomialfeatures__degree": [1, 2]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_params_ == {"polynomialfeatures__degree": 2}
    assert search.best_score_ > 0.99
    best = search.best_estimator_
    assert len(set(best[-1].indices_)) <= 4 * 45  # so many of the 1500 values were looked at


def test_gaps_of_a_table_are_filled_before_a_regression() -> None:
    X, y = load_diabetes(return_X_y=True)
    scores = []
    for seed in range(3):
        gaps = np.random.default_rng(seed).random(X.shape) < 0.3
        table = np.where(gaps, np.nan, X)
        for imputer in (SimpleImputer(), LowRankImputer(rng=0)):
            model = make_pipeline(StandardScaler(), imputer, RidgeCV())
            scores.append(cross_val_score(model, table, y, cv=3).mean())
    assert np.mean(scores[1::2]) > np.mean(scores[::2])


def test_rows_of_few_ratings_are_clustered_by_their_factors() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(3, size=300)
    tastes = 1.5 * rng.standard_normal((3, 6))[groups] + 0.4 * rng.standard_normal((300, 6))
    ratings = tastes @ rng.standard_normal((6, 40)) + 0.5 * rng.standard_normal((300, 40))
    ratings[rng.random(ratings.shape) < 0.7] = np.nan
    kmeans = KMeans(3, n_init=5, random_state=0)
    model = make_pipeline(MatrixCompletion(6, alpha=1.0, rng=0), kmeans)
    assert adjusted_rand_score(groups, model.fit_predict(ratings)) > 0.95


def test_sparse_learning_is_cross_validated_by_its_log_density() -> None:
    problem = kronecker_sparse((15, 15), (8, 10), (3, 3), snr_db=10.0, snapshots=20, rng=2)
    train, test = problem.y[..., :10], problem.y[..., 10:]
    scores = {}
    for options in ParameterGrid({"prune": ["evidence", None]}):
        model = clone(KronSBL()).set_params(**options).fit(problem.factors, train)
        scores[model.score(None, test)] = model
    best = scores[max(scores)]
    assert best.prune == "evidence"
    for found, true in zip(best.support_, problem.support, strict=True):
        np.testing.assert_array_equal(found, true)


def test_a_function_found_once_is_a_feature() -> None:
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (300, 3))

    def physics(x: Any) -> Any:
        return 1 / (0.3 + np.sum((x - 0.2) ** 2, axis=1))

    y = physics(X) + X[:, 2]
    T = chebtucker(physics, [(-1, 1)] * 3, tol=1e-6, rng=0)
    surrogate = FunctionTransformer(lambda X: T(X)[:, None])
    model = make_pipeline(make_union(surrogate, "passthrough"), LinearRegression())
    assert model.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 1 - 1e-8
    assert cross_val_score(LinearRegression(), X, y, cv=3).mean() < 0.8


@pytest.mark.parametrize("container", ["default", "pandas"])
def test_columns_of_a_dataframe_keep_their_names(container: str) -> None:
    pandas = pytest.importorskip("pandas")
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    blood = ["s1", "s2", "s3", "s4", "s5", "s6"]
    X = X.mask(np.random.default_rng(0).random(X.shape) < 0.1)
    columns = ColumnTransformer(
        [
            ("blood", make_pipeline(LowRankImputer(rng=0), StreamingEigh(2, rng=0)), blood),
            ("rest", LowRankImputer(rng=0), ["age", "bmi", "bp"]),
        ],
    ).set_output(transform=container)
    table = columns.fit_transform(X)
    assert isinstance(table, pandas.DataFrame) == (container == "pandas")
    assert list(columns.get_feature_names_out()) == [
        "blood__streamingeigh0", "blood__streamingeigh1", "rest__age", "rest__bmi", "rest__bp",
    ]  # fmt: skip
    model = make_pipeline(columns, Ridge(1e-3)).fit(X, y)
    assert model.score(X, y) > 0.3
    assert "LowRankImputer" in estimator_html_repr(model)


def test_searches_run_in_threads() -> None:
    from joblib import parallel_config

    X, y = digits(300)
    model = make_pipeline(IncrementalSVD(10, center=True), classifier())
    serial = cross_val_score(model, X, y, cv=3)
    with parallel_config("threading", n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(model, X, y, cv=3), serial)
