"""Sets up ``wstest``, the Autobahn Testsuite: ``python install.py DIRECTORY`` makes DIRECTORY/bin/wstest.

The suite needs CPython 2.7, found as ``python2.7`` on PATH or among pyenv's versions. Without one this says so and
succeeds, and the tests that need the suite are skipped; in CI (CI=true) it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

# The last virtualenv that can make an environment for Python 2.7 is of the 20.21 series.
VIRTUALENV = "virtualenv<20.22"
SUITE = "autobahntestsuite==25.10.1"


def main(directory: Path) -> int:
    program = directory / "bin" / "wstest"
    named = Path(os.environ.get("WSTEST", program)).resolve()
    if named != program:
        print(f"using {named}, which the environment variable WSTEST names")
        return 0
    if works(program):
        return 0
    python = next(find_python2(), None)
    if python is None:
        print("no CPython 2.7 on PATH or in pyenv: the Autobahn Testsuite cannot be installed", file=sys.stderr)
        return 1 if os.environ.get("CI", "").lower() in {"1", "true", "yes"} else 0
    install(python, directory)
    return 0


def works(program: Path) -> bool:
    """Whether ``wstest`` is there and starts."""
    return (
        program.is_file() and subprocess.run([program, "--autobahnversion"], stdout=subprocess.DEVNULL).returncode == 0
    )


def find_python2() -> Iterator[str]:
    """Give every CPython 2.7 that starts; a pyenv shim may be on PATH and have no version behind it."""
    candidates = [shutil.which("python2.7")]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], check=True, capture_output=True, text=True).stdout.strip()
        candidates += [str(path) for path in sorted(Path(root).glob("versions/2.7*/bin/python2.7"))]
    for python in candidates:
        if python and subprocess.run([python, "--version"], capture_output=True).returncode == 0:
            yield python


def install(python: str, directory: Path) -> None:
    """Make a virtual environment of ``python`` in ``directory``, with the suite in it."""
    shutil.rmtree(directory, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        maker = str(Path(scratch) / "bin" / "python")
        subprocess.run([maker, "-m", "pip", "install", "--quiet", VIRTUALENV], check=True)
        subprocess.run([maker, "-m", "virtualenv", "--quiet", "--python", python, str(directory)], check=True)
    subprocess.run([str(directory / "bin" / "pip"), "install", "--quiet", SUITE], check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
