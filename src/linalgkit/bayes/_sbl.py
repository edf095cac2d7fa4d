"""Kronecker-structured sparse Bayesian learning: the one-shot function."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp_float
from linalgkit._core.validation import AccuracyWarning
from linalgkit.bayes._candidates import (
    Candidate,
    best_candidate,
    dense_candidate,
    rank_one_candidate,
    start_for,
)
from linalgkit.bayes._model import Model, Prepared, prepare
from linalgkit.bayes._modes import kronecker_data
from linalgkit.bayes._moves import Price, price_for
from linalgkit.bayes._request import Request, request
from linalgkit.bayes._result import KronSBLResult, Units, ldexp_each
from linalgkit.bayes._search import unfolding_grams

_HOST = numpy_namespace()
# An estimate within this factor of the floor is at the floor.
_AT_FLOOR = 10.0


@capability(
    "bayes.kron_sbl",
    synchronisations={"call": 20, "cycle": 6},
    notes=(
        "A cycle is one over all columns of two modes, of which there are at most `max_iter`; the "
        "columns that are left are worked on by the host."
    ),
)
def kron_sbl(
    factors: Sequence[Array],
    y: Array,
    *,
    noise_var: float | None = None,
    method: str = "auto",
    coupling: Any = None,
    gamma0: Any = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    prune: str | float | Sequence[float] | None = "evidence",
    penalty: str | float = "bic",
    restarts: int = 0,
    rng: Any = None,
    callback: Callable[[int, float], Any] | None = None,
) -> KronSBLResult:
    """Find a sparse unknown, seen through a Kronecker product, whose support is a product.

    The model is ``y = (H_1 kron ... kron H_I) x + noise``. The entries of `x` are independent,
    normal with mean zero, and the variance of an entry is the
    product of one hyperparameter of each mode; those that maximise the evidence of the data are
    mostly zero. Nothing of the size ``N = N_1 ... N_I`` of `x` is formed.

    Parameters
    ----------
    factors : list or tuple of array (M_i, N_i)
        Dictionaries of the modes, one or more, real or complex. Neither the unit nor the norm of a
        column matters; columns of zeros never enter.
    y : array (M_1, ..., M_I) or (M_1 ... M_I,)
        The data: the tensor where their shape begins so, else flat in C order; with an axis more,
        (L,), for snapshots that share their support. Of the library and device of the factors.
    noise_var : float, optional
        Variance of the noise in each number of `y` (complex: of its modulus), in the squared unit
        of `y`. None estimates it.
    method : {"auto", "mm", "jacobi", "am", "svd", "ecm", "ksbl"}
        ``"auto"`` looks for the support in the unfoldings of the data, refines it by evidence,
        tries an `x` of rank one where the unfoldings look so, starts a second time from all columns
        where the first support is doubtful and the problem small, and keeps what has the highest
        penalised evidence. The others start from all columns: ``"mm"`` maximises a lower bound of
        the evidence in one mode after another, ``"jacobi"`` in all modes from one pass, ``"ecm"``
        is EM one mode at a time. ``"am"``, ``"svd"`` and ``"ksbl"`` are the paper's algorithms,
        which form tensors of size N (:mod:`linalgkit.bayes.theory` has their settings).
    coupling : float, array (N_i, N_i), or list of these and None, optional
        Pattern coupling for supports in blocks: the variances of mode i are ``C_i`` times the
        hyperparameters, for a matrix that is not negative; a number b stands for the tridiagonal
        matrix of 1 and b. For all methods but "svd" and "ksbl"; "auto" is "mm" then.
    gamma0 : float or list of array (N_i,), optional
        Hyperparameters to start from, in the squared unit of `x` for their product; zeros stay out
        unless the evidence asks for them. With "auto", "mm" starts from them.
    max_iter : int, default 200
        Cycles of updates between two changes of the support, fifty times as many in all: to be
        raised where the status is "max_iter".
    tol : float, default 1e-6
        A climb ends where a cycle changes the product of the hyperparameters, in the 2-norm, and
        the noise variance by less than this share.
    prune : {"evidence"}, float, list or tuple of float, or None
        ``"evidence"`` removes a slice only at rest and only if the evidence falls by less than its
        price, and takes one in, now or again, if it rises by more. A float (one a mode) is the
        paper's rule: below that share of the largest of the mode, a hyperparameter is removed for
        good. None keeps all that are above rounding.
    penalty : "bic" or float
        Price of a slice in nats. ``"bic"``: ``1/2 log n + log N_i`` for n real numbers of data and
        the N_i columns of its mode (extended information criterion [2]_).
    restarts : int, default 0
        With "auto", further candidates: one from all columns under a falling noise variance, the
        others from random hyperparameters.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of random restarts.
    callback : callable, optional
        Called as ``callback(n_iter, evidence)`` after the cycles of every candidate, each of which
        counts its own, with the evidence in working units (it differs from the result's by a
        constant). Trials of exchanges count, but are not reported.

    Returns
    -------
    KronSBLResult
        Hyperparameters, support, posterior mean, noise variance, evidence; variances, predictions.

    Raises
    ------
    TypeError
        For arguments of a wrong kind, a single matrix as `factors`, and mixed libraries.
    ValueError
        If shapes do not fit, numbers are not finite or out of range, no hyperparameter is positive
        at a column that is not zero, or a coupling is given to a method without one.
    MemoryError
        If "am", "svd" or "ksbl" would form more than 1 GiB.

    Warns
    -----
    AccuracyWarning
        If the stopping rule was not met, the noise estimate ended at rounding level, all was taken
        for noise, or a mode keeps as many columns as it has rows, which is not sparse.

    See Also
    --------
    kron_sbl_rank_one : for an `x` of rank one.
    kron_omp : greedy, without posterior, for a known number of slices or noise level.
    KronSBL : the same with snapshots in blocks.

    Notes
    -----
    The answer is a place where no slice can be removed or taken in by itself, and none exchanged as
    far as it was tried, with profit in the penalised evidence: a local optimum, as every known
    method finds. The evidence rises but where `changes` says so (and not for "svd", and "am" with
    a coupling). Multiplying `y` or columns by powers of two changes the answer by these powers, to
    the bit (not single columns with "am", "svd" and "ksbl", whose fits and thresholds are in their
    unit).

    Storage: one copy of `y` in its own precision, ``2 sum_i M_i N_i`` numbers, and for "auto" the
    tensor of one product of `y` with thin bases. The other methods hold about three tensors of the
    size of `y` in the widest dtype of the device. On a device "auto" reads back ``M_i**2`` numbers
    a mode and small tensors, with a few synchronisations a change of the support; the other methods
    synchronise up to twice a mode and cycle, and once for the noise.

    References
    ----------
    .. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery
       with application to IRS-MIMO channel estimation", arXiv:2307.14719.
    .. [2] J. Chen, Z. Chen, "Extended Bayesian information criteria for model selection with large
       model spaces", Biometrika 95 (2008).

    Examples
    --------
    A thousand unknowns from 240 numbers, neither the sparsity nor the noise being told:

    >>> from linalgkit.bayes import kron_sbl
    >>> from linalgkit.datasets import kronecker_sparse
    >>> problem = kronecker_sparse((10, 10, 10), (5, 6, 8), (2, 2, 2), snr_db=20.0, rng=0)
    >>> result = kron_sbl(problem.factors, problem.y)
    >>> [s.tolist() for s in result.support] == [s.tolist() for s in problem.support]
    True
    >>> result.status
    'converged'
    """
    prepared = prepare(kronecker_data(factors, y))
    asked = request(
        prepared, noise_var=noise_var, method=method, coupling=coupling, gamma0=gamma0,
        max_iter=max_iter, tol=tol, prune=prune, penalty=penalty, restarts=restarts, rng=rng,
        callback=callback,
    )  # fmt: skip
    return solve(prepared, asked)


def best_of_method(model: Model, asked: Request, price: Price) -> Candidate:
    """Return the answer of the method asked for."""
    plain = asked.method == "auto" and asked.gamma0 is None and asked.couplings is None
    if plain and asked.by_evidence:
        return best_candidate(model, asked, price)
    method = "mm" if asked.method == "auto" else asked.method
    return dense_candidate(model, asked, price, method, start_for(model, asked))


def best_of_rank_one(model: Model, asked: Request, price: Price) -> Candidate:
    """Return the answer of rank one."""
    return rank_one_candidate(model, asked, price, unfolding_grams(model))


def solve(
    prepared: Prepared,
    asked: Request,
    best_of: Callable[[Model, Request, Price], Candidate] = best_of_method,
    method: str | None = None,
) -> KronSBLResult:
    """Return the answer to checked arguments; `method` names that of an empty one."""
    model = prepared.model
    price = price_for(asked.penalty, model)
    if method is None:
        method = "mm" if asked.method == "auto" else asked.method
    if model.energy == 0 or any(not bool((n > 0).any()) for n in prepared.norms):
        return empty_result(prepared, asked, method)
    best = best_of(model, asked, price)
    is_empty = any(not bool((g > 0).any()) for g in best.gammas)
    if is_empty or (asked.by_evidence and best.score <= _of_noise(model, asked)):
        warn_empty()
        return empty_result(prepared, asked, method)
    result = result_of(prepared, asked, best)
    warn_of(result, asked)
    return result


def warn_empty() -> None:
    """Warn that nothing but noise was found in data that are not zero."""
    warnings.warn(
        "no column raises the evidence by its price: all of y is taken for noise, and the answer "
        "is zero. If there is signal, look at the unit of noise_var (a variance), or lower the "
        "penalty.",
        AccuracyWarning,
        stacklevel=4,
    )


def warn_of(result: KronSBLResult, asked: Request) -> None:
    """Warn of an answer that is weaker than asked."""
    text = ""
    if result.status == "max_iter":
        text = (
            f"the hyperparameters still changed after {asked.max_iter} cycles (kkt_residual "
            f"{result.kkt_residual:.1e}). Raise max_iter, or tol."
        )
    elif result.status == "noise_floor":
        text = (
            "the noise variance ended at rounding level: the data are interpolated, and variances "
            "mean nothing. Give noise_var if there is noise."
        )
    sizes = result._units.prepared.data.sizes
    full = [
        i
        for i, (k, m, n) in enumerate(zip(result.shape, sizes, result.widths, strict=True))
        if k >= m < n and m > 1
    ]
    if asked.by_evidence and full and not text:
        i = full[0]
        text = (
            f"factors[{i}] keeps {result.shape[i]} columns for its {sizes[i]} rows: that is not "
            "sparse. The order of y or of the factors may be another, y may have an offset, "
            "noise_var may be too small, or the support is no product."
        )
    if text:
        warnings.warn(text, AccuracyWarning, stacklevel=4)


def _of_noise(model: Model, asked: Request) -> float:
    """Return the log-evidence of noise alone."""
    noise = model.energy / model.total if asked.noise_var is None else asked.noise_var
    return model.log_evidence_of_noise(noise)


def unit_shift(model: Model, exponent: int) -> float:
    """Return what the log-density of the caller's data adds to that of the working ones."""
    return -2 * model.kappa * model.total * exponent * math.log(2.0)


def result_of(prepared: Prepared, asked: Request, best: Candidate) -> KronSBLResult:
    """Return a candidate in the caller's units."""
    model, units, exponent = prepared.model, Units.of(prepared), prepared.exponent
    columns = [_HOST.flatnonzero(g > 0) for g in best.gammas]
    core = units.descaled(best.posterior.mean(), columns, 1)
    if not prepared.data.has_snapshots:
        core = core[..., 0]
    shift = unit_shift(model, exponent)
    status = "converged" if best.converged else "max_iter"
    if asked.noise_var is None and best.noise <= _AT_FLOOR * model.noise_floor:
        status = "noise_floor"
    return KronSBLResult(
        gamma=_in_units(best.gammas, units),
        support=[units.indices(c) for c in columns],
        coef=units.kept(core),
        noise_var=_noise_in_units(best.noise, exponent) if asked.given is None else asked.given,
        evidence=_HOST.asarray(best.history.evidence) + shift,
        changes=tuple(best.history.changes),
        n_iter=best.history.cycles,
        kkt_residual=best.kkt,
        excluded_gain=best.gain,
        price=price_for(asked.penalty, model).each,
        score=best.score + shift,
        method=best.method,
        status=status,
        _units=units,
        _posterior=best.posterior,
    )


def _in_units(gammas: Sequence[Array], units: Units) -> list[Array]:
    """Return prior variances in the caller's units, of one size in all modes."""
    mantissas, exponents = [], []
    for i, gamma in enumerate(gammas):
        norms = units.prepared.norms[i]
        mantissas.append(gamma / _HOST.where(norms > 0, norms, 1.0) ** 2)
        exponents.append(-2 * units.prepared.exponents[i])
    sizes = [_largest_exponent(m, e) for m, e in zip(mantissas, exponents, strict=True)]
    mean = (sum(sizes) + 2 * units.exponent) // len(sizes)
    shifts = [mean - s for s in sizes]
    shifts[0] += 2 * units.exponent - sum(shifts)
    return [
        units.real(ldexp_each(m, e + s))
        for m, e, s in zip(mantissas, exponents, shifts, strict=True)
    ]


def _largest_exponent(mantissas: Array, exponents: Array) -> int:
    """Return the exponent of the largest of numbers ``m * 2**e``, not all zero."""
    logs = _HOST.log2(_HOST.where(mantissas > 0, mantissas, 1.0)) + exponents
    return math.floor(float(_HOST.max(logs[mantissas > 0])))


def _noise_in_units(noise: float, exponent: int) -> float:
    """Return an estimated variance in the caller's unit."""
    value = ldexp_float(noise, 2 * exponent)
    if not math.isfinite(value):
        raise ValueError(
            "y must be so small that the variance of its noise is a float64, got a variance of "
            f"{noise:.3g} * 2**{2 * exponent}. Divide y by a power of ten first."
        )
    return value


def empty_result(prepared: Prepared, asked: Request, method: str) -> KronSBLResult:
    """Return the answer that all is noise."""
    model, units = prepared.model, Units.of(prepared)
    modes, nothing = model.modes, _HOST.zeros(0, dtype=_HOST.int64)
    noise = model.energy / model.total if asked.noise_var is None else asked.noise_var
    evidence = math.nan
    if noise > 0:
        evidence = model.log_evidence_of_noise(noise) + unit_shift(model, prepared.exponent)
    shape = (0,) * modes + ((model.snapshots,) if prepared.data.has_snapshots else ())
    dtype = _HOST.complex128 if model.is_complex else _HOST.float64
    return KronSBLResult(
        gamma=[units.real(_HOST.zeros(n)) for n in model.widths],
        support=[units.indices(nothing) for _ in range(modes)],
        coef=units.kept(_HOST.zeros(shape, dtype=dtype)),
        noise_var=_noise_in_units(noise, prepared.exponent) if asked.given is None else asked.given,
        evidence=_HOST.asarray([evidence]),
        changes=(),
        n_iter=0,
        kkt_residual=0.0,
        excluded_gain=math.nan,
        price=price_for(asked.penalty, model).each,
        score=evidence,
        method=method,
        status="empty",
        _units=units,
        _posterior=None,
    )


@capability("bayes.kron_sbl_rank_one", synchronisations={"call": 14, "cycle": 2})
def kron_sbl_rank_one(
    factors: Sequence[Array],
    y: Array,
    *,
    noise_var: float | None = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    penalty: str | float = "bic",
    callback: Callable[[int, float], Any] | None = None,
) -> KronSBLResult:
    """Find a sparse unknown of rank one, a Kronecker product of vectors, mode by mode.

    The data are decomposed into one vector a mode, and each is a small sparse problem, solved in
    turn given the posterior of the others.

    Parameters
    ----------
    factors : list or tuple of array (M_i, N_i)
        Dictionaries of the modes.
    y : array (M_1, ..., M_I) or (M_1 ... M_I,)
        The data; with an axis more, (L,), for snapshots ``x_1 kron ... kron x_I`` times a number
        each.
    noise_var : float, optional
        Variance of the noise; None estimates it.
    max_iter : int, default 200
        Largest number of sweeps over the modes.
    tol : float, default 1e-6
        Sweeps end where one raises the bound by less than so many nats.
    penalty : "bic" or float
        Price of a slice, as in :func:`kron_sbl`.
    callback : callable, optional
        Called as ``callback(n_iter, bound)`` once, at the end.

    Returns
    -------
    KronSBLResult
        Its ``evidence`` is a lower bound, and its posterior that of independent factors.

    Raises
    ------
    TypeError, ValueError
        As :func:`kron_sbl`.

    Warns
    -----
    AccuracyWarning
        As :func:`kron_sbl`.

    See Also
    --------
    kron_sbl : tries this too, and keeps it if the evidence is higher.

    Notes
    -----
    The bound rises but where a support changes or a lower price asks for it. With ``sum K_i``
    unknowns in place of ``prod K_i`` the error is far below that of least squares on the true
    support, if `x` is of rank one; if it is not, the answer is wrong, and its ``score`` below that
    of :func:`kron_sbl`. Posterior variances leave out the scales and phases that factors may
    exchange, which do not change `x`.

    Storage: one copy of `y`, ``sum_i M_i (M_i + N_i)`` numbers and half a tensor like `y`.

    References
    ----------
    .. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery
       with application to IRS-MIMO channel estimation", arXiv:2307.14719.
    .. [2] M. Tipping, A. Faul, "Fast marginal likelihood maximisation for sparse Bayesian models",
       AISTATS 2003.

    Examples
    --------
    >>> from linalgkit.bayes import kron_sbl_rank_one
    >>> from linalgkit.datasets import kronecker_sparse
    >>> problem = kronecker_sparse((15, 15), (8, 12), (3, 3), snr_db=20.0, rank_one=True, rng=3)
    >>> result = kron_sbl_rank_one(problem.factors, problem.y)
    >>> problem.nmse(result.coef, result.support) < problem.nmse(problem.oracle())
    True
    """
    prepared = prepare(kronecker_data(factors, y))
    asked = request(
        prepared, noise_var=noise_var, method="auto", coupling=None, gamma0=None,
        max_iter=max_iter, tol=tol, prune="evidence", penalty=penalty, restarts=0, rng=None,
        callback=callback,
    )  # fmt: skip
    return solve(prepared, asked, best_of_rank_one, "rank_one")
