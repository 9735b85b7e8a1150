"""Sphinx builds the site from the Markdown in this folder, the docstrings, and the code beside its equations."""

import shutil
import sys
from configparser import ConfigParser
from pathlib import Path

from sphinx.ext.apidoc import main as apidoc

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "minigru"
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from listing import files_with_tags  # noqa: E402

import minigru  # noqa: E402

project = "minigru"
copyright = "the maintainers of minigru, MIT licence"
release = minigru.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # provides the default role, "autolink"
    "sphinx.ext.viewcode",
    "numpydoc",
    "mathml",
    "beside",
    "notebook",
    "play",
]
exclude_patterns = ["_build", "_templates", "README.md"]  # index.md includes README.md
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # "array_like (B, D)" is a type for readers

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "autolink"
autosummary_generate = False
autodoc_mock_imports = ["cupy", "mpi4py"]
autodoc_member_order = "bysource"
# scikit-learn adds these to an estimator, with references to its own pages
autodoc_default_options = {"exclude-members": "set_fit_request, set_partial_fit_request, set_score_request"}
autodoc_typehints = "none"
numpydoc_show_class_members = False
highlight_language = "text"
html_theme = "furo"
html_title = "minigru"
setup_cfg = ConfigParser()
setup_cfg.read(HERE.parent / "setup.cfg")
html_baseurl = setup_cfg.get("metadata", "url", fallback="")  # the address of the site, once it has one
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["minigru.css"]
html_js_files = ["beside.js"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"  # from accessible-pygments, a dependency of furo
pygments_dark_style = "a11y-high-contrast-dark"

# One page per module, and one per file with tagged lines.
for folder in ("api", "code"):
    shutil.rmtree(HERE / folder, ignore_errors=True)
options = ["--separate", "--no-toc", "--module-first", "--templatedir", f"{HERE}/_templates/api"]
apidoc(["-q", *options, "--output-dir", f"{HERE}/api", f"{PACKAGE}"])
for path in files_with_tags(PACKAGE):
    name = path.relative_to(PACKAGE).as_posix()
    page = HERE / "code" / f"{name}.rst"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f":hide-toc:\n\n{name}\n{'=' * len(name)}\n\n.. beside:: minigru/{name}\n", "utf-8")
