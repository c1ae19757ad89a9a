"""The contributor's guide has every module and every environment of tox, and its links lead somewhere."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


def section(title: str) -> str:
    return GUIDE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_module_is_on_the_map_and_no_other() -> None:
    package = ROOT / "syncws"
    modules = {path.stem for path in [*package.glob("*.py"), *package.glob("protocol/*.py")] if path.stem[0] != "_"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    table = section("The map of the code").split("| --- | --- |")[1].split("\n\n")[0]
    cells = " ".join(line.split("|")[2] for line in table.splitlines() if line)
    named = set(re.findall(r"`([a-z_0-9]+)/?`", cells)) - {"message_timeout"}
    assert named == modules | packages


def test_every_environment_of_tox_is_in_the_table() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "tox.ini")
    table = section("Which tests there are")
    for name in [name.removeprefix("testenv:") for name in settings.sections() if name.startswith("testenv:")]:
        if name.startswith(".pkg"):  # makes a wheel for the others
            continue
        assert re.search(rf"[ ,]{name}[,`]", table), name


def test_limits_are_those_that_are_enforced() -> None:
    enforced = (ROOT / "tests" / "test_architecture.py").read_text()
    found = re.search(r"at most (\d+) lines and modules of at most (\d+)", GUIDE)
    assert found
    assert f"MAX_FUNCTION_LINES = {found.group(1)}\n" in enforced
    assert f"MAX_MODULE_LINES = {found.group(2)}\n" in enforced


def test_links_lead_somewhere_and_the_guide_is_in_the_source_distribution() -> None:
    for target in re.findall(r"\]\((?!http)(.*?)\)", GUIDE):
        assert (ROOT / target).exists(), target
    assert "CONTRIBUTING.md" in (ROOT / "MANIFEST.in").read_text().split()
