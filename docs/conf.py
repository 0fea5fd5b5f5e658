"""How Sphinx builds these pages; `make docs` calls it."""

import sys
from pathlib import Path

import nnlab

sys.path.insert(0, str(Path(__file__).parent / "extension"))

project = "nnlab"
author = "the nnlab authors"
copyright = "the nnlab authors; Apache 2.0"
version = release = nnlab.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "nnlab_reference",
]
exclude_patterns = ["extension"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

smartquotes = False  # `--jobs` has two dashes
default_role = "code"  # single backticks in docstrings
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
# types of other packages, whose pages are not looked up, and those of nnlab's own that are no public names
nitpick_ignore_regex = [
    ("py:.*", r"(collections|nnlab|pandas|pathlib)\..*"),
    ("py:.*", r"ArrayLike|Figure|Path|np\.ndarray"),
    ("py:.*", r"JsonObject|PluginError|Search|Summary|Trial|TrialGroup|Value"),
]

html_theme = "furo"
html_title = f"nnlab {version}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
