"""Benchmarks of linalgkit for asv: every method beside a primitive and a peer.

The sizes are small; LINALGKIT_BENCH_LONG=1 takes those of the published figures.
"""

import os
import sys
from pathlib import Path

# One thread, said before the first import of a BLAS, and the peers' package made importable.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
_root = str(Path(__file__).resolve().parents[1])
if _root not in sys.path:
    sys.path.insert(0, _root)
