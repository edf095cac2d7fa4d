"""A point of the evidence's landscape: hyperparameters, and the data in their eigenbases.

``G_i = H_i diag(gamma_i) H_i^H = U_i diag(l_i) U_i^H`` of each mode makes the covariance of the
data diagonal, ``D = l_1 o ... o l_I + noise``. All that an update asks for are sums over the
rotated data ``Z``; nothing of the size of the unknown is formed::

    state = State(model, gammas, noise)
    a, b = state.marginals(i)        # fixed point of every rule: a = b where gamma > 0
    state.set_mode(i, state.gammas[i] * sqrt(a / b))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from linalgkit._core.array import Array, asarray, numpy_namespace, widest_float
from linalgkit._core.modes import mode_gram, mode_product
from linalgkit._core.scaling import silent
from linalgkit._kernels import kron_pass, kron_weighted
from linalgkit.bayes._model import Model, real_hosts, wide_host

_HOST = numpy_namespace()
# Host tensors up to this size take the shortest way, not the one of least memory.
_SMALL = 2**16
# Below this share of the traces the noise is seen by singular values only.
_DELICATE = 1e-8


class NoiseSums(NamedTuple):
    """Sums of the noise update.

    ``residual`` is the squared norm of what the mean leaves, a snapshot; ``used`` the degrees of
    freedom that the signal takes; ``trace`` that of the inverse covariance.
    """

    residual: float
    used: float
    trace: float


class State:
    """Hyperparameters, eigenbases, rotated data and evidence, kept in step.

    Parameters
    ----------
    model : Model
        Data in the widest dtype of their device.
    gammas : sequence of host array (n_i,)
        Not negative; for a coupled mode the latent ones.
    noise : float
        Variance, positive.
    couplings : sequence of host array (n_i, n_i) or None, optional
        Matrices C_i, not negative: the variances of mode i are ``C_i gamma_i``.
    """

    def __init__(
        self,
        model: Model,
        gammas: Sequence[Array],
        noise: float,
        couplings: Sequence[Array | None] | None = None,
    ) -> None:
        self.model = model
        self.couplings = tuple(couplings) if couplings is not None else (None,) * model.modes
        self.gammas = [_HOST.asarray(g, dtype=_HOST.float64) for g in gammas]
        self.noise = float(noise)
        modes = model.modes
        self.U: list[Array] = [None] * modes
        self.eigenvalues: list[Array] = [None] * modes
        self.K: list[Array] = [None] * modes
        self.refresh()

    # ---------------------------------------------------------------------------- changing

    def refresh(self) -> None:
        """Rotate the data anew, which removes the rounding of earlier rotations."""
        Z = self.model.Y
        for i in range(self.model.modes):
            self._decompose(i)
            Z = mode_product(Z, self.model.tensor(_HOST.conj(self.U[i].T)), i, self.model.xp)
        self.Z = Z
        self._sum_up()

    def variances(self, i: int) -> Array:
        """Return the prior variances of mode i, (n_i,)."""
        C = self.couplings[i]
        return self.gammas[i] if C is None else C @ self.gammas[i]

    def set_mode(self, i: int, gamma: Array) -> None:
        """Change the hyperparameters of one mode."""
        before = self.U[i]
        self.gammas[i] = gamma
        self._decompose(i)
        turn = self.model.tensor(_HOST.conj(self.U[i].T) @ before)
        self.Z = mode_product(self.Z, turn, i, self.model.xp)
        self._sum_up()

    def set_all(self, gammas: Sequence[Array], noise: float) -> None:
        """Change everything at once, from the data."""
        self.gammas, self.noise = list(gammas), float(noise)
        self.refresh()

    def set_noise(self, noise: float) -> None:
        """Change the noise variance."""
        self.noise = float(noise)
        self._sum_up()

    def saved(self) -> dict[str, object]:
        """Return what :meth:`restore` needs to come back here (arrays are shared, not copied)."""
        return {k: list(v) if isinstance(v, list) else v for k, v in self.__dict__.items()}

    def restore(self, saved: dict[str, object]) -> None:
        """Come back to a point that :meth:`saved` returned."""
        for name, value in saved.items():
            self.__dict__[name] = list(value) if isinstance(value, list) else value

    def balance(self) -> None:
        """Give all modes hyperparameters of one size, exactly (by powers of two)."""
        exponents = [math.frexp(float(_HOST.max(g)))[1] for g in self.gammas]
        mean = sum(exponents) // len(exponents)
        shifts = [mean - e for e in exponents]
        shifts[0] -= sum(shifts)  # the product keeps its size
        for i, shift in enumerate(shifts):
            if shift:
                self.gammas[i] = _HOST.ldexp(self.gammas[i], shift)
                self.eigenvalues[i] = _HOST.ldexp(self.eigenvalues[i], shift)
        if any(shifts):
            self._sum_up()

    def _decompose(self, i: int) -> None:
        """Take the eigenvalues of one mode's covariance."""
        H, gamma = self.model.factors[i], self.variances(i)
        on = gamma > 0
        B = H[:, on] * _HOST.sqrt(gamma[on])
        if B.shape[1] >= B.shape[0] and not self._needs_singular_values():
            values, U = _HOST.linalg.eigh(B @ _HOST.conj(B.T))
            self.eigenvalues[i] = _HOST.maximum(values, 0.0)
        else:
            U, singular, _ = _HOST.linalg.svd(B, full_matrices=B.shape[1] < B.shape[0])
            self.eigenvalues[i] = _HOST.zeros(B.shape[0])
            self.eigenvalues[i][: singular.shape[0]] = singular**2
        self.U[i] = U
        self.K[i] = _HOST.conj(H.T) @ U

    def _needs_singular_values(self) -> bool:
        """Tell whether the noise lies at the rounding of eigenvalues of squares."""
        traces = math.prod(float(_HOST.sum(self.variances(k))) for k in range(self.model.modes))
        return self.noise < _DELICATE * traces

    # ---------------------------------------------------------------------------- the sums

    def _sum_up(self) -> None:
        """Pass over the rotated data once."""
        model = self.model
        with silent():
            self._outer = product_of(self.eigenvalues[:-1])
            sums, by_inner, by_outer = kron_pass(
                model.xp, self._flat(), self._real(self._outer), self._real(self.eigenvalues[-1]),
                self.noise,
            )  # fmt: skip
        if not model.on_host:
            sums, by_inner, by_outer = real_hosts([sums, by_inner, by_outer], model.xp)
        log_det, quadratic, squared, trace = sums.tolist()
        self._by_inner, self._by_outer = by_inner, by_outer
        missing = model.count - math.prod(model.sizes)
        self.log_det = log_det + missing * math.log(self.noise)
        self.quadratic = quadratic + model.outside / self.noise
        self._squared = squared + model.outside / self.noise**2
        self.trace = trace + missing / self.noise
        self.used = math.prod(model.sizes) - self.noise * trace
        L = model.snapshots
        self.evidence = -model.kappa * (
            L * (model.count * model.log_unit + self.log_det) + self.quadratic
        )

    def _flat(self) -> Array:
        """Return the rotated data as (O, m, L)."""
        shape = self.Z.shape
        return self.model.xp.reshape(self.Z, (math.prod(shape[:-2]), shape[-2], shape[-1]))

    def _real(self, values: Array) -> Array:
        """Return host numbers in the library and on the device of the data."""
        model = self.model
        if model.on_host:
            return values
        wide = widest_float(model.xp, model.device)
        return asarray(values, xp=model.xp, device=model.device, dtype=wide, copy=False)

    def noise_sums(self) -> NoiseSums:
        """Return the sums of the noise update."""
        residual = self._squared * self.noise**2 / self.model.snapshots
        return NoiseSums(residual, max(self.used, 0.0), self.trace)

    def eigenvalue_sums(self, i: int) -> Array:
        """Return the sum over the other modes of ``l_others / D``, (m_i,)."""
        last = self.model.modes - 1
        if i == last:
            return self._by_inner
        sums = _HOST.reshape(self._by_outer, self.model.sizes[:-1])
        for k in reversed(range(last)):
            if k != i:
                sums = _HOST.tensordot(sums, self.eigenvalues[k], axes=(k, 0))
        return sums

    def others(self, i: int) -> Array:
        """Return the products of the other modes' eigenvalues, in C order."""
        return product_of([w for k, w in enumerate(self.eigenvalues) if k != i])

    def derivatives(self, i: int) -> tuple[Array, Array]:
        """Return the two parts of the evidence's slope in the variances of mode i, (n_i,) each.

        The slope is ``kappa L (A - B)``: `A` from the data, `B` from the determinant.
        """
        model, last = self.model, self.model.modes - 1
        roots = [_HOST.sqrt(w) for w in self.eigenvalues]
        roots[i] = _HOST.ones(model.sizes[i])
        W = kron_weighted(
            model.xp, self._flat(), self._real(self._outer), self._real(self.eigenvalues[last]),
            self.noise, self._real(product_of(roots[:last])), self._real(roots[last]),
        )  # fmt: skip
        T = self._gram(model.xp.reshape(W, self.Z.shape), i)
        K = self.K[i]
        A = _HOST.sum(_HOST.real((K @ T) * _HOST.conj(K)), axis=1) / model.snapshots
        B = abs2(K) @ self.eigenvalue_sums(i)
        return _HOST.maximum(A, 0.0), B

    def _gram(self, W: Array, i: int) -> Array:
        """Return the Gram matrix of an unfolding, on the host."""
        model = self.model
        if not model.on_host or W.size > _SMALL:
            return wide_host(mode_gram(W, i, model.xp))
        rows = _HOST.moveaxis(W, i, 0).reshape(W.shape[i], -1)
        return rows @ rows.conj().T

    def marginals(self, i: int) -> tuple[Array, Array]:
        """Return the parts of the slope in the latent hyperparameters of mode i."""
        A, B = self.derivatives(i)
        C = self.couplings[i]
        return (A, B) if C is None else (C.T @ A, C.T @ B)


def product_of(vectors: Sequence[Array]) -> Array:
    """Return the outer product of host vectors, flat in C order; ``[1]`` of none."""
    if not vectors:
        return _HOST.ones(1)
    result = vectors[0]
    for v in vectors[1:]:
        result = (result[:, None] * v).ravel()
    return result


def abs2(K: Array) -> Array:
    """Return squared moduli of a host array."""
    return K.real**2 + K.imag**2 if K.dtype.kind == "c" else K * K
