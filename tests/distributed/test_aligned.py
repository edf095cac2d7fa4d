"""Arrays that begin anywhere in a run of bytes are moved, wherever an argument holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from linalgkit.distributed._aligned import aligned, called
from linalgkit.svd._rotations import Rotation


def misplaced(n: int = 5) -> np.ndarray:
    """Return 0, 1, ... one byte beside where floats may lie."""
    found = np.frombuffer(bytearray(8 * n + 1), dtype=float, count=n, offset=1)
    found[:] = np.arange(n)
    assert not found.flags.aligned
    return found


class Pair(NamedTuple):
    first: np.ndarray
    second: str


def assert_moved(x: np.ndarray) -> None:
    assert x.flags.aligned
    np.testing.assert_array_equal(x, np.arange(5))


def test_arrays_in_containers_are_moved() -> None:
    found = aligned([misplaced(), (misplaced(), Pair(misplaced(), "kept")), {"key": misplaced()}])
    for x in (found[0], found[1][0], found[1][1].first, found[2]["key"]):
        assert_moved(x)
    assert type(found[1][1]) is Pair
    assert found[1][1].second == "kept"


def test_arrays_in_objects_sparse_matrices_and_closures_are_moved() -> None:
    chain: Any = 1
    for _ in range(3000):  # deeper than recursion goes
        chain = Rotation((chain, 2), misplaced())
    found = aligned(chain)
    assert found is chain
    assert_moved(found.Z)
    deep = found.parts[0].parts[0].parts[0]
    assert_moved(deep.Z)

    csr = sparse.csr_array((misplaced(), np.zeros(5, dtype=int), np.arange(6)), shape=(5, 1))
    csr.data = misplaced()
    assert_moved(aligned(csr).data)

    def around(x: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: x

    assert_moved(aligned(around(misplaced()))())


def test_what_is_aligned_stays_the_same_object() -> None:
    for x in (np.ones(3), [np.ones(3)], (1, "a"), {"key": None}, Pair(np.ones(2), "b")):
        assert aligned(x) is x


def test_functions_are_called_with_moved_arguments() -> None:
    assert called(lambda x, y: (x.flags.aligned, y), misplaced(), 2) == (True, 2)
