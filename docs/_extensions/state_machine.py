"""The directive ``.. state-machine::``: the states of a connection as a diagram and as a table.

Both are made from ``syncws.protocol.machine.TRANSITIONS`` whenever the pages are built, so that they are what the code
does. Builders of other formats than HTML get the table alone.
"""

from __future__ import annotations

import state_diagram
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from syncws.protocol import machine


class StateMachine(SphinxDirective):
    """Takes neither arguments nor options."""

    def run(self) -> list[nodes.Node]:
        for source in (machine.__file__, state_diagram.__file__):
            self.env.note_dependency(source)  # the page is made anew when one of them changes
        svg = state_diagram.draw(machine.TRANSITIONS, title="The states of a connection, and the moves between them")
        # On a narrow screen it can be moved to the side, with the keyboard as well.
        html = f'<div class="state-machine" style="overflow-x:auto;margin:1rem 0" tabindex="0">\n{svg}\n</div>'
        lines = [".. list-table::", "    :header-rows: 1", "", "    * - State", "      - Event", "      - Next state"]
        for (state, event), following in machine.TRANSITIONS.items():
            lines += [f"    * - {state.value}", f"      - {event.value}", f"      - {following.value}"]
        return [nodes.raw("", html, format="html"), *self.parse_text_to_nodes("\n".join(lines))]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("state-machine", StateMachine)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
