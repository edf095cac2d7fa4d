"""The paper's maximisation steps, one iteration of each algorithm, and its constants."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from linalgkit.bayes import _state, theory
from linalgkit.bayes._paper import coupled_m_step, exact_m_step, paper_cycle, svd_m_step
from linalgkit.bayes._posterior import second_moments
from linalgkit.bayes._state import State
from tests.bayes.dense import Dense, model_of, outer, random_problem
from tests.conftest import Backend

SHAPES = [(7,), (5, 8), (8, 5), (6, 6), (4, 3, 5), (5, 1, 3), (3, 2, 4, 3)]
BY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def moments(rng: Any, shape: tuple[int, ...], decades: float = 4.0) -> Any:
    return 10 ** rng.uniform(-decades, 0, shape)


def ones(shape: tuple[int, ...]) -> list[Any]:
    return [np.ones(n) for n in shape]


def objective(Lam: Any, gammas: list[Any]) -> float:
    gamma = outer(gammas)
    return float(np.sum(np.log(gamma) + Lam / gamma))


def means(ratio: Any) -> list[Any]:
    """Over all modes but one, for each."""
    axes = range(ratio.ndim)
    return [ratio.mean(axis=tuple(k for k in axes if k != i)) for i in axes]


# ------------------------------------------------------------------------ the exact step


@BY_SHAPE
def test_moments_over_the_fitted_variances_have_uniform_marginals(
    rng: Any, shape: tuple[int, ...]
) -> None:
    Lam = moments(rng, shape)
    gammas, sweeps = exact_m_step(Lam, ones(shape), 1e-14)
    assert sweeps < 500
    for found in means(Lam / outer(gammas)):
        np.testing.assert_allclose(found, 1.0, atol=1e-12)
    for g in gammas[:-1]:
        assert math.isclose(np.linalg.norm(g), 1.0, rel_tol=1e-12)


@pytest.mark.parametrize("shape", [(5, 8), (4, 3, 5), (3, 2, 4, 3)], ids=str)
def test_the_exact_step_reaches_the_minimum_of_the_objective(
    rng: Any, shape: tuple[int, ...]
) -> None:
    Lam = moments(rng, shape, 3.0)
    gammas, _ = exact_m_step(Lam, ones(shape), 1e-13)
    cuts = np.cumsum(shape)[:-1]

    def value_and_slope(u: Any) -> tuple[float, Any]:
        g = [np.exp(part) for part in np.split(u, cuts)]
        slope = [(1 - m) * (Lam.size / m.size) for m in means(Lam / outer(g))]
        return objective(Lam, g), np.concatenate(slope)

    found = scipy.optimize.minimize(
        value_and_slope, np.zeros(sum(shape)), jac=True, method="L-BFGS-B",
        options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    best = objective(Lam, gammas)
    assert math.isclose(found.fun, best, rel_tol=1e-10)
    g = outer([np.exp(part) for part in np.split(found.x, cuts)])
    np.testing.assert_allclose(outer(gammas), g, rtol=1e-4)
    # Negative control: the leading singular vectors are no minimum of it.
    assert objective(Lam, svd_m_step(Lam)) > best + 1.0


def test_the_exact_step_does_not_depend_on_its_start(rng: Any) -> None:
    Lam = moments(rng, (4, 3, 5))
    found = []
    for _ in range(20):
        start = [10 ** rng.uniform(-6, 6, n) for n in Lam.shape]
        found.append(np.log(outer(exact_m_step(Lam, start, 1e-14)[0])))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (20, 4, 3, 5)), atol=1e-11)


def test_moments_of_product_form_are_found_in_one_sweep(rng: Any) -> None:
    Lam = outer([10 ** rng.uniform(-8, 0, n) for n in (4, 3, 5)])
    gammas, sweeps = exact_m_step(Lam, ones(Lam.shape), 1e-14)
    assert sweeps == 2
    np.testing.assert_allclose(outer(gammas), Lam, rtol=1e-13)


def test_one_sweep_updates_the_modes_in_turn(rng: Any) -> None:
    Lam, start = moments(rng, (4, 3, 5)), [rng.uniform(0.1, 1, n) for n in (4, 3, 5)]
    a = np.einsum("ijk,j,k->i", Lam, 1 / start[1], 1 / start[2]) / 15
    b = np.einsum("ijk,i,k->j", Lam, 1 / a, 1 / start[2]) / 20
    c = np.einsum("ijk,i,j->k", Lam, 1 / a, 1 / b) / 12
    found, sweeps = exact_m_step(Lam, start, 0.0, 1)
    assert sweeps == 1
    np.testing.assert_allclose(outer(found), outer([a, b, c]), rtol=1e-13)


def test_the_sweeps_stop_where_they_are_told_to(rng: Any) -> None:
    Lam = moments(rng, (6, 5, 4), 6.0)
    counts = [exact_m_step(Lam, ones(Lam.shape), tol)[1] for tol in (1e-1, 1e-5, 1e-10)]
    assert counts[0] < counts[1] < counts[2]
    best = outer(exact_m_step(Lam, ones(Lam.shape), 1e-15)[0])
    found = outer(exact_m_step(Lam, ones(Lam.shape), 1e-10)[0])
    assert np.linalg.norm(found - best) < 1e-9 * np.linalg.norm(best)


def test_columns_that_are_out_stay_out(rng: Any) -> None:
    Lam, start = moments(rng, (4, 5)), ones((4, 5))
    start[1][2] = 0.0
    found, _ = exact_m_step(Lam, start, 1e-12)
    assert found[1][2] == 0.0
    kept = [0, 1, 3, 4]
    smaller, _ = exact_m_step(Lam[:, kept], ones((4, 4)), 1e-12)
    np.testing.assert_allclose(outer(found)[:, kept], outer(smaller), rtol=1e-10)


@pytest.mark.parametrize("power", [-40, 40])
def test_the_exact_step_has_no_unit(rng: Any, power: int) -> None:
    Lam = moments(rng, (4, 3, 5))
    found, sweeps = exact_m_step(Lam, ones(Lam.shape), 1e-8)
    start = [*ones((4, 3)), np.full(5, 4.0**power)]
    scaled, again = exact_m_step(np.ldexp(Lam, 2 * power), start, 1e-8)
    assert sweeps == again
    np.testing.assert_array_equal(outer(scaled), np.ldexp(outer(found), 2 * power))


def test_the_norms_of_the_columns_matter_to_singular_vectors_alone(rng: Any) -> None:
    Lam, norms = moments(rng, (4, 3, 5)), outer([rng.uniform(0.5, 2, n) for n in (4, 3, 5)])
    exact = [outer(exact_m_step(T, ones(T.shape), 1e-14)[0]) for T in (Lam, norms * Lam)]
    np.testing.assert_allclose(exact[1], norms * exact[0], rtol=1e-11)
    leading = [outer(svd_m_step(T)) for T in (Lam, norms * Lam)]
    assert np.abs(leading[1] / (norms * leading[0]) - 1).max() > 0.01


# ---------------------------------------------------------------- leading singular vectors


def by_full_decompositions(Lam: Any) -> list[Any]:
    found = []
    while Lam.ndim > 1:
        U, s, Vh = np.linalg.svd(Lam.reshape(Lam.shape[0], -1), full_matrices=False)
        found.append(np.abs(U[:, 0]))
        Lam = (s[0] * np.abs(Vh[0])).reshape(Lam.shape[1:])
    return [*found, Lam]


@pytest.mark.parametrize("decades", [0.5, 4.0])
@BY_SHAPE
def test_leading_vectors_are_those_of_full_decompositions(
    rng: Any, shape: tuple[int, ...], decades: float
) -> None:
    Lam = moments(rng, shape, decades)
    for found, expected in zip(svd_m_step(Lam), by_full_decompositions(Lam), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 5)], ids=str)
def test_leading_vectors_keep_the_digits_of_small_entries(rng: Any, shape: tuple[int, ...]) -> None:
    Lam = outer([10 ** rng.uniform(-12, 0, n) for n in shape])
    np.testing.assert_allclose(outer(svd_m_step(Lam)), Lam, rtol=1e-13)


def test_leading_vectors_of_zeros_are_zeros() -> None:
    assert all(not g.any() for g in svd_m_step(np.zeros((3, 4, 2))))


# ----------------------------------------------------------------------- coupled columns


def tridiagonal(n: int, beta: float = 0.8) -> Any:
    return np.eye(n) + beta * (np.eye(n, k=1) + np.eye(n, k=-1))


def test_one_coupled_mode_is_a_least_squares_problem(rng: Any) -> None:
    target, C = moments(rng, (9,), 2.0), tridiagonal(9)
    (found,) = coupled_m_step(target, [np.ones(9)], [C], floor=0.0)
    expected = scipy.optimize.lsq_linear(C, target, (0, np.inf), method="bvls", tol=1e-15)
    np.testing.assert_allclose(found, expected.x, atol=1e-12)
    assert np.any(found == 0)  # the bound is active, else this were a linear system
    (raised,) = coupled_m_step(target, [np.ones(9)], [C], floor=1e-3)
    added = C @ (raised - found)
    np.testing.assert_allclose(added[1:-1], 1e-3 * np.linalg.norm(target), rtol=1e-9)
    assert np.all((added > 0) & (added < 1.01e-3 * np.linalg.norm(target)))


def test_coupled_variances_of_product_form_are_found(rng: Any) -> None:
    latents = [rng.uniform(0.1, 1, n) for n in (5, 4, 6)]
    couplings = [tridiagonal(5, 0.5), None, tridiagonal(6, 0.5)]
    Lam = outer([g if C is None else C @ g for C, g in zip(couplings, latents, strict=True)])
    start = [np.ones(n) for n in (5, 4, 6)]
    found = coupled_m_step(Lam, start, couplings, floor=0.0)
    np.testing.assert_allclose(outer(found), outer(latents), rtol=1e-11)


def test_without_couplings_the_coupled_step_is_the_exact_one(rng: Any) -> None:
    Lam = moments(rng, (4, 3, 5), 1.0)
    found = coupled_m_step(Lam, ones(Lam.shape), [None] * 3, sweeps=200, tol=1e-13)
    exact, _ = exact_m_step(Lam, ones(Lam.shape), 1e-13)
    np.testing.assert_allclose(outer(found), outer(exact), rtol=1e-11)


def test_the_coupled_step_makes_the_half_steps_of_the_paper(rng: Any) -> None:
    Lam, C = moments(rng, (5, 4), 2.0), tridiagonal(5)
    found = coupled_m_step(Lam, ones(Lam.shape), [C, None], sweeps=1)
    target = Lam @ (1 / np.ones(4)) / 4
    target /= np.linalg.norm(target)
    latent = scipy.optimize.lsq_linear(C, target, (0, np.inf), method="bvls", tol=1e-15).x
    latent += 1e-5 / 2.6
    np.testing.assert_allclose(found[0], latent, atol=1e-12)
    np.testing.assert_allclose(found[1], (1 / (C @ latent)) @ Lam / 5, rtol=1e-7)


def test_the_steps_need_no_second_tensor(rng: Any) -> None:
    shape = (40, 50, 60)
    Lam, couplings = moments(rng, shape), [tridiagonal(40), None, tridiagonal(60)]
    calls = (
        lambda: exact_m_step(Lam, ones(shape), 1e-5, 3),
        lambda: svd_m_step(Lam),
        lambda: coupled_m_step(Lam, ones(shape), couplings, sweeps=2),
    )
    for call in calls:
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 0.2 * Lam.nbytes


# --------------------------------------------------------------------------- an iteration


def dense_moments(dense: Dense, widths: tuple[int, ...]) -> Any:
    """Mean squares of the posterior by the textbook's formulas, in extended precision."""
    gamma = outer(dense.variances).ravel()
    gain = gamma[:, None] * (dense.H.conj().T @ dense.inverse)
    mean = gain @ dense.Y
    variance = gamma - np.sum((gain * dense.H.T).real, axis=1) * gamma
    return (np.mean(np.abs(mean) ** 2, axis=1) + variance).astype(float).reshape(widths)


@pytest.mark.parametrize(
    ("sizes", "widths", "snapshots", "is_complex"),
    [((5, 6), (7, 4), 1, True), ((3, 4, 2), (4, 3, 3), 3, False)],
    ids=["complex", "snapshots"],
)
def test_an_iteration_is_that_of_dense_formulas(
    sizes: Any, widths: Any, snapshots: int, is_complex: bool
) -> None:
    rng = np.random.default_rng(3)
    model, variances = random_problem(
        rng, sizes, widths, snapshots=snapshots, is_complex=is_complex, zeros=0.0
    )
    dense, noise = Dense.of(model, variances, 0.02), 0.02
    Lam = dense_moments(dense, widths)
    residual, used, _ = dense.noise_sums()
    expected = {
        "am": exact_m_step(Lam, variances, 1e-12)[0],
        "ksbl": exact_m_step(Lam, variances, 0.0, 1)[0],
        "svd": by_full_decompositions(Lam),
    }
    for kind, gammas in expected.items():
        state = State(model, variances, noise)
        paper_cycle(state, kind, estimate_noise=True, inner_tol=1e-12)
        np.testing.assert_allclose(outer(state.gammas), outer(gammas), rtol=1e-9)
        assert math.isclose(state.noise, (residual + noise * used) / model.count, rel_tol=1e-9)
        paper_cycle(state, kind, estimate_noise=False)
        assert math.isclose(state.noise, (residual + noise * used) / model.count, rel_tol=1e-9)


def test_an_iteration_can_be_taken_in_the_units_of_the_columns() -> None:
    rng = np.random.default_rng(4)
    model, variances = random_problem(rng, (4, 5), (6, 7))
    squares = [rng.uniform(0.2, 3, n) for n in (6, 7)]
    on = np.ix_(*[v > 0 for v in variances])
    Lam, norms = second_moments(State(model, variances, 0.1)), outer(squares)[on]

    def after(kind: str, **options: Any) -> Any:
        state = State(model, variances, 0.1, options.pop("couplings", None))
        paper_cycle(state, kind, estimate_noise=False, inner_tol=1e-13, **options)
        return outer([state.variances(i) for i in range(2)])

    expected = norms * outer(by_full_decompositions(Lam / norms))
    np.testing.assert_allclose(after("svd", squares=squares)[on], expected, rtol=1e-10)
    assert not np.allclose(after("svd")[on], expected, rtol=0.01)
    for kind in ("am", "ksbl"):
        np.testing.assert_allclose(after(kind, squares=squares), after(kind), rtol=1e-9)
    # The state's coupling has the norms in its rows; the step sees it without them.
    C = tridiagonal(6)
    state = State(model, variances, 0.1, [squares[0][:, None] * C, None])
    seen = second_moments(state) / outer([squares[0], squares[1][variances[1] > 0]])
    kept = variances[0] > 0
    on_rows = C[:, kept].sum(axis=1) > 0
    assert on_rows.all()
    start = [variances[0][kept], (variances[1] / squares[1])[variances[1] > 0]]
    latents = coupled_m_step(seen, start, [C[:, kept], None], tol=1e-13)
    paper_cycle(state, "pc", estimate_noise=False, inner_tol=1e-13, squares=squares)
    np.testing.assert_allclose(state.gammas[0][kept], latents[0], rtol=1e-9)
    found = (state.gammas[1] / squares[1])[variances[1] > 0]
    np.testing.assert_allclose(found, latents[1], rtol=1e-9)


def test_an_iteration_leaves_out_what_is_out() -> None:
    model, variances = random_problem(np.random.default_rng(5), (4, 5), (6, 7))
    assert any((v == 0).any() for v in variances)
    couplings = [tridiagonal(6), None]
    for kind in ("am", "ksbl", "svd", "pc"):
        state = State(model, variances, 0.01, couplings if kind == "pc" else None)
        for _ in range(3):
            paper_cycle(state, kind, estimate_noise=True)
        for g, v in zip(state.gammas, variances, strict=True):
            np.testing.assert_array_equal(g > 0, v > 0)
        assert math.isfinite(state.evidence)


# Real and complex, two and three modes, one and three snapshots.
PROBLEMS = [
    ((8, 9), (14, 12), 1, False),
    ((8, 9), (14, 12), 3, True),
    ((4, 5, 4), (7, 6, 4), 1, True),
    ((4, 5, 4), (7, 6, 4), 3, False),
]


def evidences(kind: str, seed: int, problem: Any, estimate: bool, cycles: int = 40) -> Any:
    sizes, widths, snapshots, is_complex = problem
    model, _ = random_problem(
        np.random.default_rng(seed), sizes, widths, snapshots=snapshots, is_complex=is_complex
    )
    state = State(model, [np.full(n, 0.5) for n in widths], 0.05)
    found = [state.evidence]
    for _ in range(cycles):
        paper_cycle(state, kind, estimate_noise=estimate, inner_tol=1e-12)
        found.append(state.evidence)
    return np.asarray(found)


def lowest_step(found: Any) -> float:
    return float(np.diff(found).min() / np.abs(found).max())


@pytest.mark.parametrize("estimate", [False, True], ids=["known", "estimated"])
@pytest.mark.parametrize("kind", ["am", "ksbl"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=["real", "complex", "three", "snapshots"])
def test_the_evidence_of_the_exact_step_and_of_one_sweep_never_falls(
    problem: Any, kind: str, estimate: bool
) -> None:
    assert lowest_step(evidences(kind, 0, problem, estimate)) > -1e-12


def test_the_evidence_of_singular_vectors_can_fall() -> None:
    found = evidences("svd", 8, PROBLEMS[0], False)
    assert lowest_step(found) < -1e-2
    assert lowest_step(evidences("am", 8, PROBLEMS[0], False)) > -1e-12


def test_a_coupled_iteration_finds_blocks() -> None:
    rng = np.random.default_rng(2)
    H = [rng.standard_normal((m, n)) for m, n in ((10, 16), (9, 12))]
    X = np.zeros((16, 12))
    X[5:9, 3:6] = rng.standard_normal((4, 3))
    Y = H[0] @ X @ H[1].T
    model = model_of(H, Y + 0.05 * rng.standard_normal(Y.shape))
    state = State(model, [np.ones(16), np.ones(12)], 0.01, [tridiagonal(16), None])
    for _ in range(60):
        paper_cycle(state, "pc", estimate_noise=True)
    largest = np.argsort(-state.variances(0))[:4]
    assert sorted(largest) == [5, 6, 7, 8]
    assert sorted(np.argsort(-state.gammas[1])[:3]) == [3, 4, 5]
    assert np.all(state.gammas[0] > 0)  # the floor


def test_the_iterations_are_the_same_on_all_libraries(xp: Backend) -> None:
    rng = np.random.default_rng(7)
    H = [rng.standard_normal((4, 6)), rng.standard_normal((5, 6))]
    y = rng.standard_normal((4, 5, 2)).astype(xp.to_numpy(xp.asarray(np.ones(1))).dtype)
    models = [model_of([xp.asarray(h) for h in H], xp.asarray(y)), model_of(H, y)]
    for kind in ("am", "svd", "ksbl"):
        states = [State(model, [np.ones(6), np.ones(6)], 0.1) for model in models]
        for state in states:
            for _ in range(2):
                paper_cycle(state, kind, estimate_noise=True)
        tolerance = 100 * xp.tolerance
        np.testing.assert_allclose(
            outer(states[0].gammas), outer(states[1].gammas), rtol=tolerance, atol=tolerance
        )
        assert math.isclose(states[0].noise, states[1].noise, rel_tol=tolerance)


# ------------------------------------------------------------------- the paper's constants


def test_the_published_versions() -> None:
    common = {"gamma0": 1.0, "tol": 1e-4, "max_iter": 150}
    assert theory.published("am") == {"method": "am", "prune": 1e-2, **common}
    assert theory.published("ksbl") == {"method": "ksbl", "prune": 1e-2, **common}
    assert theory.published("svd") == {"method": "svd", "prune": 1e-3, **common}
    for method in ("am", "svd", "ksbl"):
        halved = theory.published(method, noise_known=False)["prune"]
        assert halved == theory.published(method)["prune"] / 2
        curves = theory.published(method, experiment="convergence")
        assert (curves["prune"], curves["tol"]) == (None, 0.0)
        assert curves["max_iter"] == (200 if method == "svd" else 4000)


def test_the_published_channel_experiment() -> None:
    assert theory.published("am", experiment="irs")["prune"] == (1e-2, 1e-1, 1e-3)
    found = theory.published("pc")
    assert found["prune"] == (1e-2, 1e-1, 1e-2)
    assert (found["method"], found["coupling"]) == ("am", (0.8, None, 0.8))
    assert theory.published("svd", experiment="irs")["prune"] == 0.0
    assert theory.published("svd", experiment="irs", snr_db=24.9)["prune"] == 0.0
    assert theory.published("svd", experiment="irs", snr_db=25)["prune"] == 1e-3


def test_inner_tolerances() -> None:
    found = [theory.inner_tolerance(e) for e in ("synthetic", "convergence", "irs")]
    assert found == [1e-5, 1e-10, 1e-4]


def test_the_noise_starts_at_a_tenth_of_the_variance(xp: Backend) -> None:
    y = np.asarray([[1.0, 3.0], [5.0, 7.0]])
    assert math.isclose(theory.noise_start(xp.asarray(y)), 0.5, rel_tol=xp.tolerance)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_the_start_of_the_noise_has_the_unit_of_the_data(scale: float) -> None:
    y = scale * np.asarray([1.0 + 2.0j, 3.0, -1.0j])
    expected = 0.1 * np.var(y / scale) * scale**2
    assert math.isclose(theory.noise_start(y), expected, rel_tol=1e-13)


def test_a_cycle_of_the_state_takes_two_chains(monkeypatch: Any) -> None:
    sizes, widths, L = (6, 5, 4), (8, 9, 7), 2
    model, variances = random_problem(
        np.random.default_rng(1), sizes, widths, snapshots=L, zeros=0.0
    )
    state, spent = State(model, variances, 0.1), []
    product, gram = _state.mode_product, State._gram

    def counted_product(T: Any, A: Any, axis: int, xp: Any) -> Any:
        spent.append(2 * T.size * A.shape[0])
        return product(T, A, axis, xp)

    def counted_gram(self: State, W: Any, i: int) -> Any:
        spent.append(2 * W.size * W.shape[i])
        return gram(self, W, i)

    monkeypatch.setattr(_state, "mode_product", counted_product)
    monkeypatch.setattr(State, "_gram", counted_gram)
    for i in range(3):
        a, b = state.marginals(i)
        state.set_mode(i, state.gammas[i] * np.sqrt(a / b))
    assert sum(spent) == 2 * theory.chain_flops(sizes, L)
    small = sum(6 * m * m * n + 11 * m**3 for m, n in zip(sizes, widths, strict=True))
    assert theory.cycle_flops(sizes, widths, L) == sum(spent) + small


def test_the_covariance_of_the_paper_costs_thousands_of_cycles() -> None:
    sizes, widths = (8, 12, 15), (15, 15, 15)
    assert theory.covariance_flops(sizes, widths) == 2 * 3375**2 * 1440
    assert theory.covariance_flops(sizes, widths) > 3000 * theory.cycle_flops(sizes, widths)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: theory.published("em"), ValueError, "method must be"),
        (lambda: theory.published(3), TypeError, "method must"),
        (lambda: theory.published("am", experiment="none"), ValueError, "experiment must be"),
        (lambda: theory.published("pc", experiment="synthetic"), ValueError, "does not run"),
        (lambda: theory.published("ksbl", experiment="irs"), ValueError, "does not run"),
        (lambda: theory.published("am", noise_known=1), TypeError, "noise_known must be"),
        (lambda: theory.published("pc", beta=-1.0), ValueError, "beta must be"),
        (lambda: theory.published("svd", snr_db="x"), TypeError, "snr_db must be"),
        (lambda: theory.inner_tolerance("none"), ValueError, "experiment must be"),
        (lambda: theory.noise_start(np.asarray([1.0, np.nan])), ValueError, "y must"),
        (lambda: theory.noise_start(np.zeros(0)), ValueError, "y must have an entry"),
        (lambda: theory.noise_start(3), TypeError, "y"),
        (lambda: theory.chain_flops(3), TypeError, "sizes must be a sequence"),
        (lambda: theory.chain_flops(()), ValueError, "sizes must have one"),
        (lambda: theory.chain_flops((3, 0)), ValueError, r"sizes\[1\] must be at least 1"),
        (lambda: theory.chain_flops((3, 2), 0), ValueError, "snapshots must be"),
        (lambda: theory.cycle_flops((3, 2), (4,)), ValueError, "each of the 2 sizes"),
        (lambda: theory.covariance_flops((3, 2), (4, 2.5)), TypeError, r"widths\[1\] must"),
    ],
    ids=range(18),
)
def test_constants_refuse_what_they_cannot_take(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
