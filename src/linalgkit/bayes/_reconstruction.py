"""The linear map from data to posterior mean, for SciPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import scipy.sparse.linalg

from linalgkit._core.array import Array, library_name, numpy_namespace, to_numpy
from linalgkit.bayes._model import Model
from linalgkit.bayes._modes import divided_along
from linalgkit.bayes._posterior import Posterior

if TYPE_CHECKING:
    from linalgkit.bayes._result import KronSBLResult

_HOST = numpy_namespace()


def reconstruction(result: KronSBLResult) -> scipy.sparse.linalg.LinearOperator:
    """Return the operator (N, M) of a result with NumPy's arrays and a Gaussian posterior."""
    data = result._units.prepared.data
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
    shape = (math.prod(data.widths), math.prod(data.sizes))
    dtype: Any = result.coef.dtype
    if not isinstance(result._posterior, Posterior):
        return scipy.sparse.linalg.LinearOperator(
            shape,
            matvec=lambda y: _HOST.zeros(shape[0], dtype=dtype),
            rmatvec=lambda x: _HOST.zeros(shape[1], dtype=dtype),
            dtype=dtype,
        )
    both = _Reconstruction(result, result._posterior)
    return scipy.sparse.linalg.LinearOperator(
        shape, matvec=both.mean, rmatvec=both.adjoint, dtype=dtype
    )


class _Reconstruction:
    """Posterior mean of any data, with the hyperparameters of a result.

    The result's posterior works on coordinates in the ranges of its columns; here they are taken
    anew, from whole columns.
    """

    def __init__(self, result: KronSBLResult, posterior: Posterior) -> None:
        data = result._units.prepared.data
        self.sizes, self.widths = data.sizes, data.widths
        self.columns, self.norms = result._columns(), result._norms()
        factors = tuple(
            to_numpy(H)[:, c] / norm
            for H, c, norm in zip(data.factors, self.columns, self.norms, strict=True)
        )
        blank = _HOST.zeros((1,) * (len(factors) + 1), dtype=_HOST.result_type(*factors))
        count = math.prod(data.sizes)
        model = Model(factors, blank, 1, count, 0.0, 0.0, _HOST, "cpu")
        variances = [root**2 for root in posterior.roots]
        self.posterior = Posterior.of(model, variances, posterior.noise)

    def mean(self, y: Array) -> Array:
        """Return the mean of the whole unknown, flat."""
        core = divided_along(self.posterior.mean(y.reshape(*self.sizes, 1)), self.norms)
        dense = _HOST.zeros((*self.widths, 1), dtype=core.dtype)
        dense[_HOST.ix_(*self.columns)] = core
        return dense.ravel()

    def adjoint(self, x: Array) -> Array:
        """Return the adjoint of :meth:`mean`."""
        core = x.reshape(*self.widths, 1)[_HOST.ix_(*self.columns)]
        return self.posterior.adjoint_mean(divided_along(core, self.norms)).ravel()
