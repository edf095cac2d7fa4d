"""The exact method: its sums, and what it says about the population."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from linalgkit._core.operators import DenseOperator
from linalgkit.streaming._enclosure import sampling_sin2
from linalgkit.streaming._gram import Gram, leading_basis
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


def flat_with_spikes(d: int, *spikes: float) -> np.ndarray:
    spectrum = np.ones(d)
    spectrum[: len(spikes)] = spikes
    return spectrum


@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_eigenpairs_are_those_of_the_sample_to_rounding(imaginary, k):
    X = decaying(700, 25, 1, imaginary=imaginary)
    lam, V = pairs(feed(make(Gram, 25, k, like=X), X, 64), k)
    w, U = exact(X)
    np.testing.assert_allclose(lam, w[:k], rtol=1e-13)
    assert sin2(V, U[:, :k]) < 1e-24


def test_float32_rows_are_summed_in_float64():
    X = decaying(4000, 10, 2).astype(np.float32)
    lam, _ = pairs(feed(make(Gram, 10, like=X), X), 10)
    np.testing.assert_allclose(lam, exact(X.astype(np.float64))[0], atol=1e-13 * lam[0])


def test_order_of_the_rows_does_not_matter():
    X = decaying(500, 12, 3)
    sorted_rows = X[np.argsort(X[:, 0])]
    lam, V = pairs(feed(make(Gram, 12), X), 3)
    mu, W = pairs(feed(make(Gram, 12), sorted_rows), 3)
    np.testing.assert_allclose(lam, mu, rtol=1e-13)
    assert sin2(V, W) < 1e-24


def test_merge_is_the_serial_run_to_1e12():
    X = decaying(900, 14, 4, imaginary=True)
    serial = feed(make(Gram, 14, 2, like=X), X)
    parts = [feed(make(Gram, 14, 2, like=X), X[i : i + 300]) for i in (0, 300, 600)]
    before = parts[1].to_state()["S"].copy()
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    (lam, V), (mu, W) = pairs(serial, 2), pairs(parts[0], 2)
    np.testing.assert_allclose(lam, mu, rtol=1e-12)
    assert sin2(V, W) < 1e-24
    np.testing.assert_array_equal(parts[1].to_state()["S"], before)  # the other one is unchanged


def test_residual_is_that_of_the_pairs():
    X = decaying(300, 20, 5)
    engine = feed(make(Gram, 20, 3), X)
    lam, V = pairs(engine, 3)
    S = X.T @ X
    direct = np.max(np.linalg.norm(S @ V - V * lam, axis=0)) / lam[0]
    certificate = engine.certificate()
    assert certificate["residual_kind"] == "exact"
    assert certificate["residual"] < 1e-14
    assert direct < 1e-13


@pytest.mark.parametrize("gap", [1.5, 2.0, 4.0, 16.0, 50.0])
def test_reported_gap_is_that_of_the_population_within_ten_percent(gap):
    X = spiked(20000, flat_with_spikes(300, gap), 7)
    engine = feed(make(Gram, 300), X)
    assert engine.certificate()["gap"] == pytest.approx(gap, rel=0.1)
    w = exact(X)[0]
    if gap <= 4:  # the control: the sample's own ratio is not
        assert abs(w[0] / w[1] / gap - 1) > 0.1


def test_reported_gap_holds_for_a_decaying_spectrum_and_several_components():
    spectrum = np.r_[8.0, 4.0, 1.0 * np.arange(1, 99) ** -0.5]
    X = rotated(spiked(6000, spectrum, 8, imaginary=True), 8)
    gaps = [feed(make(Gram, 100, k, like=X), X).certificate()["gap"] for k in (1, 2)]
    assert gaps == pytest.approx([2.0, 4.0], rel=0.1)


def test_the_gap_does_not_depend_on_the_block_size():
    X = spiked(3000, flat_with_spikes(40, 3.0), 9)
    certificates = [feed(make(Gram, 40), X, b).certificate() for b in (3000, 700, 64)]
    for name in ("gap", "error_estimate"):
        values = [c[name] for c in certificates]
        assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_merged_parts_report_the_gap_of_the_population():
    X = spiked(8000, flat_with_spikes(100, 3.0), 10)
    engines = [feed(make(Gram, 100, rng=i), X[i::8]) for i in range(8)]
    while len(engines) > 1:
        for a, b in zip(engines[::2], engines[1::2], strict=True):
            a.merge(b)
        engines = engines[::2]
    assert engines[0].certificate()["gap"] == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(
    ("spikes", "k", "n", "imaginary"),
    [
        ((2.0,), 1, 6000, False),
        ((16.0,), 1, 3000, False),
        ((16.0,), 1, 3000, True),
        ((8.0, 6.0, 4.0), 3, 4000, False),
    ],
)
def test_error_estimate_is_calibrated_to_the_population(spikes, k, n, imaginary):
    d = 60
    truth, estimates = [], []
    for seed in range(12):
        X = spiked(n, flat_with_spikes(d, *spikes), seed, imaginary=imaginary)
        engine = feed(make(Gram, d, k, like=X), X)
        truth.append(sin2(np.eye(d)[:, :k], pairs(engine, k)[1]))
        estimates.append(engine.certificate()["error_estimate"])
    ratio = np.mean(estimates) / np.mean(truth)
    assert 0.75 < ratio < 1.5
    assert np.min(np.asarray(estimates) / np.asarray(truth)) > 0.3


def test_error_estimate_follows_heavy_tails_where_the_normal_formula_does_not():
    d, k, n = 60, 1, 4000
    truth, estimates, formula = [], [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, 7])
        X = spiked(n, flat_with_spikes(d, 9.0), seed)
        X *= np.sqrt(3 / rng.chisquare(5, size=(n, 1)))  # multivariate t with 5 degrees of freedom
        engine = feed(make(Gram, d), X)
        truth.append(sin2(np.eye(d)[:, :k], pairs(engine, k)[1]))
        estimates.append(engine.certificate()["error_estimate"])
        formula.append(sampling_sin2(flat_with_spikes(d, 9.0).tolist(), k, n))
    assert 0.6 < np.mean(estimates) / np.mean(truth) < 1.6
    assert np.mean(formula) / np.mean(truth) < 0.6  # the control


def test_forgetting_keeps_the_error_estimate_honest():
    d, window = 30, 400
    rng = np.random.default_rng(11)
    truth, estimates = [], []
    for seed in range(8):
        X = spiked(6000, flat_with_spikes(d, 6.0), 100 + seed)
        engine = make(Gram, d, rng=rng)
        for start in range(0, 6000, 40):
            engine.decay((1 - 1 / window) ** 40)
            engine.update(DenseOperator(X[start : start + 40]))
        truth.append(sin2(np.eye(d)[:, :1], pairs(engine, 1)[1]))
        estimates.append(engine.certificate()["error_estimate"])
    assert 0.5 < np.mean(estimates) / np.mean(truth) < 2.5


def test_nothing_beyond_the_kth_means_an_infinite_gap_and_no_error():
    X = decaying(50, 4, 12)
    certificate = feed(make(Gram, 4, 4), X).certificate()
    assert certificate["gap"] == math.inf
    assert certificate["error_estimate"] == 0.0
    rank_two = spiked(400, np.r_[2.0, 1.0, np.zeros(8)], 12)
    assert feed(make(Gram, 10, 2), rank_two).certificate()["gap"] == math.inf


def test_too_few_rows_leave_the_gap_open():
    certificate = feed(make(Gram, 10), decaying(20, 10, 13)).certificate()
    assert math.isnan(certificate["gap"])
    assert 0 <= certificate["error_estimate"] <= 1


def test_leading_basis_reaches_the_eigenvectors_from_a_random_start():
    rng = np.random.default_rng(14)
    X = spiked(3000, flat_with_spikes(120, 3.0, 2.5), 14)
    S = X.T @ X
    start = np.linalg.qr(rng.standard_normal((120, 7)))[0]
    found = leading_basis(S, start, xp=HOST)
    np.testing.assert_allclose(found.T @ found, np.eye(7), atol=1e-13)
    assert sin2(found[:, :2], np.linalg.eigh(S)[1][:, ::-1][:, :2]) < 1e-9
    one_product = np.linalg.qr(S @ start)[0]
    assert sin2(one_product[:, :2], np.linalg.eigh(S)[1][:, ::-1][:, :2]) > 1e-2  # the control


def test_storage_is_the_documented_number_of_words():
    d, k = 200, 3
    engine = make(Gram, d, k)
    X = decaying(2 * engine.block_rows, d, 15)
    feed(engine, X)
    state = engine.to_state()
    arrays = [state["S"], state["older"]["basis"], state["newer"]["basis"]]
    assert sum(a.size for a in arrays) == d**2 + 2 * d * (k + 5)
    block = DenseOperator(X[: engine.block_rows])
    tracemalloc.start()
    engine.update(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1.3 * 2 * d**2
