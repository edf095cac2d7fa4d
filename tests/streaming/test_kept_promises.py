"""Heavy rows survive every way of resuming, answers are the caller's own, failures are told."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from linalgkit import AccuracyWarning
from linalgkit._core.array import numpy_namespace
from linalgkit._core.operators import DenseOperator
from linalgkit.datasets import spiked_covariance
from linalgkit.streaming import StreamingEigh
from linalgkit.streaming._answer import variance_mass
from linalgkit.streaming._heap import HeavyRows, PatchedRows
from linalgkit.streaming._stream import RowStream
from tests.conftest import Backend

RANDOM_ORDER = ["portfolio", "block-power"]
METHODS = [*RANDOM_ORDER, "oja", "frequent-directions", "nystrom", "gram"]
Matrix = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        yield


def rows(n: int, d: int = 20, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((n, d)) * ([3.0] + [1.0] * (d - 1))


def with_giant(n: int) -> Matrix:
    X = rows(n)
    X[n // 2] = 0.0
    X[n // 2, 7] = 1000.0
    return X


def start(method: str, n_components: int = 1, **options: Any) -> StreamingEigh:
    return StreamingEigh(n_components, method=method, rng=0, **options)


def saved_and_loaded(model: StreamingEigh) -> StreamingEigh:
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return StreamingEigh.load(file)


WAYS: dict[str, Callable[[StreamingEigh], StreamingEigh]] = {
    "state": lambda model: StreamingEigh.from_state(model.to_state()),
    "file": saved_and_loaded,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "merge into an empty one": lambda model: start(model.method).merge(model),
}


def assert_same_answer(a: StreamingEigh, b: StreamingEigh) -> None:
    mine, theirs = a.result(), b.result()
    np.testing.assert_array_equal(mine.eigenvalues, theirs.eigenvalues)
    np.testing.assert_array_equal(mine.eigenvectors, theirs.eigenvectors)
    assert (mine.status, mine.n_heavy_required) == (theirs.status, theirs.n_heavy_required)


# ------------------------------------------------------------------------------ heavy rows


@pytest.mark.parametrize("method", RANDOM_ORDER)
@pytest.mark.parametrize("n", [1024, 2048, 2500])
@pytest.mark.parametrize("way", WAYS)
def test_heavy_rows_survive_every_way_of_resuming_bit_for_bit(
    method: str, n: int, way: str
) -> None:
    model = start(method).fit(with_giant(n))
    twin = WAYS[way](model)
    assert float(twin.result().eigenvalues[0]) > 1e6
    assert_same_answer(twin, model)
    more = rows(1024, seed=1)
    assert_same_answer(twin.partial_fit(more), model.partial_fit(more))


@pytest.mark.parametrize("method", RANDOM_ORDER)
@pytest.mark.parametrize("in_other", [False, True])
@pytest.mark.parametrize("n", [1024, 2048, 1500])
def test_a_giant_row_survives_a_merge_whichever_part_holds_it(
    method: str, in_other: bool, n: int
) -> None:
    parts = [start(method).fit(with_giant(2048)), start(method).fit(rows(n, seed=1))]
    if in_other:
        parts.reverse()
    resumed = [saved_and_loaded(part) for part in parts]
    merged = parts[0].merge(parts[1])
    assert float(merged.result().eigenvalues[0]) == pytest.approx(1e6, rel=0.01)
    assert abs(merged.result().eigenvectors[7, 0]) > 0.999
    assert_same_answer(resumed[0].merge(resumed[1]), merged)


@pytest.mark.parametrize("method", RANDOM_ORDER)
@pytest.mark.parametrize("large_first", [False, True])
def test_heavy_rows_follow_a_merge_of_scales(method: str, large_first: bool) -> None:
    X, Y = with_giant(2048), rows(2048, seed=1)
    parts = [start(method).fit(Y), start(method).fit(X * 1e120)]
    if large_first:
        parts.reverse()
    result = parts[0].merge(parts[1]).result()
    assert float(result.eigenvalues[0]) == pytest.approx(1e246, rel=0.01)
    assert abs(result.eigenvectors[7, 0]) > 0.999


def test_a_heap_of_no_rows_is_missed_only_where_a_heavy_row_passed() -> None:
    X, _ = spiked_covariance(4096, 30, 4.0, rng=0)
    none, usual = (
        StreamingEigh(method="portfolio", max_heavy_rows=h, rng=0).fit(X).result() for h in (0, 32)
    )
    assert (none.status, none.n_heavy_required) == (usual.status, 0)
    X[100] *= 1e3 / np.linalg.norm(X[100])
    model = StreamingEigh(method="portfolio", max_heavy_rows=0, rng=0).fit(X)
    assert model.result().status == "heavy_rows_missed"
    assert saved_and_loaded(model).result().n_heavy_required == model.result().n_heavy_required


def test_the_heap_remembers_the_largest_row_that_it_let_pass() -> None:
    X = np.random.default_rng(0).standard_normal((200, 3))
    norms = np.sum(X**2, axis=1)
    for capacity, slack in ((0, 1.0), (5, 1.0), (5, 1.25), (200, 1.0)):
        place: dict[str, Any] = {"xp": numpy_namespace(), "device": "cpu", "dtype": np.float64}
        heap = HeavyRows(capacity, 3, slack=slack, **place)
        passed = [
            np.max(light.row_norms_squared(), initial=0.0)
            for i in range(0, 200, 25)
            if (light := heap.exchange(DenseOperator(X[i : i + 25]), norms[i : i + 25])).shape[0]
        ]
        assert heap.largest_passed == pytest.approx(max(passed, default=0.0))
        heap.rescale(-3)
        heap.decay(0.25)
        assert heap.largest_passed == pytest.approx(max(passed, default=0.0) / 256)
        twin = HeavyRows.from_state(heap.to_state())
        assert twin.largest_passed == heap.largest_passed


def test_a_heavy_row_is_not_subtracted_from_a_piece_where_all_else_is_tiny() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 4))
    X[:10] *= 1e-9
    X[3] = 0.5 * np.ones(4)
    fresh = 1e-9 * rng.standard_normal((1, 4))
    light = np.where(np.arange(40)[:, None] == 3, fresh, X)
    norms = np.sum(light**2, axis=1)
    block = PatchedRows(DenseOperator(X), [3], fresh, norms, X[3:4], np.sum(X**2, axis=1))
    Z = rng.standard_normal((4, 2))
    for start_, stop in ((0, 10), (0, 40), (3, 4)):
        A = light[start_:stop]
        _, D = block.rows(start_, stop).normal_product(Z)
        exact = A.T @ (A @ Z)
        np.testing.assert_allclose(D, exact, atol=1e-12 * np.abs(exact).max(), rtol=0)


# ------------------------------------------------------------------- the caller's own arrays


@pytest.mark.parametrize("method", METHODS)
def test_what_is_done_to_an_answer_does_not_change_the_next(method: str, xp: Backend) -> None:
    X = xp.asarray(rows(300, 6) + 1.0)
    model = StreamingEigh(2, method=method, center=True, rng=0).fit(X)
    names = ("components_", "mean_", "explained_variance_", "singular_values_")
    before = [xp.to_numpy(x) for x in (model.transform(X), *(getattr(model, n) for n in names))]
    result = model.result()
    shown = [getattr(model, name) for name in (*names, "explained_variance_ratio_")]
    for array in (result.eigenvectors, result.eigenvalues, *shown):
        with contextlib.suppress(TypeError):  # arrays of jax cannot be written to
            array[...] = 7.0
    after = [xp.to_numpy(x) for x in (model.transform(X), *(getattr(model, n) for n in names))]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(model.result().eigenvalues[0]) != 7.0


# ----------------------------------------------------------------------------- half-done


@pytest.mark.parametrize("error", [KeyboardInterrupt, np.linalg.LinAlgError, MemoryError])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("where", ["_paired", "_accumulate", "commit"])
def test_a_call_that_fails_within_is_as_if_never_made_or_is_told(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], weighted: bool, where: str
) -> None:
    X = rows(3000)
    weights = np.ones(1500) if weighted else None
    model = start("portfolio").partial_fit(X[:1500])
    model.result()

    def fails(*args: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(RowStream, where, fails)
        with pytest.raises(error):
            model.partial_fit(X[1500:], sample_weight=weights)
    for use in (model.result, model.to_state, lambda: model.partial_fit(X)):
        with pytest.raises(RuntimeError, match="failed or was interrupted half way"):
            use()
    assert model.fit(X).result().n_rows == 3000


def test_rows_that_are_refused_do_not_tear_a_stream() -> None:
    X = rows(1500)
    model = start("portfolio").partial_fit(X)
    with pytest.raises(TypeError, match="one kind"):
        model.partial_fit(scipy.sparse.csr_array(X))
    assert model.result().n_rows == 1500


# ----------------------------------------------------------------- variances and whitening


@pytest.mark.parametrize("scale", [1.0, 1.0 / 3000, 1e-30, 1e12])
def test_variances_do_not_depend_on_the_unit_of_the_weights(scale: float) -> None:
    X = rows(3000, 6)
    model = StreamingEigh(2, center=True).partial_fit(X, sample_weight=np.full(3000, scale))
    exact = np.linalg.eigvalsh(np.cov(X.T))[::-1][:2]
    np.testing.assert_allclose(model.explained_variance_, exact, rtol=1e-9)


def test_variances_of_unequal_weights_are_those_of_numpys_reliability_weights() -> None:
    X = rows(500, 6)
    w = np.random.default_rng(1).exponential(size=500)
    model = StreamingEigh(6, center=True).partial_fit(X, sample_weight=w)
    exact = np.linalg.eigvalsh(np.cov(X.T, aweights=w))[::-1]
    np.testing.assert_allclose(model.explained_variance_, exact, rtol=1e-9)


def test_one_row_has_the_variance_of_its_weight() -> None:
    for weight in (0.1, 1.0, 3.7):
        assert variance_mass(weight, math.hypot(0.0, weight)) == weight
        model = StreamingEigh().partial_fit(np.eye(3)[0], sample_weight=np.asarray([weight]))
        assert float(model.explained_variance_[0]) == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:overflow")  # of the eigenvalues, which are squares
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float64", 1e160), ("float64", 1e-170), ("float32", 1e19), ("float32", 1e-25)],
)
def test_whitening_works_wherever_the_rows_themselves_are_in_range(
    dtype: str, scale: float
) -> None:
    X = (rows(2000, 6) * scale).astype(dtype)
    model = StreamingEigh(3, center=True, whiten=True, rng=0).fit(X)
    scores = model.transform(X)
    assert scores.dtype == X.dtype
    np.testing.assert_allclose(np.std(scores, axis=0, ddof=1), np.ones(3), rtol=1e-4)
    plain = StreamingEigh(3, center=True, rng=0).fit(X)
    back = model.inverse_transform(scores) / scale
    np.testing.assert_allclose(
        back, plain.inverse_transform(plain.transform(X)) / scale, rtol=1e-3, atol=1e-4
    )


# --------------------------------------------------------------------------------- merges


def test_merging_streams_for_which_auto_chose_unlike_methods_names_both() -> None:
    X = rows(2000, 200)
    a = StreamingEigh(memory_budget=200 * 200 * 8 - 1, rng=0).fit(X)
    b = StreamingEigh(rng=0).fit(X)
    assert (a.method_, b.method_) == ("portfolio", "gram")
    for one, other in ((a, b), (b, a)):
        before = float(one.result().eigenvalues[0])
        with pytest.raises(ValueError, match=f"method.*{one.method_}.*{other.method_}"):
            one.merge(other)
        assert one.result().n_rows == 2000
        assert float(one.result().eigenvalues[0]) == before


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"history": True}, {"history": False}),
        ({"n_rows": 4000}, {"n_rows": 5000}),
        ({"max_heavy_rows": 8}, {"max_heavy_rows": 9}),
        ({"n_oversamples": 4}, {"n_oversamples": 5}),
    ],
)
def test_merging_streams_of_unlike_options_is_refused_by_name(
    mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    X = rows(2000)
    a, b = (start("block-power", **options).fit(X) for options in (mine, theirs))
    with pytest.raises(ValueError, match=f"{next(iter(mine))} must agree"):
        a.merge(b)
    assert a.result().n_rows == 2000


def test_merging_streams_of_unlike_features_is_refused_and_names_are_kept() -> None:
    pd = pytest.importorskip("pandas")
    X = rows(50, 3)
    named, other = (pd.DataFrame(X, columns=list(names)) for names in ("abc", "acb"))
    model = StreamingEigh().fit(named)
    with pytest.raises(ValueError, match=r"names of the features must agree.*'b' and 'c'"):
        model.merge(StreamingEigh().fit(other))
    assert model.result().n_rows == 50
    for a, b in ((named, X), (X, named), (named, named)):
        merged = StreamingEigh().fit(a).merge(StreamingEigh().fit(b))
        assert list(merged.feature_names_in_) == ["a", "b", "c"]


# --------------------------------------------------------------------------- no knowledge


@pytest.mark.parametrize("method", RANDOM_ORDER)
@pytest.mark.parametrize("n", [1, 5, 40, 300, 1000])
def test_too_few_rows_to_judge_by_are_announced_once(method: str, n: int) -> None:
    X, _ = spiked_covariance(n, 30, 4.0, rng=0)
    model = start(method).fit(X)
    with pytest.warns(AccuracyWarning, match="too few rows were seen") as caught:
        result = model.result()
    assert len(caught) == 1
    assert result.status == "unknown"
    assert math.isnan(result.error_estimate)
    model.refine(X)
    assert model.result().status != "unknown"


@pytest.mark.parametrize("method", RANDOM_ORDER)
@pytest.mark.parametrize("n", [1024, 2000, 4096])
def test_a_stream_of_ordinary_length_can_be_judged(method: str, n: int) -> None:
    X, _ = spiked_covariance(n, 30, 4.0, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        assert start(method).fit(X).result().status == "converged"


@pytest.mark.parametrize("method", ["gram", "nystrom", "frequent-directions"])
def test_methods_whose_answer_rests_on_no_order_are_never_called_unknown(method: str) -> None:
    for n in (1, 5, 40, 300):
        X, _ = spiked_covariance(n, 30, 4.0, rng=0)
        assert start(method).fit(X).result().status != "unknown"
