"""Sweeps under the Huber and the l1 loss: reweighted least squares with a falling scale.

Every half step takes the weights from the residuals that it meets (nothing is kept an entry). The
scale below which a residual counts as small follows the median residual, and the ridge falls *with*
it: held constant, the ridge would keep the residuals of good entries at a level at which gross
errors still pull, and the two would hold each other up. So the good entries are fitted better and
better while the gross errors lose their influence, down to rounding where the rest of the data is
exact.
"""

from __future__ import annotations

import math

from linalgkit._core.array import eps, is_complex_dtype, numpy_namespace, to_numpy
from linalgkit._kernels.observed import entries
from linalgkit.completion._factors import Factors, augmented
from linalgkit.completion._observed import Observed
from linalgkit.completion._sweeps import Settings, Sweeper, Swept, default_tol

_HOST = numpy_namespace()

LOSSES = ("squared", "huber", "l1")
_PROBE = 200_000  # entries of which the median residual is taken
# standard deviation over median modulus of a normal law, real and circular
_NORMAL, _CIRCULAR = 1.482602218505602, 1.2011224087864498
_HUBER = 1.345  # 95 % efficient under normal noise
_SMALLEST = 1e-3  # scale of the l1 loss against the median residual, at the end
_STEPS = 5
_TYPICAL_TOL = 1e-2  # relative change of the typical residual in a sweep that has settled
_FALL = 0.8


class _Probe:
    """The typical residual of a sample of the entries."""

    def __init__(self, observed: Observed) -> None:
        """Choose entries evenly."""
        self.observed = observed.sampled(max(1, observed.count // _PROBE))
        circular = is_complex_dtype(observed.xp, observed.dtype)
        self.unit = _CIRCULAR if circular else _NORMAL

    def median(self, f: Factors | None) -> float:
        """Return the median modulus of the residuals (of the values, for None)."""
        o, xp = self.observed, self.observed.xp
        r = o.row_values
        if f is not None:
            P, Q = augmented(f, xp)
            r = r - entries(xp, o.rows, P, Q)
        return float(_HOST.median(_HOST.abs(to_numpy(r))))

    def noise(self, f: Factors) -> float:
        """Return the standard deviation of an entry of weight one, by the median."""
        o, xp = self.observed, self.observed.xp
        P, Q = augmented(f, xp)
        r = xp.abs(o.row_values - entries(xp, o.rows, P, Q))
        r = r if o.row_weights is None else r * xp.sqrt(o.row_weights)
        return self.unit * float(_HOST.median(to_numpy(r)))


def robust_sweeps(
    observed: Observed, start: Factors, settings: Settings, loss: int, loss_scale: float | None
) -> Swept:
    """Minimise the robust loss.

    Parameters
    ----------
    loss : int
        1 for Huber's, 2 for the sum of moduli.
    loss_scale : float or None
        Huber: where the loss turns linear; by default 1.345 standard deviations of the noise, as
        the median residual tells it. l1: below which it is smoothed; by default a thousandth of
        that.
    """
    probe = _Probe(observed)
    sweeper = Sweeper(observed, settings)
    plan = sweeper.plan
    plan.steps, plan.loss = _STEPS, loss
    size = (
        probe.median(
            None
            if start.is_plain
            else start.with_factors(start.U[:, :1] * 0.0, start.W[:, :1] * 0.0)
        )
        * probe.unit
        or 1.0
    )
    rounding = 16.0 * float(eps(observed.xp, observed.dtype)) * size
    factor = _HUBER if loss == 1 else 1.0
    first = sweeper.first_ridge(start)
    done, fallen, scale, sharp = Swept(start), first, factor * size, 1.0
    if settings.fall is None:  # a start that is a fit, or no continuation wanted
        fallen, scale = 0.0, factor * probe.unit * probe.median(start)
    tol = default_tol(observed, settings.alpha) if settings.tol is None else settings.tol
    target, typical = settings.alpha * (2.0 if loss == 2 else 1.0), size
    for _ in range(settings.max_sweeps):
        plan.scale = max(scale, rounding)
        # huber's weights are l1's times the scale
        ridge = max(fallen * plan.scale / size, target) if loss == 1 else max(fallen / size, target)
        done.factors = sweeper.sweep(done.factors, ridge)
        before, typical = typical, probe.unit * probe.median(done.factors)
        value = sweeper.objective(done.factors, settings.alpha)
        done.history.append(value)
        if settings.watch is not None and settings.watch(value if loss == 2 else math.sqrt(value)):
            done.status = "stopped"
            break
        fallen *= _FALL
        if loss_scale is not None:
            scale = max(factor * typical, loss_scale)
        elif loss == 2 and fallen <= 1e-3 * first and _level(scale / sharp, typical):
            sharp = max(sharp * _FALL, _SMALLEST)
            scale = sharp * typical
        else:
            scale = factor * sharp * typical
        if typical <= rounding or (
            fallen <= 1e-8 * first
            and abs(before - typical) <= _TYPICAL_TOL * before
            and _settled(done.history, tol, sharp, loss, loss_scale)
        ):
            done.status = "converged"
            break
    done.ridge, done.scale = max(ridge, 0.0), plan.scale
    return done


def _level(before: float, now: float) -> bool:
    """Tell whether the typical residual no longer falls."""
    return now > 0.95 * before


def _settled(
    history: list[float], tol: float, sharp: float, loss: int, scale: float | None
) -> bool:
    if len(history) < 3 or (loss == 2 and scale is None and sharp > _SMALLEST):
        return False
    return abs(history[-2] - history[-1]) <= tol * abs(history[-2])


def robust_noise(observed: Observed, f: Factors) -> float:
    """Return the standard deviation of the noise as the median residual tells it."""
    return _Probe(observed).noise(f)


def typical_residual(observed: Observed, f: Factors) -> float:
    """Return the same of the residuals as they are, whatever their weights."""
    probe = _Probe(observed)
    return probe.unit * probe.median(f)


def typical_size(observed: Observed) -> float:
    """Return the size of the values that gross errors do not raise."""
    probe = _Probe(observed)
    return probe.unit * probe.median(None)
