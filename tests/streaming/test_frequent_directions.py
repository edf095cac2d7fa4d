"""Frequent Directions: the deterministic bounds, by brute force."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linalgkit._core.operators import DenseOperator
from linalgkit.streaming._frequent_directions import FrequentDirections, shrinking_rotation
from tests.streaming.engine_streams import (
    HOST,
    decaying,
    exact,
    feed,
    make,
    pairs,
    rotated,
    sin2,
    spiked,
)


def orders(X: np.ndarray) -> list[np.ndarray]:
    """Return the rows in a random, an ascending and a blockwise adversarial order."""
    leading = np.abs(X @ exact(X)[1][:, 0])
    return [X, X[np.argsort(leading)], X[np.argsort(-leading)]]


def check_enclosure(engine, X: np.ndarray, k: int) -> None:
    """Compare every promise of the certificate with the truth."""
    S = X.conj().T @ X
    B = engine.sketch
    values = np.linalg.eigvalsh(S - B.conj().T @ B)
    w, U = exact(X)
    slack = 1e-12 * w[0]
    extra = engine.certificate()["extra"]
    assert values[0] >= -slack
    assert values[-1] <= extra["excess"] + slack
    assert extra["excess"] <= extra["shrunk"] + extra["rounding"]
    size = engine.sketch_size
    for j in range(size):
        assert extra["shrunk"] <= w[j:].sum() / (size - j) + slack
    assert extra["excess"] <= extra["tail_bound"] + extra["rounding"] + slack
    lam, V = pairs(engine, k)
    assert np.all(lam <= w[:k] + slack)
    assert np.all(w[:k] <= lam + extra["excess"] + slack)
    assert sin2(V, U[:, :k]) <= extra["sin2_bound"] + 1e-12
    residual = np.linalg.norm(S @ V - V * lam, axis=0).max()
    assert residual <= (engine.certificate()["residual"] + 1e-12) * w[0]


@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("block_rows", [1, 7, 32])
def test_bounds_hold_in_any_order_and_any_blocks(imaginary, power, block_rows):
    spectrum = np.arange(1, 31) ** -power
    spectrum[0] *= 5
    X = rotated(spiked(400, spectrum, 1, imaginary=imaginary), 1)
    for rows in orders(X):
        engine = feed(make(FrequentDirections, 30, 2, like=X, sketch_size=8), rows, block_rows)
        check_enclosure(engine, X, 2)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 12),
    rank=st.integers(0, 12),
    size=st.integers(2, 8),
    block=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
def test_bounds_hold_for_any_shape_and_rank(n, d, rank, size, block, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, min(rank, d))) @ rng.standard_normal((min(rank, d), d))
    X = X * 10.0 ** rng.integers(-3, 4, size=(n, 1))
    check_enclosure(feed(make(FrequentDirections, d, 1, sketch_size=size), X, block), X, 1)


def test_a_sketch_without_shrinking_would_break_the_bound():
    X = rotated(spiked(300, np.r_[50.0, np.ones(19)], 2), 2)
    B = X[:8]  # the control: eight rows kept as they are
    values = np.linalg.eigvalsh(X.T @ X - B.T @ B)
    engine = feed(make(FrequentDirections, 20, 1, sketch_size=8), X)
    bound = exact(X)[0][1:].sum() / 7
    assert values[-1] > bound
    assert engine.excess() <= bound


def test_angle_is_bounded_where_the_tail_is_light():
    spectrum = np.full(50, 0.01)
    spectrum[:2] = 1.0, 0.6
    X = rotated(spiked(1000, spectrum, 3), 3)
    for rows in orders(X):
        engine = feed(make(FrequentDirections, 50, 2), rows)
        certificate = engine.certificate()
        assert sin2(pairs(engine, 2)[1], exact(X)[1][:, :2]) <= certificate["extra"]["sin2_bound"]
        assert certificate["extra"]["sin2_bound"] < 1e-2
        assert certificate["gap"] == pytest.approx(exact(X)[0][1] / exact(X)[0][2], rel=0.3)


def test_flat_spectrum_says_that_nothing_is_known():
    X = spiked(3000, np.r_[2.0, np.ones(199)], 4)
    engine = feed(make(FrequentDirections, 200, 1), X)
    certificate = engine.certificate()
    assert certificate["extra"]["sin2_bound"] == 1.0
    assert certificate["error_estimate"] == 1.0
    assert sin2(pairs(engine, 1)[1], exact(X)[1][:, :1]) > 0.5  # and rightly so


def test_low_rank_rows_are_kept_exactly_and_nothing_is_shrunk():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 40))
    engine = feed(make(FrequentDirections, 40, 2, sketch_size=8), X)
    extra = engine.certificate()["extra"]
    assert extra["shrunk"] == 0.0
    S = X.T @ X
    assert np.linalg.norm(S - engine.sketch.T @ engine.sketch, 2) <= extra["rounding"]
    assert extra["rounding"] < 1e-10 * np.linalg.norm(S, 2)


def test_singular_values_below_the_root_of_roundoff_break_no_bound():
    # The rotation comes from a Gram matrix: singular values under 1e-8 of the first are noise.
    spectrum = 10.0 ** -np.arange(0, 30)
    X = rotated(spiked(600, spectrum, 6), 6)
    engine = feed(make(FrequentDirections, 30, 3, sketch_size=10), X)
    check_enclosure(engine, X, 3)
    lam, _ = pairs(engine, 10)
    np.testing.assert_allclose(lam, exact(X)[0][:10], rtol=0, atol=1e-9 * lam[0])


def test_every_shrink_takes_as_much_from_the_trace_as_it_reports():
    rng = np.random.default_rng(7)
    A = rng.standard_normal((20, 9))
    C, delta, largest = shrinking_rotation(A @ A.T, 6, xp=HOST)
    B = C.T @ A
    w = np.linalg.eigvalsh(A.T @ A)[::-1]
    assert float(delta) == pytest.approx(w[6], rel=1e-10)
    assert float(largest) == pytest.approx(w[0], rel=1e-10)
    np.testing.assert_allclose(np.linalg.eigvalsh(B @ B.T)[::-1], w[:6] - w[6], atol=1e-12 * w[0])
    assert np.trace(A.T @ A) - np.trace(B.T @ B) >= 7 * float(delta) - 1e-10


@pytest.mark.parametrize("imaginary", [False, True])
def test_merged_sketches_keep_all_bounds_and_the_excesses_add(imaginary):
    X = rotated(spiked(900, np.arange(1, 26) ** -1.0, 8, imaginary=imaginary), 8)
    parts = [
        feed(make(FrequentDirections, 25, 2, like=X, sketch_size=9), rows)
        for rows in np.array_split(X, 4)
    ]
    before = [part.certificate()["extra"]["shrunk"] for part in parts]
    for part in parts[1:]:
        parts[0].merge(part)
    check_enclosure(parts[0], X, 2)
    after = parts[0].certificate()
    assert after["extra"]["shrunk"] >= sum(before)
    assert after["n_light"] == 900


def test_sketch_of_full_size_is_exact():
    X = decaying(300, 10, 9)
    lam, V = pairs(feed(make(FrequentDirections, 10, 3), X), 3)
    w, U = exact(X)
    np.testing.assert_allclose(lam, w[:3], rtol=1e-12)
    assert sin2(V, U[:, :3]) < 1e-20


def test_sketch_smaller_than_the_answer_is_refused():
    with pytest.raises(ValueError, match=r"sketch_size must be at least 6 for n_components=5"):
        make(FrequentDirections, 30, 5, sketch_size=5)


def test_certificate_of_zeros_has_no_infinities():
    X = np.zeros((100, 12))
    certificate = feed(make(FrequentDirections, 12, 2), X).certificate()
    assert all(math.isfinite(v) for v in certificate["extra"].values())
    assert certificate["residual"] == 0.0


def test_storage_is_the_documented_number_of_words():
    d, size = 3000, 24
    engine = make(FrequentDirections, d, 2, sketch_size=size)
    X = np.random.default_rng(10).standard_normal((4 * engine.block_rows, d))
    assert engine.to_state()["B"].size == d * size
    feed(engine, X[: 2 * engine.block_rows])
    block = DenseOperator(X[: engine.block_rows])
    tracemalloc.start()
    engine.update(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1.25 * (3 * size * d + 8 * (size + engine.block_rows) ** 2)
