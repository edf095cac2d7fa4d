"""A truncated singular value decomposition that grows, and certifies all it has discarded.

Columns, rows, corrections of low rank and other decompositions come in; a fixed number of singular
triplets stays, and an exact account of the rest::

    svd = IncrementalSVD(20)
    for block in blocks:                # (m, b) each
        svd.append_columns(block)
    result = svd.result()
    result.s, result.error_fro, result.sigma_bounds()

"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    array_namespace,
    is_sparse,
    namespace_of,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import Features, as_array, joint_features
from linalgkit._core.sparse import as_csr
from linalgkit._core.state import check_mergeable
from linalgkit._core.streams import row_blocks
from linalgkit._core.validation import check_array_2d
from linalgkit.svd._changes import Changes
from linalgkit.svd._columns import conj
from linalgkit.svd._inputs import (
    is_source,
    transposed_pieces,
)
from linalgkit.svd._options import SVDOptions
from linalgkit.svd._result import SVDResult, answer


@capability("svd.IncrementalSVD", sparse=True, streaming=True)
class IncrementalSVD(Changes):
    """Truncated singular value decomposition of columns that come one after another.

    Parameters
    ----------
    n_components : int, optional
        Triplets of the answer. This or `tol` must be given.
    n_oversamples : int, optional
        Triplets kept beyond them: the larger, the nearer is the answer to the optimum.
        ``max(10, n_components // 5)`` by default.
    tol : float, optional
        Frobenius error of the answer that is allowed; as many triplets are kept as it takes
        (`n_components` at most).
    tol_mode : {"relative", "absolute"}
        Whether `tol` is a share of ``||A||_F``.
    method : {"auto", "qr", "cholqr", "gram"}
        How new columns are decomposed. ``"gram"`` squares the condition and is the fastest: it
        resolves singular values down to 1e-7 of the largest in double precision. ``"qr"`` is
        backward stable; ``"cholqr"`` as well, in matrix products wherever that is safe.
        ``"auto"`` begins with ``"gram"`` and goes over to ``"cholqr"`` for good once the smallest
        singular value that is kept falls below 1e-6 of the largest.
    truncation : {"svd", "frequent-directions"}
        Whether singular values beyond those kept are dropped, or the square of the first one is
        subtracted from all: no direction is lost then for being small in every block.
    buffer_size : int, optional
        Columns that are collected for a step; twice the triplets kept by default, at least 16.
        Sparse ones wait until their entries take as much room as what is kept, ``m / 4`` of them
        at most.
    forgetting : float, default 1.0
        Factor in (0, 1] by which a column fades with every later one.
    center : bool, default False
        Whether the mean of the columns is taken off, as for principal components.
    inner_product : array (m,) or (m, m), nested list, scipy.sparse or LinearOperator, optional
        Weights ``W`` of the rows, or a Hermitian positive definite matrix: left vectors are
        orthonormal and norms are taken in ``<x, y> = x^H W y``. A sparse matrix goes with NumPy
        arrays and keeps a sparse factor; an operator is made a matrix by `m` products. ``U^H W U``
        is the identity to rounding times the condition of `W`, however badly its rows are scaled.
    compute_v : bool, default False
        Whether right singular vectors are kept, ``n l`` numbers more; needed for `append_rows`,
        `update`, `remove_columns` and `replace_columns`.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Start of the Krylov spaces for sparse columns; nothing else is random.

    Raises
    ------
    TypeError, ValueError
        By the methods, for options and data that do not fit, naming the argument.

    Attributes
    ----------
    components_ : array (k, m)
        ``U^H``: principal axes for rows that are samples.
    singular_values_ : array (k,)
        Singular values of the answer.
    mean_ : array (m,) or None
        Mean of the samples, with ``center=True``.
    n_samples_seen_ : int
        Columns taken in.
    n_features_in_ : int
        Rows `m` of the matrix.
    feature_names_in_ : ndarray of str
        Their names, where dataframes came with names.

    See Also
    --------
    truncated_svd : for a matrix in memory.
    tree_svd : for many blocks on many workers.

    Notes
    -----
    What a step discards is orthogonal, in rows or in columns, to all that is kept and to what
    other steps discard. ``||A - U diag(s) Vh||_F^2`` is therefore the sum of the squares discarded,
    exactly, for streams and for merges of one kind of change, and ``A A^H - A^ A^^H`` is positive
    semi-definite with 2-norm at most ``delta``, the sum of the largest squares discarded at each
    step; the enclosures of :class:`SVDResult` follow from that alone.

    Truncation by itself promises nothing beforehand: a direction that is small in every block can
    be lost however much it adds up to. The enclosure says so (its upper end is large), and
    ``truncation="frequent-directions"`` prevents it: with all the l triplets kept
    ``A A^H - U diag(s^2) U^H`` is then at most ``||A - A_k||_F^2 / (l + 1 - k)`` for all k up to
    l [2]_.

    Many sparse columns at a time are projected, together with what was kept, on leading right
    vectors from a Krylov space; the account stays exact, and the 2-norm of what is left, which is
    part of ``delta``, is bounded by a random test that fails with a probability of 1e-14.

    Storage in words: ``m (2 l + b)`` for `b` columns that wait; ``4 m l`` for sparse ones.
    `compute_v` takes up to ``n l (1 + l / b)`` more.

    References
    ----------
    .. [1] M. Shamrai, "Concatenated Matrix SVD", arXiv:2601.11626.
    .. [2] M. Ghashami, E. Liberty, J. M. Phillips, D. P. Woodruff, "Frequent Directions: simple and
       deterministic matrix sketching", SIAM J. Comput. 45 (2016).
    .. [3] M. Brand, "Fast low-rank modifications of the thin singular value decomposition", Linear
       Algebra Appl. 415 (2006).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import IncrementalSVD
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((200, 8)) @ rng.standard_normal((8, 500))
    >>> svd = IncrementalSVD(8)
    >>> for j in range(0, 500, 50):
    ...     svd = svd.append_columns(A[:, j : j + 50])
    >>> result = svd.result()
    >>> bool(np.allclose(result.s, np.linalg.svd(A)[1][:8])), result.error_kind
    (True, 'exact')
    """

    _accepts_sparse = True

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_oversamples: int | None = None,
        tol: float | None = None,
        tol_mode: str = "relative",
        method: str = "auto",
        truncation: str = "svd",
        buffer_size: int | None = None,
        forgetting: float = 1.0,
        center: bool = False,
        inner_product: Any = None,
        compute_v: bool = False,
        rng: Any = None,
    ) -> None:
        self.n_components = n_components
        self.n_oversamples = n_oversamples
        self.tol = tol
        self.tol_mode = tol_mode
        self.method = method
        self.truncation = truncation
        self.buffer_size = buffer_size
        self.forgetting = forgetting
        self.center = center
        self.inner_product = inner_product
        self.compute_v = compute_v
        self.rng = rng

    # -------------------------------------------------------------------- columns come in

    def append_columns(self, A: Any) -> Self:
        """Put columns to the right of the matrix.

        Parameters
        ----------
        A : array (m, b), one column (m,), scipy.sparse or cupyx.scipy.sparse, LinearOperator
            Only read. An operator is multiplied by the identity, a few columns at a time.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.

        Raises
        ------
        TypeError
            For what is no matrix of numbers, another library, device or kind than before.
        ValueError
            If the number of rows differs (both are named), entries are NaN or infinite, or
            `n_components` is larger than the number of rows.
        """
        stream = self._stream_or_none()
        many = hasattr(A, "matmat") and not is_sparse(A)  # pieces, of which a later one may fail
        before = stream.duplicate() if many and stream is not None else None
        try:
            for rows in transposed_pieces(A, self._columns_at_a_time):
                self._push(rows, None)
        except (TypeError, ValueError):
            if many and stream is not None and not self.__dict__.get("_is_broken"):
                self._stream = before
            elif many and stream is None:
                self.__dict__.pop("_stream", None)
            raise
        return self

    def partial_fit(self, X: Any, y: object = None) -> Self:
        """Take in rows that are samples: ``append_columns(X^H)``.

        Parameters
        ----------
        X : array (b, features) or sparse container
            Samples; no row at all changes nothing.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        block, features = self._check_features(X, reset=self._stream_or_none() is None, min_rows=0)
        xp, _ = namespace_of(block.data if is_sparse(block) else block)
        rows = as_csr(block).conj() if is_sparse(block) else conj(block, xp)
        if rows.shape[0]:
            self._push(rows, features)
        return self

    def fit(self, X: Any, y: object = None) -> Self:
        """Start anew with all rows of a source.

        Parameters
        ----------
        X : array (n, features), memmap, zarr or h5py array, sparse matrix, dask.array, or iterable
            Samples, or an iterable of blocks of them.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        fresh = type(self)(**self.get_params(deep=False))
        in_memory = isinstance(X, (list, tuple)) or hasattr(X, "to_numpy") or is_sparse(X)
        blocks = iter([X]) if in_memory or not is_source(X) else row_blocks(X)
        first: Features | None = None
        for block in blocks:
            checked, features = fresh._check_features(block, reset=first is None, min_rows=0)
            first = features if first is None else first
            if checked.shape[0] == 0 and first is features:
                fresh._check_features(block, reset=True)
            fresh._set_features(first)
            fresh.partial_fit(block)
        if fresh._stream_or_none() is None:
            raise ValueError("X must have at least one row, got a source without rows.")
        self._take(fresh._fitted(), first)
        self._inner_product = fresh.__dict__.get("_inner_product")
        self._first_inner = self.inner_product
        return self

    def flush(self) -> Self:
        """Take in the columns that wait for a step; the answer is the same with or without.

        Returns
        -------
        IncrementalSVD
            The object itself.
        """
        stream = self._fitted()
        fresh = stream.duplicate()
        fresh.flush()
        self._take(fresh, None)
        return self

    # ------------------------------------------------------------------------------ merging

    def merge(self, other: IncrementalSVD) -> Self:
        """Put the columns of another object to the right of these.

        Parameters
        ----------
        other : IncrementalSVD
            With the same options; it is not changed.

        Returns
        -------
        IncrementalSVD
            The object itself; the account of what was discarded stays exact.

        Raises
        ------
        TypeError
            If `other` is no IncrementalSVD.
        ValueError
            If options, rows, library or dtype differ, or columns fade.
        """
        if not isinstance(other, IncrementalSVD):
            raise TypeError(
                f"only objects of one class can be merged, got IncrementalSVD and "
                f"{type(other).__name__}."
            )
        check_mergeable(
            self._options(), other._options(), [field.name for field in fields(SVDOptions)]
        )
        if self._options().forgetting < 1.0:
            raise ValueError(
                f"forgetting must be 1 for a merge, got {self.forgetting}. Which columns are older "
                "is not known."
            )
        self._check_same_inner(other)
        theirs = other._stream_or_none()
        if theirs is None:
            return self
        mine = self._stream_or_none()
        theirs = self._in_my_coordinates(other, theirs if mine is None else mine)
        features = other._features()
        if mine is None:
            self._take(theirs.duplicate(), features)
            self._first_inner = self.inner_product
            return self
        features = joint_features(self._features(), features)
        fresh = mine.duplicate()
        fresh.merge(theirs)
        self._take(fresh, features)
        return self

    @classmethod
    def merge_all(cls, states: Iterable[IncrementalSVD]) -> Self:
        """Return the decomposition of all columns of several objects, side by side in order.

        Parameters
        ----------
        states : iterable of IncrementalSVD
            One at least; none is changed.

        Returns
        -------
        IncrementalSVD
            A new object.
        """
        found: Self | None = None
        for state in states:
            found = copy.deepcopy(state) if found is None else found.merge(state)  # type: ignore[assignment]
        if found is None:
            raise ValueError("states must hold one object at least, got none.")
        return found

    # -------------------------------------------------------------------------- the answer

    def result(self) -> SVDResult:
        """Return the decomposition of all columns so far; the object stays as it is.

        Returns
        -------
        SVDResult
            Triplets and what is certain about them.
        """
        stream = self._fitted()
        kept: SVDResult | None = self.__dict__.get("_answered")
        if kept is None:
            kept = answer(stream)
            inner = self._inner(stream)
            kept = kept if inner is None else inner.restored(kept)
            self._answered: SVDResult | None = kept
        return kept

    @property
    def components_(self) -> Array:
        """Principal axes as rows, ``U^H``."""
        U = self.result().U
        xp = array_namespace(U)
        return conj(xp.matrix_transpose(U), xp)

    @property
    def singular_values_(self) -> Array:
        """Singular values of the answer."""
        return self.result().s

    @property
    def mean_(self) -> Array | None:
        """Mean of the samples, None without `center`."""
        held = self._fitted().flushed()
        if held.mean is None or held.mean.value is None:
            return None
        value = held.mean.value
        inner = self._inner(held)
        value = value if inner is None else inner.unmapped(value[:, None])[:, 0]
        return held.xp.astype(conj(value, held.xp), held.dtype, copy=False)

    @property
    def n_samples_seen_(self) -> int:
        """Columns taken in."""
        return self._fitted().n_seen

    @property
    def _n_features_out(self) -> int:
        return self.result().rank

    def transform(self, X: Any) -> Any:
        """Return coordinates ``(X - mean) U`` of samples.

        Parameters
        ----------
        X : array (rows, m) or sparse container
            Samples.

        Returns
        -------
        array (rows, rank)
            Their coordinates; in an inner product, ``(X - mean) W U``.
        """
        self._fitted()
        block, _ = self._check_features(X, reset=False)
        U, mean = self._axes(), self.mean_
        xp = array_namespace(U)
        coordinates = block @ U if is_sparse(block) else xp.astype(block, U.dtype) @ U
        if mean is not None:
            coordinates = coordinates - mean[None, :] @ U
        return self._wrap_output(coordinates, X)

    def inverse_transform(self, Z: Array) -> Array:
        """Return samples ``Z U^H + mean`` from coordinates.

        Parameters
        ----------
        Z : array (rows, rank)
            Coordinates.

        Returns
        -------
        array (rows, m)
            The samples, as far as the components span them.
        """
        result, mean = self.result(), self.mean_
        Z, xp = check_array_2d(
            "Z", as_array(Z), n_columns=result.rank, why="as there are components"
        )
        samples = xp.astype(Z, result.U.dtype) @ conj(xp.matrix_transpose(result.U), xp)
        return samples if mean is None else samples + mean[None, :]

    def to_linear_operator(self) -> Any:
        """Return ``U diag(s) Vh`` as an operator; needs ``compute_v=True``.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of shape (m, n), on the host.
        """
        from scipy.sparse.linalg import LinearOperator

        self._with_v("to_linear_operator")
        found = self.result()
        U, s, Vh = (to_numpy(part) for part in (found.U, found.s, found.Vh))
        left = U * s[None, :]

        def forward(x: Any) -> Any:
            return left @ (Vh @ x)

        def backward(x: Any) -> Any:
            return Vh.conj().T @ (left.conj().T @ x)

        shape = (U.shape[0], Vh.shape[1])
        return LinearOperator(
            shape, matvec=forward, rmatvec=backward, matmat=forward, rmatmat=backward, dtype=U.dtype
        )

    def _axes(self) -> Array:
        """Return ``W U``, with which rows are multiplied for coordinates."""
        U = self.result().U
        inner = self._inner(self._fitted())
        return U if inner is None else inner.applied(U)
