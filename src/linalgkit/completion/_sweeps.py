"""Alternating minimisation: sweeps over rows and columns while the ridge falls.

The ridge starts at the size of a row's normal matrix and falls by a constant factor a sweep. It
plays the part of the paper's clipping: no line with few entries can run away, and no incoherence
constant has to be known. The fewer entries, the slower it has to fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from linalgkit._core.array import Array, eps, numpy_namespace
from linalgkit.completion._direct import direct_rows
from linalgkit.completion._factors import Factors, constant_column, parameters, residual_energy
from linalgkit.completion._half_step import Plan, Side, both_sides, half_step, wide_sum
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()

SOLVERS = ("auto", "pcg", "direct", "rgn", "scaledgd", "sketched")
_DISTORTION = 0.5  # of the sketches: smaller ones would hardly be smaller than the lines
_LOOSE = 5  # sweeps in which no line has to be solved
#: Entries over degrees of freedom below which the ridge falls slowly.
FEW_ENTRIES = 3.0


@dataclass(frozen=True)
class Fall:
    """How the ridge falls: start and end in units of a row's mean eigenvalue, factor a sweep.

    Below the end a polish takes over, where there is one.
    """

    start: float
    factor: float
    end: float = 1e-3

    def within(self, n_sweeps: int) -> Fall:
        """Return a fall that reaches its end in four fifths of the sweeps."""
        steepest = (self.end / self.start) ** (1.0 / max(1.0, 0.8 * n_sweeps))
        return self if self.factor <= steepest else replace(self, factor=steepest)


QUICK, SLOWEST = Fall(1.0, 0.7, 1e-4), Fall(16.0, 0.98)
#: Starts (None: where the best one ended; the first: as asked) that are tried where entries are
#: few.
ATTEMPTS = (
    (None, Fall(4.0, 0.955)),
    ("random", Fall(0.3, 0.94)),
    (None, Fall(0.1, 0.95)),
    ("svd", SLOWEST),
)


class Watch:
    """Counts the sweeps of all phases, and asks the caller's function whether to stop.

    It is handed the root of the objective (a sum of moduli for the l1 loss) in the data's unit.
    """

    def __init__(self, callback: Callable[[int, float], object] | None, unit: float) -> None:
        self.callback, self.unit, self.n_sweeps, self.stopped = callback, unit, 0, False

    def __call__(self, loss: float) -> bool:
        """Count a sweep; return whether it shall be the last."""
        self.n_sweeps += 1
        if self.callback is not None and not self.stopped:
            self.stopped = bool(self.callback(self.n_sweeps, loss * self.unit))
        return self.stopped


@dataclass
class Settings:
    """What the sweeps are asked for; all in scaled units."""

    alpha: float = 0.0
    solver: str = "pcg"
    biased: bool = False
    max_sweeps: int = 200
    tol: float | None = None
    fall: Fall | None = QUICK
    floor: float = 0.0  # smallest ridge, as a share of the first
    hands_over: bool = False  # whether to stop there at once
    rng: object = None
    watch: Watch | None = None


@dataclass
class Swept:
    """Where the sweeps have come to."""

    factors: Factors
    history: list[float] = field(default_factory=list)
    status: str = "max_sweeps"
    ridge: float = 0.0
    scale: float = 1.0

    @property
    def n_sweeps(self) -> int:
        """Number of sweeps done."""
        return len(self.history)

    def taken(self) -> Factors:
        """Return the factors without holding them any longer, for the next ones to follow."""
        factors = self.factors
        del self.factors
        return factors


class Sweeper:
    """The alternating steps on one set of entries."""

    def __init__(self, observed: Observed, settings: Settings) -> None:
        self.observed, self.settings, self.xp = observed, settings, observed.xp
        self.rows, self.columns = both_sides(observed)
        self.plan = Plan(tol=10.0 * eps(observed.xp, observed.dtype))
        self.unit = bias_unit(observed) if settings.biased else 1.0

    def first_ridge(self, f: Factors) -> float:
        """Return the mean eigenvalue of the normal matrix of a row."""
        xp = self.xp
        energy = wide_sum(xp.abs(f.W) ** 2, xp)
        (n, k), mass = f.W.shape, float(_HOST.mean(self.rows.mass))
        return mass * energy / (int(n) * int(k))

    def sweep(self, f: Factors, ridge: float) -> Factors:
        """Return the factors after one step for the rows and one for the columns."""
        if self.settings.solver == "scaledgd":
            from linalgkit.completion._scaledgd import scaled_gradient_sweep

            return scaled_gradient_sweep(self.observed, f, ridge)
        self.plan.ridge = ridge
        f = balanced(f, self.xp)
        f = self._half(self.rows, f)
        return self._half(self.columns, f.transposed()).transposed()

    def _half(self, side: Side, f: Factors) -> Factors:
        """Return the model after a step of its left factor (and left bias)."""
        xp = self.xp
        if not self.settings.biased:
            shift = None
            if f.mean != 0.0:
                shift = xp.full(
                    (side.lines.n_other,), f.mean, dtype=f.W.dtype, device=self.observed.device
                )
            X, F = self._solve(side, f.W, f.U, shift, keep_basis=False)
            return f.with_factors(X, F)
        F = xp.concat([f.W, constant_column(f.W, self.unit, xp)], axis=1)
        X = xp.concat([f.U, f.row_bias[:, None] / self.unit], axis=1)  # type: ignore[index]
        X, _ = self._solve(side, F, X, f.column_bias + f.mean, keep_basis=True)  # type: ignore[operator]
        return replace(f, U=X[:, :-1], row_bias=X[:, -1] * self.unit)

    def _solve(
        self, side: Side, F: Array, X: Array, shift: Array | None, *, keep_basis: bool
    ) -> tuple[Array, Array]:
        if self.settings.solver not in ("direct", "sketched"):
            return half_step(side, F, X, shift, self.plan, keep_basis=keep_basis)
        xp = self.xp
        ridge = xp.full(
            (int(F.shape[1]),),
            self.plan.ridge,
            dtype=side.shares.dtype,
            device=self.observed.device,
        )
        arguments = xp, side.lines, side.values, side.weights, F, shift, ridge, xp.zeros_like(ridge)
        if self.settings.solver == "direct":
            return direct_rows(*arguments), F
        from linalgkit.completion._sketched import sketched_rows

        return sketched_rows(*arguments, self.settings.rng, distortion=_DISTORTION), F

    def objective(self, f: Factors, ridge: float) -> float:
        """Return the loss of the observed entries plus the ridge."""
        value: float = residual_energy(self.observed, f, self.plan.loss, self.plan.scale)
        if ridge == 0.0:
            return value
        norm = sum(wide_sum(self.xp.abs(x) ** 2, self.xp) for x in (f.U, f.W))
        if self.settings.biased:
            biases = (wide_sum(self.xp.abs(x) ** 2, self.xp) for x in (f.row_bias, f.column_bias))
            norm += sum(biases) / self.unit**2
        return value + ridge * norm


def bias_unit(observed: Observed) -> float:
    """Return the number that stands beside a bias in place of one: all ridges have one unit.

    The root of the root mean square of the values: a bias is penalised as ``(bias / unit)**2``.
    """
    mean_square = data_energy(observed) / total_weight(observed)
    return mean_square**0.25 or 1.0


def total_weight(observed: Observed) -> float:
    """Return the sum of the weights, or the number of entries."""
    return observed.weight_sums()[0]


def balanced(f: Factors, xp: object) -> Factors:
    """Return factors of equal Frobenius norms (a power of two apart): they cannot run away."""
    left, right = (wide_sum(xp.abs(x) ** 2, xp) for x in (f.U, f.W))  # type: ignore[attr-defined]
    if not (0.0 < left < math.inf and 0.0 < right < math.inf) or 0.1 < left / right < 10.0:
        return f
    c = 2.0 ** round(0.25 * math.log2(right / left))
    return f.with_factors(f.U * c, f.W / c)


def oversampling(observed: Observed, k: int) -> float:
    """Return the number of entries over the degrees of freedom of rank `k`.

    Entries of very different weights count as ``(sum w)^2 / sum w^2`` equal ones.
    """
    total, squares = observed.weight_sums()
    count = float(observed.count) if observed.row_weights is None else total**2 / squares
    return count / max(1, parameters(observed.rows, observed.columns, k))


def default_tol(observed: Observed, alpha: float) -> float:
    """Return the relative decrease of the objective a sweep at which sweeps stop.

    A sweep that lowers it by a millionth moves noisy fits by less than a hundredth of their error.
    """
    if eps(observed.xp, observed.dtype) > 1e-10:
        return 1e-5
    return 1e-7 if alpha == 0.0 else 1e-6


def sweep_down(observed: Observed, done: Swept, settings: Settings) -> Swept:
    """Sweep while the ridge falls to its last value, and on until the objective settles.

    Starts from `done`, which changes: nothing holds the factors of the start after a sweep.
    The status is "converged" (settled), "fallen" (the smallest ridge was reached that the polish
    takes over from), "stopped" (by the callback) or "max_sweeps".
    """
    sweeper = Sweeper(observed, settings)
    first = sweeper.first_ridge(done.factors)
    fall = settings.fall
    ridge = settings.alpha if fall is None else max(first * fall.start, settings.alpha)
    last = max(settings.alpha, settings.floor * first)
    tol = default_tol(observed, settings.alpha) if settings.tol is None else settings.tol
    energy = data_energy(observed)
    for _ in range(settings.max_sweeps):
        sweeper.plan.strict = done.n_sweeps >= _LOOSE or fall is None
        done.factors = sweeper.sweep(done.taken(), ridge)
        value = sweeper.objective(done.factors, settings.alpha)
        done.history.append(value)
        done.ridge = ridge
        if settings.watch is not None and settings.watch(math.sqrt(value)):
            done.status = "stopped"
            break
        if ridge <= last:
            if settings.hands_over:
                done.status = "fallen"
                break
            if done.n_sweeps > 1 and settled(done.history, energy, tol, observed):
                done.status = "converged"
                break
        ridge = max(last, ridge * fall.factor) if fall is not None else ridge
    return done


def settled(history: list[float], energy: float, tol: float, observed: Observed) -> bool:
    """Tell whether the last sweep hardly lowered the objective, or it is at rounding."""
    before, now = history[-2], history[-1]
    rounding = 16.0 * float(eps(observed.xp, observed.dtype))
    return now <= rounding**2 * energy or before - now <= tol * before


def data_energy(observed: Observed) -> float:
    """Return the weighted sum of squares of the observed values."""
    xp, place = observed.xp, {"dtype": observed.dtype, "device": observed.device}
    nothing = Factors(*(xp.zeros((size, 1), **place) for size in observed.shape))
    return residual_energy(observed, nothing)
