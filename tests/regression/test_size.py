"""Rows of a sketch: the exact rule against brute force and simulation, and the paper's rule."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats

from linalgkit import AccuracyWarning
from linalgkit.regression import sketch_size, theory
from linalgkit.regression._size import default_size, gaussian_size, miss_probability

CASES = list(itertools.product((1, 2, 7, 40), (0.9, 0.4, 0.15), (0.3, 0.01, 1e-6)))


def _smallest(meets: Any, start: int) -> int:
    return next(m for m in itertools.count(start) if meets(m))


@pytest.mark.parametrize(("d", "eps", "delta"), CASES)
def test_inf_size_is_the_smallest_that_students_quantile_allows(
    d: int, eps: float, delta: float
) -> None:
    m = sketch_size(d, None, eps, delta)

    def meets(rows: int) -> bool:
        f = rows - d + 1
        return scipy.stats.t.isf(delta / (2 * d), f) <= eps * math.sqrt(f / d)

    assert m == _smallest(meets, max(d, m - 40))
    assert m == d or not meets(m - 1)


@pytest.mark.parametrize(("d", "eps", "delta"), CASES)
def test_2_size_is_the_smallest_that_fishers_quantile_allows(
    d: int, eps: float, delta: float
) -> None:
    m = sketch_size(d, None, eps, delta, norm="2")

    def meets(rows: int) -> bool:
        f = rows - d + 1
        return d / f * scipy.stats.f.isf(delta, d, f) <= eps**2

    assert meets(m)
    assert m == d or not meets(m - 1)


def test_figures_of_the_independent_check_of_the_rule() -> None:
    assert sketch_size(100, 10**6, 0.5, 0.01) == 6162
    assert gaussian_size(2, 2.0, 1e-6) == 25


def test_size_tends_to_its_leading_order() -> None:
    for eps in (1e-3, 1e-5):
        quantile = scipy.stats.norm.isf(0.01 / 200)
        assert sketch_size(100, None, eps, 0.01) == pytest.approx(
            100 * (quantile / eps) ** 2, rel=1e-5
        )
    assert sketch_size(100, None, 0.1, 0.01) < theory.gaussian_size(100, 0.1, 0.01)


def test_tiny_targets_have_sizes_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = sketch_size(3, None, 1e-100, 1e-200)
    assert 1e203 < m < 1e204  # d (quantile / eps)^2 with a quantile of about 30


def test_complex_sketches_need_fewer_rows_and_have_a_closed_form() -> None:
    for d, eps, delta in ((3, 0.5, 0.01), (50, 0.2, 1e-4)):
        f = math.ceil(math.log(d / delta) / math.log1p(eps**2 / d))
        assert gaussian_size(d, eps, delta, is_complex=True) == d - 1 + f
        assert gaussian_size(d, eps, delta, is_complex=True) < gaussian_size(d, eps, delta)


def test_several_right_sides_share_the_failure_probability() -> None:
    assert gaussian_size(6, 0.3, 0.05, n_sides=10) == gaussian_size(6, 0.3, 0.005)


def _errors(
    rng: np.random.Generator, d: int, m: int, is_complex: bool, runs: int
) -> tuple[Any, Any]:
    """Return the first coordinate's errors and the norms, in units of the residual's norm."""
    shape = (runs, m, d + 1)
    G = rng.standard_normal(shape)
    if is_complex:
        G = G + 1j * rng.standard_normal(shape)
    x = np.linalg.pinv(G[:, :, :d]) @ G[:, :, d:]  # A = [I; 0], r = e_{d+1}: S A and S r
    return np.abs(x[:, 0, 0]), np.linalg.norm(x[:, :, 0], axis=1)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_miss_probabilities_are_those_of_simulated_sketches(
    is_complex: bool, rng: np.random.Generator
) -> None:
    d, m, eps, runs = 4, 14, 0.9, 20000
    first, norms = _errors(rng, d, m, is_complex, runs)
    for norm, misses in (
        ("inf", first > eps / math.sqrt(d)),
        ("2", norms > eps),
    ):
        p = miss_probability(d, m, eps, norm=norm, is_complex=is_complex)
        assert 0.02 < p < 0.98
        # Exact binomial test at level 1e-4.
        assert scipy.stats.binomtest(int(misses.sum()), runs, p).pvalue > 1e-4
        wrong = miss_probability(d, m + 1, eps, norm=norm, is_complex=is_complex)
        assert scipy.stats.binomtest(int(misses.sum()), runs, wrong).pvalue < 1e-4


def test_paper_rule_is_its_expression_and_warns_where_it_is_vacuous() -> None:
    n = 10**6
    with pytest.warns(AccuracyWarning, match="no fewer than the 1000000 equations"):
        m = sketch_size(100, n, 0.5, 0.01, rule="paper")
    assert m == math.ceil(100 / 0.25 * math.log(n / 0.01) ** 3)
    assert sketch_size(2, 10**9, 0.5, 0.01, rule="paper") < 10**6


def test_gaussian_rule_warns_where_a_sketch_is_no_smaller_than_the_problem() -> None:
    with pytest.warns(AccuracyWarning, match="solve them without a sketch"):
        assert sketch_size(100, 5000, 0.5, 0.01) == 6162


def test_default_size_leaves_degrees_of_freedom() -> None:
    for d in (1, 2, 10, 300):
        assert default_size(d) >= max(16 * d, d + 100, theory.least_size(d))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"d": 0}, ValueError, "d must be at least 1"),
        ({"d": 2.5}, TypeError, "d must be an integer"),
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"eps": 0.0}, ValueError, "eps must be greater than 0 and less than 1"),
        ({"eps": 1.0}, ValueError, "eps must be greater than 0 and less than 1"),
        ({"eps": math.nan}, ValueError, "eps"),
        ({"delta": 0.0}, ValueError, "delta must be greater than 0 and less than 1"),
        ({"delta": 1.5}, ValueError, "delta must be greater than 0 and less than 1"),
        ({"delta": "x"}, TypeError, "delta must be a real number"),
        ({"rule": "Gaussian"}, ValueError, "Did you mean 'gaussian'"),
        ({"norm": "1"}, ValueError, "norm must be one of 'inf', '2'"),
        ({"norm": 3}, TypeError, "norm must be one of"),
        ({"rule": "paper", "n": None}, ValueError, 'n must be given for rule="paper"'),
        ({"rule": "paper", "norm": "2"}, ValueError, "states no other target"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type, match: str) -> None:
    arguments = {"d": 5, "n": 1000, "eps": 0.5, "delta": 0.01, **change}
    d, n, eps, delta = (arguments.pop(name) for name in ("d", "n", "eps", "delta"))
    with pytest.raises(error, match=match):
        sketch_size(d, n, eps, delta, **arguments)


def test_the_theory_says_that_its_theorem_is_disputed() -> None:
    assert theory.__doc__ is not None
    assert "proof is disputed" in theory.__doc__
    assert theory.coordinate_bound(4, 0.5, 3.0, 2.0) == 1.5
    assert theory.singular_probability(10, 5) == 1.0
    assert theory.pooled_size(10, 0.5, 0.1) == math.ceil(40 * math.log(100))
