"""The sweeps of variational Bayes: derivation, model, half steps.

Model: ``a_ij = u_i . w_j + b_i + c_j + mean + noise`` with independent Gaussians: noise of
variance ``s2 / weight``, ``u_iq`` of variance ``v_q`` and ``w_jq`` of variance ``v'_q`` for each
component q, biases of variances of their own (circular where complex). Posterior means and
variances, all prior variances and ``s2`` maximise the bound F of the likelihood::

    -2 F = N log s2 + E / s2 + sum_iq [(|u_iq|^2 + c_iq) / v_q + log v_q - log c_iq - 1]
           + the same for w_jq with variances d_jq and v'_q
    E    = sum_t w_t [|y_t - u_i . w_j|^2 + sum_q (|u_iq|^2 d_jq + |w_jq|^2 c_iq + c_iq d_jq)]

over distributions in which all numbers are independent, ``u_iq`` of variance c_iq and ``w_jq`` of
variance d_jq about their means (mean-field variational Bayes, automatic relevance determination).
Each block has a minimiser of closed form:

* means of a line: ridge regression on the means of the other side with the ridge
  ``s2 / v_q + sum_t w_t d_jq``;
* ``c_iq = s2 / (sum_t w_t (|w_jq|^2 + d_jq) + s2 / v_q)``;
* ``v_q = mean_i (|u_iq|^2 + c_iq)`` over the lines with entries; ``s2 = E / N``.

Approximations, each of which saves a factor k or a pass over the entries:

1. ``sum_t w_t (|w_jq|^2 + d_jq)`` is ``p_i (e_q + d_q)`` with the popularity ``p_i = sum_t w_t``
   and the popularity-weighted means e_q, d_q over all lines. Variances are then known for each
   class of popularity, and nothing of the size of a factor is kept. (Exact if all is observed.)
2. The means are improved by a few steps of conjugate gradients from the last ones (`pcg_rows`).
3. Independence depends on the basis. Before each half step ``U <- U T, W <- W T^-T`` makes both
   popularity-weighted second-moment matrices diagonal and equal, where the coupling of the
   components is least; of rotated prior and posterior covariances the diagonal is kept.
4. The bound has a local optimum at zero for each component: one that dies while the noise is
   still overestimated would never return. So ``v_q v'_q >= s2 / (2 sqrt(p p'))`` is held, p and
   p' the mean popularities. The ridges of a *dormant* component at this limit, ``s2 / v + p v'``
   and ``s2 / v' + p' v``, let it grow only if its singular value is above 1.06 times the edge of
   the noise, ``sqrt(s2) (sqrt(p) + sqrt(p'))`` for p = p'. Its own variances c d are left out of
   E. Dormant components without energy are removed once the noise has settled.

Biases are components of which one side is fixed at one. W is kept of popularity-weighted mean zero
for the rows' half step, and U for the columns': ``u_i . w`` of the mean w goes to the row bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    eps,
    index_dtype,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._kernels.observed import Lines, gather_sum, pcg_rows
from linalgkit.completion._factors import Factors, constant_column, residual_energy
from linalgkit.completion._observed import Observed
from linalgkit.completion._variances import (
    Popularity,
    common_basis,
    popularity,
    second_moments,
    squares,
    weighted_mean,
)

_HOST = numpy_namespace()
_STEPS = 3  # of conjugate gradients in a half step
_FIRST_NOISE = 0.02  # part of the data that the noise is taken for at first
_OPEN = 0.5  # variance of a dormant component over that which meets the edge of the noise
_DEAD = 1e-3  # energy of a component that is removed, over that of the largest one of noise
_EXACT = 1e-18  # noise variance over the mean square of the data, at most, of exact ones
_ROUNDING = 16.0  # floors of the noise variance, at most, that are rounding
SETTLED = 1e-2  # relative change of the noise in a sweep below which components are removed


@dataclass(eq=False)
class Side:
    """One side of the model: its pattern, its factor and all that is estimated about it."""

    lines: Lines
    values: Array
    weights: Array | None
    crowd: Popularity
    factor: Array
    bias: Array | None
    moments: Array  # popularity-weighted second moments of the means, host (k, k)
    prior: Array  # prior variances, host (k,)
    spread: Array  # popularity-weighted mean posterior variances, host (k,)
    bias_prior: float = 0.0
    bias_spread: float = 0.0

    @property
    def energy(self) -> Array:
        """Popularity-weighted mean squares of the means, host (k,)."""
        return _HOST.diagonal(self.moments).real.copy()


@dataclass(eq=False)
class Model:
    """Both sides and the noise."""

    observed: Observed
    rows: Side
    columns: Side
    mean: complex
    noise2: float  # variance of an entry of weight one
    floor: float  # of it: rounding
    exact: float  # of it: below, data that are fitted to rounding are without noise
    dormant: Array  # components whose variances are held open, host (k,)
    singular: Array | None = None  # singular values in the metric of the popularity
    residual2: float = math.inf  # mean square of the residuals

    def factors(self) -> Factors:
        """Return the posterior means."""
        return Factors(
            self.rows.factor, self.columns.factor, self.rows.bias, self.columns.bias, self.mean
        )


# ------------------------------------------------------------------------------------ start


def started(observed: Observed, start: Factors, *, biased: bool) -> Model | None:
    """Return the model before the first sweep; None for data that are zero."""
    xp, like = observed.xp, start.U
    level, one = constant_column(like, start.mean, xp), constant_column(start.W, 1.0, xp)
    energy = residual_energy(observed, Factors(level, one))
    if energy == 0.0:
        return None
    rows = _side(observed, True, start, biased)
    columns = _side(observed, False, start, biased)
    signal = energy / rows.crowd.total
    _fit_scale(rows, columns, signal)
    for side in (rows, columns):
        side.bias_prior = signal / 4
    square = energy / observed.count
    floor = (4 * eps(xp, real_dtype(xp, like.dtype))) ** 2 * square
    noise2 = max(_FIRST_NOISE * square, floor)
    dormant = _HOST.zeros(start.rank, dtype=bool)
    exact = _EXACT * square
    return Model(observed, rows, columns, start.mean, noise2, floor, exact, dormant)


def _side(observed: Observed, of_rows: bool, start: Factors, biased: bool) -> Side:
    """Return one side with the second moments of its start."""
    xp = observed.xp
    lines = observed.rows if of_rows else observed.columns
    values = observed.row_values if of_rows else observed.column_values
    weights = observed.row_weights if of_rows else observed.column_weights
    model = start if of_rows else start.transposed()
    sums = lines.lengths.astype(_HOST.float64)
    if weights is not None:
        ones = xp.ones((lines.n_other, 1), dtype=weights.dtype, device=observed.device)
        sums = to_numpy(gather_sum(xp, lines, weights, ones))[:, 0].astype(_HOST.float64)
    kind = real_dtype(xp, model.U.dtype)
    crowd = popularity(sums, xp, observed.device, kind)
    moments, total = second_moments(model.U, crowd.share, xp)
    bias = None
    if biased:
        zeros = xp.zeros((lines.n_lines,), dtype=model.U.dtype, device=observed.device)
        bias = zeros if model.row_bias is None else model.row_bias
    none = _HOST.zeros(model.rank)
    return Side(lines, values, weights, crowd, model.U, bias, moments, total / crowd.lines, none)


def _fit_scale(rows: Side, columns: Side, signal: float) -> None:
    """Give a side that starts at zero the variance which explains the data."""
    for side, other in ((rows, columns), (columns, rows)):
        k = side.prior.shape[0]
        if k and not side.prior.any():
            size = float(other.energy.sum())
            side.prior = _HOST.full(k, signal / size if size else 1.0)


# ---------------------------------------------------------------------------------- a sweep


def half_step(model: Model, side: Side, other: Side) -> None:
    """Update means and variances of one side."""
    if side.moments.any() and other.moments.any():
        _rotate(model)
    _solve(model, side, other)
    if side.bias is not None:
        _centre(side, other, model.observed.xp)
    _update_variances(model, side, other)
    _hold_open(model)


def _rotate(model: Model) -> None:
    """Bring both factors to their common basis."""
    rows, columns, xp = model.rows, model.columns, model.observed.xp
    T, inverse, energies = common_basis(
        rows.moments + _HOST.diag(rows.spread), columns.moments + _HOST.diag(columns.spread)
    )
    model.singular = _HOST.sqrt(energies)
    for side, basis in ((rows, T), (columns, inverse.T)):
        small = asarray(basis, xp=xp, device=device(side.factor), dtype=side.factor.dtype)
        side.factor = xp.matmul(side.factor, small)
        side.moments = basis.conj().T @ side.moments @ basis
        side.prior, side.spread = squares(basis, side.prior), squares(basis, side.spread)


def _solve(model: Model, side: Side, other: Side) -> None:
    """Improve the means of one side."""
    xp, k = model.observed.xp, side.factor.shape[1]
    F, X, shift = other.factor, side.factor, None
    e, load, prior = other.energy, other.spread, side.prior
    if side.bias is not None:
        F = xp.concat([F, constant_column(F, 1.0, xp)], axis=1)
        X = xp.concat([X, side.bias[:, None]], axis=1)
        shift = _bias(other) + model.mean
        e, load = _HOST.append(e, 1.0), _HOST.append(load, 0.0)
        prior = _HOST.append(prior, side.bias_prior)
    elif model.mean:
        shift = constant_column(F, model.mean, xp)[:, 0]
    kind = real_dtype(xp, F.dtype)
    e, ridge, load = (
        asarray(x, xp=xp, device=device(F), dtype=kind) for x in (e, model.noise2 / prior, load)
    )
    X, _, _ = pcg_rows(
        xp, side.lines, side.values, side.weights, F, X, shift, e, ridge, load, _STEPS, 0.0, 0, 1.0
    )
    if side.bias is None:
        side.factor = X
    else:
        side.factor, side.bias = xp.asarray(X[:, :k], copy=True), xp.asarray(X[:, k], copy=True)


def _bias(side: Side) -> Array:
    """Return the biases of a model that has them."""
    if side.bias is None:
        raise RuntimeError("Both sides must have biases or none.")
    return side.bias


def _centre(side: Side, other: Side, xp: Namespace) -> None:
    """Move the mean of one factor's lines into the bias of the other side."""
    share = side.crowd.share
    mean = weighted_mean(side.factor, share, xp)
    shifted = side.factor - mean[None, :]
    side.factor = xp.where(share[:, None] > 0, shifted, xp.zeros_like(shifted))
    other.bias = _bias(other) + xp.matmul(other.factor, mean[:, None])[:, 0]


def _update_variances(model: Model, side: Side, other: Side) -> None:
    """Update posterior and prior variances of one side."""
    crowd, xp = side.crowd, model.observed.xp
    side.moments, squared = second_moments(side.factor, crowd.share, xp)
    precision = crowd.values[:, None] * (other.energy + other.spread)[None, :]
    side.spread, side.prior = _spreads(model.noise2, precision, side.prior, squared, crowd)
    if side.bias is not None:
        squared = _HOST.asarray([float(xp.sum(xp.abs(side.bias) ** 2))])
        prior = _HOST.asarray([side.bias_prior])
        found = _spreads(model.noise2, crowd.values[:, None], prior, squared, crowd)
        side.bias_spread, side.bias_prior = (float(x[0]) for x in found)


def _spreads(
    noise2: float, precision: Array, prior: Array, squared: Array, crowd: Popularity
) -> tuple[Array, Array]:
    """Return mean posterior variances and prior variances of some components."""
    variance = noise2 / (precision + noise2 / prior[None, :])
    prior = (squared + crowd.counts @ variance) / crowd.lines
    return crowd.class_share @ variance, prior


def _hold_open(model: Model) -> None:
    """Keep the prior variances of all components large enough to let them return."""
    rows, columns = model.rows, model.columns
    lines = math.sqrt(rows.crowd.lines * columns.crowd.lines)
    least = _OPEN * model.noise2 * lines / rows.crowd.total
    product = rows.prior * columns.prior
    model.dormant = product < least
    factor = _HOST.where(model.dormant, _HOST.sqrt(least / product), 1.0)
    rows.prior, columns.prior = rows.prior * factor, columns.prior * factor


def update_noise(model: Model) -> float:
    """Set the noise variance to the expected square of a residual; return the relative change.

    Variances that are held open are no variances of the data.
    """
    rows, columns, before = model.rows, model.columns, model.noise2
    c, d = rows.spread, columns.spread
    both = _HOST.where(model.dormant, 0.0, c * d)
    extra = float((rows.energy * d + columns.energy * c + both).sum())
    extra += rows.bias_spread + columns.bias_spread
    residual = residual_energy(model.observed, model.factors())
    found = (residual + rows.crowd.total * extra) / model.observed.count
    model.residual2 = residual / model.observed.count
    model.noise2 = max(found, model.floor)
    return abs(model.noise2 - before) / before


def is_exact(model: Model, before: float) -> bool:
    """Tell whether the noise is rounding, or falls to it; set it to its end if so.

    Where the residuals are rounding, the noise variance falls from `before`, the one of the last
    sweep, by the share of it that comes from the variances: often for hundreds of sweeps.
    """
    if max(before, model.noise2) <= _ROUNDING * model.floor:
        return True
    falls = model.residual2 <= model.floor and model.noise2 < before
    if not falls or model.noise2 > model.exact:
        return False
    share = (model.noise2 - model.residual2) / before
    model.noise2 = max(model.residual2 / (1 - share), model.floor)
    return True


def prune(model: Model, *, all_dormant: bool = False) -> None:
    """Remove dormant components without energy (or all of them); one component stays."""
    rows, columns, xp = model.rows, model.columns, model.observed.xp
    energy = rows.energy * columns.energy
    edge = (rows.crowd.lines**0.5 + columns.crowd.lines**0.5) ** 2 / rows.crowd.total
    least = edge * max(_DEAD * model.noise2, _ROUNDING * model.floor)
    keep = ~(model.dormant & ((energy < least) | all_dormant))
    keep[int(_HOST.argmax(energy))] = True
    if keep.all():
        return
    place = asarray(
        _HOST.flatnonzero(keep), xp=xp, device=device(rows.factor), dtype=index_dtype(xp)
    )
    model.dormant = model.dormant[keep]
    for side in (rows, columns):
        side.factor = xp.take(side.factor, place, axis=1)
        side.moments = side.moments[keep, :][:, keep]
        side.prior, side.spread = side.prior[keep], side.spread[keep]
