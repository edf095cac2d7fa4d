"""Where the data of papers lie: not part of the repository, and left out where absent."""

from __future__ import annotations

import os
from pathlib import Path

NAMES = {
    "biomolecule": "biomolecule_n256_500_particles.npz",
    "newton": "newton_canonical_n512.npz",
}


def find(name: str) -> Path | None:
    """Return the path of a file of `NAMES`, or None.

    It is looked for in the folder that LINALGKIT_BENCH_DATA names, else in ``shared/data`` beside
    the repository.
    """
    told = os.environ.get("LINALGKIT_BENCH_DATA")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = (Path(told) if told else beside) / NAMES[name]
    return path if path.exists() else None
