"""Coefficients with the intervals that cover them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from linalgkit._core.array import Array
from linalgkit._core.validation import check_choice
from linalgkit.plotting._display import BLUE, FAINT, INK, MUTED, ORANGE, axes, on_host, quieten

_ORDERS = ("given", "value")


class CoefficientsDisplay:
    """Coefficients of a linear model, each with an interval, and the exact ones beside them.

    Parameters
    ----------
    values : array of shape (d,)
        Coefficients, real, of any library.
    lower, upper : array of shape (d,)
        Ends of the intervals.
    reference : array of shape (d,), optional
        Exact coefficients to compare with.
    label : str, default "interval"
        What the intervals are, for the legend.

    Attributes
    ----------
    values, lower, upper, reference : ndarray or None
        As given, on the host.
    covered : int or None
        How many intervals hold the exact coefficient, where that is known.
    ax_ : matplotlib Axes
        Where `plot` has drawn.
    figure_ : matplotlib Figure
        Its figure.
    errorbar_ : matplotlib ErrorbarContainer
        Coefficients and intervals.

    See Also
    --------
    SpectrumDisplay : Eigenvalues with their enclosure.

    Examples
    --------
    >>> from linalgkit.plotting import CoefficientsDisplay
    >>> display = CoefficientsDisplay([1.0, 2.0], [0.5, 1.8], [1.5, 2.2], reference=[1.2, 2.3])
    >>> display.covered
    1
    """

    ax_: Any
    figure_: Any
    errorbar_: Any

    def __init__(
        self,
        values: Sequence[float] | Array,
        lower: Sequence[float] | Array,
        upper: Sequence[float] | Array,
        *,
        reference: Sequence[float] | Array | None = None,
        label: str = "interval",
    ) -> None:
        self.values = on_host("values", values, 1)
        self.lower, self.upper = on_host("lower", lower, 1), on_host("upper", upper, 1)
        self.reference = None if reference is None else on_host("reference", reference, 1)
        for name in ("lower", "upper", "reference"):
            found = getattr(self, name)
            if found is not None and found.shape != self.values.shape:
                raise ValueError(
                    f"{name} must have one entry for each of the {self.values.size} values, "
                    f"got {found.size}."
                )
        if bool(np.any(self.lower > self.values)) or bool(np.any(self.upper < self.values)):
            raise ValueError("lower and upper must enclose values, got an interval beside one.")
        self.label = label

    @property
    def covered(self) -> int | None:
        """How many intervals hold the exact coefficient."""
        if self.reference is None:
            return None
        inside = (self.lower <= self.reference) & (self.reference <= self.upper)
        return int(np.sum(inside))

    @classmethod
    def from_result(
        cls,
        result: Any,
        *,
        level: float = 0.95,
        simultaneous: bool = False,
        reference: Any = None,
        ax: Any = None,
        order: str = "given",
        title: str | None = None,
    ) -> Self:
        """Draw the coefficients of a result.

        Parameters
        ----------
        result : object
            With `x` (d,) and ``ci(level, simultaneous=...)``, as
            :class:`~linalgkit.regression.SketchedLstsqResult`.
        level : float, default 0.95
            Level of the intervals.
        simultaneous : bool, default False
            Whether all intervals together hold at that level.
        reference : array of shape (d,), optional
            Exact coefficients to compare with.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        order : {"given", "value"}, default "given"
            Order of the coefficients in the picture.
        title : str, optional
            A title.

        Returns
        -------
        CoefficientsDisplay
            Drawn.
        """
        lower, upper = result.ci(level, simultaneous=simultaneous)
        together = ", all together" if simultaneous else ""
        label = f"interval, {100 * level:g} %{together}"
        display = cls(result.x, lower, upper, reference=reference, label=label)
        return display.plot(ax=ax, order=order, title=title)

    def plot(self, ax: Any = None, *, order: str = "given", title: str | None = None) -> Self:
        """Draw the coefficients.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        order : {"given", "value"}, default "given"
            Order of the coefficients in the picture.
        title : str, optional
            A title.

        Returns
        -------
        self
            Drawn; `ax_` and `figure_` say where.
        """
        check_choice("order", order, _ORDERS)
        self.ax_ = axes(ax, (6.4, 3.4))
        self.figure_ = self.ax_.figure
        places = np.arange(1, self.values.size + 1)
        by = np.argsort(self.values, kind="stable") if order == "value" else places - 1
        ends = np.stack([self.values - self.lower, self.upper - self.values])[:, by]
        self.ax_.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
        self.errorbar_ = self.ax_.errorbar(
            places,
            self.values[by],
            yerr=ends,
            fmt="o",
            color=BLUE,
            ecolor=BLUE,
            elinewidth=1.1,
            markersize=2.6,
            label=self.label,
        )
        if self.reference is not None:
            self.ax_.plot(
                places, self.reference[by], "x", color=ORANGE, markersize=5, label="exact"
            )
        self._finish(title)
        return self

    def _finish(self, title: str | None) -> None:
        """Set labels and the legend."""
        self.ax_.set_xlim(0.0, self.values.size + 1.0)
        self.ax_.set_xlabel("number", color=INK)
        self.ax_.set_ylabel("coefficient", color=INK)
        quieten(self.ax_)
        if title is not None:
            self.ax_.set_title(title, loc="left", fontsize=10, color=MUTED)
        self.ax_.legend(frameon=False, fontsize=8, labelcolor=INK)
