"""Have this project's package run in plain Python, although its compiled modules lie beside the sources."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

__all__ = ["only_plain_python"]


class _OnlySources(MetaPathFinder):
    """Finds the sources of a package's modules, and hides what has no source."""

    def __init__(self, package: str) -> None:
        self._prefix = f"{package}."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(self._prefix):
            return None
        for directory in path or ():
            spec = FileFinder(directory, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None:
                return spec
        raise ModuleNotFoundError(f"{fullname} has no source in plain Python", name=fullname)


def only_plain_python(package: str) -> None:
    """Import modules of a package from their ``.py`` files only. Call it before the package is imported."""
    if package in sys.modules:
        raise RuntimeError(f"{package} has been imported already")
    sys.meta_path.insert(0, _OnlySources(package))
