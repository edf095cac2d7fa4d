"""Nystrom sketches: what they promise, and what merges."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from linalgkit._core.operators import DenseOperator
from linalgkit.streaming._nystrom import Nystrom, orthonormal_draw
from tests.streaming.engine_streams import (
    HOST,
    decaying,
    exact,
    feed,
    make,
    on,
    pairs,
    rotated,
    sin2,
    spiked,
)


def approximation(engine) -> np.ndarray:
    lam, V = pairs(engine, engine.sketch_size)
    return (V * lam) @ V.conj().T


@pytest.mark.parametrize("imaginary", [False, True])
def test_approximation_lies_below_and_the_excess_is_the_nuclear_norm_of_the_error(imaginary):
    X = rotated(spiked(400, np.arange(1, 41) ** -1.5, 1, imaginary=imaginary), 1)
    engine = feed(make(Nystrom, 40, 2, like=X, sketch_size=12), X)
    error = X.conj().T @ X - approximation(engine)
    values = np.linalg.eigvalsh(error)
    scale = exact(X)[0][0]
    assert values[0] > -1e-12 * scale
    assert engine.excess() == pytest.approx(values.sum(), abs=1e-11 * scale)


@pytest.mark.parametrize("imaginary", [False, True])
def test_equals_the_textbook_formula(imaginary):
    X = decaying(300, 20, 2, imaginary=imaginary)
    engine = feed(make(Nystrom, 20, like=X, sketch_size=6), X)
    omega, S = engine.basis, X.conj().T @ X
    Y = S @ omega
    direct = Y @ np.linalg.solve(omega.conj().T @ Y, Y.conj().T)
    np.testing.assert_allclose(approximation(engine), direct, atol=1e-9 * np.linalg.norm(S))


def test_a_sketch_of_full_size_loses_nothing():
    X = decaying(200, 9, 3)
    lam, V = pairs(feed(make(Nystrom, 9, 2, sketch_size=50), X), 9)
    w, U = exact(X)
    np.testing.assert_allclose(lam, w, atol=1e-13 * w[0])
    assert sin2(V[:, :2], U[:, :2]) < 1e-20


def test_certificate_encloses_eigenvalues_and_angle():
    for seed in range(10):
        X = rotated(spiked(500, 1.0 * np.arange(1, 61) ** -3.0, seed), seed)
        engine = feed(make(Nystrom, 60, 2, rng=seed, sketch_size=15), X)
        lam, V = pairs(engine, 2)
        w, U = exact(X)
        certificate = engine.certificate()
        excess = certificate["extra"]["excess"]
        assert np.all(lam <= w[:2] * (1 + 1e-12))
        assert np.all(w[:2] <= lam + excess)
        bound = certificate["extra"]["sin2_bound"]
        assert sin2(V, U[:, :2]) <= bound < 1
        S = X.T @ X
        assert np.linalg.norm(S @ V - V * lam, axis=0).max() / w[0] <= certificate["residual"]


def test_mean_excess_obeys_the_bound_in_expectation():
    spectrum = np.arange(1, 51) ** -1.0
    X = rotated(spiked(2000, spectrum, 4), 4)
    w, size = exact(X)[0], 14
    excesses = [feed(make(Nystrom, 50, 3, rng=s, sketch_size=size), X).excess() for s in range(20)]
    best = min((1 + k / (size - k - 1)) * w[k:].sum() for k in range(1, size - 1))
    assert w[size:].sum() <= np.mean(excesses) <= best


@pytest.mark.parametrize("gap", [16.0, 64.0, 400.0])
def test_error_estimate_is_near_the_error_on_a_flat_tail(gap):
    spectrum = np.ones(150)
    spectrum[0] = gap
    ratios = []
    for seed in range(8):
        engine = feed(make(Nystrom, 150, rng=seed), spiked(2500, spectrum, seed))
        error = sin2(pairs(engine, 1)[1], np.eye(150)[:, :1])
        ratios.append(engine.certificate()["error_estimate"] / error)
    assert 0.7 < np.median(ratios) < 6


@pytest.mark.parametrize("imaginary", [False, True])
def test_merge_is_the_serial_run_to_1e12(imaginary):
    X = decaying(600, 30, 5, imaginary=imaginary)
    serial = feed(make(Nystrom, 30, 2, like=X), X)
    parts = [feed(make(Nystrom, 30, 2, like=X), X[i::3]) for i in range(3)]
    parts[1].merge(parts[2])
    parts[0].merge(parts[1])
    (lam, V), (mu, W) = pairs(serial, 2), pairs(parts[0], 2)
    np.testing.assert_allclose(lam, mu, rtol=1e-12)
    assert sin2(V, W) < 1e-24


def test_sketches_with_other_test_matrices_do_not_merge():
    a, b = make(Nystrom, 30, rng=1), make(Nystrom, 30, rng=2)
    with pytest.raises(ValueError, match=rf"key must agree.*{a.key}.*{b.key}.*same integer rng"):
        a.merge(b)
    with pytest.raises(ValueError, match=r"sketch_size must agree.*10.*12"):
        make(Nystrom, 30, sketch_size=10).merge(make(Nystrom, 30, sketch_size=12))


def test_sketch_smaller_than_the_answer_is_refused():
    with pytest.raises(ValueError, match=r"sketch_size must be at least 5 for n_components=5"):
        make(Nystrom, 30, 5, sketch_size=4)


def test_matrix_of_a_key_is_orthonormal_and_the_same_on_every_library(xp):
    wide = xp.xp.float64 if xp.has_float64 else xp.xp.float32
    place = {"xp": xp.xp, "device": xp.device, "dtype": wide}
    omega = xp.to_numpy(orthonormal_draw(12345, 40, 7, **place))
    host = orthonormal_draw(12345, 40, 7, xp=HOST, device="cpu", dtype=np.float64)
    np.testing.assert_allclose(omega, host, atol=xp.tolerance)
    np.testing.assert_allclose(host.T @ host, np.eye(7), atol=1e-14)


def test_float32_products_do_not_invent_eigenvalues(xp):
    X = decaying(500, 40, 6).astype(np.float32)
    engine = feed(make(Nystrom, 40, 2, like=on(xp, X[:1])), on(xp, X))
    lam, V = pairs(engine, engine.sketch_size)
    w, U = exact(X.astype(float))
    np.testing.assert_allclose(lam[:8], w[:8], atol=3e-6 * w[0])
    assert np.all(lam[8:] < 1e-4 * w[0])
    assert sin2(V[:, :2].astype(float), U[:, :2]) < 1e-9


def test_storage_is_the_documented_number_of_words():
    d, size = 2000, 24
    engine = make(Nystrom, d, 2, sketch_size=size)
    X = np.random.default_rng(7).standard_normal((engine.block_rows, d))
    state = engine.to_state()
    assert state["omega"].size + state["Y"].size == 2 * d * size
    engine.update(DenseOperator(X))
    tracemalloc.start()
    engine.update(DenseOperator(X))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (2 * d * size) * 1.25
