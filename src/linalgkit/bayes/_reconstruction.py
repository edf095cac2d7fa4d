"""The linear map from data to posterior mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import scipy.sparse.linalg

from linalgkit._core.array import Array, library_name, numpy_namespace, to_numpy
from linalgkit.bayes._model import Model
from linalgkit.bayes._posterior import Posterior

if TYPE_CHECKING:
    from linalgkit.bayes._result import KronSBLResult

_HOST = numpy_namespace()


def reconstruction(result: KronSBLResult) -> scipy.sparse.linalg.LinearOperator:
    """Return the operator (N, M) of a result with NumPy's arrays and a Gaussian posterior."""
    prepared = result._units.prepared
    data = prepared.data
    if library_name(data.xp) != "numpy":
        raise TypeError(
            f"a SciPy LinearOperator works with numpy arrays, got {library_name(data.xp)}. Solve "
            "with the data moved to NumPy."
        )
    if result.method == "rank_one":
        raise TypeError(
            "the posterior mean must be linear in the data to be an operator, which it is not for "
            "method 'rank_one'. Solve with another method."
        )
    posterior = result._posterior
    shape = (math.prod(data.widths), math.prod(data.sizes))
    columns = result._columns()
    factors = [
        to_numpy(H)[:, c] / norm
        for H, c, norm in zip(data.factors, columns, result._norms(), strict=True)
    ]
    if not isinstance(posterior, Posterior):
        return _zero_operator(shape, result.coef.dtype)
    # The posterior works on coordinates in the ranges of the columns; those are found here anew,
    # since the data may be others than the ones that were solved with.
    dtype = _HOST.result_type(*factors)
    blank = Model(
        tuple(factors), _HOST.zeros((1,) * (len(factors) + 1), dtype=dtype), 1, shape[1], 0.0, 0.0,
        _HOST, "cpu",
    )  # fmt: skip
    whole = Posterior.of(blank, [r**2 for r in posterior.roots], posterior.noise)
    norms = result._norms()

    dtype_of_result: Any = result.coef.dtype

    def forward(y: Array) -> Array:
        X = whole.mean(y.reshape(*data.sizes, 1))
        for i, norm in enumerate(norms):
            X = X / norm.reshape((-1,) + (1,) * (X.ndim - i - 1))
        dense = _HOST.zeros((*data.widths, 1), dtype=X.dtype)
        dense[_HOST.ix_(*columns)] = X
        return dense.ravel()

    def adjoint(x: Array) -> Array:
        core = x.reshape(*data.widths, 1)[_HOST.ix_(*columns)]
        for i, norm in enumerate(norms):
            core = core / norm.reshape((-1,) + (1,) * (core.ndim - i - 1))
        return whole.adjoint_mean(core).ravel()

    return scipy.sparse.linalg.LinearOperator(
        shape, matvec=forward, rmatvec=adjoint, dtype=dtype_of_result
    )


def _zero_operator(shape: tuple[int, int], dtype: Any) -> scipy.sparse.linalg.LinearOperator:
    """Return the operator of an empty support."""
    return scipy.sparse.linalg.LinearOperator(
        shape,
        matvec=lambda y: _HOST.zeros(shape[0], dtype=dtype),
        rmatvec=lambda x: _HOST.zeros(shape[1], dtype=dtype),
        dtype=dtype,
    )
