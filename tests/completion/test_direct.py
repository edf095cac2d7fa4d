"""Exact least squares of every line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linalgkit._core.array import device, numpy_namespace
from linalgkit._kernels.observed import Lines
from linalgkit.completion import _direct, _line_tables
from linalgkit.completion._direct import direct_rows, grams, line_grams
from tests.conftest import BACKENDS

HOST = numpy_namespace()
PLACE = device(np.ones(1))
M, N = 7, 30
EMPTY, SHORT = 3, 4


class Case:
    """A pattern with an empty line and a short one, and everything that a regression needs."""

    def __init__(self, k: int, is_complex: bool, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        seen = rng.random((M, N)) < 0.8
        seen[EMPTY, :], seen[SHORT, :] = False, False
        seen[SHORT, 4 : 4 + k // 2] = True
        self.indptr = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
        self.index = np.nonzero(seen)[1]
        count = self.index.size

        def draw(*shape: int) -> Any:
            x = rng.standard_normal(shape)
            return x + 1j * rng.standard_normal(shape) if is_complex else x

        self.y, self.F, self.shift = draw(count), draw(N, k), draw(N)
        self.w, self.ridge, self.load = rng.random(count), rng.random(k), rng.random(k) / 9

    def arguments(self, xp: Any, weighted: bool = True, regular: bool = True) -> tuple[Any, ...]:
        """Return the arguments of `direct_rows` in a library."""
        put, none = xp.asarray, 0.0 * self.ridge
        lines = Lines(self.indptr, self.index, N, xp.xp, xp.device)
        w, shift = (put(self.w), put(self.shift)) if weighted else (None, None)
        ridge, load = (self.ridge, self.load) if regular else (none, none)
        return xp.xp, lines, put(self.y), w, put(self.F), shift, put(ridge), put(load)

    def minimiser(self, i: int, weighted: bool = True, regular: bool = True) -> Any:
        """Return the minimiser of least norm of a line, by the pseudo-inverse of all rows."""
        part = slice(self.indptr[i], self.indptr[i + 1])
        index = self.index[part]
        w = self.w[part] if weighted else np.ones(index.size)
        y = self.y[part] - (self.shift[index] if weighted else 0.0)
        d = self.ridge + w.sum() * self.load if regular else 0 * self.ridge
        A = np.concatenate([self.F[index] * np.sqrt(w)[:, None], np.diag(np.sqrt(d))])
        b = np.concatenate([y * np.sqrt(w), np.zeros(d.size)])
        return np.linalg.pinv(A, rcond=1e-12) @ b

    def minimisers(self, *given: bool) -> Any:
        return np.asarray([self.minimiser(i, *given) for i in range(M)])


def test_it_is_the_minimiser_of_least_norm(xp):
    case = Case(6, is_complex=True)
    for options in ((True, True), (False, False)):
        X = xp.to_numpy(direct_rows(*case.arguments(xp, *options)))
        expected = case.minimisers(*options)
        scale = np.abs(expected).max()
        assert np.abs(X - expected).max() <= 30 * xp.tolerance * scale
        assert not X[EMPTY, :].any()


# 6 unknowns go through batches, 20 through LAPACK on NumPy.
@pytest.mark.parametrize("k", [6, 20])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_it_is_the_minimiser_by_either_way_of_numpy(k, is_complex):
    case = Case(k, is_complex)
    for options in ((True, True), (False, True), (True, False)):
        X = direct_rows(*case.arguments(BACKENDS[0], *options))
        expected = case.minimisers(*options)
        assert np.abs(X - expected).max() <= 1e-12 * np.abs(expected).max()


def test_chosen_lines_are_those_of_all():
    xp = BACKENDS[0]
    case, chosen = Case(6, True), np.asarray([6, EMPTY, 0, SHORT])
    arguments = case.arguments(xp, regular=False)
    X = xp.to_numpy(direct_rows(*arguments, chosen))
    expected = xp.to_numpy(direct_rows(*arguments))[chosen, :]
    assert np.abs(X - expected).max() <= xp.tolerance * np.abs(expected).max()


def test_gram_matrices_are_the_sums_of_outer_products(xp):
    case = Case(6, True)
    space, lines, _, w, F, *_ = case.arguments(xp)
    expected = []
    for start, stop in zip(case.indptr[:-1], case.indptr[1:], strict=True):
        rows = case.F[case.index[start:stop], :]
        expected.append(np.einsum("t,tp,tq->pq", case.w[start:stop], rows.conj(), rows))
    for chosen in (None, np.asarray([5, EMPTY, 2])):
        found = xp.to_numpy(grams(space, lines, w, F, chosen))
        wanted = np.asarray(expected)[slice(None) if chosen is None else chosen]
        assert np.abs(found - wanted).max() <= xp.tolerance * np.abs(wanted).max()


def test_batches_are_bounded_and_long_lines_are_cut(monkeypatch):
    xp, case = BACKENDS[0], Case(6, False)
    arguments = case.arguments(xp)
    whole, all_grams = direct_rows(*arguments), grams(*arguments[:2], arguments[3], arguments[4])
    for module in (_line_tables, _direct):
        monkeypatch.setattr(module, "NUMBERS", 200)
    problem = _line_tables.Regressions.of(*arguments)
    for batch in problem.batches(extra=6):
        assert batch.rows == 1 or batch.rows * 6 * batch.valid.shape[1] <= 200
        assert all(int(A.shape[0] * A.shape[1]) * 6 <= 200 for A, _ in batch.blocks())
    numbers = np.concatenate([i for i, _ in line_grams(*arguments[:2], arguments[3], arguments[4])])
    assert sorted(numbers) == list(range(M))
    for a, b in (
        (direct_rows(*arguments), whole),
        (grams(*arguments[:2], arguments[3], arguments[4]), all_grams),
    ):
        a, b = xp.to_numpy(a), xp.to_numpy(b)
        assert np.abs(a - b).max() <= xp.tolerance * np.abs(b).max()


def test_orthogonal_factors_agree_with_normal_equations(xp):
    arguments = Case(6, True).arguments(xp)
    exact = _direct.orthogonal_rows(_line_tables.Regressions.of(*arguments))
    found = direct_rows(*arguments)
    error = xp.to_numpy(exact) - xp.to_numpy(found)
    assert np.abs(error).max() <= 10 * xp.tolerance * np.abs(xp.to_numpy(exact)).max()


@pytest.mark.parametrize("k", [3, 18])
def test_lines_beyond_the_reach_of_normal_equations_keep_half_their_digits(k, rng):
    """At condition 1e9 a Gram matrix is singular to double precision; the answer is not."""
    U, V = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (60, k))
    F = (U * np.logspace(0, -9, k)) @ V.T
    x = V @ rng.standard_normal(k)
    lines = Lines(np.asarray([0, 60]), np.arange(60), 60, HOST, PLACE)
    none = np.zeros(k)
    found = direct_rows(HOST, lines, F @ x, None, F, None, none, none)
    assert np.linalg.norm(found[0] - x) <= 1e-5 * np.linalg.norm(x)


@pytest.mark.parametrize("k", [6, 20])
def test_zero_and_repeated_columns_share_the_answer_of_least_norm(k):
    xp, case = BACKENDS[0], Case(k, False)
    case.F[:, 1], case.F[:, 2] = 0.0, case.F[:, 0]
    case.w[: case.indptr[1]] = 0.0
    X = xp.to_numpy(direct_rows(*case.arguments(xp, True, False)))
    size = np.abs(X).max()
    assert np.isfinite(X).all()
    assert not X[0, :].any(), "a line without weight"
    assert np.abs(X[:, 1]).max() <= xp.tolerance * size
    assert np.abs(X[:, 0] - X[:, 2]).max() <= 10 * xp.tolerance * size


@pytest.mark.parametrize("k", [6, 20])
def test_single_precision_is_solved_in_double(k):
    case = Case(k, True)
    for name in ("y", "F", "shift"):
        setattr(case, name, getattr(case, name).astype(np.complex64))
    for name in ("w", "ridge", "load"):
        setattr(case, name, getattr(case, name).astype(np.float32))
    lines = Lines(case.indptr, case.index, N, HOST, PLACE)
    given = (case.y, case.w, case.F, case.shift, case.ridge, case.load)
    found = direct_rows(HOST, lines, *given)
    assert found.dtype == np.complex64
    expected = case.minimisers()
    assert np.abs(found - expected).max() <= 2e-7 * np.abs(expected).max()
