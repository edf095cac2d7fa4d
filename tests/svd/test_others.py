"""One-shot, weighted and tree decompositions, bounds and clustering."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from linalgkit import AccuracyWarning, NotFittedError
from linalgkit.svd import (
    ErrorConstrainedClustering,
    cluster_matrices,
    concatenated_svd_bounds,
    tree_svd,
    truncated_svd,
    weighted_svd,
)
from tests.conftest import Backend
from tests.svd.problems import check_certificate, cut, draw, matrix, optimal

# ------------------------------------------------------------------------------ one shot


@pytest.mark.parametrize("form", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("spectrum", ["slow", "fast", "low"])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (60, 90)], ids=str)
def test_leading_triplets_are_those_of_lapack(
    shape: tuple[int, int], is_complex: bool, spectrum: str, form: str
) -> None:
    A, s = matrix(np.random.default_rng(1), *shape, spectrum, is_complex=is_complex)
    given = {"dense": lambda: A, "sparse": lambda: sp.csc_array(A),
             "operator": lambda: aslinearoperator(A)}[form]()  # fmt: skip
    result = truncated_svd(given, 7, rng=0)
    rank = 5 if spectrum == "low" else 7
    np.testing.assert_allclose(result.s, s[:rank], rtol=1e-9)
    assert result.status == ("rank_deficient" if spectrum == "low" else "converged")
    check_certificate(result, A, rtol=1e-8)
    error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    assert abs(result.error_fro - error) <= 1e-12 * np.linalg.norm(A)


@pytest.mark.parametrize("tol", [0.5, 0.1])
def test_a_tolerance_is_met(tol: float) -> None:
    A, s = matrix(np.random.default_rng(2), 300, 400)
    result = truncated_svd(A, tol=tol, rng=0)
    norm = np.linalg.norm(A)
    assert result.error_fro <= tol * norm * (1 + 1e-9)
    best = next(k for k in range(len(s)) if optimal(s, k) <= tol * norm)
    assert best <= result.rank <= 1.1 * best + 2
    with pytest.warns(AccuracyWarning, match="above tol"):
        assert truncated_svd(A, 2, tol=tol / 10, rng=0).status == "max_rank"


@pytest.mark.parametrize("scale", [1e150, 1e-150, 0.0])
def test_one_shot_answers_scale(scale: float) -> None:
    A, _ = matrix(np.random.default_rng(3), 280, 300)
    result, plain = truncated_svd(scale * A, 4, rng=0), truncated_svd(A, 4, rng=0)
    if scale == 0:
        assert (result.rank, result.error_fro, result.status) == (0, 0.0, "rank_deficient")
        return
    np.testing.assert_allclose(result.s / scale, plain.s, rtol=1e-12)
    assert result.error_fro / scale == pytest.approx(plain.error_fro)


def test_every_library_has_the_same_triplets(xp: Backend) -> None:
    for dtype in xp.dtypes:
        A, s = matrix(np.random.default_rng(4), 270, 280, "fast",
                      is_complex=dtype.startswith("complex"))  # fmt: skip
        result = truncated_svd(xp.asarray(A, dtype), 5, rng=0)
        tolerance = 1e-5 if dtype in ("float32", "complex64") else 1e-10
        np.testing.assert_allclose(xp.to_numpy(result.s), s[:5], rtol=tolerance)
        assert result.U.dtype == xp.asarray(A, dtype).dtype


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ValueError, "rank or tol must be given"),
        ({"rank": 0}, ValueError, "rank must be between 1 and 4"),
        ({"rank": 5}, ValueError, "rank must be between 1 and 4"),
        ({"tol": -1.0}, ValueError, "tol must be at least 0"),
        ({"rank": 1, "A": np.full((4, 5), np.nan)}, ValueError, "A must not contain NaN"),
        ({"rank": 1, "A": "text"}, TypeError, "A"),
    ],
    ids=str,
)
def test_bad_one_shot_arguments_are_refused(
    arguments: dict[str, Any], error: type, match: str
) -> None:
    with pytest.raises(error, match=match):
        truncated_svd(arguments.pop("A", np.ones((4, 5))), **arguments)


# --------------------------------------------------------------------------------- trees


@pytest.mark.parametrize("fanin", [2, 3, 8])
def test_trees_have_exact_accounts(fanin: int) -> None:
    A, s = matrix(np.random.default_rng(5), 50, 300, is_complex=True)
    blocks = list(cut(A, 13))
    with ThreadPoolExecutor(2) as pool:
        result = tree_svd(blocks, 8, fanin=fanin, map=pool.map, compute_v=True)
    check_certificate(result, A, rtol=1e-7)
    assert result.error_fro <= 1.1 * optimal(s, 8)
    serial = tree_svd(iter(blocks), 8, fanin=fanin, compute_v=True)
    np.testing.assert_array_equal(serial.s, result.s)
    with pytest.raises(ValueError, match="fanin must be at least 2"):
        tree_svd(blocks, 8, fanin=1)
    with pytest.raises(ValueError, match="blocks must hold one block"):
        tree_svd([], 8)


# ------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_weighted_errors_are_the_smallest_there_are(is_complex: bool) -> None:
    rng = np.random.default_rng(6)
    W = draw(rng, 12, 9, is_complex=is_complex)
    rows, columns = rng.uniform(0, 3, 12), rng.uniform(0, 3, 9)
    rows[3] = columns[5] = 0.0
    found = weighted_svd(W, 4, row_weight=rows, col_weight=columns)
    rest = W - found.L @ found.R
    weights = np.sqrt(rows)[:, None] * np.sqrt(columns)
    error = np.linalg.norm(weights * rest)
    best = optimal(np.linalg.svd(weights * W, compute_uv=False), 4)
    assert found.error == pytest.approx(error) == pytest.approx(best)
    # Rows of weight zero are fitted as well as the other factor allows.
    free = np.linalg.norm(np.sqrt(columns) * rest[3])
    other = found.R * np.sqrt(columns)
    least = np.linalg.lstsq(other.T, np.sqrt(columns) * W[3], rcond=None)[0]
    assert free == pytest.approx(np.linalg.norm(least @ other - np.sqrt(columns) * W[3]))


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
def test_metrics_are_taken_on_both_sides(scale: float) -> None:
    rng = np.random.default_rng(7)
    W = draw(rng, 8, 6, is_complex=True)
    G, H = (X @ X.conj().T + np.eye(len(X)) for X in (draw(rng, 8, 8), draw(rng, 6, 6)))
    found = weighted_svd(scale * W, 3, row_metric=G, col_metric=H)
    rest = W - found.L @ found.R / scale
    error = np.sqrt(np.trace(rest.conj().T @ G @ rest @ H).real)
    assert found.error / scale == pytest.approx(error)
    best = np.linalg.cholesky(G).conj().T @ W @ np.linalg.cholesky(H)
    assert error == pytest.approx(optimal(np.linalg.svd(best, compute_uv=False), 3))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"row_weight": np.ones(3)}, ValueError, r"row_weight must have shape \(4,\)"),
        ({"row_weight": -np.ones(4)}, ValueError, "row_weight must not be negative"),
        ({"col_weight": np.zeros(5)}, ValueError, "col_weight must not be all zero"),
        ({"col_weight": np.ones(5) * 1j}, TypeError, "col_weight must be real"),
        ({"row_metric": -np.eye(4)}, ValueError, "row_metric must be positive definite"),
        ({"row_metric": np.triu(np.ones((4, 4)))}, ValueError, "row_metric must be Hermitian"),
        ({"col_metric": np.eye(4)}, ValueError, r"col_metric must have shape \(5, 5\)"),
        (
            {"row_weight": np.ones(4), "row_metric": np.eye(4)},
            ValueError,
            "row_weight must be None where row_metric is given",
        ),
        ({"rank": 5}, ValueError, "rank must be between 1 and 4"),
    ],
    ids=str,
)
def test_bad_weights_are_refused(options: dict[str, Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        weighted_svd(np.ones((4, 5)), options.pop("rank", 2), **options)


# -------------------------------------------------------------------------------- bounds


def relative_error(blocks: list[Any], r: int) -> float:
    M = np.concatenate([B.reshape(len(B), -1) for B in blocks], axis=1)
    s = np.linalg.svd(M, compute_uv=False)
    return optimal(s, r) / max(np.linalg.norm(s), 1e-300)


def collection(rng: Any, is_complex: bool) -> list[Any]:
    """Return matrices of different widths, ranks and sizes, a zero and a repeated one."""
    m = int(rng.integers(3, 25))
    blocks = []
    for _ in range(int(rng.integers(1, 8))):
        n = int(rng.integers(1, 9))
        q = min(m, n, int(rng.integers(1, 6)))
        block = draw(rng, m, q, is_complex=is_complex) @ draw(rng, q, n, is_complex=is_complex)
        blocks.append(block * 10.0 ** rng.integers(-3, 3))
    if rng.integers(2):
        blocks += [np.zeros((m, 2)), blocks[0]]
    return blocks


@pytest.mark.parametrize("method", ["incremental", "weyl", "residual", "ritz", "exact"])
@pytest.mark.parametrize("order", ["given", "norm", "residual"])
def test_bounds_hold(method: str, order: str) -> None:
    rng = np.random.default_rng(8)
    for trial in range(60):
        blocks, r = collection(rng, bool(trial % 2)), int(rng.integers(1, 7))
        bounds = concatenated_svd_bounds(blocks, r, method=method, order=order)
        true = relative_error(blocks, r)
        assert bounds.lower <= true + 1e-7
        assert true <= bounds.upper + 1e-12
        if method == "exact":
            assert bounds.upper - bounds.lower < 1e-12
        absolute = concatenated_svd_bounds(blocks, r, method=method, order=order, relative=False)
        assert absolute.upper == pytest.approx(bounds.upper * bounds.energy)


def test_a_block_wider_than_the_rank_does_not_count_as_a_whole() -> None:
    A = draw(np.random.default_rng(9), 30, 12)
    bound = concatenated_svd_bounds([A], 4, method="weyl").upper
    assert bound == pytest.approx(relative_error([A], 4))


def test_residual_bounds_hold_for_the_sum_only() -> None:
    # Residuals (1, 1) against singular values (1.618, 0.618): the second is no lower bound.
    blocks = [np.asarray([[1.0], [0.0]]), np.asarray([[1.0], [1.0]])]
    bound = concatenated_svd_bounds(blocks, 1, method="residual").upper
    assert relative_error(blocks, 1) <= bound
    assert concatenated_svd_bounds(blocks, 2, method="ritz").upper < 1e-6


@pytest.mark.parametrize("scale", [1e-100, 1e100, 1e-300])
def test_bounds_do_not_depend_on_units(scale: float) -> None:
    blocks = collection(np.random.default_rng(10), False)
    for method in ("incremental", "weyl", "residual", "ritz", "exact"):
        plain = concatenated_svd_bounds(blocks, 2, method=method)
        scaled = concatenated_svd_bounds([scale * B for B in blocks], 2, method=method)
        assert scaled.upper == pytest.approx(plain.upper, rel=1e-7, abs=1e-7)
        assert scaled.energy / scale == pytest.approx(plain.energy)


# ----------------------------------------------------------------------------- clustering


def planted(rng: Any, count: int, noise: float, **kind: Any) -> tuple[list[Any], Any]:
    bases = draw(rng, 4, 40, 3, **kind)
    labels = rng.integers(4, size=count)
    blocks = [bases[k] @ draw(rng, 3, 5, **kind) + noise * draw(rng, 40, 5, **kind) for k in labels]
    return blocks, labels


@pytest.mark.parametrize("search", ["gallop", "paper", "exhaustive"])
@pytest.mark.parametrize("order", ["residual", "norm"])
@pytest.mark.parametrize("bound", ["incremental", "weyl", "residual"])
def test_no_cluster_is_worse_than_promised(search: str, order: str, bound: str) -> None:
    rng = np.random.default_rng(11)
    for trial in range(12):
        if trial % 2:
            blocks, r = collection(rng, bool(trial % 3)), int(rng.integers(1, 5))
        else:
            blocks, r = planted(rng, 20, 0.02, is_complex=bool(trial % 4))[0], 4
        eps = float(rng.choice([0.0, 0.02, 0.1, 0.4]))
        found = cluster_matrices(blocks, r, eps, search=search, order=order, bound=bound)
        assert sorted(itertools.chain(*found.clusters)) == list(range(len(blocks)))
        for number, members in enumerate(found.clusters):
            assert all(found.labels[i] == number for i in members)
            shared = found.svds[number]
            assert found.predicted_error[number] <= eps
            if shared is None:
                continue
            true = relative_error([blocks[i] for i in members], r)
            assert found.error_lower[number] - 1e-7 <= true <= eps + 1e-12
            rest = [
                blocks[i] - shared.U @ C for i, C in zip(members, shared.coefficients, strict=True)
            ]
            size = np.linalg.norm(np.concatenate([blocks[i] for i in members], axis=1))
            assert np.linalg.norm(np.concatenate(rest, axis=1)) <= (eps + 1e-9) * size


def test_planted_groups_are_found_and_searches_do_not_lose_to_the_paper() -> None:
    blocks, labels = planted(np.random.default_rng(12), 60, 0.01)
    ratios = {}
    for search in ("paper", "gallop", "exhaustive"):
        found = cluster_matrices(blocks, 3, 0.05, search=search)
        ratios[search] = found.compression_ratio
        if search != "paper":
            same = labels[:, None] == labels[None, :]
            assert np.array_equal(np.equal.outer(found.labels, found.labels), same)
    assert ratios["gallop"] >= ratios["paper"]
    assert ratios["exhaustive"] >= ratios["paper"]


@pytest.mark.parametrize("form", ["array", "sparse", "vectors", "operators", "iterator"])
def test_collections_of_other_kinds(form: str) -> None:
    blocks, _ = planted(np.random.default_rng(13), 12, 0.0)
    if form == "vectors":
        blocks = [B[:, 0] for B in blocks]
    given: Any = {
        "array": lambda: np.stack(blocks),
        "sparse": lambda: [sp.csr_array(B) for B in blocks],
        "vectors": lambda: blocks,
        "operators": lambda: [aslinearoperator(B) for B in blocks],
        "iterator": lambda: iter(blocks),
    }[form]()
    expected = cluster_matrices([np.atleast_2d(B.T).T for B in blocks], 3, 0.05)
    found = cluster_matrices(given, 3, 0.05)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.compression_ratio == expected.compression_ratio


def test_row_weights_weigh_the_error() -> None:
    blocks, _ = planted(np.random.default_rng(14), 12, 0.0)
    weight = np.ones(40)
    noisy = [B + np.r_[np.zeros((20, 5)), draw(np.random.default_rng(15), 20, 5)] for B in blocks]
    weight[20:] = 0.0
    found = cluster_matrices(noisy, 3, 0.01, row_weight=weight)
    assert len(found.clusters) < 12
    assert len(cluster_matrices(noisy, 3, 0.01).clusters) == 12


def test_clusters_on_every_library(xp: Backend) -> None:
    blocks, _ = planted(np.random.default_rng(16), 12, 0.01)
    expected = cluster_matrices(blocks, 3, 0.1)
    found = cluster_matrices([xp.asarray(B) for B in blocks], 3, 0.1)
    assert xp.to_numpy(found.labels).tolist() == expected.labels.tolist()


def test_the_estimator_predicts_the_nearest_basis() -> None:
    rng = np.random.default_rng(17)
    blocks, labels = planted(rng, 30, 0.005)
    model = ErrorConstrainedClustering(3, 0.1)
    with pytest.raises(NotFittedError):
        model.predict(blocks)
    found = model.fit_predict(blocks)
    assert np.array_equal(np.equal.outer(found, found), labels[:, None] == labels[None, :])
    assert model.predict(blocks).tolist() == found.tolist()
    assert model.get_params()["eps"] == 0.1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"blocks": []}, ValueError, "blocks must hold one matrix"),
        ({"blocks": np.ones((3, 3))}, ValueError, r"blocks must be a list of matrices or an array"),
        ({"blocks": "text"}, TypeError, "blocks must be a list"),
        ({"blocks": [np.ones((3, 2)), np.ones((4, 2))]}, ValueError, "must have 3 rows .* got 4"),
        ({"blocks": [np.full((3, 2), np.inf)]}, ValueError, "blocks must not contain NaN"),
        ({"rank": 0}, ValueError, "rank must be at least 1"),
        ({"eps": 1.0}, ValueError, "eps must be"),
        ({"eps": -0.1}, ValueError, "eps must be"),
        ({"bound": "best"}, ValueError, "bound must be one of"),
        ({"order": "given"}, ValueError, "order must be one of"),
        ({"search": "all"}, ValueError, "search must be one of"),
        ({"patience": 0}, ValueError, "patience must be at least 1"),
        ({"row_weight": -np.ones(3)}, ValueError, "row_weight must not be negative"),
        ({"row_weight": np.ones(2)}, ValueError, r"row_weight must have shape \(3,\)"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type, match: str) -> None:
    arguments = {"blocks": [np.ones((3, 2))], "rank": 1, "eps": 0.1, **change}
    with pytest.raises(error, match=match):
        cluster_matrices(**arguments)


@pytest.mark.parametrize("bound", ["incremental", "weyl", "residual"])
@pytest.mark.parametrize(("r", "eps"), [(1, 0.9), (2, 0.9), (1, 0.93)])
def test_what_is_delivered_is_what_was_certified(r: int, eps: float, bound: str) -> None:
    rng = np.random.default_rng(0)
    blocks = []
    for batch in range(12):
        for _ in range(64):
            v = np.zeros(12)
            v[0] = 0.05 * rng.standard_normal()
            v[1 + batch % 8] = 0.12 * rng.standard_normal()
            blocks.append(v)
    found = cluster_matrices(blocks, r, eps, merge=False, patience=3, bound=bound)
    for members, shared, certified in zip(
        found.clusters, found.svds, found.predicted_error, strict=True
    ):
        if shared is not None:
            M = np.stack([blocks[i] for i in members], axis=1)
            rest = M - shared.U @ np.concatenate(shared.coefficients, axis=1)
            assert np.linalg.norm(rest) <= eps * np.linalg.norm(M) * (1 + 1e-9)
            assert certified <= eps
            if certified > 0:
                assert np.linalg.norm(rest) <= certified * np.linalg.norm(M) * (1 + 1e-9)


def test_the_published_search_tries_candidates_of_seeds_wider_than_the_rank() -> None:
    e = np.eye(6)
    blocks = [np.stack([e[0], 0.12 * e[1]], axis=1), *[0.9 * e[0]] * 5]
    assert len(cluster_matrices(blocks, 1, 0.1, search="paper").clusters) == 1
