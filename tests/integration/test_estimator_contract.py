"""scikit-learn's contract, for every estimator that the library has."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from linalgkit._core.estimator import EXPECTED_FAILED_CHECKS
from tests.integration.estimators import (
    ENTRIES,
    PARAMETER_CHECKS,
    TABLES,
    all_estimators,
    checks,
    expected_failures,
    make,
    seen_by_checks,
    table,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

EVERY = pytest.mark.parametrize("name", ENTRIES)
EVERY_TABLE = pytest.mark.parametrize("name", TABLES)
OPTIONS = [(name, options) for name in TABLES for options in ENTRIES[name].options]


def test_every_estimator_is_listed() -> None:
    assert set(all_estimators()) == set(ENTRIES)


# ------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
@pytest.mark.filterwarnings("ignore")
def test_the_checks_pass_but_for_the_named_exceptions(name: str, options: dict[str, Any]) -> None:
    found = check_estimator(
        seen_by_checks(name, options),
        expected_failed_checks=expected_failures(name),
        on_fail=None,
    )
    by_status: dict[str, set[str]] = {}
    for result in found:
        by_status.setdefault(result["status"], set()).add(result["check_name"])
    assert by_status.get("failed", set()) | by_status.get("xpass", set()) == set()
    assert by_status["xfail"] == set(expected_failures(name))
    assert all(check.startswith("check_array_api") for check in by_status["skipped"])
    assert len(by_status["passed"]) > 30


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in TABLES])
@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit")
def test_what_takes_no_table_refuses_it_and_passes_the_checks_of_parameters(name: str) -> None:
    estimator = make(name)
    X, y = table()
    with pytest.raises((TypeError, ValueError), match="must be a list"):
        estimator.fit(X, y)
    found = checks(estimator)
    assert found.keys() >= PARAMETER_CHECKS
    for check in PARAMETER_CHECKS:
        for run in found[check]:
            run()


@pytest.mark.parametrize("name", [name for name in TABLES if hasattr(make(name), "transform")])
@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
@pytest.mark.filterwarnings("ignore")
def test_transforms_come_in_the_container_that_was_asked_for(name: str, container: str) -> None:
    if container == "default":
        names = ["check_set_output_transform", "check_transformer_get_feature_names_out"]
    elif importlib.util.find_spec(container) is None:
        pytest.skip(f"{container} is not installed")
    else:
        spelling = "global_output" if container == "pandas" else "global_set_output"
        names = [
            f"check_set_output_transform_{container}",
            f"check_{spelling}_transform_{container}",
        ]
    for check in names:
        getattr(estimator_checks, check)(name, make(name))


@EVERY_TABLE
@pytest.mark.filterwarnings("ignore")
def test_names_of_columns_are_kept_and_compared(name: str) -> None:
    pytest.importorskip("pandas")
    estimator = seen_by_checks(name)
    kind = type(estimator).__name__
    estimator_checks.check_dataframe_column_names_consistency(kind, estimator)
    if hasattr(estimator, "transform"):
        estimator_checks.check_transformer_get_feature_names_out_pandas(kind, estimator)


@pytest.mark.slow
def test_arrays_of_other_libraries_pass_but_for_the_named_exceptions() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.array_dispatch"],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    for name, found in json.loads(done.stdout).items():
        failed = {check for check, errors in found.items() if set(errors) != {"passed"}}
        named = {k for k in expected_failures(name, dispatched=True) if "array_api" in k}
        assert failed == named, name
        for check in failed:
            assert "passed" not in found[check], (name, check)
            assert all(
                e.startswith(("TypeError: ", "ValueError: X must have rank")) for e in found[check]
            )


@pytest.mark.parametrize("name", ["regression.SketchedRegressor", "sampling.DPPLeastSquares"])
def test_targets_of_another_library_are_refused(name: str) -> None:
    X, y = table()
    with pytest.raises(TypeError, match="array_api_strict"):
        make(name).fit(X, array_api_strict.asarray(y))


@pytest.mark.filterwarnings("error::UserWarning")
def test_places_and_sparse_entries_need_no_names_of_columns() -> None:
    pandas = pytest.importorskip("pandas")
    X, _ = table()
    model = make("completion.MatrixCompletion").fit(pandas.DataFrame(X, columns=list("abcd")))
    assert model.score(([0, 1], [2, 3], X[[0, 1], [2, 3]])) <= 1
    assert model.transform(scipy.sparse.csr_array(X)).shape == (60, 1)
    with pytest.raises(ValueError, match="should match those that were passed during fit"):
        model.score(pandas.DataFrame(X, columns=list("bacd")))


# -------------------------------------------------------------------------------- parameters


@EVERY
def test_clones_have_the_parameters_and_nothing_learned(name: str) -> None:
    model = make(name).fit(*ENTRIES[name].data())
    twin = clone(model)
    assert type(twin) is type(model)
    assert twin.get_params() == model.get_params()
    assert repr(twin) == repr(model)
    assert not twin.__sklearn_is_fitted__()
    assert model.__sklearn_is_fitted__()
    assert set(vars(twin)) == set(model.get_params())


@EVERY
def test_parameters_are_set_by_name_and_shown_where_they_differ(name: str) -> None:
    model = all_estimators()[name]()
    assert repr(model) == f"{type(model).__name__}()"
    given = {key: object() for key in model.get_params()}
    assert model.set_params(**given) is model
    assert model.get_params(deep=False) == given
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        model.set_params(nonsense=1)
    some = make(name, {})
    for key, value in some.get_params().items():
        assert (f"{key}=" in repr(some)) == (key == "rng"), (key, value)


@EVERY
def test_fitted_objects_travel_by_pickle(name: str) -> None:
    model = make(name).fit(*ENTRIES[name].data())
    twin = pickle.loads(pickle.dumps(model))
    answer = ENTRIES[name].answer
    np.testing.assert_array_equal(answer(twin), answer(model))
    assert repr(twin) == repr(model)


# ---------------------------------------------------------------------------------- the list


def test_the_guide_names_every_estimator_and_every_exception() -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "pipelines.rst"
    text = page.read_text(encoding="utf-8")
    names = {name.partition(".")[2] for name in ENTRIES}
    names |= set(EXPECTED_FAILED_CHECKS)
    for entry in ENTRIES.values():
        names |= {*entry.dispatched, *entry.left_out}
    assert {name for name in names if f"``{name}``" not in text and f"{name}`" not in text} == set()
