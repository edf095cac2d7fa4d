"""Snapshots other than those that were solved with, under the hyperparameters found.

::

    prepared = prepare(kronecker_data(factors, y))
    posterior_mean(prepared, result)     # of the coefficients on the support
    log_density(prepared, result)        # nats
"""

from __future__ import annotations

import math

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.scaling import ldexp, ldexp_float
from linalgkit.bayes._model import Prepared, restricted
from linalgkit.bayes._modes import divided_along
from linalgkit.bayes._posterior import Posterior
from linalgkit.bayes._result import KronSBLResult
from linalgkit.bayes._sbl import unit_shift
from linalgkit.bayes._state import State

_HOST = numpy_namespace()


def _variances(prepared: Prepared, answer: KronSBLResult) -> tuple[list[Array], list[Array], float]:
    """Return columns on the support, their prior variances and the noise, in working units.

    The columns of `prepared` may be others than those that were solved with, which the prior
    variances of their coefficients do not depend on.
    """
    posterior, units = answer._posterior, answer._units
    columns = answer._columns()
    if isinstance(posterior, Posterior):
        variances, noise = [root**2 for root in posterior.roots], posterior.noise
    else:
        found = posterior.found  # type: ignore[union-attr]  # the only other kind
        variances, noise = list(found.gammas), found.noise
    for i, c in enumerate(columns):
        mine = _HOST.ldexp(prepared.norms[i], prepared.exponents[i])[c]
        variances[i] = variances[i] * (mine / units.column_norms(i, c)) ** 2
    shift = 2 * (units.exponent - prepared.exponent)
    variances[0] = _HOST.ldexp(variances[0], shift)
    return columns, variances, ldexp_float(noise, shift)


def posterior_mean(prepared: Prepared, answer: KronSBLResult) -> Array:
    """Return the posterior mean on the support given other data, (K_1, ..., K_I, l) on the host."""
    if answer._posterior is None:
        return _HOST.zeros((*answer.shape, prepared.data.snapshots))
    columns, variances, noise = _variances(prepared, answer)
    small, _ = restricted(prepared.model, columns)
    core = divided_along(Posterior.of(small, variances, noise).mean(), answer._norms())
    return ldexp(core, prepared.exponent, _HOST)


def log_density(prepared: Prepared, answer: KronSBLResult) -> float:
    """Return the log-density of other data, in nats."""
    model = prepared.model
    shift = unit_shift(model, prepared.exponent)
    if answer._posterior is not None:
        columns, variances, noise = _variances(prepared, answer)
        small, _ = restricted(model, columns)
        return float(State(small, variances, noise).evidence) + shift
    noise = ldexp_float(answer.noise_var, -2 * prepared.exponent)
    if noise > 0:
        return model.log_evidence_of_noise(noise) + shift
    return math.inf if model.energy == 0 else -math.inf
