"""The same ideas within frameworks and on other servers: Flask, Bottle, Gunicorn, gevent, Prometheus."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import urllib.request

import pytest
from commands import DEADLINE
from example_programs import EXAMPLES, fetch, interrupt, receive_json, running, started, websocket_url
from support import require_module

import syncws


def test_bottle_ticker_ticks_as_fast_as_it_is_told() -> None:
    require_module("bottle")
    with running("bottle_ticker.py") as url:
        with urllib.request.urlopen(url, timeout=DEADLINE) as response:
            assert b"/ticker/" in response.read()
            assert "visitor=" in response.headers["Set-Cookie"]
        uri = websocket_url(url, "ticker/1")
        with syncws.connect(uri, headers={"Cookie": "visitor=ann"}) as ann:
            tick = receive_json(ann)
            assert re.fullmatch(r"\d\d:\d\d:\d\d", tick["time"])
            assert tick["people"] == 1
            with syncws.connect(uri) as bob:
                assert receive_json(bob)["people"] == 2
            with syncws.connect(uri, headers={"Cookie": "visitor=ann"}) as window:
                while receive_json(window)["people"] != 1:
                    pass  # bob is about to go
            ann.send("who is there?")
            while (people := receive_json(ann)["people"]) != 1:
                assert people == 2
            for _ in range(4):
                ann.send("faster")
                ann.receive(timeout=DEADLINE)


def test_prometheus_metrics_of_an_echo_server() -> None:
    require_module("prometheus_client")
    with started("prometheus_metrics.py", "0", "0") as (process, line):
        assert process.stdout is not None
        with syncws.connect(line.strip()) as ws:
            ws.send("hello")
            assert ws.receive(timeout=DEADLINE) == "hello"
            text = fetch(process.stdout.readline().strip())
            interrupt(process)
    assert "\nsyncws_connections_open 1.0\n" in text
    assert '\nsyncws_messages_total{direction="received"} 1.0\n' in text
    assert "\nprocess_open_fds" in text


def test_gevent_pywsgi_tells_the_time() -> None:
    require_module("gevent")
    with running("gevent_pywsgi.py") as url:
        assert "new WebSocket" in fetch(url)
        with syncws.connect(websocket_url(url, "time")) as ws:
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=DEADLINE)))
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=DEADLINE)))


def test_flask_chat_needs_a_name_and_tells_everybody_in_the_room() -> None:
    require_module("flask")
    with running("flask_chat.py") as url:
        chat = websocket_url(url, "rooms/")
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(chat + "lobby")
        assert refused.value.status == 401
        with contextlib.ExitStack() as stack:
            cookies, clients = {}, {}
            for name in ("ann", "bob"):
                with urllib.request.urlopen(url, f"name={name}".encode(), timeout=DEADLINE) as response:
                    cookies[name] = response.headers["Set-Cookie"].partition(";")[0]
                    assert b"/rooms/lobby" in response.read()
                ws = stack.enter_context(syncws.connect(chat + "lobby", headers={"Cookie": cookies[name]}))
                # The first answer tells that the handler has put it in the room.
                ws.send("hello")
                assert ws.receive(timeout=DEADLINE) == f"{name}: hello"
                clients[name] = ws
            assert clients["ann"].receive(timeout=DEADLINE) == "bob: hello"
            elsewhere = stack.enter_context(syncws.connect(chat + "kitchen", headers={"Cookie": cookies["ann"]}))
            elsewhere.send("anybody here?")
            assert elsewhere.receive(timeout=DEADLINE) == "ann: anybody here?"
            clients["bob"].send("bye")
            assert [ws.receive(timeout=DEADLINE) for ws in clients.values()] == ["bob: bye"] * 2


def test_flask_blueprint_wants_the_key() -> None:
    require_module("flask")
    with running("flask_blueprint.py") as url:
        prices = websocket_url(url, "stock/prices/EUR")
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(prices)
        assert refused.value.status == 401
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(prices + "?key=%C3%A9")
        assert refused.value.status == 401
        with syncws.connect(prices + "?key=secret", compression=True) as ws:
            assert ws.extensions
            for name in ("bolt", "nut"):
                ws.send(name)
                assert receive_json(ws) == {"name": name, "price": len(name), "currency": "EUR"}
            ws.send(b"nut")
            assert receive_json(ws)["name"] == "b'nut'"


def test_flask_dashboard_shows_the_work_that_it_is_given() -> None:
    require_module("flask")
    with running("flask_dashboard.py") as url:
        assert "<svg" in fetch(url)
        with syncws.connect(websocket_url(url, "load")) as ann, syncws.connect(websocket_url(url, "load")) as bob:
            point = receive_json(ann)
            assert point["threads"] >= 3, "one for each of us, and the server's"
            assert fetch(url + "work", b"") == "done\n"
            assert max(receive_json(bob)["percent"] for _ in range(5)) > 3
            ann.send("nonsense")
            with pytest.raises(syncws.ConnectionClosed, match="takes no messages") as closed:
                while True:
                    ann.receive(timeout=DEADLINE)
            assert closed.value.code == 1008
            receive_json(bob)


def test_gunicorn_configuration() -> None:
    require_module("gunicorn")
    settings = str(EXAMPLES / "gunicorn_conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", settings, "--bind", "127.0.0.1:0", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            address = None
            while not address:
                line = process.stderr.readline()
                assert line, "Gunicorn has ended"
                address = re.search(r"Listening at: http://(\S+)", line)
            with urllib.request.urlopen(f"http://{address[1]}/", timeout=DEADLINE) as response:
                assert b"/shout" in response.read()
            with syncws.connect(f"ws://{address[1]}/shout", compression=True) as ws:
                assert any("permessage-deflate" in extension for extension in ws.extensions)
                ws.send("quiet")
                assert ws.receive(timeout=DEADLINE) == "QUIET"
                process.terminate()
                with pytest.raises(syncws.ConnectionClosed) as closed:
                    ws.receive(timeout=DEADLINE)
                assert closed.value.code == 1001
            process.stderr.read()
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
