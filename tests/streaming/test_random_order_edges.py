"""Random-order engines and sketches at the edges: scales, units, weights, ties, short segments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linalgkit import AccuracyWarning
from linalgkit.streaming import StreamingEigh, theory
from linalgkit.streaming._block_power import BlockPower
from linalgkit.streaming._nystrom import Nystrom
from linalgkit.streaming._portfolio import Portfolio
from tests.conftest import Backend
from tests.streaming.engine_streams import HOST, feed, make, on, pairs, rotated, sin2, spiked

Matrix = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        yield


def certificate(X: Matrix, method: str = "portfolio", **options: Any) -> list[float]:
    order = "arbitrary" if method == "oja" else "random"
    found = StreamingEigh(1, method=method, order=order, rng=0, **options).fit(X).result()
    return [found.gap, found.error_estimate, found.order_zscore]


@pytest.mark.parametrize("method", ["portfolio", "block-power"])
def test_certificate_does_not_depend_on_the_scale_of_double_rows(method: str) -> None:
    X = spiked(1500, np.r_[4.0, np.ones(11)], 3)
    expected = certificate(X, method)
    for exponent in range(-170, 151, 10):
        found = certificate(np.ldexp(X, exponent), method)
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=str(exponent))


def test_certificate_does_not_depend_on_the_scale_of_single_rows() -> None:
    X = spiked(1500, np.r_[4.0, np.ones(11)], 3).astype(np.float32)
    expected = certificate(X)
    for exponent in range(-110, 121, 10):
        with np.errstate(over="ignore"):  # of the eigenvalues, which no single number can hold
            found = certificate(np.ldexp(X, exponent))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(exponent))


def test_large_rows_give_a_certificate_and_no_overflow(rng: np.random.Generator) -> None:
    gap, error, zscore = certificate(rng.standard_normal((3000, 20)) * 1e40)
    assert 1.0 <= gap < 2.0
    assert 0.0 < error <= 1.0
    assert abs(zscore) < 6.0


def test_a_change_of_unit_in_mid_stream_gives_numpys_certificate(xp: Backend) -> None:
    X = (1.7e4 * np.random.default_rng(1).standard_normal((6000, 6))).astype(np.float32)
    X[:, 0] *= 2
    X[4200] *= 8

    def found(rows: Any) -> list[float]:
        model = StreamingEigh(1, method="portfolio", rng=0)
        result = model.fit(rows).result()
        return [result.gap, result.error_estimate, result.order_zscore]

    np.testing.assert_allclose(found(on(xp, X)), found(X), rtol=2e-3, atol=2e-3)


def test_rescaling_in_the_middle_of_a_segment_changes_no_certificate(xp: Backend) -> None:
    X = spiked(700, np.r_[4.0, np.ones(7)], 9)
    rows = xp.asarray(X)
    whole, scaled = (make(Portfolio, 8, like=rows) for _ in range(2))
    feed(whole, rows, 100)
    feed(scaled, rows[:600, :], 100)
    scaled.rescale(-3)
    feed(scaled, rows[600:, :] / 8.0, 100)
    a, b = whole.finish().certificate(), scaled.finish().certificate()
    for name in ("gap", "error_estimate", "order_zscore"):
        np.testing.assert_allclose(b[name], a[name], rtol=10 * xp.tolerance, atol=xp.tolerance)


def test_a_change_of_unit_reaches_all_that_a_segment_has_said(xp: Backend) -> None:
    engine = make(Portfolio, 8, like=xp.asarray(np.ones(1)))
    feed(engine, xp.asarray(spiked(450, np.r_[4.0, np.ones(7)], 9)), 150)
    before = engine.probe.copy()
    assert any(rows > 0 for rows in before._rows)
    engine.rescale(-3)
    for was, now in zip(before._parts, engine.probe._parts, strict=True):
        np.testing.assert_array_equal(xp.to_numpy(now), xp.to_numpy(was) / 64)


@pytest.mark.parametrize("method", ["portfolio", "block-power"])
def test_fading_rows_and_weights_raise_no_false_alarm_about_the_order(method: str) -> None:
    X = spiked(6000, np.r_[9.0, np.ones(9)], 4)
    model = StreamingEigh(1, method=method, forgetting=0.9995, rng=0).fit(X)
    assert math.isnan(model.result().order_zscore)
    assert model.result().status == "converged"
    weights = np.linspace(0.1, 10.0, 6000)
    weighted = StreamingEigh(1, method=method, rng=0).partial_fit(X, sample_weight=weights).result()
    assert math.isnan(weighted.order_zscore)
    assert weighted.status != "order_not_random"
    sorted_rows = X[np.argsort(np.abs(X[:, 0]))]
    unweighted = StreamingEigh(1, method=method, rng=0).fit(sorted_rows).result()
    assert unweighted.status == "order_not_random"


def test_a_stream_with_weights_remembers_them_when_it_is_resumed(tmp_path: Path) -> None:
    X = spiked(3000, np.r_[9.0, np.ones(9)], 4)
    model = StreamingEigh(1, method="portfolio", forgetting=0.9995, rng=0).fit(X)
    model.save(tmp_path / "state.npz")
    resumed = StreamingEigh.load(tmp_path / "state.npz")
    assert math.isnan(resumed.result().order_zscore)


# --------------------------------------------------------------- segments of fixed length


def closed_lengths(engine: Any, X: Matrix, cuts: int) -> list[int]:
    """Feed rows and return the lengths of the segments that were closed."""
    ends: list[int] = []
    close = engine._close

    def logged() -> None:
        close()
        ends.append(engine.position)

    engine._close = logged
    feed(engine, X, cuts)
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@pytest.mark.parametrize("cuts", [1024, 777])
def test_a_known_number_of_rows_is_cut_into_the_segments_of_the_theory(cuts: int) -> None:
    n, d = 20000, 100
    X = spiked(n, np.r_[3.0, 1.5, np.ones(d - 2)], 0)
    segments = theory.n_segments(d)
    lengths = closed_lengths(make(BlockPower, d, history=False, n_rows=n), X, cuts)
    assert lengths == [math.ceil(n / segments)] * (segments - 1)
    assert 0 <= math.ceil(n / segments) * segments - n < segments  # the last one is nearly as long
    other = closed_lengths(make(BlockPower, d, history=False, n_rows=n // 2), X, cuts)
    assert set(other) == {math.ceil(n / 2 / segments)}


def test_the_number_of_rows_changes_the_answer() -> None:
    X = spiked(6000, np.r_[3.0, 1.5, np.ones(18)], 1)
    values = {
        float(pairs(feed(make(BlockPower, 20, history=False, n_rows=n), X), 1)[0][0])
        for n in (1500, 3000, 6000, None)
    }
    assert len(values) == 4


def test_segments_end_in_time_although_their_rows_fade() -> None:
    X = spiked(6000, np.r_[3.0, 1.5, np.ones(18)], 1)
    model = StreamingEigh(
        1, method="block-power", history=False, n_rows=60000, forgetting=0.999, rng=0
    )
    error = sin2(model.fit(X).result().eigenvectors, np.eye(20, 1))
    first = sin2(pairs(feed(make(BlockPower, 20), X[:256]), 1)[1], np.eye(20, 1))
    assert error < first


@pytest.mark.parametrize("ratio", [1.8, 3.0])
def test_an_overstated_number_of_rows_is_answered_from_more_than_the_first_and_owned_up(
    ratio: float,
) -> None:
    d, n = 100, 20000
    X = rotated(spiked(n, np.r_[ratio, np.ones(d - 1)], 7), 7)
    truth = rotated(np.eye(1, d), 7).T
    engine = feed(make(BlockPower, d, history=False, n_rows=10**7), X)
    error = sin2(pairs(engine, 1)[1], truth)
    start = sin2(pairs(feed(make(BlockPower, d), X[:256]), 1)[1], truth)
    assert error < 0.9 * start
    assert engine.finish().certificate()["error_estimate"] > 0.7 * error


@pytest.mark.parametrize("n_rows", [3000, 10000, 20000])
def test_error_estimate_of_equal_segments_is_that_of_one_of_them(n_rows: int) -> None:
    d, n = 60, 20000
    X = spiked(n, np.r_[3.0, np.ones(d - 1)], 5)
    engine = feed(make(BlockPower, d, history=False, n_rows=n_rows), X)
    error = sin2(pairs(engine, 1)[1], np.eye(d, 1))
    assert 0.7 * error < engine.finish().certificate()["error_estimate"] < 8.0 * error


def test_a_resumed_engine_ends_its_segments_at_the_same_rows() -> None:
    X = spiked(4000, np.r_[3.0, np.ones(19)], 2)
    whole = feed(make(BlockPower, 20, history=False, n_rows=4000), X, 500)
    half = feed(make(BlockPower, 20, history=False, n_rows=4000), X[:2000], 500)
    resumed = BlockPower.from_state(half.to_state(), xp=HOST, device=X.device)
    feed(resumed, X[2000:], 500)
    np.testing.assert_array_equal(pairs(resumed, 1)[1], pairs(whole, 1)[1])


# ---------------------------------------------------------------------- nothing to divide by


@pytest.mark.parametrize("method", ["nystrom", "portfolio", "block-power", "oja"])
@pytest.mark.parametrize("forgetting", [0.9, 1e-200])
def test_what_has_been_forgotten_divides_nothing(method: str, forgetting: float) -> None:
    X = np.r_[spiked(3000, np.r_[9.0, np.ones(59)], 4), np.zeros((3600, 60))]
    gap, error, _ = certificate(X, method, forgetting=forgetting)
    assert not error < 0.0
    assert not gap < 1.0


@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
def test_what_a_sketch_expects_does_not_depend_on_the_unit(scale: float) -> None:
    engine = make(Nystrom, 30, 2, sketch_size=8)
    values = [4.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    expected = engine._expected_sin2(values, 22.0)
    found = engine._expected_sin2([scale * scale * value for value in values], 22.0 * scale**2)
    assert math.isclose(found, expected, rel_tol=1e-12)
    assert 0.0 < expected < 1.0


@pytest.mark.parametrize("method", ["portfolio", "block-power"])
def test_a_tie_determines_no_vector_and_zeros_determine_nothing(method: str) -> None:
    gap, error, _ = certificate(np.tile(np.eye(30), (100, 1)), method)
    assert (gap, error) == (1.0, 1.0)
    gap, error, _ = certificate(np.zeros((3000, 10)), method)
    assert math.isnan(gap)
    assert math.isnan(error)


@pytest.mark.parametrize("forgetting", [0.999, 0.9995])
def test_eigenvalues_of_the_ladder_fade_with_the_rows(forgetting: float) -> None:
    n, d = 8000, 50
    X = spiked(n, np.r_[100.0, np.ones(d - 1)], 6)
    model = StreamingEigh(1, method="oja", order="arbitrary", forgetting=forgetting, rng=0).fit(X)
    faded = X * np.sqrt(forgetting ** np.arange(n)[::-1])[:, None]
    ratio = float(model.result().eigenvalues[0]) / np.linalg.norm(faded, 2) ** 2
    assert 0.93 < ratio < 1.07


@pytest.mark.parametrize("wrong", [{"ratio": 0.5}, {"ratio": 1.0}, {"accuracy": 0.0}, {"d": 0}])
def test_the_number_of_power_steps_is_refused_where_there_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        theory.n_segments(**{"d": 1000, **wrong})


@pytest.mark.parametrize("method", ["block-power", "portfolio"])
def test_complex_rows_near_the_smallest_numbers_beside_ordinary_ones(method: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 6)) + 1j * rng.standard_normal((1500, 6))
    X[:700, :] *= 1e-158
    X[:, 0] *= 4.0
    found = StreamingEigh(1, method=method, rng=0).fit(X).result()
    assert abs(found.eigenvectors[0, 0]) > 0.99
