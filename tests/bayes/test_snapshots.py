"""Storage of snapshots: second moments, cuts, layouts, states."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest

from linalgkit.bayes import _snapshots
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._snapshots import (
    SnapshotBuffer,
    SnapshotStream,
    options_from_state,
    options_to_state,
    owned,
    same_option,
)
from tests.bayes.dense import draw
from tests.conftest import Backend

M, L = 6, 29
OPTIONS: dict[str, Any] = {
    "noise_var": None, "method": "mm", "coupling": None, "gamma0": None, "max_iter": 200,
    "tol": 1e-6, "prune": "evidence", "penalty": "bic", "restarts": 0, "rng": None,
    "callback": None,
}  # fmt: skip
CUTS = [[], list(range(1, L)), [1, 12, 13, 24, 25], [5, 17]]
both_fields = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 2 M columns be the capacity."""
    monkeypatch.setattr(_snapshots, "LEAST_CAPACITY", 1)


def _snapshots_of(rng: Any, is_complex: bool) -> Any:
    return draw(rng, M, L, is_complex=is_complex)


def _run(Y: Any, cuts: list[int]) -> SnapshotBuffer:
    ends = [0, *cuts, int(Y.shape[1])]
    buffer = SnapshotBuffer.of(Y[:, : ends[1]])
    for start, stop in itertools.pairwise(ends[1:]):
        buffer = buffer.pushed(Y[:, start:stop])
    return buffer


# ------------------------------------------------------------------------------ the columns


@both_fields
def test_columns_have_the_second_moments_of_all_snapshots(
    xp: Backend, rng: Any, few: None, is_complex: bool
) -> None:
    Y = _snapshots_of(rng, is_complex)
    buffer = SnapshotBuffer.of(xp.asarray(Y))
    found = xp.to_numpy(buffer.columns())
    assert buffer.is_compressed
    assert buffer.snapshots == L
    # 12 columns, then twice 6 of the factor and 6 more, then 6 and the last 5
    assert found.shape == (M, 11)
    expected = Y @ Y.conj().T
    difference = found @ found.conj().T - expected
    assert np.abs(difference).max() <= xp.tolerance * np.abs(expected).max()
    assert np.abs(found @ found.T - expected).max() > 0.1 or not is_complex


def test_the_factor_is_lower_triangular_with_a_positive_diagonal(rng: Any, few: None) -> None:
    Y = _snapshots_of(rng, True)
    R = SnapshotBuffer.of(Y).columns()[:, :M]
    assert np.array_equal(R, np.tril(R))
    diagonal = np.diagonal(R)
    assert np.array_equal(diagonal.imag, np.zeros(M))
    assert (diagonal.real > 0).all()


def test_snapshots_are_kept_as_they_are_up_to_the_capacity(xp: Backend, rng: Any) -> None:
    Y = xp.to_numpy(xp.asarray(draw(rng, M, 40, is_complex=False)))
    buffer = SnapshotBuffer.of(xp.asarray(Y[:, :15])).pushed(xp.asarray(Y[:, 15:]))
    assert not buffer.is_compressed
    assert np.array_equal(xp.to_numpy(buffer.columns()), Y)


@pytest.mark.parametrize(("length", "capacity"), [(1, 1024), (512, 1024), (600, 1200)])
def test_the_capacity_is_twice_the_length_and_no_less_than_1024(length: int, capacity: int) -> None:
    buffer = SnapshotBuffer.of(np.ones((length, 3)))
    assert buffer.capacity == capacity
    buffer = buffer.pushed(np.ones((length, capacity - 3)))
    assert buffer.n_columns == capacity
    assert buffer.pushed(np.ones((length, 1))).n_columns == length + 1


def test_storage_stays_below_the_capacity(rng: Any, few: None) -> None:
    buffer = SnapshotBuffer.of(draw(rng, M, 1, is_complex=False))
    for _ in range(100):
        buffer = buffer.pushed(draw(rng, M, 1, is_complex=False))
        assert buffer.n_columns <= 2 * M
        assert buffer.columns().nbytes <= 8 * 2 * M**2
    assert buffer.snapshots == 101


@pytest.mark.parametrize("power", [-500, 500])
def test_powers_of_two_pass_through(rng: Any, few: None, power: int) -> None:
    Y = _snapshots_of(rng, True)
    factor = 2.0**power
    scaled = SnapshotBuffer.of(factor * Y).columns()
    assert np.array_equal(scaled, factor * SnapshotBuffer.of(Y).columns())


# ----------------------------------------------------------------------------- cuts, layout


@both_fields
def test_cuts_do_not_change_a_bit(xp: Backend, rng: Any, few: None, is_complex: bool) -> None:
    Y = xp.asarray(_snapshots_of(rng, is_complex))
    whole = xp.to_numpy(_run(Y, []).columns())
    for cuts in CUTS[2:] if xp.name == "jax" else CUTS:
        assert np.array_equal(xp.to_numpy(_run(Y, cuts).columns()), whole)


def test_answers_between_do_not_change_a_bit(rng: Any, few: None) -> None:
    Y = _snapshots_of(rng, True)
    buffer = SnapshotBuffer.of(Y[:, :3])
    for start in range(3, L, 2):
        buffer.columns()
        buffer = buffer.pushed(Y[:, start : start + 2])
    assert np.array_equal(buffer.columns(), SnapshotBuffer.of(Y).columns())


def test_the_layout_in_memory_does_not_matter(rng: Any, few: None) -> None:
    Y = _snapshots_of(rng, True)
    wide = np.zeros((M, 2 * L), dtype=Y.dtype)
    wide[:, ::2] = Y
    expected = SnapshotBuffer.of(Y).columns()
    for same in (np.asfortranarray(Y), wide[:, ::2]):
        for cuts in ([], [4, 9]):
            found = _run(same, cuts).columns()
            assert found.flags.c_contiguous
            assert np.array_equal(found, expected)


def test_a_buffer_is_never_changed(xp: Backend, rng: Any, few: None) -> None:
    Y = xp.asarray(_snapshots_of(rng, False))
    buffer = SnapshotBuffer.of(Y[:, :11])
    before = xp.to_numpy(buffer.columns())
    buffer.pushed(Y[:, 11:])
    assert (buffer.n_columns, buffer.snapshots) == (11, 11)
    assert np.array_equal(xp.to_numpy(buffer.columns()), before)


def test_the_snapshots_are_copied(rng: Any) -> None:
    Y = _snapshots_of(rng, False)
    buffer, expected = SnapshotBuffer.of(Y), Y.copy()
    Y[...] = 0
    assert np.array_equal(buffer.columns(), expected)


@both_fields
def test_joined_buffers_stand_for_all_snapshots(rng: Any, few: None, is_complex: bool) -> None:
    Y = _snapshots_of(rng, is_complex)
    left, right = SnapshotBuffer.of(Y[:, :14]), SnapshotBuffer.of(Y[:, 14:])
    expected = Y @ Y.conj().T
    for joined in (left.joined(right), right.joined(left)):
        assert joined.snapshots == L
        assert joined.n_columns <= joined.capacity
        R = joined.columns()
        assert np.abs(R @ R.conj().T - expected).max() <= 1e-14 * L * np.abs(expected).max()
    assert (left.snapshots, right.snapshots) == (14, 15)


# ---------------------------------------------------------------------------------- streams


def _factors(rng: Any) -> list[Any]:
    return [draw(rng, 2, 3, is_complex=False), draw(rng, 3, 4, is_complex=False)]


def _stream(rng: Any, **options: Any) -> SnapshotStream:
    factors = _factors(rng)
    y = draw(rng, 2, 3, L, is_complex=False)
    return SnapshotStream.started(kronecker_data(factors, y), {**OPTIONS, **options})


def test_the_problem_is_told_the_number_of_snapshots(rng: Any, few: None) -> None:
    stream = _stream(rng)
    prepared, asked = stream.problem()
    assert prepared.model.Y.shape == (2, 3, 11)
    assert prepared.model.snapshots == L
    assert prepared.model.total == M * L
    assert asked.method == "mm"
    energy = np.sum(_stream(np.random.default_rng(20261121)).buffer.columns() ** 2)
    assert prepared.model.energy * 4.0**prepared.exponent == pytest.approx(energy, rel=1e-13)


def test_options_are_checked_at_the_start(rng: Any) -> None:
    with pytest.raises(ValueError, match="max_iter must be at least 1"):
        _stream(rng, max_iter=0)


def test_states_come_back(xp: Backend, rng: Any, few: None) -> None:
    factors = [xp.asarray(H) for H in _factors(rng)]
    y = xp.asarray(draw(rng, M, L, is_complex=False))
    gamma0 = [xp.asarray(np.arange(1.0, 4.0)), xp.asarray(np.ones(4))]
    stream = SnapshotStream.started(
        kronecker_data(factors, y), {**OPTIONS, "gamma0": gamma0, "prune": (0.1, 0.2), "rng": 5}
    )
    back = SnapshotStream.from_state(stream.to_state(), xp=xp.xp, device=xp.device)
    assert (back.flat, back.has_snapshots, back.dtype) == (True, True, stream.dtype)
    assert back.buffer.snapshots == L
    assert np.array_equal(xp.to_numpy(back.buffer.columns()), xp.to_numpy(stream.buffer.columns()))
    for a, b in zip(back.factors, stream.factors, strict=True):
        assert np.array_equal(xp.to_numpy(a), xp.to_numpy(b))
    assert all(same_option(back.options[name], stream.options[name]) for name in OPTIONS)


def test_streams_are_pickled(xp: Backend, rng: Any) -> None:
    factors = [xp.asarray(H) for H in _factors(rng)]
    stream = SnapshotStream.started(
        kronecker_data(factors, xp.asarray(draw(rng, M, 3, is_complex=False))), OPTIONS
    )
    back = pickle.loads(pickle.dumps(stream))
    assert back.xp is stream.xp
    assert back.device == stream.device
    assert np.array_equal(xp.to_numpy(back.buffer.columns()), xp.to_numpy(stream.buffer.columns()))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"snapshots": 3}, "at least as many snapshots"),
        ({"columns": np.ones(6)}, "at least as many snapshots"),
        ({"columns": np.ones((6, 0))}, "at least as many snapshots"),
        ({"columns": np.ones((5, 4))}, "factors that fit"),
    ],
    ids=["too few", "a vector", "empty", "length"],
)
def test_damaged_states_are_refused(rng: Any, change: dict[str, Any], text: str) -> None:
    stream = _stream(rng)
    with pytest.raises(ValueError, match=text):
        SnapshotStream.from_state({**stream.to_state(), **change}, xp=stream.xp, device="cpu")


# ---------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0.5, np.float64(0.5), True),
        (0.5, 0.25, False),
        ("bic", 2.0, False),
        (None, 0.5, False),
        ([None, np.eye(2)], (None, np.eye(2)), True),
        ([None, np.eye(2)], [None, 2 * np.eye(2)], False),
        ([np.eye(2)], [np.eye(3)], False),
        ([np.eye(2)], [0.5], False),
        ([0.1], [0.1, 0.2], False),
    ],
    ids=[str(i) for i in range(9)],
)
def test_options_are_compared_entry_by_entry(a: Any, b: Any, expected: bool) -> None:
    assert same_option(a, b) is expected
    assert same_option(b, a) is expected


def test_options_own_their_arrays() -> None:
    C = np.eye(2)
    mine = owned([None, C, 0.5])
    C[0, 0] = 7.0
    assert mine[0] is None
    assert mine[2] == 0.5
    assert np.array_equal(mine[1], np.eye(2))


def test_options_in_a_state_are_plain() -> None:
    state = options_to_state(
        {"noise_var": np.float64(0.5), "coupling": (None, np.eye(2)), "rng": np.int64(3),
         "callback": print}
    )  # fmt: skip
    assert state["noise_var"] == 0.5
    assert type(state["noise_var"]) is float
    assert (state["rng"], state["callback"]) == (3, None)
    assert state["coupling"][0] is None
    assert options_to_state({"rng": np.random.default_rng(1), "callback": None})["rng"] is None
    back = options_from_state(state, xp=np, device="cpu")
    assert np.array_equal(back["coupling"][1], np.eye(2))
