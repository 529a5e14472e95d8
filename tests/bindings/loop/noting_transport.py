"""A transport for the tests of StreamReader."""

from __future__ import annotations


class NotingTransport:
    """Notes what the reader asks of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")
