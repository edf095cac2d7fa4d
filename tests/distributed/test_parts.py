"""Any source in parts: the same rows, read by whoever needs them and not before."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from linalgkit.distributed import _parts
from linalgkit.distributed._parts import Parts, aligned, as_parts

A = np.arange(60.0).reshape(12, 5)


def _all(parts: Parts) -> Any:
    read = [x.toarray() if sp.issparse(x) else np.asarray(x) for x in dask.compute(*parts.tasks)]
    return np.concatenate(read, axis=parts.axis)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Any]:
    """The same rows in every form."""
    np.save(tmp_path / "a.npy", A)
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(A))
    raw = np.memmap(tmp_path / "a.raw", dtype="float64", mode="w+", shape=A.shape)
    raw[:] = A
    raw.flush()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/a", data=A, chunks=(2, 5))
    zarr.create_array(store=str(tmp_path / "a.zarr"), data=A, chunks=(4, 5))
    return {
        "dask": da.from_array(A, chunks=(5, 2)),
        "unknown": da.from_array(A, chunks=(5, 5))[da.ones(12, chunks=5) > 0],
        "delayed": [dask.delayed(A[:7]), dask.delayed(A[7:])],
        "npy": str(tmp_path / "a.npy"),
        "npz": tmp_path / "a.npz",
        "zarr path": tmp_path / "a.zarr",
        "zarr": zarr.open_array(str(tmp_path / "a.zarr"), mode="r"),
        "hdf5": h5py.File(tmp_path / "a.h5", "r")["group/a"],
        "memmap": raw,
        "slice of a memmap": raw[:12],
        "array": A,
        "sparse": sp.csr_array(A),
        "frame": pd.DataFrame(A),
        "list": [A[:3], str(tmp_path / "a.npy"), A[:0], sp.csr_array(A[3:])],
    }


KINDS = [
    "dask",
    "unknown",
    "delayed",
    "npy",
    "npz",
    "zarr path",
    "zarr",
    "hdf5",
    "memmap",
    "slice of a memmap",
    "array",
    "sparse",
    "frame",
    "list",
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_any_source_are_its_rows(kind: str, sources: dict[str, Any]) -> None:
    expected = np.concatenate([A[:3], A, A[3:]]) if kind == "list" else A
    parts = as_parts(sources[kind])
    np.testing.assert_array_equal(_all(parts), expected)
    counted = parts.counted()
    assert counted.lengths is not None
    assert sum(counted.lengths) == len(expected)
    assert counted.starts() == [sum(counted.lengths[:i]) for i in range(len(counted))]


@pytest.mark.parametrize("kind", ["dask", "npy", "zarr", "hdf5", "memmap", "array", "sparse"])
def test_columns_can_be_the_parts(kind: str, sources: dict[str, Any]) -> None:
    parts = as_parts(sources[kind], axis=1).counted()
    np.testing.assert_array_equal(_all(parts), A)
    assert sum(parts.lengths or []) == 5


def test_lengths_are_known_without_reading_except_where_only_reading_tells(
    sources: dict[str, Any],
) -> None:
    for kind in ("unknown", "delayed", "npz"):
        assert as_parts(sources[kind]).lengths is None
    for kind in ("dask", "npy", "zarr", "hdf5", "memmap", "array"):
        assert as_parts(sources[kind]).lengths is not None


@pytest.mark.parametrize("kind", ["npy", "zarr", "hdf5", "memmap"])
def test_files_are_cut_at_their_chunks_and_read_by_the_workers(
    kind: str, sources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "_PART_BYTES", 5 * A[:1].nbytes)
    parts = as_parts(sources[kind])
    assert parts.lengths == {"zarr": [4, 4, 4], "hdf5": [4, 4, 4]}.get(kind, [5, 5, 2])
    np.testing.assert_array_equal(_all(parts), A)
    graph = pickle.dumps(dict(parts.tasks[0].__dask_graph__()))
    assert A.tobytes()[:200] not in graph


def test_nothing_is_read_before_it_is_computed() -> None:
    def fail() -> Any:
        raise OSError("read")

    parts = as_parts([dask.delayed(fail)()])
    with pytest.raises(OSError, match="read"):
        parts.counted()


def test_empty_parts_can_be_left_out() -> None:
    parts = as_parts([A[:0], A[:3], A[:0], A[3:]]).without_empty()
    assert parts.lengths == [3, 9]
    assert as_parts([A[:0], A[:0]]).without_empty().lengths == [0]


class _Frame:
    """A dask dataframe, as far as it is looked at."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def to_dask_array(self) -> Any:
        return self.values


def test_dataframes_of_dask_are_taken_by_their_arrays() -> None:
    parts = as_parts(_Frame(da.from_array(A, chunks=(5, 5))))
    np.testing.assert_array_equal(_all(parts), A)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ((x for x in [A]), TypeError, "source must be readable by every worker, got a generator"),
        ([], ValueError, "source must hold at least one part, got none"),
        (3.0, TypeError, "source must be a dask.array, .* got float"),
        (A[0], ValueError, r"source must have two axes, got shape \(5,\)\. Reshape it to \(1, d\)"),
        (da.ones(9, chunks=3), ValueError, r"source must have two axes, got shape \(9,\)"),
        (A[None], ValueError, r"source must have two axes, got shape \(1, 12, 5\)"),
        (da.ones((2, 2, 2)), ValueError, r"source must have two axes, got shape \(2, 2, 2\)"),
        ("nowhere.npy", FileNotFoundError, "source names 'nowhere.npy', which does not exist"),
    ],
)
def test_what_cannot_be_cut_is_refused(source: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        as_parts(source)


def test_vectors_are_taken_where_they_are_meant(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", A[0])
    for source in (A[0], da.from_array(A[0], chunks=3), tmp_path / "y.npy", dask.delayed(A[0])):
        assert sum(as_parts(source, vectors=True).counted().lengths or []) == 5
        with pytest.raises(ValueError, match=r"must have two axes, got shape \(5,\)"):
            as_parts(source, axis=1, vectors=True).counted()
    with pytest.raises(ValueError, match=r"part 1 of X must have two axes, got shape \(5,\)"):
        as_parts([dask.delayed(A), dask.delayed(A[0])], name="X").counted()


def test_a_memmap_that_keeps_its_changes_is_not_read_from_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A)
    changed = np.load(tmp_path / "a.npy", mmap_mode="c")
    changed *= 2.0
    np.testing.assert_array_equal(_all(as_parts(changed)), 2.0 * A)
    b = np.memmap(tmp_path / "a.npy", dtype="float64", mode="c", offset=128, shape=(12,))
    b[:] = 7.0
    found = as_parts(b, vectors=True)
    assert dask.compute(*found.tasks)[0].tolist() == [7.0] * 12


def test_hdf5_is_found_from_another_folder_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file["a"] = A
    with h5py.File("a.h5", "r") as file:
        parts = as_parts(file["a"])
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        np.testing.assert_array_equal(_all(parts), A)
        with pytest.raises(FileNotFoundError, match=r"HDF5 file of '/a' must be where it was"):
            as_parts(file["a"])
        with h5py.File("a.h5", "w") as wrong:
            wrong["a"] = -A
        with pytest.raises(FileNotFoundError, match="Open it by an absolute path"):
            as_parts(file["a"])


def test_hdf5_in_memory_is_an_array_in_memory() -> None:
    with h5py.File("nowhere.h5", "w", driver="core", backing_store=False) as file:
        file["a"] = A
        parts = as_parts(file["a"])
    np.testing.assert_array_equal(_all(parts), A)
    with h5py.File(io.BytesIO(), "w") as file:
        file["a"] = A
        np.testing.assert_array_equal(_all(as_parts(file["a"])), A)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", A)
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "junk.npy").write_bytes(b"hello")
    (tmp_path / "short.npy").write_bytes(whole[:200])
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "junk.npz").write_bytes(b"hello")
    np.savez(tmp_path / "dense.npz", A=A)
    zarr.open_group(str(tmp_path / "group.zarr"), mode="w")
    np.save(tmp_path / "cube.npy", A[None])
    for name in ("junk.npy", "short.npy", "folder.npy", "junk.npz", "dense.npz", "group.zarr"):
        with pytest.raises(ValueError, match=rf"source must name files.*{name}"):
            as_parts(tmp_path / name).counted()
    with pytest.raises(ValueError, match=r"source in .*cube.npy' must have two axes"):
        as_parts(tmp_path / "cube.npy")


def test_a_file_without_rows_is_one_empty_part(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A[:0])
    parts = as_parts(tmp_path / "a.npy")
    assert parts.lengths == [0]
    assert _all(parts).shape == (0, 5)


def test_a_file_of_another_format_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"source must name files in '.npy'.*dask.delayed\(reader"):
        as_parts(tmp_path / "a.csv")


def test_pickled_objects_in_files_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[None]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        as_parts(tmp_path / "a.npy")


# ------------------------------------------------------------------- one entry for each row


@pytest.mark.parametrize("kind", ["array", "dask", "list", "delayed"])
def test_weights_are_cut_where_the_rows_are(kind: str) -> None:
    parts, w = as_parts([A[:7], A[7:]]), np.arange(12.0)
    given = {
        "array": w,
        "dask": da.from_array(w, chunks=5),
        "list": [w[:7], w[7:]],
        "delayed": [dask.delayed(w[:7]), dask.delayed(w[7:])],
    }[kind]
    found = aligned(given, parts, "y")
    assert found.lengths == [7, 5]
    read = dask.compute(*found.tasks)
    assert [x.tolist() for x in read] == [w[:7].tolist(), w[7:].tolist()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones(11), "y must have 12 entries, one for each row, got 11"),
        (da.ones(13, chunks=5), "y must have 12 entries"),
        ([np.ones(12)], "y must have the 2 parts of the rows, got 1"),
        ([np.ones(6), np.ones(6)], "part 0 of y must have 7 entries"),
    ],
)
def test_weights_that_do_not_fit_the_rows_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aligned(given, as_parts([A[:7], A[7:]]), "y")
