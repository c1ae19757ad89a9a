"""Running the Python of one page of the documentation: ``python tests/docs_page.py PAGE``.

The blocks of the page are run in order, in one namespace, in an empty directory, in a process that ends with status 0
if all of them did what they should, 77 if a package is not installed (its name is the last line of the output), and
with a traceback that has page and line otherwise.

- What serves goes on doing it in a thread of its own, as it would in another terminal, until the page has ended.
- Ports in the code are replaced by free ones, the same number always by the same.
- Names of hosts lead to this machine if the surroundings of the page say so, and else nowhere.
- WebSockets that it has opened and not closed are closed at its end.
- A function that a block defines is called if its name begins with ``test_`` and it takes no arguments.

What the prose assumes besides, and what is to be tried with what a page has defined, is in ``docs_surroundings.py``.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import faulthandler
import importlib.util
import inspect
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from docs_blocks import Block, blocks_of, columns_of

import syncws
from syncws import testing
from syncws.listener import Listener

__all__ = ["DEADLINE", "MISSING_PACKAGE", "Page", "fit"]

DEADLINE = 30.0  # seconds: for what takes a fraction of one
MISSING_PACKAGE = 77

# A number that is a port: in an address, behind a host of this machine, or given by name.
_HOST = r"127\.0\.0\.1|0\.0\.0\.0|localhost|\[::1?\]"
_PORT = re.compile(rf"""(\(["'](?:{_HOST}|::1?|)["'], |\b(?:{_HOST}):|\bport=)(\d{{2,5}})\b""")
_SERVES = re.compile(r"\bserve_forever\(|\brun\(")
_LOCAL = {None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"}


def fit(code: str, port: Callable[[int], int]) -> str:
    """Return code with other ports."""
    return _PORT.sub(lambda found: found[1] + str(port(int(found[2]))), code)


class Page:
    """A page that is being run.

    :ivar names: the namespace of its blocks.
    :ivar hosts: where the names of hosts lead: ``hosts["example.com"] = port``.
    :ivar opened: what has been connected.
    :ivar ports: the free ports that stand for those in the code, as far as they are known.
    """

    def __init__(self, name: str) -> None:
        self.names: dict[str, Any] = {"__name__": "docs"}
        self.hosts: dict[str, int] = {}
        self._blocks = [each for each in blocks_of(name) if each.language in {"python", "pycon"} and not each.not_run]
        self.ports: dict[int, int] = {}
        self.opened: list[syncws.WebSocket] = []
        self._servers: list[Callable[[], None]] = []
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._settled = threading.Event()

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def port(self, number: int) -> int:
        """Return the free port that stands for one in the code."""
        while number not in self.ports:
            # Not one of those that the system gives to clients meanwhile.
            chosen = random.randrange(10000, 30000)
            with contextlib.suppress(OSError), socket.create_server(("", chosen)):
                self.ports[number] = chosen
        return self.ports[number]

    def run(self, until: str | None = None, **names: Any) -> None:
        """Run blocks: to the next one that contains ``until``, that one too, or all that are left.

        :param names: what they find in their namespace.
        """
        self.names.update(names)
        for block in self._take(until):
            if block.language == "pycon":
                self._doctest(block)
            elif _SERVES.search(block.code):
                self._settled.clear()
                self._threads.append(threading.Thread(target=self._serve, args=(block,), daemon=True))
                self._threads[-1].start()
                assert self._settled.wait(DEADLINE), f"{block} neither serves nor ends"
            else:
                self.run_here(block)
            if self._failure:
                raise self._failure

    def run_here(self, block: Block | str) -> None:
        """Run a block in this thread, even if it serves.

        :param block: the block, or what the next one contains.
        """
        if isinstance(block, str):
            (block,) = self._only(block)
        before = dict(self.names)
        exec(self._compiled(block), self.names)
        for name, value in list(self.names.items()):
            new = value is not before.get(name)
            if new and name.startswith("test_") and not inspect.signature(value).parameters:
                value()

    def function(self, contains: str, *parameters: str) -> Callable[..., Any]:
        """Make a function of the next block, which contains a text and is the body of one."""
        (block,) = self._only(contains)
        tree = self._compiled(block, ast.PyCF_ONLY_AST, body_of=parameters)
        exec(compile(tree, block.page, "exec"), self.names)
        function: Callable[..., Any] = self.names.pop("_body")
        return function

    @contextlib.contextmanager
    def program(self, contains: str) -> Iterator[subprocess.Popen[str]]:
        """Run the next block, which contains a text, as a program of its own; stop it at the end."""
        (block,) = self._only(contains)
        with open("program.py", "w") as file:
            file.write(fit(block.code, self.port))
        with subprocess.Popen([sys.executable, "program.py"], text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def stop(self) -> None:
        """Stop what serves, as Ctrl-C in another terminal does."""
        while self._servers:
            self._servers.pop()()
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a block does not end, although its server does"
        if self._failure:
            raise self._failure

    def serves(self, server: Any) -> None:
        """Note a server that is about to serve."""
        if "gevent" in type(server).__module__:
            gevent = importlib.import_module("gevent")
            loop = gevent.get_hub().loop
            self._servers.append(lambda: loop.run_callback_threadsafe(gevent.spawn, server.shutdown))
        else:
            self._servers.append(server.shutdown)
        self._settled.set()

    def resolve(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what :func:`socket.getaddrinfo` does, for hosts that the page may use."""
        host = host.decode() if isinstance(host, bytes) else host
        if host not in _LOCAL:
            if host not in self.hosts:
                raise socket.gaierror(f"the page's surroundings do not say where {host} is")
            host, port = "127.0.0.1", self.hosts[host]
        return _getaddrinfo(host, port, *args, **kwargs)

    def _take(self, until: str | None) -> Iterator[Block]:
        if until is not None and not any(until in block.code for block in self._blocks):
            raise LookupError(f"{until!r} is in no block that has not been run; see docs_surroundings.py")
        while self._blocks:
            block = self._blocks.pop(0)
            yield block
            if until is not None and until in block.code:
                return

    def _only(self, contains: str) -> list[Block]:
        block = self._blocks.pop(0)
        assert contains in block.code, f"{contains!r} is not in {block}; see docs_surroundings.py"
        return [block]

    def _compiled(self, block: Block, flags: int = 0, body_of: tuple[str, ...] | None = None) -> Any:
        # With as many lines before it as there are in the page, for tracebacks.
        code = fit(columns_of(block)[-1], self.port)
        if body_of is not None:
            lines = "".join(f"    {line}\n" for line in code.splitlines())
            code = "\n" * (block.line - 2) + f"def _body({', '.join(body_of)}):\n" + lines
        else:
            code = "\n" * (block.line - 1) + code
        return compile(code, block.page, "exec", flags)

    def _serve(self, block: Block) -> None:
        try:
            self.run_here(block)
        except BaseException as error:
            self._failure = error
        finally:
            self._settled.set()

    def _doctest(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.code, self.names, block.page, block.page, block.line - 1)
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)
        self.names.update(test.globs)


_getaddrinfo = socket.getaddrinfo


def _attach(page: Page) -> None:
    """Have the page notice what is served, opened and looked up in this process."""
    serve_forever = Listener.serve_forever

    def serve_noted(server: Any, *args: Any, **kwargs: Any) -> None:
        page.serves(server)
        serve_forever(server, *args, **kwargs)

    def noting(connect: Callable[..., Any]) -> Callable[..., Any]:
        def connect_noted(*args: Any, **kwargs: Any) -> Any:
            page.opened.append(connect(*args, **kwargs))
            return page.opened[-1]

        return connect_noted

    Listener.serve_forever = serve_noted  # type: ignore[method-assign]
    syncws.connect = noting(syncws.connect)
    testing.connect = noting(testing.connect)
    socket.getaddrinfo = page.resolve


def _main(name: str) -> int:
    from docs_surroundings import SURROUNDINGS

    page = Page(name)
    _attach(page)
    faulthandler.dump_traceback_later(2 * DEADLINE, exit=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            SURROUNDINGS.get(name, Page.run)(page)
            page.run()  # what the surroundings have not
            page.stop()
            for ws in page.opened:
                with contextlib.suppress(Exception):
                    ws.close()
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in sys.modules or importlib.util.find_spec(package):
                raise
            print(package)
            return MISSING_PACKAGE
        finally:
            os.chdir("/")
    return 0


if __name__ == "__main__":
    # The surroundings import this module as well; there has to be one only.
    sys.modules["docs_page"] = sys.modules["__main__"]
    sys.exit(_main(sys.argv[1]))
