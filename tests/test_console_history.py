"""The lines that were typed, kept between runs."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from syncws.console.history import History, history_file


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for state in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert history_file() == tmp_path / ".local/state/syncws/connect-history"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert history_file() == Path("/var/state/syncws/connect-history")


def test_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "history"
    history = History(path)
    assert history.lines == []
    for line in ("one", "", "two", "two", " secret", "one", "three\nlines", "Grüße"):
        history.add(line)
    assert history.lines == ["one", "two", " secret", "one", "three\nlines", "Grüße"]
    assert History(path).lines == ["one", "two", "one", "three\nlines", "Grüße"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_at_the_same_time(tmp_path: Path) -> None:
    histories = [History(tmp_path / "history") for _ in range(2)]
    for number, history in enumerate(histories):
        history.add(str(number))
    assert History(tmp_path / "history").lines == ["0", "1"]


def test_what_is_no_history_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "history").write_bytes(b'"one"\nnone\n12\n\xff\n"two"\n"cut o')
    assert History(tmp_path / "history").lines == ["one", "two"]


@pytest.mark.parametrize("size, kept", [(1500, 1500), (2000, 2000), (2001, 1000)])
def test_only_the_latest_are_kept(tmp_path: Path, size: int, kept: int) -> None:
    path = tmp_path / "history"
    path.write_text("".join(json.dumps(str(number)) + "\n" for number in range(size)))
    assert History(path).lines == [str(number) for number in range(size - 1000, size)]
    assert len(path.read_text().splitlines()) == kept
    assert os.listdir(tmp_path) == ["history"]


def test_history_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "history"):
        history = History(path)
        history.add("one")
        assert history.lines == ["one"]
