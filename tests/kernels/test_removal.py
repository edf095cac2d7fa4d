"""Greedy removal of rows against a comparison of all candidates by their eigenvalues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core.array import numpy_namespace
from linalgkit._kernels import numba_available
from linalgkit._kernels.removal import greedy_removal

from .test_dense import Draw, data

NP = numpy_namespace()
FORMS = tuple(form for form in greedy_removal.forms() if form != "cupy")
KINDS = ["float64", "complex128"]


def eigenbasis(B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, U = np.linalg.eigh(B.conj().T @ B)
    return values, B @ U


def worst_after(B: np.ndarray, two_sided: bool) -> np.ndarray:
    """Return what the loss of each row leaves, by a decomposition for each."""
    k = B.shape[0]
    found = np.empty(k)
    gram = B.conj().T @ B
    for i in range(k):
        values = np.linalg.eigvalsh(gram - np.outer(B[i].conj(), B[i])) / (k - 1)
        found[i] = max(1 - values[0], values[-1] - 1) if two_sided else 1 - values[0]
    return found


def check(B: np.ndarray, removed: np.ndarray, steps: int, delta: float, two_sided: bool) -> None:
    """Replay a removal: every choice the best one, and the end where it has to be."""
    left = list(range(len(B)))
    for row in removed:
        worst = worst_after(B[left], two_sided)
        place = left.index(row)
        assert worst[place] <= worst.min() + 1e-11
        assert worst[place] <= delta + 1e-11
        left.remove(int(row))
    assert len(removed) <= steps
    if len(removed) < steps:
        assert worst_after(B[left], two_sided).min() > delta - 1e-11


def unit_rows(rng: Draw, dtype: str, n: int, m: int) -> np.ndarray:
    B = data(rng, dtype, n, m)
    return B * (np.sqrt(m) / np.linalg.norm(B, axis=1, keepdims=True))


@pytest.mark.parametrize("two_sided", [False, True], ids=["lmin", "norm"])
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n", "m", "delta"), [(30, 5, 0.9), (40, 8, 0.8), (60, 3, 0.3)])
def test_every_choice_is_the_best_one(
    rng: Draw, form: str, dtype: str, n: int, m: int, delta: float, two_sided: bool
) -> None:
    for B in (unit_rows(rng, dtype, n, m), data(rng, dtype, n, m)):
        run = greedy_removal.forms()[form]
        removed = run(NP, *eigenbasis(B), n - m, delta, two_sided)
        check(B, removed, n - m, delta, two_sided)
        assert removed.dtype == np.int64


@pytest.mark.parametrize("form", FORMS)
def test_a_long_run_stays_exact(rng: Draw, form: str) -> None:
    B = unit_rows(rng, "float64", 150, 20)
    removed = greedy_removal.forms()[form](NP, *eigenbasis(B), 130, 0.95, False)
    assert len(removed) > 110
    check(B, removed, 130, 0.95, False)


@pytest.mark.parametrize("two_sided", [False, True], ids=["lmin", "norm"])
@pytest.mark.parametrize("form", FORMS)
def test_ties_repeated_eigenvalues_equal_and_zero_rows(
    rng: Draw, form: str, two_sided: bool
) -> None:
    tight = np.concatenate([np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(5)])
    doubled = np.repeat(unit_rows(rng, "float64", 10, 4), 3, axis=0)
    padded = np.concatenate([unit_rows(rng, "float64", 20, 4), np.zeros((4, 4))])
    axes = np.tile(np.eye(4), (6, 1))  # all but one coordinate of every row is zero
    line = np.ones((9, 1))
    for B in (tight * np.sqrt(6), doubled, padded, axes * 2, line):
        n, m = B.shape
        removed = greedy_removal.forms()[form](NP, *eigenbasis(B), n - m, 0.9, two_sided)
        assert len(set(removed.tolist())) == len(removed) > 0
        check(B, removed, n - m, 0.9, two_sided)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_removed_that_would_break_the_criterion(rng: Draw, form: str) -> None:
    B = np.eye(3) * np.sqrt(3)
    B = np.concatenate([B, B[:1] * 0.1])
    run = greedy_removal.forms()[form]
    assert run(NP, *eigenbasis(B), 3, 0.9, False).tolist() == [3]
    assert run(NP, *eigenbasis(B[:3]), 1, 0.9, False).tolist() == []
    assert run(NP, *eigenbasis(B), 0, 0.9, False).tolist() == []


def test_the_input_is_left_alone(rng: Draw) -> None:
    values, Z = eigenbasis(unit_rows(rng, "float64", 30, 5))
    copies = values.copy(), Z.copy()
    for form in map(greedy_removal.forms().get, FORMS):
        form(NP, values, Z, 10, 0.9, False)
        assert np.array_equal(values, copies[0])
        assert np.array_equal(Z, copies[1])


def test_the_portable_form_runs_on_every_library(xp: Any, rng: Draw) -> None:
    B = unit_rows(rng, "complex128", 16, 3)
    values, Z = eigenbasis(B)
    expected = greedy_removal.forms()["portable"](NP, values, Z, 3, 0.9, True)
    found = greedy_removal.forms()["portable"](
        xp.xp, xp.asarray(values), xp.asarray(Z), 3, 0.9, True
    )
    assert np.array_equal(found, expected)


# --------------------------------------------------------------------- the rank-one update


@pytest.mark.skipif(not numba_available(), reason="the update belongs to the compiled form")
@pytest.mark.parametrize("case", ["spread", "clustered", "equal", "sparse", "graded"])
def test_updated_eigenvalues_and_vectors_are_accurate(rng: Draw, case: str) -> None:
    from linalgkit._kernels.numba_forms.removal import _downdate

    m = 25
    d = np.sort(rng.uniform(1, 2, m))
    z = np.abs(rng.standard_normal(m)) * 0.2
    if case == "clustered":
        d = np.sort(1 + 1e-14 * rng.integers(0, 5, m) + np.repeat([0.0, 1e-9, 0.5, 0.6, 1], 5))
    elif case == "equal":
        d = np.full(m, 1.5)
    elif case == "sparse":
        z[rng.permutation(m)[:15]] = 0.0
    elif case == "graded":
        z = z * 10.0 ** -np.linspace(0, 20, m)[rng.permutation(m)]
    start, vector = d.copy(), z.copy()
    rows = np.eye(m)
    found, V = _downdate(d, z, rows)
    rest = np.diag(start) - np.outer(vector, vector)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(rest), rtol=0, atol=1e-14)
    np.testing.assert_allclose(V.T @ V, np.eye(m), rtol=0, atol=1e-14)
    np.testing.assert_allclose(V.T @ rest @ V, np.diag(found), rtol=0, atol=3e-14)


@pytest.mark.skipif(not numba_available(), reason="the roots belong to the compiled form")
def test_roots_are_those_of_many_digits(rng: Draw) -> None:
    mpmath = pytest.importorskip("mpmath")
    from linalgkit._kernels.numba_forms.removal import _root

    d = np.array([1.0, 1.0 + 1e-9, 1.5, 1.5 + 1e-3, 4.0])
    z2 = np.array([1e-8, 0.3, 1e-12, 0.2, 0.1])
    for j in range(5):
        origin, tau = _root(d, z2, j)
        with mpmath.workdps(50):
            pole = mpmath.mpf(origin)
            low = mpmath.mpf(d[j - 1]) - pole if j else -mpmath.mpf(sum(z2))
            high = mpmath.mpf(d[j]) - pole

            def response(t: Any, pole: Any = pole) -> Any:
                poles = zip(d, z2, strict=True)
                return mpmath.fsum(mpmath.mpf(w) / (mpmath.mpf(x) - pole - t) for x, w in poles) - 1

            for _ in range(200):
                middle = (low + high) / 2
                low, high = (middle, high) if response(middle) < 0 else (low, middle)
            assert abs(tau - low) <= 1e-14 * abs(low)
