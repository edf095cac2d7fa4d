"""Matrix completion as an estimator, for entries that arrive in blocks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    Device,
    Namespace,
    array_namespace,
    is_complex,
    library_of,
    to_numpy,
)
from linalgkit._core.array import device as _device
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import Features, TransformerMixin, as_array, feature_names
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.scaling import norm_fro
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import (
    check_array_2d,
    check_finite_block,
    check_int,
    check_same_place,
    message,
    require_fitted,
)
from linalgkit.completion._entries import Entries, joined, pushed, read_block
from linalgkit.completion._new_rows import observed_as, regressed, restored, width
from linalgkit.completion._observed import Observed
from linalgkit.completion._refit import fitted, refitted, thread_count
from linalgkit.completion._result import CompletionResult
from linalgkit.completion._triples import is_triple

_SEEDS = 2**63
_GROWTH = 0.1  # share of new entries up to which an answer is refitted
_NOT_SAVED = ("callback", "n_threads")


@capability("completion.MatrixCompletion", sparse=True, streaming=True)
class MatrixCompletion(TransformerMixin, Stateful):
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
        Entries taken in.
    n_features_in_ : int
        Columns n.

    Raises
    ------
    TypeError
        For arguments of a wrong kind, a change of library or device between blocks.
    ValueError
        For options out of range, entries outside the shape or given twice, NaN or infinity, a
        first block without a shape, another shape than before. The state stays as it was.

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

    Options changed while a stream is under way wait for the next `fit`. A saved state holds no
    callback and no number of threads.

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
        names = feature_names(X)
        with undone_on_error(self.rng):
            options = self._started()
            threads = thread_count(options["n_threads"])
            data = observed_as("X", X, threads, mask=mask, weights=weights)
            answer = fitted(data, options)
        self._settle(data, answer, options, full=True)
        self._set_features(Features(data.shape[1], names))
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
            Weights of squared errors; 1 for entries without.

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
        self._take(joined(other._all_parts()))
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
    def result_(self) -> CompletionResult:
        """The answer."""
        return self.result()

    @property
    def components_(self) -> Array:
        """Right factor as rows, ``V^H``."""
        V = self.result().V
        xp = array_namespace(V)
        turned = xp.matrix_transpose(V)
        return xp.conj(turned) if is_complex(V, xp) else turned

    @property
    def singular_values_(self) -> Array:
        """Singular values of the product of the factors."""
        return self.result().singular_values

    @property
    def mean_(self) -> complex:
        """Offset of all entries."""
        return self.result().mean

    @property
    def row_bias_(self) -> Array | None:
        """Offsets of the rows."""
        return self.result().row_bias

    @property
    def column_bias_(self) -> Array | None:
        """Offsets of the columns."""
        return self.result().col_bias

    @property
    def rank_(self) -> int:
        """Columns of the factors."""
        return self.result().rank

    @property
    def n_entries_(self) -> int:
        """Entries taken in."""
        require_fitted(self, self._shape is not None)
        data: Observed | None = self._data
        return sum(p.count for p in self._parts) + (0 if data is None else data.count)

    @property
    def _n_features_out(self) -> int:
        return width(self.result())

    def predict(self, rows: Any, cols: Any) -> Array:
        """Return completed values of some entries, see :meth:`CompletionResult.predict`.

        Parameters
        ----------
        rows, cols : int, sequence of int or array of integers
            Row and column of each entry; they are broadcast against each other.

        Returns
        -------
        array
            Values, of the shape of the broadcast indices.
        """
        return self.result().predict(rows, cols)

    def top_k(self, rows: Any, k: int, exclude: Any = None) -> tuple[Array, Array]:
        """Return the largest values of some rows, see :meth:`CompletionResult.top_k`.

        Parameters
        ----------
        rows : slice, int, sequence of int, array of integers, or None
            Rows; None for all of them.
        k : int
            How many of each row.
        exclude : None, "observed", sparse matrix, boolean array, or pair of indices
            Entries that are left out.

        Returns
        -------
        indices, values : array (r, k)
            Columns, and their values in descending order.
        """
        return self.result().top_k(rows, k, exclude)

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
        check_same_place(codes, _Place(result), "codes")
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
        data = observed_as("X", X, mask=mask, weights=weights)
        if data.shape != result.shape:
            raise ValueError(
                f"X must have the shape {result.shape} of the completed matrix, got {data.shape}."
            )
        check_same_place(data.row_values, _Place(result), "X")
        return _determination(result, Entries.of(data))

    # ------------------------------------------------------------------------------- helpers

    @property
    def _parts(self) -> tuple[Entries, ...]:
        """Entries that came since the last answer."""
        parts: tuple[Entries, ...] = self.__dict__.get("_new", ())
        return parts

    @property
    def _data(self) -> Observed | None:
        """Entries of the last answer."""
        return self.__dict__.get("_answered")

    @property
    def _shape(self) -> tuple[int, int] | None:
        """Shape of the stream, None before any entry."""
        return self.__dict__.get("_stream_shape")

    def _options(self) -> dict[str, Any]:
        """Return the options of the stream, or those that one would start with."""
        found = self.__dict__.get("_stream_options")
        return self.get_params(deep=False) if found is None else dict(found)

    def _started(self) -> dict[str, Any]:
        """Return the options of a new stream; a generator gives it a seed."""
        options = self.get_params(deep=False)
        check_int("refit_sweeps", options["refit_sweeps"], 1)
        if not _is_seed(self.rng):
            options["rng"] = int(as_generator(self.rng).integers(_SEEDS))
        return options

    def _take(self, block: Entries) -> None:
        """Commit entries after checking that they are new and of one library."""
        data, parts = self._data, self._parts
        for place in (data, *parts[:1]):
            if place is not None:
                check_same_place(block.values, place, "values")
        block.check_new(data)
        for part in parts:
            block.check_new(part)
        parts = pushed(parts, block)
        if self._shape is None:
            with undone_on_error(self.rng):
                options = self._started()
            self._stream_options, self._stream_shape = options, block.shape
            self._set_features(Features(block.shape[1], None))
        self._new = parts

    def _all_parts(self) -> list[Entries]:
        """Return all entries taken in."""
        data = self._data
        return [*([] if data is None else [Entries.of(data)]), *self._parts]

    def _solve(self) -> None:
        """Find the answer to all entries, and keep it."""
        options, data = self._options(), self._data
        if self._parts or data is None:
            parts = self._all_parts()
            if not parts:
                raise ValueError(
                    "an answer needs an observed entry, got none so far. Call partial_fit."
                )
            data = replace(joined(parts).observe(thread_count(options["n_threads"])), order=None)
        before = self.__dict__.get("_answer")
        most = (1.0 + _GROWTH) * self.__dict__.get("_full_count", 0)
        if before is None or before.rank == 0 or data.count > most:
            self._settle(data, fitted(data, options), options, full=True)
        else:
            self._settle(data, refitted(data, options, before), options, full=False)

    def _settle(
        self, data: Observed, answer: CompletionResult, options: dict[str, Any], *, full: bool
    ) -> None:
        """Commit an answer to all entries."""
        self._answer, self._new = answer, ()
        self.__dict__["_answered"] = data
        self._stream_options, self._stream_shape = options, data.shape
        if full:
            self._full_count = data.count

    def _check_new(self, data: Observed) -> None:
        """Refuse rows of other columns or of another library."""
        n = self.result().shape[1]
        if data.shape[1] != n:
            raise ValueError(
                f"X has {data.shape[1]} features, but {type(self).__name__} is expecting {n} "
                "features as input."
            )
        check_same_place(data.row_values, _Place(self.result()), "X")

    def __copy__(self) -> Self:
        """Return a copy that goes on by itself."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy; what never changes is shared."""
        twin = type(self).__new__(type(self))
        shared = ("_answered", "_answer", "_new")
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value if name in shared else copy.deepcopy(value, memo)
        return twin

    # --------------------------------------------------------------------------------- state

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: entries travel as host data."""
        state = super().__getstate__()
        data, parts = self._data, self._parts
        state["_answered"] = None if data is None else Entries.of(data).to_state()
        state["_new"] = [part.to_state() for part in parts]
        like = data.row_values if data is not None else parts[0].values if parts else None
        state["_like"] = None if like is None else like[:0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        like = self.__dict__.pop("_like")
        if like is not None:
            place = {"xp": array_namespace(like), "device": _device(like)}
            self._set_entries(state["_answered"], state["_new"], place)

    def _set_entries(self, answered: Any, new: Any, place: dict[str, Any]) -> None:
        """Take entries back from host data."""
        self._new = tuple(Entries.from_state(part, **place) for part in new)
        threads = thread_count(self._options()["n_threads"])
        if answered is None:
            self.__dict__["_answered"] = None
        else:
            data = Entries.from_state(answered, **place).observe(threads)
            self.__dict__["_answered"] = replace(data, order=None)

    def _get_state(self) -> State:
        data, answer = self._data, self.__dict__.get("_answer")
        options = self.__dict__.get("_stream_options")
        return {
            "params": _saved(self.get_params(deep=False)),
            "options": None if options is None else _saved(options),
            "shape": None if self._shape is None else list(self._shape),
            "answered": None if data is None else Entries.of(data).to_state(),
            "new": [part.to_state() for part in self._parts],
            "answer": None if answer is None else answer.to_state(),
            "full_count": self.__dict__.get("_full_count", 0),
            **self._features_to_state(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        place = {"xp": xp, "device": device}
        model = cls(**state["params"])
        model._features_from_state(state)
        if state["shape"] is None:
            return model
        m, n = state["shape"]
        model._stream_options, model._stream_shape = state["options"], (int(m), int(n))
        model._set_entries(state["answered"], state["new"], place)
        if state["answer"] is not None:
            like = xp.zeros((0,), dtype=xp.float32, device=device)
            model._answer = CompletionResult.from_state(state["answer"], like=like)
            model._full_count = int(state["full_count"])
        return model


class _Place:
    """Library, device and dtype of an answer."""

    def __init__(self, result: CompletionResult) -> None:
        self.xp, self.device, self.dtype = result._xp, _device(result.U), result.U.dtype


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


def _is_seed(rng: Any) -> bool:
    return isinstance(rng, Integral) and not isinstance(rng, bool)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and library_of(value) in LIBRARIES


def _saved(options: dict[str, Any]) -> State:
    """Return options as host data; what cannot be saved is None."""
    found = {name: None if name in _NOT_SAVED else value for name, value in options.items()}
    found["rng"] = int(options["rng"]) if _is_seed(options["rng"]) else None
    found["validation"] = _saved_mask(options["validation"])
    return found


def _saved_mask(validation: Any) -> Any:
    """Return a fraction as it is, and a mask as host data."""
    if hasattr(validation, "toarray"):
        raise TypeError(
            message(
                "validation", "be a fraction or a boolean array to be saved", validation,
                way_out="Pass validation.toarray() != 0.",
            )
        )  # fmt: skip
    return to_numpy(validation) if _is_array(validation) else validation


def _check_same_options(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuse to merge objects that would solve in two ways."""
    for name, value in mine.items():
        if name not in (*_NOT_SAVED, "rng") and not _same(value, theirs[name]):
            raise ValueError(
                f"{name} must agree for a merge, got {value!r} and {theirs[name]!r}. Start all "
                "parts with the same options."
            )


def _same(a: Any, b: Any) -> bool:
    """Compare two options."""
    if a is b or not (_is_array(a) or _is_array(b)):
        return a is b or bool(a == b)
    if not (_is_array(a) and _is_array(b)) or tuple(a.shape) != tuple(b.shape):
        return False
    return bool((to_numpy(a) == to_numpy(b)).all())
