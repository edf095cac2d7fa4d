"""What an incremental decomposition holds: its stream, its inner product, its saved state."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    is_sparse,
    namespace_of,
    working_dtype,
)
from linalgkit._core.estimator import Features, TransformerMixin
from linalgkit._core.random import PhiloxTiles, undone_on_error
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_finite_block, require_fitted
from linalgkit.svd import _inner
from linalgkit.svd._inner import InnerProduct
from linalgkit.svd._inputs import in_dtype
from linalgkit.svd._options import SVDOptions
from linalgkit.svd._result import SVDResult
from linalgkit.svd._stream import ColumnStream

_NEEDS_V = "Make the object with compute_v=True, which keeps the right singular vectors, too."


class StreamHolder(TransformerMixin, Stateful):
    """The private part of :class:`~linalgkit.svd.IncrementalSVD`."""

    center: bool
    inner_product: Any
    rng: Any
    _share = 1.0  # of the square of an absolute tolerance, for parts of a tree
    _answers: list[SVDResult]  # the last one, until something changes
    _stream: ColumnStream | None
    _inner_product: InnerProduct | None

    def _options(self) -> SVDOptions:
        return SVDOptions.checked(self.get_params(deep=False))

    def _stream_or_none(self) -> ColumnStream | None:
        if self.__dict__.get("_is_broken"):
            raise RuntimeError(
                f"This {type(self).__name__} was interrupted half way through a block. Go on from "
                "a saved state, or fit again."
            )
        found: ColumnStream | None = self.__dict__.get("_stream")
        return found

    def _fitted(self) -> ColumnStream:
        stream = self._stream_or_none()
        require_fitted(self, stream is not None, "append_columns, partial_fit or fit")
        assert stream is not None
        return stream

    def _with_v(self, name: str) -> ColumnStream:
        stream = self._fitted()
        if not stream.options.compute_v:
            raise ValueError(f"{name} needs compute_v=True, got False. {_NEEDS_V}")
        return stream

    def _columns_at_a_time(self) -> int:
        return self._options().step_columns

    def _features(self) -> Features:
        return Features(self.n_features_in_, getattr(self, "feature_names_in_", None))

    def _take(self, stream: ColumnStream, features: Features | None) -> None:
        self._stream = stream
        self._answers, self._is_broken = [], False
        if features is not None:
            self._set_features(features)

    def _push(self, rows: Any, features: Features | None, first: int = 0) -> None:
        """Take in columns that lie as rows (b, m), or nothing if they are refused.

        Parameters
        ----------
        rows : array or CSR matrix (b, m)
            The columns.
        features : Features, optional
            Names of the rows of the matrix; None for columns that came as columns.
        first : int
            Number of the first of these columns within the block that the caller gave.
        """
        with undone_on_error(self.rng):
            self._push_checked(rows, features, first)

    def _push_checked(self, rows: Any, features: Features | None, first: int) -> None:
        stream = self._stream_or_none()
        if stream is None:
            stream = self._started(rows)
        elif rows.shape[1] != stream.m:
            raise ValueError(
                f"A must have {stream.m} rows as the columns before, got {rows.shape[1]}."
            )
        rows = in_dtype(rows, stream)
        n_blocks = self.__dict__.get("_n_blocks", 0) - (first > 0)
        name, unit = ("A", "column") if features is None else ("X", "row")
        check_finite_block(rows, n_blocks, name=name, unit=unit, first=first)
        inner = self._inner(stream)
        if inner is not None:
            rows = inner.mapped_rows(rows)
        self._answers, self._is_broken = [], True
        stream.push(rows)  # all that can be refused has been
        self._stream, self._n_blocks, self._is_broken = stream, n_blocks + 1, False
        self._first_inner: Any = self.inner_product
        if "n_features_in_" not in self.__dict__:
            self._set_features(features or Features(stream.m, None))

    def _started(self, rows: Any) -> ColumnStream:
        """Return an empty stream for columns like these."""
        options = self._options()
        values = rows.data if is_sparse(rows) else rows
        xp, dev = namespace_of(values)
        m = int(rows.shape[1])
        if options.n_components is not None and options.n_components > m:
            raise ValueError(
                f"n_components must be between 1 and {m} for a matrix with {m} rows, got "
                f"{options.n_components}."
            )
        dtype = working_dtype(xp, dev, values.dtype)
        place = {"xp": xp, "device": dev, "dtype": dtype, "share": self._share}
        if not is_sparse(rows):
            return ColumnStream(options, m, **place)
        seed = PhiloxTiles(self.rng).key[0] if options.has_leaves else 0
        return ColumnStream(options, m, **place, sparse=True, seed=seed)

    def _refuse_for_rows(self) -> None:
        if self.center or self.inner_product is not None:
            raise ValueError(
                "append_rows needs center=False and inner_product=None: both belong to the rows "
                "there are."
            )

    def _inner(self, stream: ColumnStream) -> InnerProduct | None:
        """Return the inner product, factorised once, that all columns have come in with."""
        first = self.__dict__.get("_first_inner", self.inner_product)
        if first is not self.inner_product and not _inner.is_same(first, self.inner_product):
            raise ValueError(
                "inner_product must stay what it was when the first columns came, got another one. "
                "Call fit to start anew with it."
            )
        if self.inner_product is None:
            return None
        found: InnerProduct | None = self.__dict__.get("_inner_product")
        if found is None or found.source is not self.inner_product:
            order = self.__dict__.get("_inner_order") if found is None else None  # of a saved one
            place = stream.xp, stream.device, stream.dtype
            found = InnerProduct(self.inner_product, stream.m, *place, order=order)
            self._inner_product = found
        return found

    def _check_same_inner(self, other: StreamHolder) -> None:
        if not _inner.is_same(self.inner_product, other.inner_product):
            raise ValueError("inner_product must agree for a merge, got two that differ.")

    def _in_my_coordinates(self, other: StreamHolder, mine: ColumnStream) -> ColumnStream:
        """Return the columns of another object, as the inner product of this one maps them."""
        theirs = other._fitted()
        here, there = self._inner(mine), other._inner(theirs)
        if here is None or there is None or here.shares_coordinates(there):
            return theirs
        held, xp = theirs.flushed(), theirs.xp

        def moved(columns: Array) -> Array:
            return here.mapped(there.unmapped(columns))

        if held.kept is not None:
            basis = xp.matrix_transpose(moved(xp.matrix_transpose(held.kept.basis)))
            held.kept = held.kept._replace(basis=basis)
        if held.mean is not None and held.mean.value is not None:
            held.mean = replace(held.mean, value=moved(held.mean.value[:, None])[:, 0])
        return held

    # ------------------------------------------------------------------------------- state

    def __copy__(self) -> Self:
        """Return a copy that goes on by itself."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the answer, which is made again when it is asked for."""
        kept = super().__getstate__()
        return {**kept, "_answers": []} if "_answers" in kept else kept

    def _get_state(self) -> State:
        stream = self._stream_or_none()
        params = self.get_params(deep=False)
        params["rng"] = None
        inner = None if stream is None else self._inner(stream)
        params["inner_product"] = _inner.to_state(params["inner_product"])
        return {
            "params": params,
            "features": self._features_to_state(),
            "n_blocks": self.__dict__.get("_n_blocks", 0),
            "stream": None if stream is None else stream.to_state(),
            "inner_order": None if inner is None else inner.order,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        params = dict(state["params"])
        params["inner_product"] = _inner.from_state(params["inner_product"], xp, device)
        found = cls(**params)
        found._features_from_state(state["features"])
        found._n_blocks = int(state["n_blocks"])
        if state["stream"] is not None:
            like = xp.empty((0,), device=device)
            found._stream = ColumnStream.from_state(state["stream"], like=like)
            found._answers = []
            found.__dict__["_inner_order"] = state["inner_order"]
            found._first_inner = found.inner_product
        return found
