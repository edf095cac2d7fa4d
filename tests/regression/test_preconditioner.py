"""The sketch preconditioner: conditioning, SciPy's solvers, deficient rank, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator, lsmr, lsqr

from linalgkit import AccuracyWarning
from linalgkit.regression import sketch_preconditioner
from tests.conftest import Backend
from tests.regression.problems import conditioned, entries, solved

Draw = np.random.Generator


def preconditioned_condition(A: np.ndarray, P: Any) -> float:
    return float(np.linalg.cond(A @ (P @ np.eye(P.shape[1]))))


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("cond", [1e0, 1e6, 1e12])
def test_the_product_is_well_conditioned_whatever_the_matrix(
    rng: Draw, is_complex: bool, cond: float
) -> None:
    A, _, _ = conditioned(rng, 3000, 20, cond, 0.0, is_complex=is_complex)
    A = A * 10.0 ** rng.uniform(-6, 6, 20)
    P = sketch_preconditioner(A, rng=0)
    assert isinstance(P, LinearOperator)
    assert (P.shape, P.dtype) == ((20, 20), A.dtype)
    # (1 + sqrt(d / m)) / (1 - sqrt(d / m)) for m = 8 d + 16 is 2.0.
    assert preconditioned_condition(A, P) < 2.6


def test_both_products_belong_to_one_matrix(rng: Draw) -> None:
    A = entries(rng, 500, 6, is_complex=True)
    P = sketch_preconditioner(A, rng=0)
    dense = P @ np.eye(6)
    np.testing.assert_allclose(P.rmatmat(np.eye(6, dtype=complex)), dense.conj().T, rtol=1e-12)
    np.testing.assert_allclose(P @ np.ones(6), dense.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(P.H @ np.ones(6), dense.conj().sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("solver", [lsqr, lsmr])
@pytest.mark.parametrize("kind", ["dense", "sparse", "operator"])
def test_scipys_solvers_need_a_few_dozen_iterations(rng: Draw, solver: Any, kind: str) -> None:
    A, b, _ = conditioned(rng, 2000, 60, 1e9, 1e-9)
    source = {"dense": A, "sparse": sp.csr_array(A), "operator": aslinearoperator(A)}[kind]
    P = sketch_preconditioner(source, rng=0)
    y, _, iterations, *_ = solver(aslinearoperator(A) @ P, b, atol=1e-13, btol=1e-13)
    assert iterations < 40
    assert np.linalg.norm(P @ y - solved(A, b)) <= 1e-2
    # Negative control: without it they do not get there in ten times as many.
    plain = solver(aslinearoperator(A), b, atol=1e-13, btol=1e-13, **{_limit(solver): 400})[0]
    assert np.linalg.norm(plain - solved(A, b)) > 0.1


def _limit(solver: Any) -> str:
    return "iter_lim" if solver is lsqr else "maxiter"


def test_deficient_rank_gives_fewer_columns_and_a_warning(rng: Draw) -> None:
    A, b = entries(rng, 800, 6), entries(rng, 800)
    A[:, 4] = A[:, 1] - A[:, 2]
    A[:, 5] = 0.0
    with pytest.warns(AccuracyWarning, match="numerical rank 4: P has 4 columns"):
        P = sketch_preconditioner(A, rng=0)
    assert P.shape == (6, 4)
    assert preconditioned_condition(A, P) < 3
    y = solved(A @ (P @ np.eye(4)), b)
    fitted = A @ (P @ y)
    np.testing.assert_allclose(A.T @ (b - fitted), 0, atol=1e-10)
    assert (P @ y)[5] == 0


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_units_of_the_matrix_are_units_of_the_inverse(rng: Draw, scale: float) -> None:
    A = entries(rng, 600, 5)
    plain = sketch_preconditioner(A, rng=0) @ np.eye(5)
    found = sketch_preconditioner(A * scale, rng=0) @ np.eye(5)
    np.testing.assert_allclose(found * scale, plain, rtol=1e-12)


def test_every_library_gets_products_on_its_own_arrays(xp: Backend) -> None:
    rng = np.random.default_rng(3)
    A = entries(rng, 300, 6)
    for dtype in xp.dtypes:
        X = xp.asarray(A, dtype)
        P = sketch_preconditioner(X, rng=0)
        forward = P.matmat(xp.asarray(np.eye(6), dtype))
        backward = P.rmatmat(xp.asarray(np.eye(6), dtype))
        assert str(forward.dtype).endswith(dtype)
        product = A @ xp.to_numpy(forward)
        assert np.linalg.cond(product) < 2.6
        np.testing.assert_allclose(
            xp.to_numpy(backward), xp.to_numpy(forward).conj().T, rtol=1e-4, atol=1e-6
        )


def test_rows_of_the_sketch(rng: Draw) -> None:
    A = entries(rng, 2000, 10)
    coarse = preconditioned_condition(A, sketch_preconditioner(A, m=20, rng=0))
    fine = preconditioned_condition(A, sketch_preconditioner(A, m=1000, rng=0))
    whole = preconditioned_condition(A, sketch_preconditioner(A, m=2000, rng=0))
    assert whole < 1 + 1e-10 < fine < 1.5 < coarse
    np.testing.assert_array_equal(
        sketch_preconditioner(A, rng=7) @ np.ones(10), sketch_preconditioner(A, rng=7) @ np.ones(10)
    )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"at least as many rows as columns, got shape \(2, 3\)"):
        sketch_preconditioner(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"m must be at least 3 for A of shape \(9, 3\), got 2"):
        sketch_preconditioner(np.ones((9, 3)), m=2)
    with pytest.raises(ValueError, match="A must not contain NaN"):
        sketch_preconditioner(np.full((300, 3), np.nan))
    with pytest.raises(ValueError, match="A must be 2-D"):
        sketch_preconditioner(np.ones(3))
    with pytest.raises(TypeError, match="an array is required"):
        sketch_preconditioner([[1.0], [2.0]])
    with pytest.raises(ValueError, match="A must not be zero"):
        sketch_preconditioner(np.zeros((30, 3)))
