"""What a server of the benchmarks is to do: :class:`Scenario`, and its way through the command line of a process."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["DEFLATE_SETTINGS", "PREPARED", "Scenario"]

# zlib's, the same for all that can be told: level, memory level, and bits of the window, in both directions.
DEFLATE_SETTINGS = {"level": 5, "mem_level": 5, "window_bits": 12}
# The message of a fan-out.
PREPARED = b"x" * 32


class Scenario(NamedTuple):
    """What is not the plain echo of binary messages.

    :ivar port: on 127.0.0.1.
    :ivar tls: a PEM file with a certificate and its key; empty: no TLS.
    :ivar deflate: with permessage-deflate, and :data:`DEFLATE_SETTINGS` as far as the server has such settings.
    :ivar fan_out: for each message that comes, send :data:`PREPARED` to every connection that there is.
    :ivar busy: another thread of the process computes all the time.
    """

    port: int
    tls: str = ""
    deflate: bool = False
    fan_out: bool = False
    busy: bool = False

    def arguments(self) -> list[str]:
        """Return the arguments of a command line that :meth:`parse` reads."""
        flags = [f"--{name.replace('_', '-')}" for name in ("deflate", "fan_out", "busy") if getattr(self, name)]
        return [str(self.port), *(["--tls", self.tls] if self.tls else []), *flags]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Scenario:
        """Read the arguments of a command line."""
        parser = argparse.ArgumentParser(description="Run a server of the benchmarks.")
        parser.add_argument("port", type=int)
        parser.add_argument("--tls", default="", metavar="PEM", help="a file with a certificate and its key")
        parser.add_argument("--deflate", action="store_true", help="with permessage-deflate")
        parser.add_argument("--fan-out", action="store_true", help="send a message to all for each one that comes")
        parser.add_argument("--busy", action="store_true", help="compute in another thread")
        return cls(**vars(parser.parse_args(arguments)))

    def context(self) -> ssl.SSLContext | None:
        """Return a server's context for TLS, if there is to be any."""
        if not self.tls:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls)
        return context
