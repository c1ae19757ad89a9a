"""A process that forks while it serves connections: the child leaves them alone, and can serve its own."""

from __future__ import annotations

import contextlib

from faulting import address_of, figure, on_threads_and_greenlets, serving_process
from peers import RawFrame, eventually
from raw_client import CLOSE, PING, PONG, TEXT, RawClient, frame


class Client(RawClient):
    """A client that answers pings, and remembers them."""

    def open(self, *fields: str, target: str = "/", glued: bytes = b"") -> Client:
        super().open(*fields, target=target, glued=glued)
        self.pings: list[bytes] = []
        return self

    def ask(self, text: str) -> str:
        """Send a message, and return the one that comes back."""
        self.send(frame(TEXT, text.encode()))
        answer = self.next_frame()
        assert answer.opcode == TEXT, answer
        return answer.payload.decode()

    def next_frame(self) -> RawFrame:
        """The next one that is no ping."""
        while (answer := self.read_frame()) is not None and answer.opcode == PING:
            self.pings.append(answer.payload)
            self.send(frame(PONG, answer.payload))
        assert answer is not None
        return answer


@on_threads_and_greenlets
def test_child_of_a_fork_leaves_the_connections_alone_and_serves_its_own(gevent: bool) -> None:
    with (
        serving_process("forking", gevent=gevent, ping_interval=0.1, ping_timeout=20) as server,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(Client(address_of(server))).open() for _ in range(20)]

        def everybody(text: str) -> None:
            for client in clients:
                assert client.ask(text) == text

        def pinged() -> bool:
            """Whether each client has had some more pings."""
            everybody("are you there?")
            return all(len(client.pings) > wanted for client in clients)

        everybody("before")
        port = int(clients[0].ask("fork"))
        everybody("with a child")
        with Client(("127.0.0.1", port)) as of_child:
            of_child.open()
            wanted = 5
            eventually(pinged)
            assert of_child.ask("served by the child") == "served by the child"
            assert of_child.pings, "the child has a keeper of its own"
            everybody("while the child serves")
            of_child.send(frame(CLOSE, b"\x03\xe8"))
            assert of_child.next_frame().opcode == CLOSE
        assert clients[0].ask("wait") == "0", "the child's exit status"
        # Its end has not ended the connections, and one keeper has pinged each, not two: no number comes twice.
        wanted = 10
        eventually(pinged)
        for client in clients:
            assert len(set(client.pings)) == len(client.pings)
            client.send(frame(CLOSE, b"\x03\xe8"))
            assert client.next_frame() == RawFrame(CLOSE, b"\x03\xe8")
        figure(f"{len(clients)} connections, each pinged {min(len(client.pings) for client in clients)} times at least")
        assert "Traceback" not in server.log()
