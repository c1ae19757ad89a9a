"""The last steps of a connection. What the peer sees of them is in ``test_connection.py``."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from peers import DEADLINE, sockets, start

from syncws.ending import Ending
from syncws.transport import transport_for
from syncws.writer import FrameWriter


class Ends:
    """A connection of which only the end is left."""

    def __init__(self, role: Literal["server", "client"] = "server", *, failed: bool = False, timeout: float) -> None:
        sock, self.peer = sockets()
        self.peer.settimeout(DEADLINE)
        self.transport: Any = transport_for(sock)
        self.writer = FrameWriter(
            self.transport,
            masked=role == "client",
            on_close_sent=lambda: None,
            on_cut_off=lambda reason: None,
            on_unsent=lambda: None,
        )
        self.ending = Ending(self.transport, self.writer, role, time.monotonic() + timeout, failed=failed)

    def close(self) -> None:
        self.peer.close()
        self.writer.close_transport()


@contextlib.contextmanager
def ends(role: Literal["server", "client"] = "server", *, failed: bool = False, timeout: float = 60) -> Iterator[Ends]:
    with contextlib.closing(Ends(role, failed=failed, timeout=timeout)) as each:
        yield each


@pytest.mark.parametrize(("role", "failed"), [("server", False), ("server", True), ("client", True)])
def test_what_is_due_goes_first_and_then_our_direction_ends(role: Any, failed: bool) -> None:
    with ends(role, failed=failed) as end:
        end.writer.post_close(b"")
        waiting = start(end.ending.wait)
        data = b"".join(iter(lambda: end.peer.recv(100), b""))
        assert len(data) == (2 if role == "server" else 6)
        end.peer.sendall(b"what was on its way")
        end.peer.shutdown(socket.SHUT_WR)
        waiting.result()


def test_a_client_lets_the_server_end_tcp_but_not_for_long() -> None:
    with ends("client") as end:
        waiting = start(end.ending.wait)
        waiting.result()  # after a second: the peer owes us only the end
        end.peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            end.peer.recv(1)


def test_the_deadline_holds_for_a_peer_that_goes_on_and_on() -> None:
    with ends(failed=True, timeout=0.2) as end:

        def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    end.peer.sendall(bytes(65536))

        flooding = start(flood)
        start(end.ending.wait).result()
        end.transport.abort()
        flooding.result()


def test_without_waiting_it_reads_no_more_than_a_share_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends() as end:
        end.peer.shutdown(socket.SHUT_WR)
        reads: list[float | None] = []

        def more(deadline: float | None) -> bytes:
            reads.append(deadline)
            return b"more"

        with monkeypatch.context() as patch:
            patch.setattr(end.transport, "recv", more)
            assert not end.ending.advance(), "there may be more to read"
        assert len(reads) < 100
        assert end.ending.advance()


def test_it_goes_on_where_it_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends("server") as end:
        shutdowns: list[None] = []
        with monkeypatch.context() as patch:

            def interrupt(deadline: float | None) -> bytes:
                raise KeyboardInterrupt

            patch.setattr(end.transport, "recv", interrupt)
            with pytest.raises(KeyboardInterrupt):
                end.ending.wait()
        monkeypatch.setattr(end.transport, "shutdown_write", lambda: shutdowns.append(None))
        end.peer.close()
        end.ending.wait()
        assert not shutdowns


def test_a_lost_connection_is_over() -> None:
    with ends() as end:
        end.peer.close()
        end.writer.post_close(b"")
        end.ending.wait()


def test_a_lost_connection_is_over_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends() as end:

        def lost(deadline: float | None) -> bytes:
            raise ConnectionResetError

        with monkeypatch.context() as patch:
            patch.setattr(end.transport, "recv", lost)
            assert end.ending.advance()


def test_without_waiting_the_deadline_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends(timeout=-1) as end:
        assert end.ending.advance(), "nothing comes, and the time is over"
    with ends() as end:
        with end.writer._lock:
            assert not end.ending.advance(), "somebody is writing"
        assert not end.ending.advance(), "nothing has come yet"
