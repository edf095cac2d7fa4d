"""Sphinx configuration. The build needs no network: mathematics is MathML, fonts are local."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import linalgkit

project = "linalgkit"
author = "linalgkit developers"
copyright = "linalgkit developers"
version = release = linalgkit.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "capabilities_table",
]
exclude_patterns = ["_build", "_ext", "_templates", "benchmarks_table.rst", "examples"]
templates_path = ["_templates"]
default_role = "py:obj"

# ------------------------------------------------------------------------------ API pages

autosummary_generate = True
autosummary_ignore_module_all = False  # a page lists what `__all__` lists, and nothing else
autosummary_imported_members = True  # of rooms that load their files at first use, too
autodoc_typehints = "none"  # numpydoc sections state the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the class template lists them
numpydoc_validation_checks: set[str] = set()

# -------------------------------------------------------------------------------- gallery

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "write_computation_times": False,
}

# ----------------------------------------------------------------------------------- HTML

html_theme = "pydata_sphinx_theme"
html_title = "linalgkit"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["linalgkit.css"]
html_show_sourcelink = False
html_sidebars = {"benchmarks": [], "api/index": []}  # room for their tables
html_theme_options = {
    "logo": {"text": "linalgkit"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
