"""Write the table of what runs where, from the registry, before the pages are read."""

from __future__ import annotations

from importlib import import_module
from inspect import ismodule
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import linalgkit
from linalgkit._core import capabilities


def write_table(app: Sphinx) -> None:
    """Import all rooms, which registers their functions, and write the table."""
    for name in linalgkit.__all__:
        if ismodule(getattr(linalgkit, name)):
            module = import_module(f"linalgkit.{name}")
            for public in getattr(module, "__all__", ()):
                getattr(module, public)  # some are loaded at their first use
    path = Path(app.srcdir) / "api" / "generated" / "capabilities.inc"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = capabilities.table() + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to the build."""
    app.connect("builder-inited", write_table)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
