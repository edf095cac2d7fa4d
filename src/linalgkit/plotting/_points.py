"""Designs: where the points lie, and how much each of them weighs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from linalgkit._core.array import Array
from linalgkit._core.validation import check_bool, check_float, check_int
from linalgkit.plotting._display import BLUE, INK, MUTED, axes, on_host, quieten

_AREA = 26.0  # of a point of mean weight, in square points of print
_LEAST_AREA = 4.0
_COLOURS = "viridis_r"


class DesignDisplay:
    """Points of a design in two of their coordinates, their weights as area and colour.

    Parameters
    ----------
    points : array of shape (n, d)
        Points, real, of any library.
    weights : array of shape (n,), optional
        Positive weights; all alike by default.
    coordinates : pair of int, default (0, 1)
        Which coordinates are drawn, counted from 0.
    names : pair of str, optional
        What they are called.

    Attributes
    ----------
    points : ndarray of shape (n, 2)
        The two coordinates on the host.
    weights : ndarray or None
        As given, on the host.
    names : tuple of str
        Names of the coordinates.
    ax_ : matplotlib Axes
        Where `plot` has drawn.
    figure_ : matplotlib Figure
        Its figure.
    points_ : matplotlib PathCollection
        The points.
    colorbar_ : matplotlib Colorbar or None
        The scale of the weights.

    See Also
    --------
    CoefficientsDisplay : What a fit finds, with intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.plotting import DesignDisplay
    >>> display = DesignDisplay(np.eye(3), np.asarray([1.0, 2.0, 0.5]), coordinates=(0, 2))
    >>> display.points.shape, display.names
    ((3, 2), ('coordinate 0', 'coordinate 2'))
    """

    ax_: Any
    figure_: Any
    points_: Any
    colorbar_: Any

    def __init__(
        self,
        points: Sequence[Sequence[float]] | Array,
        weights: Sequence[float] | Array | None = None,
        *,
        coordinates: Sequence[int] = (0, 1),
        names: Sequence[str] | None = None,
    ) -> None:
        everything = on_host("points", points, 2)
        chosen = _two(coordinates, everything.shape[1])
        self.points = everything[:, chosen]
        self.weights = None if weights is None else on_host("weights", weights, 1)
        if self.weights is not None:
            _check_weights(self.weights, everything.shape[0])
        self.names = tuple(f"coordinate {c}" for c in chosen) if names is None else tuple(names)
        if len(self.names) != 2:
            raise ValueError(f"names must be two, one a coordinate drawn, got {len(self.names)}.")

    @classmethod
    def from_design(
        cls,
        design: Any,
        *,
        coordinates: Sequence[int] = (0, 1),
        names: Sequence[str] | None = None,
        title: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the points of a design.

        Parameters
        ----------
        design : object
            With `points` (n, d) and `weights` (n,), as :class:`~linalgkit.sampling.Design`.
        coordinates : pair of int, default (0, 1)
            Which coordinates are drawn, counted from 0.
        names : pair of str, optional
            What they are called.
        title : str, optional
            A title; by default the kind of design, its size and the smallest eigenvalue of its
            Gram matrix, where they are known.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **options
            Further arguments of :meth:`plot`.

        Returns
        -------
        DesignDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the design consists of rows of a matrix.
        """
        if design.points is None:
            raise ValueError(
                "design must have points to be drawn, got one of rows of a matrix. Draw them as "
                "DesignDisplay(X[design.indices], design.weights)."
            )
        display = cls(design.points, design.weights, coordinates=coordinates, names=names)
        if title is None and hasattr(design, "lmin"):
            title = f"{design.method}, {display.points.shape[0]} points, lmin = {design.lmin:.2g}"
        return display.plot(ax=ax, title=title, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        title: str | None = None,
        limits: tuple[float, float] | None = None,
        colorbar: bool = True,
    ) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        title : str, optional
            A title.
        limits : pair of float, optional
            Weights at the two ends of the colours; the least and the largest by default. Panels
            to be compared should share them.
        colorbar : bool, default True
            Whether a bar shows which colour stands for which weight.

        Returns
        -------
        self
            Drawn; `ax_` and `figure_` say where.
        """
        check_bool("colorbar", colorbar)
        if limits is not None:
            low = check_float("limits[0]", limits[0], 0, low_open=True)
            limits = low, check_float("limits[1]", limits[1], low, low_open=True)
        self.ax_ = axes(ax, (4.4, 3.7))
        self.figure_ = self.ax_.figure
        self.points_ = self.ax_.scatter(*self.points.T, **self._style(limits), clip_on=False)
        self.colorbar_ = None
        if colorbar and self.weights is not None:
            self.colorbar_ = self.figure_.colorbar(self.points_, ax=self.ax_, fraction=0.05)
            self.colorbar_.set_label("weight (area in proportion)", color=INK)
            self.colorbar_.outline.set_visible(False)
        self._finish(title)
        return self

    def _style(self, limits: tuple[float, float] | None) -> dict[str, Any]:
        """Return areas and colours of the points."""
        style: dict[str, Any] = {"linewidths": 0.0, "alpha": 0.85, "zorder": 3}
        if self.weights is None:
            return style | {"s": _AREA, "color": BLUE}
        from matplotlib.colors import LogNorm

        low, high = limits or (float(self.weights.min()), float(self.weights.max()))
        if low == high:
            low, high = low / 2, high * 2
        areas = np.maximum(_LEAST_AREA, _AREA * self.weights / self.weights.mean())
        return style | {
            "s": areas,
            "c": self.weights,
            "cmap": _COLOURS,
            "norm": LogNorm(low, high),
        }

    def _finish(self, title: str | None) -> None:
        """Set labels and the title."""
        self.ax_.set_xlabel(self.names[0], color=INK)
        self.ax_.set_ylabel(self.names[1], color=INK)
        quieten(self.ax_)
        if title is not None:
            self.ax_.set_title(title, loc="left", fontsize=10, color=MUTED)


def _two(coordinates: Sequence[int], d: int) -> list[int]:
    """Return two different numbers of coordinates, or raise."""
    chosen = [check_int("coordinates", c, 0, d - 1, f"for points of {d}") for c in coordinates]
    if len(chosen) != 2 or chosen[0] == chosen[1]:
        raise ValueError(f"coordinates must be two different ones, got {tuple(coordinates)}.")
    return chosen


def _check_weights(weights: Any, n: int) -> None:
    if weights.shape[0] != n:
        raise ValueError(
            f"weights must have one entry for each of the {n} points, got {weights.shape[0]}."
        )
    if not bool(np.all(weights > 0)):
        raise ValueError("weights must be positive.")
