"""The rivals measured in ``asv_benchmarks`` reach the errors that theory predicts for them.

The rows are Gaussian, of variance R along one direction and 1 across d - 1 others. Errors are
sin^2 of the angle to the top eigenvector of the very same rows (from ``eigh``), in units of
s = (d - 1) / (n R), the statistical error of the sample's own eigenvector for large R. A method
that averages with rate c / t then has error s (c^2 / (2 c - 1) - 1), and one that sees only the
last share f of the rows has s (1 - f) / f.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
from asv_benchmarks import peers
from asv_benchmarks.peers import soft_impute

N, D, R = 12000, 200, 64.0
UNIT = (D - 1) / (N * R)


def spiked(n: int, d: int, variances: list[float], seed: int) -> np.ndarray:
    """Rows with the given variances along random orthonormal directions and 1 elsewhere."""
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(rng.standard_normal((d, len(variances))))[0]
    X = rng.standard_normal((n, d))
    return X + (X @ V * (np.sqrt(variances) - 1.0)) @ V.T


def top_eigenvectors(X: np.ndarray, k: int) -> np.ndarray:
    """The exact answer, eigenvalues descending."""
    return np.linalg.eigh(X.T @ X)[1][:, ::-1][:, :k]


def sin2(Q: np.ndarray, V: np.ndarray) -> float:
    """Squared sine of the largest angle between the column spaces."""
    return 1.0 - float(np.linalg.svd(V.T @ Q, compute_uv=False).min()) ** 2


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return spiked(N, D, [R], seed=0)


@pytest.fixture(scope="module")
def exact(rows: np.ndarray) -> np.ndarray:
    return top_eigenvectors(rows, 1)


def ada_oja_error(block_rows: int) -> float:
    """Stationary error of Oja's rule at the last rate 1 / |G| sqrt(t), per unit of variance."""
    norm2 = R**2 * (1 + 2 / block_rows) + (D - 1) * R / block_rows
    rate = 1.0 / np.sqrt(norm2 * (N // block_rows))
    return (D - 1) * R / (2 * block_rows * (R - 1)) * rate


PREDICTED = {
    "ccipca": UNIT * (9 / 5 - 1),
    "fsm": UNIT * (4 / 3 - 1),
    "block-power": UNIT * 11,
    "ada-oja-10": ada_oja_error(10),
    "ada-oja-256": ada_oja_error(256),
}


@pytest.mark.parametrize("name", PREDICTED)
def test_error_is_the_one_theory_predicts(name, rows, exact):
    error = sin2(peers.run(name, rows), exact)
    assert PREDICTED[name] / 2 < error < PREDICTED[name] * 2


@pytest.mark.parametrize("name", ["history-pca-10", "history-pca-256"])
def test_methods_with_a_summary_are_far_closer_than_the_statistical_error(name, rows, exact):
    assert sin2(peers.run(name, rows), exact) < 0.1 * UNIT


@pytest.mark.parametrize("name", ["incremental-pca", "incremental-pca-256"])
def test_incremental_pca_is_far_closer_than_the_statistical_error(name):
    X = spiked(3000, 60, [R], seed=1)
    assert sin2(peers.run(name, X), top_eigenvectors(X, 1)) < 0.1 * 59 / (3000 * R)


def test_frequent_directions_keeps_its_deterministic_bound():
    X = spiked(3000, 60, [64.0, 30.0, 10.0], seed=3)
    sketch = peers.FrequentDirections(3, sketch_rows=12).partial_fit(X)
    sketch._shrink()
    lost = X.T @ X - sketch._buffer.T @ sketch._buffer
    eigenvalues = np.linalg.eigvalsh(X.T @ X)[::-1]
    bounds = [eigenvalues[k:].sum() / (12 - k) for k in range(12)]
    assert np.linalg.eigvalsh(lost).min() > -1e-9 * eigenvalues[0]
    assert np.linalg.norm(lost, 2) <= min(bounds) * (1 + 1e-12)


def test_frequent_directions_is_exact_below_its_rank():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 40))
    assert sin2(peers.run("frequent-directions", X, 2), top_eigenvectors(X, 2)) < 1e-12


@pytest.mark.parametrize("name", peers.NAMES)
def test_several_components_are_found(name):
    X = spiked(6000, 40, [400.0, 200.0, 100.0], seed=7)
    Q = peers.run(name, X, 3)
    assert Q.shape == (40, 3)
    np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=1e-10)
    assert sin2(Q, top_eigenvectors(X, 3)) < 0.02


@pytest.mark.parametrize("name", peers.NAMES)
def test_answer_does_not_depend_on_the_cuts(name):
    X = spiked(1500, 20, [9.0, 4.0], seed=11)
    whole = peers.run(name, X, 2)
    pieces = peers.make(name, 1500, 2)
    for part in np.split(X, [1, 4, 300, 301, 900]):
        pieces.partial_fit(part)
    np.testing.assert_allclose(np.abs(pieces.components()), np.abs(whole), atol=1e-9)


@pytest.mark.parametrize("name", peers.NAMES)
def test_rows_are_left_as_they_were(name):
    X = spiked(600, 20, [9.0], seed=17)
    before = X.copy()
    peers.run(name, X, 2)
    np.testing.assert_array_equal(X, before)


@pytest.mark.skipif(not peers.has_gensim(), reason="gensim is optional")
def test_lsi_finds_the_top_eigenvector():
    X = spiked(1000, 30, [64.0], seed=13)
    assert sin2(peers.run("lsi", X), top_eigenvectors(X, 1)) < 1e-3


def test_the_textbook_update_is_exact_without_truncation():
    A = np.random.default_rng(3).standard_normal((40, 15))
    svd = peers.BrandSVD(15)
    for column in A.T:
        svd.append(column)
    np.testing.assert_allclose(svd.s, np.linalg.svd(A)[1], rtol=1e-12)
    np.testing.assert_allclose(svd.U.T @ svd.U, np.eye(15), atol=1e-12)


def test_the_textbook_update_loses_orthogonality_where_columns_are_dependent():
    rng = np.random.default_rng(4)
    A = rng.standard_normal((200, 8)) @ rng.standard_normal((8, 2000))
    svd = peers.BrandSVD(10)
    for column in A.T:
        svd.append(column)
    assert np.linalg.norm(svd.U.T @ svd.U - np.eye(10)) > 0.1


@pytest.fixture
def table() -> np.ndarray:
    """A noisy matrix of rank 3 of which half is missing."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30))
    return np.where(rng.random(X.shape) < 0.5, np.nan, X + 0.1 * rng.standard_normal(X.shape))


class TestSoftImpute:
    """Lemma 1, the rate of Theorem 2 and the optimality conditions of Mazumder et al. (2010)."""

    def test_a_full_matrix_is_soft_thresholded_in_one_step(self):
        X = np.random.default_rng(1).standard_normal((12, 9))
        Z = soft_impute.soft_impute(X, 1.5, max_iter=1)
        s = np.linalg.svd(X, compute_uv=False)
        found = np.linalg.svd(Z, compute_uv=False)
        np.testing.assert_allclose(found, np.maximum(s - 1.5, 0), atol=1e-12)
        np.testing.assert_allclose(soft_impute.soft_impute(X, 1.5, start=Z), Z, atol=1e-12)

    def test_the_answer_is_zero_from_the_norm_of_the_observed_matrix_on(self, table):
        largest = np.linalg.norm(np.nan_to_num(table), 2)
        assert not soft_impute.soft_impute(table, 1.0001 * largest).any()
        assert soft_impute.soft_impute(table, 0.999 * largest).any()

    def test_the_limit_satisfies_the_conditions_of_optimality(self, table):
        lam = 2.0
        Z = soft_impute.soft_impute(table, lam, tol=1e-26, max_iter=20_000)
        G = np.where(np.isnan(table), 0.0, table - Z) / lam
        U, s, Vh = np.linalg.svd(Z)
        r = int(np.sum(s > 1e-8 * s[0]))
        np.testing.assert_allclose(U[:, :r].T @ G @ Vh[:r].T, np.eye(r), atol=1e-9)
        assert np.linalg.norm(G, 2) < 1 + 1e-9

    def test_the_objective_falls_as_fast_as_proved(self, table):
        lam = 2.0

        def objective(Z: np.ndarray) -> float:
            nuclear = np.linalg.svd(Z, compute_uv=False).sum()
            return 0.5 * np.nansum((table - Z) ** 2) + lam * nuclear

        best = soft_impute.soft_impute(table, lam, tol=1e-26, max_iter=20_000)
        for k in (1, 3, 10, 30):
            Z = soft_impute.soft_impute(table, lam, tol=0.0, max_iter=k)
            gap = objective(Z) - objective(best)
            assert -1e-9 < gap <= 2 * np.linalg.norm(best) ** 2 / (k + 1)

    def test_the_path_completes_a_matrix_of_low_rank(self):
        rng = np.random.default_rng(2)
        X = rng.standard_normal((80, 2)) @ rng.standard_normal((2, 60)) + 3.0
        hidden = rng.random(X.shape) < 0.4
        Z, lam = soft_impute.soft_impute_path(np.where(hidden, np.nan, X))
        assert lam > 0
        assert np.sqrt(np.mean((Z - X)[hidden] ** 2)) < 0.2 * X.std()
