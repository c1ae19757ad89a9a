"""setup.py: what ``SYNCWS_BUILD`` makes of the source, and what it says if that cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from support import require_module
from test_builds import compiled_modules

ROOT = Path(__file__).resolve().parent.parent
PARTS = ["setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"]
MODULES = [module.replace(".", "/") for module in compiled_modules()]
# What this Python calls an extension module, and what is left of one by a build of long ago.
SUFFIX = EXTENSION_SUFFIXES[0]
LEFT_OVER = f"syncws/protocol/parser{SUFFIX}"
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}
# And no more than newer compilers accept: this is an error for GCC from version 14 on.
QUICK = {"CFLAGS": "-O0 -Werror=incompatible-pointer-types"}

needs_cc = pytest.mark.skipif(sys.platform == "win32", reason="the variable CC names no compiler there")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what a build needs, in which an earlier build has left something that is no extension module."""
    require_module("Cython")
    require_module("setuptools")
    copy = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", *(f"*{suffix}" for suffix in EXTENSION_SUFFIXES))
    shutil.copytree(ROOT / "syncws", copy / "syncws", ignore=ignored)
    for part in PARTS:
        shutil.copy(ROOT / part, copy)
    (copy / LEFT_OVER).write_bytes(b"left over")
    return copy


def clean_environment() -> dict[str, str]:
    """Without what changes the build or the import; and no lines are counted of a copy."""
    unwanted = ("COVERAGE_", "PYTHONPATH", "SYNCWS_BUILD")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def run_hook(source: Path, hook: str, choice: str, **environment: str) -> tuple[Path | None, str]:
    """What a hook of PEP 517 makes, and what it says on standard error; ``None`` if it fails."""
    out = source.parent / "dist"
    out.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])", out],
        cwd=source,
        env={**clean_environment(), "SYNCWS_BUILD": choice, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        return None, ended.stderr
    (made,) = out.iterdir()
    return made, ended.stderr


def extensions_in(wheel: Path | None) -> set[str]:
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.endswith((".so", ".pyd"))}


def lines_of_ours(said: str) -> Iterator[str]:
    return (line for line in said.splitlines() if line.startswith("syncws:"))


@pytest.fixture(params=["compiled", ""], ids=["compiled", "not set"])
def choice(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="extension modules are for CPython")
def test_with_a_compiler_all_modules_are_compiled(source: Path, choice: str) -> None:
    wheel, said = run_hook(source, "build_wheel", choice, **QUICK)
    assert extensions_in(wheel) == {module + SUFFIX for module in MODULES}
    assert wheel is not None
    assert "-none-any" not in wheel.name
    assert not list(lines_of_ours(said))
    assert not [*source.glob("syncws/**/*.c"), *source.glob("syncws/**/_mask.*.so")], "nothing is built in the source"
    # No module makes a free-threaded Python switch its lock on again.
    for module in MODULES:
        (translated,) = source.glob(f"build/temp*/{module}.c")
        assert "{Py_mod_gil, __Pyx_FREETHREADING_COMPATIBLE}" in translated.read_text(), module
        assert "#define __Pyx_FREETHREADING_COMPATIBLE Py_MOD_GIL_NOT_USED" in translated.read_text(), module
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(source.parent / "installed")
    version = subprocess.run(
        [sys.executable, "-m", "syncws", "--version"],
        cwd=source.parent / "installed",
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "(compiled)" in version.stdout


def test_pure_is_one_wheel_for_every_python(source: Path) -> None:
    wheel, said = run_hook(source, "build_wheel", "pure", **NO_COMPILER)
    assert not extensions_in(wheel)
    assert wheel is not None
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not list(lines_of_ours(said))


@needs_cc
def test_without_a_compiler_it_is_pure_and_one_line_says_so(source: Path) -> None:
    wheel, said = run_hook(source, "build_wheel", "", **NO_COMPILER)
    assert not extensions_in(wheel)
    (line,) = lines_of_ours(said)
    assert "could not be compiled" in line
    assert "/bin/false" in line
    assert "SYNCWS_BUILD=compiled" in line
    assert len(line) < 500


@needs_cc
def test_without_a_compiler_compiled_fails(source: Path) -> None:
    wheel, said = run_hook(source, "build_wheel", "compiled", **NO_COMPILER)
    assert wheel is None
    assert "/bin/false" in said


def test_without_cython_it_is_pure_and_one_line_says_so(source: Path) -> None:
    (source / "Cython").mkdir()
    (source / "Cython" / "__init__.py").write_text("raise ImportError('there is no Cython')\n")
    wheel, said = run_hook(source, "build_wheel", "", PYTHONPATH=str(source))
    assert not extensions_in(wheel)
    (line,) = lines_of_ours(said)
    assert "there is no Cython" in line


def test_a_module_that_does_not_compile_leaves_none_of_the_others(source: Path) -> None:
    with (source / "syncws/protocol/parser.pxd").open("a") as pxd:
        pxd.write("cdef class Missing:\n    cdef nonsense x\n")
    wheel, said = run_hook(source, "build_wheel", "", **QUICK)
    assert not extensions_in(wheel)
    assert len(list(lines_of_ours(said))) == 1


def test_another_value_is_an_error(source: Path) -> None:
    wheel, said = run_hook(source, "build_wheel", "fast")
    assert wheel is None
    assert "SYNCWS_BUILD is 'fast'; it must be one of compiled, pure, or not set" in said


def test_an_editable_installation_has_its_modules_beside_the_source(source: Path) -> None:
    wheel, _ = run_hook(source, "build_editable", "compiled", **QUICK)
    assert wheel is not None
    built = {str(path.relative_to(source)) for path in source.glob(f"syncws/**/*{SUFFIX}")}
    assert built == {module + SUFFIX for module in MODULES}
    assert (source / LEFT_OVER).read_bytes() != b"left over"


@pytest.mark.parametrize(("choice", "environment"), [("pure", {}), pytest.param("", NO_COMPILER, marks=needs_cc)])
def test_a_pure_editable_installation_removes_what_is_left_over(
    source: Path, choice: str, environment: dict[str, str]
) -> None:
    other = source / "syncws/protocol/parser.of-another-python.so"
    other.write_bytes(b"not ours")
    wheel, _ = run_hook(source, "build_editable", choice, **environment)
    assert wheel is not None
    assert not (source / LEFT_OVER).exists()
    assert other.exists()


def test_the_source_distribution_has_the_sources_and_nothing_built(source: Path) -> None:
    (source / "syncws/protocol/parser.c").write_text("left over")
    made, _ = run_hook(source, "build_sdist", "")
    assert made is not None
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        str(path.relative_to(ROOT))
        for suffix in ("py", "pyi", "pyx", "pxd")
        for path in ROOT.glob(f"syncws/**/*.{suffix}")
    }
    assert expected <= names
    assert {"setup.py", "pyproject.toml", "syncws/protocol/_mask.pyx", "syncws/protocol/parser.pxd"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".c", ".pyc"))]
