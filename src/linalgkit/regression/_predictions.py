"""What a fitted linear model says: coefficients, predictions, intervals, score."""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    device,
    is_complex_dtype,
    is_sparse,
    library_name,
    namespace_of,
    widest_dtype,
)
from linalgkit._core.estimator import EstimatorMixin
from linalgkit._core.validation import check_finite_block, require_fitted
from linalgkit.regression._sketched_result import SketchedLstsqResult
from linalgkit.regression._stream import RegressionStream
from linalgkit.regression._targets import FLOATS, as_targets, check_targets, determination


class LinearPredictions(EstimatorMixin):
    """Coefficients and predictions of an estimator that keeps its rows in ``_stream``."""

    def result(self) -> SketchedLstsqResult:
        """Return coefficients, the intercept as the last of them, and intervals for all.

        Returns
        -------
        SketchedLstsqResult
            For the rows so far; the stream may go on.

        Raises
        ------
        NotFittedError
            Before the first row.

        Warns
        -----
        AccuracyWarning
            See the class; once for each new answer.
        """
        stream = self._fitted()
        if stream.answered is None:  # kept there: reading must not change `self`
            stream.answered = stream.answer()
        return stream.answered

    @property
    def coef_(self) -> Array:
        """Coefficients, (d,) or (k, d)."""
        x, d = self.result().x, self._fitted().part.d
        if x.ndim == 1:
            return x[:d]
        return array_namespace(x).matrix_transpose(x[:d, :])

    @property
    def intercept_(self) -> Any:
        """Constant, a Python number or (k,)."""
        x, stream = self.result().x, self._fitted()
        if not stream.options.fit_intercept:
            return 0.0
        last = x[-1, ...]
        if x.ndim == 2:
            return last
        return complex(last) if stream.form.is_complex else float(last)

    def predict(self, X: Any) -> Array:
        """Return predictions for rows of features.

        Parameters
        ----------
        X : array (b, d) or sparse container
            Features.

        Returns
        -------
        array (b,) or (b, k)
            ``X coef + intercept``.
        """
        x = self.result().x
        rows, xp = self._rows(X)
        columns = x if x.ndim == 2 else x[:, None]
        found = self._product(rows, columns, xp)
        return found[:, 0] if x.ndim == 1 else found

    def predict_interval(self, X: Any, level: float = 0.95) -> tuple[Array, Array]:
        """Return intervals for new observations, one for each row of features and each target.

        Parameters
        ----------
        X : array (b, d) or sparse container
            Features.
        level : float, default 0.95
            Probability that an interval covers its observation, in (0, 1).

        Returns
        -------
        lower, upper : array (b,) or (b, k)
            The ends; for complex targets, those of the real and the imaginary part.

        Raises
        ------
        ValueError
            If `level` is out of range, or there are no more rows than unknowns.

        Notes
        -----
        The level holds for independent normal noise of one variance (a row of weight w having
        1/w of it), up to the approximation of the quantile by Satterthwaite's degrees of freedom;
        noise, error of the least-squares solution and error of the sketch are all counted. The
        variance is estimated from the sketch, for ridge regression with the bias included.
        """
        result = self.result()
        rows, xp = self._rows(X)

        def product(M: Array) -> Array:
            return self._product(rows, M, xp)

        return result._observation(product, level)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions, averaged over targets.

        Parameters
        ----------
        X : array (b, d) or sparse container
            Features.
        y : array (b,) or (b, k)
            Targets.
        sample_weight : array (b,), optional
            Weights.

        Returns
        -------
        float
            1 less the ratio of the squared errors to the squared deviations from the mean.
        """
        targets = as_targets(y)
        predicted = self.predict(X)
        check_targets(predicted, targets)
        xp = array_namespace(targets, predicted)
        wide = widest_dtype(xp, device(predicted), predicted.dtype)
        targets, predicted = (
            xp.astype(v if v.ndim == 2 else v[:, None], wide, copy=False)
            for v in (targets, predicted)
        )
        return determination(targets, predicted, sample_weight, xp)

    def _rows(self, X: Any) -> tuple[Any, Namespace]:
        """Return checked rows of features and their namespace."""
        stream = self._fitted()
        rows = self._validate_features(X, reset=False)
        xp, where = namespace_of(rows)
        part = stream.part
        if library_name(xp) != library_name(part.xp) or where != part.device:
            raise TypeError(
                f"X must be of {library_name(part.xp)} on {part.device} as the rows were, got "
                f"{library_name(xp)} on {where}. Convert it first."
            )
        if is_complex_dtype(xp, rows.dtype) and not stream.form.is_complex:
            raise TypeError(f"X must be real as the rows were, got complex {rows.dtype}.")
        check_finite_block(rows)
        return (rows.tocsr() if is_sparse(rows) else rows), xp

    def _product(self, rows: Any, M: Array, xp: Namespace) -> Array:
        """Return ``[rows 1] M`` for `M` with a row for each unknown."""
        d = self._fitted().part.d
        is_float = xp.isdtype(rows.dtype, FLOATS)
        dtype = xp.result_type(rows.dtype, M.dtype) if is_float else M.dtype
        if is_sparse(rows):
            rows = rows.astype(dtype, copy=False)
        else:
            rows = xp.astype(rows, dtype, copy=False)
        M = xp.astype(M, dtype, copy=False)
        found = rows @ M[:d, :]
        return found + M[d:, :] if M.shape[0] > d else found

    def _fitted(self) -> RegressionStream:
        stream: RegressionStream | None = self.__dict__.get("_stream")
        require_fitted(self, stream is not None)
        assert stream is not None
        return stream
