"""Certificates of random-order streams: order tests, split residuals, scores, gap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linalgkit._core.array import numpy_namespace
from linalgkit.streaming._diagnostics import Probe, Scores, Split, quality
from linalgkit.streaming._order import Order
from linalgkit.streaming._portfolio import Portfolio
from tests.streaming.engine_streams import feed, make, rotated, spiked

HOST = numpy_namespace()


def order_of(f, cuts=()):
    order = Order(HOST)
    for part in np.split(f, cuts):
        order.add(part)
    return order


@pytest.mark.parametrize("kind", ["uniform", "rare", "few values"])
def test_trend_and_serial_statistics_have_the_exact_permutation_moments(rng, kind):
    f = {
        "uniform": rng.random(40),
        "rare": np.where(np.arange(40) == 3, 0.999, 0.0),
        "few values": (np.arange(40) % 3) / 3,
    }[kind]
    z = np.array([order_of(rng.permutation(f)).zscores() for _ in range(4000)])
    # 4000 draws: the mean lies within 5 / sqrt(4000) of 0; the trend's variance is exact
    assert np.abs(z.mean(axis=0)).max() < 0.08
    assert abs(z[:, 0].var() - 1) < 0.15
    assert 0.6 < z[:, 1].var() + (kind == "rare") < 2.0


def test_order_statistics_do_not_depend_on_the_cuts(xp, rng):
    f = rng.random(101)
    whole, cut = Order(xp.xp), Order(xp.xp)
    whole.add(xp.asarray(f))
    for part in np.split(f, [1, 2, 50, 99]):
        cut.add(xp.asarray(part))
    np.testing.assert_allclose(whole.zscores(), cut.zscores(), atol=1e-3 + xp.tolerance)


def test_order_statistics_see_a_drift_and_a_slow_wave():
    x = np.linspace(0, 1, 400)
    assert order_of(x).zscores()[0] > 19
    trend, serial = order_of(0.5 + 0.5 * np.cos(8 * np.pi * x)).zscores()
    assert abs(trend) < 3
    assert serial > 19


def test_constant_and_short_sequences_are_never_suspicious():
    assert order_of(np.full(50, 0.25)).zscores() == [0.0, 0.0]
    assert order_of(np.array([0.1, 0.9])).zscores() == []


def test_split_estimate_agrees_with_brute_force_over_pairs(rng):
    R = rng.standard_normal((8, 5)) + 0.3
    rows = [10.0] * 8
    K = R @ R.T
    split = Split.of(K.tolist(), rows)
    pairs = [K[i, j] for i in range(8) for j in range(8) if i != j]
    assert math.isclose(split.mean, np.mean(pairs), rel_tol=1e-12)
    without = [
        np.mean([K[i, j] for i in range(8) for j in range(8) if i != j and t not in (i, j)])
        for t in range(8)
    ]
    jackknife = 7 / 8 * np.sum((without - np.mean(without)) ** 2)
    assert math.isclose(split.error, math.sqrt(jackknife), rel_tol=1e-9)


def test_split_mean_is_unbiased_and_the_naive_square_is_not(rng):
    mu = np.full(20, 0.1)
    draws = mu + rng.standard_normal((3000, 8, 20)) / math.sqrt(50)
    means = [Split.of((R @ R.T).tolist(), [50.0] * 8).mean for R in draws]
    noise = [Split.of((R @ R.T).tolist(), [50.0] * 8).noise for R in draws]
    standard_error = np.std(means) / math.sqrt(3000)
    assert abs(np.mean(means) - mu @ mu) < 5 * standard_error
    assert np.mean(np.sum(draws.mean(axis=1) ** 2, axis=1)) > mu @ mu + 5 * standard_error
    assert abs(np.mean(noise) / 20 - 1) < 0.02


def test_scores_need_a_clear_advantage_to_unseat_the_first_rule(rng):
    for advantage, winner in ((0.0, 0), (1.0, 1), (-1.0, 0)):
        scores = Scores([0, 2], 2, HOST)
        for _ in range(50):
            e = 50 + 10 * rng.standard_normal() + rng.standard_normal(4)
            e[2:] += advantage
            scores.observe(e[None, :], 1.0)
        assert scores.winner() == winner


def test_scores_ignore_an_advantage_that_is_only_rounding():
    scores = Scores([0, 1], 1, HOST)
    for _ in range(50):
        scores.observe(np.array([[1.0, 1.0 + 1e-9]]), 1.0)
    assert scores.winner() == 0


def test_scores_forget_what_is_older_than_two_epochs():
    scores = Scores([0], 1, HOST)
    scores.turn(20.0)
    for value in (100.0, 1.0, 2.0):
        scores.turn(20.0)
        for _ in range(20):
            scores.observe(np.array([[value]]), 1.0)
    assert scores.ritz(1) == [1.5]
    assert scores.window() == 40.0


def test_gap_correction_solves_for_the_eigenvalue_behind_a_shortened_quotient():
    # population 3 over 1, vectors with sin^2 = c / (s D^2), quotient 3 - 2 sin^2 averaged
    n, window, noise, D = 1000.0, 500.0, 40.0, 2.0
    mean_inverse = math.log(2) / 500
    quotient = 3.0 - noise * mean_inverse / D
    found = quality([quotient, 1.0], window, n, 4.0, 4, [Split(0.0, 0.0, noise)], 1)
    assert math.isclose(found["gap"], 3.0, rel_tol=1e-9)
    assert math.isclose(found["error_estimate"], noise / (n * D * D), rel_tol=1e-9)


def test_quality_is_defined_for_degenerate_streams():
    assert math.isnan(quality([], 0.0, 0.0, 0.0, 3, [], 1)["gap"])
    assert quality([2.0], 5.0, 10.0, 2.0, 1, [Split(0.0, 0.0, 0.0)], 1)["gap"] == math.inf
    zero = quality([0.0, 0.0], 5.0, 10.0, 0.0, 4, [Split(0.0, 0.0, 0.0)], 1)
    assert math.isnan(zero["gap"])
    assert math.isnan(zero["error_estimate"])


@pytest.mark.parametrize("ratio", [1.5, 2.0, 5.0, 50.0])
@pytest.mark.parametrize("k", [1, 3])
def test_gap_is_within_ten_per_cent_of_the_population(ratio, k):
    d, n = 60, 12000
    X = rotated(spiked(n, np.r_[[ratio] * k, np.ones(d - k)], 11), 11)
    gap = feed(make(Portfolio, d, k), X).finish().certificate()["gap"]
    assert 0.9 < gap / ratio < 1.1


@pytest.mark.parametrize("seed", range(3))
def test_gap_near_one_is_recognised(seed):
    spectrum = np.r_[1.1, np.ones(79)]
    gap = feed(make(Portfolio, 80), spiked(8000, spectrum, seed)).finish().certificate()["gap"]
    assert gap < 1.3


def test_error_estimate_covers_the_angle_to_the_population_and_is_not_far_above():
    ratios = []
    for seed in range(12):
        X = spiked(8000, np.r_[4.0, np.ones(79)], seed)
        view = feed(make(Portfolio, 80), X).finish()
        truth = 1 - view.top(1)[1][0, 0] ** 2
        ratios.append(view.certificate()["error_estimate"] / truth)
    assert sum(ratio < 1 for ratio in ratios) <= 2
    assert np.median(ratios) < 4


@pytest.mark.parametrize("tail", ["normal", "t", "row scales"])
def test_no_random_order_raises_an_alarm(tail):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((1500, 12))
        if tail == "t":
            X = rng.standard_t(2.2, size=(1500, 12))
        if tail == "row scales":
            X *= np.exp(2 * rng.standard_normal((1500, 1)))
        z = feed(make(Portfolio, 12), X).finish().certificate()["order_zscore"]
        assert abs(z) < 6


@pytest.mark.parametrize("by", ["projection", "norm", "class"])
@pytest.mark.parametrize("descending", [True, False])
def test_sorted_rows_raise_an_alarm(by, descending):
    X = spiked(6000, np.r_[6.0, np.ones(39)], 5)
    key = {
        "projection": np.abs(X[:, 0]),
        "norm": np.linalg.norm(X, axis=1),
        "class": np.floor(2 * np.abs(X[:, 0])),
    }[by]
    X = X[np.argsort(-key if descending else key, kind="stable")]
    assert abs(feed(make(Portfolio, 40), X).finish().certificate()["order_zscore"]) > 6


def test_probe_survives_zero_rows_in_single_precision():
    X = np.zeros((700, 5), np.float32)
    certificate = feed(make(Portfolio, 5, like=X), X).finish().certificate()
    assert certificate["order_zscore"] == 0.0


def test_probe_pools_only_segments_with_enough_parts():
    probe = Probe(1, HOST)
    V = np.eye(4)[:, :1]
    probe.begin(V, 10.0, np.ones(1), 40.0)
    for _ in range(2):
        probe.observe(np.ones((5, 1)), np.ones((4, 1)), np.ones(5))
    assert probe.splits() == []
    probe.observe(np.ones((5, 1)), np.ones((4, 1)), np.ones(5))
    assert len(probe.splits()) == 1
