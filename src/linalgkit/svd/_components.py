"""What users of scikit-learn read off an incremental decomposition: components and variances."""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import (
    Array,
    array_namespace,
    is_sparse,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.sparse import as_csr
from linalgkit._core.streams import row_blocks
from linalgkit._core.validation import (
    check_array_2d,
    check_finite_block,
    check_same_place,
)
from linalgkit.svd._changes import Changes
from linalgkit.svd._columns import conj
from linalgkit.svd._inputs import in_joint_dtype, is_stored
from linalgkit.svd._result import SVDResult, answer


class Components(Changes):
    """The attributes and the two transforms of :class:`~linalgkit.svd.IncrementalSVD`."""

    def result(self) -> SVDResult:
        """Return the decomposition of all columns so far; the object stays as it is.

        Returns
        -------
        SVDResult
            Triplets and what is certain about them.
        """
        stream = self._fitted()
        if not self._answers:  # looking at the answer leaves the attributes as they are
            found = answer(stream)
            inner = self._inner(stream)
            self._answers.append(found if inner is None else inner.restored(found))
        return self._answers[0]

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
    def n_components_(self) -> int:
        """Triplets of the answer."""
        return self.result().rank

    @property
    def explained_variance_(self) -> Array:
        """Squares of the singular values over the degrees of freedom."""
        return (self.singular_values_ / math.sqrt(self._freedom())) ** 2

    @property
    def explained_variance_ratio_(self) -> Array:
        """Squares of the singular values as shares of ``||A||_F^2``, 0 for a matrix of zeros."""
        found = self.result()
        return (found.s / (found.norm_fro if found.norm_fro > 0.0 else 1.0)) ** 2

    @property
    def noise_variance_(self) -> float:
        """Variance in each direction beyond the components, on average."""
        found = self.result()
        beyond = min(self.n_features_in_, self.n_samples_seen_) - found.rank
        if beyond <= 0:
            return 0.0
        root = found.error_fro / math.sqrt(self._freedom()) / math.sqrt(beyond)
        return root * root

    def _freedom(self) -> float:
        """Return ``W - sum w^2 / W`` for weights `w` of squares, ``n - 1`` without; never 0."""
        n, fading = self.n_samples_seen_, self._options().forgetting
        if fading == 1.0:
            return float(max(1, n - 1))
        rate = 2.0 * math.log(fading)  # of the weights: the sums are those of geometric series
        found = 2.0 * fading**2 * math.expm1((n - 1) * rate) / math.expm1(2.0 * rate)
        return found if found > 0.0 else 1.0

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
        X : array (rows, m), sparse container, memmap, zarr or h5py array, dask.array
            Samples, of the library that came in; those of files are read block by block.

        Returns
        -------
        array (rows, rank)
            Their coordinates; in an inner product, ``(X - mean) W U``.
        """
        stream = self._fitted()
        axes, mean = self._axes(), self.mean_
        blocks = row_blocks(X) if is_stored(X) else iter([X])
        parts = [self._coordinates(block, axes, mean) for block in blocks]
        if not parts:
            raise ValueError(f"X must have at least one row, got shape {tuple(X.shape)}.")
        return self._wrap_output(parts[0] if len(parts) == 1 else stream.xp.concat(parts), X)

    def _coordinates(self, X: Any, axes: Array, mean: Array | None) -> Array:
        """Return coordinates of samples in memory, after checking them."""
        stream = self._fitted()
        block, _ = self._check_features(X, reset=False)
        check_same_place(block, stream)
        check_finite_block(block)
        block = as_csr(block) if is_sparse(block) else block
        block, V = in_joint_dtype(block, axes, stream.xp)
        coordinates = block @ V
        if mean is None:
            return coordinates
        return coordinates - stream.xp.astype(mean, V.dtype, copy=False)[None, :] @ V

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
            "Z", as_array(Z, "Z"), n_columns=result.rank, why="as there are components"
        )
        check_same_place(Z, self._fitted(), "Z")
        Z, U = in_joint_dtype(Z, result.U, xp)
        rows = Z @ conj(xp.matrix_transpose(U), xp)
        return rows if mean is None else rows + xp.astype(mean, U.dtype, copy=False)[None, :]

    def _axes(self) -> Array:
        """Return ``W U``, with which rows are multiplied for coordinates."""
        U = self.result().U
        inner = self._inner(self._fitted())
        return U if inner is None else inner.applied(U)
