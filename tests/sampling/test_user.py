"""Bases of a caller's functions: rejection with a bound, discrete proxies, and checks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from linalgkit import AccuracyWarning
from linalgkit._core import array as core_array
from linalgkit.sampling import sample_design
from linalgkit.sampling._user import UserBasis

DIM = 4
POWERS = np.arange(DIM)
# Means of x^(i + j) under the uniform law on [-1, 1].
GRAM = np.where((POWERS[:, None] + POWERS) % 2 == 0, 1 / (POWERS[:, None] + POWERS + 1.0), 0.0)
# k of the uniform law is largest at the ends: dim^2.
BOUND = float(DIM**2)


def monomials(points: Any) -> Any:
    xp = core_array.array_namespace(points)
    return xp.concat([points**k for k in range(DIM)], axis=1)


def uniform(n: int, rng: Any) -> Any:
    return rng.uniform(-1, 1, (n, 1))


def arcsine(n: int, rng: Any) -> Any:
    """Draws of the arcsine law, and the density of the uniform law with respect to it."""
    angle = math.pi * rng.random(n)
    return np.cos(angle)[:, None], math.pi / 2 * np.sin(angle)


def waves(points: Any) -> Any:
    """A complex basis whose Gram matrix differs from its conjugate."""
    u = points[:, 0] * (1 + 0j)
    return np.stack((np.ones_like(u), u + 1j * u**2, np.exp(1j * math.pi * u)), axis=1)


def rule(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    t, w = special.roots_legendre(count)
    return t[:, None], w / 2


def waves_gram() -> np.ndarray:
    x, w = rule()
    F = waves(x)
    return (F.conj().T * w) @ F


def exact_k(fun: Any, gram: np.ndarray, x: np.ndarray) -> np.ndarray:
    F = fun(x)
    return np.einsum("ip,pq,iq->i", F.conj(), np.linalg.inv(gram).T, F).real


def kept(basis: UserBasis, count: int, seed: int) -> np.ndarray:
    """Proposals kept with the probability of norm over envelope."""
    rng = np.random.default_rng(seed)
    drawn = basis.draw(count, rng)
    rows = drawn.rows if basis.whitener is None else drawn.rows @ basis.whitener
    norms = (np.abs(rows) ** 2).sum(axis=1)
    assert np.all(norms <= drawn.envelope * (1 + 1e-12))
    return np.asarray(drawn.points)[rng.random(count) * drawn.envelope < norms]


def p_value(points: np.ndarray, fun: Any, gram: np.ndarray) -> float:
    """Chi-square on counts against the law ``k / dim`` on [-1, 1]."""
    edges = np.linspace(-1, 1, 25)
    t, w = special.roots_legendre(20)
    x = edges[:-1, None] + (t + 1) / 24
    expected = exact_k(fun, gram, x.reshape(-1, 1)).reshape(x.shape) @ w / 48 / len(gram)
    assert abs(expected.sum() - 1) < 1e-10
    counts = np.histogram(points[:, 0], edges)[0]
    mean = expected * len(points)
    return float(stats.chi2.sf(((counts - mean) ** 2 / mean).sum(), mean.size - 1))


# ------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize(
    ("proposal", "bound"),
    # Bernstein: psi_j^2 sqrt(1 - x^2) <= 4 / pi for all but the constant, whose is at most 1.
    [(uniform, BOUND), (arcsine, math.pi / 2 * (1 + (DIM - 1) * 4 / math.pi))],
)
def test_rejection_leaves_the_optimal_law(proposal: Any, bound: float) -> None:
    basis = UserBasis(monomials, DIM, proposal=proposal, bound=bound, gram=GRAM)
    assert basis.exact
    points = kept(basis, 60_000, 1)
    assert p_value(points, monomials, GRAM) > 1e-4
    # dim / bound of the proposals are kept: an exact binomial law.
    assert stats.binomtest(len(points), 60_000, DIM / bound).pvalue > 1e-4


def test_counts_tell_the_proposal_from_the_optimal_law() -> None:
    rng = np.random.default_rng(2)
    assert p_value(uniform(20_000, rng), monomials, GRAM) < 1e-12
    assert p_value(arcsine(20_000, rng)[0], monomials, GRAM) < 1e-12


def test_complex_functions() -> None:
    gram = waves_gram()
    assert np.abs(gram - gram.conj()).max() > 0.1
    x, _ = rule(400)
    bound = 1.05 * float(exact_k(waves, gram, np.linspace(-1, 1, 2001)[:, None]).max())
    basis = UserBasis(waves, 3, proposal=uniform, bound=bound, gram=gram)
    np.testing.assert_allclose(basis.christoffel(x), exact_k(waves, gram, x), rtol=1e-12)
    assert p_value(kept(basis, 60_000, 3), waves, gram) > 1e-4


def test_whitener_makes_the_functions_orthonormal() -> None:
    x, w = rule()
    for fun, gram in ((monomials, GRAM), (waves, waves_gram())):
        basis = UserBasis(fun, len(gram), proposal=uniform, bound=1e3, gram=gram)
        rows = basis.evaluate(x) @ basis.whitener
        identity = np.eye(len(gram))
        np.testing.assert_allclose((rows.conj().T * w) @ rows, identity, rtol=0, atol=1e-12)


def test_bounded_functions_without_a_gram_matrix_are_taken_as_orthonormal() -> None:
    def legendre(points: Any) -> Any:
        return math.sqrt(2) ** 0 * np.sqrt(2 * POWERS + 1) * special.eval_legendre(POWERS, points)

    basis = UserBasis(legendre, DIM, proposal=uniform, bound=BOUND)
    assert basis.whitener is None
    assert p_value(kept(basis, 60_000, 4), monomials, GRAM) > 1e-4


@pytest.mark.parametrize("proposal", [uniform, arcsine])
@pytest.mark.parametrize("gram", [None, GRAM], ids=["estimated", "given"])
def test_proxies_say_that_they_are_not_exact(proposal: Any, gram: Any) -> None:
    basis = UserBasis(monomials, DIM, proposal=proposal, gram=gram, n_proxy=5000, rng=9)
    assert not basis.exact
    drawn = basis.draw(20_000, np.random.default_rng(5))
    assert len(np.unique(drawn.points)) <= 5000
    np.testing.assert_allclose(drawn.envelope, basis.christoffel(drawn.points), rtol=1e-12)
    # The law over the finite set: counts of points in bins of it.
    k = basis.christoffel(basis._points)
    ratio = np.diff(np.append(0, basis._levels)) / k
    share = ratio * k / (ratio * k).sum()
    edges = np.linspace(-1, 1, 25)
    expected = np.histogram(basis._points[:, 0], edges, weights=share)[0] * 20_000
    counts = np.histogram(drawn.points[:, 0], edges)[0]
    assert stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), 23) > 1e-4
    if gram is None:
        weighted = (ratio / ratio.sum())[:, None] * monomials(basis._points)
        G = monomials(basis._points).T @ weighted
        np.testing.assert_allclose(basis.whitener.T @ G @ basis.whitener, np.eye(4), atol=1e-11)
    else:
        x = np.linspace(-1, 1, 9)[:, None]
        np.testing.assert_allclose(basis.christoffel(x), exact_k(monomials, GRAM, x), rtol=1e-11)


def test_size_of_the_proxy_by_default() -> None:
    assert UserBasis(monomials, DIM, proposal=uniform)._points.shape == (10_000, 1)


def test_proxy_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = UserBasis(monomials, DIM, proposal=uniform, n_proxy=300)
    monkeypatch.setattr("linalgkit.sampling._user._CHUNK", 70)
    parts = UserBasis(monomials, DIM, proposal=uniform, n_proxy=300)
    np.testing.assert_allclose(parts.whitener, whole.whitener, rtol=1e-11)
    np.testing.assert_allclose(parts._levels, whole._levels, rtol=1e-11)


def test_draws_of_the_measure() -> None:
    basis = UserBasis(monomials, DIM, proposal=uniform, bound=BOUND, gram=GRAM)
    found = basis.draw_measure(5, np.random.default_rng(3))
    assert np.array_equal(found, uniform(5, np.random.default_rng(3)))


def test_copies() -> None:
    for bound in (None, BOUND):
        basis = UserBasis(monomials, DIM, proposal=uniform, bound=bound, gram=GRAM)
        again = copy.deepcopy(basis)
        rng = np.random.default_rng
        assert np.array_equal(again.draw(9, rng(1)).points, basis.draw(9, rng(1)).points)
        assert "monomials, 4" in repr(basis)


def test_vectors_of_points_for_one_variable() -> None:
    basis = UserBasis(monomials, DIM, proposal=uniform, bound=BOUND, gram=GRAM)
    x = np.linspace(-1, 1, 5)
    assert np.array_equal(basis.evaluate(x), monomials(x[:, None]))
    assert basis.christoffel(x).shape == (5,)
    assert basis.evaluate(np.empty((0, 1))).shape == (0, DIM)
    assert basis.christoffel(np.empty((0, 1))).shape == (0,)


# -------------------------------------------------------------------------------- libraries


@pytest.mark.parametrize("bound", [None, BOUND], ids=["proxy", "bound"])
def test_every_library(xp: Any, bound: float | None) -> None:
    def draw(n: int, rng: Any) -> Any:
        return xp.asarray(uniform(n, rng))

    n_proxy = 200 if bound is None else None
    basis = UserBasis(monomials, DIM, proposal=draw, bound=bound, gram=GRAM, n_proxy=n_proxy)
    drawn = basis.draw(20, np.random.default_rng(6))
    assert basis.dtype == drawn.rows.dtype == basis.whitener.dtype == xp.float
    for array in (drawn.points, drawn.rows, basis.whitener):
        assert core_array.device(array) == basis.device == xp.device
    assert isinstance(drawn.envelope, np.ndarray)
    assert drawn.envelope.dtype == np.float64
    expected = UserBasis(monomials, DIM, proposal=uniform, bound=bound, gram=GRAM, n_proxy=n_proxy)
    wanted = expected.draw(20, np.random.default_rng(6))
    tolerance = 100 * xp.tolerance
    np.testing.assert_allclose(xp.to_numpy(drawn.points), wanted.points, rtol=0, atol=tolerance)
    np.testing.assert_allclose(drawn.envelope, wanted.envelope, rtol=tolerance)
    k = expected.christoffel(xp.asarray(wanted.points))  # of another library than the basis
    assert core_array.device(k) == xp.device
    np.testing.assert_allclose(
        xp.to_numpy(k), exact_k(monomials, GRAM, wanted.points), rtol=tolerance
    )


# ----------------------------------------------------------------------------------- errors


def test_a_violated_bound_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"got \d+\.\d+ at one, more than bound=5"):
        UserBasis(monomials, DIM, proposal=uniform, bound=5.0, gram=GRAM)
    # A violation that the points of the set-up do not meet is met later, or never.
    basis = UserBasis(monomials, DIM, proposal=uniform, bound=BOUND, gram=GRAM)
    basis.bound = 5.0
    with pytest.raises(RuntimeError, match=r"got \d+\.\d+ at one, more than bound=5"):
        basis.draw(1000, np.random.default_rng(0))


def test_draws_of_the_measure_need_a_proposal_that_draws_it() -> None:
    basis = UserBasis(monomials, DIM, proposal=arcsine, bound=BOUND, gram=GRAM)
    with pytest.raises(ValueError, match=r"return no ratio.*mixture < 1"):
        basis.draw_measure(3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"fun": 3}, TypeError, "fun must be callable"),
        ({"proposal": None}, TypeError, "proposal must be callable"),
        ({"dim": 0}, ValueError, "dim must be at least 1"),
        ({"dim": 5}, ValueError, r"fun must return an array of shape \(2, 5\)"),
        ({"bound": 3.0}, ValueError, "bound must be at least 4 for 4 functions"),
        ({"bound": math.inf}, ValueError, "bound must be greater than 0"),
        ({"n_proxy": 10}, ValueError, "n_proxy must be None where a bound is given"),
        ({"bound": None, "n_proxy": 3}, ValueError, "n_proxy must be at least 4"),
        ({"gram": np.eye(3)}, ValueError, r"gram must have shape \(4, 4\)"),
        ({"gram": -np.eye(4)}, ValueError, "positive definite"),
        ({"gram": np.eye(4) * np.nan}, ValueError, "gram must not contain NaN"),
        ({"gram": np.eye(4) + 1j}, TypeError, "gram must be real for real functions"),
        ({"gram": np.triu(np.ones((4, 4)))}, ValueError, "gram must be Hermitian"),
        ({"fun": lambda x: monomials(x)[1:, :]}, ValueError, "fun must return an array of shape"),
        (
            {"fun": lambda x: monomials(x) * np.nan},
            ValueError,
            "values of fun must not contain NaN",
        ),
        ({"fun": lambda x: "no"}, TypeError, "the values of fun must be an array"),
        (
            {"proposal": lambda n, rng: rng.random(n)},
            ValueError,
            r"proposal must return points of shape",
        ),
        ({"proposal": lambda n, rng: rng.random((1, 1))}, ValueError, r"shape \(16000, d\)"),
        (
            {"proposal": lambda n, rng: np.full((n, 1), np.inf)},
            ValueError,
            "points of proposal must",
        ),
        (
            {"proposal": lambda n, rng: (uniform(n, rng),) * 3},
            ValueError,
            r"\(points, ratio\), got 3",
        ),
        (
            {"proposal": lambda n, rng: (uniform(n, rng), np.ones(1))},
            ValueError,
            r"ratio of shape \(16000,\)",
        ),
        (
            {"proposal": lambda n, rng: (uniform(n, rng), np.zeros(n))},
            ValueError,
            "positive and finite",
        ),
        ({"rng": "seed"}, TypeError, "rng must be None"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_that_are_refused(
    change: dict[str, Any], error: type[Exception], text: str
) -> None:
    arguments = {
        "fun": monomials, "dim": DIM, "proposal": uniform, "bound": BOUND, "gram": GRAM, **change,
    }  # fmt: skip
    with pytest.raises(error, match=text):
        UserBasis(arguments.pop("fun"), arguments.pop("dim"), **arguments)


def test_dependent_functions_are_refused() -> None:
    def twice(points: Any) -> Any:
        return np.concatenate((points, points), axis=1)

    with pytest.raises(ValueError, match="nearly dependent"):
        UserBasis(twice, 2, proposal=uniform, n_proxy=100)


def test_values_of_another_library_are_refused() -> None:
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="library of its points, numpy, got array_api_strict"):
        UserBasis(lambda x: strict.asarray(monomials(x)), DIM, proposal=uniform, bound=BOUND)


@pytest.mark.parametrize(
    ("points", "error", "text"),
    [
        ([[0.0, 1.0]], ValueError, r"points must have shape \(n, 1\)"),
        ([[math.inf]], ValueError, "must not contain NaN or infinity"),
        ([[1j]], TypeError, "points must be real"),
    ],
)  # fmt: skip
def test_points_that_are_refused(points: Any, error: type[Exception], text: str) -> None:
    basis = UserBasis(monomials, DIM, proposal=uniform, bound=BOUND, gram=GRAM)
    for call in (basis.evaluate, basis.christoffel):
        with pytest.raises(error, match=text):
            call(points)


def test_functions_that_are_not_orthonormal_are_refused() -> None:
    for m in (2, 3, 6):
        with pytest.raises(ValueError, match=r"fun must be orthonormal .* chance explains"):
            UserBasis(lambda x, m=m: x ** np.arange(m), m, proposal=uniform, bound=2.0 * m)
    gram = np.asarray([[1, 0.2], [0.2, 1 / 3]])
    with pytest.raises(ValueError, match="fun must have the Gram matrix given"):
        UserBasis(lambda x: x ** np.arange(2), 2, proposal=uniform, bound=30.0, gram=gram)


def spikes(share: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the constant, and a function that is large on a small share of the interval."""

    def values(x: np.ndarray) -> np.ndarray:
        height = (np.abs(x) < share) / math.sqrt(share * (1 - share))
        return np.concatenate([np.ones_like(x), height - math.sqrt(share / (1 - share))], axis=1)

    return values


def test_orthonormal_functions_are_not_refused_by_chance() -> None:
    for seed in range(20):
        UserBasis(spikes(1e-3), 2, proposal=uniform, bound=1.1e3, rng=seed)
    with pytest.warns(AccuracyWarning, match=r"to within \d\.?\d* only"):
        UserBasis(spikes(1e-4), 2, proposal=uniform, bound=1.1e4)


def test_functions_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="fun must be orthonormal"):
        UserBasis(lambda x: 1.1 * spikes(0.3)(x), 2, proposal=uniform, bound=25.0)


def test_nearly_dependent_functions_are_refused_or_whitened_well() -> None:
    for powers in ([1, 1], [1, 2, 2]):
        with pytest.raises(ValueError, match="nearly dependent"):
            UserBasis(lambda x, p=powers: x**p, len(powers), proposal=uniform)

    def monomials_of(m: int) -> UserBasis:
        return UserBasis(lambda x: x ** np.arange(m), m, proposal=uniform)

    basis = monomials_of(16)
    rows = basis.evaluate(basis._points) @ basis.whitener
    gram = rows.T @ rows / rows.shape[0]
    assert np.abs(gram - np.eye(16)).max() < 1e-6
    with pytest.raises(ValueError, match="nearly dependent"):
        monomials_of(30)


def test_a_proxy_has_a_measure_to_draw_from() -> None:
    basis = UserBasis(monomials, DIM, proposal=arcsine)
    points = basis.draw_measure(20_000, np.random.default_rng(0))
    # The proposal is the arcsine law; weights bring back the uniform one.
    assert abs(points.var() - 1 / 3) < 0.02
    design = sample_design(basis, 40, method="iid", mixture=0.5, rng=0)
    assert design.weights.max() <= 2.0


def test_a_gram_matrix_without_a_bound_is_tested_on_the_proxy() -> None:
    for factor in (1e-4, 4.0):
        with pytest.raises(ValueError, match="fun must have the Gram matrix given"):
            UserBasis(monomials, DIM, proposal=uniform, gram=factor * GRAM)
    for seed in range(20):
        UserBasis(monomials, DIM, proposal=uniform, gram=GRAM, rng=seed)
        UserBasis(monomials, DIM, proposal=arcsine, gram=GRAM, rng=seed)
