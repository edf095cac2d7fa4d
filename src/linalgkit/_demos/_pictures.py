"""The pictures of the streaming demo, and what pictures are put together with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from linalgkit._core.array import Array
from linalgkit._demos._contenders import EXACT, Contender
from linalgkit._demos._report import Report
from linalgkit.plotting import EigenPatchesDisplay, SpectrumDisplay

_COLUMNS = 8


def save_patches(report: Report, patch_shape: tuple[int, ...], path: Path) -> None:
    """Save the eigenvectors of all contenders, one below the other."""
    displays = [
        EigenPatchesDisplay(c.found.vectors.T.reshape(-1, *patch_shape)) for c in report.contenders
    ]
    lines = -(-displays[0].patches.shape[0] // _COLUMNS)
    figure = empty_figure(displays[0], (7.2, (0.5 + 1.05 * lines) * len(displays)))
    panels = grid(figure, len(displays), 1)
    for display, (contender, error), ax in zip(displays, report.judged(), panels, strict=True):
        display.plot(ax=ax, n_columns=_COLUMNS, title=_title(contender, error, ": "))
    figure.savefig(path, dpi=90)


def save_spectra(report: Report, path: Path) -> None:
    """Save the eigenvalues of those with a certificate beside the exact ones."""
    judged = [(c, error) for c, error in report.judged() if c.found.result is not None]
    displays = [_spectrum(c, report.exact(c.order).variances) for c, _ in judged]
    columns = -(-len(displays) // 2)
    figure = empty_figure(displays[0], (3.9 * columns, 6.2))
    panels = grid(figure, 2, columns)
    for display, (contender, error), ax in zip(displays, judged, panels, strict=False):
        display.plot(ax=ax, title=_title(contender, error, "\n"))
    for ax in panels[len(displays) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=90)


def _spectrum(contender: Contender, exact: Array) -> SpectrumDisplay:
    """Return eigenvalues with the interval that is certain to hold the exact ones."""
    found = contender.found
    values, lower, upper = found.variances, None, None
    if found.result is not None and not math.isnan(found.result.excess):
        lower, upper = values, values + found.result.excess / (found.result.n_rows - 1)
    return SpectrumDisplay(values, lower=lower, upper=upper, reference=exact, ylabel="variance")


def _title(contender: Contender, error: float, separator: str) -> str:
    """Return the name and what is true of the answer."""
    if contender.name == EXACT:
        return f"{contender.name}, {contender.order}: the exact answer"
    return f"{contender.name}, {contender.order}{separator}sin² of the angle {error:.1e}"


def empty_figure(display: Any, size: tuple[float, float]) -> Any:
    """Return an empty figure, made by a display, which alone knows how."""
    figure = display.plot().figure_
    figure.clear()
    figure.set_size_inches(*size)
    return figure


def grid(figure: Any, lines: int, columns: int) -> list[Any]:
    """Return axes in a grid, line by line."""
    return list(figure.subplots(lines, columns, squeeze=False).ravel())
