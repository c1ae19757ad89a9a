"""The lines that were typed, kept between runs in a file of the person's own.

The file is ``syncws/connect-history`` under ``$XDG_STATE_HOME``, which is ``~/.local/state`` unless set otherwise, and
only its owner may read it. A line in it is a JSON string, since what was typed may have several lines. Lines that begin
with a space are not kept, as shells do it, for what is secret. A file that cannot be read or written is no error: there
is no history then but that of this run.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

__all__ = ["History", "history_file"]

_KEPT = 1000  # lines


def history_file() -> Path:
    """Return where the history is kept."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # XDG Base Directory Specification: a relative path is invalid, and to be ignored.
    base = Path(state) if os.path.isabs(state) else Path(os.path.expanduser("~/.local/state"))
    return base / "syncws" / "connect-history"


class History:
    """The lines typed so far, the oldest first. One thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = self._load()

    def add(self, line: str) -> None:
        """Add a line, unless it is empty or the same as the one before."""
        if not line or self.lines[-1:] == [line]:
            return
        self.lines.append(line)
        if not line.startswith(" "):
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
                    file.write(json.dumps(line) + "\n")

    def _load(self) -> list[str]:
        lines = []
        with contextlib.suppress(OSError):
            for entry in self._path.read_bytes().splitlines():
                with contextlib.suppress(ValueError):  # somebody else's, or cut off
                    line = json.loads(entry)
                    if isinstance(line, str):
                        lines.append(line)
            if len(lines) > 2 * _KEPT:
                new = self._path.with_suffix(f".{os.getpid()}")
                with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.writelines(json.dumps(line) + "\n" for line in lines[-_KEPT:])
                os.replace(new, self._path)
        return lines[-_KEPT:]
