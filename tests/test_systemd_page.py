"""The server of the page about systemd takes a socket over as number 3, and ends as the page says."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import syncws

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "howto" / "systemd.rst").read_text()
APP = """
import syncws

def app(environ, start_response):
    with syncws.upgrade(environ) as ws:
        for message in ws:
            ws.send(message)
    return []
"""


def test_server_of_the_page_restarts_without_refusing_anybody(tmp_path: Path) -> None:
    block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE)
    assert block
    (tmp_path / "serve.py").write_text(textwrap.dedent(block.group(1)))
    (tmp_path / "module.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"ws://127.0.0.1:{listening.getsockname()[1]}/"
        # As systemd starts it, with the socket as number 3.
        command = ["bash", "-c", f'exec 3<&{listening.fileno()} && exec "$0" serve.py', sys.executable]
        environment = {**os.environ, "LISTEN_FDS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        for _ in range(2):
            with subprocess.Popen(command, cwd=tmp_path, pass_fds=[listening.fileno()], env=environment) as process:
                try:
                    # It may not have started yet: whoever comes waits in the queue.
                    with syncws.connect(uri, timeout=30) as ws:
                        ws.send("hello")
                        assert ws.receive(timeout=30) == "hello"
                        process.send_signal(signal.SIGTERM)
                        with pytest.raises(syncws.ConnectionClosed) as closed:
                            ws.receive(timeout=30)
                    assert (closed.value.code, closed.value.reason) == (1012, "back in a moment")
                    assert process.wait(30) == 0
                finally:
                    process.kill()
