"""Kronecker orthogonal matching pursuit against least squares with numpy.kron."""

from __future__ import annotations

import functools
import tracemalloc
from typing import Any

import numpy as np
import pytest

from linalgkit._core import array as core_array
from linalgkit.bayes import _omp
from linalgkit.bayes._omp import kron_omp
from tests.conftest import BACKENDS, Backend

SHAPES = [
    [(20, 30)],
    [(15, 20), (20, 25)],
    [(10, 12), (12, 14), (14, 15)],
    [(8, 8), (7, 7), (6, 6), (8, 9)],
]


def draw(rng: Any, *shape: int, is_complex: bool = True) -> Any:
    G = rng.standard_normal(shape)
    return G + 1j * rng.standard_normal(shape) if is_complex else G


def problem(
    shapes: list[tuple[int, int]], k: int = 2, L: int | None = None, is_complex: bool = True
) -> tuple[list[Any], Any, list[Any], Any]:
    """Return factors, the sparse tensor, its supports and clean data."""
    rng = np.random.default_rng(11)
    factors = [draw(rng, m, n, is_complex=is_complex) for m, n in shapes]
    support = [np.sort(rng.choice(n, k, replace=False)) for _, n in shapes]
    trailing = () if L is None else (L,)
    X = np.zeros((*(n for _, n in shapes), *trailing), dtype=factors[0].dtype)
    core = draw(rng, *[k] * len(shapes), *trailing, is_complex=is_complex)
    X[np.ix_(*support, *[np.arange(n) for n in trailing])] = core + 3 * core / np.abs(core)
    D = functools.reduce(np.kron, factors)
    y = (D @ X.reshape(D.shape[1], -1)).reshape([m for m, _ in shapes] + list(trailing))
    return factors, X, support, y


def dense_fit(factors: list[Any], support: list[Any], y: Any) -> tuple[Any, float]:
    """Return the least-squares coefficients on a support, flat, and the residual's norm."""
    D = functools.reduce(np.kron, [H[:, s] for H, s in zip(factors, support, strict=True)])
    Y = y.reshape(D.shape[0], -1)
    C = np.linalg.lstsq(D, Y, rcond=None)[0]
    return C, float(np.linalg.norm(Y - D @ C))


def dense_pursuit(factors: list[Any], y: Any, k: int) -> list[list[int]]:
    """Return the supports after k steps, none repeating an index, with dense matrices only."""
    units = [H / np.linalg.norm(H, axis=0) for H in factors]
    D = functools.reduce(np.kron, units)
    R = Y = y.reshape(D.shape[0], -1)
    support: list[list[int]] = [[] for _ in factors]
    while not all(len(s) >= k for s in support):
        C = np.linalg.norm(D.conj().T @ R, axis=1).reshape([H.shape[1] for H in factors])
        for axis, s in enumerate(support):
            if len(s) >= k:  # full modes: their support alone
                out = [j for j in range(C.shape[axis]) if j not in s]
                C[(slice(None),) * axis + (out,)] = -1
        for s, j in zip(support, np.unravel_index(np.argmax(C), C.shape), strict=True):
            if j not in s:
                s.append(int(j))
        B = functools.reduce(np.kron, [H[:, s] for H, s in zip(units, support, strict=True)])
        R = Y - B @ np.linalg.lstsq(B, Y, rcond=None)[0]
    return [sorted(s) for s in support]


@pytest.mark.parametrize("L", [None, 3])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_clean_data_are_recovered(shapes: Any, L: int | None) -> None:
    check_recovery(BACKENDS[0], shapes, L)


def test_clean_data_are_recovered_in_every_library(xp: Backend) -> None:
    check_recovery(xp, SHAPES[1], 3)


def check_recovery(xp: Backend, shapes: Any, L: int | None) -> None:
    """Compare with the truth, for the tensor and for flat data."""
    factors, X, support, y = problem(shapes, L=L)
    there = [xp.asarray(H) for H in factors]
    M, N = y.size // (L or 1), X.size // (L or 1)
    flat_shape = (M,) if L is None else (M, L)
    for given in (y, y.reshape(flat_shape)) if len(shapes) > 1 else (y,):
        found = kron_omp(there, xp.asarray(given), n_nonzero=2)
        for s, expected in zip(found.support, support, strict=True):
            assert s.dtype == core_array.index_dtype(xp.xp)
            assert core_array.device(s) == xp.device
            np.testing.assert_array_equal(xp.to_numpy(s), expected)
        expected = X if given is y else X.reshape((N,) if L is None else (N, L))
        dense = xp.to_numpy(found.to_dense())
        assert dense.shape == expected.shape
        scale = np.abs(X).max()
        np.testing.assert_allclose(dense, expected, atol=10 * xp.tolerance * scale)
        fit = xp.to_numpy(found.predict(there))
        np.testing.assert_allclose(fit, given, atol=10 * xp.tolerance * np.abs(y).max())
        assert found.residual_norm <= xp.tolerance * np.linalg.norm(y)
        assert found.status == "converged"


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("L", [None, 3])
@pytest.mark.parametrize("shapes", SHAPES[:3], ids=str)
def test_noisy_steps_and_fits_are_those_of_dense_matrices(
    rng: Any, shapes: Any, L: int | None, is_complex: bool
) -> None:
    factors, _, _, y = problem(shapes, L=L, is_complex=is_complex)
    y = y + 2.0 * draw(rng, *y.shape, is_complex=is_complex)
    for k in (1, 3):
        found = kron_omp(factors, y, n_nonzero=k)
        assert found.status == "full_support"
        assert [s.tolist() for s in found.support] == dense_pursuit(factors, y, k)
        C, norm = dense_fit(factors, found.support, y)
        np.testing.assert_allclose(found.coef.ravel(), C.ravel(), atol=1e-12 * np.abs(C).max())
        np.testing.assert_allclose(found.residual_norm, norm, rtol=1e-13)


def test_slabs_change_nothing(rng: Any, monkeypatch: Any) -> None:
    factors, _, _, y = problem(SHAPES[2], L=2)
    y = y + 2.0 * draw(rng, *y.shape)
    whole = kron_omp(factors, y, n_nonzero=3)
    monkeypatch.setattr(_omp, "_SLAB_BYTES", 0)
    monkeypatch.setattr(_omp._Pursuit, "_slab", lambda self, shape: 5)
    cut = kron_omp(factors, y, n_nonzero=3)
    for a, b in zip(whole.support, cut.support, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_stops_at_the_noise(rng: Any) -> None:
    factors, _, support, y = problem(SHAPES[1])
    noise = draw(rng, *y.shape)
    noise *= 0.01 * np.linalg.norm(y) / np.linalg.norm(noise)
    found = kron_omp(factors, y + noise, noise_norm=float(np.linalg.norm(noise)))
    assert found.status == "converged"
    assert found.residual_norm <= np.linalg.norm(noise)
    for s, expected in zip(found.support, support, strict=True):
        np.testing.assert_array_equal(s, expected)
    both = kron_omp(factors, y + noise, noise_norm=float(np.linalg.norm(noise)), n_nonzero=1)
    assert (both.status, both.n_iter) == ("full_support", 1)


def test_numbers_may_differ_between_modes(rng: Any) -> None:
    factors, _, _, y = problem(SHAPES[1])
    y = y + draw(rng, *y.shape)
    found = kron_omp(factors, y, n_nonzero=[1, 4])
    assert [len(s) for s in found.support] == [1, 4]
    assert found.coef.shape == (1, 4)
    C, norm = dense_fit(factors, found.support, y)
    np.testing.assert_allclose(found.coef.ravel(), C.ravel(), atol=1e-12 * np.abs(C).max())
    np.testing.assert_allclose(found.residual_norm, norm, rtol=1e-13)


@pytest.mark.parametrize("power", [-300, 7, 300])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_powers_of_two_are_in_the_answer_exactly(rng: Any, power: int, is_complex: bool) -> None:
    factors, _, _, y = problem(SHAPES[1], is_complex=is_complex)
    y = y + draw(rng, *y.shape, is_complex=is_complex)
    plain = kron_omp(factors, y, n_nonzero=3)
    scaled = kron_omp(factors, y * 2.0**power, n_nonzero=3)
    assert np.array_equal(scaled.coef, plain.coef * 2.0**power)
    assert scaled.residual_norm == plain.residual_norm * 2.0**power
    powers = 2.0 ** rng.integers(-200, 200, factors[0].shape[1])
    scaled = kron_omp([factors[0] * powers, factors[1]], y, n_nonzero=3)
    assert all(map(np.array_equal, scaled.support, plain.support))
    assert np.array_equal(scaled.coef * powers[plain.support[0]][:, None], plain.coef)
    assert scaled.residual_norm == plain.residual_norm


def test_columns_need_no_common_norm() -> None:
    factors, X, support, y = problem(SHAPES[1])
    weights = [np.logspace(-8, 8, H.shape[1]) for H in factors]
    found = kron_omp([H * w for H, w in zip(factors, weights, strict=True)], y, n_nonzero=2)
    for s, expected in zip(found.support, support, strict=True):
        np.testing.assert_array_equal(s, expected)
    dense = found.to_dense() * weights[0][:, None] * weights[1][None, :]
    np.testing.assert_allclose(dense, X, atol=1e-11)


def test_columns_of_zeros_and_copies_are_never_chosen() -> None:
    factors, _, support, y = problem(SHAPES[1])
    zeros = np.zeros((15, 1))
    wide = np.concatenate([zeros, factors[0], factors[0], 3 * factors[0], zeros], axis=1)
    found = kron_omp([wide, factors[1]], y, n_nonzero=4, noise_norm=0.0)
    assert found.status == "converged"
    np.testing.assert_array_equal(found.support[0], support[0] + 1)
    np.testing.assert_array_equal(found.support[1], support[1])


@pytest.mark.parametrize("shape", [(3, 4), (12,), (3, 4, 2)], ids=str)
def test_zero_data_have_an_empty_support(xp: Backend, shape: tuple[int, ...]) -> None:
    factors = [xp.asarray(np.eye(3, 5)), xp.asarray(np.eye(4))]
    found = kron_omp(factors, xp.asarray(np.zeros(shape)), n_nonzero=2)
    assert (found.status, found.n_iter, found.residual_norm) == ("converged", 0, 0.0)
    assert [s.shape for s in found.support] == [(0,), (0,)]
    trailing = shape[2:]
    assert found.coef.shape == (0, 0, *trailing)
    dense = xp.to_numpy(found.to_dense())
    assert dense.shape == ((20,) if shape == (12,) else (5, 4, *trailing))
    assert not dense.any()
    fit = xp.to_numpy(found.predict(factors))
    assert fit.shape == shape
    assert not fit.any()


def test_a_factor_of_zeros_stalls() -> None:
    found = kron_omp([np.zeros((3, 5)), np.eye(4)], np.ones((3, 4)), n_nonzero=2)
    assert (found.status, found.n_iter) == ("stalled", 0)
    np.testing.assert_allclose(found.residual_norm, np.sqrt(12), rtol=1e-15)
    assert not found.to_dense().any()


def test_it_stalls_where_no_column_is_left() -> None:
    H = np.asarray([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # reaches two of three
    found = kron_omp([H], np.asarray([1.0, 2.0, 3.0]), noise_norm=0.1)
    assert found.status == "stalled"
    np.testing.assert_allclose(found.residual_norm, 3.0, rtol=1e-14)
    np.testing.assert_allclose(found.to_dense(), [-1.0, 2.0, 0.0], atol=1e-14)


def test_all_columns_make_the_least_squares_solution(rng: Any) -> None:
    factors = [draw(rng, 6, 3), draw(rng, 5, 4)]
    y = draw(rng, 6, 5)
    found = kron_omp(factors, y, n_nonzero=4)
    C, norm = dense_fit(factors, [np.arange(3), np.arange(4)], y)
    assert found.status == "full_support"
    np.testing.assert_allclose(found.coef.ravel(), C.ravel(), atol=1e-13)
    np.testing.assert_allclose(found.residual_norm, norm, rtol=1e-13)


@pytest.mark.parametrize("kind", ["float32", "complex64"])
def test_single_precision_is_kept(xp: Backend, kind: str) -> None:
    is_complex = kind == "complex64"
    factors, X, support, y = problem(SHAPES[1], is_complex=is_complex)
    there = [xp.asarray(H.astype(kind)) for H in factors]
    found = kron_omp(there, xp.asarray(y.astype(kind)), n_nonzero=2)
    assert found.coef.dtype == getattr(xp.xp, kind)
    assert found.to_dense().dtype == found.coef.dtype
    for s, expected in zip(found.support, support, strict=True):
        np.testing.assert_array_equal(xp.to_numpy(s), expected)
    np.testing.assert_allclose(xp.to_numpy(found.to_dense()), X, atol=1e-5 * np.abs(X).max())


def test_nothing_of_the_size_of_the_unknowns_is_formed(rng: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(_omp, "_SLAB_BYTES", 0)
    shapes = [(20, 120), (20, 120), (20, 120)]
    factors = [rng.standard_normal(shape) for shape in shapes]
    y = rng.standard_normal((20, 20, 20))
    kron_omp(factors, y, n_nonzero=1)
    tracemalloc.start()
    kron_omp(factors, y, n_nonzero=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    slab = max(y.size, 120**2)
    stated = 2 * y.nbytes + 3 * 2 * 20 * 120 * 8 * 2 + 3 * 8 * slab
    assert peak <= stated < 8 * 120**3 / 4


F = [np.ones((2, 3)), np.eye(3, 2)]
Y = np.ones((2, 3))
BAD = [
    (lambda: kron_omp(F, Y), ValueError, "n_nonzero or noise_norm must be given"),
    (lambda: kron_omp(F, Y, n_nonzero=0), ValueError, "n_nonzero must be between 1 and 2"),
    (lambda: kron_omp(F, Y, n_nonzero=3), ValueError, "n_nonzero must be between 1 and 2"),
    (lambda: kron_omp(F, Y, n_nonzero=1.5), TypeError, "n_nonzero must be an integer"),
    (lambda: kron_omp(F, Y, n_nonzero=[1]), ValueError, "each of the 2 factors"),
    (lambda: kron_omp(F, Y, n_nonzero=[1, 3]), ValueError, r"n_nonzero\[1\] must be between 1"),
    (lambda: kron_omp(F, Y, n_nonzero=[1, "a"]), TypeError, r"n_nonzero\[1\] must be an integer"),
    (lambda: kron_omp(F, Y, noise_norm=-1.0), ValueError, "noise_norm must be at least 0"),
    (lambda: kron_omp(F, Y, noise_norm=np.nan), ValueError, "noise_norm must be at least 0"),
    (lambda: kron_omp(F, Y, noise_norm="a"), TypeError, "noise_norm must be a real number"),
    (lambda: kron_omp(F, Y * np.nan, n_nonzero=1), ValueError, "y must not contain NaN"),
    (lambda: kron_omp(F, Y.T, n_nonzero=1), ValueError, "y must be of shape"),
    (lambda: kron_omp(F[0], Y, n_nonzero=1), TypeError, r"\[H\]"),
    (lambda: kron_omp([], Y, n_nonzero=1), ValueError, "at least one matrix"),
    (lambda: kron_omp(F, BACKENDS[1].asarray(Y), n_nonzero=1), TypeError, "one library"),
    (lambda: kron_omp([1e-300 * F[0], F[1]], 1e300 * Y, n_nonzero=1), ValueError, "overflow"),
    (lambda: kron_omp(F, Y, n_nonzero=1).to_dense(8), MemoryError, "at least 48 bytes"),
    (lambda: kron_omp(F, Y, n_nonzero=1).predict(F[::-1]), ValueError, r"\(3, 2\) columns"),
]


@pytest.mark.parametrize(("call", "kind", "match"), BAD, ids=range(len(BAD)))
def test_bad_arguments_are_refused(call: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        call()
