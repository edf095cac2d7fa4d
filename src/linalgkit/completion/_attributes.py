"""What an estimator says of its answer: attributes, predictions, largest values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from linalgkit._core.array import Array, array_namespace, is_complex
from linalgkit.completion._new_rows import width
from linalgkit.completion._result import CompletionResult


class AnswerAttributes(ABC):
    """Fitted attributes that read the answer, which is found when it is asked for."""

    @abstractmethod
    def result(self) -> CompletionResult:
        """Return the answer to all entries so far."""

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
