"""Which of the two builds runs: extension modules that Cython compiled, or pure Python. They do the same.

:data:`compiled` is about the modules that have been imported, not about what lies on the disk.
"""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader

from .protocol import parser

__all__ = ["compiled"]

# An installation has all of the extension modules or none, so one of them tells.
compiled: bool = isinstance(parser.__spec__.loader, ExtensionFileLoader)
