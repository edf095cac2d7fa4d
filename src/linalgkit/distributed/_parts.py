"""What the tasks read: a source cut into parts, each of which a worker loads by itself.

::

    parts = as_parts(source)                 # dask.array, delayed blocks, files, arrays
    parts.tasks                              # one dask.delayed a part, an array or CSR matrix each
    parts.lengths                            # rows of each, or None where only reading tells

Nothing is read here. Files are opened by the worker that needs them, so that their contents never
pass through the client; arrays in memory travel inside the graph.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
from dask.delayed import Delayed

from linalgkit._core.array import is_dask, numpy_namespace
from linalgkit._core.estimator import as_array
from linalgkit.distributed._graph import task

_HOST = numpy_namespace()
_PART_BYTES = 64 * 2**20  # of files that do not say how they are cut
_FILES = "'.npy' (numpy.save), '.npz' (scipy.sparse.save_npz) or '.zarr'"


@dataclass(frozen=True)
class Parts:
    """A source in parts along one axis.

    Attributes
    ----------
    tasks : list of Delayed
        Each computes to an array or a sparse matrix.
    lengths : list of int or None
        The length of each along the axis, where it is known without reading.
    axis : int
        Along which they follow each other.
    name : str
        What messages call the source.
    vectors : bool
        Whether parts may have one axis.
    """

    tasks: list[Delayed]
    lengths: list[int] | None
    axis: int = 0
    name: str = "source"
    vectors: bool = False

    def __len__(self) -> int:
        return len(self.tasks)

    def counted(self) -> Parts:
        """Return the same with all lengths known; may read every part once."""
        if self.lengths is not None:
            return self
        found = dask.compute(
            *(
                task("length", _length, part, self.axis, f"part {k} of {self.name}", self.vectors)
                for k, part in enumerate(self.tasks)
            )
        )
        return replace(self, lengths=list(found))

    def without_empty(self) -> Parts:
        """Return counted parts without those of length zero, but for the last one left."""
        assert self.lengths is not None
        kept = [i for i, n in enumerate(self.lengths) if n] or [0]
        tasks, lengths = [self.tasks[i] for i in kept], [self.lengths[i] for i in kept]
        return replace(self, tasks=tasks, lengths=lengths)

    def not_empty(self) -> list[Delayed]:
        """Return the tasks but for those that are known to have length zero."""
        if self.lengths is None:
            return self.tasks
        return [part for part, n in zip(self.tasks, self.lengths, strict=True) if n]

    def starts(self) -> list[int]:
        """Return where each part starts; of counted parts."""
        assert self.lengths is not None
        return [0, *itertools.accumulate(self.lengths)][:-1]


def as_parts(source: Any, *, axis: int = 0, name: str = "source", vectors: bool = False) -> Parts:
    """Return the parts of a source along an axis (0: blocks of rows, 1: blocks of columns).

    Parameters
    ----------
    source : dask.array, dask dataframe, Delayed, path, memmap, zarr or h5py array, array, or list
        A list holds any of these: each item is cut in turn.
    axis : int, default 0
        The axis along which the parts follow each other; a part has the other whole.
    name : str, default "source"
        What messages call it.
    vectors : bool, default False
        Whether arrays may have one axis, as targets, weights and charges have: one number a row.

    Returns
    -------
    Parts
        At least one.

    Raises
    ------
    TypeError
        If it is none of these; a generator can be read only once and by one process.
    ValueError
        If there is nothing in it, or it has not two axes.
    """
    vectors = vectors and axis == 0
    pieces = list(_pieces(source, axis, name, vectors))
    if not pieces:
        raise ValueError(f"{name} must hold at least one part, got none.")
    lengths = [n for _, n in pieces]
    known = [n for n in lengths if n is not None]
    tasks, all_known = [piece for piece, _ in pieces], len(known) == len(lengths)
    return Parts(tasks, known if all_known else None, axis, name, vectors)


def aligned(given: Any, parts: Parts, name: str) -> Parts:
    """Return something with one entry a row (targets, weights), cut where the rows are cut.

    Parameters
    ----------
    given : dask.array, dask series, array or list of delayed arrays
        One array in memory or on disk is cut; a list must have the parts of the rows already.
    parts : Parts
        The rows, counted.
    name : str
        What messages call it.

    Returns
    -------
    Parts
        As many as there are of the rows.

    Raises
    ------
    ValueError
        If there is another number of entries, or of parts.
    """
    assert parts.lengths is not None
    if hasattr(given, "to_dask_array"):
        given = given.to_dask_array()
    is_one = hasattr(given, "shape") and not isinstance(given, Delayed)
    if is_one and given.shape[0] == given.shape[0]:  # NaN: unknown chunks
        _check_entries(int(given.shape[0]), sum(parts.lengths), name)
    if is_dask(given) and given.shape[0] == given.shape[0]:
        given = given.rechunk({0: tuple(parts.lengths)})
    elif is_one and not is_dask(given):
        cuts = zip(parts.starts(), parts.lengths, strict=True)
        given = [given[start : start + n] for start, n in cuts]
    found = as_parts(given, name=name, vectors=True)
    if len(found) != len(parts):
        raise ValueError(f"{name} must have the {len(parts)} parts of the rows, got {len(found)}.")
    for i, (n, m) in enumerate(zip(found.lengths or [], parts.lengths, strict=False)):
        _check_entries(n, m, f"part {i} of {name}")
    return replace(found, lengths=found.lengths or parts.lengths)


@contextlib.contextmanager
def naming(index: int, name: str) -> Iterator[None]:
    """Let errors of a block of statements say which part they are about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"part {index} of {name}: {error}") from error


def _check_entries(n: int, expected: int, name: str) -> None:
    if n != expected:
        raise ValueError(f"{name} must have {expected} entries, one for each row, got {n}.")


_Piece = tuple[Delayed, int | None]


def _pieces(source: Any, axis: int, name: str, vectors: bool) -> Iterator[_Piece]:
    """Yield tasks with their lengths."""
    if isinstance(source, Delayed):
        yield source, None
    elif isinstance(source, (str, os.PathLike)):
        yield from _of_file(Path(source), axis, name, vectors)
    elif hasattr(source, "to_dask_array"):
        yield from _of_dask(source.to_dask_array(), axis, name, vectors)
    elif is_dask(source):
        yield from _of_dask(source, axis, name, vectors)
    elif isinstance(source, (list, tuple)):
        for item in source:
            yield from _pieces(item, axis, name, vectors)
    elif isinstance(source, Iterator):
        raise TypeError(
            f"{name} must be readable by every worker, got a {type(source).__name__}, which can be "
            "read only once. Pass a list of dask.delayed blocks, a dask.array or files."
        )
    else:
        yield from _of_array(source, axis, name, vectors)


def _of_dask(source: Any, axis: int, name: str, vectors: bool) -> Iterator[_Piece]:
    """Yield the chunks along the axis, the other axis made whole."""
    check_axes(source.shape, name, vectors)
    whole = source if source.ndim == 1 else source.rechunk({1 - axis: -1})
    tasks = whole.to_delayed().ravel()
    for chunk, n in zip(tasks, source.chunks[axis], strict=True):
        yield chunk, None if n != n else int(n)  # NaN: an unknown chunk


def _of_array(source: Any, axis: int, name: str, vectors: bool) -> Iterator[_Piece]:
    """Yield an array in memory as one part, one on disk in several."""
    if not hasattr(source, "shape"):
        raise TypeError(
            f"{name} must be a dask.array, dask.delayed blocks, files or arrays, got "
            f"{type(source).__name__}."
        )
    opener = _opener_of(source)
    if opener is None:
        check_axes(source.shape, name, vectors)
        held = source[()] if _is_hdf5(source) else source  # in no file, so in memory
        yield task("given", _same, held), int(source.shape[axis])
        return
    yield from _ranges(opener, source, axis, name, vectors)


def _of_file(path: Path, axis: int, name: str, vectors: bool) -> Iterator[_Piece]:
    """Yield a file in several parts."""
    if not path.exists():
        raise FileNotFoundError(f"{name} names {str(path)!r}, which does not exist.")
    path = path.resolve()
    if path.suffix in (".npy", ".npz") and path.is_dir():
        raise ValueError(
            f"{name} must name files, got the directory {str(path)!r}. Pass a list of its files."
        )
    if path.suffix == ".npy":
        opener = Opener(_open_npy, (str(path),))
    elif path.suffix == ".zarr":
        opener = Opener(_open_zarr, (str(path),))
    elif path.suffix == ".npz":
        yield task("file", _load_sparse, str(path)), None
        return
    else:
        raise ValueError(
            f"{name} must name files in {_FILES}, got {str(path)!r}. Pass "
            "dask.delayed(reader)(path) for other formats."
        )
    store = readable(opener, str(path), name)
    if path.suffix == ".npy":  # its head is read once, here
        opener = _opener_of(store) or opener
    yield from _ranges(opener, store, axis, f"{name} in {str(path)!r}", vectors)


def readable(opener: Callable[[], Any], path: str, name: str) -> Any:
    """Return what opens, or raise an error that names the file."""
    try:
        return opener()
    except Exception as error:
        raise ValueError(
            f"{name} must name files that hold one array, in {_FILES}; {path!r} cannot be read as "
            f"that: {error}"
        ) from error


def _ranges(opener: Opener, source: Any, axis: int, name: str, vectors: bool) -> Iterator[_Piece]:
    """Yield ranges of something on disk, cut at its own chunks where it has them."""
    shape = tuple(source.shape)
    check_axes(shape, name, vectors)
    other = shape[1 - axis] if len(shape) == 2 else 1
    chunks = getattr(source, "chunks", None)
    chunk = int(chunks[axis]) if chunks else 1
    bytes_each = max(1, other * _HOST.dtype(source.dtype).itemsize)
    step = max(1, _PART_BYTES // bytes_each // chunk) * chunk
    for start in range(0, max(1, shape[axis]), step):
        stop = min(shape[axis], start + step)
        yield task("range", _read_range, opener, axis, start, stop), stop - start


@dataclass(frozen=True)
class Opener:
    """How a worker opens a store by itself."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        """Open it."""
        return self.function(*self.arguments)


def _opener_of(source: Any) -> Opener | None:
    """Return how to open what lies on disk anew, or None for arrays in memory."""
    if isinstance(source, _HOST.memmap) and _is_whole(source):
        layout = (str(source.filename), str(source.dtype.str), tuple(source.shape), source.offset)
        return Opener(_open_raw, layout)
    if _is_hdf5(source):
        path = _path_of_hdf5(source)
        return None if path is None else Opener(_open_hdf5, (path, str(source.name)))
    if type(source).__module__.partition(".")[0] == "zarr":
        return Opener(_same, (source,))  # zarr arrays know how to travel
    return None


def _is_whole(source: Any) -> bool:
    """Tell whether a memmap shows its file: is no slice, nor keeps what is written to itself."""
    if source.filename is None or source.mode == "c":
        return False
    return bool(source.flags.c_contiguous) and not isinstance(source.base, type(source))


def _is_hdf5(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "h5py"


def _path_of_hdf5(source: Any) -> str | None:
    """Return where the file of a dataset lies, or None if it is in memory."""
    file = source.file
    if file.driver in ("core", "fileobj"):
        return None
    path: str = os.path.abspath(os.fspath(file.filename))
    is_it = os.path.exists(path)
    if is_it and file.driver == "sec2":
        is_it = os.path.samestat(os.fstat(file.id.get_vfd_handle()), os.stat(path))
    if not is_it:
        raise FileNotFoundError(
            f"the HDF5 file of {source.name!r} must be where it was opened, but {path!r} is not "
            "it. Open it by an absolute path."
        )
    return path


def _open_npy(path: str) -> Any:
    return _HOST.load(path, mmap_mode="r", allow_pickle=False)


def _open_raw(path: str, dtype: str, shape: tuple[int, ...], offset: int) -> Any:
    return _HOST.memmap(path, dtype=dtype, mode="r", shape=shape, offset=offset)


def _open_zarr(path: str) -> Any:
    return import_module("zarr").open_array(path, mode="r")


@contextlib.contextmanager
def _open_hdf5(path: str, dataset: str) -> Iterator[Any]:
    """Open a dataset for the time of a reading."""
    with import_module("h5py").File(path, "r") as file:
        yield file[dataset]


def _load_sparse(path: str) -> Any:
    load = import_module("scipy.sparse").load_npz
    return readable(lambda: load(path), path, "source")


def _read_range(opener: Opener, axis: int, start: int, stop: int) -> Any:
    """Return a range of a store as an array in memory."""
    with contextlib.ExitStack() as stack:
        store = opener()
        if isinstance(store, contextlib.AbstractContextManager) and not hasattr(store, "shape"):
            store = stack.enter_context(store)
        if len(store.shape) == 1:
            return _HOST.array(store[start:stop])
        return _HOST.array(store[start:stop, :] if axis == 0 else store[:, start:stop])


def _same(x: Any) -> Any:
    return x


def _length(part: Any, axis: int, name: str, vectors: bool) -> int:
    """Return how long a part is."""
    shape = as_array(part).shape
    check_axes(shape, name, vectors)
    return int(shape[axis])


def check_axes(shape: Sequence[Any], name: str, vectors: bool = False) -> None:
    """Refuse what is no matrix, or vector where that is meant."""
    if len(shape) == 2 or (vectors and len(shape) == 1):
        return
    expected = "one axis, or two," if vectors else "two axes"
    hint = "" if len(shape) != 1 else " Reshape it to (1, d), one row, or (n, 1), one column."
    raise ValueError(f"{name} must have {expected}, got shape {tuple(shape)}.{hint}")
