"""The public least-squares function: every kind of problem, source and library; its refusals."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from linalgkit import AccuracyWarning
from linalgkit.regression import LstsqResult, _drivers, _solver, backward_error, lstsq
from tests.conftest import Backend
from tests.regression.problems import conditioned, entries, solved

Draw = np.random.Generator
DRIVERS = ("auto", "cholesky", "sketch_cholqr", "spir", "lsmr")
ROUNDOFF = 2.0**-53
every_driver = pytest.mark.parametrize("driver", DRIVERS)


def close(found: np.ndarray, expected: np.ndarray, rtol: float = 1e-11) -> None:
    """Compare vectors by the norm of their difference."""
    assert found.shape == expected.shape
    size = max(float(np.linalg.norm(expected)), np.finfo(float).tiny)
    assert np.linalg.norm(found - expected) <= rtol * size


def ridge(A: np.ndarray, b: np.ndarray, alpha: float, w: np.ndarray | None = None) -> np.ndarray:
    """Solve the ridge problem by a stacked system."""
    root = np.ones(A.shape[0]) if w is None else np.sqrt(w)
    d = A.shape[1]
    stacked = np.vstack([root[:, None] * A, np.sqrt(alpha) * np.eye(d)])
    right = np.concatenate([(root * b.T).T, np.zeros((d, *b.shape[1:]))])
    return solved(stacked, right)


# --------------------------------------------------------------------------------- problems


@every_driver
@pytest.mark.parametrize("is_complex", [False, True])
def test_several_right_sides(rng: Draw, driver: str, is_complex: bool) -> None:
    A, B = entries(rng, 400, 7, is_complex=is_complex), entries(rng, 400, 6, is_complex=is_complex)
    result = lstsq(A, B, driver=driver, rng=0)
    close(result.x, solved(A, B))
    np.testing.assert_allclose(
        result.residual_norm, np.linalg.norm(B - A @ result.x, axis=0), rtol=1e-12
    )
    assert result.backward_error.shape == (6,)
    assert np.max(result.backward_error) <= ROUNDOFF
    assert (result.rank, result.status) == (7, "converged")


@every_driver
def test_complex_data_whose_answer_differs_from_its_conjugate(rng: Draw, driver: str) -> None:
    A, b, _ = conditioned(rng, 300, 5, 1e4, 1e-2, is_complex=True)
    x = lstsq(A, b, driver=driver, rng=0).x
    close(x, solved(A, b), 1e-10)
    assert np.linalg.norm(x - solved(A.conj(), b)) > 0.1
    real = lstsq(A.real.copy(), b, driver=driver, rng=0).x
    close(real, solved(A.real, b), 1e-10)
    mixed = lstsq(A, b.real.copy(), driver=driver, rng=0).x
    close(mixed, solved(A, b.real), 1e-10)


@every_driver
def test_weights_multiply_squared_residuals(rng: Draw, driver: str) -> None:
    A, b, w = entries(rng, 400, 5), entries(rng, 400), rng.uniform(0, 3, 400)
    w[:7] = 0.0
    root = np.sqrt(w)
    result = lstsq(A, b, weights=w, driver=driver, rng=0)
    close(result.x, solved(root[:, None] * A, root * b))
    assert result.residual_norm == pytest.approx(np.linalg.norm(root * (b - A @ result.x)))
    doubled = np.concatenate([A, A[:50]]), np.concatenate([b, b[:50]])
    twice = np.ones(400)
    twice[:50] = 2.0
    close(lstsq(A, b, weights=twice, driver=driver, rng=0).x, solved(*doubled))


@every_driver
@pytest.mark.parametrize("shape", [(300, 6), (6, 6), (5, 30)])
def test_ridge(rng: Draw, driver: str, shape: tuple[int, int]) -> None:
    A, B = entries(rng, *shape, is_complex=True), entries(rng, shape[0], 2)
    w = rng.uniform(0.5, 2, shape[0])
    for alpha in (1e-6, 1.0, 1e6):
        result = lstsq(A, B, alpha=alpha, weights=w, driver=driver, rng=0)
        close(result.x, ridge(A, B, alpha, w))
        assert np.max(result.backward_error) <= 2 * ROUNDOFF
        assert result.status == "converged"


@every_driver
def test_a_ridge_makes_a_deficient_problem_definite(rng: Draw, driver: str) -> None:
    A, b = entries(rng, 200, 5), entries(rng, 200)
    A[:, 4] = A[:, 0]
    result = lstsq(A, b, alpha=1e-3, driver=driver, rng=0)
    close(result.x, ridge(A, b, 1e-3), 1e-9)
    assert result.rank == 5


@every_driver
@pytest.mark.parametrize("is_complex", [False, True])
def test_deficient_rank_gives_the_least_norm_and_a_warning(
    rng: Draw, driver: str, is_complex: bool
) -> None:
    A = entries(rng, 500, 8, is_complex=is_complex)
    A[:, 2] = A[:, 0] - 2 * A[:, 5]
    A[:, 6] = 0.0
    A[:, 7] *= 1e-6
    b = entries(rng, 500, is_complex=is_complex)
    with pytest.warns(AccuracyWarning, match="numerical rank 6: x is the solution of minimum"):
        result = lstsq(A, b, driver=driver, rng=0)
    close(result.x, np.linalg.pinv(A, rcond=1e-13) @ b, 1e-8)
    assert (result.rank, result.status) == (6, "rank_deficient")
    assert result.x[6] == 0
    assert result.backward_error <= 2 * ROUNDOFF
    assert result.condition < 1e3  # of the equilibrated columns, on what is kept


@every_driver
def test_products_of_thin_factors_have_the_rank_of_these(rng: Draw, driver: str) -> None:
    for rank in (1, 3, 9):
        A = entries(rng, 300, rank) @ entries(rng, rank, 10)
        b = entries(rng, 300)
        with pytest.warns(AccuracyWarning, match=f"numerical rank {rank}"):
            result = lstsq(A, b, driver=driver, rng=0)
        close(result.x, np.linalg.pinv(A, rcond=1e-12) @ b, 1e-9)


@every_driver
def test_fewer_equations_than_unknowns_give_the_least_norm(rng: Draw, driver: str) -> None:
    for n, d in ((1, 3), (5, 6), (6, 200), (12, 40)):
        A, B = entries(rng, n, d, is_complex=True), entries(rng, n, 2, is_complex=True)
        result = lstsq(A, B, driver=driver, rng=0)
        close(result.x, np.linalg.pinv(A) @ B)
        assert np.max(result.residual_norm) <= 1e-13 * np.linalg.norm(B)
        assert (result.rank, result.status) == (n, "converged")


@every_driver
def test_wide_and_deficient_and_inconsistent(rng: Draw, driver: str) -> None:
    A, b = entries(rng, 7, 30), entries(rng, 7)
    A[3] = A[1] + 1e3 * A[2]
    A[5] = 0.0
    with pytest.warns(AccuracyWarning, match="numerical rank 5"):
        result = lstsq(A, b, driver=driver, rng=0)
    close(result.x, np.linalg.pinv(A, rcond=1e-12) @ b, 1e-9)
    assert result.residual_norm == pytest.approx(np.linalg.norm(b - A @ result.x))
    assert result.backward_error <= 5 * ROUNDOFF


@every_driver
def test_the_smallest_problems(rng: Draw, driver: str) -> None:
    A, b = entries(rng, 50, 1), entries(rng, 50)
    close(lstsq(A, b, driver=driver, rng=0).x, np.asarray([A[:, 0] @ b / (A[:, 0] @ A[:, 0])]))
    one = lstsq(A[:1], b[:1], driver=driver, rng=0)
    close(one.x, b[:1] / A[0])
    square = entries(rng, 9, 9)
    result = lstsq(square, b[:9], driver=driver, rng=0)
    close(result.x, np.linalg.solve(square, b[:9]), 1e-11)
    assert result.residual_norm <= 1e-12


@every_driver
def test_nothing_on_the_right_is_nothing_in_the_answer(rng: Draw, driver: str) -> None:
    A = entries(rng, 60, 4)
    result = lstsq(A, np.zeros(60), driver=driver, rng=0)
    np.testing.assert_array_equal(result.x, np.zeros(4))
    assert (result.backward_error, result.residual_norm, result.status) == (0.0, 0.0, "converged")
    B = np.stack([np.zeros(60), entries(rng, 60)], axis=1)
    close(lstsq(A, B, driver=driver, rng=0).x, solved(A, B))


@every_driver
def test_a_matrix_of_zeros_has_rank_zero(rng: Draw, driver: str) -> None:
    b = entries(rng, 60)
    with pytest.warns(AccuracyWarning, match="numerical rank 0"):
        result = lstsq(np.zeros((60, 4)), b, driver=driver, rng=0)
    np.testing.assert_array_equal(result.x, np.zeros(4))
    assert result.residual_norm == pytest.approx(np.linalg.norm(b))
    assert result.backward_error == 0.0


@every_driver
@pytest.mark.parametrize("shape", [(300, 8), (8, 60)])
def test_an_explicit_rcond_truncates_as_numpy_does(
    rng: Draw, driver: str, shape: tuple[int, int]
) -> None:
    small = min(shape)
    U, V = (
        np.linalg.qr(entries(rng, shape[0], small))[0],
        np.linalg.qr(entries(rng, shape[1], small))[0],
    )
    A, b = (U * np.geomspace(1, 1e-7, small)) @ V.T, entries(rng, shape[0])
    expected, _, rank, _ = np.linalg.lstsq(A, b, rcond=2e-4)
    result = lstsq(A, b, driver=driver, rcond=2e-4, rng=0)
    close(result.x, expected, 1e-9)
    assert (result.rank, result.status) == (rank, "converged")
    # What was dropped is what the certificate shows.
    assert 1e-8 < result.backward_error < 2e-4
    close(lstsq(A, b, driver=driver, rcond=0.0, rng=0).x, solved(A, b), 1e-6)


# ------------------------------------------------------------------------------------ scale


@every_driver
@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e-250])
def test_other_units_give_the_same_answer_in_other_units(
    rng: Draw, driver: str, scale: float
) -> None:
    A, b = entries(rng, 300, 5), entries(rng, 300)
    plain = lstsq(A, b, driver=driver, rng=0)
    for A_, b_, unit in (
        (A * scale, b, 1 / scale),
        (A, b * scale, scale),
        (A * scale, b * scale, 1),
    ):
        found = lstsq(A_, b_, driver=driver, rng=0)
        close(found.x / unit, plain.x, 1e-13)
        assert found.backward_error <= ROUNDOFF
        assert found.condition == pytest.approx(plain.condition, rel=1e-6)
    b_scaled = lstsq(A, b * scale, driver=driver, rng=0)
    assert b_scaled.residual_norm / scale == pytest.approx(plain.residual_norm)


@every_driver
def test_columns_of_units_beyond_all_squares(rng: Draw, driver: str) -> None:
    A, b = entries(rng, 300, 4), entries(rng, 300)
    units = np.asarray([1e-140, 1e140, 1.0, 1e-170])
    found = lstsq(A * units, b, driver=driver, rng=0).x
    close(found * units, solved(A, b))


def test_a_ridge_carries_the_unit_of_the_data(rng: Draw) -> None:
    A, b = entries(rng, 100, 4), entries(rng, 100)
    expected = ridge(A, b, 0.5)
    found = lstsq(A * 1e-150, b, alpha=0.5 * 1e-300, rng=0).x
    close(found * 1e-150, expected)


def test_wide_data_of_extreme_scale(rng: Draw) -> None:
    A, b = entries(rng, 5, 30), entries(rng, 5)
    close(lstsq(A * 1e160, b, rng=0).x * 1e160, np.linalg.pinv(A) @ b)
    found = lstsq(A * 1e-160, b * 1e-160, alpha=2e-320, rng=0).x
    close(found, ridge(A, b, 2.0), 1e-3)  # alpha is a subnormal number of few digits


# ---------------------------------------------------------------------------------- sources


class Again:
    """A source that starts anew each time, and counts how often."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs, self.passes = pairs, 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        return iter(self.pairs)


@every_driver
@pytest.mark.parametrize("name", ["sparse", "operator", "pairs", "sparse pairs", "again", "memmap"])
def test_every_source_gives_the_answer_of_the_array(
    rng: Draw, driver: str, name: str, tmp_path: Any
) -> None:
    A, b = entries(rng, 260, 5), entries(rng, 260, 2)
    A[np.abs(A) < 0.8] = 0.0
    w = rng.uniform(0.5, 2, 260)
    pairs = [(A[i : i + 70], b[i : i + 70]) for i in range(0, 260, 70)]
    np.save(tmp_path / "A.npy", A)
    source, right = {
        "sparse": (sp.coo_array(A), b),
        "operator": (aslinearoperator(A), b),
        "pairs": (pairs, None),
        "sparse pairs": ([(sp.csc_array(X), y) for X, y in pairs], None),
        "again": (Again(pairs), None),
        "memmap": (np.load(tmp_path / "A.npy", mmap_mode="r"), b),
    }[name]
    result = lstsq(source, right, weights=w, alpha=0.5, driver=driver, rng=0)
    close(result.x, ridge(A, b, 0.5, w))
    assert np.max(result.backward_error) <= ROUNDOFF
    assert isinstance(result.x, np.ndarray)


def test_few_passes_suffice(rng: Draw) -> None:
    A, b = entries(rng, 900, 5), entries(rng, 900)
    source = Again([(A[:500], b[:500]), (A[500:], b[500:])])
    result = lstsq(source, rng=0)
    assert result.driver == "cholesky"
    # One look at the first block, one to count and check, one to choose; the Gram matrix; and a
    # pass for each correction.
    assert source.passes <= 4 + result.iterations


def test_how_blocks_are_cut_makes_no_difference_beyond_rounding(rng: Draw) -> None:
    A, b, _ = conditioned(rng, 1000, 6, 1e9, 1e-3)
    whole = lstsq(A, b, driver="sketch_cholqr", rng=0)
    for length in (1, 137, 999):
        pairs = [(A[i : i + length], b[i : i + length]) for i in range(0, 1000, length)]
        cut = lstsq(pairs, driver="sketch_cholqr", rng=0)
        # Two backward stable answers differ by this much.
        assert np.linalg.norm(A @ (cut.x - whole.x)) <= 10 * ROUNDOFF * (1 + 1e9 * 1e-3)
        assert cut.driver == whole.driver


def test_blocks_with_fewer_rows_than_columns_altogether(rng: Draw) -> None:
    A, b = entries(rng, 6, 20), entries(rng, 6)
    expected = np.linalg.pinv(A) @ b
    close(lstsq([(A[:2], b[:2]), (A[2:], b[2:])], rng=0).x, expected)
    sparse = [(sp.csr_array(A[:2]), b[:2]), (sp.csr_array(A[2:]), b[2:])]
    close(lstsq(sparse, rng=0).x, expected)


def test_one_pass_iterators_are_told_of_the_function_for_them(rng: Draw) -> None:
    A, b = entries(rng, 20, 3), entries(rng, 20)
    with pytest.raises(TypeError, match="Use sketched_lstsq"):
        lstsq(iter([(A, b)]))
    with pytest.raises(TypeError, match="Use sketched_lstsq"):
        lstsq(pair for pair in [(A, b)])


# -------------------------------------------------------------------------------- libraries


@every_driver
def test_every_library_and_precision_gives_the_same_answer(xp: Backend, driver: str) -> None:
    rng = np.random.default_rng(8)
    A, B, _ = conditioned(rng, 300, 6, 1e2, 1e-2)
    B = np.stack([B, rng.standard_normal(300)], axis=1)
    for dtype in xp.dtypes:
        unit = 2e-16 if dtype in ("float64", "complex128") else 2e-7
        turned = A + (1j * A[::-1] if dtype.startswith("complex") else 0)
        result = lstsq(xp.asarray(turned, dtype), xp.asarray(B, dtype), driver=driver, rng=0)
        close(xp.to_numpy(result.x).astype(complex), solved(turned, B).astype(complex), 1e3 * unit)
        assert type(result.x) is type(xp.asarray(A, dtype))
        assert str(result.x.dtype).endswith(dtype)
        assert np.max(xp.to_numpy(result.backward_error)) <= 5 * unit


def test_ill_conditioned_and_wide_problems_on_every_library(xp: Backend) -> None:
    rng = np.random.default_rng(9)
    u = 1e-16 if xp.has_float64 else 6e-8
    A, b, _ = conditioned(rng, 300, 6, 1e-3 / u, 1e-2)
    result = lstsq(xp.asarray(A), xp.asarray(b), alpha=0.0, rng=0)
    assert result.driver == "sketch_cholqr"
    assert result.backward_error <= 10 * u
    wide = lstsq(xp.asarray(A[:4]), xp.asarray(b[:4]), rng=0)
    assert wide.backward_error <= 10 * u
    x = xp.to_numpy(wide.x)
    assert np.linalg.norm(A[:4] @ x - b[:4]) <= 100 * u * np.linalg.norm(A[:4]) * np.linalg.norm(x)


def test_deficient_ridge_and_weights_on_every_library(xp: Backend) -> None:
    rng = np.random.default_rng(10)
    A, b, w = entries(rng, 300, 6), entries(rng, 300), rng.uniform(0.5, 2, 300)
    found = lstsq(xp.asarray(A), xp.asarray(b), alpha=2.0, weights=w, rng=0).x
    close(xp.to_numpy(found), ridge(A, b, 2.0, w), 10 * xp.tolerance)
    A[:, 3] = A[:, 1]
    with pytest.warns(AccuracyWarning, match="numerical rank 5"):
        found = lstsq(xp.asarray(A), xp.asarray(b), rng=0).x
    close(xp.to_numpy(found), np.linalg.pinv(A, rcond=1e-6) @ b, 10 * xp.tolerance)


# ------------------------------------------------------------------------------- randomness


def test_the_seed_decides_and_changes_nothing_beyond_rounding(rng: Draw) -> None:
    A, b, _ = conditioned(rng, 2000, 8, 1e9, 1e-3)
    first = lstsq(A, b, rng=3)
    np.testing.assert_array_equal(first.x, lstsq(A, b, rng=3).x)
    np.testing.assert_array_equal(first.x, lstsq(A, b, rng=np.random.SeedSequence(3)).x)
    other = lstsq(A, b, rng=4)
    assert not np.array_equal(first.x, other.x)
    assert np.linalg.norm(A @ (first.x - other.x)) <= 10 * ROUNDOFF * (1 + 1e9 * 1e-3)


def test_a_generator_is_left_alone_by_a_call_that_fails(rng: Draw) -> None:
    A, b = entries(rng, 50, 3), entries(rng, 50)
    A[7, 1] = np.nan
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    with pytest.raises(ValueError, match="A must not contain NaN or infinity, got one in row 7"):
        lstsq(A, b, driver="sketch_cholqr", rng=generator)
    assert generator.bit_generator.state == before


# --------------------------------------------------------------------------------- refusals


@every_driver
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_by_every_driver(rng: Draw, driver: str, bad: float) -> None:
    for shape in ((400, 4), (4, 40)):
        A, b = entries(rng, *shape), entries(rng, shape[0])
        A[2, 3] = bad
        with pytest.raises(
            ValueError, match="A must not contain NaN or infinity, got one in row 2"
        ):
            lstsq(A, b, driver=driver, rng=0)
        A[2, 3], b[1] = 0.0, bad
        with pytest.raises(
            ValueError, match="b must not contain NaN or infinity, got one in row 1"
        ):
            lstsq(A, b, driver=driver, rng=0)


def test_an_operator_with_bad_products_is_refused() -> None:
    A = np.ones((30, 2))
    A[3, 1] = np.inf
    with pytest.raises(ValueError, match="finite"), np.errstate(invalid="ignore"):
        lstsq(aslinearoperator(A), np.ones(30), rng=0)


BAD = {
    r"driver must be one of .* Did you mean 'cholesky'": {"driver": "choleski"},
    r"sketch must be one of .* Did you mean 'gaussian'": {"sketch": "gausian"},
    r"sketch must be one of": {"sketch": "leverage"},
    r"alpha must be at least 0\.0, got -1\.0": {"alpha": -1.0},
    r"rcond must be at least 0\.0 and less than 1\.0, got 1\.0": {"rcond": 1.0},
    r"m must be at least 3 for A of shape \(20, 3\), got 2": {"m": 2},
    r"weights must not be negative": {"weights": -np.ones(20)},
    r"weights must have one entry for each of the 20 rows": {"weights": np.ones(19)},
    r"rng must be a non-negative integer": {"rng": -1},
}


@pytest.mark.parametrize("message", BAD)
def test_a_value_out_of_range_is_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lstsq(np.eye(20, 3), np.ones(20), **BAD[message])


BAD_KINDS = {
    "driver must be one of": {"driver": 3},
    "alpha must be a real number": {"alpha": "1"},
    "m must be an integer": {"m": 40.0},
    "rng must be None, an int": {"rng": np.random.RandomState(0)},
}


@pytest.mark.parametrize("message", BAD_KINDS)
def test_a_wrong_kind_is_named(message: str) -> None:
    with pytest.raises(TypeError, match=message):
        lstsq(np.eye(20, 3), np.ones(20), **BAD_KINDS[message])


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="b must have 20 rows as A has"):
        lstsq(np.eye(20, 3), np.ones(19))
    with pytest.raises(TypeError, match="b must be given beside a matrix"):
        lstsq(np.eye(20, 3))


def test_an_inaccurate_answer_is_flagged(rng: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_solver, "MOST_CORRECTIONS", 1)
    monkeypatch.setattr(_drivers, "_FALLING", ("cholesky",))
    A, b, _ = conditioned(rng, 400, 5, 5e6, 1e-9)
    with pytest.warns(AccuracyWarning, match=r"the backward error is .* above ten roundoffs"):
        result = lstsq(A, b, driver="cholesky", rng=0)
    assert result.status == "inaccurate"
    assert result.backward_error > 10 * ROUNDOFF
    assert result.backward_error == pytest.approx(backward_error(A, b, result.x), rel=0.1)


# -------------------------------------------------------------------------------- properties


def test_the_result_is_frozen_and_leaves_arrays_out_of_its_repr(rng: Draw) -> None:
    result = lstsq(entries(rng, 30, 2), entries(rng, 30), rng=0)
    assert isinstance(result, LstsqResult)
    assert "array" not in repr(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.rank = 3  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 12),
    k=st.integers(0, 3),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(["float32", "float64", "complex64", "complex128"]),
    exponent=st.integers(-20, 20),
    spread=st.integers(0, 9),
    rank=st.integers(1, 12),
    driver=st.sampled_from(DRIVERS),
)
def test_any_problem_is_solved_with_a_small_backward_error(
    n: int,
    d: int,
    k: int,
    seed: int,
    dtype: str,
    exponent: int,
    spread: int,
    rank: int,
    driver: str,
) -> None:
    rng = np.random.default_rng(seed)
    is_complex = dtype.startswith("complex")
    A = entries(rng, n, min(rank, d), is_complex=is_complex)
    A = A @ entries(rng, min(rank, d), d, is_complex=is_complex)
    A = A * 10.0**exponent * 10.0 ** rng.uniform(-spread / 2, spread / 2, d)
    b = entries(rng, n, *([k] if k else []), is_complex=is_complex)
    A, b = A.astype(dtype), b.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        result = lstsq(A, b, driver=driver, rng=seed)
    u = np.finfo(dtype).eps / 2
    assert np.all(np.isfinite(result.x))
    assert result.x.dtype == dtype
    assert np.max(result.backward_error) <= 10 * u
    assert result.rank <= min(n, d)
    exact = np.max(backward_error(A, b, result.x))
    assert exact <= 10 * u
