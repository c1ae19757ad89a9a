"""Decorators between a route and its WebSocket handler: which of them run before the 101, and how.

A decorator for views, such as a ``login_required``, gives a function that takes ``*args, **kwargs``, because it knows
nothing about the view's arguments. It has to run while the request can still be answered with an HTTP error.
A function that names its first argument, be it the handler or a decorator that was written for WebSockets, wants the
WebSocket there. So the line is drawn at the first such function, from the outside inwards.

Pure functions of functions: nothing that is passed in is changed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

__all__ = ["replace_handler"]

_ANYTHING = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def replace_handler(function: Callable[..., Any], build: Callable[[Callable[..., Any]], FunctionType]) -> FunctionType:
    """Return ``function``, with ``build(handler)`` in place of the handler that its decorators lead to.

    A decorator has to keep what it wraps as ``__wrapped__``, as :func:`functools.wraps` does, and in a variable of its
    own function; one of another make counts as the handler.

    :param function: the handler, perhaps decorated.
    :param build: makes what the innermost decorator is to call instead of the handler.
    """
    inner = getattr(function, "__wrapped__", None)
    if inner is None or not isinstance(function, FunctionType) or not _takes_anything(function):
        return build(function)
    cells = function.__closure__ or ()
    if not any(_holds(cell, inner) for cell in cells):
        return build(function)
    replaced = CellType(replace_handler(inner, build))
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(replaced if _holds(cell, inner) else cell for cell in cells),
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    functools.update_wrapper(copy, function)
    return copy


def _takes_anything(function: FunctionType) -> bool:
    code = function.__code__
    return code.co_argcount == 0 and code.co_flags & _ANYTHING == _ANYTHING


def _holds(cell: CellType, value: object) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:
        return False  # a variable that has no value yet
