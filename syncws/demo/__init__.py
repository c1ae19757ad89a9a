"""The demonstration that ``python -m syncws demo`` serves: one page with an echo, a chat, a ticker and every frame."""

from __future__ import annotations

from .app import DemoApp

__all__ = ["DemoApp"]
