"""The rows of a matrix as a space: proposals by leverage scores, exact or sketched."""

from __future__ import annotations

import math
import warnings
from typing import Any

from linalgkit._core.array import (
    Array,
    asarray,
    device,
    eps,
    numpy_namespace,
    to_numpy,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.random import HostArray, as_generator, standard_normal
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import (
    AccuracyWarning,
    check_array_2d,
    check_bool,
    check_choice,
    check_finite_block,
    check_int,
)
from linalgkit._kernels.probe import PROBES, probed_norms
from linalgkit.sampling._proposals import Proposals
from linalgkit.sampling._scan import draw_index
from linalgkit.sampling._whitening import Rows, whiten

_HOST = numpy_namespace()
SCORES = ("exact", "sketch")
_ORTHONORMAL = 1e-6  # departure that is allowed, or a few roundoffs of single precision
SKETCH_FACTOR = 4.0  # c: sketched scores times c shall be above the exact ones
SKETCH_FAILURE = 0.01  # probability that one of them is not


class FiniteSpace(PortablePickle):
    """The range of a matrix, its rows the points.

    Parameters
    ----------
    X : array (n, p)
        Checked by :func:`finite_space`.
    xp : module
        Namespace of `X`.
    orthonormal : bool
        Whether ``X^H X = I`` is promised (and checked).
    scores : {"exact", "sketch"}
        See :class:`~linalgkit.sampling.ProjectionDPP`.
    rank : int, optional
        Number of leading singular vectors to take.
    rng : numpy.random.Generator
        For the sketch.
    """

    def __init__(
        self, X: Array, xp: Any, orthonormal: bool, scores: str, rank: int | None, rng: Any
    ) -> None:
        self.X, self.xp, self.device = X, xp, device(X)
        self.rows = Rows(X, xp)
        self.dtype = self.rows.dtype
        self.whitener: Array | None = None
        self._upper = False
        self._exact: HostArray | None = None
        if orthonormal:
            self.dim = self.rows.shape[1]
            self._exact = self._checked_norms()
        else:
            whitening = whiten(self.rows, rank)
            self.whitener, self._upper = whitening.W, whitening.upper
            self.dim = int(whitening.W.shape[1])
        sketch = self.dim
        if scores == "sketch" and self._exact is None:
            sketch = self._sketch_width()
        self._envelope = self._sketched(sketch, rng) if sketch < self.dim else self.scores()
        self._cumulative = _HOST.cumulative_sum(self._envelope)
        self.exact = sketch >= self.dim
        self.failure_probability = 0.0 if self.exact else SKETCH_FAILURE

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.rows.shape[0]

    @property
    def acceptance(self) -> float:
        """Probability that a proposal is a draw of the leverage law."""
        return self.dim / float(self._cumulative[-1])

    # --------------------------------------------------------------------------------- set-up

    def _checked_norms(self) -> HostArray:
        """Return squared row norms, in one read of a matrix that shall be orthonormal."""
        xp = self.xp
        shape = self.dim, PROBES
        Z = standard_normal(as_generator(0), shape, xp=xp, device=self.device, dtype=self.X.dtype)
        norms: HostArray
        norms, energies = probed_norms(xp, self.X, Z)
        expected = to_numpy(squared_row_norms(xp.matrix_transpose(Z), self.dtype, xp))
        # The mean square of z is 1: differences of energies are those of X^H X from the identity.
        departure = max(
            float(abs(energies - expected).max()), abs(float(norms.sum()) - self.dim) / self.dim
        )
        if not math.isfinite(departure):
            check_finite_block(self.X)
        allowed = max(_ORTHONORMAL, 10 * self.dim * eps(xp, self.X.dtype))
        if not departure <= allowed:
            raise ValueError(
                "X must have orthonormal columns where orthonormal=True, but X^H X departs from "
                f"the identity by about {departure:.2g}. Leave orthonormal=False."
            )
        return norms

    def _sketch_width(self) -> int:
        """Return how many Gaussian columns keep all scores above 1/c but for the failure."""
        c = SKETCH_FACTOR
        width = 2 * math.log(self.n / SKETCH_FAILURE) / (math.log(c) - 1 + 1 / c)
        return math.ceil(width)

    def _sketched(self, width: int, rng: Any) -> HostArray:
        """Return c times the estimated scores; see the notes of ProjectionDPP."""
        G = standard_normal(
            rng, (self.dim, width), xp=self.xp, device=self.device, dtype=self.dtype
        )
        G = G * math.sqrt(1 / width)
        W = G if self.whitener is None else self.whitener @ G
        return SKETCH_FACTOR * self.rows.norms_after(W)

    def scores(self) -> HostArray:
        """Return the exact leverage scores, float64 (n,) on the host."""
        if self._exact is None:
            self._exact = self.rows.norms_after(self.whitener, upper=self._upper)
        return self._exact

    # ------------------------------------------------------------------------------- proposals

    def draw(self, count: int, rng: Any) -> Proposals:
        """Return independent proposals, by leverage scores or what stands above them."""
        index = draw_index(self._cumulative, rng.random(count))
        rows, envelope = self.rows.take(index), self._envelope[index]
        if self._envelope is not self._exact and self._undershoots(rows, envelope):
            return self.draw(count, rng)
        return Proposals(index, rows, envelope)

    def _undershoots(self, rows: Array, envelope: HostArray) -> bool:
        """Tell whether a sketched score is too low; exact scores then serve from now on."""
        products = rows if self.whitener is None else rows @ self.whitener
        norms = to_numpy(squared_row_norms(products, self.dtype, self.xp))
        if not bool((norms > envelope).any()):
            return False
        warnings.warn(
            "a sketched leverage score is too low by more than the factor that was allowed. "
            "Exact scores serve this and all later samples; this one is not exact.",
            AccuracyWarning,
            stacklevel=2,
        )
        self._envelope = self.scores()
        self._cumulative = _HOST.cumulative_sum(self._envelope)
        return True

    def draw_measure(self, count: int, rng: Any) -> HostArray:
        """Return independent row numbers of the uniform law."""
        found: HostArray = rng.integers(0, self.n, size=count)
        return found

    # --------------------------------------------------------------------------------- values

    def evaluate(self, index: HostArray) -> Array:
        """Return rows of the matrix by their numbers."""
        place = asarray(index, xp=self.xp, device=self.device, copy=False)
        return self.xp.take(self.X, place, axis=0)

    def orthonormal_rows(self, index: HostArray) -> Array:
        """Return the values of functions that are orthonormal for the uniform law, (k, m)."""
        rows = self.rows.take(index)
        rows = rows if self.whitener is None else rows @ self.whitener
        return rows * math.sqrt(self.n)

    def christoffel(self, index: HostArray) -> HostArray:
        """Return the squared norms of those values, on the host."""
        return to_numpy(squared_row_norms(self.orthonormal_rows(index), self.dtype, self.xp))


def finite_space(
    X: Any,
    *,
    orthonormal: bool = False,
    scores: str = "exact",
    rank: int | None = None,
    rng: object = None,
) -> FiniteSpace:
    """Check the arguments and return the space.

    Raises
    ------
    TypeError, ValueError
        See :class:`~linalgkit.sampling.ProjectionDPP`.
    """
    X, xp = check_array_2d("X", as_array(X, "X"), min_rows=1)
    orthonormal = check_bool("orthonormal", orthonormal)
    check_choice("scores", scores, SCORES)
    n, p = int(X.shape[0]), int(X.shape[1])
    if rank is not None:
        rank = check_int("rank", rank, 1, min(n, p), f"for a matrix of shape {(n, p)}")
        if orthonormal and rank != p:
            raise ValueError(
                f"rank must be {p} or None where orthonormal=True, got {rank}. "
                "Pass the columns that are wanted."
            )
    elif n < p:
        raise ValueError(
            f"X must have at least as many rows as columns, got shape {(n, p)}. Pass rank=, at "
            f"most {n}, to sample from the range of its leading singular vectors, or X transposed."
        )
    generator = as_generator(rng)
    X = xp.astype(X, working_dtype(xp, device(X), X.dtype), copy=False)
    return FiniteSpace(X, xp, orthonormal, scores, rank, generator)
