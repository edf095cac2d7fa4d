"""Shrinkage by variational Bayes against closed forms, brute force and known truths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from linalgkit.completion import _variational
from linalgkit.completion._factors import Factors
from linalgkit.completion._observed import Observed, observe
from linalgkit.completion._shrunk import Shrunk, random_start, shrunk
from linalgkit.completion._variances import common_basis, popularity
from tests.conftest import Backend


def truth(m: int, n: int, k: int, seed: int, *, is_complex: bool = False) -> Any:
    """A matrix of rank k whose entries have mean square one."""
    rng = np.random.default_rng(seed)
    U, W = rng.standard_normal((m, k)), rng.standard_normal((n, k))
    if is_complex:
        U, W = U + 1j * rng.standard_normal((m, k)), W + 1j * rng.standard_normal((n, k))
    A = U @ W.T
    return A / math.sqrt(np.mean(np.abs(A) ** 2))


def noise_of(shape: tuple[int, int], seed: int, *, is_complex: bool = False) -> Any:
    rng = np.random.default_rng(seed)
    E = rng.standard_normal(shape)
    return (E + 1j * rng.standard_normal(shape)) / math.sqrt(2) if is_complex else E


def hidden(shape: tuple[int, int], density: float, seed: int) -> Any:
    return np.random.default_rng(seed).random(shape) >= density


def observed(A: Any, hide: Any, **more: Any) -> Observed:
    return observe(A, mask=~hide, **more)


def dense(found: Shrunk) -> Any:
    f = found.factors
    P = np.asarray(f.U) @ np.asarray(f.W).T + f.mean
    if f.row_bias is not None:
        P = P + np.asarray(f.row_bias)[:, None] + np.asarray(f.column_bias)[None, :]
    return P


def run(data: Observed, rank: int, seed: int = 0, mean: complex = 0.0, **more: Any) -> Shrunk:
    return shrunk(data, random_start(data, rank, np.random.default_rng(seed), mean), **more)


def relative(P: Any, A: Any) -> float:
    return float(np.linalg.norm(P - A) / np.linalg.norm(A))


# ---------------------------------------------------------------------------------- theory


@pytest.mark.parametrize("is_complex", [False, True])
def test_full_matrices_meet_the_closed_form(
    is_complex: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nakajima, Sugiyama, Babacan, Tomioka, JMLR 14 (2013), theorem 2: the global optimum."""
    monkeypatch.setattr(_variational, "_OPEN", 0.0)
    m, n = 60, 40
    A = truth(m, n, 3, 0, is_complex=is_complex)
    A = A + 0.3 * noise_of((m, n), 1, is_complex=is_complex)
    found = run(observe(A), 6, tol=1e-12, max_sweeps=400)
    s2 = found.noise**2
    y = np.linalg.svd(A, compute_uv=False)[:3]
    x = 1 - (m + n) * s2 / y**2
    expected = y / 2 * (x + np.sqrt(x**2 - 4 * m * n * s2**2 / y**4))
    assert np.linalg.svd(dense(found), compute_uv=False)[:3] == pytest.approx(expected, rel=1e-6)


def exact_bound(model: Any, A: Any, hide: Any) -> float:
    """-2 F by brute force from means, priors and the variances that the module uses."""
    rows, columns = model.rows, model.columns
    p, q = (~hide).sum(axis=1), (~hide).sum(axis=0)
    c = model.noise2_used / (p[:, None] * model.column_size + model.noise2_used / rows.prior_used)
    d = model.noise2_used / (q[:, None] * model.row_size + model.noise2_used / columns.prior_used)
    U, W = rows.factor, columns.factor
    E = (A - U @ W.T) ** 2 + U**2 @ d.T + c @ (W**2).T + c @ d.T
    total = (~hide).sum() * math.log(model.noise2) + E[~hide].sum() / model.noise2
    for x, v, prior in ((U, c, rows.prior), (W, d, columns.prior)):
        total += float(((x**2 + v) / prior + np.log(prior) - np.log(v) - 1).sum())
    return total


def test_the_bound_does_not_increase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shared form is exact (all entries observed) each sweep improves the bound."""
    monkeypatch.setattr(_variational, "_OPEN", 0.0)
    A = truth(30, 20, 3, 2) + 0.2 * noise_of((30, 20), 3)
    hide = np.zeros(A.shape, dtype=bool)
    data = observe(A)
    model = _variational.started(
        data, random_start(data, 3, np.random.default_rng(1)), biased=False
    )
    assert model is not None
    values = []
    for _ in range(12):
        for side, other, size in (
            (model.rows, model.columns, "column_size"), (model.columns, model.rows, "row_size")
        ):  # fmt: skip
            if side.moments.any() and other.moments.any():
                _variational._rotate(model)
            side.prior_used = side.prior
            setattr(model, size, other.energy + other.spread)
            _variational._solve(model, side, other)
            _variational._update_variances(model, side, other)
            _variational._hold_open(model)
        # the rows' variances are those of the basis before the last rotation: recompute them
        model.noise2_used = model.noise2
        _variational._rotate(model)
        for side, other, size in (
            (model.rows, model.columns, "column_size"), (model.columns, model.rows, "row_size")
        ):  # fmt: skip
            side.prior_used = side.prior
            setattr(model, size, other.energy + other.spread)
            _variational._update_variances(model, side, other)
        _variational.update_noise(model)
        values.append(exact_bound(model, A, hide))
    steps = np.diff(values)
    assert np.all(steps <= 1e-6 * abs(values[-1]))


def test_common_basis_makes_both_moments_equal_and_diagonal() -> None:
    rng = np.random.default_rng(4)
    U = rng.standard_normal((9, 4)) + 1j * rng.standard_normal((9, 4))
    W = (rng.standard_normal((7, 4)) + 1j * rng.standard_normal((7, 4))) * [1e2, 1, 1e-1, 1e-2]
    T, inverse, energies = common_basis(U.conj().T @ U, W.conj().T @ W)
    X, Y = U @ T, W @ inverse.T
    assert relative(X @ Y.T, U @ W.T) < 1e-10
    root = np.sqrt(energies)
    for F in (X, Y):
        scaled = F / np.sqrt(root)
        assert np.abs(scaled.conj().T @ scaled - np.eye(4)).max() < 1e-6
    assert root == pytest.approx(np.linalg.svd(U @ W.T, compute_uv=False)[:4], rel=1e-6)


def test_popularities_are_merged_beyond_a_limit() -> None:
    sums = np.append(np.random.default_rng(5).uniform(1, 1000, 20000), [0.0, 0.0])
    crowd = popularity(sums, np, "cpu", np.float64)
    assert crowd.values.shape[0] < 1000
    assert crowd.lines == 20000
    assert crowd.values @ crowd.counts == pytest.approx(sums.sum(), rel=1e-12)
    assert crowd.class_share.sum() == pytest.approx(1.0)


# ---------------------------------------------------------------------------------- truths


def test_noise_and_rank_are_found() -> None:
    A = truth(300, 200, 4, 6)
    hide = hidden(A.shape, 0.3, 7)
    found = run(observed(A + 0.5 * noise_of(A.shape, 8), hide), 12)
    assert found.status == "converged"
    assert found.rank - found.n_dormant == 4
    assert found.noise == pytest.approx(0.5, rel=0.02)
    # 4 (m + n) numbers from 18000 entries: the error of least squares with the factors' degrees
    # of freedom is noise * sqrt(4 * 500 / 18000); shrinkage does not do worse.
    assert relative(dense(found), A) < 1.05 * 0.5 * math.sqrt(4 * 500 / 18000)


def test_predictions_beat_every_ridge() -> None:
    A = truth(150, 100, 6, 9) @ np.diag(np.linspace(1, 0.2, 100))
    hide = hidden(A.shape, 0.3, 10)
    Y = A + 0.5 * noise_of(A.shape, 11)
    found = run(observed(Y, hide), 12)
    best = min(relative(ridge(Y, ~hide, 6, alpha), A) for alpha in (0.5, 1, 2, 4, 8))
    assert relative(dense(found), A) < best


def ridge(Y: Any, seen: Any, k: int, alpha: float) -> Any:
    W = np.random.default_rng(0).standard_normal((Y.shape[1], k))
    for _ in range(20):
        U = solved(Y, seen, W, alpha)
        W = solved(Y.T, seen.T, U, alpha)
    return U @ W.T


def solved(Y: Any, seen: Any, W: Any, alpha: float) -> Any:
    G = np.einsum("ij,jk,jl->ikl", seen, W, W, optimize=True) + alpha * np.eye(W.shape[1])
    return np.linalg.solve(G, (np.where(seen, Y, 0.0) @ W)[:, :, None])[:, :, 0]


@pytest.mark.parametrize("rank", [5, 9])
@pytest.mark.parametrize("is_complex", [False, True])
def test_data_without_noise_are_interpolated(rank: int, is_complex: bool) -> None:
    A = truth(120, 100, 5, 12, is_complex=is_complex)
    hide = hidden(A.shape, 0.4, 13)
    found = run(observed(A, hide), rank, max_sweeps=300)
    assert found.status == "converged"
    assert relative(dense(found), A) < 1e-12
    assert found.noise < 1e-13


def test_pure_noise_leaves_next_to_nothing() -> None:
    E = noise_of((300, 200), 14)
    found = run(observed(E, hidden(E.shape, 0.3, 15)), 10)
    assert found.noise == pytest.approx(1.0, rel=0.03)
    assert np.mean(dense(found) ** 2) < 0.01
    assert found.rank < 10


def test_biases_are_found() -> None:
    rng = np.random.default_rng(16)
    A = truth(300, 150, 3, 17) + 2 * rng.standard_normal((300, 1)) + rng.standard_normal(150) + 5
    hide = hidden(A.shape, 0.3, 18)
    data = observed(A + 0.4 * noise_of(A.shape, 19), hide)
    found = run(data, 8, mean=5.0, biased=True)
    f = found.factors
    assert found.rank - found.n_dormant == 3
    assert found.noise == pytest.approx(0.4, rel=0.02)
    assert np.sqrt(np.mean((dense(found) - A) ** 2)) < 1.1 * 0.4 * math.sqrt(4 * 450 / 13500)
    assert found.bias_variances == pytest.approx((4.0, 1.0), rel=0.35)
    # W is left centred in the metric of the popularity
    assert np.abs((~hide).sum(axis=0) @ f.W).max() < 1e-9 * data.count


def test_a_mean_is_held() -> None:
    A = truth(200, 100, 2, 20) + 7
    hide = hidden(A.shape, 0.4, 21)
    found = run(observed(A + 0.1 * noise_of(A.shape, 22), hide), 4, mean=7.0)
    assert found.factors.mean == 7.0
    assert (found.rank - found.n_dormant, found.factors.row_bias) == (2, None)
    assert relative(dense(found), A) < 0.02


def test_weights_are_precisions() -> None:
    """Noise of deviation 0.4 / sqrt(weight): of weight one it is 0.4."""
    A = truth(300, 200, 3, 23)
    weights = np.where(np.random.default_rng(24).random(A.shape) < 0.5, 1.0, 16.0)
    Y = A + 0.4 * noise_of(A.shape, 25) / np.sqrt(weights)
    hide = hidden(A.shape, 0.3, 26)
    weighted = run(observed(Y, hide, weights=weights), 6)
    assert weighted.noise == pytest.approx(0.4, rel=0.02)
    assert relative(dense(weighted), A) < 0.8 * relative(dense(run(observed(Y, hide), 6)), A)


def test_equal_weights_change_the_noise_alone() -> None:
    A = truth(40, 30, 2, 27) + 0.2 * noise_of((40, 30), 28)
    hide = hidden(A.shape, 0.6, 29)
    plain, heavy = (
        run(observed(A, hide), 4),
        run(observed(A, hide, weights=4 * np.ones(A.shape)), 4),
    )
    assert relative(dense(heavy), dense(plain)) < 1e-9
    assert heavy.noise == pytest.approx(2 * plain.noise, rel=1e-9)


def test_scale_does_not_matter() -> None:
    A = truth(40, 30, 2, 30) + 0.2 * noise_of((40, 30), 31)
    hide = hidden(A.shape, 0.6, 32)
    plain = run(observed(A, hide), 4)
    for power in (50, -50):
        scaled = run(observed(np.ldexp(A, power), hide), 4)
        assert relative(np.ldexp(dense(scaled), -power), dense(plain)) < 1e-9
        assert scaled.n_sweeps == plain.n_sweeps


def test_transposed_data_give_the_transposed_answer() -> None:
    A = truth(50, 30, 2, 33) + 0.2 * noise_of((50, 30), 34)
    hide = hidden(A.shape, 0.6, 35)
    found = run(observed(A, hide), 4, tol=1e-10, max_sweeps=500)
    turned = run(observed(A.T.copy(), hide.T), 4, tol=1e-10, max_sweeps=500)
    assert relative(dense(turned).T, dense(found)) < 1e-3
    assert turned.noise == pytest.approx(found.noise, rel=1e-4)


def test_empty_lines_stay_at_their_prior_mean() -> None:
    A = truth(60, 40, 2, 36) + 0.1 * noise_of((60, 40), 37)
    hide = hidden(A.shape, 0.5, 38)
    hide[7, :], hide[:, 3] = True, True
    for biased in (False, True):
        found = run(observed(A, hide), 4, biased=biased)
        P = dense(found)
        assert np.isfinite(P).all()
        assert not np.asarray(found.factors.U)[7, :].any()
        assert not np.asarray(found.factors.W)[3, :].any()
        expected = found.factors.column_bias if biased else np.zeros(40)
        assert np.array_equal(P[7, :], expected)


def test_a_given_start_is_used() -> None:
    A = truth(80, 60, 3, 39)
    hide = hidden(A.shape, 0.5, 40)
    data = observed(A + 0.1 * noise_of(A.shape, 41), hide)
    U, s, Vh = np.linalg.svd(A)
    start = Factors(U[:, :3] * s[:3], Vh[:3, :].T)
    found, cold = shrunk(data, start), run(data, 3)
    assert found.n_sweeps <= cold.n_sweeps
    assert relative(dense(found), dense(cold)) < 1e-2
    assert np.array_equal(start.U, U[:, :3] * s[:3])


def test_no_component_can_come_from_nothing() -> None:
    data = observe(np.array([[1.0, 2.0], [3.0, 4.0]]))
    zero = Factors(np.zeros((2, 1)), np.zeros((2, 1)))
    assert not dense(shrunk(data, zero)).any()


# ----------------------------------------------------------------------------------- ends


def test_zero_data_end_at_once() -> None:
    for level in (0.0, 3.0):
        data = observe(np.full((5, 4), level))
        found = run(data, 2, mean=level, biased=level > 0)
        assert (found.status, found.rank, found.noise, found.n_sweeps) == ("zero", 0, 0.0, 0)
        assert (dense(found) == level).all()


def test_sweeps_are_bounded_and_told() -> None:
    A = truth(40, 30, 2, 46)
    seen: list[tuple[int, int]] = []
    found = run(observe(A), 3, max_sweeps=4, callback=lambda s, f, x: seen.append((s, f.rank)))
    assert (found.status, found.n_sweeps, len(found.history)) == ("max_sweeps", 4, 4)
    assert [s for s, _ in seen] == [0, 1, 2, 3]
    stopped = run(observe(A), 3, callback=lambda s, f, x: s == 1)
    assert (stopped.status, stopped.n_sweeps) == ("stopped", 2)


def test_a_callback_at_the_last_sweep_takes_no_convergence_away() -> None:
    A = truth(40, 30, 2, 46) + 0.2 * noise_of((40, 30), 51)
    found = run(observe(A), 3)
    last = found.n_sweeps - 1
    again = run(observe(A), 3, callback=lambda s, f, x: s == last)
    assert (found.status, again.status, again.n_sweeps) == ("converged", "converged", last + 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_tiny_exact_data_settle_at_rounding(seed: int, rank: int) -> None:
    """The noise variance falls to three quarters a sweep: more than 200 sweeps to rounding."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((3, 1)) * rng.standard_normal(3)
    hide = np.zeros((3, 3), dtype=bool)
    hide[1, 1] = True
    found = run(observed(A, hide), rank, max_sweeps=200)
    assert found.status == "converged"
    assert found.rank == 1
    assert relative(dense(found), A) < 1e-14
    assert found.noise < 1e-14 * np.abs(A).max()
    assert found.history[-1] == found.noise


# ------------------------------------------------------------------------------- libraries


def small_problem(kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """Entries whose lines are all about as long, so that few shapes are compiled."""
    is_complex = kind.startswith("complex")
    A = truth(16, 16, 2, 47, is_complex=is_complex)
    A = A + 0.1 * noise_of((16, 16), 48, is_complex=is_complex)
    hide = np.eye(16, dtype=bool) | np.eye(16, k=3, dtype=bool)
    return A.astype(kind), hide, {"mean": 0.5, "biased": True, "max_sweeps": 2}


def test_libraries_agree(xp: Backend) -> None:
    kind = "complex128" if xp.has_float64 else "float32"
    A, hide, more = small_problem(kind)
    found = run(observe(xp.asarray(A, kind), mask=xp.asarray(~hide, "bool")), 3, **more)
    expected = run(observed(A, hide), 3, **more)
    f = found.factors
    assert all(x.dtype == getattr(xp.xp, kind) for x in (f.U, f.W, f.row_bias, f.column_bias))
    U, W, b, c = (xp.to_numpy(x) for x in (f.U, f.W, f.row_bias, f.column_bias))
    tolerance = 1e-10 if xp.has_float64 else 1e-4
    assert relative(U @ W.T + b[:, None] + c + f.mean, dense(expected)) < tolerance
    assert found.noise == pytest.approx(expected.noise, rel=tolerance)


@pytest.mark.parametrize("single", ["float32", "complex64"])
def test_single_precision(single: str) -> None:
    A, hide, more = small_problem(single)
    more["max_sweeps"] = 100
    found = run(observed(A, hide), 3, **more)
    double = run(observed(A.astype(f"{A.dtype.kind}{2 * A.itemsize}"), hide), 3, **more)
    f = found.factors
    assert all(x.dtype == A.dtype for x in (f.U, f.W, f.row_bias, f.column_bias))
    assert relative(dense(found), dense(double)) < 1e-3
    plain = run(observed((A - A).astype(single) + truth(16, 16, 2, 50).astype(single), hide), 3)
    assert (plain.status, plain.noise < 1e-5) == ("converged", True)
