"""One-shot, weighted and tree decompositions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from linalgkit import AccuracyWarning
from linalgkit.svd import (
    tree_svd,
    truncated_svd,
    weighted_svd,
)
from tests.conftest import Backend
from tests.svd.problems import check_certificate, cut, draw, matrix, optimal

# ------------------------------------------------------------------------------ one shot


@pytest.mark.parametrize("form", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("spectrum", ["slow", "fast", "low"])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (60, 90)], ids=str)
def test_leading_triplets_are_those_of_lapack(
    shape: tuple[int, int], is_complex: bool, spectrum: str, form: str
) -> None:
    A, s = matrix(np.random.default_rng(1), *shape, spectrum, is_complex=is_complex)
    given = {"dense": lambda: A, "sparse": lambda: sp.csc_array(A),
             "operator": lambda: aslinearoperator(A)}[form]()  # fmt: skip
    result = truncated_svd(given, 7, rng=0)
    rank = 5 if spectrum == "low" else 7
    np.testing.assert_allclose(result.s, s[:rank], rtol=1e-9)
    assert result.status == ("rank_deficient" if spectrum == "low" else "converged")
    check_certificate(result, A, rtol=1e-8)
    error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    assert abs(result.error_fro - error) <= 1e-12 * np.linalg.norm(A)


@pytest.mark.parametrize("tol", [0.5, 0.1])
def test_a_tolerance_is_met(tol: float) -> None:
    A, s = matrix(np.random.default_rng(2), 300, 400)
    result = truncated_svd(A, tol=tol, rng=0)
    norm = np.linalg.norm(A)
    assert result.error_fro <= tol * norm * (1 + 1e-9)
    best = next(k for k in range(len(s)) if optimal(s, k) <= tol * norm)
    assert best <= result.rank <= 1.1 * best + 2
    with pytest.warns(AccuracyWarning, match="above tol"):
        assert truncated_svd(A, 2, tol=tol / 10, rng=0).status == "max_rank"


@pytest.mark.parametrize("scale", [1e150, 1e-150, 0.0])
def test_one_shot_answers_scale(scale: float) -> None:
    A, _ = matrix(np.random.default_rng(3), 280, 300)
    result, plain = truncated_svd(scale * A, 4, rng=0), truncated_svd(A, 4, rng=0)
    if scale == 0:
        assert (result.rank, result.error_fro, result.status) == (0, 0.0, "rank_deficient")
        return
    np.testing.assert_allclose(result.s / scale, plain.s, rtol=1e-12)
    assert result.error_fro / scale == pytest.approx(plain.error_fro)


def test_every_library_has_the_same_triplets(xp: Backend) -> None:
    for dtype in xp.dtypes:
        A, s = matrix(np.random.default_rng(4), 270, 280, "fast",
                      is_complex=dtype.startswith("complex"))  # fmt: skip
        result = truncated_svd(xp.asarray(A, dtype), 5, rng=0)
        tolerance = 1e-5 if dtype in ("float32", "complex64") else 1e-10
        np.testing.assert_allclose(xp.to_numpy(result.s), s[:5], rtol=tolerance)
        assert result.U.dtype == xp.asarray(A, dtype).dtype


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ValueError, "rank or tol must be given"),
        ({"rank": 0}, ValueError, "rank must be between 1 and 4"),
        ({"rank": 5}, ValueError, "rank must be between 1 and 4"),
        ({"tol": -1.0}, ValueError, "tol must be at least 0"),
        ({"rank": 1, "A": np.full((4, 5), np.nan)}, ValueError, "A must not contain NaN"),
        ({"rank": 1, "A": "text"}, TypeError, "A"),
    ],
    ids=str,
)
def test_bad_one_shot_arguments_are_refused(
    arguments: dict[str, Any], error: type, match: str
) -> None:
    with pytest.raises(error, match=match):
        truncated_svd(arguments.pop("A", np.ones((4, 5))), **arguments)


def flat_problem(kind: str) -> Any:
    """Return a sparse matrix whose singular values crowd together."""
    rng = np.random.default_rng(20)
    if kind == "random":
        return sp.random_array((1500, 900), density=4e-3, rng=rng)
    if kind == "wide":
        return sp.random_array((700, 1800), density=4e-3, rng=rng).tocsc()
    if kind == "bernoulli":
        return sp.random_array(
            (800, 800), density=2e-2, rng=rng, data_sampler=lambda size: np.ones(size)
        )
    words = np.minimum(rng.zipf(1.3, 40000) - 1, 10**6)
    words = words[words < 1200]
    pages = rng.integers(0, 800, len(words))
    counts = sp.coo_array((np.ones(len(words)), (words, pages)), shape=(1200, 800)).tocsr()
    counts.sum_duplicates()
    counts.data = 1 + np.log(counts.data)
    return sp.diags_array(np.log(801 / (1 + np.diff(counts.indptr)))) @ counts


@pytest.mark.parametrize("kind", ["random", "wide", "bernoulli", "tf-idf"])
@pytest.mark.parametrize("rank", [1, 20, 100])
def test_flat_spectra_settle(kind: str, rank: int) -> None:
    A = flat_problem(kind)
    result = truncated_svd(A, rank, rng=0)  # a warning would fail the test
    s = np.linalg.svd(A.toarray(), compute_uv=False)
    assert result.status == "converged"
    np.testing.assert_allclose(result.s, s[:rank], rtol=1e-9)
    np.testing.assert_allclose(result.U.T @ result.U, np.eye(rank), atol=1e-12)
    np.testing.assert_allclose(result.Vh @ result.Vh.T, np.eye(rank), atol=1e-12)
    error = np.linalg.norm(A.toarray() - (result.U * result.s) @ result.Vh)
    assert result.error_fro == pytest.approx(error, rel=1e-12)
    assert result.error_fro == pytest.approx(optimal(s, rank), rel=1e-9)


def test_a_space_that_does_not_settle_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linalgkit.svd._krylov._MOST_RESTARTS", 1)
    A = flat_problem("random")
    with pytest.warns(AccuracyWarning, match="Krylov space has not settled"):
        result = truncated_svd(A, 20, rng=0)
    assert result.status == "max_iter"
    check_certificate(result, A.toarray())
    error = np.linalg.norm(A.toarray() - (result.U * result.s) @ result.Vh)
    assert result.error_fro == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("form", ["sparse", "operator", "dense"])
def test_multiple_singular_values_are_found_as_often_as_they_occur(
    form: str, is_complex: bool
) -> None:
    # Forty equal ones: a block of 8 or 16 vectors meets no more of them than it has columns.
    m, n = (1300, 1100) if form == "dense" else (500, 400)
    rng = np.random.default_rng(21)
    s = np.r_[np.ones(40), 0.5 * np.linspace(1, 0.1, n - 40)]
    U, V = (np.linalg.qr(draw(rng, k, n, is_complex=is_complex))[0] for k in (m, n))
    A = (U * s) @ V.conj().T
    given = {"sparse": sp.csr_array, "operator": aslinearoperator, "dense": np.asarray}[form](A)
    result = truncated_svd(given, 60, rng=0)
    np.testing.assert_allclose(result.s, s[:60], rtol=1e-9)
    assert result.status == "converged"


def test_identities_and_orthogonal_matrices_are_done_at_once() -> None:
    eye = truncated_svd(sp.eye_array(3000), 30, rng=0)
    np.testing.assert_allclose(eye.s, np.ones(30), rtol=1e-13)
    assert eye.error_fro == pytest.approx(np.sqrt(2970))
    turned = np.roll(np.arange(2000), 7)
    result = truncated_svd(sp.eye_array(2000).tocsr()[turned], 5, rng=0)
    np.testing.assert_allclose(result.s, np.ones(5), rtol=1e-13)


@pytest.mark.parametrize("form", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("shape", [(900, 400), (400, 900), (1500, 1200)], ids=str)
def test_graded_spectra_are_resolved_beyond_squares(shape: tuple[int, int], form: str) -> None:
    A, s = matrix(np.random.default_rng(22), *shape, "graded")
    given = {"sparse": sp.csr_array, "operator": aslinearoperator, "dense": np.asarray}[form](A)
    result = truncated_svd(given, 36, rng=0)
    np.testing.assert_allclose(result.s, s[:36], rtol=1e-8, atol=1e-14)
    error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    assert abs(result.error_fro - error) <= 1e-14


def test_the_spectral_bound_of_a_gram_matrix_is_tight() -> None:
    A, _ = matrix(np.random.default_rng(23), 700, 600, "flat")
    for given in (A, A.T.copy()):
        result = truncated_svd(given, 10, rng=0)
        rest = given - (result.U * result.s) @ result.Vh
        size = np.linalg.norm(rest, 2)
        assert size <= result.error_spectral_bound <= 1.02 * size
        assert result.error_fro > 20 * size
        check_certificate(result, given)
    few = truncated_svd(A.astype(np.float32), 10, rng=0)
    rest = A.astype(np.float32) - (few.U * few.s) @ few.Vh
    assert np.linalg.norm(rest.astype(float), 2) <= few.error_spectral_bound


@pytest.mark.parametrize(
    "form", ["csr", "csc", "coo", "bsr", "dia", "dok", "lil", "matrix", "transposed", "duplicates"]
)
def test_every_sparse_format_gives_the_same(form: str) -> None:
    A = sp.random_array((320, 300), density=0.05, rng=np.random.default_rng(24)).tocsr()
    if form == "dia":
        A = sp.diags_array([1.0, 3.0, 0.5], offsets=[-2, 0, 7], shape=(320, 300)).tocsr()
        A = sp.csr_array(A * np.linspace(1, 2, 300))
    dense = A.toarray()
    given: Any = {
        "matrix": lambda: sp.csr_matrix(A),
        "transposed": lambda: A.T.tocsr().T,
        "duplicates": lambda: sp.coo_array(
            (
                np.r_[A.tocoo().data / 2, A.tocoo().data / 2],
                tuple(np.r_[place, place] for place in A.tocoo().coords),
            ),
            shape=A.shape,
        ),
    }.get(form, lambda: A.asformat(form))()
    kept = given.copy()
    result = truncated_svd(given, 6, rng=0)
    np.testing.assert_allclose(result.s, np.linalg.svd(dense, compute_uv=False)[:6], rtol=1e-9)
    assert (kept != given).nnz == 0
    if form in ("csr", "csc"):
        for part in (given.data, given.indices, given.indptr):
            part.setflags(write=False)
        np.testing.assert_array_equal(truncated_svd(given, 6, rng=0).s, result.s)


def test_layout_and_write_protection_of_dense_matrices_do_not_matter() -> None:
    A, s = matrix(np.random.default_rng(25), 420, 300)
    A.setflags(write=False)
    wide = np.zeros((840, 600))
    wide[::2, ::2] = A
    for given in (A, np.asfortranarray(A), wide[::2, ::2], A.astype(">f8"), A[::-1, :]):
        np.testing.assert_allclose(truncated_svd(given, 5, rng=0).s, s[:5], rtol=1e-9)


@pytest.mark.parametrize("form", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (3, 5000), (5000, 3)], ids=str)
def test_narrow_matrices(shape: tuple[int, int], form: str) -> None:
    A = draw(np.random.default_rng(26), *shape, is_complex=True)
    s = np.linalg.svd(A, compute_uv=False)
    given = {"sparse": sp.csr_array, "operator": aslinearoperator, "dense": np.asarray}[form](A)
    for rank in {1, min(shape)}:
        result = truncated_svd(given, rank, rng=0)
        np.testing.assert_allclose(result.s, s[:rank], rtol=1e-12)
        check_certificate(result, A, rtol=1e-10)
    np.testing.assert_allclose(truncated_svd(given, tol=0.0, rng=0).s, s, rtol=1e-12)
    with pytest.raises(ValueError, match="rank must be"):
        truncated_svd(given, min(shape) + 1)


class OneByOne(LinearOperator):
    """A matrix of which only products with vectors are known."""

    def __init__(self, A: Any, factor: float = 1.0, dtype: Any = None) -> None:
        super().__init__(A.dtype if dtype is None else dtype, A.shape)
        self.A, self.factor = A, factor

    def _matvec(self, x: Any) -> Any:
        return (self.A @ x) * self.factor

    def _rmatvec(self, x: Any) -> Any:
        return (self.A.conj().T @ x) * self.factor


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(320, 300), (300, 320)], ids=str)
def test_operators_of_every_precision(shape: tuple[int, int], dtype: str) -> None:
    A, s = matrix(np.random.default_rng(27), *shape, is_complex=dtype.startswith("complex"))
    A = A.astype(dtype)
    tolerance = 1e-5 if dtype in ("float32", "complex64") else 1e-9
    for rank in (4, 40):
        result = truncated_svd(OneByOne(A), rank, rng=0)
        np.testing.assert_allclose(result.s, s[:rank], rtol=tolerance)
        assert result.U.dtype == result.Vh.dtype == np.dtype(dtype)
        assert result.status == "converged"
        error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
        assert result.error_fro == pytest.approx(error, rel=tolerance)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e300, 1e-300])
def test_operators_are_scaled(scale: float) -> None:
    A, s = matrix(np.random.default_rng(28), 300, 290)
    plain = truncated_svd(OneByOne(A), 5, rng=0)
    result = truncated_svd(OneByOne(A, scale), 5, rng=0)
    np.testing.assert_allclose(result.s / scale, s[:5], rtol=1e-9)
    assert result.error_fro / scale == pytest.approx(plain.error_fro)
    low, high = result.sigma_bounds()
    assert np.all(np.asarray(low) <= result.s)
    assert np.all(np.asarray(high) >= result.s)
    by_tolerance = truncated_svd(OneByOne(A, scale), tol=0.3, rng=0)
    assert by_tolerance.rank == truncated_svd(A, tol=0.3, rng=0).rank


def test_an_object_with_products_of_vectors_alone_serves() -> None:
    class Plain:
        def __init__(self, A: Any) -> None:
            self.shape, self.dtype = A.shape, A.dtype
            self.matvec, self.rmatvec = (lambda x: A @ x), (lambda x: A.conj().T @ x)

    A, s = matrix(np.random.default_rng(29), 300, 280, is_complex=True)
    np.testing.assert_allclose(truncated_svd(Plain(A), 5, rng=0).s, s[:5], rtol=1e-9)


def faulty(name: str) -> Any:
    A, _ = matrix(np.random.default_rng(30), 300, 280, is_complex=name == "unconjugated")

    def late(x: Any) -> Any:
        return A @ x if np.count_nonzero(x) < 100 else np.nan * (A @ x)

    products = {
        "nan": (lambda x: A @ x * np.nan, lambda x: A.T @ x),
        "infinite": (lambda x: A @ x * np.inf, lambda x: A.T @ x),
        "late": (late, lambda x: A.T @ x),
        "nan adjoint": (lambda x: A @ x, lambda x: A.T @ x + np.nan),
        "no adjoint": (lambda x: A @ x, None),
        "unconjugated": (lambda x: A @ x, lambda x: A.T @ x),
        "twice": (lambda x: A @ x, lambda x: 2.0 * (A.T @ x)),
        "complex": (lambda x: A @ x * 1j, lambda x: A.T @ x * 1j),
    }[name]
    return LinearOperator(A.shape, *products, dtype=A.dtype)


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("nan", ValueError, "A must not contain NaN or infinity, got a product A X"),
        ("infinite", ValueError, "A must not contain NaN or infinity, got a product A X"),
        ("late", ValueError, "A must not contain NaN or infinity, got a product A X"),
        ("nan adjoint", ValueError, r"A must not contain NaN or infinity, got a product A\^H X"),
        ("no adjoint", TypeError, "A must have a product with its adjoint"),
        ("unconjugated", ValueError, "A must have products with one matrix and its adjoint"),
        ("twice", ValueError, "A must have products with one matrix and its adjoint"),
        ("complex", TypeError, "A must have real products as its dtype float64 tells"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_faulty_operators_are_refused_and_leave_the_generator(
    name: str, error: type, match: str
) -> None:
    rng = np.random.default_rng(31)
    before = rng.bit_generator.state
    with pytest.raises(error, match=match):
        truncated_svd(faulty(name), 5, rng=rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("form", ["dense", "sparse", "operator"])
def test_one_shots_are_reproducible(form: str) -> None:
    A, _ = matrix(np.random.default_rng(32), 1200, 1100 if form == "dense" else 300, "flat")
    given = {"sparse": sp.csr_array, "operator": aslinearoperator, "dense": np.asarray}[form](A)
    first, second = truncated_svd(given, 3, rng=5), truncated_svd(given, 3, rng=5)
    np.testing.assert_array_equal(first.U, second.U)
    third = truncated_svd(given, 3, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(first.Vh, third.Vh)


@pytest.mark.parametrize("tol", [0.9, 0.3, 0.03, 1e-9])
@pytest.mark.parametrize("form", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("shape", [(300, 400), (1200, 300)], ids=str)
def test_tolerances_take_few_triplets_for_every_kind(
    shape: tuple[int, int], form: str, tol: float
) -> None:
    A, s = matrix(np.random.default_rng(33), *shape, "fast")
    given = {"sparse": sp.csr_array, "operator": aslinearoperator, "dense": np.asarray}[form](A)
    result = truncated_svd(given, tol=tol, rng=0)
    norm = np.linalg.norm(A)
    error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    assert result.status == "converged"
    assert error <= tol * norm * (1 + 1e-6)
    best = next(k for k in range(len(s)) if optimal(s, k) <= tol * norm)
    assert best <= result.rank <= best + 1
    capped = truncated_svd(given, best + 3, tol=tol, rng=0)
    assert capped.status == "converged"
    assert best <= capped.rank <= best + 1


# --------------------------------------------------------------------------------- trees


@pytest.mark.parametrize("fanin", [2, 3, 8])
def test_trees_have_exact_accounts(fanin: int) -> None:
    A, s = matrix(np.random.default_rng(5), 50, 300, is_complex=True)
    blocks = list(cut(A, 13))
    with ThreadPoolExecutor(2) as pool:
        result = tree_svd(blocks, 8, fanin=fanin, map=pool.map, compute_v=True)
    check_certificate(result, A, rtol=1e-7)
    assert result.error_fro <= 1.1 * optimal(s, 8)
    serial = tree_svd(iter(blocks), 8, fanin=fanin, compute_v=True)
    np.testing.assert_array_equal(serial.s, result.s)
    with pytest.raises(ValueError, match="fanin must be at least 2"):
        tree_svd(blocks, 8, fanin=1)
    with pytest.raises(ValueError, match="blocks must hold one block"):
        tree_svd([], 8)


# ------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_weighted_errors_are_the_smallest_there_are(is_complex: bool) -> None:
    rng = np.random.default_rng(6)
    W = draw(rng, 12, 9, is_complex=is_complex)
    rows, columns = rng.uniform(0, 3, 12), rng.uniform(0, 3, 9)
    rows[3] = columns[5] = 0.0
    found = weighted_svd(W, 4, row_weight=rows, col_weight=columns)
    rest = W - found.L @ found.R
    weights = np.sqrt(rows)[:, None] * np.sqrt(columns)
    error = np.linalg.norm(weights * rest)
    best = optimal(np.linalg.svd(weights * W, compute_uv=False), 4)
    assert found.error == pytest.approx(error) == pytest.approx(best)
    # Rows of weight zero are fitted as well as the other factor allows.
    free = np.linalg.norm(np.sqrt(columns) * rest[3])
    other = found.R * np.sqrt(columns)
    least = np.linalg.lstsq(other.T, np.sqrt(columns) * W[3], rcond=None)[0]
    assert free == pytest.approx(np.linalg.norm(least @ other - np.sqrt(columns) * W[3]))


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
def test_metrics_are_taken_on_both_sides(scale: float) -> None:
    rng = np.random.default_rng(7)
    W = draw(rng, 8, 6, is_complex=True)
    G, H = (X @ X.conj().T + np.eye(len(X)) for X in (draw(rng, 8, 8), draw(rng, 6, 6)))
    found = weighted_svd(scale * W, 3, row_metric=G, col_metric=H)
    rest = W - found.L @ found.R / scale
    error = np.sqrt(np.trace(rest.conj().T @ G @ rest @ H).real)
    assert found.error / scale == pytest.approx(error)
    best = np.linalg.cholesky(G).conj().T @ W @ np.linalg.cholesky(H)
    assert error == pytest.approx(optimal(np.linalg.svd(best, compute_uv=False), 3))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_weights_of_any_range(dtype: str) -> None:
    # Weights from 1e-300 to 1e300, zeros among them. The weighted error is the smallest there is
    # to rounding, and light rows or columns are fitted as well as the other factor allows.
    rng = np.random.default_rng(34)
    W = draw(rng, 14, 11, is_complex=dtype == "complex64").astype(dtype)
    rows, columns = 10.0 ** rng.uniform(-300, 300, 14), 10.0 ** rng.uniform(-300, 300, 11)
    rows[3] = columns[5] = 0.0
    for row_weight, col_weight in ((rows, None), (None, columns), (rows, columns)):
        found = weighted_svd(W, 4, row_weight=row_weight, col_weight=col_weight)
        assert np.isfinite(found.L).all()
        assert np.isfinite(found.R).all()
        roots = [
            np.ones(k) if w is None else np.sqrt(w) / np.sqrt(w.max())
            for w, k in ((row_weight, 14), (col_weight, 11))
        ]
        weights = roots[0][:, None] * roots[1]
        error = np.linalg.norm(weights * (W - found.L @ found.R))
        best = optimal(np.linalg.svd(weights * W, compute_uv=False), 4)
        assert abs(error - best) <= 1e-14 * np.linalg.norm(weights * W)
        if col_weight is None:
            Q = np.linalg.qr(found.R.conj().T)[0]
            np.testing.assert_allclose(found.L @ found.R, W @ Q @ Q.conj().T, atol=1e-10)
        elif row_weight is None:
            Q, light = np.linalg.qr(found.L / np.abs(found.L).max(axis=0))[0], roots[1] < 1e-4
            fit = Q @ (Q.conj().T @ W[:, light])
            np.testing.assert_allclose(found.L @ found.R[:, light], fit, atol=1e-10)


@pytest.mark.parametrize("size", [1.0, 1e-280, 1e280])
def test_weighted_errors_and_metrics_of_factors(size: float) -> None:
    rng = np.random.default_rng(35)
    W = rng.standard_normal((12, 9)).astype(np.float32)
    rows, columns = size * rng.uniform(1, 3, 12), size * rng.uniform(1, 3, 9)
    found = weighted_svd(W, 4, row_weight=rows, col_weight=columns)
    weights = np.sqrt(rows)[:, None] * np.sqrt(columns)
    scaled = np.linalg.svd(weights * W, compute_uv=False)
    assert found.error == pytest.approx(size * optimal(scaled / size, 4), rel=1e-12)
    np.testing.assert_allclose(found.s, scaled[:4], rtol=1e-12)
    R = found.R * np.sqrt(columns)
    np.testing.assert_allclose(R @ R.T, np.eye(4), atol=1e-12)


def test_metrics_of_every_kind_agree() -> None:
    rng = np.random.default_rng(36)
    W = draw(rng, 30, 20)
    G, H = (sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(k, k)) for k in (30, 20))
    plain = weighted_svd(W, 5, row_metric=G.toarray(), col_metric=H.toarray())
    rest = W - plain.L @ plain.R
    error = np.sqrt(np.trace(rest.T @ G.toarray() @ rest @ H.toarray()))
    assert plain.error == pytest.approx(error, rel=1e-12)
    for form in (lambda X: X, lambda X: X.tocsr(), lambda X: X.toarray().tolist(), np.asarray):
        given = [form(X) if form is not np.asarray else X.toarray() for X in (G, H)]
        found = weighted_svd(W, 5, row_metric=given[0], col_metric=given[1])
        np.testing.assert_allclose(found.s, plain.s, rtol=1e-12)
        np.testing.assert_allclose(found.L @ found.R, plain.L @ plain.R, atol=1e-11)
        R = found.R @ (H @ found.R.T)
        np.testing.assert_allclose(R, np.eye(5), atol=1e-12)
    weights = rng.uniform(1, 2, 30)
    found = weighted_svd(W, 5, row_weight=weights.tolist())
    diagonal = weighted_svd(W, 5, row_metric=sp.diags_array(weights))
    np.testing.assert_allclose(found.L @ found.R, diagonal.L @ diagonal.R, atol=1e-12)
    turned = weighted_svd(
        W, 5, row_metric=G.toarray() + 0.1j * (np.eye(30, k=1) - np.eye(30, k=-1))
    )
    assert turned.L.dtype == np.complex128


def test_weights_on_every_library(xp: Backend) -> None:
    rng = np.random.default_rng(37)
    for dtype in xp.dtypes:
        real = dtype.replace("complex64", "float32").replace("complex128", "float64")
        W = draw(rng, 12, 9, is_complex=dtype.startswith("complex"))
        rows, columns = rng.uniform(0.5, 2, 12), rng.uniform(0.5, 2, 9)
        rows[2] = columns[4] = 0.0
        G = np.diag(rng.uniform(1, 2, 12)) + 0.2 * np.ones((12, 12))
        tolerance = 2e-5 if real == "float32" else 1e-12
        for options in (
            {"row_weight": xp.asarray(rows, real), "col_weight": xp.asarray(columns, real)},
            {"row_weight": rows.tolist(), "col_weight": columns.tolist()},
            {"row_metric": xp.asarray(G, dtype), "col_weight": xp.asarray(columns, real)},
        ):
            found = weighted_svd(xp.asarray(W, dtype), 3, **options)
            left = np.sqrt(rows)[:, None] if "row_weight" in options else None
            root = np.diag(np.sqrt(rows)) if left is not None else np.linalg.cholesky(G).T
            rest = root @ (W - xp.to_numpy(found.L) @ xp.to_numpy(found.R)) * np.sqrt(columns)
            assert found.error == pytest.approx(np.linalg.norm(rest), rel=tolerance)
            best = np.linalg.svd(root @ W * np.sqrt(columns), compute_uv=False)
            assert found.error == pytest.approx(optimal(best, 3), rel=tolerance)
            assert found.L.dtype == xp.asarray(W, dtype).dtype


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"row_weight": np.full(4, np.nan)}, ValueError, "row_weight must not contain NaN"),
        ({"row_weight": [1.0, 2.0]}, ValueError, r"row_weight must have shape \(4,\)"),
        ({"row_weight": ["a"] * 4}, TypeError, "row_weight must be real"),
        ({"row_weight": sp.csr_array(np.ones((4, 4)))}, TypeError, "row_weight must be of numpy"),
        ({"row_metric": np.ones(4)}, ValueError, r"row_metric must have shape \(4, 4\)"),
        ({"row_metric": np.ones((4, 4))}, ValueError, "row_metric must be positive definite"),
        (
            {"col_metric": sp.csr_array(np.ones((5, 5)))},
            ValueError,
            "col_metric must be positive definite",
        ),
        (
            {"col_metric": sp.csr_array(np.triu(np.ones((5, 5))))},
            ValueError,
            "col_metric must be Hermitian",
        ),
        ({"row_metric": np.full((4, 4), np.inf)}, ValueError, "row_metric must not contain NaN"),
        ({"row_weight": np.ones(3)}, ValueError, r"row_weight must have shape \(4,\)"),
        ({"row_weight": -np.ones(4)}, ValueError, "row_weight must not be negative"),
        ({"col_weight": np.zeros(5)}, ValueError, "col_weight must not be all zero"),
        ({"col_weight": np.ones(5) * 1j}, TypeError, "col_weight must be real"),
        ({"row_metric": -np.eye(4)}, ValueError, "row_metric must be positive definite"),
        ({"row_metric": np.triu(np.ones((4, 4)))}, ValueError, "row_metric must be Hermitian"),
        ({"col_metric": np.eye(4)}, ValueError, r"col_metric must have shape \(5, 5\)"),
        (
            {"row_weight": np.ones(4), "row_metric": np.eye(4)},
            ValueError,
            "row_weight must be None where row_metric is given",
        ),
        ({"rank": 5}, ValueError, "rank must be between 1 and 4"),
    ],
    ids=str,
)
def test_bad_weights_are_refused(options: dict[str, Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        weighted_svd(np.ones((4, 5)), options.pop("rank", 2), **options)
