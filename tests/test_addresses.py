"""Addresses, and the files of Unix sockets."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from syncws.addresses import family_of, remove_socket_file, remove_stale_socket, socket_file


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (("127.0.0.1", 80), socket.AF_INET),
        (("", 80), socket.AF_INET),
        (("localhost", 80), socket.AF_INET),
        (("::1", 80), socket.AF_INET6),
        (("fe80::1", 80, 0, 2), socket.AF_INET6),
        ("/run/socket", socket.AF_UNIX),
    ],
)
def test_family(address: Any, family: int) -> None:
    assert family_of(address) == family


@pytest.mark.parametrize("address", [8000, ["localhost", 80], ("localhost",), (b"localhost", 80), None])
def test_no_address(address: Any) -> None:
    with pytest.raises(TypeError, match=r"an address is \(host, port\) or the path"):
        family_of(address)


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
