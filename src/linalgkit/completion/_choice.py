"""Rank and ridge chosen by the error on entries that were held out.

The rank grows one by one: the leading singular pair of the residual joins, a few sweeps follow. The
ridge falls along one run of sweeps, each of which is a warm start of the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import asarray, eps, numpy_namespace, real_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp_float
from linalgkit.completion._factors import Factors
from linalgkit.completion._fit import (
    HELD_OUT,
    Fitted,
    Request,
    begin,
    fit_fixed,
    held_out_error,
    offsets,
    polishes,
    root_mean_square,
)
from linalgkit.completion._gauss_newton import polish
from linalgkit.completion._held_out import held_out
from linalgkit.completion._observed import Observed, observe, select
from linalgkit.completion._request import check_request
from linalgkit.completion._start import leading
from linalgkit.completion._sweeps import Fall, Settings, Sweeper, Swept, oversampling, sweep_down

_HOST = numpy_namespace()
_PATIENCE = 3  # ranks (twice as many ridges) without a better error
_BETTER = 0.99  # an error counts as better below this share of the best
_RIDGE_FALL = 0.75
_GROWING = Fall(0.5, 0.5)
_SWEEPS = 24
_ROBUST_SWEEPS, _ROBUST_TOL = 60, 1e-3


class Growth:
    """Fits of rank 1, 2, ... and their errors on held-out entries."""

    def __init__(self, train: Observed, held: Observed, request: Request) -> None:
        self.train, self.held, self.request = train, held, request
        self.errors: list[float] = []
        self.best: Factors = offsets(train, request)
        self.n_sweeps = 0
        self.size = held_out_error(held, self.best, request)

    def run(self) -> Growth:
        """Grow until the error has not improved for some ranks."""
        f, least, waited = self.best, math.inf, 0
        exact = 0.1 * float(eps(self.train.xp, self.train.dtype)) ** 0.5
        exact = max(exact, 1e-4) if self.request.biased else exact
        limit, watch = self.request.max_rank, self.request.watch
        while f.rank < limit and waited < _PATIENCE and not watch.stopped:
            f = self._fitted(self._joined(f))
            error = held_out_error(self.held, f, self.request)
            self.errors.append(error)
            if error < _BETTER * least or f.rank == 1:
                self.best, waited, least = f, 0, error
            else:
                waited += 1
            if error <= exact * self.size:
                break
        return self

    def _joined(self, f: Factors) -> Factors:
        """Return the model with the leading singular pair of its residual."""
        o, xp = self.train, self.train.xp
        L, s, R = leading(o, f, 1, self.request.rng)
        root = asarray(
            _HOST.sqrt(s)[None, :],
            xp=xp,
            device=o.device,
            dtype=real_dtype(xp, o.dtype),
            copy=False,
        )
        return f.with_factors(
            xp.concat([f.U, root * L], axis=1), xp.concat([f.W, root * R], axis=1)
        )

    def _fitted(self, f: Factors) -> Factors:
        request, alpha = self.request, self.request.alpha or 0.0
        if request.loss != "squared":
            return self._robust(f.rank)
        ends = polishes(self.train, request, f.rank)
        settings = Settings(
            alpha, "pcg", request.biased, _SWEEPS, fall=_GROWING, floor=1e-4 if ends else 1e-6,
            hands_over=True, watch=request.watch,
        )  # fmt: skip
        swept = sweep_down(self.train, Swept(f), settings)
        self.n_sweeps += swept.n_sweeps
        if not ends or oversampling(self.train, f.rank) < 1.2:
            return swept.factors
        done = polish(self.train, swept.factors, max_outer=4)
        self.n_sweeps += len(done.history)
        return done.factors

    def _robust(self, rank: int) -> Factors:
        """Return a robust fit from scratch: growing would build on gross errors."""
        limited = replace(self.request, max_sweeps=_ROBUST_SWEEPS, tol=_ROBUST_TOL)
        found = fit_fixed(self.train, limited, rank)
        self.n_sweeps += found.n_sweeps
        return found.factors


def grown(train: Observed, held: Observed, request: Request) -> Fitted:
    """Return the fit of the rank with the least error on the held-out entries."""
    found = Growth(train, held, request).run()
    return Fitted(found.best, "converged", [], found.n_sweeps, request.alpha or 0.0)


def best_alpha(train: Observed, held: Observed, request: Request) -> Fitted:
    """Return the fit of the ridge (and of the rank, if open) of least error on held-out entries."""
    if request.rank is not None:
        return _along(train, held, request, request.rank)
    plain = replace(request, alpha=0.0)
    ranks = {max(1, request.max_rank >> s) for s in range(request.max_rank.bit_length())}
    first = grown(train, held, plain)
    ranks.add(first.factors.rank)
    runs = [_along(train, held, request, rank) for rank in sorted(ranks)]
    errors = [root_mean_square(held, run.factors) for run in runs]
    best = runs[errors.index(min(errors))]
    best.n_sweeps = first.n_sweeps + sum(run.n_sweeps for run in runs)
    return best


def _along(train: Observed, held: Observed, request: Request, rank: int) -> Fitted:
    """Return the fit and the ridge of the least error along a run in which the ridge falls."""
    sweeper = Sweeper(train, Settings(0.0, "pcg", request.biased))
    f = begin(train, replace(request, alpha=0.0), rank)
    ridge, waited, n = 2.0 * sweeper.first_ridge(f), 0, 0
    least, best, alpha = math.inf, f, ridge
    while waited < 2 * _PATIENCE and n < request.max_sweeps and not request.watch.stopped:
        f = sweeper.sweep(f, ridge)
        n += 1
        error = root_mean_square(held, f)
        request.watch(error)
        if error < least * (1.0 - 1e-4):
            least, best, alpha, waited = error, f, ridge, 0
        else:
            waited += 1
        ridge *= _RIDGE_FALL
    return Fitted(best, "converged", [], n, alpha)


@dataclass(frozen=True, eq=False)
class RankEstimate:
    """The rank that predicts held-out entries best; stands for it as an integer.

    Attributes
    ----------
    rank : int
        The rank of the least error: a larger one must lower it by more than a hundredth.
    ranks : tuple of int
        The ranks that were fitted, from 1.
    validation_rmse : tuple of float
        Root mean square error of each on the entries that were held out, in the unit of the data.
    baseline_rmse : float
        That of no factors at all.
    status : str
        "found", "limit" if the error still fell at the largest rank allowed, or "none" if no rank
        predicts better than no factors: the entries look like noise.
    """

    rank: int
    ranks: tuple[int, ...]
    validation_rmse: tuple[float, ...] = field(repr=False)
    baseline_rmse: float
    status: str

    def __index__(self) -> int:
        """Return the rank."""
        return self.rank


@capability("completion.rank_estimate", sparse=True, synchronisations={"rank": 190})
def rank_estimate(
    A: Any, *, mask: Any = None, max_rank: int | None = None, rng: Any = None
) -> RankEstimate:
    """Estimate the rank of a matrix of which some entries are observed.

    A tenth of the entries is held out. The rank grows one by one, each fit starting from the one
    before and the leading singular pair of its residual, until three ranks in a row have not
    predicted the held-out entries better.

    Parameters
    ----------
    A : sparse container, array, masked array, tuple or iterable
        As for :func:`complete_matrix`.
    mask : boolean array (m, n), optional
        True where a dense `A` is observed.
    max_rank : int, optional
        Largest rank that is tried. By default 50, the smaller side less one, or the number of
        entries over ``m + n``, whichever is least.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        For the choice of the entries.

    Returns
    -------
    RankEstimate
        With the errors of all ranks; ``complete_matrix(A, rank_estimate(A))`` works.

    Raises
    ------
    TypeError, ValueError
        For data that :func:`complete_matrix` refuses, and a `max_rank` below 1 or above the smaller
        side.

    Notes
    -----
    An experience, not a theorem: components under the noise cannot be told from it. Storage: two
    copies of the entries by rows and by columns, and ``10 (m + n) k`` numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion import rank_estimate
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 50))
    >>> A[rng.random(A.shape) < 0.5] = np.nan
    >>> rank_estimate(A, rng=0).rank
    3
    """
    observed = observe(A, mask=mask)
    request = check_request(
        observed, None, solver="auto", alpha=0.0, loss="squared", loss_scale=None, bias=False,
        center=False, shrink=False, init="svd", warm_start=None, continuation=True, tol=None,
        max_sweeps=200, polish=True, max_rank=max_rank, validation=None, rng=rng, callback=None,
    )  # fmt: skip
    aside = held_out(observed, HELD_OUT, request.rng)
    growth = Growth(select(observed, ~aside), select(observed, aside), request).run()
    unit, errors, rank = observed.exponent, growth.errors, max(1, growth.best.rank)
    status = "limit" if rank == request.max_rank and len(errors) > 1 else "found"
    if errors[rank - 1] >= growth.size:
        status = "none"
    return RankEstimate(
        rank, tuple(range(1, len(errors) + 1)), tuple(ldexp_float(x, unit) for x in errors),
        ldexp_float(growth.size, unit), status,
    )  # fmt: skip
