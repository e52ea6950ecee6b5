# SPDX-License-Identifier: BSD-3-Clause
"""The site: built without a network, and a warning is an error (``make docs``)."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "lossmatrix"
copyright = "the authors of lossmatrix"  # noqa: A001
release = version = version_of("lossmatrix")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "results"]
html_theme = "furo"
html_title = f"lossmatrix {version}"
html_math_renderer = "mathml"
html_copy_source = False
default_role = "code"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {  # what `make gallery` runs; `make docs` shows the scripts alone
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
}

autosummary_ignore_module_all = False
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False
python_use_unqualified_type_names = True


def draw(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Formulas as MathML, which browsers set themselves: no script, and nothing to fetch."""
    is_block = isinstance(node, nodes.math_block)
    self.body.append(tex2mathml(node.astext(), as_block=is_block))
    raise nodes.SkipNode


def escape(
    app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]
) -> None:
    """Bars and stars of formulas in docstrings mean themselves, outside of code and examples."""
    del app, what, name, of, options
    paragraphs = "\n".join(lines).split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if not paragraph.lstrip().startswith(">>>"):
            parts = re.split("(``.+?``)", paragraph, flags=re.DOTALL)
            parts[::2] = [re.sub(r"([|*])", r"\\\1", part) for part in parts[::2]]
            paragraphs[number] = "".join(parts)
    lines[:] = "\n\n".join(paragraphs).split("\n")


def skip(app: Sphinx, what: str, name: str, of: object, is_skipped: bool, options: object) -> bool:
    """The requests of metadata that scikit-learn adds are documented there."""
    del app, what, of, options
    return is_skipped or bool(re.fullmatch(r"set_\w+_request", name))


def lead_inside(app: Sphinx, place: Path, parent: str, content: list[str]) -> None:
    """Links of files that pages include: to pages of the site, or names where there is none."""
    del parent
    sources = Path(app.srcdir)

    def led(link: re.Match[str]) -> str:
        words, target = link[1], (sources / place).parent.joinpath(link[2]).resolve()
        is_page = sources in target.parents and target.suffix == ".md"
        return f"[{words}](/{target.relative_to(sources)})" if is_page else words

    content[0] = re.sub(r"\[([^\]]+)\]\(([^)#:]+)\)", led, content[0])


def setup(app: Sphinx) -> None:
    """Register what stands above."""
    app.add_html_math_renderer("mathml", (draw, None), (draw, None))
    app.connect("autodoc-process-docstring", escape)
    app.connect("autodoc-skip-member", skip)
    app.connect("include-read", lead_inside)
