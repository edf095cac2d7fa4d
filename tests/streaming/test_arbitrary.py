"""Arbitrary order: which of the two answers, and what it then says."""

from __future__ import annotations

import numpy as np

from linalgkit.streaming._arbitrary import ArbitraryOrder
from linalgkit.streaming._frequent_directions import FrequentDirections
from linalgkit.streaming._oja import OjaLadder
from tests.streaming.engine_streams import exact, feed, make, pairs, rotated, sin2, spiked


def rows(gap: float, seed: int, d: int = 120) -> np.ndarray:
    spectrum = np.ones(d)
    spectrum[0] = gap
    return rotated(spiked(4000, spectrum, seed), seed)


def test_the_sketch_answers_where_its_bound_holds():
    X = rows(300.0, 1)
    engine = feed(make(ArbitraryOrder, 120), X)
    alone = feed(make(FrequentDirections, 120), X, engine.block_rows)
    certificate = engine.certificate()
    assert certificate["candidate"] == "frequent-directions"
    assert certificate["status"] == "converged"
    np.testing.assert_array_equal(pairs(engine, 1)[1], pairs(alone, 1)[1])
    assert sin2(pairs(engine, 1)[1], exact(X)[1][:, :1]) <= certificate["extra"]["sin2_bound"] < 0.1


def test_the_ladder_confirms_a_sketch_whose_bound_is_silent():
    X = rows(4.0, 2)
    engine = feed(make(ArbitraryOrder, 120), X)
    certificate = engine.certificate()
    assert certificate["extra"]["sin2_bound"] == 1.0
    assert certificate["candidate"] == "frequent-directions"
    assert certificate["status"] == "converged"
    truth = exact(X)[1][:, :1]
    error = sin2(pairs(engine, 1)[1], truth)
    assert error < sin2(pairs(engine.ladder, 1)[1], truth)
    assert error < certificate["error_estimate"] < 0.3


def test_the_ladder_answers_where_the_sketch_has_lost_the_direction():
    X = rows(5.0, 2, d=400)
    engine = feed(make(ArbitraryOrder, 400), X)
    alone = feed(make(OjaLadder, 400), X, engine.block_rows)
    certificate = engine.certificate()
    assert certificate["candidate"] == "oja"
    assert certificate["extra"]["sin2_bound"] == 1.0
    np.testing.assert_array_equal(pairs(engine, 1)[1], pairs(alone, 1)[1])
    truth = exact(X)[1][:, :1]
    lam, V = pairs(engine, 1)
    assert sin2(V, truth) < 0.3 < sin2(pairs(engine.sketch, 1)[1], truth)
    value = float(np.sum((X @ V) ** 2))
    lower = float(np.sum((engine.sketch.sketch @ V) ** 2))
    assert lower <= lam[0] <= lower + engine.sketch.excess()
    assert lower <= value <= lower + engine.sketch.excess()


def test_neither_certificate_is_said_aloud():
    engine = feed(make(ArbitraryOrder, 120), rows(1.0, 3))
    certificate = engine.certificate()
    assert certificate["status"] == "no_growth"
    assert certificate["candidate"] == "frequent-directions"
    assert certificate["error_estimate"] == 1.0
