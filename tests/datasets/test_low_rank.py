"""Entries of low-rank matrices: factors, sampling law, noise, gross errors, and the error."""

import numpy as np
import pytest

from linalgkit import datasets
from linalgkit._core.array import dtype_name, to_numpy

SHAPE, RANK, COUNT = (70, 50), 4, 1500


def small(**options):
    return datasets.low_rank_entries(SHAPE, RANK, COUNT, **{"rng": 0, **options})


def dense(problem):
    return to_numpy(problem.U) @ to_numpy(problem.V).conj().T


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_singular_values_are_geometric_and_entries_of_size_one(dtype):
    problem = small(cond=30.0, dtype=dtype)
    A, tol = dense(problem), 1e-4 if dtype in ("float32", "complex64") else 1e-12
    s = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(s[:RANK], problem.singular_values, rtol=tol)
    assert s[RANK] < tol * s[0]
    np.testing.assert_allclose(s[0] / s[1], 30.0 ** (1 / 3), rtol=tol)
    np.testing.assert_allclose(np.mean(np.abs(A) ** 2), 1.0, rtol=tol)
    for F in (problem.U, problem.V):
        np.testing.assert_allclose(
            F.conj().T @ F, np.diag(problem.singular_values), atol=tol * s[0]
        )
    assert problem.matrix.dtype == dtype
    if problem.U.dtype.kind == "c":
        assert abs(A.imag).max() > 0.1


def test_exact_entries_are_those_of_the_matrix_in_order():
    problem = small()
    R = problem.matrix
    assert R.has_canonical_format
    assert R.nnz == COUNT
    rows, cols, values, shape = problem.triples()
    assert shape == problem.shape == SHAPE
    assert np.all(np.diff(rows * SHAPE[1] + cols) > 0)
    np.testing.assert_allclose(values, dense(problem)[rows, cols], atol=1e-13)
    np.testing.assert_allclose(R.data, problem.truth(rows, cols), atol=1e-13)
    assert problem.oversampling == COUNT / (RANK * (sum(SHAPE) - RANK))
    assert not problem.outliers.any()


def test_uniform_sampling_sees_every_entry_equally_often():
    seen = np.zeros((6, 5))
    for seed in range(2000):
        R = datasets.low_rank_entries((6, 5), 1, 9, rng=seed).matrix
        seen[np.repeat(np.arange(6), np.diff(R.indptr)), R.indices] += 1
    # Each is binomial(2000, 0.3), of standard deviation 20.5; thirty of them.
    assert np.abs(seen - 600).max() < 4.5 * 20.5


def test_columns_follow_the_law_and_crowded_ones_are_full():
    m, n, count = 2000, 300, 60_000
    for skew in (0.5, 1.0):
        R = datasets.low_rank_entries((m, n), 2, count, skew=skew, rng=3).matrix
        numbers = np.sort(np.bincount(R.indices, minlength=n))[::-1].astype(float)
        law = np.arange(1.0, n + 1) ** -skew
        expected = count * law / law.sum()
        if skew == 1.0:
            assert numbers[0] == m  # the law alone would give it 4.8 m
            full = expected > m
            assert numbers[: full.sum()].min() > 0.95 * m
        else:
            spread = np.sqrt(expected)
            assert np.abs(numbers - expected).max() < 6 * spread.max()
            assert abs(numbers[:10].sum() / expected[:10].sum() - 1) < 0.05
        rows = np.diff(R.indptr)
        # Rows are hit uniformly: the variance of a count is at most its mean, 30.
        assert abs(rows.mean() - 30) < 1e-12
        assert 0.3 < rows.var() / 30 < 1.2


def test_all_entries_can_be_seen():
    R = datasets.low_rank_entries((9, 7), 2, 63, skew=2.0, rng=0).matrix
    assert np.array_equal(np.diff(R.indptr), np.full(9, 7))


def test_noise_and_gross_errors_have_the_size_that_was_asked_for():
    clean, noisy, gross = (
        datasets.low_rank_entries((200, 150), 3, 12_000, rng=1, **options)
        for options in ({}, {"noise": 0.5}, {"outliers": 0.1, "outlier_size": 7.0})
    )
    for other in (noisy, gross):  # the same factors and the same pattern
        assert np.array_equal(clean.U, other.U)
        assert np.array_equal(clean.matrix.indices, other.matrix.indices)
    noise = noisy.matrix.data - clean.matrix.data
    # Variances of 12000 and of 1200 squares: relative standard deviation sqrt(2 / number).
    assert abs(np.mean(noise**2) / 0.25 - 1) < 5 * np.sqrt(2 / 12_000)
    errors = gross.matrix.data - clean.matrix.data
    assert gross.outliers.sum() == 1200
    assert np.array_equal(errors != 0, gross.outliers)
    assert abs(np.mean(errors[gross.outliers] ** 2) / 49 - 1) < 5 * np.sqrt(2 / 1200)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_relative_error_is_that_of_the_dense_matrices(dtype):
    problem = small(dtype=dtype, cond=5.0)
    assert problem.relative_error(problem.U, problem.V) < 1e-14
    rng = np.random.default_rng(0)
    U, V = (rng.standard_normal((a, 6)).astype(dtype) for a in SHAPE)
    V = V * (1 + 1j) if dtype == "complex128" else V
    A = dense(problem)
    expected = np.linalg.norm(U @ V.conj().T - A) / np.linalg.norm(A)
    assert problem.relative_error(U, V) == pytest.approx(expected, rel=1e-12)
    near = problem.U + 1e-9 * rng.standard_normal(problem.U.shape)
    expected = np.linalg.norm((near - problem.U) @ problem.V.conj().T) / np.linalg.norm(A)
    assert problem.relative_error(near, problem.V) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="U and V must have the shapes"):
        problem.relative_error(U, V[:-1, :])


def test_every_line_has_the_fewest_entries_asked_for():
    problem = datasets.low_rank_entries((60, 70), 2, 700, min_entries=4, rng=0)
    R = problem.matrix
    assert np.diff(R.indptr).min() >= 4
    assert np.bincount(R.indices).min() >= 4
    free = [datasets.low_rank_entries((60, 70), 2, 700, rng=s).matrix for s in range(5)]
    assert min(int(np.bincount(R.indices, minlength=70).min()) for R in free) < 4
    with pytest.raises(ValueError, match="min_entries must be such that"):
        datasets.low_rank_entries((60, 70), 2, 700, min_entries=10, skew=1.0, rng=0)


def test_the_same_problem_in_every_library(xp):
    like = xp.asarray(np.zeros(1))
    problem, host = small(like=like), small()
    rows, cols, values, _ = problem.triples()
    for found, expected in ((problem.U, host.U), (values, host.matrix.data)):
        assert dtype_name(xp.xp, found.dtype) == dtype_name(xp.xp, like.dtype)
        tol = 1e-5 if "32" in dtype_name(xp.xp, like.dtype) else 1e-12
        np.testing.assert_allclose(to_numpy(found), expected, atol=tol)
    assert np.array_equal(to_numpy(cols), host.matrix.indices)
    assert problem.relative_error(problem.U, problem.V) < 1e-14
    i = np.asarray([3, 5])
    np.testing.assert_allclose(problem.truth(rows[:4], cols[:4])[0], dense(host)[0, int(cols[0])],
                               atol=1e-5)  # fmt: skip
    assert problem.truth(i, i).shape == (2,)


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"shape": 5}, TypeError, "shape must be two integers"),
        ({"shape": (5, 4, 3)}, ValueError, "shape must be two integers"),
        ({"shape": (0, 4)}, ValueError, r"shape\[0\] must be at least 1"),
        ({"rank": 0}, ValueError, "rank"),
        ({"rank": 51}, ValueError, r"rank must be between 1 and 50 for the shape \(70, 50\)"),
        ({"n_entries": 3501}, ValueError, "n_entries must be between 1 and 3500"),
        ({"n_entries": 3.5}, TypeError, "n_entries"),
        ({"cond": 0.5}, ValueError, "cond"),
        ({"skew": -1.0}, ValueError, "skew"),
        ({"noise": -1.0}, ValueError, "noise"),
        ({"outliers": 1.5}, ValueError, "outliers"),
        ({"outlier_size": -1.0}, ValueError, "outlier_size"),
        ({"min_entries": 22}, ValueError, "min_entries must be between 0 and 21"),
        ({"dtype": "float16"}, ValueError, "dtype"),
    ],
    ids=range(14),
)
def test_bad_arguments_are_refused(options, kind, why):
    given = {"shape": SHAPE, "rank": RANK, "n_entries": COUNT, **options}
    with pytest.raises(kind, match=why):
        datasets.low_rank_entries(**given)
