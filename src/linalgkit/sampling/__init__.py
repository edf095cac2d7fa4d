"""Determinantal and volume sampling: few points or rows, and least squares that are safe on them.

::

    basis = TensorBasis(Legendre(), multi_index(6, 3))      # 84 polynomials in 6 variables
    design = sample_design(basis, condition=("lmin", 0.9), rng=0)
    fit = weighted_lstsq(design, f(design.points), space=basis)

"""

from __future__ import annotations

from linalgkit.sampling import theory
from linalgkit.sampling._bss import bss_subsample
from linalgkit.sampling._design import Design, sample_design
from linalgkit.sampling._ensemble import LEnsemble
from linalgkit.sampling._error_bound import ErrorBound
from linalgkit.sampling._families import Fourier, Hermite, Legendre
from linalgkit.sampling._fit import LeastSquaresFit, weighted_lstsq
from linalgkit.sampling._greedy import greedy_subsample
from linalgkit.sampling._indices import multi_index
from linalgkit.sampling._jacobi import Jacobi
from linalgkit.sampling._map import MapResult, map_dpp
from linalgkit.sampling._marginal import MarginalDPP
from linalgkit.sampling._moments import SobolIndices
from linalgkit.sampling._projection import ProjectionDPP
from linalgkit.sampling._regressor import DPPLeastSquares
from linalgkit.sampling._splines import BSpline
from linalgkit.sampling._subsample import Subsample
from linalgkit.sampling._tensor import TensorBasis
from linalgkit.sampling._user import UserBasis
from linalgkit.sampling._volume import volume_sample

__all__ = [
    "BSpline",
    "DPPLeastSquares",
    "Design",
    "ErrorBound",
    "Fourier",
    "Hermite",
    "Jacobi",
    "LEnsemble",
    "LeastSquaresFit",
    "Legendre",
    "MapResult",
    "MarginalDPP",
    "ProjectionDPP",
    "SobolIndices",
    "Subsample",
    "TensorBasis",
    "UserBasis",
    "bss_subsample",
    "greedy_subsample",
    "map_dpp",
    "multi_index",
    "sample_design",
    "theory",
    "volume_sample",
    "weighted_lstsq",
]
