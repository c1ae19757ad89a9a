"""The tutorial with Flask works as it is written there: under ``flask run``, and in its own test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
from support import require_module

import syncws

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "tutorial" / "flask.rst").read_text()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the reader of the tutorial has written both files."""
    require_module("flask")
    app, test = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE)
    shutil.copy(ROOT / "setup.cfg", tmp_path)  # as in a clone
    directory = tmp_path / "shout"
    directory.mkdir()
    (directory / "app.py").write_text(textwrap.dedent(app))
    (directory / "test_app.py").write_text(textwrap.dedent(test))
    return directory


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_endpoint_under_flask_run(directory: Path) -> None:
    command = [sys.executable, "-m", "flask", "run", "--port", "0"]
    with subprocess.Popen(command, cwd=directory, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = next(found[1] for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
                assert b"new WebSocket(" in page.read()
            with syncws.connect(f"ws://127.0.0.1:{port}/shout", timeout=30) as ws:
                ws.send("hello")
                assert ws.receive(timeout=30) == "HELLO!"
        finally:
            process.kill()


def test_test_of_the_tutorial_passes(directory: Path) -> None:
    command = re.search(r"\$ \.\./\.venv/bin/python (-m pytest .*)", PAGE)
    assert command
    arguments = [sys.executable, *command[1].split()]
    done = subprocess.run(arguments, cwd=directory, env=environment(), stdout=subprocess.PIPE, text=True, timeout=60)
    assert "1 passed" in done.stdout, done.stdout
    assert done.returncode == 0
