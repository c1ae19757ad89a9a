"""Recording chunks, in memory, into a sink, into a file, and reading them back."""

from __future__ import annotations

import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.trace import Chunk, Recorder, read_recording, write_recording

chunks = st.lists(
    st.builds(
        Chunk,
        st.integers(1, 99),
        st.floats(0, 1e6, allow_nan=False).map(lambda number: round(number, 6)),
        st.sampled_from(["client", "server"]),
        st.binary(max_size=50),
        st.booleans(),
    )
)


@given(chunks)
def test_what_is_written_is_read_back(written: list[Chunk]) -> None:
    file = io.StringIO()
    write_recording(file, written)
    assert len(file.getvalue().splitlines()) == len(written)
    file.seek(0)
    assert list(read_recording(file)) == written


def test_a_line_of_a_recording() -> None:
    file = io.StringIO()
    write_recording(file, [Chunk(1, 0.5, "client", b"\x81\0"), Chunk(1, 1.0, "server", b"", True)])
    assert file.getvalue() == (
        '{"connection": 1, "time": 0.5, "sender": "client", "data": "8100"}\n'
        '{"connection": 1, "time": 1.0, "sender": "server", "data": "", "rebuilt": true}\n'
    )


def test_empty_lines_are_skipped_and_times_may_be_whole() -> None:
    line = '{"connection": 1, "time": 2, "sender": "client", "data": "81 00"}'
    assert list(read_recording(["\n", line, " "])) == [Chunk(1, 2.0, "client", b"\x81\0")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x", "Expecting value"),
        ("[]", "it is no JSON object"),
        ("[" * 100000, "recursion"),
        ('{"connection": true, "time": 0, "sender": "client", "data": ""}', "connection must be a whole number"),
        ('{"connection": "1", "time": 0, "sender": "client", "data": ""}', "connection must be a whole number"),
        ('{"connection": 1, "time": false, "sender": "client", "data": ""}', "time must be a number of seconds"),
        ('{"connection": 1, "sender": "client", "data": ""}', "time must be a number of seconds"),
        ('{"connection": 1, "time": 1' + "0" * 400 + ', "sender": "client", "data": ""}', "time must be a"),
        ('{"connection": 1, "time": NaN, "sender": "client", "data": ""}', "time must be a number of seconds"),
        ('{"connection": 1, "time": 0, "sender": "me", "data": ""}', "sender must be client or server"),
        ('{"connection": 1, "time": 0, "sender": ["client"], "data": ""}', "sender must be client or server"),
        ('{"connection": 1, "time": 0, "sender": "client", "data": 1}', "data must be a str of hex digits"),
        ('{"connection": 1, "time": 0, "sender": "client", "data": "8"}', "data must be hex digits"),
        ('{"connection": 1, "time": 0, "sender": "client", "data": "", "rebuilt": 1}', "rebuilt must be true or false"),
    ],
)
def test_what_is_no_recording(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)^line 2 is no chunk of a recording: .*{reason}.*; it is '.{{1,63}}'$"):
        list(read_recording(["", line]))


def test_connections_have_numbers_and_times_do_not_fall() -> None:
    recorder = Recorder()
    one, two = recorder.attach(), recorder.attach()
    two("client", b"a")
    one("server", b"b", rebuilt=True)
    assert [(each.connection, each.sender, each.data, each.rebuilt) for each in recorder.chunks] == [
        (2, "client", b"a", False),
        (1, "server", b"b", True),
    ]
    assert 0 <= recorder.chunks[0].time <= recorder.chunks[1].time


def test_with_a_sink_nothing_is_kept() -> None:
    seen: list[Chunk] = []
    recorder = Recorder(seen.append)
    recorder.attach()("client", b"a")
    assert recorder.chunks == []
    assert [each.data for each in seen] == [b"a"]


def test_the_sink_is_called_by_one_thread_at_a_time() -> None:
    inside = 0
    most = 0

    def sink(_: Chunk) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1

    recorder = Recorder(sink)

    def report() -> None:
        attached = recorder.attach()
        for _ in range(200):
            attached("client", b"a")

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_sink_may_report_itself() -> None:
    seen: list[bytes] = []

    def sink(chunk: Chunk) -> None:
        seen.append(chunk.data)
        if chunk.data == b"a":
            report("server", b"b")  # as a signal handler does that sends

    report = Recorder(sink).attach()
    report("client", b"a")
    assert seen == [b"a", b"b"]
