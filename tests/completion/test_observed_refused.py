"""Input that is refused, and the messages that say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from linalgkit._core import array as core_array
from linalgkit.completion._observed import Observed, observe
from tests.completion.patterns import (
    M,
    N,
    coo,
    dense,
    triple,
)
from tests.conftest import BACKENDS, Backend

ROWS, COLUMNS, VALUES, SHAPE = triple()
DENSE, SEEN = dense()
ONES = np.ones(8)
NEGATIVE = np.where(np.arange(M * N).reshape(M, N) == 9, -2.0, 1.0)  # at (1, 4)
FEWER = sp.csr_array(([1.0], ([0], [0])), shape=SHAPE)
TWICE = [0, 1, 0], [1, 0, 1], [1.0, 2.0, 3.0]
NO_TWO = sp.coo_array(([1.0, 2.0, 1.0], ([0, 0, 1], [0, 0, 1])), shape=(2, 2))


def with_one(value: float) -> Any:
    """The values with another one at (1, 4)."""
    return np.where(np.arange(8) == 3, value, VALUES)


def corrupt(falling: bool) -> Any:
    A = coo().tocsr()
    if falling:
        A.indptr[2] = 1
    else:
        A.indices = A.indices + 1
    return A


def observe_all(A: Any, mask: Any = None, weights: Any = None) -> Observed:
    return observe(A, mask=mask, weights=weights)


REFUSED = [
    (
        "nothing dense",
        lambda: observe_all(np.full((2, 3), np.nan)),
        ValueError,
        "must have an observed entry",
    ),
    (
        "nothing sparse",
        lambda: observe_all(sp.csr_array((2, 3))),
        ValueError,
        "must have an observed entry",
    ),
    (
        "nothing masked",
        lambda: observe_all(DENSE, np.zeros((M, N), dtype=bool)),
        ValueError,
        "must have an observed entry",
    ),
    (
        "nothing triples",
        lambda: observe_all(([], [], [], (2, 3))),
        ValueError,
        "must have an observed entry",
    ),
    ("nothing stream", lambda: observe_all(iter([])), ValueError, "must have an observed entry"),
    (
        "nothing weighted",
        lambda: observe_all((ROWS, COLUMNS, VALUES, SHAPE), None, np.zeros(8)),
        ValueError,
        "with a weight above 0",
    ),
    (
        "row beyond",
        lambda: observe_all(([0, 6], [0, 1], [1.0, 2.0], (M, N))),
        ValueError,
        r"rows of A .*\(6, 5\).*index 6 at entry 1.*out of range",
    ),
    (
        "column beyond",
        lambda: observe_all(([0, 1], [0, 5], [1.0, 2.0], (M, N))),
        ValueError,
        r"cols of A .*\(6, 5\).*index 5 at entry 1.*out of range",
    ),
    (
        "negative row",
        lambda: observe_all(([0, -1], [0, 1], [1.0, 2.0], (M, N))),
        ValueError,
        r"index -1 at entry 1, which is negative",
    ),
    (
        "unsigned",
        lambda: observe_all((np.array([2**63 + 1], dtype=np.uint64), [0], [1.0], (M, N))),
        ValueError,
        "index 9223372036854775809 at entry 0",
    ),
    (
        "sparse beyond",
        lambda: observe_all(corrupt(falling=False)),
        ValueError,
        r"\(6, 5\), got the index 5, which is out of range",
    ),
    (
        "sparse falling",
        lambda: observe_all(corrupt(falling=True)),
        ValueError,
        "indptr must not decrease",
    ),
    (
        "twice",
        lambda: observe_all((*TWICE, (2, 2))),
        ValueError,
        r"duplicate at \(row, column\) = \(0, 1\)",
    ),
    (
        "twice coo",
        lambda: observe_all(sp.coo_array((TWICE[2], TWICE[:2]), shape=(2, 2))),
        ValueError,
        r"duplicate at \(row, column\) = \(0, 1\)",
    ),
    (
        "twice csr",
        lambda: observe_all(sp.csr_array(([1.0, 2, 3, 4], [1, 0, 1, 1], [0, 2, 4]), shape=(2, 2))),
        ValueError,
        r"duplicate at \(row, column\) = \(1, 1\)",
    ),
    (
        "twice csc",
        lambda: observe_all(sp.csc_array(([1.0, 2, 3, 4], [1, 0, 0, 0], [0, 2, 4]), shape=(2, 2))),
        ValueError,
        r"duplicate at \(row, column\) = \(0, 1\)",
    ),
    (
        "twice stream",
        lambda: observe_all([([0], [1], [1.0], (2, 2)), ([0], [1], [2.0], (2, 2))]),
        ValueError,
        r"duplicate at \(row, column\) = \(0, 1\)",
    ),
    (
        "inf dense",
        lambda: observe_all(np.where(SEEN, np.inf, np.nan)),
        ValueError,
        r"infinity at \(row, column\) = \(0, 0\). Set it to NaN",
    ),
    (
        "inf sparse",
        lambda: observe_all(sp.coo_array((with_one(np.inf), (ROWS, COLUMNS)), shape=SHAPE)),
        ValueError,
        r"infinity at \(row, column\) = \(1, 4\). Leave the entry out",
    ),
    (
        "inf triples",
        lambda: observe_all((ROWS, COLUMNS, with_one(-np.inf), SHAPE)),
        ValueError,
        r"infinity at \(row, column\) = \(1, 4\)",
    ),
    (
        "nan sparse",
        lambda: observe_all(sp.coo_array((with_one(np.nan), (ROWS, COLUMNS)), shape=SHAPE).tocsc()),
        ValueError,
        r"NaN at \(row, column\) = \(1, 4\). Leave the entry out",
    ),
    (
        "nan triples",
        lambda: observe_all((ROWS, COLUMNS, with_one(np.nan) * (1 + 1j), SHAPE)),
        ValueError,
        r"NaN at \(row, column\) = \(1, 4\). Leave the entry out",
    ),
    (
        "nan under mask",
        lambda: observe_all(DENSE, ~SEEN),
        ValueError,
        r"NaN at \(row, column\) = \(0, 1\). Set mask to False",
    ),
    (
        "nan in masked",
        lambda: observe_all(np.ma.MaskedArray(DENSE)),
        ValueError,
        r"NaN at \(row, column\) = \(0, 1\)",
    ),
    (
        "mask shape",
        lambda: observe_all(DENSE, SEEN.T),
        ValueError,
        r"mask must have the shape \(6, 5\), got \(5, 6\)",
    ),
    ("mask sparse", lambda: observe_all(coo(), SEEN), ValueError, "mask must be None for sparse A"),
    (
        "mask triples",
        lambda: observe_all((ROWS, COLUMNS, VALUES, SHAPE), SEEN),
        ValueError,
        "mask must be None for triples",
    ),
    (
        "mask masked",
        lambda: observe_all(np.ma.MaskedArray(DENSE), SEEN),
        ValueError,
        "mask must be None for a masked array",
    ),
    (
        "mask numbers",
        lambda: observe_all(DENSE, SEEN.astype(float)),
        TypeError,
        "mask must be boolean, got dtype float64",
    ),
    (
        "mask integers",
        lambda: observe_all(DENSE, SEEN.astype(int)),
        TypeError,
        "mask must be boolean, got dtype int64",
    ),
    (
        "mask of sparse",
        lambda: observe_all(DENSE, sp.csr_array(SEEN)),
        TypeError,
        "mask must be a boolean array, got the sparse",
    ),
    ("object", lambda: observe_all(np.full((2, 2), 1.0, dtype=object)), TypeError, "object"),
    (
        "object triples",
        lambda: observe_all(([0], [0], np.array([1.0], dtype=object), (2, 2))),
        TypeError,
        "the values of A.*object",
    ),
    ("object frame", lambda: observe_all(pd.DataFrame([[1.0, "x"]])), TypeError, "in column 1"),
    (
        "half",
        lambda: observe_all(np.ones((2, 2), dtype=np.float16)),
        TypeError,
        "at least single precision, got float16",
    ),
    (
        "half triples",
        lambda: observe_all(([0], [0], np.ones(1, dtype=np.float16), (2, 2))),
        TypeError,
        "at least single precision, got float16",
    ),
    (
        "long double",
        lambda: observe_all(np.ones((2, 2), dtype=np.longdouble)),
        TypeError,
        "float128|longdouble",
    ),
    ("matrix", lambda: observe_all(np.ones((1, 2)).view(np.matrix)), TypeError, "numpy.matrix"),
    ("string", lambda: observe_all("abc"), TypeError, "got str"),
    ("mapping", lambda: observe_all({(0, 0): 1.0}), TypeError, "got dict"),
    ("none", lambda: observe_all(None), TypeError, "got NoneType"),
    ("vector", lambda: observe_all(np.ones(3)), ValueError, r"2-D.*\(3,\)"),
    ("cube", lambda: observe_all(np.ones((2, 2, 2))), ValueError, r"2-D.*\(2, 2, 2\)"),
    ("sparse vector", lambda: observe_all(sp.coo_array(np.ones(3))), ValueError, r"2-D.*\(3,\)"),
    ("ragged", lambda: observe_all([[1.0, 2.0], [3.0]]), ValueError, "rows of one length"),
    (
        "lengths",
        lambda: observe_all(([0, 1], [0], [1.0, 2.0], (M, N))),
        ValueError,
        r"one length, got \(2, 1, 2\)",
    ),
    (
        "matrix of values",
        lambda: observe_all(([0], [0], [[1.0]], (M, N))),
        ValueError,
        r"1-D, got shape \(1, 1\)",
    ),
    (
        "sparse values",
        lambda: observe_all(([0], [0], coo(), (M, N))),
        TypeError,
        "must be a dense vector",
    ),
    (
        "floating rows",
        lambda: observe_all(([0.0], [0], [1.0], (M, N))),
        TypeError,
        "rows of A must be integers, got dtype float64",
    ),
    (
        "boolean rows",
        lambda: observe_all(([True], [0], [1.0], (M, N))),
        TypeError,
        "rows of A must be integers, got dtype bool",
    ),
    (
        "no shape",
        lambda: observe_all((ROWS, COLUMNS, VALUES)),
        ValueError,
        r"\(rows, cols, values, shape\), got 3 items.*\(m, n\)",
    ),
    (
        "no shape stream",
        lambda: observe_all(iter([(ROWS, COLUMNS, VALUES)])),
        ValueError,
        r"item 0 of A must be .*got 3 items.*\(m, n\)",
    ),
    (
        "shape of one",
        lambda: observe_all(([0], [0], [1.0], (M,))),
        ValueError,
        "shape of A must be two integers",
    ),
    (
        "shape none",
        lambda: observe_all(([0], [0], [1.0], None)),
        ValueError,
        "shape of A must be two integers",
    ),
    (
        "shape zero",
        lambda: observe_all(([0], [0], [1.0], (0, 3))),
        ValueError,
        r"shape\[0\] of A must be at least 1, got 0",
    ),
    (
        "shape floating",
        lambda: observe_all(([0], [0], [1.0], (2.0, 3))),
        TypeError,
        r"shape\[0\] of A must be an integer",
    ),
    (
        "shapes",
        lambda: observe_all(iter([([0], [0], [1.0], (2, 3)), ([1], [0], [1.0], (3, 2))])),
        ValueError,
        r"one shape, got \(3, 2\) in item 1 and \(2, 3\) before",
    ),
    (
        "rows in a stream",
        lambda: observe_all(iter(np.ones((2, 2)))),
        ValueError,
        "item 0 of A must be .*got ndarray",
    ),
    (
        "weights negative",
        lambda: observe_all(DENSE, None, NEGATIVE),
        ValueError,
        r"negative weights.*-2.0 at .*\(1, 4\)",
    ),
    (
        "weights infinite",
        lambda: observe_all((ROWS, COLUMNS, VALUES, SHAPE), None, ONES * np.inf),
        ValueError,
        r"got inf at .*\(0, 0\)",
    ),
    (
        "weights nan",
        lambda: observe_all(
            coo(), None, sp.coo_array((with_one(np.nan), (ROWS, COLUMNS)), shape=SHAPE)
        ),
        ValueError,
        r"at least 0",
    ),
    (
        "weights absent",
        lambda: observe_all(coo(), None, FEWER),
        ValueError,
        r"got none at \(row, column\) = \(0, 2\)",
    ),
    (
        "weights none stored",
        lambda: observe_all(coo(), None, sp.csr_array(SHAPE)),
        ValueError,
        r"got none at \(row, column\) = \(0, 0\)",
    ),
    (
        "weights shape",
        lambda: observe_all(DENSE, None, np.ones((N, M))),
        ValueError,
        r"weights must have the shape \(6, 5\)",
    ),
    (
        "weights sparse shape",
        lambda: observe_all(coo(), None, FEWER.T),
        ValueError,
        r"weights must have the shape \(6, 5\)",
    ),
    (
        "weights length",
        lambda: observe_all((ROWS, COLUMNS, VALUES, SHAPE), None, ONES[:-1]),
        ValueError,
        r"weights must have the shape \(8,\) .*got \(7,\)",
    ),
    (
        "weights matrix",
        lambda: observe_all((ROWS, COLUMNS, VALUES, SHAPE), None, NEGATIVE),
        ValueError,
        r"weights must have the shape \(8,\)",
    ),
    (
        "weights complex",
        lambda: observe_all(DENSE, None, NEGATIVE * 1j),
        TypeError,
        "weights must be real, got complex128",
    ),
    (
        "weights complex sparse",
        lambda: observe_all(coo(), None, coo("complex128")),
        TypeError,
        "weights must be real, got complex128",
    ),
    (
        "weights dense",
        lambda: observe_all(coo(), None, NEGATIVE),
        TypeError,
        "weights must be a sparse matrix",
    ),
    (
        "weights sparse",
        lambda: observe_all(DENSE, None, FEWER),
        TypeError,
        "weights must be a dense array",
    ),
    (
        "weights object",
        lambda: observe_all(DENSE, None, NEGATIVE.astype(object)),
        TypeError,
        "weights: .*object",
    ),
    (
        "weights twice",
        lambda: observe_all(sp.csr_array(np.eye(2)), None, NO_TWO),
        ValueError,
        r"every entry of weights .*\(0, 0\)",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"(?s){text}"):
        call()


def test_half_precision_and_mixed_libraries_are_refused(xp: Backend) -> None:
    half = getattr(xp.xp, "float16", None) or getattr(xp.xp, "bfloat16", None)
    if half is not None:
        with pytest.raises(TypeError, match="at least single precision"):
            observe(xp.xp.asarray([[1.0]], dtype=half, device=xp.device))
    # a third library, or another device where the only others are NumPy and this one
    others = [b for b in BACKENDS if b.name not in ("numpy", xp.name)]
    mine = core_array.library_name(xp.xp)
    other = min(others, key=lambda b: core_array.library_name(b.xp) == mine)
    A = xp.asarray(dense()[0])
    wanted = "numpy as A is, got" if xp.name == "numpy" else "numpy or of .* as A is, got"
    with pytest.raises(TypeError, match=f"weights must be of {wanted}"):
        observe(A, weights=other.asarray(np.ones((M, N))))
    with pytest.raises(TypeError, match=f"mask must be of {wanted}"):
        observe(A, mask=other.asarray(np.ones((M, N), dtype=bool)))
    items = [([0], [0], b.asarray([1.0]), (2, 2)) for b in (xp, other)]
    with pytest.raises(TypeError, match="item 1 of A must be of"):
        observe(items)


def test_inf_is_refused_on_every_library(xp: Backend) -> None:
    A = dense()[0]
    A[5, 4] = -np.inf
    with pytest.raises(ValueError, match=r"infinity at \(row, column\) = \(5, 4\)"):
        observe(xp.asarray(A))


def test_dask_arrays_are_refused() -> None:
    da = pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match="compute"):
        observe(da.ones((2, 2)))
