"""Sphinx: MyST pages, furo's theme, and sphinxcontrib-trio to tell what must be awaited."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2p.version import VERSION

project = "p2p-trio"
copyright = "the p2p-trio contributors"
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib_trio"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "newsfragments"]
root_doc = "index"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "p2p-trio"
