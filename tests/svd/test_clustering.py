"""Bounds on joint errors, and clustering under such a bound."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from linalgkit import NotFittedError
from linalgkit.svd import (
    ErrorConstrainedClustering,
    cluster_matrices,
    concatenated_svd_bounds,
)
from tests.conftest import Backend
from tests.svd.problems import cut, draw, matrix, optimal

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


def sequential_residuals(columns: Any) -> Any:
    """Return what each column adds to the span of those before, one after the other."""
    basis, found = np.zeros((len(columns), 0)), []
    for a in columns.T:
        rest = a - basis @ (basis.T @ a)
        rest = rest - basis @ (basis.T @ rest)
        norm = np.linalg.norm(rest)
        if norm > 1e-10 * np.linalg.norm(a):
            basis = np.concatenate([basis, rest[:, None] / norm], axis=1)
            found.append(norm)
    return np.sort(np.asarray(found) ** 2)[::-1]


@pytest.mark.parametrize("q", [7, 40], ids=["few directions", "all directions"])
def test_residuals_of_many_columns_are_those_found_one_after_the_other(q: int) -> None:
    rng = np.random.default_rng(20)
    M = draw(rng, 40, q) @ draw(rng, q, 2000)
    M[:, 5], M[:, 7] = 0.0, M[:, 6]
    found = concatenated_svd_bounds(list(M.T), 3, method="residual").upper
    share = np.sum(sequential_residuals(M)[:3]) / np.linalg.norm(M) ** 2
    assert found == pytest.approx(np.sqrt(1 - share), rel=1e-9)
    blocks = [M[:, start : start + 5] for start in range(0, 2000, 5)]
    assert relative_error(blocks, 3) <= concatenated_svd_bounds(blocks, 3, method="residual").upper


@pytest.mark.parametrize("method", ["incremental", "weyl", "residual", "ritz"])
def test_bounds_of_many_columns_hold(method: str) -> None:
    rng = np.random.default_rng(21)
    M = draw(rng, 60, 8) @ draw(rng, 8, 3000) + 0.1 * draw(rng, 60, 3000)
    for order in ("given", "norm", "residual"):
        bounds = concatenated_svd_bounds(list(M.T), 8, method=method, order=order)
        assert bounds.lower <= relative_error([M], 8) <= bounds.upper


@pytest.mark.parametrize("spectrum", ["slow", "fast"])
def test_intervals_are_narrow_where_spectra_decay(spectrum: str) -> None:
    gaps = []
    for seed in range(15):
        M, _ = matrix(np.random.default_rng(seed), 80, 300, spectrum)
        upper = concatenated_svd_bounds(list(cut(M, 10)), 10).upper
        gaps.append(upper / relative_error([M], 10) - 1)
    assert np.median(gaps) <= 1e-3


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


# --------------------------------------------------------------------- any kind of collection


def any_collection(rng: Any) -> tuple[list[Any], float]:
    """Return matrices around three subspaces, and their scale.

    Of one or several columns, real or complex, wider than the rank or not; some zero, some twice.
    """
    kind = {"is_complex": bool(rng.integers(2))}
    m, scale = int(rng.integers(2, 40)), 10.0 ** float(rng.choice([0, -100, 100, -8, 8]))
    are_columns = rng.integers(4) == 0
    count = int(rng.integers(50, 700)) if are_columns else int(rng.integers(1, 40))
    bases = draw(rng, 3, m, min(m, int(rng.integers(1, 6))), **kind)
    noise = 10.0 ** -rng.uniform(0, 8)
    blocks: list[Any] = []
    for _ in range(count):
        n = 1 if are_columns else int(rng.integers(1, 12))
        B = bases[rng.integers(3)]
        A = B @ draw(rng, B.shape[1], n, **kind) + noise * draw(rng, m, n, **kind)
        if rng.random() < 0.05:
            A = np.zeros_like(A)
        blocks.append(A * 10.0 ** rng.uniform(-3, 3) * scale)
        if rng.random() < 0.1:
            blocks.append(blocks[rng.integers(len(blocks))])
    return blocks, scale


def check_clusters(found: Any, blocks: list[Any], r: int, eps: float, scale: float) -> None:
    """Hold every cluster against the singular values of its members."""
    single = blocks[0].dtype in (np.float32, np.complex64)
    room = 1e-6 if single else 1e-12
    assert sorted(itertools.chain(*found.clusters)) == list(range(len(blocks)))
    parts = zip(found.clusters, found.svds, found.predicted_error, found.error_lower, strict=True)
    for number, (members, shared, upper, lower) in enumerate(parts):
        assert upper <= eps
        assert np.all(np.asarray(found.labels)[members] == number)
        if shared is None:
            continue
        M = np.concatenate([blocks[i] / scale for i in members], axis=1)
        M = M.astype(np.result_type(M.dtype, np.float64))
        size = np.linalg.norm(M)
        true = optimal(np.linalg.svd(M, compute_uv=False), r)
        assert lower * size <= true + room * size
        assert true <= (upper + room) * size
        C = np.concatenate([np.asarray(C) / scale for C in shared.coefficients], axis=1)
        assert np.linalg.norm(M - shared.U @ C) <= (upper + room) * size


def check_one_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks, scale = any_collection(rng)
    r, eps = int(rng.integers(1, 7)), float(rng.choice([0, 1e-6, 1e-3, 0.02, 0.1, 0.2, 0.5, 0.9]))
    if scale == 1.0 and rng.random() < 0.3:
        kind = np.complex64 if np.iscomplexobj(blocks[0]) else np.float32
        blocks = [block.astype(kind) for block in blocks]
    found = cluster_matrices(
        blocks,
        r,
        eps,
        search=str(rng.choice(["gallop", "paper", "exhaustive"])),
        order=str(rng.choice(["residual", "norm"])),
        bound=str(rng.choice(["incremental"] * 4 + ["weyl", "residual"])),
        merge=bool(rng.integers(2)),
        patience=[None, 10, 2][rng.integers(3)],
    )
    check_clusters(found, blocks, r, eps, scale)


def test_no_cluster_of_any_collection_is_worse_than_promised() -> None:
    for seed in range(25):
        check_one_run(seed)


@pytest.mark.slow
def test_no_cluster_is_worse_than_promised_in_a_thousand_runs() -> None:
    for seed in range(1000):
        check_one_run(1000 + seed)


def many_columns(rng: Any, m: int, count: int, dtype: str = "float32") -> tuple[Any, Any]:
    """Return columns around 8 subspaces of dimension 8, of sizes that differ much, and which."""
    bases = [np.linalg.qr(draw(rng, m, 8))[0] for _ in range(8)]
    labels = rng.integers(8, size=count)
    columns = np.stack([bases[k] @ draw(rng, 8) for k in labels])
    columns += 0.05 * draw(rng, count, m) * np.sqrt(8 / m)
    columns *= np.exp(draw(rng, count, 1))
    return columns.astype(dtype), labels


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_many_tall_columns_are_grouped_by_their_subspaces(dtype: str) -> None:
    X, labels = many_columns(np.random.default_rng(22), 160, 6000)
    if dtype == "complex128":
        X = X * np.exp(2j * np.pi * np.random.default_rng(23).random((6000, 1)))
    X = X.astype(dtype)
    found = cluster_matrices(X[:, :, None], 8, 0.1)
    assert len(found.clusters) <= 10
    for members in found.clusters:
        if len(members) > 20:
            counts = np.bincount(labels[members])
            assert counts.max() >= 0.95 * len(members)
    assert found.compression_ratio >= 0.9 * 160 * 6000 / (8 * (8 * 160 + 6000))
    check_clusters(found, [x[:, None] for x in X], 8, 0.1, 1.0)


def test_the_published_search_has_the_published_partitions() -> None:
    pytest.importorskip("sklearn")
    from asv_benchmarks.peers.greedy_clustering import greedy_clusters

    rng = np.random.default_rng(24)
    for trial in range(20):
        kind = {"is_complex": bool(trial % 2)}
        if trial % 3:
            blocks, r = planted(rng, 40, 0.1, **kind)[0], int(rng.integers(1, 8))
        else:
            blocks, r = [draw(rng, 12, 1, **kind) for _ in range(60)], 5
        blocks = [block * np.exp(0.5 * draw(rng)) for block in blocks]
        eps = float(rng.choice([0.05, 0.2, 0.4]))
        expected = [sorted(members) for members in greedy_clusters(blocks, r, eps)]
        found = cluster_matrices(blocks, r, eps, search="paper")
        assert sorted(found.clusters) == sorted(expected)


@pytest.mark.parametrize("search", ["gallop", "exhaustive"])
@pytest.mark.parametrize("form", ["columns", "matrices", "random"])
def test_other_searches_store_less_than_the_published_one(form: str, search: str) -> None:
    rng = np.random.default_rng(25)
    least = 1.05
    if form == "columns":
        blocks: Any = many_columns(rng, 100, 800, "float64")[0][:, :, None]
    elif form == "matrices":
        bases = draw(rng, 10, 60, 6)
        blocks = [bases[k % 10] @ draw(rng, 6, 4) + 0.1 * draw(rng, 60, 4) for k in range(120)]
        blocks = [B * np.exp(0.5 * draw(rng)) for B in blocks]
    else:
        blocks, least = [draw(rng, 12, 4) for _ in range(80)], 1.0
    r, eps = {"columns": (8, 0.1), "matrices": (6, 0.1), "random": (3, 0.8)}[form]
    paper = cluster_matrices(blocks, r, eps, search="paper").compression_ratio
    assert cluster_matrices(blocks, r, eps, search=search).compression_ratio >= least * paper


def test_a_collection_of_zeros_is_one_cluster() -> None:
    for search in ("gallop", "paper", "exhaustive"):
        found = cluster_matrices(np.zeros((5, 8, 2)), 1, 0.1, search=search)
        assert found.labels.tolist() == [0] * 5
        assert found.predicted_error == [0.0]


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
    assert model.n_rows_ == 40


def test_predictions_are_made_for_other_dtypes_and_formats() -> None:
    rng = np.random.default_rng(18)
    blocks, _ = planted(rng, 30, 0.005)
    model = ErrorConstrainedClustering(3, 0.1)
    found = model.fit_predict(blocks).tolist()
    assert model.predict([(1j * B).astype("complex64") for B in blocks]).tolist() == found
    assert model.predict([sp.csc_array(B) for B in blocks]).tolist() == found
    assert model.predict([B[:, 0] for B in blocks]).tolist() == found
    turned = [B * np.exp(1j * rng.random()) for B in blocks]
    assert model.fit(turned).predict(blocks).tolist() == model.labels_.tolist()


def test_bad_matrices_to_predict_are_refused(xp: Backend) -> None:
    blocks, _ = planted(np.random.default_rng(19), 8, 0.005)
    model = ErrorConstrainedClustering(3, 0.1, row_weight=np.ones(40)).fit(blocks)
    with pytest.raises(ValueError, match="must have 40 rows as those fitted have, got 39 rows"):
        model.predict([B[:39] for B in blocks])
    with pytest.raises(ValueError, match="blocks must hold one matrix"):
        model.predict([])
    if xp.name != "numpy":
        model = ErrorConstrainedClustering(3, 0.1).fit(blocks)
        with pytest.raises(TypeError, match="must be an array of numpy"):
            model.predict([xp.asarray(B) for B in blocks])


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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("search", ["gallop", "paper"])
def test_sizes_far_apart_are_certified_each_for_itself(dtype: str, search: str) -> None:
    rng = np.random.default_rng(50)
    big, tiny = (1e200, 1e-165) if dtype == "float64" else (1e20, 1e-25)
    scales = [big, tiny, 0.0, big, tiny, 1.0, tiny, 1.0, tiny]
    blocks = [(scale * rng.standard_normal((10, 4))).astype(dtype) for scale in scales]
    blocks[6] = blocks[4] * np.asarray(2.0, dtype=dtype)
    found = cluster_matrices(blocks, 2, 0.1, search=search)
    assert sorted(i for members in found.clusters for i in members) == list(range(9))
    for number, members in enumerate(found.clusters):
        assert set(found.labels[members].tolist()) == {number}
        if len(members) == 1:
            continue
        M = np.concatenate([blocks[i].astype(np.longdouble) for i in members], axis=1)
        M = np.asarray(M / max(float(np.max(np.abs(M))), 1e-300), dtype=np.float64)
        s = np.linalg.svd(M, compute_uv=False)
        error = np.sqrt(np.sum(s[2:] ** 2) / max(np.sum(s**2), 1e-300))
        assert error <= 0.1
        assert found.error_lower[number] <= error + 1e-6
    assert found.clusters == sorted(found.clusters, key=min)
