"""Whatever happened to a file, load gives the object that was saved or a clear error.

All tests run over every class that can be saved, found by walking the subclasses: a new class
without an example in ``objects.py`` fails the first of them.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from linalgkit._core.state import Stateful, write_state
from linalgkit.regression import SketchedRegressor
from linalgkit.streaming import StreamingEigh
from linalgkit.svd import IncrementalSVD
from tests.quality.objects import classes_with_a_state, one_of_each, saved

CLASSES = sorted(one_of_each(), key=lambda kind: kind.__qualname__)
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__qualname__)
TREE = "__state__.npy"


def test_every_class_that_can_be_saved_is_tried_here() -> None:
    assert classes_with_a_state() == set(CLASSES)


def same_state(a: Any, b: Any) -> bool:
    """Tell whether two states are equal, bit for bit."""
    files = [io.BytesIO(), io.BytesIO()]
    for file, state in zip(files, (a, b), strict=True):
        write_state(file, state)
    return files[0].getvalue() == files[1].getvalue()


def refused(kind: type[Stateful], path: Path, data: bytes) -> bool:
    """Tell whether a file is refused with its name; if not, it must be the object saved."""
    path.write_bytes(data)
    try:
        found = kind.load(path)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert str(path) in message
        assert len(message) < 1500
        return True
    assert same_state(found.to_state(), one_of_each()[kind].to_state())
    return False


def members(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of members, its own checksums right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return file.getvalue()


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    """Return the bytes of a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


# ------------------------------------------------------------------------------ damaged bytes


@every_class
def test_files_cut_off_anywhere_are_refused(kind: type[Stateful], tmp_path: Path) -> None:
    good = saved(one_of_each()[kind])
    for end in np.linspace(0, len(good) - 1, 25).astype(int):
        assert refused(kind, tmp_path / "cut.npz", good[:end])


@every_class
def test_changed_bytes_are_refused_or_carry_nothing(
    kind: type[Stateful], tmp_path: Path, rng: np.random.Generator
) -> None:
    good = saved(one_of_each()[kind])
    n_refused = 0
    for _ in range(30):
        data = bytearray(good)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            data[place] ^= int(rng.integers(1, 256))
        n_refused += refused(kind, tmp_path / "flipped.npz", bytes(data))
    assert n_refused > 10  # the rest are dates, permissions and the like


@every_class
def test_members_of_another_object_do_not_pass(kind: type[Stateful], tmp_path: Path) -> None:
    parts = members(saved(one_of_each()[kind]))
    names = sorted(parts.keys() - {TREE})
    path = tmp_path / "swapped.npz"
    assert not refused(kind, path, packed(parts))  # so that what follows is refused for a reason
    for a, b in itertools.pairwise(names[:13]):
        if parts[a] != parts[b]:
            assert refused(kind, path, packed({**parts, a: parts[b], b: parts[a]}))
    for name in names[:12]:
        assert refused(kind, path, packed({k: v for k, v in parts.items() if k != name}))
        array = np.lib.format.read_array(io.BytesIO(parts[name]))
        assert refused(kind, path, packed({**parts, name: npy(array[None, ...])}))
    assert refused(kind, path, packed({k: v for k, v in parts.items() if k != TREE}))
    assert refused(kind, path, packed({**parts, "more.npy": npy(np.ones(1))}))


# ------------------------------------------------------------------------ files made to harm


class Opened:
    """Executes something where it is unpickled."""

    ran: list[int] = []  # noqa: RUF012

    def __reduce__(self) -> tuple[Any, ...]:
        return Opened.ran.append, (1,)


@every_class
def test_pickles_are_refused_unopened(kind: type[Stateful], tmp_path: Path) -> None:
    parts = members(saved(one_of_each()[kind]))
    evil = npy(np.asarray([Opened()], dtype=object), allow_pickle=True)
    for name in sorted(parts)[:6]:
        assert refused(kind, tmp_path / "evil.npz", packed({**parts, name: evil}))
    assert refused(kind, tmp_path / "evil.npz", pickle.dumps(Opened()))
    assert Opened.ran == []


def header_of(shape: str, descr: str = "<f8") -> bytes:
    """Return the header of a .npy file with any promise and eight bytes of data."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)


@every_class
def test_promises_of_huge_arrays_are_refused_before_memory_is_taken(
    kind: type[Stateful], tmp_path: Path
) -> None:
    parts = members(saved(one_of_each()[kind]))
    path = tmp_path / "bomb.npz"
    name = min(parts.keys() - {TREE}, default=TREE)
    shapes = ("(10**15,)", "(1000000000000000,)", "(9223372036854775807, 2)", "(-1,)", "(2,)")
    bombs = [header_of(shape) for shape in shapes] + [header_of("(1000000000000000,)", "<U0")]
    tracemalloc.start()
    try:
        for bomb in bombs:
            assert refused(kind, path, packed({**parts, name: bomb}))
        zeros = npy(np.zeros(10**6))
        assert refused(kind, path, packed({**parts, name: zeros}, zipfile.ZIP_DEFLATED))
        assert tracemalloc.get_traced_memory()[1] < 40e6  # the eight megabytes of zeros, packed
    finally:
        tracemalloc.stop()


@every_class
def test_sizes_claimed_in_the_directory_of_the_archive_are_not_believed(
    kind: type[Stateful], tmp_path: Path
) -> None:
    good = packed(members(saved(one_of_each()[kind])))
    entry = good.index(b"PK\x01\x02")  # the first entry of the central directory
    for size in (2**31, 2**32 - 2):
        data = bytearray(good)
        data[entry + 20 : entry + 28] = struct.pack("<II", size, size)
        tracemalloc.start()
        try:
            assert refused(kind, tmp_path / "claim.npz", bytes(data))
            assert tracemalloc.get_traced_memory()[1] < 20e6
        finally:
            tracemalloc.stop()


@every_class
@pytest.mark.parametrize(
    "data", [b"", b"PK", b"\x93NUMPY", b"\0" * 1000, b"PK\x05\x06" + bytes(18)]
)
def test_other_files_are_refused(kind: type[Stateful], tmp_path: Path, data: bytes) -> None:
    assert refused(kind, tmp_path / "other", data)


@every_class
def test_what_is_no_file_is_an_oserror_that_names_it(kind: type[Stateful], tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        kind.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        kind.load(tmp_path / "absent")
    with pytest.raises(ValueError, match="file object"):
        kind.load(io.BytesIO(b"nothing"))


@every_class
def test_trees_that_nest_without_end_are_refused(kind: type[Stateful], tmp_path: Path) -> None:
    parts = members(saved(one_of_each()[kind]))
    for text in ("[" * 100_000, '{"container": 2, "checksums": {}, "state": ' + "9" * 10_000 + "}"):
        tree = np.frombuffer(text.encode(), dtype=np.uint8)
        assert refused(kind, tmp_path / "deep.npz", packed({**parts, TREE: npy(tree)}))


# ------------------------------------------------------------------------- states that are wrong


@every_class
def test_files_of_another_class_or_format_are_refused(kind: type[Stateful], tmp_path: Path) -> None:
    state = one_of_each()[kind].to_state()
    path = tmp_path / "other.npz"
    wrong = [("format", n) for n in (0, -1, state["format"] + 1, 10**30, "1", None, 1.0, True)]
    for key, value in [*wrong, ("type", "linalgkit.Nothing"), ("type", None), ("type", [])]:
        write_state(path, {**state, key: value})
        with pytest.raises(ValueError, match=r"other\.npz"):
            kind.load(path)
    for other in CLASSES:
        if other._state_type() != kind._state_type():
            one_of_each()[other].save(path)
            with pytest.raises(ValueError, match=r"other\.npz: state must be that of linalgkit"):
                kind.load(path)


@every_class
@pytest.mark.parametrize("value", [None, 3, "state", [], np.ones(3)], ids=type)
def test_what_is_no_state_is_a_type_error(kind: type[Stateful], value: Any) -> None:
    with pytest.raises(TypeError, match="state must be a dictionary, got"):
        kind.from_state(value)


@every_class
def test_a_missing_field_is_an_error_unless_it_says_nothing(kind: type[Stateful]) -> None:
    state = one_of_each()[kind].to_state()
    silent = []
    for name in state:
        try:
            found = kind.from_state({key: part for key, part in state.items() if key != name})
        except ValueError:
            continue
        else:
            assert same_state(found.to_state(), state)
            silent.append(name)
    assert len(silent) < 3


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to everything in a state, of a list to the first entries."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value[:2]):
            yield from leaves(part, (*path, key))


def at(state: Any, path: tuple[Any, ...]) -> Any:
    """Return what lies at a path."""
    for key in path:
        state = state[key]
    return state


def replacements(value: Any) -> list[Any]:
    """Return what may stand in place of a field, of other kinds, shapes and dtypes."""
    found: list[Any] = [None, "x", [], {}, math.nan, -1, 0.5, 10**30, 2**40, np.ones((3, 2))]
    if isinstance(value, np.ndarray):
        found += [value[None, ...], np.full(value.shape, "a"), value.astype(np.complex64)]
        found += [value[:-1], value[..., :0]] if value.ndim else []
    return found


@every_class
def test_fields_of_other_kinds_shapes_and_sizes_set_off_nothing_unclear(
    kind: type[Stateful], rng: np.random.Generator
) -> None:
    state = one_of_each()[kind].to_state()
    changes = [(p, v) for p in leaves(state) for v in replacements(at(state, p))]
    picked = rng.permutation(len(changes))[:100]
    n_refused = 0
    for path, value in (changes[i] for i in picked):
        other = copy.deepcopy(state)
        at(other, path[:-1])[path[-1]] = value
        try:
            kind.from_state(other)
        except ValueError:
            n_refused += 1
    assert n_refused > picked.size // 10


def sparse_streams() -> dict[str, Stateful]:
    """Return objects whose states hold sparse rows."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((40, 6), density=0.4, rng=rng, format="csr")
    W = sparse.diags_array([np.full(39, 0.1), np.ones(40), np.full(39, 0.1)], offsets=[-1, 0, 1])
    inner = IncrementalSVD(tol=0.1, inner_product=W.tocsr()).append_columns(X.toarray())
    return {
        "rows": StreamingEigh(1, method="gram").partial_fit(X),
        "columns": IncrementalSVD(tol=0.1, buffer_size=50).append_columns(X),
        "inner product": inner,
        "equations": SketchedRegressor(20, fit_intercept=False, rng=0).partial_fit(X, np.ones(40)),
    }


def sparse_parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary of a state that holds a CSR matrix."""
    if isinstance(value, dict):
        if {"data", "indices", "indptr"} <= value.keys() and len(value["data"]):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from sparse_parts(part)


@pytest.mark.parametrize("name", sparse_streams())
def test_sparse_rows_whose_places_lie_outside_are_refused(name: str) -> None:
    original = sparse_streams()[name]
    state = original.to_state()
    assert same_state(type(original).from_state(state).to_state(), state)
    changes = {
        "indices": (lambda x: x + 10**6, lambda x: x - 10**6, lambda x: x[:-1], np.float64),
        "indptr": (lambda x: x + 1, lambda x: x * 2, lambda x: x[::-1].copy(), lambda x: -x),
        "data": (lambda x: x[:-1], lambda x: x[:, None]),
    }
    for field, ways in changes.items():
        for way in ways:
            damaged = copy.deepcopy(state)
            part = next(sparse_parts(damaged))
            part[field] = way(part[field])
            with pytest.raises(ValueError, match="sparse rows of the state are damaged"):
                type(original).from_state(damaged)


def test_a_file_written_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    for kind, original in one_of_each().items():
        parts = members(saved(original))
        text = np.lib.format.read_array(io.BytesIO(parts[TREE])).tobytes()
        tree = json.loads(text)
        assert tree.pop("checksums").keys() == {name[:-4] for name in parts} - {"__state__"}
        tree["container"] = 1
        text = json.dumps(tree).encode()
        parts[TREE] = npy(np.frombuffer(text, dtype=np.uint8))
        assert not refused(kind, tmp_path / "old.npz", packed(parts))
