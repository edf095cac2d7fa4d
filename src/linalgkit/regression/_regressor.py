"""Linear regression through a sketch, for rows that arrive in several calls or places.

::

    model = SketchedRegressor(m=2000, rng=0)
    for X, y in blocks:
        model.partial_fit(X, y)
    lower, upper = model.predict_interval(X_new)

"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from numbers import Integral
from typing import Any, Self

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    Device,
    Namespace,
    is_dask,
    library_of,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import Features, joint_features
from linalgkit._core.random import PhiloxTiles, undone_on_error
from linalgkit._core.state import State, Stateful
from linalgkit._core.streams import row_blocks
from linalgkit.regression._predictions import LinearPredictions
from linalgkit.regression._stream import (
    RegressionStream,
    StreamOptions,
    check_same_options,
    checked_start,
)
from linalgkit.regression._targets import (
    as_targets,
    check_targets,
    whole_weights,
)


@capability(
    "regression.SketchedRegressor",
    sparse=True,
    streaming=True,
    synchronisations={"block": 1, "result": 19, "prediction": 20},
)
class SketchedRegressor(LinearPredictions, Stateful):
    """Linear regression of a stream of rows through a sketch, with intervals.

    The rows are sketched as they come and not kept. `partial_fit` may be called in several
    places at once, each with the numbers of its rows (`start`), and the parts be merged: all use
    different columns of one sketch, as if one had read everything.

    Parameters
    ----------
    m : int, optional
        Rows of the sketch, at least one more than there are unknowns. ``max(16 d, d + 100)`` for
        `d` unknowns, the intercept among them, if neither `m` nor `eps` is given.
    sketch : str, default "auto"
        A kind that streams: ``"gaussian"`` (exact intervals), ``"rademacher"``,
        ``"block_srht"``, ``"countsketch"`` or ``"sparse_sign"``. ``"auto"`` takes
        ``"block_srht"``, and ``"sparse_sign"`` for sparse rows.
    eps : float, optional
        Accuracy in (0, 1) from which `m` follows, see
        :func:`~linalgkit.regression.sketch_size`.
    delta : float, default 0.01
        Probability of missing it.
    alpha : float, default 0.0
        Weight of the squared 2-norm of the coefficients (not of the intercept).
    fit_intercept : bool, default True
        Whether the model has a constant.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Source of the sketch. Parts that shall be merged need the same integer.

    Attributes
    ----------
    coef_ : array (d,) or (k, d)
        Coefficients.
    intercept_ : float or complex, or array (k,)
        Constant; 0.0 without intercept.
    n_features_in_ : int
        Features.
    n_samples_seen_ : int
        Rows taken in.

    Raises
    ------
    TypeError
        For options or data of a wrong kind, a change of library, device, precision or kind
        between blocks, complex rows in a real stream.
    ValueError
        For options out of range, shapes that do not fit, NaN or infinity (the state stays as
        it was), negative weights, rows given twice.

    Warns
    -----
    AccuracyWarning
        From the answer: if the size asked for is no smaller than the number of rows, which are
        then solved without a sketch; if the rank of the sketch is deficient.

    See Also
    --------
    sketched_lstsq : the same for data that are all there.

    Notes
    -----
    What is estimated is the solution of the full least-squares problem, and the intervals of
    `result` are for that. They are exact for ``sketch="gaussian"`` and approximate otherwise.
    `predict_interval` is for new observations and adds the noise of one.

    Rows are held back until a cell of ``c`` rows (a power of two, at least 1024 and at least
    2 m; 16 times that for sparse rows) is complete, and are sketched together, so that the
    answer does not depend on how they were cut into calls: bit for bit on NumPy, if they come
    in order. Up to `m` rows, the answer is the exact one.

    Storage: ``m (d + k + 1)`` words of the widest dtype and ``c (d + k + 1)`` of the data's for
    each incomplete cell: one for rows in order, up to two for each gap.

    Options changed while a stream is under way wait for the next `fit`.

    References
    ----------
    .. [1] D. C. Ahfock, W. J. Astle, S. Richardson, "Statistical properties of sketching
       algorithms", Biometrika 108 (2021), arXiv:1706.03665.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.regression import SketchedRegressor
    >>> rng = np.random.default_rng(0)
    >>> model = SketchedRegressor(m=400, sketch="gaussian", rng=1)
    >>> for _ in range(10):
    ...     X = rng.standard_normal((1000, 3))
    ...     y = X @ [1.0, 2.0, 3.0] + 4.0 + 0.1 * rng.standard_normal(1000)
    ...     model = model.partial_fit(X, y)
    >>> bool(np.allclose(model.coef_, [1, 2, 3], atol=0.05))
    True
    >>> lower, upper = model.predict_interval(X, 0.9)
    >>> 0.8 < np.mean((lower < y) & (y < upper)) < 0.97
    np.True_
    """

    _estimator_type_name = "regressor"
    _accepts_sparse = True
    _requires_target = True

    def __init__(
        self,
        m: int | None = None,
        sketch: str = "auto",
        *,
        eps: float | None = None,
        delta: float = 0.01,
        alpha: float = 0.0,
        fit_intercept: bool = True,
        rng: Any = None,
    ) -> None:
        self.m = m
        self.sketch = sketch
        self.eps = eps
        self.delta = delta
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.rng = rng

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn needs to know (only it calls this)."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    # ---------------------------------------------------------------------- rows come in

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Start anew with all rows of a source.

        Parameters
        ----------
        X : array (n, d), sparse matrix, dataframe, memmap, zarr or h5py array, dask.array
            Features; what is not in memory is read block by block.
        y : array (n,) or (n, k)
            Targets, in memory.
        sample_weight : array (n,), optional
            Weights, not negative; they multiply squared residuals.

        Returns
        -------
        SketchedRegressor
            The object itself. After an error it is as it was before the call.
        """
        targets = as_targets(y)
        weights = None if sample_weight is None else whole_weights(sample_weight, targets.shape[0])
        stream: RegressionStream | None = None
        start, index = 0, -1
        with undone_on_error(self.rng):
            for index, (block, features) in enumerate(self._blocks(X)):  # noqa: B007
                stop = start + int(block.shape[0])
                part = targets[start:stop, ...]
                each = None if weights is None else weights[start:stop]
                if stream is None:
                    stream = self._started(block, part)
                stream.push(block, part, start, each, index)
                start = stop
            if stream is None or start != targets.shape[0]:
                raise ValueError(
                    f"y must have as many rows as X, got {targets.shape[0]} for {start}: "
                    "inconsistent numbers of samples."
                )
        self._take(stream, features, index + 1)
        return self

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, start: int | None = None
    ) -> Self:
        """Add rows to those taken in so far.

        Parameters
        ----------
        X : array (b, d) or sparse container
            Features; no row at all changes nothing. Only read.
        y : array (b,) or (b, k)
            Targets, of the library of `X`.
        sample_weight : array (b,), optional
            Weights, not negative.
        start : int, optional
            Number of the first of these rows among all there are; by default the one after the
            last so far. Parts that shall be merged must have different rows.

        Returns
        -------
        SketchedRegressor
            The object itself. After an error it is as it was before the call.
        """
        stream = self.__dict__.get("_stream")
        n_blocks = self.__dict__.get("_n_blocks", 0)
        targets = as_targets(y)
        block, features = self._check_features(X, reset=stream is None, min_rows=0)
        if not block.shape[0]:
            check_targets(block, targets)
            if start is not None:
                checked_start(start)
            self._n_blocks = n_blocks + 1
            return self
        with undone_on_error(self.rng):
            fresh = self._started(block, targets) if stream is None else stream
            fresh.push(block, targets, start, sample_weight, n_blocks)
        self._take(fresh, features if stream is None else self._features(), n_blocks + 1)
        return self

    def _blocks(self, X: Any) -> Iterator[tuple[Any, Features]]:
        """Yield blocks of a source, each with its columns."""
        if is_dask(X) or (hasattr(X, "chunks") and library_of(X) not in LIBRARIES):
            for block in row_blocks(X):
                yield self._check_features(block, reset=True, min_rows=0)
        else:
            yield self._check_features(X, reset=True)

    def _started(self, X: Any, y: Array) -> RegressionStream:
        options = StreamOptions.checked(self.get_params(deep=False))
        return RegressionStream.started(X, y, options, self.rng)

    def merge(self, other: SketchedRegressor) -> Self:
        """Count in all rows that another object has taken in.

        Parameters
        ----------
        other : SketchedRegressor
            With the same options and rng, over other rows; it is not changed.

        Returns
        -------
        SketchedRegressor
            The object itself, as if it had seen all rows.

        Raises
        ------
        TypeError
            If `other` is no SketchedRegressor.
        ValueError
            If options, sketch, library, dtype or the names of features differ, or a row was
            taken in by both.
        """
        if not isinstance(other, SketchedRegressor):
            raise TypeError(
                f"only objects of one class can be merged, got SketchedRegressor and "
                f"{type(other).__name__}."
            )
        mine, theirs = self.__dict__.get("_stream"), other.__dict__.get("_stream")
        own, its = (StreamOptions.checked(m.get_params(deep=False)) for m in (self, other))
        check_same_options(own if mine is None else mine.options, its)
        if theirs is None:
            return self
        features = other._features()
        if mine is None:
            check_same_options(own, theirs.options)
            if isinstance(self.rng, Integral) and PhiloxTiles(int(self.rng)) != theirs.tiles:
                raise ValueError(
                    f"rng must be that of the rows to be merged, got {self.rng!r}. Start every "
                    "part with the same integer as rng."
                )
            mine = copy.deepcopy(theirs)
        else:
            features = joint_features(self._features(), features)
            mine.merge(theirs)
        self._take(mine, features, self.__dict__.get("_n_blocks", 0))
        return self

    def __copy__(self) -> Self:
        """Return a copy that goes on by itself."""
        return copy.deepcopy(self)

    # ------------------------------------------------------------------------ the answer

    @property
    def n_samples_seen_(self) -> int:
        """Rows taken in."""
        return self._fitted().part.n_rows

    # --------------------------------------------------------------------------- private

    def _features(self) -> Features:
        return Features(self.n_features_in_, getattr(self, "feature_names_in_", None))

    def _take(self, stream: RegressionStream, features: Features, n_blocks: int) -> None:
        """Commit a new state and drop the answer to the old one."""
        stream.answered = None
        self._stream, self._n_blocks = stream, n_blocks
        self._set_features(features)

    # ----------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        stream = self.__dict__.get("_stream")
        params = self.get_params(deep=False)
        if isinstance(self.rng, Integral):
            params["rng"] = int(self.rng)
        elif self.rng is not None:
            params["rng"] = None  # a running stream has drawn its sketch
        return {
            "params": params,
            "n_blocks": self.__dict__.get("_n_blocks", 0),
            "features": self._features_to_state(),
            "stream": None if stream is None else stream.to_state(),
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        model = cls(**state["params"])
        model._n_blocks = int(state["n_blocks"])
        model._features_from_state(state["features"])
        if state["stream"] is not None:
            like = xp.empty((0,), device=device)
            model._stream = RegressionStream.from_state(state["stream"], like=like)
        return model
