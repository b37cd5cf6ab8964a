"""Sphinx configuration of the documentation; ``nox -s docs`` builds it into docs/_build.

The pages load nothing from other hosts. Links to Python's documentation need its inventory, which is fetched from
docs.python.org for the build. Without a network the build uses an empty inventory: it succeeds, and those links are
plain text. ``DOCS_OFFLINE=1`` does not try the network at all.
"""

import os
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from aiohttpd import __version__  # noqa: E402

project = "aiohttpd"
author = "the authors of aiohttpd"
copyright = "the authors of aiohttpd; MIT license"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # links to headings, as GitHub has them

smartquotes = False  # it would make a dash of the two hyphens of --option

default_role = "py:obj"  # `Config` in a docstring is a link where there is such a page, else code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [
    ("Attributes of an instance", "Attributes"),
    ("Attributes that a class can set", "Attributes"),
]


def empty_inventory() -> str:
    """Write an inventory without entries, for builds without a network; gives its path."""
    path = HERE / "_build" / "python.inv"
    path.parent.mkdir(exist_ok=True)
    head = b"# Sphinx inventory version 2\n# Project: Python\n# Version: 3\n# The remainder is compressed using zlib.\n"
    path.write_bytes(head + zlib.compress(b""))
    return str(path)


_offline = empty_inventory()
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", _offline if os.environ.get("DOCS_OFFLINE") else (None, _offline))
}
intersphinx_timeout = 5

html_theme = "furo"
html_title = f"aiohttpd {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    # The fonts of the system: no page loads one.
    "light_css_variables": {"font-stack": "system-ui, sans-serif", "font-stack--monospace": "ui-monospace, monospace"},
}
