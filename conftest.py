"""Every room is imported before pytest collects one of its files.

With ``--import-mode=importlib`` pytest executes a file of a package that is not imported yet twice,
once for the package and once for the file: there are then two classes of one name, and pickle
refuses the objects of one of them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import linalgkit

for _room in sorted(linalgkit._ROOMS):
    if _room != "distributed" or find_spec("dask"):
        import_module(f"linalgkit.{_room}")
