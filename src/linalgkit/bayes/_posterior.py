"""Mean and covariance of the posterior in factored form, without cancellation.

With ``H_i diag(gamma_i)^(1/2) = U_i diag(s_i) V_i^H``, all null vectors included in `V_i`, the
whitened unknown has the covariance ``V diag(noise / (s_1^2 ... s_I^2 + noise)) V^H`` with
``V = V_1 kron ... kron V_I``: a sum of positive terms, accurate at any signal-to-noise ratio::

    posterior = Posterior.of(model, gammas, noise)
    posterior.mean()            # (n_1, ..., n_I, r)
    posterior.variance()        # (n_1, ..., n_I)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.modes import mode_products
from linalgkit.bayes._model import Model, wide_host
from linalgkit.bayes._state import State, abs2, product_of

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class Posterior:
    """The Gaussian posterior of the columns of one model.

    Attributes
    ----------
    model : Model
        Its data and factors.
    roots : list of host array (n_i,)
        Square roots of the prior variances.
    U : list of host array (m_i, min(m_i, n_i))
    values : list of host array (n_i,)
        Singular values, zeros for null vectors.
    V : list of host array (n_i, n_i)
    noise : float
        Variance.
    """

    model: Model = field(repr=False)
    roots: list[Array] = field(repr=False)
    U: list[Array] = field(repr=False)
    values: list[Array] = field(repr=False)
    V: list[Array] = field(repr=False)
    noise: float

    @classmethod
    def of(cls, model: Model, variances: Sequence[Array], noise: float) -> Posterior:
        """Return the posterior for prior variances (n_i,) of each mode, not negative."""
        roots = [_HOST.sqrt(v) for v in variances]
        U, values, V = [], [], []
        for H, root in zip(model.factors, roots, strict=True):
            m, n = H.shape
            left, singular, right = _HOST.linalg.svd(H * root, full_matrices=n > m)
            r = singular.shape[0]
            U.append(left)
            values.append(_HOST.concat([singular, _HOST.zeros(n - r)]))
            V.append(right.conj().T)
        return cls(model, roots, U, values, V, float(noise))

    def mean(self, Y: Array | None = None) -> Array:
        """Return the mean given the model's data or `Y` (m_1, ..., m_I, r), on the host."""
        model, xp = self.model, self.model.xp
        Z = mode_products(
            model.Y if Y is None else Y, [model.tensor(U.conj().T) for U in self.U], xp
        )
        kept = [v[: U.shape[1]] for v, U in zip(self.values, self.U, strict=True)]
        root = product_of(kept).reshape([v.shape[0] for v in kept])
        W = wide_host(Z) * (root / (root**2 + self.noise))[..., None]
        matrices = [
            root[:, None] * V[:, : v.shape[0]]
            for root, V, v in zip(self.roots, self.V, kept, strict=True)
        ]
        return mode_products(W, matrices, _HOST)

    def adjoint_mean(self, X: Array) -> Array:
        """Return the adjoint of the map from data to mean, applied to (n_1, ..., n_I, r)."""
        kept = [v[: U.shape[1]] for v, U in zip(self.values, self.U, strict=True)]
        matrices = [
            V[:, : v.shape[0]].conj().T * root
            for root, V, v in zip(self.roots, self.V, kept, strict=True)
        ]
        W = mode_products(X, matrices, _HOST)
        root = product_of(kept).reshape([v.shape[0] for v in kept])
        return mode_products(W * (root / (root**2 + self.noise))[..., None], self.U, _HOST)

    def variance(self) -> Array:
        """Return the posterior variances (n_1, ..., n_I), on the host."""
        return self.variance_of([None] * self.model.modes)

    def variance_of(self, factors: Sequence[Array | None]) -> Array:
        """Return the variances of ``(F_1 kron ... kron F_I) x``, None standing for the identity."""
        squares = []
        for F, root, V in zip(factors, self.roots, self.V, strict=True):
            rows = root[:, None] * V if F is None else (F * root) @ V
            squares.append(abs2(rows))
        eigenvalues = product_of([v**2 for v in self.values])
        share = self.noise / (eigenvalues + self.noise)
        shape = [v.shape[0] for v in self.values]
        return mode_products(share.reshape((*shape, 1)), squares, _HOST)[..., 0]


def second_moments(state: State) -> Array:
    """Return mean squares of the posterior, averaged over snapshots, of the columns that are in.

    A host tensor over the columns whose prior variance is positive: the squared modulus of the
    mean plus the posterior variance.
    """
    posterior = of_state(state)
    mean = posterior.mean()
    return _HOST.sum(abs2(mean), axis=-1) / state.model.snapshots + posterior.variance()


def of_state(state: State) -> Posterior:
    """Return the posterior of the columns whose prior variance is positive."""
    variances = [state.variances(i) for i in range(state.model.modes)]
    on = [v > 0 for v in variances]
    factors = tuple(H[:, o] for H, o in zip(state.model.factors, on, strict=True))
    return Posterior.of(
        replace(state.model, factors=factors), [v[o] for v, o in zip(variances, on, strict=True)],
        state.noise,
    )  # fmt: skip
