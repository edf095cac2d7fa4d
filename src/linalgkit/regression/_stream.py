"""The state behind a sketched regression: options as they were at its start, and what is held.

::

    stream = RegressionStream.started(X, y, options, rng)
    stream.push(X, y, start=None, weights=None, index=0)
    stream.answer()                 # SketchedLstsqResult, the intercept last
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    dtype_name,
    eps,
    is_complex_dtype,
    is_sparse,
    library_name,
    namespace_of,
    widest_float,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.scaling import max_abs, norm_fro, rough_norm
from linalgkit._core.sparse import as_csr
from linalgkit._core.state import State, Stateful, check_mergeable
from linalgkit._core.validation import (
    AccuracyWarning,
    check_bool,
    check_choice,
    check_finite_block,
    check_float,
    check_int,
)
from linalgkit.regression._accumulator import SketchAccumulator, real_rows
from linalgkit.regression._answers import Taken, exact_result, sketched_result
from linalgkit.regression._reduced import solve_reduced
from linalgkit.regression._request import STREAMING, Request
from linalgkit.regression._sketched_result import Form, SketchedLstsqResult
from linalgkit.regression._targets import FLOATS, check_targets, joint_dtype

_KINDS = ("auto", *STREAMING)
_MOST_ROWS = 2**53
_HEADROOM = 2.0**-20  # the square root of as many rows as would fill 2**40 entries


@dataclass(frozen=True)
class StreamOptions:
    """Options of a :class:`SketchedRegressor`, checked as far as that needs no data."""

    m: int | None
    sketch: str
    eps: float | None
    delta: float
    alpha: float
    fit_intercept: bool

    @classmethod
    def checked(cls, params: dict[str, Any]) -> Self:
        """Return the options among parameters."""
        way_out = f"One of {', '.join(_KINDS)} streams; sketched_lstsq takes the others."
        check_choice("sketch", params["sketch"], _KINDS, way_out=way_out)
        check_bool("fit_intercept", params["fit_intercept"])
        alpha = check_float("alpha", params["alpha"], 0.0)
        names = ("m", "sketch", "eps", "delta", "fit_intercept")
        return cls(alpha=alpha, **{name: params[name] for name in names})

    def request(self, d: int, k: int, is_complex: bool) -> Request:
        """Return size and kind of the sketch for `d` features and `k` targets."""
        width = d + self.fit_intercept
        return Request.checked(
            self.m, self.eps, self.delta, self.sketch, d=width, k=k, is_complex=is_complex
        )


class RegressionStream(Stateful):
    """Sketched rows of a regression.

    Parameters
    ----------
    options : StreamOptions
        As they were at the start.
    part : SketchAccumulator
        Holds features as `A`, targets and a column of ones as `B`.
    y_is_vector : bool
        Whether targets are 1-D.
    """

    def __init__(self, options: StreamOptions, part: SketchAccumulator, y_is_vector: bool) -> None:
        self.options, self.part, self.y_is_vector = options, part, y_is_vector
        self.answered: SketchedLstsqResult | None = None

    @classmethod
    def started(cls, X: Any, y: Array, options: StreamOptions, rng: Any) -> Self:
        """Return an empty stream for rows like those of the first block."""
        xp, where = namespace_of(X)
        check_targets(X, y)
        dtype = joint_dtype(X, y, xp, where)
        d, k = int(X.shape[1]), 1 if y.ndim == 1 else int(y.shape[1])
        request = options.request(d, k, is_complex_dtype(xp, dtype))
        kind = request.kind("blocks", is_sparse(X))
        S = request.drawn(kind, None, dtype_name(xp, dtype), rng)
        place = {"xp": xp, "device": where, "dtype": dtype, "sparse": is_sparse(X)}
        part = SketchAccumulator(S, d, k + options.fit_intercept, **place)
        return cls(options, part, y.ndim == 1)

    # ------------------------------------------------------------------------ its sizes

    @property
    def k(self) -> int:
        """Number of targets."""
        return self.part.k - self.options.fit_intercept

    @property
    def tiles(self) -> PhiloxTiles:
        """Where the sketch has its random numbers from."""
        return self.part.S.tiles

    @property
    def form(self) -> Form:
        """How answers look."""
        part = self.part
        return Form(part.dtype, is_complex_dtype(part.xp, part.dtype), self.y_is_vector)

    # ---------------------------------------------------------------------- rows come in

    def push(self, X: Any, y: Array, start: int | None, weights: Any, index: int) -> None:
        """Take in a block of rows, or nothing if it is refused.

        Parameters
        ----------
        X : array (b, d) or sparse container
            Features.
        y : array (b,) or (b, k)
            Targets.
        start : int or None
            Number of the first row; None for the one after the last so far.
        weights : array (b,) or None
            They multiply squared residuals.
        index : int
            Number of the block, for messages.
        """
        part = self.part
        self._check_joins(X, "X", index)
        check_targets(X, y)
        self._check_joins(y, "y", index)
        if y.ndim != (1 if self.y_is_vector else 2) or (y.ndim == 2 and y.shape[1] != self.k):
            expected = "(rows,)" if self.y_is_vector else f"(rows, {self.k})"
            raise ValueError(
                f"y must be of shape {expected} as in the first block, got {tuple(y.shape)}."
            )
        roots = self._roots(weights, int(X.shape[0]))
        rows = as_csr(X) if part.sparse else X
        check_numbers(rows, y, index, roots)
        first = part.stop if start is None else checked_start(start)
        part.check_free(first, first + int(X.shape[0]))
        part.push(rows, self._beside(y), first, roots)

    def _beside(self, y: Array) -> Array:
        """Return targets, and ones for the intercept, as columns."""
        part, xp = self.part, self.part.xp
        columns = xp.astype(y if y.ndim == 2 else y[:, None], part.dtype, copy=False)
        if not self.options.fit_intercept:
            return columns
        ones = xp.ones((y.shape[0], 1), dtype=part.dtype, device=part.device)
        return xp.concat([columns, ones], axis=1)

    def _check_joins(self, values: Any, name: str, index: int) -> None:
        """Refuse what is not of the stream's library and device, or would be cut off."""
        part = self.part
        xp, where = namespace_of(values)
        if library_name(xp) != library_name(part.xp) or where != part.device:
            raise TypeError(
                f"{name} must be of {library_name(part.xp)} on {part.device} as the first block "
                f"was, got {library_name(xp)} on {where} in block {index}. Convert it first."
            )
        if name == "X" and is_sparse(values) != part.sparse:
            kinds = ("sparse", "dense") if part.sparse else ("dense", "sparse")
            raise TypeError(
                f"X must be {kinds[0]} as the first block was, got a {kinds[1]} one in block "
                f"{index}. Convert it first."
            )
        if not xp.isdtype(values.dtype, FLOATS):
            return
        found, kept = working_dtype(xp, where, values.dtype), part.dtype
        if is_complex_dtype(xp, found) and not is_complex_dtype(xp, kept):
            raise TypeError(
                f"{name} must be real as the first block was, got {dtype_name(xp, found)} in block "
                f"{index}. Make the first block complex if complex rows may come."
            )
        if xp.result_type(found, kept) != kept:
            raise TypeError(
                f"{name} must fit into {dtype_name(xp, kept)} as the first block does, got "
                f"{dtype_name(xp, found)} in block {index}. Convert it first."
            )

    def _roots(self, weights: Any, n: int) -> Array | None:
        """Return square roots of weights beside the rows, after checking them."""
        if weights is None:
            return None
        values = as_array(weights, "sample_weight")
        xp, _ = namespace_of(values)
        if tuple(values.shape) != (n,):
            raise ValueError(
                f"sample_weight must have one entry for each of the {n} rows, got shape "
                f"{tuple(values.shape)}."
            )
        if is_complex_dtype(xp, values.dtype):
            raise TypeError(f"sample_weight must be real, got {dtype_name(xp, values.dtype)}.")
        check_finite_block(values, name="sample_weight")
        if n and float(xp.min(values)) < 0:
            worst = int(xp.argmin(values))
            raise ValueError(
                f"sample_weight must not be negative, got {float(values[worst])} for row {worst}."
            )
        if library_name(xp) not in ("numpy", library_name(self.part.xp)):
            raise TypeError(
                f"sample_weight must be of {library_name(self.part.xp)} or numpy, got "
                f"{library_name(xp)}."
            )
        xp, where = self.part.xp, self.part.device
        wide = widest_float(xp, where)
        return xp.sqrt(asarray(values, xp=xp, device=where, dtype=wide, copy=False))

    def merge(self, other: RegressionStream) -> None:
        """Take in all rows of another stream, which stays as it is."""
        check_same_options(self.options, other.options)
        check_mergeable(self, other, ("y_is_vector",))
        self.part.merge(other.part)

    # ------------------------------------------------------------------------ the answer

    def answer(self) -> SketchedLstsqResult:
        """Return the solution for the rows so far; nothing changes."""
        options, part = self.options, self.part
        request = options.request(part.d, self.k, self.form.is_complex)
        rows = part.rows()
        if rows is not None:
            if request.is_asked:
                warnings.warn(
                    f"a sketch of {request.m} rows is no smaller than the {part.n_rows} rows so "
                    "far, which were solved without one.",
                    AccuracyWarning,
                    stacklevel=5,
                )
            return exact_result(*self._sides(*rows), self._ridge(), request.delta, self.form)
        SA, SB, norms = part.total()
        SA, SB = self._sides(SA, SB)
        n_ridge = part.d if options.alpha else 0
        if n_ridge:
            SA = SA + self._ridge_share(SA)
        small = solve_reduced(SA, SB, eps(part.xp, part.dtype), xp=part.xp)
        if small.null is not None:
            blame = (
                "which is that of the data"
                if part.S.is_exact
                else "and rows read once cannot tell whether the data or the sketch are to blame "
                '(sketch="gaussian" keeps every rank)'
            )
            warnings.warn(
                f"the rank {small.rank} of the sketch is below the {SA.shape[1]} unknowns, "
                f"{blame}; the solution of minimum norm is returned. Drop the columns that follow "
                "from others, or pass alpha > 0 for a ridge.",
                AccuracyWarning,
                stacklevel=5,
            )
        ridge = options.alpha, part.d
        taken = Taken(part.S, SA, SB, norms[: self.k], part.n_rows, n_ridge, *ridge)
        return sketched_result(small, taken, request.delta, self.form)

    def _sides(self, A: Array, B: Array) -> tuple[Array, Array]:
        """Return features with the intercept's column, and targets."""
        if not self.options.fit_intercept:
            return A, B
        return self.part.xp.concat([A, B[:, self.k :]], axis=1), B[:, : self.k]

    def _ridge(self) -> tuple[Operator, Array] | None:
        """Return the rows of the ridge, which leave the intercept alone, and their targets."""
        if self.options.alpha == 0:
            return None
        part, xp = self.part, self.part.xp
        width = part.d + self.options.fit_intercept
        place = {"dtype": part.dtype, "device": part.device}
        rows = math.sqrt(self.options.alpha) * xp.eye(part.d, width, **place)
        return DenseOperator(rows), xp.zeros((part.d, self.k), **place)

    def _ridge_share(self, SA: Array) -> Array:
        """Return the share of the ridge, whose rows follow the last one there is."""
        part, xp = self.part, self.part.xp
        columns = part.S.columns(part.stop, part.stop + part.d, like=SA)
        columns = math.sqrt(self.options.alpha) * real_rows(columns, part.dtype, xp)
        if not self.options.fit_intercept:
            return columns
        nothing = xp.zeros_like(SA[:, :1])
        return xp.concat([xp.astype(columns, SA.dtype, copy=False), nothing], axis=1)

    # ----------------------------------------------------------------------------- state

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the last answer, which is computed again."""
        return {**super().__getstate__(), "answered": None}

    def _get_state(self) -> State:
        return {
            "options": asdict(self.options),
            "part": self.part.to_state(),
            "y_is_vector": self.y_is_vector,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        like = xp.empty((0,), device=device)
        part = SketchAccumulator.from_state(state["part"], like=like)
        return cls(StreamOptions(**state["options"]), part, state["y_is_vector"])


def checked_start(start: Any) -> int:
    """Return the number of a block's first row."""
    return check_int("start", start, 0, _MOST_ROWS)


def check_numbers(X: Any, y: Array, index: int, roots: Array | None) -> None:
    """Refuse NaN, infinity, and numbers whose sketch could overflow: one look is mostly enough."""
    stored = [values.data if is_sparse(values) else values for values in (X, y)]
    xp, _ = namespace_of(stored[0])
    kept = [v for v in stored if xp.isdtype(v.dtype, FLOATS) and math.prod(v.shape)]
    if not kept or rough_norm(*kept) <= _most(kept, roots, xp):
        return
    check_finite_block(X, index)
    check_finite_block(y, index, name="y")
    for name, values in (("X", X), ("y", y)):
        check_sums(name, values, index, roots)


def _most(arrays: Sequence[Array], roots: Array | None, xp: Namespace) -> float:
    """Return the largest number whose sums are sure to be finite in all of these precisions."""
    factor = 1.0 if roots is None else max(1.0, max_abs(roots, xp))
    kept = [working_dtype(xp, namespace_of(A)[1], A.dtype) for A in arrays]
    return min(float(xp.finfo(dtype).max) for dtype in kept) * _HEADROOM / factor


def check_sums(name: str, values: Any, index: int, roots: Array | None) -> None:
    """Refuse numbers whose sketch could overflow: nothing could be told from then on."""
    entries = values.data if is_sparse(values) else values
    xp, _ = namespace_of(entries)
    if not xp.isdtype(entries.dtype, FLOATS) or not math.prod(entries.shape):
        return
    most = _most([entries], roots, xp)
    largest = norm_fro(entries, xp)  # one read; usually that is small enough
    if not largest <= most:
        largest = max_abs(entries, xp)
    if not largest <= most:
        raise ValueError(
            f"{name} must be small enough for sums of its rows to be finite, got {largest:.1e} in "
            f"block {index}. Multiply {name} by a power of two first."
        )


def check_same_options(mine: StreamOptions, theirs: StreamOptions) -> None:
    """Refuse to merge what was started with other options, naming the first that differs."""
    check_mergeable(mine, theirs, [field.name for field in fields(StreamOptions)])
