"""Hyperparameters of Kronecker sparse Bayesian learning, mode by mode, and what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from linalgkit._core.array import Array
from linalgkit.plotting._display import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    HostArray,
    axes,
    on_host,
    quieten,
)

_HEIGHT = 0.72  # of the largest stem, where modes are one apart
_BELOW = 0.1  # where true indices are marked


class SupportDisplay:
    """Prior standard deviations of each mode as stems, one line a mode, over the true support.

    Parameters
    ----------
    gammas : sequence of array (N_i,)
        Prior variances of each mode, not negative, of any library; zeros are out.
    reference : sequence of integer array, optional
        True indices of each mode to compare with.
    names : sequence of str, optional
        Names of the modes; "mode 1" and so on by default.

    Attributes
    ----------
    gammas : list of ndarray
        As given, on the host.
    support : list of ndarray
        Indices of the positive ones, ascending.
    reference : list of ndarray or None
        As given, on the host.
    names : tuple of str
        Names of the modes.
    exact : bool or None
        Whether the support of every mode is the true one, where that is known.
    ax_ : matplotlib Axes
        Where `plot` has drawn.
    figure_ : matplotlib Figure
        Its figure.
    stems_ : list of matplotlib LineCollection
        The stems of each mode, their heights as shares of the largest of the mode.

    See Also
    --------
    CoefficientsDisplay : Coefficients with intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.plotting import SupportDisplay
    >>> display = SupportDisplay([[0.0, 2.0, 0.0], [1.0, 0.5]], reference=[[1], [0]])
    >>> [s.tolist() for s in display.support], display.exact
    ([[1], [0, 1]], False)
    """

    ax_: Any
    figure_: Any
    stems_: list[Any]

    def __init__(
        self,
        gammas: Sequence[Sequence[float] | Array],
        *,
        reference: Sequence[Sequence[int] | Array] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.gammas = [on_host(f"gammas[{i}]", g, 1) for i, g in enumerate(gammas)]
        if not self.gammas:
            raise ValueError("gammas must have one array a mode, got none.")
        if any(bool(np.any(g < 0)) for g in self.gammas):
            raise ValueError("gammas must not be negative: they are variances.")
        self.support = [np.flatnonzero(g) for g in self.gammas]
        self.reference = None if reference is None else self._checked(reference)
        count = len(self.gammas)
        self.names = tuple(f"mode {i + 1}" for i in range(count)) if names is None else tuple(names)
        if len(self.names) != count:
            raise ValueError(f"names must be {count}, one a mode, got {len(self.names)}.")

    def _checked(self, reference: Sequence[Any]) -> list[HostArray]:
        """Return the true indices on the host, or raise."""
        if len(reference) != len(self.gammas):
            raise ValueError(
                f"reference must have indices for each of the {len(self.gammas)} modes, "
                f"got {len(reference)}."
            )
        found = []
        for i, (indices, gamma) in enumerate(zip(reference, self.gammas, strict=True)):
            given = on_host(f"reference[{i}]", indices, 1)
            if bool(np.any((given < 0) | (given >= gamma.size) | (given % 1 != 0))):
                raise ValueError(f"reference[{i}] must hold integers from 0 to {gamma.size - 1}.")
            found.append(np.sort(given.astype(np.int64)))
        return found

    @property
    def exact(self) -> bool | None:
        """Whether the support of every mode is the true one."""
        if self.reference is None:
            return None
        pairs = zip(self.support, self.reference, strict=True)
        return all(np.array_equal(found, true) for found, true in pairs)

    @classmethod
    def from_result(
        cls,
        result: Any,
        *,
        reference: Sequence[Any] | None = None,
        names: Sequence[str] | None = None,
        title: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw the hyperparameters of a result.

        Parameters
        ----------
        result : object
            With `gamma`, a list of arrays (N_i,), as :class:`~linalgkit.bayes.KronSBLResult`.
        reference : sequence of integer array, optional
            True indices of each mode to compare with.
        names : sequence of str, optional
            Names of the modes.
        title : str, optional
            A title; by default the number of slices found and how the search ended.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        SupportDisplay
            Drawn.
        """
        display = cls(result.gamma, reference=reference, names=names)
        if title is None and hasattr(result, "status"):
            sizes = " x ".join(str(s.size) for s in display.support)
            title = f"support {sizes}, {result.status}"
        return display.plot(ax=ax, title=title)

    def plot(self, ax: Any = None, *, title: str | None = None) -> Self:
        """Draw the stems.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        title : str, optional
            A title.

        Returns
        -------
        self
            Drawn; `ax_` and `figure_` say where.
        """
        count = len(self.gammas)
        self.ax_ = axes(ax, (6.4, 1.1 + 0.9 * count))
        self.figure_ = self.ax_.figure
        self.stems_ = []
        for i, (gamma, chosen) in enumerate(zip(self.gammas, self.support, strict=True)):
            base = float(count - 1 - i)
            self.ax_.plot([-0.5, gamma.size - 0.5], [base, base], color=FAINT, linewidth=0.8)
            heights = np.sqrt(gamma[chosen] / max(float(gamma.max()), 1e-300))
            tops = base + _HEIGHT * heights
            label = "prior standard deviation" if i == 0 else None
            self.stems_.append(self.ax_.vlines(chosen, base, tops, color=BLUE, linewidth=1.6))
            self.ax_.plot(chosen, tops, "o", color=BLUE, markersize=4, label=label)
            if self.reference is not None:
                true, label = self.reference[i], "true index" if i == 0 else None
                places = np.full(true.size, base - _BELOW)
                self.ax_.plot(true, places, "^", color=ORANGE, markersize=5, label=label)
        self._finish(title)
        return self

    def _finish(self, title: str | None) -> None:
        """Set labels and the legend."""
        count = len(self.gammas)
        labels = [
            f"{name}\n{s.size} of {g.size}"
            for name, s, g in zip(self.names, self.support, self.gammas, strict=True)
        ]
        self.ax_.set_yticks(np.arange(count - 1, -1, -1), labels)
        self.ax_.set_ylim(-3 * _BELOW, count)
        self.ax_.set_xlabel("index (from 0)", color=INK)
        quieten(self.ax_)
        self.ax_.grid(visible=False)
        self.ax_.spines["left"].set_visible(False)
        self.ax_.tick_params(axis="y", length=0)
        if title is not None:
            self.ax_.set_title(title, loc="left", fontsize=10, color=MUTED)
        if self.reference is not None:
            place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 2}
            self.ax_.legend(frameon=False, fontsize=8, labelcolor=INK, borderpad=0.0, **place)
