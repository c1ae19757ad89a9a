"""What several test files share: finding the optional tools that some of them need."""

from __future__ import annotations

import importlib.util
import os

import pytest

__all__ = ["IN_CI", "require_module", "require_tool"]

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def require_tool(name: str, present: object) -> None:
    """Skip the test if ``present`` is false; in CI, where everything must be there, fail instead."""
    if present:
        return
    if IN_CI:
        pytest.fail(f"{name} was not found, and CI=true: nothing may be missing there", pytrace=False)
    pytest.skip(f"{name} was not found")


def require_module(name: str) -> None:
    """The same for a module of another package, given by the name it is imported by."""
    require_tool(f"the Python module {name}", importlib.util.find_spec(name))
