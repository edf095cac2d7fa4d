"""Greedy maximisation of determinants: the walk, its certificate, its refusals."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from linalgkit.sampling import _map
from linalgkit.sampling._map import map_dpp
from tests.conftest import Backend
from tests.sampling import laws


def rows(n: int, d: int, *, complex_entries: bool = True, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 1j * complex_entries * rng.standard_normal((n, d))
    return X if complex_entries else X.real


def log_det(X: np.ndarray, s: object) -> float:
    chosen = X[list(s)]
    return float(np.linalg.slogdet(chosen @ chosen.conj().T)[1])


def greedy(X: np.ndarray, k: int) -> list[int]:
    """Take the row that raises the determinant most, every determinant anew."""
    taken: list[int] = []
    for _ in range(k):
        others = [i for i in range(X.shape[0]) if i not in taken]
        taken.append(max(others, key=lambda i: log_det(X, [*taken, i])))
    return taken


@pytest.mark.parametrize("shape", [(20, 6), (9, 14), (12, 12)], ids=str)
@pytest.mark.parametrize("complex_entries", [False, True], ids=["real", "complex"])
def test_every_step_is_the_best_one(complex_entries: bool, shape: tuple[int, int]) -> None:
    X = rows(*shape, complex_entries=complex_entries)
    k = min(shape)
    found = map_dpp(X, k)
    assert found.indices.tolist() == greedy(X, k)
    for j in range(1, k + 1):
        assert math.fsum(found.gains[:j]) == pytest.approx(log_det(X, found.indices[:j]), rel=1e-9)
    assert found.log_det == pytest.approx(math.fsum(found.gains))
    assert np.all(np.diff(found.gains) <= 1e-9)


@pytest.mark.parametrize("d", [5, 12])
def test_the_bound_holds_for_the_best_subset(d: int) -> None:
    for seed in range(4):
        X = rows(10, d, seed=seed) * np.linspace(0.2, 2.0, 10)[:, None]
        for k in (1, 2, 4):
            best = max(log_det(X, s) for s in laws.subsets(10, k))
            found = map_dpp(X, k)
            assert found.log_det <= best + 1e-12 <= found.bound + 1e-9
            assert best - found.log_det <= found.gap + 1e-9
            assert found.log_det >= best - 2 * math.log(math.factorial(k))  # 1 / k! in volume


def test_the_bound_is_met_by_orthogonal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.diag([3.0, 5.0, 1.0, 2.0])
    found = map_dpp(X, 3)
    assert found.indices.tolist() == [1, 0, 3]
    assert found.gap < 1e-12
    np.testing.assert_allclose(found.gains, 2 * np.log([5.0, 3.0, 2.0]))
    monkeypatch.setattr(_map, "_LARGEST_SPECTRUM", 3)
    assert map_dpp(X, 3).bound == pytest.approx(2 * math.log(30.0))


def test_interlacing_and_hadamard_each_win_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    near = np.ones((6, 3)) + 0.01 * rows(6, 3, complex_entries=False)
    spectral = map_dpp(near, 2).bound
    many = np.concatenate([np.eye(3)] * 9)
    monkeypatch.setattr(_map, "_LARGEST_SPECTRUM", 0)
    assert map_dpp(near, 2).bound > spectral + 1
    assert map_dpp(many, 2).bound == pytest.approx(0.0)  # the eigenvalues are 9


def test_ties_go_to_the_smallest_index() -> None:
    X = np.concatenate([np.zeros((1, 3)), np.eye(3), np.eye(3)])
    assert map_dpp(X, 3).indices.tolist() == [1, 2, 3]
    circle = np.exp(2j * np.pi * np.arange(8) / 8)[:, None] * np.ones((1, 2))
    circle[4:, 1] *= -1
    assert map_dpp(circle, 2).indices.tolist() == [0, 4]


def test_distances_far_below_the_first_are_told_apart() -> None:
    """Downdated squares alone are lost at 1e-8 of the largest norm; here steps reach 1e-12."""
    d = 9
    rng = np.random.default_rng(4)
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    sizes = 10.0 ** (-1.5 * np.arange(d))
    X = np.concatenate([sizes[:, None] * Q.T, 0.9 * sizes[:, None] * Q.T])
    X = X[:, :] + 0.5 * X[:1, :]  # everything leans towards the largest row
    found = map_dpp(X, d)
    assert found.indices.tolist() == list(range(d))
    np.testing.assert_allclose(found.gains[1:], 2 * np.log(sizes[1:]), atol=2e-3)


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e300])
def test_scale_moves_the_logarithms_alone(scale: float) -> None:
    X = rows(15, 5)
    plain, scaled = map_dpp(X, 4), map_dpp(X * scale, 4)
    assert scaled.indices.tolist() == plain.indices.tolist()
    moved = 4 * 2 * math.log(scale)
    assert scaled.log_det == pytest.approx(plain.log_det + moved)
    assert scaled.bound == pytest.approx(plain.bound + moved)


# --------------------------------------------------------------------------------- libraries


def test_libraries_agree(xp: Backend) -> None:
    X = rows(30, 6)
    reference, found = map_dpp(X, 5), map_dpp(xp.asarray(X), 5)
    assert found.indices.device == xp.asarray(np.ones(1)).device
    assert xp.to_numpy(found.indices).dtype == np.int64
    assert xp.to_numpy(found.indices).tolist() == reference.indices.tolist()
    tolerance = 1e-10 if xp.has_float64 else 1e-4
    np.testing.assert_allclose(xp.to_numpy(found.gains), reference.gains, rtol=tolerance)
    assert found.log_det == pytest.approx(reference.log_det, rel=tolerance)
    assert found.bound == pytest.approx(reference.bound, rel=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision(xp: Backend, dtype: str) -> None:
    X = rows(30, 6, complex_entries=dtype == "complex64").astype(dtype)
    found = map_dpp(xp.asarray(X), 6)
    assert xp.to_numpy(found.indices).tolist() == greedy(X.astype(complex), 6)
    assert found.log_det == pytest.approx(
        log_det(X.astype(complex), greedy(X.astype(complex), 6)), rel=1e-4
    )


def test_integers_and_storage_orders() -> None:
    X = np.array([[1, 0], [3, 0], [2, 1], [0, 2]])
    assert map_dpp(X, 2).indices.tolist() == [1, 3]
    Y = rows(40, 7, complex_entries=False)
    expected = map_dpp(Y, 5).indices.tolist()
    assert map_dpp(np.asfortranarray(Y), 5).indices.tolist() == expected


def test_the_matrix_is_not_written_and_the_result_is_frozen() -> None:
    X = rows(20, 5)
    before = X.copy()
    found = map_dpp(X, 3)
    np.testing.assert_array_equal(X, before)
    assert "indices" not in repr(found)
    with pytest.raises(AttributeError):
        found.log_det = 0.0  # type: ignore[misc]


def test_storage_is_what_is_said() -> None:
    n, d, k = 60_000, 40, 8
    X = np.random.default_rng(0).standard_normal((n, d))
    map_dpp(X[:100], k)
    tracemalloc.start()
    map_dpp(X, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (6 * n + k * d + 3 * d * d) + 2 * 4 * 2**20  # a third of a copy of X


# ------------------------------------------------------------------------------------ errors


def test_more_rows_than_the_rank_are_refused() -> None:
    X = rows(20, 3) @ rows(3, 8, seed=1)
    assert len(map_dpp(X, 3).indices) == 3
    with pytest.raises(
        ValueError, match="k must be at most the numerical rank of X, which is 3, got 4"
    ):
        map_dpp(X, 4)
    with pytest.raises(ValueError, match="numerical rank of X, which is 3, got 5"):
        map_dpp(X.astype(np.complex64), 5)
    with pytest.raises(ValueError, match="numerical rank of X, which is 0, got 1"):
        map_dpp(np.zeros((4, 3)), 1)
    with pytest.raises(ValueError, match="which is 1, got 2"):
        map_dpp(np.ones((4, 3)), 2)


def test_bad_arguments_are_refused() -> None:
    X = rows(6, 3)
    for k in (0, 4, -1):
        with pytest.raises(
            ValueError, match=r"k must be between 1 and 3 for a matrix of shape \(6, 3\)"
        ):
            map_dpp(X, k)
    with pytest.raises(TypeError, match="k must be an integer"):
        map_dpp(X, 2.0)
    with pytest.raises(ValueError, match="X must be 2-D"):
        map_dpp(X[:, 0], 1)
    with pytest.raises(ValueError, match="X must have at least 1 row"):
        map_dpp(X[:0], 1)
    with pytest.raises(ValueError, match="X must not contain NaN or infinity"):
        map_dpp(np.full((3, 3), np.nan), 1)
    with pytest.raises(TypeError, match="X must be an array"):
        map_dpp({1.0}, 1)
