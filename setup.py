"""The two builds of syncws: compiled by Cython where that is possible, pure Python everywhere.

The environment variable ``SYNCWS_BUILD`` chooses:

``compiled``
    Extension modules, and an error if they cannot be built.
``pure``
    None, and a wheel for every Python.
not set
    Extension modules on CPython. If they cannot be built, one line on standard error says so, and what is installed is
    pure Python.

Each module below is made of its ``.py``, with the types of the ``.pxd`` beside it, or of a ``.pyx`` where there is no
``.py``. On import, what is built is preferred to the ``.py`` of the same name. All of them are built, or none.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# The modules that are compiled; a further one is a line here.
COMPILED = [
    "syncws.protocol._mask",
    "syncws.protocol.frames",
    "syncws.protocol.parser",
]
DIRECTIVES = {
    "language_level": 3,
    # Types are those of the .pxd files: what an annotation says is for mypy, and would change what the code does.
    "annotation_typing": False,
    "freethreading_compatible": True,
}
CHOICES = ("compiled", "pure")
CHOICE = os.environ.get("SYNCWS_BUILD", "")
# Extension modules make other implementations slower.
PURE = CHOICE == "pure" or (not CHOICE and platform.python_implementation() != "CPython")


def source_of(module: str) -> str:
    """Return the file that a module is compiled from, as a path from the root of the project."""
    path = module.replace(".", "/")
    return f"{path}.pyx" if Path(f"{path}.pyx").exists() else f"{path}.py"


def remove_built(root: Path) -> None:
    """Remove what an earlier build has left, which this Python would import instead of the source."""
    for module in COMPILED:
        for suffix in EXTENSION_SUFFIXES:
            (root / (module.replace(".", "/") + suffix)).unlink(missing_ok=True)


class BuildPython(build_py):
    """Leaves no extension module of an earlier build beside the source, if there shall be none."""

    def run(self) -> None:
        super().run()
        if PURE:
            remove_built(Path() if self.editable_mode else Path(self.build_lib))


class BuildExtensions(build_ext):
    """Compiles all modules; without success it removes those that were, unless they must be there."""

    def run(self) -> None:
        try:
            self._translate()
            super().run()
        except Exception as error:  # whatever goes wrong with a compiler that may not even be there
            if CHOICE == "compiled":
                raise
            self.extensions = []
            remove_built(Path(self.build_lib))
            if self.inplace:
                remove_built(Path())
            print(
                f"syncws: the extension modules could not be compiled ({' '.join(str(error).split())}): this is pure "
                "Python, which does the same, slower. For the fast build install a C compiler and the headers of "
                "Python, then install again with SYNCWS_BUILD=compiled and pip's --force-reinstall --no-cache-dir.",
                file=sys.stderr,
            )

    def _translate(self) -> None:
        """Let Cython make C out of Python, outside of the source."""
        from Cython.Build import cythonize

        extensions = cythonize(
            self.extensions, build_dir=self.build_temp, compiler_directives=DIRECTIVES, force=True, quiet=True
        )
        for extension, translated in zip(self.extensions, extensions, strict=True):
            extension.sources = translated.sources


if CHOICE and CHOICE not in CHOICES:
    raise SystemExit(f"SYNCWS_BUILD is {CHOICE!r}; it must be one of {', '.join(CHOICES)}, or not set")

setup(
    ext_modules=[] if PURE else [Extension(module, [source_of(module)]) for module in COMPILED],
    cmdclass={"build_py": BuildPython, "build_ext": BuildExtensions},
)
