"""What went wrong once: odd layouts, extreme scales, options that change, half-done calls."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from linalgkit import AccuracyWarning
from linalgkit._core.sparse import SparseOperator
from linalgkit.streaming import StreamingEigh, StreamingEighResult
from linalgkit.streaming._blocks import shifted_rows
from linalgkit.streaming._enclosure import sampling_terms
from linalgkit.streaming._stream import RowStream
from tests.conftest import Backend

METHODS = ["portfolio", "block-power", "oja", "frequent-directions", "nystrom", "gram"]
Matrix = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        yield


def rows(n: int = 1200, d: int = 12) -> Matrix:
    deviations = np.asarray([8.0, 4.0] + [1.0] * (d - 2))
    return np.random.default_rng(5).standard_normal((n, d)) * deviations + 0.2


def start(method: str, **options: Any) -> StreamingEigh:
    order = "arbitrary" if method == "oja" else "random"
    return StreamingEigh(
        options.pop("n_components", 2), method=method, order=order, rng=0, **options
    )


def assert_same(a: Any, b: Any, path: str = "") -> None:
    """Compare two states bit for bit."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    else:
        np.testing.assert_array_equal(a, b, err_msg=path)


def fields(result: StreamingEighResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


# -------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("center", [False, True])
def test_the_layout_in_memory_and_the_cuts_do_not_change_a_bit(method: str, center: bool) -> None:
    X = rows(1500, 37)
    weights = np.random.default_rng(1).random(1500)
    wide = np.zeros((3000, 74))
    wide[::2, ::2] = X
    layouts = {
        "fortran": np.asfortranarray(X),
        "strided": wide[::2, ::2],
        "reversed": X[::-1].copy()[::-1],
        "columns reversed": X[:, ::-1].copy()[:, ::-1],
        "big endian": X.astype(">f8"),
    }
    expected = fields(start(method, center=center).partial_fit(X, sample_weight=weights).result())
    for name, A in layouts.items():
        model = start(method, center=center)
        for i, j in ((0, 7), (7, 900), (900, 1500)):
            model.partial_fit(A[i:j], sample_weight=weights[i:j])
        assert_same(fields(model.result()), expected, name)
        assert model.result().eigenvectors.dtype.isnative


# ------------------------------------------------------------------------------ half-done


@pytest.mark.parametrize("method", METHODS)
def test_weighted_rows_of_another_kind_leave_the_state_as_it_was(method: str) -> None:
    X = rows()
    model = start(method).partial_fit(X[:100])
    before = model.to_state()
    with pytest.raises(TypeError, match="one kind"):
        model.partial_fit(scipy.sparse.csr_array(X[:50]), sample_weight=np.ones(50))
    assert_same(model.to_state(), before)


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.PCG64])
def test_a_refused_first_block_draws_nothing_from_the_callers_generator(make: Any) -> None:
    rng, untouched = make(3), make(3)
    bad = np.full((5, 4), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        StreamingEigh(rng=rng).partial_fit(bad)
    with pytest.raises(ValueError, match="NaN"):
        StreamingEigh(rng=rng).fit([rows(10, 4), bad])
    draws = [np.random.default_rng(source).integers(2**60) for source in (rng, untouched)]
    assert draws[0] == draws[1]


def test_an_interrupted_call_is_never_taken_for_a_finished_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = rows(9000)
    model = start("portfolio").partial_fit(X[:10])
    accumulate, calls = RowStream._accumulate, []

    def interrupted(self: RowStream, *args: Any) -> None:
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        accumulate(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RowStream, "_accumulate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X)
    for use in (model.result, model.to_state, lambda: model.partial_fit(X)):
        with pytest.raises(RuntimeError, match="interrupted half way"):
            use()
    assert model.fit(X).result().n_rows == 9000


def test_rows_without_names_do_not_take_the_names_away() -> None:
    class Frame:
        columns = ("a", "b", "c")

        def to_numpy(self) -> Matrix:
            return rows(50, 3)

    model = StreamingEigh(rng=0).partial_fit(Frame())
    with pytest.warns(UserWarning, match="feature names"):
        model.partial_fit(rows(50, 3))
    assert list(model.feature_names_in_) == ["a", "b", "c"]


# -------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "changed",
    [
        {"n_components": 4},
        {"center": True},
        {"method": "frequent-directions"},
        {"forgetting": 0.9},
        {"order": "arbitrary"},
        {"max_heavy_rows": 1, "n_oversamples": 9},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["gram", "portfolio", "nystrom"])
def test_options_set_later_wait_for_the_next_fit(method: str, changed: dict[str, Any]) -> None:
    X = rows()
    plain, model = (start(method).partial_fit(X[:700]) for _ in range(2))
    model.set_params(**changed)
    restored = [pickle.loads(pickle.dumps(model)), StreamingEigh.from_state(model.to_state())]
    expected = fields(plain.partial_fit(X[700:]).result())
    for resumed in [model, *restored]:
        assert_same(fields(resumed.partial_fit(X[700:]).result()), expected)
        assert resumed.get_params()[next(iter(changed))] == next(iter(changed.values()))
    refitted = start(method)
    refitted.set_params(**changed)
    if changed.get("order") != "arbitrary" or method != "portfolio":
        assert_same(fields(model.fit(X).result()), fields(refitted.fit(X).result()))


@pytest.mark.parametrize("method", METHODS)
def test_a_refined_answer_is_saved(method: str) -> None:
    X = rows()
    model = start(method).partial_fit(X).refine(X)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    for twin in (StreamingEigh.load(file), copy.deepcopy(model)):
        assert twin.result().residual_kind == "exact"
        assert_same(fields(twin.result()), fields(model.result()))


def _damaged(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every entry of a state."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from _damaged(value, (*path, key))


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_dictionary_is_a_value_error_or_nothing(method: str) -> None:
    state = start(method, center=True).partial_fit(rows(300)).to_state()
    for path in list(_damaged(state)):
        for wrong in (None, "x", {}, -7):
            damaged = copy.deepcopy(state)
            place = damaged
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = wrong
            with contextlib.suppress(ValueError):
                StreamingEigh.from_state(damaged)


def test_waiting_sparse_rows_are_restored_only_where_there_are_sparse_rows(xp: Backend) -> None:
    state = start("gram").partial_fit(scipy.sparse.csr_array(rows(50))).to_state()
    if xp.name == "numpy":
        assert StreamingEigh.from_state(state, like=xp.asarray(rows(1))).result().n_rows == 50
    else:
        with pytest.raises(
            ValueError, match=r"numpy or cupy for a state that holds sparse|float64"
        ):
            StreamingEigh.from_state(state, like=xp.asarray(rows(1)))


def test_merging_weighted_rows_forbids_to_refine() -> None:
    X = rows(1024)
    weighted = start("gram").partial_fit(X, sample_weight=np.full(1024, 2.0))
    model = start("gram").partial_fit(X[:100]).merge(weighted)
    with pytest.raises(ValueError, match="weighted"):
        model.refine(np.concatenate([X, X[:100]]))


# ---------------------------------------------------------------------------------- scale


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("factor", [1e-170, 1e-300, 1e300])
def test_vectors_and_certificate_survive_any_scale(
    method: str, center: bool, factor: float
) -> None:
    X = rows()
    expected = start(method, center=center).partial_fit(X).result()
    model = start(method, center=center).partial_fit(X * factor)
    with np.errstate(over="ignore"), pytest.warns(AccuracyWarning, match="beyond the range"):
        found = model.result()
    assert np.all(np.abs(np.sum(found.eigenvectors * expected.eigenvectors, axis=0)) > 1 - 1e-9)
    assert found.error_estimate == pytest.approx(expected.error_estimate, rel=1e-6)
    ratio = model.explained_variance_ratio_ * expected.frobenius_norm**2
    np.testing.assert_allclose(ratio, expected.eigenvalues, rtol=1e-6)
    values = model.singular_values_ / factor
    np.testing.assert_allclose(values**2, expected.eigenvalues, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1e200, 1e300])
def test_weights_of_any_size_give_the_same_vectors(
    method: str, center: bool, factor: float
) -> None:
    X, weights = rows(), np.random.default_rng(2).random(1200)
    expected = start(method, center=center).partial_fit(X, sample_weight=weights).result()
    found = start(method, center=center).partial_fit(X, sample_weight=weights * factor).result()
    assert np.all(np.abs(np.sum(found.eigenvectors * expected.eigenvectors, axis=0)) > 1 - 1e-9)
    np.testing.assert_allclose(found.eigenvalues / factor, expected.eigenvalues, rtol=1e-6)
    assert found.error_estimate == pytest.approx(expected.error_estimate, rel=1e-6)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "oja"])
@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_a_change_of_scale_on_the_way_keeps_the_larger_rows(method: str, factor: float) -> None:
    X = rows(3000)
    small, large = (X[:1500] * min(factor, 1.0), X[1500:] * max(factor, 1.0))
    order = (small, large) if factor < 1 else (large, small)
    model = start(method)
    for part in order:
        model.partial_fit(part)
    with np.errstate(over="ignore"):
        found = model.result().eigenvectors
    expected = np.linalg.svd(X[1500:])[2][:2].T
    assert np.all(np.abs(np.sum(found * expected, axis=0)) > 0.99)


def test_rows_of_weight_zero_do_not_spoil_the_mean() -> None:
    X, weights = rows(), np.ones(1200)
    X[7], weights[7] = 1e200, 0.0
    model = start("gram", center=True).partial_fit(X, sample_weight=weights)
    kept = np.delete(X, 7, axis=0)
    np.testing.assert_allclose(model.mean_, kept.mean(axis=0), rtol=1e-12)
    exact = np.linalg.svd(kept - kept.mean(axis=0), compute_uv=False)[:2] ** 2
    np.testing.assert_allclose(model.result().eigenvalues, exact, rtol=1e-12)


def test_weights_beyond_the_precision_of_the_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sample_weight must be within the range of float32"):
        start("gram").partial_fit(rows(4).astype("f4"), sample_weight=np.full(4, 1e60))


def test_a_frobenius_norm_beyond_the_largest_number_is_infinite() -> None:
    model = StreamingEigh(method="gram", rng=0).partial_fit(np.full((200, 3), 1e308))
    with np.errstate(over="ignore"):
        assert model.result().frobenius_norm == np.inf
    np.testing.assert_allclose(model.explained_variance_ratio_, [1.0])


def test_the_sampling_formula_depends_on_ratios_alone() -> None:
    values = [9.0, 2.0, 1.0]
    expected = sampling_terms(values, 0, 1, 100.0, rest=3.0)
    for factor in (1e-200, 1e-300, 1e200, 1e300):
        found = sampling_terms([v * factor for v in values], 0, 1, 100.0, rest=3.0 * factor)
        assert found == pytest.approx(expected)


def test_rates_that_grow_beyond_single_precision_stay_finite() -> None:
    X = rows().astype(np.float32)
    double = start("oja", center=True).partial_fit(X.astype(float)).result()
    single = start("oja", center=True).partial_fit(X).result()
    np.testing.assert_allclose(single.eigenvalues, double.eigenvalues, rtol=1e-3)
    np.testing.assert_allclose(single.eigenvectors, double.eigenvectors, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("forgetting", [0.5, 1e-10, 1e-300, 5e-324])
def test_however_fast_rows_fade_the_last_ones_answer(method: str, forgetting: float) -> None:
    X = rows(3000)
    model = start(method, n_components=1, forgetting=forgetting)
    for i in range(0, 3000, 617):
        model.partial_fit(X[i : i + 617])
    faded = X * np.sqrt(forgetting ** np.arange(3000.0)[::-1])[:, None]
    expected = np.linalg.svd(faded, compute_uv=False)[0] ** 2
    found = model.result()
    assert np.isfinite(found.eigenvectors).all()
    if method != "oja":
        np.testing.assert_allclose(found.eigenvalues, [expected], rtol=0.2)


def test_rows_that_all_weigh_nothing_give_zeros() -> None:
    model = start("gram").partial_fit(rows(), sample_weight=np.zeros(1200))
    assert model.result().status == "zero"
    np.testing.assert_array_equal(model.explained_variance_, [0.0, 0.0])


# ------------------------------------------------------------------------ sparse, centred


def sparse_rows(offset: float, n: int = 1500, d: int = 9) -> Matrix:
    """Return rows of which three columns are full and the others mostly zero."""
    rng = np.random.default_rng(8)
    X = rng.standard_normal((n, d)) * np.linspace(1.0, 3.0, d)
    X[:, [1, 4, 8]] += offset
    X[:, [0, 2, 3, 5, 6, 7]] *= rng.random((n, 6)) < 0.2
    return X


@pytest.mark.parametrize("method", [m for m in METHODS if m != "oja"])
@pytest.mark.parametrize(("offset", "dtype"), [(1e8, "f8"), (1e5, "f4"), (1e5, "c16")])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_are_centred_as_exactly_as_dense_ones(
    method: str, offset: float, dtype: str, weighted: bool
) -> None:
    X = sparse_rows(offset).astype(dtype)
    weights = np.random.default_rng(3).random(1500) if weighted else None
    dense = start(method, center=True).partial_fit(X, sample_weight=weights).result()
    model = start(method, center=True)
    model.partial_fit(scipy.sparse.csr_array(X), sample_weight=weights)
    found = model.result()
    tolerance = 1e-5 if dtype != "f4" else 2e-2
    np.testing.assert_allclose(found.eigenvalues, dense.eigenvalues, rtol=tolerance)
    assert found.frobenius_norm == pytest.approx(dense.frobenius_norm, rel=tolerance)
    if not weighted:
        refined = model.refine(scipy.sparse.csc_array(X)).result()
        np.testing.assert_allclose(refined.eigenvalues, dense.eigenvalues, rtol=0.02)


@pytest.mark.parametrize("full", [[], [1, 4, 8], list(range(9))], ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
def test_shifted_sparse_rows_are_the_dense_ones(full: list[int], is_complex: bool) -> None:
    rng = np.random.default_rng(2)
    X = sparse_rows(5.0, n=40) * (1 + 0.5j if is_complex else 1)
    X[:, [j for j in range(9) if j not in full]] *= rng.random((40, 9 - len(full))) < 0.1
    X[:, full] += 1.0
    s, c = rng.random(40), X.mean(axis=0)
    base = SparseOperator(scipy.sparse.csr_array(X)).weighted(s)
    A, dense = shifted_rows(base, s.astype(X.dtype), c), s[:, None] * (X - c)
    Z, P = rng.standard_normal((9, 3)), rng.standard_normal((40, 2))
    for found, expected in (
        (A.matmul(Z), dense @ Z),
        (A.rmatmul(P), dense.conj().T @ P),
        (A.gram(), dense.conj().T @ dense),
        (A.row_norms_squared(), np.sum(np.abs(dense) ** 2, axis=1)),
        (A.rows(3, 9).matmul(Z), dense[3:9] @ Z),
        (A.rows(3, 3).matmul(Z), dense[3:3] @ Z),
        (A.select([7, 0, 7]).gram(), dense[[7, 0, 7]].conj().T @ dense[[7, 0, 7]]),
        (A.dense_rows([5, 2]), dense[[5, 2]]),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------------- refine


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("factor", [1.0, 1e-170])
def test_refinement_takes_the_rows_that_were_streamed_and_no_others(
    center: bool, offset: float, sparse: bool, factor: float
) -> None:
    X = (rows() + offset) * factor
    other = X.copy()
    other[5] *= 1.5 if offset == 0.0 or not center else 1.0 + 1e-3
    model = start("gram", center=center).partial_fit(X)
    if sparse:
        X, other = scipy.sparse.csr_array(X), scipy.sparse.csr_array(other)
        model = start("gram", center=center).partial_fit(X)
    model.refine(X)
    model.refine([X[700:], X[:700]])
    with pytest.raises(ValueError, match="got others"):
        model.refine(other)
    assert model.result().residual_kind == "exact"


def test_a_dask_array_is_sent_to_fit() -> None:
    array = pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match="Pass it to fit"):
        StreamingEigh().partial_fit(array.ones((4, 3)))


# --------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["few rows weigh", "rows fade"])
def test_the_error_estimate_counts_the_rows_that_are_left(method: str, kind: str) -> None:
    n, d = 4000, 30
    estimates, errors = [], []
    for seed in range(9):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, d))
        X[:, 0] *= 2.0
        fades = kind == "rows fade"
        weights = None if fades else (rng.random(n) < 0.02).astype(float)
        model = start(method, n_components=1, forgetting=0.97 if fades else 1.0)
        found = model.partial_fit(X, sample_weight=weights).result()
        estimates.append(found.error_estimate)
        errors.append(1.0 - found.eigenvectors[0, 0] ** 2)
    assert np.median(estimates) > 0.5 * np.median(errors)


@pytest.mark.parametrize("method", METHODS)
def test_equal_weights_leave_the_certificate_alone(method: str) -> None:
    X = rows()
    plain = start(method).partial_fit(X).result()
    weighted = start(method).partial_fit(X, sample_weight=np.full(1200, 4.0)).result()
    assert weighted.error_estimate == pytest.approx(plain.error_estimate, rel=1e-9)
    assert weighted.status == plain.status


@pytest.mark.parametrize("method", ["gram", "portfolio", "block-power"])
@pytest.mark.parametrize("n", [1, 700])
def test_more_components_than_the_rank_are_not_called_converged(method: str, n: int) -> None:
    rng = np.random.default_rng(0)
    X = np.outer(rng.standard_normal(n), rng.standard_normal(6))
    model = start(method).partial_fit(X)
    with pytest.warns(AccuracyWarning, match="fewer than n_components=2"):
        assert model.result().status == "rank_deficient"
    one = start(method, n_components=1).partial_fit(X).result()
    assert one.status == ("converged" if method == "gram" else "unknown")  # no full block yet


# ------------------------------------------------------------------------------ transform


def test_transform_keeps_the_digits_of_wider_rows() -> None:
    X = rows()
    model = start("gram").fit(X.astype(np.float32))
    scores = model.transform(X)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, X @ model.components_.T.astype(float), rtol=1e-12)
    assert model.transform(X.astype(np.float32)).dtype == np.float32


def test_transform_refuses_rows_of_another_kind(xp: Backend) -> None:
    X = rows()
    model = start("gram").fit(xp.asarray(X))
    with pytest.raises(TypeError, match="must be real"):
        model.transform(xp.asarray(X + 1j * X))
    if xp.name != "numpy":
        with pytest.raises(TypeError, match="X must be of"):
            model.transform(X)
