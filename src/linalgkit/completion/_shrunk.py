"""Shrinkage of each component by variational Bayes, at the price of an ALS sweep.

::

    found = shrunk(data, random_start(data, 30, rng, mean), biased=True)
    found.factors, found.noise, found.rank - found.n_dormant

The model, its bound and what is approximated: :mod:`linalgkit.completion._variational`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    numpy_namespace,
)
from linalgkit._core.random import standard_normal
from linalgkit.completion._factors import Factors
from linalgkit.completion._observed import Observed
from linalgkit.completion._variational import (
    SETTLED,
    Model,
    half_step,
    is_exact,
    prune,
    started,
    update_noise,
)

_HOST = numpy_namespace()
SHRUNK_TOL = 3e-3  # relative change of noise and fitted values at which sweeps stop


@dataclass(frozen=True, eq=False)
class Shrunk:
    """Answer of :func:`shrunk`, in the scaled units of the observed entries.

    Attributes
    ----------
    factors : Factors
        Posterior means.
    noise : float
        Standard deviation of an entry of weight one.
    row_variances, column_variances : host array (rank,)
        Prior variances of the components of U and of W.
    row_spread, column_spread : host array (rank,)
        Posterior variances, popularity-weighted means over the lines.
    bias_variances, bias_spread : tuple of float
        The same for row and column biases; zeros without biases.
    history : list of float
        `noise` after each sweep.
    n_sweeps : int
        Sweeps made.
    status : str
        "converged", "max_sweeps", "stopped" (by the
        callback) or "zero".
    n_dormant : int
        Components no stronger than the largest one of pure noise: they help predictions a little,
        but `rank` less these is the number that the data show to exist.
    rank : int
        Number of components left.

    Notes
    -----
    Storage: ``(m + n) rank`` numbers.
    """

    factors: Factors
    noise: float
    row_variances: Array
    column_variances: Array
    row_spread: Array
    column_spread: Array
    bias_variances: tuple[float, float] = (0.0, 0.0)
    bias_spread: tuple[float, float] = (0.0, 0.0)
    history: list[float] = field(default_factory=list)
    n_sweeps: int = 0
    status: str = "max_sweeps"
    n_dormant: int = 0

    @property
    def rank(self) -> int:
        """Number of components left."""
        return self.factors.rank


def shrunk(
    observed: Observed,
    start: Factors,
    *,
    max_sweeps: int = 100,
    tol: float = SHRUNK_TOL,
    biased: bool = False,
    callback: Callable[[int, Factors, float], Any] | None = None,
) -> Shrunk:
    """Complete a matrix with a shrinkage of each component that is estimated from the data.

    Parameters
    ----------
    observed : Observed
        The entries.
    start : Factors
        Where to start from, such as factors of a singular value decomposition, or
        :func:`random_start`; one of the two factors may be zero. Its rank is the largest that can
        come out; `mean` is held fixed; biases count with ``biased=True`` alone.
    max_sweeps : int
        Most sweeps over rows and columns.
    tol : float
        Stop once noise variance and singular values change by no more than `tol` in a sweep.
    biased : bool
        Whether rows and columns have biases.
    callback : callable, optional
        ``callback(sweep, factors, noise)`` after each sweep; a true answer ends the run.

    Returns
    -------
    Shrunk
        Posterior means, noise, variances and what happened.

    Notes
    -----
    Each sweep solves both sides by three steps of conjugate gradients a line, O(N k), and takes one
    pass for the residual. Small matrices are worked on by the host in float64; each half step
    synchronises a few times. Storage: three arrays of the size of a factor. Lines without entries
    have means of zero. Scaled data give scaled answers.

    References
    ----------
    Y. J. Lim, Y. W. Teh, "Variational Bayesian approach to movie rating prediction", KDD Cup, 2007.
    S. Nakajima, M. Sugiyama, S. D. Babacan, R. Tomioka, "Global analytic solution of fully-observed
    variational Bayesian matrix factorization", J. Mach. Learn. Res. 14, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion._observed import observe
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 100))
    >>> data = observe(A + 0.1 * rng.standard_normal(A.shape), mask=rng.random(A.shape) < 0.4)
    >>> found = shrunk(data, random_start(data, 5, rng))
    >>> found.status, found.rank - found.n_dormant, round(found.noise, 1)
    ('converged', 2, 0.1)
    """
    model = started(observed, start, biased=biased)
    if model is None:
        return _zero(observed, start, biased)
    run = _Run(tol)
    for sweep in range(max_sweeps):
        half_step(model, model.rows, model.columns)
        half_step(model, model.columns, model.rows)
        if update_noise(model) < SETTLED:
            prune(model)
        if run.is_over(model, sweep, callback):
            break
    return run.answer(model)


def random_start(observed: Observed, rank: int, rng: Any, mean: complex = 0.0) -> Factors:
    """Return a zero U and a Gaussian W of the size of the data; `rank` n numbers are drawn."""
    xp, (m, n) = observed.xp, observed.shape
    U = xp.zeros((m, rank), dtype=observed.dtype, device=observed.device)
    W = standard_normal(rng, (n, rank), xp=xp, device=observed.device, dtype=observed.dtype)
    return Factors(U, W, mean=mean)


# ------------------------------------------------------------------------------------- end


class _Run:
    """What has happened, and when to stop."""

    def __init__(self, tol: float) -> None:
        self.tol, self.status = tol, "max_sweeps"
        self.history: list[float] = []
        self.singular: Array | None = None

    def is_over(
        self, model: Model, sweep: int, callback: Callable[[int, Factors, float], Any] | None
    ) -> bool:
        """Note a sweep; tell whether it was the last one."""
        self.history.append(math.sqrt(model.noise2))
        self.status = "converged" if self._has_settled(model) else self.status
        self.history[-1] = math.sqrt(model.noise2)  # exact data: settled at its fixed point
        stopped = callback is not None and callback(sweep, model.factors(), self.history[-1])
        if stopped and self.status == "max_sweeps":
            self.status = "stopped"
        return self.status != "max_sweeps"

    def _has_settled(self, model: Model) -> bool:
        """Tell whether noise and singular values have changed by no more than the tolerance."""
        last, now = self.singular, model.singular
        self.singular = now
        if len(self.history) < 3 or last is None or now is None or last.shape != now.shape:
            return False
        moved = float(_HOST.linalg.norm(now - last)) / float(_HOST.linalg.norm(now))
        before, noise = (x * x for x in self.history[-2:])
        if moved > self.tol:
            return False
        return abs(before - noise) <= self.tol * before or is_exact(model, before)

    def answer(self, model: Model) -> Shrunk:
        """Return the last sweep without the components that the data do not support."""
        prune(model, all_dormant=True)
        return replace(
            _answer(model), history=self.history, n_sweeps=len(self.history), status=self.status
        )


def _answer(model: Model) -> Shrunk:
    rows, columns = model.rows, model.columns
    return Shrunk(
        model.factors(), math.sqrt(model.noise2), rows.prior, columns.prior, rows.spread,
        columns.spread, (rows.bias_prior, columns.bias_prior),
        (rows.bias_spread, columns.bias_spread), n_dormant=int(_HOST.sum(model.dormant)),
    )  # fmt: skip


def _zero(observed: Observed, start: Factors, biased: bool) -> Shrunk:
    """Return the answer to data that equal the mean: no component."""
    xp, (m, n) = observed.xp, observed.shape
    zeros = [
        xp.zeros((size,), dtype=start.U.dtype, device=observed.device) if biased else None
        for size in (m, n)
    ]
    none = _HOST.zeros(0)
    f = Factors(start.U[:, :0], start.W[:, :0], zeros[0], zeros[1], start.mean)
    return Shrunk(f, 0.0, none, none, none, none, status="zero")
