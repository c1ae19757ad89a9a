"""RFC 6455 and RFC 7692 without any input or output.

Nothing in this package opens a socket, reads a clock, takes a lock or starts a thread; it turns bytes into
frames and messages, and back. It may import :mod:`syncws.errors`, and nothing else of syncws.
"""
