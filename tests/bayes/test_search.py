"""From data to supports: starts, restriction, newcomers and the search as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from linalgkit.bayes._climb import RULES, History, climb
from linalgkit.bayes._model import Model, prepare, restricted
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._moves import best_move, entry_gains, penalised, price_for
from linalgkit.bayes._search import (
    Found,
    newcomers,
    noise_guess,
    search,
    start_by_moments,
    start_on,
    supports_by_unfoldings,
    unfolding_grams,
)
from linalgkit.bayes._state import State
from linalgkit.datasets import kronecker_sparse
from tests.bayes.dense import Dense, draw, model_of, random_problem
from tests.conftest import Backend

KINDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
SNAPSHOTS = pytest.mark.parametrize("snapshots", [None, 3])


def searched(model: Model, noise_var: float | None = None, **keywords: Any) -> Found:
    price = price_for("bic", model)
    supports, _ = supports_by_unfoldings(model, price, noise_var, unfolding_grams(model))
    settings = {"noise_var": noise_var, "max_iter": 200, "tol": 1e-6, **keywords}
    return search(model, supports, price, RULES["mm"], History(), **settings)


def support_of(found: Found) -> list[list[int]]:
    pairs = zip(found.columns, found.state.gammas, strict=True)
    return [[int(j) for j in c[g > 0]] for c, g in pairs]


def a_problem(shape: str, seed: int, **keywords: Any) -> Any:
    widths, sizes, nonzeros = {
        "one": ((30,), (20,), (3,)),
        "two": ((16, 20), (12, 10), (3, 2)),
        "three": ((12, 10, 8), (7, 8, 6), (3, 2, 2)),
        "four": ((6, 5, 8, 4), (5, 4, 6, 5), (2, 2, 3, 1)),
    }[shape]
    return kronecker_sparse(widths, sizes, nonzeros, rng=seed, **keywords)


# ---------------------------------------------------------------------------- the whole search


@KINDS
@SNAPSHOTS
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("shape", ["one", "two", "three", "four"])
def test_supports_of_generic_problems_are_found(
    shape: str, known: bool, snapshots: int | None, is_complex: bool
) -> None:
    kind = "complex128" if is_complex else "float64"
    for seed in range(2):
        problem = a_problem(shape, seed, snr_db=30.0, snapshots=snapshots, dtype=kind)
        prepared = prepare(kronecker_data(problem.factors, problem.y))
        noise = problem.noise_var * 4.0**-prepared.exponent if known else None
        found = searched(prepared.model, noise)
        truth = refined_truth(prepared.model, problem.support, noise)
        assert found.converged
        assert best_move(found.state, price_for("bic", prepared.model)) is None
        assert found.score >= truth - 1e-2
        if shape != "one":  # whose few numbers do not always tell
            assert support_of(found) == [list(s) for s in problem.support]
            if not known:
                expected = problem.noise_var * 4.0**-prepared.exponent
                assert found.state.noise == pytest.approx(expected, rel=0.5)


def refined_truth(model: Model, support: Any, noise_var: float | None) -> float:
    """The penalised evidence where a climb from least squares on the true support ends."""
    columns = [np.asarray(s) for s in support]
    small, _ = restricted(model, columns)
    start = start_on(small, noise_var)
    state = State(small, start.gammas, start.noise)
    settings = {"max_iter": 2000, "tol": 1e-6}
    climb(state, RULES["mm"], History(), estimate_noise=noise_var is None, **settings)
    return penalised(state, price_for("bic", model))


def test_a_search_finds_what_its_start_left_out(rng: Any) -> None:
    problem = a_problem("three", 1, snr_db=30.0)
    model = prepare(kronecker_data(problem.factors, problem.y)).model
    first = [s[:1] for s in problem.support]  # one true column a mode
    price = price_for("bic", model)
    history = History()
    settings = {"noise_var": None, "max_iter": 200, "tol": 1e-6}
    found = search(model, first, price, RULES["mm"], history, **settings)
    assert support_of(found) == [list(s) for s in problem.support]
    assert history.changes
    whole = State(model, on_all(model, found), found.state.noise)
    assert whole.evidence == pytest.approx(found.state.evidence, rel=1e-11)


def test_a_search_from_given_hyperparameters(rng: Any) -> None:
    problem = a_problem("two", 2, snr_db=30.0)
    model = prepare(kronecker_data(problem.factors, problem.y)).model
    everything = [np.arange(n) for n in model.widths]
    settings = {"noise_var": None, "max_iter": 500, "tol": 1e-6}
    found = search(
        model, everything, price_for("bic", model), RULES["mm"], History(),
        start=start_by_moments(model, None), **settings,
    )  # fmt: skip
    assert support_of(found) == [list(s) for s in problem.support]


def on_all(model: Model, found: Found) -> list[Any]:
    gammas = [np.zeros(n) for n in model.widths]
    for gamma, columns, values in zip(gammas, found.columns, found.state.gammas, strict=True):
        gamma[columns] = values
    return gammas


@pytest.mark.parametrize("scale", [1e-6, 1e6, 2.0**400])
def test_the_support_does_not_depend_on_the_unit(scale: float) -> None:
    problem = a_problem("two", 3, snr_db=15.0)
    model = prepare(kronecker_data(problem.factors, problem.y)).model
    scaled = prepare(kronecker_data(problem.factors, problem.y * scale)).model
    assert support_of(searched(model)) == support_of(searched(scaled))


def test_a_search_on_any_library(xp: Backend) -> None:
    """Data on a device (here the strict one's) are read there, and the rest goes on on the host."""
    problem = a_problem("two", 0, snr_db=20.0)
    host = prepare(kronecker_data(problem.factors, problem.y)).model
    model = replace(host, Y=xp.asarray(host.Y), xp=xp.xp, device=xp.device)
    expected, found = searched(host), searched(model)
    assert support_of(found) == support_of(expected) == [list(s) for s in problem.support]
    rel = 1e-7 if xp.has_float64 else 1e-3
    assert found.state.evidence == pytest.approx(expected.state.evidence, rel=rel)
    assert found.state.noise == pytest.approx(expected.state.noise, rel=rel)


def test_data_of_any_library_are_searched(xp: Backend) -> None:
    problem = a_problem("two", 0, snr_db=20.0)
    factors = [xp.asarray(H) for H in problem.factors]
    model = prepare(kronecker_data(factors, xp.asarray(problem.y))).model
    assert support_of(searched(model)) == [list(s) for s in problem.support]


# -------------------------------------------------------------------------------- newcomers


@KINDS
@pytest.mark.parametrize("snapshots", [1, 3])
@pytest.mark.parametrize(
    ("sizes", "widths"),
    [((7,), (9,)), ((6, 5), (8, 4)), ((4, 5, 6), (5, 7, 4)), ((4, 3, 5, 4), (5, 4, 2, 3))],
    ids=str,
)
def test_newcomers_gain_what_they_gain_on_the_whole_model(
    sizes: Any, widths: Any, snapshots: int, is_complex: bool, rng: Any
) -> None:
    model, variances = random_problem(
        rng, sizes, widths, snapshots=snapshots, is_complex=is_complex, noise=0.01, zeros=0.7
    )
    columns = [np.unique(np.append(np.flatnonzero(v), len(v) // 2)) for v in variances]
    small, bases = restricted(model, columns)
    gammas = [v[c] for v, c in zip(variances, columns, strict=True)]
    state = State(small, gammas, 0.01)
    whole = State(model, variances, 0.01)
    price = price_for("bic", model)
    entries, largest, pays = newcomers(model, state, columns, bases, price)
    best, any_pays = 0.0, False
    for i, entry in enumerate(entries):
        gains, _ = entry_gains(whole, i)
        best = max(best, float(np.max(gains)))
        gains[columns[i]] = 0.0
        order = np.argsort(-gains, kind="stable")[: len(entry)]
        np.testing.assert_array_equal(entry, order)
        assert len(entry) == min(2, int(np.sum(gains > 0)))
        kept = int(np.sum(gammas[i] > 0))
        if kept < widths[i]:
            any_pays |= bool(np.max(gains) > price.next(i, kept) + 1e-2)
    assert largest == pytest.approx(best, rel=1e-8)
    assert pays == any_pays


def test_newcomers_are_none_where_all_columns_are_in(rng: Any) -> None:
    model, _ = random_problem(rng, (4, 5), (3, 6))
    columns = [np.arange(3), np.arange(6)]
    small, bases = restricted(model, columns)
    state = State(small, [np.ones(3), np.ones(6)], 0.1)
    entries, largest, pays = newcomers(model, state, columns, bases, price_for("bic", model))
    assert [len(e) for e in entries] == [0, 0]
    assert (largest, pays) == (0.0, False)


# ------------------------------------------------------------------------------ restriction


@KINDS
@pytest.mark.parametrize("snr_db", [10.0, 55.0, 100.0])
@pytest.mark.parametrize("first", [True, False], ids=["tall", "wide-first"])
def test_energy_inside_and_outside_is_the_energy(
    is_complex: bool, snr_db: float, first: bool, rng: Any
) -> None:
    sizes, widths = ((18, 6, 5), (4, 3, 2)) if first else ((3, 18, 5), (4, 3, 2))
    factors = [draw(rng, m, n, is_complex=is_complex) for m, n in zip(sizes, widths, strict=True)]
    clean = draw(rng, *widths, 2, is_complex=is_complex)
    for axis, H in enumerate(factors):
        clean = np.moveaxis(np.tensordot(H, clean, (1, axis)), 0, axis)
    noise = draw(rng, *sizes, 2, is_complex=is_complex)
    noise *= 10 ** (-snr_db / 20) * np.linalg.norm(clean) / np.linalg.norm(noise)
    model = model_of(factors, clean + noise)
    unit = np.linalg.norm(model.Y) / np.linalg.norm(clean + noise)  # a power of two
    inside = noise
    small, bases = restricted(model, [np.arange(n) for n in widths])
    for axis, H in enumerate(factors):
        P = np.eye(sizes[axis])
        if H.shape[0] > H.shape[1]:
            Q = np.linalg.qr(H)[0]
            P = Q @ Q.conj().T
        inside = np.moveaxis(np.tensordot(P, inside, (1, axis)), 0, axis)
    outside = (unit * np.linalg.norm(noise - inside)) ** 2
    assert small.outside == pytest.approx(outside, rel=1e-6)
    total = small.outside + np.linalg.norm(small.Y) ** 2
    assert total == pytest.approx(model.energy, rel=1e-13)
    assert (small.count, small.snapshots, small.energy) == (model.count, 2, model.energy)
    for H, Q, R in zip(model.factors, bases, small.factors, strict=True):
        if Q is not None:
            np.testing.assert_allclose(Q @ R, H, atol=1e-14)
        else:
            np.testing.assert_array_equal(R, H)


def test_the_rest_of_a_model_in_single_precision(xp: Backend, rng: Any) -> None:
    """At 60 dB the rest lies at the roundoff of the energies, not at that of the data."""
    factors = [rng.standard_normal((m, n)) for m, n in ((18, 4), (6, 3))]
    clean = factors[0] @ rng.standard_normal((4, 3)) @ factors[1].T
    noise = rng.standard_normal((18, 6))
    noise *= 1e-3 * np.linalg.norm(clean) / np.linalg.norm(noise)
    host = model_of(factors, clean + noise)
    expected, _ = restricted(host, [np.arange(4), np.arange(3)])
    Y = xp.asarray(host.Y, dtype="float32")
    model = replace(host, Y=Y, xp=xp.xp, device=xp.device)
    small, _ = restricted(model, [np.arange(4), np.arange(3)])
    assert small.outside == pytest.approx(expected.outside, rel=1e-2)


def test_nothing_lies_outside_of_full_ranges(rng: Any) -> None:
    model, _ = random_problem(rng, (4, 5), (6, 5))
    small, bases = restricted(model, [np.arange(6), np.arange(5)])
    assert bases == (None, None)
    assert small.outside == 0.0
    np.testing.assert_array_equal(small.Y, model.Y)


# ----------------------------------------------------------------------------------- starts


@KINDS
@pytest.mark.parametrize("snapshots", [None, 4])
@pytest.mark.parametrize("snr_db", [0.0, 20.0, 60.0])
def test_the_noise_is_guessed_where_unfoldings_have_many_columns(
    is_complex: bool, snapshots: int | None, snr_db: float
) -> None:
    kind = "complex128" if is_complex else "float64"
    for seed in range(3):
        problem = kronecker_sparse(
            (20, 20, 20), (12, 14, 16), (3, 3, 3), snr_db=snr_db, snapshots=snapshots, dtype=kind,
            rng=seed,
        )  # fmt: skip
        prepared = prepare(kronecker_data(problem.factors, problem.y))
        guess = noise_guess(prepared.model, unfolding_grams(prepared.model))
        assert guess * 4.0**prepared.exponent == pytest.approx(problem.noise_var, rel=0.1)


@pytest.mark.parametrize("sizes", [(2, 3, 30), (5, 6, 20)], ids=str)
def test_the_noise_guess_of_data_without_noise_is_finite(sizes: Any, rng: Any) -> None:
    factors = [rng.standard_normal((m, 1)) for m in sizes]
    clean = np.einsum("i,j,k->ijk", *(H[:, 0] for H in factors))
    model = model_of(factors, clean)
    guess = noise_guess(model, unfolding_grams(model))
    assert model.noise_floor <= guess < 1e-6


def test_a_start_by_moments_has_the_energy_of_the_data(rng: Any) -> None:
    model, _ = random_problem(rng, (4, 5), (6, 3), snapshots=3)
    for noise in (None, 1e-3):
        start = start_by_moments(model, noise)
        trace = np.prod(
            [np.sum(H**2 * g) for H, g in zip(model.factors, start.gammas, strict=True)]
        )
        total = model.snapshots * (trace + model.count * start.noise)
        assert total == pytest.approx(model.energy, rel=1e-12)
    assert start_by_moments(model, 1e6).gammas[0][0] > 0  # noise above the energy


def test_a_start_leaves_columns_of_zeros_out(rng: Any) -> None:
    H = rng.standard_normal((4, 3))
    H[:, 1] = 0
    start = start_by_moments(model_of([H], rng.standard_normal(4)), None)
    assert start.gammas[0][1] == 0
    assert np.all(start.gammas[0][[0, 2]] > 0)


@KINDS
def test_a_start_on_few_columns_is_least_squares(is_complex: bool, rng: Any) -> None:
    model, _ = random_problem(
        rng,
        (7, 8),
        (2, 3),
        snapshots=400,
        is_complex=is_complex,
        noise=0.01,
        zeros=0.0,
        decades=0.5,
    )
    columns = [np.arange(2), np.arange(3)]
    small, _ = restricted(model, columns)
    start = start_on(small, None)
    H = np.kron(*model.factors)
    Y = model.Y.reshape(56, -1)
    X, *_ = np.linalg.lstsq(H, Y, rcond=None)
    rest = np.linalg.norm(Y - H @ X) ** 2 / Y.size
    assert start.noise == pytest.approx(rest, rel=1e-9)
    squares = np.mean(np.abs(X) ** 2, axis=1)
    assert np.sum(np.multiply.outer(*start.gammas)) == pytest.approx(np.sum(squares), rel=1e-9)
    # close to the maximum: the evidence hardly rises from there
    dense = Dense.of(model, start.gammas, start.noise)
    assert State(small, start.gammas, start.noise).evidence == pytest.approx(
        dense.evidence, rel=1e-10
    )
