"""LowRankImputer: what is filled in, and what is refused."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.impute import SimpleImputer

from linalgkit import AccuracyWarning, NotFittedError
from linalgkit.completion import _imputer
from linalgkit.completion._imputer import LowRankImputer
from tests.completion.made import SOLVING, host
from tests.conftest import BACKENDS, Backend

NUMPY = BACKENDS[0]
QUICK = {"rank": 2, "shrink": False, "alpha": 0.1, "tol": 1e-3, "rng": 0}


def table(
    m: int = 40, n: int = 12, noise: float = 0.01, hidden: float = 0.25, seed: int = 0
) -> tuple[Any, Any]:
    """Return a noisy matrix of rank two with offsets, and where it is hidden."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, 2)) @ rng.standard_normal((2, n)) + rng.standard_normal(n) + 5.0
    mask = rng.random((m, n)) < hidden
    mask[0, :] = mask[:, 0] = False
    return X + noise * rng.standard_normal((m, n)), mask


def with_holes(X: Any, mask: Any) -> Any:
    return np.where(mask, np.nan, X)


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.abs(x) ** 2)))


# ----------------------------------------------------------------------------------- filling


def test_the_defaults_fill_better_than_the_means_and_near_the_noise() -> None:
    X, mask = table(80, 20, noise=0.05)
    filled = LowRankImputer(rng=0).fit_transform(with_holes(X, mask))
    error = float(np.sqrt(np.mean((filled - X)[mask] ** 2)))
    means = SimpleImputer().fit_transform(with_holes(X, mask))
    assert error < 0.1 * float(np.sqrt(np.mean((means - X)[mask] ** 2)))
    assert error < 0.08  # the noise of the hidden entries themselves is 0.05


@pytest.mark.parametrize("xp", SOLVING, ids=str)
def test_observed_entries_come_back_bit_for_bit(xp: Backend) -> None:
    X, mask = table()
    given = xp.asarray(with_holes(X, mask))
    model = LowRankImputer(**QUICK)
    for filled in (model.fit_transform(given), model.transform(given)):
        assert filled.dtype == given.dtype
        assert not np.isnan(host(filled)).any()
        np.testing.assert_array_equal(host(filled)[~mask], host(given)[~mask])
        assert rms((host(filled) - X)[mask]) < 0.3


@pytest.mark.parametrize("kind", ["float32", "complex64", "complex128"])
def test_the_precision_is_kept(kind: str) -> None:
    X, mask = table()
    X = (X * (1 + 2j)).astype(kind) if "complex" in kind else X.astype(kind)
    given = with_holes(X, mask).astype(kind)
    model = LowRankImputer(**QUICK)
    assert model.fit_transform(given).dtype == kind
    filled = model.transform(given)
    assert filled.dtype == kind
    assert rms((filled - X)[mask]) < 0.7


def test_new_rows_are_filled_from_what_they_have() -> None:
    X, mask = table(120, 12)
    model = LowRankImputer(**QUICK).fit(with_holes(X, mask)[:80])
    new = with_holes(X, mask)[80:]
    filled = model.transform(new)
    assert rms((filled - X[80:])[mask[80:]]) < 0.3
    for r in (0, 3):  # one by one or together: the same least squares
        np.testing.assert_allclose(model.transform(new[r : r + 1])[0], filled[r], rtol=1e-8)


def test_rows_of_nothing_get_the_offsets_of_the_columns() -> None:
    X, mask = table()
    model = LowRankImputer(**QUICK).fit(with_holes(X, mask))
    blank = np.full((2, 12), np.nan)
    expected = model.result_.col_bias + model.result_.mean
    np.testing.assert_allclose(model.transform(blank), np.tile(expected, (2, 1)), rtol=1e-12)
    some = np.vstack([blank, X[:1]])
    np.testing.assert_allclose(model.transform(some)[:2], np.tile(expected, (2, 1)), rtol=1e-12)


def test_a_column_without_entries_stays_and_a_warning_says_so() -> None:
    X, mask = table()
    X[:, 4] = np.nan
    model = LowRankImputer(**QUICK)
    with pytest.warns(AccuracyWarning, match="No entry of column 4 is observed"):
        filled = model.fit_transform(with_holes(X, mask))
    assert filled.shape == X.shape
    assert np.isfinite(filled).all()
    expected = model.result_.row_bias + model.result_.mean
    np.testing.assert_allclose(filled[:, 4], expected, rtol=1e-10)


def test_a_full_table_comes_back_as_a_copy() -> None:
    X, _ = table()
    model = LowRankImputer(**QUICK).fit(X)
    filled = model.transform(X)
    np.testing.assert_array_equal(filled, X)
    assert not np.may_share_memory(filled, X)
    assert model.transform(np.ones((2, 12), dtype=int)).dtype == np.float64


def test_masked_arrays_and_dataframes_are_tables() -> None:
    pandas = pytest.importorskip("pandas")
    X, mask = table()
    holes = with_holes(X, mask)
    expected = LowRankImputer(**QUICK).fit_transform(holes)
    found = LowRankImputer(**QUICK).fit_transform(np.ma.masked_array(X, mask))
    np.testing.assert_array_equal(found, expected)
    frame = pandas.DataFrame(holes, columns=[f"c{i}" for i in range(12)])
    model = LowRankImputer(**QUICK).set_output(transform="pandas")
    filled = model.fit_transform(frame)
    assert list(filled.columns) == list(frame.columns)
    np.testing.assert_array_equal(filled.to_numpy(), expected)
    assert list(model.get_feature_names_out()) == list(frame.columns)
    assert LowRankImputer(**QUICK).fit(X).get_feature_names_out()[1] == "x1"


def test_nullable_columns_are_numbers_and_columns_of_objects_are_not() -> None:
    pandas = pytest.importorskip("pandas")
    holes = np.round(10 * with_holes(*table()))
    frame = pandas.DataFrame(holes, columns=[f"c{i}" for i in range(12)])
    expected = LowRankImputer(**QUICK).fit_transform(frame)
    mixed = frame.astype(dict.fromkeys(frame.columns[3:], "Int64"))
    assert mixed.to_numpy().dtype == object
    model = LowRankImputer(**QUICK).set_output(transform="pandas")
    filled = model.fit_transform(mixed)
    np.testing.assert_array_equal(filled.to_numpy(), expected)
    assert list(model.feature_names_in_) == list(filled.columns) == list(frame.columns)
    np.testing.assert_array_equal(
        model.transform(mixed).to_numpy(), model.transform(frame).to_numpy()
    )
    single = LowRankImputer(**QUICK).fit_transform(frame.astype("Float32"))
    assert single.dtype == np.float32
    with pytest.raises(TypeError, match=r"X: a numeric array .*got dtype object in column 'c0'"):
        LowRankImputer(**QUICK).fit(frame.astype(object))


def test_masked_integers_come_back_in_the_default_float() -> None:
    X, mask = table()
    given = np.ma.masked_array(np.round(X).astype("int8"), mask)
    filled = LowRankImputer(**QUICK).fit_transform(given)
    assert filled.dtype == np.float64
    np.testing.assert_array_equal(filled[~mask], given.data[~mask])


@pytest.mark.slow
def test_digits_are_filled_better_than_by_means() -> None:
    X = load_digits().data
    mask = np.random.default_rng(0).random(X.shape) < 0.4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # columns that are always zero
        filled = LowRankImputer(rng=0).fit_transform(with_holes(X, mask))
    assert float(np.sqrt(np.mean((filled - X)[mask] ** 2))) < 3.2


def patients(rows: int = 200) -> tuple[Any, Any]:
    """Return age, income, blood pressure and body mass index, of which each follows the age."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, rows)
    income, pressure, bmi = 20_000 + 500 * age, 90 + 0.5 * age, 20 + 0.05 * age
    noise = rng.standard_normal((3, rows)) * [[4000], [5], [2]]
    X = np.stack([age, income + noise[0], pressure + noise[1], bmi + noise[2]], axis=1)
    return X, rng.random(X.shape) < 0.15


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_column_that_rules_the_sum_of_squares_is_named_with_those_it_spoils(dtype: str) -> None:
    pandas = pytest.importorskip("pandas")
    X, mask = patients()
    holes = with_holes(X, mask).astype(dtype)
    frame = pandas.DataFrame(holes, columns=["age", "income", "bp", "bmi"])
    with pytest.warns(AccuracyWarning, match=r"column bmi .* column income, .*StandardScaler") as w:
        filled = LowRankImputer(rng=0).fit_transform(frame)
    assert len(w) == 1
    assert w[0].filename == __file__
    spread = np.nanstd(holes, axis=0)
    assert rms(((filled - X) / spread)[mask]) > 5  # it is no false alarm
    # Each column in its own unit: no warning (they are errors here), and an error as it should be.
    scaled = LowRankImputer(rng=0).fit_transform(holes / spread)
    assert rms((scaled - X / spread)[mask]) < 1.2


def test_columns_that_hardly_vary_or_not_at_all_give_no_warning() -> None:
    X, mask = table()
    X[:, 2] = 1 / 3
    X[1:, 3] = 0.0
    LowRankImputer(rng=0).fit(with_holes(X, mask))
    LowRankImputer(rng=0).fit(
        with_holes(np.outer(np.arange(1, 31), np.arange(1.0, 9)), mask[:30, :8])
    )


@pytest.mark.parametrize("rows", [3, 40])
def test_residuals_are_those_of_each_column_however_it_is_cut(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, mask = table(rows)
    holes = with_holes(X, mask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        model = LowRankImputer(**QUICK).fit(holes)
    left = np.sqrt(np.nanmean(np.abs(holes - model.result_.block()) ** 2, axis=0))
    for piece in (1, 10**6):
        monkeypatch.setattr(_imputer, "_PIECE", piece)
        found = _imputer._residual_shares(holes, model.result_)
        np.testing.assert_allclose(found, left / np.nanstd(holes, axis=0), rtol=1e-7)


# ---------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (sp.eye_array(4), TypeError, "X must be a dense table .* Use MatrixCompletion"),
        (np.full((3, 2), np.nan), ValueError, "X must have an observed entry"),
        (np.full((3, 2), np.inf), ValueError, "X must be finite where it is observed"),
        (np.ones(3), ValueError, "X must be 2-D"),
        (np.ones((3, 2), dtype="float16"), TypeError, "X must be of at least single precision"),
        (
            np.ma.masked_array(np.ones((3, 2), dtype="float16"), np.eye(3, 2, dtype=bool)),
            TypeError,
            "X must be of at least single precision",
        ),
        (np.asarray([["a", "b"]]), TypeError, "numeric|strings|dtype"),
    ],
    ids=["sparse", "nothing", "infinite", "vector", "half", "masked half", "text"],
)
def test_bad_tables_are_refused(X: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        LowRankImputer(**QUICK).fit(X)


def test_bad_tables_to_transform_are_refused() -> None:
    X, mask = table()
    model = LowRankImputer(**QUICK).fit(with_holes(X, mask))
    with pytest.raises(ValueError, match="is expecting 12 features"):
        model.transform(X[:, :5])
    bad = X.copy()
    bad[2, 3] = -np.inf
    with pytest.raises(ValueError, match=r"infinity at \(row, column\) = \(2, 3\)"):
        model.transform(bad)
    with pytest.raises(TypeError, match="X must be real as the stream was"):
        model.transform(X + 0j)
    with pytest.raises(TypeError, match="X must be of numpy"):
        model.transform(BACKENDS[1].asarray(X))
    with pytest.raises(NotFittedError, match="Call fit with data first"):
        LowRankImputer().transform(X)


def test_bad_options_are_refused_and_leave_the_object_as_it_was() -> None:
    X, _ = table()
    model = LowRankImputer(**QUICK).fit(X)
    before = model.result_
    with pytest.raises(ValueError, match="rank must be between 1 and 12"):
        model.set_params(rank=13).fit(X)
    with pytest.raises(ValueError, match="loss"):
        model.set_params(rank=2, loss="cubic").fit(X)
    assert model.result_ is before


# ------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("xp", SOLVING, ids=str)
def test_files_and_pickles_fill_the_same(xp: Backend, tmp_path: Path) -> None:
    X, mask = table()
    given = xp.asarray(with_holes(X, mask))
    model = LowRankImputer(**QUICK).fit(given)
    model.save(tmp_path / "imputer.npz")
    twins = [
        pickle.loads(pickle.dumps(model)),
        LowRankImputer.load(tmp_path / "imputer.npz", like=given),
    ]
    for twin in twins:
        assert repr(twin) == repr(model)
        assert host(twin.transform(given)).tobytes() == host(model.transform(given)).tobytes()
    assert not hasattr(LowRankImputer.from_state(LowRankImputer().to_state()), "n_features_in_")
