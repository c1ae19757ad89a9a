"""The worker classes for Gunicorn, under the real one."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support import require_module
from wire import ClientSocket, get, ws_request

import syncws

require_module("gunicorn")
require_module("gevent")

from gunicorn.config import Config  # noqa: E402

from syncws.gunicorn import GeventWorker, ThreadWorker  # noqa: E402

HERE = Path(__file__).resolve().parent
DEADLINE = 30.0  # seconds: for what takes a fraction of one
GRACEFUL = 20  # seconds: Gunicorn's graceful timeout in these tests
GOING_AWAY, RESTART = 1001, 1012

pytestmark = pytest.mark.timeout(180)
both_workers = pytest.mark.parametrize("worker", ["ThreadWorker", "GeventWorker"])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


class Gunicorn:
    """An arbiter and its workers."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self.seen: set[int] = set()
        self.connections: list[syncws.WebSocket] = []

    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log().count(text) >= times or self.process.poll() is not None)
        assert self.log().count(text) >= times, self.log()

    @property
    def addresses(self) -> list[str]:
        self.wait_for_log("Using worker")
        found = re.search(r"Listening at: (\S+)", self.log())
        assert found, self.log()
        return found[1].split(",")

    @property
    def port(self) -> int:
        return int(self.addresses[0].rpartition(":")[2])

    def workers(self) -> list[int]:
        """The workers that run."""
        pid = self.process.pid
        workers = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        self.seen.update(workers)
        return [worker for worker in workers if runs(worker)]

    def connect(self, path: str = "/echo", **options: Any) -> syncws.WebSocket:
        """A WebSocket that a worker serves."""
        ws = syncws.connect(f"ws://127.0.0.1:{self.port}{path}", close_timeout=DEADLINE, proxy=None, **options)
        self.connections.append(ws)
        ws.send("hello")
        assert ws.receive(timeout=DEADLINE) == "hello"
        return ws

    def client(self) -> ClientSocket:
        return ClientSocket(socket.create_connection(("127.0.0.1", self.port)))

    def ask(self, target: str = "/hello", *fields: str) -> tuple[int, str]:
        with self.client() as client:
            client.send(get(target, *fields, "Connection: close"))
            status, _, body = client.read_response()
            return status, body.decode()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the arbiter, and see that no worker outlives it."""
        status = self.process.wait(DEADLINE)
        assert not [worker for worker in self.seen if runs(worker)]
        return status


def runs(pid: int) -> bool:
    """Whether a process is there and not just a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def running(
    tmp_path: Path,
    worker: str | None,
    *arguments: str,
    bind: str = "127.0.0.1:0",
    app: str = "gunicorn_app",
    config: Path = HERE / "gunicorn_app.py",
) -> Iterator[Gunicorn]:
    """Gunicorn with one worker, unless ``arguments`` say otherwise; what it prints goes to a file."""
    command = [sys.executable, "-m", "gunicorn", "-c", str(config), "-b", bind, "--graceful-timeout", str(GRACEFUL)]
    if worker:
        command += ["-k", f"syncws.gunicorn.{worker}"]
    command += [*arguments, app]
    log = tmp_path / "output"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=tmp_path) as process:
        gunicorn = Gunicorn(process, log)
        try:
            yield gunicorn
        finally:
            for ws in gunicorn.connections:
                ws.abort()
            process.terminate()
            try:
                process.wait(DEADLINE)
            finally:
                process.kill()


def end_of(ws: syncws.WebSocket) -> tuple[int, str]:
    """How the server ends a WebSocket."""
    with pytest.raises(syncws.ConnectionClosed) as closed:
        ws.receive(timeout=DEADLINE)
    assert closed.value.initiator == "remote"
    return closed.value.code, closed.value.reason


# Serving.


@both_workers
def test_requests_and_their_log(worker: str, tmp_path: Path) -> None:
    with running(tmp_path, worker, "--log-level", "info") as gunicorn:
        ws = gunicorn.connect("/echo?name=a")
        with gunicorn.client() as client:
            for number in "12":
                client.send(get(f"/hello/{number}?q"))
                status, _, body = client.read_response()
                assert status == 200
                assert f"RAW_URI=/hello/{number}?q\n" in body.decode()
            assert "wsgi.multiprocess=False" in body.decode()
            client.send(ws_request("/echo", "Origin: http://elsewhere.example"))
            assert client.read_response()[0] == 403
            client.send(get("/fail"))
            assert client.read_response()[0] == 500
        ws.close()
        gunicorn.wait_for_log('"GET /echo?name=a HTTP/1.1" 101 -')
        gunicorn.signal(signal.SIGTERM)
        assert gunicorn.wait() == 0
        log = gunicorn.log()
    assert re.search(r'127.0.0.1 - - \[.*\] "GET /hello/1\?q HTTP/1.1" 200 \d+ "-" "-"\n', log)
    assert '"GET /echo HTTP/1.1" 403' in log
    assert '"GET /fail HTTP/1.1" 500' in log
    # What the library logs, and what the app writes to wsgi.errors, is in Gunicorn's error log.
    assert re.search(r"\[WARNING\] refused \('127.0.0.1', \d+\) with 403", log)
    assert log.count("Traceback") == 1
    assert "ValueError: the app failed" in log
    assert "asked for /hello/1\n" in log
    assert "Warning" not in log


@both_workers
def test_tls(worker: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with running(tmp_path, worker, "--certfile", "cert", "--keyfile", "key") as gunicorn:
        uri = f"wss://localhost:{gunicorn.port}/echo"
        ws = syncws.connect(uri, ssl=context, proxy=None)
        for size in 10, 1_000_000:
            ws.send(bytes(size))
            assert ws.receive(timeout=DEADLINE) == bytes(size)
        with socket.create_connection(("127.0.0.1", gunicorn.port)) as sock:
            with ClientSocket(context.wrap_socket(sock, server_hostname="localhost")) as client:
                client.send(get("/hello"))
                assert b"wsgi.url_scheme=https" in client.read_response()[2]
        gunicorn.signal(signal.SIGTERM)
        assert end_of(ws)[0] == GOING_AWAY
        assert gunicorn.wait() == 0


@both_workers
def test_several_addresses(worker: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with running(tmp_path, worker, "-b", f"unix:{path}", "-b", "[::1]:0") as gunicorn:
        assert len(gunicorn.addresses) == 3
        first = gunicorn.connect()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        second = syncws.connect("ws://localhost/echo", sock=sock)
        third = syncws.connect(f"ws{gunicorn.addresses[2].removeprefix('http')}/echo", proxy=None)
        for ws in second, third:
            ws.send("hello")
            assert ws.receive(timeout=DEADLINE) == "hello"
        gunicorn.signal(signal.SIGTERM)
        assert [end_of(ws)[0] for ws in (first, second, third)] == [GOING_AWAY] * 3
        assert gunicorn.wait() == 0
    assert not path.exists()


@both_workers
def test_port_of_its_own_for_each_worker(worker: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as free:
        port = free.getsockname()[1]
    with running(tmp_path, worker, "--reuse-port", "-w", "2", bind=f"127.0.0.1:{port}") as gunicorn:
        wait_until(lambda: len(gunicorn.workers()) == 2)

        def answers() -> bool:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            return False

        wait_until(answers)
        ws = syncws.connect(f"ws://127.0.0.1:{port}/echo", proxy=None)
        gunicorn.signal(signal.SIGTERM)
        assert end_of(ws)[0] == GOING_AWAY
        assert gunicorn.wait() == 0


@both_workers
def test_preload_and_captured_output(worker: str, tmp_path: Path) -> None:
    arguments = ["--preload", "--capture-output", "--error-logfile", "errors", "--access-logfile", "accesses"]
    with running(tmp_path, worker, *arguments) as gunicorn:
        errors = tmp_path / "errors"
        wait_until(lambda: errors.exists() and "Using worker" in errors.read_text())
        gunicorn._log = errors
        assert gunicorn.ask("/print")[0] == 200
        gunicorn.wait_for_log("printed by the app")
        assert "asked for /print" in gunicorn.log()
        # Log rotation: SIGUSR1 makes everybody write to new files.
        for name in "errors", "accesses":
            (tmp_path / name).rename(tmp_path / f"{name}.1")
        gunicorn._log = tmp_path / "errors.1"
        gunicorn.signal(signal.SIGUSR1)
        wait_until(errors.exists)

        def written() -> bool:
            assert gunicorn.ask("/again")[0] == 200
            accesses = tmp_path / "accesses"
            return accesses.exists() and "/again" in accesses.read_text()

        wait_until(written)


def test_settings_of_requests(tmp_path: Path) -> None:
    arguments = ["--limit-request-line", "100", "--limit-request-fields", "5", "--limit-request-field_size", "50"]
    arguments += ["--keep-alive", "0", "--worker-connections", "1", "--forwarded-allow-ips", "127.0.0.1"]
    with running(tmp_path, "ThreadWorker", *arguments) as gunicorn:
        with gunicorn.client() as client:
            client.send(get("/hello", "X-Forwarded-Proto: https"))
            with gunicorn.client() as refused:
                assert refused.read_response()[0] == 503
            status, headers, body = client.read_response()
            assert (status, headers["connection"]) == (200, "close")
            assert b"wsgi.url_scheme=https" in body
            assert client.read_to_end() == b""
        for target, fields, expected in (
            ("/" + "a" * 100, [], 414),
            ("/", ["X: a"] * 6, 431),
            ("/", ["X: " + "a" * 60], 431),
        ):

            def answer(target: str = target, fields: list[str] = fields) -> int:
                return gunicorn.ask(target, *fields)[0]

            # The connection before may not be over yet.
            wait_until(lambda answer=answer, expected=expected: answer() == expected)


@both_workers
def test_hooks_and_options_in_a_configuration_file(worker: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text(f"""
from syncws.gunicorn import {worker}

class Worker({worker}):
    options = {{"subprotocols": ["chat"], "max_message_size": 10}}

worker_class = Worker
control_socket_disable = True
pythonpath = {str(HERE)!r}

def pre_request(worker, request):
    worker.log.info("before %s %s", request.method, request.path)
    if request.path == "/refuse":
        raise PermissionError("refused by the hook")

def post_request(worker, request, environ, response):
    worker.log.info("after %s: %s", environ["PATH_INFO"], response.status_code)
    if request.path == "/after":
        raise ValueError("raised by the hook")

def worker_int(worker):
    worker.log.info("interrupted")
""")
    with running(tmp_path, None, config=settings) as gunicorn:
        assert gunicorn.connect(subprotocols=["chat"]).subprotocol == "chat"
        assert gunicorn.ask("/refuse")[0] == 500
        assert gunicorn.ask("/after")[0] == 200
        gunicorn.wait_for_log("Exception in post_request hook")
        gunicorn.signal(signal.SIGQUIT)
        assert gunicorn.wait() == 0
    text = gunicorn.log()
    assert "before GET /echo" in text
    assert "after /refuse: 500" in text
    assert "PermissionError: refused by the hook" in text
    assert "interrupted" in text


# The end.


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@both_workers
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, GOING_AWAY), (signal.SIGHUP, RESTART)])
@pytest.mark.usefixtures("many_files")
def test_end_of_500_connections(worker: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    with running(tmp_path, worker, "-w", "2") as gunicorn:
        connections = [gunicorn.connect() for _ in range(500)]
        old = gunicorn.workers()
        began = time.monotonic()
        gunicorn.signal(number)
        assert {end_of(ws)[0] for ws in connections} == {code}
        wait_until(lambda: not [worker for worker in old if runs(worker)])
        assert time.monotonic() - began < GRACEFUL
        if number == signal.SIGHUP:
            ws = gunicorn.connect()
            assert not set(gunicorn.workers()) & set(old)
            gunicorn.signal(signal.SIGTERM)
            assert end_of(ws) == (GOING_AWAY, "server is shutting down")
        assert gunicorn.wait() == 0
        assert "Traceback" not in gunicorn.log()


@both_workers
def test_stop_lets_a_request_finish(worker: str, tmp_path: Path) -> None:
    with running(tmp_path, worker) as gunicorn, gunicorn.client() as client, gunicorn.client() as idle:
        idle.send(get("/hello"))
        assert idle.read_response()[0] == 200
        client.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        ws = gunicorn.connect()
        gunicorn.signal(signal.SIGTERM)
        assert end_of(ws)[0] == GOING_AWAY
        assert idle.read_to_end() == b""
        client.send(b"body")
        status, headers, body = client.read_response()
        assert (status, headers["connection"]) == (200, "close")
        assert body.endswith(b"body=body")
        client.close()
        assert gunicorn.wait() == 0


@both_workers
def test_stop_drops_what_does_not_end(worker: str, tmp_path: Path) -> None:
    with running(tmp_path, worker, "--graceful-timeout", "2") as gunicorn:
        ws = gunicorn.connect("/stuck")
        gunicorn.signal(signal.SIGTERM)
        assert end_of(ws)[0] == GOING_AWAY
        assert gunicorn.wait() == 0
        # The worker has ended by itself.
        assert "dropping 1 connections" in gunicorn.log()
        assert "Worker exiting" in gunicorn.log()
        assert "SIGKILL" not in gunicorn.log()


@both_workers
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quick_stop(worker: str, number: signal.Signals, tmp_path: Path) -> None:
    with running(tmp_path, worker) as gunicorn:
        connections = [gunicorn.connect("/stuck") for _ in range(3)]
        gunicorn.signal(number)
        began = time.monotonic()
        assert [end_of(ws)[0] for ws in connections] == [GOING_AWAY] * 3
        assert gunicorn.wait() == 0
        assert time.monotonic() - began < GRACEFUL


@both_workers
def test_quick_stop_after_a_graceful_one(worker: str, tmp_path: Path) -> None:
    with running(tmp_path, worker) as gunicorn:
        ws = gunicorn.connect("/stuck")
        [pid] = gunicorn.workers()
        os.kill(pid, signal.SIGTERM)
        assert end_of(ws)[0] == GOING_AWAY
        os.kill(pid, signal.SIGQUIT)
        began = time.monotonic()
        wait_until(lambda: not runs(pid))
        assert time.monotonic() - began < GRACEFUL / 2
        # There is another one now.
        assert f"pid={pid}" not in gunicorn.ask()[1]


@both_workers
def test_quick_stop_while_the_app_is_loaded(worker: str, tmp_path: Path) -> None:
    (tmp_path / "slow_app.py").write_text("print('loading', flush=True)\nimport time\ntime.sleep(60)\n")
    with running(tmp_path, worker, app="slow_app") as gunicorn:
        gunicorn.wait_for_log("loading")
        gunicorn.workers()
        gunicorn.signal(signal.SIGQUIT)
        assert gunicorn.wait() == 0


@both_workers
def test_worker_that_has_had_enough_requests_is_replaced(worker: str, tmp_path: Path) -> None:
    with running(tmp_path, worker, "--max-requests", "3") as gunicorn:
        ws = gunicorn.connect()
        [old] = gunicorn.workers()
        assert f"pid={old}" in gunicorn.ask()[1]
        assert f"pid={old}" in gunicorn.ask()[1]
        assert end_of(ws) == (RESTART, "server is restarting")
        assert f"pid={old}" not in gunicorn.ask()[1]
        assert "Autorestarting worker after current request." in gunicorn.log()


@both_workers
def test_reload_when_the_app_changes(worker: str, tmp_path: Path) -> None:
    app = tmp_path / "changing_app.py"
    app.write_text("from gunicorn_app import application\n")
    with running(tmp_path, worker, "--reload", "--reload-engine", "poll", app="changing_app") as gunicorn:
        ws = gunicorn.connect()
        [old] = gunicorn.workers()
        # Changes until Gunicorn has seen the file once go unnoticed.
        for later in range(10, 40):
            os.utime(app, (time.time() + later, time.time() + later))
            with contextlib.suppress(TimeoutError, syncws.ConnectionClosed):
                ws.receive(timeout=1)
            if ws.closed:
                break
        assert ws.close_code == RESTART
        assert f"pid={old}" not in gunicorn.ask()[1]


def test_fewer_workers_after_a_reload_is_no_restart(tmp_path: Path) -> None:
    with running(tmp_path, "ThreadWorker") as gunicorn:
        gunicorn.ask()
        old = gunicorn.workers()
        gunicorn.signal(signal.SIGHUP)
        wait_until(lambda: not [pid for pid in old if runs(pid)])
        ws = gunicorn.connect()
        gunicorn.signal(signal.SIGTTIN)
        wait_until(lambda: len(gunicorn.workers()) == 2)
        # The oldest one goes first.
        gunicorn.signal(signal.SIGTTOU)
        assert end_of(ws)[0] == GOING_AWAY


@both_workers
def test_worker_without_an_arbiter(worker: str, tmp_path: Path) -> None:
    with running(tmp_path, worker) as gunicorn:
        ws = gunicorn.connect()
        [pid] = gunicorn.workers()
        gunicorn.process.kill()
        assert end_of(ws)[0] == GOING_AWAY
        wait_until(lambda: not runs(pid))
        assert "Parent changed, shutting down" in gunicorn.log()


# Settings.


def configured(**settings: Any) -> Config:
    config = Config()
    for name, value in settings.items():
        config.set(name, value)
    return config


@pytest.mark.parametrize("worker", [ThreadWorker, GeventWorker])
def test_settings_that_are_fine(worker: type[ThreadWorker]) -> None:
    worker.check_config(configured(), None)
    worker.check_config(configured(limit_request_line=0, limit_request_fields=0, limit_request_field_size=0), None)


@pytest.mark.parametrize(
    ("name", "value"), [("proxy_protocol", True), ("protocol", "uwsgi"), ("http_protocols", "h2,h1")]
)
def test_settings_that_cannot_be_honoured(name: str, value: Any) -> None:
    if name not in Config().settings:
        pytest.skip(f"this Gunicorn has no {name}")
    with pytest.raises(RuntimeError, match=f"ThreadWorker .* cannot honour {name} = "):
        ThreadWorker.check_config(configured(**{name: value}), None)


@pytest.mark.parametrize("options", [{"colour": "red"}, {"max_message_size": -1}])
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    class Worker(ThreadWorker):
        pass

    Worker.options = options
    with pytest.raises(RuntimeError, match=f"options of Worker: .*{next(iter(options))}"):
        Worker.check_config(configured(), None)


def test_gunicorn_says_what_is_wrong(tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text("proxy_protocol = True\n")
    with running(tmp_path, "ThreadWorker", config=settings) as gunicorn:
        assert gunicorn.process.wait(DEADLINE) == 1
        assert "Error: ThreadWorker speaks HTTP/1.1" in gunicorn.log()
        assert "Traceback" not in gunicorn.log()


def test_an_app_that_has_set_up_logging_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "logging_app.py").write_text(
        "import logging\nfrom gunicorn_app import application\nlogging.basicConfig(format='of the app: %(message)s')\n"
    )
    with running(tmp_path, "ThreadWorker", app="logging_app") as gunicorn:
        assert gunicorn.ask("/fail")[0] == 500
        gunicorn.wait_for_log("of the app: GET /fail failed")
        assert gunicorn.log().count("GET /fail failed") == 1


@both_workers
@pytest.mark.parametrize("wanted", [True, False])
def test_access_log_of_websockets(worker: str, wanted: bool, tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    lines = [(HERE / "gunicorn_app.py").read_text(), f"pythonpath = {str(HERE)!r}"]
    if wanted:
        lines += ["import logging", "logging.getLogger('syncws.access').setLevel('INFO')"]
    settings.write_text("\n".join(lines))
    with running(tmp_path, worker, config=settings) as gunicorn:
        gunicorn.connect("/echo?token=secret").close()
        gunicorn.wait_for_log('"GET /echo?token=secret HTTP/1.1" 101')  # Gunicorn's own
        if wanted:
            gunicorn.wait_for_log("[INFO] 127.0.0.1 /echo 1000 ")
    assert ("127.0.0.1 /echo 1000 " in gunicorn.log()) == wanted
