"""What a demo is handed: options, the array library, and the tools it must not import."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from linalgkit._core.array import Array, library_name, namespace_of
from linalgkit._demos._data import CanonicalTensor


class Progress(Protocol):
    """The part of a progress bar that demos use."""

    def update(self, n: int) -> object:
        """Move on by `n` units."""


class StartProgress(Protocol):
    """How a progress bar begins."""

    def __call__(self, label: str, *, total: int) -> AbstractContextManager[Progress]:
        """Return a bar that ends with the ``with`` statement."""


@dataclass(frozen=True)
class Context:
    """Options and tools of one run.

    Attributes
    ----------
    output : Path
        Existing folder for pictures and reports.
    n_components : int
        How many eigenvectors, components or the like to find.
    quick : bool
        Whether a small part of the data is enough.
    seed : int
        Source of every random choice.
    like : array
        An array of the chosen library on the device to be used.
    scikit : callable
        ``scikit("decomposition.IncrementalPCA")`` returns that object of scikit-learn.
    progress : callable
        Starts a progress bar.
    say : callable
        Prints a line.
    data : CanonicalTensor, optional
        What ``--data`` holds.
    """

    output: Path
    n_components: int
    quick: bool
    seed: int
    like: Array
    scikit: Callable[[str], Any]
    progress: StartProgress
    say: Callable[[str], None]
    data: CanonicalTensor | None = None

    def done(self, name: str, seconds: float) -> None:
        """Say that a contender has finished, and what it took."""
        self.say(f"  {name}: {seconds:.2f} s")

    @property
    def library(self) -> str:
        """Name of the array library in use."""
        return library_name(namespace_of(self.like)[0])
