"""WebSockets of Flask's do not use up the thread pool of Gunicorn's gthread worker."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from hosts.clients import connect, opened
from hosts.runners import DEADLINE, HOSTS, serving
from peers import start
from raw_client import CLOSE, TEXT, WS_FIELDS, request

WEBSOCKETS = 300
REQUESTS = 1000
THREADS = 4

GTHREAD = next(host for host in HOSTS if host.name == "gunicorn-gthread")
SMALL_POOL = replace(GTHREAD, command=GTHREAD.command.replace("--threads 8", f"--threads {THREADS}"))


def test_plain_requests_are_answered_while_many_websockets_are_open(tmp_path: Path) -> None:
    with serving(SMALL_POOL, tmp_path) as served, contextlib.ExitStack() as stack:
        url = "http://{}:{}/flask/enter".format(*served.address)
        open_ones = [stack.enter_context(connect(served, f"/flask/chat/{n}")) for n in range(WEBSOCKETS)]
        for number, ws in enumerate(open_ones):
            assert json.loads(ws.receive())["room"] == str(number)

        def ask(count: int) -> list[str]:
            with requests.Session() as session:
                session.trust_env = False  # no proxy
                return [session.get(url, timeout=DEADLINE).text for _ in range(count)]

        with ThreadPoolExecutor(THREADS) as pool:
            answers = [answer for part in pool.map(ask, [REQUESTS // THREADS] * THREADS) for answer in part]
        assert answers == ["welcome"] * REQUESTS
        assert served.get("/running") == str(WEBSOCKETS)
        for number, ws in enumerate(open_ones):
            ws.send(f"message {number}")
        for number, ws in enumerate(open_ones):
            assert ws.receive() == f"message {number}"
    assert served.unexpected() == ""


def test_a_handler_that_does_not_return_is_dropped_after_the_graceful_timeout(tmp_path: Path) -> None:
    # A moment less than two seconds, and then the process ends by itself.
    brief = replace(SMALL_POOL, command=f"{SMALL_POOL.command} --graceful-timeout 2")
    with serving(brief, tmp_path) as served, opened(served, "/flask/stuck") as client:
        for opcode, beginning in (TEXT, b"ready"), (CLOSE, b"\x03\xe9"):
            message = client.read_frame()
            assert message is not None
            assert (message.opcode, message.payload[: len(beginning)]) == (opcode, beginning)
            if opcode == TEXT:
                stopping = start(served.stop)
        assert stopping.result() == 0
        assert "dropping 1 WebSockets" in served.unexpected()


@pytest.mark.parametrize("path", ["/flask/chat/room", "/bottle/chat/room"])
def test_a_full_worker_refuses_websockets_and_lives_on(path: str, tmp_path: Path) -> None:
    few = replace(SMALL_POOL, command=f"{SMALL_POOL.command} --worker-connections 10")
    with serving(few, tmp_path) as served, contextlib.ExitStack() as stack:

        def status() -> int:
            with served.connect() as client:
                client.send(request(*WS_FIELDS, "X-User: me", line=f"GET {path} HTTP/1.1"))
                return client.read_response().status

        for _ in range(9):
            stack.enter_context(connect(served, path, headers={"X-User": "me"})).receive()
        with connect(served, path, headers={"X-User": "me"}) as ws:
            ws.receive()
            assert [status() for _ in range(20)] == [503] * 20
            assert served.get("/running") == "10"
        served.poll(lambda: status() == 101)
        assert "refusing WebSockets with 503" in served.take_entries("worker_connections")
