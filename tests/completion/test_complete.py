"""The one-shot function: the same answer for every input, library and order, and what it says."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit import AccuracyWarning
from linalgkit._core.array import device, library_of, to_numpy
from linalgkit.completion import complete_matrix, rank_estimate
from tests.completion.problems import Problem, error, holed, problem
from tests.conftest import Backend, uncompiled

EXACT = problem()
NOISY = problem(noise=0.3)
SOLVERS = ("auto", "pcg", "direct", "scaledgd", "sketched", "rgn")


def csr(p: Problem) -> Any:
    rows, columns = np.nonzero(p.seen)
    return sp.csr_array((p.read[p.seen], (rows, columns)), shape=p.seen.shape)


# ---------------------------------------------------------------------------------- libraries


@pytest.mark.parametrize("kind", ["float32", "float64", "complex64", "complex128"])
def test_exact_data_are_completed_to_rounding(xp: Backend, kind: str) -> None:
    if kind not in xp.all_dtypes:
        pytest.skip("the device has no such dtype")
    if xp.name == "jax" and kind != "complex128":
        pytest.skip("compiled for one dtype; the others take the same code")
    p = problem(kind=kind)
    given = xp.asarray(holed(p), kind)
    result = complete_matrix(given, 3, rng=0)
    eps = np.finfo(kind).eps
    assert result.status == "converged"
    assert error(result, p.truth) < 40 * eps
    assert result.U.dtype == result.V.dtype == given.dtype
    assert device(result.U) == device(given)
    assert library_of(result.unidentifiable_rows) == library_of(given)
    assert result.residual_norm < 100 * eps * np.linalg.norm(p.read[p.seen])


@uncompiled  # test_estimator compares noisy answers on JAX
def test_noisy_answers_are_the_same_on_every_library(xp: Backend) -> None:
    wide = "float64" if xp.has_float64 else "float32"
    host = complete_matrix(holed(NOISY).astype(wide), 3, alpha=0.5, rng=0)
    found = complete_matrix(xp.asarray(holed(NOISY), wide), 3, alpha=0.5, rng=0)
    close = 1e-5 if wide == "float64" else 1e-2
    np.testing.assert_allclose(to_numpy(found.block()), host.block(), rtol=close, atol=close)
    assert found.noise_estimate == pytest.approx(host.noise_estimate, rel=close)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_completes_exact_data(solver: str) -> None:
    result = complete_matrix(holed(EXACT), 3, solver=solver, rng=0)
    assert result.status == "converged"
    assert error(result, EXACT.truth) < 1e-10
    assert result.loss_history[-1] <= result.loss_history[0]


@pytest.mark.parametrize("solver", ["pcg", "direct", "sketched"])
def test_solvers_minimise_the_same_objective(solver: str) -> None:
    def objective(r: Any) -> float:
        left = NOISY.read - r.block()
        norms = np.sum(r.U**2) + np.sum(r.V**2)
        return float(np.sum(left[NOISY.seen] ** 2) + 2.0 * norms)

    found = complete_matrix(holed(NOISY), 3, alpha=2.0, solver=solver, tol=1e-12, max_sweeps=500)
    value = objective(found)
    assert found.loss_history[-1] == pytest.approx(math.sqrt(value), rel=1e-8)
    # no small move of either factor lowers it
    rng = np.random.default_rng(1)
    for _ in range(5):
        dU, dV = rng.standard_normal(found.U.shape), rng.standard_normal(found.V.shape)
        for h in (1e-3, -1e-3):
            left = NOISY.read - (found.U + h * dU) @ (found.V + h * dV).T
            norms = np.sum((found.U + h * dU) ** 2) + np.sum((found.V + h * dV) ** 2)
            assert np.sum(left[NOISY.seen] ** 2) + 2.0 * norms > value


def test_without_ridge_the_gradient_vanishes() -> None:
    result = complete_matrix(holed(NOISY), 3, rng=0)
    left = np.where(NOISY.seen, NOISY.read - result.block(), 0.0)
    size = np.linalg.norm(left) * np.linalg.norm(result.V)
    assert np.linalg.norm(left @ result.V) < 1e-3 * size
    assert np.linalg.norm(left.T @ result.U) < 1e-3 * size


# ------------------------------------------------------------------------------------- inputs


def test_all_kinds_of_input_give_the_same_bits() -> None:
    p = NOISY
    rows, columns = np.nonzero(p.seen)
    values = p.read[rows, columns]
    order = np.random.default_rng(0).permutation(rows.size)
    halves = np.array_split(order, 3)
    kinds = [
        holed(p),
        csr(p),
        csr(p).tocsc(),
        csr(p).tocoo(),
        csr(p).tolil(),
        np.ma.MaskedArray(p.read, ~p.seen),
        (rows[order], columns[order], values[order], p.seen.shape),
        ((rows[h], columns[h], values[h], p.seen.shape) for h in halves),
    ]
    answers = [complete_matrix(kind, 3, alpha=1.0, rng=0).block() for kind in kinds]
    answers.append(complete_matrix(p.read, 3, mask=p.seen, alpha=1.0, rng=0).block())
    for other in answers[1:]:
        np.testing.assert_array_equal(answers[0], other)


def test_explicit_zeros_are_observed() -> None:
    p = problem(40, 30, 2)
    read = np.where(p.truth > 1.0, 0.0, p.truth)
    rows, columns = np.nonzero(p.seen)
    A = sp.csr_array((read[p.seen], (rows, columns)), shape=p.seen.shape)
    with_zeros = complete_matrix(A, 2, alpha=1.0, rng=0)
    dense = complete_matrix(np.where(p.seen, read, np.nan), 2, alpha=1.0, rng=0)
    np.testing.assert_array_equal(with_zeros.block(), dense.block())
    assert np.count_nonzero(A.data == 0.0) > 100


@pytest.mark.parametrize("shrink", [False, True])
def test_threads_change_no_bit(shrink: bool) -> None:
    p = problem(300, 200, 4, noise=0.1)
    one, two, five = (
        complete_matrix(holed(p), 4, shrink=shrink, n_threads=t, rng=0).block() for t in (1, 2, 5)
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, five)


# -------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("exponent", [500, -500])
@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 1.0},
        {"bias": True, "alpha": 1.0},
        {"shrink": True},
        {"loss": "huber"},
        {"loss": "l1"},
    ],
    ids=["ridge", "bias", "shrink", "huber", "l1"],
)
def test_the_unit_of_the_data_does_not_matter(settings: dict[str, Any], exponent: int) -> None:
    unit = 2.0**exponent
    settings = {"max_sweeps": 30, "tol": 0.0, **settings}
    larger = {k: v * unit if k == "alpha" else v for k, v in settings.items()}
    with pytest.warns(AccuracyWarning):
        plain = complete_matrix(holed(NOISY), 3, rng=0, **settings)
    with pytest.warns(AccuracyWarning):
        scaled = complete_matrix(holed(NOISY) * unit, 3, rng=0, **larger)
    np.testing.assert_allclose(scaled.block() / unit, plain.block(), rtol=1e-8, atol=1e-8)
    assert scaled.noise_estimate / unit == pytest.approx(plain.noise_estimate, rel=1e-8)
    assert scaled.residual_norm / unit == pytest.approx(plain.residual_norm, rel=1e-8)


def test_complex_data_are_their_own_problem_not_their_conjugate() -> None:
    p = problem(kind="complex128", noise=0.2)
    result = complete_matrix(holed(p), 3, alpha=1.0, rng=0)
    other = complete_matrix(np.conj(holed(p)), 3, alpha=1.0, rng=0)
    np.testing.assert_allclose(np.conj(other.block()), result.block(), rtol=1e-4, atol=1e-4)
    assert np.max(np.abs(other.block() - result.block())) > 0.5
    np.testing.assert_allclose(
        result.U @ np.conj(result.V.T), result.block(), rtol=1e-12, atol=1e-12
    )


def test_the_transpose_is_completed_by_the_transpose() -> None:
    one = complete_matrix(holed(NOISY), 3, alpha=1.0, tol=1e-12, max_sweeps=400)
    other = complete_matrix(holed(NOISY).T, 3, alpha=1.0, tol=1e-12, max_sweeps=400)
    np.testing.assert_allclose(other.block().T, one.block(), rtol=1e-5, atol=1e-5)


def test_integer_weights_count_entries() -> None:
    weights = np.random.default_rng(2).integers(1, 4, NOISY.read.shape).astype(float)
    whole = complete_matrix(holed(NOISY), 3, weights=weights, alpha=1.0, tol=1e-12, max_sweeps=500)

    def objective(M: Any, norms: float) -> float:
        left = (NOISY.read - M)[NOISY.seen]
        return float(np.sum(weights[NOISY.seen] * left**2) + norms)

    norms = float(np.sum(whole.U**2) + np.sum(whole.V**2))
    plain = complete_matrix(holed(NOISY), 3, alpha=1.0, tol=1e-12, max_sweeps=500)
    other = float(np.sum(plain.U**2) + np.sum(plain.V**2))
    assert objective(whole.block(), norms) < objective(plain.block(), other)
    twice = complete_matrix(
        holed(NOISY), 3, weights=2.0 * weights, alpha=2.0, tol=1e-12, max_sweeps=500
    )
    np.testing.assert_allclose(twice.block(), whole.block(), rtol=1e-6, atol=1e-6)


def test_an_entry_of_weight_zero_is_not_seen() -> None:
    bad = holed(NOISY).copy()
    weights = np.ones(bad.shape)
    rows, columns = np.nonzero(NOISY.seen)
    bad[rows[:50], columns[:50]] = 1e6
    weights[rows[:50], columns[:50]] = 0.0
    less = holed(NOISY).copy()
    less[rows[:50], columns[:50]] = np.nan
    one = complete_matrix(bad, 3, weights=weights, alpha=1.0, rng=0)
    other = complete_matrix(less, 3, alpha=1.0, rng=0)
    np.testing.assert_allclose(one.block(), other.block(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_offsets_are_found(bias: bool) -> None:
    p = problem(offsets=True) if bias else problem()
    shift = 0.0 if bias else 7.0
    result = complete_matrix(np.where(p.seen, p.truth + shift, np.nan), 3 if bias else 4, bias=bias,
                             center=not bias, rng=0)  # fmt: skip
    assert error(result, p.truth + shift) < 1e-9
    assert (result.row_bias is not None) == bias
    if not bias:
        assert result.mean == pytest.approx(np.mean((p.truth + shift)[p.seen]))


# -------------------------------------------------------------------------------- certificates


def test_the_noise_estimate_is_unbiased() -> None:
    found = [
        complete_matrix(holed(p), 3, rng=0).noise_estimate
        for p in (problem(noise=0.3, seed=s) for s in range(10))
    ]
    free = EXACT.seen.sum() - 3 * (60 + 50 - 3)
    # each is a root of a chi-square of `free` degrees of freedom, to first order
    assert abs(np.mean(found) / 0.3 - 1.0) < 4.0 / math.sqrt(2 * 10 * free) + 0.01


def test_with_a_ridge_the_noise_estimate_counts_effective_parameters() -> None:
    free = complete_matrix(holed(NOISY), 3, rng=0)
    held = complete_matrix(holed(NOISY), 3, alpha=0.05, rng=0)
    assert held.noise_estimate == pytest.approx(free.noise_estimate, rel=0.02)


def test_the_residual_norm_is_that_of_the_answer() -> None:
    for settings in ({}, {"bias": True}, {"shrink": True}, {"loss": "huber"}):
        r = complete_matrix(holed(NOISY), 3, rng=0, **settings)
        left = (NOISY.read - r.block())[NOISY.seen]
        assert r.residual_norm == pytest.approx(np.linalg.norm(left), rel=1e-10)


def test_held_out_error_is_of_a_fit_that_did_not_see_them() -> None:
    p = NOISY
    aside = p.seen & (np.random.default_rng(5).random(p.seen.shape) < 0.15)
    result = complete_matrix(holed(p), 3, alpha=0.5, validation=aside, rng=0)
    alone = complete_matrix(np.where(aside, np.nan, holed(p)), 3, alpha=0.5, rng=0)
    left = (p.read - alone.block())[aside]
    assert result.validation_rmse == pytest.approx(math.sqrt(np.mean(left**2)), rel=1e-3)
    whole = complete_matrix(holed(p), 3, alpha=0.5, rng=0)
    np.testing.assert_allclose(result.block(), whole.block(), rtol=1e-2, atol=1e-2)


def test_lines_that_cannot_be_identified_are_listed_and_finite(xp: Backend) -> None:
    if xp.name == "jax":
        pytest.skip("half a minute of compilation for the shapes of three lines")
    p = problem(seed=3)
    A = holed(p).copy()
    A[7, :] = np.nan  # nothing
    A[11, :] = np.nan
    A[11, :2] = p.truth[11, :2]  # fewer than the rank
    A[:, 4] = np.nan
    A[20, 4] = 1.0
    result = complete_matrix(xp.asarray(A), 3, rng=0)
    assert to_numpy(result.unidentifiable_rows).tolist() == [7, 11]
    assert to_numpy(result.unidentifiable_columns).tolist() == [4]
    block = to_numpy(result.block())
    assert np.isfinite(block).all()
    np.testing.assert_allclose(block[7], 0.0, atol=1e-12)
    tight = 1e-3 if not xp.has_float64 else 1e-8
    np.testing.assert_allclose(block[11, :2], p.truth[11, :2], atol=tight)
    # the shortest row of the row space that has these two entries
    basis = np.linalg.qr(np.delete(to_numpy(result.V), 4, 0).astype(float))[0]
    shortest = basis @ (np.linalg.pinv(basis[:2]) @ block[11, :2])
    np.testing.assert_allclose(np.delete(block[11], 4), shortest, atol=100 * tight)
    rest = np.delete(np.delete(block, [7, 11], 0), 4, 1)
    np.testing.assert_allclose(
        rest, np.delete(np.delete(p.truth, [7, 11], 0), 4, 1), atol=1e-7 if xp.has_float64 else 1e-2
    )


def test_a_line_with_as_many_entries_as_the_rank_identifies_nothing_else() -> None:
    p = problem(30, 20, 2, share=0.6, seed=1)
    A = holed(p)
    A[:2, :] = np.nan
    # rows 0 and 1 hang together in column 0, which nobody else has seen
    A[:, 0] = np.nan
    A[0, :2] = A[1, [0, 2]] = 1.0
    result = complete_matrix(A, 2, rng=0)
    assert 0 in result.unidentifiable_columns
    assert {0, 1} <= set(result.unidentifiable_rows.tolist())


def test_unconnected_parts_are_warned_of() -> None:
    p = problem(40, 30, 2)
    A = holed(p)
    A[:20, 15:] = np.nan
    A[20:, :15] = np.nan
    with pytest.warns(AccuracyWarning, match="2 unconnected parts"):
        result = complete_matrix(A, 2, rng=0)
    assert result.n_connected_components == 2
    block = result.block()
    np.testing.assert_allclose(block[:20, :15], p.truth[:20, :15], atol=1e-8)
    assert np.isfinite(block).all()


def test_too_few_entries_are_warned_of() -> None:
    p = problem(40, 30, 8, share=0.3)
    with pytest.warns(AccuracyWarning, match="fewer than the 496 degrees of freedom"):
        result = complete_matrix(holed(p), 8, rng=0)
    assert np.isfinite(result.block()).all()
    assert math.isnan(result.noise_estimate)


def test_max_sweeps_is_said() -> None:
    with pytest.warns(AccuracyWarning, match="2 sweeps did not settle .max_sweeps = 2"):
        result = complete_matrix(holed(NOISY), 3, alpha=1e-3, max_sweeps=2, rng=0)
    assert (result.status, result.sweeps) == ("max_sweeps", 2)
    assert len(result.loss_history) == 2


def test_zero_data_and_one_entry_are_completed() -> None:
    zero = complete_matrix(np.zeros((6, 5)), 2, rng=0)
    assert not zero.block().any()
    one = complete_matrix(([1], [2], [3.0], (4, 5)), 1, rng=0)
    assert one.predict(1, 2) == pytest.approx(3.0)
    assert one.unidentifiable_rows.tolist() == [0, 2, 3]
    assert one.unidentifiable_columns.tolist() == [0, 1, 3, 4]
    assert np.isfinite(one.block()).all()
    shrunk = complete_matrix(np.zeros((6, 5)), 2, shrink=True, rng=0)
    assert not shrunk.block().any()


# ------------------------------------------------------------------------------ other requests


def test_a_warm_start_goes_on_where_it_was() -> None:
    first = complete_matrix(holed(NOISY), 3, alpha=1.0, tol=1e-10, rng=0)
    again = complete_matrix(holed(NOISY), 3, alpha=1.0, warm_start=first, rng=0)
    assert again.sweeps < first.sweeps / 3
    np.testing.assert_allclose(again.block(), first.block(), rtol=1e-4, atol=1e-4)
    pair = complete_matrix(holed(NOISY), alpha=1.0, warm_start=(first.U, first.V), rng=0)
    assert pair.rank == 3
    with pytest.raises(ValueError, match="warm_start must have factors of shapes"):
        complete_matrix(holed(NOISY), 4, warm_start=first)
    with pytest.raises(TypeError, match="warm_start must be a CompletionResult or a pair"):
        complete_matrix(holed(NOISY), 3, warm_start=first.U)


def test_the_callback_sees_every_sweep_and_can_stop() -> None:
    seen: list[tuple[int, float]] = []
    result = complete_matrix(
        holed(NOISY), 3, alpha=1.0, rng=0, callback=lambda *x: seen.append(x) or len(seen) == 4
    )
    assert [number for number, _ in seen] == [1, 2, 3, 4]
    assert result.status == "stopped"
    np.testing.assert_allclose([loss for _, loss in seen], result.loss_history)


def test_starts_and_continuation_can_be_chosen() -> None:
    for init, continuation in itertools.product(("svd", "random"), (True, False)):
        result = complete_matrix(holed(EXACT), 3, init=init, continuation=continuation, rng=1)
        assert np.isfinite(result.block()).all()
        if continuation:
            assert error(result, EXACT.truth) < 1e-10


def test_without_continuation_skewed_problems_fail_more() -> None:
    """The negative control: what the falling ridge is for."""
    failed = {True: 0, False: 0}
    for seed, continuation in itertools.product(range(6), (True, False)):
        p = problem(100, 80, 6, share=0.25, cond=30.0, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if continuation else "ignore", AccuracyWarning)
            result = complete_matrix(holed(p), 6, continuation=continuation, max_sweeps=100, rng=0)
        failed[continuation] += error(result, p.truth) > 1e-6
    assert failed[True] == 0
    assert failed[False] > 0


# ------------------------------------------------------------------------------------- errors

GOOD = holed(EXACT)


@pytest.mark.parametrize(
    ("settings", "kind", "match"),
    [
        ({"rank": 0}, ValueError, r"between 1 and 50 for a matrix of shape \(60, 50\)"),
        ({"rank": 51}, ValueError, "got 51"),
        ({"rank": 2.0}, TypeError, "rank must be an integer"),
        ({"max_rank": 0}, ValueError, "max_rank must be between 1 and 50"),
        ({"alpha": -1.0}, ValueError, "alpha must be at least 0"),
        ({"alpha": math.inf}, ValueError, "alpha"),
        ({"loss": "absolute"}, ValueError, "loss must be one of"),
        ({"loss": "huber", "loss_scale": 0.0}, ValueError, "loss_scale must be greater than 0"),
        ({"loss_scale": 1.0}, ValueError, "loss_scale must be None with loss='squared'"),
        ({"solver": "als"}, ValueError, "solver must be one of"),
        ({"solver": "direct", "loss": "l1"}, ValueError, "solver must be 'auto' or 'pcg'"),
        ({"solver": "direct", "shrink": True}, ValueError, "solver must be 'auto' or 'pcg'"),
        ({"solver": "rgn", "alpha": 1.0}, ValueError, "solver='rgn'"),
        ({"shrink": True, "alpha": 1.0}, ValueError, "alpha must be 0 with shrink=True"),
        ({"shrink": True, "loss": "l1"}, ValueError, "shrink must be False"),
        ({"init": "zeros"}, ValueError, "init must be one of"),
        ({"tol": -1.0}, ValueError, "tol must be at least 0"),
        ({"max_sweeps": 0}, ValueError, "max_sweeps must be at least 1"),
        ({"bias": 1}, TypeError, "bias must be True or False"),
        ({"center": "yes"}, TypeError, "center must be True or False"),
        ({"polish": None}, TypeError, "polish must be True or False"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
        ({"callback": 3}, TypeError, "callback must be a function"),
        ({"validation": 1.5}, ValueError, "validation"),
        ({"mask": np.ones((2, 2), dtype=bool)}, ValueError, "mask"),
        ({"weights": -np.ones((60, 50))}, ValueError, "weights"),
    ],
    ids=lambda x: "-".join(map(str, x)) if isinstance(x, dict) else None,
)  # fmt: skip
def test_bad_arguments_are_refused(settings: dict[str, Any], kind: type, match: str) -> None:
    arguments = {"rank": 3, **settings}
    with pytest.raises(kind, match=match):
        complete_matrix(GOOD, **arguments)


@pytest.mark.parametrize(
    ("A", "kind", "match"),
    [
        (np.full((4, 3), np.nan), ValueError, "observed entry"),
        (np.ones((4, 3), dtype=object), TypeError, "object"),
        (np.ones((4, 3), dtype=np.float16), TypeError, "float16"),
        (([0], [3], [1.0], (2, 3)), ValueError, "3"),
        (([0, 0], [1, 1], [1.0, 2.0], (2, 3)), ValueError, "twice|duplicate"),
        (([0], [1], [1.0]), ValueError, "shape"),
        (sp.csr_array([[np.inf, 1.0]]), ValueError, "finite"),
        (sp.csr_array([[np.nan, 1.0]]), ValueError, "finite"),
    ],
    ids=["nothing", "object", "half", "index", "duplicate", "shape", "inf", "nan"],
)
def test_bad_data_are_refused(A: Any, kind: type, match: str) -> None:
    with pytest.raises(kind, match=match):
        complete_matrix(A, 1)


# --------------------------------------------------------------------- found by hostile readers


def test_a_diagonal_is_kept_although_no_line_is_identified() -> None:
    A = np.full((5, 5), np.nan)
    A[range(5), range(5)] = [1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.warns(AccuracyWarning, match="5 unconnected parts"):
        result = complete_matrix(A, 2, rng=0)
    np.testing.assert_allclose(np.diag(result.block()), [1.0, 2.0, 3.0, 4.0, 5.0], rtol=1e-10)


def test_empty_lines_are_no_unknowns() -> None:
    p = problem(80, 60, 2, noise=0.1, seed=4)
    rows, columns = np.nonzero(p.seen)
    values = p.read[p.seen]
    small = complete_matrix((rows, columns, values, (80, 60)), 2, rng=0)
    large = complete_matrix((rows, columns, values, (800, 600)), 2, rng=0)
    assert large.noise_estimate == pytest.approx(small.noise_estimate, rel=1e-6)
    np.testing.assert_allclose(large.block()[:80, :60], small.block(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("loss", ["huber", "l1"])
def test_the_size_of_gross_errors_does_not_matter(loss: str, size: float) -> None:
    p = problem(150, 120, 3, share=0.35, seed=2)
    rng = np.random.default_rng(3)
    bad = rng.random(p.read.shape) < 0.1
    read = p.read + bad * size * np.abs(rng.standard_normal(p.read.shape))
    result = complete_matrix(np.where(p.seen, read, np.nan), 3, loss=loss, rng=0)
    assert result.status == "converged"
    assert error(result, p.truth) < 1e-10


def test_robust_noise_is_that_of_an_entry_of_weight_one() -> None:
    plain = complete_matrix(holed(NOISY), 3, loss="huber", rng=0)
    light = complete_matrix(
        holed(NOISY), 3, loss="huber", weights=np.full(NOISY.read.shape, 1e-4), rng=0
    )
    assert light.noise_estimate == pytest.approx(1e-2 * plain.noise_estimate, rel=1e-3)


@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")  # 3 sweeps may be all it takes
def test_a_robust_warm_start_is_gone_on_from() -> None:
    p = problem(gross=0.1)
    first = complete_matrix(holed(p), 3, loss="l1", rng=0)
    again = complete_matrix(holed(p), 3, loss="l1", warm_start=first, max_sweeps=3, rng=0)
    assert error(again, p.truth) < 1e-10
    cold = complete_matrix(holed(p), 3, loss="l1", max_sweeps=3, rng=0)
    assert error(cold, p.truth) > 1e-6


def test_a_warm_start_leaves_offsets_behind_that_nobody_asked_for() -> None:
    biased = complete_matrix(holed(EXACT), 3, bias=True, rng=0)
    result = complete_matrix(holed(EXACT), 3, warm_start=biased, rng=0)
    assert result.mean == 0.0
    assert result.row_bias is None
    with pytest.raises(ValueError, match="warm_start must be finite"):
        complete_matrix(holed(EXACT), 3, warm_start=(biased.U * np.nan, biased.V))


@pytest.mark.parametrize("values", [[1e100, 1.0, 1.0], [1e300, 1.0, 1.0], [1.0, 1e-170, 1.0]])
def test_values_of_very_different_sizes_give_finite_answers(values: list[float]) -> None:
    with pytest.warns(AccuracyWarning):
        result = complete_matrix(([0, 1, 2], [0, 1, 2], values, (4, 4)), 1, rng=0)
    assert np.isfinite(result.block()).all()


def test_biases_that_span_constants_are_counted_once() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        A = 10.0 * rng.standard_normal((20, 3)) @ rng.standard_normal((3, 15))
        A += rng.standard_normal((20, 1)) + rng.standard_normal((20, 15))
        found.append(complete_matrix(A, 3, bias=True, rng=0, tol=1e-8).noise_estimate ** 2)
    # 300 entries less 3 (20 + 15 - 2 - 3) + 34: chi-squares of 176 degrees of freedom, four sigmas
    assert abs(np.mean(found) - 1.0) < 4.0 * math.sqrt(2.0 / (176 * 30)) + 0.02


@pytest.mark.parametrize("loss", ["huber", "l1"])
def test_the_rank_is_found_under_gross_errors(loss: str) -> None:
    p = problem(120, 90, 3, seed=1, gross=0.1)
    result = complete_matrix(holed(p), loss=loss, rng=0)
    assert result.rank == 3
    assert error(result, p.truth) < 1e-8


def test_ranks_are_found_with_biases_and_by_estimate() -> None:
    p = problem(120, 90, 3, offsets=True, seed=1)
    result = complete_matrix(holed(p), bias=True, rng=0)
    assert result.rank == 3
    assert error(result, p.truth) < 1e-8
    assert int(rank_estimate(holed(problem(120, 90, 4, noise=0.1)), rng=0).rank) == 4
    noise = np.random.default_rng(0).standard_normal((60, 50))
    assert rank_estimate(np.where(EXACT.seen, noise, np.nan), rng=0).status == "none"
    with pytest.raises(ValueError, match="alpha must be a number"):
        complete_matrix(holed(p), 3, alpha=None, loss="l1")


@pytest.mark.parametrize("settings", [{}, {"rank": 3, "alpha": None}], ids=["rank", "alpha"])
def test_a_callback_stops_the_choice_too(settings: dict[str, Any]) -> None:
    calls: list[int] = []
    result = complete_matrix(
        holed(NOISY), rng=0, callback=lambda n, _: calls.append(n) or n >= 2, **settings
    )
    assert len(calls) == 2
    assert np.isfinite(result.block()).all()


def test_signs_are_the_same_everywhere(xp: Backend) -> None:
    if xp.name == "jax":
        pytest.skip("compiles for long; the signs are fixed by the same code")
    result = complete_matrix(xp.asarray(holed(NOISY)), 3, alpha=1.0, max_sweeps=40, rng=0)
    V = to_numpy(result.V)
    largest = V[np.argmax(np.abs(V), axis=0), range(3)]
    assert (largest > 0).all()


def test_components_that_hide_are_sought_again() -> None:
    """A geometric spectrum of condition 1e6: the quick fall ends in local minima."""
    for seed in (1, 5, 6, 7):
        rng = np.random.default_rng(seed)
        U, V = (np.linalg.qr(rng.standard_normal((size, 6)))[0] for size in (300, 200))
        truth = (U * np.geomspace(1.0, 1e-6, 6)) @ V.T
        read = np.where(rng.random(truth.shape) < 0.4, truth, np.nan)
        result = complete_matrix(read, 6, rng=0)
        assert result.status == "converged"
        assert error(result, truth) < 1e-10


def test_a_component_where_nothing_is_observed_is_warned_of() -> None:
    rng = np.random.default_rng(0)
    p = problem(40, 40, 6, noise=1.0, share=0.35, seed=8)
    noise = np.where(p.seen, rng.standard_normal(p.read.shape), np.nan)
    with pytest.warns(AccuracyWarning, match="where nothing is observed"):
        complete_matrix(noise, 6, rng=0)
