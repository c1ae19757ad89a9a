"""The demonstration that ``python -m syncws demo`` serves: one page, an echo and a chat."""

from __future__ import annotations

from .app import DemoApp

__all__ = ["DemoApp"]
