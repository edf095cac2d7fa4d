"""Thinning of weighted point sets: greedy removal, barrier potentials, and the constants."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from linalgkit import AccuracyWarning
from linalgkit.sampling import theory
from linalgkit.sampling._bss import bss_subsample
from linalgkit.sampling._greedy import greedy_subsample
from linalgkit.sampling._subsample import Subsample

Draw = np.random.Generator
DTYPES = ("float32", "float64", "complex64", "complex128")


def orthonormal(rng: Draw, n: int, m: int, dtype: str = "float64") -> np.ndarray:
    """Rows with ``(1/n) A^H A = I``."""
    A = rng.standard_normal((n, m))
    if dtype.startswith("complex"):
        A = A + 1j * rng.standard_normal((n, m))
    return np.linalg.qr(A)[0] * np.sqrt(n)


def optimal(rng: Draw, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Random points on the circle with `m` harmonics, and weights near 1."""
    t = rng.uniform(0, 2 * np.pi, n)
    angles = np.outer(t, np.arange(1, m))
    A = np.where(np.arange(1, m) % 2 == 0, np.cos(angles), np.sin(angles)) * np.sqrt(2)
    return np.concatenate([np.ones((n, 1)), A], axis=1), rng.uniform(0.9, 1.1, n)


def gram(A: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (A.conj().T * weights) @ A / A.shape[0]


# ------------------------------------------------------------------------------------ greedy


@pytest.mark.parametrize("criterion", [("lmin", 0.9), ("lmin", 0.7), ("norm", 0.9)], ids=str)
def test_greedy_keeps_the_criterion_and_could_not_go_on(
    rng: Draw, criterion: tuple[str, float]
) -> None:
    A, w = optimal(rng, 150, 12)
    found = greedy_subsample(A, w, criterion=criterion)
    kept = np.asarray(found.indices)
    G = gram(A[kept], w[kept])
    values = np.linalg.eigvalsh(G)
    np.testing.assert_allclose(found.gram, G, atol=1e-13)
    np.testing.assert_allclose([found.lmin, found.lmax], values[[0, -1]], rtol=1e-12)
    np.testing.assert_array_equal(found.weights, w[kept])
    assert (np.diff(kept) > 0).all()
    assert len(found) == len(kept) < 60
    word, delta = criterion

    def worst(rows: np.ndarray) -> float:
        v = np.linalg.eigvalsh(gram(A[rows], w[rows]))
        return float(max(1 - v[0], v[-1] - 1) if word == "norm" else 1 - v[0])

    assert worst(kept) <= delta + 1e-12
    if found.status == "criterion":
        assert min(worst(np.delete(kept, i)) for i in range(len(kept))) > delta
    else:
        assert found.status == "dim"
        assert len(kept) == 12


def test_greedy_removes_what_a_brute_force_comparison_removes(rng: Draw) -> None:
    A, w = optimal(rng, 90, 7)
    left = list(range(90))
    while len(left) > 7:
        candidates = [left[:i] + left[i + 1 :] for i in range(len(left))]
        values = [np.linalg.eigvalsh(gram(A[c], w[c]))[0] for c in candidates]
        best = int(np.argmax(values))
        if values[best] < 0.3:
            break
        left = candidates[best]
    found = greedy_subsample(A, w, criterion=("lmin", 0.7))
    assert np.asarray(found.indices).tolist() == left  # more removals than between two restarts


def test_greedy_stops_at_the_least_number_of_points(rng: Draw) -> None:
    A, w = optimal(rng, 60, 5)
    found = greedy_subsample(A, w, n_min=31)
    assert (len(found), found.status) == (31, "n_min")
    full = greedy_subsample(A, w, n_min=60)
    assert (len(full), full.status) == (60, "n_min")
    square = greedy_subsample(np.eye(3) * np.sqrt(3), np.ones(3))
    assert (len(square), square.status) == (3, "dim")


@pytest.mark.parametrize("criterion", [("lmin", 0.2), ("norm", 0.2)], ids=str)
def test_greedy_leaves_a_set_that_breaks_the_criterion(
    rng: Draw, criterion: tuple[str, float]
) -> None:
    A, w = optimal(rng, 20, 8)
    with pytest.warns(AccuracyWarning, match=r"above delta = 0\.2: nothing"):
        found = greedy_subsample(A, w, criterion=criterion)
    assert (len(found), found.status) == (20, "unreachable")
    np.testing.assert_allclose(found.lmin, np.linalg.eigvalsh(gram(A, w))[0])


def test_greedy_reaches_the_figure_of_the_issue() -> None:
    from linalgkit.sampling._design import sample_design
    from linalgkit.sampling._families import Legendre
    from linalgkit.sampling._indices import multi_index
    from linalgkit.sampling._tensor import TensorBasis

    basis = TensorBasis(Legendre(), multi_index(2, 8))
    for seed in range(3):
        design = sample_design(basis, 270, method="rdpp", rng=seed)
        found = greedy_subsample(basis.evaluate(design.points), design.weights)
        assert len(found) <= 1.05 * 45
        assert found.lmin >= 0.1


# --------------------------------------------------------------------------------------- bss


def check_bss(A: np.ndarray, b: float, weights: np.ndarray | None = None) -> Subsample:
    """Hold a choice to the theorem, relative to the start."""
    n, m = A.shape
    found = bss_subsample(A, b, weights=weights)
    kept, new = np.asarray(found.indices), np.asarray(found.weights)
    start = gram(A, np.ones(n) if weights is None else weights)
    G = gram(A[kept], new)
    scale = abs(np.diag(start)).max()
    np.testing.assert_allclose(found.gram, G, atol=1e-12 * abs(G).max())
    assert len(kept) <= math.ceil(b * m)
    assert (new > 0).all()
    assert found.status == "bound"
    relative = scipy.linalg.eigh(G / scale, start / scale, eigvals_only=True)
    kappa = theory.bss_bound(b)
    assert relative[-1] / relative[0] <= kappa * (1 + 1e-9)
    assert math.isclose(relative.sum(), m, rel_tol=1e-7)
    low, high = np.linalg.eigvalsh(start / scale)[[0, -1]]
    assert found.lmin >= low * scale / kappa * (1 - 1e-7)
    assert found.lmax <= high * scale * kappa * (1 + 1e-7)
    return found


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("b", [1.05, 1.5, 2.0, 4.0, 9.0])
def test_bss_keeps_the_bound_of_the_theorem(rng: Draw, b: float, dtype: str) -> None:
    for n, m in [(60, 6), (300, 12), (40, 1), (13, 12), (8, 8)]:
        check_bss(orthonormal(rng, n, m, dtype), b)


def adversarial(rng: Draw, m: int) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Frames on which a uniform choice fails."""
    coherent = orthonormal(rng, 200, m) * 0.01
    coherent[:m] += np.eye(m) * 50.0
    scales = 10.0 ** rng.uniform(-6, 6, 150)
    return {
        "coherent": (coherent, None),
        "few directions": (np.tile(np.eye(m), (30, 1)), None),
        "repeated": (np.repeat(orthonormal(rng, 20, m), 10, axis=0), None),
        "graded rows": (rng.standard_normal((150, m)) * scales[:, None], None),
        "graded weights": (rng.standard_normal((150, m)), scales),
        "skew": (orthonormal(rng, 100, m) @ np.diag(10.0 ** -np.arange(m)), None),
    }


@pytest.mark.parametrize("name", list(adversarial(np.random.default_rng(0), 5)))
def test_bss_keeps_the_bound_on_hard_frames(rng: Draw, name: str) -> None:
    A, weights = adversarial(rng, 5)[name]
    for b in (1.2, 2.0, 6.0):
        check_bss(A, b, weights)


def test_a_uniform_choice_does_not_keep_the_bound(rng: Draw) -> None:
    A, b = np.tile(np.eye(20), (30, 1)), 1.5
    kappa, failures = theory.bss_bound(b), 0
    for _ in range(100):
        kept = rng.choice(600, 30, replace=False)
        values = np.linalg.eigvalsh(gram(A[kept], np.ones(30)))
        failures += values[-1] > kappa * values[0]
    assert failures >= 90
    check_bss(A, b)


def test_bss_is_deterministic_and_keeps_everything_where_it_may(rng: Draw) -> None:
    A = orthonormal(rng, 50, 6)
    first, second = bss_subsample(A, 2.0), bss_subsample(A, 2.0)
    assert np.array_equal(first.indices, second.indices)
    assert np.array_equal(first.weights, second.weights)
    w = rng.uniform(1, 2, 50)
    for b in (49.5 / 6, 50 / 6, 1e300):
        whole = bss_subsample(A, b, weights=w)
        assert len(whole) == 50
        assert np.array_equal(whole.weights, w)


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_bss_does_not_depend_on_the_unit_of_the_rows(rng: Draw, factor: float) -> None:
    A, w = rng.standard_normal((80, 5)), rng.uniform(0.5, 2, 80)
    plain = bss_subsample(A, 2.0, weights=w)
    scaled = bss_subsample(A * factor, 2.0, weights=w)
    assert np.array_equal(plain.indices, scaled.indices)
    np.testing.assert_allclose(scaled.weights, plain.weights, rtol=1e-10)
    np.testing.assert_allclose(scaled.lmin / factor / factor, plain.lmin, rtol=1e-10)
    heavy = bss_subsample(A, 2.0, weights=w * factor)
    np.testing.assert_allclose(heavy.weights / factor, plain.weights, rtol=1e-10)


# ------------------------------------------------------------------------- libraries, dtypes


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_library_keeps_the_same_points(xp: Any, dtype: str) -> None:
    if dtype not in xp.all_dtypes:
        pytest.skip("the device has no such dtype")
    rng = np.random.default_rng(5)
    A = orthonormal(rng, 60, 6, dtype).astype(dtype)
    w = rng.uniform(0.8, 1.2, 60).astype("float32" if dtype in ("float32", "complex64") else None)
    for thin in (lambda a, v: greedy_subsample(a, v), lambda a, v: bss_subsample(a, 2, weights=v)):
        expected = thin(A, w)
        found = thin(xp.asarray(A, dtype), xp.asarray(w))
        assert xp.to_numpy(found.indices).tolist() == np.asarray(expected.indices).tolist()
        assert xp.xp.isdtype(found.indices.dtype, "integral")
        assert found.weights.dtype == xp.asarray(w).dtype
        np.testing.assert_allclose(xp.to_numpy(found.weights), expected.weights, rtol=1e-6)
        wide = "complex" if "complex" in dtype else "float"
        assert str(found.gram.dtype).endswith(wide + ("64" if wide == "float" else "128")) or (
            not xp.has_float64
        )
        assert (found.lmin, found.lmax) == (expected.lmin, expected.lmax)
    taken = xp.xp.take(xp.asarray(A, dtype), found.indices, axis=0)
    assert taken.shape[0] == len(found)


def test_integers_are_taken_and_weights_may_be_left_out(rng: Draw) -> None:
    A = rng.integers(-3, 4, (40, 3))
    found = bss_subsample(A, 2)
    assert found.weights.dtype == np.float64
    np.testing.assert_array_equal(bss_subsample(A * 1.0, 2).weights, found.weights)
    # Weights of one, then, and integers as any others.
    again = bss_subsample(A, 2, weights=np.ones(40, dtype=int))
    np.testing.assert_array_equal(again.weights, found.weights)


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("criterion", "kind", "words"),
    [
        (("lmin", 0), ValueError, r"criterion\[1\] must be greater than 0 and less than 1, got 0"),
        (("lmin", 1.0), ValueError, r"criterion\[1\] must be greater than 0 and less than 1"),
        (("norm", np.nan), ValueError, "less than 1, got nan"),
        (("lmax", 0.5), ValueError, r"criterion\[0\] must be one of 'lmin', 'norm'"),
        (("lmin", "a"), TypeError, "must be a real number"),
        (("lmin",), ValueError, "must be a pair"),
        ("lmin", TypeError, "must be a pair"),
        (None, TypeError, "must be a pair"),
    ],
    ids=str,
)
def test_a_wrong_criterion_is_refused(
    rng: Draw, criterion: Any, kind: type[Exception], words: str
) -> None:
    A, w = optimal(rng, 20, 3)
    with pytest.raises(kind, match=words):
        greedy_subsample(A, w, criterion=criterion)


def test_wrong_rows_weights_and_numbers_are_refused(rng: Draw) -> None:
    A, w = optimal(rng, 20, 3)

    def both(words: str, kind: type[Exception], rows: Any, weights: Any) -> None:
        with pytest.raises(kind, match=words):
            greedy_subsample(rows, weights)
        with pytest.raises(kind, match=words):
            bss_subsample(rows, 2.0, weights=weights)

    spoilt = A.copy()
    spoilt[4, 1] = np.nan
    both("A must not contain NaN or infinity, got one in row 4", ValueError, spoilt, w)
    both("A must be 2-D", ValueError, A[:, 0], w)
    both(r"A must have at least as many rows as columns, got shape \(2, 3\)", ValueError, A[:2], w)
    both("A must have at least 1 row", ValueError, A[:0], w[:0])
    both("weights must have one entry for each of the 20 rows", ValueError, A, w[:19])
    both("weights must have one entry", ValueError, A, w[:, None])
    both("weights must be real", TypeError, A, w * 1j)
    both("A must be an array, a dataframe or a list of numbers, got set", TypeError, {1.0}, w)
    for bad, words in ((0.0, "must be positive, got 0.0 in entry 7"), (-1.0, "got -1.0")):
        both(words, ValueError, A, np.where(np.arange(20) == 7, bad, w))
    for bad in (np.nan, np.inf):
        both("weights must not contain NaN", ValueError, A, np.where(np.arange(20) == 7, bad, w))
    for n_min, words in ((2, "n_min must be between 3 and 20"), (21, "between 3 and 20")):
        with pytest.raises(ValueError, match=words):
            greedy_subsample(A, w, n_min=n_min)
    with pytest.raises(TypeError, match="n_min must be an integer"):
        greedy_subsample(A, w, n_min=5.0)
    for b in (1, 0.5, np.inf, np.nan):
        with pytest.raises(ValueError, match="b must be greater than 1"):
            bss_subsample(A, b)
    with pytest.raises(TypeError, match="b must be a real number"):
        bss_subsample(A, "2")
    with pytest.raises(ValueError, match="full column rank after weighting, got rank 2 for 3"):
        bss_subsample(np.concatenate([A[:, :2], A[:, :1] + A[:, 1:2]], axis=1), 2.0)


def test_arrays_of_two_libraries_are_refused(xp: Any, rng: Draw) -> None:
    if xp.name == "numpy":
        pytest.skip("one library")
    A, w = optimal(rng, 20, 3)
    with pytest.raises(TypeError, match="must come from one library"):
        greedy_subsample(xp.asarray(A), w)
    with pytest.raises(TypeError, match="must come from one library"):
        bss_subsample(xp.asarray(A), 2.0, weights=w)


# ------------------------------------------------------------------------------------ theory


def test_sizes_are_those_of_the_published_experiments() -> None:
    assert round(11 * math.log(2 * 11 / 0.01) / theory.chernoff_constant(0.9) / 11, 1) == 24.1
    assert abs(theory.iid_size(11, 0.9, 0.01) / 11 - 24.1) < 0.1
    assert abs(theory.iid_size(45, 0.9, 0.01) / 45 - 28.5) < 0.1


@pytest.mark.parametrize("kind", ["norm", "lmin"])
@pytest.mark.parametrize("delta", [0.1, 0.5, 0.9])
def test_a_size_is_the_least_one_that_the_bound_allows(kind: str, delta: float) -> None:
    n = theory.iid_size(20, delta, 0.01, kind)
    assert theory.chernoff_failure(20, n, delta, kind) <= 0.01
    assert theory.chernoff_failure(20, n - 1, delta, kind) > 0.01
    assert theory.chernoff_failure(20, 20, delta, kind) == 1.0
    half = theory.chernoff_failure(20, 2 * n, delta, kind, mixture=0.5)
    assert math.isclose(half, theory.chernoff_failure(20, n, delta, kind))
    boosted = theory.iid_size(20, delta, 0.01, kind, boost=2)
    assert boosted == theory.iid_size(20, delta, 0.1, kind)


@pytest.mark.parametrize("delta", [1e-4, 0.3, 0.9, 0.999])
def test_chernoff_constants_against_many_digits(delta: float) -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        d = mpmath.mpf(delta)
        two = (1 + d) * mpmath.log(1 + d) - d
        one = d + (1 - d) * mpmath.log(1 - d)
    assert abs(theory.chernoff_constant(delta) / two - 1) < 1e-10
    assert abs(theory.chernoff_constant(delta, "lmin") / one - 1) < 1e-10


def test_the_chernoff_bound_is_above_the_exact_probability() -> None:
    # Two functions on two points: G is diagonal, with entries 2 k / n and 2 (n - k) / n.
    from scipy.stats import binom

    for n in (4, 10, 40, 100):
        k = np.arange(n + 1)
        lowest = 2 * np.minimum(k, n - k) / n
        for delta in (0.5, 0.9):
            failure = binom.pmf(k, n, 0.5)[lowest < 1 - delta].sum()
            assert failure <= theory.chernoff_failure(2, n, delta, "lmin")
            assert failure <= theory.chernoff_failure(2, n, delta)


def test_expected_proposals_are_the_sum_of_expected_waiting_times() -> None:
    assert theory.expected_proposals(1) == 1.0
    assert math.isclose(theory.expected_proposals(4), 4 / 4 + 4 / 3 + 4 / 2 + 4 / 1)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_expected_inverse_of_volume_rescaled_designs(rng: Draw, n: int) -> None:
    # All n-tuples of 5 points; rows on a circle: sets of deficient rank are repetitions only.
    phi = orthonormal(rng, 5, 2)
    w = 2 / np.sum(phi**2, axis=1)
    nu = 1 / (5 * w)
    total, weight = np.zeros((2, 2)), 0.0
    singular = 0.0
    for places in itertools.product(range(5), repeat=n):
        rows = list(places)
        G = gram(phi[rows], w[rows])
        density = np.linalg.det(G) * nu[rows].prod()
        weight += density
        if len(set(rows)) > 1:
            total += density * np.linalg.inv(G)
        else:
            singular += nu[rows].prod()
    factor = theory.volume_inverse(2, n)
    values = np.linalg.eigvalsh(total / weight)
    assert values[-1] <= factor * (1 + 1e-12)
    # What is missing is the adjugate of the singular sets, of probability `singular` before.
    assert values[-1] >= factor * (1 - 2 * singular * math.factorial(n))


def test_the_bound_of_barrier_potentials() -> None:
    assert math.isclose(theory.bss_bound(4.0), 9.0)
    assert math.isclose(theory.bss_bound(2.0), (3 + 2 * math.sqrt(2)) / (3 - 2 * math.sqrt(2)))
