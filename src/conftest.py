"""Doctests of modules: every room is imported before pytest collects one of its files alone.

With ``--import-mode=importlib`` pytest executes a file of a package that is not imported yet twice,
once for the package and once for itself: there would be two classes of one name, of which pickle
finds only the second.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import linalgkit

#: Rooms that need more than the library's own dependencies.
_NEEDS = {"distributed": "dask", "plotting": "matplotlib"}

for _room in sorted(linalgkit._ROOMS):
    if find_spec(_NEEDS.get(_room, "numpy")):
        import_module(f"linalgkit.{_room}")
