"""The page about log records has each record of the source, at its level and under its logger, and no other one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reference" / "log-records.rst").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception", "log"}

# What is filled in: in a format of logging, and on the page.
FILLED_IN = re.compile(r"%(?:\(\w+\))?[\d.]*[a-z]|\{[^}]*\}")


def same_for_all(message: str) -> str:
    return FILLED_IN.sub("{}", " ".join(message.split()))


def text_of(node: ast.expr, names: dict[str, ast.expr]) -> str:
    """The text of a literal, of an f-string, or of a constant of the module."""
    if isinstance(node, ast.Name):
        return text_of(names[node.id], {}) if node.id in names else "{}"
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


def records_of(module: Path) -> Iterator[tuple[str, str, str]]:
    """Logger, level and message of each record that a module makes."""
    tree = ast.parse(module.read_text())
    names = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, (ast.Constant, ast.JoinedStr))
    }
    logger = re.search(r'^_log = get_logger\("([\w.]+)"\)$', module.read_text(), re.MULTILINE)
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        if not isinstance(call.func, ast.Attribute):
            continue
        source = ast.unparse(call.func)
        if source.startswith("_log.") and call.func.attr in LEVELS:
            assert logger, module
            message = same_for_all(text_of(call.args[call.func.attr == "log"], names))
            level = {"exception": "error", "log": "warning, info, debug"}.get(call.func.attr, call.func.attr)
            if message != "{}":  # of a burst, below
                yield logger.group(1), level, message
        elif source.endswith("_bursts.note"):
            yield "syncws.server", "error", same_for_all(text_of(call.args[1], names))


def records_on_the_page() -> Iterator[tuple[str, str, str]]:
    for section in re.split(r"\n(?=``syncws\.\w+``\n-+\n)", PAGE)[1:]:
        logger = section.split("``")[1]
        for level, message in re.findall(r"\n    \* - ([a-z, ]+)\n      - ``(.*?)``\n", section, re.DOTALL):
            yield logger, level, same_for_all(message)


def test_every_record_is_on_the_page_and_no_other() -> None:
    in_the_source = {record for module in (ROOT / "syncws").rglob("*.py") for record in records_of(module)}
    assert in_the_source
    assert set(records_on_the_page()) == in_the_source


def test_fields_of_the_access_log_are_on_the_page() -> None:
    from syncws.stats import ConnectionStats

    fields = {*ConnectionStats.__dataclass_fields__, "client_address", "path"} - {"backlog", "latency"}
    paragraph = PAGE.split("(``extra``):")[1].split(". They")[0]
    assert set(re.findall(r"``(\w+)``", paragraph)) == fields
