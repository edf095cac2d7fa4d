"""What an estimator of principal axes shows: components, variances, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linalgkit._core.array import (
    Array,
    adjoint,
    library_name,
    namespace_of,
)
from linalgkit._core.estimator import TransformerMixin
from linalgkit._core.validation import check_array_2d, check_finite_block
from linalgkit.streaming._inputs import in_dtype

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
        """Eigenvalues divided by the total weight less one, (k,)."""
        weight = self._answered().weight
        return self.result().eigenvalues / (weight - 1.0 if weight > 1.0 else weight)

    @property
    def explained_variance_ratio_(self) -> Array:
        """Eigenvalues divided by the squared Frobenius norm, (k,); 0 for a stream of zeros."""
        result = self.result()
        if result.frobenius_norm == 0.0:
            return result.eigenvalues
        return result.eigenvalues / result.frobenius_norm / result.frobenius_norm

    @property
    def singular_values_(self) -> Array:
        """Square roots of the eigenvalues, (k,)."""
        lam = self.result().eigenvalues
        return namespace_of(lam)[0].sqrt(lam)

    @property
    def mean_(self) -> Array:
        """Mean that was removed, (d,); zero without centring."""
        return self._answered().mean

    @property
    def n_samples_seen_(self) -> int:
        """Rows streamed."""
        return self._fitted_stream().n_rows

    @property
    def _n_features_out(self) -> int:
        return int(self.result().eigenvectors.shape[1])

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
        check_finite_block(block)
        block = in_dtype(block, stream.space)
        V = self.result().eigenvectors
        scores = block @ V
        if stream.pre.center:
            scores = scores - self.mean_[None, :] @ V
        if self.whiten:
            scores = scores * self._whitening(inverse=False)
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
        if library_name(xp) != library_name(stream.space.xp):
            raise TypeError(
                f"X must be of {library_name(stream.space.xp)} as the stream was, got "
                f"{library_name(xp)}. Convert it first."
            )
        if self.whiten:
            scores = scores * self._whitening(inverse=True)
        rows = scores @ self.components_
        return rows + self.mean_[None, :] if stream.pre.center else rows

    def _whitening(self, *, inverse: bool) -> Array:
        """Return the factor of each score; directions without variance are left alone."""
        variance = self.explained_variance_
        xp = namespace_of(variance)[0]
        deviation = xp.sqrt(xp.where(variance > 0, variance, xp.ones_like(variance)))
        return (deviation if inverse else 1.0 / deviation)[None, :]
