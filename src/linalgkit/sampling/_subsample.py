"""The result of thinning a weighted point set, and the checks of what is thinned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    complex_dtype,
    detached,
    device,
    dtype_name,
    numpy_namespace,
    to_numpy,
    widest_float,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.validation import check_array_2d, check_finite_block

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class Subsample:
    """Points that were kept, with their weights and the Gram matrix that they have.

    Attributes
    ----------
    indices : integer array (k,)
        Rows that were kept, ascending.
    weights : array (k,)
        Their weights, in the precision of the weights given, and in the widest of the device
        where none were given.
    gram : array (m, m)
        ``(1/k) A_k^H diag(weights) A_k``, in the widest dtype of the device.
    lmin, lmax : float
        Its smallest and its largest eigenvalue.
    status : str
        Why no more points were removed: ``"criterion"`` (the next removal would break it),
        ``"n_min"`` (as few as asked for are left), ``"dim"`` (as few as the basis has functions
        are left), ``"unreachable"`` (the whole set breaks the criterion, nothing was removed);
        ``"bound"`` from :func:`~linalgkit.sampling.bss_subsample`.

    Notes
    -----
    Storage: ``m^2 + 2 k`` numbers.
    """

    indices: Array = field(repr=False)
    weights: Array = field(repr=False)
    gram: Array = field(repr=False)
    lmin: float
    lmax: float
    status: str

    def __len__(self) -> int:
        """Return the number of points kept."""
        return int(self.indices.shape[0])


class Rows(NamedTuple):
    """Checked rows and weights on the host, and where they came from."""

    A: Any
    weights: Any
    xp: Namespace
    where: Device
    dtype: DType  # of the weights

    def kept(self, indices: Any, weights: Any, status: str) -> Subsample:
        """Return the result for rows and their new weights, given on the host."""
        gram = weighted_gram(self.A[indices, :], weights)
        values = _HOST.linalg.eigvalsh(gram)
        wide = widest_float(self.xp, self.where)
        if gram.dtype.kind == "c":
            wide = complex_dtype(self.xp, wide)
        gram = gram.astype(dtype_name(self.xp, wide))
        weights = weights.astype(dtype_name(self.xp, self.dtype))
        return Subsample(
            indices=asarray(indices, xp=self.xp, device=self.where),
            weights=asarray(weights, xp=self.xp, device=self.where),
            gram=asarray(gram, xp=self.xp, device=self.where),
            lmin=float(values[0]),
            lmax=float(values[-1]),
            status=status,
        )


def checked_rows(A: Any, weights: Any) -> Rows:
    """Check rows and positive weights (None: all 1) and copy them to the host, in double."""
    A, xp = check_array_2d("A", as_array(A, "A"), min_rows=1)
    n, m = (int(length) for length in A.shape)
    if n < m:
        raise ValueError(
            f"A must have at least as many rows as columns, got shape {(n, m)}. Draw more points, "
            "or take a smaller basis."
        )
    check_finite_block(A, name="A")
    where = device(A)
    dtype = working_dtype(xp, where, A.dtype)
    is_complex = bool(xp.isdtype(dtype, "complex floating"))
    host = _HOST.asarray(to_numpy(A), dtype=_HOST.complex128 if is_complex else _HOST.float64)
    if weights is None:
        return Rows(host, _HOST.ones(n), xp, where, widest_float(xp, where))
    array_namespace(A, weights)
    return Rows(host, _checked_weights(weights, n), xp, where, _weight_dtype(weights, xp))


def _weight_dtype(weights: Array, xp: Namespace) -> DType:
    """Return the precision of weights; integers become the widest float."""
    if xp.isdtype(weights.dtype, ("integral", "bool")):
        return widest_float(xp, device(weights))
    return working_dtype(xp, device(weights), weights.dtype)


def _checked_weights(weights: Any, n: int) -> Any:
    """Return positive weights in double precision on the host."""
    xp, weights = array_namespace(weights), detached(weights)
    if xp.isdtype(weights.dtype, "complex floating"):
        raise TypeError(f"weights must be real, got dtype {weights.dtype}.")
    if tuple(weights.shape) != (n,):
        raise ValueError(
            f"weights must have one entry for each of the {n} rows of A, got shape "
            f"{tuple(weights.shape)}."
        )
    check_finite_block(weights, name="weights")
    host = _HOST.asarray(to_numpy(weights), dtype=_HOST.float64)
    if not bool(_HOST.all(host > 0)):
        place = int(_HOST.argmin(host))
        raise ValueError(
            f"weights must be positive, got {float(host[place])} in entry {place} (counted from "
            "0). Leave out points of weight zero."
        )
    return host


def weighted_gram(A: Any, weights: Any) -> Any:
    """Return ``(1/k) A^H diag(weights) A`` of host arrays, exactly Hermitian."""
    B = A * _HOST.sqrt(weights)[:, None]
    gram = _HOST.conj(B.T) @ B / A.shape[0]
    return (gram + _HOST.conj(gram.T)) / 2
