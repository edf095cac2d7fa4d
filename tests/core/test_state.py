"""States: what they hold, that files bring it back bit for bit, and that damage is an error."""

import copy
import io
import json
import math
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linalgkit._core import array as core_array
from linalgkit._core import state as states


class Mean(states.Stateful):
    """Mean of the rows of a stream: the smallest object with a state."""

    def __init__(self, n_features=3, scale=1.0):
        self.n_features, self.scale = n_features, scale
        self.n, self.total, self.xp, self.device = 0, None, None, None

    def add(self, X):
        self.xp, self.device = core_array.namespace_of(X)
        part = self.xp.sum(X, axis=0)
        self.total = part if self.total is None else self.total + part
        self.n += X.shape[0]
        return self

    def _get_state(self):
        total = None if self.total is None else core_array.to_numpy(self.total)
        return {"n": self.n, "settings": [self.n_features, self.scale], "total": total}

    @classmethod
    def _from_state(cls, state, *, xp, device):
        mean = cls(*state["settings"])
        mean.n, mean.xp, mean.device = state["n"], xp, device
        if state["total"] is not None:
            mean.total = core_array.asarray(state["total"], xp=xp, device=device)
        return mean


class Newer(Mean):
    _state_format = 3

    @classmethod
    def _state_type(cls):
        return Mean._state_type()

    @classmethod
    def _upgrade_state(cls, state, format):
        if format == 1:
            return super()._upgrade_state(state, format)
        return {**state, "n": state["n"] + 1000}


def assert_same(a, b):
    """Equal in type, value, dtype, shape and bits."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, float):
        assert a.hex() == b.hex()
    elif isinstance(a, complex):
        assert_same([a.real, a.imag], [b.real, b.imag])
    else:
        assert a == b


def through_a_file(state):
    file = io.BytesIO()
    states.write_state(file, state)
    file.seek(0)
    return states.read_state(file)


RICH = {
    "type": "x",
    "none": None,
    "flags": [True, False],
    "counter": 2**127 + 1,
    "floats": [0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, 1e308],
    "complex": complex(-0.0, math.inf),
    "text": "é\n\ud800",
    "empty": {"list": [], "dict": {}},
    "arrays": {
        "single": np.float32([[1.5, np.nan], [-0.0, np.inf]]),
        "complex": np.asarray([1 + 2j], dtype=np.complex64),
        "scalar": np.asarray(3.0),
        "none": np.empty((0, 5)),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "integers": np.asarray([2**63], dtype=np.uint64),
        "mask": np.asarray([True, False]),
        "names": np.asarray(["a", "bc"]),
    },
    "list": [np.ones(2), [np.zeros(1)], {"deep": np.ones(1)}],
}


class TestFiles:
    def test_everything_comes_back_bit_for_bit(self):
        assert_same(through_a_file(RICH), RICH)

    def test_memory_order_is_kept(self):
        back = through_a_file(RICH)["arrays"]["columns"]
        assert back.flags.f_contiguous
        assert not back.flags.c_contiguous

    def test_generator_states_come_back(self):
        for kind in (np.random.PCG64, np.random.Philox, np.random.SFC64):
            bits = kind(7)
            bits.random_raw(5)
            state = through_a_file({"rng": bits.state})["rng"]
            other = kind(8)
            other.state = state
            assert other.random_raw(3).tolist() == bits.random_raw(3).tolist()

    def test_names_that_collide_or_are_odd_keep_their_arrays(self):
        state = {
            "a": {"b": np.asarray([1.0])},
            "a/b": np.asarray([2.0]),
            "__state__": np.asarray([3.0]),
            "@1": np.asarray([4.0]),
            "": np.asarray([5.0]),
            "nul\0/..": np.asarray([6.0]),
            "x" * 300: np.asarray([7.0]),
        }
        assert_same(through_a_file(state), state)

    @settings(max_examples=50, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.text(max_size=5).filter(lambda key: not key.startswith("$")),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=10,
        )
    )
    def test_any_tree_comes_back(self, tree):
        back = through_a_file({"tree": tree})["tree"]
        assert json.dumps(back) == json.dumps(tree)

    def test_equal_states_make_equal_files(self, tmp_path):
        for name in ("a.npz", "b.npz"):
            states.write_state(tmp_path / name, RICH)
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()

    def test_arrays_can_be_read_by_numpy_alone(self, tmp_path):
        states.write_state(tmp_path / "a.npz", RICH)
        with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
            assert_same(file["arrays/single"], RICH["arrays"]["single"])

    def test_paths_of_every_kind(self, tmp_path):
        state = {"a": np.ones(2)}
        target = tmp_path / "no suffix"
        for path in (target, str(target)):
            states.write_state(path, state)
            assert_same(states.read_state(path), state)
        with open(tmp_path / "open", "wb") as file:
            states.write_state(file, state)
        with open(tmp_path / "open", "rb") as file:
            assert_same(states.read_state(file), state)

    def test_a_missing_file_stays_an_oserror(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            states.read_state(tmp_path / "absent")


class TestAtomicWriting:
    def test_a_failing_write_leaves_the_old_file_and_no_rubbish(self, tmp_path, monkeypatch):
        path = tmp_path / "a.npz"
        states.write_state(path, {"n": 1})
        real = np.lib.format.write_array

        def fail(stream, array, **options):
            real(stream, array, **options)
            raise OSError("disk full")

        monkeypatch.setattr(np.lib.format, "write_array", fail)
        with pytest.raises(OSError, match="disk full"):
            states.write_state(path, {"n": 2})
        monkeypatch.undo()
        assert states.read_state(path) == {"n": 1}
        assert os.listdir(tmp_path) == ["a.npz"]

    def test_a_link_is_followed(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "target")
        states.write_state(tmp_path / "link", {"n": 1})
        assert (tmp_path / "link").is_symlink()
        assert states.read_state(tmp_path / "target") == {"n": 1}


class TestWhatAStateMayHold:
    @pytest.mark.parametrize(
        "value",
        [
            (1, 2),
            {1, 2},
            b"bytes",
            object(),
            np.asarray([None]),
            np.asarray([(1, 2.0)], dtype=[("a", int), ("b", float)]),
            np.asarray(["2020-01-01"], dtype="M8[D]"),
            np.longdouble(1),
        ],
    )
    def test_other_kinds_are_refused_by_their_place(self, value):
        with pytest.raises(TypeError, match="at deep/1"):
            states.write_state(io.BytesIO(), {"deep": [0, value]})

    @pytest.mark.parametrize("key", [1, None, "$array"])
    def test_keys_are_plain_strings(self, key):
        with pytest.raises(TypeError, match="keys of a state must be strings"):
            states.write_state(io.BytesIO(), {key: 1})

    def test_numpy_scalars_become_python_numbers(self):
        back = through_a_file({"a": np.float32(0.1), "b": np.int8(3), "c": np.True_})
        assert_same(back, {"a": float(np.float32(0.1)), "b": 3, "c": True})


class TestDamage:
    """Whatever happened to a file: the same state, or a ValueError that names it."""

    @pytest.fixture
    def good(self):
        file = io.BytesIO()
        states.write_state(file, RICH)
        return file.getvalue()

    def check(self, path, data):
        path.write_bytes(data)
        try:
            state = states.read_state(path)
        except ValueError as error:
            named = str(path) in str(error)
        else:
            assert_same(state, RICH)
            return True
        assert named
        return False

    def test_cut_off_anywhere(self, tmp_path, good):
        for end in range(0, len(good), 37):
            assert not self.check(tmp_path / "cut.npz", good[:end])

    def test_bytes_changed_at_random(self, tmp_path, good, rng):
        survived = 0
        for _ in range(400):
            data = bytearray(good)
            for place in rng.integers(len(data), size=rng.integers(1, 4)):
                data[place] ^= int(rng.integers(1, 256))
            survived += self.check(tmp_path / "flipped.npz", bytes(data))
        assert survived < 200  # dates, permissions and the like carry nothing

    def test_pieces_moved_doubled_or_left_out(self, tmp_path, good, rng):
        for _ in range(100):
            a, b, c = sorted(rng.integers(len(good), size=3))
            for data in (
                good[:a] + good[b:],
                good[:a] + good[b:c] + good[a:b] + good[c:],
                good[:b] + good[a:],
            ):
                self.check(tmp_path / "moved.npz", data)

    @pytest.mark.parametrize("data", [b"", b"PK", b"\x93NUMPY", b"[linalgkit]\n", b"\0" * 1000])
    def test_foreign_files(self, tmp_path, data):
        assert not self.check(tmp_path / "foreign", data)

    def test_archives_of_somebody_else(self, tmp_path):
        path = tmp_path / "other.npz"
        np.savez(path, a=np.ones(3))
        with pytest.raises(ValueError, match=r"other\.npz must be an undamaged file.*__state__"):
            states.read_state(path)

    def test_pickled_arrays_are_not_opened(self, tmp_path):
        path = tmp_path / "evil.npz"
        np.savez(path, __state__=np.asarray([print], dtype=object))
        with pytest.raises(ValueError, match=r"evil\.npz .*allow_pickle=False"):
            states.read_state(path)

    @pytest.mark.parametrize(
        ("tree", "why"),
        [
            ([], "no container number"),
            ({"container": "1"}, "no container number"),
            ({"container": 99, "state": {}}, "layout has number 99.* Update linalgkit"),
            ({"container": 1}, "KeyError"),
            ({"container": 1, "state": []}, "must be an undamaged"),
            ({"container": 1, "state": {"a": {"$array": "x"}}}, "KeyError"),
            ({"container": 1, "state": {"a": {"$complex": [1]}}}, "must be an undamaged"),
        ],
    )
    def test_trees_that_make_no_sense(self, tree, why):
        with pytest.raises(ValueError, match=why):
            states.read_state(archive(tree))

    def test_members_without_a_place(self):
        file = archive({"container": 1, "state": {}}, extra=np.ones(1))
        with pytest.raises(ValueError, match="members without a place"):
            states.read_state(file)

    def test_compressed_members(self):
        file = archive({"container": 1, "state": {}}, compress_type=zipfile.ZIP_DEFLATED)
        with pytest.raises(ValueError, match="is compressed"):
            states.read_state(file)

    def test_a_header_that_promises_too_little(self):
        file = archive(
            {"container": 1, "state": {"a": {"$array": "a"}}}, tail=b"more", a=np.ones(1)
        )
        with pytest.raises(ValueError, match="longer than its header says"):
            states.read_state(file)


def archive(tree, *, compress_type=zipfile.ZIP_STORED, tail=b"", **arrays):
    """Return a hand-made file."""
    text = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress_type) as zipped:
        for name, array in {"__state__": text, **arrays}.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            zipped.writestr(f"{name}.npy", member.getvalue() + (tail if name in arrays else b""))
    file.seek(0)
    return file


class TestStateful:
    def test_goes_on_where_it_was_saved(self, xp, tmp_path, rng):
        rows = xp.asarray(rng.standard_normal((20, 3)))
        through = Mean(scale=0.1).add(rows[:11, :])
        through.save(tmp_path / "mean.npz")
        resumed = Mean.load(tmp_path / "mean.npz", like=rows)
        assert core_array.device(resumed.total) == core_array.device(rows)
        a, b = through.add(rows[11:, :]), resumed.add(rows[11:, :])
        assert_same(a.to_state(), b.to_state())

    def test_the_state_is_a_copy(self):
        mean = Mean().add(np.ones((2, 3)))
        state = mean.to_state()
        mean.total += 1
        assert state["total"].tolist() == [2, 2, 2]
        again = Mean.from_state(state)
        again.total += 1
        assert state["total"].tolist() == [2, 2, 2]

    def test_names_its_type_and_format(self):
        state = Mean().to_state()
        assert state["format"] == 1
        assert state["type"].endswith("test_state.Mean")

    def test_private_modules_do_not_show_in_the_type(self):
        kind = type("Thing", (Mean,), {"__module__": "linalgkit.room._file"})
        assert kind._state_type() == "linalgkit.room.Thing"

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            (
                {"type": "linalgkit.svd.IncrementalSVD"},
                r"that of .*Mean, got one of 'linalgkit\.svd",
            ),
            ({"type": None}, "got one of None"),
            ({"format": 2}, "has format 2, this version reads up to 1. Update linalgkit"),
            ({"format": 0}, "positive integer, got 0"),
            ({"format": True}, "positive integer, got True"),
        ],
    )
    def test_refuses_other_classes_and_newer_formats(self, changes, why, tmp_path):
        state = {**Mean().to_state(), **changes}
        with pytest.raises(ValueError, match=why):
            Mean.from_state(state)
        states.write_state(tmp_path / "s.npz", state)
        with pytest.raises(ValueError, match=rf"s\.npz: .*{why}"):
            Mean.load(tmp_path / "s.npz")

    def test_refuses_incomplete_states(self, tmp_path):
        state = Mean().to_state()
        del state["settings"]
        with pytest.raises(ValueError, match=r"all fields of .*Mean, but 'settings' is missing"):
            Mean.from_state(state)
        with pytest.raises(TypeError, match="state must be a dictionary, got list"):
            Mean.from_state([])

    def test_a_wrong_like_stays_a_type_error(self, tmp_path):
        Mean().save(tmp_path / "m.npz")
        with pytest.raises(TypeError, match="array is required"):
            Mean.load(tmp_path / "m.npz", like="torch")

    def test_older_formats_are_translated_or_refused(self):
        state = Mean().add(np.ones((2, 3))).to_state()
        assert Newer.from_state({**state, "format": 2}).n == 1002
        with pytest.raises(ValueError, match=r"format 1 of .* is no longer read"):
            Newer.from_state(state)

    def test_the_head_belongs_to_the_mixin(self):
        kind = type("Clash", (Mean,), {"_get_state": lambda self: {"type": 3}})
        with pytest.raises(TypeError, match="must not use type or format"):
            kind().to_state()


class TestPickling:
    def test_namespaces_and_devices_travel(self, xp):
        mean = Mean().add(xp.asarray(np.ones((2, 3))))
        for other in (pickle.loads(pickle.dumps(mean)), copy.deepcopy(mean), copy.copy(mean)):
            assert other.xp is mean.xp
            assert other.device == mean.device
            assert core_array.device(other.total) == core_array.device(mean.total)
            assert_same(other.to_state(), mean.to_state())


class TestMergeChecks:
    def test_names_the_field_and_both_values(self):
        with pytest.raises(ValueError, match="n_features must agree for a merge, got 3 and 4") as e:
            states.check_mergeable(Mean(3), Mean(4), ("n_features",), way_out="Use one.")
        assert str(e.value).endswith(". Use one.")

    def test_refuses_other_classes(self):
        with pytest.raises(TypeError, match="one class can be merged, got Mean and Newer"):
            states.check_mergeable(Mean(), Newer(), ())

    @pytest.mark.parametrize("value", [None, math.nan, "a", 2, np.ones(3), [1, 2]])
    def test_equal_settings_pass(self, value):
        a, b = Mean(scale=value), Mean(scale=copy.copy(value))
        states.check_mergeable(a, b, ("n_features", "scale"))

    @pytest.mark.parametrize("value", [None, math.nan, "a", 2, np.ones(3)])
    def test_unequal_settings_do_not(self, value):
        with pytest.raises(ValueError, match="scale must agree"):
            states.check_mergeable(Mean(scale=value), Mean(scale=1.5), ("scale",))

    def test_dots_reach_into_attributes(self):
        a, b = Mean(scale=Mean(1)), Mean(scale=Mean(2))
        with pytest.raises(ValueError, match=r"scale\.n_features must agree"):
            states.check_mergeable(a, b, ("scale.n_features",))
