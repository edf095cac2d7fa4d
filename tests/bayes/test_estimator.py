"""The estimator: snapshots in blocks, answers, densities, states and merging."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from linalgkit import NotFittedError
from linalgkit._core.array import dtype_name, library_of
from linalgkit.bayes import _snapshots, kron_sbl
from linalgkit.bayes._estimator import KronSBL
from linalgkit.datasets import kronecker_sparse
from tests.bayes.dense import draw
from tests.conftest import Backend

# Some of these answers are cut short, or of noise alone; test_sbl holds what is warned of.
pytestmark = pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")

SIZES, WIDTHS, L = (3, 4), (6, 7), 60
both_fields = pytest.mark.parametrize("dtype", ["float64", "complex128"])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 2 M = 24 columns be the capacity."""
    monkeypatch.setattr(_snapshots, "LEAST_CAPACITY", 1)


def _problem(dtype: str = "float64", snapshots: int | None = L, **options: Any) -> Any:
    options = {"snr_db": 15.0, "rng": 3, **options}
    return kronecker_sparse(WIDTHS, SIZES, (2, 2), snapshots=snapshots, dtype=dtype, **options)


def _moved(xp: Backend, problem: Any) -> tuple[list[Any], Any]:
    return [xp.asarray(H) for H in problem.factors], xp.asarray(problem.y)


def _run(factors: Any, y: Any, cuts: Any = (), **options: Any) -> KronSBL:
    model = KronSBL(**options)
    for start, stop in itertools.pairwise([0, *cuts, int(y.shape[-1])]):
        model = model.partial_fit(factors, y[..., start:stop])
    return model


def _assert_same_bits(a: KronSBL, b: KronSBL, xp: Backend | None = None) -> None:
    host = np.asarray if xp is None else xp.to_numpy
    mine, theirs = a.result(), b.result()
    assert np.array_equal(host(mine.coef), host(theirs.coef))
    assert np.array_equal(mine.evidence, theirs.evidence)
    assert mine.noise_var == theirs.noise_var
    assert a.n_snapshots_ == b.n_snapshots_
    for mode in range(len(mine.gamma)):
        assert np.array_equal(host(mine.gamma[mode]), host(theirs.gamma[mode]))


def _assert_close(a: Any, b: Any, tolerance: float) -> None:
    """The hyperparameters, support, noise and evidence of two results agree."""
    assert [s.tolist() for s in a.support] == [s.tolist() for s in b.support]
    assert a.method == b.method
    assert a.noise_var == pytest.approx(b.noise_var, rel=tolerance)
    assert a.evidence[-1] == pytest.approx(b.evidence[-1], rel=tolerance)
    for mine, theirs in zip(a.gamma, b.gamma, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * theirs.max())


# -------------------------------------------------------------------------- the same answer


@both_fields
def test_fit_is_kron_sbl(xp: Backend, dtype: str) -> None:
    factors, y = _moved(xp, _problem(dtype, snapshots=3))
    model, expected = KronSBL().fit(factors, y), kron_sbl(factors, y)
    assert np.array_equal(xp.to_numpy(model.coef_), xp.to_numpy(expected.coef))
    assert np.array_equal(model.evidence_, expected.evidence)
    assert model.noise_var_ == expected.noise_var
    assert model.n_snapshots_ == 3
    assert (model.status_, model.n_iter_) == (expected.status, expected.n_iter)
    assert model.kkt_residual_ == expected.kkt_residual
    for mine, theirs in zip(model.support_, expected.support, strict=True):
        assert np.array_equal(xp.to_numpy(mine), xp.to_numpy(theirs))
    assert library_of(model.coef_) == library_of(y)
    assert model.coef_.dtype == y.dtype


def test_a_single_snapshot_needs_no_axis() -> None:
    problem = _problem(snapshots=None)
    options = {"method": "mm", "noise_var": problem.noise_var}
    model = KronSBL(**options).partial_fit(problem.factors, problem.y)
    expected = kron_sbl(problem.factors, problem.y, **options)
    assert model.coef_.ndim == 2
    assert np.array_equal(model.coef_, expected.coef)
    assert model.transform(problem.y).shape == model.coef_.shape
    flat = KronSBL(**options).fit(problem.factors, problem.y.reshape(-1))
    assert np.array_equal(flat.coef_, model.coef_)
    assert flat.predict().shape == (12,)
    assert model.partial_fit(None, problem.y.reshape(-1)).coef_.shape[2:] == (2,)


@both_fields
@pytest.mark.parametrize("method", ["auto", "mm", "am"])
def test_a_compressed_stream_has_the_answer_of_all_snapshots(
    few: None, dtype: str, method: str
) -> None:
    problem = _problem(dtype)
    model = KronSBL(method=method).fit(problem.factors, problem.y)
    expected = kron_sbl(problem.factors, problem.y, method=method)
    assert model.coef_.shape == (2, 2, 24)
    assert model.n_snapshots_ == L
    _assert_close(model.result(), expected, 1e-8)
    np.testing.assert_allclose(model.result().variance(), expected.variance(), rtol=1e-8, atol=0)
    mean = model.transform(problem.y)
    assert np.abs(mean - expected.coef).max() < 1e-8 * np.abs(expected.coef).max()
    # the negative control: the same columns taken for as many snapshots
    columns = model._stream.buffer.columns().reshape(*SIZES, -1)
    wrong = kron_sbl(problem.factors, columns, method=method)
    assert abs(wrong.noise_var / expected.noise_var - 1) > 0.5


def test_a_compressed_stream_of_rank_one_has_the_answer_of_all_snapshots(few: None) -> None:
    problem = _problem("complex128", rank_one=True, snr_db=10.0, rng=5)
    model = KronSBL().fit(problem.factors, problem.y)
    expected = kron_sbl(problem.factors, problem.y)
    assert expected.method == "rank_one"
    _assert_close(model.result(), expected, 1e-6)


def test_the_capacity_as_it_is_holds_a_thousand_snapshots() -> None:
    problem = _problem(snapshots=1100)
    model = KronSBL().fit(problem.factors, problem.y)
    assert model.n_snapshots_ == 1100
    assert model.coef_.shape == (2, 2, 12 + 1100 - 1024)
    _assert_close(model.result(), kron_sbl(problem.factors, problem.y), 1e-8)


@both_fields
def test_storage_is_as_documented(dtype: str) -> None:
    rng = np.random.default_rng(2)
    sizes = (8, 9, 8)  # 576 numbers: 1152 columns
    factors = [draw(rng, m, 2 * m, is_complex=False).astype(dtype) for m in sizes]
    y = draw(rng, *sizes, 200, is_complex=False).astype(dtype)
    model = KronSBL()
    tracemalloc.start()
    for _ in range(10):
        model.partial_fit(factors, y)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    words = 576 * 1152 * y.itemsize
    assert model.n_snapshots_ == 2000
    assert held < 1.05 * words
    assert peak < 5.05 * words


@pytest.mark.parametrize("exponent", [-498, 498])
def test_scale_passes_through(few: None, exponent: int) -> None:
    problem = _problem("complex128")
    factor = 2.0**exponent
    base = KronSBL().fit(problem.factors, problem.y)
    scaled = KronSBL().fit(problem.factors, factor * problem.y)
    assert np.array_equal(scaled.coef_, factor * base.coef_)
    part = problem.y[..., :5]
    assert np.array_equal(scaled.transform(factor * part), factor * base.transform(part))
    # a density falls by the logarithm of the volume: 12 complex numbers, 5 snapshots
    fall = 2 * 60 * exponent * np.log(2.0)
    expected = base.score(None, part) - fall
    assert scaled.score(None, factor * part) == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------ blocks and bits


@both_fields
def test_cuts_do_not_change_a_bit(few: None, dtype: str) -> None:
    problem = _problem(dtype)
    whole = KronSBL().fit(problem.factors, problem.y)
    for cuts in (range(1, L), [24], [1, 25, 26, 59], [13, 40]):
        _assert_same_bits(_run(problem.factors, problem.y, cuts), whole)


def test_cuts_do_not_change_a_bit_on_any_library(xp: Backend) -> None:
    factors, y = _moved(xp, _problem(snapshots=3))
    _assert_same_bits(_run(factors, y, [2]), KronSBL().fit(factors, y), xp)


def test_answers_between_and_layouts_do_not_change_a_bit(few: None) -> None:
    problem = _problem("complex128")
    model = KronSBL()
    for start in range(0, L, 20):
        block = np.asfortranarray(problem.y[..., start : start + 20]).reshape(12, -1)
        model.partial_fit(problem.factors, block)
        model.result()
    _assert_same_bits(model, KronSBL().fit(problem.factors, problem.y))


def test_answers_are_kept_until_more_snapshots_come() -> None:
    problem = _problem(snapshots=3)
    model = KronSBL().fit(problem.factors, problem.y)
    first = model.result()
    assert model.result() is first
    assert model.partial_fit(None, problem.y).result() is not first
    assert model.n_snapshots_ == 6


def test_fit_starts_anew() -> None:
    problem, other = _problem(snapshots=3), _problem(snapshots=2, rng=8)
    model = KronSBL().fit(other.factors, other.y).fit(problem.factors, problem.y)
    _assert_same_bits(model, KronSBL().fit(problem.factors, problem.y))


def test_later_changes_of_the_callers_arrays_do_not_matter() -> None:
    problem = _problem(snapshots=3)
    gamma0 = [np.ones(n) for n in WIDTHS]
    expected = KronSBL(gamma0=gamma0).fit(problem.factors, problem.y)
    factors, y = [H.copy() for H in problem.factors], problem.y.copy()
    model = KronSBL(gamma0=gamma0).partial_fit(factors, y)
    gamma0[0][1:] = factors[0][...] = y[...] = 0.0
    _assert_same_bits(model, expected)


def test_equal_factors_may_come_again_and_in_another_precision() -> None:
    problem = _problem(snapshots=4)
    small = [H.astype(np.float32) for H in problem.factors]
    model = KronSBL().partial_fit(small, problem.y[..., :2])
    model.partial_fit([H.astype(np.float64) for H in small], problem.y[..., 2:])
    _assert_same_bits(model, KronSBL().fit(small, problem.y))


def test_real_snapshots_join_a_complex_stream() -> None:
    problem = _problem("complex128", snapshots=4)
    real = problem.y.real[..., :1]
    model = KronSBL().fit(problem.factors, problem.y).partial_fit(None, real)
    y = np.concatenate([problem.y, real], axis=-1)
    _assert_same_bits(model, KronSBL().fit(problem.factors, y))


# -------------------------------------------------------------------------------- bad input


def _bad_calls() -> dict[str, tuple[Callable[[KronSBL, Any], Any], type[Exception], str]]:
    nan = np.full((*SIZES, 2), np.nan)
    other = [draw(np.random.default_rng(1), m, n, is_complex=False)
             for m, n in zip(SIZES, WIDTHS, strict=True)]  # fmt: skip
    return {
        "nan": (lambda m, p: m.partial_fit(None, nan), ValueError, "y must not contain NaN"),
        "shape": (lambda m, p: m.partial_fit(None, np.ones((4, 4))), ValueError, "y must be of"),
        "none": (lambda m, p: m.partial_fit(None, np.ones((3, 4, 0))), ValueError, "snapshot"),
        "set": (lambda m, p: m.partial_fit(None, {1.0}), TypeError, "y must be an array"),
        "entries": (lambda m, p: m.partial_fit(other, p.y), ValueError, r"factors\[0\] must be"),
        "shapes": (lambda m, p: m.partial_fit([np.ones((12, 2))], p.y), ValueError, "of shapes"),
        "matrix": (lambda m, p: m.partial_fit(other[0], p.y), TypeError, "list or tuple"),
        "complex y": (lambda m, p: m.partial_fit(None, 1j * p.y), TypeError, "must be real"),
        "complex H": (
            lambda m, p: m.partial_fit([p.factors[0], 1j * p.factors[1]], p.y),
            TypeError,
            r"factors\[\d\] must be real",
        ),
        "fit": (lambda m, p: m.fit(p.factors, nan), ValueError, "NaN"),
        "score": (lambda m, p: m.score([H[:, :3] for H in p.factors], p.y), ValueError, "columns"),
        "std": (lambda m, p: m.predict(return_std="yes"), TypeError, "return_std must be"),
        "transform": (lambda m, p: m.transform(np.ones(5)), ValueError, "y must be of shape"),
    }


@pytest.mark.parametrize("name", list(_bad_calls()))
def test_bad_input_is_refused_and_changes_nothing(name: str) -> None:
    call, error, text = _bad_calls()[name]
    problem = _problem(snapshots=3)
    model = KronSBL().fit(problem.factors, problem.y)
    expected = copy.deepcopy(model)
    with pytest.raises(error, match=text):
        call(model, problem)
    _assert_same_bits(model, expected)
    model.partial_fit(problem.factors, problem.y)
    _assert_same_bits(model, expected.partial_fit(None, problem.y))


def test_a_wider_precision_is_refused() -> None:
    problem = _problem("float32", snapshots=3)
    model = KronSBL().fit(problem.factors, problem.y)
    with pytest.raises(TypeError, match="float32 as the stream was, got float64"):
        model.partial_fit(None, problem.y.astype(np.float64))
    assert model.n_snapshots_ == 3
    assert model.coef_.dtype == np.float32


def test_another_library_is_refused(xp: Backend) -> None:
    problem = _problem(snapshots=3)
    model = KronSBL().partial_fit(problem.factors, problem.y)
    if xp.name == "numpy":
        return
    factors, y = _moved(xp, problem)
    with pytest.raises(TypeError, match="library"):
        model.partial_fit(None, y)
    with pytest.raises(TypeError, match="stream was"):
        model.partial_fit(factors, y)
    assert model.n_snapshots_ == 3


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("max_iter", 0, ValueError), ("method", "best", ValueError), ("noise_var", 0.0, ValueError),
     ("tol", "small", TypeError), ("gamma0", [np.ones(3)], ValueError), ("callback", 3, TypeError),
     ("coupling", -1.0, ValueError), ("restarts", 1.5, TypeError), ("rng", "a", TypeError)],
    ids=str,
)  # fmt: skip
def test_options_are_refused_with_the_first_snapshots(
    option: str, value: Any, error: type[Exception]
) -> None:
    problem = _problem(snapshots=2)
    for call in (KronSBL.fit, KronSBL.partial_fit):
        model = KronSBL(**{option: value})
        with pytest.raises(error, match=option):
            call(model, problem.factors, problem.y)
        with pytest.raises(NotFittedError):
            model.result()


def test_the_first_snapshots_need_factors() -> None:
    with pytest.raises(ValueError, match="factors must be given with the first snapshots"):
        KronSBL().partial_fit(None, np.ones(4))


@pytest.mark.parametrize(
    "ask",
    [KronSBL.result, KronSBL.predict, lambda m: m.transform(np.ones(3)),
     lambda m: m.score(None, np.ones(3)), lambda m: m.coef_, lambda m: m.gamma_,
     lambda m: m.support_, lambda m: m.noise_var_, lambda m: m.evidence_, lambda m: m.n_iter_,
     lambda m: m.kkt_residual_, lambda m: m.status_, lambda m: m.n_snapshots_],
    ids=[str(i) for i in range(13)],
)  # fmt: skip
def test_answers_need_data(ask: Callable[[KronSBL], Any]) -> None:
    with pytest.raises(NotFittedError, match="Call fit or partial_fit with data first"):
        ask(KronSBL())


# ------------------------------------------------------------------------- other snapshots


def _covariance(model: KronSBL, factors: Any) -> Any:
    gamma = np.kron(*(np.asarray(g, dtype=np.float64) for g in model.gamma_))
    H = np.kron(*factors)
    return (H * gamma) @ H.conj().T + model.noise_var_ * np.eye(H.shape[0])


def test_score_is_the_density_of_real_snapshots() -> None:
    problem = _problem(snapshots=5)
    model = KronSBL().fit(problem.factors, problem.y)
    law = scipy.stats.multivariate_normal(cov=_covariance(model, problem.factors))
    new = _problem(snapshots=4, rng=9).y
    for y in (problem.y, new, new[..., 0], new.reshape(12, 4), 1e3 * new):
        expected = float(np.sum(law.logpdf(y.reshape(12, -1).T)))
        assert model.score(None, y) == pytest.approx(expected, rel=1e-10)
    assert model.score(problem.factors, problem.y) == pytest.approx(model.evidence_[-1], rel=1e-12)
    wrong = scipy.stats.multivariate_normal(cov=1.01 * _covariance(model, problem.factors))
    assert abs(model.score(None, new) - float(np.sum(wrong.logpdf(new.reshape(12, 4).T)))) > 1e-3


@both_fields
def test_score_is_the_density_by_its_formula(few: None, dtype: str) -> None:
    problem = _problem(dtype)
    model = KronSBL(method="mm").fit(problem.factors, problem.y)
    S = _covariance(model, problem.factors)
    kappa = 1.0 if dtype.startswith("complex") else 0.5
    Y = _problem(dtype, snapshots=3, rng=9).y
    rows = Y.reshape(12, 3)
    quadratic = np.einsum("il,ij,jl->", rows.conj(), np.linalg.inv(S), rows).real
    log_det = np.linalg.slogdet(S)[1] + 12 * np.log(np.pi / kappa)
    expected = -kappa * (3 * log_det + quadratic)
    assert model.score(None, Y) == pytest.approx(expected, rel=1e-10)
    assert model.score(None, problem.y) == pytest.approx(model.evidence_[-1], rel=1e-10)
    if kappa == 1.0:
        assert abs(model.score(None, Y.conj()) / expected - 1) > 1e-3


def test_score_takes_other_rows_of_the_same_unknown() -> None:
    problem = _problem(snapshots=5)
    model = KronSBL().fit([1e3 * H for H in problem.factors], problem.y)
    rng = np.random.default_rng(4)
    others = [draw(rng, m, n, is_complex=False) for m, n in zip((2, 5), WIDTHS, strict=True)]
    others[0][:, int(model.support_[0][0])] = 0.0
    y = 1e-3 * draw(rng, 2, 5, is_complex=False)
    law = scipy.stats.multivariate_normal(cov=_covariance(model, others))
    expected = float(law.logpdf(y.ravel()))
    assert model.score(others, y) == pytest.approx(expected, rel=1e-9)


def test_score_of_coupled_hyperparameters() -> None:
    problem = _problem(snapshots=5)
    model = KronSBL(coupling=0.5).fit(problem.factors, problem.y)
    law = scipy.stats.multivariate_normal(cov=_covariance(model, problem.factors))
    expected = float(np.sum(law.logpdf(problem.y.reshape(12, -1).T)))
    assert model.score(None, problem.y) == pytest.approx(expected, rel=1e-9)


def test_score_where_noise_explains_the_data() -> None:
    rng = np.random.default_rng(6)
    factors = [draw(rng, m, n, is_complex=False) for m, n in zip(SIZES, WIDTHS, strict=True)]
    y = draw(rng, *SIZES, 3, is_complex=False)
    model = KronSBL().fit(factors, y)
    assert model.status_ == "empty"
    expected = float(np.sum(scipy.stats.norm(scale=model.noise_var_**0.5).logpdf(y)))
    assert model.score(None, y) == pytest.approx(expected, rel=1e-12)
    assert model.transform(y).shape == (0, 0, 3)
    _assert_same_bits(KronSBL.from_state(model.to_state()), model)


def test_predictions_where_noise_explains_the_data() -> None:
    problem = _problem(snapshots=2)
    model = KronSBL().fit(problem.factors, np.zeros_like(problem.y))
    mean, std = model.predict(return_std=True)
    assert mean.shape == (*SIZES, 2)
    assert not mean.any()
    assert not std.any()


def test_score_of_zeros() -> None:
    problem = _problem(snapshots=2)
    zeros = np.zeros_like(problem.y)
    model = KronSBL(method="mm").fit(problem.factors, problem.y)
    law = scipy.stats.multivariate_normal(cov=_covariance(model, problem.factors))
    assert model.score(None, zeros) == pytest.approx(2 * law.logpdf(np.zeros(12)), rel=1e-10)
    assert not model.transform(zeros).any()
    silent = KronSBL().fit(problem.factors, zeros)
    assert silent.score(None, zeros) == np.inf
    assert silent.score(None, problem.y) == -np.inf


@both_fields
def test_transform_is_the_posterior_mean(dtype: str) -> None:
    problem = _problem(dtype, snapshots=5)
    model = KronSBL().fit(problem.factors, problem.y)
    new = _problem(dtype, snapshots=4, rng=9).y
    gamma = np.kron(*model.gamma_)
    H = np.kron(*problem.factors)
    gain = (gamma[:, None] * H.conj().T) @ np.linalg.inv(_covariance(model, problem.factors))
    expected = (gain @ new.reshape(12, 4)).reshape(*WIDTHS, 4)[np.ix_(*model.support_)]
    found = model.transform(new)
    assert np.abs(found - expected).max() <= 1e-11 * np.abs(expected).max()
    again = model.transform(problem.y)
    assert np.abs(again - model.coef_).max() <= 1e-12 * np.abs(model.coef_).max()


def test_other_snapshots_on_every_library(xp: Backend) -> None:
    problem = _problem(snapshots=3)
    factors, y = _moved(xp, problem)
    model = KronSBL().fit(factors, y)
    mean = model.transform(y)
    assert mean.dtype == y.dtype
    difference = xp.to_numpy(mean) - xp.to_numpy(model.coef_)
    tolerance = 1e-11 if xp.has_float64 else 1e-5
    assert np.abs(difference).max() <= tolerance * np.abs(xp.to_numpy(mean)).max()
    score = model.score(None, y)
    assert type(score) is float
    assert score == pytest.approx(model.evidence_[-1], rel=tolerance)
    mean, std = model.predict(return_std=True)
    assert (library_of(mean), library_of(std)) == (library_of(y), library_of(y))
    assert (mean.dtype, tuple(std.shape)) == (y.dtype, SIZES)


def test_an_answer_of_rank_one_has_no_linear_map() -> None:
    problem = _problem("complex128", snapshots=8, rank_one=True, snr_db=10.0, rng=5)
    model = KronSBL().fit(problem.factors, problem.y)
    assert model.result().method == "rank_one"
    with pytest.raises(TypeError, match="linear in the data"):
        model.transform(problem.y)
    S, rows = _covariance(model, problem.factors), problem.y.reshape(12, -1)
    quadratic = np.einsum("il,ij,jl->", rows.conj(), np.linalg.inv(S), rows).real
    expected = -8 * (12 * np.log(np.pi) + np.linalg.slogdet(S)[1]) - quadratic
    assert model.score(None, problem.y) == pytest.approx(expected, rel=1e-10)


def test_standard_deviations_are_roots_of_the_variances() -> None:
    problem = _problem("complex128", snapshots=4)
    model = KronSBL().fit(problem.factors, problem.y)
    result = model.result()
    _, std = model.predict([np.eye(n) for n in WIDTHS], return_std=True)
    inside = std[np.ix_(*model.support_)] ** 2
    np.testing.assert_allclose(inside, result.variance(), rtol=1e-12)
    assert np.count_nonzero(std) == inside.size
    mean = model.predict()
    assert np.array_equal(mean, result.predict(problem.factors)[0])
    assert np.array_equal(model.predict(problem.factors), mean)
    # the dense posterior covariance of the signal: Gamma' - Gamma' S^-1 Gamma'
    S = _covariance(model, problem.factors)
    signal = S - model.noise_var_ * np.eye(12)
    dense = np.diagonal(signal - signal @ np.linalg.inv(S) @ signal).real
    _, std = model.predict(return_std=True)
    np.testing.assert_allclose(std.ravel() ** 2, dense, rtol=1e-9)


# ---------------------------------------------------------------------- states and merging


def test_saved_streams_resume_bit_for_bit(xp: Backend) -> None:
    factors, y = _moved(xp, _problem(snapshots=3))
    head = KronSBL(tol=1e-5).partial_fit(factors, y[..., :1])
    file = io.BytesIO()
    head.save(file)
    file.seek(0)
    resumed = KronSBL.load(file, like=y)
    assert resumed.get_params() == head.get_params()
    assert resumed.n_snapshots_ == 1
    assert library_of(resumed._stream.factors[0]) == library_of(y)
    resumed.partial_fit(factors, y[..., 1:])
    _assert_same_bits(resumed, KronSBL(tol=1e-5).fit(factors, y), xp)


@both_fields
@pytest.mark.parametrize("stop", [1, 30])
def test_compressed_streams_resume_bit_for_bit(few: None, dtype: str, stop: int) -> None:
    problem = _problem(dtype)
    head = KronSBL().partial_fit(problem.factors, problem.y[..., :stop])
    resumed = KronSBL.from_state(head.to_state())
    _assert_same_bits(resumed, head)
    resumed.partial_fit(None, problem.y[..., stop:])
    _assert_same_bits(resumed, KronSBL().fit(problem.factors, problem.y))


def test_arrays_among_the_options_are_saved() -> None:
    problem = _problem(snapshots=3)
    options = {"coupling": (None, 0.25 * np.eye(7) + 0.1), "gamma0": [np.ones(6), np.ones(7)]}
    model = KronSBL(**options).fit(problem.factors, problem.y)
    resumed = KronSBL.from_state(model.to_state())
    _assert_same_bits(resumed, model)
    assert np.array_equal(resumed.coupling[1], options["coupling"][1])


def test_callbacks_are_called_and_not_saved() -> None:
    problem = _problem(snapshots=2)
    seen: list[int] = []
    model = KronSBL(callback=lambda n, evidence: seen.append(n)).fit(problem.factors, problem.y)
    assert seen[-1] == model.n_iter_
    resumed = KronSBL.from_state(model.to_state())
    assert resumed.callback is None
    _assert_same_bits(resumed, model)


def test_a_state_moves_to_another_library(xp: Backend) -> None:
    problem = _problem("float32", snapshots=2)
    model = KronSBL().fit(problem.factors, problem.y)
    factors, y = ([xp.asarray(H) for H in problem.factors], xp.asarray(problem.y))
    moved = KronSBL.from_state(model.to_state(), like=y)
    _assert_same_bits(moved, KronSBL().fit(factors, y), xp)
    assert dtype_name(xp.xp, moved.coef_.dtype) == "float32"


@pytest.mark.parametrize(
    "twin",
    [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_are_independent(xp: Backend, twin: Callable[[KronSBL], KronSBL]) -> None:
    factors, y = _moved(xp, _problem(snapshots=3))
    model = KronSBL().partial_fit(factors, y[..., :2])
    other = twin(model).partial_fit(None, y[..., 2:])
    assert (model.n_snapshots_, other.n_snapshots_) == (2, 3)
    _assert_same_bits(other, KronSBL().fit(factors, y), xp)


def test_a_new_object_is_copied_and_saved_too() -> None:
    problem = _problem(snapshots=2)
    model = KronSBL(tol=1e-4)
    for twin in (copy.deepcopy(model), KronSBL.from_state(model.to_state())):
        assert twin.get_params() == model.get_params()
        assert twin.fit(problem.factors, problem.y).n_snapshots_ == 2


def test_generators_give_one_seed_to_a_stream() -> None:
    problem = _problem(snapshots=2, snr_db=0.0)
    options = {"restarts": 3, "max_iter": 20}
    with_seed = KronSBL(rng=4, **options).fit(problem.factors, problem.y)
    expected = kron_sbl(problem.factors, problem.y, rng=4, **options)
    assert np.array_equal(with_seed.coef_, expected.coef)
    model = KronSBL(rng=np.random.default_rng(4), **options).fit(problem.factors, problem.y)
    resumed = KronSBL.from_state(model.to_state())
    assert resumed.rng is None
    _assert_same_bits(resumed, model)
    _assert_same_bits(pickle.loads(pickle.dumps(model)), model)


def test_a_generator_is_as_it_was_after_an_error() -> None:
    rng = np.random.default_rng(4)
    before = rng.bit_generator.state
    problem = _problem(snapshots=2)
    with pytest.raises(ValueError, match="method"):
        KronSBL(rng=rng, restarts=2, method="x").fit(problem.factors, problem.y)
    assert rng.bit_generator.state == before
    KronSBL(rng=rng, restarts=2).partial_fit(problem.factors, problem.y)
    assert rng.bit_generator.state != before


@both_fields
@pytest.mark.parametrize("stops", [(5, 9), (30, 45)], ids=["kept", "compressed"])
def test_merged_parts_are_the_whole(few: None, dtype: str, stops: tuple[int, int]) -> None:
    problem = _problem(dtype, snapshots=stops[1] + 4)
    blocks = np.split(problem.y, stops, axis=-1)
    parts = [KronSBL().partial_fit(problem.factors, y) for y in blocks]
    expected = kron_sbl(problem.factors, problem.y)
    before = copy.deepcopy(parts[2])
    for order in itertools.permutations(range(3)):
        merged = copy.deepcopy(parts[order[0]])
        for k in order[1:]:
            merged.merge(parts[k])
        assert merged.n_snapshots_ == problem.y.shape[-1]
        _assert_close(merged.result(), expected, 1e-8)
    _assert_same_bits(parts[2], before)


def test_kept_snapshots_are_merged_bit_for_bit_in_order(xp: Backend) -> None:
    factors, y = _moved(xp, _problem(snapshots=3))
    left, right = (KronSBL().partial_fit(factors, part) for part in (y[..., :2], y[..., 2:]))
    left.result()
    _assert_same_bits(left.merge(right), KronSBL().fit(factors, y), xp)


def test_new_objects_merge_too() -> None:
    problem = _problem(snapshots=3)
    model = KronSBL().fit(problem.factors, problem.y)
    assert KronSBL().merge(KronSBL()).__dict__.keys() == KronSBL().__dict__.keys()
    taken = KronSBL().merge(model)
    _assert_same_bits(taken, model)
    _assert_same_bits(copy.deepcopy(model).merge(KronSBL()), model)
    taken.partial_fit(None, problem.y)
    assert (model.n_snapshots_, taken.n_snapshots_) == (3, 6)


@pytest.mark.parametrize(
    ("other", "error", "text"),
    [
        (lambda p: p, TypeError, "one class"),
        (lambda p: KronSBL(tol=1e-3), ValueError, "tol must agree"),
        (lambda p: KronSBL(coupling=[0.5, None]), ValueError, "coupling must agree"),
        (lambda p: KronSBL().fit([2 * H for H in p.factors], p.y), ValueError, "other entries"),
        (lambda p: KronSBL().fit(p.factors[:1], p.y[:, 0, :]), ValueError, "of shapes"),
        (lambda p: KronSBL().fit(p.factors, 1j * p.y), TypeError, "must be real"),
    ],
    ids=["kind", "tol", "coupling", "entries", "shapes", "complex"],
)
def test_impossible_merges_say_so(
    other: Callable[[Any], Any], error: type[Exception], text: str
) -> None:
    problem = _problem(snapshots=3)
    model = KronSBL().fit(problem.factors, problem.y)
    expected = copy.deepcopy(model)
    with pytest.raises(error, match=text):
        model.merge(other(problem))
    _assert_same_bits(model, expected)


def test_rng_and_callback_may_differ_in_a_merge() -> None:
    problem = _problem(snapshots=3)
    model = KronSBL(rng=1).fit(problem.factors, problem.y)
    other = KronSBL(rng=2, callback=lambda n, e: None).fit(problem.factors, problem.y)
    assert model.merge(other).n_snapshots_ == 6


# ------------------------------------------------------------------------------- parameters


def test_parameters_are_those_of_the_function() -> None:
    import inspect

    function = inspect.signature(kron_sbl).parameters
    wanted = {n: p.default for n, p in function.items() if p.kind is p.KEYWORD_ONLY}
    assert KronSBL().get_params() == wanted


def test_scikit_learn_clones_it() -> None:
    base = pytest.importorskip("sklearn.base")
    validation = pytest.importorskip("sklearn.utils.validation")
    gamma0 = [np.ones(6), np.ones(7)]
    model = KronSBL(method="mm", gamma0=gamma0, prune=None)
    twin = base.clone(model)
    assert repr(twin).startswith("KronSBL(gamma0=")
    assert (twin.method, twin.prune) == ("mm", None)
    problem = _problem(snapshots=2)
    for check in (lambda: validation.check_is_fitted(twin), twin.result):
        with pytest.raises(NotFittedError if check == twin.result else validation.NotFittedError):
            check()
    validation.check_is_fitted(twin.fit(problem.factors, problem.y))


def test_changed_options_wait_for_the_next_fit() -> None:
    problem = _problem(snapshots=4)
    model = KronSBL(max_iter=3).partial_fit(problem.factors, problem.y[..., :2])
    model.set_params(max_iter=100)
    model.partial_fit(None, problem.y[..., 2:])
    _assert_same_bits(model, KronSBL(max_iter=3).fit(problem.factors, problem.y))
    model.fit(problem.factors, problem.y)
    _assert_same_bits(model, KronSBL(max_iter=100).fit(problem.factors, problem.y))
    with pytest.raises(ValueError, match="Invalid parameter 'noise'"):
        model.set_params(noise=1.0)
