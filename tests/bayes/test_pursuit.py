"""Supports of one mode: the cheapest of all supports is found, at its exact cost."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats

from linalgkit.bayes._pursuit import best_supports
from tests.bayes.dense import draw

LEVEL = 1e-6


def unit(H: Any) -> Any:
    norms = np.linalg.norm(H, axis=0)
    return H / np.where(norms > 0, norms, 1.0)


def residual(H: Any, R: Any, columns: Any) -> float:
    """Squared norm of what least squares on the columns leaves of all right sides."""
    A = H[:, list(columns)]
    return float(np.linalg.norm(R - A @ np.linalg.lstsq(A, R, rcond=1e-9)[0]) ** 2)


class Problem(NamedTuple):
    """Data and prices of one mode."""

    H: Any
    R: Any
    noise: float
    each: float

    @property
    def kappa(self) -> float:
        return 1.0 if np.iscomplexobj(self.R) or np.iscomplexobj(self.H) else 0.5

    def price(self, k: int) -> float:
        """Of k columns: as the evidence's, with the number of supports."""
        return self.each * k + math.log(math.comb(self.H.shape[1], k))

    def cost(self, columns: Any) -> float:
        misfit = self.kappa / self.noise * residual(self.H, self.R, columns)
        return misfit + self.price(len(columns))

    def found(self, largest: int = 10**9) -> Any:
        return best_supports(
            self.H, self.R, self.noise, self.kappa,
            lambda k: self.price(k) if k <= largest else 1e9,
        )  # fmt: skip

    def all_costs(self, largest: int) -> dict[tuple[int, ...], float]:
        usable = np.flatnonzero(np.linalg.norm(self.H, axis=0) > 0)
        chosen = (itertools.combinations(map(int, usable), k) for k in range(1, largest + 1))
        return {columns: self.cost(columns) for columns in itertools.chain(*chosen)}


def problem(
    seed: int, m: int, n: int, k: int, r: int = 1, *, is_complex: bool = False, db: float = 15.0
) -> Problem:
    """`k` columns in `r` right sides, and noise."""
    rng = np.random.default_rng(seed)
    H = unit(draw(rng, m, n, is_complex=is_complex))
    X = np.zeros((n, r), dtype=H.dtype)
    X[rng.choice(n, k, replace=False)] = draw(rng, k, r, is_complex=is_complex)
    Y = H @ X
    noise = float(np.mean(np.abs(Y) ** 2)) * 10 ** (-db / 10)
    E = draw(rng, m, r, is_complex=is_complex) * math.sqrt(noise / (2 if is_complex else 1))
    return Problem(H, Y + E, noise, 0.5 * math.log(2 * m * r))


def hits(problems: list[Problem], largest: int) -> tuple[int, int]:
    """How often the cheapest support of all is found, and out of how many it is unique."""
    found_it, unique = 0, 0
    for p in problems:
        costs = sorted(p.all_costs(largest).values())
        small = [s.cost for s in p.found(largest)]
        assert min(small) > costs[0] - 1e-9 * abs(costs[0])
        if costs[1] > costs[0] + 1e-6:
            unique += 1
            found_it += min(small) <= costs[0] + 1e-9 * abs(costs[0])
    return found_it, unique


CASES = [
    (6, 10, 2, 1, False),
    (5, 9, 3, 1, False),
    (8, 11, 3, 4, False),
    (6, 9, 3, 2, True),
]


BY_CASE = pytest.mark.parametrize("case", CASES, ids=["one", "few_rows", "right_sides", "complex"])


@BY_CASE
def test_the_cheapest_support_is_found(case: Any) -> None:
    """With all pairs as starts no support of up to three columns is missed: its third column is
    the best one after the other two."""
    *shape, is_complex = case
    problems = [problem(seed, *shape, is_complex=is_complex) for seed in range(40)]
    found_it, unique = hits(problems, 3)
    assert unique >= 38
    assert found_it == unique


@BY_CASE
def test_single_starts_seldom_miss_the_cheapest_support(case: Any, monkeypatch: Any) -> None:
    *shape, is_complex = case
    monkeypatch.setattr("linalgkit.bayes._pursuit._NUMBERS", 0)  # no pairs
    problems = [problem(seed, *shape, is_complex=is_complex) for seed in range(40)]
    found_it, unique = hits(problems, 3)
    assert found_it >= 0.95 * unique


def greedy(p: Problem) -> list[int]:
    """One path of orthogonal matching pursuit, by the largest correlation."""
    chosen: list[int] = []
    for _ in range(3):
        rest = p.R
        if chosen:
            A = p.H[:, chosen]
            rest = p.R - A @ np.linalg.lstsq(A, p.R, rcond=None)[0]
        chosen.append(int(np.argmax(np.linalg.norm(p.H.conj().T @ rest, axis=1))))
    return chosen


def test_one_greedy_path_misses_what_the_search_finds() -> None:
    problems = [problem(seed, 5, 9, 3) for seed in range(40)]
    missed = 0
    for p in problems:
        path = greedy(p)
        best = min(p.cost(path[: k + 1]) for k in range(3))
        missed += best > min(p.all_costs(3).values()) + 1e-6
    assert missed > 0.05 * len(problems)  # the negative control of the tests above


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize(("m", "n", "r"), [(6, 9, 1), (9, 6, 3), (4, 4, 2), (12, 40, 3)])
def test_costs_are_those_of_least_squares(m: int, n: int, r: int, is_complex: bool) -> None:
    p = problem(11, m, n, min(3, n), r, is_complex=is_complex)
    found = p.found()
    assert found
    for s in found:
        assert list(s.columns) == sorted(set(s.columns))
        assert math.isclose(s.cost, p.cost(s.columns), rel_tol=1e-9, abs_tol=1e-7)
    costs = [s.cost for s in found]
    assert costs == sorted(costs)
    assert len({s.columns for s in found}) == len(found)


def test_a_complex_matrix_with_real_data_and_the_reverse() -> None:
    p = problem(3, 6, 8, 2, 2, is_complex=True)
    for mixed in (p._replace(R=p.R.real), p._replace(H=unit(p.H.real))):
        for s in mixed.found():
            assert math.isclose(s.cost, mixed.cost(s.columns), rel_tol=1e-9, abs_tol=1e-7)


def test_the_conjugate_is_another_problem() -> None:
    p = problem(5, 8, 12, 3, 6, is_complex=True, db=40.0)
    right, wrong = (min(s.cost for s in q.found(3)) for q in (p, p._replace(H=p.H.conj())))
    assert wrong > right + 100


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_columns_of_zeros_are_never_chosen(is_complex: bool) -> None:
    p = problem(7, 6, 9, 2, 2, is_complex=is_complex)
    p.H[:, [0, 4, 8]] = 0
    costs = p.all_costs(3)
    found = p.found()
    assert not {0, 4, 8} & {j for s in found for j in s.columns}
    assert math.isclose(found[0].cost, min(costs.values()), rel_tol=1e-9)


def test_a_column_and_its_copy_are_not_chosen_together() -> None:
    p = problem(9, 6, 6, 2, 2)
    doubled = p._replace(H=np.concatenate([p.H, p.H], axis=1))
    found = doubled.found()
    for s in found:
        assert len({j % 6 for j in s.columns}) == len(s.columns)
        assert math.isclose(s.cost, doubled.cost(s.columns), rel_tol=1e-9, abs_tol=1e-7)
    cheapest = min(doubled.all_costs(3).values())
    assert math.isclose(found[0].cost, cheapest, rel_tol=1e-9)


def test_columns_that_depend_on_each_other_end_the_paths() -> None:
    rng = np.random.default_rng(0)
    H = unit(rng.standard_normal((6, 2)) @ rng.standard_normal((2, 8)))
    p = Problem(H, rng.standard_normal((6, 3)), 0.1, 0.1)
    found = p.found()
    assert max(len(s.columns) for s in found) <= 2
    assert math.isclose(found[0].cost, min(p.all_costs(2).values()), rel_tol=1e-9)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_one_row(is_complex: bool) -> None:
    rng = np.random.default_rng(2)
    p = Problem(
        unit(draw(rng, 1, 5, is_complex=is_complex)),
        draw(rng, 1, 3, is_complex=is_complex), 0.1, 1.0,
    )  # fmt: skip
    found = p.found()
    assert all(len(s.columns) == 1 for s in found)
    assert math.isclose(found[0].cost, p.price(1), abs_tol=1e-9)  # every column fits all


def test_one_column() -> None:
    p = problem(1, 5, 1, 1, 2)
    assert [s.columns for s in p.found()] == [(0,)]
    assert math.isclose(p.found()[0].cost, p.cost((0,)), rel_tol=1e-12)


def test_a_matrix_of_zeros_has_no_support() -> None:
    assert best_supports(np.zeros((4, 3)), np.ones((4, 1)), 0.1, 0.5, float) == []


def test_data_of_zeros_have_one_column() -> None:
    p = problem(4, 6, 8, 2)
    quiet = p._replace(R=np.zeros((6, 2)))
    assert len(quiet.found()[0].columns) == 1
    assert math.isclose(quiet.found()[0].cost, quiet.price(1))


def test_a_dear_price_leaves_one_column_and_a_cheap_one_takes_all() -> None:
    p = problem(6, 5, 8, 3)
    assert len(p._replace(each=1e9).found()[0].columns) == 1
    free = best_supports(p.H, p.R, 1e-12, 0.5, lambda k: 0.0)
    assert len(free[0].columns) == 5
    assert free[0].cost < 1.0  # the data are met


def test_many_columns_have_few_paths(monkeypatch: Any) -> None:
    # The memory that paths may take, not the number of pairs, bounds them; the truth is clear.
    monkeypatch.setattr("linalgkit.bayes._pursuit._NUMBERS", 20_000)
    p = problem(8, 20, 60, 4, 5, db=40.0)
    truth = p._replace(each=20.0)
    found = truth.found()[0]
    assert len(found.columns) == 4
    assert math.isclose(found.cost, truth.cost(found.columns), rel_tol=1e-9)
    limit = scipy.stats.gamma.isf(LEVEL, 0.5 * 16 * 5)  # half a chi-square of the residual
    assert found.cost - truth.price(4) < limit


def test_all_pairs_are_starts_where_they_are_few() -> None:
    """Two columns beside their sum: one greedy path takes the sum, a pair is all there is."""
    e = np.eye(4)
    H = unit(np.stack([e[0], e[1], e[0] + e[1] + 0.05 * e[2], e[3]], axis=1))
    p = Problem(H, (e[0] + e[1])[:, None], 1e-4, 1.0)
    assert greedy(p)[0] == 2
    assert p.found()[0].columns == (0, 1)
