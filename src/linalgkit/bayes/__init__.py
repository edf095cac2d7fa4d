"""Sparse Bayesian learning with Kronecker structure, from a thousand unknowns to a billion.

``y = (H_1 kron ... kron H_I) x + noise``, the non-zeros of `x` in a product of a few indices of
each mode. Nothing of the size of `x` is formed::

    from linalgkit.bayes import kron_sbl

    result = kron_sbl([H1, H2, H3], Y)      # Y of shape (M1, M2, M3), noise variance unknown
    result.support, result.coef             # where x is not zero, and its posterior mean there
    result.variance()                       # posterior variances
    mean, variance = result.predict([H1, H2, H3])
"""

from linalgkit.bayes import theory
from linalgkit.bayes._estimator import KronSBL
from linalgkit.bayes._omp import kron_omp
from linalgkit.bayes._omp_result import KronOMPResult
from linalgkit.bayes._operator import KroneckerOperator
from linalgkit.bayes._result import KronSBLResult
from linalgkit.bayes._sbl import kron_sbl, kron_sbl_rank_one

__all__ = [
    "KronOMPResult",
    "KronSBL",
    "KronSBLResult",
    "KroneckerOperator",
    "kron_omp",
    "kron_sbl",
    "kron_sbl_rank_one",
    "theory",
]
