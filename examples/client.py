"""A client: sends each word given, prints each answer.

Run: python examples/client.py ws://127.0.0.1:8765/ hello world
Try: it with echo_server.py, and with that stopped; with a path that is no WebSocket.
"""

from __future__ import annotations

import sys

import syncws


def main(uri: str, words: list[str]) -> None:
    with syncws.connect(uri) as ws:
        for word in words:
            ws.send(word)
            print(ws.receive(timeout=10))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: client.py URI [WORD ...]")
    try:
        main(sys.argv[1], sys.argv[2:])
    except syncws.ConnectionClosed as closed:
        sys.exit(f"the server ended it: {closed}")
    except TimeoutError:
        sys.exit("the server does not answer")
    except (syncws.HandshakeError, OSError, ValueError) as error:  # ValueError: what is wrong with the URI
        sys.exit(f"no connection: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
