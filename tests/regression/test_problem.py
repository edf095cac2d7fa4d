"""Equations from every kind of source: the same rows, the same checks, exact units."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from linalgkit.regression._problem import Equations, equations
from tests.conftest import Backend

Draw = np.random.Generator
N, D, K = 90, 4, 3
CUTS = (0, 20, 21, 90)


class Again:
    """A source that starts anew each time."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pairs)


def cut(A: Any, b: Any) -> list[tuple[Any, Any]]:
    return [(A[i:j], b[i:j]) for i, j in itertools.pairwise(CUTS)]


def sources(A: np.ndarray, b: np.ndarray) -> dict[str, tuple[Any, Any]]:
    """Give the same equations in every way that a caller may."""
    blocks = [A[i:j] for i, j in itertools.pairwise(CUTS)]
    return {
        "dense": (A, b),
        "fortran": (np.asfortranarray(A), b),
        "sparse": (sp.coo_array(A), b),
        "operator": (aslinearoperator(A), b),
        "pairs": (cut(A, b), None),
        "sparse pairs": ([(sp.csr_array(X), y) for X, y in cut(A, b)], None),
        "again": (Again(cut(A, b)), None),
        "blocks": (blocks, b),
        "iterator": (iter(cut(A, b)), None),
    }


def gathered(eq: Equations, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Put the blocks of one pass together, checking that they are in order."""
    rows, sides, expected = [], [], 0
    for start, block, B in eq.blocks(**options):
        assert start == expected
        expected += B.shape[0]
        rows.append(block.matmul(np.eye(eq.d, dtype=block.dtype)))
        sides.append(B)
    return np.concatenate(rows), np.concatenate(sides)


@pytest.mark.parametrize("name", sources(np.ones((N, 1)), np.ones(N)))
def test_every_source_gives_the_same_weighted_rows(rng: Draw, name: str) -> None:
    A, b, w = rng.standard_normal((N, D)), rng.standard_normal((N, K)), rng.uniform(size=N)
    eq = equations(*sources(A, b)[name], weights=w, alpha=2.0)
    rows, sides = gathered(eq)
    root = np.sqrt(w)[:, None]
    np.testing.assert_allclose(rows, root * A, rtol=1e-15)
    np.testing.assert_allclose(sides, root * b, rtol=1e-15)
    assert (eq.n, eq.d, eq.k, eq.b_is_vector, eq.alpha) == (N, D, K, False, 2.0)
    assert eq.is_reiterable == (name != "iterator")


def test_blocks_of_an_array_are_views_of_it_however_long(rng: Draw) -> None:
    A, b = rng.standard_normal((N, D)), rng.standard_normal(N)
    eq = equations(A, b)
    for block_rows in (None, 1, 7, 1000):
        for _, block, B in eq.blocks(block_rows=block_rows):
            assert np.shares_memory(block.A, A)
            assert np.shares_memory(B, b)
        np.testing.assert_array_equal(gathered(eq, block_rows=block_rows)[0], A)
    assert eq.in_memory is not None
    assert np.shares_memory(eq.in_memory, A)


def test_the_joint_dtype_holds_both_factors(xp: Backend, rng: Draw) -> None:
    A, b = rng.standard_normal((5, 2)), rng.standard_normal(5)
    names = [(s, t) for s in xp.all_dtypes for t in xp.all_dtypes]
    for s, t in names:
        eq = equations(xp.asarray(A, s), xp.asarray(b, t))
        expected = np.result_type(s, t)
        assert str(eq.dtype).endswith(str(expected))
        for _, block, B in eq.blocks():
            assert block.dtype == B.dtype == eq.dtype


def test_integers_become_the_default_float() -> None:
    eq = equations(np.arange(6).reshape(3, 2), np.arange(3))
    assert eq.dtype == np.float64


def test_the_ridge_is_a_multiple_of_the_identity_with_right_sides_zero(xp: Backend) -> None:
    eq = equations(xp.asarray(np.ones((3, 2))), xp.asarray(np.ones((3, 2))), alpha=9.0)
    found = eq.ridge_block()
    assert found is not None
    np.testing.assert_allclose(xp.to_numpy(found[0].A), 3 * np.eye(2))
    np.testing.assert_array_equal(xp.to_numpy(found[1]), np.zeros((2, 2)))
    assert equations(xp.asarray(np.ones((3, 2))), xp.asarray(np.ones(3))).ridge_block() is None


def test_answers_have_the_shape_of_the_right_side(xp: Backend) -> None:
    A, B = xp.asarray(np.ones((3, 2))), xp.asarray(np.ones((3, 1)))
    vector, matrix = equations(A, B[:, 0]), equations(A, B)
    X = xp.asarray(np.ones((2, 1)))
    assert tuple(vector.shape_x(X).shape) == (2,)
    assert tuple(matrix.shape_x(X).shape) == (2, 1)
    assert vector.shape_k([2.0]) == 2.0
    assert tuple(matrix.shape_k([2.0]).shape) == (1,)


# ------------------------------------------------------------------------------------ units


@pytest.mark.parametrize("kind", ["dense", "sparse", "pairs"])
def test_rescaling_is_exact_and_undone_exactly(rng: Draw, kind: str) -> None:
    units = 2.0 ** np.asarray([600, -600, 0, 1])
    A, b = rng.standard_normal((N, D)) * units, rng.standard_normal((N, K)) * 2.0**-400
    eq = equations(*sources(A, b)[kind], alpha=0.0)
    scaled = eq.rescaled(safe=100)
    rows, sides = gathered(scaled)
    largest = np.abs(rows).max(axis=0)[:2]
    assert np.all((largest >= 0.5) & (largest < 1))
    assert 0.5 <= np.abs(sides).max() < 1
    exponents = np.asarray(scaled.column_exponents)
    np.testing.assert_array_equal(np.ldexp(rows, exponents), A)
    X = rng.standard_normal((D, K))
    np.testing.assert_array_equal(scaled.in_units(scaled.unscaled(X)), X)
    # (A x - b) in the new units is (A x - b) in the old ones times the unit of b.
    sides_exponents = np.asarray(scaled.b_exponents)
    product = np.ldexp(A[:, :1] * scaled.unscaled(X)[:1, :], -sides_exponents)
    np.testing.assert_allclose(product, rows[:, :1] * X[:1, :], rtol=1e-14)


def test_rescaling_leaves_ordinary_data_as_they_are(rng: Draw) -> None:
    A = rng.standard_normal((N, D)) * np.asarray([1e3, 1, 1e-3, 0])
    scaled = equations(A, rng.standard_normal(N)).rescaled(safe=100)
    assert not scaled.is_scaled
    assert scaled.is_unchanged


def test_an_operator_is_scaled_by_the_size_of_its_products(rng: Draw) -> None:
    A = rng.standard_normal((N, D)) * 1e200
    scaled = equations(aslinearoperator(A), rng.standard_normal(N)).rescaled(safe=100)
    assert 1e-3 < np.abs(gathered(scaled)[0]).max() < 1e3


def test_the_ridge_shares_the_units_of_the_columns() -> None:
    eq = equations(np.full((3, 2), 1e-160), np.ones(3), alpha=1e-320)
    scaled = eq.rescaled(safe=100)
    exponents = np.asarray(scaled.column_exponents)
    diagonal = scaled.ridge_diagonal()
    np.testing.assert_allclose(np.ldexp(diagonal, exponents), np.sqrt(1e-320), rtol=1e-12)
    assert scaled.alpha_in_units == pytest.approx(float(diagonal[0]) ** 2)


# ----------------------------------------------------------------------------------- refusals


def pairs_with(A: Any, b: Any) -> list[tuple[Any, Any]]:
    return [(np.ones((2, 3)), np.ones(2)), (A, b)]


BAD_KINDS = {
    "A must be an array, a sparse matrix": (3.0, None),
    "b must be given beside a matrix": (np.ones((3, 2)), None),
    "b must be an array, a dataframe or a list": (np.ones((3, 2)), 3.0),
    r"A must hold pairs .* got ndarray as item 0": ([np.ones((3, 2))], None),
    "all blocks must be of one kind": (pairs_with(sp.csr_array(np.ones((2, 3))), np.ones(2)), None),
    "A must be real as the first block": (pairs_with(np.ones((2, 3), complex), np.ones(2)), None),
    "b must be real as the first block": (pairs_with(np.ones((2, 3)), np.ones(2, complex)), None),
}


@pytest.mark.parametrize("message", BAD_KINDS)
def test_a_wrong_kind_is_a_type_error_that_says_what_is_wanted(message: str) -> None:
    with pytest.raises(TypeError, match=message):
        gathered(equations(*BAD_KINDS[message]))


BAD_SHAPES = {
    r"b must have 3 rows as A has, got shape \(4,\)": (np.ones((3, 2)), np.ones(4)),
    "A must be 2-D": (np.ones(3), np.ones(3)),
    "A must have at least 1 column": (np.ones((3, 0)), np.ones(3)),
    "A must have at least one row": (np.ones((0, 2)), np.ones(0)),
    "b must be 1-D .* or 2-D": (np.ones((3, 2)), np.ones((3, 1, 1))),
    "b must have at least one column": (np.ones((3, 2)), np.ones((3, 0))),
    "A must hold at least one block": ([], None),
    "A must have 3 columns as in the first block, got 2 in block 1": (
        pairs_with(np.ones((2, 2)), np.ones(2)),
        None,
    ),
    "b must have 2 rows as A has in block 1": (pairs_with(np.ones((2, 3)), np.ones(3)), None),
    "b must be 1-D as in the first block": (pairs_with(np.ones((2, 3)), np.ones((2, 1))), None),
    "b must have as many rows as A, got 3 for at least 4": ([np.ones((2, 2))] * 2, np.ones(3)),
    r"b must have 4 rows as A has, got shape \(5,\)": ([np.ones((2, 2))] * 2, np.ones(5)),
}


@pytest.mark.parametrize("message", BAD_SHAPES)
def test_a_wrong_shape_is_a_value_error_that_names_it(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gathered(equations(*BAD_SHAPES[message]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["dense", "sparse", "pairs", "iterator"])
def test_nan_and_infinity_are_refused_with_their_place(rng: Draw, name: str, bad: float) -> None:
    A, b = rng.standard_normal((N, D)), rng.standard_normal(N)
    A[20, 2] = bad
    where = "block 1, row 0" if name in ("pairs", "iterator") else "row 20"
    with pytest.raises(ValueError, match=f"A must not contain NaN or infinity, got one in {where}"):
        gathered(equations(*sources(A, b)[name]), block_rows=16)
    A[20, 2], b[89] = 0.0, bad
    with pytest.raises(ValueError, match="b must not contain NaN or infinity"):
        gathered(equations(*sources(A, b)[name]), block_rows=16)


BAD_WEIGHTS = {
    "weights must be 1-D": np.ones((3, 1)),
    "weights must have one entry for each of the 3 rows, got 4": np.ones(4),
    r"weights must not be negative, got -1\.0 for row 1": np.asarray([1.0, -1.0, 2.0]),
    "weights must not contain NaN": np.asarray([1.0, np.nan, 2.0]),
}


@pytest.mark.parametrize("message", BAD_WEIGHTS)
def test_weights_are_checked(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equations(np.ones((3, 2)), np.ones(3), weights=BAD_WEIGHTS[message])


def test_complex_weights_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="weights must be real, got complex128"):
        equations(np.ones((3, 2)), np.ones(3), weights=np.ones(3, complex))


@pytest.mark.parametrize("length", [80, 100])
def test_weights_of_a_stream_are_counted_at_its_end(rng: Draw, length: int) -> None:
    A, b = rng.standard_normal((N, D)), rng.standard_normal(N)
    with pytest.raises(ValueError, match="weights must have one entry for each of the"):
        gathered(equations(cut(A, b), weights=np.ones(length)))


@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf])
def test_alpha_must_be_finite_and_not_negative(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be at least"):
        equations(np.ones((3, 2)), np.ones(3), alpha=alpha)


def test_a_second_pass_over_an_iterator_names_the_way_out(rng: Draw) -> None:
    A, b = rng.standard_normal((N, D)), rng.standard_normal(N)
    eq = equations(iter(cut(A, b)))
    gathered(eq)
    with pytest.raises(TypeError, match="Use sketched_lstsq"):
        gathered(eq)


def test_a_source_that_changes_its_length_is_an_error(rng: Draw) -> None:
    A, b = rng.standard_normal((N, D)), rng.standard_normal(N)
    source = Again(cut(A, b))
    eq = equations(source)
    gathered(eq)
    source.pairs = source.pairs[:-1]
    with pytest.raises(ValueError, match="the same rows each time, got 21 rows after 90"):
        gathered(eq)


def test_libraries_are_not_mixed() -> None:
    A = array_api_strict.ones((3, 2), dtype=array_api_strict.float64)
    with pytest.raises(TypeError, match="all blocks must be of one kind, library and device"):
        equations(A, np.ones(3))
