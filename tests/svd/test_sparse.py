"""Many sparse columns at once: projections from the right, their accounts and their bounds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from linalgkit._core.row_buffer import RowBuffer
from linalgkit.svd import IncrementalSVD
from linalgkit.svd import _stream as stream_module
from linalgkit.svd._ritz import leading, remainder_bound
from tests.svd.problems import check_certificate, cut, draw

M, N = 1500, 600  # some 150 columns wait: a dozen times as many as are kept


def sparse(seed: int, m: int = M, n: int = N, *, is_complex: bool = False) -> Any:
    """Return a sparse matrix with a few strong directions and a flat rest."""
    rng = np.random.default_rng(seed)
    strong = sp.random_array((m, 12), density=0.01, rng=rng) * 2.0 ** -np.arange(12)
    A = strong @ sp.random_array((12, n), density=0.3, rng=rng)
    A = A + 0.02 * sp.random_array((m, n), density=0.004, rng=rng)
    if is_complex:
        A = A.multiply(np.exp(2j * np.pi * rng.random((1, n))))
    return A.tocsc()


def streamed(A: Any, width: int, **options: Any) -> IncrementalSVD:
    """Return an object that has taken in blocks of columns."""
    svd = IncrementalSVD(**{"n_components": 8, "n_oversamples": 4, "rng": 0, **options})
    for block in cut(A, width):
        svd.append_columns(block)
    return svd


def count_leaves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of columns with every projection."""
    found: list[int] = []
    original = stream_module.leaf_step

    def counted(kept: Any, block: Any, *args: Any, **options: Any) -> Any:
        found.append(block.b)
        return original(kept, block, *args, **options)

    monkeypatch.setattr(stream_module, "leaf_step", counted)
    return found


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("method", ["auto", "gram"])
def test_the_error_is_exact_and_enclosures_hold(
    method: str, is_complex: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = count_leaves(monkeypatch)
    A = sparse(1, is_complex=is_complex)
    result = streamed(A, 60, method=method, compute_v=True).result()
    assert len(leaves) >= 3
    assert min(leaves) >= 60
    dense = A.toarray()
    check_certificate(result, dense, rtol=1e-7)
    assert result.error_kind == "exact"
    error = np.linalg.norm(dense - (result.U * result.s) @ result.Vh)
    np.testing.assert_allclose(result.error_fro, error, rtol=1e-12)
    best = np.sqrt(np.sum(np.linalg.svd(dense, compute_uv=False)[8:] ** 2))
    projected = np.linalg.norm(dense - result.U @ (result.U.conj().T @ dense))
    assert projected <= 1.01 * best


def test_float32_forgetting_and_the_mean() -> None:
    A = sparse(2)
    dense = A.toarray()
    single = streamed(A.astype("float32"), 100).result()
    assert single.U.dtype == np.float32
    check_certificate(single, dense, rtol=2e-5)

    fading = 0.995 ** np.arange(N - 1, -1, -1.0)
    faded = streamed(A, 100, forgetting=0.995).result()
    check_certificate(faded, dense * fading, rtol=1e-7)

    centred = streamed(A + 3.0 * sp.csc_array(np.eye(M, 1)) @ np.ones((1, N)), 100, center=True)
    mean = dense.mean(axis=1) + 3.0 * np.eye(M, 1)[:, 0]
    np.testing.assert_allclose(centred.mean_, mean, atol=1e-12)
    check_certificate(centred.result(), dense - dense.mean(axis=1)[:, None], rtol=1e-7)


@pytest.mark.parametrize("exponent", [-200, 200])
def test_numbers_far_from_one(exponent: int) -> None:
    A = sparse(3)
    plain = streamed(A, 100).result()
    scaled = streamed(A * 2.0**exponent, 100).result()
    np.testing.assert_array_equal(scaled.s, plain.s * 2.0**exponent)
    assert scaled.error_fro == plain.error_fro * 2.0**exponent


def test_the_same_bits_however_columns_are_cut_and_from_a_saved_state() -> None:
    A = sparse(4)
    whole = streamed(A, N)
    again = streamed(A, 37)
    half = streamed(A[:, :250], 11)
    resumed = IncrementalSVD.from_state(half.to_state()).append_columns(A[:, 250:])
    for other in (again, resumed):
        np.testing.assert_array_equal(other.result().U, whole.result().U)
        assert other.result().error_fro == whole.result().error_fro
    other = streamed(A, 37, rng=1).result()
    np.testing.assert_allclose(other.s[:5], whole.result().s[:5], rtol=1e-4)


def test_merged_parts_keep_the_account() -> None:
    A = sparse(5)
    parts = [streamed(block, 100, compute_v=True) for block in cut(A, 250)]
    result = IncrementalSVD.merge_all(parts).result()
    error = np.linalg.norm(A.toarray() - (result.U * result.s) @ result.Vh)
    np.testing.assert_allclose(result.error_fro, error, rtol=1e-12)
    check_certificate(result, A.toarray(), rtol=1e-7)


def test_small_rank_is_found_exactly() -> None:
    rng = np.random.default_rng(6)
    left = sp.random_array((M, 5), density=0.2, rng=rng)
    A = (left @ sp.random_array((5, N), density=0.5, rng=rng)).tocsc()
    result = streamed(A, 90).result()
    s = np.linalg.svd(A.toarray(), compute_uv=False)
    assert result.status == "rank_deficient"
    assert result.rank == 5
    np.testing.assert_allclose(result.s, s[:5], rtol=1e-12)
    assert result.error_fro <= 1e-6 * s[0]
    empty = streamed(sp.csc_array((M, N)), 90).result()
    assert (empty.rank, empty.error_fro) == (0, 0.0)


def test_auto_goes_over_to_factors_where_squares_do_not_resolve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaves = count_leaves(monkeypatch)
    rng = np.random.default_rng(7)
    scales = np.r_[10.0 ** (-np.arange(45) / 3), np.zeros(M - 45)]
    A = sp.diags_array(scales) @ sp.random_array((M, N), density=0.5, rng=rng)
    s = np.linalg.svd(A.toarray(), compute_uv=False)
    found = streamed(A.tocsc(), N, n_components=25, n_oversamples=25).result()
    assert len(leaves) == 1  # thrown away; dense steps of a few columns since
    np.testing.assert_allclose(found.s, s[:25], atol=1e-14 * s[0])
    by_squares = streamed(A.tocsc(), N, n_components=25, n_oversamples=25, method="gram").result()
    assert np.max(np.abs(by_squares.s / s[: by_squares.rank] - 1)) > 1e-6


def test_a_generator_is_as_it_was_after_an_error() -> None:
    rng = np.random.default_rng(8)
    before = rng.bit_generator.state
    A = sparse(9)
    A.data[5] = np.nan
    svd = IncrementalSVD(8, rng=rng)
    with pytest.raises(ValueError, match="NaN or infinity"):
        svd.append_columns(A)
    assert rng.bit_generator.state == before


def test_columns_are_never_written_out() -> None:
    m = 20_000
    A = sp.random_array((m, 4000), density=2e-4, rng=np.random.default_rng(10)).tocsc()
    tracemalloc.start()
    streamed(A, 500).result()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * m * 12 * 8  # the columns would take 8 m 4000


@pytest.mark.parametrize("spectrum", ["flat", "slow", "spike", "fast"])
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_the_bound_on_what_is_left_holds(spectrum: str, is_complex: bool) -> None:
    rng = np.random.default_rng(11)
    n = 150
    values = {
        "flat": np.linspace(1.0, 0.9, n),
        "slow": 1.0 / np.arange(1, n + 1) ** 2,
        "spike": np.r_[np.ones(10), 0.5, np.full(n - 11, 1e-3)],
        "fast": 0.5 ** np.arange(n),
    }[spectrum]
    Q = np.linalg.qr(draw(rng, n, n, is_complex=is_complex))[0]
    K = (Q * values) @ Q.conj().T
    for _ in range(60):
        V = np.linalg.qr(Q[:, :10] + 0.1 * draw(rng, n, 10, is_complex=is_complex))[0]
        off = np.eye(n) - V @ V.conj().T
        truth = np.linalg.norm(off @ K @ off, 2)
        estimate = truth * rng.uniform(0.7, 1.3)
        bound, block = remainder_bound(lambda X: K @ X, V, estimate, rng)
        assert block is None or truth > estimate
        assert truth <= bound <= 2.5 * truth


def test_leading_pairs_converge_and_exhaust() -> None:
    rng = np.random.default_rng(12)
    values = np.r_[1.0 / np.arange(1, 31), np.full(970, 1e-3)]
    Q = np.linalg.qr(rng.standard_normal((1000, 1000)))[0]
    K = (Q * values) @ Q.T
    start = rng.standard_normal((1000, 8))
    options = {"cap": 24, "wanted": 20}
    found = leading(lambda X: K @ X, start, energy=float(np.sum(values)), **options)
    np.testing.assert_allclose(found.values[:20], values[:20], rtol=1e-3)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(24), atol=1e-13)
    low = (Q[:, :15] * values[:15]) @ Q[:, :15].T
    found = leading(lambda X: low @ X, start, energy=float(np.sum(values[:15])), **options)
    assert found.is_exhausted
    np.testing.assert_allclose(found.values[:15], values[:15], rtol=1e-13)
    assert max(found.values[15:], default=0.0) <= 1e-13


@pytest.mark.parametrize("rest", [0.0, 1e-6, 1e-2])
def test_singular_values_of_any_multiplicity_are_found(rest: float) -> None:
    rng = np.random.default_rng(14)
    s = np.r_[np.ones(20), np.full(280, rest)]
    U, V = (np.linalg.qr(rng.standard_normal((size, 300)))[0] for size in (400, 300))
    A = (U * s) @ V.T
    svd = IncrementalSVD(20, n_oversamples=2, buffer_size=300, compute_v=True, rng=0)
    result = svd.append_columns(sp.csc_array(A)).result()
    np.testing.assert_allclose(result.s, 1.0, rtol=1e-6)
    error = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    assert abs(result.error_fro**2 - error**2) <= 1e-12
    check_certificate(result, A, rtol=1e-7)


def test_a_buffer_is_full_by_rows_or_by_entries_whatever_the_cuts() -> None:
    rng = np.random.default_rng(13)
    A = sp.random_array((300, 40), density=0.2, rng=rng).tocsr()
    A = sp.vstack([A[:100], sp.csr_array((100, 40)), A[100:]]).tocsr()
    sizes = []
    for width in (1, 7, 400):
        buffer = RowBuffer(60, least_rows=5, entries=100)
        blocks = []
        for start in range(0, 400, width):
            blocks += [block.toarray() for block in buffer.push(A[start : start + width])]
            buffer = RowBuffer.from_state(buffer.to_state(), xp=np)
        tail = buffer.tail()
        blocks += [] if tail is None else [tail.toarray()]
        np.testing.assert_array_equal(np.concatenate(blocks), A.toarray())
        sizes.append([len(block) for block in blocks])
    assert sizes[0] == sizes[1] == sizes[2]
    assert 60 in sizes[0]
    for block in blocks[:-1]:
        assert len(block) == 60 or np.count_nonzero(block) >= 100
        assert len(block) <= 60
