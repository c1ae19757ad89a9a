"""What holds for all tests, and which build they are for."""

from __future__ import annotations

import logging
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import syncws
from syncws.protocol import parser

# A line for each connection is not what tests look for in the log; those that do give the logger a level of their own.
logging.getLogger("syncws.access").setLevel(logging.WARNING)


def pytest_configure() -> None:
    """Refuse another build than the one that SYNCWS_EXPECT names, and one that is older than its source.

    What the tests start imports the package of the current directory, if there is one: it has to be of the same build.
    """
    package = Path(syncws.__file__).parent
    found = "compiled" if syncws.compiled else "pure"
    expected = os.environ.get("SYNCWS_EXPECT") or found
    here = Path("syncws").absolute()
    here_built = [str(path) for suffix in EXTENSION_SUFFIXES if (path := here / f"protocol/parser{suffix}").exists()]
    if found != expected:
        raise pytest.UsageError(f"SYNCWS_EXPECT is {expected!r}, but {parser.__file__} is the {found!r} build")
    if os.environ.get("SYNCWS_EXPECT") and here.exists() and bool(here_built) is not syncws.compiled:
        raise pytest.UsageError(
            f"SYNCWS_EXPECT is {expected!r}, but what is started here imports another build, that in {here}: "
            f"SYNCWS_BUILD={expected} python setup.py build_ext --inplace"
        )
    if syncws.compiled and package.parent == Path(__file__).resolve().parent.parent:
        for source in [*package.rglob("*.pxd"), *package.rglob("*.pyx")]:
            built = source.with_name(source.stem + EXTENSION_SUFFIXES[0])
            written = max(path.stat().st_mtime for path in source.parent.glob(f"{source.stem}.p[yx]*"))
            if built.exists() and built.stat().st_mtime < written:
                raise pytest.UsageError(f"{built} is older than its source: python setup.py build_ext --inplace")
