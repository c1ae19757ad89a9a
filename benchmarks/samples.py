"""What a sampling profiler has seen, by function."""

from __future__ import annotations

import collections

__all__ = ["own_and_total"]


def own_and_total(samples: str) -> list[tuple[str, float, float]]:
    """Return functions with the share of the samples taken in them, and in them or what they called, the most first.

    :param samples: py-spy's raw format: a line for each stack, functions from the outermost with semicolons between
        them, then how often.
    """
    own: collections.Counter[str] = collections.Counter()
    total: collections.Counter[str] = collections.Counter()
    count = 0
    for line in samples.splitlines():
        stack, _, times = line.rpartition(" ")
        functions = stack.split(";")
        count += int(times)
        own[functions[-1]] += int(times)
        for function in set(functions):
            total[function] += int(times)
    return [(name, own[name] / count, total[name] / count) for name, _ in own.most_common()]
