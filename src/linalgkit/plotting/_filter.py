"""A linear filter on image patches, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from linalgkit._core.array import Array
from linalgkit.plotting._display import INK, on_host

_CHANNELS = ("red", "green", "blue")


class FilterDisplay:
    """The weights of a filter, one sheet a channel, on one colour scale around zero.

    Parameters
    ----------
    patch : array of shape (height, width, channels)
        The weights, real, of any library.
    names : sequence of str, optional
        Names of the channels; red, green and blue for three.

    Attributes
    ----------
    patch : ndarray
        The weights on the host.
    names : tuple of str
        Names of the channels.
    axes_ : list of matplotlib Axes
        Where `plot` has drawn, one a channel.
    figure_ : matplotlib Figure
        Their figure.
    images_ : list of matplotlib AxesImage
        The sheets.

    See Also
    --------
    CoefficientsDisplay : Coefficients with their intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.plotting import FilterDisplay
    >>> FilterDisplay(np.ones((5, 5, 3))).names
    ('red', 'green', 'blue')
    """

    axes_: list[Any]
    figure_: Any
    images_: list[Any]

    def __init__(self, patch: Array, *, names: Sequence[str] | None = None) -> None:
        self.patch = on_host("patch", patch, 3)
        channels = self.patch.shape[2]
        numbered = tuple(f"channel {i + 1}" for i in range(channels))
        default = _CHANNELS if channels == len(_CHANNELS) else numbered
        self.names = default if names is None else tuple(names)
        if len(self.names) != channels:
            raise ValueError(
                f"names must have one entry for each of the {channels} channels, "
                f"got {len(self.names)}."
            )

    def plot(self, axes: Sequence[Any] | None = None) -> Self:
        """Draw the sheets.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            Where to draw, one a channel; a new figure by default.

        Returns
        -------
        self
            Drawn; `axes_` and `figure_` say where.
        """
        channels = self.patch.shape[2]
        if axes is None:
            from matplotlib import pyplot

            size = (2.3 * channels, 2.5)
            figure = pyplot.subplots(1, channels, figsize=size, layout="constrained", squeeze=False)
            axes = list(figure[1].ravel())
        if len(axes) != channels:
            raise ValueError(f"axes must be {channels}, one a channel, got {len(axes)}.")
        self.axes_, self.figure_ = list(axes), axes[0].figure
        largest = float(np.max(np.abs(self.patch))) or 1.0
        options = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest, "interpolation": "nearest"}
        self.images_ = []
        for i, (ax, name) in enumerate(zip(self.axes_, self.names, strict=True)):
            self.images_.append(ax.imshow(self.patch[:, :, i], **options))
            ax.set_title(name, loc="left", fontsize=10, color=INK)
            ax.set(xticks=[], yticks=[])
        self.figure_.colorbar(self.images_[-1], ax=self.axes_, fraction=0.03)
        return self
