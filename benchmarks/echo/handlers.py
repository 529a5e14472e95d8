"""The handler that every Python echo server of the benchmarks calls."""

from __future__ import annotations


def echo(message: bytes) -> bytes:
    """Answer a message with itself."""
    return message
