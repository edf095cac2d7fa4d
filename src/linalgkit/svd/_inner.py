"""Inner products other than the usual one, by a change of variables.

With ``W = F F^H``, columns ``F^H a`` have the usual products ``a^H W b``; left vectors are brought
back by ``F^-H``. ``F`` is the root of weights, the Cholesky factor of a dense matrix, or that of a
sparse one with its rows in an order that leaves few entries.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    asarray,
    detached,
    eps,
    is_complex_dtype,
    is_sparse,
    library_name,
    numpy_namespace,
    real_dtype,
    to_numpy,
    type_root,
    widest_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import as_operator
from linalgkit._core.sparse import as_csr, csr_of_state
from linalgkit._core.state import PortablePickle
from linalgkit._core.triangular import NotPositiveDefiniteError, cholesky, solve_triangular
from linalgkit._core.validation import check_finite_block
from linalgkit.svd._columns import conj
from linalgkit.svd._result import SVDResult

_NAME = "inner_product"
_PIVOT = 4.0  # roundoffs of a diagonal entry that its pivot must be above


class InnerProduct(PortablePickle):
    """``<x, y> = x^H W y`` for weights (m,) or a matrix (m, m).

    Parameters
    ----------
    W : array (m,) or (m, m), nested list, scipy.sparse, LinearOperator
        Positive weights, or a Hermitian positive definite matrix. An array is of the library of
        the data; scipy.sparse goes with NumPy arrays, unless it is diagonal.
    m : int
        Rows of the data.
    xp, device, dtype
        Of the data.
    order : array (m,) of int, optional
        The order in which a sparse matrix was factorised before: the same coordinates come out.
    name : str
        Of the argument, for messages.

    Raises
    ------
    TypeError
        For arrays of another library, and complex numbers where the data are real.
    ValueError
        If the shape does not fit, or `W` is not finite, not Hermitian or not positive definite to
        working precision.

    Notes
    -----
    ``U^H W U = I`` holds to ``eps cond(D W D)``, with the diagonal ``D`` that suits `W` best: the
    roundings of `W` itself are worth as much. Factors are of the device's widest float.

    Storage: `m` numbers for weights, ``m^2`` for a dense matrix or an operator, which is multiplied
    by the identity; for a sparse matrix the non-zeros of its factor.
    """

    def __init__(
        self,
        W: Any,
        m: int,
        xp: Namespace,
        device: Device,
        dtype: DType,
        *,
        order: Any = None,
        name: str = _NAME,
    ) -> None:
        self.source, self.xp, self.device, self.name = W, xp, device, name
        self.dtype = widest_dtype(xp, device, dtype)
        self.order: Any = None
        values = self._as_values(W)
        shape = tuple(values.shape)
        if shape not in ((m,), (m, m)):
            raise ValueError(
                f"{name} must be of shape ({m},) or ({m}, {m}) for a matrix with {m} rows, got "
                f"{shape}."
            )
        self._check_values(values)
        if is_sparse(values):
            self.kind = "sparse"
            self.factor, self.order = _sparse_factor(values, order, name)
            self.matrix = values
        elif len(shape) == 1:
            self.kind = "weights"
            self.factor = self._root(values)
        else:
            self.kind = "dense"
            self.factor = dense_factor(self._placed(values), xp, name)

    def _as_values(self, W: Any) -> Any:
        """Return weights, a dense matrix of the library of the data, or a sparse one."""
        W = detached(W)
        if is_sparse(W):
            return self._as_sparse(W)
        if hasattr(W, "matmat") and hasattr(W, "shape"):
            return self._from_host(products(W, self.name))
        values = as_array(W, self.name)
        if values is not W:
            return self._from_host(values)
        found = library_name(array_namespace(values))
        if found != library_name(self.xp):
            raise TypeError(
                f"{self.name} must be of {library_name(self.xp)} as the data are, got {found}. "
                "Convert it first."
            )
        return values

    def _as_sparse(self, W: Any) -> Any:
        """Return a sparse matrix, or the weights that a diagonal one stands for."""
        W = as_csr(W)
        places = W.tocoo()
        if W.shape[0] == W.shape[1] and bool((places.row == places.col).all()):
            return self._from_host(to_numpy(W.diagonal()))
        if library_name(self.xp) != "numpy" or type_root(W) != "scipy":
            raise TypeError(
                f"{self.name} must be dense or diagonal for arrays of {library_name(self.xp)}, got "
                f"a sparse {type(W).__name__}. Pass {self.name}.toarray() if it fits in memory."
            )
        return W

    def _from_host(self, values: Any) -> Array:
        """Return numbers of the host on the device, in its widest float."""
        if values.dtype.kind not in "biufc":
            raise TypeError(f"{self.name} must hold numbers, got dtype {values.dtype}.")
        kind = self.xp.complex64 if values.dtype.kind == "c" else self.xp.float32
        dtype = widest_dtype(self.xp, self.device, kind)
        return asarray(values, xp=self.xp, device=self.device, dtype=dtype)

    def _check_values(self, values: Any) -> None:
        xp = self.xp
        held = values.data if is_sparse(values) else values
        if not xp.isdtype(held.dtype, ("numeric", "bool")):
            raise TypeError(f"{self.name} must hold numbers, got dtype {held.dtype}.")
        is_real = not is_complex_dtype(xp, self.dtype)
        if is_complex_dtype(xp, held.dtype) and (values.ndim == 1 or is_real):
            what = "weights" if values.ndim == 1 else "numbers where the data are real"
            raise TypeError(f"{self.name} must have real {what}, got complex numbers.")
        check_finite_block(values, name=self.name)

    def _placed(self, values: Array) -> Array:
        return self.xp.astype(values, self.dtype, copy=False)

    def _root(self, weights: Array) -> Array:
        xp = self.xp
        if not bool(xp.all(weights > 0)):
            raise ValueError(f"{self.name} must have positive weights, got {xp.min(weights)}.")
        return xp.sqrt(xp.astype(weights, real_dtype(xp, self.dtype)))

    def mapped(self, A: Array) -> Array:
        """Return ``F^H A`` for columns (m, b)."""
        wide = self._placed(A)
        if self.kind == "weights":
            return self._narrow(self._placed(self.factor)[:, None] * wide, A)
        if self.kind == "sparse":
            return self._narrow(self.factor.conj().T @ wide, A)
        return self._narrow(adjoint(self.factor, self.xp) @ wide, A)

    def mapped_rows(self, rows: Any) -> Any:
        """Return the same for columns that lie as rows (b, m): sparse ones as sparse rows."""
        if is_sparse(rows):
            return self._mapped_sparse(rows)
        wide = self._placed(rows)
        if self.kind == "weights":
            return self._narrow(wide * self._placed(self.factor)[None, :], rows)
        if self.kind == "sparse":
            return self._narrow(wide @ self.factor.conj(), rows)
        return self._narrow(wide @ conj(self.factor, self.xp), rows)

    def _mapped_sparse(self, rows: Any) -> Any:
        if self.kind == "weights":
            held = rows.multiply(self.factor[None, :])
        elif self.kind == "sparse":
            held = rows @ self.factor.conj()
        else:  # every row is full then
            held = type(rows)(rows @ conj(self.factor, self.xp))
        return as_csr(held, rows.dtype)

    def unmapped(self, U: Array) -> Array:
        """Return ``F^-H U``."""
        wide = self._placed(U)
        if self.kind == "weights":
            return self._narrow(wide / self._placed(self.factor)[:, None], U)
        if self.kind == "sparse":
            return self._narrow(_sparse_solve(self.factor, self.order, wide), U)
        found = solve_triangular(self.factor, wide, lower=True, adjoint=True, xp=self.xp)
        return self._narrow(found, U)

    def applied(self, U: Array) -> Array:
        """Return ``W U``."""
        wide = self._placed(U)
        if self.kind == "weights":
            return self._narrow(self._placed(self.factor * self.factor)[:, None] * wide, U)
        if self.kind == "sparse":
            return self._narrow(self.matrix @ wide, U)
        return self._narrow(self.factor @ (adjoint(self.factor, self.xp) @ wide), U)

    def _narrow(self, found: Array, like: Array) -> Array:
        return self.xp.astype(found, like.dtype, copy=False)

    def restored(self, result: SVDResult) -> SVDResult:
        """Return a decomposition with left vectors in the caller's coordinates."""
        return replace(result, U=self.unmapped(result.U))

    def shares_coordinates(self, other: InnerProduct) -> bool:
        """Tell whether columns mapped by another object for the same `W` are mapped alike."""
        if "sparse" not in (self.kind, other.kind):
            return True
        return self.kind == other.kind and bool((self.order == other.order).all())


def dense_factor(G: Array, xp: Namespace, name: str) -> Array:
    """Return the Cholesky factor of a dense matrix, or raise under the name of the argument.

    Parameters
    ----------
    G : array (m, m)
        Finite numbers.
    xp : module
        Namespace of `G`.
    name : str
        Of the argument.

    Raises
    ------
    ValueError
        If `G` is not Hermitian, or not positive definite to working precision.
    """
    diagonal = xp.linalg.diagonal(G)
    diagonal = xp.real(diagonal) if is_complex_dtype(xp, G.dtype) else diagonal
    if not bool(xp.all(diagonal > 0)):
        raise not_definite(name)
    root = xp.sqrt(diagonal)
    room = _asymmetry(eps(xp, G.dtype)) * root
    if not bool(xp.all(xp.abs(G - adjoint(G, xp)) <= room[:, None] * root[None, :])):
        raise _not_hermitian(name)
    try:
        factor = cholesky(0.5 * G + 0.5 * adjoint(G, xp), xp)
    except NotPositiveDefiniteError:
        raise not_definite(name) from None
    pivots = xp.abs(xp.linalg.diagonal(factor))
    if not bool(xp.all(pivots > math.sqrt(_PIVOT * eps(xp, G.dtype)) * root)):
        raise not_definite(name)
    return factor


def _sparse_factor(W: Any, order: Any, name: str) -> tuple[Any, Any]:
    """Return ``F`` with ``W = F F^H``, sparse, and the order of the elimination.

    Column `i` belongs to row `i` of `W`: ``F = P^T L D^(1/2) P`` for ``P W P^T = L D L^H``. SuperLU
    takes the diagonal entries as pivots, in an order for symmetric matrices; the signs of the
    pivots tell whether `W` is positive definite.
    """
    np = numpy_namespace()
    import scipy.sparse as sp

    roundoff = float(np.finfo(W.dtype).eps)
    W = W.astype(np.result_type(W.dtype, np.float64))
    diagonal = W.diagonal().real
    if not (diagonal > 0).all():
        raise not_definite(name)
    root = np.sqrt(diagonal)
    odd = (W - W.conj().T).tocoo()
    if (abs(odd.data) > _asymmetry(roundoff) * root[odd.row] * root[odd.col]).any():
        raise _not_hermitian(name)
    scale = sp.diags_array(1.0 / root)
    one = (scale @ (0.5 * (W + W.conj().T)) @ scale).tocsr()  # pivots are shares of ones
    if order is None:
        order = _eliminated(one, "MMD_AT_PLUS_A", name).perm_c.astype(np.int64)
    order = np.asarray(order)
    places = np.argsort(order)
    # Once more in the order that is saved, so that the same numbers come out when it is read.
    found = _eliminated(one[places, :][:, places], "NATURAL", name)
    pivots = found.U.diagonal().real
    if not (pivots > _PIVOT * float(np.finfo(np.float64).eps)).all():
        raise not_definite(name)
    L = sp.csr_array(found.L @ sp.diags_array(np.sqrt(pivots)))
    sequence = np.empty_like(order)
    sequence[places] = found.perm_c  # row i is eliminated at sequence[i]
    factor = sp.diags_array(root) @ L[sequence, :][:, sequence]
    return sp.csr_array(factor), order


def _eliminated(W: Any, order: Any, name: str) -> Any:
    """Return SuperLU's factors with the diagonal entries as pivots."""
    from scipy.sparse.linalg import splu

    options = {"SymmetricMode": True}
    try:
        found = splu(W.tocsc(), permc_spec=order, diag_pivot_thresh=0.0, options=options)
    except RuntimeError:  # a pivot that is zero
        raise not_definite(name) from None
    if (found.perm_r != found.perm_c).any():
        raise not_definite(name)
    return found


def _sparse_solve(factor: Any, order: Any, U: Any) -> Any:
    """Return ``F^-H U``: in the order of the elimination the factor is triangular."""
    np = numpy_namespace()
    from scipy.sparse.linalg import spsolve_triangular

    if U.shape[1] == 0:
        return U
    places = np.argsort(order)
    upper = factor[places, :][:, places].conj().T.tocsr()
    found = np.empty(U.shape, dtype=np.result_type(upper.dtype, U.dtype))
    found[places, :] = spsolve_triangular(upper, U[places, :].astype(found.dtype), lower=False)
    return found


def _asymmetry(roundoff: float) -> float:
    return max(1e-6, 64.0 * roundoff)


def not_definite(name: str) -> ValueError:
    """Return the error for a matrix that is not positive definite."""
    return ValueError(
        f"{name} must be positive definite, but a pivot of its Cholesky factorisation is not "
        "positive to working precision."
    )


def _not_hermitian(name: str) -> ValueError:
    return ValueError(f"{name} must be Hermitian, got a matrix that is not.")


def products(W: Any, name: str = _NAME) -> Any:
    """Return the dense matrix that a LinearOperator stands for, on the host."""
    operator = as_operator(W)
    xp, (m, n) = operator.xp, operator.shape
    if m != n:
        raise ValueError(f"{name} must be square, got shape {operator.shape}.")
    return to_numpy(operator.matmul(xp.eye(m, dtype=operator.dtype, device=operator.device)))


def is_same(a: Any, b: Any) -> bool:
    """Tell whether two inner products are equal, whatever their kinds."""
    if a is b:
        return True
    if a is None or b is None:
        return False
    a, b = _on_host(a), _on_host(b)
    if a.shape[0] != b.shape[0]:
        return False
    if not (is_sparse(a) or is_sparse(b)) and a.ndim == b.ndim:
        return a.shape == b.shape and bool((a == b).all())
    a, b = _sparse_form(a), _sparse_form(b)
    return a.shape == b.shape and bool((a != b).nnz == 0)


def _on_host(W: Any) -> Any:
    if is_sparse(W):
        return as_csr(W if type_root(W) == "scipy" else W.get())
    if hasattr(W, "matmat") and hasattr(W, "shape"):
        return products(W)
    return to_numpy(as_array(W, _NAME))


def _sparse_form(W: Any) -> Any:
    import scipy.sparse as sp

    if is_sparse(W):
        return W
    return sp.csr_array(sp.diags_array(W)) if W.ndim == 1 else sp.csr_array(W)


def to_state(W: Any) -> Any:
    """Return an inner product as host data: sparse ones in parts, operators as their matrix."""
    if W is None:
        return None
    held = _on_host(W)
    if not is_sparse(held):
        return held
    return {
        "data": held.data,
        "indices": held.indices,
        "indptr": held.indptr,
        "shape": [int(size) for size in held.shape],
    }


def from_state(state: Any, xp: Namespace, device: Device) -> Any:
    """Return what :func:`to_state` was given, operators as matrices."""
    if state is None:
        return None
    if not isinstance(state, dict):
        return asarray(state, xp=xp, device=device)
    n_rows, n_columns = (int(size) for size in state["shape"])
    found = csr_of_state(state, n_columns, xp=numpy_namespace())
    if found.shape[0] != n_rows:
        raise ValueError(
            f"the inner product of the state must have {n_rows} rows, got a damaged one."
        )
    return found
