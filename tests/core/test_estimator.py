"""scikit-learn's contract, kept by the smallest estimator that uses all of the mixin."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit._core import array as core_array
from linalgkit._core import estimator as est
from linalgkit._core.validation import NotFittedError, check_finite_block, check_int


class Toy(est.TransformerMixin):
    """Projection on the first columns, after the mean of the stream is taken off."""

    def __init__(self, n_components=1, *, center=True, inner=None):
        self.n_components, self.center, self.inner = n_components, center, inner

    def fit(self, X, y=None):
        for name in ("n_features_in_", "_total", "_n"):
            self.__dict__.pop(name, None)
        return self.partial_fit(X)

    def partial_fit(self, X, y=None):
        first = not hasattr(self, "n_features_in_")
        X, features = self._check_features(X, reset=first)
        check_finite_block(X)
        check_int("n_components", self.n_components, 1, features.n)
        X = X.toarray() if core_array.is_sparse(X) else X
        xp, _ = core_array.namespace_of(X)
        total = xp.sum(
            xp.astype(X, core_array.working_dtype(xp, core_array.device(X), X.dtype)), axis=0
        )
        self._total = total if first else self._total + total
        self._n = X.shape[0] if first else self._n + X.shape[0]
        if first:
            self._set_features(features)
        return self

    def transform(self, X):
        rows = self._validate_features(X, reset=False)
        check_finite_block(rows)
        rows = rows.toarray() if core_array.is_sparse(rows) else rows
        xp, _ = core_array.namespace_of(rows)
        k = self.n_components
        shift = xp.astype(self._total[:k] / self._n, self._total.dtype) if self.center else 0
        dtype = core_array.working_dtype(xp, core_array.device(rows), rows.dtype)
        return self._wrap_output(xp.astype(rows[:, :k], dtype) - shift, X)

    def score(self, X, y=None):
        return float(np.sum(self.transform(X)[:, 0] ** 2))

    @property
    def _n_features_out(self):
        return self.n_components


class SparseToy(Toy):
    _accepts_sparse = True


class Frame:
    """The part of a dataframe that is used, in pandas' and polars' spelling."""

    def __init__(self, data, columns):
        self.data, self.columns = np.asarray(data), columns
        self.shape = self.data.shape

    def to_numpy(self):
        return self.data


class TestParameters:
    def test_get_and_set(self):
        toy = Toy(3)
        assert toy.get_params() == {"center": True, "inner": None, "n_components": 3}
        assert toy.set_params(center=False, n_components=2) is toy
        assert (toy.center, toy.n_components) == (False, 2)

    def test_reach_into_parameters(self):
        toy = Toy(inner=Toy(5))
        assert toy.get_params()["inner__n_components"] == 5
        assert "inner__n_components" not in toy.get_params(deep=False)
        toy.set_params(inner__n_components=7)
        assert toy.inner.n_components == 7

    def test_a_replaced_parameter_gets_its_own_settings(self):
        toy = Toy(inner=Toy(5)).set_params(inner__n_components=7, inner=Toy(6, center=False))
        assert toy.inner.get_params()["n_components"] == 7
        assert not toy.inner.center

    def test_unknown_names_are_refused_before_anything_changes(self):
        toy = Toy()
        with pytest.raises(ValueError, match=r"Invalid parameter 'n_component' for estimator Toy"):
            toy.set_params(center=False, n_component=3)
        assert toy.center
        with pytest.raises(ValueError, match="Did you mean 'n_components'"):
            toy.set_params(n_component__x=3)

    def test_repr_shows_what_differs_from_the_default(self):
        assert repr(Toy()) == "Toy()"
        assert repr(Toy(2, center=False)) == "Toy(center=False, n_components=2)"
        assert len(repr(Toy(inner=np.zeros(1000)))) < 100

    def test_every_parameter_must_have_a_name(self):
        class Loose(est.EstimatorMixin):
            def __init__(self, **options):
                self.options = options

        with pytest.raises(TypeError, match=r"Loose\.__init__ must name every parameter"):
            Loose().get_params()


class TestColumns:
    @pytest.mark.parametrize("columns", [["a", "b"], ("a", "b")])
    def test_dataframes_give_their_names(self, columns):
        toy = Toy().fit(Frame([[1.0, 2.0], [3.0, 4.0]], columns))
        assert toy.feature_names_in_.tolist() == ["a", "b"]
        assert toy.feature_names_in_.dtype == object
        assert toy.n_features_in_ == 2

    def test_number_names_count_as_none_and_mixed_ones_are_refused(self):
        toy = Toy().fit(Frame(np.eye(2), [0, 1]))
        assert not hasattr(toy, "feature_names_in_")
        with pytest.raises(TypeError, match=r"all strings or none, got \['int', 'str'\]"):
            Toy().fit(Frame(np.eye(2), [0, "b"]))

    def test_names_in_another_order_are_refused(self):
        toy = Toy().fit(Frame(np.eye(2), ["a", "b"]))
        with pytest.raises(ValueError, match="same order"):
            toy.transform(Frame(np.eye(2), ["b", "a"]))

    def test_unseen_and_missing_names_are_listed(self):
        toy = Toy().fit(Frame(np.eye(7), list("abcdefg")))
        with pytest.raises(
            ValueError, match=r"unseen at fit time:\n- z\n.*now missing:\n- b\n"
        ) as e:
            toy.partial_fit(Frame(np.eye(2), ["a", "z"]))
        assert str(e.value).endswith("- f\n- ...\n")

    def test_names_on_one_side_only_are_a_warning(self):
        with pytest.warns(UserWarning, match="X does not have valid feature names, but Toy"):
            Toy().fit(Frame(np.eye(2), ["a", "b"])).transform(np.eye(2))
        with pytest.warns(UserWarning, match="X has feature names, but Toy was fitted without"):
            Toy().fit(np.eye(2)).transform(Frame(np.eye(2), ["a", "b"]))

    def test_a_new_fit_forgets_the_names(self):
        toy = Toy().fit(Frame(np.eye(2), ["a", "b"])).fit(np.eye(3))
        assert not hasattr(toy, "feature_names_in_")
        assert toy.n_features_in_ == 3

    def test_both_column_counts_are_named(self, xp):
        toy = Toy().fit(xp.asarray(np.eye(3)))
        with pytest.raises(ValueError, match="X has 2 features, but Toy is expecting 3 features"):
            toy.partial_fit(xp.asarray(np.eye(2)))

    def test_a_refused_block_records_nothing(self):
        toy = Toy()
        with pytest.raises(ValueError, match="must not contain NaN"):
            toy.partial_fit([[np.nan, 1.0]])
        assert not hasattr(toy, "n_features_in_")

    @pytest.mark.parametrize("X", [[[1, 2], [3, 4]], ((1.0, 2.0),), Frame([[1, 2]], [0, 1])])
    def test_lists_and_frames_become_arrays(self, X):
        assert isinstance(Toy().fit_transform(X), np.ndarray)

    def test_arrays_stay_in_their_library(self, xp):
        X = xp.asarray(np.arange(6.0).reshape(3, 2))
        Y = Toy().fit_transform(X)
        assert core_array.array_namespace(Y) is xp.xp
        assert core_array.device(Y) == xp.device
        assert xp.to_numpy(Y).ravel().tolist() == [-2, 0, 2]

    @pytest.mark.parametrize("X", [None, 3, "text", {"a": 1}, object()])
    def test_other_things_are_refused(self, X):
        with pytest.raises(TypeError, match="X must be an array, a dataframe or a list of numbers"):
            Toy().fit(X)

    def test_sparse_is_refused_unless_the_class_takes_it(self):
        X = sp.csr_array(np.eye(3))
        with pytest.raises(TypeError, match="X must be a dense array, got the sparse csr_array"):
            Toy()._validate_features(X, reset=True)
        assert SparseToy()._validate_features(X, reset=True) is X

    def test_travel_through_a_state(self):
        for X in (Frame(np.eye(2), ["a", "b"]), np.eye(2)):
            toy = Toy().fit(X)
            other = Toy()
            other._features_from_state(toy._features_to_state())
            assert other.__dict__.keys() >= {"n_features_in_"}
            assert getattr(other, "feature_names_in_", np.empty(0)).tolist() == (
                ["a", "b"] if isinstance(X, Frame) else []
            )
        empty = Toy()
        empty._features_from_state(Toy()._features_to_state())
        assert not hasattr(empty, "n_features_in_")


class TestOutput:
    def test_names_count_the_components(self):
        toy = Toy(2).fit(np.eye(3))
        assert toy.get_feature_names_out().tolist() == ["toy0", "toy1"]
        with pytest.raises(ValueError, match=r"equal to the number of features \(3\), got 1"):
            toy.get_feature_names_out(["a"])
        with pytest.raises(NotFittedError, match="Toy has seen no data yet"):
            Toy().get_feature_names_out()

    def test_input_names_must_be_those_of_fit(self):
        toy = Toy().fit(Frame(np.eye(2), ["a", "b"]))
        assert toy.get_feature_names_out(["a", "b"]).tolist() == ["toy0"]
        with pytest.raises(ValueError, match="not equal to feature_names_in_"):
            toy.get_feature_names_out(["a", "c"])

    def test_containers(self, rng):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(rng.standard_normal((4, 3)), index=list("wxyz"), columns=list("abc"))
        toy = Toy(2).fit(X).set_output(transform="pandas")
        Y = toy.transform(X)
        assert list(Y.columns) == ["toy0", "toy1"]
        assert list(Y.index) == list("wxyz")
        assert isinstance(toy.set_output(transform="default").transform(X), np.ndarray)

    def test_the_container_asked_for_goes_through_scikit_learn(self, monkeypatch):
        pytest.importorskip("sklearn")
        toy = Toy().fit(np.eye(2))
        asked = []
        monkeypatch.setattr(est, "_in_container", lambda *args: asked.append(args[-1]))
        toy.transform(np.eye(2))
        assert asked == []
        import sklearn

        with sklearn.config_context(transform_output="pandas"):
            toy.transform(np.eye(2))
        toy.set_output(transform="polars").set_output().transform(np.eye(2))
        assert asked == ["pandas", "polars"]


class TestScikitLearn:
    @pytest.fixture(autouse=True)
    def sklearn(self):
        return pytest.importorskip("sklearn", minversion="1.6")

    @pytest.mark.parametrize("kind", [Toy, SparseToy])
    def test_passes_its_checks_but_for_those_listed(self, kind):
        from sklearn.utils.estimator_checks import check_estimator

        failed = {}

        def note(*, check_name, exception, status, **_):
            if status in ("failed", "xfail"):
                failed[check_name] = (status, exception)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_estimator(
                kind(),
                expected_failed_checks=est.EXPECTED_FAILED_CHECKS,
                on_skip=None,
                on_fail=None,
                callback=note,
            )
        assert {name: e for name, (status, e) in failed.items() if status == "failed"} == {}
        expected = set(est.EXPECTED_FAILED_CHECKS)
        if "SCIPY_ARRAY_API" not in os.environ:  # scikit-learn skips this one then
            expected.remove("check_array_api_same_namespace")
        assert set(failed) == expected

    def test_clone_keeps_parameters_and_container_only(self):
        from sklearn.base import clone

        toy = Toy(2, center=False).fit(np.eye(3)).set_output(transform="pandas")
        copy = clone(toy)
        assert copy.get_params() == toy.get_params()
        assert copy._sklearn_output_config == {"transform": "pandas"}
        assert not hasattr(copy, "n_features_in_")

    def test_pipeline_and_grid_search(self, rng):
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MaxAbsScaler

        X = rng.standard_normal((30, 3)) + 5
        pipeline = make_pipeline(MaxAbsScaler(), Toy())
        search = GridSearchCV(pipeline, {"toy__center": [True, False]}, cv=3).fit(X)
        assert search.best_params_ == {"toy__center": False}  # the mean is far from zero
        assert pipeline.fit(X)[-1].n_features_in_ == 3
        assert "Toy" in pipeline._repr_html_()

    def test_is_fitted(self, sklearn):
        from sklearn.utils.validation import check_is_fitted

        with pytest.raises(sklearn.exceptions.NotFittedError):
            check_is_fitted(Toy())
        check_is_fitted(Toy().fit(np.eye(2)))

    def test_tags_tell_the_kind(self):
        from sklearn.base import is_regressor
        from sklearn.utils import get_tags

        class Line(est.EstimatorMixin):
            _estimator_type_name = "regressor"
            _requires_target = True

            def fit(self, X, y):
                return self

        assert is_regressor(Line())
        assert get_tags(Line()).target_tags.required
        assert get_tags(Line()).transformer_tags is None
        assert get_tags(SparseToy()).input_tags.sparse
        Line._estimator_type_name = "regresor"
        with pytest.raises(ValueError, match="must be one of"):
            get_tags(Line())


def test_scikit_learn_is_not_imported_by_use():
    code = (
        "import sys, numpy as np\n"
        "from linalgkit._core.estimator import TransformerMixin\n"
        "class T(TransformerMixin):\n"
        "    def __init__(self): pass\n"
        "    def fit(self, X, y=None):\n"
        "        self._validate_features(X, reset=True); return self\n"
        "    def transform(self, X): return self._wrap_output(X, X)\n"
        "T().fit_transform(np.eye(2))\n"
        "assert 'sklearn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
