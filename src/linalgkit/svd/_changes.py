"""Changes of a matrix that has come in: rows, corrections of low rank, columns gone or replaced."""

from __future__ import annotations

from typing import Any, Self

from linalgkit._core.array import Array
from linalgkit._core.estimator import Features
from linalgkit._core.scaling import ldexp, max_abs
from linalgkit._core.validation import check_array_2d, check_finite_block
from linalgkit.svd import _updates
from linalgkit.svd._holder import StreamHolder
from linalgkit.svd._inputs import add_product, check_like, checked_places


class Changes(StreamHolder):
    """The changes that :class:`~linalgkit.svd.IncrementalSVD` can make."""

    def append_rows(self, B: Array) -> Self:
        """Put rows below the matrix, for all columns so far; needs ``compute_v=True``.

        After columns and rows in turns the error is a bound (triangle inequality over the turns).

        Parameters
        ----------
        B : array (p, n)
            Rows, with a number for each column so far.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        stream = self._with_v("append_rows")
        B, xp = check_array_2d("B", B, n_columns=stream.n_seen, why="as the matrix has")
        check_like(B, xp, "B", stream)
        check_finite_block(B, name="B")
        self._refuse_for_rows()
        fresh = stream.flushed()
        rows = xp.astype(B, fresh.dtype, copy=False)
        fresh.follow(max_abs(rows, xp))
        _updates.append_rows(fresh, ldexp(rows, -fresh.exponent, xp))
        self._take(fresh, Features(fresh.m, None))
        return self

    def update(self, X: Array, Y: Array) -> Self:
        """Add a matrix of low rank, ``X Y^H``; needs ``compute_v=True``.

        Parameters
        ----------
        X : array (m, c)
            Left factor.
        Y : array (n, c)
            Right factor.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        stream = self._with_v("update")
        X, xp = check_array_2d("X", X)
        Y, _ = check_array_2d("Y", Y, n_columns=int(X.shape[1]), why="as X has")
        for name, factor, rows in (("X", X, stream.m), ("Y", Y, stream.n_seen)):
            if factor.shape[0] != rows:
                raise ValueError(
                    f"{name} must have {rows} rows for a matrix of shape ({stream.m}, "
                    f"{stream.n_seen}), got shape {tuple(factor.shape)}."
                )
            check_like(factor, xp, name, stream)
            check_finite_block(factor, name=name)
        fresh = stream.flushed()
        inner = self._inner(fresh)
        left, right = (xp.astype(part, fresh.dtype, copy=False) for part in (X, Y))
        left = left if inner is None else inner.mapped(left)
        add_product(fresh, left, right)
        self._take(fresh, None)
        return self

    def remove_columns(self, idx: Any) -> Self:
        """Take columns away; those to the right move up. Needs ``compute_v=True``.

        Parameters
        ----------
        idx : int, sequence of int, or mask (n,)
            Their numbers, from 0, or a boolean for each column, true for those that go.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        stream = self._with_v("remove_columns")
        places = checked_places(idx, stream.n_seen)
        if len(places) == stream.n_seen:
            raise ValueError(f"idx must leave one column at least, got all {stream.n_seen}.")
        fresh = stream.flushed()
        if places:
            _updates.remove_columns(fresh, places)
        self._take(fresh, None)
        return self

    def replace_columns(self, idx: Any, A: Array) -> Self:
        """Put other columns in the place of some; needs ``compute_v=True``.

        Parameters
        ----------
        idx : int, sequence of int, or mask (n,)
            Numbers of the columns that go, from 0, or a boolean for each column.
        A : array (m, c)
            Those that come, in the same order.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        stream = self._with_v("replace_columns")
        places = checked_places(idx, stream.n_seen)
        A, xp = check_array_2d("A", A, n_columns=len(places), why="as idx has numbers")
        if A.shape[0] != stream.m:
            raise ValueError(f"A must have {stream.m} rows, got shape {tuple(A.shape)}.")
        check_like(A, xp, "A", stream)
        check_finite_block(A, name="A")
        fresh = stream.flushed()
        inner = self._inner(fresh)
        new = xp.astype(A, fresh.dtype, copy=False)
        new = new if inner is None else inner.mapped(new)
        fresh.follow(max_abs(new, xp))
        change = ldexp(new, -fresh.exponent, xp) - _updates.zeroed(fresh, places)
        _updates.update(fresh, change, _updates.unit_columns(fresh.n_columns, places, fresh))
        self._take(fresh, None)
        return self
