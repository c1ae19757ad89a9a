"""What the server sends by itself, and what it sends to everybody: chat, ticker, fan-out, drawing board."""

from __future__ import annotations

import contextlib
import struct

import pytest
from commands import DEADLINE
from example_programs import fetch, receive_json, running, websocket_url
from support import require_module

import syncws


def texts(ws: syncws.WebSocket, count: int) -> list[str | bytes]:
    return [ws.receive(timeout=DEADLINE) for _ in range(count)]


def test_chat_rooms() -> None:
    with running("chat_rooms.py") as uri:
        with syncws.connect(uri + "kitchen?name=ann") as ann:
            assert texts(ann, 1) == ["ann is here"]
            with syncws.connect(uri + "kitchen?name=bob") as bob, syncws.connect(uri + "garden?x[=//%ff") as nobody:
                assert texts(nobody, 1) == ["somebody is here"]
                assert texts(ann, 1) == texts(bob, 1) == ["bob is here"]
                nobody.send("hello?")
                ann.send("dinner is ready")
                assert texts(ann, 1) == texts(bob, 1) == ["ann: dinner is ready"]
                assert texts(nobody, 1) == ["somebody: hello?"]
                bob.send(b"\x00")
                assert texts(bob, 1) == ["only text is understood here"]
            assert texts(ann, 1) == ["bob has left"]
        with syncws.connect(uri + "kitchen?name=eve") as eve:
            # The room is there again, and nobody else in it.
            assert texts(eve, 1) == ["eve is here"]


def test_etf_ticker_pushes_the_same_trades_to_everybody() -> None:
    with running("etf_ticker.py") as url:
        assert "/trades" in fetch(url)
        uri = websocket_url(url, "trades")
        with syncws.connect(uri) as ann:
            ann.send("nobody wants to hear this")
            receive_json(ann)
            with syncws.connect(uri) as bob:
                first = receive_json(bob)
                while receive_json(ann) != first:
                    pass
                trades = [receive_json(ann) for _ in range(5)]
                assert [receive_json(bob) for _ in range(5)] == trades
            for trade in trades:
                assert trade["fund"] in {"BONDS", "METALS", "WORLD"}
                assert trade["price"] > 0
                assert trade["volume"] > 0
            receive_json(ann)


def test_gevent_fan_out_to_many() -> None:
    require_module("gevent")
    with running("gevent_fan_out.py") as uri, contextlib.ExitStack() as stack:
        subscribers = [stack.enter_context(syncws.connect(uri + "news")) for _ in range(100)]
        other = stack.enter_context(syncws.connect(uri + "weather"))
        for ws in [*subscribers, other]:
            ws.send("am I there?")
            assert ws.receive(timeout=DEADLINE) == f"to publish something, connect to /publish{ws.path}"
        publisher = stack.enter_context(syncws.connect(uri + "publish/news"))
        for message in ["hello", b"\x00\xff"]:
            publisher.send(message)
            assert publisher.receive(timeout=DEADLINE) == "100 got it"
            assert [ws.receive(timeout=DEADLINE) for ws in subscribers] == [message] * 100
        for ws in subscribers[1:]:
            ws.close()
        publisher.send("who is left?")
        assert publisher.receive(timeout=DEADLINE) == "1 got it"
        assert subscribers[0].receive(timeout=DEADLINE) == "who is left?"
        with syncws.connect(uri + "publish/nothing") as ws:
            ws.send("anybody?")
            assert ws.receive(timeout=DEADLINE) == "0 got it"
        with pytest.raises(TimeoutError):
            other.receive(timeout=0)


STROKE = struct.pack("!HHHHBBBB", 10, 20, 300, 400, 5, 255, 0, 128)


def test_drawing_board_is_shared_and_kept() -> None:
    with running("drawing_board.py") as url:
        assert "<canvas" in fetch(url)
        uri = websocket_url(url, "draw")
        with syncws.connect(uri) as ann, syncws.connect(uri) as bob:
            assert texts(ann, 1) == texts(bob, 1) == [b""]
            ann.send(STROKE)
            bob.send(STROKE * 2)
            assert sorted(texts(ann, 2)) == sorted(texts(bob, 2)) == [STROKE, STROKE * 2]
            with syncws.connect(uri) as late:
                assert texts(late, 1) == [STROKE * 3]
            ann.send("clear")
            assert texts(ann, 1) == texts(bob, 1) == ["clear"]
        with syncws.connect(uri) as late:
            assert texts(late, 1) == [b""]


@pytest.mark.parametrize(
    "bad, code",
    [(STROKE[:-1], 1008), ("nonsense", 1008), (STROKE[:8] + b"\x00" + STROKE[9:], 1008), (STROKE * 101, 1009)],
)
def test_drawing_board_refuses_what_is_no_drawing(bad: str | bytes, code: int) -> None:
    with running("drawing_board.py") as url:
        uri = websocket_url(url, "draw")
        with syncws.connect(uri) as ann, syncws.connect(uri) as bob:
            bob.send(bad)
            assert texts(bob, 1) == [b""]
            with pytest.raises(syncws.ConnectionClosed) as closed:
                bob.receive(timeout=DEADLINE)
            assert closed.value.code == code
            ann.send(STROKE)
            assert texts(ann, 2) == [b"", STROKE]
