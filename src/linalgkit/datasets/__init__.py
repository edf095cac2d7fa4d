"""Seeded problems with known answers: used by tests, benchmarks, documentation and users.

The same seed gives the same rows in every precision, on every library and for every cut into
blocks::

    X, V = spiked_covariance(20000, 300, gap=4.0, rng=0)
    stream = spiked_stream(10**7, 300, gap=4.0, rng=0)      # blocks, never held at once
    patches = image_patches(photographs, size=8, order="random", rng=0)
    equations = neighbour_equations(photographs, size=5)    # pairs (A_block, b_block)
    y = borehole(points)                                    # (n, 8) in [-1, 1] -> (n,)
    crystal = sodium_chloride(16)                           # .positions, .charges, .lattice
    problems = smooth_functions()                           # .name, .function, .domain
    problem = kronecker_sparse((15, 15), (8, 12), (3, 3), snr_db=20.0, rng=0)   # .y, .support
    problem = low_rank_entries((900, 700), 5, 60000, skew=0.5, rng=0)           # .matrix, .U, .V
"""

from linalgkit.datasets._crystal import IonicCrystal, sodium_chloride
from linalgkit.datasets._engineering import (
    BOREHOLE_RANGES,
    OTL_CIRCUIT_RANGES,
    borehole,
    otl_circuit,
)
from linalgkit.datasets._heavy import heavy_rows, sorted_by_projection
from linalgkit.datasets._irs_channel import IRSChannelProblem, irs_channel
from linalgkit.datasets._kronecker import KroneckerSparseProblem, kronecker_sparse
from linalgkit.datasets._low_rank import LowRankEntries, low_rank_entries
from linalgkit.datasets._neighbours import NeighbourEquations, neighbour_equations
from linalgkit.datasets._patches import PatchStream, image_patches
from linalgkit.datasets._rows import RowStream
from linalgkit.datasets._smooth import SmoothFunction, smooth_functions
from linalgkit.datasets._spiked import (
    SpikedStream,
    power_law_rows,
    spiked_covariance,
    spiked_stream,
)

__all__ = [
    "BOREHOLE_RANGES",
    "OTL_CIRCUIT_RANGES",
    "IRSChannelProblem",
    "IonicCrystal",
    "KroneckerSparseProblem",
    "LowRankEntries",
    "NeighbourEquations",
    "PatchStream",
    "RowStream",
    "SmoothFunction",
    "SpikedStream",
    "borehole",
    "heavy_rows",
    "image_patches",
    "irs_channel",
    "kronecker_sparse",
    "low_rank_entries",
    "neighbour_equations",
    "otl_circuit",
    "power_law_rows",
    "smooth_functions",
    "sodium_chloride",
    "sorted_by_projection",
    "spiked_covariance",
    "spiked_stream",
]
