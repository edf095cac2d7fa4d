"""Bounds for approximations from below, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linalgkit.streaming._enclosure import (
    add_angles,
    eigenvalue_ratio,
    enclosure_sin2,
    sampling_sin2,
    sampling_terms,
)
from tests.streaming.engine_streams import sin2


@given(seed=st.integers(0, 2**20), d=st.integers(2, 7), share=st.floats(0.0, 1.2))
def test_angle_bound_holds_for_every_perturbation_from_above(seed, d, share):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, d))
    values = np.sort(rng.random(d))[::-1]
    excess = share * (values[k - 1] - values[k])
    Q = np.linalg.qr(rng.standard_normal((d, d)) + 1j * rng.standard_normal((d, d)))[0]
    E = (Q * (excess * rng.integers(0, 2, size=d))) @ Q.conj().T  # 0 <= E <= excess I
    U = np.linalg.eigh(np.diag(values) + E)[1][:, ::-1][:, :k]
    bound = enclosure_sin2(values.tolist(), k, excess)
    assert sin2(np.eye(d)[:, :k].astype(complex), U) <= bound + 1e-10


def test_angle_bound_is_attained_by_a_two_by_two_matrix():
    excess = 0.6
    bound = enclosure_sin2([1.0, 0.0], 1, excess)
    worst = 0.0
    for angle in np.linspace(0, np.pi, 20001):
        c, s = math.cos(angle), math.sin(angle)
        S = np.diag([1.0, 0.0]) + excess * np.array([[c * c, c * s], [c * s, s * s]])
        worst = max(worst, float(np.linalg.eigh(S)[1][1, 1] ** 2))
    assert worst == pytest.approx(bound, rel=1e-6)


def test_angle_bound_is_silent_at_ties_and_zero_without_excess():
    assert enclosure_sin2([2.0, 1.0], 1, 0.0) == 0.0
    assert enclosure_sin2([1.0, 1.0], 1, 0.0) == 1.0
    assert enclosure_sin2([0.0, 0.0], 1, 0.0) == 1.0
    assert enclosure_sin2([2.0, 1.0], 1, 1.0) == 1.0
    assert enclosure_sin2([2.0], 1, 1e-9) == pytest.approx((1e-9 / 4) ** 2, rel=1e-6)


def test_sampling_error_is_that_of_a_simulation():
    spectrum = np.r_[5.0, 2.0, np.ones(18)]
    n, errors = 2000, []
    for seed in range(200):
        X = np.random.default_rng(seed).standard_normal((n, 20)) * np.sqrt(spectrum)
        U = np.linalg.eigh(X.T @ X)[1][:, -1:]
        errors.append(sin2(U, np.eye(20)[:, :1]))
    predicted = sampling_sin2(spectrum.tolist(), 1, n)
    assert np.mean(errors) == pytest.approx(predicted, rel=0.1)
    listed = sampling_sin2([5.0, 2.0, 1.0], 1, n, rest=17.0)
    assert listed == pytest.approx(predicted, rel=1e-12)


def test_sampling_freedom_counts_directions():
    _, freedom = sampling_terms([5.0, *[1.0] * 12], 0, 1, 100)
    assert freedom == pytest.approx(12.0)
    assert sampling_terms([1.0, 1.0], 0, 1, 100) == (math.inf, 1.0)
    assert sampling_sin2([1.0, 1.0], 1, 100) == 1.0
    assert sampling_sin2([], 1, 100) == 1.0


def test_angles_add_up_to_a_right_angle():
    assert add_angles(0.0, 0.25) == pytest.approx(0.25)
    assert add_angles(0.25, 0.25) == pytest.approx(0.75)  # 30 and 30 degrees
    assert add_angles(0.75, 0.75) == 1.0


def test_ratio_of_eigenvalues_at_its_ends():
    assert eigenvalue_ratio([4.0, 2.0], 1, 2) == 2.0
    assert eigenvalue_ratio([4.0, 0.0], 1, 2) == math.inf
    assert eigenvalue_ratio([4.0, 2.0], 2, 2) == math.inf
    assert math.isnan(eigenvalue_ratio([0.0, 0.0], 1, 2))
