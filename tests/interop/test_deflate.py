"""permessage-deflate (RFC 7692) between syncws and libraries that others wrote, over TCP, in both roles."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from interop.cases import DEFLATING, FRAGMENTING, OUR_CLIENT, OUR_SERVERS, SERVERS
from interop.peers import Library, Peer, connected
from wire import DEADLINE, Running

import syncws
from syncws import Deflate

OURS = {
    "default": Deflate(),
    "no-takeover": Deflate(context_takeover=False, threshold=0),
    "small-window": Deflate(max_window_bits=9, mem_level=1, threshold=0),
    "large-window": Deflate(max_window_bits=15, mem_level=9, level=9, threshold=0),
    "high-threshold": Deflate(threshold=5000),
}
NO_TAKEOVER = {"server_no_context_takeover": True, "client_no_context_takeover": True}
SMALL_WINDOWS = {"server_max_window_bits": 9, "client_max_window_bits": 9}
LARGE_WINDOWS = {"server_max_window_bits": 15, "client_max_window_bits": 15}
# What each library can be told; aiohttp knows only the window of its client.
THEIRS: dict[str, dict[str, dict[str, Any]]] = {
    "websockets": {
        "default": {},
        "no-takeover": NO_TAKEOVER,
        "small-windows": SMALL_WINDOWS,
        "large-windows": LARGE_WINDOWS,
        "mixed": {"server_no_context_takeover": True, "client_max_window_bits": 10},
    },
    "aiohttp": {"default": {}, "small-window": {"client_max_window_bits": 9}},
    "ws": {
        "default": {},
        "no-takeover": {**NO_TAKEOVER, "threshold": 0},
        "small-windows": {**SMALL_WINDOWS, "threshold": 0},
        "large-windows": {**LARGE_WINDOWS, "threshold": 0},
        "mixed": {"client_no_context_takeover": True, "server_max_window_bits": 10},
    },
}
CASES = [
    pytest.param(library, role, ours, theirs, id=f"{library}-{role}-{ours}-{name}")
    for library in DEFLATING
    for role in (OUR_SERVERS[0], OUR_CLIENT)
    for ours in OURS
    for name, theirs in THEIRS[library].items()
    if role != OUR_CLIENT or library in SERVERS
]


def messages() -> list[str | bytes]:
    """Repetitive and random ones, short and longer than every window, so that later ones refer to earlier ones."""
    generator = random.Random(7692)
    record = json.dumps({"type": "message", "user": "jürgen", "text": "再见, hello hello hello 👋", "id": 17})
    noise = generator.randbytes(100_000)
    return [
        record,
        record,
        "",
        b"",
        "x",
        record * 20,
        noise,
        noise[-5000:],
        b"\0" * 200_000,
        record,
        "語" * 70_000,
    ]


def exchange(ws: syncws.WebSocket, peer: Peer, fragments: bool) -> None:
    for message in messages():
        with Running(peer.receive) as reading:
            ws.send(message)
            assert reading.result() == message
        with Running(lambda message=message: peer.send(message)):  # type: ignore[misc]
            assert ws.receive(DEADLINE) == message
        pieces: Any = [message[:10], message[10:10], message[10:]]
        with Running(peer.receive) as reading:
            ws.send_fragments(pieces)
            assert reading.result() == message
        if fragments:
            with Running(lambda pieces=pieces: peer.send_fragments(pieces)):  # type: ignore[misc]
                assert ws.receive(DEADLINE) == message


@pytest.mark.parametrize(("library", "role", "ours", "theirs"), CASES, indirect=["library"])
def test_messages_survive_compression(
    library: Library, role: str, ours: str, theirs: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    with connected(library, role, ours={"compression": OURS[ours]}, theirs={"deflate": theirs}) as (ws, peer):
        (agreed,) = ws.extensions
        assert agreed.split(";")[0] == "permessage-deflate"
        assert peer.extensions.replace(" ", "") == agreed.replace(" ", "")
        # In both roles it is the server's context that we can insist on. (Only ws, when set to the largest window,
        # declines our first offer for its smaller one, and takes the second, which asks for nothing.)
        if ours == "no-takeover" and theirs.get("server_max_window_bits") != 15:
            assert "server_no_context_takeover" in agreed
        exchange(ws, peer, request.node.callspec.id.partition("-")[0] in FRAGMENTING)
        with Running(peer.ended) as ending:
            ws.close(1000, "compressed")
            assert ending.result() == (1000, "compressed")


@pytest.mark.parametrize(
    ("library", "role", "ours", "theirs"),
    [
        pytest.param(library, role, ours, theirs, id=f"{library}-{role}-{'we' if ours is None else 'they'}-decline")
        for library in DEFLATING
        for role in (OUR_SERVERS[0], OUR_CLIENT)
        for ours, theirs in ((None, {}), (True, None))
    ],
    indirect=["library"],
)
def test_one_side_does_not_want_compression(
    library: Library, role: str, ours: bool | None, theirs: dict[str, Any] | None
) -> None:
    with connected(library, role, ours={"compression": ours}, theirs={"deflate": theirs}) as (ws, peer):
        assert ws.extensions == ()
        assert peer.extensions == ""
        ws.send("plain " * 100)
        assert peer.receive() == "plain " * 100
        peer.send("plain " * 100)
        assert ws.receive(DEADLINE) == "plain " * 100


@pytest.mark.parametrize("library", DEFLATING, indirect=True)
@pytest.mark.parametrize("role", [OUR_SERVERS[0], OUR_CLIENT])
def test_bomb_is_over_our_limit(library: Library, role: str) -> None:
    options = {"compression": True, "max_message_size": 10_000}
    with connected(library, role, ours=options, theirs={"deflate": {}}) as (ws, peer):
        peer.send(b"\0" * 10_000)
        assert ws.receive(DEADLINE) == b"\0" * 10_000
        peer.send(b"\0" * 1_000_000)
        with Running(peer.ended) as ending:
            with pytest.raises(syncws.ConnectionClosed) as caught:
                ws.receive(DEADLINE)
            assert ending.result()[0] == 1009
        cause = caught.value.__cause__
        assert isinstance(cause, syncws.MessageTooBig)
        assert cause.size == 10_001
