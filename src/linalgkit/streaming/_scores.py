"""What an estimator of principal axes shows: components, variances, scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from linalgkit._core.array import Array, adjoint, namespace_of
from linalgkit._core.estimator import TransformerMixin
from linalgkit._core.linalg import ldexp
from linalgkit._core.validation import check_array_2d, check_finite_block, check_same_place
from linalgkit.streaming._inputs import in_joint_dtype

if TYPE_CHECKING:
    from linalgkit.streaming._answer import Answered
    from linalgkit.streaming._result import StreamingEighResult
    from linalgkit.streaming._stream import RowStream


class PrincipalAxes(TransformerMixin):
    """Attributes and transforms in scikit-learn's names, from a `result` and a stream."""

    _accepts_sparse = True
    whiten: bool

    if TYPE_CHECKING:

        def result(self) -> StreamingEighResult: ...

        def _fitted_stream(self) -> RowStream: ...

        def _answered(self) -> Answered: ...

    @property
    def components_(self) -> Array:
        """Conjugate transpose of the eigenvectors, (k, d)."""
        V = self.result().eigenvectors
        return adjoint(V, namespace_of(V)[0])

    @property
    def explained_variance_(self) -> Array:
        """Eigenvalues divided by ``W - sum w^2 / W``, (k,); n - 1 for rows of weight one."""
        found = self._answered()
        fraction, exponent = math.frexp(found.mass)
        return ldexp(found.values / fraction, 2 * found.exponent - exponent)

    @property
    def explained_variance_ratio_(self) -> Array:
        """Eigenvalues divided by the squared Frobenius norm, (k,); 0 for a stream of zeros."""
        found = self._answered()
        return found.values / (found.energy if found.energy > 0.0 else 1.0)

    @property
    def singular_values_(self) -> Array:
        """Square roots of the eigenvalues, (k,)."""
        found = self._answered()
        return ldexp(namespace_of(found.values)[0].sqrt(found.values), found.exponent)

    @property
    def mean_(self) -> Array:
        """Mean that was removed, (d,); zero without centring."""
        mean = self._answered().mean
        return namespace_of(mean)[0].asarray(mean, copy=True)

    @property
    def n_samples_seen_(self) -> int:
        """Rows streamed."""
        return self._fitted_stream().n_rows

    @property
    def _n_features_out(self) -> int:
        return int(self._answered().result.eigenvectors.shape[1])

    def transform(self, X: Any) -> Array:
        """Return the scores of rows: coordinates along the components.

        Parameters
        ----------
        X : array (n, d) or sparse matrix (n, d)
            Rows of the library that was streamed.

        Returns
        -------
        array (n, k)
            ``(X - mean_) @ components_^H``, divided by the standard deviations when whitening.
        """
        stream = self._fitted_stream()
        block, _ = self._check_features(X, reset=False)
        check_same_place(block, stream.space)
        check_finite_block(block)
        block, V = in_joint_dtype(block, self._answered().result.eigenvectors, stream.space)
        scores = block @ V
        if stream.pre.center:
            scores = scores - stream.space.xp.astype(self.mean_, V.dtype)[None, :] @ V
        if self.whiten:
            scores = scores / self._deviations()
        return self._wrap_output(scores, X)

    def inverse_transform(self, X: Any) -> Array:
        """Return rows from their scores: the best approximation in the span.

        Parameters
        ----------
        X : array (n, k)
            Scores as `transform` returns them.

        Returns
        -------
        array (n, d)
            ``X @ components_ + mean_``.
        """
        stream = self._fitted_stream()
        k = self._n_features_out
        scores, xp = check_array_2d("X", X, n_columns=k, why="as transform returns")
        check_same_place(scores, stream.space)
        scores, V = in_joint_dtype(scores, self._answered().result.eigenvectors, stream.space)
        if self.whiten:
            scores = scores * self._deviations()
        rows = scores @ adjoint(V, xp)
        return rows + self.mean_[None, :] if stream.pre.center else rows

    def _deviations(self) -> Array:
        """Return the standard deviation of each score, (1, k), 1 for those without variance.

        Not the root of the variance, which may be out of range where the rows are not.
        """
        found = self._answered()
        xp = namespace_of(found.values)[0]
        fraction, exponent = math.frexp(found.mass)
        if exponent % 2:
            fraction, exponent = fraction / 2, exponent + 1
        deviations = xp.sqrt(found.values / fraction)
        deviations = ldexp(deviations, found.exponent - exponent // 2, xp)
        return xp.where(deviations > 0, deviations, xp.ones_like(deviations))[None, :]
