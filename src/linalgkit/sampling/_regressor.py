"""Least squares from few, well chosen points, in scikit-learn's idiom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    device,
    widest_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import EstimatorMixin, Features, as_array
from linalgkit._core.random import undone_on_error
from linalgkit._core.scaling import norm_fro
from linalgkit._core.validation import check_finite_block, require_fitted
from linalgkit.sampling._design import Design, sample_design
from linalgkit.sampling._fit import LeastSquaresFit, joint_dtype, weighted_lstsq


@capability("sampling.DPPLeastSquares", synchronisations={"fit": 26, "prediction": 2})
class DPPLeastSquares(EstimatorMixin):
    """Linear least squares from the few points that a determinantal design picks.

    ``fit(function)`` chooses the points, asks the function for its values there, and fits.
    ``fit(X, y)`` picks rows of `X` and uses the targets of those rows only.

    Parameters
    ----------
    space : TensorBasis or UserBasis, optional
        Where to approximate. None: the linear functions of the columns of `X`, without constant
        (add a column of ones for one); for ``fit(X, y)`` only.
    n : int, optional
        Points, at least the dimension m; ``ceil(oversampling m)`` by default.
    method : {"rdpp", "volume", "iid"}, default "rdpp"
        Kind of the design.
    oversampling : float, default 3
        Points a dimension, where `n` is not given.
    condition : ("lmin", delta) or ("norm", delta), optional
        Draw designs until their Gram matrix fulfils this.
    boost : int, default 1
        Designs of which the best is kept.
    subsample : {"greedy", "bss"}, optional
        How points are left out afterwards.
    mixture : float, default 1.0
        Share of the optimal law.
    max_tries : int, default 100
        Designs drawn at most.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the points.

    Attributes
    ----------
    coef_ : array (m,) or (q, m)
        Coefficients in the basis of the space; a row for each target, as in scikit-learn.
    design_ : Design
        The points and their weights.
    fit_ : LeastSquaresFit
        The fit, with its error bound; with a space also its mean, variance and Sobol indices.
    indices_ : integer array (n,)
        Rows of `X` that were picked, with repetitions; not there after ``fit(function)``.
    n_features_in_ : int
        Columns of `X`, or coordinates of a point.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If options are out of range, shapes do not fit, data hold NaN or infinity, `X` is of
        deficient rank, or the function returns the wrong number of values.
    RuntimeError
        If the condition is not fulfilled within `max_tries` designs.

    See Also
    --------
    sample_design : the options of the design.
    weighted_lstsq : the fit.

    Notes
    -----
    With a matrix and ``method="volume"`` (no condition, boost or subsample) the coefficients are
    unbiased for those of the fit to all rows. `score` judges predictions on data given there.

    Storage: as :func:`~linalgkit.sampling.sample_design` and
    :func:`~linalgkit.sampling.weighted_lstsq` say; with a space and ``fit(X, y)`` also the values
    of the basis at all rows, ``N m`` numbers.

    References
    ----------
    .. [1] A. Nouy, B. Michel, "Weighted least-squares approximation with determinantal point
       processes and generalized volume sampling", arXiv:2312.14057.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.sampling import DPPLeastSquares
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((10_000, 4))
    >>> y = X @ [1.0, 2.0, 3.0, 4.0] + 0.01 * rng.standard_normal(10_000)
    >>> model = DPPLeastSquares(n=40, rng=0).fit(X, y)
    >>> len(model.indices_), bool(model.score(X, y) > 0.99)
    (40, True)
    """

    _estimator_type_name = "regressor"
    _requires_target = True

    def __init__(
        self,
        space: Any = None,
        *,
        n: int | None = None,
        method: str = "rdpp",
        oversampling: float = 3,
        condition: tuple[str, float] | None = None,
        boost: int = 1,
        subsample: str | None = None,
        mixture: float = 1.0,
        max_tries: int = 100,
        rng: Any = None,
    ) -> None:
        self.space = space
        self.n = n
        self.method = method
        self.oversampling = oversampling
        self.condition = condition
        self.boost = boost
        self.subsample = subsample
        self.mixture = mixture
        self.max_tries = max_tries
        self.rng = rng

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn needs to know (only it calls this)."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    # --------------------------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose points and fit.

        Parameters
        ----------
        X : callable, or array (N, d)
            A function that takes points (n, d) and returns values (n,) or (n, q); or rows, of
            which some are picked.
        y : array (N,) or (N, q), optional
            Targets of all rows; for a function there is none.

        Returns
        -------
        DPPLeastSquares
            The object itself. After an error it is as it was before the call.
        """
        if self.space is not None and not hasattr(self.space, "evaluate"):
            raise TypeError(
                "space must be None, a TensorBasis or a UserBasis, got "
                f"{type(self.space).__name__}. A matrix is passed to fit, with its targets."
            )
        with undone_on_error(self.rng):
            if callable(X) and not hasattr(X, "shape"):
                self._fit_function(X, y)
            else:
                self._fit_rows(X, y)
        return self

    def _fit_function(self, function: Callable[[Any], Any], y: Any) -> None:
        if y is not None:
            raise TypeError("y must be None where X is a function, which gives the values itself.")
        if self.space is None:
            raise ValueError(
                "space must be a TensorBasis or a UserBasis to fit a function, got None. Pass "
                "space=, or rows and targets to fit."
            )
        design = self._sampled(self.space)
        fit = weighted_lstsq(design, function(design.points), space=self.space)
        points = design.points
        self._take(design, fit, Features(int(points.shape[1]) if points.ndim == 2 else 1, None))

    def _fit_rows(self, X: Any, y: Any) -> None:
        rows, features = self._check_features(X, reset=True)
        targets = _checked_targets(y, rows)
        check_finite_block(rows, name="X")
        matrix = rows if self.space is None else self.space.evaluate(rows)
        _check_enough(matrix)
        xp = array_namespace(matrix, targets)
        design = self._sampled(matrix)
        fit = weighted_lstsq(design, xp.take(targets, design.indices, axis=0), space=matrix)
        self._take(design, replace(fit, space=self.space), features)

    def _sampled(self, space: Any) -> Design:
        options = self.get_params(deep=False)
        del options["space"]
        return sample_design(space, options.pop("n"), **options)

    def _take(self, design: Design, fit: LeastSquaresFit, features: Features) -> None:
        """Commit what was learned."""
        self._set_features(features)
        self.design_, self.fit_ = design, fit
        self.__dict__.pop("indices_", None)
        if design.indices is not None:
            self.indices_ = design.indices

    # --------------------------------------------------------------------------------- answers

    @property
    def coef_(self) -> Array:
        """Coefficients, (m,) or (q, m)."""
        require_fitted(self, "fit_" in self.__dict__, "fit")
        coef = self.fit_.coef
        return coef if coef.ndim == 1 else array_namespace(coef).matrix_transpose(coef)

    def predict(self, X: Any) -> Array:
        """Return predictions.

        Parameters
        ----------
        X : array (k, d)
            Rows, or points of the space.

        Returns
        -------
        array (k,) or (k, q)
            Predictions.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        require_fitted(self, "fit_" in self.__dict__, "fit")
        rows = self._validate_features(X, reset=False)
        check_finite_block(rows, name="X")
        return self.fit_.predict(rows)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions, averaged over targets.

        Parameters
        ----------
        X : array (k, d)
            Rows, or points of the space.
        y : array (k,) or (k, q)
            Targets.
        sample_weight : array (k,), optional
            Weights, not negative.

        Returns
        -------
        float
            1 less the ratio of the squared errors to the squared deviations from the mean.
        """
        predicted = self.predict(X)
        targets = _checked_targets(y, predicted)
        xp = array_namespace(targets, predicted)
        if targets.ndim != predicted.ndim:
            raise ValueError(
                f"y must have the shape of the predictions, {tuple(predicted.shape)}, got "
                f"{tuple(targets.shape)}."
            )
        dtype = widest_dtype(xp, device(predicted), joint_dtype(xp, predicted, targets))
        targets, predicted = (
            xp.astype(v if v.ndim == 2 else v[:, None], dtype, copy=False)
            for v in (targets, predicted)
        )
        return _determination(targets, predicted, sample_weight, xp)


def _check_enough(matrix: Array) -> None:
    """Refuse fewer rows than functions, in the words that scikit-learn's checks look for."""
    count, m = int(matrix.shape[0]), int(matrix.shape[1])
    if count < m:
        raise ValueError(
            f"X must have at least as many rows as there are functions, {m}, got {count} "
            "sample(s). Pass more rows, or take a smaller basis."
        )


def _checked_targets(y: Any, rows: Array) -> Array:
    """Return targets as an array that fits beside the rows."""
    if y is None:
        raise ValueError(
            "DPPLeastSquares requires y to be passed, but the target y is None. Pass one target "
            "for each row, or a function instead of X."
        )
    targets = as_array(y, "y")
    array_namespace(targets, rows)
    if targets.ndim not in (1, 2) or targets.shape[0] != rows.shape[0] or 0 in targets.shape[1:]:
        raise ValueError(
            f"y must have one target, or a row of them, for each of the {rows.shape[0]} rows of X, "
            f"got shape {tuple(targets.shape)}: inconsistent numbers of samples."
        )
    check_finite_block(targets, name="y")
    return targets


def _determination(y: Array, predicted: Array, weights: Any, xp: Namespace) -> float:
    """Return the mean over the columns of ``1 - ||y - predicted||^2 / ||y - mean||^2``."""
    roots = _roots(y, weights, xp)
    mean = xp.sum(roots * roots * y, axis=0, keepdims=True) / xp.sum(roots * roots)
    scores = []
    for j in range(int(y.shape[1])):
        error = norm_fro(roots * (y - predicted)[:, j : j + 1], xp)
        scatter = norm_fro(roots * (y - mean)[:, j : j + 1], xp)
        scores.append(1 - (error / scatter) ** 2 if scatter > 0 else float(error == 0))
    return sum(scores) / len(scores)


def _roots(y: Array, weights: Any, xp: Namespace) -> Array:
    """Return the square roots of the weights, as a column."""
    if weights is None:
        return xp.ones_like(y[:, :1])
    weights = as_array(weights, "sample_weight")
    if tuple(weights.shape) != (y.shape[0],):
        raise ValueError(
            f"sample_weight must have one entry for each of the {y.shape[0]} rows, got shape "
            f"{tuple(weights.shape)}."
        )
    check_finite_block(weights, name="sample_weight")
    if bool(xp.any(weights < 0)) or not bool(xp.any(weights > 0)):
        raise ValueError("sample_weight must not be negative, nor zero for all rows.")
    return xp.sqrt(xp.astype(weights, y.dtype))[:, None]
