"""The inputs that are checked in, through what atheris runs with others. Atheris itself is not needed: tox -e fuzz."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.make_corpus import CORPUS, seeds
from fuzz.targets import TARGETS

INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_inputs(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_the_seeds_are_checked_in() -> None:
    """python tests/fuzz/make_corpus.py has been run."""
    missing = [
        f"{target}/{name}"
        for target, name, data in seeds()
        if not (CORPUS / target / name).is_file() or (CORPUS / target / name).read_bytes() != data
    ]
    assert not missing


@pytest.mark.parametrize("name", TARGETS)
def test_anything_shorter(name: str) -> None:
    """Every beginning of every seed, as short inputs are what a fuzzer tries first."""
    for target, _, data in seeds():
        if target == name:
            for size in range(min(len(data), 60)):
                TARGETS[name](data[:size])
