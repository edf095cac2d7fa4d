"""The answer of a matrix completion: factors, predictions, intervals, and what is certain."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self

import scipy.sparse.linalg

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    array_namespace,
    asarray,
    device,
    is_complex,
    library_name,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.printing import leading, number, told
from linalgkit._core.state import State, Stateful
from linalgkit.completion import _graph, _intervals, _top
from linalgkit.completion._factors import parameters
from linalgkit.completion._observed import Observed
from linalgkit.completion._pattern import Pattern
from linalgkit.completion._places import lines, pairs, taken
from linalgkit.completion._whole import check_whole

_HOST = numpy_namespace()
_NUMBERS = 2**22  # of factors that are gathered for predictions together
_ARRAYS = (
    "U", "V", "singular_values", "row_bias", "col_bias", "unidentifiable_rows",
    "unidentifiable_columns",
)  # fmt: skip
_HOST_ARRAYS = ("row_ridge", "column_ridge", "row_load", "column_load")


@capability(
    "completion.CompletionResult",
    sparse=True,
    synchronisations={"prediction": 2, "list": 1, "interval": 13},
)
@dataclass(frozen=True, eq=False)
class CompletionResult(Stateful):
    """A completed matrix, ``A ~ U V^H + row_bias[:, None] + col_bias[None, :] + mean``.

    Attributes
    ----------
    U : array (m, k)
        Left factor, ``U_i sqrt(s)`` for the singular vectors and values of the product.
    V : array (n, k)
        Right factor, of the same column norms.
    singular_values : array (k,)
        Those of ``U V^H``, descending.
    row_bias, col_bias : array (m,), (n,) or None
        Offsets of rows and columns; None where none were asked for.
    mean : float or complex
        Offset of all entries; 0 where none was asked for.
    rank : int
        Columns k of the factors, given or found.
    loss_history : tuple of float
        Root of the objective (the sum of moduli for the l1 loss) after each sweep of the start
        that was kept; with ``shrink=True`` the noise estimate.
    sweeps : int
        Sweeps made.
    residual_norm : float
        ``sqrt(sum w |r|^2)`` over the training entries.
    noise_estimate : float
        Standard deviation of the noise of an entry of weight 1.
    validation_rmse : float or None
        Root mean square error on the entries held out (for robust losses 1.4826 times the median
        error), of the fit that did not see them; None where none were.
    unidentifiable_rows, unidentifiable_columns : array of integers
        Lines that the entries cannot determine; they have the value of least norm.
    n_connected_components : int
        Components of the graph of the observed entries. Nothing is known across two of them.
    status : str
        How it ended: "converged" (at rounding, or the objective settled), "stalled" (no step
        lowers the residual, though it is not flat), "max_sweeps", "stopped" (by the callback),
        "refitted" (a few sweeps after more entries came), "zero" (nothing but offsets is left).
    message : str
        The same in a sentence.
    alpha : float
        Weight of the squared norms of the factors.
    row_ridge, column_ridge : host array (k,) or (k + 1,), or None
        Ridge that each component had in the regressions of the rows and of the columns, where it
        was not `alpha`; the last of k + 1 is that of the bias.
    row_load, column_load : host array (k,) or (k + 1,), or None
        Ridge that each component had for each entry of a line. With ``shrink=True`` these and the
        ridges are diagonals, in the basis of the answer, of matrices that were diagonal in
        another one: regressions with them are approximately those of the fit.
    loss_scale : float or None
        Residual at which the loss turned from a square to a modulus; None for the squared loss.

    See Also
    --------
    complete_matrix : finds it.

    Notes
    -----
    Storage: ``(m + n + 1) k`` numbers, and the pattern of the training entries for :meth:`interval`
    and :meth:`top_k`: 2 N indices (of 32 bits where they fit) and, for weighted data, 2 N weights.
    A file has half of the pattern.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.completion import complete_matrix
    >>> A = np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 0.5, 2.0])
    >>> seen = np.asarray([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=bool)
    >>> result = complete_matrix(A, 1, mask=seen)
    >>> result.predict([0, 1, 3], [2, 1, 0]).round(6).tolist()
    [2.0, 1.0, 4.0]
    >>> result.top_k([0], 1, exclude="observed")[0].tolist()
    [[2]]
    """

    U: Array = field(repr=False)
    V: Array = field(repr=False)
    singular_values: Array = field(repr=False)
    row_bias: Array | None = field(repr=False)
    col_bias: Array | None = field(repr=False)
    mean: complex
    rank: int
    loss_history: tuple[float, ...] = field(repr=False)
    sweeps: int
    residual_norm: float
    noise_estimate: float
    validation_rmse: float | None
    unidentifiable_rows: Array = field(repr=False)
    unidentifiable_columns: Array = field(repr=False)
    n_connected_components: int
    status: str
    message: str = field(repr=False)
    alpha: float
    _pattern: Observed | Pattern = field(repr=False)
    row_ridge: Array | None = field(repr=False, default=None)
    column_ridge: Array | None = field(repr=False, default=None)
    row_load: Array | None = field(repr=False, default=None)
    column_load: Array | None = field(repr=False, default=None)
    loss_scale: float | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self._pattern, Observed):  # the values need not be kept
            self.__dict__["_pattern"] = Pattern.of(self._pattern)
        self.__dict__["loss_history"] = tuple(self.loss_history)

    def __str__(self) -> str:
        m, n = self.shape
        return told(
            f"Completed matrix, {m:,} x {n:,}, of rank {self.rank:,} after {self.sweeps:,} sweeps",
            ("singular values", leading(self.singular_values)),
            ("noise", number(self.noise_estimate)),
            ("residual norm", number(self.residual_norm)),
            ("held-out error", number(self.validation_rmse)),
            status=self.status,
            meaning=self.message.rstrip("."),
        )

    # ------------------------------------------------------------------------------- answers

    @property
    def shape(self) -> tuple[int, int]:
        """Rows m and columns n of the matrix."""
        return int(self.U.shape[0]), int(self.V.shape[0])

    @property
    def is_penalised(self) -> bool:
        """Whether the factors were shrunk, by `alpha` or component by component."""
        return bool(self.alpha > 0 or any(getattr(self, n) is not None for n in _HOST_ARRAYS))

    @property
    def degrees_of_freedom(self) -> int:
        """Training entries less the parameters of the lines that have entries.

        Those are ``k (m + n - k)``, and 1 for a mean; with biases ``k (m + n - 2 - k) + m + n -
        1``. Not positive where there are no more entries than parameters.
        """
        pattern, biased = self.pattern(), self.row_bias is not None
        used = parameters(pattern.rows, pattern.columns, self.rank, biased=biased)
        return pattern.count - used - int(not biased and self.mean != 0)

    def predict(self, rows: Any, cols: Any) -> Array:
        """Return completed values of some entries.

        Parameters
        ----------
        rows, cols : int, sequence of int or array of integers
            Row and column of each entry, from 0; they are broadcast against each other.

        Returns
        -------
        array
            Values, of the shape of the broadcast indices.

        Raises
        ------
        TypeError
            If an index is no integer.
        ValueError
            If one is negative or beyond the shape, or the shapes do not fit.

        Notes
        -----
        Storage: the result, its indices on the host, and 2^23 numbers of gathered rows.
        """
        xp, where = self._xp, device(self.U)
        i, j = pairs(rows, cols, self.shape)
        shape, i, j = i.shape, i.reshape(-1), j.reshape(-1)
        step = max(1, _NUMBERS // max(1, self.rank))
        found = [
            self._entries(i[start : start + step], j[start : start + step], xp, where)
            for start in range(0, max(1, i.size), step)
        ]
        flat = found[0] if len(found) == 1 else xp.concat(found)
        return xp.reshape(flat, shape)

    def _entries(self, i: Array, j: Array, xp: Namespace, where: Device) -> Array:
        """Return the values at pairs of indices, (q,)."""
        left, right = taken(self.U, i, xp, where), taken(self.V, j, xp, where)
        right = xp.conj(right) if is_complex(right, xp) else right
        values = xp.sum(left * right, axis=1)
        if self.row_bias is not None:
            values = values + taken(self.row_bias, i, xp, where)
            values = values + taken(self.col_bias, j, xp, where)
        return values + self.mean if self.mean else values

    def block(self, rows: Any = None, cols: Any = None) -> Array:
        """Return completed values of some rows and columns, dense.

        Parameters
        ----------
        rows, cols : slice, int, sequence of int, array of integers, or None
            Lines; None (the default) for all of them.

        Returns
        -------
        array (a, b)
            Values at all pairs.

        Raises
        ------
        TypeError, ValueError
            As :meth:`predict`.

        Notes
        -----
        Storage: twice the result.
        """
        xp, where, (m, n) = self._xp, device(self.U), self.shape
        i, j = lines("rows", rows, m, (m, n)), lines("cols", cols, n, (m, n))
        right = xp.matrix_transpose(taken(self.V, j, xp, where))
        right = xp.conj(right) if is_complex(right, xp) else right
        values = taken(self.U, i, xp, where) @ right
        if self.row_bias is not None:
            values = values + taken(self.row_bias, i, xp, where)[:, None]
            values = values + taken(self.col_bias, j, xp, where)[None, :]
        return values + self.mean if self.mean else values

    def to_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """Return the completed matrix as an operator for SciPy, biases and mean included.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator (m, n)
            With products and adjoint products of vectors and of matrices.

        Raises
        ------
        TypeError
            If the arrays are not NumPy's.

        Notes
        -----
        Nothing of size m n is formed. Storage: ``k + 2`` numbers for each column of an operand, in
        a product, and the result.
        """
        if library_name(self._xp) != "numpy":
            raise TypeError(
                f"a SciPy LinearOperator works with numpy arrays, got {library_name(self._xp)}. "
                "Multiply by U and V themselves, or complete the matrix as numpy's."
            )
        return _operator(self)

    def top_k(self, rows: Any, k: int, exclude: Any = None) -> tuple[Array, Array]:
        """Return the largest completed values of some rows, and their columns.

        Parameters
        ----------
        rows : slice, int, sequence of int, array of integers, or None
            Rows; None for all of them.
        k : int
            How many of each row, between 1 and n.
        exclude : None, "observed", sparse matrix (m, n), boolean array (m, n), or pair of indices
            Entries that are left out: none; those of the training data; those that a sparse matrix
            stores, zeros included; those where an array is True; those at (rows, cols).

        Returns
        -------
        indices : array of integers (r, k)
            Columns, those of the largest value first, of equal ones the first column first.
        values : array (r, k)
            Their values. A row with fewer than `k` columns left ends in the column -1 and the
            value minus infinity.

        Raises
        ------
        TypeError
            For complex data, or arguments of a wrong kind.
        ValueError
            For a row out of range, `k` out of range, or an `exclude` of another shape.

        Notes
        -----
        Rows are worked on in chunks. Storage: the result, a few times 2^22 numbers or n if that is
        more, and one index for each entry left out.
        """
        return _top.largest(self, rows, k, exclude)

    def interval(
        self, rows: Any, cols: Any, level: float = 0.9, *, noisy: bool = False
    ) -> tuple[Array, Array]:
        """Return intervals for the true values of some entries, or for new observations of them.

        Parameters
        ----------
        rows, cols : int, sequence of int or array of integers
            Row and column of each entry; they are broadcast against each other.
        level : float, default 0.9
            Probability that an interval covers, in (0, 1).
        noisy : bool, default False
            Whether the interval is for a new observation of weight 1, with noise as those seen
            had, instead of for the value without noise.

        Returns
        -------
        low, high : array
            The ends, of the shape of the broadcast indices: minus and plus infinity for lines that
            are not identified, for entries across two components, and where there is no entry more
            than parameters.

        Raises
        ------
        TypeError
            For complex data, or arguments of a wrong kind.
        ValueError
            For an index or a level out of range.

        Notes
        -----
        The variance is that of the quadratic model of the objective around the answer, the row's
        unknowns and the column's taken as independent: ``noise_estimate**2 (v^H G^-1 v + u^H H^-1
        u)`` with the weighted Gram matrices `G` and `H` of the entries of the row and of the
        column (plus the ridge), larger by what the two sides have of the errors of one another,
        and quantiles of Student's law with `degrees_of_freedom` (with those that a ridge leaves).
        For independent normal noise of variance ``noise^2 / w``, a matrix of this rank that is
        incoherent, and many more entries than parameters this is the asymptotic law of the least
        squares estimate [1]_. With `alpha` the bias is not counted. With component-wise shrinkage
        it is the interval of the posterior whose variances were estimated, which covers
        approximately, on average over the entries and not for each of them; less where the noise
        hides components. With a robust loss the variance is larger by the factor that the loss
        costs under normal noise [2]_; outliers count as entries, so that a share `c` of them makes
        the interval too short by about ``sqrt(1 - c)``. A rank that was chosen by the same data is
        taken as known.

        Storage: the Gram matrices of the distinct rows and columns asked for, 2^21 numbers of them
        at a time; with a ridge, both factors once more.

        References
        ----------
        .. [1] Y. Chen, J. Fan, C. Ma, Y. Yan, "Inference and uncertainty quantification for noisy
           matrix completion", PNAS 116 (2019), arXiv:1906.04159.
        .. [2] D. Donoho, A. Montanari, "High dimensional robust M-estimation: asymptotic variance
           via approximate message passing", Probab. Theory Relat. Fields 166 (2016).
        """
        return _intervals.interval(self, rows, cols, level, noisy)

    # ------------------------------------------------------------------------------- helpers

    @property
    def _xp(self) -> Namespace:
        return array_namespace(self.U)

    def pattern(self) -> Pattern:
        """Return where the matrix was observed in training."""
        assert isinstance(self._pattern, Pattern)
        if self._pattern.rows.is_elsewhere:
            self.__dict__["_pattern"] = self._pattern.brought_here()
        return self._pattern

    def _components(self) -> tuple[Array, Array]:
        """Return the component of each row and column, on the host."""
        _, rows, columns = _graph.connected_components(self.pattern())  # type: ignore[arg-type]
        return rows, columns

    def _ridges(self) -> tuple[Array, Array]:
        """Return the ridges of the regressions of the rows and of the columns."""
        return self._of_unknowns(self.row_ridge), self._of_unknowns(self.column_ridge)

    def _loads(self) -> tuple[Array, Array]:
        """Return the ridges for each entry of a line."""
        none = _HOST.zeros(self.rank)
        row, column = (none if x is None else x for x in (self.row_load, self.column_load))
        return self._of_unknowns(row), self._of_unknowns(column)

    def _of_unknowns(self, given: Array | None) -> Array:
        """Return one number for each unknown of a line, 0 for a bias without its own."""
        if given is None:
            given = _HOST.full(self.rank, float(self.alpha))
        given = _HOST.asarray(to_numpy(given), dtype=_HOST.float64)
        missing = self.rank + (self.row_bias is not None) - given.shape[0]
        return _HOST.concat([given, _HOST.zeros(missing)]) if missing > 0 else given

    # --------------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in (*_ARRAYS, *_HOST_ARRAYS):
            found[name] = None if found[name] is None else to_numpy(found[name])
        found["loss_history"] = [float(x) for x in self.loss_history]
        found["_pattern"] = self.pattern().to_state()
        return found

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        found = {item.name: state[item.name] for item in fields(cls)}
        for name in _ARRAYS:
            if found[name] is not None:
                found[name] = asarray(found[name], xp=xp, device=device)
        found["_pattern"] = Pattern.from_state(state["_pattern"], xp=xp, device=device)
        result = cls(**found)
        check_whole(result)
        return result

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled; the pattern travels as host data."""
        return {**super().__getstate__(), "_pattern": self.pattern().to_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        where = device(self.U)
        found = Pattern.from_state(state["_pattern"], xp=self._xp, device=where)
        self.__dict__["_pattern"] = found


def _operator(result: CompletionResult) -> scipy.sparse.linalg.LinearOperator:
    """Return the operator of a result of NumPy's arrays."""
    U, V, mean = result.U, result.V, result.mean
    biases = result.row_bias, result.col_bias
    row, column = (None if x is None else _HOST.conj(x) for x in biases)

    def product(X: Array) -> Array:
        return _product(U, V, *biases, mean, X)

    def adjoint_product(Y: Array) -> Array:
        return _product(V, U, column, row, mean.conjugate(), Y)

    return scipy.sparse.linalg.LinearOperator(
        shape=result.shape, dtype=result.U.dtype, matvec=product, rmatvec=adjoint_product,
        matmat=product, rmatmat=adjoint_product,
    )  # fmt: skip


def _product(
    U: Array, V: Array, row: Array | None, column: Array | None, mean: complex, X: Array
) -> Array:
    """Return ``(U V^H + row 1^T + 1 column^T + mean) X`` for a vector or a matrix."""
    flat = X.ndim == 1
    X = X[:, None] if flat else X
    Y = U @ (_HOST.conj(V.T) @ X)
    total = X.sum(axis=0)[None, :]
    if row is not None and column is not None:
        Y = Y + row[:, None] * total + (column[None, :] @ X)
    if mean:
        Y = Y + mean * total
    return Y[:, 0] if flat else Y
