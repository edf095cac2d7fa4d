"""Eigenvalues or singular values, with the band that encloses them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from linalgkit._core.array import Array
from linalgkit._core.validation import check_choice
from linalgkit.plotting._display import BLUE, INK, MUTED, ORANGE, axes, on_host, quieten

_SCALES = ("log", "linear")


class SpectrumDisplay:
    """Values in descending order, an enclosing band where there is one, and the gap.

    Parameters
    ----------
    values : array of shape (k,)
        Eigenvalues or singular values, of any library.
    lower, upper : array of shape (k,), optional
        Enclosure of each; both or none.
    reference : array of shape (m,), optional
        Exact values to compare with.
    gap : float, optional
        Ratio of the last value to the first one left out, for the label.
    ylabel : str, default "eigenvalue"
        What the values are.

    Attributes
    ----------
    values, lower, upper, reference : ndarray or None
        As given, on the host.
    gap : float or None
        As given.
    ax_ : matplotlib Axes
        Where `plot` has drawn.
    figure_ : matplotlib Figure
        Its figure.
    line_ : matplotlib Line2D
        The values.
    band_ : matplotlib collection or None
        The enclosure.

    See Also
    --------
    EigenPatchesDisplay : The eigenvectors of image patches.

    Examples
    --------
    >>> from linalgkit.plotting import SpectrumDisplay
    >>> display = SpectrumDisplay([9.0, 4.0, 1.0], lower=[8.5, 3.5, 0.5], upper=[9.1, 4.1, 1.6])
    >>> display.values
    array([9., 4., 1.])
    """

    ax_: Any
    figure_: Any
    line_: Any
    band_: Any

    def __init__(
        self,
        values: Sequence[float] | Array,
        *,
        lower: Sequence[float] | Array | None = None,
        upper: Sequence[float] | Array | None = None,
        reference: Sequence[float] | Array | None = None,
        gap: float | None = None,
        ylabel: str = "eigenvalue",
    ) -> None:
        self.values = on_host("values", values, 1)
        if (lower is None) != (upper is None):
            raise ValueError("lower and upper must be given together, got one of them.")
        self.lower = None if lower is None else on_host("lower", lower, 1)
        self.upper = None if upper is None else on_host("upper", upper, 1)
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if bound is not None and bound.shape != self.values.shape:
                raise ValueError(
                    f"{name} must have one entry for each of the {self.values.size} values, "
                    f"got {bound.size}."
                )
        self.reference = None if reference is None else on_host("reference", reference, 1)
        self.gap = gap
        self.ylabel = ylabel

    @classmethod
    def from_result(cls, result: Any, *, ax: Any = None, **options: Any) -> Self:
        """Draw the spectrum of a result.

        Parameters
        ----------
        result : object
            With `eigenvalues` and perhaps `gap`, as
            :class:`~linalgkit.streaming.StreamingEighResult`, or with singular values `s`, as
            :class:`~linalgkit.svd.SVDResult`; a method `sigma_bounds` gives the band of the latter.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **options
            Further arguments of :meth:`plot`, and `reference` and `ylabel` of the class.

        Returns
        -------
        SpectrumDisplay
            Drawn.
        """
        own = {key: options.pop(key) for key in ("reference", "ylabel") if key in options}
        if hasattr(result, "eigenvalues"):
            display = cls(result.eigenvalues, gap=getattr(result, "gap", None), **own)
        else:
            bounds = getattr(result, "sigma_bounds", None)
            lower, upper = bounds() if bounds is not None else (None, None)
            own.setdefault("ylabel", "singular value")
            display = cls(result.s, lower=lower, upper=upper, **own)
        return display.plot(ax=ax, **options)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **options: Any) -> Self:
        """Draw the spectrum that an estimator has found so far.

        Parameters
        ----------
        estimator : object
            With a method `result`, as :class:`~linalgkit.streaming.StreamingEigh` and
            :class:`~linalgkit.svd.IncrementalSVD` have.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **options
            As for :meth:`from_result`.

        Returns
        -------
        SpectrumDisplay
            Drawn.
        """
        return cls.from_result(estimator.result(), ax=ax, **options)

    def plot(self, ax: Any = None, *, scale: str = "log", title: str | None = None) -> Self:
        """Draw the spectrum.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        scale : {"log", "linear"}, default "log"
            Scale of the values; zeros are left out on the logarithmic one.
        title : str, optional
            A title; the gap by default, where it is known.

        Returns
        -------
        self
            Drawn; `ax_` and `figure_` say where.
        """
        check_choice("scale", scale, _SCALES)
        self.ax_ = axes(ax, (5.2, 3.4))
        self.figure_ = self.ax_.figure
        number = np.arange(1, self.values.size + 1)
        self.band_ = None
        if self.lower is not None and self.upper is not None:
            floor = self._floor() if scale == "log" else -math.inf
            self.band_ = self.ax_.fill_between(
                number,
                np.maximum(self.lower, floor),
                np.maximum(self.upper, floor),
                color=BLUE,
                alpha=0.2,
                linewidth=0,
                label="enclosure",
            )
        if self.reference is not None:
            self.ax_.plot(
                np.arange(1, self.reference.size + 1),
                _shown(self.reference, scale),
                "x",
                color=ORANGE,
                markersize=6,
                label="exact",
            )
        (self.line_,) = self.ax_.plot(
            number,
            _shown(self.values, scale),
            "o-",
            color=BLUE,
            markersize=4,
            linewidth=1.2,
            label="computed",
        )
        self._finish(scale, title)
        return self

    def _floor(self) -> float:
        """Return the smallest positive number in the picture, for bounds that are zero."""
        assembled = np.concatenate(
            [x for x in (self.values, self.lower, self.upper) if x is not None]
        )
        positive = assembled[assembled > 0]
        return float(positive.min()) if positive.size else 1.0

    def _finish(self, scale: str, title: str | None) -> None:
        """Set scales, labels and the legend."""
        from matplotlib.ticker import MaxNLocator

        if scale == "log" and bool(np.any(self.values > 0)):
            self.ax_.set_yscale("log")
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        last = max(x.size for x in (self.values, self.reference) if x is not None)
        self.ax_.set_xlim(0.5, last + 0.5)
        self.ax_.set_xlabel("number", color=INK)
        self.ax_.set_ylabel(self.ylabel, color=INK)
        quieten(self.ax_)
        if title is None and self.gap is not None and math.isfinite(self.gap):
            title = f"gap {self.gap:.3g} after number {self.values.size}"
        if title is not None:
            self.ax_.set_title(title, loc="left", fontsize=10, color=MUTED)
        if self.band_ is not None or self.reference is not None:
            self.ax_.legend(frameon=False, fontsize=8, labelcolor=INK)


def _shown(values: Any, scale: str) -> Any:
    """Return the values that the scale can show; the others become gaps."""
    return np.where(values > 0, values, np.nan) if scale == "log" else values
