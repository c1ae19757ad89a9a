"""``syncws.compiled``, and that an installation is wholly of one build."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path

import pytest

import syncws
from syncws import builds
from syncws.protocol import mask

SETUP = Path(__file__).resolve().parent.parent / "setup.py"
MASK_TESTS = Path(__file__).resolve().parent / "test_mask.py"


def compiled_modules() -> list[str]:
    """The names in setup.py of the modules that are compiled."""
    for statement in ast.parse(SETUP.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "COMPILED":
            return list(ast.literal_eval(statement.value))
    raise AssertionError("no list COMPILED in setup.py")


def test_the_name_is_a_bool_and_public() -> None:
    assert syncws.compiled in {True, False}
    assert syncws.compiled is builds.compiled
    assert "compiled" in syncws.__all__


@pytest.mark.parametrize("name", compiled_modules())
def test_all_modules_are_of_the_same_build(name: str) -> None:
    if syncws.compiled:
        assert isinstance(importlib.import_module(name).__loader__, ExtensionFileLoader)
    elif name.rpartition(".")[2].startswith("_"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    else:
        assert not isinstance(importlib.import_module(name).__loader__, ExtensionFileLoader)


def test_masking_is_that_of_the_build() -> None:
    implementation = importlib.import_module(
        "syncws.protocol._mask" if syncws.compiled else "syncws.protocol._mask_pure"
    )
    assert mask.apply_mask is implementation.apply_mask
    assert mask.masked_slice is implementation.masked_slice


def test_an_extension_module_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    program = """
import importlib.machinery, sys
import syncws.protocol

class Finder:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == "syncws.protocol._mask":
            loader = importlib.machinery.ExtensionFileLoader(name, sys.argv[1])
            return importlib.machinery.ModuleSpec(name, loader, origin=sys.argv[1])

for name in ["syncws.protocol._mask", "syncws.protocol.mask"]:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Finder)
import syncws.protocol.mask
"""
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not an extension module")
    ended = subprocess.run(
        [sys.executable, "-c", program, str(broken)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert "ImportError" in ended.stderr
    assert "broken.so" in ended.stderr


@pytest.mark.parametrize("expected", ["compiled", "pure"])
def test_the_tests_refuse_another_build(expected: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(MASK_TESTS)]
    environment = {**os.environ, "SYNCWS_EXPECT": expected}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if syncws.compiled is (expected == "compiled"):
        assert ended.returncode == 0, ended.stderr
    else:
        assert ended.returncode == pytest.ExitCode.USAGE_ERROR
        assert f"SYNCWS_EXPECT is {expected!r}, but " in ended.stderr


@pytest.mark.parametrize("other", [True, False])
def test_the_tests_refuse_another_build_in_the_current_directory(other: bool, tmp_path: Path) -> None:
    here = tmp_path / "syncws" / "protocol"
    here.mkdir(parents=True)
    if syncws.compiled is not other:
        (here / f"parser{EXTENSION_SUFFIXES[0]}").touch()
    # With -c and not with -m, lest this be the package that pytest itself imports.
    program = "import sys; sys.path.remove(''); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "--collect-only", "-q", "-p", "no:cacheprovider", str(MASK_TESTS)]
    environment = {**os.environ, "SYNCWS_EXPECT": "compiled" if syncws.compiled else "pure"}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if other:
        assert ended.returncode == pytest.ExitCode.USAGE_ERROR
        assert f"imports another build, that in {tmp_path / 'syncws'}: SYNCWS_BUILD=" in ended.stderr
    else:
        assert ended.returncode == 0, ended.stderr
