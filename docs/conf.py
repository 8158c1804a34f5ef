"""How Sphinx builds these pages: `make docs`, from sources on this machine alone."""

import warnings

from sphinx_gallery.sorting import ExplicitOrder

import sktime_tlstm

project = "sktime-tlstm"
author = copyright = "the sktime-tlstm developers"
release = version = sktime_tlstm.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/README.rst"]
# the gallery's order is a function, which no cache holds; sktime's docstrings use its own glossary
suppress_warnings = ["config.cache", "ref.term"]
default_role = "code"

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say what parameters are
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

STORIES = [
    "first_forecast",
    "own_csv",
    "short_monthly",
    "panel",
    "scenarios",
    "backtest",
    "explain_forecast",
    "missing_values",
    "pretrained",
    "hysteresis",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"benchmarks|many_workers|quickstart|serve|several_processes",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "capture_repr": ("_repr_html_",),
    "show_signature": False,
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "within_subsection_order": ExplicitOrder([f"plot_{name}.py" for name in STORIES]),
}
warnings.filterwarnings("ignore", message="The default of config ``remember_data``")

html_theme = "pydata_sphinx_theme"
html_title = "sktime-tlstm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": True,
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
}
html_sidebars = {"changelog": []}
