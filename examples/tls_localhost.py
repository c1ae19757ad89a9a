"""wss:// on this machine, for trying things out: an authority of our own, and a certificate that it has issued.

Run: python examples/tls_localhost.py [PORT]    (needs trustme)
Try: python -m syncws connect --cafile FILE wss://localhost:8443/, with the file that it names. Without --cafile, the
     client does not trust the authority; with wss://127.0.0.1:8443/, the certificate is not for that name.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import trustme

import syncws


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def make_files(directory: Path) -> tuple[Path, Path]:
    """Make the file that the server needs, with a certificate and its key, and that which clients need."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    authority.cert_pem.write_to_path(directory / "authority.pem")
    return directory / "server.pem", directory / "authority.pem"


def main(port: int) -> None:
    # The directory is only for us: whoever can read the key can be this server.
    with tempfile.TemporaryDirectory() as directory, contextlib.suppress(KeyboardInterrupt):
        server_file, authority_file = make_files(Path(directory))
        with syncws.WebSocketServer(("127.0.0.1", port), echo, ssl=server_file) as server:
            port = server.server_address[1]
            print(f"listening on wss://localhost:{port}/ for those who trust {authority_file}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8443)
