"""The layers of the package, and the size of its parts, enforced by reading the source.

Imports point downwards only: glue and command line, servers and client, the blocking connection, the protocol. The
protocol does no input or output, reads no clock, takes no lock and starts no thread.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "syncws"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60

# What each part of the package may import of it, besides itself. A part is a package with all of its modules, or
# a module together with those that its name begins: http and http_head are one part. A new part gets a line here, and
# with it a place in the layers.
PROTOCOL = {"errors", "escapes", "protocol"}
HTTP = {*PROTOCOL, "http", "uri"}
SOCKETS = {
    "backlog",
    "coalescer",
    "descriptor",
    "hot",
    "locks",
    "logs",
    "options",
    "patience",
    "pings",
    "prepared",
    "rates",
    "readiness",
    "reentry",
    "runtime",
    "transport",
    "turn",
    "writer",
}
CONNECTION = {
    *PROTOCOL,
    *SOCKETS,
    "access",
    "attended",
    "bell",
    "care",
    "connection",
    "ending",
    "fate",
    "keepalive",
    "keeper",
    "stats",
    "sending",
    "websocket",
}
BUDGETS = {*PROTOCOL, "budgets", "bursts", "forwarded", "logs"}
SERVERS = {*CONNECTION, *HTTP, *BUDGETS, "opening", "addresses", "listener", "refusals", "serving", "tls"}
EVERYTHING = {*SERVERS, "builds", "client", "proxy", "server", "wsgi"}
MAY_IMPORT: dict[str, set[str]] = {
    "escapes": set(),
    "errors": {"escapes"},
    "logs": {"escapes"},
    "protocol": PROTOCOL,
    "http": HTTP,
    "uri": HTTP,
    "runtime": {"_thread_lock", "_thread_state", "locks"},
    "locks": set(),
    "access": {"escapes", "logs"},
    "stats": set(),
    "decorators": set(),
    "reentry": set(),
    "patience": {"errors"},
    "rates": {"errors"},
    "attended": CONNECTION,
    "backlog": {"errors", "runtime"},
    "bell": set(),
    "care": {"turn"},
    "coalescer": {"runtime"},
    "connection": CONNECTION,
    "descriptor": {"_descriptor"},
    "ending": CONNECTION,
    "fate": {*PROTOCOL, "runtime"},
    "hot": {*PROTOCOL, "coalescer", "prepared", "rates", "runtime", "transport"},
    "keepalive": CONNECTION,
    "keeper": {"bell", "care", "logs", "runtime"},
    "options": CONNECTION,
    "transport": CONNECTION,
    "pings": CONNECTION,
    "sending": CONNECTION,
    "prepared": PROTOCOL,
    "readiness": {"descriptor", "hot", "transport"},
    "turn": CONNECTION,
    "websocket": CONNECTION,
    "writer": CONNECTION,
    "trace": {*HTTP, "logs", "transport"},
    "forwarded": set(),
    "bursts": {"logs"},
    "budgets": BUDGETS,
    "builds": PROTOCOL,
    "opening": SERVERS,
    "addresses": set(),
    "refusals": set(),
    "tls": set(),
    "listener": SERVERS,
    "serving": SERVERS,
    "wsgi": SERVERS,
    "proxy": SERVERS,
    "client": {*SERVERS, "proxy"},
    "server": {*SERVERS, "wsgi"},
    "gevent": EVERYTHING,
    "gunicorn": {*EVERYTHING, "gevent"},
    "flask": {*EVERYTHING, "decorators"},
    "bottle": {*EVERYTHING, "decorators", "gevent"},
    "testing": EVERYTHING,
    "prometheus": {"stats"},
    "__init__": EVERYTHING,
    "demo": {*EVERYTHING, "trace"},
    "console": {*EVERYTHING, "trace"},
    "cli": {*EVERYTHING, "console", "demo", "gevent", "trace"},
    "__main__": {"cli"},
}
# Parts and modules that are for an optional package, which they import at their top.
FOR_A_PACKAGE = {
    "bottle", "flask", "gevent", "gunicorn", "prometheus", "readiness", "runtime_gevent", "testing_pytest",
    "transport_gevent",
}  # fmt: skip
# What would let the protocol do input or output, read a clock, take a lock or start a thread.
FORBIDDEN_IN_PROTOCOL = {
    "_thread",
    "asyncio",
    "concurrent",
    "datetime",
    "http",
    "logging",
    "multiprocessing",
    "pathlib",
    "queue",
    "select",
    "selectors",
    "signal",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "threading",
    "time",
}


def part_of(module: Path) -> str:
    """The part of the package that a module belongs to."""
    return part_named(module.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def part_named(name: str) -> str:
    return name if name.startswith("_") else name.partition("_")[0]


def imported_names(module: Path) -> Iterator[str]:
    """Every module that the source imports, anywhere in it, by its full name."""
    package = ["syncws", *module.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            if source in {"syncws", "syncws.protocol"}:
                # `from . import http` names a module in its second half.
                yield from (f"{source}.{alias.name}" for alias in node.names)
            else:
                yield source


def relative_path(module: Path) -> str:
    return str(module.relative_to(PACKAGE.parent))


def is_for_a_package(module: Path) -> bool:
    return bool({part_of(module), module.stem} & FOR_A_PACKAGE)


every_module = pytest.mark.parametrize("module", MODULES, ids=relative_path)


@every_module
def test_imports_point_downwards(module: Path) -> None:
    assert part_of(module) in MAY_IMPORT, "give the new module its place in the layers: MAY_IMPORT in this file"
    names = [name.split(".") for name in imported_names(module)]
    used = {part_named(parts[1]) for parts in names if parts[0] == "syncws" and len(parts) > 1}
    assert used <= MAY_IMPORT[part_of(module)] | {part_of(module)}


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) == "protocol"], ids=relative_path)
def test_protocol_has_no_input_output_clock_lock_or_thread(module: Path) -> None:
    assert not FORBIDDEN_IN_PROTOCOL & {name.split(".")[0] for name in imported_names(module)}


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) == "protocol"], ids=relative_path)
def test_protocol_takes_only_random_bytes_from_the_operating_system(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "os"]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert used <= {"urandom"}


@every_module
def test_only_httptools_comes_from_outside(module: Path) -> None:
    # Optional packages, such as python-socks for proxies, are imported inside the function that needs them; a module
    # that is for one of them alone imports it at its top, and nothing else imports such a module at its own.
    outside = set()
    if not is_for_a_package(module):
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.Import):
                outside |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                outside.add(node.module.split(".")[0])
    assert outside - sys.stdlib_module_names - {"syncws"} <= {"httptools"}


@every_module
def test_modules_for_a_package_are_imported_only_when_needed(module: Path) -> None:
    if is_for_a_package(module):
        return
    top = [node for node in ast.parse(module.read_text()).body if isinstance(node, ast.ImportFrom) and node.level]
    names = {name for node in top for name in [node.module, *(alias.name for alias in node.names)] if name}
    assert not names & FOR_A_PACKAGE


@every_module
def test_modules_are_short(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_MODULE_LINES


@every_module
def test_functions_fit_on_a_screen(module: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno is not None}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION_LINES} == {}


@every_module
def test_modules_open_with_a_contract_and_name_what_is_public(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree), "no docstring"
    assigned = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    if module.name not in {"__init__.py", "__main__.py"}:
        assert "__all__" in assigned
