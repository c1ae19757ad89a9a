"""The public names of the package, which are loaded when they are first asked for, and what that does not load."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import syncws

PACKAGE = Path(syncws.__file__).parent
# What a program that serves or calls WebSockets need not wait for: other stacks, TLS that nobody has asked for, and
# what the standard library loads for mail, for HTTP of its own, or for reading source code.
NEVER = {
    *("asyncio", "bottle", "flask", "gevent", "greenlet", "gunicorn", "prometheus_client", "rich", "werkzeug"),
    *("email.utils", "html", "http.client", "http.server", "multiprocessing", "secrets", "ssl", "urllib.request"),
}


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement loads in a new process, besides those that are there before it."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_package_alone_loads_nothing() -> None:
    assert loaded_by("import syncws") - {"__future__"} == {"syncws"}


@pytest.mark.parametrize(
    ("statement", "others"),
    [
        (
            "from syncws import WebSocketServer",
            {"syncws.client", "syncws.gevent", "syncws.server_wsgi", "syncws.tls", "syncws.wsgi", "urllib.parse"},
        ),
        ("from syncws import accept", {"socketserver", "syncws.client", "syncws.listener", "syncws.wsgi"}),
        ("from syncws import connect", {"socketserver", "syncws.listener", "syncws.opening", "syncws.wsgi"}),
        ("from syncws import upgrade", {"socketserver", "syncws.client", "syncws.listener", "syncws.server"}),
        ("from syncws import ConnectionClosed", {"socket", "syncws.protocol", "syncws.websocket", "threading"}),
    ],
)
def test_nobody_waits_for_what_he_does_not_use(statement: str, others: set[str]) -> None:
    assert not loaded_by(statement) & (NEVER | others)


def test_the_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == syncws._MODULES
    assert sorted(syncws.__all__) == sorted(syncws._MODULES)


@pytest.mark.parametrize("name", syncws.__all__)
def test_a_name_is_what_its_module_has(name: str) -> None:
    assert getattr(syncws, name) is getattr(import_module(f"syncws.{syncws._MODULES[name]}"), name)
    assert vars(syncws)[name] is getattr(syncws, name)
    # Loading such a module would put it in the place of the name.
    assert not (PACKAGE / f"{name}.py").exists()
    assert not (PACKAGE / name).exists()


def test_all_names_at_once() -> None:
    names: dict[str, object] = {}
    exec("from syncws import *", names)
    assert set(names) - {"__builtins__"} == set(syncws.__all__)
    assert set(syncws.__all__) < set(dir(syncws))


def test_modules_are_loaded_as_well() -> None:
    assert "syncws.tls" in loaded_by("import syncws; syncws.tls.server_context")
    with pytest.raises(AttributeError, match="module 'syncws' has no attribute 'websockets'"):
        syncws.websockets  # noqa: B018 - it raises
    with pytest.raises(AttributeError, match="module 'syncws' has no attribute '_opening'"):
        syncws._opening  # noqa: B018 - it raises


def test_a_module_for_something_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)  # type: ignore[arg-type]  # which means that it cannot be found
    monkeypatch.delitem(sys.modules, "syncws.testing_pytest", raising=False)
    monkeypatch.delitem(vars(syncws), "testing_pytest", raising=False)
    with pytest.raises(ModuleNotFoundError, match="pytest"):
        syncws.testing_pytest  # noqa: B018 - it raises


def test_what_is_loaded_late_can_be_pickled() -> None:
    data = pickle.dumps([syncws.Deflate(level=3), syncws.State.OPEN])
    program = f"import pickle, syncws; assert pickle.loads({data!r}) == [syncws.Deflate(level=3), syncws.State.OPEN]"
    subprocess.run([sys.executable, "-c", program], check=True)
