"""Patches of photographs: real rows, strongly correlated in reading order."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from linalgkit._core.array import Array
from linalgkit._core.random import as_generator
from linalgkit._core.validation import check_choice, check_int
from linalgkit.datasets._rows import HostArray, dtype_on_host, on_device

ORDERS = ("reading", "random")


class PatchStream:
    """What :func:`image_patches` returns: patches in blocks, the same at every reading.

    Parameters
    ----------
    images : list of ndarray
        Checked images of one number of channels.
    size, block_rows, order, dtype, like, rng
        As in :func:`image_patches`, with nothing left at None but `like`.

    Attributes
    ----------
    n_rows : int
        Number of patches.
    n_columns : int
        Numbers in a patch: ``size * size * channels``.
    patch_shape : tuple of int
        ``(size, size)`` or ``(size, size, channels)``: what a row is reshaped to, to see it.
    block_rows : int
        Rows of a block.
    """

    def __init__(
        self,
        images: list[HostArray],
        size: int,
        block_rows: int,
        order: str,
        dtype: np.dtype[Any],
        like: Array | None,
        rng: np.random.Generator,
    ) -> None:
        self._windows = [_windows(image, size) for image in images]
        self._ends = np.cumsum([w.shape[0] * w.shape[1] for w in self._windows])
        self.patch_shape: tuple[int, ...] = self._windows[0].shape[2:]
        self.n_rows = int(self._ends[-1])
        self.n_columns = int(np.prod(self.patch_shape))
        self.block_rows = block_rows
        self._order, self._dtype, self._like, self._generator = order, dtype, like, rng

    def __len__(self) -> int:
        """Return the number of blocks."""
        return -(-self.n_rows // self.block_rows)

    def __iter__(self) -> Iterator[Array]:
        """Cut the patches out of the images, from the first on."""
        order = None
        if self._order == "random":
            order = copy.deepcopy(self._generator).permutation(self.n_rows)
        for start in range(0, self.n_rows, self.block_rows):
            stop = min(start + self.block_rows, self.n_rows)
            index = np.arange(start, stop) if order is None else order[start:stop]
            yield on_device(self._rows(index), self._like)

    def _rows(self, index: HostArray) -> HostArray:
        """Return the patches with these numbers."""
        rows = np.empty((index.size, *self.patch_shape), dtype=self._dtype)
        which = np.searchsorted(self._ends, index, side="right")
        for i, windows in enumerate(self._windows):
            mine = which == i
            first = self._ends[i] - windows.shape[0] * windows.shape[1]
            place = np.unravel_index(index[mine] - first, windows.shape[:2])
            rows[mine, ...] = windows[place]
        return rows.reshape(index.size, self.n_columns)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_rows} patches of {self.patch_shape}, "
            f"{self._order} order, {len(self)} blocks of {self.block_rows} rows)"
        )


def image_patches(
    images: Any,
    size: int = 8,
    *,
    block_rows: int = 4096,
    order: str = "reading",
    dtype: Any = None,
    like: Array | None = None,
    rng: Any = None,
) -> PatchStream:
    """Stream all overlapping square patches of one or several images as rows.

    Parameters
    ----------
    images : array or sequence of arrays
        Images of shape (height, width) or (height, width, channels), of any numeric dtype; the
        pixel values are kept as they are. All must have the same channels.
    size : int, default 8
        Height and width of a patch.
    block_rows : int, default 4096
        Rows of a block; the rows and their order do not depend on it.
    order : {"reading", "random"}, default "reading"
        Image after image, line after line, where neighbours are nearly equal; or a random
        permutation of all patches of all images.
    dtype : str or dtype, optional
        Floating dtype of the blocks; float64 by default, or that of `like`.
    like : array, optional
        An array whose library and device the blocks shall have; NumPy by default.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed of the permutation.

    Returns
    -------
    PatchStream
        An iterable of ``len`` blocks of shape (block_rows, size * size * channels), a patch
        flattened in C order; attributes ``n_rows``, ``n_columns`` and ``patch_shape``.

    Raises
    ------
    ValueError
        If an image is smaller than a patch, or the images differ in their channels.

    Notes
    -----
    Storage: the images as they are, one block, and for the random order one integer a patch;
    the patches are never held at once.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import image_patches
    >>> photograph = np.arange(20 * 30 * 3).reshape(20, 30, 3)
    >>> patches = image_patches(photograph, size=8, block_rows=200)
    >>> patches.n_rows, patches.n_columns, patches.patch_shape
    (299, 192, (8, 8, 3))
    >>> [block.shape for block in patches]
    [(200, 192), (99, 192)]
    """
    check_choice("order", order, ORDERS)
    size, block_rows = check_int("size", size, 1), check_int("block_rows", block_rows, 1)
    several = isinstance(images, Sequence)
    found = [_checked(image, size, i) for i, image in enumerate(images if several else [images])]
    if not found:
        raise ValueError("images must hold at least one image, got none.")
    channels = {image.shape[2:] for image in found}
    if len(channels) > 1:
        raise ValueError(f"images must all have the same channels, got {sorted(channels)}.")
    kept = dtype_on_host(dtype, like)
    generator = as_generator(rng).spawn(1)[0]
    return PatchStream(found, size, block_rows, order, kept, like, generator)


def _checked(image: Any, size: int, number: int) -> HostArray:
    """Return an image as a NumPy array, or raise."""
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"images must hold real numbers, got {array.dtype} in image {number}.")
    if array.ndim not in (2, 3) or min(array.shape[:2]) < size or 0 in array.shape:
        raise ValueError(
            f"images must have shape (height, width) or (height, width, channels) and be at "
            f"least {size} pixels high and wide, got {array.shape} for image {number}."
        )
    return array


def _windows(image: HostArray, size: int) -> HostArray:
    """Return a view of shape (rows, columns, size, size[, channels]) on all patches."""
    view = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
    return np.moveaxis(view, 2, -1) if image.ndim == 3 else view
