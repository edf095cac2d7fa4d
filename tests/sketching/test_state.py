"""One key decides S: on every library, after saving, in every precision."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from linalgkit._core.random import PhiloxTiles
from linalgkit.sketching import SketchOperator, sketch, tensor_sketch
from tests.conftest import Backend
from tests.sketching.kinds import GAUSSIAN, KINDS, data, make


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_entries_on_every_library(xp: Backend, kind):
    S = make(kind, 10, 50)
    like = xp.asarray(np.ones(2))
    found = xp.to_numpy(S.toarray(like=like))
    expected = S.toarray()
    scale = np.max(np.abs(expected))
    ulps = 4 * np.finfo(found.dtype).eps
    if kind in GAUSSIAN or kind in ("srdct", "srft"):
        ulps *= 16
    assert np.max(np.abs(found - expected)) <= ulps * scale
    if kind not in ("srft", "srdct"):
        assert np.array_equal(np.sign(found), np.sign(expected))


@pytest.mark.parametrize("kind", ["rademacher", "srht", "block_srht", "countsketch", "sparse_sign"])
def test_signs_are_the_same_in_every_precision(kind):
    S = make(kind, 10, 50)
    wide, narrow = (S.toarray(like=np.ones(1, dtype)) for dtype in ("float64", "float32"))
    assert narrow.dtype == np.float32
    assert np.array_equal(np.sign(wide), np.sign(narrow))


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_the_key_and_gives_the_same_sketch(kind, tmp_path):
    S = make(kind, 10, 50, dtype="complex64")
    T = S.toarray()
    _ = S @ data(50, 2)
    S.save(tmp_path / "sketch.npz")
    copies = [
        SketchOperator.load(tmp_path / "sketch.npz"),
        SketchOperator.from_state(S.to_state()),
        pickle.loads(pickle.dumps(S)),
        copy.deepcopy(S),
    ]
    for other in copies:
        assert type(other) is type(S)
        assert other == S
        assert hash(other) == hash(S)
        assert other.dtype == "complex64"
        assert np.array_equal(other.toarray(), T)
    assert len(pickle.dumps(make(kind, 8, 100_000))) < 5000


def test_sketches_are_equal_by_kind_sizes_options_and_key():
    S = make("srht", 10, 50)
    assert make("srht", 10, 50) == S
    assert S != "srht"
    different = [
        make("srht", 10, 50, seed=4),
        make("srht", 11, 50),
        make("srht", 10, 51),
        make("srht", 10, 50, permute=False),
        make("srht", 10, 50, replace=True),
        make("srht", 10, 50, dtype="complex128"),
        make("srdct", 10, 50),
    ]
    assert all(other != S for other in different)
    assert tensor_sketch("tensor_srht", 3, [4, 5], rng=0) != tensor_sketch(
        "tensor_srht", 3, [5, 4], rng=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_other_seeds_give_other_entries(kind):
    assert not np.allclose(make(kind, 10, 50).toarray(), make(kind, 10, 50, seed=4).toarray())


@pytest.mark.parametrize("seed", [7, np.random.SeedSequence(7), np.random.PCG64(7)])
def test_any_source_of_randomness_is_taken(seed):
    S = sketch("rademacher", 4, 9, rng=seed)
    assert S.shape == (4, 9)
    assert S.tiles == PhiloxTiles.from_state(S.tiles.to_state())


def test_a_generator_gives_a_new_sketch_each_time():
    rng = np.random.default_rng(0)
    assert sketch("rademacher", 4, 9, rng=rng) != sketch("rademacher", 4, 9, rng=rng)


def test_a_wrong_call_does_not_advance_the_generator():
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    with pytest.raises(ValueError, match="m must be at most 16"):
        sketch("srht", 17, 16, rng=rng)
    with pytest.raises(ValueError, match="all zero"):
        sketch("leverage", 5, 4, scores=np.zeros(4), rng=rng)
    assert rng.integers(1000) == other.integers(1000)


def test_a_foreign_state_is_refused():
    state = make("srht", 10, 50).to_state()
    with pytest.raises(ValueError, match="kind must be one of"):
        SketchOperator.from_state({**state, "kind": "mystery"})
    with pytest.raises(ValueError, match="'tiles' is missing"):
        SketchOperator.from_state({k: v for k, v in state.items() if k != "tiles"})


def test_long_streams_have_their_own_numbers_everywhere():
    # Blocks far out in a stream, whose counters exceed 32 bits.
    for kind in ("gaussian", "rademacher", "block_srht", "countsketch", "sparse_sign"):
        S = make(kind, 9, None)
        far = 2**33 + 5
        tile = S.columns(far, far + 6)
        assert np.array_equal(tile[:, 2:], S.columns(far + 2, far + 6))
        assert not np.array_equal(tile, S.columns(5, 11))


def test_repr_tells_kind_shape_and_options():
    assert repr(sketch("sparse_sign", 9, None, nnz=3, rng=0)) == (
        "<sparse_sign sketch of shape (9, None), nnz=3, float64, key=db2cd7e7>"
    )
    assert repr(make("leverage", 3, 5)).startswith(
        "<leverage sketch of shape (3, 5), float64, key="
    )
    assert "adjoint of <srht" in repr(make("srht", 3, 5).adjoint())


@pytest.mark.parametrize("kind", KINDS)
def test_reprs_of_sketches_with_other_seeds_differ(kind):
    assert repr(make(kind, 3, 5)) != repr(make(kind, 3, 5, seed=4))
    assert repr(make(kind, 3, 5)) == repr(make(kind, 3, 5))


WRONG = [
    {"m": 0},
    {"m": -3},
    {"m": 2.5},
    {"m": "7"},
    {"m": True},
    {"n": -1},
    {"n": 2.5},
    {"n": 0},
    {"dtype": "foo"},
    {"dtype": 3},
    {"options": {}},
    {"options": None},
    {"options": {"mystery": 1}},
    {"tiles": {"key": [1.5, 2], "stream": 0}},
    {"tiles": {"key": [1], "stream": 0}},
    {"tiles": {"key": [1, 2], "stream": "a"}},
    {"tiles": None},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_states_with_wrong_fields_are_refused(kind, wrong):
    state = make(kind, 10, 50).to_state()
    if wrong == {"options": state["options"]}:
        pytest.skip("the kind has no options")
    with pytest.raises(ValueError, match=" must "):
        SketchOperator.from_state({**state, **wrong})


@pytest.mark.parametrize(
    ("kind", "fields", "options"),
    [
        ("srht", {"m": 65}, {}),
        ("srht", {"n": None}, {}),
        ("srht", {}, {"replace": 1}),
        ("srft", {"dtype": "float64"}, {}),
        ("circulant", {"m": 51}, {}),
        ("block_srht", {}, {"block": 1000}),
        ("block_srht", {}, {"block": 8}),
        ("gaussian_pooled", {}, {"block": 0}),
        ("sparse_sign", {}, {"nnz": 11}),
        ("sparse_sign", {}, {"nnz": 0}),
        ("leverage", {}, {"rows": np.full(10, 50)}),
        ("leverage", {}, {"rows": np.full(10, -1)}),
        ("leverage", {}, {"rows": np.ones(10)}),
        ("leverage", {}, {"rows": np.zeros(9, dtype="int64")}),
        ("leverage", {}, {"weights": np.full(10, np.nan)}),
        ("leverage", {}, {"weights": np.zeros(10)}),
        ("leverage", {}, {"weights": np.ones(10, dtype="complex128")}),
    ],
)
def test_states_whose_fields_do_not_fit_together_are_refused(kind, fields, options):
    state = make(kind, 10, 50).to_state()
    with pytest.raises(ValueError, match=" must "):
        SketchOperator.from_state({**state, **fields, "options": {**state["options"], **options}})


@pytest.mark.parametrize("kind", ["tensor_srht", "tensorsketch"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 21},
        {"dtype": "complex128"},
        {"options": {"sizes": [4, 5.0]}},
        {"options": {"sizes": []}},
        {"options": {"sizes": 20}},
        {"options": {"sizes": [-4, -5]}},
    ],
    ids=str,
)
def test_states_of_tensor_sketches_are_checked(kind, wrong):
    state = tensor_sketch(kind, 3, [4, 5], rng=0).to_state()
    with pytest.raises(ValueError, match=" must "):
        SketchOperator.from_state({**state, **wrong})
