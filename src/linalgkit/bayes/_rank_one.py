"""Sparse Bayesian learning of a vector of rank one, ``x = x_1 kron ... kron x_I``, mode by mode.

The posterior is approximated by independent factors ``q(x_1) ... q(x_I)``, each with a prior
``N(0, diag(gamma_i))``. Given the others, each mode is the problem of one vector
(:mod:`linalgkit.bayes._single`), whose evidence is that part of the lower bound of the evidence
that depends on it, so that the bound rises at every step::

    found = rank_one(model, price, unfolding_grams(model), noise_var)
    mean, variance = product_moments(found)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    numpy_namespace,
    widest_dtype,
)
from linalgkit._core.modes import mode_product, mode_products
from linalgkit._core.scaling import norm_fro
from linalgkit.bayes._model import Model, wide_host
from linalgkit.bayes._moves import Price
from linalgkit.bayes._single import Single, solve_single
from linalgkit.bayes._state import abs2

_HOST = numpy_namespace()
# Rounds of power iteration before the first sweep.
_POWER_ROUNDS = 20
_POWER_TOL = 1e-8
# Sweeps that search for supports; later ones start from the last support alone.
_SEARCHES = 2
# Below this share of the energy what the mean leaves is taken from the data themselves.
_SAFE_SHARE = 1e-6
# Tensors up to this size go on on the host.
_SMALL = 2**16
# Tensors of single precision are converted in parts of this size.
_SLAB = 2**19
# A rise of the bound below this share of it is rounding.
_ROUNDING = 1e-13
_FIRST_NOISE = 0.1  # of the mean square, with one mode, where no rank shows it


@dataclass(frozen=True, eq=False)
class RankOne:
    """What :func:`rank_one` returns, in the units of the model.

    Attributes
    ----------
    supports : list of host array (K_i,)
        Ascending indices, one array a mode; all empty where noise alone explains the data better.
    means : list of host array (K_i,)
        Posterior means of the factors on their supports.
    covariances : list of host array (K_i, K_i)
    gammas : list of host array (K_i,)
        Prior variances on the supports.
    snapshot_mean : host array (r,) or None
        Mean of the factor along the snapshots, in the coordinates of the model's data. None for
        a single snapshot.
    snapshot_variance : float
        Posterior variance of each of its entries; its covariance is a multiple of the identity.
    noise : float
        Noise variance.
    bound : float
        Lower bound of the log-evidence, in nats, with all constants.
    score : float
        `bound` less the price of the support.
    history : list of float
        The bound after each step.
    changes : list of int
        Positions in `history` at which a support changed.
    sweeps : int
    converged : bool
        Whether the last sweep raised the bound by less than the tolerance.
    """

    supports: list[Array]
    means: list[Array] = field(repr=False)
    covariances: list[Array] = field(repr=False)
    gammas: list[Array] = field(repr=False)
    snapshot_mean: Array | None = field(repr=False)
    snapshot_variance: float
    noise: float
    bound: float
    score: float
    history: list[float] = field(repr=False)
    changes: list[int] = field(repr=False)
    sweeps: int
    converged: bool


# "dKroSBL", the companion method of He and Joseph (arXiv:2307.14719): decompose the data into an
# outer product, then solve mode by mode. Differs from it:
# 1. The decomposition is not kept: modes are solved in turn, each from the data times the others'
#    posterior means, in the noise that their second moments leave (mean field).
# 2. Variances maximise the evidence of a mode exactly, and supports pay a price.
# 3. The noise variance may be unknown, and snapshots are a mode more, of prior variance one.
def rank_one(
    model: Model,
    price: Price,
    grams: Sequence[Array],
    noise_var: float | None,
    *,
    max_iter: int = 50,
    tol: float = 1e-6,
) -> RankOne:
    """Return the sparse Bayesian estimate of an x of rank one.

    Parameters
    ----------
    model : Model
        Where `Y` holds fewer columns than there are snapshots, the factor along them is in the
        coordinates of these columns.
    price : Price
    grams : sequence of host array (m_i, m_i)
        Gram matrices of the unfoldings.
    noise_var : float or None
        Known variance, or None to estimate it.
    max_iter : int, default 50
        Largest number of sweeps.
    tol : float, default 1e-6
        Sweeps end where one raises the bound by less than so many nats.

    Returns
    -------
    RankOne
        The factors' posteriors, and the bound. No support if noise alone scores higher.

    Notes
    -----
    Storage: the data over the length of their first or last axis, whichever is shorter (four MiB
    more in single precision), and one mode's problem. A sweep reads the data twice, and once more
    a step where all but 1e-6 of their energy is explained.

    References
    ----------
    .. [1] Y. He, G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery
       with application to IRS-MIMO channel estimation", arXiv:2307.14719.
    """
    if model.energy == 0:
        return _nothing(model, noise_var, [], [], 0)
    product = _Product(model, price, noise_var)
    product.start(grams, noise_var)
    history: list[float] = []
    changes: list[int] = []
    converged, sweeps = False, 0
    while sweeps < max_iter and not converged:
        before, changed = history[-1] if history else -math.inf, len(changes)
        product.sweep(sweeps < _SEARCHES, history, changes)
        sweeps += 1
        if product.is_empty:
            return _nothing(model, noise_var, history, changes, sweeps)
        if noise_var is None:
            product.estimate_noise(history)
        rise = history[-1] - before
        settled = changed == len(changes) and sweeps > _SEARCHES
        converged = settled and rise < tol + _ROUNDING * abs(history[-1])
    found = product.found(history, changes, sweeps, converged)
    nothing = _nothing(model, noise_var, history, changes, sweeps)
    return found if found.score > nothing.score else nothing


def product_moments(found: RankOne, rotation: Array | None = None) -> tuple[Array, Array]:
    """Return mean and variance of the entries of x on the support.

    Parameters
    ----------
    found : RankOne
    rotation : host array (r, L), optional
        The data are ``model.Y`` times this matrix of orthonormal rows: the answer is of L
        snapshots then, not of the r columns of the model.

    Returns
    -------
    mean, variance : host array (K_1, ..., K_I[, r or L])
        Of a product of independent factors; the variance is a sum of terms that are not negative.
    """
    means = list(found.means)
    variances = [C.diagonal().real for C in found.covariances]
    if found.snapshot_mean is not None:
        c = found.snapshot_mean
        means.append(c if rotation is None else c @ rotation)
        variances.append(_HOST.full(means[-1].shape, found.snapshot_variance))
    mean, square, variance = _HOST.ones(()), _HOST.ones(()), _HOST.zeros(())
    for m, v in zip(means, variances, strict=True):
        outer = _HOST.multiply.outer
        variance = outer(variance, abs2(m) + v) + outer(square, v)
        mean, square = outer(mean, m), outer(square, abs2(m))
    return mean, variance


# ------------------------------------------------------------------------------ alternation


class _Product:
    """Independent posteriors of all factors, and what the bound needs of each.

    Modes are numbered 0 to I - 1; with several snapshots mode I is the factor along them.
    """

    def __init__(self, model: Model, price: Price, noise_var: float | None) -> None:
        self.model = model
        self.noise = math.nan if noise_var is None else float(noise_var)
        self.prices = [functools.cache(functools.partial(price.of, i)) for i in range(model.modes)]
        self.price = price
        self.with_snapshots = model.snapshots > 1
        size = model.modes + self.with_snapshots
        self.fits: list[Array] = [None] * size  # H_i m_i
        self.squares = [0.0] * size  # E |H_i x_i|^2
        self.spreads = [0.0] * size  # what that is above the square of the mean
        self.divergences: list[float | None] = [None] * size
        self.singles: list[Single | None] = [None] * model.modes
        self.snapshot_variance = 0.0
        self.inner = 0.0  # real part of <H m, Y>

    @property
    def is_empty(self) -> bool:
        """Whether the fit is zero."""
        return any(square == 0 for square in self.squares)

    def start(self, grams: Sequence[Array], noise_var: float | None) -> None:
        """Take the best approximation of rank one to the data, without any prior."""
        model = self.model
        self.fits[: model.modes] = [_HOST.linalg.eigh(G)[1][:, -1] for G in grams]
        if self.with_snapshots:
            c = contracted(model, model.Y, self.fits, range(model.modes))
            self.fits[-1] = _unit(c, _HOST.ones(c.shape[0]))
        size = 0.0

        def power(i: int, data: Array) -> None:
            nonlocal size
            size = norm_fro(data, _HOST)
            self.fits[i] = _unit(data, self.fits[i])

        for _ in range(_POWER_ROUNDS):
            before = size
            sweep(model, self.fits, power)
            if size - before < _POWER_TOL * size:
                break
        self._scale(size)
        if noise_var is None:
            rest = (model.energy - size**2) / max(model.total - sum(model.sizes), 1)
            if len(self.fits) == 1:
                rest = _FIRST_NOISE * model.energy / model.total
            self.noise = max(rest, model.noise_floor)

    def _scale(self, size: float) -> None:
        """Give the approximation its size, in equal parts but for snapshots (variance one)."""
        modes, root = self.model.modes, 1.0
        if self.with_snapshots:
            root = math.sqrt(self.model.snapshots)
            self.fits[-1] = root * self.fits[-1]
        each = (size / root) ** (1 / modes)
        self.fits[:modes] = [each * u for u in self.fits[:modes]]
        self.squares = [float(abs2(u).sum()) for u in self.fits]

    # ------------------------------------------------------------------------------- steps

    def sweep(self, search: bool, history: list[float], changes: list[int]) -> None:
        """Solve every mode once, in turn."""

        def visit(i: int, data: Array) -> None:
            if self.is_empty:
                return
            before = self.singles[i] if i < self.model.modes else None
            self.solve(i, data, search)
            if i < self.model.modes and not _same_support(before, self.singles[i]):
                changes.append(len(history))
            if None not in self.divergences:
                history.append(self.bound())

        sweep(self.model, self.fits, visit)

    def solve(self, i: int, data: Array, search: bool) -> None:
        """Replace the posterior of one mode; `data` are Y times the others' conjugate means."""
        weight = math.prod(self.squares[:i] + self.squares[i + 1 :])
        noise = self.noise / weight
        if i < self.model.modes:
            self._solve_mode(i, data / weight, noise, search)
        else:
            self._solve_snapshots(data / weight, noise)
        self.inner = float(_HOST.vdot(self.fits[i], data).real)

    def _solve_mode(self, i: int, data: Array, noise: float, search: bool) -> None:
        H, kappa, before = self.model.factors[i], self.model.kappa, self.singles[i]
        gamma0 = None if before is None else before.gamma
        single = solve_single(H, data, noise, kappa, self.prices[i], gamma0, search)
        B, mean = H[:, single.support], single.mean[single.support]
        C, gamma = single.covariance, single.gamma[single.support]
        self.singles[i], self.fits[i] = single, B @ mean
        spread = float(((B @ C).conj() * B).real.sum())
        self.squares[i], self.spreads[i] = float(abs2(self.fits[i]).sum()) + spread, spread
        self.divergences[i] = kappa * _divergence(mean, C, gamma)

    def _solve_snapshots(self, data: Array, noise: float) -> None:
        L, kappa = self.model.snapshots, self.model.kappa
        c, variance = data / (1 + noise), noise / (1 + noise)
        square = float(abs2(c).sum())
        self.fits[-1], self.snapshot_variance = c, variance
        self.squares[-1], self.spreads[-1] = square + L * variance, L * variance
        self.divergences[-1] = kappa * (square + L * (variance - 1 - math.log(variance)))

    def estimate_noise(self, history: list[float]) -> None:
        """Take the noise variance that maximises the bound, above its floor."""
        self.noise = max(self.residual() / self.model.total, self.model.noise_floor)
        history.append(self.bound())

    # ------------------------------------------------------------------------------- bound

    def residual(self) -> float:
        """Return ``E |Y - H x|^2``, over all snapshots and outside the model's data too."""
        second = math.prod(self.squares)
        rest = self.model.energy - 2 * self.inner + second
        if rest > _SAFE_SHARE * self.model.energy:
            return rest
        extra, mean = 0.0, 1.0  # of the second moment above the mean, a sum of positive terms
        for u, square, spread in zip(self.fits, self.squares, self.spreads, strict=True):
            extra, mean = extra * square + mean * spread, mean * float(abs2(u).sum())
        return _explicit_rest(self.model, self.fits) + extra

    def bound(self) -> float:
        """Return the lower bound of the log-evidence."""
        model = self.model
        value = model.log_unit + math.log(self.noise)
        value += self.residual() / (model.total * self.noise)
        return -model.kappa * model.total * value - sum(
            d for d in self.divergences if d is not None
        )

    def found(
        self, history: list[float], changes: list[int], sweeps: int, converged: bool
    ) -> RankOne:
        """Return the answer."""
        singles = [single for single in self.singles if single is not None]
        supports = [single.support for single in singles]
        bound = history[-1]
        return RankOne(
            supports,
            [single.mean[single.support] for single in singles],
            [single.covariance for single in singles],
            [single.gamma[single.support] for single in singles],
            self.fits[-1] if self.with_snapshots else None,
            self.snapshot_variance,
            self.noise,
            bound,
            bound - self.price.total([s.shape[0] for s in supports]),
            history,
            changes,
            sweeps,
            converged,
        )


def _divergence(mean: Array, covariance: Array, gamma: Array) -> float:
    """Return the divergence of a posterior from its prior, over kappa."""
    if gamma.shape[0] == 0:
        return 0.0
    ratio = (abs2(mean) + covariance.diagonal().real) / gamma
    log_det = float(_HOST.linalg.slogdet(covariance)[1])
    return float((ratio - 1 + _HOST.log(gamma)).sum()) - log_det


def _same_support(before: Single | None, after: Single | None) -> bool:
    return (
        before is not None
        and after is not None
        and bool(_HOST.array_equal(before.support, after.support))
    )


def _nothing(
    model: Model,
    noise_var: float | None,
    history: list[float],
    changes: list[int],
    sweeps: int,
) -> RankOne:
    """Return the answer without any column."""
    noise = model.energy / model.total if noise_var is None else noise_var
    bound = model.log_evidence_of_noise(noise) if noise > 0 else math.inf
    dtype = _HOST.complex128 if model.is_complex else _HOST.float64
    modes = range(model.modes)
    columns = model.Y.shape[-1]
    return RankOne(
        [_HOST.zeros(0, dtype=_HOST.int64) for _ in modes],
        [_HOST.zeros(0, dtype=dtype) for _ in modes],
        [_HOST.zeros((0, 0), dtype=dtype) for _ in modes],
        [_HOST.zeros(0) for _ in modes],
        _HOST.zeros(columns, dtype=dtype) if model.snapshots > 1 else None,
        1.0 if model.snapshots > 1 else 0.0,
        noise,
        bound,
        bound,
        [*history, bound],
        [*changes, len(history)],
        sweeps,
        True,
    )


# ------------------------------------------------------------------------------------- data


def sweep(model: Model, vectors: list[Array], visit: Callable[[int, Array], None]) -> None:
    """Visit every mode with `Y` times the conjugates of all other vectors, the newest ones.

    Halves the modes again and again, so that the whole data are read twice and not I times.
    `visit` may replace the mode's own vector.
    """

    def descend(T: Array, low: int, high: int) -> None:
        if high - low == 1:
            visit(low, _HOST.reshape(wide_host(T), (-1,)))
            return
        middle = (low + high) // 2
        descend(_times(model, T, vectors, reversed(range(middle, high))), low, middle)
        descend(_times(model, T, vectors, range(low, middle)), middle, high)

    descend(model.Y, 0, len(vectors))


def contracted(model: Model, Y: Array, vectors: Sequence[Array], axes: Iterable[int]) -> Array:
    """Return `Y` times the conjugates of vectors along some axes, as a host vector."""
    return _HOST.reshape(wide_host(_times(model, Y, vectors, axes)), (-1,))


def _times(model: Model, T: Array, vectors: Sequence[Array], axes: Iterable[int]) -> Array:
    """Multiply along axes by the conjugates of vectors; what is small goes on on the host."""
    on_host = model.on_host or isinstance(T, _HOST.ndarray)
    xp, place = (_HOST, "cpu") if on_host else (model.xp, model.device)
    for axis in axes:
        row = _HOST.conj(vectors[axis])[None, :]
        T = _product(T, row, axis, xp, place)
        if xp is not _HOST and math.prod(T.shape) <= _SMALL:
            T, xp, place = wide_host(T), _HOST, "cpu"
    return T


def _product(T: Array, row: Array, axis: int, xp: Namespace, place: Device) -> Array:
    """Multiply along an axis in the widest dtype, a narrow tensor by slabs of its first axis."""
    wide = widest_dtype(xp, place, T.dtype)
    if xp is not _HOST:
        row = asarray(row, xp=xp, device=place, dtype=wide, copy=False)
    if T.dtype == wide:
        return mode_product(T, row, axis, xp)
    rows = int(T.shape[0])
    step = max(1, rows * _SLAB // math.prod(T.shape))
    parts = []
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = row[:, start:stop] if axis == 0 else row
        parts.append(mode_product(xp.astype(T[start:stop, ...], wide), part, axis, xp))
    return sum(parts[1:], parts[0]) if axis == 0 else xp.concat(parts, axis=0)


def _unit(vector: Array, otherwise: Array) -> Array:
    """Return a vector over its norm, or another one's where that is zero."""
    size = norm_fro(vector, _HOST)
    return vector / size if size > 0 else otherwise / norm_fro(otherwise, _HOST)


def _explicit_rest(model: Model, vectors: Sequence[Array]) -> float:
    """Return the energy of the data less the fit, from the residual, by slabs of the first mode."""
    rest = model.outside
    rows = model.sizes[0]
    step = max(1, rows // 16)
    columns = [model.tensor(v[:, None]) for v in vectors]
    one = model.tensor(_HOST.ones((1,) * model.Y.ndim, dtype=vectors[0].dtype))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        fitted = mode_products(one, [columns[0][start:stop, :], *columns[1:]], model.xp)
        rest += norm_fro(model.Y[start:stop, ...] - fitted, model.xp) ** 2
    return rest
