"""The context that a server gets for its files, and what is said when they are the wrong ones."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from peers import eventually, open_descriptors, start
from raw_client import DEADLINE, RawClient, echo

import syncws
from syncws.listener import Listener
from syncws.tls import check_context, check_kind, context_for, server_context


class Files:
    """What an administrator has: certificates and keys, some of them the wrong ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        self.both = self.write("both.pem", issued.private_key_and_cert_chain_pem.bytes())
        self.chain = self.write("chain.pem", issued.cert_chain_pems[0].bytes())
        self.key = self.write("key.pem", issued.private_key_pem.bytes())
        self.other_key = self.write("other.pem", self.authority.issue_cert("localhost").private_key_pem.bytes())
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
        self.encrypted = self.write("encrypted.pem", encrypted)
        self.broken = self.write("broken.pem", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
        self.text = self.write("text.pem", b"hello\n")

    def write(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def client(self, **settings: Any) -> ssl.SSLContext:
        """The context of a client that trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        for name, value in settings.items():
            setattr(context, name, value)
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


def agree(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """Shake hands in memory; return the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0]


def test_settings_are_modern(files: Files) -> None:
    context = server_context(files.both)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_CIPHER_SERVER_PREFERENCE):
        assert context.options & option
    for cipher in context.get_ciphers():
        name = cipher["name"]
        assert name.startswith(("TLS_", "ECDHE-")), "forward secrecy"
        assert "GCM" in name or "POLY1305" in name, "authenticated encryption"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions(files: Files, version: str) -> None:
    wanted = ssl.TLSVersion[version.replace(".", "_")]
    end = agree(server_context(files.chain, files.key), files.client(minimum_version=wanted, maximum_version=wanted))
    assert end.version() == version
    assert end.compression() is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_versions_are_refused(files: Files) -> None:
    old = files.client(minimum_version=ssl.TLSVersion.MINIMUM_SUPPORTED, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        agree(server_context(files.both), old)


def test_client_that_wants_another_protocol_finds_http(files: Files) -> None:
    client = files.client()
    client.set_alpn_protocols(["smtp", "http/1.1"])
    assert agree(server_context(files.both), client).selected_alpn_protocol() == "http/1.1"


def test_key_with_a_password(files: Files) -> None:
    context = server_context(files.chain, files.encrypted, password="open sesame")
    assert agree(context, files.client()).version()


def test_mistakes_are_told_in_words(files: Files) -> None:
    missing = str(files.directory / "missing.pem")
    mistakes: list[tuple[tuple[str, ...], str | None, str]] = [
        ((missing,), None, f"{missing}: No such file or directory"),
        ((files.chain, missing), None, f"and {missing}: No such file or directory: {missing}"),
        ((str(files.directory),), None, "Is a directory"),
        ((files.text,), None, f"there is no certificate in {files.text}"),
        ((files.key, files.chain), None, f"there is no certificate in {files.key}"),
        ((files.chain,), None, f"there is no private key in {files.chain}"),
        ((files.chain, files.text), None, f"there is no private key in {files.text}"),
        ((files.chain, files.other_key), None, f"does not belong to the first certificate in {files.chain}"),
        ((files.chain, files.encrypted), None, "the key is encrypted, and needs a password"),
        ((files.chain, files.encrypted), "wrong", "the key is encrypted, and the password is another one"),
        ((files.broken, files.key), None, "PEM"),
    ]
    for arguments, password, words in mistakes:
        with pytest.raises(ValueError, match="cannot use the certificate in ") as error:
            server_context(*arguments, password=password)
        assert words in str(error.value)


def test_what_a_server_takes(files: Files) -> None:
    context = server_context(files.both)
    good: list[Any] = [context, files.both, Path(files.both), (files.chain, files.key)]
    for value in good:
        check_kind(value)
    bad: list[Any] = [1, b"file", (), (files.both,), [files.chain, files.key]]
    for value in bad:
        with pytest.raises(TypeError, match=r"ssl must be an ssl\.SSLContext, the files"):
            check_kind(value)
    assert context_for(context) is context
    for value in good[1:]:
        assert agree(context_for(value), files.client()).version() == "TLSv1.3"


def test_context_that_is_of_no_use_to_a_server(files: Files) -> None:
    with pytest.raises(ValueError, match="is for clients"):
        check_context(files.client())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="has no certificate"):
        check_context(context)
    context.load_cert_chain(files.both)
    check_context(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    check_context(context)
    context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
    with pytest.raises(ValueError, match="none that its ciphers are for"):
        check_context(context)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_context_for_clients_that_are_not_like_ours(files: Files) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.both)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    check_context(context)  # whoever has set that will know


class Serving:
    """A server that runs."""

    def __init__(self, server: Listener) -> None:
        self.server = server
        self.accepting = start(server.serve_forever)

    def __enter__(self) -> Any:
        return self.server.server_address

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.accepting.result(DEADLINE)
        self.server.server_close()


@pytest.mark.parametrize("kind", ["one file", "two files", "paths"])
def test_server_takes_files(files: Files, kind: str) -> None:
    given = {
        "one file": files.both,
        "two files": (files.chain, files.key),
        "paths": (Path(files.chain), Path(files.key)),
    }[kind]
    with Serving(syncws.WebSocketServer(("127.0.0.1", 0), echo, ssl=given)) as address:
        with RawClient(address, tls=files.client()) as client:
            client.open().echo()


@pytest.mark.parametrize("server", [syncws.WebSocketServer, syncws.WSGIServer])
def test_server_finds_mistakes_before_the_first_client(files: Files, server: Any) -> None:
    before = open_descriptors()
    with pytest.raises(ValueError, match="there is no private key"):
        server(("127.0.0.1", 0), echo, ssl=files.chain)
    with pytest.raises(ValueError, match="is for clients"):
        server(("127.0.0.1", 0), echo, ssl=files.client())
    with pytest.raises(ValueError, match="has no certificate"):
        server(("127.0.0.1", 0), echo, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    for nonsense in (True, (files.both,), (files.chain, files.key, "password")):
        with pytest.raises(TypeError, match="ssl must be"):
            server(("127.0.0.1", 0), echo, ssl=nonsense)
    eventually(lambda: open_descriptors() <= before)


def test_certificate_for_the_name_that_a_client_asks_for(files: Files) -> None:
    contexts = {}
    for name in ("one.example", "two.example"):
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files.authority.issue_cert(name).configure_cert(contexts[name])
    asked = []

    def choose(sock: Any, name: str | None, _: ssl.SSLContext) -> None:
        asked.append(name)
        sock.context = contexts[str(name)]

    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate of its own
    front.sni_callback = choose
    with Serving(syncws.WebSocketServer(("127.0.0.1", 0), echo, ssl=front)) as (_, port):
        for name in contexts:
            # The client sends the name, and finds it in the certificate.
            uri = f"wss://127.0.0.1:{port}/"
            with syncws.connect(uri, ssl=files.client(), server_hostname=name) as ws:
                ws.send(name)
                assert ws.receive(timeout=DEADLINE) == name
    assert asked == list(contexts)
