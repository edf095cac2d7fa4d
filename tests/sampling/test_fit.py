"""Weighted least squares on a design, its error bound, and moments from product bases."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from linalgkit import AccuracyWarning
from linalgkit.sampling._design import Design, sample_design
from linalgkit.sampling._error_bound import _acceptance, _conditional_factor, error_bound
from linalgkit.sampling._families import Fourier, Legendre
from linalgkit.sampling._fit import weighted_lstsq
from linalgkit.sampling._indices import multi_index
from linalgkit.sampling._projection import ProjectionDPP
from linalgkit.sampling._splines import BSpline
from linalgkit.sampling._tensor import TensorBasis

Draw = np.random.Generator


def design_of(phi: np.ndarray, weights: np.ndarray, **changes: Any) -> Design:
    """A design by hand: rows of an orthonormal basis are rows 0, 1, ... of a matrix."""
    n, m = phi.shape
    gram = (phi.conj().T * weights) @ phi / n
    values = np.linalg.eigvalsh(gram)
    plain = Design(
        points=None,
        indices=np.arange(n),
        weights=weights,
        gram=gram,
        lmin=float(values[0]),
        lmax=float(values[-1]),
        n_proposals=n,
        n_tries=1,
        exact=True,
        unbiased=False,
        method="iid",
        dim=m,
        n_drawn=n,
    )
    return replace(plain, **changes)


def basis_on(xp: Any, d: int = 2, p: int = 3) -> TensorBasis:
    return TensorBasis(Legendre(), xp.xp.asarray(np.asarray(multi_index(d, p)), device=xp.device))


# ---------------------------------------------------------------------------------- the fit


@pytest.mark.parametrize("method", ["rdpp", "volume", "iid"])
def test_functions_of_the_space_come_back_on_every_library(xp: Any, method: str) -> None:
    basis = basis_on(xp)
    design = sample_design(basis, 30, method=method, rng=1)
    rng = np.random.default_rng(0)
    for shape in ((10,), (10, 3)):
        c = rng.standard_normal(shape)
        c = xp.asarray(c if len(shape) == 1 else c + 1j * rng.standard_normal(shape))
        y = xp.xp.astype(basis.evaluate(design.points), c.dtype) @ c
        fit = weighted_lstsq(design, y, space=basis)
        tol = 30 * xp.tolerance
        np.testing.assert_allclose(xp.to_numpy(fit.coef), xp.to_numpy(c), atol=tol)
        assert fit.coef.dtype == c.dtype
        assert (fit.n, fit.rank, fit.status) == (30, 10, "converged")
        points = basis.draw_measure(7, np.random.default_rng(3))
        expected = xp.to_numpy(basis.evaluate(points)) @ xp.to_numpy(c)
        np.testing.assert_allclose(xp.to_numpy(fit.predict(points)), expected, atol=10 * tol)
        assert np.max(fit.residual if len(shape) == 1 else xp.to_numpy(fit.residual)) <= tol
        assert isinstance(fit.residual, float) == (len(shape) == 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_a_matrix_fits_its_picked_rows_in_their_precision(xp: Any, dtype: str) -> None:
    if dtype not in xp.all_dtypes:
        pytest.skip("the device has no such dtype")
    rng = np.random.default_rng(2)
    X = rng.standard_normal((200, 4)) @ np.diag([1.0, 10.0, 0.1, 1.0])
    y = rng.standard_normal((200, 2))
    if "complex" in dtype:
        X = X + 1j * rng.standard_normal((200, 4))
        y = y - 1j * rng.standard_normal((200, 2))
    design = sample_design(xp.asarray(X, dtype), 20, rng=4)
    picked = xp.to_numpy(design.indices)
    root = np.sqrt(xp.to_numpy(design.weights).astype(float))[:, None]
    values = xp.xp.take(xp.asarray(y, dtype), design.indices, axis=0)
    fit = weighted_lstsq(design, values, space=xp.asarray(X, dtype))
    single = {"float32": np.float32, "complex64": np.complex64}.get(dtype)
    rows, targets = (v if single is None else v.astype(single) for v in (X[picked], y[picked]))
    expected = scipy.linalg.lstsq(root * rows, root * targets)[0]
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(
        xp.to_numpy(fit.coef), expected, atol=100 * eps * abs(expected).max()
    )
    assert fit.coef.dtype == getattr(xp.xp, dtype)
    rest = root * (targets - rows @ expected)
    np.testing.assert_allclose(
        xp.to_numpy(fit.residual), np.linalg.norm(rest, axis=0) / np.sqrt(20), rtol=300 * eps
    )
    some = fit.predict(xp.asarray(X[:5], dtype))
    np.testing.assert_allclose(xp.to_numpy(some), X[:5] @ expected, atol=1e3 * eps)
    one = weighted_lstsq(design, values[:, 0], space=xp.asarray(X, dtype))
    np.testing.assert_allclose(xp.to_numpy(one.coef), expected[:, 0], atol=100 * eps * 10)


def test_no_digits_are_lost_to_normal_equations(rng: Draw) -> None:
    U = np.linalg.qr(rng.standard_normal((60, 8)))[0]
    X = U @ np.diag(10.0 ** -np.arange(0.0, 12.0, 1.5)) @ np.linalg.qr(rng.random((8, 8)))[0]
    c = rng.standard_normal(8)
    y = X @ c
    design = design_of(U * np.sqrt(60), rng.uniform(0.5, 2, 60))
    fit = weighted_lstsq(design, y, space=X)
    assert np.linalg.norm(X @ (fit.coef - c)) <= 1e-14 * np.linalg.norm(c)
    # Normal equations would square the condition number 3e10 and lose everything.
    assert np.linalg.norm(fit.coef - c) <= 1e-3 * np.linalg.norm(c)


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_units_of_values_and_columns_cancel(rng: Draw, factor: float) -> None:
    X, y = rng.standard_normal((40, 4)), rng.standard_normal((40, 2))
    design = design_of(np.linalg.qr(X)[0] * np.sqrt(40), rng.uniform(0.5, 2, 40))
    plain = weighted_lstsq(design, y, space=X)
    scaled = weighted_lstsq(design, y * factor, space=X)
    np.testing.assert_allclose(scaled.coef / factor, plain.coef, rtol=1e-12)
    np.testing.assert_allclose(scaled.residual / factor, plain.residual, rtol=1e-12)
    np.testing.assert_allclose(scaled.error_estimate / factor, plain.error_estimate, rtol=1e-12)
    other = weighted_lstsq(design, y, space=X * [factor, 1.0, 1.0, 1.0])
    assert other.status == "converged"
    np.testing.assert_allclose(other.residual, plain.residual, rtol=1e-12)
    np.testing.assert_allclose(other.coef[0] * factor, plain.coef[0], rtol=1e-11)


def test_the_estimate_is_the_error_of_fits_without_a_point(rng: Draw) -> None:
    X = rng.standard_normal((15, 3)) + 1j * rng.standard_normal((15, 3))
    y, w = rng.standard_normal((15, 2)), rng.uniform(0.5, 2, 15)
    fit = weighted_lstsq(design_of(X, w), y, space=X)
    errors = np.empty((15, 2))
    for i in range(15):
        rest = np.delete(np.arange(15), i)
        root = np.sqrt(w[rest])[:, None]
        c = scipy.linalg.lstsq(root * X[rest], root * y[rest])[0]
        errors[i] = np.abs(y[i] - X[i] @ c)
    expected = np.sqrt(np.mean(w[:, None] * errors**2, axis=0))
    np.testing.assert_allclose(fit.error_estimate, expected, rtol=1e-11)


def test_points_that_determine_their_own_values_leave_no_estimate(rng: Draw) -> None:
    X, y = rng.standard_normal((4, 4)), rng.standard_normal(4)
    fit = weighted_lstsq(design_of(X, np.ones(4)), y, space=X)
    assert math.isnan(fit.error_estimate)
    assert fit.residual < 1e-13
    lonely = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert math.isnan(
        weighted_lstsq(design_of(lonely, np.ones(3)), y[:3], space=lonely).error_estimate
    )


@pytest.mark.parametrize("rcond", [None, 1e-8])
def test_points_that_do_not_determine_the_fit(xp: Any, rcond: float | None) -> None:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((3, 4))[[0, 0, 1, 1, 2, 2, 2]]
    w, y = rng.uniform(0.5, 2, 7), rng.standard_normal((7, 2))
    design = replace(
        design_of(X, w), weights=xp.asarray(w), indices=xp.asarray(np.arange(7)), lmin=0.0
    )
    with pytest.warns(AccuracyWarning, match="have rank 3, below the 4 functions"):
        fit = weighted_lstsq(design, xp.asarray(y), space=xp.asarray(X), rcond=rcond)
    root = np.sqrt(w)[:, None]
    expected = np.linalg.pinv(root * X, rcond=1e-5) @ (root * y)
    assert (fit.status, fit.rank, fit.error_bound.sup_factor) == ("rank_deficient", 3, math.inf)
    np.testing.assert_allclose(xp.to_numpy(fit.coef), expected, atol=30 * xp.tolerance)
    few = replace(design_of(X[:3], w[:3]), dim=4)
    with pytest.warns(AccuracyWarning, match="3 points have rank 2"):
        short = weighted_lstsq(few, y[:3], space=X)
    expected = np.linalg.pinv(root[:3] * X[:3], rcond=1e-8) @ (root[:3] * y[:3])
    np.testing.assert_allclose(short.coef, expected, atol=1e-12)


def test_an_explicit_rcond_truncates(rng: Draw) -> None:
    U = np.linalg.qr(rng.standard_normal((30, 3)))[0]
    X = U * [1.0, 1e-3, 1e-6]
    design = design_of(U * np.sqrt(30), np.ones(30))
    y = rng.standard_normal(30)
    assert weighted_lstsq(design, y, space=X, rcond=1e-7).rank == 3
    with pytest.warns(AccuracyWarning):
        fit = weighted_lstsq(design, y, space=X, rcond=1e-4)
    assert fit.rank == 2
    np.testing.assert_allclose(fit.coef, [U[:, 0] @ y, 1e3 * U[:, 1] @ y, 0], rtol=1e-10, atol=1e-9)


def test_a_process_object_stands_for_its_matrix(rng: Draw) -> None:
    X, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    process = ProjectionDPP(X, rng=0)
    design = sample_design(process, rng=1)
    fit = weighted_lstsq(design, y[design.indices], space=process)
    again = weighted_lstsq(design, y[design.indices], space=X)
    np.testing.assert_allclose(fit.coef, again.coef, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(X[:4]), X[:4] @ fit.coef, rtol=1e-12)


def test_leading_singular_vectors_are_a_space_of_their_own(rng: Draw) -> None:
    U = np.linalg.qr(rng.standard_normal((50, 4)))[0]
    V = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    X = (U * [4.0, 2.0, 0.1, 0.05]) @ V.T * 1000
    process = ProjectionDPP(X, rank=2, rng=0)
    design = sample_design(process, 10, rng=1)
    y = U[:, 0] - 3 * U[:, 1]
    fit = weighted_lstsq(design, y[design.indices], space=process)
    assert fit.status == "converged"
    np.testing.assert_allclose(X @ fit.coef, y, atol=1e-12)
    np.testing.assert_allclose(fit.coef, V[:, :2] @ [1 / 4000, -3 / 2000], atol=1e-15)


# ------------------------------------------------------------------------------------ errors


def test_wrong_values_are_refused(rng: Draw) -> None:
    X = rng.standard_normal((30, 3))
    design = sample_design(X, rng=0)
    y = rng.standard_normal(30)
    n = len(design)

    def refused(
        kind: type[Exception], words: str, values: Any, space: Any = X, **more: Any
    ) -> None:
        with pytest.raises(kind, match=words):
            weighted_lstsq(design, values, space=space, **more)

    refused(ValueError, r"for each of the 9 points .* got shape \(30,\)\. .*values\[design.ind", y)
    refused(ValueError, "values must have one entry", y[: n - 1])
    refused(ValueError, "values must have one entry", np.ones((n, 0)))
    refused(ValueError, "values must have one entry", np.ones((n, 1, 1)))
    refused(ValueError, "values must not contain NaN", np.where(np.arange(n) == 2, np.nan, 1.0))
    refused(ValueError, "values must not contain NaN", np.where(np.arange(n) == 2, np.inf, 1.0))
    refused(ValueError, "rcond must be at least 0", y[:n], rcond=-1.0)
    refused(TypeError, "rcond must be a real number", y[:n], rcond="a")
    refused(ValueError, "space must have the rows that the design picks", y[:n], X[:3])
    refused(ValueError, "space must be the matrix .* of dimension 3", y[:n], X[:, :2])
    refused(ValueError, "space must be 2-D", y[:n], X[:, 0])
    refused(TypeError, "values must be an array", object())
    basis = TensorBasis(Legendre(), multi_index(1, 3))
    refused(ValueError, "space must be the matrix that", y[:n], basis)
    other = sample_design(basis, rng=0)
    with pytest.raises(ValueError, match="space must be the basis that"):
        weighted_lstsq(other, np.ones(len(other)), space=X)
    with pytest.raises(ValueError, match=r"Evaluate the function at design\.points"):
        weighted_lstsq(other, np.ones(3), space=basis)
    fit = weighted_lstsq(design, y[design.indices], space=X)
    with pytest.raises(ValueError, match="points must have 3 columns as the matrix has"):
        fit.predict(X[:, :2])
    with pytest.raises(ValueError, match="points must not contain NaN"):
        fit.predict(np.full((1, 3), np.nan))


def test_values_of_another_library_are_refused(xp: Any, rng: Draw) -> None:
    if xp.name == "numpy":
        pytest.skip("one library")
    X = rng.standard_normal((30, 3))
    design = sample_design(X, rng=0)
    with pytest.raises(TypeError, match="must come from one library"):
        weighted_lstsq(design, xp.asarray(np.ones(9)), space=X)


# -------------------------------------------------------------------------- the error bound


@pytest.mark.parametrize("method", ["rdpp", "volume", "iid"])
@pytest.mark.parametrize("mixture", [1.0, 0.5])
def test_the_bound_in_the_maximum_norm_holds_for_every_design(method: str, mixture: float) -> None:
    rng = np.random.default_rng(11)
    x = np.linspace(-1, 1, 60)
    X = np.vander(x, 5)
    for seed in range(25):
        f = np.sign(x - rng.uniform(-1, 1)) * 10.0 ** rng.integers(0, 3) + rng.standard_normal(60)
        design = sample_design(X, 8, method=method, mixture=mixture, rng=seed)
        fit = weighted_lstsq(design, f[design.indices], space=X)
        error = np.linalg.norm(f - fit.predict(X)) / np.sqrt(60)
        # Any function of the space gives an upper bound on the best error; smaller ones cannot
        # be had: the least maximum is a linear programme.
        ones = np.ones((60, 1))
        best = scipy.optimize.linprog(
            [0.0] * 5 + [1.0],
            A_ub=np.block([[X, -ones], [-X, -ones]]),
            b_ub=np.concatenate([f, -f]),
            bounds=[(None, None)] * 6,
        ).fun
        assert error <= fit.error_bound.sup_factor * best
        expected = 1 + math.sqrt(np.mean(design.weights) / design.lmin)
        assert math.isclose(fit.error_bound.sup_factor, expected, rel_tol=1e-9)


class Small:
    """A space of two functions on five points with uniform measure, and all designs on it."""

    def __init__(self, n_points: int = 5, m: int = 2) -> None:
        rng = np.random.default_rng(3)
        self.N, self.m = n_points, m
        A = rng.standard_normal((n_points, n_points)) + 1j * rng.standard_normal(
            (n_points, n_points)
        )
        Q = np.linalg.qr(A)[0] * np.sqrt(n_points)
        self.phi, self.e = Q[:, :m], Q[:, m]  # the error of the best fit has norm 1
        self.k = np.sum(np.abs(self.phi) ** 2, axis=1)
        self.kernel = self.phi @ self.phi.conj().T / n_points

    def process(self) -> Iterator[tuple[tuple[int, ...], float]]:
        for S in itertools.combinations(range(self.N), self.m):
            yield S, float(np.linalg.det(self.kernel[np.ix_(S, S)]).real)

    def optimal(self, a: float) -> np.ndarray:
        return (a * self.k / self.m + 1 - a) / self.N

    def designs(self, method: str, n: int, a: float) -> Iterator[tuple[list[int], float]]:
        """Yield all designs and their probabilities."""
        law = self.optimal(a)
        if method == "iid":
            for S in itertools.product(range(self.N), repeat=n):
                yield list(S), float(np.prod(law[list(S)]))
            return
        free = n % self.m if method == "rdpp" else n - self.m
        blocks = (n - free) // self.m
        for parts in itertools.product(self.process(), repeat=blocks):
            rows = [i for S, _ in parts for i in S]
            weight = math.prod(p for _, p in parts)
            if method == "rdpp" and free:  # one point of one more process, at random
                for i in range(self.N):
                    yield [*rows, i], weight * self.k[i] / self.m / self.N
                continue
            for rest in itertools.product(range(self.N), repeat=free):
                yield rows + list(rest), weight * float(np.prod(law[list(rest)]))

    def squared_error(self, rows: list[int], weights: np.ndarray) -> float:
        """Return ``||f - f^||^2`` for ``f = e``, by the definition."""
        root = np.sqrt(weights)[:, None]
        c = scipy.linalg.lstsq(root * self.phi[rows], root[:, 0] * self.e[rows])[0]
        return float(np.mean(np.abs(self.e - self.phi @ c) ** 2))


@pytest.mark.parametrize(("n_points", "m"), [(5, 2), (6, 3), (7, 1)])
@pytest.mark.parametrize("method", ["rdpp", "volume"])
def test_one_process_has_exactly_the_stated_expectation(method: str, n_points: int, m: int) -> None:
    small = Small(n_points, m)
    total = probability = 0.0
    for S, p in small.process():
        rows = list(S)
        design = design_of(small.phi[rows], m / small.k[rows], method=method)
        design = replace(design, indices=np.asarray(rows))
        fit = weighted_lstsq(design, small.e[rows], space=small.phi)
        total += p * np.mean(np.abs(small.e - fit.predict(small.phi)) ** 2)
        probability += p
        bound = fit.error_bound
    assert math.isclose(probability, 1.0, rel_tol=1e-12)
    assert (bound.factor, bound.rests_on, bound.acceptance) == (m + 1, "expectation", 1.0)
    assert math.isclose(total, bound.factor, rel_tol=1e-10)


@pytest.mark.parametrize("condition", [("lmin", 0.6), ("lmin", 0.9), ("norm", 0.8)], ids=str)
@pytest.mark.parametrize(
    ("method", "n", "a"),
    [
        ("iid", 3, 1.0),
        ("iid", 5, 1.0),
        ("iid", 4, 0.5),
        ("volume", 3, 1.0),
        ("volume", 4, 1.0),
        ("volume", 4, 0.5),
        ("rdpp", 4, 1.0),
        ("rdpp", 5, 1.0),
    ],
)
def test_conditional_bounds_hold_for_exact_expectations(
    method: str, n: int, a: float, condition: tuple[str, float]
) -> None:
    small = Small()
    word, delta = condition
    weights = 1 / (a * small.k / small.m + 1 - a)
    inside = total = everything = 0.0
    for rows, p in small.designs(method, n, a):
        w = weights[rows]
        values = np.linalg.eigvalsh((small.phi[rows].conj().T * w) @ small.phi[rows] / n)
        everything += p
        worst = 1 - values[0] if word == "lmin" else max(1 - values[0], values[-1] - 1)
        if worst <= delta:
            inside += p
            total += p * small.squared_error(rows, w)
    assert math.isclose(everything, 1.0, rel_tol=1e-9)
    design = design_of(
        np.tile(small.phi, (2, 1)), np.ones(10), method=method, mixture=a, condition=condition
    )
    design = replace(design, n_drawn=n)
    factor = _conditional_factor(design, inside)
    assert inside > 0.05
    assert total / inside <= factor
    first = 1 + (1 if method == "iid" else 1 / a) / ((1 - delta) * inside)
    assert factor <= first * (1 + 1e-12)
    if method != "volume" or a == 1:
        assert factor <= (1 + small.m / (n * a * (1 - delta) ** 2 * inside)) * (1 + 1e-12)


def test_repeated_processes_with_points_of_the_measure() -> None:
    # Half of four points from one process, the others from the measure itself.
    small, n, a, delta = Small(), 4, 0.5, 0.9
    weights = 1 / (a * small.k / small.m + 1 - a)
    inside = total = 0.0
    for S, p in small.process():
        for rest in itertools.product(range(5), repeat=2):
            rows = [*S, *rest]
            w = weights[rows]
            if np.linalg.eigvalsh((small.phi[rows].conj().T * w) @ small.phi[rows] / n)[0] >= 0.1:
                inside += p / 25
                total += p / 25 * small.squared_error(rows, w)
    design = design_of(small.phi, np.ones(5), method="rdpp", mixture=a, condition=("lmin", delta))
    assert total / inside <= _conditional_factor(replace(design, n_drawn=n), inside)


def test_boosting_and_thinning_enlarge_the_factor(rng: Draw) -> None:
    phi = np.linalg.qr(rng.standard_normal((60, 5)))[0] * np.sqrt(60)
    design = design_of(phi, np.ones(60), condition=("lmin", 0.5), method="rdpp")
    p = 0.7
    assert math.isclose(_conditional_factor(design, p), 1 + 5 / 60 / (0.25 * p))
    boosted = replace(design, boost=4)
    assert math.isclose(_conditional_factor(boosted, p), 1 + 4 / (0.5 * p))
    thinned = replace(design, subsample="greedy")
    assert math.isclose(_conditional_factor(thinned, p), 1 + 12 / (0.5 * p))


def test_the_probability_of_the_condition_is_proven_or_a_matter_of_confidence() -> None:
    rng = np.random.default_rng(0)
    phi = np.linalg.qr(rng.standard_normal((400, 5)))[0] * np.sqrt(400)
    many = design_of(phi, np.ones(400), condition=("norm", 0.9))
    proven, source = _acceptance(many)
    assert math.isclose(proven, 1 - 10 * math.exp(-400 / 5 * (1.9 * math.log(1.9) - 0.9)))
    assert "Chernoff" in source
    few = replace(many, n_drawn=15, n_tries=3)
    limit, source = _acceptance(few)
    assert math.isclose(limit, 1 - 0.95 ** (1 / 3))
    assert "95 % confidence after 3 tries" in source
    assert math.isclose(_acceptance(replace(many, method="rdpp"))[0], 0.05)
    # Exact coverage: the limit exceeds the true probability in less than 5 % of all cases.
    for p in (0.001, 0.04, 0.05001, 0.3, 0.9):
        tries = np.arange(1, 20_000)
        exceeds = 1 - 0.95 ** (1 / tries) > p
        assert (p * (1 - p) ** (tries - 1.0))[exceeds].sum() <= 0.05


def test_nothing_is_claimed_where_nothing_is_known(rng: Draw) -> None:
    phi = np.linalg.qr(rng.standard_normal((40, 4)))[0] * np.sqrt(40)
    design = design_of(phi, np.ones(40))
    small = design_of(phi[:4], np.ones(4))
    conditioned = replace(design, condition=("lmin", 0.9))
    for none in (
        design,
        replace(design, method="rdpp"),
        replace(design, method="volume"),
        small,
        replace(small, method="volume", boost=2),
        replace(conditioned, subsample="bss"),
        replace(conditioned, subsample="greedy", lmin=0.05),
    ):
        bound = error_bound(none)
        assert (bound.factor, bound.rests_on) == (math.inf, "almost sure")
        assert math.isfinite(bound.sup_factor)
        assert "No bound in expectation" in bound.description
    assert error_bound(conditioned).rests_on == "conditional"
    assert "with lmin >= 0.1, the" in error_bound(conditioned).description
    inexact = error_bound(replace(design, exact=False))
    assert "not exact" in inexact.description


def test_designs_as_they_are_drawn_carry_their_bounds() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 3))
    bounds = {}
    for name, options in {
        "one": {"n": 10},
        "conditional": {"condition": ("lmin", 0.8)},
        "iid": {"condition": ("norm", 0.9), "method": "iid", "n": 400},
        "greedy": {"condition": ("lmin", 0.8), "subsample": "greedy"},
        "bss": {"condition": ("lmin", 0.8), "subsample": "bss"},
        "mixed": {"n": 30, "mixture": 0.5, "condition": ("lmin", 0.9)},
    }.items():
        design = sample_design(basis, rng=3, **options)
        bounds[name] = weighted_lstsq(design, np.ones(len(design)), space=basis).error_bound
    assert bounds["one"].factor == 11
    assert bounds["iid"].rests_on == bounds["conditional"].rests_on == "conditional"
    assert bounds["iid"].factor < 11
    assert bounds["greedy"].factor > bounds["conditional"].factor
    assert bounds["bss"].rests_on == "almost sure"
    assert bounds["mixed"].rests_on == "conditional"
    assert all(b.sup_factor < 100 for b in bounds.values())


# ----------------------------------------------------------------------------------- moments


def test_moments_of_known_coefficients_on_every_library(xp: Any) -> None:
    table = [[0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 1, 0], [0, 0, 3], [1, 1, 2]]
    basis = TensorBasis(Legendre(), xp.xp.asarray(np.asarray(table), device=xp.device))
    design = sample_design(basis, 20, rng=0)
    c = np.array([[3.0, 1.0], [2.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.5, 0.0], [3.0, 0.0]])
    y = basis.evaluate(design.points) @ xp.asarray(c)
    fit = weighted_lstsq(design, y, space=basis)
    tol = 30 * xp.tolerance
    v = 4 + 1 + 16 + 0.25 + 9
    np.testing.assert_allclose(xp.to_numpy(fit.mean()), [3, 1], atol=tol)
    np.testing.assert_allclose(xp.to_numpy(fit.variance()), [v, 0], atol=100 * tol)
    sobol = fit.sobol_indices()
    first = np.array([4, 1, 0.25]) / v
    total = np.array([4 + 16 + 9, 1 + 16 + 9, 0.25 + 9]) / v
    np.testing.assert_allclose(xp.to_numpy(sobol.first)[:, 0], first, atol=tol)
    np.testing.assert_allclose(xp.to_numpy(sobol.total)[:, 0], total, atol=tol)
    np.testing.assert_allclose(xp.to_numpy(sobol.interaction([0, 1]))[0], 16 / v, atol=tol)
    one = weighted_lstsq(design, y[:, 0], space=basis)
    assert isinstance(one.mean(), float)
    assert isinstance(one.variance(), float)
    single = one.sobol_indices()
    np.testing.assert_allclose(xp.to_numpy(single.total), total, atol=tol)
    sets = [s for r in (1, 2, 3) for s in itertools.combinations(range(3), r)]
    assert math.isclose(sum(single.interaction(s) for s in sets), 1.0, rel_tol=tol)


def test_a_constant_has_no_variance_to_share() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 1))
    design = sample_design(basis, rng=0)
    fit = weighted_lstsq(design, np.zeros(len(design)), space=basis)
    sobol = fit.sobol_indices()
    assert (fit.mean(), fit.variance()) == (0.0, 0.0)
    assert sobol.first.tolist() == sobol.total.tolist() == [0.0, 0.0]
    assert sobol.interaction([0, 1]) == 0.0


def test_complex_functions_and_bases_without_constant() -> None:
    basis = TensorBasis(Fourier(), [[1, 0], [2, 1]])
    design = sample_design(basis, 8, rng=0)
    y = basis.evaluate(design.points) @ np.array([3.0 + 4.0j, 1.0j])
    fit = weighted_lstsq(design, y, space=basis)
    assert fit.mean() == 0
    assert isinstance(fit.mean(), complex)
    assert math.isclose(fit.variance(), 26)
    np.testing.assert_allclose(fit.sobol_indices().first, [25 / 26, 0], atol=1e-12)


def test_the_ishigami_function_has_its_published_indices() -> None:
    basis = TensorBasis(Legendre(-np.pi, np.pi), multi_index(3, 13))
    design = sample_design(basis, 2 * basis.dim, rng=0)
    x = design.points
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    fit = weighted_lstsq(design, y, space=basis)
    v1 = 0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2
    v2, v13 = 49 / 8, 0.01 * np.pi**8 * (1 / 18 - 1 / 50)
    v = v1 + v2 + v13
    sobol = fit.sobol_indices()
    assert abs(fit.mean() - 3.5) < 1e-2
    assert abs(fit.variance() / v - 1) < 1e-2
    np.testing.assert_allclose(sobol.first, [v1 / v, v2 / v, 0], atol=3e-3)
    np.testing.assert_allclose(sobol.total, [(v1 + v13) / v, v2 / v, v13 / v], atol=3e-3)
    assert abs(sobol.interaction([0, 2]) - v13 / v) < 3e-3


def test_moments_need_a_product_basis_and_sets_of_variables(rng: Draw) -> None:
    X = rng.standard_normal((30, 3))
    design = sample_design(X, rng=0)
    fit = weighted_lstsq(design, np.ones(len(design)), space=X)
    for ask in (fit.mean, fit.variance, fit.sobol_indices):
        with pytest.raises(TypeError, match=r"space must be a product basis .*quadrature"):
            ask()
    basis = TensorBasis(Legendre(), multi_index(2, 2))
    design = sample_design(basis, rng=0)
    sobol = weighted_lstsq(design, np.ones(len(design)), space=basis).sobol_indices()
    for variables, kind, words in (
        ([], ValueError, "one at least"),
        ([0, 0], ValueError, "must be different"),
        ([2], ValueError, "between 0 and 1"),
        ([0.5], TypeError, "must be an integer"),
    ):
        with pytest.raises(kind, match=words):
            sobol.interaction(variables)


def test_a_space_of_another_dimension_is_refused() -> None:
    small = TensorBasis(Legendre(), multi_index(2, 3))
    design = sample_design(small, 30, rng=0)
    values = np.ones(30)
    for degree in (2, 6):
        other = TensorBasis(Legendre(), multi_index(2, degree))
        with pytest.raises(ValueError, match="drawn for, of dimension 10, got one of dimension"):
            weighted_lstsq(design, values, space=other)
    rows = np.random.default_rng(0).standard_normal((50, 4))
    with pytest.raises(ValueError, match=r"of dimension 4, got shape \(50, 6\)"):
        weighted_lstsq(sample_design(rows, rng=0), np.ones(12), space=np.ones((50, 6)))


def test_equal_rows_make_the_expected_error_smaller_than_the_factor() -> None:
    """Sets of dependent rows have no probability, and their share of the identity is missing."""
    X = np.asarray([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    y = np.asarray([1.0, 2, 3, 4, 6, 9])
    best = np.linalg.lstsq(X, y)[0]
    errors = []
    for first in range(3):
        for second in range(3, 6):
            fit = X @ np.asarray([y[first], y[second]])
            errors.append(np.sum((y - fit) ** 2))
    ratio = np.mean(errors) / np.sum((y - X @ best) ** 2)
    assert ratio == pytest.approx(2.0)
    design = sample_design(X, 2, rng=0)
    fit = weighted_lstsq(design, y[design.indices], space=X)
    assert fit.error_bound.factor == 3.0 >= ratio
    assert "at most 3 times" in fit.error_bound.description


def test_a_fit_that_is_not_determined_has_no_bound() -> None:
    basis = TensorBasis(BSpline(np.linspace(0, 1, 9), 1), np.arange(9)[:, None])
    deficient = 0
    for seed in range(60):
        design = sample_design(basis, 10, method="iid", rng=seed)
        values = basis.evaluate(design.points) @ np.arange(1.0, 10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            fit = weighted_lstsq(design, values, space=basis)
        if fit.status == "rank_deficient":
            deficient += 1
            assert fit.error_bound.factor == fit.error_bound.sup_factor == math.inf
            assert "do not determine" in fit.error_bound.description
        else:
            assert np.abs(fit.coef - np.arange(1.0, 10)).max() < 1e-6
    assert deficient > 10
    # A rank that the caller lowers is no better.
    legendre = TensorBasis(Legendre(), multi_index(2, 3))
    design = sample_design(legendre, condition=("lmin", 0.9), rng=0)
    with pytest.warns(AccuracyWarning):
        fit = weighted_lstsq(design, np.ones(len(design)), space=legendre, rcond=0.6)
    assert fit.error_bound.factor == math.inf


def test_a_design_of_another_basis_of_the_same_dimension_is_refused() -> None:
    line = TensorBasis(Legendre(), np.stack([np.arange(6), np.zeros(6, dtype=int)], axis=1))
    plane = TensorBasis(Legendre(), multi_index(2, 2))
    design = sample_design(line, 18, rng=0)
    with pytest.raises(ValueError, match="differs by"):
        weighted_lstsq(design, np.ones(18), space=plane)
    assert weighted_lstsq(design, np.ones(18), space=line).status == "converged"


def test_moments_of_functions_of_any_size() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 2))
    design = sample_design(basis, 30, rng=0)
    x = design.points
    fit = weighted_lstsq(design, 1e155 + 1e150 * x[:, 0], space=basis)
    assert fit.variance() == pytest.approx(1e300 / 3, rel=1e-6)
    columns = np.stack([1e200 * x[:, 0], 1e20 * x[:, 1]], axis=1)
    shares = weighted_lstsq(design, columns, space=basis).sobol_indices()
    assert np.allclose(shares.first, np.eye(2), atol=1e-10)
    constant = weighted_lstsq(design, np.full(30, 7.3), space=basis).sobol_indices()
    assert constant.total.tolist() == [0.0, 0.0]
    largest = weighted_lstsq(design, np.full(30, 1.7e308), space=basis)
    assert largest.mean() == pytest.approx(1.7e308)
    assert math.isfinite(largest.residual)


def test_arguments_of_a_wrong_kind_are_named() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 2))
    design = sample_design(basis, 30, rng=0)
    with pytest.raises(TypeError, match="design must be a Design"):
        weighted_lstsq(np.ones((30, 2)), np.ones(30), space=basis)
    with pytest.raises(TypeError, match="space must be a TensorBasis"):
        weighted_lstsq(design, np.ones(30), space=3)
    assert design != sample_design(basis, 30, rng=0)
    assert isinstance(hash(design), int)


def test_numbers_in_words_are_rounded_to_the_safe_side() -> None:
    basis = TensorBasis(Legendre(), multi_index(1, 2))
    design = sample_design(basis, 100, method="iid", condition=("lmin", 0.9), rng=0)
    bound = error_bound(design)
    assert 0.99 < bound.acceptance < 1
    assert "at least 0.999 of all designs" in bound.description


@pytest.mark.parametrize("units", [[1e155, 1, 1], [1e-163, 1, 1], [1e200] * 3, [1e-150, 1, 1e150]])
def test_fits_on_columns_of_any_unit(units: list[float]) -> None:
    X = np.random.default_rng(0).standard_normal((300, 3))
    A = X * units
    design = sample_design(A, 12, rng=0)
    fit = weighted_lstsq(design, (X @ [1.0, 2, 3])[design.indices], space=A)
    assert fit.status == "converged"
    assert np.allclose(fit.coef * units, [1, 2, 3], rtol=1e-10)


def test_every_column_of_values_has_its_own_size() -> None:
    basis = TensorBasis(Legendre(), multi_index(2, 3))
    design = sample_design(basis, rng=0)
    y = np.cos(design.points.sum(axis=1))
    both = weighted_lstsq(design, np.stack([y * 1e180, y * 1e-160], axis=1), space=basis)
    for j, size in enumerate((1e180, 1e-160)):
        alone = weighted_lstsq(design, y * size, space=basis)
        assert np.allclose(both.coef[:, j], alone.coef, rtol=1e-12)
        assert both.error_estimate[j] == pytest.approx(alone.error_estimate)


def test_conditions_in_words_are_rounded_to_the_safe_side() -> None:
    basis = TensorBasis(Legendre(), np.arange(5)[:, None])
    design = sample_design(basis, 1000, method="iid", condition=("lmin", 0.1234567), rng=0)
    assert "with lmin >= 0.876, the" in error_bound(design).description
    design = sample_design(basis, 1000, method="iid", condition=("norm", 0.22345), rng=0)
    assert "with ||G - I|| <= 0.2235, the" in error_bound(design).description
