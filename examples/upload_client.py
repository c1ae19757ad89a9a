"""The other end of upload.py without a browser: sends a file as one message, in fragments as they are read from disk.

Run: python examples/upload_client.py ws://127.0.0.1:8000/upload FILE
Try: a file that is larger than the memory of the machine; an empty one; one that is not there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import syncws


def pieces(path: Path) -> Iterator[bytes]:
    """Give the file piece by piece. The last one is empty, so that an empty file is a message as well."""
    with path.open("rb") as file:
        piece = b"first"
        while piece:
            piece = file.read(65536)
            yield piece


def upload(uri: str, path: Path) -> bool:
    """Upload a file and print what the server says about it; return whether it has accepted it."""
    size = path.stat().st_size
    with syncws.connect(uri) as ws:
        ws.send(json.dumps({"size": size}))
        ws.send_fragments(pieces(path))
        # What the server has said meanwhile has been kept.
        while "percent" in (news := json.loads(ws.receive())):
            print(f"{news['percent']} %")
    print(news)
    return "error" not in news


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: upload_client.py URI FILE")
    try:
        sys.exit(0 if upload(sys.argv[1], Path(sys.argv[2])) else 1)
    except (syncws.HandshakeError, OSError, ValueError) as error:  # ConnectionClosed is an OSError
        sys.exit(f"not uploaded: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
