"""The scenarios: what each test of ``test_hosts.py`` shows, in the words of the table in the documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hosts.runners import Host

__all__ = ["SCENARIOS", "Scenario", "scenario"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Scenario:
    """One line of the table.

    :ivar title: what is shown, in the words of the table.
    :ivar applies: for which hosts there is such a thing.
    """

    title: str
    applies: Callable[[Host], bool]


# In the order of the table, by title. Several tests may be of one scenario.
SCENARIOS: dict[str, Scenario] = {}


def scenario(title: str, applies: Callable[[Host], bool] = lambda host: True) -> Callable[[F], F]:
    """Make a test one of a scenario's."""
    return pytest.mark.scenario(SCENARIOS.setdefault(title, Scenario(title, applies)))
