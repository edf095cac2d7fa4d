"""Eigenvectors of image patches, drawn as the patches they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from linalgkit._core.array import Array
from linalgkit._core.validation import check_int
from linalgkit.plotting._display import FAINT, INK, MUTED, HostArray, axes, on_host, percent

_LABEL_ROOM = 0.36  # height kept for a label, as a share of a patch


class EigenPatchesDisplay:
    """A sheet of eigenvectors, each shown as a patch, with its share of the energy.

    Each patch is scaled by its own largest entry: middle grey is zero. Colour patches show the
    three channels, others one diverging colour scale.

    Parameters
    ----------
    patches : array of shape (k, height, width) or (k, height, width, 3)
        The eigenvectors as patches, of any library.
    shares : sequence of float, optional
        Share of the energy of each, for the labels.

    Attributes
    ----------
    patches : ndarray
        The patches on the host.
    shares : ndarray or None
        As given.
    ax_ : matplotlib Axes
        Where `plot` has drawn.
    figure_ : matplotlib Figure
        Its figure.
    image_ : matplotlib AxesImage
        The sheet.
    text_ : list of matplotlib Text
        The labels.

    See Also
    --------
    SpectrumDisplay : The eigenvalues.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.plotting import EigenPatchesDisplay
    >>> waves = np.cos(np.arange(4)[:, None, None] * np.linspace(0, np.pi, 8)) * np.ones((8, 1))
    >>> display = EigenPatchesDisplay(waves, shares=[0.9, 0.06, 0.03, 0.01])
    >>> display.patches.shape
    (4, 8, 8)
    """

    ax_: Any
    figure_: Any
    image_: Any
    text_: list[Any]

    def __init__(self, patches: Array, *, shares: Sequence[float] | Array | None = None) -> None:
        ndim = 4 if len(getattr(patches, "shape", ())) == 4 else 3
        self.patches = on_host("patches", patches, ndim)
        if ndim == 4 and self.patches.shape[3] != 3:
            raise ValueError(f"patches must have 3 channels, got shape {self.patches.shape}.")
        self.shares = None if shares is None else on_host("shares", shares, 1)
        if self.shares is not None and self.shares.size != self.patches.shape[0]:
            raise ValueError(
                f"shares must have one entry for each of the {self.patches.shape[0]} patches, "
                f"got {self.shares.size}."
            )

    @classmethod
    def from_result(
        cls,
        result: Any,
        patch_shape: tuple[int, ...],
        *,
        n_columns: int | None = None,
        title: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw the eigenvectors of a result.

        Parameters
        ----------
        result : object
            With `eigenvectors` (d, k) and, for the labels, `eigenvalues` (k,) and
            `frobenius_norm`, as :class:`~linalgkit.streaming.StreamingEighResult`.
        patch_shape : tuple of int
            Shape of a patch, of product d, for instance ``stream.patch_shape``.
        n_columns : int, optional
            Patches in a line of the sheet.
        title : str, optional
            A title.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        EigenPatchesDisplay
            Drawn.
        """
        vectors = on_host("eigenvectors", result.eigenvectors, 2).T
        if vectors.shape[1] != math.prod(patch_shape):
            raise ValueError(
                f"patch_shape must have product {vectors.shape[1]}, the length of the "
                f"eigenvectors, got {tuple(patch_shape)}."
            )
        patches = vectors.reshape(-1, *patch_shape)
        display = cls(patches, shares=_shares(result))
        return display.plot(ax=ax, n_columns=n_columns, title=title)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        patch_shape: tuple[int, ...],
        *,
        n_columns: int | None = None,
        title: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw the eigenvectors that an estimator has found so far.

        Parameters
        ----------
        estimator : object
            With a method `result`, for instance :class:`~linalgkit.streaming.StreamingEigh`.
        patch_shape : tuple of int
            Shape of a patch.
        n_columns : int, optional
            Patches in a line of the sheet.
        title : str, optional
            A title.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        EigenPatchesDisplay
            Drawn.
        """
        return cls.from_result(
            estimator.result(), patch_shape, n_columns=n_columns, title=title, ax=ax
        )

    def plot(
        self, ax: Any = None, *, n_columns: int | None = None, title: str | None = None
    ) -> Self:
        """Draw the sheet.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        n_columns : int, optional
            Patches in a line; by default about twice as many as lines, and lines that are full.
        title : str, optional
            A title.

        Returns
        -------
        self
            Drawn; `ax_` and `figure_` say where.
        """
        k = self.patches.shape[0]
        columns = _fitting(k) if n_columns is None else check_int("n_columns", n_columns, 1)
        sheet, corners = _sheet(self.patches, columns)
        height, width = sheet.shape[:2]
        inches = 1.15 * min(columns, k) + 0.2
        self.ax_ = axes(ax, (inches, inches * height / width + (0.1 if title is None else 0.4)))
        self.figure_ = self.ax_.figure
        options = {} if sheet.ndim == 3 else {"cmap": "RdBu_r", "vmin": 0.0, "vmax": 1.0}
        self.image_ = self.ax_.imshow(sheet, interpolation="nearest", **options)
        self.text_ = [self._label(i, corner) for i, corner in enumerate(corners)]
        self.ax_.set(xlim=(-0.8, width - 0.2), ylim=(height - 0.5, -0.8))
        self.ax_.set_axis_off()
        if title is not None:
            self.ax_.set_title(title, loc="left", color=INK)
        return self

    def _label(self, i: int, corner: tuple[int, int]) -> Any:
        """Outline a patch, which may be as white as the paper, and write under it."""
        from matplotlib.patches import Rectangle

        share = "" if self.shares is None else f"  {percent(float(self.shares[i]))}"
        height, width = self.patches.shape[1:3]
        x, top = corner[1] - 0.5, corner[0] - 0.5
        outline = Rectangle((x, top), width, height, fill=False, edgecolor=FAINT, linewidth=0.6)
        self.ax_.add_patch(outline)
        y = top + 1.06 * height
        return self.ax_.text(x, y, f"{i + 1}{share}", va="top", ha="left", fontsize=8, color=MUTED)


def _fitting(k: int) -> int:
    """Return how many of `k` patches go in a line: few gaps first, then twice the lines."""
    wanted = math.sqrt(2 * k)
    choices = range(math.ceil(0.7 * wanted), math.floor(1.5 * wanted) + 1)
    return min(choices, key=lambda c: (-k % c, abs(c - wanted)), default=k) if k > 4 else k


def _sheet(patches: HostArray, columns: int) -> tuple[HostArray, list[tuple[int, int]]]:
    """Return the picture of all patches, and the first pixel of each; gaps are transparent."""
    k, height, width = patches.shape[:3]
    step = (height + max(1, round(_LABEL_ROOM * height)), width + max(1, width // 8))
    lines = -(-k // columns)
    corners = [(i // columns * step[0], i % columns * step[1]) for i in range(k)]
    size = (lines * step[0], (min(columns, k) - 1) * step[1] + width)
    largest = np.max(np.abs(patches.reshape(k, -1)), axis=1)
    scale = np.where(largest > 0, largest, 1.0).reshape(k, *[1] * (patches.ndim - 1))
    grey = 0.5 + 0.5 * patches / scale
    if patches.ndim == 4:
        sheet = np.zeros((*size, 4))
        grey = np.concatenate([grey, np.ones((*grey.shape[:3], 1))], axis=3)
    else:
        sheet = np.full(size, np.nan)
    for (top, left), patch in zip(corners, grey, strict=True):
        sheet[top : top + height, left : left + width, ...] = patch
    return sheet, corners


def _shares(result: Any) -> HostArray | None:
    """Return each eigenvalue's share of the whole energy, where the result knows that."""
    norm = getattr(result, "frobenius_norm", None)
    if norm is None or not norm > 0:
        return None
    # Divided twice: the square of the norm may overflow where the shares do not.
    return on_host("eigenvalues", result.eigenvalues, 1) / float(norm) / float(norm)
