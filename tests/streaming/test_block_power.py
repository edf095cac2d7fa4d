"""The block power method over stream segments, with and without history."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linalgkit.streaming import theory
from linalgkit.streaming._block_power import BlockPower
from linalgkit.streaming._candidates import Segment, deflated_model, merged_summary
from linalgkit.streaming._segments import block_rows
from tests.streaming.engine_streams import HOST, exact, feed, make, on, pairs, rotated, sin2, spiked


def flat(n, d, ratio, seed, k=1):
    return rotated(spiked(n, np.r_[np.full(k, ratio), np.ones(d - k)], seed), seed)


def lost(X, V):
    return sin2(V, exact(X)[1][:, : V.shape[1]])


def rayleigh_ritz_error(S, V):
    return np.linalg.norm(S @ V - V * np.diag(V.conj().T @ S @ V))


@pytest.mark.parametrize("imaginary", [False, True])
def test_exact_products_of_an_invariant_subspace_are_returned_as_they_are(imaginary):
    X = rotated(spiked(400, 2.0 ** -np.arange(12.0), 0, imaginary=imaginary), 0)
    w, U = exact(X)
    mix = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    Z = U[:, :4] @ mix
    S = X.conj().T @ X
    model = deflated_model(Z, S @ Z, Segment(400.0, 0.0, w.sum()), HOST, roundoff=2.0**-52)
    lam, V = model.pairs(model.leading(4, HOST), HOST)
    np.testing.assert_allclose(lam, w[:4], rtol=1e-10)
    assert sin2(V, U[:, :4]) < 1e-20
    assert math.isclose(model.tail, w[4:].mean(), rel_tol=1e-9)


def test_flat_tail_makes_one_step_exact_to_first_order():
    # S = l1 v v^H + I exactly, z = v + e: the deflated step removes e to second order,
    # the plain Nystrom step keeps e / R
    d, l1 = 50, 4.0
    v = np.eye(d)[:, :1]
    e = 0.01 * np.eye(d)[:, 1:2]
    Z = (v + e) / np.linalg.norm(v + e)
    S = np.eye(d) + (l1 - 1) * v @ v.T
    segment = Segment(1e9, 0.0, np.trace(S))
    error = {}
    for deflate in (True, False):
        model = deflated_model(Z, S @ Z, segment, HOST, roundoff=2.0**-52, deflate=deflate)
        error[deflate] = sin2(model.pairs(model.leading(1, HOST), HOST)[1], v)
    assert error[True] < 1e-7
    assert math.isclose(error[False], (0.01 / l1) ** 2, rel_tol=0.1)


def test_coupling_left_behind_restores_the_light_product():
    rng = np.random.default_rng(4)
    X = rng.standard_normal((300, 12))
    heavy = 30 * rng.standard_normal((2, 12))
    Z = np.linalg.qr(rng.standard_normal((12, 3)))[0]
    S = X.T @ X
    model = deflated_model(
        Z, S @ Z, Segment(300.0, 0.0, np.trace(S)), HOST, roundoff=2.0**-52, extra=[heavy.T]
    )
    U = model.leading(3, HOST, heavy)
    lam, V = model.pairs(U, HOST)
    picture = model.basis @ model.M @ model.basis.T + model.tail * np.eye(12)
    rest = model.basis @ (model.M @ U - U * (lam - model.tail))
    np.testing.assert_allclose(V * lam + rest, picture @ V, atol=1e-9)


def test_sum_of_summaries_adds_the_tails():
    d = 20
    eye = np.eye(d)
    a = (np.array([9.0, 5.0]), eye[:, :2], 14.0 + 18.0)
    b = (np.array([7.0]), eye[:, 2:3], 7.0 + 2 * 19.0)
    lam, V = merged_summary([a, b], 3, HOST)
    np.testing.assert_allclose(lam, [9 + 2, 7 + 1, 5 + 2])
    np.testing.assert_allclose(np.abs(V), np.abs(eye[:, [0, 2, 1]]), atol=1e-12)


@pytest.mark.parametrize("n_oversamples", [0, 1, 4])
def test_history_beats_plain_segments_by_far(n_oversamples):
    X = flat(10000, 80, 4.0, 1)
    errors = {
        history: lost(
            X,
            pairs(feed(make(BlockPower, 80, n_oversamples=n_oversamples, history=history), X), 1)[
                1
            ],
        )
        for history in (True, False)
    }
    assert errors[True] < 2e-4
    assert errors[False] < 0.03
    assert errors[True] < errors[False] / 20


@pytest.mark.parametrize("known", [True, False])
def test_papers_method_reaches_the_accuracy_of_its_last_segment(known):
    n, d, ratio = 40000, 40, 4.0
    X = flat(n, d, ratio, 2)
    engine = make(BlockPower, d, history=False, n_rows=n if known else None)
    V = pairs(feed(engine, X), 1)[1]
    rows = n / theory.n_segments(d) if known else n / 3
    # Davis-Kahan with the sampling noise of the rows that decide, three times for safety
    assert lost(X, V) < 3 * d / rows * ratio / (ratio - 1) ** 2


def test_recursion_of_the_angle_holds_for_a_segment():
    n, d, ratio = 40000, 10, 8.0
    X = flat(n, d, ratio, 3)
    w, U = exact(X)
    rng = np.random.default_rng(0)
    z = U[:, 0] + 0.5 * U[:, 1:] @ (lambda g: g / np.linalg.norm(g))(rng.standard_normal(d - 1))
    z /= np.linalg.norm(z)
    part = X[: n // 4]
    epsilon = np.linalg.norm(4 * part.T @ part - X.T @ X, 2) / w[0]
    y = part.T @ (part @ z)

    def tangent(x):
        return np.linalg.norm(U[:, 1:].T @ x) / abs(U[:, 0] @ x)

    assert tangent(y) <= theory.angle_step(tangent(z), w[0] / w[1], epsilon)
    assert theory.angle_step(tangent(z), w[0] / w[1], epsilon) < 1.2 * tangent(z)


def test_threshold_of_theory_makes_segments_concentrate():
    n, d, segments = 30000, 8, 3
    X = flat(n, d, 4.0, 5)
    w, _ = exact(X)
    largest = np.max(np.sum(X**2, axis=1))
    accuracy = 0.5
    assert largest < theory.heavy_threshold(w[0], d, segments, accuracy)
    for part in np.split(X, segments):
        assert np.linalg.norm(segments * part.T @ part - X.T @ X, 2) <= accuracy * w[0]


def test_number_of_segments_grows_with_size_and_falls_with_the_gap():
    assert theory.n_segments(10**6) > theory.n_segments(100)
    assert theory.n_segments(1000, ratio=16.0) < theory.n_segments(1000, ratio=2.0)
    assert theory.angle_step(1e3, 2.0, 0.01) == math.inf


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("imaginary", [False, True])
def test_every_library_agrees_with_numpy(xp, history, imaginary):
    X = rotated(spiked(2500, np.r_[6.0, 3.0, np.ones(10)], 1, imaginary=imaginary), 1)
    names = ("complex64", "complex128") if imaginary else ("float32", "float64")
    X = X.astype(names[xp.has_float64])
    options = {"history": history}
    reference = pairs(feed(make(BlockPower, 12, 2, like=X, **options), X), 2)
    A = on(xp, X)
    lam, V = pairs(feed(make(BlockPower, 12, 2, like=A, **options), A), 2)
    rtol = 1e-9 if xp.has_float64 else 1e-4
    np.testing.assert_allclose(lam, reference[0], rtol=rtol)
    assert sin2(V, reference[1]) < rtol
    if imaginary and history:
        assert sin2(V, exact(X)[1][:, :2]) < 1e-2
        assert sin2(V.conj(), exact(X)[1][:, :2]) > 0.1


@pytest.mark.parametrize("history", [True, False])
def test_state_resumes_bitwise(history):
    X = flat(4000, 20, 3.0, 6)
    engine = feed(make(BlockPower, 20, history=history, n_rows=4000), X[:2200], 200)
    twin = BlockPower.from_state(engine.to_state())
    for target in (engine, twin):
        feed(target, X[2200:], 200)
    for a, b in zip(pairs(engine, 1), pairs(twin, 1), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(4, 1), (1, 6), (2, 3)])
@pytest.mark.parametrize("history", [True, False])
def test_streams_smaller_than_the_subspace_are_exact(shape, history):
    X = np.random.default_rng(0).standard_normal(shape)
    view = make(BlockPower, shape[1], history=history).finish()
    lam, V = feed(view, X).top(1)
    w, U = exact(X)
    np.testing.assert_allclose(lam, w[:1], rtol=1e-12)
    assert sin2(V, U[:, :1]) < 1e-20


def test_zero_rows_give_zero_eigenvalues_and_no_nan():
    X = np.zeros((900, 6))
    engine = feed(make(BlockPower, 6, 2), X)
    lam, V = pairs(engine, 2)
    assert (lam == 0).all()
    assert np.isfinite(V).all()
    assert engine.finish().certificate()["order_zscore"] == 0.0


def test_engine_without_rows_answers_with_nothing():
    engine = make(BlockPower, 6)
    lam, V = engine.top(1)
    assert lam.shape == (0,)
    assert V.shape == (6, 0)
    assert math.isnan(engine.certificate()["gap"])


def test_block_length_is_a_power_of_two_that_depends_on_the_sizes_only():
    assert [block_rows(d, 8) for d in (1, 192, 1000, 3000, 10**5)] == [1024, 1024, 1024, 256, 128]
    assert block_rows(1000, 4) == 1024
    assert make(BlockPower, 3000).block_rows == 256


def test_eigenvalues_do_not_jump_where_a_segment_ends():
    X = flat(6000, 30, 4.0, 8)
    engine = make(BlockPower, 30)
    for start in range(0, 6000, 100):
        feed(engine, X[start : start + 100])
        seen = X[: start + 100]
        assert pairs(engine, 1)[0][0] == pytest.approx(exact(seen)[0][0], rel=0.02)
    assert rayleigh_ritz_error(X.T @ X, pairs(engine, 1)[1]) < 0.05 * exact(X)[0][0]
