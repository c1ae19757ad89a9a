"""Whether the caller has interrupted what it is about to wait for.

A signal handler runs in the middle of whatever the main thread does, such as a ``send()`` that holds a lock. If it then
closes that connection, it must not wait for that lock: what would release it goes on only after the handler. A note of
who holds what would come a moment too late, because a signal can arrive between taking a lock and the note. The stack
knows at once: the frames that have been interrupted are below that of the handler.

Compiled functions are not on the stack. No handler runs in them either, but it may in what they call: so the code that
is looked for has to include that.

Any thread may call anything here; the cost is a walk along its stack.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

__all__ = ["codes_of", "codes_of_type", "within"]


def codes_of(*sources: type | Callable[..., Any]) -> frozenset[CodeType]:
    """Return the code of functions, and of all methods and properties of classes, those inherited too."""
    codes = set()
    for source in sources:
        classes = source.__mro__ if isinstance(source, type) else ()
        for member in [member for each in classes for member in vars(each).values()] or [source]:
            code = getattr(getattr(member, "fget", member), "__code__", None)
            if code is not None:
                codes.add(code)
    return frozenset(codes)


codes_of_type: Callable[[type], frozenset[CodeType]] = functools.cache(codes_of)


def within(codes: frozenset[CodeType], *objects: object) -> bool:
    """Whether the calling thread is within one of these codes already, with one of the objects as its ``self``.

    The function that calls this one does not count.
    """
    frame = sys._getframe(1).f_back
    while frame is not None:
        if frame.f_code in codes and any(frame.f_locals.get("self") is each for each in objects):
            return True
        frame = frame.f_back
    return False
