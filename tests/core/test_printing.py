"""What ``print(result)`` shows: a few lines, the leading numbers, the status, nothing empty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from linalgkit._core.printing import leading, number, relative, told
from linalgkit.bayes import kron_sbl
from linalgkit.chebyshev import chebtucker
from linalgkit.completion import complete_matrix
from linalgkit.datasets import kronecker_sparse
from linalgkit.regression import lstsq, sketched_lstsq
from linalgkit.sampling import Legendre, TensorBasis, multi_index, sample_design, weighted_lstsq
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import IncrementalSVD

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((300, 6)) * [9.0, 7, 1, 1, 1, 1]
SIDES = RNG.standard_normal((300, 2))


def _sparse() -> Any:
    problem = kronecker_sparse((9, 10), (6, 7), (2, 2), snr_db=30.0, rng=0)
    return kron_sbl(problem.factors, problem.y)


def _completed() -> Any:
    A = np.outer(np.arange(1.0, 9), np.arange(1.0, 7))
    return complete_matrix(A, 1, mask=RNG.random(A.shape) < 0.8, rng=0)


def _fit() -> Any:
    basis = TensorBasis(Legendre(), multi_index(2, 2))
    design = sample_design(basis, rng=0)
    return weighted_lstsq(design, design.points[:, 0] ** 2, space=basis)


MAKERS = {
    "streaming": lambda: StreamingEigh(2, rng=0).fit(ROWS).result(),
    "lstsq": lambda: lstsq(ROWS, SIDES[:, 0]),
    "lstsq, two sides": lambda: lstsq(ROWS, SIDES),
    "sketched": lambda: sketched_lstsq(ROWS, SIDES[:, 0], m=60, sketch="gaussian", rng=0),
    "svd": lambda: IncrementalSVD(2).append_columns(ROWS).result(),
    "bayes": _sparse,
    "chebyshev": lambda: chebtucker(lambda x: 1 / (3 + x[:, 0] * x[:, 1]), [(-1, 1)] * 2, rng=0),
    "completion": _completed,
    "fit": _fit,
}
#: What the first number shown is, where the answer has one.
FIRST = {
    "streaming": lambda r: r.eigenvalues[0],
    "lstsq": lambda r: r.x[0],
    "lstsq, two sides": lambda r: r.x[0, 0],
    "sketched": lambda r: r.x[0],
    "svd": lambda r: r.s[0],
    "completion": lambda r: r.singular_values[0],
    "fit": lambda r: r.coef[0],
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.filterwarnings("ignore::linalgkit.AccuracyWarning")
def test_a_result_is_printed_in_a_few_lines_with_its_status(name: str) -> None:
    result = MAKERS[name]()
    text = str(result)
    lines = text.splitlines()
    assert 3 <= len(lines) <= 6
    assert max(map(len, lines)) <= 120
    assert not {"nan", "None"} & set(text.replace(",", " ").split())
    assert all(len(line.split()) >= 2 for line in lines)
    assert lines[-1].split()[:2] == ["status", result.status]
    assert text != repr(result)
    if name in FIRST:
        assert f"{FIRST[name](result):.4g}" in text


def test_a_design_is_printed_with_what_is_known_before_any_value() -> None:
    design = sample_design(TensorBasis(Legendre(), multi_index(2, 2)), rng=0)
    text = str(design)
    assert f"Design of {len(design)} points for 6 functions" in text
    assert f"{design.lmin:.3g}, {design.lmax:.3g}" in text
    assert text.endswith("unbiased" if design.unbiased else " biased")


def test_nothing_empty_is_told() -> None:
    text = told("T", ("a", "1"), ("b", ""), ("long", "2"), status="odd")
    assert text == "T\n  a       1\n  long    2\n  status  odd"
    assert told("T") == "T"
    assert number(None) == number(math.nan) == number(np.asarray([1.0, math.nan])) == ""
    assert (number(0.12345), number(np.asarray([1.0, 3.0]))) == ("0.123", "3")
    assert relative(1.0, 0.0, "x") == relative(math.nan, 1.0, "x") == ""
    assert relative(1.0, 4.0, "x") == "0.25 of x"


def test_the_leading_numbers_are_those_of_the_first_column() -> None:
    A = np.arange(24.0).reshape(8, 3)
    assert leading(A) == "0, 3, 6, 9, 12, ... (8 in all)"
    assert leading(A[:2, :]) == "0, 3"
    assert leading(A[:0, :]) == leading(A[:, :0]) == ""
    assert leading(1j * A[:2, 0]) == "0+0j, 0+3j"
