"""Kronecker least squares against the product formed by numpy.kron."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from linalgkit import AccuracyWarning
from linalgkit._core import array as core_array
from linalgkit._core.triangular import SingularMatrixError
from linalgkit.regression import _kron, kron_lstsq
from linalgkit.sketching import tensor_sketch
from tests.conftest import Backend

SHAPES = [
    [(30, 4), (20, 3)],
    [(7, 2), (6, 3), (5, 2)],
    [(20, 3)],
    [(4, 2), (3, 1), (4, 3), (3, 2)],
    [(3, 5), (20, 2)],  # a wide factor: fewer equations than unknowns in it
]


def problem(
    shapes: list[tuple[int, int]], is_complex: bool = False, k: int | None = None
) -> tuple[list[Any], Any]:
    """Return factors and a tensor of right sides."""
    rng = np.random.default_rng(4)

    def draw(*shape: int) -> Any:
        G = rng.standard_normal(shape)
        return G + 1j * rng.standard_normal(shape) if is_complex else G

    sides = () if k is None else (k,)
    return [draw(*shape) for shape in shapes], draw(*(n for n, _ in shapes), *sides)


def reference(factors: list[Any], B: Any, alpha: float) -> tuple[Any, Any, Any]:
    """Return the product, its solution, and the norms of the residuals, flat."""
    A = functools.reduce(np.kron, factors)
    b = B.reshape(len(A), -1)
    below = np.concatenate([A, math.sqrt(alpha) * np.eye(A.shape[1])])
    zeros = np.zeros((A.shape[1], b.shape[1]))
    x = np.linalg.lstsq(below, np.concatenate([b, zeros]), rcond=1e-12)[0]
    return A, x, np.linalg.norm(b - A @ x, axis=0)


@pytest.mark.parametrize("alpha", [0.0, 2.5])
@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_exact_solution_is_that_of_the_product(
    shapes: Any, is_complex: bool, k: int | None, alpha: float
) -> None:
    factors, B = problem(shapes, is_complex, k)
    A, x, residuals = reference(factors, B, alpha)
    flat = B.reshape((len(A),) if k is None else (len(A), k))
    for given in (B, flat):
        found = kron_lstsq(factors, given, alpha=alpha)
        widths = [d for _, d in shapes]
        sides = () if k is None else (k,)
        assert found.x.shape == ((len(x),) if given is flat else tuple(widths)) + sides
        np.testing.assert_allclose(found.x.reshape(x.shape), x, atol=1e-12 * np.abs(x).max())
        np.testing.assert_allclose(
            found.residual_norm, residuals if k else residuals[0], atol=1e-12 * np.linalg.norm(B)
        )
        assert found.rank == np.linalg.matrix_rank(A)
        is_full = alpha > 0 or found.rank == len(x)
        assert found.status == ("exact" if is_full else "rank_deficient")
        assert found.backward_error(factors, given, alpha=alpha) < 1e-15
        assert found.ci()[0] is found.x


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_deficient_factors_have_the_minimum_norm_solution(is_complex: bool, alpha: float) -> None:
    factors, B = problem([(12, 4), (9, 3)], is_complex)
    factors[0][:, 3] = factors[0][:, 0] - factors[0][:, 1]
    factors[1][:, 1] = 0
    A, x, residuals = reference(factors, B, alpha)
    found = kron_lstsq(factors, B, alpha=alpha)
    np.testing.assert_allclose(found.x.reshape(-1, 1), x, atol=1e-12)
    assert found.residual_norm == pytest.approx(residuals[0])
    assert found.rank == np.linalg.matrix_rank(A) == 6
    assert found.status == ("exact" if alpha else "rank_deficient")
    assert found.backward_error(factors, B, alpha=alpha) < 1e-15


def test_condition_is_the_product_of_those_of_the_factors() -> None:
    factors, B = problem([(30, 4), (20, 3)])
    factors[0] *= np.asarray([1.0, 1e-40, 1e30, 1.0])  # units of the unknowns do not matter
    units = [A / np.linalg.norm(A, axis=0) for A in factors]
    expected = math.prod(np.linalg.cond(A) for A in units)
    found = kron_lstsq(factors, B)
    assert found.condition == pytest.approx(expected, rel=1e-10)
    assert found.rank == 12


def test_well_conditioned_factors_are_solved_where_their_product_looks_singular() -> None:
    rng = np.random.default_rng(8)
    Q = [np.linalg.qr(rng.standard_normal((40, 5)))[0] for _ in range(3)]
    V = [np.linalg.qr(rng.standard_normal((5, 5)))[0] for _ in range(3)]
    factors = [q * np.geomspace(1, 1e-7, 5) @ v for q, v in zip(Q, V, strict=True)]
    x = rng.standard_normal((5, 5, 5))
    B = x
    for t, A in enumerate(factors):
        B = np.moveaxis(np.tensordot(A, B, axes=(1, t)), 0, t)
    found = kron_lstsq(factors, B)
    assert found.rank == 125  # numpy.linalg.lstsq would see a condition number of 1e21
    units = [A / np.linalg.norm(A, axis=0) for A in factors]
    assert found.condition == pytest.approx(math.prod(map(np.linalg.cond, units)), rel=1e-6)
    assert found.backward_error(factors, B) < 1e-14
    # A few units of roundoff times |A| |x|, with |A| = 1; |B| is smaller and no yardstick.
    assert found.residual_norm < 1e-15 * np.linalg.norm(x)


def test_small_residuals_keep_their_digits() -> None:
    factors, B = problem([(30, 4), (20, 3)])
    A, x, _ = reference(factors, B, 0.0)
    noise = (B.reshape(-1, 1) - A @ x)[:, 0]
    for size in (1e-3, 1e-6, 1e-10):
        b = A @ np.arange(12.0) + size * noise
        found = kron_lstsq(factors, b)
        expected = size * np.linalg.norm(noise)
        assert found.residual_norm == pytest.approx(expected, rel=1e-4 * 1e-10 / size + 1e-9)
    assert kron_lstsq(factors, A @ np.arange(12.0)).residual_norm < 1e-11


def test_backward_error_of_a_wrong_answer_is_large() -> None:
    """Negative control: the certificate sees a relative error of 1e-6 in the unknowns."""
    factors, B = problem([(30, 4), (20, 3)])
    found = kron_lstsq(factors, B)
    object.__setattr__(found, "x", found.x * (1 + 1e-6))
    assert found.backward_error(factors, B) > 1e-9


@pytest.mark.parametrize(
    ("scales", "b"),
    [
        ((1e150, 1e-150), 1.0),
        ((1e150, 1e-150), 1e150),
        ((1e150, 1e-150), 1e-150),
        ((1e140, 1e140), 1.0),
        ((1e140, 1e140), 1e150),
        ((1e-140, 1e-140), 1.0),
        ((1e-140, 1e-140), 1e-150),
    ],
)
def test_answers_scale_with_the_data(scales: tuple[float, float], b: float) -> None:
    factors, B = problem([(30, 4), (20, 3)])
    expected = kron_lstsq(factors, B, alpha=0.0)
    found = kron_lstsq([A * s for A, s in zip(factors, scales, strict=True)], B * b)
    np.testing.assert_allclose(found.x / b * scales[0] * scales[1], expected.x, rtol=1e-12)
    assert found.residual_norm / b == pytest.approx(expected.residual_norm)


def test_ridge_scales_with_the_data() -> None:
    factors, B = problem([(30, 4), (20, 3)])
    expected = kron_lstsq(factors, B, alpha=3.0)
    scaled = [factors[0] * 1e60, factors[1] * 1e40]
    found = kron_lstsq(scaled, B, alpha=3e200)
    np.testing.assert_allclose(found.x * 1e100, expected.x, rtol=1e-11)
    assert found.residual_norm == pytest.approx(expected.residual_norm)
    assert not kron_lstsq(factors, B, alpha=1e300).x.round(200).any()


def test_every_library_gives_the_answer_of_numpy(xp: Backend) -> None:
    for is_complex in (False, True):
        factors, B = problem([(7, 2), (6, 3), (5, 2)], is_complex)
        for alpha in (0.0, 1.0):
            expected = kron_lstsq(factors, B, alpha=alpha)
            mine = [xp.asarray(A) for A in factors]
            found = kron_lstsq(mine, xp.asarray(B), alpha=alpha)
            assert core_array.library_of(found.x) == core_array.library_of(mine[0])
            assert core_array.device(found.x) == xp.device
            np.testing.assert_allclose(xp.to_numpy(found.x), expected.x, atol=xp.tolerance)
            assert found.residual_norm == pytest.approx(expected.residual_norm, rel=xp.tolerance)


def test_precision_is_kept(xp: Backend) -> None:
    # Eager JAX compiles every operation for each dtype: two of them stand for all.
    for dtype in xp.dtypes:
        factors, B = problem([(12, 2), (9, 3)], dtype.startswith("complex"))
        mine, right = [xp.asarray(A, dtype) for A in factors], xp.asarray(B, dtype)
        methods = ("exact", "tensor_srht") if dtype in ("float32", "complex64") else ("exact",)
        for method in methods:
            size = 40 if method == "tensor_srht" else None
            found = kron_lstsq(mine, right, method=method, m=size, rng=0)
            assert core_array.dtype_name(xp.xp, found.x.dtype) == dtype
            assert tuple(found.x.shape) == (2, 3)
            assert type(found.residual_norm) is float


# -------------------------------------------------------------------------------- sketched


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("alpha", [0.0, 5.0])
def test_sketched_solution_is_that_of_the_tensor_sketch(is_complex: bool, alpha: float) -> None:
    factors, B = problem([(30, 3), (20, 2)], is_complex, k=2)
    found = kron_lstsq(factors, B, method="tensor_srht", alpha=alpha, m=90, rng=5)
    S = tensor_sketch("tensor_srht", 90, [30, 20], rng=5)
    dtype = complex if is_complex else float
    S = np.asarray(S.toarray(), dtype=dtype)
    A = np.concatenate([S @ np.kron(*factors), math.sqrt(alpha) * np.eye(6)])
    b = np.concatenate([S @ B.reshape(600, 2), np.zeros((6, 2))])
    x = np.linalg.lstsq(A, b)[0]
    np.testing.assert_allclose(found.x.reshape(6, 2), x, rtol=1e-10)
    assert (found.m, found.method, found.status, found.rank) == (90, "tensor_srht", "sketched", 6)
    assert found.sketched is not None
    assert found.sketched.law == "approximate"
    lower, upper = found.ci(0.999, simultaneous=True)
    assert lower.shape == upper.shape == found.x.shape == (3, 2, 2)
    exact = kron_lstsq(factors, B, alpha=alpha).x
    assert np.all((lower.real < exact.real) & (exact.real < upper.real))


@pytest.mark.parametrize("alpha", [0.0, 60.0, 1e4])
def test_sketched_intervals_cover_approximately(alpha: float) -> None:
    factors, B = problem([(32, 2), (16, 2)])
    B = B + np.random.default_rng(3).standard_normal(B.shape)
    exact, hits, runs = kron_lstsq(factors, B, alpha=alpha), 0, 300
    norms = []
    for seed in range(runs):
        found = kron_lstsq(factors, B, method="tensor_srht", alpha=alpha, m=60, rng=seed)
        lower, upper = found.ci()
        hits += int(np.sum((lower < exact.x) & (exact.x < upper)))
        norms.append(found.residual_norm)
    assert 0.91 < hits / (4 * runs) < (0.99 if alpha else 0.98)
    assert np.mean(norms) == pytest.approx(exact.residual_norm, rel=0.05)


def test_sketched_ranks_are_those_of_the_factors() -> None:
    factors, B = problem([(30, 3), (20, 2)])
    factors[0][:, 2] = factors[0][:, 0]
    found = kron_lstsq(factors, B, method="tensor_srht", m=90, rng=5)
    assert (found.rank, found.status) == (4, "rank_deficient")
    np.testing.assert_allclose(found.x[0], found.x[2])


def test_sketches_that_lose_columns_are_drawn_anew_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors, B = [np.eye(64, 8), np.eye(64, 8)], np.ones((64, 64))
    found = [kron_lstsq(factors, B, method="tensor_srht", m=65, rng=seed) for seed in range(5)]
    assert max(result.m for result in found) >= 130
    assert {result.rank for result in found} == {64}
    assert all(np.isfinite(result.x).all() for result in found)
    lossy = next(seed for seed in range(5) if found[seed].m > 65)
    monkeypatch.setattr(_kron, "_ATTEMPTS", 1)
    with pytest.raises(SingularMatrixError, match="must keep the rank 64 of the product, but 65"):
        kron_lstsq(factors, B, method="tensor_srht", m=65, rng=lossy)


def test_a_sketch_as_large_as_the_problem_gives_way_to_the_exact_solution() -> None:
    factors, B = problem([(6, 2), (5, 2)])
    with pytest.warns(AccuracyWarning, match="no smaller than the 30 equations"):
        found = kron_lstsq(factors, B, method="tensor_srht", m=30, rng=0)
    assert (found.method, found.status) == ("exact", "exact")
    silent = kron_lstsq(factors, B, method="tensor_srht", rng=0)
    np.testing.assert_array_equal(silent.x, kron_lstsq(factors, B).x)


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"factors": []}, TypeError, "factors must be a list of at least one matrix"),
        ({"factors": np.ones((3, 3))}, TypeError, "factors must be a list"),
        ({"factors": [np.ones(3)]}, ValueError, r"factors\[0\] must be 2-D"),
        ({"factors": [np.ones((6, 2)), scipy.sparse.eye_array(5)]}, TypeError, r"factors\[1\]"),
        ({"factors": [np.ones((6, 2)), np.full((5, 2), np.nan)]}, ValueError, r"factors\[1\] must"),
        ({"B": np.ones((5, 6))}, ValueError, r"B must be of shape \(6, 5\) or \(30,\)"),
        ({"B": np.full((6, 5), np.inf)}, ValueError, "B must not contain NaN or infinity"),
        ({"B": [1.0] * 30}, TypeError, "an array is required"),
        ({"method": "Exact"}, ValueError, "Did you mean 'exact'"),
        ({"alpha": -1.0}, ValueError, "alpha must be at least 0"),
        ({"m": 20}, ValueError, 'm must be None with method="exact"'),
        ({"m": 4, "method": "tensor_srht"}, ValueError, "m must be at least 5 for 4 unknowns"),
        ({"rng": "x", "method": "tensor_srht", "m": 10}, TypeError, "rng must be"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type, match: str) -> None:
    factors, B = problem([(6, 2), (5, 2)])
    arguments = {"factors": factors, "B": B, **change}
    with pytest.raises(error, match=match):
        kron_lstsq(arguments.pop("factors"), arguments.pop("B"), **arguments)


def test_unknowns_that_overflow_are_an_error() -> None:
    factors, B = problem([(6, 2), (5, 2)])
    with pytest.raises(ValueError, match="unknowns that overflow"), np.errstate(all="ignore"):
        kron_lstsq([A * 1e-200 for A in factors], B)


def test_arguments_are_only_read() -> None:
    factors, B = problem([(6, 2), (5, 2)])
    for array in (*factors, B):
        array.setflags(write=False)
    kron_lstsq(factors, B)
    kron_lstsq(factors, B, method="tensor_srht", m=10, rng=0)
