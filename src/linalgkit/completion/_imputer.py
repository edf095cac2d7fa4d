"""Missing entries of tables, filled in from a completion of low rank."""

from __future__ import annotations

import warnings
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    array_namespace,
    is_complex_dtype,
    is_sparse,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.array import device as device_of
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import TransformerMixin
from linalgkit._core.random import undone_on_error
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import AccuracyWarning, check_same_place, require_fitted
from linalgkit.completion._entry_store import AnswerPlace, is_seed, saved_mask
from linalgkit.completion._new_rows import empty_codes, observed_as, regressed, restored
from linalgkit.completion._observed import Observed
from linalgkit.completion._refit import fitted, thread_count
from linalgkit.completion._result import CompletionResult
from linalgkit.completion._sources import is_masked, without_nullable
from linalgkit.completion._triples import checked_dtype

_HOST = numpy_namespace()
# Residuals of a column, as a share of its standard deviation, below which it is interpolated, and
# above which its own mean would have fitted it better.
_INTERPOLATED, _WORSE = 1e-3, 1.0
_PIECE = 2**22  # entries at a time whose residuals are formed
#: Options of `complete_matrix` that an imputer leaves alone.
_FIXED = {"init": "svd", "continuation": True, "polish": True, "center": False, "callback": None}


@capability("completion.LowRankImputer", synchronisations={"fit": 65, "transform": 7})
class LowRankImputer(TransformerMixin, Stateful):
    """Fill in the missing entries (NaN) of tables from a model of low rank.

    Each entry is taken for ``mean + row_bias + column_bias + u . v`` plus noise. The defaults find
    the rank, a ridge for each component and the noise by themselves. Squared errors of all columns
    are added up: bring columns of different units to one scale first (``StandardScaler`` keeps
    NaN).

    Parameters
    ----------
    rank : int, optional
        Columns of the factors; with shrinkage the most that may stay. None finds it.
    alpha : float or None, default 0.0
        Without shrinkage, weight of the squared norms of the factors; None finds it on held-out
        entries.
    bias : bool, default True
        Whether rows and columns have offsets.
    shrink : bool, default True
        Whether each component is shrunk by itself, as the data ask for.
    loss : {"squared", "huber", "l1"}
        Loss of a residual; the robust ones need ``shrink=False``.
    loss_scale : float, optional
        Residual from which on a robust loss grows linearly.
    solver : str, default "auto"
        How each half step is solved.
    tol : float, optional
        Relative change that ends the work.
    max_sweeps : int, default 200
        Most sweeps.
    max_rank : int, optional
        Largest rank tried where it is to be found.
    validation : float or boolean array (rows, features), optional
        Entries held out.
    n_threads : int, optional
        Threads of the kernels.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the start and of held-out entries.

    Attributes
    ----------
    result_ : CompletionResult
        The completed table that was fitted, with its noise and intervals.
    components_ : array (k, features)
        ``V^H``.
    rank_ : int
        Columns k of the factors.
    n_iter_ : int
        Sweeps made.
    n_features_in_ : int
        Features.

    Raises
    ------
    TypeError
        For options or data of a wrong kind, sparse data, another library in `transform`.
    ValueError
        For options out of range, infinity, a table without any observed entry, another number of
        features than in `fit`.

    Warns
    -----
    AccuracyWarning
        In `fit`, for columns without any observed entry, for columns of very different units, and
        as :func:`complete_matrix`. Units are taken to differ too much where the observed entries of
        one column are fitted worse than by its own mean, and those of another, which then rules
        the sum of squares, to 1e-3 of its standard deviation (root mean squares; columns that are
        constant do not count).

    See Also
    --------
    complete_matrix : the completion of one matrix, with every option.
    MatrixCompletion : the same for entries that arrive in blocks.

    Notes
    -----
    Observed entries come back bit for bit. Rows that `fit` has seen are filled by `fit_transform`
    from their fitted factors; `transform` regresses rows on the factor of the columns, with the
    same ridge, and fills a row of which nothing is observed with the offsets of the columns. A
    column that was never observed in `fit` stays in the table (scikit-learn's imputers drop it) and
    is filled with the offset of the row and the mean.

    Integers come back in the default float, the nullable ones of pandas among them, whose NA is
    missing. Columns of objects are refused, as everywhere: ``X.astype(float)`` makes numbers of
    those that hold numbers. Storage: that of
    :func:`complete_matrix`, and two tables.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion import LowRankImputer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 12)) + 5.0
    >>> X += 0.01 * rng.standard_normal(X.shape)
    >>> hidden = rng.random(X.shape) < 0.2
    >>> filled = LowRankImputer(rng=0).fit_transform(np.where(hidden, np.nan, X))
    >>> bool(np.sqrt(np.mean((filled - X)[hidden] ** 2)) < 0.03)
    True
    >>> bool((filled == X)[~hidden].all())
    True
    """

    _allows_nan = True

    def __init__(
        self,
        rank: int | None = None,
        *,
        alpha: float | None = 0.0,
        bias: bool = True,
        shrink: bool = True,
        loss: str = "squared",
        loss_scale: float | None = None,
        solver: str = "auto",
        tol: float | None = None,
        max_sweeps: int = 200,
        max_rank: int | None = None,
        validation: Any = None,
        n_threads: int | None = None,
        rng: Any = None,
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.bias = bias
        self.shrink = shrink
        self.loss = loss
        self.loss_scale = loss_scale
        self.solver = solver
        self.tol = tol
        self.max_sweeps = max_sweeps
        self.max_rank = max_rank
        self.validation = validation
        self.n_threads = n_threads
        self.rng = rng

    def fit(self, X: Any, y: Any = None) -> Self:
        """Complete a table.

        Parameters
        ----------
        X : array (rows, features), masked array or dataframe
            NaN (or what is masked) is missing.
        y : None
            Ignored; it is there for scikit-learn.

        Returns
        -------
        LowRankImputer
            The object itself. After an error it is as it was before the call.
        """
        self._fitted_to(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Complete a table and return it, filled from its fitted factors.

        Parameters
        ----------
        X : array (rows, features), masked array or dataframe
            NaN (or what is masked) is missing.
        y : None
            Ignored.

        Returns
        -------
        array (rows, features)
            Observed entries as they were.
        """
        table = self._fitted_to(X)
        return self._wrap_output(_filled(table, lambda: self._answer.block()), X)

    def transform(self, X: Any) -> Any:
        """Fill in the missing entries of a table.

        Parameters
        ----------
        X : array (rows, features), masked array or dataframe
            Of the library that was fitted; NaN (or what is masked) is missing.

        Returns
        -------
        array (rows, features)
            Observed entries as they were.
        """
        result = self.result_
        table, _ = self._check_features(_unmasked(X), reset=False)
        table = _in_working_dtype(table)
        check_same_place(table, AnswerPlace(result))
        _check_finite(table)
        return self._wrap_output(_filled(table, lambda: self._values(table)), X)

    @property
    def result_(self) -> CompletionResult:
        """The completed table that was fitted."""
        require_fitted(self, "_answer" in self.__dict__, "fit")
        answer: CompletionResult = self._answer
        return answer

    @property
    def components_(self) -> Array:
        """Right factor as rows, ``V^H``."""
        V = self.result_.V
        xp = array_namespace(V)
        turned = xp.matrix_transpose(V)
        return xp.conj(turned) if is_complex_dtype(xp, V.dtype) else turned

    @property
    def rank_(self) -> int:
        """Columns of the factors."""
        return self.result_.rank

    @property
    def n_iter_(self) -> int:
        """Sweeps made."""
        return self.result_.sweeps

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the names of the columns, which are those of the data.

        Parameters
        ----------
        input_features : sequence of str, optional
            Names to use where `fit` saw none; else compared with those seen.

        Returns
        -------
        ndarray of str
            ``"x0"``, ``"x1"`` and so on where there are none.
        """
        super().get_feature_names_out(input_features)  # compares them
        names = getattr(self, "feature_names_in_", None)
        if input_features is not None:
            names = input_features
        if names is None:
            names = [f"x{i}" for i in range(self.n_features_in_)]
        return _HOST.asarray(list(names), dtype=object)

    # ------------------------------------------------------------------------------- helpers

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_

    def _fitted_to(self, X: Any) -> Array:
        """Fit, and return the table in its working dtype."""
        table, features = self._check_features(_unmasked(X), reset=True)
        table = _in_working_dtype(table)
        options = {**self.get_params(deep=False), **_FIXED}
        with undone_on_error(self.rng):
            data = observed_as("X", table, thread_count(options["n_threads"]))
            answer = fitted(data, options)
        _warn_of_empty(data)
        _warn_of_units(table, answer, getattr(X, "columns", None))
        self._answer = answer
        self._set_features(features)
        return table

    def _values(self, table: Array) -> Array:
        """Return the model's values of all entries of a table."""
        result = self.result_
        xp = array_namespace(table)
        if bool(xp.all(xp.isnan(table))):
            return restored(result, empty_codes(result, int(table.shape[0])))
        data = observed_as("X", table, thread_count(self.n_threads))
        return restored(result, regressed(result, data))

    def _get_state(self) -> State:
        params = self.get_params(deep=False)
        params["rng"] = int(self.rng) if is_seed(self.rng) else None
        params["validation"] = saved_mask(self.validation)
        answer = self.__dict__.get("_answer")
        return {
            "params": params,
            "answer": None if answer is None else answer.to_state(),
            **self._features_to_state(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        model = cls(**state["params"])
        model._features_from_state(state)
        if state["answer"] is not None:
            like = xp.zeros((0,), dtype=xp.float32, device=device)
            model._answer = CompletionResult.from_state(state["answer"], like=like)
        return model


def _unmasked(X: Any) -> Any:
    """Return a masked array or nullable columns with NaN for what is missing, others as given."""
    if is_sparse(X):
        raise TypeError(
            f"X must be a dense table with NaN for what is missing, got the sparse "
            f"{type(X).__name__}. Use MatrixCompletion, for which the stored entries are the "
            "observed ones."
        )
    if not is_masked(X):
        return without_nullable(X)
    kind = checked_dtype("X", X.data, _HOST, "cpu")
    return _HOST.where(_HOST.broadcast_to(X.mask, X.shape), _HOST.nan, X.data.astype(kind))


def _in_working_dtype(table: Array) -> Array:
    xp = array_namespace(table)
    return xp.astype(table, checked_dtype("X", table, xp, device_of(table)), copy=False)


def _check_finite(table: Array) -> None:
    """Refuse infinity."""
    xp = array_namespace(table)
    bad = xp.isinf(table)
    if bool(xp.any(bad)):
        row, column = (int(x[0]) for x in _HOST.nonzero(to_numpy(bad)))
        raise ValueError(
            "X must be finite where it is observed, got infinity at (row, column) = "
            f"({row}, {column}). Set it to NaN if it is missing."
        )


def _filled(table: Array, values: Any) -> Array:
    """Return a table whose NaN are replaced by values, which are found only if there are any."""
    xp = array_namespace(table)
    missing = xp.isnan(table)
    if not bool(xp.any(missing)):
        return xp.asarray(table, copy=True)
    found = values()
    dtype = table.dtype
    if is_complex_dtype(xp, found.dtype) and not is_complex_dtype(xp, dtype):
        dtype = xp.result_type(found.dtype, dtype)
    return xp.where(
        missing, xp.astype(found, dtype, copy=False), xp.astype(table, dtype, copy=False)
    )


def _warn_of_empty(data: Observed) -> None:
    """Warn of columns without any observed entry."""
    empty = _HOST.flatnonzero(data.columns.lengths == 0)
    if empty.shape[0]:
        warnings.warn(
            f"No entry of {_listed(empty, None)} is observed: it is filled with the offset of the "
            "row and the mean. Leave it out if that is not wanted.",
            AccuracyWarning,
            stacklevel=4,
        )


def _warn_of_units(table: Array, result: CompletionResult, names: Any) -> None:
    """Warn where one column is interpolated at the cost of others."""
    shares = _residual_shares(table, result)
    worse, rulers = (_HOST.flatnonzero(x) for x in (shares > _WORSE, shares < _INTERPOLATED))
    if worse.shape[0] and rulers.shape[0]:
        warnings.warn(
            f"The observed entries of {_listed(worse, names)} are fitted worse than by the mean of "
            f"the column, while {_listed(rulers, names)}, of far larger numbers, is fitted "
            "exactly: the units differ too much, and what is filled in may be far off in every "
            "column. Bring the columns to one scale first, for instance by "
            "make_pipeline(StandardScaler(), LowRankImputer()).",
            AccuracyWarning,
            stacklevel=4,
        )


def _listed(columns: Any, names: Any) -> str:
    """Return the first few columns, by their names where they have some."""
    shown = [str(int(j)) if names is None else str(names[int(j)]) for j in columns[:5]]
    more = ", ..." if columns.shape[0] > 5 else ""
    return f"column{'s' * (columns.shape[0] > 1)} {', '.join(shown)}{more}"


def _residual_shares(table: Array, result: CompletionResult) -> Any:
    """Return the residuals of each column over its standard deviation, on the host."""
    xp = array_namespace(table)
    rows, n = (int(size) for size in table.shape)
    step = max(1, _PIECE // rows)
    parts = []
    for j in range(0, n, step):
        piece = slice(j, min(j + step, n))
        parts.append(_shares(xp, table[:, piece], result.block(None, piece)))
    return to_numpy(xp.concat(parts))


def _shares(xp: Namespace, X: Array, model: Array) -> Array:
    """Return root mean squares of residuals over standard deviations; NaN for constants."""
    missing = xp.isnan(X)
    zero = xp.zeros_like(X)
    number = xp.clip(xp.sum(xp.astype(~missing, xp.int64), axis=0), 1, None)
    mean = xp.sum(xp.where(missing, zero, X), axis=0) / xp.astype(number, X.dtype)
    spread = xp.sum(xp.where(missing, abs(zero), abs(X - mean)) ** 2, axis=0)
    left = xp.sum(xp.where(missing, abs(zero), abs(X - model)) ** 2, axis=0)
    rounding = (16 * xp.finfo(spread.dtype).eps * abs(mean)) ** 2
    varies = spread > rounding * xp.astype(number, spread.dtype)
    return xp.sqrt(left / xp.where(varies, spread, xp.full_like(spread, xp.nan)))
