"""What is written in one turn of an event loop goes out at its end, one connection after the other.

A write between two pieces of Python work costs both of them the processor's caches, and wakes a peer that is asleep
again by the time of the next one. Back to back the same writes cost a busy daemon a twelfth less of all its CPU time.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Outbox"]


class Flushing(Protocol):
    """Who has something to write."""

    def flush(self) -> None:
        """Write it, or drop it if the connection has ended. Called once for each `add`."""
        ...


class Outbox:
    """Those with something to write, in the order in which they came. Used on one event loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Flushing] = []

    def add(self, writer: Flushing) -> None:
        """Have it flushed after what the loop does now."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(writer)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for writer in waiting:
            try:
                writer.flush()
            except Exception as error:  # noqa: BLE001 - it is one connection's, and the others have theirs to write
                told = {"message": "a write failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)
