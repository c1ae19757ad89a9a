"""Worker classes for Gunicorn: its arbiter, sockets, reload and logs, with the servers of syncws inside.

.. code-block:: console

    $ gunicorn -k syncws.gunicorn.ThreadWorker app:app

:class:`ThreadWorker` serves each connection with a thread, :class:`GeventWorker` with a greenlet. A WebSocket that is
open when its worker ends gets a close frame: 1001 if Gunicorn stops; 1012, "service restart", if another worker takes
over, as with SIGHUP, ``max_requests`` and ``--reload``. Everything here is called by Gunicorn: a worker is constructed
in the arbiter's process, and runs in one of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker as _Worker

from .gunicorn_requests import Connection, Requests
from .logs import get_logger
from .runtime import THREADS, Runtime
from .server import split_options
from .server_wsgi import WSGIServer, WSGIServerOptions

__all__ = ["GeventWorker", "ThreadWorker"]

_STOP = (1001, "server is shutting down")
# RFC 6455, 7.4.2, and IANA's registry: 1012, "service restart".
_RESTART = (1012, "server is restarting")

# The settings that change the protocol, and what they may be.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "proxy_protocol": (False, "off"),
    "protocol": ("http",),
    "http_protocols": (["h1"],),
}

# Seconds between two signs of life to the arbiter.
_HEARTBEAT = 1.0
# Seconds that close frames have to leave, and handlers to end, when the process is to go at once.
_QUICK = 0.2
# Gunicorn kills a worker that has not ended after graceful_timeout: be done so many seconds before that.
_MARGIN = 1.0
# Gunicorn's 0 for a limit means none; here no head has more bytes than this.
_NO_LIMIT = 1 << 20


class _Generations:
    """Counts the configurations that workers were made from, in memory that the arbiter shares with its workers.

    SIGTERM does not say why a worker has to end. But when Gunicorn reloads, the new workers are made, from a new
    configuration, before the old ones get the signal.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)
        self._configuration: object = None

    def of(self, configuration: object) -> int:
        """Return the number of a configuration, in the arbiter's process."""
        if configuration is not self._configuration:
            self._configuration = configuration
            self._shared[:] = (self.newest + 1).to_bytes(8, "big")
        return self.newest

    @property
    def newest(self) -> int:
        """The number of the newest one, in any process."""
        return int.from_bytes(self._shared[:], "big")


_generations = _Generations()


class ThreadWorker(_Worker):
    """A worker that serves each connection, plain HTTP or WebSocket, with a thread of its own.

    Gunicorn's settings hold: for TLS, ``keepalive``, ``limit_request_line``, ``limit_request_fields`` and
    ``limit_request_field_size``, ``max_requests``, the hooks, the access log and so on. ``worker_connections`` is the
    number of connections, of each bound address, that a worker takes; ``threads`` does not matter.

    :cvar options: more options for the :class:`~syncws.WSGIServer`, for those of its WebSockets above all. A subclass
        in ``gunicorn.conf.py`` may set them; ``worker_class`` may be that class.
    """

    options: ClassVar[dict[str, Any]] = {}
    sockets: list[Any]
    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._generation = _generations.of(self.cfg)
        self._ended = False  # by a signal, or with the arbiter; not to be replaced, unless there is a newer generation
        self._quick = False
        self._reopen = False
        self._open: set[Any] = set()  # servers

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by the arbiter before it forks.

        :raises RuntimeError: a setting that this worker cannot honour.
        """
        for name, allowed in _ALLOWED.items():
            value = getattr(cfg, name, allowed[0])
            if value not in allowed:
                raise RuntimeError(
                    f"{cls.__name__} speaks HTTP/1.1 and nothing around it: it cannot honour {name} = {value!r}"
                )
        try:
            split_options(WSGIServerOptions, cls._server_options(cfg))
        except (TypeError, ValueError) as error:
            raise RuntimeError(f"options of {cls.__name__}: {error}") from error

    @classmethod
    def _server_options(cls, cfg: Any) -> dict[str, Any]:
        line = cfg.limit_request_line or _NO_LIMIT
        fields = cfg.limit_request_fields or _NO_LIMIT
        field_size = (cfg.limit_request_field_size or _NO_LIMIT) + 4  # ": " and the end of the line
        timeout = cfg.graceful_timeout
        return {
            "ssl": ssl_context(cfg) if cfg.is_ssl else None,
            "max_connections": cfg.worker_connections,
            "shutdown_timeout": max(timeout - _MARGIN, timeout / 2),
            "keepalive_timeout": cfg.keepalive,
            "max_target_size": line,
            "max_head_fields": fields,
            "max_head_size": min(line + fields * field_size, _NO_LIMIT),
            **cls.options,
        }

    # The seam between threads and greenlets.

    def _server_class(self) -> Callable[..., Any]:
        return WSGIServer

    def _runtime(self) -> Runtime:
        return THREADS

    # Signals. The handlers only take notes, because they may interrupt anything; a byte in the pipe wakes up run().

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: let requests finish and WebSockets close, then go."""
        self._ended = True
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT, SIGINT: send close frames, and go."""
        if not self.booted:
            self.cfg.worker_int(self)
            sys.exit(0)
        self._ended = self._quick = True
        self.alive = False

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """SIGUSR1: open the log files anew."""
        self._reopen = True

    # The worker's process.

    def init_process(self) -> None:
        """Get ready in the worker's process, load the app, and call :meth:`run`."""
        # Gunicorn does that too, but later. Until then the arbiter's handlers are there, and a signal would be lost.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGINT, self.handle_quit)
        self.patch()
        super().init_process()

    def patch(self) -> None:
        """Change the standard library in this process, if that is needed."""

    def run(self) -> None:
        """Serve until it is time to end."""
        self._forward_log()
        runtime = self._runtime()
        requests = Requests(self, runtime, functools.partial(WSGIErrorsWrapper, self.cfg))
        options = self._server_options(self.cfg)
        self._open = {self._server_class()(sock.sock, self.wsgi, **options) for sock in self.sockets}
        for server in self._open:
            server.connection_class = functools.partial(Connection, requests)
            runtime.spawn(functools.partial(self._accept, server), "syncws-accept")
        while self.alive:
            self._wait(_HEARTBEAT)
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self._ended = True
                self.alive = False
        self._shut_down(runtime)

    def end(self) -> None:
        """Let the worker end, and another take its place."""
        self.alive = False
        self._wake_up()

    def _forward_log(self) -> None:
        """Let what syncws logs go to Gunicorn's error log, unless the app or Gunicorn has set up something else."""
        log = logging.getLogger("syncws")
        if not log.hasHandlers():
            log.handlers = self.log.error_log.handlers
            log.setLevel(self.log.error_log.level)
            access_log = get_logger("syncws.access")
            if access_log.level == logging.NOTSET:
                access_log.setLevel(logging.WARNING)  # a line for each WebSocket is no error: only if it is wanted

    def _accept(self, server: Any) -> None:
        try:
            server.serve_forever()
        finally:
            self.end()  # if it has not been told to: rather no worker than one that accepts nobody

    def _shut_down(self, runtime: Runtime) -> None:
        restart = not self._ended or _generations.newest > self._generation
        code, reason = _RESTART if restart else _STOP
        for server in list(self._open):
            runtime.spawn(functools.partial(self._shut_down_one, server, code, reason), "syncws-shutdown")
        until, told = time.monotonic() + self.cfg.graceful_timeout, False
        while self._open and (left := until - time.monotonic()) > 0:
            self._wait(min(_HEARTBEAT, left))
            if self._quick and not told:
                until, told = time.monotonic() + _QUICK, True
                self.cfg.worker_int(self)

    def _shut_down_one(self, server: Any, code: int, reason: str) -> None:
        server.shutdown(code, reason)
        self._open.discard(server)
        self._wake_up()

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it will wake up
            os.write(self.PIPE[1], b"\0")

    def _wait(self, seconds: float) -> None:
        """Show the arbiter a sign of life, then wait for a signal or for :meth:`_wake_up`."""
        self.notify()
        if self._reopen:
            self._reopen = False
            self.log.reopen_files()
        if select.select([self.PIPE[0]], [], [], seconds)[0]:
            os.read(self.PIPE[0], 4096)


class GeventWorker(ThreadWorker):
    """A worker that serves each connection with a greenlet. The standard library is patched, before the app is loaded.

    As with Gunicorn's own worker for gevent, an app that is loaded before the workers are forked, with
    ``preload_app``, has been imported by then: let it, or ``gunicorn.conf.py``, do the patching first.
    """

    def patch(self) -> None:
        """Patch the standard library, and give the process an event loop that its parent has no part in."""
        import gevent.monkey

        gevent.monkey.patch_all()
        gevent.reinit()

    def _server_class(self) -> Callable[..., Any]:
        from .gevent import WSGIServer

        return WSGIServer

    def _runtime(self) -> Runtime:
        from .runtime_gevent import GREENLETS

        return GREENLETS
