"""Operators in SciPy's solvers, functions in its calculus, results in its statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
import scipy.stats.sampling
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg, gmres, lsmr, lsqr, svds

from linalgkit.bayes import KroneckerOperator, kron_sbl
from linalgkit.chebyshev import chebtucker
from linalgkit.completion import complete_matrix
from linalgkit.datasets import kronecker_sparse
from linalgkit.regression import sketch_preconditioner, sketched_lstsq
from linalgkit.sketching import leverage_scores, sketch, tensor_sketch
from linalgkit.svd import IncrementalSVD, truncated_svd

TIGHT = {"atol": 1e-14, "btol": 1e-14}


def draw(*shape: int, is_complex: bool = False, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if is_complex else real


def hold_ratings() -> tuple[Any, Any]:
    A = draw(30, 2) @ draw(2, 20, seed=1) + 1.0
    seen = np.random.default_rng(2).random(A.shape) < 0.6
    result = complete_matrix(A, 2, mask=seen, bias=True, rng=0)
    return result.to_linear_operator(), result.block()


def growing_svd() -> tuple[Any, Any]:
    A = draw(30, 20, is_complex=True)
    svd = IncrementalSVD(20, compute_v=True).append_columns(A)
    return svd.to_linear_operator(), A


def kronecker(is_complex: bool = False) -> tuple[Any, Any]:
    A = KroneckerOperator([draw(6, 4, is_complex=is_complex), draw(5, 3, seed=1)])
    return A, A.to_dense()


def preconditioner() -> tuple[Any, Any]:
    P = sketch_preconditioner(draw(60, 5), rng=0)
    return P, P @ np.eye(5)


def posterior_mean() -> tuple[Any, Any]:
    problem = kronecker_sparse((6, 6), (4, 4), (2, 2), snr_db=10.0, snapshots=5, rng=1)
    P = kron_sbl(problem.factors, problem.y).to_linear_operator()
    return P, P @ np.eye(16)


def of_kind(kind: str, **options: Any) -> tuple[Any, Any]:
    S = sketch(kind, 16, 90, rng=0, **options)
    return S, S.toarray()


def tensor() -> tuple[Any, Any]:
    S = tensor_sketch("tensorsketch", 16, (9, 10), rng=0)
    return S, S.toarray()


OPERATORS = {
    "gaussian": lambda: of_kind("gaussian"),
    "complex gaussian": lambda: of_kind("gaussian", dtype="complex128"),
    "srht": lambda: of_kind("srht"),
    "countsketch": lambda: of_kind("countsketch"),
    "leverage": lambda: of_kind("leverage", scores=leverage_scores(draw(90, 4))),
    "tensor": tensor,
    "adjoint": lambda: (of_kind("srht")[0].adjoint(), of_kind("srht")[1].T),
    "its operator": lambda: (of_kind("srht")[0].to_linear_operator(), of_kind("srht")[1]),
    "kronecker": kronecker,
    "complex kronecker": lambda: kronecker(is_complex=True),
    "preconditioner": preconditioner,
    "posterior mean": posterior_mean,
    "completed matrix": hold_ratings,
    "growing svd": growing_svd,
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_scipy_takes_every_operator_as_it_is(kind: str) -> None:
    A, dense = OPERATORS[kind]()
    m, n = dense.shape
    taken = aslinearoperator(A)
    assert (taken.shape, taken.dtype) == (dense.shape, dense.dtype)
    x, y, X, Y = draw(n), draw(m), draw(n, 3), draw(m, 3)
    for given, matrix in ((taken, dense), (taken.H, dense.conj().T), (taken.T, dense.T)):
        for vector in (x, X) if matrix.shape == (m, n) else (y, Y):
            np.testing.assert_allclose(given @ vector, matrix @ vector, atol=1e-12)
    s = np.linalg.svd(dense, compute_uv=False)
    np.testing.assert_allclose(np.sort(svds(A, 2)[1])[::-1], s[:2], rtol=1e-9)
    b = dense @ x
    expected = np.linalg.lstsq(dense, b, rcond=1e-10)[0]
    for solver in (lsqr, lsmr):
        found = solver(A, b, **TIGHT, conlim=1e14, **{_limit(solver): 500})[0]
        np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(truncated_svd(A, 2).s, s[:2], rtol=1e-9)


def _limit(solver: Any) -> str:
    return "iter_lim" if solver is lsqr else "maxiter"


def test_a_sketch_of_open_length_is_no_matrix() -> None:
    S = sketch("gaussian", 5, None, rng=0)
    with pytest.raises(ValueError, match="n must be known"):
        S.to_linear_operator()
    with pytest.raises(ValueError, match=r"must be of known size .*\(5, None\)"):
        truncated_svd(S, 2)


def test_sketches_multiply_each_other_and_other_operators() -> None:
    S, T = sketch("srht", 20, 90, rng=0), sketch("gaussian", 6, 20, rng=1)
    np.testing.assert_allclose(T @ S, T.toarray() @ S.toarray(), atol=1e-12)
    A, dense = kronecker()
    both = sketch("gaussian", 12, 30, rng=0).to_linear_operator() @ aslinearoperator(A)
    expected = sketch("gaussian", 12, 30, rng=0).toarray() @ dense
    np.testing.assert_allclose(both @ np.eye(12), expected, atol=1e-12)


def test_normal_equations_of_a_kronecker_product_by_conjugate_gradients() -> None:
    A, dense = kronecker(is_complex=True)
    b = draw(30, is_complex=True, seed=3)
    expected = np.linalg.lstsq(dense, b)[0]
    for solver in (cg, gmres):
        found, status = solver(A.gram(), A.H @ b, rtol=1e-12)
        assert status == 0
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_preconditioner_makes_ill_conditioned_equations_easy() -> None:
    A = draw(2000, 20) * np.logspace(0, -8, 20)
    b = A @ np.ones(20)
    P = sketch_preconditioner(A, rng=0)
    y, _, bare, *_ = lsqr(A, b, **TIGHT, conlim=0, iter_lim=500)
    y, _, steps, *_ = lsqr(aslinearoperator(A) @ P, b, **TIGHT)
    assert steps < 50 < bare
    np.testing.assert_allclose(P @ y, np.ones(20), atol=1e-5)
    B = draw(2000, 20) * np.logspace(0, -2, 20)
    M = sketch_preconditioner(B, rng=0)
    counts = []
    for inverse in (None, M @ M.H):
        counts.append(0)

        def count(_: Any, counts: list[int] = counts) -> None:
            counts[-1] += 1

        x, status = cg(B.T @ B, B.T @ (B @ np.ones(20)), rtol=1e-10, M=inverse, callback=count)
        assert status == 0
    np.testing.assert_allclose(x, np.ones(20), atol=1e-6)
    assert counts[1] < 30 < counts[0]


# ---------------------------------------------------------------------------------- functions


def peak(x: Any) -> Any:
    u, v = x[..., 0] - 0.2, x[..., 1] + 0.1
    return np.exp(-8 * (u**2 + v**2 + 0.9 * u * v))


def test_a_function_goes_into_quadrature_and_optimisation() -> None:
    T = chebtucker(peak, [(-1, 1)] * 2, tol=1e-10, rng=0)
    by_scipy, error = scipy.integrate.nquad(lambda *x: peak(np.asarray(x)), [(-1, 1)] * 2)
    assert T.integrate() == pytest.approx(by_scipy, abs=4 * 1e-9 + error)
    again, error = scipy.integrate.quad(lambda x: T.integrate(1)(np.asarray([x])), -1, 1)
    assert again == pytest.approx(T.integrate(), abs=error)
    best = scipy.optimize.minimize(
        lambda x: -T(x), [0.5, 0.5], jac=lambda x: -T.gradient(x), bounds=T.domain
    )
    assert best.success
    np.testing.assert_allclose(best.x, [0.2, -0.1], atol=1e-5)
    value, point = T.maximum()
    assert -best.fun == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(point, best.x, atol=1e-4)


class Marginal:
    """The density of the first variable."""

    def __init__(self, T: Any) -> None:
        self.of_first, self.mass = T.integrate(1), T.integrate()

    def pdf(self, x: float) -> float:
        return max(0.0, float(self.of_first(np.asarray([x]))) / self.mass)


def test_a_marginal_density_is_sampled_and_passes_a_test_of_fit() -> None:
    T = chebtucker(peak, [(-1, 1)] * 2, tol=1e-10, rng=0)
    sampler = scipy.stats.sampling.NumericalInversePolynomial(
        Marginal(T), domain=(-1, 1), random_state=0
    )
    x = sampler.rvs(1000)
    # a normal law of precision 16 (1 - 0.45^2), cut at 1 and -1; the cut of the other variable,
    # three standard deviations away, changes it by less than the test can see
    law = scipy.stats.norm(0.2, (16 * (1 - 0.45**2)) ** -0.5)
    whole = law.cdf(1) - law.cdf(-1)

    def cut(x: Any) -> Any:
        return (law.cdf(x) - law.cdf(-1)) / whole

    assert scipy.stats.kstest(x, cut).pvalue > 1e-3
    assert scipy.stats.kstest(x + 0.1, cut).pvalue < 1e-3  # what is shifted is found out


# --------------------------------------------------------------------------------- statistics


def test_intervals_are_students_and_standardised_errors_follow_his_law() -> None:
    n, d, m = 4000, 4, 60
    A, noise = draw(n, d), draw(n, seed=1)
    b = A @ np.arange(1.0, d + 1) + noise
    exact = np.linalg.lstsq(A, b)[0]
    law = scipy.stats.t(m - d)
    scaled = []
    for seed in range(60):
        found = sketched_lstsq(A, b, m=m, sketch="gaussian", rng=seed)
        lower, upper = found.ci(0.9)
        expected = law.interval(0.9)[1] * found.stderr
        np.testing.assert_allclose([found.x - lower, upper - found.x], [expected] * 2, rtol=1e-9)
        scaled.append((found.x[0] - exact[0]) / found.stderr[0])
    assert scipy.stats.kstest(scaled, law.cdf).pvalue > 1e-3
    assert scipy.stats.kstest(np.asarray(scaled) * 3, law.cdf).pvalue < 1e-3


def test_residuals_go_into_tests_of_normality() -> None:
    A = draw(5000, 4)
    x = np.arange(1.0, 5.0)
    for noise, is_normal in ((draw(5000, seed=1), True), (np.tan(draw(5000, seed=2)), False)):
        b = A @ x + noise
        residuals = b - A @ sketched_lstsq(A, b, m=800, rng=0).x
        assert (scipy.stats.normaltest(residuals).pvalue > 1e-3) == is_normal


def test_hidden_entries_are_compared_by_permutations_and_resampled() -> None:
    A = draw(60, 2) @ draw(2, 40, seed=1)
    noisy = A + 0.3 * draw(60, 40, seed=2)
    seen = np.random.default_rng(3).random(A.shape) < 0.5
    result = complete_matrix(noisy, mask=seen, shrink=True, rng=0)
    hidden = np.nonzero(~seen)
    errors = np.abs(noisy[hidden] - result.predict(*hidden))[:200]
    by_mean = np.abs(noisy[hidden] - noisy[seen].mean())[:200]
    paired = scipy.stats.permutation_test(
        (errors, by_mean), lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples", n_resamples=500, alternative="less", vectorized=True, rng=0,
    )  # fmt: skip
    assert paired.pvalue < 0.01
    spread = scipy.stats.bootstrap(
        (noisy[hidden][:400] - result.predict(*hidden)[:400],), np.std, n_resamples=500, rng=0
    ).confidence_interval
    # the noise and the error of the model together; the noise alone is 0.3
    assert 0.27 < spread.low < spread.high < 0.42
    lower, upper = result.interval(*hidden, level=0.9)
    covered = int(np.sum((lower <= A[hidden]) & (A[hidden] <= upper)))
    share = scipy.stats.binomtest(covered, hidden[0].size).proportion_ci(0.999)
    assert share.low < 0.97
    assert share.high > 0.83


def test_operators_are_recognised_as_scipys_own() -> None:
    for make in (hold_ratings, growing_svd, preconditioner, posterior_mean):
        assert isinstance(make()[0], LinearOperator)
