"""Too many connections: out of descriptors, over the limit; and what each connection costs in threads."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import running as running_command
from peers import eventually
from raw_client import (
    DEADLINE,
    WS_FIELDS,
    Entrance,
    RawClient,
    both_servers,
    request,
    server_and_client_contexts,
    serving,
)
from support import require_tool


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_out_of_descriptors_it_waits_without_spinning_and_recovers(tls: bool, tmp_path: Path) -> None:
    require_tool("prlimit()", sys.platform == "linux")
    import resource

    import trustme

    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "certificate")
    arguments = ["--certfile", str(tmp_path / "certificate")] if tls else []
    with running_command("echo", "--port", "0", *arguments) as server, contextlib.ExitStack() as stack:
        pid = server.process.pid
        port = int(server.ws_url.rstrip("/").rpartition(":")[2])
        served = [stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE)) for _ in range(5)]
        in_use = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 10, in_use + 10))
        # The kernel completes their TCP handshakes; the server cannot accept all of them.
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE)) for _ in range(40)]
        server.wait_for_log("cannot accept connections")
        before, begun = cpu_seconds(pid), time.monotonic()
        time.sleep(2)  # measures, orders nothing
        share = (cpu_seconds(pid) - before) / (time.monotonic() - begun)
        assert share < 0.25, "a loop that spins uses a whole CPU, or what others leave of it"
        assert server.log().count("cannot accept connections") == 1
        for sock in served + clients:
            sock.close()
        # Those that waited are accepted now, found to be gone, and new ones are served again.
        context = None
        if tls:
            context = server_and_client_contexts()[1]
            authority.configure_trust(context)
        with RawClient(("127.0.0.1", port), tls=context) as client:
            client.open().echo()
            client.close_normally()
        assert server.log().count("cannot accept connections") == 1
        assert "Traceback" not in server.log()
        assert server.stop() == 0


def test_clients_that_waited_for_descriptors_are_served_when_there_are_some() -> None:
    require_tool("prlimit()", sys.platform == "linux")
    import resource

    with running_command("echo", "--port", "0") as server, contextlib.ExitStack() as stack:
        pid = server.process.pid
        address = ("127.0.0.1", int(server.ws_url.rstrip("/").rpartition(":")[2]))
        first = [RawClient(address).open() for _ in range(5)]
        # As many as are in use by now; RawClients hold none of the server's.
        in_use = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use, in_use))
        waiting = stack.enter_context(RawClient(address))
        waiting.send(request(*WS_FIELDS))
        server.wait_for_log("cannot accept connections")
        for client in first:
            client.echo("served as before")
            client.close_normally()
            client.close()
        assert waiting.read_response().status == 101
        waiting.echo()
        waiting.close_normally()


def test_a_server_that_stays_short_of_descriptors_does_not_fill_the_log() -> None:
    require_tool("prlimit()", sys.platform == "linux")
    import resource

    with running_command("echo", "--port", "0") as server, contextlib.ExitStack() as stack:
        pid = server.process.pid
        address = ("127.0.0.1", int(server.ws_url.rstrip("/").rpartition(":")[2]))
        served = [RawClient(address).open() for _ in range(10)]
        in_use = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use, in_use))
        waiting = [stack.enter_context(RawClient(address)) for _ in range(11)]
        for client in waiting:
            client.send(request(*WS_FIELDS))
        server.wait_for_log("cannot accept connections")
        # One goes, one is accepted, and the next one has to wait again.
        for gone, accepted in zip(served, waiting, strict=False):
            gone.close_normally()
            gone.close()
            assert accepted.read_response().status == 101
        assert server.log().count("cannot accept connections") == 1


@both_servers
def test_connection_over_the_limit_gets_503_and_the_next_one_is_served(
    entrance: Entrance, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(entrance, max_connections=3) as address, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(address)).open() for _ in range(3)]
        for _ in range(20):
            with RawClient(address) as refused:
                refused.send(request(*WS_FIELDS))
                response = refused.read_response()
                assert response.status == 503
                assert 0 < len(response.body) < 200
                assert refused.read_to_end() == b""
        for client in clients:
            client.echo("unharmed")
        clients[0].close_normally()
        clients[0].close()
        # The place is free when the server's thread is through with the connection.
        served = False
        while not served:
            with RawClient(address) as client:
                client.send(request(*WS_FIELDS))
                served = client.read_response().status == 101
        lines = [record for record in caplog.records if "max_connections" in record.getMessage()]
        assert [record.levelno for record in lines[:1]] == [logging.ERROR]
        assert len(lines) <= 2, "one line each time that the limit is reached"


@both_servers
def test_refusals_never_hold_up_the_accept_loop(entrance: Entrance) -> None:
    with serving(entrance, max_connections=1) as address, contextlib.ExitStack() as stack:
        only = stack.enter_context(RawClient(address)).open()
        # They neither send nor read nor go away.
        silent = [stack.enter_context(RawClient(address)) for _ in range(150)]
        with RawClient(address) as last:
            last.send(request(*WS_FIELDS))
            assert last.read_response().status == 503
        only.echo()
        for client in silent:
            assert client.read_response().status == 503


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_each_connection_has_one_thread(entrance: Entrance, tls: bool) -> None:
    contexts = server_and_client_contexts()
    with serving(entrance, ssl=contexts[0] if tls else None) as address:
        before = threading.active_count()
        clients = []
        for number in range(1, 31):
            clients.append(RawClient(address, tls=contexts[1] if tls else None).open())
            clients[-1].echo()
            assert threading.active_count() == before + number
        for client in clients:
            client.echo("again")
        assert threading.active_count() == before + 30
        for client in clients:
            client.close_normally()
            client.close()
        eventually(lambda: threading.active_count() == before)
