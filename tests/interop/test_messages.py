"""Messages, pings and closes, between syncws and libraries that others wrote, over TCP, in both roles."""

from __future__ import annotations

import contextlib
import functools
import threading

import pytest
from interop.cases import FRAGMENTING, LIMITING, SENDING_NO_CODE, cases
from interop.peers import Library, connected
from wire import DEADLINE, Running

import syncws

MIB = 2**20
SHORT = [
    "",
    b"",
    "hello",
    "日本語のテキスト, 한국어, 汉字, ❤️, 👩‍👩‍👧‍👦, \0, \u2028, \U0010ffff",
    bytes(range(256)),
    "x" * 125,
    "x" * 126,
    b"x" * 65535,
    b"x" * 65536,
]
CLOSES = [(1000, ""), (1001, "going"), (1011, ""), (3000, "再見 👋"), (4999, "x" * 123)]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(["語" * (MIB // 3)], id="1MiB-text"),
        pytest.param([bytes(range(256)) * (MIB // 256)], id="1MiB-binary"),
    ],
)
@cases()
def test_messages_arrive_in_both_directions(library: Library, role: str, messages: list[str | bytes]) -> None:
    with connected(library, role) as (ours, theirs):
        for message in messages:
            with Running(functools.partial(theirs.send, message)):
                assert ours.receive(DEADLINE) == message
            with Running(theirs.receive) as reading:
                ours.send(message)
                assert reading.result() == message


@cases()
def test_many_messages_keep_their_order(library: Library, role: str) -> None:
    messages = [f"message {number} " + "x" * number for number in range(300)]
    with connected(library, role) as (ours, theirs):
        with Running(lambda: [theirs.send(message) for message in messages]):
            assert [ours.receive(DEADLINE) for _ in messages] == messages
        with Running(lambda: [ours.send(message) for message in messages]):
            assert [theirs.receive() for _ in messages] == messages


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(["one ", "two ", "three"], id="text"),
        pytest.param([b"\xff", b"", b"\x00" * 70000], id="binary"),
        pytest.param(["", "", ""], id="empty"),
        pytest.param(["日本", "語のテ", "キスト"], id="unicode"),
        pytest.param(["single"], id="single"),
    ],
)
@cases()
def test_our_fragments(library: Library, role: str, pieces: list[str] | list[bytes]) -> None:
    whole = pieces[0][:0].join(pieces)  # type: ignore[arg-type]
    with connected(library, role) as (ours, theirs):
        ours.send_fragments(pieces)
        ours.send("next")
        assert [theirs.receive(), theirs.receive()] == [whole, "next"]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(["one ", "two ", "three"], id="text"),
        pytest.param([b"\xff", b"", b"\x00" * 70000], id="binary"),
        pytest.param(["", "", ""], id="empty"),
        pytest.param(["日本", "語のテ", "キスト"], id="unicode"),
    ],
)
@cases(FRAGMENTING)
def test_their_fragments(library: Library, role: str, pieces: list[str] | list[bytes]) -> None:
    whole = pieces[0][:0].join(pieces)  # type: ignore[arg-type]
    with connected(library, role) as (ours, theirs):
        theirs.send_fragments(pieces)
        theirs.send_fragments(pieces)
        theirs.send("next")
        assert ours.receive(DEADLINE) == whole
        assert whole[:0].join(ours.receive_stream(DEADLINE)) == whole  # type: ignore[arg-type]
        assert ours.receive(DEADLINE) == "next"


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(125))], ids=["empty", "short", "125"])
@cases()
def test_our_ping(library: Library, role: str, data: bytes) -> None:
    with connected(library, role) as (ours, theirs):
        with Running(theirs.receive) as reading:
            assert 0 < ours.ping(data, timeout=DEADLINE) < DEADLINE
            ours.send("done")
            assert reading.result() == "done"


@pytest.mark.parametrize("data", [b"\x00", b"hello", bytes(range(125))], ids=["one", "short", "125"])
@cases()
def test_their_ping(library: Library, role: str, data: bytes) -> None:
    with connected(library, role) as (ours, theirs):
        with Running(lambda: ours.receive(DEADLINE)) as reading:
            assert theirs.ping(data) == data
            theirs.send("done")
            assert reading.result() == "done"


@pytest.mark.parametrize(("code", "reason"), CLOSES, ids=[str(code) for code, _ in CLOSES])
@cases()
def test_we_close(library: Library, role: str, code: int, reason: str) -> None:
    with connected(library, role) as (ours, theirs):
        with Running(theirs.ended) as ending:
            ours.close(code, reason)
            assert ending.result() == (code, reason)
        assert ours.closed
        assert (ours.close_code, ours.close_reason, ours.state) == (code, reason, syncws.State.CLOSED)
        with pytest.raises(syncws.ConnectionClosed) as caught:
            ours.send("too late")
        assert (caught.value.code, caught.value.initiator) == (code, "local")


@pytest.mark.parametrize(("code", "reason"), CLOSES, ids=[str(code) for code, _ in CLOSES])
@cases()
def test_they_close(library: Library, role: str, code: int, reason: str) -> None:
    with connected(library, role) as (ours, theirs):
        with Running(lambda: theirs.close(code, reason)):
            with pytest.raises(syncws.ConnectionClosed) as caught:
                ours.receive(DEADLINE)
        assert (caught.value.code, caught.value.reason, caught.value.initiator) == (code, reason, "remote")
        assert ours.state is syncws.State.CLOSED
        # The close frame that answers theirs repeats code and reason.
        assert theirs.ended() == (code, reason if theirs.shows_reason_of_answer else "")


@cases(SENDING_NO_CODE)
def test_they_close_without_a_code(library: Library, role: str) -> None:
    with connected(library, role) as (ours, theirs):
        with Running(lambda: theirs.close()):
            assert list(ours) == []
        assert (ours.close_code, ours.close_reason) == (1005, "")
        assert theirs.ended() == (1005, "")


@cases()
def test_both_close(library: Library, role: str) -> None:
    with connected(library, role) as (ours, theirs):
        both = threading.Barrier(2)

        def close() -> None:
            both.wait(DEADLINE)
            theirs.close(4001)

        with Running(close):
            both.wait(DEADLINE)
            ours.close(4002)
        assert ours.close_code in (4001, 4002)
        assert ours.state is syncws.State.CLOSED
        assert theirs.ended()[0] in (4001, 4002)


@cases()
def test_what_they_sent_before_their_close_arrives(library: Library, role: str) -> None:
    messages = [bytes([number]) * 65536 for number in range(50)]
    with connected(library, role) as (ours, theirs):

        def send_and_close() -> None:
            for message in messages:
                theirs.send(message)
            theirs.close(4000)

        with Running(send_and_close):
            with pytest.raises(syncws.ConnectionClosed) as caught:
                for message in messages:
                    assert ours.receive(DEADLINE) == message
                ours.receive(DEADLINE)
        assert caught.value.code == 4000


@cases()
def test_what_we_sent_before_our_close_arrives(library: Library, role: str) -> None:
    messages = [bytes([number]) * 65536 for number in range(50)]
    with connected(library, role) as (ours, theirs):

        def send_and_close() -> None:
            for message in messages:
                ours.send(message)
            ours.close(4000, "all sent")

        with Running(send_and_close):
            assert [theirs.receive() for _ in messages] == messages
            assert theirs.ended() == (4000, "all sent")


@cases()
def test_we_close_while_they_send(library: Library, role: str) -> None:
    with connected(library, role) as (ours, theirs):

        def send_and_read() -> tuple[int, str]:
            # Every library has its own exception for a connection that has been closed.
            with contextlib.suppress(Exception):
                for _ in range(200):
                    theirs.send(b"x" * 65536)
            return theirs.ended()

        with Running(send_and_read) as sending:
            assert len(ours.receive(DEADLINE)) == 65536
            ours.close(4003, "enough")
            assert sending.result() == (4003, "enough")
        assert ours.close_code == 4003


@cases()
def test_they_close_while_we_send(library: Library, role: str) -> None:
    with connected(library, role) as (ours, theirs):

        def send() -> int:
            with pytest.raises(syncws.ConnectionClosed) as caught:
                while True:
                    ours.send(b"x" * 65536)
            return caught.value.code

        with Running(send) as sending:
            assert theirs.receive() == b"x" * 65536
            with Running(lambda: theirs.close(4004)):
                with pytest.raises(syncws.ConnectionClosed):
                    ours.receive(DEADLINE)
            assert sending.result() == 4004


@pytest.mark.parametrize("message", ["語" * 334, b"x" * 1001, b"x" * 200_000], ids=["text", "binary", "large"])
@cases()
def test_their_message_over_our_limit(library: Library, role: str, message: str | bytes) -> None:
    with connected(library, role, ours={"max_message_size": 1000}) as (ours, theirs):
        theirs.send(b"x" * 1000)
        theirs.send(message)
        assert ours.receive(DEADLINE) == b"x" * 1000
        with Running(theirs.ended) as ending:
            with pytest.raises(syncws.ConnectionClosed) as caught:
                ours.receive(DEADLINE)
            code, reason = ending.result()
        assert (caught.value.code, caught.value.initiator) == (1009, "local")
        assert isinstance(caught.value.__cause__, syncws.MessageTooBig)
        assert code == 1009
        assert "1000 bytes" in reason


@cases(LIMITING)
def test_our_message_over_their_limit(library: Library, role: str) -> None:
    with connected(library, role, theirs={"max_size": 1000}) as (ours, theirs):
        ours.send(b"x" * 999)
        ours.send(b"x" * 200_000)
        assert theirs.receive() == b"x" * 999
        with Running(theirs.ended):
            with pytest.raises(syncws.ConnectionClosed) as caught:
                ours.receive(DEADLINE)
        assert (caught.value.code, caught.value.initiator) == (1009, "remote")
