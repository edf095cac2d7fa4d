"""Arrays that begin anywhere, or have gaps, are moved, wherever an argument holds them.

So the bits of an answer do not depend on whether its parts have travelled, and nothing that the
client keeps of a part keeps the whole part alive.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import dask
import numpy as np
import pytest
from scipy import sparse

from linalgkit.distributed import leverage_scores, lstsq, sketched_lstsq
from linalgkit.distributed._aligned import aligned, called, owned
from linalgkit.distributed._potential import _survey_all
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


def test_arrays_keep_the_order_of_rows_or_columns_and_lose_their_gaps() -> None:
    columns = misplaced(6).reshape(2, 3).T
    assert aligned(columns).flags.f_contiguous
    assert aligned(columns).flags.aligned
    strided = np.ones((6, 8))[:, ::2]
    assert aligned(strided).flags.c_contiguous
    masked = np.ma.masked_array(np.ones((3, 4)), mask=np.eye(3, 4))[:, ::2]
    np.testing.assert_array_equal(aligned(masked).mask, masked.mask)


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_that_are_owned_do_not_keep_the_others_alive(order: Any) -> None:
    A = np.ones((50, 4), order=order)
    for rows in (A[:0, :], A[1::7, :]):
        assert owned(rows).base is None
        assert owned(rows).flags.f_contiguous == (order == "F") or rows.shape[0] == 0
        np.testing.assert_array_equal(owned(rows), rows)
    S = sparse.csr_array(A)
    assert not np.shares_memory(owned(S[:9, :]).data, S.data)


# -------------------------------------------------------------------------------------- bits


def strided(A: np.ndarray) -> np.ndarray:
    found = np.zeros((A.shape[0], 2 * A.shape[1]))
    found[:, ::2] = A
    return found[:, ::2]


def shifted(A: np.ndarray, order: Any = "C") -> np.ndarray:
    """Return an equal array one byte beside where floats may lie."""
    found = misplaced(A.size).reshape(A.shape, order=order)
    found[...] = A
    assert not found.flags.aligned
    return found


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "strided": strided,
    "misaligned": shifted,
}
ARRIVED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": shifted,
    "columns": lambda A: shifted(A, "F"),
    "strided": shifted,
    "misaligned": np.ascontiguousarray,
}


def equations() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4000, 20))
    return A, A @ np.arange(20.0) + rng.standard_normal(4000)


def answers(layout: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    A, b = equations()
    starts = range(0, 4000, 500)
    lazy = [dask.delayed(lambda i: layout(A[i : i + 500]))(i) for i in starts]
    sides = [b[i : i + 500] for i in starts]
    return [
        lstsq(lazy, sides, driver="cholesky").x,
        lstsq(lazy, sides, driver="sketch_cholqr", rng=0).x,
        leverage_scores(lazy).compute(),
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_parts_that_have_travelled_give_the_same_bits(name: str) -> None:
    for found, expected in zip(answers(ARRIVED[name]), answers(LAYOUTS[name]), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_threads_processes_and_cluster_give_the_same_bits(
    where: str, request: pytest.FixtureRequest
) -> None:
    with dask.config.set(scheduler="threads"):
        expected = [answers(layout) for layout in LAYOUTS.values()]
    if where == "cluster":
        request.getfixturevalue("cluster")
        found = [answers(layout) for layout in LAYOUTS.values()]
    else:
        with (
            ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,  # one for all calls
            dask.config.set(scheduler="processes", pool=pool),
        ):
            found = [answers(layout) for layout in LAYOUTS.values()]
    for mine, its in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        np.testing.assert_array_equal(mine, its)


# ------------------------------------------------------------------------------------ memory

PARTS, ROWS = 48, 6000  # of 12 columns: 27 MB in all, 0.6 MB a part


def made(k: int) -> np.ndarray:
    return np.random.default_rng(k).standard_normal((ROWS, 12))


def targets(k: int) -> np.ndarray:
    return np.random.default_rng(k).standard_normal(ROWS)


@pytest.mark.parametrize("driver", ["auto", "sketched", "leverage", "potential"])
def test_the_client_does_not_hold_the_data(driver: str) -> None:
    A = [dask.delayed(made)(k) for k in range(PARTS)]
    b = [dask.delayed(targets)(k) for k in range(PARTS)]
    points = [dask.delayed(lambda k: made(k)[:, :3].copy())(k) for k in range(PARTS)]
    calls: dict[str, Callable[[], Any]] = {
        "auto": lambda: lstsq(A, b, rng=0),
        "sketched": lambda: sketched_lstsq(A, b, m=200, rng=0),
        "leverage": lambda: leverage_scores(A),
        "potential": lambda: _survey_all(points, b),
    }
    tracemalloc.start()
    try:
        calls[driver]()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = PARTS * ROWS * (3 if driver == "potential" else 12) * 8
    assert peak < 0.5 * whole


def test_functions_are_called_with_moved_arguments() -> None:
    assert called(lambda x, y: (x.flags.aligned, y), misplaced(), 2) == (True, 2)
