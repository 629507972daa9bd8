"""Sphinx configuration: `make docs` builds docs/_build/html and takes warnings as errors."""

from __future__ import annotations

from typing import Any

from lutkan import __version__

project = "lutkan"
author = "The lutkan authors"
copyright = "The lutkan authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"lutkan {release}"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_typehints = "none"  # the docstrings name types and shapes
autodoc_member_order = "bysource"
nitpicky = False


def setup(app: Any) -> None:
    """Let docstrings write absolute values as |x|, which reStructuredText takes for a substitution."""

    def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = [line.replace("|", "\\|") for line in lines]

    app.connect("autodoc-process-docstring", escape_bars)
