"""Seeded problems with known answers: used by tests, benchmarks, documentation and users.

The same seed gives the same rows in every precision, on every library and for every cut into
blocks::

    X, V = spiked_covariance(20000, 300, gap=4.0, rng=0)
    stream = spiked_stream(10**7, 300, gap=4.0, rng=0)      # blocks, never held at once
    patches = image_patches(photographs, size=8, order="random", rng=0)
    equations = neighbour_equations(photographs, size=5)    # pairs (A_block, b_block)
"""

from linalgkit.datasets._heavy import heavy_rows, sorted_by_projection
from linalgkit.datasets._neighbours import NeighbourEquations, neighbour_equations
from linalgkit.datasets._patches import PatchStream, image_patches
from linalgkit.datasets._rows import RowStream
from linalgkit.datasets._spiked import (
    SpikedStream,
    power_law_rows,
    spiked_covariance,
    spiked_stream,
)

__all__ = [
    "NeighbourEquations",
    "PatchStream",
    "RowStream",
    "SpikedStream",
    "heavy_rows",
    "image_patches",
    "neighbour_equations",
    "power_law_rows",
    "sorted_by_projection",
    "spiked_covariance",
    "spiked_stream",
]
