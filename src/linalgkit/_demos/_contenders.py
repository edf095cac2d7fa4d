"""Who competes for the top eigenvectors of a stream: ours, scikit-learn's, and the exact answer.

A contender has ``take(rows)`` and ``answer()``; everything that it answers lies on the host.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from linalgkit._core.array import Array, synchronise, to_numpy
from linalgkit._core.linalg import eigh_desc, fix_signs
from linalgkit._core.validation import AccuracyWarning
from linalgkit._demos._measure import Meter
from linalgkit.streaming import StreamingEigh, StreamingEighResult

EXACT = "Gram + eigh"


@dataclass(frozen=True)
class Answer:
    """What a contender found.

    Attributes
    ----------
    variances : array (k,)
        Eigenvalues of the covariance matrix.
    vectors : array (d, k)
        Their eigenvectors.
    result : StreamingEighResult or None
        The certificate, for those that have one.
    warning : str
        What the answer warned of.
    """

    variances: Array
    vectors: Array
    result: StreamingEighResult | None = None
    warning: str = ""


class Method(Protocol):
    """Takes rows and answers."""

    def take(self, rows: Array) -> None:
        """Count rows in."""

    def answer(self) -> Answer:
        """Return what was found."""


class Ours:
    """:class:`~linalgkit.streaming.StreamingEigh` with centring."""

    def __init__(self, k: int, **options: Any) -> None:
        self.model = StreamingEigh(k, center=True, **options)

    def take(self, rows: Array) -> None:
        """Count rows in."""
        self.model.partial_fit(rows)

    def answer(self) -> Answer:
        """Return the answer, with its warning beside it instead of on the screen."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AccuracyWarning)
            result = self.model.result()
        synchronise(result.eigenvectors)
        variances = to_numpy(result.eigenvalues) / (result.n_rows - 1)
        warning = str(caught[0].message) if caught else ""
        return Answer(variances, to_numpy(result.eigenvectors), result, warning)


class IncrementalPCA:
    """scikit-learn's rival, fed as its own ``fit`` feeds it."""

    def __init__(self, model: Any, gen_batches: Callable[..., Any], batch_rows: int) -> None:
        self.model, self._gen_batches, self.batch_rows = model, gen_batches, batch_rows

    def take(self, rows: Array) -> None:
        """Count rows in, batch by batch."""
        least = self.model.n_components
        for batch in self._gen_batches(rows.shape[0], self.batch_rows, min_batch_size=least):
            self.model.partial_fit(rows[batch, :])

    def answer(self) -> Answer:
        """Return components as columns, with our rule for their signs."""
        return Answer(self.model.explained_variance_, fix_signs(self.model.components_.T))


class Exact:
    """The covariance matrix of all rows and its eigenvectors: d*d numbers, any order."""

    def __init__(self, k: int) -> None:
        self.k, self.n = k, 0
        self._shift: Any = None
        self._sum: Any = 0.0
        self._gram: Any = 0.0

    def take(self, rows: Array) -> None:
        """Count rows in, shifted by the mean of the first ones against cancellation."""
        if self._shift is None:
            self._shift = rows.mean(axis=0)
        shifted = rows - self._shift
        self._sum = self._sum + shifted.sum(axis=0)
        self._gram = self._gram + shifted.T @ shifted
        self.n += rows.shape[0]

    def answer(self) -> Answer:
        """Return the leading eigenpairs of the covariance matrix."""
        mean = self._sum / self.n
        w, V = eigh_desc((self._gram - self.n * mean[:, None] * mean[None, :]) / (self.n - 1))
        return Answer(w[: self.k], fix_signs(V[:, : self.k]))


@dataclass
class Contender:
    """A method in one order of the rows: how to make it, and what came of it.

    Attributes
    ----------
    name, order : str
        Its line in the tables, and which table.
    make : callable
        Makes a fresh method.
    on_host : bool
        Whether it takes NumPy rows only.
    meter : Meter
        Time and memory.
    """

    name: str
    order: str
    make: Callable[[], Method]
    on_host: bool = False
    meter: Meter = field(default_factory=Meter)
    _found: Answer | None = None

    def rows(self, block: Array) -> Array:
        """Return a block where this contender wants it."""
        return to_numpy(block) if self.on_host else block

    def warm_up(self, block: Array) -> None:
        """Compile what is compiled at first use, with an object that is thrown away."""
        method = self.make()
        method.take(self.rows(block))
        method.answer()

    def finish(self, method: Method) -> None:
        """Let the method answer and keep that."""
        with self.meter.turn():
            self._found = method.answer()

    @property
    def found(self) -> Answer:
        """The answer, once it is there."""
        if self._found is None:
            raise RuntimeError(f"{self.name} has not answered yet.")
        return self._found
