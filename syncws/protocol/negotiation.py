"""RFC 7692, section 7.1: how two sides agree on permessage-deflate.

The client sends what :func:`offer` returns, the server replies with what :func:`answer_offers` returns, the client
checks the reply with :func:`check_answer`. The last two return ``None`` for "no compression"; only :func:`check_answer`
raises, :class:`HandshakeError`: a server that cannot accept an offer declines it. Pure functions; any thread may call
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import HandshakeError
from .deflate import MAX_WINDOW_BITS, MIN_WINDOW_BITS, Deflate, Parameters
from .extensions import Extension

__all__ = ["answer_offers", "check_answer", "offer"]

_EXTENSION = "permessage-deflate"
_SERVER_NO_TAKEOVER = "server_no_context_takeover"
_CLIENT_NO_TAKEOVER = "client_no_context_takeover"
_SERVER_WINDOW = "server_max_window_bits"
_CLIENT_WINDOW = "client_max_window_bits"

# RFC 7692, 7.1.2: a decimal integer without leading zeros, 8 to 15.
_WINDOW_BITS = {str(bits): bits for bits in range(8, MAX_WINDOW_BITS + 1)}
# How much of an answer an error message quotes, in characters.
_QUOTED = 200


def offer(config: Deflate) -> str:
    """Return the client's offers, a value for Sec-WebSocket-Extensions.

    The first offer is what ``config`` wants of both sides. If it restricts the server, a second one does not, for
    servers that cannot be restricted: RFC 7692, 7.1 lets them decline the first.
    """
    window = config.max_window_bits
    # The answer may set a smaller window only if the offer has this parameter (RFC 7692, 7.1.2.2): always then.
    wanted, plain = [_EXTENSION], [_EXTENSION]
    if not config.context_takeover:
        wanted += [_SERVER_NO_TAKEOVER, _CLIENT_NO_TAKEOVER]
        plain.append(_CLIENT_NO_TAKEOVER)
    if window < MAX_WINDOW_BITS:
        wanted += [f"{_SERVER_WINDOW}={window}", f"{_CLIENT_WINDOW}={window}"]
    else:
        wanted.append(_CLIENT_WINDOW)
    plain.append(_CLIENT_WINDOW)
    # Without restrictions the two are the same one.
    return ", ".join(dict.fromkeys(("; ".join(wanted), "; ".join(plain))))


def answer_offers(extensions: Iterable[Extension], config: Deflate) -> tuple[Parameters, str] | None:
    """Accept the first offer of permessage-deflate that is valid and can be fulfilled.

    :param extensions: everything that the client has offered, in its order of preference.
    :return: what is agreed, and the element for the answer's Sec-WebSocket-Extensions; ``None`` to answer without.
    """
    for extension in extensions:
        # RFC 6455, 9.1: extensions that are not known are ignored.
        if extension.name == _EXTENSION:
            try:
                offered = _read(extension, in_answer=False)
            except ValueError:
                # RFC 7692, 7.1: a server MUST decline an offer with an unknown, invalid or repeated parameter.
                continue
            parameters = _fulfil(offered, config)
            if parameters is not None:
                return parameters, _answer(offered, parameters)
    return None


def check_answer(extensions: Sequence[Extension], config: Deflate | None) -> Parameters | None:
    """Check a server's answer to :func:`offer`.

    :param extensions: everything in the answer's Sec-WebSocket-Extensions.
    :param config: what was offered; ``None``: nothing was.
    :return: what is agreed; ``None``: the server has declined.
    :raises HandshakeError: the answer is not one to the offers.
    """
    if not extensions:
        return None
    if config is None or any(extension.name != _EXTENSION for extension in extensions):
        # RFC 6455, 4.1: an answer with an extension that was not offered MUST fail the connection.
        raise _refused(extensions, "the client has not offered that (RFC 6455, 4.1)")
    if len(extensions) > 1:
        raise _refused(extensions, f"{_EXTENSION} is accepted {len(extensions)} times")
    try:
        answered = _read(extensions[0], in_answer=True)
    except ValueError as error:
        # RFC 7692, 7.1: a client MUST fail the connection if the answer has such a parameter.
        raise _refused(extensions, str(error)) from None
    client_window = min(answered.get(_CLIENT_WINDOW, MAX_WINDOW_BITS), config.max_window_bits)
    if client_window < MIN_WINDOW_BITS:
        # RFC 7692, 7.1: the same if the client does not support what the answer asks for.
        raise _refused(extensions, f"{_CLIENT_WINDOW}={client_window} is smaller than zlib can do; allow it 9 to 15")
    return Parameters(
        server_no_context_takeover=_SERVER_NO_TAKEOVER in answered,
        # RFC 7692, 7.1.1.2: the offer has said that this side will not use it, whatever the answer.
        client_no_context_takeover=_CLIENT_NO_TAKEOVER in answered or not config.context_takeover,
        server_max_window_bits=answered.get(_SERVER_WINDOW, MAX_WINDOW_BITS),
        client_max_window_bits=client_window,
    )


def _read(extension: Extension, *, in_answer: bool) -> dict[str, int]:
    """Return the parameters of a permessage-deflate element: the window bits, and 1 for those without a value.

    :raises ValueError: a parameter is unknown, repeated, or has a value that it must not have.
    """
    found: dict[str, int] = {}
    for name, value in extension.params:
        if name in found:
            raise ValueError(f"{name} is there twice (RFC 7692, 7.1)")
        if name in (_SERVER_NO_TAKEOVER, _CLIENT_NO_TAKEOVER):
            # RFC 7692, 7.1.1: these have no value.
            if value is not None:
                raise ValueError(f"{name} has a value (RFC 7692, 7.1.1)")
            found[name] = 1
        elif name == _CLIENT_WINDOW and value is None and not in_answer:
            # RFC 7692, 7.1.2.2: in an offer, and only there, it may lack the value: any window is supported.
            found[name] = MAX_WINDOW_BITS
        elif name in (_SERVER_WINDOW, _CLIENT_WINDOW):
            if value not in _WINDOW_BITS:
                raise ValueError(f"{name} must have a value of 8 to 15 (RFC 7692, 7.1.2)")
            found[name] = _WINDOW_BITS[value]
        else:
            raise ValueError(f"{name} is not a parameter of {_EXTENSION} (RFC 7692, 7.1)")
    return found


def _fulfil(offered: dict[str, int], config: Deflate) -> Parameters | None:
    """Return what the server makes of a valid offer; ``None``: it has to decline."""
    server_window = min(offered.get(_SERVER_WINDOW, MAX_WINDOW_BITS), config.max_window_bits)
    if server_window < MIN_WINDOW_BITS:
        # RFC 7692, 7.1: a server MUST decline an offer that it does not support, and zlib cannot write with 8.
        return None
    client_window = MAX_WINDOW_BITS
    if _CLIENT_WINDOW in offered:
        # RFC 7692, 7.1.2.2: a client that has not offered this must not be asked for it.
        client_window = min(offered[_CLIENT_WINDOW], config.max_window_bits)
    return Parameters(
        # RFC 7692, 7.1.1: the server may ask for either one without it being offered.
        server_no_context_takeover=_SERVER_NO_TAKEOVER in offered or not config.context_takeover,
        client_no_context_takeover=_CLIENT_NO_TAKEOVER in offered or not config.context_takeover,
        server_max_window_bits=server_window,
        client_max_window_bits=client_window,
    )


def _answer(offered: dict[str, int], parameters: Parameters) -> str:
    element = [_EXTENSION]
    if parameters.server_no_context_takeover:
        element.append(_SERVER_NO_TAKEOVER)
    if parameters.client_no_context_takeover:
        element.append(_CLIENT_NO_TAKEOVER)
    # RFC 7692, 7.1.2.1: an offer with this is accepted by an answer with it, even if it says 15.
    if _SERVER_WINDOW in offered or parameters.server_max_window_bits < MAX_WINDOW_BITS:
        element.append(f"{_SERVER_WINDOW}={parameters.server_max_window_bits}")
    if parameters.client_max_window_bits < MAX_WINDOW_BITS:
        element.append(f"{_CLIENT_WINDOW}={parameters.client_max_window_bits}")
    return "; ".join(element)


def _refused(extensions: Iterable[Extension], reason: str) -> HandshakeError:
    answer = _shortened(", ".join(map(str, extensions)))
    return HandshakeError(
        f"the server's Sec-WebSocket-Extensions: {answer} is unacceptable: {_shortened(reason)}", status=101
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
