"""Sketched least squares: what is solved, what its intervals cover, what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
from scipy.sparse.linalg import aslinearoperator

from linalgkit import AccuracyWarning
from linalgkit._core import array as core_array
from linalgkit._core.triangular import SingularMatrixError
from linalgkit.regression import lstsq, sketched_lstsq
from linalgkit.regression._request import SKETCHES
from linalgkit.sketching import sketch
from tests.conftest import Backend
from tests.regression.coverage import covered, design, results

KINDS = [kind for kind in SKETCHES if kind != "auto"]
DENSE = [kind for kind in KINDS if kind not in ("gaussian", "countsketch", "sparse_sign")]
LEVEL = 1e-4  # of every binomial test below


def problem(n: int = 900, d: int = 5, k: int = 2, is_complex: bool = False) -> tuple[Any, Any]:
    """Return equations with noise."""
    rng = np.random.default_rng(1)
    A, b = rng.standard_normal((n, d)), rng.standard_normal((n, k))
    if is_complex:
        A, b = A + 1j * rng.standard_normal((n, d)), b * (1 - 1j) + 1j * rng.standard_normal((n, k))
    return A, b + A @ np.arange(1.0, d * k + 1).reshape(d, k) * (1 + 2j if is_complex else 1)


# --------------------------------------------------------------------------- what is solved


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_minimises_the_sketched_residual_of_that_very_sketch(
    kind: str, is_complex: bool
) -> None:
    A, b = problem(is_complex=is_complex)
    found = sketched_lstsq(A, b, m=60, sketch=kind, rng=3)
    replaces = kind == "block_srht"
    S = sketch(kind, 60, len(A), replace=replaces, dtype=A.dtype, rng=3).toarray()
    SA, Sb = S @ A, S @ b
    if not is_complex and np.iscomplexobj(S):
        SA, Sb = (np.concatenate([Y.real, Y.imag]) for Y in (SA, Sb))
    x, _, rank, _ = np.linalg.lstsq(SA, Sb)
    np.testing.assert_allclose(found.x, x, rtol=1e-11)
    rows = len(SA)
    norms = np.linalg.norm(Sb - SA @ x, axis=0)
    np.testing.assert_allclose(found.residual_norm, math.sqrt(rows / (rows - 5)) * norms)
    np.testing.assert_allclose(found.b_norm, np.linalg.norm(b, axis=0))
    assert (found.rank, found.m, found.n_rows, found.sketch) == (rank, 60, 900, kind)
    laws = {"gaussian": "exact", "countsketch": "incoherent", "sparse_sign": "incoherent"}
    assert found.law == laws.get(kind, "approximate")
    assert found.status == "sketched"
    unit = SA / np.linalg.norm(SA, axis=0)
    assert found.condition == pytest.approx(np.linalg.cond(unit))


def test_standard_errors_are_those_of_the_covariance_matrix() -> None:
    for is_complex in (False, True):
        A, b = problem(is_complex=is_complex)
        found = sketched_lstsq(A, b, m=60, sketch="gaussian", rng=3)
        SA = sketch("gaussian", 60, 900, dtype=A.dtype, rng=3) @ A
        inverse = np.linalg.inv(SA.conj().T @ SA)
        variance = np.asarray(found.residual_norm) ** 2 / 60
        expected = np.sqrt(np.real(np.diag(inverse))[:, None] * variance)
        np.testing.assert_allclose(found.stderr, expected, rtol=1e-10)
        c = np.asarray([1.0, -2.0, 0.0, 0.5, 3.0])
        contrast = found.contrast(c)
        np.testing.assert_allclose(contrast.estimate, c @ found.x)
        np.testing.assert_allclose(
            contrast.stderr, np.sqrt(np.real(c @ inverse @ c) * variance), rtol=1e-10
        )
        rows = found.contrast(np.stack([c, np.eye(5)[2]]))
        np.testing.assert_allclose(rows.stderr[1], found.stderr[2])


def test_intervals_have_the_quantiles_they_state() -> None:
    A, b = problem()
    found = sketched_lstsq(A, b, m=20, sketch="gaussian", rng=0)
    t = scipy.stats.t
    for simultaneous, tail in ((False, 0.1), (True, 0.1 / 10)):
        lower, upper = found.ci(0.9, simultaneous)
        np.testing.assert_allclose(upper - found.x, t.isf(tail / 2, 15) * found.stderr)
        np.testing.assert_allclose(found.x - lower, t.isf(tail / 2, 15) * found.stderr)
    contrast = found.contrast(np.ones(5))
    lower, upper = contrast.ci(0.9, simultaneous=True)
    scheffe = math.sqrt(5 * scipy.stats.f.isf(0.05, 5, 15))
    np.testing.assert_allclose(upper - contrast.estimate, scheffe * contrast.stderr)
    bonferroni = t.isf(0.02 / 20, 15) * found.stderr.max()
    single = t.isf(0.01, 15) * found.stderr.max()
    assert single < found.linf_bound(0.02) < bonferroni
    assert found.linf_bound() == found.linf_bound(0.01)


@pytest.mark.parametrize(
    ("kind", "n", "m"),
    [
        ("gaussian_pooled", 256, 200),  # pools of one or two rows
        ("gaussian_pooled", 1000, 500),
        ("block_srht", 4000, 200),  # the data fill one of several blocks
        ("srht", 1000, 900),
    ],
)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_intervals_cover_where_the_sketch_is_large_or_the_data_are_in_one_block(
    kind: str, n: int, m: int, is_complex: bool
) -> None:
    rows = 16 if kind == "block_srht" else n
    A, b = (np.zeros((n, 8), dtype=complex if is_complex else float), np.zeros((n, 1)) + 0j)
    A[:rows], b = problem(rows, d=8, k=1, is_complex=is_complex)[0], b * (1 + 0j)
    b[:rows] = np.random.default_rng(8).standard_normal((rows, 1))
    b = b + 1j * b[::-1] if is_complex and rows == n else (b if is_complex else b.real)
    exact, hits, runs = np.linalg.lstsq(A, b)[0], [], 400
    for seed in range(runs):
        found = sketched_lstsq(A, b, m=m, sketch=kind, rng=seed)
        hits.append(np.mean(covered(found.ci(), exact)))
    assert abs(np.mean(hits) - 0.95) < 0.02


@pytest.mark.parametrize("alpha", [0.0, 40.0])
def test_every_source_of_the_same_rows_has_the_same_answer(alpha: float) -> None:
    A, b = problem()
    A[np.abs(A) < 1] = 0

    def pairs(step: int) -> Iterator[Any]:
        return ((A[i : i + step], b[i : i + step]) for i in range(0, len(A), step))

    sparse = scipy.sparse.csr_array(A)
    for kind in ("block_srht", "sparse_sign", "gaussian"):
        options = {"m": 50, "sketch": kind, "alpha": alpha, "rng": 8}
        expected = sketched_lstsq(A, b, **options)
        for source in ((sparse, b), (sparse.tocoo(), b), (aslinearoperator(A), b), (A.tolist(), b)):
            if isinstance(source[0], list):
                source = ([A[:100], A[100:]], b)
            found = sketched_lstsq(*source, **options)
            np.testing.assert_allclose(found.x, expected.x, rtol=1e-11)
            np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-11)
        for step in (1, 37, 900):
            found = sketched_lstsq(pairs(step), **options)
            np.testing.assert_allclose(found.x, expected.x, rtol=1e-11)
            assert found.n_rows == 900
        blocks = ((sparse[i : i + 200], b[i : i + 200]) for i in range(0, 900, 200))
        np.testing.assert_allclose(sketched_lstsq(blocks, **options).x, expected.x, rtol=1e-11)


def test_auto_chooses_by_the_kind_of_source() -> None:
    A, b = problem()
    assert sketched_lstsq(A, b, rng=0).sketch == "srht"
    assert sketched_lstsq(aslinearoperator(A), b, rng=0).sketch == "srht"
    assert sketched_lstsq(scipy.sparse.csr_array(A), b, rng=0).sketch == "sparse_sign"
    assert sketched_lstsq(iter([(A, b)]), rng=0).sketch == "block_srht"
    sparse = iter([(scipy.sparse.csr_array(A), b)])
    assert sketched_lstsq(sparse, rng=0).sketch == "sparse_sign"


@pytest.mark.parametrize("kind", ["block_srht", "gaussian"])
def test_cuts_into_blocks_do_not_change_a_bit(kind: str) -> None:
    A, b = problem(2500)

    def run(*cuts: int) -> Any:
        ends = [0, *cuts, 2500]
        blocks = [(A[i:j], b[i:j]) for i, j in itertools.pairwise(ends)]
        return sketched_lstsq(iter(blocks), m=40, sketch=kind, rng=5)

    whole = run()
    for cuts in ((1,), (1024, 2048), (1000, 1001, 1100, 2400)):
        np.testing.assert_array_equal(run(*cuts).x, whole.x)
        np.testing.assert_array_equal(run(*cuts).stderr, whole.stderr)


@pytest.mark.parametrize("kind", ["srht", "gaussian", "srft"])
def test_ridge_rows_are_sketched_with_the_others_as_the_last_ones(kind: str) -> None:
    A, b = problem()
    found = sketched_lstsq(A, b, m=60, sketch=kind, alpha=9.0, rng=2)
    below = np.concatenate([A, 3.0 * np.eye(5)])
    expected = sketched_lstsq(
        below, np.concatenate([b, np.zeros((5, 2))]), m=60, sketch=kind, rng=2
    )
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-12)
    np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-11)


def test_series_frames_and_lists_are_taken() -> None:
    A, b = problem(k=1)
    w = np.arange(1.0, 901.0)
    expected = sketched_lstsq(A, b[:, 0], m=60, weights=w, rng=2)
    given = pd.DataFrame(A), pd.Series(b[:, 0])
    found = sketched_lstsq(*given, m=60, weights=list(w), rng=2)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-13)
    assert found.sketch == "srht"
    full = lstsq(*given, weights=pd.Series(w), rng=0)
    np.testing.assert_allclose(full.x, lstsq(A, b[:, 0], weights=w, rng=0).x, rtol=1e-13)
    with pytest.raises(TypeError, match="weights must be an array, a dataframe or a list"):
        lstsq(A, b, weights=2.0)


def test_weights_multiply_squared_residuals() -> None:
    A, b = problem()
    w = np.random.default_rng(3).uniform(0, 4, 900)
    w[:50] = 0
    roots = np.sqrt(w)[:, None]
    for source in ((A, b), (scipy.sparse.csr_array(A), b), (iter([(A, b)]), None)):
        found = sketched_lstsq(*source, m=60, sketch="gaussian", weights=w, rng=2)
        expected = sketched_lstsq(roots * A, roots * b, m=60, sketch="gaussian", rng=2)
        np.testing.assert_allclose(found.x, expected.x, rtol=1e-11)


def test_size_follows_from_the_accuracy_asked_for() -> None:
    def least(k: int) -> int:
        """Return 5 unknowns' size for eps=0.5, delta=0.05, by brute force."""
        freedom = itertools.count(1)
        tail = 0.05 / (2 * 5 * k)
        meets = (f for f in freedom if scipy.stats.t.isf(tail, f) <= 0.5 * math.sqrt(f / 5))
        return next(meets) + 4

    A, b = problem(6000)
    assert sketched_lstsq(A, b, eps=0.5, delta=0.05, rng=0).m == least(2)
    assert sketched_lstsq(A, b[:, 0], eps=0.5, delta=0.05, rng=0).m == least(1)
    freedom = math.ceil(math.log(10 / 0.05) / math.log1p(0.25 / 5))
    assert sketched_lstsq(A + 0j, b, eps=0.5, delta=0.05, rng=0).m == freedom + 4
    assert sketched_lstsq(A, b, rng=0).m == 105


def test_small_sketches_have_fewer_nonzeros() -> None:
    A, b = problem(d=2)
    found = sketched_lstsq(A, b, m=5, sketch="sparse_sign", rng=1)
    S = sketch("sparse_sign", 5, 900, nnz=5, rng=1)
    np.testing.assert_allclose(found.x, np.linalg.lstsq(S @ A, S @ b)[0], rtol=1e-10)


def test_complex_right_sides_make_the_problem_complex() -> None:
    A, b = problem()
    found = sketched_lstsq(A, b * (1 + 1j), m=60, sketch="gaussian", rng=1)
    S = sketch("gaussian", 60, 900, dtype="complex128", rng=1)
    np.testing.assert_allclose(found.x, np.linalg.lstsq(S @ A, S @ b * (1 + 1j))[0], rtol=1e-11)


def test_operators_are_sketches_too() -> None:
    A, b = problem()
    S = sketch("sparse_sign", 80, 900, nnz=3, rng=1)
    found = sketched_lstsq(A, b, sketch=S)
    np.testing.assert_allclose(found.x, np.linalg.lstsq(S @ A, S @ b)[0], rtol=1e-11)
    assert (found.m, found.sketch) == (80, "sparse_sign")
    blocks = [(A[:333], b[:333]), (A[333:], b[333:])]
    np.testing.assert_allclose(sketched_lstsq(iter(blocks), sketch=S).x, found.x, rtol=1e-11)


# ---------------------------------------------------------------------------- exact coverage


@pytest.mark.parametrize(
    ("name", "is_complex", "alpha", "k"),
    [
        ("incoherent", False, 0.0, 1),
        ("coherent", False, 0.0, 1),
        ("coherent", True, 0.0, 1),
        ("coherent", False, 0.5, 3),
        ("incoherent", True, 0.5, 3),
    ],
)
def test_gaussian_intervals_cover_at_their_level(
    name: str, is_complex: bool, alpha: float, k: int
) -> None:
    """Exact law: one unknown a sketch, binomial test at level 1e-4; all of them, at least 90 %."""
    case, runs = design(name, 200, 4, k, alpha, is_complex), 400
    one = every = bound = normal = 0
    for found in results(case, "gaussian", 7, runs):
        one += covered(found.ci(0.9), case.x).reshape(-1)[1]
        every += covered(found.ci(0.9, simultaneous=True), case.x).all()
        bound += np.abs(found.x - case.x).max() <= found.linf_bound(0.1)
        z = scipy.stats.norm.isf(0.05) / (math.sqrt(2) if is_complex else 1)
        error = np.real(found.x - case.x).reshape(-1)[1]
        normal += abs(error) <= z * found.stderr.reshape(-1)[1]
    assert scipy.stats.binomtest(one, runs, 0.9).pvalue > LEVEL
    assert scipy.stats.binomtest(every, runs, 0.9, "less").pvalue > LEVEL
    assert scipy.stats.binomtest(bound, runs, 0.9, "less").pvalue > LEVEL
    if not is_complex:  # Negative control: three degrees of freedom are far from normal.
        assert scipy.stats.binomtest(normal, runs, 0.9, "less").pvalue < LEVEL


def test_intervals_for_several_sides_need_all_of_them_in_the_count() -> None:
    """Negative control: simultaneous over the unknowns of one side alone is not joint."""
    case, runs = design("coherent", 200, 2, 12, 0.0, False), 300
    joint = alone = 0
    for found in results(case, "gaussian", 40, runs):
        joint += covered(found.ci(0.9, simultaneous=True), case.x).all()
        alone += covered(found.ci(1 - 0.1 / 2), case.x).all()
    assert scipy.stats.binomtest(joint, runs, 0.9, "less").pvalue > LEVEL
    assert alone < 0.75 * runs


@pytest.mark.parametrize("kind", DENSE)
def test_other_dense_kinds_cover_approximately(kind: str) -> None:
    """400 sketches, 4 unknowns pooled: 3.5 % are above four standard deviations and a bias."""
    case, runs = design("coherent", 500, 4, 1, 0.0, False), 400
    hits = sum(covered(found.ci(0.95), case.x).sum() for found in results(case, kind, 40, runs))
    assert abs(hits / (4 * runs) - 0.95) < 0.035


FORMS = [
    ("incoherent", False, 0.0, 1),
    ("coherent", False, 0.5, 3),
    ("coherent", True, 0.0, 1),
    ("incoherent", True, 0.5, 3),
]
OTHER_FORMS = [
    ("coherent", False, 0.0, 1),
    ("incoherent", False, 0.5, 3),
    ("incoherent", True, 0.0, 1),
    ("coherent", True, 0.5, 3),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "form"),
    [("gaussian", form) for form in FORMS + OTHER_FORMS]
    + [(kind, form) for kind in DENSE for form in FORMS],
    ids=str,
)
def test_coverage_of_4000_sketches(kind: str, form: tuple[str, bool, float, int]) -> None:
    """Nominal 95 %, coordinates pooled: Gaussian within 0.7 %, other dense kinds within 1.5 %.

    Pooled counts of 4000 sketches have a standard deviation of at most 0.34 %, were the
    coordinates of a sketch all covered or all missed together.
    """
    name, is_complex, alpha, k = form
    case = design(name, 300, 4, k, alpha, is_complex)
    hits = total = 0
    for found in results(case, kind, 24, 4000):
        inside = covered(found.ci(0.95), case.x)
        hits, total = hits + inside.sum(), total + inside.size
    assert abs(hits / total - 0.95) < (0.007 if kind == "gaussian" else 0.015), hits / total


def test_sampling_without_replacement_leaves_a_share_of_the_variance() -> None:
    """With most coordinates sampled, the error is far below that of independent rows."""
    A, b = problem(1024, d=4, k=1)
    x = np.linalg.lstsq(A, b)[0]
    ratios, corrected = [], []
    for seed in range(100):
        found = sketched_lstsq(A, b, m=768, sketch="srht", rng=seed)
        ratios.append((found.x - x) / (found.stderr / math.sqrt(1 - 768 / 1024)))
        corrected.append((found.x - x) / found.stderr)
    # Variance of 400 nearly independent terms: standard deviation 7 %.
    assert np.mean(np.square(corrected)) == pytest.approx(1.0, abs=0.3)
    assert np.mean(np.square(ratios)) < 0.4


# ------------------------------------------------------------------------- rank and failure


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("kind", ["srht", "gaussian", "sparse_sign", "block_srht"])
def test_deficient_ranks_have_the_minimum_norm_solution(kind: str, is_complex: bool) -> None:
    A, b = problem(is_complex=is_complex)
    A = np.concatenate([A, A[:, :2] @ [[1.0], [2.0]], np.zeros((900, 1))], axis=1)
    with pytest.warns(AccuracyWarning, match="numerical rank 5: x is the solution of minimum"):
        found = sketched_lstsq(A, b, m=60, sketch=kind, rng=4)
    S = sketch(kind, 60, 900, dtype=A.dtype, replace=kind == "block_srht", rng=4)
    x = np.linalg.pinv(S @ A, rcond=1e-12) @ (S @ b)
    np.testing.assert_allclose(found.x, x, atol=1e-12)
    assert (found.status, found.rank) == ("rank_deficient", 5)
    exact = np.linalg.pinv(A, rcond=1e-12) @ b
    lower, upper = found.ci(1 - 1e-6, simultaneous=True)
    assert covered((lower, upper), exact).all()
    assert np.all(found.stderr[6] == 0)
    assert np.isfinite(found.stderr).all()


def test_rank_deficiency_of_data_read_once_is_left_open() -> None:
    A, b = problem()
    A = np.concatenate([A, A[:, :1]], axis=1)
    with pytest.warns(AccuracyWarning, match="read once cannot tell"):
        found = sketched_lstsq(iter([(A, b)]), m=60, rng=0)
    assert found.status == "rank_deficient"
    # Those that can be read again are looked at; a Gaussian sketch needs no look.
    for source, kind in (([(A, b)], "auto"), (iter([(A, b)]), "gaussian")):
        with pytest.warns(AccuracyWarning, match="has numerical rank 5"):
            found = sketched_lstsq(source, m=60, sketch=kind, rng=0)
        assert found.status == "rank_deficient"


def _lossy(d: int, m: int) -> tuple[Any, Any, int]:
    """Return an identity block, and a seed with which countsketch loses one of its columns."""
    A, b = np.zeros((400, d)), np.ones((400, 1))
    A[:d] = np.eye(d)
    for seed in range(1000):
        SA = sketch("countsketch", m, 400, rng=seed) @ A
        if np.linalg.matrix_rank(SA) < d:
            return A, b, seed
    raise AssertionError


@pytest.mark.parametrize("form", ["dense", "sparse", "operator", "blocks"])
def test_sketches_that_lose_columns_are_drawn_anew_with_more_rows(form: str) -> None:
    A, b, seed = _lossy(3, 5)
    source = {
        "dense": (A, b),
        "sparse": (scipy.sparse.csr_array(A), b),
        "operator": (aslinearoperator(A), b),
        "blocks": ([(A[:7], b[:7]), (A[7:], b[7:])],),
    }[form]
    found = sketched_lstsq(*source, m=5, sketch="countsketch", rng=seed)
    assert found.m in (10, 20, 40)
    assert (found.rank, found.status) == (3, "sketched")
    assert np.isfinite(found.x).all()


def test_sketches_that_go_on_losing_columns_are_an_error() -> None:
    A, b, _ = _lossy(40, 41)
    with pytest.raises(SingularMatrixError, match=r'328 rows .* sketch="gaussian", which never'):
        sketched_lstsq(A, b, m=41, sketch="countsketch", rng=1)
    A, b, seed = _lossy(3, 5)
    S = sketch("countsketch", 5, 400, rng=seed)
    with pytest.raises(SingularMatrixError, match="keep the rank of A"):
        sketched_lstsq(A, b, sketch=S)


def test_zero_data_have_zero_answers() -> None:
    with pytest.warns(AccuracyWarning, match="rank 0"):
        found = sketched_lstsq(np.zeros((300, 2)), np.ones(300), m=20, rng=0)
    assert (found.rank, found.status, found.condition) == (0, "rank_deficient", 1.0)
    assert not found.x.any()
    assert found.residual_norm == pytest.approx(math.sqrt(300), rel=0.5)
    found = sketched_lstsq(np.ones((300, 1)), np.zeros(300), m=20, rng=0)
    assert (found.x[0], found.stderr[0], found.residual_norm) == (0.0, 0.0, 0.0)


def test_consistent_equations_are_solved_to_rounding() -> None:
    A, _ = problem()
    found = sketched_lstsq(A, A @ np.ones(5), m=40, rng=0)
    np.testing.assert_allclose(found.x, 1.0, rtol=1e-13)
    assert found.residual_norm < 1e-12


# ------------------------------------------------------------------- small and wide problems


@pytest.mark.parametrize("form", ["dense", "sparse", "operator", "blocks", "iterator"])
def test_a_sketch_as_large_as_the_problem_gives_way_to_the_exact_solution(form: str) -> None:
    A, b = problem(50)
    source = {
        "dense": (A, b),
        "sparse": (scipy.sparse.csr_array(A), b),
        "operator": (aslinearoperator(A), b),
        "blocks": ([(A[:7], b[:7]), (A[7:], b[7:])],),
        "iterator": (iter([(A[:7], b[:7]), (A[7:], b[7:])]),),
    }[form]
    with pytest.warns(AccuracyWarning, match="no smaller than the 50 equations"):
        found = sketched_lstsq(*source, m=50, alpha=2.0, rng=0)
    x = np.linalg.solve(A.T @ A + 2 * np.eye(5), A.T @ b)
    np.testing.assert_allclose(found.x, x, rtol=1e-11)
    assert (found.status, found.law, found.sketch, found.m) == ("exact", "none", "none", 50)
    assert not found.stderr.any()
    assert found.linf_bound(0.5) == 0.0
    lower, upper = found.ci()
    np.testing.assert_array_equal(lower, upper)
    np.testing.assert_allclose(found.residual_norm, np.linalg.norm(A @ x - b, axis=0))


def test_small_problems_without_a_size_are_solved_exactly_and_silently() -> None:
    A, b = problem(50)
    np.testing.assert_allclose(sketched_lstsq(A, b).x, np.linalg.lstsq(A, b)[0])


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_fewer_equations_than_unknowns_have_the_minimum_norm_solution(is_complex: bool) -> None:
    A, b = problem(7, d=20, is_complex=is_complex)
    for source in (A, scipy.sparse.csr_array(A), aslinearoperator(A)):
        found = sketched_lstsq(source, b)
        np.testing.assert_allclose(found.x, np.linalg.pinv(A) @ b, atol=1e-12)
        assert (found.status, found.rank) == ("exact", 7)
    A[6] = A[5]
    with pytest.warns(AccuracyWarning, match=r"A of shape \(7, 20\) has numerical rank 6"):
        assert sketched_lstsq(A, b).status == "rank_deficient"
    ridge = sketched_lstsq(A, b, alpha=1.0)
    inner = A @ A.conj().T + np.eye(7)
    np.testing.assert_allclose(ridge.x, A.conj().T @ np.linalg.solve(inner, b), atol=1e-12)


# --------------------------------------------------------------- libraries, dtypes and scale


@pytest.mark.parametrize("kind", ["auto", "gaussian", "block_srht", "sparse_sign"])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_every_library_gives_the_answer_of_numpy(xp: Backend, kind: str, is_complex: bool) -> None:
    A, b = problem(300, d=3, is_complex=is_complex)
    if not xp.has_float64:
        A, b = (v.astype(np.complex64 if is_complex else np.float32) for v in (A, b))
    options = {"m": 40, "sketch": kind, "alpha": 1.0, "rng": 6}
    expected = sketched_lstsq(A, b, **options)
    found = sketched_lstsq(xp.asarray(A), xp.asarray(b), **options)
    for name in ("x", "stderr"):
        array = getattr(found, name)
        assert core_array.library_of(array) == core_array.library_of(xp.asarray(A))
        assert core_array.device(array) == xp.device
        np.testing.assert_allclose(
            xp.to_numpy(array), getattr(expected, name), rtol=100 * xp.tolerance, atol=xp.tolerance
        )
    assert found.linf_bound() == pytest.approx(expected.linf_bound(), rel=100 * xp.tolerance)
    c = xp.asarray(np.ones(3))
    np.testing.assert_allclose(
        xp.to_numpy(found.contrast(c).stderr), expected.contrast(np.ones(3)).stderr, rtol=1e-3
    )


def test_precision_is_kept(xp: Backend) -> None:
    for dtype in xp.dtypes:
        A, b = problem(300, d=3, k=1, is_complex=dtype.startswith("complex"))
        found = sketched_lstsq(xp.asarray(A, dtype), xp.asarray(b[:, 0], dtype), m=30, rng=0)
        real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
        assert core_array.dtype_name(xp.xp, found.x.dtype) == dtype
        assert core_array.dtype_name(xp.xp, found.stderr.dtype) == real
        assert tuple(found.x.shape) == (3,)
        assert type(found.residual_norm) is float
        lower, _ = found.ci()
        assert core_array.dtype_name(xp.xp, lower.dtype) == dtype


@pytest.mark.parametrize("kind", ["srht", "gaussian", "block_srht"])
@pytest.mark.parametrize(("a", "b"), [(1e150, 1e150), (1e-150, 1e-150), (1e-150, 1e150)])
def test_answers_scale_with_the_data(kind: str, a: float, b: float) -> None:
    A, B = problem(is_complex=True)
    expected = sketched_lstsq(A, B, m=40, sketch=kind, alpha=2.0, rng=1)
    found = sketched_lstsq(A * a, B * b, m=40, sketch=kind, alpha=2.0 * a * a, rng=1)
    ratio = b / a
    np.testing.assert_allclose(found.x / ratio, expected.x, rtol=1e-11)
    np.testing.assert_allclose(found.stderr / ratio, expected.stderr, rtol=1e-11)
    np.testing.assert_allclose(found.residual_norm / b, expected.residual_norm, rtol=1e-11)
    assert found.condition == pytest.approx(expected.condition)
    assert found.linf_bound() / ratio == pytest.approx(expected.linf_bound())


def test_integers_are_worked_on_in_floating_point() -> None:
    A, b = problem()
    A, b = np.rint(3 * A).astype(int), np.rint(b).astype(int)
    found = sketched_lstsq(A, b, m=40, rng=0)
    np.testing.assert_array_equal(found.x, sketched_lstsq(A * 1.0, b * 1.0, m=40, rng=0).x)


def test_arguments_are_only_read_and_results_are_frozen_and_picklable(xp: Backend) -> None:
    A, b = problem(300)
    mine, other = xp.asarray(A), xp.asarray(b)
    found = sketched_lstsq(mine, other, m=30, rng=0)
    np.testing.assert_array_equal(xp.to_numpy(mine), xp.to_numpy(xp.asarray(A)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.x = None
    assert "array" not in repr(found)
    twin = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(xp.to_numpy(twin.ci()[0]), xp.to_numpy(found.ci()[0]))


def test_blocks_are_sketched_in_the_documented_storage() -> None:
    n, d, m = 40000, 60, 200

    def blocks() -> Iterator[Any]:
        rng = np.random.default_rng(0)
        for _ in range(n // 1000):
            yield rng.standard_normal((1000, d)), rng.standard_normal(1000)

    sketched_lstsq(itertools.islice(blocks(), 2), m=m, rng=0)
    tracemalloc.start()
    sketched_lstsq(blocks(), m=m, rng=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    documented = 8 * (m + 1024) * (d + 1)
    block = 8 * 1000 * (d + 1)
    # One sum and one share of it, a cell and its transform, the blocks on their way.
    assert peak < 3 * documented + 3 * block
    assert peak < 8 * n * d / 8


def test_a_generator_is_advanced_by_success_and_left_alone_by_failure() -> None:
    A, b = problem()
    rng = np.random.default_rng(0)
    first, second = (sketched_lstsq(A, b, m=40, rng=rng).x for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    before = rng.bit_generator.state
    bad = A.copy()
    bad[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        sketched_lstsq(bad, b, m=40, rng=rng)
    assert rng.bit_generator.state == before


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"b": np.ones(3)}, ValueError, "b must have 900 rows"),
        ({"b": None}, TypeError, "b must be given"),
        ({"b": np.ones((900, 2, 2))}, ValueError, "b must be 1-D"),
        ({"A": np.ones(900)}, ValueError, "A must be 2-D"),
        ({"A": "rows"}, TypeError, "an array is required"),
        ({"m": 4}, ValueError, "m must be at least 6 for 5 unknowns"),
        ({"m": 5}, ValueError, "One row more than unknowns is needed"),
        ({"m": 20.0}, TypeError, "m must be an integer"),
        ({"m": 20, "eps": 0.5}, ValueError, "eps must be None where m is given"),
        ({"eps": 1.5}, ValueError, "eps must be greater than 0 and less than 1"),
        ({"delta": 0.0}, ValueError, "delta must be greater than 0 and less than 1"),
        ({"sketch": "srth"}, ValueError, "Did you mean 'srht'"),
        ({"sketch": "leverage"}, ValueError, "sketch must be one of"),
        ({"sketch": 3}, TypeError, "sketch must be one of"),
        ({"alpha": -1.0}, ValueError, "alpha must be at least 0"),
        ({"weights": -np.ones(900)}, ValueError, "weights must not be negative"),
        ({"weights": np.ones(7)}, ValueError, "weights must have one entry"),
        ({"rng": "seed"}, TypeError, "rng must be"),
        ({"sketch": sketch("gaussian", 30, 30, rng=0)}, ValueError, "sketch must have 900 columns"),
        ({"sketch": sketch("gaussian", 3, None, rng=0)}, ValueError, "m must be at least 6"),
        ({"sketch": sketch("srht", 30, 900, rng=0), "m": 40}, ValueError, "m must be None or 30"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type, match: str) -> None:
    A, b = problem()
    arguments = {"A": A, "b": b[:, 0], **change}
    with pytest.raises(error, match=match):
        sketched_lstsq(arguments.pop("A"), arguments.pop("b"), **arguments)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["srht", "gaussian"])
def test_numbers_that_are_not_finite_are_refused_with_their_row(
    xp: Backend, bad: float, kind: str
) -> None:
    for name, place in (("A", (41, 1)), ("b", (33, 0))):
        data = dict(zip(("A", "b"), problem(300), strict=True))
        data[name][place] = bad
        A, b = xp.asarray(data["A"]), xp.asarray(data["b"])
        with pytest.raises(ValueError, match=rf"{name} must not contain .* row {place[0]} "):
            sketched_lstsq(A, b, m=30, sketch=kind, rng=0)


def test_kinds_that_need_all_rows_are_refused_for_blocks() -> None:
    A, b = problem()
    with pytest.raises(ValueError, match="for blocks whose number of rows is not known"):
        sketched_lstsq(iter([(A, b)]), m=30, sketch="srht", rng=0)


def test_a_real_gaussian_operator_is_refused_for_complex_data() -> None:
    A, b = problem(is_complex=True)
    with pytest.raises(TypeError, match="must be complex for complex data"):
        sketched_lstsq(A, b, sketch=sketch("gaussian", 30, 900, rng=0))


def test_bad_questions_to_a_result_are_refused() -> None:
    A, b = problem()
    found = sketched_lstsq(A, b, m=30, rng=0)
    with pytest.raises(ValueError, match="level must be greater than 0 and less than 1"):
        found.ci(1.0)
    with pytest.raises(TypeError, match="simultaneous must be True or False"):
        found.ci(0.9, 1)
    with pytest.raises(ValueError, match="delta must be greater than 0"):
        found.linf_bound(0.0)
    with pytest.raises(ValueError, match="a must be of shape"):
        found.contrast(np.ones(4))
    with pytest.raises(ValueError, match="a must not contain NaN"):
        found.contrast(np.full(5, np.nan))
    with pytest.raises(TypeError, match="a must be real as the unknowns are"):
        found.contrast(np.ones(5) * 1j)
    with pytest.raises(TypeError, match="an array is required"):
        found.contrast([1.0] * 5)
