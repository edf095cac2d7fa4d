"""What the displays have in common: host numbers, axes, a quiet style."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from linalgkit._core.array import to_numpy

HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

INK = "#222222"
MUTED = "#6b6b6b"
FAINT = "#c4c4c4"
GRID = "#e4e4e4"
BLUE = "#2f6db3"
ORANGE = "#c8631c"


def on_host(name: str, values: Any, ndim: int) -> HostArray:
    """Return real, finite numbers as a NumPy array of `ndim` axes, or raise."""
    array = np.asarray(values) if isinstance(values, (list, tuple)) else to_numpy(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must be real to be drawn, got {array.dtype}. "
            "Draw abs(x), or x.real and x.imag apart."
        )
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name} must have {ndim} axes and entries, got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite to be drawn, got NaN or infinity.")
    return array.astype(np.float64)


def axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """Return `ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def quieten(ax: Any) -> None:
    """Leave two spines, muted ticks and a faint horizontal grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(colors=MUTED, labelcolor=INK)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def percent(share: float) -> str:
    """Return a share in words: two significant digits, and none of them spent on noise."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"
