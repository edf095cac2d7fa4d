"""Functions of two or three variables, drawn as pictures of their slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from linalgkit._core.array import (
    Array,
    array_namespace,
    asarray,
    device,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.validation import check_float, check_int, message
from linalgkit.plotting._display import INK, MUTED, HostArray, on_host

_SIDE, _SINGLE_SIDE, _FRAME = 3.4, 4.4, 0.7  # inches of a panel, of one alone, of its labels
_LEAST_HEIGHT = 1.8
_LONGEST = 4.0  # times as long as wide is drawn true to scale


class Slice(NamedTuple):
    """Values on a rectangle.

    Attributes
    ----------
    values : array of shape (n_x, n_y)
        Real or complex, at the centres of equal cells of the rectangle.
    extent : tuple of (float, float)
        Intervals of the first and of the second axis.
    labels : tuple of str
        Names of the two axes.
    title : str
        Where the slice lies.
    """

    values: Array
    extent: tuple[tuple[float, float], tuple[float, float]]
    labels: tuple[str, str] = ("x", "y")
    title: str = ""


class FunctionDisplay:
    """Slices of a function side by side, in one scale of colours.

    Complex values are shown by their modulus. Real values of both signs have a diverging scale
    around zero, others one from their least to their largest value. With `limits` the scale is
    diverging where these are one number with both signs; what lies beyond has the colour of an end.

    Parameters
    ----------
    slices : sequence of Slice
        Values, intervals, labels and titles; see :class:`~linalgkit.plotting.Slice`.
    unit : str, optional
        What the scale of colours measures.
    limits : tuple of (float, float), optional
        Ends of the scale of colours. By default those of the values.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If there is no slice, values or intervals do not fit, or the limits do not ascend.

    Attributes
    ----------
    slices : list of Slice
        As given, real and on the host; moduli where values were complex.
    limits : tuple of float
        Ends of the scale of colours.
    is_signed : bool
        Whether the scale is a diverging one.
    axes_ : list of matplotlib Axes
        Where `plot` has drawn, one a slice.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Their figure.
    images_ : list of matplotlib AxesImage
        The slices.
    colorbar_ : matplotlib Colorbar
        The scale.

    See Also
    --------
    linalgkit.chebyshev.ChebTucker : functions to draw.

    Notes
    -----
    Storage: the values of the slices, in double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import chebtucker
    >>> from linalgkit.plotting import FunctionDisplay
    >>> T = chebtucker(lambda x: np.cos(x[:, 0] + x[:, 1] * x[:, 2]), [(0, 3)] * 3, rng=0)
    >>> display = FunctionDisplay.from_function(T, at={2: 1.0}, n_points=50)
    >>> display.slices[0].values.shape, display.slices[0].title, display.is_signed
    ((50, 50), 'z = 1', True)
    """

    axes_: list[Any]
    ax_: Any
    figure_: Any
    images_: list[Any]
    colorbar_: Any

    def __init__(
        self,
        slices: Sequence[Slice],
        *,
        unit: str | None = None,
        limits: tuple[float, float] | None = None,
    ) -> None:
        if not slices:
            raise ValueError("slices must have at least one slice, got none.")
        self.slices = [_checked(i, s) for i, s in enumerate(slices)]
        self.unit = unit
        low, high = self._reach()
        self.is_signed = low < 0 < high
        largest = max(-low, high)
        self.limits = (-largest, largest) if self.is_signed else (low, high)
        if limits is not None:
            self.limits = _checked_limits(limits)
            self.is_signed = self.limits[0] == -self.limits[1]

    def _reach(self) -> tuple[float, float]:
        """Return the least and the largest value."""
        low = min(float(s.values.min()) for s in self.slices)
        return low, max(float(s.values.max()) for s in self.slices)

    @classmethod
    def from_function(
        cls,
        T: Any,
        at: Mapping[int, float] | Sequence[Mapping[int, float]] | None = None,
        *,
        n_points: int = 240,
        names: Sequence[str] | None = None,
        unit: str | None = None,
        limits: tuple[float, float] | None = None,
        title: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw slices of a function.

        Parameters
        ----------
        T : object
            With `domain`, `core` and ``grid(x_1, ..., x_d)``, as
            :class:`~linalgkit.chebyshev.ChebTucker`, of two or three variables.
        at : dict {axis: value}, or sequence of them, optional
            Of three variables, the one held fixed in each slice, by its number from 0, and where.
            By default each of them in turn, in the middle. Two variables have one picture and no
            `at`.
        n_points : int, default 240
            Points of a slice along either axis, at least 2.
        names : sequence of str, optional
            Names of the variables; x, y and z by default.
        unit : str, optional
            What the scale of colours measures.
        limits : tuple of (float, float), optional
            Ends of the scale of colours; by default those of the values.
        title : str, optional
            Title above all slices.
        ax : matplotlib Axes, or sequence of them, optional
            Where to draw, one a slice; a new figure by default.

        Returns
        -------
        FunctionDisplay
            Drawn.

        Raises
        ------
        TypeError
            If `at` or `limits` is of the wrong kind.
        ValueError
            If the function has another number of variables, a value lies outside its box, or names,
            limits or axes do not fit.
        """
        d = len(T.domain)
        if d == 1:
            rule = "have 2 or 3 variables to be drawn; of one, plot T(x[:, None]) over x"
            raise ValueError(message("T", rule, d))
        if d not in (2, 3):
            rule = "have 2 or 3 variables to be drawn; fix the others by T.slice({axis: value})"
            raise ValueError(message("T", rule, d))
        n_points = check_int("n_points", n_points, 2)
        names = ("x", "y", "z")[:d] if names is None else tuple(names)
        if len(names) != d:
            raise ValueError(message("names", f"be {d}, one a variable", len(names)))
        planes = _planes(at, T.domain)
        slices = [_slice(T, plane, n_points, names) for plane in planes]
        display = cls(slices, unit=unit, limits=limits)
        return display.plot(ax, title=title)

    def plot(self, ax: Any = None, *, title: str | None = None) -> Self:
        """Draw the slices.

        Parameters
        ----------
        ax : matplotlib Axes, or sequence of them, optional
            Where to draw, one a slice; a new figure by default.
        title : str, optional
            Title above all slices; on axes given it goes before that of the first one.

        Returns
        -------
        self
            Drawn; `axes_` and `figure_` say where.

        Raises
        ------
        ValueError
            If there are not as many axes as slices.
        """
        self.axes_ = self._axes(ax)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        pairs = zip(self.axes_, self.slices, strict=True)
        self.images_ = [self._draw(panel, shown) for panel, shown in pairs]
        options = {"shrink": 0.85, "pad": 0.02, "aspect": 24, "extend": self._extend()}
        self.colorbar_ = self.figure_.colorbar(self.images_[-1], ax=self.axes_, **options)
        self.colorbar_.outline.set_visible(False)
        self.colorbar_.ax.tick_params(color=MUTED, labelcolor=INK, labelsize=8)
        if self.unit is not None:
            self.colorbar_.set_label(self.unit, color=INK)
        if title is not None and ax is None:
            self.figure_.suptitle(title, fontsize=11, color=INK)
        elif title is not None:
            where = self.slices[0].title
            text = f"{title}, {where}" if where else title
            self.ax_.set_title(text, loc="left", fontsize=10, color=MUTED)
        return self

    def _axes(self, ax: Any) -> list[Any]:
        """Return the axes given, one a slice, or those of a new figure."""
        count = len(self.slices)
        if ax is None:
            from matplotlib import pyplot

            side = _SIDE if count > 1 else _SINGLE_SIDE
            widths, heights = zip(*(_panel(s, side) for s in self.slices), strict=True)
            size = (sum(widths) + 0.9, max(*heights, _LEAST_HEIGHT) + 0.4)
            figure = pyplot.figure(figsize=size, layout="constrained")
            return list(figure.subplots(1, count, squeeze=False, width_ratios=widths).ravel())
        given = [ax] if hasattr(ax, "imshow") else list(ax)
        if len(given) != count:
            raise ValueError(message("ax", f"be {count} axes, one a slice", len(given)))
        return given

    def _extend(self) -> str:
        """Return at which ends of the scale values lie beyond."""
        low, high = self._reach()
        return {
            (False, False): "neither", (True, False): "min",
            (False, True): "max", (True, True): "both",
        }[low < self.limits[0], high > self.limits[1]]  # fmt: skip

    def _draw(self, ax: Any, shown: Slice) -> Any:
        """Draw one slice."""
        (left, right), (bottom, top) = shown.extent
        image = ax.imshow(
            np.asarray(shown.values).T,
            origin="lower",
            extent=(left, right, bottom, top),
            aspect="auto" if _ratio(shown) is None else "equal",
            cmap="RdBu_r" if self.is_signed else "viridis",
            vmin=self.limits[0],
            vmax=self.limits[1],
            interpolation="bilinear",
        )
        ax.set_xlabel(shown.labels[0], color=INK)
        ax.set_ylabel(shown.labels[1], color=INK)
        ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=8)
        ax.locator_params(nbins=5)
        ax.spines[:].set_visible(False)
        ax.set_title(shown.title, loc="left", fontsize=10, color=MUTED)
        return image


# --------------------------------------------------------------------------------- the slices


def _checked_limits(limits: Any) -> tuple[float, float]:
    """Return the ends of the scale of colours."""
    rule = "be two ascending numbers (low, high)"
    if not isinstance(limits, (list, tuple)):
        raise TypeError(message("limits", rule, limits))
    if len(limits) != 2:
        raise ValueError(message("limits", rule, limits))
    low, high = (check_float(f"limits[{i}]", end) for i, end in enumerate(limits))
    if not low < high:
        raise ValueError(message("limits", rule, limits))
    return low, high


def _ratio(shown: Slice) -> float | None:
    """Return height over width, or None for what is too long to be drawn true to scale."""
    (left, right), (bottom, top) = shown.extent
    ratio = (top - bottom) / (right - left)
    return ratio if 1 / _LONGEST <= ratio <= _LONGEST else None


def _panel(shown: Slice, side: float) -> tuple[float, float]:
    """Return width and height in inches of a panel, the longer of them `side`."""
    ratio = _ratio(shown) or 1.0
    inner = side - _FRAME
    return _FRAME + inner * min(1.0, 1 / ratio), _FRAME + inner * min(1.0, ratio)


def _checked(i: int, given: Slice) -> Slice:
    """Return a slice with real, finite values on the host."""
    values = given.values
    host = np.asarray(values) if isinstance(values, (list, tuple)) else to_numpy(values)
    if host.dtype.kind == "c":
        host = np.abs(host)
    ends = [(float(low), float(high)) for low, high in given.extent]
    if len(ends) != 2 or not all(low < high for low, high in ends):
        rule = "be two intervals (low, high)"
        raise ValueError(message(f"slices[{i}].extent", rule, given.extent))
    return given._replace(values=on_host(f"slices[{i}].values", host, 2), extent=(ends[0], ends[1]))


def _planes(at: Any, domain: Any) -> list[dict[int, float]]:
    """Return which variable is fixed in each slice, and where."""
    d = len(domain)
    if d == 2:
        if at:
            raise ValueError(message("at", "be left out for two variables", at))
        return [{}]
    if at is None:
        return [{axis: 0.5 * (low + high)} for axis, (low, high) in enumerate(domain)][::-1]
    given = [at] if isinstance(at, Mapping) else at
    if not isinstance(given, (list, tuple)) or any(not isinstance(p, Mapping) for p in given):
        raise TypeError(message("at", "be a dict {axis: value}, or a sequence of them", at))
    if not given or any(len(plane) != 1 for plane in given):
        raise ValueError(message("at", "fix one variable in each slice", at))
    return [_plane(plane, domain) for plane in given]


def _plane(plane: Mapping[int, float], domain: Any) -> dict[int, float]:
    """Return a checked plane."""
    ((axis, value),) = plane.items()
    axis = check_int("the axis in at", axis, -3, 2) % 3
    low, high = domain[axis]
    return {axis: check_float(f"at[{axis}]", value, low, high)}


def _slice(T: Any, plane: dict[int, float], n: int, names: Sequence[str]) -> Slice:
    """Return the values on a plane, at the centres of cells."""
    xp, where = array_namespace(T.core), device(T.core)
    dtype = real_dtype(xp, widest_dtype(xp, where, T.core.dtype))
    free = [k for k in range(len(T.domain)) if k not in plane]
    grids: list[HostArray] = [
        np.asarray([plane[k]]) if k in plane else low + (high - low) * (np.arange(n) + 0.5) / n
        for k, (low, high) in enumerate(T.domain)
    ]
    values = to_numpy(T.grid(*(asarray(g, xp=xp, device=where, dtype=dtype) for g in grids)))
    extent = (T.domain[free[0]], T.domain[free[1]])
    titles = [f"{names[k]} = {value:.4g}" for k, value in plane.items()]
    labels = (names[free[0]], names[free[1]])
    return Slice(np.reshape(values, (n, n)), extent, labels, "".join(titles))
