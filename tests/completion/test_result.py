"""What a completed matrix answers: values, blocks, products, largest entries, files."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import lsqr, svds

from linalgkit.completion import complete_matrix
from linalgkit.completion._new_rows import regressed
from linalgkit.completion._observed import observe
from linalgkit.completion._result import CompletionResult
from tests.completion.made import a_result, host
from tests.conftest import BACKENDS, Backend

NUMPY = BACKENDS[0]
KINDS = ("float32", "float64", "complex64", "complex128")


def tolerance(x: Any) -> float:
    return 200 * float(np.finfo(np.asarray(x).dtype).eps)


# ------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offsets", [False, True])
def test_predictions_and_blocks_are_the_dense_matrix(xp: Backend, kind: str, offsets: bool) -> None:
    result, dense = a_result(xp, kind=kind, offsets=offsets)
    rows, columns = xp.asarray(np.asarray([0, 6, 3, 3])), [8, 0, 2, 2]
    found = result.predict(rows, columns)
    assert found.dtype == result.U.dtype
    assert core_device(found) == core_device(result.U)
    np.testing.assert_allclose(host(found), dense[[0, 6, 3, 3], columns], rtol=tolerance(dense))
    block = result.block(slice(1, 5, 2), xp.asarray(np.asarray([4, 1])))
    assert block.dtype == result.U.dtype
    np.testing.assert_allclose(host(block), dense[1:5:2, [4, 1]], rtol=tolerance(dense))
    np.testing.assert_allclose(host(result.block()), dense, rtol=tolerance(dense), atol=1e-6)


def core_device(x: Any) -> Any:
    from linalgkit._core.array import device

    return device(x)


def test_indices_are_broadcast() -> None:
    result, dense = a_result(NUMPY)
    assert result.predict(2, 3).shape == ()
    assert float(result.predict(2, 3)) == pytest.approx(dense[2, 3])
    table = result.predict(np.arange(7)[:, None], np.arange(9)[None, :])
    np.testing.assert_allclose(table, dense, rtol=1e-12)
    np.testing.assert_allclose(result.predict(range(3), 4), dense[:3, 4], rtol=1e-12)
    assert result.predict([], []).shape == (0,)
    assert result.block([], None).shape == (0, 9)
    assert result.block(-1 + np.asarray([1]), slice(None, None, -1)).shape == (1, 9)


def test_predictions_of_many_entries_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    result, dense = a_result(NUMPY)
    monkeypatch.setattr("linalgkit.completion._result._NUMBERS", 30)
    i, j = np.divmod(np.arange(63), 9)
    np.testing.assert_allclose(result.predict(i, j), dense[i, j], rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "cols", "error", "text"),
    [
        ([0, 7], [0, 0], ValueError, r"rows must be between 0 and 6 .* got 7\. Count from 0"),
        ([0, 1], [0, -1], ValueError, r"cols must be .* got -1\. Negative indices do not count"),
        ([0.0, 1.0], [0, 1], TypeError, "rows must be integers, got dtype float64"),
        ([True, False], [0, 1], TypeError, "rows must be integers, got dtype bool"),
        ([0, 1, 2], [0, 1], ValueError, r"shapes that broadcast, got \(3,\) and \(2,\)"),
        (sp.eye_array(3), 0, TypeError, "rows must be integers, got the sparse"),
        (iter([1]), 0, TypeError, "rows must be an array"),
    ],
    ids=["beyond", "negative", "float", "boolean", "shapes", "sparse", "iterator"],
)
def test_bad_indices_are_refused(rows: Any, cols: Any, error: type, text: str) -> None:
    result, _ = a_result(NUMPY)
    with pytest.raises(error, match=text):
        result.predict(rows, cols)
    with pytest.raises(error, match=text):
        result.interval(rows, cols)


def test_a_block_has_one_axis_of_rows() -> None:
    result, _ = a_result(NUMPY)
    with pytest.raises(ValueError, match=r"rows must be 1-D, a slice or None, got shape \(1, 1\)"):
        result.block([[0]])
    with pytest.raises(ValueError, match="cols must be between 0 and 8"):
        result.block(None, [9])


@pytest.mark.parametrize("rank", [0, 3])
def test_a_rank_of_zero_leaves_the_offsets(rank: int) -> None:
    result, dense = a_result(NUMPY, k=rank)
    np.testing.assert_allclose(result.block(), dense, rtol=1e-12)
    np.testing.assert_allclose(result.predict(2, 3), dense[2, 3], rtol=1e-12)
    low, high = result.interval([0, 1], [2, 3])
    assert (low < high).all()


# ------------------------------------------------------------------------------- products


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("offsets", [False, True])
def test_the_operator_has_the_products_of_the_matrix(kind: str, offsets: bool) -> None:
    result, dense = a_result(NUMPY, kind=kind, offsets=offsets)
    A = result.to_linear_operator()
    assert A.shape == dense.shape
    assert A.dtype == dense.dtype
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((7, 2)) + 0j
    np.testing.assert_allclose(A @ x, dense @ x, rtol=1e-12)
    np.testing.assert_allclose(A @ x[:, 0], dense @ x[:, 0], rtol=1e-12)
    np.testing.assert_allclose(A.rmatmat(y), dense.conj().T @ y, rtol=1e-12)
    np.testing.assert_allclose(A.rmatvec(y[:, 1]), dense.conj().T @ y[:, 1], rtol=1e-12)


def test_the_operator_serves_scipy() -> None:
    result, dense = a_result(NUMPY, 30, 20)
    A = result.to_linear_operator()
    expected = np.linalg.svd(dense)[1]
    np.testing.assert_allclose(np.sort(svds(A, 2)[1])[::-1], expected[:2], rtol=1e-8)
    b = dense @ np.ones(20)
    np.testing.assert_allclose(A @ lsqr(A, b, atol=1e-14, btol=1e-14)[0], b, rtol=1e-6)


def test_the_operator_is_numpys_alone() -> None:
    for backend in BACKENDS[1:]:
        result, _ = a_result(backend)
        with pytest.raises(TypeError, match="works with numpy arrays, got"):
            result.to_linear_operator()


def test_the_operator_forms_no_dense_matrix() -> None:
    m, n = 40000, 30000
    result, _ = a_result(NUMPY, 10, 9, 2)
    big = replace(
        result,
        U=np.ones((m, 2)),
        V=np.ones((n, 2)),
        row_bias=np.ones(m),
        col_bias=np.ones(n),
        _pattern=result.pattern(),
    )
    A = big.to_linear_operator()
    tracemalloc.start()
    np.testing.assert_allclose(A @ np.ones(n), np.full(m, 4.5 * n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * (m + n)


# --------------------------------------------------------------------------- largest values


def brute(scores: Any, k: int) -> tuple[Any, Any]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, order, axis=1)
    return np.where(np.isneginf(values), -1, order), values


@pytest.mark.parametrize("chunk", [2**22, 20])
def test_the_largest_values_are_those_of_a_sort(
    xp: Backend, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linalgkit.completion._top._NUMBERS", chunk)
    result, _ = a_result(xp)
    seen = np.zeros((7, 9), dtype=bool)
    indptr, indices = result.pattern().csr()
    seen[np.repeat(np.arange(7), np.diff(indptr)), indices] = True
    pairs = np.nonzero(seen)
    forms: list[tuple[Any, Any]] = [
        (None, np.zeros_like(seen)),
        ("observed", seen),
        (sp.coo_array((np.zeros(pairs[0].size), pairs), shape=(7, 9)), seen),
        (xp.asarray(seen), seen),
        (pairs, seen),
        ((3, [1, 1, 4]), np.isin(np.arange(63).reshape(7, 9), [28, 31])),
    ]
    for exclude, left_out in forms:
        scores = np.where(left_out, -np.inf, host(result.block()))
        found = result.top_k(xp.asarray(np.asarray([5, 0, 3, 3])), 4, exclude)
        expected = brute(scores[[5, 0, 3, 3]], 4)
        assert xp.xp.isdtype(found[0].dtype, "integral")
        assert found[1].dtype == result.U.dtype
        np.testing.assert_array_equal(host(found[0]), expected[0])
        np.testing.assert_allclose(host(found[1]), expected[1], rtol=1e-5)
    assert result.top_k([], 2)[0].shape == (0, 2)


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_equal_values_come_in_the_order_of_the_columns(backend: Backend) -> None:
    result, _ = a_result(backend, offsets=False)
    flat = replace(result, U=result.U * 0.0, _pattern=result.pattern())
    found, values = flat.top_k(None, 5, ([0, 0], [1, 2]))
    assert host(found)[0].tolist() == [0, 3, 4, 5, 6]
    assert host(found)[1].tolist() == [0, 1, 2, 3, 4]
    assert not host(values).any()


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_rows_with_too_few_columns_end_in_minus_one(backend: Backend) -> None:
    result, dense = a_result(backend)
    found, values = result.top_k(2, 9, (2, range(7)))
    best = 7 + np.argsort(-dense[2, 7:])
    assert host(found)[0].tolist() == [*best, *[-1] * 7]
    assert np.isneginf(host(values)[0, 2:]).all()


def test_bad_arguments_of_the_largest_values_are_refused() -> None:
    result, _ = a_result(NUMPY)
    for k in (0, 10):
        with pytest.raises(ValueError, match=f"k must be between 1 and 9 .* got {k}"):
            result.top_k(0, k)
    with pytest.raises(TypeError, match="k must be an integer"):
        result.top_k(0, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rows must be between 0 and 6"):
        result.top_k(7, 1)
    with pytest.raises(ValueError, match=r"exclude must be None, 'observed', .* got 'seen'"):
        result.top_k(0, 1, "seen")
    with pytest.raises(ValueError, match=r"exclude must have the shape \(7, 9\)"):
        result.top_k(0, 1, sp.eye_array(3))
    with pytest.raises(ValueError, match=r"exclude must have the shape \(7, 9\)"):
        result.top_k(0, 1, np.zeros((9, 7), dtype=bool))
    for wrong in (np.zeros((7, 9)), [[0], [1]]):
        with pytest.raises(
            TypeError, match=r"exclude must be boolean \(True: left out\), .* tuple"
        ):
            result.top_k(0, 1, wrong)
    with pytest.raises(TypeError, match="exclude"):
        result.top_k(0, 1, {"a": 1})
    with pytest.raises(ValueError, match=r"a pair \(rows, cols\), got 3 items"):
        result.top_k(0, 1, ([0], [1], [2]))
    with pytest.raises(ValueError, match="cols must be between 0 and 8"):
        result.top_k(0, 1, ([0], [9]))
    with pytest.raises(TypeError, match="got complex ones"):
        a_result(NUMPY, kind="complex128")[0].top_k(0, 1)


def test_the_largest_values_need_no_more_than_a_chunk() -> None:
    n = 200_000
    result, _ = a_result(NUMPY, 10, 9, 2, offsets=False)
    rng = np.random.default_rng(0)
    big = replace(
        result, U=rng.standard_normal((400, 2)), V=rng.standard_normal((n, 2)),
        _pattern=result.pattern(),
    )  # fmt: skip
    tracemalloc.start()
    big.top_k(None, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 8 * 2**22  # all 400 rows are 20 times 2^22 numbers


# ------------------------------------------------------------------------------ the object


def test_big_arrays_are_not_shown_and_fields_cannot_be_set() -> None:
    result, _ = a_result(NUMPY)
    assert len(repr(result)) < 400
    assert "rank=3" in repr(result)
    assert "array" not in repr(result)
    with pytest.raises(FrozenInstanceError):
        result.rank = 4  # type: ignore[misc]
    assert result.loss_history == (2.0, 1.0)
    assert hash(result) == hash(result)


def same_bits(a: CompletionResult, b: CompletionResult) -> bool:
    names = ("U", "V", "singular_values", "row_bias", "col_bias", "unidentifiable_rows")
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    pairs += list(zip(a.pattern().csr(), b.pattern().csr(), strict=True))
    return all(
        (x is None and y is None)
        or (host(x).dtype == host(y).dtype and host(x).tobytes() == host(y).tobytes())
        for x, y in pairs
    )


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("kind", ["float32", "complex128"])
def test_files_states_copies_and_pickles_hold_everything(
    xp: Backend, tmp_path: Path, kind: str, weights: bool
) -> None:
    given = {"row_ridge": np.asarray([0.1, 0.2, 0.3]), "validation_rmse": 0.25}
    result, _ = a_result(xp, kind=kind, weights=weights, **given)
    path = tmp_path / "answer.npz"
    result.save(path)
    twins = [
        CompletionResult.load(path, like=result.U),
        CompletionResult.from_state(result.to_state(), like=result.U),
        pickle.loads(pickle.dumps(result)),
        copy.deepcopy(result),
    ]
    for twin in twins:
        assert same_bits(result, twin)
        assert repr(twin) == repr(result)
        assert core_device(twin.U) == core_device(result.U)
        assert twin.loss_history == result.loss_history
        assert twin.alpha == 0.0
        np.testing.assert_array_equal(twin.row_ridge, given["row_ridge"])
        if kind == "float32":
            before, after = result.interval([0, 1], [2, 3]), twin.interval([0, 1], [2, 3])
            assert [host(x).tobytes() for x in before] == [host(x).tobytes() for x in after]
            found = [r.top_k(None, 3, "observed")[0] for r in (result, twin)]
            np.testing.assert_array_equal(host(found[0]), host(found[1]))


def test_a_file_has_32_bit_indices_and_no_values() -> None:
    state = a_result(NUMPY)[0].to_state()
    assert state["_pattern"]["indices"].dtype == np.int32
    assert "values" not in state["_pattern"]


def test_a_damaged_state_is_refused() -> None:
    state = a_result(NUMPY)[0].to_state()
    for name, wrong in (("indices", np.full(3, 1)), ("lengths", np.asarray([-1, 1]))):
        broken = {**state, "_pattern": {**state["_pattern"], name: wrong}}
        with pytest.raises(ValueError, match="damaged"):
            CompletionResult.from_state(broken)
    with pytest.raises(ValueError, match="missing"):
        CompletionResult.from_state({k: v for k, v in state.items() if k != "U"})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indices", lambda x: x + 9),
        ("indices", lambda x: x - 1),
        ("indices", lambda x: x * 0),
        ("indices", lambda x: x[::-1].copy()),
        ("indices", lambda x: x.astype(float)),
        ("lengths", lambda x: x[:-1]),
        ("lengths", lambda x: np.concatenate([[x[0] + x[1] + 1, -1], x[2:]])),
        ("weights", lambda x: x[:-1]),
        ("weights", lambda x: -x),
        ("weights", lambda x: x * np.nan),
        ("weights", lambda x: x / 0.0),
        ("weights", lambda x: x.astype(complex)),
        ("shape", lambda x: [x[0], x[1] + 1]),
    ],
)  # fmt: skip
def test_a_damaged_pattern_is_refused(name: str, change: Any) -> None:
    state = a_result(NUMPY, weights=True)[0].to_state()
    with np.errstate(divide="ignore"):
        state["_pattern"][name] = change(state["_pattern"][name])
    with pytest.raises(ValueError, match="damaged"):
        CompletionResult.from_state(state)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("U", lambda x: x[:5]),
        ("U", lambda x: x[:, 0]),
        ("U", lambda x: x * np.nan),
        ("U", lambda x: x.astype(np.float32)),
        ("U", lambda x: x.astype(int)),
        ("V", lambda x: x[:5]),
        ("V", lambda x: x[:, :1]),
        ("V", lambda x: x * np.inf),
        ("singular_values", lambda x: x[:1]),
        ("singular_values", lambda x: x * np.nan),
        ("row_bias", lambda x: x[:-1]),
        ("row_bias", lambda _: None),
        ("col_bias", lambda x: x * np.nan),
        ("col_bias", lambda _: None),
        ("mean", lambda _: float("nan")),
        ("mean", lambda _: "0"),
        ("rank", lambda x: x + 1),
        ("rank", lambda x: -x),
        ("rank", float),
        ("unidentifiable_rows", lambda _: np.asarray([99])),
        ("unidentifiable_rows", lambda _: np.asarray([-1])),
        ("unidentifiable_columns", lambda _: np.asarray([1, 1])),
        ("unidentifiable_columns", lambda _: np.asarray([[1]])),
        ("unidentifiable_columns", lambda _: np.asarray([1.0])),
        ("loss_scale", lambda _: -1.0),
        ("row_ridge", lambda _: np.ones(5)),
        ("column_ridge", lambda _: -np.ones(3)),
        ("row_load", lambda _: np.ones(3) * np.nan),
        ("column_load", lambda _: np.ones((1, 3))),
    ],
)  # fmt: skip
def test_damaged_factors_are_refused(name: str, change: Any) -> None:
    state = a_result(NUMPY)[0].to_state()
    with np.errstate(invalid="ignore"):
        state[name] = change(state[name])
    with pytest.raises(ValueError, match=r"CompletionResult is damaged: \w+ does not fit"):
        CompletionResult.from_state(state)


def test_answers_with_empty_lines_and_of_rank_zero_are_whole() -> None:
    for i, j in (([0, 4], [1, 1]), ([1, 1, 3], [0, 3, 3])):
        data = observe((i, j, np.ones(len(i)), (6, 5)))
        result, _ = a_result(NUMPY, 6, 5, 0, _pattern=data)
        twin = CompletionResult.from_state(result.to_state())
        np.testing.assert_array_equal(twin.pattern().csr()[1], j)
        np.testing.assert_array_equal(twin.pattern().csr()[0], result.pattern().csr()[0])


# --------------------------------------------------------------------------- ridges of the fit


@pytest.mark.parametrize("power", [0, 600, -600])
@pytest.mark.parametrize("weighted", [False, True])
def test_regressing_the_rows_of_the_fit_gives_its_rows(power: int, weighted: bool) -> None:
    rng = np.random.default_rng(4)
    A = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 25)) + 2.0
    A += rng.standard_normal(30)[:, None] + 0.3 * rng.standard_normal(A.shape)
    mask = rng.random(A.shape) < 0.6
    w = rng.uniform(0.2, 3.0, A.shape) if weighted else None
    A = np.ldexp(A, power)
    result = complete_matrix(
        A, 2, mask=mask, weights=w, alpha=float(np.ldexp(3.0, power)), bias=True, tol=1e-14,
        max_sweeps=3000, rng=0, n_threads=1,
    )  # fmt: skip
    codes = regressed(result, observe(A, mask=mask, weights=w))
    np.testing.assert_allclose(
        np.ldexp(codes[:, :2], -power // 2), np.ldexp(result.U, -power // 2), atol=1e-5
    )
    np.testing.assert_allclose(
        np.ldexp(codes[:, 2], -power), np.ldexp(result.row_bias, -power), atol=1e-5
    )
    y = np.ldexp(A[mask], -power)
    seen = np.ones(y.size) if w is None else w[mask]
    unit2 = np.sqrt((seen * y**2).sum() / seen.sum())  # root mean square of the values
    expected = [*np.ldexp([3.0, 3.0], power), 3.0 / unit2]
    np.testing.assert_allclose(result.row_ridge, expected, rtol=1e-12)
    np.testing.assert_allclose(result.column_ridge, expected, rtol=1e-12)


def test_the_values_of_the_data_are_not_kept() -> None:
    result, _ = a_result(NUMPY)
    assert not hasattr(result.pattern(), "row_values")


def test_degrees_of_freedom_count_lines_that_have_entries() -> None:
    result, _ = a_result(NUMPY)
    count = result.pattern().count
    assert result.degrees_of_freedom == count - tangent_dimension(result, biased=True)
    plain, _ = a_result(NUMPY, offsets=False)
    assert plain.degrees_of_freedom == count - tangent_dimension(plain, biased=False)


def tangent_dimension(result: CompletionResult, *, biased: bool) -> int:
    """Return the rank of the derivative of all values by all parameters, by brute force."""
    (m, k), n = result.U.shape, result.V.shape[0]
    moved = [np.outer(e, result.V[:, q]) for e in np.eye(m) for q in range(k)]
    moved += [np.outer(result.U[:, q], e) for e in np.eye(n) for q in range(k)]
    if biased:
        moved += [np.outer(e, np.ones(n)) for e in np.eye(m)]
        moved += [np.outer(np.ones(m), e) for e in np.eye(n)]
    return int(np.linalg.matrix_rank(np.stack(moved).reshape(len(moved), -1)))
