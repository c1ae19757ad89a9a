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
import sysconfig
import textwrap
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# The modules that are compiled; a further one is a line here.
COMPILED = [
    "syncws._descriptor",
    "syncws._thread_lock",
    "syncws._thread_state",
    "syncws.hot",
    "syncws.hot_writer",
    "syncws.locks",
    "syncws.prepared",
    "syncws.readiness",
    "syncws.runtime_gevent",
    "syncws.transport_session",
    "syncws.protocol.messages",
    "syncws.protocol._mask",
    "syncws.protocol.compressor",
    "syncws.protocol.frames",
    "syncws.protocol.inflater",
    "syncws.protocol.parser",
    "syncws.protocol.zlibs",
]
if sys.platform == "win32":
    COMPILED.remove("syncws._descriptor")  # its system calls are those of POSIX
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    # Several threads look at what these have; in C, without the GIL, one could see what another has just freed.
    for name in ("_thread_lock", "hot", "hot_writer", "readiness", "transport_session"):
        COMPILED.remove(f"syncws.{name}")
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
    """Remove what an earlier build has left, which this Python would import in place of the source."""
    for path in (root / "syncws").rglob("*"):
        if any(path.name == path.name.partition(".")[0] + suffix for suffix in EXTENSION_SUFFIXES):
            path.unlink()


class BuildPython(build_py):
    """Begins without extension modules: those that there shall be are compiled after it."""

    def run(self) -> None:
        remove_built(Path() if self.editable_mode else Path(self.build_lib))
        super().run()


class BuildExtensions(build_ext):
    """Compiles all modules; without success none, unless they must be there."""

    def run(self) -> None:
        self._remove_built()
        if not self.extensions:
            return
        try:
            self._translate()
            super().run()
        except Exception as error:  # whatever goes wrong with a compiler that may not even be there
            if CHOICE == "compiled":
                raise
            self.extensions = []
            self._remove_built()
            why = textwrap.shorten(str(error), 100)
            print(
                f"syncws: the extension modules could not be compiled ({why}): this is pure Python, which does the "
                "same, slower. For the fast build install a C compiler and the headers of Python, then install again "
                "with SYNCWS_BUILD=compiled and pip's --force-reinstall --no-cache-dir.",
                file=sys.stderr,
            )

    def build_extensions(self) -> None:
        if self.compiler.compiler_type == "unix":
            # What a debugger reads is most of a module's size, and Python asks for it.
            for extension in self.extensions:
                extension.extra_compile_args.append("-g0")
        super().build_extensions()

    def _remove_built(self) -> None:
        remove_built(Path(self.build_lib))
        if self.inplace:
            remove_built(Path())

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
