"""The conjugate transpose of a sketch, and what operators that are no arrays refuse.

::

    S.adjoint() @ Y                 # S^H Y
    X @ S                           # a TypeError that tells what to write

"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from linalgkit._core.array import Array, array_namespace, device, working_dtype
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_finite_block
from linalgkit.sketching._blocks import finite_product

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from linalgkit.sketching._operator import SketchOperator


class LeftFactor:
    """What stands on the left of products only, and is no array.

    SciPy's solvers take it as it is, by the names that `aslinearoperator` looks for.
    """

    __array_ufunc__ = None
    shape: tuple[int, int | None]
    dtype: str

    if TYPE_CHECKING:

        def __matmul__(self, X: Any) -> Array: ...

        def adjoint(self) -> LeftFactor: ...

    def matvec(self, x: Array) -> Array:
        """Return the product with one vector.

        Parameters
        ----------
        x : array (n,) or (n, 1)
            The vector.

        Returns
        -------
        array (m,) or (m, 1)
            ``self @ x``.
        """
        return self @ x

    def rmatvec(self, y: Array) -> Array:
        """Return the product of the adjoint with one vector.

        Parameters
        ----------
        y : array (m,) or (m, 1)
            The vector.

        Returns
        -------
        array (n,) or (n, 1)
            ``self.adjoint() @ y``.

        Raises
        ------
        ValueError
            If the number of columns is open.
        """
        return self.adjoint() @ y

    def matmat(self, X: Array) -> Array:
        """Return the product with several columns.

        Parameters
        ----------
        X : array (n, q)
            The columns.

        Returns
        -------
        array (m, q)
            ``self @ X``.
        """
        return self @ X

    def rmatmat(self, Y: Array) -> Array:
        """Return the product of the adjoint with several columns.

        Parameters
        ----------
        Y : array (m, q)
            The columns.

        Returns
        -------
        array (n, q)
            ``self.adjoint() @ Y``.

        Raises
        ------
        ValueError
            If the number of columns is open.
        """
        return self.adjoint() @ Y

    def to_linear_operator(self) -> LinearOperator:
        """Return SciPy's operator with these products, to be multiplied by others or added.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator (m, n)
            For NumPy's arrays.

        Raises
        ------
        ValueError
            If the number of columns is open.
        """
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            shape=(self.shape[0], self.adjoint().shape[0]),
            matvec=self.matvec,
            rmatvec=self.rmatvec,
            matmat=self.matmat,
            rmatmat=self.rmatmat,
            dtype=self.dtype,
        )

    def __rmatmul__(self, X: Any) -> NoReturn:
        raise TypeError(
            "a sketch must be the left factor of a product. X @ S is "
            "(S.adjoint() @ X.conj().T).conj().T, X @ S.adjoint() is (S @ X.conj().T).conj().T."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            "a sketch is no array, and is not made one unasked. S.toarray() returns its entries."
        )


class AdjointSketch(LeftFactor):
    """The conjugate transpose of a sketch."""

    def __init__(self, sketch: SketchOperator, n: int) -> None:
        self._sketch = sketch
        self.shape = (n, sketch.m)
        self.dtype = sketch.dtype

    def adjoint(self) -> SketchOperator:
        """Return the sketch itself."""
        return self._sketch

    def __matmul__(self, Y: Array) -> Array:
        S, (n, m) = self._sketch, self.shape
        Y = as_array(Y, "Y")
        xp = array_namespace(Y)
        if Y.ndim not in (1, 2) or Y.shape[0] != m:
            raise ValueError(
                f"Y must be of shape ({m},) or ({m}, q) to be multiplied by the adjoint of S of "
                f"shape {S.shape}, got shape {tuple(Y.shape)}."
            )
        dtype = S._result_dtype(xp, working_dtype(xp, device(Y), Y.dtype))
        columns = xp.astype(Y if Y.ndim == 2 else Y[:, None], dtype, copy=False)
        check_finite_block(columns, name="Y")
        if columns.shape[1] == 0:
            return xp.zeros((n, 0), dtype=dtype, device=device(Y))
        X = finite_product(
            lambda part: S._adjoint_share(part, 0, n, xp),
            columns,
            Y,
            name="Y",
            of="S.adjoint() @ Y",
        )
        return X if Y.ndim == 2 else X[:, 0]

    def __repr__(self) -> str:
        return f"<adjoint of {self._sketch!r}>"
