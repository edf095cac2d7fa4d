"""A small pattern of entries in every form, and what is asked of the one made from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from linalgkit._core import array as core_array
from linalgkit.completion._observed import Observed

M, N = 6, 5
#: An entry that is zero, an empty row (4) and an empty column (3) are in the pattern.
ENTRIES = {
    (0, 0): 1.5, (0, 2): -2.0, (1, 1): 0.0, (1, 4): 3.0, (2, 0): 4.0, (3, 2): -5.0, (5, 0): 6.0,
    (5, 4): 7.25,
}  # fmt: skip


def vectors(entries: dict[tuple[int, int], Any] = ENTRIES) -> tuple[Any, Any, Any]:
    rows, columns = (np.array(x) for x in zip(*entries, strict=True))
    return rows, columns, np.array(list(entries.values()))


def triple(dtype: str = "float64") -> tuple[Any, Any, Any, tuple[int, int]]:
    rows, columns, values = vectors()
    return rows, columns, values.astype(dtype), (M, N)


def coo(dtype: str = "float64") -> Any:
    rows, columns, values, shape = triple(dtype)
    places = rows.astype(np.int32), columns.astype(np.int32)
    return sp.coo_array((values, places), shape=shape)


def dense(missing: float = np.nan, dtype: str = "float64") -> tuple[Any, Any]:
    A, seen = np.full((M, N), missing, dtype=dtype), np.zeros((M, N), dtype=bool)
    for place, value in ENTRIES.items():
        A[place], seen[place] = value, True
    return A, seen


def entries_of(data: Observed, which: str = "values") -> dict[tuple[int, int], Any]:
    """Return the entries by rows, after a comparison with those by columns."""
    power = data.exponent if which == "values" else data.weight_exponent
    by_rows, by_columns = (
        core_array.to_numpy(getattr(data, f"{side}_{which}")) for side in ("row", "column")
    )
    found = []
    for lines, values in ((data.rows, by_rows), (data.columns, by_columns)):
        assert lines.indptr.dtype == np.int64
        assert lines.count == values.shape[0] == data.count
        index = core_array.to_numpy(lines.indices).tolist()
        line = np.repeat(np.arange(lines.n_lines), lines.lengths).tolist()
        pairs = list(zip(line, index, strict=True))
        assert pairs == sorted(set(pairs))
        found.append(dict(zip(pairs, np.ldexp(1.0, power) * values, strict=True)))
    assert found[0] == {(i, j): v for (j, i), v in found[1].items()}
    assert (data.rows.n_lines, data.rows.n_other) == data.shape
    assert (data.columns.n_other, data.columns.n_lines) == data.shape
    return found[0]


def same_bits(a: Observed, b: Observed) -> bool:
    names = ("row_values", "column_values", "row_weights", "column_weights")
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    pairs += [(x.indptr, y.indptr) for x, y in ((a.rows, b.rows), (a.columns, b.columns))]
    pairs += [(x.indices, y.indices) for x, y in ((a.rows, b.rows), (a.columns, b.columns))]
    return a.shape == b.shape and all(
        (x is None and y is None)
        or (x.dtype == y.dtype and np.array_equal(core_array.to_numpy(x), core_array.to_numpy(y)))
        for x, y in pairs
    )


def random_pattern(rng: Any, m: int, n: int, density: float) -> Any:
    A = sp.random_array((m, n), density=density, rng=rng, format="csr")
    A.sort_indices()
    return A


class FakeSparse:
    """Has what is used of cupyx.scipy.sparse; the numbers are of another library."""

    ndim = 2

    def __init__(self, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> None:
        self.row, self.col, self.data, self.shape = rows, columns, values, shape
        self.nnz = len(rows)

    def tocoo(self) -> FakeSparse:
        return self


FakeSparse.__module__ = "cupyx.scipy.sparse._coo"
