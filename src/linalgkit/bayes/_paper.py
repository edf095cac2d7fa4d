"""The maximisation steps of the paper: prior variances of product form for given second moments.

``Lam`` holds the posterior mean squares of the unknown, averaged over snapshots. Expectation
maximisation asks for the minimum of ``sum log gamma + Lam / gamma`` over ``gamma = gamma_1 kron
... kron gamma_I``::

    gammas, sweeps = exact_m_step(Lam, gammas, tol=1e-5)     # AM-KroSBL
    gammas = svd_m_step(Lam)                                 # SVD-KroSBL, of another objective
    paper_cycle(state, "am", estimate_noise=True)            # one iteration

Unlike the other rules these need tensors of the size of the unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import scipy.optimize

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._posterior import second_moments
from linalgkit.bayes._state import State
from linalgkit.bayes.theory import COUPLING_FLOOR, COUPLING_SWEEPS, INNER_TOLERANCE

_HOST = numpy_namespace()
_MAX_SWEEPS = 500


# He and Joseph, arXiv:2307.14719: AM-KroSBL, SVD-KroSBL, PC-KroSBL, with KSBL as one sweep of the
# first. Differs from the paper and the scripts of its authors:
# 1. The inner tolerance is relative (a bound on the change of the whole gamma over its norm,
#    from the factors); the paper's is absolute and hangs on the unit of the data.
# 2. Leading singular vectors come from the smaller Gram matrix and one step of the power method
#    on it, not from a full decomposition.
# 3. The floor of PC-KroSBL is a share of the norm of the mode's marginal, and is a part of the
#    latent hyperparameters: each is raised by floor / (largest row sum of C), which adds the
#    floor where a column has all its neighbours and a little less elsewhere.
# 4. Columns are of unit norm (by `_model`) unless `paper_cycle` is told their norms. That changes
#    nothing in AM-KroSBL and KSBL; SVD-KroSBL fits other numbers, and so does PC-KroSBL by least
#    squares.
# 5. Columns whose latent hyperparameter has been pruned do not come back.
# 6. AM-KroSBL is tensor Sinkhorn scaling: log gamma minimises a convex function, so that
#    the answer does not depend on the start, up to the split of the scale between the modes.
def exact_m_step(
    Lam: Array, gammas: Sequence[Array], tol: float, max_sweeps: int = _MAX_SWEEPS
) -> tuple[list[Array], int]:
    """Minimise ``sum log gamma + Lam / gamma`` over the modes in turn.

    Parameters
    ----------
    Lam : host array (n_1, ..., n_I)
        Not negative.
    gammas : sequence of host array (n_i,)
        Where to start; zeros are out.
    tol : float
        Relative change of ``gamma_1 kron ... kron gamma_I`` in a sweep at which to stop.
    max_sweeps : int, default 500
        1 is the step of KSBL.

    Returns
    -------
    list of host array, int
        The factors, all but the last of unit norm, and the number of sweeps.
    """
    gammas = _unit_norms(gammas)
    sweeps = 0
    while sweeps < max_sweeps:
        before, sweeps = list(gammas), sweeps + 1
        for i in range(len(gammas)):
            gammas[i] = marginal(Lam, gammas, i)
        gammas = _unit_norms(gammas)
        if _change(before, gammas) <= tol:
            break
    return gammas, sweeps


def marginal(Lam: Array, gammas: Sequence[Array], i: int) -> Array:
    """Return the mean over the other modes of ``Lam / gamma``, (n_i,).

    Modes are contracted from the ends, where no copy of the tensor is needed.
    """
    T = Lam
    for k in reversed(range(i + 1, len(gammas))):
        T = T.reshape(-1, T.shape[-1]) @ _mean_of_inverse(gammas[k])
        T = T.reshape(Lam.shape[:k])
    for k in range(i):
        T = _mean_of_inverse(gammas[k]) @ T.reshape(T.shape[0], -1)
        T = T.reshape(Lam.shape[k + 1 : i + 1])
    return _HOST.where(gammas[i] > 0, T, 0.0)


def svd_m_step(Lam: Array) -> list[Array]:
    """Return factors by leading singular vectors, one mode after the other.

    Parameters
    ----------
    Lam : host array (n_1, ..., n_I)
        Not negative.

    Returns
    -------
    list of host array (n_i,)
        ``|u_1|`` of the first unfolding, then those of ``s_1 |v_1|``, which the last holds itself.
    """
    found, rest = [], Lam
    while rest.ndim > 1:
        u, tail = _leading_pair(rest.reshape(rest.shape[0], -1))
        found.append(u)
        rest = tail.reshape(rest.shape[1:])
    return [*found, rest]


def coupled_m_step(
    Lam: Array,
    latents: Sequence[Array],
    couplings: Sequence[Array | None],
    floor: float = COUPLING_FLOOR,
    sweeps: int = COUPLING_SWEEPS,
    tol: float = INNER_TOLERANCE,
) -> list[Array]:
    """Alternate over the modes, and fit ``C gamma`` to the marginal by least squares where coupled.

    Parameters
    ----------
    Lam : host array (n_1, ..., n_I)
        Not negative.
    latents : sequence of host array (p_i,)
        Where to start; the variances are ``C_i latents[i]``, or the latents where `C_i` is None.
    couplings : sequence of host array (n_i, p_i) or None
        Not negative.
    floor : float, default 1e-5
        What the variances keep, over the norm of the marginal.
    sweeps : int, default 10
        The most there are.
    tol : float, default 1e-5
        As in :func:`exact_m_step`.

    Returns
    -------
    list of host array (p_i,)
        New latents.
    """
    latents = list(latents)
    variances = [_coupled(C, g) for C, g in zip(couplings, latents, strict=True)]
    for _ in range(sweeps):
        before = list(variances)
        for i, C in enumerate(couplings):
            found = marginal(Lam, variances, i)
            size = _norm(found)
            if i < len(latents) - 1 and size > 0:
                found, size = found / size, 1.0
            latents[i] = found if C is None else _fit(C, found, floor * size)
            variances[i] = _coupled(C, latents[i])
        if _change(before, variances) <= tol:
            break
    return latents


def paper_cycle(
    state: State,
    kind: str,
    *,
    estimate_noise: bool,
    inner_tol: float = INNER_TOLERANCE,
    squares: Sequence[Array] | None = None,
) -> None:
    """Take one iteration of expectation maximisation.

    Parameters
    ----------
    state : State
        Changed in place.
    kind : {"am", "ksbl", "svd", "pc"}
        The maximisation step; with a coupling that of "pc" in any case.
    estimate_noise : bool
        Whether the noise variance is updated, from the posterior before the step.
    inner_tol : float, default 1e-5
        Of the alternation.
    squares : sequence of host array (n_i,), optional
        Squared norms that the columns had: the step is then taken in their units.
    """
    Lam = second_moments(state)
    noise = _em_noise(state) if estimate_noise else state.noise
    on = [state.variances(i) > 0 for i in range(state.model.modes)]
    # Of a coupled mode the variances that are in depend on the latents that have not been pruned.
    kept = [
        o if C is None else g > 0 for o, C, g in zip(on, state.couplings, state.gammas, strict=True)
    ]
    start = [g[k] for g, k in zip(state.gammas, kept, strict=True)]
    parts = [
        None if C is None else C[o, :][:, k]
        for o, C, k in zip(on, state.couplings, kept, strict=True)
    ]
    found = _in_units(Lam, start, parts, kind, inner_tol, squares, on)
    state.set_all([_spread(new, k) for new, k in zip(found, kept, strict=True)], noise)


def _in_units(
    Lam: Array,
    start: list[Array],
    couplings: list[Array | None],
    kind: str,
    tol: float,
    squares: Sequence[Array] | None,
    on: Sequence[Array],
) -> list[Array]:
    """Take the maximisation step for columns of the given squared norms."""
    if squares is None:
        return _m_step(Lam, start, couplings, kind, tol)
    sizes = [s[o] for s, o in zip(squares, on, strict=True)]
    for i, s in enumerate(sizes):
        Lam = Lam / s.reshape(-1, *([1] * (len(sizes) - 1 - i)))
    units = [s if C is None else 1.0 for s, C in zip(sizes, couplings, strict=True)]
    start = [g / u for g, u in zip(start, units, strict=True)]
    couplings = [
        None if C is None else C / s[:, None] for C, s in zip(couplings, sizes, strict=True)
    ]
    found = _m_step(Lam, start, couplings, kind, tol)
    return [g * u for g, u in zip(found, units, strict=True)]


def _m_step(
    Lam: Array, start: list[Array], couplings: list[Array | None], kind: str, tol: float
) -> list[Array]:
    """Take the maximisation step of one kind."""
    if any(C is not None for C in couplings):
        return coupled_m_step(Lam, start, couplings, tol=tol)
    if kind == "svd":
        return svd_m_step(Lam)
    return exact_m_step(Lam, start, tol, 1 if kind == "ksbl" else _MAX_SWEEPS)[0]


def _spread(values: Array, kept: Array) -> Array:
    """Return a vector with values where `kept` is True, and zeros elsewhere."""
    whole = _HOST.zeros(kept.shape[0])
    whole[kept] = values
    return whole


def _em_noise(state: State) -> float:
    """Return the noise variance that maximises the expected log-density."""
    sums, model = state.noise_sums(), state.model
    return max((sums.residual + state.noise * sums.used) / model.count, model.noise_floor)


def _leading_pair(A: Array) -> tuple[Array, Array]:
    """Return ``u_1`` and ``s_1 v_1`` of a matrix that is not negative, both not negative.

    All products are of numbers that are not negative: small entries keep their digits.
    """
    if A.shape[0] <= A.shape[1]:
        u = abs(_HOST.linalg.eigh(A @ A.T)[1][:, -1])
        v = u @ A
    else:
        v = abs(_HOST.linalg.eigh(A.T @ A)[1][:, -1])
    u = A @ v
    size = _norm(u)
    u = u / size if size > 0 else _HOST.zeros(A.shape[0])
    return u, u @ A


def _fit(C: Array, target: Array, floor: float) -> Array:
    """Return latents, not negative, whose variances fit a target in the least squares sense."""
    largest = float(_HOST.max(_HOST.sum(C, axis=1)))
    size = _norm(target)
    if size == 0:
        return _HOST.zeros(C.shape[1])
    fitted, _ = scipy.optimize.nnls(C, target / size)
    return fitted * size + floor / largest


def _coupled(C: Array | None, latent: Array) -> Array:
    """Return variances."""
    return latent if C is None else C @ latent


def _mean_of_inverse(gamma: Array) -> Array:
    """Return the weights ``1 / (n gamma)`` of a mean over a mode, zero where gamma is."""
    on = gamma > 0
    return _HOST.where(on, 1 / _HOST.where(on, gamma * _HOST.sum(on), 1.0), 0.0)


def _norm(vector: Array) -> float:
    """Return the 2-norm."""
    return float(_HOST.linalg.vector_norm(vector))


def _unit_norms(gammas: Sequence[Array]) -> list[Array]:
    """Return factors of the same product, all but the last of unit norm."""
    sizes = [_norm(g) or 1.0 for g in gammas[:-1]]
    first = [g / size for g, size in zip(gammas[:-1], sizes, strict=True)]
    return [*first, gammas[-1] * math.prod(sizes)]


def _change(before: Sequence[Array], after: Sequence[Array]) -> float:
    """Return a bound on the relative change of the product, by directions and scale."""
    total, scale = 0.0, 0.0
    for old, new in zip(before, after, strict=True):
        size, size_new = _norm(old), _norm(new)
        if size == 0 or size_new == 0:
            return 0.0 if size == size_new else math.inf
        total += _norm(new / size_new - old / size)
        scale += math.log(size_new / size)
    return total + abs(scale)
