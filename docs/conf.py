"""Configuration of the documentation; `make docs` builds it without a network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "brainpred"
author = "the brainpred developers"
copyright = "2026, the brainpred developers"
version = release = installed_version("brainpred")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery"]
default_role = "literal"
smartquotes = False  # option names and messages are shown as they are typed

autosummary_generate = True
autodoc_member_order = "bysource"
# Methods that scikit-learn adds to route metadata; their docstrings link to its own pages.
autodoc_default_options = {"exclude-members": "set_fit_request, set_predict_request, set_score_request"}
autodoc_typehints = "none"  # numpydoc's Parameters sections give type, shape and unit
numpydoc_show_class_members = False  # the templates list methods themselves
numpydoc_show_inherited_class_members = False

# Every docs/gallery/plot_*.py is run and becomes a page of docs/studies, with the figures and .mp4 paths that it names.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "studies",
    "image_scrapers": ("gallery_figures.save_figures",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": 3600,
    "show_signature": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "brainpred"
html_static_path = ["_static"]
html_extra_path = ["../data_manifests/manifest.schema.json"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "brainpred"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"install": [], "first_decode": [], "glossary": [], "errors": [], "architecture": []}
