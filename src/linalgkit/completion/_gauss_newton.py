"""The last digits: Gauss-Newton on the manifold of matrices of rank k.

Alternating minimisation converges linearly and ends near its ridge times the condition number.
From there a few steps of this method reach rounding, or the minimum of the residual of noisy
data::

    found = polish(observed, factors, max_outer=30)
    found.factors, found.history, found.status
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from linalgkit._core.array import eps
from linalgkit.completion._factors import Factors, residual_energy
from linalgkit.completion._observed import Observed
from linalgkit.completion._tangent import (
    Frame,
    Retraction,
    Tangent,
    even_roots,
    frame_of,
    inner,
    minus_normal,
    plus,
    residual_gradient,
)

_INNER = 250  # most conjugate gradient steps of an outer step
_ALL_INNER = 2500  # and of all of them
_FORCING = 0.1  # of the gradient norm, at most, where conjugate gradients stop
_TIGHT = 1e-3  # of it, where those stop that say whether a point is a minimum
_STALL = 1e-8  # relative decrease of the residual norm in an outer step that ends the iteration
_FLAT = 1e-7  # foretold decrease of the energy, relative, below which the point is a minimum
_NEAR_ROUNDING = 50.0  # roundoffs of the data, times sqrt(rank): rounding may have the say below
_SLOPE = 1e-4  # share of the foretold decrease that a step must bring
_HALVINGS = 12


@dataclass(frozen=True, eq=False)
class Polished:
    """What :func:`polish` returns.

    Attributes
    ----------
    factors : Factors
        The best that were seen, offsets as they were.
    history : list of float
        Residual norms ``sqrt(sum w |r|^2)``, that of the start first, then one an outer step.
    status : str
        "converged": the residual is at rounding, or its norm fell by less than a share `tol` and
        conjugate gradients that ran down to a share of 1e-3 of the gradient foretold no more than
        a share ``max(1e-7, 4 tol)`` of its square; "stalled": they foretold more, but a step along
        their direction did not help; "max_sweeps": `max_outer` steps were taken, or `max_inner`
        steps of conjugate gradients; "stopped": by the callback.
    n_inner : int
        Conjugate gradient steps of all outer ones and of the checks.
    """

    factors: Factors = field(repr=False)
    history: list[float] = field(repr=False)
    status: str
    n_inner: int


# Bauch, Nadler, Zilber 2021 (R2RILS) and Zilber, Nadler 2022 (GNMR) minimise over the same tangent
# space. Differs from them:
# 1. The metric is evened out by the popularity of rows and columns (see _tangent.py).
# 2. Coordinates are orthonormal, so that the least-squares problem has no null space, and inner
#    iterations stop at forcing terms, no later than the next residual can show.
# 3. The step is an orthographic retraction, halved until the residual falls.
# 4. A minimum is told by a second, tight solution: what conjugate gradients foretell is a lower
#    bound of what the tangent space has to offer, and a poor one if they stop early.
def polish(
    observed: Observed,
    factors: Factors,
    *,
    max_outer: int,
    tol: float = _STALL,
    max_inner: int = _ALL_INNER,
    callback: Callable[[int, float], bool | None] | None = None,
) -> Polished:
    """Minimise ``sum w |y - offsets - U W^T|^2`` from a good start by Riemannian Gauss-Newton.

    Parameters
    ----------
    observed : Observed
        The entries.
    factors : Factors
        Where to start from; biases and mean stay.
    max_outer : int
        Most outer steps.
    tol : float, default 1e-8
        The iteration ends once a step lowers the residual norm by less than this share of it, and
        a tight solution finds no better one; at least four times the rounding unit.
    max_inner : int, default 2500
        Most conjugate gradient steps of all outer ones.
    callback : callable, optional
        Called as ``callback(step, residual_norm)`` after each outer step, counted from 1; ends the
        iteration by returning True.

    Returns
    -------
    Polished
        Factors whose residual norm is not above that of the start.

    Notes
    -----
    An outer step minimises the sum over all tangent vectors by conjugate gradients, each step of
    which reads the entries once by rows and once by columns (12 N k flop), and follows the
    tangent by an orthographic retraction; steps are halved until the residual falls. Converges
    quadratically where the data have an exact fit, else linearly with a small factor. It is
    local: from a start that is far away it may stall.

    Storage: about 12 (m + n) k numbers. Two synchronisations an inner step.

    References
    ----------
    .. [1] J. Bauch, B. Nadler, P. Zilber, "Rank 2r iterative least squares: efficient recovery of
       ill-conditioned low rank matrices from few entries", SIAM J. Math. Data Sci. 3 (2021).
    .. [2] P. Zilber, B. Nadler, "GNMR: a provable one-line algorithm for low rank matrix
       recovery", SIAM J. Math. Data Sci. 4 (2022).
    .. [3] P.-A. Absil, I. V. Oseledets, "Low-rank retractions: a survey and new results",
       Comput. Optim. Appl. 62 (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion._observed import observe
    >>> i, j = np.divmod(np.arange(20), 5)
    >>> data = observe((i, j, (1.0 + i) * (2.0 - j), (4, 5)))
    >>> start = Factors(np.arange(1.0, 5.0)[:, None], np.ones((5, 1)))
    >>> found = polish(data, start, max_outer=20)
    >>> found.status, bool(found.history[-1] < 1e-13)
    ('converged', True)
    """
    search = _Search(observed, factors, tol, max_inner)
    status = search.at_start()
    for number in range(1, max_outer + 1):
        if status is not None:
            break
        count = len(search.history)
        status = search.step()
        if callback is not None and len(search.history) > count:
            stop = callback(number, search.history[-1])
            status = "stopped" if stop and status is None else status
    return Polished(search.factors(), search.history, status or "max_sweeps", search.n_inner)


class _Direction(NamedTuple):
    """A tangent vector, the decrease of the energy to first order, and how it was found."""

    tangent: Tangent
    foretold: float
    n_steps: int
    is_tight: bool  # the gradient fell to the share that makes it an upper bound, nearly


class _Search:
    """The state of the iteration: the start, the frame of the point, the residual norms so far."""

    def __init__(self, observed: Observed, factors: Factors, tol: float, max_inner: int) -> None:
        unit = eps(observed.xp, observed.dtype)
        self.observed, self.start, self.tol = observed, factors, max(tol, 4.0 * unit)
        self.n_inner, self.max_inner = 0, max_inner
        self.frame = frame_of(factors, even_roots(observed), observed.xp)
        self.history = [math.sqrt(residual_energy(observed, factors))]
        size, self.unit = _data_norms(observed, factors)
        self.roundoff = unit * max(size, self.history[0])
        self.tight: _Direction | None = None  # the one to follow next

    def factors(self, frame: Frame | None = None) -> Factors:
        """Return the factors of a frame, or of the point."""
        if frame is None and len(self.history) == 1:
            return self.start
        return self.start.with_factors(*(self.frame if frame is None else frame).factors())

    def at_start(self) -> str | None:
        """Return the status if there is nothing to be done."""
        return "converged" if self.history[-1] <= self.roundoff else None

    def step(self) -> str | None:
        """Take an outer step if one helps, and return the status if it is the last."""
        norm, tight = self.history[-1], self.tight
        if tight is None and self.n_inner >= self.max_inner:
            return "max_sweeps"
        is_near = norm <= _NEAR_ROUNDING * math.sqrt(self.start.rank) * self.roundoff
        direction = self._direction(self._forcing()) if tight is None else tight
        is_minimum, self.tight = direction.is_tight and self._is_flat(direction), None
        moved = self._move(direction)
        new = self.history[-1]
        if new <= self.roundoff or (is_near and new > 0.5 * norm):
            return "converged"
        if moved and new <= (1 - self.tol) * norm:
            return None
        if is_minimum:
            return "converged"
        return self._checked() if moved or tight is None else "stalled"

    def _is_flat(self, direction: _Direction) -> bool:
        """Tell whether the decrease that is foretold is none."""
        return direction.foretold <= max(_FLAT, 4.0 * self.tol) * self.history[-1] ** 2

    def _checked(self) -> str | None:
        """Return the status of a point that seems to be a minimum; None if it is not."""
        if self.n_inner >= self.max_inner:
            return "max_sweeps"
        found = self._direction(_TIGHT, self.max_inner)
        if not self._is_flat(found):
            self.tight = found
            return None
        if found.is_tight:
            return "converged"
        return "max_sweeps" if self.n_inner >= self.max_inner else "stalled"

    def _forcing(self) -> float:
        """Return the share of the gradient at which an outer step stops."""
        norm = self.history[-1]
        share = min(_FORCING, norm / self.unit) if self.unit > 0 else _FORCING
        return max(share, _FORCING * self.roundoff / norm)

    def _direction(self, tol: float, steps: int = _INNER) -> _Direction:
        """Return the tangent vector to follow."""
        gradient = residual_gradient(self.observed, self.factors(), self.frame)
        most = min(steps, self.max_inner - self.n_inner)
        found = _conjugate_gradients(self.observed, self.frame, gradient, tol, most)
        self.n_inner += found.n_steps
        return found

    def _move(self, direction: _Direction) -> bool:
        """Follow a tangent vector as far as the energy falls; tell whether it does."""
        foretold = direction.foretold
        if not foretold > 0:
            return False
        curve, energy, h = Retraction(self.frame, direction.tangent), self.history[-1] ** 2, 1.0
        for _ in range(_HALVINGS):
            frame = curve.at(h)
            found = residual_energy(self.observed, self.factors(frame))
            if found <= energy - _SLOPE * h * foretold:
                self.frame = frame
                self.history.append(math.sqrt(found))
                return True
            h *= 0.5
        return False


def _data_norms(observed: Observed, f: Factors) -> tuple[float, float]:
    """Return the norms of the values, offsets included and taken off."""
    xp = observed.xp
    nothing = f.with_factors(xp.zeros_like(f.U[:, :1]), xp.zeros_like(f.W[:, :1]))
    unit = math.sqrt(residual_energy(observed, nothing))
    if f.is_plain:
        return unit, unit
    return math.sqrt(residual_energy(observed, Factors(nothing.U, nothing.W))), unit


def _conjugate_gradients(
    observed: Observed, frame: Frame, r: Tangent, tol: float, most: int
) -> _Direction:
    """Return a tangent vector that nearly minimises the energy to first order.

    `r` is minus half the gradient; its norm falls to the share `tol`, if `most` steps suffice.
    """
    xp = frame.xp
    p, x = r, Tangent(*(xp.zeros_like(part) for part in r))
    rr, foretold = inner(r, r, xp), 0.0
    goal, low = tol**2 * rr, _TIGHT**2 * rr
    for step in range(most):
        if not rr > goal:
            return _Direction(x, foretold, step, rr <= low)
        minus, curvature = minus_normal(observed, frame, p)
        if not curvature > 0:
            return _Direction(x, foretold, step, rr <= low)
        length = rr / curvature
        foretold += length * rr
        x, r = plus(x, length, p), plus(r, length, minus)
        del minus  # not to be held while the next one is made
        before, rr = rr, inner(r, r, xp)
        p = plus(r, rr / before, p)
    return _Direction(x, foretold, most, rr <= low)
