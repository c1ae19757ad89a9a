"""Sphinx settings. The pages are built with every warning an error: ``tox -e docs``."""

from __future__ import annotations

import sys
from pathlib import Path

import syncws

# The directives of these pages.
sys.path.insert(0, str(Path(__file__).resolve().parent / "_extensions"))

project = "syncws"
author = "the syncws authors"
project_copyright = f"2026, {author}"
release = version = syncws.__version__

extensions = ["sphinx.ext.autodoc", "state_machine"]
html_theme = "furo"
html_title = f"syncws {release}"
exclude_patterns = ["_build"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_display_short_literal_types = True
# What belongs to Python itself is described elsewhere; every public name of syncws has to lead somewhere.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!syncws\b).*"),
    (r"py:.*", r"syncws\..*\b_\w+"),
    (r"py:.*", r"syncws\.hot\.\w+"),  # what is compiled has types of its own
]
