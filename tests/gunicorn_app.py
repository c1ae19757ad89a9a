"""The app that the tests run under Gunicorn, and its settings: ``gunicorn -c gunicorn_app.py``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import syncws

# Gunicorn reads these names as settings. Its control socket has one place for all of the tests.
control_socket_disable = True
accesslog = "-"
pythonpath = os.path.dirname(__file__)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path in ("/echo", "/stuck"):
        with syncws.upgrade(environ) as ws:
            for message in ws:
                ws.send(message)
                if path == "/stuck":
                    threading.Event().wait()
        return []
    if path == "/fail":
        raise ValueError("the app failed")
    if path == "/print":
        print("printed by the app", flush=True)
    body = environ["wsgi.input"].read()
    environ["wsgi.errors"].write(f"asked for {path}\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    lines = [f"{name}={environ[name]}" for name in sorted(environ) if isinstance(environ[name], (str, bool))]
    return ["\n".join([*lines, f"pid={os.getpid()}", f"body={body.decode()}"]).encode()]
