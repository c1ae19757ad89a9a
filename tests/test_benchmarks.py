"""The benchmarks work: what they measure with, and each of their cells for a moment. No test looks at a speed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmark_modules import BENCHMARKS, ROOT, module
from commands import DEADLINE
from peers import eventually
from support import require_module, require_tool

import syncws

PEERS = module("peers").PEERS
cells, load, messages, processes, samples = map(module, ["cells", "load", "messages", "processes", "samples"])
Scenario = module("scenario").Scenario
# Those whose packages the tests need anyway.
SOME = ["syncws", "syncws.gevent", "websockets.sync", "raw threads", "raw gevent"]


@pytest.fixture(autouse=True)
def compiler() -> None:
    require_tool("a C compiler, cc", shutil.which(os.environ.get("CC", "cc").split()[0]))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "compare.py"), *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=3 * DEADLINE, env=variables)


@pytest.mark.parametrize("cell", [cell.key for cell in cells.CELLS])
def test_every_cell_can_be_measured(cell: str, tmp_path: Path) -> None:
    for package in ("gevent", "trustme", "websockets"):
        require_module(package)
    file = tmp_path / "results.json"
    result = run("--short", "--cells", cell, "--peers", ",".join(SOME), "--json", str(file))
    assert result.returncode == 0, result.stderr
    results = json.loads(file.read_text())
    (rates,) = results["cells"].values()
    (wanted,) = (each for each in cells.CELLS if each.key == cell)
    missing = {"syncws", "syncws.gevent"} if "has no PreparedMessage" in result.stderr else set()
    assert set(rates) == set(wanted.peers) & set(SOME) - missing, result.stderr
    assert all(len(each) == 1 for each in rates.values())
    if wanted.kind != "memory":  # so few connections need none
        assert all(each[0] > 0 for each in rates.values())
    assert f"\n{wanted.name}, {wanted.unit} (the load generator used at most " in result.stdout
    report = module("report")
    ET.fromstring(report.plot(results))
    assert wanted.unit.split()[-1] in report.plot(results)
    assert "A trial run" in report.table(results)


def test_what_is_not_installed_is_left_out() -> None:
    # Not importable either: the packages of this test are on a path that its process does not have.
    result = run("--short", "--cells", "latency", "--peers", "raw threads,gevent-websocket,picows,simple-websocket")
    assert result.returncode == 0, result.stderr
    for peer in ("gevent-websocket", "picows", "simple-websocket"):
        is_left_out = f"{peer} is left out: not all of {', '.join(PEERS[peer].packages)} are installed" in result.stderr
        assert is_left_out == (PEERS[peer].versions() is None)
        assert (f"| {peer} |" in result.stdout) != is_left_out


@pytest.mark.parametrize(("option", "names"), [("--peers", "syncws,websockets, uvloop,nobody"), ("--cells", "nobody")])
def test_comparison_of_an_unknown_server(option: str, names: str) -> None:
    result = run(option, names)
    assert result.returncode == 2
    assert "there is no 'nobody'" in result.stderr


def test_load_generator_needs_a_compiler() -> None:
    result = run("--short", "--cells", "latency", "--peers", "syncws", CC="there-is-no-such-compiler -m64")
    assert result.returncode == 1
    assert "compare.py: the load generator is written in C" in result.stderr
    assert "'there-is-no-such-compiler' cannot be run" in result.stderr
    result = run("--short", "--cells", "latency", "--peers", "syncws", CC="cc --no-such-option-of-a-compiler")
    assert result.returncode == 1
    assert "has failed" in result.stderr


def test_target() -> None:
    rates = {"syncws": [100.0, 300.0], "picows": [50.0, 100.0], "raw threads": [100.0, 200.0], "nothing": [0.0, 0.0]}
    ratio = cells.Target("syncws", 1.5, ("picows", "raw threads"))
    assert ratio.in_words("furlongs") == "≥ 1.5 × picows and raw threads"
    reached = ratio.reached(rates)
    assert reached.value == 1.25  # the smaller of the medians 2.5 and 1.25
    assert str(reached) == "missed by 17%"
    assert str(cells.Target("syncws", 1.25, ("raw threads",)).reached(rates)) == "reached"
    assert cells.Target("syncws", 1, ("aiohttp",)).reached(rates) is None
    assert cells.Target("syncws", 1, ("nothing",)).reached(rates).value == float("inf")
    assert cells.Target("syncws", 300_000).in_words("furlongs") == "≥ 300\N{NARROW NO-BREAK SPACE}000 furlongs"
    assert str(cells.Target("syncws", 250).reached(rates)) == "missed by 20%"
    at_most = cells.Target("syncws", 160, at_most=True)
    assert at_most.in_words("hours") == "≤ 160 hours"
    assert str(at_most.reached(rates)) == "missed by 25%"
    assert not cells.Target("syncws", 200, at_most=True).reached(rates).missed_by


def test_cells_name_servers_that_there_are() -> None:
    assert len({cell.key for cell in cells.CELLS}) == len({cell.name for cell in cells.CELLS}) == len(cells.CELLS)
    for cell in cells.CELLS:
        assert set(cell.peers) <= set(PEERS)
        for target in cell.targets:
            assert {target.ours, *target.others} <= set(cell.peers)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 65537])
def test_frames_of_the_load_generator(size: int) -> None:
    payload = bytes(range(251)) * (size // 251 + 1)
    with syncws.WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send(ws.receive())) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        sock, _, accepted = load.open_connection(server.server_address[1])
        assert accepted == ""
        with sock:
            sock.sendall(load.frame(payload[:size]))
            head = f"82{size:02x}" if size < 126 else f"827e{size:04x}" if size < 65536 else f"827f{size:016x}"
            wanted = bytes.fromhex(head) + payload[:size]
            got = b""
            while len(got) < len(wanted):
                got += sock.recv(len(wanted) - len(got))
            assert got == wanted
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("size", [32, 125, 126, 1000, 65535, 65536, 300_000])
@pytest.mark.parametrize("peer", ["raw threads", "raw gevent"])
def test_raw_loops_answer_messages_of_any_size(peer: str, size: int) -> None:
    for package in PEERS[peer].packages:
        require_module(package)
    scenario = Scenario(processes.free_port())
    with processes.running(peer, scenario):
        # Answers of another size, or not all of them, are an error.
        measured = load.echo_rate(scenario.port, [load.frame(bytes(size))], count=3, in_flight=3, seconds=0.1)
    assert measured.rate > 0
    assert measured.busy > 0


def answering(answer: bytes) -> int:
    """Open the port of a server that sends something else than an echo, and then the end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                sock.recv(4096)
                sock.sendall(answer)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"\x82\x81\x00\x00\x00\x00x", "Protocol error"),  # masked
        (b"\x88\x00", "Protocol error"),  # a close frame
        (b"\x82\x01x\x82\x01x", "Protocol error"),  # one more than was asked for
        (b"\x89\x00\x02\x01x", "Connection reset by peer"),  # a ping, and the first half of a message
        (b"\x82\x7e\x00", "Connection reset by peer"),
        (b"", "Connection reset by peer"),
    ],
)
def test_load_generator_looks_at_answers(answer: bytes, what: str) -> None:
    with pytest.raises(load.LoadError, match=what):
        load.echo_rate(answering(answer), [load.frame(b"x")], count=1, seconds=DEADLINE)


def test_load_generator_is_refused() -> None:
    def refuse(ws: syncws.WebSocket) -> None:
        raise AssertionError("not reached")

    with syncws.WebSocketServer(("127.0.0.1", 0), refuse, max_target_size=1, max_head_fields=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(load.LoadError, match=r"the opening handshake was refused: b'HTTP/1.1 431 "):
            load.open_connection(server.server_address[1])
        with pytest.raises(load.LoadError, match="the server did not do its part: Protocol error"):
            load.handshake_rate(server.server_address[1], at_once=1, seconds=DEADLINE)
        server.shutdown()
        thread.join()


def test_compression_that_was_not_agreed_on() -> None:
    scenario = Scenario(processes.free_port())
    with processes.running("syncws", scenario), pytest.raises(load.LoadError, match="does not compress"):
        load.echo_rate(scenario.port, messages.frames_of(1024, True), count=1, extensions="permessage-deflate")


def test_messages() -> None:
    assert messages.frames_of(3, False) == [load.frame(b"xxx")]
    frames = messages.frames_of(1024, True)
    assert len(set(frames)) == len(frames) > 8
    with syncws.WebSocketServer(("127.0.0.1", 0), lambda ws: check_json(ws, len(frames)), compression=True) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        sock, _, accepted = load.open_connection(server.server_address[1], "permessage-deflate")
        assert "permessage-deflate" in accepted
        with sock:
            sock.sendall(b"".join(frames))
            assert sock.recv(6) == b"\x81\x04good"
        server.shutdown()
        thread.join()


def check_json(ws: syncws.WebSocket, count: int) -> None:
    for number in range(count):
        message = ws.receive(timeout=DEADLINE)
        assert 1024 <= len(message) < 1280
        assert json.loads(message)["number"] == number
    ws.send("good")


def test_server_that_does_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConnectionError, match="the server has ended with status 1"):
        with processes.running("there is no such server", Scenario(processes.free_port())):
            pytest.fail("not reached")
    assert "peers.py NAME PORT, where NAME is one of: syncws; " in capfd.readouterr().err


@pytest.mark.parametrize("scenario", [Scenario(1), Scenario(2, "file.pem", True, True, True)])
def test_scenario_on_a_command_line(scenario: object) -> None:
    assert Scenario.parse(scenario.arguments()) == scenario  # type: ignore[attr-defined]


def test_plain_python_beside_compiled_modules(tmp_path: Path) -> None:
    package = tmp_path / "some"
    (package / "below").mkdir(parents=True)
    suffix = ".abi3.so"
    for name in ("__init__", "both", "below/__init__", "below/both"):
        (package / f"{name}.py").write_text("kind = 'plain'\n")
    for name in ("both", "below/both", "only"):
        (package / f"{name}{suffix}").write_text("no machine code: importing this is an error")
    program = (
        "import sys; from pure import only_plain_python; only_plain_python('some')\n"
        "import json, some.both, some.below.both; assert some.both.kind == some.below.both.kind == 'plain'\n"
        "try: import some.only\n"
        "except ModuleNotFoundError as error: print(error)\n"
        "try: only_plain_python('json')\n"
        "except RuntimeError as error: print(error)\n"
    )
    path = os.pathsep.join([str(BENCHMARKS), str(tmp_path)])
    command = [sys.executable, "-c", program]
    output = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": path}, text=True, timeout=DEADLINE)
    assert output == "some.only has no source in plain Python\njson has been imported already\n"


def test_functions_of_a_profile() -> None:
    found = "main (a.py:1);f (a.py:2) 6\nmain (a.py:1) 1\n"
    found += "main (a.py:1);f (a.py:2);f (a.py:2);g with blanks (b.py) 3\n"
    assert samples.own_and_total(found) == [
        ("f (a.py:2)", 0.6, 0.9),
        ("g with blanks (b.py)", 0.3, 0.3),
        ("main (a.py:1)", 0.1, 1.0),
    ]


def test_time_of_a_message() -> None:
    command = [sys.executable, str(BENCHMARKS / "hotspots.py"), "syncws", "--seconds", "0.2"]
    # Without py-spy, if it is in another directory than the interpreter.
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=environment)
    assert "messages per second; µs each: " in result.stdout, result.stderr


@pytest.mark.parametrize("name", ["syncws", "syncws.gevent", "websockets.sync", "websockets", "aiohttp"])
def test_peers_send_back_what_they_get(name: str, tmp_path: Path) -> None:
    """Those that the tests need anyway; the others are of the extra ``benchmark``."""
    for package in PEERS[name].packages:
        require_module(package)
    with (tmp_path / "port").open("w+") as file:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), name, str(port)]
        with subprocess.Popen(command, stderr=file) as process:
            try:
                opened: list[syncws.WebSocket] = []

                def is_open() -> bool:
                    try:
                        opened.append(syncws.connect(f"ws://127.0.0.1:{port}/", max_message_size=None))
                    except OSError:
                        assert process.poll() is None
                    return bool(opened)

                eventually(is_open)
                with opened[0] as ws:
                    for message in ("text", b"binary", b"x" * 2**21):
                        ws.send(message)
                        assert ws.receive(timeout=DEADLINE) == message
            finally:
                process.kill()


def test_peers_say_what_they_are() -> None:
    assert PEERS["syncws"].versions() == {"syncws": syncws.__version__}
    assert PEERS["syncws"].is_compiled() == getattr(syncws, "compiled", False)
    assert PEERS["syncws"]._replace(packages=("there-is-no-such-package",)).versions() is None
    assert not PEERS["syncws"]._replace(compiled="there_is_no_such_module").is_compiled()
    assert not PEERS["syncws"]._replace(compiled="json").is_compiled()
