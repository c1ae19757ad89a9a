"""Standard output of ``trace`` and ``decode``: nobody waits for a reader that has paused."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from wire import DEADLINE

from syncws.cli import output
from syncws.cli.live_view import BROKEN, LiveView, failure_of_output
from syncws.cli.output import Writer, in_pieces, write
from syncws.trace import Chunk, End, Item
from syncws.trace.items import Problem


def ends(*numbers: int) -> list[Item]:
    return [End(number, 0.0, "client") for number in numbers]


def shown(items: list[Item]) -> str:
    return "".join(f"{item.connection}\n" for item in items)


class Pipe:
    """A pipe as standard output."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.file = open(writing, "w", encoding="ascii")  # noqa: SIM115 - closed by the fixture
        self.filled = 0

    def fill(self) -> None:
        """Have it take nothing more."""
        os.set_blocking(self.file.fileno(), False)
        with pytest.raises(BlockingIOError):
            while True:
                self.filled += os.write(self.file.fileno(), b"x")
        os.set_blocking(self.file.fileno(), True)

    def read(self, size: int) -> str:
        """Read so many characters behind those that have filled it."""
        data = b""
        while len(data) < self.filled + size:
            data += os.read(self.reading, self.filled + size - len(data))
        return data[self.filled :].decode()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    pipe = Pipe()
    # Not sys.stdout itself: pytest sets that anew for each phase of a test.
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=pipe.file))
    yield pipe
    os.close(pipe.reading)
    pipe.file.close()


def writer_of(failures: SimpleQueue[OSError]) -> Writer:
    return Writer(shown, "{} missing\n".format, failures.put)


def test_everything_is_written_in_order(pipe: Pipe) -> None:
    writer = writer_of(SimpleQueue())
    writer.start("hello\n")
    writer.put(ends(1, 2))
    writer.put(ends(*range(3, 10)))
    assert writer.close() == 0
    assert pipe.read(24) == "hello\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"


def test_what_a_paused_reader_misses_is_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_MOST_WAITING", 2)
    monkeypatch.setattr(output, "_PATIENCE", 0.01)
    pipe.fill()
    writer = writer_of(SimpleQueue())
    writer.start("hello\n")
    writer.put(ends(1))
    writer.put(ends(2, 3))
    writer.put(ends(4, 5))
    writer.put(ends(6))
    assert pipe.read(22) == "hello\n1\n2\n3\n3 missing\n"
    pipe.filled = 0
    writer.put(ends(7))
    assert pipe.read(2) == "7\n"
    assert writer.close() == 0


def test_the_end_does_not_wait_for_a_paused_reader(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_END_TIMEOUT", 0.01)
    pipe.fill()
    writer = writer_of(SimpleQueue())
    writer.start("hello\n")
    writer.put(ends(1, 2))
    assert writer.close() == 2
    assert pipe.read(10) == "hello\n1\n2\n"


def test_a_reader_that_is_gone(pipe: Pipe) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reading)
    failures: SimpleQueue[OSError] = SimpleQueue()
    writer = writer_of(failures)
    writer.start("hello\n")
    assert isinstance(failures.get(timeout=DEADLINE), BrokenPipeError)
    writer.put(ends(1))
    assert writer.close() == 0


def test_characters_that_the_output_does_not_have(pipe: Pipe) -> None:
    write("a→\ud800\n")
    assert pipe.read(14) == "a\\u2192\\ud800\n"


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError) as caught:
        write("a")
    assert caught.value.errno == errno.EBADF


def test_pieces() -> None:
    problem = Problem(1, 0.0, "client", 0, None, "", None, "")
    items = [*ends(*range(50)), problem, *ends(1)]
    assert [len(piece) for piece in in_pieces(items)] == [51, 1]
    assert list(in_pieces([])) == []


# what trace shows


@pytest.mark.parametrize("json", [True, False])
def test_a_view_says_what_it_leaves_out(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, json: bool) -> None:
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(output, "_MOST_WAITING", 0)
    monkeypatch.setattr(output, "_PATIENCE", 0.01)
    view = LiveView(shown, SimpleQueue(), json=json, keep=True)
    view.start("ws://a/")
    view.on_chunk(Chunk(1, 0.0, "client", b""))
    view.finish()
    assert view.items == ends(1)
    said = "1 items not shown, because nobody was reading\n"
    greeting = "listening on ws://a/\n"
    if json:
        assert errors.getvalue() == greeting + said
    else:
        assert pipe.read(len(greeting + said) + 1) == f"{greeting}{said}\n"
    view.on_chunk(Chunk(2, 0.0, "client", b""))
    assert view.items == ends(1)


def test_a_view_that_ends_while_nobody_reads(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_END_TIMEOUT", 0.01)
    pipe.fill()
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    view = LiveView(shown, SimpleQueue(), json=False, keep=False)
    view.start("ws://a/")
    view.on_chunk(Chunk(1, 0.0, "client", b""))
    view.finish()
    assert errors.getvalue() == "1 items not shown, because nobody reads standard output\n"
    pipe.read(len("listening on ws://a/\n1\n"))


def test_a_view_without_standard_error(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    view = LiveView(shown, SimpleQueue(), json=True, keep=False)
    view.start("ws://a/")
    view.on_chunk(Chunk(1, 0.0, "client", b""))
    view.finish()
    assert pipe.read(2) == "1\n"


def test_a_view_that_cannot_write(pipe: Pipe) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reading)
    events: SimpleQueue[str] = SimpleQueue()
    view = LiveView(shown, events, json=False, keep=True)
    view.start("ws://a/")
    assert events.get(timeout=DEADLINE) == BROKEN
    view.on_chunk(Chunk(1, 0.0, "client", b""))
    view.finish()
    assert (view.items, view.failure) == ([], None)
    assert str(failure_of_output(OSError(errno.ENOSPC, "full"))) == "cannot write: full"
