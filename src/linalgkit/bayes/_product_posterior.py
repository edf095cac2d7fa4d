"""Posterior of an unknown of rank one: independent Gaussian factors, moments of their product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._rank_one import RankOne, product_moments
from linalgkit.bayes._state import abs2

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class ProductPosterior:
    """The posterior that :func:`linalgkit.bayes._rank_one.rank_one` found."""

    found: RankOne = field(repr=False)

    def mean(self) -> Array:
        """Return the mean (K_1, ..., K_I, r)."""
        mean, _ = product_moments(self.found)
        return mean[..., None] if self.found.snapshot_mean is None else mean

    def variance(self) -> Array:
        """Return the variances (K_1, ..., K_I), with an axis more for several snapshots."""
        return product_moments(self.found)[1]

    def variance_of(self, factors: Sequence[Array | None]) -> Array:
        """Return the variances of the products of factors times the unknown, laid out alike."""
        means = list(self.found.means)
        variances = [C.diagonal().real for C in self.found.covariances]
        for i, F in enumerate(factors):
            if F is not None:
                means[i] = F @ means[i]
                variances[i] = _HOST.sum((F @ self.found.covariances[i]) * F.conj(), axis=1).real
        if self.found.snapshot_mean is not None:
            means.append(self.found.snapshot_mean)
            variances.append(_HOST.full(means[-1].shape, self.found.snapshot_variance))
        square, variance = _HOST.ones(()), _HOST.zeros(())
        for m, v in zip(means, variances, strict=True):
            v = _HOST.maximum(v, 0.0)
            variance = _HOST.multiply.outer(variance, abs2(m) + v) + _HOST.multiply.outer(square, v)
            square = _HOST.multiply.outer(square, abs2(m))
        return variance

    def stationarity(self) -> float:
        """Return the largest ``|a - b| / (a + b)``, a = mean square and b = gamma of an entry."""
        largest = 0.0
        found = self.found
        for m, C, gamma in zip(found.means, found.covariances, found.gammas, strict=True):
            a = abs2(m) + C.diagonal().real
            if gamma.shape[0]:
                largest = max(largest, float((_HOST.abs(a - gamma) / (a + gamma)).max()))
        return largest


def gauge_volume(found: RankOne, kappa: float) -> float:
    """Return the nats that scales and phases which leave x unchanged add to the bound.

    Factors may be multiplied by numbers of product one. The posterior is as wide along these
    directions as the priors let it be (scales) or goes all round (phases, signs); independent
    factors are only as wide as the data would make each alone. The ratio of the two volumes, in
    the Gaussian approximation, is what the lower bound misses.
    """
    if any(m.shape[0] == 0 for m in found.means):
        return 0.0
    data, prior = [], []
    for m, C, gamma in zip(found.means, found.covariances, found.gammas, strict=True):
        data.append(2 * kappa * float((m.conj() @ _HOST.linalg.solve(C, m)).real))
        prior.append(4 * kappa * float(_HOST.sum(abs2(m) / gamma)))
    if found.snapshot_mean is not None:
        square = float(_HOST.sum(abs2(found.snapshot_mean)))
        data.append(2 * kappa * square / found.snapshot_variance)
        prior.append(4 * kappa * square)
    free = len(data) - 1
    if free == 0:
        return 0.0
    narrow, wide = (_log_volume(values) for values in (data, prior))
    # The data see the scales' sum only: of their form, det = A prod(p) sum(1 / p) for a common A.
    scales = 0.5 * (narrow - wide - math.log(len(data)))
    if kappa < 1:
        return scales + free * math.log(2.0)
    return scales + 0.5 * (free * math.log(2 * math.pi) + narrow)


def _log_volume(precisions: list[float]) -> float:
    """Return the log-determinant of a diagonal form on the vectors whose entries sum to zero."""
    # det(D restricted to 1^perp) = prod(d) * sum(1 / d) / I
    total = sum(math.log(p) for p in precisions)
    return total + math.log(sum(1 / p for p in precisions) / len(precisions))
