"""Settings for Gunicorn: a worker that serves each connection with a thread, and what goes with long-lived connections.

Run: gunicorn -c examples/gunicorn_conf.py [--bind 127.0.0.1:8000]
Try: the page; then stop it with Ctrl-C, and the WebSockets are closed with 1001.
"""

from __future__ import annotations

import os
from typing import ClassVar

from syncws.gunicorn import ThreadWorker  # or GeventWorker: a greenlet for each connection


class Worker(ThreadWorker):
    """A worker whose WebSockets have these options, unless upgrade() gives them others."""

    options: ClassVar = {"compression": True, "max_message_size": 65536}


worker_class = Worker
# The app is that of wsgi_app.py, beside this file.
wsgi_app = "wsgi_app:app"
pythonpath = os.path.dirname(os.path.abspath(__file__))

workers = 2
# Connections that a worker takes at once, WebSockets and others.
worker_connections = 2000
# Seconds that requests and WebSockets have to end when a worker does.
graceful_timeout = 20

accesslog = "-"
