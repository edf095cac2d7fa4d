"""The Oja ladder: equal to the row loop, and right in any order where the gap is large."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linalgkit._core.operators import DenseOperator
from linalgkit.streaming._ladder import add_scaled, ladder_step, normalise
from linalgkit.streaming._oja import (
    BLOCK_ROWS,
    DEFAULT_GROWTH,
    FIRST_ORDER,
    PAPER_GROWTH,
    OjaLadder,
)
from tests.streaming.engine_streams import (
    HOST,
    exact,
    feed,
    make,
    on,
    pairs,
    rotated,
    sin2,
    spiked,
)


def row_loop(X: np.ndarray, v: np.ndarray, rate: float) -> tuple[np.ndarray, float]:
    """Apply the rule one row after the other; return the unit vector and its log growth."""
    growth = 0.0
    for x in X:
        v = v + rate * x.conj() * (x @ v)
        length = float(np.linalg.norm(v))
        growth += math.log(length)
        v = v / length
    return v, growth


def flat(d: int, gap: float) -> np.ndarray:
    spectrum = np.ones(d)
    spectrum[0] = gap
    return spectrum


@pytest.mark.parametrize("imaginary", [False, True])
def test_a_block_equals_the_row_loop_at_every_rate(imaginary):
    X = rotated(spiked(BLOCK_ROWS, flat(30, 5.0), 1, imaginary=imaginary), 1)
    rng = np.random.default_rng(1)
    v = rng.standard_normal(30) + (1j * rng.standard_normal(30) if imaginary else 0)
    rates = 2.0 ** np.arange(-20, 5)  # growth within the block from 1e-5 to 1e100
    V = np.repeat(v[:, None], 25, axis=1)
    block = DenseOperator(X)
    new, Y = ladder_step(block, X @ X.conj().T, V, rates, v[:, None], xp=HOST)
    np.testing.assert_allclose(Y[:, 0], X.conj().T @ (X @ v), rtol=1e-12)
    for j, rate in enumerate(rates):
        looped, _ = row_loop(X, v, rate)
        unit = new[:, j] / np.linalg.norm(new[:, j])
        assert np.linalg.norm(unit - looped) < 1e-8
    conjugated, _ = row_loop(X.conj(), v, 1.0)
    if imaginary:  # the control
        assert np.linalg.norm(new[:, 20] / np.linalg.norm(new[:, 20]) - conjugated) > 0.1


@pytest.mark.parametrize("imaginary", [False, True])
def test_the_stream_equals_the_row_loop_to_1e8(imaginary):
    # A high threshold keeps every rate of the first block alive to the end.
    X = rotated(spiked(1000, flat(20, 8.0), 2, imaginary=imaginary), 2)
    engine = make(OjaLadder, 20, like=X, growth_threshold=60.0)
    start = engine.to_state()["V0"][:, 0]
    engine.update(DenseOperator(X[:BLOCK_ROWS]))
    first = engine.rates[0]
    feed(engine, X[BLOCK_ROWS:])
    engine.certificate()
    compared = [i for i, rate in enumerate(engine.rates) if rate >= first]
    for i in compared:
        looped, growth = row_loop(X, start, engine.rates[i])
        assert np.linalg.norm(engine.vectors(i)[:, 0] - looped) < 1e-8
        assert engine._growth[i][0] == pytest.approx(growth, rel=1e-8)
    assert len(compared) > 5


def test_rates_that_are_split_off_late_are_right_to_second_order():
    X = rotated(spiked(3000, flat(20, 8.0), 3), 3)
    engine = make(OjaLadder, 20, growth_threshold=60.0)
    start = engine.to_state()["V0"][:, 0]
    engine.update(DenseOperator(X[:BLOCK_ROWS]))
    earliest = engine.rates[0]
    feed(engine, X[BLOCK_ROWS:])
    late = [i for i, rate in enumerate(engine.rates) if rate < earliest]
    assert len(late) >= 4
    for i in late:
        looped, _ = row_loop(X, start, engine.rates[i])
        assert np.linalg.norm(engine.vectors(i)[:, 0] - looped) < FIRST_ORDER**2


@pytest.mark.parametrize("gap", [50.0, 400.0])
@pytest.mark.parametrize("order", ["random", "ascending", "descending"])
def test_large_gaps_are_found_in_any_order(gap, order):
    X = rotated(spiked(4000, flat(100, gap), 4), 4)
    truth = exact(X)[1][:, :1]
    key = np.abs(X @ truth[:, 0])
    rows = {"random": X, "ascending": X[np.argsort(key)], "descending": X[np.argsort(-key)]}[order]
    engine = feed(make(OjaLadder, 100), rows)
    assert engine.status == "converged"
    assert sin2(pairs(engine, 1)[1], truth) < 2.0 / gap


@pytest.mark.parametrize("gap", [16.0, 64.0, 256.0])
def test_error_estimate_and_eigenvalue_are_near_the_truth_in_random_order(gap):
    ratios, values = [], []
    for seed in range(8):
        X = rotated(spiked(8000, flat(100, gap), seed), seed)
        engine = feed(make(OjaLadder, 100, rng=seed), X)
        w, U = exact(X)
        lam, V = pairs(engine, 1)
        ratios.append(engine.certificate()["error_estimate"] / sin2(V, U[:, :1]))
        values.append(lam[0] / w[0])
    assert 0.5 < np.median(ratios) < 5
    assert np.median(np.abs(np.asarray(values) - 1)) < 0.1


@pytest.mark.parametrize("gap", [1.0, 1.3])
def test_a_gap_that_is_too_small_is_reported(gap):
    engine = feed(make(OjaLadder, 50), rotated(spiked(3000, flat(50, gap), 5), 5))
    assert engine.certificate()["extra"]["log_growth"] > engine.growth_threshold
    assert engine.status == "no_growth"
    assert engine.certificate()["error_estimate"] == 1.0


def test_without_growth_the_rate_that_has_grown_most_answers():
    engine = make(OjaLadder, 50, growth_threshold=1e5)
    feed(engine, spiked(200, flat(50, 2.0), 5))
    assert engine.status == "no_growth"
    growth = [min(g) for g in engine._growth]
    assert engine.certificate()["extra"]["log_growth"] == max(growth) < 1e5


def test_the_threshold_of_the_theorem_is_at_hand():
    d = 64
    assert make(OjaLadder, d).growth_threshold == pytest.approx(DEFAULT_GROWTH * math.log(d))
    X = rotated(spiked(4000, flat(d, 300.0), 6), 6)
    strict = feed(make(OjaLadder, d, growth_threshold=PAPER_GROWTH * math.log(d)), X)
    loose = feed(make(OjaLadder, d), X)
    assert strict.status == loose.status == "converged"
    assert strict.certificate()["extra"]["rate"] > loose.certificate()["extra"]["rate"]
    truth = exact(X)[1][:, :1]
    assert sin2(pairs(loose, 1)[1], truth) < sin2(pairs(strict, 1)[1], truth)


def test_the_smallest_grown_rate_answers_and_larger_ones_are_dropped():
    X = rotated(spiked(2000, flat(40, 100.0), 7), 7)
    engine = feed(make(OjaLadder, 40), X)
    engine.certificate()
    growth = [min(g) for g in engine._growth]
    assert growth[-1] >= engine.growth_threshold
    assert all(g < engine.growth_threshold for g in growth[:-1])
    assert np.all(np.diff(engine.rates) > 0)


@pytest.mark.parametrize("imaginary", [False, True])
def test_groups_of_columns_find_subspaces(imaginary):
    spectrum = np.r_[400.0, 300.0, 200.0, np.ones(57)]
    X = rotated(spiked(4000, spectrum, 8, imaginary=imaginary), 8)
    for rows in (X, X[np.argsort(np.abs(X[:, 0]))]):
        engine = feed(make(OjaLadder, 60, 3, like=X), rows)
        lam, V = pairs(engine, 3)
        assert engine.status == "converged"
        np.testing.assert_allclose(V.conj().T @ V, np.eye(3), atol=1e-12)
        assert sin2(V, exact(X)[1][:, :3]) < 2e-2
        np.testing.assert_allclose(lam, exact(X)[0][:3], rtol=0.4)


def test_groups_are_orthonormalised_with_their_lengths(xp):
    rng = np.random.default_rng(9)
    A = rng.standard_normal((10, 6))
    for k in (1, 3):
        V, growth = normalise(on(xp, A, str(xp.float).rpartition(".")[2]), k, xp=xp.xp)
        V, growth = xp.to_numpy(V), xp.to_numpy(growth)
        assert growth.shape == (6 // k, k)
        for j in range(6 // k):
            group = A[:, j * k : (j + 1) * k]
            Q, R = np.linalg.qr(group)
            np.testing.assert_allclose(growth[j], np.log(np.abs(np.diag(R))), atol=1e-5)
            assert sin2(V[:, j * k : (j + 1) * k].astype(float), Q) < 1e-10


def test_numbers_with_their_own_exponent_add_up():
    assert math.ldexp(*add_scaled(math.frexp(3.0), math.frexp(0.125))) == 3.125
    assert add_scaled((0.0, 0), (0.5, -5000)) == (0.5, -5000)
    assert add_scaled((0.75, 4000), (0.5, -4000)) == (0.75, 4000)
    assert add_scaled((0.75, 4000), (0.75, 4000)) == (0.75, 4001)


def test_a_giant_row_neither_overflows_nor_spoils_the_others():
    X = rotated(spiked(2000, flat(30, 100.0), 10), 10)
    X[700] *= 1e30
    engine = feed(make(OjaLadder, 30), X)
    _, V = pairs(engine, 1)
    assert np.all(np.isfinite(V))
    assert sin2(V, X[700:701].T / np.linalg.norm(X[700])) < 1e-2


def test_one_row_and_nothing_else_is_the_answer():
    rng = np.random.default_rng(11)
    row = rng.standard_normal(12)
    X = np.zeros((300, 12))
    X[150] = row
    engine = feed(make(OjaLadder, 12), X)
    assert engine.status == "converged"
    assert sin2(pairs(engine, 1)[1], row[:, None] / np.linalg.norm(row)) < 1e-3


def test_the_window_stays_small():
    X = spiked(20000, flat(50, 4.0), 12)
    engine = make(OjaLadder, 50)
    widest = 0
    for start in range(BLOCK_ROWS, 20000, BLOCK_ROWS):
        engine.update(DenseOperator(X[start : start + BLOCK_ROWS]))
        if start > BLOCK_ROWS:
            widest = max(widest, len(engine.rates))
    assert widest <= math.log2(100 * 50 * math.log(50)) + 6


def test_block_cuts_of_full_blocks_change_nothing_but_rounding():
    X = rotated(spiked(1024, flat(20, 60.0), 13), 13)
    engines = [feed(make(OjaLadder, 20), X, b) for b in (64, 64)]
    (_, V), (_, W) = (pairs(engine, 1) for engine in engines)
    np.testing.assert_array_equal(V, W)


def test_bad_thresholds_are_refused():
    with pytest.raises(ValueError, match="growth_threshold must be greater than 0"):
        make(OjaLadder, 5, growth_threshold=0.0)


def test_storage_is_the_documented_number_of_words():
    d, k = 400, 2
    engine = feed(make(OjaLadder, d, k), spiked(1000, flat(d, 30.0), 14))
    engine.certificate()
    state = engine.to_state()
    words = state["V"].size + state["V0"].size + state["Y"].size
    assert words == k * d * (len(engine.rates) + 2)
