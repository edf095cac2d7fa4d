"""The paper's algorithms by name: against NumPy's polynomials, plain SVDs and the paper's data."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import chebyshev as polynomial
from scipy.interpolate import CubicSpline

from linalgkit._core.array import numpy_namespace
from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev import theory

HOST = numpy_namespace()
SQUARE = [(-1.0, 1.0)] * 2
CUBE = [(-1.0, 1.0)] * 3


def cells(n):
    return (2 * np.arange(n) + 1 - n) / n


def cheb2(m):
    return -np.cos(np.pi * np.arange(m) / (m - 1))


def points_in(domain, n=800, seed=5):
    a, b = np.array(domain, dtype=float).T
    return a + (b - a) * np.random.default_rng(seed).random((n, len(domain)))


def published_ranks(C, tol):
    """The last index with a tail above the tolerance, mode by mode, by full SVDs."""
    ranks = []
    for k in range(C.ndim):
        s = np.linalg.svd(np.moveaxis(C, k, 0).reshape(C.shape[k], -1), compute_uv=False)
        tails = np.sqrt(np.cumsum(s[::-1] ** 2))[::-1]
        ranks.append(int(np.sum(tails > tol * np.linalg.norm(C) / math.sqrt(C.ndim))))
    return tuple(ranks)


def interpolant(F):
    C = F
    for k, m in enumerate(F.shape):
        C = np.apply_along_axis(lambda v, m=m: polynomial.chebfit(cheb2(m), v, m - 1), k, C)
    return C


def wave(x):
    return 1 / (4 + x[:, 0] + 2 * x[:, 1] * x[:, 2]) + 0.3 * x[:, 2]


@pytest.mark.parametrize("tol", [1e-3, 1e-7])
def test_functional_hosvd_has_the_published_ranks(tol):
    m = 17
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # the published tolerance is in another norm
        T = theory.functional_hosvd(wave, CUBE, m=m, tol=tol)
    within = T.error_estimate <= tol * T.scale
    assert T.status == ("converged" if within else "inaccurate")
    assert [w.category for w in caught] == ([] if within else [AccuracyWarning])
    grid = np.stack(np.meshgrid(*[cheb2(m)] * 3, indexing="ij"), -1).reshape(-1, 3)
    assert T.ranks == published_ranks(interpolant(wave(grid).reshape(m, m, m)), tol)
    assert T.degrees == (m - 1,) * 3
    points = points_in(CUBE)
    error = np.max(np.abs(T(points) - wave(points)))
    assert error <= 10 * tol * T.scale
    assert error / 10 <= T.error_estimate <= 10 * error
    assert T.n_evals == m**3 + 1024


def test_alternating_sweeps_keep_the_ranks_and_do_not_hurt():
    m, tol = 17, 1e-3
    plain = theory.functional_hosvd(wave, CUBE, m=m, tol=tol)
    swept = theory.functional_hosvd(wave, CUBE, m=m, tol=tol, n_iter=3)
    assert swept.ranks == plain.ranks
    points = points_in(CUBE)
    errors = [np.sqrt(np.mean((T(points) - wave(points)) ** 2)) for T in (plain, swept)]
    assert errors[1] <= 1.5 * errors[0]


def test_functional_input_on_other_libraries(xp):
    def f(x):
        return xp.xp.exp(x[:, 0] - 0.5 * x[:, 1])

    T = theory.functional_hosvd(f, xp.asarray(SQUARE), m=17, tol=1e-5)
    points = points_in(SQUARE)
    got = xp.to_numpy(T(xp.asarray(points, "float64" if xp.has_float64 else "float32")))
    np.testing.assert_allclose(got, np.exp(points @ [1, -0.5]), atol=1e-4)


def test_too_few_points_are_reported():
    def runge(x):
        return 1 / (1 + 25 * np.sum(x**2, axis=1))

    with pytest.warns(AccuracyWarning, match="number of points is fixed"):
        T = theory.functional_hosvd(runge, SQUARE, m=17)
    points = points_in(SQUARE, 20000)
    error = np.max(np.abs(T(points) - runge(points)))
    assert error / 10 <= T.error_estimate <= 10 * error


def test_tensor_input_is_the_spline_at_the_nodes(xp):
    n, m = 60, 33
    F = np.exp(1j * cells(n)[:, None] * cells(n - 5)[None, :])
    tol = 1e-4
    T = theory.tensor_input(xp.asarray(F), SQUARE, m=m, tol=tol)
    V = CubicSpline(cells(n - 5), CubicSpline(cells(n), F)(cheb2(m)), axis=1)(cheb2(m))
    assert T.ranks == published_ranks(interpolant(V), tol)
    points = points_in(SQUARE)
    got = xp.to_numpy(T(xp.asarray(points, "float64" if xp.has_float64 else "float32")))
    assert np.max(np.abs(got - np.exp(1j * np.prod(points, axis=1)))) <= 1e-3
    assert T.n_evals == n * (n - 5)


def columns(n, R=8):
    x = cells(n)[:, None]
    return np.exp(-np.linspace(1, 4, R) * (x - np.linspace(-0.4, 0.4, R)) ** 2)


def test_canonical_input_by_all_coefficients_and_by_the_reduced_hosvd(xp):
    U = columns(70)
    lam = np.array([1.0, -2, 3, 1, 0.5, -1, 2, 1])
    device = [xp.asarray(U), xp.asarray(U[:, ::-1].copy())]
    points = points_in(SQUARE)
    splines = [CubicSpline(cells(70), u) for u in (U, U[:, ::-1])]
    exact = np.prod([s(points[:, k]) for k, s in enumerate(splines)], axis=0) @ lam
    for algorithm in (theory.cp_full, theory.cp_rhosvd):
        T = algorithm(xp.asarray(lam), device, SQUARE, m=33, tol=1e-4)
        got = xp.to_numpy(T(xp.asarray(points, "float64" if xp.has_float64 else "float32")))
        assert np.max(np.abs(got - exact)) <= 1e-3 * np.max(np.abs(exact))
        assert T.degrees == (32, 32)
        assert T.n_evals == 2 * U.size


def test_the_reduced_hosvd_cuts_columns_absolutely():
    """Released rule: tails of the columns' coefficients above tol / d, whatever the weights."""
    U, m, tol = columns(100), 33, 1e-4
    C = polynomial.chebfit(cheb2(m), CubicSpline(cells(100), U)(cheb2(m)), m - 1)
    s = np.linalg.svd(C, compute_uv=False)
    tails = np.sqrt(np.cumsum(s[::-1] ** 2))[::-1]
    T = theory.cp_rhosvd(np.full(8, 0.01), [U, U, U], CUBE, m=m, tol=tol)
    assert T.ranks == (int(np.sum(tails > tol / 3)),) * 3
    full = theory.cp_full(np.full(8, 0.01), [U, U, U], CUBE, m=m, tol=tol)
    assert max(full.ranks) <= max(T.ranks)


def test_scaled_columns_ruin_the_reduced_hosvd_and_not_the_full_one():
    U = columns(200)
    lam = np.ones(8)
    full = theory.cp_full(lam * 1e12, [U * 1e-4] * 3, CUBE, m=33, tol=1e-6)
    assert full.status == "converged"
    with pytest.warns(AccuracyWarning):
        reduced = theory.cp_rhosvd(lam * 1e12, [U * 1e-4] * 3, CUBE, m=33, tol=1e-6)
    assert reduced.error_estimate > 10 * full.error_estimate


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: theory.functional_hosvd(wave, CUBE, m=1), ValueError, "m must be at least 2"),
        (lambda: theory.functional_hosvd(wave, CUBE, m=1000), ValueError, "main functions"),
        (lambda: theory.functional_hosvd(3, CUBE), TypeError, "f must be a function"),
        (lambda: theory.functional_hosvd(wave, CUBE, n_iter=-1), ValueError, "n_iter"),
        (lambda: theory.functional_hosvd(wave, CUBE, m=5, tol=0), ValueError, "tol must be"),
        (lambda: theory.tensor_input(np.ones((5, 3)), SQUARE), ValueError, "at least 4 a mode"),
        (lambda: theory.cp_full(np.ones(2), [np.ones((5, 3))] * 2, SQUARE), ValueError, "columns"),
        (lambda: theory.cp_rhosvd(np.ones(2), [np.ones((5, 2))] * 2, SQUARE, m=1), ValueError, "m"),
    ],
    ids=["m", "size", "kind", "n_iter", "tol", "few", "rank", "cp m"],
)
def test_bad_input_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_the_biomolecule_of_the_paper_by_both_canonical_algorithms():
    for parent in Path(__file__).resolve().parents:
        path = parent.parent / "shared" / "data" / "biomolecule_n256_500_particles.npz"
        if path.exists():
            break
    else:
        pytest.skip("the paper's data are not here")
    file = np.load(path)
    U, n = [file["U1"], file["U2"], file["U3"]], 256
    weights = file["weights"] / file["h"] ** 3
    x = cells(n)
    exact = (U[0] * (weights * U[2][n // 2 - 1, :])) @ U[1].T
    for algorithm in (theory.cp_full, theory.cp_rhosvd):
        with pytest.warns(AccuracyWarning):  # 1e-7 is below what the grid resolves
            T = algorithm(weights, U, CUBE)
        found = T.grid(x, x, x[n // 2 - 1 : n // 2])[:, :, 0]
        assert T.ranks == (40, 40, 47)
        assert np.max(np.abs(found - exact)) <= 1.4e-6 * np.max(np.abs(exact))
