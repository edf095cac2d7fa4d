"""Driver ``"lsmr"``: Golub-Kahan bidiagonalisation of the preconditioned matrix.

For matrices that are known by their products: nothing but products with `A` and its adjoint, one
each an iteration. With the coordinates of a sketch some dozen iterations suffice whatever the
condition of `A`; where `A` has so many columns that a sketch does not pay, the columns are brought
to unit length and the iterations are those of plain LSMR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, Namespace, array_namespace
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit.regression._certificate import column_norms, floats
from linalgkit.regression._preconditioned import MOST_ITERATIONS, PreconditionedSolver
from linalgkit.regression._solver import Solver
from linalgkit.regression._system import State, System

_MOST_PLAIN = 10_000
_PROBES = 8

_SETTLED = 0.01

Product = Callable[[Array], Array]
#: From the length of the step, ``||A^H r||`` and the unknowns, of each right side.
IsDone = Callable[[Array, Array, Array], bool]


class LsmrSolver(PreconditionedSolver):
    """Corrections by LSMR in the coordinates of a sketch."""

    driver = "lsmr"
    keeps_residual = True
    _is_first = True

    def start(self) -> State:
        """Return the first state, its residual included."""
        state = super().start()
        return state if state.residual is not None else self.system.evaluate(state, keep=True)

    def correction(self, system: System, state: State) -> Array:
        """Return the least-squares correction of the residual, (d, k)."""
        by_steps, self._is_first = self._is_first, False

        def is_done(step: Array, gradient: Array, H: Array) -> bool:
            if by_steps:
                return self.are_rounding(floats(step), state)
            bounds = system.bounds(state, floats(gradient), self.units, self.a_norm)
            return max(bounds) <= self.target

        forward, backward = products(system, self.reduce, self.expand)
        B, gradient = stacked(system, state), self.reduce(state.gradient)
        h, count, _ = lsmr(forward, backward, B, is_done, MOST_ITERATIONS, gradient)
        self.n_iterations += count
        return self.expand(h)


class PlainLsmrSolver(Solver):
    """Corrections by LSMR without a sketch, on columns of unit length where `A` is tall.

    Parameters
    ----------
    system : System
        A tall problem, or a wide one, whose unknowns are then `x` and the slack below it.
    target : float
        Backward error at which iterations stop.
    """

    driver = "lsmr"
    keeps_residual = True

    def __init__(self, system: System, target: float) -> None:
        norms = _column_norms(system)
        zero = norms == 0
        self._scale = 1 / system.xp.where(zero, system.xp.ones_like(norms), norms)
        n_zero = int(system.xp.sum(system.xp.astype(zero, system.xp.int32)))
        super().__init__(None, system.units, system.size - n_zero, math.nan)
        self.system, self.target = system, target
        total = norms if system.units is None else norms * system.xp.abs(system.units[:, 0])
        self.a_norm = math.sqrt(float(system.xp.sum(total * total)))

    def start(self) -> State:
        """Return the state at ``x = 0``."""
        return self.system.evaluate(self.system.origin(), keep=True)

    def kept(self, g: Array) -> Array:
        """Return the residual of wide problems, else infinity: the singular values are unknown."""
        return g if self.system.is_wide else self.system.xp.full_like(g, math.inf)

    def correction(self, system: System, state: State) -> Array:
        """Return the least-squares correction of the residual."""
        if system.is_wide:
            forward, backward = wide_products(system)
            B, gradient = state.gradient, None
            is_done: IsDone = self._has_settled
        else:
            scale = system.as_dtype(self._scale)[:, None]
            forward, backward = products(system, lambda g: scale * g, lambda h: scale * h)
            B, gradient = stacked(system, state), scale * state.gradient
            is_done = self._small_gradient(state)
        most = min(_MOST_PLAIN, 4 * system.size + MOST_ITERATIONS)
        h, count, self.condition = lsmr(forward, backward, B, is_done, most, gradient)
        self.n_iterations += count
        return h if system.is_wide else scale * h

    def moved(self, system: System, state: State, step: Array) -> State:
        """Return the unknowns moved by a step."""
        if not system.is_wide:
            return super().moved(system, state, step)
        d = system.length
        slack = None if state.slack is None else state.slack + step[d:, :]
        return State(state.X + step[:d, :], slack, state.gradient)

    def _small_gradient(self, state: State) -> IsDone:
        """Return the rule for tall problems: ``||A^H r||`` is rounding beside its factors."""
        rows = zip(state.residual_norms, self.system.sizes(state, self.units), strict=True)
        limits = [self.target * max(r, self.a_norm * x) for r, x in rows]

        def is_done(step: Array, gradient: Array, H: Array) -> bool:
            return all(g <= limit for g, limit in zip(floats(gradient), limits, strict=True))

        return is_done

    def _has_settled(self, step: Array, gradient: Array, H: Array) -> bool:
        """Tell whether the steps are far below the roundoff of the unknowns."""
        sizes = column_norms(H, self.system.xp)
        limits = [_SETTLED * self.target * x for x in sizes]
        return all(s <= limit for s, limit in zip(floats(step), limits, strict=True))


def _column_norms(system: System) -> Array:
    """Return the norms of the columns with the ridge; of a matrix-free `A` their mean."""
    xp, ridge = system.xp, system.ridge()
    (squares,) = system.total(lambda _, block: (_column_squares(block, system),))
    squares = squares if ridge is None else squares + ridge
    return xp.sqrt(squares)


def _column_squares(block: Any, system: System) -> Array:
    xp = system.xp
    if isinstance(block, DenseOperator):
        return system.squares(block.A)
    if isinstance(block, SparseOperator):
        csr = block.A
        squares = type(csr)((xp.abs(csr.data) ** 2, csr.indices, csr.indptr), shape=csr.shape)
        return squares.T @ xp.ones((csr.shape[0],), dtype=system.real, device=system.device)
    numbers = xp.arange(system.size * _PROBES, dtype=system.real, device=system.device)
    signs = xp.sign(xp.sin(numbers * numbers + 1))  # as good as random, and always the same
    probes = system.as_dtype(xp.reshape(signs, (system.size, _PROBES)))
    mean = xp.sum(system.squares(block.matmul(probes))) / (_PROBES * system.size)
    return mean * xp.ones((system.size,), dtype=system.real, device=system.device)


# ---------------------------------------------------------------------------------- products


def stacked(system: System, state: State) -> Array:
    """Return the residual (n, k), with that of the rows of the ridge below it."""
    assert state.residual is not None
    ridge = system.ridge()
    if ridge is None:
        return state.residual
    below = -system.as_dtype(system.xp.sqrt(ridge))[:, None] * state.X
    return system.xp.concat([state.residual, below], axis=0)


def products(system: System, reduce: Product, expand: Product) -> tuple[Product, Product]:
    """Return ``h -> [A; sqrt(alpha) I] P h`` and its adjoint."""
    xp, ridge = system.xp, system.ridge()
    root = None if ridge is None else system.as_dtype(xp.sqrt(ridge))[:, None]

    def forward(h: Array) -> Array:
        Z = expand(h)
        parts = system.collected(lambda block: block.matmul(Z))
        parts = parts if root is None else [*parts, root * Z]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def backward(U: Array) -> Array:
        def share(start: int, block: Operator) -> tuple[Array, ...]:
            return (block.rmatmul(U[start : start + block.shape[0], :]),)

        (total,) = system.total(share)
        return reduce(total if root is None else root * U[system.length :, :] + total)

    return forward, backward


def wide_products(system: System) -> tuple[Product, Product]:
    """Return ``(x, s) -> A x + sqrt(alpha) s`` and its adjoint."""
    xp, d, ridge = system.xp, system.length, system.ridge()
    root = None if ridge is None else system.as_dtype(xp.sqrt(ridge))[:, None]
    blocks = [(start, block) for start, block in system.m_blocks()]

    def forward(h: Array) -> Array:
        total: Any = 0 if root is None else root * h[d:, :]
        for start, block in blocks:
            total = total + block.rmatmul(h[start : start + block.shape[0], :])
        return total

    def backward(U: Array) -> Array:
        parts = [block.matmul(U) for _, block in blocks]
        parts = parts if root is None else [*parts, root * U]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    return forward, backward


# ------------------------------------------------------------------------------------- LSMR


@dataclass
class _Recursion:
    """The scalars of each right side, (k,), that the rotations carry on."""

    alpha_bar: Array
    zeta_bar: Array
    rho: Array
    rho_bar: Array
    c_bar: Array
    s_bar: Array


# Fong and Saunders, "LSMR: an iterative algorithm for sparse least-squares problems", SIAM J. Sci.
# Comput. 33 (2011), Algorithm LSMR with damping 0. Differs from it:
# 1. Right sides are iterated together, with scalars for each.
# 2. A vector that vanishes stops its own right side only: quotients by zero are taken as zero.
# 3. The caller decides when to stop, from the length of the step and ||A^H r||.
# 4. The caller may know A^H B better than the product: beside a residual it is small, and what
#    counts are its digits, where those of the later products need only be relative ones.
def lsmr(
    forward: Product,
    backward: Product,
    B: Array,
    is_done: IsDone,
    most: int,
    gradient: Array | None = None,
) -> tuple[Array, int, float]:
    """Solve ``min ||A H - B||`` from products with `A` and its adjoint, and perhaps ``A^H B``.

    Returns
    -------
    H : array (p, k)
        The unknowns.
    count : int
        Iterations.
    condition : float
        Lower bound on the condition number of `A`.
    """
    xp = array_namespace(B)
    U, beta = _unit(B, xp)
    first = backward(U) if gradient is None else _times(gradient, _inverse(beta, xp), xp)
    V, alpha = _unit(first, xp)
    ones, zeros = xp.ones_like(beta), xp.zeros_like(beta)
    at = _Recursion(alpha, alpha * beta, ones, ones, ones, zeros)
    direction, turned, H = V, xp.zeros_like(V), xp.zeros_like(V)
    largest, smallest = 0.0, math.inf
    count = 0
    while count < most:
        count += 1
        U, beta = _unit(forward(V) - _times(U, alpha, xp), xp)
        V, alpha = _unit(backward(U) - _times(V, beta, xp), xp)
        rho_old, rho_bar_old = at.rho, at.rho_bar
        theta_bar, theta, zeta = _rotate(at, alpha, beta, xp)
        turned = direction - _times(
            turned, _divided(theta_bar * at.rho, rho_old * rho_bar_old, xp), xp
        )
        length = _divided(zeta, at.rho * at.rho_bar, xp)
        H = H + _times(turned, length, xp)
        direction = V - _times(direction, _divided(theta, at.rho, xp), xp)
        largest = max(largest, float(xp.max(at.rho_bar)))
        smallest = min(smallest, float(xp.min(at.rho_bar)))
        if is_done(xp.abs(length) * _norms(turned, xp), xp.abs(at.zeta_bar), H):
            break
    return H, count, largest / smallest if smallest > 0 else math.inf


def _rotate(at: _Recursion, alpha: Array, beta: Array, xp: Namespace) -> tuple[Array, ...]:
    """Apply the two rotations of an iteration; return ``theta_bar, theta, zeta``."""
    at.rho = xp.hypot(at.alpha_bar, beta)
    c, s = _divided(at.alpha_bar, at.rho, xp), _divided(beta, at.rho, xp)
    theta = s * alpha
    at.alpha_bar = c * alpha
    theta_bar, rest = at.s_bar * at.rho, at.c_bar * at.rho
    at.rho_bar = xp.hypot(rest, theta)
    at.c_bar, at.s_bar = _divided(rest, at.rho_bar, xp), _divided(theta, at.rho_bar, xp)
    zeta = at.c_bar * at.zeta_bar
    at.zeta_bar = -at.s_bar * at.zeta_bar
    return theta_bar, theta, zeta


def _norms(X: Array, xp: Namespace) -> Array:
    """Return the 2-norms of the columns, real."""
    return xp.linalg.vector_norm(X, axis=0)


def _unit(X: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return the columns at unit length, zero ones as they are, and their norms."""
    norms = _norms(X, xp)
    return _times(X, _inverse(norms, xp), xp), norms


def _inverse(norms: Array, xp: Namespace) -> Array:
    """Return the inverse numbers, 0 of 0."""
    return _divided(xp.ones_like(norms), norms, xp)


def _times(X: Array, factors: Array, xp: Namespace) -> Array:
    """Multiply columns by real factors."""
    return X * xp.astype(factors, X.dtype, copy=False)[None, :]


def _divided(numerator: Array, denominator: Array, xp: Namespace) -> Array:
    """Return the quotient, 0 where the denominator is 0."""
    zero = denominator == 0
    safe = xp.where(zero, xp.ones_like(denominator), denominator)
    return xp.where(zero, xp.zeros_like(safe), numerator / safe)
