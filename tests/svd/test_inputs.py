"""What may be passed to the decompositions, and what is refused by name."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from linalgkit.svd import (
    ErrorConstrainedClustering,
    IncrementalSVD,
    cluster_matrices,
    concatenated_svd_bounds,
    tree_svd,
    truncated_svd,
    weighted_svd,
)
from tests.conftest import Backend
from tests.svd.problems import draw, matrix

FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")


# ----------------------------------------------------------------------------------- masks


def as_mask(mask: Any, form: str, xp: Backend) -> Any:
    return {"array": lambda: xp.xp.asarray(mask.tolist(), device=xp.device),
            "list": lambda: mask.tolist(), "numpy scalars": lambda: list(mask)}[form]()  # fmt: skip


@pytest.mark.parametrize("form", ["array", "list", "numpy scalars"])
def test_a_mask_says_which_columns_go(xp: Backend, form: str) -> None:
    A, _ = matrix(np.random.default_rng(0), 20, 12)
    A = A.astype("float64" if xp.has_float64 else "float32")
    mask = np.arange(12) % 3 == 1
    places = np.flatnonzero(mask).tolist()
    start = IncrementalSVD(12, compute_v=True).append_columns(xp.asarray(A)).to_state()

    def fresh() -> IncrementalSVD:
        return IncrementalSVD.from_state(start, like=xp.asarray(A))

    given = as_mask(mask, form, xp)
    found = xp.to_numpy(fresh().remove_columns(given).result().s)
    np.testing.assert_array_equal(found, xp.to_numpy(fresh().remove_columns(places).result().s))
    exact = np.linalg.svd(A[:, ~mask], compute_uv=False)
    np.testing.assert_allclose(found, exact, atol=100 * np.finfo(A.dtype).eps)
    new = draw(np.random.default_rng(1), 20, len(places)).astype(A.dtype)
    replaced = xp.to_numpy(fresh().replace_columns(given, xp.asarray(new)).result().s)
    B = A.copy()
    B[:, mask] = new
    exact = np.linalg.svd(B, compute_uv=False)
    np.testing.assert_allclose(replaced, exact, atol=100 * np.finfo(A.dtype).eps * exact[0])


@pytest.mark.parametrize(
    ("idx", "error", "match"),
    [
        ([True] * 3, ValueError, r"idx must have shape \(6,\) as a mask.* got \(3,\)"),
        (np.ones((2, 3), dtype=bool), ValueError, r"idx must have shape \(6,\) as a mask"),
        (np.zeros(0, dtype=bool), ValueError, r"idx must have shape \(6,\) as a mask"),
        (True, ValueError, r"idx must have shape \(6,\) as a mask.* got \(\)"),
        (np.bool_(False), ValueError, r"idx must have shape \(6,\) as a mask"),
        ([True, 2, 0, 1, 3, 4], ValueError, "booleans alone, got both"),
        ([True] * 6, ValueError, "idx must leave one column at least"),
        (["a"], TypeError, "idx must hold numbers or be a mask, got 'a'"),
        ([float("nan")], ValueError, "idx must hold numbers from 0 to 5, got nan"),
        ([1.5], ValueError, "idx must hold numbers from 0 to 5, got 1.5"),
        ([-1], ValueError, "idx must hold numbers from 0 to 5, got -1"),
        ([6], ValueError, "idx must hold numbers from 0 to 5, got 6"),
        ([2, 2], ValueError, "idx must hold every number once"),
        (object(), TypeError, "idx must be"),
    ],
    ids=lambda v: "object" if type(v) is object else str(v)[:25],
)
def test_bad_numbers_of_columns_are_refused(idx: Any, error: type, match: str) -> None:
    A = draw(np.random.default_rng(2), 9, 6)
    svd = IncrementalSVD(4, compute_v=True).append_columns(A)
    before = svd.result().s
    with pytest.raises(error, match=match):
        svd.remove_columns(idx)
    np.testing.assert_array_equal(svd.result().s, before)


@pytest.mark.parametrize("idx", [2, np.int64(2), [2], range(2, 3), np.asarray([2.0])], ids=str)
def test_numbers_of_columns_of_every_kind(idx: Any) -> None:
    A = draw(np.random.default_rng(3), 9, 6)
    found = IncrementalSVD(5, compute_v=True).append_columns(A).remove_columns(idx).result().s
    np.testing.assert_allclose(found, np.linalg.svd(np.delete(A, 2, 1))[1], rtol=1e-12)


def test_a_mask_of_nothing_changes_nothing() -> None:
    A = draw(np.random.default_rng(4), 9, 6)
    svd = IncrementalSVD(6, compute_v=True).append_columns(A).remove_columns([False] * 6)
    np.testing.assert_allclose(svd.result().s, np.linalg.svd(A)[1], rtol=1e-12)
    assert svd.remove_columns([]).n_samples_seen_ == 6


# ----------------------------------------------------------------------------------- trees


def test_trees_take_an_array_of_matrices(xp: Backend) -> None:
    A = draw(np.random.default_rng(5), 4, 10, 6).astype("float32")
    found = tree_svd(xp.asarray(A), 5, n_oversamples=5)
    exact = np.linalg.svd(np.concatenate(list(A), axis=1))[1][:5]
    np.testing.assert_allclose(xp.to_numpy(found.s), exact, rtol=1e-4)
    assert found.n_columns == 24


@pytest.mark.parametrize("form", ["array", "sparse", "operator", "frame", "vector"])
def test_trees_refuse_one_matrix(form: str) -> None:
    pandas = pytest.importorskip("pandas")
    A = np.ones((6, 4))
    make = {"sparse": sp.csr_array, "operator": aslinearoperator, "frame": pandas.DataFrame}
    given = A[0] if form == "vector" else make.get(form, np.asarray)(A)
    with pytest.raises(ValueError, match=r"blocks must be an iterable of matrices.* got one .*\("):
        tree_svd(given, 2)


@pytest.mark.parametrize(
    ("blocks", "options", "error", "match"),
    [
        ([np.ones((4, 3))], {"n_components": 5}, TypeError, "rank must be given .*n_components=5"),
        (3, {"rank": 1}, TypeError, "blocks must be an iterable of matrices .* got int"),
        ("text", {"rank": 1}, TypeError, "blocks must be an iterable of matrices .* got str"),
        (np.ones((0, 4, 3)), {"rank": 1}, ValueError, "blocks must hold one block"),
        ([], {"rank": 1}, ValueError, "blocks must hold one block"),
    ],
    ids=str,
)
def test_bad_collections_for_trees_are_refused(
    blocks: Any, options: dict[str, Any], error: type, match: str
) -> None:
    with pytest.raises(error, match=match):
        tree_svd(blocks, **options)


# ------------------------------------------------------------------------- kinds of numbers


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_sparse_samples_of_every_format(form: str, is_complex: bool) -> None:
    X = sp.random_array((60, 12), density=0.3, rng=np.random.default_rng(6))
    X = (X * (1 + 2j)).tocsr() if is_complex else X.tocsr()
    dense, given = X.toarray(), X.asformat(form)
    expected = IncrementalSVD(4, n_oversamples=8).fit(dense)
    for model in (
        IncrementalSVD(4, n_oversamples=8).fit(given),
        IncrementalSVD(4, n_oversamples=8).partial_fit(given),
        IncrementalSVD(4, n_oversamples=8).append_columns(given.conj().T.asformat(form)),
        IncrementalSVD(4, n_oversamples=8).fit([given, X[:0].asformat(form)]),
    ):
        np.testing.assert_allclose(model.singular_values_, expected.singular_values_, rtol=1e-10)
        np.testing.assert_allclose(model.transform(given), model.transform(dense), atol=1e-12)
        overlap = np.abs(model.components_ @ expected.components_.conj().T)
        np.testing.assert_allclose(overlap, np.eye(4), atol=1e-7)


def low_rank(rng: Any, m: int, n: int) -> Any:
    """Return a matrix of rank two."""
    return draw(rng, m, 2) @ draw(rng, 2, n)


@pytest.mark.parametrize("form", ["list", "tuples", "frame"])
def test_lists_and_dataframes_are_matrices(form: str) -> None:
    pandas = pytest.importorskip("pandas")
    A = low_rank(np.random.default_rng(7), 9, 7)
    given = {"list": A.tolist, "tuples": lambda: tuple(map(tuple, A)),
             "frame": lambda: pandas.DataFrame(A)}[form]()  # fmt: skip
    np.testing.assert_allclose(truncated_svd(given, 2).s, np.linalg.svd(A)[1][:2], rtol=1e-12)
    found = weighted_svd(given, 1, row_weight=list(range(1, 10)), col_weight=[1] * 7)
    weights = np.arange(1.0, 10.0)
    expected = weighted_svd(A, 1, row_weight=weights)
    np.testing.assert_allclose(found.L @ found.R, expected.L @ expected.R, atol=1e-12)
    blocks = [given, A.tolist(), A]
    clusters = cluster_matrices(blocks, 2, 1e-6, row_weight=weights.tolist())
    assert clusters.clusters == [[0, 1, 2]]
    np.testing.assert_allclose(clusters.svds[0].reconstruct(1), A, atol=1e-12)
    assert concatenated_svd_bounds(blocks, 2).upper < 1e-6
    model = ErrorConstrainedClustering(2, 1e-6).fit(blocks)
    assert model.predict([given]).tolist() == [0]


def test_dataframes_that_are_alike_are_matrices_each() -> None:
    pandas = pytest.importorskip("pandas")
    A = low_rank(np.random.default_rng(8), 9, 3)
    names = ["a", "b", "c"]
    found = cluster_matrices([pandas.DataFrame(A, columns=names)] * 3, 2, 1e-6)
    np.testing.assert_allclose(found.svds[0].reconstruct(2), A, atol=1e-12)
    columns = [pandas.Series(A[:, 0])] * 3
    assert cluster_matrices(columns, 1, 1e-6).clusters == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("weight", "error", "match"),
    [
        (["a"] * 4, TypeError, "row_weight must be real, got dtype"),
        (np.ones(4) * 1j, TypeError, "row_weight must be real, got complex"),
        ([1j] * 4, TypeError, "row_weight must be real, got dtype complex128"),
        ([1.0] * 3, ValueError, r"row_weight must have shape \(4,\)"),
        ([-1.0] * 4, ValueError, "row_weight must not be negative"),
        (sp.csr_array(np.ones((1, 4))), TypeError, "row_weight must be of numpy"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_bad_row_weights_of_collections_are_refused(weight: Any, error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        cluster_matrices([np.ones((4, 2))], 1, 0.1, row_weight=weight)


@pytest.mark.parametrize("shape", [(4, 5), (300, 280), (1100, 1100)], ids=str)
@pytest.mark.parametrize("form", ["dense", "sparse", "operator", "zeros"])
def test_a_bad_generator_is_refused_on_every_path(shape: tuple[int, int], form: str) -> None:
    A = np.zeros(shape) if form == "zeros" else np.eye(*shape)
    given = {"sparse": sp.csr_array, "operator": aslinearoperator}.get(form, np.asarray)(A)
    with pytest.raises(TypeError, match="rng must be None, an int"):
        truncated_svd(given, 1, rng="a")


# ----------------------------------------------------------------------------------- torch


def calls_for_torch(A: Any, w: Any) -> dict[str, Callable[[], Any]]:
    """Return what is computed from a matrix and weights, by name."""
    return {
        "truncated_svd": lambda: truncated_svd(A, 2).s,
        "weighted_svd": lambda: weighted_svd(A, 2, row_weight=w).L,
        "weighted_svd, columns": lambda: weighted_svd(A.T, 2, col_weight=w).L,
        "weighted_svd, metric": lambda: weighted_svd(A, 2, row_metric=w[:, None] * _eye(w)).L,
        "cluster_matrices": lambda: _basis([A, A], row_weight=w),
        "cluster_matrices, unlike": lambda: _basis([A, A[:, :2]], row_weight=w),
        "cluster_matrices, array": lambda: _basis(_stacked(A)),
        "concatenated_svd_bounds": lambda: concatenated_svd_bounds([A, A], 2).upper,
        "tree_svd": lambda: tree_svd([A, A], 2).s,
        "IncrementalSVD": lambda: IncrementalSVD(2).append_columns(A).result().s,
        "transform": lambda: IncrementalSVD(2).fit(A).transform(A),
        "inverse_transform": lambda: IncrementalSVD(2).fit(A).inverse_transform(A[:, :2]),
        "fit": lambda: IncrementalSVD(2).fit([A, A]).components_,
        "predict": lambda: ErrorConstrainedClustering(6, 0.1).fit([A, A]).predict([A]),
    }


def _eye(w: Any) -> Any:
    import torch

    return torch.eye(len(w), dtype=w.dtype)


def _stacked(A: Any) -> Any:
    import torch

    return torch.stack([A, A])


def _basis(blocks: Any, **options: Any) -> Any:
    found = cluster_matrices(blocks, 4, 0.1, **options).svds[0]
    return found.U


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("name", list(calls_for_torch(None, None)))
def test_tensors_with_a_graph_are_taken_without_it(name: str) -> None:
    import torch

    A = torch.asarray(matrix(np.random.default_rng(9), 8, 4, "fast")[0])
    A = torch.concat([A, A], dim=1)
    w = torch.linspace(1.0, 2.0, 8, dtype=torch.float64)
    expected = calls_for_torch(A, w)[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calls_for_torch(A.clone().requires_grad_(), w.clone().requires_grad_())[name]()
    assert not getattr(found, "requires_grad", False)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


# ------------------------------------------------------------------------------------ dask


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda A: IncrementalSVD(2).append_columns(A), "A"),
        (lambda A: IncrementalSVD(2).partial_fit(A), "X"),
        (lambda A: truncated_svd(A, 2), "A"),
        (lambda A: weighted_svd(A, 2), "W"),
        (lambda A: cluster_matrices([A, A], 2, 0.1), r"blocks\[0\]"),
        (lambda A: cluster_matrices(A[None], 2, 0.1), "blocks"),
        (lambda A: tree_svd([A], 2), "A"),
    ],
    ids=["append", "partial_fit", "truncated", "weighted", "list", "array", "tree"],
)
def test_dask_arrays_are_refused_with_a_way_out(call: Callable[[Any], Any], name: str) -> None:
    dask_array = pytest.importorskip("dask.array")
    A = dask_array.ones((6, 4), chunks=(3, 2))
    with pytest.raises(TypeError, match=rf"^{name} must lie in memory, got a dask .*compute\(\)"):
        call(A)


# -------------------------------------------------------------------------- what is not finite


def test_the_message_counts_columns_as_the_caller_does() -> None:
    A = draw(np.random.default_rng(10), 30, 8)
    bad = A.copy()
    bad[4, 5] = np.nan
    svd = IncrementalSVD(3, buffer_size=3).append_columns(A)
    for given in (bad, sp.csc_array(bad)):
        svd = IncrementalSVD(3, buffer_size=3)
        svd.append_columns(A if given is bad else sp.csc_array(A))
        with pytest.raises(ValueError, match=r"^A must not .* in block 1, column 5 \(counted"):
            svd.append_columns(given)
    svd = IncrementalSVD(3, buffer_size=3).append_columns(A).append_columns(A)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match=r"^A must not .* in block 2, column [0-5] \(counted"),
    ):
        svd.append_columns(aslinearoperator(np.where(np.isnan(bad), np.inf, bad)))
    with pytest.raises(ValueError, match=r"^X must not .* in block 2, row 5 \(counted"):
        svd.partial_fit(bad.T)
    with pytest.raises(ValueError, match=r"^blocks must not .* in block 1, column 5 \(counted"):
        cluster_matrices([A, bad], 2, 0.1)


def test_the_columns_of_an_operator_are_counted_from_its_first() -> None:
    def product(X: Any) -> Any:
        Y = np.ones((5, 9)) @ X
        return np.where(X[7:8, :] != 0, np.nan, Y)

    A = LinearOperator((5, 9), matvec=lambda x: product(x[:, None])[:, 0], matmat=product,
                       dtype=np.float64)  # fmt: skip
    svd = IncrementalSVD(2, buffer_size=4)
    with pytest.raises(ValueError, match=r"in block 0, column 7 \(counted"):
        svd.append_columns(A)
    with pytest.raises(ValueError, match="has seen no data"):
        svd.result()
