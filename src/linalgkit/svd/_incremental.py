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
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, Self

from linalgkit._core.array import (
    is_sparse,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import Features, joint_features
from linalgkit._core.random import undone_on_error
from linalgkit._core.state import check_mergeable
from linalgkit._core.streams import row_blocks
from linalgkit._core.validation import (
    is_in_memory,
    refuse_dask,
)
from linalgkit.svd._components import Components
from linalgkit.svd._inputs import samples, transposed_pieces
from linalgkit.svd._options import SVDOptions


@capability(
    "svd.IncrementalSVD",
    sparse=True,
    streaming=True,
    synchronisations={"block": 1, "full buffer": 7, "result": 5},
    notes=(
        "A full buffer is a step: three synchronisations, six on an orthonormal basis (with "
        'method="cholqr", or where squares do not resolve the tolerance).'
    ),
)
class IncrementalSVD(Components):
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
        Columns that are collected for a step; twice the triplets kept by default, at least 16, and
        up to 1024 of them while those fit into half a megabyte. Sparse ones wait until their
        entries take as much room as what is kept, ``m / 4`` of them at most.
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
    n_components_ : int
        Triplets of the answer.
    explained_variance_ : array (k,)
        ``s^2 / (n - 1)``: with ``center=True`` the variances along the components, else mean
        squares about zero. With `forgetting` the place of ``n - 1`` is taken by
        ``W - sum w^2 / W`` for the weights ``w`` of the squares and their sum ``W``.
    explained_variance_ratio_ : array (k,)
        ``s^2 / ||A||_F^2``: their shares of the whole variance, without `center` of the sum of all
        squares.
    noise_variance_ : float
        ``error_fro^2`` over ``n - 1`` and the ``min(m, n) - k`` directions that are left, as in
        probabilistic principal component analysis, for which `center` is needed; 0 where none is
        left, an upper bound where `error_kind` is ``"bound"``.
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

    Storage in words: ``m (2 l + b)`` for `b` columns that wait and half a million beside them;
    ``4 m l`` for sparse ones.
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
        stream, was = self._stream_or_none(), dict(self.__dict__)
        if stream is not None and hasattr(A, "matmat") and not is_sparse(A):
            was["_stream"] = stream.duplicate()  # comes in pieces, of which a later one may fail
        first = 0
        try:
            for rows in transposed_pieces(A, self._columns_at_a_time):
                self._push(rows, None, first)
                first += int(rows.shape[0])
        except BaseException:
            if not self.__dict__.get("_is_broken"):
                self.__dict__.clear()
                self.__dict__.update(was)
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
        refuse_dask("X", X, "Pass it to fit, which reads it block by block, or call compute().")
        block, features = self._check_features(X, reset=self._stream_or_none() is None, min_rows=0)
        if block.shape[0]:
            self._push(samples(block), features)
        return self

    def fit(self, X: Any, y: object = None) -> Self:
        """Start anew with all rows of a source.

        Parameters
        ----------
        X : array (n, features), memmap, zarr or h5py array, sparse matrix, dask.array, or iterable
            Samples, or a list or other iterable of blocks of them. A one-pass iterator is used up.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        IncrementalSVD
            The object itself. After an error it is as it was before the call.
        """
        fresh = type(self)(**self.get_params(deep=False))
        first: Features | None = None
        with undone_on_error(self.rng):
            for block, features in self._blocks(X):
                first = features if first is None else first
                fresh._push(samples(block), features)
        if first is None:
            raise ValueError(
                "X must have at least one row, got a source without rows. Iterators can be read "
                "only once: make a new one."
            )
        self._take(fresh._fitted(), first)
        self._n_blocks = fresh._n_blocks
        self._inner_product = fresh.__dict__.get("_inner_product")
        self._first_inner = self.inner_product
        return self

    def _blocks(self, X: Any) -> Iterator[tuple[Any, Features]]:
        """Yield blocks of a source of samples, each with its columns."""
        if is_in_memory(X):
            yield self._check_features(X, reset=True)
            return
        for block in row_blocks(X):
            yield self._check_features(block, reset=True)

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
