"""The npm package ``ws``: client and server, in a Node.js process that ``ws_peer.cjs`` makes follow orders.

An order is a line of JSON on its standard input; it writes answers and events as lines of JSON. The package is looked
for as Node.js does: in ``node_modules`` beside this file or above it, and in the directories that ``NODE_PATH`` lists.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import queue
import shutil
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from interop.peers import ForeignServer, Library, Peer, Refusal
from support import require_tool
from wire import DEADLINE

__all__ = ["Ws"]

_SCRIPT = Path(__file__).with_name("ws_peer.cjs")
_CAMEL = {
    "server_no_context_takeover": "serverNoContextTakeover",
    "client_no_context_takeover": "clientNoContextTakeover",
    "server_max_window_bits": "serverMaxWindowBits",
    "client_max_window_bits": "clientMaxWindowBits",
    "threshold": "threshold",
}


class _Node:
    """The process."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(
            [command, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._answers: dict[int, Future[Any]] = {}
        self.events: defaultdict[str, queue.SimpleQueue[dict[str, Any]]] = defaultdict(queue.SimpleQueue)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def order(self, order: str, **arguments: Any) -> Any:
        """Have something done; return the result."""
        assert self._process.stdin is not None
        answer: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._answers[number] = answer
            self._process.stdin.write(json.dumps({"number": number, "order": order, **arguments}) + "\n")
            self._process.stdin.flush()
        return answer.result(DEADLINE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            item = json.loads(line)
            if "number" not in item:
                self.events[item["source"]].put(item)
            elif "error" in item:
                self._answers.pop(item["number"]).set_exception(AssertionError(item["error"]))
            else:
                self._answers.pop(item["number"]).set_result(item["result"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(DEADLINE) == 0
        self._thread.join(DEADLINE)
        self._process.stdout.close()


class _Peer(Peer):
    def __init__(self, node: _Node, opened: dict[str, Any]) -> None:
        self._node = node
        self._name = opened["name"]
        self._events = node.events[self._name]
        self._end: tuple[int, str] | None = None
        self._pongs: list[bytes] = []
        self.subprotocol = opened["subprotocol"] or None
        self.headers = _flat(opened["headers"])
        self.extensions = opened["extensions"]

    def _order(self, order: str, **arguments: Any) -> None:
        self._node.order(order, name=self._name, **arguments)

    def send(self, data: str | bytes) -> None:
        self._order("send", **_packed(data))

    def send_fragments(self, pieces: Sequence[str | bytes]) -> None:
        for number, piece in enumerate(pieces):
            self._order("send", fin=number == len(pieces) - 1, **_packed(piece))

    def receive(self) -> str | bytes:
        while self._end is None:
            message = self._receive()
            if message is not None:
                return message
        raise EOFError

    def _receive(self) -> str | bytes | None:
        event = self._events.get(timeout=DEADLINE)
        if event["event"] == "message":
            return event["text"] if "text" in event else base64.b64decode(event["binary"])
        if event["event"] == "pong":
            self._pongs.append(base64.b64decode(event["binary"]))
        else:
            self._end = (event["code"], event["reason"])
        return None

    def ping(self, data: bytes) -> bytes:
        self._order("ping", **_packed(data))
        while not self._pongs and self._end is None:
            self._receive()
        return self._pongs.pop(0)

    def close(self, code: int | None = None, reason: str = "") -> None:
        self._order("close", code=code, reason=reason)
        self.ended()

    def ended(self) -> tuple[int, str]:
        while self._end is None:
            self._receive()
        return self._end

    def dispose(self) -> None:
        self._order("terminate")


class Ws(Library):
    def __init__(self) -> None:
        command = shutil.which("node")
        require_tool("node, which runs JavaScript", command)
        assert command is not None
        search = [command, "-e", "require.resolve('ws')"]
        found = subprocess.run(search, cwd=_SCRIPT.parent, stderr=subprocess.DEVNULL, timeout=DEADLINE).returncode == 0
        require_tool("the npm package ws (npm install --no-save --prefix tests/interop ws@8)", found)
        self._node = _Node(command)
        self._names = (f"client {number}" for number in itertools.count())

    def close(self) -> None:
        self._node.close()

    def client(
        self,
        uri: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        deflate: dict[str, Any] | None = None,
        max_size: int | None = None,
        tls: Any = None,
        unix: str | None = None,
    ) -> Peer:
        opened = self._node.order(
            "connect",
            name=next(self._names),
            uri=uri if unix is None else f"ws+unix://{unix}:/",
            subprotocols=list(subprotocols),
            headers=dict(headers),
            deflate=_camel(deflate),
            max_size=max_size or 0,
            authority=tls and tls.authority_file,
        )
        assert "status" not in opened, opened
        return _Peer(self._node, opened)

    def refused(self, uri: str, headers: Sequence[tuple[str, str]] = ()) -> Refusal:
        answer = self._node.order(
            "connect", name=next(self._names), uri=uri, subprotocols=[], headers=dict(headers), deflate=False
        )
        return Refusal(answer["status"], _flat(answer["headers"]), base64.b64decode(answer["binary"]))

    @contextlib.contextmanager
    def server(
        self,
        host: str = "127.0.0.1",
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        deflate: dict[str, Any] | None = None,
        max_size: int | None = None,
        tls: Any = None,
        unix: str | None = None,
    ) -> Iterator[ForeignServer]:
        server = self._node.order(
            "listen",
            where={"path": unix} if unix else {"host": host, "port": 0},
            subprotocols=list(subprotocols),
            headers=list(headers),
            deflate=_camel(deflate),
            max_size=max_size or 0,
            certificate=tls and tls.certificate_file,
        )

        def accepted() -> Peer:
            return _Peer(self._node, self._node.events[server["name"]].get(timeout=DEADLINE))

        try:
            yield ForeignServer(server["port"], accepted)
        finally:
            self._node.order("stop", name=server["name"])


def _camel(deflate: dict[str, Any] | None) -> dict[str, Any] | bool:
    if not deflate:
        return deflate is not None
    return {_CAMEL[name]: value for name, value in deflate.items()}


def _flat(headers: dict[str, str | list[str]]) -> dict[str, str]:
    """Node.js has a list for ``Set-Cookie``."""
    return {name: value if isinstance(value, str) else ", ".join(value) for name, value in headers.items()}


def _packed(data: str | bytes) -> dict[str, str]:
    return {"text": data} if isinstance(data, str) else {"binary": base64.b64encode(data).decode()}
