"""How the documentation is built: sphinx-build -W -n docs docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import generated
import measured

import flask_statemanager

project = "Flask-StateManager"
copyright = "2026, Flask-StateManager contributors"
release = version = flask_statemanager.__version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "examples.rst"]
default_role = "code"
highlight_language = "python"
html_theme = "furo"
html_title = f"Flask-StateManager {release}"

autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
nitpicky = True
# Other projects' names are not looked up, so that the build needs no network.
nitpick_ignore_regex = [
    ("py:.*", r"(?!flask_statemanager).*"),
    # Type variables have no page.
    ("py:class", r"flask_statemanager\..+\.(Function|Result)"),
]


class Generated(SphinxDirective):
    """Parses text that is made out of the package, or out of what the benchmarks have measured."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the text that the argument names."""
        name = self.arguments[0]
        text = getattr(generated if hasattr(generated, name) else measured, name)()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> None:
    """Add the directive, ``.. generated:: config_keys``.

    :param app: the build.
    """
    app.add_directive("generated", Generated)
