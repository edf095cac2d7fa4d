"""Matrix completion as an estimator, for entries that arrive in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

from linalgkit._core.array import Array, is_sparse, numpy_namespace, to_numpy
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import Features, as_array, feature_names
from linalgkit._core.random import undone_on_error
from linalgkit._core.scaling import norm_fro
from linalgkit._core.validation import (
    check_array_2d,
    check_finite_block,
    check_same_place,
    require_fitted,
)
from linalgkit.completion._attributes import AnswerAttributes
from linalgkit.completion._entries import Entries, joined, read_block
from linalgkit.completion._entry_store import NOT_SAVED, AnswerPlace, EntryStore, is_array
from linalgkit.completion._held_out import _stored_places
from linalgkit.completion._new_rows import observed_as, regressed, restored, width
from linalgkit.completion._observed import Observed
from linalgkit.completion._refit import check_options, fitted, thread_count
from linalgkit.completion._result import CompletionResult
from linalgkit.completion._triples import is_triple

_HOST = numpy_namespace()


@capability(
    "completion.MatrixCompletion",
    sparse=True,
    streaming=True,
    synchronisations={"block": 2, "result": 60},
)
class MatrixCompletion(EntryStore, AnswerAttributes):
    """Low-rank matrix completion of entries that arrive in blocks.

    The parameters are those of :func:`complete_matrix`, which says what is solved.

    Parameters
    ----------
    rank : int, optional
        Columns of the factors; None finds it.
    solver : str, default "auto"
        How each half step is solved.
    alpha : float or None, default 0.0
        Weight of the squared norms of the factors; None finds it on held-out entries.
    loss : {"squared", "huber", "l1"}
        Loss of a residual.
    loss_scale : float, optional
        Residual from which on the robust losses grow linearly.
    bias, center, shrink : bool, default False
        Whether rows and columns have offsets, the mean is taken off, components are shrunk one by
        one.
    init : str, default "svd"
        Start.
    continuation, polish : bool, default True
        Whether the ridge falls to `alpha`, and whether Gauss-Newton steps end the work.
    tol : float, optional
        Relative change that ends the work.
    max_sweeps : int, default 200
        Most sweeps of a full solution.
    max_rank : int, optional
        Largest rank tried where it is to be found.
    validation : float or mask, optional
        Entries held out: a fraction, or a boolean or sparse matrix (m, n).
    refit_sweeps : int, default 2
        Sweeps that follow new entries, if they are at most a tenth of those of the last full
        solution.
    n_threads : int, optional
        Threads of the kernels.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of random starts and of held-out entries. All but an integer gives one integer to
        each stream, with which every answer is found.
    callback : callable, optional
        Called as ``callback(sweep, loss)``; True ends the work.

    Attributes
    ----------
    result_ : CompletionResult
        The answer to all entries so far.
    components_ : array (k, n)
        ``V^H``.
    singular_values_ : array (k,)
        Of the product of the factors.
    mean_ : float or complex
        Offset of all entries.
    row_bias_, column_bias_ : array (m,), (n,) or None
        Offsets of the lines.
    rank_ : int
        Columns k of the factors.
    n_entries_ : int
        Entries taken in; those of weight 0 are left out.
    n_features_in_ : int
        Columns n.

    Raises
    ------
    TypeError
        For arguments of a wrong kind, a change of library or device between blocks.
    ValueError
        For options out of range, entries outside the shape or given twice, NaN or infinity, a
        first block without a shape, another shape than before, damaged files. The state stays as
        it was.

    Warns
    -----
    AccuracyWarning
        As :func:`complete_matrix`, once for each full solution.

    See Also
    --------
    complete_matrix : the same for entries that are all there.
    LowRankImputer : fills in the missing entries of tables.

    Notes
    -----
    An answer is found when it is first asked for after new entries. The first one, and each one
    after more than a tenth of new entries, is that of :func:`complete_matrix` for all entries in
    canonical order: how they were cut into calls, and in which order they came, changes no bit of
    it. After fewer new entries the last answer is improved by `refit_sweeps` sweeps with its rank
    and ridge, and so depends on what was asked before; `fit` starts anew.

    Options are checked against the shape when a stream starts. Those changed while it is under way
    wait for the next `fit`. A saved state holds no callback and no number of threads.

    What is left out to judge a model are entries, not rows, so that scikit-learn's ``GridSearchCV``
    and ``cross_val_score``, which cut rows, do not apply. Let ``rank=None`` or ``alpha=None`` be
    found with `validation`, compare ``result_.validation_rmse``, or fit some of the triples and
    call :meth:`score` with the others::

        folds = np.random.default_rng(0).integers(5, size=rows.size)
        for fold in range(5):
            i, o = folds != fold, folds == fold
            model = MatrixCompletion(rank).fit((rows[i], cols[i], values[i], shape))
            scores.append(model.score((rows[o], cols[o], values[o])))

    Storage: that of :func:`complete_matrix` for all entries, and a number of 64 bits, value and
    weight for each entry that came since the last answer.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion import MatrixCompletion
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    >>> rows, cols = np.nonzero(rng.random((40, 30)) < 0.6)
    >>> model = MatrixCompletion(2, rng=0)
    >>> for part in np.array_split(np.arange(rows.size), 3):
    ...     i, j = rows[part], cols[part]
    ...     model = model.partial_fit(i, j, A[i, j], shape=A.shape)
    >>> bool(np.allclose(model.predict([0, 5, 7], [3, 3, 9]), A[[0, 5, 7], [3, 3, 9]]))
    True
    >>> model.components_.shape, model.transform(A[:5]).shape
    ((2, 30), (5, 2))
    """

    _accepts_sparse = True
    _allows_nan = True

    def __init__(
        self,
        rank: int | None = None,
        *,
        solver: str = "auto",
        alpha: float | None = 0.0,
        loss: str = "squared",
        loss_scale: float | None = None,
        bias: bool = False,
        center: bool = False,
        shrink: bool = False,
        init: str = "svd",
        continuation: bool = True,
        tol: float | None = None,
        max_sweeps: int = 200,
        polish: bool = True,
        max_rank: int | None = None,
        validation: Any = None,
        refit_sweeps: int = 2,
        n_threads: int | None = None,
        rng: Any = None,
        callback: Callable[[int, float], object] | None = None,
    ) -> None:
        self.rank = rank
        self.solver = solver
        self.alpha = alpha
        self.loss = loss
        self.loss_scale = loss_scale
        self.bias = bias
        self.center = center
        self.shrink = shrink
        self.init = init
        self.continuation = continuation
        self.tol = tol
        self.max_sweeps = max_sweeps
        self.polish = polish
        self.max_rank = max_rank
        self.validation = validation
        self.refit_sweeps = refit_sweeps
        self.n_threads = n_threads
        self.rng = rng
        self.callback = callback

    # ------------------------------------------------------------------------ entries come in

    def fit(self, X: Any, y: Any = None, *, mask: Any = None, weights: Any = None) -> Self:
        """Start anew with some entries, and solve.

        Parameters
        ----------
        X : sparse container, array, masked array, dataframe, tuple or iterable
            Entries as :func:`complete_matrix` takes them.
        y : None
            Ignored; it is there for scikit-learn.
        mask : boolean array (m, n), optional
            True where a dense `X` is observed.
        weights : array or sparse container, optional
            Weights of squared errors, in the form of `X`.

        Returns
        -------
        MatrixCompletion
            The object itself. After an error it is as it was before the call.
        """
        self._check_table(X, fitted=False)
        with undone_on_error(self.rng):
            options = self._started()
            threads = thread_count(options["n_threads"])
            data = observed_as("X", X, threads, mask=mask, weights=weights)
            check_options(options, data.shape)
            answer = fitted(data, options)
        self._settle(data, answer, options, full=True)
        self._set_features(Features(data.shape[1], feature_names(X)))
        return self

    def partial_fit(
        self, rows: Any, cols: Any, values: Any, shape: Any = None, *, weights: Any = None
    ) -> Self:
        """Take in further entries; the answer is found when it is asked for.

        Parameters
        ----------
        rows, cols : array of integers or list (b,)
            Places of the entries, from 0.
        values : array or list (b,)
            Their values, finite.
        shape : tuple of int, optional
            (m, n), needed in the first call and the same in later ones.
        weights : array or list (b,), optional
            Weights of squared errors, finite and at least 0; 1 for entries without. An entry of
            weight 0 is left out, as if it had not come.

        Returns
        -------
        MatrixCompletion
            The object itself. After an error it is as it was before the call.
        """
        before = self._shape
        if shape is None and before is None:
            raise ValueError(
                "shape must be given with the first entries, got None. The largest index does not "
                "tell it: partial_fit(rows, cols, values, shape=(m, n))."
            )
        block = read_block(rows, cols, values, before if shape is None else shape, weights)
        if before is not None and block.shape != before:
            raise ValueError(
                f"shape must be {before} as in the first call, got {block.shape}. Give the shape "
                "of the whole matrix from the start."
            )
        self._take(block)
        return self

    def merge(self, other: MatrixCompletion) -> Self:
        """Take in all entries of another object.

        Parameters
        ----------
        other : MatrixCompletion
            With equal options (but for `rng`, `callback` and `n_threads`) and entries of its own;
            it is not changed.

        Returns
        -------
        MatrixCompletion
            The object itself.

        Raises
        ------
        TypeError
            If `other` is no MatrixCompletion, or library or device differ.
        ValueError
            If an option or the shape differs, or both have the same entry.
        """
        if not isinstance(other, MatrixCompletion):
            raise TypeError(
                "only objects of one class can be merged, got MatrixCompletion and "
                f"{type(other).__name__}."
            )
        _check_same_options(self._options(), other._options())
        if other._shape is None:
            return self
        if self._shape is not None and other._shape != self._shape:
            raise ValueError(
                f"the shapes must agree for a merge, got {self._shape} and {other._shape}."
            )
        parts = other._all_parts()
        if parts:
            self._take(joined(parts))
        elif self._shape is None:
            self._begin(other._shape)
        return self

    # ------------------------------------------------------------------------------- answers

    def result(self) -> CompletionResult:
        """Return the answer to all entries so far, which is kept until more come.

        Returns
        -------
        CompletionResult
            As of :func:`complete_matrix`.

        Raises
        ------
        NotFittedError
            Before any entry.
        """
        require_fitted(self, self._shape is not None)
        if self._parts or self.__dict__.get("_answer") is None:
            self._solve()
        answer: CompletionResult = self._answer
        return answer

    @property
    def n_entries_(self) -> int:
        """Entries taken in."""
        require_fitted(self, self._shape is not None)
        data: Observed | None = self._data
        return sum(p.count for p in self._parts) + (0 if data is None else data.count)

    def transform(self, X: Any, *, mask: Any = None, weights: Any = None) -> Any:
        """Return the factors of new rows, by least squares against the columns' factor.

        Parameters
        ----------
        X : sparse container, array, masked array, dataframe or tuple
            Rows of n columns, observed in part, as in `fit`.
        mask : boolean array, optional
            True where a dense `X` is observed.
        weights : array or sparse container, optional
            Weights of squared errors.

        Returns
        -------
        array (r, k) or (r, k + 1)
            Factors; with ``bias=True`` the bias of each row is the last of its numbers. Zeros for
            rows of which nothing is observed; one at least must have an entry.

        Raises
        ------
        TypeError, ValueError
            As in `fit`, and for another library or another number of columns.

        Notes
        -----
        The ridge is that of the rows in the answer; the loss is squared whatever `loss` is.
        Storage: as :func:`complete_matrix` takes for the entries of `X`, and the result.
        """
        result = self.result()
        self._check_table(X, fitted=True)
        data = observed_as("X", X, mask=mask, weights=weights)
        self._check_new(data)
        return self._wrap_output(regressed(result, data), X)

    def inverse_transform(self, codes: Any) -> Array:
        """Return completed rows from their factors.

        Parameters
        ----------
        codes : array (r, k) or (r, k + 1)
            What :meth:`transform` returns.

        Returns
        -------
        array (r, n)
            The rows.
        """
        result = self.result()
        codes, _ = check_array_2d(
            "codes", as_array(codes, "codes"), n_columns=width(result), why="as transform returns"
        )
        check_same_place(codes, AnswerPlace(result), "codes")
        check_finite_block(codes, name="codes")
        return restored(result, codes)

    def score(self, X: Any, y: Any = None, *, mask: Any = None, weights: Any = None) -> float:
        """Return the coefficient of determination of the values at some entries.

        Parameters
        ----------
        X : sparse container, array, masked array, dataframe or tuple
            Entries of the same matrix, for instance (rows, cols, values) of a test; as in `fit`.
        y : None
            Ignored.
        mask : boolean array (m, n), optional
            True where a dense `X` counts.
        weights : array or sparse container, optional
            Weights of squared errors.

        Returns
        -------
        float
            1 less the ratio of the squared errors to the squared deviations from the mean of the
            values; 1 or 0 if all these are equal. Larger is better.

        Raises
        ------
        TypeError, ValueError
            As in `fit`, and for another shape.
        """
        result = self.result()
        if isinstance(X, tuple) and len(X) == 3 and is_triple(X):
            X = (*X, result.shape)
        self._check_table(X, fitted=True)
        data = observed_as("X", X, mask=mask, weights=weights)
        if data.shape != result.shape:
            raise ValueError(
                f"X must have the shape {result.shape} of the completed matrix, got {data.shape}. "
                "Entries are left out to judge it, not rows: pass those as (rows, cols, values)."
            )
        check_same_place(data.row_values, AnswerPlace(result), "X")
        return _determination(result, Entries.of(data))

    def _check_new(self, data: Observed) -> None:
        """Refuse rows of other columns or of another library."""
        n = self.result().shape[1]
        if data.shape[1] != n:
            raise ValueError(
                f"X has {data.shape[1]} features, but {type(self).__name__} is expecting {n} "
                "features as input."
            )
        check_same_place(data.row_values, AnswerPlace(self.result()), "X")


def _determination(result: CompletionResult, data: Entries) -> float:
    """Return the coefficient of determination at some entries."""
    xp, values = data.xp, data.values
    rows, columns = (x for x in divmod(data.keys, result.shape[1]))
    dtype = xp.result_type(values.dtype, result.U.dtype)
    predicted = xp.astype(result.predict(rows, columns), dtype, copy=False)
    values = xp.astype(values, dtype, copy=False)
    if data.weights is None:
        mean, roots = xp.mean(values), None
    else:
        weights = xp.astype(data.weights, dtype, copy=False)
        mean, roots = xp.sum(values * (weights / xp.sum(weights))), xp.sqrt(data.weights)
    left, spread = (
        norm_fro(x if roots is None else x * xp.astype(roots, dtype, copy=False), xp)
        for x in (values - predicted, values - mean)
    )
    if spread == 0.0:
        return 1.0 if left == 0.0 else 0.0
    return 1.0 - (left / spread) ** 2 if math.isfinite(left) else -math.inf


def _check_same_options(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuse to merge objects that would solve in two ways."""
    for name, value in mine.items():
        if name not in (*NOT_SAVED, "rng") and not _same(value, theirs[name]):
            raise ValueError(
                f"{name} must agree for a merge, got {value!r} and {theirs[name]!r}. Start all "
                "parts with the same options."
            )


def _same(a: Any, b: Any) -> bool:
    """Compare two options; sparse ones by the places that they store."""
    if is_sparse(a) or is_sparse(b):
        return is_sparse(a) and is_sparse(b) and _same_places(a, b)
    a, b = (x.to_numpy() if hasattr(x, "to_numpy") else x for x in (a, b))
    if a is b or not (is_array(a) or is_array(b)):
        return a is b or bool(a == b)
    if not (is_array(a) and is_array(b)) or tuple(a.shape) != tuple(b.shape):
        return False
    return bool((to_numpy(a) == to_numpy(b)).all())


def _same_places(a: Any, b: Any) -> bool:
    """Tell whether two sparse matrices store numbers at the same places."""
    if tuple(a.shape) != tuple(b.shape):
        return False
    n = int(a.shape[1])
    mine, theirs = (
        _HOST.unique(rows * n + columns) for rows, columns in (_stored_places(a), _stored_places(b))
    )
    return bool(_HOST.array_equal(mine, theirs))
