"""The protocol in plain Python beside the compiled one, in one process: the same source, loaded as another package.

``load("parser")`` is the module ``syncws.protocol.parser`` as its ``.py`` has it, with all that it imports. Its classes
are others than those of ``syncws``, those of errors too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

import syncws

__all__ = ["load"]

_NAME = "syncws_in_plain_python"
_SOURCE = Path(syncws.__file__).parent


class _SourceOnly:
    """Finds ``.py`` files, and no extension module beside them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        if package != _NAME or not rest:
            return None
        file = _SOURCE.joinpath(*rest.split("."))
        inner = [str(file)] if file.is_dir() else None
        file = file / "__init__.py" if inner else file.with_suffix(".py")
        if not file.exists():
            raise ModuleNotFoundError(f"no source {file}", name=name)
        loader = SourceFileLoader(name, str(file))
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=inner)


def load(module: str) -> ModuleType:
    """Return a module of the protocol, by its last name."""
    if _NAME not in sys.modules:
        root = ModuleType(_NAME)  # without running syncws/__init__.py again
        root.__path__ = []
        sys.modules[_NAME] = root
        sys.meta_path.insert(0, _SourceOnly)
    return importlib.import_module(f"{_NAME}.protocol.{module}")
