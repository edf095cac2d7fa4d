"""The Gauss-Newton polish: tangent coordinates, retraction, last digits, noise, odd starts."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from linalgkit._core.array import numpy_namespace, to_numpy
from linalgkit.completion import _gauss_newton
from linalgkit.completion._factors import Factors, residual_energy
from linalgkit.completion._gauss_newton import polish
from linalgkit.completion._observed import Observed, observe
from linalgkit.completion._tangent import (
    Frame,
    Retraction,
    Tangent,
    even_roots,
    frame_of,
    inner,
    minus_normal,
    residual_gradient,
)

HOST = numpy_namespace()


def normal(g: Any, shape: tuple[int, ...], dtype: str = "float64") -> Any:
    """Return standard normal numbers; complex ones where asked."""
    x = g.standard_normal(shape)
    if dtype.startswith("complex"):
        x = x + 1j * g.standard_normal(shape)
    return x.astype(dtype)


def low_rank(
    g: Any, m: int, n: int, k: int, cond: float = 1.0, dtype: str = "float64"
) -> tuple[Any, Any]:
    """Return factors whose product has mean square one and a given condition number."""
    wide = "complex128" if dtype.startswith("complex") else "float64"
    U, W = (np.linalg.qr(normal(g, (size, k), wide))[0] for size in (m, n))
    s = np.geomspace(1.0, 1.0 / cond, k)
    s *= np.sqrt(m * n) / np.linalg.norm(s)
    return U * np.sqrt(s), W * np.sqrt(s)


def near(g: Any, U: Any, W: Any, distance: float) -> tuple[Any, Any]:
    """Return factors of a matrix of the same rank at about a relative distance."""
    s = np.linalg.norm(U, axis=0) ** 2
    size = distance * np.linalg.norm(s) / np.sqrt(2 * s.size)
    noise = (np.linalg.qr(normal(g, x.shape, x.dtype.name))[0] for x in (U, W))
    return tuple(x + size * dx / np.sqrt(s) for x, dx in zip((U, W), noise, strict=True))


def pattern(g: Any, m: int, n: int, count: int, power: float = 0.0) -> tuple[Any, Any]:
    """Return places of entries; column popularity follows a power law."""
    q = (1.0 + g.permutation(n)) ** -power
    keys = np.log(g.random((m, n))) / q  # the largest keys: a weighted sample without replacement
    chosen = np.argpartition(keys.ravel(), m * n - count)[m * n - count :]
    return np.divmod(np.sort(chosen), n)


def values_at(U: Any, W: Any, i: Any, j: Any) -> Any:
    return np.sum(U[i, :] * W[j, :], axis=1)


def started(data: Observed, U: Any, W: Any, **offsets: Any) -> Factors:
    """Return factors in the scaled values, library and dtype of the data."""
    xp = data.xp
    U = U * 2.0**-data.exponent
    made = (xp.asarray(x, dtype=data.dtype, device=data.device) for x in (U, W))
    return Factors(*made, **offsets)


def error(data: Observed, f: Factors, U: Any, W: Any) -> float:
    """Return the relative error of ``U W^T`` in the Frobenius norm."""
    P, Q = (to_numpy(x) * np.ones((), dtype=np.float64) for x in (f.U, f.W))
    found = P @ Q.T * 2.0**data.exponent
    return float(np.linalg.norm(found - U @ W.T) / np.linalg.norm(U @ W.T))


# ------------------------------------------------------------------------ tangent vectors


def small(dtype: str, weighted: bool = True) -> tuple[Observed, Factors, Frame, Any, Any]:
    """Return entries, a point with its frame, and dense values and weights (0: missing)."""
    g = np.random.default_rng(5)
    m, n, k = 9, 7, 2
    A, w = normal(g, (m, n), dtype), g.random((m, n)) + 0.5
    seen = g.random((m, n)) < 0.6
    w = seen * (w if weighted else 1.0)
    i, j = np.nonzero(seen)
    data = observe((i, j, A[i, j], (m, n)), weights=w[i, j] if weighted else None)
    f = Factors(normal(g, (m, k), dtype), normal(g, (n, k), dtype))
    return data, f, frame_of(f, even_roots(data), HOST), A, w


def dense(frame: Frame, t: Tangent) -> Any:
    """Return the tangent matrix in the evened coordinates."""
    return frame.U @ t.M @ frame.W.T + t.P @ frame.W.T + frame.U @ t.Q.T


def projection(frame: Frame, R: Any) -> Any:
    """Return ``R - (I - U U^H) R (I - W W^H)^T``."""
    left = np.eye(R.shape[0]) - frame.U @ frame.U.conj().T
    right = np.eye(R.shape[1]) - (frame.W @ frame.W.conj().T).T
    return R - left @ R @ right


def tangent(g: Any, frame: Frame) -> Tangent:
    """Return a random tangent vector, by projection of its blocks."""
    k = frame.s.shape[0]
    M, P, Q = (normal(g, (r, k), frame.U.dtype.name) for r in (k, *map(len, (frame.U, frame.W))))
    U, W = frame.U, frame.W
    return Tangent(M, P - U @ (U.conj().T @ P), Q - W @ (W.conj().T @ Q))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
class TestTangent:
    def test_frame_is_the_matrix_with_rows_and_columns_evened_out(self, dtype: str) -> None:
        _, f, frame, _, w = small(dtype)
        p, q = np.sqrt(w.sum(axis=1) / np.sqrt(w.sum())), np.sqrt(w.sum(axis=0) / np.sqrt(w.sum()))
        expected = p[:, None] * (f.U @ f.W.T) * q[None, :]
        np.testing.assert_allclose(frame.U @ np.diag(frame.s) @ frame.W.T, expected, atol=1e-13)
        for x in (frame.U, frame.W):
            np.testing.assert_allclose(x.conj().T @ x, np.eye(2), atol=1e-14)
        U, W = frame.factors()
        np.testing.assert_allclose(U @ W.T, f.U @ f.W.T, atol=1e-13)

    def test_gradient_is_the_projection_of_the_weighted_residual(self, dtype: str) -> None:
        data, f, frame, A, w = small(dtype)
        found = residual_gradient(data, f, frame)
        scale = 2.0**-data.exponent
        R = np.where(w > 0, w * (A * scale - f.U @ f.W.T), 0.0) * 2.0**-data.weight_exponent
        evened = np.asarray(frame.even.left) * R * np.asarray(frame.even.right).T
        np.testing.assert_allclose(dense(frame, found), projection(frame, evened), atol=1e-13)
        np.testing.assert_allclose(frame.U.conj().T @ found.P, 0, atol=1e-13)
        np.testing.assert_allclose(frame.W.conj().T @ found.Q, 0, atol=1e-13)

    def test_inner_product_is_that_of_the_matrices(self, dtype: str, rng: Any) -> None:
        _, _, frame, _, _ = small(dtype)
        a, b = tangent(rng, frame), tangent(rng, frame)
        expected = np.vdot(dense(frame, a), dense(frame, b)).real
        assert inner(a, b, HOST) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
    def test_normal_product_is_the_projection_of_what_is_seen(
        self, dtype: str, weighted: bool, rng: Any
    ) -> None:
        data, _, frame, _, w = small(dtype, weighted)
        t = tangent(rng, frame)
        found, curvature = minus_normal(data, frame, t)
        left, right = np.asarray(frame.even.left), np.asarray(frame.even.right).T
        seen = w * 2.0**-data.weight_exponent * (left * dense(frame, t) * right)
        expected = projection(frame, left * seen * right)
        np.testing.assert_allclose(dense(frame, found), -expected, atol=1e-12)
        assert curvature == pytest.approx(inner(t, found, HOST) * -1, rel=1e-12)

    def test_retraction_leaves_the_tangent_only_at_right_angles(self, dtype: str, rng: Any) -> None:
        _, _, frame, _, _ = small(dtype)
        t, X = tangent(rng, frame), frame.U @ np.diag(frame.s) @ frame.W.T
        for h in (1e-3, 0.1):
            at = Retraction(frame, t).at(h)
            rest = at.U @ np.diag(at.s) @ at.W.T - X - h * dense(frame, t)
            # Second order, with the coefficient of the definition.
            corner = t.P @ np.linalg.inv(np.diag(frame.s) + h * t.M) @ t.Q.T
            np.testing.assert_allclose(rest, h**2 * corner, atol=1e-13)
            np.testing.assert_allclose(projection(frame, rest), 0, atol=1e-13)

    def test_retraction_near_a_singular_point_is_the_best_approximation(
        self, dtype: str, rng: Any
    ) -> None:
        _, _, frame, _, _ = small(dtype)
        thin = Frame(frame.xp, frame.U, frame.W, np.array([1.0, 0.0]), frame.even)
        t = tangent(rng, frame)
        t = t._replace(M=0 * t.M)
        at = Retraction(thin, t).at(1.0)
        target = thin.U @ np.diag(thin.s) @ thin.W.T + dense(thin, t)
        A, s, Bh = np.linalg.svd(target)
        np.testing.assert_allclose(at.U * at.s @ at.W.T, A[:, :2] * s[:2] @ Bh[:2], atol=1e-13)


def test_a_product_of_popularities_makes_the_sum_over_entries_the_norm(rng: Any) -> None:
    # Weights a_i b_j: the normal operator of the evened coordinates is the identity.
    a, b = 10.0 ** rng.uniform(-2, 2, 6), 10.0 ** rng.uniform(-2, 2, 5)
    data = observe(rng.standard_normal((6, 5)), weights=a[:, None] * b[None, :])
    f = Factors(rng.standard_normal((6, 2)), rng.standard_normal((5, 2)))
    frame = frame_of(f, even_roots(data), HOST)
    t = tangent(rng, frame)
    found, _ = minus_normal(data, frame, t)
    for x, y in zip(found, t, strict=True):
        np.testing.assert_allclose(x, -y, atol=1e-12)


# -------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("power", [0.0, 0.5], ids=["even", "skewed"])
@pytest.mark.parametrize("cond", [1.0, 30.0, 1000.0])
def test_exact_data_are_fitted_to_rounding(cond: float, power: float) -> None:
    g = np.random.default_rng(1)
    m, n, k = 300, 200, 6
    U, W = low_rank(g, m, n, k, cond)
    i, j = pattern(g, m, n, 5 * k * (m + n - k), power)
    data = observe((i, j, values_at(U, W, i, j), (m, n)))
    found = polish(data, started(data, *near(g, U, W, 1e-4)), max_outer=10)
    assert found.status == "converged"
    assert error(data, found.factors, U, W) <= 1e-13
    assert len(found.history) <= 6
    assert found.n_inner <= 100


def test_few_entries_need_more_inner_steps_and_are_fitted_to_rounding() -> None:
    g = np.random.default_rng(3)
    m, n, k = 300, 350, 5
    U, W = low_rank(g, m, n, k, 10.0)
    while True:
        i, j = pattern(g, m, n, int(1.5 * k * (m + n - k)))
        if min(np.bincount(i, minlength=m).min(), np.bincount(j, minlength=n).min()) > k:
            break
    data = observe((i, j, values_at(U, W, i, j), (m, n)))
    found = polish(data, started(data, *near(g, U, W, 1e-3)), max_outer=20)
    assert found.status == "converged"
    assert error(data, found.factors, U, W) <= 1e-13


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_ends_at_its_own_rounding(dtype: str) -> None:
    g = np.random.default_rng(2)
    m, n, k = 200, 150, 5
    U, W = low_rank(g, m, n, k, 30.0, dtype)
    i, j = pattern(g, m, n, 5 * k * (m + n - k), 0.5)
    data = observe((i, j, values_at(U, W, i, j).astype(dtype), (m, n)))
    found = polish(data, started(data, *near(g, U, W, 1e-3)), max_outer=10)
    assert found.status == "converged"
    assert found.factors.U.dtype == found.factors.W.dtype == np.dtype(dtype)
    assert error(data, found.factors, U, W) <= 2e-6


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_full_noisy_data_give_the_truncated_svd(dtype: str, rng: Any) -> None:
    m, n, k = 30, 20, 3
    U, W = low_rank(rng, m, n, k, 3.0, dtype)
    A = U @ W.T + 0.02 * normal(rng, (m, n), dtype)
    L, s, Rh = np.linalg.svd(A)
    best, left = L[:, :k] * s[:k] @ Rh[:k], np.linalg.norm(s[k:])
    data = observe(A)
    found = polish(data, started(data, U, W), max_outer=30)
    assert found.status == "converged"
    assert error(data, found.factors, best, np.eye(n)) <= 1e-5
    assert found.history[-1] * 2.0**data.exponent == pytest.approx(left, rel=1e-7)


def test_weights_of_rank_one_give_the_svd_of_the_scaled_matrix(rng: Any) -> None:
    m, n, k = 30, 20, 3
    U, W = low_rank(rng, m, n, k, 3.0)
    A = U @ W.T + 0.02 * rng.standard_normal((m, n))
    a, b = 10.0 ** rng.uniform(-1, 1, (m, 1)), 10.0 ** rng.uniform(-1, 1, (1, n))
    L, s, Rh = np.linalg.svd(np.sqrt(a) * A * np.sqrt(b))
    best = (L[:, :k] * s[:k] @ Rh[:k]) / np.sqrt(a) / np.sqrt(b)
    data = observe(A, weights=a * b)
    found = polish(data, started(data, U, W), max_outer=30)
    assert found.status == "converged"
    assert error(data, found.factors, best, np.eye(n)) <= 1e-5


def test_noisy_data_end_where_dense_least_squares_ends(rng: Any) -> None:
    m, n, k = 14, 12, 2
    U, W = low_rank(rng, m, n, k)
    i, j = pattern(rng, m, n, 120)
    y, w = values_at(U, W, i, j) + 0.05 * rng.standard_normal(120), rng.uniform(0.5, 2.0, 120)
    row_bias, column_bias, mean = rng.standard_normal(m), rng.standard_normal(n), 0.7
    y = y + row_bias[i] + column_bias[j] + mean
    data = observe((i, j, y, (m, n)), weights=w)
    assert data.exponent == data.weight_exponent == 0

    def residual(x: Any) -> Any:
        P, Q = x[: m * k].reshape(m, k), x[m * k :].reshape(n, k)
        return np.sqrt(w) * (y - row_bias[i] - column_bias[j] - mean - values_at(P, Q, i, j))

    start = np.concatenate([U.ravel(), W.ravel()])
    reference = scipy.optimize.least_squares(residual, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    f = started(data, U, W, row_bias=row_bias, column_bias=column_bias, mean=mean)
    found = polish(data, f, max_outer=50)
    assert found.status == "converged"
    assert found.history[-1] == pytest.approx(np.linalg.norm(reference.fun), rel=1e-6)
    assert found.factors.row_bias is row_bias
    assert found.factors.column_bias is column_bias
    assert found.factors.mean == mean
    assert found.history == sorted(found.history, reverse=True)
    assert residual_energy(data, found.factors) == pytest.approx(found.history[-1] ** 2, rel=1e-12)


def test_complex_data_are_conjugated_nowhere(rng: Any) -> None:
    m, n, k = 60, 50, 3
    U, W = low_rank(rng, m, n, k, 5.0, "complex128")
    i, j = pattern(rng, m, n, 1500)
    data = observe((i, j, values_at(U, W, i, j), (m, n)))
    found = polish(data, started(data, *near(rng, U, W, 1e-2)), max_outer=20)
    assert found.status == "converged"
    assert error(data, found.factors, U, W) <= 1e-13
    assert error(data, found.factors, U.conj(), W) > 0.1


def test_a_mean_alone_stays_as_it_is(rng: Any) -> None:
    U, W = low_rank(rng, 40, 30, 2)
    i, j = pattern(rng, 40, 30, 700)
    data = observe((i, j, values_at(U, W, i, j) + 100.0, (40, 30)))
    f = started(data, *near(rng, U, W, 1e-3), mean=100.0 * 2.0**-data.exponent)
    found = polish(data, f, max_outer=20)
    assert found.status == "converged"
    assert error(data, found.factors, U, W) <= 1e-12


@pytest.mark.parametrize("power", [-200, 200])
def test_data_of_any_magnitude_are_fitted(power: int, rng: Any) -> None:
    U, W = low_rank(rng, 40, 30, 2)
    U = U * 10.0**power
    i, j = pattern(rng, 40, 30, 700)
    data = observe((i, j, values_at(U, W, i, j), (40, 30)))
    start = U * (1 + 1e-3 * rng.standard_normal(U.shape))
    found = polish(data, started(data, start, W), max_outer=20)
    assert found.status == "converged"
    product = to_numpy(found.factors.U) @ to_numpy(found.factors.W).T
    np.testing.assert_allclose(np.ldexp(product, data.exponent), U @ W.T, rtol=1e-10)


# ------------------------------------------------------------------------------ odd cases


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (3, 3), (5, 8)], ids=str)
def test_a_side_without_room_beside_the_factor_works(shape: tuple[int, int], rng: Any) -> None:
    U, W = low_rank(rng, *shape, 3, 2.0)
    data = observe(U @ W.T)
    found = polish(data, started(data, *near(rng, U, W, 1e-2)), max_outer=20)
    assert found.status == "converged"
    assert error(data, found.factors, U, W) <= 1e-13


def test_zero_data_end_at_zero(rng: Any) -> None:
    data = observe(np.zeros((6, 5)))
    zero = Factors(np.zeros((6, 2)), np.zeros((5, 2)))
    assert polish(data, zero, max_outer=5).status == "converged"
    found = polish(data, Factors(rng.random((6, 2)), rng.random((5, 2))), max_outer=5)
    assert found.status == "converged"
    assert found.history[-1] <= 1e-14


def test_a_start_of_lower_rank_gains_rank_or_stalls_without_nan(rng: Any) -> None:
    U, W = low_rank(rng, 40, 30, 3)
    data = observe(U @ W.T)
    for lost in (1, 2, 3):
        P, Q = U.copy(), W.copy()
        P[:, :lost], Q[:, :lost] = 0.0, 0.0
        found = polish(data, started(data, P, Q), max_outer=60)
        assert np.isfinite(found.history).all()
        assert np.isfinite(found.factors.U).all()
        assert np.isfinite(found.factors.W).all()
        assert found.history[-1] <= found.history[0]
        assert found.status in ("converged", "stalled")


def test_lines_without_entries_stay_zero(rng: Any) -> None:
    U, W = low_rank(rng, 30, 25, 2)
    i, j = pattern(rng, 29, 24, 400)
    data = observe((i, j, values_at(U, W, i, j), (30, 25)))
    P, Q = near(rng, U, W, 1e-2)
    P[29, :], Q[24, :] = 0.0, 0.0
    found = polish(data, started(data, P, Q), max_outer=20)
    assert found.status == "converged"
    assert not found.factors.U[29, :].any()
    assert not found.factors.W[24, :].any()


def test_the_status_tells_why_it_ended(rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    U, W = low_rank(rng, 40, 30, 2)
    i, j = pattern(rng, 40, 30, 500)
    data = observe((i, j, values_at(U, W, i, j), (40, 30)))
    start = started(data, *near(rng, U, W, 1e-1))
    none = polish(data, start, max_outer=0)
    assert (none.status, len(none.history), none.n_inner) == ("max_sweeps", 1, 0)
    assert none.factors is start
    few = polish(data, start, max_outer=2)
    assert (few.status, len(few.history)) == ("max_sweeps", 3)
    seen: list[tuple[int, float]] = []

    def callback(step: int, norm: float) -> bool:
        seen.append((step, norm))
        return step == 2

    stopped = polish(data, start, max_outer=9, callback=callback)
    assert (stopped.status, stopped.history) == ("stopped", few.history)
    assert seen == list(enumerate(few.history[1:], start=1))
    exact = polish(data, few.factors, max_outer=9)
    assert exact.status == "converged"
    again = polish(data, exact.factors, max_outer=9)
    assert again.status == "converged"
    assert again.history[-1] <= exact.history[-1]
    monkeypatch.setattr(_gauss_newton, "_SLOPE", 2.0)  # no step lowers the energy so much
    stalled = polish(data, start, max_outer=9)
    assert (stalled.status, stalled.factors) == ("stalled", start)


def few_noisy(g: Any, spread: float = 0.0) -> tuple[Observed, Factors, Any, Any]:
    """Return few noisy entries, a start at the truth, the values and weights (0: missing)."""
    m, n, k = 30, 25, 2
    U, W = low_rank(g, m, n, k)
    i, j = pattern(g, m, n, 3 * k * (m + n - k))
    A, w = U @ W.T + 0.3 * g.standard_normal((m, n)), np.zeros((m, n))
    w[i, j] = 10.0 ** g.uniform(-spread, spread, i.size)
    data = observe((i, j, A[i, j], (m, n)), weights=w[i, j])
    return data, started(data, U, W), A, w


def offered(f: Factors, A: Any, w: Any, exponent: int) -> float:
    """Return by how much of the energy the tangent space lowers it, by dense least squares."""
    m, n, k = *A.shape, f.rank
    P, Q = (np.linalg.qr(x)[0] for x in (f.U, f.W))
    i, j = np.nonzero(w)
    J, root = np.zeros((i.size, m + n, k)), np.sqrt(w[i, j])
    J[np.arange(i.size), i, :] = root[:, None] * Q[j, :]
    J[np.arange(i.size), m + j, :] = root[:, None] * P[i, :]
    r = root * (A - np.ldexp(f.U @ f.W.T, exponent))[i, j]
    x = np.linalg.lstsq(J.reshape(i.size, -1), r, rcond=1e-9)[0]
    left = r - J.reshape(i.size, -1) @ x
    return float(1 - (left @ left) / (r @ r))


def test_inner_iterations_that_are_cut_off_pass_no_point_for_a_minimum(
    rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, start, A, w = few_noisy(rng)
    expected = polish(data, start, max_outer=50).history[-1]
    monkeypatch.setattr(_gauss_newton, "_INNER", 1)  # a step along the gradient
    found = polish(data, start, max_outer=500, tol=1e-6)
    assert found.status == "converged"
    assert offered(found.factors, A, w, data.exponent) <= 4e-6
    assert found.history[-1] == pytest.approx(expected, rel=4e-6)


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_a_minimum_is_told_only_where_the_tangent_space_offers_nothing(
    spread: float, rng: Any
) -> None:
    data, start, A, w = few_noisy(rng, spread)
    found = polish(data, start, max_outer=200, max_inner=20000, tol=1e-8)
    share = offered(found.factors, A, w, data.exponent)
    assert found.status in ("converged", "stalled")
    assert (found.status == "stalled") or share <= 1.2e-7


def test_inner_steps_are_bounded_and_told(rng: Any) -> None:
    data, start, _, _ = few_noisy(rng)
    none = polish(data, start, max_outer=9, max_inner=0)
    assert (none.status, none.n_inner, none.factors) == ("max_sweeps", 0, start)
    whole = polish(data, start, max_outer=50)
    for most in (1, 7, whole.n_inner - 1):
        few = polish(data, start, max_outer=50, max_inner=most)
        assert (few.status, few.n_inner) == ("max_sweeps", most)
        assert few.history == sorted(few.history, reverse=True)
    assert polish(data, start, max_outer=50, max_inner=whole.n_inner).status == "converged"


@pytest.mark.parametrize("shape", [(3, 3), (6, 5), (20, 15)], ids=str)
@pytest.mark.parametrize("tol", [0.0, 1e-8])
def test_no_less_than_rounding_is_asked_of_single_precision(
    shape: tuple[int, int], tol: float, rng: Any
) -> None:
    U, W = low_rank(rng, *shape, 2)
    A = (U @ W.T + 0.3 * rng.standard_normal(shape)).astype(np.float32)
    data = observe(A)
    left = np.linalg.svd(A.astype(np.float64), compute_uv=False)[2:]
    found = polish(data, started(data, U, W), max_outer=40, tol=tol)
    assert found.status == "converged"
    assert len(found.history) < 30
    expected = np.ldexp(np.linalg.norm(left), -data.exponent)
    assert found.history[-1] == pytest.approx(expected, rel=1e-5)


def test_every_library_gives_the_answer(xp: Any) -> None:
    # JAX compiles for seconds: one kind of numbers is enough there.
    for dtype in ("complex128",) if xp.name == "jax" else ("float64", "complex128"):
        check_answer(xp, dtype)


def check_answer(xp: Any, dtype: str) -> None:
    g = np.random.default_rng(4)
    m, n, k = 16, 16, 2  # of one shape both ways, 9 to 16 entries a line: JAX compiles less
    U, W = low_rank(g, m, n, k, 3.0, dtype)
    i, j = np.arange(m)[:, None], np.arange(n)[None, :]
    A = xp.asarray(np.where((i + 3 * j) % 16 < 12, U @ W.T, np.nan))
    mean = 0.25
    data = observe(A + mean, weights=xp.asarray(g.uniform(0.5, 2.0, (m, n))))
    f = started(data, *near(g, U, W, 1e-2), mean=mean * 2.0**-data.exponent)
    found = polish(data, f, max_outer=12)
    assert found.status == "converged"
    assert found.factors.U.dtype == A.dtype
    assert found.factors.U.device == A.device
    assert error(data, found.factors, U, W) <= xp.tolerance


def test_memory_beside_the_entries_is_a_dozen_factors() -> None:
    g = np.random.default_rng(6)
    m, n, k = 3000, 2000, 20
    U, W = low_rank(g, m, n, k)
    count = 3 * k * (m + n - k)
    places = np.unique(g.integers(0, m * n, count))
    i, j = np.divmod(places, n)
    data = observe((i, j, values_at(U, W, i, j), (m, n)))
    start = started(data, *near(g, U, W, 1e-4))
    polish(data, start, max_outer=1)
    tracemalloc.start()
    polish(data, start, max_outer=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 8 * 12 * (m + n) * k
