"""Text of a stranger, made fit to be shown: in a line of a log, on a terminal, in the message of an exception.

A line break in it would forge a line, an escape character steers the terminal, and there are characters that turn the
direction of writing. Pure functions; any thread may call them.
"""

from __future__ import annotations

__all__ = ["escaped"]


def escaped(text: str, keep: str = "") -> str:
    r"""Return ``text`` with every character that is not to be seen written as in Python: ``\n``, ``\x1b``, ``\u202e``.

    :param keep: characters that stay as they are nevertheless.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text)
