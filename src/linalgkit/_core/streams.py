"""Rows from anywhere, in blocks: arrays, files, sparse matrices, generators, dask arrays.

Where the rows come from and how they were cut ends here::

    buffer = RowBuffer(256)
    for block in row_blocks(source, block_rows=4096):
        for rows in buffer.push(block):     # exactly 256 rows, whatever the caller's cuts
            method.update(rows)
    last = buffer.tail()                    # what is left, or None
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from linalgkit._core.array import array_namespace, is_dask, is_sparse, type_root
from linalgkit._core.frames import frame_values, refuse_file_names
from linalgkit._core.row_buffer import RowBuffer, block_kind, check_same_kind
from linalgkit._core.sparse import csr_rows

__all__ = ["RowBuffer", "default_block_rows", "is_reiterable", "row_blocks", "tree_reduce"]

T = TypeVar("T")

# Blocks of sources that do not say how they are cut are of about this size.
_BLOCK_BYTES = 8 * 2**20
_LIBRARY_ROOTS = ("numpy", "torch", "cupy", "jax", "jaxlib")
_NO_ROWS = (str, bytes, bytearray, Mapping, set, frozenset)


def default_block_rows(d: int, itemsize: int = 8) -> int:
    """Return how many rows of `d` entries make a block of about 8 MiB, at least one."""
    return max(1, _BLOCK_BYTES // max(1, d * itemsize))


def is_reiterable(source: object) -> bool:
    """Tell whether a source of rows can be gone through more than once.

    Parameters
    ----------
    source : object
        What :func:`row_blocks` takes.

    Returns
    -------
    bool
        False for generators and other iterators, True for arrays, files and collections.
    """
    return not isinstance(source, Iterator)


def row_blocks(
    source: Any, *, block_rows: int | None = None, d: int | None = None
) -> Iterator[Any]:
    """Return the rows of a source as an iterator of 2-D blocks.

    Parameters
    ----------
    source : array, sparse matrix, array on disk, dask array, dataframe, or iterable of these
        A 1-D array is one row. numpy.memmap, h5py and zarr are read block by block. An iterable
        holds blocks of rows, or rows.
    block_rows : int, optional
        No block is longer, and no more rows of a file are read at once. By default arrays in
        memory are handed on as they are, and files are read in blocks of about 8 MiB that end
        where their chunks do.
    d : int, optional
        The number of columns that every block must have; that of the first by default.

    Returns
    -------
    iterator of array or CSR matrix
        The rows in order; arrays in memory are cut into views. Blocks without rows are left out.

    Raises
    ------
    TypeError
        If the source holds no rows (at once), or blocks of two libraries, devices or kinds (when
        the offending block is reached).
    ValueError
        If blocks differ in their number of columns, or have more than two axes.

    Examples
    --------
    >>> import numpy as np
    >>> [block.shape for block in row_blocks(np.ones((5, 3)), block_rows=2)]
    [(2, 3), (2, 3), (1, 3)]
    """
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}.")
    reader = _find_reader(source)
    if reader is not None:
        return _checked(reader(source, block_rows), d)
    if isinstance(source, _NO_ROWS) or not isinstance(source, Iterable):
        refuse_file_names(source)
        # Only to find the words: what is no array either is refused there.
        array_namespace(source)
    return _checked(_read_iterable(source, block_rows), d)


# ----------------------------------------------------------------------- kinds of sources


_Reader = Callable[[Any, int | None], Iterator[Any]]


def _find_reader(source: Any) -> _Reader | None:
    """Return the function that cuts this kind of source, or None for iterables of blocks."""
    if is_sparse(source):
        return _read_sparse
    if is_dask(source):
        return _read_dask
    if _is_frame(source):
        return _read_frame
    if isinstance(source, (list, tuple, Iterator, *_NO_ROWS)):
        return None
    if hasattr(source, "matmat") and hasattr(source, "rmatmat"):
        raise TypeError(
            f"a {type(source).__name__} is known by its products alone and cannot be cut into "
            "blocks of rows. Pass an array, a sparse matrix or an iterable of blocks instead."
        )
    if _is_on_disk(source):
        return _read_disk
    is_known = hasattr(source, "__array_namespace__") or type_root(source) in _LIBRARY_ROOTS
    if is_known and hasattr(source, "shape"):  # a torch DataLoader has none: an iterable
        array_namespace(source)  # refuses numpy.matrix, masks and objects at once
        return _read_array
    if hasattr(source, "__array__"):
        return _read_convertible
    return None


def _is_on_disk(source: Any) -> bool:
    """Tell whether `source` looks like an h5py or zarr array: sliced to be read."""
    return all(
        hasattr(source, name) for name in ("shape", "dtype", "chunks", "__getitem__")
    ) and not isinstance(source, np.ndarray)


def _is_frame(source: Any) -> bool:
    return hasattr(source, "to_numpy") and hasattr(source, "columns")


def _read_array(source: Any, block_rows: int | None) -> Iterator[Any]:
    xp = array_namespace(source)
    if isinstance(source, np.memmap):
        block_rows = block_rows or default_block_rows(source.shape[-1], source.dtype.itemsize)
        source = np.asarray(source)  # still the mapped pages, without the subclass
    if source.ndim == 1:
        source = xp.reshape(source, (1, -1))
    _check_two_axes(source.shape)
    for start, stop in _cuts(source.shape[0], block_rows):
        yield source[start:stop, :]


def _read_sparse(source: Any, block_rows: int | None) -> Iterator[Any]:
    rows = source.reshape((1, -1)) if source.ndim == 1 else source
    _check_two_axes(rows.shape)
    csr = rows.tocsr()
    if block_rows is None or csr.shape[0] <= block_rows:
        yield csr
        return
    for start, stop in _cuts(csr.shape[0], block_rows):
        yield csr_rows(csr, start, stop)


def _read_disk(source: Any, block_rows: int | None) -> Iterator[Any]:
    shape = tuple(source.shape)
    if len(shape) == 1:
        yield from _read_array(source[...], block_rows)
        return
    _check_two_axes(shape)
    if block_rows is None:
        block_rows = default_block_rows(shape[1], np.dtype(source.dtype).itemsize)
        chunk = source.chunks[0] if source.chunks else 1
        block_rows = max(1, block_rows // chunk) * chunk
    for start, stop in _cuts(shape[0], block_rows):
        yield source[start:stop, :]


def _read_dask(source: Any, block_rows: int | None) -> Iterator[Any]:
    if source.ndim == 1:
        source = source[None, :]
    _check_two_axes(source.shape)
    for k in range(source.numblocks[0]):
        chunk = source.blocks[k].compute()
        yield from (_read_sparse if is_sparse(chunk) else _read_array)(chunk, block_rows)


def _read_frame(source: Any, block_rows: int | None) -> Iterator[Any]:
    yield from _read_array(frame_values(source), block_rows)


def _read_convertible(source: Any, block_rows: int | None) -> Iterator[Any]:
    yield from _read_array(np.asarray(source), block_rows)


def _read_iterable(source: Iterable[Any], block_rows: int | None) -> Iterator[Any]:
    for index, item in enumerate(source):
        reader = None if isinstance(item, (list, tuple, Iterator)) else _find_reader(item)
        if reader is None:
            refuse_file_names(item)
            raise TypeError(
                f"a source must be an array or an iterable of arrays, got {type(item).__name__} "
                f"as item {index} of a {type(source).__name__}. "
                "Convert the rows first, for instance numpy.asarray(source)."
            )
        yield from reader(item, block_rows)


def _cuts(n: int, block_rows: int | None) -> Iterator[tuple[int, int]]:
    """Yield the ends of blocks; a source without rows still shows one empty block."""
    step = block_rows or max(n, 1)
    for start in range(0, max(n, 1), step):
        yield start, min(start + step, n)


def _check_two_axes(shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise ValueError(
            f"rows must come as 2-D blocks (rows, columns) or as 1-D rows, got shape "
            f"{tuple(shape)}. Reshape to (-1, number of columns)."
        )


def _checked(blocks: Iterator[Any], d: int | None) -> Iterator[Any]:
    """Let blocks pass that fit to each other, and leave out those without rows."""
    kind = None
    for index, block in enumerate(blocks):
        found = block_kind(block)
        check_same_kind(kind or found, found, f" in block {index}")
        kind = found
        if d is not None and block.shape[1] != d:
            raise ValueError(
                f"every block must have {d} columns as the earlier rows have, got "
                f"{block.shape[1]} in block {index}."
            )
        d = block.shape[1]
        if d == 0:
            raise ValueError(f"rows must have at least one column, got none in block {index}.")
        if block.shape[0]:
            yield block


# -------------------------------------------------------------------------------- reduction


def tree_reduce(items: Iterable[T], merge: Callable[[T, T], T], fanin: int = 2) -> T:
    """Merge items in a balanced tree, in order, holding few of them at once.

    Parameters
    ----------
    items : iterable
        At least one; consumed one by one.
    merge : callable
        ``merge(a, b)`` with `a` made of earlier items than `b`. It may change and return `a`.
    fanin : int, default 2
        How many neighbours a node of the tree joins.

    Returns
    -------
    object
        The merged item. The tree depends on the number of items alone.

    Raises
    ------
    ValueError
        If there is no item or `fanin` is below 2.

    Notes
    -----
    Storage: at most ``fanin - 1`` results for each of the ``log(n) / log(fanin)`` levels.

    Examples
    --------
    >>> tree_reduce("abcde", lambda a, b: f"({a}{b})")
    '(((ab)(cd))e)'
    """
    if fanin < 2:
        raise ValueError(f"fanin must be at least 2, got {fanin}.")
    levels: list[list[T]] = []
    for item in items:
        carried = item
        for level in levels:
            level.append(carried)
            if len(level) < fanin:
                break
            carried = functools.reduce(merge, level)
            level.clear()
        else:
            levels.append([carried])
    waiting = [item for level in reversed(levels) for item in level]
    if not waiting:
        raise ValueError("items must hold at least one item, got none.")
    return _fold_from_the_end(levels, merge)


def _fold_from_the_end(levels: list[list[T]], merge: Callable[[T, T], T]) -> T:
    """Join what is left: lower levels hold later items and fewer of them."""
    rest: list[T] = []
    for level in levels:
        rest = [functools.reduce(merge, [*level, *rest])] if level or rest else []
    return rest[0]
