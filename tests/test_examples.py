"""What holds for every file of examples/: short, explained, run by a test of its own, and ended by Ctrl-C.

The tests of each are in tests/examples/, those of its page in tests/browser/.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from commands import DEADLINE
from example_programs import EXAMPLES, interrupt, started, websocket_url
from support import require_module

import syncws

FILES = sorted(path for path in EXAMPLES.iterdir() if path.is_file())
PROGRAMS = [path.name for path in FILES if path.suffix == ".py"]
# Where each server has a WebSocket that anybody may open, and the module that it needs.
SERVERS = {
    "bottle_terminal.py": ("terminal", "bottle"),
    "bottle_ticker.py": ("ticker/1", "bottle"),
    "broadcast.py": ("", "syncws"),
    "chat_rooms.py": ("kitchen", "syncws"),
    "drawing_board.py": ("draw", "syncws"),
    "echo_server.py": ("", "syncws"),
    "etf_ticker.py": ("trades", "syncws"),
    "flask_blueprint.py": ("stock/prices/EUR?key=secret", "flask"),
    "flask_dashboard.py": ("load", "flask"),
    "gevent_fan_out.py": ("news", "gevent"),
    "gevent_pywsgi.py": ("time", "gevent"),
    "json_rpc.py": ("", "syncws"),
    "progress_bar.py": ("count", "syncws"),
    "question_bot.py": ("bot", "bottle"),
    "token_auth.py": ("first", "syncws"),
    "upload.py": ("upload", "syncws"),
    "wsgi_app.py": ("shout", "syncws"),
}
# Their WebSockets are lost with the process: nobody closes what a thread of our own, or the standard library's, serves.
WITHOUT_CLOSE_FRAME = {
    "forty_lines.py": "",
    "handshake_by_hand.py": "",
    "http_server.py": "clock",
    "plain_socket.py": "",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80


def test_forty_lines_are_forty() -> None:
    code = (EXAMPLES / "forty_lines.py").read_text(encoding="utf-8").rpartition('"""\n\n')[2]
    assert len(code.splitlines()) <= 40


@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_say_what_they_show_how_to_run_them_and_what_to_try(name: str) -> None:
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    assert text
    paragraphs = text.split("\n\n")
    assert paragraphs[0].endswith(".")
    run = "gunicorn -c" if name == "gunicorn_conf.py" else "python"
    assert paragraphs[1].startswith(f"Run: {run} examples/{name}")
    assert "\nTry: " in paragraphs[1]


def test_every_example_is_run_by_a_test() -> None:
    tests = Path(__file__).parent
    directories = (tests / "examples", tests / "browser", tests / "hosts")
    text = "\n".join(path.read_text() for directory in directories for path in directory.glob("*.py"))
    pages = {path.name for path in FILES if path.suffix == ".html"}
    assert [path.name for path in FILES if f'"{path.name}"' not in text and path.name not in pages] == []
    assert {Path(page).with_suffix(".py").name for page in pages} <= set(PROGRAMS)


def test_every_example_is_in_the_documentation() -> None:
    page = (EXAMPLES.parent / "docs" / "howto" / "examples.rst").read_text()
    programs = set(PROGRAMS) | {path.name for path in FILES if path.suffix in (".cfg", ".conf")}
    assert set(re.findall(r"^    \* - ``([\w.]+)``$", page, re.MULTILINE)) == programs


@pytest.mark.parametrize("name", [*SERVERS, *WITHOUT_CLOSE_FRAME])
def test_ctrl_c_ends_a_server_whose_clients_are_connected(name: str) -> None:
    path, module = SERVERS[name] if name in SERVERS else (WITHOUT_CLOSE_FRAME[name], "syncws")
    require_module(module)
    with started(name) as (process, line):
        found = re.search(r"(ws|http)://[^\s/]+/", line)
        assert found, line
        with syncws.connect(websocket_url(found.group(), path), subprotocols=["jsonrpc"]) as ws:
            # The server has taken note of the connection.
            assert ws.ping(timeout=DEADLINE) > 0
            interrupt(process)
            with pytest.raises(syncws.ConnectionClosed) as closed:
                while True:
                    ws.receive(timeout=DEADLINE)
        assert closed.value.code == (1001 if name in SERVERS else 1006)
