"""Least squares from designs in scikit-learn's idiom."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import r2_score

from linalgkit import NotFittedError
from linalgkit.sampling._design import sample_design
from linalgkit.sampling._families import Legendre
from linalgkit.sampling._fit import weighted_lstsq
from linalgkit.sampling._indices import multi_index
from linalgkit.sampling._regressor import DPPLeastSquares
from linalgkit.sampling._tensor import TensorBasis


def basis_of(d: int = 2, p: int = 4) -> TensorBasis:
    return TensorBasis(Legendre(), multi_index(d, p))


def peak(x: Any) -> Any:
    return 1 / (1 + x[:, 0] ** 2 + 0.3 * x[:, 1])


def data(n: int = 300, q: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    X = rng.standard_normal((n, 4))
    C = rng.standard_normal((4,) if q is None else (4, q))
    y = X @ C
    return X, y + 0.1 * rng.standard_normal(y.shape)


def test_a_function_is_asked_at_the_points_of_the_design() -> None:
    asked = []

    def function(points: Any) -> Any:
        asked.append(points)
        return peak(points)

    model = DPPLeastSquares(basis_of(2, 8), condition=("lmin", 0.9), rng=3).fit(function)
    assert len(asked) == 1
    assert asked[0] is model.design_.points
    expected = sample_design(basis_of(2, 8), condition=("lmin", 0.9), rng=3)
    np.testing.assert_array_equal(asked[0], expected.points)
    assert len(asked[0]) == 3 * 45
    assert model.n_features_in_ == 2
    assert not hasattr(model, "indices_")
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    assert np.abs(model.predict(x) - peak(x)).max() < 0.02
    assert model.score(x, peak(x)) > 0.999
    assert model.fit_.error_bound.rests_on == "conditional"


@pytest.mark.parametrize("q", [None, 2])
def test_only_the_targets_of_picked_rows_count(q: int | None) -> None:
    X, y = data(q=q)
    model = DPPLeastSquares(n=20, rng=5).fit(X, y)
    assert len(model.indices_) == 20
    hidden = np.full_like(y, 1e6)
    hidden[model.indices_] = y[model.indices_]
    again = DPPLeastSquares(n=20, rng=5).fit(X, hidden)
    np.testing.assert_array_equal(again.coef_, model.coef_)
    design = sample_design(X, 20, rng=5)
    expected = weighted_lstsq(design, y[design.indices], space=X)
    np.testing.assert_array_equal(model.coef_, expected.coef.T)
    assert model.coef_.shape == ((4,) if q is None else (2, 4))
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.9


def test_rows_may_be_points_of_a_space() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (500, 2))
    basis = basis_of(2, 6)
    model = DPPLeastSquares(basis, rng=0).fit(x, peak(x))
    assert len(model.indices_) == 3 * basis.dim
    assert model.n_features_in_ == 2
    assert model.score(x, peak(x)) > 0.99
    np.testing.assert_allclose(model.predict(x), basis.evaluate(x) @ model.coef_, rtol=1e-12)
    by_function = DPPLeastSquares(basis, rng=0).fit(peak)
    assert abs(model.fit_.mean() - by_function.fit_.mean()) < 1e-2
    assert model.fit_.sobol_indices().total.shape == (2,)


def test_volume_sampling_is_unbiased_for_the_fit_to_all_rows() -> None:
    # Interpolation at one process has heavy tails, with twice the dimension all is quiet.
    rng = np.random.default_rng(12)
    X = rng.standard_normal((20, 2)) * rng.uniform(0.3, 3, (20, 1))
    y = X[:, 0] ** 2 + rng.standard_normal(20)
    best = np.linalg.lstsq(X, y)[0]
    R = np.linalg.cholesky(X.T @ X / 20).T

    def scores(method: str, weighted: bool = True) -> np.ndarray:
        seeds = np.random.default_rng(0)
        found = np.empty((1500, 2))
        for row in found:
            design = sample_design(X, 6, method=method, rng=seeds)
            kept = np.asarray(design.indices)
            if weighted:
                row[:] = weighted_lstsq(design, y[kept], space=X).coef - best
            else:  # a negative control: the points without their weights
                row[:] = np.linalg.lstsq(X[kept], y[kept])[0] - best
        found = found @ R.T
        return found.mean(axis=0) / (found.std(axis=0) / np.sqrt(len(found)))

    assert np.abs(scores("volume")).max() < 4.0  # two normal variables: p > 1e-4
    assert np.abs(scores("volume", weighted=False)).max() > 6.0


def test_every_library(xp: Any) -> None:
    X, y = data(q=2)
    expected = DPPLeastSquares(n=20, rng=5).fit(X, y)
    model = DPPLeastSquares(n=20, rng=5).fit(xp.asarray(X), xp.asarray(y))
    assert xp.to_numpy(model.indices_).tolist() == expected.indices_.tolist()
    tol = 30 * xp.tolerance
    np.testing.assert_allclose(xp.to_numpy(model.coef_), expected.coef_, atol=tol)
    score = model.score(xp.asarray(X), xp.asarray(y))
    assert abs(score - expected.score(X, y)) < tol
    found = model.predict(xp.asarray(X[:3]))
    np.testing.assert_allclose(xp.to_numpy(found), expected.predict(X[:3]), atol=tol)


def test_complex_rows_and_targets() -> None:
    X, y = data()
    Z = X + 1j * X[::-1]
    t = Z @ np.array([1.0, 1j, 2.0, 0.5 - 1j])
    model = DPPLeastSquares(rng=0).fit(Z, t)
    np.testing.assert_allclose(model.coef_, [1, 1j, 2, 0.5 - 1j], atol=1e-12)
    assert model.score(Z, t) > 1 - 1e-12
    assert DPPLeastSquares(rng=0).fit(X, y + 1j * y).coef_.dtype == np.complex128


def test_the_score_is_the_coefficient_of_determination() -> None:
    X, y = data(q=3)
    w = np.random.default_rng(0).uniform(0, 2, len(X))
    model = DPPLeastSquares(rng=0).fit(X, y)
    expected = r2_score(y, model.predict(X))
    assert abs(model.score(X, y) - expected) < 1e-12
    expected = r2_score(y, model.predict(X), sample_weight=w)
    assert abs(model.score(X, y, sample_weight=w) - expected) < 1e-12
    with pytest.raises(ValueError, match="sample_weight must have one entry"):
        model.score(X, y, sample_weight=w[:3])
    with pytest.raises(ValueError, match="sample_weight must not be negative, nor zero"):
        model.score(X, y, sample_weight=0 * w)
    with pytest.raises(ValueError, match="y must have the shape of the predictions"):
        model.score(X, y[:, 0])


def test_options_are_those_of_the_design() -> None:
    X, y = data()
    options: dict[str, Any] = {
        "n": 24,
        "method": "iid",
        "condition": ("norm", 0.95),
        "boost": 2,
        "subsample": "greedy",
        "mixture": 0.5,
        "max_tries": 50,
    }
    model = DPPLeastSquares(**options, rng=9).fit(X, y)
    expected = sample_design(X, **options, rng=9)
    np.testing.assert_array_equal(model.indices_, expected.indices)
    np.testing.assert_array_equal(model.design_.weights, expected.weights)
    names = list(DPPLeastSquares().get_params())
    assert set(names) == {*options, "space", "oversampling", "rng"}


def test_a_failed_fit_changes_nothing() -> None:
    X, y = data()
    rng = np.random.default_rng(3)
    model = DPPLeastSquares(n=20, rng=rng).fit(X, y)
    state, fit = copy.deepcopy(rng.bit_generator.state), model.fit_
    for rows, targets, kind in (
        (X, y[:5], ValueError),
        (X[:2], y[:2], ValueError),
        (X[:, :1] * [1.0, 2.0], y, ValueError),
        (object(), y, TypeError),
    ):
        with pytest.raises(kind):
            model.fit(rows, targets)
        assert model.fit_ is fit
        assert rng.bit_generator.state == state
    function = DPPLeastSquares(basis_of(), rng=rng)
    with pytest.raises(ValueError, match="values must not contain NaN"):
        function.fit(lambda x: np.full(len(x), np.nan))
    assert rng.bit_generator.state == state
    with pytest.raises(NotFittedError):
        function.predict(X[:, :2])


def test_wrong_input_is_refused() -> None:
    X, y = data()
    basis = basis_of()
    for model, rows, targets, kind, words in (
        (DPPLeastSquares(), X, None, ValueError, "requires y to be passed"),
        (DPPLeastSquares(), peak, None, ValueError, "space must be a TensorBasis or a UserBasis"),
        (DPPLeastSquares(basis), peak, y, TypeError, "y must be None where X is a function"),
        (DPPLeastSquares(basis), lambda x: x[:3, 0], None, ValueError, "for each of the 45 points"),
        (DPPLeastSquares(basis), lambda x: "no", None, TypeError, "values must be an array"),
        (DPPLeastSquares(n=3), X, y, ValueError, "n must be at least 4"),
        (DPPLeastSquares(method="dpp"), X, y, ValueError, "method must be one of"),
        (DPPLeastSquares(), X[:3], y[:3], ValueError, "functions, 4, got 3 sample"),
        (DPPLeastSquares(), np.full_like(X, np.nan), y, ValueError, "X must not contain NaN"),
        (DPPLeastSquares(), X, np.full_like(y, np.inf), ValueError, "y must not contain NaN"),
        (DPPLeastSquares(), X[:, [0, 0]], y, ValueError, "rank"),
        (DPPLeastSquares(rng="x"), X, y, TypeError, "rng must be"),
    ):
        with pytest.raises(kind, match=words):
            model.fit(rows, targets)
    model = DPPLeastSquares(rng=0)
    for ask in (lambda: model.predict(X), lambda: model.coef_, lambda: model.score(X, y)):
        with pytest.raises(NotFittedError):
            ask()
    model.fit(X, y)
    with pytest.raises(ValueError, match="X must not contain NaN"):
        model.predict(np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match="is expecting 4 features"):
        model.predict(X[:, :3])
    impossible = DPPLeastSquares(n=4, condition=("lmin", 1e-3), max_tries=3, rng=0)
    with pytest.raises(RuntimeError, match="did not hold in 3 designs"):
        impossible.fit(X, y)


@pytest.mark.parametrize("space", [np.ones((5, 2)), 3, Legendre().draw])
def test_what_is_no_basis_is_refused_as_space(space: object) -> None:
    with pytest.raises(TypeError, match="space must be None, a TensorBasis or a UserBasis"):
        DPPLeastSquares(space).fit(np.ones((5, 2)), np.ones(5))
