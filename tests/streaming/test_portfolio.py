"""The portfolio: accuracy, heavy rows, winners, state, libraries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from linalgkit._core.array import to_numpy
from linalgkit._core.operators import DenseOperator, as_operator
from linalgkit.streaming._block_power import BlockPower
from linalgkit.streaming._blocks import RowBlock
from linalgkit.streaming._heap import HeavyRows
from linalgkit.streaming._portfolio import Portfolio
from tests.streaming.engine_streams import exact, feed, make, on, pairs, rotated, sin2, spiked


def flat(n, d, ratio, seed, k=1):
    """Normal rows with k leading eigenvalues over a flat tail, in general directions."""
    return rotated(spiked(n, np.r_[np.full(k, ratio), np.ones(d - k)], seed), seed)


def stream(X, k=1, *, capacity=32, cls=Portfolio, **options):
    """Stream rows through heap and engine; return the view that answers, and the heap."""
    d = X.shape[1]
    engine = make(cls, d, k, like=X, **options)
    heap = HeavyRows(capacity, d, xp=engine.xp, device="cpu", dtype=X.dtype)
    n, b = X.shape[0], engine.block_rows
    target = engine
    for start in range(0, n, b):
        if start + b > n:
            target = engine.finish()
        block = RowBlock(X[start : start + b], target.basis)
        light = heap.exchange(block, np.asarray(block.row_norms_squared()))
        target.heavy_rows = heap.rows
        if light.shape[0]:
            target.update(light)
    return target, heap


def lost(X, V):
    """sin^2 of the largest angle to the top subspace of the rows themselves."""
    return sin2(V, exact(X)[1][:, : V.shape[1]])


def incremental_pca(X, k, b):
    """Top-k subspace by folding blocks into a truncated SVD, as incremental PCA does."""
    summary = np.zeros((0, X.shape[1]))
    for start in range(0, len(X), b):
        _, s, Vh = np.linalg.svd(np.r_[summary, X[start : start + b]], full_matrices=False)
        summary = s[:k, None] * Vh[:k]
    return np.linalg.qr(summary.T)[0]


@pytest.mark.parametrize("ratio", [1.8, 3.0, 16.0])
def test_error_is_below_that_of_incremental_pca_and_of_plain_segments(ratio):
    ours, folded, plain = [], [], []
    for seed in range(4):
        X = flat(12000, 100, ratio, seed)
        view, _ = stream(X)
        ours.append(lost(X, view.joint(1)[1]))
        folded.append(lost(X, incremental_pca(X, 1, 256)))
        where = view._slices[2]
        plain.append(lost(X, to_numpy(view._Z[:, where])[:, :1]))
    assert np.median(ours) < 0.5 * np.median(folded)
    assert np.median(ours) < 0.5 * np.median(plain)


@pytest.mark.parametrize(("ratio", "bound"), [(2.0, 8e-3), (4.0, 4e-4), (16.0, 3e-6), (64.0, 5e-8)])
def test_loss_against_the_batch_falls_faster_than_the_sampling_error(ratio, bound):
    # sampling alone moves v by (d / n) R / (R - 1)^2; the stream adds only its square or so
    n, d = 10000, 100
    losses = [lost(X, stream(X)[0].joint(1)[1]) for X in (flat(n, d, ratio, s) for s in range(3))]
    sampling = d / n * ratio / (ratio - 1) ** 2
    assert np.median(losses) < bound
    assert np.median(losses) < 0.3 * sampling


def test_subspace_of_five_with_small_gaps_is_found():
    X = rotated(spiked(4000, 0.85 ** np.arange(60.0), 7), 7)
    view, _ = stream(X, 5)
    assert lost(X, view.joint(5)[1]) < 2e-3


@pytest.mark.parametrize("case", ["giant", "twelve"])
def test_heavy_rows_are_counted_in_at_every_order(case):
    n, d = 12000, 100
    X = flat(n, d, 4.0, 3)
    top = exact(X)[0][0]
    u = np.linalg.qr(np.random.default_rng(8).standard_normal((d, 1)))[0][:, 0]
    count, share = (1, 2.0) if case == "giant" else (12, 0.15)
    X[:count] = np.sqrt(share * top) * u
    for seed in range(6):
        Y = X[np.random.default_rng(seed).permutation(n)]
        view, heap = stream(Y)
        assert lost(X, view.joint(1)[1]) < 1e-3
        assert sum(norm > 0.1 * top for norm in heap.norms) == count
    # plain segments without a heap lose the direction: the bound can be missed
    early = np.concatenate([X[count:1000], X[:count], X[1000:]])
    without, _ = stream(early, capacity=0, cls=BlockPower, history=False)
    assert lost(X, without.joint(1)[1]) > 0.1


def test_heap_costs_no_accuracy_where_no_row_is_heavy():
    errors = {0: [], 32: []}
    for capacity, found in errors.items():
        for seed in range(5):
            X = rotated(spiked(2000, 0.9 ** np.arange(60.0), seed), seed)
            found.append(lost(X, stream(X, 2, capacity=capacity)[0].joint(2)[1]))
    assert np.median(errors[32]) < 3 * np.median(errors[0]) + 1e-12


def test_eigenvalues_are_those_of_the_rows():
    X = flat(9000, 80, 6.0, 2, k=3)
    lam, _ = stream(X, 3)[0].joint(3)
    np.testing.assert_allclose(lam, exact(X)[0][:3], rtol=3e-3)


def test_a_rule_that_forgets_wins_when_the_direction_moves():
    d = 40
    old = spiked(6000, np.r_[20.0, np.ones(d - 1)], 1)
    new = np.roll(spiked(24000, np.r_[5.0, np.ones(d - 1)], 2), 1, axis=1)
    view, _ = stream(np.concatenate([old, new]))
    certificate = view.certificate()
    assert certificate["candidate"] in ("segments", "rate")
    assert abs(view.top(1)[1][1, 0]) > 0.9
    assert abs(certificate["order_zscore"]) > 6


def test_scores_use_rows_before_they_are_learnt():
    X = np.random.default_rng(0).standard_normal((6000, 60))
    view, _ = stream(X)
    # in pure noise nothing can look better than the mean energy on unseen rows
    ritz = view.scores.ritz(view.n_columns)
    assert max(ritz) < 1.2


def test_complex_rows_give_eigenvectors_and_not_their_conjugates():
    X = rotated(spiked(6000, np.r_[9.0, 4.0, np.ones(18)], 1, imaginary=True), 1)
    V = stream(X, 2)[0].joint(2)[1]
    assert lost(X, V) < 1e-3
    assert lost(X, V.conj()) > 0.1


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_rows_reach_the_same_accuracy(dtype):
    X = rotated(spiked(6000, np.r_[9.0, np.ones(39)], 1, imaginary=dtype == "complex64"), 1)
    double = lost(X, stream(X)[0].joint(1)[1])
    V = stream(X.astype(dtype))[0].joint(1)[1]
    assert lost(X, V) < double * 1.05 + 1e-6


def test_every_library_gives_the_answer_of_numpy(xp):
    dtype = "float64" if xp.has_float64 else "float32"
    X = flat(3000, 24, 5.0, 4).astype(dtype)
    reference = pairs(feed(make(Portfolio, 24, 2, like=X), X), 2)
    lam, V = pairs(feed(make(Portfolio, 24, 2, like=on(xp, X)), on(xp, X)), 2)
    rtol = 1e-9 if xp.has_float64 else 2e-4
    np.testing.assert_allclose(lam, reference[0], rtol=rtol)
    assert sin2(V, reference[1]) < rtol


def test_sparse_blocks_give_the_answer_of_dense_ones():
    rng = np.random.default_rng(3)
    X = flat(2500, 30, 8.0, 3) * (rng.random((2500, 30)) < 0.3)
    dense, sparse = make(Portfolio, 30), make(Portfolio, 30)
    for start in range(0, 2500, 500):
        dense.update(DenseOperator(X[start : start + 500]))
        sparse.update(as_operator(scipy.sparse.csr_array(X[start : start + 500])))
    assert sin2(sparse.top(1)[1], dense.top(1)[1]) < 1e-20


def test_answering_does_not_disturb_the_stream():
    X = flat(5000, 30, 3.0, 6)
    asked, plain = make(Portfolio, 30), make(Portfolio, 30)
    for start in range(0, 5000, 500):
        block = DenseOperator(X[start : start + 500])
        asked.update(block)
        plain.update(block)
        view = asked.finish()
        view.heavy_rows = X[:3]
        view.joint(1)
        view.certificate()
    np.testing.assert_array_equal(pairs(asked, 1)[1], pairs(plain, 1)[1])


def test_state_resumes_bitwise(xp):
    X = on(xp, flat(5000, 20, 3.0, 6), "float64" if xp.has_float64 else "float32")
    engine = feed(make(Portfolio, 20, 2, like=X), X[:2700, :], 300)
    twin = Portfolio.from_state(engine.to_state(), xp=xp.xp, device=xp.device)
    for target in (engine, twin):
        feed(target, X[2700:, :], 300)
    for a, b in zip(pairs(engine, 2), pairs(twin, 2), strict=True):
        np.testing.assert_array_equal(a, b)
    assert engine.certificate() == twin.certificate()


def test_state_before_any_row_resumes_with_the_same_draws():
    X = np.zeros((600, 9))
    X[:, 0] = np.arange(600.0)
    engine = make(Portfolio, 9, 3, rng=5)
    twin = Portfolio.from_state(engine.to_state())
    np.testing.assert_array_equal(pairs(feed(engine, X), 3)[1], pairs(feed(twin, X), 3)[1])


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (3, 7), (40, 3), (700, 2), (300, 300)])
def test_small_streams_are_answered_exactly(shape):
    X = np.random.default_rng(1).standard_normal(shape)
    view, _ = stream(X, 1)
    if view is not None:
        lam, V = view.joint(1)
        w, U = exact(X)
        np.testing.assert_allclose(lam[0], w[0], rtol=1e-9)
        assert sin2(V, U[:, :1]) < 1e-9


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_rank_deficient_streams_are_answered_without_nan(rank, dtype):
    rng = np.random.default_rng(rank)
    X = (rng.standard_normal((3000, rank)) @ rng.standard_normal((rank, 12))).astype(dtype)
    view, _ = stream(X, 3)
    lam, V = view.joint(3)
    w = exact(X.astype(V.dtype))[0]
    assert np.isfinite(V).all()
    np.testing.assert_allclose(lam[:rank], w[:rank], rtol=1e-4)
    assert (lam[rank:] <= 1e-4 * max(w[0], 1e-300)).all()
    np.testing.assert_allclose(V.conj().T @ V, np.eye(V.shape[1]), atol=1e-4)


def test_scaling_by_powers_of_two_is_exact():
    X = flat(4000, 20, 3.0, 2)
    a, b = make(Portfolio, 20), make(Portfolio, 20)
    feed(a, X[:2000])
    feed(b, X[:2000] * 2.0**30)
    b.rescale(-30)
    for engine in (a, b):
        feed(engine, X[2000:])
    np.testing.assert_allclose(pairs(a, 1)[0], pairs(b, 1)[0], rtol=1e-12)
    assert sin2(pairs(a, 1)[1], pairs(b, 1)[1]) < 1e-20
    assert a.certificate()["gap"] == pytest.approx(b.certificate()["gap"], rel=1e-9)


def test_forgetting_follows_the_recent_rows():
    d = 30
    old = spiked(8000, np.r_[30.0, np.ones(d - 1)], 1)
    new = np.roll(spiked(8000, np.r_[10.0, np.ones(d - 1)], 2), 1, axis=1)
    engine = make(Portfolio, d)
    for start in range(0, 16000, 250):
        engine.decay(0.999**250)
        engine.update(DenseOperator(np.concatenate([old, new])[start : start + 250]))
    lam, V = pairs(engine, 1)
    assert V[1, 0] ** 2 > 0.98
    weights = 0.999 ** (250 * np.arange(31, -1, -1.0))
    expected = sum(w * np.sum(new[250 * i : 250 * i + 250, 1] ** 2) for i, w in enumerate(weights))
    assert lam[0] == pytest.approx(expected, rel=0.05)


def test_merged_streams_come_close_to_one_stream():
    X = flat(16000, 60, 4.0, 9)
    parts = [feed(make(Portfolio, 60), part) for part in np.split(X, 4)]
    alone = lost(X, pairs(parts[1], 1)[1])
    first = parts[0]
    for other in parts[1:]:
        first.merge(other)
    lam, V = pairs(first, 1)
    assert first.n_light == 16000
    assert lam[0] == pytest.approx(exact(X)[0][0], rel=1e-2)
    # each quarter is off by its own sampling error; together most of that averages out
    assert lost(X, V) < 0.2 * alone
    certificate = first.certificate()
    assert 3.5 < certificate["gap"] < 4.5
    assert abs(certificate["order_zscore"]) < 6
    feed(first, X[:2000])
    assert lost(X, pairs(first, 1)[1]) < 0.2 * alone


def test_merge_with_an_empty_engine_changes_nothing():
    X = flat(3000, 10, 4.0, 9)
    full, empty = feed(make(Portfolio, 10), X), make(Portfolio, 10)
    before = pairs(full, 1)
    full.merge(empty)
    empty.merge(full)
    for engine in (full, empty):
        np.testing.assert_array_equal(pairs(engine, 1)[1], before[1])


def test_merge_refuses_unlike_engines():
    X = flat(500, 10, 4.0, 9)
    a, b = feed(make(Portfolio, 10), X), feed(make(Portfolio, 10, 2), X)
    with pytest.raises(ValueError, match="n_components"):
        a.merge(b)


def test_words_held_are_those_of_the_formula():
    d, k = 500, 1
    engine = feed(make(Portfolio, d, k), np.random.default_rng(0).standard_normal((4096, d)))
    state = engine.to_state()
    words = state["basis"].size + state["Y"].size + sum(p.size for p in state["probe"]["parts"])
    words += state["probe"]["vectors"].size
    assert words == d * (2 * engine.n_columns + 9 * k)
