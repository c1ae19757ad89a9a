"""Addresses, and the files of Unix sockets."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from syncws.addresses import (
    check_listening,
    family_of,
    named_in_errors,
    remove_socket_file,
    remove_stale_socket,
    socket_file,
)


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (("127.0.0.1", 80), socket.AF_INET),
        (("", 80), socket.AF_INET),
        (("localhost", 80), socket.AF_INET),
        (("::1", 80), socket.AF_INET6),
        (("fe80::1", 80, 0, 2), socket.AF_INET6),
        ("/run/socket", socket.AF_UNIX),
        ("/run/app:8000", socket.AF_UNIX),
        ("./app:8000", socket.AF_UNIX),
        ("app:main", socket.AF_UNIX),
        ("\0app:8000", socket.AF_UNIX),
    ],
)
def test_family(address: Any, family: int) -> None:
    assert family_of(address) == family


@pytest.mark.parametrize("address", [8000, ["localhost", 80], ("localhost",), (b"localhost", 80), None])
def test_no_address(address: Any) -> None:
    with pytest.raises(TypeError, match=r"an address is \(host, port\), the path"):
        family_of(address)


@pytest.mark.parametrize(
    ("address", "instead"),
    [
        (":8000", "('', 8000)"),
        ("127.0.0.1:8000", "('127.0.0.1', 8000)"),
        ("[::1]:8000", "('::1', 8000)"),
        ("localhost:0", "('localhost', 0)"),
    ],
)
def test_host_and_port_in_one(address: str, instead: str) -> None:
    with pytest.raises(ValueError, match=r"is the path of a Unix socket") as refused:
        family_of(address)
    assert f"write {instead}" in str(refused.value)
    assert f"'./{address}'" in str(refused.value)


@pytest.mark.parametrize(
    ("address", "shown"), [(("127.0.0.1", 80), "127.0.0.1:80"), (("::1", 80, 0, 0), "[::1]:80"), ("/a", "/a")]
)
def test_error_names_the_address(address: Any, shown: str) -> None:
    with pytest.raises(OSError, match=r"in use: '(.*)'") as caught, named_in_errors(address):
        raise OSError(errno.EADDRINUSE, "in use")
    assert caught.value.filename == shown


def test_error_that_has_its_own_words() -> None:
    with pytest.raises(OSError, match=r"another server: '/other'"), named_in_errors("/a"):
        raise OSError(errno.EADDRINUSE, "another server", "/other")
    with pytest.raises(OSError, match=r"^AF_UNIX path too long$"), named_in_errors("/a"):
        raise OSError("AF_UNIX path too long")
    with named_in_errors("/a"):
        pass


def bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


def test_path_without_a_file(tmp_path: Path) -> None:
    remove_stale_socket(str(tmp_path / "socket"))


def test_socket_that_was_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    bound(path).close()
    assert path.exists()
    remove_stale_socket(str(path))
    assert not path.exists()


def test_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(OSError, match="it is no socket") as caught:
        remove_stale_socket(str(path))
    assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, str(path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "full queue"])
def test_socket_in_use(tmp_path: Path, busy: bool) -> None:
    path = tmp_path / "socket"
    with bound(path) as server, socket.socket(socket.AF_UNIX) as client:
        server.listen(0)
        if busy:
            client.connect(str(path))
        with pytest.raises(OSError, match="another server is listening") as caught:
            remove_stale_socket(str(path))
        assert caught.value.errno == errno.EADDRINUSE
        assert path.exists()


def test_removes_only_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound(path):
        file = socket_file(str(path))
        remove_socket_file(str(path), file)
        assert not path.exists()
        remove_socket_file(str(path), file)
    with bound(path), bound(tmp_path / "other"):
        remove_socket_file(str(path), socket_file(str(tmp_path / "other")))
        assert path.exists()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_listening_socket(family: int) -> None:
    with socket.socket(family) as sock:
        with pytest.raises(ValueError, match=r"does not listen: call its listen\(\) first"):
            check_listening(sock)
        if family != socket.AF_UNIX:
            sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
            sock.listen()
            check_listening(sock)


def test_listening_socket_of_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(socket.socket(), server_side=True) as sock:
        with pytest.raises(TypeError, match="ssl=context"):
            check_listening(sock)
