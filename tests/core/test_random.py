"""Random numbers: the same everywhere, resumable bit for bit, distributed as stated."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from scipy import stats

from linalgkit._core.random import (
    PhiloxTiles,
    as_generator,
    rng_from_state,
    rng_state,
    signs,
    spawn,
    standard_normal,
)

BIT_GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


# ------------------------------------------------------------------------------- generators


@pytest.mark.parametrize(
    "seed",
    [7, np.int64(7), np.uint8(7), np.random.SeedSequence(7), np.random.PCG64(7)],
    ids=lambda s: type(s).__name__,
)
def test_equal_seeds_of_any_kind_give_equal_numbers(seed):
    expected = np.random.default_rng(7).standard_normal(5)
    np.testing.assert_array_equal(as_generator(seed).standard_normal(5), expected)


def test_a_generator_is_used_itself(rng):
    assert as_generator(rng) is rng


def test_none_takes_fresh_entropy():
    assert as_generator(None).integers(2**62) != as_generator().integers(2**62)


@pytest.mark.parametrize("bad", [True, 1.0, "7", np.random.RandomState(0), [1, 2]])
def test_other_kinds_of_seed_are_refused(bad):
    with pytest.raises(TypeError, match=r"rng must be None, an int, .*got .*default_rng\(seed\)"):
        as_generator(bad)


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="rng must be a non-negative integer, got -1"):
        as_generator(-1)


def test_children_differ_and_leave_the_parent_as_it_was():
    rng, twin = as_generator(3), as_generator(3)
    first, second = spawn(rng, 2), spawn(rng, 2)
    draws = {g.integers(2**62) for g in [*first, *second]}
    assert len(draws) == 4
    np.testing.assert_array_equal(rng.random(3), twin.random(3))


@pytest.mark.parametrize("kind", BIT_GENERATORS)
def test_resume_is_bitwise_for_every_bit_generator_and_its_children(kind):
    rng = np.random.Generator(getattr(np.random, kind)(11))
    rng.random(7)
    rng.integers(0, 9, dtype=np.int32)  # leaves half a word in the generator
    spawn(rng, 3)
    copy = rng_from_state(json.loads(json.dumps(rng_state(rng))))
    np.testing.assert_array_equal(
        copy.integers(0, 2**31, 9, dtype=np.int32), rng.integers(0, 2**31, 9, dtype=np.int32)
    )
    np.testing.assert_array_equal(copy.standard_normal(50), rng.standard_normal(50))
    np.testing.assert_array_equal(spawn(copy, 1)[0].random(4), spawn(rng, 1)[0].random(4))


def test_saving_a_state_changes_nothing():
    rng, twin = as_generator(5), as_generator(5)
    rng_state(rng)
    np.testing.assert_array_equal(rng.random(3), twin.random(3))


def test_entropy_of_several_words_survives():
    rng = np.random.default_rng([1, 2, 2**40])
    copy = rng_from_state(json.loads(json.dumps(rng_state(rng))))
    np.testing.assert_array_equal(spawn(copy, 1)[0].random(4), spawn(rng, 1)[0].random(4))


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"bit_generator": {"bit_generator": "Generator"}},
        {"bit_generator": {"bit_generator": "none"}},
        {"seed_sequence": {"entropy": "x"}},
    ],
    ids=["empty", "no bit generator", "unknown", "entropy"],
)
def test_a_damaged_state_is_named(damage):
    state = {**rng_state(as_generator(1)), **damage} if damage else {}
    with pytest.raises(ValueError, match="rng state must be one that rng_state returned"):
        rng_from_state(state)


def test_generators_without_seed_sequence_cannot_be_saved():
    class Seeds(np.random.bit_generator.ISeedSequence):
        def generate_state(self, n_words, dtype=np.uint32):
            return np.arange(1, n_words + 1, dtype=dtype)

    with pytest.raises(TypeError, match="must be seeded by a SeedSequence to be saved, got Seeds"):
        rng_state(np.random.Generator(np.random.PCG64(Seeds())))


# ------------------------------------------------------------------------------------- draws


def test_every_library_sees_the_numbers_that_numpy_draws(xp):
    for name in xp.dtypes:
        dtype = getattr(xp.xp, name)
        kwargs = {"xp": xp.xp, "device": xp.device, "dtype": dtype}
        found = standard_normal(as_generator(2), (4, 3), **kwargs)
        assert found.dtype == dtype
        twin = as_generator(2)
        expected = twin.standard_normal((4, 3))
        if name.startswith("complex"):
            expected = (expected + 1j * twin.standard_normal((4, 3))) / np.sqrt(2)
        np.testing.assert_array_equal(xp.to_numpy(found), expected.astype(name))


def test_signs_are_the_same_on_every_library_and_dtype(xp):
    expected = 1 - 2 * as_generator(4).integers(0, 2, (6, 5), dtype=np.int8)
    assert set(expected.ravel()) == {-1, 1}
    for name in xp.dtypes:
        dtype = getattr(xp.xp, name)
        found = signs(as_generator(4), (6, 5), xp=xp.xp, device=xp.device, dtype=dtype)
        assert found.dtype == dtype
        np.testing.assert_array_equal(xp.to_numpy(found), expected)


# ------------------------------------------------------------------------------------- tiles


def test_tiles_do_not_depend_on_the_order_of_the_calls():
    tiles = PhiloxTiles(9)
    places = [(i, j) for i in range(3) for j in range(4)]
    forward = {place: tiles.normal(*place, (5, 2)) for place in places}
    backward = {place: PhiloxTiles(9).normal(*place, (5, 2)) for place in reversed(places)}
    for place in places:
        np.testing.assert_array_equal(forward[place], backward[place])
    values = np.concatenate([tile.ravel() for tile in forward.values()])
    assert np.unique(values).size == values.size


def test_transposed_tiles_and_streams_differ():
    tiles = PhiloxTiles(9)
    assert (tiles.normal(1, 2, (8,)) != tiles.normal(2, 1, (8,))).all()
    assert (tiles.normal(1, 2, (8,)) != PhiloxTiles(9, stream=1).normal(1, 2, (8,))).all()
    assert (tiles.normal(1, 2, (8,)) != PhiloxTiles(10).normal(1, 2, (8,))).all()


def test_tiles_come_from_the_counter_of_philox():
    tiles = PhiloxTiles(9, stream=3)
    counter = (2**64) * 5 + (2**128) * 6 + (2**192) * 3
    key = tiles.key[0] + 2**64 * tiles.key[1]
    expected = np.random.Generator(np.random.Philox(counter=counter, key=key))
    np.testing.assert_array_equal(tiles.normal(5, 6, (7,)), expected.standard_normal(7))
    np.testing.assert_array_equal(
        tiles.generator(5, 6).integers(0, 99, 4),
        np.random.Generator(np.random.Philox(counter=counter, key=key)).integers(0, 99, 4),
    )


def test_the_last_tiles_are_reached():
    top = 2**64 - 1
    tile = PhiloxTiles(1).normal(top, top, (3,))
    assert np.isfinite(tile).all()
    for bad in (-1, 2**64):
        with pytest.raises(ValueError, match=r"i must be between 0 and 2\*\*64 - 1"):
            PhiloxTiles(1).normal(bad, 0, (3,))
        with pytest.raises(ValueError, match=r"j must be between 0 and 2\*\*64 - 1"):
            PhiloxTiles(1).signs(0, bad, (3,))


def test_a_larger_tile_begins_with_the_smaller_one():
    tiles = PhiloxTiles(9)
    np.testing.assert_array_equal(tiles.normal(0, 0, (6, 3))[:4], tiles.normal(0, 0, (4, 3)))
    np.testing.assert_array_equal(tiles.signs(0, 0, (70, 3))[:4], tiles.signs(0, 0, (4, 3)))


def test_dtypes_of_tiles_are_rounded_from_one_draw():
    tiles = PhiloxTiles(9)
    np.testing.assert_array_equal(
        tiles.normal(1, 1, (9,), "float32"), tiles.normal(1, 1, (9,)).astype(np.float32)
    )
    pair = tiles.normal(1, 1, (9, 2)) * np.sqrt(0.5)
    z = tiles.normal(1, 1, (9,), "complex128")
    np.testing.assert_array_equal(z, pair[:, 0] + 1j * pair[:, 1])
    assert tiles.normal(1, 1, (9,), "complex64").dtype == np.complex64
    assert tiles.signs(1, 1, (9,), "float32").dtype == np.float32
    assert tiles.signs(1, 1, (9,)).dtype == np.int8


@pytest.mark.parametrize("first_block", [0, 1, 7, 2**40])
@pytest.mark.parametrize("count", [0, 1, 4, 13])
def test_words_are_those_of_the_generator_from_any_block_on(first_block, count):
    tiles = PhiloxTiles(9, stream=3)
    bits = tiles.generator(5, 6).bit_generator
    bits.advance(first_block)
    found = tiles.words(first_block, count, 5, 6)
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, bits.random_raw(count))


def test_words_of_a_range_do_not_depend_on_how_it_is_cut():
    tiles = PhiloxTiles(9)
    whole = tiles.words(3, 40)
    for cut in (1, 2, 3, 7):
        parts = [tiles.words(3 + b, 4 * min(cut, 10 - b)) for b in range(0, 10, cut)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_words_of_tiles_and_streams_differ():
    found = [
        PhiloxTiles(9).words(0, 8),
        PhiloxTiles(9).words(0, 8, 1),
        PhiloxTiles(9).words(0, 8, 0, 1),
    ]
    found.append(PhiloxTiles(9, stream=1).words(0, 8))
    assert np.unique(np.concatenate(found)).size == 32


def test_words_end_where_the_next_tile_begins():
    tiles = PhiloxTiles(9)
    assert tiles.words(2**64 - 2, 8).shape == (8,)
    with pytest.raises(ValueError, match=r"first_block \+ count / 4 must be at most 2\*\*64"):
        tiles.words(2**64 - 2, 9)
    with pytest.raises(ValueError, match="first_block must be between 0"):
        tiles.words(-1, 4)


def test_words_of_philox_agree_with_a_plain_reading_of_the_paper():
    """Ten rounds in Python integers; NumPy counts before it computes: block b has counter b + 1."""
    mask = 2**64 - 1
    tiles = PhiloxTiles(9, stream=3)
    for block in (0, 5, 2**64 - 1):
        words = (block + 1) + 2**64 * 5 + 2**128 * 6 + 2**192 * 3
        x = [(words >> 64 * k) & mask for k in range(4)]
        key = list(tiles.key)
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
            x = [(b >> 64) ^ x[1] ^ key[0], b & mask, (a >> 64) ^ x[3] ^ key[1], a & mask]
            key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
        assert tiles.words(block, 4, 5, 6).tolist() == x


def test_tiles_survive_state_and_pickle():
    tiles = PhiloxTiles(np.random.default_rng(4), stream=2)
    again = PhiloxTiles.from_state(json.loads(json.dumps(tiles.to_state())))
    assert again == tiles
    assert hash(again) == hash(tiles)
    assert pickle.loads(pickle.dumps(tiles)) == tiles
    assert tiles != PhiloxTiles(4)
    assert tiles != "tiles"
    assert repr(tiles.key) in repr(tiles)
    with pytest.raises(ValueError, match="key must be between 0"):
        PhiloxTiles.from_state({"key": [-1, 0], "stream": 0})


def test_seeds_of_tiles():
    assert PhiloxTiles(np.random.SeedSequence(3)) == PhiloxTiles(3)
    rng = as_generator(3)
    assert PhiloxTiles(rng) != PhiloxTiles(rng)  # each takes its key from the generator
    assert PhiloxTiles() != PhiloxTiles()
    with pytest.raises(ValueError, match="stream must be between 0"):
        PhiloxTiles(3, stream=-1)


def test_laws_of_tiles_hold_and_the_tests_have_power():
    """Exact laws at level 1e-6; both tests must reject a slightly wrong law."""
    tiles = PhiloxTiles(123)
    x = np.concatenate([tiles.normal(i, 0, (5000,)) for i in range(20)])
    assert stats.kstest(x, "norm").pvalue > 1e-6
    assert stats.kstest(1.03 * x, "norm").pvalue < 1e-6
    s = np.concatenate([tiles.signs(i, 1, (5000,)) for i in range(20)])
    assert set(s.tolist()) == {-1, 1}
    assert stats.binomtest(int((s == 1).sum()), s.size).pvalue > 1e-6
    lag = int((s[1:] == s[:-1]).sum())
    assert stats.binomtest(lag, s.size - 1).pvalue > 1e-6
    biased = np.where(x > -0.03, 1, -1)
    assert stats.binomtest(int((biased == 1).sum()), s.size).pvalue < 1e-6
    z = tiles.normal(0, 2, (50000,), "complex128")
    assert abs((np.abs(z) ** 2).mean() - 1) < 5 / np.sqrt(z.size)
    assert abs((z**2).mean()) < 5 / np.sqrt(z.size)
