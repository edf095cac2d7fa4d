"""Linear equations from photographs: each pixel beside the pixels around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linalgkit._core.array import Array, namespace_of
from linalgkit._core.validation import check_int
from linalgkit.datasets._patches import PatchStream, image_patches
from linalgkit.datasets._rows import HostArray


class NeighbourEquations:
    """What :func:`neighbour_equations` returns: pairs of blocks, the same at every reading.

    Parameters
    ----------
    patches : PatchStream
        Patches of odd size.
    channel : int
        Channel of the middle pixel that the others shall predict.

    Attributes
    ----------
    n_rows : int
        Number of equations.
    n_columns : int
        Number of unknowns: ``size * size * channels``, the last one the intercept.
    patch_shape : tuple of int
        ``(size, size, channels)``.
    """

    def __init__(self, patches: PatchStream, channel: int) -> None:
        self._patches = patches
        self.n_rows, self.n_columns = patches.n_rows, patches.n_columns
        self.patch_shape = patches.patch_shape
        size, _, channels = self.patch_shape
        self._target = (size * size // 2) * channels + channel

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._patches)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield blocks of the matrix and of the right side, from the first on."""
        t = self._target
        for rows in self._patches:
            xp, device = namespace_of(rows)
            ones = xp.ones((rows.shape[0], 1), dtype=rows.dtype, device=device)
            A = xp.concat([rows[:, :t], rows[:, t + 1 :], ones], axis=1)
            yield A, xp.asarray(rows[:, t], copy=True)

    def as_patch(self, x: Any) -> HostArray:
        """Return numbers that belong to the unknowns as a patch, with 0 at the middle pixel.

        Parameters
        ----------
        x : array-like (n_columns,)
            Coefficients, or their standard errors, on the host.

        Returns
        -------
        numpy.ndarray (size, size, channels)
            The intercept is left out.
        """
        values = np.asarray(x, dtype=np.float64)
        if values.shape != (self.n_columns,):
            raise ValueError(f"x must have shape ({self.n_columns},), got {values.shape}.")
        return np.insert(values[:-1], self._target, 0.0).reshape(self.patch_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_rows} equations, {self.n_columns} unknowns)"


def neighbour_equations(
    images: Any,
    size: int = 5,
    *,
    channel: int = 1,
    block_rows: int = 8192,
    dtype: Any = None,
    like: Array | None = None,
) -> NeighbourEquations:
    """Ask for each pixel of one or several colour images from the pixels around it.

    One equation for each pixel that has a full neighbourhood: the other pixels of the square
    around it in all channels, the other channels of the pixel itself, and a constant, shall add
    up to its value in one channel. The coefficients are the best linear predictor.

    Parameters
    ----------
    images : array or sequence of arrays
        Images of shape (height, width, channels), of any numeric dtype; the pixel values are
        kept as they are.
    size : int, default 5
        Height and width of the neighbourhood, odd.
    channel : int, default 1
        Which channel is predicted.
    block_rows : int, default 8192
        Equations of a block.
    dtype : str or dtype, optional
        Floating dtype of the blocks; float64 by default, or that of `like`.
    like : array, optional
        An array whose library and device the blocks shall have; NumPy by default.

    Returns
    -------
    NeighbourEquations
        An iterable of ``len`` pairs of blocks (b, size * size * channels) and (b,); attributes
        ``n_rows``, ``n_columns`` and ``patch_shape``, and ``as_patch`` to see coefficients.

    Raises
    ------
    ValueError
        If `size` is even, an image has no channels or is too small, or there is no such channel.

    Notes
    -----
    Storage: the images as they are and one block; the matrix is never held at once.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.datasets import neighbour_equations
    >>> photograph = np.arange(20 * 30 * 3).reshape(20, 30, 3)
    >>> equations = neighbour_equations(photograph, block_rows=300)
    >>> equations.n_rows, equations.n_columns
    (416, 75)
    >>> [(A.shape, b.shape) for A, b in equations]
    [((300, 75), (300,)), ((116, 75), (116,))]
    """
    if check_int("size", size, 1) % 2 == 0:
        raise ValueError(f"size must be odd, so that there is a middle pixel, got {size}.")
    patches = image_patches(images, size, block_rows=block_rows, dtype=dtype, like=like)
    if len(patches.patch_shape) != 3:
        raise ValueError(
            "images must have shape (height, width, channels), got images without channels. "
            "image[:, :, None] is an image of one channel."
        )
    channel = check_int("channel", channel, 0, patches.patch_shape[2] - 1)
    return NeighbourEquations(patches, channel)
