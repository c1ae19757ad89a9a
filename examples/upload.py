"""Upload of files that need not fit in memory: the server reads a message piece by piece, and says how far it is.

Run: python examples/upload.py [PORT]
Try: choose a large file in the page; without a browser: upload_client.py, beside this file.
"""

import contextlib
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import syncws

PAGE = Path(__file__).with_suffix(".html").read_bytes()
LARGEST = 2**30  # bytes


def announced_size(text: str | bytes) -> int:
    """Return the size that the message before a file announces.

    :raises ValueError: it is another message, or the file is too large.
    """
    try:
        size = json.loads(text)["size"]
    except (ValueError, TypeError, KeyError, RecursionError):
        size = None
    if not isinstance(size, int) or not 0 <= size <= LARGEST:
        raise ValueError(f'first send {{"size": ...}}, which may be {LARGEST} bytes, then the file')
    return size


def receive_file(ws: syncws.WebSocket, size: int) -> dict[str, object]:
    """Receive the next message, a file of this size. It is kept while this function runs.

    :raises ValueError: it is of another size, or text. What is left of it is skipped by the next receive().
    """
    digest = hashlib.sha256()
    received = told = 0
    with tempfile.TemporaryFile() as file:
        for piece in ws.receive_stream():
            received += len(piece)
            if isinstance(piece, str) or received > size:
                raise ValueError(f"this is not the file of {size} bytes that was announced")
            file.write(piece)
            digest.update(piece)
            if received * 100 >= (told + 1) * size:
                told = received * 100 // max(size, 1)
                ws.send(json.dumps({"percent": told}))
    if received < size:
        raise ValueError(f"{size} bytes were announced, and {received} have come")
    return {"bytes": received, "sha256": digest.hexdigest()}


def app(environ, start_response):
    if environ["PATH_INFO"] != "/upload":
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
        return [PAGE]
    with syncws.upgrade(environ) as ws:
        for message in ws:
            try:
                ws.send(json.dumps(receive_file(ws, announced_size(message))))
            except ValueError as error:
                ws.send(json.dumps({"error": str(error)}))
    return []


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), app) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
