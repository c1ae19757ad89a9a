"""The hosts: how each is started in a process of its own, what it may log, and how it is stopped.

:func:`serving` runs one and yields a :class:`Served`: its address, what it has logged, and WebSocket and HTTP clients
for it. The order of :data:`HOSTS` is that of the tables in the documentation.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import trustme
from raw_client import RawClient
from support import require_module

__all__ = ["DEADLINE", "FAILED", "HOSTS", "Host", "Served", "free_port", "serving"]

T = TypeVar("T")

DEADLINE = 30.0  # seconds: for what takes a fraction of one
TESTS = Path(__file__).resolve().parent.parent
# The last line of the traceback of a handler that fails.
FAILED = r"RuntimeError: on purpose\n"


@dataclass(frozen=True)
class Host:
    """What serves the app.

    :ivar name: what the tests call it.
    :ivar family: which table of the documentation it is in.
    :ivar title: its column there.
    :ivar command: what follows ``python -m``; ``{port}``, ``{certificate}`` and ``{directory}`` are filled in.
    :ivar packages: what it needs.
    :ivar program: what the command begins with instead of ``python -m``.
    :ivar tls: it speaks TLS.
    :ivar greenlets: its connections are served by greenlets.
    :ivar threads_local: what is local to a thread is local to a connection: there are threads, or greenlets under
        monkey-patching.
    :ivar keep_alive: it answers several requests on a connection.
    :ivar ordinary: what it logs in the best of times: a regular expression for whole lines.
    :ivar failure: what ends its log entry of an app that has failed: a regular expression.
    :ivar interrupt: stop it as Ctrl-C does, with all its processes.
    """

    name: str
    family: str
    title: str
    command: str
    packages: tuple[str, ...] = ()
    program: str = ""
    tls: bool = False
    greenlets: bool = False
    threads_local: bool = True
    keep_alive: bool = True
    ordinary: str = r"(?!)"
    failure: str = FAILED
    interrupt: bool = False


def _with_tls(host: Host, arguments: str) -> Host:
    """The same host, over TLS."""
    return replace(
        host, name=f"{host.name}-tls", title=f"{host.title}, TLS", command=f"{host.command} {arguments}", tls=True
    )


_OWN = Host("own", "syncws", "threads", "hosts.serve own {port}")
_OWN_GEVENT = Host(
    "own-gevent", "syncws", "greenlets", "hosts.serve own_gevent {port}", packages=("gevent",), greenlets=True
)
# The access log, on standard error: ::1 - - [date time] "GET / HTTP/1.1" 200 ...
_ACCESS = r'127\.0\.0\.1 - - \[[^]]+\] ".*" \d+ .*'
_PYWSGI = Host(
    "pywsgi",
    "gevent.pywsgi",
    "as it is",
    "hosts.serve pywsgi {port}",
    packages=("gevent",),
    greenlets=True,
    threads_local=False,
    ordinary=_ACCESS,
    failure=FAILED + r"[^\n]* failed with RuntimeError\n\n",
)
_PYWSGI_PATCHED = replace(
    _PYWSGI,
    name="pywsgi-patched",
    title="monkey-patched",
    command="hosts.serve pywsgi_patched {port}",
    threads_local=True,
)
_PYWSGI_HANDLER = replace(
    _PYWSGI, name="pywsgi-handler", title="WebSocketHandler", command="hosts.serve pywsgi_handler {port}"
)
_WERKZEUG = Host(
    "werkzeug",
    "Werkzeug",
    "flask run",
    "flask --app hosts.app run --port {port}",
    packages=("werkzeug", "flask"),
    keep_alive=False,
    ordinary=r"INFO werkzeug .*|WARNING: This is a development server.*|.*Running on .*|.*CTRL\+C.*| \* Serving .*"
    r"| \* Debug mode.*|Press .*|.* \* Restarting .*|.* \* Debugger .*",
    interrupt=True,
)
_WERKZEUG_DEBUG = replace(
    _WERKZEUG,
    name="werkzeug-debug",
    title="flask run --debug",
    command=f"{_WERKZEUG.command} --debug --exclude-patterns *",
)
_GTHREAD = Host(
    "gunicorn-gthread",
    "Gunicorn",
    "gthread",
    "gunicorn hosts.app:app --bind 127.0.0.1:{port} --worker-class gthread --threads 8",
    packages=("gunicorn",),
    # The arbiter and the worker tell how they are doing.
    ordinary=r"\[[^]]+\] \[\d+\] \[INFO\] .*",
)
_GUNICORN_GEVENT = replace(
    _GTHREAD,
    name="gunicorn-gevent",
    title="gevent",
    command="gunicorn hosts.app:app --bind 127.0.0.1:{port} --worker-class gevent",
    packages=("gunicorn", "gevent"),
    greenlets=True,
)
_THREAD_WORKER = replace(
    _GTHREAD,
    name="gunicorn-syncws-thread",
    title="ThreadWorker",
    command="gunicorn hosts.app:app --bind 127.0.0.1:{port} --worker-class syncws.gunicorn.ThreadWorker",
)
_GEVENT_WORKER = replace(
    _GUNICORN_GEVENT,
    name="gunicorn-syncws-gevent",
    title="GeventWorker",
    command="gunicorn hosts.app:app --bind 127.0.0.1:{port} --worker-class syncws.gunicorn.GeventWorker",
)
_WSGIREF = Host(
    "wsgiref",
    "wsgiref.simple_server",
    "with ThreadingMixIn",
    "hosts.serve wsgiref {port}",
    keep_alive=False,
    ordinary=_ACCESS,
)
_FILES = "--certfile {certificate} --keyfile {certificate}"
HOSTS = (
    _OWN,
    _with_tls(_OWN, "{certificate}"),
    _OWN_GEVENT,
    _with_tls(_OWN_GEVENT, "{certificate}"),
    _PYWSGI,
    _with_tls(_PYWSGI, "{certificate}"),
    _PYWSGI_PATCHED,
    _with_tls(_PYWSGI_PATCHED, "{certificate}"),
    _PYWSGI_HANDLER,
    _WERKZEUG,
    _with_tls(_WERKZEUG, "--cert {certificate} --key {certificate}"),
    _WERKZEUG_DEBUG,
    _WSGIREF,
    _GTHREAD,
    _with_tls(_GTHREAD, _FILES),
    _GUNICORN_GEVENT,
    _with_tls(_GUNICORN_GEVENT, _FILES),
    _THREAD_WORKER,
    _with_tls(_THREAD_WORKER, _FILES),
    _GEVENT_WORKER,
    _with_tls(_GEVENT_WORKER, _FILES),
)


@functools.lru_cache
def _certificate() -> tuple[bytes, ssl.SSLContext]:
    """A certificate with its key, as PEM, and the context of a client that trusts it."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.bytes(), client


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class Served:
    """A host that runs.

    :ivar host: which one.
    :ivar address: where it listens.
    """

    def __init__(self, host: Host, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.host = host
        self.address = ("127.0.0.1", port)
        self.tls = _certificate()[1] if host.tls else None
        self._process = process
        self._log = log
        self._seen = 0  # characters of the log that have been judged

    @property
    def scheme(self) -> str:
        """The scheme of the URIs of WebSockets."""
        return "wss" if self.tls else "ws"

    def connect(self) -> RawClient:
        """A connection to speak HTTP and then WebSocket on."""
        return RawClient(self.address, tls=self.tls)

    def get(self, path: str) -> str:
        """The body of the response to a plain request, on a connection of its own."""
        connection: http.client.HTTPConnection
        if self.tls is None:
            connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE)
        else:
            connection = http.client.HTTPSConnection(*self.address, timeout=DEADLINE, context=self.tls)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            return response.read().decode()

    def wait_for(self, path: str) -> str:
        """Ask until the answer is not empty, and return it."""
        return self.poll(lambda: self.get(path))

    def take_entries(self, end: str) -> str:
        """Wait until something that matches ``end`` has been logged; take what is there, but for ordinary lines."""
        self.poll(lambda: re.search(end, self._unseen()) is not None)
        return self.unexpected()

    def unexpected(self) -> str:
        """What has been logged since the last time, but for ordinary lines."""
        text = self._unseen()
        # A line that is still being written is left for the next time.
        text = text[: text.rfind("\n") + 1]
        self._seen += len(text)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines(keepends=True)
        return "".join(line for line in lines if not re.fullmatch(self.host.ordinary, line.rstrip("\n")))

    def poll(self, condition: Callable[[], T]) -> T:
        """Wait until something is true; return it."""
        deadline = time.monotonic() + DEADLINE
        while not (answer := condition()):
            assert self._process.poll() is None, f"the host has ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"it has not become true; the log:\n{self._log.read_text()}"
            time.sleep(0.01)
        return answer

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Stop the host, as its users do; return its exit status."""
        if self.host.interrupt:
            os.killpg(self._process.pid, signal.SIGINT)
        else:
            self._process.terminate()
        return self._process.wait(DEADLINE)

    def _unseen(self) -> str:
        return self._log.read_text()[self._seen :]

    def wait_until_it_listens(self) -> None:
        """Wait for the answer to a request: a connection that says nothing would be worth a line in some logs."""

        def answers() -> bool:
            try:
                return bool(self.get("/"))
            except ConnectionRefusedError:
                return False

        self.poll(answers)


@contextlib.contextmanager
def serving(host: Host, directory: Path, *, port: int | None = None) -> Iterator[Served]:
    """Run a host until the block is left.

    :param directory: where it runs; its log is put there.
    :param port: where it listens; default: a free one.
    """
    for package in host.packages:
        require_module(package)
    certificate = directory / "certificate.pem"
    certificate.write_bytes(_certificate()[0])
    port = port or free_port()
    arguments = host.command.format(port=port, certificate=certificate, directory=directory).split()
    command = [*host.program.split(), *arguments] if host.program else [sys.executable, "-m", *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "HOSTS_GREENLETS": str(int(host.greenlets)),
    }
    log = directory / f"{host.name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    served = Served(host, process, port, log)
    try:
        served.wait_until_it_listens()
        yield served
    finally:
        # All its processes: a reloader has a child, Gunicorn its workers.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
