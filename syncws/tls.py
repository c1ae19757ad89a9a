"""TLS of servers: a context with modern settings, and a look at one before it is used.

A mistake in certificate or key is found when the server is made, and said in words: else each client would meet it, and
the log of the server would have no more than "no shared cipher". Nothing here waits; any thread may call it.
"""

from __future__ import annotations

import contextlib
import os
import ssl

__all__ = ["Files", "check_context", "check_kind", "context_for", "server_context"]

# Certificate and key in one file, or in two.
Files = str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]]

# RFC 9325, 4.2: for TLS 1.2 what has forward secrecy and authenticated encryption. TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"


def server_context(
    certfile: str | os.PathLike[str],
    keyfile: str | os.PathLike[str] | None = None,
    *,
    password: str | None = None,
) -> ssl.SSLContext:
    """Return a context for a server: TLS 1.2 and 1.3, forward secrecy, no compression, no renegotiation.

    :param certfile: the server's certificate in PEM format, behind it those that lead to an authority.
    :param keyfile: its private key; default: it is in ``certfile`` too.
    :param password: what the key is encrypted with. Nobody is asked for it on a terminal.
    :raises ValueError: a file cannot be read or is not what it should be, or the two do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 9325, 3.1.1: MUST NOT negotiate TLS 1.1 or older. What the system's settings say beyond that counts too.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(_CIPHERS)
    # RFC 9325, 3.3: no compression. A client that renegotiates again and again costs the server more than itself.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # RFC 9325, 3.8: with ALPN, nobody can lead a client of another protocol here.
    context.set_alpn_protocols(["http/1.1"])
    files = [os.fspath(file) for file in (certfile, keyfile) if file is not None]
    why = _load(context, files, password)
    if why:
        raise ValueError(f"cannot use the certificate in {' and '.join(files)}: {why}")
    return context


def _load(context: ssl.SSLContext, files: list[str], password: str | None) -> str:
    """Load certificate and key; return what is wrong with them, ``""`` if nothing is."""
    certfile, keyfile = files[0], files[-1]
    try:
        contents = {}
        for file in files:
            with open(file, "rb") as stream:
                contents[file] = stream.read()
    except OSError as error:
        return f"{error.strerror}: {error.filename}" if len(files) > 1 else str(error.strerror)
    if _CERTIFICATE not in contents[certfile]:
        return f"there is no certificate in {certfile}; in PEM format it begins with {_CERTIFICATE.decode()}"
    if _KEY not in contents[keyfile]:
        return f"there is no private key in {keyfile}; in PEM format it begins with -----BEGIN PRIVATE KEY-----"
    asked = False

    def give_password() -> str:
        nonlocal asked
        asked = True
        return password or ""

    try:
        context.load_cert_chain(certfile, keyfile, give_password)
    except ssl.SSLError as error:
        if asked:
            return "the key is encrypted, and " + ("the password is another one" if password else "needs a password")
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key does not belong to the first certificate in {certfile}, which is to be the server's"
        return str(error)
    return ""


def check_kind(value: object) -> None:
    """Check the type of a server's option ``ssl``, unless it is ``None``.

    :raises TypeError: it is neither a context nor files.
    """
    is_pair = isinstance(value, tuple) and len(value) == 2
    if not (is_pair or isinstance(value, (ssl.SSLContext, str, os.PathLike))):
        raise TypeError(f"ssl must be an ssl.SSLContext, the files (certificate, key), or None, not {value!r}")


def context_for(value: ssl.SSLContext | Files) -> ssl.SSLContext:
    """Return the context for a server's option ``ssl``. Files are read now; a context is looked at.

    :raises ValueError: as :func:`server_context` and :func:`check_context`.
    """
    if not isinstance(value, ssl.SSLContext):
        return server_context(*(value if isinstance(value, tuple) else (value,)))
    check_context(value)
    return value


def check_context(context: ssl.SSLContext) -> None:
    """See whether a server can do anything with a context.

    :raises ValueError: it is for clients, or has no certificate.
    """
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("the context is for clients; a server needs one with ssl.PROTOCOL_TLS_SERVER")
    if context.sni_callback is not None:
        return  # the certificate may depend on the name that a client asks for
    try:
        _begin_handshake(context)
    except ssl.SSLError as error:
        if error.reason == "NO_SHARED_CIPHER":
            raise ValueError(
                "the context has no certificate, or none that its ciphers are for; use its load_cert_chain() first"
            ) from None


def _begin_handshake(context: ssl.SSLContext) -> None:
    """Have a client say hello to the context, in memory."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    for side in (client, server):
        with contextlib.suppress(ssl.SSLWantReadError):  # for the other side's answer, which does not matter
            side.do_handshake()
