"""send() step by step; most of it is in test_websocket.py, test_backlog.py and test_hot.py."""

from __future__ import annotations

import pytest
from peers import DEADLINE, RawFrame, raw_pair, start

from syncws.errors import ConnectionClosed
from syncws.hot import LONGEST_STRETCH, Stretch
from syncws.protocol.codes import BINARY
from syncws.writer import FrameWriter


def test_who_sends_step_by_step_lets_others_run_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_pair() as (ws, peer):
        pauses = []
        ws._stretch = Stretch()
        monkeypatch.setattr(ws._transport, "pause", lambda: pauses.append(ws._stretch.count))  # type: ignore[union-attr]
        for _ in range(LONGEST_STRETCH + 1):
            ws.send(b"x", timeout=DEADLINE)
            assert peer.read_frame() == RawFrame(BINARY, b"x")
        assert pauses == [LONGEST_STRETCH + 1]


def test_a_message_that_cannot_be_queued_because_a_write_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_pair(ping_interval=None) as (ws, _):
        monkeypatch.setattr(FrameWriter, "queue", lambda *_: False)
        with ws._writer._lock, pytest.raises(ConnectionClosed, match="a write failed"):
            ws.send("late", wait=False)


def test_a_rest_that_cannot_be_sent_in_time() -> None:
    with raw_pair(buffer=4096, send_timeout=0.05) as (ws, _):
        task = start(ws.send, b"x" * 1_000_000)
        with pytest.raises(TimeoutError, match=r"the peer has not read for 0\.05 s"):
            task.result()
