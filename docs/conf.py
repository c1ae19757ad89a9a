"""Sphinx settings. The pages are built with every warning an error: ``tox -e docs``."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import syncws
from syncws.protocol.machine import TRANSITIONS

project = "syncws"
author = "the syncws authors"
project_copyright = f"2026, {author}"
release = version = syncws.__version__

extensions = ["sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"syncws {release}"
exclude_patterns = ["_build"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_display_short_literal_types = True
# What belongs to Python itself is described elsewhere; every public name of syncws has to lead somewhere.
nitpick_ignore_regex = [(r"py:.*", r"(?!syncws\b).*"), (r"py:.*", r"syncws\..*\b_\w+")]


class StateMachine(SphinxDirective):
    """``.. state-machine::`` shows the table of transitions as it is in the source."""

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "    :header-rows: 1", "", "    * - State", "      - Event", "      - Next state"]
        for (state, event), following in TRANSITIONS.items():
            lines += [f"    * - {state.value}", f"      - {event.value}", f"      - {following.value}"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> None:
    app.add_directive("state-machine", StateMachine)
