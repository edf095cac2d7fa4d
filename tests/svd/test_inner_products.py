"""Incremental decompositions in other inner products than the usual one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from linalgkit.svd import IncrementalSVD
from tests.conftest import Backend
from tests.svd.problems import check_certificate, cut, draw, matrix

M, N = 40, 90


def weights(rng: Any) -> Any:
    return rng.uniform(0.1, 4.0, M)


def full(rng: Any, *, is_complex: bool = False) -> Any:
    G = draw(rng, M, M, is_complex=is_complex)
    return G @ G.conj().T + np.eye(M)


def few(rng: Any, *, is_complex: bool = False, m: int = M) -> Any:
    """Return a sparse matrix whose factor takes another order than its rows have."""
    L = sp.random_array((m, m), density=2.0 / m, rng=rng) + sp.eye_array(m)
    if is_complex:
        L = L + 1j * sp.random_array((m, m), density=2.0 / m, rng=rng)
    return sp.csr_array(L @ L.conj().T)


KINDS: dict[str, Callable[[Any, bool], tuple[Any, Any]]] = {
    "weights": lambda rng, z: 2 * (weights(rng),),
    "list of weights": lambda rng, z: (lambda w: (w.tolist(), w))(weights(rng)),
    "matrix": lambda rng, z: 2 * (full(rng, is_complex=z),),
    "nested list": lambda rng, z: (lambda W: (W.tolist(), W))(full(rng, is_complex=z)),
    "sparse": lambda rng, z: (lambda W: (W, W.toarray()))(few(rng, is_complex=z)),
    "sparse diagonal": lambda rng, z: (lambda w: (sp.dia_array(sp.diags_array(w)), w))(
        weights(rng)
    ),
    "operator": lambda rng, z: (lambda W: (aslinearoperator(W), W))(full(rng, is_complex=z)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def made(kind: str, seed: int = 0, *, is_complex: bool = False) -> tuple[Any, Any]:
    """Return an inner product as it is passed, and as a dense matrix."""
    given, W = KINDS[kind](np.random.default_rng(seed), is_complex)
    return given, np.diag(W) if W.ndim == 1 else W


def rooted(W: Any) -> Any:
    """Return ``F^H`` of ``W = F F^H``."""
    return np.linalg.cholesky(W).conj().T


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_the_answer_is_that_of_the_transformed_matrix(
    kind: str, form: str, is_complex: bool
) -> None:
    rng = np.random.default_rng(1)
    given, W = made(kind, is_complex=is_complex)
    A, _ = matrix(rng, M, N, is_complex=is_complex)
    if form == "sparse":
        A = A * (rng.uniform(size=A.shape) < 0.2)
    svd = IncrementalSVD(5, inner_product=given, compute_v=True, method="cholqr")
    for block in cut(A, 11):
        svd.append_columns(sp.csc_array(block) if form == "sparse" else block)
    result = svd.result()
    F = rooted(W)
    np.testing.assert_allclose(result.U.conj().T @ W @ result.U, np.eye(5), atol=1e-12)
    moved = copy.copy(result)
    object.__setattr__(moved, "U", F @ result.U)
    check_certificate(moved, F @ A, rtol=1e-10)
    rest = F @ (A - (result.U * result.s) @ result.Vh)
    assert result.error_fro == pytest.approx(np.linalg.norm(rest), rel=1e-10)
    samples = sp.csr_array(A.conj().T) if form == "sparse" else A.conj().T
    coordinates = svd.transform(samples)
    np.testing.assert_allclose(coordinates, (A.conj().T @ W) @ result.U, atol=1e-10)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_means_and_forgetting_go_with_every_kind(kind: str, form: str, is_complex: bool) -> None:
    rng = np.random.default_rng(2)
    given, W = made(kind, is_complex=is_complex)
    A = draw(rng, M, N, is_complex=is_complex) + (3.0 + 2.0j if is_complex else 3.0)
    A = A * (rng.uniform(size=(M, N)) < 0.3)
    factor = 0.97
    svd = IncrementalSVD(6, n_oversamples=40, inner_product=given, center=True, forgetting=factor)
    for block in cut(A, 13):
        svd.append_columns(sp.csc_array(block) if form == "sparse" else block)
    share = factor ** (2.0 * np.arange(N)[::-1])
    mean = A @ share / share.sum()
    expected = np.linalg.svd(rooted(W) @ ((A - mean[:, None]) * np.sqrt(share)))
    result = svd.result()
    np.testing.assert_allclose(svd.mean_, mean.conj(), rtol=1e-10)
    np.testing.assert_allclose(result.s, expected[1][:6], rtol=1e-9)
    overlap = result.U.conj().T @ W @ np.linalg.solve(rooted(W), expected[0][:, :6])
    np.testing.assert_allclose(np.abs(overlap), np.eye(6), atol=1e-6)


def test_kinds_that_are_equal_merge() -> None:
    rng = np.random.default_rng(3)
    W = few(rng, is_complex=True)
    A, _ = matrix(rng, M, N, is_complex=True)
    same = [W, W.toarray(), W.tocoo(), aslinearoperator(W), W.toarray().tolist()]
    for center in (False, True):
        for first in same:
            parts = [
                IncrementalSVD(M, inner_product=given, center=center).append_columns(block)
                for given, block in zip([first, *same], cut(A, 15), strict=True)
            ]
            merged = IncrementalSVD.merge_all(parts)
            whole = IncrementalSVD(M, inner_product=W.toarray(), center=center).append_columns(A)
            np.testing.assert_allclose(merged.result().s, whole.result().s, atol=1e-10)
            U = merged.result().U[:, :10]
            np.testing.assert_allclose(
                np.abs(U.conj().T @ W @ whole.result().U[:, :10]), np.eye(10), atol=1e-7
            )
            if center:
                np.testing.assert_allclose(merged.mean_, whole.mean_, atol=1e-12)
    empty = IncrementalSVD(M, inner_product=W)
    empty.merge(IncrementalSVD(M, inner_product=W.toarray()).append_columns(A))
    U = empty.append_columns(A).result().U
    np.testing.assert_allclose(U.conj().T @ W @ U, np.eye(M), atol=1e-11)


def test_weights_and_diagonal_matrices_merge_and_others_do_not() -> None:
    rng = np.random.default_rng(4)
    w = weights(rng)
    A, _ = matrix(rng, M, 20)
    forms = [w, w.tolist(), np.diag(w), sp.diags_array(w), sp.csr_array(np.diag(w))]
    parts = [IncrementalSVD(8, n_oversamples=32, inner_product=form) for form in forms]
    for part in parts:
        part.append_columns(A)
    merged = IncrementalSVD.merge_all(parts).result()
    s = np.linalg.svd(np.sqrt(5 * w)[:, None] * A, compute_uv=False)
    np.testing.assert_allclose(merged.s, s[:8], rtol=1e-10)
    other = w.copy()
    other[3] *= 1 + 1e-15
    for unlike in (other, sp.diags_array(other), full(rng), None, np.ones(3)):
        with pytest.raises(ValueError, match="inner_product must agree"):
            parts[0].merge(IncrementalSVD(8, n_oversamples=32, inner_product=unlike))


@pytest.mark.parametrize("way", ["file", "state", "pickle", "copy"])
def test_every_kind_is_resumed(kind: str, way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    given, W = made(kind, is_complex=True)
    A, _ = matrix(rng, M, N, is_complex=True)
    svd = IncrementalSVD(7, inner_product=given, center=True).append_columns(A[:, :50])
    if way == "file":
        svd.save(tmp_path / "state.npz")
        resumed = IncrementalSVD.load(tmp_path / "state.npz")
    elif way == "state":
        resumed = IncrementalSVD.from_state(svd.to_state())
    elif way == "pickle" and kind != "operator":
        resumed = pickle.loads(pickle.dumps(svd))
    else:
        resumed = copy.deepcopy(svd)
    for each in (svd, resumed):
        each.append_columns(A[:, 50:])
    np.testing.assert_array_equal(svd.result().s, resumed.result().s)
    np.testing.assert_array_equal(svd.result().U, resumed.result().U)
    np.testing.assert_array_equal(svd.mean_, resumed.mean_)
    U = svd.merge(resumed).result().U
    np.testing.assert_allclose(U.conj().T @ W @ U, np.eye(7), atol=1e-12)


def test_a_saved_order_of_elimination_is_kept() -> None:
    # Another release of SciPy may choose another order: what waits and what is kept are in the
    # coordinates of the one that is saved.
    rng = np.random.default_rng(6)
    W = few(rng)
    A, _ = matrix(rng, M, N)
    svd = IncrementalSVD(6, inner_product=W).append_columns(A[:, :50])
    state = svd.to_state()
    reversed_order = np.arange(M)[::-1].copy()
    other = IncrementalSVD(6, inner_product=W)
    other.__dict__["_inner_order"] = reversed_order
    other.append_columns(A[:, :50])
    assert not np.array_equal(state["inner_order"], reversed_order)
    resumed = IncrementalSVD.from_state(other.to_state()).append_columns(A[:, 50:])
    other.append_columns(A[:, 50:])
    np.testing.assert_array_equal(resumed.result().U, other.result().U)
    both = svd.merge(resumed).result()
    whole = IncrementalSVD(6, n_oversamples=30, inner_product=W)
    whole.append_columns(np.concatenate([A[:, :50], A], axis=1))
    np.testing.assert_allclose(both.s, whole.result().s, rtol=1e-3)
    np.testing.assert_allclose(both.U.T @ W @ both.U, np.eye(6), atol=1e-12)


def test_sparse_matrices_of_many_rows_stay_sparse() -> None:
    # Mass matrix of linear elements on a grid: dense it would take 3.2 GB.
    side = 141
    line = sp.diags_array([1.0, 4.0, 1.0], offsets=[-1, 0, 1], shape=(side, side)) / 6
    W = sp.kron(line, line, format="csr")
    m = side * side
    rng = np.random.default_rng(7)
    A = sp.random_array((m, 60), density=1e-3, rng=rng).tocsc()
    svd = IncrementalSVD(4, n_oversamples=56, inner_product=W).append_columns(A)
    U, s = svd.result().U, svd.result().s
    np.testing.assert_allclose(U.T @ (W @ U), np.eye(4), atol=1e-12)
    gram = (A.T @ W @ A).toarray()
    np.testing.assert_allclose(s**2, np.linalg.eigvalsh(gram)[::-1][:4], rtol=1e-10)


def test_bad_scales_cost_nothing_and_bad_conditions_what_they_must() -> None:
    rng = np.random.default_rng(8)
    A, _ = matrix(rng, M, N)
    # Rows in units that differ by 1e6: W = D H D, of condition 1e12 by D alone.
    d = np.logspace(-3, 3, M)
    H = few(rng).toarray()
    for W in (d[:, None] * H * d, sp.csr_array(d[:, None] * H * d)):
        U = IncrementalSVD(5, inner_product=W).append_columns(A / d[:, None]).result().U
        V = d[:, None] * U
        np.testing.assert_allclose(V.T @ H @ V, np.eye(5), atol=1e-12)
    # Eigenvalues down to 1e-12: F^H U is orthonormal to eps times the root of the condition, in
    # the factor of which F F^H = W to eps.
    Q = np.linalg.qr(rng.standard_normal((M, M)))[0]
    W = (Q * np.logspace(0, -12, M)) @ Q.T
    W = (W + W.T) / 2
    for given in (W, sp.csr_array(W)):
        svd = IncrementalSVD(5, inner_product=given).append_columns(A)
        inner = svd._inner(svd._fitted())
        F = inner.factor.toarray() if inner.kind == "sparse" else inner.factor
        np.testing.assert_allclose(F @ F.T, W, atol=1e-15)
        V = F.T @ svd.result().U
        np.testing.assert_allclose(V.T @ V, np.eye(5), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_inner_products_have_any_unit(kind: str, scale: float) -> None:
    given, W = made(kind)
    if isinstance(given, list):
        given = np.asarray(given)
    if isinstance(given, LinearOperator):
        given = W
    A, _ = matrix(np.random.default_rng(9), M, N)
    plain = IncrementalSVD(5, inner_product=given).append_columns(A).result()
    scaled = IncrementalSVD(5, inner_product=scale * given).append_columns(A).result()
    np.testing.assert_allclose(scaled.s / np.sqrt(scale), plain.s, rtol=1e-10)
    np.testing.assert_allclose(scaled.U * np.sqrt(scale), plain.U, atol=1e-8)


@pytest.mark.parametrize(
    "form", ["weights", "matrix", "nested list", "sparse diagonal", "operator"]
)
def test_every_library_has_inner_products(xp: Backend, form: str) -> None:
    for dtype in xp.dtypes:
        is_complex = dtype.startswith("complex")
        given, W = made(form, is_complex=is_complex)
        if isinstance(given, np.ndarray):
            real = dtype.replace("complex64", "float32").replace("complex128", "float64")
            given = xp.asarray(given, real if given.ndim == 1 else dtype)
        A, _ = matrix(np.random.default_rng(10), M, N, "fast", is_complex=is_complex)
        svd = IncrementalSVD(5, n_oversamples=35, inner_product=given)
        svd.append_columns(xp.asarray(A, dtype))
        result = svd.result()
        U, tolerance = xp.to_numpy(result.U), 3e-5 if dtype in ("float32", "complex64") else 1e-11
        np.testing.assert_allclose(U.conj().T @ W @ U, np.eye(5), atol=tolerance * 10)
        s = np.linalg.svd(rooted(W) @ A, compute_uv=False)
        np.testing.assert_allclose(xp.to_numpy(result.s), s[:5], rtol=tolerance)


def bad(name: str) -> Any:
    """Return what is no inner product for 40 rows."""
    singular = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(M, M)).tolil()
    singular[0, 0] = singular[M - 1, M - 1] = 1.0
    indefinite = sp.eye_array(M).tolil()
    indefinite[2, 3] = indefinite[3, 2] = 2.0
    gap = np.eye(M)
    gap[4, 5] = np.inf
    return {
        "shape": np.ones(7),
        "square": np.ones((M, M + 1)),
        "negative": [-1.0] * M,
        "zero": sp.csr_array((M, M)),
        "complex weights": 1j * np.ones(M),
        "complex": np.eye(M) + 1j * np.eye(M),
        "not finite": gap,
        "sparse not finite": sp.csr_array(gap),
        "not Hermitian": np.eye(M) + np.eye(M, k=1),
        "sparse not Hermitian": sp.eye_array(M) + 0.5 * sp.eye_array(M, k=1),
        "indefinite": indefinite.toarray(),
        "sparse indefinite": indefinite,
        "operator indefinite": aslinearoperator(indefinite.toarray()),
        "sparse singular": singular,
        "dense singular": singular.toarray(),
        "zero pivot": sp.kron(sp.eye_array(M // 2), np.ones((2, 2))),
        "text": "text",
        "texts": ["a"] * M,
        "oblong": aslinearoperator(np.ones((M, M + 1))),
    }[name]


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("shape", ValueError, r"inner_product must be of shape \(40,\) or \(40, 40\)"),
        ("square", ValueError, r"inner_product must be of shape \(40,\) or \(40, 40\)"),
        ("negative", ValueError, "inner_product must have positive weights, got -1"),
        ("zero", ValueError, "inner_product must have positive weights, got 0"),
        ("complex weights", TypeError, "inner_product must have real weights"),
        ("complex", TypeError, "inner_product must have real numbers where the data are real"),
        ("not finite", ValueError, "inner_product must not contain NaN"),
        ("sparse not finite", ValueError, "inner_product must not contain NaN"),
        ("not Hermitian", ValueError, "inner_product must be Hermitian"),
        ("sparse not Hermitian", ValueError, "inner_product must be Hermitian"),
        ("indefinite", ValueError, "inner_product must be positive definite"),
        ("sparse indefinite", ValueError, "inner_product must be positive definite"),
        ("operator indefinite", ValueError, "inner_product must be positive definite"),
        ("sparse singular", ValueError, "inner_product must be positive definite"),
        ("dense singular", ValueError, "inner_product must be positive definite"),
        ("zero pivot", ValueError, "inner_product must be positive definite"),
        ("text", TypeError, "inner_product must be an array"),
        ("texts", TypeError, "inner_product"),
        ("oblong", ValueError, "inner_product must be square"),
    ],
)
def test_bad_inner_products_are_refused(name: str, error: type, match: str) -> None:
    svd = IncrementalSVD(2, inner_product=bad(name))
    with pytest.raises(error, match=match):
        svd.append_columns(np.ones((M, 3)))
    svd.set_params(inner_product=np.ones(M)).append_columns(np.ones((M, 3)))
    assert svd.n_samples_seen_ == 3


def test_arrays_of_another_library_are_refused(xp: Backend) -> None:
    A = xp.asarray(np.ones((M, 3)))
    other = array_api_strict.ones(M) if xp.name == "numpy" else np.ones(M)
    with pytest.raises(TypeError, match="inner_product must be of"):
        IncrementalSVD(2, inner_product=other).append_columns(A)
    if xp.name == "numpy":
        return  # which goes with sparse matrices
    with pytest.raises(TypeError, match="inner_product must be dense or diagonal"):
        IncrementalSVD(2, inner_product=few(np.random.default_rng(11))).append_columns(A)


def test_another_inner_product_in_the_middle_is_refused() -> None:
    A = draw(np.random.default_rng(40), 12, 30)
    W = np.linspace(1.0, 2.0, 12)
    for first, second in ((W, 2.0 * W), (None, W), (W, None)):
        svd = IncrementalSVD(3, inner_product=first).append_columns(A)
        svd.set_params(inner_product=second)
        with pytest.raises(ValueError, match="inner_product must stay what it was"):
            svd.result()
        with pytest.raises(ValueError, match="inner_product must stay what it was"):
            svd.append_columns(A)
        assert svd.fit(A.T).n_samples_seen_ == 30
    svd = IncrementalSVD(3, inner_product=W).append_columns(A)
    svd.set_params(inner_product=W.copy()).append_columns(A)
    assert copy.deepcopy(svd).append_columns(A).n_samples_seen_ == 90
