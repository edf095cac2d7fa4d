"""Top eigenpairs of ``A^H A`` for rows that arrive once: the class and the one-shot function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from numbers import Integral
from typing import Any, Self

from linalgkit._core.array import (
    Device,
    Namespace,
    dtype_from_name,
    namespace_of,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import Features, joint_features
from linalgkit._core.random import as_generator, rng_from_state, rng_state, undone_on_error
from linalgkit._core.state import State, Stateful, check_mergeable
from linalgkit._core.streams import row_blocks
from linalgkit._core.validation import check_finite_block, is_in_memory, require_fitted
from linalgkit.streaming._answer import (
    Answered,
    Refined,
    answer,
    own_arrays,
    refined_from_state,
    refined_to_state,
    warn_if_weak,
)
from linalgkit.streaming._exact_passes import refine_stream
from linalgkit.streaming._inputs import (
    as_csr,
    as_row_matrix,
    as_weights,
    check_joins,
    in_dtype,
    in_pieces,
    n_bytes,
    one_row_as_matrix,
)
from linalgkit.streaming._methods import build_stream
from linalgkit.streaming._options import Options, known_dtype
from linalgkit.streaming._preprocess import Space
from linalgkit.streaming._result import StreamingEighResult
from linalgkit.streaming._scores import PrincipalAxes
from linalgkit.streaming._stream import RowStream

# Blocks up to this size are read twice (checked, then used); larger ones are used at once,
# and a copy of the small state is kept until the last row has proved finite.
_CHECK_FIRST_BYTES = 2**22
_MERGED_OPTIONS = (
    "n_components",
    "method",
    "order",
    "n_oversamples",
    "max_heavy_rows",
    "history",
    "n_rows",
    "center",
    "forgetting",
)


@capability(
    "streaming.StreamingEigh",
    sparse=True,
    streaming=True,
    synchronisations={"first block": 60, "block": 1, "tile": 3, "result": 14, "transform": 9},
    notes=(
        "A tile is the 32 to 4096 rows that a method works on at once, whatever the blocks. It "
        'takes one synchronisation, and more with "oja", and where a segment of "portfolio" or '
        '"block-power" ends. Blocks above 4 MiB are checked with their tiles.'
    ),
)
class StreamingEigh(PrincipalAxes, Stateful):
    """Top eigenpairs of ``A^H A`` of a stream of rows, with their certificate.

    Rows `a_1 .. a_n` of length `d`, real or complex, arrive once and are not kept. The result
    holds the `k` largest eigenvalues of ``S = A^H A`` (sums, not means), their eigenvectors
    (the right singular vectors of `A`), and how far they can be trusted.

    Parameters
    ----------
    n_components : int, default 1
        Number `k` of eigenpairs, 1 to d.
    method : str, default "auto"
        ``"gram"`` accumulates `S` itself, exact up to rounding, d*d words. ``"portfolio"`` runs
        several random-order methods side by side, scores each on rows it has not seen, and
        answers with the best. ``"block-power"`` is the power method over stream segments
        with heavy rows (Kacham and Woodruff). ``"oja"`` is the ladder of rates for any order
        (Price and Xun). ``"frequent-directions"`` and ``"nystrom"`` are sketches for any order.
        ``"auto"`` takes ``"gram"`` where d*d words fit `memory_budget`; else ``"portfolio"``
        for a random order, and for an arbitrary one Frequent Directions with the ladder beside
        it, whichever has the better certificate.
    order : {"random", "arbitrary"}, default "random"
        What is known of the order of the rows. No method in O(d) words solves the problem for
        a small gap in arbitrary order, so this is a promise the caller makes; it is tested
        (`order_zscore`).
    n_oversamples : int, optional
        Columns beyond `k` that a method iterates with; each method has its own default.
    memory_budget : int, optional
        Bytes for what the method accumulates; the block of rows that is being taken in comes on
        top. 32 MiB decide ``"auto"`` when it is None; given, it also bounds the number of heavy
        rows and the sketch sizes.
    max_heavy_rows : int, optional
        Rows of largest norm that the random-order methods hold verbatim.
    history : bool, default True
        Whether ``"block-power"`` keeps the summary of earlier segments. False, with
        `n_rows`, is the method of the paper.
    n_rows : int, optional
        Length of the stream where it is known (``"block-power"`` without history cuts its
        segments by it).
    center : bool, default False
        Whether the mean of the rows is removed (principal component analysis), in the same
        pass and without filling sparse rows in.
    whiten : bool, default False
        Whether `transform` divides by the standard deviations.
    forgetting : float, default 1.0
        Factor in (0, 1] by which the weight of everything older shrinks with each row.
    gap_warn : float, default 1.5
        An estimated gap below this gives an AccuracyWarning; 0 turns that off.
    dtype : str or dtype, optional
        Working dtype. By default that of the first block: float32, float64, complex64 or
        complex128; integers go to the library's default float. Give "complex128" where
        complex rows may follow real ones.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the start vectors and sketches (SPEC 7).

    Attributes
    ----------
    components_ : array (k, d)
        Conjugate transpose of the eigenvectors.
    explained_variance_ : array (k,)
        Eigenvalues divided by ``W - sum w^2 / W``, where `W` is the sum of the weights `w`
        (n - 1 without weights, and the scale of the weights has no say), or by `W` where a
        single row has all the weight.
    explained_variance_ratio_ : array (k,)
        Eigenvalues divided by the squared Frobenius norm.
    singular_values_ : array (k,)
        Square roots of the eigenvalues.
    mean_ : array (d,)
        Mean that was removed, zero without centring.
    n_samples_seen_ : int
        Rows streamed.
    n_features_in_ : int
        Length d of the rows.
    method_ : str
        The method that ``"auto"`` chose.

    Raises
    ------
    TypeError
        For options or data of a wrong kind, a change of library, device or precision between
        blocks, complex rows in a real stream.
    ValueError
        For options outside their range, rows of another length, NaN or infinity (the state
        stays as it was), negative weights, a budget below the method's minimum.

    Warns
    -----
    AccuracyWarning
        When the answer is weaker than asked: gap below `gap_warn`, more heavy rows than could
        be held, an order that is not random, no rate that grew, nothing but zeros, fewer rows
        than a random-order method can judge itself by.

    See Also
    --------
    top_eigenvector : the same in one call.

    Notes
    -----
    Storage in words of the working dtype, beyond the caller's block and whatever the number of
    rows: ``d d + 2 d (k + 5)`` for ``"gram"``, and as much again while a block is added;
    ``d (2 q + 9 k + h + b)`` for the random-order methods with `q` columns in all, `h` heavy
    rows and blocks of `b` rows (8 MiB, at least 128 and at most 1024 rows); ``2 l d`` for
    ``"nystrom"`` and ``l d`` for ``"frequent-directions"`` with a sketch of size `l`, and up to
    three times that for an answer; about ``30 d k`` for ``"oja"``.

    The answer does not depend on how the rows are cut into calls, bit for bit on NumPy. Options
    changed while a stream is under way wait for the next `fit` (`whiten` acts at once).

    What vouches for the answer: for ``"gram"`` arithmetic alone; for
    ``"frequent-directions"`` the deterministic bound of Ghashami et al. [3]_; for
    ``"nystrom"`` the expected tail of Tropp et al. [4]_; for the random-order methods the
    theorems of [1]_ for their plain form, and beyond them out-of-sample statistics that are
    computed from the stream and reported.

    References
    ----------
    .. [1] P. Kacham and D. P. Woodruff, "Approximating the Top Eigenvector in Random Order
       Streams", NeurIPS 2024, arXiv:2412.11963.
    .. [2] E. Price and Z. Xun, "Spectral Guarantees for Adversarial Streaming PCA", FOCS 2024,
       arXiv:2408.10332.
    .. [3] M. Ghashami, E. Liberty, J. M. Phillips and D. P. Woodruff, "Frequent Directions:
       Simple and Deterministic Matrix Sketching", SIAM J. Comput. 45 (2016).
    .. [4] J. A. Tropp, A. Yurtsever, M. Udell and V. Cevher, "Fixed-Rank Approximation of a
       Positive-Semidefinite Matrix from Streaming Data", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.streaming import StreamingEigh
    >>> rng = np.random.default_rng(0)
    >>> model = StreamingEigh(n_components=1, rng=0)
    >>> for _ in range(20):
    ...     block = rng.standard_normal((500, 40))
    ...     block[:, 3] *= 3.0
    ...     model = model.partial_fit(block)
    >>> result = model.result()
    >>> int(np.argmax(np.abs(result.eigenvectors[:, 0])))
    3
    >>> 8.0 < result.gap < 10.0
    True
    """

    _refined: Refined | None

    def __init__(
        self,
        n_components: int = 1,
        *,
        method: str = "auto",
        order: str = "random",
        n_oversamples: int | None = None,
        memory_budget: int | None = None,
        max_heavy_rows: int | None = None,
        history: bool = True,
        n_rows: int | None = None,
        center: bool = False,
        whiten: bool = False,
        forgetting: float = 1.0,
        gap_warn: float = 1.5,
        dtype: Any = None,
        rng: Any = None,
    ) -> None:
        self.n_components = n_components
        self.method = method
        self.order = order
        self.n_oversamples = n_oversamples
        self.memory_budget = memory_budget
        self.max_heavy_rows = max_heavy_rows
        self.history = history
        self.n_rows = n_rows
        self.center = center
        self.whiten = whiten
        self.forgetting = forgetting
        self.gap_warn = gap_warn
        self.dtype = dtype
        self.rng = rng

    # ---------------------------------------------------------------------- rows come in

    def partial_fit(self, X: Any, y: object = None, *, sample_weight: Any = None) -> Self:
        """Add rows to the stream.

        Parameters
        ----------
        X : array (b, d), one row (d,), scipy.sparse or cupyx.scipy.sparse (b, d)
            Rows; no row at all changes nothing. Only read.
        y : ignored
            Present for scikit-learn.
        sample_weight : array (b,), optional
            Weights, not negative, that multiply the squares of the rows.

        Returns
        -------
        StreamingEigh
            The object itself. After an error in the arguments it is as it was before the call;
            should Ctrl-C or a failure within hit it half way through its rows, later calls say
            so.
        """
        stream = self._stream_or_none()
        n_blocks = self.__dict__.get("_n_blocks", 0)
        block, features = self._check_features(as_row_matrix(X), reset=stream is None, min_rows=0)
        if block.shape[0]:
            with undone_on_error(self.rng):
                fresh = self._ingest(stream, as_csr(block), sample_weight, n_blocks)
            self._take(fresh, features if stream is None else self._features())
        self._n_blocks = n_blocks + 1
        return self

    def fit(self, X: Any, y: object = None) -> Self:
        """Start anew with all rows of a source.

        Parameters
        ----------
        X : array (n, d), memmap, zarr or h5py array, sparse matrix, dask.array, or iterable
            The rows, or an iterable of blocks of them, read block by block. A one-pass iterator
            is used up.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        StreamingEigh
            The object itself. After an error it is as it was before the call.
        """
        stream: RowStream | None = None
        index = -1
        with undone_on_error(self.rng):
            for index, (block, features) in enumerate(self._blocks(X)):  # noqa: B007
                if block.shape[0]:
                    stream = self._ingest(stream, as_csr(block), None, index, in_place=True)
        if stream is None:
            raise ValueError(
                "X must have at least one row, got a source without rows. Iterators can be read "
                "only once: make a new one."
            )
        self._take(stream, features)
        self._n_blocks = index + 1
        return self

    def _blocks(self, X: Any) -> Iterator[tuple[Any, Features]]:
        """Yield blocks of a source, each with its columns."""
        if is_in_memory(X):
            yield self._check_features(X, reset=True)
            return
        first: Features | None = None
        for block in row_blocks(X):
            checked, features = self._check_features(as_row_matrix(block), reset=True, min_rows=0)
            if first is not None and features.n != first.n:
                raise ValueError(
                    f"X must have {first.n} features in every block, got one with {features.n}."
                )
            first = features if first is None else first
            yield checked, first

    def refine(self, source: Any, n_passes: int = 1) -> Self:
        """Improve the answer by exact passes over data that can be read again.

        Parameters
        ----------
        source : array, memmap, sparse matrix, dask.array or sequence of blocks
            The rows that were streamed (weights and forgetting must not have been in use).
        n_passes : int, default 1
            Improving passes, each of which shrinks the error by about ``gap**2``; the rows are
            read once more to measure the residual.

        Returns
        -------
        StreamingEigh
            The object itself. The refined answer lasts until more rows come.

        Raises
        ------
        TypeError
            If `source` can be read only once.
        ValueError
            If rows were weighted or forgotten, or are not those that were streamed. What is
            checked is their number, the sum of their squared norms, and for ``"gram"`` also
            that they have the eigenvectors found; the other methods cannot tell rows whose
            columns were reordered or rotated from those they saw.
        """
        stream = self._fitted_stream()
        refined = refine_stream(stream, self._options(), source, n_passes)
        stream.commit()
        self._refined = refined
        return self

    def merge(self, other: StreamingEigh) -> Self:
        """Count in all that another object has seen.

        Exact (rounding apart) for ``"gram"`` and ``"nystrom"``; for ``"frequent-directions"``
        the bounds add; for the random-order methods approximate, at the accuracy of the parts.

        Parameters
        ----------
        other : StreamingEigh
            An object with the same options over rows of the same kind; it is not changed. Only
            `memory_budget` (as long as ``"auto"`` chooses the same method, and sketches have
            one size), `whiten`, `gap_warn`, `dtype` (as long as that of the rows agrees) and,
            except for ``"nystrom"``, `rng` may differ: those of the object itself remain.

        Returns
        -------
        StreamingEigh
            The object itself.

        Raises
        ------
        TypeError
            If `other` is no StreamingEigh, its rows are of another library or dtype, or the
            method cannot be merged (``"oja"``).
        ValueError
            If an option, the method that ``"auto"`` chose, the names of the features or the
            length of the rows differs, or `forgetting` is below 1 (the order of the two
            streams is not known). Nothing has changed then.
        """
        if not isinstance(other, StreamingEigh):
            raise TypeError(
                f"other must be a StreamingEigh, got {type(other).__name__}. "
                "Restore a saved state with StreamingEigh.from_state first."
            )
        mine, theirs = self._options(), other._options()
        check_mergeable(mine, theirs, _MERGED_OPTIONS)
        if mine.forgetting < 1.0:
            raise ValueError(
                f"forgetting must be 1 for a merge, got {mine.forgetting}. Which stream is the "
                "older one is not known."
            )
        self._merge_streams(other)
        return self

    def _merge_streams(self, other: StreamingEigh) -> None:
        mine, theirs = self._stream_or_none(), other._stream_or_none()
        if theirs is None:
            return
        if mine is None:
            self._take(theirs.duplicate(), other._features())
            return
        features = joint_features(self._features(), other._features())
        fresh = mine.duplicate()
        fresh.merge(theirs)
        self._take(fresh, features)

    # ------------------------------------------------------------------------ the answer

    def result(self) -> StreamingEighResult:
        """Return the eigenpairs of the rows so far and their certificate.

        Returns
        -------
        StreamingEighResult
            Frozen; arrays in the caller's library, device and precision, to be written to at
            will. The stream may go on.

        Raises
        ------
        NotFittedError
            Before the first row.

        Warns
        -----
        AccuracyWarning
            When the answer is weaker than asked, once for each new answer.
        """
        return own_arrays(self._answered().result)

    @property
    def method_(self) -> str:
        """The method in use."""
        return self._fitted_stream().method

    # --------------------------------------------------------------------------- private

    def _answered(self) -> Answered:
        """Return the answer of this moment; warn when it is new and weak."""
        stream = self._fitted_stream()
        found: Answered | None = stream.answered  # kept there: reading must not change `self`
        if found is None:
            options = self._options()
            found = stream.answered = answer(stream, options, self.__dict__.get("_refined"))
            warn_if_weak(found, options)
        return found

    def _options(self) -> Options:
        """Return the options the stream was started with, before that those set now."""
        stream = self._stream_or_none()
        return Options.checked(self.get_params(deep=False)) if stream is None else stream.options

    def _features(self) -> Features:
        return Features(self.n_features_in_, getattr(self, "feature_names_in_", None))

    def _stream_or_none(self) -> RowStream | None:
        stream: RowStream | None = self.__dict__.get("_stream")
        if stream is not None and stream.is_torn:
            raise RuntimeError(
                "a call failed or was interrupted half way through its rows, so that some are "
                "counted in and others are not. Load a saved state, or start anew with fit."
            )
        return stream

    def _fitted_stream(self) -> RowStream:
        stream = self._stream_or_none()
        require_fitted(self, stream is not None)
        assert stream is not None
        return stream

    def _take(self, stream: RowStream, features: Features) -> None:
        """Commit a new state and drop what was derived from the old one."""
        stream.is_torn = True  # until all that follows is done
        self._stream = stream
        self._refined = None
        self._set_features(features)
        stream.commit()

    def _ingest(
        self,
        stream: RowStream | None,
        block: Any,
        sample_weight: Any,
        index: int,
        *,
        in_place: bool = False,
    ) -> RowStream:
        """Return the stream with a block added; with ``in_place`` it may be the same object."""
        if stream is None:
            stream, in_place = self._start(block), True
        check_joins(block, stream.space, index)
        weights = as_weights(sample_weight, int(block.shape[0]), stream.space, stream.pre.weight)
        is_small = n_bytes(block) <= _CHECK_FIRST_BYTES
        if is_small:
            block = in_dtype(block, stream.space)
            check_finite_block(block, index)
        fresh = stream if is_small or in_place else stream.duplicate()
        try:
            for rows, w in in_pieces(block, weights, stream.space):
                fresh.push(rows, w)
            if not is_small:
                fresh.check_waiting_rows()
        except ValueError:
            check_finite_block(block, index)
            raise
        return fresh

    def _start(self, block: Any) -> RowStream:
        """Return an empty stream for rows like those of `block`."""
        options = Options.checked(self.get_params(deep=False))
        xp, where = namespace_of(block)
        dtype = (
            working_dtype(xp, where, block.dtype)
            if options.dtype is None
            else dtype_from_name(xp, options.dtype)
        )
        space = Space(xp, where, dtype, int(block.shape[1]))
        stream = build_stream(space, options, as_generator(self.rng))
        stream.options = options
        return stream

    # ----------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        stream = self._stream_or_none()
        params = {**self.get_params(deep=False), "dtype": known_dtype(self.dtype)}
        if self.rng is not None:
            params["rng"] = int(self.rng) if isinstance(self.rng, Integral) else None
        return {
            "params": params,
            "n_blocks": self.__dict__.get("_n_blocks", 0),
            "features": self._features_to_state(),
            "options": None if stream is None else asdict(stream.options),
            "stream": None if stream is None else stream.to_state(),
            "refined": refined_to_state(self.__dict__.get("_refined")),
            "draws": None if stream is None else rng_state(stream.rng),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        model = cls(**state["params"])
        model._n_blocks = int(state["n_blocks"])
        model._features_from_state(state["features"])
        if state["stream"] is not None:
            model._stream = model._restored(state, xp, device)
            model._refined = refined_from_state(state["refined"], xp, device)
        return model

    def _restored(self, state: State, xp: Namespace, device: Device) -> RowStream:
        kept = state["stream"]
        space = Space(xp, device, dtype_from_name(xp, kept["dtype"]), int(kept["d"]))
        options = Options.checked(state["options"])
        stream = build_stream(space, options, rng_from_state(state["draws"]))
        stream.options = options
        stream.restore(kept, rng_from_state(state["draws"]))
        return stream

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the stream as it is, and the stream as a portable state."""
        kept = super().__getstate__()
        stream = kept.pop("_stream", None)
        if stream is not None:
            kept["_pickled"] = (self._get_state(), stream.space)
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        state, space = kept.pop("_pickled", (None, None))
        super().__setstate__(kept)
        if state is not None:
            self._stream = self._restored(state, space.xp, space.device)


@capability(
    "streaming.top_eigenvector",
    sparse=True,
    streaming=True,
    synchronisations={"call": 14, "block": 1},
)
def top_eigenvector(source: Any, **options: Any) -> StreamingEighResult:
    """Return the top eigenvector of ``A^H A`` of a stream of rows, with its certificate.

    Parameters
    ----------
    source : array (n, d), memmap, zarr or h5py array, sparse matrix, dask.array, iterable
        The rows of `A`, or an iterable of blocks of them; each is read once. One row (d,) is
        taken for that (`fit` refuses it, as scikit-learn asks).
    **options : object
        Options of :class:`StreamingEigh`; ``n_components`` for more than one eigenvector.

    Returns
    -------
    StreamingEighResult
        Eigenvalues (k,), eigenvectors (d, k) and how far to trust them.

    Raises
    ------
    TypeError, ValueError
        As :class:`StreamingEigh`.

    Warns
    -----
    AccuracyWarning
        When the answer is weaker than asked.

    See Also
    --------
    StreamingEigh : the same for rows that arrive in several calls.

    Notes
    -----
    Storage, guarantee and sources are those of :class:`StreamingEigh`.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.streaming import top_eigenvector
    >>> def rows():
    ...     rng = np.random.default_rng(0)
    ...     for _ in range(50):
    ...         yield rng.standard_normal((200, 30)) * np.geomspace(1.0, 1e5, 30)
    >>> result = top_eigenvector(rows())
    >>> int(np.argmax(np.abs(result.eigenvectors[:, 0]))), result.n_rows
    (29, 10000)
    """
    return StreamingEigh(**options).fit(one_row_as_matrix(source)).result()
