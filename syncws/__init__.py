"""A blocking WebSocket server and client for Python programs that do not run an event loop."""

__version__ = "0.1.0"
