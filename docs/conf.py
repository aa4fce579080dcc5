"""Settings of the documentation; build it with `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from initzoo import __version__  # noqa: E402

project = "initzoo"
release = __version__
copyright = "the authors of initzoo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_ext"]
root_doc = "index"

html_theme = "furo"
html_title = f"initzoo {release}"
html_copy_source = False

highlight_language = "none"
myst_heading_anchors = 4  # links to headings, as in the repository
default_role = "literal"  # single backticks in docstrings are code
napoleon_custom_sections = ["Source"]
napoleon_use_rtype = False
autodoc_member_order = "bysource"
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
