"""What the fuzzing of this directory has found, each as the smallest test of its own."""

from __future__ import annotations

import pytest
from fuzz.model import PING
from peers import raw_pair

from syncws import ConnectionClosed
from syncws.http import BadRequest, RequestReader, read_response_head


def test_fragments_that_were_refused_do_not_change_how_it_ended() -> None:
    with raw_pair() as (ws, peer):
        ws.begin_close(1000)
        peer.close()
        with pytest.raises(ConnectionClosed) as closed:
            ws.send_fragments(["a"])
        assert closed.value.code == ws.close_code


def test_fragments_that_were_refused_do_not_drop_a_connection_that_is_closing() -> None:
    """The peer does not read: with a close_timeout of more, the call waits for so long as well."""
    with raw_pair(buffer=1, close_timeout=0) as (ws, peer):
        for _ in range(50):
            peer.send_frame(PING, b"x" * 125)
            with pytest.raises(TimeoutError):
                ws.receive(timeout=0)
        ws.begin_close(1000)
        with pytest.raises(ConnectionClosed):
            ws.send_fragments(["a"])
        assert ws.close_code == 1000


def test_a_long_reason_is_refused_or_not_however_it_arrives() -> None:
    answer = b"HTTP/1.1 404 " + b"x" * 10_000 + b"\r\n\r\n"
    for parts in ([answer], [answer[:9000], answer[9000:]]):
        arriving = iter(parts)
        assert read_response_head(lambda: next(arriving, b""))[0].status == 404  # noqa: B023


@pytest.mark.parametrize("coding", [b"\x9b31m", b"x" * 10_000], ids=["control", "long"])
def test_a_transfer_coding_is_shown_like_other_values(coding: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(BadRequest) as refused:
        RequestReader(iter([head]).__next__).read_head()
    assert refused.value.status == 501
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
