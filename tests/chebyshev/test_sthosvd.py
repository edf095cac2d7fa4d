"""Tucker decomposition to a tolerance: errors that are met, claimed and certified."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from linalgkit._core import array as core_array
from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev import _sthosvd as room
from linalgkit.chebyshev import _tucker_slices as slices
from linalgkit.chebyshev import _tucker_steps as steps
from linalgkit.chebyshev import _tucker_svd as bases
from linalgkit.chebyshev._sthosvd import sthosvd
from tests.conftest import Backend, uncompiled

HOST = core_array.numpy_namespace()
METHODS = ("auto", "gram", "lq", "randomized")


def unfolding(T: Any, axis: int) -> Any:
    return np.moveaxis(T, axis, 0).reshape(T.shape[axis], -1)


def product(core: Any, factors: Any) -> Any:
    """The definition, one tensordot a mode."""
    for axis, U in enumerate(factors):
        core = np.moveaxis(np.tensordot(U, core, (1, axis)), 0, axis)
    return core


def decaying(rng: Any, shape: tuple[int, ...], rate: float, kind: str = "float64") -> Any:
    """A tensor whose singular values fall by about `rate` in every mode, in random bases."""
    index = sum(np.ix_(*(np.arange(n) for n in shape)))
    T = rng.standard_normal(shape) * rate ** index.astype(float)
    if np.dtype(kind).kind == "c":
        T = T + 1j * rng.standard_normal(shape) * rate ** index.astype(float)
    turns = []
    for n in shape:
        A = rng.standard_normal((n, n))
        if np.dtype(kind).kind == "c":
            A = A + 1j * rng.standard_normal((n, n))
        turns.append(np.linalg.qr(A)[0])
    return np.ascontiguousarray(product(T, turns))


def true_error(found: Any, X: Any, backend: Backend | None = None) -> float:
    """Relative error of the decomposition, multiplied out in double precision."""
    host = (lambda x: x) if backend is None else backend.to_numpy
    wide = np.complex128 if np.iscomplexobj(X) else np.float64
    Y = product(host(found.core).astype(wide), [host(U).astype(wide) for U in found.factors])
    return float(np.linalg.norm(Y - X) / np.linalg.norm(X))


def least_error(X: Any, ranks: tuple[int, ...]) -> float:
    """A lower bound of the error of any decomposition of these ranks: that of its worst mode."""
    tails = []
    for axis, r in enumerate(ranks):
        s = np.linalg.svd(unfolding(X, axis), compute_uv=False)
        tails.append(np.sqrt(np.sum(s[r:] ** 2)))
    return float(max(tails) / np.linalg.norm(X))


# --------------------------------------------------------------------------- what is promised


@pytest.mark.parametrize(
    ("kind", "svd"),
    [("float64", "auto"), *(("complex128", svd) for svd in ("gram", "lq", "randomized"))],
)
def test_the_tolerance_is_met_and_the_error_claimed_is_the_true_one(
    xp: Backend, rng: Any, kind: str, svd: str
) -> None:
    X = decaying(rng, (40, 9, 10), 0.4, kind)
    tol = 1e-2
    found = sthosvd(xp.asarray(X), tol=tol, svd=svd, rng=3)
    true = true_error(found, X, xp)
    assert found.status == "converged"
    assert true <= tol
    assert true <= 1.01 * found.error + xp.tolerance
    assert found.error <= max(1.05 * true, 10 * xp.tolerance**0.5)
    assert found.ranks == tuple(found.core.shape)
    assert true <= math.sqrt(3) * 1.05 * least_error(X, found.ranks)
    for n, U in zip(X.shape, found.factors, strict=True):
        host = xp.to_numpy(U)
        assert host.shape[0] == n
        gap = host.conj().T @ host - np.eye(host.shape[1])
        assert np.abs(gap).max() <= xp.tolerance
        assert core_array.device(U) == xp.device
    core, factors = xp.to_numpy(found.core), [xp.to_numpy(U) for U in found.factors]
    full = xp.to_numpy(found.to_array())
    np.testing.assert_allclose(full, product(core, factors), atol=xp.tolerance)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("svd", ["auto", "lq", "randomized"])
def test_one_rank_less_in_any_mode_would_miss_the_tolerance_by_the_rule(
    rng: Any, tol: float, svd: str
) -> None:
    """The rank of the first mode is at most one above the least whose tail takes a third."""
    X = decaying(rng, (70, 71, 72), 0.6)
    found = sthosvd(X, tol=tol, svd=svd, rng=0)
    assert true_error(found, X) <= min(tol, found.error * 1.5)
    for axis in range(3):
        s = np.linalg.svd(unfolding(X, axis), compute_uv=False)
        tails = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0)) / np.linalg.norm(X)
        least = int(np.argmax(tails <= tol / math.sqrt(3)))
        assert found.ranks[axis] <= least + 1


def test_dtypes_are_kept_and_integers_become_floats(xp: Backend, rng: Any) -> None:
    X = rng.integers(-3, 4, (4, 5))
    for name in xp.dtypes:
        found = sthosvd(xp.asarray(X.astype(name), name), tol=1e-3)
        kept = getattr(xp.xp, name)
        assert found.core.dtype == kept
        assert all(U.dtype == kept for U in found.factors)
    found = sthosvd(xp.xp.asarray(X, device=xp.device), tol=1e-3)
    assert xp.xp.isdtype(found.core.dtype, "real floating")


@pytest.mark.parametrize("svd", METHODS)
@pytest.mark.parametrize("tol", [1e-3, 1e-5, 1e-6, 5e-7])
def test_single_precision_claims_no_less_than_it_delivers(rng: Any, tol: float, svd: str) -> None:
    for rate in (0.3, 0.8):
        X = decaying(rng, (40, 41, 42), rate).astype(np.float32)
        found = sthosvd(X, tol=tol, svd=svd, rng=1)
        true = true_error(found, X.astype(np.float64))
        assert true <= 1.5 * found.error
        assert true <= tol
        assert found.status == "converged"


def test_default_tolerances_follow_the_dtype(rng: Any) -> None:
    X = decaying(rng, (30, 31, 32), 0.3)
    assert 1e-12 < sthosvd(X).error <= 1e-10
    assert 1e-7 < sthosvd(X.astype(np.float32)).error <= 1e-5


@pytest.mark.parametrize("shape", [(7,), (5, 9), (3, 4, 5, 6), (2, 3, 2, 3, 2, 3, 2)], ids=str)
def test_any_order(rng: Any, shape: tuple[int, ...]) -> None:
    X = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    found = sthosvd(X, tol=0.3)
    assert len(found.factors) == len(shape)
    assert true_error(found, X) <= min(0.3, 1.0001 * found.error)
    full = sthosvd(X, tol=1e-12)
    assert true_error(full, X) <= min(1e-12, 1.5 * full.error)


def test_a_matrix_gets_its_singular_value_decomposition(rng: Any) -> None:
    X = decaying(rng, (12, 15), 0.5)
    found = sthosvd(X, ranks=4)
    s = np.linalg.svd(X, compute_uv=False)
    assert found.error == pytest.approx(np.linalg.norm(s[4:]) / np.linalg.norm(s), rel=1e-10)
    np.testing.assert_allclose(np.linalg.svd(found.core, compute_uv=False), s[:4], rtol=1e-12)


def test_modes_of_length_one_and_zeros(xp: Backend) -> None:
    found = sthosvd(xp.asarray(np.zeros((3, 1, 4))))
    assert found.ranks == (1, 1, 1)
    assert found.error == 0.0
    assert found.status == "converged"
    assert not np.any(xp.to_numpy(found.to_array()))
    one = sthosvd(xp.asarray(np.full((1, 1, 4), 2.0)))
    assert one.ranks == (1, 1, 1)
    np.testing.assert_allclose(xp.to_numpy(one.to_array()), 2.0, rtol=1e-5)
    large = sthosvd(np.zeros((30, 30, 30)))
    assert large.ranks == (1, 1, 1)
    assert large.error == 0.0
    for U in large.factors:
        assert np.linalg.norm(U) == 1.0


@pytest.mark.parametrize("factor", [1e200, 1e-200, 2.0**-40])
@pytest.mark.parametrize("svd", METHODS)
def test_any_scale(rng: Any, factor: float, svd: str) -> None:
    X = decaying(rng, (33, 34, 35), 0.5)
    plain, scaled = (sthosvd(Y, tol=1e-5, svd=svd, rng=0) for Y in (X, X * factor))
    assert plain.ranks == scaled.ranks
    assert scaled.error == pytest.approx(plain.error, rel=1e-4)
    assert np.linalg.norm(scaled.to_array() / factor - X) <= 1e-5 * np.linalg.norm(X)


# ----------------------------------------------------------------------------------- ranks


@uncompiled
def test_ranks_alone_are_the_ranks(xp: Backend, rng: Any) -> None:
    X = decaying(rng, (8, 9, 10), 0.5)
    found = sthosvd(xp.asarray(X), ranks=(2, 3, 4))
    assert found.ranks == (2, 3, 4)
    assert found.status == "max_rank"
    assert true_error(found, X, xp) == pytest.approx(found.error, rel=1e-3)
    assert true_error(found, X, xp) <= math.sqrt(3) * 1.02 * least_error(X, (2, 3, 4))
    assert sthosvd(xp.asarray(X), ranks=3).ranks == (3, 3, 3)


def test_a_mode_has_no_more_columns_than_the_others_allow(rng: Any) -> None:
    found = sthosvd(rng.standard_normal((9, 2, 3)), ranks=(9, 2, 1))
    assert found.ranks == (2, 2, 1)


def test_of_ranks_and_tolerance_the_smaller_rank_counts(rng: Any) -> None:
    X = decaying(rng, (20, 21, 22), 0.5)
    loose = sthosvd(X, tol=1e-2)
    both = sthosvd(X, tol=1e-2, ranks=(20, 3, 20))
    assert both.ranks[1] == 3
    assert all(b <= r + 1 for b, r in zip(both.ranks, loose.ranks, strict=True))
    assert both.status == "max_rank"
    assert both.error > 1e-2
    assert sthosvd(X, tol=1e-2, ranks=20).ranks == loose.ranks


@pytest.mark.parametrize("svd", METHODS)
def test_fixed_ranks_are_near_the_best_by_every_method(rng: Any, svd: str) -> None:
    X = decaying(rng, (80, 40, 41), 0.7)
    found = sthosvd(X, ranks=9, svd=svd, rng=5)
    exact = sthosvd(X, ranks=9, svd="lq")
    assert found.ranks == (9, 9, 9)
    assert true_error(found, X) <= 1.02 * exact.error
    assert found.error == pytest.approx(true_error(found, X), rel=1e-6)


# ------------------------------------------------------------------------- the three methods


def test_gram_matrices_claim_what_they_cannot_see_and_warn(rng: Any) -> None:
    X = decaying(rng, (40, 41, 42), 0.3)
    with pytest.warns(AccuracyWarning, match="below what the dtype and the method resolve"):
        found = sthosvd(X, tol=1e-12, svd="gram")
    assert found.error >= true_error(found, X)
    assert 1e-9 < found.error < 1e-6
    assert true_error(sthosvd(X, tol=1e-12), X) <= 1e-12


def one_large_value(rng: Any, n: int, large: float, kind: str = "float64") -> Any:
    """A superdiagonal tensor (large, 1, ..., 1) in random bases: orthogonally decomposable."""
    X = np.zeros((n, n, n), dtype=kind)
    X[range(n), range(n), range(n)] = np.where(np.arange(n) == 0, large, 1.0)
    turns = [np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(3)]
    return np.ascontiguousarray(product(X, turns))


@pytest.mark.parametrize("large", [1.5e7, 2.5e7, 1e8])
@pytest.mark.parametrize("svd", METHODS)
def test_many_small_values_below_a_large_one_are_not_claimed_away(
    rng: Any, svd: str, large: float
) -> None:
    X = one_large_value(rng, 70, large)
    least = math.sqrt(35) / math.hypot(large, math.sqrt(69))
    found = sthosvd(X, ranks=35, svd=svd, rng=0)
    true = true_error(found, X)
    assert 0.999 * least <= true <= 1.001 * found.error
    assert found.error <= 1.25 * true
    found = sthosvd(X, tol=5e-7, svd=svd, rng=0)
    assert true_error(found, X) <= min(5e-7, 1.001 * found.error)
    assert found.status == "converged"


def test_gram_by_name_does_not_call_a_miss_converged(rng: Any) -> None:
    X = decaying(rng, (40, 41, 42), 0.5)
    with pytest.warns(AccuracyWarning, match="below what the dtype and the method resolve"):
        found = sthosvd(X, tol=1e-10, svd="gram")
    assert true_error(found, X) > 1e-10
    assert found.status == "inaccurate"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = sthosvd(rng.standard_normal((4, 5, 6)), tol=1e-10, svd="gram")
    assert whole.status == "converged"  # nothing was left out
    assert whole.error <= 1e-10


@pytest.mark.parametrize("svd", METHODS)
def test_ranks_alone_are_the_ranks_beyond_those_of_the_tensor(rng: Any, svd: str) -> None:
    factors = [np.linalg.qr(rng.standard_normal((70, 3)))[0] for _ in range(3)]
    X = product(rng.standard_normal((3, 3, 3)), factors)
    for r in (7, 40, 64):
        found = sthosvd(X, ranks=r, svd=svd, rng=0)
        assert found.ranks == (r, r, r)
        assert true_error(found, X) <= 1e-14
        for U in found.factors:
            assert np.abs(U.T @ U - np.eye(r)).max() <= 1e-14


def test_gram_matrices_stay_honest_from_one_to_their_limit(rng: Any) -> None:
    for tol in (1e-2, 1e-4, 1e-6, 3e-7, 1.2e-7):
        X = decaying(rng, (50, 30, 31), 0.7, "complex128")
        found = sthosvd(X, tol=tol, svd="gram")
        assert true_error(found, X) <= found.error <= tol


def test_tolerances_below_roundoff_are_raised_with_a_warning(xp: Backend, rng: Any) -> None:
    X = xp.asarray(rng.standard_normal((4, 5, 6)))
    with pytest.warns(AccuracyWarning, match="tol = "):
        found = sthosvd(X, tol=1e-30)
    assert found.error < 100 * core_array.eps(xp.xp, found.core.dtype)


def test_a_sketch_that_misses_is_seen_by_its_residual(rng: Any, monkeypatch: Any) -> None:
    """Control: with the estimate of the residual silenced, only the certificate is left."""
    X = decaying(rng, (80, 40, 41), 0.75)
    monkeypatch.setattr(bases, "_tested", lambda R, xp: 0.0)
    monkeypatch.setattr(bases, "_SPARED", 1e6)  # and far too few columns asked for
    found = sthosvd(X, tol=1e-8, svd="randomized", rng=0)
    assert true_error(found, X) <= min(1e-8, 1.001 * found.error)


@pytest.mark.parametrize("svd", ["auto", "randomized"])
def test_tensors_that_sketches_find_hard(rng: Any, svd: str) -> None:
    noise = rng.standard_normal((64, 24, 25))
    found = sthosvd(noise, tol=1e-9, svd=svd, rng=0)
    assert true_error(found, noise) <= 1.5 * found.error <= 1e-9
    column = np.zeros((64, 40, 41))  # only one slice differs from zero, and a single far entry
    column[:, :, 7] = decaying(rng, (64, 40), 0.6)
    column[5, 3, 40] = 1.0
    found = sthosvd(column, tol=1e-9, svd=svd, rng=0)
    assert true_error(found, column) <= 1e-9


def test_residuals_are_accurate_far_below_the_square_root_of_roundoff(rng: Any) -> None:
    X = decaying(rng, (70, 40, 41), 0.3)
    found = sthosvd(X, tol=1e-13, svd="randomized", rng=0)
    assert true_error(found, X) <= 1e-13
    assert found.error <= 1e-13


@uncompiled
def test_explicit_residual_of_a_projection(xp: Backend, rng: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(bases, "_PIECE_BYTES", 700)
    T = rng.standard_normal((4, 5, 6)) + 1j * rng.standard_normal((4, 5, 6))
    for axis in range(3):
        A = rng.standard_normal((T.shape[axis], 2)) + 1j * rng.standard_normal((T.shape[axis], 2))
        U = np.linalg.qr(A)[0]
        B = np.moveaxis(np.tensordot(U.conj().T, T, (1, axis)), 0, axis)
        gap = T - np.moveaxis(np.tensordot(U, B, (1, axis)), 0, axis)
        found = bases.residual_energy(xp.asarray(T), xp.asarray(B), xp.asarray(U), axis, xp.xp)
        assert found == pytest.approx(np.linalg.norm(gap) ** 2, rel=xp.tolerance)


def test_sums_of_groups_keep_the_energy_outside_any_basis_on_average(
    xp: Backend, rng: Any, monkeypatch: Any
) -> None:
    """E ||A S||_F^2 = ||A||_F^2 for signed sums of columns, whichever way the unfolding lies."""
    monkeypatch.setattr(bases, "_PIECE_BYTES", 2000)
    T = rng.standard_normal((3, 3, 3, 15))
    for axis in (0, 1) if xp.name != "numpy" else (0, 1, 2):
        energies = []
        for seed in range(3 if xp.name != "numpy" else 400):
            Z = bases._grouped_columns(xp.asarray(T), axis, np.random.default_rng(seed), xp.xp)
            energies.append(np.linalg.norm(xp.to_numpy(Z)) ** 2)
        assert Z.shape[0] == 3
        if xp.name == "numpy":
            error = np.std(energies) / math.sqrt(len(energies))
            assert abs(np.mean(energies) - np.linalg.norm(T) ** 2) <= 5 * error


def test_sums_of_groups_are_the_same_for_every_library(xp: Backend, rng: Any) -> None:
    for shape, axis in (((3, 5, 40), 0), ((5, 3, 40), 1), ((40, 5, 3), 2)):
        T = rng.standard_normal(shape)
        Z = bases._grouped_columns(T, axis, np.random.default_rng(1), HOST)
        found = bases._grouped_columns(xp.asarray(T), axis, np.random.default_rng(1), xp.xp)
        np.testing.assert_allclose(xp.to_numpy(found), Z, atol=100 * xp.tolerance)
        # Each column is in one group: signs times columns, so that no direction is lost.
        assert np.linalg.matrix_rank(Z) == 3


def test_gram_matrices_of_graded_rows_keep_all_digits(rng: Any) -> None:
    T = np.linalg.qr(rng.standard_normal((200, 6)))[0].T * 10.0 ** -np.arange(0, 18, 3)[:, None]
    T = T + 1e-3 * rng.standard_normal((6, 200)) * 10.0 ** -np.arange(0, 18, 3)[:, None]
    found = bases._graded_vectors(T, 0, HOST)
    assert found is not None
    s = np.linalg.svd(np.linalg.qr(T.T, mode="r"), compute_uv=False)
    np.testing.assert_allclose(found[1], s, rtol=1e-2)  # LAPACK itself knows the last ones so far
    np.testing.assert_allclose(found[1][:4], s[:4], rtol=1e-5)
    assert bases._graded_vectors(np.ones((3, 9)), 0, HOST) is None


def test_auto_gives_the_same_answer_again_and_seeds_theirs(rng: Any) -> None:
    X = decaying(rng, (80, 40, 41), 0.3)
    first, second = sthosvd(X, tol=1e-9), sthosvd(X, tol=1e-9)
    assert np.array_equal(first.core, second.core)
    seeded = [sthosvd(X, tol=1e-9, svd="randomized", rng=s).core for s in (1, 1, 2)]
    assert np.array_equal(seeded[0], seeded[1])
    assert seeded[0].shape != seeded[2].shape or not np.array_equal(seeded[0], seeded[2])


def test_the_cheap_and_shrinking_modes_come_first() -> None:
    assert steps.order_of_modes((9, 9, 9), (9, 9, 9)) == [0, 2, 1]
    assert steps.order_of_modes((50, 10, 200), (50, 10, 200))[0] == 1
    assert steps.order_of_modes((20, 20, 20), (20, 20, 1))[0] == 2
    assert steps.order_of_modes((7,), (7,)) == [0]


# ---------------------------------------------------------------------------------- sweeps


@uncompiled
def test_sweeps_never_make_it_worse_and_help_where_ranks_are_small(xp: Backend, rng: Any) -> None:
    X = rng.standard_normal((6, 7, 8)) + 1j * rng.standard_normal((6, 7, 8))
    plain = sthosvd(xp.asarray(X), ranks=2)
    swept = sthosvd(xp.asarray(X), ranks=2, n_iter=2)
    assert swept.ranks == plain.ranks
    assert swept.error < plain.error * 0.999
    assert true_error(swept, X, xp) == pytest.approx(swept.error, rel=1e-3)


def test_sweeps_end_at_a_fixed_point(rng: Any) -> None:
    """There every factor spans the leading vectors of the tensor projected on the others."""
    X = decaying(rng, (8, 9, 10), 0.6)
    found = sthosvd(X, ranks=3, n_iter=60)
    for axis in range(3):
        others = [np.eye(n) if k == axis else U.conj().T
                  for k, (n, U) in enumerate(zip(X.shape, found.factors, strict=True))]  # fmt: skip
        U = np.linalg.svd(unfolding(product(X, others), axis))[0][:, :3]
        cosines = np.linalg.svd(U.T @ found.factors[axis], compute_uv=False)
        assert cosines.min() > 1 - 1e-8


# ------------------------------------------------------------------------ slices left out


@uncompiled
def test_slices_that_do_not_matter_are_left_out(xp: Backend, rng: Any) -> None:
    x = np.cos(np.pi * (np.arange(50) + 0.5) / 50)
    V = np.exp(-3 * (x[:, None, None] ** 2 + 2 * x[:, None] ** 2 + 0.5 * (x - 0.1) ** 2))
    C = V
    for axis in range(3):
        T = np.polynomial.chebyshev.chebvander(x, 49)
        C = np.moveaxis(np.tensordot(np.linalg.pinv(T), C, (1, axis)), 0, axis)
    allowed = (1e-4 * np.linalg.norm(C)) ** 2
    X = xp.asarray(C)
    kept, lost = slices.significant_slices(X, allowed, (1, 1, 1), xp.xp)
    assert [s.step for s in kept[:2]] == [2, 2]  # even in the first two variables
    small = slices.restricted(X, kept, xp.xp)
    assert small.shape[0] < 20
    rest = C.copy()
    rest[tuple(kept)] = 0.0
    assert np.linalg.norm(rest) ** 2 <= lost * (1 + xp.tolerance) <= allowed
    found = sthosvd(X, tol=1e-4)
    assert true_error(found, C, xp) <= min(1e-4, 1.001 * found.error)


def test_extended_rows_are_zero_elsewhere(xp: Backend, rng: Any) -> None:
    U = rng.standard_normal((3, 2))
    found = xp.to_numpy(slices.extended(xp.asarray(U), 9, slice(1, 6, 2), xp.xp))
    expected = np.zeros((9, 2))
    expected[1:6:2] = U
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_fixed_ranks_survive_slices_of_zeros() -> None:
    X = np.zeros((40, 30, 30))
    X[3, 4, 5] = 1.0
    found = sthosvd(X, ranks=(3, 2, 2))
    assert found.ranks == (3, 2, 2)
    assert true_error(found, X) <= 1e-15


# ------------------------------------------------------------------- the internal entrance


@pytest.mark.parametrize("factor", [1.0, 1e200, 1e-200])
def test_truncate_discards_at_most_what_it_may(rng: Any, factor: float) -> None:
    X = decaying(rng, (8, 9, 10), 0.5)
    core, factors, error = room.truncate(X * factor, 1e-3 * factor, HOST)
    true = np.linalg.norm(product(core / factor, factors) - X)
    assert true == pytest.approx(error / factor, rel=1e-6)
    assert error <= 1e-3 * factor
    core, factors, error = room.truncate(X * factor, 0.0, HOST, ranks=(2, 2, 2), n_iter=1)
    assert core.shape == (2, 2, 2)
    true = np.linalg.norm(product(core / factor, factors) - X)
    assert true == pytest.approx(error / factor, rel=1e-6)


def test_truncate_on_every_library(xp: Backend, rng: Any) -> None:
    X = decaying(rng, (8, 9, 10), 0.5, "complex128")
    core, factors, error = room.truncate(xp.asarray(X), 1e-2, xp.xp)
    Y = product(xp.to_numpy(core), [xp.to_numpy(U) for U in factors])
    assert np.linalg.norm(Y - X) <= error * 1.001 + 100 * xp.tolerance
    assert error <= 1e-2
    zero, factors, error = room.truncate(xp.asarray(np.zeros((3, 2))), 0.0, xp.xp)
    assert zero.shape == (1, 1)
    assert error == 0.0


# ------------------------------------------------------------------------ errors and memory


@pytest.mark.parametrize(
    ("kind", "text", "arguments"),
    [
        (ValueError, "tol must", {"tol": 0.0}),
        (ValueError, "tol must", {"tol": -1e-3}),
        (ValueError, "tol must", {"tol": float("nan")}),
        (TypeError, "tol must", {"tol": "small"}),
        (ValueError, "ranks must be between 1 and 4", {"ranks": 5}),
        (ValueError, "ranks must", {"ranks": 0}),
        (TypeError, "ranks must", {"ranks": 2.0}),
        (ValueError, "ranks must have one entry", {"ranks": (2, 2)}),
        (ValueError, r"ranks\[2\] must", {"ranks": (2, 2, 7)}),
        (TypeError, r"ranks\[1\] must", {"ranks": (2, "a", 2)}),
        (ValueError, "svd must", {"svd": "qr"}),
        (ValueError, "n_iter must", {"n_iter": -1}),
        (TypeError, "n_iter must", {"n_iter": 1.5}),
        (TypeError, "rng must", {"svd": "randomized", "rng": "seed"}),
    ],
    ids=lambda value: str(value) if isinstance(value, (str, dict)) else value.__name__,
)
def test_bad_arguments(kind: type[Exception], text: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(kind, match=text):
        sthosvd(np.ones((4, 5, 6)), **arguments)


def test_bad_tensors() -> None:
    with pytest.raises(TypeError):
        sthosvd([[1.0, 2.0]])
    with pytest.raises(TypeError, match="dense"):
        sthosvd(scipy.sparse.eye_array(3))
    with pytest.raises(ValueError, match="at least one axis"):
        sthosvd(np.asarray(1.0))
    with pytest.raises(ValueError, match="no empty mode"):
        sthosvd(np.ones((3, 0, 2)))
    with pytest.raises(ValueError, match="below the largest"):
        sthosvd(np.full((4, 4, 4), 1e308))


def test_nan_and_infinity_are_refused(xp: Backend) -> None:
    for bad in (np.nan, -np.inf):
        X = np.ones((3, 4, 5))
        X[1, 2, 3] = bad
        with pytest.raises(ValueError, match="NaN or infinity"):
            sthosvd(xp.asarray(X))
    with pytest.raises(ValueError, match="entry 1"):
        sthosvd(np.asarray([1.0, np.inf]))


def test_arrays_stay_out_of_the_repr(rng: Any) -> None:
    shown = repr(sthosvd(rng.standard_normal((3, 4, 5)), tol=0.1))
    assert "array" not in shown
    assert "ranks=" in shown


@pytest.mark.parametrize("svd", ["gram", "lq", "randomized"])
def test_memory_is_what_the_docstring_says(rng: Any, svd: str) -> None:
    X = decaying(rng, (100, 101, 102), 0.5)
    sthosvd(X, tol=1e-6, svd=svd, rng=0)
    tracemalloc.start()
    found = sthosvd(X, tol=1e-6, svd=svd, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    widest = max(found.ranks) + 8
    assert peak <= 2 * widest / 100 * X.nbytes + 8 * 3 * (100**2 + 101**2 + 102**2) + 2 * 2**20


def test_arrays_that_lie_otherwise_give_the_same(rng: Any) -> None:
    X = decaying(rng, (30, 31, 32), 0.5)
    plain = sthosvd(X, tol=1e-6)
    other = sthosvd(np.asfortranarray(X), tol=1e-6)
    assert np.array_equal(plain.core, other.core)
    strided = np.zeros((60, 31, 32))
    strided[::2] = X
    assert np.array_equal(plain.core, sthosvd(strided[::2], tol=1e-6).core)


def test_no_warning_for_what_is_met(rng: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sthosvd(decaying(rng, (9, 10, 11), 0.3), tol=1e-13)
