"""Files go up in pieces, and what is no file, or not the one that was announced, is refused without an end."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import DEADLINE
from example_programs import EXAMPLES, fetch, receive_json, running, websocket_url

import syncws


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with running("upload.py") as url:
        assert "<input" in fetch(url)
        yield websocket_url(url, "upload")


def stored(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 20_000])
def test_upload_tells_how_far_it_is(uri: str, content: bytes) -> None:
    with syncws.connect(uri) as ws, syncws.connect(uri) as other:
        other.send(json.dumps({"size": 1}))  # another file, which never comes
        ws.send(json.dumps({"size": len(content)}))
        ws.send_fragments(content[start : start + 65536] for start in range(0, len(content) or 1, 65536))
        percents = []
        while "percent" in (news := receive_json(ws)):
            percents.append(news["percent"])
        assert news == stored(content)
        assert percents == sorted(set(percents))
        if content:
            assert percents[-1] == 100


@pytest.mark.parametrize(
    "messages",
    [
        ["{"],
        ["{}"],
        ["[]"],
        [b"\xff"],
        ['{"size": -1}'],
        ['{"size": "1"}'],
        ['{"size": 1073741825}'],
        ['{"size": 3}', "abc"],
        ['{"size": 3}', b"ab"],
        ['{"size": 3}', b"abcd"],
        ['{"size": 3}', b"x" * 500_000],
    ],
)
def test_upload_refuses_what_is_no_file_and_goes_on(uri: str, messages: list[str | bytes]) -> None:
    with syncws.connect(uri) as ws:
        for message in messages:
            ws.send(message)
        while "percent" in (news := receive_json(ws)):
            pass
        assert list(news) == ["error"]
        ws.send('{"size": 5}')
        ws.send(b"after")
        while "percent" in (news := receive_json(ws)):
            pass
        assert news == stored(b"after")


def run_client(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "upload_client.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)


@pytest.mark.parametrize("content", [b"", b"some" * 100_000])
def test_upload_client(uri: str, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    result = run_client(uri, file)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == str(stored(content))
    assert ("100 %" in result.stdout) == bool(content)


def test_upload_client_says_what_went_wrong(uri: str, tmp_path: Path) -> None:
    missing = run_client(uri, tmp_path / "missing")
    assert missing.returncode == 1
    assert "not uploaded: " in missing.stderr
    assert "Traceback" not in missing.stderr
    nobody = run_client("ws://127.0.0.1:1/upload", EXAMPLES / "upload.py")
    assert nobody.returncode == 1
    assert "not uploaded: " in nobody.stderr
