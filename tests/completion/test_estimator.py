"""MatrixCompletion: entries in any cut and order, laziness, refits, merges, states."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.metrics import r2_score

from linalgkit import NotFittedError
from linalgkit.completion import _entry_store
from linalgkit.completion._complete import complete_matrix
from linalgkit.completion._estimator import MatrixCompletion
from tests.completion.made import SOLVING, host
from tests.conftest import BACKENDS, Backend

NUMPY = BACKENDS[0]
M, N, K = 40, 30, 2


def entries(noise: float = 0.1, seed: int = 0, share: float = 0.6) -> Any:
    """Return rows, columns and noisy values of entries in random order, and the matrix."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((M, K)) @ rng.standard_normal((K, N))
    i, j = np.nonzero(rng.random((M, N)) < share)
    order = rng.permutation(i.size)
    i, j = i[order], j[order]
    return i, j, A[i, j] + noise * rng.standard_normal(i.size), A


def started(xp: Backend = NUMPY, cuts: int = 1, part: slice = slice(None), **options: Any) -> Any:
    """Return an estimator that has taken in a part of the entries in some cuts."""
    i, j, y, _ = entries()
    model = MatrixCompletion(K, **{"alpha": 0.1, "tol": 1e-4, "rng": 0, **options})
    for some in np.array_split(np.arange(i.size)[part], cuts):
        model.partial_fit(i[some], j[some], xp.asarray(y[some]), shape=(M, N))
    return model


def bits(model: Any) -> Any:
    result = model.result()
    return [host(x).tobytes() for x in (result.U, result.V, result.singular_values)]


# -------------------------------------------------------------------------- entries come in


def test_cuts_and_order_of_the_entries_change_no_bit() -> None:
    i, j, y, _ = entries()
    expected = bits(started())
    assert bits(started(cuts=7)) == expected
    assert bits(started(cuts=60)) == expected
    back = MatrixCompletion(K, alpha=0.1, tol=1e-4, rng=0)
    assert bits(back.partial_fit(i[::-1], j[::-1], y[::-1], (M, N))) == expected
    fitted = MatrixCompletion(K, alpha=0.1, tol=1e-4, rng=0)
    assert bits(fitted.fit(sp.coo_array((y, (i, j)), shape=(M, N)))) == expected
    one = complete_matrix((i, j, y, (M, N)), K, alpha=0.1, tol=1e-4, rng=0)
    assert host(one.U).tobytes() == expected[0]


@pytest.mark.parametrize("xp", SOLVING, ids=str)
def test_every_library_is_taken(xp: Backend) -> None:
    options = {"tol": 1e-2, "continuation": False, "solver": "direct"}
    model, reference = started(xp, 2, **options), started(**options)
    rtol = 1e-6 if xp.has_float64 else 2e-2
    assert type(model.predict(0, 0)) is type(xp.asarray(np.ones(1))) or xp.name == "numpy"
    np.testing.assert_allclose(
        host(model.predict(range(9), range(9))), reference.predict(range(9), range(9)), rtol=rtol
    )
    codes = model.transform(xp.asarray(entries()[3][:3]))
    assert codes.shape == (3, K)
    assert model.inverse_transform(codes).shape == (3, N)


def test_the_answer_is_found_when_it_is_asked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = _entry_store.fitted

    def counted(*args: Any) -> Any:
        calls.append(1)
        return plain(*args)

    monkeypatch.setattr(_entry_store, "fitted", counted)
    model = started(cuts=5)
    assert calls == []
    assert model.n_entries_ == entries()[0].size
    assert calls == []
    model.predict(0, 0)
    assert model.result() is model.result_
    assert calls == [1]


def test_weights_are_those_of_the_entries() -> None:
    i, j, y, _ = entries()
    w = np.random.default_rng(3).uniform(0.5, 2.0, i.size)
    options: dict[str, Any] = {"alpha": 0.1, "tol": 1e-4, "rng": 0}
    model = MatrixCompletion(K, **options).partial_fit(i[:99], j[:99], y[:99], (M, N))
    model.partial_fit(i[99:], j[99:], y[99:], weights=w[99:])
    w[:99] = 1.0
    one = complete_matrix((i, j, y, (M, N)), K, weights=w, **options)
    assert host(one.U).tobytes() == bits(model)[0]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"rows": [0, 40]}, ValueError, "rows of the block must be between 0 and 39"),
        ({"rows": [0, -1]}, ValueError, "Negative indices do not count"),
        ({"cols": [0.5, 1.0]}, TypeError, "cols of the block must be integers"),
        ({"values": [1.0, np.nan]}, ValueError, "values must not contain NaN or infinity"),
        ({"values": [1.0]}, ValueError, "must have one length"),
        ({"values": [1j, 1.0]}, TypeError, "must be real"),
        ({"shape": (40, 31)}, ValueError, r"shape must be \(40, 30\) as in the first call"),
        ({"weights": [1.0, -1.0]}, ValueError, "weights must be finite and at least 0"),
        ({"cols": [3, 3], "rows": [1, 1]}, ValueError, r"duplicate at .* \(1, 3\)"),
    ],
    ids=["beyond", "negative", "float", "nan", "length", "complex", "shape", "weights", "twice"],
)
def test_bad_entries_are_refused_and_change_nothing(
    change: dict[str, Any], error: type, text: str
) -> None:
    model = started(part=slice(0, 500))
    before = model.n_entries_, bits(model)
    i, j, y, _ = entries()
    block = {"rows": i[500:502], "cols": j[500:502], "values": y[500:502], **change}
    with pytest.raises(error, match=text):
        model.partial_fit(**block)
    assert (model.n_entries_, bits(model)) == before


def test_an_entry_that_comes_again_is_named() -> None:
    i, j, y, _ = entries()
    place = rf"duplicate at \(row, column\) = \({i[7]}, {j[7]}\)"
    waiting = started(cuts=4)
    with pytest.raises(ValueError, match=place):
        waiting.partial_fit(i[7:8], j[7:8], y[7:8])
    answered = started(cuts=4)
    answered.result()
    for some in (slice(7, 8), [7, 7]):
        with pytest.raises(ValueError, match=place):
            answered.partial_fit(i[some], j[some], y[some])
    absent = np.argwhere(~np.isin(np.arange(M * N), i * N + j))[:2, 0]
    answered.partial_fit(*np.divmod(absent, N), [0.0, 0.0])
    assert answered.n_entries_ == i.size + 2


def test_the_first_entries_need_a_shape_and_answers_need_entries() -> None:
    with pytest.raises(ValueError, match="shape must be given with the first entries"):
        MatrixCompletion(1).partial_fit([0], [0], [1.0])
    model = MatrixCompletion(1)
    for ask in (
        lambda: model.result(), lambda: model.transform(np.ones((1, 1))), lambda: model.n_entries_,
        lambda: model.components_, lambda: model.predict(0, 0), lambda: model.top_k(0, 1),
    ):  # fmt: skip
        with pytest.raises(NotFittedError, match="has seen no data yet"):
            ask()
    empty = MatrixCompletion(1).partial_fit([], [], [], (3, 4))
    with pytest.raises(ValueError, match="needs an observed entry, got none so far"):
        empty.result()


BAD_OPTIONS = {
    "rank": ({"rank": 31}, ValueError, "rank must be between 1 and 30"),
    "solver": ({"solver": "foo"}, ValueError, "solver must be"),
    "loss": ({"loss": "huber", "shrink": True}, ValueError, "shrink must be False"),
    "callback": ({"callback": 3}, TypeError, "callback must be a function"),
    "refit": ({"refit_sweeps": 0}, ValueError, "refit_sweeps must be at least 1"),
    "threads": ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
    "fraction": ({"validation": 1.5}, ValueError, "validation must"),
    "vector": (
        {"validation": np.ones(5, dtype=bool)},
        ValueError,
        r"validation must have the shape \(40, 30\) of the matrix, got \(5,\). An estimator "
        "forgets the order",
    ),
    "mask": ({"validation": np.ones((M, N))}, TypeError, "validation must be boolean"),
    "pattern": ({"validation": sp.eye_array(M)}, ValueError, "validation must have the shape"),
    "word": ({"validation": "some"}, TypeError, "validation"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_are_refused_before_entries_are_taken(name: str) -> None:
    options, error, text = BAD_OPTIONS[name]
    i, j, y, _ = entries()
    rng = np.random.default_rng(3)
    state = rng.bit_generator.state
    model = MatrixCompletion(**{"rank": K, "rng": rng, **options})
    for start in (
        lambda: model.partial_fit(i[:5], j[:5], y[:5], (M, N)),
        lambda: model.fit((i[:5], j[:5], y[:5], (M, N))),
    ):
        with pytest.raises(error, match=text):
            start()
    assert rng.bit_generator.state == state
    with pytest.raises(NotFittedError):
        model.result()


def test_masks_and_patterns_hold_out_in_a_stream() -> None:
    i, j = entries()[:2]
    chosen = np.zeros((M, N), dtype=bool)
    chosen[i[:50], j[:50]] = True
    found = [bits(started(cuts=3, validation=which)) for which in (chosen, sp.csr_array(chosen))]
    assert found[0] == found[1]


def test_entries_of_weight_zero_are_as_if_they_had_not_come() -> None:
    i, j, y, _ = entries()
    w = np.ones(i.size)
    w[::5] = 0.0
    some = w > 0
    options: dict[str, Any] = {"alpha": 0.1, "tol": 1e-4, "rng": 0}
    model = MatrixCompletion(K, **options).partial_fit(i, j, y, (M, N), weights=w)
    assert model.n_entries_ == some.sum()
    expected = MatrixCompletion(K, **options).partial_fit(i[some], j[some], y[some], (M, N))
    np.testing.assert_allclose(model.result().block(), expected.result().block(), rtol=1e-9)
    assert model.n_entries_ == some.sum()
    model.partial_fit(i[:1], j[:1], y[:1])
    assert model.n_entries_ == some.sum() + 1
    waiting = MatrixCompletion(1).partial_fit([0, 1], [0, 1], [1.0, 2.0], (4, 4), weights=[0, 1.0])
    assert waiting.partial_fit([0], [0], [1.0]).n_entries_ == 2
    nothing = MatrixCompletion(1).partial_fit([0, 1], [0, 1], [1.0, 2.0], (4, 4), weights=[0, 0.0])
    assert nothing.n_entries_ == 0
    with pytest.raises(ValueError, match="needs an observed entry, got none so far"):
        nothing.result()


def test_weights_far_beyond_single_precision_are_kept() -> None:
    i, j, y, _ = entries()
    y = y.astype("float32")
    w = np.linspace(1, 2, i.size)
    for power in (400, -400):
        given = np.ldexp(w, power)
        model = MatrixCompletion(K, tol=1e-4, rng=0)
        model.partial_fit(i[:99], j[:99], y[:99], (M, N), weights=given[:99])
        model.partial_fit(i[99:], j[99:], y[99:], weights=given[99:])
        one = complete_matrix((i, j, y, (M, N)), K, weights=given, tol=1e-4, rng=0)
        assert host(one.U).tobytes() == bits(model)[0]
        assert MatrixCompletion.from_state(model.to_state()).n_entries_ == i.size
    strict = next(b for b in BACKENDS if not b.has_float64)
    with pytest.raises(ValueError, match="weights must be within the range"):
        MatrixCompletion(1).partial_fit(
            [0], [0], strict.asarray(np.ones(1)), (2, 2), weights=[np.ldexp(1.0, 400)]
        )


def test_bad_options_are_refused_when_they_are_used() -> None:
    i, j, y, _ = entries()
    with pytest.raises(ValueError, match="refit_sweeps must be at least 1"):
        MatrixCompletion(K, refit_sweeps=0).partial_fit(i, j, y, (M, N))
    with pytest.raises(ValueError, match="rank must be between 1 and 30"):
        MatrixCompletion(31).fit((i, j, y, (M, N)))
    with pytest.raises(ValueError, match="X must be finite where it is observed"):
        MatrixCompletion(1).fit(np.asarray([[np.inf, 1.0]]))
    with pytest.raises(ValueError, match="X must have an observed entry"):
        MatrixCompletion(1).fit(np.full((2, 2), np.nan))


# ---------------------------------------------------------------------------------- refits


def test_few_new_entries_are_followed_by_few_sweeps_to_nearly_the_full_answer() -> None:
    i, j, y, A = entries(0.3)
    model = MatrixCompletion(K, alpha=0.5, rng=0).partial_fit(i[9:], j[9:], y[9:], (M, N))
    model.result()
    model.partial_fit(i[:9], j[:9], y[:9])
    refit = model.result()
    assert refit.sweeps == 2
    assert refit.message == "A few sweeps were made from the answer to fewer entries."
    full = MatrixCompletion(K, alpha=0.5, rng=0).partial_fit(i, j, y, (M, N)).result()
    assert full.sweeps > 2
    errors = [float(np.linalg.norm(r.block() - A)) for r in (refit, full)]
    assert errors[0] < 1.01 * errors[1]
    assert refit.pattern().count == i.size


def test_many_new_entries_are_solved_anew_without_history() -> None:
    model = started(part=slice(0, 500))
    model.result()
    i, j, y, _ = entries()
    model.partial_fit(i[500:], j[500:], y[500:])
    assert bits(model) == bits(started())


def test_a_fit_starts_anew() -> None:
    model = started(part=slice(0, 500))
    model.result()
    i, j, y, _ = entries()
    assert bits(model.fit((i, j, y, (M, N)))) == bits(started())


# ---------------------------------------------------------------------------------- merging


def test_parts_that_are_merged_are_as_if_one_had_seen_all() -> None:
    left, right = started(part=slice(0, 300)), started(part=slice(300, None))
    assert bits(left.merge(right)) == bits(started())
    assert right.n_entries_ == entries()[0].size - 300
    assert bits(MatrixCompletion(K, alpha=0.1, tol=1e-4, rng=0).merge(left)) == bits(started())
    assert left.merge(MatrixCompletion(K, alpha=0.1, tol=1e-4, rng=0)) is left


def test_merges_that_make_no_sense_are_refused() -> None:
    model = started(part=slice(0, 300))
    with pytest.raises(ValueError, match="duplicate at"):
        model.merge(started(part=slice(299, 400)))
    with pytest.raises(ValueError, match=r"alpha must agree for a merge, got 0\.1 and 0\.2"):
        model.merge(started(part=slice(300, None), alpha=0.2))
    with pytest.raises(TypeError, match="only objects of one class can be merged"):
        model.merge(3)
    other = MatrixCompletion(K, alpha=0.1, tol=1e-4, rng=0).partial_fit([0], [0], [1.0], (3, 3))
    with pytest.raises(ValueError, match="the shapes must agree for a merge"):
        model.merge(other)
    assert model.n_entries_ == 300


def test_an_object_with_a_shape_and_no_entry_is_merged() -> None:
    options: dict[str, Any] = {"alpha": 0.1, "tol": 1e-4, "rng": 0}
    empty = MatrixCompletion(K, **options).partial_fit([], [], [], shape=(M, N))
    assert bits(started().merge(empty)) == bits(started())
    new = MatrixCompletion(K, **options).merge(empty)
    assert new.n_entries_ == 0
    i, j, y, _ = entries()
    assert bits(new.partial_fit(i, j, y)) == bits(started())


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array, np.asarray, "frame"], ids=str)
def test_equal_masks_of_two_objects_can_be_merged(kind: Any) -> None:
    if kind == "frame":
        kind = pytest.importorskip("pandas").DataFrame
    chosen = np.random.default_rng(2).random((M, N)) < 0.1
    left, right = (
        started(part=part, validation=kind(chosen)) for part in (slice(0, 300), slice(300, None))
    )
    assert bits(left.merge(right)) == bits(started(validation=chosen))
    other = ~chosen
    for validation in (kind(other), kind(other[:, :5]), sp.coo_array(other), other, 0.1):
        with pytest.raises(ValueError, match="validation must agree for a merge"):
            MatrixCompletion(validation=kind(chosen)).merge(MatrixCompletion(validation=validation))


# ---------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("bias", [False, True])
def test_new_rows_are_regressed_on_the_columns(bias: bool, kind: str) -> None:
    i, j, y, A = entries()
    turn = np.exp(1j * np.linspace(0, 3, N)) if kind == "complex128" else np.ones(N)
    model = MatrixCompletion(K, alpha=0.2, bias=bias, tol=1e-4, rng=0)
    model.fit((i, j, y * turn[j], (M, N)))
    result = model.result()
    new = np.where(np.random.default_rng(5).random((4, N)) < 0.5, A[:4] * turn + 1.0, np.nan)
    codes = model.transform(new)
    assert codes.shape == (4, K + bias)
    columns = np.conj(result.V)
    offset = np.zeros(N)
    if bias:
        columns, offset = np.column_stack([columns, np.ones(N)]), result.col_bias + result.mean
    ridge = result._ridges()[0]
    for row, code in zip(new, codes, strict=True):
        seen = ~np.isnan(row)
        F = columns[seen]
        G = F.conj().T @ F + np.diag(ridge)
        np.testing.assert_allclose(
            code, np.linalg.solve(G, F.conj().T @ (row - offset)[seen]), rtol=1e-8
        )
    np.testing.assert_allclose(
        model.inverse_transform(codes), codes @ columns.T + offset, rtol=1e-10
    )
    mask = ~np.isnan(new)
    again = model.transform(np.nan_to_num(new), mask=mask)
    np.testing.assert_array_equal(again, codes)
    sparse = sp.csr_array((new[mask], np.nonzero(mask)), shape=(4, N))
    np.testing.assert_array_equal(model.transform(sparse), codes)
    np.testing.assert_allclose(model.components_, result.V.conj().T)


def test_rows_to_transform_must_fit() -> None:
    model = started()
    with pytest.raises(ValueError, match="X has 29 features, but MatrixCompletion is expecting 30"):
        model.transform(np.ones((2, 29)))
    with pytest.raises(TypeError, match="X must be of numpy"):
        model.transform(BACKENDS[1].asarray(np.ones((2, N))))
    with pytest.raises(TypeError, match="X must be real"):
        model.transform(np.full((2, N), 1j))
    with pytest.raises(ValueError, match="codes must have 2 columns"):
        model.inverse_transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="X must have an observed entry"):
        model.transform(np.full((2, N), np.nan))


def test_the_score_is_the_coefficient_of_determination() -> None:
    A = entries()[3]
    model = started()
    rows, columns = np.divmod(np.arange(200), N)
    values = A[rows, columns]
    expected = r2_score(values, model.predict(rows, columns))
    assert model.score((rows, columns, values)) == pytest.approx(expected, rel=1e-12)
    w = np.linspace(1, 2, 200)
    weighted = r2_score(values, model.predict(rows, columns), sample_weight=w)
    found = model.score((rows, columns, values, (M, N)), weights=w)
    assert found == pytest.approx(weighted, rel=1e-12)
    assert model.score(A) == pytest.approx(r2_score(A.ravel(), model.result().block().ravel()))
    assert model.score(([0], [0], [5.0])) == 0.0
    with pytest.raises(ValueError, match=r"X must have the shape \(40, 30\).*, not rows"):
        model.score(A[:3])


def test_the_attributes_are_those_of_the_result() -> None:
    model = started(bias=True)
    result = model.result_
    assert model.rank_ == result.rank == K
    assert model.mean_ == result.mean
    assert model.row_bias_ is result.row_bias
    assert model.column_bias_ is result.col_bias
    assert model.singular_values_ is result.singular_values
    assert model.n_features_in_ == N
    assert model.get_feature_names_out().shape == (K + 1,)
    found = model.top_k([1, 2], 3, "observed")
    np.testing.assert_array_equal(found[0], result.top_k([1, 2], 3, "observed")[0])


# ----------------------------------------------------------------------------------- states


def twins(model: Any, tmp_path: Path, like: Any) -> list[Any]:
    model.save(tmp_path / "model.npz")
    return [
        MatrixCompletion.load(tmp_path / "model.npz", like=like),
        MatrixCompletion.from_state(model.to_state(), like=like),
        pickle.loads(pickle.dumps(model)),
        copy.copy(model),
        copy.deepcopy(model),
    ]


@pytest.mark.parametrize("backend", BACKENDS[:2], ids=str)
def test_saved_streams_go_on_bit_for_bit(backend: Backend, tmp_path: Path) -> None:
    i, j, y, _ = entries()
    like = backend.asarray(np.ones(1))
    for asked in (False, True):
        model = started(backend, 3, slice(0, i.size - 12))
        if asked:
            model.result()
        model.partial_fit(i[-12:-6], j[-12:-6], backend.asarray(y[-12:-6]))
        found = twins(model, tmp_path, like)
        for each in (model, *found):
            each.partial_fit(i[-6:], j[-6:], backend.asarray(y[-6:]))
        for twin in found:
            assert bits(twin) == bits(model)
            assert twin.n_entries_ == i.size
            with pytest.raises(ValueError, match="duplicate"):
                twin.partial_fit(i[-1:], j[-1:], backend.asarray(y[-1:]))


DAMAGES: dict[str, Any] = {
    "keys reversed": ("keys", lambda x: x[::-1]),
    "keys shorter": ("keys", lambda x: x[:-1]),
    "keys beyond": ("keys", lambda x: x + M * N),
    "keys negative": ("keys", lambda x: x - M * N),
    "keys twice": ("keys", lambda x: np.r_[x[:1], x[:-1]]),
    "keys real": ("keys", lambda x: x.astype(float)),
    "keys in two axes": ("keys", lambda x: x[:, None]),
    "values shorter": ("values", lambda x: x[:-1]),
    "values NaN": ("values", lambda x: x * np.nan),
    "values integers": ("values", lambda x: x.astype(int)),
    "weights shorter": ("weights", lambda x: x[:-1]),
    "weights negative": ("weights", lambda x: -x),
    "weights infinite": ("weights", lambda x: x * np.inf),
    "weights complex": ("weights", lambda x: x * 1j),
    "another shape": ("shape", lambda x: [M + 1, N]),
    "no rows": ("shape", lambda x: [0, N]),
}


def stream_state() -> Any:
    """Return the state of a stream with weighted entries before and after an answer."""
    i, j, y, _ = entries()
    w = np.linspace(1, 2, i.size)
    model = MatrixCompletion(K, alpha=0.1, tol=1e-2, rng=0)
    model.partial_fit(i[9:], j[9:], y[9:], (M, N), weights=w[9:]).result()
    return model.partial_fit(i[:9], j[:9], y[:9], weights=w[:9]).to_state()


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_entries_are_refused(name: str) -> None:
    field, damage = DAMAGES[name]
    for which in ("answered", "new"):
        state = stream_state()
        part = state["answered"] if which == "answered" else state["new"][0]
        part[field] = damage(part[field])
        with pytest.raises(ValueError, match="entries of the state are damaged"):
            MatrixCompletion.from_state(state)


def test_damaged_streams_are_refused() -> None:
    def same_entry(state: Any) -> None:
        state["new"][0]["keys"][0] = state["answered"]["keys"][0]
        state["new"][0]["keys"].sort()

    changes: list[tuple[Any, str]] = [
        (same_entry, "duplicate"),
        (lambda state: state.update(answer=None), "do not fit together"),
        (lambda state: state.update(answered=None), "do not fit together"),
        (lambda state: state.update(full_count=0), "do not fit together"),
        (lambda state: state.update(full_count=10**6), "do not fit together"),
        (lambda state: state.update(shape=[N, M]), "do not fit together"),
        (lambda state: state.update(n_features_in=N + 1), "do not fit together"),
        (lambda state: state["options"].pop("bias"), "do not fit together"),
        (lambda state: state["options"].update(rank=99), "rank must be between"),
        (lambda state: state.update(options=None, params={"wrong": 1}), "another kind"),
    ]
    for change, text in changes:
        state = stream_state()
        change(state)
        with pytest.raises(ValueError, match=text):
            MatrixCompletion.from_state(state)
    MatrixCompletion.from_state(stream_state()).result()


def test_empty_objects_are_saved_and_cloned(tmp_path: Path) -> None:
    model = MatrixCompletion(3, alpha=0.5, rng=np.random.default_rng(0))
    for twin in twins(model, tmp_path, np.ones(1)):
        assert twin.get_params()["alpha"] == 0.5
        with pytest.raises(NotFittedError):
            twin.result()
    assert repr(clone(MatrixCompletion(3, alpha=0.5))) == "MatrixCompletion(alpha=0.5, rank=3)"


def test_a_generator_gives_one_seed_to_a_stream() -> None:
    rng = np.random.default_rng(4)
    model = started(rng=rng, init="random")
    state = rng.bit_generator.state
    first = bits(model)
    assert rng.bit_generator.state == state
    assert bits(pickle.loads(pickle.dumps(model))) == first
