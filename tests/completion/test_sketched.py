"""Regression of every line by a sketch and an iteration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core.array import device, numpy_namespace
from linalgkit._kernels.observed import Lines
from linalgkit.completion import _sketched
from linalgkit.completion._constants import sketch_size
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._sketched import sketched_rows
from tests.conftest import BACKENDS

HOST = numpy_namespace()
PLACE = device(np.ones(1))
LINES, N, K, DISTORTION = 5, 400, 3, 0.4


def problem(seed: int = 0, is_complex: bool = True) -> dict[str, Any]:
    """Return two lines longer than a sketch, two shorter ones and an empty one."""
    rng = np.random.default_rng(seed)
    assert 20 < sketch_size(K, DISTORTION) < 200
    lengths = np.asarray([300, 14, 0, 260, 2])
    index = np.concatenate([np.sort(rng.permutation(N)[:length]) for length in lengths])

    def draw(*shape: int) -> Any:
        x = rng.standard_normal(shape)
        return x + 1j * rng.standard_normal(shape) if is_complex else x

    return {
        "indptr": np.concatenate([[0], np.cumsum(lengths)]), "index": index, "y": draw(index.size),
        "w": rng.random(index.size), "F": draw(N, K) * np.logspace(0, -4, K), "shift": draw(N),
        "ridge": rng.random(K) * 1e-6, "load": rng.random(K) * 1e-9,
    }  # fmt: skip


def arguments(xp: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    lines = Lines(given["indptr"], given["index"], N, xp.xp, xp.device)
    y, w, F, shift, ridge, load = (
        xp.asarray(given[name]) for name in ("y", "w", "F", "shift", "ridge", "load")
    )
    return xp.xp, lines, y, w, F, shift, ridge, load


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_it_converges_to_the_exact_minimiser(is_complex):
    """The columns of the factor differ by 1e4: without the sketch no 100 steps would do."""
    given = arguments(BACKENDS[0], problem(0, is_complex))
    found = sketched_rows(*given, np.random.default_rng(1), distortion=DISTORTION)
    exact = direct_rows(*given)
    # The condition of the rows multiplies the roundoff.
    assert np.abs(found - exact).max() <= 1e-11 * np.abs(exact).max()
    assert not found[2, :].any()


def test_every_library_draws_the_same_sketches(xp):
    given = problem(1)
    found = xp.to_numpy(
        sketched_rows(*arguments(xp, given), np.random.default_rng(5), distortion=0.4, steps=1)
    )
    expected = sketched_rows(
        *arguments(BACKENDS[0], given), np.random.default_rng(5), distortion=0.4, steps=1
    )
    # One step has not converged: other draws would give another answer.
    assert np.abs(found - expected).max() <= 100 * xp.tolerance * np.abs(expected).max()


def host(given: dict[str, Any]) -> tuple[Any, ...]:
    lines = Lines(given["indptr"], given["index"], N, HOST, PLACE)
    none = np.zeros(K)
    return HOST, lines, given["y"], None, given["F"], None, none, none


def test_the_error_shrinks_as_the_rate_of_the_distortion_promises():
    given, rate = host(problem(2, False)), 2 * DISTORTION / (1 + DISTORTION**2)
    exact = direct_rows(*given)
    _, lines, _, _, F, *_ = given

    def error(steps: int) -> Any:
        X = sketched_rows(*given, np.random.default_rng(3), distortion=DISTORTION, steps=steps)
        parts = zip(lines.indptr[:-1], lines.indptr[1:], X - exact, strict=True)
        return np.asarray([np.linalg.norm(F[lines.indices[a:b]] @ x) for a, b, x in parts])[[0, 3]]

    errors = [error(steps) for steps in (0, 4, 8)]
    assert (errors[0] > 1e-3).all(), "the sketched solution alone is not the exact one"
    assert (errors[1] <= errors[0] * rate**4).all()
    assert (errors[2] <= errors[0] * rate**8).all()


def test_answers_do_not_depend_on_the_other_lines():
    given = problem(4)
    kept = {**given, "indptr": given["indptr"][3:] - given["indptr"][3]}
    for name in ("index", "y", "w"):
        kept[name] = given[name][given["indptr"][3] :]
    whole, part = (
        sketched_rows(*host(x), np.random.default_rng(3), distortion=DISTORTION, steps=3)
        for x in (given, kept)
    )
    assert np.abs(whole[3:] - part).max() <= 1e-12 * np.abs(part).max()


def test_batches_of_lines_change_nothing(monkeypatch):
    given = host(problem(5))
    whole = sketched_rows(*given, np.random.default_rng(3), distortion=DISTORTION, steps=3)
    monkeypatch.setattr(_sketched, "NUMBERS", 1)
    cut = sketched_rows(*given, np.random.default_rng(3), distortion=DISTORTION, steps=3)
    assert np.abs(whole - cut).max() <= 1e-12 * np.abs(whole).max()


def test_a_dependent_column_gives_the_answer_of_least_norm():
    given = problem(6, False)
    given["F"][:, 2] = 2.0 * given["F"][:, 0]
    found = sketched_rows(*host(given), np.random.default_rng(3), distortion=DISTORTION)
    exact = direct_rows(*host(given))
    assert np.abs(found - exact).max() <= 1e-9 * np.abs(exact).max()


def test_a_distortion_that_was_promised_too_small_does_no_harm(monkeypatch):
    """A sketch that is much too small diverges with the step of the theory; here it stops."""
    monkeypatch.setattr(_sketched, "sketch_size", lambda k, distortion: 8)
    given = host(problem(7, False))
    _, lines, y, _, F, *_ = given

    def size(X: Any) -> Any:
        rows = np.repeat(np.arange(LINES), lines.lengths)
        r = y - np.sum(F[lines.indices] * X[rows], axis=1)
        return np.bincount(rows, r**2, LINES)

    start, end = (
        sketched_rows(*given, np.random.default_rng(0), distortion=0.01, steps=steps)
        for steps in (0, 200)
    )
    assert np.isfinite(end).all()
    assert (size(end) <= size(start) * (1 + 1e-12)).all()


def test_single_precision_is_kept():
    given = problem(8)
    for name in ("y", "F"):
        given[name] = given[name].astype(np.complex64)
    found = sketched_rows(*host(given), np.random.default_rng(3), distortion=DISTORTION)
    assert found.dtype == np.complex64
    exact = direct_rows(*host(given))
    assert np.abs(found - exact).max() <= 1e-5 * np.abs(exact).max()
