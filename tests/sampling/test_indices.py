"""Sets of multi-indices against brute force, their order, and what is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from linalgkit.sampling._indices import multi_index

SIZES = {
    "total": lambda a, w: sum(x * v for x, v in zip(a, w, strict=True)),
    "hyperbolic": lambda a, w: math.prod(1 + x * v for x, v in zip(a, w, strict=True)),
    "tensor": lambda a, w: sum(x * v for x, v in zip(a, w, strict=True)),
    "max": lambda a, w: max(x * v for x, v in zip(a, w, strict=True)),
}


def brute_force(d: int, p: float, kind: str, w: tuple[float, ...]) -> list[tuple[int, ...]]:
    """All indices of a grid that holds the set, filtered and sorted by the definition."""
    size = SIZES[kind]
    ranges = [range(math.floor(p / v) + 1) for v in w]
    limit = 1 + p if kind == "hyperbolic" else math.inf if kind == "tensor" else p
    inside = [a for a in itertools.product(*ranges) if size(a, w) <= limit]
    return sorted(inside, key=lambda a: (size(a, w), a))


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize(("d", "p"), [(1, 4), (2, 0), (2, 5), (3, 4), (4, 3)])
def test_set_and_order_are_those_of_the_definition(kind: str, d: int, p: int) -> None:
    found = multi_index(d, p, kind)
    assert found.dtype == np.int64
    assert [tuple(row) for row in found.tolist()] == brute_force(d, p, kind, (1,) * d)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("weights", [(1, 2, 0.5), (0.25, 1, 4)])
def test_weights_follow_their_definition(kind: str, weights: tuple[float, ...]) -> None:
    found = multi_index(3, 4, kind, weights)
    assert [tuple(row) for row in found.tolist()] == brute_force(3, 4, kind, weights)


def test_one_bound_a_variable_for_tensor_products() -> None:
    found = {tuple(row) for row in multi_index(3, (2, 0, 3), "tensor").tolist()}
    assert found == set(itertools.product(range(3), range(1), range(4)))


def test_weights_may_be_an_array() -> None:
    assert np.array_equal(
        multi_index(2, 3, weights=np.array([1, 2])), multi_index(2, 3, weights=(1, 2))
    )


def test_sums_of_weights_may_round() -> None:
    assert multi_index(1, 0.3, weights=[0.1]).shape == (4, 1)


@pytest.mark.parametrize(("d", "p"), [(20, 3), (50, 2), (3, 30)])
def test_total_degree_has_binomial_size_in_high_dimension(d: int, p: int) -> None:
    assert multi_index(d, p).shape == (math.comb(d + p, p), d)


def test_hyperbolic_cross_in_high_dimension() -> None:
    found = multi_index(20, 3, "hyperbolic")
    # Products at most 4: none, one entry up to 3, or two entries of 1.
    assert found.shape == (1 + 20 * 3 + math.comb(20, 2), 20)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((0, 2), ValueError, "d must be at least 1, got 0"),
        ((2.0, 2), TypeError, "d must be an integer"),
        ((2, -1), ValueError, "p must be at least 0"),
        ((2, "3"), TypeError, "p must be a real number"),
        ((2, 2, "totl"), ValueError, "Did you mean 'total'"),
        ((2, 2, "total", (1, 0)), ValueError, r"weights\[1\] must be greater than 0"),
        ((2, 2, "total", (1,)), ValueError, "weights must have 2 entries"),
        ((2, 2, "total", 3), TypeError, "weights must be a sequence of 2 numbers"),
        ((2, (1, 2), "total"), TypeError, "p must be one number for kind='total'"),
        ((2, (1, 2, 3), "tensor"), ValueError, "p must have 2 entries"),
        ((60, 8), ValueError, "at most 10000000 members"),
        ((60, 1, "max"), ValueError, "at most 10000000 members"),
        ((2, 2, "total", (1e-300, 1)), ValueError, "at most 10000000 members"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        multi_index(*arguments)
