"""The guaranteed algorithm and its constants."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import pytest

from linalgkit._core.validation import AccuracyWarning
from linalgkit.completion import theory

# ------------------------------------------------------------------------------- constants


def test_incoherence_lies_between_its_bounds_and_belongs_to_the_space(xp):
    rng = np.random.default_rng(0)
    m, k = 64, 4
    flat = np.asarray([[1.0, 1.0], [1.0, -1.0]])
    for _ in range(5):
        flat = np.kron(flat, np.asarray([[1.0, 1.0], [1.0, -1.0]]))
    mix = rng.standard_normal((k, k)) + 1j * rng.standard_normal((k, k))
    least = theory.incoherence(xp.asarray(flat[:, :k] @ mix))
    most = theory.incoherence(xp.asarray(np.eye(m)[:, :k] @ mix))
    assert least == pytest.approx(1.0, abs=xp.tolerance)
    assert most == pytest.approx(math.sqrt(m / k), rel=xp.tolerance)


def test_the_number_of_entries_is_the_product_of_its_parts():
    one = theory.sample_size((300, 200), 4, mu=1.0, kappa=1.0, accuracy=1e-3)
    assert one == pytest.approx(300 * 2**9 * math.log(300) * math.log(4000))
    more = theory.sample_size((200, 300), 4, mu=3.0, kappa=10.0, accuracy=1e-3, constant=0.5)
    assert more == pytest.approx(one * 0.5 * 9 * 100)
    fourth = theory.sample_size((300, 200), 4, mu=1.0, kappa=10.0, accuracy=1e-3, kappa_power=4)
    assert fourth == pytest.approx(one * 1e4)
    share = theory.sample_probability(
        (300, 200), 4, mu=1.0, kappa=1.0, accuracy=1e-3, constant=1e-3
    )
    assert share == pytest.approx(one * 1e-3 / 60000)
    assert theory.sample_probability((300, 200), 4, mu=5.0, kappa=9.0) == 1.0


@pytest.mark.parametrize("accuracy", [0.5, 1e-3, 1e-10])
def test_numbers_of_steps_are_the_least_that_suffice(accuracy):
    for steps, factor in (
        (theory.n_sweeps(accuracy), 1 / 16),
        (theory.n_sweeps(accuracy, 0.9), 0.81),
        (theory.n_inner_steps(accuracy, 0.3), 0.6 / 1.09),
    ):
        assert factor**steps <= accuracy < factor ** (steps - 1)


def test_gaussian_sketches_of_this_size_keep_lengths_with_the_stated_probability(rng):
    """Davidson and Szarek's bound; a size that is much smaller is the control."""
    k, distortion, failure = 3, 0.5, 0.2
    s = theory.sketch_size(k, distortion, failure)

    def failures(rows: int) -> float:
        S = rng.standard_normal((2000, rows, k)) / math.sqrt(rows)
        values = np.linalg.svd(S, compute_uv=False)
        return float(np.mean((values[:, 0] > 1 + distortion) | (values[:, -1] < 1 - distortion)))

    assert failures(s) <= failure
    assert failures(s // 8) > failure, "a sketch of an eighth of the size must fail"


def test_clipping_touches_large_entries_alone(xp):
    m, k, mu = 40, 2, 1.0
    rng = np.random.default_rng(3)
    U = np.linalg.qr(rng.standard_normal((m, k)) + 1j * rng.standard_normal((m, k)))[0]
    same = xp.to_numpy(theory.clipped(xp.asarray(U), 100.0))
    assert np.abs(same - U).max() <= xp.tolerance
    U[3, :] = 5.0
    U = np.linalg.qr(U)[0]
    cut = xp.to_numpy(theory.clipped(xp.asarray(U), mu))
    kept = np.where(np.abs(U) <= theory.clip_level(m, k, mu), U, 0)
    assert not kept[3, :].all()
    assert np.abs(cut.conj().T @ cut - np.eye(k)).max() <= xp.tolerance
    projection = cut @ (cut.conj().T @ kept)
    assert np.abs(projection - kept).max() <= xp.tolerance


# --------------------------------------------------------------------------------- parts


def low_rank(is_complex: bool = False, shape: tuple[int, int] = (120, 90)) -> tuple[Any, Any]:
    rng = np.random.default_rng(8)

    def draw(*size: int) -> Any:
        x = rng.standard_normal(size)
        return x + 1j * rng.standard_normal(size) if is_complex else x

    M = draw(shape[0], 2) @ draw(2, shape[1])
    return M, rng.random(shape) < 0.8


def test_parts_are_disjoint_of_equal_size_and_all_there_is(xp):
    M, seen = low_rank(True)
    M = xp.asarray(1e30 * M)
    parts = theory.split_observations(M, 7, mask=xp.asarray(seen), rng=3)
    sizes = [int(values.shape[0]) for _, _, values, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    back = np.zeros(seen.shape, dtype=np.asarray(xp.to_numpy(M)).dtype)
    count = np.zeros(seen.shape, dtype=int)
    for rows, cols, values, shape in parts:
        assert shape == seen.shape
        back[rows, cols] = xp.to_numpy(values)
        np.add.at(count, (rows, cols), 1)
    assert (count == seen).all()
    assert (back == np.where(seen, xp.to_numpy(M), 0)).all()


def test_parts_depend_on_the_seed_alone():
    M, seen = low_rank()
    first, again, other = (
        theory.split_observations(M, 3, mask=seen, rng=seed)[0] for seed in (1, 1, 2)
    )
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert not np.array_equal(first[1], other[1])


# ------------------------------------------------------------------------------- algorithm


def error(found: theory.AlternatingMinimisation, M: Any) -> float:
    product = found.U @ found.V.conj().T
    return float(np.linalg.norm(product - M) / np.linalg.norm(M))


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_all_entries_in_every_step_recover_the_matrix(is_complex):
    M, seen = low_rank(is_complex)
    found = theory.alternating_minimisation(
        M, 2, mu=3.0, mask=seen, n_sweeps=20, split=False, rng=0
    )
    assert (found.status, found.n_sweeps) == ("converged", 20)
    assert error(found, M) < 1e-13
    assert np.abs(found.V.conj().T @ found.V - np.eye(2)).max() < 1e-13
    rest = np.linalg.norm((found.U @ found.V.conj().T - M)[seen])
    assert found.residual_norm == pytest.approx(rest, rel=0.5)


def test_it_runs_on_every_library_and_keeps_the_scale(xp):
    M, seen = low_rank(True, (40, 40))
    scale = 1e30 if not xp.has_float64 else 1e200
    dtype = "complex64" if not xp.has_float64 else "complex128"
    A = xp.asarray(scale * M, dtype)
    options: dict[str, Any] = {"mu": 3.0, "n_sweeps": 5, "split": False, "rng": 0}
    found = theory.alternating_minimisation(A, 2, mask=xp.asarray(seen), accuracy=1e-2, **options)
    small = theory.alternating_minimisation(M, 2, mask=seen, accuracy=1e-2, **options)
    U, V = xp.to_numpy(found.U) / scale, xp.to_numpy(found.V)
    expected = small.U @ small.V.conj().T
    assert found.U.dtype == A.dtype
    assert np.abs(U @ V.conj().T - expected).max() < 1e3 * xp.tolerance * np.abs(M).max()


def test_fresh_entries_converge_where_there_are_enough():
    M, _ = low_rank(shape=(900, 700))
    seen = np.random.default_rng(1).random(M.shape) < 0.9
    errors = []
    for sweeps in (1, 3):
        found = theory.alternating_minimisation(
            M, 2, mu=4.0, mask=seen, n_sweeps=sweeps, accuracy=0.5, rng=0
        )
        errors.append(error(found, M))
    # A quarter a half step is promised, and less data are left to each of more steps.
    assert errors[1] < errors[0] / 16
    assert errors[1] < 1e-4


def test_sketched_regressions_agree_with_exact_ones(monkeypatch):
    from linalgkit.completion import _sketched

    monkeypatch.setitem(_sketched.sketched_rows.__kwdefaults__, "distortion", 0.5)
    M, seen = low_rank(shape=(300, 250))
    exact, sketched = (
        theory.alternating_minimisation(
            M, 2, mu=3.0, mask=seen, n_sweeps=3, split=False, accuracy=0.1, regression=kind, rng=0
        )
        for kind in ("exact", "sketched")
    )
    products = [x.U @ x.V.T for x in (exact, sketched)]
    assert np.abs(products[0] - products[1]).max() < 1e-9 * np.abs(M).max()


def test_clipping_repairs_a_start_that_a_few_entries_rule():
    M, seen = low_rank(shape=(200, 150))
    options: dict[str, Any] = {"n_sweeps": 2, "split": False, "accuracy": 0.999, "rng": 0}
    same = theory.alternating_minimisation(M, 2, mu=100.0, mask=seen, **options)
    none = theory.alternating_minimisation(M, 2, mu=100.0, mask=seen, clip=False, **options)
    cut = theory.alternating_minimisation(M, 2, mu=0.5, mask=seen, **options)
    assert np.allclose(same.U @ same.V.T, none.U @ none.V.T, rtol=0, atol=1e-12)
    assert not np.allclose(cut.U @ cut.V.T, none.U @ none.V.T, rtol=0, atol=1e-12)


def test_too_few_entries_warn_and_say_so():
    M, seen = low_rank()
    with pytest.warns(AccuracyWarning, match="all entries in every step"):
        found = theory.alternating_minimisation(M, 2, mu=3.0, mask=seen, n_sweeps=1, rng=0)
    assert found.status == "max_sweeps"


def test_the_answer_is_frozen_and_depends_on_the_seed_alone():
    M, seen = low_rank(shape=(60, 50))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        first, again = (
            theory.alternating_minimisation(M, 2, mu=3.0, mask=seen, n_sweeps=2, rng=5)
            for _ in range(2)
        )
    assert (first.U == again.U).all()
    assert (first.V == again.V).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.rank = 3  # type: ignore[attr-defined]
    assert "array" not in repr(first)


# ---------------------------------------------------------------------------------- errors

FULL = np.ones((6, 5))
REFUSED = {
    "incoherence, 1-D": (lambda: theory.incoherence(np.ones(3)), ValueError, "2-D"),
    "incoherence, wide": (lambda: theory.incoherence(np.ones((2, 3))), ValueError, "as many"),
    "incoherence, list": (lambda: theory.incoherence([[1.0]]), TypeError, "U"),
    "incoherence, integers": (
        lambda: theory.incoherence(np.ones((3, 1), dtype=int)), TypeError, "floating",
    ),
    "incoherence, NaN": (lambda: theory.incoherence(np.full((3, 1), np.nan)), ValueError, "NaN"),
    "size, shape": (
        lambda: theory.sample_size((3, 4, 5), 1, mu=1.0, kappa=1.0), ValueError, "two integers",
    ),
    "size, shape kind": (
        lambda: theory.sample_size(3, 1, mu=1.0, kappa=1.0), TypeError, "two integers",  # type: ignore[arg-type]
    ),
    "size, rank": (lambda: theory.sample_size((3, 4), 4, mu=1.0, kappa=1.0), ValueError, "rank"),
    "size, mu": (lambda: theory.sample_size((3, 4), 1, mu=0.5, kappa=1.0), ValueError, "mu"),
    "size, kappa": (lambda: theory.sample_size((3, 4), 1, mu=1.0, kappa=0.5), ValueError, "kappa"),
    "size, accuracy": (
        lambda: theory.sample_size((3, 4), 1, mu=1.0, kappa=1.0, accuracy=0.0),
        ValueError, "accuracy",
    ),
    "size, constant": (
        lambda: theory.sample_probability((3, 4), 1, mu=1.0, kappa=1.0, constant=0.0),
        ValueError, "constant",
    ),
    "size, power": (
        lambda: theory.sample_size((3, 4), 1, mu=1.0, kappa=1.0, kappa_power=-1.0),
        ValueError, "kappa_power",
    ),
    "sweeps, accuracy": (lambda: theory.n_sweeps(1.0), ValueError, "accuracy"),
    "sweeps, contraction": (lambda: theory.n_sweeps(0.1, 1.0), ValueError, "contraction"),
    "inner, accuracy": (lambda: theory.n_inner_steps(2.0), ValueError, "accuracy"),
    "inner, distortion": (lambda: theory.n_inner_steps(0.1, 1.0), ValueError, "distortion"),
    "sketch, k": (lambda: theory.sketch_size(0), ValueError, "k must"),
    "sketch, distortion": (lambda: theory.sketch_size(1, 0.0), ValueError, "distortion"),
    "sketch, failure": (lambda: theory.sketch_size(1, 0.1, 1.0), ValueError, "failure"),
    "clip, m": (lambda: theory.clip_level(0, 1, 1.0), ValueError, "m must"),
    "clip, rank": (lambda: theory.clip_level(3, 4, 1.0), ValueError, "rank"),
    "clip, mu": (lambda: theory.clipped(np.eye(3), 0.0), ValueError, "mu"),
    "split, too many": (lambda: theory.split_observations(FULL, 31), ValueError, "n_parts"),
    "rank": (lambda: theory.alternating_minimisation(FULL, 6, mu=1.0), ValueError, "rank"),
    "mu": (lambda: theory.alternating_minimisation(FULL, 1, mu=0.0), ValueError, "mu"),
    "no sweep": (
        lambda: theory.alternating_minimisation(FULL, 1, mu=1.0, n_sweeps=0),
        ValueError, "n_sweeps",
    ),
    "more parts than entries": (
        lambda: theory.alternating_minimisation(FULL, 1, mu=1.0, n_sweeps=15),
        ValueError, "at most 14",
    ),
    "regression": (
        lambda: theory.alternating_minimisation(FULL, 1, mu=1.0, regression="fast"),
        ValueError, "regression",
    ),
    "accuracy": (
        lambda: theory.alternating_minimisation(FULL, 1, mu=1.0, accuracy=0.0),
        ValueError, "accuracy",
    ),
    "split kind": (
        lambda: theory.alternating_minimisation(FULL, 1, mu=1.0, split="no"),  # type: ignore[arg-type]
        TypeError, "split",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused(case):
    call, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        call()
