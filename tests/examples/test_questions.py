"""What answers a message with a message: bot, JSON-RPC, terminal, progress bar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from commands import DEADLINE
from example_programs import fetch, receive_json, running, websocket_url
from support import require_module

import syncws

# What no JSON parser takes, or what is no object.
NONSENSE = ["", "{", "[]", "null", "3", '"Join"', "[" * 4000, b"\xff\xfe", '{"type": []}', '{"type": {}}']


def test_question_bot_understands_typed_messages() -> None:
    require_module("bottle")

    def ask(ws: syncws.WebSocket, **fields: Any) -> str:
        ws.send(json.dumps(fields))
        reply = receive_json(ws)
        assert reply.pop("type") == "Answer"
        assert list(reply) == ["text"]
        return str(reply["text"])

    with running("question_bot.py") as url:
        assert "/bot" in fetch(url)
        uri = websocket_url(url, "bot")
        with syncws.connect(uri) as ann, syncws.connect(uri) as bob:
            assert ask(ann, type="Ask", question="Who am I?") == "You are a stranger."
            assert ask(ann, type="Join", name="ann") == "Hello, ann."
            assert ask(bob, type="Join", name="bob \ud800") == "Hello, bob \ud800."
            assert ask(ann, type="Ask", question="Who am I?") == "You are ann."
            assert ask(ann, type="Ask", question="what is 6 * 7?") == "It is 42."
            assert re.fullmatch(r"It is \d\d:\d\d\.", ask(ann, type="Ask", question="What time is it?"))
            assert ask(ann, type="Ask", question="Why?").startswith("I do not know.")
            for fields in [{"type": "Leave"}, {"type": "Ask"}, {"type": "Ask", "name": "x"}, {"name": "x"}]:
                assert ask(ann, **fields).startswith("Send me ")
            for nonsense in NONSENSE:
                ann.send(nonsense)
                assert receive_json(ann)["text"].startswith("Send me ")
            assert ask(bob, type="Ask", question="who am i").startswith("You are bob")


@pytest.fixture(scope="module")
def rpc() -> Iterator[str]:
    with running("json_rpc.py") as uri:
        yield uri


def request(method: Any = "factorial", **fields: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **fields}


def result(value: Any, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": id}


def failure(code: int, id: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code}, "id": id}


def without_texts(response: Any) -> Any:
    """The response without what its errors say to a person."""
    for each in response if isinstance(response, list) else [response]:
        if "error" in each:
            assert each["error"].pop("message")
    return response


@pytest.mark.parametrize(
    "sent, expected",
    [
        (request(params=[5], id=1), result(120)),
        (request(params={"n": 5}, id="a"), result(120, "a")),
        (request(params=[0], id=None), result(1, None)),
        (request("nothing", id=1), failure(-32601, 1)),
        (request(id=1), failure(-32602, 1)),
        (request(params=[1, 2], id=1), failure(-32602, 1)),
        (request(params={"m": 1}, id=1), failure(-32602, 1)),
        (request(params=["x"], id=1), failure(-32602, 1)),
        (request(params=[-1], id=1), failure(-32602, 1)),
        (request("now", params={"self": 1}, id=1), failure(-32602, 1)),
        (request(params=3, id=1), failure(-32600)),
        (request(1, id=1), failure(-32600)),
        (request(id=[1]), failure(-32600)),
        ({"method": "now", "id": 1}, failure(-32600)),
        ([], failure(-32600)),
        (3, failure(-32600)),
        ([1, request(params=[3], id=7), request(params=[3])], [failure(-32600), result(6, 7)]),
    ],
)
def test_json_rpc(rpc: str, sent: Any, expected: Any) -> None:
    with syncws.connect(rpc, subprotocols=["jsonrpc"]) as ws:
        assert ws.subprotocol == "jsonrpc"
        ws.send(json.dumps(sent))
        assert without_texts(receive_json(ws)) == expected


@pytest.mark.parametrize("sent", ["", "{", "[" * 50_000, b"\xff\xfe", '{"jsonrpc": "2.0", "method"'])
def test_json_rpc_of_what_is_no_json(rpc: str, sent: str | bytes) -> None:
    with syncws.connect(rpc, subprotocols=["jsonrpc"]) as ws:
        ws.send(sent)
        assert receive_json(ws) == {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None}


def test_json_rpc_does_not_answer_notifications(rpc: str) -> None:
    with syncws.connect(rpc, subprotocols=["jsonrpc"]) as ws, syncws.connect(rpc, subprotocols=["jsonrpc"]) as other:
        for notification in [request(params=[3]), request("nothing"), [request("now"), request("now")]]:
            ws.send(json.dumps(notification))
        ws.send(json.dumps(request(params=[4], id=1)))
        other.send(json.dumps(request("now", id=2)))
        assert receive_json(ws) == result(24)
        assert receive_json(other)["id"] == 2


def test_json_rpc_keeps_its_own_failures_to_itself() -> None:
    with running("json_rpc.py", failures=1) as uri, syncws.connect(uri, subprotocols=["jsonrpc"]) as ws:
        ws.send(json.dumps(request("broken", id=1)))
        assert receive_json(ws)["error"] == {"code": -32603, "message": "Internal error"}
        ws.send(json.dumps(request(params=[3], id=2)))
        assert receive_json(ws) == result(6, 2)


def test_json_rpc_wants_the_subprotocol(rpc: str) -> None:
    with syncws.connect(rpc) as ws, pytest.raises(syncws.ConnectionClosed, match="jsonrpc") as closed:
        ws.receive(timeout=DEADLINE)
    assert closed.value.code == 1008


def test_bottle_terminal_runs_what_is_on_its_list() -> None:
    require_module("bottle")
    with running("bottle_terminal.py") as url:
        assert "/terminal" in fetch(url)
        uri = websocket_url(url, "terminal")
        with syncws.connect(uri) as ws, syncws.connect(uri) as other:
            ws.send("count")
            assert [ws.receive(timeout=DEADLINE) for _ in range(5)] == [f"{number}\n" for number in range(1, 6)]
            for line in ["rm -rf /", "date; date", "help", "../date"]:
                other.send(line)
                assert (
                    other.receive(timeout=DEADLINE)
                    == f"The commands are count, date, disk, system; {line!r} is none of them.\n"
                )
            other.send(b"\xff")
            assert "is none of them" in str(other.receive(timeout=DEADLINE))
            other.send("   ")
            other.send(" system ")
            assert other.receive(timeout=DEADLINE)
        with syncws.connect(uri) as gone:
            gone.send("count")
            assert gone.receive(timeout=DEADLINE) == "1\n"
        with syncws.connect(uri) as ws:
            ws.send("x" * 101)
            with pytest.raises(syncws.ConnectionClosed) as closed:
                ws.receive(timeout=DEADLINE)
            assert closed.value.code == 1009


def test_progress_bar_goes_to_the_end() -> None:
    with running("progress_bar.py") as url:
        assert "<progress" in fetch(url)
        with syncws.connect(websocket_url(url, "count")) as ws:
            for below, primes in [(1000, 168), (0, 0), (3, 1)]:
                ws.send(f"{below}")
                assert [receive_json(ws)["percent"] for _ in range(100)] == list(range(1, 101))
                assert receive_json(ws) == {"primes": primes, "end": f"below {below}"}
            ws.send("cancel")
            for nonsense in ["many", "", "-1", "1.5", "²", "10000001", b"7"]:
                ws.send(nonsense)
                assert list(receive_json(ws)) == ["error"]


def test_progress_bar_can_be_cancelled_while_another_goes_on() -> None:
    with running("progress_bar.py") as url:
        uri = websocket_url(url, "count")
        with syncws.connect(uri) as ann, syncws.connect(uri) as bob:
            ann.send("10000000")
            bob.send("5000")
            assert receive_json(ann)["percent"] == 1
            ann.send("cancel")
            while "percent" in (news := receive_json(ann)):
                pass
            assert news["end"] == "when it was cancelled"
            while "percent" in (news := receive_json(bob)):
                pass
            assert news == {"primes": 669, "end": "below 5000"}
