"""How deep the state machines go: ``FUZZ=deep`` for hours of it, nothing for what the suite has time for."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["DEEP", "depth"]

DEEP = os.environ.get("FUZZ") == "deep"
# How many times as many examples; FUZZ_TIMES=1000 for still more.
_TIMES = int(os.environ.get("FUZZ_TIMES", "50")) if DEEP else 1


def depth(examples: int, steps: int) -> settings:
    """Settings for a machine that runs so many examples of so many steps within the suite.

    Always other ones, in CI too, when it goes deep: that is the point of it.
    """
    return settings(
        max_examples=examples * _TIMES,
        stateful_step_count=steps * 2 if DEEP else steps,
        derandomize=not DEEP,
        database=settings.default.database if DEEP and settings.default else None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
